//! Structured control: frames, branches, merges.
//!
//! Every construct that branches leave has a *join*: a block whose first parameters are the construct's results. Which
//! locals need a parameter there is known only at its end: each branch records the locals written since the construct
//! began, and at the end a local whose values differ gets a parameter, and every branch its argument.
//!
//! A loop's header has parameters for the loop's own and for the locals that the prescan found assigned in it.
//!
//! J1. Every edge to a join is in its frame's `edges`, with a snapshot of what was written on the way; a local absent from
//!     the snapshot has the value that it had when the frame began.
//! J2. After an operator that does not return to the next one, nothing is emitted until a join or an `else`.

use super::locals::Mark;
use super::{OpError, Output, Translator, Types, Values};
use sphex_artifact::Trap;
use sphex_artifact::vmctx;
use sphex_ir::{Block, BlockCall, IntCC, Opcode, Value, types};
use wasmparser::{BlockType, BrTable};

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// The function's body: leaving it returns.
    Body,
    Block,
    /// A loop and its header.
    Loop(Block),
    /// The first arm of an `if`; the block of the second, if there is one.
    If(Option<Block>),
    Else,
    /// Entered by unreachable code.
    Dead,
}

/// A branch to a join: the `k`th block call of `inst`, and its part of the frame's snapshots.
#[derive(Clone, Copy, Debug)]
struct Edge {
    inst: Value,
    k: u32,
    call: BlockCall,
    snapshot: (u32, u32),
    /// Accesses noted so far.
    accesses: u32,
}

/// A construct that is open.
#[derive(Debug)]
pub(super) struct Frame {
    kind: Kind,
    ty: BlockType,
    /// Height of the operand stack below its parameters.
    base: usize,
    results: usize,
    params: usize,
    join: Option<Block>,
    edges: Vec<Edge>,
    snapshots: Vec<(u32, Value)>,
    /// The mark of the frame around it.
    outer: Mark,
    /// Its own.
    mark: Mark,
    /// Parameters kept for the second arm.
    else_params: Values,
    /// Accesses noted before it.
    accesses: u32,
    /// Which loop it is.
    ordinal: usize,
    /// The last `br_table` that has it as a target (by number), how often, and the block that those entries share.
    table: (u32, u32, Option<Block>),
}

/// Scratch memory of merges, by local.
#[derive(Default)]
pub(super) struct Merge {
    values: Vec<Value>,
    stamps: Vec<u32>,
    counts: Vec<u32>,
    differs: Vec<bool>,
    touched: Vec<u32>,
    stamp: u32,
}

impl Merge {
    /// Makes room for what is noted of a local.
    fn cover(&mut self, local: u32) {
        let at = local as usize;
        if at >= self.stamps.len() {
            self.values.resize(at + 1, Value::NONE);
            self.stamps.resize(at + 1, 0);
            self.counts.resize(at + 1, 0);
            self.differs.resize(at + 1, false);
        }
    }

    /// Notes the value of `local` on the edge `stamp`; only the first note of an edge counts.
    fn note(&mut self, local: u32, value: Value, stamp: u32, first_stamp: u32) {
        let at = local as usize;
        self.cover(local);
        if self.stamps[at] == stamp {
            return;
        }
        if self.stamps[at] < first_stamp {
            self.touched.push(local);
            (self.values[at], self.counts[at], self.differs[at]) = (value, 0, false);
        } else if self.values[at] != value {
            self.differs[at] = true;
        }
        self.counts[at] += 1;
        self.stamps[at] = stamp;
    }
}

impl Frame {
    /// Which loop it is, if it is one.
    pub(super) fn ordinal(&self) -> usize {
        self.ordinal
    }
}

impl Translator<'_, '_, '_> {
    pub(super) fn push_function_frame(&mut self, ty: u32) {
        self.push_frame(Kind::Body, BlockType::FuncType(ty), 0, 0);
    }

    /// The frame of an inlined body: a block that `return` leaves.
    pub(super) fn push_inlined_frame(&mut self, ty: u32) {
        self.push_frame(Kind::Block, BlockType::FuncType(ty), 0, 0);
    }

    fn arity(&self, ty: BlockType) -> (usize, usize) {
        match ty {
            BlockType::Empty => (0, 0),
            BlockType::Type(_) => (0, 1),
            BlockType::FuncType(index) => self
                .info
                .module
                .types
                .get(index as usize)
                .map_or((0, 0), |t| (t.params.len(), t.results.len())),
        }
    }

    fn result_types(&self, ty: BlockType) -> Result<Types, OpError> {
        match ty {
            BlockType::Empty => Ok(Types::new()),
            BlockType::Type(ty) => Ok(Types::from_slice(&[self.val_type(ty)?])),
            BlockType::FuncType(index) => {
                let Some(ty) = self.info.module.types.get(index as usize) else { return Ok(Types::new()) };
                ty.results.iter().map(|&ty| super::ir_type(ty)).collect()
            }
        }
    }

    fn push_frame(&mut self, kind: Kind, ty: BlockType, params: usize, ordinal: usize) {
        let (_, results) = self.arity(ty);
        let outer = if kind == Kind::Dead { self.locals.mark() } else { self.locals.enter() };
        self.frames.push(Frame {
            kind,
            ty,
            base: self.stack.len().saturating_sub(params),
            results,
            params,
            join: None,
            edges: Vec::new(),
            snapshots: Vec::new(),
            outer,
            mark: self.locals.mark(),
            else_params: Values::new(),
            accesses: self.accesses.mark(),
            ordinal,
            table: (0, 0, None),
        });
    }

    /// Nothing more is reachable until a join or an `else`.
    pub(super) fn stop(&mut self) {
        self.reachable = false;
        let base = self.frames.last().map_or(0, |frame| frame.base);
        self.stack.truncate(base);
    }

    pub(super) fn block(&mut self, ty: BlockType) -> Output {
        if !self.reachable {
            self.push_frame(Kind::Dead, ty, 0, 0);
            return Ok(());
        }
        let (params, _) = self.arity(ty);
        self.push_frame(Kind::Block, ty, params, 0);
        Ok(())
    }

    pub(super) fn loop_(&mut self, ty: BlockType) -> Output {
        let ordinal = self.loops;
        self.loops += 1;
        if !self.reachable {
            self.push_frame(Kind::Dead, ty, 0, 0);
            return Ok(());
        }
        let (params, _) = self.arity(ty);
        let header = self.new_block();
        let mut args = Values::from_slice(self.peek_many(params));
        let at = self.stack.len() - args.len();
        for k in 0..args.len() {
            let ty = self.b.func.type_of(args[k]);
            self.stack[at + k] = self.b.func.add_block_param(header, ty);
        }
        self.loop_locals(ordinal, |this, local| args.push(this.locals.get(local)));
        self.spend(args.len())?;
        self.b.jump(header, &args);
        self.loop_locals(ordinal, |this, local| {
            let param = this.b.func.add_block_param(header, this.locals.ty(local));
            this.locals.set(local, param);
        });
        self.push_frame(Kind::Loop(header), ty, params, ordinal);
        self.begin_dispatch(ordinal);
        self.switch_to(header);
        if self.settings.interruption {
            self.interruption_check();
        }
        self.take_fuel();
        Ok(())
    }

    /// Calls `visit` with each local that the header of this loop has a parameter for.
    pub(super) fn loop_locals(&mut self, ordinal: usize, mut visit: impl FnMut(&mut Self, u32)) {
        if self.slots.is_none() {
            let (scan, count) = (self.scan, self.validator.len_locals());
            for &local in scan.assigned(ordinal).iter().filter(|&&local| local < count) {
                visit(self, local);
            }
        }
    }

    /// `limit` of all ones means that someone wants the program to stop: a trap, whose record says so. It clobbers
    /// nothing, where a call out of the loop would take every register from what lives across it.
    pub(super) fn interruption_check(&mut self) {
        let store = self.vmctx_field(types::I64, vmctx::header::STORE);
        let flags = self.trusted(super::context::Part::Limit);
        let word = self.offset(store, vmctx::store::LIMIT);
        // Atomic, for someone else writes it: an ordinary load would be known from the loop outside.
        let limit = self.b.atomic_load(types::I64, flags, word);
        let ones = self.b.iconst(types::I64, -1);
        let hit = self.b.icmp(IntCC::Eq, limit, ones);
        self.b.trapnz(hit, super::tables::trap_code(Trap::Interrupt));
    }

    /// At the entry of a function and the head of a loop: takes one of the store's fuel, if the settings want it counted.
    /// Where none was left it is a trap that the runtime may let code go on from: it adds fuel, from which the one has been
    /// taken then. What stands between two such places is bounded by the module's size.
    pub(super) fn take_fuel(&mut self) {
        if !self.settings.fuel {
            return;
        }
        let store = self.vmctx_field(types::I64, vmctx::header::STORE);
        let flags = self.trusted(super::context::Part::Fuel);
        let word = self.offset(store, vmctx::store::FUEL);
        // Atomic, for the runtime writes it at the trap: an ordinary load would be known from the store before.
        let fuel = self.b.atomic_load(types::I64, flags, word);
        let one = self.b.iconst(types::I64, 1);
        let left = self.b.binary(Opcode::Isub, fuel, one);
        self.b.store(Opcode::Store, flags, left, store, vmctx::store::FUEL as i32);
        let zero = self.b.iconst(types::I64, 0);
        let none = self.b.icmp(IntCC::Slt, left, zero);
        self.b.trapnz(none, super::tables::trap_code(Trap::OutOfFuel));
    }

    pub(super) fn if_(&mut self, ty: BlockType) -> Output {
        let has_else = self.scan.has_else(self.ifs);
        self.ifs += 1;
        if !self.reachable {
            self.push_frame(Kind::Dead, ty, 0, 0);
            return Ok(());
        }
        let condition = self.pop_condition();
        let (params, _) = self.arity(ty);
        let then = self.new_block();
        if has_else {
            let other = self.new_block();
            self.b.brif(condition, (then, &[]), (other, &[]));
            self.push_frame(Kind::If(Some(other)), ty, params, 0);
            let kept = Values::from_slice(self.peek_many(params));
            self.spend(params)?;
            if let Some(frame) = self.frames.last_mut() {
                frame.else_params = kept;
            }
        } else {
            self.push_frame(Kind::If(None), ty, params, 0);
            let depth = self.frames.len() - 1;
            let args = Values::from_slice(self.peek_many(params));
            let join = self.join(depth)?;
            let inst = self.b.brif(condition, (then, &[]), (join, &args));
            self.note_edge(depth, inst, join)?;
        }
        self.switch_to(then);
        Ok(())
    }

    pub(super) fn else_(&mut self) -> Output {
        let depth = self.frames.len() - 1;
        let Kind::If(Some(other)) = self.frames[depth].kind else { return Ok(()) };
        if self.reachable {
            self.fall_through(depth)?;
        }
        self.locals.restore();
        let frame = &mut self.frames[depth];
        frame.kind = Kind::Else;
        self.accesses.forget_since(frame.accesses);
        self.stack.truncate(frame.base);
        self.stack.append(&mut frame.else_params.to_vec());
        self.reachable = true;
        self.switch_to(other);
        Ok(())
    }

    pub(super) fn end(&mut self) -> Output {
        let Some(depth) = self.frames.len().checked_sub(1) else { return Ok(()) };
        self.end_dispatch(depth);
        let frame = &self.frames[depth];
        let (kind, outer) = (frame.kind, frame.outer);
        match kind {
            Kind::Dead => {}
            Kind::Body => {
                if self.reachable {
                    self.return_();
                }
                self.locals.leave(outer);
            }
            // Straight through: nothing branches to the end.
            _ if frame.edges.is_empty() => {
                let written = self.locals.written(frame.mark);
                self.spend(written)?;
                self.locals.leave(outer);
            }
            _ => {
                if self.reachable {
                    self.fall_through(depth)?;
                }
                self.locals.restore();
                self.locals.leave(outer);
                return self.merge(depth);
            }
        }
        if let Some(frame) = self.frames.pop().filter(|_| !self.reachable) {
            self.stack.truncate(frame.base);
        }
        Ok(())
    }

    /// The block where a construct goes on after its end.
    fn join(&mut self, depth: usize) -> Result<Block, OpError> {
        if let Some(join) = self.frames[depth].join {
            return Ok(join);
        }
        let join = self.new_block();
        for ty in self.result_types(self.frames[depth].ty)? {
            self.b.func.add_block_param(join, ty);
        }
        self.spend(self.frames[depth].results)?;
        self.frames[depth].join = Some(join);
        Ok(join)
    }

    fn add_edge(&mut self, depth: usize, inst: Value, k: u32, call: BlockCall) -> Output {
        let frame = &mut self.frames[depth];
        let start = frame.snapshots.len() as u32;
        if self.slots.is_none() {
            self.locals.snapshot(frame.mark, &mut frame.snapshots);
        }
        let end = frame.snapshots.len() as u32;
        frame.edges.push(Edge { inst, k, call, snapshot: (start, end), accesses: self.accesses.mark() });
        self.spend((end - start) as usize)
    }

    /// Goes on from the end of an arm to the join.
    fn fall_through(&mut self, depth: usize) -> Output {
        let join = self.join(depth)?;
        let args = Values::from_slice(self.peek_many(self.frames[depth].results));
        self.spend(args.len())?;
        let inst = self.b.jump(join, &args);
        self.note_edge(depth, inst, join)
    }

    /// Goes on at the join: locals that differ between edges become its parameters.
    fn merge(&mut self, depth: usize) -> Output {
        let dispatched = self.dispatched_locals(depth);
        let Some(frame) = self.frames.pop() else { return Ok(()) };
        debug_assert_eq!(depth, self.frames.len());
        let Some(join) = frame.join else { return Ok(()) };
        self.stack.truncate(frame.base);
        self.stack.extend(self.b.func.block_params(join));
        let before_edges = frame.edges.iter().map(|edge| edge.accesses).min();
        self.accesses.forget_since(before_edges.unwrap_or(0));
        self.switch_to(join);
        self.reachable = true;
        // Nobody reads locals after a body's end.
        if self.slots.is_some() || self.frames.is_empty() {
            return Ok(());
        }
        let edges = frame.edges.len() as u32;
        if self.merge.stamp > u32::MAX - 2 * edges - 2 {
            self.merge = Merge::default();
        }
        let first = self.merge.stamp + 1;
        self.merge.touched.clear();
        for (k, edge) in frame.edges.iter().enumerate() {
            for &(local, value) in &frame.snapshots[edge.snapshot.0 as usize..edge.snapshot.1 as usize] {
                self.merge.note(local, value, first + k as u32, first);
            }
        }
        self.merge.stamp += edges;
        let mut params: Vec<u32> = Vec::new();
        let touched = std::mem::take(&mut self.merge.touched);
        for &local in &touched {
            let at = local as usize;
            let (value, before) = (self.merge.values[at], self.locals.get(local));
            let partly = self.merge.counts[at] < edges && value != before;
            if self.merge.differs[at] || partly {
                params.push(local);
            } else {
                self.locals.set(local, value);
            }
        }
        self.merge.touched = touched;
        if let Some(locals) = &dispatched {
            params.clone_from(locals);
            params.iter().for_each(|&local| self.merge.cover(local));
        }
        self.add_join_arguments(&frame, join, &params)?;
        for &local in &params {
            let param = self.b.func.add_block_param(join, self.locals.ty(local));
            self.locals.set(local, param);
        }
        match dispatched {
            Some(_) => self.dispatched_join(depth, join, params),
            None => Ok(()),
        }
    }

    /// Gives every edge the values of the locals that the join has parameters for.
    fn add_join_arguments(&mut self, frame: &Frame, join: Block, params: &[u32]) -> Output {
        if params.is_empty() {
            return Ok(());
        }
        self.spend(params.len() * frame.edges.len())?;
        for edge in &frame.edges {
            self.merge.stamp += 1;
            let stamp = self.merge.stamp;
            for &(local, value) in &frame.snapshots[edge.snapshot.0 as usize..edge.snapshot.1 as usize] {
                self.merge.values[local as usize] = value;
                self.merge.stamps[local as usize] = stamp;
            }
            let mut args: Values = self.b.func.block_call_args(edge.call).collect();
            for &local in params {
                let at = local as usize;
                let here = self.merge.stamps[at] == stamp;
                args.push(if here { self.merge.values[at] } else { self.locals.get(local) });
            }
            let call = self.b.func.make_block_call(join, &args);
            self.b.func.set_block_call(edge.inst, edge.k as usize, call);
        }
        Ok(())
    }

    /// The frame that a branch of this depth leaves, by position.
    fn target(&self, relative_depth: u32) -> usize {
        self.frames.len().saturating_sub(1 + relative_depth as usize)
    }

    /// How many values a branch to this frame takes along.
    fn branch_arity(&self, depth: usize) -> usize {
        let frame = &self.frames[depth];
        if matches!(frame.kind, Kind::Loop(_)) { frame.params } else { frame.results }
    }

    /// Where a branch to this frame goes, and its arguments as known now; `None` for the body: it returns.
    fn branch_target(&mut self, depth: usize) -> Result<Option<(Block, Values)>, OpError> {
        if let Some((join, args)) = self.past_dispatch(depth) {
            self.spend(args.len())?;
            return Ok(Some((join, args)));
        }
        let mut args = Values::from_slice(self.peek_many(self.branch_arity(depth)));
        let block = match self.frames[depth].kind {
            Kind::Body => return Ok(None),
            Kind::Loop(header) => {
                let ordinal = self.frames[depth].ordinal;
                self.loop_locals(ordinal, |this, local| args.push(this.locals.get(local)));
                header
            }
            _ => self.join(depth)?,
        };
        self.spend(args.len())?;
        Ok(Some((block, args)))
    }

    /// Notes the edge to `join` of a `jump` or `brif`, if it has one: the builder may have turned the branch around, or
    /// decided it.
    fn note_edge(&mut self, depth: usize, inst: Value, join: Block) -> Output {
        if matches!(self.frames[depth].kind, Kind::Loop(_) | Kind::Body) {
            return Ok(());
        }
        let calls = self.b.func.block_calls(inst);
        match calls.iter().position(|&call| self.b.func.block_call_target(call) == join) {
            Some(k) => self.add_edge(depth, inst, k as u32, calls[k]),
            None => Ok(()),
        }
    }

    /// Jumps to where a branch to this frame goes, or returns.
    fn branch(&mut self, depth: usize) -> Output {
        match self.branch_target(depth)? {
            Some((block, args)) => {
                let inst = self.b.jump(block, &args);
                self.note_edge(depth, inst, block)
            }
            None => {
                self.return_();
                Ok(())
            }
        }
    }

    pub(super) fn br(&mut self, relative_depth: u32) -> Output {
        self.branch(self.target(relative_depth))?;
        self.stop();
        Ok(())
    }

    pub(super) fn br_if(&mut self, relative_depth: u32) -> Output {
        let condition = self.pop_condition();
        let depth = self.target(relative_depth);
        let next = self.new_block();
        match self.branch_target(depth)? {
            Some((block, args)) => {
                let inst = self.b.brif(condition, (block, &args), (next, &[]));
                self.note_edge(depth, inst, block)?;
            }
            None => {
                let leave = self.new_block();
                self.b.brif(condition, (leave, &[]), (next, &[]));
                self.switch_to(leave);
                self.return_();
            }
        }
        self.switch_to(next);
        Ok(())
    }

    /// Entries with equal targets go through one block, which holds the arguments once.
    pub(super) fn br_table(&mut self, table: &BrTable<'_>) -> Output {
        let index = self.pop();
        let mut targets = Vec::with_capacity(table.len() as usize + 1);
        targets.push(self.target(table.default()));
        for target in table.targets() {
            targets.push(self.target(target?));
        }
        if targets.len() == 1 {
            self.branch(targets[0])?;
            self.stop();
            return Ok(());
        }
        self.note_table(&targets);
        self.spend(targets.len())?;
        self.tables += 1;
        let number = self.tables;
        for &depth in &targets {
            let (last, count, _) = self.frames[depth].table;
            self.frames[depth].table = (number, if last == number { count + 1 } else { 1 }, None);
        }
        let (mut calls, mut direct, mut shared) = (Vec::with_capacity(targets.len()), Vec::new(), Vec::new());
        for (k, &depth) in targets.iter().enumerate() {
            let (_, count, through) = self.frames[depth].table;
            if count == 1
                && let Some((block, args)) = self.branch_target(depth)?
            {
                let call = self.b.func.make_block_call(block, &args);
                calls.push(call);
                direct.push((depth, k as u32, call));
                continue;
            }
            let block = through.unwrap_or_else(|| {
                let block = self.new_block();
                self.frames[depth].table.2 = Some(block);
                shared.push((depth, block));
                block
            });
            calls.push(self.b.func.make_block_call(block, &[]));
        }
        let inst = self.b.br_table(index, &calls);
        for (depth, k, call) in direct {
            if !matches!(self.frames[depth].kind, Kind::Loop(_)) {
                self.add_edge(depth, inst, k, call)?;
            }
        }
        for (depth, block) in shared {
            self.switch_to(block);
            self.branch(depth)?;
        }
        self.stop();
        Ok(())
    }

    pub(super) fn return_op(&mut self) -> Output {
        self.branch(0)?;
        self.stop();
        Ok(())
    }

    /// Returns the values on top of the stack.
    fn return_(&mut self) {
        let values = Values::from_slice(self.peek_many(self.b.func.signature.returns.len()));
        self.b.ret(&values);
    }

    /// A condition from the stack: of a comparison, its 8-bit result before it was extended.
    pub(super) fn pop_condition(&mut self) -> Value {
        let value = self.pop();
        let data = self.b.func.insts[self.b.func.resolve(value)];
        let inner = Value::from_u32(data.a);
        if data.opcode == Opcode::Uextend && self.b.func.type_of(inner) == types::I8 { inner } else { value }
    }
}
