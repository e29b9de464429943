// SPDX-License-Identifier: Apache-2.0
//! Patches of four kinds, server-side apply among them.

use std::sync::Arc;

use bytes::Bytes;
use knarr_schema::apply::apply;
use knarr_schema::patch::{json_patch, merge_patch, strategic_merge_patch};
use knarr_schema::{Kind, MediaType, convert};
use knarr_types::{ErrorList, FieldError, FieldPath, Object, Reason, Status};
use serde_json::Value;

use super::update::{check_version, commit, may_create};
use super::{Write, create};
use crate::app::App;
use crate::body::Response;
use crate::request::RequestContext;

/// What a patch is, by its media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Merge,
    Strategic,
    Apply,
}

/// Answers a patch of the object, or of its status.
///
/// # Errors
/// What is wrong with the patch or with what it makes of the object.
pub async fn patch(
    app: &App,
    context: &RequestContext,
    kind: &Arc<Kind>,
    subresource: &str,
    body: Bytes,
) -> Result<Response, Status> {
    let write = Write::new(app, context, kind, subresource)?;
    let key = write.key(&context.info.name);
    if kind.custom.is_some() {
        check_custom_form(&context.content_type)?;
    }
    match form(&context.content_type)? {
        Form::Apply => apply_patch(&write, &body).await,
        form => {
            if context.query.get("force").is_some() {
                return Err(options_refused(FieldError::forbidden(
                    &FieldPath::new("force"),
                    "may not be specified for non-apply patch",
                )));
            }
            let document: Value = knarr_schema::decode::decode_any(&body)
                .map_err(|e| Status::bad_request(format!("error decoding patch: {e}")))?;
            commit(&write, &key, Vec::new(), |old, warnings| patched(&write, form, &document, old, warnings)).await
        }
    }
}

fn form(content_type: &str) -> Result<Form, Status> {
    match content_type.split(';').next().unwrap_or_default().trim() {
        "application/json-patch+json" => Ok(Form::Json),
        "application/merge-patch+json" => Ok(Form::Merge),
        "application/strategic-merge-patch+json" => Ok(Form::Strategic),
        "application/apply-patch+yaml" => Ok(Form::Apply),
        _ => {
            let message = "the body of the request was in an unknown format - accepted media types include: \
                           application/json-patch+json, application/merge-patch+json, \
                           application/strategic-merge-patch+json, application/apply-patch+yaml";
            Err(Status::new(415, Reason::UnsupportedMediaType, message))
        }
    }
}

/// A custom object's lists have no strategies.
pub(super) fn check_custom_form(content_type: &str) -> Result<(), Status> {
    if form(content_type).is_ok_and(|form| form != Form::Strategic) {
        return Ok(());
    }
    let message = "the body of the request was in an unknown format - accepted media types include: \
                   application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
    Err(Status::new(415, Reason::UnsupportedMediaType, message))
}

fn options_refused(error: FieldError) -> Status {
    Status::invalid("meta.k8s.io", "PatchOptions", "", &ErrorList::from([error]))
}

/// The object as the patch makes it, in the stored version.
fn patched(
    write: &Write<'_>,
    form: Form,
    document: &Value,
    old: &Object,
    warnings: &mut Vec<String>,
) -> Result<Object, Status> {
    let mut served = old.clone();
    convert::from_storage(write.kind, &mut served);
    let result = match form {
        Form::Json => json_patch(served, document),
        Form::Merge => merge_patch(served, document),
        _ => strategic_merge_patch(served, document, write.kind.ty.get()),
    };
    let result = result.map_err(|e| e.to_status())?;
    let bytes = serde_json::to_vec(&result).map_err(Status::internal)?;
    let (mut new, said) = write.decode_as(&bytes, MediaType::Json)?;
    warnings.extend(said);
    write.place(&mut new, &write.context.info.name)?;
    check_version(write, &new, old)?;
    Ok(new)
}

async fn apply_patch(write: &Write<'_>, body: &Bytes) -> Result<Response, Status> {
    if write.options.manager.is_empty() {
        let error = FieldError::required(&FieldPath::new("fieldManager"), "is required for apply patch");
        return Err(options_refused(error));
    }
    let config = configuration(write, body)?;
    let name = &write.context.info.name;
    let key = write.key(name);
    let api_version = write.kind.api_version();
    let ty = write.kind.ty.get();
    let applied = |live: Option<&Object>| {
        let live = live.map(|stored| {
            let mut live = stored.clone();
            convert::from_storage(write.kind, &mut live);
            live
        });
        let manager = write.manager(&api_version);
        let mut new = apply(live.as_ref(), &config, ty, &write.kind.kind, &manager, write.options.force, write.now)
            .map_err(|e| e.to_status())?;
        new["apiVersion"] = api_version.clone().into();
        new["kind"] = write.kind.kind.to_string().into();
        convert::to_storage(write.kind, &mut new);
        write.kind.default(&mut new);
        Ok::<_, Status>(new)
    };
    if write.app.store.get(&key).is_none() {
        if !write.subresource.is_empty() {
            return Err(Status::not_found(&write.kind.id(), name));
        }
        may_create(write)?;
        let mut new = applied(None)?;
        write.place(&mut new, name)?;
        return create::commit_new(write, new, &mut Vec::new()).await;
    }
    commit(write, &key, Vec::new(), |old, _| {
        check_version(write, &config, old).or_else(|status| if status.code == 422 { Ok(()) } else { Err(status) })?;
        let mut new = applied(Some(old))?;
        new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
        Ok(new)
    })
    .await
}

/// The body of an apply: YAML, of which JSON is a part.
fn configuration(write: &Write<'_>, body: &Bytes) -> Result<Object, Status> {
    let document = knarr_schema::decode::yaml::first_document(body)
        .map_err(|e| Status::bad_request(format!("error decoding YAML: {e}")))?;
    let mut config = document.value;
    if !config.is_object() {
        return Err(Status::bad_request("error decoding YAML: the configuration must be an object"));
    }
    let sent = |field: &str| config["metadata"][field].as_str().unwrap_or_default().to_owned();
    let name = &write.context.info.name;
    let (sent_name, sent_namespace) = (sent("name"), sent("namespace"));
    if !sent_name.is_empty() && sent_name != *name {
        return Err(Status::bad_request(format!(
            "the name of the object ({sent_name}) does not match the name on the URL ({name})"
        )));
    }
    if write.kind.namespaced && !sent_namespace.is_empty() && sent_namespace != write.context.info.namespace {
        let message = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Status::bad_request(message));
    }
    config["metadata"]["name"] = name.clone().into();
    if write.kind.namespaced {
        config["metadata"]["namespace"] = write.context.info.namespace.clone().into();
    }
    Ok(config)
}

impl Write<'_> {
    /// Whether this write is a server-side apply, which has tracked its owners already.
    pub(super) fn is_apply(&self) -> bool {
        self.context.info.verb == "patch" && form(&self.context.content_type) == Ok(Form::Apply)
    }
}
