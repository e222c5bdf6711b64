//! Calling conventions of AArch64.
//!
//! Needs: the words of [`super::conventions`]. Gives: [`convention`]. The `sphex` row's lists are those of
//! `sphex_artifact::convention`, which the runtime reads; a test compares the two.
//!
//! What the data does not say: x16 and x17 belong to emission (calls through veneers, addresses that no instruction can
//! say), x18 to the platform, x30 holds the return address; no value is ever allocated to them. Of v8 to v15 `system_v` keeps
//! the low halves only, which is enough as long as selection refuses vectors of 128 bits.

use super::conventions::Convention;
use crate::error::CodegenError;
use sphex_asm::aarch64::operand::{FP, LR, SP, v, x};
use sphex_asm::register::{Reg, RegSet};
use sphex_ir::CallConv;

const INT: [Reg; 8] = [x(0), x(1), x(2), x(3), x(4), x(5), x(6), x(7)];
const VECTOR: [Reg; 8] = [v(0), v(1), v(2), v(3), v(4), v(5), v(6), v(7)];

const fn range(first: Reg, count: u8) -> RegSet {
    let mut set = RegSet::EMPTY;
    let mut k = 0;
    while k < count {
        set = set.with(Reg::new(first.class(), first.number() + k));
        k += 1;
    }
    set
}

/// What is never clobbered, never allocated and never among the saved registers.
const FRAME: RegSet = RegSet::of(&[FP, LR, SP, x(16), x(17), x(18)]);

const SYSTEM_V: Convention = Convention {
    name: "system_v",
    registers: range(x(0), 32).union(range(v(0), 32)),
    frame: FRAME,
    int_args: &INT,
    vector_args: &VECTOR,
    int_returns: &INT,
    vector_returns: &VECTOR,
    callee_saved: FRAME.union(range(x(19), 10)).union(range(v(8), 8)),
    by_position: false,
    shadow_bytes: 0,
    callee_pops: false,
    last_result_in_register: false,
    returns_sret: false,
    vmctx: None,
    caller_vmctx: x(9),
};

const TAIL: Convention = Convention { name: "tail", callee_saved: FRAME, callee_pops: true, ..SYSTEM_V };

/// Beside the frame and vmctx, callees keep four registers, as on x86-64 three.
const SPHEX: Convention = Convention {
    name: "sphex",
    callee_saved: FRAME.union(range(x(19), 4)).with(x(28)),
    vmctx: Some(x(28)),
    ..TAIL
};

const WINCH: Convention =
    Convention { name: "winch", callee_saved: FRAME, last_result_in_register: true, ..SYSTEM_V };

const PRESERVE_ALL: Convention =
    Convention { name: "preserve_all", callee_saved: SYSTEM_V.registers, ..SYSTEM_V };

/// The convention of this name on AArch64.
pub(super) fn convention(conv: CallConv) -> Result<&'static Convention, CodegenError> {
    static ROWS: [Convention; 5] = [SYSTEM_V, TAIL, SPHEX, WINCH, PRESERVE_ALL];
    Ok(match conv {
        CallConv::SystemV | CallConv::Fast => &ROWS[0],
        CallConv::Tail => &ROWS[1],
        CallConv::Sphex => &ROWS[2],
        CallConv::Winch => &ROWS[3],
        CallConv::PreserveAll => &ROWS[4],
        CallConv::AppleAarch64 => {
            let reason = "the packed stack arguments of Apple's convention are not placed yet";
            return Err(CodegenError::UnsupportedConvention { conv, reason });
        }
        CallConv::WindowsFastcall => {
            return Err(CodegenError::UnsupportedConvention { conv, reason: "not placed on AArch64 yet" });
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::{Place, place};
    use crate::settings::Arch;
    use sphex_artifact::convention::{Register, SPHEX_AARCH64};
    use sphex_ir::types::{F64, I8X16, I32, I64};
    use sphex_ir::{AbiParam, Signature, Type};

    fn signature(conv: CallConv, params: &[Type], returns: &[Type]) -> Signature {
        let list = |types: &[Type]| types.iter().map(|&ty| AbiParam::new(ty)).collect();
        Signature { params: list(params), returns: list(returns), call_conv: conv }
    }

    #[test]
    fn the_sphex_row_is_the_runtimes() {
        let row = convention(CallConv::Sphex).unwrap();
        let numbers = |regs: &[Reg]| regs.iter().map(|reg| reg.number()).collect::<Vec<_>>();
        assert_eq!(numbers(row.int_args), SPHEX_AARCH64.int);
        assert_eq!(numbers(row.vector_returns), SPHEX_AARCH64.vector);
        let number = |reg: Register| reg.number;
        assert_eq!(row.vmctx.map(Reg::number), Some(number(SPHEX_AARCH64.vmctx)));
        assert_eq!(row.caller_vmctx.number(), number(SPHEX_AARCH64.caller_vmctx));
    }

    #[test]
    fn registers_come_first_and_then_slots() {
        let ints = [I32; 9];
        let sig = signature(CallConv::SystemV, &[&ints[..], &[F64, I8X16, I64]].concat(), &[I64, F64]);
        let placed = place(Arch::Aarch64, &sig).unwrap();
        assert_eq!(
            placed.params[7..],
            [Place::Reg(x(7)), Place::Memory(0), Place::Reg(v(0)), Place::Reg(v(1)), Place::Memory(8)]
        );
        assert_eq!((placed.returns, placed.stack_bytes), (vec![Place::Reg(x(0)), Place::Reg(v(0))], 16));
        let apple = place(Arch::Aarch64, &signature(CallConv::AppleAarch64, &[], &[]));
        assert!(matches!(apple, Err(CodegenError::UnsupportedConvention { .. })));
    }
}
