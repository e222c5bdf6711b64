//! Names for what modules import.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use smallvec::SmallVec;
use sphex_artifact::module::Import;

use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::externs::{Extern, Global, Memory, Table};
use crate::func::Func;
use crate::instance::{Instance, check_engine, instantiate};
use crate::matching;
use crate::module::Module;
use crate::shared::SharedMemory;
use crate::store::{AsContext, AsContextMut, Caller};
use crate::types::{ExternType, FuncType};
use crate::value::Val;
use crate::vm::call::{HostFunc, IntoFunc};
use crate::vm::store::StoreInner;

/// Definitions by module and name. Host functions among them are of no store, so that a linker serves many.
pub struct Linker<T: 'static> {
    engine: Engine,
    modules: HashMap<String, HashMap<String, Definition>>,
    shadowing: bool,
    data: PhantomData<fn(T)>,
}

#[derive(Clone, Debug)]
enum Definition {
    Extern(Extern),
    Host(Arc<HostFunc>),
    Shared(SharedMemory),
}

impl Definition {
    fn extern_in(&self, inner: &mut StoreInner) -> Result<Extern> {
        Ok(match self {
            Definition::Extern(found) => *found,
            Definition::Host(func) => Extern::Func(Func::from_host(inner, func)),
            Definition::Shared(memory) => Extern::Memory(memory.attach_inner(inner)?),
        })
    }
}

impl Definition {
    /// As [`Definition::extern_in`], if it is of this store or of none.
    fn checked_in(&self, inner: &mut StoreInner) -> Result<Extern> {
        if let Definition::Extern(found) = self {
            found.handle().check(inner)?;
        }
        self.extern_in(inner)
    }
}

fn undefined(module: &str, name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("`{module}::{name}` is not defined"))
}

impl<T> Clone for Linker<T> {
    fn clone(&self) -> Self {
        Linker {
            engine: self.engine.clone(),
            modules: self.modules.clone(),
            shadowing: self.shadowing,
            data: PhantomData,
        }
    }
}

impl<T> fmt::Debug for Linker<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Linker").field("modules", &self.modules.len()).finish_non_exhaustive()
    }
}

impl<T> Linker<T> {
    /// A linker without definitions.
    pub fn new(engine: &Engine) -> Linker<T> {
        Linker { engine: engine.clone(), modules: HashMap::new(), shadowing: false, data: PhantomData }
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// May a later definition replace an earlier one? At first it may not.
    pub fn allow_shadowing(&mut self, allow: bool) -> &mut Self {
        self.shadowing = allow;
        self
    }

    /// Defines a host function.
    pub(crate) fn insert_host(&mut self, module: &str, name: &str, func: HostFunc) -> Result<&mut Self> {
        self.insert(module, name, Definition::Host(Arc::new(func)))
    }

    fn insert(&mut self, module: &str, name: &str, definition: Definition) -> Result<&mut Self> {
        if !self.modules.contains_key(module) {
            self.modules.insert(module.to_string(), HashMap::new());
        }
        let names = self.modules.entry(module.to_string()).or_default();
        match names.entry(name.to_string()) {
            Entry::Occupied(_) if !self.shadowing => {
                return Err(Error::new(ErrorKind::Link, format!("`{module}::{name}` is defined twice")));
            }
            Entry::Occupied(mut entry) => {
                entry.insert(definition);
            }
            Entry::Vacant(entry) => {
                entry.insert(definition);
            }
        }
        Ok(self)
    }

    /// Defines a thing of a store. As all that define, an error of kind `Link` if the name is defined already, unless
    /// [`Linker::allow_shadowing`] allows it.
    pub fn define(
        &mut self,
        store: impl AsContext<Data = T>,
        module: &str,
        name: &str,
        item: impl Into<Extern>,
    ) -> Result<&mut Self> {
        let item = item.into();
        item.handle().check(store.as_context().inner())?;
        self.insert(module, name, Definition::Extern(item))
    }

    /// Defines a shared memory, for every store that the linker serves. An error of kind `WrongStore` if it is of another
    /// engine. What it costs a store's limits is asked for when a module that imports it is instantiated.
    pub fn shared_memory(&mut self, module: &str, name: &str, memory: &SharedMemory) -> Result<&mut Self> {
        if !Engine::same(&self.engine, memory.engine()) {
            let message = "the shared memory and the linker are of different engines";
            return Err(Error::new(ErrorKind::WrongStore, message));
        }
        self.insert(module, name, Definition::Shared(memory.clone()))
    }

    /// Defines a host function of Rust types.
    pub fn func_wrap<Params, R>(
        &mut self,
        module: &str,
        name: &str,
        f: impl IntoFunc<T, Params, R>,
    ) -> Result<&mut Self> {
        let func = f.into_func(&self.engine)?;
        self.insert(module, name, Definition::Host(Arc::new(func)))
    }

    /// Defines a host function of values.
    pub fn func_new(
        &mut self,
        module: &str,
        name: &str,
        ty: FuncType,
        f: impl Fn(Caller<'_, T>, &[Val], &mut [Val]) -> Result<()> + Send + Sync + 'static,
    ) -> Result<&mut Self> {
        let func = HostFunc::untyped(&self.engine, &ty, f)?;
        self.insert(module, name, Definition::Host(Arc::new(func)))
    }

    /// Defines all exports of an instance.
    pub fn instance(
        &mut self,
        mut store: impl AsContextMut<Data = T>,
        module: &str,
        instance: Instance,
    ) -> Result<&mut Self> {
        for (name, item) in instance.exports(&mut store)? {
            self.insert(module, &name, Definition::Extern(item))?;
        }
        Ok(self)
    }

    /// Instantiates a module and defines its exports. Fails as [`Linker::instantiate`] does.
    pub fn module(
        &mut self,
        mut store: impl AsContextMut<Data = T>,
        name: &str,
        module: &Module,
    ) -> Result<&mut Self> {
        let instance = self.instantiate(&mut store, module)?;
        self.instance(store, name, instance)
    }

    /// Defines all of module `from` again as `to`. An error of kind `NotFound` if nothing is defined there.
    pub fn alias_module(&mut self, from: &str, to: &str) -> Result<&mut Self> {
        let names = self
            .modules
            .get(from)
            .cloned()
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("nothing is defined in `{from}`")))?;
        for (name, definition) in names {
            self.insert(to, &name, definition)?;
        }
        Ok(self)
    }

    /// Defines `module::name` again as `as_module::as_name`. An error of kind `NotFound` if it is not defined.
    pub fn alias(&mut self, module: &str, name: &str, as_module: &str, as_name: &str) -> Result<&mut Self> {
        let definition = self.find(module, name).cloned().ok_or_else(|| undefined(module, name))?;
        self.insert(as_module, as_name, definition)
    }

    /// Defines every function that the module imports and nothing defines, as one that fails when it is called.
    pub fn define_unknown_imports_as_traps(&mut self, module: &Module) -> Result<&mut Self> {
        for import in module.imports() {
            if self.find(import.module, import.name).is_some() {
                continue;
            }
            if let ExternType::Func(ty) = &import.ty {
                let message = format!("unknown import: `{}::{}` was called", import.module, import.name);
                self.func_new(import.module, import.name, ty.clone(), move |_, _, _| {
                    Err(Error::new(ErrorKind::Link, message.clone()))
                })?;
            }
        }
        Ok(self)
    }

    /// Defines all that the module imports and nothing defines, by its type alone: functions give zeros and nulls, globals
    /// are zero or null, memories and tables have their least size. All but functions are made in this store. An error
    /// as [`Memory::new`] and [`Table::new`] give it; what was defined before stays.
    pub fn define_unknown_imports_as_defaults(
        &mut self,
        mut store: impl AsContextMut<Data = T>,
        module: &Module,
    ) -> Result<&mut Self> {
        let mut store = store.as_context_mut();
        self.check_store(store.inner())?;
        for import in module.imports() {
            if self.find(import.module, import.name).is_some() {
                continue;
            }
            let made: Result<Extern> = match import.ty {
                ExternType::Func(ty) => {
                    self.func_new(import.module, import.name, ty, |_, _, _| Ok(()))?;
                    continue;
                }
                ExternType::Global(ty) => {
                    Global::new(&mut store, ty, Val::default_for(ty.value)).map(Into::into)
                }
                ExternType::Memory(ty) => Memory::new(&mut store, ty).map(Into::into),
                ExternType::Table(ty) => Table::new(&mut store, ty, Val::null(ty.element)).map(Into::into),
            };
            let made = made.map_err(|e| e.context(format!("`{}::{}`", import.module, import.name)))?;
            self.insert(import.module, import.name, Definition::Extern(made))?;
        }
        Ok(self)
    }

    fn find(&self, module: &str, name: &str) -> Option<&Definition> {
        self.modules.get(module)?.get(name)
    }

    /// What is defined by this name, as a thing of this store. An error of kind `NotFound` if nothing is.
    pub fn get(&self, mut store: impl AsContextMut<Data = T>, module: &str, name: &str) -> Result<Extern> {
        let mut store = store.as_context_mut();
        self.check_store(store.inner())?;
        let definition = self.find(module, name).ok_or_else(|| undefined(module, name))?;
        definition.checked_in(store.inner_mut())
    }

    /// All definitions, sorted by module and name.
    pub fn definitions(&self, mut store: impl AsContextMut<Data = T>) -> Result<Vec<(&str, &str, Extern)>> {
        let mut store = store.as_context_mut();
        self.check_store(store.inner())?;
        let mut all = Vec::new();
        for (module, names) in &self.modules {
            for (name, definition) in names {
                all.push((module.as_str(), name.as_str(), definition.checked_in(store.inner_mut())?));
            }
        }
        all.sort_unstable_by_key(|(module, name, _)| (*module, *name));
        Ok(all)
    }

    /// The function that stands for the whole of a module: its export without a name, or else `_start`.
    pub fn get_default(&self, mut store: impl AsContextMut<Data = T>, module: &str) -> Result<Func> {
        let name = if self.is_defined(module, "") { "" } else { "_start" };
        let found = self.get(&mut store, module, name)?;
        found.into_func().ok_or_else(|| {
            let message = format!("`{module}::{name}`: expected a function");
            Error::new(ErrorKind::Type, message)
        })
    }

    /// The numbers of function types, which a host function is made with, are those of one engine.
    fn check_store(&self, inner: &StoreInner) -> Result<()> {
        if Engine::same(&self.engine, &inner.engine) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::WrongStore, "the linker and the store are of different engines"))
    }

    /// The names that are defined in a module, in order.
    pub fn names(&self, module: &str) -> Vec<String> {
        let mut names: Vec<_> =
            self.modules.get(module).into_iter().flat_map(|names| names.keys().cloned()).collect();
        names.sort_unstable();
        names
    }

    /// Is there a definition of this name?
    pub fn is_defined(&self, module: &str, name: &str) -> bool {
        self.find(module, name).is_some()
    }

    fn resolve_all(&self, module: &Module) -> Result<Vec<Definition>> {
        let description = module.description();
        description.imports.iter().map(|import| self.resolve(module, import)).collect()
    }

    fn resolve(&self, module: &Module, import: &Import) -> Result<Definition> {
        let Some(found) = self.find(&import.module, &import.name) else {
            return Err(matching::unknown(module, import, self.hint(import)));
        };
        if let Definition::Host(func) = found
            && let Some(error) = matching::incompatible_func(module, import, &func.signature.ty)
        {
            return Err(error);
        }
        Ok(found.clone())
    }

    /// What may help with an import that is not defined.
    fn hint(&self, import: &Import) -> Option<String> {
        let Some(names) = self.modules.get(&import.module) else {
            if self.modules.is_empty() {
                return None;
            }
            let mut modules: Vec<&str> = self.modules.keys().map(String::as_str).collect();
            modules.sort_unstable();
            modules.truncate(8);
            return Some(format!("there is no `{}`, only: {}", import.module, modules.join(", ")));
        };
        let lower = import.name.to_lowercase();
        let close = names.keys().filter(|name| {
            let name = name.to_lowercase();
            name.contains(&lower) || lower.contains(&name)
        });
        close.min().map(|name| format!("did you mean `{name}`?"))
    }

    /// Finds and checks what can be checked without a store, so that instantiation need not. An error of kind `Link`, which
    /// names the import and what was expected and found, if one is not defined or of another type.
    pub fn instantiate_pre(&self, module: &Module) -> Result<InstancePre<T>> {
        check_engine(&self.engine, module)?;
        Ok(InstancePre {
            module: module.clone(),
            definitions: self.resolve_all(module)?.into(),
            data: PhantomData,
        })
    }

    /// Instantiates a module with what its imports name. Fails as [`Linker::instantiate_pre`] and [`Instance::new`] do.
    pub fn instantiate(&self, store: impl AsContextMut<Data = T>, module: &Module) -> Result<Instance> {
        self.instantiate_pre(module)?.instantiate(store)
    }
}

/// A module whose imports were found.
pub struct InstancePre<T: 'static> {
    module: Module,
    definitions: Arc<[Definition]>,
    data: PhantomData<fn(T)>,
}

impl<T> Clone for InstancePre<T> {
    fn clone(&self) -> Self {
        let (module, definitions) = (self.module.clone(), self.definitions.clone());
        InstancePre { module, definitions, data: PhantomData }
    }
}

impl<T> fmt::Debug for InstancePre<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstancePre").field("module", &self.module).finish_non_exhaustive()
    }
}

impl<T> InstancePre<T> {
    /// The module.
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// Instantiates it.
    pub fn instantiate(&self, mut store: impl AsContextMut<Data = T>) -> Result<Instance> {
        let mut store = store.as_context_mut();
        let imports = self.imports(store.inner_mut())?;
        instantiate(&mut store, &self.module, &imports)
    }

    /// The imports, made known to a store, and checked.
    pub(crate) fn imports(&self, inner: &mut StoreInner) -> Result<SmallVec<[Extern; 8]>> {
        check_engine(&inner.engine, &self.module)?;
        let of_host = |definition: &&Definition| matches!(definition, Definition::Host(_));
        inner.reserve_host_funcs(self.definitions.iter().filter(of_host).count());
        let imports: SmallVec<[Extern; 8]> =
            self.definitions.iter().map(|definition| definition.extern_in(inner)).collect::<Result<_>>()?;
        matching::check(inner, &self.module, &imports)?;
        Ok(imports)
    }
}
