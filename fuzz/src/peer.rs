//! The second engine under observation: wasmi, an interpreter with which Sphex shares the parser only.

use wasm_encoder::reencode::{self, Reencode};
use wasmi::{
    Caller, Config, Engine, Error, Extern, ExternRef, ExternType, Func, Global, Instance, Memory, Module,
    Mutability, Nullable, Ref, RefType, Store, Table, TrapCode, Val, ValType,
};
use wasmparser::Operator;

use crate::observe::{Count, Stop, Trace, Type, Value, World, digest, trap, values};
use crate::random::Random;

/// The engine, with the proposals that Sphex has.
pub fn engine() -> Engine {
    let mut config = Config::default();
    config
        .wasm_multi_memory(true)
        .wasm_tail_call(true)
        .wasm_extended_const(true)
        .set_max_recursion_depth(20_000)
        .set_max_stack_height(64 << 20);
    Engine::new(&config)
}

/// An instance of wasmi.
pub struct Wasmi {
    store: Store<Trace>,
    instance: Instance,
}

/// Makes a world of wasmi.
pub fn make(engine: &Engine, wasm: &[u8]) -> Result<Wasmi, Stop> {
    let wasm = &without_fused_selects(wasm)?;
    let module = Module::new(engine, wasm).map_err(|error| Stop::Refused(error.to_string()))?;
    let mut store = Store::new(engine, Trace::default());
    let types: Vec<ExternType> = module.imports().map(|import| import.ty().clone()).collect();
    let mut count = Count::default();
    let imports: Vec<Extern> = types
        .iter()
        .map(|ty| import(&mut store, count.next(matches!(ty, ExternType::Func(_))), ty))
        .collect();
    let instance = Instance::new(&mut store, &module, &imports).map_err(stop)?;
    Ok(Wasmi { store, instance })
}

/// The module with each condition `c` of a `select` as `clz(c) < 32`, which means the same. wasmi 2.0.0
/// takes the wrong operand where the condition is `i32.eqz` of a local (`(select (i32.const 5) (local.get 0) (i32.eqz
/// (local.get 0)))` of 7 gives 5), because it fuses the comparison and the choice.
fn without_fused_selects(wasm: &[u8]) -> Result<Vec<u8>, Stop> {
    struct Apart;
    impl Reencode for Apart {
        type Error = std::convert::Infallible;

        fn parse_function_body(
            &mut self,
            code: &mut wasm_encoder::CodeSection,
            body: wasmparser::FunctionBody<'_>,
        ) -> Result<(), reencode::Error<Self::Error>> {
            let mut function = self.new_function_with_parsed_locals(&body)?;
            let mut operators = body.get_operators_reader()?;
            while !operators.eof() {
                let operator = operators.read()?;
                if let Operator::Select | Operator::TypedSelect { .. } = operator {
                    function.instructions().i32_clz().i32_const(32).i32_lt_u();
                }
                function.instruction(&self.instruction(operator)?);
            }
            code.function(&function);
            Ok(())
        }
    }
    let mut module = wasm_encoder::Module::new();
    let done = Apart.parse_core_module(&mut module, wasmparser::Parser::new(0), wasm);
    done.map_err(|error| Stop::Refused(error.to_string()))?;
    Ok(module.finish())
}

fn import(store: &mut Store<Trace>, number: usize, ty: &ExternType) -> Extern {
    match ty {
        ExternType::Func(ty) => {
            let results: Vec<Type> = ty.results().iter().map(|ty| type_of(*ty)).collect();
            let host = move |mut caller: Caller<'_, Trace>, params: &[Val], out: &mut [Val]| {
                let arguments: Vec<Value> = params.iter().map(|val| value_of(&caller, val)).collect();
                let answer = caller.data_mut().call(number, &arguments, &results);
                let answer = answer.ok_or_else(|| Error::new("the host refuses"))?;
                for (out, value) in out.iter_mut().zip(answer) {
                    *out = val_of(&mut caller, value);
                }
                Ok(())
            };
            Func::new(store, ty.clone(), host).into()
        }
        ExternType::Memory(ty) => Memory::new(store, *ty).expect("a small memory").into(),
        ExternType::Table(ty) => {
            Table::new(store, *ty, Ref::null(ty.element())).expect("a small table").into()
        }
        ExternType::Global(ty) => {
            let value = values(&mut Random::new(0), &[type_of(ty.content())])[0];
            let value = val_of(&mut *store, value);
            let mutability = if ty.mutability().is_mut() { Mutability::Var } else { Mutability::Const };
            Global::new(store, value, mutability).into()
        }
    }
}

fn type_of(ty: ValType) -> Type {
    match ty {
        ValType::I32 => Type::I32,
        ValType::I64 => Type::I64,
        ValType::F32 => Type::F32,
        ValType::F64 => Type::F64,
        ValType::FuncRef => Type::Func,
        ValType::ExternRef => Type::Extern,
        ValType::V128 => unreachable!("modules have no vectors"),
    }
}

fn value_of(store: impl wasmi::AsContext, val: &Val) -> Value {
    match val {
        Val::I32(x) => Value::I32(*x as u32),
        Val::I64(x) => Value::I64(*x as u64),
        Val::F32(x) => Value::F32(x.to_bits()),
        Val::F64(x) => Value::F64(x.to_bits()),
        Val::FuncRef(x) => Value::Func(!x.is_null()),
        Val::ExternRef(x) => Value::Extern(number(store, x)),
        Val::V128(_) => unreachable!("modules have no vectors"),
    }
}

fn number(store: impl wasmi::AsContext, value: &Nullable<ExternRef>) -> Option<u32> {
    value.val().and_then(|value| value.data(store.as_context()).downcast_ref().copied())
}

fn val_of(store: impl wasmi::AsContextMut, value: Value) -> Val {
    match value {
        Value::I32(x) => Val::I32(x as i32),
        Value::I64(x) => Val::I64(x as i64),
        Value::F32(x) => Val::F32(wasmi::F32::from_bits(x)),
        Value::F64(x) => Val::F64(wasmi::F64::from_bits(x)),
        Value::Func(_) => Val::FuncRef(Nullable::Null),
        Value::Extern(None) => Val::ExternRef(Nullable::Null),
        Value::Extern(Some(x)) => Val::ExternRef(Nullable::Val(ExternRef::new(store, x))),
    }
}

fn stop(error: Error) -> Stop {
    let Some(code) = error.as_trap_code() else {
        let text = error.to_string();
        return match text {
            text if text.contains("the host refuses") => Stop::Host,
            text if text.contains("out of bounds table access") => Stop::Trap(trap::TABLE),
            text if text.contains("out of bounds memory access") => Stop::Trap(trap::MEMORY),
            text => Stop::Refused(text),
        };
    };
    Stop::Trap(match code {
        TrapCode::UnreachableCodeReached => trap::UNREACHABLE,
        TrapCode::MemoryOutOfBounds => trap::MEMORY,
        TrapCode::TableOutOfBounds => trap::TABLE,
        TrapCode::IndirectCallToNull => trap::NULL,
        TrapCode::BadSignature => trap::SIGNATURE,
        TrapCode::IntegerDivisionByZero => trap::DIVISION,
        TrapCode::IntegerOverflow => trap::OVERFLOW,
        TrapCode::BadConversionToInteger => trap::CONVERSION,
        TrapCode::StackOverflow => return Stop::Stack,
        _ => return Stop::Refused(error.to_string()),
    })
}

impl World for Wasmi {
    fn functions(&mut self) -> Vec<(String, Vec<Type>)> {
        let mut found = Vec::new();
        for export in self.instance.exports(&self.store) {
            if let ExternType::Func(ty) = export.ty(&self.store) {
                let params = ty.params().iter().map(|ty| type_of(*ty)).collect();
                found.push((export.name().to_string(), params));
            }
        }
        found
    }

    fn call(&mut self, name: &str, arguments: &[Value]) -> Result<Vec<Value>, Stop> {
        let func = self.instance.get_func(&self.store, name).expect("an export");
        let arguments: Vec<Val> = arguments.iter().map(|value| val_of(&mut self.store, *value)).collect();
        let ty = func.ty(&self.store);
        let mut results: Vec<Val> = ty.results().iter().map(|ty| Val::default_for_ty(*ty)).collect();
        func.call(&mut self.store, &arguments, &mut results).map_err(stop)?;
        Ok(results.iter().map(|val| value_of(&self.store, val)).collect())
    }

    fn state(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for export in self.instance.exports(&self.store) {
            let name = export.name().to_string();
            lines.push(match export.into_extern() {
                Extern::Func(_) => continue,
                Extern::Global(global) => {
                    format!("{name}: {:?}", value_of(&self.store, &global.get(&self.store)))
                }
                Extern::Memory(memory) => {
                    let bytes = memory.data(&self.store);
                    format!("{name}: {} bytes, {:#x}", bytes.len(), digest(bytes))
                }
                Extern::Table(table) => format!("{name}: {:?}", self.elements(table)),
            });
        }
        lines
    }

    fn trace(&mut self) -> Vec<String> {
        std::mem::take(&mut self.store.data_mut().lines)
    }
}

impl Wasmi {
    fn elements(&self, table: Table) -> Vec<Value> {
        let element = table.ty(&self.store).element();
        let get = |k| match table.get(&self.store, k) {
            Some(Ref::Func(func)) => Value::Func(!func.is_null()),
            Some(Ref::Extern(value)) => Value::Extern(number(&self.store, &value)),
            None if element == RefType::Func => Value::Func(false),
            None => Value::Extern(None),
        };
        (0..table.size(&self.store)).map(get).collect()
    }
}
