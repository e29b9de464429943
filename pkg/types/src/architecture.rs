// SPDX-License-Identifier: Apache-2.0
//! The processor, by Go's name.

/// The processor that this was built for as image indexes, node labels and `/version` name it: by Go's `GOARCH`.
#[must_use]
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}
