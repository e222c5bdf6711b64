//! What a row of the table says, and the words in which rows are written.
//!
//! Needs: operands. Gives: [`Row`], [`Spec`] (one operand's kind, role, width, field), [`RowId`], and [`check`], which
//! says whether operands fit a row. Everything is `const`: a row is finished before the program runs.

use super::features::{Feature, FeatureSet};
use super::immediate;
use super::operand::{Extend, Mem, Operand, Size, Variant};
use super::table::ROWS;
pub use crate::operand::Role;
use crate::register::RegClass;

/// A row's number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct RowId(pub u16);

impl RowId {
    /// The row.
    pub fn row(self) -> &'static Row {
        &ROWS[self.0 as usize]
    }

    /// Every row's number.
    pub fn all() -> impl Iterator<Item = RowId> {
        (0..ROWS.len() as u16).map(RowId)
    }
}

impl From<RowId> for u16 {
    fn from(id: RowId) -> u16 {
        id.0
    }
}

impl core::fmt::Debug for RowId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(ROWS.get(self.0 as usize).map_or("?", |row| row.id))
    }
}

/// What may stand as an operand, and how it is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// An integer register; 31 is zero.
    Gpr,
    /// An integer register; 31 is the stack pointer.
    GprSp,
    /// A vector register that holds one float (or 128 bits), printed by its size.
    Scalar,
    /// A vector register, printed with its lanes; the width is a lane's.
    Vector,
    /// The low half of a vector register, printed with its lanes.
    Half,
    /// One lane of a vector register; the immediate says which.
    Lane,
    /// Vector registers in braces: this one and as many more as the row says.
    List,
    /// An integer register of 32 bits, of 64 where lanes are that wide.
    LaneGpr,
    /// An integer register with an even number, and the next one.
    Pair,
    /// A vector register that stands in the field and in `Rm`.
    Both,
    /// Vector registers in braces, of which the immediate says one lane.
    ListLane,
    /// Memory.
    Mem,
    /// An immediate.
    Imm(Imm),
    /// A label or a symbol.
    Target,
}

impl Kind {
    /// The class of register that may stand here.
    pub const fn class(self) -> Option<RegClass> {
        match self {
            Kind::Gpr | Kind::GprSp | Kind::LaneGpr | Kind::Pair => Some(RegClass::Int),
            Kind::Scalar
            | Kind::Vector
            | Kind::Half
            | Kind::Lane
            | Kind::Both
            | Kind::List
            | Kind::ListLane => Some(RegClass::Vector),
            _ => None,
        }
    }
}

/// What an immediate is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Imm {
    /// Of `add` and `sub`: twelve bits, shifted by twelve or not.
    Arithmetic,
    /// A bit pattern of `and`, `orr`, `eor`.
    Logical,
    /// Of `movz`: sixteen bits, and from bit 16 on which quarter they are.
    MoveWide,
    /// A shift of the register before it ([`super::Shift::imm`]).
    Shift,
    /// An extension of the register before it ([`Extend::imm`]).
    Extend,
    /// A shift left by a constant, as a bitfield move.
    ShiftLeft,
    /// A shift right by a constant, as a bitfield move.
    ShiftRight,
    /// The lowest bit of what `extr` takes.
    Extract,
    /// A field that is taken out: lowest bit and width ([`super::operand::field`]).
    Field,
    /// A field that is put in.
    Insert,
    /// Of `ccmp`: the flags where there is no comparison.
    Flags,
    /// Of `ccmp`: an immediate of five bits above the flags' four.
    CompareFlags,
    /// The eight bits of a float.
    Float,
    /// Sixteen bits from bit 5 on.
    Code,
    /// Sixteen bits from bit 0 on.
    LowCode,
    /// The number of a bit.
    Bit,
    /// A shift left of lanes.
    LaneLeft,
    /// A shift right of lanes, by one to their width.
    LaneRight,
    /// The number of a lane, printed with the register before it.
    LaneNumber,
    /// The number of a lane (bits 4 and up) and of another's (bits 0 to 3), printed with the registers.
    TwoLanes,
    /// The lane of a load or store of one.
    MemoryLane,
    /// The byte at which `ext` begins.
    Start,
    /// Eight bits for each lane of a byte.
    Byte,
    /// Eight bits, each of which is a byte.
    ByteMask,
    /// Eight bits and, from bit 8 on, by how many bytes they are shifted.
    Shifted,
    /// The eight bits of a float for each lane.
    LaneFloat,
    /// The zero that a float is compared with; in no field.
    Zero,
    /// The zero that lanes are compared with; in no field.
    LaneZero,
    /// The domain of `clrex`, which does nothing.
    Barrier,
}

/// One operand of a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spec {
    /// What may stand here.
    pub kind: Kind,
    /// What is done with it.
    pub role: Role,
    /// Its width (of a vector, a lane's); `None` is the variant's size.
    pub width: Option<Size>,
    /// A vector's lane is twice as wide as `width`.
    pub wide: bool,
    /// The lowest bit of a register's field.
    pub at: u8,
}

impl Spec {
    const fn new(kind: Kind, at: u8) -> Spec {
        Spec { kind, role: Role::Use, width: None, wide: false, at }
    }

    /// The width under this variant.
    pub const fn width(&self, variant: Variant) -> Size {
        let width = match self.width {
            Some(width) => width,
            None => variant.get_size(),
        };
        match (self.wide, width) {
            (false, width) => width,
            (true, Size::S8) => Size::S16,
            (true, Size::S16) => Size::S32,
            (true, Size::S32) => Size::S64,
            (true, _) => Size::S128,
        }
    }

    const fn role(mut self, role: Role) -> Spec {
        self.role = role;
        self
    }
    const fn at_width(mut self, width: Size) -> Spec {
        self.width = Some(width);
        self
    }
    const fn kind(mut self, kind: Kind) -> Spec {
        self.kind = kind;
        self
    }
    /// Read and written.
    pub(super) const fn m(self) -> Spec {
        self.role(Role::Modify)
    }
    /// Written while others are still to be read.
    pub(super) const fn early(self) -> Spec {
        self.role(Role::EarlyDef)
    }
    /// 31 is the stack pointer.
    pub(super) const fn sp(self) -> Spec {
        self.kind(Kind::GprSp)
    }
    /// Only the low half of a vector.
    pub(super) const fn half(self) -> Spec {
        self.kind(Kind::Half)
    }
    /// A lane of a vector.
    pub(super) const fn lane(self) -> Spec {
        self.kind(Kind::Lane)
    }
    /// Lanes twice as wide as the variant says.
    pub(super) const fn wide(mut self) -> Spec {
        self.wide = true;
        self
    }
    /// One byte wide.
    pub(super) const fn b(self) -> Spec {
        self.at_width(Size::S8)
    }
    /// Two bytes wide.
    pub(super) const fn h(self) -> Spec {
        self.at_width(Size::S16)
    }
    /// Four bytes wide.
    pub(super) const fn l(self) -> Spec {
        self.at_width(Size::S32)
    }
    /// Eight bytes wide.
    pub(super) const fn q(self) -> Spec {
        self.at_width(Size::S64)
    }
    /// Sixteen bytes wide.
    pub(super) const fn o(self) -> Spec {
        self.at_width(Size::S128)
    }
}

/// Integer register written, `Rd`.
pub(super) const D: Spec = Spec::new(Kind::Gpr, 0).role(Role::Def);
/// Integer register read, `Rt`.
pub(super) const T: Spec = Spec::new(Kind::Gpr, 0);
/// Integer register read, `Rn`.
pub(super) const N: Spec = Spec::new(Kind::Gpr, 5);
/// Integer register read, `Rm` or `Rs`.
pub(super) const M: Spec = Spec::new(Kind::Gpr, 16);
/// Integer register read, `Ra` or `Rt2`.
pub(super) const A: Spec = Spec::new(Kind::Gpr, 10);
/// Integer register written, `Rs`: the status of a conditional store, distinct from all that is read.
pub(super) const DS: Spec = Spec::new(Kind::Gpr, 16).role(Role::EarlyDef).at_width(Size::S32);
/// The first of two integer registers read, `Rs` (even).
pub(super) const PAIR: Spec = Spec::new(Kind::Pair, 16);
/// The first of two integer registers read, `Rt` (even).
pub(super) const TPAIR: Spec = Spec::new(Kind::Pair, 0);
/// Integer register read, as wide as a lane needs.
pub(super) const DN: Spec = Spec::new(Kind::LaneGpr, 5);
/// Integer register written, `Rt2`.
pub(super) const D2: Spec = Spec::new(Kind::Gpr, 10).role(Role::Def);
/// Float written.
pub(super) const FD: Spec = Spec::new(Kind::Scalar, 0).role(Role::Def);
/// Float read, `Rt`.
pub(super) const FT: Spec = Spec::new(Kind::Scalar, 0);
/// Float read, `Rn`.
pub(super) const FN: Spec = Spec::new(Kind::Scalar, 5);
/// Float read, `Rm`.
pub(super) const FM: Spec = Spec::new(Kind::Scalar, 16);
/// Float read, `Ra` or `Rt2`.
pub(super) const FA: Spec = Spec::new(Kind::Scalar, 10);
/// Float written, `Rt2`.
pub(super) const FD2: Spec = Spec::new(Kind::Scalar, 10).role(Role::Def);
/// Vector written.
pub(super) const VD: Spec = Spec::new(Kind::Vector, 0).role(Role::Def);
/// Vector read, `Rn`.
pub(super) const VN: Spec = Spec::new(Kind::Vector, 5);
/// Vector read, `Rm`.
pub(super) const VM: Spec = Spec::new(Kind::Vector, 16);
/// Vector read, `Rn` and `Rm`.
pub(super) const VBOTH: Spec = Spec::new(Kind::Both, 5);
/// List of vectors read, `Rn`.
pub(super) const LN: Spec = Spec::new(Kind::List, 5);
/// List of vectors written, `Rt`.
pub(super) const LD: Spec = Spec::new(Kind::List, 0).role(Role::Def);
/// List of vectors read, `Rt`.
pub(super) const LT: Spec = Spec::new(Kind::ListLane, 0);
/// List of vectors of which one lane is written.
pub(super) const LTM: Spec = Spec::new(Kind::ListLane, 0).role(Role::Modify);
/// Memory read.
pub(super) const MEM: Spec = Spec::new(Kind::Mem, 5);
/// Memory written.
pub(super) const MEMD: Spec = Spec::new(Kind::Mem, 5).role(Role::Def);
/// Memory read and written.
pub(super) const MEMM: Spec = Spec::new(Kind::Mem, 5).role(Role::Modify);
/// Label or symbol.
pub(super) const TO: Spec = Spec::new(Kind::Target, 0);

/// An immediate.
pub(super) const fn imm(imm: Imm) -> Spec {
    Spec::new(Kind::Imm(imm), 0)
}

/// How the variant's size goes into the word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sizing {
    /// Not at all.
    None,
    /// 64 bits: bit 31.
    Sf,
    /// 64 bits: bits 31 and 22.
    SfN,
    /// 64 bits: bit 30.
    Bit30,
    /// A float's type in bits 22 and 23.
    Float,
    /// Log2 of a lane's bytes in bits 22 and 23.
    Lane,
    /// Float lanes of 64 bits: bit 22.
    FloatLane,
    /// Log2 of the bytes in bits 30 and 31.
    Memory,
    /// Log2 of a lane's bytes as the lowest bit set from bit 16 on, below the lane's number.
    Index,
    /// As the highest bit set of bits 19 to 22, above a shift.
    Shift,
    /// As the highest bits of the lane's number in `Q`, `S` and `size`.
    MemoryLane,
    /// Log2 of a lane's bytes in bits 10 and 11.
    Load,
}

/// How memory is addressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// No memory, or only its base in a register.
    Base,
    /// Base and offset, scaled or not, or base and index.
    Any,
    /// Nine bits of offset that are added to the base, before or after.
    Writeback {
        /// Before.
        pre: bool,
    },
    /// Seven bits of offset, scaled.
    Pair,
    /// Seven bits of offset, scaled, that are added to the base, before or after.
    PairWriteback {
        /// Before.
        pre: bool,
    },
}

/// A branch whose displacement the code buffer fills in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Jump {
    /// None.
    No,
    /// To anywhere in the function: 26 bits.
    Far,
    /// To another function: 26 bits.
    Call,
    /// On a condition or a register: 19 bits.
    If,
    /// On a bit of a register: 14 bits.
    Bit,
    /// No branch: the address, 21 bits of bytes.
    Address,
    /// No branch: the address of its page, by the linker.
    Page,
    /// No branch: a load, 19 bits of words.
    Literal,
}

/// Sets of sizes.
pub(super) const L: u8 = 4;
pub(super) const Q: u8 = 8;
pub(super) const LQ: u8 = L | Q;
pub(super) const BWLQ: u8 = 15;
pub(super) const BWL: u8 = 7;
pub(super) const BW: u8 = 3;
pub(super) const WL: u8 = 6;

/// One instruction form: everything that is known about it.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The constant's name in [`super::op`].
    pub id: &'static str,
    /// The mnemonic; rows with a condition in it have that appended.
    pub name: &'static str,
    /// Operands in printing order.
    pub operands: &'static [Spec],
    /// The word, fields empty.
    pub base: u32,
    /// How the size goes in.
    pub sizing: Sizing,
    /// Sizes allowed, bit `i` for `Size::ALL[i]`; zero for a row without a size.
    pub sizes: u8,
    /// How memory is addressed.
    pub form: Form,
    /// Log2 of the bytes accessed.
    pub access: u8,
    /// Whether it is a branch.
    pub jump: Jump,
    /// The lowest bit of the condition's field.
    pub condition: Option<u8>,
    /// Whether the condition is the opposite of the variant's (`cset`).
    pub inverted: bool,
    /// Whether the size's letter is appended to the mnemonic (`ldarb`, `ldarh`).
    pub suffixed: bool,
    /// How many registers a list has.
    pub list: u8,
    /// CPU features needed.
    pub features: FeatureSet,
    /// Whether the result depends on the flags.
    pub reads_flags: bool,
    /// Whether flags change.
    pub writes_flags: bool,
}

const EMPTY: Row = Row {
    id: "",
    name: "",
    operands: &[],
    base: 0,
    sizing: Sizing::None,
    sizes: 0,
    form: Form::Base,
    access: 0,
    jump: Jump::No,
    condition: None,
    inverted: false,
    suffixed: false,
    list: 1,
    features: FeatureSet::BASELINE,
    reads_flags: false,
    writes_flags: false,
};

/// A word as it is.
pub(super) const fn word(base: u32) -> Row {
    Row { base, ..EMPTY }
}

const fn sized(base: u32, sizing: Sizing, sizes: u8) -> Row {
    Row { base, sizing, sizes, ..EMPTY }
}

/// 32 and 64 bits by bit 31.
pub(super) const fn sf(base: u32) -> Row {
    sized(base, Sizing::Sf, LQ)
}

/// 32 and 64 bits by bits 31 and 22.
pub(super) const fn sfn(base: u32) -> Row {
    sized(base, Sizing::SfN, LQ)
}

/// 32 and 64 bits by bit 30.
pub(super) const fn b30(base: u32) -> Row {
    sized(base, Sizing::Bit30, LQ)
}

/// Floats of 32 and 64 bits.
pub(super) const fn fp(base: u32) -> Row {
    sized(base, Sizing::Float, LQ)
}

/// Vectors by lane.
pub(super) const fn lanes(base: u32, sizes: u8) -> Row {
    sized(base, Sizing::Lane, sizes)
}

/// Vectors of floats.
pub(super) const fn flanes(base: u32) -> Row {
    sized(base, Sizing::FloatLane, LQ)
}

/// Vectors by lane and the lane's number.
pub(super) const fn indexed(base: u32, sizes: u8) -> Row {
    sized(base, Sizing::Index, sizes)
}

/// Vectors by lane and a shift.
pub(super) const fn shifts(base: u32, sizes: u8) -> Row {
    sized(base, Sizing::Shift, sizes)
}

/// Memory through a base, at every size, which is in the mnemonic.
pub(super) const fn atomic(base: u32) -> Row {
    Row { suffixed: true, ..sized(base, Sizing::Memory, BWLQ) }
}

/// A load or store of `1 << access` bytes at any address. `base` is the form with a scaled offset.
pub(super) const fn mem(base: u32, access: u8) -> Row {
    Row { form: Form::Any, access, ..word(base) }
}

/// The same that adds to its base.
pub(super) const fn back(base: u32, access: u8, pre: bool) -> Row {
    Row { form: Form::Writeback { pre }, access, ..word(base) }
}

/// A load or store of a pair.
pub(super) const fn pair(base: u32, access: u8) -> Row {
    Row { form: Form::Pair, access, ..word(base) }
}

/// The same that adds to its base.
pub(super) const fn pair_back(base: u32, access: u8, pre: bool) -> Row {
    Row { form: Form::PairWriteback { pre }, access, ..word(base) }
}

/// Loads and stores of one lane.
pub(super) const fn one_lane(base: u32) -> Row {
    sized(base, Sizing::MemoryLane, BWLQ)
}

/// A load of every lane.
pub(super) const fn every_lane(base: u32) -> Row {
    sized(base, Sizing::Load, BWLQ)
}

impl Row {
    /// A branch.
    pub(super) const fn to(mut self, jump: Jump) -> Row {
        self.jump = jump;
        self
    }
    /// The condition is at this bit; flags are read.
    pub(super) const fn cc(mut self, at: u8) -> Row {
        self.condition = Some(at);
        self.rf()
    }
    /// The condition's opposite is at bit 12; flags are read.
    pub(super) const fn not_cc(mut self) -> Row {
        self.inverted = true;
        self.cc(12)
    }
    /// Reads flags.
    pub(super) const fn rf(mut self) -> Row {
        self.reads_flags = true;
        self
    }
    /// Writes flags.
    pub(super) const fn wf(mut self) -> Row {
        self.writes_flags = true;
        self
    }
    /// Lists of this many registers.
    pub(super) const fn lists(mut self, count: u8) -> Row {
        self.list = count;
        self
    }
    /// Needs a feature.
    pub(super) const fn needs(mut self, feature: Feature) -> Row {
        self.features = self.features.with(feature);
        self
    }
    /// Needs LSE.
    pub(super) const fn lse(self) -> Row {
        self.needs(Feature::Lse)
    }

    /// Whether the row comes in this size.
    pub const fn allows(&self, size: Size) -> bool {
        self.sizes >> size as u8 & 1 != 0
    }

    /// The size that an immediate follows: the variant's, or where there is only one, the first operand's.
    pub fn immediate_size(&self, variant: Variant) -> Size {
        match self.operands.first() {
            Some(spec) if self.sizes == 0 => spec.width(variant),
            _ => variant.get_size(),
        }
    }

    /// Where the memory operand stands, if the row has one.
    pub fn memory_at(&self) -> Option<usize> {
        self.operands.iter().position(|spec| spec.kind == Kind::Mem)
    }
}

/// Why operands do not fit a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Mismatch {
    /// The variant's size is not among the row's.
    #[error("size {0:?} is not one of the row's")]
    Size(Size),
    /// The number of operands is not the row's.
    #[error("expected {expected} operands, found {found}")]
    Count {
        /// What the row has.
        expected: usize,
        /// What was given.
        found: usize,
    },
    /// An operand is of the wrong kind or class, or an address cannot be encoded.
    #[error("operand {0} does not fit")]
    Operand(usize),
    /// An immediate does not fit its field.
    #[error("operand {0}: the immediate does not fit")]
    Immediate(usize),
}

/// Whether operands fit a row; the encoder relies on it and asserts it in debug builds.
pub fn check(row: RowId, variant: Variant, operands: &[Operand]) -> Result<(), Mismatch> {
    let row = row.row();
    if row.sizes != 0 && !row.allows(variant.get_size()) {
        return Err(Mismatch::Size(variant.get_size()));
    }
    if row.operands.len() != operands.len() {
        return Err(Mismatch::Count { expected: row.operands.len(), found: operands.len() });
    }
    for (i, (spec, operand)) in row.operands.iter().zip(operands).enumerate() {
        let fits = match (spec.kind, *operand) {
            (Kind::Imm(kind), Operand::Imm(value)) => {
                if !immediate_fits(kind, row.immediate_size(variant), value) {
                    return Err(Mismatch::Immediate(i));
                }
                true
            }
            (Kind::Mem, Operand::Mem(mem)) => memory_fits(row, mem),
            (Kind::Target, Operand::Label(_)) => !matches!(row.jump, Jump::Page),
            (Kind::Target, Operand::Symbol(..)) => matches!(row.jump, Jump::Far | Jump::Call | Jump::Page),
            (Kind::Pair, Operand::Reg(reg)) => reg.class() == RegClass::Int && reg.number() % 2 == 0,
            (kind, Operand::Reg(reg)) => kind.class() == Some(reg.class()),
            _ => false,
        };
        if !fits {
            return Err(Mismatch::Operand(i));
        }
    }
    Ok(())
}

/// Whether a row can address this.
pub fn memory_fits(row: &Row, mem: Mem) -> bool {
    let Mem::Address(address) = mem else { return false };
    let Some(base) = address.base else { return false };
    if base.class() != RegClass::Int {
        return false;
    }
    if let Some(index) = address.index {
        let (extend, shift) = Extend::of_index(address.shift);
        let known = matches!(extend, Extend::Uxtw | Extend::Sxtw | Extend::Uxtx);
        return row.form == Form::Any
            && index.class() == RegClass::Int
            && address.disp == 0
            && known
            && (shift == 0 || shift == row.access);
    }
    offset_fits(row, address.disp)
}

/// Whether a row reaches this offset from its base.
pub fn offset_fits(row: &Row, offset: i32) -> bool {
    match row.form {
        Form::Base => offset == 0,
        Form::Any => scaled(offset, row.access, 0, 0xfff).is_some() || (-256..256).contains(&offset),
        Form::Writeback { .. } => (-256..256).contains(&offset),
        Form::Pair | Form::PairWriteback { .. } => scaled(offset, row.access, -64, 63).is_some(),
    }
}

/// The offset in units of `1 << access` bytes, if it is a whole number of them within the bounds.
pub(super) fn scaled(offset: i32, access: u8, low: i32, high: i32) -> Option<i32> {
    let units = offset >> access;
    (units << access == offset && (low..=high).contains(&units)).then_some(units)
}

fn immediate_fits(kind: Imm, size: Size, value: i64) -> bool {
    let bits = i64::from(size.bits());
    let positive = u64::try_from(value);
    match kind {
        Imm::Arithmetic => positive.is_ok_and(|value| immediate::arithmetic(value).is_some()),
        Imm::Logical => immediate::logical(value as u64, size).is_some(),
        Imm::MoveWide => (0..bits / 16 * 0x1_0000).contains(&value),
        Imm::Shift => (0..256).contains(&value) && value & 63 < bits,
        Imm::Extend => (0..64).contains(&value) && value & 7 <= 4,
        Imm::ShiftLeft | Imm::ShiftRight | Imm::Extract | Imm::LaneLeft => (0..bits).contains(&value),
        Imm::Field | Imm::Insert => {
            let (low, width) = (value & 0xff, value >> 8);
            value >= 0 && (1..=bits).contains(&width) && low + width <= bits
        }
        Imm::Zero | Imm::LaneZero => value == 0,
        Imm::Barrier => value == 15,
        Imm::Flags | Imm::Start => (0..16).contains(&value),
        Imm::CompareFlags => (0..512).contains(&value),
        Imm::Float | Imm::Byte | Imm::ByteMask | Imm::LaneFloat => (0..256).contains(&value),
        Imm::Code | Imm::LowCode => (0..0x1_0000).contains(&value),
        Imm::Bit => (0..64).contains(&value),
        Imm::LaneRight => (1..=bits).contains(&value),
        Imm::LaneNumber | Imm::MemoryLane => (0..128 / bits).contains(&value),
        Imm::TwoLanes => value >= 0 && value >> 4 < 128 / bits && value & 15 < 128 / bits,
        Imm::Shifted => (0..bits / 8 * 256).contains(&value),
    }
}
