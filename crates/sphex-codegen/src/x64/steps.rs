//! Steps of counters: what a branch compares or hands on is computed as late as may be, and a counter in memory that a trap
//! watches is counted there.
//!
//! Needs: the bottom-up walk, at a branch or a trap. Gives: [`Lower::late_steps`], [`Lower::compute_last`],
//! [`Lower::count_down`].

use super::Lower;
use crate::error::CodegenError;
use crate::machine::Amode;
use sphex_asm::x64::{Cond, Variant, op};
use sphex_ir::types::{I32, I64};
use sphex_ir::{IntCC, Opcode, Value};

/// How many instructions in front of a branch are looked at.
const REACH: usize = 16;

impl Lower<'_> {
    /// Values `x + constant` that only leave the block which the branch `inst` ends, where its condition compares `x`, which
    /// nobody behind the branch wants: computed behind the comparison, by `lea`, which keeps the flags, each may take the
    /// register of its `x`.
    pub(super) fn late_steps(&self, inst: Value, cond: Value) -> [Option<Value>; 2] {
        let mut late = [None; 2];
        let func = self.select.func;
        let mut compare = self.select.resolve(cond);
        while self.data(compare).opcode == Opcode::Uextend {
            compare = self.arg(compare, 0);
        }
        if self.data(compare).opcode != Opcode::Icmp {
            return late;
        }
        let compared = [0, 1].map(|k| self.arg(compare, k));
        let dead = |x: Value| !self.is_constant(x) && self.select.wanted(x).is_none();
        if !compared.into_iter().any(dead) {
            return late;
        }
        for call in func.block_calls(inst) {
            if self.select.facts.single_edge(func.block_call_target(call)) {
                continue;
            }
            for value in func.block_call_args(call) {
                let value = self.select.resolve(value);
                if self.data(value).opcode != Opcode::Iadd || self.imm32(self.arg(value, 1)).is_none() {
                    continue;
                }
                let x = self.arg(value, 0);
                let of = (0..2).find(|&k| compared[k] == x && dead(x) && late[k].is_none());
                if let Some(k) = of.filter(|_| !compared.contains(&value) && self.only_leaves(value)) {
                    late[k] = Some(value);
                }
            }
        }
        late
    }

    /// Whether a value is computed in this block and wanted, but by nobody in here but the terminator.
    fn only_leaves(&self, value: Value) -> bool {
        let func = self.select.func;
        if func.block_of[value] != self.select.block
            || !matches!(self.ty(value), I32 | I64)
            || self.select.wanted(value).is_none()
        {
            return false;
        }
        let insts = &func.blocks[self.select.block].insts;
        let behind = self.select.facts.position(value) as usize..insts.len() - 1;
        let uses = |inst: Value| {
            self.select.facts.step();
            func.operands(inst).into_iter().any(|operand| self.select.resolve(operand) == value)
        };
        behind.len() <= REACH && !insts[behind].iter().any(|&inst| uses(inst))
    }

    /// Computes what a branch compares with zero last, if nobody else in its block wants it or its operands: the flags are then there
    /// already. What was emitted for the branch so far stands behind it.
    pub(super) fn compute_last(&mut self, cond: Value) -> Result<(), CodegenError> {
        let mut value = self.select.resolve(cond);
        for _ in 0..2 {
            let zero = self.data(value).opcode == Opcode::Icmp
                && self.constant(self.arg(value, 1)) == Some(0)
                && matches!(self.data(value).int_cc(), IntCC::Eq | IntCC::Ne);
            if zero || self.data(value).opcode == Opcode::Uextend {
                value = self.arg(value, 0);
            }
        }
        let computes = matches!(
            self.data(value).opcode,
            Opcode::Iadd | Opcode::Isub | Opcode::Band | Opcode::Bor | Opcode::Bxor
        );
        // In place: what lives on would have to be copied, and what a step is taken from would live longer.
        let mine = |operand: Value| self.select.facts.used_once(operand) || self.constant(operand).is_some();
        let (x, y) = (self.arg(value, 0), self.arg(value, 1));
        if !computes || !mine(x) || !mine(y) || !self.only_leaves(value) {
            return Ok(());
        }
        // `lea` sets no flags.
        if self.data(value).opcode == Opcode::Iadd && self.wants_lea(x, y) {
            return Ok(());
        }
        self.select.take_over(value);
        self.select.machine.start_group();
        self.select.machine.set_location(self.select.func.srclocs[value]);
        self.lower(value)
    }

    /// Emits one of [`Self::late_steps`].
    pub(super) fn emit_late(&mut self, step: Value) {
        let Some(imm) = self.imm32(self.arg(step, 1)) else { return };
        let (dst, x) = (self.dst(step), self.arg(step, 0));
        let x = self.value(x);
        self.select.take_over(step);
        self.lea(super::wide(self.ty(step)), dst, Amode::reg(x, imm));
    }

    /// Emits `left = counter - constant; counter = left; trap if left < 0` of a counter in memory as one subtraction there,
    /// whose sign is the condition, if the trap `inst` stands right behind that and nobody else wants any of it.
    pub(super) fn count_down(&mut self, inst: Value) -> bool {
        let func = self.select.func;
        if self.data(inst).opcode != Opcode::Trapnz {
            return false;
        }
        let compare = self.arg(inst, 0);
        let left = self.arg(compare, 0);
        let watched = self.only(compare, Opcode::Icmp)
            && self.data(compare).int_cc() == IntCC::Slt
            && self.constant(self.arg(compare, 1)) == Some(0)
            && matches!(self.data(left).opcode, Opcode::Iadd | Opcode::Isub)
            && self.ty(left) == I64;
        if !watched || self.select.wanted(left).is_some() {
            return false;
        }
        let (load, by) = (self.arg(left, 0), self.imm32(self.arg(left, 1)));
        let loads = self.data(load).opcode == Opcode::AtomicLoad && self.select.facts.used_once(load);
        let Some(by) = by.filter(|_| loads && self.select.wanted(load).is_none()) else { return false };
        // All of it, and nothing else but what has no effect and does not use it, stands right above.
        let insts = &func.blocks[self.select.block].insts;
        let at = self.select.position as usize - 1;
        let above = insts[..at].iter().rev().copied();
        let mut above = above.filter(|&other| other != compare && !self.is_constant(other));
        let Some(store) = above.next().filter(|&store| self.data(store).opcode == Opcode::Store) else {
            return false;
        };
        let plain = above.next() == Some(left) && above.next() == Some(load);
        let place = |access: Value, k: usize| {
            let (mut base, mut offset) = (self.arg(access, k), i64::from(self.data(access).offset()));
            if self.data(access).opcode == Opcode::AtomicLoad {
                offset = 0;
            }
            if self.data(base).opcode == Opcode::Iadd
                && let Some(more) = self.imm32(self.arg(base, 1))
            {
                (base, offset) = (self.arg(base, 0), offset + i64::from(more));
            }
            (base, offset)
        };
        let flags = [func.flags(load), func.flags(store)];
        let same = place(load, 0) == place(store, 1) && flags.iter().all(|flags| flags.trap.is_none());
        if !plain || !same || self.arg(store, 0) != left || self.is_big_endian(store) {
            return false;
        }
        let row = if self.data(left).opcode == Opcode::Isub { op::SUB_MI } else { op::ADD_MI };
        for part in [store, left, load] {
            self.select.take_over(part);
        }
        let (base, offset) = (self.arg(store, 1), self.data(store).offset());
        let amode = self.amode(base, offset);
        self.machine().inst(row, Variant::S64).mem(amode).imm(by);
        self.trap_if(super::compare::Flags::One(Cond::S), self.data(inst).trap_code());
        true
    }
}
