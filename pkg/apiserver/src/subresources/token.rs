// SPDX-License-Identifier: Apache-2.0
//! serviceaccounts/token: a token for an account, for a time, bound to a pod, a secret or a node.
//! <https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/>

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use knarr_admission::Operation;
use knarr_auth::Objects as _;
use knarr_pki::service_account::{Bound, Claims, ObjectName};
use knarr_schema::Kind;
use knarr_types::tree::{Value, json};
use knarr_types::{ErrorList, FieldError, FieldPath, Object, ResourceId, Status};

use super::{body_kind, decode_tracked, made};
use crate::actions::Action;
use crate::app::App;
use crate::body::Response;
use crate::request::RequestContext;

/// How long a token lasts that names no time, and how short and long it may.
const DEFAULT_SECONDS: i64 = 3600;
const LEAST_SECONDS: i64 = 600;
const MOST_SECONDS: i64 = 1 << 32;
/// Old clients never read their token again. They get the time that the ServiceAccount plugin asks for, and
/// their token holds on for a year, with the time from which on it should have been renewed.
const INJECTED_SECONDS: i64 = 3607;
const EXTENDED_SECONDS: i64 = 365 * 24 * 3600;

pub(super) async fn create(app: &App, context: &RequestContext, body: &Bytes) -> Result<Response, Status> {
    let kind = body_kind("authentication.k8s.io", "v1", "TokenRequest")?;
    let (mut request, mut warnings) = decode_tracked(app, context, &kind, body, defaults)?;
    let given = give(app, context, &kind, &mut request, &mut warnings).await;
    given.map_err(|status| status.with_warnings(&warnings))?;
    made(context, &kind, &request, &warnings)
}

/// Puts a token into the request for one.
async fn give(
    app: &App,
    context: &RequestContext,
    kind: &Kind,
    request: &mut Object,
    warnings: &mut Vec<String>,
) -> Result<(), Status> {
    let (namespace, name) = (&context.info.namespace, &context.info.name);
    check_place(request, namespace, name)?;
    let action = Action { app, context, operation: Operation::Create, body: kind };
    warnings.extend(action.admit(request).await?);
    let account = app
        .core("serviceaccounts", namespace, name)
        .ok_or_else(|| Status::not_found(&ResourceId::new("", "serviceaccounts"), name))?;
    let own = named(&account);
    let sent_uid = text(&request["metadata"], "uid");
    if !sent_uid.is_empty() && sent_uid != own.uid {
        let why = format!(
            "the UID in the token request ({sent_uid}) does not match the UID of the service account ({})",
            own.uid
        );
        return Err(Status::conflict(&ResourceId::new("authentication.k8s.io", "TokenRequest"), name, &why));
    }
    let now = Timestamp::now();
    complete(app, request, namespace, &own, now);
    let seconds = request["spec"]["expirationSeconds"].as_i64().unwrap_or(DEFAULT_SECONDS);
    refuse_life(seconds)?;
    let node = context.user.node();
    let mut bound = Bound { namespace: namespace.clone(), serviceaccount: own, ..Bound::default() };
    if let Some(node) = node {
        check_node(app, node, namespace, name, &request["spec"])?;
    }
    bind(app, &request["spec"]["boundObjectRef"], &mut bound)?;
    let claims = claims(app, &request["spec"], bound, seconds, now);
    let token = app.authenticator.keys().sign(&claims).map_err(Status::internal)?;
    let expires = now + SignedDuration::from_secs(seconds);
    request["status"] = json!({"token": token, "expirationTimestamp": crate::write::seconds(expires)});
    Ok(())
}

fn text<'a>(of: &'a Value, field: &str) -> &'a str {
    of[field].as_str().unwrap_or_default()
}

fn named(object: &Object) -> ObjectName {
    ObjectName { name: text(&object["metadata"], "name").into(), uid: text(&object["metadata"], "uid").into() }
}

fn invalid(name: &str, error: FieldError) -> Status {
    Status::invalid("authentication.k8s.io", "TokenRequest", name, &ErrorList::from([error]))
}

/// What the body says about name and namespace must be what the path says.
fn check_place(request: &Object, namespace: &str, name: &str) -> Result<(), Status> {
    for (field, is) in [("name", name), ("namespace", namespace)] {
        let sent = text(&request["metadata"], field);
        if !sent.is_empty() && sent != is {
            let why = format!("must match the service account {field} if specified");
            return Err(invalid(name, FieldError::invalid(&FieldPath::new("metadata").child(field), sent, why)));
        }
    }
    Ok(())
}

fn defaults(request: &mut Object) {
    if request["spec"]["expirationSeconds"].is_null() {
        request["spec"]["expirationSeconds"] = DEFAULT_SECONDS.into();
    }
}

/// Fills in what the client left open.
fn complete(app: &App, request: &mut Object, namespace: &str, account: &ObjectName, now: Timestamp) {
    let metadata = &mut request["metadata"];
    metadata["name"] = account.name.clone().into();
    metadata["namespace"] = namespace.into();
    metadata["uid"] = account.uid.clone().into();
    metadata["creationTimestamp"] = crate::write::seconds(now).into();
    let spec = &mut request["spec"];
    if spec["audiences"].as_array().is_none_or(Vec::is_empty) {
        spec["audiences"] = json!(app.settings.audiences);
    }
    if spec["boundObjectRef"].is_null() {
        spec["boundObjectRef"] = Value::Null;
    }
}

fn refuse_life(seconds: i64) -> Result<(), Status> {
    let path = FieldPath::new("spec.expirationSeconds");
    let why = match seconds {
        ..LEAST_SECONDS => "may not specify a duration less than 10 minutes",
        LEAST_SECONDS..=MOST_SECONDS => return Ok(()),
        _ => "may not specify a duration larger than 2^32 seconds",
    };
    Err(invalid("", FieldError::invalid(&path, seconds, why)))
}

fn audiences(spec: &Value) -> Vec<String> {
    spec["audiences"].as_array().into_iter().flatten().filter_map(|a| a.as_str().map(str::to_owned)).collect()
}

fn claims(app: &App, spec: &Value, mut bound: Bound, seconds: i64, now: Timestamp) -> Claims {
    let (aud, now) = (audiences(spec), now.as_second());
    let mut exp = now + seconds;
    if seconds == INJECTED_SECONDS && bound.pod.is_some() && aud.iter().all(|a| app.settings.audiences.contains(a)) {
        bound.warnafter = Some(exp);
        exp = now + EXTENDED_SECONDS;
    }
    Claims {
        aud,
        exp,
        iat: now,
        nbf: now,
        iss: app.authenticator.issuer().to_owned(),
        jti: uuid::Uuid::new_v4().to_string(),
        sub: format!("system:serviceaccount:{}:{}", bound.namespace, bound.serviceaccount.name),
        kubernetes: bound,
    }
}

/// Binds the token to the object that the request names, which must be there.
fn bind(app: &App, wanted: &Value, bound: &mut Bound) -> Result<(), Status> {
    if wanted.is_null() {
        return Ok(());
    }
    let (version, kind, name) = (text(wanted, "apiVersion"), text(wanted, "kind"), text(wanted, "name"));
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let (resource, place) = match (group, kind) {
        ("", "Pod") => ("pods", bound.namespace.as_str()),
        ("", "Secret") => ("secrets", bound.namespace.as_str()),
        ("", "Node") => ("nodes", ""),
        _ => {
            let message = format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
            return Err(Status::bad_request(message));
        }
    };
    if name.is_empty() {
        return Err(Status::bad_request("Name parameter required."));
    }
    let object =
        app.core(resource, place, name).ok_or_else(|| Status::not_found(&ResourceId::new("", resource), name))?;
    let account = &bound.serviceaccount.name;
    if kind == "Pod" && text(&object["spec"], "serviceAccountName") != account {
        return Err(Status::bad_request(format!(
            "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
        )));
    }
    let found = named(&object);
    let uid = text(wanted, "uid");
    if !uid.is_empty() && uid != found.uid {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. \
             The object might have been deleted and then recreated"
        );
        return Err(Status::conflict(&ResourceId::new("", kind), name, &why));
    }
    match kind {
        "Pod" => {
            let node = text(&object["spec"], "nodeName");
            let unknown = || ObjectName { name: node.to_owned(), uid: String::new() };
            bound.node =
                (!node.is_empty()).then(|| app.core("nodes", "", node).map_or_else(unknown, |node| named(&node)));
            bound.pod = Some(found);
        }
        "Secret" => bound.secret = Some(found),
        _ => bound.node = Some(found),
    }
    Ok(())
}

/// A node asks for tokens of its pods only, and for audiences that they name.
/// <https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction>
fn check_node(app: &App, node: &str, namespace: &str, account: &str, spec: &Value) -> Result<(), Status> {
    let refuse = |why: String| Err(Status::forbidden(&ResourceId::new("", "serviceaccounts"), account, &why));
    let wanted = &spec["boundObjectRef"];
    if wanted.is_null() || text(wanted, "apiVersion") != "v1" || text(wanted, "kind") != "Pod" {
        return refuse("node requested token not bound to a pod".into());
    }
    let (name, uid) = (text(wanted, "name"), text(wanted, "uid"));
    if uid.is_empty() {
        return refuse("node requested token with a pod binding without a uid".into());
    }
    // Upstream's plugin calls the kind so.
    let gone = || Status::not_found(&ResourceId::new("", "pod"), name);
    let pod = app.core("pods", namespace, name).ok_or_else(gone)?;
    let actual = text(&pod["metadata"], "uid");
    if actual != uid {
        return refuse(format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        ));
    }
    if text(&pod["spec"], "nodeName") != node {
        return refuse("node requested token bound to a pod scheduled on a different node".into());
    }
    let own = &app.settings.audiences;
    let named = audiences_of(&pod);
    let foreign = audiences(spec).into_iter().find(|a| !own.contains(a) && !named.contains(&a.as_str()));
    match foreign {
        None => Ok(()),
        Some(audience) => refuse(format!(
            "audience {audience:?} not found in pod spec volume, system:node:{node} is not authorized to request \
             tokens for this audience"
        )),
    }
}

/// The audiences of the tokens that a pod's volumes hold.
fn audiences_of(pod: &Object) -> Vec<&str> {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let sources = volumes.flat_map(|volume| volume["projected"]["sources"].as_array().into_iter().flatten());
    sources.filter_map(|source| source["serviceAccountToken"]["audience"].as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_lives_as_long_as_may_be() {
        for (seconds, fault) in [
            (-1, Some("less than 10 minutes")),
            (599, Some("less than 10 minutes")),
            (600, None),
            (1 << 32, None),
            ((1 << 32) + 1, Some("larger than 2^32 seconds")),
        ] {
            let told = refuse_life(seconds).map_err(|status| (status.code, status.message));
            match fault {
                None => assert_eq!(told, Ok(()), "{seconds}"),
                Some(why) => assert!(told.is_err_and(|(code, text)| code == 422 && text.contains(why)), "{seconds}"),
            }
        }
        let mut request = json!({"spec": {}});
        defaults(&mut request);
        assert_eq!(request["spec"]["expirationSeconds"], 3600);
    }

    #[test]
    fn a_request_for_a_token_is_about_the_account_of_its_path() {
        for (metadata, wrong) in [
            (json!({}), None),
            (json!({"name": "a", "namespace": "n"}), None),
            (json!({"name": "b", "namespace": "m"}), Some("metadata.name")),
            (json!({"name": "a", "namespace": "m"}), Some("metadata.namespace")),
        ] {
            let told = check_place(&json!({"metadata": metadata}), "n", "a").err();
            let field = told.map(|status| status.details.unwrap_or_default().causes[0].field.clone());
            assert_eq!(field.as_deref(), wrong, "{metadata}");
        }
    }

    #[test]
    fn a_nodes_tokens_are_for_audiences_that_volumes_of_the_pod_name() {
        let source = |audience: &str| json!({"serviceAccountToken": {"audience": audience}});
        let pod = json!({"spec": {"volumes": [{"emptyDir": {}}, {"projected": {"sources": [source("a"), {"secret": {}}]}},
            {"projected": {"sources": [source("b")]}}]}});
        assert_eq!(audiences_of(&pod), ["a", "b"]);
        assert!(audiences_of(&json!({})).is_empty());
    }
}
