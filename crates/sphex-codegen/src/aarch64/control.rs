//! Branches, returns, traps and registers with a purpose.
//!
//! Needs: conditions ([`Lower::truth_of`]). Gives: the lowering of terminators but calls, and of traps.

use super::Lower;
use super::compare::Flags;
use super::emit::register_test;
use crate::abi::Place;
use crate::abi::entry::{copy_pinned, store};
use crate::error::CodegenError;
use crate::machine::{Amode, MachineBlock, Pseudo};
use crate::regalloc::VReg;
use rustc_hash::FxHashMap;
use sphex_asm::aarch64::op;
use sphex_asm::aarch64::operand::{FP, SP, Variant};
use sphex_asm::register::{Reg, RegClass};
use sphex_ir::{Opcode, Value};

impl Lower<'_> {
    pub(super) fn lower_terminator(
        &mut self,
        inst: Value,
        targets: &[MachineBlock],
    ) -> Result<(), CodegenError> {
        match self.data(inst).opcode {
            Opcode::Brif => {
                let cond = self.arg(inst, 0);
                let flags = self.truth_of(cond);
                self.branch(flags, targets[0], targets[1]);
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
        self.machine().successor(then, &[]);
        self.machine().successor(other, &[]);
        let (pseudo, first, second) = match flags {
            Flags::One(cond) => (Pseudo::JumpIf, cond, cond),
            Flags::Both(a, b) => (Pseudo::JumpIfBoth, a, b),
            Flags::Either(a, b) => (Pseudo::JumpIfEither, a, b),
            Flags::Register { reg, bit, set, wide } => {
                let test = register_test(bit, set, wide);
                self.machine().pseudo(Pseudo::JumpIf, Variant::NONE, test).read(reg).end();
                return;
            }
        };
        self.machine().pseudo(pseudo, first.variant(), second as u32);
    }

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
        table.push(number(targets[0]));
        let index = self.value(index);
        let (base, entry) = (self.gpr(), self.gpr());
        for &target in &successors {
            self.machine().successor(target, &[]);
        }
        let payload = self.machine().jump_tables.len() as u32;
        self.machine().jump_tables.push(table);
        self.machine()
            .pseudo(Pseudo::JumpTable, Variant::NONE, payload)
            .read(index)
            .write_early(base)
            .write_early(entry);
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
            None => *self.return_pointer.insert(self.select.machine.new_vreg(RegClass::Int)),
        }
    }

    pub(super) fn lower_control(&mut self, inst: Value) -> Result<(), CodegenError> {
        let data = self.data(inst);
        let pinned = self.settings.target.arch.pinned_reg();
        match data.opcode {
            Opcode::Trapz | Opcode::Trapnz => {
                let cond = self.arg(inst, 0);
                let flags = self.truth_of(cond);
                let flags = if data.opcode == Opcode::Trapz { flags.invert() } else { flags };
                self.trap_if(flags, data.trap_code());
            }
            Opcode::Debugtrap => self.machine().inst(op::BRK, Variant::NONE).imm(0xf000).end(),
            Opcode::SequencePoint => {}
            Opcode::GetPinnedReg => {
                let dst = self.dst(inst);
                copy_pinned(self.machine(), dst, pinned);
            }
            Opcode::GetFramePointer => {
                let dst = self.dst(inst);
                copy_pinned(self.machine(), dst, FP);
            }
            Opcode::GetStackPointer => {
                let dst = self.dst(inst);
                self.machine().inst(op::MOV_SP, Variant::NONE).write(dst).pinned(SP);
            }
            Opcode::SetPinnedReg => {
                let x = self.arg(inst, 0);
                let x = self.value(x);
                self.machine().inst(op::MOV_RR, Variant::S64).pinned(pinned).read(x);
            }
            _ => {
                let dst = self.dst(inst);
                self.machine().inst(op::LDR_X, Variant::NONE).write(dst).mem(Amode::pinned(FP, 8));
            }
        }
        Ok(())
    }
}
