#!/usr/bin/env bash
# Fuzzes for a while: `fuzz/run.sh [SECONDS]` gives each target that many (60). With a nightly toolchain and cargo-fuzz the
# targets run under libfuzzer, else as seeded tests from a seed that is the time. A line a target goes to LOG.md.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-60}
status=0
commit=$(git rev-parse --short HEAD)

for target in compile encode clif differential; do
  output=$(mktemp)
  seed=$(date +%s)
  if cargo +nightly fuzz --version >/dev/null 2>&1; then
    how=libfuzzer
    command=(cargo +nightly fuzz run --features libfuzzer "$target" -- "-max_total_time=$seconds" -len_control=0 -max_len=4096)
  else
    how="seed ${seed}000"
    command=(env "SPHEX_SEED=${seed}000" SPHEX_CASES=1000000000 "SPHEX_SECONDS=$seconds" cargo test -q --test "$target" -- --nocapture)
  fi
  found=nothing
  if ! nice -n 10 "${command[@]}" >"$output" 2>&1; then
    found="see below"
    status=1
    grep -E -A4 '^seed|panicked|^error' "$output" || tail -20 "$output"
  fi
  cases=$(grep -oE '^[0-9]+ cases|Done [0-9]+ runs' "$output" | grep -oE '[0-9]+' | paste -sd+ | bc || true)
  echo "| $(date +%F) | $target | $commit | $how | $seconds | ${cases:-?} | $found |" | tee -a LOG.md
done
exit $status
