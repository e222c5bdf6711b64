//! Modules: code and description, ready to be instantiated any number of times.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sphex_artifact::module::{self as description, Data, ExternKind, ImportKind};
use sphex_artifact::types::ValType;
use sphex_artifact::vmctx::VmLayout;

use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::types::{ExportType, ExternType, ImportType, TableType};
use crate::vm::code::Code;
use crate::vm::table::INLINE;

/// A compiled module. Cheap to clone.
#[derive(Clone)]
pub struct Module(Arc<Inner>);

struct Inner {
    /// Unlike that of any other module of the process, also of ones that are gone.
    id: u64,
    engine: Engine,
    code: Arc<Code>,
    position: u32,
    layout: VmLayout,
    type_ids: Box<[u32]>,
    exports: HashMap<String, usize>,
    externref_globals: Box<[u32]>,
    /// Of an instance's own allocation.
    instance_bytes: usize,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Drop for Inner {
    fn drop(&mut self) {
        self.engine.allocator().forget(self.id);
    }
}

impl Module {
    /// Compiles a module from wasm, or (with the feature `wat`) from its text.
    ///
    /// An error of kind `Invalid` if it is malformed or not valid, with the offset in the file; `Unsupported` if it needs a
    /// proposal that Sphex does not compile; `Limit` if it is too large. Bytes of an artifact are never taken.
    #[cfg(feature = "compiler")]
    pub fn new(engine: &Engine, bytes: impl AsRef<[u8]>) -> Result<Module> {
        Module::new_watched(engine, bytes, &())
    }

    /// Compiles a module from wasm only, never from text.
    #[cfg(feature = "compiler")]
    pub fn from_binary(engine: &Engine, wasm: &[u8]) -> Result<Module> {
        Module::from_code(engine, crate::compiler::load(engine, wasm.into(), &())?)
    }

    /// Checks a module in wasm or text without compiling it. A valid one may still need a proposal that Sphex does not
    /// compile.
    #[cfg(feature = "compiler")]
    pub fn validate(engine: &Engine, bytes: impl AsRef<[u8]>) -> Result<()> {
        engine.validate(&crate::compiler::to_wasm(bytes.as_ref())?)
    }

    /// Compiles a module from a file of wasm or text. As [`Module::new`], and of kind `System` if it cannot be read.
    #[cfg(feature = "compiler")]
    pub fn from_file(engine: &Engine, path: impl AsRef<std::path::Path>) -> Result<Module> {
        let path = path.as_ref();
        let bytes = std::fs::read(path)
            .map_err(|error| Error::system(&format!("cannot read {}", path.display()), error))?;
        Module::new(engine, bytes).map_err(|error| error.context(path.display().to_string()))
    }

    pub(crate) fn from_code(engine: &Engine, code: Arc<Code>) -> Result<Module> {
        let position = 0;
        let module = code
            .description()
            .modules
            .first()
            .ok_or_else(|| Error::new(ErrorKind::Artifact, "an artifact without a module"))?;
        let layout = VmLayout::new(&module.counts())
            .map_err(|error| Error::with_source(ErrorKind::Limit, error.to_string(), error))?;
        let type_ids = module.types.iter().map(|ty| Ok(engine.intern(ty)?.id)).collect::<Result<_>>()?;
        let exports = module.exports.iter().enumerate().map(|(i, export)| (export.name.clone(), i)).collect();
        let first = module.imported.globals as usize;
        let externref_globals = module.globals.iter().enumerate().skip(first);
        let externref_globals = externref_globals
            .filter(|(_, global)| global.ty.value == ValType::ExternRef)
            .map(|(i, _)| i as u32)
            .collect();
        code.make_known(engine)?;
        let tables = module.tables.iter().skip(module.imported.tables as usize);
        let elements: usize = tables.filter_map(|table| inline_elements(&table.ty)).sum();
        let instance_bytes = layout.size() as usize + elements * size_of::<u64>();
        let engine = engine.clone();
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Ok(Module(Arc::new(Inner {
            id,
            engine,
            code,
            position,
            layout,
            type_ids,
            exports,
            externref_globals,
            instance_bytes,
        })))
    }

    /// The artifact: what [`Module::deserialize`] takes. That of a lazy module
    /// ([`Host::lazy_compilation`](crate::Host::lazy_compilation)) is compiled here, all of it, each time, which may fail as
    /// [`Engine::precompile`] may.
    pub fn serialize(&self) -> Result<Vec<u8>> {
        self.0.code.artifact().map(std::borrow::Cow::into_owned)
    }

    /// How many of its functions have machine code: all that it defines, or of a lazy module
    /// ([`Host::lazy_compilation`](crate::Host::lazy_compilation)) those that were called.
    pub fn compiled_functions(&self) -> usize {
        self.0.code.compiled()
    }

    /// Are both the same module (not equal ones)?
    pub fn same(a: &Module, b: &Module) -> bool {
        Arc::ptr_eq(&a.0, &b.0)
    }

    /// The place of an export, for [`Instance::get_module_export`](crate::Instance::get_module_export): a server that
    /// makes many instances looks the name up once.
    pub fn get_export_index(&self, name: &str) -> Option<ModuleExport> {
        let export = self.find_export(name)?;
        Some(ModuleExport { module: self.clone(), kind: export.kind, index: export.index })
    }

    /// What an instance of it needs at least, imports aside.
    pub fn resources_required(&self) -> Resources {
        let description = self.description();
        let (memories, tables) =
            (description.imported.memories as usize, description.imported.tables as usize);
        let memories = description.memories.get(memories..).unwrap_or(&[]);
        let tables = description.tables.get(tables..).unwrap_or(&[]);
        Resources {
            memories: memories.len(),
            largest_memory_bytes: memories.iter().filter_map(|memory| memory.ty.minimum_bytes()).max(),
            tables: tables.len(),
            largest_table_elements: tables.iter().map(|table| table.ty.minimum).max(),
        }
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// The module's name, if it has one.
    pub fn name(&self) -> Option<&str> {
        self.description().name.as_deref()
    }

    /// What it imports, in order.
    pub fn imports(&self) -> impl ExactSizeIterator<Item = ImportType<'_>> + '_ {
        let description = self.description();
        description.imports.iter().map(|import| ImportType {
            module: &import.module,
            name: &import.name,
            ty: self.import_type(import.kind),
        })
    }

    /// What it exports, in order.
    pub fn exports(&self) -> impl ExactSizeIterator<Item = ExportType<'_>> + '_ {
        let description = self.description();
        description
            .exports
            .iter()
            .map(|export| ExportType { name: &export.name, ty: self.export_type(export.kind, export.index) })
    }

    /// The type of an export.
    pub fn get_export(&self, name: &str) -> Option<ExternType> {
        let export = self.find_export(name)?;
        Some(self.export_type(export.kind, export.index))
    }

    /// Makes the module's unwind records known to the platform's unwinder, until it is unloaded.
    pub fn register_unwind(&self) {
        self.0.code.register_unwind();
    }

    /// The addresses of its code; of a lazy module those that it may be at.
    pub fn text_range(&self) -> std::ops::Range<usize> {
        self.0.code.text()
    }

    pub(crate) fn find_export(&self, name: &str) -> Option<&description::Export> {
        let position = *self.0.exports.get(name)?;
        self.description().exports.get(position)
    }

    pub(crate) fn import_type(&self, kind: ImportKind) -> ExternType {
        match kind {
            ImportKind::Function(ty) => ExternType::Func(self.func_type(ty)),
            ImportKind::Table(ty) => ExternType::Table(ty),
            ImportKind::Memory(ty) => ExternType::Memory(ty),
            ImportKind::Global(ty) => ExternType::Global(ty),
        }
    }

    fn func_type(&self, ty: u32) -> crate::types::FuncType {
        self.description().types.get(ty as usize).cloned().unwrap_or_default()
    }

    fn export_type(&self, kind: ExternKind, index: u32) -> ExternType {
        // The reader has checked that indices are in range.
        let description = self.description();
        let at = index as usize;
        match kind {
            ExternKind::Function => ExternType::Func(self.func_type(description.functions[at].ty)),
            ExternKind::Table => ExternType::Table(description.tables[at].ty),
            ExternKind::Memory => ExternType::Memory(description.memories[at].ty),
            ExternKind::Global => ExternType::Global(description.globals[at].ty),
        }
    }

    pub(crate) fn description(&self) -> &description::Module {
        &self.0.code.description().modules[self.0.position as usize]
    }

    pub(crate) fn code(&self) -> &Arc<Code> {
        &self.0.code
    }

    pub(crate) fn position(&self) -> u32 {
        self.0.position
    }

    pub(crate) fn layout(&self) -> &VmLayout {
        &self.0.layout
    }

    pub(crate) fn id(&self) -> u64 {
        self.0.id
    }

    /// Bytes of an instance's vmctx and of the tables behind it ([`inline_elements`]).
    pub(crate) fn instance_bytes(&self) -> usize {
        self.0.instance_bytes
    }

    pub(crate) fn type_ids(&self) -> &[u32] {
        &self.0.type_ids
    }

    pub(crate) fn externref_globals(&self) -> &[u32] {
        &self.0.externref_globals
    }

    pub(crate) fn segment_bytes(&self, data: &Data) -> &[u8] {
        let (start, end) = (data.start as usize, data.start.saturating_add(data.len) as usize);
        self.0.code.data().get(start..end).unwrap_or(&[])
    }
}

/// The place of an export in a module. Keeps the module.
#[derive(Clone, Debug)]
pub struct ModuleExport {
    pub(crate) module: Module,
    pub(crate) kind: ExternKind,
    pub(crate) index: u32,
}

/// What an instance of a module needs at least, see [`Module::resources_required`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resources {
    /// Memories of its own.
    pub memories: usize,
    /// Bytes that the largest of them starts with.
    pub largest_memory_bytes: Option<u64>,
    /// Tables of its own.
    pub tables: usize,
    /// Elements that the largest of them starts with.
    pub largest_table_elements: Option<u64>,
}

/// Elements of a table that stand in its instance's allocation, until it grows.
pub(crate) fn inline_elements(ty: &TableType) -> Option<usize> {
    (ty.minimum <= INLINE).then_some(ty.minimum as usize)
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module").field("name", &self.name()).finish_non_exhaustive()
    }
}
