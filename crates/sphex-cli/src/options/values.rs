//! Values of flags that have a form of their own.

use std::path::PathBuf;
use std::str::FromStr;

use sphex_artifact::Target;

use crate::exit;

/// A directory for the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Where it is.
    pub host: PathBuf,
    /// What the guest calls it.
    pub guest: String,
    /// Nothing in it may be changed.
    pub read_only: bool,
}

impl FromStr for Directory {
    type Err = String;

    fn from_str(text: &str) -> Result<Directory, String> {
        let (names, read_only) = match text.strip_suffix("::ro") {
            Some(names) => (names, true),
            None => (text, false),
        };
        let (host, guest) = names.split_once("::").unwrap_or((names, names));
        if host.is_empty() || guest.is_empty() {
            return Err(format!("expected HOST[::GUEST][::ro], found {text:?}"));
        }
        // What other tools write: taken for a name it would grant writing to what was to be read.
        if guest.ends_with(":ro") || guest.ends_with(":rw") {
            return Err(format!(
                "expected HOST[::GUEST][::ro], found {text:?}: with `::ro` the guest may read only, without it also write"
            ));
        }
        Ok(Directory { host: host.into(), guest: guest.into(), read_only })
    }
}

/// An environment variable for the guest; without a value it has the one of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value, if given.
    pub value: Option<String>,
}

impl FromStr for Variable {
    type Err = String;

    fn from_str(text: &str) -> Result<Variable, String> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        if name.is_empty() {
            return Err(format!("expected NAME[=VALUE], found {text:?}"));
        }
        Ok(Variable { name: name.into(), value })
    }
}

/// A module to instantiate before the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preload {
    /// The name that imports know it by.
    pub name: String,
    /// Where it is.
    pub file: PathBuf,
}

impl FromStr for Preload {
    type Err = String;

    fn from_str(text: &str) -> Result<Preload, String> {
        match text.split_once('=') {
            Some((name, file)) if !file.is_empty() => Ok(Preload { name: name.into(), file: file.into() }),
            _ => Err(format!("expected NAME=FILE, found {text:?}")),
        }
    }
}

/// A number of bytes or things: decimal or hexadecimal, with `k`, `M`, `G` or `T` for powers of 1024.
pub fn number(text: &str) -> Option<u64> {
    let clean = text.replace('_', "");
    if let Some(hex) = clean.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).ok();
    }
    let digits = clean.find(|c: char| !c.is_ascii_digit()).unwrap_or(clean.len());
    let (digits, unit) = clean.split_at(digits);
    let shift = match unit.trim_end_matches("iB") {
        "" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        "t" | "T" => 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// A time: seconds, or a number followed by `ms`, `us`, `s`, `m` or `h`.
pub fn duration(text: &str) -> Option<std::time::Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits);
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    let seconds = digits.parse::<f64>().ok()? * seconds;
    (seconds > 0.0).then(|| std::time::Duration::try_from_secs_f64(seconds).ok())?
}

/// Yes or no; nothing means yes.
pub fn switch(text: Option<&str>) -> Option<bool> {
    match text {
        None | Some("y" | "yes" | "true" | "on" | "1") => Some(true),
        Some("n" | "no" | "false" | "off" | "0") => Some(false),
        Some(_) => None,
    }
}

/// A machine to compile for.
pub fn target(name: &str) -> exit::Result<Target> {
    match Target::parse(name) {
        Some(target) if target.to_string() == "x86_64-linux" => Ok(target),
        Some(target) => {
            Err(exit::Failure::usage(format!("--target: {target} is not supported yet, only x86_64-linux")))
        }
        None => {
            Err(exit::Failure::usage(format!("--target: expected x86_64-linux or a triple, found {name:?}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn directories_have_up_to_three_parts() {
        let directory = |host: &str, guest: &str, read_only| {
            Ok(Directory { host: host.into(), guest: guest.into(), read_only })
        };
        assert_eq!("a".parse(), directory("a", "a", false));
        assert_eq!("a::b".parse(), directory("a", "b", false));
        assert_eq!("a::ro".parse(), directory("a", "a", true));
        assert_eq!("a:ro::b".parse(), directory("a:ro", "b", false));
        for other in ["a:ro", "a::b:ro", "a::b:rw", "a::b:ro::ro"] {
            assert!(other.parse::<Directory>().is_err(), "{other}");
        }
        assert_eq!("a::b::ro".parse(), directory("a", "b", true));
        assert_eq!("a::ro::ro".parse(), directory("a", "ro", true));
        assert!("".parse::<Directory>().is_err() && "::b".parse::<Directory>().is_err());
    }

    #[test]
    fn numbers_have_units() {
        assert_eq!(number("65536"), Some(65536));
        assert_eq!(number("0x1_0000"), Some(65536));
        assert_eq!((number("2k"), number("3MiB"), number("4G")), (Some(2048), Some(3 << 20), Some(4 << 30)));
        assert_eq!((number(""), number("k"), number("-1"), number("99999999T")), (None, None, None, None));
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("2"), Some(Duration::from_secs(2)));
        assert_eq!(duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(duration("30ms"), Some(Duration::from_millis(30)));
        assert_eq!((duration("0"), duration("x"), duration("1y")), (None, None, None));
    }
}
