//! Walking the frames of running wasm: by frame pointer, from where wasm was left to where it was entered.
//!
//! Each entry into wasm is a chain of frames that ends at the frame pointer of its `enter` stub; outer entries left
//! wasm where `Saved` says. What pc means comes from the artifact's records. Cost: the frames that are kept.

use super::code::code_at;
use super::store::StoreInner;
use crate::backtrace::{Backtrace, Frame, MAX_FRAMES};

/// Where a fault happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    /// The instruction.
    pub(crate) pc: usize,
    /// The frame pointer.
    pub(crate) fp: usize,
    /// The return address, if the function has no frame of its own.
    pub(crate) return_pc: Option<usize>,
}

/// The frames that are running; the innermost entry's begin at a fault, or where wasm was left.
pub(crate) fn backtrace(inner: &StoreInner, fault: Option<Fault>) -> Backtrace {
    let mut walk = Walk { frames: Vec::new(), more: false };
    // SAFETY: V1, V2.
    let vm = unsafe { &*inner.vm.as_ptr() };
    if vm.entry_fp != 0 {
        match fault {
            Some(fault) => {
                walk.add(fault.pc);
                match fault.return_pc {
                    Some(pc) => walk.chain(pc, fault.fp, vm.entry_fp as usize),
                    None => walk.callers(fault.fp, vm.entry_fp as usize),
                }
            }
            None => walk.chain(vm.exit_pc as usize, vm.exit_fp as usize, vm.entry_fp as usize),
        }
        let outer = inner.activations.iter().rev().map(|saved| saved.words);
        for words in outer.filter(|words| words.entry_fp != 0) {
            walk.chain(words.exit_pc as usize, words.exit_fp as usize, words.entry_fp as usize);
        }
    }
    Backtrace::new(walk.frames, walk.more)
}

struct Walk {
    frames: Vec<Frame>,
    more: bool,
}

impl Walk {
    /// Adds the frame of a return address, whose frame pointer is `fp`, and those of its callers.
    fn chain(&mut self, return_pc: usize, fp: usize, entry_fp: usize) {
        if fp != entry_fp && !self.more {
            self.add(return_pc.wrapping_sub(1));
            self.callers(fp, entry_fp);
        }
    }

    /// Adds the callers of the frame at `fp`.
    fn callers(&mut self, mut fp: usize, entry_fp: usize) {
        while fp < entry_fp && fp != 0 && !self.more {
            // SAFETY: frames between the innermost one and the entry's are on this thread's stack; each begins with
            // the caller's frame pointer and the return address.
            let [next, pc] = unsafe { std::ptr::with_exposed_provenance::<[usize; 2]>(fp).read() };
            if next >= entry_fp || next <= fp {
                return;
            }
            self.add(pc.wrapping_sub(1));
            fp = next;
        }
    }

    /// Adds the frames of the instruction that contains `pc`.
    fn add(&mut self, pc: usize) {
        let Some(code) = code_at(pc) else { return };
        code.frames_at(pc, |frame| {
            self.more |= self.frames.len() == MAX_FRAMES;
            if !self.more {
                self.frames.push(Frame::new(code.clone(), frame));
            }
        });
    }
}
