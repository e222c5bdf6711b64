#!/usr/bin/env bash
# Licences, banned crates and sources, as deny.toml has them, by cargo-deny. `ci/deny.sh install` gets it first, where crates
# can be fetched: two minutes of processor time without optimisation. Without it crates/sphex-cli/tests/deny.rs has checked
# the same. Set ADVISORIES=1 for RustSec's data base too, which comes over the network.
set -euo pipefail
cd "$(dirname "$0")/.."
root=${CARGO_TARGET_DIR:-target}/tools
PATH=$PATH:$root/bin
if [ "${1-}" = install ]; then
  command -v cargo-deny >/dev/null || timeout 600 cargo install -q cargo-deny --version 0.20.2 --locked --debug --root "$root" \
    --target-dir "$root/build" && rm -rf "$root/build"
  exit
fi
if ! command -v cargo-deny >/dev/null; then
  echo "skipped: cargo-deny is not on this machine; tests/deny.rs has read deny.toml"
  exit
fi
cargo deny --log-level error check bans licenses sources ${ADVISORIES:+advisories}
