//! Numbers: each operator is one instruction, or two where wasm's types are wider than the IR's.

use super::{Output, Translator};
use sphex_ir::{FloatCC, IntCC, Opcode, Type, Value, types};

impl Translator<'_, '_, '_> {
    pub(super) fn unary(&mut self, opcode: Opcode) -> Output {
        let x = self.pop();
        let value = self.b.unary(opcode, x);
        self.push(value);
        Ok(())
    }

    pub(super) fn binary(&mut self, opcode: Opcode) -> Output {
        let y = self.pop();
        let x = self.pop();
        let value = self.b.binary(opcode, x, y);
        self.push(value);
        Ok(())
    }

    pub(super) fn convert(&mut self, opcode: Opcode, ty: Type) -> Output {
        let x = self.pop();
        let value = self.b.convert(opcode, ty, x);
        self.push(value);
        Ok(())
    }

    pub(super) fn bitcast(&mut self, ty: Type) -> Output {
        let x = self.pop();
        let value = self.b.bitcast(ty, x);
        self.push(value);
        Ok(())
    }

    /// Sign-extends the low part of this type.
    pub(super) fn extend(&mut self, part: Type, ty: Type) -> Output {
        let x = self.pop();
        let low = self.b.convert(Opcode::Ireduce, part, x);
        let value = self.b.convert(Opcode::Sextend, ty, low);
        self.push(value);
        Ok(())
    }

    /// Pushes an 8-bit condition as wasm's `i32`.
    pub(super) fn push_condition(&mut self, condition: Value) {
        let value = self.b.convert(Opcode::Uextend, types::I32, condition);
        self.push(value);
    }

    pub(super) fn icmp(&mut self, cc: IntCC) -> Output {
        let y = self.pop();
        let x = self.pop();
        let condition = self.b.icmp(cc, x, y);
        self.push_condition(condition);
        Ok(())
    }

    pub(super) fn fcmp(&mut self, cc: FloatCC) -> Output {
        let y = self.pop();
        let x = self.pop();
        let condition = self.b.fcmp(cc, x, y);
        self.push_condition(condition);
        Ok(())
    }

    pub(super) fn eqz(&mut self) -> Output {
        let x = self.pop_condition();
        let ty = self.b.func.type_of(x);
        let zero = self.b.iconst(ty, 0);
        let condition = self.b.icmp(IntCC::Eq, x, zero);
        self.push_condition(condition);
        Ok(())
    }

    pub(super) fn select(&mut self) -> Output {
        let condition = self.pop_condition();
        let other = self.pop();
        let then = self.pop();
        let value = self.b.select(condition, then, other);
        self.push(value);
        Ok(())
    }

    pub(super) fn i32_const(&mut self, value: i32) -> Output {
        let value = self.b.iconst(types::I32, i64::from(value));
        self.push(value);
        Ok(())
    }

    pub(super) fn i64_const(&mut self, value: i64) -> Output {
        let value = self.b.iconst(types::I64, value);
        self.push(value);
        Ok(())
    }

    pub(super) fn f32_const(&mut self, bits: u32) -> Output {
        let value = self.b.f32const(bits);
        self.push(value);
        Ok(())
    }

    pub(super) fn f64_const(&mut self, bits: u64) -> Output {
        let value = self.b.f64const(bits);
        self.push(value);
        Ok(())
    }

    pub(super) fn drop_(&mut self) -> Output {
        self.pop();
        Ok(())
    }
}
