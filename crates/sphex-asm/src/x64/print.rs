//! An instruction as text, Intel syntax.
//!
//! Needs: a row and operands that fit it. Gives: [`print`]: mnemonic, then operands from the same row that encodes them;
//! hidden ones are left out, memory carries its width (`dword ptr`). Labels, constants and symbols print by number.

use super::operand::{Address, Mem, Operand, Size, Variant, register_name};
use super::row::{Kind, RowId, Slot, Space};
use std::fmt::Write;

/// The text of an instruction, such as `add eax, dword ptr [rbp-0x10]`.
pub fn print(row: RowId, variant: Variant, operands: &[Operand]) -> String {
    let mut out = String::new();
    let row = row.row();
    if row.locked {
        out.push_str("lock ");
    }
    out.push_str(row.name);
    if row.conditional || row.space == Space::JumpIf {
        // Some mnemonics have their condition inside (none yet): the suffix always comes last.
        out.push_str(variant.get_cond().suffix());
    }
    let mut separator = " ";
    for (spec, operand) in row.operands.iter().zip(operands) {
        if spec.hidden {
            continue;
        }
        out.push_str(separator);
        separator = ", ";
        let width = spec.width(variant);
        match *operand {
            Operand::Reg(reg) => {
                out.push_str(register_name(reg, width));
                if spec.slot == Slot::Both {
                    out.push_str(separator);
                    out.push_str(register_name(reg, width));
                }
            }
            Operand::Mem(mem) => {
                if !row.address_only {
                    out.push_str(width_name(width));
                }
                print_memory(mem, &mut out);
            }
            Operand::Imm(value) => {
                let masked = mask(value, if spec.kind == Kind::Imm { width } else { Size::S64 });
                put(&mut out, format_args!("{masked:#x}"));
            }
            Operand::Label(label) => put(&mut out, format_args!("{label}")),
            Operand::Symbol(symbol, addend) => {
                put(&mut out, format_args!("symbol{}", symbol.0));
                print_displacement(addend, &mut out);
            }
        }
    }
    out
}

/// The immediate as the instruction sees it, sign-extended to its width and then unsigned.
fn mask(value: i64, width: Size) -> u64 {
    match width.bits() {
        bits @ ..64 => value as u64 & ((1 << bits) - 1),
        _ => value as u64,
    }
}

fn width_name(width: Size) -> &'static str {
    match width {
        Size::S8 => "byte ptr ",
        Size::S16 => "word ptr ",
        Size::S32 => "dword ptr ",
        Size::S64 => "qword ptr ",
        Size::S128 => "xmmword ptr ",
        Size::S256 => "ymmword ptr ",
    }
}

fn print_memory(mem: Mem, out: &mut String) {
    out.push('[');
    match mem {
        Mem::Address(address) => print_address(address, out),
        Mem::Label(label, disp) => {
            put(out, format_args!("rip+{label}"));
            print_displacement(disp, out);
        }
        Mem::Constant(constant) => put(out, format_args!("rip+{constant}")),
        Mem::Symbol(symbol, disp) => {
            put(out, format_args!("rip+symbol{}", symbol.0));
            print_displacement(disp, out);
        }
        Mem::Got(symbol) => put(out, format_args!("rip+got:symbol{}", symbol.0)),
    }
    out.push(']');
}

fn print_address(address: Address, out: &mut String) {
    let mut separator = "";
    if let Some(base) = address.base {
        out.push_str(register_name(base, Size::S64));
        separator = "+";
    }
    if let Some(index) = address.index {
        out.push_str(separator);
        out.push_str(register_name(index, Size::S64));
        if address.shift > 0 || address.base.is_none() {
            put(out, format_args!("*{}", 1 << address.shift));
        }
        separator = "+";
    }
    if separator.is_empty() {
        // An absolute address is sign-extended to 64 bits.
        put(out, format_args!("{:#x}", i64::from(address.disp)));
    } else {
        print_displacement(address.disp, out);
    }
}

fn print_displacement(disp: i32, out: &mut String) {
    match disp {
        0 => {}
        1.. => put(out, format_args!("+{disp:#x}")),
        _ => put(out, format_args!("-{:#x}", disp.unsigned_abs())),
    }
}

/// Formatting into a string cannot fail.
fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}
