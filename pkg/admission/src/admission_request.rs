// SPDX-License-Identifier: Apache-2.0
//! A request as webhooks are told of it and expressions see it: `AdmissionRequest` of `admission.k8s.io`.
//! <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#request>

use knarr_schema::Kind;
use knarr_types::tree::{Value, json};

use crate::Request;

/// The request for one who wants it as `kind` has it: without its uid and its objects, and with no options.
pub(crate) fn admission_request(request: &Request<'_>, kind: &Kind) -> Value {
    let names = |kind: &Kind| {
        let object = request.body.unwrap_or(kind);
        (
            json!({"group": &*object.group, "version": &*object.version, "kind": &*object.kind}),
            json!({"group": &*kind.group, "version": &*kind.version, "resource": &*kind.resource}),
        )
    };
    let ((own_kind, own_resource), (wanted_kind, wanted_resource)) = (names(request.kind), names(kind));
    let mut told = json!({
        "kind": wanted_kind, "resource": wanted_resource,
        "requestKind": own_kind, "requestResource": own_resource,
        "operation": request.operation.as_str(), "userInfo": request.user.to_json(),
        "dryRun": request.dry_run, "options": null,
    });
    let namespace = if request.is("", "Namespace") { request.name } else { request.namespace };
    for (field, value) in [
        ("name", request.name),
        ("namespace", namespace),
        ("subResource", request.subresource),
        ("requestSubResource", request.subresource),
    ] {
        if !value.is_empty() {
            told[field] = value.into();
        }
    }
    told
}
