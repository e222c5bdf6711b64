//! Large functions compile in steps that grow with their size: each shape at `n` and `4n` (the steps of the whole way
//! from WebAssembly are `sphex-compile`'s test `cost`).

use sphex_codegen::Settings;
use sphex_codegen::emit::Steps;
use sphex_codegen::pipeline::{Context, compile};
use sphex_ir::types::{I32, I64};
use sphex_ir::{AbiParam, Builder, CallConv, ExtFunc, ExternalName, Function, IntCC, Opcode, Signature};

fn function(params: usize) -> (Function, Vec<sphex_ir::Value>, sphex_ir::Block) {
    let mut sig = Signature::new(CallConv::Fast);
    sig.params = vec![AbiParam::new(I64); params];
    sig.returns = vec![AbiParam::new(I64)];
    let mut func = Function::new(ExternalName::symbol("f"), sig);
    let block = func.add_block();
    let values = (0..params).map(|_| func.add_block_param(block, I64)).collect();
    (func, values, block)
}

/// Blocks one after another, each leaving to the end or going on.
fn many_blocks(n: usize) -> Function {
    let (mut func, values, entry) = function(2);
    let blocks: Vec<_> = (0..n).map(|_| func.add_block()).collect();
    let end = func.add_block();
    let result = func.add_block_param(end, I64);
    let mut b = Builder::new(&mut func);
    b.switch_to(entry);
    b.jump(blocks[0], &[]);
    for (k, &block) in blocks.iter().enumerate() {
        b.switch_to(block);
        let c = b.iconst(I64, k as i64);
        let x = b.icmp(IntCC::Eq, values[0], c);
        match blocks.get(k + 1) {
            Some(&next) => b.brif(x, (end, &[values[1]]), (next, &[])),
            None => b.jump(end, &[values[0]]),
        };
    }
    b.switch_to(end);
    b.ret(&[result]);
    func
}

/// One block whose instructions use values made long before.
fn long_block(n: usize) -> Function {
    let (mut func, mut values, entry) = function(2);
    let mut b = Builder::new(&mut func);
    b.switch_to(entry);
    for k in 0..n {
        let (x, y) = (values[k + 1], values[(k * 7 / 8).max(k.saturating_sub(40))]);
        values.push(b.binary([Opcode::Iadd, Opcode::Bxor, Opcode::Isub][k % 3], x, y));
    }
    let last = values[values.len() - 1];
    b.ret(&[last]);
    func
}

/// A table of jumps to as many blocks.
fn large_table(n: usize) -> Function {
    let (mut func, values, entry) = function(1);
    let blocks: Vec<_> = (0..n).map(|_| func.add_block()).collect();
    let end = func.add_block();
    let result = func.add_block_param(end, I64);
    let mut b = Builder::new(&mut func);
    b.switch_to(entry);
    let index = b.convert(Opcode::Ireduce, I32, values[0]);
    let mut calls = vec![b.func.make_block_call(end, &[values[0]])];
    calls.extend(blocks.iter().map(|&block| b.func.make_block_call(block, &[])));
    b.br_table(index, &calls);
    for (k, &block) in blocks.iter().enumerate() {
        b.switch_to(block);
        let c = b.iconst(I64, k as i64);
        b.jump(end, &[c]);
    }
    b.switch_to(end);
    b.ret(&[result]);
    func
}

/// Calls with a thousand arguments.
fn wide_calls(n: usize) -> Function {
    let (mut func, values, entry) = function(4);
    let mut sig = Signature::new(CallConv::Tail);
    sig.params = vec![AbiParam::new(I64); 1000];
    sig.returns = vec![AbiParam::new(I64); 100];
    let signature = func.signatures.push(sig);
    let name = ExternalName::symbol("g");
    let callee = func.ext_funcs.push(ExtFunc { name, signature, colocated: true, leaves: false });
    let mut b = Builder::new(&mut func);
    b.switch_to(entry);
    let mut args: Vec<_> = (0..1000).map(|k| values[k % 4]).collect();
    for _ in 0..n {
        let call = b.call(callee, &args);
        args[..100].copy_from_slice(&b.func.results(call).collect::<Vec<_>>());
    }
    b.ret(&[args[99]]);
    func
}

/// Loops one in another, each with a counter of its own that is live through all inside.
fn nested_loops(n: usize) -> Function {
    let (mut func, values, entry) = function(1);
    let heads: Vec<_> = (0..n).map(|_| func.add_block()).collect();
    let counters: Vec<_> = heads.iter().map(|&head| func.add_block_param(head, I64)).collect();
    let tails: Vec<_> = (0..=n).map(|_| func.add_block()).collect();
    let mut b = Builder::new(&mut func);
    b.switch_to(entry);
    b.jump(heads[0], &[values[0]]);
    for k in 0..n {
        b.switch_to(heads[k]);
        match heads.get(k + 1) {
            Some(&next) => b.jump(next, &[values[0]]),
            None => b.jump(tails[n - 1], &[]),
        };
    }
    for k in (0..n).rev() {
        b.switch_to(tails[k]);
        let minus = b.iconst(I64, -1);
        let next = b.binary(Opcode::Iadd, counters[k], minus);
        let out = if k == 0 { tails[n] } else { tails[k - 1] };
        b.brif(next, (heads[k], &[next]), (out, &[]));
    }
    b.switch_to(tails[n]);
    b.ret(&[values[0]]);
    func
}

fn steps(mut func: Function, settings: &Settings, ctx: &mut Context) -> Steps {
    compile(&mut func, settings, ctx).unwrap().steps
}

#[test]
fn steps_grow_with_size() {
    let mut settings = Settings::host();
    settings.verify = false;
    type Shape = (&'static str, fn(usize) -> Function, usize);
    let shapes: [Shape; 5] = [
        ("blocks", many_blocks, 100_000),
        ("one block", long_block, 100_000),
        ("table", large_table, 100_000),
        ("calls of 1,000 arguments", wide_calls, 48),
        ("nested loops", nested_loops, 10_000),
    ];
    let mut ctx = Context::new();
    for (name, make, size) in shapes {
        let small = steps(make(size / 4), &settings, &mut ctx);
        let large = steps(make(size), &settings, &mut ctx);
        println!("{name}: {}: {small:?}, {size}: {large:?}", size / 4);
        assert!(large.total() as f64 <= 4.6 * small.total() as f64, "{name}: {small:?}, then {large:?}");
    }
}
