//! WASI hosts for Sphex, on its public API only.
