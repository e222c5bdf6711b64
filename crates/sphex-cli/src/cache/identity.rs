//! Which program this is: entries of another build are of no use.
//!
//! The artifact's `BuildId` names the contract between compiler and runtime. That is enough to run an artifact, but two
//! programs of one contract may compile differently, and a cache must not hide that the compiler has changed. So the id
//! that the linker gave this executable goes in too; where there is none, the executable's size and time do.
#![allow(unsafe_code)]

use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

use sphex_artifact::BuildId;

/// This program's id.
pub fn build() -> BuildId {
    static BUILD: OnceLock<BuildId> = OnceLock::new();
    *BUILD.get_or_init(|| {
        let mut hash = blake3::Hasher::new();
        hash.update(&BuildId::CURRENT.0.to_le_bytes());
        match linker_id() {
            Some(id) => hash.update(&id),
            None => hash.update(&file_identity()),
        };
        let mut number = [0; 16];
        number.copy_from_slice(&hash.finalize().as_bytes()[..16]);
        BuildId(u128::from_be_bytes(number))
    })
}

/// What tells this executable from another one where the linker has not.
fn file_identity() -> Vec<u8> {
    let Ok(exe) = std::fs::metadata("/proc/self/exe") else { return Vec::new() };
    let numbers = [exe.size(), exe.mtime() as u64, exe.mtime_nsec() as u64, exe.dev(), exe.ino()];
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// The note that linkers write on an executable: a hash of its contents.
fn linker_id() -> Option<Vec<u8>> {
    let mut id = None;
    // SAFETY: the callback is called during this call only, with our pointer to `id`.
    unsafe { libc::dl_iterate_phdr(Some(first_object), (&raw mut id).cast()) };
    id
}

/// Looks at the first object, which is the executable, and ends the walk.
unsafe extern "C" fn first_object(
    info: *mut libc::dl_phdr_info,
    _: libc::size_t,
    id: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: the loader passes a valid description, whose program headers are mapped.
    let (base, headers) = unsafe {
        let info = &*info;
        if info.dlpi_phdr.is_null() {
            return 1;
        }
        (info.dlpi_addr, std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()))
    };
    for header in headers.iter().filter(|header| header.p_type == libc::PT_NOTE) {
        let start = base.wrapping_add(header.p_vaddr) as *const u8;
        // SAFETY: a note segment of the executable is mapped readable, for as long as the process lives.
        let notes = unsafe { std::slice::from_raw_parts(start, header.p_memsz as usize) };
        if let Some(found) = build_id(notes) {
            // SAFETY: `linker_id` passed a pointer to its variable.
            unsafe { *id.cast::<Option<Vec<u8>>>() = Some(found.to_vec()) };
            break;
        }
    }
    1
}

/// The build id in a segment of notes: rows of name length, length, kind, name, contents, each padded to words.
fn build_id(mut notes: &[u8]) -> Option<&[u8]> {
    const BUILD_ID: u32 = 3;
    loop {
        let (head, rest) = notes.split_first_chunk::<12>()?;
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (name_len, len, kind) = (word(0) as usize, word(4) as usize, word(8));
        let name = rest.get(..name_len)?;
        let rest = rest.get(name_len.next_multiple_of(4)..)?;
        let contents = rest.get(..len)?;
        if kind == BUILD_ID && name == b"GNU\0" && !contents.is_empty() {
            return Some(contents);
        }
        notes = rest.get(len.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(name: &[u8], kind: u32, contents: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [name.len() as u32, contents.len() as u32, kind] {
            bytes.extend(word.to_le_bytes());
        }
        for part in [name, contents] {
            bytes.extend(part);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    #[test]
    fn notes_are_walked() {
        let wanted = note(b"GNU\0", 3, b"identity");
        assert_eq!(build_id(&[note(b"GNU\0", 1, b"12345"), wanted.clone()].concat()), Some(&b"identity"[..]));
        assert_eq!(build_id(&[note(b"Go\0", 3, b"other"), wanted.clone()].concat()), Some(&b"identity"[..]));
        for cut in 0..wanted.len() {
            assert_eq!(build_id(&wanted[..cut]), None, "{cut}");
        }
        assert_eq!(build_id(&[0xff; 64]), None);
    }

    #[test]
    fn the_program_has_an_identity() {
        assert_eq!(build(), build());
        assert!(linker_id().is_some() || file_identity().len() == 40);
        assert_eq!(file_identity().len(), 40);
    }
}
