//! Signatures: parameters, results, calling conventions, and names of functions.

use crate::immediates::named_enum;
use crate::types::Type;
use core::fmt;

named_enum! {
    /// A calling convention. Where each puts values is `sphex-codegen`'s data; the IR only names them.
    CallConv {
        /// WebAssembly to WebAssembly: vmctx in a fixed register, callee pops, nothing callee-saved.
        Sphex = "sphex",
        /// The fastest for code that this compiler makes on both sides; not a stable ABI.
        Fast = "fast",
        /// Callee pops its arguments, so that any call may be a tail call.
        Tail = "tail",
        /// System V.
        SystemV = "system_v",
        /// Windows x64.
        WindowsFastcall = "windows_fastcall",
        /// Apple's variant of AAPCS64.
        AppleAarch64 = "apple_aarch64",
        /// The convention of single-pass compilers: no callee-saved registers, results in order of pushing.
        Winch = "winch",
        /// Every register is callee-saved.
        PreserveAll = "preserve_all",
    }
}

named_enum! {
    /// What a parameter is for.
    Purpose {
        /// An ordinary value.
        Normal = "normal",
        /// The hidden pointer to a returned structure.
        StructReturn = "sret",
        /// The instance's context.
        VmContext = "vmctx",
    }
}

named_enum! {
    /// Whether a small integer is extended to a register's width.
    Extension {
        /// Upper bits are undefined.
        None = "none",
        /// Upper bits are zero.
        Unsigned = "uext",
        /// Upper bits copy the sign.
        Signed = "sext",
    }
}

/// A parameter or result.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AbiParam {
    /// Its type.
    pub ty: Type,
    /// What it is for.
    pub purpose: Purpose,
    /// How a small integer is extended.
    pub extension: Extension,
}

impl AbiParam {
    /// An ordinary value.
    pub const fn new(ty: Type) -> Self {
        Self { ty, purpose: Purpose::Normal, extension: Extension::None }
    }

    /// A value with a purpose.
    pub const fn special(ty: Type, purpose: Purpose) -> Self {
        Self { ty, purpose, extension: Extension::None }
    }
}

impl fmt::Display for AbiParam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.ty)?;
        if self.extension != Extension::None {
            write!(f, " {}", self.extension)?;
        }
        if self.purpose != Purpose::Normal {
            write!(f, " {}", self.purpose)?;
        }
        Ok(())
    }
}

/// A function's type.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Signature {
    /// Parameters in order.
    pub params: Vec<AbiParam>,
    /// Results in order.
    pub returns: Vec<AbiParam>,
    /// Where caller and callee expect them.
    pub call_conv: CallConv,
}

impl Signature {
    /// A signature without parameters and results.
    pub const fn new(call_conv: CallConv) -> Self {
        Self { params: Vec::new(), returns: Vec::new(), call_conv }
    }

    /// The index of the parameter with this purpose.
    pub fn special_param(&self, purpose: Purpose) -> Option<usize> {
        self.params.iter().position(|p| p.purpose == purpose)
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, items: &[AbiParam]| -> fmt::Result {
            for (i, item) in items.iter().enumerate() {
                write!(f, "{}{item}", if i == 0 { "" } else { ", " })?;
            }
            Ok(())
        };
        f.write_str("(")?;
        list(f, &self.params)?;
        f.write_str(")")?;
        if !self.returns.is_empty() {
            f.write_str(" -> ")?;
            list(f, &self.returns)?;
        }
        write!(f, " {}", self.call_conv)
    }
}

/// The name of a function or of data outside the function.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ExternalName {
    /// `%name`: a symbol.
    Symbol(Box<str>),
    /// `uNAMESPACE:INDEX`: the embedder's number.
    User {
        /// Which table of the embedder's.
        namespace: u32,
        /// The index in it.
        index: u32,
    },
}

impl ExternalName {
    /// `%name`.
    pub fn symbol(name: &str) -> Self {
        ExternalName::Symbol(name.into())
    }

    /// `uNAMESPACE:INDEX`.
    pub const fn user(namespace: u32, index: u32) -> Self {
        ExternalName::User { namespace, index }
    }
}

impl fmt::Display for ExternalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExternalName::Symbol(name) => {
                let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '$');
                if !name.is_empty() && name.chars().all(bare) {
                    return write!(f, "%{name}");
                }
                f.write_str("%\"")?;
                for c in name.chars() {
                    match c {
                        '"' | '\\' => write!(f, "\\{c}")?,
                        '\n' => f.write_str("\\n")?,
                        _ => write!(f, "{c}")?,
                    }
                }
                f.write_str("\"")
            }
            ExternalName::User { namespace, index } => write!(f, "u{namespace}:{index}"),
        }
    }
}
