// SPDX-License-Identifier: Apache-2.0
//! `apply`: server-side apply under a manager of our own.
//! <https://kubernetes.io/docs/reference/using-api/server-side-apply/>

use knarr_types::LabelSelector;
use knarr_types::labels::LAST_APPLIED;
use kube::api::{Api, DynamicObject, Patch, PatchParams, ValidationDirective};
use serde_json::{Value, json};

use crate::args::{ApplyArgs, DryRun};
use crate::error::CtlError;
use crate::get::objects_as;
use crate::manifest::{Target, read};
use crate::output::{Format, print};
use crate::session::Session;

/// Under which name kubectl owns what it applied by itself, without the server.
const CLIENT_SIDE: &str = "kubectl-client-side-apply";

/// Runs `apply`. All manifests are read before the first is sent.
pub(crate) async fn run(session: &Session, args: ApplyArgs) -> Result<u8, CtlError> {
    let format = Format::parse(&args.output)?;
    let selector = LabelSelector::parse(&args.selector).map_err(|e| CtlError::usage(e.to_string()))?;
    let labels = |object: &Value| -> Vec<(String, String)> {
        let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
        labels.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
    };
    let mut objects = read(&args.files, args.recursive)?;
    objects.retain(|object| selector.matches(&labels(object)));
    if objects.is_empty() {
        return Err(CtlError::usage("no objects passed to apply"));
    }
    let (mut applied, mut failed) = (Vec::new(), 0);
    for object in objects {
        // One that is refused does not keep the others from being applied, as with kubectl.
        match apply(session, object, &args, &format).await {
            Ok(object) => applied.push(object),
            Err(error) => {
                eprintln!("{}", error.line());
                failed += 1;
            }
        }
    }
    if !matches!(format, Format::Table { .. } | Format::Name) && !applied.is_empty() {
        print(&objects_as(&format, applied)?)?;
    }
    Ok(u8::from(failed > 0))
}

/// Applies one; gives what it is then.
async fn apply(session: &Session, object: Value, args: &ApplyArgs, format: &Format) -> Result<Value, CtlError> {
    let target = Target::of(session, object).await?;
    if target.name.is_empty() {
        return Err(CtlError::usage(format!(
            "{}: a manifest that is applied needs a name",
            target.resource.qualified()
        )));
    }
    let api = session.api(target.resource, target.namespace.as_deref());
    let mut params = PatchParams::apply(&args.field_manager);
    params.field_validation = Some(validation(&args.validate)?);
    params.force = args.force_conflicts;
    // Only the server knows what would come of it.
    params.dry_run = args.dry_run != DryRun::None;
    let live = api.get_opt(&target.name).await?.map(|live| json!(live));
    if let Some(patch) =
        live.as_ref().filter(|_| !params.dry_run).and_then(|live| taken_over(live, &args.field_manager))
    {
        take_over(&api, &target.name, patch).await?;
    }
    let before = api.get_metadata_opt(&target.name).await?.and_then(|o| o.metadata.resource_version);
    let after = api.patch(&target.name, &params, &Patch::Apply(&target.object)).await?;
    let what = match before {
        None => "created",
        Some(before) if Some(&before) == after.metadata.resource_version.as_ref() => "unchanged",
        Some(_) => "configured",
    };
    match format {
        Format::Table { .. } => print(&format!("{} {what}{}\n", target.label(), args.dry_run.note()))?,
        Format::Name => print(&format!("{}\n", target.label()))?,
        _ => {}
    }
    Ok(json!(after))
}

/// What `--validate` asks for.
fn validation(text: &str) -> Result<ValidationDirective, CtlError> {
    Ok(match text {
        "strict" | "true" => ValidationDirective::Strict,
        "warn" => ValidationDirective::Warn,
        "ignore" | "false" => ValidationDirective::Ignore,
        other => {
            return Err(CtlError::usage(format!(
                "invalid - validate option {other:?}; must be one of: strict (or true), warn, ignore (or false)"
            )));
        }
    })
}

async fn take_over(api: &Api<DynamicObject>, name: &str, patch: Value) -> Result<(), CtlError> {
    let patch = serde_json::from_value(patch).map_err(|error| CtlError::usage(error.to_string()))?;
    api.patch(name, &PatchParams::default(), &Patch::Json::<()>(patch)).await?;
    Ok(())
}

/// What makes `manager` the owner of what kubectl has applied by itself: else each of these fields would be in
/// conflict, and one that the manifest has no more would stay. As kubectl does when it begins to apply by the server.
fn taken_over(live: &Value, manager: &str) -> Option<Value> {
    let meta = &live["metadata"];
    meta["annotations"].get(LAST_APPLIED)?;
    let mut entries = meta["managedFields"].as_array()?.clone();
    let its = |entry: &Value, name: &str, operation: &str| {
        entry["manager"] == name && entry["operation"] == operation && entry.get("subresource").is_none()
    };
    let at = entries.iter().position(|entry| its(entry, CLIENT_SIDE, "Update"))?;
    let mut old = entries.remove(at);
    match entries.iter_mut().find(|entry| its(entry, manager, "Apply")) {
        Some(ours) => merge(&mut ours["fieldsV1"], old["fieldsV1"].take()),
        None => {
            old["manager"] = manager.into();
            old["operation"] = "Apply".into();
            entries.push(old);
        }
    }
    Some(json!([
        {"op": "replace", "path": "/metadata/managedFields", "value": entries},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": meta["resourceVersion"]},
    ]))
}

/// Adds fields to fields: a set of them is a tree of names.
fn merge(all: &mut Value, more: Value) {
    let (Value::Object(all), Value::Object(more)) = (all, more) else { return };
    for (name, below) in more {
        merge(all.entry(name).or_insert_with(|| json!({})), below);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubectl_applied_becomes_ours() {
        let entry = |manager: &str, operation: &str, fields: Value| json!({"manager": manager, "operation": operation, "fieldsV1": fields});
        let live = |entries: Value| {
            let annotations = json!({LAST_APPLIED: "{}"});
            json!({"metadata": {"annotations": annotations, "resourceVersion": "7", "managedFields": entries}})
        };
        let kubectl = entry(CLIENT_SIDE, "Update", json!({"f:data": {"f:a": {}}}));
        let other = entry("other", "Update", json!({"f:data": {"f:c": {}}}));
        let patch = taken_over(&live(json!([kubectl, other])), "me").unwrap();
        assert_eq!(patch[0]["value"], json!([other, entry("me", "Apply", json!({"f:data": {"f:a": {}}}))]));
        assert_eq!(patch[1]["value"], "7");
        let ours = entry("me", "Apply", json!({"f:data": {"f:b": {}}}));
        let patch = taken_over(&live(json!([ours, kubectl])), "me").unwrap();
        assert_eq!(patch[0]["value"], json!([entry("me", "Apply", json!({"f:data": {"f:a": {}, "f:b": {}}}))]));
        assert_eq!(taken_over(&live(json!([ours])), "me"), None);
        assert_eq!(taken_over(&json!({"metadata": {"managedFields": [kubectl]}}), "me"), None);
    }
}
