#!/usr/bin/env bash
# ThreadSanitizer over the hand-over of async calls between threads. About a minute and a half cold on two cores, a few
# seconds warm; a target directory of its own. Needs no nightly: the sanitizer's runtime is part of the stable toolchain,
# and RUSTC_BOOTSTRAP opens the flag. The standard library is not instrumented, which the flag about the ABI allows.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR="${SPHEX_TSAN_TARGET:-${CARGO_TARGET_DIR:-target}/tsan}"
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer --cfg sphex_tsan"
export TSAN_OPTIONS="halt_on_error=1 ${TSAN_OPTIONS:-}"
host=$(rustc -vV | sed -n 's/^host: //p')
cargo test --target "$host" -p sphex --no-default-features --test async_threads "$@"
