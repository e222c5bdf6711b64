//! An instruction as text, in the architecture's own syntax.
//!
//! Needs: a row and operands that fit it. Gives: [`print`]: mnemonic, then operands from the same row that encodes them.
//! Aliases have rows of their own (`cmp`, `mov`, `lsl`), so that what is printed is what was asked for. Labels, constants
//! and symbols print by number.

use super::immediate;
use super::operand::{Address, Cond, Extend, Mem, Operand, Shift, Size, Variant};
use super::row::{Form, Imm, Kind, Row, RowId, Spec, scaled};
use crate::register::Reg;
use std::fmt::Write;

/// The text of an instruction, such as `ldr x0, [x1, #0x8]`.
pub fn print(row: RowId, variant: Variant, operands: &[Operand]) -> String {
    let row = row.row();
    let mut out = mnemonic(row, variant, operands);
    let mut separator = " ";
    let mut imm = operands.iter().find_map(|operand| match operand {
        Operand::Imm(value) => Some(*value),
        _ => None,
    });
    for (spec, operand) in row.operands.iter().zip(operands) {
        if let Kind::Imm(Imm::LaneNumber | Imm::TwoLanes | Imm::MemoryLane) = spec.kind {
            continue; // printed with its register
        }
        if (spec.kind, operand) == (Kind::Imm(Imm::Shift), &Operand::Imm(0)) {
            continue; // the register itself
        }
        out.push_str(separator);
        separator = ", ";
        match *operand {
            Operand::Reg(reg) => print_register(row, spec, variant, reg, &mut imm, &mut out),
            Operand::Mem(mem) => print_memory(row, mem, &mut out),
            Operand::Imm(value) => {
                if let Kind::Imm(kind) = spec.kind {
                    print_immediate(kind, variant.get_size(), value, &mut out);
                }
            }
            Operand::Label(label) => put(&mut out, format_args!("{label}")),
            Operand::Symbol(symbol, addend) => {
                put(&mut out, format_args!("symbol{}", symbol.0));
                if addend != 0 {
                    put(&mut out, format_args!("{addend:+}"));
                }
            }
        }
    }
    if row.condition.is_some_and(|at| at != 0) {
        out.push_str(separator);
        out.push_str(Cond::of(variant).name());
    }
    out
}

/// The mnemonic, with what address, size and condition change in it.
pub fn mnemonic(row: &Row, variant: Variant, operands: &[Operand]) -> String {
    let mut name = row.name.to_string();
    if let (Form::Any, Some(Operand::Mem(Mem::Address(address)))) = (row.form, operands.last())
        && address.index.is_none()
        && scaled(address.disp, row.access, 0, 0xfff).is_none()
    {
        // `ldr` becomes `ldur`, `strb` becomes `sturb`.
        name.insert(2, 'u');
    }
    if row.suffixed {
        name.push_str(match variant.get_size() {
            Size::S8 => "b",
            Size::S16 => "h",
            _ => "",
        });
    }
    if row.condition == Some(0) {
        name.push_str(Cond::of(variant).name());
    }
    name
}

fn print_register(
    row: &Row,
    spec: &Spec,
    variant: Variant,
    reg: Reg,
    imm: &mut Option<i64>,
    out: &mut String,
) {
    let (number, width) = (reg.number(), spec.width(variant));
    match spec.kind {
        Kind::Gpr => {
            // In an extended-register form the last register is as wide as its extension.
            let narrow =
                match row.operands.iter().skip_while(|other| *other != spec).nth(1).map(|next| next.kind) {
                    Some(Kind::Imm(Imm::Extend)) => imm.is_some_and(|value| value >> 3 & 3 != 3),
                    // A test of one of the low bits names the low half.
                    Some(Kind::Imm(Imm::Bit)) => imm.is_some_and(|value| value < 32),
                    _ => false,
                };
            out.push_str(&general(number, if narrow { Size::S32 } else { width }, "zr"));
        }
        Kind::GprSp => out.push_str(&general(number, width, "sp")),
        Kind::LaneGpr => {
            out.push_str(&general(number, if width == Size::S64 { width } else { Size::S32 }, "zr"))
        }
        Kind::Pair => {
            let second = general(number + 1, width, "zr");
            put(out, format_args!("{}, {second}", general(number, width, "zr")));
        }
        Kind::Scalar => put(out, format_args!("{}{number}", letter(width))),
        Kind::Vector | Kind::Both | Kind::Half => {
            let all = if spec.kind == Kind::Half { 64 } else { 128 };
            put(out, format_args!("v{number}.{}{}", all / width.bits(), letter(width)));
        }
        Kind::Lane => {
            let value = imm.unwrap_or(0);
            let two = row.operands.iter().any(|spec| spec.kind == Kind::Imm(Imm::TwoLanes));
            let shown = if two { value >> 4 } else { value };
            put(out, format_args!("v{number}.{}[{shown}]", letter(width)));
            // The other register's lane comes next.
            *imm = Some((value & 15) << 4);
        }
        Kind::List | Kind::ListLane => {
            out.push('{');
            for k in 0..row.list {
                let number = (number + k) & 31;
                let lanes =
                    if spec.kind == Kind::List { (128 / width.bits()).to_string() } else { String::new() };
                let comma = if k > 0 { ", " } else { "" };
                put(out, format_args!("{comma}v{number}.{lanes}{}", letter(width)));
            }
            out.push('}');
            if spec.kind == Kind::ListLane {
                put(out, format_args!("[{}]", imm.unwrap_or(0)));
            }
        }
        _ => {}
    }
}

fn general(number: u8, width: Size, last: &str) -> String {
    match (number, width) {
        (31, Size::S64) if last == "sp" => "sp".into(),
        (31, Size::S64) => "xzr".into(),
        (31, _) => format!("w{last}"),
        (_, Size::S64) => format!("x{number}"),
        _ => format!("w{number}"),
    }
}

const fn letter(width: Size) -> &'static str {
    match width {
        Size::S8 => "b",
        Size::S16 => "h",
        Size::S32 => "s",
        Size::S64 => "d",
        _ => "q",
    }
}

fn print_immediate(kind: Imm, size: Size, value: i64, out: &mut String) {
    let hex = |out: &mut String, value: i64| put(out, format_args!("#{value:#x}"));
    match kind {
        Imm::Logical => put(out, format_args!("#{:#x}", value as u64 & (u64::MAX >> (64 - size.bits())))),
        Imm::Arithmetic if value > 0xfff => {
            hex(out, value >> 12);
            out.push_str(", lsl #12");
        }
        Imm::MoveWide => {
            hex(out, value & 0xffff);
            if value >> 16 > 0 {
                put(out, format_args!(", lsl #{}", (value >> 16) * 16));
            }
        }
        Imm::Shift => {
            put(out, format_args!("{} #{}", Shift::ALL[(value >> 6 & 3) as usize].name(), value & 63));
        }
        Imm::Extend => {
            out.push_str(Extend::ALL[(value >> 3 & 7) as usize].name());
            if value & 7 > 0 {
                put(out, format_args!(" #{}", value & 7));
            }
        }
        Imm::Field | Imm::Insert => put(out, format_args!("#{:#x}, #{:#x}", value & 0xff, value >> 8)),
        Imm::CompareFlags => put(out, format_args!("#{:#x}, #{:#x}", value >> 4, value & 15)),
        Imm::Float | Imm::LaneFloat => {
            let float = f64::from_bits(immediate::float_value(value as u32, Size::S64));
            put(out, format_args!("#{float:?}"));
        }
        Imm::Zero => out.push_str("#0.0"),
        Imm::ByteMask => {
            let mask = (0..8).filter(|k| value >> k & 1 != 0).fold(0u64, |mask, k| mask | 0xff << (8 * k));
            put(out, format_args!("#{mask:#x}"));
        }
        Imm::Shifted => {
            hex(out, value & 0xff);
            if value >> 8 > 0 {
                put(out, format_args!(", lsl #{}", (value >> 8) * 8));
            }
        }
        _ => hex(out, value),
    }
}

fn print_memory(row: &Row, mem: Mem, out: &mut String) {
    match mem {
        Mem::Address(address) => print_address(row, address, out),
        Mem::Label(label, disp) => put(out, format_args!("[{label}{disp:+#x}]")),
        Mem::Constant(constant) => put(out, format_args!("[{constant}]")),
        Mem::Symbol(symbol, disp) => put(out, format_args!("[symbol{}{disp:+#x}]", symbol.0)),
        Mem::Got(symbol) => put(out, format_args!("[got:symbol{}]", symbol.0)),
    }
}

fn print_address(row: &Row, address: Address, out: &mut String) {
    let base = general(address.base.map_or(31, Reg::number), Size::S64, "sp");
    if let Some(index) = address.index {
        let (extend, shift) = Extend::of_index(address.shift);
        let width = if extend == Extend::Uxtx { Size::S64 } else { Size::S32 };
        let index = general(index.number(), width, "zr");
        match (extend, shift) {
            (Extend::Uxtx, 0) => put(out, format_args!("[{base}, {index}]")),
            (Extend::Uxtx, _) => put(out, format_args!("[{base}, {index}, lsl #{shift}]")),
            (_, 0) => put(out, format_args!("[{base}, {index}, {}]", extend.name())),
            _ => put(out, format_args!("[{base}, {index}, {} #{shift}]", extend.name())),
        }
        return;
    }
    let (sign, disp) = (if address.disp < 0 { "-" } else { "" }, address.disp.unsigned_abs());
    match row.form {
        Form::Writeback { pre: true } | Form::PairWriteback { pre: true } => {
            put(out, format_args!("[{base}, #{sign}{disp:#x}]!"));
        }
        Form::Writeback { pre: false } | Form::PairWriteback { pre: false } => {
            put(out, format_args!("[{base}], #{sign}{disp:#x}"));
        }
        _ if disp == 0 => put(out, format_args!("[{base}]")),
        _ => put(out, format_args!("[{base}, #{sign}{disp:#x}]")),
    }
}

/// Formatting into a string cannot fail.
fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}
