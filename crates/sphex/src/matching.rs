//! Does what is given suit what a module imports?

use sphex_artifact::module::{Import, ImportKind, MemoryPlan};

use crate::error::{Error, ErrorKind, Result};
use crate::externs::Extern;
use crate::module::Module;
use crate::types::{ExternType, FuncType};
use crate::vm::store::StoreInner;

/// Checks all imports of a module. Both are equally many.
pub(crate) fn check(inner: &StoreInner, module: &Module, imports: &[Extern]) -> Result<()> {
    let description = module.description();
    let mut memories = 0;
    for (import, given) in description.imports.iter().zip(imports) {
        let plan = if let ImportKind::Memory(_) = import.kind {
            memories += 1;
            description.memories.get(memories - 1).map(|memory| &memory.plan)
        } else {
            None
        };
        check_one(inner, module, import, plan, given)?;
    }
    Ok(())
}

fn check_one(
    inner: &StoreInner,
    module: &Module,
    import: &Import,
    plan: Option<&MemoryPlan>,
    given: &Extern,
) -> Result<()> {
    if let (ImportKind::Function(ty), Extern::Func(func)) = (import.kind, given) {
        // The common case: equal types have equal numbers.
        let wanted = module.type_ids().get(ty as usize);
        if wanted
            == Some(
                &inner.funcs[func.0.check(inner).map_err(|error| error.context(name_of(import)))?]
                    .signature
                    .id,
            )
        {
            return Ok(());
        }
    }
    let found = given.ty_in(inner).map_err(|error| error.context(name_of(import)))?;
    let wanted = module.import_type(import.kind);
    if !matches(&wanted, &found) {
        return Err(incompatible(import, &wanted, &found));
    }
    if let (Some(plan), Extern::Memory(memory)) = (plan, given) {
        let actual = inner.memories[memory.0.check(inner)?].storage.plan();
        if !plan.accepts(actual) {
            let message = format!(
                "incompatible import type for {}: the module was compiled for memories with {} bytes \
                 reserved, found one with {}; compile both with the same -O memory-reservation",
                name_of(import),
                plan.reservation,
                actual.reservation
            );
            return Err(Error::new(ErrorKind::Link, message));
        }
    }
    Ok(())
}

/// May a thing of type `found` be imported as `wanted`?
pub(crate) fn matches(wanted: &ExternType, found: &ExternType) -> bool {
    match (wanted, found) {
        (ExternType::Func(a), ExternType::Func(b)) => a == b,
        (ExternType::Global(a), ExternType::Global(b)) => a == b,
        (ExternType::Table(a), ExternType::Table(b)) => {
            a.element == b.element
                && a.table64 == b.table64
                && limits((a.minimum, a.maximum), (b.minimum, b.maximum))
        }
        (ExternType::Memory(a), ExternType::Memory(b)) => {
            a.shared == b.shared
                && a.memory64 == b.memory64
                && a.page_size_log2 == b.page_size_log2
                && limits((a.minimum, a.maximum), (b.minimum, b.maximum))
        }
        _ => false,
    }
}

fn limits(wanted: (u64, Option<u64>), found: (u64, Option<u64>)) -> bool {
    found.0 >= wanted.0
        && match (wanted.1, found.1) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(wanted), Some(found)) => found <= wanted,
        }
}

fn name_of(import: &Import) -> String {
    format!("`{}::{}`", import.module, import.name)
}

pub(crate) fn incompatible(import: &Import, wanted: &ExternType, found: &ExternType) -> Error {
    Error::new(
        ErrorKind::Link,
        format!("incompatible import type for {}: expected {wanted}, found {found}", name_of(import)),
    )
}

/// The error of a host function of another type.
pub(crate) fn incompatible_func(module: &Module, import: &Import, found: &FuncType) -> Option<Error> {
    let wanted = module.import_type(import.kind);
    let found = ExternType::Func(found.clone());
    (!matches(&wanted, &found)).then(|| incompatible(import, &wanted, &found))
}

/// The error of an import that nothing defines. `near` are names that the module part does define.
pub(crate) fn unknown(module: &Module, import: &Import, hint: Option<String>) -> Error {
    let wanted = module.import_type(import.kind);
    let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
    Error::new(
        ErrorKind::Link,
        format!("unknown import: {} ({wanted}) is not defined{hint}", name_of(import)),
    )
}
