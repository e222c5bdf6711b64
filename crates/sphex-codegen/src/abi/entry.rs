//! Receiving a function's parameters at its entry.
//!
//! Needs: the function's placement and a virtual register for each parameter that is used. Gives: the instructions at
//! the top of the entry block. Every stack parameter is loaded here: later, tail calls write over them.

use super::{Place, Placement};
use crate::isa::SlotRows;
use crate::machine::{Amode, Base, MachineFunction, Pseudo};
use crate::regalloc::VReg;
use sphex_asm::operand::Variant;
use sphex_asm::register::Reg;
use sphex_ir::types::I64;
use sphex_ir::{Signature, Type};

/// Emits the receipt of parameters, as one group (call `start_group` before): `params[k]` is the register for the `k`th
/// parameter (`None` where it is not used), `return_pointer` the one for the address of the return area.
pub fn receive(
    func: &mut MachineFunction,
    sig: &Signature,
    placement: &Placement,
    params: &[Option<VReg>],
    return_pointer: Option<VReg>,
) {
    let pinned = placement.convention.vmctx;
    let all = || {
        let listed = sig.params.iter().map(|p| p.ty).zip(placement.params.iter().copied()).zip(params);
        let pointer = placement.return_pointer.into_iter().map(|place| ((I64, place), &return_pointer));
        listed.chain(pointer).filter_map(|((ty, place), vreg)| Some((ty, place, (*vreg)?)))
    };
    let mut inst = func.pseudo(Pseudo::Entry, Variant::NONE, 0);
    for (_, place, vreg) in all() {
        match place {
            Place::Reg(reg) => inst = inst.write_fixed(vreg, reg),
            Place::Pinned(reg) if pinned != Some(reg) => inst = inst.write_fixed(vreg, reg),
            Place::Pinned(_) | Place::Memory(_) => {}
        }
    }
    for (ty, place, vreg) in all() {
        match place {
            Place::Memory(offset) => load(func, ty, vreg, Amode::at(Base::Incoming, offset as i32)),
            Place::Pinned(reg) if pinned == Some(reg) => copy_pinned(func, vreg, reg),
            Place::Pinned(_) | Place::Reg(_) => {}
        }
    }
}

/// Copies a pinned register.
pub fn copy_pinned(func: &mut MachineFunction, to: VReg, from: Reg) {
    func.pseudo(Pseudo::Copy, Variant::NONE, 0).write(to).pinned(from);
}

/// Emits a load of a whole 8- or 16-byte slot that holds a value of this type. It cannot fault.
pub fn load(func: &mut MachineFunction, ty: Type, to: VReg, from: Amode) {
    let row = func.arch.slot_rows().load[SlotRows::kind(ty.is_int(), ty.bits() > 64)];
    func.inst(row, SlotRows::variant(ty.is_int())).write(to).mem(from);
}

/// Emits a store of a value of this type to its 8- or 16-byte slot. It cannot fault.
pub fn store(func: &mut MachineFunction, ty: Type, from: VReg, to: Amode) {
    let rows = func.arch.slot_rows();
    let row = rows.store[SlotRows::kind(ty.is_int(), ty.bits() > 64)];
    let inst = func.inst(row, SlotRows::variant(ty.is_int()));
    if rows.memory_first { inst.mem(to).read(from).end() } else { inst.read(from).mem(to).end() }
}
