// SPDX-License-Identifier: Apache-2.0
//! One way to reach the API, in process or over the network, with caches that keep projections.
//!
//! [`Client`] is kube-rs's: whoever knows that, knows this. What differs is only how it gets there:
//! [`connect::in_process`] hands requests to the server's own service, with the caller's identity
//! beside them; the others dial. [`cache::Cache`] follows a collection and keeps what its owner
//! projects from each object, never the objects. [`events::Recorder`] tells people what happened.

pub mod cache;
pub mod connect;
pub mod decoders;
pub mod events;
mod readable;

pub use kube::{self, Client};
