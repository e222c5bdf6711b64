//! A guest with threads (`-S threads`): each has a store of its own, all share the context and the memory.

use std::time::Instant;

use sphex::{Engine, InstancePre, Linker, Module, Store};
use sphex_wasi::preview1::add_to_linker_shared;
use sphex_wasi::threads::{MODULE, SPAWN, WasiThreads};
use sphex_wasi::{SharedWasi, WasiCtx};

use super::{Guest, restrict};
use crate::advice;
use crate::options::{Options, Run};

/// Threads beside the first, if nothing else is said.
const MOST: usize = 1024;

/// What each of the guest's stores has.
pub struct Threaded {
    ctx: SharedWasi,
    threads: WasiThreads<Threaded>,
}

/// The store of the first thread.
pub fn store(engine: &Engine, ctx: WasiCtx, options: &Options) -> Store<Threaded> {
    let ctx = SharedWasi::new(ctx);
    let deadline = options.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let make = {
        let (engine, ctx, options) = (engine.clone(), ctx.clone(), options.clone());
        move |threads: &WasiThreads<Threaded>| {
            let threaded = Threaded { ctx: ctx.clone(), threads: threads.clone() };
            let mut store = Store::new(&engine, threaded);
            restrict(&mut store, &options, deadline)?;
            Ok(store)
        }
    };
    let threads = WasiThreads::new(options.max_threads.unwrap_or(MOST), make);
    Store::new(engine, Threaded { ctx, threads })
}

/// Does the module begin threads?
fn spawns(module: &Module) -> bool {
    module.imports().any(|import| import.module == MODULE && import.name == SPAWN)
}

impl Guest for Threaded {
    fn link(linker: &mut Linker<Self>, module: &Module) -> sphex::Result<()> {
        add_to_linker_shared(linker, module, |guest| &guest.ctx)?;
        WasiThreads::define_memories(linker, module)?;
        if spawns(module) && !linker.is_defined(MODULE, SPAWN) {
            WasiThreads::add_to_linker(linker, |guest: &Threaded| &guest.threads)?;
        }
        Ok(())
    }

    fn link_all(_: &mut Linker<Self>) -> sphex::Result<()> {
        Ok(())
    }

    fn prepare(&self, program: &InstancePre<Self>) -> sphex::Result<()> {
        if spawns(program.module()) { self.threads.set_program(program.clone()) } else { Ok(()) }
    }

    fn run<R>(
        store: &mut Store<Self>,
        program: impl FnOnce(&mut Store<Self>) -> sphex::Result<R>,
    ) -> sphex::Result<R> {
        let threads = store.data().threads.clone();
        threads.run(store, program)
    }

    fn hint(&self, run: &Run, trapped: bool) -> Option<String> {
        match self.threads.refused() {
            Some(why) => {
                Some(format!("the guest was refused a thread: {why}; -S max-threads=N sets the limit"))
            }
            None if trapped => None,
            None => advice::ending::hint(run, &self.ctx.lock()),
        }
    }
}
