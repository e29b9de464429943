#!/usr/bin/env bash
# Measures the API of a bare release server with the load generator that measured kube-apiserver:
# start, idle memory and CPU, create, get, patch, list, watch. Prints one line a figure.
#   tests/bench/api.sh [KBENCH]   KBENCH: the load generator's sources [default: ../shared/tools/kbench]
set -euo pipefail
cd "$(dirname "$0")/../.."
kbench_sources="${1:-../shared/tools/kbench}"
[ -d "$kbench_sources" ] || { echo "left out: no load generator at $kbench_sources"; exit 0; }
target="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/knarr/target}"
cargo build --quiet --release --locked -p knarr --target-dir "$target"
work="$(mktemp -d)"
trap 'kill "$server" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
cp -r "$kbench_sources" "$work/kbench"
cargo build --quiet --release --manifest-path "$work/kbench/Cargo.toml" --target-dir "$target/kbench"
kbench="$target/kbench/release/kbench"
knarr="$target/release/knarr"

port=26443
start_ns="$(date +%s%N)"
"$knarr" server --data-dir "$work/data" --bind-address 127.0.0.1 --port "$port" --disable-scheduler --disable-controllers 2>"$work/log" &
server=$!
until curl -sk --max-time 1 "https://127.0.0.1:$port/readyz" >/dev/null 2>&1; do sleep 0.01; done
echo "start to /readyz: $(( ($(date +%s%N) - start_ns) / 1000000 )) ms"

memory() { awk '/^Pss:/ {pss=$2} /^Pss_Anon/ {anon=$2} END {printf "%.1f MiB (anonymous %.1f)", pss/1024, anon/1024}' "/proc/$server/smaps_rollup"; }
ticks() { awk '{print $14 + $15}' "/proc/$server/stat"; }
sleep 2
before="$(ticks)"
sleep 20
echo "idle memory: $(memory)"
echo "idle CPU: $(( ($(ticks) - before) * 100 / 20 / $(getconf CLK_TCK) )) % of a core over 20 s ($(( $(ticks) - before )) ticks)"
ls -l "$knarr" | awk '{printf "binary: %.1f MiB\n", $5 / 1048576}'

run() { echo "$*: $("$kbench" "$work/data/admin.kubeconfig" "$@" | tr '\n' ' ')"; }
run fill 10000
echo "memory with 10,000 pods: $(memory)"
run get 30000 64
run patch 10000 64
run list 20 1
echo "memory after lists: $(memory)"
run watch 100 100 50
run watch 1000 50 10
run watch 1000 200 50
run create 10000 64
run one 500
