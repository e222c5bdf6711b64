//! The walk: gives each operand a location, instruction by instruction.
//!
//! Needs: liveness. Gives: locations, the moves before instructions, what is in registers where each block begins and
//! ends, and which values are wanted from memory, where.
//!
//! At each point a value is in one register at most, its *home*; a value that is in none is in its slot. Around an
//! instruction:
//!
//! 1. operands that must be in a register get it, and what was there is displaced;
//! 2. the others stay where they are, or are loaded;
//! 3. what lives on moves out of registers that the instruction clobbers, or is left to its slot;
//! 4. all of this is one parallel move before the instruction;
//! 5. what was used last frees its register, and results take theirs.

use super::flow::{Flow, entity};
use super::live::{Live, clobbers, weight, wipes};
use super::parallel::{Sequencer, Transfer};
use super::sink::Unread;
use super::slim::{Slim, Want};
use super::{AWAY, CALL, Edit, NONE, Phase, Place, of_class};
use crate::error::CodegenError;
use crate::machine::{MachineFunction, Span};
use crate::regalloc::RegisterFile;
use smallvec::SmallVec;
use sphex_asm::register::{Reg, RegClass, RegSet};
use sphex_entity::EntityRef;

/// What the walk leaves, and memory kept from function to function.
#[derive(Debug, Default)]
pub(super) struct State {
    /// For each operand, where it is.
    pub places: Vec<Option<Place>>,
    /// For each block, a span of `pairs`: what is in registers at its start.
    pub entry: Vec<Span>,
    /// The same at its end.
    pub exit: Vec<Span>,
    /// For each block, what it began with and has not read. Of one that is only an edge, nothing.
    pub unread: Vec<Unread>,
    /// Blocks behind one that leaves less in registers than the walk did, in order.
    pub moved_down: Vec<u32>,
    /// Registers and what is in them.
    pub pairs: Vec<(Reg, u32)>,
    /// The register in which each value was made (at its block's start, for a parameter), by index; `AWAY` if in none.
    pub made_at: Vec<u8>,
    /// The instruction that makes each value; `NONE` for parameters.
    pub made_by: Vec<u32>,
    /// Values that are wanted from memory, in order.
    pub wanted: Vec<u32>,
    /// For each value, the lowest block that dominates all places where it is wanted from memory.
    pub wanted_in: Vec<u32>,
    /// The last instruction at which each value is wanted from memory.
    pub wanted_last: Vec<u32>,
    /// How many slots moves use among themselves.
    pub temps: u32,
    home: Vec<u8>,
    next_use: Vec<u32>,
    /// The register in which the first argument of each parameter was handed over, by index.
    wish: Vec<u8>,
    /// Puts moves in order.
    pub sequencer: Sequencer,
    pub(super) entry_scratch: super::entry::Scratch,
}

impl State {
    /// A value is wanted from memory in a block, at or before an instruction.
    pub fn want(&mut self, value: u32, block: u32, inst: u32, flow: &Flow) {
        let at = value as usize;
        let known = self.wanted_in[at];
        if known == NONE {
            self.wanted.push(value);
            self.wanted_in[at] = block;
            self.wanted_last[at] = inst;
        } else {
            if known != block {
                self.wanted_in[at] = flow.common(known, block);
            }
            self.wanted_last[at] = self.wanted_last[at].max(inst);
        }
    }

    /// Makes a register the home of a value that has none.
    pub fn settle_at(&mut self, regs: &mut [u32; 64], value: u32, reg: Reg, next_use: u32) {
        self.home[value as usize] = reg.index() as u8;
        self.next_use[value as usize] = next_use;
        regs[reg.index()] = value;
    }

    fn fill(&mut self, func: &MachineFunction) {
        fn set<T: Clone>(vec: &mut Vec<T>, count: usize, value: T) {
            vec.clear();
            vec.resize(count, value);
        }
        let values = func.vreg_count();
        set(&mut self.places, func.operands.len(), None);
        set(&mut self.entry, func.blocks.len(), Span::default());
        set(&mut self.exit, func.blocks.len(), Span::default());
        set(&mut self.unread, func.blocks.len(), Unread::default());
        set(&mut self.made_at, values, AWAY);
        set(&mut self.made_by, values, NONE);
        set(&mut self.wanted_in, values, NONE);
        set(&mut self.wanted_last, values, 0);
        set(&mut self.home, values, AWAY);
        set(&mut self.next_use, values, NONE);
        set(&mut self.wish, values, AWAY);
        self.pairs.clear();
        self.wanted.clear();
        self.temps = 0;
        self.entry_scratch.reset(values);
        self.sequencer.reset(values);
    }
}

/// What an instruction has among its operands.
#[derive(Clone, Copy, Default)]
struct Kinds {
    /// Some that must be in one register.
    fixed: bool,
    fixed_uses: bool,
    results: bool,
    /// Results that must be in one register or in that of an operand.
    tied: bool,
    reuses: bool,
    /// Results that are made before all operands are read.
    early: bool,
}

/// The walk.
pub(super) struct Scan<'a> {
    pub func: &'a MachineFunction,
    pub file: &'a RegisterFile,
    pub flow: &'a Flow,
    pub live: &'a Live,
    pub state: &'a mut State,
    pub edits: &'a mut Vec<Edit>,
    pub classes: [RegSet; 2],
    /// What is in each register.
    pub reg: [u32; 64],
    pub occupied: RegSet,
    /// The next place in the block where each register is taken, in the list of such places.
    next_fixed: [u32; 64],
    /// These registers have one.
    fixed: RegSet,
    /// The block.
    pub block: usize,
    /// The instruction.
    inst: usize,
    /// Its position in the block.
    position: u32,
    /// How many calls are before it in the block.
    wiping: u32,
    /// What the block began with and has not read.
    pub unread: Unread,
    /// What was in each register where the block began.
    pub began: [u32; 64],
    /// Registers that the instruction uses.
    locked: RegSet,
    /// Values whose home changes before the instruction, and their homes up to then.
    touched: SmallVec<[(u32, u8); 16]>,
    /// What goes where before the instruction.
    copies: SmallVec<[(u32, Reg); 16]>,
    transfers: Vec<Transfer>,
    error: Option<CodegenError>,
}

impl<'a> Scan<'a> {
    pub fn new(
        func: &'a MachineFunction,
        file: &'a RegisterFile,
        flow: &'a Flow,
        live: &'a Live,
        state: &'a mut State,
        edits: &'a mut Vec<Edit>,
    ) -> Self {
        Scan {
            func,
            file,
            flow,
            live,
            state,
            edits,
            classes: [of_class(file, RegClass::Int), of_class(file, RegClass::Vector)],
            reg: [NONE; 64],
            occupied: RegSet::EMPTY,
            next_fixed: [NONE; 64],
            fixed: RegSet::EMPTY,
            block: 0,
            inst: 0,
            position: 0,
            wiping: 0,
            unread: Unread::default(),
            began: [NONE; 64],
            locked: RegSet::EMPTY,
            touched: SmallVec::new(),
            copies: SmallVec::new(),
            transfers: Vec::new(),
            error: None,
        }
    }

    /// Walks over all blocks.
    pub fn run(mut self) -> Result<(), CodegenError> {
        self.state.fill(self.func);
        for block in self.func.blocks.keys() {
            self.block = block.index();
            if self.flow.edge(self.block).is_some() {
                self.pass_edge();
                continue;
            }
            (self.position, self.wiping) = (0, 0);
            self.begin_fixed();
            self.enter();
            for inst in self.func.blocks[block].insts.range() {
                self.instruction(inst);
            }
            self.wish();
            self.read_arguments();
            self.state.unread[self.block] = self.unread;
            let start = self.state.pairs.len() as u32;
            for reg in self.occupied.iter() {
                self.state.pairs.push((reg, self.reg[reg.index()]));
            }
            self.state.exit[self.block] = Span { start, end: self.state.pairs.len() as u32 };
        }
        self.error.map_or(Ok(()), Err)
    }

    /// A block that is only an edge leaves everything where the block before it left it.
    fn pass_edge(&mut self) {
        let func = self.func;
        let data = func.blocks[entity(self.block)];
        let exit = self.state.exit[func.predecessors[data.predecessors.start as usize].index()];
        (self.state.entry[self.block], self.state.exit[self.block]) = (exit, exit);
        let target = func.successors[data.successors.start as usize].index();
        let params = &func.vregs[func.blocks[entity(target)].params.range()];
        for (param, arg) in params.iter().zip(func.arguments_of(entity(self.block), 0)) {
            let State { wish, pairs, .. } = &mut *self.state;
            if wish[param.vreg()] == AWAY {
                let home = pairs[exit.range()].iter().find(|pair| pair.1 as usize == arg.vreg());
                wish[param.vreg()] = home.map_or(AWAY, |pair| pair.0.index() as u8);
            }
        }
    }

    /// What is handed over to parameters is read.
    fn read_arguments(&mut self) {
        if self.unread.passed.is_empty() {
            return;
        }
        let func = self.func;
        let data = func.blocks[entity(self.block)];
        for (k, succ) in func.successors[data.successors.range()].iter().enumerate() {
            let behind = self.flow.edge(succ.index()).map(|_| func.arguments_of(entity(succ.index()), 0));
            let args = func.arguments_of(entity(self.block), k);
            for arg in args.iter().chain(behind.unwrap_or(&[])) {
                if let Some(home) = self.home(arg.vreg() as u32) {
                    self.unread.passed.remove(home);
                }
            }
        }
    }

    fn fail(&mut self, message: String) {
        self.error.get_or_insert(CodegenError::Internal { pass: "register allocation", message });
    }

    /// Forgets what is in registers.
    pub fn clear(&mut self) {
        for reg in self.occupied.iter() {
            self.state.home[self.reg[reg.index()] as usize] = AWAY;
        }
        self.occupied = RegSet::EMPTY;
    }

    /// Gives a value a free register.
    pub fn settle(&mut self, value: u32, reg: Reg, next_use: u32) {
        self.state.settle_at(&mut self.reg, value, reg, next_use);
        self.occupied.insert(reg);
    }

    /// What goes to a parameter of a block that is still to come would best be, in other blocks before it too, where it is
    /// in this one.
    fn wish(&mut self) {
        let data = self.func.blocks[entity(self.block)];
        for k in data.successors.range() {
            let params = self.func.blocks[entity(self.func.successors[k].index())].params.range();
            let args = &self.func.vregs[self.func.successor_args[k].range()];
            for (param, arg) in self.func.vregs[params].iter().zip(args) {
                let wish = &mut self.state.wish[param.vreg()];
                if *wish == AWAY {
                    *wish = self.state.home[arg.vreg()];
                }
            }
        }
    }

    /// The registers of a value's class.
    pub fn registers(&self, value: u32) -> RegSet {
        self.classes[self.live.class[value as usize] as usize]
    }

    /// The register that a value is in.
    pub fn home(&self, value: u32) -> Option<Reg> {
        let home = self.state.home[value as usize];
        (home != AWAY).then(|| Reg::from_index(usize::from(home)))
    }

    /// Finds the first place in the block where each register is taken: later places stand first.
    fn begin_fixed(&mut self) {
        self.fixed = RegSet::EMPTY;
        let span = self.live.fixed_of[self.block];
        for at in span.range() {
            let reg = self.live.fixed[at].reg;
            self.next_fixed[reg.index()] = at as u32;
            self.fixed.insert(reg);
        }
    }

    /// The position at which a register is taken next.
    fn taken_at(&self, reg: Reg) -> u32 {
        if !self.fixed.contains(reg) {
            return NONE;
        }
        self.live.fixed[self.next_fixed[reg.index()] as usize].position
    }

    fn instruction(&mut self, inst: usize) {
        let first = self.func.insts[inst].operands as usize;
        let (func, live) = (self.func, self.live);
        let operands = &live.operands[first..first + func.operands_of(inst).len()];
        self.inst = inst;
        self.locked = RegSet::EMPTY;
        self.touched.clear();
        self.copies.clear();
        let before = self.occupied;
        let mut clobbered = clobbers(func, inst);
        let mut kinds = Kinds::default();
        for (k, operand) in operands.iter().enumerate() {
            if operand.want == Want::Kept {
                self.state.places[first + k] = Some(Place::Reg(operand.reg()));
                continue;
            }
            kinds.results |= operand.is_def;
            if !operand.is_def {
                self.state.next_use[operand.value as usize] = live.next[first + k];
            }
            match operand.want {
                Want::Fixed if operand.is_def => {
                    clobbered.insert(operand.reg());
                    (kinds.fixed, kinds.tied) = (true, true);
                }
                Want::Fixed => {
                    self.locked.insert(operand.reg());
                    (kinds.fixed, kinds.fixed_uses) = (true, true);
                }
                want => {
                    kinds.early |= operand.is_def && !operand.is_late;
                    kinds.reuses |= want == Want::Reuse;
                    kinds.tied |= want == Want::Reuse;
                }
            }
        }
        if kinds.fixed_uses {
            self.fixed_uses(operands, first);
        }
        self.other_uses(operands, first, clobbered, kinds.reuses);
        if !self.touched.is_empty() || !self.occupied.intersection(clobbered).is_empty() {
            self.leave(clobbered);
        }
        if kinds.early {
            self.early_results(operands, first, inst, clobbered);
        }
        self.flush(inst, before);
        self.free_used(operands);
        if kinds.results {
            self.results(operands, first, inst, clobbered, kinds.tied);
        }
        if kinds.fixed {
            self.pass_fixed(operands);
        }
        let call = wipes(self.func, self.inst);
        self.position += weight(call, self.wiping);
        self.wiping += u32::from(call);
    }

    /// Moves on in the lists of fixed registers.
    fn pass_fixed(&mut self, operands: &[Slim]) {
        for operand in operands {
            if operand.want != Want::Fixed {
                continue;
            }
            let reg = operand.reg();
            while self.taken_at(reg) <= self.position {
                match self.live.fixed[self.next_fixed[reg.index()] as usize].next {
                    NONE => self.fixed.remove(reg),
                    next => self.next_fixed[reg.index()] = next,
                }
            }
        }
    }

    /// Notes the home that a value had before the instruction.
    fn touch(&mut self, value: u32) {
        if !self.touched.iter().any(|t| t.0 == value) {
            self.touched.push((value, self.state.home[value as usize]));
        }
    }

    /// Where a value was before the instruction.
    fn origin(&self, value: u32) -> Place {
        let known = self.touched.iter().find(|t| t.0 == value).map(|t| t.1);
        match known.unwrap_or(self.state.home[value as usize]) {
            AWAY => Place::Slot(value),
            home => Place::Reg(Reg::from_index(usize::from(home))),
        }
    }

    /// Takes a register from the value in it, which is then in its slot only.
    fn vacate(&mut self, reg: Reg) {
        let value = self.reg[reg.index()];
        self.touch(value);
        self.state.home[value as usize] = AWAY;
        self.occupied.remove(reg);
        if self.unread.passed.contains(reg) {
            self.unread.passed.remove(reg);
            self.unread.lost.insert(reg);
        }
    }

    /// Makes a register, which is free, the home of a value.
    fn occupy(&mut self, value: u32, reg: Reg) {
        self.touch(value);
        if let Some(old) = self.home(value) {
            self.occupied.remove(old);
        }
        self.state.home[value as usize] = reg.index() as u8;
        self.reg[reg.index()] = value;
        self.occupied.insert(reg);
    }

    fn fixed_uses(&mut self, operands: &[Slim], first: usize) {
        let fixed = |operand: &Slim| {
            (operand.want == Want::Fixed && !operand.is_def).then(|| (operand.value, operand.reg()))
        };
        for (value, reg) in operands.iter().filter_map(fixed) {
            if self.occupied.contains(reg) && self.reg[reg.index()] != value {
                self.vacate(reg);
            }
        }
        for (k, operand) in operands.iter().enumerate() {
            let Some((value, reg)) = fixed(operand) else { continue };
            self.state.places[first + k] = Some(Place::Reg(reg));
            let home = self.home(value);
            if home == Some(reg) {
                self.unread.passed.remove(reg);
                continue;
            }
            self.copies.push((value, reg));
            let stays = home.is_some_and(|home| self.locked.contains(home));
            if home.is_none() || (self.live.next[first + k] == NONE && !stays) {
                self.occupy(value, reg);
            }
        }
    }

    fn other_uses(&mut self, operands: &[Slim], first: usize, clobbered: RegSet, reuses: bool) {
        let lost = |operand: &Slim, home: Reg| operand.is_late && clobbered.contains(home);
        let mut all = true;
        for (k, operand) in operands.iter().enumerate().filter(|(_, o)| o.is_plain_use()) {
            match self.home(operand.value) {
                Some(home) if !lost(operand, home) => {
                    self.locked.insert(home);
                    self.unread.passed.remove(home);
                    self.state.places[first + k] = Some(Place::Reg(home));
                }
                _ => all = false,
            }
        }
        // Operands that a result takes the register of, if their values live on.
        for (at, operand) in operands.iter().enumerate().filter(|_| reuses) {
            if let Some(k) = operand.reuses() {
                self.reused(operands, first, (k, at), clobbered);
            }
        }
        if !all {
            self.missing_uses(operands, first, clobbered);
        }
    }

    /// Operands whose values are in no register that will do.
    fn missing_uses(&mut self, operands: &[Slim], first: usize, clobbered: RegSet) {
        let lost = |operand: &Slim, home: Reg| operand.is_late && clobbered.contains(home);
        for (k, operand) in operands.iter().enumerate().filter(|(_, o)| o.is_plain_use()) {
            if self.state.places[first + k].is_some() {
                continue;
            }
            let value = operand.value;
            if let Some(home) = self.home(value)
                && !lost(operand, home)
            {
                self.unread.passed.remove(home);
                self.state.places[first + k] = Some(Place::Reg(home));
                continue;
            }
            let late = operand.is_late;
            let soon = self.state.next_use[value as usize].saturating_sub(self.position) < CALL;
            let in_memory = self.origin(value) == Place::Slot(value);
            if operand.want == Want::Any && (late || in_memory && !soon) {
                self.want(value);
                self.state.places[first + k] = Some(Place::Slot(value));
                continue;
            }
            let avoid = if late { clobbered } else { RegSet::EMPTY };
            let reg = self.take(value, avoid, self.state.next_use[value as usize]);
            self.occupy(value, reg);
            self.copies.push((value, reg));
            self.locked.insert(reg);
            self.state.places[first + k] = Some(Place::Reg(reg));
        }
    }

    /// An operand whose register a result takes.
    fn reused(&mut self, operands: &[Slim], first: usize, (k, result): (usize, usize), clobbered: RegSet) {
        let value = operands[k].value;
        let made = operands[result].value;
        let next = self.state.next_use[value as usize];
        let home = self.home(value);
        let last = next == NONE && home.is_none_or(|home| !clobbered.contains(home));
        if last && home.is_some() {
            return;
        }
        let reg = self.take(made, clobbered, self.live.next[first + result]);
        self.locked.insert(reg);
        self.copies.push((value, reg));
        self.state.places[first + k] = Some(Place::Reg(reg));
        if home.is_none() && last {
            self.occupy(value, reg);
        } else if home.is_none() && next.saturating_sub(self.position) < CALL {
            // Wanted again soon: a second register, if one is free.
            let free = self.registers(value).difference(self.occupied.union(self.locked).union(clobbered));
            if let Some(second) = self.choose(value, free, next) {
                self.occupy(value, second);
                self.copies.push((value, second));
                self.locked.insert(second);
            }
        }
    }

    /// Values that live on leave these registers: those that are used first go to others, if there is room.
    fn leave(&mut self, clobbered: RegSet) {
        let mut leaving: SmallVec<[(u32, u32); 32]> = SmallVec::new();
        for reg in self.occupied.intersection(clobbered).iter() {
            let value = self.reg[reg.index()];
            let next = self.state.next_use[value as usize];
            if next != NONE {
                self.vacate(reg);
                leaving.push((next, value));
            }
        }
        for &(value, home) in &self.touched {
            // What was displaced, too.
            let next = self.state.next_use[value as usize];
            if next != NONE && home != AWAY && self.home(value).is_none() {
                leaving.push((next, value));
            }
        }
        leaving.sort_unstable();
        leaving.dedup();
        for (next, value) in leaving {
            self.rehome(value, next, clobbered);
        }
    }

    /// Gives a value that must leave its register another, maybe that of one that is used much later.
    fn rehome(&mut self, value: u32, next: u32, clobbered: RegSet) {
        if matches!(self.origin(value), Place::Slot(_)) {
            return;
        }
        let usable = self.registers(value).difference(self.locked.union(clobbered));
        let free = usable.difference(self.occupied);
        let reg = self.choose(value, free, next).or_else(|| {
            let next_of = |reg: Reg| self.state.next_use[self.reg[reg.index()] as usize];
            let last = usable.iter().max_by_key(|&reg| next_of(reg))?;
            let distance = next.saturating_sub(self.position).saturating_mul(2);
            (next_of(last).saturating_sub(self.position) > distance).then_some(last)
        });
        if let Some(reg) = reg {
            if self.occupied.contains(reg) {
                self.vacate(reg);
            }
            self.occupy(value, reg);
            self.copies.push((value, reg));
            self.locked.insert(reg);
        }
    }

    fn early_results(&mut self, operands: &[Slim], first: usize, inst: usize, clobbered: RegSet) {
        for (k, operand) in operands.iter().enumerate() {
            if operand.is_def && !operand.is_late && operand.want == Want::Reg {
                let value = operand.value;
                let next = self.live.next[first + k];
                let reg = self.take(value, clobbered, next);
                self.locked.insert(reg);
                self.make(value, reg, next, (first + k, inst));
            }
        }
    }

    /// Emits the moves before the instruction.
    fn flush(&mut self, inst: usize, before: RegSet) {
        for at in 0..self.copies.len() {
            let (value, to) = self.copies[at];
            let from = self.origin(value);
            match from {
                // Unless the register was given to this value since.
                Place::Reg(reg) if self.began[reg.index()] == value => {
                    self.unread.passed.remove(reg);
                    self.unread.lost.remove(reg);
                }
                Place::Reg(_) => {}
                _ => self.want(value),
            }
            self.transfers.push(Transfer { from, to: Place::Reg(to), class: to.class() });
        }
        if self.transfers.is_empty() {
            return;
        }
        let taken = before.union(self.occupied).union(self.locked);
        let State { sequencer, temps, .. } = &mut *self.state;
        let edits = &mut *self.edits;
        sequencer.sequence(&mut self.transfers, self.classes, taken, temps, |from, to| {
            edits.push(Edit { inst: inst as u32, phase: Phase::Before, from, to });
        });
    }

    /// Values that were used last give up their registers.
    fn free_used(&mut self, operands: &[Slim]) {
        for operand in operands {
            if operand.is_def || operand.want == Want::Kept {
                continue;
            }
            let value = operand.value;
            if self.state.next_use[value as usize] == NONE
                && let Some(home) = self.home(value)
            {
                self.state.home[value as usize] = AWAY;
                self.occupied.remove(home);
            }
        }
    }

    fn results(&mut self, operands: &[Slim], first: usize, inst: usize, clobbered: RegSet, tied: bool) {
        // Registers that are read even now, and those of results.
        self.locked = RegSet::EMPTY;
        for (k, operand) in operands.iter().enumerate() {
            if let Some(Place::Reg(reg)) = self.state.places[first + k]
                && (operand.is_late || operand.is_def)
                && operand.want != Want::Kept
            {
                self.locked.insert(reg);
            }
        }
        let results = || operands.iter().enumerate().filter(|(_, o)| o.is_def);
        for (k, operand) in results().filter(|_| tied) {
            let reg = match (operand.want, operand.reuses()) {
                (Want::Fixed, _) => operand.reg(),
                (_, Some(input)) => match self.state.places[first + input] {
                    Some(Place::Reg(reg)) => reg,
                    _ => continue,
                },
                _ => continue,
            };
            self.locked.insert(reg);
            self.make(operand.value, reg, self.live.next[first + k], (first + k, inst));
        }
        for (k, operand) in results() {
            if self.state.places[first + k].is_none() {
                let value = operand.value;
                let next = self.live.next[first + k];
                let reg = self.take(value, clobbered, next);
                self.locked.insert(reg);
                self.make(value, reg, next, (first + k, inst));
            }
        }
        for (k, operand) in results() {
            // What nobody reads is gone.
            if self.live.next[first + k] == NONE
                && operand.want != Want::Kept
                && let Some(home) = self.home(operand.value)
            {
                self.state.home[operand.value as usize] = AWAY;
                self.occupied.remove(home);
            }
        }
    }

    fn make(&mut self, value: u32, reg: Reg, next: u32, (operand, inst): (usize, usize)) {
        if self.occupied.contains(reg) {
            self.fail(format!("the register of a result, {reg:?}, is not free at instruction {inst}"));
        }
        self.settle(value, reg, next);
        self.state.places[operand] = Some(Place::Reg(reg));
        self.state.made_at[value as usize] = reg.index() as u8;
        self.state.made_by[value as usize] = inst as u32;
    }

    /// The value is wanted from memory here.
    fn want(&mut self, value: u32) {
        self.state.want(value, self.block as u32, self.inst as u32, self.flow);
    }

    /// A register for a value: a free one, or that of the value that is wanted last.
    fn take(&mut self, value: u32, avoid: RegSet, next: u32) -> Reg {
        let usable = self.registers(value).difference(self.locked.union(avoid));
        if let Some(reg) = self.choose(value, usable.difference(self.occupied), next) {
            return reg;
        }
        let last = usable.iter().max_by_key(|reg| self.state.next_use[self.reg[reg.index()] as usize]);
        match last {
            Some(reg) => {
                self.vacate(reg);
                reg
            }
            None => {
                self.fail(format!("no register for v{value} in block {}", self.block));
                Reg::from_index(0)
            }
        }
    }

    /// The register in which the loop around the block begins with a value that is from outside the block.
    fn expected(&self, value: u32) -> Option<Reg> {
        let header = self.flow.header[self.block] as usize;
        if header >= self.block || self.live.made_in[value as usize] == self.block as u32 {
            return None;
        }
        let pairs = &self.state.pairs[self.state.entry[header].range()];
        pairs.iter().find(|pair| pair.1 == value).map(|pair| pair.0)
    }

    /// The best of free registers for a value whose next use is at `next`.
    pub fn choose(&self, value: u32, free: RegSet, next: u32) -> Option<Reg> {
        if free.is_empty() {
            return None;
        }
        let hint = self.live.hint[value as usize];
        if hint != AWAY && free.contains(Reg::from_index(usize::from(hint))) {
            return Some(Reg::from_index(usize::from(hint)));
        }
        if let Some(reg) = self.expected(value).filter(|&reg| free.contains(reg))
            && (self.taken_at(reg) == NONE || self.taken_at(reg) > next)
        {
            return Some(reg);
        }
        let partner = self.live.partner[value as usize];
        if partner != NONE {
            let (at, lists) = (partner as usize, [&self.state.made_at, &self.state.wish, &self.live.hint]);
            let known = lists.map(|list| list[at]).into_iter().find(|&reg| reg != AWAY);
            if let Some(reg) =
                known.map(|reg| Reg::from_index(usize::from(reg))).filter(|&reg| free.contains(reg))
            {
                return Some(reg);
            }
        }
        // What is used behind a call would best be where callees leave it.
        let kept = free.intersection(self.file.other);
        let preferred = free.intersection(self.file.preferred);
        let behind_call = next.saturating_sub(self.position) >= CALL;
        let first = if behind_call && self.flow.frequency[self.block] >= 1.0 { kept } else { preferred };
        let among = if first.is_empty() { free } else { first };
        let quiet = among.iter().find(|&reg| self.taken_at(reg) == NONE || self.taken_at(reg) > next);
        quiet.or_else(|| among.iter().max_by_key(|&reg| self.taken_at(reg)))
    }
}
