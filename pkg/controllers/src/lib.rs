// SPDX-License-Identifier: Apache-2.0
//! The loops that make the cluster what its objects ask for, a module a controller.
//!
//! Each controller decides in a pure `plan` over what [`views`] keep of the objects, and a thin shell
//! writes what was decided. A [`queue`] says which object is next; nothing here wakes up without a
//! change or a deadline.

mod cluster_role_aggregation;
mod controller;
mod deployment;
mod endpoints;
mod endpointslice;
mod garbage;
pub mod metrics;
mod namespace;
mod node_ipam;
mod node_lifecycle;
mod policy_status;
mod queue;
mod replicaset;
mod resource_quota;
mod resources;
mod run;
mod service_account;
mod service_account_tokens;
mod service_cidrs;
mod triggers;
mod views;
mod volume_protection;
mod workload;

pub use run::{Config, run};
