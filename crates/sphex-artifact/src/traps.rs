//! Names and numbers of traps.
//!
//! IR and machine code carry a trap as one opaque byte; here it gets its meaning, the message that the official test
//! scripts expect, and its name in CLIF text. Codes 1 to 250 are `userN` in CLIF, the five above have names of their
//! own; 0 is no trap.

use std::fmt;

macro_rules! traps {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal, $message:literal;)+) => {
        /// Why wasm code stopped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum Trap {
            $($(#[doc = $doc])+ $name = $code,)+
        }

        impl Trap {
            /// Every trap there is.
            pub const ALL: &'static [Trap] = &[$(Trap::$name),+];

            /// The trap of this code, if it is one of ours.
            pub const fn from_code(code: u8) -> Option<Trap> {
                match code {
                    $($code => Some(Trap::$name),)+
                    _ => None,
                }
            }

            /// What happened, in the words of the official test suite where it has some.
            pub const fn message(self) -> &'static str {
                match self {
                    $(Trap::$name => $message,)+
                }
            }
        }
    };
}

traps! {
    /// An `unreachable` instruction was executed.
    Unreachable = 1, "unreachable";
    /// A table instruction (or an element segment) reached outside its table or segment.
    TableOutOfBounds = 2, "out of bounds table access";
    /// `call_indirect` with an index outside the table.
    UndefinedElement = 3, "undefined element";
    /// `call_indirect` of a null entry.
    IndirectCallToNull = 4, "uninitialized element";
    /// `call_indirect` of a function of another type.
    BadSignature = 5, "indirect call type mismatch";
    /// A null reference was used where a value is needed.
    NullReference = 6, "null reference";
    /// An atomic access to an address that is not a multiple of its size.
    HeapMisaligned = 7, "unaligned atomic";
    /// A wait on a memory that is not shared.
    ExpectedSharedMemory = 8, "expected shared memory";
    /// An array access outside the array.
    ArrayOutOfBounds = 9, "out of bounds array access";
    /// A cast to a type that the reference does not have.
    CastFailure = 10, "cast failure";
    /// An object larger than the implementation allows.
    AllocationTooLarge = 11, "allocation size too large";
    /// The store's fuel is used up.
    OutOfFuel = 12, "out of fuel";
    /// The embedder stopped the program.
    Interrupt = 13, "interrupted";
    /// An exception that no one caught.
    UncaughtException = 14, "uncaught exception";
    /// The store's epoch deadline was reached.
    EpochDeadline = 15, "epoch deadline reached";
    /// The store's deadline in time was reached.
    Timeout = 16, "timed out";
    /// The stack limit was reached.
    StackOverflow = 251, "call stack exhausted";
    /// An access outside a linear memory (or a data segment).
    MemoryOutOfBounds = 252, "out of bounds memory access";
    /// A signed division, or a conversion to an integer, whose result has no representation.
    IntegerOverflow = 253, "integer overflow";
    /// An integer division by zero.
    IntegerDivisionByZero = 254, "integer divide by zero";
    /// A conversion of NaN to an integer.
    BadConversionToInteger = 255, "invalid conversion to integer";
}

/// The first code that is not `userN` in CLIF text.
pub const FIRST_NAMED: u8 = 251;

const NAMED: [(&str, Trap); 5] = [
    ("stk_ovf", Trap::StackOverflow),
    ("heap_oob", Trap::MemoryOutOfBounds),
    ("int_ovf", Trap::IntegerOverflow),
    ("int_divz", Trap::IntegerDivisionByZero),
    ("bad_toint", Trap::BadConversionToInteger),
];

impl Trap {
    /// The byte that IR and machine code carry.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// May the runtime let code go on behind a conditional trap of this code? Then the way back stands behind the
    /// trapping instruction.
    pub const fn is_resumable(code: u8) -> bool {
        code == Trap::Interrupt as u8 || code == Trap::OutOfFuel as u8
    }
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for Trap {}

/// The code of a trap name in CLIF text: one of the five names, or `user1` to `user250`.
pub fn code_of_clif_name(name: &str) -> Option<u8> {
    if let Some((_, trap)) = NAMED.iter().find(|(text, _)| *text == name) {
        return Some(trap.code());
    }
    let number: u8 = name.strip_prefix("user")?.parse().ok()?;
    (1..FIRST_NAMED).contains(&number).then_some(number)
}

/// A code as CLIF text writes it: `write!(f, "{}", ClifName(code))`. Code 0 prints as `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClifName(
    /// The trap code.
    pub u8,
);

impl fmt::Display for ClifName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("none"),
            code if code < FIRST_NAMED => write!(f, "user{code}"),
            code => f.write_str(NAMED[usize::from(code - FIRST_NAMED)].0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_codes_agree() {
        for code in 1..=255u8 {
            assert_eq!(code_of_clif_name(&ClifName(code).to_string()), Some(code));
        }
        for name in ["user0", "user251", "user", "none", "", "heap", "user256", "user-1"] {
            assert_eq!(code_of_clif_name(name), None, "{name}");
        }
        for &trap in Trap::ALL {
            assert_eq!(Trap::from_code(trap.code()), Some(trap));
        }
        assert_eq!(Trap::from_code(0), None);
        assert_eq!(ClifName(Trap::MemoryOutOfBounds.code()).to_string(), "heap_oob");
    }
}
