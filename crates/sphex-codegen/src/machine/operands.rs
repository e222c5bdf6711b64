//! Adding operands to the instruction emitted last.

use super::{
    Amode, AmodeData, AmodeRef, Base, CallRef, LOCATION_MASK, MachineFunction, MachineInst, Pseudo,
    VARIANT_MEMORY, VARIANT_SYMBOL, VARIANT_WIDE,
};
use crate::regalloc::{Operand, OperandConstraint, OperandKind, OperandPos, VReg, to_preg};
use sphex_asm::record::Symbol;
use sphex_asm::register::Reg;
use sphex_ir::TrapCode;

/// The instruction emitted last, for adding operands in its row's order.
#[derive(Debug)]
pub struct Inst<'f> {
    pub(super) func: &'f mut MachineFunction,
    pub(super) first: u32,
}

impl Inst<'_> {
    fn push(self, vreg: VReg, constraint: OperandConstraint, kind: OperandKind, pos: OperandPos) -> Self {
        self.func.operands.push(Operand::new(vreg, constraint, kind, pos));
        self
    }

    fn last(&mut self) -> Option<&mut MachineInst> {
        self.func.insts.last_mut()
    }

    /// A register that is read.
    pub fn read(self, vreg: VReg) -> Self {
        self.push(vreg, OperandConstraint::Reg, OperandKind::Use, OperandPos::Early)
    }

    /// A register that is read, even after results are written.
    pub fn read_late(self, vreg: VReg) -> Self {
        self.push(vreg, OperandConstraint::Reg, OperandKind::Use, OperandPos::Late)
    }

    /// A register or spill slot that is read: for operands that may be memory. Of a slot only the operand's width is
    /// read.
    pub fn read_any(self, vreg: VReg) -> Self {
        self.push(vreg, OperandConstraint::Any, OperandKind::Use, OperandPos::Early)
    }

    /// A value that the safepoint records, wherever it is.
    pub fn live(self, vreg: VReg) -> Self {
        self.push(vreg, OperandConstraint::Any, OperandKind::Use, OperandPos::Late)
    }

    /// A register that is written after everything is read.
    pub fn write(self, vreg: VReg) -> Self {
        self.push(vreg, OperandConstraint::Reg, OperandKind::Def, OperandPos::Late)
    }

    /// A register that is written while others are still to be read; also a scratch register.
    pub fn write_early(self, vreg: VReg) -> Self {
        self.push(vreg, OperandConstraint::Reg, OperandKind::Def, OperandPos::Early)
    }

    /// A register that is read as `input` and written as `result`.
    pub fn modify(self, result: VReg, input: VReg) -> Self {
        let at = self.func.operands.len() as u32 - self.first;
        self.read(input).push(
            result,
            OperandConstraint::Reuse(at as usize),
            OperandKind::Def,
            OperandPos::Late,
        )
    }

    /// This register, read as `vreg`.
    pub fn read_fixed(self, vreg: VReg, reg: Reg) -> Self {
        self.push(vreg, OperandConstraint::FixedReg(to_preg(reg)), OperandKind::Use, OperandPos::Early)
    }

    /// This register, written as `vreg`. Of a call it is a result.
    pub fn write_fixed(self, vreg: VReg, reg: Reg) -> Self {
        if let Some(last) = self.func.insts.last()
            && last.pseudo() == Some(Pseudo::Call)
        {
            let call = &mut self.func.calls[CallRef::from_u32(last.payload)];
            call.clobbers.remove(reg);
        }
        self.push(vreg, OperandConstraint::FixedReg(to_preg(reg)), OperandKind::Def, OperandPos::Late)
    }

    /// This register, read as `input` and written as `result`.
    pub fn modify_fixed(self, result: VReg, input: VReg, reg: Reg) -> Self {
        self.read_fixed(input, reg).write_fixed(result, reg)
    }

    /// This register, which is never allocated.
    pub fn pinned(self, reg: Reg) -> Self {
        self.func.operands.push(Operand::fixed_nonallocatable(to_preg(reg)));
        self
    }

    /// Memory.
    pub fn mem(mut self, amode: Amode) -> Self {
        let imm = self.func.insts.last().map_or(0, |inst| inst.payload as i32);
        let reference = self.func.amodes.push(AmodeData { amode, imm });
        if let Some(last) = self.last() {
            last.variant |= VARIANT_MEMORY;
            last.payload = reference.as_u32();
        }
        self.address(amode)
    }

    /// The registers of an address that is in the table already (a call's target).
    pub fn address(mut self, amode: Amode) -> Self {
        match amode.base {
            Base::Reg(base) => self = self.read(base),
            Base::Pinned(base) => self = self.pinned(base),
            _ => {}
        }
        match amode.index {
            Some((index, _)) => self.read(index),
            None => self,
        }
    }

    /// An immediate of up to 32 bits, which an instruction of 64 bits sign-extends.
    pub fn imm(mut self, imm: i32) -> Self {
        let memory = self.last().filter(|inst| inst.variant & VARIANT_MEMORY != 0).map(|inst| inst.payload);
        match memory {
            Some(reference) => self.func.amodes[AmodeRef::from_u32(reference)].imm = imm,
            None => {
                if let Some(last) = self.last() {
                    last.payload = imm as u32;
                }
            }
        }
        self
    }

    /// An immediate of 64 bits (no memory beside it).
    pub fn imm64(mut self, imm: u64) -> Self {
        let at = self.func.wide_immediates.len() as u32;
        self.func.wide_immediates.push(imm);
        if let Some(last) = self.last() {
            last.variant |= VARIANT_WIDE;
            last.payload = at;
        }
        self
    }

    /// The absolute address of a symbol as an immediate of 64 bits (no memory beside it).
    pub fn symbol(mut self, symbol: Symbol) -> Self {
        if let Some(last) = self.last() {
            last.variant |= VARIANT_SYMBOL;
            last.payload = symbol.0;
        }
        self
    }

    /// Nothing more follows.
    pub fn end(self) {}

    /// A fault of this instruction means this trap.
    pub fn trap(mut self, code: Option<TrapCode>) -> Self {
        let Some(code) = code else { return self };
        let taken = std::mem::take(&mut self.func.taken_location);
        if let Some(last) = self.last() {
            let location = if taken != 0 { taken } else { last.location & LOCATION_MASK };
            last.location = location | u32::from(code.as_u8()) << 24;
        }
        self
    }
}
