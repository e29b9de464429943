// SPDX-License-Identifier: Apache-2.0
//! The rows of events, leases, classes, quotas and the API's own kinds.

use knarr_types::tree::Value;

use super::fields::Fields;

pub(super) fn cells(kind: &str, object: Fields<'_>) -> Option<Vec<Value>> {
    Some(match kind {
        "Event" => event(object),
        "Lease" => vec![object.name(), object.text("/spec/holderIdentity").into(), object.age()],
        "ResourceQuota" => quota(object),
        "LimitRange" => vec![object.name(), object.created_at()],
        "PriorityClass" => vec![
            object.name(),
            object.int("/value").into(),
            object.flag("/globalDefault").into(),
            object.age(),
            object.text("/preemptionPolicy").into(),
        ],
        "RuntimeClass" => vec![object.name(), object.text("/handler").into(), object.age()],
        "FlowSchema" => flow_schema(object),
        "PriorityLevelConfiguration" => priority_level(object),
        "APIService" => api_service(object),
        "DeviceClass" | "ResourceClaimTemplate" => vec![object.name(), object.age()],
        "ResourceClaim" => vec![object.name(), claim_state(object).into(), object.age()],
        "ResourceSlice" => vec![
            object.name(),
            object.text_or("/spec/nodeName", "<unset>").into(),
            object.text("/spec/driver").into(),
            object.text("/spec/pool/name").into(),
            object.age(),
        ],
        _ => return None,
    })
}

/// An event of the core group, or of events.k8s.io with its other names for the same fields.
fn event(event: Fields<'_>) -> Vec<Value> {
    let either = |core: &str, other: &str| match event.text(core) {
        "" => event.text(other),
        text => text,
    };
    let since = |time: &str| super::age::since(time, event.now);
    let first = match either("/firstTimestamp", "/deprecatedFirstTimestamp") {
        "" => since(event.text("/eventTime")),
        time => since(time),
    };
    let last = match either("/lastTimestamp", "/deprecatedLastTimestamp") {
        _ if event.at("/series").is_some() => since(event.text("/series/lastObservedTime")),
        "" => first.clone(),
        time => since(time),
    };
    let count = match event.int("/count").max(event.int("/deprecatedCount")) {
        _ if event.at("/series").is_some() => event.int("/series/count"),
        0 => 1,
        count => count,
    };
    let object = |field: &str| either(&format!("/involvedObject/{field}"), &format!("/regarding/{field}"));
    let target = match (object("kind").to_lowercase(), object("name")) {
        (kind, "") => kind,
        (kind, name) => format!("{kind}/{name}"),
    };
    vec![
        last.into(),
        event.text("/type").into(),
        event.text("/reason").into(),
        target.into(),
        object("fieldPath").into(),
        event_source(event, either).into(),
        either("/message", "/note").trim().into(),
        first.into(),
        count.into(),
        event.name(),
    ]
}

fn event_source<'a>(event: Fields<'a>, either: impl Fn(&str, &str) -> &'a str) -> String {
    let component = match either("/source/component", "/deprecatedSource/component") {
        "" => either("/reportingComponent", "/reportingController"),
        component => component,
    };
    let instance = match either("/source/host", "/deprecatedSource/host") {
        "" => event.text("/reportingInstance"),
        host => host,
    };
    if instance.is_empty() { component.to_owned() } else { format!("{component}, {instance}") }
}

fn quota(quota: Fields<'_>) -> Vec<Value> {
    let column = |limits: bool| -> Value {
        let hard = quota.map("/status/hard").into_iter().flatten();
        let parts: Vec<String> = hard
            .filter(|(resource, _)| resource.starts_with("limits.") == limits)
            .map(|(resource, hard)| {
                let used = quota.map("/status/used").and_then(|used| used.get(resource)).and_then(Value::as_str);
                format!("{resource}: {}/{}", used.unwrap_or("0"), hard.as_str().unwrap_or_default())
            })
            .collect();
        parts.join(", ").into()
    };
    vec![quota.name(), column(false), column(true), quota.age()]
}

fn flow_schema(schema: Fields<'_>) -> Vec<Value> {
    let dangling = schema.condition("Dangling").map_or("?", |condition| condition.text("/status"));
    vec![
        schema.name(),
        schema.text("/spec/priorityLevelConfiguration/name").into(),
        schema.int("/spec/matchingPrecedence").into(),
        schema.text_or("/spec/distinguisherMethod/type", "<none>").into(),
        schema.age(),
        dangling.into(),
    ]
}

fn priority_level(level: Fields<'_>) -> Vec<Value> {
    let number = |path: &str| level.at(path).cloned().unwrap_or_else(|| "<none>".into());
    let queuing = |field: &str| number(&format!("/spec/limited/limitResponse/queuing/{field}"));
    vec![
        level.name(),
        level.text("/spec/type").into(),
        number("/spec/limited/nominalConcurrencyShares"),
        queuing("queues"),
        queuing("handSize"),
        queuing("queueLengthLimit"),
        level.age(),
    ]
}

fn api_service(service: Fields<'_>) -> Vec<Value> {
    let backend = match service.at("/spec/service") {
        None => "Local".into(),
        Some(_) => format!("{}/{}", service.text("/spec/service/namespace"), service.text("/spec/service/name")),
    };
    let available = match service.condition("Available") {
        None => "Unknown".into(),
        Some(condition) if condition.text("/status") == "True" => "True".into(),
        Some(condition) if condition.text("/reason").is_empty() => condition.text("/status").to_owned(),
        Some(condition) => format!("{} ({})", condition.text("/status"), condition.text("/reason")),
    };
    vec![service.name(), backend.into(), available.into(), service.age()]
}

fn claim_state(claim: Fields<'_>) -> String {
    let mut states = Vec::new();
    if claim.is_deleted() {
        states.push("deleted");
    }
    if claim.at("/status/allocation").is_some() {
        states.push("allocated");
    } else if !claim.is_deleted() {
        states.push("pending");
    }
    if !claim.list("/status/reservedFor").is_empty() {
        states.push("reserved");
    }
    states.join(",")
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use knarr_types::tree::json;

    use super::*;

    fn cells_of(kind: &str, object: &Value) -> Vec<Value> {
        cells(kind, Fields { object, now: Timestamp::UNIX_EPOCH }).unwrap_or_default()
    }

    #[test]
    fn each_part_of_an_events_source_is_the_first_that_is_there() {
        for (event, source) in [
            (json!({"source": {"component": "a", "host": "h"}, "reportingInstance": "i"}), "a, h"),
            (json!({"source": {"component": "a"}, "reportingInstance": "i"}), "a, i"),
            (json!({"source": {"host": "h"}, "reportingComponent": "r"}), "r, h"),
            (json!({"deprecatedSource": {}, "reportingController": "r"}), "r"),
        ] {
            assert_eq!(cells_of("Event", &event)[5], source, "{event}");
        }
    }

    #[test]
    fn what_has_no_limit_shows_none() {
        let exempt = json!({"spec": {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0}}});
        assert_eq!(cells_of("PriorityLevelConfiguration", &exempt)[1..4], ["Exempt", "<none>", "<none>"]);
    }

    #[test]
    fn an_api_that_is_away_says_why_where_it_can() {
        let state = |condition: Value| {
            cells_of("APIService", &json!({"spec": {}, "status": {"conditions": [condition]}}))[2].clone()
        };
        assert_eq!(state(json!({"type": "Available", "status": "False", "reason": "Gone"})), "False (Gone)");
        assert_eq!(state(json!({"type": "Available", "status": "False"})), "False");
    }
}
