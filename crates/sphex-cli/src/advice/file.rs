//! A FILE that cannot be read, or is no module: what it is instead, and what may be meant.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::near::nearest;

/// What is no module, by its first bytes.
const MAGIC: &[(&[u8], &str)] = &[
    (b"\x1f\x8b", "gzip data: unpack it first (gunzip)"),
    (b"PK\x03\x04", "a ZIP archive: unpack it first (unzip)"),
    (b"\x28\xb5\x2f\xfd", "zstd data: unpack it first (unzstd)"),
    (b"\xfd7zXZ\0", "xz data: unpack it first (unxz)"),
    (b"BZh", "bzip2 data: unpack it first (bunzip2)"),
    (b"!<arch>\n", "a library archive (.a): link it into a program first"),
    (b"BC\xc0\xde", "LLVM bitcode: let the linker make wasm of it"),
    (b"MZ", "a program for Windows"),
    (b"\xcf\xfa\xed\xfe", "a program for macOS"),
    (b"\xca\xfe\xba\xbe", "a Java class, or a program for macOS"),
    (b"#!", "a script: FILE is its interpreter as .wasm, the script stands behind it"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself: `git lfs pull` fetches that"),
    (b"<!DOCTYPE", "HTML: an error page that was saved as a file?"),
    (b"<!doctype", "HTML: an error page that was saved as a file?"),
    (b"<html", "HTML: an error page that was saved as a file?"),
];

/// Sources of programs, by the endings of their names.
const ENDINGS: &[(&[&str], &str)] = &[
    (&["c", "h"], "C source: compile it with `clang --target=wasm32-wasip1`"),
    (&["cc", "cpp", "cxx", "hpp"], "C++ source: compile it with `clang++ --target=wasm32-wasip1`"),
    (&["rs"], "Rust source: compile it with `rustc --target wasm32-wasip1`, a package with cargo"),
    (&["go"], "Go source: compile it with `GOOS=wasip1 GOARCH=wasm go build`"),
    (&["zig"], "Zig source: compile it with `zig build-exe -target wasm32-wasi`"),
    (&["js", "mjs", "ts"], "JavaScript: the .wasm file that it loads may be meant"),
    (&["py", "rb", "lua"], "a script: FILE is its interpreter as .wasm, the script stands behind it"),
    (&["clif"], "CLIF: `sphex clif test` runs it"),
    (&["wit"], "WIT, which describes interfaces: it has nothing to run"),
];

/// What these bytes are, if they are known and no module.
pub fn foreign(bytes: &[u8]) -> Option<&'static str> {
    MAGIC.iter().find(|(magic, _)| bytes.starts_with(magic)).map(|(_, what)| *what)
}

/// What a file of unknown bytes is, by its name.
pub fn by_name(file: &Path) -> &'static str {
    let ending = file.extension().unwrap_or_default();
    let row = ENDINGS.iter().find(|(endings, _)| endings.iter().any(|known| *known == ending));
    row.map_or("none of them", |(_, what)| what)
}

/// Is an ELF file an artifact of ours?
pub fn is_artifact(bytes: &[u8]) -> bool {
    const HEADER: &[u8] = b".sphex.hdr\0";
    bytes.windows(HEADER.len()).any(|window| window == HEADER)
}

/// A file that cannot be read: why not, and what may help.
pub fn unreadable(file: &Path, error: &io::Error, commands: &[String]) -> String {
    let text = format!("cannot read {}: {error}", file.display());
    let hint = match error.kind() {
        io::ErrorKind::NotFound => meant(file, commands),
        io::ErrorKind::IsADirectory => {
            Some("FILE is a module; a directory for the guest is given with --dir".to_owned())
        }
        io::ErrorKind::PermissionDenied => Some(permission(file)),
        _ => None,
    };
    super::with_hint(text, hint)
}

/// What may be meant by a name that does not exist: a command, the file with an ending, or a file named nearly so.
fn meant(file: &Path, commands: &[String]) -> Option<String> {
    let name = file.to_str()?;
    if let Some(command) = nearest(name, commands.iter().map(String::as_str)) {
        return Some(format!("did you mean the command `{command}`?"));
    }
    let with_ending =
        ["wasm", "wat", "cwasm"].into_iter().map(|ending| PathBuf::from(format!("{name}.{ending}")));
    let found = with_ending.into_iter().find(|path| path.is_file()).or_else(|| similar(file));
    found.map(|path| format!("did you mean {}?", path.display()))
}

/// The path in the same folder whose last part is nearest.
pub fn similar(path: &Path) -> Option<PathBuf> {
    const MOST: usize = 10_000;
    let name = path.file_name()?.to_str()?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let entries = std::fs::read_dir(parent.unwrap_or(Path::new("."))).ok()?;
    let names: Vec<String> =
        entries.take(MOST).flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    // An ending that two names share says nothing about what was mistyped.
    let (stem, ending) = name.rsplit_once('.').map_or((name, ""), |(stem, _)| (stem, &name[stem.len()..]));
    let (same, others): (Vec<&str>, Vec<&str>) =
        names.iter().map(String::as_str).partition(|name| !ending.is_empty() && name.ends_with(ending));
    let stems = same.iter().filter_map(|name| name.strip_suffix(ending));
    let near = nearest(stem, stems).map(|near| format!("{near}{ending}"));
    near.or_else(|| nearest(name, others).map(str::to_owned)).map(|near| path.with_file_name(near))
}

fn permission(file: &Path) -> String {
    let user = rustix::process::geteuid().as_raw();
    match std::fs::metadata(file) {
        Ok(found) => format!(
            "its mode is {:o} and it belongs to user {}; this is user {user}",
            found.mode() & 0o7777,
            found.uid()
        ),
        Err(_) => format!("a folder on the way to it is closed to user {user}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_magic_hides_a_module_or_another_magic() {
        for (position, (magic, what)) in MAGIC.iter().enumerate() {
            assert_eq!(foreign(magic), Some(*what));
            assert!(MAGIC[..position].iter().all(|(other, _)| !magic.starts_with(other)), "{what}");
        }
        assert_eq!(
            (foreign(b"\0asm\x01\0\0\0"), foreign(b"\x7fELF"), foreign(b"(module)")),
            (None, None, None)
        );
    }

    #[test]
    fn names_tell_sources() {
        assert!(
            by_name(Path::new("a/b.cpp")).starts_with("C++")
                && by_name(Path::new("x.clif")).starts_with("CLIF")
        );
        assert_eq!((by_name(Path::new("c")), by_name(Path::new("x.wasm"))), ("none of them", "none of them"));
    }
}
