// SPDX-License-Identifier: Apache-2.0
//! The HTTP API of the cluster: one pipeline for every request of every kind.
//!
//! [`pipeline`] takes a request through its stages: what it asks ([`request`]), who asks, whether they
//! may, and then one of [`read`], [`watch`] and [`write`], which know kinds only as data. Reads send
//! the bytes that the store holds; writes are re-run on the newest state until they are committed.

mod actions;
mod api_services;
pub mod app;
pub mod body;
pub mod bootstrap;
pub mod cluster_ips;
pub mod conversion;
pub mod crd;
pub mod credentials;
pub mod default_roles;
pub mod documents;
pub mod escalation;
pub mod health;
pub mod identity;
pub mod impersonation;
pub mod join;
pub mod legacy_tokens;
pub mod list_body;
pub mod list_options;
pub mod listener;
mod loopback;
pub mod metrics;
pub mod negotiate;
pub mod nonresource;
pub mod pipeline;
pub mod query;
pub mod read;
pub mod request;
pub mod request_body;
pub mod route;
pub mod selection;
pub mod serve_object;
pub mod server;
mod service_address;
pub mod streams;
pub mod subresources;
pub mod traces;
pub mod trees;
pub mod tunnel;
mod upkeep;
pub mod watch;
pub mod write;

pub use app::{App, PeerCertificate, Settings};
pub use body::Response;
