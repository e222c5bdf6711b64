//! Random CLIF under the interpreter and as compiled code: results, traps and memory are equal.
//!
//! Compiled at both levels of optimization, for CPUs from the baseline up to this one.

use std::fmt::Write;

use sphex::jit::{DataValue, Jit, Settings};
use sphex_codegen::settings::OptLevel;
use sphex_ir::Function;
use sphex_ir::interpret::{Interpreter, Outcome};

use crate::generate::{MEMORY, functions};
use crate::random::{Choices, Random};

/// Calls of one function.
const CALLS: u64 = 3;

/// Memory that a function works on.
#[repr(align(16))]
struct Memory([u8; MEMORY as usize]);

/// What became of a call, and the memory afterwards.
type Seen = (Outcome, [u8; MEMORY as usize]);

/// Compares on the functions that these bytes make; gives the number of calls.
pub fn check(bytes: &[u8]) -> Result<usize, String> {
    let made = functions(bytes);
    for function in &made {
        if let Err(errors) = sphex_ir::verify::verify(function) {
            return Err(format!("the generator made what is invalid: {errors}\n{}", text(&made)));
        }
    }
    let seed = bytes.iter().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    let expected: Vec<Seen> = (0..CALLS).map(|k| interpret(&made, seed + k)).collect::<Result<_, _>>()?;
    for settings in settings(seed) {
        let name = || format!("{:?}, {:?}", settings.opt_level, settings.features.iter().collect::<Vec<_>>());
        let mut jit = Jit::new(made.clone(), &settings)
            .map_err(|error| format!("{}: {error:#}\n{}", name(), text(&made)))?;
        for (k, expected) in (0..).zip(&expected) {
            let found = call(&mut jit, &made[0], seed + k)
                .map_err(|error| format!("{}: {error}\n{}", name(), text(&made)))?;
            if !same(expected, &found) {
                let arguments = arguments(&made[0], seed + k, 0);
                return Err(format!(
                    "{}: {arguments:?}\n  interpreted {expected:?}\n  compiled    {found:?}\n{}",
                    name(),
                    text(&made)
                ));
            }
        }
    }
    Ok(CALLS as usize)
}

/// The functions as a file.
pub fn text(functions: &[Function]) -> String {
    functions.iter().fold(String::new(), |mut text, function| {
        let _ = writeln!(text, "{function}");
        text
    })
}

/// Both levels, with the CPU's features for one and some of them for the other.
fn settings(seed: u64) -> [Settings; 2] {
    let host = Settings::host();
    let mut settings = [host; 2];
    settings[0].opt_level = OptLevel::Speed;
    let some = match seed % 3 {
        0 => 0,
        _ => Random::new(seed).next(),
    };
    let side = (seed / 3 % 2) as usize;
    for feature in host.features.iter() {
        if some >> (feature as u64 % 64) & 1 == 0 {
            settings[side].features = settings[side].features.without(feature);
        }
    }
    settings
}

fn interpret(functions: &[Function], seed: u64) -> Result<Seen, String> {
    let mut interpreter = Interpreter::new(functions);
    interpreter.set_fuel(10_000_000);
    let address = interpreter.allocate(MEMORY).ok_or("no memory")?;
    let contents = contents(seed);
    interpreter.memory(address, MEMORY).ok_or("no memory")?.copy_from_slice(&contents);
    let outcome = interpreter.call("%f", &arguments(&functions[0], seed, address));
    let outcome = outcome.map_err(|error| format!("{error}\n{}", text(functions)))?;
    let mut after = [0; MEMORY as usize];
    after.copy_from_slice(interpreter.memory(address, MEMORY).ok_or("no memory")?);
    Ok((outcome, after))
}

fn call(jit: &mut Jit, function: &Function, seed: u64) -> Result<Seen, String> {
    let mut memory = Box::new(Memory(contents(seed)));
    let address = (&raw mut *memory).expose_provenance() as u64;
    let arguments = arguments(function, seed, address);
    // SAFETY: the function accesses its slots and the memory whose address it is given, which is ours until it returns; the
    // generator keeps every index inside. What it does beside them faults, and is recorded as a trap.
    #[allow(unsafe_code, reason = "generated code is called")]
    let result = unsafe { jit.call("f", &arguments) };
    let outcome = match result {
        Ok(values) => Outcome::Returned(values),
        Err(error) => match error.trap_code().and_then(sphex_ir::TrapCode::from_u8) {
            Some(code) => Outcome::Trapped(code),
            None => return Err(format!("{error:#}")),
        },
    };
    Ok((outcome, memory.0))
}

fn contents(seed: u64) -> [u8; MEMORY as usize] {
    let bytes = Random::new(seed ^ 0x77).bytes(MEMORY as usize);
    std::array::from_fn(|k| bytes[k])
}

fn arguments(function: &Function, seed: u64, address: u64) -> Vec<DataValue> {
    let bytes = Random::new(seed).bytes(16 * function.signature.params.len());
    let mut choices = Choices::new(&bytes);
    let mut values: Vec<DataValue> = Vec::new();
    for param in &function.signature.params {
        let bits = match param.ty {
            ty if ty.is_float() && ty.bits() == 32 => u128::from(choices.f32()),
            ty if ty.is_float() => u128::from(choices.f64()),
            _ => u128::from(choices.word()),
        };
        values.push(DataValue::new(param.ty, bits));
    }
    values[0] = DataValue::i64(address as i64);
    values
}

fn same(a: &Seen, b: &Seen) -> bool {
    let outcomes = match (&a.0, &b.0) {
        (Outcome::Returned(a), Outcome::Returned(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.matches(*b))
        }
        (a, b) => a == b,
    };
    outcomes && a.1 == b.1
}
