//! The few things that every family looks for in its operands: constants, addresses, loads, extended values.
//!
//! Needs: a resolved value. Gives: the operand it becomes, having emitted what that needs. Each looks a bounded number of
//! definitions deep.

use super::{Lower, Rm, Rmi};
use crate::machine::{Amode, Base, Slot};
use crate::regalloc::VReg;
use sphex_asm::x64::{Variant, op};
use sphex_ir::types::{F64, I8, I16, I32, I64};
use sphex_ir::{Endian, GlobalValue, GlobalValueData, Opcode, StackSlot, TrapCode, Type, Value};

/// How many definitions a matcher looks through.
const DEPTH: usize = 4;

impl Lower<'_> {
    /// What a value is, under names that change no bits that anyone may look at: reductions, extensions of what is
    /// extended already, casts within a register class.
    pub(super) fn strip(&self, value: Value) -> Value {
        let mut value = self.select.resolve(value);
        for _ in 0..DEPTH {
            let data = self.data(value);
            let inner = match data.opcode {
                Opcode::Ireduce => self.arg(value, 0),
                Opcode::Uextend => {
                    let inner = self.arg(value, 0);
                    if !self.is_zero_extended(inner) {
                        return value;
                    }
                    inner
                }
                Opcode::Bitcast => {
                    let inner = self.arg(value, 0);
                    if self.ty(inner) != data.ty {
                        return value;
                    }
                    inner
                }
                _ => return value,
            };
            if self.ty(inner).bits() > 64 {
                return value;
            }
            value = inner;
        }
        value
    }

    /// Whether the register of this value has zeros above the value's type (up to bit 63). True only of instructions
    /// that are always emitted in a form that clears those bits.
    pub(super) fn is_zero_extended(&self, value: Value) -> bool {
        use Opcode::*;
        let data = self.data(value);
        let zero32 = matches!(
            data.opcode,
            Iadd | Isub
                | Imul
                | Ineg
                | Band
                | Bor
                | Bxor
                | Bnot
                | BandNot
                | BorNot
                | BxorNot
                | Ishl
                | Ushr
                | Sshr
                | Rotl
                | Rotr
                | Clz
                | Ctz
                | Popcnt
                | Bswap
                | Select
                | SelectSpectreGuard
                | Udiv
                | Urem
                | Sdiv
                | Srem
                | Load
                | Sload8
                | Sload16
                | Sextend
                | AtomicLoad
        );
        let ty = data.ty;
        match data.opcode {
            BlockParam => self.extended.contains(value),
            Load | AtomicLoad | StackLoad => ty.is_int(),
            Uload8 | Uload16 | Uload32 | Uextend => true,
            Iconst => true,
            _ => ty == I32 && zero32,
        }
    }

    /// A register that holds the value; bits above its type are undefined (R1).
    pub(super) fn value(&mut self, value: Value) -> VReg {
        let value = self.strip(value);
        if self.is_constant(value) {
            let dst = self.select.machine.new_vreg_for(self.ty(value));
            self.constant_into(dst, value);
            return dst;
        }
        self.select.value_reg(value)
    }

    /// Whether users make the value again instead of keeping it in a register.
    pub(super) fn is_constant(&self, value: Value) -> bool {
        use Opcode::*;
        matches!(self.data(value).opcode, Iconst | F32const | F64const | StackAddr | FuncAddr | SymbolValue)
            || self.pinned(value).is_some()
    }

    /// Emits a constant into a register; may change the flags (R2).
    pub(super) fn constant_into(&mut self, dst: VReg, value: Value) {
        let data = self.data(value);
        match data.opcode {
            Opcode::Iconst => self.imm_into(dst, data.imm64()),
            Opcode::F32const if data.a == 0 => self.xmm_zero_into(dst),
            Opcode::F64const if data.imm64() == 0 => self.xmm_zero_into(dst),
            Opcode::F32const => {
                let constant = self.machine().constant(&data.a.to_le_bytes());
                self.load_float_into(dst, false, constant);
            }
            Opcode::F64const => {
                let constant = self.machine().constant(&data.imm64().to_le_bytes());
                self.load_float_into(dst, true, constant);
            }
            Opcode::StackAddr => {
                self.lea(Variant::S64, dst, Amode::slot(Slot::from_u32(data.a), data.b as i32));
            }
            Opcode::FuncAddr => {
                let callee = &self.select.func.ext_funcs[sphex_ir::FuncRef::from_u32(data.a)];
                let symbol = self.select.machine.symbol(&callee.name);
                self.symbol_into(dst, symbol, callee.colocated, 0);
            }
            Opcode::SymbolValue => self.symbol_value_into(dst, GlobalValue::from_u32(data.a)),
            _ => {
                if let Some(reg) = self.pinned(value) {
                    crate::abi::entry::copy_pinned(self.select.machine, dst, reg);
                }
            }
        }
    }

    fn symbol_value_into(&mut self, dst: VReg, gv: GlobalValue) {
        if let GlobalValueData::Symbol { name, offset, colocated, .. } = &self.select.func.global_values[gv] {
            let symbol = self.select.machine.symbol(name);
            self.symbol_into(dst, symbol, *colocated, *offset);
        }
    }

    /// Emits the address of a symbol plus bytes.
    pub(super) fn symbol_into(
        &mut self,
        dst: VReg,
        symbol: sphex_asm::record::Symbol,
        near: bool,
        offset: i64,
    ) {
        let disp = i32::try_from(offset).ok();
        if near && let Some(disp) = disp {
            self.lea(Variant::S64, dst, Amode::at(Base::Symbol(symbol), disp));
            return;
        }
        let base = if offset == 0 { dst } else { self.gpr() };
        let from = Amode::at(Base::Got(symbol), 0);
        self.machine().inst(op::MOV_RM, Variant::S64).write(base).mem(from);
        match disp {
            Some(0) => {}
            Some(disp) => self.lea(Variant::S64, dst, Amode::reg(base, disp)),
            None => {
                let index = self.imm(offset as u64);
                self.lea(Variant::S64, dst, Amode::indexed(base, index, 0, 0));
            }
        }
    }

    /// The constant that a value is, sign-extended from its type.
    pub(super) fn constant(&self, value: Value) -> Option<i64> {
        let value = self.select.resolve(value);
        let (data, ty) = (self.data(value), self.ty(value));
        let unused = 64 - ty.bits().min(64);
        match data.opcode {
            Opcode::Iconst => Some((data.imm64() << unused) as i64 >> unused),
            Opcode::Uextend | Opcode::Sextend | Opcode::Ireduce => {
                let inner = self.arg(value, 0);
                if self.data(inner).opcode != Opcode::Iconst {
                    return None;
                }
                let raw = self.data(inner).imm64();
                let above = 64 - self.ty(inner).bits();
                let wide = match data.opcode {
                    Opcode::Sextend => ((raw << above) as i64 >> above) as u64,
                    _ => raw,
                };
                Some((wide << unused) as i64 >> unused)
            }
            _ => None,
        }
    }

    /// The constant that a value is, zero-extended from its type.
    pub(super) fn unsigned_constant(&self, value: Value) -> Option<u64> {
        let bits = self.ty(value).bits();
        self.constant(value).map(|c| if bits >= 64 { c as u64 } else { c as u64 & ((1 << bits) - 1) })
    }

    /// The constant that a value is, if an instruction of its size can have it as an immediate.
    pub(super) fn imm32(&self, value: Value) -> Option<i32> {
        self.constant(value).and_then(|c| i32::try_from(c).ok())
    }

    /// The definition of `value`, if it is this operation and its only user is the one asking, so that it may be taken
    /// in with everything that it takes in. The one asking may ask twice, as a comparison does that is fused with a branch
    /// and kept as a value besides: if it has got the value in a register once, it is not alone.
    pub(super) fn only(&self, value: Value, opcode: Opcode) -> bool {
        let unseen = self.select.wanted(self.select.resolve(value)).is_none();
        self.data(value).opcode == opcode && self.select.facts.used_once(value) && unseen
    }

    /// The memory that a load of exactly this type reads, taken into the instruction being emitted if that may be (R3).
    pub(super) fn load_operand(&mut self, value: Value) -> Option<(Amode, Option<TrapCode>)> {
        let value = self.select.resolve(value);
        let data = self.data(value);
        if !self.unique || !matches!(data.opcode, Opcode::Load | Opcode::StackLoad | Opcode::AtomicLoad) {
            return None;
        }
        if self.is_big_endian(value) || !self.select.sink(value) {
            return None;
        }
        Some(self.access(value))
    }

    /// The address and trap code of a load or store.
    pub(super) fn access(&mut self, inst: Value) -> (Amode, Option<TrapCode>) {
        let data = self.data(inst);
        match data.opcode {
            Opcode::StackLoad => (Amode::slot(Slot::from_u32(data.a), data.offset()), None),
            Opcode::StackStore => (Amode::slot(Slot::from_u32(data.b), data.offset()), None),
            Opcode::AtomicLoad => {
                let address = self.arg(inst, 0);
                (self.amode(address, 0), self.select.func.flags(inst).trap)
            }
            _ => {
                let address = match data.opcode {
                    Opcode::Store | Opcode::Istore8 | Opcode::Istore16 | Opcode::Istore32 => {
                        self.arg(inst, 1)
                    }
                    _ => self.arg(inst, 0),
                };
                (self.amode(address, data.offset()), self.select.func.flags(inst).trap)
            }
        }
    }

    /// Whether a memory access swaps bytes.
    pub(super) fn is_big_endian(&self, inst: Value) -> bool {
        let stack = matches!(self.data(inst).opcode, Opcode::StackLoad | Opcode::StackStore);
        !stack && self.select.func.flags(inst).endian == Endian::Big
    }

    /// A register or, where a load may be taken in, memory. The operand is as wide as the value's type.
    pub(super) fn rm(&mut self, value: Value) -> Rm {
        if let Some((amode, trap)) = self.load_operand(value) {
            return Rm::Mem(amode, trap);
        }
        match self.constant(value) {
            // No immediate is that wide: it comes from the pool of constants.
            Some(c) if self.ty(value) == I64 && i32::try_from(c).is_err() => {
                let constant = self.machine().constant(&c.to_le_bytes());
                Rm::Mem(Amode::at(Base::Constant(constant), 0), None)
            }
            _ => Rm::Reg(self.value(value)),
        }
    }

    /// The same for operations of at least 32 bits: memory only if the value is that wide.
    pub(super) fn wide_rm(&mut self, value: Value) -> Rm {
        if self.ty(value).bits() >= 32 { self.rm(value) } else { Rm::Reg(self.value(value)) }
    }

    /// An immediate, or what [`Self::wide_rm`] finds.
    pub(super) fn wide_rmi(&mut self, value: Value) -> Rmi {
        match self.imm32(value) {
            Some(imm) => Rmi::Imm(imm),
            None => self.wide_rm(value).into(),
        }
    }

    /// A register with the value zero-extended to 64 bits.
    pub(super) fn zext(&mut self, value: Value) -> VReg {
        let value = self.select.resolve(value);
        let ty = self.ty(value);
        if ty == I64 || self.is_zero_extended(value) {
            return self.value(value);
        }
        let src = self.value(value);
        let dst = self.gpr();
        self.zext_into(dst, src, ty);
        dst
    }

    /// Emits a zero-extension to 64 bits.
    pub(super) fn zext_into(&mut self, dst: VReg, src: VReg, from: Type) {
        self.write_rm(zext_row(from), Variant::S32, dst, Rm::Reg(src));
    }

    /// A register with the value sign-extended to `to` bits (32 or 64; bits above are undefined).
    pub(super) fn sext(&mut self, value: Value, to: u32) -> VReg {
        let value = self.select.resolve(value);
        let ty = self.ty(value);
        if let Some(constant) = self.constant(value) {
            return self.imm(if to == 32 { u64::from(constant as u32) } else { constant as u64 });
        }
        if ty.bits() >= to {
            return self.value(value);
        }
        let src = self.value(value);
        let dst = self.gpr();
        self.sext_into(dst, Rm::Reg(src), ty, to);
        dst
    }

    /// Emits a sign-extension to `to` bits.
    pub(super) fn sext_into(&mut self, dst: VReg, src: Rm, from: Type, to: u32) {
        let variant = if to == 64 { Variant::S64 } else { Variant::S32 };
        match from {
            I8 => self.write_rm(op::MOVSX8, variant, dst, src),
            I16 => self.write_rm(op::MOVSX16, variant, dst, src),
            _ => self.write_rm(op::MOVSXD, Variant::NONE, dst, src),
        }
    }

    /// The address `value + offset` as an addressing mode.
    pub(super) fn amode(&mut self, value: Value, offset: i32) -> Amode {
        // A sum of another width wraps elsewhere: it is no part of the address.
        let ty = self.ty(value);
        let mut disp = offset;
        let mut value = self.strip(value);
        for _ in 0..DEPTH {
            if self.data(value).opcode != Opcode::Iadd || self.ty(value) != ty {
                break;
            }
            let (x, y) = (self.arg(value, 0), self.arg(value, 1));
            let (rest, constant) = match (self.imm32(x), self.imm32(y)) {
                (_, Some(imm)) => (x, imm),
                (Some(imm), _) => (y, imm),
                _ => break,
            };
            let Some(sum) = disp.checked_add(constant) else { break };
            disp = sum;
            value = self.strip(rest);
        }
        let data = self.data(value);
        match data.opcode {
            Opcode::Iadd if data.ty == ty => {
                let (x, y) = (self.arg(value, 0), self.arg(value, 1));
                self.amode_sum(x, y, disp)
            }
            Opcode::StackAddr => match disp.checked_add(data.b as i32) {
                Some(disp) => Amode::slot(Slot::from_u32(StackSlot::from_u32(data.a).as_u32()), disp),
                None => Amode::reg(self.value(value), disp),
            },
            Opcode::SymbolValue => self.amode_symbol(value, disp),
            _ => self.amode_base(value, None, disp),
        }
    }

    fn amode_symbol(&mut self, value: Value, disp: i32) -> Amode {
        let gv = GlobalValue::from_u32(self.data(value).a);
        if let GlobalValueData::Symbol { name, offset, colocated: true, .. } =
            &self.select.func.global_values[gv]
            && let Some(disp) = i32::try_from(*offset).ok().and_then(|offset| disp.checked_add(offset))
        {
            let symbol = self.select.machine.symbol(name);
            return Amode::at(Base::Symbol(symbol), disp);
        }
        Amode::reg(self.value(value), disp)
    }

    fn amode_sum(&mut self, x: Value, y: Value, disp: i32) -> Amode {
        let ty = self.ty(x);
        let (x, y) = (self.strip(x), self.strip(y));
        if ty == I64 {
            for (base, index) in [(x, y), (y, x)] {
                if let Some((index, shift, more)) = self.unwrapped(index)
                    && let Some(disp) = disp.checked_add(more)
                {
                    return self.amode_base(base, Some((index, shift)), disp);
                }
            }
        }
        match (self.scaled(x, ty), self.scaled(y, ty)) {
            (_, Some((index, shift))) => self.amode_base(x, Some((index, shift)), disp),
            (Some((index, shift)), None) => self.amode_base(y, Some((index, shift)), disp),
            (None, None) if self.pinned(y).is_some() => self.amode_base(y, Some((x, 0)), disp),
            (None, None) => self.amode_base(x, Some((y, 0)), disp),
        }
    }

    fn amode_base(&mut self, base: Value, index: Option<(Value, u8)>, disp: i32) -> Amode {
        let base = match self.pinned(base) {
            Some(reg) => Base::Pinned(reg),
            None => Base::Reg(self.value(base)),
        };
        let index = index.map(|(index, shift)| (self.value(index), shift));
        Amode { base, index, disp }
    }

    /// A value of this type that is another shifted left by 1 to 3.
    pub(super) fn scaled(&self, value: Value, ty: Type) -> Option<(Value, u8)> {
        if self.data(value).opcode != Opcode::Ishl || self.ty(value) != ty || ty.bits() < 32 {
            return None;
        }
        let amount = self.constant(self.arg(value, 1))? & i64::from(ty.bits() - 1);
        (1..=3).contains(&amount).then(|| (self.strip(self.arg(value, 0)), amount as u8))
    }

    /// The bytes of a float constant.
    pub(super) fn float_constant(&self, value: Value) -> Option<u64> {
        let data = self.data(value);
        match data.opcode {
            Opcode::F32const => Some(u64::from(data.a)),
            Opcode::F64const => Some(data.imm64()),
            _ => None,
        }
    }

    /// A vector register, or memory where a load or a constant may be taken in: for scalar float operations.
    pub(super) fn float_rm(&mut self, value: Value) -> Rm {
        let value = self.select.resolve(value);
        match self.float_constant(value) {
            Some(bits) if bits != 0 => {
                let bytes = bits.to_le_bytes();
                let length = if self.ty(value) == F64 { 8 } else { 4 };
                let constant = self.machine().constant(&bytes[..length]);
                Rm::Mem(Amode::at(Base::Constant(constant), 0), None)
            }
            _ => self.rm(value),
        }
    }
}

/// The row that zero-extends from a type (to 64 bits, written with a 32-bit destination).
pub(super) fn zext_row(from: Type) -> sphex_asm::x64::RowId {
    match from {
        I8 => op::MOVZX8,
        I16 => op::MOVZX16,
        _ => op::MOV_RM,
    }
}
