//! Which block parameters of type `i32` have zeros in the upper half of their register.
//!
//! Needs: facts. Gives: [`Lower::extended`], which `is_zero_extended` asks: an index that a loop carries is then part of an
//! address as it is. Cost: a few walks over the edges' arguments, [`PASSES`] at most; where they do not suffice, none is.
//!
//! A parameter is one if every argument that comes in is: all moves between registers and slots are of 64 bits. All are
//! assumed to be at first, and those that turn out otherwise go, until nothing changes.

use super::Lower;
use sphex_ir::types::I32;

/// Most walks.
const PASSES: usize = 6;

impl Lower<'_> {
    /// Finds them, before the walk.
    pub(super) fn find_extended(&mut self) {
        let func = self.select.func;
        let mut found = false;
        for k in 0..self.select.facts.postorder.len() {
            let block = self.select.facts.postorder[k];
            if Some(block) == func.entry() || self.select.facts.single_edge(block) {
                continue;
            }
            for param in func.block_params(block).filter(|&param| func.type_of(param) == I32) {
                self.extended.insert(param);
                found = true;
            }
        }
        let mut changed = found;
        for _ in 0..PASSES {
            if !changed {
                return;
            }
            changed = self.drop_others();
        }
        if changed {
            self.extended.clear();
        }
    }

    /// Drops the parameters one of whose arguments is not extended; says whether there were any.
    fn drop_others(&mut self) -> bool {
        let func = self.select.func;
        let mut changed = false;
        for k in (0..self.select.facts.postorder.len()).rev() {
            let Some(end) = func.terminator(self.select.facts.postorder[k]) else { continue };
            for call in func.block_calls(end) {
                let target = func.block_call_target(call);
                if self.select.facts.single_edge(target) {
                    continue;
                }
                for (param, arg) in func.block_params(target).zip(func.block_call_args(call)) {
                    let arg = self.select.resolve(arg);
                    if self.extended.contains(param) && !self.is_extended_argument(arg) {
                        self.extended.remove(param);
                        changed = true;
                    }
                }
            }
        }
        changed
    }

    fn is_extended_argument(&self, arg: sphex_ir::Value) -> bool {
        // A reduced value stands in the register of what it was reduced from.
        let held = self.strip(arg);
        self.ty(held).bits() <= 32 && self.is_zero_extended(held)
    }
}
