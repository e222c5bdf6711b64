//! Core WebAssembly to artifact: validation, translation to IR, the parallel driver, linking.
//!
//! Needs the bytes of a module and [`Settings`]. Gives an artifact, or an error that says what is wrong and where. It
//! knows nothing of the runtime; both know `sphex-artifact`.

mod driver;
mod error;
pub mod lazy;
mod link;
mod module;
mod settings;
mod translate;
pub mod watch;

pub use driver::{compile_functions, compile_module, compile_watched, inspect};
pub use error::{CompileError, FunctionName};
pub use settings::{MemorySettings, Settings, WasmFeatures};
pub use translate::{Translation, WASM_NAMESPACE};

/// Validates a whole module, of any proposal that the settings name, without compiling it.
pub fn validate(wasm: &[u8], settings: &Settings) -> Result<(), CompileError> {
    wasmparser::Validator::new_with_features(settings.features).validate_all(wasm)?;
    Ok(())
}

/// Translates one defined function of a module (by its index in the function index space) to IR.
pub fn translate_function(
    wasm: &[u8],
    function: u32,
    settings: &Settings,
) -> Result<Translation, CompileError> {
    let mut info = module::parse(wasm, settings)?;
    driver::look_ahead(&mut info, settings);
    let position = function.checked_sub(info.module.imported.functions).map(|position| position as usize);
    match position.filter(|&position| position < info.bodies.len()) {
        Some(position) => translate::translate(&info, settings, position, &mut translate::Scratch::default()),
        None => Err(CompileError::NoSuchFunction(function)),
    }
}

/// Translates every function of a module to IR, in order, on one thread; `visit` gets each with its index.
pub fn translate_module(
    wasm: &[u8],
    settings: &Settings,
    mut visit: impl FnMut(u32, Translation),
) -> Result<(), CompileError> {
    let mut info = module::parse(wasm, settings)?;
    driver::look_ahead(&mut info, settings);
    let mut scratch = translate::Scratch::default();
    for position in 0..info.bodies.len() {
        let translation = translate::translate(&info, settings, position, &mut scratch)?;
        visit(info.module.imported.functions + position as u32, translation);
    }
    Ok(())
}
