//! Calls whose values all travel in registers, in both directions, without an image in memory.
//!
//! *Needs* an ISA whose convention hands out C's registers in C's order (x86-64; elsewhere `direct/absent.rs` stands
//! here). Then a C function with six integers and eight floats in front takes just what wasm passes, wherever the
//! signature mixes them; a register that the signature does not use is an argument that is not initialised, and costs
//! nothing. *Gives* the call of a `TypedFunc`, and the C function of a typed host function. Values go through an
//! [`Image`] that only the Rust compiler sees: what is left of it is the registers.

use std::arch::asm;
use std::mem::{MaybeUninit, transmute};

use sphex_artifact::convention::Shape;
use sphex_artifact::types::ValType;
use sphex_artifact::vmctx::{HostCall, Image, VmFuncRef, VmHeader, VmStore};

use super::activation::{Entered, enter_by};
use super::call::{WasmRet, WasmValues, end_of, guarded, refs_of};
use super::hosts::HostEntry;
use super::image;
use super::store::{StoreData, StorePtr};
use super::stubs;
use crate::error::Result;
use crate::store::Caller;

type Int = MaybeUninit<u64>;
type Float = MaybeUninit<f64>;

/// What `stubs::exit_registers` calls, for a function that gives a `V`.
#[rustfmt::skip]
type Exit<V> = unsafe extern "C" fn(
    Int, Int, Int, Int, Int, Int, Float, Float, Float, Float, Float, Float, Float, Float,
    env: *mut u8, caller: *mut VmHeader,
) -> V;

/// Do the values of this signature travel in registers, with one result at most?
const fn fits(params: &[ValType], results: &[ValType]) -> bool {
    end_of(params).bytes == 0 && results.len() <= 1
}

const fn is_float(ty: ValType) -> bool {
    !matches!(ty.shape(), Shape::Int)
}

const fn gives_float(results: &[ValType]) -> bool {
    results.len() == 1 && is_float(results[0])
}

/// How many of these stand in integer or in vector registers?
const fn count(types: &[ValType], floats: bool) -> usize {
    let (mut count, mut i) = (0, 0);
    while i < types.len() {
        count += (is_float(types[i]) == floats) as usize;
        i += 1;
    }
    count
}

/// Calls a function of type `P -> R` with what is in the image's registers, and puts its result there. `None`, and nothing
/// is done, if the values need more than registers.
///
/// # Safety
///
/// As for `activation::enter`.
#[inline(always)]
pub(super) unsafe fn enter<P: WasmValues, R: WasmValues>(
    store: StorePtr,
    callee: VmFuncRef,
    image: &mut Image,
) -> Option<Result<()>> {
    if const { !fits(P::TYPES, R::TYPES) } {
        return None;
    }
    // SAFETY: the stub is what `Enter` says; the rest is the caller's promise.
    unsafe {
        Some(enter_by(store, Entered::Wasm, 0, |vm| {
            let (status, int, float) = call_stub::<P>(callee, image, vm);
            // Whichever it is, something is there.
            if const { gives_float(R::TYPES) } {
                image.vector[0] = [float.assume_init().to_bits(), 0];
            } else {
                image.int[0] = int.assume_init();
            }
            status
        }))
    }
}

/// Calls the stub. The registers that callees of C keep are lost behind a trap, and so are said to be lost here: Rust has
/// saved them already if it needs them, and the stub need not.
///
/// # Safety
///
/// As for `enter`.
#[inline(always)]
unsafe fn call_stub<P: WasmValues>(callee: VmFuncRef, image: &Image, vm: *mut VmStore) -> (u64, Int, Float) {
    let int = |i: usize| {
        if i < const { count(P::TYPES, false) } { Int::new(image.int[i]) } else { Int::uninit() }
    };
    let float = |i: usize| {
        let used = i < const { count(P::TYPES, true) };
        if used { Float::new(f64::from_bits(image.vector[i][0])) } else { Float::uninit() }
    };
    let (mut first, mut result) = (int(0), float(0));
    let status: u64;
    // SAFETY: the stub takes these registers and loses those that are named or that C's callees may lose; the rest is the
    // caller's promise.
    unsafe {
        asm!(
            "call {stub}",
            stub = sym stubs::enter_registers,
            inout("rax") vm => status,
            inout("r11") callee.code => _,
            inout("r15") callee.vmctx => _,
            inout("rdi") first,
            in("rsi") int(1),
            in("rdx") int(2),
            in("rcx") int(3),
            in("r8") int(4),
            in("r9") int(5),
            inout("xmm0") result,
            in("xmm1") float(1),
            in("xmm2") float(2),
            in("xmm3") float(3),
            in("xmm4") float(4),
            in("xmm5") float(5),
            in("xmm6") float(6),
            in("xmm7") float(7),
            out("r12") _,
            out("r13") _,
            out("r14") _,
            clobber_abi("sysv64"),
        );
    }
    (status, first, result)
}

/// The stub and the C function of a typed host function, if its values travel in registers. The function is to be called
/// by that stub only.
pub(super) fn host_call<T, P, R, F>() -> Option<(*const u8, HostCall)>
where
    T: 'static,
    P: WasmValues,
    R: WasmRet,
    F: Fn(Caller<'_, T>, P) -> R + Send + Sync + 'static,
{
    if const { !fits(P::TYPES, <R::Values as WasmValues>::TYPES) } {
        return None;
    }
    let stub = stubs::exit_registers as *const () as *const u8;
    // SAFETY: only a change of the pointer's type; the stub calls it as what it is.
    let call = unsafe {
        if const { gives_float(<R::Values as WasmValues>::TYPES) } {
            transmute::<Exit<f64>, HostCall>(call_float::<T, P, R, F>)
        } else {
            transmute::<Exit<u64>, HostCall>(call_int::<T, P, R, F>)
        }
    };
    Some((stub, call))
}

macro_rules! host_calls {
    ($($name:ident $result:ty, |$image:ident| $value:expr;)+) => {
        $(
            #[allow(clippy::too_many_arguments)]
            #[rustfmt::skip]
            unsafe extern "C" fn $name<T, P, R, F>(
                i0: Int, i1: Int, i2: Int, i3: Int, i4: Int, i5: Int,
                f0: Float, f1: Float, f2: Float, f3: Float, f4: Float, f5: Float, f6: Float, f7: Float,
                env: *mut u8, caller: *mut VmHeader,
            ) -> $result
            where
                T: 'static,
                P: WasmValues,
                R: WasmRet,
                F: Fn(Caller<'_, T>, P) -> R + Send + Sync + 'static,
            {
                let mut $image = image::EMPTY;
                // SAFETY: called by `exit_registers`, for a function of this signature and body.
                unsafe {
                    gather::<P>(&mut $image, [i0, i1, i2, i3, i4, i5], [f0, f1, f2, f3, f4, f5, f6, f7]);
                    call::<T, P, R, F>(env, caller, &mut $image);
                }
                $value
            }
        )+
    };
}

host_calls! {
    call_int u64, |image| image.int[0];
    call_float f64, |image| f64::from_bits(image.vector[0][0]);
}

/// Puts the registers that the parameters use into an image.
///
/// # Safety
///
/// Those are initialised.
#[inline(always)]
unsafe fn gather<P: WasmValues>(image: &mut Image, ints: [Int; 6], floats: [Float; 8]) {
    for (i, int) in ints.into_iter().enumerate().take(const { count(P::TYPES, false) }) {
        // SAFETY: the caller's promise.
        image.int[i] = unsafe { int.assume_init() };
    }
    for (i, float) in floats.into_iter().enumerate().take(const { count(P::TYPES, true) }) {
        // SAFETY: as above.
        image.vector[i] = [unsafe { float.assume_init() }.to_bits(), 0];
    }
}

/// # Safety
///
/// `env` is of a host function made with an `F`, in a store whose data is a `T`; the image holds a `P`.
#[inline(always)]
unsafe fn call<T, P, R, F>(env: *mut u8, caller: *mut VmHeader, image: &mut Image)
where
    T: 'static,
    P: WasmValues,
    R: WasmRet,
    F: Fn(Caller<'_, T>, P) -> R + Send + Sync + 'static,
{
    // SAFETY: the caller's promise; `env` is the entry that the store owns (V1), and the entry into wasm noted the
    // store's address (V2). While a host function runs, wasm does not, so that the store is ours.
    unsafe {
        let entry = env.cast::<HostEntry>();
        let f = &*(*entry).body.cast::<F>();
        let store = (*(*entry).vm.store).host.cast::<StoreData<T>>();
        guarded(&raw mut (*store).inner, || {
            let number = (!caller.is_null()).then(|| (*caller).instance.addr());
            let params = P::load(&mut (*store).inner, image, std::ptr::null());
            let values = f(Caller::new(&mut *store, number), params).into_result()?;
            let inner = &mut (*store).inner;
            if const { refs_of(<R::Values as WasmValues>::TYPES) > 0 } {
                inner.reserve_refs(const { refs_of(<R::Values as WasmValues>::TYPES) });
            }
            values.store(inner, image, std::ptr::null_mut())
        })
    }
}
