// SPDX-License-Identifier: Apache-2.0
//! Definitions with one thing wrong, in upstream's words.

use knarr_types::tree::{Value, json};

use super::*;

fn definition(spec: Value) -> Object {
    let version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
        {"type": "object", "properties": {"spec": spec}}}});
    let mut definition = json!({"metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com",
        "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"}, "versions": [version]}});
    default(&mut definition);
    prepare_create(&mut definition);
    definition
}

fn prepare_create(definition: &mut Object) {
    (CUSTOM_RESOURCE_DEFINITION.prepare_create)(definition);
}

fn said(definition: &Object) -> Vec<String> {
    validate(definition, None).iter().map(ToString::to_string).collect()
}

#[test]
fn names_and_versions_have_defaults() {
    let definition = definition(json!({"type": "object"}));
    assert_eq!(said(&definition), [""; 0]);
    assert_eq!(definition["spec"]["names"]["listKind"], "WidgetList");
    assert_eq!(definition["spec"]["names"]["singular"], "widget");
    assert_eq!(definition["spec"]["conversion"], json!({"strategy": "None"}));
    assert_eq!(definition["status"]["storedVersions"], json!(["v1"]));
}

#[test]
fn schemas_must_be_structural() {
    let at = "spec.validation.openAPIV3Schema.properties[spec]";
    for (spec, want) in [
        (
            json!({"properties": {}}),
            format!("{at}.type: Required value: must not be empty for specified object fields"),
        ),
        (json!({"type": "array"}), format!("{at}.items: Required value: must be specified")),
        (
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "oneOf": [{"properties": {"a": {"type": "string"}}}]}),
            format!("{at}.oneOf[0].properties[a].type: Forbidden: must be empty to be structural"),
        ),
        (
            json!({"type": "string", "pattern": "[a-"}),
            format!(
                "{at}.pattern: Invalid value: \"[a-\": must be a valid regular expression, but isn't: error parsing regexp: missing closing ]: `[a-`"
            ),
        ),
        (json!({"$ref": "#/x"}), format!("{at}.$ref: Forbidden: $ref is not supported")),
        (
            json!({"type": "integer", "default": "x"}),
            format!("{at}.default: Invalid value: \"string\":  in body must be of type integer: \"string\""),
        ),
        (
            json!({"type": "object", "properties": {"b": {"type": "string"}}, "default": {"c": 1}}),
            format!("{at}.default: Invalid value: {{\"c\":1}}: must not have unknown fields"),
        ),
        (
            json!({"type": "array", "items": {"type": "object", "properties": {"n": {"type": "string"}}},
                "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"]}),
            format!(
                "{at}.items.properties[n].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            ),
        ),
        (
            json!({"type": "string", "x-kubernetes-map-type": "atomic"}),
            format!("{at}.type: Invalid value: \"string\": must be object if x-kubernetes-map-type is specified"),
        ),
    ] {
        assert_eq!(said(&definition(spec.clone())), [want], "{spec}");
    }
    let int_or_string = json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]});
    assert_eq!(said(&definition(int_or_string)), [""; 0]);
}

#[test]
fn a_version_that_may_hold_objects_must_stay() {
    let old = definition(json!({"type": "object"}));
    let mut new = old.clone();
    new["spec"]["versions"][0]["name"] = "v2".into();
    prepare_update(&mut new, &old, "");
    assert_eq!(new["status"]["storedVersions"], json!(["v1", "v2"]));
    assert_eq!(new["metadata"]["generation"], 2);
    let errors = validate(&new, Some(&old));
    assert!(
        errors[0]
            .to_string()
            .starts_with("status.storedVersions[0]: Invalid value: \"v1\": missing from spec.versions")
    );
}

#[test]
fn versions_that_lack_or_repeat_something_are_told_once() {
    let starts = |definition: &Object, want: &str| {
        let said = said(definition);
        assert!(said.iter().any(|said| said.starts_with(want)), "{want}: {said:?}");
    };
    let mut nameless = definition(json!({"type": "object"}));
    nameless["spec"]["versions"][0]["name"] = "".into();
    starts(&nameless, "spec.versions[0].name: Invalid value: \"\"");
    assert!(!said(&nameless).iter().any(|said| said.starts_with("spec.version:")));
    let mut none = definition(json!({"type": "object"}));
    none["spec"].as_object_mut().unwrap().remove("versions");
    starts(&none, "spec.versions: Invalid value: null: must have exactly one version");
    let mut twice = definition(json!({"type": "object"}));
    let version = twice["spec"]["versions"][0].clone();
    twice["spec"]["versions"] = json!([version.clone(), version]);
    starts(&twice, "status.storedVersions: Invalid value: [\"v1\"]: must have the storage version v1");
}

#[test]
fn what_goes_not_with_other_parts_of_the_spec_is_told() {
    let unknown = |schema: Value| {
        let mut definition = definition(schema);
        definition["spec"]["preserveUnknownFields"] = true.into();
        definition
    };
    let no_default =
        "spec.preserveUnknownFields: Invalid value: true: must be false in order to use defaults in the schema";
    for (schema, told) in [
        (json!({"type": "object"}), false),
        (json!({"type": "object", "anyOf": [{"default": 1}]}), true),
        (
            json!({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string", "default": "x"}}}}),
            true,
        ),
        (json!({"type": "object", "properties": {"default": {"type": "string"}}}), false),
    ] {
        assert_eq!(said(&unknown(schema.clone())).iter().any(|fault| fault == no_default), told, "{schema}");
    }
    let mut strategy = unknown(json!({"type": "object"}));
    strategy["spec"]["conversion"] = json!({"strategy": ""});
    let must = "spec.conversion.strategy: Invalid value: \"\": must be None if spec.preserveUnknownFields is true";
    assert!(said(&strategy).iter().any(|fault| fault == must), "{:?}", said(&strategy));
    let mut bare = definition(json!({"type": "object"}));
    bare["spec"]["versions"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "v2", "selectableFields": [{"jsonPath": ".a"}]}));
    let unseen = "spec.versions[1].selectableFields: Invalid value: \"\": \
                  may only be set when `version.schema.openAPIV3Schema` is not included";
    assert!(said(&bare).iter().any(|fault| fault == unseen), "{:?}", said(&bare));
}
