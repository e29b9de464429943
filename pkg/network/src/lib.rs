// SPDX-License-Identifier: Apache-2.0

//! Links, addresses, routes and the one nftables ruleset of a node.
//!
//! What to do is decided by pure functions (in [`node`], [`services::plan`], [`ipam::Allocations`]);
//! what does it is short: netlink through rtnetlink, and one `nft -f -` a transaction. Nothing is found
//! by a fixed global name: every link, route and table carries the node's id ([`NodeId`]), so several
//! nodes can share a machine, and [`cleanup::remove_all`] takes away exactly one node's things.

pub mod cleanup;
mod error;
pub mod ipam;
mod names;
mod netlink;
mod netns;
pub mod node;
pub mod pod;
pub mod services;
mod sysctl;

pub use error::Error;
pub use names::NodeId;
