// SPDX-License-Identifier: Apache-2.0
//! Objects as a watch brings them, read one by one: what one of them says must not keep the others from being seen.
//!
//! The types of clients want times where the API has none to give: a zero time is written as `null`, also where the
//! field is required.

use kube::api::WatchEvent;
use kube::core::PartialObjectMeta;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

/// What stands for a time that is not given.
const NO_TIME: &str = "1970-01-01T00:00:00Z";

/// A line of a watch; servers write its two parts in any order.
#[derive(Deserialize)]
struct Line {
    #[serde(rename = "type")]
    what: String,
    object: Box<RawValue>,
}

/// An event, its object as it was sent.
///
/// # Errors
/// Where the line is none, as the last one of a connection that broke off.
pub fn event(line: &str) -> serde_json::Result<WatchEvent<Box<RawValue>>> {
    let Line { what, object } = serde_json::from_str(line)?;
    Ok(match what.as_str() {
        "ADDED" => WatchEvent::Added(object),
        "MODIFIED" => WatchEvent::Modified(object),
        "DELETED" => WatchEvent::Deleted(object),
        "BOOKMARK" => WatchEvent::Bookmark(serde_json::from_str(object.get())?),
        _ => WatchEvent::Error(serde_json::from_str(object.get())?),
    })
}

/// An object that is no `K`.
#[derive(Debug)]
pub struct Unreadable {
    /// What of it can be read.
    pub metadata: kube::api::ObjectMeta,
    /// Why the rest cannot.
    pub error: serde_json::Error,
}

/// Reads an object.
///
/// # Errors
/// [`Unreadable`] where it has other fields than `K`, or no metadata either.
pub fn read<K: DeserializeOwned>(raw: &RawValue) -> Result<K, Box<Unreadable>> {
    let error = match serde_json::from_str::<K>(raw.get()) {
        Ok(object) => return Ok(object),
        Err(error) => error,
    };
    let Ok(mut value) = serde_json::from_str::<Value>(raw.get()) else { return Err(unreadable(raw, error)) };
    fill_times(&mut value);
    serde_json::from_value(value).map_err(|_| unreadable(raw, error))
}

fn unreadable(raw: &RawValue, error: serde_json::Error) -> Box<Unreadable> {
    let metadata = serde_json::from_str::<PartialObjectMeta>(raw.get()).map(|object| object.metadata);
    Box::new(Unreadable { metadata: metadata.unwrap_or_default(), error })
}

/// Gives conditions the times that they lack.
fn fill_times(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                match field {
                    Value::Null if name.ends_with("Time") || name.ends_with("Timestamp") => *field = NO_TIME.into(),
                    Value::Array(conditions) if name == "conditions" => conditions.iter_mut().for_each(fill_condition),
                    _ => {}
                }
                fill_times(field);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(fill_times),
        _ => {}
    }
}

fn fill_condition(condition: &mut Value) {
    if let Some(fields) = condition.as_object_mut() {
        fields.entry("lastTransitionTime").or_insert_with(|| NO_TIME.into());
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;

    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn conditions_without_a_time_are_read() {
        for condition in [
            r#"{"type": "T", "status": "True", "reason": "R", "message": "", "lastTransitionTime": null}"#,
            r#"{"type": "T", "status": "True", "reason": "R", "message": ""}"#,
        ] {
            let text = format!(r#"{{"metadata": {{"name": "s"}}, "status": {{"conditions": [{condition}]}}}}"#);
            let service: Service = read(&raw(&text)).unwrap();
            let conditions = service.status.unwrap().conditions.unwrap();
            assert_eq!((conditions[0].type_.as_str(), conditions[0].last_transition_time.0.as_second()), ("T", 0));
        }
    }

    #[test]
    fn the_parts_of_an_event_come_in_any_order() {
        for line in [r#"{"type":"ADDED","object":{"a":1}}"#, r#"{"object":{"a":1},"type":"ADDED"}"#] {
            assert!(matches!(event(line), Ok(WatchEvent::Added(object)) if object.get() == r#"{"a":1}"#), "{line}");
        }
        assert!(event(r#"{"type":"ADDED","obj"#).is_err());
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let text = r#"{"metadata": {"name": "s", "resourceVersion": "7"}, "spec": "none"}"#;
        let unread = read::<Service>(&raw(text)).unwrap_err();
        assert_eq!(unread.metadata.name.as_deref(), Some("s"));
        assert_eq!(unread.metadata.resource_version.as_deref(), Some("7"));
    }
}
