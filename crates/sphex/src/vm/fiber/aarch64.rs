//! AArch64: the switch, and the frame at a fiber's base.

use std::arch::{asm, naked_asm};

/// Lays out the base frame below `top`; the stack pointer to switch to first.
///
/// # Safety
///
/// Below `top`, which is 16-aligned, is a stack that no one is on.
pub(super) unsafe fn prepare(top: *mut u8) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe {
        let frame = top.cast::<usize>().sub(2);
        // Where `switch` goes; the base leaves its stack pointer here, which is 16-aligned.
        frame.write(base as *const () as usize);
        frame.add(1).write(0);
        frame.cast()
    }
}

/// Goes on at `to` with a value. Returns when someone switches back: with the stack pointer to switch to, to return there,
/// and with the value.
///
/// A suspended stack has, from its stack pointer up: where to go on, fpcr, x29, x19. All other registers are named as
/// clobbered: what is live is saved by the compiler. (x18 is the platform's.)
///
/// # Safety
///
/// `to` came from `prepare` or from a switch, once.
#[inline(always)]
pub(super) unsafe fn switch(to: *mut u8, value: usize) -> (*mut u8, usize) {
    let (from, got);
    // SAFETY: see above.
    unsafe {
        asm!(
            "sub sp, sp, #32",
            "stp x29, x19, [sp, #16]",
            "mrs x9, fpcr",
            "adr x10, 2f",
            "stp x10, x9, [sp]",
            "mov x11, sp",
            "ldr x10, [x0]",
            "mov sp, x0",
            "mov x0, x11",
            "br x10",
            "2:",
            "ldr x9, [sp, #8]",
            "msr fpcr, x9",
            "ldp x29, x19, [sp, #16]",
            "add sp, sp, #32",
            inout("x0") to => from,
            inout("x1") value => got,
            out("x20") _,
            out("x21") _,
            out("x22") _,
            out("x23") _,
            out("x24") _,
            out("x25") _,
            out("x26") _,
            out("x27") _,
            out("x28") _,
            out("lr") _,
            out("v8") _,
            out("v9") _,
            out("v10") _,
            out("v11") _,
            out("v12") _,
            out("v13") _,
            out("v14") _,
            out("v15") _,
            clobber_abi("C"),
        );
    }
    (from, got)
}

/// Where a fiber begins: x1: its control block, x0: the poller's stack pointer. Nothing returns to here, and for
/// unwinders there is nothing above.
#[unsafe(naked)]
unsafe extern "C" fn base() {
    naked_asm!(
        ".cfi_startproc",
        ".cfi_def_cfa sp, 16",
        ".cfi_undefined x30",
        ".cfi_undefined x29",
        "mov x29, xzr",
        "mov x30, xzr",
        "mov x9, x0",
        "mov x0, x1",
        "mov x1, x9",
        "ldr x9, [x0]",
        "blr x9",
        "brk #1",
        ".cfi_endproc",
    )
}
