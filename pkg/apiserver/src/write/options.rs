// SPDX-License-Identifier: Apache-2.0
//! What a write's query says about how it is meant.

use knarr_schema::FieldValidation;
use knarr_types::tree::Value;
use knarr_types::{ErrorList, FieldError, FieldPath, Status, is_printable};

use super::delete_options::dry_run_error;
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
    /// Reads the query of a write; `is_apply` where it is a server-side apply.
    ///
    /// # Errors
    /// 422 with all that makes no sense, in upstream's order.
    pub fn of(query: &Query, verb: &str, is_apply: bool) -> Result<Self, Status> {
        let mut errors = ErrorList::new();
        let manager = query.get("fieldManager").unwrap_or_default();
        // A delete has options of its own.
        if matches!(verb, "delete" | "deletecollection") {
            return Ok(Self { manager: manager.to_owned(), ..Self::default() });
        }
        if is_apply && manager.is_empty() {
            errors.push(FieldError::required(&FieldPath::new("fieldManager"), "is required for apply patch"));
        }
        if verb == "patch" && !is_apply && query.get("force").is_some() {
            errors.push(FieldError::forbidden(&FieldPath::new("force"), "may not be specified for non-apply patch"));
        }
        if manager.len() > 128 {
            errors.push(FieldError::too_long(&FieldPath::new("fieldManager"), 128));
        }
        for (at, c) in manager.char_indices().filter(|(_, c)| !is_printable(*c)) {
            let why = format!("invalid character U+{:04X} (at position {at})", u32::from(c));
            errors.push(FieldError::invalid(&FieldPath::new("fieldManager"), manager, why));
        }
        let dry: Vec<Value> = query.all("dryRun").map(Value::from).collect();
        errors.extend(dry_run_error(&dry));
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
            return Err(Status::invalid("meta.k8s.io", options_kind(verb), "", &errors));
        }
        Ok(Self { dry_run: !dry.is_empty(), manager: manager.to_owned(), validation, force: query.is_true("force") })
    }
}

/// Upstream names the options after the verb.
fn options_kind(verb: &str) -> &'static str {
    match verb {
        "create" => "CreateOptions",
        "update" => "UpdateOptions",
        _ => "PatchOptions",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_makes_no_sense_is_told_in_upstreams_order() {
        for (query, verb, is_apply, want) in [
            ("fieldManager=m&dryRun=All&fieldValidation=Strict", "create", false, &[][..]),
            (
                "force=&fieldManager=%09&dryRun=x&fieldValidation=y",
                "patch",
                false,
                &["force", "fieldManager", "dryRun", "fieldValidation"],
            ),
            ("dryRun=x&force=true", "patch", true, &["fieldManager", "dryRun"]),
            ("force=true", "update", false, &[]),
            ("fieldManager=%09&fieldValidation=y", "delete", false, &[]),
        ] {
            let found = WriteOptions::of(&Query::parse(query), verb, is_apply);
            let causes = found.err().and_then(|status| status.details).map_or(Vec::new(), |details| details.causes);
            let fields: Vec<&str> = causes.iter().map(|cause| cause.field.as_str()).collect();
            assert_eq!(fields, want, "{query}");
        }
    }
}
