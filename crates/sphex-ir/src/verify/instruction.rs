//! Types and the other rules of one instruction, driven by its row.

use super::Report;
use crate::function::{
    Block, BlockCall, Constant, ExceptionTable, Function, GlobalValue, GlobalValueData, StackSlot, Value,
};
use crate::immediates::{AtomicRmwOp, IntCC, TrapCode};
use crate::signature::{AbiParam, CallConv};
use crate::table::{Effects, Format, Opcode};
use crate::types::Type;
use sphex_entity::EntityRef;

pub(super) fn check(func: &Function, report: &mut Report<'_>) {
    for &block in &func.layout {
        check_block(func, block, report);
        for &inst in &func.blocks[block].insts {
            check_inst(func, inst, report);
        }
    }
    for (inst, data) in func.insts.iter() {
        let floats = func.block_of[inst].is_none()
            && data.opcode.is_pure()
            && !matches!(data.opcode, Opcode::BlockParam | Opcode::Projection | Opcode::Alias | Opcode::Nop);
        if floats {
            check_inst(func, inst, report);
        }
    }
    if let Some(entry) = func.entry() {
        check_entry(func, entry, report);
    }
}

fn check_block(func: &Function, block: Block, report: &mut Report<'_>) {
    for param in func.block_params(block) {
        if func.type_of(param).is_invalid() {
            report.block(block, "a parameter has no type");
        }
    }
    let Some((&last, before)) = func.blocks[block].insts.split_last() else {
        return report.block(block, "the block is empty: a block ends with a branch, a return or a trap");
    };
    if !func.insts[last].opcode.is_terminator() {
        report
            .inst(last, "the block does not end here: the last instruction must be a branch, return or trap");
    }
    for &inst in before {
        if func.insts[inst].opcode.is_terminator() {
            report.inst(inst, "the block ends here: nothing may follow");
        }
    }
}

fn check_entry(func: &Function, entry: Block, report: &mut Report<'_>) {
    let found: Vec<Type> = func.block_params(entry).map(|param| func.type_of(param)).collect();
    let expected: Vec<Type> = func.signature.params.iter().map(|param| param.ty).collect();
    if found != expected {
        let message =
            format!("type mismatch: expected the function's parameters {expected:?}, found {found:?}");
        report.block(entry, message);
    }
}

fn check_inst(func: &Function, inst: Value, report: &mut Report<'_>) {
    let data = &func.insts[inst];
    let row = data.opcode.row();
    let ctrl = func.ctrl_type(inst);
    if !row.types.contains(ctrl) && row.ctrl != crate::table::Ctrl::None {
        let found = if ctrl.is_invalid() { "none".to_string() } else { ctrl.to_string() };
        return report.inst(inst, format!("`{}` does not take the type {found}", row.name));
    }
    for (k, rule) in row.args.iter().enumerate() {
        let Some(operand) = func.operand(inst, k) else { continue };
        let ty = func.type_of(operand);
        if !rule.accepts(ctrl, ty) {
            let expected = rule.resolve(ctrl).map_or(format!("{rule:?}"), |ty| ty.to_string());
            report.operand(inst, operand, format!("type mismatch: expected {expected}, found {ty}"));
        }
    }
    if !row.effects.has(Effects::CALL) {
        for (k, rule) in row.results.iter().enumerate() {
            let ty = func.type_of(Value::new(inst.index() + k));
            if rule.resolve(ctrl) != Some(ty) || ty.is_invalid() {
                let expected = rule.resolve(ctrl).map_or("no such result".to_string(), |ty| ty.to_string());
                report.inst(inst, format!("type mismatch: result {k} is {expected}, found {ty}"));
            }
        }
    }
    for call in func.block_calls(inst) {
        check_block_call(func, inst, call, report);
    }
    if let Err(what) = check_format(func, inst, ctrl, report) {
        report.inst(inst, what);
    }
}

fn check_block_call(func: &Function, inst: Value, call: BlockCall, report: &mut Report<'_>) {
    let target = func.block_call_target(call);
    if !func.blocks.contains(target) || !func.layout.is_empty() && func.blocks[target].insts.is_empty() {
        return report.inst(inst, format!("{target} does not exist or is empty"));
    }
    if func.entry() == Some(target) {
        return report.inst(inst, "the entry block has no predecessors");
    }
    let args: Vec<Value> = func.block_call_args(call).collect();
    let params: Vec<Value> = func.block_params(target).collect();
    if args.len() != params.len() {
        let (expected, found) = (params.len(), args.len());
        return report.inst(inst, format!("{target} takes {expected} arguments, found {found}"));
    }
    for (arg, param) in args.into_iter().zip(params) {
        let (expected, found) = (func.type_of(param), func.type_of(arg));
        if expected != found {
            let message = format!("type mismatch: {target} expects {expected}, found {found}");
            report.operand(inst, arg, message);
        }
    }
}

/// The rules of a format and of single opcodes. An `Err` is about the whole instruction.
fn check_format(func: &Function, inst: Value, ctrl: Type, report: &mut Report<'_>) -> Result<(), String> {
    let data = &func.insts[inst];
    let ensure = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_string()) };
    match data.format() {
        Format::UnaryImm => {
            let bits = ctrl.bits().min(64);
            ensure(bits == 64 || data.imm64() >> bits == 0, "the constant has bits above its type's width")
        }
        Format::UnaryConst => {
            let size = if data.opcode == Opcode::F128const { 16 } else { ctrl.bytes() as usize };
            let found = func.constants[Constant::from_u32(data.a)].len();
            if found == size { Ok(()) } else { Err(format!("the constant has {size} bytes, found {found}")) }
        }
        Format::IntCompare => ensure(IntCC::from_u16(data.aux).is_some(), "there is no such condition"),
        Format::FloatCompare => {
            ensure(crate::immediates::FloatCC::from_u16(data.aux).is_some(), "there is no such condition")
        }
        Format::BinaryTrap | Format::Trap | Format::CondTrap => {
            ensure(TrapCode::from_u8(data.aux as u8).is_some(), "trap code 0 is none")
        }
        Format::BrTable => ensure(!func.block_calls(inst).is_empty(), "a table has at least its default"),
        Format::Return => {
            let values: Vec<Value> = func.arguments(inst).collect();
            check_values(func, inst, &values, &func.signature.returns, "the function returns", report)
        }
        Format::Call | Format::CallIndirect | Format::TryCall | Format::TryCallIndirect => {
            check_call(func, inst, report)
        }
        Format::StackLoad | Format::StackStore => check_stack(func, inst),
        Format::Load | Format::Store => check_memory(func, inst, ctrl),
        Format::LoadNoOffset | Format::StoreNoOffset | Format::AtomicRmw | Format::AtomicCas => {
            let flags = func.flags(inst);
            if data.opcode == Opcode::Bitcast {
                let plain = crate::immediates::MemFlags::DEFAULT.with_endian(flags.endian);
                return ensure(flags == plain, "a bitcast accesses no memory: only the byte order is legal");
            }
            let op = data.opcode != Opcode::AtomicRmw || AtomicRmwOp::from_u16(data.c as u16).is_some();
            ensure(op, "there is no such atomic operation")?;
            ensure(!flags.readonly && !flags.can_move, "`readonly` and `can_move` are for plain loads")
        }
        Format::GlobalValue => check_global_value(func, inst),
        Format::ExtractLane | Format::InsertLane => {
            let lanes = ctrl.lane_count();
            ensure((data.aux as u32) < lanes, &format!("the lane is below {lanes}, found {}", data.aux))
        }
        Format::Shuffle => {
            let mask = &func.constants[Constant::from_u32(data.c)];
            ensure(
                ctrl.bytes() == 16 && mask.len() == 16,
                "a shuffle takes sixteen bytes and sixteen indices",
            )?;
            ensure(mask.iter().all(|k| *k < 32), "the mask's indices are below 32")
        }
        _ => Ok(()),
    }
}

/// Values against the parameters or results that take them.
fn check_values(
    func: &Function,
    inst: Value,
    values: &[Value],
    params: &[AbiParam],
    who: &str,
    report: &mut Report<'_>,
) -> Result<(), String> {
    if values.len() != params.len() {
        return Err(format!("{who} {} values, found {}", params.len(), values.len()));
    }
    for (value, param) in values.iter().zip(params) {
        let found = func.type_of(*value);
        if found != param.ty {
            report.operand(inst, *value, format!("type mismatch: expected {}, found {found}", param.ty));
        }
    }
    Ok(())
}

fn check_call(func: &Function, inst: Value, report: &mut Report<'_>) -> Result<(), String> {
    let data = &func.insts[inst];
    let Some(sig) = func.call_signature(data) else { return Ok(()) };
    let signature = &func.signatures[sig];
    let args: Vec<Value> = func.arguments(inst).collect();
    check_values(func, inst, &args, &signature.params, "the callee takes", report)?;
    let ends = data.opcode.is_terminator();
    let results = func.results(inst).enumerate().filter(|_| !ends);
    for (k, result) in results {
        let (expected, found) = (signature.returns[k].ty, func.type_of(result));
        if expected != found {
            return Err(format!("type mismatch: result {k} is {expected}, found {found}"));
        }
    }
    if data.format() == Format::TryCall {
        let ext = &func.ext_funcs[crate::function::FuncRef::from_u32(data.a)];
        let table = &func.exception_tables[ExceptionTable::from_u32(data.c)];
        if func.signatures[ext.signature] != func.signatures[table.signature] {
            return Err("the callee's signature differs from the one given".to_string());
        }
    }
    if matches!(data.opcode, Opcode::ReturnCall | Opcode::ReturnCallIndirect) {
        let (caller, callee) = (func.signature.call_conv, signature.call_conv);
        if caller != callee {
            return Err(format!("a tail call stays in one convention: expected {caller}, found {callee}"));
        }
        if !matches!(caller, CallConv::Tail | CallConv::Sphex) {
            return Err(format!("the convention {caller} has no tail calls"));
        }
        let types = |params: &[AbiParam]| params.iter().map(|p| p.ty).collect::<Vec<_>>();
        let (expected, found) = (types(&func.signature.returns), types(&signature.returns));
        if expected != found {
            return Err(format!(
                "a tail call returns what the caller returns: {expected:?}, found {found:?}"
            ));
        }
    }
    Ok(())
}

fn check_stack(func: &Function, inst: Value) -> Result<(), String> {
    let data = &func.insts[inst];
    let (slot, bytes) = match data.opcode {
        Opcode::StackStore => (data.b, func.type_of(Value::from_u32(data.a)).bytes()),
        Opcode::StackLoad => (data.a, data.ty.bytes()),
        _ => (data.a, 0),
    };
    let size = func.stack_slots[StackSlot::from_u32(slot)].size as i64;
    let offset = data.offset() as i64;
    if offset < 0 || offset + bytes as i64 > size {
        return Err(format!("out of bounds: bytes {offset} to {} of {size}", offset + bytes as i64));
    }
    Ok(())
}

fn check_memory(func: &Function, inst: Value, ctrl: Type) -> Result<(), String> {
    let data = &func.insts[inst];
    let flags = func.flags(inst);
    if data.format() == Format::Store && (flags.readonly || flags.can_move) {
        return Err("`readonly` and `can_move` are for loads".to_string());
    }
    let narrow = match data.opcode {
        Opcode::Uload8 | Opcode::Sload8 | Opcode::Istore8 => 8,
        Opcode::Uload16 | Opcode::Sload16 | Opcode::Istore16 => 16,
        Opcode::Istore32 => 32,
        _ => return Ok(()),
    };
    if ctrl.bits() <= narrow || ctrl.bits() > 64 {
        return Err(format!("the type is wider than {narrow} bits and at most i64, found {ctrl}"));
    }
    Ok(())
}

fn check_global_value(func: &Function, inst: Value) -> Result<(), String> {
    let data = &func.insts[inst];
    let gv = &func.global_values[GlobalValue::from_u32(data.a)];
    match (data.opcode, gv) {
        (Opcode::SymbolValue, GlobalValueData::Symbol { tls: false, .. }) => Ok(()),
        (Opcode::TlsValue, GlobalValueData::Symbol { tls: true, .. }) => Ok(()),
        (Opcode::SymbolValue, _) => Err("`symbol_value` is of a symbol that is not thread-local".to_string()),
        (Opcode::TlsValue, _) => Err("`tls_value` is of a thread-local symbol".to_string()),
        (_, GlobalValueData::Load { ty, .. } | GlobalValueData::IaddImm { ty, .. }) if *ty != data.ty => {
            Err(format!("type mismatch: the global value is {ty}, found {}", data.ty))
        }
        _ => Ok(()),
    }
}
