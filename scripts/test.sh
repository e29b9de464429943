#!/usr/bin/env bash
# Runs every check of the project on a Debian machine as root: format, lints, unit tests, black-box tests.
# Installs what the tests need and the machine lacks.
#   scripts/test.sh            everything
#   scripts/test.sh FILTER...  only the tests that `cargo nextest` finds by these filters
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/install.sh

# Dependencies stay built between runs, outside the checkout.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/knarr/target}"
# Files for incremental builds would only fill the disk: a run builds each crate once.
export CARGO_INCREMENTAL=0

install_build_packages
install_test_packages

if [ "$#" -eq 0 ]; then
    step "format" cargo fmt --all --check
    step "build" cargo build --workspace --all-targets --locked
    step "lints" cargo clippy --workspace --all-targets --locked -- -D warnings
    # A workspace of its own, with the versions of this one.
    cp Cargo.lock fuzz/
    step "fuzz targets" cargo check --manifest-path fuzz/Cargo.toml
    step "build the demo" build_static_init dev
    step "tests" cargo nextest run --workspace --locked --no-fail-fast
    # The floor only rises.
    step "recorded answers" env KNARR_BIN="$CARGO_TARGET_DIR/debug/knarr" \
        scripts/api-score.sh --show 0 --wait-scale 0.5 --min 99 --wrong-codes 0
else
    step "build" cargo build --workspace --locked
    step "build the demo" build_static_init dev
    step "tests" cargo nextest run --workspace --locked --no-fail-fast "$@"
fi
