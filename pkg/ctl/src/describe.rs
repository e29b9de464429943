// SPDX-License-Identifier: Apache-2.0
//! `describe`: an object for people, with what happened to it.

use k8s_openapi::api::core::v1::Event;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{Api, ListParams};
use serde_json::Value;

use crate::args::DescribeArgs;
use crate::error::CtlError;
use crate::output::{Columns, print};
use crate::resources::{Named, Resource, named};
use crate::session::Session;

/// Runs `describe`.
pub(crate) async fn run(session: &Session, args: DescribeArgs) -> Result<u8, CtlError> {
    let resources = session.resources().await?;
    let selection = &args.selection;
    let mut objects: Vec<(&Resource, Value)> = Vec::new();
    match named(&selection.what)? {
        Named::Objects(named) => {
            for (type_, name) in named {
                let resource = resources.find(type_)?;
                let object = session.api(resource, Some(&session.namespace)).get(name).await?;
                objects.push((resource, serde_json::json!(object)));
            }
        }
        Named::Types(types) => {
            for resource in resources.find_all(types)? {
                let namespace = (!selection.all_namespaces).then_some(session.namespace.as_str());
                let list = ListParams::default().labels(&selection.selector).fields(&selection.field_selector);
                let found = session.api(resource, namespace).list(&list).await?;
                objects.extend(found.items.into_iter().map(|o| (resource, serde_json::json!(o))));
            }
        }
    }
    for (i, (resource, object)) in objects.iter().enumerate() {
        let events = events(session, object).await?;
        let space = if i > 0 { "\n\n" } else { "" };
        print(&format!("{space}{}{}", body(resource, object), event_table(&events, Timestamp::now())))?;
    }
    Ok(0)
}

/// The object's fields in kubectl's layout: names with spaces, values beside them.
fn body(resource: &Resource, object: &Value) -> String {
    let meta = &object["metadata"];
    let mut text = String::new();
    line(&mut text, 0, "Name", meta["name"].as_str().unwrap_or_default());
    if resource.namespaced {
        line(&mut text, 0, "Namespace", meta["namespace"].as_str().unwrap_or_default());
    }
    pairs(&mut text, "Labels", &meta["labels"], "=");
    pairs(&mut text, "Annotations", &meta["annotations"], ": ");
    line(&mut text, 0, "API Version", object["apiVersion"].as_str().unwrap_or(&resource.api.api_version));
    line(&mut text, 0, "Kind", object["kind"].as_str().unwrap_or(&resource.api.kind));
    let mut rest = serde_json::Map::new();
    let hidden = ["name", "namespace", "labels", "annotations", "managedFields"];
    let details: serde_json::Map<_, _> = meta
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(k, _)| !hidden.contains(&k.as_str()))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    rest.insert("metadata".into(), Value::Object(details));
    for (key, value) in object.as_object().into_iter().flatten() {
        if !["metadata", "apiVersion", "kind"].contains(&key.as_str()) {
            rest.insert(
                key.clone(),
                if resource.api.kind == "Secret" && key == "data" { sizes(value) } else { value.clone() },
            );
        }
    }
    tree(&mut text, 0, &Value::Object(rest));
    text
}

/// A Secret's data is not for screens.
fn sizes(data: &Value) -> Value {
    let size = |v: &Value| format!("{} bytes", v.as_str().map_or(0, |s| s.trim_end_matches('=').len() * 3 / 4));
    data.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), Value::String(size(v)))).collect()
}

fn tree(text: &mut String, depth: usize, value: &Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::Object(_) | Value::Array(_) => {
                        line(text, depth, &title(key), "");
                        tree(text, depth + 1, value);
                    }
                    scalar => line(text, depth, &title(key), &words(scalar)),
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                match item {
                    Value::Object(_) | Value::Array(_) => {
                        tree(text, depth, item);
                        if items.len() > 1 {
                            text.push('\n');
                        }
                    }
                    scalar => text.push_str(&format!("{}{}\n", "  ".repeat(depth), words(scalar))),
                }
            }
        }
        scalar => text.push_str(&format!("{}{}\n", "  ".repeat(depth), words(scalar))),
    }
}

fn line(text: &mut String, depth: usize, name: &str, value: &str) {
    let name = format!("{}{name}:", "  ".repeat(depth));
    text.push_str(format!("{name:<16}{value}").trim_end());
    text.push('\n');
}

fn pairs(text: &mut String, name: &str, map: &Value, between: &str) {
    let hidden = knarr_types::labels::LAST_APPLIED;
    let pairs: Vec<_> = map
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(k, _)| *k != hidden)
        .map(|(k, v)| format!("{k}{between}{}", words(v)))
        .collect();
    line(text, 0, name, pairs.first().map_or("<none>", String::as_str));
    for pair in pairs.iter().skip(1) {
        text.push_str(&format!("{:16}{pair}\n", ""));
    }
}

fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<none>".into(),
        other => other.to_string(),
    }
}

/// `containerPort` as `Container Port`.
fn title(key: &str) -> String {
    let mut title = String::new();
    for (i, c) in key.chars().enumerate() {
        if i == 0 {
            title.extend(c.to_uppercase());
            continue;
        }
        let previous_lower = key.chars().nth(i - 1).is_some_and(char::is_lowercase);
        if c.is_uppercase() && previous_lower {
            title.push(' ');
        }
        title.push(c);
    }
    title
}

async fn events(session: &Session, object: &Value) -> Result<Vec<Event>, CtlError> {
    let meta = &object["metadata"];
    let Some(uid) = meta["uid"].as_str() else { return Ok(Vec::new()) };
    let namespace = meta["namespace"].as_str().unwrap_or("default");
    let list = ListParams::default().fields(&format!("involvedObject.uid={uid}"));
    let mut events = Api::<Event>::namespaced(session.client.clone(), namespace).list(&list).await?.items;
    events.sort_by_key(|e| e.last_timestamp.as_ref().map(|t| t.0));
    Ok(events)
}

fn event_table(events: &[Event], now: Timestamp) -> String {
    if events.is_empty() {
        return "Events:         <none>\n".to_owned();
    }
    let heading = |cells: [&str; 5]| cells.map(str::to_owned).to_vec();
    let mut rows = vec![
        heading(["  Type", "Reason", "Age", "From", "Message"]),
        heading(["  ----", "------", "----", "----", "-------"]),
    ];
    for event in events {
        let age = |t: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
            t.as_ref().map_or_else(|| "<unknown>".into(), |t| duration(now.duration_since(t.0)))
        };
        let count = event.count.unwrap_or(1);
        let last = age(&event.last_timestamp);
        let when = if count > 1 { format!("{last} (x{count} over {})", age(&event.first_timestamp)) } else { last };
        let from = event.source.as_ref().and_then(|s| s.component.clone()).or(event.reporting_component.clone());
        rows.push(vec![
            format!("  {}", event.type_.clone().unwrap_or_default()),
            event.reason.clone().unwrap_or_default(),
            when,
            from.unwrap_or_default(),
            event.message.clone().unwrap_or_default().trim().to_owned(),
        ]);
    }
    format!("Events:\n{}", Columns::default().lines(&rows))
}

/// `2d3h`, `5m`, `12s`: the two largest units where the first is small, as kubectl's ages.
fn duration(length: SignedDuration) -> String {
    let seconds = length.as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |large: i64, unit: &str, small: i64, small_unit: &str| {
        if small == 0 { format!("{large}{unit}") } else { format!("{large}{unit}{small}{small_unit}") }
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        _ => format!("{days}d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_as_kubectls() {
        for (seconds, want) in [
            (5, "5s"),
            (119, "119s"),
            (125, "2m5s"),
            (700, "11m"),
            (11_000, "3h3m"),
            (100_000, "27h"),
            (200_000, "2d7h"),
            (900_000, "10d"),
        ] {
            assert_eq!(duration(SignedDuration::from_secs(seconds)), want);
        }
    }

    #[test]
    fn keys_become_titles() {
        for (key, want) in [("containerPort", "Container Port"), ("podIP", "Pod IP"), ("spec", "Spec")] {
            assert_eq!(title(key), want);
        }
    }

    #[test]
    fn secrets_show_only_their_sizes() {
        assert_eq!(sizes(&serde_json::json!({"k": "aGVsbG8="}))["k"], "5 bytes");
    }
}
