#!/usr/bin/env bash
# Compares the API with recorded answers of kube-apiserver 1.36: starts a bare server on an empty data dir
# and replays the recordings against it. Prints the score by area and in all.
#   scripts/api-score.sh [--release] [--min PERCENT] [REPLAY OPTION...]
# --min fails below that score; further options (--area, --name, --show, --json) go to the replay.
# Where the recordings are not beside the checkout, it says so and does nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

recordings="${KNARR_RECORDINGS:-../shared}"
if [ ! -e "$recordings/tools/replay.py" ] || [ ! -d "$recordings/corpus" ]; then
    echo "api score: left out, there are no recordings in $recordings"
    exit 0
fi

profile=dev
replay=()
while [ "$#" -gt 0 ]; do
    case "$1" in
        --release) profile=release ;;
        *) replay+=("$1") ;;
    esac
    shift
done

cargo build --quiet --locked --profile "$profile" -p knarr
folder="$profile"
[ "$profile" = dev ] && folder=debug
target="$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')"

data="$(mktemp -d)"
port="$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
"$target/$folder/knarr" server --data-dir "$data" --bind-address 127.0.0.1 --port "$port" \
    --disable-scheduler --disable-controllers 2>"$data.log" &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; rm -rf "$data" "$data.log"' EXIT

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

python3 "$recordings/tools/replay.py" "$recordings/corpus" --kubeconfig "$data/admin.kubeconfig" ${replay[@]+"${replay[@]}"}
