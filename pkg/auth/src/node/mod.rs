// SPDX-License-Identifier: Apache-2.0
//! What a node may do: its own objects, and what the pods bound to it use.

mod graph;
mod references;
mod verdict;

pub use graph::Target;
pub(crate) use graph::{Graph, RESOURCES};
pub use references::SOURCE_SECRETS;
pub use verdict::{Refusal, Verdict, decide};

/// The group of the nodes that run Knarr's agent: they serve traffic too, so they also read the secrets
/// that an Ingress names.
pub const SERVING_NODES: &str = "knarr:nodes";
