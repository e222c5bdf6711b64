//! Instances: a module brought to life in a store.

use sphex_artifact::module::{ExternKind, SegmentMode};

use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::externs::{Extern, Global, Memory, Table};
use crate::func::{Func, TypedFunc};
use crate::limits::Resource;
use crate::matching;
use crate::module::{Module, ModuleExport};
use crate::store::{AsContext, AsContextMut, Handle, StoreContextMut};
use crate::vm::builtins::{init_memory, init_table};
use crate::vm::call::{self, WasmValues};
use crate::vm::instance::{self as vm, Imports};
use crate::vm::store::StoreInner;

/// An instance of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Instance(pub(crate) Handle);

impl Instance {
    /// Instantiates a module with its imports, in the module's order, and runs its start function.
    ///
    /// An error of kind `Link` if number or types of the imports are not the module's, `Limit` or `System` if there is no
    /// room for it, `Trap` (or what a host function gave) if a segment does not fit or the start function fails. What was
    /// written to imported memories and tables before stays.
    pub fn new(mut store: impl AsContextMut, module: &Module, imports: &[Extern]) -> Result<Instance> {
        let mut store = store.as_context_mut();
        check_imports(store.inner(), module, imports)?;
        instantiate(&mut store, module, imports)
    }

    /// The module.
    pub fn module(&self, store: impl AsContext) -> Result<Module> {
        let store = store.as_context();
        Ok(store.inner().instances[self.0.check(store.inner())?].module.clone())
    }

    /// An export. An error of kind `NotFound` if there is none of this name.
    pub fn get_export(&self, mut store: impl AsContextMut, name: &str) -> Result<Extern> {
        let mut store = store.as_context_mut();
        let inner = store.inner_mut();
        let number = self.0.check(inner)?;
        let export = inner.instances[number].module.find_export(name);
        let found = export.map(|export| (export.kind, export.index));
        found
            .and_then(|(kind, index)| export_of(inner, number, kind, index))
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("no export `{name}`")))
    }

    /// An export whose place [`Module::get_export_index`] has looked up before.
    pub fn get_module_export(&self, mut store: impl AsContextMut, export: &ModuleExport) -> Result<Extern> {
        let mut store = store.as_context_mut();
        let inner = store.inner_mut();
        let number = self.0.check(inner)?;
        if !Module::same(&inner.instances[number].module, &export.module) {
            let message = "the export was looked up in another module than the instance's";
            return Err(Error::new(ErrorKind::Argument, message));
        }
        export_of(inner, number, export.kind, export.index)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "no such export"))
    }

    /// All exports, in the module's order.
    pub fn exports(&self, mut store: impl AsContextMut) -> Result<Vec<(String, Extern)>> {
        let mut store = store.as_context_mut();
        let inner = store.inner_mut();
        let number = self.0.check(inner)?;
        let module = inner.instances[number].module.clone();
        let exports = module.description().exports.iter();
        Ok(exports
            .filter_map(|export| {
                Some((export.name.clone(), export_of(inner, number, export.kind, export.index)?))
            })
            .collect())
    }

    fn find<R>(
        &self,
        store: impl AsContextMut,
        name: &str,
        what: &str,
        as_kind: impl Fn(Extern) -> Option<R>,
    ) -> Result<R> {
        let mut store = store;
        let mut store = store.as_context_mut();
        let found = match self.get_export(&mut store, name) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Error::new(ErrorKind::NotFound, format!("no export `{name}` (a {what})")));
            }
            found => found?,
        };
        match as_kind(found) {
            Some(found) => Ok(found),
            None => {
                let found = found.ty(&store)?;
                let message = format!("export `{name}`: expected a {what}, found {found}");
                Err(Error::new(ErrorKind::Type, message))
            }
        }
    }

    /// An exported function. As all of these, an error of kind `NotFound` if there is no export of this name, and `Type` if it
    /// is of another kind.
    pub fn get_func(&self, store: impl AsContextMut, name: &str) -> Result<Func> {
        self.find(store, name, "function", Extern::into_func)
    }

    /// An exported function of Rust types. An error of kind `Type`, also if its type is another.
    pub fn get_typed_func<P: WasmValues, R: WasmValues>(
        &self,
        mut store: impl AsContextMut,
        name: &str,
    ) -> Result<TypedFunc<P, R>> {
        let func = self.get_func(&mut store, name)?;
        func.typed(&store).map_err(|error| error.context(format!("export `{name}`")))
    }

    /// An exported memory.
    pub fn get_memory(&self, store: impl AsContextMut, name: &str) -> Result<Memory> {
        self.find(store, name, "memory", Extern::into_memory)
    }

    /// An exported table.
    pub fn get_table(&self, store: impl AsContextMut, name: &str) -> Result<Table> {
        self.find(store, name, "table", Extern::into_table)
    }

    /// An exported global.
    pub fn get_global(&self, store: impl AsContextMut, name: &str) -> Result<Global> {
        self.find(store, name, "global", Extern::into_global)
    }
}

/// Checks the module's engine, and the number and types of imports.
pub(crate) fn check_imports(inner: &StoreInner, module: &Module, imports: &[Extern]) -> Result<()> {
    check_engine(&inner.engine, module)?;
    let wanted = module.imports().len();
    if wanted != imports.len() {
        let message = format!("expected {wanted} imports, found {}", imports.len());
        return Err(Error::new(ErrorKind::Link, message));
    }
    matching::check(inner, module, imports)
}

pub(crate) fn check_engine(engine: &Engine, module: &Module) -> Result<()> {
    if Engine::same(engine, module.engine()) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::WrongStore, "the module and the store are of different engines"))
}

fn export_of(inner: &mut StoreInner, number: usize, kind: ExternKind, index: u32) -> Option<Extern> {
    let instance = &inner.instances[number];
    let handle = |index: u32| Handle { store: inner.id, index };
    Some(match kind {
        ExternKind::Function => {
            let funcref = instance.funcref(index)?;
            Extern::Func(Func::from_funcref(inner, funcref)?)
        }
        ExternKind::Table => Extern::Table(Table(handle(*instance.tables.get(index as usize)?))),
        ExternKind::Memory => Extern::Memory(Memory(handle(*instance.memories.get(index as usize)?))),
        ExternKind::Global => {
            let known = instance.globals.get(&index).copied();
            let global = match known {
                Some(global) => global,
                None => {
                    let ty = instance.module.description().globals.get(index as usize)?.ty;
                    let vm = instance.global(index);
                    let global = inner.add_global(vm, ty);
                    inner.instances[number].globals.insert(index, global);
                    global
                }
            };
            Extern::Global(Global(Handle { store: inner.id, index: global }))
        }
    })
}

/// Instantiates with imports that were checked.
pub(crate) fn instantiate<T>(
    store: &mut StoreContextMut<'_, T>,
    module: &Module,
    imports: &[Extern],
) -> Result<Instance> {
    let (instance, start) = instantiate_only(store.inner_mut(), module, imports)?;
    if let Some(function) = start {
        call::start(store.as_ptr(), instance.0.index as usize, function)?;
    }
    Ok(instance)
}

/// All of `instantiate` but the start function, which is still to be run.
pub(crate) fn instantiate_only(
    inner: &mut StoreInner,
    module: &Module,
    imports: &[Extern],
) -> Result<(Instance, Option<u32>)> {
    let number = prepare(inner, module, imports)?;
    let instance = Instance(Handle { store: inner.id, index: number as u32 });
    tracing::debug!(module = module.name(), instance = number, imports = imports.len(), "instantiated");
    run_segments(inner, number, module)?;
    Ok((instance, module.description().start))
}

fn prepare(inner: &mut StoreInner, module: &Module, imports: &[Extern]) -> Result<usize> {
    inner.check_count(Resource::Instances, inner.instances.len())?;
    let mut sorted = Imports::default();
    for import in imports {
        let index = import.handle().index;
        match import {
            Extern::Func(_) => sorted.functions.push(index),
            Extern::Table(_) => sorted.tables.push(index),
            Extern::Memory(_) => sorted.memories.push(index),
            Extern::Global(_) => sorted.globals.push(index),
        }
    }
    Ok(vm::make(inner, module, &sorted)? as usize)
}

/// Active segments, elements first. One that traps leaves what earlier ones wrote.
fn run_segments(inner: &mut StoreInner, number: usize, module: &Module) -> Result<()> {
    let description = module.description();
    let malformed = || Error::new(ErrorKind::Artifact, "a constant expression that is not valid");
    for (i, element) in description.elements.iter().enumerate() {
        let SegmentMode::Active { target, offset } = &element.mode else { continue };
        let offset = inner.instances[number].evaluate(offset).ok_or_else(malformed)? as u64;
        let len = element.items.len() as u64;
        init_table(inner, number, *target, i as u32, [offset, 0, len])
            .map_err(|trap| Error::from_trap(trap).context(format!("element segment {i}")))?;
        inner.instances[number].drop_element(i as u32);
    }
    for (i, data) in description.data.iter().enumerate() {
        let SegmentMode::Active { target, offset } = &data.mode else { continue };
        let offset = inner.instances[number].evaluate(offset).ok_or_else(malformed)? as u64;
        init_memory(inner, number, *target, i as u32, [offset, 0, data.len])
            .map_err(|trap| Error::from_trap(trap).context(format!("data segment {i}")))?;
        inner.instances[number].drop_data(i as u32);
    }
    Ok(())
}
