// SPDX-License-Identifier: Apache-2.0
//! The whole way through the product: servers, nodes, kubectl, a registry, real images.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod abuse;
mod account_tokens;
mod answers;
mod bad_images;
mod bad_input;
mod beside;
mod cgroup_v2;
mod charts;
mod confined;
mod controllers;
mod conversion;
mod ctl;
mod ctl_pods;
mod custom_resources;
mod describe;
mod fail_static;
mod full_disk;
mod ingress;
mod lines;
mod manifests;
mod mounts;
mod names;
mod node;
mod owners;
mod policies;
mod program;
mod protobuf;
mod pulls;
mod reach;
mod resize;
mod restarts;
mod rollouts;
mod served;
mod server;
mod service_addresses;
mod services;
mod up;
mod upstreams;
mod verbs;
mod webhooks;
mod websocket;
