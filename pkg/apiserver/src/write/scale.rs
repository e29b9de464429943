// SPDX-License-Identifier: Apache-2.0
//! The scale subresource: the replicas of a workload under one form.

use std::sync::Arc;

use bytes::Bytes;
use http::header::WARNING;
use knarr_schema::apply::apply;
use knarr_schema::crd::Scale;
use knarr_schema::managed_fields::folded::unfolded;
use knarr_schema::managed_fields::scale::{to_parent, to_scale};
use knarr_schema::managed_fields::{Manager, OneVersion, track_update};
use knarr_schema::{Kind, MediaType, decode_as, rules};
use knarr_types::selector::LabelSelector;
use knarr_types::tree::{Value, json};
use knarr_types::{ErrorList, FieldError, FieldPath, GroupVersion, Key, Object, Reason, ResourceId, Status};

use super::patch::{Document, check_custom_form, configuration, is_apply, twice_applied};
use super::update::commit;
use super::{Write, storage_key};
use crate::app::App;
use crate::body::{self, Response};
use crate::negotiate::{Answer, answer, body_media, fits};
use crate::read::namespace_of;
use crate::request::RequestContext;
use crate::serve_object;

/// Answers a get of a workload's scale.
///
/// # Errors
/// 404 where the workload is not there.
pub async fn get(app: &App, context: &RequestContext, kind: &Arc<Kind>) -> Result<Response, Status> {
    let scale_kind = scale_kind(kind)?;
    let answer = answer(&context.accept, &context.query, &scale_kind)?;
    let key = Key::new(kind.storage.clone(), &namespace_of(kind, context), &context.info.name);
    let record = app.store.get(&key).ok_or_else(|| Status::not_found(&kind.id(), &context.info.name))?;
    let record = app.one_in_version(kind, record, context.deadline).await?;
    let object = serve_object::tree(kind, &record);
    if let Some(scale) = custom_scale(kind)
        && scale.wanted(&object).is_none()
    {
        return Err(Status::internal(format!("the spec replicas field {:?} does not exist", scale.spec_replicas)));
    }
    in_form(&scale_kind, &scale_of(kind, &object), answer)
}

/// The kind of a workload's scale. Those of custom resources have columns of their own.
fn scale_kind(of: &Kind) -> Result<Kind, Status> {
    let mut kind = Kind::of_body("autoscaling", "v1", "Scale").ok_or_else(|| Status::internal("Scale is unknown"))?;
    if of.custom.is_some() {
        for column in &mut kind.columns {
            match &*column.name {
                "Name" => column.format = "name".into(),
                "Desired" => column.description = "Number of desired replicas".into(),
                "Available" => column.description = "Number of actual replicas".into(),
                _ => column.ty = "date".into(),
            }
        }
    }
    Ok(kind)
}

/// A scale in the form that the client asked for.
fn in_form(scale_kind: &Kind, scale: &Value, answer: Answer) -> Result<Response, Status> {
    fits(answer, scale_kind, false)?;
    let document = serve_object::formed(scale_kind, scale, answer.form, true);
    Ok(body::bytes(200, answer.encoding.media_type(), serve_object::in_encoding(&document, answer.encoding)))
}

fn custom_scale(kind: &Kind) -> Option<&Scale> {
    kind.custom.as_ref()?.here().scale.as_ref()
}

/// The scale of a workload. Pure.
pub(super) fn scale_of(kind: &Kind, object: &Object) -> Value {
    let meta = &object["metadata"];
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if !meta[field].is_null() {
            metadata[field] = meta[field].clone();
        }
    }
    let (replicas, now, selector) = match custom_scale(kind) {
        Some(scale) => {
            let (now, selector) = scale.status(object);
            (scale.wanted(object).unwrap_or_default(), now, selector)
        }
        None => (
            object["spec"]["replicas"].as_i64().unwrap_or_default(),
            object["status"]["replicas"].as_i64().unwrap_or_default(),
            selector_of(object),
        ),
    };
    let mut spec = json!({});
    if replicas != 0 {
        spec["replicas"] = replicas.into();
    }
    let mut status = json!({ "replicas": now });
    if !selector.is_empty() {
        status["selector"] = selector.into();
    }
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status})
}

/// The selector of a workload as text.
fn selector_of(object: &Object) -> String {
    let selector = &object["spec"]["selector"];
    match selector.get("matchLabels").or_else(|| selector.get("matchExpressions")) {
        Some(_) => LabelSelector::from_object(selector).map(|s| s.to_string()).unwrap_or_default(),
        None => {
            let pairs = selector.as_object().into_iter().flatten();
            pairs.map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect::<Vec<_>>().join(",")
        }
    }
}

/// Answers an update or a patch of a workload's scale.
///
/// # Errors
/// What is wrong with it.
pub async fn write(app: &App, context: &RequestContext, kind: &Arc<Kind>, body: Bytes) -> Result<Response, Status> {
    let mut answer_context = context.clone();
    answer_context.accept = "application/json".into();
    if kind.custom.is_some() && context.info.verb == "patch" {
        check_custom_form(&context.content_type)?;
    }
    let write = Write::new(app, &answer_context, kind, "scale")?;
    let key: Key = write.key(&context.info.name);
    let scale_kind = scale_kind(kind)?;
    let answer = answer(&context.accept, &context.query, &scale_kind)?;
    let decode = |bytes: &[u8], media: MediaType| {
        decode_as(&scale_kind, &app.registry.load(), bytes, media, write.options.validation)
    };
    if context.info.verb == "patch" && is_apply(&context.content_type) {
        let written = apply_scale(&write, &key, &scale_kind, &body).await?;
        return shown(&scale_kind, kind, written, answer).await;
    }
    let sent = if context.info.verb == "update" {
        let (scale, said) = decode(&body, body_media(&context.content_type)?)?;
        about(&scale, &key.namespace, &key.name).map_err(|status| status.with_warnings(&said))?;
        Some((scale, said))
    } else {
        None
    };
    // Upstream cannot tell the owners of a scale that does not say what it is, and forgets them; only the scales of
    // built-in workloads get their names first.
    let is_nameless = kind.custom.is_some() && sent.is_some() && !says_what_it_is(&body)?;
    let written = commit(&write, &key, Vec::new(), |old, warnings| {
        let old = &*unfolded(old);
        let current = owned_scale(kind, old);
        let (mut scale, said) = match &sent {
            Some(sent) => sent.clone(),
            None => {
                let patch = Document::of(&context.content_type, &body, write.options.validation)?;
                patch.apply(app, &scale_kind, &current, write.options.validation)?
            }
        };
        warnings.extend(said);
        // What it says of owners is not judged: they are known before anybody looks.
        track_update(Some(&current), &mut scale, scale_kind.ty.get(), &scale_manager(&write), write.now);
        if is_nameless {
            scale["metadata"]["managedFields"] = json!([]);
        }
        let new = scaled(kind, old, &scale, sent.is_none())?;
        Ok(owned_as(&write, old, new, &scale))
    })
    .await?;
    shown(&scale_kind, kind, written, answer).await
}

/// Whether a body names its version and kind.
fn says_what_it_is(body: &[u8]) -> Result<bool, Status> {
    let (sent, _) = configuration(body)?;
    Ok(["apiVersion", "kind"].iter().all(|field| sent[field].as_str().is_some_and(|text| !text.is_empty())))
}

/// The scale that was sent is of the workload in the path.
fn about(scale: &Value, namespace: &str, name: &str) -> Result<(), Status> {
    let sent = scale["metadata"]["namespace"].as_str().unwrap_or_default();
    if !sent.is_empty() && sent != namespace {
        let why = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Status::bad_request(why));
    }
    let sent = scale["metadata"]["name"].as_str().unwrap_or_default();
    if sent.is_empty() {
        let why = format!("the name of the object ({name} based on URL) was undeterminable: name must be provided");
        return Err(Status::bad_request(why));
    }
    if sent != name {
        return Err(Status::bad_request(format!(
            "the name of the object ({sent}) does not match the name on the URL ({name})"
        )));
    }
    Ok(())
}

/// The scale of the workload that a write was answered with, and what that warned of.
async fn shown(scale_kind: &Kind, kind: &Kind, written: Response, answer: Answer) -> Result<Response, Status> {
    let (head, body) = written.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.map_err(Status::internal)?;
    let object: Object = serde_json::from_slice(&bytes).map_err(Status::internal)?;
    let mut response = in_form(scale_kind, &scale_of(kind, &object), answer)?;
    for warning in head.headers.get_all(WARNING) {
        response.headers_mut().append(WARNING, warning.clone());
    }
    Ok(response)
}

/// A server-side apply of a scale: its owners are those of the workload's replicas.
async fn apply_scale(write: &Write<'_>, key: &Key, scale_kind: &Kind, body: &[u8]) -> Result<Response, Status> {
    let (config, twice) = configuration(body)?;
    let manager = scale_manager(write);
    commit(write, key, Vec::new(), |old, warnings| {
        let old = &*unfolded(old);
        let current = owned_scale(write.kind, old);
        let ty = scale_kind.ty.get();
        let scale = apply(Some(&current), &config, ty, "Scale", &manager, write.options.force, write.now)
            .map_err(|error| error.to_status())?;
        warnings.extend(twice_applied(&twice, write.options.validation)?);
        if write.kind.custom.is_some() {
            return Err(not_applicable(&config));
        }
        Ok(owned_as(write, old, scaled(write.kind, old, &scale, true)?, &scale))
    })
    .await
}

/// Upstream takes the scale of a custom resource for the resource itself, where nothing is in the way of an apply.
fn not_applicable(config: &Object) -> Status {
    let text = |field: &str| config["metadata"][field].as_str().unwrap_or_default();
    let message = format!(
        "failed to convert new object ({}/{}; autoscaling/v1, Kind=Scale) to proper version: request to convert CR to an \
         invalid group/version: autoscaling/v1",
        text("namespace"),
        text("name"),
    );
    Status::new(500, Reason::Unknown, message)
}

/// Who writes, as the owners of a scale have it.
fn scale_manager<'m>(write: &'m Write<'_>) -> Manager<'m> {
    Manager { api_version: "autoscaling/v1", others: &OneVersion, ..write.manager("autoscaling/v1") }
}

/// The scaled object with the owners that its scale has.
fn owned_as(write: &Write<'_>, old: &Object, mut new: Object, scale: &Value) -> Object {
    let owners = |object: &Value| object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let place = |version: &str| path_of_replicas(write.kind, version);
    let owners = to_parent(&owners(old), &owners(scale), &place, &write.kind.api_version());
    new["metadata"]["managedFields"] = owners.unwrap_or_default();
    new
}

/// Where the replicas are in a version of a kind: nowhere where that has no scale; `None` for what is no version of it.
fn path_of_replicas<'k>(kind: &'k Kind, version: &str) -> Option<Vec<&'k str>> {
    let named = GroupVersion::parse(version).filter(|named| named.group == kind.group)?;
    let Some(custom) = &kind.custom else { return Some(vec!["spec", "replicas"]) };
    let scale = custom.versions.get(&named.version)?.scale.as_ref();
    Some(scale.map_or_else(Vec::new, |scale| scale.spec_replicas.trim_start_matches('.').split('.').collect()))
}

/// The scale of a workload with those who own its replicas, as patches see it.
fn owned_scale(kind: &Kind, object: &Object) -> Value {
    let owners = object["metadata"]["managedFields"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut scale = scale_of(kind, object);
    if let Some(shown) = to_scale(owners, &|version| path_of_replicas(kind, version)) {
        scale["metadata"]["managedFields"] = shown;
    }
    scale
}

/// The workload with the replicas of its scale, which a patch made or somebody sent.
pub(super) fn scaled(kind: &Kind, old: &Object, scale: &Value, patches: bool) -> Result<Object, Status> {
    let name = old["metadata"]["name"].as_str().unwrap_or_default();
    let uid = scale["metadata"]["uid"].as_str().unwrap_or_default();
    let actual = old["metadata"]["uid"].as_str().unwrap_or_default();
    let is_other = !uid.is_empty() && uid != actual;
    // Only what replaces a scale says before which one it is of.
    if is_other && (!patches || custom_scale(kind).is_some()) {
        let key = Key::new(kind.storage.clone(), old["metadata"]["namespace"].as_str().unwrap_or_default(), name);
        return Err(Status::conflict(&kind.id(), name, &storage_key::uid_mismatch(&key, uid, actual)));
    }
    about(scale, old["metadata"]["namespace"].as_str().unwrap_or_default(), name)?;
    let replicas = scale["spec"]["replicas"].as_i64().unwrap_or_default();
    if custom_scale(kind).is_none() {
        let errors = faults(scale, old, replicas);
        if !errors.is_empty() {
            return Err(Status::invalid("autoscaling", "Scale", name, &errors));
        }
        if is_other {
            let scales = ResourceId::new(&kind.group, &format!("{}/scale", kind.storage.resource));
            let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {actual}");
            return Err(Status::conflict(&scales, name, &why));
        }
    }
    let version = scale["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    if !version.is_empty() && version.parse::<u64>().is_err() {
        let message = format!("strconv.ParseUint: parsing {version:?}: invalid syntax");
        return Err(Status::new(500, Reason::Unknown, message));
    }
    let now = old["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    if !["", "0", now].contains(&version) {
        return Err(Status::modified(&Key::new(kind.id(), "", name)));
    }
    let mut new = old.clone();
    match custom_scale(kind) {
        Some(scale) => scale.set(&mut new, replicas),
        None => new["spec"]["replicas"] = replicas.into(),
    }
    Ok(new)
}

/// What is wrong with a scale, whose namespace the path says; upstream judges it before it looks at revisions.
fn faults(scale: &Value, workload: &Object, replicas: i64) -> ErrorList {
    let mut scale = scale.clone();
    scale["metadata"]["namespace"] = workload["metadata"]["namespace"].clone();
    let mut errors = rules::metadata::validate_create(&scale, true, rules::names::dns_subdomain_name);
    if replicas < 0 {
        let path = FieldPath::new("spec.replicas");
        errors.push(FieldError::invalid(&path, replicas, "must be greater than or equal to 0"));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_shows_what_a_workload_wants_and_has() {
        let object = json!({
            "metadata": {"name": "d", "namespace": "n", "labels": {"a": "b"}},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "x"}}}, "status": {"replicas": 2},
        });
        let registry = knarr_schema::Registry::builtin();
        let kind = registry.by_resource("apps", "v1", "deployments").unwrap();
        let scale = scale_of(kind, &object);
        assert_eq!(scale["spec"]["replicas"], 3);
        assert_eq!(scale["status"], json!({"replicas": 2, "selector": "app=x"}));
        assert!(scale["metadata"].get("labels").is_none());
        for (field, value, code) in [("namespace", "m", 400), ("name", "e", 400), ("name", "", 400), ("uid", "u", 409)]
        {
            let mut other = scale.clone();
            other["metadata"][field] = value.into();
            assert_eq!(scaled(kind, &object, &other, false).unwrap_err().code, code, "{field}");
        }
        let mut other = scale.clone();
        other["metadata"]["uid"] = "u".into();
        let told = scaled(kind, &object, &other, true).unwrap_err().message;
        assert!(
            told.starts_with("Operation cannot be fulfilled on deployments/scale.apps \"d\": Precondition"),
            "{told}"
        );
        assert_eq!(scaled(kind, &object, &scale, false).unwrap(), object);
        for (version, replicas, code) in [("1", -1, 422), ("1", 1, 409), ("x", 1, 500)] {
            let mut other = scale.clone();
            other["metadata"]["resourceVersion"] = version.into();
            other["spec"]["replicas"] = replicas.into();
            assert_eq!(scaled(kind, &object, &other, false).unwrap_err().code, code, "{version} {replicas}");
        }
    }
}
