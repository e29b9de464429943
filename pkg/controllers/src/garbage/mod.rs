// SPDX-License-Identifier: Apache-2.0
//! Garbage collection: objects go with their owners.
//! <https://kubernetes.io/docs/concepts/architecture/garbage-collection/>

pub mod graph;
mod reconcile;

pub use reconcile::Collector;
