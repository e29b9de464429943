// SPDX-License-Identifier: Apache-2.0
//! Bindings: a pod gets its node.

use bytes::Bytes;
use jiff::Timestamp;
use knarr_admission::Operation;
use knarr_schema::Kind;
use knarr_store::{Decision, UpdateError};
use knarr_types::tree::json;
use knarr_types::{Key, Object, Reason, ResourceId, Status};

use super::{body_kind, check_name, decode, done};
use crate::actions::Action;
use crate::app::App;
use crate::body::Response;
use crate::request::RequestContext;
use crate::serve_object;
use crate::write::{propose_error, write_context};

pub(super) async fn create(app: &App, context: &RequestContext, body: &Bytes) -> Result<Response, Status> {
    let form = body_kind("", "v1", "Binding")?;
    let (binding, mut warnings, dry_run) = decode(app, context, &form, body)?;
    match commit(app, context, &form, binding, dry_run).await {
        Ok(said) => {
            warnings.extend(said);
            done(context, &warnings)
        }
        Err(status) => Err(status.with_warnings(&warnings)),
    }
}

/// Binds the pod that a binding is about; gives what admission wants the client to know.
async fn commit(
    app: &App,
    context: &RequestContext,
    form: &Kind,
    mut binding: Object,
    dry_run: bool,
) -> Result<Vec<String>, Status> {
    if context.info.resource == "pods" {
        check_name(context, &binding, "Binding")?;
    }
    let action = Action { app, context, operation: Operation::Create, body: form };
    let said = action.admit(&mut binding).await?;
    check_target(&binding)?;
    let name = binding["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    if name.is_empty() {
        return Err(Status::bad_request("Name parameter required."));
    }
    let pods = ResourceId::new("", "pods");
    let registry = app.registry.load();
    let kind = registry.by_resource("", "v1", "pods").ok_or_else(|| Status::internal("pods are not served"))?;
    let key = Key::new(pods.clone(), &context.info.namespace, &name);
    let result = app
        .store
        .update(&key, &write_context(context, ""), |current| {
            let record = current.ok_or_else(|| Status::not_found(&pods, &name))?;
            let mut pod = serve_object::stored_tree(kind, record);
            bind(&mut pod, &binding, &name, Timestamp::now())?;
            Ok(if dry_run { Decision::Keep } else { Decision::Put(serve_object::draft(kind, &pod)) })
        })
        .await;
    match result {
        Ok(_) => Ok(said),
        Err(UpdateError::Refused(status)) => Err(status),
        Err(UpdateError::Store(error)) => Err(propose_error(&pods, &name, &error)),
    }
}

fn check_target(binding: &Object) -> Result<(), Status> {
    let target = &binding["target"];
    let mut faults = Vec::new();
    let kind = target["kind"].as_str().unwrap_or_default();
    if !kind.is_empty() && kind != "Node" {
        faults.push(format!("target.kind: Unsupported value: {kind:?}: supported values: \"Node\", \"<empty>\""));
    }
    if target["name"].as_str().unwrap_or_default().is_empty() {
        faults.push("target.name: Required value".to_owned());
    }
    match faults.as_slice() {
        [] => Ok(()),
        [one] => Err(Status::new(500, Reason::Unknown, one.clone())),
        many => Err(Status::new(500, Reason::Unknown, format!("[{}]", many.join(", ")))),
    }
}

/// Puts the pod on the binding's node. Pure.
fn bind(pod: &mut Object, binding: &Object, name: &str, now: Timestamp) -> Result<(), Status> {
    let conflict = |why: &str| Err(Status::conflict(&ResourceId::new("", "pods/binding"), name, why));
    let uid = binding["metadata"]["uid"].as_str().unwrap_or_default();
    let actual = pod["metadata"]["uid"].as_str().unwrap_or_default();
    if !uid.is_empty() && uid != actual {
        let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
        let key = Key::new(ResourceId::new("", "pods"), namespace, name);
        let why = crate::write::storage_key::uid_mismatch(&key, uid, actual);
        return Err(Status::conflict(&ResourceId::new("", "pods"), name, &why));
    }
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        return conflict(&format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if !node.is_empty() {
        return conflict(&format!("pod {name} is already assigned to node {node:?}"));
    }
    if pod["spec"]["schedulingGates"].as_array().is_some_and(|g| !g.is_empty()) {
        return conflict(&format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    pod["spec"]["nodeName"] = binding["target"]["name"].clone();
    for (key, value) in binding["metadata"]["annotations"].as_object().into_iter().flatten() {
        pod["metadata"]["annotations"][key] = value.clone();
    }
    let mut conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.retain(|c| c["type"] != "PodScheduled");
    conditions.push(json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null,
        "lastTransitionTime": crate::write::seconds(now),
    }));
    pod["status"]["conditions"] = conditions.into();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_bound_once() {
        let binding = json!({"metadata": {"name": "p"}, "target": {"name": "n1"}});
        let mut pod = json!({"metadata": {"name": "p", "generation": 1}, "spec": {}});
        bind(&mut pod, &binding, "p", Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(pod["spec"]["nodeName"], "n1");
        assert_eq!(pod["status"]["conditions"][0]["type"], "PodScheduled");
        let again = bind(&mut pod, &binding, "p", Timestamp::UNIX_EPOCH).unwrap_err();
        assert!(again.message.ends_with("pod p is already assigned to node \"n1\""), "{again}");
    }
}
