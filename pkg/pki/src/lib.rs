// SPDX-License-Identifier: Apache-2.0
//! Certificates, keys and tokens: what proves who somebody is.
//!
//! Everything secret is written with mode 0600 before its first byte is in it, and never printed.

mod any_server;
pub mod authority;
pub mod certificate;
mod error;
mod files;
pub mod join_token;
pub mod kubeconfig;
pub mod node_password;
pub mod service_account;

pub use any_server::AnyServer;
pub use authority::{Authority, Identity, self_signed};
pub use error::PkiError;
pub use files::{read_or_create, write_private, write_public};
pub use join_token::JoinToken;
