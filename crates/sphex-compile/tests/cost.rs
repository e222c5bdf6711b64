//! The worst cases: four times the input may take at most 4.6 times the steps.

use sphex_codegen::pipeline::{Context, compile};
use sphex_compile::{Settings, translate_module};
use wasm_encoder::{
    BlockType, CodeSection, Function, FunctionSection, InstructionSink, MemArg, MemArgTarget, MemorySection,
    MemoryType, Module, TypeSection, ValType,
};

/// A module of one function with these locals.
fn module(params: u32, results: u32, locals: u32, body: impl FnOnce(&mut InstructionSink<'_>)) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function(vec![ValType::I32; params as usize], vec![ValType::I32; results as usize]);
    let mut functions = FunctionSection::new();
    functions.function(0);
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: 1,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut function = Function::new([(locals, ValType::I32)]);
    let mut sink = function.instructions();
    body(&mut sink);
    sink.end();
    let mut code = CodeSection::new();
    code.function(&function);
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&memories).section(&code);
    module.finish()
}

/// The steps of each phase of compiling a module of one function, and whether its locals went to slots.
fn steps(wasm: &[u8], optimize: bool) -> ([u64; 6], bool) {
    let (mut steps, mut slots) = ([0; 6], false);
    let mut settings = Settings::default();
    if !optimize {
        settings.set("opt_level", Some("none")).unwrap();
    }
    settings.codegen.verify = false; // the checker's work is not the compiler's
    let mut ctx = Context::new();
    translate_module(wasm, &settings, |_, mut translation| {
        slots |= translation.slots_mode;
        let made = compile(&mut translation.func, &settings.codegen, &mut ctx).unwrap().steps;
        steps = [translation.steps, made.passes, made.select, made.slots, made.regalloc, made.emit];
    })
    .unwrap_or_else(|error| panic!("{error}"));
    (steps, slots)
}

/// Compiles `make(n / 4)` and `make(n)`, the size that the case is named for.
fn check(name: &str, n: u32, expect_slots: bool, make: impl Fn(u32) -> Vec<u8>) {
    for optimize in [true, false] {
        let (small, (large, slots)) = (steps(&make(n / 4), optimize).0, steps(&make(n), optimize));
        println!(
            "{name}: {small:?} steps at {}, {large:?} at {n}, optimized {optimize}, slots {slots}",
            n / 4
        );
        let total = |steps: [u64; 6]| steps.iter().sum::<u64>() as f64;
        assert!(total(large) <= 4.6 * total(small), "{name}: {small:?} at {}, {large:?} at {n}", n / 4);
        assert_eq!(slots, expect_slots, "{name}");
    }
}

#[test]
fn many_blocks() {
    check("100,000 blocks", 100_000, false, |n| {
        module(1, 1, 0, |f| {
            for _ in 0..n {
                f.block(BlockType::Empty).local_get(0).br_if(0).i32_const(1).local_set(0).end();
            }
            f.local_get(0);
        })
    });
}

#[test]
fn one_long_block() {
    check("1,000,000 instructions", 1_000_000, false, |n| {
        module(1, 1, 0, |f| {
            f.local_get(0);
            for _ in 0..n / 2 {
                f.local_get(0).i32_add();
            }
        })
    });
}

#[test]
fn many_locals_and_branches() {
    check("50,000 locals, 50,000 branches", 50_000, true, |n| {
        module(1, 1, n - 1, |f| {
            f.block(BlockType::Empty);
            for local in 1..n {
                f.local_get(0).local_set(local).local_get(local).br_if(0);
            }
            f.end().local_get(n - 1);
        })
    });
    // Nothing is written between the branches: no slots are needed.
    check("50,000 locals, 50,000 branches, few writes", 50_000, false, |n| {
        module(1, 1, n - 1, |f| {
            for local in 1..n {
                f.local_get(0).local_set(local);
            }
            f.block(BlockType::Empty);
            for local in 1..n {
                f.local_get(local).br_if(0);
            }
            f.end().local_get(n - 1);
        })
    });
}

/// Values made first and used last, with blocks between: all of them are live into all of these.
#[test]
fn values_across_many_blocks() {
    check("values across blocks", 8000, false, |n| {
        module(1, 1, 0, |sink| {
            let at = |offset: u32| MemArg {
                offset: u64::from(offset),
                align: 2,
                target: MemArgTarget::Memory(0),
                ordering: None,
            };
            for k in 0..n {
                sink.local_get(0).i32_load(at(4 * k));
            }
            for k in 0..n {
                sink.local_get(0).if_(BlockType::Empty);
                sink.local_get(0).local_get(0).i32_store(at(4 * k)).end();
            }
            for _ in 1..n {
                sink.i32_xor();
            }
        })
    });
}

#[test]
fn a_large_table() {
    check("br_table of 100,000 targets", 100_000, false, |n| {
        module(1, 1, 1, |f| {
            f.block(BlockType::Empty).block(BlockType::Empty);
            f.i32_const(5).local_set(1);
            f.local_get(0).br_table((0..n).map(|k| k % 2).collect::<Vec<u32>>(), 0);
            f.end().i32_const(1).local_set(1).end().local_get(1);
        })
    });
    check("br_table out of 100,000 blocks", 100_000, false, |n| {
        module(1, 1, 1, |f| {
            (0..n).for_each(|_| {
                f.block(BlockType::Empty);
            });
            f.local_get(0).br_table((0..n).collect::<Vec<u32>>(), 0);
            (0..n).for_each(|k| {
                f.end().i32_const(k as i32).local_set(1);
            });
            f.local_get(1);
        })
    });
}

#[test]
fn nested_loops_with_locals() {
    check("10,000 loops, 10,000 locals", 10_000, true, |n| {
        module(1, 1, n, |f| {
            (0..n).for_each(|_| {
                f.loop_(BlockType::Empty);
            });
            (1..=n).for_each(|local| {
                f.local_get(0).local_set(local);
            });
            (0..n).for_each(|k| {
                f.local_get(0).br_if(if k + 1 < n { k % 2 } else { 0 }).end();
            });
            f.local_get(n);
        })
    });
}

#[test]
fn nested_blocks() {
    check("100,000 nested blocks", 100_000, false, |n| {
        module(1, 1, 1, |f| {
            (0..n).for_each(|_| {
                f.block(BlockType::Empty);
            });
            f.local_get(0).local_set(1);
            (0..n).for_each(|_| {
                f.local_get(0).br_if(0).end();
            });
            f.local_get(1);
        })
    });
    check("100,000 br_tables in nested blocks", 100_000, false, |n| {
        module(1, 1, 1, |f| {
            (0..n).for_each(|_| {
                f.block(BlockType::Empty)
                    .local_get(0)
                    .if_(BlockType::Empty)
                    .local_get(0)
                    .br_table([0, 1], 0)
                    .end();
            });
            (0..n).for_each(|_| {
                f.end();
            });
            f.local_get(1);
        })
    });
}

#[test]
fn a_call_with_many_arguments() {
    // Wasm allows 1,000 parameters: the count of calls grows.
    check("calls with 1,000 arguments", 200, false, |n| {
        module(1000, 1, 0, |f| {
            f.i32_const(0);
            for _ in 0..n {
                f.drop();
                (0..1000).for_each(|k| {
                    f.local_get(k);
                });
                f.call(0);
            }
        })
    });
}

#[test]
fn branches_that_carry_too_much_are_refused() {
    // 1,000 results a block, and a branch out of every block: the product, not the bytes, is what would be made.
    let nested = |n: u32| {
        module(1, 1000, 0, |f| {
            let ty = BlockType::FunctionType(0);
            (0..n).for_each(|_| {
                f.local_get(0).block(ty);
            });
            (0..999).for_each(|_| {
                f.local_get(0);
            });
            f.local_get(0).br_table((0..n).collect::<Vec<u32>>(), 0);
            (0..n).for_each(|_| {
                f.end().br(0);
            });
        })
    };
    let translate = |n| translate_module(&nested(n), &Settings::default(), |_, _| {});
    assert_eq!(translate(1_000), Ok(()));
    let error = translate(40_000).unwrap_err();
    assert_eq!(error.to_string(), "a function whose branches carry too many values in function 0");
}
