//! Optimized functions compute what they did: random functions, interpreted before and after all passes.

#[path = "../../../fuzz/src/generate.rs"]
mod generate;
#[path = "../../../fuzz/src/interpreted.rs"]
mod interpreted;
#[allow(dead_code, reason = "the fuzz targets use all of it")]
#[path = "../../../fuzz/src/random.rs"]
mod random;
#[allow(dead_code, reason = "the fuzz targets use all of it")]
#[path = "../../../fuzz/src/seeded.rs"]
mod seeded;

use std::cell::{Cell, RefCell};

use interpreted::{interpret, same, text};
use sphex_codegen::opt::{self, Scratch};
use sphex_ir::interpret::Outcome;
use sphex_ir::{Function, verify};

/// Bytes that make one case.
const LENGTH: usize = 1200;

fn size(func: &Function) -> usize {
    func.layout.iter().map(|b| func.blocks[*b].insts.len()).sum()
}

fn add(sum: &Cell<usize>, count: usize) {
    sum.set(sum.get() + count);
}

/// Optimizes them, verifying after every pass.
fn optimize(functions: &mut [Function], scratch: &mut Scratch) -> Result<(), String> {
    functions.iter_mut().try_for_each(|func| {
        opt::optimize(func, scratch, |func, pass| {
            verify::verify(func).map_err(|errors| format!("after {pass}: {errors}\n{func}"))
        })
    })
}

#[test]
fn random_functions_mean_the_same() {
    let scratch = RefCell::new(Scratch::default());
    let [before_size, after_size, trapped] = [const { Cell::new(0) }; 3];
    let run = seeded::run(2000, LENGTH, |bytes| {
        let before = generate::functions(bytes);
        let mut after = before.clone();
        optimize(&mut after, &mut scratch.borrow_mut())
            .map_err(|error| format!("{error}\n{}", text(&before)))?;
        add(&before_size, before.iter().map(size).sum());
        add(&after_size, after.iter().map(size).sum());
        let seed = interpreted::seed(bytes);
        for trial in 0..4 {
            let runs = (interpret(&before, seed + trial)?, interpret(&after, seed + trial)?);
            // What takes too long is not compared.
            let (Some(first), Some(second)) = runs else { return Ok(0) };
            if !same(&first, &second) {
                let (before, after) = (text(&before), text(&after));
                return Err(format!("trial {trial}: {first:?} then {second:?}\n{before}\n{after}"));
            }
            add(&trapped, usize::from(matches!(first.0, Outcome::Trapped(_))));
        }
        Ok(4)
    });
    let (before, after, trapped) = (before_size.get(), after_size.get(), trapped.get());
    println!("{before} instructions became {after}; {trapped} of {} runs trapped", run.total);
    assert!(after < before && trapped > run.total / 40 && trapped < run.total * 3 / 4);
}

/// What was optimized is left alone: the second run makes nothing larger, and seldom finds anything.
#[test]
fn optimizing_twice_changes_little() {
    let scratch = RefCell::new(Scratch::default());
    let smaller = Cell::new(0);
    let run = seeded::run(300, LENGTH, |bytes| {
        let mut made = generate::functions(bytes);
        for func in &mut made {
            let mut sizes = [0; 3];
            for size_now in &mut sizes {
                optimize(std::slice::from_mut(func), &mut scratch.borrow_mut())?;
                *size_now = size(func);
            }
            // A block kept by the first run for what is computed in it is passed through by the next, which finds that
            // computed elsewhere: that may make a copy more.
            let grows = |before: usize, after: usize| after > before + before / 50;
            if grows(sizes[0], sizes[1]) || grows(sizes[1], sizes[2]) {
                return Err(format!("{sizes:?}\n{func}"));
            }
            add(&smaller, usize::from(sizes[1] < sizes[0]));
        }
        Ok(made.len())
    });
    println!("{} of {} functions were smaller after a second run", smaller.get(), run.total);
    assert!(smaller.get() * 20 < run.total);
}

/// The same input gives the same output, whatever the scratch memory was used for before.
#[test]
fn used_memory_changes_nothing() {
    let used = RefCell::new(Scratch::default());
    seeded::run(200, LENGTH, |bytes| {
        let before = generate::functions(bytes);
        let (mut first, mut second) = (before.clone(), before);
        optimize(&mut first, &mut Scratch::default())?;
        optimize(&mut second, &mut used.borrow_mut())?;
        let (first, second) = (text(&first), text(&second));
        if first == second { Ok(1) } else { Err(format!("{first}\nand\n{second}")) }
    });
}
