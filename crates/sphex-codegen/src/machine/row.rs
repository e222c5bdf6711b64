//! What one machine instruction is: sixteen bytes, a row of the ISA's table or a [`Pseudo`].

use sphex_asm::operand::Variant;
use sphex_asm::x64::Cond;

/// The first row number that is a [`Pseudo`].
pub const FIRST_PSEUDO: u16 = 0xff00;

macro_rules! pseudos {
    ($($(#[$doc:meta])+ $name:ident $text:literal;)+) => {
        /// Rows that are not one instruction of the ISA's table. Emission knows each.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub enum Pseudo { $($(#[$doc])+ $name,)+ }

        impl Pseudo {
            /// Every pseudo row in order.
            pub const ALL: &'static [Pseudo] = &[$(Pseudo::$name),+];

            /// Its name in dumps.
            pub const fn name(self) -> &'static str {
                match self { $(Pseudo::$name => $text,)+ }
            }
        }
    };
}

pseudos! {
    /// Defines registers at function entry: fixed defs.
    Entry "entry";
    /// Copies a register: a use and a def of the same class.
    Copy "copy";
    /// Goes to the block's one successor. No operands.
    Jump "jump";
    /// Goes to the first successor if the flags fit the variant's condition, else to the second. No operands.
    JumpIf "jump_if";
    /// Goes to the first successor if both conditions (the variant's and the payload's) hold, else to the second.
    JumpIfBoth "jump_if_both";
    /// Goes to the first successor if either condition holds, else to the second.
    JumpIfEither "jump_if_either";
    /// Goes to the first successor if the variant's condition holds and, by a comparison of its own, the second condition
    /// ([`MachineInst::second_cond`]), else to the second successor. Operands: a use that is compared with the payload,
    /// or two that are compared.
    CompareIfBoth "compare_if_both";
    /// Goes to the first successor if either holds, else to the second. Operands as above.
    CompareIfEither "compare_if_either";
    /// Goes where the table says. Operands: a use of the index (32 bits, zero-extended to 64 or with undefined upper
    /// bits), two early defs of scratch registers. The index is clamped without a branch. The payload is an index into
    /// [`super::MachineFunction::jump_tables`].
    JumpTable "jump_table";
    /// A call. The payload is a [`super::CallRef`]; see [`super::Call`] for the operands.
    Call "call";
    /// A tail call: ends the block. The payload is a [`super::CallRef`].
    TailCall "tail_call";
    /// Returns: fixed uses of the results.
    Return "return";
    /// Stops with the trap code of the instruction: ends the block. No operands.
    Trap "trap";
    /// Stops if the flags fit the variant's condition. No operands.
    TrapIf "trap_if";
    /// Stops if both conditions hold (the variant's and the payload's). No operands.
    TrapIfBoth "trap_if_both";
    /// Stops if either condition holds. No operands.
    TrapIfEither "trap_if_either";
    /// A place where the runtime may look at the frame: late uses that may be anywhere.
    Safepoint "safepoint";
    /// Several instructions whose emitter is `x64::sequence::emit`; the payload is the selection's number for which, and
    /// the operands are its own affair.
    Sequence "sequence";
}

impl Pseudo {
    /// The row number.
    pub const fn row(self) -> u16 {
        FIRST_PSEUDO + self as u16
    }

    /// The pseudo row of this number.
    pub fn from_row(row: u16) -> Option<Pseudo> {
        Pseudo::ALL.get(usize::from(row.checked_sub(FIRST_PSEUDO)?)).copied()
    }

    /// Whether it ends a block and goes to successors.
    pub const fn is_branch(self) -> bool {
        use Pseudo::*;
        matches!(
            self,
            Jump | JumpIf | JumpIfBoth | JumpIfEither | CompareIfBoth | CompareIfEither | JumpTable
        )
    }

    /// Whether it ends a block without successors.
    pub const fn is_exit(self) -> bool {
        matches!(self, Pseudo::TailCall | Pseudo::Return | Pseudo::Trap)
    }
}

/// Bits of [`MachineInst::variant`] above those of `sphex-asm`: the operand that may be memory is memory.
pub const VARIANT_MEMORY: u16 = 1 << 8;
/// The payload is an index into [`super::MachineFunction::wide_immediates`].
pub const VARIANT_WIDE: u16 = 1 << 9;
/// The payload is a [`Symbol`](sphex_asm::record::Symbol).
pub const VARIANT_SYMBOL: u16 = 1 << 10;

/// Where the second condition of a comparing branch stands in the variant.
pub(super) const SECOND_COND: u32 = 11;

/// One machine instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct MachineInst {
    /// A row of the ISA's table, or a [`Pseudo`].
    pub row: u16,
    /// Size, condition ([`Variant`]) and `VARIANT_` bits.
    pub variant: u16,
    /// First of its operands; they end where the next instruction's begin.
    pub operands: u32,
    /// The immediate; or an [`super::AmodeRef`] if there is memory (which holds the immediate too); or as the row says.
    pub payload: u32,
    /// Bits 0 to 23 index [`super::MachineFunction::locations`], bits 24 to 31 are the trap code (0: cannot fault).
    pub location: u32,
}

const _: () = assert!(size_of::<MachineInst>() == 16);

impl MachineInst {
    /// The pseudo row, if it is one.
    pub fn pseudo(&self) -> Option<Pseudo> {
        Pseudo::from_row(self.row)
    }

    /// The trap code of a fault here; 0 is none.
    pub const fn trap(&self) -> u8 {
        (self.location >> 24) as u8
    }

    /// Index into [`super::MachineFunction::locations`].
    pub const fn location(&self) -> u32 {
        self.location & LOCATION_MASK
    }

    /// Size and condition.
    pub const fn variant(&self) -> Variant {
        Variant(self.variant & 0xff)
    }

    /// The condition that a comparing branch reads after its own comparison.
    pub const fn second_cond(&self) -> Cond {
        Cond::ALL[self.second_cond_bits() as usize]
    }

    /// The same by its number.
    pub const fn second_cond_bits(&self) -> u8 {
        (self.variant >> SECOND_COND & 15) as u8
    }
}

/// The part of [`MachineInst::location`] that is an index.
pub(super) const LOCATION_MASK: u32 = 0x00ff_ffff;
