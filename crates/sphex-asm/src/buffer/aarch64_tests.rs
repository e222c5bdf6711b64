//! AArch64's branches and fields: which form is chosen at which distance, and where it goes.

use super::*;
use crate::aarch64::encode::{branch_if, encode, if_clear, if_zero, invert, on};
use crate::aarch64::op;
use crate::aarch64::operand::{Cond, Operand, Size, Variant, x};

const NOP: u32 = 0xd503_201f;

fn fill(buffer: &mut CodeBuffer, words: usize) {
    for _ in 0..words {
        buffer.put(&NOP.to_le_bytes());
    }
}

fn finish(buffer: &mut CodeBuffer) -> Vec<u32> {
    let code = buffer.finish(Pool::AfterCode).expect("small code");
    code.bytes.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect()
}

/// The word that a branch at `at` goes to.
fn target(words: &[u32], at: usize) -> i64 {
    let signed = |value: u32, bits: u32| i64::from((value << (32 - bits)) as i32 >> (32 - bits));
    let word = words[at];
    let distance = match word >> 24 & 0x7f {
        0x14..=0x17 => signed(word & 0x03ff_ffff, 26),
        0x54 | 0x34 | 0x35 => signed(word >> 5 & 0x7_ffff, 19),
        0x36 | 0x37 => signed(word >> 5 & 0x3fff, 14),
        _ => panic!("{word:08x} is no branch"),
    };
    at as i64 + distance
}

/// Each branch with the farthest distance in words that its own field spans, forwards and backwards.
fn branches() -> [(Branch, i64); 6] {
    [
        (on(Cond::Lt), 1 << 18),
        (if_zero(x(3), Size::S32), 1 << 18),
        (invert(if_zero(x(30), Size::S64)), 1 << 18),
        (if_clear(x(3), 0), 1 << 13),
        (invert(if_clear(x(9), 63)), 1 << 13),
        (if_clear(x(31), 31), 1 << 13),
    ]
}

#[test]
fn branches_forwards_are_one_word_as_far_as_they_reach() {
    for (branch, reach) in branches() {
        for (distance, length) in [(2, 1), (reach - 1, 1), (reach + 2, 2)] {
            let mut buffer = CodeBuffer::for_isa(Isa::Aarch64);
            let label = buffer.label();
            buffer.branch(branch, label);
            fill(&mut buffer, distance as usize - 1);
            buffer.bind(label);
            fill(&mut buffer, 1);
            let words = finish(&mut buffer);
            assert_eq!(words.len() as i64, distance + length, "{branch:?} over {distance}");
            if length == 1 {
                assert_eq!(target(&words, 0), distance);
            } else {
                // The opposite goes past the jump.
                assert_eq!((target(&words, 0), target(&words, 1)), (2, distance + 1), "{branch:?}");
                let opposite = if words[0] >> 24 == 0x54 { 1 } else { 1 << 24 };
                let mut short = CodeBuffer::for_isa(Isa::Aarch64);
                let label = short.label();
                short.branch(branch, label);
                fill(&mut short, 1);
                short.bind(label);
                fill(&mut short, 1);
                assert_eq!(finish(&mut short)[0] ^ words[0], opposite, "{branch:?}");
            }
        }
    }
}

#[test]
fn branches_backwards_are_one_word_as_far_as_they_reach() {
    for (branch, reach) in branches() {
        for (distance, length) in [(0, 1), (1, 1), (reach, 1), (reach + 1, 2)] {
            let mut buffer = CodeBuffer::for_isa(Isa::Aarch64);
            let label = buffer.label();
            buffer.bind(label);
            fill(&mut buffer, distance as usize);
            buffer.branch(branch, label);
            let words = finish(&mut buffer);
            assert_eq!(words.len() as i64, distance + length, "{branch:?} over {distance}");
            let last = words.len() - 1;
            assert_eq!(target(&words, last), 0, "{branch:?} over {distance}");
        }
    }
}

#[test]
fn a_block_ends_in_one_branch_if_it_can() {
    let mut buffer = CodeBuffer::for_isa(Isa::Aarch64);
    let (then, other) = (buffer.label(), buffer.label());
    branch_if(on(Cond::Eq), then, other, Some(then), &mut buffer);
    buffer.bind(then);
    fill(&mut buffer, 1);
    branch_if(on(Cond::Eq), then, other, Some(other), &mut buffer);
    buffer.bind(other);
    fill(&mut buffer, 1);
    branch_if(on(Cond::Eq), then, other, None, &mut buffer);
    let words = finish(&mut buffer);
    assert_eq!(
        words.iter().map(|word| word & 0xff00_000f).collect::<Vec<_>>()[..4],
        [0x5400_0001, NOP & 0xff00_000f, 0x5400_0000, NOP & 0xff00_000f]
    );
    assert_eq!((target(&words, 0), target(&words, 2)), (3, 1));
    assert_eq!((target(&words, 4), target(&words, 5)), (1, 3));
}

#[test]
fn a_jump_to_the_next_word_goes_and_padding_is_whole_words() {
    let mut buffer = CodeBuffer::for_isa(Isa::Aarch64);
    let next = buffer.label();
    buffer.branch(Branch::A64Jump, next);
    buffer.bind(next);
    fill(&mut buffer, 1);
    buffer.align(16);
    fill(&mut buffer, 1);
    assert_eq!(finish(&mut buffer), [NOP; 5]);
}

#[test]
fn addresses_and_tables_name_their_label() {
    let mut buffer = CodeBuffer::for_isa(Isa::Aarch64);
    let (table, end) = (buffer.label(), buffer.label());
    encode(op::ADR, Variant::NONE, &[x(1).into(), Operand::Label(table)], &mut buffer);
    encode(op::LDR_LIT, Variant::S64, &[x(2).into(), Operand::Label(table)], &mut buffer);
    encode(op::BL, Variant::NONE, &[Operand::Label(end)], &mut buffer);
    buffer.bind(table);
    buffer.jump_table(table, &[end, table]);
    buffer.bind(end);
    let words = finish(&mut buffer);
    // `adr x1, .+12`, `ldr x2, .+8`, `bl .+12`, then two distances from the table.
    assert_eq!(words, [0x1000_0061, 0x5800_0042, 0x9400_0003, 8, 0]);
}

#[test]
fn what_no_field_spans_is_an_error() {
    let mut buffer = CodeBuffer::for_isa(Isa::Aarch64);
    let far = buffer.label();
    encode(op::ADR, Variant::NONE, &[x(1).into(), Operand::Label(far)], &mut buffer);
    fill(&mut buffer, 1 << 18);
    buffer.bind(far);
    let error = buffer.finish(Pool::AfterCode).unwrap_err();
    assert_eq!(error.to_string(), "code size: expected at most 1048575 bytes, found 1048580");
}
