//! Instruction selection for AArch64, one file a family of operations; and its half of emission.
//!
//! Needs: the walk ([`crate::select`]) and the rows of `sphex_asm::aarch64`. Gives: [`select`].
//!
//! What holds of every register during selection:
//!
//! - R1. The bits of a register above its value's type are undefined. Who needs them asks [`Lower::zext`] or
//!   [`Lower::sext`]; [`Lower::is_zero_extended`] knows which instructions leave zeros there.
//! - R2. Flags are set right before they are read: registers are asked for first. No flags live from one IR instruction
//!   to another.
//! - R3. Register 31 is the zero register where an operand is one of [`Lower::or_zero`].

mod atomic;
mod bits;
mod call;
mod compare;
mod control;
mod convert;
mod divide;
pub(crate) mod emit;
mod float;
mod integer;
mod matchers;
mod memory;
mod overflow;
mod prologue;
pub mod sequence;
#[cfg(test)]
mod unwind_tests;

use crate::abi::{Place, Placement};
use crate::error::CodegenError;
use crate::machine::{Amode, MachineBlock, MachineFunction, Slot};
use crate::regalloc::VReg;
use crate::select::{Select, Target, walk};
use crate::settings::Settings;
use sphex_asm::aarch64::features::Feature;
use sphex_asm::aarch64::operand::{Size, Variant};
use sphex_asm::aarch64::{RowId, immediate, op};
use sphex_asm::register::{Reg, RegClass};
use sphex_ir::types;
use sphex_ir::{Function, InstData, Opcode, Purpose, Type, Value};

/// Selects instructions for `func` into `machine`, which must be empty.
pub fn select<'f>(
    func: &'f Function,
    machine: &'f mut MachineFunction,
    settings: &'f Settings,
    scratch: &mut crate::select::Scratch,
) -> Result<u64, CodegenError> {
    let placement = crate::abi::place(settings.target.arch, &func.signature)?;
    check_types(func)?;
    for slot in func.stack_slots.values() {
        machine.add_slot(slot.size, slot.align_shift);
    }
    let mut lower = Lower {
        select: Select::new(func, machine, core::mem::take(scratch)),
        settings,
        placement,
        return_pointer: None,
        return_slot: None,
        vmctx: None,
    };
    lower.find_vmctx();
    let steps = walk(&mut lower)?;
    *scratch = lower.select.into_scratch();
    Ok(steps)
}

/// The selection of one function.
struct Lower<'f> {
    select: Select<'f>,
    settings: &'f Settings,
    /// Where the function's own parameters and results are.
    placement: Placement,
    /// The address of the return area, if a return asked for it.
    return_pointer: Option<VReg>,
    /// The slot for results in memory of this function's calls.
    return_slot: Option<Slot>,
    /// The parameter that is the pinned vmctx register, and the register.
    vmctx: Option<(Value, Reg)>,
}

impl<'f> Target<'f> for Lower<'f> {
    fn select(&mut self) -> &mut Select<'f> {
        &mut self.select
    }

    fn reg(&mut self, value: Value) -> VReg {
        self.value(value)
    }

    fn instruction(&mut self, inst: Value) -> Result<(), CodegenError> {
        self.lower(inst)
    }

    fn terminator(&mut self, inst: Value, targets: &[MachineBlock]) -> Result<(), CodegenError> {
        self.lower_terminator(inst, targets)
    }

    fn entry(&mut self) -> Result<(), CodegenError> {
        let func = self.select.func;
        let Some(entry) = func.entry() else { return Ok(()) };
        let params: Vec<Option<VReg>> = func
            .block_params(entry)
            .map(|param| self.select.wanted(param).filter(|_| self.vmctx.is_none_or(|v| v.0 != param)))
            .collect();
        let (machine, pointer) = (&mut *self.select.machine, self.return_pointer);
        crate::abi::entry::receive(machine, &func.signature, &self.placement, &params, pointer);
        Ok(())
    }
}

/// Refuses types that no register holds here.
fn check_types(func: &Function) -> Result<(), CodegenError> {
    for (value, data) in func.insts.iter() {
        let listed = !func.block_of[value].is_none();
        let carried = matches!(data.opcode, Opcode::BlockParam | Opcode::Projection);
        if (listed || carried) && !data.ty.is_invalid() && !supported(data.ty) {
            return Err(unsupported(value, data, data.ty));
        }
        if listed && matches!(data.opcode, Opcode::TryCall | Opcode::TryCallIndirect) {
            return Err(unsupported(value, data, data.ty));
        }
    }
    Ok(())
}

/// Whether values of this type can be held.
fn supported(ty: Type) -> bool {
    matches!(ty, types::I8 | types::I16 | types::I32 | types::I64 | types::F32 | types::F64)
}

/// The error for an instruction that has no lowering.
fn unsupported(value: Value, data: &InstData, ty: Type) -> CodegenError {
    let name = data.opcode.row().name;
    let text = if ty.is_invalid() { name.to_string() } else { format!("{name} of type {ty}") };
    CodegenError::UnsupportedInstruction { value, text }
}

/// The size of the operation that computes a type: 32 bits for shorter ones.
fn wide(ty: Type) -> Variant {
    if ty.bits() == 64 { Variant::S64 } else { Variant::S32 }
}

impl<'f> Lower<'f> {
    fn data(&self, inst: Value) -> &'f InstData {
        &self.select.func.insts[inst]
    }

    fn ty(&self, value: Value) -> Type {
        self.select.func.type_of(value)
    }

    fn machine(&mut self) -> &mut MachineFunction {
        self.select.machine
    }

    fn has(&self, feature: Feature) -> bool {
        self.settings.arm_features.has(feature)
    }

    /// The `k`th operand, resolved.
    fn arg(&self, inst: Value, k: usize) -> Value {
        let value = self.select.func.operand(inst, k).unwrap_or(inst);
        self.select.resolve(value)
    }

    /// The register in which an instruction leaves its first result.
    fn dst(&mut self, inst: Value) -> VReg {
        self.select.value_reg(inst)
    }

    fn gpr(&mut self) -> VReg {
        self.select.machine.new_vreg(RegClass::Int)
    }

    fn vec(&mut self) -> VReg {
        self.select.machine.new_vreg(RegClass::Vector)
    }

    fn error(&self, inst: Value) -> CodegenError {
        let data = self.data(inst);
        let ctrl = self.select.func.ctrl_type(inst);
        unsupported(inst, data, if ctrl.is_invalid() { data.ty } else { ctrl })
    }

    fn find_vmctx(&mut self) {
        let func = self.select.func;
        let index = func.signature.special_param(Purpose::VmContext);
        let Some((index, entry)) = index.zip(func.entry()) else { return };
        if let Place::Pinned(reg) = self.placement.params[index]
            && self.placement.convention.vmctx == Some(reg)
            && !self.select.entry_is_target()
        {
            self.vmctx = func.block_params(entry).nth(index).map(|param| (param, reg));
        }
    }

    /// The pinned register that holds a value always.
    fn pinned(&self, value: Value) -> Option<Reg> {
        self.vmctx.filter(|v| v.0 == value).map(|v| v.1)
    }

    /// Emits one instruction, by family.
    fn lower(&mut self, inst: Value) -> Result<(), CodegenError> {
        let data = self.data(inst);
        let ctrl = self.select.func.ctrl_type(inst);
        let call = matches!(data.opcode, Opcode::Call | Opcode::CallIndirect);
        if !call && (ctrl.is_vector() || data.ty.is_vector() || ctrl.bits() > 64 || ctrl == types::F16) {
            return Err(self.error(inst));
        }
        use Opcode::*;
        match data.opcode {
            Nop => Ok(()),
            Iadd | Isub | Imul | Ineg | Iabs | Smin | Smax | Umin | Umax | Ishl | Ushr | Sshr | Rotl
            | Rotr => self.lower_integer(inst),
            Band | Bor | Bxor | Bnot | BandNot | BorNot | BxorNot | Bitselect => self.lower_logic(inst),
            Bitrev | Clz | Cls | Ctz | Bswap | Popcnt => self.lower_bits(inst),
            Udiv | Sdiv | Urem | Srem | Umulhi | Smulhi => self.lower_divide(inst),
            SaddOverflowCin | UaddOverflowCin | UaddOverflow | SaddOverflow | UsubOverflow | SsubOverflow
            | UmulOverflow | SmulOverflow | SsubOverflowBin | UsubOverflowBin | UaddOverflowTrap => {
                self.lower_overflow(inst)
            }
            Icmp | Fcmp | Select | SelectSpectreGuard => self.lower_compare(inst),
            Fadd | Fsub | Fmul | Fdiv | Sqrt | Fma | Fneg | Fabs | Fcopysign | Fmin | Fmax | Ceil | Floor
            | Trunc | Nearest => self.lower_float(inst),
            Bitcast | Bmask | Ireduce | Uextend | Sextend | Fpromote | Fdemote | FcvtToUint | FcvtToSint
            | FcvtToUintSat | FcvtToSintSat | FcvtFromUint | FcvtFromSint => self.lower_convert(inst),
            Load | Uload8 | Sload8 | Uload16 | Sload16 | Uload32 | Sload32 | StackLoad | Store | Istore8
            | Istore16 | Istore32 | StackStore | GlobalValue => self.lower_memory(inst),
            AtomicRmw | AtomicCas | AtomicLoad | AtomicStore | Fence => self.lower_atomic(inst),
            Call | CallIndirect => self.lower_call(inst),
            Trapz | Trapnz | Debugtrap | SequencePoint | GetPinnedReg | SetPinnedReg | GetFramePointer
            | GetStackPointer | GetReturnAddress => self.lower_control(inst),
            Iconst | F32const | F64const | StackAddr | FuncAddr | SymbolValue => {
                // Made again by each user; here only if one holds on to the value itself.
                if let Some(dst) = self.select.wanted(inst) {
                    self.constant_into(dst, inst);
                }
                Ok(())
            }
            _ => Err(self.error(inst)),
        }
    }

    /// `row dst, src`.
    fn op1_into(&mut self, row: RowId, variant: Variant, dst: VReg, src: VReg) {
        self.machine().inst(row, variant).write(dst).read(src);
    }

    /// `row dst, a, b`.
    fn op2_into(&mut self, row: RowId, variant: Variant, dst: VReg, a: VReg, b: VReg) {
        self.machine().inst(row, variant).write(dst).read(a).read(b);
    }

    /// `row dst, a, #imm`.
    fn op2i_into(&mut self, row: RowId, variant: Variant, dst: VReg, a: VReg, imm: i64) {
        let inst = self.machine().inst(row, variant).write(dst).read(a);
        match i32::try_from(imm) {
            Ok(imm) => inst.imm(imm).end(),
            Err(_) => inst.imm64(imm as u64).end(),
        }
    }

    /// `row dst, a, b` into a new integer register.
    fn op2(&mut self, row: RowId, variant: Variant, a: VReg, b: VReg) -> VReg {
        let dst = self.gpr();
        self.op2_into(row, variant, dst, a, b);
        dst
    }

    /// `row dst, a, #imm` into a new integer register.
    fn op2i(&mut self, row: RowId, variant: Variant, a: VReg, imm: i64) -> VReg {
        let dst = self.gpr();
        self.op2i_into(row, variant, dst, a, imm);
        dst
    }

    /// `row dst, a` into a new integer register.
    fn op1(&mut self, row: RowId, variant: Variant, a: VReg) -> VReg {
        let dst = self.gpr();
        self.op1_into(row, variant, dst, a);
        dst
    }

    /// A constant in a new register.
    fn imm(&mut self, value: u64) -> VReg {
        let dst = self.gpr();
        self.imm_into(dst, value);
        dst
    }

    fn imm_into(&mut self, dst: VReg, value: u64) {
        self.machine().inst(op::MOVZ, Variant::S64).write(dst).imm64(value);
    }

    /// Emits the address that an operand of memory would have.
    fn lea(&mut self, dst: VReg, amode: Amode) {
        self.machine().inst(op::ADD_RRI, Variant::S64).write(dst).mem(amode);
    }

    /// The bits of a float in a new register.
    fn float_imm_into(&mut self, dst: VReg, bits: u64, size: Size) {
        if bits == 0 {
            self.machine().inst(op::MOVI_D, Variant::NONE).write(dst).imm(0);
        } else if let Some(imm) = immediate::float(bits, size) {
            self.machine().inst(op::FMOV_RI, Variant::size(size)).write(dst).imm(imm as i32);
        } else {
            let int = self.imm(bits);
            let row = if size == Size::S64 { op::FMOV_DX } else { op::FMOV_SW };
            self.op1_into(row, Variant::NONE, dst, int);
        }
    }
}
