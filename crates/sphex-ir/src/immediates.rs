//! Immediate operands: condition codes, memory flags, trap codes, read-modify-write operations.

use crate::function::Region;
use core::fmt;

macro_rules! named_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum $name { $($(#[$vmeta])* $variant,)* }

        impl $name {
            /// Every variant, in numeric order.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The variant with this number.
            pub fn from_u16(raw: u16) -> Option<Self> {
                Self::ALL.get(raw as usize).copied()
            }

            /// The name in CLIF text.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }

            /// The variant with this name.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some($name::$variant),)* _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
pub(crate) use named_enum;

named_enum! {
    /// How two integers compare.
    IntCC {
        /// Equal.
        Eq = "eq",
        /// Not equal.
        Ne = "ne",
        /// Signed less than.
        Slt = "slt",
        /// Signed greater or equal.
        Sge = "sge",
        /// Signed greater than.
        Sgt = "sgt",
        /// Signed less or equal.
        Sle = "sle",
        /// Unsigned less than.
        Ult = "ult",
        /// Unsigned greater or equal.
        Uge = "uge",
        /// Unsigned greater than.
        Ugt = "ugt",
        /// Unsigned less or equal.
        Ule = "ule",
    }
}

impl IntCC {
    /// The condition that holds when this one does not.
    pub const fn inverse(self) -> Self {
        match self {
            IntCC::Eq => IntCC::Ne,
            IntCC::Ne => IntCC::Eq,
            IntCC::Slt => IntCC::Sge,
            IntCC::Sge => IntCC::Slt,
            IntCC::Sgt => IntCC::Sle,
            IntCC::Sle => IntCC::Sgt,
            IntCC::Ult => IntCC::Uge,
            IntCC::Uge => IntCC::Ult,
            IntCC::Ugt => IntCC::Ule,
            IntCC::Ule => IntCC::Ugt,
        }
    }

    /// The condition that holds of (y, x) when this one holds of (x, y).
    pub const fn swapped(self) -> Self {
        match self {
            IntCC::Eq | IntCC::Ne => self,
            IntCC::Slt => IntCC::Sgt,
            IntCC::Sgt => IntCC::Slt,
            IntCC::Sge => IntCC::Sle,
            IntCC::Sle => IntCC::Sge,
            IntCC::Ult => IntCC::Ugt,
            IntCC::Ugt => IntCC::Ult,
            IntCC::Uge => IntCC::Ule,
            IntCC::Ule => IntCC::Uge,
        }
    }

    /// Whether it compares as signed numbers.
    pub const fn is_signed(self) -> bool {
        matches!(self, IntCC::Slt | IntCC::Sge | IntCC::Sgt | IntCC::Sle)
    }
}

named_enum! {
    /// How two floats compare. Of the four outcomes (less, equal, greater, unordered) each condition accepts some.
    FloatCC {
        /// Neither is a NaN.
        Ordered = "ord",
        /// One is a NaN.
        Unordered = "uno",
        /// Equal.
        Equal = "eq",
        /// Less, greater or unordered.
        NotEqual = "ne",
        /// Less or greater.
        OrderedNotEqual = "one",
        /// Equal or unordered.
        UnorderedOrEqual = "ueq",
        /// Less.
        LessThan = "lt",
        /// Less or equal.
        LessThanOrEqual = "le",
        /// Greater.
        GreaterThan = "gt",
        /// Greater or equal.
        GreaterThanOrEqual = "ge",
        /// Unordered or less.
        UnorderedOrLessThan = "ult",
        /// Unordered, less or equal.
        UnorderedOrLessThanOrEqual = "ule",
        /// Unordered or greater.
        UnorderedOrGreaterThan = "ugt",
        /// Unordered, greater or equal.
        UnorderedOrGreaterThanOrEqual = "uge",
    }
}

impl FloatCC {
    /// The condition that holds when this one does not.
    pub const fn inverse(self) -> Self {
        use FloatCC::*;
        match self {
            Ordered => Unordered,
            Unordered => Ordered,
            Equal => NotEqual,
            NotEqual => Equal,
            OrderedNotEqual => UnorderedOrEqual,
            UnorderedOrEqual => OrderedNotEqual,
            LessThan => UnorderedOrGreaterThanOrEqual,
            LessThanOrEqual => UnorderedOrGreaterThan,
            GreaterThan => UnorderedOrLessThanOrEqual,
            GreaterThanOrEqual => UnorderedOrLessThan,
            UnorderedOrLessThan => GreaterThanOrEqual,
            UnorderedOrLessThanOrEqual => GreaterThan,
            UnorderedOrGreaterThan => LessThanOrEqual,
            UnorderedOrGreaterThanOrEqual => LessThan,
        }
    }

    /// The condition that holds of (y, x) when this one holds of (x, y).
    pub const fn swapped(self) -> Self {
        use FloatCC::*;
        match self {
            LessThan => GreaterThan,
            LessThanOrEqual => GreaterThanOrEqual,
            GreaterThan => LessThan,
            GreaterThanOrEqual => LessThanOrEqual,
            UnorderedOrLessThan => UnorderedOrGreaterThan,
            UnorderedOrLessThanOrEqual => UnorderedOrGreaterThanOrEqual,
            UnorderedOrGreaterThan => UnorderedOrLessThan,
            UnorderedOrGreaterThanOrEqual => UnorderedOrLessThanOrEqual,
            same => same,
        }
    }
}

named_enum! {
    /// The operation of an `atomic_rmw`.
    AtomicRmwOp {
        /// Addition.
        Add = "add",
        /// Subtraction.
        Sub = "sub",
        /// Bitwise and.
        And = "and",
        /// Bitwise and, complemented.
        Nand = "nand",
        /// Bitwise or.
        Or = "or",
        /// Bitwise exclusive or.
        Xor = "xor",
        /// Exchange.
        Xchg = "xchg",
        /// Unsigned minimum.
        Umin = "umin",
        /// Unsigned maximum.
        Umax = "umax",
        /// Signed minimum.
        Smin = "smin",
        /// Signed maximum.
        Smax = "smax",
    }
}

named_enum! {
    /// Byte order of a memory access.
    Endian {
        /// The target's own.
        Native = "native",
        /// Least significant byte first.
        Little = "little",
        /// Most significant byte first.
        Big = "big",
    }
}

/// Why compiled code stopped: a byte that the IR carries and does not interpret. The names of the embedder's codes stand
/// in `sphex-artifact`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TrapCode(core::num::NonZeroU8);

const fn reserved(raw: u8) -> TrapCode {
    match core::num::NonZeroU8::new(raw) {
        Some(raw) => TrapCode(raw),
        None => panic!("trap code 0 is reserved"),
    }
}

impl TrapCode {
    /// The stack's limit was passed.
    pub const STACK_OVERFLOW: TrapCode = reserved(251);
    /// A signed division overflowed.
    pub const INTEGER_OVERFLOW: TrapCode = reserved(253);
    /// A memory access was out of bounds.
    pub const HEAP_OUT_OF_BOUNDS: TrapCode = reserved(252);
    /// An integer was divided by zero.
    pub const INTEGER_DIVISION_BY_ZERO: TrapCode = reserved(254);
    /// A float has no integer value of the type asked for.
    pub const BAD_CONVERSION_TO_INTEGER: TrapCode = reserved(255);

    const NAMES: [(TrapCode, &'static str); 5] = [
        (Self::STACK_OVERFLOW, "stk_ovf"),
        (Self::INTEGER_OVERFLOW, "int_ovf"),
        (Self::HEAP_OUT_OF_BOUNDS, "heap_oob"),
        (Self::INTEGER_DIVISION_BY_ZERO, "int_divz"),
        (Self::BAD_CONVERSION_TO_INTEGER, "bad_toint"),
    ];

    /// The embedder's code with this number (1 to 250).
    pub const fn user(number: u8) -> Option<TrapCode> {
        match core::num::NonZeroU8::new(number) {
            Some(raw) if number <= 250 => Some(TrapCode(raw)),
            _ => None,
        }
    }

    /// The byte.
    pub const fn as_u8(self) -> u8 {
        self.0.get()
    }

    /// The code of a byte; 0 is none.
    pub const fn from_u8(raw: u8) -> Option<TrapCode> {
        match core::num::NonZeroU8::new(raw) {
            Some(raw) => Some(TrapCode(raw)),
            None => None,
        }
    }

    /// Parses a code's name: one of the reserved ones or `userN`.
    pub fn parse(text: &str) -> Option<TrapCode> {
        match Self::NAMES.iter().find(|(_, name)| *name == text) {
            Some(&(code, _)) => Some(code),
            None => Self::user(text.strip_prefix("user")?.parse().ok()?),
        }
    }
}

impl fmt::Display for TrapCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.iter().find(|(code, _)| code == self) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "user{}", self.0),
        }
    }
}

/// What a memory access may assume. The default may trap with `heap_oob`, is unaligned, native-endian, of no region.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MemFlags {
    /// The trap that a fault here is; `None` where the access cannot fault (`notrap`).
    pub trap: Option<TrapCode>,
    /// The address is a multiple of the access size.
    pub aligned: bool,
    /// The memory never changes while the function runs.
    pub readonly: bool,
    /// The load may be moved above the checks that it stands behind (`can_move`).
    pub can_move: bool,
    /// Byte order.
    pub endian: Endian,
    /// The part of memory accessed: accesses of different regions do not alias; [`Region::NONE`] aliases with all. Stack
    /// slots are a region of their own: an access with a region touches none.
    pub region: Region,
}

impl MemFlags {
    /// May trap with `heap_oob`, unaligned, of no region.
    pub const DEFAULT: MemFlags = MemFlags {
        trap: Some(TrapCode::HEAP_OUT_OF_BOUNDS),
        aligned: false,
        readonly: false,
        can_move: false,
        endian: Endian::Native,
        region: Region::NONE,
    };

    /// Aligned and never faulting: fields of the embedder's own structures.
    pub const TRUSTED: MemFlags = MemFlags { trap: None, aligned: true, ..Self::DEFAULT };

    /// The same, reading memory that never changes.
    pub const fn with_readonly(self) -> Self {
        MemFlags { readonly: true, ..self }
    }

    /// The same, free to move above checks.
    pub const fn with_can_move(self) -> Self {
        MemFlags { can_move: true, ..self }
    }

    /// The same in this region.
    pub const fn with_region(self, region: Region) -> Self {
        MemFlags { region, ..self }
    }

    /// The same with this byte order.
    pub const fn with_endian(self, endian: Endian) -> Self {
        MemFlags { endian, ..self }
    }

    /// The same, trapping with this code (`None`: cannot fault).
    pub const fn with_trap(self, trap: Option<TrapCode>) -> Self {
        MemFlags { trap, ..self }
    }
}

impl Default for MemFlags {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn condition_inverses_are_involutions() {
        assert!(IntCC::ALL.iter().all(|cc| cc.inverse().inverse() == *cc && cc.swapped().swapped() == *cc));
        assert!(FloatCC::ALL.iter().all(|cc| cc.inverse().inverse() == *cc && cc.swapped().swapped() == *cc));
        assert!(IntCC::ALL.iter().all(|cc| IntCC::parse(cc.name()) == Some(*cc)));
    }

    #[test]
    fn trap_codes_round_trip() {
        for code in (1..=255).filter_map(TrapCode::from_u8) {
            assert_eq!(TrapCode::parse(&code.to_string()), Some(code));
        }
        assert_eq!([TrapCode::parse("user0"), TrapCode::parse("user251"), TrapCode::from_u8(0)], [None; 3]);
    }
}
