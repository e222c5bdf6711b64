//! Registers' names and conditions; what stands in an instruction otherwise is shared by all instruction sets.
//!
//! Needs: nothing of the table. Gives: register constants and names, [`Cond`]; hands on [`crate::operand`].

pub use crate::operand::{Address, Mem, Operand, Size, Variant};
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

impl Variant {
    /// This condition (for rows without a size, such as `jcc`).
    pub const fn cond(cond: Cond) -> Variant {
        Variant::cond_bits(cond as u8)
    }

    /// The same with another condition.
    pub const fn with_cond(self, cond: Cond) -> Variant {
        self.with_cond_bits(cond as u8)
    }

    /// The condition.
    pub const fn get_cond(self) -> Cond {
        Cond::ALL[self.get_cond_bits() as usize]
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
