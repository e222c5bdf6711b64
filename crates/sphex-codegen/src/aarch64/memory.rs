//! Loads and stores.
//!
//! Needs: addresses ([`Lower::amode`]). Gives: the lowering of loads, stores, stack accesses and `global_value`.

use super::{Lower, unsupported};
use crate::error::CodegenError;
use crate::machine::{Amode, Base};
use crate::regalloc::VReg;
use sphex_asm::aarch64::operand::{Variant, ZR};
use sphex_asm::aarch64::{RowId, op};
use sphex_ir::types::{F32, F64, I8, I16, I32, I64};
use sphex_ir::{GlobalValue, GlobalValueData, Opcode, TrapCode, Type, Value};

impl Lower<'_> {
    pub(super) fn lower_memory(&mut self, inst: Value) -> Result<(), CodegenError> {
        use Opcode::*;
        match self.data(inst).opcode {
            Load | StackLoad => {
                let ty = self.ty(inst);
                self.load(inst, ty, false);
            }
            Uload8 => self.load(inst, I8, false),
            Sload8 => self.load(inst, I8, true),
            Uload16 => self.load(inst, I16, false),
            Sload16 => self.load(inst, I16, true),
            Uload32 => self.load(inst, I32, false),
            Sload32 => self.load(inst, I32, true),
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

    fn load(&mut self, inst: Value, from: Type, signed: bool) {
        let (dst, to) = (self.dst(inst), self.ty(inst));
        let big = self.is_big_endian(inst) && from != I8;
        let (amode, trap) = self.access(inst, from.bytes());
        if big {
            let raw = self.gpr();
            let int = match from.bits() {
                16 => I16,
                32 => I32,
                _ => I64,
            };
            self.load_into(raw, int, amode, trap);
            self.swap_into(dst, raw, from, to, signed);
        } else if signed {
            let row = match (from, to.bits() == 64) {
                (I8, false) => op::LDRSB_W,
                (I8, true) => op::LDRSB_X,
                (I16, false) => op::LDRSH_W,
                (I16, true) => op::LDRSH_X,
                _ => op::LDRSW,
            };
            self.machine().inst(row, Variant::NONE).write(dst).mem(amode).trap(trap);
        } else {
            self.load_into(dst, from, amode, trap);
        }
    }

    /// Emits a plain load; integers are zero-extended.
    pub(super) fn load_into(&mut self, dst: VReg, ty: Type, amode: Amode, trap: Option<TrapCode>) {
        let row = match ty {
            I8 => op::LDRB,
            I16 => op::LDRH,
            I32 => op::LDR_W,
            F32 => op::LDR_S,
            F64 => op::LDR_D,
            _ => op::LDR_X,
        };
        self.machine().inst(row, Variant::NONE).write(dst).mem(amode).trap(trap);
    }

    /// What was loaded with the most significant byte first, as a value of its type.
    fn swap_into(&mut self, dst: VReg, raw: VReg, from: Type, to: Type, signed: bool) {
        let swapped = if signed || !from.is_int() { self.gpr() } else { dst };
        match from.bits() {
            16 => self.op1_into(op::REV16, Variant::S32, swapped, raw),
            32 => self.op1_into(op::REV_W, Variant::NONE, swapped, raw),
            _ => self.op1_into(op::REV_X, Variant::NONE, swapped, raw),
        }
        if signed {
            self.sext_into(dst, swapped, from);
        } else if !from.is_int() {
            let row = if to == F64 { op::FMOV_DX } else { op::FMOV_SW };
            self.op1_into(row, Variant::NONE, dst, swapped);
        }
    }

    fn store(&mut self, inst: Value, ty: Type) {
        let value = self.arg(inst, 0);
        let big = self.is_big_endian(inst) && ty != I8;
        if !big && ty.is_int() && self.constant(value) == Some(0) {
            let (amode, trap) = self.access(inst, ty.bytes());
            self.machine().inst(store_row(ty), Variant::NONE).pinned(ZR).mem(amode).trap(trap);
            return;
        }
        let mut reg = self.value(value);
        let mut ty = ty;
        if big {
            if !ty.is_int() {
                let (int, double) = (self.gpr(), ty == F64);
                let row = if double { op::FMOV_XD } else { op::FMOV_WS };
                self.op1_into(row, Variant::NONE, int, reg);
                (reg, ty) = (int, if double { I64 } else { I32 });
            }
            let swapped = self.gpr();
            match ty {
                I16 => self.op1_into(op::REV16, Variant::S32, swapped, reg),
                I32 => self.op1_into(op::REV_W, Variant::NONE, swapped, reg),
                _ => self.op1_into(op::REV_X, Variant::NONE, swapped, reg),
            }
            reg = swapped;
        }
        let (amode, trap) = self.access(inst, ty.bytes());
        self.machine().inst(store_row(ty), Variant::NONE).read(reg).mem(amode).trap(trap);
    }

    /// Computes a global value: the chain down to its root, then back up with one instruction a link.
    fn global_value(&mut self, inst: Value) -> Result<(), CodegenError> {
        let (func, dst) = (self.select.func, self.dst(inst));
        let mut chain = vec![GlobalValue::from_u32(self.data(inst).a)];
        let root = loop {
            match &func.global_values[chain[chain.len() - 1]] {
                GlobalValueData::Load { base, .. } | GlobalValueData::IaddImm { base, .. } => {
                    chain.push(*base)
                }
                root => break root,
            }
            if chain.len() > func.global_values.len() {
                return Err(unsupported(inst, self.data(inst), I64));
            }
        };
        chain.pop();
        let mut at = match root {
            GlobalValueData::VmContext => {
                let entry = func.entry().and_then(|entry| {
                    let index = func.signature.special_param(sphex_ir::Purpose::VmContext)?;
                    func.block_params(entry).nth(index)
                });
                let Some(param) = entry else { return Err(self.error(inst)) };
                match self.pinned(param) {
                    Some(reg) => Base::Pinned(reg),
                    None => Base::Reg(self.value(param)),
                }
            }
            GlobalValueData::Symbol { name, offset, colocated, tls: false } => {
                let symbol = self.select.machine.symbol(name);
                let reg = self.gpr();
                self.symbol_into(reg, symbol, *colocated, *offset);
                Base::Reg(reg)
            }
            _ => return Err(self.error(inst)),
        };
        while let Some(link) = chain.pop() {
            let reg = self.gpr();
            match &func.global_values[link] {
                GlobalValueData::Load { offset, ty, flags, .. } => {
                    self.load_into(reg, *ty, Amode::at(at, *offset), flags.trap);
                }
                GlobalValueData::IaddImm { offset, .. } => match i32::try_from(*offset) {
                    Ok(disp) => self.lea(reg, Amode::at(at, disp)),
                    Err(_) => {
                        let (plain, offset) = (self.gpr(), self.imm(*offset as u64));
                        self.lea(plain, Amode::at(at, 0));
                        self.op2_into(op::ADD_RRR, Variant::S64, reg, plain, offset);
                    }
                },
                _ => {}
            }
            at = Base::Reg(reg);
        }
        self.lea(dst, Amode::at(at, 0));
        Ok(())
    }
}

/// The row that stores a value of this type.
fn store_row(ty: Type) -> RowId {
    match ty {
        I8 => op::STRB,
        I16 => op::STRH,
        I32 => op::STR_W,
        F32 => op::STR_S,
        F64 => op::STR_D,
        _ => op::STR_X,
    }
}
