//! Defects that can be switched on, to see that the fuzz targets find them.
//!
//! *Needs* nothing; *gives* [`seeded_bug`], which stands where a defect is. In an ordinary build the answer is always false
//! and nothing of a defect is left. `--cfg seeded_bug="3"` builds number 3 in. `--cfg seeded_bug="env"` builds all in and
//! lets the variable `SPHEX_SEEDED_BUG` choose when a program starts, so that one build serves all (`fuzz/prove.sh`).

use std::sync::OnceLock;

/// Is the seeded defect of this number, 1 to 10, switched on?
#[inline(always)]
pub fn seeded_bug(number: u8) -> bool {
    let built_in = match number {
        1 => cfg!(seeded_bug = "1"),
        2 => cfg!(seeded_bug = "2"),
        3 => cfg!(seeded_bug = "3"),
        4 => cfg!(seeded_bug = "4"),
        5 => cfg!(seeded_bug = "5"),
        6 => cfg!(seeded_bug = "6"),
        7 => cfg!(seeded_bug = "7"),
        8 => cfg!(seeded_bug = "8"),
        9 => cfg!(seeded_bug = "9"),
        10 => cfg!(seeded_bug = "10"),
        _ => false,
    };
    built_in || cfg!(seeded_bug = "env") && chosen() == Some(number)
}

fn chosen() -> Option<u8> {
    static CHOSEN: OnceLock<Option<u8>> = OnceLock::new();
    *CHOSEN.get_or_init(|| std::env::var("SPHEX_SEEDED_BUG").ok()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::seeded_bug;

    #[test]
    #[cfg(not(any(
        seeded_bug = "1",
        seeded_bug = "2",
        seeded_bug = "3",
        seeded_bug = "4",
        seeded_bug = "5",
        seeded_bug = "6",
        seeded_bug = "7",
        seeded_bug = "8",
        seeded_bug = "9",
        seeded_bug = "10",
        seeded_bug = "env",
    )))]
    fn an_ordinary_build_has_no_defect() {
        assert!((0..=u8::MAX).all(|number| !seeded_bug(number)));
    }
}
