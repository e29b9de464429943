// SPDX-License-Identifier: Apache-2.0
//! Rules on small schemas: what is refused, in which words, and what a CRD may not say.

use serde_json::{Value, json};

use super::*;

fn validator(properties: Value) -> Validator {
    let schema = json!({"type": "object", "properties": {"spec": properties}});
    Validator::new(&StructuralSchema::parse(&schema)).unwrap()
}

fn errors(validator: &Validator, spec: Value, old: Option<Value>) -> Vec<String> {
    let (object, old) = (json!({"spec": spec}), old.map(|old| json!({"spec": old})));
    validator.validate(&object, old.as_ref()).errors.iter().map(ToString::to_string).collect()
}

#[test]
fn a_rule_that_does_not_hold_is_named_by_itself_or_its_message() {
    let validator = validator(json!({"type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
    "x-kubernetes-validations": [
        {"rule": "self.a <= self.b"},
        {"rule": "self.a < 10", "message": "small", "reason": "FieldValueForbidden", "fieldPath": ".a"},
        {"rule": "self.b < 10", "messageExpression": "'b is ' + string(self.b)"},
    ]}));
    assert_eq!(errors(&validator, json!({"a": 1, "b": 2}), None), Vec::<String>::new());
    assert_eq!(
        errors(&validator, json!({"a": 12, "b": 11}), None),
        [
            "spec: Invalid value: failed rule: self.a <= self.b",
            "spec.a: Forbidden: small",
            "spec: Invalid value: b is 11"
        ]
    );
    assert_eq!(
        errors(&validator, json!({"a": 1}), None)[0],
        "spec: Invalid value: \"object\": no such key: b evaluating rule: self.a <= self.b"
    );
}

#[test]
fn elements_with_keys_are_compared_with_what_they_were() {
    let validator = validator(json!({"type": "array", "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["k"],
        "items": {"type": "object",
            "properties": {"k": {"type": "string"}, "v": {"type": "integer"}},
            "x-kubernetes-validations": [{"rule": "self.v >= oldSelf.v", "message": "grows"}]}}));
    let old = json!([{"k": "a", "v": 1}, {"k": "b", "v": 5}]);
    let new = json!([{"k": "b", "v": 4}, {"k": "a", "v": 2}, {"k": "c", "v": 0}]);
    assert_eq!(errors(&validator, new, Some(old)), ["spec[0]: Invalid value: grows"]);
}

#[test]
fn what_was_wrong_before_and_did_not_change_is_only_warned_of() {
    let validator = validator(json!({"type": "object", "properties": {
        "a": {"type": "integer", "x-kubernetes-validations": [{"rule": "self > 0"}]},
        "b": {"type": "integer"},
    }}));
    let verdict = validator.validate(&json!({"spec": {"a": 0, "b": 2}}), Some(&json!({"spec": {"a": 0, "b": 1}})));
    assert!(verdict.errors.is_empty());
    assert_eq!(verdict.warnings, ["spec.a: Invalid value: 0: failed rule: self > 0"]);
}

#[test]
fn faults_of_rules_are_found_when_the_crd_is_written() {
    let check = |spec: Value| {
        let schema = StructuralSchema::parse(&json!({"type": "object", "properties": {"spec": spec}}));
        let errors = check_expressions(&schema, &knarr_types::FieldPath::new("s"), &ErrorList::new());
        errors.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let rule = |ty: Value, rule: &str| {
        let mut schema = ty;
        schema["x-kubernetes-validations"] = json!([{"rule": rule}]);
        check(schema)
    };
    let integer = || json!({"type": "object", "properties": {"a": {"type": "integer"}}});
    assert_eq!(
        rule(integer(), "self.b > 0"),
        ["s.properties[spec].x-kubernetes-validations[0].rule: Invalid value: {\"Rule\":\"self.b \\u003e 0\",\
          \"Message\":\"\",\"MessageExpression\":\"\",\"Reason\":null,\"FieldPath\":\"\",\"OptionalOldSelf\":null}: \
          compilation failed: ERROR: <input>:1:5: undefined field 'b'\n | self.b > 0\n | ....^"]
    );
    assert!(rule(integer(), "self.a")[0].ends_with("cel expression must evaluate to a bool"));
    assert_eq!(rule(integer(), "self.a > 0"), Vec::<String>::new());
    let unbounded = json!({"type": "array", "items": {"type": "string"}});
    assert_eq!(rule(unbounded, "self.all(x, self.all(y, x == y))").len(), 3);
    let bounded = json!({"type": "array", "maxItems": 10, "items": {"type": "string", "maxLength": 10}});
    assert_eq!(rule(bounded, "self.all(x, self.all(y, x == y))"), Vec::<String>::new());
}
