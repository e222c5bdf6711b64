//! The order of blocks in memory, as far as it can be decided only when all moves are known, and small loops emitted
//! several times over.
//!
//! Needs: stand-ins. Gives: [`Place`]s in order. Cost: linear.
//!
//! T1. A block that one side of a branch leads to, and that jumps back, stands in front of where it jumps to: mostly the
//!     moves of a loop's edge back. A turn then has one jump less, for one more at the loop's entry.
//! T2. A small loop without calls whose header looks for an interruption stands there two or four times; turn k goes on in
//!     turn k + 1, the last in the first, and only the first looks. That an interruption is seen some turns later does not
//!     matter, and what a short loop costs is mostly its frame: the look and the jump back.
//! T3. A copy is the same instructions with the same registers, so that everything is right that goes from any copy of a
//!     block to any copy of a successor. Only what goes to the header changes the turn; so every cycle through the header
//!     passes the first one.
//! T4. A block that looks, and then jumps to one that looks, need not: an outer loop's header before an inner one's. Not if
//!     that one does the same, so that of a cycle of them one looks.

use super::{EmitTarget, Emitter};
use crate::machine::{MachineBlock, Pseudo};
use sphex_artifact::Trap;
use sphex_asm::buffer::Label;
use sphex_entity::EntityRef;

/// Most instructions of a loop that stands there four times, and twice.
const INSTRUCTIONS: [usize; 2] = [24, 64];

/// Most blocks of such a loop.
const BLOCKS: usize = 12;

/// A block in the order of emission.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    /// The block.
    pub block: MachineBlock,
    /// Which copy of it (T2).
    pub turn: u8,
}

/// A loop that stands there several times.
#[derive(Clone, Copy, Debug)]
struct Turns {
    header: MachineBlock,
    count: u8,
    /// Where the labels of its copies begin: for each block, one for each turn but the first.
    labels: u32,
}

/// All of a function.
#[derive(Debug, Default)]
pub(super) struct Loops {
    loops: Vec<Turns>,
    /// The loop of each block and its number in there; empty if there are none.
    of: Vec<Option<(u32, u32)>>,
    labels: Vec<Label>,
}

impl Loops {
    fn of(&self, block: MachineBlock) -> Option<(u32, u32)> {
        self.of.get(block.index()).copied().flatten()
    }
}

impl<T: EmitTarget> Emitter<'_, T> {
    /// The places of the blocks of this order, which are not rare.
    pub(super) fn places(&mut self, order: Vec<MachineBlock>) -> Vec<Place> {
        let order = self.latches_before_headers(order);
        let mut position = vec![u32::MAX; self.func.blocks.len()];
        for (k, block) in order.iter().enumerate() {
            position[block.index()] = k as u32;
        }
        let mut places = Vec::with_capacity(order.len());
        let mut at = 0;
        for header in 1..order.len() {
            let Some((first, last, count)) = self.turns(&order, &position, header, at.max(1)) else {
                continue;
            };
            let whole = |block: &MachineBlock| Place { block: *block, turn: 0 };
            places.extend(order[at..first].iter().map(whole));
            self.copy_loop(&order[first..=last], order[header], count);
            let mut turn_of = |blocks: &[MachineBlock], turn| {
                places.extend(blocks.iter().map(|&block| Place { block, turn }));
            };
            turn_of(&order[first..header], count - 1);
            for turn in 0..count {
                turn_of(&order[header..=last], turn);
                if turn + 1 < count {
                    turn_of(&order[first..header], turn);
                }
            }
            at = last + 1;
        }
        places.extend(order[at..].iter().map(|&block| Place { block, turn: 0 }));
        self.steps += places.len() as u64;
        places
    }

    /// Keeps T1.
    fn latches_before_headers(&mut self, order: Vec<MachineBlock>) -> Vec<MachineBlock> {
        let mut place = vec![u32::MAX; self.func.blocks.len()];
        for (k, block) in order.iter().enumerate() {
            place[block.index()] = k as u32;
        }
        let mut before = vec![None; order.len()];
        let mut moved = vec![false; order.len()];
        for (k, pair) in order.windows(2).enumerate() {
            let (from, latch) = (pair[0], pair[1]);
            let Some(header) = self.jumps_to(latch).map(|header| place[header.index()] as usize) else {
                continue;
            };
            let leaves = !moved[k] && self.func.blocks[from].successors.range().len() == 2;
            if 0 < header && header <= k && leaves && before[header].is_none() && !moved[header] {
                before[header] = Some(latch);
                moved[k + 1] = true;
            }
        }
        let mut rotated = Vec::with_capacity(order.len());
        for (k, &block) in order.iter().enumerate().filter(|&(k, _)| !moved[k]) {
            rotated.extend(before[k]);
            rotated.push(block);
        }
        rotated
    }

    /// Where a block goes that ends with a jump.
    fn jumps_to(&self, block: MachineBlock) -> Option<MachineBlock> {
        let data = &self.func.blocks[block];
        let jumps = self.func.insts[data.insts.range().last()?].pseudo() == Some(Pseudo::Jump);
        jumps.then(|| self.successors(block).next()).flatten()
    }

    /// Where a block goes, past blocks that only jump.
    fn successors(&self, block: MachineBlock) -> impl Iterator<Item = MachineBlock> + '_ {
        let successors = &self.func.successors[self.func.blocks[block].successors.range()];
        successors.iter().map(|to| MachineBlock::new(self.stand_in[to.index()] as usize))
    }

    /// If the block at this place of the order is the header of a loop to repeat, which begins at `from` or later: its first
    /// and last block, and how often.
    fn turns(
        &self,
        order: &[MachineBlock],
        position: &[u32],
        header: usize,
        from: usize,
    ) -> Option<(usize, usize, u8)> {
        if header < from || !self.looks(order[header]) {
            return None;
        }
        let may_repeat = |k: usize| self.is_plain(order[k]) && (k == header || !self.looks(order[k]));
        let mut lowest = header;
        while lowest > from && header - lowest < BLOCKS && may_repeat(lowest - 1) {
            lowest -= 1;
        }
        let (mut first, mut found) = (header, None);
        for k in (header..order.len()).take(BLOCKS).take_while(|&k| may_repeat(k)) {
            for to in self.successors(order[k]) {
                let to = position[to.index()] as usize;
                if (lowest..=header).contains(&to) {
                    (first, found) = (first.min(to), Some(k));
                }
            }
        }
        let last = found?;
        let instructions: usize =
            order[first..=last].iter().map(|&block| self.func.blocks[block].insts.range().len()).sum();
        match instructions {
            _ if last - first >= BLOCKS || instructions > INSTRUCTIONS[1] => None,
            _ => Some((first, last, if instructions <= INSTRUCTIONS[0] { 4 } else { 2 })),
        }
    }

    /// Whether a block begins with a look for an interruption.
    fn looks(&self, block: MachineBlock) -> bool {
        self.func.blocks[block].insts.range().take(3).any(|index| self.is_look(index))
    }

    fn is_look(&self, index: usize) -> bool {
        let inst = &self.func.insts[index];
        inst.pseudo() == Some(Pseudo::TrapIf) && inst.trap() == Trap::Interrupt as u8
    }

    /// Whether an instruction is part of a look that is left out: a later turn's (T2), or one of a block that jumps to a
    /// block that looks in any case (T4).
    pub(super) fn is_left_out(&self, place: Place, index: usize) -> bool {
        let compares = self.func.insts[index].row == T::LOOK
            && self.func.insts[index].pseudo().is_none()
            && index + 1 < self.func.blocks[place.block].insts.range().end
            && self.is_look(index + 1);
        let header = |l: u32| self.loops.loops[l as usize].header == place.block;
        let later = || place.turn > 0 && self.loops.of(place.block).is_some_and(|(l, _)| header(l));
        (compares || self.is_look(index)) && (later() || self.leads_to_look(place.block))
    }

    /// Keeps T4.
    fn leads_to_look(&self, block: MachineBlock) -> bool {
        let looks = |block: MachineBlock| self.jumps_to(block).filter(|&to| self.looks(to));
        looks(block).is_some_and(|to| looks(to).is_none())
    }

    /// Whether a block has nothing that would make its copies dear or different.
    fn is_plain(&self, block: MachineBlock) -> bool {
        use Pseudo::*;
        self.func.blocks[block].insts.range().all(|index| match self.func.insts[index].pseudo() {
            None | Some(Copy | Jump | JumpIf | JumpIfBoth | JumpIfEither | JumpTable | Trap) => true,
            Some(CompareIfBoth | CompareIfEither | TrapIf | TrapIfBoth | TrapIfEither) => true,
            Some(Entry | Call | TailCall | Return | Safepoint | Sequence) => false,
        })
    }

    fn copy_loop(&mut self, blocks: &[MachineBlock], header: MachineBlock, count: u8) {
        let l = self.loops.loops.len() as u32;
        let labels = self.loops.labels.len() as u32;
        self.loops.loops.push(Turns { header, count, labels });
        self.loops.of.resize(self.func.blocks.len(), None);
        for (k, block) in blocks.iter().enumerate() {
            self.loops.of[block.index()] = Some((l, k as u32));
            self.loops.labels.extend((1..count).map(|_| self.buffer.label()));
        }
    }

    /// The label of a block in one of its turns.
    pub(super) fn label_at(&self, place: Place) -> Label {
        match (place.turn.checked_sub(1), self.loops.of(place.block)) {
            (Some(turn), Some((l, k))) => {
                let Turns { count, labels, .. } = self.loops.loops[l as usize];
                self.loops.labels[(labels + k * u32::from(count - 1)) as usize + usize::from(turn)]
            }
            _ => self.labels[place.block.index()],
        }
    }

    /// Where an edge from `block`, in the turn being emitted, leads (T3).
    pub(super) fn label_for(&self, block: MachineBlock, to: MachineBlock) -> Label {
        let to = MachineBlock::new(self.stand_in[to.index()] as usize);
        let turn = match (self.loops.of(block), self.loops.of(to)) {
            (Some((l, _)), Some((m, _))) if l == m => {
                let Turns { header, count, .. } = self.loops.loops[l as usize];
                if to == header { (self.turn + 1) % count } else { self.turn }
            }
            _ => 0,
        };
        self.label_at(Place { block: to, turn })
    }
}
