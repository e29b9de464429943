// SPDX-License-Identifier: Apache-2.0
//! What happened to an object: its Events, the oldest first.

use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, ListParams};
use serde_json::Value;

use super::page::{Page, since};
use crate::error::CtlError;
use crate::session::Session;

/// The Events about `object`. Those about a Node lie in any namespace, and give its name where others give a uid.
pub(super) async fn about(session: &Session, object: &Value) -> Result<Vec<Event>, CtlError> {
    let meta = &object["metadata"];
    let text = |key: &str| meta[key].as_str().unwrap_or_default();
    let api = match text("namespace") {
        "" => Api::<Event>::all(session.client.clone()),
        namespace => Api::namespaced(session.client.clone(), namespace),
    };
    let fields = format!("involvedObject.name={}", text("name"));
    let mut events = api.list(&ListParams::default().fields(&fields)).await?.items;
    let kind = object["kind"].as_str().unwrap_or_default();
    events.retain(|event| {
        let uid = event.involved_object.uid.as_deref().unwrap_or_default();
        uid == text("uid")
            || kind == "Node" && event.involved_object.kind.as_deref() == Some("Node") && uid == text("name")
    });
    events.sort_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0));
    Ok(events)
}

/// The last section of a page.
pub(super) fn section(page: &mut Page, events: &[Event]) {
    if events.is_empty() {
        page.field(0, "Events", "<none>");
        return;
    }
    page.line(0, "Events:");
    page.line(1, "Type\tReason\tAge\tFrom\tMessage");
    page.line(1, "----\t------\t----\t----\t-------");
    for event in events {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let source = event.source.as_ref().and_then(|source| source.component.clone()).filter(|name| !name.is_empty());
        let message = text(&event.message).trim().to_owned();
        let message = match event.involved_object.field_path.as_deref() {
            None | Some("") => message,
            Some(path) => format!("{path}: {message}"),
        };
        let from = source.unwrap_or_else(|| text(&event.reporting_component));
        page.line(1, [text(&event.type_), text(&event.reason), age(event), from, message].join("\t"));
    }
}

/// When it happened, and how often within which time.
fn age(event: &Event) -> String {
    let first = match &event.event_time {
        Some(time) => since(Some(time.0)),
        None => since(event.first_timestamp.as_ref().map(|time| time.0)),
    };
    let over = |last: String, count: i32| format!("{last} (x{count} over {first})");
    match (&event.series, event.count.unwrap_or_default()) {
        (Some(series), _) => {
            over(since(series.last_observed_time.as_ref().map(|time| time.0)), series.count.unwrap_or_default())
        }
        (None, count @ 2..) => over(since(event.last_timestamp.as_ref().map(|time| time.0)), count),
        _ => first,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::{SignedDuration, Timestamp};
    use serde_json::json;

    use super::*;

    #[test]
    fn repeated_events_say_how_often_and_since_when() {
        let before = |seconds| (Timestamp::now() - SignedDuration::from_secs(seconds)).to_string();
        let event = json!({
            "type": "Warning", "reason": "BackOff", "message": " again\n", "count": 3, "metadata": {},
            "firstTimestamp": before(3600), "lastTimestamp": before(300), "source": {"component": "kubelet"},
            "involvedObject": {"fieldPath": "spec.containers{c}"},
        });
        let mut page = Page::default();
        section(&mut page, &[serde_json::from_value(event).unwrap()]);
        let want = "Warning  BackOff  5m (x3 over 60m)  kubelet  spec.containers{c}: again\n";
        assert!(page.finish().ends_with(want));
        let mut page = Page::default();
        section(&mut page, &[]);
        assert_eq!(page.finish(), "Events:  <none>\n");
    }
}
