#!/usr/bin/env bash
# ThreadSanitizer over the hand-over of async calls between threads (crates/sphex/tests/async_threads.rs). About a minute
# on two cores when all is to be built, a few seconds after that; a target directory of its own. Needs no nightly: the
# sanitizer's runtime is part of the stable toolchain, and RUSTC_BOOTSTRAP opens the flag.
#
# The standard library comes without instrumentation (the flag about the ABI allows that). What is generic or inline in it
# is compiled with us and seen; the fence in the drop of an `Arc` is not understood, nor that a `OnceLock` is released by
# code in std: both are suppressed.
#
# The test is built as a program in a package made here, so that only what `sphex` itself needs is built, without a
# compiler and without what other tests need; versions are those of the lock file.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
CARGO_TARGET_DIR=$(realpath -m "${SPHEX_TSAN_TARGET:-${CARGO_TARGET_DIR:-target}/tsan}")
export CARGO_TARGET_DIR
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer --cfg sphex_tsan"
package=$CARGO_TARGET_DIR/package
mkdir -p "$package"
cp Cargo.lock "$package/Cargo.lock"
cat > "$package/Cargo.toml" << END
[package]
name = "sphex-tsan"
edition = "2024"

[workspace]

[dependencies]
sphex = { path = "$root/crates/sphex", default-features = false }

[[bin]]
name = "async_threads"
path = "$root/crates/sphex/tests/async_threads.rs"

[profile.dev]
opt-level = 1
debug = "line-tables-only"
END
printf 'race:%s\n' alloc/src/sync.rs std/src/sync/once_lock.rs > "$package/suppressions"
export TSAN_OPTIONS="halt_on_error=1 suppressions=$package/suppressions ${TSAN_OPTIONS:-}"
host=$(rustc -vV | sed -n 's/^host: //p')
cargo run --manifest-path "$package/Cargo.toml" --target "$host" "$@"
