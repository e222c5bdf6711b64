//! Random CLIF functions, from bytes: the input of the test that compares interpreter and compiled code, and of the fuzz
//! target of the same name.
//!
//! A function takes and returns scalars of every width, works on two stack slots of [`SLOT`] bytes, one of which is an
//! alias region of its own, branches, loops at most eight times, and may trap. It always ends. Its results include a
//! checksum of the slots.

use sphex_ir::types::{F32, F64, I8, I16, I32, I64};
use sphex_ir::{
    AbiParam, AtomicRmwOp, Block, Builder, CallConv, ExternalName, FloatCC, Function, InstData, IntCC,
    MemFlags, Opcode, Region, Signature, StackSlot, StackSlotData, TrapCode, Type, Value,
};

/// Bytes of a stack slot.
pub const SLOT: u32 = 64;

const INTS: [Type; 4] = [I8, I16, I32, I64];
const ALL: [Type; 6] = [I8, I16, I32, I64, F32, F64];

/// A source of choices: bytes, then zeros.
struct Choices<'a> {
    bytes: &'a [u8],
}

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        first
    }

    fn below(&mut self, n: usize) -> usize {
        self.byte() as usize % n
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    fn u64(&mut self) -> u64 {
        match self.below(5) {
            0 => self.byte() as u64,
            1 => (self.byte() as i8) as u64,
            2 => 1u64 << self.below(64),
            3 => (1u64 << self.below(64)).wrapping_sub(1),
            _ => (0..8).fold(0, |bits, _| bits << 8 | self.byte() as u64),
        }
    }
}

struct Generator<'a, 'f> {
    choices: Choices<'a>,
    b: Builder<'f>,
    slot: StackSlot,
    /// A slot that is accessed by `load` and `store` with a region only.
    apart: StackSlot,
    /// Values that dominate the current point.
    live: Vec<Value>,
    budget: usize,
}

/// Makes a function named `%f` of convention system_v. Every function verifies.
pub fn function(bytes: &[u8]) -> Function {
    let mut choices = Choices { bytes };
    let mut signature = Signature::new(CallConv::SystemV);
    for _ in 0..1 + choices.below(6) {
        signature.params.push(AbiParam::new(choices.pick(&ALL)));
    }
    for _ in 0..choices.below(3) {
        signature.returns.push(AbiParam::new(choices.pick(&ALL)));
    }
    signature.returns.push(AbiParam::new(I64));
    let mut func = Function::new(ExternalName::symbol("f"), signature);
    let slot = func.stack_slots.push(StackSlotData { size: SLOT, align_shift: 4 });
    func.regions.push((0, "a slot of its own".into()));
    let apart = func.stack_slots.push(StackSlotData { size: SLOT, align_shift: 4 });
    let entry = func.add_block();
    let params: Vec<Type> = func.signature.params.iter().map(|p| p.ty).collect();
    let live = params.iter().map(|&ty| func.add_block_param(entry, ty)).collect();
    let mut b = Builder::new(&mut func);
    b.switch_to(entry);
    let mut generator = Generator { choices, b, slot, apart, live, budget: 120 };
    generator.clear_slot();
    generator.statements(3);
    generator.finish();
    func
}

/// How the second slot is accessed.
fn apart_flags() -> MemFlags {
    MemFlags::DEFAULT.with_trap(None).with_region(Region::from_u32(0))
}

impl Generator<'_, '_> {
    fn clear_slot(&mut self) {
        let zero = self.b.iconst(I64, 0);
        for offset in (0..SLOT).step_by(8) {
            self.b.stack_store(zero, self.slot, offset as i32);
        }
        let base = self.b.stack_addr(self.apart, 0);
        for offset in (0..SLOT).step_by(8) {
            self.b.store(Opcode::Store, apart_flags(), zero, base, offset as i32);
        }
    }

    /// A live value of this type, or a constant.
    fn value(&mut self, ty: Type) -> Value {
        let fitting: Vec<Value> =
            self.live.iter().copied().filter(|v| self.b.func.type_of(*v) == ty).collect();
        if fitting.is_empty() || self.choices.below(6) == 0 {
            return self.constant(ty);
        }
        self.choices.pick(&fitting)
    }

    fn constant(&mut self, ty: Type) -> Value {
        let bits = self.choices.u64();
        match ty {
            F32 => self.b.f32const((bits as i32 as f32 / 8.0).to_bits()),
            F64 => self.b.f64const((bits as i64 as f64 / 8.0).to_bits()),
            _ => self.b.iconst(ty, bits as i64),
        }
    }

    /// The value, or zero for a NaN: bits of NaNs differ between machines and must not reach memory or integers.
    fn defined(&mut self, x: Value) -> Value {
        let zero = match self.b.func.type_of(x) {
            F32 => self.b.f32const(0),
            F64 => self.b.f64const(0),
            _ => return x,
        };
        let ordered = self.b.fcmp(FloatCC::Ordered, x, x);
        self.b.select(ordered, x, zero)
    }

    fn int(&mut self) -> (Type, Value) {
        let ty = self.choices.pick(&INTS);
        (ty, self.value(ty))
    }

    fn statements(&mut self, depth: usize) {
        for _ in 0..2 + self.choices.below(8) {
            if self.budget == 0 {
                return;
            }
            self.budget -= 1;
            match self.choices.below(12) {
                0..=5 => self.integer_operation(),
                6 => self.float_operation(),
                7 => self.conversion(),
                8 => self.memory_operation(),
                9 if depth > 0 => self.diamond(depth - 1),
                10 if depth > 0 => self.counted_loop(depth - 1),
                11 => self.rare_operation(),
                _ => self.comparison(),
            }
        }
    }

    fn integer_operation(&mut self) {
        use Opcode::*;
        let (ty, x) = self.int();
        let result = match self.choices.below(4) {
            0 => {
                let op = self.choices.pick(&[Ineg, Bnot, Clz, Ctz, Cls, Popcnt, Bitrev, Iabs]);
                self.b.unary(op, x)
            }
            1 => {
                let op = self.choices.pick(&[Ishl, Ushr, Sshr, Rotl, Rotr]);
                let (_, amount) = self.int();
                self.b.pure(InstData::binary(op, ty, x, amount))
            }
            2 if self.choices.below(3) == 0 => {
                let op = self.choices.pick(&[Udiv, Sdiv, Urem, Srem]);
                let y = self.value(ty);
                self.b.binary(op, x, y)
            }
            _ => {
                let ops = [
                    Iadd, Isub, Imul, Band, Bor, Bxor, BandNot, BorNot, BxorNot, Smin, Smax, Umin, Umax,
                    Umulhi, Smulhi,
                ];
                let op = self.choices.pick(&ops);
                let y = self.value(ty);
                self.b.binary(op, x, y)
            }
        };
        self.live.push(result);
    }

    fn float_operation(&mut self) {
        use Opcode::*;
        let ty = self.choices.pick(&[F32, F64]);
        let (x, y) = (self.value(ty), self.value(ty));
        let result = match self.choices.below(3) {
            0 => {
                let op = self.choices.pick(&[Fneg, Fabs, Sqrt, Ceil, Floor, Trunc, Nearest]);
                self.b.unary(op, x)
            }
            1 => {
                let cc = self.choices.pick(FloatCC::ALL);
                self.b.fcmp(cc, x, y)
            }
            _ => {
                let op = self.choices.pick(&[Fadd, Fsub, Fmul, Fdiv, Fmin, Fmax, Fcopysign]);
                let y = if op == Fcopysign { self.defined(y) } else { y };
                self.b.binary(op, x, y)
            }
        };
        self.live.push(result);
    }

    fn conversion(&mut self) {
        use Opcode::*;
        let (from, to) = (self.choices.pick(&ALL), self.choices.pick(&ALL));
        let x = self.value(from);
        let op = match (from.is_int(), to.is_int()) {
            (true, true) if from.bits() < to.bits() => self.choices.pick(&[Uextend, Sextend]),
            (true, true) if from.bits() > to.bits() => Ireduce,
            (true, true) => Bmask,
            (true, false) if from.bits() == to.bits() => {
                let x = self.defined(x);
                let cast = self.b.bitcast(to, x);
                self.live.push(cast);
                return;
            }
            (true, false) => self.choices.pick(&[FcvtFromSint, FcvtFromUint]),
            (false, true) if to.bits() >= 32 => {
                self.choices.pick(&[FcvtToSintSat, FcvtToUintSat, FcvtToSintSat, FcvtToSint, FcvtToUint])
            }
            (false, false) if from.bits() < to.bits() => Fpromote,
            (false, false) if from.bits() > to.bits() => Fdemote,
            _ => return,
        };
        let result = self.b.convert(op, to, x);
        self.live.push(result);
    }

    /// An address in a slot with room for eight bytes, aligned to eight, the offset to use with it, and flags. Offsets are
    /// small, so that accesses meet and overlap.
    fn place(&mut self) -> (Value, i32, MemFlags) {
        let (slot, flags) = match self.choices.below(3) {
            0 => (self.apart, apart_flags()),
            _ => (self.slot, MemFlags::DEFAULT.with_trap(None)),
        };
        let base = self.b.stack_addr(slot, 0);
        if self.choices.below(2) == 0 {
            return (base, self.choices.below(12) as i32, flags);
        }
        let index = self.value(I64);
        let mask = self.b.iconst(I64, (SLOT - 8) as i64);
        let index = self.b.binary(Opcode::Band, index, mask);
        (self.b.binary(Opcode::Iadd, base, index), 0, flags)
    }

    fn memory_operation(&mut self) {
        use Opcode::*;
        let (address, offset, flags) = self.place();
        match self.choices.below(7) {
            0 => {
                let ty = self.choices.pick(&ALL);
                let x = self.value(ty);
                let x = self.defined(x);
                self.b.store(Store, flags, x, address, offset);
            }
            1 => {
                let x = self.value(I64);
                let op = self.choices.pick(&[Istore8, Istore16, Istore32]);
                self.b.store(op, flags, x, address, offset);
            }
            2 => {
                let op = self.choices.pick(&[Uload8, Sload8, Uload16, Sload16, Uload32, Sload32]);
                let loaded = self.b.load(op, I64, flags, address, offset);
                self.live.push(loaded);
            }
            3 if offset == 0 => self.atomic(address),
            4 => {
                let ty = self.choices.pick(&ALL);
                let x = self.value(ty);
                let x = self.defined(x);
                let offset = self.choices.below(12) as i32;
                self.b.stack_store(x, self.slot, offset);
            }
            5 => {
                let ty = self.choices.pick(&ALL);
                let offset = self.choices.below(12) as i32;
                let loaded = self.b.stack_load(ty, self.slot, offset);
                self.live.push(loaded);
            }
            _ => {
                let ty = self.choices.pick(&ALL);
                let loaded = self.b.load(Load, ty, flags, address, offset);
                self.live.push(loaded);
            }
        }
    }

    fn atomic(&mut self, address: Value) {
        let ty = self.choices.pick(&INTS);
        let aux = self.b.func.intern_flags(MemFlags::DEFAULT.with_trap(None));
        let x = self.value(ty);
        let data = if self.choices.below(3) == 0 {
            let y = self.value(ty);
            InstData::ternary(Opcode::AtomicCas, ty, address, x, y)
        } else {
            let op = self.choices.pick(AtomicRmwOp::ALL);
            InstData::new(Opcode::AtomicRmw, ty, address.as_u32(), x.as_u32(), op as u32)
        };
        let old = self.b.effect(data.with_aux(aux));
        self.live.push(old);
    }

    fn comparison(&mut self) {
        let (ty, x) = self.int();
        let y = self.value(ty);
        let cc = self.choices.pick(IntCC::ALL);
        let holds = self.b.icmp(cc, x, y);
        self.live.push(holds);
        let ty = self.choices.pick(&ALL);
        let (x, y) = (self.value(ty), self.value(ty));
        let chosen = self.b.select(holds, x, y);
        self.live.push(chosen);
    }

    fn rare_operation(&mut self) {
        use Opcode::*;
        let (ty, x) = self.int();
        let y = self.value(ty);
        match self.choices.below(4) {
            0 => {
                let ops =
                    [UaddOverflow, SaddOverflow, UsubOverflow, SsubOverflow, UmulOverflow, SmulOverflow];
                let op = self.choices.pick(&ops);
                let sum = self.b.binary(op, x, y);
                let results: Vec<Value> = self.b.func.results(sum).collect();
                self.live.extend(results);
            }
            1 => {
                // A trap that is rare: the low byte is zero.
                let code = TrapCode::user(7).expect("a user code");
                let mask = self.b.iconst(ty, 0x7f);
                let low = self.b.binary(Band, x, mask);
                self.b.trapz(low, code);
            }
            2 if ty != I8 => {
                let swapped = self.b.unary(Bswap, x);
                self.live.push(swapped);
            }
            _ => {
                let z = self.value(ty);
                let mixed = self.b.pure(InstData::ternary(Bitselect, ty, x, y, z));
                self.live.push(mixed);
            }
        }
    }

    /// Two arms that meet in a block with a parameter; by `brif` or `br_table`.
    fn diamond(&mut self, depth: usize) {
        let ty = self.choices.pick(&ALL);
        let (left, right, join) = (self.b.func.add_block(), self.b.func.add_block(), self.b.func.add_block());
        if self.choices.below(3) == 0 {
            let index = self.value(I32);
            let calls: Vec<_> = (0..1 + self.choices.below(5))
                .map(|k| self.b.func.make_block_call(if k % 2 == 0 { left } else { right }, &[]))
                .collect();
            self.b.br_table(index, &calls);
        } else {
            let (_, cond) = self.int();
            self.b.brif(cond, (left, &[]), (right, &[]));
        }
        let outer = self.live.len();
        for arm in [left, right] {
            self.b.switch_to(arm);
            self.statements(depth);
            let result = self.value(ty);
            self.live.truncate(outer);
            self.b.jump(join, &[result]);
        }
        let merged = self.b.func.add_block_param(join, ty);
        self.b.switch_to(join);
        self.live.push(merged);
    }

    /// A loop that runs one to eight times and carries a value round.
    fn counted_loop(&mut self, depth: usize) {
        let ty = self.choices.pick(&ALL);
        let (head, exit): (Block, Block) = (self.b.func.add_block(), self.b.func.add_block());
        let first = self.value(ty);
        let count = 1 + self.choices.below(8) as i64;
        let zero = self.b.iconst(I32, 0);
        self.b.jump(head, &[zero, first]);
        let i = self.b.func.add_block_param(head, I32);
        let carried = self.b.func.add_block_param(head, ty);
        self.b.switch_to(head);
        let outer = self.live.len();
        self.live.extend([i, carried]);
        self.statements(depth);
        let next = self.value(ty);
        self.live.truncate(outer);
        let one = self.b.iconst(I32, 1);
        let i = self.b.binary(Opcode::Iadd, i, one);
        let end = self.b.iconst(I32, count);
        let more = self.b.icmp(IntCC::Ult, i, end);
        let out = self.b.func.add_block_param(exit, ty);
        self.b.brif(more, (head, &[i, next]), (exit, &[next]));
        self.b.switch_to(exit);
        self.live.push(out);
    }

    /// Returns live values and a checksum of the slot.
    fn finish(&mut self) {
        let mut sum = self.b.iconst(I64, 0x5b9e);
        for offset in (0..SLOT).step_by(8) {
            let word = self.b.stack_load(I64, self.slot, offset as i32);
            let prime = self.b.iconst(I64, 0x0000_0100_0000_01b3);
            let mixed = self.b.binary(Opcode::Imul, sum, prime);
            sum = self.b.binary(Opcode::Bxor, mixed, word);
        }
        let base = self.b.stack_addr(self.apart, 0);
        for offset in (0..SLOT).step_by(8) {
            let word = self.b.load(Opcode::Load, I64, apart_flags(), base, offset as i32);
            let three = self.b.iconst(I64, 3);
            let turned = self.b.pure(InstData::binary(Opcode::Rotl, I64, sum, three));
            sum = self.b.binary(Opcode::Bxor, turned, word);
        }
        let types: Vec<Type> = self.b.func.signature.returns.iter().map(|r| r.ty).collect();
        let mut results: Vec<Value> = types[..types.len() - 1].iter().map(|&ty| self.value(ty)).collect();
        results.push(sum);
        self.b.ret(&results);
    }
}
