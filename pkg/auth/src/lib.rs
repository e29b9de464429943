// SPDX-License-Identifier: Apache-2.0
//! Who is it, and may they: authenticators and authorizers over a snapshot.

pub mod authenticate;
pub mod authorize;
mod user;

pub use authenticate::{Authenticator, Objects, Unauthenticated};
pub use authorize::{Attributes, Authorizer, Decision};
pub use user::UserInfo;
