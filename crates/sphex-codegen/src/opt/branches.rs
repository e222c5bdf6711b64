//! Simplifies control flow: jumps go where they end up, straight lines are one block, rare blocks are marked.
//!
//! Needs: SSA, placed or floating.   Gives: no unreachable block, no block that alone leads to a block that it alone leads to,
//! no jump to a block that only jumps on (but through cold blocks and long chains).   Breaks: merged parameters become
//! aliases; their users may fold further.   Cost: O(uses + edges), threaded arguments within a budget.
//!
//! I1. A block is passed through only if its parameters are used by its terminator alone, since another path to what it
//!     dominates would leave them without a value.
//! I2. Blocks merge from the first of a line on, so that each instruction moves once.

use super::graph::Graph;
use smallvec::SmallVec;
use sphex_entity::EntitySet;
use sphex_ir::flow::Cfg;
use sphex_ir::{Block, BlockCall, Format, Function, InstData, Opcode, Value, types};

/// Arguments of a block.
type Args = SmallVec<[Value; 8]>;

/// Blocks passed through from one jump.
const HOPS: usize = 8;

/// Scratch of the pass, reused from function to function.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Parameters used elsewhere than in their own block's terminator (I1).
    outside: EntitySet<Value>,
    seen: EntitySet<Value>,
    work: Vec<Value>,
    gone: EntitySet<Block>,
    budget: usize,
}

/// Simplifies control flow; says whether anything changed that may let values fold.
pub fn branches(func: &mut Function, scratch: &mut Scratch, graph: &mut Graph) -> bool {
    let s = scratch;
    reachable(func, graph);
    let (threaded, mut changed) = s.thread(func);
    if threaded {
        graph.forget();
        reachable(func, graph);
    }
    changed |= merge(func, graph, &mut s.gone);
    graph.edges(func);
    mark_cold(func, graph);
    changed
}

/// Leaves only what control can get to.
fn reachable(func: &mut Function, graph: &mut Graph) {
    graph.edges(func);
    if super::drop_unreachable(func, &graph.cfg) {
        graph.drop_unreachable();
    }
}

fn is_param(func: &Function, value: Value) -> bool {
    func.insts[value].opcode == Opcode::BlockParam
}

impl Scratch {
    /// Finds the parameters that are used outside their own block's terminator, if anything asks for them.
    fn find_outside_uses(&mut self, func: &Function) {
        let asked = |block: &Block| {
            let data = &func.blocks[*block];
            data.insts.len() == 1 && !data.params.is_empty()
        };
        self.outside.reset(func.insts.len());
        if !func.layout.iter().any(asked) {
            return;
        }
        self.seen.reset(func.insts.len());
        for &block in &func.layout {
            let Some((&end, insts)) = func.blocks[block].insts.split_last() else { continue };
            for &inst in insts {
                func.visit_uses(inst, |v| self.used(func, v, Block::NONE));
            }
            let own = if func.insts[end].opcode.is_terminator() { block } else { Block::NONE };
            func.visit_uses(end, |v| self.used(func, v, own));
        }
        while let Some(inst) = self.work.pop() {
            func.visit_operands(inst, |v| self.used(func, v, Block::NONE));
        }
    }

    /// A value is used, by a terminator of block `own` if that is one.
    fn used(&mut self, func: &Function, value: Value, own: Block) {
        let value = func.resolve(value);
        match func.definition(value) {
            None => {
                if func.insts[value].a != own.as_u32() {
                    self.outside.insert(value);
                }
            }
            Some((inst, _)) => {
                if func.block_of[inst].is_none() && self.seen.insert(inst) {
                    self.work.push(inst);
                }
            }
        }
    }

    /// Sends each jump to where it ends up, and makes branches to traps into checks. Says whether there were any, and whether
    /// values may fold by that: not if one side of a branch only goes past a block that jumps, which is what blocks are
    /// whose values turned out to need no computing.
    fn thread(&mut self, func: &mut Function) -> (bool, bool) {
        self.find_outside_uses(func);
        self.budget = 1024 + 2 * func.insts.len();
        let (mut threaded, mut changed) = (false, false);
        for at in 0..func.layout.len() {
            let block = func.layout[at];
            let Some(end) = func.terminator(block) else { continue };
            if !matches!(func.insts[end].format(), Format::Jump | Format::Brif | Format::BrTable) {
                continue;
            }
            for (k, call) in func.block_calls(end).into_iter().enumerate() {
                let branch = func.insts[end].format() != Format::Jump;
                if let Some((to, decided)) = self.follow(func, call, branch) {
                    func.set_block_call(end, k, to);
                    threaded = true;
                    changed |= decided || !branch;
                }
            }
            changed |= check_instead_of_branch(func, block, end);
        }
        (threaded || changed, changed)
    }

    /// Where a jump, or one way of a `branch`, ends up, if that is elsewhere, and whether a branch was decided on the way.
    fn follow(&mut self, func: &mut Function, call: BlockCall, branch: bool) -> Option<(BlockCall, bool)> {
        let mut target = func.block_call_target(call);
        let mut args = Args::new();
        let (mut moved, mut decided) = (false, false);
        for _ in 0..HOPS {
            if func.blocks[target].insts.len() != 1 || func.entry() == Some(target) {
                break;
            }
            if !moved {
                args.extend(func.block_call_args(call));
            }
            let Some((next, passed)) = self.hop(func, target, &args, branch) else { break };
            let Some(left) = self.budget.checked_sub(1 + passed.len()) else { break };
            self.budget = left;
            decided |= func.terminator(target).is_some_and(|end| func.insts[end].format() == Format::Brif);
            (target, args, moved) = (next, passed, true);
        }
        moved.then(|| (func.make_block_call(target, &args), decided))
    }

    /// Where a jump with these arguments to a block that has nothing but a terminator goes on.
    ///
    /// A block on one side of a branch is where what it passes on is computed: without it, both sides would pay.
    fn hop(&self, func: &Function, block: Block, args: &[Value], branch: bool) -> Option<(Block, Args)> {
        let data = func.insts[func.terminator(block)?];
        if func.block_params(block).any(|param| self.outside.contains(param)) {
            return None;
        }
        let passed = |v: Value| {
            let value = func.resolve(v);
            let data = func.insts[value];
            let mine = data.opcode == Opcode::BlockParam && data.a == block.as_u32();
            if mine { args.get(data.b as usize).copied().unwrap_or(value) } else { value }
        };
        let call = match data.format() {
            Format::Jump => data.a,
            Format::Brif => match func.as_iconst(passed(Value::from_u32(data.a)))? {
                0 => data.c,
                _ => data.b,
            },
            _ => return None,
        };
        let call = BlockCall::from_u32(call);
        let next = func.block_call_target(call);
        if next == block || func.blocks[block].cold && !func.blocks[next].cold {
            return None;
        }
        if branch && data.format() == Format::Jump && func.block_call_args(call).any(|v| computed(func, v)) {
            return None;
        }
        Some((next, func.block_call_args(call).map(passed).collect()))
    }
}

/// Whether a value floats and costs something to compute.
fn computed(func: &Function, value: Value) -> bool {
    let Some((inst, _)) = func.definition(func.resolve(value)) else { return false };
    let constant = matches!(func.insts[inst].opcode, Opcode::Iconst | Opcode::F32const | Opcode::F64const);
    func.block_of[inst].is_none() && !constant && !is_param(func, inst)
}

/// Merges each block with the one it jumps to, if nothing else does.
fn merge(func: &mut Function, graph: &mut Graph, gone: &mut EntitySet<Block>) -> bool {
    gone.reset(func.blocks.len());
    let (mut merged, mut changed) = (false, false);
    for &block in graph.cfg.rpo() {
        if gone.contains(block) {
            continue;
        }
        while let Some(next) = only_successor(func, &graph.cfg, block) {
            gone.insert(next);
            merged = true;
            changed |= absorb(func, block, next);
        }
    }
    if merged {
        func.layout.retain(|&b| !gone.contains(b));
        graph.forget();
    }
    changed
}

/// The block that this one jumps to, if no other edge leads there.
fn only_successor(func: &Function, cfg: &Cfg, block: Block) -> Option<Block> {
    let end = func.terminator(block)?;
    if func.insts[end].opcode != Opcode::Jump {
        return None;
    }
    let next = func.block_call_target(BlockCall::from_u32(func.insts[end].a));
    let alone = cfg.preds(next).len() == 1 && next != block && func.entry() != Some(next);
    alone.then_some(next)
}

/// Marks blocks that lead to a trap only.
fn mark_cold(func: &mut Function, graph: &Graph) {
    for &block in graph.cfg.rpo().iter().rev() {
        if func.entry() == Some(block) || func.blocks[block].cold {
            continue;
        }
        let traps = func.terminator(block).is_some_and(|end| func.insts[end].opcode == Opcode::Trap);
        let next = graph.cfg.succs(block);
        func.blocks[block].cold = traps || !next.is_empty() && next.iter().all(|b| func.blocks[*b].cold);
    }
}

/// Takes the instructions of `next` over into `block`, which jumps there; says whether values were replaced.
fn absorb(func: &mut Function, block: Block, next: Block) -> bool {
    let Some(jump) = func.blocks[block].insts.pop() else { return false };
    func.block_of[jump] = Block::NONE;
    let call = BlockCall::from_u32(func.insts[jump].a);
    let pairs: SmallVec<[(Value, Value); 8]> =
        func.block_params(next).zip(func.block_call_args(call)).collect();
    for &(param, arg) in &pairs {
        func.replace(param, arg);
    }
    let moved = core::mem::take(&mut func.blocks[next].insts);
    for &inst in &moved {
        func.block_of[inst] = block;
    }
    if func.blocks[block].insts.is_empty() {
        let empty = core::mem::replace(&mut func.blocks[block].insts, moved);
        func.reuse_list(empty);
    } else {
        func.blocks[block].insts.extend_from_slice(&moved);
        func.reuse_list(moved);
    }
    !pairs.is_empty()
}

/// The trap code of a block that does nothing else.
fn only_traps(func: &Function, call: u32) -> Option<u16> {
    let block = func.block_call_target(BlockCall::from_u32(call));
    match func.blocks[block].insts[..] {
        [inst] if func.insts[inst].opcode == Opcode::Trap => Some(func.insts[inst].aux),
        _ => None,
    }
}

/// Makes a branch, one of whose sides only traps, a check and a jump.
fn check_instead_of_branch(func: &mut Function, block: Block, end: Value) -> bool {
    let data = func.insts[end];
    if data.opcode != Opcode::Brif {
        return false;
    }
    let (opcode, code, trap, other) = match (only_traps(func, data.b), only_traps(func, data.c)) {
        (Some(code), None) => (Opcode::Trapnz, code, data.b, data.c),
        (None, Some(code)) => (Opcode::Trapz, code, data.c, data.b),
        _ => return false,
    };
    // The trap keeps its own place in the source.
    let target = func.block_call_target(BlockCall::from_u32(trap));
    let loc = func.blocks[target].insts.first().map_or(func.srclocs[end], |&inst| func.srclocs[inst]);
    let check = InstData::unary(opcode, types::INVALID, Value::from_u32(data.a)).with_aux(code);
    let check = func.make(check, loc);
    func.block_of[check] = block;
    func.insts[end] = InstData::new(Opcode::Jump, types::INVALID, other, 0, 0);
    let before_end = func.blocks[block].insts.len() - 1;
    func.blocks[block].insts.insert(before_end, check);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use sphex_ir::parse::parse_functions;

    fn after(text: &str) -> String {
        let mut func = parse_functions(text).expect("it parses").remove(0);
        branches(&mut func, &mut Scratch::default(), &mut Graph::default());
        func.resolve_aliases();
        sphex_ir::verify::verify(&func).expect("it verifies");
        func.to_string()
    }

    #[test]
    fn a_branch_on_a_constant_passed_goes_straight() {
        let text = after(
            "function %f(i32) -> i32 {
            block0(v0: i32):
                v1 = iconst.i32 1
                v2 = iconst.i32 0
                brif v0, block1(v1), block2
            block2:
                jump block1(v2)
            block1(v3: i32):
                brif v3, block3, block4
            block3:
                return v1
            block4:
                return v2
            }",
        );
        assert!(
            text.contains("brif v0, block3, block4") || text.contains("brif v0, block1, block2"),
            "{text}"
        );
    }

    #[test]
    fn a_branch_to_a_trap_is_a_check() {
        let text = after(
            "function %f(i32) -> i32 {
            block0(v0: i32):
                brif v0, block1, block2
            block1:
                trap user1
            block2:
                return v0
            }",
        );
        assert!(text.contains("trapnz v0, user1") && !text.contains("brif"), "{text}");
    }

    #[test]
    fn a_parameter_used_further_on_keeps_its_block() {
        let text = after(
            "function %f(i32) -> i32 {
            block0(v0: i32):
                v1 = iconst.i32 1
                v2 = iconst.i32 0
                brif v0, block1(v1), block1(v2)
            block1(v3: i32):
                brif v3, block3, block4
            block3:
                return v3
            block4:
                return v0
            }",
        );
        assert!(text.matches("brif").count() == 2, "{text}");
    }
}
