// SPDX-License-Identifier: Apache-2.0
//! What can be tried without a server against recorded answers of kube-apiserver 1.36.
//!
//! The recordings are not part of the repository: `KNARR_RECORDINGS` names their folder, by default
//! `shared/corpus` beside the checkout. Without them each test says so and passes.

use std::path::PathBuf;

use knarr_schema::Registry;
use knarr_schema::decode::check;
use knarr_types::tree::{Value, json};

/// The steps of all recorded conversations, or nothing (told in a line) where there are none.
fn steps() -> Vec<(String, Value)> {
    let beside = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo starts the tests"))
        .join("../../../shared/corpus");
    let folder = std::env::var_os("KNARR_RECORDINGS").map_or(beside, PathBuf::from);
    let Ok(files) = std::fs::read_dir(&folder) else {
        println!("left out: no recordings in {}", folder.display());
        return Vec::new();
    };
    let mut steps = Vec::new();
    for path in files.filter_map(|file| Some(file.ok()?.path())).filter(|p| p.extension().is_some_and(|e| e == "json"))
    {
        let text = std::fs::read(&path).expect("a recording can be read");
        let scenarios: Vec<Value> = serde_json::from_slice(&text).expect("a recording is JSON");
        for scenario in scenarios {
            let name = scenario["name"].as_str().unwrap_or_default().to_owned();
            steps.extend(scenario["steps"].as_array().into_iter().flatten().map(|step| (name.clone(), step.clone())));
        }
    }
    steps
}

/// Puts values of the right form where the recordings have placeholders.
fn filled(value: &Value) -> Value {
    match value {
        Value::String(text) if text.contains("<time>") => json!(text.replace("<time>", "2024-01-01T00:00:00Z")),
        Value::String(text) if text.starts_with("<port:") => json!(30001),
        Value::Array(items) => items.iter().map(filled).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), filled(value))).collect(),
        other => other.clone(),
    }
}

fn objects() -> Vec<(String, Value)> {
    let mut objects = Vec::new();
    for (name, step) in steps() {
        let body = filled(&step["want"]["body"]);
        match body.get("items").and_then(Value::as_array) {
            Some(items) => objects.extend(items.iter().map(|item| (name.clone(), item.clone()))),
            None => objects.push((name, body)),
        }
    }
    objects
}

/// Where two trees differ: `/spec/a: 1 is not 2`.
fn differences(want: &Value, got: &Value) -> Vec<String> {
    let inner = |step: &str, want: Option<&Value>, got: Option<&Value>| match (want, got) {
        (Some(want), Some(got)) => differences(want, got).iter().map(|d| format!("/{step}{d}")).collect(),
        (want, got) => vec![format!("/{step}: wanted {want:?}, got {got:?}")],
    };
    match (want, got) {
        (Value::Object(want), Value::Object(got)) => {
            let names: std::collections::BTreeSet<&knarr_types::tree::Text> = want.keys().chain(got.keys()).collect();
            names.into_iter().flat_map(|name| inner(name, want.get(name), got.get(name))).collect()
        }
        (Value::Array(want), Value::Array(got)) => {
            (0..want.len().max(got.len())).flat_map(|i| inner(&i.to_string(), want.get(i), got.get(i))).collect()
        }
        _ if want == got => Vec::new(),
        _ => vec![format!(": wanted {want}, got {got}")],
    }
}

#[test]
fn recorded_objects_are_in_their_normal_form() {
    let registry = Registry::builtin();
    let (mut tried, mut wrong) = (0, Vec::new());
    for (name, object) in objects() {
        let (Some(api_version), Some(kind)) = (object["apiVersion"].as_str(), object["kind"].as_str()) else {
            continue;
        };
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let Some(kind) = registry.by_kind(group, version, kind) else { continue };
        tried += 1;
        let mut normal = match check(object.clone(), kind.ty.get()) {
            Ok(decoded) if decoded.faults.is_empty() => decoded.object,
            Ok(decoded) => {
                wrong.push(format!("{name}: {} {:?}", kind.kind, decoded.faults));
                continue;
            }
            Err(error) if error.to_string().contains("parsing time") => continue,
            Err(error) => {
                wrong.push(format!("{name}: {} {error}", kind.kind));
                continue;
            }
        };
        knarr_schema::normalize(&mut normal, kind.ty.get());
        if normal != object {
            wrong.extend(
                differences(&object, &normal).iter().map(|difference| format!("{name}: {} {difference}", kind.kind)),
            );
        }
    }
    wrong.sort();
    wrong.dedup();
    println!("{tried} objects");
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// What a write leaves as the text of the store is what it would have read.
#[test]
fn recorded_objects_are_read_from_their_text() {
    use knarr_schema::managed_fields::folded;
    let mut tried = 0;
    for (name, object) in objects().into_iter().filter(|(_, object)| object["metadata"].is_object()) {
        let text = knarr_schema::encode(&object).json;
        let stored = folded::read_folded(&text.clone().into()).unwrap();
        assert_eq!(String::from_utf8(knarr_schema::encode(&stored).json), String::from_utf8(text), "{name}");
        let mut read = stored;
        folded::unfold(&mut read);
        let mut want = object;
        let fields = want.as_object_mut().unwrap();
        fields.retain(|name, _| name != "apiVersion" && name != "kind");
        fields["metadata"].as_object_mut().unwrap().remove("resourceVersion");
        assert_eq!(read, want, "{name}");
        tried += 1;
    }
    println!("{tried} objects");
}

#[test]
fn discovery_documents_are_as_recorded() {
    use knarr_schema::discovery::{aggregated, group, resource_list};
    let registry = Registry::builtin();
    let (mut tried, mut wrong) = (0, Vec::new());
    for (name, step) in steps() {
        let want = &step["want"];
        if want["code"] != 200 || want["body"].is_string() {
            continue;
        }
        let path = step["do"].as_str().unwrap_or_default().strip_prefix("GET /").unwrap_or_default();
        let accepts_aggregated =
            step["headers"]["Accept"].as_str().is_some_and(|a| a.contains("as=APIGroupDiscoveryList"));
        let parts: Vec<&str> = path.split('/').collect();
        let got = match parts.as_slice() {
            ["api"] if accepts_aggregated => Some(aggregated(&registry, true)),
            ["api", version] => resource_list(&registry, "", version),
            ["apis", name] => group(&registry, name),
            ["apis", group, version] => resource_list(&registry, group, version),
            _ => None,
        };
        if let Some(got) = got {
            tried += 1;
            wrong.extend(differences(&want["body"], &got).iter().map(|d| format!("{name}: {path} {d}")));
        }
    }
    println!("{tried} documents");
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// The kind that a path of a collection or an object names, and the object's name.
fn kind_at(registry: &Registry, path: &str) -> Option<(std::sync::Arc<knarr_schema::Kind>, Option<String>)> {
    let path = path.split('?').next()?;
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    let rest = match rest {
        ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
        rest => rest,
    };
    let kind = registry.by_resource(group, version, rest.first()?)?;
    Some((kind.clone(), rest.get(1).map(|name| (*name).to_owned())))
}

#[test]
fn table_rows_are_as_recorded() {
    use knarr_schema::table::{IncludeObject, row};
    let registry = Registry::builtin();
    let (mut tried, mut wrong, mut objects, mut scenario) = (0, Vec::new(), Vec::<Value>::new(), String::new());
    for (name, step) in steps() {
        if name != scenario {
            objects.clear();
            scenario.clone_from(&name);
        }
        let body = &step["want"]["body"];
        let method_and_path = step["do"].as_str().unwrap_or_default();
        if body["kind"] != "Table" {
            objects.retain(|o| (&o["kind"], &o["metadata"]["name"]) != (&body["kind"], &body["metadata"]["name"]));
            objects.push(body.clone());
            continue;
        }
        let Some((kind, _)) = method_and_path.strip_prefix("GET ").and_then(|path| kind_at(&registry, path)) else {
            continue;
        };
        for want in body["rows"].as_array().into_iter().flatten() {
            let object = objects.iter().find(|o| o["kind"] == *kind.kind && o["metadata"]["name"] == want["cells"][0]);
            let Some(object) = object.filter(|o| o["apiVersion"] == kind.api_version()) else { continue };
            tried += 1;
            let mut got = row(&kind, object, IncludeObject::None, "2024-01-01T00:00:00Z".parse().expect("a time"));
            for (i, cell) in want["cells"].as_array().into_iter().flatten().enumerate() {
                if cell == "<age>" {
                    got["cells"][i] = cell.clone();
                }
            }
            let mut want = want.clone();
            want["object"] = Value::Null;
            wrong.extend(differences(&want, &got).iter().map(|d| format!("{name}: {} {d}", kind.kind)));
        }
    }
    println!("{tried} rows");
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn stored_objects_are_served_in_other_versions_as_recorded() {
    let registry = Registry::builtin();
    let (mut tried, mut wrong, mut bodies, mut scenario) = (0, Vec::new(), Vec::<Value>::new(), String::new());
    let id = |o: &Value| [&o["kind"], &o["metadata"]["name"], &o["metadata"]["resourceVersion"]].map(Value::clone);
    for (name, step) in steps() {
        if name != scenario {
            bodies.clear();
            scenario.clone_from(&name);
        }
        let mut body = filled(&step["want"]["body"]);
        if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        for other in bodies.iter().filter(|other| id(other) == id(&body) && other["apiVersion"] != body["apiVersion"]) {
            for (stored, served) in [(other, &body), (&body, other)] {
                let api_version = served["apiVersion"].as_str().unwrap_or_default();
                let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
                let Some(kind) = served["kind"].as_str().and_then(|kind| registry.by_kind(group, version, kind)) else {
                    continue;
                };
                if knarr_schema::convert::is_converted(kind) && stored["apiVersion"] == *kind.storage_version {
                    tried += 1;
                    let mut got = stored.clone();
                    knarr_schema::convert::from_storage(kind, &mut got);
                    wrong.extend(differences(served, &got).iter().map(|d| format!("{name}: {} {d}", kind.kind)));
                }
            }
        }
        bodies.push(body);
    }
    println!("{tried} objects");
    wrong.dedup();
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn bodies_are_refused_and_warned_about_as_recorded() {
    use knarr_schema::{FieldValidation, MediaType, decode_as};
    let registry = Registry::builtin();
    let (mut tried, mut wrong) = (0, Vec::new());
    for (name, step) in steps() {
        let Some((method, path)) = step["do"].as_str().and_then(|text| text.split_once(' ')) else { continue };
        let Some((kind, object)) = kind_at(&registry, path).filter(|_| matches!(method, "POST" | "PUT")) else {
            continue;
        };
        let parts = path.split('?').next().unwrap_or_default().split('/').count();
        let is_object_path = parts
            == 4 + usize::from(!kind.group.is_empty())
                + 2 * usize::from(path.contains("/namespaces/"))
                + usize::from(object.is_some());
        if !is_object_path || (method == "POST") == object.is_some() {
            continue;
        }
        let body = match &step["body"] {
            Value::String(text) => text.to_string(),
            body => body.to_string(),
        };
        let media = match step["type"].as_str().unwrap_or_default() {
            "application/yaml" => MediaType::Yaml,
            "" | "application/json" => MediaType::Json,
            _ => continue,
        };
        let validation = match path.split("fieldValidation=").nth(1) {
            Some(text) if text.starts_with("Strict") => FieldValidation::Strict,
            Some(text) if text.starts_with("Ignore") => FieldValidation::Ignore,
            _ => FieldValidation::Warn,
        };
        let want = &step["want"];
        let message = want["body"]["message"].as_str().unwrap_or_default();
        let refused = want["code"] == 400
            && [
                "cannot be handled as",
                "the object provided is unrecognized",
                "does not match the expected API version",
            ]
            .iter()
            .any(|words| message.contains(words));
        tried += 1;
        let warned = |text: &str| text.contains("unknown field") || text.contains("duplicate field");
        match decode_as(&kind, &registry, body.as_bytes(), media, validation) {
            Err(status) if !refused || status.message != message => {
                wrong.push(format!("{name}: {body:.80}: wanted {message:?}, got {:?}", status.message));
            }
            Err(_) => {}
            Ok(_) if refused => wrong.push(format!("{name}: {body:.80}: wanted {message:?}")),
            Ok((_, warnings)) => {
                let wanted: Vec<&str> = want["warnings"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .filter(|w| warned(w))
                    .collect();
                let got: Vec<String> = warnings.iter().map(|w| format!("299 - {w:?}")).collect();
                if got != wanted && want["code"] != 400 && want["code"] != 422 {
                    wrong.push(format!("{name}: wanted {wanted:?}, got {got:?}"));
                }
            }
        }
    }
    println!("{tried} bodies");
    // The recordings hide a part of Go's time layout; who may not is refused before the body is read.
    wrong.retain(|text| !text.contains("<time>07:00") && !text.contains("is forbidden"));
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
