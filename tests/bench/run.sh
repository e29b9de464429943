#!/usr/bin/env bash
# Builds the release binary and measures it; docs/benchmarks.md has the results.
#   tests/bench/run.sh             all of them, about a quarter of an hour after the build
#   tests/bench/run.sh PART...     abuse, api, bind, node, runtime, store
# Wants root, and Debian's busybox-static, crun, runc, curl, dnsperf, nginx-light and wrk. The parts api and bind
# want the load generator's sources, KBENCH_SOURCES [default: ../shared/tools/kbench], and are left out without.
set -euo pipefail
cd "$(dirname "$0")/../.."
sources="${KBENCH_SOURCES:-../shared/tools/kbench}"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/knarr/target}"
arch="$(uname -m)-unknown-linux-gnu"
kbench="$CARGO_TARGET_DIR/kbench/release/kbench"

knarr="$(scripts/release.sh)"
ls -l "$knarr" | awk '{printf "binary: %.1f MiB\n", $5 / 1048576}'
if [ -d "$sources" ]; then
    copy="$(mktemp -d)"
    cp -r "$sources" "$copy/kbench"
    cargo build --quiet --release --manifest-path "$copy/kbench/Cargo.toml" --target-dir "$CARGO_TARGET_DIR/kbench"
    rm -rf "$copy"
else
    echo "api and bind are left out: no load generator at $sources"
fi

measure() {
    echo "== $1"
    case "$1" in
        abuse) tests/bench/abuse.py "$knarr" ;;
        api) [ ! -d "$sources" ] || tests/bench/api.sh "$knarr" "$kbench" ;;
        bind) [ ! -d "$sources" ] || tests/bench/bind.py "$knarr" "$kbench" ;;
        node)
            RUSTFLAGS="-C target-feature=+crt-static" cargo build --quiet --release --locked -p knarr-init --target "$arch"
            tests/bench/node.py "$knarr" "$CARGO_TARGET_DIR/$arch/release/knarr-init"
            ;;
        runtime) cargo run --quiet --release --locked -p knarr-runtime --example container_start ;;
        store) cargo run --quiet --release --locked -p knarr-store --example durable_write ;;
        *) echo "no such part: $1" >&2; return 2 ;;
    esac
}

[ "$#" -gt 0 ] || set -- abuse api bind node runtime store
for part in "$@"; do measure "$part"; done
