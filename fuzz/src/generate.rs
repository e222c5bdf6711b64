//! Random CLIF functions, from bytes.
//!
//! A function takes and returns scalars of every width, works on two stack slots of [`SLOT`] bytes, one of which is an alias
//! region of its own, branches, loops at most eight times, calls others and may trap. It always ends. Its results include a
//! checksum of the slots.

use sphex_ir::types::{F32, F64, I8, I16, I32, I64, INVALID};
use sphex_ir::{
    AbiParam, AtomicRmwOp, Block, Builder, CallConv, Endian, ExtFunc, ExternalName, FloatCC, Function,
    InstData, IntCC, MemFlags, Opcode, Region, Signature, StackSlot, StackSlotData, TrapCode, Type, Value,
};

use crate::random::Choices;

/// Bytes of a stack slot.
pub const SLOT: u32 = 64;
/// Bytes that the first parameter of the first of [`functions`] points to.
pub const MEMORY: u32 = 64;

/// The region of the second slot.
const APART: u32 = 2;

const INTS: [Type; 4] = [I8, I16, I32, I64];
const ALL: [Type; 6] = [I8, I16, I32, I64, F32, F64];

/// A function that may be called.
#[derive(Clone)]
struct Callee {
    name: String,
    signature: Signature,
}

struct Generator<'a, 'c, 'f> {
    choices: &'c mut Choices<'a>,
    b: Builder<'f>,
    slot: StackSlot,
    /// A slot that is accessed by `load` and `store` with the region [`APART`] only.
    apart: StackSlot,
    /// The address of the caller's bytes.
    memory: Option<Value>,
    callees: &'c [Callee],
    /// Values that dominate the current point.
    live: Vec<Value>,
    budget: usize,
}

/// Makes functions, `%f` first. It calls some of the others, each of which calls some behind it. The first parameter of `%f`
/// is the address of [`MEMORY`] bytes, a multiple of 16.
pub fn functions(bytes: &[u8]) -> Vec<Function> {
    let mut choices = Choices::new(bytes);
    let mut callees: Vec<Callee> = Vec::new();
    let mut made = Vec::new();
    for k in 0..choices.below(4) {
        let convention = choices.pick(&[CallConv::SystemV, CallConv::Fast, CallConv::Tail]);
        let signature = signature(&mut choices, convention, 14, 5);
        let name = format!("g{k}");
        made.push(body(&mut choices, name.clone(), signature.clone(), false, &callees, 20));
        callees.push(Callee { name, signature });
    }
    let mut main = signature(&mut choices, CallConv::SystemV, 6, 3);
    main.params.insert(0, AbiParam::new(I64));
    made.push(body(&mut choices, "f".into(), main, true, &callees, 100));
    made.reverse();
    made
}

fn signature(choices: &mut Choices<'_>, convention: CallConv, params: usize, returns: usize) -> Signature {
    let mut signature = Signature::new(convention);
    for _ in 0..1 + choices.below(params) {
        signature.params.push(AbiParam::new(choices.pick(&ALL)));
    }
    for _ in 0..choices.below(returns) {
        signature.returns.push(AbiParam::new(choices.pick(&ALL)));
    }
    signature.returns.push(AbiParam::new(I64));
    signature
}

fn body(
    choices: &mut Choices<'_>,
    name: String,
    signature: Signature,
    memory: bool,
    callees: &[Callee],
    budget: usize,
) -> Function {
    let mut func = Function::new(ExternalName::symbol(&name), signature);
    let slot = func.stack_slots.push(StackSlotData { size: SLOT, align_shift: 4 });
    let apart = func.stack_slots.push(StackSlotData { size: SLOT, align_shift: 4 });
    func.regions.push((0, "the first half".into()));
    func.regions.push((1, "the second half".into()));
    func.regions.push((APART, "a slot of its own".into()));
    let entry = func.add_block();
    let params: Vec<Type> = func.signature.params.iter().map(|p| p.ty).collect();
    let mut live: Vec<Value> = params.iter().map(|&ty| func.add_block_param(entry, ty)).collect();
    let memory = memory.then(|| live.remove(0));
    let mut b = Builder::new(&mut func);
    b.switch_to(entry);
    let mut generator = Generator { choices, b, slot, apart, memory, callees, live, budget };
    generator.clear_slots();
    generator.statements(3);
    generator.finish();
    func
}

/// How the second slot is accessed.
fn apart_flags() -> MemFlags {
    MemFlags::DEFAULT.with_trap(None).with_region(Region::from_u32(APART))
}

impl Generator<'_, '_, '_> {
    fn clear_slots(&mut self) {
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
        match ty {
            F32 => {
                let bits = self.choices.f32();
                self.b.f32const(bits)
            }
            F64 => {
                let bits = self.choices.f64();
                self.b.f64const(bits)
            }
            // An immediate is written sign-extended from its type.
            _ => {
                let unused = 64 - ty.bits();
                let bits = (self.choices.word() as i64) << unused >> unused;
                self.b.iconst(ty, bits)
            }
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
            match self.choices.below(14) {
                0..=5 => self.integer_operation(),
                6 => self.float_operation(),
                7 => self.conversion(),
                8 => self.memory_operation(),
                9 if depth > 0 => self.diamond(depth - 1),
                10 if depth > 0 => self.counted_loop(depth - 1),
                11 => self.rare_operation(),
                12 => self.call(),
                13 => self.carries(),
                _ => self.comparison(),
            }
        }
    }

    fn integer_operation(&mut self) {
        use Opcode::*;
        let (ty, x) = self.int();
        let result = match self.choices.below(5) {
            4 => self.two_with_constants(ty, x),
            0 => {
                let op = self.choices.pick(&[Ineg, Bnot, Clz, Ctz, Cls, Popcnt, Bitrev, Iabs]);
                self.b.unary(op, x)
            }
            1 => {
                let op = self.choices.pick(&[Ishl, Ushr, Sshr, Rotl, Rotr]);
                let (_, amount) = self.int();
                self.b.pure(InstData::binary(op, ty, x, amount))
            }
            // A division by what may be zero ends most functions: mostly, it is not.
            2 if self.choices.below(3) == 0 => {
                let op = self.choices.pick(&[Udiv, Sdiv, Urem, Srem]);
                let y = self.value(ty);
                let one = self.b.iconst(ty, 1);
                let y = if self.choices.below(4) == 0 { y } else { self.b.binary(Bor, y, one) };
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

    /// Two operations in a row, each with a constant: what most rewrite rules look for.
    fn two_with_constants(&mut self, ty: Type, x: Value) -> Value {
        use Opcode::*;
        let ops = [Iadd, Isub, Imul, Band, Bor, Bxor, Ishl, Ushr, Sshr, Rotl, Rotr];
        let first = self.choices.pick(&ops);
        let second = if self.choices.below(2) == 0 { first } else { self.choices.pick(&ops) };
        [first, second].into_iter().fold(x, |x, op| {
            let constant = match op {
                Ishl | Ushr | Sshr | Rotl | Rotr => {
                    let amount = self.choices.below(ty.bits() as usize + 2) as i64;
                    self.b.iconst(ty, amount)
                }
                _ => self.constant(ty),
            };
            self.b.pure(InstData::binary(op, ty, x, constant))
        })
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

    /// An address in a slot or in the caller's bytes with room for eight bytes, aligned to eight, the offset to use with it,
    /// and what may be said of an access to it. Rarely one that faults.
    fn place(&mut self) -> (Value, i32, MemFlags) {
        let trap = self.choices.pick(&[None, Some(TrapCode::HEAP_OUT_OF_BOUNDS), TrapCode::user(9)]);
        // The caller's bytes are two regions, a half each; the first slot is accessed by name too, so that accesses to it
        // have none.
        let which = self.choices.below(6);
        let (room, start, base, region) = match (self.memory, which) {
            (Some(memory), 0 | 1) => {
                (MEMORY / 2, which as u32 * (MEMORY / 2), memory, Region::from_u32(which as u32))
            }
            (Some(memory), 2) => (MEMORY, 0, memory, Region::NONE),
            (_, 1 | 3) => (SLOT, 0, self.b.stack_addr(self.apart, 0), Region::from_u32(APART)),
            _ => (SLOT, 0, self.b.stack_addr(self.slot, 0), Region::NONE),
        };
        let flags = MemFlags::DEFAULT.with_trap(trap).with_region(region);
        let start = self.b.iconst(I64, start as i64);
        // A place that is known, so that others that are the same or overlap are found.
        if self.choices.below(3) == 0 {
            let offset = self.choices.pick(&[0, 0, 0, 1, 2, 4, 6, 8, 8, 11]);
            return (self.b.binary(Opcode::Iadd, base, start), offset, flags);
        }
        let index = self.value(I64);
        let mask = self.b.iconst(I64, (room - 8) as i64);
        let index = self.b.binary(Opcode::Band, index, mask);
        let index = self.b.binary(Opcode::Iadd, index, start);
        if trap.is_some() && self.choices.below(24) == 0 {
            return (index, 0, flags.with_region(Region::NONE));
        }
        (self.b.binary(Opcode::Iadd, base, index), 0, flags)
    }

    fn memory_operation(&mut self) {
        use Opcode::*;
        let (address, offset, mut flags) = self.place();
        flags.aligned = offset % 8 == 0 && self.choices.below(4) == 0;
        if self.choices.below(8) == 0 {
            flags.endian = Endian::Big;
        }
        match self.choices.below(8) {
            6 => {
                // By name, at places that overlap.
                let ty = self.choices.pick(&ALL);
                let x = self.value(ty);
                let x = self.defined(x);
                let offset = self.choices.below(12) as i32;
                self.b.stack_store(x, self.slot, offset);
            }
            7 => {
                let ty = self.choices.pick(&ALL);
                let offset = self.choices.below(12) as i32;
                let loaded = self.b.stack_load(ty, self.slot, offset);
                self.live.push(loaded);
            }
            0 | 1 => {
                let ty = self.choices.pick(&ALL);
                let x = self.value(ty);
                let x = self.defined(x);
                self.b.store(Store, flags, x, address, offset);
            }
            2 => {
                let (ty, op) = self.choices.pick(&[
                    (I64, Istore8),
                    (I64, Istore16),
                    (I64, Istore32),
                    (I32, Istore8),
                    (I32, Istore16),
                    (I16, Istore8),
                ]);
                let x = self.value(ty);
                flags.aligned = false;
                let offset = offset + self.choices.below(4) as i32;
                self.b.store(op, flags, x, address, offset);
            }
            3 => {
                let (ty, op) = self.choices.pick(&[
                    (I64, Uload8),
                    (I64, Sload8),
                    (I64, Uload16),
                    (I64, Sload16),
                    (I64, Uload32),
                    (I64, Sload32),
                    (I32, Uload8),
                    (I32, Sload8),
                    (I32, Uload16),
                    (I32, Sload16),
                    (I16, Uload8),
                    (I16, Sload8),
                ]);
                let loaded = self.b.load(op, ty, flags, address, offset);
                self.live.push(loaded);
            }
            4 if offset == 0 => self.atomic(address, MemFlags { endian: Endian::Native, ..flags }),
            _ => {
                let ty = self.choices.pick(&ALL);
                let loaded = self.b.load(Load, ty, flags, address, offset);
                // What is used at once may be read by its user.
                if ty.is_int() && self.choices.below(2) == 0 {
                    let y = self.value(ty);
                    let op = self.choices.pick(&[Iadd, Isub, Band, Bor, Bxor, Imul, Udiv, Umin]);
                    let result = self.b.binary(op, y, loaded);
                    self.live.push(result);
                } else {
                    self.live.push(loaded);
                }
            }
        }
    }

    fn atomic(&mut self, address: Value, flags: MemFlags) {
        let ty = self.choices.pick(&INTS);
        let aux = self.b.func.intern_flags(flags);
        let x = self.value(ty);
        let data = match self.choices.below(5) {
            0 => {
                let y = self.value(ty);
                InstData::ternary(Opcode::AtomicCas, ty, address, x, y)
            }
            1 => InstData::unary(Opcode::AtomicLoad, ty, address),
            2 => {
                let data = InstData::binary(Opcode::AtomicStore, INVALID, x, address);
                self.b.effect(data.with_aux(aux));
                return;
            }
            _ => {
                let op = self.choices.pick(AtomicRmwOp::ALL);
                InstData::new(Opcode::AtomicRmw, ty, address.as_u32(), x.as_u32(), op as u32)
            }
        };
        let old = self.b.effect(data.with_aux(aux));
        self.live.push(old);
    }

    /// A call, direct or by address.
    fn call(&mut self) {
        if self.callees.is_empty() {
            return self.integer_operation();
        }
        let callee = self.callees[self.choices.below(self.callees.len())].clone();
        let args: Vec<Value> = callee.signature.params.iter().map(|p| self.value(p.ty)).collect();
        let sig = self.b.func.signatures.push(callee.signature);
        let func = self.b.func.ext_funcs.push(ExtFunc {
            name: ExternalName::symbol(&callee.name),
            signature: sig,
            colocated: self.choices.below(2) == 0,
            leaves: false,
        });
        let called = if self.choices.below(3) == 0 {
            let address = self.b.func_addr(func);
            self.b.call_indirect(sig, address, &args)
        } else {
            self.b.call(func, &args)
        };
        let results: Vec<Value> = self.b.func.results(called).collect();
        self.live.extend(results);
    }

    /// Sums with a carry in or out, and traps on one.
    fn carries(&mut self) {
        use Opcode::*;
        let (ty, x) = self.int();
        let y = self.value(ty);
        if self.choices.below(4) == 0 {
            let code = TrapCode::user(3).expect("a user code");
            let data = InstData::binary(UaddOverflowTrap, ty, x, y).with_aux(code.as_u8() as u16);
            let sum = self.b.effect(data);
            self.live.push(sum);
            return;
        }
        let op = self.choices.pick(&[UaddOverflowCin, SaddOverflowCin, UsubOverflowBin, SsubOverflowBin]);
        let (p, q) = (self.value(ty), self.value(ty));
        let cc = self.choices.pick(IntCC::ALL);
        let carry = self.b.icmp(cc, p, q);
        let sum = self.b.pure(InstData::ternary(op, ty, x, y, carry));
        let results: Vec<Value> = self.b.func.results(sum).collect();
        self.live.extend(results);
    }

    fn comparison(&mut self) {
        let (ty, x) = self.int();
        let y = self.value(ty);
        let cc = self.choices.pick(IntCC::ALL);
        let holds = self.b.icmp(cc, x, y);
        self.live.push(holds);
        let ty = self.choices.pick(&ALL);
        let (x, y) = (self.value(ty), self.value(ty));
        let chosen = match self.choices.below(4) {
            0 => self.b.ternary(Opcode::SelectSpectreGuard, holds, x, y),
            _ => self.b.select(holds, x, y),
        };
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

    /// A loop that runs one to eight times and carries values round, which may change places.
    fn counted_loop(&mut self, depth: usize) {
        let types: Vec<Type> = (0..1 + self.choices.below(4)).map(|_| self.choices.pick(&ALL)).collect();
        let (head, exit): (Block, Block) = (self.b.func.add_block(), self.b.func.add_block());
        let count = 1 + self.choices.below(8) as i64;
        let mut first = vec![self.b.iconst(I32, 0)];
        first.extend(types.iter().map(|&ty| self.value(ty)));
        self.b.jump(head, &first);
        let i = self.b.func.add_block_param(head, I32);
        let carried: Vec<Value> = types.iter().map(|&ty| self.b.func.add_block_param(head, ty)).collect();
        self.b.switch_to(head);
        let outer = self.live.len();
        self.live.push(i);
        self.live.extend(&carried);
        self.statements(depth);
        let next: Vec<Value> = types.iter().map(|&ty| self.value(ty)).collect();
        if self.choices.below(4) == 0 {
            let (cond, early) = (self.value(I8), self.b.func.add_block());
            self.b.brif(cond, (early, &[]), (exit, &next));
            self.b.switch_to(early);
        }
        self.live.truncate(outer);
        let one = self.b.iconst(I32, 1);
        let i = self.b.binary(Opcode::Iadd, i, one);
        let end = self.b.iconst(I32, count);
        let more = self.b.icmp(IntCC::Ult, i, end);
        let out: Vec<Value> = types.iter().map(|&ty| self.b.func.add_block_param(exit, ty)).collect();
        let round: Vec<Value> = [i].into_iter().chain(next.iter().copied()).collect();
        self.b.brif(more, (head, &round), (exit, &next));
        self.b.switch_to(exit);
        self.live.extend(out);
    }

    /// Returns live values and a checksum of the slots.
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
