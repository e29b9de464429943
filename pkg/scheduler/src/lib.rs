// SPDX-License-Identifier: Apache-2.0
//! Which node a pod runs on.
//!
//! The decision is pure: [`filter`] says which nodes a pod can run on and why not on the others,
//! [`score`] which of them is best, [`schedule`] puts both together over a [`snapshot::Cluster`].
//! [`run`] keeps the snapshot, asks, binds, and tells people what did not work.

mod affinity;
mod filter;
pub mod metrics;
mod pod;
mod queue;
mod run;
mod schedule;
mod score;
mod snapshot;

pub use run::run;
