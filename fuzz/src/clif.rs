//! Random CLIF under the interpreter and as compiled code: results, traps and memory are equal.
//!
//! Compiled at both levels of optimization, for CPUs from the baseline up to this one.

use sphex::jit::{Jit, Settings};
use sphex_codegen::settings::OptLevel;
use sphex_ir::Function;
use sphex_ir::interpret::Outcome;

use crate::generate::{MEMORY, functions};
use crate::interpreted::{Seen, arguments, contents, interpret, same, seed, text};
use crate::random::Random;

/// Calls of one function.
const CALLS: u64 = 3;

/// Memory that a function works on.
#[repr(align(16))]
struct Memory([u8; MEMORY as usize]);

/// Compares on the functions that these bytes make; gives the number of calls.
pub fn check(bytes: &[u8]) -> Result<usize, String> {
    let made = functions(bytes);
    for function in &made {
        if let Err(errors) = sphex_ir::verify::verify(function) {
            return Err(format!("the generator made what is invalid: {errors}\n{}", text(&made)));
        }
    }
    let seed = seed(bytes);
    let mut expected: Vec<Seen> = Vec::new();
    for k in 0..CALLS {
        match interpret(&made, seed + k)? {
            Some(seen) => expected.push(seen),
            None => return Ok(0),
        }
    }
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
