// SPDX-License-Identifier: Apache-2.0
//! A request's body as an object of the kind that its path names: the whole of what upstream's
//! handlers say before they look at the object itself.

use knarr_types::tree::Value;
use knarr_types::{GroupVersion, Object, Status};

use super::{DecodeError, Decoded, MediaType, check, decode_any, decode_json, decode_protobuf, warnings, yaml};
use crate::builtin_types::of_kind;
use crate::crd::{self, Custom};
use crate::kinds::{Kind, Registry};
use crate::protobuf::{self, Envelope};

/// What happens to fields that are unknown or come twice (`?fieldValidation=`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// They are dropped.
    Ignore,
    /// They are dropped, with a warning each.
    #[default]
    Warn,
    /// The request is refused.
    Strict,
}

/// Versions that upstream still knows but serves no more.
const NO_LONGER_SERVED: [(&str, &str); 8] = [
    ("extensions", "v1beta1"),
    ("apps", "v1beta1"),
    ("apps", "v1beta2"),
    ("batch", "v1beta1"),
    ("policy", "v1beta1"),
    ("networking.k8s.io", "v1beta1"),
    ("storage.k8s.io", "v1beta1"),
    ("rbac.authorization.k8s.io", "v1beta1"),
];

/// The groups that once had a Scale of their own.
const SCALES: [&str; 2] = ["apps", "extensions"];

/// How many bytes of a body are shown in an error.
const SHOWN: usize = 30;

/// Reads a body as an object of that kind, with its `apiVersion` and `kind` filled in. Gives the
/// object and the warnings for the client.
///
/// # Errors
/// 400 in upstream's words: no JSON or YAML, another kind, a value of a wrong type, or (strict)
/// unknown and duplicate fields.
pub fn decode_as(
    kind: &Kind,
    registry: &Registry,
    body: &[u8],
    media: MediaType,
    validation: FieldValidation,
) -> Result<(Object, Vec<String>), Status> {
    let unrecognized = |why: String| {
        Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): {why} ({})",
            kind.kind,
            summary(body)
        ))
    };
    if let Some(custom) = &kind.custom {
        return decode_custom(kind, custom, body, media, validation);
    }
    if media == MediaType::Json
        && let Some(object) = decode_flawless(kind, body)
    {
        return Ok((object, Vec::new()));
    }
    let opened = open(body, media).map_err(unrecognized)?;
    let head = match &opened {
        Opened::Json => head_of(&decode_head(body).map_err(unrecognized)?),
        Opened::Yaml(document) => head_of(&document.value),
        Opened::Protobuf(envelope) => Ok(Head::of(envelope)),
    };
    let head = head.map_err(unrecognized)?;
    check_kind(kind, registry, &head)?;
    let refused = |why: &dyn std::fmt::Display| cannot_be_handled(&head, kind, why);
    let mut decoded = match opened {
        Opened::Json => decode_json(body, kind.ty.get()),
        Opened::Yaml(document) => check(document.value, kind.ty.get()).map(|decoded| Decoded {
            faults: document.duplicates.into_iter().chain(decoded.faults).collect(),
            ..decoded
        }),
        Opened::Protobuf(envelope) => decode_protobuf(envelope.object, kind.ty.get()),
    }
    .map_err(|error| refused(&error))?;
    if validation == FieldValidation::Strict
        && let Some(error) = decoded.strict_error()
    {
        return Err(refused(&error));
    }
    if let Some(fields) = decoded.object.as_object_mut() {
        fields.insert("apiVersion", kind.api_version().into());
        fields.insert("kind", (*kind.kind).into());
    }
    let warnings = if validation == FieldValidation::Warn { warnings(decoded.faults) } else { Vec::new() };
    Ok((decoded.object, warnings))
}

/// Reads JSON that says it is what its path says, and in which nothing is wrong. Nearly all bodies are so: only the
/// others need a look at their head first, because what is wrong with it is said first.
fn decode_flawless(kind: &Kind, body: &[u8]) -> Option<Object> {
    let Decoded { object, faults } = decode_json(body, kind.ty.get()).ok()?;
    let says = |name: &str, text: &str| object[name].as_str() == Some(text);
    let is_flawless = faults.is_empty() && says("apiVersion", &kind.api_version()) && says("kind", &kind.kind);
    is_flawless.then_some(object)
}

/// Why the result of a patch is no object of the kind.
#[derive(Debug)]
pub enum PatchedFault {
    /// It cannot be read, in the decoder's words.
    Unreadable(String),
    /// Refused as any other body.
    Refused(Status),
}

/// Reads the result of a patch as an object of the kind; `duplicates` are what came twice in the patch.
/// Gives the object and the warnings for the client.
///
/// # Errors
/// Where it is another kind, a value has a wrong type, or (strict) fields are unknown or came twice.
pub fn decode_patched(
    kind: &Kind,
    registry: &Registry,
    object: Object,
    duplicates: &[String],
    validation: FieldValidation,
) -> Result<(Object, Vec<String>), PatchedFault> {
    let decoded = match &kind.custom {
        Some(custom) => {
            let text = object.to_string();
            crd::decode::check_head(kind, &object, &text, &summary(text.as_bytes())).map_err(PatchedFault::Refused)?;
            let parsed = crd::decode::Parsed { object, duplicates: Vec::new() };
            let (object, faults) = crd::decode::coerce(custom, parsed).map_err(PatchedFault::Unreadable)?;
            Decoded { object, faults }
        }
        None => patched_builtin(kind, registry, object)?,
    };
    let faults = [duplicates, &decoded.faults].concat();
    if validation == FieldValidation::Strict && !faults.is_empty() {
        let why = Decoded { faults, ..Decoded::default() }.strict_error().unwrap_or_default();
        return Err(PatchedFault::Unreadable(why));
    }
    Ok((decoded.object, if validation == FieldValidation::Warn { faults } else { Vec::new() }))
}

fn patched_builtin(kind: &Kind, registry: &Registry, object: Object) -> Result<Decoded, PatchedFault> {
    let head = head_of(&object).map_err(PatchedFault::Unreadable)?;
    if head.api_version.is_none() {
        // Without a version upstream reads its internal one, whose fields have other names.
        let unknown = object.as_object().into_iter().flatten().filter(|(name, _)| *name != "kind");
        let faults = unknown.map(|(name, _)| format!("unknown field {name:?}")).collect();
        return Ok(Decoded { object: knarr_types::tree::json!({"metadata": {}}), faults });
    }
    match mismatch(kind, registry, &head) {
        None => {}
        Some(Mismatch::OtherVersion(why)) => return Err(PatchedFault::Refused(Status::bad_request(why))),
        Some(Mismatch::OtherKind(why)) => return Err(PatchedFault::Unreadable(why)),
    }
    let mut decoded = check(object, kind.ty.get()).map_err(|error| PatchedFault::Unreadable(error.to_string()))?;
    decoded.object["apiVersion"] = kind.api_version().into();
    decoded.object["kind"] = (*kind.kind).into();
    Ok(decoded)
}

/// Reads a body as an object of a custom kind.
fn decode_custom(
    kind: &Kind,
    custom: &Custom,
    body: &[u8],
    media: MediaType,
    validation: FieldValidation,
) -> Result<(Object, Vec<String>), Status> {
    let head = Head { api_version: None, kind: None };
    if media == MediaType::Protobuf {
        let why = "object *unstructured.Unstructured does not implement the protobuf marshalling interface and cannot be \
                   encoded to a protobuf message";
        return Err(cannot_be_handled(&head, kind, &why));
    }
    let unrecognized = |why: String| {
        Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): {why} ({})",
            kind.kind,
            summary(body)
        ))
    };
    if media == MediaType::Json {
        head_of(&decode_head(body).map_err(unrecognized)?).map_err(unrecognized)?;
    }
    let parsed = crd::decode::parse(body, media).map_err(unrecognized)?;
    let head_fault =
        crd::decode::check_head(kind, &parsed.object, &String::from_utf8_lossy(body), &summary(body)).err();
    if let Some(fault) = head_fault.clone().filter(|_| parsed.object["kind"].as_str().is_none_or(str::is_empty)) {
        return Err(fault);
    }
    let refused = |why: &dyn std::fmt::Display| cannot_be_handled(&head, kind, why);
    let (object, faults) = crd::decode::coerce(custom, parsed).map_err(|why| refused(&why))?;
    let decoded = Decoded { object, faults };
    if validation == FieldValidation::Strict
        && let Some(error) = decoded.strict_error()
    {
        return Err(refused(&error));
    }
    // The body was read as what it says that it is before anybody asked whether that is what the path says.
    if let Some(fault) = head_fault {
        return Err(if validation == FieldValidation::Warn {
            fault.with_warnings(&warnings(decoded.faults))
        } else {
            fault
        });
    }
    Ok((decoded.object, if validation == FieldValidation::Warn { warnings(decoded.faults) } else { Vec::new() }))
}

/// A body of which it is known where the object is.
enum Opened<'a> {
    Json,
    Yaml(yaml::Document),
    Protobuf(Envelope<'a>),
}

fn open(body: &[u8], media: MediaType) -> Result<Opened<'_>, String> {
    Ok(match media {
        MediaType::Json => Opened::Json,
        MediaType::Yaml => Opened::Yaml(yaml::first_document(body)?),
        MediaType::Protobuf => Opened::Protobuf(protobuf::open(body)?),
    })
}

/// What a body says that it is; what it leaves out is as the path says.
struct Head {
    api_version: Option<String>,
    kind: Option<String>,
}

impl Head {
    fn of(envelope: &Envelope<'_>) -> Self {
        let filled = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Self { api_version: filled(&envelope.api_version), kind: filled(&envelope.kind) }
    }
}

/// Only `apiVersion` and `kind` of a body, without a tree of the rest.
fn decode_head(body: &[u8]) -> Result<Value, String> {
    #[derive(serde::Deserialize)]
    struct Fields {
        #[serde(rename = "apiVersion")]
        api_version: Option<Value>,
        kind: Option<Value>,
    }
    match serde_json::from_slice(body) {
        Ok(Fields { api_version, kind }) => Ok(knarr_types::tree::json!({ "apiVersion": api_version, "kind": kind })),
        // Not an object, a field that comes twice, or no JSON at all.
        Err(_) => decode_any(body).map_err(|error| format!("couldn't get version/kind; json parse error: {error}")),
    }
}

fn head_of(body: &Value) -> Result<Head, String> {
    const INTO: &str = "struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }";
    let fault = |what: &str, into: &str| {
        format!("couldn't get version/kind; json parse error: json: cannot unmarshal {what} into Go {into}")
    };
    let fields = match body {
        Value::Object(fields) => fields,
        Value::Null => return Ok(Head { api_version: None, kind: None }),
        other => return Err(fault(type_word(other), &format!("value of type {INTO}"))),
    };
    let text = |name: &str| match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.to_string()).filter(|text| !text.is_empty())),
        Some(other) => Err(fault(type_word(other), &format!("struct field .{name} of type string"))),
    };
    let version = text("apiVersion")?;
    if let Some(version) = version.as_ref().filter(|version| version.matches('/').count() > 1) {
        return Err(format!("unexpected GroupVersion string: {version}"));
    }
    // The group of the oldest kinds has no name, but may be written as such.
    let version = version.map(|version| version.strip_prefix('/').map_or(version.clone(), str::to_owned));
    Ok(Head { api_version: version.filter(|version| !version.is_empty()), kind: text("kind")? })
}

fn type_word(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Refuses a body that says it is something else.
fn check_kind(kind: &Kind, registry: &Registry, head: &Head) -> Result<(), Status> {
    match mismatch(kind, registry, head) {
        None => Ok(()),
        Some(Mismatch::OtherVersion(why)) => Err(Status::bad_request(why)),
        Some(Mismatch::OtherKind(why)) => Err(cannot_be_handled(head, kind, &why)),
    }
}

/// What a body says that it is, and its path does not; in words for the client.
enum Mismatch {
    OtherVersion(String),
    OtherKind(String),
}

fn mismatch(kind: &Kind, registry: &Registry, head: &Head) -> Option<Mismatch> {
    let api_version = head.api_version.clone().unwrap_or_else(|| kind.api_version());
    let name = head.kind.as_deref().unwrap_or(&kind.kind);
    if api_version == kind.api_version() && name == &*kind.kind {
        return None;
    }
    let group_version = GroupVersion::parse(&api_version).unwrap_or_else(|| GroupVersion::new("", ""));
    let (group, version) = (&*group_version.group, &*group_version.version);
    let resource = registry.by_kind(group, version, name);
    let own_group = group == &*kind.group || (name == "Scale" && SCALES.contains(&group));
    let was_served = name == &*kind.kind && own_group && NO_LONGER_SERVED.contains(&(group, version));
    if was_served || resource.is_some_and(|other| other.storage == kind.storage) {
        return Some(Mismatch::OtherVersion(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({})",
            kind.api_version()
        )));
    }
    Some(Mismatch::OtherKind(if resource.is_some() || of_kind(group, version, name).is_some() {
        let package = internal_package(&kind.group);
        format!("converting ({version}.{name}) to ({package}.{}): unknown conversion", kind.kind)
    } else {
        format!(
            "no kind {name:?} is registered for version {api_version:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\""
        )
    }))
}

/// The name of the group's package inside upstream: `core`, `rbac`, `apps`.
#[must_use]
pub fn internal_package(group: &str) -> &str {
    match group {
        "" | "events.k8s.io" => "core",
        group => group.split('.').next().unwrap_or(group),
    }
}

fn cannot_be_handled(head: &Head, kind: &Kind, why: &dyn std::fmt::Display) -> Status {
    let api_version = head.api_version.clone().unwrap_or_else(|| kind.api_version());
    let version = api_version.rsplit('/').next().unwrap_or_default();
    let name = head.kind.as_deref().unwrap_or(&kind.kind);
    Status::bad_request(format!("{name} in version {version:?} cannot be handled as a {}: {why}", kind.kind))
}

/// The beginning of a body: as text where it is an object, else in hexadecimal.
fn summary(body: &[u8]) -> String {
    let head = &body[..body.len().min(SHOWN)];
    let more = if body.len() > SHOWN { " ..." } else { "" };
    match head.first() {
        None => "<empty>".into(),
        Some(b'{') => String::from_utf8_lossy(head).into_owned() + more,
        Some(_) => hex::encode(head) + more,
    }
}

impl From<DecodeError> for Status {
    fn from(error: DecodeError) -> Self {
        Self::bad_request(error.to_string())
    }
}
