// SPDX-License-Identifier: Apache-2.0
//! Who is it, and may they: authenticators and authorizers over a snapshot.

mod authenticate;
mod authorize;
mod follow;
mod node;
pub mod rbac;
mod static_tokens;
mod user;

pub use authenticate::{Authenticator, INVALID_SINCE, Known, LAST_USED, Objects, Unauthenticated};
pub use authorize::{Attributes, Authorizer, Decision, Fields};
pub use node::{SERVING_NODES, SOURCE_SECRETS};
pub use static_tokens::{BadTokenFile, StaticTokens};
pub use user::{MASTERS, UserInfo};
