// SPDX-License-Identifier: Apache-2.0
//! The fields of a version that selectors may name.

use knarr_types::{ErrorList, FieldError, FieldPath};

use crate::cel::rules::walk;
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
    let mut seen: Vec<String> = Vec::new();
    for (i, field) in fields.iter().enumerate() {
        let at = field.get("jsonPath").named(path.index(i).child("jsonPath"));
        let text = at.text();
        if text.is_empty() {
            errors.push(at.required(""));
            continue;
        }
        let (name, found) = match walk(text, &schema, false) {
            Ok(found) => found,
            Err(why) => {
                errors.push(at.invalid(format!("is an invalid path: {why}")));
                continue;
            }
        };
        if name.split(['.', '[']).next() == Some("metadata") {
            errors.push(at.invalid("must not point to fields in metadata"));
        }
        if !matches!(found.ty.as_str(), "string" | "boolean" | "integer") {
            let why = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            errors.push(at.invalid(why));
        }
        if seen.contains(&name) {
            errors.push(at.duplicate());
        } else {
            seen.push(name);
        }
    }
    if seen.len() > MOST {
        errors.push(FieldError::too_many(&path, seen.len(), MOST));
    }
    errors
}
