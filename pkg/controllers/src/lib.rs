// SPDX-License-Identifier: Apache-2.0
//! The loops that make the cluster what its objects ask for, a module a controller.
//!
//! Each controller decides in a pure `plan` over what [`views`] keep of the objects, and a thin shell
//! writes what was decided. A [`queue`] says which object is next; nothing here wakes up without a
//! change or a deadline.

pub mod cluster_role_aggregation;
mod controller;
pub mod deployment;
pub mod endpoints;
pub mod endpointslice;
pub mod garbage;
pub mod metrics;
pub mod namespace;
pub mod node_ipam;
pub mod node_lifecycle;
pub mod policy_status;
pub mod queue;
pub mod replicaset;
pub mod resource_quota;
pub mod resources;
mod run;
pub mod service_account;
pub mod service_account_tokens;
pub mod service_cidrs;
pub mod views;
pub mod volume_protection;
pub mod workload;

pub use run::{Config, run};
