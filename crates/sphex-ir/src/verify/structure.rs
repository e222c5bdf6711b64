//! References: everything named exists, and each instruction stands where it says it stands.

use super::Report;
use crate::function::{
    Block, Constant, ExceptionTable, FuncRef, Function, GlobalValue, GlobalValueData, InstData, SigRef,
    StackSlot, Value,
};
use crate::signature::{Extension, Purpose, Signature};
use crate::table::{Format, Opcode};
use crate::types;
use sphex_entity::EntityRef;

pub(super) fn check(func: &Function, report: &mut Report<'_>) {
    declarations(func, report);
    let before = report.errors.len();
    for (inst, data) in func.insts.iter() {
        if let Err(what) = references(func, data) {
            report.general(format!("instruction {}: {}", inst.as_u32(), data.opcode.row().name), what);
        }
    }
    if report.errors.len() == before {
        lists(func, report);
    }
    if report.errors.len() == before {
        uses(func, report);
    }
}

fn declarations(func: &Function, report: &mut Report<'_>) {
    if let Err(what) = signature(&func.signature) {
        report.general(format!("function {}{}", func.name, func.signature), what);
    }
    for (id, sig) in func.signatures.iter() {
        if let Err(what) = signature(sig) {
            report.general(format!("{id} = {sig}"), what);
        }
    }
    for (id, ext) in func.ext_funcs.iter() {
        if !func.signatures.contains(ext.signature) {
            report.general(format!("{id} = {} {}", ext.name, ext.signature), "the signature is not declared");
        }
    }
    for (id, data) in func.global_values.iter() {
        if let Err(what) = global_value(func, id, data) {
            report.general(id.to_string(), what);
        }
    }
    for (id, flags) in func.mem_flags.iter() {
        if flags.region.expand().is_some_and(|region| !func.regions.contains(region)) {
            report.general(id.to_string(), format!("{} is not declared", flags.region));
        }
    }
    if func.stack_limit.is_some_and(|gv| !func.global_values.contains(gv)) {
        report.general("stack_limit", "the global value is not declared");
    }
    for (k, node) in func.inline_nodes.iter().enumerate().skip(1) {
        if node.parent as usize >= k {
            report.general(format!("inline{k}"), "the parent must come first");
        }
    }
}

fn signature(sig: &Signature) -> Result<(), String> {
    for purpose in [Purpose::StructReturn, Purpose::VmContext] {
        let mut special = sig.params.iter().filter(|p| p.purpose == purpose);
        if let Some(param) = special.next() {
            if special.next().is_some() {
                return Err(format!("at most one parameter may be `{purpose}`"));
            }
            if param.ty != types::I64 {
                return Err(format!("type mismatch: `{purpose}` is i64, found {}", param.ty));
            }
        }
    }
    if sig.returns.iter().any(|p| p.purpose == Purpose::VmContext) {
        return Err("no result may be `vmctx`".to_string());
    }
    for param in sig.params.iter().chain(&sig.returns) {
        if param.ty.is_invalid() {
            return Err("a parameter or result has no type".to_string());
        }
        if param.extension != Extension::None && !param.ty.is_int() {
            return Err(format!("`{}` is for integers, found {}", param.extension, param.ty));
        }
    }
    Ok(())
}

/// A base must come first, so that there is no cycle.
fn global_value(func: &Function, id: GlobalValue, data: &GlobalValueData) -> Result<(), String> {
    let (base, ty) = match data {
        GlobalValueData::VmContext => {
            return match func.signature.special_param(Purpose::VmContext) {
                Some(_) => Ok(()),
                None => Err("the function has no `vmctx` parameter".to_string()),
            };
        }
        GlobalValueData::Symbol { .. } => return Ok(()),
        GlobalValueData::Load { base, ty, flags, .. } => {
            if flags.region.expand().is_some_and(|region| !func.regions.contains(region)) {
                return Err(format!("{} is not declared", flags.region));
            }
            (*base, *ty)
        }
        GlobalValueData::IaddImm { base, ty, .. } => (*base, *ty),
    };
    if base.index() >= id.index() {
        return Err(format!("the base {base} must be declared before"));
    }
    match ty {
        types::I64 | types::I32 => Ok(()),
        _ => Err(format!("type mismatch: expected an address, found {ty}")),
    }
}

/// Whether every index in the words is that of something declared.
fn references(func: &Function, data: &InstData) -> Result<(), String> {
    let known = |yes: bool, what: &str| if yes { Ok(()) } else { Err(format!("{what} is not declared")) };
    let function = |raw| known(func.ext_funcs.contains(FuncRef::from_u32(raw)), "the function");
    match data.format() {
        Format::UnaryConst => known(func.constants.contains(Constant::from_u32(data.a)), "the constant"),
        Format::Shuffle => known(func.constants.contains(Constant::from_u32(data.c)), "the mask"),
        Format::Call | Format::FuncAddr => function(data.a),
        Format::CallIndirect => known(func.signatures.contains(SigRef::from_u32(data.a)), "the signature"),
        Format::TryCall | Format::TryCallIndirect => {
            let table = func.exception_tables.get(ExceptionTable::from_u32(data.c));
            known(table.is_some_and(|t| func.signatures.contains(t.signature)), "the exception table")?;
            if data.format() == Format::TryCall { function(data.a) } else { Ok(()) }
        }
        Format::StackLoad => known(func.stack_slots.contains(StackSlot::from_u32(data.a)), "the stack slot"),
        Format::StackStore => known(func.stack_slots.contains(StackSlot::from_u32(data.b)), "the stack slot"),
        Format::GlobalValue => {
            known(func.global_values.contains(GlobalValue::from_u32(data.a)), "the global value")
        }
        Format::BlockParam => known(func.blocks.contains(Block::from_u32(data.a)), "the block"),
        Format::Projection | Format::Alias => {
            known(func.insts.contains(Value::from_u32(data.a)), "the instruction")
        }
        _ => Ok(()),
    }
}

fn lists(func: &Function, report: &mut Report<'_>) {
    let mut seen_block = vec![false; func.blocks.len()];
    let mut listed = vec![false; func.insts.len()];
    for &block in &func.layout {
        match seen_block.get_mut(block.index()) {
            None => return report.general(block.to_string(), "the block does not exist"),
            Some(seen) if *seen => return report.general(block.to_string(), "the block is laid out twice"),
            Some(seen) => *seen = true,
        }
        for (index, param) in func.block_params(block).enumerate() {
            let right = InstData::new(Opcode::BlockParam, types::INVALID, block.as_u32(), index as u32, 0);
            let data = func.insts.get(param).map(|data| InstData { ty: types::INVALID, ..*data });
            if data != Some(right) {
                return report.general(block.to_string(), format!("parameter {index} is not of this block"));
            }
        }
        for &inst in &func.blocks[block].insts {
            let Some(data) = func.insts.get(inst) else {
                return report.general(block.to_string(), "an instruction does not exist");
            };
            if matches!(data.opcode, Opcode::BlockParam | Opcode::Projection | Opcode::Alias) {
                return report.general(block.to_string(), format!("{inst} is no instruction but is listed"));
            }
            if core::mem::replace(&mut listed[inst.index()], true) {
                return report.general(block.to_string(), format!("{inst} is listed twice"));
            }
            if func.block_of[inst] != block {
                let found = func.block_of[inst];
                return report.general(block.to_string(), format!("{inst} says it is in {found}"));
            }
        }
    }
    if func.layout.is_empty() {
        report.general(format!("function {}", func.name), "there is no block");
    }
}

/// Every value used exists, aliases end, projections are of results that there are.
fn uses(func: &Function, report: &mut Report<'_>) {
    let mut ends = vec![false; func.insts.len()];
    for value in func.insts.keys() {
        let mut at = value;
        let mut steps = 0;
        while func.insts[at].opcode == Opcode::Alias && !ends[at.index()] {
            at = Value::from_u32(func.insts[at].a);
            steps += 1;
            if steps > func.insts.len() {
                return report.general(format!("value {}", value.as_u32()), "the aliases are a cycle");
            }
        }
        // Mark the chain, so that it is not followed again.
        let mut mark = value;
        while mark != at {
            ends[mark.index()] = true;
            mark = Value::from_u32(func.insts[mark].a);
        }
        if func.insts[value].ty != func.insts[at].ty && func.insts[value].opcode == Opcode::Alias {
            report.general(format!("value {}", value.as_u32()), "the alias has another type than its value");
        }
    }
    for (inst, data) in func.insts.iter() {
        if data.opcode == Opcode::Projection {
            let of = Value::from_u32(data.a);
            let from_try = matches!(func.insts[of].format(), Format::TryCall | Format::TryCallIndirect);
            let right = (data.b as usize) < func.result_count(of) && inst.as_u32() == data.a + data.b;
            if !from_try && !right {
                report.general(format!("value {}", inst.as_u32()), "there is no such result");
            }
        }
        if func.block_of[inst].is_none() && !data.opcode.is_pure() {
            continue; // replaced or removed; a use of it is reported where it stands
        }
        let mut wrong = false;
        func.visit_uses(inst, |used| wrong |= !func.insts.contains(used));
        if wrong {
            report.general(
                format!("{} {}", data.opcode.row().name, inst.as_u32()),
                "an operand does not exist",
            );
        }
    }
}
