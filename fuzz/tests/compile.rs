//! Seeded bytes as modules and as CLIF text: compiled or refused.

use sphex::Engine;
use sphex_fuzz::random::{Choices, Random};
use sphex_fuzz::{compile, generate, interpreted, seeded};

#[test]
fn any_bytes_compile_or_are_refused() {
    let engine = Engine::default();
    let run = seeded::run(2400, 2600, |bytes| compile::check(&engine, bytes));
    // A part of the damaged modules is still valid.
    assert!(seeded::is_changed() || run.total as u64 > run.cases + run.cases / 20);
}

#[test]
fn any_text_is_clif_or_is_refused() {
    seeded::run(2000, 900, |bytes| {
        let (head, rest) = bytes.split_at(100);
        let mut text = interpreted::text(&generate::functions(rest)).into_bytes();
        let mut choices = Choices::new(head);
        for _ in 0..choices.below(6) {
            let place = u64::from(choices.byte()) << 8 | u64::from(choices.byte());
            let at = Random::new(place).below(text.len() as u64) as usize;
            match choices.below(4) {
                0 => text[at] = choices.byte(),
                1 => text[at] = b"0123456789,:()vi"[choices.below(16)],
                2 => drop(text.remove(at)),
                _ => text.truncate(at.max(1)),
            }
        }
        compile::check_text(&text)
    });
}
