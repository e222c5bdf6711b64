//! `sphex run`: a WASI command, or one exported function.
//!
//! Nothing is made that the program does not ask for: no thread, and WASI's functions only if it imports them.

mod threads;

use std::ffi::OsString;
use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use sphex::{AsContextMut, ErrorKind, Instance, InstancePre, Linker, Module, Profiler, Store, Trap};
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
    if options.wasi_threads && !options.interruption {
        let why = "a thread that loops could not be stopped when the program ends";
        return Err(Failure::usage(format!("-S threads needs -C interruption: {why}")));
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
    let job = Job { run, options: &options, file, arguments, call };
    match options.wasi_threads {
        false => job.execute(Store::new(&engine, guest), module),
        true => job.execute(threads::store(&engine, guest, &options), module),
    }
}

/// What is to be run.
struct Job<'a> {
    run: &'a Run,
    options: &'a Options,
    file: &'a Path,
    arguments: &'a [OsString],
    call: Option<Call<'a>>,
}

impl Job<'_> {
    /// Runs the program in this store.
    fn execute<T: Guest>(self, mut store: Store<T>, module: Module) -> Result {
        let Job { run, options, file, arguments, call } = self;
        let engine = module.engine().clone();
        let deadline = options.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        restrict(&mut store, options, deadline).map_err(failure)?;
        let mut program = Program { linker: Linker::new(&engine), given: &[] };
        os::watch(store.interrupt_handle()).context("cannot handle signals")?;
        // Made now: once the guest runs, a descriptor that is missing would show as an error of its write to a pipe.
        store.as_context_mut().interruption().event().map_err(failure)?;
        for (position, preload) in run.preloads.iter().enumerate() {
            program.given = &run.preloads[..position];
            let library = input::module(&engine, &preload.file, options, run.allow_precompiled)?;
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
        let hint = match &ended {
            Err(Failure::Exited(code)) if *code != 0 => store.data().hint(run, false),
            Err(Failure::Code(exit::TRAP)) => store.data().hint(run, true),
            _ => None,
        };
        if let Some(hint) = hint {
            exit::say(&format!("hint: {hint}"));
        }
        // The system takes everything back at once, and sooner than we would.
        std::mem::forget((store, program, module, engine));
        ended
    }
}

/// Gives a store the limits that the options say.
fn restrict<T>(store: &mut Store<T>, options: &Options, deadline: Option<Instant>) -> sphex::Result<()> {
    store.set_limits(engine::limits(options));
    if let Some(fuel) = options.fuel {
        store.set_fuel(fuel)?;
    }
    if deadline.is_some() {
        store.set_deadline(deadline)?;
    }
    Ok(())
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

/// What a store has of its guest: the guest's world, and perhaps the guest's threads.
trait Guest: Sized + 'static {
    /// Defines what of WASI the module imports and nobody has defined.
    fn link(linker: &mut Linker<Self>, module: &Module) -> sphex::Result<()>;

    /// Defines the rest of it, for messages that name what is there.
    fn link_all(linker: &mut Linker<Self>) -> sphex::Result<()>;

    /// Hears of a program before it is instantiated.
    fn prepare(&self, program: &InstancePre<Self>) -> sphex::Result<()>;

    /// Runs it.
    fn run<R>(
        store: &mut Store<Self>,
        program: impl FnOnce(&mut Store<Self>) -> sphex::Result<R>,
    ) -> sphex::Result<R>;

    /// What may help with how it ended: by a trap, or by an exit code.
    fn hint(&self, run: &Run, trapped: bool) -> Option<String>;
}

impl Guest for WasiCtx {
    fn link(linker: &mut Linker<Self>, module: &Module) -> sphex::Result<()> {
        preview1::add_imports_to_linker(linker, module, |ctx| ctx)
    }

    fn link_all(linker: &mut Linker<Self>) -> sphex::Result<()> {
        preview1::add_to_linker(linker, |ctx| ctx)
    }

    fn prepare(&self, _: &InstancePre<Self>) -> sphex::Result<()> {
        Ok(())
    }

    fn run<R>(
        store: &mut Store<Self>,
        program: impl FnOnce(&mut Store<Self>) -> sphex::Result<R>,
    ) -> sphex::Result<R> {
        program(store)
    }

    fn hint(&self, run: &Run, trapped: bool) -> Option<String> {
        if trapped { None } else { advice::ending::hint(run, self) }
    }
}

/// What instances are made with.
struct Program<'a, T: 'static> {
    linker: Linker<T>,
    /// What has been preloaded so far.
    given: &'a [Preload],
}

impl<T: Guest> Program<'_, T> {
    fn instantiate(&mut self, store: &mut Store<T>, file: &Path, module: &Module) -> Result<Instance> {
        T::link(&mut self.linker, module).map_err(failure)?;
        if advice::is_missing(&self.linker, module) {
            // The message names what is there, too.
            let _ = self.linker.allow_shadowing(true);
            if module.imports().any(|import| import.module == preview1::MODULE) {
                T::link_all(&mut self.linker).map_err(failure)?;
            }
        }
        if let Some(message) = advice::missing(&self.linker, module, self.given) {
            return Err(Failure::Error(anyhow::anyhow!("{}: {message}", file.display())));
        }
        let instance = self.linker.instantiate_pre(module).and_then(|program| {
            store.data().prepare(&program)?;
            program.instantiate(store)
        });
        instance.map_err(|error| match advice::mismatch(module, &error, self.given) {
            Some(hint) => {
                let text = format!("{}: {error:#}", file.display());
                Failure::Error(anyhow::anyhow!(advice::with_hint(text, Some(hint))))
            }
            None => ended(file, error),
        })
    }

    /// A library's `_initialize`, if it has one.
    fn initialize(&self, store: &mut Store<T>, file: &Path, instance: Instance) -> Result {
        if instance.get_export(&mut *store, "_initialize").is_err() {
            return Ok(());
        }
        let initialize = instance.get_typed_func::<(), ()>(&mut *store, "_initialize");
        let initialize = initialize.map_err(|error| failure_in(file, error))?;
        initialize.call(store, ()).map_err(|error| ended(file, error))
    }

    fn start(&self, store: &mut Store<T>, file: &Path, instance: Instance, arguments: &[OsString]) -> Result {
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
        T::run(store, |store| start.call(store, ())).map_err(|error| ended(file, error))
    }

    fn invoke(&self, store: &mut Store<T>, file: &Path, instance: Instance, call: &Call<'_>) -> Result {
        let (func, values) = call.find(store, instance)?;
        self.initialize(store, file, instance)?;
        let text =
            T::run(store, |store| call.run(store, func, &values)).map_err(|error| ended(file, error))?;
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
