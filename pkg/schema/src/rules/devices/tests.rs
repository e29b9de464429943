// SPDX-License-Identifier: Apache-2.0

//! The rules of devices by example.

use knarr_types::Object;
use knarr_types::tree::json;

use super::*;

fn faults(errors: &ErrorList) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn a_claim_cannot_change_what_it_asks_for() {
    let mut old: Object =
        json!({"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "k"}}]}}});
    (RESOURCE_CLAIM.default)(&mut old);
    let mut new = old.clone();
    new["spec"]["devices"]["requests"][0]["exactly"]["count"] = json!(2);
    assert_eq!((RESOURCE_CLAIM.validate_update)(&new, &old, "").len(), 1);
}

#[test]
fn what_an_expression_selects_by_is_a_yes_or_a_no() {
    let class = |text: &str| json!({"spec": {"selectors": [{"cel": {"expression": text}}]}});
    for right in [
        "device.driver == 'd'",
        "device.attributes['d'].a",
        "device.capacity['d'].mem.isGreaterThan(quantity('1Gi'))",
        "device.attributes['d'].v.isLessThan(semver('1.0.0'))",
    ] {
        assert_eq!(faults(&(DEVICE_CLASS.validate)(&class(right))), Vec::<String>::new(), "{right}");
    }
    let wrong = faults(&(DEVICE_CLASS.validate)(&class("device.driver")));
    assert!(wrong[0].ends_with("must evaluate to bool or the unknown type, not string"), "{wrong:?}");
}

#[test]
fn what_could_cost_too_much_is_refused() {
    let class = |text: &str| json!({"spec": {"selectors": [{"cel": {"expression": text}}]}});
    let ten = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]";
    let nested = |depth: usize, inner: &str| {
        let loops: String = (0..depth).map(|at| format!("{ten}.all(x{at}, ")).collect();
        format!("{loops}{inner}{}", ")".repeat(depth))
    };
    let dear = "spec.selectors[0].cel.expression: Forbidden: too complex, exceeds cost limit";
    for (text, want) in [
        (nested(7, "int('1'.find('[0-9]*')) < 100"), vec![dear]),
        (nested(2, "int('1'.find('[0-9]*')) < 100"), vec![]),
        ("device.attributes['d'].a.matches('[a-z]+') || device.driver.contains('x')".to_owned(), vec![]),
        ("device.attributes.all(d, device.attributes[d].all(n, n.size() > 0))".to_owned(), vec![]),
    ] {
        assert_eq!(faults(&(DEVICE_CLASS.validate)(&class(&text))), want, "{text}");
    }
}

#[test]
fn a_slice_says_in_one_way_who_reaches_its_devices() {
    let slice = |extra: Value| {
        let mut slice = json!({"spec": {"driver": "d", "pool": {"name": "p", "resourceSliceCount": 1}}});
        if let (Some(spec), Some(extra)) = (slice["spec"].as_object_mut(), extra.as_object()) {
            spec.extend(extra.clone());
        }
        faults(&(RESOURCE_SLICE.validate)(&slice))
    };
    assert_eq!(slice(json!({"allNodes": true})), Vec::<String>::new());
    assert!(slice(json!({}))[0].starts_with("spec: Required value: exactly one of"));
    assert_eq!(slice(json!({"allNodes": true, "nodeName": "n"})).len(), 1);
    assert_eq!(slice(json!({"allNodes": true, "devices": [{"name": "a"}], "sharedCounters": []})).len(), 1);
    let term = json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]});
    let selector = json!({"nodeSelector": {"nodeSelectorTerms": [term, term]}});
    assert!(slice(selector)[0].starts_with(
        "spec.nodeSelector.nodeSelectorTerms: Invalid value: [{\"MatchExpressions\":[{\"Key\":\"a\",\"Operator\":\"Exists\",\
         \"Values\":null}],\"MatchFields\":null},"
    ));
    let device = json!({"allNodes": true, "devices": [{"name": "a", "allNodes": true}]});
    assert!(slice(device)[0].starts_with("spec.devices[0]: Invalid value: null"));
}

#[test]
fn what_is_switched_off_is_dropped_from_a_slice() {
    let mut slice = json!({"spec": {"devices": [{"name": "a", "nodeAllocatableResourceMappings": {"cpu": {}},
        "attributes": {"x": {"ints": [1]}, "y": {"int": 1}}}]}});
    (RESOURCE_SLICE.prepare_create)(&mut slice);
    assert_eq!(slice["spec"]["devices"], json!([{"name": "a", "attributes": {"x": {}, "y": {"int": 1}}}]));
    slice["spec"]["driver"] = json!("D.example.com");
    assert_eq!(
        (RESOURCE_SLICE.warnings)(&slice),
        ["spec.driver: driver names should be lowercase; \"D.example.com\" contains uppercase characters"]
    );
}

#[test]
fn a_template_of_claims_says_only_labels_and_annotations() {
    let template = json!({"spec": {"metadata": {"name": "n", "labels": {"a": "b c"}}}});
    let found = faults(&(RESOURCE_CLAIM_TEMPLATE.validate)(&template));
    assert!(found[0].starts_with("spec.metadata.labels: Invalid value: \"b c\""), "{found:?}");
    assert_eq!(found[1], "spec.metadata.name: Forbidden: cannot be set");
}

#[test]
fn what_is_said_of_a_device_goes_with_it() {
    let device = |name: &str| json!({"driver": "d", "pool": "p", "device": name});
    let status = |results: Value| {
        json!({"status": {"allocation": {"devices": {"results": results}},
        "devices": [device("a"), device("b")]}})
    };
    let old = status(json!([device("a"), device("b")]));
    let mut new = status(json!([device("b")]));
    (RESOURCE_CLAIM.prepare_update)(&mut new, &old, "status");
    assert_eq!(new["status"]["devices"], json!([device("b")]));
    let mut freed = json!({"status": {"devices": [device("a")]}});
    (RESOURCE_CLAIM.prepare_update)(&mut freed, &old, "status");
    assert_eq!(freed["status"], json!({}));
}

#[test]
fn requests_for_a_share_of_a_capacity_step_from_the_least() {
    let slice = |policy: Value| {
        let device = json!({"name": "a", "allowMultipleAllocations": true,
            "capacity": {"m": {"value": "10", "requestPolicy": policy}}});
        let slice = json!({"spec": {"driver": "d", "pool": {"name": "p", "resourceSliceCount": 1},
            "allNodes": true, "devices": [device]}});
        faults(&(RESOURCE_SLICE.validate)(&slice))
    };
    assert_eq!(slice(json!({"default": "4", "validRange": {"min": "2", "step": "2"}})), Vec::<String>::new());
    assert_eq!(slice(json!({"default": "5", "validRange": {"min": "2", "step": "2"}})).len(), 1);
    assert_eq!(slice(json!({"default": "1", "validRange": {"min": "2", "max": "11"}})).len(), 2);
    assert_eq!(slice(json!({"default": "3", "validValues": ["2", "1"]})).len(), 2);
    assert_eq!(slice(json!({"validValues": ["2"]})).len(), 1);
}

#[test]
fn only_what_was_allocated_is_reported_on() {
    let claim = json!({"spec": {"devices": {"requests": [{"name": "r"}]}}, "status": {
        "allocation": {"devices": {"results": [{"request": "r", "driver": "d", "pool": "p", "device": "x"}]}},
        "devices": [{"driver": "d", "pool": "p", "device": "x", "networkData": {"ips": ["10.0.0.1/8", "10.0.0.1"]}},
            {"driver": "d", "pool": "p", "device": "y"}]}});
    let found = faults(&(RESOURCE_CLAIM.validate_update)(&claim, &json!({}), "status"));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("status.devices[0].networkData.ips[1]"), "{found:?}");
    assert!(found[1].ends_with("must be an allocated device in the claim"), "{found:?}");
}
