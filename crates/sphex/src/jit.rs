//! Running CLIF: functions of the IR, compiled, wrapped in an ordinary artifact and called by name with values.
//!
//! Each function gets a trampoline `(pointer) system_v`, compiled like the rest, that loads the arguments from an array of
//! 16-byte slots, calls the function by whatever convention it has, and stores the results there. A trap comes back as an
//! error with [`Error::trap_code`].
//!
//! ```
//! # fn main() -> sphex::Result<()> {
//! use sphex::jit::{DataValue, Jit, Settings};
//!
//! let functions = sphex::jit::parse("function %add(i32, i32) -> i32 system_v {
//! block0(v0: i32, v1: i32):
//!     v2 = iadd v0, v1
//!     return v2
//! }")?;
//! let mut jit = Jit::new(functions, &Settings::host())?;
//! // SAFETY: the function touches no memory.
//! let sum = unsafe { jit.call("add", &[DataValue::i32(40), DataValue::i32(2)])? };
//! assert_eq!(sum, [DataValue::i32(42)]);
//! # Ok(()) }
//! ```

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use sphex_ir::{CallConv, Purpose, Signature};

pub use sphex_codegen::Settings;
pub use sphex_ir::Function;
pub use sphex_ir::interpret::DataValue;

use crate::config::Config;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::vm::code::Code;
use crate::vm::image;
use crate::vm::jit::call_trampoline;
use crate::vm::store::{StoreBox, StoreData, StoreInner};

/// Compiled functions that can be called.
pub struct Jit {
    code: Arc<Code>,
    store: StoreBox<()>,
    functions: HashMap<String, Entry>,
}

struct Entry {
    signature: Signature,
    /// Position of the function and of its trampoline in the artifact.
    function: u32,
    trampoline: u32,
}

/// Parses the functions of a CLIF text.
pub fn parse(text: &str) -> Result<Vec<Function>> {
    sphex_ir::parse::parse_functions(text)
        .map_err(|error| Error::with_source(ErrorKind::Invalid, error.to_string(), error))
}

impl Jit {
    /// Compiles functions, placed as parsing gives them. They call each other by name, and nothing else.
    pub fn new(functions: Vec<Function>, settings: &Settings) -> Result<Jit> {
        Jit::with_engine(&Engine::new(&Config::default())?, functions, settings)
    }

    /// As [`Jit::new`], to run as the engine's [`Host`](crate::Host) says: how much stack there is, and which profiler,
    /// debugger and unwinder hear of the code. How it is compiled is up to `settings` alone.
    pub fn with_engine(engine: &Engine, functions: Vec<Function>, settings: &Settings) -> Result<Jit> {
        let host = Settings::host();
        if settings.target != host.target {
            let message = format!("the code would be for {}, this is {}", settings.target, host.target);
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        if let Some(missing) = settings.features.iter().find(|feature| !host.features.has(*feature)) {
            let message = format!("the code would need a CPU with {}", missing.name());
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let count = functions.len() as u32;
        let mut entries = HashMap::new();
        let mut trampolines = String::new();
        for (index, function) in functions.iter().enumerate() {
            let name = bare_name(function);
            sphex_ir::verify::verify(function)
                .map_err(|error| Error::new(ErrorKind::Invalid, format!("function {name}: {error}")))?;
            write_trampoline(&mut trampolines, index, function);
            let signature = function.signature.clone();
            let index = index as u32;
            let entry = Entry { signature, function: index, trampoline: count + index };
            if entries.insert(name.clone(), entry).is_some() {
                return Err(Error::new(ErrorKind::Argument, format!("two functions are named {name}")));
            }
        }
        let trampolines = parse(&trampolines).map_err(|error| error.context("a trampoline"))?;
        let all = functions.into_iter().chain(trampolines);
        let all = all.map(|function| (bare_name(&function), function)).collect();
        let mut compile = sphex_compile::Settings::host();
        compile.codegen = *settings;
        let artifact = sphex_compile::compile_functions(all, &compile)
            .map_err(|error| Error::with_source(ErrorKind::Invalid, error.to_string(), error))?;
        let code = Code::from_bytes(engine, &artifact, false)?;
        code.make_known(engine)?;
        Ok(Jit {
            code,
            store: StoreBox::new(StoreData { inner: StoreInner::new(engine.clone()), data: () }),
            functions: entries,
        })
    }

    /// The names of the functions.
    pub fn names(&self) -> impl Iterator<Item = &str> + '_ {
        self.functions.keys().map(String::as_str)
    }

    /// The type of a function.
    pub fn signature(&self, name: &str) -> Option<&Signature> {
        self.functions.get(name).map(|entry| &entry.signature)
    }

    /// The address and length of a function's code.
    pub fn address(&self, name: &str) -> Option<(*const u8, usize)> {
        let function = self.functions.get(name)?.function;
        let len = self.code.view()?.function(0, function)?.len;
        Some((self.code.function(0, function)?, len as usize))
    }

    /// The artifact.
    pub fn artifact(&self) -> &[u8] {
        self.code.bytes()
    }

    /// Calls a function.
    ///
    /// # Safety
    ///
    /// CLIF that goes wrong goes wrong like C: loads and stores of the function, and of those that it calls, stay within
    /// memory that it may use. (Traps are fine: they come back as errors.)
    #[allow(unsafe_code)]
    pub unsafe fn call(&mut self, name: &str, arguments: &[DataValue]) -> Result<Vec<DataValue>> {
        let entry = self
            .functions
            .get(name)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("no function {name}")))?;
        let Signature { params, returns, .. } = &entry.signature;
        if params.len() != arguments.len() {
            let message = format!("expected {} arguments, found {}", params.len(), arguments.len());
            return Err(Error::new(ErrorKind::Type, message));
        }
        for (i, (param, argument)) in params.iter().zip(arguments).enumerate() {
            if param.ty != argument.ty {
                let message = format!("argument {i}: expected {}, found {}", param.ty, argument.ty);
                return Err(Error::new(ErrorKind::Type, message));
            }
        }
        let bytes = 16 * params.len().max(returns.len()) as u32;
        let mut slots = image::area(bytes);
        for (slot, argument) in slots.iter_mut().zip(arguments) {
            *slot = argument.bits;
        }
        let vmctx =
            entry.signature.special_param(Purpose::VmContext).filter(|_| pins_vmctx(&entry.signature));
        let vmctx = vmctx.map_or(0, |index| arguments[index].bits as usize);
        let code = self
            .code
            .function(0, entry.trampoline)
            .ok_or_else(|| Error::new(ErrorKind::Artifact, "a function without code"))?;
        // SAFETY: the trampoline was made for this function's signature, with which the arguments were compared; for the
        // rest, the caller's promise.
        unsafe { call_trampoline(self.store.get_mut().as_inner_ptr(), &self.code, code, vmctx, &mut slots)? };
        Ok(returns.iter().zip(slots).map(|(ret, bits)| DataValue::new(ret.ty, bits)).collect())
    }
}

/// The name without `%`; `u0:1` as it is.
fn bare_name(function: &Function) -> String {
    match &function.name {
        sphex_ir::ExternalName::Symbol(name) => name.to_string(),
        name => name.to_string(),
    }
}

/// Does its vmctx parameter go in the fixed register, where the trampoline hands on its own?
fn pins_vmctx(signature: &Signature) -> bool {
    signature.call_conv == CallConv::Sphex
}

/// Writes the trampoline of a function, in CLIF.
fn write_trampoline(out: &mut String, index: usize, function: &Function) {
    let signature = &function.signature;
    let pinned = signature.special_param(Purpose::VmContext).filter(|_| pins_vmctx(signature));
    let (head, params) = match pinned {
        Some(_) => ("(i64 vmctx, i64) sphex", "v0: i64, v1: i64"),
        None => ("(i64) system_v", "v1: i64"),
    };
    // Writing to a string cannot fail.
    let _ = writeln!(out, "function %\"trampoline of {index}\"{head} {{");
    let _ = writeln!(
        out,
        "    sig0 = {signature}\n    fn0 = colocated {} sig0\nblock0({params}):",
        function.name
    );
    let mut next = 2;
    let mut arguments = Vec::new();
    for (i, param) in signature.params.iter().enumerate() {
        if Some(i) == pinned {
            arguments.push("v0".to_string());
            continue;
        }
        let _ = writeln!(out, "    v{next} = load.{} notrap aligned v1+{}", param.ty, 16 * i);
        arguments.push(format!("v{next}"));
        next += 1;
    }
    let results: Vec<String> = (0..signature.returns.len()).map(|i| format!("v{}", next + i)).collect();
    let equals = if results.is_empty() { "" } else { " = " };
    let _ = writeln!(out, "    {}{equals}call fn0({})", results.join(", "), arguments.join(", "));
    for (i, result) in results.iter().enumerate() {
        let _ = writeln!(out, "    store notrap aligned {result}, v1+{}", 16 * i);
    }
    out.push_str("    return\n}\n\n");
}
