// SPDX-License-Identifier: Apache-2.0
//! Status writes of one pod: the latest only, one at a time, until it is written.
//!
//! While a write is under way newer statuses replace each other, so a pod that changes quickly
//! costs few writes, and a server that is away none that is out of date.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

/// What is to be written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// The pod's status.
    pub status: Option<PodStatus>,
    /// Whether the object is to be deleted for good afterwards.
    pub remove: bool,
}

/// Which pod is written.
#[derive(Clone, Debug)]
pub struct Target {
    /// metadata.namespace.
    pub namespace: String,
    /// metadata.name.
    pub name: String,
    /// metadata.uid: never another pod of the same name.
    pub uid: String,
}

/// Writes what `wanted` holds whenever it changes, until its sender is dropped. `known` is the
/// status that the server already has; `gone` is told when the object is not there any more.
pub async fn keep_written(
    client: Client,
    target: Target,
    known: Option<PodStatus>,
    mut wanted: watch::Receiver<Wanted>,
    gone: mpsc::UnboundedSender<()>,
) {
    let api = Api::<Pod>::namespaced(client, &target.namespace);
    let mut written = known.map_or(Value::Null, |status| json!(status));
    let mut pause = Duration::from_millis(100);
    loop {
        let want = wanted.borrow_and_update().clone();
        match write(&api, &target, &want, &mut written).await {
            Ok(()) => pause = Duration::from_millis(100),
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => {
                // Deleted, or another pod of the same name: either way ours is no more.
                let _ = gone.send(());
            }
            Err(error) => {
                tracing::debug!(%error, pod = %target.name, "a pod's status was not written; it is tried again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(5));
                continue;
            }
        }
        if wanted.changed().await.is_err() {
            return;
        }
    }
}

async fn write(api: &Api<Pod>, target: &Target, want: &Wanted, written: &mut Value) -> kube::Result<()> {
    if let Some(status) = &want.status {
        let ours = json!(status);
        if !covers(written, &ours) {
            let patch = json!({ "metadata": { "uid": target.uid }, "status": patch_of(written, &ours) });
            api.patch_status(&target.name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
            *written = ours;
        }
    }
    if want.remove {
        let parameters = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: Some(target.uid.clone()), resource_version: None }),
            ..DeleteParams::default()
        };
        api.delete(&target.name, &parameters).await?;
    }
    Ok(())
}

/// The patch that leaves the server with this status, and with others' conditions. The list of addresses merges by
/// address: a pod whose address changed must not keep both. Conditions merge by type: one that came true must not keep the
/// reason why it was not.
fn patch_of(known: &Value, status: &Value) -> Value {
    let mut status = status.clone();
    let gone: Vec<_> = passed(known, &status).map(|type_| json!({ "$patch": "delete", "type": type_ })).collect();
    for condition in status.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
        for field in ["reason", "message"] {
            if let Some(fields) = condition.as_object_mut() {
                fields.entry(field).or_insert(Value::Null);
            }
        }
    }
    if let Some(conditions) = status.get_mut("conditions").and_then(Value::as_array_mut) {
        conditions.extend(gone);
    }
    if let Some(ips) = status.get_mut("podIPs").and_then(Value::as_array_mut) {
        ips.insert(0, json!({ "$patch": "replace" }));
    }
    status
}

/// The conditions of ours that are there only while there is something to tell.
const PASSING: [&str; 2] = ["PodResizePending", "PodResizeInProgress"];

/// Those of them that are known and are not to be any more.
fn passed(known: &Value, ours: &Value) -> impl Iterator<Item = &'static str> {
    let has = |status: &Value, type_: &str| {
        status["conditions"].as_array().is_some_and(|all| all.iter().any(|condition| condition["type"] == type_))
    };
    PASSING.into_iter().filter(|type_| has(known, type_) && !has(ours, type_)).collect::<Vec<_>>().into_iter()
}

/// Whether `known` already says all that `ours` says: others' conditions beside ours do not matter.
fn covers(known: &Value, ours: &Value) -> bool {
    let Some(fields) = ours.as_object() else { return known == ours };
    if fields.contains_key("conditions") && passed(known, ours).next().is_some() {
        return false;
    }
    fields.iter().all(|(name, value)| match (name.as_str(), value.as_array()) {
        ("conditions", Some(conditions)) => {
            let known = known["conditions"].as_array();
            conditions.iter().all(|condition| known.is_some_and(|known| known.contains(condition)))
        }
        _ => known.get(name) == Some(value),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_more_is_taken_away() {
        let status = json!({
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "a", "reason": "b", "message": "c"}],
            "podIPs": [{"ip": "10.42.0.2"}],
        });
        let patch = json!({
            "phase": "Running",
            "conditions": [
                {"type": "Ready", "status": "True", "reason": null, "message": null},
                {"type": "a", "reason": "b", "message": "c"},
            ],
            "podIPs": [{"$patch": "replace"}, {"ip": "10.42.0.2"}],
        });
        assert_eq!(patch_of(&Value::Null, &status), patch);
        let known = json!({"conditions": [{"type": "PodResizePending"}, {"type": "others"}]});
        let gone = json!({"$patch": "delete", "type": "PodResizePending"});
        assert_eq!(patch_of(&known, &status)["conditions"].as_array().unwrap().last(), Some(&gone));
        assert!(!covers(&known, &json!({"conditions": [{"type": "others"}]})));
    }

    #[test]
    fn only_what_the_server_does_not_know_is_written() {
        let known = json!({"phase": "Running", "conditions": [{"type": "a"}, {"type": "other"}], "qosClass": "x"});
        for (ours, covered) in [
            (json!({"phase": "Running"}), true),
            (json!({"phase": "Failed"}), false),
            (json!({"conditions": [{"type": "a"}]}), true),
            (json!({"conditions": [{"type": "a", "status": "True"}]}), false),
            (json!({"podIP": "10.0.0.1"}), false),
        ] {
            assert_eq!(covers(&known, &ours), covered, "{ours}");
        }
    }
}
