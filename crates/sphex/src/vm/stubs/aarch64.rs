//! AArch64, for the AAPCS64 convention of the host.

use std::arch::naked_asm;
use std::mem::offset_of;

use sphex_artifact::vmctx::{Image, VmHeader, VmHostFunc, VmStore};

use crate::vm::traps::{Pause, RED_ZONE};
use crate::vm::{builtins, traps};

/// Enters wasm. See the module's text.
///
/// # Safety
///
/// `code` follows the `sphex` convention (or AAPCS64 with integer parameters only) and wants what the image holds.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn enter(
    code: *const u8,
    vmctx: *mut u8,
    image: *mut Image,
    store: *mut VmStore,
) -> u64 {
    naked_asm!(
        ".cfi_startproc",
        "stp x29, x30, [sp, #-176]!",
        ".cfi_def_cfa_offset 176",
        ".cfi_offset x29, -176",
        ".cfi_offset x30, -168",
        "mov x29, sp",
        ".cfi_def_cfa x29, 176",
        "stp x19, x20, [sp, #16]",
        "stp x21, x22, [sp, #32]",
        "stp x23, x24, [sp, #48]",
        "stp x25, x26, [sp, #64]",
        "stp x27, x28, [sp, #80]",
        "stp d8, d9, [sp, #96]",
        "stp d10, d11, [sp, #112]",
        "stp d12, d13, [sp, #128]",
        "stp d14, d15, [sp, #144]",
        "str x2, [sp, #160]",
        ".cfi_offset x19, -160",
        ".cfi_offset x20, -152",
        ".cfi_offset x21, -144",
        ".cfi_offset x22, -136",
        ".cfi_offset x23, -128",
        ".cfi_offset x24, -120",
        ".cfi_offset x25, -112",
        ".cfi_offset x26, -104",
        ".cfi_offset x27, -96",
        ".cfi_offset x28, -88",
        "str x29, [x3, #{entry_sp}]",
        "str x29, [x3, #{entry_fp}]",
        "mov x16, x0",
        "mov x28, x1",
        "mov x10, x2",
        // Copy the stack area.
        "ldr x11, [x10, #{stack_bytes}]",
        "cbz x11, 2f",
        "ldr x12, [x10, #{stack}]",
        "sub sp, sp, x11",
        "mov x13, sp",
        "3:",
        "ldp x14, x15, [x12], #16",
        "stp x14, x15, [x13], #16",
        "subs x11, x11, #16",
        "b.ne 3b",
        "2:",
        "ldp q0, q1, [x10, #64]",
        "ldp q2, q3, [x10, #96]",
        "ldp q4, q5, [x10, #128]",
        "ldp q6, q7, [x10, #160]",
        "ldp x0, x1, [x10]",
        "ldp x2, x3, [x10, #16]",
        "ldp x4, x5, [x10, #32]",
        "ldp x6, x7, [x10, #48]",
        "mov x9, xzr",
        "blr x16",
        "ldr x10, [x29, #160]",
        "stp x0, x1, [x10]",
        "stp x2, x3, [x10, #16]",
        "stp x4, x5, [x10, #32]",
        "stp x6, x7, [x10, #48]",
        "stp q0, q1, [x10, #64]",
        "stp q2, q3, [x10, #96]",
        "stp q4, q5, [x10, #128]",
        "stp q6, q7, [x10, #160]",
        "mov x0, xzr",
        "b {leave}",
        ".cfi_endproc",
        entry_sp = const offset_of!(VmStore, entry_sp),
        entry_fp = const offset_of!(VmStore, entry_fp),
        stack = const offset_of!(Image, stack),
        stack_bytes = const offset_of!(Image, stack_bytes),
        leave = sym leave,
    )
}

/// Returns from `enter` with x0, from its frame in x29.
#[unsafe(naked)]
unsafe extern "C" fn leave() {
    naked_asm!(
        "mov sp, x29",
        "ldp x19, x20, [sp, #16]",
        "ldp x21, x22, [sp, #32]",
        "ldp x23, x24, [sp, #48]",
        "ldp x25, x26, [sp, #64]",
        "ldp x27, x28, [sp, #80]",
        "ldp d8, d9, [sp, #96]",
        "ldp d10, d11, [sp, #112]",
        "ldp d12, d13, [sp, #128]",
        "ldp d14, d15, [sp, #144]",
        "ldp x29, x30, [sp], #176",
        "ret",
    )
}

/// Leaves wasm for the newest entry. Jumped to with the store in x0.
#[unsafe(naked)]
unsafe extern "C" fn unwind() {
    naked_asm!(
        "ldr x29, [x0, #{entry_fp}]",
        "mov x0, #1",
        "b {leave}",
        entry_fp = const offset_of!(VmStore, entry_fp),
        leave = sym leave,
    )
}

/// Where a fault goes on: `traps::note_fault(store, ...)`, then `unwind`.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn fault() {
    naked_asm!(
        "mov x19, x0",
        "bl {note}",
        "mov x0, x19",
        "b {unwind}",
        note = sym traps::note_fault,
        unwind = sym unwind,
    )
}

/// Where a pause goes on. The stack pointer is that of a `Pause`; every other register but x17, which compiled code does
/// not keep across the check of a loop, is the stopped wasm's and is given back, if `traps::note_pause` says that it goes on.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn pause() {
    naked_asm!(
        "sub sp, sp, #768",
        "stp x0, x1, [sp, #0]",
        "stp x2, x3, [sp, #16]",
        "stp x4, x5, [sp, #32]",
        "stp x6, x7, [sp, #48]",
        "stp x8, x9, [sp, #64]",
        "stp x10, x11, [sp, #80]",
        "stp x12, x13, [sp, #96]",
        "stp x14, x15, [sp, #112]",
        "stp x16, x17, [sp, #128]",
        "stp x18, x19, [sp, #144]",
        "stp x20, x21, [sp, #160]",
        "stp x22, x23, [sp, #176]",
        "stp x24, x25, [sp, #192]",
        "stp x26, x27, [sp, #208]",
        "stp x28, x29, [sp, #224]",
        "str x30, [sp, #240]",
        "mrs x17, nzcv",
        "str x17, [sp, #248]",
        "stp q0, q1, [sp, #256]",
        "stp q2, q3, [sp, #288]",
        "stp q4, q5, [sp, #320]",
        "stp q6, q7, [sp, #352]",
        "stp q8, q9, [sp, #384]",
        "stp q10, q11, [sp, #416]",
        "stp q12, q13, [sp, #448]",
        "stp q14, q15, [sp, #480]",
        "stp q16, q17, [sp, #512]",
        "stp q18, q19, [sp, #544]",
        "stp q20, q21, [sp, #576]",
        "stp q22, q23, [sp, #608]",
        "stp q24, q25, [sp, #640]",
        "stp q26, q27, [sp, #672]",
        "stp q28, q29, [sp, #704]",
        "stp q30, q31, [sp, #736]",
        "ldr x0, [sp, #768 + {vm}]",
        "ldr x1, [sp, #768 + {pc}]",
        "mov x2, x29",
        "ldr x3, [sp, #768 + {return_pc}]",
        "bl {note}",
        "mov x1, x0",
        "ldr x0, [sp, #768 + {vm}]",
        "cbnz x1, 2f",
        "ldr x17, [sp, #248]",
        "msr nzcv, x17",
        "ldp q0, q1, [sp, #256]",
        "ldp q2, q3, [sp, #288]",
        "ldp q4, q5, [sp, #320]",
        "ldp q6, q7, [sp, #352]",
        "ldp q8, q9, [sp, #384]",
        "ldp q10, q11, [sp, #416]",
        "ldp q12, q13, [sp, #448]",
        "ldp q14, q15, [sp, #480]",
        "ldp q16, q17, [sp, #512]",
        "ldp q18, q19, [sp, #544]",
        "ldp q20, q21, [sp, #576]",
        "ldp q22, q23, [sp, #608]",
        "ldp q24, q25, [sp, #640]",
        "ldp q26, q27, [sp, #672]",
        "ldp q28, q29, [sp, #704]",
        "ldp q30, q31, [sp, #736]",
        "ldp x0, x1, [sp, #0]",
        "ldp x2, x3, [sp, #16]",
        "ldp x4, x5, [sp, #32]",
        "ldp x6, x7, [sp, #48]",
        "ldp x8, x9, [sp, #64]",
        "ldp x10, x11, [sp, #80]",
        "ldp x12, x13, [sp, #96]",
        "ldp x14, x15, [sp, #112]",
        "ldp x16, x17, [sp, #128]",
        "ldp x18, x19, [sp, #144]",
        "ldp x20, x21, [sp, #160]",
        "ldp x22, x23, [sp, #176]",
        "ldp x24, x25, [sp, #192]",
        "ldp x26, x27, [sp, #208]",
        "ldp x28, x29, [sp, #224]",
        "ldr x30, [sp, #240]",
        "ldr x17, [sp, #768 + {resume}]",
        "add sp, sp, #768 + {pause_bytes} + {red_zone}",
        "br x17",
        "2:",
        "b {unwind}",
        vm = const offset_of!(Pause, vm),
        pc = const offset_of!(Pause, pc),
        return_pc = const offset_of!(Pause, return_pc),
        resume = const offset_of!(Pause, resume),
        pause_bytes = const size_of::<Pause>(),
        red_zone = const RED_ZONE,
        note = sym traps::note_pause,
        unwind = sym unwind,
    )
}

/// The code of every host function. x28: `VmHostFunc`; x9: the caller's vmctx, or null.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn exit() {
    naked_asm!(
        ".cfi_startproc",
        "stp x29, x30, [sp, #-16]!",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset x29, -16",
        ".cfi_offset x30, -8",
        "mov x29, sp",
        ".cfi_def_cfa x29, 16",
        "sub sp, sp, #{image_bytes}",
        "stp x0, x1, [sp]",
        "stp x2, x3, [sp, #16]",
        "stp x4, x5, [sp, #32]",
        "stp x6, x7, [sp, #48]",
        "stp q0, q1, [sp, #64]",
        "stp q2, q3, [sp, #96]",
        "stp q4, q5, [sp, #128]",
        "stp q6, q7, [sp, #160]",
        "mov x1, x9",
        "add x10, x29, #16",
        "str x10, [sp, #{stack}]",
        // In C, x19 and x28 are kept by callees; in the `sphex` convention x19 is ours to use.
        "ldr w19, [x28, #{host_stack_bytes}]",
        "str x19, [sp, #{stack_bytes}]",
        "ldr x10, [x28, #{host_store}]",
        "ldr x11, [x29]",
        "str x11, [x10, #{exit_fp}]",
        "str x30, [x10, #{exit_pc}]",
        "ldr x0, [x28, #{env}]",
        "mov x2, sp",
        "ldr x10, [x28, #{call}]",
        "blr x10",
        "ldr x10, [x28, #{host_store}]",
        "ldr w11, [x10, #{trap}]",
        "cbnz w11, 2f",
        "ldp x0, x1, [sp]",
        "ldp x2, x3, [sp, #16]",
        "ldp x4, x5, [sp, #32]",
        "ldp x6, x7, [sp, #48]",
        "ldp q0, q1, [sp, #64]",
        "ldp q2, q3, [sp, #96]",
        "ldp q4, q5, [sp, #128]",
        "ldp q6, q7, [sp, #160]",
        "mov sp, x29",
        "ldp x29, x30, [sp], #16",
        // Pop the stack arguments.
        "add sp, sp, x19",
        "ret",
        "2:",
        "mov x0, x10",
        "b {unwind}",
        ".cfi_endproc",
        image_bytes = const size_of::<Image>(),
        stack = const offset_of!(Image, stack),
        stack_bytes = const offset_of!(Image, stack_bytes),
        host_stack_bytes = const offset_of!(VmHostFunc, stack_bytes),
        host_store = const offset_of!(VmHostFunc, store),
        call = const offset_of!(VmHostFunc, call),
        env = const offset_of!(VmHostFunc, env),
        exit_fp = const offset_of!(VmStore, exit_fp),
        exit_pc = const offset_of!(VmStore, exit_pc),
        trap = const offset_of!(VmStore, trap),
        unwind = sym unwind,
    )
}

macro_rules! stubs {
    ($($name:ident)+) => {
        mod builtin {
            use super::*;
            $(
                #[unsafe(naked)]
                pub(super) unsafe extern "C" fn $name() {
                    naked_asm!(
                        ".cfi_startproc",
                        "stp x29, x30, [sp, #-32]!",
                        ".cfi_def_cfa_offset 32",
                        ".cfi_offset x29, -32",
                        ".cfi_offset x30, -24",
                        "mov x29, sp",
                        ".cfi_def_cfa x29, 32",
                        "str x0, [sp, #16]",
                        "ldr x9, [x0, #{store}]",
                        "ldr x10, [x29]",
                        "str x10, [x9, #{exit_fp}]",
                        "str x30, [x9, #{exit_pc}]",
                        "bl {target}",
                        "ldr x9, [sp, #16]",
                        "ldr x9, [x9, #{store}]",
                        "ldr w10, [x9, #{trap}]",
                        "cbnz w10, 2f",
                        "ldp x29, x30, [sp], #32",
                        "ret",
                        "2:",
                        "mov x0, x9",
                        "b {unwind}",
                        ".cfi_endproc",
                        store = const offset_of!(VmHeader, store),
                        exit_fp = const offset_of!(VmStore, exit_fp),
                        exit_pc = const offset_of!(VmStore, exit_pc),
                        trap = const offset_of!(VmStore, trap),
                        target = sym builtins::$name,
                        unwind = sym unwind,
                    )
                }
            )+
        }

        /// The code of the builtins, in the order of the contract's table.
        pub(crate) static BUILTIN_CODE: [unsafe extern "C" fn(); super::NAMES.len()] = [$(builtin::$name),+];
    };
}

builtin_names! { stubs }
