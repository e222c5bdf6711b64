//! What emission asks of an instruction set.
//!
//! Needs: the shared emitter. Gives: [`EmitTarget`], by which the shared half calls the other, statically; and
//! x86-64's answers.

use super::{Emitter, SlowPath};
use crate::machine::{MachineBlock, MachineInst, Pseudo};
use sphex_asm::buffer::{Branch, Isa, Label};
use sphex_asm::register::Reg;
use sphex_asm::x64::op;

/// The half of emission that knows an instruction set.
pub(crate) trait EmitTarget: Sized {
    /// What the buffer writes itself.
    const ISA: Isa;
    /// An unconditional branch.
    const JUMP: Branch;
    /// The row right before a trap that looks for an interruption, which is left out with it.
    const LOOK: u16;
    /// Emits the code at entry; gives the slow path of the stack limit, if there is one.
    fn prologue(emitter: &mut Emitter<'_, Self>) -> Option<SlowPath>;
    /// Emits that.
    fn slow_path(emitter: &mut Emitter<'_, Self>, slow: SlowPath);
    /// Emits a copy between registers of a class.
    fn copy(emitter: &mut Emitter<'_, Self>, to: Reg, from: Reg);
    /// Emits a load of a spill slot, by its word.
    fn reload(emitter: &mut Emitter<'_, Self>, to: Reg, word: u32);
    /// Emits a store to a spill slot.
    fn spill(emitter: &mut Emitter<'_, Self>, word: u32, from: Reg);
    /// Is an instruction needless for what the one before has left in the flags?
    fn is_needless(_: &mut Emitter<'_, Self>, _: usize, _: &MachineInst) -> bool {
        false
    }
    /// Emits an instruction of the table.
    fn row(emitter: &mut Emitter<'_, Self>, index: usize, inst: &MachineInst);
    /// Emits what is not in the table.
    fn pseudo(
        emitter: &mut Emitter<'_, Self>,
        pseudo: Pseudo,
        index: usize,
        inst: &MachineInst,
        block: MachineBlock,
        next: Option<Label>,
    );
    /// Emits a trap, with its record.
    fn trap_here(emitter: &mut Emitter<'_, Self>, code: u8);
}

/// x86-64.
pub(crate) struct X64;

impl EmitTarget for X64 {
    const ISA: Isa = Isa::X64;
    const JUMP: Branch = Branch::X64Jump;
    const LOOK: u16 = op::CMP_MI.0;

    fn prologue(emitter: &mut Emitter<'_>) -> Option<SlowPath> {
        emitter.prologue()
    }

    fn slow_path(emitter: &mut Emitter<'_>, slow: SlowPath) {
        emitter.slow_path(slow);
    }

    fn copy(emitter: &mut Emitter<'_>, to: Reg, from: Reg) {
        emitter.copy(to, from);
    }

    fn reload(emitter: &mut Emitter<'_>, to: Reg, word: u32) {
        emitter.load(to, emitter.spill(word));
    }

    fn spill(emitter: &mut Emitter<'_>, word: u32, from: Reg) {
        emitter.store(emitter.spill(word), from);
    }

    fn is_needless(emitter: &mut Emitter<'_>, index: usize, inst: &MachineInst) -> bool {
        emitter.is_needless_test(index, inst)
    }

    fn row(emitter: &mut Emitter<'_>, index: usize, inst: &MachineInst) {
        emitter.table_row(index, inst);
    }

    fn pseudo(
        emitter: &mut Emitter<'_>,
        pseudo: Pseudo,
        index: usize,
        inst: &MachineInst,
        block: MachineBlock,
        next: Option<Label>,
    ) {
        emitter.pseudo(pseudo, index, inst, block, next);
    }

    fn trap_here(emitter: &mut Emitter<'_>, code: u8) {
        emitter.trap_here(code);
    }
}
