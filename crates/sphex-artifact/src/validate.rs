//! Checks of a description that came from a file, so that the runtime may index with what it says.
//!
//! Needs a decoded description and the lengths of the sections it points into; gives a message for the first thing that is
//! wrong. Cost: linear, but for a sort of the export names and image memories.

use crate::module::{
    ConstExpr, ConstOp, Data, Description, Element, ElementItems, ExternKind, ImportKind, Imported,
    MemoryImage, Module, SegmentMode,
};
use crate::types::{MemoryType, RefType, TableType, ValType};
use crate::vmctx::VmLayout;
use sphex_entity::seeded_bug;

/// Lengths of the sections that a description points into.
pub struct Lengths {
    /// Of `.sphex.data`.
    pub data: u64,
    /// Of `.sphex.bodies`.
    pub bodies: u64,
    /// The target's page.
    pub page: u64,
}

type Check = Result<(), String>;

macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}

impl Description {
    /// Checks everything that the runtime relies on.
    pub fn validate(&self, lens: &Lengths) -> Check {
        ensure!(
            self.bodies.is_empty() || self.bodies.len() == self.modules.len(),
            "{} bodies for {} modules",
            self.bodies.len(),
            self.modules.len()
        );
        for &(start, len) in &self.bodies {
            within(start, len, lens.bodies, "a module's wasm")?;
        }
        self.modules.iter().try_for_each(|module| validate_module(module, lens))
    }
}

fn within(start: u64, len: u64, all: u64, what: &str) -> Check {
    ensure!(start.checked_add(len).is_some_and(|end| end <= all), "{what} lies beyond its section");
    Ok(())
}

fn validate_module(m: &Module, lens: &Lengths) -> Check {
    for len in [m.types.len(), m.functions.len(), m.tables.len(), m.memories.len(), m.globals.len()] {
        ensure!(u32::try_from(len).is_ok(), "an index space is too large");
    }
    imports(m)?;
    functions(m)?;
    for table in &m.tables {
        table_type(&table.ty)?;
        if let Some(init) = &table.init {
            constant(m, init, table.ty.element.val_type(), m.globals.len())?;
        }
    }
    m.memories.iter().try_for_each(|memory| memory_type(&memory.ty))?;
    for (i, global) in m.globals.iter().enumerate() {
        let imported = m.is_imported_global(i as u32);
        ensure!(
            global.init.is_none() == imported,
            "global {i}: an initial value exactly if it is not imported"
        );
        if let Some(init) = &global.init {
            constant(m, init, global.ty.value, i)?;
        }
    }
    exports(m)?;
    if let Some(start) = m.start {
        let ty = m.function_type(start).ok_or("start: no such function")?;
        ensure!(ty.params.is_empty() && ty.results.is_empty(), "start: has type {ty}");
    }
    m.elements.iter().try_for_each(|element| validate_element(m, element))?;
    m.data.iter().try_for_each(|data| validate_data(m, data, lens))?;
    images(m, lens)?;
    VmLayout::new(&m.counts()).map_err(|error| error.to_string())?;
    Ok(())
}

fn imports(m: &Module) -> Check {
    let mut count = Imported::default();
    for import in &m.imports {
        let (next, found) = match import.kind {
            ImportKind::Function(ty) => {
                ensure!((ty as usize) < m.types.len(), "import: no type {ty}");
                let function = m.functions.get(count.functions as usize);
                (&mut count.functions, function.is_some_and(|function| function.ty == ty))
            }
            ImportKind::Table(ty) => {
                let table = m.tables.get(count.tables as usize);
                (&mut count.tables, table.is_some_and(|table| table.ty == ty && table.init.is_none()))
            }
            ImportKind::Memory(ty) => {
                let memory = m.memories.get(count.memories as usize);
                (&mut count.memories, memory.is_some_and(|memory| memory.ty == ty))
            }
            ImportKind::Global(ty) => {
                let global = m.globals.get(count.globals as usize);
                (&mut count.globals, global.is_some_and(|global| global.ty == ty))
            }
        };
        ensure!(found, "import {:?} {:?} is not what its index space says", import.module, import.name);
        *next += 1;
    }
    ensure!(count == m.imported, "the numbers of imports do not match the imports");
    Ok(())
}

fn functions(m: &Module) -> Check {
    // Each function reference has one function: as many as counted, in order.
    let mut next = 0;
    for (i, function) in m.functions.iter().enumerate() {
        ensure!((function.ty as usize) < m.types.len(), "function {i}: no type {}", function.ty);
        if let Some(funcref) = function.funcref {
            ensure!(funcref == next, "function {i}: reference {funcref}, expected {next}");
            next += 1;
        }
    }
    ensure!(next == m.funcrefs, "{} function references, {next} used", m.funcrefs);
    Ok(())
}

fn table_type(ty: &TableType) -> Check {
    ensure!(ty.maximum.is_none_or(|maximum| ty.minimum <= maximum), "a table's minimum exceeds its maximum");
    Ok(())
}

fn memory_type(ty: &MemoryType) -> Check {
    ensure!(matches!(ty.page_size_log2, 0 | 16), "a memory with pages of 2^{} bytes", ty.page_size_log2);
    ensure!(ty.maximum.is_none_or(|maximum| ty.minimum <= maximum), "a memory's minimum exceeds its maximum");
    ensure!(!ty.shared || ty.maximum.is_some(), "a shared memory without a maximum");
    ensure!(ty.minimum <= ty.limit_pages(), "a memory's minimum exceeds its address space");
    Ok(())
}

fn escapes(m: &Module, function: u32) -> Check {
    let known = m.functions.get(function as usize);
    ensure!(known.is_some_and(|known| known.funcref.is_some()), "function {function} has no reference");
    Ok(())
}

fn exports(m: &Module) -> Check {
    let mut names = Vec::with_capacity(m.exports.len());
    for export in &m.exports {
        names.push(export.name.as_str());
        let len = match export.kind {
            ExternKind::Function => m.functions.len(),
            ExternKind::Table => m.tables.len(),
            ExternKind::Memory => m.memories.len(),
            ExternKind::Global => m.globals.len(),
        };
        let len = len + usize::from(seeded_bug(9));
        ensure!((export.index as usize) < len, "export {:?}: no index {}", export.name, export.index);
        if export.kind == ExternKind::Function {
            escapes(m, export.index)?;
        }
    }
    names.sort_unstable();
    ensure!(names.windows(2).all(|pair| pair[0] != pair[1]), "two exports of one name");
    Ok(())
}

fn validate_element(m: &Module, element: &Element) -> Check {
    match &element.mode {
        SegmentMode::Active { target, offset } => {
            let table =
                m.tables.get(*target as usize).ok_or_else(|| format!("element: no table {target}"))?;
            ensure!(table.ty.element == element.ty, "element: of another type than its table");
            constant(m, offset, if table.ty.table64 { ValType::I64 } else { ValType::I32 }, m.globals.len())?;
        }
        SegmentMode::Passive | SegmentMode::Declared => {}
        SegmentMode::Placed => return Err("element: in a memory image".into()),
    }
    match &element.items {
        ElementItems::Functions(items) => {
            ensure!(element.ty == RefType::Func, "element: functions of type {}", element.ty);
            items.iter().try_for_each(|&function| escapes(m, function))
        }
        ElementItems::Expressions(items) => {
            items.iter().try_for_each(|item| constant(m, item, element.ty.val_type(), m.globals.len()))
        }
    }
}

fn validate_data(m: &Module, data: &Data, lens: &Lengths) -> Check {
    within(data.start, data.len, lens.data, "a data segment")?;
    match &data.mode {
        SegmentMode::Active { target, offset } => {
            let memory =
                m.memories.get(*target as usize).ok_or_else(|| format!("data: no memory {target}"))?;
            constant(m, offset, if memory.ty.memory64 { ValType::I64 } else { ValType::I32 }, m.globals.len())
        }
        SegmentMode::Passive => Ok(()),
        SegmentMode::Placed => {
            ensure!(data.len == 0, "data: bytes of a segment that is in an image");
            Ok(())
        }
        SegmentMode::Declared => Err("data: declared".into()),
    }
}

fn images(m: &Module, lens: &Lengths) -> Check {
    let mut last = None;
    for &MemoryImage { memory, at, start, len } in &m.images {
        ensure!(last < Some(memory), "memory images are not in order");
        last = Some(memory);
        within(start, len, lens.data, "a memory image")?;
        let all = at | start | len;
        ensure!(all % lens.page == 0, "a memory image is not whole pages");
        let known = m.memories.get(memory as usize).filter(|_| !m.is_imported_memory(memory));
        let size = known.and_then(|memory| memory.ty.minimum_bytes());
        let size = size.and_then(|size| size.checked_next_multiple_of(lens.page));
        let fits = size.is_some_and(|size| at.checked_add(len).is_some_and(|end| end <= size));
        ensure!(fits, "a memory image lies beyond its memory");
    }
    Ok(())
}

/// A constant expression leaves one value of type `want`, and reads no global from `globals` on.
fn constant(m: &Module, expr: &ConstExpr, want: ValType, globals: usize) -> Check {
    let mut stack: Vec<ValType> = Vec::new();
    for &op in &expr.0 {
        match op {
            ConstOp::GlobalGet(global) => {
                let known = m.globals.get(global as usize).filter(|_| (global as usize) < globals);
                let known = known.ok_or_else(|| format!("constant: no global {global} yet"))?;
                ensure!(!known.ty.mutable, "constant: global {global} is mutable");
            }
            ConstOp::RefFunc(function) => escapes(m, function)?,
            _ => {}
        }
        let result = match m.const_type(op) {
            Some(ty) => ty,
            None => {
                let ty = match op {
                    ConstOp::I32Add | ConstOp::I32Sub | ConstOp::I32Mul => ValType::I32,
                    _ => ValType::I64,
                };
                ensure!(stack.pop() == Some(ty) && stack.pop() == Some(ty), "constant: expected two of {ty}");
                ty
            }
        };
        stack.push(result);
    }
    ensure!(stack == [want], "constant: expected one {want}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::module::{Export, Function, Global, Memory, MemoryPlan, Table};
    use crate::types::{FuncType, GlobalType};

    const LENS: Lengths = Lengths { data: 8192, bodies: 0, page: 4096 };

    fn good() -> Module {
        let plan = MemoryPlan { reservation: 0, guard: 0, may_move: true, explicit_checks: true };
        let ty = MemoryType { minimum: 1, maximum: None, shared: false, memory64: false, page_size_log2: 16 };
        let table = TableType { element: RefType::Func, minimum: 1, maximum: None, table64: false };
        let global = GlobalType { value: ValType::I32, mutable: false };
        let i32 = |n| ConstExpr::new([ConstOp::I32(n)]);
        Module {
            types: vec![FuncType::default()],
            functions: vec![Function { ty: 0, funcref: Some(0), leaves: false }],
            tables: vec![Table { ty: table, init: None }],
            memories: vec![Memory { ty, plan }],
            globals: vec![Global { ty: global, init: Some(i32(1)) }],
            exports: vec![Export { name: "f".into(), kind: ExternKind::Function, index: 0 }],
            start: Some(0),
            elements: vec![Element {
                ty: RefType::Func,
                mode: SegmentMode::Active {
                    target: 0,
                    offset: ConstExpr::new([ConstOp::GlobalGet(0), ConstOp::I32(2), ConstOp::I32Add]),
                },
                items: ElementItems::Functions([0].into()),
            }],
            data: vec![Data { mode: SegmentMode::Passive, start: 4096, len: 4096 }],
            images: vec![MemoryImage { memory: 0, at: 4096, start: 0, len: 4096 }],
            funcrefs: 1,
            ..Module::default()
        }
    }

    /// The message after this change, or `ok`.
    fn check(change: impl FnOnce(&mut Module)) -> String {
        let mut module = good();
        change(&mut module);
        match validate_module(&module, &LENS) {
            Ok(()) => "ok".into(),
            Err(message) => message,
        }
    }

    #[test]
    fn each_check_finds_its_fault() {
        assert_eq!(check(|_| ()), "ok");
        assert_eq!(check(|m| m.functions[0].ty = 1), "function 0: no type 1");
        assert_eq!(check(|m| m.functions[0].funcref = None), "1 function references, 0 used");
        assert_eq!(check(|m| m.functions[0].funcref = Some(1)), "function 0: reference 1, expected 0");
        assert_eq!(check(|m| m.exports[0].index = 1), "export \"f\": no index 1");
        assert_eq!(check(|m| m.exports.push(m.exports[0].clone())), "two exports of one name");
        assert_eq!(check(|m| m.start = Some(1)), "start: no such function");
        assert_eq!(check(|m| m.types[0].params = [ValType::I32].into()), "start: has type (i32) -> ()");
        assert_eq!(check(|m| m.imported.functions = 1), "the numbers of imports do not match the imports");
        assert_eq!(check(|m| m.images[0].at = 65536), "a memory image lies beyond its memory");
        assert_eq!(check(|m| m.images[0].at = 1), "a memory image is not whole pages");
        assert_eq!(check(|m| m.images[0].start = 8192), "a memory image lies beyond its section");
        assert_eq!(check(|m| m.images.push(m.images[0])), "memory images are not in order");
        assert_eq!(check(|m| m.data[0].len = u64::MAX), "a data segment lies beyond its section");
        assert_eq!(check(|m| m.globals[0].ty.mutable = true), "constant: global 0 is mutable");
        assert_eq!(check(|m| m.globals[0].ty.value = ValType::F32), "constant: expected one f32");
        assert_eq!(
            check(|m| m.globals[0].init = Some(ConstExpr::new([ConstOp::GlobalGet(0)]))),
            "constant: no global 0 yet"
        );
        assert_eq!(
            check(|m| m.globals[0].init = Some(ConstExpr::new([ConstOp::I32Mul]))),
            "constant: expected two of i32"
        );
        assert_eq!(check(|m| m.memories[0].ty.page_size_log2 = 64), "a memory with pages of 2^64 bytes");
        assert_eq!(
            check(|m| m.memories[0].ty.minimum = 1 << 17),
            "a memory's minimum exceeds its address space"
        );
        assert_eq!(
            check(|m| m.elements[0].items = ElementItems::Functions([7].into())),
            "function 7 has no reference"
        );
        assert_eq!(check(|m| m.elements[0].ty = RefType::Extern), "element: of another type than its table");
        assert_eq!(check(|m| m.tables[0].ty.maximum = Some(0)), "a table's minimum exceeds its maximum");
    }
}
