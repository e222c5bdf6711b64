//! The reference interpreter: what a function means, to compare compiled code with.
//!
//! Needs: verified, placed functions. Gives: results, or the trap. Memory is the interpreter's own: stack slots, and what the
//! caller allocates; every access is checked. It keeps its own stack of frames and counts steps. Written for plainness:
//! each operation is computed on `u128` by its definition, apart from the constant folder, so that each checks the other.
//! Vectors are not interpreted yet: an operation on one is an error that names it.

mod float;
mod integer;
mod memory;
mod value;

pub use value::DataValue;

use crate::function::{
    Block, BlockCall, EXCEPTION_PAYLOAD, ExceptionTable, FuncRef, Function, GlobalValue, GlobalValueData,
    SigRef, StackSlot, Value,
};
use crate::immediates::{AtomicRmwOp, MemFlags, TrapCode};
use crate::number::{mask, sign_extend};
use crate::signature::{Purpose, Signature};
use crate::table::{Effects, Format, Opcode};
use crate::types::{self, Type};
use memory::Memory;
use sphex_entity::EntityRef;
use std::collections::HashMap;

/// How a call ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It returned these values.
    Returned(Vec<DataValue>),
    /// It trapped.
    Trapped(TrapCode),
}

/// Why a call could not be interpreted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InterpretError {
    /// An operation that the interpreter does not know.
    #[error("the interpreter does not support `{0}`")]
    Unsupported(String),
    /// There is no such function.
    #[error("no function is named `{0}`")]
    NoFunction(String),
    /// Arguments that the function does not take.
    #[error("`{function}` takes {expected}, found {found}")]
    Arguments {
        /// The function.
        function: String,
        /// Types of its parameters.
        expected: String,
        /// Types of the arguments.
        found: String,
    },
    /// A call of something that is not a function, or of a function with another signature.
    #[error("a call of {0}")]
    BadCallee(String),
    /// The steps allowed are used up.
    #[error("out of fuel")]
    OutOfFuel,
}

/// Why one operation gives no value.
#[derive(Debug)]
enum Fault {
    Trap(TrapCode),
    Unsupported,
    Error(InterpretError),
}

/// A function that is not CLIF: from arguments to results, or `None` if it does not know the name.
pub type HostFunction = fn(&str, &[DataValue]) -> Option<Vec<DataValue>>;

/// Addresses of functions: this plus 16 times the index. Host functions follow.
const CODE: u64 = 0x7000_0000_0000;
/// Bytes of memory in all, and frames.
const MEMORY_LIMIT: u64 = 256 << 20;
const FRAME_LIMIT: usize = 100_000;

/// Interprets the functions of one text.
#[derive(Debug)]
pub struct Interpreter<'f> {
    functions: Vec<&'f Function>,
    by_name: HashMap<String, usize>,
    hosts: Vec<String>,
    host: HostFunction,
    memory: Memory,
    frames: Vec<Frame>,
    pinned: u128,
    fuel: u64,
}

/// A function in execution.
#[derive(Debug)]
struct Frame {
    function: usize,
    values: Vec<u128>,
    slots: Vec<u64>,
    block: Block,
    next: usize,
    mark: usize,
}

/// What an instruction does with control.
enum Next {
    Step,
    Jump(BlockCall),
    Return(Vec<u128>),
    Call { function: Callee, args: Vec<u128>, tail: bool },
}

#[derive(Clone)]
enum Callee {
    Clif(usize),
    Host(usize),
}

impl<'f> Interpreter<'f> {
    /// Interprets these functions; names that they do not define are asked of [`library`].
    pub fn new(functions: impl IntoIterator<Item = &'f Function>) -> Self {
        let functions: Vec<&Function> = functions.into_iter().collect();
        let by_name = functions.iter().enumerate().map(|(k, f)| (f.name.to_string(), k)).collect();
        Self {
            functions,
            by_name,
            hosts: Vec::new(),
            host: library,
            memory: Memory::default(),
            frames: Vec::new(),
            pinned: 0,
            fuel: u64::MAX,
        }
    }

    /// Answers calls of functions that are not CLIF by `host`.
    pub fn with_host(self, host: HostFunction) -> Self {
        Self { host, ..self }
    }

    /// Allows this many instructions from now on.
    pub fn set_fuel(&mut self, steps: u64) {
        self.fuel = steps;
    }

    /// Memory that functions may be given the address of; it stays until the interpreter goes.
    pub fn allocate(&mut self, size: u32) -> Option<u64> {
        self.memory.allocate(size, 16, MEMORY_LIMIT)
    }

    /// The bytes at an address.
    pub fn memory(&mut self, address: u64, size: u32) -> Option<&mut [u8]> {
        self.memory.bytes(address, size)
    }

    /// Calls a function by the name that it has in text, `%name` or `u0:1`.
    pub fn call(&mut self, name: &str, args: &[DataValue]) -> Result<Outcome, InterpretError> {
        let index = *self.by_name.get(name).ok_or_else(|| InterpretError::NoFunction(name.to_string()))?;
        let signature = &self.functions[index].signature;
        let expected: Vec<Type> = signature.params.iter().map(|p| p.ty).collect();
        let found: Vec<Type> = args.iter().map(|a| a.ty).collect();
        if expected != found {
            return Err(InterpretError::Arguments {
                function: name.to_string(),
                expected: format!("{expected:?}"),
                found: format!("{found:?}"),
            });
        }
        let mark = self.memory.mark();
        self.frames.clear();
        let bits: Vec<u128> = args.iter().map(|a| a.bits).collect();
        let result = self.enter(index, &bits).and_then(|()| self.run());
        self.memory.release(mark);
        self.frames.clear();
        match result {
            Ok(bits) => {
                let types = signature.returns.iter().map(|r| r.ty);
                Ok(Outcome::Returned(types.zip(bits).map(|(ty, b)| DataValue::new(ty, b)).collect()))
            }
            Err(Fault::Trap(code)) => Ok(Outcome::Trapped(code)),
            Err(Fault::Error(error)) => Err(error),
            Err(Fault::Unsupported) => Err(InterpretError::Unsupported("?".to_string())),
        }
    }

    fn enter(&mut self, function: usize, args: &[u128]) -> Result<(), Fault> {
        let func = self.functions[function];
        let entry = func.entry().ok_or(Fault::Unsupported)?;
        let overflow = Fault::Trap(TrapCode::STACK_OVERFLOW);
        if self.frames.len() >= FRAME_LIMIT {
            return Err(overflow);
        }
        let mark = self.memory.mark();
        let mut slots = Vec::with_capacity(func.stack_slots.len());
        for slot in func.stack_slots.values() {
            match self.memory.allocate(slot.size, 1 << slot.align_shift, MEMORY_LIMIT) {
                Some(address) => slots.push(address),
                None => return Err(overflow),
            }
        }
        let mut values = vec![0; func.insts.len()];
        for (param, bits) in func.block_params(entry).zip(args) {
            values[param.index()] = *bits;
        }
        self.frames.push(Frame { function, values, slots, block: entry, next: 0, mark });
        Ok(())
    }

    /// Steps until the first frame returns.
    fn run(&mut self) -> Result<Vec<u128>, Fault> {
        loop {
            if self.fuel == 0 {
                return Err(Fault::Error(InterpretError::OutOfFuel));
            }
            self.fuel -= 1;
            let Some(frame) = self.frames.last_mut() else { return Err(Fault::Unsupported) };
            let func = self.functions[frame.function];
            let Some(&inst) = func.blocks[frame.block].insts.get(frame.next) else {
                return Err(Fault::Unsupported);
            };
            frame.next += 1;
            let next = self.step(func, inst).map_err(|fault| match fault {
                Fault::Unsupported => Fault::Error(unsupported(func, inst)),
                fault => fault,
            })?;
            match next {
                Next::Step => {}
                Next::Jump(call) => self.jump(func, call),
                Next::Return(values) => {
                    if let Some(results) = self.leave(values) {
                        return Ok(results);
                    }
                }
                Next::Call { function, args, tail } => {
                    if tail {
                        self.pop();
                    }
                    match function {
                        Callee::Clif(index) => self.enter(index, &args)?,
                        Callee::Host(index) => {
                            let results = self.call_host(func, inst, index, &args)?;
                            if let Some(results) = self.resume(results) {
                                return Ok(results);
                            }
                        }
                    }
                }
            }
        }
    }

    fn pop(&mut self) {
        if let Some(frame) = self.frames.pop() {
            self.memory.release(frame.mark);
        }
    }

    /// Ends the current frame; the results go to its caller, or out.
    fn leave(&mut self, values: Vec<u128>) -> Option<Vec<u128>> {
        self.pop();
        self.resume(values)
    }

    /// Hands a callee's results to the frame that called it. After a host's tail call the frame is gone already.
    fn resume(&mut self, results: Vec<u128>) -> Option<Vec<u128>> {
        let Some(frame) = self.frames.last_mut() else { return Some(results) };
        let func = self.functions[frame.function];
        let inst = func.blocks[frame.block].insts[frame.next - 1];
        if let Format::TryCall | Format::TryCallIndirect = func.insts[inst].format() {
            let table = &func.exception_tables[ExceptionTable::from_u32(func.insts[inst].c)];
            for arg in func.block_call_args(table.normal) {
                let data = &func.insts[arg];
                let own = data.opcode == Opcode::Projection && data.a == inst.as_u32();
                if own && data.b & EXCEPTION_PAYLOAD == 0 {
                    frame.values[arg.index()] = results.get(data.b as usize).copied().unwrap_or(0);
                }
            }
            let normal = table.normal;
            self.jump(func, normal);
            return None;
        }
        for (value, bits) in func.results(inst).zip(results) {
            frame.values[value.index()] = bits;
        }
        None
    }

    fn jump(&mut self, func: &Function, call: BlockCall) {
        let target = func.block_call_target(call);
        let args: Vec<u128> = func.block_call_args(call).map(|arg| self.get(func, arg)).collect();
        if let Some(frame) = self.frames.last_mut() {
            for (param, bits) in func.block_params(target).zip(args) {
                frame.values[param.index()] = bits;
            }
            frame.block = target;
            frame.next = 0;
        }
    }

    fn get(&self, func: &Function, value: Value) -> u128 {
        let value = func.resolve(value);
        self.frames.last().and_then(|frame| frame.values.get(value.index())).copied().unwrap_or(0)
    }

    fn set(&mut self, func: &Function, value: Value, bits: u128) {
        if let Some(frame) = self.frames.last_mut() {
            frame.values[value.index()] = bits & mask(func.type_of(value).bits());
        }
    }

    fn step(&mut self, func: &'f Function, inst: Value) -> Result<Next, Fault> {
        let data = &func.insts[inst];
        let operands = func.operands(inst);
        let x = |s: &Self, k: usize| s.get(func, operands[k]);
        match data.format() {
            Format::Jump => return Ok(Next::Jump(BlockCall::from_u32(data.a))),
            Format::Brif => {
                let taken = if x(self, 0) != 0 { data.b } else { data.c };
                return Ok(Next::Jump(BlockCall::from_u32(taken)));
            }
            Format::BrTable => {
                let calls = func.block_calls(inst);
                let index = usize::try_from(x(self, 0)).ok().and_then(|k| k.checked_add(1));
                let call = index.and_then(|k| calls.get(k)).unwrap_or(&calls[0]);
                return Ok(Next::Jump(*call));
            }
            Format::Return => {
                return Ok(Next::Return(operands.iter().map(|v| self.get(func, *v)).collect()));
            }
            Format::Trap => return Err(trap(data.trap_code())),
            Format::CondTrap => {
                let zero = x(self, 0) == 0;
                if zero == (data.opcode == Opcode::Trapz) {
                    return Err(trap(data.trap_code()));
                }
            }
            Format::Call | Format::CallIndirect | Format::TryCall | Format::TryCallIndirect => {
                return self.call_inst(func, inst);
            }
            _ if data.opcode.row().effects.has(Effects::STORE)
                || data.opcode.row().effects.has(Effects::LOAD) =>
            {
                self.access(func, inst)?;
            }
            _ => self.compute(func, inst)?,
        }
        Ok(Next::Step)
    }

    fn call_inst(&mut self, func: &'f Function, inst: Value) -> Result<Next, Fault> {
        let data = &func.insts[inst];
        let callee = match data.format() {
            Format::Call | Format::TryCall => self.function_of(func, FuncRef::from_u32(data.a)),
            Format::CallIndirect => self.function_at(self.get(func, Value::from_u32(data.b)))?,
            _ => self.function_at(self.get(func, Value::from_u32(data.a)))?,
        };
        let sig = func.call_signature(data).unwrap_or(SigRef::from_u32(0));
        if let Callee::Clif(index) = callee {
            let (expected, found) = (&func.signatures[sig], &self.functions[index].signature);
            if !same_types(expected, found) {
                let what = format!("{} with the signature {expected}", self.functions[index].name);
                return Err(Fault::Error(InterpretError::BadCallee(what)));
            }
        }
        let args = func.arguments(inst).map(|arg| self.get(func, arg)).collect();
        let tail = matches!(data.opcode, Opcode::ReturnCall | Opcode::ReturnCallIndirect);
        Ok(Next::Call { function: callee, args, tail })
    }

    fn function_of(&mut self, func: &Function, callee: FuncRef) -> Callee {
        let name = func.ext_funcs[callee].name.to_string();
        if let Some(&index) = self.by_name.get(&name) {
            return Callee::Clif(index);
        }
        let known = self.hosts.iter().position(|host| *host == name);
        Callee::Host(known.unwrap_or_else(|| {
            self.hosts.push(name);
            self.hosts.len() - 1
        }))
    }

    fn function_at(&self, address: u128) -> Result<Callee, Fault> {
        let index = (address as u64).checked_sub(CODE).filter(|d| d % 16 == 0).map(|d| (d / 16) as usize);
        match index {
            Some(index) if index < self.functions.len() => Ok(Callee::Clif(index)),
            Some(index) if index - self.functions.len() < self.hosts.len() => {
                Ok(Callee::Host(index - self.functions.len()))
            }
            _ => Err(Fault::Error(InterpretError::BadCallee(format!("address {address:#x}")))),
        }
    }

    fn address_of(&mut self, func: &Function, callee: FuncRef) -> u128 {
        let index = match self.function_of(func, callee) {
            Callee::Clif(index) => index,
            Callee::Host(index) => self.functions.len() + index,
        };
        CODE as u128 + 16 * index as u128
    }

    fn call_host(
        &mut self,
        func: &Function,
        inst: Value,
        index: usize,
        args: &[u128],
    ) -> Result<Vec<u128>, Fault> {
        let sig = func.call_signature(&func.insts[inst]).unwrap_or(SigRef::from_u32(0));
        let params = func.signatures[sig].params.iter();
        let values: Vec<DataValue> = params.zip(args).map(|(p, bits)| DataValue::new(p.ty, *bits)).collect();
        match (self.host)(&self.hosts[index], &values) {
            Some(results) => Ok(results.iter().map(|r| r.bits).collect()),
            None => Err(Fault::Error(InterpretError::NoFunction(self.hosts[index].clone()))),
        }
    }

    /// Loads and stores of every kind, and the operations on the stack and of synchronisation.
    fn access(&mut self, func: &'f Function, inst: Value) -> Result<(), Fault> {
        let data = &func.insts[inst];
        let op = |k: usize| func.operand(inst, k).map_or(0, |v| self.get(func, v));
        let (a, b, c) = (op(0), op(1), op(2));
        let flags = func.flags(inst);
        let at = |base: u128| (base as u64).wrapping_add(data.offset() as i64 as u64);
        let full = |value: Option<Value>| value.map_or(0, |v| func.type_of(v).bytes());
        let result = match data.opcode {
            Opcode::Fence => return Ok(()),
            Opcode::StackLoad => {
                let address = self.slot(data.a, data.offset());
                self.load(address, data.ty.bytes(), MemFlags::DEFAULT)?
            }
            Opcode::StackStore => {
                let address = self.slot(data.b, data.offset());
                return self.store(address, full(func.operand(inst, 0)), MemFlags::DEFAULT, a);
            }
            Opcode::Load | Opcode::AtomicLoad => self.load(at(a), data.ty.bytes(), flags)?,
            Opcode::Uload8 => self.load(at(a), 1, flags)?,
            Opcode::Uload16 => self.load(at(a), 2, flags)?,
            Opcode::Uload32 => self.load(at(a), 4, flags)?,
            Opcode::Sload8 => sign_extend(self.load(at(a), 1, flags)?, 8) as u128,
            Opcode::Sload16 => sign_extend(self.load(at(a), 2, flags)?, 16) as u128,
            Opcode::Sload32 => sign_extend(self.load(at(a), 4, flags)?, 32) as u128,
            Opcode::Store | Opcode::AtomicStore => {
                return self.store(at(b), full(func.operand(inst, 0)), flags, a);
            }
            Opcode::Istore8 => return self.store(at(b), 1, flags, a),
            Opcode::Istore16 => return self.store(at(b), 2, flags, a),
            Opcode::Istore32 => return self.store(at(b), 4, flags, a),
            Opcode::AtomicRmw => {
                let size = data.ty.bytes();
                let old = self.load(a as u64, size, flags)?;
                let rmw = AtomicRmwOp::from_u16(data.c as u16).ok_or(Fault::Unsupported)?;
                self.store(a as u64, size, flags, integer::atomic(rmw, size * 8, old, b))?;
                old
            }
            Opcode::AtomicCas => {
                let size = data.ty.bytes();
                let old = self.load(a as u64, size, flags)?;
                if old == b {
                    self.store(a as u64, size, flags, c)?;
                }
                old
            }
            _ => return Err(Fault::Unsupported),
        };
        self.set(func, inst, result);
        Ok(())
    }

    fn slot(&self, slot: u32, offset: i32) -> u64 {
        let base = self.frames.last().map_or(0, |frame| frame.slots[StackSlot::from_u32(slot).index()]);
        base.wrapping_add(offset as i64 as u64)
    }

    fn load(&mut self, address: u64, size: u32, flags: MemFlags) -> Result<u128, Fault> {
        self.memory.read(address, size, flags.endian).ok_or(trap(flags.trap))
    }

    fn store(&mut self, address: u64, size: u32, flags: MemFlags, value: u128) -> Result<(), Fault> {
        self.memory.write(address, size, flags.endian, value).ok_or(trap(flags.trap))
    }

    /// Everything that neither branches nor accesses memory.
    fn compute(&mut self, func: &'f Function, inst: Value) -> Result<(), Fault> {
        let data = &func.insts[inst];
        let ctrl = func.ctrl_type(inst);
        let op = |k: usize| func.operand(inst, k).map_or(0, |v| self.get(func, v));
        let (x, y, z) = (op(0), op(1), op(2));
        let from = func.operand(inst, 0).map_or(types::INVALID, |v| func.type_of(v));
        let moves_only = matches!(data.opcode, Opcode::Select | Opcode::SelectSpectreGuard | Opcode::Bitcast)
            || data.format() == Format::UnaryConst;
        if (ctrl.is_vector() || from.is_vector()) && !moves_only || ctrl.bits() > 128 {
            return Err(Fault::Unsupported);
        }
        let result = match data.opcode {
            Opcode::Nop | Opcode::SequencePoint => return Ok(()),
            Opcode::Iconst | Opcode::F64const => data.imm64() as u128,
            Opcode::F16const | Opcode::F32const => data.a as u128,
            Opcode::F128const | Opcode::Vconst => {
                let bytes = &func.constants[crate::function::Constant::from_u32(data.a)];
                bytes.iter().rev().fold(0, |bits, byte| bits << 8 | *byte as u128)
            }
            Opcode::Select | Opcode::SelectSpectreGuard => {
                if x != 0 {
                    y
                } else {
                    z
                }
            }
            Opcode::Bitselect => x & y | !x & z,
            Opcode::Icmp => integer::compare(data.int_cc(), ctrl.bits(), x, y) as u128,
            Opcode::Fcmp => float::compare(data.float_cc(), ctrl, x, y)? as u128,
            Opcode::Bitcast | Opcode::Ireduce | Opcode::Uextend => x,
            Opcode::Sextend => sign_extend(x, from.bits()) as u128,
            Opcode::Bmask => {
                if x != 0 {
                    u128::MAX
                } else {
                    0
                }
            }
            Opcode::Isplit => {
                self.set(func, Value::new(inst.index() + 1), x >> (ctrl.bits() / 2));
                x
            }
            Opcode::Iconcat => y << ctrl.bits() | x,
            Opcode::Fma => float::fma(ctrl, x, y, z)?,
            Opcode::UaddOverflowTrap => {
                let (sum, over) = integer::overflowing(Opcode::UaddOverflow, ctrl.bits(), x, y, false)?;
                if over {
                    return Err(trap(data.trap_code()));
                }
                sum
            }
            _ if data.opcode.row().results.len() == 2 => {
                let carry = func.operands(inst).len() == 3 && z != 0;
                let (result, over) = integer::overflowing(data.opcode, ctrl.bits(), x, y, carry)?;
                self.set(func, Value::new(inst.index() + 1), over as u128);
                result
            }
            Opcode::FuncAddr => self.address_of(func, FuncRef::from_u32(data.a)),
            Opcode::StackAddr => self.slot(data.a, data.offset()) as u128,
            Opcode::GlobalValue | Opcode::SymbolValue => {
                self.global_value(func, GlobalValue::from_u32(data.a))?
            }
            Opcode::GetPinnedReg => self.pinned,
            Opcode::SetPinnedReg => {
                self.pinned = x;
                return Ok(());
            }
            _ => match data.format() {
                Format::Unary if data.opcode.row().ctrl == crate::table::Ctrl::Suffix => {
                    float::convert(data.opcode, from, ctrl, x)?
                }
                Format::Unary if ctrl.is_float() => float::unary(data.opcode, ctrl, x)?,
                Format::Unary => integer::unary(data.opcode, ctrl.bits(), x)?,
                Format::Binary if ctrl.is_float() => float::binary(data.opcode, ctrl, x, y)?,
                Format::Binary => integer::binary(data.opcode, ctrl.bits(), x, y)?,
                _ => return Err(Fault::Unsupported),
            },
        };
        self.set(func, inst, result);
        Ok(())
    }

    /// A global value, from the end of its chain of bases back.
    fn global_value(&mut self, func: &Function, gv: GlobalValue) -> Result<u128, Fault> {
        let mut chain = vec![gv];
        let mut value = loop {
            match &func.global_values[chain[chain.len() - 1]] {
                GlobalValueData::Load { base, .. } | GlobalValueData::IaddImm { base, .. } => {
                    chain.push(*base)
                }
                GlobalValueData::VmContext => {
                    let index = func.signature.special_param(Purpose::VmContext).unwrap_or(0);
                    let entry = func.entry().ok_or(Fault::Unsupported)?;
                    let param = func.block_params(entry).nth(index).ok_or(Fault::Unsupported)?;
                    break self.get(func, param);
                }
                GlobalValueData::Symbol { name, offset, .. } => {
                    let index = *self.by_name.get(&name.to_string()).ok_or(Fault::Unsupported)?;
                    break (CODE + 16 * index as u64).wrapping_add(*offset as u64) as u128;
                }
            }
        };
        chain.pop();
        for gv in chain.into_iter().rev() {
            value = match &func.global_values[gv] {
                GlobalValueData::Load { offset, ty, flags, .. } => {
                    self.load((value as u64).wrapping_add(*offset as i64 as u64), ty.bytes(), *flags)?
                }
                GlobalValueData::IaddImm { offset, ty, .. } => {
                    value.wrapping_add(*offset as u128) & mask(ty.bits())
                }
                GlobalValueData::VmContext | GlobalValueData::Symbol { .. } => value,
            };
        }
        Ok(value)
    }
}

/// A fault of an access that its flags say cannot fault is shown as one of the heap.
fn trap(code: Option<TrapCode>) -> Fault {
    Fault::Trap(code.unwrap_or(TrapCode::HEAP_OUT_OF_BOUNDS))
}

fn same_types(a: &Signature, b: &Signature) -> bool {
    let types = |s: &Signature| -> Vec<Type> { s.params.iter().chain(&s.returns).map(|p| p.ty).collect() };
    a.params.len() == b.params.len() && types(a) == types(b)
}

fn unsupported(func: &Function, inst: Value) -> InterpretError {
    let ty = match func.ctrl_type(inst) {
        ty if ty.is_invalid() => func.type_of(inst),
        ty => ty,
    };
    let name = func.insts[inst].opcode.row().name;
    InterpretError::Unsupported(if ty.is_invalid() { name.to_string() } else { format!("{name}.{ty}") })
}

/// The functions of a C library that CLIF calls by name: rounding and fused multiplication.
pub fn library(name: &str, args: &[DataValue]) -> Option<Vec<DataValue>> {
    let opcode =
        match name.strip_prefix('%')?.strip_suffix("F32").or_else(|| name[1..].strip_suffix("F64"))? {
            "Ceil" => Opcode::Ceil,
            "Floor" => Opcode::Floor,
            "Trunc" => Opcode::Trunc,
            "Nearest" => Opcode::Nearest,
            "Fma" => Opcode::Fma,
            _ => return None,
        };
    let ty = if name.ends_with("F32") { types::F32 } else { types::F64 };
    let bits = match args {
        [x] if opcode != Opcode::Fma && x.ty == ty => float::unary(opcode, ty, x.bits).ok()?,
        [x, y, z] if opcode == Opcode::Fma && args.iter().all(|a| a.ty == ty) => {
            float::fma(ty, x.bits, y.bits, z.bits).ok()?
        }
        _ => return None,
    };
    Some(vec![DataValue::new(ty, bits)])
}
