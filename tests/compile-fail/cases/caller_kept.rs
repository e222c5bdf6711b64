//! A caller ends with its call.
use std::sync::Mutex;

use sphex::{Caller, Engine, Func, Store};

static KEPT: Mutex<Option<Caller<'static, ()>>> = Mutex::new(None);

fn main() {
    let mut store = Store::new(&Engine::default(), ());
    let _ = Func::wrap(&mut store, |caller: Caller<'_, ()>| {
        *KEPT.lock().unwrap() = Some(caller);
    });
}
