#!/usr/bin/env bash
# Prints test counts a group (a test binary) and fails where a group ran fewer than ci/minimum.txt says. A third word in a
# line limits it to runs whose SPHEX_REQUIRE has that word.
# Usage: minimum.sh LOG (of `cargo test --workspace`)
set -euo pipefail
awk '
  /^ +Running / { n = $0; sub(/^ +Running (unittests )?/, "", n); sub(/ \(.*/, "", n); bin = $0; sub(/.*\/deps\//, "", bin); sub(/-[0-9a-f]+\)$/, "", bin); group = bin ":" n }
  /^ +Doc-tests / { group = "doc:" $2 }
  /^test result: / { for (i = 1; i <= NF; i++) if ($i == "passed;") passed[group] += $(i - 1) }
  END { for (g in passed) print g, passed[g] }
' "$1" | sort > "$1.counts"
cat "$1.counts"
status=0
while read -r group least needs; do
  case $group in ''|'#'*) continue ;; esac
  case ",${SPHEX_REQUIRE-}," in *",${needs:-},"*) ;; *) [ -z "$needs" ] || continue ;; esac
  got=$(awk -v g="$group" '$1 == g { print $2 }' "$1.counts")
  if [ "${got:-0}" -lt "$least" ]; then
    echo "group $group ran ${got:-0} tests, expected at least $least (ci/minimum.txt)" >&2
    status=1
  fi
done < ci/minimum.txt
exit $status
