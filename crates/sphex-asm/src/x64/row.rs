//! What a row of the table says, and the words in which rows are written.
//!
//! Needs: operands. Gives: [`Row`], [`Spec`] (one operand's kind, role, width, place), [`RowId`], and [`check`], which
//! says whether operands fit a row. Everything is `const`: a row is finished, its operands' places included, before the
//! program runs.
//!
//! A *hidden* operand is encoded by no field and printed by no text (`rax` and `rdx` of `div`); it is still listed, so
//! that a register allocator sees every register an instruction touches. A *fixed* operand must be that register.

use super::features::{Feature, FeatureSet};
use super::operand::{Mem, Operand, Size, Variant, gpr};
use super::table::ROWS;
pub use crate::operand::Role;
use crate::register::{Reg, RegClass, RegSet};

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

/// What may stand as an operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// An integer register.
    Gpr,
    /// A vector register.
    Vec,
    /// An integer register or memory.
    GprMem,
    /// A vector register or memory.
    VecMem,
    /// Memory.
    Mem,
    /// An immediate.
    Imm,
    /// A label or a symbol, branched to.
    Target,
}

impl Kind {
    /// The class of register that may stand here.
    pub const fn class(self) -> Option<RegClass> {
        match self {
            Kind::Gpr | Kind::GprMem => Some(RegClass::Int),
            Kind::Vec | Kind::VecMem => Some(RegClass::Vector),
            _ => None,
        }
    }

    /// Whether memory may stand here.
    pub const fn takes_memory(self) -> bool {
        matches!(self, Kind::GprMem | Kind::VecMem | Kind::Mem)
    }
}

/// Which field of the encoding an operand goes in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Slot {
    /// None: hidden or fixed.
    None,
    /// The `reg` field.
    Reg,
    /// The `r/m` field.
    Rm,
    /// The `reg` and the `r/m` field, and printed twice: one register that stands for both operands.
    Both,
    /// The `vvvv` field of VEX and EVEX.
    Vvvv,
    /// The low bits of the opcode.
    Opcode,
    /// The high bits of a trailing byte.
    Is4,
    /// Trailing bytes.
    Imm,
}

/// One operand of a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spec {
    /// What may stand here.
    pub kind: Kind,
    /// What is done with it.
    pub role: Role,
    /// Its width; `None` is the variant's size. A vector register's width tells the width of memory in its place.
    pub width: Option<Size>,
    /// Where it is encoded.
    pub slot: Slot,
    /// The one register it must be.
    pub fixed: Option<Reg>,
    /// Whether printing leaves it out.
    pub hidden: bool,
}

impl Spec {
    const fn new(kind: Kind, slot: Slot, width: Option<Size>) -> Spec {
        Spec { kind, role: Role::Use, width, slot, fixed: None, hidden: false }
    }

    /// The width under this variant.
    pub const fn width(&self, variant: Variant) -> Size {
        match self.width {
            Some(width) => width,
            None => variant.get_size(),
        }
    }

    const fn role(mut self, role: Role) -> Spec {
        self.role = role;
        self
    }
    const fn wide(mut self, width: Size) -> Spec {
        self.width = Some(width);
        self
    }
    /// Written.
    pub(super) const fn d(self) -> Spec {
        self.role(Role::Def)
    }
    /// Read and written.
    pub(super) const fn m(self) -> Spec {
        self.role(Role::Modify)
    }
    /// One byte wide.
    pub(super) const fn b(self) -> Spec {
        self.wide(Size::S8)
    }
    /// Two bytes wide.
    pub(super) const fn w(self) -> Spec {
        self.wide(Size::S16)
    }
    /// Four bytes wide.
    pub(super) const fn l(self) -> Spec {
        self.wide(Size::S32)
    }
    /// Eight bytes wide.
    pub(super) const fn q(self) -> Spec {
        self.wide(Size::S64)
    }
    /// Sixteen bytes wide.
    pub(super) const fn o(self) -> Spec {
        self.wide(Size::S128)
    }
    /// Always this register, in no field.
    const fn at(mut self, reg: Reg) -> Spec {
        self.fixed = Some(reg);
        self.slot = Slot::None;
        self
    }
    /// Not printed.
    pub(super) const fn h(mut self) -> Spec {
        self.hidden = true;
        self
    }
}

/// Integer register, `reg` field.
pub(super) const G: Spec = Spec::new(Kind::Gpr, Slot::Reg, None);
/// Integer register, `r/m` field.
pub(super) const GR: Spec = Spec::new(Kind::Gpr, Slot::Rm, None);
/// Integer register in both fields.
pub(super) const GB: Spec = Spec::new(Kind::Gpr, Slot::Both, None);
/// 128-bit vector register in both fields.
pub(super) const XB: Spec = Spec::new(Kind::Vec, Slot::Both, Some(Size::S128));
/// Integer register or memory.
pub(super) const GM: Spec = Spec::new(Kind::GprMem, Slot::Rm, None);
/// Integer register in the opcode.
pub(super) const GO: Spec = Spec::new(Kind::Gpr, Slot::Opcode, None);
/// Integer register in `vvvv`.
pub(super) const GV: Spec = Spec::new(Kind::Gpr, Slot::Vvvv, None);
/// Memory.
pub(super) const M: Spec = Spec::new(Kind::Mem, Slot::Rm, None);
/// `rax`.
pub(super) const AX: Spec = Spec::new(Kind::Gpr, Slot::None, None).at(gpr::RAX);
/// `rcx`.
pub(super) const CX: Spec = Spec::new(Kind::Gpr, Slot::None, None).at(gpr::RCX);
/// `rdx`.
pub(super) const DX: Spec = Spec::new(Kind::Gpr, Slot::None, None).at(gpr::RDX);
/// `rbx`.
pub(super) const BX: Spec = Spec::new(Kind::Gpr, Slot::None, None).at(gpr::RBX);
/// `rbp`.
pub(super) const BP: Spec = Spec::new(Kind::Gpr, Slot::None, None).at(gpr::RBP);
/// `xmm0`.
pub(super) const X0: Spec = Spec::new(Kind::Vec, Slot::None, Some(Size::S128)).at(Reg::vector(0));
/// 128-bit vector register, `reg` field.
pub(super) const X: Spec = Spec::new(Kind::Vec, Slot::Reg, Some(Size::S128));
/// 128-bit vector register, `r/m` field.
pub(super) const XR: Spec = Spec::new(Kind::Vec, Slot::Rm, Some(Size::S128));
/// 128-bit vector register or memory.
pub(super) const XM: Spec = Spec::new(Kind::VecMem, Slot::Rm, Some(Size::S128));
/// 128-bit vector register in `vvvv`.
pub(super) const XV: Spec = Spec::new(Kind::Vec, Slot::Vvvv, Some(Size::S128));
/// Vector register of the variant's size, `reg` field.
pub(super) const V: Spec = Spec::new(Kind::Vec, Slot::Reg, None);
/// Vector register of the variant's size, `r/m` field.
pub(super) const VR: Spec = Spec::new(Kind::Vec, Slot::Rm, None);
/// Vector register or memory of the variant's size.
pub(super) const VM: Spec = Spec::new(Kind::VecMem, Slot::Rm, None);
/// Vector register of the variant's size in `vvvv`.
pub(super) const VV: Spec = Spec::new(Kind::Vec, Slot::Vvvv, None);
/// Vector register of the variant's size in a trailing byte.
pub(super) const VS: Spec = Spec::new(Kind::Vec, Slot::Is4, None);
/// Immediate byte.
pub(super) const IB: Spec = Spec::new(Kind::Imm, Slot::Imm, Some(Size::S8));
/// Immediate of two bytes.
pub(super) const IW: Spec = Spec::new(Kind::Imm, Slot::Imm, Some(Size::S16));
/// Immediate of eight bytes.
pub(super) const IQ: Spec = Spec::new(Kind::Imm, Slot::Imm, Some(Size::S64));
/// Immediate of the variant's size, but never more than four bytes, which 64-bit instructions sign-extend.
pub(super) const IV: Spec = Spec::new(Kind::Imm, Slot::Imm, None);
/// Label or symbol.
pub(super) const T: Spec = Spec::new(Kind::Target, Slot::Imm, Some(Size::S32));

/// How the bytes of a row are laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Space {
    /// Legacy prefixes, REX, opcode.
    Legacy,
    /// VEX prefix of two or three bytes.
    Vex,
    /// EVEX prefix, without masks or broadcasts.
    Evex,
    /// `jmp` to a label or symbol.
    Jump,
    /// `jcc` to a label or symbol.
    JumpIf,
    /// `call` of a label or symbol.
    Call,
}

/// No mandatory prefix.
pub(super) const NP: u8 = 0;
/// Mandatory prefix `66`.
pub(super) const P66: u8 = 1;
/// Mandatory prefix `f3`.
pub(super) const PF3: u8 = 2;
/// Mandatory prefix `f2`.
pub(super) const PF2: u8 = 3;

/// A set of sizes.
pub(super) const B: u8 = 1;
pub(super) const W: u8 = 2;
pub(super) const L: u8 = 4;
pub(super) const Q: u8 = 8;
pub(super) const LQ: u8 = L | Q;
pub(super) const WLQ: u8 = W | L | Q;
pub(super) const BWLQ: u8 = B | WLQ;

const NO_OPERAND: u8 = 0xff;

/// One instruction form: everything that is known about it.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The constant's name in [`super::op`].
    pub id: &'static str,
    /// The mnemonic; a row with a condition has its suffix appended.
    pub name: &'static str,
    /// Operands in printing order, hidden ones anywhere.
    pub operands: &'static [Spec],
    /// Layout.
    pub space: Space,
    /// Mandatory prefix as VEX writes it: none, 66, f3, f2.
    pub prefix: u8,
    /// Opcode map: 0 is one byte, then 0f, 0f38, 0f3a as VEX numbers them.
    pub map: u8,
    /// Last opcode byte.
    pub opcode: u8,
    /// The same for the 8-bit form.
    pub byte_opcode: u8,
    /// What stands in the `reg` field if no operand does.
    pub digit: u8,
    /// A byte that ends the instruction where it has no operands in fields; 0 for none.
    pub literal: u8,
    /// REX.W, VEX.W or EVEX.W whatever the size.
    pub w: bool,
    /// Whether the size selects 66, W, the byte opcode or the vector length.
    pub sized: bool,
    /// Whether a `lock` prefix is part of the row.
    pub locked: bool,
    /// Whether opcode bit 1 selects an immediate of one byte, sign-extended.
    pub short_imm: bool,
    /// Whether a shift by one has an opcode of its own (bit 4), without immediate.
    pub short_one: bool,
    /// Whether the condition is added to the opcode.
    pub conditional: bool,
    /// Sizes allowed, bit `i` for `Size::ALL[i]`; zero for a row without a size.
    pub sizes: u8,
    /// CPU features needed; [`Row::features_at`] says it for one size.
    pub features: FeatureSet,
    /// Further features that the 256-bit form needs.
    pub wide_features: FeatureSet,
    /// Registers written that are no operand.
    pub clobbers: RegSet,
    /// Whether the result depends on the flags.
    pub reads_flags: bool,
    /// Whether any flag changes or becomes undefined.
    pub writes_flags: bool,
    /// Whether memory is only named, not touched (`lea`, `nop`).
    pub address_only: bool,
    /// Whether upper lanes of the first operand are kept though its role says [`Role::Def`] (scalar float results:
    /// their upper lanes mean nothing, but the processor waits for the old value).
    pub merges: bool,
    /// Positions of operands by slot, 0xff for none: reg, r/m, vvvv, opcode, is4, imm.
    pub(super) reg_at: u8,
    pub(super) rm_at: u8,
    pub(super) vvvv_at: u8,
    pub(super) opcode_at: u8,
    pub(super) is4_at: u8,
    pub(super) imm_at: u8,
    /// Operands that are integer registers of one byte: always, and under the 8-bit variant.
    pub(super) bytes_always: u8,
    pub(super) bytes_sized: u8,
}

const EMPTY: Row = Row {
    id: "",
    name: "",
    operands: &[],
    space: Space::Legacy,
    prefix: NP,
    map: 0,
    opcode: 0,
    byte_opcode: 0,
    digit: 0,
    literal: 0,
    w: false,
    sized: false,
    locked: false,
    short_imm: false,
    short_one: false,
    conditional: false,
    sizes: 0,
    features: FeatureSet::BASELINE,
    wide_features: FeatureSet::BASELINE,
    clobbers: RegSet::EMPTY,
    reads_flags: false,
    writes_flags: false,
    address_only: false,
    merges: false,
    reg_at: NO_OPERAND,
    rm_at: NO_OPERAND,
    vvvv_at: NO_OPERAND,
    opcode_at: NO_OPERAND,
    is4_at: NO_OPERAND,
    imm_at: NO_OPERAND,
    bytes_always: 0,
    bytes_sized: 0,
};

const fn legacy(map: u8, prefix: u8, opcode: u8) -> Row {
    Row { map, prefix, opcode, byte_opcode: opcode & !1, ..EMPTY }
}

/// A one-byte opcode.
pub(super) const fn op1(opcode: u8) -> Row {
    legacy(0, NP, opcode)
}

/// An opcode of map `0f`.
pub(super) const fn op2(opcode: u8) -> Row {
    legacy(1, NP, opcode)
}

/// An opcode of map `0f` with a mandatory prefix.
pub(super) const fn p2(prefix: u8, opcode: u8) -> Row {
    legacy(1, prefix, opcode)
}

/// An opcode of map `0f38` with a mandatory prefix.
pub(super) const fn p38(prefix: u8, opcode: u8) -> Row {
    legacy(2, prefix, opcode)
}

/// An opcode of map `0f3a` with mandatory prefix 66.
pub(super) const fn p3a(opcode: u8) -> Row {
    legacy(3, P66, opcode)
}

/// A VEX opcode of map `0f`, needing AVX.
pub(super) const fn v2(prefix: u8, opcode: u8) -> Row {
    Row { space: Space::Vex, ..legacy(1, prefix, opcode) }.needs(Feature::Avx)
}

/// A VEX opcode of map `0f38`, prefix 66, needing AVX.
pub(super) const fn v38(opcode: u8) -> Row {
    Row { space: Space::Vex, ..legacy(2, P66, opcode) }.needs(Feature::Avx)
}

/// A VEX opcode of map `0f3a`, prefix 66, needing AVX.
pub(super) const fn v3a(opcode: u8) -> Row {
    Row { space: Space::Vex, ..legacy(3, P66, opcode) }.needs(Feature::Avx)
}

/// A VEX opcode on integer registers.
pub(super) const fn bmi(map: u8, prefix: u8, opcode: u8, feature: Feature) -> Row {
    Row { space: Space::Vex, ..legacy(map, prefix, opcode) }.needs(feature)
}

/// An EVEX opcode at 128 or 256 bits.
pub(super) const fn evex(map: u8, prefix: u8, opcode: u8) -> Row {
    Row { space: Space::Evex, ..legacy(map, prefix, opcode) }
        .needs(Feature::Avx512f)
        .needs(Feature::Avx512vl)
        .vl()
}

/// A branch.
pub(super) const fn branch(space: Space, opcode: u8) -> Row {
    Row { space, ..op1(opcode) }
}

impl Row {
    /// The sizes allowed; they select the encoding.
    pub(super) const fn sized(mut self, sizes: u8) -> Row {
        self.sizes = sizes;
        self.sized = true;
        self
    }
    /// 128 and 256 bits.
    pub(super) const fn vl(self) -> Row {
        self.sized(0x30)
    }
    /// 128 bits with AVX, 256 bits with AVX2.
    pub(super) const fn vl2(mut self) -> Row {
        self.wide_features = FeatureSet::of(&[Feature::Avx2]);
        self.vl()
    }
    /// Only 256 bits.
    pub(super) const fn only_256(self) -> Row {
        self.sized(0x20)
    }
    /// The 8-bit form's opcode, where it is not the opcode with bit 0 cleared.
    pub(super) const fn byte(mut self, opcode: u8) -> Row {
        self.byte_opcode = opcode;
        self
    }
    /// A digit in the `reg` field.
    pub(super) const fn digit(mut self, digit: u8) -> Row {
        self.digit = digit;
        self
    }
    /// A last byte of the opcode.
    pub(super) const fn literal(mut self, byte: u8) -> Row {
        self.literal = byte;
        self
    }
    /// W is set.
    pub(super) const fn w1(mut self) -> Row {
        self.w = true;
        self
    }
    /// Takes `f3` or `f2` before its opcode.
    pub(super) const fn prefixed(mut self, prefix: u8) -> Row {
        self.prefix = prefix;
        self
    }
    /// With a `lock` prefix.
    pub(super) const fn lock(mut self) -> Row {
        self.locked = true;
        self
    }
    /// An immediate that fits a byte is one (opcode bit 1 says so).
    pub(super) const fn short(mut self) -> Row {
        self.short_imm = true;
        self
    }
    /// An immediate of one is in the opcode (bit 4 says so).
    pub(super) const fn one(mut self) -> Row {
        self.short_one = true;
        self
    }
    /// The condition is part of the opcode; flags are read.
    pub(super) const fn cc(mut self) -> Row {
        self.conditional = true;
        self.rf()
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
    /// Memory is not touched.
    pub(super) const fn address(mut self) -> Row {
        self.address_only = true;
        self
    }
    /// Scalar result in a wider register.
    pub(super) const fn merges(mut self) -> Row {
        self.merges = true;
        self
    }
    /// Needs a feature.
    pub(super) const fn needs(mut self, feature: Feature) -> Row {
        self.features = self.features.with(feature);
        self
    }
    /// Needs AVX2 at any size.
    pub(super) const fn avx2(self) -> Row {
        self.needs(Feature::Avx2)
    }

    /// Fills in what follows from the operands.
    pub(super) const fn finish(mut self) -> Row {
        let mut i = 0;
        while i < self.operands.len() {
            let spec = self.operands[i];
            let at = i as u8;
            match spec.slot {
                Slot::None => {}
                Slot::Reg => self.reg_at = at,
                Slot::Rm => self.rm_at = at,
                Slot::Both => {
                    self.reg_at = at;
                    self.rm_at = at;
                }
                Slot::Vvvv => self.vvvv_at = at,
                Slot::Opcode => self.opcode_at = at,
                Slot::Is4 => self.is4_at = at,
                Slot::Imm => self.imm_at = at,
            }
            if matches!(spec.kind, Kind::Gpr | Kind::GprMem) && spec.fixed.is_none() {
                match spec.width {
                    Some(Size::S8) => self.bytes_always |= 1 << i,
                    None => self.bytes_sized |= 1 << i,
                    _ => {}
                }
            }
            i += 1;
        }
        self
    }

    /// Whether the row comes in this size.
    pub const fn allows(&self, size: Size) -> bool {
        self.sizes >> size as u8 & 1 != 0
    }

    /// The CPU features needed for this variant.
    pub const fn features_at(&self, variant: Variant) -> FeatureSet {
        match variant.get_size() {
            Size::S256 if self.sizes != 0 => self.features.union(self.wide_features),
            _ => self.features,
        }
    }

    /// Where the operand that may be memory stands, if the row has one.
    pub const fn memory_at(&self) -> Option<usize> {
        if self.rm_at != NO_OPERAND && self.operands[self.rm_at as usize].kind.takes_memory() {
            Some(self.rm_at as usize)
        } else {
            None
        }
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
    /// An operand is of the wrong kind, class or register, or an address cannot be encoded.
    #[error("operand {0} does not fit")]
    Operand(usize),
    /// An immediate does not fit its field.
    #[error("operand {0}: the immediate does not fit")]
    Immediate(usize),
}

/// Whether operands (hidden ones included) fit a row; the encoder relies on it and asserts it in debug builds.
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
            (Kind::Gpr | Kind::GprMem | Kind::Vec | Kind::VecMem, Operand::Reg(reg)) => {
                let limit = if row.space == Space::Evex && reg.class() == RegClass::Vector { 32 } else { 16 };
                spec.kind.class() == Some(reg.class())
                    && reg.number() < limit
                    && spec.fixed.is_none_or(|fixed| fixed == reg)
            }
            (Kind::GprMem | Kind::VecMem | Kind::Mem, Operand::Mem(mem)) => memory_fits(mem),
            (Kind::Imm, Operand::Imm(value)) => {
                if !immediate_fits(spec.width(variant), spec.width.is_none(), value) {
                    return Err(Mismatch::Immediate(i));
                }
                true
            }
            (Kind::Imm, Operand::Symbol(..)) => spec.width == Some(Size::S64),
            (Kind::Target, Operand::Label(_) | Operand::Symbol(..)) => true,
            _ => false,
        };
        if !fits {
            return Err(Mismatch::Operand(i));
        }
    }
    Ok(())
}

fn memory_fits(mem: Mem) -> bool {
    match mem {
        Mem::Address(address) => {
            let int = |reg: Option<Reg>| reg.is_none_or(|r| r.class() == RegClass::Int && r.number() < 16);
            int(address.base) && int(address.index) && address.index != Some(gpr::RSP) && address.shift < 4
        }
        _ => true,
    }
}

/// Whether a value is representable, signed or unsigned, in an immediate of this size. In a 64-bit instruction a
/// variable-size immediate is four bytes and signed.
fn immediate_fits(size: Size, variable: bool, value: i64) -> bool {
    match size {
        Size::S8 => (-0x80..0x100).contains(&value),
        Size::S16 => (-0x8000..0x1_0000).contains(&value),
        Size::S32 => (-0x8000_0000..0x1_0000_0000).contains(&value),
        _ => !variable || value == i64::from(value as i32),
    }
}
