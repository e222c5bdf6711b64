//! Operands, one arm a format.

use super::body::Body;
use super::lexer::Kind;
use super::{PResult, Parser, numbered};
use crate::function::{
    Block, BlockCall, EXCEPTION_PAYLOAD, ExceptionTableData, InstData, SigRef, SrcLoc, Value,
};
use crate::immediates::{AtomicRmwOp, Endian, FloatCC, IntCC, MemFlags, TrapCode};
use crate::number::{parse_float, parse_int};
use crate::table::{Format, Opcode};
use crate::types::{self, Type};
use sphex_entity::EntityList;

/// Operations that CLIF also has with an immediate operand, and whether the immediate is the first operand.
const IMMEDIATE_FORMS: &[(&str, Opcode, bool)] = &[
    ("iadd_imm", Opcode::Iadd, false),
    ("isub_imm", Opcode::Isub, false),
    ("irsub_imm", Opcode::Isub, true),
    ("imul_imm", Opcode::Imul, false),
    ("udiv_imm", Opcode::Udiv, false),
    ("sdiv_imm", Opcode::Sdiv, false),
    ("urem_imm", Opcode::Urem, false),
    ("srem_imm", Opcode::Srem, false),
    ("band_imm", Opcode::Band, false),
    ("bor_imm", Opcode::Bor, false),
    ("bxor_imm", Opcode::Bxor, false),
    ("rotl_imm", Opcode::Rotl, false),
    ("rotr_imm", Opcode::Rotr, false),
    ("ishl_imm", Opcode::Ishl, false),
    ("ushr_imm", Opcode::Ushr, false),
    ("sshr_imm", Opcode::Sshr, false),
    ("icmp_imm", Opcode::Icmp, false),
];

impl Parser<'_> {
    /// An opcode, and for an immediate form whether the immediate comes first.
    pub(super) fn opcode(&mut self) -> PResult<(Opcode, Option<bool>)> {
        let word = if self.peek() == Kind::Word { self.slice() } else { "" };
        let found = Opcode::parse(word).map(|opcode| (opcode, None)).or_else(|| {
            let form = IMMEDIATE_FORMS.iter().find(|form| form.0 == word)?;
            Some((form.1, Some(form.2)))
        });
        match found {
            Some(found) => {
                self.advance();
                Ok(found)
            }
            None => self.failure("an instruction"),
        }
    }

    /// `iadd_imm v0, 5`.
    pub(super) fn immediate_operands(
        &mut self,
        body: &mut Body,
        block: Block,
        opcode: Opcode,
        swapped: bool,
        loc: SrcLoc,
    ) -> PResult<InstData> {
        let aux = if opcode == Opcode::Icmp { self.int_cc()? } else { 0 };
        let x = self.value(body)?;
        self.punct(',')?;
        let imm = self.number("a 64-bit integer", |t| parse_int(t, 64))?;
        let constant = body.immediate(block, imm as u64, x, loc);
        let (x, y) = if swapped { (constant, x) } else { (x, constant) };
        Ok(InstData::binary(opcode, types::INVALID, x, y).with_aux(aux))
    }

    /// The operands of `opcode`, values as slots.
    pub(super) fn operands(&mut self, body: &mut Body, op: Opcode, ctrl: Option<Type>) -> PResult<InstData> {
        let ty = types::INVALID;
        let ctrl = ctrl.unwrap_or(types::INVALID);
        let words = |a, b, c| InstData::new(op, ty, a, b, c);
        Ok(match op.row().format {
            Format::Nullary => words(0, 0, 0),
            Format::Unary => InstData::unary(op, ty, self.value(body)?),
            Format::Binary => {
                let [x, y] = self.values(body)?;
                InstData::binary(op, ty, x, y)
            }
            Format::Ternary => {
                let [x, y, z] = self.values(body)?;
                InstData::ternary(op, ty, x, y, z)
            }
            Format::UnaryImm => {
                let bits = self.integer(ctrl)?;
                InstData { opcode: op, ..InstData::iconst(ctrl, bits as i64) }
            }
            Format::UnaryF16 => words(self.float(types::F16)? as u32, 0, 0),
            Format::UnaryF32 => words(self.float(types::F32)? as u32, 0, 0),
            Format::UnaryF64 => {
                let bits = self.float(types::F64)? as u64;
                words(bits as u32, (bits >> 32) as u32, 0)
            }
            Format::UnaryConst => {
                let ty = if op == Opcode::F128const { types::F128 } else { ctrl };
                words(self.constant(body, ty)?, 0, 0)
            }
            Format::IntCompare => {
                let cc = self.int_cc()?;
                let [x, y] = self.values(body)?;
                InstData::binary(op, ty, x, y).with_aux(cc)
            }
            Format::FloatCompare => {
                let cc = self.named("a float condition", FloatCC::parse)? as u16;
                let [x, y] = self.values(body)?;
                InstData::binary(op, ty, x, y).with_aux(cc)
            }
            Format::BinaryTrap => {
                let [x, y] = self.values(body)?;
                self.punct(',')?;
                InstData::binary(op, ty, x, y).with_aux(self.trap_code()?)
            }
            Format::Trap => words(0, 0, 0).with_aux(self.trap_code()?),
            Format::CondTrap => {
                let x = self.value(body)?;
                self.punct(',')?;
                InstData::unary(op, ty, x).with_aux(self.trap_code()?)
            }
            Format::Jump | Format::Brif | Format::BrTable | Format::Return => self.control(body, op)?,
            Format::Call | Format::CallIndirect | Format::TryCall | Format::TryCallIndirect => {
                self.call(body, op)?
            }
            Format::FuncAddr => words(self.func_ref(body)?, 0, 0),
            Format::GlobalValue => {
                let (at, number) = (self.at, self.entity("gv")?);
                words(body.global_values.get(self, at, "gv", number)?, 0, 0)
            }
            Format::ExtractLane => {
                let x = self.value(body)?;
                self.punct(',')?;
                InstData::unary(op, ty, x).with_aux(self.lane()?)
            }
            Format::InsertLane => {
                let [x, y] = self.values(body)?;
                self.punct(',')?;
                InstData::binary(op, ty, x, y).with_aux(self.lane()?)
            }
            Format::Shuffle => {
                let [x, y] = self.values(body)?;
                self.punct(',')?;
                words(x.as_u32(), y.as_u32(), self.constant(body, types::I8X16)?)
            }
            Format::Load
            | Format::Store
            | Format::LoadNoOffset
            | Format::StoreNoOffset
            | Format::AtomicRmw
            | Format::AtomicCas
            | Format::StackLoad
            | Format::StackStore => self.memory(body, op)?,
            Format::BlockParam | Format::Projection | Format::Alias => return self.failure("an instruction"),
        })
    }

    fn control(&mut self, body: &mut Body, op: Opcode) -> PResult<InstData> {
        let words = |a, b, c| InstData::new(op, types::INVALID, a, b, c);
        Ok(match op.row().format {
            Format::Jump => words(self.block_call(body, None)?.as_u32(), 0, 0),
            Format::Brif => {
                let x = self.value(body)?;
                self.punct(',')?;
                let then = self.block_call(body, None)?;
                self.punct(',')?;
                let other = self.block_call(body, None)?;
                words(x.as_u32(), then.as_u32(), other.as_u32())
            }
            Format::BrTable => {
                let x = self.value(body)?;
                self.punct(',')?;
                let default = self.block_call(body, None)?;
                let mut calls = EntityList::from_slice(&[default], &mut body.func.lists);
                self.punct(',')?;
                self.punct('[')?;
                if !self.eat_punct(']') {
                    loop {
                        let call = self.block_call(body, None)?;
                        calls.push(call, &mut body.func.lists);
                        if !self.eat_punct(',') {
                            break;
                        }
                    }
                    self.punct(']')?;
                }
                words(x.as_u32(), calls.as_u32(), 0)
            }
            _ => {
                let mut values = EntityList::EMPTY;
                if self.numbered("v").is_some() {
                    loop {
                        let value = self.value(body)?;
                        values.push(value, &mut body.func.lists);
                        if !self.eat_punct(',') {
                            break;
                        }
                    }
                }
                words(values.as_u32(), 0, 0)
            }
        })
    }

    fn call(&mut self, body: &mut Body, op: Opcode) -> PResult<InstData> {
        let words = |a, b, c| InstData::new(op, types::INVALID, a, b, c);
        Ok(match op.row().format {
            Format::Call => {
                let callee = self.func_ref(body)?;
                words(callee, self.value_list(body)?.as_u32(), 0)
            }
            Format::CallIndirect => {
                let sig = self.sig_ref(body)?;
                self.punct(',')?;
                let callee = self.value(body)?;
                words(sig.as_u32(), callee.as_u32(), self.value_list(body)?.as_u32())
            }
            Format::TryCall => {
                let callee = self.func_ref(body)?;
                let args = self.value_list(body)?;
                words(callee, args.as_u32(), self.exception_table(body)?)
            }
            _ => {
                let callee = self.value(body)?;
                let args = self.value_list(body)?;
                words(callee.as_u32(), args.as_u32(), self.exception_table(body)?)
            }
        })
    }

    /// `, sig0, block1(ret0), [ tag1: block2(exn0), default: block3 ]`.
    fn exception_table(&mut self, body: &mut Body) -> PResult<u32> {
        self.punct(',')?;
        let signature = self.sig_ref(body)?;
        self.punct(',')?;
        let normal = self.block_call(body, Some((signature, "ret")))?;
        self.punct(',')?;
        self.punct('[')?;
        let mut handlers = Vec::new();
        while !self.is_punct(']') {
            let tag = match self.numbered("tag") {
                _ if self.is_word("default") => None,
                Some(tag) => Some(tag),
                None => return self.failure("`tagN`, `default` or `]`"),
            };
            self.advance();
            self.punct(':')?;
            handlers.push((tag, self.block_call(body, Some((signature, "exn")))?));
            if !self.eat_punct(',') {
                break;
            }
        }
        self.punct(']')?;
        Ok(body.func.exception_tables.push(ExceptionTableData { signature, normal, handlers }).as_u32())
    }

    /// `block1` or `block1(v0, v1)`. Arguments of a `try_call`'s blocks may name what the call gives: `ret0`, `exn1`.
    fn block_call(&mut self, body: &mut Body, own: Option<(SigRef, &str)>) -> PResult<BlockCall> {
        let at = self.at;
        let number = self.entity("block")?;
        let block = body.block(number, at);
        let head = Value::from_u32(block.as_u32());
        let mut list = EntityList::from_slice(&[head], &mut body.func.lists);
        if self.eat_punct('(') && !self.eat_punct(')') {
            loop {
                let arg = match own {
                    Some((sig, prefix)) => match self.numbered(prefix) {
                        Some(index) => self.own_result(body, sig, prefix, index)?,
                        None => self.value(body)?,
                    },
                    None => self.value(body)?,
                };
                list.push(arg, &mut body.func.lists);
                if !self.eat_punct(',') {
                    break;
                }
            }
            self.punct(')')?;
        }
        Ok(BlockCall::from_u32(list.as_u32()))
    }

    fn own_result(&mut self, body: &mut Body, sig: SigRef, prefix: &str, index: u32) -> PResult<Value> {
        let returns = &body.func.signatures[sig].returns;
        let (ty, index) = match (prefix, returns.get(index as usize)) {
            ("ret", Some(result)) => (result.ty, index),
            ("exn", _) if index < 2 => (types::I64, index | EXCEPTION_PAYLOAD),
            _ => return self.failure("a result of the call"),
        };
        self.advance();
        let slot = body.anonymous_slot(Value::NONE);
        body.own_results.push((slot.as_u32(), index, ty));
        Ok(slot)
    }

    fn memory(&mut self, body: &mut Body, op: Opcode) -> PResult<InstData> {
        let ty = types::INVALID;
        let words = |a, b, c| InstData::new(op, ty, a, b, c);
        let format = op.row().format;
        let stack = matches!(format, Format::StackLoad | Format::StackStore);
        let aux = if stack {
            0
        } else {
            let flags = self.memory_flags(body)?;
            body.flags(flags)
        };
        let data = match format {
            Format::Load => {
                let address = self.value(body)?;
                words(address.as_u32(), self.offset()? as u32, 0)
            }
            Format::Store => {
                let [value, address] = self.values(body)?;
                words(value.as_u32(), address.as_u32(), self.offset()? as u32)
            }
            Format::LoadNoOffset => InstData::unary(op, ty, self.value(body)?),
            Format::StoreNoOffset => {
                let [value, address] = self.values(body)?;
                InstData::binary(op, ty, value, address)
            }
            Format::AtomicRmw => {
                let rmw = self.named("an atomic operation", AtomicRmwOp::parse)?;
                let [address, value] = self.values(body)?;
                words(address.as_u32(), value.as_u32(), rmw as u32)
            }
            Format::AtomicCas => {
                let [address, expected, new] = self.values(body)?;
                InstData::ternary(op, ty, address, expected, new)
            }
            Format::StackStore => {
                let value = self.value(body)?;
                self.punct(',')?;
                let slot = self.slot(body)?;
                words(value.as_u32(), slot, self.offset()? as u32)
            }
            _ => {
                let slot = self.slot(body)?;
                words(slot, self.offset()? as u32, 0)
            }
        };
        Ok(data.with_aux(aux))
    }

    /// Memory flags, in any order, none twice of a kind.
    pub(super) fn memory_flags(&mut self, body: &Body) -> PResult<MemFlags> {
        let mut flags = MemFlags::DEFAULT;
        while self.peek() == Kind::Word {
            let word = self.slice();
            match word {
                "notrap" => flags.trap = None,
                "aligned" => flags.aligned = true,
                "readonly" => flags.readonly = true,
                "can_move" => flags.can_move = true,
                "little" => flags.endian = Endian::Little,
                "big" => flags.endian = Endian::Big,
                "checked" => {} // a promise to another engine's proof checker; nothing here depends on it
                _ => match (TrapCode::parse(word), numbered(word, "region")) {
                    (Some(code), _) => flags.trap = Some(code),
                    (_, Some(number)) => flags.region = self.region(body, number)?,
                    _ => break,
                },
            }
            self.advance();
        }
        Ok(flags)
    }

    /// `+8`, `-0x10`, or nothing.
    pub(super) fn offset(&mut self) -> PResult<i32> {
        if self.peek() != Kind::Number || !self.slice().starts_with(['+', '-']) {
            return Ok(0);
        }
        self.number("a 32-bit signed offset", |t| i32::try_from(parse_int(t, 64)? as i64).ok())
    }

    fn values<const N: usize>(&mut self, body: &mut Body) -> PResult<[Value; N]> {
        let mut values = [Value::NONE; N];
        for (k, value) in values.iter_mut().enumerate() {
            if k > 0 {
                self.punct(',')?;
            }
            *value = self.value(body)?;
        }
        Ok(values)
    }

    fn named<T>(&mut self, what: &str, parse: impl Fn(&str) -> Option<T>) -> PResult<T> {
        let found = if self.peek() == Kind::Word { parse(self.slice()) } else { None };
        match found {
            Some(found) => {
                self.advance();
                Ok(found)
            }
            None => self.failure(what),
        }
    }

    fn int_cc(&mut self) -> PResult<u16> {
        self.named("an integer condition", IntCC::parse).map(|cc| cc as u16)
    }

    fn trap_code(&mut self) -> PResult<u16> {
        self.named("a trap code", TrapCode::parse).map(|code| code.as_u8() as u16)
    }

    fn lane(&mut self) -> PResult<u16> {
        self.number("a lane's number", |t| t.parse::<u8>().ok()).map(u16::from)
    }

    fn integer(&mut self, ty: Type) -> PResult<u128> {
        let bits = ty.bits().clamp(8, 64);
        let wide = ty.bits() > 64;
        // A wide constant has 64 bits of its own, zero above.
        self.number(&format!("an integer of {bits} bits"), |t| {
            parse_int(t, bits).filter(|_| !wide || !t.starts_with('-'))
        })
    }

    fn float(&mut self, ty: Type) -> PResult<u128> {
        let word = matches!(self.peek(), Kind::Word | Kind::Number);
        match word.then(|| parse_float(self.slice(), ty)).flatten() {
            Some(bits) => {
                self.advance();
                Ok(bits)
            }
            None => self.failure(format!("a number of type `{ty}`")),
        }
    }

    fn func_ref(&mut self, body: &Body) -> PResult<u32> {
        let (at, number) = (self.at, self.entity("fn")?);
        body.ext_funcs.get(self, at, "fn", number)
    }

    fn sig_ref(&mut self, body: &Body) -> PResult<SigRef> {
        let (at, number) = (self.at, self.entity("sig")?);
        body.signatures.get(self, at, "sig", number).map(SigRef::from_u32)
    }

    fn slot(&mut self, body: &Body) -> PResult<u32> {
        let (at, number) = (self.at, self.entity("ss")?);
        body.stack_slots.get(self, at, "ss", number)
    }

    /// The bytes of a constant of type `ty`: `const0`, `0x...`, `[1 2 3 4]`, or a scalar.
    fn constant(&mut self, body: &mut Body, ty: Type) -> PResult<u32> {
        let size = ty.bytes() as usize;
        let at = self.at;
        let mut bytes: Vec<u8> = if let Some(number) = self.numbered("const") {
            self.advance();
            let id = body.constants.get(self, at, "const", number)?;
            body.func.constants[crate::function::Constant::from_u32(id)].to_vec()
        } else if self.eat_punct('[') {
            let mut bytes = Vec::new();
            while !self.eat_punct(']') {
                bytes.extend_from_slice(&self.lane_bytes(ty.lane_type())?);
                self.eat_punct(',');
                if bytes.len() > size {
                    break;
                }
            }
            if bytes.len() != size {
                return self.failure_at(at, format!("{} lanes", ty.lane_count()), None);
            }
            bytes
        } else if ty == types::F128 {
            self.float(ty)?.to_le_bytes().to_vec()
        } else {
            self.number("constant bytes", hex_bytes)?.into_vec()
        };
        if bytes.len() > size {
            return self.failure_at(at, format!("at most {size} bytes"), None);
        }
        bytes.resize(size, 0);
        Ok(body.constant(bytes.into()).as_u32())
    }

    fn lane_bytes(&mut self, lane: Type) -> PResult<Vec<u8>> {
        let bits = if lane.is_float() {
            self.float(lane)?
        } else {
            let width = lane.bits();
            self.number(&format!("an integer of {width} bits"), |t| parse_int(t, width))?
        };
        Ok(bits.to_le_bytes()[..lane.bytes() as usize].to_vec())
    }
}

/// The bytes of `0x...`, least significant first.
pub(super) fn hex_bytes(text: &str) -> Option<Box<[u8]>> {
    let digits: Vec<u8> = text
        .strip_prefix("0x")?
        .chars()
        .filter(|c| *c != '_')
        .map(|c| c.to_digit(16).map(|d| d as u8))
        .collect::<Option<_>>()?;
    if digits.is_empty() {
        return None;
    }
    Some(digits.rchunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}
