//! Renumbering: it shortens the search for parameters, counts what it leaves, and renames everything alike.

use super::budget::{crossing, easy_search, renumber, search};
use super::relieve;
use crate::machine::{MachineFunction, Pseudo};
use crate::regalloc::Allocator;
use crate::regalloc::VReg;
use crate::settings::Slots;
use sphex_asm::register::RegClass;
use sphex_asm::x64::operand::gpr;
use sphex_asm::x64::{Cond, Variant};

/// A chain of diamonds, each with a parameter at its top, and one value that lives from the entry to the end, numbered
/// behind all the parameters: at each block's start the allocator would look through the arguments of all of them.
fn diamonds(count: usize) -> MachineFunction {
    let mut func = MachineFunction::new();
    let params: Vec<VReg> = (0..count).map(|_| func.new_vreg(RegClass::Int)).collect();
    let kept = func.new_vreg(RegClass::Int);
    let entry = func.add_block(false);
    let blocks: Vec<_> = (0..count).map(|_| [(); 3].map(|()| func.add_block(false))).collect();
    let end = func.add_block(false);
    func.start_block(entry);
    func.pseudo(Pseudo::Entry, Variant::NONE, 0).write_fixed(kept, gpr::RDI);
    func.jump(blocks[0][0], &[kept]);
    for (at, &[top, left, right]) in blocks.iter().enumerate() {
        func.set_params(top, &[params[at]]);
        func.start_block(top);
        let copy = func.new_vreg(RegClass::Int);
        func.copy(copy, params[at]);
        func.jump_if(Cond::E, left, right);
        for side in [left, right] {
            func.start_block(side);
            match blocks.get(at + 1) {
                Some(next) => func.jump(next[0], &[copy]),
                None => func.jump(end, &[]),
            }
        }
    }
    func.start_block(end);
    func.pseudo(Pseudo::Return, Variant::NONE, 0).read_fixed(kept, gpr::RAX);
    func.finish();
    func
}

/// Every mention of a value, in the order of the function's lists.
fn mentions(func: &MachineFunction) -> Vec<usize> {
    let operands = func.operands.iter().map(|operand| operand.vreg().vreg());
    operands.chain(func.vregs.iter().map(|vreg| vreg.vreg())).collect()
}

#[test]
fn renumbering_shortens_the_search_and_counts_what_is_left() {
    let mut func = diamonds(1500);
    let old = mentions(&func);
    let (before, searched) = crossing(&func);
    assert!(before.search > easy_search(&func), "{before:?}");
    let mut after = before;
    renumber(&mut func, &searched, &mut after);
    assert!(after.search * 4 < before.search, "{before:?} became {after:?}");
    let (recounted, _) = crossing(&func);
    assert_eq!((recounted.search, recounted.live), (after.search, before.live));
    // The same name for the same value everywhere, another for another.
    let mut names = vec![None; func.vreg_count()];
    for (old, new) in old.into_iter().zip(mentions(&func)) {
        assert_eq!(*names[old].get_or_insert(new), new, "value {old}");
    }
    let mut all: Vec<usize> = names.into_iter().flatten().collect();
    all.sort_unstable();
    assert!(all.iter().copied().eq(0..func.vreg_count()), "{} names", all.len());
}

#[test]
fn a_long_search_is_relieved_by_numbers_not_by_slots() {
    let mut func = diamonds(5000);
    assert!(crossing(&func).0.search > search(&func), "the slots would be needed");
    let insts = func.insts.len();
    relieve(&mut func, Slots::Budget, Allocator::Search);
    assert!(crossing(&func).0.search <= search(&func));
    assert_eq!((func.insts.len(), func.slots.len()), (insts, 0), "nothing goes through the frame");
}
