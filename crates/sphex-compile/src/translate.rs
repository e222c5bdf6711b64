//! Core wasm to IR: validation and translation in one pass over a body.
//!
//! Needs a module's declarations and one body. Gives a placed function in SSA form, or the first error in it. The
//! translator keeps an operand stack of values, a stack of control frames and the locals' values; nothing recurses.
//!
//! Cost: linear in the body, plus what merges need: the locals written since a construct began, per branch out of it. Where
//! that passes a budget, the body is translated again in *slots mode*: locals in stack slots, no block parameters for them.

mod atomics;
mod bulk;
mod calls;
mod context;
mod control;
mod dispatch;
mod inline;
mod locals;
mod memory;
mod numeric;
mod operators;
pub(crate) mod prescan;

mod tables;
mod variables;

pub(crate) use inline::candidate;

use crate::error::CompileError;
use crate::module::{Body, ModuleInfo};
use crate::settings::Settings;
use context::Context;
use control::Frame;
use locals::Locals;
use prescan::Prescan;
use smallvec::SmallVec;
use sphex_ir::fold::Folder;
use sphex_ir::{
    AbiParam, Builder, CallConv, ExternalName, Function, Purpose, Signature, SrcLoc, StackSlot,
    StackSlotData, Type, Value, types,
};
use wasmparser::{
    BinaryReader, FrameKind, FrameStack, FuncValidator, FuncValidatorAllocations, ValidatorResources,
};

/// Namespace of wasm functions in the names of IR functions; the index is the function's.
pub const WASM_NAMESPACE: u32 = 0;

/// What is wrong with an operator.
#[derive(Debug)]
pub(crate) enum OpError {
    /// Malformed or invalid.
    Invalid(wasmparser::Error),
    /// Valid, but of this proposal.
    Unsupported(&'static str),
    /// Merges cost more than the budget.
    OverBudget,
}

impl From<wasmparser::Error> for OpError {
    fn from(error: wasmparser::Error) -> Self {
        OpError::Invalid(error)
    }
}

type Output = Result<(), OpError>;
type Values = SmallVec<[Value; 8]>;
type Types = SmallVec<[Type; 4]>;

/// A function in IR, and how it came about.
#[derive(Debug)]
pub struct Translation {
    /// The function.
    pub func: Function,
    /// Steps it took: operators, and entries moved at merges.
    pub steps: u64,
    /// Its locals are in stack slots, because merges would have cost too much.
    pub slots_mode: bool,
}

/// Memory kept between the functions that one thread translates.
#[derive(Default)]
pub(crate) struct Scratch {
    validator: FuncValidatorAllocations,
    folder: Folder,
    stack: Vec<Value>,
    frames: Vec<Frame>,
    locals: Locals,
    /// A function that is not needed any more, for its memory.
    spare: Option<Function>,
}

impl Scratch {
    /// Takes a function back whose memory the next one is to have.
    pub fn recycle(&mut self, func: Function) {
        self.spare = Some(func);
    }
}

/// Steps that merges may take in a body of this many bytes before its locals go to stack slots.
const fn merge_budget(bytes: usize) -> u64 {
    let linear = 64 * bytes as u64;
    4096 + if linear < 1 << 24 { linear } else { 1 << 24 }
}

/// Values that branches may carry in slots mode; beyond, the function is refused.
const fn hard_budget(bytes: usize) -> u64 {
    (1 << 24) + 16 * bytes as u64
}

/// Translates the `position`th defined function.
pub(crate) fn translate(
    info: &ModuleInfo<'_>,
    settings: &Settings,
    position: usize,
    scratch: &mut Scratch,
) -> Result<Translation, CompileError> {
    let body = &info.bodies[position];
    let bytes = body.bytes.as_bytes().len();
    let scan = match body.bytes.get_binary_reader_for_operators() {
        Ok(mut reader) => {
            reader.set_features(settings.features);
            prescan::prescan(reader, merge_budget(bytes))
        }
        Err(_) => Prescan::default(),
    };
    let mut steps = scan.cost + u64::from(scan.operators);
    for slots_mode in [scan.over_budget, true] {
        let budget = if slots_mode { hard_budget(bytes) } else { merge_budget(bytes) };
        match translate_body(info, settings, body, &scan, slots_mode, budget, scratch, &mut steps) {
            Ok(func) => return Ok(Translation { func, steps, slots_mode }),
            Err((OpError::OverBudget, _)) => {}
            Err((error, offset)) => return Err(report(info, body.validate.index, &error, offset)),
        }
    }
    let what = "a function whose branches carry too many values".to_owned();
    Err(CompileError::TooLarge { what, function: Some(info.function_name(body.validate.index)) })
}

fn report(info: &ModuleInfo<'_>, index: u32, error: &OpError, offset: u64) -> CompileError {
    let function = Some(info.function_name(index));
    match error {
        OpError::Invalid(error) => CompileError::invalid(error, function),
        OpError::Unsupported(proposal) => CompileError::Unsupported { proposal, offset, function },
        OpError::OverBudget => {
            CompileError::TooLarge { what: "a function that is too complex".to_owned(), function }
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "one caller, which retries with other arguments")]
fn translate_body(
    info: &ModuleInfo<'_>,
    settings: &Settings,
    body: &Body<'_>,
    scan: &Prescan,
    slots_mode: bool,
    budget: u64,
    scratch: &mut Scratch,
    steps: &mut u64,
) -> Result<Function, (OpError, u64)> {
    let index = body.validate.index;
    let start = body.bytes.range().start;
    let signature = signature(info, body.validate.ty, CallConv::Sphex).map_err(|e| (e, start))?;
    let name = ExternalName::user(WASM_NAMESPACE, index);
    let mut func = match scratch.spare.take() {
        Some(mut func) => {
            func.clear(name, signature);
            func
        }
        None => Function::new(name, signature),
    };
    let validate = wasmparser::FuncToValidate {
        resources: body.validate.resources.clone(),
        index,
        ty: body.validate.ty,
        features: body.validate.features,
    };
    let validator = validate.into_validator(std::mem::take(&mut scratch.validator));
    let mut folder = std::mem::take(&mut scratch.folder);
    folder.clear(if settings.optimize { body.bytes.as_bytes().len() / 8 } else { 0 });
    let b = match settings.optimize {
        true => Builder::folding(&mut func, &mut folder),
        false => Builder::new(&mut func),
    };
    let mut translator = Translator {
        info,
        settings,
        scan,
        validator,
        cx: Context::default(),
        b,
        offset: start,
        stack: std::mem::take(&mut scratch.stack),
        frames: std::mem::take(&mut scratch.frames),
        locals: std::mem::take(&mut scratch.locals),
        slots: slots_mode.then(Vec::new),
        cold: Vec::new(),
        merge: control::Merge::default(),
        reachable: true,
        loops: 0,
        ifs: 0,
        tables: 0,
        dispatches: Vec::new(),
        accesses: memory::Accesses::default(),
        cost: 0,
        budget,
        node: 0,
        inline_bytes: inline::budget(body.bytes.as_bytes().len()),
    };
    translator.stack.clear();
    translator.frames.clear();
    translator.locals.clear();
    let result = translator.run(body);
    *steps += translator.cost + u64::from(translator.validator.len_locals());
    let offset = translator.offset;
    let Translator { validator, stack, frames, locals, .. } = translator;
    scratch.validator = validator.into_allocations();
    scratch.stack = stack;
    scratch.frames = frames;
    scratch.locals = locals;
    // Clearing a large table for each small function after it would be quadratic.
    if func.insts.len() < 1 << 14 {
        scratch.folder = folder;
    }
    match result {
        Ok(()) => Ok(func),
        Err(error) => Err((error, offset)),
    }
}

/// Translates one body.
struct Translator<'e, 'a, 'f> {
    info: &'e ModuleInfo<'a>,
    settings: &'e Settings,
    scan: &'e Prescan,
    validator: FuncValidator<ValidatorResources>,
    cx: Context,
    b: Builder<'f>,
    /// Byte offset in the module of the operator being translated.
    offset: u64,
    stack: Vec<Value>,
    frames: Vec<Frame>,
    locals: Locals,
    /// Slots mode: where each local is.
    slots: Option<Vec<StackSlot>>,
    /// Blocks that go to the end of the layout.
    cold: Vec<sphex_ir::Block>,
    merge: control::Merge,
    reachable: bool,
    /// Loops and `if`s begun, which number them as the prescan did.
    loops: usize,
    ifs: usize,
    /// `br_table`s so far.
    tables: u32,
    /// Loops that begin with a table, and are open.
    dispatches: Vec<dispatch::Dispatch>,
    /// Accesses made on every way here.
    accesses: memory::Accesses,
    cost: u64,
    budget: u64,
    /// The inline node of the body being translated; 0 is the function itself.
    node: u32,
    /// Bytes of bodies that may still be inlined.
    inline_bytes: usize,
}

impl FrameStack for Translator<'_, '_, '_> {
    fn current_frame(&self) -> Option<FrameKind> {
        self.validator.get_control_frame(0).map(|frame| frame.kind)
    }
}

impl<'a> Translator<'_, 'a, '_> {
    fn run(&mut self, body: &Body<'a>) -> Output {
        let mut reader = body.bytes.get_binary_reader();
        reader.set_features(self.settings.features);
        self.validator.read_locals(&mut reader)?;
        self.enter_function(reader.original_position(), body.validate.ty)?;
        self.operators(&mut reader)?;
        let cold = std::mem::take(&mut self.cold);
        self.b.func.layout.extend(cold);
        Ok(())
    }

    fn operators(&mut self, reader: &mut BinaryReader<'a>) -> Output {
        while !reader.eof() {
            self.offset = reader.original_position();
            self.b.set_loc(SrcLoc { node: self.node, offset: self.offset as u32 });
            reader.visit_operator(self)??;
        }
        self.offset = reader.original_position();
        Ok(reader.finish_expression(&self.validator.visitor(self.offset))?)
    }

    fn enter_function(&mut self, offset: u64, ty: u32) -> Output {
        self.offset = offset;
        let entry = self.b.func.add_block();
        self.b.switch_to(entry);
        let params: Types = self.b.func.signature.params.iter().map(|p| p.ty).collect();
        let mut values = params.iter().map(|&ty| self.b.func.add_block_param(entry, ty)).collect::<Values>();
        self.cx.vmctx = values.remove(0);
        self.stack_limit();
        self.declare_locals(&values)?;
        self.push_function_frame(ty);
        self.take_fuel();
        Ok(())
    }

    /// Gives the body's locals their first values: parameters these, others zero or null.
    fn declare_locals(&mut self, params: &[Value]) -> Output {
        for &value in params {
            let ty = self.b.func.type_of(value);
            self.add_local(ty, value);
        }
        let mut zeros = [Value::NONE; 256];
        for local in params.len() as u32..self.validator.len_locals() {
            let Some(ty) = self.validator.get_local_type(local) else { break };
            let ty = self.val_type(ty)?;
            let key = ty.as_u8() as usize + usize::from(self.is_func_ref_local(local)) * 128;
            if zeros[key].is_none() {
                zeros[key] = self.default_value(ty, self.is_func_ref_local(local));
            }
            self.add_local(ty, zeros[key]);
        }
        Ok(())
    }

    fn add_local(&mut self, ty: Type, value: Value) {
        if let Some(slots) = &mut self.slots {
            let slot = self.b.func.stack_slots.push(StackSlotData { size: 8, align_shift: 3 });
            slots.push(slot);
            self.b.stack_store(value, slot, 0);
        }
        self.locals.add(ty, value);
    }

    fn is_func_ref_local(&self, local: u32) -> bool {
        matches!(self.validator.get_local_type(local), Some(wasmparser::ValType::Ref(ty)) if ty.is_func_ref())
    }

    fn default_value(&mut self, ty: Type, func_ref: bool) -> Value {
        match ty {
            types::F32 => self.b.f32const(0),
            types::F64 => self.b.f64const(0),
            _ if func_ref => self.null_func_ref(),
            _ => self.b.iconst(ty, 0),
        }
    }

    /// The IR type of a wasm type.
    fn val_type(&self, ty: wasmparser::ValType) -> Result<Type, OpError> {
        let ty = crate::module::val_type(ty, self.offset)
            .map_err(|e| OpError::Unsupported(e.missing_proposal().unwrap_or("garbage collection")))?;
        ir_type(ty)
    }

    /// Begins a block that branches lead to, or that the current one goes on in.
    fn switch_to(&mut self, block: sphex_ir::Block) {
        self.b.func.layout.push(block);
        self.b.switch_to(block);
    }

    /// Makes a block that is not in the layout yet.
    fn new_block(&mut self) -> sphex_ir::Block {
        self.b.func.blocks.push(sphex_ir::function::BlockData::default())
    }

    /// Makes a rarely executed block; it goes to the end of the layout.
    fn new_cold_block(&mut self) -> sphex_ir::Block {
        let block = self.new_block();
        self.b.func.blocks[block].cold = true;
        self.cold.push(block);
        block
    }

    /// Counts entries that a branch or merge moves against the budget.
    fn spend(&mut self, steps: usize) -> Output {
        self.cost += steps as u64;
        if self.cost > self.budget { Err(OpError::OverBudget) } else { Ok(()) }
    }

    fn push(&mut self, value: Value) {
        self.stack.push(value);
    }

    /// The validator has seen to it that there is one; the fallback keeps a bug from becoming a panic.
    fn pop(&mut self) -> Value {
        debug_assert!(!self.stack.is_empty(), "operand stack underflow at {:#x}", self.offset);
        self.stack.pop().unwrap_or(self.cx.vmctx)
    }

    fn pop_many(&mut self, count: usize) -> Values {
        let at = self.stack.len().saturating_sub(count);
        self.stack.drain(at..).collect()
    }

    fn peek_many(&self, count: usize) -> &[Value] {
        &self.stack[self.stack.len().saturating_sub(count)..]
    }
}

/// The IR type of values of a wasm type.
pub(crate) fn ir_type(ty: sphex_artifact::ValType) -> Result<Type, OpError> {
    use sphex_artifact::ValType;
    Ok(match ty {
        ValType::I32 | ValType::ExternRef => types::I32,
        ValType::I64 | ValType::FuncRef => types::I64,
        ValType::F32 => types::F32,
        ValType::F64 => types::F64,
        ValType::V128 => return Err(OpError::Unsupported("SIMD")),
    })
}

/// The IR signature of a wasm function type: vmctx, then its parameters.
fn signature(info: &ModuleInfo<'_>, ty: u32, call_conv: CallConv) -> Result<Signature, OpError> {
    let mut signature = Signature::new(call_conv);
    signature.params.push(AbiParam::special(types::I64, Purpose::VmContext));
    if let Some(ty) = info.module.types.get(ty as usize) {
        for &param in &ty.params {
            signature.params.push(AbiParam::new(ir_type(param)?));
        }
        for &result in &ty.results {
            signature.returns.push(AbiParam::new(ir_type(result)?));
        }
    }
    Ok(signature)
}
