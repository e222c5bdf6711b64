//! The seam to the instruction sets: what shared code asks of the one that a function is compiled for.
//!
//! Needs: the tables of `sphex-asm`. Gives: [`SlotRows`] and the names, clobbers and calling conventions of an [`Arch`].
//! Everything else that knows an instruction set stands in its folder; emission's part is `emit::Target`.

use crate::settings::Arch;
use sphex_asm::operand::Variant;
use sphex_asm::register::{Reg, RegSet};
use sphex_asm::{aarch64, x64};

/// Rows that load or store a whole slot of the frame: an integer, a float (8 bytes), a vector (16 bytes).
#[derive(Clone, Copy, Debug)]
pub struct SlotRows {
    /// Loads: of a written register and memory.
    pub load: [u16; 3],
    /// Stores: of memory and a read register, in the row's order.
    pub store: [u16; 3],
    /// Whether a store names memory before the register.
    pub memory_first: bool,
}

impl SlotRows {
    /// The position of a kind of value in the lists.
    pub const fn kind(is_int: bool, wide: bool) -> usize {
        match (is_int, wide) {
            (true, _) => 0,
            (false, false) => 1,
            (false, true) => 2,
        }
    }

    /// The variant of such a row.
    pub const fn variant(is_int: bool) -> Variant {
        if is_int { Variant::S64 } else { Variant::NONE }
    }
}

const X64_SLOTS: SlotRows = SlotRows {
    load: [x64::op::MOV_RM.0, x64::op::MOVSD_RM.0, x64::op::MOVUPS_RM.0],
    store: [x64::op::MOV_MR.0, x64::op::MOVSD_MR.0, x64::op::MOVUPS_MR.0],
    memory_first: true,
};

const AARCH64_SLOTS: SlotRows = SlotRows {
    load: [aarch64::op::LDR_X.0, aarch64::op::LDR_D.0, aarch64::op::LDR_Q.0],
    store: [aarch64::op::STR_X.0, aarch64::op::STR_D.0, aarch64::op::STR_Q.0],
    memory_first: false,
};

impl Arch {
    /// Rows for slots of the frame.
    pub const fn slot_rows(self) -> &'static SlotRows {
        match self {
            Arch::X64 => &X64_SLOTS,
            Arch::Aarch64 => &AARCH64_SLOTS,
        }
    }

    /// Registers that a row writes though they are no operands of it.
    pub fn row_clobbers(self, row: u16) -> RegSet {
        match self {
            Arch::X64 => x64::RowId(row).row().clobbers,
            Arch::Aarch64 => RegSet::EMPTY,
        }
    }

    /// The register that `get_pinned_reg` reads.
    pub const fn pinned_reg(self) -> Reg {
        match self {
            Arch::X64 => x64::operand::gpr::R15,
            Arch::Aarch64 => aarch64::operand::x(21),
        }
    }

    /// A register's name at its full width.
    pub fn register_name(self, reg: Reg) -> &'static str {
        match self {
            Arch::X64 => x64::operand::register_name(reg, x64::Size::S64),
            Arch::Aarch64 => aarch64::operand::register_name(reg),
        }
    }

    /// A condition's name.
    pub fn condition_name(self, number: u8) -> &'static str {
        match self {
            Arch::X64 => x64::Cond::ALL[usize::from(number & 15)].suffix(),
            Arch::Aarch64 => aarch64::Cond::from_bits(number).name(),
        }
    }

    /// The mnemonic of a row with its condition, and whether it comes in several sizes.
    pub fn row_name(self, row: u16, variant: Variant) -> (String, bool) {
        match self {
            Arch::X64 => {
                let row = x64::RowId(row).row();
                let cond = if row.conditional { variant.get_cond().suffix() } else { "" };
                (format!("{}{cond}", row.name), row.sizes != 0)
            }
            Arch::Aarch64 => {
                let row = aarch64::RowId(row).row();
                let cond = match row.condition {
                    Some(_) => format!(".{}", aarch64::Cond::of(variant).name()),
                    None => String::new(),
                };
                (format!("{}{cond}", row.name.trim_end_matches('.')), row.sizes != 0)
            }
        }
    }
}
