//! Hand-made machine functions through the whole backend, as assembly, with unwinding checked.

use super::*;
use crate::abi::{entry, place};
use crate::frame::LimitAction;
use crate::machine::{Amode, Call};
use crate::pipeline::{Context, compile_machine};
use crate::regalloc::VReg;
use crate::settings::{Arch, Target as SettingsTarget};
use crate::unwind::tests::check_one;
use expect_test::{Expect, expect};
use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};
use sphex_asm::register::RegSet;
use sphex_ir::types::{F64, I64};
use sphex_ir::{AbiParam, CallConv, Signature, TrapCode, Type};

fn signature(conv: CallConv, params: &[Type], returns: &[Type]) -> Signature {
    Signature {
        params: params.iter().map(|&ty| AbiParam::new(ty)).collect(),
        returns: returns.iter().map(|&ty| AbiParam::new(ty)).collect(),
        call_conv: conv,
    }
}

/// The code as Intel assembly, one line an instruction.
fn disassemble(function: &CompiledFunction) -> String {
    let mut formatter = IntelFormatter::new();
    formatter.options_mut().set_space_after_operand_separator(true);
    let mut out = String::new();
    let mut decoder = Decoder::with_ip(64, &function.code, 0, DecoderOptions::NONE);
    while decoder.can_decode() {
        let inst = decoder.decode();
        if inst.is_invalid() {
            break;
        }
        let mut line = String::new();
        formatter.format(&inst, &mut line);
        out.push_str(&format!("{:02x} {line}\n", inst.ip()));
    }
    out
}

fn no_sequences(_: &SequenceInst, _: &mut CodeBuffer) {}

fn settings() -> Settings {
    Settings::new(SettingsTarget::parse("x86_64").unwrap())
}

/// Builds, compiles and checks a function.
fn compile(
    sig: &Signature,
    limit: Option<StackLimit>,
    build: impl FnOnce(&mut MachineFunction, &Placement),
) -> CompiledFunction {
    let placement = place(Arch::X64, sig).unwrap();
    let mut ctx = Context::new();
    build(&mut ctx.machine, &placement);
    ctx.machine.finish();
    let compiled = compile_machine(&mut ctx, &placement, limit.as_ref(), &settings(), no_sequences).unwrap();
    check_one(&compiled, placement.convention.callee_saved);
    compiled
}

/// Starts the entry block's last group; the parameters are received by [`receive`].
fn vregs(func: &mut MachineFunction, types: &[Type]) -> Vec<VReg> {
    types.iter().map(|&ty| func.new_vreg_for(ty)).collect()
}

fn receive(func: &mut MachineFunction, sig: &Signature, placement: &Placement, params: &[VReg]) {
    func.start_group();
    let params: Vec<_> = params.iter().map(|&v| Some(v)).collect();
    entry::receive(func, sig, placement, &params, None);
}

fn expect_code(function: &CompiledFunction, expected: Expect) {
    expected.assert_eq(&disassemble(function));
}

#[test]
fn an_addition() {
    let sig = signature(CallConv::SystemV, &[I64, I64], &[I64]);
    let code = compile(&sig, None, |f, placement| {
        let block = f.add_block(false);
        let (v, sum) = (vregs(f, &[I64, I64]), f.new_vreg_for(I64));
        f.start_block(block);
        f.inst(op::ADD_RM, Variant::S64).modify(sum, v[0]).read(v[1]);
        f.pseudo(Pseudo::Return, Variant::NONE, 0).read_fixed(sum, gpr::RAX);
        receive(f, &sig, placement, &v);
    });
    expect_code(
        &code,
        expect![[r#"
            00 push rbp
            01 mov rbp, rsp
            04 add rdi, rsi
            07 mov rax, rdi
            0a pop rbp
            0b ret
        "#]],
    );
}

/// A call that needs its arguments moved, with values live across it and stack arguments.
fn calls(conv: CallConv, vmctx: Vmctx) -> CompiledFunction {
    let sig = signature(conv, &[I64, F64, I64, I64, I64, I64, I64, I64], &[I64]);
    compile(&sig, None, |f, placement| {
        let block = f.add_block(false);
        let v = vregs(f, &[I64, F64, I64, I64, I64, I64, I64, I64]);
        let (result, sum, target, callee) =
            (f.new_vreg_for(I64), f.new_vreg_for(I64), f.new_vreg_for(I64), f.new_vreg_for(I64));
        f.start_block(block);
        f.inst(op::MOV_RM, Variant::S64).write(target).mem(Amode::reg(v[0], 8));
        f.inst(op::MOV_RM, Variant::S64).write(callee).mem(Amode::reg(v[0], 16));
        f.inst(op::MOV_MR, Variant::S64).mem(Amode::at(Base::Outgoing, 0)).read(v[0]);
        let call = Call {
            target: Target::Register,
            clobbers: placement.clobbers(),
            stack_bytes: 16,
            callee_pops: placement.callee_pops(),
            vmctx,
            live: 1,
        };
        let mut inst = f.call(call, false).read_fixed(target, gpr::RAX);
        if vmctx == Vmctx::Switch {
            inst = inst.read_fixed(callee, gpr::R10);
        }
        let ret = placement.convention.int_returns[0];
        let _ = inst
            .read_fixed(v[2], gpr::RDI)
            .read_fixed(v[0], gpr::RSI)
            .read_fixed(v[1], sphex_asm::x64::operand::xmm(0))
            .write_fixed(result, ret)
            .live(v[7])
            .trap(TrapCode::from_u8(4));
        f.inst(op::ADD_RM, Variant::S64).modify(sum, result).read_any(v[7]);
        f.pseudo(Pseudo::Return, Variant::NONE, 0).read_fixed(sum, ret);
        receive(f, &sig, placement, &v);
    })
}

#[test]
fn a_call_keeps_what_is_live() {
    let code = calls(CallConv::SystemV, Vmctx::Keep);
    expect_code(
        &code,
        expect![[r#"
            00 push rbp
            01 mov rbp, rsp
            04 sub rsp, 20h
            08 mov [rbp-8], rbx
            0c mov rcx, [rbp+10h]
            10 mov [rbp-10h], rcx
            14 mov rax, [rdi+8]
            18 mov rbx, [rdi+10h]
            1c mov [rsp], rdi
            20 mov rbx, rcx
            23 mov rdx, rdi
            26 mov rdi, rsi
            29 mov rsi, rdx
            2c call rax
            2e add rax, rbx
            31 mov rbx, [rbp-8]
            35 mov rsp, rbp
            38 pop rbp
            39 ret
        "#]],
    );
    assert_eq!(code.calls.len(), 1);
    assert_eq!(code.traps.len(), 1);
}

#[test]
fn a_call_that_leaves_switches_and_reloads_vmctx() {
    let code = calls(CallConv::Sphex, Vmctx::Switch);
    expect_code(
        &code,
        expect![[r#"
            00 push rbp
            01 mov rbp, rsp
            04 sub rsp, 30h
            08 mov [rbp-8], r15
            0c mov [rbp-10h], rbx
            10 mov rcx, [rbp+10h]
            14 mov [rbp-18h], rcx
            18 mov rax, [rdi+8]
            1c mov r10, [rdi+10h]
            20 mov [rsp], rdi
            24 mov rbx, rcx
            27 mov rdx, rdi
            2a mov rdi, rsi
            2d mov rsi, rdx
            30 mov r14, r15
            33 mov r15, r10
            36 call rax
            38 sub rsp, 10h
            3c mov r15, [rbp-8]
            40 add rdi, rbx
            43 mov rbx, [rbp-10h]
            47 mov rsp, rbp
            4a pop rbp
            4b ret 10h
        "#]],
    );
    assert_eq!(code.pops, 16);
}

/// A tail call with this many stack words from a function with that many.
fn tail(own: usize, callee: usize) -> CompiledFunction {
    let params = vec![I64; 6 + own];
    let sig = signature(CallConv::Tail, &params, &[]);
    compile(&sig, None, |f, placement| {
        let block = f.add_block(false);
        let v = vregs(f, &params);
        f.start_block(block);
        let bytes = (callee as u32 * 8).next_multiple_of(16);
        for k in 0..callee {
            let to = Amode::at(Base::TailOutgoing(bytes), 8 * k as i32);
            f.inst(op::MOV_MR, Variant::S64).mem(to).read(v[(k + 1) % v.len()]);
        }
        let symbol = f.symbol(&ExternalName::symbol("callee"));
        let call = Call {
            target: Target::Symbol(symbol),
            clobbers: RegSet::EMPTY,
            stack_bytes: bytes,
            callee_pops: true,
            vmctx: Vmctx::Keep,
            live: 0,
        };
        let _ = f.call(call, true).read_fixed(v[v.len() - 1], gpr::RDI).read_fixed(v[0], gpr::RSI);
        receive(f, &sig, placement, &v);
    })
}

#[test]
fn tail_calls_grow_keep_and_shrink_the_arguments() {
    expect_code(
        &tail(0, 0),
        expect![[r#"
            00 push rbp
            01 mov rbp, rsp
            04 mov rsi, rdi
            07 mov rdi, r9
            0a pop rbp
            0b jmp 0000000000000010h
        "#]],
    );
    expect_code(
        &tail(0, 3),
        expect![[r#"
            00 mov r11, [rsp]
            04 sub rsp, 20h
            08 mov [rsp], r11
            0c push rbp
            0d mov rbp, rsp
            10 mov [rbp+10h], rsi
            14 mov [rbp+18h], rdx
            18 mov [rbp+20h], rcx
            1c mov rsi, rdi
            1f mov rdi, r9
            22 pop rbp
            23 jmp 0000000000000028h
        "#]],
    );
    expect_code(
        &tail(4, 2),
        expect![[r#"
            00 push rbp
            01 mov rbp, rsp
            04 mov rax, [rbp+10h]
            08 mov rax, [rbp+18h]
            0c mov rax, [rbp+20h]
            10 mov rax, [rbp+28h]
            14 mov [rbp+20h], rsi
            18 mov [rbp+28h], rdx
            1c mov rsi, rdi
            1f mov rdi, rax
            22 mov r11, [rbp+8]
            26 mov [rbp+18h], r11
            2a lea rsp, [rbp+18h]
            2e mov rbp, [rbp]
            32 jmp 0000000000000037h
        "#]],
    );
    for (own, callee) in [(2, 2), (1, 7), (9, 1), (16, 0)] {
        tail(own, callee);
    }
}

#[test]
fn blocks_fall_through_and_jump_tables_lead_anywhere() {
    let sig = signature(CallConv::SystemV, &[I64], &[I64]);
    let code = compile(&sig, None, |f, placement| {
        let blocks: Vec<_> = (0..7).map(|k| f.add_block(k == 2)).collect();
        let v = vregs(f, &[I64]);
        f.start_block(blocks[0]);
        f.inst(op::TEST_RR, Variant::S64).read(v[0]).read(v[0]);
        f.jump_if(Cond::Ne, blocks[1], blocks[2]);
        receive(f, &sig, placement, &v);
        // A jump only: what leads here leads to block 3.
        f.start_block(blocks[1]);
        f.jump(blocks[3], &[]);
        f.start_block(blocks[2]);
        f.pseudo(Pseudo::Trap, Variant::NONE, 0).trap(TrapCode::from_u8(7));
        f.start_block(blocks[3]);
        let (a, b) = (f.new_vreg_for(I64), f.new_vreg_for(I64));
        f.inst(op::CMP_RI, Variant::S64).read(v[0]).imm(9);
        f.pseudo(Pseudo::TrapIf, Variant::cond(Cond::A), 0).trap(TrapCode::from_u8(3));
        f.successor(blocks[4], &[]);
        f.successor(blocks[5], &[]);
        f.jump_tables.push(vec![1, 0, 1, 0]);
        f.pseudo(Pseudo::JumpTable, Variant::NONE, 0).read(v[0]).write_early(a).write_early(b);
        for (k, &block) in blocks[4..6].iter().enumerate() {
            f.start_block(block);
            let x = f.new_vreg_for(I64);
            f.inst(op::MOV_RI, Variant::S32).write(x).imm(k as i32);
            f.jump(blocks[6], &[x]);
        }
        let result = f.new_vreg_for(I64);
        f.set_params(blocks[6], &[result]);
        f.start_block(blocks[6]);
        f.pseudo(Pseudo::Return, Variant::NONE, 0).read_fixed(result, gpr::RAX);
    });
    expect_code(
        &code,
        expect![[r#"
            00 push rbp
            01 mov rbp, rsp
            04 sub rsp, 10h
            08 mov [rbp-8], rbx
            0c mov [rbp-10h], r12
            10 test rdi, rdi
            13 je short 0000000000000051h
            15 cmp rdi, 9
            19 ja short 0000000000000053h
            1b mov r12d, 3
            21 cmp edi, r12d
            24 cmovb r12d, edi
            28 lea rbx, [58h]
            2f movsxd r12, [rbx+r12*4]
            33 add rbx, r12
            36 jmp rbx
            38 mov eax, 0
            3d jmp short 0000000000000044h
            3f mov eax, 1
            44 mov rbx, [rbp-8]
            48 mov r12, [rbp-10h]
            4c mov rsp, rbp
            4f pop rbp
            50 ret
            51 ud2
            53 ud2
            55 nop [rax]
            58 out 0FFh, eax
        "#]],
    );
    assert_eq!(code.traps.iter().map(|t| t.code).collect::<Vec<_>>(), [7, 3]);
}

fn with_slot(sig: &Signature, limit: Option<StackLimit>, size: u32, align_shift: u8) -> CompiledFunction {
    compile(sig, limit, |f, placement| {
        let block = f.add_block(false);
        let slot = f.add_slot(size, align_shift);
        let v: Vec<_> = sig.params.iter().map(|p| f.new_vreg_for(p.ty)).collect();
        f.start_block(block);
        f.inst(op::MOV_MR, Variant::S64).mem(Amode::slot(slot, 8)).read(v[0]);
        f.pseudo(Pseudo::Return, Variant::NONE, 0);
        receive(f, sig, placement, &v);
    })
}

#[test]
fn the_stack_limit_traps_or_calls_the_runtime() {
    let loads = SmallVec::from_slice(&[16, 24]);
    let trap = StackLimit { base: gpr::RDI, loads: loads.clone(), action: LimitAction::Trap };
    let system_v = signature(CallConv::SystemV, &[I64, F64], &[]);
    expect_code(
        &with_slot(&system_v, Some(trap), 32, 3),
        expect![[r#"
            00 push rbp
            01 mov rbp, rsp
            04 mov r11, [rdi+10h]
            08 mov r10, rsp
            0b sub r10, 20h
            0f jb short 0000000000000024h
            11 cmp r10, [r11+18h]
            15 jbe short 0000000000000024h
            17 sub rsp, 20h
            1b mov [rbp-18h], rdi
            1f mov rsp, rbp
            22 pop rbp
            23 ret
            24 ud2
        "#]],
    );
    let sphex = signature(CallConv::Sphex, &[I64, F64], &[]);
    let runtime = StackLimit { base: gpr::R15, loads, action: LimitAction::Builtin(16, 40) };
    let small = with_slot(&sphex, Some(runtime.clone()), 32, 3);
    expect_code(
        &small,
        expect![[r#"
            00 push rbp
            01 mov rbp, rsp
            04 mov r11, [r15+10h]
            08 cmp rsp, [r11+18h]
            0c jbe short 000000000000001Bh
            0e sub rsp, 20h
            12 mov [rbp-18h], rdi
            16 mov rsp, rbp
            19 pop rbp
            1a ret
            1b sub rsp, 20h
            1f mov [rsp], rdi
            23 movups [rsp+8], xmm0
            28 mov rdi, r15
            2b mov rax, [r15+10h]
            2f call qword ptr [rax+28h]
            32 mov rdi, [rsp]
            36 movups xmm0, [rsp+8]
            3b add rsp, 20h
            3f jmp short 4
        "#]],
    );
    assert_eq!(small.calls.len(), 1);
    let large = disassemble(&with_slot(&sphex, Some(runtime), 5000, 3));
    assert!(large.contains("sub r10, 1390h") && large.contains("jb short"), "{large}");
}

#[test]
fn large_frames_touch_every_page_and_aligned_slots_are_aligned() {
    let sig = signature(CallConv::SystemV, &[I64], &[]);
    let text = disassemble(&with_slot(&sig, None, 5 * 4096 + 64, 3));
    assert_eq!(text.matches("mov dword ptr [rsp], 0").count(), 5, "{text}");
    let code = with_slot(&sig, None, 100 * 4096, 3);
    expect_code(
        &code,
        expect![[r#"
            00 push rbp
            01 mov rbp, rsp
            04 lea r11, [rsp-64000h]
            0c sub rsp, 1000h
            13 mov dword ptr [rsp], 0
            1a cmp rsp, r11
            1d jne short 000000000000000Ch
            1f mov [rbp-63FF8h], rdi
            26 mov rsp, rbp
            29 pop rbp
            2a ret
        "#]],
    );
    assert_eq!(code.traps.len(), 1);
    expect_code(
        &with_slot(&sig, None, 64, 6),
        expect![[r#"
            00 push rbp
            01 mov rbp, rsp
            04 sub rsp, 40h
            08 and rsp, 0FFFFFFFFFFFFFFC0h
            0c mov [rsp+8], rdi
            11 mov rsp, rbp
            14 pop rbp
            15 ret
        "#]],
    );
}

#[test]
fn saved_registers_come_back() {
    for conv in
        [CallConv::SystemV, CallConv::PreserveAll, CallConv::WindowsFastcall, CallConv::Tail, CallConv::Winch]
    {
        let sig = signature(conv, &[I64, F64], &[]);
        let code = compile(&sig, None, |f, placement| {
            let block = f.add_block(false);
            let v = vregs(f, &[I64, F64]);
            f.start_block(block);
            // More values than there are registers, all read at the end.
            let ints: Vec<_> = (0..20).map(|_| f.new_vreg_for(I64)).collect();
            let floats: Vec<_> = (0..20).map(|_| f.new_vreg_for(F64)).collect();
            for (k, &x) in ints.iter().enumerate() {
                f.inst(op::MOV_RM, Variant::S64).write(x).mem(Amode::reg(v[0], 8 * k as i32));
            }
            for (k, &x) in floats.iter().enumerate() {
                f.inst(op::MOVSD_RM, Variant::NONE).write(x).mem(Amode::reg(v[0], 8 * k as i32));
            }
            for (k, &x) in ints.iter().enumerate() {
                f.inst(op::MOV_MR, Variant::S64).mem(Amode::reg(v[0], 8 * k as i32)).read(x);
            }
            for (k, &x) in floats.iter().enumerate() {
                f.inst(op::MOVSD_MR, Variant::NONE).mem(Amode::reg(v[0], 8 * k as i32)).read(x);
            }
            f.pseudo(Pseudo::Return, Variant::NONE, 0);
            receive(f, &sig, placement, &v);
        });
        let saves =
            code.unwind.iter().filter(|r| matches!(r.op, sphex_asm::record::UnwindOp::SaveRegister { .. }));
        let expected = match conv {
            CallConv::SystemV => 5,
            CallConv::PreserveAll => 30,
            CallConv::WindowsFastcall => 7 + 10,
            _ => 0,
        };
        assert_eq!(saves.count(), expected, "{conv}");
    }
}
