//! A function's address map, packed until its module is linked.
//!
//! Needs which code comes from which place of the source. Gives the same rows, four bytes for most instead of twelve: the
//! maps of a large module's functions, all waiting at once, were the largest part of a compilation's memory.

use sphex_ir::SrcLoc;

/// The rows. A word is the distance to the one before: of the code (8 bits), of the place (16 bits, from `-BIAS` on), then
/// the number of the inline node (8 bits). A row that does not fit is the word [`WIDE`] and three of its own.
#[derive(Debug, Default)]
pub(crate) struct Places {
    words: Box<[u32]>,
    len: u32,
    /// Is any of an inlined body?
    inline: bool,
}

/// No word of a row that fits: its node would be 255.
const WIDE: u32 = u32::MAX;

const BIAS: i64 = 1 << 15;

/// From this offset of the code on, it comes from this place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) code: u32,
    pub(crate) source: u32,
    pub(crate) node: u32,
}

impl Places {
    /// Packs a map. What comes from nowhere belongs to what stands before it, and at the start to `prologue`.
    pub(crate) fn pack(map: &[(u32, SrcLoc)], prologue: u32) -> Places {
        let mut packer = Packer { words: Vec::with_capacity(map.len() + 1), ..Packer::default() };
        let mut next = Place { code: 0, source: prologue, node: 0 };
        for &(code, loc) in map.iter().filter(|(_, loc)| !loc.is_none()) {
            let place = Place { code, source: loc.offset, node: loc.node };
            if place.code != next.code && (place.source, place.node) != (next.source, next.node) {
                packer.push(next);
            } else if place.code != next.code {
                continue;
            }
            next = place;
        }
        packer.push(next);
        Places { words: packer.words.into(), len: packer.len, inline: packer.inline }
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    /// Is any of them of an inlined body?
    pub(crate) fn has_inline(&self) -> bool {
        self.inline
    }

    /// Visits the rows, by their place in the code.
    pub(crate) fn each(&self, mut visit: impl FnMut(Place)) {
        let (mut words, mut last) = (self.words.iter().copied(), Place::default());
        while let Some(word) = words.next() {
            let mut wide = || words.next().unwrap_or_default();
            last = match word {
                WIDE => Place { code: wide(), source: wide(), node: wide() },
                _ => Place {
                    code: last.code + (word & 0xff),
                    source: (i64::from(last.source) + i64::from(word >> 8 & 0xffff) - BIAS) as u32,
                    node: word >> 24,
                },
            };
            visit(last);
        }
    }
}

#[derive(Default)]
struct Packer {
    words: Vec<u32>,
    last: Place,
    len: u32,
    inline: bool,
}

impl Packer {
    fn push(&mut self, row: Place) {
        let code = row.code - self.last.code;
        let source = i64::from(row.source) - i64::from(self.last.source) + BIAS;
        if code <= 0xff && (0..=0xffff).contains(&source) && row.node < 0xff {
            self.words.push(code | (source as u32) << 8 | row.node << 24);
        } else {
            self.words.extend([WIDE, row.code, row.source, row.node]);
        }
        self.last = row;
        self.len += 1;
        self.inline |= row.node != 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_were() {
        let at = |node, offset| SrcLoc { node, offset };
        let none = SrcLoc::NONE;
        let map = [
            (4, at(0, 90)),
            (5, none),
            (9, at(3, 10)),
            (300, at(0, u32::MAX - 1)),
            (70_000, at(0, 0)),
            (70_001, at(255, 1)),
        ];
        let row = |code, source, node| Place { code, source, node };
        let rest = [row(9, 10, 3), row(300, u32::MAX - 1, 0), row(70_000, 0, 0), row(70_001, 1, 255)];
        let packed = |map: &[_]| {
            let mut rows = Vec::new();
            Places::pack(map, 80).each(|row| rows.push(row));
            rows
        };
        assert_eq!(packed(&map), [&[row(0, 80, 0), row(4, 90, 0)], &rest[..]].concat());
        assert_eq!(packed(&[(0, at(1, 85)), (2, none)]), [row(0, 85, 1)]);
        assert_eq!(packed(&[(0, none), (2, at(0, 86))]), [row(0, 80, 0), row(2, 86, 0)]);
        assert_eq!(packed(&[]), [row(0, 80, 0)]);
        // The last row of one place in the code counts, and the first of several for one place in the source.
        assert_eq!(
            packed(&[(0, at(0, 7)), (3, at(0, 7)), (5, at(0, 8)), (5, at(2, 8))]),
            [row(0, 7, 0), row(5, 8, 2)]
        );
        let places = Places::pack(&map, 80);
        assert_eq!((places.len(), places.has_inline()), (6, true));
        assert!(!Places::pack(&[(0, at(0, 7))], 80).has_inline());
    }
}
