//! Calls: values go where the convention says, results come from there.
//!
//! Needs: `abi::place`. Gives: the lowering of `call`, `call_indirect` and their tail forms.
//!
//! - A call within the convention that pins vmctx passes it by leaving it where it is. A call through an address, or with
//!   another vmctx, switches it, hands the caller's over and reloads it afterwards; one of a function that may come back
//!   from elsewhere reloads it.
//! - Results that find no register are loaded from a slot shared by all calls of the function.

use super::Lower;
use crate::abi::entry::{load, store};
use crate::abi::{Place, Placement, place};
use crate::error::CodegenError;
use crate::machine::{Amode, Base, Call, Slot, Target, Vmctx};
use crate::regalloc::VReg;
use crate::settings::Arch;
use sphex_asm::register::Reg;
use sphex_asm::x64::operand::gpr;
use sphex_asm::x64::{Variant, op};
use sphex_ir::types::{F32, F64};
use sphex_ir::{AbiParam, CallConv, ExternalName, Format, FuncRef, Signature, Value};

/// What a call needs beside its signature.
struct Callee {
    target: Target,
    /// The address called, and the register it must be in, if any.
    address: Option<(VReg, Option<Reg>)>,
    vmctx: Vmctx,
    /// The callee's vmctx under [`Vmctx::Switch`].
    switch_to: Option<VReg>,
}

/// Where an address called goes if it must not be in the way: no argument is ever there.
const ADDRESS: Reg = gpr::RAX;
/// Where the callee's vmctx waits for the switch; nothing else needs it there.
const NEW_VMCTX: Reg = gpr::R10;

impl Lower<'_> {
    pub(super) fn lower_call(&mut self, inst: Value) -> Result<(), CodegenError> {
        let func = self.select.func;
        let Some(sig) = func.call_signature(self.data(inst)) else { return Err(self.error(inst)) };
        let sig = &func.signatures[sig];
        let placement = place(Arch::X64, sig)?;
        let args: Vec<Value> = self.call_args(inst);
        let callee = self.callee(inst, sig, &placement, &args, false);
        let results: Vec<VReg> = func.results(inst).map(|value| self.select.value_reg(value)).collect();
        self.emit_call(sig, &placement, callee, &args, &results, false);
        Ok(())
    }

    pub(super) fn lower_tail_call(&mut self, inst: Value) -> Result<(), CodegenError> {
        let func = self.select.func;
        let Some(sig) = func.call_signature(self.data(inst)) else { return Err(self.error(inst)) };
        let sig = &func.signatures[sig];
        let placement = place(Arch::X64, sig)?;
        let own = self.placement.convention;
        if !placement.callee_pops() || placement.convention != own {
            return Err(CodegenError::UnsupportedConvention {
                conv: sig.call_conv,
                reason: "a tail call needs a convention whose callee pops its arguments, the caller's own",
            });
        }
        let args = self.call_args(inst);
        let callee = self.callee(inst, sig, &placement, &args, true);
        self.emit_call(sig, &placement, callee, &args, &[], true);
        Ok(())
    }

    fn call_args(&self, inst: Value) -> Vec<Value> {
        self.select.func.arguments(inst).map(|arg| self.select.resolve(arg)).collect()
    }

    fn callee(
        &mut self,
        inst: Value,
        sig: &Signature,
        placement: &Placement,
        args: &[Value],
        tail: bool,
    ) -> Callee {
        let func = self.select.func;
        let data = self.data(inst);
        let direct = data.format() == Format::Call;
        let pins = self.placement.convention.vmctx;
        let given = sig.special_param(sphex_ir::Purpose::VmContext).filter(|&k| {
            pins.is_some() && matches!(placement.params[k], Place::Pinned(reg) if Some(reg) == pins)
        });
        let own = given.is_none_or(|k| self.pinned(args[k]).is_some());
        let leaves = direct && func.ext_funcs[FuncRef::from_u32(data.a)].leaves;
        let vmctx = match (given, direct && own) {
            (None, _) => Vmctx::Keep,
            (Some(_), true) if leaves && !tail => Vmctx::Reload,
            (Some(_), true) => Vmctx::Keep,
            (Some(_), false) => Vmctx::Switch,
        };
        let switch_to = given.filter(|_| vmctx == Vmctx::Switch).map(|k| self.value(args[k]));
        if direct {
            let callee = &func.ext_funcs[FuncRef::from_u32(data.a)];
            let symbol = self.select.machine.symbol(&callee.name);
            if callee.colocated || matches!(callee.name, ExternalName::User { .. }) {
                return Callee { target: Target::Symbol(symbol), address: None, vmctx, switch_to };
            }
            let address = self.gpr();
            self.symbol_into(address, symbol, false, 0);
            let fixed = (tail || switch_to.is_some()).then_some(ADDRESS);
            return Callee { target: Target::Register, address: Some((address, fixed)), vmctx, switch_to };
        }
        let address = self.arg(inst, 0);
        let address = self.value(address);
        let fixed = (tail || switch_to.is_some()).then_some(ADDRESS);
        Callee { target: Target::Register, address: Some((address, fixed)), vmctx, switch_to }
    }

    fn emit_call(
        &mut self,
        sig: &Signature,
        placement: &Placement,
        callee: Callee,
        args: &[Value],
        results: &[VReg],
        tail: bool,
    ) {
        let area = if tail { Base::TailOutgoing(placement.stack_bytes) } else { Base::Outgoing };
        let pins = self.placement.convention.vmctx;
        let mut fixed: Vec<(VReg, Reg)> = Vec::with_capacity(args.len());
        // All registers first: a store to the area of a tail call may overwrite what an argument is computed from.
        let values: Vec<VReg> = args
            .iter()
            .zip(&sig.params)
            .zip(&placement.params)
            .map(|((&arg, param), place)| match place {
                Place::Pinned(reg) if Some(*reg) == pins => VReg::invalid(),
                _ => self.extended(arg, param.extension),
            })
            .collect();
        for ((&reg, param), place) in values.iter().zip(&sig.params).zip(&placement.params) {
            match *place {
                Place::Pinned(to) if Some(to) == pins => {}
                Place::Reg(to) | Place::Pinned(to) => fixed.push((reg, to)),
                Place::Memory(offset) => {
                    store(self.machine(), param.ty, reg, Amode::at(area, offset as i32));
                }
            }
        }
        let slot = placement
            .return_pointer
            .map(|place| self.pass_return_area(placement, place, area, tail, &mut fixed));
        let call = Call {
            target: callee.target,
            clobbers: placement.clobbers(),
            stack_bytes: placement.stack_bytes,
            callee_pops: placement.callee_pops(),
            vmctx: callee.vmctx,
            live: 0,
        };
        let mut emitted = self.select.machine.call(call, tail);
        emitted = match callee.address {
            Some((address, Some(reg))) => emitted.read_fixed(address, reg),
            Some((address, None)) => emitted.read(address),
            None => emitted,
        };
        if let Some(vmctx) = callee.switch_to {
            emitted = emitted.read_fixed(vmctx, NEW_VMCTX);
        }
        for (reg, to) in fixed {
            emitted = emitted.read_fixed(reg, to);
        }
        for (&reg, place) in results.iter().zip(&placement.returns) {
            if let Place::Reg(from) | Place::Pinned(from) = *place {
                emitted = emitted.write_fixed(reg, from);
            }
        }
        let Some(slot) = slot.flatten() else { return };
        for ((&reg, param), place) in results.iter().zip(&sig.returns).zip(&placement.returns) {
            if let Place::Memory(offset) = *place {
                load(self.machine(), param.ty, reg, Amode::slot(slot, offset as i32));
            }
        }
    }

    /// Passes the address of the area for results in memory: a slot of this frame, or of a tail call the caller's own.
    fn pass_return_area(
        &mut self,
        placement: &Placement,
        place: Place,
        area: Base,
        tail: bool,
        fixed: &mut Vec<(VReg, Reg)>,
    ) -> Option<Slot> {
        let (pointer, slot) = if tail {
            (self.return_area(), None)
        } else {
            let slot = self.return_slot(placement.return_bytes);
            let pointer = self.gpr();
            self.lea(Variant::S64, pointer, Amode::slot(slot, 0));
            (pointer, Some(slot))
        };
        match place {
            Place::Reg(to) | Place::Pinned(to) => fixed.push((pointer, to)),
            Place::Memory(offset) => {
                let to = Amode::at(area, offset as i32);
                self.machine().inst(op::MOV_MR, Variant::S64).mem(to).read(pointer);
            }
        }
        slot
    }

    fn return_slot(&mut self, bytes: u32) -> Slot {
        let slot = match self.return_slot {
            Some(slot) => slot,
            None => *self.return_slot.insert(self.select.machine.add_slot(0, 4)),
        };
        let size = &mut self.select.machine.slots[slot].size;
        *size = (*size).max(bytes);
        slot
    }

    /// A fused multiplication and addition on a processor that has none: a call of the C library's.
    pub(super) fn fma_call(&mut self, inst: Value, double: bool) -> Result<(), CodegenError> {
        let (name, ty) = if double { ("fma", F64) } else { ("fmaf", F32) };
        self.library_call(inst, name, &[ty; 3], ty)
    }

    /// Calls a C function with an instruction's operands.
    pub(super) fn library_call(
        &mut self,
        inst: Value,
        name: &str,
        params: &[sphex_ir::Type],
        result: sphex_ir::Type,
    ) -> Result<(), CodegenError> {
        let mut sig = Signature::new(CallConv::SystemV);
        sig.params = params.iter().map(|&ty| AbiParam::new(ty)).collect();
        sig.returns = vec![AbiParam::new(result)];
        let placement = place(Arch::X64, &sig)?;
        let symbol = self.select.machine.symbol(&ExternalName::symbol(name));
        let address = self.gpr();
        self.symbol_into(address, symbol, false, 0);
        let callee = Callee {
            target: Target::Register,
            address: Some((address, None)),
            vmctx: Vmctx::Keep,
            switch_to: None,
        };
        let args: Vec<Value> = (0..params.len()).map(|k| self.arg(inst, k)).collect();
        let dst = self.dst(inst);
        self.emit_call(&sig, &placement, callee, &args, &[dst], false);
        Ok(())
    }
}
