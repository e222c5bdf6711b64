//! Moves that happen at once, one after the other.
//!
//! Needs: transfers to places that differ. Gives: moves between a register and a register or slot, in an order in which
//! nothing is overwritten before it is read. A cycle, or a move from slot to slot, takes a register that is free, else a
//! slot that moves share.

use super::{NONE, Place};
use sphex_asm::register::{Reg, RegClass, RegSet};

/// What goes where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transfer {
    pub from: Place,
    pub to: Place,
    /// The class of what is moved.
    pub class: RegClass,
}

/// Memory for putting transfers in order, empty between two uses. Places are numbered: registers, then slots.
#[derive(Debug, Default)]
pub(super) struct Sequencer {
    /// How many transfers are still to read each place.
    readers: Vec<u32>,
    /// The transfer that is to write each place.
    writer: Vec<u32>,
    ready: Vec<u32>,
    /// Transfers that are ready and load a register: they come last, and until then the register is free.
    loads: Vec<u32>,
}

/// Numbers of slots begin here.
const SLOTS: usize = 64;

fn index(place: Place) -> usize {
    match place {
        Place::Reg(reg) => reg.index(),
        Place::Slot(value) => SLOTS + value as usize,
        // Only made here, never looked for.
        Place::Temp(_) => usize::MAX,
    }
}

fn is_slot(place: Place) -> bool {
    !matches!(place, Place::Reg(_))
}

impl Sequencer {
    /// Makes room for slots of this many values.
    pub fn reset(&mut self, values: usize) {
        self.readers.clear();
        self.readers.resize(SLOTS + values, 0);
        self.writer.clear();
        self.writer.resize(SLOTS + values, NONE);
    }

    /// Emits the transfers, whose slots are those of values that stand for their classes, and forgets them. `taken` are
    /// registers that hold something before or afterwards; `temps` is raised to the number of shared slots that were used.
    pub fn sequence(
        &mut self,
        transfers: &mut Vec<Transfer>,
        classes: [RegSet; 2],
        taken: RegSet,
        temps: &mut u32,
        emit: impl FnMut(Place, Place),
    ) {
        let mut held = taken;
        for (number, transfer) in transfers.iter().enumerate() {
            for place in [transfer.from, transfer.to] {
                if let Place::Reg(reg) = place {
                    held.insert(reg);
                }
            }
            self.readers[index(transfer.from)] += 1;
            self.writer[index(transfer.to)] = number as u32;
        }
        let spare = classes.map(|class| class.difference(held).iter().next());
        let mut moves = Moves { transfers, classes, spare, temps, emit };
        for number in 0..moves.transfers.len() {
            if self.readers[index(moves.transfers[number].to)] == 0 {
                self.push(number as u32, moves.transfers);
            }
        }
        self.drain(&mut moves);
        for number in 0..moves.transfers.len() {
            // What still waits to be written is on a cycle.
            let to = moves.transfers[number].to;
            if self.writer[index(to)] == number as u32 && self.readers[index(to)] != 0 {
                let spare = moves.spare;
                self.put_aside(to, &mut moves);
                self.push(number as u32, moves.transfers);
                self.drain(&mut moves);
                moves.spare = spare;
            }
        }
        while let Some(number) = self.loads.pop() {
            let transfer = moves.transfers[number as usize];
            self.writer[index(transfer.to)] = NONE;
            (moves.emit)(transfer.from, transfer.to);
            self.readers[index(transfer.from)] -= 1;
        }
        transfers.clear();
    }

    fn push(&mut self, number: u32, transfers: &[Transfer]) {
        let transfer = transfers[number as usize];
        let loads = is_slot(transfer.from) && !is_slot(transfer.to);
        if loads { self.loads.push(number) } else { self.ready.push(number) }
    }

    /// Emits what is ready and becomes so; loads only if something waits to write what they read.
    fn drain<E: FnMut(Place, Place)>(&mut self, moves: &mut Moves<'_, E>) {
        loop {
            while let Some(number) = self.ready.pop() {
                let transfer = moves.transfers[number as usize];
                let free = self.loads.iter().map(|&load| moves.transfers[load as usize]);
                let free = free.filter(|load| load.class == transfer.class).find_map(|load| match load.to {
                    Place::Reg(reg) => Some(reg),
                    _ => None,
                });
                moves.one(transfer, free);
                self.done(transfer, moves.transfers);
            }
            let needed = |load: &u32| match moves.transfers[*load as usize].from {
                Place::Temp(_) => true,
                from => self.writer[index(from)] != NONE,
            };
            let Some(at) = self.loads.iter().position(needed) else { return };
            let transfer = moves.transfers[self.loads.swap_remove(at) as usize];
            (moves.emit)(transfer.from, transfer.to);
            self.done(transfer, moves.transfers);
        }
    }

    /// A transfer has been emitted: what it read may be overwritten, if nothing else reads it.
    fn done(&mut self, transfer: Transfer, transfers: &[Transfer]) {
        self.writer[index(transfer.to)] = NONE;
        let from = index(transfer.from);
        if from == usize::MAX {
            return;
        }
        self.readers[from] -= 1;
        let next = self.writer[from];
        if self.readers[from] == 0 && next != NONE {
            self.push(next, transfers);
        }
    }

    /// Breaks the cycle through a place: what is there goes elsewhere, and is read from there.
    fn put_aside<E: FnMut(Place, Place)>(&mut self, place: Place, moves: &mut Moves<'_, E>) {
        // Along the cycle to the transfer that reads the place.
        let mut at = self.writer[index(place)] as usize;
        while moves.transfers[at].from != place {
            at = self.writer[index(moves.transfers[at].from)] as usize;
        }
        let class = moves.transfers[at].class;
        let aside = match moves.spare[class as usize].take() {
            Some(reg) => Place::Reg(reg),
            None => {
                *moves.temps = (*moves.temps).max(1);
                Place::Temp(0)
            }
        };
        moves.one(Transfer { from: place, to: aside, class }, None);
        self.readers[index(place)] = 0;
        moves.transfers[at].from = aside;
        if let Place::Reg(reg) = aside {
            self.readers[reg.index()] = 1;
        }
    }
}

/// Transfers on their way out.
struct Moves<'a, E> {
    transfers: &'a mut [Transfer],
    classes: [RegSet; 2],
    /// A register of each class that holds nothing.
    spare: [Option<Reg>; 2],
    temps: &'a mut u32,
    emit: E,
}

impl<E: FnMut(Place, Place)> Moves<'_, E> {
    /// Emits a transfer; one from slot to slot goes through a register, `free` or another that holds nothing, else one that
    /// is saved meanwhile.
    fn one(&mut self, transfer: Transfer, free: Option<Reg>) {
        let Transfer { from, to, class } = transfer;
        if !is_slot(from) || !is_slot(to) {
            (self.emit)(from, to);
            return;
        }
        match free.or(self.spare[class as usize]) {
            Some(reg) => {
                (self.emit)(from, Place::Reg(reg));
                (self.emit)(Place::Reg(reg), to);
            }
            None => {
                let reg =
                    Place::Reg(self.classes[class as usize].iter().next().unwrap_or(Reg::from_index(0)));
                *self.temps = (*self.temps).max(2);
                (self.emit)(reg, Place::Temp(1));
                (self.emit)(from, reg);
                (self.emit)(reg, to);
                (self.emit)(Place::Temp(1), reg);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// Random transfers among few registers and slots of both classes, done one by one, leave what they would at once.
    #[test]
    fn one_by_one_is_as_at_once() {
        let mut state = 7u64;
        let mut random = move |below: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) % below
        };
        let few = |class: RegClass| (0..4).fold(RegSet::EMPTY, |set, n| set.with(Reg::new(class, n)));
        let classes = [few(RegClass::Int), few(RegClass::Vector)];
        let mut used_temps = [false; 3];
        let mut sequencer = Sequencer::default();
        sequencer.reset(200);
        for _ in 0..20_000 {
            let mut transfers = Vec::new();
            let mut taken = RegSet::EMPTY;
            for (class, set) in [RegClass::Int, RegClass::Vector].into_iter().zip(classes) {
                let mut targets: Vec<Place> =
                    set.iter().map(Place::Reg).chain((4..7).map(Place::Slot)).collect();
                for _ in 0..random(8) {
                    let to = targets.swap_remove(random(targets.len() as u64) as usize);
                    let number = random(6);
                    let from = match number {
                        0..4 => Place::Reg(Reg::new(class, number as u8)),
                        _ => Place::Slot(number as u32),
                    };
                    let slot = |place| match place {
                        Place::Slot(n) => Place::Slot(n + 100 * class as u32),
                        other => other,
                    };
                    transfers.push(Transfer { from: slot(from), to: slot(to), class });
                }
                taken = taken.union(set.iter().filter(|_| random(3) > 0).fold(RegSet::EMPTY, RegSet::with));
            }
            let source_or_taken = |place| match place {
                Place::Reg(reg) => transfers.iter().any(|t| t.from == place) || taken.contains(reg),
                _ => false,
            };
            let held: Vec<Reg> =
                classes[0].union(classes[1]).iter().filter(|&reg| source_or_taken(Place::Reg(reg))).collect();
            let expected: HashMap<Place, Place> =
                (held.iter().map(|&reg| (Place::Reg(reg), Place::Reg(reg))))
                    .chain(transfers.iter().map(|t| (t.to, t.from)))
                    .collect();
            let all = held.iter().fold(RegSet::EMPTY, |set, &reg| set.with(reg));
            let mut content: HashMap<Place, Place> = HashMap::new();
            let mut temps = 0;
            sequencer.sequence(&mut transfers, classes, all, &mut temps, |from, to| {
                let is_reg = |place| matches!(place, Place::Reg(_));
                assert!(is_reg(from) || is_reg(to), "{from:?} to {to:?}");
                let value = content.get(&from).copied().unwrap_or(from);
                content.insert(to, value);
            });
            used_temps[temps as usize] = true;
            for (place, value) in expected {
                assert_eq!(content.get(&place).copied().unwrap_or(place), value, "what {place:?} holds");
            }
        }
        assert_eq!(used_temps, [true; 3], "cycles and slots without a free register");
    }
}
