// SPDX-License-Identifier: Apache-2.0
//! The whole way through the product: servers, nodes, kubectl, a registry, real images.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod bad_input;
mod fail_static;
mod manifests;
mod program;
mod server;
mod up;
mod verbs;
mod webhooks;
