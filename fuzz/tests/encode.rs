//! Seeded rows of the x86-64 table against an independent disassembler.

use sphex_fuzz::{encode, seeded};

#[test]
fn rows_disassemble_to_themselves() {
    let run = seeded::run(4000, 16, encode::check_bytes);
    assert!(run.total as u64 == 16 * run.cases);
}
