//! The engine: configuration and function types, shared by everything that is to work together.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, Weak};

use sphex_artifact::convention::{self, Placement, Shape};
use sphex_artifact::read::{Header, Host, Mismatch};
use sphex_artifact::sections::Kind;
use sphex_artifact::types::FuncType;
use sphex_artifact::{ArtifactError, CpuFeatures, Index, Target};

use crate::allocation::PoolMetrics;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::schedule::Schedule;
use crate::vm::allocator::Allocator;
use crate::vm::scalars::Scalars;
use crate::vm::stacks::Stacks;
use crate::vm::traps;

/// A function type of an engine, and where the convention puts its values.
#[derive(Debug)]
pub(crate) struct Signature {
    /// Its number in the engine, never 0.
    pub(crate) id: u32,
    pub(crate) ty: FuncType,
    pub(crate) placement: Placement,
    pub(crate) scalars: Option<Scalars>,
}

impl Signature {
    /// The shapes of the parameters.
    pub(crate) fn params(&self) -> impl Iterator<Item = (convention::Place, Shape)> + '_ {
        self.placement.params.iter().copied().zip(self.ty.params.iter().map(|ty| ty.shape()))
    }

    /// The shapes of the results.
    pub(crate) fn results(&self) -> impl Iterator<Item = (convention::Place, Shape)> + '_ {
        self.placement.results.iter().copied().zip(self.ty.results.iter().map(|ty| ty.shape()))
    }
}

/// Compiles and runs modules. Cheap to clone; modules, stores and linkers of one engine work together.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    config: Config,
    stacks: Stacks,
    types: RwLock<Types>,
    schedule: Arc<Schedule>,
    allocator: Allocator,
}

/// Function types by number (from 1). They are never forgotten: there are as many as modules write down.
#[derive(Default)]
struct Types {
    ids: HashMap<FuncType, u32>,
    signatures: Vec<Arc<Signature>>,
}

impl Engine {
    /// An engine with this configuration. Installs the process's signal handlers, the first time.
    pub fn new(config: &Config) -> Result<Engine> {
        config.validate()?;
        traps::install()?;
        Ok(Engine(Arc::new(Inner {
            config: config.clone(),
            stacks: Stacks::new(config.host.async_stack_size),
            types: RwLock::default(),
            schedule: Arc::default(),
            allocator: Allocator::new(config)?,
        })))
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Are both the same engine?
    pub fn same(a: &Engine, b: &Engine) -> bool {
        Arc::ptr_eq(&a.0, &b.0)
    }

    /// The engine, without keeping it.
    pub fn weak(&self) -> EngineWeak {
        EngineWeak(Arc::downgrade(&self.0))
    }

    /// Are these bytes an artifact, of this build or another? Looks at the file's structure only.
    pub fn is_precompiled(bytes: &[u8]) -> bool {
        !matches!(Index::parse(&aligned(bytes)), Err(ArtifactError::NotArtifact(_)))
    }

    /// Can this engine load the artifact? If not, the error says what differs, and what was expected and found: the
    /// build, the target, a CPU feature, or a setting that the engine relies on. The hash of the artifact's code and data
    /// is not looked at.
    pub fn is_compatible(&self, artifact: &[u8]) -> Result<()> {
        let index = Index::parse(&aligned(artifact))
            .map_err(|error| Error::with_source(ErrorKind::Artifact, error.to_string(), error))?;
        self.check_header(index.header())
    }

    /// Can this engine run what has this header? The engine insists on the settings with which it stops a guest; those
    /// that only shape the code may differ.
    pub(crate) fn check_header(&self, header: &Header) -> Result<()> {
        let incompatible = |error: Mismatch| {
            let error = ArtifactError::from(error);
            Error::with_source(ErrorKind::Artifact, error.to_string(), error)
        };
        let target = Target::HOST.ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "Sphex does not run on this kind of machine")
        })?;
        let host = Host { target, features: CpuFeatures::detect(), settings: None };
        header.check_compatible(&host).map_err(incompatible)?;
        let compile = &self.config().compile;
        for (name, needed) in [("fuel", compile.fuel), ("interruption", compile.interruption)] {
            let found = header.settings.get(name).map_or("nothing", String::as_str);
            if needed && header.kind == Kind::Module && found != "true" {
                let (field, expected) = (name.to_string(), "true".to_string());
                return Err(incompatible(Mismatch { field, expected, found: found.to_string() }));
            }
        }
        Ok(())
    }

    /// What the engine's pool is doing; `None` without [`Allocation::Pooling`](crate::Allocation::Pooling).
    pub fn pool_metrics(&self) -> Option<PoolMetrics> {
        self.0.allocator.metrics()
    }

    /// Where instances and memories come from.
    pub(crate) fn allocator(&self) -> &Allocator {
        &self.0.allocator
    }

    /// Compiles a module to the bytes of an artifact, without loading it.
    #[cfg(feature = "compiler")]
    pub fn precompile(&self, wasm: &[u8]) -> Result<Vec<u8>> {
        self.precompile_watched(wasm, &())
    }

    /// The deadlines of its stores.
    pub(crate) fn schedule(&self) -> &Arc<Schedule> {
        &self.0.schedule
    }

    pub(crate) fn max_wasm_stack(&self) -> usize {
        self.0.config.host.max_wasm_stack
    }

    /// The stacks of async calls.
    pub(crate) fn stacks(&self) -> &Stacks {
        &self.0.stacks
    }

    /// The number of a function type.
    pub(crate) fn intern(&self, ty: &FuncType) -> Result<Arc<Signature>> {
        let types = self.0.types.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(&id) = types.ids.get(ty) {
            return Ok(types.signatures[id as usize - 1].clone());
        }
        drop(types);
        let convention = convention::HOST.ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "Sphex does not run on this kind of machine")
        })?;
        let shapes = |types: &[crate::types::ValType]| types.iter().map(|ty| ty.shape()).collect::<Vec<_>>();
        let placement = convention::place(convention, shapes(&ty.params), shapes(&ty.results))
            .map_err(|error| Error::with_source(ErrorKind::Limit, error.to_string(), error))?;
        let mut types = self.0.types.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(&id) = types.ids.get(ty) {
            return Ok(types.signatures[id as usize - 1].clone());
        }
        let id = types.signatures.len() as u32 + 1;
        let scalars = Scalars::of(ty, &placement);
        let signature = Arc::new(Signature { id, ty: ty.clone(), placement, scalars });
        types.ids.insert(ty.clone(), id);
        types.signatures.push(signature.clone());
        Ok(signature)
    }

    /// The function type of a number.
    pub(crate) fn signature(&self, id: u32) -> Option<Arc<Signature>> {
        let types = self.0.types.read().unwrap_or_else(PoisonError::into_inner);
        types.signatures.get((id as usize).checked_sub(1)?).cloned()
    }
}

/// An engine that may be gone, see [`Engine::weak`].
#[derive(Clone)]
pub struct EngineWeak(Weak<Inner>);

impl EngineWeak {
    /// The engine, if anything else still keeps it.
    pub fn upgrade(&self) -> Option<Engine> {
        self.0.upgrade().map(Engine)
    }
}

impl fmt::Debug for EngineWeak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineWeak").field("alive", &(self.0.strong_count() > 0)).finish()
    }
}

/// The bytes where the reader of artifacts can look at words in place.
fn aligned(bytes: &[u8]) -> Cow<'_, [u8]> {
    if bytes.as_ptr().align_offset(align_of::<u32>()) == 0 {
        return Cow::Borrowed(bytes);
    }
    Cow::Owned(bytes.to_vec())
}

impl Default for Engine {
    /// An engine with the default configuration.
    ///
    /// # Panics
    ///
    /// If the operating system refuses signal handlers. Use [`Engine::new`] to see that as an error.
    fn default() -> Self {
        match Engine::new(&Config::default()) {
            Ok(engine) => engine,
            Err(error) => panic!("{error}"),
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("config", &self.0.config).finish_non_exhaustive()
    }
}
