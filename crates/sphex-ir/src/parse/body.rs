//! Blocks and instructions, and what is left to do when all of them are read.
//!
//! I1. Until [`Body::finish`], the value words and lists of instructions hold *slots*: indices into `slots`.
//! I2. Until then a block's id is its rank of first mention.
//! I3. `known` is false for the instructions whose result types wait for an operand's type; a constant made for an
//!     immediate operand waits for the slot in its word `c`.

use super::lexer::Kind;
use super::{PResult, Parser};
use crate::function::{Block, BlockData, Constant, Function, InstData, SrcLoc, Value};
use crate::immediates::MemFlags;
use crate::table::{Ctrl, Effects, Format, Opcode};
use crate::types::{self, Type};
use rustc_hash::FxHashMap;
use sphex_entity::{EntityList, EntityRef, PrimaryMap};

/// Text numbers of one kind of entity.
#[derive(Default)]
pub(super) struct Names {
    defined: FxHashMap<u32, u32>,
    implied: FxHashMap<u32, u32>,
}

impl Names {
    pub(super) fn define(&mut self, parser: &Parser<'_>, at: usize, number: u32, id: u32) -> PResult<()> {
        match self.defined.insert(number, id) {
            None => Ok(()),
            Some(_) => parser.failure_at(at, "a new name", None),
        }
    }

    /// Lets the entity's own number name it, where no declaration takes that name.
    pub(super) fn imply(&mut self, id: u32) {
        self.implied.insert(id, id);
    }

    pub(super) fn get(&self, parser: &Parser<'_>, at: usize, prefix: &str, number: u32) -> PResult<u32> {
        match self.defined.get(&number).or_else(|| self.implied.get(&number)) {
            Some(&id) => Ok(id),
            None => parser.failure_at(at, format!("a declared `{prefix}`"), None),
        }
    }
}

/// A value as the text names it.
struct Slot {
    value: Value,
    first_use: u32,
    number: u32,
}

const NO_NUMBER: u32 = u32::MAX;

/// A function being read.
pub(super) struct Body {
    pub(super) func: Function,
    pub(super) stack_slots: Names,
    pub(super) global_values: Names,
    pub(super) signatures: Names,
    pub(super) ext_funcs: Names,
    pub(super) constants: Names,
    pub(super) regions: Names,
    slots: Vec<Slot>,
    slot_of: FxHashMap<u32, u32>,
    aliases: Vec<(u32, u32, usize)>,
    block_of: FxHashMap<u32, u32>,
    block_numbers: Vec<(u32, u32, bool)>,
    known: Vec<bool>,
    suffixes: Vec<(Value, Type, u32)>,
    interned_flags: FxHashMap<MemFlags, u16>,
    interned_bytes: FxHashMap<Box<[u8]>, Constant>,
    /// Block arguments of a `try_call` that name its own results, waiting for the instruction.
    pub(super) own_results: Vec<(u32, u32, Type)>,
}

impl Body {
    pub(super) fn new(func: Function) -> Self {
        Self {
            func,
            stack_slots: Names::default(),
            global_values: Names::default(),
            signatures: Names::default(),
            ext_funcs: Names::default(),
            constants: Names::default(),
            regions: Names::default(),
            slots: Vec::new(),
            slot_of: FxHashMap::default(),
            aliases: Vec::new(),
            block_of: FxHashMap::default(),
            block_numbers: Vec::new(),
            known: Vec::new(),
            suffixes: Vec::new(),
            interned_flags: FxHashMap::default(),
            interned_bytes: FxHashMap::default(),
            own_results: Vec::new(),
        }
    }

    /// The slot of `vNUMBER`, mentioned at token `at`.
    pub(super) fn slot(&mut self, number: u32, at: usize) -> Value {
        let slots = &mut self.slots;
        let slot = *self.slot_of.entry(number).or_insert_with(|| {
            slots.push(Slot { value: Value::NONE, first_use: at as u32, number });
            slots.len() as u32 - 1
        });
        Value::from_u32(slot)
    }

    /// A slot that no text names.
    pub(super) fn anonymous_slot(&mut self, value: Value) -> Value {
        self.slots.push(Slot { value, first_use: 0, number: NO_NUMBER });
        Value::from_u32(self.slots.len() as u32 - 1)
    }

    fn define(&mut self, parser: &Parser<'_>, number: u32, value: Value, at: usize) -> PResult<()> {
        let slot = self.slot(number, at);
        if !self.slots[slot.index()].value.is_none() {
            return parser.failure_at(at, "a new value", None);
        }
        self.slots[slot.index()].value = value;
        self.func.value_names[value] = number;
        Ok(())
    }

    /// The block of `blockNUMBER`, mentioned at token `at`.
    pub(super) fn block(&mut self, number: u32, at: usize) -> Block {
        let (func, numbers) = (&mut self.func, &mut self.block_numbers);
        let id = *self.block_of.entry(number).or_insert_with(|| {
            numbers.push((number, at as u32, false));
            func.blocks.push(BlockData::default()).as_u32()
        });
        Block::from_u32(id)
    }

    /// Interns constant bytes.
    pub(super) fn constant(&mut self, bytes: Box<[u8]>) -> Constant {
        let func = &mut self.func;
        *self.interned_bytes.entry(bytes).or_insert_with_key(|bytes| func.constants.push(bytes.clone()))
    }

    /// Interns memory flags.
    pub(super) fn flags(&mut self, flags: MemFlags) -> u16 {
        let func = &mut self.func;
        *self.interned_flags.entry(flags).or_insert_with(|| func.intern_flags(flags))
    }

    fn push(&mut self, data: InstData, known: bool) -> Value {
        let value = self.func.insts.push(data);
        self.known.resize(value.index(), true);
        self.known.push(known);
        value
    }

    /// Adds an instruction and its further results to `block`; `ctrl` is its controlling type, if that is known already.
    fn append(&mut self, block: Block, mut data: InstData, ctrl: Option<Type>, loc: SrcLoc) -> Value {
        let row = data.opcode.row();
        let results: Vec<Type> = if row.effects.has(Effects::CALL) {
            let ends = row.effects.has(Effects::TERMINATOR);
            let sig = self.func.call_signature(&data).filter(|_| !ends);
            sig.map_or(Vec::new(), |s| self.func.signatures[s].returns.iter().map(|r| r.ty).collect())
        } else {
            let ctrl = ctrl.unwrap_or(types::INVALID);
            row.results.iter().map(|rule| rule.resolve(ctrl).unwrap_or(types::INVALID)).collect()
        };
        let waits = matches!(row.ctrl, Ctrl::Operand(_)) && ctrl.is_none() && !row.results.is_empty();
        data.ty = results.first().copied().unwrap_or(types::INVALID);
        let inst = self.push(data, !waits);
        for (k, &ty) in results.iter().enumerate().skip(1) {
            let projection = InstData::new(Opcode::Projection, ty, inst.as_u32(), k as u32, 0);
            self.push(projection, true);
        }
        for (slot, index, ty) in core::mem::take(&mut self.own_results) {
            let projection = InstData::new(Opcode::Projection, ty, inst.as_u32(), index, 0);
            self.slots[slot as usize].value = self.push(projection, true);
        }
        self.list(block, inst, loc);
        inst
    }

    fn list(&mut self, block: Block, inst: Value, loc: SrcLoc) {
        self.func.block_of[inst] = block;
        self.func.blocks[block].insts.push(inst);
        if !loc.is_none() {
            self.func.srclocs[inst] = loc;
        }
    }

    /// Adds the constant for an immediate operand; its type is that of `operand`, which is a slot.
    pub(super) fn immediate(&mut self, block: Block, imm: u64, operand: Value, loc: SrcLoc) -> Value {
        let (low, high) = (imm as u32, (imm >> 32) as u32);
        let data = InstData::new(Opcode::Iconst, types::INVALID, low, high, operand.as_u32());
        let inst = self.push(data, false);
        self.list(block, inst, loc);
        self.anonymous_slot(inst)
    }

    /// Fills in what was not known while reading, and hands the function over.
    pub(super) fn finish(mut self, parser: &Parser<'_>) -> PResult<Function> {
        self.resolve_aliases(parser)?;
        if let Some(slot) = self.slots.iter().find(|slot| slot.value.is_none()) {
            let found = Some(format!("`v{}`, which nothing defines", slot.number));
            return parser.failure_at(slot.first_use as usize, "a defined value", found);
        }
        if let Some(block) = self.block_numbers.iter().find(|block| !block.2) {
            let found = Some(format!("`block{}`, which nothing defines", block.0));
            return parser.failure_at(block.1 as usize, "a defined block", found);
        }
        for inst in self.func.insts.keys() {
            let slots = &self.slots;
            self.func.map_uses(inst, |slot| slots[slot.index()].value);
        }
        self.resolve_types(parser)?;
        self.renumber_blocks();
        for &(inst, suffix, at) in &self.suffixes {
            let ctrl = self.func.ctrl_type(inst);
            if ctrl != suffix {
                let expected = format!("`{ctrl}`, the type of the operand");
                return parser.failure_at(at as usize, expected, None);
            }
        }
        Ok(self.func)
    }

    /// Gives each alias the value that its chain ends at.
    fn resolve_aliases(&mut self, parser: &Parser<'_>) -> PResult<()> {
        let mut target = vec![u32::MAX; if self.aliases.is_empty() { 0 } else { self.slots.len() }];
        for &(from, to, at) in &self.aliases {
            if !self.slots[from as usize].value.is_none() || target[from as usize] != u32::MAX {
                return parser.failure_at(at, "a new value", None);
            }
            target[from as usize] = to;
        }
        for &(from, _, at) in &self.aliases {
            let mut chain = Vec::new();
            let mut slot = from;
            while self.slots[slot as usize].value.is_none() && target[slot as usize] != u32::MAX {
                if chain.len() > self.aliases.len() {
                    return parser.failure_at(at, "an alias of a value", Some("a cycle of aliases".into()));
                }
                chain.push(slot);
                slot = target[slot as usize];
            }
            let value = self.slots[slot as usize].value;
            if value.is_none() {
                break; // reported as undefined
            }
            for link in chain {
                self.slots[link as usize].value = value;
            }
        }
        Ok(())
    }

    /// Types flow from operands to results; an explicit stack follows the operands.
    fn resolve_types(&mut self, parser: &Parser<'_>) -> PResult<()> {
        let mut stack: Vec<Value> = Vec::new();
        let mut entered = vec![false; self.known.len()];
        for start in 0..self.known.len() {
            stack.push(Value::new(start));
            while let Some(&inst) = stack.last() {
                if self.known[inst.index()] {
                    stack.pop();
                    continue;
                }
                let source = self.type_source(inst);
                let definition = self.func.definition(source).map_or(source, |(inst, _)| inst);
                if self.known[definition.index()] {
                    let (ty, data) = (self.func.type_of(source), self.func.insts[inst]);
                    if data.opcode == Opcode::Iconst && !ty.is_int() {
                        // Of `iadd_imm` and its like.
                        let at = self.slots[data.c as usize].first_use as usize;
                        let found = Some(format!("one of type {ty}"));
                        return parser.failure_at(at, "an integer beside the immediate", found);
                    }
                    self.set_types(inst, ty);
                    stack.pop();
                } else if core::mem::replace(&mut entered[inst.index()], true) {
                    let name = self.func.value_names[inst];
                    let found = Some(format!("`v{name}`, whose type depends on itself"));
                    return parser.failure_at(self.first_use(name), "a value with a type", found);
                } else {
                    stack.push(definition);
                }
            }
        }
        Ok(())
    }

    fn first_use(&self, number: u32) -> usize {
        self.slot_of.get(&number).map_or(0, |slot| self.slots[*slot as usize].first_use as usize)
    }

    /// The value whose type decides the instruction's (I3).
    fn type_source(&self, inst: Value) -> Value {
        let data = &self.func.insts[inst];
        match (data.opcode, data.opcode.row().ctrl) {
            (Opcode::Iconst, _) => self.slots[data.c as usize].value,
            (_, Ctrl::Operand(k)) => self.func.operand(inst, k as usize).unwrap_or(inst),
            _ => inst,
        }
    }

    fn set_types(&mut self, inst: Value, ctrl: Type) {
        self.known[inst.index()] = true;
        let data = self.func.insts[inst];
        if data.opcode == Opcode::Iconst {
            self.func.insts[inst] = InstData::iconst(ctrl, data.imm64() as i64);
            return;
        }
        for (k, rule) in data.opcode.row().results.iter().enumerate() {
            let result = Value::new(inst.index() + k);
            self.func.insts[result].ty = rule.resolve(ctrl).unwrap_or(types::INVALID);
        }
    }

    /// Blocks keep their text numbers where those are 0 to n - 1; else they are numbered in text order.
    fn renumber_blocks(&mut self) {
        let count = self.block_numbers.len();
        let dense = self.block_numbers.iter().all(|b| (b.0 as usize) < count);
        let mut new_id = vec![Block::NONE; count];
        for (rank, block) in self.func.layout.iter().enumerate() {
            let number = self.block_numbers[block.index()].0 as usize;
            new_id[block.index()] = Block::new(if dense { number } else { rank });
        }
        if new_id.iter().enumerate().all(|(old, new)| old == new.index()) {
            return;
        }
        let func = &mut self.func;
        let mut blocks: PrimaryMap<Block, BlockData> = (0..count).map(|_| BlockData::default()).collect();
        for old in func.blocks.keys() {
            blocks[new_id[old.index()]] = core::mem::take(&mut func.blocks[old]);
        }
        func.blocks = blocks;
        func.layout.iter_mut().for_each(|block| *block = new_id[block.index()]);
        for inst in func.insts.keys() {
            if let Some(block) = func.block_of[inst].expand() {
                func.block_of[inst] = new_id[block.index()];
            }
            if func.insts[inst].opcode == Opcode::BlockParam {
                func.insts[inst].a = new_id[func.insts[inst].a as usize].as_u32();
            }
            if func.insts[inst].opcode.row().effects.has(Effects::BRANCH) {
                for call in func.block_calls(inst) {
                    let target = func.block_call_target(call);
                    func.set_block_call_target(call, new_id[target.index()]);
                }
            }
        }
    }
}

impl Parser<'_> {
    /// Blocks up to the closing brace.
    pub(super) fn blocks(&mut self, body: &mut Body) -> PResult<()> {
        while !self.is_punct('}') {
            let block = self.block_header(body)?;
            while !self.is_punct('}') && self.numbered("block").is_none() {
                self.instruction(body, block)?;
            }
        }
        Ok(())
    }

    /// `block1(v0: i32) cold:`.
    fn block_header(&mut self, body: &mut Body) -> PResult<Block> {
        let at = self.at;
        let number = self.entity("block")?;
        let block = body.block(number, at);
        if core::mem::replace(&mut body.block_numbers[block.index()].2, true) {
            return self.failure_at(at, "a new block", None);
        }
        body.func.layout.push(block);
        if self.eat_punct('(') && !self.eat_punct(')') {
            loop {
                let at = self.at;
                let number = self.entity("v")?;
                self.punct(':')?;
                let ty = self.ty()?;
                let param = body.func.add_block_param(block, ty);
                body.known.resize(param.index() + 1, true);
                body.define(self, number, param, at)?;
                if !self.eat_punct(',') {
                    break;
                }
            }
            self.punct(')')?;
        }
        body.func.blocks[block].cold = self.eat_word("cold");
        self.punct(':')?;
        Ok(block)
    }

    /// `@0012` or `@3:0012`.
    pub(super) fn source_location(&mut self) -> PResult<SrcLoc> {
        let text = self.slice();
        let parsed = (self.peek() == Kind::SrcLoc).then(|| {
            let (node, offset) = text[1..].split_once(':').unwrap_or(("0", &text[1..]));
            let offset = u32::from_str_radix(offset, 16).ok()?;
            Some(SrcLoc { node: node.parse().ok()?, offset })
        });
        match parsed.flatten() {
            Some(loc) => {
                self.advance();
                Ok(loc)
            }
            None => self.failure("a source location: `@` and hexadecimal digits"),
        }
    }

    /// One line: an alias, or results, opcode, type and operands.
    fn instruction(&mut self, body: &mut Body, block: Block) -> PResult<()> {
        let loc = if self.peek() == Kind::SrcLoc { self.source_location()? } else { SrcLoc::NONE };
        let mut results: Vec<(u32, usize)> = Vec::new();
        while let Some(number) = self.numbered("v") {
            results.push((number, self.at));
            self.advance();
            if results.len() == 1 && self.eat_arrow() {
                let from = body.slot(number, self.at - 2).as_u32();
                let (to_number, at) = (self.entity("v")?, self.at - 1);
                let to = body.slot(to_number, at).as_u32();
                body.aliases.push((from, to, at - 2));
                return Ok(());
            }
            if !self.eat_punct(',') {
                self.punct('=')?;
                break;
            }
        }
        let opcode_at = self.at;
        let (opcode, immediate) = self.opcode()?;
        let mut suffix = None;
        if self.eat_punct('.') {
            suffix = Some((self.ty()?, self.at - 1));
        }
        let ctrl = self.controlling_type(opcode, suffix)?;
        let data = match immediate {
            Some(swapped) => self.immediate_operands(body, block, opcode, swapped, loc)?,
            None => self.operands(body, opcode, ctrl)?,
        };
        let inst = body.append(block, data, ctrl, loc);
        if let (Some((ty, at)), Ctrl::Operand(_)) = (suffix, opcode.row().ctrl) {
            body.suffixes.push((inst, ty, at as u32));
        }
        let count = body.func.result_count(inst);
        if results.len() != count {
            let expected = format!("{count} results of `{}`", opcode.row().name);
            return self.failure_at(opcode_at, expected, Some(results.len().to_string()));
        }
        for (k, (number, at)) in results.into_iter().enumerate() {
            body.define(self, number, Value::new(inst.index() + k), at)?;
        }
        Ok(())
    }

    /// The controlling type, where the text itself says it.
    fn controlling_type(&self, opcode: Opcode, suffix: Option<(Type, usize)>) -> PResult<Option<Type>> {
        let row = opcode.row();
        match (row.ctrl, suffix) {
            (Ctrl::Suffix, None) => self.failure(format!("a type suffix of `{}`", row.name)),
            (Ctrl::None, Some((_, at))) => match row.format {
                Format::Load | Format::BrTable => Ok(None),
                _ => self.failure_at(at, format!("no type suffix on `{}`", row.name), None),
            },
            (_, suffix) => Ok(suffix.map(|s| s.0)),
        }
    }

    /// A list of values in parentheses.
    pub(super) fn value_list(&mut self, body: &mut Body) -> PResult<EntityList<Value>> {
        self.punct('(')?;
        let mut list = EntityList::EMPTY;
        if !self.eat_punct(')') {
            loop {
                let value = self.value(body)?;
                list.push(value, &mut body.func.lists);
                if !self.eat_punct(',') {
                    break;
                }
            }
            self.punct(')')?;
        }
        Ok(list)
    }

    /// A value's slot (I1).
    pub(super) fn value(&mut self, body: &mut Body) -> PResult<Value> {
        let at = self.at;
        match self.numbered("v") {
            Some(number) => {
                self.advance();
                Ok(body.slot(number, at))
            }
            None => self.failure("a value"),
        }
    }
}
