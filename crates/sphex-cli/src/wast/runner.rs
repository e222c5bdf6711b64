//! One script: its modules and instances by name, and what each directive asserts.

use std::collections::HashMap;

use sphex::{
    Engine, Error, ErrorKind, Instance, Linker, Module, SharedMemory, Store, StoreLimits, Trap, Val,
};
use wast::token::Id;
use wast::{QuoteWat, WastDirective, WastExecute, WastInvoke, Wat};

use super::{compare, spectest};
use crate::progress::Progress;

/// A directive that did not hold, and why.
pub type Outcome<T = ()> = Result<T, String>;

/// What was to be made, or why it was not: so that what depends on it can say so.
type Maybe<T> = Result<T, String>;

/// The state of a script.
pub struct Runner {
    engine: Engine,
    store: Store<()>,
    linker: Linker<()>,
    /// The last instance, and those with names.
    last: Option<Maybe<Instance>>,
    instances: HashMap<String, Maybe<Instance>>,
    /// The last definition, and those with names.
    definition: Option<Maybe<Module>>,
    definitions: HashMap<String, Maybe<Module>>,
    /// Names that were to be registered for an instance that does not exist, and why not.
    unregistered: HashMap<String, String>,
    limits: StoreLimits,
    /// In a thread: the memories of its script's modules that it may use, by name of the module and of the export.
    shared: HashMap<String, Vec<(String, SharedMemory)>>,
}

impl Runner {
    /// A script that has seen nothing.
    pub fn new(engine: &Engine, limits: StoreLimits) -> Runner {
        let mut store = Store::new(engine, ());
        let mut linker = Linker::new(engine);
        linker.allow_shadowing(true);
        let mut unregistered = HashMap::new();
        if let Err(error) = spectest::define(&mut linker, &mut store) {
            unregistered.insert("spectest".to_owned(), error.to_string());
        }
        store.set_limits(limits.clone());
        Runner {
            limits,
            shared: HashMap::new(),
            engine: engine.clone(),
            store,
            linker,
            last: None,
            instances: HashMap::new(),
            definition: None,
            definitions: HashMap::new(),
            unregistered,
        }
    }

    /// A runner for a thread of the script, which may use the shared memories that a module of the script exports.
    pub fn for_thread(&mut self, shared: Option<Id<'_>>) -> Outcome<Runner> {
        let mut runner = Runner::new(&self.engine, self.limits.clone());
        if let Some(id) = shared {
            let exports = self.instance(Some(id))?.exports(&mut self.store).map_err(|e| e.to_string())?;
            let memories = exports.into_iter().filter_map(|(name, item)| {
                Some((name, item.into_memory()?.shared(&self.store).ok().flatten()?))
            });
            runner.shared.insert(id.name().to_owned(), memories.collect());
        }
        Ok(runner)
    }

    /// Runs one directive.
    pub fn directive(&mut self, directive: WastDirective<'_>) -> Outcome {
        match directive {
            WastDirective::Module(mut wat) => {
                let name = wat.name();
                let made = encode(&mut wat)
                    .and_then(|wasm| self.compile(&wasm))
                    .and_then(|module| self.instantiate(&module).map_err(|e| self.tell(&e)));
                self.remember(name, made)
            }
            WastDirective::ModuleDefinition(mut wat) => {
                let made = encode(&mut wat).and_then(|wasm| self.compile(&wasm));
                if let Some(name) = wat.name() {
                    self.definitions.insert(name.name().to_owned(), made.clone());
                }
                let outcome = made.clone().map(drop);
                self.definition = Some(made);
                outcome
            }
            WastDirective::ModuleInstance { instance, module, .. } => {
                let module = match module {
                    Some(id) => self.definitions.get(id.name()),
                    None => self.definition.as_ref(),
                };
                let made = match module.cloned() {
                    Some(Ok(module)) => self.instantiate(&module).map_err(|e| self.tell(&e)),
                    Some(Err(why)) => Err(depends("definition", &why)),
                    None => Err("no module definition of that name".to_owned()),
                };
                self.remember(instance, made)
            }
            WastDirective::Register { name, module, .. } => self.register(name, module),
            WastDirective::Invoke(invoke) => {
                self.invoke(&invoke)?.map(drop).map_err(|error| self.tell(&error))
            }
            WastDirective::AssertReturn { exec, results, .. } => match self.execute(exec)? {
                Ok(found) => compare::results(&found, &results),
                Err(error) => Err(self.tell(&error)),
            },
            WastDirective::AssertTrap { exec, message, .. } => {
                let result = self.execute(exec)?;
                self.expect_trap(result, |trap| compare::is_trap(trap, message), message)
            }
            WastDirective::AssertExhaustion { call, message, .. } => {
                let result = self.invoke(&call)?;
                self.expect_trap(result, |trap| trap == Trap::StackOverflow, message)
            }
            WastDirective::AssertInvalid { module, message, .. }
            | WastDirective::AssertMalformed { module, message, .. }
            | WastDirective::AssertInvalidCustom { module, message, .. }
            | WastDirective::AssertMalformedCustom { module, message, .. } => {
                self.expect_invalid(module, message)
            }
            WastDirective::AssertUnlinkable { module, message, .. } => {
                self.expect_unlinkable(module, message)
            }
            WastDirective::AssertException { .. } => {
                Err("not supported yet: the exception handling proposal".to_owned())
            }
            WastDirective::AssertSuspension { .. } => {
                Err("not supported yet: the stack switching proposal".to_owned())
            }
            // `threads` runs them.
            WastDirective::Thread(_) | WastDirective::Wait { .. } => Err("a thread out of place".to_owned()),
        }
    }

    fn compile(&self, wasm: &[u8]) -> Maybe<Module> {
        Module::new_watched(&self.engine, wasm, &Progress::new()).map_err(|error| self.tell(&error))
    }

    fn instantiate(&mut self, module: &Module) -> sphex::Result<Instance> {
        self.linker.instantiate(&mut self.store, module)
    }

    fn remember(&mut self, name: Option<Id<'_>>, made: Maybe<Instance>) -> Outcome {
        if let Some(name) = name {
            self.instances.insert(name.name().to_owned(), made.clone());
        }
        let outcome = made.clone().map(drop);
        self.last = Some(made);
        outcome
    }

    fn instance(&self, name: Option<Id<'_>>) -> Outcome<Instance> {
        let found = match name {
            Some(name) => self.instances.get(name.name()),
            None => self.last.as_ref(),
        };
        match found {
            Some(Ok(instance)) => Ok(*instance),
            Some(Err(why)) => Err(depends("module", why)),
            None => Err("no module of that name".to_owned()),
        }
    }

    fn register(&mut self, name: &str, module: Option<Id<'_>>) -> Outcome {
        if let Some(memories) = module.and_then(|id| self.shared.get(id.name())) {
            for (export, memory) in memories {
                self.linker.shared_memory(name, export, memory).map_err(|error| error.to_string())?;
            }
            return Ok(());
        }
        let instance = self.instance(module).inspect_err(|why| {
            self.unregistered.insert(name.to_owned(), why.clone());
        })?;
        self.unregistered.remove(name);
        let defined = self.linker.instance(&mut self.store, name, instance);
        defined.map(drop).map_err(|error| error.to_string())
    }

    fn execute(&mut self, exec: WastExecute<'_>) -> Outcome<sphex::Result<Vec<Val>>> {
        match exec {
            WastExecute::Invoke(invoke) => self.invoke(&invoke),
            WastExecute::Wat(wat) => {
                let wasm = encode(&mut QuoteWat::Wat(wat))?;
                let module = self.compile(&wasm)?;
                Ok(self.instantiate(&module).map(|_| Vec::new()))
            }
            WastExecute::Get { module, global, .. } => {
                let instance = self.instance(module)?;
                let found =
                    instance.get_global(&mut self.store, global).map_err(|error| error.to_string())?;
                Ok(found.get(&mut self.store).map(|value| vec![value]))
            }
        }
    }

    fn invoke(&mut self, invoke: &WastInvoke<'_>) -> Outcome<sphex::Result<Vec<Val>>> {
        let instance = self.instance(invoke.module)?;
        let func = instance.get_func(&mut self.store, invoke.name).map_err(|error| error.to_string())?;
        let arguments = invoke.args.iter().map(compare::argument).collect::<Result<Vec<_>, _>>()?;
        Ok(func.call_values(&mut self.store, &arguments))
    }

    fn expect_trap(
        &self,
        result: sphex::Result<Vec<Val>>,
        is: impl Fn(Trap) -> bool,
        message: &str,
    ) -> Outcome {
        match result {
            Err(error) if error.trap().is_some_and(is) => Ok(()),
            Err(error) => Err(format!("expected the trap `{message}`, found: {}", self.tell(&error))),
            Ok(found) => {
                Err(format!("expected the trap `{message}`, found results: {}", compare::show_all(&found)))
            }
        }
    }

    fn expect_invalid(&self, mut wat: QuoteWat<'_>, message: &str) -> Outcome {
        refuse_component(&wat)?;
        // The text may be wrong already.
        let Ok(wasm) = wat.encode() else { return Ok(()) };
        match Module::new(&self.engine, &wasm) {
            Err(error) if error.kind() == ErrorKind::Invalid => Ok(()),
            // What is missing is found before the rest is validated.
            Err(error) if error.kind() == ErrorKind::Unsupported => match self.engine.validate(&wasm) {
                Err(_) => Ok(()),
                Ok(()) => {
                    Err(format!("expected an invalid module (`{message}`), found a valid one: {error}"))
                }
            },
            Err(error) => Err(format!("expected an invalid module (`{message}`), found: {error}")),
            Ok(_) => Err(format!("expected an invalid module (`{message}`), found a valid one")),
        }
    }

    fn expect_unlinkable(&mut self, wat: Wat<'_>, message: &str) -> Outcome {
        let wasm = encode(&mut QuoteWat::Wat(wat))?;
        let module = self.compile(&wasm)?;
        match self.instantiate(&module) {
            Err(error)
                if error.kind() == ErrorKind::Link && compare::is_link_error(error.message(), message) =>
            {
                Ok(())
            }
            Err(error) => {
                Err(format!("expected an unlinkable module (`{message}`), found: {}", self.tell(&error)))
            }
            Ok(_) => Err(format!("expected an unlinkable module (`{message}`), found one that links")),
        }
    }

    /// An error, with the reason if what it misses is something that could not be made before.
    fn tell(&self, error: &Error) -> String {
        let mut text = error.to_string();
        if error.kind() == ErrorKind::Link {
            for (name, why) in &self.unregistered {
                if text.contains(&format!("`{name}::")) || text.contains(&format!("`{name}`")) {
                    text = format!("{text}: {}", depends(name, why));
                    break;
                }
            }
        }
        text
    }
}

fn depends(what: &str, why: &str) -> String {
    if why.starts_with("needs a ") {
        why.to_owned()
    } else {
        format!("needs a {what} that was not made: {why}")
    }
}

fn refuse_component(wat: &QuoteWat<'_>) -> Outcome {
    match wat {
        QuoteWat::Wat(Wat::Component(_)) | QuoteWat::QuoteComponent(..) => {
            Err("not supported yet: the component model".to_owned())
        }
        _ => Ok(()),
    }
}

fn encode(wat: &mut QuoteWat<'_>) -> Outcome<Vec<u8>> {
    refuse_component(wat)?;
    wat.encode().map_err(|error| format!("cannot encode the module: {}", error.message()))
}
