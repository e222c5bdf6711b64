//! CLIF text: print-parse-print is a fixed point, errors have places, and no mutation of a text makes the parser panic.

use sphex_ir::parse::{parse_functions, parse_text};
use sphex_ir::verify::verify;
use std::path::{Path, PathBuf};

/// Every `.clif` file of the repository's own tests and, where it is present, of the shared corpus.
fn files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let shared = std::env::var_os("SPHEX_SHARED").map_or_else(|| root.join("../shared"), PathBuf::from);
    let mut found = Vec::new();
    let mut work = vec![root.join("tests/clif"), shared.join("corpora/clif-runtests")];
    while let Some(folder) = work.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                work.push(path);
            } else if path.extension().is_some_and(|e| e == "clif") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// What is not CLIF of ours: scalable vectors.
fn is_out_of_scope(text: &str) -> bool {
    text.contains("dyn_scale_target_const")
}

fn header_length(text: &str) -> usize {
    if text.starts_with("function") { 0 } else { text.find("\nfunction").map_or(text.len(), |at| at + 1) }
}

#[test]
fn every_file_verifies_and_printing_is_a_fixed_point() {
    let (mut functions, mut failures) = (0, Vec::new());
    for file in files() {
        let text = std::fs::read_to_string(&file).unwrap();
        if is_out_of_scope(&text) || file.components().any(|c| c.as_os_str() == "errors") {
            continue;
        }
        let parsed = match parse_text(&text, header_length(&text)) {
            Ok(parsed) => parsed,
            Err(error) => {
                failures.push(format!("{}: {error}", file.display()));
                continue;
            }
        };
        for func in parsed.functions {
            functions += 1;
            let invalid = file.components().any(|c| c.as_os_str() == "verify");
            if !invalid && let Err(errors) = verify(&func.function) {
                failures.push(format!("{}: {errors}", file.display()));
            }
            let once = func.function.to_string();
            match parse_functions(&once).map(|again| again[0].to_string()) {
                Ok(twice) if twice == once => {}
                Ok(twice) => failures.push(format!("{}:\n{once}\n{twice}", file.display())),
                Err(error) => failures.push(format!("{}: {error}\n{once}", file.display())),
            }
        }
    }
    println!("{functions} functions");
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}

/// Numbers that look random and are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % limit.max(1)
    }
}

/// One mutation of a text: cut off, one byte replaced, or lines of two texts mixed.
fn mutate(text: &str, other: &str, random: &mut Random) -> String {
    const BYTES: &[u8] = b"v0123()[]{}:,=+-.;%@\"xpNaIfblock ss\n\xff";
    match random.below(4) {
        0 => String::from_utf8_lossy(&text.as_bytes()[..random.below(text.len() + 1)]).into_owned(),
        1 => {
            let mut bytes = text.as_bytes().to_vec();
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len());
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = BYTES[random.below(BYTES.len())];
                }
            }
            String::from_utf8_lossy(&bytes).into_owned()
        }
        2 => {
            let mut lines: Vec<&str> = text.lines().collect();
            let others: Vec<&str> = other.lines().collect();
            for _ in 0..=random.below(3) {
                let at = random.below(lines.len() + 1);
                lines.insert(at, others.get(random.below(others.len())).copied().unwrap_or(""));
            }
            lines.join("\n")
        }
        _ => {
            let mut lines: Vec<&str> = text.lines().collect();
            for _ in 0..=random.below(3) {
                if !lines.is_empty() {
                    let (a, b) = (random.below(lines.len()), random.below(lines.len()));
                    if random.below(2) == 0 {
                        lines.swap(a, b);
                    } else {
                        lines.remove(a);
                    }
                }
            }
            lines.join("\n")
        }
    }
}

#[test]
fn no_mutation_makes_the_parser_panic() {
    let texts: Vec<String> = files().iter().map(|f| std::fs::read_to_string(f).unwrap()).collect();
    let bodies: Vec<&str> = texts.iter().map(|t| &t[header_length(t)..]).filter(|t| !t.is_empty()).collect();
    let mut random = Random(7);
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..4000 {
        let text = bodies[random.below(bodies.len())];
        let mutated = mutate(text, bodies[random.below(bodies.len())], &mut random);
        match parse_functions(&mutated) {
            Ok(functions) => {
                accepted += 1;
                for func in functions {
                    let _ = verify(&func).map_err(|errors| errors.to_string());
                    let once = func.to_string();
                    let again = parse_functions(&once).unwrap_or_else(|e| panic!("{e}\n{once}"));
                    assert_eq!(again[0].to_string(), once);
                }
            }
            Err(error) => {
                refused += 1;
                assert!(error.line as usize <= mutated.matches('\n').count() + 1, "{error}");
            }
        }
    }
    assert!(accepted > 100 && refused > 100, "{accepted} accepted, {refused} refused");
}
