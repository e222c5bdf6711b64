//! Instruction selection for x86-64, one file a family of operations.
//!
//! Needs: the walk ([`crate::select`]) and the rows of `sphex_asm::x64`. Gives: [`select`].
//!
//! What holds of every register during selection:
//!
//! - R1. The bits of a register above its value's type are undefined. Who needs them asks [`Lower::zext`] or
//!   [`Lower::sext`]; [`Lower::is_zero_extended`] knows which instructions leave zeros there.
//! - R2. Registers are asked for before flags are set: making a constant may change the flags, and so may any
//!   instruction but moves, `lea` and `not`. No flags live from one IR instruction to another.
//! - R3. Memory is read by an instruction that is not the load itself only through [`Lower::load_operand`].

mod atomic;
mod bits;
mod call;
mod compare;
mod control;
mod convert;
mod divide;
mod extended;
mod float;
mod integer;
mod matchers;
mod memory;
mod overflow;
mod range;
mod round;
pub mod sequence;
mod steps;
mod vector;

use crate::abi::{Place, Placement};
use crate::error::CodegenError;
use crate::machine::{Amode, Inst, MachineBlock, MachineFunction, Slot};
use crate::regalloc::VReg;
use crate::select::{Select, Target, walk};
use crate::settings::Settings;
use sphex_asm::register::{Reg, RegClass};
use sphex_asm::x64::features::Feature;
use sphex_asm::x64::{RowId, Size, Variant, op};
use sphex_entity::EntitySet;
use sphex_ir::types;
use sphex_ir::{Function, InstData, Opcode, Purpose, TrapCode, Type, Value};

/// Selects instructions for `func` into `machine`, which must be empty.
pub fn select<'f>(
    func: &'f Function,
    machine: &'f mut MachineFunction,
    settings: &'f Settings,
    scratch: &mut crate::select::Scratch,
) -> Result<u64, CodegenError> {
    let placement = crate::abi::place(&func.signature)?;
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
        unique: true,
        extended: EntitySet::new(),
    };
    lower.find_vmctx();
    lower.find_extended();
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
    /// Whether what is being emitted is emitted once: only then may it take loads into itself.
    unique: bool,
    /// Block parameters of type `i32` with zeros above.
    extended: EntitySet<Value>,
}

impl<'f> Target<'f> for Lower<'f> {
    fn select(&mut self) -> &mut Select<'f> {
        &mut self.select
    }

    fn reg(&mut self, value: Value) -> VReg {
        self.value(value)
    }

    fn instruction(&mut self, inst: Value) -> Result<(), CodegenError> {
        self.unique = true;
        self.lower(inst)
    }

    fn terminator(&mut self, inst: Value, targets: &[MachineBlock]) -> Result<(), CodegenError> {
        self.unique = true;
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
        || ty.is_vector() && ty.bits() == 128
}

/// The error for an instruction that has no lowering.
fn unsupported(value: Value, data: &InstData, ty: Type) -> CodegenError {
    let name = data.opcode.row().name;
    let text = if ty.is_invalid() { name.to_string() } else { format!("{name} of type {ty}") };
    CodegenError::UnsupportedInstruction { value, text }
}

/// The size of the operation that computes a type: at least 32 bits, for shorter ones are slower.
fn wide(ty: Type) -> Variant {
    if ty.bits() == 64 { Variant::S64 } else { Variant::S32 }
}

/// The size of a type itself.
fn exact(ty: Type) -> Variant {
    Variant::size(Size::from_bits(ty.bits()).unwrap_or(Size::S64))
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
        self.settings.features.has(feature)
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

    fn xmm(&mut self) -> VReg {
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
        if !call && (ctrl.is_vector() || data.ty.is_vector()) {
            return self.lower_vector(inst);
        }
        if ctrl.bits() > 64 || matches!(ctrl, types::F16) {
            return Err(self.error(inst));
        }
        use Opcode::*;
        match data.opcode {
            Nop => Ok(()),
            Iadd | Isub | Imul | Ineg | Iabs | Smin | Smax | Umin | Umax | AvgRound | Ishl | Ushr | Sshr
            | Rotl | Rotr => self.lower_integer(inst),
            Band | Bor | Bxor | Bnot | BandNot | BorNot | BxorNot | Bitselect => self.lower_logic(inst),
            Bitrev | Clz | Cls | Ctz | Bswap | Popcnt => self.lower_bits(inst),
            Udiv | Sdiv | Urem | Srem | Umulhi | Smulhi => self.lower_divide(inst),
            SaddOverflowCin | UaddOverflowCin | UaddOverflow | SaddOverflow | UsubOverflow | SsubOverflow
            | UmulOverflow | SmulOverflow | SsubOverflowBin | UsubOverflowBin | UaddOverflowTrap => {
                self.lower_overflow(inst)
            }
            Icmp | Fcmp | Select | SelectSpectreGuard => self.lower_compare(inst),
            Fadd | Fsub | Fmul | Fdiv | Sqrt | Fma | Fneg | Fabs | Fcopysign | Fmin | Fmax => {
                self.lower_float(inst)
            }
            Ceil | Floor | Trunc | Nearest => self.lower_round(inst),
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

    /// `row dst(src), [rm]` for rows `[reg modified, reg or memory]`.
    fn modify_rm(&mut self, row: RowId, variant: Variant, dst: VReg, src: VReg, rm: Rm) {
        let inst = self.machine().inst(row, variant).modify(dst, src);
        read_rm(inst, row, variant, rm);
    }

    /// `row dst, [rm]` for rows `[reg written, reg or memory]`.
    fn write_rm(&mut self, row: RowId, variant: Variant, dst: VReg, rm: Rm) {
        let inst = self.machine().inst(row, variant).write(dst);
        read_rm(inst, row, variant, rm);
    }

    /// `row dst(src), imm`.
    fn modify_imm(&mut self, row: RowId, variant: Variant, dst: VReg, src: VReg, imm: i32) {
        self.machine().inst(row, variant).modify(dst, src).imm(imm);
    }

    /// `row dst(src)`.
    fn modify(&mut self, row: RowId, variant: Variant, dst: VReg, src: VReg) {
        self.machine().inst(row, variant).modify(dst, src);
    }

    /// `row dst(src), reg` into a new integer register, which is returned.
    fn op2(&mut self, row: RowId, variant: Variant, src: VReg, reg: VReg) -> VReg {
        let dst = self.gpr();
        self.modify_rm(row, variant, dst, src, Rm::Reg(reg));
        dst
    }

    /// `row dst(src), imm` into a new integer register, which is returned.
    fn op2i(&mut self, row: RowId, variant: Variant, src: VReg, imm: i32) -> VReg {
        let dst = self.gpr();
        self.modify_imm(row, variant, dst, src, imm);
        dst
    }

    /// Emits a constant into a new register.
    fn imm(&mut self, value: u64) -> VReg {
        let dst = self.gpr();
        self.imm_into(dst, value);
        dst
    }

    /// Emits a move of a constant; changes the flags (R2).
    fn imm_into(&mut self, dst: VReg, value: u64) {
        if value == 0 {
            self.machine().inst(op::ZERO, Variant::S32).write(dst);
        } else if value <= u64::from(u32::MAX) {
            self.machine().inst(op::MOV_RI, Variant::S32).write(dst).imm(value as i32);
        } else if value as i64 == i64::from(value as i32) {
            self.machine().inst(op::MOV_RI_SIGNED, Variant::S64).write(dst).imm(value as i32);
        } else {
            self.machine().inst(op::MOV_RI64, Variant::NONE).write(dst).imm64(value);
        }
    }

    /// A register holding zero; changes the flags.
    fn zero(&mut self) -> VReg {
        let dst = self.gpr();
        self.machine().inst(op::ZERO, Variant::S32).write(dst);
        dst
    }

    /// Emits `lea`.
    fn lea(&mut self, variant: Variant, dst: VReg, amode: Amode) {
        self.machine().inst(op::LEA, variant).write(dst).mem(amode);
    }
}

/// A register or memory operand.
#[derive(Clone, Copy, Debug)]
enum Rm {
    Reg(VReg),
    Mem(Amode, Option<TrapCode>),
}

/// Adds the operand that may be memory. A register may be in its spill slot if the row reads no more than that has.
fn read_rm(inst: Inst<'_>, row: RowId, variant: Variant, rm: Rm) {
    match rm {
        Rm::Mem(amode, trap) => inst.mem(amode).trap(trap).end(),
        Rm::Reg(reg) => {
            let row = row.row();
            let narrow = |at: usize| row.operands[at].width(variant) <= Size::S64;
            if row.memory_at().is_some_and(narrow) { inst.read_any(reg).end() } else { inst.read(reg).end() }
        }
    }
}

/// A register, memory or immediate operand.
#[derive(Clone, Copy, Debug)]
enum Rmi {
    Reg(VReg),
    Mem(Amode, Option<TrapCode>),
    Imm(i32),
}

impl From<Rm> for Rmi {
    fn from(rm: Rm) -> Rmi {
        match rm {
            Rm::Reg(reg) => Rmi::Reg(reg),
            Rm::Mem(amode, trap) => Rmi::Mem(amode, trap),
        }
    }
}
