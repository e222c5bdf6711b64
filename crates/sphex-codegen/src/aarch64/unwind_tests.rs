//! Every instruction of every function of the CLIF files, stepped symbolically, against the rows that gimli reads.
//!
//! The state has the stack pointer and the frame pointer relative to entry, and what the link register, the other
//! callee-saved registers and stack words hold. At each instruction the row must say where the return address and the
//! caller's value of each callee-saved register are. Of the instruction set only what changes these is decoded here, by
//! its bits and not by our table.

use crate::abi::{Place, place};
use crate::emit::CompiledFunction;
use crate::pipeline::{Context, compile};
use crate::settings::{Arch, Settings, Target};
use crate::unwind::check::Rows;
use crate::unwind::eh_frame::{EhFrame, dwarf_number_aarch64};
use gimli::{CfaRule, RegisterRule, UnwindTableRow};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// What a place holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Holds {
    /// The value at entry of the register with this DWARF number.
    Entry(u8),
    /// The stack pointer at entry plus this.
    Stack(i64),
    /// A constant.
    Constant(u64),
}

const FP: u8 = 29;
const LR: u8 = 30;
const SP: u8 = 31;

#[derive(Clone, Debug)]
struct State {
    /// By DWARF number; absent: anything.
    regs: BTreeMap<u8, Holds>,
    words: BTreeMap<i64, Holds>,
}

/// Where control goes.
enum Next {
    Falls,
    Goes(i64),
    Forks(i64),
    Ends,
}

impl State {
    fn stack(&self, reg: u8) -> Option<i64> {
        match self.regs.get(&reg) {
            Some(Holds::Stack(at)) => Some(*at),
            _ => None,
        }
    }

    fn set(&mut self, reg: u8, holds: Option<Holds>) {
        match holds {
            Some(holds) => drop(self.regs.insert(reg, holds)),
            None => drop(self.regs.remove(&reg)),
        }
    }

    /// A load or store of registers that stand eight (or for vectors sixteen) bytes apart.
    fn access(&mut self, load: bool, regs: &[u8], at: Option<i64>) {
        for (k, &reg) in regs.iter().enumerate() {
            let word = at.map(|at| at + k as i64 * if reg >= 64 { 16 } else { 8 });
            if load {
                let value = word.and_then(|word| self.words.get(&word).copied());
                self.set(reg, value);
            } else if let Some(word) = word {
                match self.regs.get(&reg).copied() {
                    Some(value) => drop(self.words.insert(word, value)),
                    None => drop(self.words.remove(&word)),
                }
            }
        }
    }

    fn step(&mut self, word: u32) -> Next {
        let (rd, rn, rm) = ((word & 31) as u8, (word >> 5 & 31) as u8, (word >> 16 & 31) as u8);
        let signed = |from: u32, bits: u32| i64::from(((word >> from) << (32 - bits)) as i32 >> (32 - bits));
        match word {
            // Branches.
            _ if word >> 26 == 0x05 => return Next::Goes(signed(0, 26) * 4),
            _ if word >> 24 == 0x54 || word >> 25 & 0x3f == 0x1a => return Next::Forks(signed(5, 19) * 4),
            _ if word >> 25 & 0x3f == 0x1b => return Next::Forks(signed(5, 14) * 4),
            0xd65f_03c0 => return Next::Ends,
            _ if word >> 10 == 0xd61f_0000 >> 10 || word >> 16 == 0 => return Next::Ends,
            // Calls: what the callee keeps is kept.
            _ if word >> 26 == 0x25 || word >> 10 == 0xd63f_0000 >> 10 => self.set(LR, None),
            // add, sub: immediate.
            _ if word >> 23 & 0x1ff == 0x122 || word >> 23 & 0x1ff == 0x1a2 => {
                let mut by = i64::from(word >> 10 & 0xfff) << ((word >> 22 & 1) * 12);
                by = if word >> 30 & 1 == 1 { -by } else { by };
                let sum = self.stack(rn).map(|at| Holds::Stack(at + by));
                self.set(rd, sum);
            }
            // add, sub: extended register, no extension.
            _ if word & 0xbfe0_fc00 == 0x8b20_6000 => {
                let by = match self.regs.get(&rm) {
                    Some(Holds::Constant(by)) => Some(*by as i64),
                    _ => None,
                };
                let by = by.map(|by| if word >> 30 & 1 == 1 { -by } else { by });
                let sum = self.stack(rn).zip(by).map(|(at, by)| Holds::Stack(at + by));
                self.set(rd, sum);
            }
            // movz, movk.
            _ if word >> 23 == 0x1a5 => {
                let value = u64::from(word >> 5 & 0xffff) << ((word >> 21 & 3) * 16);
                self.set(rd, Some(Holds::Constant(value)));
            }
            _ if word >> 23 == 0x1e5 => {
                let (part, shift) = (u64::from(word >> 5 & 0xffff), (word >> 21 & 3) * 16);
                let before = match self.regs.get(&rd) {
                    Some(Holds::Constant(value)) => Some(value & !(0xffff << shift) | part << shift),
                    _ => None,
                };
                self.set(rd, before.map(Holds::Constant));
            }
            // mov of registers.
            _ if word & 0xffe0_ffe0 == 0xaa00_03e0 => self.set(rd, self.regs.get(&rm).copied()),
            // and sp, x16, mask: known no more.
            _ if word >> 23 == 0x124 => self.set(rd, None),
            // Pairs of integers: before, after, at an offset.
            _ if word >> 25 == 0x54 && word >> 30 == 2 => {
                let (second, by) = ((word >> 10 & 31) as u8, signed(15, 7) * 8);
                let (load, at) = (word >> 22 & 1 == 1, self.stack(rn));
                let post = word >> 23 & 3 == 1;
                self.access(load, &[rd, second], at.map(|at| if post { at } else { at + by }));
                if word >> 23 & 1 == 1 {
                    self.set(rn, at.map(|at| Holds::Stack(at + by)));
                }
            }
            // One register of eight or sixteen bytes, scaled and unscaled.
            _ if word >> 24 == 0xf9 || word >> 24 == 0x3d || word >> 24 == 0xfd => {
                let unit = if word >> 24 == 0x3d { 16 } else { 8 };
                let by = i64::from(word >> 10 & 0xfff) * unit;
                let reg = if word >> 26 & 1 == 1 { rd + 64 } else { rd };
                self.access(word >> 22 & 1 == 1, &[reg], self.stack(rn).map(|at| at + by));
            }
            _ if word >> 24 == 0xf8 && word >> 10 & 3 == 0 && word >> 21 & 1 == 0 => {
                self.access(word >> 22 & 1 == 1, &[rd], self.stack(rn).map(|at| at + signed(12, 9)));
            }
            // Loads and stores that are none of the above.
            _ if word >> 25 & 5 == 4 => {
                let (vector, opc) = (word >> 26 & 1 == 1, word >> 22 & 3);
                let stores = match word >> 27 & 7 {
                    7 => opc == 0 || (vector && opc == 2),
                    _ => opc & 1 == 0,
                };
                let reg = if vector { rd + 64 } else { rd };
                if !stores && reg != SP {
                    self.set(reg, None);
                }
                // The status of an exclusive store, or what a compare-and-swap read.
                if word >> 24 & 0x3f == 8 && rm != SP {
                    self.set(rm, None);
                }
            }
            // Whatever else writes a register writes the one in its lowest field; 31 is the zero register there.
            _ => {
                // Conversions between floats and integers: 2, 3 and 7 give floats.
                let converts = word & 0x5f20_fc00 == 0x1e20_0000;
                let vector = word >> 25 & 7 == 7 && (!converts || matches!(word >> 16 & 7, 2 | 3 | 7));
                let reg = if vector { rd + 64 } else { rd };
                let compares = word & 0xff20_fc07 == 0x1e20_2000 || word >> 21 & 0x7ff == 0x3d2;
                if reg != SP && !compares {
                    self.set(reg, None);
                }
            }
        }
        Next::Falls
    }
}

/// Whether code may write the register as it likes: vmctx, and the one of `set_pinned_reg`.
fn is_pinned(number: u8) -> bool {
    matches!(number, 21 | 28)
}

fn compare(state: &State, at: u64, rows: &[UnwindTableRow<usize>], saved: &[u8]) {
    let row = rows.iter().find(|row| row.contains(at)).unwrap_or_else(|| panic!("no row at {at:#x}"));
    let CfaRule::RegisterAndOffset { register, offset } = *row.cfa() else { panic!("CFA is an expression") };
    let base = state.stack(register.0 as u8);
    let cfa = base.unwrap_or_else(|| panic!("{at:#x}: {register:?} holds no stack address")) + offset;
    assert_eq!(cfa, 0, "{at:#x}: the CFA is the stack pointer at entry");
    for &number in saved {
        let holds = match row.register(gimli::Register(u16::from(number))) {
            None | Some(RegisterRule::Undefined | RegisterRule::SameValue) => state.regs.get(&number),
            Some(RegisterRule::Offset(by)) => state.words.get(&(cfa + by)),
            Some(rule) => panic!("{at:#x}: rule {rule:?}"),
        };
        let expected = holds == Some(&Holds::Entry(number)) || (is_pinned(number) && holds.is_none());
        assert!(expected, "{at:#x}: register {number} of the caller is not where the row says: {holds:?}");
    }
}

/// Steps a function. Gives how many instructions there were.
fn check(compiled: &CompiledFunction, saved: &[u8]) -> usize {
    let mut section = EhFrame::new(Arch::Aarch64, 0x1000);
    section.add(0, compiled.code.len() as u64, &compiled.unwind);
    let rows = Rows::read(&section.finish(), 0x1000);
    let rows = &rows.functions[0].2;
    let word =
        |at: i64| u32::from_le_bytes(compiled.code[at as usize..at as usize + 4].try_into().expect("a word"));
    let mut regs: BTreeMap<u8, Holds> = saved.iter().map(|&reg| (reg, Holds::Entry(reg))).collect();
    regs.insert(SP, Holds::Stack(0));
    let entry = State { regs, words: BTreeMap::new() };
    let (mut seen, mut work) = (HashMap::new(), vec![(0i64, entry)]);
    let jumps: Vec<u32> = compiled.relocations.iter().map(|relocation| relocation.offset).collect();
    while let Some((at, state)) = work.pop() {
        if seen.insert(at, ()).is_some() {
            continue;
        }
        compare(&state, at as u64, rows, saved);
        let mut after = state;
        let next = after.step(word(at));
        // What a callee pops is taken again right behind the call.
        let calls = word(at) >> 26 == 0x25 || word(at) >> 10 == 0xd63f_0000 >> 10;
        if calls && word(at + 4) & 0xff80_03ff == 0xd100_03ff {
            let popped = i64::from(word(at + 4) >> 10 & 0xfff) << ((word(at + 4) >> 22 & 1) * 12);
            let stack = after.stack(SP).map(|at| Holds::Stack(at + popped));
            after.set(SP, stack);
        }
        match next {
            Next::Falls => work.push((at + 4, after)),
            Next::Goes(by) if !jumps.contains(&(at as u32)) => work.push((at + by, after)),
            Next::Forks(by) => {
                work.push((at + by, after.clone()));
                work.push((at + 4, after));
            }
            Next::Goes(_) | Next::Ends => {}
        }
    }
    seen.len()
}

#[test]
fn every_instruction_of_every_test_function_unwinds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the repository");
    let settings = Settings::new(Target::parse("aarch64").expect("a target"));
    let (mut ctx, mut count, mut steps) = (Context::new(), 0, 0);
    let shared = root.ancestors().map(|up| up.join("shared/corpora/clif-runtests"));
    for folder in shared.chain([root.join("tests/clif/run")]) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(text) = std::fs::read_to_string(entry.path()) else { continue };
            let from = text.find("\nfunction ").map_or(0, |at| at + 1);
            let Ok(parsed) = sphex_ir::parse::parse_text(&text, from) else { continue };
            for parsed in parsed.functions {
                let mut func = parsed.function;
                let Ok(compiled) = compile(&mut func, &settings, &mut ctx) else { continue };
                let placement = place(Arch::Aarch64, &func.signature).expect("it was compiled");
                let convention = placement.convention;
                // Of v8 to v15 only the low halves count, and the whole registers are stored.
                let mut saved = convention.callee_saved.difference(convention.frame);
                for place in &placement.returns {
                    if let Place::Reg(reg) = *place {
                        saved.remove(reg);
                    }
                }
                let mut saved: Vec<u8> = saved.iter().map(dwarf_number_aarch64).collect();
                saved.extend([FP, LR]);
                steps += check(&compiled, &saved);
                count += 1;
            }
        }
    }
    println!("{count} functions, {steps} instructions");
    assert!(count >= 30, "{count} functions");
}
