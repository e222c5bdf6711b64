//! The whole of a module's compilation, on as many threads as there are.
//!
//! Needs the module's bytes. Gives the artifact's. Compiling one function reads the module's description and nothing
//! else, so that functions can be compiled in any order; results are joined in the order of their indices, and of
//! several errors the one with the lowest index counts. The bytes do not depend on the number of threads.

use crate::error::{CompileError, FunctionName};
use crate::link::{self, Input};
use crate::module::{self, ModuleInfo};
use crate::settings::Settings;
use crate::translate::{self, Prescan};
use crate::watch::{self, State, Watch, Which};
use sphex_artifact::images;
use sphex_artifact::module::{self as desc, Description};
use sphex_artifact::sections::Kind;
use sphex_artifact::types::FuncType;
use sphex_artifact::write::{Contents, Name, write};
use sphex_codegen::observe::Watcher;
use sphex_codegen::pipeline;
use sphex_ir::Function;
use std::sync::atomic::{AtomicUsize, Ordering};

type Result<T> = std::result::Result<T, CompileError>;

/// Modules with fewer bytes of code are compiled on the calling thread.
#[cfg(feature = "parallel")]
const PARALLEL_BYTES: usize = 32 << 10;

/// A thread's memory is given back after a body of more bytes.
const LARGE_BODY: usize = 64 << 10;

/// What one thread keeps between functions.
#[derive(Default)]
pub(crate) struct Worker {
    translate: translate::Scratch,
    codegen: pipeline::Context,
}

/// Compiles a module to an artifact.
pub fn compile_module(wasm: &[u8], settings: &Settings) -> Result<Vec<u8>> {
    compile_watched(wasm, settings, &())
}

/// [`compile_module`], with somebody to look on.
pub fn compile_watched(wasm: &[u8], settings: &Settings, watch: &dyn Watch) -> Result<Vec<u8>> {
    let start = std::time::Instant::now();
    let result = compile_or_refuse(wasm, settings, watch);
    let time = start.elapsed();
    match &result {
        Ok(artifact) => tracing::debug!(wasm = wasm.len(), artifact = artifact.len(), ?time, "compiled"),
        Err(error) => tracing::debug!(wasm = wasm.len(), %error, ?time, "not compiled"),
    }
    result
}

fn compile_or_refuse(wasm: &[u8], settings: &Settings, watch: &dyn Watch) -> Result<Vec<u8>> {
    refuse_invalid(wasm, settings, compile(wasm, settings, watch))
}

/// What is found instead of a result: of a module that is invalid, that it is.
pub(crate) fn refuse_invalid<T>(wasm: &[u8], settings: &Settings, result: Result<T>) -> Result<T> {
    match result {
        // What is invalid besides is better said first.
        Err(error @ CompileError::Unsupported { .. }) => {
            Err(crate::validate(wasm, settings).err().unwrap_or(error))
        }
        result => result,
    }
}

/// Compiles some functions of a module as [`compile_module`] does, for a watch to see, and makes no artifact. One thread,
/// in order.
pub fn inspect(wasm: &[u8], settings: &Settings, which: Which<'_>, watch: &dyn Watch) -> Result<()> {
    let mut info = module::parse(wasm, settings)?;
    look_ahead(&mut info, settings);
    let positions = watch::chosen(&info, which);
    match which {
        Which::Index(index) if index < info.module.imported.functions => {
            return Err(CompileError::Imported(index));
        }
        Which::Index(index) if positions.is_empty() => return Err(CompileError::NoSuchFunction(index)),
        Which::Name(name) if positions.is_empty() => return Err(CompileError::NoSuchName(name.to_owned())),
        _ => {}
    }
    let mut worker = Worker::default();
    for position in positions {
        if !watch.wants_more() {
            break;
        }
        compile_function(&info, settings, position, &mut worker, watch)?;
        renew(&mut worker, &info, position);
    }
    Ok(())
}

fn compile(wasm: &[u8], settings: &Settings, watch: &dyn Watch) -> Result<Vec<u8>> {
    let target = settings.artifact_target();
    let mut info = module::parse(wasm, settings)?;
    watch.phase("parse", wasm.len());
    look_ahead(&mut info, settings);
    let code_bytes = info.bodies.iter().map(|body| body.bytes.as_bytes().len()).sum();
    watch.phase("look ahead", code_bytes);
    watch.begin(info.bodies.len(), code_bytes);
    tracing::debug!(functions = info.bodies.len(), code = code_bytes, "compiling");
    let inputs =
        each(&info, settings, |worker, position| compile_function(&info, settings, position, worker, watch))?;
    watch.phase("functions", inputs.iter().map(Input::code_len).sum());
    let linked = link::link(target, inputs)?;
    watch.phase("link", linked.text.len());
    let mut data = Vec::new();
    images::lay_out(&mut info.module, &info.segments, target.page(), &mut data);
    let names = names(&info);
    let debug = if settings.debug_info { std::mem::take(&mut info.debug) } else { Vec::new() };
    let description = Description { modules: vec![info.module], bodies: Vec::new() };
    let artifact = finish(Kind::Module, settings, &description, &linked, &names, &data, &debug)?;
    watch.phase("write", artifact.len());
    Ok(artifact)
}

/// Compiles CLIF functions, placed and verified, to an artifact; `names` has one for each, by which the runtime finds
/// it and by which (as [`ExternalName::Symbol`](sphex_ir::ExternalName)) or by its own the others refer to it.
pub fn compile_functions(functions: Vec<(String, Function)>, settings: &Settings) -> Result<Vec<u8>> {
    let target = settings.artifact_target();
    let mut ctx = pipeline::Context::new();
    let mut module = desc::Module { types: vec![FuncType::default()], ..desc::Module::default() };
    let (mut inputs, mut names) = (Vec::new(), Vec::new());
    for (position, (name, mut func)) in functions.into_iter().enumerate() {
        let index = position as u32;
        let code = pipeline::compile(&mut func, &settings.codegen, &mut ctx)
            .map_err(|error| codegen_error(FunctionName { index, name: Some(name.clone()) }, &error))?;
        module.functions.push(desc::Function { ty: 0, funcref: Some(index), leaves: false });
        module.exports.push(desc::Export { name: name.clone(), kind: desc::ExternKind::Function, index });
        inputs.push(Input::new(func.name, index, code, func.inline_nodes, 0));
        names.push(Name { module: 0, function: index, name });
    }
    module.funcrefs = inputs.len() as u32;
    let linked = link::link(target, inputs)?;
    let description = Description { modules: vec![module], bodies: Vec::new() };
    finish(Kind::Functions, settings, &description, &linked, &names, &[], &[])
}

pub(crate) fn finish(
    kind: Kind,
    settings: &Settings,
    description: &Description,
    linked: &link::Linked,
    names: &[Name],
    data: &[u8],
    debug: &[(&str, &[u8])],
) -> Result<Vec<u8>> {
    write(&Contents {
        kind,
        target: settings.artifact_target(),
        features: settings.artifact_features(),
        settings: settings.key(),
        description,
        text: &linked.text,
        eh_frame: &linked.eh_frame,
        rodata: &linked.rodata,
        functions: &linked.functions,
        traps: &linked.traps,
        addresses: &linked.addresses,
        inline_nodes: &linked.inline_nodes,
        safepoints: &linked.safepoints,
        exceptions: &[],
        names,
        data,
        bodies: &[],
        debug,
    })
    .map_err(|error| CompileError::Artifact(error.to_string()))
}

/// Names of the defined functions; an exported one without a name is called by its export.
pub(crate) fn names(info: &ModuleInfo<'_>) -> Vec<Name> {
    let mut names: Vec<Option<&str>> = info.names.clone();
    names.resize(info.module.functions.len(), None);
    for export in &info.module.exports {
        if export.kind == desc::ExternKind::Function
            && let Some(name) = names.get_mut(export.index as usize)
        {
            name.get_or_insert(&export.name);
        }
    }
    let named = names.iter().enumerate().filter_map(|(index, name)| Some((index as u32, (*name)?)));
    named.map(|(function, name)| Name { module: 0, function, name: name.to_owned() }).collect()
}

pub(crate) fn compile_function(
    info: &ModuleInfo<'_>,
    settings: &Settings,
    position: usize,
    worker: &mut Worker,
    watch: &dyn Watch,
) -> Result<Input> {
    let mut observer = watch.function(watch::defined(info, position));
    let mut watcher = Watcher::new(observer.as_mut().map(|observer| &mut **observer as _));
    let mut func = translate::translate(info, settings, position, &mut worker.translate)?.func;
    watcher.step("translate", State::Ir(&func));
    let function = info.bodies[position].validate.index;
    let code =
        pipeline::compile_watched(&mut func, &settings.for_codegen(), &mut worker.codegen, &mut watcher)
            .map_err(|error| codegen_error(info.function_name(function), &error))?;
    let body = &info.bodies[position].bytes;
    let offset = body.range().start as u32;
    watch.done(body.as_bytes().len());
    let (name, inlined) = (func.name.clone(), core::mem::take(&mut func.inline_nodes));
    worker.translate.recycle(func);
    Ok(Input::new(name, function, code, inlined, offset))
}

fn codegen_error(function: FunctionName, error: &sphex_codegen::CodegenError) -> CompileError {
    CompileError::Codegen { function, message: error.to_string() }
}

/// What was seen of a body, and whether it may be inlined.
pub(crate) type Seen = (Prescan, bool);

/// What a prescan has seen.
pub(crate) fn seen(
    info: &ModuleInfo<'_>,
    settings: &Settings,
    position: usize,
    scan: Prescan,
    scratch: &mut translate::Scratch,
) -> Seen {
    let inline = translate::candidate(info, settings, position, &scan, scratch);
    (scan, inline)
}

/// Looks at all bodies once: which functions may be inlined, and which may come back in another instance, because they
/// tail-call out of this one or a function that does. Linear in bodies and tail calls.
pub(crate) fn look_ahead(info: &mut ModuleInfo<'_>, settings: &Settings) {
    let all = {
        let info = &*info;
        each(info, settings, |scratch: &mut translate::Scratch, position| {
            Ok(seen(info, settings, position, translate::scan_body(info, settings, position), scratch))
        })
    };
    if let Ok(all) = all {
        note_seen(info, all);
    }
}

/// Puts into the description what was seen of all bodies.
pub(crate) fn note_seen(info: &mut ModuleInfo<'_>, scans: Vec<Seen>) {
    let imported = info.module.imported.functions;
    let mut callers: Vec<Vec<u32>> = vec![Vec::new(); info.module.functions.len()];
    let mut work = Vec::new();
    for (position, (scan, _)) in scans.iter().enumerate() {
        let (function, calls) = (imported + position as u32, &scan.tail_calls);
        for &callee in calls.iter().filter(|&&callee| callee >= imported) {
            if let Some(callers) = callers.get_mut(callee as usize) {
                callers.push(function);
            }
        }
        if scan.tail_calls_out || calls.iter().any(|&callee| callee < imported) {
            work.push(function);
        }
    }
    while let Some(function) = work.pop() {
        let Some(description) = info.module.functions.get_mut(function as usize) else { continue };
        if !std::mem::replace(&mut description.leaves, true) {
            work.append(&mut callers[function as usize]);
        }
    }
    (info.scans, info.inlinable) = scans.into_iter().unzip();
}

/// Does `job` for each defined function; results in order, or the error with the lowest index.
pub(crate) fn each<W, T, F>(info: &ModuleInfo<'_>, settings: &Settings, job: F) -> Result<Vec<T>>
where
    W: Default + Send,
    T: Send,
    F: Fn(&mut W, usize) -> Result<T> + Sync,
{
    let count = info.bodies.len();
    // Functions behind the first known error need not be looked at.
    let first_error = AtomicUsize::new(usize::MAX);
    let one = |worker: &mut W, position: usize| {
        if position > first_error.load(Ordering::Relaxed) {
            return None;
        }
        let result = job(worker, position);
        if result.is_err() {
            first_error.fetch_min(position, Ordering::Relaxed);
        }
        Some(result)
    };
    let results = all(info, settings, count, one);
    let mut found = Vec::with_capacity(count);
    for result in results {
        match result {
            Some(result) => found.push(result?),
            None => break,
        }
    }
    Ok(found)
}

/// Largest bodies first, so that no thread ends long after the others; each takes the next that is left.
#[cfg(feature = "parallel")]
fn all<W: Default + Send, T: Send>(
    info: &ModuleInfo<'_>,
    settings: &Settings,
    count: usize,
    one: impl Fn(&mut W, usize) -> Option<Result<T>> + Sync,
) -> Vec<Option<Result<T>>> {
    use rayon::prelude::*;
    let bytes: usize = info.bodies.iter().map(|body| body.bytes.as_bytes().len()).sum();
    if settings.threads == Some(1) || bytes < PARALLEL_BYTES {
        return sequential(info, count, one);
    }
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|&position| std::cmp::Reverse(info.bodies[position].bytes.as_bytes().len()));
    let next = AtomicUsize::new(0);
    let share = |_| {
        let (mut worker, mut found) = (W::default(), Vec::new());
        while let Some(&position) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            found.push((position, one(&mut worker, position)));
            renew(&mut worker, info, position);
        }
        found
    };
    let run = || {
        let shares = (0..rayon::current_num_threads()).into_par_iter().with_max_len(1).map(share);
        let mut results: Vec<Option<Result<T>>> = std::iter::repeat_with(|| None).take(count).collect();
        for (position, result) in shares.collect::<Vec<_>>().into_iter().flatten() {
            results[position] = result;
        }
        results
    };
    match settings.threads {
        None => run(),
        Some(threads) => match rayon::ThreadPoolBuilder::new().num_threads(threads).build() {
            Ok(pool) => pool.install(run),
            Err(_) => sequential(info, count, one),
        },
    }
}

#[cfg(not(feature = "parallel"))]
fn all<W: Default, T>(
    info: &ModuleInfo<'_>,
    _: &Settings,
    count: usize,
    one: impl Fn(&mut W, usize) -> Option<Result<T>>,
) -> Vec<Option<Result<T>>> {
    sequential(info, count, one)
}

fn sequential<W: Default, T>(
    info: &ModuleInfo<'_>,
    count: usize,
    one: impl Fn(&mut W, usize) -> Option<Result<T>>,
) -> Vec<Option<Result<T>>> {
    let mut worker = W::default();
    let mut results = Vec::with_capacity(count);
    for position in 0..count {
        results.push(one(&mut worker, position));
        renew(&mut worker, info, position);
    }
    results
}

/// The memory that a large body took is not kept for the small ones.
pub(crate) fn renew<W: Default>(worker: &mut W, info: &ModuleInfo<'_>, position: usize) {
    if info.bodies[position].bytes.as_bytes().len() > LARGE_BODY {
        *worker = W::default();
    }
}
