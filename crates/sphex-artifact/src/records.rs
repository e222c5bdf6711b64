//! The tables of one function whose code stands in no artifact: it was compiled when it was first called.
//!
//! They say what the tables of an artifact say, by offsets from the start of the function's code. Lookups allocate
//! nothing and take no lock, so that a signal handler may make them.

use crate::read::Frame;
use crate::sections::{AddressRow, InlineNode, NO_OFFSET, TrapRow};

/// What the runtime asks of a function's code, each pc an offset in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FunctionRecords {
    /// Its module.
    pub module: u32,
    /// Its index.
    pub function: u32,
    /// Bytes of code.
    pub len: u32,
    /// Traps, ascending by pc.
    pub traps: Box<[TrapRow]>,
    /// Source addresses, ascending by pc; each holds up to the next.
    pub addresses: Box<[AddressRow]>,
    /// Inlined bodies that `addresses` refers to, from 1; each one's parent has a smaller number.
    pub inline_nodes: Box<[InlineNode]>,
}

impl FunctionRecords {
    /// The trap that a fault at exactly this pc means.
    pub fn trap_at(&self, pc: u32) -> Option<TrapRow> {
        let found = self.traps.binary_search_by_key(&pc, |row| row.pc).ok()?;
        self.traps.get(found).copied()
    }

    /// The wasm frames at this pc, innermost first: inlined bodies, then the function itself.
    pub fn frames_at(&self, pc: u32) -> impl Iterator<Item = Frame> + '_ {
        let row = self.addresses.partition_point(|row| row.pc <= pc).checked_sub(1);
        let row = row.and_then(|row| self.addresses.get(row));
        let (mut node, mut offset) = row.map_or((0, NO_OFFSET), |row| (row.inline, row.offset));
        let mut ended = false;
        std::iter::from_fn(move || {
            if ended {
                return None;
            }
            let known = (offset != NO_OFFSET).then_some(offset);
            let inlined = (node as usize).checked_sub(1).and_then(|at| self.inline_nodes.get(at));
            Some(match inlined.filter(|inlined| inlined.parent < node) {
                Some(inlined) => {
                    (node, offset) = (inlined.parent, inlined.call_offset);
                    Frame { module: inlined.module, function: inlined.function, offset: known }
                }
                None => {
                    ended = true;
                    Frame { module: self.module, function: self.function, offset: known }
                }
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sections::FrameState;

    #[test]
    fn traps_and_frames_are_found_by_pc() {
        let trap = |pc| TrapRow { pc, code: 1, frame: FrameState::Frame };
        let row = |pc, offset, inline| AddressRow { pc, offset, inline };
        let node = |parent, function, call_offset| InlineNode { parent, module: 0, function, call_offset };
        let records = FunctionRecords {
            module: 0,
            function: 7,
            len: 40,
            traps: Box::new([trap(4), trap(9)]),
            addresses: Box::new([row(0, 100, 0), row(4, 20, 2), row(12, NO_OFFSET, 0)]),
            inline_nodes: Box::new([node(0, 5, 101), node(1, 6, 50)]),
        };
        assert_eq!(records.trap_at(9), Some(trap(9)));
        assert_eq!(records.trap_at(5), None);
        let frames =
            |pc| records.frames_at(pc).map(|frame| (frame.function, frame.offset)).collect::<Vec<_>>();
        assert_eq!(frames(3), [(7, Some(100))]);
        assert_eq!(frames(11), [(6, Some(20)), (5, Some(50)), (7, Some(101))]);
        assert_eq!(frames(39), [(7, None)]);
        // Numbers that lead nowhere end the walk.
        let mut records = records;
        records.inline_nodes[0].parent = 1;
        assert_eq!(records.frames_at(4).count(), 2);
    }
}
