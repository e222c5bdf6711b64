//! What stands before the blocks: names, signatures and the declared entities.

use super::body::Body;
use super::lexer::{Kind, unquote};
use super::operands::hex_bytes;
use super::{PResult, Parser, numbered};
use crate::function::{ExtFunc, GlobalValue, GlobalValueData, InlineNode, Region, SigRef, StackSlotData};
use crate::number::parse_int;
use crate::signature::{AbiParam, CallConv, Extension, ExternalName, Purpose, Signature};
use crate::types::Type;

impl Parser<'_> {
    /// `%name`, `%"name"` or `u0:1`.
    pub(super) fn external_name(&mut self) -> PResult<ExternalName> {
        let text = self.slice();
        match self.peek() {
            Kind::Name if text.starts_with("%\"") => match unquote(&text[1..]) {
                Some(name) if !name.is_empty() => {
                    self.advance();
                    Ok(ExternalName::symbol(&name))
                }
                _ => self.failure("a name in quotes"),
            },
            Kind::Name if text.len() > 1 => {
                self.advance();
                Ok(ExternalName::symbol(&text[1..]))
            }
            Kind::Word => match numbered(text, "u") {
                Some(namespace) if self.peek_second() == Kind::Punct(':') => {
                    self.advance();
                    self.advance();
                    let index = self.number("an index", |t| t.parse::<u32>().ok())?;
                    Ok(ExternalName::User { namespace, index })
                }
                _ => self.failure("a name: `%name` or `u0:0`"),
            },
            _ => self.failure("a name: `%name` or `u0:0`"),
        }
    }

    /// A type's name.
    pub(super) fn ty(&mut self) -> PResult<Type> {
        match (self.peek(), Type::parse(self.slice())) {
            (Kind::Word, Some(ty)) => {
                self.advance();
                Ok(ty)
            }
            _ => self.failure("a type"),
        }
    }

    /// `(i32, i64 vmctx) -> f32 fast`.
    pub(super) fn signature(&mut self) -> PResult<Signature> {
        let mut signature = Signature::new(CallConv::SystemV);
        self.punct('(')?;
        if !self.is_punct(')') {
            signature.params = self.abi_params()?;
        }
        self.punct(')')?;
        if self.eat_arrow() {
            signature.returns = self.abi_params()?;
        }
        if self.peek() == Kind::Word
            && let Some(call_conv) = CallConv::parse(self.slice())
        {
            self.advance();
            signature.call_conv = call_conv;
        }
        Ok(signature)
    }

    fn abi_params(&mut self) -> PResult<Vec<AbiParam>> {
        let mut params = Vec::new();
        loop {
            let mut param = AbiParam::new(self.ty()?);
            while self.peek() == Kind::Word {
                match self.slice() {
                    "uext" => param.extension = Extension::Unsigned,
                    "sext" => param.extension = Extension::Signed,
                    word => match Purpose::parse(word) {
                        Some(purpose) => param.purpose = purpose,
                        None => break,
                    },
                }
                self.advance();
            }
            params.push(param);
            if !self.eat_punct(',') {
                return Ok(params);
            }
        }
    }

    /// The declarations before the first block.
    pub(super) fn preamble(&mut self, body: &mut Body) -> PResult<()> {
        while self.peek() == Kind::Word {
            let word = self.slice();
            let prefix_length = word.bytes().take_while(|b| !b.is_ascii_digit()).count();
            let prefix = &word[..prefix_length];
            match prefix {
                "block" => return Ok(()),
                "stack_limit" => {
                    self.advance();
                    self.punct('=')?;
                    let at = self.at;
                    let number = self.entity("gv")?;
                    let gv = body.global_values.get(self, at, "gv", number)?;
                    body.func.stack_limit = Some(GlobalValue::from_u32(gv));
                }
                "ss" | "gv" | "sig" | "fn" | "const" | "region" | "inline" => {
                    let at = self.at;
                    let number = self.entity(prefix)?;
                    self.punct('=')?;
                    self.declaration(prefix, at, number, body)?;
                }
                _ => return self.failure("a declaration or a block"),
            }
        }
        Ok(())
    }

    fn declaration(&mut self, prefix: &str, at: usize, number: u32, body: &mut Body) -> PResult<()> {
        match prefix {
            "ss" => {
                let slot = self.stack_slot()?;
                let id = body.func.stack_slots.push(slot).as_u32();
                body.stack_slots.define(self, at, number, id)
            }
            "gv" => {
                let data = self.global_value(body)?;
                let id = body.func.global_values.push(data).as_u32();
                body.global_values.define(self, at, number, id)
            }
            "sig" => {
                let signature = self.signature()?;
                let id = body.func.signatures.push(signature).as_u32();
                body.signatures.define(self, at, number, id)
            }
            "fn" => {
                let data = self.ext_func(body)?;
                let id = body.func.ext_funcs.push(data).as_u32();
                body.ext_funcs.define(self, at, number, id)
            }
            "const" => {
                let bytes = self.number("constant bytes in hexadecimal", hex_bytes)?;
                let id = body.constant(bytes).as_u32();
                body.constants.define(self, at, number, id)
            }
            "region" => {
                let tag = self.number("a region's number", |t| t.parse::<u32>().ok())?;
                let mut description = String::new();
                if self.peek() == Kind::Text {
                    match unquote(self.slice()) {
                        Some(text) => description = text,
                        None => return self.failure("a text in quotes"),
                    }
                    self.advance();
                }
                let id = body.func.regions.push((tag, description.into())).as_u32();
                body.regions.define(self, at, number, id)
            }
            _ => self.inline_node(at, number, body),
        }
    }

    /// `explicit_slot 16, align = 8`.
    fn stack_slot(&mut self) -> PResult<StackSlotData> {
        if !self.eat_word("explicit_slot") {
            return self.failure("`explicit_slot`");
        }
        let size = self.number("a size in bytes", |t| u32::try_from(parse_int(t, 33)?).ok())?;
        let mut slot = StackSlotData { size, align_shift: 0 };
        while self.eat_punct(',') {
            let name = self.word("`align` or `key`")?;
            self.punct('=')?;
            match name {
                "align" => {
                    let align = self.number("a power of two up to 65536", |t| {
                        t.parse::<u32>().ok().filter(|n| n.is_power_of_two() && *n <= 65536)
                    })?;
                    slot.align_shift = align.trailing_zeros() as u8;
                }
                "key" => {
                    self.number("a number", |t| parse_int(t, 64))?;
                }
                _ => return self.failure_at(self.at - 2, "`align` or `key`", None),
            }
        }
        Ok(slot)
    }

    fn global_value(&mut self, body: &mut Body) -> PResult<GlobalValueData> {
        let at = self.at;
        match self.word("a global value's kind")? {
            "vmctx" => Ok(GlobalValueData::VmContext),
            "load" => {
                self.punct('.')?;
                let ty = self.ty()?;
                let flags = self.memory_flags(body)?;
                let base = self.base(body)?;
                let offset = self.offset()?;
                Ok(GlobalValueData::Load { base, offset, ty, flags })
            }
            "iadd_imm" => {
                self.punct('.')?;
                let ty = self.ty()?;
                let base = self.base(body)?;
                self.punct(',')?;
                let offset = self.number("a 64-bit integer", |t| parse_int(t, 64))? as i64;
                Ok(GlobalValueData::IaddImm { base, offset, ty })
            }
            "symbol" => {
                let colocated = self.eat_word("colocated");
                let tls = self.eat_word("tls");
                let name = self.external_name()?;
                let mut offset = 0;
                if self.peek() == Kind::Number && self.slice().starts_with(['+', '-']) {
                    offset = self.number("a 64-bit offset", |t| parse_int(t, 64))? as i64;
                }
                Ok(GlobalValueData::Symbol { name, offset, colocated, tls })
            }
            _ => self.failure_at(at, "`vmctx`, `load`, `iadd_imm` or `symbol`", None),
        }
    }

    fn base(&mut self, body: &Body) -> PResult<GlobalValue> {
        let at = self.at;
        let number = self.entity("gv")?;
        body.global_values.get(self, at, "gv", number).map(GlobalValue::from_u32)
    }

    /// `colocated leaves %name sig0` or `%name(i32) -> i32`.
    fn ext_func(&mut self, body: &mut Body) -> PResult<ExtFunc> {
        let (mut colocated, mut leaves) = (false, false);
        loop {
            match () {
                () if self.eat_word("colocated") => colocated = true,
                () if self.eat_word("leaves") => leaves = true,
                () => break,
            }
        }
        let name = self.external_name()?;
        let signature = if self.is_punct('(') {
            let signature = self.signature()?;
            let sig = body.func.signatures.push(signature);
            body.signatures.imply(sig.as_u32());
            sig
        } else {
            let at = self.at;
            let number = self.entity("sig")?;
            SigRef::from_u32(body.signatures.get(self, at, "sig", number)?)
        };
        Ok(ExtFunc { name, signature, colocated, leaves })
    }

    /// `inline1 = PARENT, FUNCTION, @OFFSET`: the inline tree in order.
    fn inline_node(&mut self, at: usize, number: u32, body: &mut Body) -> PResult<()> {
        let nodes = &mut body.func.inline_nodes;
        if nodes.is_empty() {
            nodes.push(InlineNode { parent: 0, function: 0, call_offset: u32::MAX });
        }
        if number as usize != nodes.len() {
            return self.failure_at(at, format!("`inline{}`", nodes.len()), None);
        }
        let parent = self.number("an earlier node", |t| t.parse().ok().filter(|p| *p < number))?;
        self.punct(',')?;
        let function = self.number("a function's index", |t| t.parse().ok())?;
        self.punct(',')?;
        let loc = self.source_location()?;
        nodes.push(InlineNode { parent, function, call_offset: loc.offset });
        Ok(())
    }

    /// A region's name, as it stands among memory flags.
    pub(super) fn region(&mut self, body: &Body, number: u32) -> PResult<Region> {
        body.regions.get(self, self.at, "region", number).map(Region::from_u32)
    }
}
