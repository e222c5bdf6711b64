//! A store is as `Send` as its data.
use std::rc::Rc;

use sphex::{Engine, Store};

fn sent<X: Send>(_: X) {}

fn main() {
    sent(Store::new(&Engine::default(), Rc::new(1)));
}
