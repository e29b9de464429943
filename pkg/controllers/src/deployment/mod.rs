// SPDX-License-Identifier: Apache-2.0
//! Deployments: rollouts of a template from one ReplicaSet to the next.
//! <https://kubernetes.io/docs/concepts/workloads/controllers/deployment/>

pub mod plan;
mod reconcile;
pub mod status;
pub mod template;

pub use reconcile::Controller;
