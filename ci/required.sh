#!/usr/bin/env bash
# Prints what tests may not do without here: what setup.sh installs, ../shared where it is, and `toolchains` where
# toolchains.sh has made every program that the tests run, and `npm` where it got the modules that are only compiled.
set -euo pipefail
list=gdb
[ -d ../shared/corpora ] && list=$list,shared
programs=${PREFIX:-/opt/sphex-programs}/programs
made=yes
for name in rust_files rust_threads cpp_streams goroutines cc1 cc1plus; do
  [ -e "$programs/$name.wasm" ] || made=no
done
[ $made = yes ] && list=$list,toolchains
[ -e "$programs/esbuild.wasm" ] && [ -e "$programs/ruby.wasm" ] && list=$list,npm
echo "$list"
