// SPDX-License-Identifier: Apache-2.0
//! The owners of an object's fields, folded: one text in place of the list.
//!
//! They make up half of most objects, and nearly every write only needs them to write them again. So the
//! write path keeps them as they are stored, a JSON text under `metadata.managedFields`, and unfolds them
//! where somebody looks at them. No client can send such a text: the field's type is a list.

use std::borrow::Cow;

use bytes::Bytes;
use knarr_types::Object;
use knarr_types::tree::{Map, Text, Value, stored_members};
use serde::de::Error;

use super::Manager;
use super::entries::{Entries, EntryError};
use crate::typed::Comparison;

/// The entries as an object has them.
#[derive(Clone, Debug)]
pub(crate) enum Owners<'a> {
    /// A list, as clients send and get it.
    Listed(Cow<'a, [Value]>),
    /// Its text.
    Folded(Cow<'a, str>),
}

impl<'a> Owners<'a> {
    /// Nobody owns anything.
    pub(crate) const NONE: Owners<'static> = Owners::Listed(Cow::Borrowed(&[]));

    /// Those of an object.
    pub(crate) fn of(object: &'a Object) -> Option<Self> {
        match object.get("metadata")?.get("managedFields")? {
            Value::Array(list) => Some(Self::Listed(list.into())),
            Value::String(text) => Some(Self::Folded(text.into())),
            _ => None,
        }
    }

    /// Takes them out of an object.
    pub(crate) fn take(object: &mut Object) -> Option<Owners<'static>> {
        match object.get_mut("metadata")?.as_object_mut()?.remove("managedFields") {
            Some(Value::Array(list)) => Some(Owners::Listed(list.into())),
            Some(Value::String(text)) => Some(Owners::Folded(text.into())),
            _ => None,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Listed(list) if list.is_empty())
    }

    pub(crate) const fn is_folded(&self) -> bool {
        matches!(self, Self::Folded(_))
    }

    /// The client wants all owners forgotten.
    pub(crate) fn is_reset(&self) -> bool {
        match self {
            Self::Listed(list) => match &**list {
                [] => true,
                [one] => one.as_object().is_some_and(Map::is_empty),
                _ => false,
            },
            Self::Folded(_) => false,
        }
    }

    /// Both say the same.
    pub(crate) fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Listed(a), Self::Listed(b)) => a == b,
            (Self::Folded(a), Self::Folded(b)) => a == b,
            (Self::Listed(list), Self::Folded(text)) | (Self::Folded(text), Self::Listed(list)) => {
                serde_json::from_str::<Vec<Value>>(text).is_ok_and(|other| other == **list)
            }
        }
    }

    /// Reads them.
    pub(crate) fn entries(&self) -> Result<Entries<'_>, EntryError> {
        match self {
            Self::Listed(list) => Entries::parse(list),
            Self::Folded(text) => Entries::read(text),
        }
    }

    /// The same for a write by that manager that changed no more than what was found.
    pub(crate) fn touched_entries(
        &self,
        manager: &Manager<'_>,
        found: &Comparison<'_>,
    ) -> Result<Entries<'_>, EntryError> {
        match self {
            Self::Listed(list) => Entries::parse(list),
            Self::Folded(text) => Entries::read_touched(text, manager, found),
        }
    }

    /// What stands in an object for them.
    pub(crate) fn into_value(self) -> Value {
        match self {
            Self::Listed(list) => Value::Array(list.into_owned()),
            Self::Folded(text) => Value::String(text.into()),
        }
    }
}

/// The owners of the object are folded.
pub(crate) fn is_folded(object: &Object) -> bool {
    Owners::of(object).is_some_and(|owners| owners.is_folded())
}

/// Gives an object whose owners are folded their list.
pub fn unfold(object: &mut Object) {
    let Some(owners) = object.get_mut("metadata").and_then(|metadata| metadata.get_mut("managedFields")) else {
        return;
    };
    if let Value::String(text) = owners {
        *owners = serde_json::from_str(text).unwrap_or_default();
    }
}

/// The object with the list of its owners.
#[must_use]
pub fn unfolded(object: &Object) -> Cow<'_, Object> {
    let mut object = Cow::Borrowed(object);
    if is_folded(&object) {
        unfold(object.to_mut());
    }
    object
}

/// Takes folded owners out of an object, to be [put back](put_folded).
pub fn take_folded(object: &mut Object) -> Option<String> {
    if !is_folded(object) {
        return None;
    }
    match Owners::take(object)? {
        Owners::Folded(text) => Some(text.into_owned()),
        Owners::Listed(_) => None,
    }
}

/// Gives an object folded owners.
pub fn put_folded(object: &mut Object, owners: Option<String>) {
    super::put(object, owners.map(Value::from));
}

/// Reads a stored object; its owners stay folded, and what is beside its metadata stays [as it is](Map::stored).
///
/// # Errors
/// Where it is no JSON object with metadata.
pub fn read_folded(json: &Bytes) -> Result<Object, serde_json::Error> {
    let member = |(name, text): (Text, Bytes)| {
        let value = if name == "metadata" { read_metadata(&text)? } else { Value::stored(text)? };
        Ok((name, value))
    };
    stored_members(json)?.into_iter().map(member).collect::<Result<Map, _>>().map(Value::Object)
}

fn read_metadata(json: &Bytes) -> Result<Value, serde_json::Error> {
    let member = |(name, text): (Text, Bytes)| {
        let value = if name == "managedFields" {
            std::str::from_utf8(&text).map_err(serde_json::Error::custom)?.into()
        } else {
            Value::stored(text)?
        };
        Ok((name, value))
    };
    stored_members(json)?.into_iter().map(member).collect::<Result<Map, _>>().map(Value::Object)
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    fn object() -> Object {
        json!({"data": {"managedFields": [1]}, "metadata": {"name": "a", "managedFields": [
            {"apiVersion": "v1", "fieldsType": "FieldsV1", "manager": "m \"x\"", "operation": "Update",
             "fieldsV1": {"f:data": {".": {}, "f:a\nb": {}}, "f:l": {"k:{\"name\":\"a\"}": {}, "v:\"x\"": {}}}},
            {"apiVersion": "v1", "fieldsType": "FieldsV1", "manager": "n", "operation": "Update",
             "subresource": "status", "time": "2026-01-01T00:00:00Z", "fieldsV1": {}}]}})
    }

    #[test]
    fn a_stored_object_is_read_with_its_owners_folded() {
        let mut read = read_folded(&object().to_string().into()).unwrap();
        assert!(is_folded(&read));
        assert_eq!(read["data"], object()["data"]);
        assert_eq!(*unfolded(&read), object());
        unfold(&mut read);
        assert_eq!(read, object());
        assert!(read_folded(&Bytes::from_static(b"[]")).is_err());
        assert!(read_folded(&Bytes::from_static(b"{\"metadata\":1}")).is_err());
    }

    #[test]
    fn a_text_says_what_its_list_says() {
        let listed = object();
        let folded = read_folded(&listed.to_string().into()).unwrap();
        let (listed, folded) = (Owners::of(&listed).unwrap(), Owners::of(&folded).unwrap());
        assert!(listed.same(&folded) && folded.same(&folded));
        let by_list = listed.entries().unwrap();
        assert_eq!(by_list.clone().publish(), folded.entries().unwrap().publish());
        let text = folded.entries().unwrap().fold().unwrap();
        assert_eq!(text, by_list.publish().unwrap().to_string());
    }

    #[test]
    fn owners_that_make_no_sense_are_told_in_both_forms() {
        for (entry, why) in [
            (json!({"operation": "Update", "apiVersion": "v1", "fieldsType": "X"}), "invalid fieldsType \"X\""),
            (json!({"operation": "Update", "apiVersion": "v1"}), "missing fieldsType"),
            (json!({"operation": "Sing", "apiVersion": "v1"}), "operation must be"),
            (json!({"operation": "Update"}), "apiVersion must not be empty"),
        ] {
            let listed = Owners::Listed(vec![entry.clone()].into());
            let folded = Owners::Folded(json!([entry]).to_string().into());
            for owners in [listed, folded] {
                let error = owners.entries().err().unwrap().to_string();
                assert!(error.contains(why), "{error}");
            }
        }
        let odd = json!([{"operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"x": {}}}]);
        assert!(Owners::Folded(odd.to_string().into()).entries().is_err());
    }
}
