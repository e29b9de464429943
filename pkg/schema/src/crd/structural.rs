// SPDX-License-Identifier: Apache-2.0
//! The schema of one version of a custom resource, read from `spec.versions[].schema.openAPIV3Schema`.
//!
//! Made once when a CRD is established; validation, defaults, pruning, CEL rules and the field table
//! all read it. A schema is a tree (`$ref` is not allowed in CRDs), and the same type serves for the
//! partial schemas below `allOf`, `anyOf`, `oneOf` and `not`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use knarr_types::tree::{Map, Number, Value};
use regex::Regex;

use crate::go_regex;

/// One node of a schema.
#[derive(Debug, Default)]
pub struct StructuralSchema {
    /// `object`, `array`, `string`, `integer`, `number`, `boolean`; empty where none is said
    /// (int-or-string, free values, partial schemas).
    pub ty: String,
    /// `date-time`, `int32`, ...; empty for none.
    pub format: String,
    /// `null` is a value of it.
    pub nullable: bool,
    /// What is filled in where the field is not there.
    pub default: Option<Value>,
    /// The known fields of an object.
    pub properties: BTreeMap<String, StructuralSchema>,
    /// The other fields of an object.
    pub additional: Additional,
    /// The elements of a list.
    pub items: Option<Box<StructuralSchema>>,
    /// What the value must be besides its type.
    pub checks: Checks,
    /// `x-kubernetes-int-or-string`
    pub int_or_string: bool,
    /// `x-kubernetes-embedded-resource`
    pub embedded_resource: bool,
    /// `x-kubernetes-preserve-unknown-fields`
    pub preserve_unknown_fields: bool,
    /// `x-kubernetes-list-type`
    pub list_type: ListType,
    /// `x-kubernetes-list-map-keys`, in the order of the schema.
    pub list_map_keys: Vec<String>,
    /// `x-kubernetes-map-type: atomic`
    pub map_atomic: bool,
    /// `x-kubernetes-validations`
    pub rules: Vec<ValidationRule>,
}

/// `additionalProperties`: what fields an object may have beside its known ones.
#[derive(Debug, Default)]
pub enum Additional {
    /// Nothing is said.
    #[default]
    Unset,
    /// `true` or `false`.
    Allowed(bool),
    /// Values of this schema: the object is a map.
    Schema(Box<StructuralSchema>),
}

/// `x-kubernetes-list-type`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    /// Nothing is said, which means atomic.
    #[default]
    Unset,
    /// The list is one value.
    Atomic,
    /// Its scalars are unique.
    Set,
    /// Its objects are told apart by their keys.
    Map,
}

/// What a value must be besides its type.
#[derive(Debug, Default)]
pub struct Checks {
    /// The fields that must be there.
    pub required: Vec<String>,
    /// The values that it may be; empty for any.
    pub values: Vec<Value>,
    /// A regular expression that text must match somewhere.
    pub pattern: Option<Pattern>,
    /// The least number.
    pub minimum: Option<Number>,
    /// The least number is not itself allowed.
    pub exclusive_minimum: bool,
    /// The greatest number.
    pub maximum: Option<Number>,
    /// The greatest number is not itself allowed.
    pub exclusive_maximum: bool,
    /// A number must be a multiple of it.
    pub multiple_of: Option<Number>,
    /// The least characters of text.
    pub min_length: Option<i64>,
    /// The most characters of text.
    pub max_length: Option<i64>,
    /// The least elements.
    pub min_items: Option<i64>,
    /// The most elements.
    pub max_items: Option<i64>,
    /// Elements are unique.
    pub unique_items: bool,
    /// The least fields.
    pub min_properties: Option<i64>,
    /// The most fields.
    pub max_properties: Option<i64>,
    /// The value fits all of these.
    pub all_of: Vec<StructuralSchema>,
    /// The value fits at least one of these.
    pub any_of: Vec<StructuralSchema>,
    /// The value fits exactly one of these.
    pub one_of: Vec<StructuralSchema>,
    /// The value does not fit this.
    pub not: Option<Box<StructuralSchema>>,
}

/// A regular expression, compiled when it is first used.
#[derive(Debug)]
pub struct Pattern {
    /// As the schema has it.
    pub text: String,
    compiled: LazyLock<Option<Regex>, Box<dyn FnOnce() -> Option<Regex> + Send>>,
}

/// One rule of `x-kubernetes-validations`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ValidationRule {
    /// The CEL expression.
    pub rule: String,
    /// What is said where it does not hold; empty for a message made from the rule.
    pub message: String,
    /// A CEL expression that gives the message; empty for none.
    pub message_expression: String,
    /// `FieldValueInvalid`, `FieldValueForbidden`, `FieldValueRequired`, `FieldValueDuplicate`; empty for
    /// the first.
    pub reason: String,
    /// The field, relative to this node, that the error is about; empty for the node.
    pub field_path: String,
    /// `oldSelf` is an optional, and the rule also holds on creation.
    pub optional_old_self: Option<bool>,
}

impl StructuralSchema {
    /// Reads a JSONSchemaProps. What is of a wrong type counts as not said: a CRD's own validation has
    /// refused it before.
    #[must_use]
    pub fn parse(props: &Value) -> Self {
        let flag = |name: &str| props[name].as_bool().unwrap_or_default();
        Self {
            ty: text(props, "type"),
            format: text(props, "format"),
            nullable: flag("nullable"),
            default: props.get("default").filter(|value| !value.is_null()).cloned(),
            properties: schemas(&props["properties"]),
            additional: Additional::parse(&props["additionalProperties"]),
            items: props.get("items").filter(|items| items.is_object()).map(|items| Box::new(Self::parse(items))),
            checks: Checks::parse(props),
            int_or_string: flag("x-kubernetes-int-or-string"),
            embedded_resource: flag("x-kubernetes-embedded-resource"),
            preserve_unknown_fields: flag("x-kubernetes-preserve-unknown-fields"),
            list_type: ListType::parse(&text(props, "x-kubernetes-list-type")),
            list_map_keys: texts(&props["x-kubernetes-list-map-keys"]),
            map_atomic: props["x-kubernetes-map-type"] == "atomic",
            rules: elements(&props["x-kubernetes-validations"]).map(ValidationRule::parse).collect(),
        }
    }

    /// The schema of a field: that of the known one, or that of the map's values.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Self> {
        self.properties.get(name).or_else(|| self.additional.schema())
    }
}

impl Additional {
    fn parse(value: &Value) -> Self {
        match value {
            Value::Bool(allowed) => Self::Allowed(*allowed),
            Value::Object(_) => Self::Schema(Box::new(StructuralSchema::parse(value))),
            _ => Self::Unset,
        }
    }

    /// The schema of the values of a map.
    #[must_use]
    pub fn schema(&self) -> Option<&StructuralSchema> {
        if let Self::Schema(schema) = self { Some(schema) } else { None }
    }
}

impl ListType {
    fn parse(text: &str) -> Self {
        match text {
            "atomic" => Self::Atomic,
            "set" => Self::Set,
            "map" => Self::Map,
            _ => Self::Unset,
        }
    }
}

impl Checks {
    fn parse(props: &Value) -> Self {
        let flag = |name: &str| props[name].as_bool().unwrap_or_default();
        let number = |name: &str| props[name].as_number().cloned();
        let count = |name: &str| props[name].as_i64();
        let list = |name: &str| elements(&props[name]).map(StructuralSchema::parse).collect();
        Self {
            required: texts(&props["required"]),
            values: elements(&props["enum"]).cloned().collect(),
            pattern: props["pattern"].as_str().filter(|text| !text.is_empty()).map(Pattern::new),
            minimum: number("minimum"),
            exclusive_minimum: flag("exclusiveMinimum"),
            maximum: number("maximum"),
            exclusive_maximum: flag("exclusiveMaximum"),
            multiple_of: number("multipleOf"),
            min_length: count("minLength"),
            max_length: count("maxLength"),
            min_items: count("minItems"),
            max_items: count("maxItems"),
            unique_items: flag("uniqueItems"),
            min_properties: count("minProperties"),
            max_properties: count("maxProperties"),
            all_of: list("allOf"),
            any_of: list("anyOf"),
            one_of: list("oneOf"),
            not: props.get("not").filter(|not| not.is_object()).map(|not| Box::new(StructuralSchema::parse(not))),
        }
    }
}

impl Pattern {
    /// Of that text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let source = text.to_owned();
        Self { text: text.to_owned(), compiled: LazyLock::new(Box::new(move || go_regex::compile(&source).ok())) }
    }

    /// Whether the text matches somewhere; a pattern that cannot be read matches everything.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.compiled.as_ref().is_none_or(|regex| regex.is_match(text))
    }
}

impl ValidationRule {
    fn parse(value: &Value) -> Self {
        Self {
            rule: text(value, "rule"),
            message: text(value, "message"),
            message_expression: text(value, "messageExpression"),
            reason: text(value, "reason"),
            field_path: text(value, "fieldPath"),
            optional_old_self: value["optionalOldSelf"].as_bool(),
        }
    }
}

fn schemas(properties: &Value) -> BTreeMap<String, StructuralSchema> {
    let fields = properties.as_object().into_iter().flat_map(Map::iter);
    fields.map(|(name, props)| (name.to_string(), StructuralSchema::parse(props))).collect()
}

fn elements(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

fn texts(list: &Value) -> Vec<String> {
    elements(list).filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn a_schema_is_read_with_all_that_is_below_it() {
        let schema = StructuralSchema::parse(&json!({"type": "object", "required": ["spec"], "properties": {
            "spec": {"type": "object", "additionalProperties": {"type": "string", "pattern": "^a+$", "nullable": true}},
            "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port"],
                "items": {"type": "object", "properties": {"port": {"type": "integer", "default": 80, "maximum": 65535}}}}},
            "x-kubernetes-validations": [{"rule": "self.x", "message": "m", "optionalOldSelf": true}]}));
        assert_eq!((schema.ty.as_str(), schema.checks.required.as_slice()), ("object", ["spec".to_owned()].as_slice()));
        let value = schema.properties["spec"].field("any").unwrap();
        let pattern = value.checks.pattern.as_ref().unwrap();
        assert!(value.nullable && pattern.matches("aa") && !pattern.matches("ab"));
        let ports = &schema.properties["ports"];
        assert_eq!((ports.list_type, ports.list_map_keys.as_slice()), (ListType::Map, ["port".to_owned()].as_slice()));
        let port = ports.items.as_ref().unwrap().field("port").unwrap();
        assert_eq!((&port.default, &port.checks.maximum), (&Some(json!(80)), &Some(65535.into())));
        assert_eq!(schema.rules[0].optional_old_self, Some(true));
    }
}
