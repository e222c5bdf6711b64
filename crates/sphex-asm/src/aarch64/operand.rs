//! Registers' names, conditions, extensions and shifts; what stands in an instruction otherwise is shared by all
//! instruction sets.
//!
//! Needs: nothing of the table. Gives: register constants and names, [`Cond`], [`Extend`], [`Shift`]; hands on
//! [`crate::operand`].

pub use crate::operand::{Address, Mem, Operand, Size, Variant};
use crate::register::{Reg, RegClass};

/// The integer register with this number: 31 is the zero register or the stack pointer, as the operand says.
pub const fn x(number: u8) -> Reg {
    Reg::int(number)
}

/// The vector register with this number.
pub const fn v(number: u8) -> Reg {
    Reg::vector(number)
}

/// The frame pointer.
pub const FP: Reg = x(29);
/// The link register.
pub const LR: Reg = x(30);
/// The stack pointer, where an operand may be it.
pub const SP: Reg = x(31);
/// The zero register, where an operand may be it.
pub const ZR: Reg = x(31);

/// The name of a register at its full width: `x0`, `v0`; 31 is `sp`.
pub const fn register_name(reg: Reg) -> &'static str {
    const X: [&str; 32] = [
        "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15",
        "x16", "x17", "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "fp",
        "lr", "sp",
    ];
    const V: [&str; 32] = [
        "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15",
        "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29",
        "v30", "v31",
    ];
    match reg.class() {
        RegClass::Int => X[reg.number() as usize],
        RegClass::Vector => V[reg.number() as usize],
    }
}

/// A condition on the flags. The number is the hardware's; the opposite is the number with its lowest bit flipped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Cond {
    /// Equal; zero.
    Eq = 0,
    /// Not equal; not zero.
    Ne = 1,
    /// Unsigned higher or same; carry.
    Hs = 2,
    /// Unsigned lower; no carry.
    Lo = 3,
    /// Negative; of floats: less.
    Mi = 4,
    /// Positive or zero; of floats: greater, equal or unordered.
    Pl = 5,
    /// Overflow; of floats: unordered.
    Vs = 6,
    /// No overflow; of floats: ordered.
    Vc = 7,
    /// Unsigned higher; of floats: greater or unordered.
    Hi = 8,
    /// Unsigned lower or same; of floats: less or equal.
    Ls = 9,
    /// Signed greater or equal; of floats too.
    Ge = 10,
    /// Signed less; of floats: less or unordered.
    Lt = 11,
    /// Signed greater; of floats too.
    Gt = 12,
    /// Signed less or equal; of floats: less, equal or unordered.
    Le = 13,
    /// Always.
    Al = 14,
}

impl Cond {
    /// Every condition, by number, but `Al`, which has no opposite.
    pub const ALL: [Cond; 14] = [
        Cond::Eq,
        Cond::Ne,
        Cond::Hs,
        Cond::Lo,
        Cond::Mi,
        Cond::Pl,
        Cond::Vs,
        Cond::Vc,
        Cond::Hi,
        Cond::Ls,
        Cond::Ge,
        Cond::Lt,
        Cond::Gt,
        Cond::Le,
    ];

    /// The condition with this number; 14 and 15 are both always.
    pub const fn from_bits(number: u8) -> Cond {
        let number = number as usize & 15;
        if number < Cond::ALL.len() { Cond::ALL[number] } else { Cond::Al }
    }

    /// The condition that holds exactly when this one does not (`Al` stays).
    pub const fn invert(self) -> Cond {
        match self {
            Cond::Al => Cond::Al,
            cond => Cond::from_bits(cond as u8 ^ 1),
        }
    }

    /// The condition that holds for `b ? a` when this one holds for `a ? b`, of integers.
    pub const fn swap(self) -> Cond {
        match self {
            Cond::Hs => Cond::Ls,
            Cond::Ls => Cond::Hs,
            Cond::Lo => Cond::Hi,
            Cond::Hi => Cond::Lo,
            Cond::Ge => Cond::Le,
            Cond::Le => Cond::Ge,
            Cond::Lt => Cond::Gt,
            Cond::Gt => Cond::Lt,
            other => other,
        }
    }

    /// The name, such as `ne`.
    pub const fn name(self) -> &'static str {
        ["eq", "ne", "hs", "lo", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le", "al"]
            [self as usize]
    }

    /// For rows without a size, such as `b.cond`.
    pub const fn variant(self) -> Variant {
        Variant::cond_bits(self as u8)
    }

    /// This condition beside a size.
    pub const fn with(self, variant: Variant) -> Variant {
        variant.with_cond_bits(self as u8)
    }

    /// A variant's condition.
    pub const fn of(variant: Variant) -> Cond {
        Cond::from_bits(variant.get_cond_bits())
    }
}

/// How a narrower register is extended, in an extended-register operand or an index.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Extend {
    /// Zeros above 8 bits.
    Uxtb = 0,
    /// Zeros above 16 bits.
    Uxth = 1,
    /// Zeros above 32 bits.
    Uxtw = 2,
    /// All 64 bits.
    Uxtx = 3,
    /// The sign above 8 bits.
    Sxtb = 4,
    /// The sign above 16 bits.
    Sxth = 5,
    /// The sign above 32 bits.
    Sxtw = 6,
    /// All 64 bits.
    Sxtx = 7,
}

impl Extend {
    /// Every extension, by number.
    pub const ALL: [Extend; 8] = [
        Extend::Uxtb,
        Extend::Uxth,
        Extend::Uxtw,
        Extend::Uxtx,
        Extend::Sxtb,
        Extend::Sxth,
        Extend::Sxtw,
        Extend::Sxtx,
    ];

    /// The name, such as `uxtw`.
    pub const fn name(self) -> &'static str {
        ["uxtb", "uxth", "uxtw", "uxtx", "sxtb", "sxth", "sxtw", "sxtx"][self as usize]
    }

    /// The immediate of an extended-register operand: this extension, then a shift left by 0 to 4.
    pub const fn imm(self, shift: u8) -> i64 {
        ((self as i64) << 3) | shift as i64
    }

    /// [`Address::shift`] of an index that is extended so, then shifted by `shift`: `Uxtx` is the 64-bit index itself.
    pub const fn index(self, shift: u8) -> u8 {
        match self {
            Extend::Uxtw => shift | 1 << 4,
            Extend::Sxtw => shift | 2 << 4,
            _ => shift,
        }
    }

    /// The extension and the shift of an index.
    pub const fn of_index(shift: u8) -> (Extend, u8) {
        match shift >> 4 {
            1 => (Extend::Uxtw, shift & 7),
            2 => (Extend::Sxtw, shift & 7),
            _ => (Extend::Uxtx, shift & 7),
        }
    }
}

/// How the last operand of a shifted-register form is shifted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Shift {
    /// Left.
    Lsl = 0,
    /// Right, zeros from above.
    Lsr = 1,
    /// Right, the sign from above.
    Asr = 2,
    /// Rotated right; of logical operations only.
    Ror = 3,
}

impl Shift {
    /// Every shift, by number.
    pub const ALL: [Shift; 4] = [Shift::Lsl, Shift::Lsr, Shift::Asr, Shift::Ror];

    /// The name, such as `lsl`.
    pub const fn name(self) -> &'static str {
        ["lsl", "lsr", "asr", "ror"][self as usize]
    }

    /// The immediate of a shifted-register operand.
    pub const fn imm(self, amount: u8) -> i64 {
        ((self as i64) << 6) | amount as i64
    }
}

/// The immediate of a bitfield form: the lowest bit and the width (1 to 64) of the field.
pub const fn field(low: u8, width: u8) -> i64 {
    (low as i64) | (width as i64) << 8
}
