// SPDX-License-Identifier: Apache-2.0
//! Patches of three kinds, as functions from a tree to a tree, in upstream's words where they fail.
//!
//! JSON patch is RFC 6902 with the leniencies of upstream's library, merge patch is RFC 7386, and
//! strategic merge patch knows from an object's type how its lists merge. None panics on any input.

pub(crate) mod go_text;
mod json;
mod restore;
mod strategic;

pub use go_text::json_kind;
use knarr_types::tree::{Map, Value};
use knarr_types::{Object, Reason, Status, StatusDetails};

pub use json::{MAX_OPERATIONS, check_json_patch, json_patch};
pub use restore::{restore_fault, restore_numbers};
pub use strategic::{spent_patch, strategic_merge_patch};

/// A patch that was not applied. `Display` gives upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatchError {
    /// It is no patch.
    #[error("{0}")]
    Malformed(String),
    /// It is JSON, but of another type than a patch; in the words of the strict decoder that looks at it first.
    #[error("error decoding patch: {0}")]
    WrongType(String),
    /// It has too many operations.
    #[error("Request entity too large: The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {0}")]
    TooManyOperations(usize),
    /// An operation of a JSON patch does not apply.
    #[error("{0}")]
    NotApplicable(String),
    /// A strategic merge patch does not fit the object or its type.
    #[error("{0}")]
    Strategic(String),
}

impl PatchError {
    /// As the client gets it.
    #[must_use]
    pub fn to_status(&self) -> Status {
        match self {
            Self::Malformed(_) | Self::WrongType(_) => Status::bad_request(self.to_string()),
            Self::TooManyOperations(_) => Status::too_large(self.to_string()),
            Self::NotApplicable(_) => {
                let message = "the server rejected our request due to an error in our request";
                Status::new(422, Reason::Invalid, message).with_details(StatusDetails::default())
            }
            Self::Strategic(why) if why.starts_with("invalid patch format of ") => Status::bad_request(why.clone()),
            Self::Strategic(_) => Status::new(500, Reason::Unknown, self.to_string()),
        }
    }
}

/// A patch as upstream prints it where its result cannot be read: `map[spec:map[replicas:x]]`.
#[must_use]
pub fn printed(patch: &Value) -> String {
    go_text::plain(patch)
}

/// A JSON merge patch: members of the patch replace those of the object, `null` takes them out.
///
/// # Errors
/// Where the patch is no object.
pub fn merge_patch(mut object: Object, patch: &Value) -> Result<Object, PatchError> {
    let Value::Object(patch) = patch else {
        return Err(match patch {
            Value::Null => PatchError::Malformed("Invalid JSON Patch".into()),
            other => PatchError::WrongType(not_an_object(other)),
        });
    };
    merge_members(&mut object, patch);
    Ok(object)
}

/// What Go's decoder says of a merge patch or strategic merge patch that is no object.
pub(crate) fn not_an_object(patch: &Value) -> String {
    format!("json: cannot unmarshal {} into Go value of type map[string]interface {{}}", json_kind(patch))
}

fn merge_members(object: &mut Value, patch: &Map) {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let Value::Object(members) = object else { return };
    for (name, value) in patch {
        match value {
            Value::Null => {
                members.remove(name);
            }
            Value::Object(patch) => merge_members(members.entry(name.clone()).or_insert(Value::Null), patch),
            other => {
                let is_over_object = members.get(name).is_some_and(Value::is_object);
                // Upstream's library looks into what it puts in, but not in place of an object.
                let put = if is_over_object { other.clone() } else { without_nulls(other) };
                members.insert(name.clone(), put);
            }
        }
    }
}

/// What a patch puts in, where members that are `null` have nothing to take out.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let filled = members.iter().filter(|(_, value)| !value.is_null());
            Value::Object(filled.map(|(name, value)| (name.clone(), without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests;
