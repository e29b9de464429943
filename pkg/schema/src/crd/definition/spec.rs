// SPDX-License-Identifier: Apache-2.0
//! What is wrong with the spec of a definition, its schemas aside.

use base64::Engine as _;
use knarr_types::tree::Value;
use knarr_types::{ErrorList, FieldError, FieldPath, Object, Shown, go_json, is_printable};

use super::{Lifted, internal, schema as schemas, selectable};
use crate::crd::condition;
use crate::rules::at::At;
use crate::rules::{names, webhooks};

/// The whole spec, in upstream's order.
pub(super) fn spec(spec: &At<'_>, old: Option<&Object>) -> ErrorList {
    let mut errors = ErrorList::new();
    let group = spec.get("group");
    match group.text() {
        "" => errors.push(group.required("")),
        text => match names::dns1123_subdomain(text).as_slice() {
            [] if !text.contains('.') => errors.push(group.invalid("should be a domain with at least one dot")),
            [] => {}
            faults => errors.push(group.invalid(faults.join(","))),
        },
    }
    errors.extend(one_of(&spec.get("scope"), &["Cluster", "Namespaced"]));
    let versions = spec.items("versions");
    for version in versions.iter().filter(|version| !version.has("schema.openAPIV3Schema")) {
        errors.push(version.get("schema").get("openAPIV3Schema").required(""));
    }
    errors.extend(keeps_unknown(spec, has_defaults(&versions), "preserveUnknownFields"));
    let lifted = Lifted::of(&versions);
    for version in &versions {
        errors.extend(self::version(version, &lifted));
    }
    errors.extend(counts(spec, &versions, &lifted));
    let first = versions.first().map(|first| first.get("name").named(spec.path.child("version")));
    errors.extend(first.filter(|name| !name.text().is_empty()).and_then(|name| version_name(&name)));
    for field in ["plural", "singular", "kind", "listKind"] {
        if spec.str(&format!("names.{field}")).is_empty() {
            errors.push(spec.get("names").get(field).required(""));
        }
    }
    errors.extend(names(&spec.get("names")));
    errors.extend(lifted_parts(spec, &lifted));
    errors.extend(keeps_unknown(
        spec,
        spec.has("conversion") && spec.str("conversion.strategy") != "None",
        "conversion.strategy",
    ));
    errors.extend(conversion(&spec.get("conversion"), old));
    errors.extend(old.map(|old| immutable(spec, old)).unwrap_or_default());
    errors
}

fn immutable(spec: &At<'_>, old: &Object) -> ErrorList {
    let fixed = condition(old, "Established");
    let fields = [("scope", fixed), ("names.kind", fixed), ("group", true), ("names.plural", true)];
    let before = At::new(&old["spec"], spec.path.clone());
    fields
        .into_iter()
        .filter(|(field, applies)| *applies && spec.raw(field) != before.raw(field))
        .map(|(field, _)| spec.get(field).invalid("field is immutable"))
        .collect()
}

/// What a version says for itself: what all say alike is looked at once, at the top.
fn version(version: &At<'_>, lifted: &Lifted<'_>) -> ErrorList {
    let mut errors: ErrorList = version_name(&version.get("name")).into_iter().collect();
    errors.extend(deprecation(version));
    if lifted.value("schema").is_none() {
        let has_status = version.raw("subresources.status").is_object();
        errors.extend(schema(version, &version.path.child("schema"), has_status));
    }
    if lifted.value("subresources").is_none() {
        errors.extend(subresources(&version.get("subresources")));
    }
    if lifted.value("additionalPrinterColumns").is_none() {
        errors.extend(version.items("additionalPrinterColumns").iter().flat_map(column));
    }
    if lifted.value("selectableFields").is_none() {
        let path = version.path.child("selectableFields");
        let why = "may only be set when `version.schema.openAPIV3Schema` is not included";
        let has_schema = lifted.value("schema").is_none() && version.has("schema.openAPIV3Schema");
        errors.extend(match version.len("selectableFields") {
            1.. if !has_schema => vec![FieldError::invalid(&path, "", why)],
            _ => selectable::check(version, &version.path),
        });
    }
    errors
}

fn version_name(name: &At<'_>) -> Option<FieldError> {
    let faults = names::dns1035_label(name.text());
    (!faults.is_empty()).then(|| name.invalid(faults.join(",")))
}

/// What a definition cannot ask for beside `preserveUnknownFields: true`.
fn keeps_unknown(spec: &At<'_>, asked: bool, field: &str) -> Option<FieldError> {
    let place = spec.get(field);
    let why = match field {
        "conversion.strategy" => "must be None if spec.preserveUnknownFields is true",
        _ => "must be false in order to use defaults in the schema",
    };
    (asked && spec.flag("preserveUnknownFields")).then(|| place.invalid(why))
}

/// Any schema has a default, those that no structural schema has among them.
fn has_defaults(versions: &[At<'_>]) -> bool {
    fn within(schema: &Value) -> bool {
        let Some(keywords) = schema.as_object() else { return false };
        keywords.iter().any(|(name, value)| match (&**name, value) {
            ("default", value) => !value.is_null(),
            ("items" | "allOf" | "anyOf" | "oneOf", Value::Array(schemas)) => schemas.iter().any(within),
            ("items" | "not" | "additionalProperties" | "additionalItems", schema) => within(schema),
            ("properties" | "patternProperties" | "definitions" | "dependencies", Value::Object(schemas)) => {
                schemas.iter().any(|(_, schema)| within(schema))
            }
            _ => false,
        })
    }
    versions.iter().any(|version| within(version.raw("schema.openAPIV3Schema")))
}

/// The schema of a version, where upstream's messages look for it.
fn schema(version: &At<'_>, path: &FieldPath, has_status: bool) -> ErrorList {
    let props = version.raw("schema.openAPIV3Schema");
    if props.is_object() { schemas::check(props, path.child("openAPIV3Schema"), has_status) } else { ErrorList::new() }
}

fn lifted_parts(spec: &At<'_>, lifted: &Lifted<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let versions = spec.items("versions");
    if let (Some(_), Some(first)) = (lifted.value("schema"), versions.first()) {
        let has_status = versions.iter().any(|version| version.raw("subresources.status").is_object());
        errors.extend(schema(first, &spec.path.child("validation"), has_status));
    }
    if let Some(value) = lifted.value("subresources") {
        errors.extend(subresources(&At::new(value, spec.path.child("subresources"))));
    }
    if let Some(value) = lifted.value("additionalPrinterColumns") {
        let path = spec.path.child("additionalPrinterColumns");
        for (i, value) in value.as_array().into_iter().flatten().enumerate() {
            errors.extend(column(&At::new(value, path.index(i))));
        }
    }
    if let (Some(_), Some(first)) = (lifted.value("selectableFields"), versions.first()) {
        let path = spec.path.child("selectableFields");
        let why = "may only be set when validations.schema is included";
        errors.extend(match lifted.value("schema") {
            Some(_) => selectable::check(first, &spec.path),
            None => vec![FieldError::invalid(&path, "", why)],
        });
    }
    errors
}

fn deprecation(version: &At<'_>) -> ErrorList {
    let warning = version.get("deprecationWarning");
    let Some(text) = warning.value.as_str() else { return ErrorList::new() };
    let mut faults: Vec<String> = Vec::new();
    if !version.flag("deprecated") {
        // Upstream points to the text here, and shows what it points to as JSON.
        let shown = Shown::Printed(go_json(warning.value.to_string()));
        return ErrorList::from([warning.invalid_as(shown, "can only be set for deprecated versions")]);
    }
    if text.len() > 256 {
        faults.push("must be <= 256 characters long".into());
    }
    if text.is_empty() {
        faults.push("must not be an empty string".into());
    }
    if let Some((i, _)) = text.char_indices().find(|(_, c)| !is_printable(*c)) {
        faults
            .push(format!("must only contain printable UTF-8 characters; non-printable character found at index {i}"));
    }
    warning.faults(faults)
}

fn counts(spec: &At<'_>, versions: &[At<'_>], lifted: &Lifted<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let shown = || match spec.raw("versions") {
        Value::Null => Shown::Printed("null".to_owned()),
        _ => Shown::Printed(printed(versions, lifted)),
    };
    let mut seen: Vec<&str> = versions.iter().map(|version| version.str("name")).collect();
    seen.sort_unstable();
    seen.dedup();
    if seen.len() != versions.len() {
        errors.push(spec.get("versions").invalid_as(shown(), "must contain unique version names"));
    }
    if versions.iter().filter(|version| version.flag("storage")).count() != 1 {
        let why = "must have exactly one version marked as storage version";
        errors.push(spec.get("versions").invalid_as(shown(), why));
    }
    errors
}

/// The versions as upstream's own struct prints.
fn printed(versions: &[At<'_>], lifted: &Lifted<'_>) -> String {
    const LIFTED: [&str; 4] = ["schema", "subresources", "additionalPrinterColumns", "selectableFields"];
    let gone = |name: &str| LIFTED.contains(&name) && lifted.value(name).is_some();
    let one = |version: &At<'_>| internal::version(version.value, gone);
    format!("[{}]", versions.iter().map(one).collect::<Vec<_>>().join(","))
}

/// Names, asked for or accepted.
pub(super) fn names(names: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for field in ["plural", "singular", "kind", "listKind"] {
        let name = names.get(field);
        let mixed = matches!(field, "kind" | "listKind");
        let faults = names::dns1035_label(&if mixed { name.text().to_lowercase() } else { name.text().to_owned() });
        if name.text().is_empty() || faults.is_empty() {
            continue;
        }
        let prefix = if mixed { "may have mixed case, but should otherwise match: " } else { "" };
        errors.push(name.invalid(format!("{prefix}{}", faults.join(","))));
    }
    errors.extend(labels(names, "shortNames"));
    if !names.str("kind").is_empty() && names.str("kind") == names.str("listKind") {
        errors.push(names.get("listKind").invalid("kind and listKind may not be the same"));
    }
    errors.extend(labels(names, "categories"));
    errors
}

fn labels(names: &At<'_>, field: &str) -> ErrorList {
    let faulty = |name: At<'_>| {
        let faults = names::dns1035_label(name.text());
        (!faults.is_empty()).then(|| name.invalid(faults.join(",")))
    };
    names.items(field).into_iter().filter_map(faulty).collect()
}

fn column(column: &At<'_>) -> ErrorList {
    const TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
    const FORMATS: [&str; 8] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
    let mut errors = ErrorList::new();
    if column.str("name").is_empty() {
        errors.push(column.get("name").required(""));
    }
    let (ty, format) = (column.get("type"), column.get("format"));
    let one_of = |list: &[&str]| format!("must be one of {}", list.join(","));
    match ty.text() {
        "" => errors.push(ty.required(&one_of(&TYPES))),
        text if TYPES.contains(&text) => {}
        _ => errors.push(ty.invalid(one_of(&TYPES))),
    }
    if !format.text().is_empty() && !FORMATS.contains(&format.text()) {
        errors.push(format.invalid(one_of(&FORMATS)));
    }
    errors.extend(simple_path(&column.get("jsonPath").named(column.path.child("JSONPath"))));
    errors
}

/// A path in dot notation that must be there.
fn simple_path(path: &At<'_>) -> Option<FieldError> {
    match path.text() {
        "" => Some(path.required("")),
        text if !text.starts_with('.') => Some(path.invalid("must be a simple json path starting with .")),
        _ => None,
    }
}

fn subresources(subresources: &At<'_>) -> ErrorList {
    let scale = subresources.get("scale");
    if !scale.is_set() {
        return ErrorList::new();
    }
    let below = |field: &str, allowed: &[&str], words: &str| {
        let path = scale.get(field);
        let wrong = || (!allowed.iter().any(|a| path.text().starts_with(a))).then(|| path.invalid(words));
        simple_path(&path).or_else(wrong)
    };
    let mut errors = ErrorList::new();
    errors.extend(below("specReplicasPath", &[".spec."], "should be a json path under .spec"));
    errors.extend(below("statusReplicasPath", &[".status."], "should be a json path under .status"));
    if !scale.str("labelSelectorPath").is_empty() {
        let words = "should be a json path under either .spec or .status";
        errors.extend(below("labelSelectorPath", &[".spec.", ".status."], words));
    }
    errors
}

fn conversion(conversion: &At<'_>, old: Option<&Object>) -> ErrorList {
    if !conversion.is_set() {
        return ErrorList::new();
    }
    let mut errors = one_of(&conversion.get("strategy"), &["None", "Webhook"]);
    let config = conversion.get("webhook.clientConfig").named(conversion.path.child("webhookClientConfig"));
    let versions =
        conversion.get("webhook.conversionReviewVersions").named(conversion.path.child("conversionReviewVersions"));
    if conversion.str("strategy") == "Webhook" {
        if config.is_set() {
            errors.extend(webhooks::client_config(&config));
            errors.extend(old.and_then(|old| ca_bundle(&config.get("caBundle"), old)));
        } else {
            errors.push(config.required("required when strategy is set to Webhook"));
        }
        errors.extend(review_versions(&versions, old));
        return errors;
    }
    let why = "should not be set when strategy is not set to Webhook";
    errors.extend(config.is_set().then(|| config.forbidden(why)));
    let listed = versions.value.as_array().is_some_and(|list| !list.is_empty());
    errors.extend(listed.then(|| versions.forbidden(why)));
    errors
}

/// The certificates of a served definition's webhook must be some, unless they were none before.
fn ca_bundle(bundle: &At<'_>, old: &Object) -> Option<FieldError> {
    let before = old["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"].as_str().unwrap_or_default();
    let bad = |bundle: &str| !bundle.is_empty() && !has_certificate(bundle);
    let why = "unable to load root certificates: unable to parse bytes as PEM block";
    (bad(bundle.text()) && condition(old, "Established") && !bad(before)).then(|| bundle.invalid(why))
}

fn has_certificate(base64: &str) -> bool {
    let bytes = base64::engine::general_purpose::STANDARD.decode(base64).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.find("-----BEGIN ").is_some_and(|begin| text[begin..].contains("-----END "))
}

fn review_versions(versions: &At<'_>, old: Option<&Object>) -> ErrorList {
    let list = versions.value.as_array().map_or(&[][..], Vec::as_slice);
    if list.is_empty() {
        return vec![versions.required("")];
    }
    let mut errors = ErrorList::new();
    for (i, version) in list.iter().enumerate() {
        let at = At::new(version, versions.path.index(i));
        if list[..i].contains(version) {
            errors.push(at.invalid("duplicate version"));
        } else {
            errors.extend(at.faults(names::dns1035_label(at.text())));
        }
    }
    let known = |list: &[Value]| list.iter().any(|v| v == "v1" || v == "v1beta1");
    let before = old.and_then(|old| old["spec"]["conversion"]["webhook"]["conversionReviewVersions"].as_array());
    let tolerated = before.is_some_and(|before| !before.is_empty() && !known(before));
    if !known(list) && !tolerated {
        errors.push(versions.invalid("must include at least one of v1, v1beta1"));
    }
    errors
}

fn one_of(value: &At<'_>, accepted: &[&str]) -> ErrorList {
    match value.text() {
        "" => vec![value.required("")],
        text if accepted.contains(&text) => ErrorList::new(),
        _ => vec![value.not_supported(accepted)],
    }
}
