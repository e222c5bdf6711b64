//! Runs an artifact whose imports nobody wrote: `cargo run -p sphex --no-default-features --example answer -- FILE`.
//!
//! No compiler is needed for host functions of any type. Each call of one is printed; what it returns is mixed from its
//! name and its arguments, so that an argument or a result in the wrong place shows. Every export that is a function
//! is called, with arguments made the same way.
#![allow(unsafe_code, reason = "an artifact is native code: loading one is a promise")]

use std::fmt::Write as _;
use std::path::Path;

use sphex::{
    Caller, Engine, Error, ExternRef, ExternType, FuncType, Linker, Module, Result, Store, Val, ValType,
};

/// The next number after `state` (an LCG of Knuth's; the high half is good enough for tests).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    *state >> 16
}

/// A value of a type.
fn value(state: &mut u64, ty: ValType) -> Val {
    let bits = next(state);
    match ty {
        ValType::I32 => Val::I32(bits as i32),
        ValType::I64 => Val::I64(bits as i64),
        // Small whole numbers: no NaN, whose bits may change on the way.
        ValType::F32 => Val::F32((bits as u16 as f32).to_bits()),
        ValType::F64 => Val::F64((bits as u32 as f64).to_bits()),
        ValType::ExternRef => Val::ExternRef(Some(ExternRef::new(bits))),
        ValType::V128 | ValType::FuncRef => Val::default_for(ty),
    }
}

/// A value as text, mixed into `state`.
fn show(state: &mut u64, value: &Val) -> String {
    let (text, bits) = match value {
        Val::I32(number) => (format!("{number}"), *number as u64),
        Val::I64(number) => (format!("{number}"), *number as u64),
        Val::F32(bits) => (format!("{}f", f32::from_bits(*bits)), u64::from(*bits)),
        Val::F64(bits) => (format!("{}", f64::from_bits(*bits)), *bits),
        Val::V128(bits) => (format!("{bits:#x}"), *bits as u64),
        Val::FuncRef(func) => (format!("func {}", func.is_some()), u64::from(func.is_some())),
        Val::ExternRef(host) => {
            let number = host.as_ref().and_then(|host| host.data().downcast_ref::<u64>().copied());
            (format!("host {number:?}"), number.unwrap_or(0))
        }
    };
    *state ^= bits;
    next(state);
    text
}

/// Values as text, mixed into `state`.
fn show_all(state: &mut u64, values: &[Val]) -> String {
    let texts: Vec<String> = values.iter().map(|value| show(state, value)).collect();
    texts.join(" ")
}

/// What every export is called with.
pub fn arguments(ty: &FuncType) -> Vec<Val> {
    let mut state = 1;
    ty.params.iter().map(|ty| value(&mut state, *ty)).collect()
}

/// What the host function of this name and type returns for these values, and the two as text.
pub fn answer(name: &str, ty: &FuncType, params: &[Val]) -> (Vec<Val>, String, String) {
    let mut state = name.bytes().fold(0, |state: u64, byte| state.wrapping_mul(31) + u64::from(byte));
    let params = show_all(&mut state, params);
    let results: Vec<Val> = ty.results.iter().map(|ty| value(&mut state, *ty)).collect();
    let text = show_all(&mut state, &results);
    (results, params, text)
}

/// Loads the artifact, calls its exports and says what happened.
///
/// # Safety
///
/// As for [`Module::deserialize_file`]: the file is an artifact that Sphex has made.
pub unsafe fn run(artifact: &Path) -> Result<String> {
    let engine = Engine::default();
    // SAFETY: the caller's promise.
    let module = unsafe { Module::deserialize_file(&engine, artifact)? };
    let mut linker = Linker::<String>::new(&engine);
    for import in module.imports() {
        let ExternType::Func(ty) = import.ty else {
            return Err(Error::msg(format!("import {}: only functions are answered", import.name)));
        };
        let (name, own) = (import.name.to_owned(), ty.clone());
        linker.func_new(
            import.module,
            import.name,
            ty,
            move |mut caller: Caller<'_, String>, params, results| {
                let (values, params, text) = answer(&name, &own, params);
                results.clone_from_slice(&values);
                let _ = writeln!(caller.data_mut(), "{name}({params}) = {text}");
                Ok(())
            },
        )?;
    }
    let mut store = Store::new(&engine, String::new());
    let instance = linker.instantiate(&mut store, &module)?;
    for export in module.exports() {
        let ExternType::Func(ty) = export.ty else { continue };
        let func = instance.get_func(&mut store, export.name)?;
        let results = func.call_values(&mut store, &arguments(&ty))?;
        let results = show_all(&mut 0, &results);
        let _ = writeln!(store.data_mut(), "export {} = {results}", export.name);
    }
    Ok(store.into_data())
}

fn main() -> Result<()> {
    let artifact = std::env::args_os().nth(1).ok_or_else(|| Error::msg("usage: answer ARTIFACT"))?;
    // SAFETY: whoever names the file says that it is an artifact of Sphex.
    print!("{}", unsafe { run(artifact.as_ref())? });
    Ok(())
}
