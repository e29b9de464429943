// SPDX-License-Identifier: Apache-2.0
//! From the bytes of a request to an object's tree, with upstream's words for what is wrong.
//!
//! One pass over the JSON builds the tree and checks it against the field table. Field names are
//! case sensitive, as in upstream's decoder; `null` is the same as leaving a field out.

mod again;
mod answer;
mod base64_text;
mod fault;
mod go_json;
pub mod go_time;
mod head;
mod json_tree;
mod kind;
mod settled;
mod templated;
mod typed;
pub mod yaml;

use std::borrow::Cow;
use std::collections::HashSet;

use knarr_types::Object;
use knarr_types::tree::{Number, Value};
use serde::de::DeserializeSeed;

use crate::field_table::Type;
use crate::{builtin_types, protobuf};
pub(crate) use base64_text::decode_url as decode_url_base64;
use fault::Context;
use head::Head;

pub use answer::decode_answer;
pub use head::{internal_package, not_registered};
pub use kind::{FieldValidation, PatchedFault, TEMPLATE_GENERATION, decode_as, decode_patched};
pub use templated::decode_templated;
use typed::Typed;
pub(crate) use typed::{shortest, zero};

/// What a body is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaType {
    /// `application/json`.
    Json,
    /// `application/yaml`; its first document counts.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`, for built-in kinds.
    Protobuf,
}

/// A body that could be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// The tree, without what its type does not know.
    pub object: Object,
    /// What a strict decoder minds, in the order of the body: `unknown field "spec.foo"`,
    /// `duplicate field "data.a"` (the last one counts). At most 100.
    pub faults: Vec<String>,
}

/// A body that could not be read. `Display` gives upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// It is not JSON or YAML.
    #[error("{0}")]
    Syntax(String),
    /// A field has a value of another type, or one that its type refuses.
    #[error("{0}")]
    Type(String),
}

impl Decoded {
    /// What a strict decoder says; `None` where it minds nothing.
    pub(crate) fn strict_error(&self) -> Option<String> {
        (!self.faults.is_empty()).then(|| format!("strict decoding error: {}", self.faults.join(", ")))
    }
}

/// Reads a body as an object of that type.
///
/// # Errors
/// Where the body is not of that media type, or a field has a value of another type.
pub fn decode(body: &[u8], media: MediaType, ty: &Type) -> Result<Decoded, DecodeError> {
    match media {
        MediaType::Json => decode_json(body, ty),
        MediaType::Yaml => {
            let document = yaml::first_document(body).map_err(DecodeError::Syntax)?;
            let mut decoded = check(document.value, ty)?;
            decoded.faults.splice(0..0, document.duplicates);
            Ok(decoded)
        }
        MediaType::Protobuf => {
            let envelope = protobuf::open(body).map_err(DecodeError::Syntax)?;
            decode_protobuf(envelope.object, ty)
        }
    }
}

/// Reads the message inside an envelope. Protobuf has no fields that are unknown by name.
fn decode_protobuf(message: &[u8], ty: &Type) -> Result<Decoded, DecodeError> {
    let named = match ty {
        Type::Struct(shape) => builtin_types::find(&shape.name),
        _ => None,
    };
    let named = named
        .ok_or_else(|| DecodeError::Type("object does not implement the protobuf marshalling interface".into()))?;
    let object = protobuf::read(named.message(), message).map_err(|fault| DecodeError::Syntax(fault.to_string()))?;
    Ok(Decoded { object, faults: Vec::new() })
}

/// Reads a tree (of a patched object) as an object of that type.
///
/// # Errors
/// Where a field has a value of another type.
pub fn check(object: Object, ty: &Type) -> Result<Decoded, DecodeError> {
    if settled::is_settled(&object, ty) {
        return Ok(Decoded { object, faults: Vec::new() });
    }
    decode_tree(object, ty)
}

fn decode_tree(object: Object, ty: &Type) -> Result<Decoded, DecodeError> {
    let mut context = Context::default();
    let seed = Typed { ty, context: &mut context };
    let result = seed.deserialize(&object);
    finish(context, result).map_err(|error| error.unwrap_or_else(|e| DecodeError::Syntax(e.to_string())))
}

/// What a client is warned of for faults: what go-yaml lists in one is a warning each.
#[must_use]
pub fn warnings(faults: Vec<String>) -> Vec<String> {
    const LISTS: [&str; 2] = ["yaml: unmarshal errors:\n", "error converting YAML to JSON: yaml: unmarshal errors:\n"];
    let each = |fault: String| match LISTS.iter().find_map(|front| fault.strip_prefix(front)) {
        Some(list) => list.split('\n').map(|line| line.trim().to_owned()).collect(),
        None => vec![fault],
    };
    faults.into_iter().flat_map(each).collect()
}

/// Reads any JSON, without a type, and tells members that come twice: `duplicate field "data.a"`. `float` says what
/// becomes of a number with a fraction or an exponent.
///
/// # Errors
/// Where the body is not JSON, in the words of upstream's decoder.
pub fn decode_strictly(body: &[u8], float: fn(Number) -> Value) -> Result<(Object, Vec<String>), DecodeError> {
    let text = text_of(body);
    json_tree::read(&text, float).map_err(|error| syntax_error(&text, &error))
}

/// Reads any JSON, without a type.
///
/// # Errors
/// Where the body is not JSON, in the words of upstream's decoder.
pub fn decode_any(body: &[u8]) -> Result<Object, DecodeError> {
    let text = text_of(body);
    serde_json::from_str(&text).map_err(|error| syntax_error(&text, &error))
}

/// A fault of what a patch made, which names a number as the patch has it: `1e3` for `1000.0`.
#[must_use]
pub fn as_written(why: &str, patch: &[u8]) -> String {
    const BEFORE: &str = "json: cannot unmarshal number ";
    let written = || {
        let (before, rest) = why.split_once(BEFORE)?;
        let (number, after) = rest.split_once(' ')?;
        let number = go_json::literal(&text_of(patch), number)?;
        Some(format!("{before}{BEFORE}{number} {after}"))
    };
    written().unwrap_or_else(|| why.to_owned())
}

/// The text of a body; what is no UTF-8 is replaced, as Go does. Nearly all are, and that is seen quickly.
fn text_of(body: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(body).map_or_else(|_| String::from_utf8_lossy(body), Cow::Borrowed)
}

fn decode_json(body: &[u8], ty: &Type) -> Result<Decoded, DecodeError> {
    let text = text_of(body);
    let mut deserializer = serde_json::Deserializer::from_str(&text);
    let mut context = Context { is_text: true, ..Context::default() };
    let seed = Typed { ty, context: &mut context };
    let result = seed.deserialize(&mut deserializer).and_then(|object| deserializer.end().map(|()| object));
    context.error = context.error.map(|fault| fault.with_literal(|number| go_json::literal(&text, number)));
    finish(context, result).map_err(|error| match error {
        // Upstream looks at the syntax of the whole body before it looks at any type.
        Ok(fault) => go_json::syntax_error(&text).map_or(fault, DecodeError::Syntax),
        Err(error) => syntax_error(&text, &error),
    })
}

fn syntax_error(text: &str, error: &serde_json::Error) -> DecodeError {
    DecodeError::Syntax(go_json::syntax_error(text).unwrap_or_else(|| error.to_string()))
}

/// The outcome of a pass: what was read, a fault of a value (`Ok`), or what the parser minds (`Err`).
fn finish<E>(context: Context, result: Result<Option<Object>, E>) -> Result<Decoded, Result<DecodeError, E>> {
    match (context.error, result) {
        (Some(fault), _) => Err(Ok(DecodeError::Type(fault.to_string()))),
        (None, Err(error)) => Err(Err(error)),
        (None, Ok(object)) => {
            let mut told = HashSet::new();
            let faults = context.strict.into_iter().map(|fault| fault.to_string());
            let faults = faults.filter(|fault| told.insert(fault.clone())).collect();
            Ok(Decoded { object: object.unwrap_or_default(), faults })
        }
    }
}

#[cfg(test)]
mod tests;
