//! Random modules under Sphex, compiled in each of its ways, and under a second engine: all that can be seen is equal.

use crate::observe::{difference, digest, observe};
use crate::{modules, peer, programs, world};

/// Engines to compare, made once.
pub struct Engines {
    ours: Vec<(&'static str, sphex::Engine)>,
    peer: wasmi::Engine,
}

impl Default for Engines {
    fn default() -> Engines {
        let ours = world::configurations().into_iter();
        let ours = ours.map(|(name, config)| (name, sphex::Engine::new(&config).expect("a configuration")));
        Engines { ours: ours.collect(), peer: peer::engine() }
    }
}

impl Engines {
    /// Runs the module that wasm-smith makes of these bytes, if it makes one; gives the number of lines seen. The
    /// difference found, if there is one, names the setting, and where the module was put.
    pub fn run(&self, bytes: &[u8]) -> Result<usize, String> {
        modules::module(bytes).map_or(Ok(0), |wasm| self.run_module(&wasm))
    }

    /// The same for a program of ours.
    pub fn run_program(&self, bytes: &[u8]) -> Result<usize, String> {
        self.run_module(&programs::program(bytes))
    }

    fn run_module(&self, wasm: &[u8]) -> Result<usize, String> {
        self.compare(wasm).map_err(|difference| {
            let path = std::env::temp_dir().join(format!("sphex-{:016x}.wat", digest(wasm)));
            let text = wasmprinter::print_bytes(wasm).unwrap_or_default();
            let kept = std::fs::write(&path, &text).is_ok();
            format!("{}: {difference}", if kept { path.display().to_string() } else { String::new() })
        })
    }

    /// Compares on one module; gives the number of lines seen.
    pub fn compare(&self, wasm: &[u8]) -> Result<usize, String> {
        let expected = observe(|| peer::make(&self.peer, wasm), 1);
        for (name, engine) in &self.ours {
            let found = observe(|| world::make(engine, wasm), 1);
            if let Some(difference) = difference(&expected, &found) {
                return Err(format!("{name}, {difference}"));
            }
        }
        Ok(expected.len())
    }
}
