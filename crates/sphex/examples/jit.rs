//! A code generator in a few lines: CLIF text in, machine code out, called with values.
//! `cargo run -p sphex --example jit`.
#![allow(unsafe_code)]

use sphex::Result;
use sphex::jit::{DataValue, Jit, Settings, parse};

/// Compiles and calls the greatest common divisor of two numbers.
pub fn run(a: i64, b: i64) -> Result<i64> {
    let functions = parse(
        "function %gcd(i64, i64) -> i64 fast {
         block0(v0: i64, v1: i64):
            jump block1(v0, v1)
         block1(v2: i64, v3: i64):
            brif v3, block2, block3
         block2:
            v4 = urem v2, v3
            jump block1(v3, v4)
         block3:
            return v2
         }",
    )?;
    let mut jit = Jit::new(functions, &Settings::host())?;
    // SAFETY: the function touches no memory, and ends.
    let results = unsafe { jit.call("gcd", &[DataValue::i64(a), DataValue::i64(b)])? };
    // A trap would have come back as an error.
    Ok(results[0].bits as i64)
}

fn main() -> Result<()> {
    println!("gcd(1071, 462) = {}", run(1071, 462)?);
    Ok(())
}
