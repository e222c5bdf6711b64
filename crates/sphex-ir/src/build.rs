//! The builder: makes instructions at the end of the current block.
//!
//! Needs: a function and a current block. Gives: one method an instruction family, so that callers never fill words by
//! hand; every constructor goes through [`Builder::pure`] or [`Builder::effect`], the two places where folding and
//! deduplication hook in.

use crate::evaluate;
use crate::fold::{self, Folder};
use crate::function::{
    Block, BlockCall, Constant, FuncRef, Function, InstData, SigRef, SrcLoc, StackSlot, Value,
};
use crate::immediates::{FloatCC, IntCC, MemFlags, TrapCode};
use crate::table::Opcode;
use crate::types::{self, Type};
use sphex_entity::EntityList;

/// Builds a function, instruction by instruction.
#[derive(Debug)]
pub struct Builder<'f> {
    /// The function being built.
    pub func: &'f mut Function,
    folder: Option<&'f mut Folder>,
    block: Block,
    loc: SrcLoc,
}

impl<'f> Builder<'f> {
    /// Builds into `func`, placed, folding nothing; a block must be chosen before the first instruction.
    pub fn new(func: &'f mut Function) -> Self {
        Self { func, folder: None, block: Block::NONE, loc: SrcLoc::NONE }
    }

    /// Builds into `func`, folding and deduplicating: pure instructions float until placement. The folder must be empty,
    /// or have made all of `func`'s floating instructions.
    pub fn folding(func: &'f mut Function, folder: &'f mut Folder) -> Self {
        Self { func, folder: Some(folder), block: Block::NONE, loc: SrcLoc::NONE }
    }

    /// Goes on at the end of `block`.
    pub fn switch_to(&mut self, block: Block) {
        self.block = block;
    }

    /// The current block.
    pub fn current_block(&self) -> Block {
        self.block
    }

    /// Sets the source location of what follows.
    pub fn set_loc(&mut self, loc: SrcLoc) {
        self.loc = loc;
    }

    /// The current source location.
    pub fn loc(&self) -> SrcLoc {
        self.loc
    }

    /// Makes a pure instruction, or finds a value equal to it.
    pub fn pure(&mut self, data: InstData) -> Value {
        match &mut self.folder {
            Some(folder) => folder.value(self.func, data, self.loc),
            None => self.func.append(self.block, data, self.loc),
        }
    }

    /// Makes an instruction with effects.
    pub fn effect(&mut self, data: InstData) -> Value {
        self.func.append(self.block, data, self.loc)
    }

    /// An integer constant.
    pub fn iconst(&mut self, ty: Type, value: i64) -> Value {
        self.pure(InstData::iconst(ty, value))
    }

    /// An `f32` constant, by its bits.
    pub fn f32const(&mut self, bits: u32) -> Value {
        self.pure(InstData::new(Opcode::F32const, types::F32, bits, 0, 0))
    }

    /// An `f64` constant, by its bits.
    pub fn f64const(&mut self, bits: u64) -> Value {
        self.pure(InstData::new(Opcode::F64const, types::F64, bits as u32, (bits >> 32) as u32, 0))
    }

    /// A vector constant.
    pub fn vconst(&mut self, ty: Type, constant: Constant) -> Value {
        self.pure(InstData::new(Opcode::Vconst, ty, constant.as_u32(), 0, 0))
    }

    /// A one-operand instruction whose result has the operand's type.
    pub fn unary(&mut self, opcode: Opcode, x: Value) -> Value {
        let ty = self.func.type_of(x);
        self.pure_or_effect(InstData::unary(opcode, ty, x))
    }

    /// A one-operand instruction with a type suffix (conversions, `splat`).
    pub fn convert(&mut self, opcode: Opcode, ty: Type, x: Value) -> Value {
        self.pure_or_effect(InstData::unary(opcode, ty, x))
    }

    /// `bitcast` to `ty` (little-endian lanes).
    pub fn bitcast(&mut self, ty: Type, x: Value) -> Value {
        let flags = self.func.intern_flags(MemFlags::DEFAULT);
        self.pure(InstData::unary(Opcode::Bitcast, ty, x).with_aux(flags))
    }

    /// A two-operand instruction; the type of its first result follows from its row.
    pub fn binary(&mut self, opcode: Opcode, x: Value, y: Value) -> Value {
        let ctrl = self.func.type_of(x);
        let ty = opcode.row().results.first().and_then(|rule| rule.resolve(ctrl)).unwrap_or(ctrl);
        self.pure_or_effect(InstData::binary(opcode, ty, x, y))
    }

    /// A three-operand instruction; the type of its first result is the last operand's.
    pub fn ternary(&mut self, opcode: Opcode, x: Value, y: Value, z: Value) -> Value {
        let ty = self.func.type_of(y);
        self.pure_or_effect(InstData::ternary(opcode, ty, x, y, z))
    }

    /// `icmp`.
    pub fn icmp(&mut self, cc: IntCC, x: Value, y: Value) -> Value {
        let ty = self.func.type_of(x).truthy().unwrap_or(types::I8);
        self.pure(InstData::binary(Opcode::Icmp, ty, x, y).with_aux(cc as u16))
    }

    /// `fcmp`.
    pub fn fcmp(&mut self, cc: FloatCC, x: Value, y: Value) -> Value {
        let ty = self.func.type_of(x).truthy().unwrap_or(types::I8);
        self.pure(InstData::binary(Opcode::Fcmp, ty, x, y).with_aux(cc as u16))
    }

    /// `select`.
    pub fn select(&mut self, cond: Value, then: Value, other: Value) -> Value {
        self.ternary(Opcode::Select, cond, then, other)
    }

    /// `load` or one of its extending kin.
    pub fn load(&mut self, opcode: Opcode, ty: Type, flags: MemFlags, address: Value, offset: i32) -> Value {
        let aux = self.func.intern_flags(flags);
        let (address, offset) = self.address(address, offset);
        let data = InstData::new(opcode, ty, address.as_u32(), offset as u32, 0).with_aux(aux);
        // Only what neither faults nor changes may float.
        if flags.readonly && flags.trap.is_none() { self.pure(data) } else { self.effect(data) }
    }

    /// `atomic_load`: never one with an earlier one, and never removed.
    pub fn atomic_load(&mut self, ty: Type, flags: MemFlags, address: Value) -> Value {
        let aux = self.func.intern_flags(flags);
        self.effect(InstData::new(Opcode::AtomicLoad, ty, address.as_u32(), 0, 0).with_aux(aux))
    }

    /// `store` or one of its narrowing kin.
    pub fn store(
        &mut self,
        opcode: Opcode,
        flags: MemFlags,
        value: Value,
        address: Value,
        offset: i32,
    ) -> Value {
        let aux = self.func.intern_flags(flags);
        let (address, offset) = self.address(address, offset);
        let data = InstData::new(opcode, types::INVALID, value.as_u32(), address.as_u32(), offset as u32);
        self.effect(data.with_aux(aux))
    }

    /// `stack_addr`.
    pub fn stack_addr(&mut self, slot: StackSlot, offset: i32) -> Value {
        self.pure(InstData::new(Opcode::StackAddr, types::I64, slot.as_u32(), offset as u32, 0))
    }

    /// `stack_load`.
    pub fn stack_load(&mut self, ty: Type, slot: StackSlot, offset: i32) -> Value {
        self.effect(InstData::new(Opcode::StackLoad, ty, slot.as_u32(), offset as u32, 0))
    }

    /// `stack_store`.
    pub fn stack_store(&mut self, value: Value, slot: StackSlot, offset: i32) -> Value {
        let data =
            InstData::new(Opcode::StackStore, types::INVALID, value.as_u32(), slot.as_u32(), offset as u32);
        self.effect(data)
    }

    /// `func_addr`.
    pub fn func_addr(&mut self, func: FuncRef) -> Value {
        self.pure(InstData::new(Opcode::FuncAddr, types::I64, func.as_u32(), 0, 0))
    }

    fn first_result(&self, sig: SigRef) -> Type {
        self.func.signatures[sig].returns.first().map_or(types::INVALID, |r| r.ty)
    }

    /// `call`; results are [`Function::results`] of what it returns.
    pub fn call(&mut self, callee: FuncRef, args: &[Value]) -> Value {
        let ty = self.first_result(self.func.ext_funcs[callee].signature);
        let list = EntityList::from_slice(args, &mut self.func.lists);
        self.effect(InstData::new(Opcode::Call, ty, callee.as_u32(), list.as_u32(), 0))
    }

    /// `call_indirect`.
    pub fn call_indirect(&mut self, sig: SigRef, callee: Value, args: &[Value]) -> Value {
        let ty = self.first_result(sig);
        let list = EntityList::from_slice(args, &mut self.func.lists);
        self.effect(InstData::new(Opcode::CallIndirect, ty, sig.as_u32(), callee.as_u32(), list.as_u32()))
    }

    /// `return_call`.
    pub fn return_call(&mut self, callee: FuncRef, args: &[Value]) -> Value {
        let list = EntityList::from_slice(args, &mut self.func.lists);
        self.effect(InstData::new(Opcode::ReturnCall, types::INVALID, callee.as_u32(), list.as_u32(), 0))
    }

    /// `return_call_indirect`.
    pub fn return_call_indirect(&mut self, sig: SigRef, callee: Value, args: &[Value]) -> Value {
        let list = EntityList::from_slice(args, &mut self.func.lists);
        let (sig, callee) = (sig.as_u32(), callee.as_u32());
        self.effect(InstData::new(Opcode::ReturnCallIndirect, types::INVALID, sig, callee, list.as_u32()))
    }

    /// `return`.
    pub fn ret(&mut self, values: &[Value]) -> Value {
        let list = EntityList::from_slice(values, &mut self.func.lists);
        self.effect(InstData::new(Opcode::Return, types::INVALID, list.as_u32(), 0, 0))
    }

    /// `jump`.
    pub fn jump(&mut self, block: Block, args: &[Value]) -> Value {
        let call = self.func.make_block_call(block, args);
        self.effect(InstData::new(Opcode::Jump, types::INVALID, call.as_u32(), 0, 0))
    }

    /// `brif`: to the first where `cond` is not zero, else to the second.
    pub fn brif(&mut self, cond: Value, then: (Block, &[Value]), other: (Block, &[Value])) -> Value {
        let (cond, inverted) = self.condition(cond);
        let (then, other) = if inverted { (other, then) } else { (then, other) };
        if let Some(constant) = self.folder.as_ref().and_then(|_| self.func.as_iconst(cond)) {
            let taken = if constant != 0 { then } else { other };
            return self.jump(taken.0, taken.1);
        }
        let then = self.func.make_block_call(then.0, then.1);
        let other = self.func.make_block_call(other.0, other.1);
        self.effect(InstData::new(Opcode::Brif, types::INVALID, cond.as_u32(), then.as_u32(), other.as_u32()))
    }

    /// `br_table`: the first of `calls` is the default.
    pub fn br_table(&mut self, index: Value, calls: &[BlockCall]) -> Value {
        let list = EntityList::from_slice(calls, &mut self.func.lists);
        self.effect(InstData::new(Opcode::BrTable, types::INVALID, index.as_u32(), list.as_u32(), 0))
    }

    /// `trap`.
    pub fn trap(&mut self, code: TrapCode) -> Value {
        self.effect(InstData::new(Opcode::Trap, types::INVALID, 0, 0, 0).with_aux(code.as_u8() as u16))
    }

    /// `trapz`: traps where `cond` is zero. A trap that cannot be is not made.
    pub fn trapz(&mut self, cond: Value, code: TrapCode) {
        self.conditional_trap(cond, code, Opcode::Trapz);
    }

    /// `trapnz`: traps where `cond` is not zero. A trap that cannot be is not made.
    pub fn trapnz(&mut self, cond: Value, code: TrapCode) {
        self.conditional_trap(cond, code, Opcode::Trapnz);
    }

    fn conditional_trap(&mut self, cond: Value, code: TrapCode, opcode: Opcode) {
        let (cond, inverted) = self.condition(cond);
        let opcode = match (opcode, inverted) {
            (Opcode::Trapz, true) => Opcode::Trapnz,
            (Opcode::Trapnz, true) => Opcode::Trapz,
            _ => opcode,
        };
        let never = self.folder.is_some()
            && self.func.as_iconst(cond).is_some_and(|c| {
                (c & evaluate::mask(self.func.type_of(cond)) == 0) == (opcode == Opcode::Trapnz)
            });
        if !never {
            self.effect(InstData::unary(opcode, types::INVALID, cond).with_aux(code.as_u8() as u16));
        }
    }

    fn pure_or_effect(&mut self, data: InstData) -> Value {
        if data.opcode.is_pure() {
            return self.pure(data);
        }
        if let Some(folder) = &mut self.folder
            && fold::is_foldable(self.func, &data)
            && let Some(value) = folder.simplify(self.func, data, self.loc)
        {
            return value;
        }
        self.effect(data)
    }

    /// A condition in its simplest form, and whether it is inverted.
    fn condition(&self, cond: Value) -> (Value, bool) {
        if self.folder.is_some() { fold::truth(self.func, cond) } else { (cond, false) }
    }

    /// Moves a constant addend of an address into the offset, where it fits.
    fn address(&self, address: Value, offset: i32) -> (Value, i32) {
        if self.folder.is_some() { fold::address(self.func, address, offset) } else { (address, offset) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::{CallConv, ExternalName, Signature};

    #[test]
    fn a_loop_has_the_edges_that_were_built() {
        let mut func = Function::new(ExternalName::symbol("f"), Signature::new(CallConv::Fast));
        let (entry, head, exit) = (func.add_block(), func.add_block(), func.add_block());
        let i = func.add_block_param(head, types::I32);
        let mut b = Builder::new(&mut func);
        b.switch_to(entry);
        let zero = b.iconst(types::I32, 0);
        b.jump(head, &[zero]);
        b.switch_to(head);
        let one = b.iconst(types::I32, 1);
        let next = b.binary(Opcode::Iadd, i, one);
        let ten = b.iconst(types::I32, 10);
        let more = b.icmp(IntCC::Ult, next, ten);
        let branch = b.brif(more, (head, &[next]), (exit, &[]));
        b.switch_to(exit);
        b.ret(&[]);
        assert_eq!(func.successors(head).as_slice(), [head, exit]);
        let mut uses = Vec::new();
        func.visit_uses(branch, |v| uses.push(v));
        assert_eq!(uses, [more, next]);
    }

    #[test]
    fn results_beyond_the_first_are_projections() {
        let mut func = Function::new(ExternalName::symbol("f"), Signature::new(CallConv::Fast));
        let entry = func.add_block();
        let x = func.add_block_param(entry, types::I64);
        let mut b = Builder::new(&mut func);
        b.switch_to(entry);
        let sum = b.binary(Opcode::UaddOverflow, x, x);
        let results: Vec<Value> = func.results(sum).collect();
        assert_eq!(results.iter().map(|&v| func.type_of(v)).collect::<Vec<_>>(), [types::I64, types::I8]);
        assert_eq!(func.definition(results[1]), Some((sum, 1)));
    }
}
