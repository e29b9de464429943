// SPDX-License-Identifier: Apache-2.0
//! The vocabulary of the cluster: kinds, keys, revisions, selectors, quantities and Status errors.
//!
//! Pure: no I/O, no locks, no async. Every other crate speaks in these types, so that no bare
//! string or integer with a rule of its own crosses a crate's edge.

mod architecture;
mod causes;
pub mod field_error;
pub mod go_duration;
mod key;
mod kind;
pub mod labels;
pub mod quantity;
mod revision;
pub mod selector;
mod status;
pub mod stream;
pub mod tree;

pub use architecture::architecture;
pub use causes::with_causes;
pub use field_error::{
    ErrorList, FieldError, FieldErrorType, FieldPath, Shown, go_float, go_json, go_quoted, is_printable,
};
pub use key::{Key, ResourceId};
pub use kind::{GroupVersion, GroupVersionKind, GroupVersionResource};
pub use quantity::Quantity;
pub use revision::Revision;
pub use selector::{FieldSelector, LabelSelector};
pub use status::{Cause, Reason, Status, StatusDetails};

/// An object as the write path sees it: a JSON tree with sorted keys.
pub type Object = tree::Value;
