//! The optimizer: one pass a file. The order stands in the pipeline.

pub mod place;
