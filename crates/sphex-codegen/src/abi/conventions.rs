//! Calling conventions as data: what a row says, and the rows of x86-64.
//!
//! Needs: nothing. Gives: [`convention`], one row for each name. The `sphex` row's lists are those of
//! `sphex_artifact::convention`, which the runtime reads; a test compares the two.

use crate::error::CodegenError;
use crate::settings::Arch;
use sphex_asm::register::{Reg, RegSet};
use sphex_asm::x64::operand::gpr::*;
use sphex_asm::x64::operand::xmm;
use sphex_ir::CallConv;

/// A calling convention.
#[derive(PartialEq, Eq, Debug)]
pub struct Convention {
    /// Its name.
    pub name: &'static str,
    /// Every register that code may hold values in, those of the frame included.
    pub registers: RegSet,
    /// The stack and frame pointers and what else the prologue sees to itself: never allocated, never among the saved.
    pub frame: RegSet,
    /// Integer argument registers in order.
    pub int_args: &'static [Reg],
    /// Vector argument registers in order.
    pub vector_args: &'static [Reg],
    /// Integer result registers in order.
    pub int_returns: &'static [Reg],
    /// Vector result registers in order.
    pub vector_returns: &'static [Reg],
    /// Registers that keep their value across a call.
    pub callee_saved: RegSet,
    /// Whether the `n`th argument takes the `n`th register of its class, whatever came before.
    pub by_position: bool,
    /// Bytes at the bottom of the stack arguments that belong to the callee.
    pub shadow_bytes: u32,
    /// Whether the callee pops the stack arguments; only then may calls of it be tail calls.
    pub callee_pops: bool,
    /// Whether only the last result may be in a register.
    pub last_result_in_register: bool,
    /// Whether a lone `sret` parameter is returned too.
    pub returns_sret: bool,
    /// The register that always holds vmctx, if there is one.
    pub vmctx: Option<Reg>,
    /// Where a call to another instance hands over the caller's vmctx.
    pub caller_vmctx: Reg,
}

const INT: [Reg; 16] = [RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15];
const XMM: [Reg; 16] = {
    let mut regs = [xmm(0); 16];
    let mut n = 0;
    while n < 16 {
        regs[n as usize] = xmm(n);
        n += 1;
    }
    regs
};

/// Every register that code may hold values in, the stack and frame pointers included.
const ALL_REGS: RegSet = RegSet::of(&INT).union(RegSet::of(&XMM));

/// What is never clobbered.
const FRAME: RegSet = RegSet::of(&[RSP, RBP]);

const SYSTEM_V: Convention = Convention {
    name: "system_v",
    registers: ALL_REGS,
    frame: FRAME,
    int_args: &[RDI, RSI, RDX, RCX, R8, R9],
    vector_args: &[xmm(0), xmm(1), xmm(2), xmm(3), xmm(4), xmm(5), xmm(6), xmm(7)],
    int_returns: &[RAX, RDX],
    vector_returns: &[xmm(0), xmm(1)],
    callee_saved: FRAME.union(RegSet::of(&[RBX, R12, R13, R14, R15])),
    by_position: false,
    shadow_bytes: 0,
    callee_pops: false,
    last_result_in_register: false,
    returns_sret: true,
    vmctx: None,
    caller_vmctx: R14,
};

const TAIL: Convention = Convention {
    name: "tail",
    int_returns: SYSTEM_V.int_args,
    vector_returns: SYSTEM_V.vector_args,
    callee_saved: FRAME,
    callee_pops: true,
    returns_sret: false,
    ..SYSTEM_V
};

/// Beside the frame and vmctx, three registers are kept by callees: what lives across many calls, such as a memory's base
/// in a loop, would be reloaded before each use otherwise. Not `caller_vmctx`: calls write it.
const SPHEX: Convention = Convention {
    name: "sphex",
    callee_saved: FRAME.union(RegSet::of(&[RBX, R12, R13, R15])),
    vmctx: Some(R15),
    ..TAIL
};

const WINCH: Convention = Convention {
    name: "winch",
    callee_saved: FRAME,
    last_result_in_register: true,
    returns_sret: false,
    ..SYSTEM_V
};

const PRESERVE_ALL: Convention =
    Convention { name: "preserve_all", callee_saved: ALL_REGS, returns_sret: false, ..SYSTEM_V };

const WINDOWS_FASTCALL: Convention = Convention {
    name: "windows_fastcall",
    int_args: &[RCX, RDX, R8, R9],
    vector_args: &[xmm(0), xmm(1), xmm(2), xmm(3)],
    int_returns: &[RAX],
    vector_returns: &[xmm(0)],
    callee_saved: FRAME.union(RegSet::of(&[
        RBX,
        RDI,
        RSI,
        R12,
        R13,
        R14,
        R15,
        xmm(6),
        xmm(7),
        xmm(8),
        xmm(9),
        xmm(10),
        xmm(11),
        xmm(12),
        xmm(13),
        xmm(14),
        xmm(15),
    ])),
    by_position: true,
    shadow_bytes: 32,
    ..SYSTEM_V
};

/// The convention of this name.
pub fn convention(arch: Arch, conv: CallConv) -> Result<&'static Convention, CodegenError> {
    match arch {
        Arch::X64 => x64(conv),
        Arch::Aarch64 => super::aarch64::convention(conv),
    }
}

fn x64(conv: CallConv) -> Result<&'static Convention, CodegenError> {
    static ROWS: [Convention; 6] = [SYSTEM_V, TAIL, SPHEX, WINCH, PRESERVE_ALL, WINDOWS_FASTCALL];
    Ok(match conv {
        CallConv::SystemV | CallConv::Fast => &ROWS[0],
        CallConv::Tail => &ROWS[1],
        CallConv::Sphex => &ROWS[2],
        CallConv::Winch => &ROWS[3],
        CallConv::PreserveAll => &ROWS[4],
        CallConv::WindowsFastcall => &ROWS[5],
        CallConv::AppleAarch64 => {
            return Err(CodegenError::UnsupportedConvention { conv, reason: "not a convention of x86-64" });
        }
    })
}
