// SPDX-License-Identifier: Apache-2.0
//! What the schemas of types and fields say beyond their tables, from `data/openapi-extras.tsv`: unions, the values of
//! elements.
//!
//! `scripts/generate-openapi-words.py` makes that file and says what its lines hold.

use knarr_types::tree::Value;

/// Adds what there is for a field, or for the type as a whole where the field has no name.
pub(super) fn add(schema: &mut Value, ty: &str, field: &str) {
    let lines = include_str!("../../data/openapi-extras.tsv").lines();
    let mut rows = lines.filter_map(|line| line.strip_prefix(ty)?.strip_prefix('\t')?.split_once('\t'));
    if let Some(extra) = rows.find(|(name, _)| *name == field).and_then(|(_, json)| json.parse().ok()) {
        merge(schema, extra);
    }
}

fn merge(into: &mut Value, from: Value) {
    match from {
        Value::Object(fields) => fields.into_iter().for_each(|(name, value)| merge(&mut into[name.as_str()], value)),
        other => *into = other,
    }
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn what_is_said_beyond_the_tables_is_merged_in() {
        let mut modes = json!({ "type": "array", "items": { "type": "string" } });
        add(&mut modes, "io.k8s.api.core.v1.PersistentVolumeSpec", "accessModes");
        assert_eq!((&modes["items"]["type"], &modes["items"]["enum"][0]), (&json!("string"), &json!("ReadOnlyMany")));
        let mut profile = json!({});
        add(&mut profile, "io.k8s.api.core.v1.AppArmorProfile", "");
        assert_eq!(profile["x-kubernetes-unions"][0]["discriminator"], "type");
        let mut other = json!({});
        add(&mut other, "io.k8s.api.core.v1.Pod", "");
        assert_eq!(other, json!({}));
    }
}
