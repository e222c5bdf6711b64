#!/usr/bin/env bash
# Fuzzes for a while: `fuzz/run.sh [SECONDS [TARGET...]]` gives each target that many seconds (60) and adds a line a target
# to LOG.md, whose sums it renews. Inputs are found by libfuzzer, which needs a C++ compiler and no other toolchain than the
# tests: coverage comes from rustc's own pass. Where that cannot be built the targets run as seeded tests, from a seed that
# is the time. `fuzz/run.sh sums` only renews the sums, after lines from elsewhere.
#
#   CORPUS=DIR      where inputs are kept (fuzz/corpus, which git ignores); a run goes on where the last one ended
#   LOG=FILE        where the lines go (fuzz/LOG.md)
#   SANITIZE=address   also looks for bad accesses in our own unsafe code (with the compiler's unstable flag)
#   SEEDED=1        does without libfuzzer
#   BINARIES=DIR    what an earlier run built, to be used as it is
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-60}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(compile encode clif differential artifact wasi_paths api)
corpus=${CORPUS:-corpus}
log=${LOG:-LOG.md}
triple=$(rustc -vV | sed -n 's/^host: //p')
binaries=${BINARIES:-${CARGO_TARGET_DIR:-target}/$triple/fuzz}
commit=$(git rev-parse --short HEAD)
status=0

# Sums a target, between the two marks.
renew_sums() {
  sums=$(awk -F' *\\| *' '
    /^\| 20/ && NF >= 9 { cpu[$3] += $6; cases[$3] += $7; }
    END { for (t in cpu) printf "| %s | %d | %.2f | %d |\n", t, cpu[t], cpu[t] / 3600, cases[t] }' "$log" | sort)
  awk -v sums="$sums" '
    /<!-- sums: begin -->/ { print; print "| target | processor seconds | hours | inputs |"; print "|---|---|---|---|"; print sums; skip = 1 }
    /<!-- sums: end -->/ { skip = 0 }
    !skip { print }' "$log" > "$output" && cat "$output" > "$log"
}

if [ "$seconds" = sums ]; then
  output=$(mktemp)
  renew_sums
  exit
fi

build() {
  local flags="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
  flags+=" -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
  flags+=" -Cllvm-args=-sanitizer-coverage-trace-compares"
  if [ -n "${SANITIZE-}" ]; then
    export RUSTC_BOOTSTRAP=1
    flags+=" -Zsanitizer=$SANITIZE"
  fi
  RUSTFLAGS=$flags cargo build -q --profile fuzz --features libfuzzer --target "$triple" --bins
}

how=libfuzzer${SANITIZE:+, $SANITIZE}
output=$(mktemp)
if [ -n "${SEEDED-}" ] || { [ -z "${BINARIES-}" ] && ! build 2> "$output"; }; then
  [ -n "${SEEDED-}" ] || { echo "no libfuzzer, so seeded runs:"; tail -3 "$output"; }
  how=seeded
fi

# One target for the time: the output goes to $output, processor seconds to $cpu.
one() {
  local target=$1 command seed
  if [ "$how" = seeded ]; then
    seed=$(date +%s)000
    command=(env "SPHEX_SEED=$seed" SPHEX_CASES=1000000000 "SPHEX_SECONDS=$seconds" cargo test -q --test "$target" -- --nocapture)
  else
    mkdir -p "$corpus/$target" artifacts
    if [ -z "$(ls "$corpus/$target")" ]; then
      for i in 1 2 3 4 5 6 7 8; do head -c 3000 /dev/urandom > "$corpus/$target/random$i"; done
    fi
    command=("$binaries/$target" "$corpus/$target" "-max_total_time=$seconds" -max_len=4096 -len_control=0 -timeout=600
      -rss_limit_mb=4096 "-artifact_prefix=artifacts/$target-" -print_final_stats=1)
  fi
  local TIMEFORMAT="cpu %U %S"
  { time nice -n 19 "${command[@]}" > "$output" 2>&1; } 2> "$output.time"
}

for target in "${targets[@]}"; do
  found=nothing
  if ! one "$target"; then
    found="something, below"
    status=1
    grep -aE -A4 '^seed|panicked|^error|ERROR: libFuzzer|Test unit written' "$output" | head -40 || tail -20 "$output"
  fi
  cpu=$(awk '/^cpu/ { printf "%d", $2 + $3 }' "$output.time")
  cases=$(grep -aoE '^[0-9]+ cases|number_of_executed_units: +[0-9]+|^Done [0-9]+ runs' "$output" | grep -oE '[0-9]+' | sort -n | tail -1 || true)
  echo "| $(date +%F) | $target | $commit | $how | $cpu | ${cases:-?} | $found |" | tee -a "$log"
done

renew_sums
exit $status
