//! Every rewrite rule, proven by trying: its template is instantiated at every legal width, built with and without
//! folding, and both are evaluated. Up to two free leaves, constants counted, are tried exhaustively at eight bits,
//! others at random and at the corners. A rule that never fires fails the test, and so does one that makes the tree dearer.

use sphex_ir::evaluate;
use sphex_ir::fold::is_foldable;
use sphex_ir::rules::{Pat, RULES, Rule};
use sphex_ir::types::{F32, F64, I8, I16, I32, I64};
use sphex_ir::{
    CallConv, ExternalName, FloatCC, Folder, Function, InstData, IntCC, Opcode, Signature, SrcLoc, Type,
    Value,
};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// Numbers that matter: small ones, powers of two and their neighbours, limits, anything.
    fn interesting(&mut self, ty: Type) -> u64 {
        let mask = evaluate::mask(ty);
        let raw = match self.below(6) {
            0 => self.below(4),
            1 => self.below(4).wrapping_neg(),
            2 => (1u64 << self.below(64)).wrapping_add(self.below(3)).wrapping_sub(1),
            3 => mask >> self.below(ty.bits() as u64),
            4 => self.below(ty.bits() as u64 + 2),
            _ => self.next(),
        };
        raw & mask
    }
}

/// What an instance of a template chooses: the types of operands that the root leaves open, constants, conditions.
struct Choice<'r> {
    random: &'r mut Random,
    /// Take this as the first constant.
    fixed: Option<u64>,
    /// All open types are eight bits wide.
    narrow: bool,
}

impl Choice<'_> {
    fn int(&mut self, keep: impl Fn(Type) -> bool) -> Option<Type> {
        let kept: Vec<Type> = [I8, I16, I32, I64].into_iter().filter(|t| keep(*t)).collect();
        if self.narrow {
            return kept.first().copied();
        }
        (!kept.is_empty()).then(|| kept[self.random.below(kept.len() as u64) as usize])
    }

    /// Types that the operands of `opcode` may have for a result of type `ty`: one choice.
    fn operand_types(&mut self, opcode: Opcode, ty: Type, count: usize) -> Option<Vec<Type>> {
        Some(match opcode {
            Opcode::Uextend | Opcode::Sextend => vec![self.int(|t| t.bits() < ty.bits())?],
            Opcode::Ireduce => vec![self.int(|t| t.bits() > ty.bits())?],
            Opcode::Icmp if ty == I8 => vec![self.int(|_| true)?; 2],
            Opcode::Fcmp if ty == I8 => vec![if self.random.below(2) == 0 { F32 } else { F64 }; 2],
            Opcode::Icmp | Opcode::Fcmp => return None,
            Opcode::Select => vec![self.int(|_| true)?, ty, ty],
            Opcode::Bitcast => {
                let same: Vec<Type> =
                    [I32, I64, F32, F64].into_iter().filter(|t| t.bits() == ty.bits()).collect();
                vec![*same.get(self.random.below(2) as usize)?]
            }
            _ => vec![ty; count],
        })
    }
}

/// One step of a straight-line program.
#[derive(Clone, Copy)]
enum Step {
    Input(usize),
    Int(u64),
    Do { data: InstData, from: Type, args: [usize; 3] },
}

/// A tree as a program: what it computes is its last step.
#[derive(Default)]
struct Program {
    steps: Vec<Step>,
    price: u64,
}

impl Program {
    fn push(&mut self, step: Step) -> usize {
        self.price += match step {
            Step::Do { data, .. } => price(data.opcode),
            _ => 0,
        };
        self.steps.push(step);
        self.steps.len() - 1
    }

    fn run(&self, inputs: &[u64], slots: &mut Vec<u64>) -> Option<u64> {
        slots.clear();
        for step in &self.steps {
            let result = match *step {
                Step::Input(k) => inputs[k],
                Step::Int(number) => number,
                Step::Do { data, from, args } => {
                    compute(&data, from, args.map(|k| slots.get(k).copied().unwrap_or(0)))?
                        & evaluate::mask(data.ty)
                }
            };
            slots.push(result);
        }
        slots.last().copied()
    }
}

/// What one instruction computes; `from` is the type of its first operand.
fn compute(data: &InstData, from: Type, [x, y, z]: [u64; 3]) -> Option<u64> {
    let sign = 1 << (data.ty.bits() - 1);
    Some(match data.opcode {
        Opcode::Select if x != 0 => y,
        Opcode::Select => z,
        Opcode::Icmp => evaluate::int_compare(data.int_cc(), from, x, y) as u64,
        Opcode::Fcmp if from == F32 => {
            let number = |x: u64| f32::from_bits(x as u32) as f64;
            evaluate::float_compare(data.float_cc(), number(x), number(y)) as u64
        }
        Opcode::Fcmp => evaluate::float_compare(data.float_cc(), f64::from_bits(x), f64::from_bits(y)) as u64,
        Opcode::Fneg => x ^ sign,
        Opcode::Fabs => x & !sign,
        Opcode::Bitcast => x,
        opcode => match evaluate::integer_unary(opcode, from, x) {
            Some(result) => result,
            None => evaluate::integer_binary(opcode, data.ty, x, y)?,
        },
    })
}

/// What an instruction costs, roughly in cycles.
fn price(opcode: Opcode) -> u64 {
    match opcode {
        Opcode::Udiv | Opcode::Sdiv | Opcode::Urem | Opcode::Srem => 40,
        Opcode::Imul | Opcode::Umulhi | Opcode::Smulhi => 4,
        _ => 1,
    }
}

/// An instance of a template: what its leaves stand for, and the tree as it is without folding.
struct Instance {
    func: Function,
    folder: Folder,
    vars: [Option<Value>; 4],
    consts: Vec<u64>,
    tree: Program,
}

impl Instance {
    fn new() -> Self {
        let mut func = Function::new(ExternalName::symbol("f"), Signature::new(CallConv::Fast));
        func.add_block();
        let mut folder = Folder::new();
        folder.firings = vec![0; RULES.len()];
        Self { func, folder, vars: [None; 4], consts: Vec::new(), tree: Program::default() }
    }

    /// Builds a template at a result type, folded and as a tree; `None` where the types do not fit.
    fn build(&mut self, pattern: &Pat, ty: Type, choice: &mut Choice<'_>) -> Option<(Value, usize)> {
        match *pattern {
            Pat::Var(k) => {
                let entry = self.func.entry()?;
                let value = *self.vars[k].get_or_insert_with(|| self.func.add_block_param(entry, ty));
                (self.func.type_of(value) == ty).then(|| (value, self.tree.push(Step::Input(k))))
            }
            Pat::Const(_) if ty.is_int() => {
                let number = match (choice.fixed, self.consts.is_empty()) {
                    (Some(number), true) => number & evaluate::mask(ty),
                    // Two constants that are equal, or sum to the width, are what some guards want.
                    _ if !self.consts.is_empty() && choice.random.below(3) == 0 => {
                        self.consts[0] & evaluate::mask(ty)
                    }
                    _ if !self.consts.is_empty() && choice.random.below(3) == 0 => {
                        (ty.bits() as u64).wrapping_sub(self.consts[0]) & evaluate::mask(ty)
                    }
                    _ => choice.random.interesting(ty),
                };
                self.consts.push(number);
                Some(self.int(ty, number))
            }
            Pat::Const(_) => None,
            Pat::Int(k) => ty.is_int().then(|| self.int(ty, k as u64 & evaluate::mask(ty))),
            Pat::Op(opcode, operands) => {
                let types = choice.operand_types(opcode, ty, operands.len())?;
                let mut args = [usize::MAX; 3];
                let mut words = [0; 3];
                for (k, (operand, ty)) in operands.iter().zip(&types).enumerate() {
                    let (value, step) = self.build(operand, *ty, choice)?;
                    (words[k], args[k]) = (value.as_u32(), step);
                }
                let cc = match opcode {
                    Opcode::Icmp => choice.random.below(IntCC::ALL.len() as u64),
                    Opcode::Fcmp => choice.random.below(FloatCC::ALL.len() as u64),
                    _ => 0,
                };
                let data = InstData::new(opcode, ty, words[0], words[1], words[2]).with_aux(cc as u16);
                let folded = if opcode.is_pure() {
                    self.folder.value(&mut self.func, data, SrcLoc::NONE)
                } else if is_foldable(&self.func, &data) {
                    self.folder.simplify(&mut self.func, data, SrcLoc::NONE)?
                } else {
                    return None;
                };
                Some((folded, self.tree.push(Step::Do { data, from: types[0], args })))
            }
        }
    }

    fn int(&mut self, ty: Type, number: u64) -> (Value, usize) {
        let value = self.folder.value(&mut self.func, InstData::iconst(ty, number as i64), SrcLoc::NONE);
        (value, self.tree.push(Step::Int(number)))
    }

    /// The program of a folded value.
    fn program(&self, value: Value) -> Program {
        let mut program = Program::default();
        self.append(self.func.resolve(value), &mut program, &mut Vec::new());
        program
    }

    fn append(&self, value: Value, program: &mut Program, done: &mut Vec<(Value, usize)>) -> usize {
        if let Some(&(_, step)) = done.iter().find(|d| d.0 == value) {
            return step;
        }
        let data = self.func.insts[value];
        let step = match data.opcode {
            Opcode::BlockParam => {
                Step::Input(self.vars.iter().position(|v| *v == Some(value)).unwrap_or(usize::MAX))
            }
            Opcode::Iconst => Step::Int(data.imm64()),
            _ => {
                let operands = self.func.operands(value);
                let mut args = [usize::MAX; 3];
                for (k, operand) in operands.iter().enumerate() {
                    args[k] = self.append(self.func.resolve(*operand), program, done);
                }
                Step::Do { data, from: self.func.type_of(operands[0]), args }
            }
        };
        let at = program.push(step);
        done.push((value, at));
        at
    }
}

/// Compares an instance's two forms over inputs; says how many inputs were compared.
fn compare(instance: &Instance, folded: Value, rule: &Rule, random: &mut Random, rounds: u64) -> u64 {
    let func = &instance.func;
    let leaves: Vec<(usize, Type)> =
        instance.vars.iter().enumerate().filter_map(|(k, v)| Some((k, func.type_of((*v)?)))).collect();
    let bits: u32 = leaves.iter().map(|leaf| leaf.1.bits()).sum();
    let exhaustive = bits <= 16;
    let count = if exhaustive { 1 << bits } else { rounds };
    let program = instance.program(folded);
    let before = instance.tree.price;
    assert!(program.price <= before, "{}: costs {}, cost {before} before", rule.name, program.price);
    let (mut slots, mut inputs, mut compared) = (Vec::new(), [0; 4], 0);
    for round in 0..count {
        let mut rest = round;
        for &(k, ty) in &leaves {
            inputs[k] = if exhaustive { rest & evaluate::mask(ty) } else { random.interesting(ty) };
            rest >>= ty.bits() % 64;
        }
        let Some(expected) = instance.tree.run(&inputs, &mut slots) else { continue };
        let found = program.run(&inputs, &mut slots);
        let (ty, consts) = (func.type_of(folded), &instance.consts);
        assert_eq!(found, Some(expected), "{} at {ty} with {inputs:x?}, constants {consts:x?}", rule.name);
        compared += 1;
    }
    compared
}

fn leaves(pattern: &Pat, vars: &mut [bool; 4], consts: &mut usize) {
    match *pattern {
        Pat::Var(k) => vars[k] = true,
        Pat::Const(_) => *consts += 1,
        Pat::Int(_) => {}
        Pat::Op(_, operands) => operands.iter().for_each(|p| leaves(p, vars, consts)),
    }
}

/// Every rule at eight bits: all values of up to two leaves, the second of which may be a constant.
fn exhaust(number: usize, rule: &Rule, random: &mut Random) -> (u64, u64) {
    let (mut vars, mut consts) = ([false; 4], 0);
    leaves(&rule.pattern, &mut vars, &mut consts);
    let vars = vars.iter().filter(|v| **v).count();
    if vars + consts > 2 {
        return (0, 0);
    }
    let Pat::Op(root, _) = rule.pattern else { return (0, 0) };
    let (mut fired, mut compared) = (0, 0);
    // Conditions are drawn: each comes up.
    let tries = if root == Opcode::Icmp { 40 } else { 1 };
    let ty = if matches!(root, Opcode::Uextend | Opcode::Sextend) { I16 } else { I8 };
    let mut seen = [false; 16];
    for _ in 0..tries {
        for constant in 0..if consts > 0 { 256 } else { 1 } {
            let mut instance = Instance::new();
            let mut choice = Choice { random, fixed: Some(constant), narrow: true };
            let Some((folded, _)) = instance.build(&rule.pattern, ty, &mut choice) else { continue };
            let Some(Step::Do { data, .. }) = instance.tree.steps.last() else { continue };
            if instance.folder.firings[number] == 0 || consts == 0 && seen[data.aux as usize] {
                continue;
            }
            seen[data.aux as usize] = true;
            fired += 1;
            compared += compare(&instance, folded, rule, random, 64);
        }
    }
    (fired, compared)
}

#[test]
fn every_rule_fires_and_keeps_the_value() {
    let mut random = Random(20261121);
    for (number, rule) in RULES.iter().enumerate() {
        let Pat::Op(root, _) = rule.pattern else { panic!("{}: the root is a leaf", rule.name) };
        let widths: &[Type] = match root {
            Opcode::Icmp => &[I8],
            Opcode::Fneg | Opcode::Fabs => &[F32, F64],
            Opcode::Bitcast => &[I32, I64, F32, F64],
            _ => &[I8, I16, I32, I64],
        };
        let (mut fired, mut compared) = exhaust(number, rule, &mut random);
        for &ty in widths {
            let mut left = 40;
            for _ in 0..2000 {
                let mut instance = Instance::new();
                let mut choice = Choice { random: &mut random, fixed: None, narrow: false };
                let Some((folded, _)) = instance.build(&rule.pattern, ty, &mut choice) else { continue };
                if instance.folder.firings[number] == 0 {
                    continue;
                }
                fired += 1;
                let wide =
                    instance.vars.iter().flatten().map(|v| instance.func.type_of(*v).bits()).sum::<u32>();
                // Sixteen bits are tried whole, which is dear: three times are enough here.
                if wide > 16 || wide <= 8 || left > 37 {
                    compared += compare(&instance, folded, rule, &mut random, 100);
                }
                left -= 1;
                if left == 0 {
                    break;
                }
            }
        }
        assert!(fired > 0, "{} never fired", rule.name);
        assert!(compared > 100, "{}: only {compared} values compared", rule.name);
    }
}

#[test]
fn names_are_unique() {
    let mut names: Vec<&str> = RULES.iter().map(|r| r.name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|w| w[0] != w[1]));
}
