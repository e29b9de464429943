//! What each kind is: its fields, defaults, validation, patches, columns and published documents.
//!
//! Pure: no I/O, no locks held for longer than a lookup, no async. The write path works on
//! [`knarr_types::Object`] trees checked against [`field_table`] types, for built-in kinds and
//! custom resources alike.

pub mod field_table;
pub mod rules;
