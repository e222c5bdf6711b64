//! What the interpreter makes of random CLIF: the side that optimized, reparsed and compiled functions are compared with.

use std::fmt::Write;

use sphex_ir::Function;
use sphex_ir::interpret::{DataValue, InterpretError, Interpreter, Outcome};

use crate::generate::MEMORY;
use crate::random::{Choices, Random};

/// What became of a call, and the memory afterwards.
pub type Seen = (Outcome, [u8; MEMORY as usize]);

/// The seed of the calls of the functions that these bytes make.
pub fn seed(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)))
}

/// The functions as a file.
pub fn text(functions: &[Function]) -> String {
    functions.iter().fold(String::new(), |mut text, function| {
        let _ = writeln!(text, "{function}");
        text
    })
}

/// Calls `%f`, the first of these; `None` if that takes too long.
pub fn interpret(functions: &[Function], seed: u64) -> Result<Option<Seen>, String> {
    let mut interpreter = Interpreter::new(functions);
    interpreter.set_fuel(10_000_000);
    let address = interpreter.allocate(MEMORY).ok_or("no memory")?;
    let contents = contents(seed);
    interpreter.memory(address, MEMORY).ok_or("no memory")?.copy_from_slice(&contents);
    let outcome = interpreter.call("%f", &arguments(&functions[0], seed, address));
    let outcome = match outcome {
        Ok(outcome) => outcome,
        // Loops of functions that call each other in loops.
        Err(InterpretError::OutOfFuel) => return Ok(None),
        Err(error) => return Err(format!("{error}\n{}", text(functions))),
    };
    let mut after = [0; MEMORY as usize];
    after.copy_from_slice(interpreter.memory(address, MEMORY).ok_or("no memory")?);
    Ok(Some((outcome, after)))
}

/// What the memory of a call holds before.
pub fn contents(seed: u64) -> [u8; MEMORY as usize] {
    let bytes = Random::new(seed ^ 0x77).bytes(MEMORY as usize);
    std::array::from_fn(|k| bytes[k])
}

/// Arguments of a call: the address of the memory, and what the seed makes.
pub fn arguments(function: &Function, seed: u64, address: u64) -> Vec<DataValue> {
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

/// Is one allowed where the other is? A NaN stands for any.
pub fn same(a: &Seen, b: &Seen) -> bool {
    let outcomes = match (&a.0, &b.0) {
        (Outcome::Returned(a), Outcome::Returned(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.matches(*b))
        }
        (a, b) => a == b,
    };
    outcomes && a.1 == b.1
}
