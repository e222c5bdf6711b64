//! The instruction table: every opcode is one row, and parser, printer, verifier and interpreter are driven by it.
//!
//! A row says the operand format (where operands stand in [`InstData`](crate::InstData)), how the controlling type is
//! found, which types it may be, the types of arguments and results relative to it, and the effects. Names and semantics
//! are CLIF's.

use crate::types::{self, Type};

/// Where an instruction's operands stand in the words `a`, `b`, `c` and in `aux`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Format {
    /// No operand.
    Nullary,
    /// One value `a`.
    Unary,
    /// Two values `a`, `b`.
    Binary,
    /// Three values `a`, `b`, `c`.
    Ternary,
    /// A 64-bit immediate: low word `a`, high word `b`.
    UnaryImm,
    /// 16 float bits in `a`.
    UnaryF16,
    /// 32 float bits in `a`.
    UnaryF32,
    /// 64 float bits: low word `a`, high word `b`.
    UnaryF64,
    /// A [`Constant`](crate::Constant) `a`.
    UnaryConst,
    /// Values `a`, `b`; `aux` is an [`IntCC`](crate::IntCC).
    IntCompare,
    /// Values `a`, `b`; `aux` is a [`FloatCC`](crate::FloatCC).
    FloatCompare,
    /// Values `a`, `b`; `aux` is a trap code.
    BinaryTrap,
    /// A block call `a`.
    Jump,
    /// A condition `a`, block calls `b` (taken when it is not zero) and `c`.
    Brif,
    /// An index `a`; `b` is a list of block calls, the default first.
    BrTable,
    /// `aux` is a trap code.
    Trap,
    /// A value `a`; `aux` is a trap code.
    CondTrap,
    /// A list of values `a`.
    Return,
    /// A [`FuncRef`](crate::FuncRef) `a`, a list of arguments `b`.
    Call,
    /// A [`SigRef`](crate::SigRef) `a`, the callee `b`, a list of arguments `c`.
    CallIndirect,
    /// A [`FuncRef`](crate::FuncRef) `a`, arguments `b`, an [`ExceptionTable`](crate::ExceptionTable) `c`.
    TryCall,
    /// The callee `a`, arguments `b`, an [`ExceptionTable`](crate::ExceptionTable) `c` that also names the signature.
    TryCallIndirect,
    /// A [`FuncRef`](crate::FuncRef) `a`.
    FuncAddr,
    /// An address `a`, a signed byte offset `b`; `aux` is a [`FlagsRef`](crate::FlagsRef).
    Load,
    /// A value `a`, an address `b`, a signed byte offset `c`; `aux` is a [`FlagsRef`](crate::FlagsRef).
    Store,
    /// A value `a`; `aux` is a [`FlagsRef`](crate::FlagsRef) (`atomic_load`, `bitcast`).
    LoadNoOffset,
    /// A value `a`, an address `b`; `aux` is a [`FlagsRef`](crate::FlagsRef).
    StoreNoOffset,
    /// An address `a`, a value `b`, an [`AtomicRmwOp`](crate::AtomicRmwOp) `c`; `aux` is a [`FlagsRef`](crate::FlagsRef).
    AtomicRmw,
    /// An address `a`, expected `b`, new `c`; `aux` is a [`FlagsRef`](crate::FlagsRef).
    AtomicCas,
    /// A [`StackSlot`](crate::StackSlot) `a`, a signed byte offset `b`.
    StackLoad,
    /// A value `a`, a [`StackSlot`](crate::StackSlot) `b`, a signed byte offset `c`.
    StackStore,
    /// A [`GlobalValue`](crate::GlobalValue) `a`.
    GlobalValue,
    /// A vector `a`; `aux` is the lane.
    ExtractLane,
    /// A vector `a`, a scalar `b`; `aux` is the lane.
    InsertLane,
    /// Vectors `a`, `b`, a 16-byte [`Constant`](crate::Constant) mask `c`.
    Shuffle,
    /// A block `a`, its parameter's index `b`. Never in an instruction list.
    BlockParam,
    /// An instruction `a`, its result's index `b` (1 or more). Never in an instruction list.
    Projection,
    /// The value `a` under another name. Never in an instruction list.
    Alias,
}

/// How the controlling type variable of an instruction is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ctrl {
    /// The instruction has none.
    None,
    /// It is written as a suffix and kept as the instruction's type: `iconst.i32`.
    Suffix,
    /// It is the type of this operand (numbered by [`Function::operand`](crate::Function::operand) order).
    Operand(u8),
}

/// The type of an operand or a result, relative to the controlling type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TypeRule {
    /// The controlling type.
    Ctrl,
    /// This type.
    Is(Type),
    /// Its lane type.
    Lane,
    /// What comparing it yields: `i8`, or a mask.
    Truthy,
    /// Same lanes, half the width.
    HalfWidth,
    /// Same lanes, twice the width.
    DoubleWidth,
    /// Half the lanes, twice the width.
    MergeLanes,
    /// Twice the lanes, half the width.
    SplitLanes,
    /// Any scalar integer (a shift amount, a condition, an index).
    AnyInt,
    /// An address: `i64` (or `i32` on 32-bit targets).
    Address,
    /// A type with integer lanes, same lane count, narrower than the controlling type.
    IntNarrower,
    /// A type with integer lanes, same lane count, wider than the controlling type.
    IntWider,
    /// A type with float lanes, same lane count, narrower.
    FloatNarrower,
    /// A type with float lanes, same lane count, wider.
    FloatWider,
    /// Float lanes, same lane count, any width (the integer-to-float direction's counterpart of `IntLanes`).
    FloatLanes,
    /// Integer lanes, same lane count, any width.
    IntLanes,
    /// Any type of the same width in bits.
    SameBits,
    /// Any vector.
    AnyVector,
}

/// A set of types: which lane kinds, as scalars, as vectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TypeSet {
    lanes: u16,
    scalars: bool,
    vectors: bool,
}

impl TypeSet {
    /// Whether `ty` is in the set.
    pub fn contains(self, ty: Type) -> bool {
        self.lanes >> ty.lane_type().as_u8() & 1 != 0
            && if ty.is_vector() { self.vectors } else { self.scalars }
    }
}

const INT_LANES: u16 = 0b11_1110;
const FLOAT_LANES: u16 = 0b11_1100_0000;
const NONE: TypeSet = TypeSet { lanes: 0, scalars: false, vectors: false };
const ANY: TypeSet = TypeSet { lanes: INT_LANES | FLOAT_LANES, scalars: true, vectors: true };
const INT: TypeSet = TypeSet { lanes: INT_LANES, scalars: true, vectors: false };
const INTV: TypeSet = TypeSet { lanes: INT_LANES, scalars: true, vectors: true };
const INT_ATOMIC: TypeSet = TypeSet { lanes: 0b1_1110, scalars: true, vectors: false };
const FLOATV: TypeSet = TypeSet { lanes: FLOAT_LANES, scalars: true, vectors: true };
const VEC: TypeSet = TypeSet { lanes: INT_LANES | FLOAT_LANES, scalars: false, vectors: true };
const IVEC: TypeSet = TypeSet { lanes: INT_LANES, scalars: false, vectors: true };
const FVEC: TypeSet = TypeSet { lanes: FLOAT_LANES, scalars: false, vectors: true };
const PTR: TypeSet = TypeSet { lanes: 0b1_1000, scalars: true, vectors: false };
const WIDE_INT: TypeSet = TypeSet { lanes: 0b11_1100, scalars: true, vectors: false };
const ONLY_F16: TypeSet = TypeSet { lanes: 1 << 6, scalars: true, vectors: false };
const ONLY_F32: TypeSet = TypeSet { lanes: 1 << 7, scalars: true, vectors: false };
const ONLY_F64: TypeSet = TypeSet { lanes: 1 << 8, scalars: true, vectors: false };
const CONST128: TypeSet = TypeSet { lanes: 1 << 9, scalars: true, vectors: false };

/// What an instruction does beside computing its results; a union of bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Effects(u16);

impl Effects {
    /// Nothing: the instruction is pure.
    pub const PURE: Effects = Effects(0);
    /// Reads memory.
    pub const LOAD: Effects = Effects(1);
    /// Writes memory.
    pub const STORE: Effects = Effects(2);
    /// May trap (loads and stores: unless their flags say otherwise).
    pub const TRAP: Effects = Effects(4);
    /// Ends a block.
    pub const TERMINATOR: Effects = Effects(8);
    /// Has successors; implies that it ends a block.
    pub const BRANCH: Effects = Effects(16 | 8);
    /// Calls a function.
    pub const CALL: Effects = Effects(32);
    /// Anything else that must neither move nor go.
    pub const OTHER: Effects = Effects(64);
    /// The first two operands may change places.
    pub const COMMUTES: Effects = Effects(128);

    /// Whether all of `bits` are set.
    pub const fn has(self, bits: Effects) -> bool {
        self.0 & bits.0 == bits.0
    }

    /// Both.
    pub const fn and(self, bits: Effects) -> Effects {
        Effects(self.0 | bits.0)
    }

    /// Whether the instruction may be removed when unused, and computed anywhere: no effect at all.
    pub const fn is_pure(self) -> bool {
        self.0 & !Self::COMMUTES.0 == 0
    }
}

/// A row of the instruction table.
#[derive(Debug)]
pub struct Row {
    /// The opcode.
    pub opcode: Opcode,
    /// Its name in CLIF text.
    pub name: &'static str,
    /// Where its operands stand.
    pub format: Format,
    /// How its controlling type is found.
    pub ctrl: Ctrl,
    /// What the controlling type may be.
    pub types: TypeSet,
    /// Types of the fixed value operands.
    pub args: &'static [TypeRule],
    /// Types of the results; calls take theirs from the signature.
    pub results: &'static [TypeRule],
    /// Effects.
    pub effects: Effects,
}

macro_rules! rows {
    ($($op:ident $name:literal $format:ident $ctrl:expr, $types:ident, [$($arg:expr),*] -> [$($res:expr),*], $effects:expr;)*) => {
        /// What an instruction does. Rows are documented by CLIF's reference; the numbers are not stable.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum Opcode { $(#[doc = concat!("`", $name, "`")] $op,)* }

        /// Every opcode's row, in the order of the opcodes' numbers.
        pub static ROWS: &[Row] = &[$(Row {
            opcode: Opcode::$op, name: $name, format: Format::$format, ctrl: $ctrl, types: $types,
            args: &[$($arg),*], results: &[$($res),*], effects: $effects,
        },)*];
    };
}

use TypeRule::{
    Address as P, AnyInt as N, AnyVector, Ctrl as C, DoubleWidth, FloatLanes, FloatNarrower, FloatWider,
    HalfWidth, IntLanes, IntNarrower, IntWider, Is, Lane, MergeLanes, SameBits, SplitLanes, Truthy,
};
const I8: TypeRule = Is(types::I8);
const PURE: Effects = Effects::PURE;
const COMM: Effects = Effects::COMMUTES;
const TRAP: Effects = Effects::TRAP;
const END: Effects = Effects::TERMINATOR;
const OTHER: Effects = Effects::OTHER;
const LOAD: Effects = Effects::LOAD.and(Effects::TRAP);
const STORE: Effects = Effects::STORE.and(Effects::TRAP);
const ATOMIC: Effects = LOAD.and(STORE).and(OTHER);
const CALL: Effects = ATOMIC.and(Effects::CALL);
const SUFFIX: Ctrl = Ctrl::Suffix;
const OP0: Ctrl = Ctrl::Operand(0);
const OP1: Ctrl = Ctrl::Operand(1);
const OP2: Ctrl = Ctrl::Operand(2);
const NOCTRL: Ctrl = Ctrl::None;

rows! {
    // Values that no instruction list holds.
    BlockParam "block_param" BlockParam SUFFIX, ANY, [] -> [C], PURE;
    Projection "projection" Projection SUFFIX, ANY, [] -> [C], PURE;
    Alias "alias" Alias SUFFIX, ANY, [] -> [C], PURE;
    // Control.
    Jump "jump" Jump NOCTRL, NONE, [] -> [], Effects::BRANCH;
    Brif "brif" Brif OP0, INT, [C] -> [], Effects::BRANCH;
    BrTable "br_table" BrTable NOCTRL, NONE, [Is(types::I32)] -> [], Effects::BRANCH;
    Return "return" Return NOCTRL, NONE, [] -> [], END;
    Trap "trap" Trap NOCTRL, NONE, [] -> [], END.and(TRAP);
    Trapz "trapz" CondTrap OP0, INT, [C] -> [], TRAP;
    Trapnz "trapnz" CondTrap OP0, INT, [C] -> [], TRAP;
    Debugtrap "debugtrap" Nullary NOCTRL, NONE, [] -> [], OTHER;
    SequencePoint "sequence_point" Nullary NOCTRL, NONE, [] -> [], OTHER;
    Call "call" Call NOCTRL, NONE, [] -> [], CALL;
    CallIndirect "call_indirect" CallIndirect OP0, PTR, [C] -> [], CALL;
    ReturnCall "return_call" Call NOCTRL, NONE, [] -> [], CALL.and(END);
    ReturnCallIndirect "return_call_indirect" CallIndirect OP0, PTR, [C] -> [], CALL.and(END);
    TryCall "try_call" TryCall NOCTRL, NONE, [] -> [], CALL.and(Effects::BRANCH);
    TryCallIndirect "try_call_indirect" TryCallIndirect OP0, PTR, [C] -> [], CALL.and(Effects::BRANCH);
    FuncAddr "func_addr" FuncAddr SUFFIX, PTR, [] -> [C], PURE;
    Nop "nop" Nullary NOCTRL, NONE, [] -> [], PURE;
    // Constants.
    Iconst "iconst" UnaryImm SUFFIX, INT, [] -> [C], PURE;
    F16const "f16const" UnaryF16 NOCTRL, ONLY_F16, [] -> [Is(types::F16)], PURE;
    F32const "f32const" UnaryF32 NOCTRL, ONLY_F32, [] -> [Is(types::F32)], PURE;
    F64const "f64const" UnaryF64 NOCTRL, ONLY_F64, [] -> [Is(types::F64)], PURE;
    F128const "f128const" UnaryConst NOCTRL, CONST128, [] -> [Is(types::F128)], PURE;
    Vconst "vconst" UnaryConst SUFFIX, VEC, [] -> [C], PURE;
    // Choice.
    Select "select" Ternary OP1, ANY, [N, C, C] -> [C], PURE;
    SelectSpectreGuard "select_spectre_guard" Ternary OP1, ANY, [N, C, C] -> [C], PURE;
    Bitselect "bitselect" Ternary OP0, ANY, [C, C, C] -> [C], PURE;
    X86Blendv "x86_blendv" Ternary OP0, ANY, [C, C, C] -> [C], PURE;
    Icmp "icmp" IntCompare OP0, INTV, [C, C] -> [Truthy], PURE;
    Fcmp "fcmp" FloatCompare OP0, FLOATV, [C, C] -> [Truthy], PURE;
    // Integer arithmetic.
    Iadd "iadd" Binary OP0, INTV, [C, C] -> [C], COMM;
    Isub "isub" Binary OP0, INTV, [C, C] -> [C], PURE;
    Ineg "ineg" Unary OP0, INTV, [C] -> [C], PURE;
    Iabs "iabs" Unary OP0, INTV, [C] -> [C], PURE;
    Imul "imul" Binary OP0, INTV, [C, C] -> [C], COMM;
    Umulhi "umulhi" Binary OP0, INTV, [C, C] -> [C], COMM;
    Smulhi "smulhi" Binary OP0, INTV, [C, C] -> [C], COMM;
    SqmulRoundSat "sqmul_round_sat" Binary OP0, INTV, [C, C] -> [C], COMM;
    X86Pmulhrsw "x86_pmulhrsw" Binary OP0, INTV, [C, C] -> [C], COMM;
    Udiv "udiv" Binary OP0, INT, [C, C] -> [C], TRAP;
    Sdiv "sdiv" Binary OP0, INT, [C, C] -> [C], TRAP;
    Urem "urem" Binary OP0, INT, [C, C] -> [C], TRAP;
    Srem "srem" Binary OP0, INT, [C, C] -> [C], TRAP;
    SaddOverflowCin "sadd_overflow_cin" Ternary OP0, INT, [C, C, I8] -> [C, I8], COMM;
    UaddOverflowCin "uadd_overflow_cin" Ternary OP0, INT, [C, C, I8] -> [C, I8], COMM;
    UaddOverflow "uadd_overflow" Binary OP0, INT, [C, C] -> [C, I8], COMM;
    SaddOverflow "sadd_overflow" Binary OP0, INT, [C, C] -> [C, I8], COMM;
    UsubOverflow "usub_overflow" Binary OP0, INT, [C, C] -> [C, I8], PURE;
    SsubOverflow "ssub_overflow" Binary OP0, INT, [C, C] -> [C, I8], PURE;
    UmulOverflow "umul_overflow" Binary OP0, INT, [C, C] -> [C, I8], COMM;
    SmulOverflow "smul_overflow" Binary OP0, INT, [C, C] -> [C, I8], COMM;
    SsubOverflowBin "ssub_overflow_bin" Ternary OP0, INT, [C, C, I8] -> [C, I8], PURE;
    UsubOverflowBin "usub_overflow_bin" Ternary OP0, INT, [C, C, I8] -> [C, I8], PURE;
    UaddOverflowTrap "uadd_overflow_trap" BinaryTrap OP0, INT, [C, C] -> [C], TRAP.and(COMM);
    Smin "smin" Binary OP0, INTV, [C, C] -> [C], COMM;
    Umin "umin" Binary OP0, INTV, [C, C] -> [C], COMM;
    Smax "smax" Binary OP0, INTV, [C, C] -> [C], COMM;
    Umax "umax" Binary OP0, INTV, [C, C] -> [C], COMM;
    AvgRound "avg_round" Binary OP0, INTV, [C, C] -> [C], COMM;
    UaddSat "uadd_sat" Binary OP0, IVEC, [C, C] -> [C], COMM;
    SaddSat "sadd_sat" Binary OP0, IVEC, [C, C] -> [C], COMM;
    UsubSat "usub_sat" Binary OP0, IVEC, [C, C] -> [C], PURE;
    SsubSat "ssub_sat" Binary OP0, IVEC, [C, C] -> [C], PURE;
    // Bits.
    Band "band" Binary OP0, ANY, [C, C] -> [C], COMM;
    Bor "bor" Binary OP0, ANY, [C, C] -> [C], COMM;
    Bxor "bxor" Binary OP0, ANY, [C, C] -> [C], COMM;
    Bnot "bnot" Unary OP0, ANY, [C] -> [C], PURE;
    BandNot "band_not" Binary OP0, ANY, [C, C] -> [C], PURE;
    BorNot "bor_not" Binary OP0, ANY, [C, C] -> [C], PURE;
    BxorNot "bxor_not" Binary OP0, ANY, [C, C] -> [C], PURE;
    Rotl "rotl" Binary OP0, INTV, [C, N] -> [C], PURE;
    Rotr "rotr" Binary OP0, INTV, [C, N] -> [C], PURE;
    Ishl "ishl" Binary OP0, INTV, [C, N] -> [C], PURE;
    Ushr "ushr" Binary OP0, INTV, [C, N] -> [C], PURE;
    Sshr "sshr" Binary OP0, INTV, [C, N] -> [C], PURE;
    Bitrev "bitrev" Unary OP0, INT, [C] -> [C], PURE;
    Clz "clz" Unary OP0, INT, [C] -> [C], PURE;
    Cls "cls" Unary OP0, INT, [C] -> [C], PURE;
    Ctz "ctz" Unary OP0, INT, [C] -> [C], PURE;
    Bswap "bswap" Unary OP0, WIDE_INT, [C] -> [C], PURE;
    Popcnt "popcnt" Unary OP0, INTV, [C] -> [C], PURE;
    // Floats.
    Fadd "fadd" Binary OP0, FLOATV, [C, C] -> [C], COMM;
    Fsub "fsub" Binary OP0, FLOATV, [C, C] -> [C], PURE;
    Fmul "fmul" Binary OP0, FLOATV, [C, C] -> [C], COMM;
    Fdiv "fdiv" Binary OP0, FLOATV, [C, C] -> [C], PURE;
    Sqrt "sqrt" Unary OP0, FLOATV, [C] -> [C], PURE;
    Fma "fma" Ternary OP0, FLOATV, [C, C, C] -> [C], COMM;
    Fneg "fneg" Unary OP0, FLOATV, [C] -> [C], PURE;
    Fabs "fabs" Unary OP0, FLOATV, [C] -> [C], PURE;
    Fcopysign "fcopysign" Binary OP0, FLOATV, [C, C] -> [C], PURE;
    Fmin "fmin" Binary OP0, FLOATV, [C, C] -> [C], COMM;
    Fmax "fmax" Binary OP0, FLOATV, [C, C] -> [C], COMM;
    Ceil "ceil" Unary OP0, FLOATV, [C] -> [C], PURE;
    Floor "floor" Unary OP0, FLOATV, [C] -> [C], PURE;
    Trunc "trunc" Unary OP0, FLOATV, [C] -> [C], PURE;
    Nearest "nearest" Unary OP0, FLOATV, [C] -> [C], PURE;
    // Conversions.
    Bitcast "bitcast" LoadNoOffset SUFFIX, ANY, [SameBits] -> [C], PURE;
    ScalarToVector "scalar_to_vector" Unary SUFFIX, VEC, [Lane] -> [C], PURE;
    Bmask "bmask" Unary SUFFIX, INT, [N] -> [C], PURE;
    Ireduce "ireduce" Unary SUFFIX, INT, [IntWider] -> [C], PURE;
    Uextend "uextend" Unary SUFFIX, INT, [IntNarrower] -> [C], PURE;
    Sextend "sextend" Unary SUFFIX, INT, [IntNarrower] -> [C], PURE;
    Fpromote "fpromote" Unary SUFFIX, FLOATV, [FloatNarrower] -> [C], PURE;
    Fdemote "fdemote" Unary SUFFIX, FLOATV, [FloatWider] -> [C], PURE;
    FcvtToUint "fcvt_to_uint" Unary SUFFIX, INTV, [FloatLanes] -> [C], TRAP;
    FcvtToSint "fcvt_to_sint" Unary SUFFIX, INTV, [FloatLanes] -> [C], TRAP;
    FcvtToUintSat "fcvt_to_uint_sat" Unary SUFFIX, INTV, [FloatLanes] -> [C], PURE;
    FcvtToSintSat "fcvt_to_sint_sat" Unary SUFFIX, INTV, [FloatLanes] -> [C], PURE;
    FcvtFromUint "fcvt_from_uint" Unary SUFFIX, FLOATV, [IntLanes] -> [C], PURE;
    FcvtFromSint "fcvt_from_sint" Unary SUFFIX, FLOATV, [IntLanes] -> [C], PURE;
    X86Cvtt2dq "x86_cvtt2dq" Unary SUFFIX, INTV, [FloatLanes] -> [C], PURE;
    Isplit "isplit" Unary OP0, WIDE_INT, [C] -> [HalfWidth, HalfWidth], PURE;
    Iconcat "iconcat" Binary OP0, INT, [C, C] -> [DoubleWidth], PURE;
    // Vectors.
    Splat "splat" Unary SUFFIX, VEC, [Lane] -> [C], PURE;
    Swizzle "swizzle" Binary OP0, IVEC, [C, C] -> [C], PURE;
    X86Pshufb "x86_pshufb" Binary OP0, IVEC, [C, C] -> [C], PURE;
    Shuffle "shuffle" Shuffle OP0, IVEC, [C, C] -> [C], PURE;
    Insertlane "insertlane" InsertLane OP0, VEC, [C, Lane] -> [C], PURE;
    Extractlane "extractlane" ExtractLane OP0, VEC, [C] -> [Lane], PURE;
    VanyTrue "vany_true" Unary OP0, VEC, [C] -> [I8], PURE;
    VallTrue "vall_true" Unary OP0, VEC, [C] -> [I8], PURE;
    VhighBits "vhigh_bits" Unary SUFFIX, INT, [AnyVector] -> [C], PURE;
    Snarrow "snarrow" Binary OP0, IVEC, [C, C] -> [SplitLanes], PURE;
    Unarrow "unarrow" Binary OP0, IVEC, [C, C] -> [SplitLanes], PURE;
    Uunarrow "uunarrow" Binary OP0, IVEC, [C, C] -> [SplitLanes], PURE;
    SwidenLow "swiden_low" Unary OP0, IVEC, [C] -> [MergeLanes], PURE;
    SwidenHigh "swiden_high" Unary OP0, IVEC, [C] -> [MergeLanes], PURE;
    UwidenLow "uwiden_low" Unary OP0, IVEC, [C] -> [MergeLanes], PURE;
    UwidenHigh "uwiden_high" Unary OP0, IVEC, [C] -> [MergeLanes], PURE;
    IaddPairwise "iadd_pairwise" Binary OP0, IVEC, [C, C] -> [C], PURE;
    X86Pmaddubsw "x86_pmaddubsw" Binary OP0, IVEC, [C, C] -> [MergeLanes], PURE;
    Fvdemote "fvdemote" Unary OP0, FVEC, [C] -> [SplitLanes], PURE;
    FvpromoteLow "fvpromote_low" Unary OP0, FVEC, [C] -> [MergeLanes], PURE;
    // Memory.
    Load "load" Load SUFFIX, ANY, [P] -> [C], LOAD;
    Store "store" Store OP0, ANY, [C, P] -> [], STORE;
    Uload8 "uload8" Load SUFFIX, INT, [P] -> [C], LOAD;
    Sload8 "sload8" Load SUFFIX, INT, [P] -> [C], LOAD;
    Istore8 "istore8" Store OP0, INT, [C, P] -> [], STORE;
    Uload16 "uload16" Load SUFFIX, INT, [P] -> [C], LOAD;
    Sload16 "sload16" Load SUFFIX, INT, [P] -> [C], LOAD;
    Istore16 "istore16" Store OP0, INT, [C, P] -> [], STORE;
    Uload32 "uload32" Load NOCTRL, NONE, [P] -> [Is(types::I64)], LOAD;
    Sload32 "sload32" Load NOCTRL, NONE, [P] -> [Is(types::I64)], LOAD;
    Istore32 "istore32" Store OP0, INT, [C, P] -> [], STORE;
    Uload8x8 "uload8x8" Load NOCTRL, NONE, [P] -> [Is(types::I16X8)], LOAD;
    Sload8x8 "sload8x8" Load NOCTRL, NONE, [P] -> [Is(types::I16X8)], LOAD;
    Uload16x4 "uload16x4" Load NOCTRL, NONE, [P] -> [Is(types::I32X4)], LOAD;
    Sload16x4 "sload16x4" Load NOCTRL, NONE, [P] -> [Is(types::I32X4)], LOAD;
    Uload32x2 "uload32x2" Load NOCTRL, NONE, [P] -> [Is(types::I64X2)], LOAD;
    Sload32x2 "sload32x2" Load NOCTRL, NONE, [P] -> [Is(types::I64X2)], LOAD;
    StackAddr "stack_addr" StackLoad SUFFIX, PTR, [] -> [C], PURE;
    StackLoad "stack_load" StackLoad SUFFIX, ANY, [] -> [C], Effects::LOAD;
    StackStore "stack_store" StackStore OP0, ANY, [C] -> [], Effects::STORE;
    GlobalValue "global_value" GlobalValue SUFFIX, PTR, [] -> [C], PURE;
    SymbolValue "symbol_value" GlobalValue SUFFIX, PTR, [] -> [C], PURE;
    TlsValue "tls_value" GlobalValue SUFFIX, PTR, [] -> [C], PURE;
    GetPinnedReg "get_pinned_reg" Nullary SUFFIX, PTR, [] -> [C], OTHER;
    SetPinnedReg "set_pinned_reg" Unary OP0, PTR, [C] -> [], OTHER;
    GetFramePointer "get_frame_pointer" Nullary SUFFIX, PTR, [] -> [C], OTHER;
    GetStackPointer "get_stack_pointer" Nullary SUFFIX, PTR, [] -> [C], OTHER;
    GetReturnAddress "get_return_address" Nullary SUFFIX, PTR, [] -> [C], OTHER;
    GetExceptionHandlerAddress "get_exception_handler_address" Nullary SUFFIX, PTR, [] -> [C], OTHER;
    // Atomics: sequentially consistent, always.
    AtomicRmw "atomic_rmw" AtomicRmw SUFFIX, INT_ATOMIC, [P, C] -> [C], ATOMIC;
    AtomicCas "atomic_cas" AtomicCas OP2, INT_ATOMIC, [P, C, C] -> [C], ATOMIC;
    AtomicLoad "atomic_load" LoadNoOffset SUFFIX, INT_ATOMIC, [P] -> [C], LOAD.and(OTHER);
    AtomicStore "atomic_store" StoreNoOffset OP0, INT_ATOMIC, [C, P] -> [], STORE.and(OTHER);
    Fence "fence" Nullary NOCTRL, NONE, [] -> [], ATOMIC;
}

/// What walks over a function ask of an instruction's opcode, by the opcode: rows are long, and everybody asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// See [`Row::format`].
    pub format: Format,
    /// See [`Row::effects`].
    pub effects: Effects,
    /// Of the words `a`, `b`, `c` the first that is a value, and behind the last.
    pub words: (u8, u8),
    /// Which word is a list of further values; [`NO_LIST`] for none.
    pub list: u8,
    /// It may have more than one result.
    pub projects: bool,
    /// How many results it has; calls say so in their signature.
    pub results: u8,
}

/// See [`Shape::list`].
pub(crate) const NO_LIST: u8 = u8::MAX;

static SHAPES: [Shape; 256] = {
    let none = Shape {
        format: Format::Nullary,
        effects: Effects::PURE,
        words: (0, 0),
        list: NO_LIST,
        projects: false,
        results: 0,
    };
    let mut shapes = [none; 256];
    let mut k = 0;
    while k < ROWS.len() {
        let Row { format, effects, results, .. } = ROWS[k];
        let projects = effects.has(Effects::CALL) || results.len() > 1;
        let (words, list) = (format.value_words(), format.value_list());
        shapes[k] = Shape { format, effects, words, list, projects, results: results.len() as u8 };
        k += 1;
    }
    shapes
};

impl Format {
    /// See [`Shape::words`].
    const fn value_words(self) -> (u8, u8) {
        use Format::*;
        match self {
            Nullary | UnaryImm | UnaryF16 | UnaryF32 | UnaryF64 | UnaryConst | Jump | Trap | Return
            | Call | TryCall | FuncAddr | StackLoad | GlobalValue | BlockParam | Projection => (0, 0),
            Unary | Brif | BrTable | CondTrap | TryCallIndirect | Load | LoadNoOffset | StackStore
            | ExtractLane | Alias => (0, 1),
            Binary | IntCompare | FloatCompare | BinaryTrap | Store | StoreNoOffset | AtomicRmw
            | InsertLane | Shuffle => (0, 2),
            Ternary | AtomicCas => (0, 3),
            CallIndirect => (1, 2),
        }
    }

    /// See [`Shape::list`].
    const fn value_list(self) -> u8 {
        match self {
            Format::Return => 0,
            Format::Call | Format::TryCall | Format::TryCallIndirect => 1,
            Format::CallIndirect => 2,
            _ => NO_LIST,
        }
    }
}

impl Opcode {
    /// The row of this opcode.
    pub fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }

    /// What walks ask.
    #[inline]
    pub(crate) fn shape(self) -> &'static Shape {
        &SHAPES[self as u8 as usize]
    }

    /// What it does beside computing its results: [`Row::effects`].
    #[inline]
    pub fn effects(self) -> Effects {
        self.shape().effects
    }

    /// The opcode with this name in CLIF text.
    pub fn parse(name: &str) -> Option<Opcode> {
        use std::collections::HashMap;
        use std::sync::LazyLock;
        static BY_NAME: LazyLock<HashMap<&'static str, Opcode>> =
            LazyLock::new(|| ROWS.iter().skip(3).map(|row| (row.name, row.opcode)).collect());
        BY_NAME.get(name).copied()
    }

    /// Whether this ends a block.
    #[inline]
    pub fn is_terminator(self) -> bool {
        self.shape().effects.has(Effects::TERMINATOR)
    }

    /// Whether this has no effect at all: it may be removed, repeated and moved.
    #[inline]
    pub fn is_pure(self) -> bool {
        self.shape().effects.is_pure()
    }
}

impl TypeRule {
    /// The type that this rule gives for a result under the controlling type `ctrl`; `None` where it does not fix one.
    pub fn resolve(self, ctrl: Type) -> Option<Type> {
        match self {
            TypeRule::Ctrl => Some(ctrl),
            TypeRule::Is(ty) => Some(ty),
            TypeRule::Lane => Some(ctrl.lane_type()),
            TypeRule::Truthy => ctrl.truthy(),
            TypeRule::HalfWidth => ctrl.half_width(),
            TypeRule::DoubleWidth => ctrl.double_width(),
            TypeRule::MergeLanes => ctrl.merge_lanes(),
            TypeRule::SplitLanes => ctrl.split_lanes(),
            _ => None,
        }
    }

    /// Whether an operand of type `ty` fits this rule under the controlling type `ctrl`.
    pub fn accepts(self, ctrl: Type, ty: Type) -> bool {
        let same_lanes = ty.lane_count() == ctrl.lane_count();
        match self {
            TypeRule::AnyInt => ty.is_int(),
            TypeRule::Address => PTR.contains(ty),
            TypeRule::IntNarrower => same_lanes && ty.has_int_lanes() && ty.lane_bits() < ctrl.lane_bits(),
            TypeRule::IntWider => same_lanes && ty.has_int_lanes() && ty.lane_bits() > ctrl.lane_bits(),
            TypeRule::FloatNarrower => {
                same_lanes && ty.has_float_lanes() && ty.lane_bits() < ctrl.lane_bits()
            }
            TypeRule::FloatWider => same_lanes && ty.has_float_lanes() && ty.lane_bits() > ctrl.lane_bits(),
            TypeRule::FloatLanes => same_lanes && ty.has_float_lanes(),
            TypeRule::IntLanes => same_lanes && ty.has_int_lanes(),
            TypeRule::SameBits => ty.bits() == ctrl.bits(),
            TypeRule::AnyVector => ty.is_vector(),
            fixed => fixed.resolve(ctrl) == Some(ty),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_in_opcode_order_and_names_differ() {
        for (i, row) in ROWS.iter().enumerate() {
            assert_eq!(row.opcode as usize, i);
            assert!(i < 3 || Opcode::parse(row.name) == Some(row.opcode), "{}", row.name);
        }
        assert!(ROWS.len() <= 256);
    }

    #[test]
    fn result_types_follow_the_controlling_type() {
        assert_eq!(Opcode::Icmp.row().results[0].resolve(types::I32X4), Some(types::I32X4));
        assert_eq!(Opcode::Isplit.row().results[0].resolve(types::I128), Some(types::I64));
        assert!(Opcode::Uextend.row().args[0].accepts(types::I64, types::I32));
        assert!(!Opcode::Uextend.row().args[0].accepts(types::I32, types::I32));
    }
}
