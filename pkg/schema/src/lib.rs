// SPDX-License-Identifier: Apache-2.0
//! What each kind is: its fields, defaults, validation, patches, columns and published documents.
//!
//! Pure: no I/O, no locks held for longer than a lookup, no async. The write path works on
//! [`knarr_types::Object`] trees checked against [`field_table`] types, for built-in kinds and
//! custom resources alike.

pub mod apply;
pub mod builtin_types;
pub mod cel;
pub mod convert;
pub mod crd;
pub mod decode;
pub mod discovery;
pub mod empties;
pub mod encode;
mod field_set;
pub mod field_table;
mod go_regex;
pub mod kinds;
pub mod managed_fields;
pub mod normalize;
pub mod openapi;
pub mod patch;
pub mod protobuf;
mod recent;
pub mod rules;
mod strategy;
pub mod table;
pub mod typed;

pub use decode::{DecodeError, Decoded, FieldValidation, MediaType, decode, decode_as, decode_templated};
pub use encode::{Encoded, encode};
pub use kinds::{Kind, Registry, Subresource};
pub use normalize::{normalize, normalize_sent};
