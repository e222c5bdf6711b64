//! The Sphex IR: CLIF data structures, builder, text form, verifier and interpreter.
