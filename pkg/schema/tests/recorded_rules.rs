// SPDX-License-Identifier: Apache-2.0

//! The rules of kinds against answers recorded from a kube-apiserver: an accepted object must come
//! out of defaults and strategy as it was recorded, a refused one must get the recorded Status.
//! The recordings lie beside the repository; where they are absent the test says so and passes.

mod recorded;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use knarr_schema::kinds::Registry;
use knarr_schema::patch::{json_patch, merge_patch};
use knarr_schema::rules::{self, Rules};
use knarr_types::tree::{Value, json};
use knarr_types::{ErrorList, Object, Status};
use recorded::{Verdict, play_all};

/// Areas of the recordings and the least share of answers, in percent, that must be right.
const FLOORS: &[(&str, usize)] = &[
    ("core-defaults", 94),
    ("core-validation", 97),
    ("core-update", 90),
    ("apps", 100),
    ("batch", 94),
    ("networking", 98),
    ("storage-objects", 100),
    ("rbac-objects", 100),
    ("other-groups", 80),
    ("lifecycle", 99),
];

#[test]
fn rules_answer_as_recorded() {
    let wanted = std::env::var("RULES_SHOW").unwrap_or_default();
    play_all(FLOORS, |what| !wanted.is_empty() && what.contains(&wanted), play);
}

fn play(scenario: &Value) -> Vec<Verdict> {
    let name = scenario["name"].as_str().unwrap_or_default();
    let mut verdicts = Vec::new();
    let mut objects: BTreeMap<String, Value> = BTreeMap::new();
    for step in scenario["steps"].as_array().into_iter().flatten() {
        let request = step["do"].as_str().unwrap_or_default();
        let (verb, path) = request.split_once(' ').unwrap_or_default();
        let answer = &step["want"];
        let verdict = match verb {
            "POST" => post(path, step),
            "PUT" | "PATCH" => change(path, step, &objects),
            _ => None,
        };
        verdicts.extend(verdict.map(|verdict| (format!("{name} {request} {}", step["body"]), verdict)));
        if matches!(answer["code"].as_u64(), Some(200 | 201)) && answer["body"]["metadata"].is_object() {
            let mut key = path.split('?').next().unwrap_or_default().to_owned();
            if verb == "POST" {
                let object_name = answer["body"]["metadata"]["name"].as_str().unwrap_or_default();
                key = format!("{key}/{}", object_name.replace("<id>", "${id}"));
            }
            if !path.contains("dryRun") && !key.ends_with("/scale") {
                objects.insert(
                    key.trim_end_matches("/status").trim_end_matches("/approval").to_owned(),
                    answer["body"].clone(),
                );
            }
        }
        if verb == "DELETE" {
            objects.remove(path);
        }
    }
    verdicts
}

fn post(path: &str, step: &Value) -> Option<Result<(), String>> {
    let path = path.strip_suffix("?dryRun=All").unwrap_or(path);
    let skipped = path.contains('?') || path.matches('/').count() > 6 || path.ends_with("reviews");
    if skipped || !step["body"].is_object() {
        return None;
    }
    match step["want"]["code"].as_u64() {
        Some(201) => Some(created(path, &step["body"], &step["want"])),
        Some(422) => Some(refused(path, &step["body"], &step["want"]["body"])),
        _ => None,
    }
}

/// An update of an object that an earlier step left behind.
fn change(path: &str, step: &Value, objects: &BTreeMap<String, Value>) -> Option<Result<(), String>> {
    let answer = &step["want"];
    let code = answer["code"].as_u64().filter(|code| [200, 422].contains(code))?;
    let (key, subresource) = match path.rsplit_once('/') {
        Some((key, subresource @ ("status" | "approval"))) => (key, subresource),
        _ => (path, ""),
    };
    let old = unmasked(objects.get(key)?);
    let patched = match step["type"].as_str() {
        Some("merge") => merge_patch(old.clone(), &unmasked(&step["body"])).ok()?,
        Some("json") => json_patch(old.clone(), &unmasked(&step["body"])).ok()?,
        None if step["body"].is_object() && path_is_put(step) => unmasked(&step["body"]),
        _ => return None,
    };
    let kind = old["kind"].as_str()?.to_owned();
    let group = old["apiVersion"].as_str()?.split_once('/').map_or("", |(group, _)| group).to_owned();
    let rules = rules::for_kind(&group, &kind);
    let mut new = decoded(&patched).ok()?;
    (rules.default)(&mut new);
    let version = old["apiVersion"].as_str()?.rsplit('/').next()?;
    let row = KINDS.by_kind(&group, version, &kind)?;
    knarr_schema::normalize_sent(&mut new, row.ty.get());
    rules::metadata::prepare_update(&mut new, &old);
    (rules.prepare_update)(&mut new, &old, subresource);
    let mut errors = row.check_update(&new, &old, subresource);
    if errors.is_empty() && kind == "Service" {
        errors = rules::service::settle_families(&mut new, Some(&old));
    }
    let recorded = unmasked(&answer["body"]);
    if code == 422 {
        if recorded["message"].as_str().is_some_and(|message| message.contains("resourceVersion: Invalid")) {
            return None;
        }
        let name = new["metadata"]["name"].as_str().unwrap_or_default();
        let (ours, theirs) = (masked(&Status::invalid(&group, &kind, name, &errors).to_json()), masked(&recorded));
        if ours == theirs {
            return Some(Ok(()));
        }
        return Some(Err(format!(
            "   ours   {}\n   theirs {}\n   {}\n   {}",
            ours["message"], theirs["message"], ours["details"], theirs["details"]
        )));
    }
    if !errors.is_empty() {
        return Some(Err(format!("refused: {}", shown(&errors))));
    }
    let (ours, theirs) = (comparable(&new, &recorded), comparable(&recorded, &recorded));
    Some(if ours == theirs { Ok(()) } else { Err(difference("", &ours, &theirs)) })
}

fn path_is_put(step: &Value) -> bool {
    step["do"].as_str().is_some_and(|request| request.starts_with("PUT "))
}

/// A recorded object as one that could have been: masks become values.
fn unmasked(object: &Value) -> Value {
    let mut text = object.to_string();
    for (mask, value) in [
        ("<ns>", "ns"),
        ("${ns}", "ns"),
        ("<id>", "id"),
        ("${id}", "id"),
        ("<random>", "x"),
        ("<time>", "2024-01-01T00:00:00Z"),
    ] {
        text = text.replace(mask, value);
    }
    for n in 1..30 {
        text = text.replace(&format!("<uid:{n}>"), UID).replace(&format!("<rv:{n}>"), &n.to_string());
        text = text.replace(&format!("\"<port:{n}>\""), &(30000 + n).to_string());
        text = text.replace(&format!("<ip:{n}>"), &format!("10.43.0.{n}"));
    }
    serde_json::from_str(&text).expect("still JSON")
}

fn created(path: &str, request: &Value, answer: &Value) -> Result<(), String> {
    let recorded = &answer["body"];
    let (mut object, errors, (group, kind), early) = create(path, request);
    let rules = rules::for_kind(&group, &kind);
    let mut warnings: Vec<_> = rules.deprecation.map(str::to_owned).into_iter().collect();
    warnings.extend(early);
    warnings.extend((rules.warnings)(&object));
    warnings.extend(rules::metadata::deduplicate_owners(&mut object));
    let ours: Vec<_> = warnings.iter().map(|warning| format!("299 - {warning:?}")).collect();
    if uids_masked(&json!(ours).to_string()).matches("299 - ").count()
        != answer["warnings"].as_array().map_or(0, Vec::len)
        || ours.iter().any(|warning| {
            !warning.contains("UID") && !answer["warnings"].to_string().contains(&json!(warning).to_string())
        })
    {
        return Err(format!("   warnings: ours {ours:?}, theirs {}", answer["warnings"]));
    }
    if !errors.is_empty() {
        return Err(format!("refused: {}", shown(&errors)));
    }
    let (ours, theirs) = (comparable(&object, recorded), comparable(recorded, recorded));
    if ours == theirs { Ok(()) } else { Err(difference("", &ours, &theirs)) }
}

fn refused(path: &str, request: &Value, recorded: &Value) -> Result<(), String> {
    let (object, errors, (group, kind), _) = create(path, request);
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let ours = masked(&Status::invalid(&group, &kind, name, &errors).to_json());
    let theirs = masked(recorded);
    if errors.is_empty() {
        return Err(format!("accepted, but:\n   {}", theirs["message"]));
    }
    if ours == theirs { Ok(()) } else { Err(format!("   ours   {}\n   theirs {}", ours["message"], theirs["message"])) }
}

/// Does what the write path does with a new object.
fn create(path: &str, request: &Value) -> (Object, ErrorList, (String, String), Vec<String>) {
    let Ok(mut object) = decoded(request) else {
        return (request.clone(), ErrorList::new(), Default::default(), Vec::new());
    };
    let api_version = object["apiVersion"].as_str().unwrap_or("v1").to_owned();
    let group = api_version.split_once('/').map_or("", |(group, _)| group).to_owned();
    let kind = object["kind"].as_str().unwrap_or_default().to_owned();
    let namespaced = path.contains("/namespaces/");
    let rules: &Rules = rules::for_kind(&group, &kind);
    if namespaced {
        object["metadata"]["namespace"] = json!("${ns}");
    }
    (rules.default)(&mut object);
    admit(&kind, &mut object);
    rules::metadata::prepare_create(&mut object);
    let early = (rules.early_warnings)(&object);
    (rules.prepare_create)(&mut object);
    let generate_name = object["metadata"]["generateName"].as_str().unwrap_or_default().to_owned();
    if !generate_name.is_empty() && object["metadata"]["name"].as_str().unwrap_or_default().is_empty() {
        object["metadata"]["name"] = json!(format!("{generate_name}x"));
    }
    let mut judged = object.clone();
    if namespaced {
        judged["metadata"]["namespace"] = json!("ns");
    }
    let text = judged.to_string().replace("${id}", "id").replace("${ns}", "ns").replace("<random>", "x");
    let judged: Value = serde_json::from_str(&text).expect("still JSON");
    let version = api_version.rsplit('/').next().unwrap_or_default();
    let row = KINDS.by_kind(&group, version, &kind).filter(|row| row.namespaced == namespaced);
    let mut errors = match row {
        Some(row) => row.check_create(&judged),
        None => rules::check_create(rules, namespaced, &judged),
    };
    if errors.is_empty() {
        (rules.complete)(&mut object);
    }
    if errors.is_empty() && kind == "Service" {
        errors = rules::service::settle_families(&mut object, None);
    }
    (object, errors, (group, kind), early)
}

/// What admission does before the strategy, as far as validation sees it.
fn admit(kind: &str, object: &mut Object) {
    object["metadata"]["creationTimestamp"] = json!("<time>");
    object["metadata"]["uid"] = json!(UID);
    if kind == "Pod" && !object["spec"]["serviceAccountName"].is_string() {
        object["spec"]["serviceAccountName"] = json!("default");
    }
}

static KINDS: LazyLock<Registry> = LazyLock::new(Registry::builtin);

/// What every new object gets here.
const UID: &str = "00000000-0000-4000-8000-000000000000";

/// The request as the decoder hands it over.
fn decoded(request: &Value) -> Result<Object, String> {
    let api_version = request["apiVersion"].as_str().unwrap_or("v1");
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let kind = KINDS.by_kind(group, version, request["kind"].as_str().unwrap_or_default()).ok_or("no such kind")?;
    let object = knarr_schema::decode::check(request.clone(), kind.ty.get()).map_err(|fault| fault.to_string())?.object;
    Ok(without_nulls(&object))
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.clone(), without_nulls(value)))
            .collect(),
        Value::Array(list) => list.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

/// What rules decide about: without what the server, its allocators and admission add.
fn comparable(object: &Value, recorded: &Value) -> Value {
    let mut object = object.clone();
    for field in ["uid", "creationTimestamp", "resourceVersion", "managedFields", "selfLink", "namespace"] {
        take(&mut object, &["metadata"], field);
    }
    if recorded["metadata"]["generateName"].is_string() {
        take(&mut object, &["metadata"], "name");
    }
    let admission: &[&str] = match object["kind"].as_str().unwrap_or_default() {
        "Pod" => &[
            "tolerations",
            "priority",
            "preemptionPolicy",
            "serviceAccount",
            "serviceAccountName",
            "volumes",
            "automountServiceAccountToken",
        ],
        "Service" => &["clusterIP", "clusterIPs", "healthCheckNodePort"],
        _ => &[],
    };
    for field in admission {
        take(&mut object, &["spec"], field);
    }
    for list in ["containers", "initContainers", "ports"] {
        for item in object["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            take(item, &[], "volumeMounts");
            take(item, &[], "nodePort");
        }
    }
    if object["kind"] == "CertificateSigningRequest" {
        for field in ["username", "groups", "uid", "extra"] {
            take(&mut object, &["spec"], field);
        }
    }
    if ["PersistentVolume", "PersistentVolumeClaim", "VolumeAttributesClass"]
        .contains(&object["kind"].as_str().unwrap_or(""))
    {
        take(&mut object, &["metadata"], "finalizers");
    }
    mask_times(&mut object);
    let text = uids_masked(&object.to_string());
    without_empties(&serde_json::from_str(&text).expect("still JSON"))
}

/// Recordings mask every time; so do we.
fn mask_times(value: &mut Value) {
    match value {
        Value::Object(map) => map.values_mut().for_each(mask_times),
        Value::Array(list) => list.iter_mut().for_each(mask_times),
        Value::String(text) if text.starts_with("20") && text.ends_with('Z') && text.contains('T') => {
            *text = "<time>".into();
        }
        _ => {}
    }
}

fn take(value: &mut Value, path: &[&str], field: &str) {
    let target = path.iter().try_fold(value, |value, step| value.get_mut(*step));
    if let Some(map) = target.and_then(Value::as_object_mut) {
        map.remove(field);
    }
}

fn without_empties(value: &Value) -> Value {
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_i64() == Some(0),
    };
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), without_empties(value)))
            .filter(|(_, value)| !empty(value))
            .collect(),
        Value::Array(list) => list.iter().map(without_empties).collect(),
        other => other.clone(),
    }
}

/// A Status without what recordings mask: uids and times.
fn masked(status: &Value) -> Value {
    let mut status = status.clone();
    let uid = uids_masked(&status.to_string());
    status = serde_json::from_str(&uid).expect("still JSON");
    take(&mut status, &[], "metadata");
    status
}

/// Recorded uids read `<uid:N>`, and so do given ones; ours are as they were given.
fn uids_masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\\\"uid\\\":\\\"") {
        let (head, tail) = rest.split_at(at + 10);
        out.push_str(head);
        out.push_str("<uid>");
        rest = tail.find("\\\"").map_or("", |end| &tail[end..]);
    }
    out.push_str(rest);
    out = out.replace(UID, "<uid>");
    for n in 1..9 {
        out = out.replace(&format!("<uid:{n}>"), "<uid>");
    }
    out.replace("<id>", "id").replace("<ns>", "ns").replace("${id}", "id").replace("${ns}", "ns")
}

fn shown(errors: &ErrorList) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn difference(path: &str, ours: &Value, theirs: &Value) -> String {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeMap<_, ()> = a.keys().chain(b.keys()).map(|key| (key, ())).collect();
            keys.keys()
                .filter(|key| a.get(key) != b.get(key))
                .map(|key| {
                    let null = Value::Null;
                    difference(&format!("{path}.{key}"), a.get(key).unwrap_or(&null), b.get(key).unwrap_or(&null))
                })
                .collect()
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let pairs = a.iter().zip(b).enumerate().filter(|(_, (a, b))| a != b);
            pairs.map(|(i, (a, b))| difference(&format!("{path}[{i}]"), a, b)).collect()
        }
        _ => format!("   {path}: ours {ours}, theirs {theirs}\n"),
    }
}
