//! Tests of `simplify` with its parts.

use super::*;
use sphex_ir::parse::parse_functions;

fn after(text: &str) -> String {
    let mut func = parse_functions(text).expect("it parses").remove(0);
    simplify(&mut func, &mut Scratch::default(), &mut Graph::default());
    sphex_ir::verify::verify(&func).unwrap_or_else(|e| panic!("{e}"));
    super::super::place::place(
        &mut func,
        &mut super::super::place::Scratch::default(),
        &mut Graph::default(),
    );
    sphex_ir::verify::verify(&func).unwrap_or_else(|e| panic!("{e}\n{func}"));
    func.to_string()
}

fn count(text: &str, word: &str) -> usize {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|w| *w == word).count()
}

#[test]
fn a_second_load_and_a_load_after_a_store_go() {
    let text = after(
        "function %f(i64, i32) -> i32, i32, i32 {
        block0(v0: i64, v1: i32):
            v2 = load.i32 little v0+8
            v3 = load.i32 little v0+8
            store little v1, v0+12
            v4 = load.i32 little v0+12
            v5 = load.i32 little v0+8
            v6 = iadd v2, v3
            v7 = iadd v4, v5
            store little v1, v0+10
            v8 = load.i32 little v0+8
            return v6, v7, v8
        }",
    );
    assert_eq!((count(&text, "load"), count(&text, "store")), (2, 2), "{text}");
}

#[test]
fn a_narrow_store_forwards_its_low_bits() {
    let text = after(
        "function %f(i64, i32) -> i32, i32 {
        block0(v0: i64, v1: i32):
            istore8 little v1, v0
            v2 = uload8.i32 little v0
            v3 = sload8.i32 little v0
            return v2, v3
        }",
    );
    assert_eq!(
        (count(&text, "uload8"), count(&text, "sload8"), count(&text, "ireduce")),
        (0, 0, 1),
        "{text}"
    );
}

#[test]
fn a_loop_that_writes_changes_memory_and_one_that_does_not_keeps_it() {
    let loads = |store: &str| {
        let text = after(&format!(
            "function %f(i64, i32) -> i32 {{
            block0(v0: i64, v1: i32):
                v2 = load.i32 little v0
                jump block1(v2)
            block1(v3: i32):
                v4 = load.i32 little v0
                v5 = iadd v3, v4
                {store}
                brif v5, block1(v5), block2
            block2:
                return v5
            }}"
        ));
        count(&text, "load")
    };
    assert_eq!((loads("store little v5, v0"), loads("")), (2, 1));
}

#[test]
fn a_merge_keeps_what_both_sides_keep() {
    let loads = |side: &str| {
        let text = after(&format!(
            "function %f(i64, i32) -> i32 {{
            fn0 = %g()
            block0(v0: i64, v1: i32):
                v2 = load.i32 little v0
                brif v1, block1, block2
            block1:
                {side}
                jump block3
            block2:
                jump block3
            block3:
                v4 = load.i32 little v0
                v5 = iadd v2, v4
                return v5
            }}"
        ));
        count(&text, "load")
    };
    assert_eq!((loads("call fn0()"), loads("nop")), (2, 1));
}

#[test]
fn checks_that_were_passed_go() {
    let text = after(
        "function %f(i32, i32) -> i32 {
        block0(v0: i32, v1: i32):
            v2 = icmp ult v0, v1
            trapz v2, user1
            v3 = icmp uge v0, v1
            trapnz v3, user2
            v4 = icmp eq v0, v1
            trapnz v4, user3
            v5 = icmp ule v1, v0
            brif v5, block1, block2
        block1:
            return v0
        block2:
            trapz v1, user4
            v6 = icmp slt v0, v1
            trapz v6, user5
            return v1
        }",
    );
    assert_eq!((count(&text, "trapz"), count(&text, "trapnz"), count(&text, "brif")), (2, 0, 0), "{text}");
    assert!(text.contains("user1") && text.contains("user5"), "{text}");
}

#[test]
fn ranges_decide() {
    let text = after(
        "function %f(i32, i8, i32) -> i64 {
        block0(v0: i32, v1: i8, v6: i32):
            v2 = uextend.i32 v1
            v3 = iconst.i32 256
            v4 = icmp ult v2, v3
            trapz v4, user1
            v5 = band v0, v2
            v7 = icmp sge v5, v3
            trapnz v7, user2
            v8 = icmp ugt v6, v2
            trapz v8, user3
            trapz v6, user4
            v9 = icmp ult v6, v3
            trapz v9, user5
            v10 = uextend.i64 v6
            v11 = iconst.i64 0x1_0000
            v12 = icmp uge v10, v11
            trapnz v12, user6
            return v10
        }",
    );
    let left: Vec<char> = text.split("user").skip(1).filter_map(|t| t.chars().next()).collect();
    assert_eq!(left, ['3', '5'], "{text}");
}

#[test]
fn a_fact_of_one_side_is_not_one_of_the_other() {
    let text = after(
        "function %f(i32, i32) -> i32 {
        block0(v0: i32, v1: i32):
            v2 = icmp ult v0, v1
            brif v2, block1, block2
        block1:
            trapz v2, user1
            jump block3
        block2:
            trapz v2, user2
            jump block3
        block3:
            trapz v2, user3
            return v0
        }",
    );
    assert!(!text.contains("user1") && text.contains("user3") && text.contains("trap user2"), "{text}");
}

#[test]
fn what_always_traps_ends_its_block_and_a_store_before_it_stays() {
    let text = after(
        "function %f(i64) -> i64 {
        block0(v0: i64):
            store little v0, v0
            v1 = iconst.i32 0
            trapz v1, user1
            store little v0, v0+8
            return v0
        }",
    );
    assert_eq!((count(&text, "store"), count(&text, "return")), (1, 0), "{text}");
}

#[test]
fn a_hundred_thousand_blocks() {
    let mut text =
        String::from("function %f(i32, i64) -> i32 {\nblock0(v0: i32, v1: i64):\n jump block1(v0)\n");
    let n = 100_000;
    for k in 1..n {
        let (v, next) = (10 * k, k + 1);
        let block = format!(
            "block{k}(v{v}: i32):\n v{a} = load.i32 v1+4\n v{b} = iadd v{v}, v{a}\n brif v{b}, block{next}(v{b}), block{n}(v{b})\n",
            a = v + 1,
            b = v + 2,
        );
        text.push_str(&block);
    }
    text.push_str(&format!("block{n}(v3: i32):\n return v3\n}}"));
    let mut func = parse_functions(&text).expect("it parses").remove(0);
    let done: Result<(), ()> =
        super::super::optimize(&mut func, &mut super::super::Scratch::default(), |_, _| Ok(()));
    assert!(done.is_ok());
    let loads = func.layout.iter().flat_map(|b| &func.blocks[*b].insts);
    assert_eq!(loads.filter(|i| func.insts[**i].opcode == Opcode::Load).count(), 1);
}
