//! Filling the fields of relocations, for a linker that knows every address.
//!
//! Needs: the word, and where it and its target are, counted from the start of a page. Gives: [`patch`].

use crate::record::RelocationKind;

/// Fills the field of the word at `place` so that it refers to `to` (the addend included). `None` if the distance does not
/// fit or the relocation is not one of AArch64's. A load of an address from its slot becomes the computation of it.
pub fn patch(kind: RelocationKind, word: u32, place: i64, to: i64) -> Option<u32> {
    match kind {
        RelocationKind::A64Call => {
            let distance = to - place;
            let fits = (-1 << 27..1 << 27).contains(&distance) && distance & 3 == 0;
            fits.then_some(word | (distance >> 2) as u32 & 0x03ff_ffff)
        }
        RelocationKind::A64Page | RelocationKind::A64GotPage => {
            let pages = (to >> 12) - (place >> 12);
            let field = pages as u32;
            let fits = (-1 << 20..1 << 20).contains(&pages);
            fits.then_some(word | (field & 3) << 29 | (field >> 2 & 0x7_ffff) << 5)
        }
        RelocationKind::A64Low12 => Some(word | (to as u32 & 0xfff) << 10),
        RelocationKind::A64GotLow12 => {
            // `ldr to, [page]` becomes `add to, page, #low`.
            let add = 0x9100_0000 | word & 0x3ff;
            (word >> 22 == 0x3e5).then_some(add | (to as u32 & 0xfff) << 10)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aarch64::encode::{symbol_address, symbol_slot};
    use crate::aarch64::operand::x;
    use crate::buffer::{CodeBuffer, Isa, Pool};
    use crate::record::Symbol;

    /// What `adrp` and `add` at this place compute.
    fn address(words: [u32; 2], place: i64) -> i64 {
        let pages = (words[0] >> 29 & 3 | (words[0] >> 5 & 0x7_ffff) << 2) << 11;
        (place & !0xfff) + (i64::from(pages as i32 >> 11) << 12) + i64::from(words[1] >> 10 & 0xfff)
    }

    #[test]
    fn both_ways_to_an_address_come_to_it() {
        for slot in [false, true] {
            let mut buffer = CodeBuffer::for_isa(Isa::Aarch64);
            match slot {
                true => symbol_slot(x(7), Symbol(0), &mut buffer),
                false => symbol_address(x(7), Symbol(0), 0, &mut buffer),
            }
            let code = buffer.finish(Pool::Apart).unwrap();
            for (place, to) in [(0, 4), (0xffc, 0x1000), (0x12_3000, 0x2468), (0x10, 0x7fff_ffff)] {
                let mut words = [0; 2];
                for (k, relocation) in code.relocations.iter().enumerate() {
                    let at = relocation.offset as usize;
                    let word = u32::from_le_bytes(code.bytes[at..at + 4].try_into().unwrap());
                    words[k] =
                        patch(relocation.kind, word, place + i64::from(relocation.offset), to).unwrap();
                }
                assert_eq!(address(words, place), to);
                assert_eq!((words[0] & 31, words[1] >> 22, words[1] & 0x3ff), (7, 0x244, 0xe7));
            }
        }
    }

    #[test]
    fn calls_reach_128_mebibytes() {
        let bl = 0x9400_0000;
        assert_eq!(patch(RelocationKind::A64Call, bl, 8, 0), Some(0x97ff_fffe));
        assert_eq!(patch(RelocationKind::A64Call, bl, 0, (1 << 27) - 4), Some(0x95ff_ffff));
        assert_eq!(patch(RelocationKind::A64Call, bl, 0, 1 << 27), None);
        assert_eq!(patch(RelocationKind::Call4, bl, 0, 0), None);
    }
}
