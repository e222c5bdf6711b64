//! Sequences of calls of the embedding API, right ones and wrong ones, beside a model.
//!
//! Two stores of one engine; memories, globals, tables, functions and instances in them, used with their own store, with
//! the other one, and after their own is gone. What is right does what the model says; what is wrong is an error of the
//! right kind, and changes nothing. Functions are called by `call` and by `call_async`, whose futures are sometimes dropped
//! where they wait, or interrupted there; host functions call back into the instance that called them. Fuel, with turns for
//! others and without, epochs, interrupts and references to host values are part of it.

pub mod model;

use std::future::Future;
use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};

use sphex::{
    Allocation, AsContextMut, Caller, Config, Engine, Error, ErrorKind, Extern, ExternRef, Func, Global,
    GlobalType, Instance, Memory, MemoryType, Module, Pooling, RefType, RootScope, Rooted, Store,
    StoreContext, StoreLimitsBuilder, Table, TableType, UpdateDeadline, Val, ValType,
};

use crate::random::Choices;
use model::{Code, EXPORTS, Model, Stop, Way};

/// Things of a kind that a store may get.
const MANY: usize = 12;

/// Types of globals, by the model's numbers.
const TYPES: [ValType; 4] = [ValType::I32, ValType::I64, ValType::F32, ValType::F64];

static ENGINES: LazyLock<Vec<(Engine, Module)>> = LazyLock::new(|| {
    let mut moving = Config::new();
    moving.compile.memory_reservation = 0;
    let mut pooled = Config::new();
    pooled.host.allocation =
        Allocation::Pooling(Pooling { instances: 40, memories: 80, ..Pooling::default() });
    let mut counting = Config::new();
    counting.compile.fuel = true;
    let configurations = [Config::new(), moving, pooled, counting].into_iter();
    let made = configurations.map(|config| {
        let engine = Engine::new(&config).expect("a configuration");
        let wasm = wat::parse_str(include_str!("../seeds/api.wat")).expect("text");
        let module = Module::new(&engine, wasm).expect("a module");
        (engine, module)
    });
    made.collect()
});

/// Handles of one store, in the order of the model's things.
#[derive(Clone, Debug, Default)]
struct Handles {
    memories: Vec<Memory>,
    tables: Vec<Table>,
    globals: Vec<Global>,
    funcs: Vec<Func>,
    instances: Vec<Instance>,
    roots: Vec<Rooted>,
    /// Globals of references: one, but in the default.
    held: Vec<Global>,
}

/// A store, what is in it, and what should be.
struct Live {
    store: Store<i32>,
    handles: Handles,
    model: Model,
}

/// Makes calls as the bytes say; gives their number, or what is wrong.
pub fn check(bytes: &[u8]) -> Result<usize, String> {
    let mut choices = Choices::new(bytes);
    let (engine, module) = choices.pick(&[&ENGINES[0], &ENGINES[1], &ENGINES[2], &ENGINES[3], &ENGINES[3]]);
    let mut live = [Live::new(engine)?, Live::new(engine)?];
    let mut stale = Handles::default();
    let mut calls = 0;
    while !choices.is_empty() && calls < 120 {
        calls += 1;
        let at = choices.below(2);
        let outcome = match choices.below(30) {
            0..=3 => live[at].memory(&mut choices),
            4..=6 => live[at].global(&mut choices),
            7..=9 => live[at].table(&mut choices),
            10 | 11 => live[at].make(&mut choices),
            12 | 13 => live[at].instantiate(module, &mut choices),
            14 | 15 => {
                let other = if choices.one_in(2) { stale.clone() } else { live[1 - at].handles.clone() };
                live[at].foreign(module, &other, &mut choices)
            }
            16 if choices.one_in(4) => Ok(false),
            17 if choices.one_in(4) => live[at].limit(&mut choices),
            18 | 19 => live[at].fuel(&mut choices),
            20 if choices.one_in(2) => {
                engine.increment_epoch();
                for live in &mut live {
                    live.model.ticks = live.model.ticks.map(|ticks| ticks.saturating_sub(1));
                }
                Ok(true)
            }
            20 | 21 => live[at].stop(&mut choices),
            22 | 23 => live[at].roots(&mut choices),
            _ => live[at].call(&mut choices),
        };
        let goes_on = outcome.map_err(|wrong| format!("call {calls}: {wrong}"))?;
        if !goes_on {
            let old = std::mem::replace(&mut live[at], Live::new(engine)?);
            stale = old.handles;
        } else if calls % 16 == 0 {
            live[at].audit().map_err(|wrong| format!("after call {calls}: {wrong}"))?;
        }
    }
    live.iter_mut().try_for_each(|live| live.audit()).map_err(|wrong| format!("at the end: {wrong}"))?;
    Ok(calls)
}

/// The error, as the model would say it.
fn stop(error: &Error) -> Result<Stop, String> {
    match error.kind() {
        ErrorKind::Trap => Ok(Stop::Trap),
        ErrorKind::Host => Ok(Stop::Host),
        ErrorKind::WouldSuspend => Ok(Stop::Suspend),
        kind => Err(format!("an error of kind {kind:?}: {error:#}")),
    }
}

/// Expects an error of this kind.
fn refused<R>(what: &str, kind: ErrorKind, outcome: sphex::Result<R>) -> Result<(), String> {
    match outcome {
        Err(error) if error.kind() == kind => Ok(()),
        Err(error) => Err(format!("{what}: expected {kind:?}, found {:?}: {error:#}", error.kind())),
        Ok(_) => Err(format!("{what}: expected {kind:?}, and it was done")),
    }
}

/// Expects what the model gives: a value, or this kind of error.
fn same<R: PartialEq + std::fmt::Debug>(
    what: &str,
    expected: Option<R>,
    kind: ErrorKind,
    found: sphex::Result<R>,
) -> Result<bool, String> {
    match (expected, found) {
        (Some(expected), Ok(found)) if expected == found => {}
        (None, Err(error)) if error.kind() == kind => {}
        (expected, found) => return Err(format!("{what}: expected {expected:?}, found {found:?}")),
    }
    Ok(true)
}

fn memory_type(pages: u64, max: u64) -> MemoryType {
    MemoryType { minimum: pages, maximum: Some(max), shared: false, memory64: false, page_size_log2: 16 }
}

fn val(ty: usize, bits: u64) -> Val {
    match ty {
        0 => Val::I32(bits as i32),
        1 => Val::I64(bits as i64),
        2 => Val::F32(bits as u32),
        _ => Val::F64(bits),
    }
}

fn bits(val: &Val) -> Option<u64> {
    match val {
        Val::I32(x) => Some(*x as u32 as u64),
        Val::I64(x) => Some(*x as u64),
        Val::F32(x) => Some(u64::from(*x)),
        Val::F64(x) => Some(*x),
        _ => None,
    }
}

/// The host function that uses the instance that called; [`Model::call`] knows what it does.
fn script(mut caller: Caller<'_, i32>, x: i32) -> sphex::Result<i32> {
    let memory = caller.get_memory("memory").ok_or_else(|| Error::msg("nobody called"))?;
    match x & 3 {
        0 => Ok(memory.grow(&mut caller, 1).map_or(-1, |old| old as i32)),
        1 => {
            let add = caller.get_export("add").and_then(Extern::into_func);
            let add = add.ok_or_else(|| Error::msg("no add"))?;
            add.typed::<i32, i32>(&caller)?.call(&mut caller, x >> 2)
        }
        2 => Ok(memory.write(&mut caller, (x as u32 >> 2) as usize, &[7]).map_or(-2, |()| x)),
        _ => {
            *caller.data_mut() = caller.data().wrapping_add(1);
            Ok(*caller.data())
        }
    }
}

/// The number that a rooted reference names.
fn number<'a>(root: &Rooted, store: impl Into<StoreContext<'a, i32>>) -> sphex::Result<u64> {
    let data = root.data(store)?;
    data.downcast_ref().copied().ok_or_else(|| Error::msg("no number"))
}

/// Pending this many times.
struct Turns(u32);

impl Future for Turns {
    type Output = ();

    fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0 == 0 {
            return Poll::Ready(());
        }
        self.0 -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Polls to the end, or once; `None` if it is not ready then.
fn poll<F: Future>(future: F, once: bool) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return Some(output),
            Poll::Pending if once => return None,
            Poll::Pending => {}
        }
    }
}

impl Live {
    /// A store with one of each.
    fn new(engine: &Engine) -> Result<Live, String> {
        let model = Model::new(engine.config().compile.fuel);
        let mut live = Live { store: Store::new(engine, 0), handles: Handles::default(), model };
        let ty = GlobalType { value: ValType::ExternRef, mutable: true };
        let held = Global::new(&mut live.store, ty, Val::ExternRef(None));
        live.handles.held.push(held.map_err(|error| format!("a global: {error:#}"))?);
        live.add_memory(1, 3)?;
        live.add_global(0, true, 5)?;
        live.add_table(4, 9)?;
        live.add_func(Code::Add(1))?;
        Ok(live)
    }

    fn add_memory(&mut self, pages: u64, max: u64) -> Result<(), String> {
        let ty = memory_type(pages, max);
        self.handles.memories.push(Memory::new(&mut self.store, ty).map_err(|e| format!("a memory: {e:#}"))?);
        self.model.memories.push(model::Memory { pages, max, bytes: Default::default() });
        Ok(())
    }

    fn add_global(&mut self, ty: usize, mutable: bool, bits: u64) -> Result<(), String> {
        let kind = GlobalType { value: TYPES[ty], mutable };
        let bits = if ty % 2 == 0 { bits & 0xffff_ffff } else { bits };
        let global =
            Global::new(&mut self.store, kind, val(ty, bits)).map_err(|e| format!("a global: {e:#}"))?;
        self.handles.globals.push(global);
        self.model.globals.push(model::Global { ty, mutable, bits });
        Ok(())
    }

    fn add_table(&mut self, len: usize, max: usize) -> Result<(), String> {
        let ty = TableType {
            element: RefType::Func,
            minimum: len as u64,
            maximum: Some(max as u64),
            table64: false,
        };
        let table =
            Table::new(&mut self.store, ty, Val::FuncRef(None)).map_err(|e| format!("a table: {e:#}"))?;
        self.handles.tables.push(table);
        self.model.tables.push(model::Table { elements: vec![None; len], max });
        Ok(())
    }

    fn add_func(&mut self, code: Code) -> Result<(), String> {
        let store = &mut self.store;
        let func = match code {
            Code::Add(k) => Func::wrap(store, move |x: i32| x.wrapping_add(k)),
            Code::Later(k) => Func::wrap_async(store, move |_: Caller<'_, i32>, (x,): (i32,)| {
                Box::new(async move {
                    Turns(x as u32 & 3).await;
                    x.wrapping_add(k)
                })
            }),
            Code::Sum => Func::wrap(store, |mut caller: Caller<'_, i32>, x: i32| {
                *caller.data_mut() = caller.data().wrapping_add(x);
                *caller.data()
            }),
            Code::Script => Func::wrap(store, script),
            Code::Fail => Func::wrap(store, |_: i32| -> sphex::Result<i32> { Err(Error::msg("no")) }),
            Code::Wasm(..) => return Err("not one of the host's".into()),
        };
        self.handles.funcs.push(func.map_err(|e| format!("a function: {e:#}"))?);
        self.model.funcs.push(code);
        Ok(())
    }

    /// Limits memories from now on.
    fn limit(&mut self, choices: &mut Choices<'_>) -> Result<bool, String> {
        self.model.limit = 1 + choices.below(4) as u64;
        self.store.set_limits(StoreLimitsBuilder::new().memory_size(self.model.limit << 16).build());
        Ok(true)
    }

    /// Fuel, where it is counted.
    fn fuel(&mut self, choices: &mut Choices<'_>) -> Result<bool, String> {
        let units = if choices.one_in(4) { choices.word() } else { choices.below(40) as u64 };
        let what = choices.below(3);
        let store = &mut self.store;
        let Some(fuel) = &mut self.model.fuel else {
            return refused(
                "fuel",
                ErrorKind::Argument,
                match what {
                    0 => store.set_fuel(units),
                    1 => store.consume_fuel(units).map(drop),
                    _ => store.fuel_async_yield_interval(Some(units)),
                },
            )
            .map(|()| true);
        };
        match what {
            0 => {
                *fuel = model::Fuel::new(units, fuel.interval);
                same("set_fuel", Some(()), ErrorKind::Argument, store.set_fuel(units))
            }
            1 => {
                let expected = fuel.consume(units);
                same("consume_fuel", expected, ErrorKind::Trap, store.consume_fuel(units))
            }
            _ => {
                let interval = (!choices.one_in(4)).then_some(units);
                let expected = (interval != Some(0)).then(|| {
                    *fuel = model::Fuel::new(fuel.left(), interval.unwrap_or(model::TANK));
                });
                let found = store.fuel_async_yield_interval(interval);
                same("an interval", expected, ErrorKind::Argument, found)
            }
        }
    }

    /// What stops the store at its next call.
    fn stop(&mut self, choices: &mut Choices<'_>) -> Result<bool, String> {
        match choices.below(6) {
            0 | 1 => {
                let ticks = choices.below(3) as u64;
                self.store.set_epoch_deadline(ticks);
                self.model.ticks = Some(ticks);
            }
            2 => {
                self.store.clear_epoch_deadline();
                self.model.ticks = None;
            }
            3 => {
                self.store.epoch_deadline_trap();
                self.model.deadline = model::Deadline::Trap;
            }
            4 => {
                let (add, ticks) = (choices.byte().into(), 1 + choices.below(3) as u64);
                self.store.epoch_deadline_callback(move |mut context| {
                    *context.data_mut() = context.data().wrapping_add(add);
                    Ok(UpdateDeadline::Continue(ticks))
                });
                self.model.deadline = model::Deadline::Continue(add, ticks);
            }
            _ => {
                self.store.interrupt_handle().interrupt();
                self.model.interrupted = true;
            }
        }
        Ok(true)
    }

    /// References to host values: rooted ones, in scopes and without, and one in a global.
    fn roots(&mut self, choices: &mut Choices<'_>) -> Result<bool, String> {
        let (store, value) = (&mut self.store, choices.word());
        let global = self.handles.held[0];
        match choices.below(6) {
            0 if self.handles.roots.len() < MANY => {
                let root = Rooted::new(store, value).map_err(|error| format!("a root: {error:#}"))?;
                self.handles.roots.push(root);
                self.model.roots.push(value);
            }
            1 => {
                self.model.held = choices.one_in(2).then_some(value);
                let held = Val::ExternRef(self.model.held.map(ExternRef::new));
                return same("set", Some(()), ErrorKind::Type, global.set(store, held));
            }
            2 => store.gc(),
            3 => {
                // What is rooted in a scope goes with it, and another takes its place.
                let mut scope = RootScope::new(&mut *store);
                let inner = Rooted::new(&mut scope, value).map_err(|error| format!("a root: {error:#}"))?;
                let kept = inner.to_owned(&scope).map_err(|error| format!("to_owned: {error:#}"))?;
                scope.as_context_mut().gc();
                same("a root", Some(value), ErrorKind::Unrooted, number(&inner, &scope))?;
                let again = kept.root(&mut scope).map_err(|error| format!("a root: {error:#}"))?;
                same("ref_eq", Some(true), ErrorKind::Unrooted, Rooted::ref_eq(&scope, &inner, &again))?;
                drop(scope);
                refused("a root after its scope", ErrorKind::Unrooted, number(&inner, &*store))?;
                let mut scope = RootScope::new(&mut *store);
                let other = Rooted::new(&mut scope, !value).map_err(|error| format!("a root: {error:#}"))?;
                refused("a root after its scope", ErrorKind::Unrooted, number(&inner, &scope))?;
                same("a root", Some(!value), ErrorKind::Unrooted, number(&other, &scope))?;
            }
            _ => {
                let value = |extern_ref: ExternRef| extern_ref.downcast_ref::<u64>().copied();
                let found = global.get(store).map(|found| match found {
                    Val::ExternRef(held) => held.and_then(value),
                    _ => Some(0xbad),
                });
                return same("get", Some(self.model.held), ErrorKind::Type, found);
            }
        }
        Ok(true)
    }

    /// Makes something of the host's.
    fn make(&mut self, choices: &mut Choices<'_>) -> Result<bool, String> {
        let handles = &self.handles;
        match choices.below(4) {
            0 if handles.memories.len() < MANY => {
                let pages = choices.below(3) as u64;
                if pages > self.model.limit {
                    let ty = memory_type(pages, 9);
                    return refused("a memory", ErrorKind::Limit, Memory::new(&mut self.store, ty))
                        .map(|()| true);
                }
                self.add_memory(pages, pages + choices.below(3) as u64)?;
            }
            1 if handles.globals.len() < MANY => {
                self.add_global(choices.below(4), choices.one_in(2), choices.word())?;
            }
            2 if handles.tables.len() < MANY => {
                let len = choices.below(10);
                self.add_table(len, len + choices.below(6))?;
            }
            _ if handles.funcs.len() < 4 * MANY => {
                let k = choices.word() as i32;
                let code = [Code::Add(k), Code::Later(k), Code::Sum, Code::Script, Code::Script, Code::Fail];
                self.add_func(choices.pick(&code))?;
            }
            _ => {}
        }
        Ok(true)
    }

    fn memory(&mut self, choices: &mut Choices<'_>) -> Result<bool, String> {
        let limit = self.model.limit;
        let at = choices.below(self.handles.memories.len());
        let (memory, model) = (self.handles.memories[at], &mut self.model.memories[at]);
        let place = match choices.below(3) {
            0 => choices.word(),
            1 => model.len().wrapping_sub(choices.below(9) as u64),
            _ => choices.byte().into(),
        };
        let len = choices.below(9);
        match choices.below(4) {
            0 => {
                let mut buffer = vec![0; len];
                let read = memory.read(&self.store, place as usize, &mut buffer).map(|()| buffer);
                same("read", model.read(place, len), ErrorKind::OutOfBounds, read)
            }
            1 => {
                let bytes: Vec<u8> = (0..len).map(|_| choices.byte()).collect();
                let fits = model.write(place, &bytes).then_some(());
                same(
                    "write",
                    fits,
                    ErrorKind::OutOfBounds,
                    memory.write(&mut self.store, place as usize, &bytes),
                )
            }
            2 => {
                let delta = if choices.one_in(8) { choices.word() } else { choices.below(3) as u64 };
                let expected = model.grow(delta, limit);
                same("grow", expected, ErrorKind::Limit, memory.grow(&mut self.store, delta))
            }
            _ => same("size", Some(model.pages), ErrorKind::Limit, memory.size(&self.store)),
        }
    }

    fn global(&mut self, choices: &mut Choices<'_>) -> Result<bool, String> {
        let at = choices.below(self.handles.globals.len());
        let (global, model) = (self.handles.globals[at], &mut self.model.globals[at]);
        if choices.one_in(2) {
            let found = global.get(&mut self.store).map(|val| bits(&val));
            return same("get", Some(Some(model.bits)), ErrorKind::Type, found);
        }
        let ty = if choices.one_in(4) { choices.below(4) } else { model.ty };
        let value = val(ty, choices.word());
        let outcome = global.set(&mut self.store, value.clone());
        if !model.mutable || ty != model.ty {
            return match outcome {
                Err(error) if matches!(error.kind(), ErrorKind::Type | ErrorKind::Argument) => Ok(true),
                outcome => Err(format!("set of {model:?} to {value:?}: {outcome:?}")),
            };
        }
        model.bits = bits(&value).unwrap_or(0);
        same("set", Some(()), ErrorKind::Type, outcome)
    }

    fn table(&mut self, choices: &mut Choices<'_>) -> Result<bool, String> {
        let at = choices.below(self.handles.tables.len());
        let func = choices.below(self.handles.funcs.len());
        let (table, model) = (self.handles.tables[at], &mut self.model.tables[at]);
        let (value, element) = match choices.one_in(4) {
            true => (Val::FuncRef(None), None),
            false => (Val::FuncRef(Some(self.handles.funcs[func])), Some(func)),
        };
        let place = if choices.one_in(8) { choices.word() } else { choices.below(12) as u64 };
        let len = choices.below(5);
        let whole = model.elements.len();
        let range = place.checked_add(len as u64).filter(|&end| end <= whole as u64).map(|_| place as usize);
        match choices.below(6) {
            0 => {
                let expected = model.elements.get(place as usize).map(Option::is_some);
                let found = table.get(&mut self.store, place).map(|val| matches!(val, Val::FuncRef(Some(_))));
                same("get", expected, ErrorKind::OutOfBounds, found)
            }
            1 => {
                let expected = model.elements.get_mut(place as usize).map(|old| *old = element);
                same("set", expected, ErrorKind::OutOfBounds, table.set(&mut self.store, place, value))
            }
            2 => {
                let delta = if choices.one_in(8) { choices.word() } else { len as u64 };
                let fits = (whole as u64).checked_add(delta).filter(|&len| len <= model.max as u64);
                if let Some(len) = fits {
                    model.elements.resize(len as usize, element);
                }
                let expected = fits.map(|_| whole as u64);
                same("table grow", expected, ErrorKind::Limit, table.grow(&mut self.store, delta, value))
            }
            3 => {
                let expected = range.map(|start| model.elements[start..start + len].fill(element));
                let found = table.fill(&mut self.store, place, value, len as u64);
                same("fill", expected, ErrorKind::OutOfBounds, found)
            }
            4 => {
                let other = choices.below(self.handles.tables.len());
                let from = choices.below(8);
                let source = self.model.tables[other].elements.get(from..from + len).map(<[_]>::to_vec);
                let expected = source.zip(range).map(|(source, start)| {
                    self.model.tables[at].elements[start..start + len].copy_from_slice(&source);
                });
                let other = self.handles.tables[other];
                let found = Table::copy(&mut self.store, table, place, other, from as u64, len as u64);
                same("copy", expected, ErrorKind::OutOfBounds, found)
            }
            _ => refused("set to a number", ErrorKind::Type, table.set(&mut self.store, 0, Val::I32(1)))
                .map(|()| true),
        }
    }

    fn instantiate(&mut self, module: &Module, choices: &mut Choices<'_>) -> Result<bool, String> {
        let (handles, model) = (&mut self.handles, &mut self.model);
        if handles.instances.len() >= MANY / 2 {
            return Ok(true);
        }
        let memory = choices.below(handles.memories.len());
        let global = if choices.one_in(4) { choices.below(handles.globals.len()) } else { 0 };
        let table = choices.below(handles.tables.len());
        let func = choices.below(handles.funcs.len());
        let mut imports: [Extern; 4] = [
            handles.memories[memory].into(),
            handles.globals[global].into(),
            handles.tables[table].into(),
            handles.funcs[func].into(),
        ];
        let swapped = choices.one_in(8);
        if swapped {
            imports.swap(choices.below(2), 3);
        }
        let fits = model.globals[global].ty == 0
            && model.globals[global].mutable
            && model.memories[memory].pages > 0;
        let made = Instance::new(&mut self.store, module, &imports);
        if swapped || !fits {
            return refused("an instance of imports of other types", ErrorKind::Link, made).map(|()| true);
        }
        let instance = made.map_err(|error| format!("an instance: {error:#}"))?;
        let first = handles.funcs.len();
        for (export, name) in EXPORTS.iter().enumerate() {
            let func =
                instance.get_func(&mut self.store, name).map_err(|error| format!("{name}: {error:#}"))?;
            handles.funcs.push(func);
            model.funcs.push(Code::Wasm(handles.instances.len(), export));
        }
        refused("a memory as a function", ErrorKind::Type, instance.get_func(&mut self.store, "memory"))?;
        refused(
            "an export that is not there",
            ErrorKind::NotFound,
            instance.get_func(&mut self.store, "none"),
        )?;
        handles.instances.push(instance);
        model.instances.push(model::Instance {
            memory,
            global,
            table,
            func,
            first,
            count: 0,
            own: Default::default(),
        });
        Ok(true)
    }

    fn call(&mut self, choices: &mut Choices<'_>) -> Result<bool, String> {
        let func = choices.below(self.handles.funcs.len());
        let handle = self.handles.funcs[func];
        if choices.one_in(16) {
            let wrong = handle.call_values(&mut self.store, &[Val::I64(1)]);
            let wrong = wrong.and_then(|_| handle.call_values(&mut self.store, &[]));
            return match wrong {
                Err(error) if matches!(error.kind(), ErrorKind::Type | ErrorKind::Argument) => Ok(true),
                outcome => Err(format!("a call with wrong arguments: {outcome:?}")),
            };
        }
        let x = if choices.one_in(3) { choices.word() as i32 } else { choices.byte().into() };
        let way = choices.pick(&[Way::Sync, Way::Sync, Way::Async, Way::Dropped, Way::Interrupted]);
        // Where wasm that gives others a turn sees an interrupt is not the model's to know.
        let turns = self.model.fuel.is_some_and(|fuel| fuel.interval < model::TANK);
        let way = if way == Way::Interrupted && turns { Way::Async } else { way };
        let expected = self.model.enter().and_then(|()| self.model.call(func, x, None, way, 0));
        let (arguments, mut results) = ([Val::I32(x)], [Val::I32(0)]);
        let outcome = match way {
            Way::Sync => Some(handle.call(&mut self.store, &arguments, &mut results)),
            Way::Interrupted => {
                let interrupt = self.store.interrupt_handle();
                let mut call = pin!(handle.call_async(&mut self.store, &arguments, &mut results));
                match call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(ended) => Some(ended),
                    Poll::Pending => {
                        interrupt.interrupt();
                        poll(call, true)
                    }
                }
            }
            _ => poll(handle.call_async(&mut self.store, &arguments, &mut results), way == Way::Dropped),
        };
        let found = match outcome {
            None => Err(Stop::Cancelled),
            // Whatever it was, the state is not the model's any more.
            Some(_) if expected == Err(Stop::Deep) => return Ok(false),
            Some(Ok(())) => Ok(bits(&results[0]).unwrap_or(0) as i32),
            Some(Err(error)) => Err(stop(&error)?),
        };
        if expected == Err(Stop::Deep) {
            return Ok(false);
        }
        if expected != found {
            let code = self.model.funcs[func];
            return Err(format!("{code:?} of {x}, {way:?}: expected {expected:?}, found {found:?}"));
        }
        Ok(true)
    }

    /// Handles of another store, which may be gone.
    fn foreign(
        &mut self,
        module: &Module,
        other: &Handles,
        choices: &mut Choices<'_>,
    ) -> Result<bool, String> {
        const WRONG: ErrorKind = ErrorKind::WrongStore;
        let store = &mut self.store;
        let (Some(memory), Some(global), Some(table)) = (
            other.memories.get(choices.below(other.memories.len())).copied(),
            other.globals.get(choices.below(other.globals.len())).copied(),
            other.tables.get(choices.below(other.tables.len())).copied(),
        ) else {
            return Ok(true);
        };
        let func = other.funcs[choices.below(other.funcs.len())];
        if let Some(root) = other.roots.first() {
            refused("a root", WRONG, number(root, &*store))?;
        }
        match choices.below(10) {
            0 => {
                refused("data", WRONG, memory.data(&*store).map(<[u8]>::len))?;
                refused("write", WRONG, memory.write(store, 0, &[1]))?;
            }
            1 => refused("grow", WRONG, memory.grow(store, 1))?,
            2 => {
                refused("get", WRONG, global.get(&mut *store))?;
                refused("set", WRONG, global.set(store, Val::I32(1)))?;
            }
            3 => {
                refused("table get", WRONG, table.get(&mut *store, 0))?;
                refused("table size", WRONG, table.size(store))?;
            }
            4 => refused("table grow", WRONG, table.grow(store, 1, Val::FuncRef(None)))?,
            5 => {
                let own = self.handles.tables[0];
                refused("set", WRONG, own.set(&mut *store, 0, Val::FuncRef(Some(func))))?;
                refused("copy", WRONG, Table::copy(store, own, 0, table, 0, 1))?;
            }
            6 => {
                refused("type", WRONG, func.ty(&*store))?;
                refused("call", WRONG, func.call(store, &[Val::I32(1)], &mut [Val::I32(0)]))?;
            }
            7 => {
                let mut results = [Val::I32(0)];
                let outcome = poll(func.call_async(store, &[Val::I32(1)], &mut results), false);
                refused("call_async", WRONG, outcome.unwrap_or(Ok(())))?;
            }
            8 => {
                let own = &self.handles;
                let mut imports: [Extern; 4] = [
                    own.memories[0].into(),
                    own.globals[0].into(),
                    own.tables[0].into(),
                    own.funcs[0].into(),
                ];
                let foreign: [Extern; 4] = [memory.into(), global.into(), table.into(), func.into()];
                let at = choices.below(4);
                imports[at] = foreign[at];
                refused("an import", WRONG, Instance::new(store, module, &imports))?;
            }
            _ => {
                if let Some(instance) = other.instances.first() {
                    refused("exports", WRONG, instance.exports(&mut *store))?;
                    refused("module", WRONG, instance.module(&*store).map(|_| ()))?;
                    refused("export", WRONG, instance.get_export(store, "memory").map(|_| ()))?;
                }
            }
        }
        Ok(true)
    }

    /// All that can be seen is what the model says.
    fn audit(&mut self) -> Result<(), String> {
        let (store, model) = (&mut self.store, &self.model);
        if *store.data() != model.data {
            return Err(format!("data: expected {}, found {}", model.data, store.data()));
        }
        if let Some(fuel) = model.fuel {
            same("fuel", Some(fuel.left()), ErrorKind::Argument, store.fuel())?;
        }
        for (root, value) in self.handles.roots.iter().zip(&model.roots) {
            same("a root", Some(*value), ErrorKind::Unrooted, number(root, &*store))?;
        }
        for (memory, model) in self.handles.memories.iter().zip(&model.memories) {
            let bytes = memory.data(&*store).map_err(|e| e.to_string())?;
            let wrong = model.bytes.iter().find(|(at, byte)| bytes.get(**at as usize) != Some(*byte));
            if bytes.len() as u64 != model.len() || wrong.is_some() {
                return Err(format!(
                    "a memory of {} bytes, expected {}; {wrong:?}",
                    bytes.len(),
                    model.len()
                ));
            }
        }
        for (global, model) in self.handles.globals.iter().zip(&model.globals) {
            let found = global.get(&mut *store).map_err(|e| e.to_string())?;
            if bits(&found) != Some(model.bits) {
                return Err(format!("a global: expected {model:?}, found {found:?}"));
            }
        }
        for (table, model) in self.handles.tables.iter().zip(&model.tables) {
            let size = table.size(&*store).map_err(|e| e.to_string())?;
            if size != model.elements.len() as u64 {
                return Err(format!("a table of {size}, expected {}", model.elements.len()));
            }
            for (at, expected) in model.elements.iter().enumerate() {
                let found = table.get(&mut *store, at as u64).map_err(|e| e.to_string())?;
                let expected = expected.map(|func| self.handles.funcs[func]);
                let Val::FuncRef(found) = found else { return Err(format!("element {at}: {found:?}")) };
                if found != expected {
                    return Err(format!("element {at}: expected {expected:?}, found {found:?}"));
                }
            }
        }
        Ok(())
    }
}
