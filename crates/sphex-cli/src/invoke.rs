//! `--invoke`: a call written on the command line.

use std::ffi::OsString;

use sphex::{Func, FuncType, Store, Val, ValType};

use crate::advice;
use crate::engine::failure;
use crate::exit::{Failure, Result};

/// A function and its arguments, as text.
#[derive(Debug, PartialEq, Eq)]
pub struct Call<'a> {
    pub function: &'a str,
    arguments: Vec<&'a str>,
}

/// `f` with the arguments after FILE, or `f(1, 2)`.
pub fn parse<'a>(text: &'a str, rest: &'a [OsString]) -> Result<Call<'a>> {
    if let Some((function, arguments)) = text.strip_suffix(')').and_then(|text| text.split_once('(')) {
        if !rest.is_empty() {
            return Err(Failure::usage("--invoke: arguments both in parentheses and after FILE"));
        }
        let arguments = arguments.split(',').map(str::trim);
        let arguments = if text.ends_with("()") { Vec::new() } else { arguments.collect() };
        return Ok(Call { function: function.trim(), arguments });
    }
    let utf8 = |text: &'a OsString| {
        text.to_str().ok_or_else(|| Failure::usage(format!("--invoke: expected a value, found {text:?}")))
    };
    Ok(Call { function: text, arguments: rest.iter().map(utf8).collect::<Result<_>>()? })
}

impl Call<'_> {
    /// The arguments as values of a function's parameters.
    pub fn values(&self, ty: &FuncType) -> Result<Vec<Val>> {
        let (expected, found) = (ty.params.len(), self.arguments.len());
        if expected != found {
            let function = self.function;
            return Err(Failure::usage(format!(
                "--invoke {function}: expected {expected} arguments (its type is {ty}), found {found}"
            )));
        }
        let pairs = self.arguments.iter().zip(ty.params.iter());
        pairs
            .map(|(text, &ty)| {
                value(text, ty).ok_or_else(|| {
                    Failure::usage(format!(
                        "--invoke {}: expected a value of {ty}, found {text:?}",
                        self.function
                    ))
                })
            })
            .collect()
    }

    /// Makes the call and prints the results, one a line.
    pub fn run<T>(&self, store: &mut Store<T>, func: Func, values: &[Val]) -> sphex::Result<String> {
        let results = func.call_values(store, values)?;
        Ok(results.iter().map(|value| format!("{}\n", show(value))).collect())
    }

    /// The function of an instance.
    pub fn find<T>(&self, store: &mut Store<T>, instance: sphex::Instance) -> Result<(Func, Vec<Val>)> {
        let func = instance.get_func(&mut *store, self.function).map_err(|error| {
            let exports = instance.exports(&mut *store).unwrap_or_default();
            let functions = exports.iter().filter(|(_, item)| item.into_func().is_some());
            let known = advice::names(functions.map(|(name, _)| name.as_str()));
            let functions = exports.iter().filter(|(_, item)| item.into_func().is_some());
            let near = advice::near::suggestion(self.function, functions.map(|(name, _)| name.as_str()));
            Failure::Error(anyhow::anyhow!("--invoke: {error}; the module exports {known}{near}"))
        })?;
        let ty = func.ty(&*store).map_err(failure)?;
        Ok((func, self.values(&ty)?))
    }
}

fn value(text: &str, ty: ValType) -> Option<Val> {
    Some(match ty {
        ValType::I32 => {
            let number = integer(text)?;
            let signed = i32::try_from(number).ok();
            Val::I32(signed.or_else(|| u32::try_from(number).ok().map(|n| n as i32))?)
        }
        ValType::I64 => {
            let number = integer(text)?;
            let signed = i64::try_from(number).ok();
            Val::I64(signed.or_else(|| u64::try_from(number).ok().map(|n| n as i64))?)
        }
        ValType::F32 => Val::F32(text.parse::<f32>().ok()?.to_bits()),
        ValType::F64 => Val::F64(text.parse::<f64>().ok()?.to_bits()),
        ValType::V128 => Val::V128(u128::try_from(integer(text)?).ok()?),
        ValType::FuncRef | ValType::ExternRef => (text == "null").then(|| Val::default_for(ty))?,
    })
}

fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let magnitude = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok()?,
        None if digits.starts_with('+') => return None,
        None => digits.parse::<u64>().ok()?,
    };
    Some(if negative { -i128::from(magnitude) } else { i128::from(magnitude) })
}

fn show(value: &Val) -> String {
    match value {
        Val::I32(n) => n.to_string(),
        Val::I64(n) => n.to_string(),
        Val::F32(bits) => f32::from_bits(*bits).to_string(),
        Val::F64(bits) => f64::from_bits(*bits).to_string(),
        Val::V128(n) => n.to_string(),
        Val::FuncRef(None) | Val::ExternRef(None) => "null".to_owned(),
        Val::FuncRef(Some(_)) => "funcref".to_owned(),
        Val::ExternRef(Some(_)) => "externref".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_written_in_two_ways() {
        let rest = [OsString::from("1"), OsString::from("-2")];
        let call = |function, arguments: &[&'static str]| Call { function, arguments: arguments.to_vec() };
        assert_eq!(parse("f", &rest).unwrap(), call("f", &["1", "-2"]));
        assert_eq!(parse("f(1, -2)", &[]).unwrap(), call("f", &["1", "-2"]));
        assert_eq!(parse("f()", &[]).unwrap(), call("f", &[]));
        assert!(parse("f(1)", &rest).is_err());
    }

    #[test]
    fn values_must_fit() {
        let bits = |text, ty| match value(text, ty) {
            Some(Val::I32(n)) => Some(i64::from(n)),
            Some(Val::I64(n)) => Some(n),
            Some(Val::F32(n)) => Some(i64::from(n)),
            _ => None,
        };
        assert_eq!(bits("-1", ValType::I32), Some(-1));
        assert_eq!(bits("0xffffffff", ValType::I32), Some(-1));
        assert_eq!(bits("4294967296", ValType::I32), None);
        assert_eq!(bits("18446744073709551615", ValType::I64), Some(-1));
        assert_eq!(bits("1.5", ValType::F32), Some(0x3fc0_0000));
        assert_eq!((bits("", ValType::I32), bits("x", ValType::F32)), (None, None));
    }
}
