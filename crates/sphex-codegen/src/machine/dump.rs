//! A machine function as text, for `test compile` and for reading.

use super::{
    Amode, AmodeRef, Base, CallRef, MachineBlock, MachineFunction, Pseudo, Target, VARIANT_MEMORY,
    VARIANT_SYMBOL, VARIANT_WIDE, Vmctx,
};
use crate::regalloc::{Operand, OperandConstraint, OperandKind, OperandPos, VReg, from_preg};
use core::fmt::{self, Write};
use sphex_asm::x64::operand::{Size, register_name};
use sphex_asm::x64::{Cond, RowId, Variant};

impl fmt::Display for MachineFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (slot, data) in self.slots.iter() {
            writeln!(f, "  {slot} = {} bytes, align {}", data.size, 1u32 << data.align_shift)?;
        }
        for (block, data) in self.blocks.iter() {
            write!(f, "{block}")?;
            list(f, &self.vregs[data.params.range()])?;
            writeln!(f, ":{}", if data.cold { " ; cold" } else { "" })?;
            for inst in data.insts.range() {
                self.dump_inst(f, inst)?;
                let last = inst + 1 == data.insts.end as usize;
                if last {
                    self.dump_successors(f, block)?;
                }
                f.write_char('\n')?;
            }
        }
        Ok(())
    }
}

fn list(f: &mut fmt::Formatter<'_>, vregs: &[VReg]) -> fmt::Result {
    if vregs.is_empty() {
        return Ok(());
    }
    for (k, vreg) in vregs.iter().enumerate() {
        write!(f, "{}{vreg}", if k == 0 { "(" } else { ", " })?;
    }
    f.write_char(')')
}

impl MachineFunction {
    fn dump_successors(&self, f: &mut fmt::Formatter<'_>, block: MachineBlock) -> fmt::Result {
        for (k, successor) in self.successors_of(block).enumerate() {
            write!(f, "{}{successor}", if k == 0 { " -> " } else { ", " })?;
            list(f, self.arguments_of(block, k))?;
        }
        Ok(())
    }

    fn dump_inst(&self, f: &mut fmt::Formatter<'_>, index: usize) -> fmt::Result {
        let inst = &self.insts[index];
        let variant = Variant(inst.variant);
        f.write_str("    ")?;
        match inst.pseudo() {
            Some(pseudo) => self.dump_pseudo(f, pseudo, variant, inst.payload)?,
            None => {
                let row = RowId(inst.row).row();
                f.write_str(row.name)?;
                if row.conditional {
                    f.write_str(variant.get_cond().suffix())?;
                }
                if row.sizes != 0 {
                    write!(f, ".{}", variant.get_size().bits())?;
                }
            }
        }
        for (k, operand) in self.operands_of(index).iter().enumerate() {
            f.write_str(if k == 0 { " " } else { ", " })?;
            dump_operand(f, *operand)?;
        }
        if inst.variant & VARIANT_MEMORY != 0 {
            let data = &self.amodes[AmodeRef::from_u32(inst.payload)];
            dump_amode(f, &data.amode)?;
            if data.imm != 0 {
                write!(f, " ${}", data.imm)?;
            }
        } else if inst.variant & VARIANT_WIDE != 0 {
            write!(f, " ${:#x}", self.wide_immediates[inst.payload as usize])?;
        } else if inst.variant & VARIANT_SYMBOL != 0 {
            write!(f, " {}", self.symbols[inst.payload as usize])?;
        } else if inst.pseudo().is_none() && inst.payload != 0 {
            write!(f, " ${}", inst.payload as i32)?;
        }
        if inst.trap() != 0 {
            write!(f, " ; trap {}", inst.trap())?;
        }
        Ok(())
    }

    fn dump_pseudo(
        &self,
        f: &mut fmt::Formatter<'_>,
        pseudo: Pseudo,
        variant: Variant,
        payload: u32,
    ) -> fmt::Result {
        f.write_str(pseudo.name())?;
        match pseudo {
            Pseudo::JumpIf | Pseudo::TrapIf => write!(f, " {}", variant.get_cond().suffix()),
            Pseudo::JumpIfBoth | Pseudo::JumpIfEither | Pseudo::TrapIfBoth | Pseudo::TrapIfEither => {
                let second = Cond::ALL[payload as usize & 15];
                write!(f, " {} {}", variant.get_cond().suffix(), second.suffix())
            }
            Pseudo::JumpTable => write!(f, " {:?}", self.jump_tables[payload as usize]),
            Pseudo::Sequence => write!(f, " {payload}"),
            Pseudo::Call | Pseudo::TailCall => {
                let call = &self.calls[CallRef::from_u32(payload)];
                match call.target {
                    Target::Symbol(symbol) => write!(f, " {}", self.symbols[symbol.0 as usize])?,
                    Target::Register => f.write_str(" *")?,
                    Target::Memory(amode) => dump_amode(f, &self.amodes[amode].amode)?,
                }
                match call.vmctx {
                    Vmctx::Keep => Ok(()),
                    Vmctx::Reload => f.write_str(" (reload)"),
                    Vmctx::Switch => f.write_str(" (switch)"),
                }
            }
            _ => Ok(()),
        }
    }
}

fn dump_operand(f: &mut fmt::Formatter<'_>, operand: Operand) -> fmt::Result {
    if let Some(preg) = operand.as_fixed_nonallocatable() {
        return f.write_str(register_name(from_preg(preg), Size::S64));
    }
    let early_def = operand.kind() == OperandKind::Def && operand.pos() == OperandPos::Early;
    let late_use = operand.kind() == OperandKind::Use && operand.pos() == OperandPos::Late;
    let role = match operand.kind() {
        OperandKind::Def => "=",
        OperandKind::Use => "",
    };
    write!(f, "{role}{}{}", if early_def || late_use { "!" } else { "" }, operand.vreg())?;
    match operand.constraint() {
        OperandConstraint::FixedReg(preg) => write!(f, ":{}", register_name(from_preg(preg), Size::S64)),
        OperandConstraint::Reuse(k) => write!(f, ":#{k}"),
        OperandConstraint::Any => f.write_str(":any"),
        OperandConstraint::Stack => f.write_str(":stack"),
        OperandConstraint::Reg | OperandConstraint::Limit(_) => Ok(()),
    }
}

fn dump_amode(f: &mut fmt::Formatter<'_>, amode: &Amode) -> fmt::Result {
    f.write_str(" [")?;
    match amode.base {
        Base::None => f.write_str("0")?,
        Base::Reg(vreg) => write!(f, "{vreg}")?,
        Base::Pinned(reg) => f.write_str(register_name(reg, Size::S64))?,
        Base::Slot(slot) => write!(f, "{slot}")?,
        Base::Incoming => f.write_str("incoming")?,
        Base::Outgoing => f.write_str("outgoing")?,
        Base::TailOutgoing(bytes) => write!(f, "tail {bytes}")?,
        Base::Constant(constant) => write!(f, "{constant}")?,
        Base::Symbol(symbol) => write!(f, "symbol {}", symbol.0)?,
        Base::Got(symbol) => write!(f, "got {}", symbol.0)?,
    }
    if let Some((index, shift)) = amode.index {
        write!(f, " + {index}*{}", 1u32 << shift)?;
    }
    if amode.disp != 0 {
        write!(f, " {:+}", amode.disp)?;
    }
    f.write_char(']')
}
