//! Optimizer, instruction selection, ABIs, register allocation and emission.
