// SPDX-License-Identifier: Apache-2.0
//! The fields of a version that selectors may name.

use knarr_types::{ErrorList, FieldError, FieldPath};

use super::unsupported;
use crate::cel::rules::walk;
use crate::crd::structural::StructuralSchema;
use crate::rules::at::At;

/// How many fields can be selected by.
const MOST: usize = 8;

/// What is wrong with the selectable fields of a version; `place` is where upstream's messages look for
/// them.
pub(super) fn check(version: &At<'_>, place: &FieldPath) -> ErrorList {
    let fields = version.items("selectableFields");
    if fields.is_empty() {
        return ErrorList::new();
    }
    let path = place.child("selectableFields");
    let own = version.raw("schema.openAPIV3Schema");
    let schema = StructuralSchema::parse(own);
    // The schema is read once more for them, and refused once more.
    let unsupported = unsupported::first(own);
    let place = place.child("schema").child("openAPIV3Schema");
    let mut errors: ErrorList = unsupported.map(|why| FieldError::invalid(&place, "", why)).into_iter().collect();
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

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn a_schema_that_cannot_be_read_is_refused_for_them_too() {
        for (keeps, want) in [(json!(null), None), (json!(false), Some("spec.schema.openAPIV3Schema: Invalid value"))] {
            let a = json!({"type": "string", "x-kubernetes-preserve-unknown-fields": keeps});
            let schema = json!({"type": "object", "properties": {"a": a}});
            let version = json!({"schema": {"openAPIV3Schema": schema}, "selectableFields": [{"jsonPath": ".a"}]});
            let at = At::new(&version, FieldPath::new("spec"));
            let told = check(&at, &at.path).first().map(ToString::to_string);
            assert_eq!(told.is_some(), want.is_some(), "{told:?}");
            assert!(told.unwrap_or_default().starts_with(want.unwrap_or_default()));
        }
    }
}
