//! An instruction: opcode, type and three words.
//!
//! Needs: the table, which says what an opcode's words are. Gives: [`InstData`].

use crate::function::Value;
use crate::immediates::{FloatCC, IntCC, TrapCode};
use crate::table::{Format, NO_LIST, Opcode};
use crate::types::Type;
use sphex_entity::EntityList;

/// An instruction: sixteen bytes. [`Format`] says what the words mean.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(C)]
pub struct InstData {
    /// What it does.
    pub opcode: Opcode,
    /// The type of its first result, or [`types::INVALID`].
    pub ty: Type,
    /// Condition code, trap code, lane or memory flags.
    pub aux: u16,
    /// First word.
    pub a: u32,
    /// Second word.
    pub b: u32,
    /// Third word.
    pub c: u32,
}

const _: () = assert!(size_of::<InstData>() == 16);

impl InstData {
    /// An instruction with these words and `aux` zero.
    pub const fn new(opcode: Opcode, ty: Type, a: u32, b: u32, c: u32) -> Self {
        Self { opcode, ty, aux: 0, a, b, c }
    }

    /// The same with this `aux`.
    pub const fn with_aux(self, aux: u16) -> Self {
        Self { aux, ..self }
    }

    /// A one-operand instruction.
    pub const fn unary(opcode: Opcode, ty: Type, x: Value) -> Self {
        Self::new(opcode, ty, x.as_u32(), 0, 0)
    }

    /// A two-operand instruction.
    pub const fn binary(opcode: Opcode, ty: Type, x: Value, y: Value) -> Self {
        Self::new(opcode, ty, x.as_u32(), y.as_u32(), 0)
    }

    /// A three-operand instruction.
    pub const fn ternary(opcode: Opcode, ty: Type, x: Value, y: Value, z: Value) -> Self {
        Self::new(opcode, ty, x.as_u32(), y.as_u32(), z.as_u32())
    }

    /// An integer constant. Bits above the type's width are cut off and kept as zero, so that equal constants are equal.
    pub const fn iconst(ty: Type, value: i64) -> Self {
        let bits = if ty.bits() >= 64 { value as u64 } else { value as u64 & ((1 << ty.bits()) - 1) };
        Self::new(Opcode::Iconst, ty, bits as u32, (bits >> 32) as u32, 0)
    }

    /// The 64-bit immediate of a `UnaryImm` or `UnaryF64`.
    pub const fn imm64(&self) -> u64 {
        self.a as u64 | (self.b as u64) << 32
    }

    /// The format of its operands.
    #[inline]
    pub fn format(&self) -> Format {
        self.opcode.shape().format
    }

    /// Which of the words `a`, `b`, `c` are values.
    #[inline]
    pub(crate) fn value_words(&self) -> core::ops::Range<usize> {
        let (start, end) = self.opcode.shape().words;
        start as usize..end as usize
    }

    /// The list of further value operands (call arguments, returned values).
    #[inline]
    pub(crate) fn value_list(&self) -> EntityList<Value> {
        match self.opcode.shape().list {
            NO_LIST => EntityList::EMPTY,
            k => EntityList::from_u32(self.word(k as usize)),
        }
    }

    /// The `k`th word.
    #[inline]
    pub(crate) fn word(&self, k: usize) -> u32 {
        match k {
            0 => self.a,
            1 => self.b,
            _ => self.c,
        }
    }

    /// The `k`th word, to be changed.
    #[inline]
    pub(crate) fn word_mut(&mut self, k: usize) -> &mut u32 {
        match k {
            0 => &mut self.a,
            1 => &mut self.b,
            _ => &mut self.c,
        }
    }

    /// The condition of an `icmp`.
    pub fn int_cc(&self) -> IntCC {
        IntCC::from_u16(self.aux).unwrap_or(IntCC::Eq)
    }

    /// The condition of an `fcmp`.
    pub fn float_cc(&self) -> FloatCC {
        FloatCC::from_u16(self.aux).unwrap_or(FloatCC::Equal)
    }

    /// The trap code of a `Trap`, `CondTrap` or `BinaryTrap`.
    pub fn trap_code(&self) -> Option<TrapCode> {
        TrapCode::from_u8(self.aux as u8)
    }

    /// The signed byte offset of a memory or stack access.
    pub fn offset(&self) -> i32 {
        match self.format() {
            Format::Load | Format::StackLoad => self.b as i32,
            Format::Store | Format::StackStore => self.c as i32,
            _ => 0,
        }
    }
}
