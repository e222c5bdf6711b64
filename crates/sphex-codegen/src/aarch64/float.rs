//! Float arithmetic and rounding.
//!
//! Needs: matchers. Gives: the lowering of `fadd` to `fcopysign` and of `ceil` to `nearest`.

use super::Lower;
use crate::error::CodegenError;
use sphex_asm::aarch64::op;
use sphex_asm::aarch64::operand::{Size, Variant};
use sphex_ir::{Opcode, Value};

impl Lower<'_> {
    pub(super) fn lower_float(&mut self, inst: Value) -> Result<(), CodegenError> {
        use Opcode::*;
        let variant = Variant::size(self.float_size(inst));
        let row = match self.data(inst).opcode {
            Fadd => op::FADD,
            Fsub => op::FSUB,
            Fmul => op::FMUL,
            Fdiv => op::FDIV,
            Fmin => op::FMIN,
            Fmax => op::FMAX,
            Sqrt => op::FSQRT,
            Fneg => op::FNEG,
            Fabs => op::FABS,
            Ceil => op::FRINTP,
            Floor => op::FRINTM,
            Trunc => op::FRINTZ,
            Nearest => op::FRINTN,
            Fma => {
                let dst = self.dst(inst);
                let [x, y, z] = [0, 1, 2].map(|k| self.arg(inst, k));
                let (x, y) = (self.value(x), self.value(y));
                let z = self.value(z);
                self.machine().inst(op::FMADD, variant).write(dst).read(x).read(y).read(z);
                return Ok(());
            }
            _ => {
                self.copy_sign(inst);
                return Ok(());
            }
        };
        if row.row().operands.len() == 3 {
            let (dst, x, y) = self.binary(inst);
            self.op2_into(row, variant, dst, x, y);
        } else {
            let (dst, x) = self.unary(inst);
            self.op1_into(row, variant, dst, x);
        }
        Ok(())
    }

    /// The bits of the first operand but for the sign, which is the second's.
    fn copy_sign(&mut self, inst: Value) {
        let (dst, x, y) = self.binary(inst);
        let size = self.float_size(inst);
        let (mask, row) = match size {
            Size::S64 => (1 << 63, op::FMOV_DX),
            _ => (1 << 31, op::FMOV_SW),
        };
        let (int, sign) = (self.imm(mask), self.vec());
        self.op1_into(row, Variant::NONE, sign, int);
        self.machine().inst(op::VBIT, Variant::NONE).modify(dst, x).read(y).read(sign);
    }
}
