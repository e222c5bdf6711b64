//! Watching a module's compilation: its progress, its time, and any function on its way through the steps.
//!
//! There is one driver and one pipeline; a [`Watch`] goes along with them. Functions are compiled on several threads, so
//! a watch is shared, and gives each function an observer of its own.

use crate::module::ModuleInfo;
use sphex_artifact::module::ExternKind;
pub use sphex_codegen::observe::{Observer, State};
use std::ops::Range;

/// Who looks on. What is made does not depend on it. Each method may be called by any thread but `begin` and `phase`,
/// which the caller's own thread calls.
pub trait Watch: Sync {
    /// The module's sections have been read: so many functions, of so many bytes of code in all, come next.
    fn begin(&self, _functions: usize, _bytes: usize) {}

    /// This function comes next on this thread; what is given sees each step of it, from `translate` on.
    fn function(&self, _function: Defined<'_>) -> Option<Box<dyn Observer + '_>> {
        None
    }

    /// A function of so many bytes has been compiled.
    fn done(&self, _bytes: usize) {}

    /// Shall [`inspect`](crate::inspect) go on to the next function?
    fn wants_more(&self) -> bool {
        true
    }

    /// A phase of the whole module has ended, and left so many bytes: `parse`, `look ahead`, `functions`, `link`, `write`.
    fn phase(&self, _name: &'static str, _bytes: usize) {}
}

/// Nobody.
impl Watch for () {}

/// A function that is about to be compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defined<'a> {
    /// Its index in the function index space.
    pub index: u32,
    /// Its name in the module's name section.
    pub name: Option<&'a str>,
    /// Where its body stands in the module, size field left out.
    pub bytes: Range<usize>,
}

/// Which functions to compile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which<'a> {
    /// All that the module defines.
    All,
    /// The one of this index.
    Index(u32),
    /// Those of this name, exported or in the name section.
    Name(&'a str),
}

/// A function as it is shown to a watch.
pub(crate) fn defined<'a>(info: &'a ModuleInfo<'_>, position: usize) -> Defined<'a> {
    let body = &info.bodies[position];
    let index = body.validate.index;
    let range = body.bytes.range();
    Defined {
        index,
        name: info.names.get(index as usize).copied().flatten(),
        bytes: range.start as usize..range.end as usize,
    }
}

/// Exported functions.
fn exports<'a>(info: &'a ModuleInfo<'_>) -> impl Iterator<Item = (&'a str, u32)> {
    let exports = info.module.exports.iter().filter(|export| export.kind == ExternKind::Function);
    exports.map(|export| (&*export.name, export.index))
}

/// Positions of the functions meant, ascending; none if no defined function is.
pub(crate) fn chosen(info: &ModuleInfo<'_>, which: Which<'_>) -> Vec<usize> {
    let imported = info.module.imported.functions as usize;
    let mut positions: Vec<usize> = match which {
        Which::All => return (0..info.bodies.len()).collect(),
        Which::Index(index) => vec![index as usize],
        Which::Name(name) => {
            let named = info.names.iter().enumerate().filter(|(_, known)| **known == Some(name));
            let exported = exports(info).filter(|(export, _)| *export == name);
            named.map(|(index, _)| index).chain(exported.map(|(_, index)| index as usize)).collect()
        }
    };
    positions.sort_unstable();
    positions.dedup();
    let positions = positions.into_iter().filter_map(|index| index.checked_sub(imported));
    positions.filter(|&position| position < info.bodies.len()).collect()
}
