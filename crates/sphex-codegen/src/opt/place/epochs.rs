//! Stretches of a function that no call interrupts, and the fields that are loaded once in each.
//!
//! Needs: control flow, loops.   Gives: [`Epochs`].   Cost: O(insts + edges).
//!
//! Two points have the same epoch only if no call may be made between the last common point and either. An epoch is named
//! after the call that begins it, or after the block where several meet.

use sphex_entity::EntityRef;
use sphex_ir::flow::{Cfg, Loop, Loops};
use sphex_ir::{Block, Effects, Function, Opcode, Purpose, Value};

/// See the module's page.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    at_entry: Vec<u32>,
    at_end: Vec<u32>,
    calls_in: Vec<bool>,
}

/// Whether an instruction may take every register.
pub(super) fn is_call(func: &Function, inst: Value) -> bool {
    func.insts[inst].opcode.effects().has(Effects::CALL)
}

/// The epoch that a call begins.
pub(super) fn behind(call: Value) -> u32 {
    call.as_u32() << 1
}

/// The epoch that a block begins.
fn from(block: Block) -> u32 {
    block.as_u32() << 1 | 1
}

impl Epochs {
    /// Finds the epochs of a function.
    pub(super) fn compute(&mut self, func: &Function, cfg: &Cfg, loops: &Loops) {
        const UNSEEN: u32 = u32::MAX;
        self.calls_in.clear();
        self.calls_in.resize(loops.keys().len(), false);
        let last_call =
            |block: Block| func.blocks[block].insts.iter().rev().find(|&&i| is_call(func, i)).copied();
        for &block in cfg.rpo() {
            if let Some(l) = loops.innermost(block) {
                self.calls_in[l.index()] |= last_call(block).is_some();
            }
        }
        for l in loops.keys().rev() {
            if let Some(parent) = loops.get(l).parent.expand() {
                self.calls_in[parent.index()] |= self.calls_in[l.index()];
            }
        }
        for list in [&mut self.at_entry, &mut self.at_end] {
            list.clear();
            list.resize(func.blocks.len(), UNSEEN);
        }
        for &block in cfg.rpo() {
            let quiet =
                loops.is_reducible() && loops.headed_by(block).is_some_and(|l| !self.calls_in[l.index()]);
            let mut ends = cfg.preds(block).iter().map(|pred| self.at_end[pred.index()]);
            let first = ends.clone().find(|&end| end != UNSEEN).unwrap_or(UNSEEN);
            let agree = first != UNSEEN && ends.all(|end| end == first || end == UNSEEN && quiet);
            let entry = if agree && func.entry() != Some(block) { first } else { from(block) };
            self.at_entry[block.index()] = entry;
            self.at_end[block.index()] = last_call(block).map_or(entry, behind);
        }
    }

    /// The epoch at a block's beginning.
    pub(super) fn at_entry(&self, block: Block) -> u32 {
        self.at_entry[block.index()]
    }

    /// Whether a loop makes calls.
    pub(super) fn calls_in(&self, l: Loop) -> bool {
        self.calls_in[l.index()]
    }
}

/// The parameter that is the vmctx.
pub(super) fn vmctx(func: &Function) -> Option<Value> {
    let index = func.signature.special_param(Purpose::VmContext)?;
    func.block_params(func.entry()?).nth(index)
}

/// Whether an instruction loads a constant field of the vmctx, or behind such a one.
pub(super) fn is_field(func: &Function, vmctx: Option<Value>, inst: Value) -> bool {
    let mut inst = inst;
    for _ in 0..2 {
        let data = &func.insts[inst];
        if data.opcode != Opcode::Load {
            return false;
        }
        let flags = func.flags(inst);
        if !flags.readonly || flags.trap.is_some() {
            return false;
        }
        inst = func.resolve(Value::from_u32(data.a));
        if Some(inst) == vmctx {
            return true;
        }
    }
    false
}
