// SPDX-License-Identifier: Apache-2.0

//! DNS and ingress of a node, answered from the last snapshot.
//!
//! A process of its own that needs neither the agent nor the server: the agent writes [`snapshot::Snapshot`]
//! to a file, edge answers from it. The listening sockets belong to both ([`listeners`]): the agent binds
//! them and keeps a copy, so that connections wait instead of being refused while edge restarts, and edge
//! gives them back to the next agent. What is answered is decided by pure functions ([`dns::answer`],
//! [`ingress::route`]); the rest moves bytes.

pub mod dns;
mod error;
mod ingress;
pub mod listeners;
mod readiness;
pub mod run;
mod serve;
pub mod snapshot;
pub mod supervise;
mod watch;

pub use error::Error;
pub use run::{EdgeConfig, run};
pub use snapshot::Snapshot;
