// SPDX-License-Identifier: Apache-2.0
//! Recorded wording, and inputs that nobody means well with.

use knarr_types::tree::json;
use proptest::prelude::*;

use super::*;
use crate::field_table::TypeRef;
use crate::kinds::Registry;

fn read(group: &str, kind: &str, body: &str) -> Result<(Object, Vec<String>), String> {
    let registry = Registry::builtin();
    let kind = registry.by_kind(group, "v1", kind).unwrap();
    decode_as(kind, &registry, body.as_bytes(), MediaType::Json, FieldValidation::Warn).map_err(|s| s.message)
}

#[test]
fn a_fault_names_a_number_as_a_patch_has_it() {
    for (number, want) in [("1000.0", "1e3"), ("7.5", "7.5")] {
        let fault =
            |number: &str| format!("json: cannot unmarshal number {number} into Go struct field X.a of type int32");
        assert_eq!(as_written(&fault(number), br#"{"spec":{"replicas":1e3}}"#), fault(want));
    }
    assert_eq!(as_written("unknown field", b"1e3"), "unknown field");
}

#[test]
fn the_generation_of_a_template_is_a_number() {
    let sent = |generation: &str| {
        let annotations = format!(r#"{{"deprecated.daemonset.template.generation":"{generation}"}}"#);
        let body = format!(
            r#"{{"apiVersion":"apps/v1","kind":"DaemonSet","metadata":{{"name":"d","annotations":{annotations}}}}}"#
        );
        read("apps", "DaemonSet", &body).map(|_| ())
    };
    assert_eq!((sent("5"), sent("-5")), (Ok(()), Ok(())));
    for (generation, why) in
        [("x", "invalid syntax"), ("", "invalid syntax"), ("99999999999999999999", "value out of range")]
    {
        let want = "DaemonSet in version \"v1\" cannot be handled as a DaemonSet: strconv.ParseInt: parsing";
        assert_eq!(sent(generation), Err(format!("{want} \"{generation}\": {why}")));
    }
}

#[test]
fn unknown_and_duplicate_fields_are_told_in_the_order_of_the_body() {
    let body =
        r#"{"metadata":{"name":"a","name":"b","lables":{}},"spec":{"ports":[{"port":80,"foo":{"a":1}}]},"Kinds":"x"}"#;
    let (object, warnings) = read("", "Service", body).unwrap();
    assert_eq!(
        warnings,
        [
            "duplicate field \"metadata.name\"",
            "unknown field \"metadata.lables\"",
            "unknown field \"spec.ports[0].foo\"",
            "unknown field \"Kinds\""
        ]
    );
    assert_eq!(
        object,
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "b"}, "spec": {"ports": [{"port": 80}]}})
    );
}

#[test]
fn a_strict_reader_joins_what_it_minds() {
    let ty = TypeRef::named("io.k8s.api.core.v1.ConfigMap").unwrap();
    let decoded = decode(br#"{"data":{"x":"1","x":"2"},"foo":1}"#, MediaType::Json, ty.get()).unwrap();
    let want = "strict decoding error: duplicate field \"data.x\", unknown field \"foo\"";
    assert_eq!(decoded.strict_error().as_deref(), Some(want));
}

#[test]
fn values_of_a_wrong_type_are_told_as_go_tells_them() {
    for (group, kind, body, want) in [
        (
            "apps",
            "Deployment",
            r#"{"spec":{"replicas":"1"}}"#,
            "string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "apps",
            "Deployment",
            r#"{"spec":{"replicas":2.0}}"#,
            "number 2.0 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "apps",
            "Deployment",
            r#"{"spec":{"replicas":3000000000}}"#,
            "number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "apps",
            "Deployment",
            r#"{"spec":{"paused":"x"}}"#,
            "string into Go struct field DeploymentSpec.spec.paused of type bool",
        ),
        (
            "apps",
            "Deployment",
            r#"{"spec":{"selector":{"matchLabels":["a"]}}}"#,
            "array into Go struct field LabelSelector.spec.selector.matchLabels of type map[string]string",
        ),
        (
            "apps",
            "Deployment",
            r#"{"spec":{"strategy":{"rollingUpdate":{"maxSurge":1.5}}}}"#,
            "number 1.5 into Go struct field RollingUpdateDeployment.spec.strategy.rollingUpdate.maxSurge of type int32",
        ),
        (
            "apps",
            "Deployment",
            r#"{"spec":{"template":{"spec":{"containers":[{"command":"x"}]}}}}"#,
            "string into Go struct field Container.spec.template.spec.containers.command of type []string",
        ),
        (
            "",
            "Pod",
            r#"{"spec":{"containers":{"name":"c"}}}"#,
            "object into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            "",
            "Pod",
            r#"{"metadata":{"labels":{"a":1}}}"#,
            "number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        ("", "ConfigMap", r#"{"data":{"a":true}}"#, "bool into Go struct field ConfigMap.data of type string"),
        (
            "",
            "ConfigMap",
            r#"{"metadata":"x"}"#,
            "string into Go struct field ConfigMap.metadata of type v1.ObjectMeta",
        ),
        (
            "",
            "PersistentVolume",
            r#"{"spec":{"hostPath":5}}"#,
            "number into Go struct field PersistentVolumeSpec.spec.PersistentVolumeSource.hostPath of type v1.HostPathVolumeSource",
        ),
        (
            "",
            "PersistentVolumeClaim",
            r#"{"spec":{"accessModes":"x"}}"#,
            "string into Go struct field PersistentVolumeClaimSpec.spec.accessModes of type []v1.PersistentVolumeAccessMode",
        ),
        (
            "",
            "PersistentVolumeClaim",
            r#"{"spec":{"accessModes":[5]}}"#,
            "number into Go struct field PersistentVolumeClaimSpec.spec.accessModes of type v1.PersistentVolumeAccessMode",
        ),
        (
            "admissionregistration.k8s.io",
            "ValidatingAdmissionPolicy",
            r#"{"spec":{"matchConstraints":{"resourceRules":[{"apiVersions":5}]}}}"#,
            "number into Go struct field NamedRuleWithOperations.spec.matchConstraints.resourceRules.RuleWithOperations.Rule.apiVersions of type []string",
        ),
        // The number is told as the body has it; a reader of its own ends the pass, and counts more.
        (
            "apps",
            "Deployment",
            r#"{"spec":{"replicas":1e3}}"#,
            "number 1e3 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "",
            "ConfigMap",
            r#"{"immutable":5,"metadata":{"creationTimestamp":5},"data":5}"#,
            "number into Go struct field ObjectMeta.metadata.creationTimestamp of type string",
        ),
    ] {
        let version = "v1";
        let want =
            format!("{kind} in version {version:?} cannot be handled as a {kind}: json: cannot unmarshal {want}");
        assert_eq!(read(group, kind, body).unwrap_err(), want);
    }
}

#[test]
fn what_is_no_quantity_is_told_as_one_that_is_wrong() {
    for value in ["true", "[]", "{}", "\"x\"", "\"\""] {
        let body = format!(r#"{{"spec":{{"capacity":{{"storage":{value}}}}}}}"#);
        let refused = read("", "PersistentVolume", &body).unwrap_err();
        assert!(refused.contains("quantities must match the regular expression"), "{refused}");
    }
}

#[test]
fn a_quantity_keeps_the_form_that_its_number_is_written_in() {
    let at = |value: &str| format!(r#"{{"spec":{{"capacity":{{"storage":{value}}}}}}}"#);
    for (value, want) in [("1e-3", "1e-3"), ("1e3", "1e3"), ("0.001", "1m"), ("1.5e2", "150"), ("\"1Ki\"", "1Ki")] {
        let (object, _) = read("", "PersistentVolume", &at(value)).unwrap();
        assert_eq!(object["spec"]["capacity"]["storage"], want, "{value}");
    }
    let (object, _) = read("", "PersistentVolume", &at("null")).unwrap();
    assert_eq!(object["spec"]["capacity"]["storage"], "0");
}

#[test]
fn nothing_is_read_of_upstreams_own_form_of_a_kind() {
    let body = r#"{"apiVersion":"__internal","kind":"ConfigMap","metadata":{"name":"a"},"data":{"a":1}}"#;
    let kind = Registry::builtin().by_kind("", "v1", "ConfigMap").cloned().unwrap();
    let told =
        |validation| decode_as(&kind, &Registry::builtin(), body.as_bytes(), MediaType::Json, validation).unwrap_err();
    let warned = told(FieldValidation::Warn);
    assert!(warned.message.ends_with("(__internal) does not match the expected API version (v1)"), "{warned}");
    let want = "strict decoding error: unknown field \"metadata\", unknown field \"data\"";
    assert!(told(FieldValidation::Strict).message.ends_with(want));
}

#[test]
fn a_field_that_comes_again_is_read_into_what_was_there() {
    let body = r#"{"metadata":{"name":"a"},"metadata":{"labels":{"x":"1"}},"data":{"a":"1"},"data":{"b":"2"},
        "data":{"b":"3"},"":1}"#;
    let (object, warnings) = read("", "ConfigMap", body).unwrap();
    assert_eq!(warnings, ["duplicate field \"metadata\"", "duplicate field \"data\"", "unknown field \"\""]);
    assert_eq!(
        object,
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "labels": {"x": "1"}},
            "data": {"a": "1", "b": "3"}})
    );
    let (_, warnings) = read("", "Pod", r#"{"spec":{"containers":[{"":1}]}}"#).unwrap();
    assert_eq!(warnings, ["unknown field \"spec.containers[0].\""]);
}

#[test]
fn a_body_of_another_kind_is_refused() {
    for (body, want) in [
        (
            r#"{"apiVersion":"v1","kind":"Secret"}"#,
            "Secret in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Secret) to (core.ConfigMap): unknown conversion",
        ),
        (
            r#"{"apiVersion":"v1","kind":"DeleteOptions"}"#,
            "DeleteOptions in version \"v1\" cannot be handled as a ConfigMap: converting (v1.DeleteOptions) to (core.ConfigMap): unknown conversion",
        ),
        (
            r#"{"apiVersion":"apps/v1","kind":"ConfigMap"}"#,
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: no kind \"ConfigMap\" is registered for version \"apps/v1\" in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
        ),
        (
            "{\"broken",
            "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: unexpected end of JSON input ({\"broken)",
        ),
        (
            "",
            "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)",
        ),
        (
            "[]",
            "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" } (5b5d)",
        ),
    ] {
        assert_eq!(read("", "ConfigMap", body).unwrap_err(), want);
    }
}

#[test]
fn null_is_the_same_as_nothing_and_zero_inside_maps() {
    let (object, _) = read("", "ConfigMap", r#"{"data":{"a":null},"binaryData":null}"#).unwrap();
    assert_eq!(object, json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": ""}}));
}

#[test]
fn deep_nesting_is_refused_without_a_crash() {
    let ty = TypeRef::named("io.k8s.api.apps.v1.ControllerRevision").unwrap();
    let body = format!("{{\"data\":{}{}}}", "[".repeat(50_000), "]".repeat(50_000));
    assert!(decode(body.as_bytes(), MediaType::Json, ty.get()).is_err());
    assert!(decode(body.as_bytes(), MediaType::Yaml, ty.get()).is_err());
}

/// JSON-like text: far more of it gets past the first byte than of random bytes.
fn jsonish() -> impl Strategy<Value = String> {
    let words = [
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\"spec\"",
        "\"metadata\"",
        "\"containers\"",
        "\"name\"",
        "null",
        "1",
        "-1.5e3",
        "\"\\u00",
        "\\",
        "true",
        "&a ",
        "*a",
        "- ",
        "\n",
        "  ",
        "\"labels\"",
        "\"creationTimestamp\"",
        "\"2024-01-01T00:00:00Z\"",
    ];
    prop::collection::vec(prop::sample::select(words.to_vec()), 0..60).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let ty = TypeRef::named("io.k8s.api.core.v1.Pod").unwrap();
        let _ = decode(&bytes, MediaType::Json, ty.get());
        let _ = decode(&bytes, MediaType::Yaml, ty.get());
    }

    #[test]
    fn no_text_makes_it_panic(text in jsonish()) {
        let registry = Registry::builtin();
        let kind = registry.by_kind("", "v1", "Pod").unwrap();
        for media in [MediaType::Json, MediaType::Yaml] {
            let _ = decode_as(kind, &registry, text.as_bytes(), media, FieldValidation::Strict);
        }
    }

    #[test]
    fn what_was_decoded_has_one_normal_form(text in jsonish(), wrapped in any::<bool>()) {
        let ty = TypeRef::named("io.k8s.api.core.v1.Pod").unwrap();
        let text = if wrapped { format!("{{\"spec\":{{\"containers\":[{text}]}}}}") } else { text };
        if let Ok(mut decoded) = decode(text.as_bytes(), MediaType::Json, ty.get()) {
            crate::normalize(&mut decoded.object, ty.get());
            let once = decoded.object.clone();
            crate::normalize(&mut decoded.object, ty.get());
            prop_assert_eq!(&decoded.object, &once);
            let again = check(once.clone(), ty.get()).map(|decoded| decoded.faults);
            prop_assert_eq!(again, Ok(Vec::new()));
        }
    }

    #[test]
    fn no_text_in_place_of_a_value_makes_it_panic(text in ".{0,40}") {
        let _ = go_time::canonical_time(&text);
        let _ = go_time::canonical_micro_time(&text);
        let _ = base64_text::canonical(text.clone());
        let _ = go_json::syntax_error(&text);
    }

    #[test]
    fn go_words_exist_exactly_for_what_is_not_json(text in jsonish()) {
        prop_assert_eq!(go_json::syntax_error(&text).is_none(), serde_json::from_str::<Value>(&text).is_ok());
    }
}

#[test]
fn yaml_that_opens_too_much_is_refused_before_it_is_parsed() {
    for text in
        ["- ".repeat(20_000), "[".repeat(20_000), "? ".repeat(20_000), format!("a: 1\nb:\n  {}", "- ".repeat(20_000))]
    {
        let refused = yaml::first_document(text.as_bytes()).unwrap_err();
        assert_eq!(refused, "yaml: exceeded max depth of 10000");
    }
    assert!(yaml::first_document(format!("a: {}", "- ".repeat(20_000)).as_bytes()).is_err());
}

#[test]
fn json_sent_as_yaml_reads_the_same() {
    let text = r#"{"a": 1, "b": [true, null, "x", 1.5], "a": {"c": "1"}}"#;
    let fast = yaml::first_document(text.as_bytes()).unwrap();
    // The marker of a document keeps the parser of JSON off it.
    let slow = yaml::first_document(format!("---\n{text}").as_bytes()).unwrap();
    assert_eq!(fast.value, slow.value);
    assert!(fast.duplicates.unwrap().ends_with("line 1: key \"a\" already set in map"));
    assert!(slow.duplicates.unwrap().ends_with("line 2: key \"a\" already set in map"));
}
