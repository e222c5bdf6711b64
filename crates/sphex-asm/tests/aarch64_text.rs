//! Every row of AArch64 with a few operands, pinned in `tests/isa/aarch64/rows.txt`: the word and the text. `BLESS=1`
//! rewrites the file. Where there is a cross assembler, it must make the same word of the same text.

use sphex_asm::aarch64::operand::{Address, Cond, Extend, Mem, Operand, Shift, Size, Variant, field};
use sphex_asm::aarch64::row::{Form, Imm, Jump, Kind, Row, RowId};
use sphex_asm::aarch64::{encode::encode, immediate, print::print};
use sphex_asm::buffer::{CodeBuffer, Isa, Pool};
use sphex_asm::register::Reg;
use std::fmt::Write;
use std::process::Command;

fn path() -> String {
    format!("{}/../../tests/isa/aarch64/rows.txt", env!("CARGO_MANIFEST_DIR"))
}

/// The `turn`th choice of an immediate: small ones, large ones.
fn immediate_of(kind: Imm, size: Size, turn: i64) -> i64 {
    let bits = i64::from(size.bits());
    match kind {
        Imm::Arithmetic => [1, 0xabc, 0xfff_000][turn as usize],
        Imm::Logical => {
            [1, 0x7fff_fff8, 0x5555_5555_5555_5555 & (u64::MAX >> (64 - size.bits())) as i64][turn as usize]
        }
        Imm::MoveWide => [1, 0xffff, 0x1_8000][turn as usize],
        Imm::Shift => [Shift::Lsl.imm(1), Shift::Asr.imm(bits as u8 - 1), Shift::Lsr.imm(7)][turn as usize],
        Imm::Extend => [Extend::Sxtb.imm(2), Extend::Uxth.imm(0), Extend::Sxtw.imm(4)][turn as usize],
        Imm::ShiftLeft => [1, bits - 1, 5][turn as usize],
        Imm::ShiftRight | Imm::Extract => [1, bits - 1, 5][turn as usize],
        Imm::LaneLeft => [1, bits - 1, 0][turn as usize],
        Imm::LaneRight => [1, bits, 3][turn as usize],
        Imm::Field | Imm::Insert => [field(1, 4), field(3, bits as u8 - 5), field(8, 8)][turn as usize],
        Imm::Flags | Imm::Start => [0, 15, 4][turn as usize],
        Imm::CompareFlags => [0x10, 0x1ff, 0x54][turn as usize],
        Imm::Float | Imm::LaneFloat => [0x70, 0xc1, 0x3f][turn as usize],
        Imm::Byte | Imm::ByteMask => [1, 0xff, 0xa5][turn as usize],
        Imm::Code | Imm::LowCode => [0, 0xffff, 0xf000][turn as usize],
        Imm::Bit => [0, 63, 31][turn as usize],
        Imm::LaneNumber | Imm::MemoryLane => [0, 128 / bits - 1, 1][turn as usize],
        Imm::TwoLanes => {
            let last = 128 / bits - 1;
            [1, last << 4, last << 4 | last][turn as usize]
        }
        Imm::Shifted => [1, 0x1ff, 0x80][turn as usize],
        Imm::Zero | Imm::LaneZero => 0,
        Imm::Barrier => 15,
    }
}

fn memory_of(row: &Row, turn: i64) -> Mem {
    let (base, index) = (Some(Reg::int([1, 31, 30][turn as usize])), Some(Reg::int(9)));
    let unit = 1 << row.access;
    let disp = match row.form {
        Form::Base => 0,
        Form::Any => match turn {
            0 => 4095 * unit,
            1 => -256,
            _ => {
                let shift = Extend::Sxtw.index(row.access);
                return Mem::Address(Address { base, index, shift, disp: 0 });
            }
        },
        Form::Writeback { .. } => [16, -256, 255][turn as usize],
        Form::Pair | Form::PairWriteback { .. } => [2 * unit, -64 * unit, 63 * unit][turn as usize],
    };
    Mem::Address(Address { base, index: None, shift: 0, disp })
}

/// The word of a row with the `turn`th operands, and its text.
fn line(id: RowId, variant: Variant, turn: i64, buffer: &mut CodeBuffer) -> (u32, String) {
    let row = id.row();
    let label = buffer.label();
    buffer.bind(label);
    let mut next = [2, 31, 17][turn as usize];
    let operands: Vec<Operand> = row
        .operands
        .iter()
        .map(|spec| match spec.kind {
            Kind::Mem => Operand::Mem(memory_of(row, turn)),
            Kind::Imm(kind) => Operand::Imm(immediate_of(kind, row.immediate_size(variant), turn)),
            Kind::Target => Operand::Label(label),
            Kind::Pair => {
                next += 2;
                Operand::Reg(Reg::int(next & 14))
            }
            kind => {
                // Distinct ones: some forms must not name a register twice.
                next = (next + 1) & 31;
                Operand::Reg(Reg::new(kind.class().expect("a register"), next))
            }
        })
        .collect();
    encode(id, variant, &operands, buffer);
    let code = buffer.finish(Pool::Apart).expect("one instruction");
    let word = u32::from_le_bytes(code.bytes[..4].try_into().expect("a word"));
    (word, print(id, variant, &operands).replace(&label.to_string(), "."))
}

fn page() -> String {
    let mut buffer = CodeBuffer::for_isa(Isa::Aarch64);
    let mut text = String::new();
    for id in RowId::all().filter(|id| id.row().jump != Jump::Page) {
        let row = id.row();
        let sizes: Vec<Variant> = match row.sizes {
            0 => vec![Variant::NONE],
            _ => {
                Size::ALL.iter().filter(|size| row.allows(**size)).map(|size| Variant::size(*size)).collect()
            }
        };
        for variant in sizes {
            for turn in 0..3 {
                let cond = [Cond::Eq, Cond::Le, Cond::Hs][turn as usize];
                let variant = if row.condition.is_some() { cond.with(variant) } else { variant };
                let (word, line) = line(id, variant, turn, &mut buffer);
                writeln!(text, "{word:08x} {line}").expect("a string");
            }
        }
    }
    text
}

#[test]
fn rows_are_encoded_and_printed_as_pinned() {
    let page = page();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path(), &page).expect("the file can be written");
    }
    let pinned = std::fs::read_to_string(path()).expect("the file is there");
    for (ours, theirs) in page.lines().zip(pinned.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(page.lines().count(), pinned.lines().count());
}

#[test]
fn the_assembler_makes_the_same_words() {
    let dir = std::env::temp_dir().join(format!("sphex-aarch64-text-{}", std::process::id()));
    let source = dir.join("rows.s");
    let object = dir.join("rows.o");
    let page = page();
    // `mov` is also an alias of others; which one the assembler takes depends on the operands.
    let ambiguous = |text: &str| text.starts_with("mov ") && (text.contains("#0x1") || text.contains(", x"));
    let lines: Vec<(&str, &str)> =
        page.lines().filter_map(|line| line.split_once(' ')).filter(|(_, text)| !ambiguous(text)).collect();
    assert!(lines.len() > 2600);
    std::fs::create_dir_all(&dir).expect("a directory");
    let text: String = lines.iter().map(|(_, text)| format!("{text}\n")).collect();
    std::fs::write(&source, format!(".arch armv8.5-a+fp16+dotprod\n{text}")).expect("a file");
    let made = Command::new("aarch64-linux-gnu-as").arg("-o").arg(&object).arg(&source).output();
    let Ok(made) = made else {
        let required =
            std::env::var("SPHEX_REQUIRE").is_ok_and(|list| list.split(',').any(|name| name == "toolchains"));
        assert!(!required, "aarch64-linux-gnu-as is required and missing");
        println!("skipped: the_assembler_makes_the_same_words needs aarch64-linux-gnu-as");
        return;
    };
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let binary = dir.join("rows.bin");
    let copied = Command::new("aarch64-linux-gnu-objcopy")
        .args(["-O", "binary", "-j", ".text"])
        .arg(&object)
        .arg(&binary)
        .status();
    assert!(copied.expect("objcopy").success());
    let words = std::fs::read(&binary).expect("the words");
    assert_eq!(words.len(), lines.len() * 4);
    let wrong: Vec<String> = lines
        .iter()
        .zip(words.chunks_exact(4))
        .map(|((word, text), bytes)| {
            (*word, *text, format!("{:08x}", u32::from_le_bytes(bytes.try_into().expect("four"))))
        })
        .filter(|(word, _, theirs)| word != theirs)
        .map(|(word, text, theirs)| format!("{text}: {word}, not {theirs}"))
        .collect();
    std::fs::remove_dir_all(&dir).expect("our own directory");
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), lines.len(), wrong.join("\n"));
}

#[test]
fn constants_are_made_of_few_words() {
    let mut buffer = CodeBuffer::for_isa(Isa::Aarch64);
    for (value, count) in [
        (0, 1),
        (0xffff, 1),
        (0xabcd << 48, 1),
        (u64::MAX, 1),
        (!0x1234, 1),
        (0xffff_edcb, 1),
        (0x5555_5555_5555_5555, 1),
        (0x00ff_00ff, 1),
        (0x1234_5678, 2),
        (0xffff_ffff_1234_5678, 2),
        (0x1234_5678_9abc_def0, 4),
        (0xffff_0000_1234_ffff, 2),
    ] {
        sphex_asm::aarch64::encode::constant(Reg::int(3), value, &mut buffer);
        let code = buffer.finish(Pool::Apart).expect("a few words");
        assert_eq!(code.bytes.len() / 4, count, "{value:#x}");
        assert_eq!(interpret(&code.bytes), value, "{value:#x}");
    }
}

/// What a run of `movz`, `movn`, `movk` and `orr` leaves in the register.
fn interpret(bytes: &[u8]) -> u64 {
    let mut register = 0u64;
    for word in bytes.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().expect("four"))) {
        let (shift, imm, wide) = ((word >> 21 & 3) * 16, u64::from(word >> 5 & 0xffff), word >> 31 == 1);
        register = match word >> 23 & 0xff {
            0xa5 if word >> 29 & 3 == 2 => imm << shift,
            0x25 if word >> 29 & 3 == 0 => !(imm << shift),
            0xe5 => register & !(0xffff << shift) | imm << shift,
            _ => immediate::logical_value(word >> 10 & 0x1fff, if wide { Size::S64 } else { Size::S32 })
                .expect("a pattern"),
        };
        if !wide {
            register &= 0xffff_ffff;
        }
    }
    register
}
