//! What can be seen of a module that runs: the same questions put to every engine, the answers as lines of text.
//!
//! An engine under observation is a [`World`]: a store with one instance whose imports are the host's. Host functions note
//! their arguments in the trace and answer with numbers that follow from how much was noted before.

use crate::random::{Choices, Random};

/// The type of a value that can cross.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// 32-bit integer.
    I32,
    /// 64-bit integer.
    I64,
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
    /// A function.
    Func,
    /// A host value.
    Extern,
}

/// A value as every engine can tell it: floats as bits, of functions only whether there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// 32-bit integer.
    I32(u32),
    /// 64-bit integer.
    I64(u64),
    /// 32-bit float.
    F32(u32),
    /// 64-bit float.
    F64(u64),
    /// Is there a function?
    Func(bool),
    /// The host's number, or null.
    Extern(Option<u32>),
}

/// Why something did not return.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A trap, by its name.
    Trap(&'static str),
    /// A host function said no.
    Host,
    /// The stack was used up, which each engine does in its own time: nothing after it can be compared.
    Stack,
    /// The engine could not; the text is its own.
    Refused(String),
}

/// The names of traps that engines share.
pub mod trap {
    #![allow(missing_docs)]
    pub const UNREACHABLE: &str = "unreachable";
    pub const MEMORY: &str = "memory out of bounds";
    pub const TABLE: &str = "table out of bounds";
    pub const NULL: &str = "call to null";
    pub const SIGNATURE: &str = "bad signature";
    pub const DIVISION: &str = "division by zero";
    pub const OVERFLOW: &str = "integer overflow";
    pub const CONVERSION: &str = "bad conversion";
}

/// What host functions share: what they were asked, in order.
#[derive(Debug, Default)]
pub struct Trace {
    /// The lines noted since they were last taken.
    pub lines: Vec<String>,
    count: u64,
}

impl Trace {
    /// Notes a call of the import with this number and gives its results, or `None` where it refuses.
    pub fn call(&mut self, import: usize, arguments: &[Value], results: &[Type]) -> Option<Vec<Value>> {
        self.lines.push(format!("  host {import} {arguments:?}"));
        self.count += 1;
        let mut random = Random::new(self.count << 8 | import as u64);
        if random.below(50) == 0 {
            return None;
        }
        Some(values(&mut random, results))
    }
}

/// Numbers imported functions. (Engines list imports in different orders, but those of one kind in one.)
#[derive(Debug, Default)]
pub struct Count([usize; 2]);

impl Count {
    /// The number of the next import.
    pub fn next(&mut self, function: bool) -> usize {
        let count = &mut self.0[usize::from(function)];
        *count += 1;
        *count - 1
    }
}

/// A store with one instance in it.
pub trait World {
    /// The exported functions and the types of their parameters.
    fn functions(&mut self) -> Vec<(String, Vec<Type>)>;
    /// Calls an exported function.
    fn call(&mut self, name: &str, arguments: &[Value]) -> Result<Vec<Value>, Stop>;
    /// Globals, memories and tables, a line each, in any order.
    fn state(&mut self) -> Vec<String>;
    /// The lines that host functions noted.
    fn trace(&mut self) -> Vec<String>;
}

/// Values of these types, often special ones. References to functions are null.
pub fn values(random: &mut Random, types: &[Type]) -> Vec<Value> {
    let bytes = random.bytes(16 * types.len());
    let mut choices = Choices::new(&bytes);
    let value = |ty: &Type| match ty {
        Type::I32 => Value::I32(choices.word() as u32),
        Type::I64 => Value::I64(choices.word()),
        Type::F32 => Value::F32(choices.f32()),
        Type::F64 => Value::F64(choices.f64()),
        Type::Func => Value::Func(false),
        Type::Extern => Value::Extern(Some(u32::from(choices.byte()))),
    };
    types.iter().map(value).collect()
}

/// Calls of exported functions in one world, at most.
const CALLS: usize = 24;

/// Makes a world, calls what it exports, and says what came of it. The calls follow from `seed`.
pub fn observe<W: World>(make: impl FnOnce() -> Result<W, Stop>, seed: u64) -> Vec<String> {
    let mut log = Vec::new();
    let mut world = match make() {
        Ok(world) => world,
        Err(stop) => return vec![format!("instantiation: {stop:?}")],
    };
    log.append(&mut world.trace());
    let mut functions = world.functions();
    functions.sort_by(|a, b| a.0.cmp(&b.0));
    let mut random = Random::new(seed);
    let start = random.below(functions.len() as u64) as usize;
    for k in 0..(2 * functions.len()).min(CALLS) {
        let (name, params) = &functions[(start + k) % functions.len()];
        let arguments = values(&mut random, params);
        let result = world.call(name, &arguments);
        log.append(&mut world.trace());
        log.push(format!("{name}{arguments:?} -> {result:?}"));
        if result == Err(Stop::Stack) {
            return log;
        }
    }
    let mut state = world.state();
    state.sort();
    log.append(&mut state);
    log
}

/// A number that stands for a memory's bytes.
pub fn digest(bytes: &[u8]) -> u64 {
    bytes.chunks(8).fold(0xcbf2_9ce4_8422_2325, |sum: u64, chunk| {
        let word = chunk.iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        (sum.rotate_left(5) ^ word).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The first line in which two observations differ, if there is one. After a stack overflow nothing counts, nor does a
/// refused growth of a memory that only one engine could make.
pub fn difference(a: &[String], b: &[String]) -> Option<String> {
    let over = |log: &[String]| log.iter().position(|line| line.contains("Stack"));
    let end = over(a).unwrap_or(usize::MAX).min(over(b).unwrap_or(usize::MAX));
    for k in 0..a.len().max(b.len()).min(end) {
        if a.get(k) != b.get(k) {
            let line = |log: &[String]| log.get(k).map_or("(nothing)", String::as_str).to_string();
            return Some(format!("line {k}:\n  {}\n  {}", line(a), line(b)));
        }
    }
    None
}
