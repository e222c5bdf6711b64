//! What stands in an instruction, as far as all instruction sets share it: sizes, variants, memory, operands.
//!
//! Needs: labels, constants and symbols of the buffer. Gives: [`Size`], [`Variant`], [`Role`], [`Operand`] and its parts. Registers'
//! names and conditions are an ISA's own matter.

use crate::buffer::{Constant, Label};
use crate::record::Symbol;
use crate::register::Reg;

/// An operand's size.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Size {
    /// One byte.
    S8 = 0,
    /// Two bytes.
    S16 = 1,
    /// Four bytes.
    S32 = 2,
    /// Eight bytes.
    S64 = 3,
    /// Sixteen bytes.
    S128 = 4,
    /// Thirty-two bytes.
    S256 = 5,
}

impl Size {
    /// Every size, smallest first.
    pub const ALL: [Size; 6] = [Size::S8, Size::S16, Size::S32, Size::S64, Size::S128, Size::S256];

    /// The size in bytes.
    pub const fn bytes(self) -> u32 {
        1 << self as u32
    }

    /// The size in bits.
    pub const fn bits(self) -> u32 {
        8 << self as u32
    }

    /// The size of this many bits.
    pub const fn from_bits(bits: u32) -> Option<Size> {
        match bits {
            8 => Some(Size::S8),
            16 => Some(Size::S16),
            32 => Some(Size::S32),
            64 => Some(Size::S64),
            128 => Some(Size::S128),
            256 => Some(Size::S256),
            _ => None,
        }
    }
}

/// Size and condition of an instruction in one `u16`: bits 0-2 the size, bits 4-7 the condition. Bits 8-15 are not this
/// crate's: a machine instruction may keep flags of its own there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(transparent)]
pub struct Variant(pub u16);

impl Variant {
    /// For rows that have neither size nor condition.
    pub const NONE: Variant = Variant(0);
    /// 8-bit.
    pub const S8: Variant = Variant::size(Size::S8);
    /// 16-bit.
    pub const S16: Variant = Variant::size(Size::S16);
    /// 32-bit.
    pub const S32: Variant = Variant::size(Size::S32);
    /// 64-bit.
    pub const S64: Variant = Variant::size(Size::S64);
    /// 128-bit vectors.
    pub const S128: Variant = Variant::size(Size::S128);
    /// 256-bit vectors.
    pub const S256: Variant = Variant::size(Size::S256);

    /// This size.
    pub const fn size(size: Size) -> Variant {
        Variant(size as u16)
    }

    /// This condition, by the hardware's number; the ISA's own type of conditions has a safer way.
    pub const fn cond_bits(number: u8) -> Variant {
        Variant((number as u16 & 15) << 4)
    }

    /// The same with another condition, by the hardware's number.
    pub const fn with_cond_bits(self, number: u8) -> Variant {
        Variant(self.0 & !0xf0 | (number as u16 & 15) << 4)
    }

    /// The same with another size.
    pub const fn with_size(self, size: Size) -> Variant {
        Variant(self.0 & !0x07 | size as u16)
    }

    /// The size.
    pub const fn get_size(self) -> Size {
        let bits = (self.0 & 7) as usize;
        Size::ALL[if bits > 5 { 5 } else { bits }]
    }

    /// The condition's number.
    pub const fn get_cond_bits(self) -> u8 {
        (self.0 >> 4 & 15) as u8
    }
}

/// What an instruction does with an operand. For memory: with its contents; its address registers are always uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Read.
    Use,
    /// Written after every use has been read (it may share a use's register). Bits beyond its width are undefined.
    Def,
    /// Written while uses are still to be read (it may share no use's register).
    EarlyDef,
    /// Read, then written: the allocator ties a use and a def.
    Modify,
}

impl Role {
    /// Whether the operand is read.
    pub const fn reads(self) -> bool {
        matches!(self, Role::Use | Role::Modify)
    }

    /// Whether the operand is written.
    pub const fn writes(self) -> bool {
        !matches!(self, Role::Use)
    }
}

/// `[base + index << shift + disp]`; which parts may be there, and together, an ISA says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address {
    /// The base.
    pub base: Option<Reg>,
    /// The index.
    pub index: Option<Reg>,
    /// Log2 of the index's scale in bits 0 to 2; on AArch64 the bits above say how the index is extended.
    pub shift: u8,
    /// The displacement.
    pub disp: i32,
}

/// A memory operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mem {
    /// Through registers.
    Address(Address),
    /// In this buffer's code: a label plus bytes.
    Label(Label, i32),
    /// In the buffer's constant pool.
    Constant(Constant),
    /// At a symbol plus bytes, pc-relative.
    Symbol(Symbol, i32),
    /// The slot of the global offset table that holds the symbol's address.
    Got(Symbol),
}

impl Mem {
    /// `[base + disp]`.
    pub const fn base(base: Reg, disp: i32) -> Mem {
        Mem::Address(Address { base: Some(base), index: None, shift: 0, disp })
    }

    /// `[base + index << shift + disp]`.
    pub const fn indexed(base: Reg, index: Reg, shift: u8, disp: i32) -> Mem {
        Mem::Address(Address { base: Some(base), index: Some(index), shift, disp })
    }

    /// `[index << shift + disp]`, without a base.
    pub const fn scaled(index: Reg, shift: u8, disp: i32) -> Mem {
        Mem::Address(Address { base: None, index: Some(index), shift, disp })
    }
}

/// An operand of an instruction, in printing order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operand {
    /// A register.
    Reg(Reg),
    /// Memory.
    Mem(Mem),
    /// An immediate. A field narrower than 64 bits takes its low bits (and must be able to hold it, signed or not).
    Imm(i64),
    /// A place in this buffer's code, for branches and calls.
    Label(Label),
    /// A symbol plus bytes, for branches and calls, or as a 64-bit immediate (its absolute address).
    Symbol(Symbol, i32),
}

impl From<Reg> for Operand {
    fn from(reg: Reg) -> Operand {
        Operand::Reg(reg)
    }
}

impl From<Mem> for Operand {
    fn from(mem: Mem) -> Operand {
        Operand::Mem(mem)
    }
}

impl From<Label> for Operand {
    fn from(label: Label) -> Operand {
        Operand::Label(label)
    }
}
