//! Locals, globals and references.

use super::context::Part;
use super::{OpError, Output, Translator, ir_type};
use sphex_artifact::module::ConstOp;
use sphex_artifact::types::RefType;
use sphex_artifact::vmctx;
use sphex_ir::{IntCC, MemFlags, Opcode, Type, Value, types};
use wasmparser::HeapType;

/// Where a global is: a constant, or an address and how to access it.
enum Place {
    Constant(ConstOp),
    Memory { base: Value, offset: i32, flags: MemFlags },
}

impl Translator<'_, '_, '_> {
    pub(super) fn local_get(&mut self, local: u32) -> Output {
        let value = match &self.slots {
            Some(slots) => self.b.stack_load(self.locals.ty(local), slots[local as usize], 0),
            None => self.locals.get(local),
        };
        self.push(value);
        Ok(())
    }

    pub(super) fn local_set(&mut self, local: u32) -> Output {
        let value = self.pop();
        self.write_local(local, value);
        Ok(())
    }

    pub(super) fn local_tee(&mut self, local: u32) -> Output {
        let value = self.pop();
        self.write_local(local, value);
        self.push(value);
        Ok(())
    }

    fn write_local(&mut self, local: u32, value: Value) {
        match &self.slots {
            Some(slots) => {
                self.b.stack_store(value, slots[local as usize], 0);
            }
            None => self.locals.set(local, value),
        }
    }

    fn global_place(&mut self, global: u32) -> Place {
        let imported = self.info.module.imported.globals;
        let description = &self.info.module.globals[global as usize];
        let mutable = description.ty.mutable;
        if global < imported {
            let base = self.vmctx_field(types::I64, self.info.layout.imported_global(global));
            let flags = if mutable { self.trusted(Part::ImportedGlobals) } else { self.constant_field() };
            return Place::Memory { base, offset: 0, flags };
        }
        if let (false, Some([op])) = (mutable, description.init.as_ref().map(|init| &*init.0)) {
            match op {
                ConstOp::I32(_) | ConstOp::I64(_) | ConstOp::F32(_) | ConstOp::F64(_) => {
                    return Place::Constant(*op);
                }
                _ => {}
            }
        }
        let defined = global - imported;
        let flags = if mutable { self.trusted(Part::Global(defined)) } else { self.constant_field() };
        Place::Memory { base: self.cx.vmctx, offset: self.info.layout.global(defined) as i32, flags }
    }

    fn global_type(&self, global: u32) -> Result<Type, OpError> {
        ir_type(self.info.module.globals[global as usize].ty.value)
    }

    pub(super) fn global_get(&mut self, global: u32) -> Output {
        let ty = self.global_type(global)?;
        let value = match self.global_place(global) {
            Place::Memory { base, offset, flags } => self.b.load(Opcode::Load, ty, flags, base, offset),
            Place::Constant(ConstOp::I32(value)) => self.b.iconst(types::I32, i64::from(value)),
            Place::Constant(ConstOp::I64(value)) => self.b.iconst(types::I64, value),
            Place::Constant(ConstOp::F32(bits)) => self.b.f32const(bits),
            Place::Constant(ConstOp::F64(bits)) => self.b.f64const(bits),
            Place::Constant(_) => self.b.iconst(ty, 0),
        };
        self.push(value);
        Ok(())
    }

    pub(super) fn global_set(&mut self, global: u32) -> Output {
        self.global_type(global)?;
        let value = self.pop();
        if let Place::Memory { base, offset, flags } = self.global_place(global) {
            self.b.store(Opcode::Store, flags, value, base, offset);
        }
        Ok(())
    }

    /// The reference to no function.
    pub(super) fn null_func_ref(&mut self) -> Value {
        self.vmctx_field(types::I64, vmctx::header::NULL_FUNCREF)
    }

    pub(super) fn ref_null(&mut self, ty: HeapType) -> Output {
        let ty = crate::module::heap_type(ty, self.offset)
            .map_err(|e| OpError::Unsupported(e.missing_proposal().unwrap_or("garbage collection")))?;
        let value = match ty {
            RefType::Func => self.null_func_ref(),
            RefType::Extern => self.b.iconst(types::I32, 0),
        };
        self.push(value);
        Ok(())
    }

    pub(super) fn ref_is_null(&mut self) -> Output {
        let value = self.pop();
        let null = if self.b.func.type_of(value) == types::I64 {
            self.null_func_ref()
        } else {
            self.b.iconst(types::I32, 0)
        };
        let is_null = self.b.icmp(IntCC::Eq, value, null);
        self.push_condition(is_null);
        Ok(())
    }

    /// The address of the function's reference in the vmctx.
    pub(super) fn ref_func(&mut self, function: u32) -> Output {
        let number = self.info.module.functions[function as usize].funcref;
        // Validation asks that a function referred to in code is declared outside of it, so it escapes.
        let value = match number {
            Some(number) => self.offset(self.cx.vmctx, self.info.layout.funcref(number)),
            None => self.null_func_ref(),
        };
        self.push(value);
        Ok(())
    }
}
