//! Host values that wasm can hold and hand back, but not look into.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// A host value as an `externref`: shared, counted, of any type. It belongs to no store; wasm's own references to it
/// are counted by the stores that hold them and let go when their collector finds that wasm has forgotten them.
#[derive(Clone)]
pub struct ExternRef(Arc<dyn Any + Send + Sync>);

impl ExternRef {
    /// A reference to this value.
    pub fn new<V: Any + Send + Sync>(value: V) -> ExternRef {
        ExternRef(Arc::new(value))
    }

    /// The value.
    pub fn data(&self) -> &(dyn Any + Send + Sync) {
        &*self.0
    }

    /// The value, if it is of this type.
    pub fn downcast_ref<V: Any>(&self) -> Option<&V> {
        self.0.downcast_ref()
    }

    /// Do both refer to the same value (not to equal ones)?
    pub fn ptr_eq(a: &ExternRef, b: &ExternRef) -> bool {
        Arc::ptr_eq(&a.0, &b.0)
    }

    /// References to the value: the host's and wasm's.
    pub fn strong_count(&self) -> usize {
        Arc::strong_count(&self.0)
    }
}

impl fmt::Debug for ExternRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExternRef({:p})", Arc::as_ptr(&self.0))
    }
}
