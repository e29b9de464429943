// SPDX-License-Identifier: Apache-2.0
//! Parts of a definition as upstream's own structs print, which some messages repeat: other names, another
//! order, and every field whether it is set or not.

use knarr_types::go_json;
use knarr_types::tree::{Map, Number, Text, Value};

/// How a field of a struct is held.
#[derive(Clone, Copy)]
enum Held {
    /// As it is; `null` where it is not set.
    Pointer,
    Text,
    Flag,
    /// Any JSON.
    Free,
    /// A float that may be absent.
    Number,
    /// A whole number; 0 where it is not set.
    Count,
    Schema,
    Schemas,
    ByName,
    SchemaOrList,
    SchemaOrFlag,
    Struct(&'static [(&'static str, &'static str, Held)]),
    List(&'static [(&'static str, &'static str, Held)]),
}

type Fields = &'static [(&'static str, &'static str, Held)];

const SCHEMA: Fields = &[
    ("ID", "id", Held::Text),
    ("Schema", "$schema", Held::Text),
    ("Ref", "$ref", Held::Pointer),
    ("Description", "description", Held::Text),
    ("Type", "type", Held::Text),
    ("Nullable", "nullable", Held::Flag),
    ("Format", "format", Held::Text),
    ("Title", "title", Held::Text),
    ("Default", "default", Held::Free),
    ("Maximum", "maximum", Held::Number),
    ("ExclusiveMaximum", "exclusiveMaximum", Held::Flag),
    ("Minimum", "minimum", Held::Number),
    ("ExclusiveMinimum", "exclusiveMinimum", Held::Flag),
    ("MaxLength", "maxLength", Held::Pointer),
    ("MinLength", "minLength", Held::Pointer),
    ("Pattern", "pattern", Held::Text),
    ("MaxItems", "maxItems", Held::Pointer),
    ("MinItems", "minItems", Held::Pointer),
    ("UniqueItems", "uniqueItems", Held::Flag),
    ("MultipleOf", "multipleOf", Held::Number),
    ("Enum", "enum", Held::Free),
    ("MaxProperties", "maxProperties", Held::Pointer),
    ("MinProperties", "minProperties", Held::Pointer),
    ("Required", "required", Held::Pointer),
    ("Items", "items", Held::SchemaOrList),
    ("AllOf", "allOf", Held::Schemas),
    ("OneOf", "oneOf", Held::Schemas),
    ("AnyOf", "anyOf", Held::Schemas),
    ("Not", "not", Held::Schema),
    ("Properties", "properties", Held::ByName),
    ("AdditionalProperties", "additionalProperties", Held::SchemaOrFlag),
    ("PatternProperties", "patternProperties", Held::ByName),
    ("Dependencies", "dependencies", Held::Pointer),
    ("AdditionalItems", "additionalItems", Held::SchemaOrFlag),
    ("Definitions", "definitions", Held::ByName),
    (
        "ExternalDocs",
        "externalDocs",
        Held::Struct(&[("Description", "description", Held::Text), ("URL", "url", Held::Text)]),
    ),
    ("Example", "example", Held::Free),
    ("XPreserveUnknownFields", "x-kubernetes-preserve-unknown-fields", Held::Pointer),
    ("XEmbeddedResource", "x-kubernetes-embedded-resource", Held::Flag),
    ("XIntOrString", "x-kubernetes-int-or-string", Held::Flag),
    ("XListMapKeys", "x-kubernetes-list-map-keys", Held::Pointer),
    ("XListType", "x-kubernetes-list-type", Held::Pointer),
    ("XMapType", "x-kubernetes-map-type", Held::Pointer),
    (
        "XValidations",
        "x-kubernetes-validations",
        Held::List(&[
            ("Rule", "rule", Held::Text),
            ("Message", "message", Held::Text),
            ("MessageExpression", "messageExpression", Held::Text),
            ("Reason", "reason", Held::Pointer),
            ("FieldPath", "fieldPath", Held::Text),
            ("OptionalOldSelf", "optionalOldSelf", Held::Pointer),
        ]),
    ),
];

const VERSION: Fields = &[
    ("Name", "name", Held::Text),
    ("Served", "served", Held::Flag),
    ("Storage", "storage", Held::Flag),
    ("Deprecated", "deprecated", Held::Flag),
    ("DeprecationWarning", "deprecationWarning", Held::Pointer),
    ("Schema", "schema", Held::Struct(&[("OpenAPIV3Schema", "openAPIV3Schema", Held::Schema)])),
    (
        "Subresources",
        "subresources",
        Held::Struct(&[
            ("Status", "status", Held::Pointer),
            (
                "Scale",
                "scale",
                Held::Struct(&[
                    ("SpecReplicasPath", "specReplicasPath", Held::Text),
                    ("StatusReplicasPath", "statusReplicasPath", Held::Text),
                    ("LabelSelectorPath", "labelSelectorPath", Held::Pointer),
                ]),
            ),
        ]),
    ),
    (
        "AdditionalPrinterColumns",
        "additionalPrinterColumns",
        Held::List(&[
            ("Name", "name", Held::Text),
            ("Type", "type", Held::Text),
            ("Format", "format", Held::Text),
            ("Description", "description", Held::Text),
            ("Priority", "priority", Held::Count),
            ("JSONPath", "jsonPath", Held::Text),
        ]),
    ),
    ("SelectableFields", "selectableFields", Held::List(&[("JSONPath", "jsonPath", Held::Text)])),
];

/// A schema.
pub(super) fn schema(schema: &Value) -> String {
    object(schema, SCHEMA)
}

/// A version, without the fields that all versions say alike.
pub(super) fn version(version: &Value, lifted: impl Fn(&str) -> bool) -> String {
    let mut own = version.clone();
    if let Some(fields) = own.as_object_mut() {
        fields.retain(|name, _| !lifted(name));
    }
    object(&own, VERSION)
}

fn object(value: &Value, fields: Fields) -> String {
    let one = |(shown, name, held): &(&str, &str, Held)| format!("\"{shown}\":{}", field(&value[*name], *held));
    format!("{{{}}}", fields.iter().map(one).collect::<Vec<_>>().join(","))
}

fn field(value: &Value, held: Held) -> String {
    match (held, value) {
        (Held::Text, Value::Null) => "\"\"".into(),
        (Held::Flag, Value::Null) => "false".into(),
        (Held::Count, Value::Null) => "0".into(),
        (_, Value::Null) => "null".into(),
        (Held::Number, Value::Number(number)) => float(number),
        (Held::Schema, value) => object(value, SCHEMA),
        (Held::Struct(fields), value) => object(value, fields),
        (Held::Schemas, Value::Array(all)) => list(all, SCHEMA),
        (Held::List(fields), Value::Array(all)) => list(all, fields),
        (Held::ByName, Value::Object(all)) => by_name(all),
        (Held::SchemaOrList, Value::Array(all)) => format!("{{\"Schema\":null,\"JSONSchemas\":{}}}", list(all, SCHEMA)),
        (Held::SchemaOrList, one) => format!("{{\"Schema\":{},\"JSONSchemas\":null}}", object(one, SCHEMA)),
        (Held::SchemaOrFlag, Value::Bool(set)) => format!("{{\"Allows\":{set},\"Schema\":null}}"),
        (Held::SchemaOrFlag, one) => format!("{{\"Allows\":true,\"Schema\":{}}}", object(one, SCHEMA)),
        (_, value) => json(value),
    }
}

fn list(all: &[Value], fields: Fields) -> String {
    format!("[{}]", all.iter().map(|one| object(one, fields)).collect::<Vec<_>>().join(","))
}

fn by_name(all: &Map) -> String {
    let one =
        |(name, value): (&Text, &Value)| format!("{}:{}", json(&Value::from(name.as_str())), object(value, SCHEMA));
    format!("{{{}}}", all.iter().map(one).collect::<Vec<_>>().join(","))
}

fn float(number: &Number) -> String {
    match number.as_f64() {
        Some(float) if float.fract() == 0.0 && float.abs() < 1e21 => format!("{float:.0}"),
        _ => number.to_string(),
    }
}

/// As Go writes JSON: three characters of HTML as escapes.
fn json(value: &Value) -> String {
    go_json(value.to_string())
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn every_field_is_told() {
        let shown = version(
            &json!({"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object"}},
                "additionalPrinterColumns": [{"name": "A", "type": "string", "jsonPath": ".a"}]}),
            |name| name == "schema",
        );
        let want = r#"{"Name":"v1","Served":true,"Storage":true,"Deprecated":false,"DeprecationWarning":null,"Schema":null,"Subresources":{"Status":{},"Scale":null},"AdditionalPrinterColumns":[{"Name":"A","Type":"string","Format":"","Description":"","Priority":0,"JSONPath":".a"}],"SelectableFields":null}"#;
        assert_eq!(shown, want);
        let shown = schema(&json!({"type": "object", "maximum": 3.0, "properties": {"a": {"pattern": "<"}}}));
        assert!(
            shown.starts_with(r#"{"ID":"","Schema":"","Ref":null,"Description":"","Type":"object","Nullable":false"#)
        );
        assert!(shown.contains(r#""Maximum":3,"#) && shown.contains(r#""Properties":{"a":{"ID":"""#), "{shown}");
        assert!(shown.contains(r#""Pattern":"\u003c""#), "{shown}");
    }
}
