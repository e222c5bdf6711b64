//! Calls: direct, of imports, through tables; the same as tail calls.
//!
//! A direct call passes the caller's vmctx on. A call of an import or through a table passes the callee's, and may come
//! back with another in the register: the code generator sees that from the instruction.

use super::tables::trap_code;
use super::{OpError, Output, Translator, Values};
use sphex_artifact::Trap;
use sphex_artifact::vmctx;
use sphex_ir::{IntCC, SigRef, Value, types};

/// What is called.
enum Callee {
    Direct(sphex_ir::FuncRef),
    /// Code and vmctx.
    Leaving(SigRef, Value, Value),
}

impl Translator<'_, '_, '_> {
    pub(super) fn call(&mut self, function: u32) -> Output {
        if self.try_inline(function)? {
            return Ok(());
        }
        let ty = self.info.module.functions[function as usize].ty;
        let callee = self.callee(function)?;
        let args = self.pop_arguments(ty);
        self.finish_call(&callee, args);
        Ok(())
    }

    pub(super) fn return_call(&mut self, function: u32) -> Output {
        let ty = self.info.module.functions[function as usize].ty;
        let callee = self.callee(function)?;
        let args = self.pop_arguments(ty);
        self.finish_tail_call(&callee, args);
        Ok(())
    }

    pub(super) fn call_indirect(&mut self, ty: u32, table: u32) -> Output {
        let index = self.pop();
        let callee = self.indirect_callee(ty, table, index)?;
        let args = self.pop_arguments(ty);
        self.finish_call(&callee, args);
        Ok(())
    }

    pub(super) fn return_call_indirect(&mut self, ty: u32, table: u32) -> Output {
        let index = self.pop();
        let callee = self.indirect_callee(ty, table, index)?;
        let args = self.pop_arguments(ty);
        self.finish_tail_call(&callee, args);
        Ok(())
    }

    /// The arguments of a function of this type, with a place for the vmctx before them.
    fn pop_arguments(&mut self, ty: u32) -> Values {
        let count = self.info.module.types.get(ty as usize).map_or(0, |ty| ty.params.len());
        let mut args = Values::with_capacity(count + 1);
        args.push(self.cx.vmctx);
        args.extend(self.pop_many(count));
        args
    }

    fn callee(&mut self, function: u32) -> Result<Callee, OpError> {
        if !self.info.module.is_imported_function(function) {
            return Ok(Callee::Direct(self.function(function)?));
        }
        let sig = self.signature_of(self.info.module.functions[function as usize].ty)?;
        let import = self.info.layout.imported_function(function);
        let code = self.vmctx_field(types::I64, import + vmctx::func_import::CODE);
        let vmctx = self.vmctx_field(types::I64, import + vmctx::func_import::VMCTX);
        Ok(Callee::Leaving(sig, code, vmctx))
    }

    /// Checks a table's entry: in bounds, and of this type. A cold block tells null from another type.
    fn indirect_callee(&mut self, ty: u32, table: u32, index: Value) -> Result<Callee, OpError> {
        let sig = self.signature_of(ty)?;
        let address = self.element_address(table, index, Trap::UndefinedElement);
        let func_ref = self.load_func_ref(table, address);
        let ids = self.vmctx_field(types::I64, vmctx::header::TYPE_IDS);
        let expected = self.field(types::I32, ids, ty.saturating_mul(4));
        let found = self.field(types::I32, func_ref, vmctx::funcref::TYPE_ID);
        let same = self.b.icmp(IntCC::Eq, expected, found);
        let (next, cold) = (self.new_block(), self.new_cold_block());
        self.b.brif(same, (next, &[]), (cold, &[]));
        self.b.switch_to(cold);
        let null = self.null_func_ref();
        let is_null = self.b.icmp(IntCC::Eq, func_ref, null);
        self.b.trapnz(is_null, trap_code(Trap::IndirectCallToNull));
        self.b.trap(trap_code(Trap::BadSignature));
        self.switch_to(next);
        let code = self.field(types::I64, func_ref, vmctx::funcref::CODE);
        let vmctx = self.field(types::I64, func_ref, vmctx::funcref::VMCTX);
        Ok(Callee::Leaving(sig, code, vmctx))
    }

    fn finish_call(&mut self, callee: &Callee, mut args: Values) {
        let call = match *callee {
            Callee::Direct(func) => self.b.call(func, &args),
            Callee::Leaving(sig, code, vmctx) => {
                args[0] = vmctx;
                self.b.call_indirect(sig, code, &args)
            }
        };
        self.stack.extend(self.b.func.results(call));
    }

    fn finish_tail_call(&mut self, callee: &Callee, mut args: Values) {
        match *callee {
            Callee::Direct(func) => self.b.return_call(func, &args),
            Callee::Leaving(sig, code, vmctx) => {
                args[0] = vmctx;
                self.b.return_call_indirect(sig, code, &args)
            }
        };
        self.stop();
    }
}
