#!/usr/bin/env bash
# Runs the tests of the CPU kernels and of the CPU engine under valgrind:
#
#   tests/valgrind/check.sh                    both of these
#   tests/valgrind/check.sh memcheck [TEST]    looks for accesses that are out of place or not initialized; any is a failure
#   tests/valgrind/check.sh helgrind [TEST]    looks for races where numbers of threads are compared; a person must judge what it lists
#
# TEST is a part of a test's name. Full reports are left in target/valgrind. Linux. It is no
# part of `.ci/run`: on two cores it takes far more than half an hour.
#
# memcheck: the processor that valgrind shows has no AVX-512, so what runs is portable or for AVX2. The engine's buffers lie in one
# arena, of which memcheck knows the ends and not the borders within; the kernels' own tests have a vector for each operand.
#
# helgrind: rayon orders what tasks do by atomics and futexes, which helgrind does not follow. rayon.supp hides reports about rayon's
# own memory. What is left is mostly what was handed to a task, or taken back from it, in an order that rayon does give. A race would
# be two tasks of one loop at one place, so look whether both stacks of a report come from one `for_each`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if ! command -v valgrind >/dev/null; then
  echo "valgrind is not installed" >&2
  exit 1
fi

logs=$(realpath -m "${CARGO_TARGET_DIR:-target}")/valgrind
triple=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
status=0

# `under TOOL OPTIONS -- ARGUMENTS...`: `cargo test ARGUMENTS`, each test binary under valgrind.
under() {
  local tool=$1 options=$2
  shift 3
  env "CARGO_TARGET_${triple}_RUNNER=valgrind --tool=$tool --log-file=$logs/$tool.%p --num-callers=20 $options" \
    cargo test --locked "$@" -- --test-threads=1 ${part:+"$part"} 2>&1 | tee -a "$logs/$tool.tests"
}

# What ran, and how much was found.
summary() {
  awk '/^test result:/ { passed += $4; failed += $6 } END { printf "%d tests passed, %d failed", passed, failed }' "$logs/$1.tests"
  awk '/ERROR SUMMARY:/ { errors += $4; places += $7 } END { printf "; %d errors in %d places\n", errors, places }' "$logs/$1".[0-9]*
}

memcheck() {
  local options="--error-exitcode=9 --leak-check=no"
  under memcheck "$options" -- -p fer-cpu-kernels --lib || status=1
  under memcheck "$options" -- -p fer-engine-cpu --tests --no-fail-fast || status=1
  grep -h -A 8 -E '(Invalid|uninitialised|overlap|unaddressable|Jump to)' "$logs"/memcheck.[0-9]* || true
  echo "memcheck, portable and AVX2: $(summary memcheck)"
}

helgrind() {
  local part=${part:-threads_} options="--suppressions=$PWD/tests/valgrind/rayon.supp --error-limit=no"
  export RAYON_NUM_THREADS=2
  under helgrind "$options" -- -p fer-cpu-kernels --lib || status=1
  under helgrind "$options" -- -p fer-engine-cpu --test threads || status=1
  # Where reported accesses are, and what they conflict with.
  awk '
    function flush() { if (access) found[access " with " (other ? other : "what was forgotten")]++; access = other = ""; take = 0 }
    / Possible data race during/ { flush(); kind = $6; take = 1; next }
    / This conflicts with a previous/ { kind = $7; take = 2; next }
    /-{40}/ { flush() }
    take && / (at|by) 0x/ && match($0, /\([^()]*\)$/) {
      place = kind " at " substr($0, RSTART + 1, RLENGTH - 2)
      if (take == 1) access = place; else other = place
      take = 0
    }
    END { flush(); for (pair in found) print found[pair], pair }' "$logs"/helgrind.[0-9]* | sort -rn
  echo "helgrind: $(summary helgrind)"
}

part=${2:-}
case ${1:-both} in
  both) tools=(memcheck helgrind) ;;
  memcheck | helgrind) tools=("$1") ;;
  *)
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
mkdir -p "$logs"
for tool in "${tools[@]}"; do
  rm -f "$logs/$tool".*
  "$tool"
done
exit "$status"
