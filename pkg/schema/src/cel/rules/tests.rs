// SPDX-License-Identifier: Apache-2.0
//! Rules on small schemas: what is refused, in which words, and what a CRD may not say.

use knarr_types::tree::{Value, json};

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
        let errors = check_expressions(&schema, &FieldPath::new("s"), &ErrorList::new());
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

/// The most that a rule costs, by upstream's own table
/// (`k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/compilation_test.go`).
#[test]
fn costs_are_estimated_as_upstream_does() {
    let text = |most: Option<i64>| json!({"type": "string", "maxLength": most});
    let list = |most: Option<i64>| json!({"type": "array", "maxItems": most, "items": text(most)});
    let numbers = |most: i64| json!({"type": "array", "maxItems": most, "items": {"type": "number"}});
    let map = |of: &str| json!({"type": "object", "additionalProperties": {"type": of}});
    let texts = |names: &[&str], most: i64| {
        let fields = names.iter().map(|name| ((*name).to_owned(), text(Some(most))));
        json!({"type": "object", "properties": fields.collect::<knarr_types::tree::Map>()})
    };
    for (schema, rule, want) in [
        (json!({"type": "array", "items": {"type": "number"}}), "self.all(x, true)", 4_718_591),
        (numbers(10), "self.all(x, true)", 32),
        (numbers(10), "self.all(x, self.all(y, true))", 352),
        (numbers(10), "self.all(x, self.all(y, self.all(z, true)))", 3552),
        (map("string"), "self.all(x, true)", 1_179_647),
        (map("integer"), "oldSelf.size() == self.size()", 5),
        (text(None), "self.contains('test')", 314_574),
        (text(Some(10)), "self.contains('test')", 5),
        (text(Some(15)), "self.startsWith('test')", 2),
        (text(Some(4)), "size(self + \"hello\") > size(\"hello\")", 7),
        (text(Some(50)), "self.matches(\"x\")", 22),
        (text(None), "\"\".matches(\"(((((((((())))))))))[0-9]\")", 7),
        (text(None), "self.find('[0-9]+') == ''", 629_147),
        (text(Some(10)), "self.find('[0-9]+') == ''", 11),
        (list(None), "self.join(' ') == 'aa bb'", 329_853_068_905),
        (list(Some(10)), "self.join(' ') == 'aa bb'", 43),
        (list(None), "self.isSorted() == true", 329_854_432_052),
        (list(Some(10)), "self.isSorted() == true", 52),
        (texts(&["str", "separator"], 10), "self.str.split(self.separator) == []", 22),
        (text(Some(10)), "self.lowerAscii() == 'lower!'", 6),
        (json!({"type": "array", "items": {"type": "string"}}), "self[1] == self[1]", 314_577),
        (json!({"x-kubernetes-int-or-string": true, "maxLength": 20}), "isQuantity(self)", 9),
    ] {
        let schema = StructuralSchema::parse(&schema);
        let shape = Shape::of_schema(&schema, false, "selfType").unwrap();
        let declared = ValidationRule { rule: rule.to_owned(), ..ValidationRule::default() };
        let made = compiled(&declared, &schema, &shape).unwrap_or_else(|why| panic!("{rule}: {why}"));
        assert_eq!(made.program.max_cost(&shape), want, "{rule} on {schema:?}");
    }
}

#[test]
fn sets_stay_sets_and_reserved_words_may_be_written_plainly() {
    let set = json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}});
    let validator = validator(json!({"type": "object",
    "properties": {"set": set, "list": {"type": "array", "items": {"type": "string"}},
        "namespace": {"type": "string"}},
    "x-kubernetes-validations": [
        {"rule": "(self.set + self.list + self.set).size() == 3"},
        {"rule": "self.set + ['q'] == ['q', 'p']"},
        {"rule": "self.namespace == 'n' && self.__namespace__ == 'n' && has(self.namespace)"},
    ]}));
    let spec = json!({"set": ["p", "q"], "list": ["q", "r"], "namespace": "n"});
    assert_eq!(errors(&validator, spec, None), Vec::<String>::new());
}
