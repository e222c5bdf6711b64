//! `sphex::jit`: CLIF functions of every convention, called with values; traps come back as codes.
#![cfg(feature = "compiler")]
#![allow(unsafe_code)]

use sphex::jit::{DataValue, Jit, Settings, parse};
use sphex::{ErrorKind, Trap};

fn jit(text: &str) -> Jit {
    Jit::new(parse(text).unwrap(), &Settings::host()).unwrap()
}

fn call(jit: &mut Jit, name: &str, arguments: &[DataValue]) -> sphex::Result<Vec<DataValue>> {
    // SAFETY: the functions below touch their arguments' memory and their own stack only.
    unsafe { jit.call(name, arguments) }
}

#[test]
fn calls_every_convention() {
    for convention in ["system_v", "fast", "tail", "sphex", "windows_fastcall"] {
        let mut jit = jit(&format!(
            "function %f(i32, f64, i64, i64, i64, i64, i64, i64, i8) -> i64, f64 {convention} {{
             block0(v0: i32, v1: f64, v2: i64, v3: i64, v4: i64, v5: i64, v6: i64, v7: i64, v8: i8):
                v9 = uextend.i64 v0
                v10 = isub v7, v9
                v11 = sextend.i64 v8
                v12 = iadd v10, v11
                v13 = fadd v1, v1
                return v12, v13
             }}"
        ));
        let i = DataValue::i64;
        let arguments =
            [DataValue::i32(5), DataValue::f64(1.5), i(1), i(2), i(3), i(4), i(6), i(100), DataValue::i8(-3)];
        let results = call(&mut jit, "f", &arguments).unwrap();
        assert_eq!(results, [i(92), DataValue::f64(3.0)], "{convention}");
    }
}

#[test]
fn functions_call_each_other_and_the_vmctx_is_handed_on() {
    let mut jit = jit("
        function %double(i64) -> i64 tail {
        block0(v0: i64):
            v1 = iadd v0, v0
            return v1
        }
        function %g(i64 vmctx, i64) -> i64 sphex {
            fn0 = %double(i64) -> i64 tail
        block0(v0: i64, v1: i64):
            v2 = call fn0(v1)
            v3 = load.i64 notrap aligned v0+8
            v4 = iadd v2, v3
            return v4
        }");
    let context = [1u64, 1000];
    let vmctx = DataValue::i64(context.as_ptr() as i64);
    assert_eq!(call(&mut jit, "g", &[vmctx, DataValue::i64(21)]).unwrap(), [DataValue::i64(1042)]);
}

#[test]
fn traps_are_codes() {
    let mut jit = jit("
        function %div(i32, i32) -> i32 system_v {
        block0(v0: i32, v1: i32):
            v2 = udiv v0, v1
            return v2
        }
        function %null() -> i32 fast {
        block0:
            v0 = iconst.i64 16
            v1 = load.i32 v0
            return v1
        }
        function %user() system_v {
        block0:
            trap user200
        }");
    let error = call(&mut jit, "div", &[DataValue::i32(1), DataValue::i32(0)]).unwrap_err();
    assert_eq!(error.trap(), Some(Trap::IntegerDivisionByZero));
    assert_eq!(call(&mut jit, "div", &[DataValue::i32(9), DataValue::i32(2)]).unwrap(), [DataValue::i32(4)]);
    assert_eq!(call(&mut jit, "null", &[]).unwrap_err().trap(), Some(Trap::MemoryOutOfBounds));
    let error = call(&mut jit, "user", &[]).unwrap_err();
    assert_eq!((error.trap(), error.trap_code()), (None, Some(200)));
    assert_eq!(error.to_string(), "trap user200");
}

#[test]
fn misuse_is_an_error() {
    let mut jit = jit("function %f(i32) -> i32 system_v {\nblock0(v0: i32):\n    return v0\n}");
    assert_eq!(call(&mut jit, "g", &[]).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(call(&mut jit, "f", &[]).unwrap_err().kind(), ErrorKind::Type);
    assert_eq!(call(&mut jit, "f", &[DataValue::i64(1)]).unwrap_err().kind(), ErrorKind::Type);
    assert!(parse("function %f(").is_err());
}
