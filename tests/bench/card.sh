#!/usr/bin/env bash
# Everything that a card is to be asked, in one go, within a time:
#
#     tests/bench/card.sh [OPTIONS] PREBUILT OUT MINUTES
#
# PREBUILT holds the program `fer-host` and the plugins' libraries, as target/release does after
#     cargo build --release --workspace
# on any machine with the same system; Rust is not needed here. The script stands in the repository that they were built from.
# PyTorch, timm and safetensors must be importable by --python. The card must be idle otherwise.
#
#     --engine cuda:N        which card (default cuda, the first)
#     --python PYTHON        the interpreter with PyTorch (default python3)
#     --conformance COMMAND  a test program to run on the card first, with its arguments
#     --data ROOT            FERPlus for the training curves; the built-in faces when absent
#
# Each part has a share of MINUTES and a log in OUT; one that fails or takes too long does not keep the others from being done.
# The last lines say how each ended, as OUT/summary.txt does; the exit code is 0 if all went well. Where OUT/compare.jsonl is
# there already, what it lacks is measured.
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)

usage() {
  sed -n '2,/^set /p' "${BASH_SOURCE[0]}" | sed '$d; s/^# \{0,1\}//' >&2
  echo "error: $1" >&2
  exit 2
}

engine=cuda python=python3 conformance='' data=''
while [[ ${1:-} == --* ]]; do
  [ $# -ge 2 ] || usage "$1 needs a value"
  case $1 in
    --engine) engine=$2 ;;
    --python) python=$2 ;;
    --conformance) conformance=$2 ;;
    --data) data=$2 ;;
    *) usage "there is no option $1" ;;
  esac
  shift 2
done
[ $# -eq 3 ] || usage "PREBUILT, OUT and MINUTES are needed, found $# of them"
host=$1/fer-host
minutes=$3
[ -x "$host" ] || usage "there is no program $host: PREBUILT is to hold fer-host and the plugins' libraries"
[[ $minutes =~ ^[1-9][0-9]*$ ]] || usage "MINUTES is $minutes: a whole number of 1 or more is needed"
mkdir -p "$2" || exit 2
out=$(cd "$2" && pwd)
host=$(cd "$(dirname "$host")" && pwd)/fer-host
# The program looks for NVIDIA's libraries in the active environment; PyTorch brings them into its own.
if [ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] && prefix=$("$python" -c 'import sys; print(sys.prefix)' 2>/dev/null); then
  export VIRTUAL_ENV=$prefix
fi
: >"$out/summary.txt"
failures=0

note() { printf '%-24s %s\n' "$1" "$2" | tee -a "$out/summary.txt"; }

# part NAME PERCENT COMMAND...: runs it with a log of its own. It may take its percent of all minutes, or three minutes where that
# is more, and never what is not left.
part() {
  local name=$1 limit=$((minutes * 60 * $2 / 100)) left=$((minutes * 60 - SECONDS)) began=$SECONDS code
  shift 2
  [ "$limit" -ge 180 ] || limit=180
  [ "$limit" -le "$left" ] || limit=$left
  if [ "$limit" -lt 10 ]; then
    note "$name" "left out: the time is up"
    failures=$((failures + 1))
    return
  fi
  echo "=== $name (at most $limit s, log in $out/$name.log)"
  timeout --kill-after=20 "$limit" "$@" >"$out/$name.log" 2>&1
  code=$?
  case $code in
    0) note "$name" "done in $((SECONDS - began)) s" ;;
    124 | 137) note "$name" "ended after $limit s, its share of the time" ;;
    *) note "$name" "FAILED with $code after $((SECONDS - began)) s: $(tail -n 1 "$out/$name.log")" ;;
  esac
  [ "$code" -eq 0 ] || failures=$((failures + 1))
}

part devices 1 "$host" devices
# shellcheck disable=SC2086 # a command with arguments
[ -z "$conformance" ] || part conformance 25 $conformance
# Before the comparison, which takes all the time that it is given: whether both sides train alike comes before how fast.
images=(--epochs 2 --faces 2048)
[ -z "$data" ] || images=(--epochs 1 --data "$data")
for precision in f32 tf32 bf16; do
  rm -rf "${out:?}/curve-$precision"
  part "curve-$precision" 8 "$python" "$here/curve.py" --host "$host" --engine "$engine" --precision "$precision" \
    --model swin_t --pipeline full --batch 64 "${images[@]}" --out "$out/curve-$precision"
done
for config in swin_vanilla swin_proposed; do
  part "profile-$config" 5 "$host" profile "$root/configs/table1/$config.ron" --engine "$engine" --precision bf16 \
    --batch 64 --data builtin --set model.backbone.pretrained=None
done
# It ends itself, half a minute before it would be ended, to write its table.
left=$((minutes * 60 - SECONDS - 30))
part compare 100 "$python" "$here/compare.py" --host "$host" --engine "$engine" --out "$out/compare.jsonl" --continue \
  --minutes "$((left > 0 ? left / 60 : 0)).$((left > 0 ? left % 60 * 10 / 60 : 0))"

echo
echo "=== summary ($out/summary.txt)"
cat "$out/summary.txt"
[ ! -s "$out/compare.jsonl" ] || "$python" "$here/compare.py" --table "$out/compare.jsonl"
[ "$failures" -eq 0 ]
