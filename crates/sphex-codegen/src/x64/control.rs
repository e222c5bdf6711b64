//! Branches, returns, traps and registers with a purpose.
//!
//! Needs: conditions ([`Lower::condition`]). Gives: the lowering of terminators but calls, and of traps.
//!
//! A `br_table` whose calls go to few blocks is a chain of comparisons; others go through a table, whose index is clamped
//! without a branch.

use super::compare::{Flags, int_cond};
use super::{Lower, Rm, exact};
use crate::abi::Place;
use crate::abi::entry::{copy_pinned, store};
use crate::error::CodegenError;
use crate::machine::{Amode, MachineBlock, Pseudo};
use crate::regalloc::VReg;
use rustc_hash::FxHashMap;
use sphex_asm::register::Reg;
use sphex_asm::x64::operand::gpr;
use sphex_asm::x64::{Cond, Variant, op};
use sphex_ir::{Extension, IntCC, Opcode, Type, Value};

/// A table that is padded becomes at most so many times longer.
const PADDED: usize = 32;

impl Lower<'_> {
    pub(super) fn lower_terminator(
        &mut self,
        inst: Value,
        targets: &[MachineBlock],
    ) -> Result<(), CodegenError> {
        match self.data(inst).opcode {
            Opcode::Brif => {
                let cond = self.arg(inst, 0);
                if !self.branch_on_two(cond, [targets[0], targets[1]]) {
                    let late = self.late_steps(inst, cond);
                    let flags = self.condition(cond);
                    late.into_iter().flatten().for_each(|step| self.emit_late(step));
                    self.branch(flags, targets[0], targets[1]);
                    return self.compute_last(cond);
                }
                Ok(())
            }
            Opcode::BrTable => {
                self.br_table(inst, targets);
                Ok(())
            }
            Opcode::Trap => {
                let code = self.data(inst).trap_code();
                self.machine().pseudo(Pseudo::Trap, Variant::NONE, 0).trap(code);
                Ok(())
            }
            Opcode::Return => self.lower_return(inst),
            Opcode::ReturnCall | Opcode::ReturnCallIndirect => self.lower_tail_call(inst),
            _ => Err(self.error(inst)),
        }
    }

    fn branch(&mut self, flags: Flags, then: MachineBlock, other: MachineBlock) {
        let (pseudo, first, second) = match flags {
            Flags::One(cond) => {
                self.machine().jump_if(cond, then, other);
                return;
            }
            Flags::Both(a, b) => (Pseudo::JumpIfBoth, a, b),
            Flags::Either(a, b) => (Pseudo::JumpIfEither, a, b),
        };
        self.machine().successor(then, &[]);
        self.machine().successor(other, &[]);
        self.machine().pseudo(pseudo, Variant::cond(first), second as u32);
    }

    /// Branches on a selection between a value and a constant, which is a condition and another one: tests the second
    /// only where the first does not decide. Says whether it did.
    fn branch_on_two(&mut self, value: Value, targets: [MachineBlock; 2]) -> bool {
        let (mut value, mut inverted) = (self.select.resolve(value), false);
        for _ in 0..4 {
            match self.data(value).opcode {
                Opcode::Uextend => {}
                Opcode::Icmp if self.constant(self.arg(value, 1)) == Some(0) => {
                    match self.data(value).int_cc() {
                        IntCC::Eq => inverted = !inverted,
                        IntCC::Ne => {}
                        _ => return false,
                    }
                }
                _ => break,
            }
            if !self.select.facts.used_once(value) {
                return false;
            }
            value = self.arg(value, 0);
        }
        if !self.only(value, Opcode::Select) || !self.ty(value).is_int() {
            return false;
        }
        let [cond, x, y] = [0, 1, 2].map(|k| self.arg(value, k));
        // Whether one of the two is enough, whether the first is the opposite of `cond`, and the second.
        let (mut either, mut opposite, second) = match (self.constant(x), self.constant(y)) {
            (None, Some(k)) => (k != 0, k != 0, x),
            (Some(k), None) => (k != 0, k == 0, y),
            _ => return false,
        };
        if self.decides_by_two_flags(cond) {
            return false;
        }
        (either, opposite) = (either ^ inverted, opposite ^ inverted);
        let Some((left, right, imm, second, size)) = self.second_comparison(second) else { return false };
        let Flags::One(first) = self.condition(cond) else { return false };
        let first = if opposite { first.invert() } else { first };
        let second = if inverted { second.invert() } else { second };
        let pseudo = if either { Pseudo::CompareIfEither } else { Pseudo::CompareIfBoth };
        let emitted = self.machine().compare_if(pseudo, size.with_cond(first), second, targets);
        match right {
            Some(right) => emitted.read(left).read_any(right),
            None => emitted.read_any(left).imm(imm),
        }
        .end();
        true
    }

    /// What to compare so that the flags tell whether a value is not zero: registers or a register and a constant.
    fn second_comparison(&mut self, value: Value) -> Option<(VReg, Option<VReg>, i32, Cond, Variant)> {
        let mut value = self.select.resolve(value);
        while self.data(value).opcode == Opcode::Uextend {
            value = self.arg(value, 0);
        }
        let (x, y, cc) = match self.data(value).opcode {
            Opcode::Icmp => (self.arg(value, 0), Some(self.arg(value, 1)), self.data(value).int_cc()),
            _ => (value, None, IntCC::Ne),
        };
        let ty = self.ty(x);
        if !ty.is_int() || ty.bits() > 64 || self.is_constant(x) {
            return None;
        }
        let left = self.value(x);
        let (right, imm) = match y.map(|y| (y, self.imm32(y))) {
            None => (None, 0),
            Some((_, Some(imm))) => (None, imm),
            Some((y, None)) => (Some(self.value(y)), 0),
        };
        Some((left, right, imm, int_cond(cc), exact(ty)))
    }

    /// `targets[0]` is the default.
    fn br_table(&mut self, inst: Value, targets: &[MachineBlock]) {
        let index = self.arg(inst, 0);
        let mut numbers = FxHashMap::default();
        let mut successors = Vec::new();
        let mut number = |target: MachineBlock| {
            *numbers.entry(target).or_insert_with(|| {
                successors.push(target);
                successors.len() as u32 - 1
            })
        };
        let mut table: Vec<u32> = targets[1..].iter().map(|&target| number(target)).collect();
        let default = number(targets[0]);
        let clamped = !self.pad(index, default, &mut table);
        table.push(default);
        if let Some((cond, bound, [then, other])) = two_way(&table) {
            let (then, other) = (successors[then as usize], successors[other as usize]);
            let index = self.value(index);
            self.machine().inst(op::CMP_RI, Variant::S32).read(index).imm(bound);
            self.machine().jump_if(cond, then, other);
            return;
        }
        let index = if clamped { self.value(index) } else { self.zext(index) };
        let (base, entry) = (self.gpr(), self.gpr());
        for &target in &successors {
            self.machine().successor(target, &[]);
        }
        let payload = self.machine().jump_tables.len() as u32;
        self.machine().jump_tables.push(table);
        let variant = if clamped { Variant::NONE } else { Variant::S64 };
        self.machine()
            .pseudo(Pseudo::JumpTable, variant, payload)
            .read(index)
            .write_early(base)
            .write_early(entry);
    }

    /// Makes a table so long that no index is beyond it, if that is not long; says whether it is.
    fn pad(&self, index: Value, default: u32, table: &mut Vec<u32>) -> bool {
        let most = self.largest(index);
        if most > 0xff || most as usize >= PADDED * (table.len() + 1) {
            return false;
        }
        table.resize(table.len().max(most as usize + 1), default);
        true
    }

    fn lower_return(&mut self, inst: Value) -> Result<(), CodegenError> {
        let func = self.select.func;
        let values: Vec<Value> = func.arguments(inst).collect();
        let mut fixed: Vec<(VReg, Reg)> = Vec::with_capacity(values.len());
        for (k, &value) in values.iter().enumerate() {
            let param = func.signature.returns[k];
            let reg = self.extended(value, param.extension);
            match self.placement.returns[k] {
                Place::Reg(to) | Place::Pinned(to) => fixed.push((reg, to)),
                Place::Memory(offset) => {
                    let pointer = self.return_area();
                    store(self.machine(), param.ty, reg, Amode::reg(pointer, offset as i32));
                }
            }
        }
        if let Some((k, to)) = self.placement.returned_sret
            && let Some(param) = func.entry().and_then(|entry| func.block_params(entry).nth(k))
        {
            let reg = self.value(param);
            fixed.push((reg, to));
        }
        let mut emitted = self.machine().pseudo(Pseudo::Return, Variant::NONE, 0);
        for (reg, to) in fixed {
            emitted = emitted.read_fixed(reg, to);
        }
        Ok(())
    }

    /// The address of the area for results that find no register.
    pub(super) fn return_area(&mut self) -> VReg {
        match self.return_pointer {
            Some(pointer) => pointer,
            None => {
                *self.return_pointer.insert(self.select.machine.new_vreg(sphex_asm::register::RegClass::Int))
            }
        }
    }

    /// A value as the signature wants it passed.
    pub(super) fn extended(&mut self, value: Value, extension: Extension) -> VReg {
        let ty: Type = self.ty(self.select.resolve(value));
        match extension {
            Extension::Unsigned if ty.is_int() => self.zext(value),
            Extension::Signed if ty.is_int() && ty.bits() < 64 => self.sext(value, 64),
            _ => self.value(value),
        }
    }

    pub(super) fn lower_control(&mut self, inst: Value) -> Result<(), CodegenError> {
        let data = self.data(inst);
        match data.opcode {
            Opcode::Trapz | Opcode::Trapnz => {
                if self.count_down(inst) {
                    return Ok(());
                }
                let cond = self.arg(inst, 0);
                let flags = self.condition(cond);
                let flags = if data.opcode == Opcode::Trapz { flags.invert() } else { flags };
                self.trap_if(flags, data.trap_code());
            }
            Opcode::Debugtrap => self.machine().inst(op::INT3, Variant::NONE).end(),
            Opcode::SequencePoint => {}
            Opcode::GetPinnedReg => self.read_pinned(inst, gpr::R15),
            Opcode::GetFramePointer => self.read_pinned(inst, gpr::RBP),
            Opcode::GetStackPointer => self.read_pinned(inst, gpr::RSP),
            Opcode::SetPinnedReg => {
                let x = self.arg(inst, 0);
                let x = self.value(x);
                self.machine().inst(op::MOV_RM, Variant::S64).pinned(gpr::R15).read(x);
            }
            _ => {
                let dst = self.dst(inst);
                self.write_rm(op::MOV_RM, Variant::S64, dst, Rm::Mem(Amode::pinned(gpr::RBP, 8), None));
            }
        }
        Ok(())
    }

    fn read_pinned(&mut self, inst: Value, reg: Reg) {
        let dst = self.dst(inst);
        copy_pinned(self.machine(), dst, reg);
    }
}

/// A table (the default last) whose entries are one target up to some index, and another from there on: the condition and
/// bound that lead to the first, and the two.
fn two_way(table: &[u32]) -> Option<(Cond, i32, [u32; 2])> {
    let first = *table.first()?;
    let other = *table.last()?;
    let at = table.iter().position(|&target| target != first)?;
    let split = table[at..].iter().all(|&target| target == other);
    let bound = i32::try_from(at).ok()?;
    split.then_some((Cond::B, bound, [first, other]))
}
