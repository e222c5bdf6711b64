//! `.eh_frame` for x86-64: written once, at compile time, final.
//!
//! Needs: where each function will be and its unwind records. Gives: the section's bytes: one CIE, an FDE a function, a
//! terminator of four zero bytes.
//!
//! Start addresses are relative to their own field and take eight bytes, so the section needs no relocation if its
//! distance from the code is known when it is written ([`EhFrame::new`]); an object file writes relocations at the
//! offsets that [`EhFrame::add`] returns. Epilogues are described too: what was true before one is remembered and holds
//! again behind it.

use sphex_asm::record::{UnwindOp, UnwindRecord};
use sphex_asm::register::{Reg, RegClass};

/// The CIE: version 1, "zR", code alignment 1, data alignment -8, return address column 16, pointers pc-relative of eight
/// bytes; at entry the CFA is rsp + 8 and the return address just below it.
const CIE: [u8; 24] = [
    0x14, 0, 0, 0, 0, 0, 0, 0, 1, b'z', b'R', 0, 0x01, 0x78, 0x10, 0x01, 0x10, 0x0c, 0x07, 0x08, 0x90, 0x01,
    0, 0,
];

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

const RBP: u8 = 6;
const RSP: u8 = 7;

/// An `.eh_frame` section under construction.
#[derive(Clone, Debug)]
pub struct EhFrame {
    bytes: Vec<u8>,
    distance: i64,
}

impl EhFrame {
    /// A section that begins `distance` bytes behind the start of the code (0 for an object file, whose linker fills the
    /// addresses in).
    pub fn new(distance: i64) -> Self {
        Self { bytes: CIE.to_vec(), distance }
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
        self.program(length, records);
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

/// A register's number in DWARF.
pub const fn dwarf_number(register: Reg) -> u8 {
    const INT: [u8; 16] = [0, 2, 1, 3, 7, 6, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15];
    match register.class() {
        RegClass::Int => INT[(register.number() & 15) as usize],
        RegClass::Vector => 17 + register.number(),
    }
}
