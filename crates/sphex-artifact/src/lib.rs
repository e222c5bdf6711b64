//! What compiled code and the runtime both read: descriptions, vmctx layout, ELF format.
