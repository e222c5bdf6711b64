//! `sphex run`: a WASI command, or one exported function.
//!
//! Nothing is made that the program does not ask for: no thread, and WASI's functions only if it imports them.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Context;
use sphex::{AsContextMut, ErrorKind, Instance, Linker, Module, Profiler, Store, Trap};
use sphex_wasi::preview1::{self, Stop};
use sphex_wasi::{WasiCtx, WasiCtxBuilder};

use crate::engine::{self, failure, failure_in};
use crate::exit::{self, Failure, Result};
use crate::invoke::{self, Call};
use crate::options::{Options, Preload, Profile, Run};
use crate::os;
use crate::{advice, input};

/// Runs it.
pub fn execute(run: &Run) -> Result {
    let mut options = run.groups.parse()?;
    options.profiler = run.profile.map(|profile| match profile {
        Profile::Perfmap => Profiler::PerfMap,
        Profile::Jitdump => Profiler::Jitdump,
    });
    if options.memory_reservation.is_none() && !address_space_suffices() {
        options.memory_reservation = Some(0);
    }
    let Some((file, arguments)) = run.file_and_args.split_first() else {
        let hint = advice::ending::swallowed(run);
        return Err(Failure::usage(advice::with_hint(
            "expected FILE, the program to run, found nothing",
            hint,
        )));
    };
    let file = Path::new(file);
    let call = run.invoke.as_deref().map(|text| invoke::parse(text, arguments)).transpose()?;
    let guest = context(run, &options, file, if call.is_some() { &[] } else { arguments })?;

    let engine = engine::engine_to_run(&options)?;
    let module = input::module(&engine, file, &options, run.allow_precompiled)?;
    let mut store = Store::new(&engine, guest);
    store.set_limits(engine::limits(&options));
    if let Some(fuel) = options.fuel {
        store.set_fuel(fuel).map_err(failure)?;
    }
    let mut program = Program { linker: Linker::new(&engine), given: &[] };
    os::watch(store.interrupt_handle()).context("cannot handle signals")?;
    // Made now: once the guest runs, a descriptor that is missing would show as an error of its write to a pipe.
    store.as_context_mut().interruption().event().map_err(failure)?;
    if let Some(timeout) = options.timeout {
        store.set_timeout(timeout).map_err(failure)?;
    }

    for (position, preload) in run.preloads.iter().enumerate() {
        program.given = &run.preloads[..position];
        let library = input::module(&engine, &preload.file, &options, run.allow_precompiled)?;
        let instance = program.instantiate(&mut store, &preload.file, &library)?;
        program.initialize(&mut store, &preload.file, instance)?;
        let defined = program.linker.instance(&mut store, &preload.name, instance);
        defined.map_err(|error| failure_in(&preload.file, error))?;
    }
    program.given = &run.preloads;
    let instance = program.instantiate(&mut store, file, &module)?;
    let ended = match call {
        Some(call) => program.invoke(&mut store, file, instance, &call),
        None => program.start(&mut store, file, instance, arguments),
    };
    if matches!(ended, Ok(()) | Err(Failure::Exited(_)))
        && let Some(signal) = os::stopped()
    {
        // The guest was done before it could be stopped: the process ends by the signal all the same.
        return Err(Failure::Code(os::die_by(signal)));
    }
    if let Err(Failure::Exited(code)) = &ended
        && *code != 0
        && let Some(hint) = advice::ending::hint(run, store.data())
    {
        exit::say(&format!("hint: {hint}"));
    }
    // The system takes everything back at once, and sooner than we would.
    std::mem::forget((store, program, module, engine));
    ended
}

/// May this process reserve what memories have by default? Where it may not, checks take the place of address space:
/// said once, because they cost time.
#[cfg(feature = "compiler")]
fn address_space_suffices() -> bool {
    const NEEDED: u64 = 8 << 30;
    let limit = rustix::process::getrlimit(rustix::process::Resource::As).current;
    let suffices = limit.is_none_or(|limit| limit >= NEEDED);
    if !suffices {
        exit::say(
            "note: this process may not reserve 4 GiB for a memory (ulimit -v): compiling with explicit checks, as \
             -O memory-reservation=0 does",
        );
    }
    suffices
}

/// Artifacts have been compiled: there is nothing to choose.
#[cfg(not(feature = "compiler"))]
fn address_space_suffices() -> bool {
    true
}

/// What the guest sees of the world.
fn context(run: &Run, options: &Options, file: &Path, arguments: &[OsString]) -> Result<WasiCtx> {
    let mut builder = WasiCtx::builder();
    let own_name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy();
    let name = run.argv0.as_deref().unwrap_or(&own_name);
    fill(&mut builder, run, options, name, arguments).map_err(|error| {
        let hint = match &error {
            sphex_wasi::BuildError::Directory { path, errno: sphex_wasi::Errno::NoEnt } => {
                let near = advice::file::similar(path);
                let near = near.map_or(String::new(), |near| format!("; did you mean {}?", near.display()));
                Some(format!("--dir gives a directory of this machine, which must exist{near}"))
            }
            _ => None,
        };
        Failure::Error(anyhow::anyhow!(advice::with_hint(error.to_string(), hint)))
    })?;
    Ok(builder.build())
}

fn fill(
    builder: &mut WasiCtxBuilder,
    run: &Run,
    options: &Options,
    name: &str,
    arguments: &[OsString],
) -> std::result::Result<(), sphex_wasi::BuildError> {
    use std::os::unix::ffi::OsStrExt;
    use std::sync::Arc;

    use sphex_wasi::streams::HostStream;
    builder.arg(name)?;
    for argument in arguments {
        builder.arg(argument.as_bytes())?;
    }
    if options.inherit_env {
        for (name, value) in std::env::vars() {
            builder.env(&name, &value)?;
        }
    }
    for variable in &run.env {
        let name = &variable.name;
        match variable.value.clone().or_else(|| std::env::var(name).ok()) {
            Some(value) => {
                builder.env(name, &value)?;
            }
            None => exit::say(&format!(
                "warning: --env {name}: {name} is not set here, so the guest does not get it; --env {name}=VALUE does"
            )),
        }
    }
    for directory in &run.dirs {
        builder.preopen(&directory.host, &directory.guest, directory.read_only)?;
    }
    if let Some(bytes) = options.max_hostcall {
        builder.hostcall_limit(bytes);
    }
    if let Some(count) = options.max_descriptors {
        builder.max_descriptors(count);
    }
    let [stdin, stdout, stderr] = options.inherit;
    if stdin {
        builder.stdin(Arc::new(HostStream::stdin()));
    }
    if stdout {
        builder.stdout(Arc::new(HostStream::stdout()));
    }
    if stderr {
        builder.stderr(Arc::new(HostStream::stderr()));
    }
    Ok(())
}

/// What instances are made with.
struct Program<'a> {
    linker: Linker<WasiCtx>,
    /// What has been preloaded so far.
    given: &'a [Preload],
}

impl Program<'_> {
    fn instantiate(&mut self, store: &mut Store<WasiCtx>, file: &Path, module: &Module) -> Result<Instance> {
        preview1::add_imports_to_linker(&mut self.linker, module, |ctx| ctx).map_err(failure)?;
        if advice::is_missing(&self.linker, module) {
            // The message names what is there, too.
            let _ = self.linker.allow_shadowing(true);
            if module.imports().any(|import| import.module == preview1::MODULE) {
                preview1::add_to_linker(&mut self.linker, |ctx| ctx).map_err(failure)?;
            }
        }
        if let Some(message) = advice::missing(&self.linker, module, self.given) {
            return Err(Failure::Error(anyhow::anyhow!("{}: {message}", file.display())));
        }
        let instance = self.linker.instantiate(store, module);
        instance.map_err(|error| match advice::mismatch(module, &error, self.given) {
            Some(hint) => {
                let text = format!("{}: {error:#}", file.display());
                Failure::Error(anyhow::anyhow!(advice::with_hint(text, Some(hint))))
            }
            None => ended(file, error),
        })
    }

    /// A library's `_initialize`, if it has one.
    fn initialize(&self, store: &mut Store<WasiCtx>, file: &Path, instance: Instance) -> Result {
        if instance.get_export(&mut *store, "_initialize").is_err() {
            return Ok(());
        }
        let initialize = instance.get_typed_func::<(), ()>(&mut *store, "_initialize");
        let initialize = initialize.map_err(|error| failure_in(file, error))?;
        initialize.call(store, ()).map_err(|error| ended(file, error))
    }

    fn start(
        &self,
        store: &mut Store<WasiCtx>,
        file: &Path,
        instance: Instance,
        arguments: &[OsString],
    ) -> Result {
        let exports = instance.exports(&mut *store).map_err(failure)?;
        let functions = || exports.iter().filter(|(_, item)| item.into_func().is_some());
        if functions().all(|(name, _)| name != "_start") {
            // A module that exports nothing to call has done all it can: its start function has run.
            if functions().next().is_none() {
                return Ok(());
            }
            let names = advice::names(functions().map(|(name, _)| name.as_str()));
            let is_library = functions().any(|(name, _)| name == "_initialize");
            let found = if is_library { "a library (reactor) with the exports" } else { "the exports" };
            let text = format!(
                "{}: expected a command, which exports `_start`, found {found} {names}; call one with --invoke",
                file.display(),
            );
            return Err(Failure::Error(anyhow::anyhow!(advice::with_hint(
                text,
                advice::ending::misplaced(arguments)
            ))));
        }
        let start = instance.get_typed_func::<(), ()>(&mut *store, "_start");
        let start = start.map_err(|error| failure_in(file, error))?;
        start.call(store, ()).map_err(|error| ended(file, error))
    }

    fn invoke(&self, store: &mut Store<WasiCtx>, file: &Path, instance: Instance, call: &Call<'_>) -> Result {
        let (func, values) = call.find(store, instance)?;
        self.initialize(store, file, instance)?;
        let text = call.run(store, func, &values).map_err(|error| ended(file, error))?;
        exit::print(&text)
    }
}

/// How a guest ended that did not simply return.
fn ended(file: &Path, error: sphex::Error) -> Failure {
    if let Some(code) = error.exit_code() {
        return Failure::Exited(code as u8);
    }
    if let Some(Stop::Signal((number, name))) = error.downcast_ref::<Stop>() {
        exit::say(&format!("error: {}: the guest raised SIG{name}", file.display()));
        return Failure::Code(128 + number);
    }
    if let Some(signal) = os::stopped() {
        return Failure::Code(os::die_by(signal));
    }
    if error.trap() == Some(Trap::Timeout) {
        exit::say(&format!(
            "error: {}: the guest did not end in the time that -W timeout gives it\n{}",
            file.display(),
            error.backtrace().map_or(String::new(), ToString::to_string)
        ));
        return Failure::Code(exit::TRAP);
    }
    let flag = advice::flag(&error).map_or(String::new(), |flag| format!("\nhint: {flag} may help"));
    if error.kind() == ErrorKind::Trap {
        exit::say(&format!("error: {}: wasm trap: {error:#}{flag}", file.display()));
        return Failure::Code(exit::TRAP);
    }
    Failure::Error(anyhow::anyhow!("{}: {error:#}{flag}", file.display()))
}
