//! A store is as `Send` as its data.
use std::rc::Rc;

use sphex::{Engine, Store};

fn main() {
    let store = Store::new(&Engine::default(), Rc::new(1));
    std::thread::spawn(move || drop(store));
}
