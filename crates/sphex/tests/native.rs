//! Wasm frames as the platform sees them: its unwinder when they are registered, and gdb under `native_debug`.
//!
//! Each test runs this program again for one sample, on its main thread, so that the outermost frame is `main`.
#![allow(unsafe_code)]

#[cfg(not(all(feature = "compiler", target_os = "linux", target_env = "gnu")))]
fn main() {}

#[cfg(all(feature = "compiler", target_os = "linux", target_env = "gnu"))]
fn main() {
    linux::main();
}

#[cfg(all(feature = "compiler", target_os = "linux", target_env = "gnu"))]
mod linux {

    use std::ffi::c_void;
    use std::process::Command;

    use libtest_mimic::{Arguments, Trial};
    use sphex::{Caller, Config, Engine, Instance, Linker, Module, Result, Store};

    const SAMPLE: &str = "SPHEX_NATIVE_SAMPLE";

    const WAT: &str = r#"(module (import "h" "stop" (func $stop (param i32) (result i32))) (memory 1)
    (func $wasm_leaf (param i32) (result i32) (i32.load (local.get 0)))
    (func $wasm_calls_leaf (export "trap") (param i32) (result i32)
        (i32.add (call $wasm_leaf (local.get 0)) (i32.const 1)))
    (func $wasm_calls_host (param i32 i64 i64 i64 i64 i64 i64 i64) (result i32)
        (i32.add (call $stop (local.get 0)) (i32.wrap_i64 (local.get 7))))
    (func $wasm_outer (export "host") (param i32) (result i32)
        (i32.add (i32.const 1) (call $wasm_calls_host (local.get 0) (i64.const 1) (i64.const 2) (i64.const 3)
            (i64.const 4) (i64.const 5) (i64.const 6) (i64.const 7)))))"#;

    /// A store with an instance whose imports call `stop`, and an exported function.
    fn call(config: &Config, name: &str, argument: i32, stop: fn()) -> Result<i32> {
        let engine = Engine::new(config)?;
        let module = Module::new(&engine, WAT)?;
        let mut linker: Linker<()> = Linker::new(&engine);
        linker.func_wrap("h", "stop", move |mut caller: Caller<'_, ()>, n: i32| -> Result<i32> {
            if n > 0 {
                // Once more through wasm.
                let instance = caller.instance().ok_or_else(|| sphex::Error::msg("no instance"))?;
                return instance.get_typed_func::<i32, i32>(&mut caller, "host")?.call(&mut caller, n - 1);
            }
            stop();
            Ok(n)
        })?;
        let mut store = Store::new(&engine, ());
        let instance = linker.instantiate(&mut store, &module)?;
        instance.get_typed_func::<i32, i32>(&mut store, name)?.call(&mut store, argument)
    }

    unsafe extern "C" {
        fn _Unwind_Backtrace(
            callback: extern "C" fn(*mut c_void, *mut c_void) -> i32,
            data: *mut c_void,
        ) -> i32;
        fn _Unwind_GetIP(context: *mut c_void) -> usize;
        fn _Unwind_Find_FDE(pc: usize, bases: *mut [usize; 3]) -> *const c_void;
    }

    /// Where a breakpoint is set.
    #[unsafe(no_mangle)]
    #[inline(never)]
    extern "C" fn sphex_native_stop() {
        std::hint::black_box(());
    }

    extern "C" fn count(context: *mut c_void, data: *mut c_void) -> i32 {
        // SAFETY: called by the unwinder with its context and what it was given.
        let (pc, frames) = unsafe { (_Unwind_GetIP(context), &mut *data.cast::<Vec<usize>>()) };
        frames.push(pc);
        0
    }

    /// Prints whether the unwinder finds `main`, and what is between.
    fn unwind() {
        let mut frames: Vec<usize> = Vec::new();
        // SAFETY: the callback expects this vector.
        unsafe { _Unwind_Backtrace(count, (&raw mut frames).cast()) };
        // The standard library asks the same unwinder, and knows names.
        let text = std::backtrace::Backtrace::force_capture().to_string();
        let main = text.lines().any(|line| line.trim_end().ends_with(": main"));
        println!("reaches main: {main}, through many: {}", frames.len() > 4 * 4);
    }

    /// Runs a sample, if this process was made for one; else the tests.
    pub(super) fn main() {
        match std::env::var(SAMPLE) {
            Ok(name) => sample(&name),
            Err(_) => {
                let trial = |name: &str, run: fn()| {
                    Trial::test(name, move || {
                        run();
                        Ok(())
                    })
                };
                let trials = vec![
                    trial("the_unwinder_reaches_main_through_registered_frames", reaches_main),
                    trial("records_are_found_while_a_module_lives", records_are_found),
                    trial("records_of_lazy_functions_are_found", records_of_lazy_functions_are_found),
                    trial("gdb_walks_from_the_host_to_main", gdb_walks_from_the_host),
                    trial("gdb_walks_through_nested_entries", gdb_walks_through_nested_entries),
                    trial("gdb_stops_at_a_trap", gdb_stops_at_a_trap),
                ];
                libtest_mimic::run(&Arguments::from_args(), trials).exit();
            }
        }
    }

    fn sample(sample: &str) {
        let mut config = Config::new();
        config.compile.inlining = false;
        let eager = sample.strip_prefix("lazy-");
        config.host.lazy_compilation = eager.is_some();
        let sample = eager.unwrap_or(sample);
        match sample {
            "unwind" => {
                config.host.native_unwind = true;
                assert_eq!(call(&config, "host", 3, unwind).unwrap(), 4 * 8);
            }
            "no-unwind" => assert_eq!(call(&config, "host", 3, unwind).unwrap(), 4 * 8),
            _ => {
                config.host.native_debug = true;
                let (name, argument) = match sample {
                    "host" => ("host", 0),
                    "nested" => ("host", 1),
                    _ => ("trap", -1),
                };
                let _ = call(&config, name, argument, || sphex_native_stop());
            }
        }
    }

    fn this_program() -> std::path::PathBuf {
        std::env::current_exe().unwrap()
    }

    fn reaches_main() {
        for (sample, expected) in [
            ("unwind", "reaches main: true, through many: true"),
            ("lazy-unwind", "reaches main: true, through many: true"),
            ("no-unwind", "reaches main: false, through many: false"),
        ] {
            let mut child = Command::new(this_program());
            let output = child.env(SAMPLE, sample).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && text.contains(expected), "{sample}: {text}");
        }
    }

    /// Of functions that are compiled before and after the records are asked for.
    fn records_of_lazy_functions_are_found() {
        let mut config = Config::new();
        config.host.lazy_compilation = true;
        let engine = Engine::new(&config).unwrap();
        let text = "(module (func (export \"a\")) (func (export \"b\")))";
        let module = Module::new(&engine, text).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let range = module.text_range();
        let found = move || {
            // SAFETY: looks addresses up.
            let find = |pc: usize| !unsafe { _Unwind_Find_FDE(pc, &mut [0; 3]) }.is_null();
            range.clone().take(4096).step_by(16).any(find)
        };
        let mut call =
            |name| instance.get_typed_func::<(), ()>(&mut store, name).unwrap().call(&mut store, ()).unwrap();
        call("a");
        assert!(!found());
        module.register_unwind();
        assert!(found());
        call("b");
        drop((store, module));
        assert!(!found());
    }

    fn records_are_found() {
        let engine = Engine::default();
        let module = Module::new(&engine, WAT).unwrap();
        let pc = module.text_range().start;
        // SAFETY: looks an address up.
        let find = || !unsafe { _Unwind_Find_FDE(pc, &mut [0; 3]) }.is_null();
        assert!(!find());
        module.register_unwind();
        module.register_unwind();
        assert!(find());
        let mut store = Store::new(&engine, ());
        assert!(Instance::new(&mut store, &module, &[]).is_err());
        drop(store);
        assert!(find());
        drop(module);
        assert!(!find());
    }

    fn gdb() -> bool {
        let found = Command::new("gdb").arg("--version").output().is_ok();
        let required =
            std::env::var("SPHEX_REQUIRE").is_ok_and(|list| list.split(',').any(|item| item.trim() == "gdb"));
        assert!(found || !required, "gdb is missing");
        if !found {
            println!("skipped: native needs gdb");
        }
        found
    }

    /// What gdb says of the sample's stack where it stops.
    fn gdb_backtrace(sample: &str) -> String {
        let mut gdb = Command::new("gdb");
        gdb.args(["-q", "-nx", "-batch", "-ex", "set confirm off", "-ex", "set debuginfod enabled off"]);
        gdb.args(["-ex", "break sphex_native_stop", "-ex", "run", "-ex", "bt", "-ex", "kill", "--args"]);
        gdb.arg(this_program()).env(SAMPLE, sample);
        let output = gdb.output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }

    /// Do frames with these names follow each other (others may stand between them)? Compiled at once, and lazily.
    fn check(sample: &str, names: &[&str]) {
        for sample in [sample, &format!("lazy-{sample}")] {
            let text = gdb_backtrace(sample);
            let mut lines = text.lines().filter(|line| line.starts_with('#'));
            for name in names {
                let found = lines.any(|line| line.split([' ', '(']).any(|word| word == *name));
                assert!(found, "{sample}: no {name} at its place in\n{text}");
            }
        }
    }

    fn gdb_walks_from_the_host() {
        if gdb() {
            check("host", &["sphex_native_stop", "wasm_calls_host", "wasm_outer", "main"]);
        }
    }

    fn gdb_walks_through_nested_entries() {
        if gdb() {
            let twice = ["wasm_calls_host", "wasm_outer", "wasm_calls_host", "wasm_outer", "main"];
            check("nested", &twice);
        }
    }

    fn gdb_stops_at_a_trap() {
        if gdb() {
            check("trap", &["wasm_leaf", "wasm_calls_leaf", "main"]);
        }
    }
}
