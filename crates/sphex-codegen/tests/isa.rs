//! Machine code of CLIF functions, as text: `tests/isa/x64/*.clif`.
//!
//! A file has the header of a CLIF test (`test compile precise-output`, `target x86_64 FEATURES`) and functions. The
//! comment lines right behind a function's closing brace are what it must compile to. `BLESS=1` rewrites them.

use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};
use libtest_mimic::{Arguments, Failed, Trial};
use sphex_codegen::Settings;
use sphex_codegen::emit::CompiledFunction;
use sphex_codegen::pipeline::{Context, compile};
use sphex_codegen::settings::Target;
use sphex_ir::parse::parse_text;
use std::path::{Path, PathBuf};

fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/isa/x64");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    files.retain(|path| path.extension().is_some_and(|ext| ext == "clif"));
    files.sort();
    assert!(!files.is_empty(), "no files in {}", folder.display());
    let trial = |path: PathBuf| {
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Trial::test(name, move || check(&path))
    };
    libtest_mimic::run(&Arguments::from_args(), files.into_iter().map(trial).collect()).exit();
}

/// Compiles every function of a file and compares, or rewrites, what stands behind it.
fn check(path: &Path) -> Result<(), Failed> {
    let text = std::fs::read_to_string(path)?;
    let (settings, body) = header(&text)?;
    let parsed = parse_text(&text, body).map_err(|error| error.to_string())?;
    let mut outputs = Vec::new();
    for function in parsed.functions {
        let mut function = function.function;
        outputs.push(match compile(&mut function, &settings, &mut Context::new()) {
            Ok(code) => disassemble(&code),
            Err(error) => vec![format!("error: {error}")],
        });
    }
    let expected = with_outputs(&text, &outputs);
    if text == expected {
        return Ok(());
    }
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, expected)?;
        return Ok(());
    }
    let (found, line) = expected
        .lines()
        .zip(text.lines().chain(std::iter::repeat("(end of file)")))
        .enumerate()
        .find(|(_, (new, old))| new != old)
        .map_or(("(nothing more)", 0), |(k, (new, _))| (new, k + 1));
    Err(format!("{}:{line}: now `{found}`; BLESS=1 rewrites the file", path.display()).into())
}

/// Settings from the lines before the first function, and where that begins.
fn header(text: &str) -> Result<(Settings, usize), String> {
    let target = Target::parse("x86_64").ok_or("no such target")?;
    let mut settings = Settings::new(target);
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let mut words = line.split(';').next().unwrap_or_default().split_whitespace();
        match words.next() {
            Some("function") => break,
            Some("target") => {
                for word in words.skip(1) {
                    settings.enable(word).map_err(|error| error.to_string())?;
                }
            }
            Some("set") => {
                for word in words {
                    let (name, value) = word.split_once('=').map_or((word, None), |(n, v)| (n, Some(v)));
                    settings.set(name, value).map_err(|error| error.to_string())?;
                }
            }
            _ => {}
        }
        at += line.len();
    }
    Ok((settings, at))
}

/// The file with each function's output in place of the comments behind it.
fn with_outputs(text: &str, outputs: &[Vec<String>]) -> String {
    let mut result = String::new();
    let mut outputs = outputs.iter();
    let mut behind = false;
    for line in text.lines() {
        if behind && line.starts_with(';') {
            continue;
        }
        behind = line == "}";
        result.push_str(line);
        result.push('\n');
        for output in behind.then(|| outputs.next()).flatten().into_iter().flatten() {
            result.push_str("; ");
            result.push_str(output);
            result.push('\n');
        }
    }
    result
}

/// Offset and text of each instruction, and the trap code where it can fault.
fn disassemble(code: &CompiledFunction) -> Vec<String> {
    let bytes = &code.code;
    let mut formatter = IntelFormatter::new();
    formatter.options_mut().set_branch_leading_zeros(false);
    formatter.options_mut().set_show_branch_size(false);
    formatter.options_mut().set_rip_relative_addresses(true);
    let mut decoder = Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE);
    let mut lines = Vec::new();
    while decoder.can_decode() {
        let inst = decoder.decode();
        if inst.is_invalid() {
            lines.push(format!("{:4x}: data, {} bytes", inst.ip(), bytes.len() as u64 - inst.ip()));
            break;
        }
        let mut line = format!("{:4x}: ", inst.ip());
        formatter.format(&inst, &mut line);
        if let Some(trap) = code.traps.iter().find(|trap| u64::from(trap.offset) == inst.ip()) {
            let name =
                sphex_ir::TrapCode::from_u8(trap.code).map(|code| code.to_string()).unwrap_or_default();
            line.push_str(" ; trap: ");
            line.push_str(&name);
        }
        lines.push(line);
    }
    lines
}
