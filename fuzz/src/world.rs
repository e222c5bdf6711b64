//! Sphex under observation.

use sphex::{
    Caller, Config, Engine, Error, ErrorKind, Extern, ExternRef, ExternType, Func, Global, Instance, Memory,
    Module, Store, Table, Trap, Val, ValType,
};

use crate::observe::{Count, Stop, Trace, Type, Value, World, digest, trap, values};
use crate::random::Random;

/// The ways in which a module is compiled: their names and settings.
pub fn configurations() -> Vec<(&'static str, Config)> {
    let of = |optimize, inlining, reservation: bool| {
        let mut config = Config::new();
        config.compile.optimize = optimize;
        config.compile.inlining = inlining;
        if !reservation {
            config.compile.memory_reservation = 0;
        }
        config
    };
    let mut base = of(true, true, true);
    base.compile.target = Some("x86_64-linux".to_string());
    vec![
        ("optimized", of(true, true, true)),
        ("optimized, moving memories", of(true, true, false)),
        ("plain", of(false, false, true)),
        ("plain, moving memories", of(false, false, false)),
        ("optimized, baseline CPU", base),
    ]
}

/// Makes a world of Sphex: compiles, and instantiates with imports of the host's.
pub fn make(engine: &Engine, wasm: &[u8]) -> Result<Sphex, Stop> {
    let module = Module::new(engine, wasm).map_err(|error| Stop::Refused(format!("{error:#}")))?;
    let mut store = Store::new(engine, Trace::default());
    let imports = imports(&mut store, &module).map_err(|error| Stop::Refused(format!("{error:#}")))?;
    let instance = Instance::new(&mut store, &module, &imports).map_err(stop)?;
    Ok(Sphex { store, instance })
}

/// What a module imports, made by the host.
pub fn imports(store: &mut Store<Trace>, module: &Module) -> sphex::Result<Vec<Extern>> {
    let types: Vec<ExternType> = module.imports().map(|import| import.ty).collect();
    let mut count = Count::default();
    let mut number = |ty: &ExternType| count.next(matches!(ty, ExternType::Func(_)));
    types.iter().map(|ty| import(store, number(ty), ty)).collect()
}

/// An instance of Sphex.
pub struct Sphex {
    store: Store<Trace>,
    instance: Instance,
}

fn import(store: &mut Store<Trace>, number: usize, ty: &ExternType) -> sphex::Result<Extern> {
    Ok(match ty {
        ExternType::Func(ty) => {
            let results: Vec<Type> = ty.results.iter().map(|ty| type_of(*ty)).collect();
            let host = move |mut caller: Caller<'_, Trace>, params: &[Val], out: &mut [Val]| {
                let arguments: Vec<Value> = params.iter().map(value_of).collect();
                let answer = caller.data_mut().call(number, &arguments, &results);
                let answer = answer.ok_or_else(|| Error::msg("the host refuses"))?;
                for (out, value) in out.iter_mut().zip(answer) {
                    *out = val_of(value);
                }
                Ok(())
            };
            Func::new(&mut *store, ty.clone(), host)?.into()
        }
        ExternType::Memory(ty) => Memory::new(&mut *store, *ty)?.into(),
        ExternType::Table(ty) => Table::new(&mut *store, *ty, Val::null(ty.element))?.into(),
        ExternType::Global(ty) => {
            let value = values(&mut Random::new(0), &[type_of(ty.value)])[0];
            Global::new(&mut *store, *ty, val_of(value))?.into()
        }
    })
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

fn value_of(val: &Val) -> Value {
    match val {
        Val::I32(x) => Value::I32(*x as u32),
        Val::I64(x) => Value::I64(*x as u64),
        Val::F32(x) => Value::F32(*x),
        Val::F64(x) => Value::F64(*x),
        Val::FuncRef(x) => Value::Func(x.is_some()),
        Val::ExternRef(x) => Value::Extern(x.as_ref().and_then(|x| x.downcast_ref().copied())),
        Val::V128(_) => unreachable!("modules have no vectors"),
    }
}

fn val_of(value: Value) -> Val {
    match value {
        Value::I32(x) => Val::I32(x as i32),
        Value::I64(x) => Val::I64(x as i64),
        Value::F32(x) => Val::F32(x),
        Value::F64(x) => Val::F64(x),
        Value::Func(_) => Val::FuncRef(None),
        Value::Extern(x) => Val::ExternRef(x.map(ExternRef::new)),
    }
}

fn stop(error: Error) -> Stop {
    if error.kind() == ErrorKind::Host {
        return Stop::Host;
    }
    Stop::Trap(match error.trap() {
        Some(Trap::Unreachable) => trap::UNREACHABLE,
        Some(Trap::MemoryOutOfBounds) => trap::MEMORY,
        Some(Trap::TableOutOfBounds | Trap::UndefinedElement) => trap::TABLE,
        Some(Trap::IndirectCallToNull) => trap::NULL,
        Some(Trap::BadSignature) => trap::SIGNATURE,
        Some(Trap::IntegerDivisionByZero) => trap::DIVISION,
        Some(Trap::IntegerOverflow) => trap::OVERFLOW,
        Some(Trap::BadConversionToInteger) => trap::CONVERSION,
        Some(Trap::StackOverflow) => return Stop::Stack,
        _ => return Stop::Refused(format!("{error:#}")),
    })
}

impl World for Sphex {
    fn functions(&mut self) -> Vec<(String, Vec<Type>)> {
        let exports = self.instance.exports(&mut self.store).expect("an instance of this store");
        let function = |(name, export): (String, Extern)| {
            let ty = export.into_func()?.ty(&self.store).expect("a function of this store");
            Some((name, ty.params.iter().map(|ty| type_of(*ty)).collect()))
        };
        exports.into_iter().filter_map(function).collect()
    }

    fn call(&mut self, name: &str, arguments: &[Value]) -> Result<Vec<Value>, Stop> {
        let func = self.instance.get_func(&mut self.store, name).map_err(stop)?;
        let arguments: Vec<Val> = arguments.iter().map(|value| val_of(*value)).collect();
        let results = func.call_values(&mut self.store, &arguments).map_err(stop)?;
        Ok(results.iter().map(value_of).collect())
    }

    fn state(&mut self) -> Vec<String> {
        let exports = self.instance.exports(&mut self.store).expect("an instance of this store");
        let store = &mut self.store;
        let line = |(name, export): (String, Extern)| match export {
            Extern::Func(_) => None,
            Extern::Global(global) => Some(format!("{name}: {:?}", value_of(&global.get(&mut *store).ok()?))),
            Extern::Memory(memory) => {
                let bytes = memory.data(&*store).ok()?;
                Some(format!("{name}: {} bytes, {:#x}", bytes.len(), digest(bytes)))
            }
            Extern::Table(table) => {
                let len = table.size(&*store).ok()?;
                let elements = (0..len).filter_map(|k| table.get(&mut *store, k).ok());
                Some(format!("{name}: {:?}", elements.map(|e| value_of(&e)).collect::<Vec<_>>()))
            }
        };
        exports.into_iter().filter_map(line).collect()
    }

    fn trace(&mut self) -> Vec<String> {
        std::mem::take(&mut self.store.data_mut().lines)
    }
}
