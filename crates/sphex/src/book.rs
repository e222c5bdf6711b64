//! The pages of the API book (`docs/book`), so that `cargo test --doc` compiles and runs their snippets.

macro_rules! pages {
    ($($name:ident $file:literal)+) => {
        $(
            #[doc = include_str!(concat!("../../../docs/book/", $file))]
            struct $name;
        )+
    };
}

/// The README, whose snippet is the first that one reads.
#[doc = include_str!("../../../README.md")]
struct Readme;

pages! {
    Engine "engine.md"
    Modules "modules.md"
    Stores "stores.md"
    Functions "functions.md"
    Memory "memory.md"
    References "references.md"
    Errors "errors.md"
    Limits "limits.md"
    Async "async.md"
    Pooling "pooling.md"
    Caching "caching.md"
    Clif "clif.md"
}
