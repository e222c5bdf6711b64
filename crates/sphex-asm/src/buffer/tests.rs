//! Branches, labels and records of the buffer, on a machine of two instructions: `put` and `branch`.
//!
//! The reference is a walk over the finished bytes that knows nothing of how they were made: it finds the instructions
//! again by the pattern they were emitted in.

use super::*;
use crate::register::Reg;
use crate::x64::encode::nops;
use crate::x64::operand::{Cond, Mem, Operand, Variant, gpr};
use crate::x64::{encode::branch_if, encode::encode, op};

const E: Branch = Branch::X64JumpIf(4);

/// `count` bytes of filler.
fn fill(buffer: &mut CodeBuffer, count: usize) {
    for _ in 0..count {
        buffer.put(&[0xcc]);
    }
}

fn finish(mut buffer: CodeBuffer) -> Code {
    buffer.finish(Pool::AfterCode).expect("small code")
}

/// Where the branch at `at` goes, and its length.
fn target(bytes: &[u8], at: usize) -> (i64, usize) {
    let near = |from: usize| i64::from(i32::from_le_bytes(bytes[from..from + 4].try_into().unwrap()));
    match bytes[at] {
        0xeb | 0x70..=0x7f => (at as i64 + 2 + i64::from(bytes[at + 1] as i8), 2),
        0xe9 => (at as i64 + 5 + near(at + 1), 5),
        0x0f => (at as i64 + 6 + near(at + 2), 6),
        other => panic!("no branch at {at}: {other:02x}"),
    }
}

#[test]
fn forward_branches_are_short_up_to_127_bytes() {
    for (distance, length) in [(1, 2), (127, 2), (128, 6), (1000, 6)] {
        let mut buffer = CodeBuffer::new();
        let label = buffer.label();
        buffer.branch(E, label);
        fill(&mut buffer, distance);
        buffer.bind(label);
        fill(&mut buffer, 1);
        let code = finish(buffer);
        assert_eq!(target(&code.bytes, 0), ((length + distance) as i64, length), "distance {distance}");
        assert_eq!(code.offset_of(label) as usize, length + distance);
    }
}

#[test]
fn backward_branches_are_short_up_to_128_bytes() {
    for (distance, length) in [(0, 2), (126, 2), (127, 5), (1000, 5)] {
        let mut buffer = CodeBuffer::new();
        let label = buffer.label();
        buffer.bind(label);
        fill(&mut buffer, distance);
        buffer.branch(Branch::X64Jump, label);
        fill(&mut buffer, 1);
        let code = finish(buffer);
        assert_eq!(target(&code.bytes, distance), (0, length), "distance {distance}");
        assert_eq!(code.bytes.len(), distance + length + 1);
    }
}

#[test]
fn shrinking_one_branch_lets_another_shrink() {
    // The outer branch spans 125 bytes and an inner branch that is 6 bytes long until it shrinks to 2.
    let mut buffer = CodeBuffer::new();
    let (outer, inner) = (buffer.label(), buffer.label());
    buffer.branch(E, outer);
    buffer.branch(E, inner);
    fill(&mut buffer, 60);
    buffer.bind(inner);
    fill(&mut buffer, 65);
    buffer.bind(outer);
    let code = finish(buffer);
    assert_eq!(target(&code.bytes, 0), (129, 2));
    assert_eq!(target(&code.bytes, 2), (64, 2));
}

#[test]
fn a_jump_to_the_next_instruction_goes() {
    let mut buffer = CodeBuffer::new();
    let (next, end) = (buffer.label(), buffer.label());
    buffer.branch(E, next);
    buffer.branch(Branch::X64Jump, end);
    buffer.bind(end);
    buffer.bind(next);
    fill(&mut buffer, 3);
    let code = finish(buffer);
    assert_eq!(code.bytes, [0xcc; 3]);
    assert_eq!((code.offset_of(next), code.offset_of(end)), (0, 0));
}

#[test]
fn a_block_ends_in_at_most_one_branch_if_either_way_is_next() {
    let ends = |next: usize| {
        let mut buffer = CodeBuffer::new();
        let labels = [buffer.label(), buffer.label(), buffer.label()];
        branch_if(Cond::L, labels[0], labels[1], labels.get(next).copied(), &mut buffer);
        for label in labels {
            fill(&mut buffer, 1);
            buffer.bind(label);
        }
        finish(buffer).bytes
    };
    assert_eq!(ends(0), [0x7d, 2, 0xcc, 0xcc, 0xcc], "the condition is inverted");
    assert_eq!(ends(1), [0x7c, 1, 0xcc, 0xcc, 0xcc]);
    assert_eq!(ends(2), [0x7c, 3, 0xeb, 2, 0xcc, 0xcc, 0xcc]);
}

#[test]
fn aliases_resolve_and_cycles_are_refused() {
    let mut buffer = CodeBuffer::new();
    let labels: Vec<Label> = (0..5).map(|_| buffer.label()).collect();
    buffer.branch(E, labels[0]);
    fill(&mut buffer, 4);
    for i in 0..4 {
        assert!(buffer.alias(labels[i], labels[i + 1]));
    }
    assert!(!buffer.alias(labels[4], labels[0]), "a cycle");
    buffer.bind(labels[4]);
    fill(&mut buffer, 1);
    let code = finish(buffer);
    assert_eq!(target(&code.bytes, 0), (6, 2));
    assert!(labels.iter().all(|label| code.offset_of(*label) == 6));
}

#[test]
fn padding_is_recomputed_after_shrinking() {
    let mut buffer = CodeBuffer::new();
    let (head, end) = (buffer.label(), buffer.label());
    buffer.branch(E, end); // 6 bytes, then 2
    fill(&mut buffer, 10); // 16: no padding as emitted
    buffer.trap(1); // in front of the padding
    buffer.call(7); // ends in front of the padding
    buffer.align(16);
    buffer.bind(head);
    buffer.location(3);
    fill(&mut buffer, 2);
    buffer.branch(Branch::X64Jump, head);
    buffer.unwind(UnwindOp::EndEpilogue);
    buffer.bind(end);
    let code = finish(buffer);
    assert_eq!(code.alignment, 16);
    assert_eq!(code.offset_of(head), 16);
    assert_eq!(target(&code.bytes, 0), (20, 2));
    assert_eq!(target(&code.bytes, 18), (16, 2));
    assert_eq!(code.calls, [CallRecord { offset: 12, safepoint: 7 }]);
    assert_eq!(code.locations, [LocationRecord { offset: 16, location: 3 }]);
    assert_eq!(code.unwind, [UnwindRecord { offset: 20, op: UnwindOp::EndEpilogue }]);
    let mut padding = Vec::new();
    nops(4, &mut padding);
    assert_eq!(code.bytes[12..16], padding);
}

#[test]
fn constants_are_shared_aligned_and_placed_as_asked() {
    let emit = |buffer: &mut CodeBuffer| {
        for value in [1_u64, 2, 1] {
            let constant = buffer.constant(&value.to_le_bytes());
            let operands = [Operand::Reg(gpr::RAX), Operand::Mem(Mem::Constant(constant))];
            encode(op::MOV_RM, Variant::S64, &operands, buffer);
        }
        let wide = buffer.constant(&[9; 16]);
        let operands = [Operand::Reg(Reg::vector(1)), Operand::Mem(Mem::Constant(wide))];
        encode(op::MOVAPS_RM, Variant::NONE, &operands, buffer);
        // An immediate after the displacement: the instruction's end is what counts.
        let operands = [Operand::Mem(Mem::Constant(wide)), Operand::Imm(1000)];
        encode(op::CMP_MI, Variant::S32, &operands, buffer);
    };
    let mut buffer = CodeBuffer::new();
    emit(&mut buffer);
    let code = buffer.finish(Pool::AfterCode).unwrap();
    assert_eq!((code.code_size, code.alignment), (38, 16));
    assert_eq!(code.bytes.len(), 48 + 32);
    let at = |field: usize| i32::from_le_bytes(code.bytes[field..field + 4].try_into().unwrap());
    assert_eq!([at(3) + 7, at(10) + 14, at(17) + 21], [64, 72, 64]);
    assert_eq!((at(24) + 28, at(30) + 38), (48, 48));
    assert_eq!(code.bytes[64..72], 1_u64.to_le_bytes());

    emit(&mut buffer);
    let apart = buffer.finish(Pool::Apart).unwrap();
    assert_eq!((apart.bytes.len(), apart.constants.len(), apart.constants_alignment), (38, 32, 16));
    let targets: Vec<_> = apart.relocations.iter().map(|r| (r.offset, r.target, r.addend)).collect();
    let constant = RelocationTarget::Constant;
    let expected =
        [(3, constant(16), -4), (10, constant(24), -4), (17, constant(16), -4), (24, constant(0), -4)];
    assert_eq!(targets[..4], expected);
    assert_eq!(targets[4], (30, constant(0), -8));
}

#[test]
fn jump_tables_hold_distances_from_their_base() {
    let mut buffer = CodeBuffer::new();
    let (table, a, b) = (buffer.label(), buffer.label(), buffer.label());
    encode(op::LEA, Variant::S64, &[gpr::RAX.into(), Mem::Label(table, 0).into()], &mut buffer);
    buffer.branch(E, a); // shrinks by four in front of everything
    buffer.bind(a);
    fill(&mut buffer, 3);
    buffer.branch(E, a);
    buffer.bind(b);
    fill(&mut buffer, 1);
    buffer.align(4);
    buffer.bind(table);
    buffer.jump_table(table, &[a, b, a]);
    let code = finish(buffer);
    let base = code.offset_of(table);
    assert_eq!(base % 4, 0);
    let entry = |i: usize| {
        let at = base as usize + 4 * i;
        i32::from_le_bytes(code.bytes[at..at + 4].try_into().unwrap()) + base as i32
    };
    assert_eq!([entry(0), entry(1), entry(2)], [7, 12, 7]);
    assert_eq!(i32::from_le_bytes(code.bytes[3..7].try_into().unwrap()) + 7, base as i32);
}

#[test]
fn finishing_empties_the_buffer() {
    let mut buffer = CodeBuffer::new();
    let label = buffer.label();
    buffer.branch(E, label);
    buffer.trap(1);
    buffer.bind(label);
    buffer.constant(&[1; 8]);
    buffer.finish(Pool::AfterCode).unwrap();
    fill(&mut buffer, 2);
    let code = buffer.finish(Pool::AfterCode).unwrap();
    assert_eq!(code.bytes, [0xcc, 0xcc]);
    assert!(code.traps.is_empty() && code.labels.is_empty() && code.alignment == 1);
}

/// Random programs: every branch arrives where its label is, every record stands where its marker is, and no branch is
/// long that could be short by what the model promises.
#[test]
fn random_programs_keep_every_promise() {
    let mut state = 1_u64;
    let mut random = move |limit: u64| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % limit
    };
    let (mut short, mut long) = (0, 0);
    for round in 0..3000 {
        let mut buffer = CodeBuffer::new();
        let blocks = 1 + random(40) as usize;
        let labels: Vec<Label> = (0..blocks).map(|_| buffer.label()).collect();
        let aligned = round % 2 == 0;
        let spread = [4, 20, 60, 200][random(4) as usize];
        // What was emitted: Some(label) is a branch, None a marked filler of these bytes.
        let mut shape: Vec<(usize, Option<Label>)> = Vec::new();
        for (i, &label) in labels.iter().enumerate() {
            if aligned && random(4) == 0 {
                buffer.align(16);
            }
            buffer.bind(label);
            buffer.trap(i as u8);
            let count = 1 + random(spread) as usize;
            // Each block begins with an unmistakable marker, so that it can be found again.
            buffer.put(&[0xf4, i as u8]);
            fill(&mut buffer, count);
            let to = labels[random(blocks as u64) as usize];
            buffer.branch(if random(2) == 0 { E } else { Branch::X64Jump }, to);
            shape.push((count, Some(to)));
            buffer.call(i as u32);
        }
        fill(&mut buffer, 1);
        let code = finish(buffer);
        for (i, (count, to)) in shape.iter().enumerate() {
            let start = code.offset_of(labels[i]) as usize;
            assert_eq!(code.bytes[start..start + 2], [0xf4, i as u8], "label {i} of round {round}");
            assert_eq!(code.traps[i], TrapRecord { offset: start as u32, code: i as u8 });
            let at = start + 2 + count;
            let goal = i64::from(code.offset_of(to.unwrap()));
            if code.calls[i].offset as usize == at {
                assert_eq!(goal, at as i64, "a dropped branch of round {round}");
                continue;
            }
            let (arrives, length) = target(&code.bytes, at);
            assert_eq!(arrives, goal, "branch {i} of round {round}");
            assert_eq!(code.calls[i].offset as usize, at + length);
            if length == 2 {
                short += 1
            } else {
                long += 1
            }
            let distance =
                if goal > at as i64 { goal - (at + length) as i64 } else { goal - (at + 2) as i64 };
            if length > 2 && !aligned {
                // Three rounds may leave a branch that only a fourth would reach: within a few bytes of the limit.
                assert!(
                    !(-112..=112).contains(&distance),
                    "branch {i} of round {round} could be short: {distance}"
                );
            }
        }
    }
    assert!(short > 10_000 && long > 10_000, "{short} short, {long} long");
}

/// Steps at n and 4n blocks stay within the factor that the whole project promises.
#[test]
fn a_hundred_thousand_blocks_are_linear() {
    let steps = |blocks: usize| {
        let mut buffer = CodeBuffer::new();
        let labels: Vec<Label> = (0..blocks).map(|_| buffer.label()).collect();
        for (i, &label) in labels.iter().enumerate() {
            buffer.bind(label);
            buffer.location(i as u32);
            fill(&mut buffer, 5);
            // Near, far, backwards, and chains of aliases made of nothing but jumps.
            let to = match i % 4 {
                0 => labels[(i + 7).min(blocks - 1)],
                1 => labels[blocks - 1 - i],
                2 => labels[i.saturating_sub(3)],
                _ => labels[(i * 31) % blocks],
            };
            buffer.branch(if i % 2 == 0 { E } else { Branch::X64Jump }, to);
            buffer.call(i as u32);
        }
        let alias: Vec<Label> = (0..blocks).map(|_| buffer.label()).collect();
        buffer.branch(E, alias[0]);
        for pair in alias.windows(2) {
            buffer.alias(pair[0], pair[1]);
        }
        buffer.alias(alias[blocks - 1], labels[0]);
        finish(buffer).steps
    };
    let (small, large) = (steps(25_000), steps(100_000));
    assert!(large < small * 46 / 10, "{small} steps, then {large}");
    assert!(large < 100_000 * 20, "{large} steps for 100,000 blocks");
}
