#!/usr/bin/env bash
# Compares the API with recorded answers of kube-apiserver 1.36: starts a bare server on an empty data dir
# and replays the recordings against it. Prints the score by area and in all.
#   scripts/api-score.sh [--release] [--min PERCENT] [--wrong-codes MOST] [REPLAY OPTION...]
# --min fails below that score, --wrong-codes where more status codes are wrong; further options (--area, --name,
# --show, --wait-scale) go to the replay. KNARR_BIN names a binary that is built already.
# Where the recordings are not beside the checkout, it says so and does nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

recordings="${KNARR_RECORDINGS:-../shared}"
if [ ! -e "$recordings/tools/replay.py" ] || [ ! -d "$recordings/corpus" ]; then
    echo "api score: left out, there are no recordings in $recordings"
    exit 0
fi

profile=dev
most=
replay=()
while [ "$#" -gt 0 ]; do
    case "$1" in
        --release) profile=release ;;
        --wrong-codes) most="$2"; shift ;;
        *) replay+=("$1") ;;
    esac
    shift
done

knarr="${KNARR_BIN:-}"
if [ -z "$knarr" ]; then
    cargo build --quiet --locked --profile "$profile" -p knarr
    target="$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')"
    knarr="$target/${profile/dev/debug}/knarr"
fi

data="$(mktemp -d)"
port="$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
"$knarr" server --data-dir "$data" --bind-address 127.0.0.1 --port "$port" \
    --disable-scheduler --disable-controllers 2>"$data.log" &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; rm -rf "$data" "$data.log" "$data.json"' EXIT

ready() {
    python3 - "$port" "$data/tls/ca.crt" <<'PYTHON' 2>/dev/null
import ssl, sys, urllib.request
context = ssl.create_default_context(cafile=sys.argv[2])
urllib.request.urlopen(f"https://127.0.0.1:{sys.argv[1]}/readyz", context=context, timeout=2)
PYTHON
}
for _ in $(seq 100); do
    if ready; then break; fi
    kill -0 "$server" 2>/dev/null || { cat "$data.log" >&2; exit 1; }
    sleep 0.1
done
ready || { echo "the server is not ready after 10 s:" >&2; cat "$data.log" >&2; exit 1; }

failed=0
python3 "$recordings/tools/replay.py" "$recordings/corpus" --kubeconfig "$data/admin.kubeconfig" \
    --json "$data.json" ${replay[@]+"${replay[@]}"} || failed=1
python3 - "$data.json" "$most" <<'PYTHON' || failed=1
import json, sys
checks = json.load(open(sys.argv[1]))
wrong = [check for check in checks if check["check"] == "code" and not check["ok"]]
for check in wrong:
    print(f"wrong status code: {check['area']}/{check['name']} step {check['step']}: {check['do']}: {check['why'][:120]}")
print(f"{len(wrong)} wrong status codes")
sys.exit(sys.argv[2] != "" and len(wrong) > int(sys.argv[2]))
PYTHON
exit "$failed"
