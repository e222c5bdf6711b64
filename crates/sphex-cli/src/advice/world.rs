//! Where imports come from: the toolchains and interfaces that are known by the names of what they import.

/// Whose imports they are.
struct World {
    /// Module names, or their beginnings where a `*` stands at the end.
    modules: &'static [&'static str],
    /// Names of imports, in the same way.
    names: &'static [&'static str],
    /// What to say.
    advice: &'static str,
}

const fn world(
    modules: &'static [&'static str],
    names: &'static [&'static str],
    advice: &'static str,
) -> World {
    World { modules, names, advice }
}

const ANY: &[&str] = &["*"];

/// The first that fits counts.
const WORLDS: &[World] = &[
    world(
        &["wasi_unstable"],
        ANY,
        "it belongs to WASI preview 0, which is not supported: build the program for wasm32-wasip1",
    ),
    world(&["wasi"], &["thread-spawn"], "it belongs to wasi-threads: -S threads gives the guest threads"),
    world(
        &["wasi:*", "[export]wasi:*", "cm32p2*"],
        ANY,
        "it belongs to a world of components (WASI 0.2 or later), which is not supported yet: build for wasm32-wasip1",
    ),
    world(
        &["wasi_ephemeral_nn", "wasi_nn", "wasi-nn"],
        ANY,
        "it belongs to wasi-nn (machine learning), which is not supported",
    ),
    world(
        &["wasi_ephemeral_*", "wasi_experimental_*"],
        ANY,
        "it belongs to a proposal for WASI, which is not supported",
    ),
    world(
        &["wasix*"],
        ANY,
        "it belongs to WASIX, which is not supported: build the program for wasm32-wasip1",
    ),
    world(
        &["wbg", "__wbindgen_placeholder__", "__wbindgen_externref_xform__", "./*_bg.js"],
        ANY,
        "wasm-bindgen made it for JavaScript: build for wasm32-wasip1, without wasm-bindgen",
    ),
    world(&["go", "gojs"], ANY, "Go made it for JavaScript: build with GOOS=wasip1 instead of GOOS=js"),
    world(&["spectest"], ANY, "it belongs to the official test suite: `sphex wast` provides it"),
    world(
        &["GOT.mem", "GOT.func"],
        ANY,
        "it is a library for dynamic linking (-shared): link it into a program instead",
    ),
    world(
        &["env"],
        &["__linear_memory", "__indirect_function_table", "__stack_pointer"],
        "it is an object file (.o): link it into a program first, as `clang --target=wasm32-wasip1` without -c does",
    ),
    world(
        &["env", "a", "wasi_snapshot_preview1"],
        &[
            "emscripten_*",
            "_emscripten_*",
            "__syscall_*",
            "invoke_*",
            "_abort_js",
            "_embind_*",
            "__asyncjs__*",
        ],
        "Emscripten made it for JavaScript: build with -sSTANDALONE_WASM, or with clang --target=wasm32-wasip1",
    ),
    world(
        &["env"],
        &["abort", "seed", "console.log", "trace"],
        "if AssemblyScript made it, build with @assemblyscript/wasi-shim; else give a module that exports it with \
         --preload env=FILE",
    ),
];

fn fits(patterns: &[&str], name: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.split_once('*') {
        Some((begin, end)) => {
            name.len() >= begin.len() + end.len() && name.starts_with(begin) && name.ends_with(end)
        }
        None => *pattern == name,
    })
}

/// What is known of an import.
pub fn of(module: &str, name: &str) -> Option<&'static str> {
    WORLDS
        .iter()
        .find(|world| fits(world.modules, module) && fits(world.names, name))
        .map(|world| world.advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        assert!(
            fits(&["a*"], "ab") && fits(&["a*"], "a") && fits(&["./*_bg.js"], "./x_bg.js") && fits(ANY, "")
        );
        assert!(!fits(&["a"], "ab") && !fits(&["./*_bg.js"], "./_bg.j") && !fits(&["aa*aa"], "aaa"));
    }

    #[test]
    fn every_world_is_reached() {
        for (position, world) in WORLDS.iter().enumerate() {
            let (module, name) = (world.modules[0].replace('*', "x"), world.names[0].replace('*', "x"));
            let first =
                WORLDS.iter().position(|other| fits(other.modules, &module) && fits(other.names, &name));
            assert_eq!(first, Some(position), "{module}::{name}");
        }
        assert_eq!((of("env", "memory"), of("mine", "f")), (None, None));
    }
}
