//! Folding and deduplication, as instructions are made.
//!
//! Needs: operands that are already folded. Gives: for a pure instruction, a value that computes the same: a constant, a
//! simpler instruction, or the equal instruction that is there already. Values made here are *floating*: in no block's
//! list, because where they are computed is placement's business.
//!
//! I1. The table holds exactly the pure floating instructions of one function that were made here, each once.
//! I2. A rewrite lowers (cost, size), so that rewriting ends; besides, rewrites nest at most [`MAX_DEPTH`] deep.

use crate::evaluate;
use crate::function::{Block, Function, InstData, SrcLoc, Value};
use crate::immediates::IntCC;
use crate::rules;
use crate::table::{Effects, Format, Opcode};
use crate::types::{self, Type};
use sphex_entity::EntityRef;

/// How deep rewrites may nest.
pub const MAX_DEPTH: u32 = 5;

/// Entries of the smallest table.
const LEAST: usize = 256;

/// The table of a function's pure instructions. Reused from function to function.
#[derive(Debug, Default)]
pub struct Folder {
    /// Open addressing, linear probing; `u32::MAX` is free. The length is a power of two, at most half full.
    table: Vec<u32>,
    /// What the table held, while it grows.
    moved: Vec<u32>,
    used: usize,
    depth: u32,
    /// How often each rule fired; empty where nobody counts.
    pub firings: Vec<u64>,
}

fn hash(data: &InstData) -> u64 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let head =
        data.opcode as u64 | (data.ty.as_u8() as u64) << 8 | (data.aux as u64) << 16 | (data.a as u64) << 32;
    let tail = data.b as u64 | (data.c as u64) << 32;
    let mixed = (head.wrapping_mul(K) ^ tail).wrapping_mul(K);
    mixed ^ mixed >> 29
}

impl Folder {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets a function and makes ready for one of about so many pure instructions. Keeps the memory, of which a small
    /// function after a large one touches little.
    pub fn clear(&mut self, expected: usize) {
        self.table.clear();
        self.table.resize((2 * expected).next_power_of_two().max(LEAST), u32::MAX);
        self.used = 0;
        self.depth = 0;
    }

    /// A value equal to this pure instruction: folded, found, or made floating.
    pub fn value(&mut self, func: &mut Function, mut data: InstData, loc: SrcLoc) -> Value {
        canonicalize(func, &mut data);
        match self.simplify(func, data, loc) {
            Some(value) => value,
            None => self.intern(func, data, loc),
        }
    }

    /// Folds an instruction that is there already, and whose operands have been replaced: it keeps its number if it is
    /// neither simplified nor found.
    pub fn refold(&mut self, func: &mut Function, node: Value) -> Value {
        let (mut data, loc) = (func.insts[node], func.srclocs[node]);
        canonicalize(func, &mut data);
        if let Some(value) = self.simplify(func, data, loc) {
            return value;
        }
        func.insts[node] = data;
        func.block_of[node] = Block::NONE;
        self.find_or(func, &data, |_| node)
    }

    /// A value that is simpler than this instruction and equal to it, if a rule knows one. The instruction must be
    /// [foldable](is_foldable).
    pub fn simplify(&mut self, func: &mut Function, data: InstData, loc: SrcLoc) -> Option<Value> {
        if let Some(constant) = evaluate::instruction(func, &data) {
            return Some(self.intern(func, constant, loc));
        }
        if self.depth >= MAX_DEPTH {
            return None;
        }
        self.depth += 1;
        let simpler = rules::apply(self, func, &data, loc);
        self.depth -= 1;
        simpler
    }

    /// The one floating instruction with this data, made if need be.
    fn intern(&mut self, func: &mut Function, data: InstData, loc: SrcLoc) -> Value {
        self.find_or(func, &data, |func| func.make(data, loc))
    }

    fn find_or(
        &mut self,
        func: &mut Function,
        data: &InstData,
        make: impl FnOnce(&mut Function) -> Value,
    ) -> Value {
        if self.table.len() < 2 * (self.used + 1) {
            self.grow(func);
        }
        let mask = self.table.len() - 1;
        let mut at = hash(data) as usize & mask;
        while self.table[at] != u32::MAX {
            let found = Value::from_u32(self.table[at]);
            if func.insts[found] == *data {
                return found;
            }
            at = (at + 1) & mask;
        }
        let made = make(func);
        self.table[at] = made.as_u32();
        self.used += 1;
        made
    }

    fn grow(&mut self, func: &Function) {
        let len = (self.table.len() * 2).max(LEAST);
        self.moved.clear();
        self.moved.extend(self.table.iter().filter(|&&raw| raw != u32::MAX));
        self.table.clear();
        self.table.resize(len, u32::MAX);
        for &raw in &self.moved {
            let data = &func.insts[Value::from_u32(raw)];
            // An instruction that was replaced since is found by nobody (I1); drop it.
            if data.opcode == Opcode::Alias {
                self.used -= 1;
                continue;
            }
            let mut at = hash(data) as usize & (len - 1);
            while self.table[at] != u32::MAX {
                at = (at + 1) & (len - 1);
            }
            self.table[at] = raw;
        }
    }
}

/// Puts commuting operands in order: constants last, else the older value first.
fn canonicalize(func: &Function, data: &mut InstData) {
    if !data.opcode.effects().has(Effects::COMMUTES) && data.opcode != Opcode::Icmp {
        return;
    }
    let rank = |word: u32| (func.insts[Value::from_u32(word)].opcode == Opcode::Iconst, word);
    if rank(data.a) > rank(data.b) {
        core::mem::swap(&mut data.a, &mut data.b);
        if data.opcode == Opcode::Icmp {
            data.aux = data.int_cc().swapped() as u16;
        }
    }
}

/// A condition without what does not change whether it is zero: `uextend`, `sextend`, `icmp ne x, 0`; and whether it is
/// inverted (`icmp eq x, 0`).
pub fn truth(func: &Function, mut cond: Value) -> (Value, bool) {
    let mut inverted = false;
    loop {
        cond = func.resolve(cond);
        let data = &func.insts[cond];
        match data.opcode {
            Opcode::Uextend | Opcode::Sextend => cond = Value::from_u32(data.a),
            Opcode::Icmp
                if func.as_iconst(Value::from_u32(data.b)) == Some(0) && func.type_of(cond) == types::I8 =>
            {
                match data.int_cc() {
                    IntCC::Ne | IntCC::Ugt => cond = Value::from_u32(data.a),
                    // Stop at a comparison of something that is no comparison itself: it is the better condition.
                    IntCC::Eq | IntCC::Ule if is_boolean(func, Value::from_u32(data.a)) => {
                        inverted = !inverted;
                        cond = Value::from_u32(data.a);
                    }
                    _ => return (cond, inverted),
                }
            }
            _ => return (cond, inverted),
        }
    }
}

/// Whether a value is a comparison's result, or one extended: 0 or 1.
pub fn is_boolean(func: &Function, value: Value) -> bool {
    let mut value = func.resolve(value);
    while func.insts[value].opcode == Opcode::Uextend {
        value = func.resolve(Value::from_u32(func.insts[value].a));
    }
    matches!(func.insts[value].opcode, Opcode::Icmp | Opcode::Fcmp) && func.type_of(value) == types::I8
}

/// An address without its constant addend, which goes to the offset where it fits.
pub fn address(func: &Function, address: Value, offset: i32) -> (Value, i32) {
    let data = func.insts[func.resolve(address)];
    let sum = match (data.opcode, data.ty) {
        (Opcode::Iadd, types::I64) => {
            func.as_iconst(Value::from_u32(data.b)).and_then(|c| (c as i64).checked_add(offset as i64))
        }
        _ => None,
    };
    match sum.and_then(|sum| i32::try_from(sum).ok()) {
        Some(sum) => (func.resolve(Value::from_u32(data.a)), sum),
        None => (address, offset),
    }
}

/// What a rule's rewrite builds with.
#[derive(Debug)]
pub struct Rewrite<'a> {
    folder: &'a mut Folder,
    /// The function.
    pub func: &'a mut Function,
    loc: SrcLoc,
}

impl<'a> Rewrite<'a> {
    /// Builds into `func` through `folder`.
    pub(crate) fn new(folder: &'a mut Folder, func: &'a mut Function, loc: SrcLoc) -> Self {
        Self { folder, func, loc }
    }

    /// Any pure instruction.
    pub fn make(&mut self, data: InstData) -> Value {
        debug_assert!(data.opcode.is_pure());
        self.folder.value(self.func, data, self.loc)
    }

    /// An integer constant.
    pub fn iconst(&mut self, ty: Type, value: u64) -> Value {
        self.make(InstData::iconst(ty, value as i64))
    }

    /// A one-operand instruction of this result type.
    pub fn unary(&mut self, opcode: Opcode, ty: Type, x: Value) -> Value {
        debug_assert!(opcode.row().format == Format::Unary);
        self.make(InstData::unary(opcode, ty, x))
    }

    /// A two-operand instruction of the first operand's type.
    pub fn binary(&mut self, opcode: Opcode, x: Value, y: Value) -> Value {
        let ty = self.func.type_of(x);
        self.make(InstData::binary(opcode, ty, x, y))
    }

    /// A two-operand instruction with a constant on the right, of the first operand's type.
    pub fn binary_imm(&mut self, opcode: Opcode, x: Value, y: u64) -> Value {
        let y = self.iconst(self.func.type_of(x), y);
        self.binary(opcode, x, y)
    }

    /// A comparison.
    pub fn icmp(&mut self, cc: IntCC, x: Value, y: Value) -> Value {
        let ty = self.func.type_of(x).truthy().unwrap_or(types::I8);
        self.make(InstData::binary(Opcode::Icmp, ty, x, y).with_aux(cc as u16))
    }
}

/// Whether folding may treat this instruction as pure: pure ones, and divisions by a constant that cannot trap.
pub fn is_foldable(func: &Function, data: &InstData) -> bool {
    match data.opcode {
        Opcode::Udiv | Opcode::Urem | Opcode::Sdiv | Opcode::Srem => {
            let all_ones = if data.ty.bits() >= 64 { u64::MAX } else { (1 << data.ty.bits()) - 1 };
            let divisor = Value::from_u32(data.b);
            divisor.index() < func.insts.len()
                && func.as_iconst(divisor).is_some_and(|c| c != 0 && c != all_ones)
                && data.ty.bits() <= 64
        }
        op => op.is_pure(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::{CallConv, ExternalName, Signature};

    #[test]
    fn equal_instructions_are_one() {
        let mut func = Function::new(ExternalName::symbol("f"), Signature::new(CallConv::Fast));
        let entry = func.add_block();
        let (x, y) = (func.add_block_param(entry, types::I32), func.add_block_param(entry, types::I32));
        let mut folder = Folder::new();
        let mut add =
            |a, b| folder.value(&mut func, InstData::binary(Opcode::Iadd, types::I32, a, b), SrcLoc::NONE);
        let (first, second, third) = (add(x, y), add(y, x), add(x, x));
        assert_eq!(first, second);
        assert_ne!(first, third);
    }

    #[test]
    fn many_values_survive_growth() {
        let mut func = Function::new(ExternalName::symbol("f"), Signature::new(CallConv::Fast));
        let mut folder = Folder::new();
        let make = |folder: &mut Folder, func: &mut Function| -> Vec<Value> {
            (0..5000).map(|i| folder.value(func, InstData::iconst(types::I64, i * i), SrcLoc::NONE)).collect()
        };
        let first = make(&mut folder, &mut func);
        assert_eq!(first, make(&mut folder, &mut func));
        for expected in [3, 100_000] {
            folder.clear(expected);
            let again = make(&mut folder, &mut func);
            assert!(first.iter().zip(&again).all(|(first, again)| first != again), "{expected}");
        }
    }
}
