// SPDX-License-Identifier: Apache-2.0
//! The HTTP API of the cluster: one pipeline for every request of every kind.
//!
//! [`pipeline`] takes a request through its stages: what it asks ([`request`]), who asks, whether they
//! may, and then one of [`read`], [`watch`] and [`write`], which know kinds only as data. Reads send
//! the bytes that the store holds; writes are re-run on the newest state until they are committed.

mod actions;
mod api_services;
mod app;
mod body;
mod bootstrap;
mod cluster_ips;
mod conversion;
mod crd;
mod credentials;
mod default_roles;
mod documents;
mod escalation;
mod health;
mod identity;
mod impersonation;
mod join;
mod legacy_tokens;
mod list_body;
mod list_options;
mod listener;
mod loopback;
mod metrics;
mod negotiate;
mod nonresource;
mod pipeline;
mod query;
mod read;
mod request;
mod request_body;
mod route;
mod selection;
mod serve_object;
pub mod server;
mod service_address;
mod streams;
mod subresources;
pub mod traces;
mod trees;
mod tunnel;
mod upkeep;
mod watch;
mod write;

pub use app::{App, PeerCertificate, Settings};
pub use body::Response;
