//! The few things that every family looks for in its operands: constants, addresses, extended values.
//!
//! Needs: a resolved value. Gives: the operand it becomes, having emitted what that needs. Each looks a bounded number of
//! definitions deep.

use super::Lower;
use crate::machine::{Amode, Base, Slot};
use crate::regalloc::VReg;
use sphex_asm::aarch64::operand::{Extend, Size, Variant};
use sphex_asm::aarch64::{RowId, immediate, op};
use sphex_asm::record::Symbol;
use sphex_ir::types::{I8, I16, I32, I64};
use sphex_ir::{Endian, Extension, GlobalValue, GlobalValueData, Opcode, TrapCode, Type, Value};

/// How many definitions a matcher looks through.
const DEPTH: usize = 4;

impl Lower<'_> {
    /// What a value is, under names that change no bits that anyone may look at.
    pub(super) fn strip(&self, value: Value) -> Value {
        let mut value = self.select.resolve(value);
        for _ in 0..DEPTH {
            let data = self.data(value);
            let inner = match data.opcode {
                Opcode::Ireduce => self.arg(value, 0),
                Opcode::Uextend if self.is_zero_extended(self.arg(value, 0)) => self.arg(value, 0),
                Opcode::Bitcast if self.ty(self.arg(value, 0)) == data.ty => self.arg(value, 0),
                _ => return value,
            };
            if self.ty(inner).bits() > 64 {
                return value;
            }
            value = inner;
        }
        value
    }

    /// Whether the register of this value has zeros above the value's type. Every instruction of 32 bits leaves zeros in
    /// the upper half; this is true only of instructions that are always emitted so.
    pub(super) fn is_zero_extended(&self, value: Value) -> bool {
        use Opcode::*;
        let data = self.data(value);
        match data.opcode {
            Load | StackLoad | AtomicLoad => data.ty.is_int(),
            Uload8 | Uload16 | Uload32 | Iconst | Icmp | Fcmp => true,
            Uextend => true,
            Iadd | Isub | Imul | Ineg | Band | Bor | Bxor | Bnot | BandNot | BorNot | BxorNot | Ishl
            | Ushr | Sshr | Rotl | Rotr | Clz | Ctz | Popcnt | Select | Udiv | Urem | Sdiv | Srem
            | Sload8 | Sload16 => data.ty == I32,
            _ => false,
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

    /// Emits a constant into a register.
    pub(super) fn constant_into(&mut self, dst: VReg, value: Value) {
        let data = self.data(value);
        match data.opcode {
            Opcode::Iconst => {
                // Nobody looks above the type; zeros are the shortest.
                let bits = data.ty.bits();
                let imm = if bits < 64 { data.imm64() & ((1 << bits) - 1) } else { data.imm64() };
                self.imm_into(dst, imm);
            }
            Opcode::F32const => self.float_imm_into(dst, u64::from(data.a), Size::S32),
            Opcode::F64const => self.float_imm_into(dst, data.imm64(), Size::S64),
            Opcode::StackAddr => self.lea(dst, Amode::slot(Slot::from_u32(data.a), data.b as i32)),
            Opcode::FuncAddr => {
                let callee = &self.select.func.ext_funcs[sphex_ir::FuncRef::from_u32(data.a)];
                let symbol = self.select.machine.symbol(&callee.name);
                self.symbol_into(dst, symbol, callee.colocated, 0);
            }
            Opcode::SymbolValue => {
                let gv = GlobalValue::from_u32(data.a);
                if let GlobalValueData::Symbol { name, offset, colocated, .. } =
                    &self.select.func.global_values[gv]
                {
                    let symbol = self.select.machine.symbol(name);
                    self.symbol_into(dst, symbol, *colocated, *offset);
                }
            }
            _ => {
                if let Some(reg) = self.pinned(value) {
                    crate::abi::entry::copy_pinned(self.select.machine, dst, reg);
                }
            }
        }
    }

    /// Emits the address of a symbol plus bytes.
    pub(super) fn symbol_into(&mut self, dst: VReg, symbol: Symbol, near: bool, offset: i64) {
        let disp = i32::try_from(offset).ok();
        if near && let Some(disp) = disp {
            let at = Amode::at(Base::Symbol(symbol), disp);
            self.machine().inst(op::ADRP, Variant::NONE).write(dst).mem(at);
            return;
        }
        let base = if offset == 0 { dst } else { self.gpr() };
        self.machine().inst(op::ADRP, Variant::NONE).write(base).mem(Amode::at(Base::Got(symbol), 0));
        if offset != 0 {
            self.add_imm_into(Variant::S64, dst, base, offset);
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
                    _ => raw << above >> above,
                };
                Some((wide << unused) as i64 >> unused)
            }
            _ => None,
        }
    }

    /// The immediate of a logical instruction that a value is.
    pub(super) fn logical(&self, value: Value) -> Option<i64> {
        let (constant, variant) = (self.constant(value)?, super::wide(self.ty(value)));
        immediate::logical(constant as u64, variant.get_size()).map(|_| constant)
    }

    /// The definition of `value`, if it is this operation and its only user is the one asking.
    pub(super) fn only(&self, value: Value, opcode: Opcode) -> bool {
        let unseen = self.select.wanted(self.select.resolve(value)).is_none();
        self.data(value).opcode == opcode && self.select.facts.used_once(value) && unseen
    }

    /// `dst = src + imm`.
    pub(super) fn add_imm_into(&mut self, variant: Variant, dst: VReg, src: VReg, imm: i64) {
        let imm = if variant == Variant::S32 { i64::from(imm as i32) } else { imm };
        let (row, size) =
            if imm >= 0 { (op::ADD_RRI, imm as u64) } else { (op::SUB_RRI, imm.unsigned_abs()) };
        if immediate::arithmetic(size).is_some() {
            self.op2i_into(row, variant, dst, src, size as i64);
        } else {
            let constant = self.imm(imm as u64);
            self.op2_into(op::ADD_RRR, variant, dst, src, constant);
        }
    }

    /// The value's register with zeros above its type, up to bit 63.
    pub(super) fn zext(&mut self, value: Value) -> VReg {
        let ty = self.ty(value);
        if let Some(constant) = self.constant(value) {
            let above = 64 - ty.bits();
            return self.imm((constant as u64) << above >> above);
        }
        if ty.bits() == 64 || self.is_zero_extended(self.select.resolve(value)) {
            return self.value(value);
        }
        let src = self.value(value);
        let dst = self.gpr();
        self.zext_into(dst, src, ty);
        dst
    }

    pub(super) fn zext_into(&mut self, dst: VReg, src: VReg, from: Type) {
        let row = match from {
            I8 => op::UXTB,
            I16 => op::UXTH,
            _ => return self.op1_into(op::MOV_RR, Variant::S32, dst, src),
        };
        self.op1_into(row, Variant::NONE, dst, src);
    }

    /// The value's register with its sign above its type, up to bit 63.
    pub(super) fn sext(&mut self, value: Value) -> VReg {
        if let Some(constant) = self.constant(value) {
            return self.imm(constant as u64);
        }
        let (src, ty) = (self.value(value), self.ty(value));
        if ty.bits() == 64 {
            return src;
        }
        let dst = self.gpr();
        self.sext_into(dst, src, ty);
        dst
    }

    pub(super) fn sext_into(&mut self, dst: VReg, src: VReg, from: Type) {
        let row = match from {
            I8 => op::SXTB,
            I16 => op::SXTH,
            _ => op::SXTW,
        };
        self.op1_into(row, Variant::S64, dst, src);
    }

    /// The address and trap code of a load or store of so many bytes by these rows.
    pub(super) fn access(&mut self, inst: Value, bytes: u32) -> (Amode, Option<TrapCode>) {
        let data = self.data(inst);
        match data.opcode {
            Opcode::StackLoad => (Amode::slot(Slot::from_u32(data.a), data.offset()), None),
            Opcode::StackStore => (Amode::slot(Slot::from_u32(data.b), data.offset()), None),
            _ => {
                let address = match data.opcode {
                    Opcode::Store | Opcode::Istore8 | Opcode::Istore16 | Opcode::Istore32 => {
                        self.arg(inst, 1)
                    }
                    _ => self.arg(inst, 0),
                };
                (self.amode(address, data.offset(), bytes), self.select.func.flags(inst).trap)
            }
        }
    }

    /// An address plus bytes, as a load or store of so many bytes can say it.
    pub(super) fn amode(&mut self, address: Value, disp: i32, bytes: u32) -> Amode {
        let (mut base, mut disp) = (self.select.resolve(address), i64::from(disp));
        for _ in 0..DEPTH {
            if self.data(base).opcode != Opcode::Iadd {
                break;
            }
            let (x, y) = (self.arg(base, 0), self.arg(base, 1));
            match (self.constant(x), self.constant(y)) {
                (_, Some(c)) if self.fits(disp + c, bytes) => (base, disp) = (x, disp + c),
                (Some(c), None) if self.fits(disp + c, bytes) => (base, disp) = (y, disp + c),
                _ => break,
            }
        }
        let data = self.data(base);
        match data.opcode {
            Opcode::StackAddr => {
                let inner = i64::from(data.b as i32);
                if let Ok(disp) = i32::try_from(disp + inner) {
                    return Amode::slot(Slot::from_u32(data.a), disp);
                }
            }
            Opcode::Iadd if disp == 0 => {
                let (x, y) = (self.arg(base, 0), self.arg(base, 1));
                let (x, y) = if self.is_index(x) && !self.is_index(y) { (y, x) } else { (x, y) };
                let (index, shift) = self.index(y, bytes);
                let base = self.value(x);
                return Amode::indexed(base, index, shift, 0);
            }
            _ => {}
        }
        if let Some(reg) = self.pinned(base) {
            return Amode::pinned(reg, disp as i32);
        }
        if self.fits(disp, bytes) {
            return Amode::reg(self.value(base), disp as i32);
        }
        // Too far for an immediate: the sum is the index.
        if self.data(base).opcode == Opcode::Iadd {
            let (x, y) = (self.arg(base, 0), self.arg(base, 1));
            let (x, y) = if self.is_index(x) && !self.is_index(y) { (y, x) } else { (x, y) };
            let (index, shift) = self.index(y, bytes);
            let (sum, far) = (self.gpr(), self.imm(disp as u64));
            let x = self.value(x);
            self.op2_into(op::ADD_RRR, Variant::S64, sum, x, far);
            return Amode::indexed(sum, index, shift, 0);
        }
        let (base, far) = (self.value(base), self.imm(disp as u64));
        Amode::indexed(base, far, 0, 0)
    }

    /// Whether a load or store of so many bytes reaches this offset.
    fn fits(&self, offset: i64, bytes: u32) -> bool {
        let bytes = i64::from(bytes);
        (-256..256).contains(&offset) || (offset >= 0 && offset % bytes == 0 && offset / bytes < 4096)
    }

    /// Whether a value is something that an index can be in the address itself.
    fn is_index(&self, value: Value) -> bool {
        matches!(self.data(value).opcode, Opcode::Uextend | Opcode::Sextend | Opcode::Ishl)
    }

    /// The register and shift of an index in an address of so many bytes.
    fn index(&mut self, value: Value, bytes: u32) -> (VReg, u8) {
        let (mut value, mut shift) = (self.select.resolve(value), 0);
        let scale = bytes.trailing_zeros() as i64;
        if self.data(value).opcode == Opcode::Ishl
            && scale > 0
            && self.constant(self.arg(value, 1)) == Some(scale)
        {
            (value, shift) = (self.arg(value, 0), scale as u8);
        }
        let inner = self.arg(value, 0);
        match self.data(value).opcode {
            Opcode::Uextend if self.ty(inner) == I32 => (self.value(inner), Extend::Uxtw.index(shift)),
            Opcode::Sextend if self.ty(inner) == I32 => (self.value(inner), Extend::Sxtw.index(shift)),
            _ => (self.value(value), Extend::Uxtx.index(shift)),
        }
    }

    pub(super) fn is_big_endian(&self, inst: Value) -> bool {
        let stack = matches!(self.data(inst).opcode, Opcode::StackLoad | Opcode::StackStore);
        !stack && self.select.func.flags(inst).endian == Endian::Big
    }

    /// The value as the signature wants it extended.
    pub(super) fn extended(&mut self, value: Value, extension: Extension) -> VReg {
        let ty = self.ty(value);
        match extension {
            Extension::Unsigned if ty.is_int() => self.zext(value),
            Extension::Signed if ty.is_int() => self.sext(value),
            _ => self.value(value),
        }
    }

    /// `row dst, x, y` where `y` may be shifted left by a constant: `plain` or `shifted` (whose immediate that is).
    pub(super) fn shifted_into(
        &mut self,
        [plain, shifted]: [RowId; 2],
        variant: Variant,
        dst: VReg,
        x: VReg,
        y: Value,
    ) {
        let y = self.select.resolve(y);
        let whole = self.ty(y).bits() >= 32;
        let amount = (whole && self.only(y, Opcode::Ishl)).then(|| self.constant(self.arg(y, 1))).flatten();
        if let Some(amount) = amount {
            let amount = amount as i32 & (self.ty(y).bits() as i32 - 1);
            let y = self.arg(y, 0);
            let y = self.value(y);
            self.machine().inst(shifted, variant).write(dst).read(x).read(y).imm(amount);
        } else {
            let y = self.value(y);
            self.op2_into(plain, variant, dst, x, y);
        }
    }

    /// What an `i64` of 32 bits extended may be extended by in the instruction itself.
    pub(super) fn extension(&self, value: Value) -> Option<(Value, Extend)> {
        let inner = self.arg(value, 0);
        match self.data(value).opcode {
            Opcode::Uextend | Opcode::Sextend if self.ty(value) == I64 => {}
            _ => return None,
        }
        let signed = self.data(value).opcode == Opcode::Sextend;
        let extend = match (self.ty(inner), signed) {
            (I8, false) => Extend::Uxtb,
            (I8, true) => Extend::Sxtb,
            (I16, false) => Extend::Uxth,
            (I16, true) => Extend::Sxth,
            (I32, false) => Extend::Uxtw,
            (I32, true) => Extend::Sxtw,
            _ => return None,
        };
        self.only(value, self.data(value).opcode).then_some((inner, extend))
    }
}
