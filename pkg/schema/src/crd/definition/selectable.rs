// SPDX-License-Identifier: Apache-2.0
//! The fields of a version that selectors may name.

use knarr_types::{ErrorList, FieldError, FieldPath};

use crate::crd::structural::StructuralSchema;
use crate::rules::at::At;

/// How many fields can be selected by.
const MOST: usize = 8;

/// What is wrong with the selectable fields of a version; `path` is where upstream's messages look for
/// them.
pub(super) fn check(version: &At<'_>, path: FieldPath) -> ErrorList {
    let fields = version.items("selectableFields");
    if fields.is_empty() {
        return ErrorList::new();
    }
    let schema = StructuralSchema::parse(version.raw("schema.openAPIV3Schema"));
    let mut errors = ErrorList::new();
    let mut seen: Vec<&str> = Vec::new();
    for (i, field) in fields.iter().enumerate() {
        let at = field.get("jsonPath").named(path.index(i).child("jsonPath"));
        let text = at.text();
        if text.is_empty() {
            errors.push(at.required(""));
            continue;
        }
        let found = match find(&schema, text) {
            Ok(found) => found,
            Err(why) => {
                errors.push(at.invalid(format!("is an invalid path: {why}")));
                continue;
            }
        };
        if text == ".metadata" || text.starts_with(".metadata.") {
            errors.push(at.invalid("must not point to fields in metadata"));
        }
        if !matches!(found.ty.as_str(), "string" | "boolean" | "integer") {
            let why = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            errors.push(at.invalid(why));
        }
        if seen.contains(&text) {
            errors.push(at.duplicate());
        } else {
            seen.push(text);
        }
    }
    if seen.len() > MOST {
        errors.push(FieldError::too_many(&path, seen.len(), MOST));
    }
    errors
}

/// The schema at a path in dot notation.
fn find<'a>(schema: &'a StructuralSchema, path: &str) -> Result<&'a StructuralSchema, String> {
    const NONE: &str = "does not refer to a valid field";
    let fields = path.strip_prefix('.').ok_or_else(|| NONE.to_owned())?;
    if fields.contains(['[', ']']) {
        return Err("does not allow array notation".into());
    }
    fields.split('.').try_fold(schema, |schema, field| schema.properties.get(field)).ok_or_else(|| NONE.to_owned())
}
