//! Operations on vectors of 128 bits.
//!
//! Needs: matchers. Gives: loads, stores and constants of vectors; everything else is refused with an error that names the
//! instruction and the type.

use super::{Lower, Rm};
use crate::error::CodegenError;
use crate::machine::{Amode, Base};
use sphex_asm::x64::{Variant, op};
use sphex_ir::{Opcode, Value};

impl Lower<'_> {
    pub(super) fn lower_vector(&mut self, inst: Value) -> Result<(), CodegenError> {
        let data = self.data(inst);
        match data.opcode {
            Opcode::Load | Opcode::StackLoad if !self.is_big_endian(inst) => {
                let dst = self.dst(inst);
                let (amode, trap) = self.access(inst);
                self.write_rm(op::MOVUPS_RM, Variant::NONE, dst, Rm::Mem(amode, trap));
            }
            Opcode::Store | Opcode::StackStore if !self.is_big_endian(inst) => {
                let value = self.arg(inst, 0);
                let value = self.value(value);
                let (amode, trap) = self.access(inst);
                self.machine().inst(op::MOVUPS_MR, Variant::NONE).mem(amode).read(value).trap(trap);
            }
            Opcode::Vconst => {
                let bytes = &self.select.func.constants[sphex_ir::Constant::from_u32(data.a)];
                if bytes.len() != 16 {
                    return Err(self.error(inst));
                }
                let dst = self.dst(inst);
                let constant = self.machine().constant(bytes);
                let from = Amode::at(Base::Constant(constant), 0);
                self.write_rm(op::MOVUPS_RM, Variant::NONE, dst, Rm::Mem(from, None));
            }
            _ => return Err(self.error(inst)),
        }
        Ok(())
    }
}
