// SPDX-License-Identifier: Apache-2.0
//! What a conversion webhook is asked, and what of its answer is taken. Pure.
//! <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definition-versioning/#webhook-request-and-response>

use knarr_schema::decode::decode_answer;
use knarr_schema::rules::metadata::{validate_converted_annotations, validate_converted_labels};
use knarr_schema::typed::go_type;
use knarr_types::tree::{Map, Value, json};
use knarr_types::{ErrorList, Object};

const GROUP: &str = "apiextensions.k8s.io";

/// The first version of the review that both sides know.
///
/// # Errors
/// Where there is none.
pub fn version(webhook: &Value) -> Result<&'static str, String> {
    let wanted = webhook["conversionReviewVersions"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut known = wanted.filter_map(|v| ["v1", "v1beta1"].into_iter().find(|k| *k == v));
    known.next().ok_or_else(|| "no supported conversion review versions".to_owned())
}

/// The review of objects that are wanted in `desired`, an `apiVersion`.
#[must_use]
pub fn review(version: &str, uid: &str, desired: &str, objects: &[Object]) -> Value {
    json!({
        "kind": "ConversionReview", "apiVersion": format!("{GROUP}/{version}"),
        "request": {"uid": uid, "desiredAPIVersion": desired, "objects": objects},
    })
}

/// The objects of an answer, unseen.
///
/// # Errors
/// What is wrong with the answer, or why the webhook could not do it.
pub fn read(version: &str, uid: &str, answer: &[u8]) -> Result<Vec<Value>, String> {
    let mut document = decode_answer(answer, GROUP, version, "ConversionReview")?;
    let response = document["response"].take();
    if version == "v1" {
        let text = |field: &str| document[field].as_str().unwrap_or_default();
        let api_version = format!("{GROUP}/v1");
        if text("kind") != "ConversionReview" || text("apiVersion") != api_version {
            let got = shown(&document);
            return Err(format!("expected webhook response of {api_version}, Kind=ConversionReview, got {got}"));
        }
    }
    if response.is_null() {
        return Err("no response provided".into());
    }
    let got = response["uid"].as_str().unwrap_or_default();
    if version == "v1" && got != uid {
        return Err(format!("expected response.uid={uid:?}, got {got:?}"));
    }
    let text = |field: &str| response["result"][field].as_str().unwrap_or_default();
    match (text("status"), text("message")) {
        ("Success", _) => Ok(response["convertedObjects"].as_array().cloned().unwrap_or_default()),
        (_, message) if !message.is_empty() => Err(message.to_owned()),
        (status, _) => Err(format!("response.result.status was '{status}', not 'Success'")),
    }
}

/// The object that a webhook made of `original`, if it kept to what it may change: of the metadata only
/// labels and annotations.
///
/// # Errors
/// What it may not do, as it follows on `conversion webhook for KIND `.
pub fn accept(original: &Object, mut converted: Value, desired: &str) -> Result<Object, String> {
    let text = |object: &Value, field: &str| object[field].as_str().unwrap_or_default().to_owned();
    let refused = |field: &str, wanted: &str, got: &str| {
        format!("returned invalid object at index 0: invalid {field} (expected {wanted}, received {got})")
    };
    let got = text(&converted, "apiVersion");
    if got != desired {
        return Err(refused("groupVersion", desired, &got));
    }
    let (kind, got) = (text(original, "kind"), text(&converted, "kind"));
    if got != kind {
        return Err(refused("kind", &kind, &got));
    }
    for (field, name) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
        let (wanted, got) = (text(&original["metadata"], field), text(&converted["metadata"], field));
        if wanted != got {
            return Err(format!("returned invalid object: must have the same {name}: {wanted} != {got}"));
        }
    }
    let metadata = restored(&original["metadata"], converted.get("metadata"))
        .map_err(|why| format!("returned invalid metadata: {why}"))?;
    converted["metadata"] = metadata;
    Ok(converted)
}

/// The metadata that the object had, with the labels and annotations of the answer.
fn restored(original: &Value, answer: Option<&Value>) -> Result<Value, String> {
    let answer = match answer {
        None => return Err("missing metadata in converted object".into()),
        Some(Value::Object(answer)) => answer,
        Some(other) => return Err(format!("invalid metadata of type {} in converted object", go_type(other))),
    };
    let mut metadata = original.as_object().cloned().unwrap_or_default();
    for field in ["labels", "annotations"] {
        match answer.get(field) {
            None | Some(Value::Null) => drop(metadata.remove(field)),
            Some(Value::Object(given)) => {
                check(field, metadata.get(field), given)?;
                metadata.insert(field.to_owned(), Value::Object(given.clone()));
            }
            Some(other) => {
                return Err(format!("invalid metadata.{field} of type {} in converted object", go_type(other)));
            }
        }
    }
    Ok(Value::Object(metadata))
}

/// Whether labels or annotations can be taken; those that did not change are not looked at.
fn check(field: &str, before: Option<&Value>, given: &Map) -> Result<(), String> {
    if let Some((key, value)) = given.iter().find(|(_, value)| !value.is_string()) {
        let ty = go_type(value);
        return Err(format!("metadata.{field}[{key}] must be a string, but is {ty} in converted object"));
    }
    if before.and_then(Value::as_object).unwrap_or(&Map::new()) == given {
        return Ok(());
    }
    let given = Value::Object(given.clone());
    let errors =
        if field == "labels" { validate_converted_labels(&given) } else { validate_converted_annotations(&given) };
    if errors.is_empty() { Ok(()) } else { Err(aggregate(&errors)) }
}

/// Several errors as upstream prints them.
fn aggregate(errors: &ErrorList) -> String {
    match errors.as_slice() {
        [one] => one.to_string(),
        many => format!("[{}]", many.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}

/// An object's type as upstream prints it.
#[must_use]
pub fn shown(object: &Value) -> String {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    let api_version = text("apiVersion");
    // The core group has no name, but its slash is printed.
    let slash = if api_version.contains('/') { "" } else { "/" };
    format!("{slash}{api_version}, Kind={}", text("kind"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_version_is_asked() {
        let of = |versions: Value| version(&json!({"conversionReviewVersions": versions}));
        assert_eq!(of(json!(["v9", "v1beta1", "v1"])), Ok("v1beta1"));
        assert_eq!(of(json!(["v9"])).unwrap_err(), "no supported conversion review versions");
    }

    #[test]
    fn answers_must_be_to_the_question() {
        let ok = json!({"uid": "u", "result": {"status": "Success"}, "convertedObjects": [{}]});
        let answer = |kind: &str, response: Value| {
            json!({"kind": kind, "apiVersion": "apiextensions.k8s.io/v1", "response": response}).to_string()
        };
        let read = |text: &str| read("v1", "u", text.as_bytes());
        assert_eq!(read(&answer("ConversionReview", ok.clone())).unwrap().len(), 1);
        for (kind, response, want) in [
            (
                "Other",
                ok.clone(),
                "no kind \"Other\" is registered for version \"apiextensions.k8s.io/v1\" in scheme \
                 \"k8s.io/apiserver/pkg/util/webhook/client.go:71\"",
            ),
            (
                "",
                ok,
                "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got \
                 apiextensions.k8s.io/v1, Kind=",
            ),
            ("ConversionReview", json!(null), "no response provided"),
            ("ConversionReview", json!({"uid": "x"}), "expected response.uid=\"u\", got \"x\""),
            ("ConversionReview", json!({"uid": "u", "result": {"status": "Failed", "message": "no"}}), "no"),
            ("ConversionReview", json!({"uid": "u"}), "response.result.status was '', not 'Success'"),
        ] {
            assert_eq!(read(&answer(kind, response)).unwrap_err(), want);
        }
    }

    #[test]
    fn of_metadata_only_labels_and_annotations_change() {
        let original = json!({"apiVersion": "g/v1", "kind": "K", "metadata":
            {"name": "a", "namespace": "n", "uid": "u", "generation": 2, "labels": {"old": "x"}}, "spec": {"a": 1}});
        let answer =
            |metadata: Value| json!({"apiVersion": "g/v2", "kind": "K", "metadata": metadata, "spec": {"b": 1}});
        let same = json!({"name": "a", "namespace": "n", "uid": "u"});
        let with = |field: &str, value: Value| {
            let mut metadata = same.clone();
            metadata[field] = value;
            answer(metadata)
        };
        let taken = accept(&original, with("labels", json!({"new": "y"})), "g/v2").unwrap();
        let metadata = json!({"name": "a", "namespace": "n", "uid": "u", "generation": 2, "labels": {"new": "y"}});
        assert_eq!(taken, answer(metadata));
        assert_eq!(accept(&original, answer(same.clone()), "g/v2").unwrap()["metadata"].get("labels"), None);
        for (answer, want) in [
            (json!({}), "returned invalid object at index 0: invalid groupVersion (expected g/v2, received )"),
            (
                json!({"apiVersion": "g/v2", "kind": "L"}),
                "returned invalid object at index 0: invalid kind (expected K, received L)",
            ),
            (with("name", json!("b")), "returned invalid object: must have the same name: a != b"),
            (with("uid", json!("v")), "returned invalid object: must have the same UID: u != v"),
            (
                with("labels", json!(["x"])),
                "returned invalid metadata: invalid metadata.labels of type []interface {} in converted object",
            ),
            (
                with("labels", json!({"k": 1})),
                "returned invalid metadata: metadata.labels[k] must be a string, but is int64 in converted object",
            ),
        ] {
            assert_eq!(accept(&original, answer, "g/v2").unwrap_err(), want);
        }
        let bad = accept(&original, with("labels", json!({"k": "not valid"})), "g/v2").unwrap_err();
        assert!(bad.starts_with("returned invalid metadata: metadata.labels: Invalid value: \"not valid\": "), "{bad}");
    }
}
