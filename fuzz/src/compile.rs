//! Any bytes as a module: parsed, validated and compiled, or refused with a message; never a panic, never a hang.
//!
//! Bytes alone seldom pass the header, so most inputs are a good module that the bytes damage, and one in eight is raw.

use std::time::Duration;

use sphex::{Engine, Module};

use crate::modules;
use crate::random::Choices;

/// What one small module may take of the processor in a test build.
const PATIENCE: Duration = Duration::from_secs(20);

/// Compiles what the bytes make, as itself and as CLIF text; the answer is 1 for a module and 2 for one that compiles.
pub fn check(engine: &Engine, bytes: &[u8]) -> Result<usize, String> {
    let Some((head, rest)) = bytes.split_at_checked(64) else { return Ok(0) };
    let mut choices = Choices::new(head);
    let module = match choices.below(8) {
        0 => bytes.to_vec(),
        1 => [b"\0asm\x01\0\0\0", rest].concat(),
        _ => match modules::to_compile(rest) {
            Some(module) => damaged(module, &mut choices),
            None => return Ok(0),
        },
    };
    let begin = processor_time();
    let compiled = Module::new(engine, &module);
    let took = processor_time() - begin;
    if took > PATIENCE {
        return Err(format!("{} bytes took {took:?}", module.len()));
    }
    match compiled {
        Ok(_) => Ok(2),
        Err(error) if error.to_string().is_empty() => Err("an error without a message".to_string()),
        Err(_) => Ok(1),
    }
}

/// What this process has used of the processor: a busy machine is not what is looked for.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The module with up to eight of its bytes changed, or cut short.
fn damaged(mut module: Vec<u8>, choices: &mut Choices<'_>) -> Vec<u8> {
    let place = |choices: &mut Choices<'_>| {
        let at = usize::from(choices.byte()) << 8 | usize::from(choices.byte());
        at % module.len().max(1)
    };
    let places: Vec<usize> = (0..choices.below(9)).map(|_| place(choices)).collect();
    for at in places {
        match choices.below(4) {
            0 => module[at] = choices.byte(),
            1 => module[at] ^= 1 << choices.below(8),
            2 => module[at] = choices.pick(&[0, 1, 0x7f, 0x80, 0xff, 0x40, 0x0b, 0x41]),
            _ if at > 8 && choices.one_in(4) => {
                module.truncate(at);
                return module;
            }
            _ => module[at] = module[at].wrapping_add(1),
        }
    }
    module
}

/// Any bytes as CLIF text: parsed, verified, compiled, or refused.
pub fn check_text(bytes: &[u8]) -> Result<usize, String> {
    let Ok(functions) = sphex::jit::parse(&String::from_utf8_lossy(bytes)) else { return Ok(1) };
    match sphex::jit::Jit::new(functions, &sphex::jit::Settings::host()) {
        Ok(_) => Ok(2),
        Err(_) => Ok(1),
    }
}
