//! What a function refers to, made once each: signatures, callees, regions, addresses of the vmctx's parts.

use super::{OpError, Translator, WASM_NAMESPACE, signature};
use rustc_hash::FxHashMap;
use sphex_artifact::builtins::{BUILTINS, Builtin, Kind};
use sphex_artifact::vmctx;
use sphex_ir::{
    AbiParam, CallConv, Endian, ExtFunc, ExternalName, FuncRef, GlobalValueData, MemFlags, Opcode, Region,
    SigRef, Signature, Type, Value, types,
};

/// Parts of memory that do not overlap each other.
///
/// Imported things of one kind may be the same thing, so they share a region; what the module defines and imports never
/// is, because an instance cannot import from itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Part {
    /// Fields of the vmctx, of references to functions, of imports: never written while code runs.
    Constant,
    /// Base and length of memories.
    MemoryFields,
    /// Base and length of tables.
    TableFields,
    /// The store's `limit`.
    Limit,
    /// The store's `fuel`.
    Fuel,
    /// A defined memory's bytes.
    Memory(u32),
    /// Imported memories' bytes.
    ImportedMemories,
    /// A defined table's elements.
    Table(u32),
    /// Imported tables' elements.
    ImportedTables,
    /// A defined global.
    Global(u32),
    /// Imported globals.
    ImportedGlobals,
}

/// Things of one kind beyond this many share a region.
const OWN_REGIONS: u32 = 32;

impl Part {
    fn number(self) -> u32 {
        match self {
            Part::Constant => 1,
            Part::MemoryFields => 2,
            Part::TableFields => 3,
            Part::Limit => 4,
            Part::ImportedMemories => 5,
            Part::ImportedTables => 6,
            Part::ImportedGlobals => 7,
            Part::Fuel => 8,
            Part::Memory(i) => 1 << 24 | i,
            Part::Table(i) => 2 << 24 | i,
            Part::Global(i) => 3 << 24 | i,
        }
    }

    fn name(self) -> String {
        match self {
            Part::Constant => "constant".to_owned(),
            Part::MemoryFields => "memory_fields".to_owned(),
            Part::TableFields => "table_fields".to_owned(),
            Part::Limit => "limit".to_owned(),
            Part::Fuel => "fuel".to_owned(),
            Part::ImportedMemories => "imported_memories".to_owned(),
            Part::ImportedTables => "imported_tables".to_owned(),
            Part::ImportedGlobals => "imported_globals".to_owned(),
            Part::Memory(i) => format!("memory{i}"),
            Part::Table(i) => format!("table{i}"),
            Part::Global(i) => format!("global{i}"),
        }
    }

    /// The same, or the one shared by those of high index.
    fn shared(self) -> Part {
        match self {
            Part::Memory(i) => Part::Memory(i.min(OWN_REGIONS)),
            Part::Table(i) => Part::Table(i.min(OWN_REGIONS)),
            Part::Global(i) => Part::Global(i.min(OWN_REGIONS)),
            other => other,
        }
    }
}

/// What the function refers to so far.
pub(super) struct Context {
    pub(super) vmctx: Value,
    signatures: FxHashMap<u32, SigRef>,
    functions: FxHashMap<u32, FuncRef>,
    builtins: FxHashMap<u32, SigRef>,
    regions: FxHashMap<Part, Region>,
}

impl Default for Context {
    fn default() -> Self {
        Context {
            vmctx: Value::NONE,
            signatures: FxHashMap::default(),
            functions: FxHashMap::default(),
            builtins: FxHashMap::default(),
            regions: FxHashMap::default(),
        }
    }
}

impl Translator<'_, '_, '_> {
    /// The stack's limit, checked at the function's entry: vmctx, store, limit.
    pub(super) fn stack_limit(&mut self) {
        let region = self.region(Part::Limit);
        let gvs = &mut self.b.func.global_values;
        let base = gvs.push(GlobalValueData::VmContext);
        let flags = MemFlags::TRUSTED.with_readonly();
        let offset = vmctx::header::STORE as i32;
        let store = gvs.push(GlobalValueData::Load { base, offset, ty: types::I64, flags });
        let offset = vmctx::store::LIMIT as i32;
        let flags = MemFlags::TRUSTED.with_region(region);
        let limit = gvs.push(GlobalValueData::Load { base: store, offset, ty: types::I64, flags });
        self.b.func.stack_limit = Some(limit);
    }

    pub(super) fn region(&mut self, part: Part) -> Region {
        let part = part.shared();
        let regions = &mut self.b.func.regions;
        *self
            .cx
            .regions
            .entry(part)
            .or_insert_with(|| regions.push((part.number(), part.name().into_boxed_str())))
    }

    /// Flags of an access that cannot fault, to this part.
    pub(super) fn trusted(&mut self, part: Part) -> MemFlags {
        MemFlags::TRUSTED.with_region(self.region(part))
    }

    /// Flags of a field that never changes.
    pub(super) fn constant_field(&mut self) -> MemFlags {
        self.trusted(Part::Constant).with_readonly().with_can_move()
    }

    /// Flags of an access to a memory's bytes.
    pub(super) fn heap(&mut self, memory: u32) -> MemFlags {
        let part = match memory.checked_sub(self.info.module.imported.memories) {
            Some(defined) => Part::Memory(defined),
            None => Part::ImportedMemories,
        };
        MemFlags::DEFAULT.with_endian(Endian::Little).with_region(self.region(part))
    }

    /// Loads a constant field of the vmctx.
    pub(super) fn vmctx_field(&mut self, ty: Type, offset: u32) -> Value {
        let flags = self.constant_field();
        self.b.load(Opcode::Load, ty, flags, self.cx.vmctx, offset as i32)
    }

    /// Loads a constant field behind a pointer.
    pub(super) fn field(&mut self, ty: Type, base: Value, offset: u32) -> Value {
        let flags = self.constant_field();
        self.b.load(Opcode::Load, ty, flags, base, offset as i32)
    }

    /// `base + offset`.
    pub(super) fn offset(&mut self, base: Value, offset: u32) -> Value {
        if offset == 0 {
            return base;
        }
        let offset = self.b.iconst(types::I64, i64::from(offset));
        self.b.binary(Opcode::Iadd, base, offset)
    }

    pub(super) fn signature_of(&mut self, ty: u32) -> Result<SigRef, OpError> {
        if let Some(&sig) = self.cx.signatures.get(&ty) {
            return Ok(sig);
        }
        let sig = self.b.func.signatures.push(signature(self.info, ty, CallConv::Sphex)?);
        self.cx.signatures.insert(ty, sig);
        Ok(sig)
    }

    /// A function of this module.
    pub(super) fn function(&mut self, index: u32) -> Result<FuncRef, OpError> {
        if let Some(&func) = self.cx.functions.get(&index) {
            return Ok(func);
        }
        let function = self.info.module.functions[index as usize];
        let signature = self.signature_of(function.ty)?;
        let func = self.b.func.ext_funcs.push(ExtFunc {
            name: ExternalName::user(WASM_NAMESPACE, index),
            signature,
            colocated: true,
            leaves: function.leaves,
        });
        self.cx.functions.insert(index, func);
        Ok(func)
    }

    /// Calls a function of the runtime; gives its result, if it has one.
    pub(super) fn builtin(&mut self, builtin: Builtin, args: &[Value]) -> Option<Value> {
        let sig = self.builtin_signature(builtin);
        let table = self.vmctx_field(types::I64, vmctx::header::BUILTINS);
        let code = self.field(types::I64, table, builtin.offset());
        let mut all = super::Values::with_capacity(args.len() + 1);
        all.push(self.cx.vmctx);
        all.extend_from_slice(args);
        let call = self.b.call_indirect(sig, code, &all);
        builtin.row().result.map(|_| call)
    }

    fn builtin_signature(&mut self, builtin: Builtin) -> SigRef {
        let signatures = &mut self.b.func.signatures;
        *self.cx.builtins.entry(builtin.index()).or_insert_with(|| {
            let row = &BUILTINS[builtin.index() as usize];
            let mut sig = Signature::new(CallConv::SystemV);
            sig.params.push(AbiParam::new(types::I64));
            sig.params.extend(row.params.iter().map(|&kind| AbiParam::new(kind_type(kind))));
            sig.returns.extend(row.result.iter().map(|&kind| AbiParam::new(kind_type(kind))));
            signatures.push(sig)
        })
    }
}

fn kind_type(kind: Kind) -> Type {
    match kind {
        Kind::I32 => types::I32,
        Kind::I64 | Kind::Pointer => types::I64,
        Kind::F32 => types::F32,
        Kind::F64 => types::F64,
    }
}
