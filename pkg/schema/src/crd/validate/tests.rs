// SPDX-License-Identifier: Apache-2.0
//! Values against schemas, in upstream's words.

use knarr_types::tree::json;

use super::*;

#[test]
fn faults_are_told_in_upstreams_words() {
    let spec = json!({"type": "object", "required": ["a"], "properties": {
        "a": {"type": "string", "minLength": 2, "maxLength": 4, "pattern": "^[a-z]+$"},
        "i": {"type": "integer", "minimum": 1, "maximum": 9, "exclusiveMaximum": true, "multipleOf": 2},
        "e": {"type": "string", "enum": ["red", "green"]}, "n": {"type": "integer", "enum": [1, 2]},
        "l": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "string"}},
        "p": {"x-kubernetes-int-or-string": true}, "t": {"type": "string", "format": "ipv4"},
        "m": {"type": "object", "minProperties": 1, "additionalProperties": {"type": "string"}},
        "f": {"type": "number", "maximum": 0.5}, "z": {"type": "integer", "format": "int32"}}});
    let schema = StructuralSchema::parse(&json!({"type": "object", "properties": {"spec": spec}}));
    for (spec, want) in [
        (json!({}), "spec.a: Required value"),
        (json!({"a": 1}), "spec.a: Invalid value: \"integer\": spec.a in body must be of type string: \"integer\""),
        (json!({"a": "a"}), "spec.a: Invalid value: \"a\": spec.a in body should be at least 2 chars long"),
        (json!({"a": "abcde"}), "spec.a: Too long: may not be more than 4 bytes"),
        (json!({"a": "AB"}), "spec.a: Invalid value: \"AB\": spec.a in body should match '^[a-z]+$'"),
        (json!({"a": "ab", "i": 0}), "spec.i: Invalid value: 0: spec.i in body should be greater than or equal to 1"),
        (json!({"a": "ab", "i": 3}), "spec.i: Invalid value: 3: spec.i in body should be a multiple of 2"),
        (json!({"a": "ab", "i": 10}), "spec.i: Invalid value: 10: spec.i in body should be less than 9"),
        (json!({"a": "ab", "e": "x"}), "spec.e: Unsupported value: \"x\": supported values: \"red\", \"green\""),
        (json!({"a": "ab", "n": 3}), "spec.n: Unsupported value: 3: supported values: \"1\", \"2\""),
        (json!({"a": "ab", "l": []}), "spec.l: Invalid value: 0: spec.l in body should have at least 1 items"),
        (json!({"a": "ab", "l": ["a", "b", "c"]}), "spec.l: Too many: 3: must have at most 2 items"),
        (
            json!({"a": "ab", "l": [1]}),
            "spec.l[0]: Invalid value: \"integer\": spec.l[0] in body must be of type string: \"integer\"",
        ),
        (
            json!({"a": "ab", "p": true}),
            "spec.p: Invalid value: \"boolean\": spec.p in body must be of type integer,string: \"boolean\"",
        ),
        (json!({"a": "ab", "t": "x"}), "spec.t: Invalid value: \"x\": spec.t in body must be of type ipv4: \"x\""),
        (json!({"a": "ab", "m": {}}), "spec.m: Invalid value: 0: spec.m in body should have at least 1 properties"),
        (
            json!({"a": "ab", "f": 0.75}),
            "spec.f: Invalid value: 0.75: spec.f in body should be less than or equal to 0.5",
        ),
        (
            json!({"a": "ab", "z": 3_000_000_000_i64}),
            "<nil>: Invalid value: \"\": Checked value must be of type integer with format int32 in spec.z",
        ),
        (json!({"a": null}), "spec.a: Invalid value: \"null\": spec.a in body must be of type string: \"null\""),
    ] {
        let errors = super::schema(&json!({"spec": spec.clone()}), None, &schema, &FieldPath::root());
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), [want], "{spec}");
    }
}

#[test]
fn of_several_schemas_as_many_fit_as_must() {
    let schema = StructuralSchema::parse(&json!({"type": "object", "properties": {"spec": {"type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "string"}, "c": {"type": "integer"}},
        "oneOf": [{"required": ["a"]}, {"required": ["b"]}], "not": {"required": ["c"]}}}}));
    let said = |spec: Value| -> Vec<String> {
        let errors = super::schema(&json!({ "spec": spec }), None, &schema, &FieldPath::root());
        errors.iter().map(ToString::to_string).collect()
    };
    assert!(said(json!({"a": "x"})).is_empty());
    let none = "<nil>: Invalid value: \"\": \"spec\" must validate one and only one schema (oneOf). Found none valid";
    assert_eq!(said(json!({})), [none, "spec.a: Required value"]);
    let two = "<nil>: Invalid value: \"\": \"spec\" must validate one and only one schema (oneOf). Found 2 valid alternatives";
    assert_eq!(said(json!({"a": "x", "b": "y"})), [two]);
    let not = "<nil>: Invalid value: \"\": \"spec\" must not validate the schema (not)";
    assert_eq!(said(json!({"a": "x", "c": 1})), [not]);
}

#[test]
fn what_was_wrong_before_and_did_not_change_is_tolerated() {
    let schema = StructuralSchema::parse(&json!({"type": "object", "properties": {
        "a": {"type": "string", "maxLength": 2}, "b": {"type": "string"},
        "l": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"], "items": {"type": "object",
            "properties": {"n": {"type": "string"}, "v": {"type": "string", "maxLength": 1}}}},
        "s": {"type": "array", "items": {"type": "string", "maxLength": 1}}}}));
    let old = json!({"a": "long", "b": "x", "l": [{"n": "1", "v": "long"}], "s": ["long"]});
    let said = |new: Value| super::schema(&new, Some(&old), &schema, &FieldPath::root()).len();
    assert_eq!(said(json!({"a": "long", "b": "y", "l": [{"n": "0"}, {"n": "1", "v": "long"}], "s": ["long"]})), 0);
    assert_eq!(said(json!({"a": "other"})), 1);
    assert_eq!(said(json!({"s": ["long", "x"]})), 1, "a list without keys is one value");
    assert_eq!(said(json!({"l": [{"n": "2", "v": "long"}]})), 1);
}

#[test]
fn within_schemas_of_which_some_must_fit_nothing_is_tolerated() {
    let schema = StructuralSchema::parse(&json!({"type": "object", "properties": {"spec": {"type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
        "not": {"required": ["a"], "properties": {"a": {"enum": ["no"]}}}}}}));
    let old = json!({"spec": {"a": "x"}});
    let said = |new: Value| super::schema(&new, Some(&old), &schema, &FieldPath::root()).len();
    assert_eq!(said(json!({"spec": {"a": "x", "b": "y"}})), 0, "what was forgiven would fit what must not");
    assert_eq!(said(json!({"spec": {"a": "no"}})), 1);
}

#[test]
fn lists_keep_their_elements_apart() {
    let schema = StructuralSchema::parse(&json!({"type": "object", "properties": {
        "s": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "m": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a", "b"],
            "items": {"type": "object"}}}}));
    let value = json!({"s": ["x", "y", "x", "x"], "m": [{"a": 1}, {"a": 1, "b": 2}, {"a": 1, "c": 3}]});
    let errors: Vec<_> = list_types(&value, &schema, &FieldPath::root()).iter().map(ToString::to_string).collect();
    assert_eq!(errors, ["m[2]: Duplicate value: {\"a\":1}", "s[2]: Duplicate value: \"x\""]);
}
