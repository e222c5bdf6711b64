//! Typed indices, dense maps, list pools, bit sets and scoped maps.
