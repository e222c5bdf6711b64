//! Calls in both directions: values to images and back.
//!
//! Typed calls are generic over tuples: where each value goes is computed from constants, so that what remains after
//! inlining is a store to a field of the image. Untyped ones follow the signature's placement.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::mem::MaybeUninit;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use sphex_artifact::convention::{Class, Shape};
use sphex_artifact::types::{FuncType, ValType};
use sphex_artifact::vmctx::{HostCall, Image, VmFuncRef, VmHeader};

use super::activation::{Entered, enter, raise};
use super::direct;
use super::hosts::HostEntry;
use super::image::{self, Cursor};
use super::instance::null_bits;
use super::raw::RawVal;
use super::store::{Pending, StoreData, StoreInner, StorePtr, TRAP_PENDING};
use super::stubs;
use crate::engine::{Engine, Signature};
use crate::error::{Error, ErrorKind, Result};
use crate::externref::ExternRef;
use crate::func::Func;
use crate::roots::Rooted;
use crate::store::{AsContext, AsContextMut, Caller};
use crate::value::Val;

/// A Rust type that is a wasm value: `i32 u32 i64 u64 f32 f64 Option<Func> Option<ExternRef> Option<Rooted>`.
///
/// # Safety
///
/// The bits that `into_bits` gives are a value of `TYPE` in that store.
pub unsafe trait WasmTy: Sized + 'static {
    /// The wasm type.
    const TYPE: ValType;

    /// As bits, for wasm of this store.
    #[doc(hidden)]
    fn into_bits(self, inner: &mut StoreInner) -> Result<u64>;

    /// From bits of wasm of this store.
    #[doc(hidden)]
    fn from_bits(inner: &mut StoreInner, bits: u64) -> Self;
}

macro_rules! scalar {
    ($($rust:ident $wasm:ident |$value:ident| $to:expr, |$bits:ident| $from:expr;)+) => {
        // SAFETY: every bit pattern is a number.
        $(unsafe impl WasmTy for $rust {
            const TYPE: ValType = ValType::$wasm;

            #[inline(always)]
            fn into_bits(self, _: &mut StoreInner) -> Result<u64> {
                let $value = self;
                Ok($to)
            }

            #[inline(always)]
            fn from_bits(_: &mut StoreInner, $bits: u64) -> $rust {
                $from
            }
        })+
    };
}

scalar! {
    i32 I32 |value| u64::from(value as u32), |bits| bits as u32 as i32;
    u32 I32 |value| u64::from(value), |bits| bits as u32;
    i64 I64 |value| value as u64, |bits| bits as i64;
    u64 I64 |value| value, |bits| bits;
    f32 F32 |value| u64::from(value.to_bits()), |bits| f32::from_bits(bits as u32);
    f64 F64 |value| value.to_bits(), |bits| f64::from_bits(bits);
}

// SAFETY: `funcref` checks that the function is of this store.
unsafe impl WasmTy for Option<Func> {
    const TYPE: ValType = ValType::FuncRef;

    fn into_bits(self, inner: &mut StoreInner) -> Result<u64> {
        match self {
            Some(func) => Ok(func.funcref(inner)? as u64),
            None => Ok(null_bits(ValType::FuncRef) as u64),
        }
    }

    fn from_bits(inner: &mut StoreInner, bits: u64) -> Option<Func> {
        Func::from_bits(inner, bits)
    }
}

// SAFETY: `ref_bits` makes a slot of this store.
unsafe impl WasmTy for Option<ExternRef> {
    const TYPE: ValType = ValType::ExternRef;

    fn into_bits(self, inner: &mut StoreInner) -> Result<u64> {
        inner.ref_bits(self).map(u64::from)
    }

    fn from_bits(inner: &mut StoreInner, bits: u64) -> Option<ExternRef> {
        inner.heap.get(bits as u32)
    }
}

// SAFETY: `bits` checks that the reference is rooted in this store.
unsafe impl WasmTy for Option<Rooted> {
    const TYPE: ValType = ValType::ExternRef;

    fn into_bits(self, inner: &mut StoreInner) -> Result<u64> {
        self.map_or(Ok(0), |rooted| rooted.bits(inner).map(u64::from))
    }

    fn from_bits(inner: &mut StoreInner, bits: u64) -> Option<Rooted> {
        Rooted::from_bits(inner, bits as u32)
    }
}

/// Parameters or results: a [`WasmTy`], or a tuple of up to 16 of them.
///
/// # Safety
///
/// `store` and `load` touch the area only where a `Cursor` over `TYPES` says.
pub unsafe trait WasmValues: Sized + 'static {
    /// The wasm types.
    const TYPES: &'static [ValType];

    /// Puts the values where the convention wants them.
    ///
    /// # Safety
    ///
    /// `area` has room for the slots of `TYPES`.
    #[doc(hidden)]
    unsafe fn store(self, inner: &mut StoreInner, image: &mut Image, area: *mut u8) -> Result<()>;

    /// Takes the values from where the convention puts them.
    ///
    /// # Safety
    ///
    /// `area` holds the slots of `TYPES`.
    #[doc(hidden)]
    unsafe fn load(inner: &mut StoreInner, image: &Image, area: *const u8) -> Self;
}

const fn class(ty: ValType) -> Class {
    ty.shape().class()
}

/// The cursor behind the last of these types.
pub(super) const fn end_of(types: &[ValType]) -> Cursor {
    let mut cursor = Cursor::NEW;
    let mut i = 0;
    while i < types.len() {
        cursor.next(class(types[i]));
        i += 1;
    }
    cursor
}

/// How many host references are among these types?
pub(super) const fn refs_of(types: &[ValType]) -> usize {
    let (mut count, mut i) = (0, 0);
    while i < types.len() {
        count += matches!(types[i], ValType::ExternRef) as usize;
        i += 1;
    }
    count
}

// SAFETY: one value at the first place.
unsafe impl<A: WasmTy> WasmValues for A {
    const TYPES: &'static [ValType] = &[A::TYPE];

    #[inline(always)]
    unsafe fn store(self, inner: &mut StoreInner, image: &mut Image, area: *mut u8) -> Result<()> {
        let bits = self.into_bits(inner)?;
        // SAFETY: the caller's promise.
        unsafe { image::write(image, area, const { Cursor::NEW.first(class(A::TYPE)) }, bits) };
        Ok(())
    }

    #[inline(always)]
    unsafe fn load(inner: &mut StoreInner, image: &Image, area: *const u8) -> A {
        // SAFETY: the caller's promise.
        A::from_bits(inner, unsafe { image::read(image, area, const { Cursor::NEW.first(class(A::TYPE)) }) })
    }
}

macro_rules! tuples {
    ($(($($name:ident)*))+) => {
        $(
            // SAFETY: one cursor hands out the places in order.
            #[allow(non_snake_case, unused_variables, unused_mut, clippy::unused_unit)]
            unsafe impl<$($name: WasmTy),*> WasmValues for ($($name,)*) {
                const TYPES: &'static [ValType] = &[$($name::TYPE),*];

                #[inline(always)]
                unsafe fn store(self, inner: &mut StoreInner, image: &mut Image, area: *mut u8) -> Result<()> {
                    let ($($name,)*) = self;
                    let mut cursor = Cursor::NEW;
                    $(
                        let bits = $name.into_bits(inner)?;
                        // SAFETY: the caller's promise.
                        unsafe { image::write(image, area, cursor.next(class($name::TYPE)), bits) };
                    )*
                    Ok(())
                }

                #[inline(always)]
                unsafe fn load(inner: &mut StoreInner, image: &Image, area: *const u8) -> Self {
                    let mut cursor = Cursor::NEW;
                    $(
                        // SAFETY: the caller's promise.
                        let bits = unsafe { image::read(image, area, cursor.next(class($name::TYPE))) };
                        let $name = $name::from_bits(inner, bits);
                    )*
                    ($($name,)*)
                }
            }

            #[allow(non_snake_case)]
            impl<T, Func_, R, $($name),*> IntoFunc<T, ($($name,)*), R> for Func_
            where
                T: 'static,
                Func_: Fn($($name),*) -> R + Send + Sync + 'static,
                R: WasmRet,
                $($name: WasmTy,)*
            {
                fn into_func(self, engine: &Engine) -> Result<HostFunc> {
                    HostFunc::typed(engine, move |_: Caller<'_, T>, ($($name,)*): ($($name,)*)| self($($name),*))
                }
            }

            #[allow(non_snake_case)]
            impl<T, Func_, R, $($name),*> IntoFunc<T, (Caller<'_, T>, $($name,)*), R> for Func_
            where
                T: 'static,
                Func_: Fn(Caller<'_, T>, $($name),*) -> R + Send + Sync + 'static,
                R: WasmRet,
                $($name: WasmTy,)*
            {
                fn into_func(self, engine: &Engine) -> Result<HostFunc> {
                    HostFunc::typed(engine, move |caller: Caller<'_, T>, ($($name,)*): ($($name,)*)| self(caller, $($name),*))
                }
            }
        )+
    };
}

tuples! {
    ()
    (A)
    (A B)
    (A B C)
    (A B C D)
    (A B C D E)
    (A B C D E F)
    (A B C D E F G)
    (A B C D E F G H)
    (A B C D E F G H I)
    (A B C D E F G H I J)
    (A B C D E F G H I J K)
    (A B C D E F G H I J K L)
    (A B C D E F G H I J K L M)
    (A B C D E F G H I J K L M N)
    (A B C D E F G H I J K L M N O)
    (A B C D E F G H I J K L M N O P)
}

/// What a host function may return: [`WasmValues`], or a `Result` of them with any error.
pub trait WasmRet: 'static {
    /// The values.
    type Values: WasmValues;

    /// As a result.
    #[doc(hidden)]
    fn into_result(self) -> Result<Self::Values>;
}

impl<V: WasmValues> WasmRet for V {
    type Values = V;

    #[inline(always)]
    fn into_result(self) -> Result<V> {
        Ok(self)
    }
}

impl<V: WasmValues, E: Into<Error> + 'static> WasmRet for Result<V, E> {
    type Values = V;

    #[inline(always)]
    fn into_result(self) -> Result<V> {
        self.map_err(Into::into)
    }
}

/// A Rust function that wasm can call: `Fn(params...) -> R` or `Fn(Caller<T>, params...) -> R`.
pub trait IntoFunc<T, Params, R>: Send + Sync + 'static {
    /// As a host function.
    #[doc(hidden)]
    fn into_func(self, engine: &Engine) -> Result<HostFunc>;
}

/// A host function, before it is in a store.
pub struct HostFunc {
    pub(crate) signature: Arc<Signature>,
    pub(crate) call: HostCall,
    /// The stub through which wasm calls it.
    pub(crate) code: *const u8,
    pub(super) body: Box<dyn Any + Send + Sync>,
}

// SAFETY: `code` is a stub's address; the rest is `Send` and `Sync` by itself.
unsafe impl Send for HostFunc {}
// SAFETY: as above.
unsafe impl Sync for HostFunc {}

impl fmt::Debug for HostFunc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostFunc({})", self.signature.ty)
    }
}

impl HostFunc {
    /// A function of Rust types.
    fn typed<T, P, R, F>(engine: &Engine, f: F) -> Result<HostFunc>
    where
        T: 'static,
        P: WasmValues,
        R: WasmRet,
        F: Fn(Caller<'_, T>, P) -> R + Send + Sync + 'static,
    {
        let ty = FuncType::new(P::TYPES.iter().copied(), R::Values::TYPES.iter().copied());
        let (code, call) =
            direct::host_call::<T, P, R, F>().unwrap_or((stubs::exit_code(), call_typed::<T, P, R, F>));
        Ok(HostFunc { signature: engine.intern(&ty)?, call, code, body: Box::new(f) })
    }

    /// The Rust function. A checked downcast here was half of what a call out of wasm cost.
    ///
    /// # Safety
    ///
    /// The function was made with an `F`.
    #[inline(always)]
    pub(super) unsafe fn body<F: 'static>(&self) -> &F {
        debug_assert!(self.body.is::<F>());
        // SAFETY: the caller's promise.
        unsafe { &*(&raw const *self.body).cast::<F>() }
    }

    /// A function of values.
    pub(crate) fn untyped<T, F>(engine: &Engine, ty: &FuncType, f: F) -> Result<HostFunc>
    where
        T: 'static,
        F: Fn(Caller<'_, T>, &[Val], &mut [Val]) -> Result<()> + Send + Sync + 'static,
    {
        let code = stubs::exit_code();
        Ok(HostFunc { signature: engine.intern(ty)?, call: call_untyped::<T, F>, code, body: Box::new(f) })
    }
}

/// Runs a host function's body, and leaves what it failed with in the store.
///
/// # Safety
///
/// The arguments are those of a [`HostCall`], and the store's data is a `T`.
pub(super) unsafe fn host_frame<T: 'static>(
    env: *mut u8,
    caller: *mut VmHeader,
    body: impl FnOnce(&HostFunc, &mut StoreData<T>, Option<usize>) -> Result<()>,
) {
    // SAFETY: the caller's promise; while a host function runs, wasm does not, so that the store is ours.
    unsafe { raw_host_frame::<T>(env, caller, |func, store, number| body(func, &mut *store, number)) }
}

/// As `host_frame`, for a body that may be suspended, and so must not hold the store borrowed while its poller uses it.
///
/// # Safety
///
/// As for `host_frame`.
pub(super) unsafe fn raw_host_frame<T: 'static>(
    env: *mut u8,
    caller: *mut VmHeader,
    body: impl FnOnce(&HostFunc, *mut StoreData<T>, Option<usize>) -> Result<()>,
) {
    // SAFETY: `env` is the entry that the store owns (V1); the entry into wasm noted the store's address (V2). While a
    // host function runs, wasm does not, so that the store is ours.
    let (func, store) = unsafe {
        let entry = &*env.cast::<HostEntry>();
        (&entry.func, (*entry.vm.store).host.cast::<StoreData<T>>())
    };
    let here = 0u8;
    // SAFETY: as above.
    unsafe { (*(*store).inner.vm.as_ptr()).exit_sp = &raw const here as u64 };
    // SAFETY: a caller's vmctx is one of this store (V1).
    let number = (!caller.is_null()).then(|| unsafe { (*caller).instance.addr() });
    // SAFETY: as above.
    unsafe { guarded(&raw mut (*store).inner, || body(func, store, number)) }
}

/// Runs a host function's body in a scope of roots, and leaves what it failed with in the store.
///
/// # Safety
///
/// Called for a host function that wasm of this store has called; nobody else uses the store but the body.
#[inline(always)]
pub(super) unsafe fn guarded(inner: *mut StoreInner, body: impl FnOnce() -> Result<()>) {
    // SAFETY: the caller's promise.
    let roots = unsafe { (*inner).roots.mark() };
    let result = panic::catch_unwind(AssertUnwindSafe(body));
    // SAFETY: as above.
    unsafe { (*inner).roots.release(roots) };
    match result {
        Ok(Ok(())) => {}
        // SAFETY: as above.
        Ok(Err(error)) => unsafe { raise(&mut *inner, error) },
        // SAFETY: as above.
        Err(payload) => unsafe { raise_panic(&mut *inner, payload) },
    }
}

/// As `raise`, for a panic.
#[cold]
unsafe fn raise_panic(inner: &mut StoreInner, payload: Box<dyn Any + Send>) {
    inner.pending = Some(Pending::Panic(payload));
    // SAFETY: V1.
    unsafe { (*inner.vm.as_ptr()).trap = TRAP_PENDING };
}

unsafe extern "C" fn call_typed<T, P, R, F>(env: *mut u8, caller: *mut VmHeader, image: *mut Image)
where
    T: 'static,
    P: WasmValues,
    R: WasmRet,
    F: Fn(Caller<'_, T>, P) -> R + Send + Sync + 'static,
{
    // SAFETY: the exit stub calls us with the image of a call of our signature; `HostFunc` pairs this with an `F`.
    unsafe {
        host_frame::<T>(env, caller, |func, store, number| {
            typed_into::<T, P, R, F>(func.body::<F>(), store, number, image)
        })
    }
}

/// Calls a host function of Rust types.
///
/// # Safety
///
/// The image is that of a call of its signature.
#[inline(always)]
unsafe fn typed_into<T, P, R, F>(
    f: &F,
    store: &mut StoreData<T>,
    number: Option<usize>,
    image: *mut Image,
) -> Result<()>
where
    T: 'static,
    P: WasmValues,
    R: WasmRet,
    F: Fn(Caller<'_, T>, P) -> R + Send + Sync + 'static,
{
    // SAFETY: the caller's promise.
    unsafe {
        let image = &mut *image;
        let area = return_area::<P, R::Values>(image);
        let params = P::load(&mut store.inner, image, image.stack);
        let values = f(Caller::new(store, number), params).into_result()?;
        give_results(values, &mut store.inner, image, area)
    }
}

/// Where the results that no register holds go, in a call of a host function of this type; null if there are none.
///
/// # Safety
///
/// The image is that of a call of a function `P -> R`.
#[inline(always)]
pub(super) unsafe fn return_area<P: WasmValues, R: WasmValues>(image: &Image) -> *mut u8 {
    if const { end_of(R::TYPES).bytes == 0 } {
        return std::ptr::null_mut();
    }
    let mut cursor = const { end_of(P::TYPES) };
    // SAFETY: the caller's promise: a pointer is the last argument.
    unsafe { image::read(image, image.stack, cursor.next(Class::Int)) as usize as *mut u8 }
}

/// Leaves a host function's results in the image and in the area that `return_area` gave.
///
/// # Safety
///
/// As for [`return_area`].
#[inline(always)]
pub(super) unsafe fn give_results<R: WasmValues>(
    values: R,
    inner: &mut StoreInner,
    image: &mut Image,
    area: *mut u8,
) -> Result<()> {
    if const { refs_of(R::TYPES) > 0 } {
        inner.reserve_refs(const { refs_of(R::TYPES) });
    }
    // SAFETY: the caller's promise.
    unsafe { values.store(inner, image, area) }
}

/// [`typed_into`], out of the way of a frame that may be suspended instead.
///
/// # Safety
///
/// As for `typed_into`.
#[inline(never)]
pub(super) unsafe fn typed_now<T, P, R, F>(
    f: &F,
    store: &mut StoreData<T>,
    number: Option<usize>,
    image: *mut Image,
) -> Result<()>
where
    T: 'static,
    P: WasmValues,
    R: WasmRet,
    F: Fn(Caller<'_, T>, P) -> R + Send + Sync + 'static,
{
    // SAFETY: the caller's promise.
    unsafe { typed_into::<T, P, R, F>(f, store, number, image) }
}

unsafe extern "C" fn call_untyped<T, F>(env: *mut u8, caller: *mut VmHeader, image: *mut Image)
where
    T: 'static,
    F: Fn(Caller<'_, T>, &[Val], &mut [Val]) -> Result<()> + Send + Sync + 'static,
{
    // SAFETY: the exit stub calls us with the image of a call of our signature; `HostFunc` pairs this with an `F`.
    unsafe {
        host_frame::<T>(env, caller, |func, store, number| {
            let image = &mut *image;
            let signature = &func.signature;
            let f = func.body::<F>();
            let area = image::return_area(image, &signature.placement);
            let mut params = Vec::with_capacity(signature.ty.params.len());
            for (bits, ty) in image::params(image, signature).zip(&signature.ty.params) {
                params.push(Val::from_bits(&mut store.inner, *ty, bits));
            }
            let mut results: Vec<Val> = signature.ty.results.iter().map(|ty| Val::default_for(*ty)).collect();
            f(Caller::new(store, number), &params, &mut results)?;
            store.inner.reserve_refs(Val::count_refs(&results));
            for (((place, shape), ty), value) in signature.results().zip(&signature.ty.results).zip(&results)
            {
                value.expect(*ty).map_err(|error| error.context("a host function's result"))?;
                let bits = value.to_bits(&mut store.inner)?;
                image::write_at(image, area, place, shape, bits);
            }
            Ok(())
        })
    }
}

/// Most values of a typed call, and a hidden pointer.
const TYPED: usize = 17;

/// Calls a function of Rust types, which were compared with its own.
///
/// # Safety
///
/// The function is of this store, and of type `P -> R`.
#[inline(always)]
pub(crate) unsafe fn typed<P: WasmValues, R: WasmValues>(
    store: StorePtr,
    found: Found,
    params: P,
) -> Result<R> {
    let mut area = MaybeUninit::<[u128; TYPED]>::uninit();
    let mut results = MaybeUninit::<[u128; TYPED]>::uninit();
    let mut image = image::EMPTY;
    let area: *mut u8 = area.as_mut_ptr().cast();
    let results: *mut u8 = results.as_mut_ptr().cast();
    // SAFETY: the store is ours until we return; 17 slots of 16 bytes are enough for 16 values and a pointer.
    unsafe {
        let inner = &mut *store.0.as_ptr();
        if const { refs_of(P::TYPES) > 0 } {
            inner.reserve_refs(const { refs_of(P::TYPES) });
        }
        params.store(inner, &mut image, area)?;
        let mut cursor = const { end_of(P::TYPES) };
        if const { end_of(R::TYPES).bytes > 0 } {
            image::write(&mut image, area, cursor.next(Class::Int), results as u64);
        }
        image.stack = area;
        image.stack_bytes = cursor.bytes.next_multiple_of(16) as u64;
        let funcref = *found.0;
        match direct::enter::<P, R>(store, funcref, &mut image) {
            Some(entered) => entered?,
            None => enter(store, Entered::Wasm, funcref.code, funcref.vmctx, &mut image)?,
        }
        Ok(R::load(&mut *store.0.as_ptr(), &image, results))
    }
}

/// Calls a function by its signature's placement: `give` puts the arguments into image and area, `take` gets the results
/// from there.
///
/// # Safety
///
/// `give` leaves values of the parameters' types at their places, whose references are of this store.
#[inline(always)]
unsafe fn by_placement(
    store: StorePtr,
    index: usize,
    give: impl FnOnce(&mut StoreInner, &Signature, &mut Image, *mut u8) -> Result<()>,
    take: impl FnOnce(&mut StoreInner, &Signature, &Image, *const u8),
) -> Result<()> {
    // SAFETY: the store is ours until we return; the areas are as large as the placement says. A store keeps its functions,
    // and with them their signatures, as long as it lives.
    unsafe {
        let inner = &mut *store.0.as_ptr();
        let signature = &*Arc::as_ptr(&inner.funcs[index].signature);
        let funcref = *inner.funcs[index].funcref;
        let placement = &signature.placement;
        // Empty ones, of most signatures, cost nothing.
        let mut area = image::area(placement.stack_bytes);
        let mut results = image::area(placement.return_bytes);
        let (area, results): (*mut u8, *mut u8) = (area.as_mut_ptr().cast(), results.as_mut_ptr().cast());
        let mut image = image::EMPTY;
        give(inner, signature, &mut image, area)?;
        if let Some(place) = placement.return_pointer {
            image::write_at(&mut image, area, place, Shape::Int, results as usize as u128);
        }
        image.stack = area;
        image.stack_bytes = u64::from(placement.stack_bytes);
        enter(store, Entered::Wasm, funcref.code, funcref.vmctx, &mut image)?;
        take(&mut *store.0.as_ptr(), signature, &image, results);
        Ok(())
    }
}

/// Calls a function with raw values: arguments in, results out.
///
/// # Safety
///
/// The values are of the parameters' types, and their references are of this store; there are as many as the larger of
/// parameters and results.
unsafe fn raw(store: StorePtr, index: usize, values: &mut [RawVal]) -> Result<()> {
    let values = Cell::from_mut(values).as_slice_of_cells();
    // SAFETY: the caller's promise; places are of the placement that `by_placement` made the areas for.
    unsafe {
        by_placement(
            store,
            index,
            |_, signature, image, area| {
                for ((place, shape), value) in signature.params().zip(values) {
                    image::write_at(image, area, place, shape, value.get().bits());
                }
                Ok(())
            },
            |_, signature, image, results| {
                for ((place, shape), value) in signature.results().zip(values) {
                    value.set(RawVal::new(image::read_at(image, results, place, shape)));
                }
            },
        )
    }
}

/// Calls a function with values.
pub(crate) fn untyped(store: StorePtr, index: usize, params: &[Val], results: &mut [Val]) -> Result<()> {
    let places = results.len();
    // SAFETY: whoever has a `StorePtr` borrows the store, which keeps its functions as long as it lives.
    unsafe {
        let inner = &*store.0.as_ptr();
        let func = &inner.funcs[index];
        let (signature, callee) = (&*Arc::as_ptr(&func.signature), *func.funcref);
        if let Some(scalars) = &signature.scalars
            && let Some(called) = scalars.call(store, callee, params, results)
        {
            return called;
        }
    }
    // SAFETY: whoever has a `StorePtr` borrows the store; types and number are checked, references made for this store.
    unsafe {
        by_placement(
            store,
            index,
            |inner, signature, image, area| {
                let ty = &signature.ty;
                count("arguments", ty.params.len(), params.len())?;
                count("places for results", ty.results.len(), places)?;
                inner.reserve_refs(Val::count_refs(params));
                for (i, (((place, shape), ty), param)) in
                    signature.params().zip(&ty.params).zip(params).enumerate()
                {
                    param.expect(*ty).map_err(|error| error.context(format!("argument {i}")))?;
                    image::write_at(image, area, place, shape, param.to_bits(inner)?);
                }
                Ok(())
            },
            |inner, signature, image, area| {
                for (((place, shape), ty), result) in
                    signature.results().zip(&signature.ty.results).zip(results)
                {
                    *result = Val::from_bits(inner, *ty, image::read_at(image, area, place, shape));
                }
            },
        )
    }
}

fn count(what: &str, expected: usize, found: usize) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Type, format!("expected {expected} {what}, found {found}")))
}

/// Calls a function of an instance that takes and gives nothing: the start function.
pub(crate) fn start(store: StorePtr, number: usize, function: u32) -> Result<()> {
    // SAFETY: whoever has a `StorePtr` borrows the store; validation says that the start function is of type [] -> [].
    unsafe {
        let inner = &mut *store.0.as_ptr();
        let (code, vmctx) = inner.instances[number]
            .callee(function)
            .ok_or_else(|| Error::new(ErrorKind::Artifact, "a start function without code"))?;
        enter(store, Entered::Wasm, code, vmctx, &mut image::EMPTY.clone())
    }
}

impl Func {
    /// Calls without checks: `values` holds the arguments and receives the results.
    ///
    /// # Safety
    ///
    /// There are at least as many values as the function has parameters and as it has results; arguments are of the
    /// parameters' types; references among them are of this store, and host references are still held by its wasm.
    pub unsafe fn call_unchecked(&self, mut store: impl AsContextMut, values: &mut [RawVal]) -> Result<()> {
        let mut store = store.as_context_mut();
        let index = self.0.check(store.inner())?;
        // SAFETY: the caller's promise.
        unsafe { raw(store.as_ptr(), index, values) }
    }
}

impl Func {
    /// The function that a raw function reference of this store is; `None` for null.
    ///
    /// # Safety
    ///
    /// The value is a function reference that wasm of this store, or [`Func::to_raw`] with this store, gave.
    pub unsafe fn from_raw(mut store: impl AsContextMut, raw: RawVal) -> Option<Func> {
        let mut store = store.as_context_mut();
        Func::from_bits(store.inner_mut(), raw.funcref() as u64)
    }

    /// The function as a raw function reference.
    pub fn to_raw(&self, store: impl AsContext) -> Result<RawVal> {
        Ok(RawVal::new(self.funcref(store.as_context().inner())? as usize as u128))
    }
}

/// A function of a store, found once for many calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found(*const VmFuncRef);

// SAFETY: what it points to is never written; who follows it has the store, which keeps it (V1).
unsafe impl Send for Found {}
// SAFETY: as above.
unsafe impl Sync for Found {}

impl Found {
    /// The function at an index of the store.
    pub(crate) fn new(inner: &StoreInner, index: usize) -> Found {
        Found(inner.funcs[index].funcref)
    }
}

/// [`typed`] for a function whose type was compared when its `TypedFunc` was made. The store is that of its handle.
#[inline(always)]
pub(crate) fn typed_checked<P: WasmValues, R: WasmValues>(
    store: StorePtr,
    found: Found,
    params: P,
) -> Result<R> {
    // SAFETY: only `Func::typed` makes a `TypedFunc`, after comparing the types; its methods have checked the handle, whose
    // store's number is never used again.
    unsafe { typed(store, found, params) }
}
