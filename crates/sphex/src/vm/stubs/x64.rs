//! x86-64, for the System V convention of the host.

use std::arch::naked_asm;
use std::mem::offset_of;

use sphex_artifact::builtins::Builtin;
use sphex_artifact::vmctx::{Image, VmHeader, VmHostFunc, VmStore};

use crate::vm::traps::{Pause, RED_ZONE};
use crate::vm::{builtins, traps};

/// Enters wasm. See the module's text.
///
/// # Safety
///
/// `code` follows the `sphex` convention (or System V with integer parameters only) and wants what the image holds.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn enter(
    code: *const u8,
    vmctx: *mut u8,
    image: *mut Image,
    store: *mut VmStore,
) -> u64 {
    naked_asm!(
        ".cfi_startproc",
        "push rbp",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "push rdx",
        ".cfi_offset rbx, -24",
        ".cfi_offset r12, -32",
        ".cfi_offset r13, -40",
        ".cfi_offset r14, -48",
        ".cfi_offset r15, -56",
        "mov [rcx + {entry_sp}], rsp",
        "mov [rcx + {entry_fp}], rbp",
        "mov r11, rdi",
        "mov r15, rsi",
        "mov rax, rdx",
        // Copy the stack area.
        "mov rcx, [rax + {stack_bytes}]",
        "test rcx, rcx",
        "jz 2f",
        "mov rsi, [rax + {stack}]",
        "sub rsp, rcx",
        "mov rdi, rsp",
        "shr rcx, 3",
        "rep movsq",
        "2:",
        "movups xmm0, [rax + {vector}]",
        "movups xmm1, [rax + {vector} + 16]",
        "movups xmm2, [rax + {vector} + 32]",
        "movups xmm3, [rax + {vector} + 48]",
        "movups xmm4, [rax + {vector} + 64]",
        "movups xmm5, [rax + {vector} + 80]",
        "movups xmm6, [rax + {vector} + 96]",
        "movups xmm7, [rax + {vector} + 112]",
        "mov rdi, [rax]",
        "mov rsi, [rax + 8]",
        "mov rdx, [rax + 16]",
        "mov rcx, [rax + 24]",
        "mov r8, [rax + 32]",
        "mov r9, [rax + 40]",
        "xor r14d, r14d",
        "call r11",
        "mov r10, [rbp - 48]",
        "mov [r10], rdi",
        "mov [r10 + 8], rsi",
        "mov [r10 + 16], rdx",
        "mov [r10 + 24], rcx",
        "mov [r10 + 32], r8",
        "mov [r10 + 40], r9",
        "movups [r10 + {vector}], xmm0",
        "movups [r10 + {vector} + 16], xmm1",
        "movups [r10 + {vector} + 32], xmm2",
        "movups [r10 + {vector} + 48], xmm3",
        "movups [r10 + {vector} + 64], xmm4",
        "movups [r10 + {vector} + 80], xmm5",
        "movups [r10 + {vector} + 96], xmm6",
        "movups [r10 + {vector} + 112], xmm7",
        "xor eax, eax",
        "lea rsp, [rbp - 40]",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        ".cfi_def_cfa rsp, 8",
        "ret",
        ".cfi_endproc",
        entry_sp = const offset_of!(VmStore, entry_sp),
        entry_fp = const offset_of!(VmStore, entry_fp),
        stack = const offset_of!(Image, stack),
        stack_bytes = const offset_of!(Image, stack_bytes),
        vector = const offset_of!(Image, vector),
    )
}

/// Enters wasm whose values are all in registers: those of its convention are C's, in the same order. Called with the code
/// in r11, the vmctx in r15 and the store in rax; gives the status in rax, and results where wasm leaves them. Keeps rbx
/// and rbp only. The frame is that of `enter`, so that `unwind` leaves it, with nothing in what it has for the others.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn enter_registers() {
    naked_asm!(
        ".cfi_startproc",
        "push rbp",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "push rbx",
        ".cfi_offset rbx, -24",
        "sub rsp, 40",
        "mov [rax + {entry_sp}], rsp",
        "mov [rax + {entry_fp}], rbp",
        "xor r14d, r14d",
        "call r11",
        // The convention's callees keep rbx.
        "xor eax, eax",
        "leave",
        ".cfi_def_cfa rsp, 8",
        "ret",
        ".cfi_endproc",
        entry_sp = const offset_of!(VmStore, entry_sp),
        entry_fp = const offset_of!(VmStore, entry_fp),
    )
}

/// Leaves wasm for the newest entry. Jumped to with the store in rdi.
#[unsafe(naked)]
unsafe extern "C" fn unwind() {
    naked_asm!(
        // The stack pointer is what `enter` had after its pushes.
        "mov rsp, [rdi + {entry_sp}]",
        "mov eax, 1",
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
        entry_sp = const offset_of!(VmStore, entry_sp),
    )
}

/// Where a fault goes on: `traps::note_fault(store, ...)`, then `unwind`.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn fault() {
    naked_asm!(
        "sub rsp, 8",
        "mov rbx, rdi",
        "call {note}",
        "mov rdi, rbx",
        "jmp {unwind}",
        note = sym traps::note_fault,
        unwind = sym unwind,
    )
}

/// Where a pause goes on. The stack pointer is that of a `Pause`; every other register is the stopped wasm's and is
/// given back, if `traps::note_pause` says that it goes on.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn pause() {
    naked_asm!(
        "pushfq",
        "push rax",
        "push rcx",
        "push rdx",
        "push rbx",
        "push rsi",
        "push rdi",
        "push r8",
        "push r9",
        "push r10",
        "push r11",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "cld",
        "mov rdi, [rsp + {saved} + {vm}]",
        "mov rsi, [rsp + {saved} + {pc}]",
        "mov rdx, rbp",
        "mov rcx, [rsp + {saved} + {return_pc}]",
        "mov rbx, rsp",
        "and rsp, -16",
        "sub rsp, 256",
        "movups [rsp], xmm0",
        "movups [rsp + 16], xmm1",
        "movups [rsp + 32], xmm2",
        "movups [rsp + 48], xmm3",
        "movups [rsp + 64], xmm4",
        "movups [rsp + 80], xmm5",
        "movups [rsp + 96], xmm6",
        "movups [rsp + 112], xmm7",
        "movups [rsp + 128], xmm8",
        "movups [rsp + 144], xmm9",
        "movups [rsp + 160], xmm10",
        "movups [rsp + 176], xmm11",
        "movups [rsp + 192], xmm12",
        "movups [rsp + 208], xmm13",
        "movups [rsp + 224], xmm14",
        "movups [rsp + 240], xmm15",
        "call {note}",
        "mov rdi, [rbx + {saved} + {vm}]",
        "test eax, eax",
        "jnz {unwind}",
        "movups xmm0, [rsp]",
        "movups xmm1, [rsp + 16]",
        "movups xmm2, [rsp + 32]",
        "movups xmm3, [rsp + 48]",
        "movups xmm4, [rsp + 64]",
        "movups xmm5, [rsp + 80]",
        "movups xmm6, [rsp + 96]",
        "movups xmm7, [rsp + 112]",
        "movups xmm8, [rsp + 128]",
        "movups xmm9, [rsp + 144]",
        "movups xmm10, [rsp + 160]",
        "movups xmm11, [rsp + 176]",
        "movups xmm12, [rsp + 192]",
        "movups xmm13, [rsp + 208]",
        "movups xmm14, [rsp + 224]",
        "movups xmm15, [rsp + 240]",
        "mov rsp, rbx",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop r11",
        "pop r10",
        "pop r9",
        "pop r8",
        "pop rdi",
        "pop rsi",
        "pop rbx",
        "pop rdx",
        "pop rcx",
        "pop rax",
        "popfq",
        // The last word of the `Pause` is where wasm goes on; behind it is the red zone.
        "lea rsp, [rsp + {resume}]",
        "ret {red_zone}",
        saved = const 15 * 8,
        vm = const offset_of!(Pause, vm),
        pc = const offset_of!(Pause, pc),
        return_pc = const offset_of!(Pause, return_pc),
        resume = const offset_of!(Pause, resume),
        red_zone = const RED_ZONE,
        note = sym traps::note_pause,
        unwind = sym unwind,
    )
}

/// The code of every host function. r15: `VmHostFunc`; r14: the caller's vmctx, or null.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn exit() {
    naked_asm!(
        ".cfi_startproc",
        "push rbp",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        // What wasm keeps in the registers that callees keep, where `StoreInner::mark_stack` sees it.
        "push rbx",
        "push r12",
        "push r13",
        "push r13",
        "sub rsp, {image_bytes}",
        "mov [rsp], rdi",
        "mov [rsp + 8], rsi",
        "mov [rsp + 16], rdx",
        "mov [rsp + 24], rcx",
        "mov [rsp + 32], r8",
        "mov [rsp + 40], r9",
        "movups [rsp + {vector}], xmm0",
        "movups [rsp + {vector} + 16], xmm1",
        "movups [rsp + {vector} + 32], xmm2",
        "movups [rsp + {vector} + 48], xmm3",
        "movups [rsp + {vector} + 64], xmm4",
        "movups [rsp + {vector} + 80], xmm5",
        "movups [rsp + {vector} + 96], xmm6",
        "movups [rsp + {vector} + 112], xmm7",
        "lea rax, [rbp + 16]",
        "mov [rsp + {stack}], rax",
        // What the `sphex` convention's callees keep, C's keep too.
        "mov eax, [r15 + {host_stack_bytes}]",
        "mov [rsp + {stack_bytes}], rax",
        "mov rax, [r15 + {host_store}]",
        "mov rcx, [rbp]",
        "mov [rax + {exit_fp}], rcx",
        "mov rcx, [rbp + 8]",
        "mov [rax + {exit_pc}], rcx",
        "mov rdi, [r15 + {env}]",
        "mov rsi, r14",
        "mov rdx, rsp",
        "call [r15 + {call}]",
        "mov rdi, [r15 + {host_store}]",
        "cmp dword ptr [rdi + {trap}], 0",
        "jne {unwind}",
        "mov eax, [r15 + {host_stack_bytes}]",
        "mov rdi, [rsp]",
        "mov rsi, [rsp + 8]",
        "mov rdx, [rsp + 16]",
        "mov rcx, [rsp + 24]",
        "mov r8, [rsp + 32]",
        "mov r9, [rsp + 40]",
        "movups xmm0, [rsp + {vector}]",
        "movups xmm1, [rsp + {vector} + 16]",
        "movups xmm2, [rsp + {vector} + 32]",
        "movups xmm3, [rsp + {vector} + 48]",
        "movups xmm4, [rsp + {vector} + 64]",
        "movups xmm5, [rsp + {vector} + 80]",
        "movups xmm6, [rsp + {vector} + 96]",
        "movups xmm7, [rsp + {vector} + 112]",
        "mov rsp, rbp",
        "pop rbp",
        ".cfi_def_cfa rsp, 8",
        "test eax, eax",
        "jnz 2f",
        "ret",
        // Pop the stack arguments.
        "2:",
        "pop r11",
        "add rsp, rax",
        "jmp r11",
        ".cfi_endproc",
        image_bytes = const size_of::<Image>(),
        vector = const offset_of!(Image, vector),
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

/// The code of host functions whose values are all in registers: their `call` is a C function with the same arguments in
/// the same registers, then the environment and the caller's vmctx on the stack. See `exit`.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn exit_registers() {
    naked_asm!(
        ".cfi_startproc",
        "push rbp",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbp, -16",
        "mov rax, [r15 + {host_store}]",
        "mov r10, [rsp + 8]",
        "mov [rax + {exit_fp}], rbp",
        "mov [rax + {exit_pc}], r10",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        // See `exit`.
        "push rbx",
        "push r12",
        "push r13",
        "push r13",
        "mov [rax + {exit_sp}], rsp",
        "push r14",
        "push [r15 + {env}]",
        "call [r15 + {call}]",
        "mov rcx, [r15 + {host_store}]",
        "cmp dword ptr [rcx + {trap}], 0",
        "jne 2f",
        "mov rdi, rax",
        "leave",
        ".cfi_remember_state",
        ".cfi_def_cfa rsp, 8",
        "ret",
        "2:",
        ".cfi_restore_state",
        "mov rdi, rcx",
        "jmp {unwind}",
        ".cfi_endproc",
        host_store = const offset_of!(VmHostFunc, store),
        call = const offset_of!(VmHostFunc, call),
        env = const offset_of!(VmHostFunc, env),
        exit_fp = const offset_of!(VmStore, exit_fp),
        exit_pc = const offset_of!(VmStore, exit_pc),
        exit_sp = const offset_of!(VmStore, exit_sp),
        trap = const offset_of!(VmStore, trap),
        unwind = sym unwind,
    )
}

/// Where the stub of a function goes that has no code yet (see `vm::lazy`): eax has its position, r15 the vmctx, and all else
/// is as its caller left it for the function. Has it compiled and goes there.
#[cfg(all(feature = "compiler", target_os = "linux"))]
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn resolve() {
    naked_asm!(
        ".cfi_startproc",
        "push rbp",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        // C's callees keep rbx and r12 to r15.
        "sub rsp, 192",
        "mov [rsp], rdi",
        "mov [rsp + 8], rsi",
        "mov [rsp + 16], rdx",
        "mov [rsp + 24], rcx",
        "mov [rsp + 32], r8",
        "mov [rsp + 40], r9",
        "movups [rsp + 48], xmm0",
        "movups [rsp + 64], xmm1",
        "movups [rsp + 80], xmm2",
        "movups [rsp + 96], xmm3",
        "movups [rsp + 112], xmm4",
        "movups [rsp + 128], xmm5",
        "movups [rsp + 144], xmm6",
        "movups [rsp + 160], xmm7",
        "mov rcx, [r15 + {store}]",
        "mov r10, [rbp]",
        "mov [rcx + {exit_fp}], r10",
        "mov r10, [rbp + 8]",
        "mov [rcx + {exit_pc}], r10",
        "mov rdi, r15",
        "mov esi, eax",
        "call {resolve}",
        "test rax, rax",
        "jz 2f",
        "mov rdi, [rsp]",
        "mov rsi, [rsp + 8]",
        "mov rdx, [rsp + 16]",
        "mov rcx, [rsp + 24]",
        "mov r8, [rsp + 32]",
        "mov r9, [rsp + 40]",
        "movups xmm0, [rsp + 48]",
        "movups xmm1, [rsp + 64]",
        "movups xmm2, [rsp + 80]",
        "movups xmm3, [rsp + 96]",
        "movups xmm4, [rsp + 112]",
        "movups xmm5, [rsp + 128]",
        "movups xmm6, [rsp + 144]",
        "movups xmm7, [rsp + 160]",
        "mov rsp, rbp",
        "pop rbp",
        ".cfi_remember_state",
        ".cfi_def_cfa rsp, 8",
        "jmp rax",
        "2:",
        ".cfi_restore_state",
        "mov rdi, [r15 + {store}]",
        "jmp {unwind}",
        ".cfi_endproc",
        store = const offset_of!(VmHeader, store),
        exit_fp = const offset_of!(VmStore, exit_fp),
        exit_pc = const offset_of!(VmStore, exit_pc),
        resolve = sym crate::vm::lazy::resolve,
        unwind = sym unwind,
    )
}

/// Builtins that go to the C library as they are: nothing is noted, since it neither traps nor calls back. Where pages of
/// a memory may be closed, they are builtins like others.
mod leaf {
    use super::*;

    /// `memory_move(vmctx, dst, src, len)`.
    #[unsafe(naked)]
    pub(super) unsafe extern "C" fn memory_move() {
        naked_asm!(
            ".cfi_startproc",
            "mov rax, [rdi + {store}]",
            "cmp dword ptr [rax + {watched}], 0",
            "jne {watched_move}",
            "mov rdi, rsi",
            "mov rsi, rdx",
            "mov rdx, rcx",
            "jmp {memmove}",
            ".cfi_endproc",
            store = const offset_of!(VmHeader, store),
            watched = const offset_of!(VmStore, watched),
            watched_move = sym builtin::memory_move,
            memmove = sym libc::memmove,
        )
    }

    /// `memory_set(vmctx, dst, value, len)`.
    #[unsafe(naked)]
    pub(super) unsafe extern "C" fn memory_set() {
        naked_asm!(
            ".cfi_startproc",
            "mov rax, [rdi + {store}]",
            "cmp dword ptr [rax + {watched}], 0",
            "jne {watched_set}",
            "mov rdi, rsi",
            "mov esi, edx",
            "mov rdx, rcx",
            "jmp {memset}",
            ".cfi_endproc",
            store = const offset_of!(VmHeader, store),
            watched = const offset_of!(VmStore, watched),
            watched_set = sym builtin::memory_set,
            memset = sym libc::memset,
        )
    }
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
                        "push rbp",
                        ".cfi_def_cfa_offset 16",
                        ".cfi_offset rbp, -16",
                        "mov rbp, rsp",
                        ".cfi_def_cfa_register rbp",
                        "push rdi",
                        // See `exit`.
                        "push rbx",
                        "push r12",
                        "push r13",
                        "mov rax, [rdi + {store}]",
                        "mov r10, [rbp]",
                        "mov [rax + {exit_fp}], r10",
                        "mov r10, [rbp + 8]",
                        "mov [rax + {exit_pc}], r10",
                        "call {target}",
                        "mov rdi, [rbp - 8]",
                        "mov rdi, [rdi + {store}]",
                        "cmp dword ptr [rdi + {trap}], 0",
                        "jne {unwind}",
                        "mov rsp, rbp",
                        "pop rbp",
                        ".cfi_def_cfa rsp, 8",
                        "ret",
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
        pub(crate) static BUILTIN_CODE: [unsafe extern "C" fn(); super::NAMES.len()] = {
            let mut code: [unsafe extern "C" fn(); super::NAMES.len()] = [$(builtin::$name),+];
            code[Builtin::MemoryMove as usize] = leaf::memory_move;
            code[Builtin::MemorySet as usize] = leaf::memory_set;
            code
        };
    };
}

builtin_names! { stubs }
