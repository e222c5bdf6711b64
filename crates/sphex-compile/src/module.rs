//! A module's declarations: what its sections other than code say, in the artifact's own terms.
//!
//! Needs the module's bytes. Gives [`ModuleInfo`]: the artifact's description, the bodies to translate, the bytes of data
//! segments, names, debug sections, which functions escape. Everything is validated on the way; bodies later, by the
//! translator. Cost: one pass over the sections, and one over their items.

use crate::error::{CompileError, FunctionName};
use crate::settings::Settings;
use crate::translate::prescan::Prescan;
use sphex_artifact::module as desc;
use sphex_artifact::types::{FuncType, GlobalType, MemoryType, RefType, TableType, ValType};
use sphex_artifact::vmctx::VmLayout;
use wasmparser::{
    AbstractHeapType, CompositeInnerType, ConstExpr, DataKind, ElementItems, ElementKind, Encoding,
    ExternalKind, FuncToValidate, FunctionBody, HeapType, Name, Operator, Parser, Payload, TableInit,
    TypeRef, ValidPayload, Validator, ValidatorResources,
};

type Result<T> = std::result::Result<T, CompileError>;

/// A body that waits for translation.
pub(crate) struct Body<'a> {
    /// What the validator needs.
    pub(crate) validate: FuncToValidate<ValidatorResources>,
    /// Its bytes.
    pub(crate) bytes: FunctionBody<'a>,
}

/// Everything but the code.
pub(crate) struct ModuleInfo<'a> {
    /// The description that goes into the artifact.
    pub(crate) module: desc::Module,
    /// The bodies, by position among the defined functions.
    pub(crate) bodies: Vec<Body<'a>>,
    /// The bytes of each data segment.
    pub(crate) segments: Vec<&'a [u8]>,
    /// Names of functions, by index.
    pub(crate) names: Vec<Option<&'a str>>,
    /// Sections of debugging information: name and bytes.
    pub(crate) debug: Vec<(&'a str, &'a [u8])>,
    /// Where everything stands in a vmctx.
    pub(crate) layout: VmLayout,
    /// What the look at each defined function found; empty before.
    pub(crate) scans: Vec<Prescan>,
    /// Which defined functions may be inlined.
    pub(crate) inlinable: Vec<bool>,
}

impl ModuleInfo<'_> {
    /// A function as errors name it.
    pub(crate) fn function_name(&self, index: u32) -> FunctionName {
        let name = self.names.get(index as usize).copied().flatten();
        FunctionName { index, name: name.map(str::to_owned) }
    }
}

/// Reads and validates all sections but the bodies of functions.
pub(crate) fn parse<'a>(wasm: &'a [u8], settings: &Settings) -> Result<ModuleInfo<'a>> {
    if !wasm.starts_with(b"\0asm") {
        let found = if wasm.is_empty() { "an empty file" } else { "a file of another kind" };
        return Err(CompileError::NotAModule { found });
    }
    let mut reader = Reader::new(settings);
    let mut parser = Parser::new(0);
    parser.set_features(settings.features);
    for payload in parser.parse_all(wasm) {
        let payload = payload?;
        if let Payload::Version { encoding: Encoding::Component, .. } = payload {
            return Err(CompileError::NotAModule { found: "a component" });
        }
        match reader.validator.payload(&payload)? {
            ValidPayload::Func(validate, bytes) => reader.bodies.push(Body { validate, bytes }),
            _ => reader.section(payload)?,
        }
    }
    reader.finish()
}

struct Reader<'a> {
    settings: Settings,
    validator: Validator,
    module: desc::Module,
    bodies: Vec<Body<'a>>,
    segments: Vec<&'a [u8]>,
    names: Vec<Option<&'a str>>,
    debug: Vec<(&'a str, &'a [u8])>,
    escapes: Vec<bool>,
}

impl<'a> Reader<'a> {
    fn new(settings: &Settings) -> Self {
        Reader {
            settings: settings.clone(),
            validator: Validator::new_with_features(settings.features),
            module: desc::Module::default(),
            bodies: Vec::new(),
            segments: Vec::new(),
            names: Vec::new(),
            debug: Vec::new(),
            escapes: Vec::new(),
        }
    }

    fn section(&mut self, payload: Payload<'a>) -> Result<()> {
        match payload {
            Payload::TypeSection(section) => self.types(section),
            Payload::ImportSection(section) => self.imports(section),
            Payload::FunctionSection(section) => {
                for ty in section {
                    let ty = ty?;
                    self.function(ty);
                }
                Ok(())
            }
            Payload::TableSection(section) => self.tables(section),
            Payload::MemorySection(section) => {
                for memory in section.into_iter_with_offsets() {
                    let (offset, ty) = memory?;
                    self.memory(ty, offset)?;
                }
                Ok(())
            }
            Payload::TagSection(section) => {
                Err(CompileError::unsupported("exception handling", section.range().start))
            }
            Payload::GlobalSection(section) => self.globals(section),
            Payload::ExportSection(section) => self.exports(section),
            Payload::StartSection { func, .. } => {
                self.module.start = Some(func);
                Ok(())
            }
            Payload::ElementSection(section) => self.elements(section),
            Payload::DataSection(section) => self.data(section),
            Payload::CodeSectionStart { unchecked_range, .. } => {
                self.module.code_offset = unchecked_range.start;
                Ok(())
            }
            Payload::CustomSection(section) => {
                let name = section.name();
                if name == "name" {
                    self.name_section(section.data_reader());
                } else if name.starts_with(".debug_") {
                    self.debug.push((name, section.data()));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn types(&mut self, section: wasmparser::TypeSectionReader<'a>) -> Result<()> {
        for group in section.into_iter_with_offsets() {
            let (offset, group) = group?;
            if group.is_explicit_rec_group() {
                return Err(CompileError::unsupported("garbage collection", offset));
            }
            for (offset, ty) in group.into_types_and_offsets() {
                let CompositeInnerType::Func(func) = &ty.composite_type.inner else {
                    return Err(CompileError::unsupported("garbage collection", offset));
                };
                if !ty.is_final || !ty.supertype_idxs.is_empty() || ty.composite_type.shared {
                    return Err(CompileError::unsupported("garbage collection", offset));
                }
                let list = |types: &[wasmparser::ValType]| {
                    types.iter().map(|&ty| val_type(ty, offset)).collect::<Result<Box<[_]>>>()
                };
                let ty = FuncType { params: list(func.params())?, results: list(func.results())? };
                self.module.types.push(ty);
            }
        }
        Ok(())
    }

    fn imports(&mut self, section: wasmparser::ImportSectionReader<'a>) -> Result<()> {
        for import in section.into_imports_with_offsets() {
            let (offset, import) = import?;
            let kind = match import.ty {
                TypeRef::Func(ty) => {
                    self.function(ty);
                    self.module.imported.functions += 1;
                    desc::ImportKind::Function(ty)
                }
                TypeRef::Table(ty) => {
                    let ty = table_type(ty, offset)?;
                    self.module.tables.push(desc::Table { ty, init: None });
                    self.module.imported.tables += 1;
                    desc::ImportKind::Table(ty)
                }
                TypeRef::Memory(ty) => {
                    let ty = self.memory(ty, offset)?;
                    self.module.imported.memories += 1;
                    desc::ImportKind::Memory(ty)
                }
                TypeRef::Global(ty) => {
                    let ty = global_type(ty, offset)?;
                    self.module.globals.push(desc::Global { ty, init: None });
                    self.module.imported.globals += 1;
                    desc::ImportKind::Global(ty)
                }
                TypeRef::Tag(_) => return Err(CompileError::unsupported("exception handling", offset)),
                TypeRef::FuncExact(_) => return Err(CompileError::unsupported("custom descriptors", offset)),
            };
            self.module.imports.push(desc::Import {
                module: import.module.to_owned(),
                name: import.name.to_owned(),
                kind,
            });
        }
        Ok(())
    }

    fn function(&mut self, ty: u32) {
        self.module.functions.push(desc::Function { ty, funcref: None, leaves: false });
        self.escapes.push(false);
    }

    fn memory(&mut self, ty: wasmparser::MemoryType, offset: u64) -> Result<MemoryType> {
        if ty.memory64 {
            return Err(CompileError::unsupported("memory64", offset));
        }
        if ty.page_size_log2.is_some_and(|log2| log2 != 16) {
            return Err(CompileError::unsupported("custom page sizes", offset));
        }
        let ty = MemoryType {
            minimum: ty.initial,
            maximum: ty.maximum,
            shared: ty.shared,
            memory64: false,
            page_size_log2: 16,
        };
        let plan = self.settings.memory.plan();
        let plan = if ty.shared { plan.shared() } else { plan };
        self.module.memories.push(desc::Memory { ty, plan });
        Ok(ty)
    }

    fn tables(&mut self, section: wasmparser::TableSectionReader<'a>) -> Result<()> {
        for table in section.into_iter_with_offsets() {
            let (offset, table) = table?;
            let ty = table_type(table.ty, offset)?;
            let init = match table.init {
                TableInit::RefNull => None,
                TableInit::Expr(expr) => Some(self.const_expr(&expr)?),
            };
            self.module.tables.push(desc::Table { ty, init });
        }
        Ok(())
    }

    fn globals(&mut self, section: wasmparser::GlobalSectionReader<'a>) -> Result<()> {
        for global in section.into_iter_with_offsets() {
            let (offset, global) = global?;
            let ty = global_type(global.ty, offset)?;
            let init = Some(self.const_expr(&global.init_expr)?);
            self.module.globals.push(desc::Global { ty, init });
        }
        Ok(())
    }

    fn exports(&mut self, section: wasmparser::ExportSectionReader<'a>) -> Result<()> {
        for export in section.into_iter_with_offsets() {
            let (offset, export) = export?;
            let kind = match export.kind {
                ExternalKind::Func => {
                    self.escape(export.index);
                    desc::ExternKind::Function
                }
                ExternalKind::Table => desc::ExternKind::Table,
                ExternalKind::Memory => desc::ExternKind::Memory,
                ExternalKind::Global => desc::ExternKind::Global,
                ExternalKind::Tag => {
                    return Err(CompileError::unsupported("exception handling", offset));
                }
                ExternalKind::FuncExact => {
                    return Err(CompileError::unsupported("custom descriptors", offset));
                }
            };
            self.module.exports.push(desc::Export {
                name: export.name.to_owned(),
                kind,
                index: export.index,
            });
        }
        Ok(())
    }

    fn elements(&mut self, section: wasmparser::ElementSectionReader<'a>) -> Result<()> {
        for element in section.into_iter_with_offsets() {
            let (offset, element) = element?;
            let mode = match element.kind {
                ElementKind::Passive => desc::SegmentMode::Passive,
                ElementKind::Declared => desc::SegmentMode::Declared,
                ElementKind::Active { table_index, offset_expr } => desc::SegmentMode::Active {
                    target: table_index.unwrap_or(0),
                    offset: self.const_expr(&offset_expr)?,
                },
            };
            let (ty, items) = match element.items {
                ElementItems::Functions(functions) => {
                    let functions = functions.into_iter().collect::<std::result::Result<Box<[u32]>, _>>()?;
                    functions.iter().for_each(|&function| self.escape(function));
                    (RefType::Func, desc::ElementItems::Functions(functions))
                }
                ElementItems::Expressions(ty, exprs) => {
                    let mut items = Vec::new();
                    for expr in exprs {
                        items.push(self.const_expr(&expr?)?);
                    }
                    (ref_type(ty, offset)?, desc::ElementItems::Expressions(items.into()))
                }
            };
            self.module.elements.push(desc::Element { ty, mode, items });
        }
        Ok(())
    }

    fn data(&mut self, section: wasmparser::DataSectionReader<'a>) -> Result<()> {
        let mut start = 0;
        for data in section {
            let data = data?;
            let mode = match data.kind {
                DataKind::Passive => desc::SegmentMode::Passive,
                DataKind::Active { memory_index, offset_expr } => {
                    desc::SegmentMode::Active { target: memory_index, offset: self.const_expr(&offset_expr)? }
                }
            };
            let len = data.data.len() as u64;
            self.module.data.push(desc::Data { mode, start, len });
            self.segments.push(data.data);
            start += len;
        }
        Ok(())
    }

    fn escape(&mut self, function: u32) {
        if let Some(escapes) = self.escapes.get_mut(function as usize) {
            *escapes = true;
        }
    }

    fn const_expr(&mut self, expr: &ConstExpr<'a>) -> Result<desc::ConstExpr> {
        let mut ops = Vec::new();
        for op in expr.get_operators_reader().into_iter_with_offsets() {
            let (op, offset) = op?;
            ops.push(match op {
                Operator::End => continue,
                Operator::I32Const { value } => desc::ConstOp::I32(value),
                Operator::I64Const { value } => desc::ConstOp::I64(value),
                Operator::F32Const { value } => desc::ConstOp::F32(value.bits()),
                Operator::F64Const { value } => desc::ConstOp::F64(value.bits()),
                Operator::V128Const { value } => desc::ConstOp::V128(*value.bytes()),
                Operator::GlobalGet { global_index } => desc::ConstOp::GlobalGet(global_index),
                Operator::RefFunc { function_index } => {
                    self.escape(function_index);
                    desc::ConstOp::RefFunc(function_index)
                }
                Operator::RefNull { hty } => desc::ConstOp::RefNull(heap_type(hty, offset)?),
                Operator::I32Add => desc::ConstOp::I32Add,
                Operator::I32Sub => desc::ConstOp::I32Sub,
                Operator::I32Mul => desc::ConstOp::I32Mul,
                Operator::I64Add => desc::ConstOp::I64Add,
                Operator::I64Sub => desc::ConstOp::I64Sub,
                Operator::I64Mul => desc::ConstOp::I64Mul,
                _ => return Err(CompileError::unsupported("garbage collection", offset)),
            });
        }
        Ok(desc::ConstExpr::new(ops))
    }

    /// Names are a convenience: what is wrong in this section is not read further, and never an error.
    fn name_section(&mut self, reader: wasmparser::BinaryReader<'a>) {
        for name in wasmparser::NameSectionReader::new(reader) {
            match name {
                Ok(Name::Module { name, .. }) => self.module.name = Some(name.to_owned()),
                Ok(Name::Function(map)) => {
                    self.names.resize(self.module.functions.len(), None);
                    for naming in map.into_iter().map_while(std::result::Result::ok) {
                        if let Some(slot) = self.names.get_mut(naming.index as usize) {
                            *slot = Some(naming.name);
                        }
                    }
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }

    fn finish(mut self) -> Result<ModuleInfo<'a>> {
        let mut funcrefs = 0;
        for (function, _) in self.module.functions.iter_mut().zip(&self.escapes).filter(|(_, e)| **e) {
            function.funcref = Some(funcrefs);
            funcrefs += 1;
        }
        self.module.funcrefs = funcrefs;
        let layout = VmLayout::new(&self.module.counts())
            .map_err(|error| CompileError::TooLarge { what: error.to_string(), function: None })?;
        Ok(ModuleInfo {
            module: self.module,
            bodies: self.bodies,
            segments: self.segments,
            names: self.names,
            debug: self.debug,
            layout,
            scans: Vec::new(),
            inlinable: Vec::new(),
        })
    }
}

/// A value type in the artifact's terms.
pub(crate) fn val_type(ty: wasmparser::ValType, offset: u64) -> Result<ValType> {
    Ok(match ty {
        wasmparser::ValType::I32 => ValType::I32,
        wasmparser::ValType::I64 => ValType::I64,
        wasmparser::ValType::F32 => ValType::F32,
        wasmparser::ValType::F64 => ValType::F64,
        wasmparser::ValType::V128 => ValType::V128,
        wasmparser::ValType::Ref(ty) => ref_type(ty, offset)?.into(),
    })
}

fn ref_type(ty: wasmparser::RefType, offset: u64) -> Result<RefType> {
    if ty.is_nullable() {
        return heap_type(ty.heap_type(), offset);
    }
    let proposal = unsupported_heap_type(ty.heap_type()).unwrap_or("typed function references");
    Err(CompileError::unsupported(proposal, offset))
}

/// The nullable reference to this heap type.
pub(crate) fn heap_type(ty: HeapType, offset: u64) -> Result<RefType> {
    match ty {
        HeapType::Abstract { shared: false, ty: AbstractHeapType::Func } => Ok(RefType::Func),
        HeapType::Abstract { shared: false, ty: AbstractHeapType::Extern } => Ok(RefType::Extern),
        other => {
            let proposal = unsupported_heap_type(other).unwrap_or("garbage collection");
            Err(CompileError::unsupported(proposal, offset))
        }
    }
}

fn unsupported_heap_type(ty: HeapType) -> Option<&'static str> {
    use AbstractHeapType::{Cont, Exn, Extern, Func, NoCont, NoExn};
    Some(match ty {
        HeapType::Abstract { shared: true, .. } => "shared-everything threads",
        HeapType::Abstract { ty: Func | Extern, .. } => return None,
        HeapType::Abstract { ty: Exn | NoExn, .. } => "exception handling",
        HeapType::Abstract { ty: Cont | NoCont, .. } => "stack switching",
        HeapType::Abstract { .. } => "garbage collection",
        HeapType::Concrete(_) => "typed function references",
        HeapType::Exact(_) => "custom descriptors",
    })
}

fn table_type(ty: wasmparser::TableType, offset: u64) -> Result<TableType> {
    if ty.table64 {
        return Err(CompileError::unsupported("memory64", offset));
    }
    if ty.shared {
        return Err(CompileError::unsupported("shared-everything threads", offset));
    }
    let element = ref_type(ty.element_type, offset)?;
    Ok(TableType { element, minimum: ty.initial, maximum: ty.maximum, table64: false })
}

fn global_type(ty: wasmparser::GlobalType, offset: u64) -> Result<GlobalType> {
    if ty.shared {
        return Err(CompileError::unsupported("shared-everything threads", offset));
    }
    Ok(GlobalType { value: val_type(ty.content_type, offset)?, mutable: ty.mutable })
}
