//! The Sphex embedding API: engines, modules, stores, instances.
