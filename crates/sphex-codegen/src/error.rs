//! Why a function could not be compiled.

use sphex_ir::{CallConv, Type, Value};

/// Why a function could not be compiled.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodegenError {
    /// A signature with more arguments or results than its convention can pass.
    #[error("signature: expected at most {limit} bytes of {what}, found more")]
    SignatureTooLarge {
        /// Stack arguments or results.
        what: &'static str,
        /// Most bytes.
        limit: u32,
    },
    /// A type that cannot be passed or held.
    #[error("type {0} is not supported here")]
    UnsupportedType(Type),
    /// A convention that this target or this use of it does not have.
    #[error("calling convention {conv}: {reason}")]
    UnsupportedConvention {
        /// The convention.
        conv: CallConv,
        /// What is missing.
        reason: &'static str,
    },
    /// An instruction without a lowering.
    #[error("{value}: {text} is not supported on this target")]
    UnsupportedInstruction {
        /// The instruction.
        value: Value,
        /// Its name and type.
        text: String,
    },
    /// The frame is larger than the limit.
    #[error("frame size: expected at most {limit} bytes, found {found}")]
    FrameTooLarge {
        /// What the frame would take.
        found: u64,
        /// Most bytes.
        limit: u32,
    },
    /// The code is larger than a branch spans.
    #[error(transparent)]
    CodeTooLarge(#[from] sphex_asm::buffer::TooLarge),
    /// More instructions, blocks or virtual registers than the allocator numbers.
    #[error("function size: expected at most {limit} {what}, found {found}")]
    FunctionTooLarge {
        /// What there is too much of.
        what: &'static str,
        /// Most of them.
        limit: usize,
        /// How many there are.
        found: usize,
    },
    /// A pass broke an invariant: a bug in the compiler, reported instead of miscompiling.
    #[error("internal error in {pass}: {message}")]
    Internal {
        /// The pass that found it.
        pass: &'static str,
        /// What was found.
        message: String,
    },
    /// The global value chain of a stack limit that code at entry cannot compute.
    #[error("stack limit: {0}")]
    StackLimit(&'static str),
}
