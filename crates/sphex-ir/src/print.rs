//! Functions to CLIF text.
//!
//! Needs: a placed function. Gives: text that parses to an equal function; printing that again gives the same text.
//! Values keep the numbers that `value_names` has; the others are numbered behind them in order of appearance. Aliases are
//! printed as what they stand for.

use crate::function::{
    Block, BlockCall, Constant, EXCEPTION_PAYLOAD, ExceptionTable, FuncRef, Function, GlobalValueData,
    SigRef, SrcLoc, Value,
};
use crate::immediates::{AtomicRmwOp, Endian, MemFlags, TrapCode};
use crate::number::{format_float, format_int};
use crate::table::{Ctrl, Format, Opcode};
use crate::types;
use core::fmt::{self, Write};
use rustc_hash::FxHashMap;
use sphex_entity::SecondaryMap;

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Printer::new(self).function())
    }
}

/// Prints parts of one function with consistent value numbers.
#[derive(Debug)]
pub struct Printer<'f> {
    func: &'f Function,
    numbers: SecondaryMap<Value, u32>,
    constants: FxHashMap<Constant, u32>,
    constant_order: Vec<Constant>,
}

// Writing to a `String` cannot fail; the results are dropped with `let _`.
impl<'f> Printer<'f> {
    /// Numbers the values of `func`.
    pub fn new(func: &'f Function) -> Self {
        let mut printer = Self {
            func,
            numbers: SecondaryMap::with_default(u32::MAX),
            constants: FxHashMap::default(),
            constant_order: Vec::new(),
        };
        printer.number_values();
        printer
    }

    fn number_values(&mut self) {
        let func = self.func;
        let named = func.value_names.iter().map(|(_, number)| *number).filter(|n| *n != u32::MAX).max();
        let first = named.map_or(0, |n| n as u64 + 1);
        let keep = first + (func.insts.len() as u64) < u32::MAX as u64;
        let mut next = if keep { first as u32 } else { 0 };
        let mut number = |numbers: &mut SecondaryMap<Value, u32>, value: Value| {
            let name = *func.value_names.get(value);
            numbers[value] = if keep && name != u32::MAX {
                name
            } else {
                next += 1;
                next - 1
            };
        };
        for &block in &func.layout {
            for param in func.block_params(block) {
                number(&mut self.numbers, param);
            }
            for &inst in &func.blocks[block].insts {
                for result in func.results(inst) {
                    number(&mut self.numbers, result);
                }
                if func.insts[inst].format() == Format::UnaryConst {
                    let constant = Constant::from_u32(func.insts[inst].a);
                    if func.insts[inst].opcode != Opcode::F128const && !self.constants.contains_key(&constant)
                    {
                        self.constants.insert(constant, self.constant_order.len() as u32);
                        self.constant_order.push(constant);
                    }
                }
            }
        }
        for value in func.insts.keys() {
            if self.numbers[value] == u32::MAX && !func.insts[value].ty.is_invalid() {
                number(&mut self.numbers, value);
            }
        }
    }

    /// The value's name in text.
    pub fn value(&self, value: Value) -> String {
        let mut value = value;
        // Bounded, so that a malformed function can still be shown.
        for _ in 0..self.func.insts.len() {
            match self.func.insts.get(value) {
                Some(data) if data.opcode == Opcode::Alias => value = Value::from_u32(data.a),
                _ => break,
            }
        }
        match self.func.insts.get(value).map(|data| (data.opcode, data.b)) {
            None => format!("v-undefined-{}", value.as_u32()),
            Some((Opcode::Projection, index)) if self.is_own_result(value) => match index & EXCEPTION_PAYLOAD
            {
                0 => format!("ret{index}"),
                _ => format!("exn{}", index & !EXCEPTION_PAYLOAD),
            },
            Some(_) => format!("v{}", self.numbers[value]),
        }
    }

    /// Whether a projection is what a `try_call` hands to its blocks.
    fn is_own_result(&self, value: Value) -> bool {
        let inst = Value::from_u32(self.func.insts[value].a);
        let format = self.func.insts.get(inst).map(|data| data.format());
        matches!(format, Some(Format::TryCall | Format::TryCallIndirect))
    }

    fn values(&self, values: impl Iterator<Item = Value>) -> String {
        let names: Vec<String> = values.map(|v| self.value(v)).collect();
        names.join(", ")
    }

    /// The whole function.
    pub fn function(&self) -> String {
        let func = self.func;
        let mut out = format!("function {}{} {{\n", func.name, func.signature);
        let head = out.len();
        self.preamble(&mut out);
        let mut first = out.len() == head;
        for &block in &func.layout {
            if !first {
                out.push('\n');
            }
            first = false;
            out.push_str(&self.block_header(block));
            out.push('\n');
            for &inst in &func.blocks[block].insts {
                let _ = writeln!(out, "    {}", self.inst(inst));
            }
        }
        out.push_str("}\n");
        out
    }

    fn preamble(&self, out: &mut String) {
        let func = self.func;
        for (id, slot) in func.stack_slots.iter() {
            let _ = write!(out, "    {id} = explicit_slot {}", slot.size);
            if slot.align_shift != 0 {
                let _ = write!(out, ", align = {}", 1u64 << slot.align_shift);
            }
            out.push('\n');
        }
        for (id, (number, description)) in func.regions.iter() {
            let _ = writeln!(out, "    {id} = {number} {}", quote(description));
        }
        for (id, data) in func.global_values.iter() {
            let _ = writeln!(out, "    {id} = {}", global_value(data));
        }
        for (id, signature) in func.signatures.iter() {
            let _ = writeln!(out, "    {id} = {signature}");
        }
        for (id, ext) in func.ext_funcs.iter() {
            let colocated = if ext.colocated { "colocated " } else { "" };
            let leaves = if ext.leaves { "leaves " } else { "" };
            let _ = writeln!(out, "    {id} = {colocated}{leaves}{} {}", ext.name, ext.signature);
        }
        for (k, constant) in self.constant_order.iter().enumerate() {
            let bytes = func.constants.get(*constant).map_or(&[][..], |bytes| bytes);
            let _ = writeln!(out, "    const{k} = {}", hex(bytes));
        }
        if let Some(limit) = func.stack_limit {
            let _ = writeln!(out, "    stack_limit = {limit}");
        }
        for (k, node) in func.inline_nodes.iter().enumerate().skip(1) {
            let (parent, function) = (node.parent, node.function);
            let _ = writeln!(out, "    inline{k} = {parent}, {function}, @{:04x}", node.call_offset);
        }
    }

    /// `block0(v0: i32) cold:`.
    pub fn block_header(&self, block: Block) -> String {
        let mut out = block.to_string();
        let params: Vec<String> = self
            .func
            .block_params(block)
            .map(|param| format!("{}: {}", self.value(param), self.func.type_of(param)))
            .collect();
        if !params.is_empty() {
            let _ = write!(out, "({})", params.join(", "));
        }
        if self.func.blocks[block].cold {
            out.push_str(" cold");
        }
        out.push(':');
        out
    }

    /// An instruction's line, without indentation.
    pub fn inst(&self, inst: Value) -> String {
        let data = &self.func.insts[inst];
        let row = data.opcode.row();
        let mut out = String::new();
        let loc = *self.func.srclocs.get(inst);
        if !loc.is_none() {
            let _ = write!(out, "{} ", location(loc));
        }
        if self.func.result_count(inst) > 0 {
            let _ = write!(out, "{} = ", self.values(self.func.results(inst)));
        }
        out.push_str(row.name);
        if row.ctrl == Ctrl::Suffix {
            let _ = write!(out, ".{}", data.ty);
        }
        let operands = self.operands(inst);
        if !operands.is_empty() {
            out.push(' ');
            out.push_str(&operands);
        }
        out
    }

    fn operands(&self, inst: Value) -> String {
        let func = self.func;
        let data = &func.insts[inst];
        let fixed = self.values(func.operands(inst).into_iter());
        let arguments = || self.values(func.arguments(inst));
        let code = || TrapCode::from_u8(data.aux as u8).map_or("user0".to_string(), |code| code.to_string());
        let offset = || match data.offset() {
            0 => String::new(),
            offset => format!("{offset:+}"),
        };
        match data.format() {
            Format::Nullary => String::new(),
            Format::Unary | Format::Binary | Format::Ternary | Format::Return => fixed,
            Format::UnaryImm => match data.ty {
                types::I128 => format_int(data.imm64() as u128, 128),
                ty => format_int(data.imm64() as u128, ty.bits().clamp(8, 64)),
            },
            Format::UnaryF16 => format_float(data.a as u128, types::F16),
            Format::UnaryF32 => format_float(data.a as u128, types::F32),
            Format::UnaryF64 => format_float(data.imm64() as u128, types::F64),
            Format::UnaryConst => self.constant(Constant::from_u32(data.a), data.opcode),
            Format::IntCompare => format!("{} {fixed}", data.int_cc()),
            Format::FloatCompare => format!("{} {fixed}", data.float_cc()),
            Format::BinaryTrap | Format::CondTrap => format!("{fixed}, {}", code()),
            Format::Trap => code(),
            Format::Jump => self.block_call(BlockCall::from_u32(data.a)),
            Format::Brif | Format::BrTable => self.branch(inst),
            Format::Call => format!("{}({})", FuncRef::from_u32(data.a), arguments()),
            Format::CallIndirect => {
                let callee = self.value(Value::from_u32(data.b));
                format!("{}, {callee}({})", SigRef::from_u32(data.a), arguments())
            }
            Format::TryCall | Format::TryCallIndirect => self.try_call(inst),
            Format::FuncAddr => FuncRef::from_u32(data.a).to_string(),
            Format::Load => format!("{}{fixed}{}", flags_text(func.flags(inst)), offset()),
            Format::Store => format!("{}{fixed}{}", flags_text(func.flags(inst)), offset()),
            Format::LoadNoOffset | Format::StoreNoOffset | Format::AtomicCas => {
                format!("{}{fixed}", flags_text(func.flags(inst)))
            }
            Format::AtomicRmw => {
                let op = AtomicRmwOp::from_u16(data.c as u16).map_or("add", |op| op.name());
                format!("{}{op} {fixed}", flags_text(func.flags(inst)))
            }
            Format::StackLoad => format!("ss{}{}", data.a, offset()),
            Format::StackStore => format!("{fixed}, ss{}{}", data.b, offset()),
            Format::GlobalValue => format!("gv{}", data.a),
            Format::ExtractLane | Format::InsertLane => format!("{fixed}, {}", data.aux),
            Format::Shuffle => {
                let bytes = func.constants.get(Constant::from_u32(data.c)).map_or(&[][..], |bytes| bytes);
                let lanes: Vec<String> = bytes.iter().map(u8::to_string).collect();
                format!("{fixed}, [{}]", lanes.join(" "))
            }
            Format::BlockParam | Format::Projection | Format::Alias => {
                format!("{}, {}", data.a, data.b)
            }
        }
    }

    fn constant(&self, constant: Constant, opcode: Opcode) -> String {
        if opcode != Opcode::F128const {
            return self.constants.get(&constant).map_or("const-none".to_string(), |k| format!("const{k}"));
        }
        let mut bits = [0; 16];
        if let Some(bytes) = self.func.constants.get(constant).filter(|bytes| bytes.len() == 16) {
            bits.copy_from_slice(bytes);
        }
        format_float(u128::from_le_bytes(bits), types::F128)
    }

    /// `block1(v0, v1)`.
    pub fn block_call(&self, call: BlockCall) -> String {
        let target = self.func.block_call_target(call);
        let args = self.values(self.func.block_call_args(call));
        if args.is_empty() { target.to_string() } else { format!("{target}({args})") }
    }

    fn branch(&self, inst: Value) -> String {
        let func = self.func;
        let data = &func.insts[inst];
        let x = self.value(Value::from_u32(data.a));
        let calls: Vec<String> =
            func.block_calls(inst).into_iter().map(|call| self.block_call(call)).collect();
        match (data.format(), calls.split_first()) {
            (Format::BrTable, Some((default, rest))) => format!("{x}, {default}, [{}]", rest.join(", ")),
            _ => format!("{x}, {}", calls.join(", ")),
        }
    }

    fn try_call(&self, inst: Value) -> String {
        let func = self.func;
        let data = &func.insts[inst];
        let callee = match data.format() {
            Format::TryCall => FuncRef::from_u32(data.a).to_string(),
            _ => self.value(Value::from_u32(data.a)),
        };
        let args = self.values(func.arguments(inst));
        let table = &func.exception_tables[ExceptionTable::from_u32(data.c)];
        let handlers: Vec<String> = table
            .handlers
            .iter()
            .map(|(tag, call)| match tag {
                Some(tag) => format!("tag{tag}: {}", self.block_call(*call)),
                None => format!("default: {}", self.block_call(*call)),
            })
            .collect();
        let (sig, normal) = (table.signature, self.block_call(table.normal));
        let open = if handlers.is_empty() { "[" } else { "[ " };
        let close = if handlers.is_empty() { "]" } else { " ]" };
        format!("{callee}({args}), {sig}, {normal}, {open}{}{close}", handlers.join(", "))
    }
}

fn location(loc: SrcLoc) -> String {
    if loc.node == 0 { format!("@{:04x}", loc.offset) } else { format!("@{}:{:04x}", loc.node, loc.offset) }
}

fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The bytes as one hexadecimal number, most significant first.
fn hex(bytes: &[u8]) -> String {
    let mut out = String::from("0x");
    for byte in bytes.iter().rev() {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// Memory flags, each with a space behind it.
fn flags_text(flags: MemFlags) -> String {
    let mut out = String::new();
    match flags.trap {
        None => out.push_str("notrap "),
        Some(TrapCode::HEAP_OUT_OF_BOUNDS) => {}
        Some(code) => {
            let _ = write!(out, "{code} ");
        }
    }
    for (set, name) in
        [(flags.aligned, "aligned "), (flags.readonly, "readonly "), (flags.can_move, "can_move ")]
    {
        if set {
            out.push_str(name);
        }
    }
    if flags.endian != Endian::Native {
        let _ = write!(out, "{} ", flags.endian);
    }
    if let Some(region) = flags.region.expand() {
        let _ = write!(out, "{region} ");
    }
    out
}

fn global_value(data: &GlobalValueData) -> String {
    let offset = |offset: i64| if offset == 0 { String::new() } else { format!("{offset:+}") };
    match data {
        GlobalValueData::VmContext => "vmctx".to_string(),
        GlobalValueData::Load { base, offset: by, ty, flags } => {
            format!("load.{ty} {}{base}{}", flags_text(*flags), offset(*by as i64))
        }
        GlobalValueData::IaddImm { base, offset, ty } => format!("iadd_imm.{ty} {base}, {offset}"),
        GlobalValueData::Symbol { name, offset: by, colocated, tls } => {
            let colocated = if *colocated { "colocated " } else { "" };
            let tls = if *tls { "tls " } else { "" };
            format!("symbol {colocated}{tls}{name}{}", offset(*by))
        }
    }
}
