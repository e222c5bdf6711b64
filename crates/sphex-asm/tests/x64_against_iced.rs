//! Every row, at every size and condition, with seeded random operands, against an independent disassembler: length,
//! mnemonic, operands, text, registers read and written, flags and CPU features must agree.

use iced_x86::{
    CpuidFeature, Decoder, DecoderOptions, Formatter, Instruction, InstructionInfoFactory, IntelFormatter,
    OpAccess, OpKind, Register,
};
use sphex_asm::buffer::{CodeBuffer, Pool};
use sphex_asm::record::Symbol;
use sphex_asm::register::{Reg, RegClass, RegSet};
use sphex_asm::x64::features::{Feature, FeatureSet};
use sphex_asm::x64::operand::{Address, Cond, Mem, Operand, Size, Variant, gpr, xmm};
use sphex_asm::x64::row::{Kind, RowId, Slot, Space, check};
use sphex_asm::x64::{encode::encode, op, print::print};

/// Cases a row and variant.
const CASES: usize = 2000;

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

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn int(&mut self) -> Reg {
        Reg::int(self.below(16) as u8)
    }

    fn displacement(&mut self) -> i32 {
        match self.below(6) {
            0 => 0,
            1 => self.next() as i8 as i32,
            2 => [127, 128, -128, -129, 64, 16, 32, 4096][self.below(8) as usize],
            3 => (self.next() as i8 as i32) * 16,
            _ => self.next() as i32,
        }
    }

    fn memory(&mut self) -> Mem {
        let disp = self.displacement();
        let special = [gpr::RSP, gpr::RBP, gpr::R12, gpr::R13];
        let base = match self.below(8) {
            0 => None,
            1..=3 => Some(special[self.below(4) as usize]),
            _ => Some(self.int()),
        };
        let index = match self.int() {
            gpr::RSP => None,
            _ if self.below(2) == 0 => None,
            index => Some(index),
        };
        let shift = if index.is_some() { self.below(4) as u8 } else { 0 };
        match self.below(12) {
            0 => Mem::Symbol(Symbol(7), disp),
            _ => Mem::Address(Address { base, index, shift, disp }),
        }
    }

    fn immediate(&mut self, size: Size, variable: bool) -> i64 {
        let value = match self.below(4) {
            0 => self.next() as i8 as i64,
            1 => [0, 1, -1, 127, 128, -128, -129, 255][self.below(8) as usize],
            _ => self.next() as i64,
        };
        match (size, self.below(2)) {
            (Size::S8, 0) => value as i8 as i64,
            (Size::S8, _) => value as u8 as i64,
            (Size::S16, 0) => value as i16 as i64,
            (Size::S16, _) => value as u16 as i64,
            (Size::S32, 0) => value as i32 as i64,
            (Size::S32, _) => value as u32 as i64,
            _ if variable => value as i32 as i64,
            _ => value,
        }
    }
}

fn variants(row: RowId) -> Vec<Variant> {
    let row = row.row();
    let sizes: Vec<Variant> = match row.sizes {
        0 => vec![Variant::NONE],
        _ => Size::ALL.iter().filter(|size| row.allows(**size)).map(|size| Variant::size(*size)).collect(),
    };
    if !row.conditional && row.space != Space::JumpIf {
        return sizes;
    }
    sizes.iter().flat_map(|size| Cond::ALL.iter().map(|cond| size.with_cond(*cond))).collect()
}

fn operands(id: RowId, variant: Variant, random: &mut Random) -> Vec<Operand> {
    let row = id.row();
    let vectors = if row.space == Space::Evex { 32 } else { 16 };
    row.operands
        .iter()
        .map(|spec| {
            let register = match spec.fixed {
                Some(reg) => reg,
                None if spec.kind.class() == Some(RegClass::Vector) => xmm(random.below(vectors) as u8),
                None => random.int(),
            };
            match spec.kind {
                Kind::Gpr | Kind::Vec => Operand::Reg(register),
                Kind::GprMem | Kind::VecMem if random.below(2) == 0 => Operand::Reg(register),
                Kind::GprMem | Kind::VecMem | Kind::Mem => Operand::Mem(random.memory()),
                Kind::Imm => Operand::Imm(random.immediate(spec.width(variant), spec.width.is_none())),
                Kind::Target => Operand::Symbol(Symbol(7), 0),
            }
        })
        .collect()
}

fn iced_register(reg: Reg, size: Size) -> Register {
    let n = i32::from(reg.number());
    match (reg.class(), size) {
        (RegClass::Vector, Size::S256) => Register::YMM0 + n,
        (RegClass::Vector, _) => Register::XMM0 + n,
        (_, Size::S8) if n < 4 => Register::AL + n,
        (_, Size::S8) => Register::SPL + (n - 4),
        (_, Size::S16) => Register::AX + n,
        (_, Size::S32) => Register::EAX + n,
        _ => Register::RAX + n,
    }
}

fn our_register(reg: Register) -> Option<Reg> {
    if reg.is_gpr() {
        Some(Reg::int(reg.full_register().number() as u8))
    } else if reg.is_vector_register() {
        Some(xmm(reg.number() as u8))
    } else {
        None
    }
}

/// What is seen of a row over all its cases.
#[derive(Default)]
struct Seen {
    cases: usize,
    roles: usize,
    reads_flags: bool,
    writes_flags: bool,
}

struct Checker {
    info: InstructionInfoFactory,
    formatter: IntelFormatter,
    buffer: CodeBuffer,
}

impl Checker {
    fn new() -> Checker {
        let mut formatter = IntelFormatter::new();
        let options = formatter.options_mut();
        options.set_hex_prefix("0x");
        options.set_hex_suffix("");
        options.set_uppercase_hex(false);
        options.set_small_hex_numbers_in_decimal(false);
        options.set_add_leading_zero_to_hex_numbers(false);
        options.set_space_after_operand_separator(true);
        options.set_memory_size_options(iced_x86::MemorySizeOptions::Always);
        options.set_use_pseudo_ops(false);
        options.set_branch_leading_zeros(false);
        options.set_displacement_leading_zeros(false);
        options.set_show_branch_size(false);
        Checker { info: InstructionInfoFactory::new(), formatter, buffer: CodeBuffer::new() }
    }

    fn check(
        &mut self,
        id: RowId,
        variant: Variant,
        random: &mut Random,
        seen: &mut Seen,
    ) -> Result<(), String> {
        let row = id.row();
        let operands = operands(id, variant, random);
        check(id, variant, &operands).map_err(|error| format!("{operands:?}: {error}"))?;
        encode(id, variant, &operands, &mut self.buffer);
        let code = self.buffer.finish(Pool::Apart).map_err(|error| error.to_string())?;
        let text = print(id, variant, &operands);
        let fail = |what: String| Err(format!("{text} = {:02x?}: {what}", code.bytes));
        let mut decoder = Decoder::with_ip(64, &code.bytes, 0, DecoderOptions::NONE);
        let instruction = decoder.decode();
        let mut theirs = String::new();
        self.formatter.format(&instruction, &mut theirs);
        if instruction.is_invalid() || instruction.len() != code.bytes.len() {
            return fail(format!("decodes to {} bytes of {theirs}", instruction.len()));
        }
        let mut mnemonic = row.name.to_string();
        if row.conditional || row.space == Space::JumpIf {
            mnemonic.push_str(variant.get_cond().suffix());
        }
        if format!("{:?}", instruction.mnemonic()).to_lowercase() != mnemonic {
            return fail(format!("disassembles to {theirs}"));
        }
        if instruction.has_lock_prefix() != row.locked {
            return fail("lock prefix".into());
        }
        compare_operands(id, variant, &operands, &instruction)
            .or_else(|what| fail(format!("{what} in {theirs}")))?;
        let symbolic = operands
            .iter()
            .any(|operand| matches!(operand, Operand::Symbol(..) | Operand::Mem(Mem::Symbol(..))));
        if !symbolic && text != theirs {
            return fail(format!("text is {theirs}"));
        }
        if symbolic != (code.relocations.len() == 1) {
            return fail("relocation".into());
        }
        compare_features(row.features_at(variant), &instruction).or_else(fail)?;
        seen.cases += 1;
        seen.reads_flags |= instruction.rflags_read() != 0;
        seen.writes_flags |= instruction.rflags_modified() != 0;
        seen.roles += usize::from(
            self.compare_roles(id, &operands, &instruction)
                .map_err(|what| format!("{text} = {:02x?}: {what}", code.bytes))?,
        );
        Ok(())
    }

    /// Registers read and written. Not comparable (`Ok(false)`) where two operands are one register: the disassembler
    /// knows that some such instructions do not read it.
    fn compare_roles(
        &mut self,
        id: RowId,
        operands: &[Operand],
        instruction: &Instruction,
    ) -> Result<bool, String> {
        let row = id.row();
        let mut named = RegSet::EMPTY;
        let (mut reads, mut writes) = (RegSet::EMPTY, row.clobbers);
        for (spec, operand) in row.operands.iter().zip(operands) {
            match operand {
                Operand::Reg(reg) => {
                    if named.contains(*reg) {
                        return Ok(false);
                    }
                    named.insert(*reg);
                    if spec.role.reads() {
                        reads.insert(*reg);
                    }
                    if spec.role.writes() {
                        writes.insert(*reg);
                    }
                }
                Operand::Mem(Mem::Address(address)) => {
                    for reg in [address.base, address.index].into_iter().flatten() {
                        reads.insert(reg);
                    }
                }
                _ => {}
            }
        }
        let (mut their_reads, mut their_writes) = (RegSet::EMPTY, RegSet::EMPTY);
        for used in self.info.info(instruction).used_registers() {
            let Some(reg) = our_register(used.register()) else { continue };
            let access = used.access();
            if matches!(
                access,
                OpAccess::Read | OpAccess::CondRead | OpAccess::ReadWrite | OpAccess::ReadCondWrite
            ) {
                their_reads.insert(reg);
            }
            if matches!(
                access,
                OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
            ) {
                their_writes.insert(reg);
            }
        }
        // Push, pop, call and ret move the stack pointer beside their operands.
        if instruction.is_stack_instruction() {
            for set in [&mut reads, &mut their_reads, &mut writes, &mut their_writes] {
                set.remove(gpr::RSP);
            }
        }
        // A destination written only sometimes keeps its old value; where the row says so it is read as well.
        if id == op::CMOVCC {
            their_reads = their_reads.union(their_writes);
        }
        // The disassembler does not know that a register compared with itself is not read.
        if row.operands.iter().any(|spec| spec.slot == Slot::Both) {
            their_reads = reads;
        }
        if row.merges
            && let Operand::Reg(reg) = operands[0]
        {
            reads.insert(reg);
            their_reads.insert(reg);
        }
        if (reads, writes) != (their_reads, their_writes) {
            return Err(format!("reads {reads:?} writes {writes:?}, not {their_reads:?} {their_writes:?}"));
        }
        Ok(true)
    }
}

fn compare_operands(
    id: RowId,
    variant: Variant,
    operands: &[Operand],
    instruction: &Instruction,
) -> Result<(), String> {
    let row = id.row();
    let mut at = 0;
    for (spec, operand) in row.operands.iter().zip(operands) {
        if spec.hidden {
            continue;
        }
        let width = spec.width(variant);
        let times = if spec.slot == Slot::Both { 2 } else { 1 };
        for _ in 0..times {
            if at >= instruction.op_count() {
                return Err(format!("operand {at} is missing"));
            }
            let agrees = match *operand {
                Operand::Reg(reg) => {
                    instruction.op_kind(at) == OpKind::Register
                        && instruction.op_register(at) == iced_register(reg, width)
                }
                Operand::Imm(value) => {
                    let mask = u64::MAX >> (64 - width.bits().min(64));
                    instruction.immediate(at) & mask == value as u64 & mask
                }
                Operand::Mem(mem) => {
                    let size = instruction.memory_size().size() as u32;
                    instruction.op_kind(at) == OpKind::Memory
                        && (row.address_only || size == width.bytes())
                        && same_memory(mem, instruction)
                }
                _ => instruction.op_kind(at) == OpKind::NearBranch64,
            };
            if !agrees {
                return Err(format!("operand {at} differs"));
            }
            at += 1;
        }
    }
    // What the disassembler has more must be implicit and hidden here.
    let hidden = row.operands.iter().any(|spec| spec.hidden);
    if at != instruction.op_count() && !hidden {
        return Err(format!("{at} operands, not {}", instruction.op_count()));
    }
    Ok(())
}

fn same_memory(mem: Mem, instruction: &Instruction) -> bool {
    match mem {
        Mem::Address(address) => {
            let name = |reg: Option<Reg>| reg.map_or(Register::None, |reg| iced_register(reg, Size::S64));
            instruction.memory_base() == name(address.base)
                && instruction.memory_index() == name(address.index)
                && (address.index.is_none() || instruction.memory_index_scale() == 1 << address.shift)
                && instruction.memory_displacement64() == address.disp as i64 as u64
        }
        _ => instruction.memory_base() == Register::RIP,
    }
}

fn compare_features(ours: FeatureSet, instruction: &Instruction) -> Result<(), String> {
    let mut theirs = FeatureSet::BASELINE;
    for feature in instruction.cpuid_features() {
        let known = match feature {
            CpuidFeature::SSE3 => Feature::Sse3,
            CpuidFeature::SSSE3 => Feature::Ssse3,
            CpuidFeature::SSE4_1 => Feature::Sse41,
            CpuidFeature::SSE4_2 => Feature::Sse42,
            CpuidFeature::POPCNT => Feature::Popcnt,
            CpuidFeature::CMPXCHG16B => Feature::Cmpxchg16b,
            CpuidFeature::MOVBE => Feature::Movbe,
            CpuidFeature::AVX => Feature::Avx,
            CpuidFeature::AVX2 => Feature::Avx2,
            CpuidFeature::BMI1 => Feature::Bmi1,
            CpuidFeature::BMI2 => Feature::Bmi2,
            CpuidFeature::LZCNT => Feature::Lzcnt,
            CpuidFeature::ADX => Feature::Adx,
            CpuidFeature::FMA => Feature::Fma,
            CpuidFeature::F16C => Feature::F16c,
            CpuidFeature::PCLMULQDQ => Feature::Pclmulqdq,
            CpuidFeature::AVX512F => Feature::Avx512f,
            CpuidFeature::AVX512VL => Feature::Avx512vl,
            CpuidFeature::AVX512BW => Feature::Avx512bw,
            CpuidFeature::AVX512DQ => Feature::Avx512dq,
            CpuidFeature::AVX512_VBMI => Feature::Avx512vbmi,
            CpuidFeature::AVX512_BITALG => Feature::Avx512bitalg,
            CpuidFeature::AVX512_VNNI => Feature::Avx512vnni,
            CpuidFeature::INTEL8086
            | CpuidFeature::INTEL186
            | CpuidFeature::INTEL286
            | CpuidFeature::INTEL386
            | CpuidFeature::INTEL486
            | CpuidFeature::X64
            | CpuidFeature::CMOV
            | CpuidFeature::SSE
            | CpuidFeature::SSE2
            | CpuidFeature::MULTIBYTENOP
            | CpuidFeature::CET_IBT
            | CpuidFeature::PAUSE => continue,
            other => return Err(format!("needs {other:?}")),
        };
        theirs = theirs.with(known);
    }
    let closed = |mut set: FeatureSet| {
        let wide = set.iter().any(|f| f >= Feature::Avx512f);
        let vex = [Feature::Avx2, Feature::Fma, Feature::F16c].iter().any(|f| set.has(*f));
        if wide {
            set = set.with(Feature::Avx512f);
        }
        if vex {
            set = set.with(Feature::Avx);
        }
        set
    };
    let (ours, theirs) = (closed(ours), closed(theirs));
    if ours == theirs { Ok(()) } else { Err(format!("features {ours}, not {theirs}")) }
}

/// One case, of the row and with the operands that these bytes choose: the fuzz target `encode`.
#[allow(dead_code, reason = "the fuzz workspace includes this file")]
pub fn check_bytes(bytes: &[u8]) -> Result<usize, String> {
    let number = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let mut random = Random(bytes.iter().fold(0xcbf2_9ce4_8422_2325, number));
    let mut checker = Checker::new();
    let rows: Vec<RowId> = RowId::all().collect();
    let id = rows[random.below(rows.len() as u64) as usize];
    let variants = variants(id);
    let variant = variants[random.below(variants.len() as u64) as usize];
    let mut seen = Seen::default();
    for _ in 0..16 {
        checker.check(id, variant, &mut random, &mut seen)?;
    }
    Ok(seen.cases)
}

#[test]
fn every_row_disassembles_to_itself() {
    let mut checker = Checker::new();
    let mut failures = Vec::new();
    let (mut rows, mut cases) = (0, 0);
    for id in RowId::all() {
        let row = id.row();
        let mut seen = Seen::default();
        let mut random = Random(seed() ^ u64::from(id.0) << 32);
        'row: for variant in variants(id) {
            for _ in 0..CASES {
                if let Err(what) = checker.check(id, variant, &mut random, &mut seen) {
                    failures.push(format!("{}: {what}", row.id));
                    break 'row;
                }
            }
        }
        if seen.cases == 0 || (seen.roles == 0 && row.operands.len() < 4) {
            failures.push(format!("{}: {} cases, {} with roles", row.id, seen.cases, seen.roles));
        }
        if (seen.reads_flags, seen.writes_flags) != (row.reads_flags, row.writes_flags) {
            failures.push(format!(
                "{}: flags read {} written {}, not {} {}",
                row.id, row.reads_flags, row.writes_flags, seen.reads_flags, seen.writes_flags
            ));
        }
        rows += 1;
        cases += seen.cases;
    }
    println!("{rows} rows, {cases} cases");
    assert!(
        failures.is_empty(),
        "seed {}, {} of {rows} rows:\n{}",
        seed(),
        failures.len(),
        failures.join("\n")
    );
    assert!(rows > 700 && cases > rows * CASES);
}
