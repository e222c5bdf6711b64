//! Loads and stores.
//!
//! Needs: addresses ([`Lower::amode`]). Gives: the lowering of loads, stores, stack accesses and `global_value`.
//!
//! A store of an operation on what is loaded from the same place is one instruction, if nobody else wants the loaded or
//! the computed value and nothing lies between.

use super::{Lower, Rm, exact, unsupported};
use crate::error::CodegenError;
use crate::machine::Amode;
use crate::regalloc::VReg;
use sphex_asm::x64::features::Feature;
use sphex_asm::x64::operand::gpr;
use sphex_asm::x64::{RowId, Variant, op};
use sphex_ir::types::{F32, F64, I8, I16, I32, I64};
use sphex_ir::{GlobalValue, GlobalValueData, MemFlags, Opcode, TrapCode, Type, Value};

impl Lower<'_> {
    pub(super) fn lower_memory(&mut self, inst: Value) -> Result<(), CodegenError> {
        use Opcode::*;
        match self.data(inst).opcode {
            Load | StackLoad => self.load(inst),
            Uload8 => self.extending_load(inst, I8, false),
            Sload8 => self.extending_load(inst, I8, true),
            Uload16 => self.extending_load(inst, I16, false),
            Sload16 => self.extending_load(inst, I16, true),
            Uload32 => self.extending_load(inst, I32, false),
            Sload32 => self.extending_load(inst, I32, true),
            Store | StackStore => {
                let ty = self.ty(self.arg(inst, 0));
                self.store(inst, ty);
            }
            Istore8 => self.store(inst, I8),
            Istore16 => self.store(inst, I16),
            Istore32 => self.store(inst, I32),
            _ => return self.global_value(inst),
        }
        Ok(())
    }

    fn load(&mut self, inst: Value) {
        let ty = self.ty(inst);
        let dst = self.dst(inst);
        let big = self.is_big_endian(inst);
        let (amode, trap) = self.access(inst);
        if big && ty != I8 {
            self.load_big(dst, ty, amode, trap);
        } else {
            self.load_into(dst, ty, amode, trap);
        }
    }

    /// Emits a plain load; integers are zero-extended.
    pub(super) fn load_into(&mut self, dst: VReg, ty: Type, amode: Amode, trap: Option<TrapCode>) {
        let (row, variant) = match ty {
            I8 => (op::MOVZX8, Variant::S32),
            I16 => (op::MOVZX16, Variant::S32),
            F32 => (op::MOVSS_RM, Variant::NONE),
            F64 => (op::MOVSD_RM, Variant::NONE),
            _ => (op::MOV_RM, exact(ty)),
        };
        self.machine().inst(row, variant).write(dst).mem(amode).trap(trap);
    }

    /// The most significant byte first.
    fn load_big(&mut self, dst: VReg, ty: Type, amode: Amode, trap: Option<TrapCode>) {
        let int = if ty.is_int() { dst } else { self.gpr() };
        let wide = if ty.bits() == 64 { I64 } else { I32 };
        if ty == I16 {
            let raw = self.gpr();
            self.load_into(raw, I16, amode, trap);
            // Rotating 16 bits keeps the zeros above.
            self.modify_imm(op::ROL_I, Variant::S16, int, raw, 8);
        } else if self.has(Feature::Movbe) {
            self.machine().inst(op::MOVBE_RM, exact(wide)).write(int).mem(amode).trap(trap);
        } else {
            let raw = self.gpr();
            self.load_into(raw, wide, amode, trap);
            self.modify(op::BSWAP, exact(wide), int, raw);
        }
        if !ty.is_int() {
            let row = if ty == F64 { op::MOVQ_RM } else { op::MOVD_RM };
            self.write_rm(row, Variant::NONE, dst, Rm::Reg(int));
        }
    }

    fn extending_load(&mut self, inst: Value, from: Type, signed: bool) {
        let to = self.ty(inst);
        let dst = self.dst(inst);
        let big = self.is_big_endian(inst) && from != I8;
        let (amode, trap) = self.access(inst);
        if big {
            let raw = if signed { self.gpr() } else { dst };
            self.load_big(raw, from, amode, trap);
            if signed {
                self.sext_into(dst, Rm::Reg(raw), from, to.bits().max(32));
            }
        } else if signed {
            self.sext_into(dst, Rm::Mem(amode, trap), from, to.bits().max(32));
        } else {
            self.load_into(dst, from, amode, trap);
        }
    }

    fn store(&mut self, inst: Value, ty: Type) {
        if self.is_big_endian(inst) && ty != I8 {
            self.store_big(inst, ty);
            return;
        }
        if ty.is_int() && self.update(inst, ty) {
            return;
        }
        let value = self.arg(inst, 0);
        let constant = match ty.is_int() {
            true => self.constant(value),
            false => self
                .float_constant(value)
                .map(|bits| if ty == F32 { bits as i32 as i64 } else { bits as i64 }),
        };
        if let Some(imm) = constant.and_then(|c| imm_for(ty, c)) {
            let (amode, trap) = self.access(inst);
            self.machine().inst(op::MOV_MI, exact(ty)).mem(amode).imm(imm).trap(trap);
            return;
        }
        let value = self.value(value);
        let (amode, trap) = self.access(inst);
        let (row, variant) = match ty {
            F32 => (op::MOVSS_MR, Variant::NONE),
            F64 => (op::MOVSD_MR, Variant::NONE),
            _ => (op::MOV_MR, exact(ty)),
        };
        self.machine().inst(row, variant).mem(amode).read(value).trap(trap);
    }

    fn store_big(&mut self, inst: Value, ty: Type) {
        let value = self.arg(inst, 0);
        let mut value = self.value(value);
        if !ty.is_int() {
            let int = self.gpr();
            let row = if ty == F64 { op::MOVQ_MR } else { op::MOVD_MR };
            self.machine().inst(row, Variant::NONE).write(int).read(value);
            value = int;
        }
        let (amode, trap) = self.access(inst);
        if self.has(Feature::Movbe) {
            self.machine().inst(op::MOVBE_MR, exact(ty)).mem(amode).read(value).trap(trap);
            return;
        }
        let swapped = self.gpr();
        if ty == I16 {
            self.modify_imm(op::ROL_I, Variant::S16, swapped, value, 8);
        } else {
            self.modify(op::BSWAP, exact(ty), swapped, value);
        }
        self.machine().inst(op::MOV_MR, exact(ty)).mem(amode).read(swapped).trap(trap);
    }

    /// Emits a store of `load op x` to the loaded place as one instruction, if it is that.
    fn update(&mut self, inst: Value, ty: Type) -> bool {
        let value = self.arg(inst, 0);
        let data = self.data(value);
        if self.ty(value) != ty || !self.select.facts.used_once(value) || self.select.wanted(value).is_some()
        {
            return false;
        }
        let shift = |mcl, mi| Some(UpdateRows { reg: mcl, imm: mi, commutes: false, shift: true });
        let plain = |reg, imm, commutes| Some(UpdateRows { reg, imm, commutes, shift: false });
        let rows = match data.opcode {
            Opcode::Iadd => plain(op::ADD_MR, op::ADD_MI, true),
            Opcode::Isub => plain(op::SUB_MR, op::SUB_MI, false),
            Opcode::Band => plain(op::AND_MR, op::AND_MI, true),
            Opcode::Bor => plain(op::OR_MR, op::OR_MI, true),
            Opcode::Bxor => plain(op::XOR_MR, op::XOR_MI, true),
            Opcode::Ishl if ty.bits() >= 32 => shift(op::SHL_MCL, op::SHL_MI),
            Opcode::Ushr => shift(op::SHR_MCL, op::SHR_MI),
            Opcode::Sshr => shift(op::SAR_MCL, op::SAR_MI),
            _ => None,
        };
        let Some(rows) = rows else { return false };
        let (x, y) = (self.arg(value, 0), self.arg(value, 1));
        let (load, other) = if self.reads_same_place(x, inst) {
            (x, y)
        } else if rows.commutes && self.reads_same_place(y, inst) {
            (y, x)
        } else {
            return false;
        };
        // A shift by a variable amount is masked as 32 or 64 bits are.
        if rows.shift && ty.bits() < 32 && self.constant(other).is_none() || !self.select.sink(load) {
            return false;
        }
        self.emit_update(inst, ty, rows, other);
        true
    }

    fn emit_update(&mut self, inst: Value, ty: Type, rows: UpdateRows, other: Value) {
        let variant = exact(ty);
        let imm = match rows.shift {
            true => self.constant(other).map(|c| c as i32 & (ty.bits() as i32 - 1)),
            false => self.imm32(other),
        };
        if let Some(imm) = imm {
            let (amode, trap) = self.access(inst);
            self.machine().inst(rows.imm, variant).mem(amode).imm(imm).trap(trap);
            return;
        }
        let other = self.value(other);
        let (amode, trap) = self.access(inst);
        let emitted = self.machine().inst(rows.reg, variant).mem(amode).trap(trap);
        if rows.shift { emitted.read_fixed(other, gpr::RCX).end() } else { emitted.read(other).end() }
    }

    /// Whether `load` loads what `store` overwrites, and may be taken into it.
    fn reads_same_place(&self, load: Value, store: Value) -> bool {
        let (l, s) = (self.data(load), self.data(store));
        let same = match (l.opcode, s.opcode) {
            (Opcode::Load, Opcode::Store) => {
                self.arg(load, 0) == self.arg(store, 1)
                    && self.select.func.flags(load).trap == self.select.func.flags(store).trap
                    && !self.is_big_endian(load)
            }
            (Opcode::StackLoad, Opcode::StackStore) => l.a == s.b,
            _ => false,
        };
        same && l.offset() == s.offset()
            && self.ty(load) == self.ty(self.arg(store, 0))
            && self.select.can_sink(load)
    }

    fn global_value(&mut self, inst: Value) -> Result<(), CodegenError> {
        let dst = self.dst(inst);
        let gv = GlobalValue::from_u32(self.data(inst).a);
        self.global_value_into(inst, dst, gv)
    }

    /// Computes a global value: the chain down to its root, then back up with one instruction a link.
    fn global_value_into(&mut self, inst: Value, dst: VReg, gv: GlobalValue) -> Result<(), CodegenError> {
        let func = self.select.func;
        let mut chain = vec![gv];
        let root = loop {
            let last = chain[chain.len() - 1];
            match &func.global_values[last] {
                GlobalValueData::Load { base, .. } | GlobalValueData::IaddImm { base, .. } => {
                    chain.push(*base)
                }
                root => break root,
            }
            if chain.len() > func.global_values.len() {
                return Err(unsupported(inst, self.data(inst), I64));
            }
        };
        let mut at = match root {
            GlobalValueData::VmContext => {
                let entry = func.entry().and_then(|entry| {
                    let index = func.signature.special_param(sphex_ir::Purpose::VmContext)?;
                    func.block_params(entry).nth(index)
                });
                let Some(param) = entry else { return Err(self.error(inst)) };
                Some((self.pinned(param), param))
            }
            _ => None,
        };
        chain.pop();
        let mut current = None;
        if let GlobalValueData::Symbol { name, offset, colocated, tls: false } = root {
            let symbol = self.select.machine.symbol(name);
            let reg = if chain.is_empty() { dst } else { self.gpr() };
            self.symbol_into(reg, symbol, *colocated, *offset);
            current = Some(reg);
        } else if at.is_none() {
            return Err(self.error(inst));
        }
        while let Some(link) = chain.pop() {
            let reg = if chain.is_empty() { dst } else { self.gpr() };
            let base = |lower: &mut Self, disp: i32| match (current, at) {
                (Some(reg), _) => Amode::reg(reg, disp),
                (None, Some((Some(pinned), _))) => Amode::pinned(pinned, disp),
                (None, Some((None, param))) => Amode::reg(lower.value(param), disp),
                (None, None) => Amode::reg(dst, disp),
            };
            match &func.global_values[link] {
                GlobalValueData::Load { offset, ty, flags, .. } => {
                    let from = base(self, *offset);
                    let MemFlags { trap, .. } = *flags;
                    self.load_into(reg, *ty, from, trap);
                }
                GlobalValueData::IaddImm { offset, .. } => match i32::try_from(*offset) {
                    Ok(disp) => {
                        let from = base(self, disp);
                        self.lea(Variant::S64, reg, from);
                    }
                    Err(_) => {
                        let from = base(self, 0);
                        let (plain, offset) = (self.gpr(), self.imm(*offset as u64));
                        self.lea(Variant::S64, plain, from);
                        self.lea(Variant::S64, reg, Amode::indexed(plain, offset, 0, 0));
                    }
                },
                _ => {}
            }
            (current, at) = (Some(reg), None);
        }
        if let (None, Some((_, param))) = (current, at) {
            let from = self.value(param);
            self.machine().copy(dst, from);
        }
        Ok(())
    }
}

/// The rows of an operation on memory: by a register (`cl` for shifts), by an immediate.
#[derive(Clone, Copy)]
struct UpdateRows {
    reg: RowId,
    imm: RowId,
    commutes: bool,
    shift: bool,
}

/// The immediate with which a store writes a constant of this type.
fn imm_for(ty: Type, constant: i64) -> Option<i32> {
    match ty.bits() {
        64 => i32::try_from(constant).ok(),
        8 => Some(i32::from(constant as i8)),
        16 => Some(i32::from(constant as i16)),
        _ => Some(constant as i32),
    }
}
