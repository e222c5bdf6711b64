//! Instruction tables, encoders and the code buffer.
