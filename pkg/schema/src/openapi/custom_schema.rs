// SPDX-License-Identifier: Apache-2.0
//! The schema of a CRD's version as it is published: with what every resource has, and in version 2 without what that
//! has no words for (`k8s.io/apiextensions-apiserver/pkg/controller/openapi`).

use knarr_types::tree::{Map, Value, json};

use super::words::{EMBEDDED_API_VERSION, EMBEDDED_KIND};

/// Says what a resource has whatever its schema says, with the words of its `apiVersion` and `kind`.
pub(super) fn resource(schema: &mut Value, metadata: &Value, api_version: &str, kind: &str) {
    schema["properties"]["apiVersion"] = json!({ "type": "string", "description": api_version });
    schema["properties"]["kind"] = json!({ "type": "string", "description": kind });
    schema["properties"]["metadata"] = metadata.clone();
}

/// Says what the resources inside of an object have.
pub(super) fn embedded(schema: &mut Value, metadata: &Value, v2: bool) {
    below(schema, &mut |schema| embedded(schema, metadata, v2));
    let is = |name: &str| schema[name] == true;
    if !is("x-kubernetes-embedded-resource") || (v2 && is("x-kubernetes-preserve-unknown-fields")) {
        return;
    }
    resource(schema, metadata, EMBEDDED_API_VERSION, EMBEDDED_KIND);
    let mut required = schema["required"].as_array().cloned().unwrap_or_default();
    for name in ["kind", "apiVersion"] {
        if !required.iter().any(|known| known == name) {
            required.push(name.into());
        }
    }
    schema["required"] = required.into();
}

/// Says that an int-or-string is one or the other.
pub(super) fn unfold(schema: &mut Value) {
    below(schema, &mut unfold);
    let either = json!([{ "type": "integer" }, { "type": "string" }]);
    if schema["x-kubernetes-int-or-string"] != true
        || schema["anyOf"] == either
        || schema["allOf"][0]["anyOf"] == either
    {
        return;
    }
    if schema["anyOf"].is_null() {
        schema["anyOf"] = either;
        return;
    }
    let mut all = schema["allOf"].as_array().cloned().unwrap_or_default();
    all.insert(0, json!({ "anyOf": either }));
    schema["allOf"] = all.into();
}

/// Takes away what OpenAPI 2 has no words for, and what kubectl would refuse right values by.
pub(super) fn only_v2(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    let is = |fields: &Map, name: &str| fields.get(name).is_some_and(|value| *value == true);
    let remove = |fields: &mut Map, names: &[&str]| names.iter().for_each(|name| drop(fields.remove(name)));
    remove(fields, &["allOf", "anyOf", "oneOf", "not", "default"]);
    if is(fields, "nullable") {
        remove(fields, &["type", "nullable", "items", "properties"]);
    }
    let free = is(fields, "x-kubernetes-preserve-unknown-fields");
    if free {
        remove(fields, &["items", "properties"]);
    }
    let list_of_any = fields.get("type").is_some_and(|ty| ty == "array") && !fields.contains_key("items");
    if list_of_any || (free && fields.get("type").is_some_and(|ty| ty == "object")) {
        fields.remove("type");
    }
    let properties = fields.get("properties").and_then(Value::as_object).into_iter().flatten();
    let nullable: Vec<String> = properties.filter(|(_, s)| s["nullable"] == true).map(|(n, _)| n.to_string()).collect();
    if let Some(required) = fields.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| !nullable.iter().any(|nullable| name == nullable));
    }
    let none_left = fields.get("required").and_then(Value::as_array).is_some_and(Vec::is_empty);
    if none_left || fields.get("additionalProperties").is_some_and(|values| values["nullable"] == true) {
        fields.remove("required");
    }
    below(schema, &mut only_v2);
}

/// The schemas right below, those of partial checks aside.
fn below(schema: &mut Value, change: &mut dyn FnMut(&mut Value)) {
    let Some(fields) = schema.as_object_mut() else { return };
    for name in ["items", "additionalProperties"] {
        fields.get_mut(name).filter(|schema| schema.is_object()).map(&mut *change);
    }
    let properties = fields.get_mut("properties").and_then(Value::as_object_mut);
    properties.into_iter().flatten().for_each(|(_, schema)| change(schema));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_2_says_less() {
        for (schema, want) in [
            (json!({"type": "object", "nullable": true, "properties": {}}), json!({})),
            (
                json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"a": {}}}),
                json!({"x-kubernetes-preserve-unknown-fields": true}),
            ),
            (
                json!({"type": "object", "required": ["a", "b"],
                    "properties": {"a": {"type": "string", "nullable": true}, "b": {"anyOf": [], "type": "string"}}}),
                json!({"type": "object", "required": ["b"], "properties": {"a": {}, "b": {"type": "string"}}}),
            ),
            (json!({"type": "array"}), json!({})),
        ] {
            let mut made = schema.clone();
            only_v2(&mut made);
            assert_eq!(made, want, "{schema}");
        }
    }

    #[test]
    fn either_and_embedded_are_spelled_out() {
        let mut schema = json!({"type": "object", "properties": {
            "port": {"x-kubernetes-int-or-string": true},
            "pod": {"type": "object", "x-kubernetes-embedded-resource": true, "required": ["kind"]}}});
        unfold(&mut schema);
        embedded(&mut schema, &json!({"$ref": "m"}), false);
        let either = json!([{"type": "integer"}, {"type": "string"}]);
        assert_eq!(schema["properties"]["port"]["anyOf"], either);
        let pod = &schema["properties"]["pod"];
        assert_eq!(
            (&pod["required"], &pod["properties"]["metadata"]),
            (&json!(["kind", "apiVersion"]), &json!({"$ref": "m"}))
        );
    }
}
