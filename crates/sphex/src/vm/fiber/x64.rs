//! x86-64: the switch, and the frame at a fiber's base.

use std::arch::{asm, naked_asm};

/// Lays out the base frame below `top`; the stack pointer to switch to first.
///
/// # Safety
///
/// Below `top`, which is 16-aligned, is a stack that no one is on.
pub(super) unsafe fn prepare(top: *mut u8) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe {
        let frame = top.cast::<usize>().sub(3);
        // What `switch` pops; above it the end of the stack as an unwinder sees it, and the stack is 16-aligned again.
        frame.write(base as *const () as usize);
        frame.add(1).write(0);
        frame.add(2).write(0);
        frame.cast()
    }
}

/// Goes on at `to` with a value. Returns when someone switches back: with the stack pointer to switch to, to return there,
/// and with the value.
///
/// A suspended stack has, from its stack pointer up: where to go on, mxcsr and x87 control word, rbx, rbp. All other
/// registers are named as clobbered: what is live is saved by the compiler.
///
/// # Safety
///
/// `to` came from `prepare` or from a switch, once.
#[inline(always)]
pub(super) unsafe fn switch(to: *mut u8, value: usize) -> (*mut u8, usize) {
    let (from, got);
    // SAFETY: see above. Without `nostack`, the compiler keeps nothing below the stack pointer.
    unsafe {
        asm!(
            "push rbp",
            "push rbx",
            "sub rsp, 8",
            "stmxcsr [rsp]",
            "fnstcw [rsp + 4]",
            "lea rax, [rip + 2f]",
            "push rax",
            "mov rax, rsp",
            "mov rsp, rdi",
            "pop rcx",
            "jmp rcx",
            "2:",
            "ldmxcsr [rsp]",
            "fldcw [rsp + 4]",
            "add rsp, 8",
            "pop rbx",
            "pop rbp",
            inout("rdi") to => _,
            inout("rsi") value => got,
            out("rax") from,
            out("rcx") _,
            out("r12") _,
            out("r13") _,
            out("r14") _,
            out("r15") _,
            clobber_abi("sysv64"),
        );
    }
    (from, got)
}

/// Where a fiber begins: rsi: its control block, rax: the poller's stack pointer. Nothing returns to here, and for
/// unwinders there is nothing above.
#[unsafe(naked)]
unsafe extern "C" fn base() {
    naked_asm!(
        ".cfi_startproc",
        ".cfi_def_cfa rsp, 16",
        ".cfi_undefined rip",
        ".cfi_undefined rbp",
        "xor ebp, ebp",
        "mov rdi, rsi",
        "mov rsi, rax",
        "call [rdi]",
        "ud2",
        ".cfi_endproc",
    )
}
