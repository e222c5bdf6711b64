//! Machine code as text, for `objdump` and `explain`: bytes, instructions, and what is known about each.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Write};

use iced_x86::{
    Decoder, DecoderOptions, Formatter, Instruction, InstructionInfoFactory, IntelFormatter, Mnemonic,
    OpAccess, OpKind, Register, SymbolResolver,
};
use sphex_artifact::builtins::Builtin;
use sphex_artifact::module::{ImportKind, Module};
use sphex_artifact::vmctx::VmLayout;
use sphex_artifact::vmctx::header::{BUILTINS, NULL_FUNCREF, STORE, TYPE_IDS};

/// How machine code is printed.
pub struct Disassembler {
    formatter: IntelFormatter,
    info: InstructionInfoFactory,
    fields: Fields,
    with_bytes: bool,
}

impl Disassembler {
    /// Names of addresses come from `names`, those of vmctx fields from `fields`.
    pub fn new(names: Option<Box<dyn SymbolResolver>>, fields: Fields, with_bytes: bool) -> Disassembler {
        let mut formatter = IntelFormatter::with_options(names, None);
        formatter.options_mut().set_space_after_operand_separator(true);
        formatter.options_mut().set_rip_relative_addresses(true);
        formatter.options_mut().set_branch_leading_zeros(false);
        formatter.options_mut().set_show_branch_size(false);
        Disassembler { formatter, info: InstructionInfoFactory::new(), fields, with_bytes }
    }

    /// Prints the code of one function, which begins at this address. `notes` says what else is known of an instruction.
    pub fn function(
        &mut self,
        out: &mut dyn Write,
        code: &[u8],
        start: u32,
        mut notes: impl FnMut(&Instruction) -> String,
    ) -> io::Result<()> {
        let tables = tables(code, start);
        let end = tables.first().map_or(code.len(), |&first| first as usize);
        let mut decoder = Decoder::with_ip(64, &code[..end], u64::from(start), DecoderOptions::NONE);
        let mut instruction = Instruction::default();
        let mut text = String::new();
        self.fields.forget();
        while decoder.can_decode() {
            let at = decoder.position();
            decoder.decode_out(&mut instruction);
            text.clear();
            self.formatter.format(&instruction, &mut text);
            let mut notes = notes(&instruction);
            self.fields.note(&instruction, &mut self.info, &mut notes);
            let bytes = &code[at..decoder.position()];
            self.line(out, instruction.ip(), bytes, &text, &notes)?;
        }
        for (k, &table) in tables.iter().enumerate() {
            let behind = tables.get(k + 1).map_or(code.len(), |&next| next as usize);
            for (entry, bytes) in code[table as usize..behind].chunks_exact(4).enumerate() {
                // An entry is the distance from its table.
                let distance = i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                let target = i64::from(start) + i64::from(table) + i64::from(distance);
                let address = u64::from(start) + u64::from(table) + 4 * entry as u64;
                self.line(out, address, bytes, &format!(".long to {target:x}h"), "")?;
            }
        }
        Ok(())
    }

    fn line(
        &self,
        out: &mut dyn Write,
        address: u64,
        bytes: &[u8],
        text: &str,
        notes: &str,
    ) -> io::Result<()> {
        write!(out, "{address:8x}:  ")?;
        if self.with_bytes {
            let bytes: String = bytes.iter().map(|b| format!("{b:02x} ")).collect();
            write!(out, "{bytes:<31}")?;
        }
        match notes.is_empty() {
            true => writeln!(out, "{text}"),
            false => writeln!(out, "{text:<40} ;{notes}"),
        }
    }
}

/// Where the jump tables of a function begin, ascending: they stand behind its code, and `lea` takes their addresses.
fn tables(code: &[u8], start: u32) -> Vec<u32> {
    let mut decoder = Decoder::with_ip(64, code, u64::from(start), DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    let mut tables = BTreeSet::new();
    let mut end = code.len();
    while decoder.can_decode() && decoder.position() < end {
        decoder.decode_out(&mut instruction);
        if instruction.mnemonic() == Mnemonic::Lea && instruction.is_ip_rel_memory_operand() {
            let target = instruction.ip_rel_memory_address().wrapping_sub(u64::from(start));
            if (decoder.position() as u64..code.len() as u64).contains(&target) {
                tables.insert(target as u32);
                end = end.min(target as usize);
            }
        }
    }
    tables.into_iter().collect()
}

/// What an integer register is known to hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    Unknown,
    /// The table of builtins.
    Builtins,
    Builtin(Builtin),
}

/// Fields of the vmctx, which r15 points to, and what has been loaded from them. Values are followed through straight
/// code only: what a block takes from another one is not known.
pub struct Fields {
    names: HashMap<u32, String>,
    held: [Held; 16],
}

impl Fields {
    /// The fields that every vmctx has.
    pub fn header() -> Fields {
        let names =
            [(STORE, "store"), (BUILTINS, "builtins"), (TYPE_IDS, "type ids"), (NULL_FUNCREF, "null")];
        let names = names.into_iter().map(|(offset, name)| (offset, name.to_owned())).collect();
        Fields { names, held: [Held::Unknown; 16] }
    }

    /// Those of a module's vmctx too.
    pub fn of(module: &Module) -> Fields {
        let mut fields = Fields::header();
        let Ok(layout) = VmLayout::new(&module.counts()) else { return fields };
        let imported = &module.imported;
        let mut functions = module.imports.iter().filter(|i| matches!(i.kind, ImportKind::Function(_)));
        let mut add = |offset: u32, name: String| {
            fields.names.insert(offset, name);
        };
        for index in 0..imported.functions {
            let import = functions.next();
            let name = import.map_or(String::new(), |import| format!(" {}::{}", import.module, import.name));
            add(layout.imported_function(index), format!("code of import{name}"));
            add(layout.imported_function(index) + 8, format!("vmctx of import{name}"));
        }
        for index in 0..module.memories.len() as u32 {
            match index.checked_sub(imported.memories) {
                None => add(layout.imported_memory(index), format!("memory {index}")),
                Some(defined) => {
                    add(layout.memory(defined), format!("base of memory {index}"));
                    add(layout.memory(defined) + 8, format!("length of memory {index}"));
                }
            }
        }
        for index in 0..module.tables.len() as u32 {
            match index.checked_sub(imported.tables) {
                None => add(layout.imported_table(index), format!("table {index}")),
                Some(defined) => {
                    add(layout.table(defined), format!("base of table {index}"));
                    add(layout.table(defined) + 8, format!("length of table {index}"));
                }
            }
        }
        for index in 0..module.globals.len() as u32 {
            let offset = match index.checked_sub(imported.globals) {
                None => layout.imported_global(index),
                Some(defined) => layout.global(defined),
            };
            add(offset, format!("global {index}"));
        }
        fields
    }

    fn forget(&mut self) {
        self.held = [Held::Unknown; 16];
    }

    /// Notes which field an instruction touches and which builtin it calls, and follows what it loads.
    fn note(&mut self, instruction: &Instruction, info: &mut InstructionInfoFactory, notes: &mut String) {
        let memory = (0..instruction.op_count()).any(|k| instruction.op_kind(k) == OpKind::Memory);
        let offset = instruction.memory_displacement64() as u32;
        let base = if memory { instruction.memory_base() } else { Register::None };
        let mut loaded = Held::Unknown;
        if base == Register::R15 && instruction.memory_index() == Register::None {
            if let Some(name) = self.names.get(&offset) {
                *notes += &format!(" {name}");
            }
            if offset == BUILTINS {
                loaded = Held::Builtins;
            }
        } else if base.is_gpr64() && self.held[base.number()] == Held::Builtins {
            let builtin = Builtin::from_index(offset / 8).filter(|_| offset.is_multiple_of(8));
            loaded = builtin.map_or(Held::Unknown, Held::Builtin);
        }
        if instruction.is_call_near_indirect() {
            let target = instruction.op0_register();
            let called = match loaded {
                Held::Unknown if target.is_gpr64() => self.held[target.number()],
                loaded => loaded,
            };
            if let Held::Builtin(builtin) = called {
                *notes += &format!(" builtin {}", builtin.row().name);
            }
        }
        if instruction.is_jmp_short_or_near() || instruction.mnemonic() == Mnemonic::Ret {
            self.forget();
        }
        let written = info.info(instruction).used_registers().iter().filter(|used| {
            matches!(
                used.access(),
                OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
            )
        });
        for used in written.filter(|used| used.register().is_gpr()) {
            self.held[used.register().full_register().number()] = Held::Unknown;
        }
        if instruction.mnemonic() == Mnemonic::Mov && instruction.op0_register().is_gpr64() {
            self.held[instruction.op0_register().number()] = loaded;
        }
        if instruction.is_call_near() || instruction.is_call_near_indirect() {
            self.forget();
        }
    }
}
