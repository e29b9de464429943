#!/usr/bin/env bash
# Builds the binary that is given to others, and prints where it lies. It is optimized as one piece, which one core does in a
# quarter of an hour: 8 % quicker and 3 MiB smaller than what `cargo build --release` makes.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/knarr/target}"
cargo rustc --quiet --release --locked -p knarr --bin knarr -- -C lto=fat -C codegen-units=1
echo "$CARGO_TARGET_DIR/release/knarr"
