//! Steps every instruction of a function symbolically and compares the unwind rows that gimli reads.
//!
//! The state has the stack pointer relative to entry, what `rbp` and the other callee-saved registers hold, and what
//! stack words hold the return address or a saved register. At each instruction the row must say where the return
//! address is, and where the caller's value of each callee-saved register is.
//!
//! Needs nothing of this crate: the tests of `sphex-compile` check the functions of artifacts with it.

use gimli::{
    BaseAddresses, CfaRule, CieOrFde, EndianSlice, LittleEndian, RegisterRule, UnwindContext, UnwindSection,
    UnwindTableRow,
};
use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpKind, Register,
};
use std::collections::{BTreeMap, HashMap};

/// What a place holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Holds {
    ReturnAddress,
    /// The value at entry of the register with this DWARF number.
    Entry(u8),
    /// The stack pointer at entry plus this.
    Stack(i64),
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct State {
    /// By DWARF number; absent: anything.
    regs: BTreeMap<u8, Holds>,
    words: BTreeMap<i64, Holds>,
}

const RBP: u8 = 6;
const RSP: u8 = 7;

fn number(register: Register) -> Option<u8> {
    let full = register.full_register();
    const INT: [Register; 16] = [
        Register::RAX,
        Register::RCX,
        Register::RDX,
        Register::RBX,
        Register::RSP,
        Register::RBP,
        Register::RSI,
        Register::RDI,
        Register::R8,
        Register::R9,
        Register::R10,
        Register::R11,
        Register::R12,
        Register::R13,
        Register::R14,
        Register::R15,
    ];
    const DWARF: [u8; 16] = [0, 2, 1, 3, 7, 6, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15];
    let int = INT.iter().position(|&r| r == full).map(|n| DWARF[n]);
    let vector = (full.is_zmm() || full.is_ymm() || full.is_xmm()).then(|| 17 + full.number() as u8);
    int.or(vector)
}

impl State {
    fn at_entry(callee_saved: &[u8]) -> State {
        let mut regs: BTreeMap<u8, Holds> =
            callee_saved.iter().map(|&reg| (reg, Holds::Entry(reg))).collect();
        regs.insert(RSP, Holds::Stack(0));
        State { regs, words: BTreeMap::from([(0, Holds::ReturnAddress)]) }
    }

    fn stack(&self, register: u8) -> Option<i64> {
        match self.regs.get(&register) {
            Some(Holds::Stack(offset)) => Some(*offset),
            _ => None,
        }
    }

    /// The stack word that a memory operand is, if it is one that is known.
    fn word(&self, inst: &Instruction) -> Option<i64> {
        let base = self.stack(number(inst.memory_base())?)?;
        (inst.memory_index() == Register::None).then(|| base + inst.memory_displacement64() as i64)
    }

    fn set(&mut self, register: u8, holds: Option<Holds>) {
        match holds {
            Some(holds) => drop(self.regs.insert(register, holds)),
            None => drop(self.regs.remove(&register)),
        }
    }

    fn store(&mut self, word: i64, holds: Option<Holds>) {
        match holds {
            Some(holds) => drop(self.words.insert(word, holds)),
            None => drop(self.words.remove(&word)),
        }
    }

    /// Executes an instruction, as far as it matters.
    fn step(&mut self, inst: &Instruction, info: &mut InstructionInfoFactory) {
        let rsp = self.stack(RSP);
        let reg =
            |k: u32| (inst.op_kind(k) == OpKind::Register).then(|| number(inst.op_register(k))).flatten();
        let whole_move = matches!(inst.mnemonic(), Mnemonic::Mov | Mnemonic::Movups | Mnemonic::Movaps);
        match inst.mnemonic() {
            Mnemonic::Push => {
                let value = reg(0).and_then(|r| self.regs.get(&r).copied());
                self.set(RSP, rsp.map(|at| Holds::Stack(at - 8)));
                if let Some(at) = rsp {
                    self.store(at - 8, value);
                }
            }
            Mnemonic::Pop => {
                let value = rsp.and_then(|at| self.words.get(&at).copied());
                if let Some(r) = reg(0) {
                    self.set(r, value);
                }
                self.set(RSP, rsp.map(|at| Holds::Stack(at + 8)));
            }
            Mnemonic::Sub | Mnemonic::Add
                if reg(0) == Some(RSP) && inst.op_count() == 2 && reg(1).is_none() =>
            {
                let by = inst.immediate(1) as i64 * if inst.mnemonic() == Mnemonic::Sub { -1 } else { 1 };
                self.set(RSP, rsp.map(|at| Holds::Stack(at + by)));
            }
            Mnemonic::Lea if reg(0).is_some() => {
                let at = self.word(inst).map(Holds::Stack);
                self.set(reg(0).unwrap(), at);
            }
            _ if whole_move && inst.op_count() == 2 => {
                let value = match (inst.op_kind(1), reg(1)) {
                    (OpKind::Register, Some(r)) => self.regs.get(&r).copied(),
                    (OpKind::Memory, _) => self.word(inst).and_then(|at| self.words.get(&at).copied()),
                    _ => None,
                };
                match (inst.op_kind(0), reg(0)) {
                    (OpKind::Register, Some(r)) => self.set(r, value),
                    (OpKind::Memory, _) => {
                        if let Some(at) = self.word(inst) {
                            self.store(at, value);
                        }
                    }
                    _ => {}
                }
            }
            Mnemonic::Call => {}
            _ => {
                for used in info.info(inst).used_registers() {
                    let writes = !matches!(
                        used.access(),
                        iced_x86::OpAccess::Read
                            | iced_x86::OpAccess::CondRead
                            | iced_x86::OpAccess::NoMemAccess
                    );
                    if let Some(r) = number(used.register()).filter(|_| writes) {
                        self.set(r, None);
                    }
                }
            }
        }
    }
}

type Section<'a> = gimli::EhFrame<EndianSlice<'a, LittleEndian>>;
type Row = UnwindTableRow<usize>;

/// Every function of an `.eh_frame` section: where it begins, its length, and its rows.
pub struct Rows {
    pub functions: Vec<(u64, u64, Vec<Row>)>,
    pub cies: usize,
}

impl Rows {
    /// Reads a section that stands at this address, where the code stands at 0.
    pub fn read(section: &[u8], address: u64) -> Rows {
        let section = gimli::EhFrame::new(section, LittleEndian);
        let bases = BaseAddresses::default().set_eh_frame(address).set_text(0);
        let (mut functions, mut cies, mut context) = (Vec::new(), 0, UnwindContext::new());
        let mut entries = section.entries(&bases);
        while let Some(entry) = entries.next().unwrap() {
            let CieOrFde::Fde(partial) = entry else {
                cies += 1;
                continue;
            };
            let fde = partial.parse(Section::cie_from_offset).unwrap();
            let mut table = fde.rows(&section, &bases, &mut context).unwrap();
            let mut rows = Vec::new();
            while let Some(row) = table.next_row().unwrap() {
                rows.push(row.clone());
            }
            functions.push((fde.initial_address(), fde.len(), rows));
        }
        Rows { functions, cies }
    }
}

/// A function to check.
pub struct Code<'a> {
    /// Its bytes, tables behind the code included.
    pub bytes: &'a [u8],
    /// The address of the first.
    pub start: u64,
    /// Its rows.
    pub rows: &'a [Row],
    /// Whether the field at this address is for a linker to fill in.
    pub relocated: &'a dyn Fn(u64) -> bool,
    /// DWARF numbers of the registers that its convention preserves.
    pub callee_saved: &'a [u8],
}

/// Checks a function. Gives how many instructions were stepped.
pub fn check(function: &Code<'_>) -> usize {
    let mut info = InstructionInfoFactory::new();
    let (start, end) = (function.start, function.start + function.bytes.len() as u64);
    // Instructions end where the first jump table begins, which no instruction falls into; decode by reachability.
    let decode = |at: u64| {
        let mut decoder =
            Decoder::with_ip(64, &function.bytes[(at - start) as usize..], at, DecoderOptions::NONE);
        decoder.decode()
    };
    let mut states: HashMap<u64, State> = HashMap::new();
    let mut work = vec![(start, State::at_entry(function.callee_saved))];
    let mut targets: Vec<u64> = jump_table_targets(function);
    let mut body = None;
    loop {
        let Some((at, state)) = work.pop() else {
            // Blocks that are reached through jump tables have the body's state.
            match (targets.pop(), &body) {
                (Some(at), Some(state)) => work.push((at, State::clone(state))),
                _ => break,
            }
            continue;
        };
        if states.contains_key(&at) || !(start..end).contains(&at) {
            continue;
        }
        let inst = decode(at);
        assert!(!inst.is_invalid(), "invalid instruction at {at:#x}");
        compare(&state, at, function);
        // With the frame still there it goes through a table, else it is a tail call.
        if inst.flow_control() == FlowControl::IndirectBranch && state.stack(RBP).is_some() {
            body = Some(state.clone());
        }
        let mut after = state.clone();
        states.insert(at, state);
        after.step(&inst, &mut info);
        match inst.flow_control() {
            FlowControl::Return | FlowControl::IndirectBranch | FlowControl::Exception => {}
            FlowControl::UnconditionalBranch => {
                // A tail call leaves the function, or has a target that is not yet known.
                if !(function.relocated)(inst.next_ip() - 4) {
                    work.push((inst.near_branch_target(), after));
                }
            }
            FlowControl::ConditionalBranch => {
                work.push((inst.near_branch_target(), after.clone()));
                work.push((inst.next_ip(), after));
            }
            _ => work.push((inst.next_ip(), after)),
        }
    }
    states.len()
}

/// Every offset that some four-byte-aligned stretch behind the code could name: all entries of the jump tables.
fn jump_table_targets(function: &Code<'_>) -> Vec<u64> {
    // `lea base, [rip + table]; movsxd entry, ...`: the tables' starts are the targets of rip-relative leas.
    let mut targets = Vec::new();
    let mut decoder = Decoder::with_ip(64, function.bytes, function.start, DecoderOptions::NONE);
    let mut starts = Vec::new();
    let end = function.start + function.bytes.len() as u64;
    let mut tables_at = end;
    while decoder.can_decode() && decoder.ip() < tables_at {
        let inst = decoder.decode();
        if inst.mnemonic() == Mnemonic::Lea && inst.is_ip_rel_memory_operand() {
            let inside = (function.start..end).contains(&inst.ip_rel_memory_address());
            if inside && !(function.relocated)(inst.next_ip() - 4) {
                starts.push(inst.ip_rel_memory_address());
                tables_at = tables_at.min(inst.ip_rel_memory_address());
            }
        }
    }
    starts.sort_unstable();
    for (k, &start) in starts.iter().enumerate() {
        let end = starts.get(k + 1).copied().unwrap_or(end);
        let inside = (start - function.start) as usize..(end - function.start) as usize;
        for entry in function.bytes[inside].chunks_exact(4) {
            let distance = i32::from_le_bytes(entry.try_into().unwrap());
            targets.push(start.wrapping_add_signed(i64::from(distance)));
        }
    }
    targets
}

fn compare(state: &State, at: u64, function: &Code<'_>) {
    let behind = function.rows.partition_point(|row| row.end_address() <= at);
    let row = function.rows.get(behind).filter(|row| row.contains(at));
    let row = row.unwrap_or_else(|| panic!("no row at {at:#x}"));
    let CfaRule::RegisterAndOffset { register, offset } = *row.cfa() else { panic!("CFA is an expression") };
    let base = state.stack(register.0 as u8);
    let base = base.unwrap_or_else(|| panic!("{at:#x}: the CFA's register holds no stack address"));
    let cfa = base + offset;
    assert_eq!(
        state.words.get(&(cfa - 8)),
        Some(&Holds::ReturnAddress),
        "{at:#x}: no return address at the CFA"
    );
    for &number in function.callee_saved {
        if number == RSP {
            continue;
        }
        let holds = match row.register(gimli::Register(u16::from(number))) {
            None | Some(RegisterRule::Undefined | RegisterRule::SameValue) => state.regs.get(&number),
            Some(RegisterRule::Offset(by)) => state.words.get(&(cfa + by)),
            Some(rule) => panic!("{at:#x}: rule {rule:?}"),
        };
        let vmctx = number == 15 && holds.is_none();
        assert!(
            holds == Some(&Holds::Entry(number)) || vmctx,
            "{at:#x}: register {number} of the caller is not where the row says: {holds:?}"
        );
    }
}
