//! Random modules that get somewhere: programs of counted loops, branches, locals carried round, memory accesses that are
//! mostly inside, calls of each kind and host calls. wasm-smith makes every form; these make long ways through few of them.
//!
//! A program ends: loops count to at most eight, functions call only those behind them, and a global counts both.

use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, ElementSection, Elements, EntityType, ExportKind, ExportSection,
    Function, FunctionSection, GlobalSection, GlobalType, ImportSection, InstructionSink, MemArg,
    MemArgTarget, MemorySection, MemoryType, Module, RefType, TableSection, TableType, TypeSection, ValType,
};

use crate::random::Choices;

use ValType::{F32, F64, I32, I64};

const TYPES: [ValType; 4] = [I32, I64, F32, F64];
/// Globals, one mutable of each type, twice.
const GLOBALS: u32 = 8;
/// Calls and rounds of loops; the global behind the others counts them down, and at zero the program traps.
const FUEL: i32 = 4_000;
/// Functions of wasm.
const FUNCTIONS: usize = 5;
/// Imported functions.
const IMPORTS: usize = 2;

#[derive(Clone)]
struct Signature {
    params: Vec<ValType>,
    results: Vec<ValType>,
}

/// A module from bytes.
pub fn program(bytes: &[u8]) -> Vec<u8> {
    let mut choices = Choices::new(bytes);
    let signatures: Vec<Signature> = (0..IMPORTS + FUNCTIONS).map(|_| signature(&mut choices)).collect();
    let mut types = TypeSection::new();
    for signature in &signatures {
        types.ty().function(signature.params.iter().copied(), signature.results.iter().copied());
    }
    let mut imports = ImportSection::new();
    for k in 0..IMPORTS {
        imports.import("host", &format!("f{k}"), EntityType::Function(k as u32));
    }
    let mut functions = FunctionSection::new();
    let mut exports = ExportSection::new();
    for k in IMPORTS..IMPORTS + FUNCTIONS {
        functions.function(k as u32);
        exports.export(&format!("f{k}"), ExportKind::Func, k as u32);
    }
    let memory =
        MemoryType { minimum: 1, maximum: Some(2), memory64: false, shared: false, page_size_log2: None };
    let mut memories = MemorySection::new();
    memories.memory(memory);
    exports.export("memory", ExportKind::Memory, 0);
    let mut globals = GlobalSection::new();
    for k in 0..GLOBALS {
        let val_type = TYPES[k as usize % 4];
        let init = match val_type {
            I32 => ConstExpr::i32_const(k as i32),
            I64 => ConstExpr::i64_const(i64::from(k)),
            F32 => ConstExpr::f32_const((k as f32).into()),
            _ => ConstExpr::f64_const(f64::from(k).into()),
        };
        globals.global(GlobalType { val_type, mutable: true, shared: false }, &init);
        exports.export(&format!("g{k}"), ExportKind::Global, k);
    }
    let fuel = GlobalType { val_type: I32, mutable: true, shared: false };
    globals.global(fuel, &ConstExpr::i32_const(FUEL));
    exports.export("fuel", ExportKind::Global, GLOBALS);
    let count = (IMPORTS + FUNCTIONS) as u64;
    let mut tables = TableSection::new();
    let table = TableType {
        element_type: RefType::FUNCREF,
        table64: false,
        minimum: count + 2,
        maximum: None,
        shared: false,
    };
    tables.table(table);
    let mut elements = ElementSection::new();
    let all: Vec<u32> = (0..count as u32).collect();
    elements.active(None, &ConstExpr::i32_const(0), Elements::Functions(all.into()));
    let mut code = CodeSection::new();
    for k in IMPORTS..IMPORTS + FUNCTIONS {
        code.function(&body(&mut choices, &signatures, k));
    }
    let mut module = Module::new();
    module.section(&types).section(&imports).section(&functions).section(&tables).section(&memories);
    module.section(&globals).section(&exports).section(&elements).section(&code);
    module.finish()
}

fn signature(choices: &mut Choices<'_>) -> Signature {
    let mut list = |n| (0..choices.below(n)).map(|_| choices.pick(&TYPES)).collect::<Vec<_>>();
    Signature { params: list(10), results: list(4) }
}

struct Body<'c, 'b> {
    choices: &'c mut Choices<'b>,
    signatures: &'c [Signature],
    index: usize,
    locals: Vec<ValType>,
    /// Locals from here on count loops; no statement writes them.
    counters: u32,
    free_counters: Vec<u32>,
    code: Vec<u8>,
    /// Depth of labels around; all take nothing and give nothing. True: a loop.
    labels: Vec<bool>,
    budget: usize,
}

fn body(choices: &mut Choices<'_>, signatures: &[Signature], index: usize) -> Function {
    let mut locals = signatures[index].params.clone();
    let params = locals.len();
    for _ in 0..4 + choices.below(12) {
        locals.push(choices.pick(&TYPES));
    }
    let counters = locals.len() as u32;
    locals.extend([I32; 4]);
    let mut body = Body {
        choices,
        signatures,
        index,
        counters,
        free_counters: (counters..counters + 4).collect(),
        locals,
        code: Vec::new(),
        labels: Vec::new(),
        budget: 60,
    };
    body.spend();
    body.statements(4);
    for ty in signatures[index].results.clone() {
        body.expression(ty, 3);
    }
    body.emit().end();
    let mut function = Function::new_with_locals_types(body.locals[params..].iter().copied());
    function.raw(body.code);
    function
}

impl Body<'_, '_> {
    fn emit(&mut self) -> InstructionSink<'_> {
        InstructionSink::new(&mut self.code)
    }

    /// Takes one from the fuel.
    fn spend(&mut self) {
        self.emit().global_get(GLOBALS).i32_eqz().if_(BlockType::Empty).unreachable().end();
        self.emit().global_get(GLOBALS).i32_const(1).i32_sub().global_set(GLOBALS);
    }

    fn local(&mut self, ty: ValType, readable: bool) -> Option<u32> {
        // What stands behind the counters holds NaNs of every kind.
        let end = if readable { self.counters + 4 } else { self.counters };
        let fitting: Vec<u32> = (0..end).filter(|k| self.locals[*k as usize] == ty).collect();
        (!fitting.is_empty()).then(|| self.choices.pick(&fitting))
    }

    fn statements(&mut self, depth: usize) {
        for _ in 0..1 + self.choices.below(6) {
            if self.budget == 0 {
                return;
            }
            self.budget -= 1;
            match self.choices.below(13) {
                0..=3 => self.assign(),
                4 => self.store(),
                5 => {
                    let k = self.choices.below(GLOBALS as usize) as u32;
                    self.expression(TYPES[k as usize % 4], 3);
                    self.emit().global_set(k);
                }
                6 | 7 if depth > 0 => self.branch(depth - 1),
                8 | 9 if depth > 0 => self.counted(depth - 1),
                10 if depth > 0 => self.switch(depth - 1),
                11 => self.leave(),
                _ => self.call(),
            }
        }
    }

    fn assign(&mut self) {
        let ty = self.choices.pick(&TYPES);
        if let Some(local) = self.local(ty, false) {
            self.expression(ty, 4);
            self.emit().local_set(local);
        }
    }

    fn branch(&mut self, depth: usize) {
        self.condition();
        self.emit().if_(BlockType::Empty);
        self.labels.push(false);
        self.statements(depth);
        if self.choices.below(2) == 0 {
            self.emit().else_();
            self.statements(depth);
        }
        self.labels.pop();
        self.emit().end();
    }

    fn condition(&mut self) {
        match self.choices.below(3) {
            0 => self.expression(I32, 3),
            _ => {
                let ty = self.choices.pick(&TYPES);
                self.compare(ty, 2);
            }
        }
    }

    fn counted(&mut self, depth: usize) {
        let Some(counter) = self.free_counters.pop() else { return };
        let count = 1 + self.choices.below(8) as i32;
        self.emit().i32_const(0).local_set(counter).loop_(BlockType::Empty);
        self.spend();
        self.labels.push(true);
        self.statements(depth);
        self.labels.pop();
        self.emit().local_get(counter).i32_const(1).i32_add().local_tee(counter);
        self.emit().i32_const(count).i32_lt_u().br_if(0).end();
        self.free_counters.push(counter);
    }

    fn switch(&mut self, depth: usize) {
        let arms = 1 + self.choices.below(4) as u32;
        for _ in 0..=arms {
            self.emit().block(BlockType::Empty);
            self.labels.push(false);
        }
        self.expression(I32, 3);
        let targets: Vec<u32> =
            (0..self.choices.below(7)).map(|_| self.choices.below(arms as usize + 1) as u32).collect();
        self.emit().br_table(targets, arms);
        for _ in 0..=arms {
            self.labels.pop();
            self.emit().end();
            self.statements(depth);
        }
    }

    /// A branch out of a block, sometimes a return.
    fn leave(&mut self) {
        let forward: Vec<u32> =
            self.labels.iter().rev().zip(0..).filter(|(l, _)| !**l).map(|(_, k)| k).collect();
        if !forward.is_empty() {
            self.condition();
            let label = self.choices.pick(&forward);
            self.emit().br_if(label);
        } else if self.choices.below(3) == 0 {
            self.condition();
            self.emit().if_(BlockType::Empty);
            for ty in self.signatures[self.index].results.clone() {
                self.expression(ty, 2);
            }
            self.emit().return_().end();
        }
    }

    fn call(&mut self) {
        let later = self.signatures.len() - self.index - 1;
        let k = self.choices.below(IMPORTS + later);
        let callee = if k < IMPORTS { k } else { self.index + 1 + k - IMPORTS };
        let signature = self.signatures[callee].clone();
        for ty in &signature.params {
            self.expression(*ty, 2);
        }
        match self.choices.below(8) {
            0 | 1 => {
                self.emit().i32_const(callee as i32);
                self.emit().call_indirect(0, callee as u32);
            }
            2 if self.choices.below(4) == 0 => {
                // Of another type, or of none: a trap.
                let wrong = self.choices.below(12) as i32;
                let wrong =
                    if (wrong as usize) > self.index || (wrong as usize) < IMPORTS { wrong } else { 100 };
                self.emit().i32_const(wrong);
                self.emit().call_indirect(0, callee as u32);
            }
            _ => {
                self.emit().call(callee as u32);
            }
        }
        for ty in signature.results.iter().rev() {
            match self.local(*ty, false) {
                Some(local) => self.emit().local_set(local),
                None => self.emit().drop(),
            };
        }
    }

    /// Pushes an address, mostly inside, and gives the rest of the access.
    fn address(&mut self, align: u32) -> MemArg {
        self.expression(I32, 2);
        let offset = match self.choices.below(6) {
            0 => 0,
            1 => self.choices.below(16) as u64,
            2 => 65528,
            3 => u64::from(self.choices.word() as u16),
            _ => 64,
        };
        match self.choices.below(24) {
            0 => {}
            1 => drop(self.emit().i32_const(0x1_ffff).i32_and()),
            _ if offset > 32768 => drop(self.emit().i32_const(3).i32_and()),
            _ => drop(self.emit().i32_const(0x3c).i32_and()),
        }
        MemArg {
            offset,
            align: self.choices.below(align as usize + 1) as u32,
            target: MemArgTarget::Memory(0),
            ordering: None,
        }
    }

    fn store(&mut self) {
        let which = self.choices.below(9);
        let align = [2, 3, 2, 3, 0, 1, 0, 1, 2][which];
        let arg = self.address(align);
        let ty = [I32, I64, F32, F64, I32, I32, I64, I64, I64][which];
        self.expression(ty, 3);
        let mut e = self.emit();
        match which {
            0 => e.i32_store(arg),
            1 => e.i64_store(arg),
            2 => e.f32_store(arg),
            3 => e.f64_store(arg),
            4 => e.i32_store8(arg),
            5 => e.i32_store16(arg),
            6 => e.i64_store8(arg),
            7 => e.i64_store16(arg),
            _ => e.i64_store32(arg),
        };
    }

    fn load(&mut self, ty: ValType) {
        let which = self.choices.below(if ty == I64 { 7 } else { 5 });
        let align = match (ty, which) {
            (F32, _) | (I32, 0) => 2,
            (F64, _) | (I64, 0) => 3,
            (_, 1 | 2) => 0,
            (_, 3 | 4) => 1,
            _ => 2,
        };
        let arg = self.address(align);
        let mut e = self.emit();
        match (ty, which) {
            (F32, _) => e.f32_load(arg),
            (F64, _) => e.f64_load(arg),
            (I32, 0) => e.i32_load(arg),
            (I32, 1) => e.i32_load8_s(arg),
            (I32, 2) => e.i32_load8_u(arg),
            (I32, 3) => e.i32_load16_s(arg),
            (I32, _) => e.i32_load16_u(arg),
            (_, 0) => e.i64_load(arg),
            (_, 1) => e.i64_load8_s(arg),
            (_, 2) => e.i64_load8_u(arg),
            (_, 3) => e.i64_load16_s(arg),
            (_, 4) => e.i64_load16_u(arg),
            (_, 5) => e.i64_load32_s(arg),
            _ => e.i64_load32_u(arg),
        };
    }

    fn constant(&mut self, ty: ValType) {
        match ty {
            I32 => {
                let value = self.choices.word() as i32;
                self.emit().i32_const(value);
            }
            I64 => {
                let value = self.choices.word() as i64;
                self.emit().i64_const(value);
            }
            F32 => {
                let value = f32::from_bits(self.choices.f32());
                self.emit().f32_const(if value.is_nan() { 1.5f32 } else { value }.into());
            }
            _ => {
                let value = f64::from_bits(self.choices.f64());
                self.emit().f64_const(if value.is_nan() { -2.5f64 } else { value }.into());
            }
        }
    }

    /// Pushes a value. Floats that reach it are never NaN: what makes one is followed by a choice.
    fn expression(&mut self, ty: ValType, depth: usize) {
        if depth == 0 || self.choices.below(5) == 0 {
            return match self.local(ty, true) {
                Some(local) if self.choices.below(4) != 0 => drop(self.emit().local_get(local)),
                _ => self.constant(ty),
            };
        }
        match self.choices.below(12) {
            0 => self.load(ty),
            1 => {
                let k = TYPES.iter().position(|t| *t == ty).unwrap_or(0) + 4 * self.choices.below(2);
                self.emit().global_get(k as u32);
            }
            2 => {
                self.expression(ty, depth - 1);
                self.expression(ty, depth - 1);
                self.condition_of(depth - 1);
                self.emit().select();
            }
            3 => {
                self.condition_of(depth - 1);
                self.emit().if_(BlockType::Result(ty));
                self.expression(ty, depth - 1);
                self.emit().else_();
                self.expression(ty, depth - 1);
                self.emit().end();
            }
            4 => self.convert(ty, depth - 1),
            5 if ty == I32 => {
                let of = self.choices.pick(&TYPES);
                self.compare(of, depth - 1);
            }
            6 => match self.local(ty, false) {
                Some(local) => {
                    self.expression(ty, depth - 1);
                    self.emit().local_tee(local);
                }
                None => self.constant(ty),
            },
            _ if matches!(ty, F32 | F64) => self.float(ty, depth - 1),
            _ => self.integer(ty, depth - 1),
        }
    }

    fn condition_of(&mut self, depth: usize) {
        let ty = self.choices.pick(&TYPES);
        if self.choices.below(3) == 0 { self.expression(I32, depth) } else { self.compare(ty, depth) }
    }

    fn compare(&mut self, ty: ValType, depth: usize) {
        let depth = depth.saturating_sub(1);
        self.expression(ty, depth);
        if matches!(ty, I32 | I64) && self.choices.below(6) == 0 {
            match ty {
                I32 => self.emit().i32_eqz(),
                _ => self.emit().i64_eqz(),
            };
            return;
        }
        self.expression(ty, depth);
        let which = self.choices.below(if matches!(ty, I32 | I64) { 10 } else { 6 });
        let mut e = self.emit();
        match (ty, which) {
            (I32, 0) => e.i32_eq(),
            (I32, 1) => e.i32_ne(),
            (I32, 2) => e.i32_lt_s(),
            (I32, 3) => e.i32_lt_u(),
            (I32, 4) => e.i32_gt_s(),
            (I32, 5) => e.i32_gt_u(),
            (I32, 6) => e.i32_le_s(),
            (I32, 7) => e.i32_le_u(),
            (I32, 8) => e.i32_ge_s(),
            (I32, _) => e.i32_ge_u(),
            (I64, 0) => e.i64_eq(),
            (I64, 1) => e.i64_ne(),
            (I64, 2) => e.i64_lt_s(),
            (I64, 3) => e.i64_lt_u(),
            (I64, 4) => e.i64_gt_s(),
            (I64, 5) => e.i64_gt_u(),
            (I64, 6) => e.i64_le_s(),
            (I64, 7) => e.i64_le_u(),
            (I64, 8) => e.i64_ge_s(),
            (I64, _) => e.i64_ge_u(),
            (F32, 0) => e.f32_eq(),
            (F32, 1) => e.f32_ne(),
            (F32, 2) => e.f32_lt(),
            (F32, 3) => e.f32_gt(),
            (F32, 4) => e.f32_le(),
            (F32, _) => e.f32_ge(),
            (_, 0) => e.f64_eq(),
            (_, 1) => e.f64_ne(),
            (_, 2) => e.f64_lt(),
            (_, 3) => e.f64_gt(),
            (_, 4) => e.f64_le(),
            _ => e.f64_ge(),
        };
    }

    fn integer(&mut self, ty: ValType, depth: usize) {
        self.expression(ty, depth);
        let which = self.choices.below(26);
        if which >= 19 {
            let mut e = self.emit();
            match (ty, which) {
                (I32, 19) => e.i32_clz(),
                (I32, 20) => e.i32_ctz(),
                (I32, 21) => e.i32_popcnt(),
                (I32, 22) => e.i32_extend8_s(),
                (I32, _) => e.i32_extend16_s(),
                (_, 19) => e.i64_clz(),
                (_, 20) => e.i64_ctz(),
                (_, 21) => e.i64_popcnt(),
                (_, 22) => e.i64_extend8_s(),
                (_, 23) => e.i64_extend16_s(),
                _ => e.i64_extend32_s(),
            };
            return;
        }
        if self.choices.below(3) == 0 {
            self.constant(ty)
        } else {
            self.expression(ty, depth)
        }
        let divides = (3..7).contains(&which);
        let safe = divides && self.choices.below(8) != 0;
        let mut e = self.emit();
        match (ty, safe) {
            (I32, true) => drop(e.i32_const(1).i32_or()),
            (_, true) => drop(e.i64_const(1).i64_or()),
            _ => {}
        }
        match (ty, which) {
            (I32, 0) => e.i32_add(),
            (I32, 1) => e.i32_sub(),
            (I32, 2) => e.i32_mul(),
            (I32, 3) => e.i32_div_s(),
            (I32, 4) => e.i32_div_u(),
            (I32, 5) => e.i32_rem_s(),
            (I32, 6) => e.i32_rem_u(),
            (I32, 7) => e.i32_and(),
            (I32, 8) => e.i32_or(),
            (I32, 9) => e.i32_xor(),
            (I32, 10) => e.i32_shl(),
            (I32, 11) => e.i32_shr_s(),
            (I32, 12) => e.i32_shr_u(),
            (I32, 13) => e.i32_rotl(),
            (I32, 14) => e.i32_rotr(),
            (I32, 15 | 16) => e.i32_add(),
            (I32, 17) => e.i32_sub(),
            (I32, _) => e.i32_and(),
            (_, 0) => e.i64_add(),
            (_, 1) => e.i64_sub(),
            (_, 2) => e.i64_mul(),
            (_, 3) => e.i64_div_s(),
            (_, 4) => e.i64_div_u(),
            (_, 5) => e.i64_rem_s(),
            (_, 6) => e.i64_rem_u(),
            (_, 7) => e.i64_and(),
            (_, 8) => e.i64_or(),
            (_, 9) => e.i64_xor(),
            (_, 10) => e.i64_shl(),
            (_, 11) => e.i64_shr_s(),
            (_, 12) => e.i64_shr_u(),
            (_, 13) => e.i64_rotl(),
            (_, 14) => e.i64_rotr(),
            (_, 15 | 16) => e.i64_add(),
            (_, 17) => e.i64_sub(),
            _ => e.i64_and(),
        };
    }

    fn float(&mut self, ty: ValType, depth: usize) {
        self.expression(ty, depth);
        let which = self.choices.below(14);
        if which < 7 {
            let mut e = self.emit();
            match (ty, which) {
                (F32, 0) => e.f32_abs(),
                (F32, 1) => e.f32_neg(),
                (F32, 2) => e.f32_ceil(),
                (F32, 3) => e.f32_floor(),
                (F32, 4) => e.f32_trunc(),
                (F32, 5) => e.f32_nearest(),
                (F32, _) => e.f32_abs().f32_sqrt(),
                (_, 0) => e.f64_abs(),
                (_, 1) => e.f64_neg(),
                (_, 2) => e.f64_ceil(),
                (_, 3) => e.f64_floor(),
                (_, 4) => e.f64_trunc(),
                (_, 5) => e.f64_nearest(),
                _ => e.f64_abs().f64_sqrt(),
            };
        } else {
            self.expression(ty, depth);
            let mut e = self.emit();
            match (ty, which) {
                (F32, 7) => e.f32_add(),
                (F32, 8) => e.f32_sub(),
                (F32, 9) => e.f32_mul(),
                (F32, 10) => e.f32_div(),
                (F32, 11) => e.f32_min(),
                (F32, 12) => e.f32_max(),
                (F32, _) => e.f32_copysign(),
                (_, 7) => e.f64_add(),
                (_, 8) => e.f64_sub(),
                (_, 9) => e.f64_mul(),
                (_, 10) => e.f64_div(),
                (_, 11) => e.f64_min(),
                (_, 12) => e.f64_max(),
                _ => e.f64_copysign(),
            };
        }
        self.canonical(ty);
    }

    /// The value, or the one NaN there is: payloads and signs of NaNs are the engine's own affair.
    fn canonical(&mut self, ty: ValType) {
        // Function locals behind the counters, made when the function is finished.
        let scratch = match self.locals.iter().skip(self.counters as usize).position(|t| *t == ty) {
            Some(k) => self.counters + k as u32,
            None => {
                self.locals.push(ty);
                self.locals.len() as u32 - 1
            }
        };
        let mut e = self.emit();
        e.local_tee(scratch);
        match ty {
            F32 => {
                e.f32_const(f32::from_bits(0x7fc0_0000).into()).local_get(scratch).local_get(scratch).f32_eq()
            }
            _ => e
                .f64_const(f64::from_bits(0x7ff8_0000_0000_0000).into())
                .local_get(scratch)
                .local_get(scratch)
                .f64_eq(),
        };
        e.select();
    }

    fn convert(&mut self, ty: ValType, depth: usize) {
        let which = self.choices.below(6);
        let from = match (ty, which) {
            (I32, 0) => I64,
            (I32, 1) => F32,
            (I32, 2 | 3) => F32,
            (I32, _) => F64,
            (I64, 0 | 1) => I32,
            (I64, 2) => F64,
            (I64, 3) => F32,
            (I64, _) => F64,
            (F32, 0) => F64,
            (F32, 1..=3) => I32,
            (F32, _) => I64,
            (_, 0) => F32,
            (_, 1 | 2) => I32,
            _ => I64,
        };
        self.expression(from, depth);
        let mut e = self.emit();
        match (ty, which) {
            (I32, 0) => e.i32_wrap_i64(),
            (I32, 1) => e.i32_reinterpret_f32(),
            (I32, 2) => e.i32_trunc_sat_f32_s(),
            (I32, 3) => e.i32_trunc_sat_f32_u(),
            (I32, 4) => e.i32_trunc_sat_f64_s(),
            (I32, _) => e.i32_trunc_sat_f64_u(),
            (I64, 0) => e.i64_extend_i32_s(),
            (I64, 1) => e.i64_extend_i32_u(),
            (I64, 2) => e.i64_reinterpret_f64(),
            (I64, 3) => e.i64_trunc_sat_f32_u(),
            (I64, 4) => e.i64_trunc_sat_f64_s(),
            (I64, _) => e.i64_trunc_sat_f64_u(),
            (F32, 0) => e.f32_demote_f64(),
            (F32, 1) => e.f32_convert_i32_s(),
            (F32, 2) => e.f32_convert_i32_u(),
            (F32, 3) => e.f32_reinterpret_i32(),
            (F32, 4) => e.f32_convert_i64_s(),
            (F32, _) => e.f32_convert_i64_u(),
            (_, 0) => e.f64_promote_f32(),
            (_, 1) => e.f64_convert_i32_s(),
            (_, 2) => e.f64_convert_i32_u(),
            (_, 3) => e.f64_convert_i64_s(),
            (_, 4) => e.f64_convert_i64_u(),
            _ => e.f64_reinterpret_i64(),
        };
        if matches!(ty, F32 | F64) {
            self.canonical(ty);
        }
    }
}
