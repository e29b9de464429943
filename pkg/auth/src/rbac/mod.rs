// SPDX-License-Identifier: Apache-2.0
//! Roles and bindings, indexed by whom they are for, and what follows from them for a request.
//!
//! The index follows the store commit by commit; a decision looks at the bindings of the user and of
//! each of their groups, and at no others.

mod cover;
#[cfg(test)]
mod default_access;
mod defaults;
mod index;
mod rule;

pub use cover::{lines, missing};
pub use defaults::{DefaultObject, Reconciled, default_rules, defaults, reconcile};
pub(crate) use index::RESOURCES;
pub use index::{Index, MissingRole, RoleRef};
pub use rule::Rule;
pub(crate) use rule::quoted;
