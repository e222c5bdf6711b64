//! Placements as text.

use super::*;
use sphex_artifact::convention::{self as shared, Class, Shape};
use sphex_ir::types::*;
use sphex_ir::{AbiParam, CallConv};

fn signature(conv: CallConv, params: &[Type], returns: &[Type]) -> Signature {
    Signature {
        params: params.iter().map(|&ty| AbiParam::new(ty)).collect(),
        returns: returns.iter().map(|&ty| AbiParam::new(ty)).collect(),
        call_conv: conv,
    }
}

fn show(places: &[Place]) -> String {
    use sphex_asm::x64::operand::{Size, register_name};
    let one = |place: &Place| match *place {
        Place::Reg(reg) => register_name(reg, Size::S64).to_string(),
        Place::Pinned(reg) => format!("={}", register_name(reg, Size::S64)),
        Place::Memory(offset) => format!("[{offset}]"),
    };
    places.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// One line a case: parameters, results, return pointer, bytes.
fn check(conv: CallConv, params: &[Type], returns: &[Type], expected: &str) {
    let p = place(Arch::X64, &signature(conv, params, returns)).unwrap();
    let text = format!(
        "({}) -> {} | {} {} {}",
        show(&p.params),
        show(&p.returns),
        show(p.return_pointer.as_slice()),
        p.stack_bytes,
        p.return_bytes
    );
    assert_eq!(text, expected);
}

#[test]
fn each_convention_places_by_its_row() {
    use CallConv::*;
    let params = [I64, F64, I32, I8X16, I64, I16, I8, I64, I64, F32, I8X16];
    check(
        SystemV,
        &params,
        &[I64, F32, I32],
        "(rdi xmm0 rsi xmm1 rdx rcx r8 r9 [0] xmm2 xmm3) -> rax xmm0 rdx |  16 0",
    );
    check(
        SystemV,
        &[F64; 9],
        &[I64; 3],
        "(xmm0 xmm1 xmm2 xmm3 xmm4 xmm5 xmm6 xmm7 [0]) -> rax rdx [0] | rdi 16 16",
    );
    check(
        Fast,
        &[I64; 7],
        &[F32, I64, F64, F32],
        "(rdi rsi rdx rcx r8 r9 [0]) -> xmm0 rax xmm1 [0] | [8] 16 16",
    );
    check(Tail, &[I64; 7], &[I64; 7], "(rdi rsi rdx rcx r8 r9 [0]) -> rdi rsi rdx rcx r8 r9 [0] | [8] 16 16");
    check(Winch, &[I32, F64], &[I32, I64, F64], "(rdi xmm0) -> [0] [8] xmm0 | rsi 0 16");
    check(
        WindowsFastcall,
        &[I64, F64, I64, F32, I64, I8X16],
        &[F64],
        "(rcx xmm1 r8 xmm3 [32] [48]) -> xmm0 |  64 0",
    );
    check(PreserveAll, &[I64], &[], "(rdi) ->  |  0 0");
}

#[test]
fn vmctx_is_pinned_only_where_the_convention_says() {
    let vmctx = AbiParam::special(I64, Purpose::VmContext);
    let mut sig = signature(CallConv::Sphex, &[I64], &[]);
    sig.params.insert(0, vmctx);
    assert_eq!(show(&place(Arch::X64, &sig).unwrap().params), "=r15 rdi");
    sig.call_conv = CallConv::Tail;
    assert_eq!(show(&place(Arch::X64, &sig).unwrap().params), "rdi rsi");
}

#[test]
fn a_lone_sret_is_returned() {
    let mut sig = signature(CallConv::SystemV, &[], &[]);
    sig.params.push(AbiParam::special(I64, Purpose::StructReturn));
    assert_eq!(place(Arch::X64, &sig).unwrap().returned_sret.map(|s| s.0), Some(0));
    sig.returns.push(AbiParam::new(I64));
    assert_eq!(place(Arch::X64, &sig).unwrap().returned_sret, None);
}

#[test]
fn too_much_and_too_wide_are_refused() {
    let many = signature(CallConv::Sphex, &[I64; 6 + 8191], &[]);
    assert!(matches!(place(Arch::X64, &many), Err(CodegenError::SignatureTooLarge { limit: POP_LIMIT, .. })));
    assert!(place(Arch::X64, &signature(CallConv::SystemV, &[I64; 6 + 8191], &[])).is_ok());
    assert_eq!(
        place(Arch::X64, &signature(CallConv::SystemV, &[I128], &[])),
        Err(CodegenError::UnsupportedType(I128))
    );
    assert!(place(Arch::X64, &signature(CallConv::AppleAarch64, &[], &[])).is_err());
}

/// The runtime places values by `sphex_artifact::convention`: both must agree on everything.
#[test]
fn sphex_is_what_the_runtime_thinks_it_is() {
    let kinds = [(I64, Shape::Int), (F64, Shape::Float), (I8X16, Shape::Vector), (I32, Shape::Int)];
    for seed in 0..200usize {
        let pick = |n: usize| kinds[(seed * 7 + n * n * 5 + n * seed) % 4];
        let (params, returns): (Vec<_>, Vec<_>) =
            ((0..seed % 23).map(pick).collect(), (0..seed % 17).map(|n| pick(n + 3)).collect());
        let types = |list: &[(Type, Shape)]| list.iter().map(|k| k.0).collect::<Vec<_>>();
        let ours = place(Arch::X64, &signature(CallConv::Sphex, &types(&params), &types(&returns))).unwrap();
        let theirs =
            shared::place(&shared::SPHEX_X64, params.iter().map(|k| k.1), returns.iter().map(|k| k.1))
                .unwrap();
        let same = |ours: &Place, theirs: &shared::Place| match (*ours, *theirs) {
            (Place::Reg(reg), shared::Place::Register { register, .. }) => {
                reg.number() == register.number
                    && (reg.class() == RegClass::Int) == (register.class == Class::Int)
            }
            (Place::Memory(a), shared::Place::Memory(b)) => a == b,
            _ => false,
        };
        assert!(ours.params.iter().zip(&theirs.params).all(|(a, b)| same(a, b)), "{ours:?} {theirs:?}");
        assert!(ours.returns.iter().zip(&theirs.results).all(|(a, b)| same(a, b)), "{ours:?} {theirs:?}");
        assert_eq!((ours.stack_bytes, ours.return_bytes), (theirs.stack_bytes, theirs.return_bytes));
        assert!(ours.return_pointer.iter().zip(&theirs.return_pointer).all(|(a, b)| same(a, b)));
    }
    let row = convention(Arch::X64, CallConv::Sphex).unwrap();
    assert_eq!(row.vmctx, Some(Reg::int(shared::SPHEX_X64.vmctx.number)));
    assert_eq!(row.caller_vmctx, Reg::int(shared::SPHEX_X64.caller_vmctx.number));
}
