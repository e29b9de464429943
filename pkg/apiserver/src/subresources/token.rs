// SPDX-License-Identifier: Apache-2.0
//! serviceaccounts/token: a token for an account, for a time, bound to a pod.
//! <https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/>

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use knarr_auth::Objects as _;
use knarr_pki::service_account::{Bound, Claims, ObjectName};
use knarr_types::{ErrorList, FieldError, FieldPath, Object, ResourceId, Status};
use serde_json::{Value, json};

use super::{body_kind, decode};
use crate::app::App;
use crate::body::Response;
use crate::request::RequestContext;
use crate::serve_object;

/// How long a token lasts that names no time, and how short and long it may.
const DEFAULT_SECONDS: i64 = 3600;
const LEAST_SECONDS: i64 = 600;
const MOST_SECONDS: i64 = 1 << 32;

pub(super) fn create(app: &App, context: &RequestContext, body: &Bytes) -> Result<Response, Status> {
    let mut request = decode(app, context, &body_kind("authentication.k8s.io", "v1", "TokenRequest")?, body)?;
    let (namespace, name) = (&context.info.namespace, &context.info.name);
    let account = app
        .core("serviceaccounts", namespace, name)
        .ok_or_else(|| Status::not_found(&ResourceId::new("", "serviceaccounts"), name))?;
    let now = Timestamp::now();
    let seconds = request["spec"]["expirationSeconds"].as_i64().unwrap_or(DEFAULT_SECONDS);
    let errors = check_life(seconds);
    if !errors.is_empty() {
        return Err(Status::invalid("authentication.k8s.io", "TokenRequest", name, &errors));
    }
    let named = |object: &Object| ObjectName {
        name: object["metadata"]["name"].as_str().unwrap_or_default().into(),
        uid: object["metadata"]["uid"].as_str().unwrap_or_default().into(),
    };
    let mut bound = Bound { namespace: namespace.clone(), serviceaccount: named(&account), ..Bound::default() };
    bind(app, namespace, &request["spec"]["boundObjectRef"], &mut bound, &named)?;
    let audiences: Vec<String> = request["spec"]["audiences"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|a| a.as_str().map(str::to_owned))
        .collect();
    let audiences = if audiences.is_empty() { app.settings.audiences.clone() } else { audiences };
    let claims = Claims {
        aud: audiences.clone(),
        exp: now.as_second() + seconds,
        iat: now.as_second(),
        nbf: now.as_second(),
        iss: app.authenticator.issuer().to_owned(),
        jti: uuid::Uuid::new_v4().to_string(),
        sub: format!("system:serviceaccount:{namespace}:{name}"),
        kubernetes: bound,
    };
    let token = app.authenticator.keys().sign(&claims).map_err(Status::internal)?;
    let expires = now + SignedDuration::from_secs(seconds);
    request["metadata"]["name"] = name.clone().into();
    request["metadata"]["namespace"] = namespace.clone().into();
    request["metadata"]["creationTimestamp"] = crate::write::seconds(now).into();
    request["spec"]["expirationSeconds"] = seconds.into();
    request["spec"]["audiences"] = json!(audiences);
    if request["spec"]["boundObjectRef"].is_null() {
        request["spec"]["boundObjectRef"] = Value::Null;
    }
    request["status"] = json!({"token": token, "expirationTimestamp": crate::write::seconds(expires)});
    Ok(serve_object::respond(&context.accept, 201, &request))
}

fn check_life(seconds: i64) -> ErrorList {
    let path = FieldPath::new("spec.expirationSeconds");
    match seconds {
        ..LEAST_SECONDS => vec![FieldError::invalid(&path, seconds, "may not specify a duration less than 10 minutes")],
        MOST_SECONDS.. => {
            vec![FieldError::invalid(&path, seconds, "may not specify a duration larger than 2^32 seconds")]
        }
        _ => ErrorList::new(),
    }
}

/// Binds the token to the object that the request names, which must be there.
fn bind(
    app: &App,
    namespace: &str,
    wanted: &Value,
    bound: &mut Bound,
    named: &impl Fn(&Object) -> ObjectName,
) -> Result<(), Status> {
    if wanted.is_null() {
        return Ok(());
    }
    let (kind, name) = (wanted["kind"].as_str().unwrap_or_default(), wanted["name"].as_str().unwrap_or_default());
    let (resource, place) = match kind {
        "Pod" => ("pods", namespace),
        "Secret" => ("secrets", namespace),
        "Node" => ("nodes", ""),
        other => return Err(Status::bad_request(format!("cannot bind token to object of type {other}"))),
    };
    let id = ResourceId::new("", resource);
    let object = app.core(resource, place, name).ok_or_else(|| Status::not_found(&id, name))?;
    let found = named(&object);
    let uid = wanted["uid"].as_str().unwrap_or_default();
    if !uid.is_empty() && uid != found.uid {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(Status::conflict(&id, name, &why));
    }
    match kind {
        "Pod" => {
            let node = object["spec"]["nodeName"].as_str().unwrap_or_default();
            bound.node = app.core("nodes", "", node).map(|n| named(&n)).filter(|_| !node.is_empty());
            bound.pod = Some(found);
        }
        "Secret" => bound.secret = Some(found),
        _ => bound.node = Some(found),
    }
    Ok(())
}
