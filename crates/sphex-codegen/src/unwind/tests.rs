//! The section as readers see it, and every function of the CLIF tests stepped.

use super::check::{Code, Rows, check};
use super::eh_frame::{EhFrame, dwarf_number};
use crate::abi::{Place, place};
use crate::emit::CompiledFunction;
use crate::pipeline::{Context, compile};
use crate::settings::{Arch, Settings, Target};
use sphex_asm::register::RegSet;
use sphex_ir::Function;
use std::path::Path;

/// The functions of every CLIF test file that is there, as far as they parse and compile.
fn for_each_function(mut visit: impl FnMut(&Function, &CompiledFunction)) -> usize {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let mut settings = Settings::new(Target::parse("x86_64").unwrap());
    settings.enable("sse42").unwrap();
    let (mut ctx, mut count) = (Context::new(), 0);
    let shared = root.ancestors().map(|up| up.join("shared/corpora/clif-runtests"));
    for folder in shared.chain([root.join("tests/clif/run")]) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(text) = std::fs::read_to_string(entry.path()) else { continue };
            let from = text.find("\nfunction ").map_or(0, |at| at + 1);
            let Ok(parsed) = sphex_ir::parse::parse_text(&text, from) else { continue };
            for parsed in parsed.functions {
                let mut func = parsed.function;
                if let Ok(compiled) = compile(&mut func, &settings, &mut ctx) {
                    visit(&func, &compiled);
                    count += 1;
                }
            }
        }
    }
    count
}

/// Checks a function as compiled.
pub(crate) fn check_one(compiled: &CompiledFunction, saved: RegSet) {
    let mut section = EhFrame::new(Arch::X64, 0x1000);
    section.add(0, compiled.code.len() as u64, &compiled.unwind);
    let rows = Rows::read(&section.finish(), 0x1000);
    let saved: Vec<u8> = saved.iter().map(dwarf_number).collect();
    let relocated = |at: u64| compiled.relocations.iter().any(|r| u64::from(r.offset) == at);
    check(&Code {
        bytes: &compiled.code,
        start: 0,
        rows: &rows.functions[0].2,
        relocated: &relocated,
        callee_saved: &saved,
    });
}

#[test]
fn every_instruction_of_every_test_function_unwinds() {
    let count = for_each_function(|func, compiled| {
        let placement = place(Arch::X64, &func.signature).unwrap();
        let mut saved = placement.convention.callee_saved;
        for place in &placement.returns {
            if let Place::Reg(reg) = *place {
                saved.remove(reg); // a result is not the caller's value
            }
        }
        check_one(compiled, saved);
    });
    assert!(count >= 30, "{count} functions");
}

#[test]
fn the_section_has_one_cie_and_ends_in_zero() {
    let (mut section, mut expected, mut at) = (EhFrame::new(Arch::X64, 0x2000), Vec::new(), 0u64);
    for_each_function(|_, compiled| {
        if at > 0x1_0000 {
            return;
        }
        let length = compiled.code.len() as u64;
        section.add(at, length, &compiled.unwind);
        expected.push((at, length));
        at += length.next_multiple_of(16);
    });
    let bytes = section.finish();
    let cie = "1400000000000000017a5200017810011 00c070890010000".replace(" ", "");
    let found: String = bytes[..24].iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(found, cie);
    assert_eq!(bytes[bytes.len() - 4..], [0; 4]);
    let rows = Rows::read(&bytes, 0x2000);
    let found: Vec<_> = rows.functions.iter().map(|&(start, length, _)| (start, length)).collect();
    assert_eq!((rows.cies, found), (1, expected));
}
