//! `.eh_frame`: written once, at compile time, final.
//!
//! Needs: where each function will be and its unwind records. Gives: the section's bytes: one CIE, an FDE a function, a
//! terminator of four zero bytes.
//!
//! Start addresses are relative to their own field and take eight bytes, so the section needs no relocation if its
//! distance from the code is known when it is written ([`EhFrame::new`]); an object file writes relocations at the
//! offsets that [`EhFrame::add`] returns. Epilogues are described too: what was true before one is remembered and holds
//! again behind it.

use crate::settings::Arch;
use sphex_asm::record::{UnwindOp, UnwindRecord};
use sphex_asm::register::{Reg, RegClass};

/// The CIE of x86-64: version 1, "zR", code alignment 1, data alignment -8, return address column 16, pointers pc-relative of eight
/// bytes; at entry the CFA is rsp + 8 and the return address just below it.
const CIE: [u8; 24] = [
    0x14, 0, 0, 0, 0, 0, 0, 0, 1, b'z', b'R', 0, 0x01, 0x78, 0x10, 0x01, 0x10, 0x0c, 0x07, 0x08, 0x90, 0x01,
    0, 0,
];

/// The CIE of AArch64: the same but return address column 30, and at entry the CFA is the stack pointer, the return address
/// where it belongs.
const CIE_AARCH64: [u8; 24] =
    [0x14, 0, 0, 0, 0, 0, 0, 0, 1, b'z', b'R', 0, 0x01, 0x78, 0x1e, 0x01, 0x10, 0x0c, 0x1f, 0x00, 0, 0, 0, 0];

const ADVANCE: u8 = 0x40;
const OFFSET: u8 = 0x80;
const RESTORE: u8 = 0xc0;
const ADVANCE_1: u8 = 0x02;
const ADVANCE_2: u8 = 0x03;
const ADVANCE_4: u8 = 0x04;
const REMEMBER_STATE: u8 = 0x0a;
const RESTORE_STATE: u8 = 0x0b;
const DEF_CFA: u8 = 0x0c;
const DEF_CFA_REGISTER: u8 = 0x0d;
const DEF_CFA_OFFSET: u8 = 0x0e;
const DEF_CFA_OFFSET_SIGNED: u8 = 0x13;
const OFFSET_EXTENDED: u8 = 0x05;
const RESTORE_EXTENDED: u8 = 0x06;

const RBP: u8 = 6;
const RSP: u8 = 7;
const FP: u8 = 29;
const LR: u8 = 30;
const SP: u8 = 31;

/// An `.eh_frame` section under construction.
#[derive(Clone, Debug)]
pub struct EhFrame {
    arch: Arch,
    bytes: Vec<u8>,
    distance: i64,
}

impl EhFrame {
    /// A section that begins `distance` bytes behind the start of the code (0 for an object file, whose linker fills the
    /// addresses in).
    pub fn new(arch: Arch, distance: i64) -> Self {
        let cie = match arch {
            Arch::X64 => CIE,
            Arch::Aarch64 => CIE_AARCH64,
        };
        Self { arch, bytes: cie.to_vec(), distance }
    }

    /// Adds a function that begins at `start` in the code and has `length` bytes (tables and constants behind the code
    /// may be among them). Gives the offset of the field with its address.
    pub fn add(&mut self, start: u64, length: u64, records: &[UnwindRecord]) -> usize {
        let entry = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&(entry as u32 + 4).to_le_bytes());
        let field = self.bytes.len();
        let address = start as i64 - (self.distance + field as i64);
        self.bytes.extend_from_slice(&address.to_le_bytes());
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.push(0);
        match self.arch {
            Arch::X64 => self.program(length, records),
            Arch::Aarch64 => self.program_aarch64(length, records),
        }
        while !self.bytes.len().is_multiple_of(8) {
            self.bytes.push(0);
        }
        let size = (self.bytes.len() - entry - 4) as u32;
        self.bytes[entry..entry + 4].copy_from_slice(&size.to_le_bytes());
        field
    }

    /// The section's bytes, terminated.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes
    }

    /// The instructions of one function.
    fn program(&mut self, length: u64, records: &[UnwindRecord]) {
        let (mut at, mut saved) = (0, Vec::new());
        for record in records {
            if u64::from(record.offset) >= length {
                return; // nothing is there that it would be true of
            }
            if matches!(record.op, UnwindOp::AllocateStack(_)) {
                continue; // the frame is found through rbp
            }
            self.advance(record.offset - at);
            at = record.offset;
            match record.op {
                UnwindOp::ReturnAddressAt(bytes) => self.op(DEF_CFA_OFFSET, &[u64::from(bytes) + 8]),
                UnwindOp::PushFramePointer => {
                    self.op(DEF_CFA_OFFSET, &[16]);
                    self.op(OFFSET | RBP, &[2]);
                }
                UnwindOp::SetFramePointer => self.op(DEF_CFA_REGISTER, &[u64::from(RBP)]),
                UnwindOp::SaveRegister { register, offset } => {
                    let number = dwarf_number(register);
                    saved.push(number);
                    self.op(OFFSET | number, &[((16 - i64::from(offset)) / 8) as u64]);
                }
                UnwindOp::AllocateStack(_) => {}
                UnwindOp::BeginEpilogue => {
                    self.op(REMEMBER_STATE, &[]);
                    for &number in &saved {
                        self.op(RESTORE | number, &[]);
                    }
                }
                UnwindOp::PopFramePointer => {
                    self.op(DEF_CFA, &[u64::from(RSP), 8]);
                    self.op(RESTORE | RBP, &[]);
                }
                UnwindOp::EndEpilogue => self.op(RESTORE_STATE, &[]),
            }
        }
    }

    /// The same on AArch64. The frame record lies below the room that tail calls need, and the CFA is where the stack
    /// pointer was at entry, though the function may pop what lies there.
    fn program_aarch64(&mut self, length: u64, records: &[UnwindRecord]) {
        let (mut at, mut saved, mut growth) = (0, Vec::new(), 0i64);
        for record in records {
            if u64::from(record.offset) >= length {
                return;
            }
            if matches!(record.op, UnwindOp::AllocateStack(_)) {
                continue;
            }
            self.advance(record.offset - at);
            at = record.offset;
            match record.op {
                UnwindOp::ReturnAddressAt(bytes) => {
                    let bytes = i64::from(bytes as i32);
                    if saved.is_empty() && growth == 0 {
                        growth = bytes.max(0);
                    }
                    match bytes {
                        0.. => self.op(DEF_CFA_OFFSET, &[bytes as u64]),
                        _ => self.signed_op(DEF_CFA_OFFSET_SIGNED, bytes / -8),
                    }
                }
                UnwindOp::PushFramePointer => {
                    self.op(DEF_CFA_OFFSET, &[(16 + growth) as u64]);
                    self.op(OFFSET | FP, &[((16 + growth) / 8) as u64]);
                    self.op(OFFSET | LR, &[((8 + growth) / 8) as u64]);
                }
                UnwindOp::SetFramePointer => self.op(DEF_CFA_REGISTER, &[u64::from(FP)]),
                UnwindOp::SaveRegister { register, offset } => {
                    let number = dwarf_number_aarch64(register);
                    saved.push(number);
                    let below = ((16 + growth - i64::from(offset)) / 8) as u64;
                    match number {
                        0..64 => self.op(OFFSET | number, &[below]),
                        _ => self.op(OFFSET_EXTENDED, &[u64::from(number), below]),
                    }
                }
                UnwindOp::AllocateStack(_) => {}
                UnwindOp::BeginEpilogue => {
                    self.op(REMEMBER_STATE, &[]);
                    for &number in &saved {
                        match number {
                            0..64 => self.op(RESTORE | number, &[]),
                            _ => self.op(RESTORE_EXTENDED, &[u64::from(number)]),
                        }
                    }
                }
                UnwindOp::PopFramePointer => {
                    self.op(DEF_CFA, &[u64::from(SP), growth as u64]);
                    self.op(RESTORE | FP, &[]);
                    self.op(RESTORE | LR, &[]);
                }
                UnwindOp::EndEpilogue => self.op(RESTORE_STATE, &[]),
            }
        }
    }

    /// An instruction with a signed LEB128 operand.
    fn signed_op(&mut self, opcode: u8, mut operand: i64) {
        self.bytes.push(opcode);
        while !(-64..64).contains(&operand) {
            self.bytes.push(operand as u8 & 0x7f | 0x80);
            operand >>= 7;
        }
        self.bytes.push(operand as u8 & 0x7f);
    }

    fn advance(&mut self, delta: u32) {
        match delta {
            0 => {}
            1..0x40 => self.bytes.push(ADVANCE | delta as u8),
            0x40..0x100 => self.bytes.extend_from_slice(&[ADVANCE_1, delta as u8]),
            0x100..0x1_0000 => {
                self.bytes.push(ADVANCE_2);
                self.bytes.extend_from_slice(&(delta as u16).to_le_bytes());
            }
            _ => {
                self.bytes.push(ADVANCE_4);
                self.bytes.extend_from_slice(&delta.to_le_bytes());
            }
        }
    }

    /// An instruction with LEB128 operands.
    fn op(&mut self, opcode: u8, operands: &[u64]) {
        self.bytes.push(opcode);
        for &operand in operands {
            let mut rest = operand;
            while rest >= 0x80 {
                self.bytes.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            self.bytes.push(rest as u8);
        }
    }
}

/// A register's number in AArch64's DWARF.
pub const fn dwarf_number_aarch64(register: Reg) -> u8 {
    match register.class() {
        RegClass::Int => register.number(),
        RegClass::Vector => 64 + register.number(),
    }
}

/// A register's number in x86-64's DWARF.
pub const fn dwarf_number(register: Reg) -> u8 {
    const INT: [u8; 16] = [0, 2, 1, 3, 7, 6, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15];
    match register.class() {
        RegClass::Int => INT[(register.number() & 15) as usize],
        RegClass::Vector => 17 + register.number(),
    }
}
