// SPDX-License-Identifier: Apache-2.0
//! Questions about users: who is it, may they.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use knarr_admission::Operation;
use knarr_auth::rbac::Rule;
use knarr_auth::{Decision, UserInfo};
use knarr_schema::Kind;
use knarr_types::tree::{Map, Value, json};
use knarr_types::{ErrorList, Object, Status};

use super::{access, decode_tracked, made};
use crate::actions::Action;
use crate::app::App;
use crate::body::Response;
use crate::request::RequestContext;

/// A question as webhooks left it, and what the client is to be warned of.
struct Review<'a> {
    app: &'a App,
    context: &'a RequestContext,
    kind: Arc<Kind>,
    object: Object,
    warnings: Vec<String>,
}

impl<'a> Review<'a> {
    fn read(app: &'a App, context: &'a RequestContext, body: &Bytes) -> Result<Self, Status> {
        let kind = kind_of(app, context)?;
        let (object, warnings) = decode_tracked(app, context, &kind, body, |_| ())?;
        Ok(Self { app, context, kind, object, warnings })
    }

    /// Asks those webhooks that may change it.
    async fn change(&mut self) -> Result<(), Status> {
        let (app, context) = (self.app, self.context);
        let action = Action { app, context, operation: Operation::Create, body: &self.kind };
        self.warnings.extend(action.change(&mut self.object).await?);
        Ok(())
    }

    /// Asks those webhooks that may refuse it.
    async fn allow(&mut self) -> Result<(), Status> {
        let (app, context) = (self.app, self.context);
        let action = Action { app, context, operation: Operation::Create, body: &self.kind };
        self.warnings.extend(action.allow(&self.object).await?);
        Ok(())
    }

    /// The answer, or why there is none, with what the client is warned of in both.
    fn answered(mut self, status: Result<Value, Status>) -> Result<Response, Status> {
        self.object["status"] = status.map_err(|status| status.with_warnings(&self.warnings))?;
        made(self.context, &self.kind, &self.object, &self.warnings)
    }
}

fn kind_of(app: &App, context: &RequestContext) -> Result<Arc<Kind>, Status> {
    let info = &context.info;
    let registry = app.registry.load();
    let kind = registry.by_resource(&info.group, &info.version, &info.resource);
    kind.cloned().ok_or_else(|| Status::internal("the kind is not served"))
}

/// Who shows a token.
pub(super) async fn token(app: &App, context: &RequestContext, body: &Bytes) -> Result<Response, Status> {
    let mut review = Review::read(app, context, body)?;
    let status = token_status(app, &mut review).await;
    review.answered(status)
}

async fn token_status(app: &App, review: &mut Review<'_>) -> Result<Value, Status> {
    review.change().await?;
    let token = review.object["spec"]["token"].as_str().unwrap_or_default();
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    review.allow().await?;
    let token = review.object["spec"]["token"].as_str().unwrap_or_default();
    let asked = strings(&review.object["spec"]["audiences"]);
    let audiences = if asked.is_empty() { app.settings.audiences.clone() } else { asked };
    let wanted: Vec<_> = audiences.iter().map(String::as_str).collect();
    let known = app.authenticator.token(token, &wanted, app, Timestamp::now());
    // What the review says already stays where there is nothing to say instead.
    let said = &review.object["status"];
    let mut status = if said.is_object() { said.clone() } else { json!({}) };
    match known {
        Ok(known) => {
            status["authenticated"] = true.into();
            status["user"] = known.user.to_json();
            status["audiences"] = json!(known.audiences);
        }
        Err(why) => {
            status.as_object_mut().map(|status| status.remove("authenticated"));
            status["error"] = why.to_string().into();
            if status["user"].is_null() {
                status["user"] = json!({});
            }
        }
    }
    Ok(status)
}

/// Who asks.
pub(super) async fn myself(app: &App, context: &RequestContext, body: &Bytes) -> Result<Response, Status> {
    let mut review = Review::read(app, context, body)?;
    let status = own_status(&mut review).await;
    review.answered(status)
}

async fn own_status(review: &mut Review<'_>) -> Result<Value, Status> {
    review.change().await?;
    review.allow().await?;
    // Upstream's answer says nothing of what was sent.
    review.object["metadata"] = json!({"creationTimestamp": crate::write::seconds(Timestamp::now())});
    Ok(json!({"userInfo": review.context.user.to_json()}))
}

/// Whether somebody may do something.
pub(super) async fn access(
    app: &App,
    context: &RequestContext,
    resource: &str,
    body: &Bytes,
) -> Result<Response, Status> {
    let mut review = Review::read(app, context, body)?;
    let status = match resource {
        "selfsubjectrulesreviews" => rules_status(app, &mut review).await,
        _ => access_status(app, &mut review, resource).await,
    };
    review.answered(status)
}

async fn rules_status(app: &App, review: &mut Review<'_>) -> Result<Value, Status> {
    review.change().await?;
    let namespace = review.object["spec"]["namespace"].as_str().unwrap_or_default();
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    review.allow().await?;
    let namespace = review.object["spec"]["namespace"].as_str().unwrap_or_default();
    let status = rules(app, &review.context.user, namespace);
    // Upstream's answer does not repeat the question.
    review.object["spec"] = json!({});
    review.object["metadata"] = json!({});
    Ok(status)
}

async fn access_status(app: &App, review: &mut Review<'_>, resource: &str) -> Result<Value, Status> {
    review.change().await?;
    let context = review.context;
    let (is_own, is_local) = (resource == "selfsubjectaccessreviews", resource == "localsubjectaccessreviews");
    refuse_invalid(access::validate(&review.object, is_own, is_local))?;
    if is_local {
        in_namespace(&review.object, &context.info.namespace)?;
    }
    review.allow().await?;
    let spec = &review.object["spec"];
    let user = if is_own { context.user.clone() } else { user_of(spec) };
    let (wanted, ignored) = access::Wanted::of(spec);
    let (decision, reason) = app.authorizer.explain(&user, &wanted.attributes());
    let mut status = json!({"allowed": decision == Decision::Allow});
    if !reason.is_empty() {
        status["reason"] = reason.into();
    }
    if !ignored.is_empty() {
        status["evaluationError"] = ignored.join("; ").into();
    }
    Ok(status)
}

/// Upstream names no kind here.
fn refuse_invalid(errors: ErrorList) -> Result<(), Status> {
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("authorization.k8s.io", "", "", &errors)) }
}

fn in_namespace(review: &Object, namespace: &str) -> Result<(), Status> {
    if review["metadata"]["namespace"] == namespace {
        return Ok(());
    }
    Err(Status::bad_request(format!("spec.resourceAttributes.namespace must match namespace: {namespace}")))
}

/// What a user may do, as far as rules can say it.
fn rules(app: &App, user: &UserInfo, namespace: &str) -> Value {
    let (rules, incomplete) = app.authorizer.rules_for(user, namespace);
    let list = |rule: &Rule, fields: [(&str, &[String]); 4]| {
        let filled = fields.into_iter().filter(|(_, list)| !list.is_empty());
        let mut shown: Map = filled.map(|(name, list)| (name.to_owned(), json!(list))).collect();
        shown.insert("verbs", json!(rule.verbs));
        Value::Object(shown)
    };
    let of_resources = rules.iter().filter(|rule| !rule.resources.is_empty()).map(|rule| {
        let fields: [(&str, &[String]); 4] = [
            ("apiGroups", &rule.api_groups),
            ("resources", &rule.resources),
            ("resourceNames", &rule.resource_names),
            ("", &[]),
        ];
        list(rule, fields)
    });
    let of_paths = rules
        .iter()
        .filter(|rule| !rule.non_resource_urls.is_empty())
        .map(|rule| list(rule, [("nonResourceURLs", &rule.non_resource_urls), ("", &[]), ("", &[]), ("", &[])]));
    let mut status = json!({
        "incomplete": incomplete.is_some(),
        "resourceRules": of_resources.collect::<Vec<_>>(),
        "nonResourceRules": of_paths.collect::<Vec<_>>(),
    });
    if let Some(why) = incomplete {
        status["evaluationError"] = why.into();
    }
    status
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

fn user_of(spec: &Value) -> UserInfo {
    let text = |field: &str| spec[field].as_str().unwrap_or_default().to_owned();
    let extra = spec["extra"].as_object().into_iter().flatten().map(|(key, values)| (key.to_string(), strings(values)));
    UserInfo { name: text("user"), uid: text("uid"), groups: strings(&spec["groups"]), extra: extra.collect() }
}
