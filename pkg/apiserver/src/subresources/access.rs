// SPDX-License-Identifier: Apache-2.0
//! What a SubjectAccessReview asks: its validation, and its spec as the authorizer reads it.

use knarr_auth::{Attributes, Fields};
use knarr_schema::rules::names;
use knarr_types::selector::{FieldSelector, FieldTerm, LabelSelector, Operator, Requirement};
use knarr_types::tree::{Text, Value, json};
use knarr_types::{ErrorList, FieldError, FieldPath, Object, Shown};

/// What a review asks about.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    verb: String,
    group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    path: String,
    terms: Vec<FieldTerm>,
}

impl Wanted {
    /// Reads a spec that was validated, and says what of its selectors cannot be understood.
    pub(super) fn of(spec: &Value) -> (Self, Vec<&'static str>) {
        let text = |object: &Value, field: &str| object[field].as_str().unwrap_or_default().to_owned();
        let asked = &spec["nonResourceAttributes"];
        if asked.is_object() {
            return (Self { path: text(asked, "path"), verb: text(asked, "verb"), ..Self::default() }, Vec::new());
        }
        let asked = &spec["resourceAttributes"];
        let mut ignored = Vec::new();
        let (terms, broken) = field_terms(&asked["fieldSelector"]);
        match (broken, terms.is_empty()) {
            (true, true) => ignored.push("spec.resourceAttributes.fieldSelector ignored due to parse error"),
            (true, false) => ignored.push("spec.resourceAttributes.fieldSelector partially ignored due to parse error"),
            _ => {}
        }
        match label_terms(&asked["labelSelector"]) {
            (true, true) => ignored.push("spec.resourceAttributes.labelSelector ignored due to parse error"),
            (true, false) => ignored.push("spec.resourceAttributes.labelSelector partially ignored due to parse error"),
            _ => {}
        }
        let of = |field| text(asked, field);
        let wanted = Self {
            verb: of("verb"),
            group: of("group"),
            resource: of("resource"),
            subresource: of("subresource"),
            namespace: of("namespace"),
            name: of("name"),
            path: String::new(),
            terms,
        };
        (wanted, ignored)
    }

    /// The same for the authorizer.
    pub(super) fn attributes(&self) -> Attributes<'_> {
        Attributes {
            verb: &self.verb,
            group: &self.group,
            resource: &self.resource,
            subresource: &self.subresource,
            namespace: &self.namespace,
            name: &self.name,
            path: &self.path,
            fields: Fields::Terms(&self.terms),
        }
    }
}

fn requirements(selector: &Value) -> impl Iterator<Item = &Value> {
    selector["requirements"].as_array().into_iter().flatten()
}

fn values(requirement: &Value) -> Vec<&str> {
    requirement["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The terms that can be understood, and whether there are others. A field can only be compared with one
/// value.
fn field_terms(selector: &Value) -> (Vec<FieldTerm>, bool) {
    if let Some(raw) = selector["rawSelector"].as_str().filter(|raw| !raw.is_empty()) {
        return FieldSelector::parse(raw).map_or((Vec::new(), true), |s| (s.terms().to_vec(), false));
    }
    let (mut terms, mut broken) = (Vec::new(), false);
    for requirement in requirements(selector) {
        let field = requirement["key"].as_str().unwrap_or_default().to_owned();
        match (requirement["operator"].as_str().unwrap_or_default(), values(requirement).as_slice()) {
            (operator @ ("In" | "NotIn"), [value]) => {
                terms.push(FieldTerm { field, value: (*value).to_owned(), negated: operator == "NotIn" });
            }
            _ => broken = true,
        }
    }
    (terms, broken)
}

/// Whether some requirement cannot be understood, and whether none can.
fn label_terms(selector: &Value) -> (bool, bool) {
    if let Some(raw) = selector["rawSelector"].as_str().filter(|raw| !raw.is_empty()) {
        let broken = LabelSelector::parse(raw).is_err();
        return (broken, broken);
    }
    let is_broken = |requirement: &Value| {
        let operator = match requirement["operator"].as_str().unwrap_or_default() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            _ => return true,
        };
        let key = requirement["key"].as_str().unwrap_or_default();
        Requirement::new(key, operator, values(requirement).into_iter().map(str::to_owned)).is_err()
    };
    let broken = requirements(selector).filter(|r| is_broken(r)).count();
    (broken > 0, broken == requirements(selector).count())
}

/// What is wrong with a review; `is_own` of those that ask about themselves, `is_local` of those of a
/// namespace.
pub(super) fn validate(review: &Object, is_own: bool, is_local: bool) -> ErrorList {
    let spec = &review["spec"];
    let path = FieldPath::new("spec");
    let (resource, other) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let (at_resource, at_other) = (path.child("resourceAttributes"), path.child("nonResourceAttributes"));
    let mut errors = ErrorList::new();
    match (resource.is_object(), other.is_object()) {
        (true, true) => {
            let why = "cannot be specified in combination with resourceAttributes";
            errors.push(FieldError::invalid(&at_other, paths(other), why));
        }
        (false, false) => {
            let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            errors.push(FieldError::invalid(&at_resource, Value::Null, why));
        }
        _ => {}
    }
    let empty = |field: &str| match &spec[field] {
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => true,
    };
    if !is_own && empty("user") && empty("groups") {
        let why = "at least one of user or group must be specified";
        errors.push(FieldError::invalid(&path.child("user"), "", why));
    }
    for (kind, of_labels) in [("fieldSelector", false), ("labelSelector", true)] {
        errors.extend(selector(&resource[kind], &at_resource.child(kind), of_labels));
    }
    errors.extend(metadata(&review["metadata"], is_local));
    if is_local {
        let namespace = |of: &Value| of["namespace"].as_str().unwrap_or_default().to_owned();
        if resource.is_object() && namespace(resource) != namespace(&review["metadata"]) {
            let why = "must match metadata.namespace";
            errors.push(FieldError::invalid(&at_resource.child("namespace"), namespace(resource), why));
        }
        if other.is_object() {
            errors.push(FieldError::invalid(&at_other, paths(other), "disallowed on this kind of request"));
        }
    }
    errors
}

/// Attributes of a path as upstream prints its own struct.
fn paths(of: &Value) -> Value {
    let text = |field: &str| of[field].as_str().unwrap_or_default().to_owned();
    json!({"Path": text("path"), "Verb": text("verb")})
}

fn selector(selector: &Value, path: &FieldPath, of_labels: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    if !selector.is_object() {
        return errors;
    }
    let raw = selector["rawSelector"].as_str().unwrap_or_default();
    match (raw.is_empty(), requirements(selector).next().is_none()) {
        (false, false) => {
            let why = "may not specified at the same time as requirements";
            errors.push(FieldError::invalid(&path.child("rawSelector"), raw, why));
        }
        (true, true) => {
            let why = format!("when {path} is specified, requirements or rawSelector is required");
            errors.push(FieldError::required(&path.child("requirements"), why));
        }
        _ => {}
    }
    for (at, requirement) in requirements(selector).enumerate() {
        let path = path.child("requirements").index(at);
        let (key, at_key) = (requirement["key"].as_str().unwrap_or_default(), path.child("key"));
        if key.is_empty() && !of_labels {
            errors.push(FieldError::required(&at_key, "must be specified"));
        }
        let (none, path) = (values(requirement).is_empty(), path.child("values"));
        match requirement["operator"].as_str().unwrap_or_default() {
            "In" | "NotIn" if none => {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(FieldError::required(&path, why));
            }
            "Exists" | "DoesNotExist" if !none => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(FieldError::forbidden(&path, why));
            }
            // Newer clients may know more operators: those are ignored, and the answer says so.
            _ => {}
        }
        if of_labels {
            let invalid = |at: &FieldPath, text: &str, why: Vec<String>| {
                why.into_iter().map(|why| FieldError::invalid(at, text, why)).collect::<Vec<_>>()
            };
            errors.extend(invalid(&at_key, key, names::qualified_name(key)));
            for (at, value) in values(requirement).into_iter().enumerate() {
                errors.extend(invalid(&path.index(at), value, names::label_value(value)));
            }
        }
    }
    errors
}

/// A review has no metadata; the server's own record of its fields does not count.
fn metadata(metadata: &Value, is_local: bool) -> Option<FieldError> {
    let counts = |(field, value): &(&Text, &Value)| {
        !(value.is_null() || *field == "managedFields" || (is_local && *field == "namespace"))
    };
    metadata.as_object()?.iter().find(counts)?;
    let shown = Shown::Printed(printed(metadata));
    let why = if is_local { "must be empty except for namespace" } else { "must be empty" };
    Some(FieldError::invalid(&FieldPath::new("metadata"), shown, why))
}

/// Metadata in the order of upstream's struct.
fn printed(metadata: &Value) -> String {
    const ORDER: [&str; 9] = [
        "name",
        "generateName",
        "namespace",
        "uid",
        "resourceVersion",
        "labels",
        "annotations",
        "ownerReferences",
        "finalizers",
    ];
    const ENTRY: [&str; 7] = ["manager", "operation", "apiVersion", "time", "fieldsType", "fieldsV1", "subresource"];
    let field = |of: &Value, name: &str| of.get(name).map(|value| format!("{name:?}:{value}"));
    let mut fields: Vec<String> = ORDER.iter().filter_map(|name| field(metadata, name)).collect();
    let entries = metadata["managedFields"].as_array().into_iter().flatten().map(|entry| {
        let shown: Vec<_> = ENTRY.iter().filter_map(|name| field(entry, name)).collect();
        format!("{{{}}}", shown.join(","))
    });
    let entries: Vec<_> = entries.collect();
    if !entries.is_empty() {
        fields.push(format!("\"managedFields\":[{}]", entries.join(",")));
    }
    format!("{{{}}}", fields.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_understood_of_a_selector_is_ignored_and_told() {
        for (selector, terms, ignored) in [
            (json!({"rawSelector": "a=b,c!=d"}), 2, None),
            (json!({"rawSelector": "a<b"}), 0, Some("fieldSelector ignored")),
            (json!({"requirements": [{"key": "a", "operator": "In", "values": ["b"]}]}), 1, None),
            (json!({"requirements": [{"key": "a", "operator": "Exists"}]}), 0, Some("fieldSelector ignored")),
            (
                json!({"requirements": [{"key": "a", "operator": "Exists"}, {"key": "a", "operator": "NotIn", "values": ["b"]}]}),
                1,
                Some("fieldSelector partially ignored"),
            ),
        ] {
            let (wanted, told) = Wanted::of(&json!({"resourceAttributes": {"fieldSelector": selector}}));
            assert_eq!(wanted.terms.len(), terms, "{selector}");
            assert_eq!(told.len(), usize::from(ignored.is_some()), "{selector}");
            assert!(ignored.is_none_or(|want| told[0].contains(want)), "{told:?}");
        }
    }

    #[test]
    fn labels_are_named_as_labels_and_fields_by_anything() {
        let of = |kind: &str, key: &str| {
            let requirement = json!({"key": key, "operator": "In", "values": ["b"]});
            let asked = json!({"resource": "pods", kind: {"requirements": [requirement]}});
            let errors = validate(&json!({"spec": {"resourceAttributes": asked}}), true, false);
            errors.iter().map(|error| format!("{:?}", error.kind)).collect::<Vec<_>>()
        };
        assert_eq!(of("labelSelector", "a b"), ["Invalid"]);
        assert_eq!(of("labelSelector", ""), ["Invalid", "Invalid"]);
        assert_eq!(of("fieldSelector", "a b"), Vec::<String>::new());
        assert_eq!(of("fieldSelector", ""), ["Required"]);
    }

    #[test]
    fn a_review_asks_one_question_about_somebody() {
        let get = json!({"verb": "get", "resource": "pods", "namespace": "n"});
        for (review, own, local, want) in [
            (json!({"spec": {"resourceAttributes": get}}), true, false, vec![]),
            (json!({"spec": {"resourceAttributes": get}}), false, false, vec!["spec.user"]),
            (json!({"spec": {"user": "x"}}), false, false, vec!["spec.resourceAttributes"]),
            (
                json!({"spec": {"user": "x", "resourceAttributes": get, "nonResourceAttributes": {}}}),
                false,
                false,
                vec!["spec.nonResourceAttributes"],
            ),
            (
                json!({"metadata": {"namespace": "m"}, "spec": {"user": "x", "resourceAttributes": get}}),
                false,
                true,
                vec!["spec.resourceAttributes.namespace"],
            ),
            (json!({"metadata": {"name": "x"}, "spec": {"resourceAttributes": get}}), true, false, vec!["metadata"]),
        ] {
            let errors = validate(&review, own, local);
            let got: Vec<_> = errors.iter().map(|e| e.path.as_str()).collect();
            assert_eq!(got, want, "{review}");
        }
    }
}
