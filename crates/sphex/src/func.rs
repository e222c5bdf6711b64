//! Functions: of wasm or of the host, called with values or with Rust types.

use std::marker::PhantomData;
use std::sync::Arc;

use sphex_artifact::vmctx::VmFuncRef;

use crate::error::{Error, ErrorKind, Result};
use crate::store::{AsContext, AsContextMut, Caller, Handle};
use crate::types::FuncType;
use crate::value::Val;
use crate::vm::call::{self, Found, HostFunc, IntoFunc, WasmValues};
use crate::vm::store::StoreInner;

/// A function of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Func(pub(crate) Handle);

impl Func {
    /// A host function of Rust types: `Fn(params...) -> R` or `Fn(Caller<T>, params...) -> R`, where `R` is what it gives or
    /// a `Result` of that with any error. It stays in the store until the store is dropped.
    pub fn wrap<T: 'static, Params, R>(
        mut store: impl AsContextMut<Data = T>,
        f: impl IntoFunc<T, Params, R>,
    ) -> Result<Func> {
        let mut store = store.as_context_mut();
        let func = Arc::new(f.into_func(store.engine())?);
        Ok(Func::from_host(store.inner_mut(), &func))
    }

    /// A host function of values. It gets the arguments and places for the results, which hold zeros and nulls. If it
    /// leaves a value there that is not of the result's type, the call fails with an error of kind `Type`.
    pub fn new<T: 'static>(
        mut store: impl AsContextMut<Data = T>,
        ty: FuncType,
        f: impl Fn(Caller<'_, T>, &[Val], &mut [Val]) -> Result<()> + Send + Sync + 'static,
    ) -> Result<Func> {
        let mut store = store.as_context_mut();
        let func = Arc::new(HostFunc::untyped(store.engine(), &ty, f)?);
        Ok(Func::from_host(store.inner_mut(), &func))
    }

    pub(crate) fn from_host(inner: &mut StoreInner, func: &Arc<HostFunc>) -> Func {
        let index = inner.add_host_func(func);
        Func(Handle { store: inner.id, index })
    }

    pub(crate) fn from_bits(inner: &mut StoreInner, bits: u64) -> Option<Func> {
        Func::from_funcref(inner, std::ptr::with_exposed_provenance(bits as usize))
    }

    pub(crate) fn from_funcref(inner: &mut StoreInner, funcref: *const VmFuncRef) -> Option<Func> {
        let index = inner.intern_func(funcref)?;
        Some(Func(Handle { store: inner.id, index }))
    }

    pub(crate) fn funcref(&self, inner: &StoreInner) -> Result<*const VmFuncRef> {
        Ok(inner.funcs[self.0.check(inner)?].funcref)
    }

    /// Its type.
    pub fn ty(&self, store: impl AsContext) -> Result<FuncType> {
        let store = store.as_context();
        let inner = store.inner();
        Ok(inner.funcs[self.0.check(inner)?].signature.ty.clone())
    }

    /// Calls it. `results` has a place for each result.
    ///
    /// An error of kind `Type` if number or types of the values are not the function's; `Trap` if wasm traps; what a host
    /// function fails with, as it gave it; `WouldSuspend` if an async host function is reached. The store stays usable.
    pub fn call(&self, mut store: impl AsContextMut, params: &[Val], results: &mut [Val]) -> Result<()> {
        let mut store = store.as_context_mut();
        let index = self.0.check(store.inner())?;
        call::untyped(store.as_ptr(), index, params, results)
    }

    /// Calls it and gives its results.
    pub fn call_values(&self, mut store: impl AsContextMut, params: &[Val]) -> Result<Vec<Val>> {
        let mut store = store.as_context_mut();
        let index = self.0.check(store.inner())?;
        let ty = store.inner().funcs[index].signature.clone();
        let mut results: Vec<Val> = ty.ty.results.iter().map(|ty| Val::default_for(*ty)).collect();
        call::untyped(store.as_ptr(), index, params, &mut results)?;
        Ok(results)
    }

    /// As a function of Rust types. An error of kind `Type` if it is of another type.
    pub fn typed<P: WasmValues, R: WasmValues>(&self, store: impl AsContext) -> Result<TypedFunc<P, R>> {
        let store = store.as_context();
        let index = self.0.check(store.inner())?;
        let ty = &store.inner().funcs[index].signature.ty;
        if *ty.params != *P::TYPES || *ty.results != *R::TYPES {
            let asked = FuncType::new(P::TYPES.iter().copied(), R::TYPES.iter().copied());
            let message = format!("type mismatch: expected function {asked}, found function {ty}");
            return Err(Error::new(ErrorKind::Type, message));
        }
        Ok(TypedFunc { func: *self, found: Found::new(store.inner(), index), types: PhantomData })
    }
}

/// A function of a store whose type is known to Rust.
#[derive(Debug)]
pub struct TypedFunc<P, R> {
    func: Func,
    found: Found,
    types: PhantomData<fn(P) -> R>,
}

impl<P, R> Clone for TypedFunc<P, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P, R> Copy for TypedFunc<P, R> {}

impl<P: WasmValues, R: WasmValues> TypedFunc<P, R> {
    /// Calls it. Fails as [`Func::call`] does, but for types, which were compared when this was made.
    // Some sixty instructions; a quarter more if it is a call itself.
    #[inline(always)]
    pub fn call(&self, mut store: impl AsContextMut, params: P) -> Result<R> {
        let mut store = store.as_context_mut();
        let found = self.found_in(store.inner())?;
        call::typed_checked(store.as_ptr(), found, params)
    }

    /// What is called, if the store is the function's.
    #[inline(always)]
    pub(crate) fn found_in(&self, inner: &StoreInner) -> Result<Found> {
        self.func.0.check(inner)?;
        Ok(self.found)
    }

    /// The function.
    pub fn func(&self) -> Func {
        self.func
    }
}
