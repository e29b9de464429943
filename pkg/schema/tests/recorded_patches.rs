// SPDX-License-Identifier: Apache-2.0
//! Patches, apply and `managedFields` against answers recorded from a kube-apiserver. Each request is
//! made against the object as it was recorded before. The recordings lie beside the repository; where
//! they are absent the test says so and passes.

mod recorded;

use std::collections::BTreeMap;

use jiff::Timestamp;
use knarr_schema::kinds::{Kind, Registry};
use knarr_schema::managed_fields::{self, Manager};
use knarr_schema::{apply, normalize, patch};
use knarr_types::tree::{Value, json};
use knarr_types::{Object, Status};
use recorded::{Verdict, play_all};

/// Areas of the recordings and the least share of answers, in percent, that must be right.
const FLOORS: &[(&str, usize)] = &[("apply", 90), ("patch", 90)];

#[test]
fn patches_answer_as_recorded() {
    play_all(FLOORS, |_| true, play);
}

/// A request as recorded.
struct Request<'a> {
    verb: &'a str,
    kind: &'a Kind,
    name: String,
    subresource: String,
    manager: String,
    force: bool,
    body: Value,
    media: &'a str,
}

fn play(scenario: &Value) -> Vec<Verdict> {
    let registry = Registry::builtin();
    let mut objects: BTreeMap<String, Object> = BTreeMap::new();
    let mut verdicts = Vec::new();
    let mut second = 1_800_000_000;
    for step in scenario["steps"].as_array().into_iter().flatten() {
        second += step["wait"].as_f64().map_or(0, |wait| wait.ceil() as i64);
        let Some(request) = read(step, &registry) else { continue };
        let (want, code) = (&step["want"]["body"], step["want"]["code"].as_u64().unwrap_or_default());
        let key = format!("{}/{}", request.kind.resource, request.name);
        let now = Timestamp::from_second(second).expect("a time");
        let old = objects.get(&key).cloned();
        if request.verb == "GET" {
            if code == 200 {
                let mut object = want.clone();
                object["metadata"]["managedFields"] = old.map_or(Value::Null, |old| managed(&old));
                objects.insert(key, object);
            }
            continue;
        }
        let made = answer(&request, old.as_ref(), want, code, now);
        let what = format!("{}: {}", scenario["name"], step["do"]);
        let verdict = match (&made, code < 300) {
            (Some(Ok(made)), true) => same(made, want),
            (Some(Err(status)), false) => match want["message"].as_str() == Some(status.message.as_str()) {
                true => Ok(()),
                false => Err(format!("  want {}\n  have {}", want["message"], status.message)),
            },
            (Some(Err(status)), true) => Err(format!("  refused: {}", status.message)),
            _ => Ok(()),
        };
        // The owners of these are noted before admission and allocation, which are not at work here.
        let later = request.verb == "POST" && matches!(&*request.kind.resource, "pods" | "services");
        if made.is_some() && !later {
            verdicts.push((what, verdict));
        }
        if code < 300 {
            let mut object = want.clone();
            object["metadata"]["managedFields"] = match made {
                Some(Ok(made)) => managed(&made),
                _ => Value::Null,
            };
            objects.insert(key, object);
        }
    }
    verdicts
}

fn managed(object: &Object) -> Value {
    object["metadata"].get("managedFields").cloned().unwrap_or_default()
}

fn read<'a>(step: &'a Value, registry: &'a Registry) -> Option<Request<'a>> {
    let (verb, url) = step["do"].as_str()?.split_once(' ')?;
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let parameter = |name: &str| {
        query.split('&').filter_map(|p| p.split_once('=')).find(|(n, _)| *n == name).map_or("", |(_, v)| v).to_owned()
    };
    if query.contains("dryRun") {
        return None;
    }
    let mut parts = path.trim_start_matches('/').split('/').peekable();
    let group = if parts.next()? == "api" { "" } else { parts.next()? };
    let version = parts.next()?;
    let rest: Vec<&str> = parts.collect();
    let rest = if rest.first() == Some(&"namespaces") && rest.len() > 2 { &rest[2..] } else { &rest[..] };
    let kind = registry.by_resource(group, version, rest.first()?)?;
    let subresource = rest.get(2).copied().unwrap_or_default().to_owned();
    if !matches!(subresource.as_str(), "" | "status") {
        return None;
    }
    let body = match &step["body"] {
        Value::String(text) => serde_json::from_str(text).ok()?,
        other => other.clone(),
    };
    let name = rest
        .get(1)
        .map_or_else(|| body["metadata"]["name"].as_str().unwrap_or_default().to_owned(), |n| (*n).to_owned());
    let agent = step["headers"]["User-Agent"].as_str().unwrap_or_default();
    let manager = managed_fields::manager_name(&parameter("fieldManager"), agent).to_owned();
    let force = parameter("force") == "true";
    let media = step["type"].as_str().unwrap_or_default();
    Some(Request { verb, kind, name, subresource, manager, force, body, media })
}

/// What we answer; `None` where the request is not about patches or owners.
fn answer(
    request: &Request<'_>,
    old: Option<&Object>,
    want: &Value,
    code: u64,
    now: Timestamp,
) -> Option<Result<Object, Status>> {
    let version = request.kind.api_version();
    let has_status = request.kind.subresource("status").is_some();
    let manager = Manager {
        name: &request.manager,
        api_version: &version,
        subresource: &request.subresource,
        reset: managed_fields::reset_fields_of(&request.kind.kind, &request.subresource, has_status),
        others: &managed_fields::OneVersion,
    };
    let ty = request.kind.ty.get();
    let patched = match (request.verb, request.media) {
        ("POST" | "PUT", _) if code < 300 => Ok(request.body.clone()),
        ("PATCH", "apply") if request.manager.is_empty() || (old.is_none() && !request.subresource.is_empty()) => {
            return None;
        }
        ("PATCH", "apply") => {
            let made = apply::apply(old, &request.body, ty, &request.kind.kind, &manager, request.force, now);
            let mut made = match made {
                Ok(made) => made,
                Err(error) => return Some(Err(error.to_status())),
            };
            // What a validation or another part of the server refuses is not ours to answer.
            if code >= 300 {
                return None;
            }
            if request.subresource == "status" {
                let before = old.map_or(Value::Null, |old| old["spec"].clone());
                made["spec"] = before;
            } else if has_status {
                made["status"] = want["status"].clone();
            }
            (request.kind.rules.default)(&mut made);
            normalize(&mut made, ty);
            return Some(Ok(made));
        }
        ("PATCH", "merge") => patch::merge_patch(old?.clone(), &request.body),
        ("PATCH", "json") => patch::json_patch(old?.clone(), &request.body),
        ("PATCH", "strategic") => patch::strategic_merge_patch(old?.clone(), &request.body, ty),
        _ => return None,
    };
    match patched {
        Err(error) => Some(Err(error.to_status())),
        Ok(_) if code >= 300 => None,
        Ok(mut patched) => {
            let sent = patched["metadata"].get("managedFields").cloned();
            let mut new = want.clone();
            if let Some(metadata) = new["metadata"].as_object_mut() {
                metadata.remove("managedFields");
                metadata.extend(sent.map(|list| ("managedFields".to_owned(), list)));
            }
            managed_fields::track_update(old, &mut new, ty, &manager, now);
            if request.verb == "PATCH" {
                (request.kind.rules.default)(&mut patched);
                normalize(&mut patched, ty);
                let main = request.subresource.is_empty();
                for field in ["spec", "data", "template", "rules", "secrets"].iter().filter(|_| main) {
                    if let Some(value) = patched.get(field) {
                        new[*field] = value.clone();
                    }
                }
            }
            Some(Ok(new))
        }
    }
}

/// Compares all but what the server sets.
fn same(made: &Object, want: &Value) -> Result<(), String> {
    let (mut made, mut want) = (made.clone(), want.clone());
    for object in [&mut made, &mut want] {
        let Some(metadata) = object["metadata"].as_object_mut() else { continue };
        for name in ["creationTimestamp", "uid", "resourceVersion", "generation", "namespace", "name"] {
            metadata.remove(name);
        }
        for entry in metadata.get_mut("managedFields").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(time) = entry.get_mut("time") {
                *time = json!("");
            }
        }
    }
    let mut differences = Vec::new();
    differ(&want, &made, "", &mut differences);
    if differences.is_empty() { Ok(()) } else { Err(differences.join("\n")) }
}

fn differ(want: &Value, made: &Value, path: &str, out: &mut Vec<String>) {
    match (want, made) {
        (Value::Object(a), Value::Object(b)) => {
            for name in a.keys().chain(b.keys().filter(|name| !a.contains_key(name))) {
                differ(
                    a.get(name).unwrap_or(&Value::Null),
                    b.get(name).unwrap_or(&Value::Null),
                    &format!("{path}.{name}"),
                    out,
                );
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                differ(a, b, &format!("{path}[{index}]"), out);
            }
        }
        (a, b) if a == b => {}
        (a, b) => out.push(format!("  {path}: want {a}, have {b}")),
    }
}
