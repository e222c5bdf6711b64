//! The debugger's copy of an artifact: gdb's JIT interface.
//!
//! A debugger sets a breakpoint in `__jit_debug_register_code` and, when it is hit, reads `__jit_debug_descriptor`: a list
//! of ELF images in memory. Ours is a copy of the artifact whose section addresses and symbols are those of the mapped
//! one, so that the debugger finds functions by name and unwinds by `.eh_frame`. The module's own DWARF sections describe
//! wasm, not this machine's code: the copy hides them.
//!
//! - **D1.** The list and its entries are touched under `LOCK` only (and by a debugger, which stops the process).

use std::ffi::c_char;
#[cfg(all(feature = "compiler", target_os = "linux", target_arch = "x86_64"))]
use std::ops::Range;
use std::ptr;
use std::sync::{Mutex, PoisonError};

use super::store::Pinned;

/// An image that a debugger may know. Taken back when dropped.
#[derive(Debug)]
pub(crate) struct Registered {
    entry: Pinned<JitEntry>,
    _image: Box<[u8]>,
}

// SAFETY: the entry is touched under the lock only (D1); the image is never changed.
unsafe impl Send for Registered {}
// SAFETY: as above.
unsafe impl Sync for Registered {}

/// `jit_code_entry` of the interface.
#[repr(C)]
#[derive(Debug)]
struct JitEntry {
    next: *mut JitEntry,
    previous: *mut JitEntry,
    image: *const c_char,
    bytes: u64,
}

/// `jit_descriptor` of the interface.
#[repr(C)]
struct JitDescriptor {
    version: u32,
    action: u32,
    relevant: *mut JitEntry,
    first: *mut JitEntry,
}

const REGISTER: u32 = 1;
const UNREGISTER: u32 = 2;

static LOCK: Mutex<()> = Mutex::new(());

/// What debuggers read.
#[unsafe(no_mangle)]
static mut __jit_debug_descriptor: JitDescriptor =
    JitDescriptor { version: 1, action: 0, relevant: ptr::null_mut(), first: ptr::null_mut() };

/// Where debuggers stop.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn __jit_debug_register_code() {
    // SAFETY: an empty instruction sequence; it keeps calls of this function from being removed.
    unsafe { std::arch::asm!("") }
}

/// Tells debuggers of an artifact that is mapped at `base`; `None` if it is no ELF file.
pub(crate) fn register(artifact: &[u8], base: usize) -> Option<Registered> {
    Some(register_image(relocate(artifact, base as u64)?))
}

/// Tells debuggers of an artifact with one function: its code is at `text`, its unwind records at `eh_frame`, which knows
/// that. Nothing else of the artifact is mapped.
#[cfg(all(feature = "compiler", target_os = "linux", target_arch = "x86_64"))]
pub(crate) fn register_function(
    artifact: &[u8],
    text: Range<usize>,
    eh_frame: Range<usize>,
) -> Option<Registered> {
    // The text is the first section, the unwind records are the second.
    let mut sections = [text.clone(), eh_frame].into_iter();
    let headers = get(artifact, 40, 8)? as usize;
    let count = get(artifact, 60, 2)? as usize;
    let first = get(artifact, headers + SECTION_HEADER + 24, 8)? as usize;
    // Symbols count from the start of the file.
    let mut image = relocate(artifact, text.start.wrapping_sub(first) as u64)?;
    for header in (1..count).map(|i| headers + i * SECTION_HEADER) {
        match sections.next() {
            Some(at) => {
                put(&mut image, header + 16, at.start as u64)?;
                put(&mut image, header + 32, at.len() as u64)?;
            }
            None => {
                // What is not there must not hide another function's.
                put(&mut image, header + 8, 0)?;
                put(&mut image, header + 16, 0)?;
            }
        }
    }
    Some(register_image(image))
}

/// Adds an image to the list.
fn register_image(image: Vec<u8>) -> Registered {
    let image = image.into_boxed_slice();
    let entry = Pinned::new(JitEntry {
        next: ptr::null_mut(),
        previous: ptr::null_mut(),
        image: image.as_ptr().cast(),
        bytes: image.len() as u64,
    });
    let _lock = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: D1; entries in the list are alive, because they take themselves out before they go.
    unsafe {
        let descriptor = &raw mut __jit_debug_descriptor;
        let at = entry.as_ptr();
        (*at).next = (*descriptor).first;
        if !(*at).next.is_null() {
            (*(*at).next).previous = at;
        }
        (*descriptor).first = at;
        announce(descriptor, at, REGISTER);
    }
    Registered { entry, _image: image }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let _lock = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: D1, as in `register`; the entry is in the list.
        unsafe {
            let descriptor = &raw mut __jit_debug_descriptor;
            let at = self.entry.as_ptr();
            match (*at).previous.is_null() {
                true => (*descriptor).first = (*at).next,
                false => (*(*at).previous).next = (*at).next,
            }
            if !(*at).next.is_null() {
                (*(*at).next).previous = (*at).previous;
            }
            announce(descriptor, at, UNREGISTER);
        }
    }
}

/// Lets a debugger see a change of the list.
unsafe fn announce(descriptor: *mut JitDescriptor, entry: *mut JitEntry, action: u32) {
    // SAFETY: the caller holds the lock and passes the one descriptor (D1).
    unsafe {
        (*descriptor).relevant = entry;
        ptr::write_volatile(&raw mut (*descriptor).action, action);
        __jit_debug_register_code();
    }
}

const SECTION_HEADER: usize = 64;
const SYMBOL: usize = 24;
const SYMBOL_TABLE: u64 = 2;
const ALLOCATED: u64 = 2;

/// A copy of an ELF file with the addresses that it has when its offset 0 is at `base`.
fn relocate(file: &[u8], base: u64) -> Option<Vec<u8>> {
    let mut image = file.to_vec();
    let headers = get(&image, 40, 8)? as usize;
    let count = get(&image, 60, 2)? as usize;
    for header in (0..count).map(|i| headers + i * SECTION_HEADER) {
        let [kind, flags] = [get(&image, header + 4, 4)?, get(&image, header + 8, 8)?];
        let (start, bytes) = (get(&image, header + 24, 8)? as usize, get(&image, header + 32, 8)? as usize);
        if flags & ALLOCATED != 0 {
            add(&mut image, header + 16, base)?;
        }
        if kind == SYMBOL_TABLE {
            for symbol in (start..start.checked_add(bytes)?).step_by(SYMBOL) {
                if get(&image, symbol + 6, 2)? != 0 {
                    add(&mut image, symbol + 8, base)?;
                }
            }
        }
    }
    // `.debug_info` becomes `.Debug_info`, which no debugger looks for.
    let names = headers + get(&image, 62, 2)? as usize * SECTION_HEADER;
    let (start, bytes) = (get(&image, names + 24, 8)? as usize, get(&image, names + 32, 8)? as usize);
    let names = image.get_mut(start..start.checked_add(bytes)?)?;
    for at in 0..names.len() {
        if names[at..].starts_with(b".debug_") {
            names[at + 1] = b'D';
        }
    }
    Some(image)
}

fn get(image: &[u8], at: usize, bytes: usize) -> Option<u64> {
    let mut word = [0; 8];
    word[..bytes].copy_from_slice(image.get(at..at.checked_add(bytes)?)?);
    Some(u64::from_le_bytes(word))
}

fn add(image: &mut [u8], at: usize, base: u64) -> Option<()> {
    let value = get(image, at, 8)?.wrapping_add(base);
    put(image, at, value)
}

fn put(image: &mut [u8], at: usize, value: u64) -> Option<()> {
    image.get_mut(at..at + 8)?.copy_from_slice(&value.to_le_bytes());
    Some(())
}
