// SPDX-License-Identifier: Apache-2.0
//! The node: it joins, runs its pods, and reports.
//!
//! The agent decides (with the pure state machine in [`pod`]) and others hold what lives:
//! containers belong to their shims, traffic to the kernel and to the edge process. So killing the
//! agent stops nothing, and a new one adopts what it finds in the data dir.

mod actions;
mod config;
mod container;
mod context;
mod dns;
mod down;
mod env;
mod error;
mod events;
mod eviction;
mod fields;
mod grpc;
mod hooks;
mod images;
mod join;
mod layout;
mod logs;
mod machine;
mod network;
mod node;
mod objects;
mod pod;
mod pods;
mod pressure;
mod probes;
mod refresh;
mod resources;
mod run;
mod security;
mod serve;
mod server;
mod tunnel;
mod volumes;
mod worker;
mod writer;

pub use config::AgentConfig;
pub use down::{Report, down};
pub use error::AgentError;
pub use node::parse_taint;
pub use run::run;
