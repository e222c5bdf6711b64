//! Bytes and text of instructions that the disassembler cannot vouch for (labels, constants, symbols) or that are easy to
//! get wrong (special bases, one-byte registers, short forms), pinned in `x64_text.txt`. `BLESS=1` rewrites the file.

use sphex_asm::buffer::{CodeBuffer, Pool};
use sphex_asm::record::Symbol;
use sphex_asm::register::Reg;
use sphex_asm::x64::operand::{Address, Cond, Mem, Operand, Variant, gpr::*, xmm};
use sphex_asm::x64::{RowId, encode::encode, op, print::print};
use std::fmt::Write;

/// Everything is emitted into one buffer, whose finished bytes are cut at the offsets where instructions began.
struct Page {
    buffer: CodeBuffer,
    lines: Vec<String>,
}

impl Page {
    fn put(&mut self, row: RowId, variant: Variant, operands: &[Operand]) {
        self.buffer.trap(0);
        encode(row, variant, operands, &mut self.buffer);
        self.lines.push(print(row, variant, operands));
    }

    fn finish(mut self) -> String {
        let code = self.buffer.finish(Pool::AfterCode).expect("a small page");
        let mut text = String::new();
        for (i, line) in self.lines.iter().enumerate() {
            let start = code.traps[i].offset as usize;
            let end = code.traps.get(i + 1).map_or(code.code_size, |next| next.offset) as usize;
            let bytes: Vec<String> =
                code.bytes[start..end].iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(text, "{start:4} {:32} {line}", bytes.join(" ")).expect("a string");
        }
        for relocation in &code.relocations {
            writeln!(text, "{relocation:?}").expect("a string");
        }
        text
    }
}

fn reg(reg: Reg) -> Operand {
    Operand::Reg(reg)
}

fn addresses(page: &mut Page) {
    for base in [RAX, RSP, RBP, R12, R13] {
        for disp in [0, 8, -128, 128] {
            page.put(op::MOV_RM, Variant::S64, &[reg(RCX), Mem::base(base, disp).into()]);
        }
    }
    page.put(op::MOV_RM, Variant::S32, &[reg(R9), Mem::indexed(RBP, R12, 3, 0).into()]);
    page.put(op::MOV_RM, Variant::S32, &[reg(R9), Mem::scaled(R12, 2, 64).into()]);
    let absolute = Mem::Address(Address { base: None, index: None, shift: 0, disp: 0x1000 });
    page.put(op::MOV_MI, Variant::S32, &[absolute.into(), Operand::Imm(-1)]);
    page.put(op::VPERMB, Variant::S256, &[reg(xmm(31)), reg(xmm(17)), Mem::base(R13, 64).into()]);
}

fn registers_and_immediates(page: &mut Page) {
    for byte in [RBX, RSP, RSI, R8] {
        page.put(op::MOV_MR, Variant::S8, &[Mem::base(RAX, 0).into(), reg(byte)]);
        page.put(op::SETCC_R, Variant::cond(Cond::Ge), &[reg(byte)]);
    }
    page.put(op::MOVZX8, Variant::S32, &[reg(RAX), reg(RDI)]);
    for imm in [1, 127, 128, -128, -129] {
        page.put(op::ADD_RI, Variant::S64, &[reg(RAX), Operand::Imm(imm)]);
        page.put(op::ADD_RI, Variant::S16, &[reg(RAX), Operand::Imm(imm)]);
    }
    page.put(op::SHR_I, Variant::S32, &[reg(RDX), Operand::Imm(1)]);
    page.put(op::SHR_I, Variant::S32, &[reg(RDX), Operand::Imm(2)]);
    page.put(op::MOV_RI, Variant::S32, &[reg(R10), Operand::Imm(0xffff_ffff)]);
    page.put(op::MOV_RI_SIGNED, Variant::S64, &[reg(R10), Operand::Imm(-1)]);
    page.put(op::MOV_RI64, Variant::NONE, &[reg(R10), Operand::Imm(i64::MIN)]);
    page.put(op::ZERO, Variant::S32, &[reg(R10)]);
    page.put(op::DIV, Variant::S64, &[reg(RAX), reg(RDX), reg(RCX)]);
    page.put(op::VADDPS, Variant::S128, &[reg(xmm(1)), reg(xmm(2)), reg(xmm(3))]);
    page.put(op::VADDPS, Variant::S256, &[reg(xmm(1)), reg(xmm(2)), reg(xmm(9))]);
}

fn symbols_and_labels(page: &mut Page) {
    let (symbol, label) = (Symbol(3), page.buffer.label());
    let constant = page.buffer.constant(&[1, 2, 3, 4, 5, 6, 7, 8]);
    page.put(op::CALL, Variant::NONE, &[Operand::Symbol(symbol, 0)]);
    page.put(op::JMP, Variant::NONE, &[Operand::Symbol(symbol, 16)]);
    page.put(op::JCC, Variant::cond(Cond::B), &[Operand::Symbol(symbol, 0)]);
    page.put(op::MOV_RI64, Variant::NONE, &[reg(RAX), Operand::Symbol(symbol, 8)]);
    page.put(op::LEA, Variant::S64, &[reg(RAX), Mem::Symbol(symbol, -4).into()]);
    page.put(op::MOV_RM, Variant::S64, &[reg(RAX), Mem::Got(symbol).into()]);
    page.put(op::CMP_MI, Variant::S16, &[Mem::Symbol(symbol, 0).into(), Operand::Imm(1000)]);
    page.put(op::MOVSD_RM, Variant::NONE, &[reg(xmm(9)), Mem::Constant(constant).into()]);
    page.put(op::PSHUFD, Variant::NONE, &[reg(xmm(1)), Mem::Label(label, 4).into(), Operand::Imm(7)]);
    page.put(op::CALL, Variant::NONE, &[Operand::Label(label)]);
    page.put(op::JCC, Variant::cond(Cond::Ne), &[Operand::Label(label)]);
    page.put(op::LOCK_XADD, Variant::S64, &[Mem::base(RDI, 0).into(), reg(RSI)]);
    page.buffer.bind(label);
    page.put(op::RET_I, Variant::NONE, &[Operand::Imm(16)]);
    page.put(op::UD2, Variant::NONE, &[]);
}

#[test]
fn text_and_bytes_are_as_pinned() {
    let mut page = Page { buffer: CodeBuffer::new(), lines: Vec::new() };
    addresses(&mut page);
    registers_and_immediates(&mut page);
    symbols_and_labels(&mut page);
    let found = page.finish();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/x64_text.txt");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &found).expect("the file can be written");
    }
    let expected = std::fs::read_to_string(path).expect("the pinned file");
    for (expected, found) in expected.lines().zip(found.lines()) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.lines().count(), expected.lines().count());
}
