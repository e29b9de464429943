// SPDX-License-Identifier: Apache-2.0
//! What a client says about a delete: in the body, or in the query.

use knarr_schema::patch::json_kind;
use knarr_schema::{Kind, MediaType, protobuf};
use knarr_types::tree::{Value, json};
use knarr_types::{ErrorList, FieldError, FieldPath, Status};

use crate::negotiate::body_media;
use crate::query::Query;

/// What the client wants of a delete.
#[derive(Clone, Debug, Default)]
pub(super) struct DeleteOptions {
    /// In seconds.
    pub grace: Option<i64>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    pub propagation: Option<Propagation>,
    /// Dependents are to go, said in the old way.
    pub not_orphaned: bool,
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

/// What was said, in the body or in the query.
#[derive(Default)]
struct Said {
    grace: Option<i64>,
    uid: Option<String>,
    resource_version: Option<String>,
    propagation: Option<String>,
    orphan: Option<bool>,
    dry_run: Vec<Value>,
}

impl Said {
    fn in_query(query: &Query) -> Result<Self, Status> {
        Ok(Self {
            grace: query.number("gracePeriodSeconds")?,
            uid: query.filled("uid").map(str::to_owned),
            resource_version: query.filled("resourceVersion").map(str::to_owned),
            propagation: query.get("propagationPolicy").map(str::to_owned),
            orphan: query.get("orphanDependents").map(|_| query.is_true("orphanDependents")),
            dry_run: query.all("dryRun").map(Value::from).collect(),
        })
    }

    fn in_body(document: &Value) -> Self {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Self {
            grace: document["gracePeriodSeconds"].as_i64(),
            uid: text(&document["preconditions"]["uid"]),
            resource_version: text(&document["preconditions"]["resourceVersion"]),
            propagation: text(&document["propagationPolicy"]),
            orphan: document["orphanDependents"].as_bool(),
            dry_run: document["dryRun"].as_array().cloned().unwrap_or_default(),
        }
    }
}

impl DeleteOptions {
    /// Reads the body, or the query where there is none.
    pub(super) fn of(query: &Query, content_type: &str, body: &[u8]) -> Result<Self, Status> {
        let said = if body.is_empty() {
            Said::in_query(query)?
        } else {
            Said::in_body(&decode(body, body_media(content_type)?)?)
        };
        let mut errors = ErrorList::new();
        let path = FieldPath::new("propagationPolicy");
        if let Some(sent) = said.propagation.as_ref().filter(|_| said.orphan.is_some()) {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            errors.push(FieldError::invalid(&path, json!(sent), why));
        }
        let propagation = match said.propagation.as_deref() {
            None => None,
            Some("Background") => Some(Propagation::Background),
            Some("Foreground") => Some(Propagation::Foreground),
            Some("Orphan") => Some(Propagation::Orphan),
            Some(other) => {
                errors.push(FieldError::not_supported(&path, other, &["Foreground", "Background", "Orphan", "nil"]));
                None
            }
        };
        errors.extend(dry_run_error(&said.dry_run));
        if !errors.is_empty() {
            return Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", &errors));
        }
        let old_way = said.orphan.map(|orphan| if orphan { Propagation::Orphan } else { Propagation::Background });
        Ok(Self {
            grace: said.grace,
            uid: said.uid,
            resource_version: said.resource_version,
            propagation: propagation.or(old_way),
            not_orphaned: said.orphan == Some(false),
            dry_run: !said.dry_run.is_empty(),
            disruption: None,
        })
    }
}

/// `All` is the only thing to say about dry runs.
pub(super) fn dry_run_error(values: &[Value]) -> Option<FieldError> {
    let wrong = values.iter().any(|v| v != "All");
    wrong.then(|| FieldError::not_supported(&FieldPath::new("dryRun"), json!(values), &["All"]))
}

/// Reads a body as options, whatever version it names.
fn decode(body: &[u8], media: MediaType) -> Result<Value, Status> {
    let kind = Kind::of_body("", "v1", "DeleteOptions").ok_or_else(|| Status::internal("no DeleteOptions"))?;
    check_head(body, media)?;
    let decoded = knarr_schema::decode(body, media, kind.ty.get()).map_err(Status::from)?;
    Ok(decoded.object)
}

/// Refuses a body that says it is something else.
fn check_head(body: &[u8], media: MediaType) -> Result<(), Status> {
    let bad = |why: String| Status::bad_request(format!("couldn't get version/kind; json parse error: {why}"));
    let document = match media {
        MediaType::Protobuf => {
            let envelope = protobuf::open(body).map_err(Status::bad_request)?;
            return check_envelope(&envelope.api_version, &envelope.kind);
        }
        MediaType::Yaml => {
            let document = knarr_schema::decode::yaml::first_document(body);
            document.map(|document| document.value).map_err(Status::bad_request)?
        }
        MediaType::Json => knarr_schema::decode::decode_any(body).map_err(|error| bad(error.to_string()))?,
    };
    if !document.is_object() && !document.is_null() {
        const INTO: &str = "struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \
                            \"json:\\\"kind,omitempty\\\"\" }";
        let kind = json_kind(&document);
        return Err(bad(format!("json: cannot unmarshal {kind} into Go value of type {INTO}")));
    }
    // Their names are read in any case, as Go reads them.
    let members = || document.as_object().into_iter().flatten();
    let member = |name: &str| members().rfind(|(key, _)| key.eq_ignore_ascii_case(name));
    let text = |name: &str| member(name)?.1.as_str().filter(|text| !text.is_empty());
    let version = text("apiVersion").unwrap_or("meta.k8s.io/v1");
    if version.matches('/').count() > 1 {
        return Err(Status::bad_request(format!("unexpected GroupVersion string: {version}")));
    }
    let kind = text("kind").unwrap_or("DeleteOptions");
    if matches!(kind, "CreateOptions" | "UpdateOptions") {
        return Err(Status::bad_request("decoded object cannot be converted to DeleteOptions"));
    }
    if kind == "DeleteOptions" { Ok(()) } else { Err(not_registered(version, kind)) }
}

/// The same of an envelope, whose version may be any.
fn check_envelope(version: &str, kind: &str) -> Result<(), Status> {
    let version = if version.is_empty() { "meta.k8s.io/v1" } else { version };
    match kind {
        "" | "DeleteOptions" => Ok(()),
        "CreateOptions" | "UpdateOptions" | "ListOptions" | "GetOptions" | "Status" => {
            let version = version.rsplit('/').next().unwrap_or_default();
            let why = format!("converting ({version}.{kind}) to (v1.DeleteOptions): unknown conversion");
            Err(Status::bad_request(why))
        }
        _ => Err(not_registered(version, kind)),
    }
}

fn not_registered(version: &str, kind: &str) -> Status {
    const TABLE: &str = "pkg/apis/meta/internalversion/scheme/register.go:27";
    Status::bad_request(knarr_schema::decode::not_registered(version, kind, TABLE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(query: &str, content_type: &str, body: &str) -> Result<DeleteOptions, Status> {
        DeleteOptions::of(&Query::parse(query), content_type, body.as_bytes())
    }

    #[test]
    fn a_body_is_all_that_counts_where_there_is_one() {
        let said = options("dryRun=All&gracePeriodSeconds=5&orphanDependents=false", "", "").unwrap();
        assert_eq!((said.dry_run, said.grace, said.not_orphaned), (true, Some(5), true));
        let said = options("uid=u&resourceVersion=5", "", "").unwrap();
        assert_eq!((said.uid.as_deref(), said.resource_version.as_deref()), (Some("u"), Some("5")));
        let said = options("dryRun=All&gracePeriodSeconds=5", "", r#"{"gracePeriodSeconds": 7}"#).unwrap();
        assert_eq!((said.dry_run, said.grace), (false, Some(7)));
        let said = options("", "application/yaml", "propagationPolicy: Orphan").unwrap();
        assert_eq!(said.propagation, Some(Propagation::Orphan));
    }

    #[test]
    fn options_that_make_no_sense_are_refused() {
        for (query, content_type, body, code, want) in [
            ("propagationPolicy=", "", "", 422, "Unsupported value: \"\""),
            ("", "text/plain", "{}", 415, "unknown format"),
            ("", "", "[]", 400, "cannot unmarshal array into Go value of type struct { APIVersion"),
            ("", "", "x", 400, "invalid character 'x' looking for beginning of value"),
            ("", "", r#"{"kind": "Foo"}"#, 400, "for version \"meta.k8s.io/v1\""),
            ("", "", r#"{"apiVersion": "a/b/c"}"#, 400, "unexpected GroupVersion string: a/b/c"),
            ("", "", r#"{"preconditions": "x"}"#, 400, "field DeleteOptions.preconditions of type v1.Preconditions"),
            (
                "",
                "",
                r#"{"preconditions": {"uid": 1}}"#,
                400,
                "field Preconditions.preconditions.uid of type types.UID",
            ),
            ("", "", r#"{"dryRun": [1]}"#, 400, "number into Go struct field DeleteOptions.dryRun of type string"),
            ("", "", r#"{"kind": "UpdateOptions"}"#, 400, "cannot be converted to DeleteOptions"),
            (
                "",
                "",
                r#"{"orphanDependents": true, "propagationPolicy": "x"}"#,
                422,
                "[propagationPolicy: Invalid value",
            ),
        ] {
            let refused = options(query, content_type, body).unwrap_err();
            assert_eq!(refused.code, code, "{body}");
            assert!(refused.message.contains(want), "{}", refused.message);
        }
        assert!(options("", "", r#"{"kind": "DeleteOptions", "apiVersion": "apps/v1"}"#).is_ok());
    }

    #[test]
    fn an_envelope_says_that_options_are_in_it() {
        let told = |version: &str, kind: &str| {
            let body = protobuf::seal(version, kind, |out| out.extend([8, 5]));
            DeleteOptions::of(&Query::default(), "application/vnd.kubernetes.protobuf", &body)
        };
        for (version, kind) in [("", ""), ("v1", "DeleteOptions"), ("apps/v1", "DeleteOptions"), ("a/b/c", "")] {
            assert_eq!(told(version, kind).unwrap().grace, Some(5), "{version} {kind}");
        }
        for (version, kind, want) in [
            ("v1", "Pod", "no kind \"Pod\" is registered for version \"v1\""),
            ("v1", "Status", "converting (v1.Status) to (v1.DeleteOptions): unknown conversion"),
        ] {
            let refused = told(version, kind).unwrap_err();
            assert!(refused.message.starts_with(want), "{}", refused.message);
        }
    }
}
