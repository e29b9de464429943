#!/usr/bin/env bash
# Measures the API of a bare server and of a kube-apiserver that runs on the same machine by turns, so that the machine's
# own speed does not count. Prints both figures and their ratio, a line each turn.
#   tests/bench/beside.sh KNARR KBENCH KUBECONFIG [TURNS]     release binaries; an administrator of the other server
# With OTHER_PIDS, the processes of the other server, each is alone at its turn: what it left to do after a load (collecting
# garbage, compacting) would else be done while the other one is measured.
set -euo pipefail
knarr="$1"
kbench="$2"
other="$3"
turns="${4:-3}"
work="$(mktemp -d)"
port=26443
"$knarr" server --data-dir "$work/data" --bind-address 127.0.0.1 --port "$port" --disable-scheduler --disable-controllers 2>"$work/log" &
server=$!
# one_runs WHICH: ours or theirs; the other is held.
one_runs() {
    [ -n "${OTHER_PIDS:-}" ] || return 0
    # shellcheck disable=SC2086 # several
    if [ "$1" = ours ]; then kill -STOP $OTHER_PIDS && kill -CONT "$server"; else kill -STOP "$server" && kill -CONT $OTHER_PIDS; fi
}
end() {
    # shellcheck disable=SC2086 # several
    kill -CONT "$server" ${OTHER_PIDS:-} || true
    kill "$server" || true
    wait "$server" || true
    rm -rf "$work"
}
trap end EXIT
for _ in $(seq 200); do
    if curl -sk --max-time 1 "https://127.0.0.1:$port/readyz" >/dev/null 2>&1; then break; fi
    sleep 0.05
done
own="$work/data/admin.kubeconfig"

# beside FIELD WHAT...: that field of the load generator's answer, from both.
beside() {
    local field="$1" ours theirs
    shift
    one_runs theirs
    theirs="$("$kbench" "$other" "$@" 2>>"$work/log" | grep -oP "\"$field\":\K[0-9]+")"
    one_runs ours
    ours="$("$kbench" "$own" "$@" 2>>"$work/log" | grep -oP "\"$field\":\K[0-9]+")"
    awk -v what="$*" -v field="$field" -v ours="$ours" -v theirs="$theirs" \
        'BEGIN { ratio = field == "per_second" ? ours / theirs : theirs / ours; printf "%s: %s %d and %d, %.1fx\n", what, field, ours, theirs, ratio }'
}

"$kbench" "$other" fill 2000 >/dev/null
"$kbench" "$own" fill 2000 >/dev/null
for _ in $(seq "$turns"); do
    beside per_second create 5000 64
    beside p50_us one 500
    beside per_second get 20000 64
    beside per_second patch 5000 64
    beside p99_us watch 1000 200 50
done
