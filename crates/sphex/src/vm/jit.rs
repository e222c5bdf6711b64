//! Entering code that was compiled from CLIF, by its trampoline.

use std::sync::Arc;

use super::activation::{Entered, enter};
use super::code::Code;
use super::image;
use super::store::StorePtr;
use crate::error::Result;

/// Calls a trampoline of this code with an array of slots.
///
/// # Safety
///
/// `trampoline` is one of this code's, there are slots for its arguments and results, and the function that it calls may
/// run with these arguments.
pub(crate) unsafe fn call_trampoline(
    store: StorePtr,
    code: &Arc<Code>,
    trampoline: *const u8,
    vmctx: usize,
    slots: &mut [u128],
) -> Result<()> {
    debug_assert!(code.text().contains(&trampoline.addr()));
    let mut image = image::EMPTY;
    image.int[0] = slots.as_mut_ptr() as u64;
    // SAFETY: the trampoline takes one pointer, in the first integer register of both conventions it may have; `code` is
    // borrowed meanwhile (V3). The rest is the caller's promise.
    unsafe {
        enter(store, Entered::Clif, trampoline, std::ptr::with_exposed_provenance_mut(vmctx), &mut image)
    }
}
