//! The one error type: a boxed word that says what kind of thing went wrong, and carries its cause.

use std::error::Error as StdError;
use std::fmt;

use sphex_artifact::Trap;

use crate::backtrace::Backtrace;
use crate::vm::sys::room;

/// A result whose error is an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Wasm trapped: [`Error::trap`] says why.
    Trap,
    /// The program asked to end: [`Error::exit_code`] says with which code.
    Exit,
    /// A module is malformed or invalid.
    Invalid,
    /// A module is valid, but needs a proposal that Sphex does not compile.
    Unsupported,
    /// An artifact is damaged or was made for something else.
    Artifact,
    /// An import is missing or is not what the module wants.
    Link,
    /// A value, or a thing that was looked up, is of another type.
    Type,
    /// Something of that name or index does not exist.
    NotFound,
    /// A handle was used with a store that it does not belong to.
    WrongStore,
    /// A rooted reference was used after its scope.
    Unrooted,
    /// A limit of the store, the engine or the implementation.
    Limit,
    /// An access outside a memory or table, by the host.
    OutOfBounds,
    /// An argument or a configuration that makes no sense.
    Argument,
    /// The operating system refused.
    System,
    /// An async host function or a yield was reached where wasm cannot be suspended: under `call`, not `call_async`.
    WouldSuspend,
    /// A call was dropped while it was suspended. Its frames unwind with this; the caller is not there to see it.
    Cancelled,
    /// An error of the embedder's, returned by a host function.
    Host,
}

/// What went wrong. One word; the details are boxed.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    trap: Option<Trap>,
    code: u8,
    exit_code: Option<i32>,
    source: Option<Box<dyn StdError + Send + Sync>>,
    backtrace: Option<Backtrace>,
    context: Vec<String>,
}

impl Error {
    /// An error of this kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error(Box::new(Inner {
            kind,
            message: message.into(),
            trap: None,
            code: 0,
            exit_code: None,
            source: None,
            backtrace: None,
            context: Vec::new(),
        }))
    }

    /// An error of a host function, told in words.
    pub fn msg(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Host, message)
    }

    /// A trap, for a host function to raise.
    pub fn from_trap(trap: Trap) -> Error {
        let mut error = Error::new(ErrorKind::Trap, trap.message());
        error.0.trap = Some(trap);
        error.0.code = trap.code();
        error
    }

    /// A trap by its code, which may be one that wasm never raises (`userN` of CLIF).
    pub fn from_trap_code(code: u8) -> Error {
        match Trap::from_code(code) {
            Some(trap) => Error::from_trap(trap),
            None => {
                let name = sphex_artifact::traps::ClifName(code);
                let mut error = Error::new(ErrorKind::Trap, format!("trap {name}"));
                error.0.code = code;
                error
            }
        }
    }

    /// The wish to end the program with this code, for a host function such as `proc_exit`.
    pub fn exit(code: i32) -> Error {
        let mut error = Error::new(ErrorKind::Exit, format!("exit with code {code}"));
        error.0.exit_code = Some(code);
        error
    }

    /// An error of the embedder's that is boxed already.
    pub fn from_boxed(source: Box<dyn StdError + Send + Sync>) -> Error {
        let mut error = Error::new(ErrorKind::Host, source.to_string());
        error.0.source = Some(source);
        error
    }

    pub(crate) fn with_source(
        kind: ErrorKind,
        message: impl Into<String>,
        source: impl StdError + Send + Sync + 'static,
    ) -> Error {
        let mut error = Error::new(kind, message);
        error.0.source = Some(Box::new(source));
        error
    }

    pub(crate) fn system(what: &str, source: std::io::Error) -> Error {
        let why = room::no_descriptors(&source).map_or(String::new(), |why| format!("; {why}"));
        Error::with_source(ErrorKind::System, format!("{what}: {source}{why}"), source)
    }

    /// Says what was being done, in front of the message.
    pub fn context(mut self, what: impl Into<String>) -> Error {
        self.0.context.push(what.into());
        self
    }

    pub(crate) fn set_backtrace(&mut self, backtrace: Backtrace) {
        if self.0.backtrace.is_none() && !backtrace.frames().is_empty() {
            self.0.backtrace = Some(backtrace);
        }
    }

    /// What kind of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Why wasm trapped, if it did.
    pub fn trap(&self) -> Option<Trap> {
        self.0.trap
    }

    /// The code of the trap, if it is one.
    pub fn trap_code(&self) -> Option<u8> {
        (self.0.kind == ErrorKind::Trap).then_some(self.0.code)
    }

    /// The code that the program wants to end with, if it does.
    pub fn exit_code(&self) -> Option<i32> {
        self.0.exit_code
    }

    /// The wasm frames that were running, if there were any.
    pub fn backtrace(&self) -> Option<&Backtrace> {
        self.0.backtrace.as_ref()
    }

    /// The message alone, without context and backtrace.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What caused it, if that is known as an error.
    pub fn source(&self) -> Option<&(dyn StdError + Send + Sync + 'static)> {
        self.0.source.as_deref()
    }

    /// The embedder's own error, if it is of this type.
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        let source: &(dyn StdError + 'static) = self.0.source.as_deref()?;
        source.downcast_ref()
    }

    /// The embedder's own error, taken out, if it is of this type.
    pub fn downcast<E: StdError + 'static>(mut self) -> Result<E, Error> {
        match self.0.source.take() {
            Some(source) => match source.downcast() {
                Ok(found) => Ok(*found),
                Err(source) => {
                    self.0.source = Some(source);
                    Err(self)
                }
            },
            None => Err(self),
        }
    }

    /// As an error of the standard library's kind, for other error types to take in.
    pub fn into_std(self) -> Box<dyn StdError + Send + Sync> {
        Box::new(Standard(self))
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Error {
    fn from(source: E) -> Error {
        let source: Box<dyn StdError + Send + Sync> = Box::new(source);
        match source.downcast::<Standard>() {
            Ok(standard) => standard.0,
            Err(source) => match source.downcast::<Trap>() {
                Ok(trap) => Error::from_trap(*trap),
                Err(source) => Error::from_boxed(source),
            },
        }
    }
}

impl From<Error> for Box<dyn StdError + Send + Sync> {
    fn from(error: Error) -> Self {
        error.into_std()
    }
}

impl From<Error> for Box<dyn StdError> {
    fn from(error: Error) -> Self {
        error.into_std()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for context in self.0.context.iter().rev() {
            write!(f, "{context}: ")?;
        }
        f.write_str(&self.0.message)?;
        if f.alternate()
            && let Some(backtrace) = &self.0.backtrace
        {
            write!(f, "\n{backtrace}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self:#}", self.0.kind)
    }
}

/// An [`Error`] in the standard library's clothes.
struct Standard(Error);

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl StdError for Standard {
    /// What caused the cause: the message has the cause's own text already.
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.0.source.as_deref().and_then(|source| source.source())
    }
}
