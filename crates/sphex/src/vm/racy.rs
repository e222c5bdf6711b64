//! Bytes that other threads may write at the same time: those of shared memories (V6).
//!
//! What is read into Rust, and what Rust writes, goes through relaxed atomics, eight bytes at a time where they are
//! aligned in the shared memory. Bytes that only move within wasm's memories are left to the C library, as where wasm
//! itself asks a leaf for that: no value of them is ever seen by Rust.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

const WORD: usize = size_of::<u64>();

/// How many of `len` bytes from an address stand before the first word, and how many are in whole words.
fn split(at: *const u8, len: usize) -> (usize, usize) {
    let head = at.align_offset(WORD).min(len);
    (head, (len - head) / WORD * WORD)
}

/// Copies bytes of a shared memory.
///
/// # Safety
///
/// `from` is valid for reads of as many bytes, which nobody writes but by atomics or outside of Rust.
pub(crate) unsafe fn read(from: *mut u8, to: &mut [u8]) {
    let (head, words) = split(from, to.len());
    for (i, byte) in to.iter_mut().enumerate() {
        if (head..head + words).contains(&i) {
            continue;
        }
        // SAFETY: the caller's promise.
        *byte = unsafe { AtomicU8::from_ptr(from.add(i)) }.load(Ordering::Relaxed);
    }
    for (i, chunk) in to[head..head + words].chunks_exact_mut(WORD).enumerate() {
        // SAFETY: as above; `head` bytes on it is aligned.
        let word = unsafe { AtomicU64::from_ptr(from.add(head + i * WORD).cast()) };
        chunk.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
    }
}

/// Copies bytes to a shared memory.
///
/// # Safety
///
/// `to` is valid for writes of as many bytes, which nobody reads or writes but by atomics or outside of Rust.
pub(crate) unsafe fn write(from: &[u8], to: *mut u8) {
    let (head, words) = split(to, from.len());
    for (i, byte) in from.iter().enumerate() {
        if (head..head + words).contains(&i) {
            continue;
        }
        // SAFETY: the caller's promise.
        unsafe { AtomicU8::from_ptr(to.add(i)) }.store(*byte, Ordering::Relaxed);
    }
    for (i, chunk) in from[head..head + words].chunks_exact(WORD).enumerate() {
        let mut word = [0; WORD];
        word.copy_from_slice(chunk);
        // SAFETY: as above; `head` bytes on it is aligned.
        let place = unsafe { AtomicU64::from_ptr(to.add(head + i * WORD).cast()) };
        place.store(u64::from_ne_bytes(word), Ordering::Relaxed);
    }
}

/// Moves bytes from one memory to another or within one, of which either may be shared.
///
/// # Safety
///
/// Both are valid for as many bytes.
pub(crate) unsafe fn shift(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the caller's promise.
    unsafe { libc::memmove(to.cast(), from.cast(), len) };
}

/// Sets bytes of a memory that may be shared.
///
/// # Safety
///
/// `to` is valid for writes of as many bytes.
pub(crate) unsafe fn fill(to: *mut u8, byte: u8, len: usize) {
    // SAFETY: the caller's promise.
    unsafe { libc::memset(to.cast(), i32::from(byte), len) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_at_every_alignment() {
        let mut memory = [0u8; 64];
        for start in 0..9 {
            for len in 0..40 {
                let source: Vec<u8> = (0..len).map(|i| (i * 7 + start) as u8).collect();
                memory.fill(0xaa);
                // SAFETY: `start + len` is less than 64.
                unsafe { write(&source, memory.as_mut_ptr().add(start)) };
                let untouched = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0xaa);
                assert!(untouched(&memory[..start]) && untouched(&memory[start + len..]));
                let mut target = vec![0; len];
                // SAFETY: as above.
                unsafe { read(memory.as_mut_ptr().add(start), &mut target) };
                assert_eq!(source, target);
            }
        }
    }
}
