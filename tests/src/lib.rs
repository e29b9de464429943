// SPDX-License-Identifier: Apache-2.0
//! Black-box tests: the real binary, real clients, hosts made of network namespaces.
//!
//! A test starts a [`cluster::Cluster`], or makes a [`hosts::Network`] with as many hosts as it needs
//! and starts [`knarr::Process`]es on them, and talks to it with [`kubectl::Kubectl`]. All of it ends
//! when the test does, also when it fails; what a killed run left behind is swept away by the next.

pub mod clients;
pub mod cluster;
pub mod hosts;
pub mod images;
pub mod knarr;
pub mod kubectl;
pub mod load;
pub mod machine;
pub mod resolver;
pub mod running;
pub mod terminal;
pub mod wait;
pub mod webhook;

/// The folder of this crate, as cargo names it when a test runs: what the compiler saw may be another
/// checkout that shared its target folder.
///
/// # Panics
/// When neither `cargo test` nor `cargo nextest` started the test.
#[must_use]
pub fn manifest_folder() -> std::path::PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo starts the tests").into()
}
