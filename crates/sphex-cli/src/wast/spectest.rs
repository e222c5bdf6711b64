//! The module `spectest`, which scripts import from.

use sphex::{
    FuncType, Global, GlobalType, Linker, Memory, MemoryType, RefType, Result, SharedMemory, Store, Table,
    TableType, Val, ValType,
};

/// Defines it.
pub fn define(linker: &mut Linker<()>, store: &mut Store<()>) -> Result<()> {
    use ValType::{F32, F64, I32, I64};
    let functions: [(&str, &[ValType]); 7] = [
        ("print", &[]),
        ("print_i32", &[I32]),
        ("print_i64", &[I64]),
        ("print_f32", &[F32]),
        ("print_f64", &[F64]),
        ("print_i32_f32", &[I32, F32]),
        ("print_f64_f64", &[F64, F64]),
    ];
    for (name, params) in functions {
        let ty = FuncType::new(params.iter().copied(), []);
        linker.func_new("spectest", name, ty, |_, _, _| Ok(()))?;
    }
    let globals = [
        ("global_i32", Val::I32(666)),
        ("global_i64", Val::I64(666)),
        ("global_f32", Val::F32(666.6f32.to_bits())),
        ("global_f64", Val::F64(666.6f64.to_bits())),
    ];
    for (name, value) in globals {
        let ty = GlobalType { value: value.ty(), mutable: false };
        let global = Global::new(&mut *store, ty, value)?;
        linker.define(&*store, "spectest", name, global)?;
    }
    for (name, table64) in [("table", false), ("table64", true)] {
        let ty = TableType { element: RefType::Func, minimum: 10, maximum: Some(20), table64 };
        // Where 64-bit tables are not supported, neither are the modules that import one.
        if let Ok(table) = Table::new(&mut *store, ty, Val::FuncRef(None)) {
            linker.define(&*store, "spectest", name, table)?;
        }
    }
    let ty = MemoryType { minimum: 1, maximum: Some(2), shared: false, memory64: false, page_size_log2: 16 };
    let memory = Memory::new(&mut *store, ty)?;
    linker.define(&*store, "spectest", "memory", memory)?;
    let shared = SharedMemory::new(store.engine(), MemoryType { shared: true, ..ty })?;
    linker.shared_memory("spectest", "shared_memory", &shared)?;
    Ok(())
}
