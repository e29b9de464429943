// SPDX-License-Identifier: Apache-2.0
//! Policies on small requests.

use knarr_auth::UserInfo;
use knarr_types::tree::json;

use super::*;
use crate::Operation;
use crate::table::{Table, kind, request};

fn cluster(kind: &'static str, policy: Value, binding: Value) -> Table {
    let rules =
        json!({"resourceRules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}]});
    let mut policy = json!({"metadata": {"name": "p"}, "spec": policy});
    policy["spec"]["matchConstraints"] = rules;
    let mut binding = json!({"metadata": {"name": "b"}, "spec": binding});
    binding["spec"]["policyName"] = "p".into();
    let keys = match kind {
        "validating" => [
            "admissionregistration.k8s.io/validatingadmissionpolicies//p",
            "admissionregistration.k8s.io/validatingadmissionpolicybindings//b",
        ],
        _ => [
            "admissionregistration.k8s.io/mutatingadmissionpolicies//p",
            "admissionregistration.k8s.io/mutatingadmissionpolicybindings//b",
        ],
    };
    Table(vec![
        (keys[0], policy),
        (keys[1], binding),
        ("/namespaces//n", json!({"metadata": {"name": "n", "labels": {"tier": "gold"}}})),
        ("/configmaps/n/limits", json!({"metadata": {"name": "limits"}, "data": {"max": "2"}})),
    ])
}

fn validated(policy: Value, binding: Value) -> (Result<(), (u16, String)>, Vec<String>) {
    let user = UserInfo::new("eve", &["dev"]);
    let kind = kind("secrets");
    let request = request(&kind, Operation::Create, "n", &user);
    let object = json!({"metadata": {"name": "x", "namespace": "n"}, "data": {"k": "v"}});
    let mut warnings = Vec::new();
    let table = cluster("validating", policy, binding);
    let outcome = futures::executor::block_on(validate(&request, Some(&object), &table, &mut warnings));
    (outcome.map_err(|status| (status.code, status.message)), warnings)
}

#[test]
fn a_validation_refuses_or_warns_in_upstreams_words() {
    let policy = |expression: &str| {
        json!({"validations": [{"expression": expression, "messageExpression": "'user ' + request.userInfo.username"}],
            "variables": [{"name": "size", "expression": "object.data.size()"}]})
    };
    let deny = json!({"validationActions": ["Deny"]});
    let denied = "secrets \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: ";
    assert_eq!(validated(policy("variables.size == 1"), deny.clone()).0, Ok(()));
    let refused = |message: &str| Err((422, format!("{denied}{message}")));
    assert_eq!(validated(policy("variables.size > 1"), deny.clone()).0, refused("user eve"));
    assert_eq!(
        validated(policy("object.data.q == 'x'"), deny.clone()).0,
        refused("expression 'object.data.q == 'x'' resulted in error: no such key: q")
    );
    let tier = policy(
        "namespaceObject.metadata.labels['tier'] == 'gold' && !authorizer.group('').resource('pods').check('get').allowed()",
    );
    assert_eq!(validated(tier, deny).0, Ok(()));
    assert_eq!(validated(policy("request.namespace == 'n'"), json!({"validationActions": ["Deny"]})).0, Ok(()));
    let (outcome, warnings) = validated(policy("false"), json!({"validationActions": ["Warn"]}));
    assert_eq!(outcome, Ok(()));
    assert_eq!(warnings, ["Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': user eve"]);
}

#[test]
fn parameters_are_found_or_missed() {
    let policy = json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "validations": [{"expression": "size(object.metadata.name) > int(params.data.max)", "message": "short"}]});
    let binding = |name: &str| json!({"validationActions": ["Deny"], "paramRef": {"name": name, "parameterNotFoundAction": "Deny"}});
    let denied = |message: &str| {
        Err((
            422,
            format!(
                "secrets \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: {message}"
            ),
        ))
    };
    assert_eq!(validated(policy.clone(), binding("limits")).0, denied("short"));
    assert_eq!(
        validated(policy, binding("none")).0,
        denied("failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction")
    );
}

fn mutated(mutations: Value, object: Value) -> Result<Object, (u16, String)> {
    let user = UserInfo::new("eve", &[]);
    let kind = kind("configmaps");
    let request = request(&kind, Operation::Create, "n", &user);
    let table = cluster("mutating", json!({"mutations": mutations, "reinvocationPolicy": "Never"}), json!({}));
    let mut object = object;
    let mutated = futures::executor::block_on(mutate(&request, &mut object, &table));
    mutated.map_err(|status| (status.code, status.message))?;
    Ok(object)
}

#[test]
fn mutations_apply_and_patch() {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "labels": {"own": "1"}}, "data": {"k": "v"}});
    let apply = |expression: &str| json!([{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}]);
    let changed =
        mutated(apply("Object{metadata: Object.metadata{labels: {'added': 'yes'}}}"), object.clone()).unwrap();
    assert_eq!(changed["metadata"]["labels"], json!({"own": "1", "added": "yes"}));
    let patch = |expression: &str| json!([{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}]);
    let expression =
        "[JSONPatch{op: 'test', path: '/data/k', value: 'v'}, JSONPatch{op: 'add', path: '/data/l', value: 'w'}]";
    assert_eq!(mutated(patch(expression), object.clone()).unwrap()["data"], json!({"k": "v", "l": "w"}));
    let failing =
        "[JSONPatch{op: 'test', path: '/data/k', value: 'no'}, JSONPatch{op: 'add', path: '/data/l', value: 'w'}]";
    assert_eq!(mutated(patch(failing), object.clone()).unwrap(), object);
    assert_eq!(
        mutated(apply("Object{metadata: Object.spec{}}"), object.clone()),
        Err((
            403,
            "policy 'p' with binding 'b' denied request: type mismatch: unexpected type name \"Object.spec\", expected \
             \"Object.metadata\", which matches field name path from root Object type"
                .to_owned()
        ))
    );
}

#[test]
fn the_first_policy_that_minds_is_the_one_that_is_told() {
    let policy = |name: &str, spec: Value| {
        let mut policy = json!({"metadata": {"name": name}, "spec": spec});
        policy["spec"]["matchConstraints"] = json!({});
        policy
    };
    let binding = |name: &str, reference: Value| json!({"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"], "paramRef": reference}});
    let denies = |name: &str| policy(name, json!({"validations": [{"expression": "false", "message": "no"}]}));
    let lacks = |name: &str| {
        policy(
            name,
            json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}, "validations": [{"expression": "true"}]}),
        )
    };
    let missing = json!({"name": "none", "parameterNotFoundAction": "Deny"});
    let user = UserInfo::new("eve", &[]);
    let kind = kind("secrets");
    let request = request(&kind, Operation::Create, "n", &user);
    let object = json!({"metadata": {"name": "x", "namespace": "n"}});
    for (policies, told) in [([denies("a"), lacks("b")], "'a'"), ([lacks("a"), denies("b")], "'a'")] {
        let [first, second] = policies;
        let reference =
            |policy: &Value| if policy["spec"]["paramKind"].is_null() { json!(null) } else { missing.clone() };
        let table = Table(vec![
            ("admissionregistration.k8s.io/validatingadmissionpolicybindings//a", binding("a", reference(&first))),
            ("admissionregistration.k8s.io/validatingadmissionpolicybindings//b", binding("b", reference(&second))),
            ("admissionregistration.k8s.io/validatingadmissionpolicies//a", first),
            ("admissionregistration.k8s.io/validatingadmissionpolicies//b", second),
        ]);
        let outcome = futures::executor::block_on(validate(&request, Some(&object), &table, &mut Vec::new()));
        let message = outcome.unwrap_err().message;
        assert!(message.contains(&format!("ValidatingAdmissionPolicy {told}")), "{message}");
    }
}

#[test]
fn a_mutation_that_fails_keeps_no_other_from_being_made_and_nonsense_is_refused() {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"k": "v"}});
    let patch = |expression: &str| json!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}});
    let bad = patch("[JSONPatch{op: 'remove', path: '/data/none'}]");
    let (code, why) = mutated(json!([bad]), object.clone()).unwrap_err();
    let want = "denied request: JSON Patch: error in remove for path: '/data/none': Unable to remove nonexistent key: none: missing value";
    assert!(code == 403 && why.ends_with(want), "{why}");
    let number = patch("[JSONPatch{op: 'add', path: '/data/n', value: 1}]");
    let why =
        "Internal error occurred: json: cannot unmarshal number into Go struct field ConfigMap.data of type string";
    assert_eq!(mutated(json!([number]), object).unwrap_err(), (500, why.to_owned()));
}
