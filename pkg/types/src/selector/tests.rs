// SPDX-License-Identifier: Apache-2.0
//! Selectors: parsing, matching, and printing them again.

use crate::tree::json;
use proptest::prelude::*;

use super::*;

const LABELS: [(&str, &str); 3] = [("app", "x"), ("n", "5"), ("tier", "")];

#[test]
fn labels_are_matched() {
    for (text, want) in [
        ("", true),
        ("app=x", true),
        ("app==x,n", true),
        ("app!=x", false),
        ("zone!=x", true),
        ("app in (y, x)", true),
        ("app notin (y)", true),
        ("zone notin (y)", true),
        ("zone in (y)", false),
        ("!zone", true),
        ("!app", false),
        ("n>4", true),
        ("n<5", false),
        ("tier=", true),
        ("tier in ()", true),
        ("in in (in)", false),
    ] {
        assert_eq!(LabelSelector::parse(text).unwrap().matches(&LABELS), want, "{text}");
    }
}

#[test]
fn label_selectors_fail_in_upstreams_words() {
    for (text, want) in [
        ("app in (", "unable to parse requirement: found '', expected: ',', ')' or identifier"),
        ("app===x", "unable to parse requirement: found '=', expected: identifier"),
        ("a=b=c", "found '=', expected: ',' or 'end of string'"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        ("=x", "found '=', expected: !, identifier, or 'end of string'"),
        ("a in x", "unable to parse requirement: found 'x' expected: '('"),
        ("a,,b", "found ',', expected: identifier after ','"),
        (
            "a>b",
            "unable to parse requirement: values[0]: Invalid value: \"b\": for 'Gt', 'Lt' operators, the value must be an integer",
        ),
    ] {
        assert_eq!(LabelSelector::parse(text).unwrap_err().to_string(), want, "{text}");
    }
    let error = LabelSelector::parse("a=-b").unwrap_err().to_string();
    assert!(error.starts_with("unable to parse requirement: values[0][a]: Invalid value: \"-b\": a valid label must"));
    let error = LabelSelector::parse("-a=b").unwrap_err().to_string();
    assert!(error.starts_with("unable to parse requirement: <nil>: Invalid value: \"-a\": name part must consist"));
}

#[test]
fn selector_objects_are_read() {
    let selector =
        json!({"matchLabels": {"app": "x"}, "matchExpressions": [{"key": "n", "operator": "In", "values": ["5"]}]});
    let selector = LabelSelector::from_object(&selector).unwrap();
    assert_eq!(selector.to_string(), "app=x,n in (5)");
    assert!(selector.matches(&LABELS));
    assert!(selector.matches_object(&json!({"app": "x", "n": "5"})));
    assert!(!LabelSelector::from_object(&Value::Null).unwrap().matches(&LABELS));
    assert!(LabelSelector::from_object(&json!({})).unwrap().is_everything());
    let bad = json!({"matchExpressions": [{"key": "n", "operator": "Near"}]});
    let error = LabelSelector::from_object(&bad).unwrap_err();
    assert_eq!(error.to_string(), "\"Near\" is not a valid label selector operator");
}

#[test]
fn fields_are_matched() {
    let fields = [("metadata.name", "a,b"), ("spec.nodeName", "n")];
    for (text, want) in [
        ("", true),
        ("metadata.name=a\\,b", true),
        ("metadata.name==a\\,b,spec.nodeName!=m", true),
        ("spec.nodeName!=n", false),
        ("status.phase=", true),
    ] {
        assert_eq!(FieldSelector::parse(text).unwrap().matches(&fields), want, "{text}");
    }
    assert_eq!(FieldSelector::parse("spec.nodeName=n").unwrap().exactly("spec.nodeName"), Some("n"));
}

#[test]
fn field_selectors_fail_in_upstreams_words() {
    for (text, want) in [
        ("metadata.name", "invalid selector: 'metadata.name'; can't understand 'metadata.name'"),
        ("metadata.name=a\\b", "invalid field selector: invalid escape sequence: \\b"),
        ("metadata.name=a=b", "invalid field selector: unescaped character in value: 61"),
    ] {
        assert_eq!(FieldSelector::parse(text).unwrap_err().to_string(), want, "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_parsers_panic(text in "[ab=!(),<>\\\\ é\\x00]{0,12}|in|notin|.{0,8}") {
        drop(LabelSelector::parse(&text));
        drop(FieldSelector::parse(&text));
    }

    #[test]
    fn what_is_printed_reads_back(text in "(a|b)( in \\(x,y\\)|=z|!=z|==z| notin \\(x\\)|)(,!c)?") {
        let selector = LabelSelector::parse(&text).unwrap();
        prop_assert_eq!(LabelSelector::parse(&selector.to_string()).unwrap(), selector);
    }

    #[test]
    fn field_values_read_back(value in "[a,=\\\\]{0,6}") {
        let selector = FieldSelector::name(&value);
        prop_assert_eq!(FieldSelector::parse(&selector.to_string()).unwrap(), selector);
    }
}
