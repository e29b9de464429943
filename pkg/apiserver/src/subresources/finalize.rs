// SPDX-License-Identifier: Apache-2.0
//! namespaces/finalize: a namespace whose content is gone may go.

use bytes::Bytes;
use knarr_store::{Decision, UpdateError};
use knarr_types::{Key, Object, ResourceId, Status};

use super::{check_name, decode};
use crate::app::App;
use crate::body::{self, Response};
use crate::request::RequestContext;
use crate::serve_object;
use crate::write::{propose_error, write_context};

pub(super) async fn update(app: &App, context: &RequestContext, body: &Bytes) -> Result<Response, Status> {
    let registry = app.registry.load();
    let namespaces = ResourceId::new("", "namespaces");
    let kind =
        registry.by_resource("", "v1", "namespaces").ok_or_else(|| Status::internal("namespaces are not served"))?;
    let sent = decode(app, context, kind, body)?;
    check_name(context, &sent, "Namespace")?;
    let name = &context.info.name;
    let key = Key::new(namespaces.clone(), "", name);
    let finalizers = sent["spec"]["finalizers"].clone();
    let version = sent["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    let mut last = None;
    let result = app
        .store
        .update(&key, &write_context(context, ""), |current| {
            let record = current.ok_or_else(|| Status::not_found(&namespaces, name))?;
            if !version.is_empty() && version != record.revision.to_string() {
                return Err(Status::modified(&key));
            }
            let mut namespace = serve_object::stored_tree(kind, record);
            last = None;
            let none = finalizers.as_array().is_none_or(Vec::is_empty);
            let own = namespace["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty);
            if none && own && !namespace["metadata"]["deletionTimestamp"].is_null() {
                without_finalizers(&mut namespace);
                last = Some(namespace);
                return Ok(Decision::Delete);
            }
            if none {
                without_finalizers(&mut namespace);
            } else {
                namespace["spec"]["finalizers"] = finalizers.clone();
            }
            Ok(Decision::Put(serve_object::draft(kind, &namespace)))
        })
        .await;
    match (result, last) {
        // It is gone: this is what it was at last.
        (Ok(_), Some(namespace)) => Ok(body::json(200, &namespace)),
        (Ok(applied), None) => {
            let applied = applied.ok_or_else(|| Status::not_found(&namespaces, name))?;
            Ok(body::bytes(200, "application/json", serve_object::object_json(kind, &applied.record)))
        }
        (Err(UpdateError::Refused(status)), _) => Err(status),
        (Err(UpdateError::Store(error)), _) => Err(propose_error(&namespaces, name, &error)),
    }
}

fn without_finalizers(namespace: &mut Object) {
    if let Some(spec) = namespace["spec"].as_object_mut() {
        spec.remove("finalizers");
    }
}
