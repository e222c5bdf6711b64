//! An async host function's future may be polled by another thread.
use std::rc::Rc;

use sphex::{Caller, Engine, Linker};

async fn pause() {}

fn main() {
    let mut linker: Linker<()> = Linker::new(&Engine::default());
    let _ = linker.func_wrap_async("host", "wait", |_: Caller<'_, ()>, (n,): (i32,)| {
        Box::new(async move {
            let local = Rc::new(n);
            pause().await;
            *local
        })
    });
}
