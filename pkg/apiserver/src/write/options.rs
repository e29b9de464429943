// SPDX-License-Identifier: Apache-2.0
//! What a write's query says about how it is meant.

use knarr_schema::FieldValidation;
use knarr_types::{ErrorList, FieldError, FieldPath, Status};

use crate::query::Query;

/// How a write is meant.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Nothing is kept.
    pub dry_run: bool,
    /// Who owns the fields; may be empty.
    pub manager: String,
    /// What happens to unknown and duplicate fields.
    pub validation: FieldValidation,
    /// An apply takes fields over from others.
    pub force: bool,
}

impl WriteOptions {
    /// Reads the query of a write.
    ///
    /// # Errors
    /// 422 where a value makes no sense.
    pub fn of(query: &Query) -> Result<Self, Status> {
        let mut errors = ErrorList::new();
        let mut dry_run = false;
        for value in query.all("dryRun").filter(|v| !v.is_empty()) {
            if value == "All" {
                dry_run = true;
            } else {
                errors.push(FieldError::not_supported(&FieldPath::new("dryRun"), value, &["All"]));
            }
        }
        let manager = query.get("fieldManager").unwrap_or_default();
        if manager.len() > 128 {
            errors.push(FieldError::too_long(&FieldPath::new("fieldManager"), 128));
        }
        let validation = match query.filled("fieldValidation") {
            None | Some("Warn") => FieldValidation::Warn,
            Some("Ignore") => FieldValidation::Ignore,
            Some("Strict") => FieldValidation::Strict,
            Some(other) => {
                let path = FieldPath::new("fieldValidation");
                errors.push(FieldError::not_supported(&path, other, &["", "Ignore", "Strict", "Warn"]));
                FieldValidation::Warn
            }
        };
        if !errors.is_empty() {
            return Err(Status::invalid("meta.k8s.io", options_kind(query), "", &errors));
        }
        Ok(Self { dry_run, manager: manager.to_owned(), validation, force: query.is_true("force") })
    }
}

/// Upstream names the options after the verb; the query of a patch alone has `force`.
fn options_kind(query: &Query) -> &'static str {
    if query.get("force").is_some() { "PatchOptions" } else { "CreateOptions" }
}
