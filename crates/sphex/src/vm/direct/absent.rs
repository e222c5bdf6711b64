//! What stands for `direct` where wasm's convention is not close enough to C's: every call goes through an image.

use sphex_artifact::vmctx::{HostCall, Image, VmFuncRef};

use super::call::{WasmRet, WasmValues};
use super::store::StorePtr;
use crate::error::Result;
use crate::store::Caller;

/// No call is made.
#[inline(always)]
pub(super) unsafe fn enter<P: WasmValues, R: WasmValues>(
    _: StorePtr,
    _: VmFuncRef,
    _: &mut Image,
) -> Option<Result<()>> {
    None
}

/// No host function has one.
pub(super) fn host_call<T, P, R, F>() -> Option<(*const u8, HostCall)>
where
    T: 'static,
    P: WasmValues,
    R: WasmRet,
    F: Fn(Caller<'_, T>, P) -> R + Send + Sync + 'static,
{
    None
}
