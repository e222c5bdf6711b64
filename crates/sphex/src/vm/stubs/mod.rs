//! The pieces of assembly between host and wasm, one set an ISA.
//!
//! - `enter(code, vmctx, image, store) -> status`: loads registers and stack area from the image, calls, stores the
//!   result registers to the image. 0: returned; 1: unwound.
//! - `exit`: the code of every host function: stores registers to an image, calls `VmHostFunc.call`, loads the results.
//! - `enter_registers`, `exit_registers`: the same for signatures whose values all travel in registers; x86-64 only, where
//!   the convention's registers are those of C in the same order, so that neither has to move any.
//! - `unwind(store)`: leaves wasm for the newest `enter`, which then returns 1.
//! - `fault`: where the signal handler sends a faulting thread: notes the trap (on the stack of the faulting wasm, which
//!   is still whole), then unwinds.
//! - `pause`: where the signal handler sends a thread whose wasm found an interruption in a loop: saves every register,
//!   looks at it, and goes back behind the fault, or unwinds.
//! - `resolve`: where the stub of a function goes that is compiled when it is first called; x86-64 only.
//! - one per builtin: notes where wasm left, calls the Rust function, unwinds if it left a trap in the store.
//! - `leaf`: builtins that need none of that, because they only move bytes; on x86-64 only.

use sphex_artifact::builtins::BUILTINS;

/// Calls a macro with the names of all builtins, in the order of the contract's table.
macro_rules! builtin_names {
    ($macro:ident) => {
        $macro! {
            memory_grow memory_copy memory_fill memory_move memory_set memory_init data_drop table_grow_func
            table_grow_extern table_fill_func table_fill_extern table_copy table_init elem_drop limit_hit out_of_fuel trap
            ceil_f32 ceil_f64 floor_f32 floor_f64 trunc_f32 trunc_f64 nearest_f32 nearest_f64 fma_f32 fma_f64
            memory_atomic_notify memory_atomic_wait32 memory_atomic_wait64
        }
    };
}

macro_rules! names {
    ($($name:ident)+) => {
        const NAMES: &[&str] = &[$(stringify!($name)),+];
    };
}

builtin_names! { names }

/// The stubs stand in the order of the table.
const _: () = {
    assert!(NAMES.len() == BUILTINS.len());
    let mut i = 0;
    while i < NAMES.len() {
        let (ours, theirs) = (NAMES[i].as_bytes(), BUILTINS[i].name.as_bytes());
        assert!(ours.len() == theirs.len());
        let mut j = 0;
        while j < ours.len() {
            assert!(ours[j] == theirs[j]);
            j += 1;
        }
        i += 1;
    }
};

#[cfg(target_arch = "x86_64")]
mod x64;
#[cfg(target_arch = "x86_64")]
pub(crate) use x64::{BUILTIN_CODE, enter, enter_registers, exit, exit_registers, fault, pause};

#[cfg(all(feature = "compiler", target_os = "linux", target_arch = "x86_64"))]
pub(crate) use x64::resolve;

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "aarch64")]
pub(crate) use aarch64::{BUILTIN_CODE, enter, exit, fault, pause};

/// The address of `exit`.
pub(crate) fn exit_code() -> *const u8 {
    exit as *const () as *const u8
}
