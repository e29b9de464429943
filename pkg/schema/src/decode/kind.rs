// SPDX-License-Identifier: Apache-2.0
//! A request's body as an object of the kind that its path names: the whole of what upstream's
//! handlers say before they look at the object itself.

use std::num::IntErrorKind;
use std::sync::LazyLock;

use knarr_types::{Object, Status, go_quoted};

use super::head::{Head, Mismatch};
use super::{DecodeError, Decoded, MediaType, check, decode_any, decode_json, decode_protobuf, warnings, yaml};
use crate::builtin_types::NamedType;
use crate::crd::{self, Custom};
use crate::field_table::{Struct, Type};
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

/// The annotation that a field of DaemonSets is published as.
pub const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";
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
        Opened::Json => head_in_json(body, kind),
        Opened::Yaml(document) => Head::of(&document.value, kind),
        Opened::Protobuf(envelope) => Head::new(&envelope.api_version, &envelope.kind, kind),
    };
    let head = head.map_err(unrecognized)?;
    let refused = |why: &dyn std::fmt::Display| cannot_be_handled(&head, kind, why);
    let mismatch = head.mismatch(kind, registry);
    if let Some(Mismatch::NoVersion) = mismatch {
        let shown = String::from_utf8_lossy(body);
        return Err(refused(&format!("Object 'apiVersion' is missing in '{shown}'")));
    }
    // It is read as what it says that it is, where that is known, before anybody asks whether that fits.
    let ty = match &mismatch {
        Some(Mismatch::OtherKind(_, ty)) => ty.map(NamedType::get),
        _ if head.is_internal_form_of(kind) => Some(&*OTHER_NAMES),
        _ => Some(kind.ty.get()),
    };
    let decoded = ty.map(|ty| read(body, opened, ty)).transpose().map_err(|error| refused(&error))?;
    if let Some(Mismatch::OtherKind(why, _)) = mismatch {
        return Err(refused(&why));
    }
    let mut decoded = decoded.unwrap_or_default();
    if head.is_internal_form_of(kind) {
        decoded.object = nameless();
        decoded.faults.retain(|fault| !IS_HEAD.contains(&&**fault));
    }
    if let Some(why) = inconvertible(kind, &decoded.object) {
        return Err(refused(&why));
    }
    if validation == FieldValidation::Strict
        && let Some(error) = decoded.strict_error()
    {
        return Err(refused(&error));
    }
    if let Some(Mismatch::OtherVersion(why)) = mismatch {
        let told = if validation == FieldValidation::Warn { warnings(decoded.faults) } else { Vec::new() };
        return Err(Status::bad_request(why).with_warnings(&told));
    }
    if let Some(fields) = decoded.object.as_object_mut() {
        fields.insert("apiVersion", kind.api_version().into());
        fields.insert("kind", (*kind.kind).into());
    }
    let warnings = if validation == FieldValidation::Warn { warnings(decoded.faults) } else { Vec::new() };
    Ok((decoded.object, warnings))
}

/// Reads an opened body as a value of that type.
pub(super) fn read(body: &[u8], opened: Opened<'_>, ty: &Type) -> Result<Decoded, DecodeError> {
    match opened {
        Opened::Json => decode_json(body, ty),
        Opened::Yaml(document) => check(document.value, ty).map(|decoded| Decoded {
            faults: document.duplicates.into_iter().chain(decoded.faults).collect(),
            ..decoded
        }),
        Opened::Protobuf(envelope) => decode_protobuf(envelope.object, ty),
    }
}

/// What a body in JSON says that it is, without a tree of the rest.
pub(super) fn head_in_json(body: &[u8], kind: &Kind) -> Result<Head, String> {
    Head::in_json(body, kind).unwrap_or_else(|| {
        // Not an object, or no JSON at all.
        let body = decode_any(body).map_err(|error| format!("couldn't get version/kind; json parse error: {error}"))?;
        Head::of(&body, kind)
    })
}

/// Reads JSON that says it is what its path says, and in which nothing is wrong. Nearly all bodies are so: only the
/// others need a look at their head first, because what is wrong with it is said first.
pub(super) fn decode_flawless(kind: &Kind, body: &[u8]) -> Option<Object> {
    let Decoded { object, faults } = decode_json(body, kind.ty.get()).ok()?;
    let says = |name: &str, text: &str| object[name].as_str() == Some(text);
    let is_flawless = faults.is_empty() && says("apiVersion", &kind.api_version()) && says("kind", &kind.kind);
    (is_flawless && inconvertible(kind, &object).is_none()).then_some(object)
}

/// What keeps an object from becoming one of upstream's internal form: there the generation of a DaemonSet's template
/// is a number in a field of its own.
fn inconvertible(kind: &Kind, object: &Object) -> Option<String> {
    if (&*kind.kind, &*kind.group) != ("DaemonSet", "apps") {
        return None;
    }
    let text = object["metadata"]["annotations"][TEMPLATE_GENERATION].as_str()?;
    let why = match text.parse::<i64>().err()?.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
        _ => "invalid syntax",
    };
    Some(format!("strconv.ParseInt: parsing {}: {why}", go_quoted(text)))
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
    let head = Head::of(&object, kind).map_err(PatchedFault::Unreadable)?;
    // Without a version upstream reads its internal one.
    if object["apiVersion"].as_str().is_none_or(str::is_empty) || head.is_internal_form_of(kind) {
        return Ok(in_other_names(&object));
    }
    match head.mismatch(kind, registry) {
        None => {}
        Some(Mismatch::NoVersion) => {
            return Err(PatchedFault::Unreadable(format!("Object 'apiVersion' is missing in '{object}'")));
        }
        Some(Mismatch::OtherVersion(why)) => {
            check(object, kind.ty.get()).map_err(|error| PatchedFault::Unreadable(error.to_string()))?;
            return Err(PatchedFault::Refused(Status::bad_request(why)));
        }
        Some(Mismatch::OtherKind(why, ty)) => {
            let read = ty.map(|ty| check(object, ty.get()));
            let fault = read.and_then(|read| read.err()).map_or(why, |error| error.to_string());
            return Err(PatchedFault::Unreadable(fault));
        }
    }
    let mut decoded = check(object, kind.ty.get()).map_err(|error| PatchedFault::Unreadable(error.to_string()))?;
    if let Some(why) = inconvertible(kind, &decoded.object) {
        return Err(PatchedFault::Unreadable(why));
    }
    decoded.object["apiVersion"] = kind.api_version().into();
    decoded.object["kind"] = (*kind.kind).into();
    Ok(decoded)
}

/// Upstream's own form of any kind, whose fields have other names: nothing of what is sent is read.
static OTHER_NAMES: LazyLock<Type> = LazyLock::new(|| Type::Struct(Struct::default()));
/// What it is not told of that.
const IS_HEAD: [&str; 2] = ["unknown field \"kind\"", "unknown field \"apiVersion\""];

/// What is left then.
fn nameless() -> Object {
    knarr_types::tree::json!({"metadata": {}})
}

/// A patched object in that form.
fn in_other_names(patched: &Object) -> Decoded {
    let told = patched.as_object().into_iter().flatten().map(|(name, _)| format!("unknown field {}", go_quoted(name)));
    Decoded { object: nameless(), faults: told.filter(|fault| !IS_HEAD.contains(&&**fault)).collect() }
}

/// Reads a body as an object of a custom kind.
fn decode_custom(
    kind: &Kind,
    custom: &Custom,
    body: &[u8],
    media: MediaType,
    validation: FieldValidation,
) -> Result<(Object, Vec<String>), Status> {
    let own = Head { group: kind.group.to_string(), version: kind.version.to_string(), kind: kind.kind.to_string() };
    if media == MediaType::Protobuf {
        let why = "object *unstructured.Unstructured does not implement the protobuf marshalling interface and cannot be \
                   encoded to a protobuf message";
        return Err(cannot_be_handled(&own, kind, &why));
    }
    let unrecognized = |why: String| {
        Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): {why} ({})",
            kind.kind,
            summary(body)
        ))
    };
    if media == MediaType::Json {
        head_in_json(body, kind).map_err(unrecognized)?;
    }
    let parsed = crd::decode::parse(body, media).map_err(unrecognized)?;
    let head_fault =
        crd::decode::check_head(kind, &parsed.object, &String::from_utf8_lossy(body), &summary(body)).err();
    if let Some(fault) = head_fault.clone().filter(|_| parsed.object["kind"].as_str().is_none_or(str::is_empty)) {
        return Err(fault);
    }
    let refused = |why: &dyn std::fmt::Display| cannot_be_handled(&own, kind, why);
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
pub(super) enum Opened<'a> {
    Json,
    Yaml(yaml::Document),
    Protobuf(Envelope<'a>),
}

pub(super) fn open(body: &[u8], media: MediaType) -> Result<Opened<'_>, String> {
    Ok(match media {
        MediaType::Json => Opened::Json,
        MediaType::Yaml => Opened::Yaml(yaml::first_document(body)?),
        MediaType::Protobuf => Opened::Protobuf(protobuf::open(body)?),
    })
}

fn cannot_be_handled(head: &Head, kind: &Kind, why: &dyn std::fmt::Display) -> Status {
    let Head { version, kind: name, .. } = head;
    let version = go_quoted(version);
    Status::bad_request(format!("{name} in version {version} cannot be handled as a {}: {why}", kind.kind))
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
