//! Which directives of a script may wait for a later proposal.
//!
//! The judge is the validator, not the engine: a module waits if it is valid, but not by the proposals that are done.
//! A directive waits if its module does, or an instance that a waiting module was to be linked with. What a directive
//! waits for is a set of names, those by which the engine tells what it misses.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use wasmparser::{Parser, Payload, Validator, WasmFeatures};
use wast::lexer::Lexer;
use wast::parser::{self, ParseBuffer};
use wast::token::Id;
use wast::{QuoteWat, Wast, WastDirective, WastExecute};

/// Proposals that wait, those first that can be left out while those after them are still needed.
const LATER: &[(WasmFeatures, &str)] = &[
    (WasmFeatures::MULTIBYTE_ARRAY_ACCESS, "multibyte array access"),
    (WasmFeatures::ACQUIRE_RELEASE_ATOMICS, "acquire-release atomics"),
    (WasmFeatures::MEMORY_CONTROL, "memory control"),
    (WasmFeatures::CUSTOM_DESCRIPTORS, "custom descriptors"),
    (WasmFeatures::STACK_SWITCHING, "stack switching"),
    (WasmFeatures::SHARED_EVERYTHING_THREADS, "shared-everything threads"),
    (WasmFeatures::CUSTOM_PAGE_SIZES, "custom page sizes"),
    (WasmFeatures::WIDE_ARITHMETIC, "wide arithmetic"),
    (WasmFeatures::LEGACY_EXCEPTIONS, "legacy exception handling"),
    (WasmFeatures::EXCEPTIONS, "exception handling"),
    (WasmFeatures::GC, "garbage collection"),
    (WasmFeatures::FUNCTION_REFERENCES, "typed function references"),
    (WasmFeatures::MEMORY64, "memory64"),
    (WasmFeatures::RELAXED_SIMD, "relaxed SIMD"),
    (WasmFeatures::SIMD, "SIMD"),
];

/// Proposals, by name.
pub type Names = BTreeSet<&'static str>;

/// What a directive waits for.
#[derive(Clone, Debug, Default)]
pub struct Wait {
    /// Its own module needs these; the engine must name one of them.
    pub own: Names,
    /// It depends on what needs these.
    pub depends: Names,
}

/// The directives that wait, by line.
pub fn waits(text: &str) -> Result<BTreeMap<usize, Wait>, String> {
    let mut lexer = Lexer::new(text);
    lexer.allow_confusing_unicode(true);
    let buffer = ParseBuffer::new_with_lexer(lexer).map_err(|error| error.message())?;
    let script = parser::parse::<Wast<'_>>(&buffer).map_err(|error| error.message())?;
    let mut oracle = Oracle::default();
    let mut lines = BTreeMap::<usize, Wait>::new();
    for directive in script.directives {
        let line = directive.span().linecol_in(text).0 + 1;
        let wait = oracle.directive(directive);
        let all = lines.entry(line).or_default();
        all.own.extend(wait.own);
        all.depends.extend(wait.depends);
    }
    lines.retain(|_, wait| !(wait.own.is_empty() && wait.depends.is_empty()));
    Ok(lines)
}

/// The proposals that a module needs and that wait; none for one that is invalid whatever is allowed.
pub fn needs(wasm: &[u8]) -> Names {
    let valid = |features| Validator::new_with_features(features).validate_all(wasm).is_ok();
    let later = LATER.iter().fold(WasmFeatures::empty(), |all, (feature, _)| all | *feature);
    let core = (WasmFeatures::default() | WasmFeatures::GC_TYPES) & !later & !WasmFeatures::COMPONENT_MODEL;
    // Some proposals, allowed, make modules invalid; those of the default set do not.
    let most = core | WasmFeatures::CUSTOM_PAGE_SIZES | (WasmFeatures::default() & later);
    if valid(core) {
        return Names::new();
    }
    let Some(mut features) = [most, core | later].into_iter().find(|features| valid(*features)) else {
        return Names::new();
    };
    for (feature, _) in LATER {
        if valid(features & !*feature) {
            features &= !*feature;
        }
    }
    // Garbage collection is built on typed function references: either may be named.
    if features.contains(WasmFeatures::GC) {
        features |= WasmFeatures::FUNCTION_REFERENCES;
    }
    LATER.iter().filter(|(feature, _)| features.contains(*feature)).map(|(_, name)| *name).collect()
}

/// An instance, or what was to be one.
type Index = usize;

#[derive(Default)]
struct Oracle {
    /// What each instance waits for.
    instances: Vec<Names>,
    last: Option<Index>,
    named: HashMap<String, Index>,
    registered: HashMap<String, Index>,
    /// The bytes of definitions.
    definition: Vec<u8>,
    definitions: HashMap<String, Vec<u8>>,
}

impl Oracle {
    fn directive(&mut self, directive: WastDirective<'_>) -> Wait {
        match directive {
            WastDirective::Module(mut wat) => {
                let name = wat.name();
                let wasm = wat.encode().unwrap_or_default();
                let wait = self.module(&wasm);
                self.instance(name, &wait);
                wait
            }
            WastDirective::ModuleDefinition(mut wat) => {
                self.definition = wat.encode().unwrap_or_default();
                if let Some(name) = wat.name() {
                    self.definitions.insert(name.name().to_owned(), self.definition.clone());
                }
                Wait { own: needs(&self.definition), depends: Names::new() }
            }
            WastDirective::ModuleInstance { instance, module, .. } => {
                let wasm = match module {
                    Some(id) => self.definitions.get(id.name()).cloned().unwrap_or_default(),
                    None => self.definition.clone(),
                };
                let wait = self.module(&wasm);
                self.instance(instance, &wait);
                wait
            }
            WastDirective::Register { name, module, .. } => {
                if let Some(index) = self.find(module) {
                    self.registered.insert(name.to_owned(), index);
                }
                self.on_instance(module)
            }
            WastDirective::Invoke(invoke) => self.on_instance(invoke.module),
            WastDirective::AssertExhaustion { call, .. } => self.on_instance(call.module),
            WastDirective::AssertReturn { exec, .. } | WastDirective::AssertTrap { exec, .. } => {
                self.execute(exec)
            }
            WastDirective::AssertUnlinkable { module, .. } => self.execute(WastExecute::Wat(module)),
            WastDirective::AssertException { .. } => own("exception handling"),
            WastDirective::AssertSuspension { .. } => own("stack switching"),
            // Nothing in the threads of the suite waits.
            WastDirective::Thread(_) | WastDirective::Wait { .. } => Wait::default(),
            WastDirective::AssertInvalid { .. }
            | WastDirective::AssertMalformed { .. }
            | WastDirective::AssertInvalidCustom { .. }
            | WastDirective::AssertMalformedCustom { .. } => Wait::default(),
        }
    }

    fn execute(&mut self, exec: WastExecute<'_>) -> Wait {
        match exec {
            WastExecute::Invoke(invoke) => self.on_instance(invoke.module),
            WastExecute::Get { module, .. } => self.on_instance(module),
            WastExecute::Wat(wat) => self.module(&QuoteWat::Wat(wat).encode().unwrap_or_default()),
        }
    }

    /// What instantiating this module waits for. What it would have changed in others waits from now on.
    fn module(&mut self, wasm: &[u8]) -> Wait {
        let own = needs(wasm);
        let imported: Vec<Index> =
            imports(wasm).iter().filter_map(|name| self.registered.get(name)).copied().collect();
        let depends: Names = imported.iter().flat_map(|index| self.instances[*index].clone()).collect();
        for index in imported {
            self.instances[index].extend(own.iter().chain(&depends));
        }
        Wait { own, depends }
    }

    fn instance(&mut self, name: Option<Id<'_>>, wait: &Wait) {
        let index = self.instances.len();
        self.instances.push(wait.own.union(&wait.depends).copied().collect());
        self.last = Some(index);
        if let Some(name) = name {
            self.named.insert(name.name().to_owned(), index);
        }
    }

    fn find(&self, name: Option<Id<'_>>) -> Option<Index> {
        match name {
            Some(name) => self.named.get(name.name()).copied(),
            None => self.last,
        }
    }

    fn on_instance(&self, name: Option<Id<'_>>) -> Wait {
        let depends = self.find(name).map(|index| self.instances[index].clone()).unwrap_or_default();
        Wait { own: Names::new(), depends }
    }
}

fn own(name: &'static str) -> Wait {
    Wait { own: Names::from([name]), depends: Names::new() }
}

/// The modules that a module imports from.
fn imports(wasm: &[u8]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for payload in Parser::new(0).parse_all(wasm) {
        match payload {
            Ok(Payload::ImportSection(section)) => {
                names.extend(section.into_imports().flatten().map(|import| import.module.to_owned()));
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    names
}
