//! What stands in an instruction: registers, memory, immediates, labels; and its size and condition.
//!
//! Needs: nothing of the table. Gives: [`Operand`] and its parts, [`Variant`], register constants and names.

use crate::buffer::{Constant, Label};
use crate::record::Symbol;
use crate::register::{Reg, RegClass};

/// The sixteen integer registers by their 64-bit names.
pub mod gpr {
    use crate::register::Reg;
    macro_rules! name {
        ($($name:ident $number:literal)*) => { $(#[doc = concat!("`", stringify!($name), "`")] pub const $name: Reg = Reg::int($number);)* };
    }
    name!(RAX 0 RCX 1 RDX 2 RBX 3 RSP 4 RBP 5 RSI 6 RDI 7 R8 8 R9 9 R10 10 R11 11 R12 12 R13 13 R14 14 R15 15);
}

/// The vector register with this number.
pub const fn xmm(number: u8) -> Reg {
    Reg::vector(number)
}

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

/// A condition on the flags. The number is the hardware's; the opposite is the number with its lowest bit flipped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Cond {
    /// Overflow.
    O = 0,
    /// No overflow.
    No = 1,
    /// Unsigned below; carry.
    B = 2,
    /// Unsigned above or equal; no carry.
    Ae = 3,
    /// Equal; zero.
    E = 4,
    /// Not equal; not zero.
    Ne = 5,
    /// Unsigned below or equal.
    Be = 6,
    /// Unsigned above.
    A = 7,
    /// Sign: negative.
    S = 8,
    /// No sign.
    Ns = 9,
    /// Parity even; unordered.
    P = 10,
    /// Parity odd; ordered.
    Np = 11,
    /// Signed less.
    L = 12,
    /// Signed greater or equal.
    Ge = 13,
    /// Signed less or equal.
    Le = 14,
    /// Signed greater.
    G = 15,
}

impl Cond {
    /// Every condition, by number.
    pub const ALL: [Cond; 16] = [
        Cond::O,
        Cond::No,
        Cond::B,
        Cond::Ae,
        Cond::E,
        Cond::Ne,
        Cond::Be,
        Cond::A,
        Cond::S,
        Cond::Ns,
        Cond::P,
        Cond::Np,
        Cond::L,
        Cond::Ge,
        Cond::Le,
        Cond::G,
    ];

    /// The condition that holds exactly when this one does not.
    pub const fn invert(self) -> Cond {
        Cond::ALL[(self as u8 ^ 1) as usize]
    }

    /// The condition that holds for `b ? a` when this one holds for `a ? b`; those on one flag are their own.
    pub const fn swap(self) -> Cond {
        match self {
            Cond::B => Cond::A,
            Cond::A => Cond::B,
            Cond::Ae => Cond::Be,
            Cond::Be => Cond::Ae,
            Cond::L => Cond::G,
            Cond::G => Cond::L,
            Cond::Le => Cond::Ge,
            Cond::Ge => Cond::Le,
            other => other,
        }
    }

    /// The suffix in a mnemonic, such as `ne`.
    pub const fn suffix(self) -> &'static str {
        ["o", "no", "b", "ae", "e", "ne", "be", "a", "s", "ns", "p", "np", "l", "ge", "le", "g"]
            [self as usize]
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

    /// This condition (for rows without a size, such as `jcc`).
    pub const fn cond(cond: Cond) -> Variant {
        Variant((cond as u16) << 4)
    }

    /// The same with another condition.
    pub const fn with_cond(self, cond: Cond) -> Variant {
        Variant(self.0 & !0xf0 | (cond as u16) << 4)
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

    /// The condition.
    pub const fn get_cond(self) -> Cond {
        Cond::ALL[(self.0 >> 4 & 15) as usize]
    }
}

/// `[base + index << shift + disp]`, every part optional.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address {
    /// The base; any integer register.
    pub base: Option<Reg>,
    /// The index; any integer register but `rsp`.
    pub index: Option<Reg>,
    /// Log2 of the index's scale, 0..=3.
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

/// The name of a register at a size; integer registers have names up to 64 bits, vector registers from 128 bits.
pub const fn register_name(reg: Reg, size: Size) -> &'static str {
    const B: [&str; 16] = [
        "al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil", "r8b", "r9b", "r10b", "r11b", "r12b", "r13b",
        "r14b", "r15b",
    ];
    const W: [&str; 16] = [
        "ax", "cx", "dx", "bx", "sp", "bp", "si", "di", "r8w", "r9w", "r10w", "r11w", "r12w", "r13w", "r14w",
        "r15w",
    ];
    const D: [&str; 16] = [
        "eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "r8d", "r9d", "r10d", "r11d", "r12d", "r13d",
        "r14d", "r15d",
    ];
    const Q: [&str; 16] = [
        "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
        "r14", "r15",
    ];
    const X: [&str; 32] = [
        "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
        "xmm12", "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22",
        "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31",
    ];
    const Y: [&str; 32] = [
        "ymm0", "ymm1", "ymm2", "ymm3", "ymm4", "ymm5", "ymm6", "ymm7", "ymm8", "ymm9", "ymm10", "ymm11",
        "ymm12", "ymm13", "ymm14", "ymm15", "ymm16", "ymm17", "ymm18", "ymm19", "ymm20", "ymm21", "ymm22",
        "ymm23", "ymm24", "ymm25", "ymm26", "ymm27", "ymm28", "ymm29", "ymm30", "ymm31",
    ];
    let n = reg.number() as usize;
    match reg.class() {
        RegClass::Vector => match size {
            Size::S256 => Y[n],
            _ => X[n],
        },
        RegClass::Int => match size {
            Size::S8 => B[n & 15],
            Size::S16 => W[n & 15],
            Size::S32 => D[n & 15],
            _ => Q[n & 15],
        },
    }
}
