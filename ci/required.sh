#!/usr/bin/env bash
# Prints what tests may not do without here: what setup.sh installs, and ../shared where it is.
list=gdb
[ -d ../shared/corpora ] && list=$list,shared
echo "$list"
