//! The async half of the API: calls that may wait, beside those that may not.
//!
//! Any store can do both. `call_async` runs wasm on a stack of its own; when an async host function has to wait, the call's
//! future is pending, and the thread is free for others. Futures are the standard library's: any executor will do, and the
//! future may move between threads from poll to poll if the store's data is `Send`.
//!
//! What is sync stays so: a [`call`](crate::TypedFunc::call) that reaches an async host function fails with
//! [`ErrorKind::WouldSuspend`](crate::ErrorKind::WouldSuspend), before that function's future is made, whether or not it
//! would have been ready at once. So does a sync call that a host function makes in the middle of an async one.
//!
//! What stops wasm (an interrupt, an epoch, a deadline, see [`Store`](crate::Store)) also ends a call that waits in an
//! async host function: it wakes the call's task, the call ends with that trap, and the function's future is dropped.
//!
//! A call that is dropped before it is ready is cancelled: futures of host functions are dropped and wasm is unwound,
//! before the drop returns. The store may be used again, like after a trap.

use std::future::Future;
use std::sync::Arc;

use crate::error::Result;
use crate::externs::Extern;
use crate::func::{Func, TypedFunc};
use crate::instance::{Instance, check_imports, instantiate_only};
use crate::linker::{InstancePre, Linker};
use crate::module::Module;
use crate::store::{AsContextMut, Caller, StoreContextMut};
use crate::types::FuncType;
use crate::value::Val;
use crate::vm::async_call::OnFiber;
use crate::vm::call::{self, HostFunc, WasmRet, WasmValues};

/// What an async host function returns: `Box::new(async move { ... })`.
pub type HostFuture<'a, R> = Box<dyn Future<Output = R> + Send + 'a>;

impl<P: WasmValues, R: WasmValues> TypedFunc<P, R> {
    /// Calls it on a stack of its own, where async host functions may wait.
    ///
    /// ```
    /// # #[cfg(feature = "compiler")] fn main() -> sphex::Result<()> {
    /// use sphex::{Caller, Engine, Linker, Module, Store};
    ///
    /// let engine = Engine::default();
    /// let module = Module::new(&engine, r#"(module
    ///     (import "host" "later" (func $later (param i32) (result i32)))
    ///     (func (export "f") (param i32) (result i32)
    ///         (i32.add (call $later (local.get 0)) (i32.const 1))))"#)?;
    /// let mut linker = Linker::new(&engine);
    /// linker.func_wrap_async("host", "later", |_: Caller<'_, ()>, (n,): (i32,)| {
    ///     Box::new(async move {
    ///         // Wait for something here.
    ///         n * 10
    ///     })
    /// })?;
    /// # fn block_on<F: Future>(future: F) -> F::Output {
    /// #     let mut future = std::pin::pin!(future);
    /// #     let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    /// #     loop {
    /// #         if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
    /// #             return output;
    /// #         }
    /// #     }
    /// # }
    /// # // With an executor of your choice:
    /// block_on(async {
    ///     let mut store = Store::new(&engine, ());
    ///     let instance = linker.instantiate_async(&mut store, &module).await?;
    ///     let f = instance.get_typed_func::<i32, i32>(&mut store, "f")?;
    ///     assert_eq!(f.call_async(&mut store, 4).await?, 41);
    ///     Ok(())
    /// })
    /// # }
    /// # #[cfg(not(feature = "compiler"))] fn main() {}
    /// ```
    ///
    /// The future is `Send` if the store's data is, and not otherwise:
    ///
    /// ```compile_fail,E0277
    /// use std::rc::Rc;
    /// fn sent<F: Send>(_: F) {}
    /// fn f(mut store: sphex::Store<Rc<u32>>, f: sphex::TypedFunc<(), ()>) {
    ///     sent(f.call_async(&mut store, ()));
    /// }
    /// ```
    pub fn call_async<S: AsContextMut>(
        &self,
        mut store: S,
        params: P,
    ) -> impl Future<Output = Result<R>> + use<S, P, R> {
        let func = *self;
        async move {
            let store = store.as_context_mut();
            let found = func.found_in(store.inner())?;
            OnFiber::new(store, move |at| call::typed_checked::<P, R>(at, found, params)).await
        }
    }
}

impl Func {
    /// Calls it on a stack of its own, where async host functions may wait. `results` has a place for each result.
    pub fn call_async<'a, S: AsContextMut + 'a>(
        &self,
        mut store: S,
        params: &'a [Val],
        results: &'a mut [Val],
    ) -> impl Future<Output = Result<()>> + use<'a, S> {
        let func = *self;
        async move {
            let store = store.as_context_mut();
            let index = func.0.check(store.inner())?;
            OnFiber::new(store, move |at| call::untyped(at, index, params, results)).await
        }
    }

    /// An async host function of Rust types. Parameters come as a tuple.
    pub fn wrap_async<T, P, R>(
        mut store: impl AsContextMut<Data = T>,
        f: impl for<'a> Fn(Caller<'a, T>, P) -> HostFuture<'a, R> + Send + Sync + 'static,
    ) -> Result<Func>
    where
        T: 'static,
        P: WasmValues,
        R: WasmRet,
    {
        let mut store = store.as_context_mut();
        let func = Arc::new(HostFunc::typed_async(store.engine(), f)?);
        Ok(Func::from_host(store.inner_mut(), &func))
    }

    /// An async host function of values. It gets the arguments and places for the results, which hold zeros and nulls.
    pub fn new_async<T: 'static>(
        mut store: impl AsContextMut<Data = T>,
        ty: FuncType,
        f: impl for<'a> Fn(Caller<'a, T>, &'a [Val], &'a mut [Val]) -> HostFuture<'a, Result<()>>
        + Send
        + Sync
        + 'static,
    ) -> Result<Func> {
        let mut store = store.as_context_mut();
        let func = Arc::new(HostFunc::untyped_async(store.engine(), &ty, f)?);
        Ok(Func::from_host(store.inner_mut(), &func))
    }
}

impl<T> Linker<T> {
    /// Defines an async host function of Rust types: `|caller, (a, b): (i32, i64)| Box::new(async move { ... })`. It can
    /// only be reached by async calls.
    pub fn func_wrap_async<P, R>(
        &mut self,
        module: &str,
        name: &str,
        f: impl for<'a> Fn(Caller<'a, T>, P) -> HostFuture<'a, R> + Send + Sync + 'static,
    ) -> Result<&mut Self>
    where
        P: WasmValues,
        R: WasmRet,
    {
        let func = HostFunc::typed_async(self.engine(), f)?;
        self.insert_host(module, name, func)
    }

    /// Defines a host function with two bodies: `now` for calls that may not wait, which does its work at once or blocks,
    /// and `later` for those that may. Wasm that was entered by `call_async` gets `later`; all else, such as a sync call
    /// that a host function makes in the middle of an async one, gets `now`.
    ///
    /// ```
    /// # #[cfg(feature = "compiler")] fn main() -> sphex::Result<()> {
    /// use std::time::Duration;
    /// use sphex::{Caller, Engine, Linker, Module, Store};
    ///
    /// let engine = Engine::default();
    /// let mut linker = Linker::new(&engine);
    /// linker.func_wrap_either(
    ///     "host",
    ///     "sleep",
    ///     |_: Caller<'_, ()>, (ms,): (u32,)| std::thread::sleep(Duration::from_millis(ms.into())),
    ///     |_, (_ms,)| Box::new(async move { /* your executor's timer */ }),
    /// )?;
    /// let module = Module::new(&engine, r#"(module (import "host" "sleep" (func (param i32)))
    ///     (func (export "nap") (call 0 (i32.const 1))))"#)?;
    /// let mut store = Store::new(&engine, ());
    /// let instance = linker.instantiate(&mut store, &module)?;
    /// let nap = instance.get_typed_func::<(), ()>(&mut store, "nap")?;
    /// nap.call(&mut store, ())?;
    /// # let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    /// # assert!(std::pin::pin!(nap.call_async(&mut store, ())).poll(&mut context).is_ready());
    /// // nap.call_async(&mut store, ()).await?;
    /// # Ok(()) }
    /// # #[cfg(not(feature = "compiler"))] fn main() {}
    /// ```
    pub fn func_wrap_either<P, R>(
        &mut self,
        module: &str,
        name: &str,
        now: impl Fn(Caller<'_, T>, P) -> R + Send + Sync + 'static,
        later: impl for<'a> Fn(Caller<'a, T>, P) -> HostFuture<'a, R> + Send + Sync + 'static,
    ) -> Result<&mut Self>
    where
        P: WasmValues,
        R: WasmRet,
    {
        let func = HostFunc::either(self.engine(), now, later)?;
        self.insert_host(module, name, func)
    }

    /// Defines an async host function of values.
    pub fn func_new_async(
        &mut self,
        module: &str,
        name: &str,
        ty: FuncType,
        f: impl for<'a> Fn(Caller<'a, T>, &'a [Val], &'a mut [Val]) -> HostFuture<'a, Result<()>>
        + Send
        + Sync
        + 'static,
    ) -> Result<&mut Self> {
        let func = HostFunc::untyped_async(self.engine(), &ty, f)?;
        self.insert_host(module, name, func)
    }

    /// Instantiates a module with what its imports name; its start function may wait.
    pub fn instantiate_async<S: AsContextMut<Data = T>>(
        &self,
        store: S,
        module: &Module,
    ) -> impl Future<Output = Result<Instance>> + use<S, T> {
        let pre = self.instantiate_pre(module);
        async move { pre?.instantiate_async(store).await }
    }
}

impl<T> InstancePre<T> {
    /// Instantiates it; its start function may wait.
    pub fn instantiate_async<S: AsContextMut<Data = T>>(
        &self,
        mut store: S,
    ) -> impl Future<Output = Result<Instance>> + use<S, T> {
        let pre = self.clone();
        async move {
            let mut store = store.as_context_mut();
            let imports = pre.imports(store.inner_mut())?;
            instantiate(store, pre.module(), &imports).await
        }
    }
}

impl Instance {
    /// Instantiates a module with its imports, in the module's order; its start function may wait.
    pub fn new_async<S: AsContextMut>(
        mut store: S,
        module: &Module,
        imports: &[Extern],
    ) -> impl Future<Output = Result<Instance>> + use<S> {
        let (module, imports) = (module.clone(), imports.to_vec());
        async move {
            let store = store.as_context_mut();
            check_imports(store.inner(), &module, &imports)?;
            instantiate(store, &module, &imports).await
        }
    }
}

/// Instantiates with imports that were checked.
async fn instantiate<T: 'static>(
    mut store: StoreContextMut<'_, T>,
    module: &Module,
    imports: &[Extern],
) -> Result<Instance> {
    let (instance, start) = instantiate_only(store.inner_mut(), module, imports)?;
    if let Some(function) = start {
        let number = instance.0.index as usize;
        OnFiber::new(store, move |at| call::start(at, number, function)).await?;
    }
    Ok(instance)
}
