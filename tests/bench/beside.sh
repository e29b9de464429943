#!/usr/bin/env bash
# Measures the API of a bare server and of a kube-apiserver that runs on the same machine by turns, so that the machine's
# own speed does not count. Prints both figures and their ratio, a line each turn.
#   tests/bench/beside.sh KNARR KBENCH KUBECONFIG [TURNS]     release binaries; an administrator of the other server
set -euo pipefail
knarr="$1"
kbench="$2"
other="$3"
turns="${4:-3}"
work="$(mktemp -d)"
port=26443
"$knarr" server --data-dir "$work/data" --bind-address 127.0.0.1 --port "$port" --disable-scheduler --disable-controllers 2>"$work/log" &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" || true; rm -rf "$work"' EXIT
for _ in $(seq 200); do
    if curl -sk --max-time 1 "https://127.0.0.1:$port/readyz" >/dev/null 2>&1; then break; fi
    sleep 0.05
done
own="$work/data/admin.kubeconfig"

# beside FIELD WHAT...: that field of the load generator's answer, from both.
beside() {
    local field="$1" ours theirs
    shift
    theirs="$("$kbench" "$other" "$@" 2>>"$work/log" | grep -oP "\"$field\":\K[0-9]+")"
    ours="$("$kbench" "$own" "$@" 2>>"$work/log" | grep -oP "\"$field\":\K[0-9]+")"
    awk -v what="$*" -v field="$field" -v ours="$ours" -v theirs="$theirs" \
        'BEGIN { ratio = field == "per_second" ? ours / theirs : theirs / ours; printf "%s: %s %d and %d, %.1fx\n", what, field, ours, theirs, ratio }'
}

for kubeconfig in "$other" "$own"; do "$kbench" "$kubeconfig" fill 2000 >/dev/null; done
for _ in $(seq "$turns"); do
    beside per_second create 5000 64
    beside p50_us one 500
    beside per_second get 20000 64
    beside per_second patch 5000 64
    beside p99_us watch 1000 200 50
done
