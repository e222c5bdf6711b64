//! A guest that ends with a code of failure: what it was refused, and what would have granted it.

use std::ffi::OsString;

use sphex_wasi::WasiCtx;

use crate::options::Run;

/// Flags of `run` with their long names: behind FILE they are the guest's, which is seldom meant.
const OWN_FLAGS: &[&str] = &["--dir", "--env", "--invoke", "--preload", "--argv0", "--allow-precompiled"];

/// What may have gone wrong, if something is known.
pub fn hint(run: &Run, guest: &WasiCtx) -> Option<String> {
    let (_, arguments) = run.file_and_args.split_first()?;
    if let Some(hint) = misplaced(arguments) {
        return Some(hint);
    }
    let refused = guest.refused();
    if refused.directories && run.dirs.is_empty() {
        return Some(
            "the guest looked for directories and was given none: --dir DIR gives it one".to_owned(),
        );
    }
    let names = |read_only: bool| {
        let dirs = run.dirs.iter().filter(|dir| dir.read_only || !read_only);
        super::names(dirs.map(|dir| dir.guest.as_str()))
    };
    if refused.writing {
        return Some(format!("the guest tried to change what --dir gives read-only (::ro): {}", names(true)));
    }
    if refused.outside && !run.dirs.is_empty() {
        return Some(format!("the guest tried a path that leads out of its directories: {}", names(false)));
    }
    None
}

/// A flag of ours among the arguments of the guest.
pub fn misplaced(arguments: &[OsString]) -> Option<String> {
    let flag = |argument: &OsString| {
        let text = argument.to_str()?;
        let name = text.split_once('=').map_or(text, |(name, _)| name);
        OWN_FLAGS.iter().find(|flag| **flag == name)
    };
    let flag = arguments.iter().take_while(|argument| *argument != "--").find_map(flag)?;
    Some(format!("`{flag}` stands after FILE, so it is an argument of the guest: options come before FILE"))
}

/// A file that an option took as its value, where FILE is missing.
pub fn swallowed(run: &Run) -> Option<String> {
    let is_program = |text: &str| {
        let path = std::path::Path::new(text);
        let ending = path.extension().and_then(|ending| ending.to_str());
        matches!(ending, Some("wasm" | "wat" | "cwasm")) && path.is_file()
    };
    let dirs = run.dirs.iter().map(|dir| ("--dir", dir.guest.as_str()));
    let env = run.env.iter().map(|variable| ("--env", variable.name.as_str()));
    let others = [("--invoke", run.invoke.as_deref()), ("--argv0", run.argv0.as_deref())];
    let others = others.into_iter().filter_map(|(flag, value)| Some((flag, value?)));
    let (flag, file) = dirs.chain(env).chain(others).find(|(_, value)| is_program(value))?;
    Some(format!("{file} was taken as the value of {flag}, which needs one"))
}

#[cfg(test)]
mod tests {
    use super::misplaced;

    #[test]
    fn our_flags_among_the_guests() {
        let found =
            |arguments: &[&str]| misplaced(&arguments.iter().map(Into::into).collect::<Vec<_>>()).is_some();
        assert!(found(&["--dir", "."]) && found(&["x", "--env=A=1"]));
        assert!(!found(&["--directory", "-O", "dir"]) && !found(&["--", "--dir"]) && !found(&[]));
    }
}
