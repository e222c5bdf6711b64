//! What can be wrong with a module: what was expected, what was found, and where.

use std::fmt;

/// Why a module was not compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// It is malformed or invalid.
    #[error("{message} (at offset {offset:#x}{})", In(.function))]
    Invalid {
        /// What was expected and found.
        message: String,
        /// Byte offset in the module.
        offset: u64,
        /// The function, if the error is inside one.
        function: Option<FunctionName>,
    },
    /// It is valid, but needs a proposal that Sphex does not compile yet.
    #[error("not supported yet: the {proposal} proposal (at offset {offset:#x}{})", In(.function))]
    Unsupported {
        /// The proposal that it needs.
        proposal: &'static str,
        /// Byte offset in the module of what needs it.
        offset: u64,
        /// The function, if it is inside one.
        function: Option<FunctionName>,
    },
    /// It is no core module.
    #[error("expected a core module, found {found}")]
    NotAModule {
        /// What was found.
        found: &'static str,
    },
    /// It passes a limit of the implementation.
    #[error("{what}{}", In(.function))]
    TooLarge {
        /// Which limit.
        what: String,
        /// The function, if the limit is one of functions.
        function: Option<FunctionName>,
    },
    /// The module defines no function of this index.
    #[error("the module defines no function {0}")]
    NoSuchFunction(u32),
    /// The function of this index is imported.
    #[error("function {0} is imported: its code is not in the module")]
    Imported(u32),
    /// The module defines no function of this name.
    #[error("the module defines no function named {0:?}")]
    NoSuchName(String),
    /// The code generator refused a function.
    #[error("cannot compile{}: {message}", In(&Some(.function.clone())))]
    Codegen {
        /// The function.
        function: FunctionName,
        /// Its reason.
        message: String,
    },
    /// The artifact could not be written.
    #[error("cannot write the artifact: {0}")]
    Artifact(String),
}

/// A function's index, and its name where the module has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionName {
    /// Index in the module's function index space.
    pub index: u32,
    /// From the name section.
    pub name: Option<String>,
}

impl fmt::Display for FunctionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "function {}", self.index)?;
        match &self.name {
            Some(name) => write!(f, " <{name}>"),
            None => Ok(()),
        }
    }
}

struct In<'a>(&'a Option<FunctionName>);

impl fmt::Display for In<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(function) => write!(f, " in {function}"),
            None => Ok(()),
        }
    }
}

impl CompileError {
    /// An error of the parser or validator.
    pub(crate) fn invalid(error: &wasmparser::Error, function: Option<FunctionName>) -> CompileError {
        CompileError::Invalid { message: error.message().to_owned(), offset: error.offset(), function }
    }

    /// A missing proposal outside a function.
    pub(crate) fn unsupported(proposal: &'static str, offset: u64) -> CompileError {
        CompileError::Unsupported { proposal, offset, function: None }
    }

    /// Byte offset in the module, where there is one.
    pub fn offset(&self) -> Option<u64> {
        match self {
            CompileError::Invalid { offset, .. } | CompileError::Unsupported { offset, .. } => Some(*offset),
            _ => None,
        }
    }

    /// The function, where there is one.
    pub fn function(&self) -> Option<&FunctionName> {
        match self {
            CompileError::Invalid { function, .. }
            | CompileError::Unsupported { function, .. }
            | CompileError::TooLarge { function, .. } => function.as_ref(),
            CompileError::Codegen { function, .. } => Some(function),
            _ => None,
        }
    }

    /// The missing proposal, if that is the reason.
    pub fn missing_proposal(&self) -> Option<&'static str> {
        match self {
            CompileError::Unsupported { proposal, .. } => Some(proposal),
            _ => None,
        }
    }
}

impl From<wasmparser::Error> for CompileError {
    fn from(error: wasmparser::Error) -> Self {
        CompileError::invalid(&error, None)
    }
}
