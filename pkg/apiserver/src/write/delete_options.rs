// SPDX-License-Identifier: Apache-2.0
//! What a client says about a delete: in the body, or in the query.

use knarr_schema::{Kind, MediaType};
use knarr_types::{ErrorList, FieldError, FieldPath, Status};
use serde_json::{Value, json};

use crate::query::Query;

/// What the client wants of a delete.
#[derive(Clone, Debug, Default)]
pub(super) struct DeleteOptions {
    /// In seconds.
    pub grace: Option<i64>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    pub propagation: Option<Propagation>,
    pub dry_run: bool,
    /// Why a pod is deleted that did not ask for it: a condition of its status.
    pub disruption: Option<Value>,
}

/// What becomes of the dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Propagation {
    Background,
    Foreground,
    Orphan,
}

impl DeleteOptions {
    /// Reads the body, and the query where that says more.
    pub(super) fn of(query: &Query, body: &[u8]) -> Result<Self, Status> {
        let document = if body.is_empty() { json!({}) } else { decode(body)? };
        let text = |name: &str| -> Option<String> {
            let sent = document[name].as_str().or(query.filled(name))?;
            Some(sent.to_owned())
        };
        let mut errors = ErrorList::new();
        let propagation = match text("propagationPolicy").as_deref() {
            None | Some("") => None,
            Some("Background") => Some(Propagation::Background),
            Some("Foreground") => Some(Propagation::Foreground),
            Some("Orphan") => Some(Propagation::Orphan),
            Some(other) => {
                let known = ["Foreground", "Background", "Orphan", "nil"];
                errors.push(FieldError::not_supported(&FieldPath::new("propagationPolicy"), other, &known));
                None
            }
        };
        let orphan = document["orphanDependents"].as_bool().or(query.get("orphanDependents").map(|o| o == "true"));
        if orphan.is_some() && propagation.is_some() {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            errors.push(FieldError::invalid(
                &FieldPath::new("propagationPolicy"),
                json!(text("propagationPolicy")),
                why,
            ));
        }
        let sent = document["dryRun"].as_array().cloned().unwrap_or_default();
        let dry: Vec<Value> = sent.into_iter().chain(query.all("dryRun").map(Value::from)).collect();
        errors.extend(dry_run_error(&dry));
        if !errors.is_empty() {
            return Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", &errors));
        }
        let precondition = |name: &str| document["preconditions"][name].as_str().map(str::to_owned);
        Ok(Self {
            grace: match document["gracePeriodSeconds"].as_i64() {
                Some(seconds) => Some(seconds),
                None => query.number("gracePeriodSeconds")?,
            },
            uid: precondition("uid"),
            resource_version: precondition("resourceVersion"),
            propagation: propagation.or(orphan.map(|o| if o { Propagation::Orphan } else { Propagation::Background })),
            dry_run: !dry.is_empty(),
            disruption: None,
        })
    }
}

/// `All` is the only thing to say about dry runs.
pub(super) fn dry_run_error(values: &[Value]) -> Option<FieldError> {
    let wrong = values.iter().any(|v| v != "All");
    wrong.then(|| FieldError::not_supported(&FieldPath::new("dryRun"), json!(values), &["All"]))
}

fn decode(body: &[u8]) -> Result<Value, Status> {
    let bad = |why: String| Status::bad_request(format!("couldn't get version/kind; json parse error: {why}"));
    if knarr_schema::protobuf::open(body).is_ok() {
        let kind = Kind::of_body("", "v1", "DeleteOptions").ok_or_else(|| Status::internal("no DeleteOptions"))?;
        let decoded = knarr_schema::decode(body, MediaType::Protobuf, kind.ty.get());
        return decoded.map(|decoded| decoded.object).map_err(Status::from);
    }
    let document = knarr_schema::decode::yaml::first_document(body)
        .map(|d| d.value)
        .or_else(|_| knarr_schema::decode::decode_any(body).map_err(|e| bad(e.to_string())))
        .and_then(|v| if v.is_object() { Ok(v) } else { Err(bad("the options must be an object".into())) })?;
    let kind = document["kind"].as_str().unwrap_or("DeleteOptions");
    if kind != "DeleteOptions" {
        let version = document["apiVersion"].as_str().unwrap_or_default();
        return Err(Status::bad_request(format!(
            "no kind {kind:?} is registered for version {version:?} in scheme \"pkg/apis/meta/internalversion/scheme/register.go:27\""
        )));
    }
    check_types(&document)?;
    Ok(document)
}

/// Fields of another type than theirs are refused in upstream's words.
fn check_types(document: &Value) -> Result<(), Status> {
    type Check = fn(&Value) -> bool;
    const FIELDS: [(&str, &str, Check); 4] = [
        ("gracePeriodSeconds", "int64", |v| v.is_i64()),
        ("orphanDependents", "bool", Value::is_boolean),
        ("propagationPolicy", "v1.DeletionPropagation", Value::is_string),
        ("dryRun", "[]string", Value::is_array),
    ];
    for (field, wanted, fits) in FIELDS {
        let value = &document[field];
        let found = match value {
            Value::Null => continue,
            value if fits(value) => continue,
            Value::Bool(_) => "bool".to_owned(),
            Value::Number(number) => format!("number {number}"),
            Value::String(_) => "string".to_owned(),
            Value::Array(_) => "array".to_owned(),
            Value::Object(_) => "object".to_owned(),
        };
        return Err(Status::bad_request(format!(
            "json: cannot unmarshal {found} into Go struct field DeleteOptions.{field} of type {wanted}"
        )));
    }
    Ok(())
}
