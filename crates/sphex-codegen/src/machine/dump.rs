//! A machine function as text, for `test compile` and for reading: before allocation, and after it with locations and
//! moves.

use super::{
    Amode, AmodeRef, Base, CallRef, MachineBlock, MachineFunction, Pseudo, Target, VARIANT_MEMORY,
    VARIANT_SYMBOL, VARIANT_WIDE, Vmctx,
};
use crate::regalloc::{
    Allocation, Location, Operand, OperandConstraint, OperandKind, OperandPos, VReg, from_preg,
};
use crate::settings::Arch;
use core::fmt::{self, Write};
use sphex_asm::operand::Variant;

impl fmt::Display for MachineFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Listing { func: self, allocation: None, with_places: false }.fmt(f)
    }
}

/// A machine function to print.
#[derive(Clone, Copy, Debug)]
pub struct Listing<'a> {
    /// The function.
    pub func: &'a MachineFunction,
    /// Where its operands are, once that is known: printed in place of virtual registers, with the moves.
    pub allocation: Option<&'a Allocation<'a>>,
    /// Begin lines with the place in the source, where it is another than before: `@1f`.
    pub with_places: bool,
}

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let func = self.func;
        for (slot, data) in func.slots.iter() {
            writeln!(f, "  {slot} = {} bytes, align {}", data.size, 1u32 << data.align_shift)?;
        }
        let (mut next_move, mut place) = (0, None);
        for (block, data) in func.blocks.iter() {
            write!(f, "{block}")?;
            list(f, &func.vregs[data.params.range()])?;
            writeln!(f, ":{}", if data.cold { " ; cold" } else { "" })?;
            for inst in data.insts.range() {
                self.moves(f, inst, false, &mut next_move)?;
                self.place(f, inst, &mut place)?;
                self.inst(f, inst)?;
                let last = inst + 1 == data.insts.end as usize;
                if last {
                    func.dump_successors(f, block)?;
                }
                f.write_char('\n')?;
                self.moves(f, inst, true, &mut next_move)?;
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
}

impl Listing<'_> {
    /// The moves before or after an instruction. They stand in program order.
    fn moves(&self, f: &mut fmt::Formatter<'_>, inst: usize, after: bool, next: &mut usize) -> fmt::Result {
        let Some(allocation) = self.allocation else { return Ok(()) };
        while let Some(edit) = allocation.nth_move(*next)
            && (edit.inst as usize, edit.after) == (inst, after)
        {
            *next += 1;
            f.write_str("    move ")?;
            location(f, self.func.arch, edit.to)?;
            f.write_str(" <- ")?;
            location(f, self.func.arch, edit.from)?;
            f.write_char('\n')?;
        }
        Ok(())
    }

    /// Where in the source an instruction comes from; `last` is the place before.
    fn place(&self, f: &mut fmt::Formatter<'_>, inst: usize, last: &mut Option<u32>) -> fmt::Result {
        f.write_str("    ")?;
        let number = self.func.insts[inst].location();
        let place = self.func.locations.get(number as usize).filter(|place| !place.is_none());
        match place {
            Some(place) if self.with_places && last.replace(number) != Some(number) => {
                write!(f, "@{:04x} ", place.offset)
            }
            _ => Ok(()),
        }
    }

    fn inst(&self, f: &mut fmt::Formatter<'_>, index: usize) -> fmt::Result {
        let func = self.func;
        let inst = &func.insts[index];
        let variant = Variant(inst.variant);
        match inst.pseudo() {
            Some(pseudo) => {
                f.write_str(pseudo.name())?;
                self.pseudo(f, index, pseudo, variant, inst.payload)?;
            }
            None => {
                let (name, sized) = func.arch.row_name(inst.row, variant);
                f.write_str(&name)?;
                if sized {
                    write!(f, ".{}", variant.get_size().bits())?;
                }
            }
        }
        for (k, operand) in func.operands_of(index).iter().enumerate() {
            f.write_str(if k == 0 { " " } else { ", " })?;
            match self.allocation {
                Some(allocation) => allocated(f, func.arch, *operand, allocation.location(index, k))?,
                None => dump_operand(f, func.arch, *operand)?,
            }
        }
        if inst.variant & VARIANT_MEMORY != 0 {
            let data = &func.amodes[AmodeRef::from_u32(inst.payload)];
            self.amode(f, index, &data.amode)?;
            if data.imm != 0 {
                write!(f, " ${}", data.imm)?;
            }
        } else if inst.variant & VARIANT_WIDE != 0 {
            write!(f, " ${:#x}", func.wide_immediates[inst.payload as usize])?;
        } else if inst.variant & VARIANT_SYMBOL != 0 {
            write!(f, " {}", func.symbols[inst.payload as usize])?;
        } else if inst.pseudo().is_none() && inst.payload != 0 {
            write!(f, " ${}", inst.payload as i32)?;
        }
        if inst.trap() != 0 {
            write!(f, " ; trap {}", inst.trap())?;
        }
        Ok(())
    }

    fn pseudo(
        &self,
        f: &mut fmt::Formatter<'_>,
        index: usize,
        pseudo: Pseudo,
        variant: Variant,
        payload: u32,
    ) -> fmt::Result {
        let func = self.func;
        let cond = |number| func.arch.condition_name(number);
        match pseudo {
            Pseudo::JumpIf | Pseudo::TrapIf => write!(f, " {}", cond(variant.get_cond_bits())),
            Pseudo::JumpIfBoth | Pseudo::JumpIfEither | Pseudo::TrapIfBoth | Pseudo::TrapIfEither => {
                write!(f, " {} {}", cond(variant.get_cond_bits()), cond(payload as u8))
            }
            Pseudo::CompareIfBoth | Pseudo::CompareIfEither => {
                let conds = (cond(variant.get_cond_bits()), cond(func.insts[index].second_cond_bits()));
                write!(f, ".{} {} {} ${}", variant.get_size().bits(), conds.0, conds.1, payload as i32)
            }
            Pseudo::JumpTable => write!(f, " {:?}", func.jump_tables[payload as usize]),
            Pseudo::Sequence => write!(f, " {payload}"),
            Pseudo::Call | Pseudo::TailCall => {
                let call = &func.calls[CallRef::from_u32(payload)];
                match call.target {
                    Target::Symbol(symbol) => write!(f, " {}", func.symbols[symbol.0 as usize])?,
                    Target::Register => f.write_str(" *")?,
                    Target::Memory(amode) => self.amode(f, index, &func.amodes[amode].amode)?,
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

    fn amode(&self, f: &mut fmt::Formatter<'_>, inst: usize, amode: &Amode) -> fmt::Result {
        f.write_str(" [")?;
        match amode.base {
            Base::None => f.write_str("0")?,
            Base::Reg(vreg) => self.register(f, inst, vreg)?,
            Base::Pinned(reg) => f.write_str(self.func.arch.register_name(reg))?,
            Base::Slot(slot) => write!(f, "{slot}")?,
            Base::Incoming => f.write_str("incoming")?,
            Base::Outgoing => f.write_str("outgoing")?,
            Base::TailOutgoing(bytes) => write!(f, "tail {bytes}")?,
            Base::Constant(constant) => write!(f, "{constant}")?,
            Base::Symbol(symbol) => write!(f, "symbol {}", symbol.0)?,
            Base::Got(symbol) => write!(f, "got {}", symbol.0)?,
        }
        if let Some((index, shift)) = amode.index {
            f.write_str(" + ")?;
            self.register(f, inst, index)?;
            write!(f, "*{}", 1u32 << shift)?;
        }
        if amode.disp != 0 {
            write!(f, " {:+}", amode.disp)?;
        }
        f.write_char(']')
    }

    /// A register of an address. Addresses come last among the operands.
    fn register(&self, f: &mut fmt::Formatter<'_>, inst: usize, vreg: VReg) -> fmt::Result {
        let is_it = |operand: &Operand| {
            operand.vreg() == vreg
                && operand.kind() == OperandKind::Use
                && operand.as_fixed_nonallocatable().is_none()
        };
        let found = self.func.operands_of(inst).iter().rposition(is_it);
        match (self.allocation, found) {
            (Some(allocation), Some(k)) => location(f, self.func.arch, allocation.location(inst, k)),
            _ => write!(f, "{vreg}"),
        }
    }
}

fn location(f: &mut fmt::Formatter<'_>, arch: Arch, location: Location) -> fmt::Result {
    match location {
        Location::Reg(reg) => f.write_str(arch.register_name(reg)),
        Location::Spill(word) => write!(f, "spill{word}"),
    }
}

/// An operand that has a place: `v12=rax` is written there, `v12:rax` is read.
fn allocated(f: &mut fmt::Formatter<'_>, arch: Arch, operand: Operand, place: Location) -> fmt::Result {
    if operand.as_fixed_nonallocatable().is_none() {
        let mark = if operand.kind() == OperandKind::Def { '=' } else { ':' };
        write!(f, "{}{mark}", operand.vreg())?;
    }
    location(f, arch, place)
}

fn dump_operand(f: &mut fmt::Formatter<'_>, arch: Arch, operand: Operand) -> fmt::Result {
    if let Some(preg) = operand.as_fixed_nonallocatable() {
        return f.write_str(arch.register_name(from_preg(preg)));
    }
    let early_def = operand.kind() == OperandKind::Def && operand.pos() == OperandPos::Early;
    let late_use = operand.kind() == OperandKind::Use && operand.pos() == OperandPos::Late;
    let role = match operand.kind() {
        OperandKind::Def => "=",
        OperandKind::Use => "",
    };
    write!(f, "{role}{}{}", if early_def || late_use { "!" } else { "" }, operand.vreg())?;
    match operand.constraint() {
        OperandConstraint::FixedReg(preg) => write!(f, ":{}", arch.register_name(from_preg(preg))),
        OperandConstraint::Reuse(k) => write!(f, ":#{k}"),
        OperandConstraint::Any => f.write_str(":any"),
        OperandConstraint::Stack => f.write_str(":stack"),
        OperandConstraint::Reg | OperandConstraint::Limit(_) => Ok(()),
    }
}
