//! Every row, at every size and condition, with corner and seeded random operands, against an independent disassembler:
//! what we print and what it reads from our word must be the same text, by its aliases or without them.

use sphex_asm::aarch64::operand::{Address, Cond, Extend, Mem, Operand, Shift, Size, Variant, field};
use sphex_asm::aarch64::row::{Form, Imm, Jump, Kind, Row, RowId, check, offset_fits};
use sphex_asm::aarch64::{encode::encode, immediate, print::print};
use sphex_asm::buffer::{CodeBuffer, Isa, Pool};
use sphex_asm::record::Symbol;
use sphex_asm::register::Reg;
use yaxpeax_arch::{Decoder, U8Reader};
use yaxpeax_arm::armv8::a64::{InstDecoder, Instruction, Operand as Theirs};

/// Cases a row and variant.
const CASES: usize = 1000;

/// The seed: another one from `SPHEX_SEED`, so that a longer run is the same test started again.
fn seed() -> u64 {
    std::env::var("SPHEX_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x5eed)
}

/// A small generator (splitmix), so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Below the limit, the ends more often than chance.
    fn below(&mut self, limit: u64) -> u64 {
        match self.next() % 8 {
            0 => 0,
            1 => limit - 1,
            _ => self.next() % limit,
        }
    }

    fn offset(&mut self, row: &Row) -> i32 {
        loop {
            let unit = 1 << row.access;
            let offset = match self.below(4) {
                0 => [0, 255, 256, -256, -257, 504, 512, -512, -1024, 1008][self.below(10) as usize],
                1 => self.below(512) as i32 - 256,
                2 => (self.below(128) as i32 - 64) * unit,
                _ => self.below(4096) as i32 * unit,
            };
            if offset_fits(row, offset) {
                return offset;
            }
        }
    }

    fn memory(&mut self, row: &Row) -> Mem {
        let base = Some(Reg::int(self.below(32) as u8));
        if row.form == Form::Any && self.below(3) == 0 {
            let index = Some(Reg::int(self.below(32) as u8));
            let extend = [Extend::Uxtx, Extend::Uxtw, Extend::Sxtw][self.below(3) as usize];
            // A shift by nothing of a byte could be said in two ways; ours is the one without.
            let shift = if self.below(2) == 0 { 0 } else { row.access };
            return Mem::Address(Address { base, index, shift: extend.index(shift), disp: 0 });
        }
        Mem::Address(Address { base, index: None, shift: 0, disp: self.offset(row) })
    }

    fn immediate(&mut self, kind: Imm, size: Size) -> i64 {
        let bits = u64::from(size.bits());
        let value = match kind {
            Imm::Arithmetic if self.below(2) == 0 => self.below(4096) << 12,
            Imm::Arithmetic => self.below(4096),
            Imm::Logical => loop {
                if let Some(value) = immediate::logical_value(self.below(1 << 13) as u32, size) {
                    break value;
                }
            },
            Imm::MoveWide => self.below(bits / 16) << 16 | self.below(0x1_0000),
            Imm::Shift => Shift::ALL[self.below(3) as usize].imm(self.below(bits) as u8) as u64,
            Imm::Extend => Extend::ALL[self.below(8) as usize].imm(self.below(5) as u8) as u64,
            Imm::ShiftLeft | Imm::ShiftRight | Imm::Extract | Imm::LaneLeft => self.below(bits),
            Imm::Field | Imm::Insert => {
                let low = self.below(bits);
                field(low as u8, 1 + self.below(bits - low) as u8) as u64
            }
            Imm::Flags | Imm::Start => self.below(16),
            Imm::CompareFlags => self.below(512),
            Imm::Float | Imm::Byte | Imm::ByteMask | Imm::LaneFloat => self.below(256),
            Imm::Code | Imm::LowCode => self.below(0x1_0000),
            Imm::Bit => self.below(64),
            Imm::LaneRight => 1 + self.below(bits),
            Imm::LaneNumber | Imm::MemoryLane => self.below(128 / bits),
            Imm::TwoLanes => self.below(128 / bits) << 4 | self.below(128 / bits),
            Imm::Shifted => self.below(256 * bits / 8),
            Imm::Zero | Imm::LaneZero => 0,
            Imm::Barrier => 15,
        };
        value as i64
    }
}

fn variants(id: RowId) -> Vec<Variant> {
    let row = id.row();
    let sizes: Vec<Variant> = match row.sizes {
        0 => vec![Variant::NONE],
        _ => Size::ALL.iter().filter(|size| row.allows(**size)).map(|size| Variant::size(*size)).collect(),
    };
    if row.condition.is_none() {
        return sizes;
    }
    sizes.iter().flat_map(|size| Cond::ALL.iter().map(|cond| cond.with(*size))).collect()
}

fn operands(row: &Row, variant: Variant, random: &mut Random) -> Vec<Operand> {
    row.operands
        .iter()
        .map(|spec| match spec.kind {
            Kind::Mem => Operand::Mem(random.memory(row)),
            Kind::Imm(kind) => Operand::Imm(random.immediate(kind, row.immediate_size(variant))),
            Kind::Target => Operand::Symbol(Symbol(7), 0),
            // A pair that ends in the zero register is beyond the disassembler.
            Kind::Pair => Operand::Reg(Reg::int(random.below(15) as u8 * 2)),
            _ => match spec.kind.class() {
                Some(class) => Operand::Reg(Reg::new(class, random.below(32) as u8)),
                None => unreachable!("{:?}", spec.kind),
            },
        })
        .collect()
}

/// What the disassembler says without aliases, and what it says with them.
fn theirs(instruction: &Instruction) -> [String; 2] {
    let mut text = instruction.opcode.to_string();
    let mut separator = " ";
    for operand in instruction.operands.iter().filter(|operand| **operand != Theirs::Nothing) {
        text.push_str(separator);
        text.push_str(&operand.to_string());
        separator = ", ";
    }
    [text, instruction.to_string()]
}

/// Our text where the disassembler knows no such alias, or only for some numbers.
fn spelled_out(row: &Row, variant: Variant, operands: &[Operand], ours: &str) -> Option<String> {
    let size = variant.get_size();
    match (row.name, operands) {
        ("mov", [Operand::Reg(_), Operand::Reg(_)]) if row.operands[0].kind == Kind::GprSp => {
            return Some(format!("{}, #0x0", ours.replace("mov", "add")));
        }
        ("bti c", _) => return Some("hint #0x22".into()),
        ("bti j", _) => return Some("hint #0x24".into()),
        ("bti jc", _) => return Some("hint #0x26".into()),
        _ => {}
    }
    // A shift by nothing, and an extension of as many bits as the operation has.
    if let (Some(Kind::Imm(Imm::Shift)), Some(_)) =
        (row.operands.last().map(|s| s.kind), ours.strip_suffix(" #0"))
    {
        return ours.strip_suffix(" #0").map(str::to_string);
    }
    if row.operands.last().is_some_and(|spec| spec.kind == Kind::Imm(Imm::Extend)) {
        // (It writes `lsl` for `uxtw` at 64 bits too, which the assembler's test knows better.)
        let name = if size == Size::S64 && ours.contains("uxtx") { "uxtx" } else { "uxtw" };
        let shifted = ours.replace(&format!("{name} #"), "lsl #");
        return Some(shifted.replace(&format!(", {name}"), ""));
    }
    if let [Operand::Reg(to), Operand::Reg(from), Operand::Imm(imm)] = *operands {
        return bitfield(row, variant, [to, from], imm);
    }
    None
}

fn bitfield(row: &Row, variant: Variant, [to, from]: [Reg; 2], imm: i64) -> Option<String> {
    let name = match row.name {
        "ubfx" | "ubfiz" | "lsl" | "lsr" => "ubfm",
        "sbfx" | "sbfiz" | "asr" => "sbfm",
        "bfi" | "bfxil" => "bfm",
        _ => return None,
    };
    let bits = i64::from(variant.get_size().bits());
    let (low, width) = (imm & 0xff, imm >> 8);
    let (immr, imms) = match row.name {
        "lsl" => ((bits - imm) % bits, bits - 1 - imm),
        "lsr" | "asr" => (imm, bits - 1),
        "ubfiz" | "sbfiz" | "bfi" => ((bits - low) % bits, width - 1),
        _ => (low, low + width - 1),
    };
    let name_of = |reg: Reg| {
        let letter = if bits == 64 { "x" } else { "w" };
        if reg.number() == 31 { format!("{letter}zr") } else { format!("{letter}{}", reg.number()) }
    };
    Some(format!("{name} {}, {}, #{immr:#x}, #{imms:#x}", name_of(to), name_of(from)))
}

fn check_case(
    id: RowId,
    variant: Variant,
    random: &mut Random,
    buffer: &mut CodeBuffer,
) -> Result<(), String> {
    let row = id.row();
    let mut operands = operands(row, variant, random);
    // What is relative to the code is compared at distance zero.
    let target = row.jump != Jump::No;
    if target && !matches!(row.jump, Jump::Page | Jump::Far | Jump::Call) {
        let label = buffer.label();
        buffer.bind(label);
        if let Some(last) = operands.last_mut() {
            *last = Operand::Label(label);
        }
    }
    check(id, variant, &operands).map_err(|error| format!("{operands:?} at {variant:?}: {error}"))?;
    encode(id, variant, &operands, buffer);
    let code = buffer.finish(Pool::Apart).map_err(|error| error.to_string())?;
    let mut ours = print(id, variant, &operands);
    let fail = |what: String| Err(format!("{ours} = {:02x?}: {what}", code.bytes));
    if code.bytes.len() != 4 {
        return fail("not one word".into());
    }
    if (code.relocations.len() == 1) != operands.iter().any(|operand| matches!(operand, Operand::Symbol(..)))
    {
        return fail("relocation".into());
    }
    let instruction = match InstDecoder::default().decode(&mut U8Reader::new(&code.bytes)) {
        Ok(instruction) => instruction,
        Err(error) => return fail(format!("{error}")),
    };
    // An index extended and not shifted is written with a zero there.
    let [plain, aliased] = theirs(&instruction).map(|text| text.replace("sxtw #0]", "sxtw]"));
    if target {
        let end = ours.rfind(' ').map_or(ours.len(), |at| at + 1);
        ours.replace_range(end.., "$+0x0");
    }
    let other = spelled_out(row, variant, &operands, &ours);
    let same = ours == plain || ours == aliased || same_numbers(&ours, &plain);
    if same || other.as_ref().is_some_and(|other| *other == plain || *other == aliased) {
        Ok(())
    } else {
        Err(format!("{ours} = {:02x?}: {plain} or {aliased}", code.bytes))
    }
}

/// Whether two texts differ only in how they write a float.
fn same_numbers(a: &str, b: &str) -> bool {
    let split =
        |text: &str| text.split_once('#').map(|(head, float)| (head.to_string(), float.parse::<f64>()));
    match (split(a), split(b)) {
        (Some((x, Ok(p))), Some((y, Ok(q)))) => x == y && p == q && a.contains('.'),
        _ => false,
    }
}

/// One case, of the row and with the operands that these bytes choose: the fuzz target `encode`.
#[allow(dead_code, reason = "the fuzz workspace includes this file")]
pub fn check_bytes(bytes: &[u8]) -> Result<usize, String> {
    let number = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let mut random = Random(bytes.iter().fold(0xcbf2_9ce4_8422_2325, number));
    let mut buffer = CodeBuffer::for_isa(Isa::Aarch64);
    let rows: Vec<RowId> = RowId::all().collect();
    let id = rows[(random.next() % rows.len() as u64) as usize];
    let variants = variants(id);
    let variant = variants[(random.next() % variants.len() as u64) as usize];
    for _ in 0..16 {
        check_case(id, variant, &mut random, &mut buffer).map_err(|what| format!("{id:?}: {what}"))?;
    }
    Ok(16)
}

#[test]
fn every_row_disassembles_to_itself() {
    let mut buffer = CodeBuffer::for_isa(Isa::Aarch64);
    let mut failures = Vec::new();
    let (mut rows, mut cases) = (0, 0);
    for id in RowId::all() {
        let mut random = Random(seed() ^ u64::from(id.0) << 32);
        'row: for variant in variants(id) {
            for _ in 0..CASES {
                cases += 1;
                if let Err(what) = check_case(id, variant, &mut random, &mut buffer) {
                    failures.push(format!("{id:?}: {what}"));
                    buffer.clear();
                    break 'row;
                }
            }
        }
        rows += 1;
    }
    println!("{rows} rows, {cases} cases");
    assert!(
        failures.is_empty(),
        "seed {}, {} of {rows} rows:\n{}",
        seed(),
        failures.len(),
        failures.join("\n")
    );
    assert!(rows > 440 && cases > rows * CASES);
}
