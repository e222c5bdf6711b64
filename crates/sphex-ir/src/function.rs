//! Functions: instructions, blocks and what they refer to.
//!
//! I1. A value is its instruction: the first result of instruction `n` is value `n`; result `k` is value `n + k`, a
//!     [`Opcode::Projection`] made right after it. Block parameters are [`Opcode::BlockParam`] values.
//! I2. Parameters, projections and aliases stand in no instruction list.
//! I3. A *placed* function has every other live instruction in exactly one block's list, and `block_of` names that block.
//!     A *floating* function lists only instructions with effects; pure ones have `block_of == NONE`.
//! I4. A value replaced by another is an [`Opcode::Alias`] of it; [`Function::resolve`] follows the chain.

pub use crate::inst::InstData;

use crate::immediates::MemFlags;
use crate::signature::{ExternalName, Signature};
use crate::table::{Ctrl, Effects, Format, Opcode};
use crate::types::{self, Type};
use smallvec::SmallVec;
use sphex_entity::{EntityList, EntityRef, ListPool, PrimaryMap, SecondaryMap, entity};

entity! {
    /// An instruction, and its first result.
    pub struct Value("v");
}
entity! {
    /// A basic block.
    pub struct Block("block");
}
entity! {
    /// A block and the arguments for its parameters: a list in the function's pool, the block first.
    pub struct BlockCall("blockcall");
}
entity! {
    /// A signature that the function calls with.
    pub struct SigRef("sig");
}
entity! {
    /// A function that this one refers to.
    pub struct FuncRef("fn");
}
entity! {
    /// A place in the function's frame.
    pub struct StackSlot("ss");
}
entity! {
    /// An address that the function derives from its context.
    pub struct GlobalValue("gv");
}
entity! {
    /// Constant bytes.
    pub struct Constant("const");
}
entity! {
    /// A part of memory that does not overlap the others.
    pub struct Region("region");
}
entity! {
    /// Where a `try_call` goes on.
    pub struct ExceptionTable("extable");
}
entity! {
    /// A set of memory flags, interned in the function.
    pub struct FlagsRef("flags");
}

/// Where in the source an instruction comes from: an inline node and the byte offset in the wasm module.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SrcLoc {
    /// Index into [`Function::inline_nodes`]; 0 is the function itself.
    pub node: u32,
    /// Byte offset; `u32::MAX` is unknown.
    pub offset: u32,
}

impl SrcLoc {
    /// No location.
    pub const NONE: SrcLoc = SrcLoc { node: 0, offset: u32::MAX };

    /// A place in the function itself.
    pub const fn at(offset: u32) -> Self {
        SrcLoc { node: 0, offset }
    }

    /// Whether there is no location.
    pub const fn is_none(self) -> bool {
        self.offset == u32::MAX
    }
}

impl Default for SrcLoc {
    fn default() -> Self {
        SrcLoc::NONE
    }
}

/// A `try_call` has no results of its own: what it gives are arguments of its block calls, [`Opcode::Projection`]s of it
/// whose index is the result's (from 0), or this bit and the number of a word of an exception's payload.
pub const EXCEPTION_PAYLOAD: u32 = 1 << 31;

/// A function inlined into this one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct InlineNode {
    /// The node it was inlined into (0: the function itself).
    pub parent: u32,
    /// The inlined function's index, as the embedder counts.
    pub function: u32,
    /// Byte offset of the call that was replaced.
    pub call_offset: u32,
}

/// A block: its parameters and its instructions in order.
#[derive(Clone, Default, Debug)]
pub struct BlockData {
    /// Parameters.
    pub params: EntityList<Value>,
    /// Instructions; the last is the terminator.
    pub insts: Vec<Value>,
    /// Rarely executed: laid out behind the rest.
    pub cold: bool,
}

/// A function that is called or whose address is taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExtFunc {
    /// Its name.
    pub name: ExternalName,
    /// Its signature.
    pub signature: SigRef,
    /// It is linked into the same text section: reachable by a pc-relative call.
    pub colocated: bool,
    /// It may come back from another instance (a tail call out of it): the caller reloads its vmctx.
    pub leaves: bool,
}

/// A place in the frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StackSlotData {
    /// Bytes.
    pub size: u32,
    /// Log2 of the alignment in bytes.
    pub align_shift: u8,
}

/// How an address is derived.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GlobalValueData {
    /// The parameter with purpose vmctx.
    VmContext,
    /// What memory holds at `base + offset`.
    Load {
        /// The base address.
        base: GlobalValue,
        /// Signed byte offset.
        offset: i32,
        /// The loaded type.
        ty: Type,
        /// What the access may assume.
        flags: MemFlags,
    },
    /// `base + offset`.
    IaddImm {
        /// The base address.
        base: GlobalValue,
        /// The addend.
        offset: i64,
        /// The type.
        ty: Type,
    },
    /// The address of a symbol, plus an offset.
    Symbol {
        /// The symbol.
        name: ExternalName,
        /// The addend.
        offset: i64,
        /// Reachable pc-relative.
        colocated: bool,
        /// Thread-local.
        tls: bool,
    },
}

/// Where a `try_call` goes on: normally, and for each exception tag.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExceptionTableData {
    /// The callee's signature.
    pub signature: SigRef,
    /// Where it goes on after a return.
    pub normal: BlockCall,
    /// Handlers in order; `None` catches every tag.
    pub handlers: Vec<(Option<u32>, BlockCall)>,
}

/// Counts what is looked at in a function, in builds with debug assertions; nothing in others.
#[derive(Clone, Debug, Default)]
struct Work(#[cfg(debug_assertions)] core::cell::Cell<u64>);

impl Work {
    #[inline]
    fn add(&self, steps: usize) {
        #[cfg(debug_assertions)]
        self.0.set(self.0.get() + steps as u64);
        #[cfg(not(debug_assertions))]
        let _ = steps;
    }
}

/// A function's whole IR.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its name.
    pub name: ExternalName,
    /// Its type.
    pub signature: Signature,
    /// Every instruction and value.
    pub insts: PrimaryMap<Value, InstData>,
    /// The block whose list holds an instruction; [`Block::NONE`] for floating ones.
    pub block_of: SecondaryMap<Value, Block>,
    /// Source locations.
    pub srclocs: SecondaryMap<Value, SrcLoc>,
    /// Blocks.
    pub blocks: PrimaryMap<Block, BlockData>,
    /// The order of blocks in text and, at first, in memory; the entry comes first.
    pub layout: Vec<Block>,
    /// Storage for lists of arguments and block calls.
    pub lists: ListPool,
    /// Signatures of callees.
    pub signatures: PrimaryMap<SigRef, Signature>,
    /// Functions referred to.
    pub ext_funcs: PrimaryMap<FuncRef, ExtFunc>,
    /// Stack slots.
    pub stack_slots: PrimaryMap<StackSlot, StackSlotData>,
    /// Derived addresses.
    pub global_values: PrimaryMap<GlobalValue, GlobalValueData>,
    /// Constant bytes, little-endian.
    pub constants: PrimaryMap<Constant, Box<[u8]>>,
    /// Names of memory regions: the embedder's number and a description.
    pub regions: PrimaryMap<Region, (u32, Box<str>)>,
    /// Interned memory flags.
    pub mem_flags: PrimaryMap<FlagsRef, MemFlags>,
    /// Where `try_call`s go on.
    pub exception_tables: PrimaryMap<ExceptionTable, ExceptionTableData>,
    /// The address below which the stack pointer must not go, checked at entry.
    pub stack_limit: Option<GlobalValue>,
    /// The inline tree; node 0 is the function itself.
    pub inline_nodes: Vec<InlineNode>,
    /// Names that values had in text, for printing (absent: numbered in order of appearance).
    pub value_names: SecondaryMap<Value, u32>,
    /// Empty lists of instructions with memory, for blocks.
    spare: Vec<Vec<Value>>,
    work: Work,
}

impl Function {
    /// An empty function.
    pub fn new(name: ExternalName, signature: Signature) -> Self {
        Self {
            name,
            signature,
            insts: PrimaryMap::new(),
            block_of: SecondaryMap::with_default(Block::NONE),
            srclocs: SecondaryMap::new(),
            blocks: PrimaryMap::new(),
            layout: Vec::new(),
            lists: ListPool::new(),
            signatures: PrimaryMap::new(),
            ext_funcs: PrimaryMap::new(),
            stack_slots: PrimaryMap::new(),
            global_values: PrimaryMap::new(),
            constants: PrimaryMap::new(),
            regions: PrimaryMap::new(),
            mem_flags: PrimaryMap::new(),
            exception_tables: PrimaryMap::new(),
            stack_limit: None,
            inline_nodes: Vec::new(),
            value_names: SecondaryMap::with_default(u32::MAX),
            spare: Vec::new(),
            work: Work::default(),
        }
    }

    /// Empties the function for reuse; keeps the memory of its tables.
    pub fn clear(&mut self, name: ExternalName, signature: Signature) {
        self.name = name;
        self.signature = signature;
        self.insts.clear();
        self.block_of.clear();
        self.srclocs.clear();
        for block in self.blocks.values_mut().filter(|block| block.insts.capacity() != 0) {
            block.insts.clear();
            self.spare.push(core::mem::take(&mut block.insts));
        }
        self.blocks.clear();
        self.layout.clear();
        self.lists.clear();
        self.signatures.clear();
        self.ext_funcs.clear();
        self.stack_slots.clear();
        self.global_values.clear();
        self.constants.clear();
        self.regions.clear();
        self.mem_flags.clear();
        self.exception_tables.clear();
        self.stack_limit = None;
        self.inline_nodes.clear();
        self.value_names.clear();
        self.work = Work::default();
    }

    /// Takes a list of instructions that is not needed any more, so that another block can have its memory.
    pub fn reuse_list(&mut self, mut list: Vec<Value>) {
        if list.capacity() != 0 {
            list.clear();
            self.spare.push(list);
        }
    }

    /// How many instructions, operands, edges and aliases have been looked at since the function was made: what passes
    /// cost, for tests of how it grows. 0 in builds without debug assertions.
    pub fn work(&self) -> u64 {
        #[cfg(debug_assertions)]
        return self.work.0.get();
        #[cfg(not(debug_assertions))]
        0
    }

    /// The entry block, once there is one.
    #[inline]
    pub fn entry(&self) -> Option<Block> {
        self.layout.first().copied()
    }

    /// Makes a block at the end of the layout.
    pub fn add_block(&mut self) -> Block {
        let insts = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(8));
        let block = self.blocks.push(BlockData { insts, ..BlockData::default() });
        self.layout.push(block);
        block
    }

    /// Adds a parameter to a block.
    pub fn add_block_param(&mut self, block: Block, ty: Type) -> Value {
        let index = self.blocks[block].params.len(&self.lists) as u32;
        let value = self.insts.push(InstData::new(Opcode::BlockParam, ty, block.as_u32(), index, 0));
        self.blocks[block].params.push(value, &mut self.lists);
        value
    }

    /// A block's parameters.
    #[inline]
    pub fn block_params(
        &self,
        block: Block,
    ) -> impl DoubleEndedIterator<Item = Value> + ExactSizeIterator + '_ {
        self.blocks[block].params.iter(&self.lists)
    }

    /// Makes an instruction (and its further results' projections) without placing it.
    pub fn make(&mut self, data: InstData, loc: SrcLoc) -> Value {
        self.work.add(1);
        let inst = self.insts.push(data);
        if !loc.is_none() {
            self.srclocs[inst] = loc;
        }
        if data.opcode.shape().projects {
            self.make_projections(inst, &data);
        }
        inst
    }

    /// The further results of an instruction that has just been made.
    fn make_projections(&mut self, inst: Value, data: &InstData) {
        let row = data.opcode.row();
        if row.effects.has(Effects::CALL) {
            if let Some(sig) = self.call_signature(data).filter(|_| !row.effects.has(Effects::TERMINATOR)) {
                for k in 1..self.signatures[sig].returns.len() {
                    let ty = self.signatures[sig].returns[k].ty;
                    self.insts.push(InstData::new(Opcode::Projection, ty, inst.as_u32(), k as u32, 0));
                }
            }
        } else {
            let ctrl = self.ctrl_type(inst);
            for (k, rule) in row.results.iter().enumerate().skip(1) {
                let ty = rule.resolve(ctrl).unwrap_or(types::INVALID);
                self.insts.push(InstData::new(Opcode::Projection, ty, inst.as_u32(), k as u32, 0));
            }
        }
    }

    /// Makes an instruction at the end of a block.
    pub fn append(&mut self, block: Block, data: InstData, loc: SrcLoc) -> Value {
        let inst = self.make(data, loc);
        self.block_of[inst] = block;
        self.blocks[block].insts.push(inst);
        inst
    }

    /// The signature of a call instruction.
    pub fn call_signature(&self, data: &InstData) -> Option<SigRef> {
        match data.format() {
            Format::Call => Some(self.ext_funcs[FuncRef::from_u32(data.a)].signature),
            Format::CallIndirect => Some(SigRef::from_u32(data.a)),
            Format::TryCall | Format::TryCallIndirect => {
                Some(self.exception_tables[ExceptionTable::from_u32(data.c)].signature)
            }
            _ => None,
        }
    }

    /// The type of a value.
    #[inline]
    pub fn type_of(&self, value: Value) -> Type {
        self.insts[value].ty
    }

    /// The controlling type of an instruction: its suffix, or the type of the operand that its row names.
    pub fn ctrl_type(&self, inst: Value) -> Type {
        let data = &self.insts[inst];
        match data.opcode.row().ctrl {
            Ctrl::None => types::INVALID,
            Ctrl::Suffix => data.ty,
            Ctrl::Operand(k) => self.operand(inst, k as usize).map_or(types::INVALID, |v| self.type_of(v)),
        }
    }

    /// How many results an instruction has.
    #[inline]
    pub fn result_count(&self, inst: Value) -> usize {
        let data = &self.insts[inst];
        let shape = data.opcode.shape();
        if shape.effects.has(Effects::CALL) { self.returned_count(data) } else { shape.results as usize }
    }

    /// How many results a call has.
    fn returned_count(&self, call: &InstData) -> usize {
        if call.opcode.is_terminator() {
            return 0;
        }
        self.call_signature(call).map_or(0, |sig| self.signatures[sig].returns.len())
    }

    /// An instruction's results (I1).
    #[inline]
    pub fn results(&self, inst: Value) -> impl DoubleEndedIterator<Item = Value> + ExactSizeIterator + use<> {
        (inst.index()..inst.index() + self.result_count(inst)).map(Value::new)
    }

    /// Whether an instruction may be computed anywhere: it has no effects and sees none. Loads of what neither faults nor
    /// changes count.
    #[inline]
    pub fn floats(&self, inst: Value) -> bool {
        let opcode = self.insts[inst].opcode;
        match opcode {
            Opcode::BlockParam | Opcode::Projection | Opcode::Alias => false,
            _ if opcode.is_pure() => true,
            _ if opcode.shape().format == Format::Load => {
                let flags = self.flags(inst);
                flags.readonly && flags.trap.is_none()
            }
            _ => false,
        }
    }

    /// The instruction that makes a value, and which of its results the value is; `None` for a block's parameter.
    #[inline]
    pub fn definition(&self, value: Value) -> Option<(Value, usize)> {
        self.work.add(1);
        let data = &self.insts[value];
        match data.opcode {
            Opcode::BlockParam => None,
            Opcode::Projection => Some((Value::from_u32(data.a), data.b as usize)),
            _ => Some((value, 0)),
        }
    }

    /// The `k`th value operand, in the order in which [`Self::operands`] gives them.
    #[inline]
    pub fn operand(&self, inst: Value, k: usize) -> Option<Value> {
        self.work.add(1);
        let data = &self.insts[inst];
        let words = data.value_words();
        if k < words.len() {
            return Some(Value::from_u32(data.word(words.start + k)));
        }
        self.listed_operand(data, k - words.len())
    }

    /// The `k`th of the list of an instruction's value operands.
    fn listed_operand(&self, data: &InstData, k: usize) -> Option<Value> {
        data.value_list().get(k, &self.lists)
    }

    /// The value operands: fixed ones, then the list; arguments of block calls are not among them.
    pub fn operands(&self, inst: Value) -> SmallVec<[Value; 4]> {
        let data = &self.insts[inst];
        let fixed = data.value_words();
        let list = data.value_list();
        self.work.add(1 + fixed.len() + list.len(&self.lists));
        // Asked for so often that collecting an iterator is one part in twenty of a compilation.
        let words = [data.a, data.b, data.c, data.c].map(Value::from_u32);
        let mut operands = match fixed.start {
            0 => SmallVec::from_buf_and_len(words, fixed.len()),
            _ => SmallVec::from_slice(&words[fixed]),
        };
        if !list.is_empty() {
            operands.extend(list.iter(&self.lists));
        }
        operands
    }

    /// The arguments of a call, or the values of a return.
    #[inline]
    pub fn arguments(&self, inst: Value) -> impl DoubleEndedIterator<Item = Value> + ExactSizeIterator + '_ {
        self.insts[inst].value_list().iter(&self.lists)
    }

    /// Calls `visit` with every value that the instruction uses, arguments of block calls included.
    #[inline]
    pub fn visit_uses(&self, inst: Value, mut visit: impl FnMut(Value)) {
        let data = &self.insts[inst];
        self.work.add(1 + data.value_list().len(&self.lists));
        for k in data.value_words() {
            visit(Value::from_u32(data.word(k)));
        }
        data.value_list().iter(&self.lists).for_each(&mut visit);
        if data.opcode.effects().has(Effects::BRANCH) {
            self.visit_block_calls(inst, |call| self.block_call_args(call).for_each(&mut visit));
        }
    }

    /// Calls `visit` with each of [`Self::operands`].
    #[inline]
    pub fn visit_operands(&self, inst: Value, mut visit: impl FnMut(Value)) {
        let data = &self.insts[inst];
        let (words, list) = (data.value_words(), data.value_list());
        self.work.add(1 + words.len() + list.len(&self.lists));
        for k in words {
            visit(Value::from_u32(data.word(k)));
        }
        list.iter(&self.lists).for_each(visit);
    }

    /// Replaces every value that the instruction uses, arguments of block calls included.
    #[inline]
    pub fn map_uses(&mut self, inst: Value, mut map: impl FnMut(Value) -> Value) {
        let mut data = self.insts[inst];
        for k in data.value_words() {
            let word = data.word_mut(k);
            *word = map(Value::from_u32(*word)).as_u32();
        }
        self.insts[inst] = data;
        let list = data.value_list();
        self.work.add(1 + list.len(&self.lists));
        for k in 0..list.len(&self.lists) {
            if let Some(old) = list.get(k, &self.lists) {
                list.set(k, map(old), &mut self.lists);
            }
        }
        if data.opcode.effects().has(Effects::BRANCH) {
            for call in self.block_calls(inst) {
                let list = EntityList::<Value>::from_u32(call.as_u32());
                self.work.add(list.len(&self.lists));
                for k in 1..list.len(&self.lists) {
                    if let Some(old) = list.get(k, &self.lists) {
                        list.set(k, map(old), &mut self.lists);
                    }
                }
            }
        }
    }

    /// Makes a call of a block with these arguments.
    pub fn make_block_call(&mut self, block: Block, args: &[Value]) -> BlockCall {
        let list = EntityList::from_first(Value::from_u32(block.as_u32()), args, &mut self.lists);
        BlockCall::from_u32(list.as_u32())
    }

    /// The block of a block call.
    #[inline]
    pub fn block_call_target(&self, call: BlockCall) -> Block {
        let list = EntityList::<Value>::from_u32(call.as_u32());
        list.get(0, &self.lists).map_or(Block::NONE, |word| Block::from_u32(word.as_u32()))
    }

    /// Redirects a block call.
    pub fn set_block_call_target(&mut self, call: BlockCall, block: Block) {
        EntityList::from_u32(call.as_u32()).set(0, Value::from_u32(block.as_u32()), &mut self.lists);
    }

    /// The arguments of a block call.
    #[inline]
    pub fn block_call_args(
        &self,
        call: BlockCall,
    ) -> impl DoubleEndedIterator<Item = Value> + ExactSizeIterator + '_ {
        let list = EntityList::<Value>::from_u32(call.as_u32());
        self.work.add(list.len(&self.lists));
        list.iter(&self.lists).skip(1)
    }

    /// The block calls of a branch, in order: for `brif` then, else; for `br_table` the default first; for `try_call`
    /// the normal return first.
    pub fn block_calls(&self, inst: Value) -> SmallVec<[BlockCall; 2]> {
        let data = &self.insts[inst];
        match data.format() {
            Format::Jump => SmallVec::from_slice(&[BlockCall::from_u32(data.a)]),
            Format::Brif => SmallVec::from_slice(&[BlockCall::from_u32(data.b), BlockCall::from_u32(data.c)]),
            Format::BrTable => {
                let list = EntityList::from_u32(data.b);
                self.work.add(list.len(&self.lists));
                list.iter(&self.lists).collect()
            }
            Format::TryCall | Format::TryCallIndirect => {
                let table = &self.exception_tables[ExceptionTable::from_u32(data.c)];
                core::iter::once(table.normal).chain(table.handlers.iter().map(|h| h.1)).collect()
            }
            _ => SmallVec::new(),
        }
    }

    /// Calls `visit` with each of [`Self::block_calls`].
    #[inline]
    pub fn visit_block_calls(&self, inst: Value, mut visit: impl FnMut(BlockCall)) {
        let data = &self.insts[inst];
        match data.format() {
            Format::Jump => visit(BlockCall::from_u32(data.a)),
            Format::Brif => {
                visit(BlockCall::from_u32(data.b));
                visit(BlockCall::from_u32(data.c));
            }
            _ => self.block_calls(inst).into_iter().for_each(visit),
        }
    }

    /// Replaces the `k`th block call of a branch.
    pub fn set_block_call(&mut self, inst: Value, k: usize, call: BlockCall) {
        let data = &mut self.insts[inst];
        match (data.format(), k) {
            (Format::Jump, _) => data.a = call.as_u32(),
            (Format::Brif, 0) => data.b = call.as_u32(),
            (Format::Brif, _) => data.c = call.as_u32(),
            (Format::BrTable, _) => EntityList::from_u32(data.b).set(k, call, &mut self.lists),
            (Format::TryCall | Format::TryCallIndirect, _) => {
                let table = &mut self.exception_tables[ExceptionTable::from_u32(data.c)];
                match k {
                    0 => table.normal = call,
                    _ => table.handlers[k - 1].1 = call,
                }
            }
            _ => {}
        }
    }

    /// A block's last instruction, if it ends the block.
    #[inline]
    pub fn terminator(&self, block: Block) -> Option<Value> {
        self.work.add(1);
        self.blocks[block].insts.last().copied().filter(|&inst| self.insts[inst].opcode.is_terminator())
    }

    /// The blocks that a block may go on to, in order, with repetitions.
    pub fn successors(&self, block: Block) -> SmallVec<[Block; 2]> {
        match self.terminator(block) {
            Some(inst) => match self.block_calls(inst)[..] {
                [] => SmallVec::new(),
                [only] => SmallVec::from_slice(&[self.block_call_target(only)]),
                [first, second] => {
                    SmallVec::from_buf([self.block_call_target(first), self.block_call_target(second)])
                }
                ref more => more.iter().map(|&call| self.block_call_target(call)).collect(),
            },
            None => SmallVec::new(),
        }
    }

    /// Calls `visit` with each of [`Self::successors`].
    #[inline]
    pub fn visit_successors(&self, block: Block, mut visit: impl FnMut(Block)) {
        if let Some(inst) = self.terminator(block) {
            self.visit_block_calls(inst, |call| visit(self.block_call_target(call)));
        }
    }

    /// The memory flags of an instruction whose `aux` is a [`FlagsRef`].
    #[inline]
    pub fn flags(&self, inst: Value) -> MemFlags {
        self.mem_flags.get(FlagsRef::from_u32(self.insts[inst].aux as u32)).copied().unwrap_or_default()
    }

    /// Interns memory flags; the result fits `aux`. A function with more than 65,535 sets gets the default's weakest
    /// assumptions for further ones, keeping trap code and byte order where such a set exists.
    pub fn intern_flags(&mut self, flags: MemFlags) -> u16 {
        if let Some((found, _)) = self.mem_flags.iter().find(|(_, f)| **f == flags) {
            return found.as_u32() as u16;
        }
        if self.mem_flags.len() >= u16::MAX as usize {
            let weaker =
                MemFlags { aligned: false, readonly: false, can_move: false, region: Region::NONE, ..flags };
            let same = self.mem_flags.iter().find(|(_, f)| **f == weaker);
            return same.map_or(0, |(found, _)| found.as_u32() as u16);
        }
        self.mem_flags.push(flags).as_u32() as u16
    }

    /// Makes `from` another name of `to`; both must have the same type (I4).
    pub fn replace(&mut self, from: Value, to: Value) {
        let to = self.resolve(to);
        if from != to {
            let ty = self.insts[from].ty;
            self.insts[from] = InstData::new(Opcode::Alias, ty, to.as_u32(), 0, 0);
        }
    }

    /// The value that this one is a name of.
    #[inline]
    pub fn resolve(&self, value: Value) -> Value {
        match self.insts[value].opcode {
            Opcode::Alias => self.follow(value),
            _ => value,
        }
    }

    /// The value that an alias is a name of.
    fn follow(&self, mut value: Value) -> Value {
        while self.insts[value].opcode == Opcode::Alias {
            self.work.add(1);
            value = Value::from_u32(self.insts[value].a);
        }
        value
    }

    /// Rewrites every use of an alias in the listed instructions to the value itself.
    pub fn resolve_aliases(&mut self) {
        // Shorten chains first, so that every later lookup is one step.
        for value in self.insts.keys() {
            if self.insts[value].opcode == Opcode::Alias {
                self.insts[value].a = self.resolve(value).as_u32();
            }
        }
        for block in self.blocks.keys() {
            for k in 0..self.blocks[block].insts.len() {
                let inst = self.blocks[block].insts[k];
                let (mut uses, mut changed) = (SmallVec::<[Value; 4]>::new(), false);
                self.visit_uses(inst, |v| {
                    let to = self.resolve(v);
                    changed |= to != v;
                    uses.push(to);
                });
                if changed {
                    let mut next = uses.iter(); // both walks go in the same order
                    self.map_uses(inst, |v| next.next().copied().unwrap_or(v));
                }
            }
        }
    }

    /// The integer constant that a value is, zero-extended from its type.
    #[inline]
    pub fn as_iconst(&self, value: Value) -> Option<u64> {
        let data = &self.insts[self.resolve(value)];
        (data.opcode == Opcode::Iconst).then(|| data.imm64())
    }
}
