// SPDX-License-Identifier: Apache-2.0
//! The whole way through the product: servers, nodes, kubectl, a registry, real images.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod abuse;
mod account_tokens;
mod bad_images;
mod bad_input;
mod beside;
mod charts;
mod conversion;
mod ctl;
mod custom_resources;
mod describe;
mod fail_static;
mod manifests;
mod names;
mod policies;
mod program;
mod server;
mod service_addresses;
mod up;
mod verbs;
mod webhooks;
