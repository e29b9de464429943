// SPDX-License-Identifier: Apache-2.0
//! From an object's tree to the bytes that are stored and sent.

mod as_patched;
pub(crate) mod json;
mod yaml;

use knarr_types::Object;
use knarr_types::tree::{Text, Value};

pub use as_patched::{Opened, as_merged, as_patched};
pub use yaml::to_yaml;

use json::entry;

/// An object as it is stored: canonical JSON (sorted keys, no spaces) without its resourceVersion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The bytes.
    pub json: Vec<u8>,
    /// Where `"resourceVersion":"N",` belongs: right behind `"metadata":{`. Something always
    /// follows there, as every stored object has a name.
    pub revision_at: usize,
}

/// Writes an object as it is stored. What its place says already is left out (`apiVersion`, `kind`), and
/// `metadata.resourceVersion`, which only the store knows. An object without metadata gets an empty one.
#[must_use]
pub fn encode(object: &Object) -> Encoded {
    let empty = knarr_types::tree::Map::new();
    let fields = object.as_object().unwrap_or(&empty);
    let metadata = fields.get("metadata").and_then(Value::as_object).unwrap_or(&empty);
    let own = |(name, _): &(&Text, &Value)| !matches!(name.as_str(), "apiVersion" | "kind");
    let before = fields.iter().take_while(|(name, _)| name.as_str() < "metadata").filter(own);
    let after = fields.iter().skip_while(|(name, _)| name.as_str() <= "metadata");
    let mut json = Vec::with_capacity(4096);
    json.push(b'{');
    for (name, value) in before {
        entry(&mut json, name, value);
        json.push(b',');
    }
    json.extend_from_slice(b"\"metadata\":{");
    let revision_at = json.len();
    let mut separator: &[u8] = b"";
    for (name, value) in metadata.iter().filter(|(name, _)| *name != "resourceVersion") {
        json.extend_from_slice(separator);
        separator = b",";
        match value {
            // Folded owners are the text of their list already.
            Value::String(owners) if name == "managedFields" => {
                json.extend_from_slice(b"\"managedFields\":");
                json.extend_from_slice(owners.as_bytes());
            }
            value => entry(&mut json, name, value),
        }
    }
    json.push(b'}');
    for (name, value) in after {
        json.push(b',');
        entry(&mut json, name, value);
    }
    json.push(b'}');
    Encoded { json, revision_at }
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn the_revision_is_spliced_in_behind_the_opening_of_metadata() {
        for object in [
            json!({"apiVersion": "v1", "kind": "X", "metadata": {"name": "\"metadata\":{", "resourceVersion": "7"}, "spec": {"a": [1]}}),
            json!({"aa": {"metadata": {}}, "metadata": {"name": "a"}}),
        ] {
            let encoded = encode(&object);
            let mut text = String::from_utf8(encoded.json).unwrap();
            text.insert_str(encoded.revision_at, "\"resourceVersion\":\"7\",");
            let mut want = object.clone();
            want["metadata"]["resourceVersion"] = json!("7");
            want.as_object_mut().unwrap().retain(|name, _| name != "apiVersion" && name != "kind");
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), want);
        }
    }

    #[test]
    fn what_is_not_an_object_is_written_as_an_empty_one() {
        assert_eq!(encode(&Value::Null), Encoded { json: b"{\"metadata\":{}}".to_vec(), revision_at: 13 });
    }
}
