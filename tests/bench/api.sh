#!/usr/bin/env bash
# Measures the API of a bare server with the load generator that measured kube-apiserver: start, idle memory and
# processor time, create, get, patch, list, watch, memory. Prints one line a figure.
#   tests/bench/api.sh KNARR KBENCH     two release binaries: the product and the load generator
set -euo pipefail
knarr="$1"
kbench="$2"
work="$(mktemp -d)"
port=26443
start() {
    local begun
    begun="$(date +%s%N)"
    "$knarr" server --data-dir "$work/data" --bind-address 127.0.0.1 --port "$port" --disable-scheduler --disable-controllers 2>>"$work/log" &
    server=$!
    until curl -sk --max-time 1 "https://127.0.0.1:$port/readyz" >/dev/null 2>&1; do sleep 0.005; done
    echo "start to /readyz, $1: $(( ($(date +%s%N) - begun) / 1000000 )) ms"
}
stop() {
    kill "$server" 2>/dev/null || true
    wait "$server" || true
}
trap 'stop; rm -rf "$work"' EXIT

memory() { awk '/^Rss:/ {rss=$2} /^Pss:/ {pss=$2} /^Pss_Anon/ {anon=$2} END {printf "%.1f MiB resident, %.1f proportional, %.1f anonymous\n", rss/1024, pss/1024, anon/1024}' "/proc/$server/smaps_rollup"; }
ticks() { awk '{print $14 + $15}' "/proc/$server/stat"; }
run() { echo "$*: $("$kbench" "$work/data/admin.kubeconfig" "$@" 2>&1 | tr '\n' ' ')"; }

start "empty data dir"
sleep 3
echo "idle memory: $(memory)"
before="$(ticks)"
sleep 20
echo "idle processor time: $(( $(ticks) - before )) ticks of 1/$(getconf CLK_TCK) s in 20 s"
run fill 10000
echo "memory with 10,000 pods: $(memory)"
run get 30000 64
run patch 10000 64
run list 20 1
run list 40 4
echo "memory after lists: $(memory)"
run watch 100 100 50
run watch 1000 50 10
run watch 1000 200 50
run watch 1000 400 200
stop
start "10,000 pods"
echo "memory after the restart: $(memory)"
run create 10000 64
run one 500
