//! Instances: the vmctx, which is one allocation, and what the host keeps beside it.

use std::ptr;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use sphex_artifact::module::{self, ConstExpr, ConstOp, ElementItems, SegmentMode};
use sphex_artifact::types::ValType;
use sphex_artifact::vmctx::{
    INSTANCE_MAGIC, VmFuncImport, VmFuncRef, VmGlobal, VmHeader, VmLayout, VmMemory, VmTable,
};

use super::allocator::VmctxBlock;
use super::slot::InitialImage;
use super::store::{StoreInner, null_funcref};
use super::stubs;
use crate::error::{Error, ErrorKind, Result};
use crate::module::{Module, inline_elements};

/// An instance.
#[derive(Debug)]
pub(crate) struct InstanceData {
    block: VmctxBlock,
    /// Are the references to the module's own functions in place?
    linked: bool,
    layout: VmLayout,
    pub(crate) module: Module,
    /// The store's memories, by the module's index.
    pub(crate) memories: SmallVec<[u32; 2]>,
    /// The store's tables, by the module's index.
    pub(crate) tables: SmallVec<[u32; 2]>,
    /// The store's globals, by the module's index: those that have a handle.
    pub(crate) globals: FxHashMap<u32, u32>,
    dropped_data: SmallVec<[bool; 16]>,
    dropped_elements: SmallVec<[bool; 16]>,
}

/// What an instance imports, as indices of the store, in the order of each index space.
#[derive(Debug, Default)]
pub(crate) struct Imports {
    pub(crate) functions: SmallVec<[u32; 16]>,
    pub(crate) tables: SmallVec<[u32; 2]>,
    pub(crate) memories: SmallVec<[u32; 2]>,
    pub(crate) globals: SmallVec<[u32; 4]>,
}

impl InstanceData {
    /// The vmctx.
    pub(crate) fn vmctx(&self) -> *mut u8 {
        self.block.as_ptr()
    }

    fn at<V>(&self, offset: u32) -> *mut V {
        debug_assert!(offset as usize + size_of::<V>() <= self.layout.size() as usize);
        self.vmctx().wrapping_add(offset as usize).cast()
    }

    /// The reference to a function, if it escapes.
    pub(crate) fn funcref(&self, function: u32) -> Option<*const VmFuncRef> {
        let number = self.module.description().functions.get(function as usize)?.funcref?;
        Some(self.at::<VmFuncRef>(self.layout.funcref(number)).cast_const())
    }

    /// Code and vmctx of a function.
    pub(crate) fn callee(&self, function: u32) -> Option<(*const u8, *mut u8)> {
        let description = self.module.description();
        if description.is_imported_function(function) {
            // SAFETY: V1; the position is below the count.
            let import = unsafe { *self.at::<VmFuncImport>(self.layout.imported_function(function)) };
            return Some((import.code, import.vmctx));
        }
        Some((self.module.code().function(self.module.position(), function)?, self.vmctx()))
    }

    /// Where a global is.
    pub(crate) fn global(&self, index: u32) -> *mut VmGlobal {
        let imported = self.module.description().imported.globals;
        if index < imported {
            // SAFETY: V1; the position is below the count.
            unsafe { *self.at::<*mut VmGlobal>(self.layout.imported_global(index)) }
        } else {
            self.at(self.layout.global(index - imported))
        }
    }

    /// The globals of its own that hold host references.
    pub(crate) fn externref_globals(&self) -> impl Iterator<Item = *mut VmGlobal> + '_ {
        self.module.externref_globals().iter().map(|index| self.global(*index))
    }

    /// The bytes of a data segment; none if it was dropped.
    pub(crate) fn data(&self, segment: u32) -> &[u8] {
        let found = self.module.description().data.get(segment as usize);
        match (found, self.dropped_data.get(segment as usize)) {
            (Some(data), Some(false)) => self.module.segment_bytes(data),
            _ => &[],
        }
    }

    /// Drops a data segment.
    pub(crate) fn drop_data(&mut self, segment: u32) {
        if let Some(dropped) = self.dropped_data.get_mut(segment as usize) {
            *dropped = true;
        }
    }

    /// Number of elements of an element segment; none if it was dropped.
    pub(crate) fn element_len(&self, segment: u32) -> u64 {
        let found = self.module.description().elements.get(segment as usize);
        match (found, self.dropped_elements.get(segment as usize)) {
            (Some(element), Some(false)) => element.items.len() as u64,
            _ => 0,
        }
    }

    /// An element of a segment that is long enough, as a table holds it.
    pub(crate) fn element(&self, segment: u32, item: usize) -> Option<u64> {
        match &self.module.description().elements.get(segment as usize)?.items {
            ElementItems::Functions(functions) => self.funcref(*functions.get(item)?).map(|f| f as u64),
            ElementItems::Expressions(items) => Some(self.evaluate(items.get(item)?)? as u64),
        }
    }

    /// Drops an element segment.
    pub(crate) fn drop_element(&mut self, segment: u32) {
        if let Some(dropped) = self.dropped_elements.get_mut(segment as usize) {
            *dropped = true;
        }
    }

    /// The bits of a constant expression; `None` if it is not one of a valid module.
    pub(crate) fn evaluate(&self, expr: &ConstExpr) -> Option<u128> {
        let mut stack: SmallVec<[u128; 4]> = SmallVec::new();
        for op in &expr.0 {
            let value = match *op {
                ConstOp::I32(value) => u128::from(value as u32),
                ConstOp::I64(value) => u128::from(value as u64),
                ConstOp::F32(bits) => u128::from(bits),
                ConstOp::F64(bits) => u128::from(bits),
                ConstOp::V128(bytes) => u128::from_le_bytes(bytes),
                ConstOp::GlobalGet(index) => {
                    self.module.description().globals.get(index as usize)?;
                    // SAFETY: V1, V2.
                    unsafe { (*self.global(index)).u128() }
                }
                ConstOp::RefFunc(function) => self.funcref(function)? as u128,
                ConstOp::RefNull(ty) => null_bits(ty.val_type()),
                ConstOp::I32Add | ConstOp::I32Sub | ConstOp::I32Mul => {
                    let (b, a) = (stack.pop()? as u32, stack.pop()? as u32);
                    u128::from(match op {
                        ConstOp::I32Add => a.wrapping_add(b),
                        ConstOp::I32Sub => a.wrapping_sub(b),
                        _ => a.wrapping_mul(b),
                    })
                }
                ConstOp::I64Add | ConstOp::I64Sub | ConstOp::I64Mul => {
                    let (b, a) = (stack.pop()? as u64, stack.pop()? as u64);
                    u128::from(match op {
                        ConstOp::I64Add => a.wrapping_add(b),
                        ConstOp::I64Sub => a.wrapping_sub(b),
                        _ => a.wrapping_mul(b),
                    })
                }
            };
            stack.push(value);
        }
        stack.pop()
    }
}

impl Drop for InstanceData {
    fn drop(&mut self) {
        let module = self.linked.then(|| self.module.id());
        // SAFETY: it came from the allocator of this engine; the store ends, and with it all that points here (V1).
        unsafe { self.module.engine().allocator().release_instance(&mut self.block, module) }
    }
}

/// The bits of a null reference of this type.
pub(crate) fn null_bits(ty: ValType) -> u128 {
    match ty {
        ValType::FuncRef => null_funcref() as usize as u128,
        _ => 0,
    }
}

/// Allocates an instance with its imports, memories, tables and globals; segments and start function come later.
///
/// On an error nothing refers to what was made; it stays in the store, unused.
pub(crate) fn make(inner: &mut StoreInner, module: &Module, imports: &Imports) -> Result<u32> {
    let number = inner.instances.len();
    let layout = *module.layout();
    let block = inner.engine.allocator().instance(module.id(), module.instance_bytes())?;
    let description = module.description();
    let linked = block.warm;
    let mut data = InstanceData {
        block,
        linked,
        layout,
        module: module.clone(),
        memories: SmallVec::new(),
        tables: SmallVec::new(),
        globals: FxHashMap::default(),
        dropped_data: description.data.iter().map(|d| is_dropped(&d.mode)).collect(),
        dropped_elements: description.elements.iter().map(|e| is_dropped(&e.mode)).collect(),
    };
    // SAFETY: the vmctx was just allocated by this layout and no one else has its address.
    unsafe {
        *data.at::<VmHeader>(0) = VmHeader {
            magic: INSTANCE_MAGIC,
            flags: 0,
            store: inner.vm.as_ptr(),
            builtins: stubs::BUILTIN_CODE.as_ptr().cast(),
            type_ids: module.type_ids().as_ptr(),
            null_funcref: null_funcref(),
            instance: ptr::without_provenance_mut(number),
        };
        write_imports(inner, &data, imports);
        write_funcrefs(inner, &data, imports)?;
    }
    data.linked = true;
    // In the store from here on: what it owns keeps pointers into the vmctx.
    inner.instances.push(data);
    // If this fails, memories and tables that were made point into the vmctx; it stays, but no handle leads to it.
    fill(inner, module, number, imports)?;
    Ok(number as u32)
}

fn is_dropped(mode: &SegmentMode) -> bool {
    matches!(mode, SegmentMode::Declared | SegmentMode::Placed)
}

unsafe fn write_imports(inner: &StoreInner, data: &InstanceData, imports: &Imports) {
    let layout = &data.layout;
    // SAFETY: the caller made the vmctx by this layout; the imports are as many as it says.
    unsafe {
        for (i, &func) in imports.functions.iter().enumerate() {
            let funcref = *inner.funcs[func as usize].funcref;
            *data.at(layout.imported_function(i as u32)) =
                VmFuncImport { code: funcref.code, vmctx: funcref.vmctx };
        }
        for (i, &memory) in imports.memories.iter().enumerate() {
            *data.at::<*mut VmMemory>(layout.imported_memory(i as u32)) =
                inner.memories[memory as usize].storage.vm();
        }
        for (i, &table) in imports.tables.iter().enumerate() {
            *data.at::<*mut VmTable>(layout.imported_table(i as u32)) =
                inner.tables[table as usize].storage.vm();
        }
        for (i, &global) in imports.globals.iter().enumerate() {
            *data.at::<*mut VmGlobal>(layout.imported_global(i as u32)) = inner.globals[global as usize].vm;
        }
    }
}

unsafe fn write_funcrefs(inner: &StoreInner, data: &InstanceData, imports: &Imports) -> Result<()> {
    let description = data.module.description();
    // Those of its own functions are the same for each instance of the module in the same place.
    let count = if data.linked { imports.functions.len() } else { description.functions.len() };
    for (index, function) in description.functions.iter().take(count).enumerate() {
        let Some(number) = function.funcref else { continue };
        let index = index as u32;
        let funcref = match imports.functions.get(index as usize) {
            // SAFETY: V1.
            Some(&func) => unsafe { *inner.funcs[func as usize].funcref },
            None => {
                let code = data.module.code().function(data.module.position(), index).ok_or_else(|| {
                    Error::new(ErrorKind::Artifact, format!("function {index} has no code"))
                })?;
                let type_id = data.module.type_ids().get(function.ty as usize).copied().unwrap_or(0);
                VmFuncRef { code, vmctx: data.vmctx(), type_id, flags: 0, function: index, reserved: 0 }
            }
        };
        // SAFETY: the reader has checked that numbers are below the count.
        unsafe { *data.at(data.layout.funcref(number)) = funcref }
    }
    Ok(())
}

/// Makes the memories, globals and tables of its own.
fn fill(inner: &mut StoreInner, module: &Module, number: usize, imports: &Imports) -> Result<()> {
    let description = module.description();
    let imported = description.imported;
    let malformed = || Error::new(ErrorKind::Artifact, "a constant expression that is not valid");

    let mut memories = imports.memories.clone();
    for (i, memory) in description.memories.iter().enumerate().skip(imported.memories as usize) {
        let data = &inner.instances[number];
        let vm = data.at(data.layout.memory(i as u32 - imported.memories));
        let image = description.images.iter().find(|image| image.memory == i as u32);
        let image = image.map(|image| initial_image(module, image)).transpose()?;
        memories.push(inner.add_memory(Some(vm), memory.ty, memory.plan, image)?);
    }
    inner.instances[number].memories = memories;

    for (i, &global) in imports.globals.iter().enumerate() {
        inner.instances[number].globals.insert(i as u32, global);
    }
    for (i, global) in description.globals.iter().enumerate().skip(imported.globals as usize) {
        let data = &inner.instances[number];
        let bits = match &global.init {
            Some(init) => data.evaluate(init).ok_or_else(malformed)?,
            None => null_bits(global.ty.value),
        };
        // SAFETY: V1, V2.
        unsafe { *data.global(i as u32) = VmGlobal::new(bits) }
    }

    let mut tables = imports.tables.clone();
    // Small ones stand behind the vmctx, one after the other.
    let mut place = inner.instances[number].layout.size() as usize;
    for (i, table) in description.tables.iter().enumerate().skip(imported.tables as usize) {
        let data = &inner.instances[number];
        let init = match &table.init {
            Some(init) => data.evaluate(init).ok_or_else(malformed)?,
            None => null_bits(table.ty.element.val_type()),
        };
        let vm = data.at(data.layout.table(i as u32 - imported.tables));
        let inline = inline_elements(&table.ty).map(|elements| {
            let at = data.vmctx().wrapping_add(place).cast::<u64>();
            place += elements * size_of::<u64>();
            at
        });
        tables.push(inner.add_table(Some((vm, inline)), table.ty, init as u64)?);
    }
    inner.instances[number].tables = tables;
    Ok(())
}

fn initial_image<'a>(module: &'a Module, image: &module::MemoryImage) -> Result<InitialImage<'a>> {
    let bad = || Error::new(ErrorKind::Artifact, "a memory image outside its memory");
    let (fd, start) = module.code().image_file();
    let at = |at: u64| usize::try_from(at).map_err(|_| bad());
    let (first, end) = (at(image.start)?, at(image.start.saturating_add(image.len))?);
    Ok(InitialImage {
        name: (module.id(), image.memory),
        fd,
        offset: start + image.start,
        start: at(image.at)?,
        bytes: module.code().data().get(first..end).ok_or_else(bad)?,
    })
}
