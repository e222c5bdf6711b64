//! What the tests share.
#![allow(dead_code, reason = "each test uses a part")]

use sphex_compile::{CompileError, Settings, translate_module};

/// What became of a module.
#[derive(Debug)]
pub enum Verdict {
    Translated(u64),
    Unsupported(&'static str),
    Invalid(String),
}

/// Translates all functions and verifies them.
pub fn check(wasm: &[u8], settings: &Settings, at: &str) -> Verdict {
    let mut steps = 0;
    let mut scratch = sphex_codegen::opt::place::Scratch::default();
    let result = translate_module(wasm, settings, |index, mut translation| {
        steps += translation.steps;
        if settings.optimize {
            sphex_codegen::opt::place::place(&mut translation.func, &mut scratch, &mut Default::default());
        }
        verify(&translation.func, at, index);
    });
    match result {
        Ok(()) => Verdict::Translated(steps),
        Err(error) => match error {
            CompileError::Unsupported { proposal, .. } => Verdict::Unsupported(proposal),
            other => Verdict::Invalid(other.to_string()),
        },
    }
}

pub fn verify(func: &sphex_ir::Function, at: &str, index: u32) {
    if let Err(errors) = sphex_ir::verify::verify(func) {
        panic!("{at}: function {index}: {errors}\n{func}");
    }
}

/// The modules of a script, with their lines.
pub fn directives<T>(
    text: &str,
    mut pick: impl FnMut(wast::WastDirective<'_>) -> Option<(T, Vec<u8>)>,
) -> Vec<(T, Vec<u8>, usize)> {
    let mut lexer = wast::lexer::Lexer::new(text);
    lexer.allow_confusing_unicode(true);
    let Ok(buffer) = wast::parser::ParseBuffer::new_with_lexer(lexer) else { return Vec::new() };
    let Ok(script) = wast::parser::parse::<wast::Wast<'_>>(&buffer) else { return Vec::new() };
    let mut found = Vec::new();
    for directive in script.directives {
        let line = directive.span().linecol_in(text).0 + 1;
        if let Some((what, bytes)) = pick(directive) {
            found.push((what, bytes, line));
        }
    }
    found
}
