//! A relocatable ELF file of compiled functions, for an ordinary linker.
//!
//! Needs: compiled functions and their names. Gives: the file's bytes: `.text`, `.rodata` for constants, `.eh_frame` with
//! relocations, `.note.GNU-stack`; every function is a global symbol, every name that is referred to and not defined an
//! undefined one.

use crate::emit::CompiledFunction;
use crate::error::CodegenError;
use crate::pipeline::{Context, compile};
use crate::settings::{Arch, Settings};
use crate::unwind::eh_frame::EhFrame;
use object::write::{Object, Relocation, SectionId, StandardSection, Symbol, SymbolId, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, RelocationFlags, SectionKind, SymbolFlags, SymbolKind,
    SymbolScope, elf,
};
use sphex_asm::record::{RelocationKind, RelocationTarget};
use sphex_ir::{ExternalName, Function};
use std::collections::HashMap;

/// Why there is no object file.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ObjectError {
    /// A function could not be compiled.
    #[error("function {name}: {error}")]
    Function {
        /// The function.
        name: ExternalName,
        /// Why.
        error: CodegenError,
    },
    /// Two functions have one name.
    #[error("function {0}: defined twice")]
    Duplicate(ExternalName),
    /// The file could not be written.
    #[error("object file: {0}")]
    Write(String),
}

/// Compiles functions into an object file.
pub fn compile_object(functions: &mut [Function], settings: &Settings) -> Result<Vec<u8>, ObjectError> {
    let (mut file, mut ctx) = (ObjectFile::new(settings.target.arch), Context::new());
    for func in functions {
        let compiled = compile(func, settings, &mut ctx)
            .map_err(|error| ObjectError::Function { name: func.name.clone(), error })?;
        file.add(&func.name, &compiled)?;
    }
    file.finish()
}

/// CLIF's names of library functions, and C's.
const LIBRARY: [(&str, &str); 14] = [
    ("CeilF32", "ceilf"),
    ("CeilF64", "ceil"),
    ("FloorF32", "floorf"),
    ("FloorF64", "floor"),
    ("TruncF32", "truncf"),
    ("TruncF64", "trunc"),
    ("NearestF32", "nearbyintf"),
    ("NearestF64", "nearbyint"),
    ("FmaF32", "fmaf"),
    ("FmaF64", "fma"),
    ("Memcpy", "memcpy"),
    ("Memset", "memset"),
    ("Memmove", "memmove"),
    ("Memcmp", "memcmp"),
];

/// The symbol of a name.
pub fn symbol_name(name: &ExternalName) -> String {
    match name {
        ExternalName::Symbol(text)
            if let Some((_, c)) = LIBRARY.iter().find(|(clif, _)| **clif == **text) =>
        {
            c.to_string()
        }
        ExternalName::Symbol(text) => text.to_string(),
        ExternalName::User { namespace, index } => format!("u{namespace}_{index}"),
    }
}

/// An object file under construction.
#[derive(Debug)]
pub struct ObjectFile {
    arch: Arch,
    object: Object<'static>,
    text: SectionId,
    rodata: SectionId,
    symbols: HashMap<ExternalName, (SymbolId, bool)>,
    eh_frame: EhFrame,
    /// Fields of `.eh_frame` with a function's address, and the function's offset in `.text`.
    eh_addresses: Vec<(usize, u64)>,
}

impl ObjectFile {
    /// An empty file.
    pub fn new(arch: Arch) -> Self {
        let architecture = match arch {
            Arch::X64 => Architecture::X86_64,
            Arch::Aarch64 => Architecture::Aarch64,
        };
        let mut object = Object::new(BinaryFormat::Elf, architecture, Endianness::Little);
        let text = object.section_id(StandardSection::Text);
        let rodata = object.section_id(StandardSection::ReadOnlyData);
        Self {
            arch,
            object,
            text,
            rodata,
            symbols: HashMap::new(),
            eh_frame: EhFrame::new(arch, 0),
            eh_addresses: Vec::new(),
        }
    }

    /// Adds a function.
    pub fn add(&mut self, name: &ExternalName, function: &CompiledFunction) -> Result<(), ObjectError> {
        let start = self.object.append_section_data(self.text, &function.code, u64::from(function.alignment));
        let constants = self.object.append_section_data(
            self.rodata,
            &function.constants,
            u64::from(function.constants_alignment),
        );
        let id = self.symbol(name);
        match self.symbols.get_mut(name) {
            Some((_, defined)) if !*defined => *defined = true,
            _ => return Err(ObjectError::Duplicate(name.clone())),
        }
        let symbol = self.object.symbol_mut(id);
        symbol.value = start;
        symbol.size = function.code.len() as u64;
        symbol.kind = SymbolKind::Text;
        symbol.section = SymbolSection::Section(self.text);
        let length = function.code.len() as u64;
        self.eh_addresses.push((self.eh_frame.add(start, length, &function.unwind), start));
        for relocation in &function.relocations {
            let (symbol, addend) = match relocation.target {
                RelocationTarget::Symbol(symbol) => (self.symbol(&function.symbols[symbol.0 as usize]), 0),
                RelocationTarget::Constant(offset) => {
                    (self.object.section_symbol(self.rodata), (constants + u64::from(offset)) as i64)
                }
            };
            let r_type = match relocation.kind {
                RelocationKind::Abs8 if self.arch == Arch::Aarch64 => elf::R_AARCH64_ABS64,
                RelocationKind::Call4 => elf::R_X86_64_PLT32,
                RelocationKind::PcRel4 => elf::R_X86_64_PC32,
                RelocationKind::GotPcRel4 => elf::R_X86_64_GOTPCREL,
                RelocationKind::Abs8 => elf::R_X86_64_64,
                RelocationKind::A64Call => elf::R_AARCH64_CALL26,
                RelocationKind::A64Page => elf::R_AARCH64_ADR_PREL_PG_HI21,
                RelocationKind::A64Low12 => elf::R_AARCH64_ADD_ABS_LO12_NC,
                RelocationKind::A64GotPage => elf::R_AARCH64_ADR_GOT_PAGE,
                RelocationKind::A64GotLow12 => elf::R_AARCH64_LD64_GOT_LO12_NC,
            };
            let offset = start + u64::from(relocation.offset);
            self.relocate(
                self.text,
                offset,
                symbol,
                relocation.addend + addend,
                RelocationFlags::Elf { r_type },
            )?;
        }
        Ok(())
    }

    /// The file's bytes.
    pub fn finish(mut self) -> Result<Vec<u8>, ObjectError> {
        let section = self.object.section_id(StandardSection::EhFrame);
        let bytes = self.eh_frame.clone().finish();
        self.object.append_section_data(section, &bytes, 8);
        let text = self.object.section_symbol(self.text);
        for (field, start) in core::mem::take(&mut self.eh_addresses) {
            let r_type = match self.arch {
                Arch::X64 => elf::R_X86_64_PC64,
                Arch::Aarch64 => elf::R_AARCH64_PREL64,
            };
            let flags = RelocationFlags::Elf { r_type };
            self.relocate(section, field as u64, text, start as i64, flags)?;
        }
        self.object.add_section(Vec::new(), b".note.GNU-stack".to_vec(), SectionKind::Other);
        self.object.write().map_err(|error| ObjectError::Write(error.to_string()))
    }

    fn symbol(&mut self, name: &ExternalName) -> SymbolId {
        if let Some(&(id, _)) = self.symbols.get(name) {
            return id;
        }
        let id = self.object.add_symbol(Symbol {
            name: symbol_name(name).into_bytes(),
            value: 0,
            size: 0,
            kind: SymbolKind::Unknown,
            scope: SymbolScope::Dynamic,
            weak: false,
            section: SymbolSection::Undefined,
            flags: SymbolFlags::None,
        });
        self.symbols.insert(name.clone(), (id, false));
        id
    }

    fn relocate(
        &mut self,
        section: SectionId,
        offset: u64,
        symbol: SymbolId,
        addend: i64,
        flags: RelocationFlags,
    ) -> Result<(), ObjectError> {
        let relocation = Relocation { offset, symbol, addend, flags };
        self.object.add_relocation(section, relocation).map_err(|error| ObjectError::Write(error.to_string()))
    }
}
