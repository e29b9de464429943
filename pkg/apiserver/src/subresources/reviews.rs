// SPDX-License-Identifier: Apache-2.0
//! Questions about users: who is it, may they.

use bytes::Bytes;
use jiff::Timestamp;
use knarr_auth::{Attributes, Decision, UserInfo};
use knarr_schema::Kind;
use knarr_types::{Object, Status};
use serde_json::{Value, json};

use super::decode;
use crate::app::App;
use crate::body::Response;
use crate::request::RequestContext;
use crate::serve_object;

fn kind_of(app: &App, context: &RequestContext) -> Result<std::sync::Arc<Kind>, Status> {
    let info = &context.info;
    let registry = app.registry.load();
    let kind = registry.by_resource(&info.group, &info.version, &info.resource);
    kind.cloned().ok_or_else(|| Status::internal("the kind is not served"))
}

/// Who shows a token.
pub(super) fn token(app: &App, context: &RequestContext, body: &Bytes) -> Result<Response, Status> {
    let mut review = decode(app, context, &*kind_of(app, context)?, body)?;
    let token = review["spec"]["token"].as_str().unwrap_or_default().to_owned();
    let asked: Vec<String> = strings(&review["spec"]["audiences"]);
    let audiences = if asked.is_empty() { app.settings.audiences.clone() } else { asked };
    let wanted: Vec<_> = audiences.iter().map(String::as_str).collect();
    review["status"] = match app.authenticator.token(&token, &wanted, app, Timestamp::now()) {
        Ok(user) => json!({"authenticated": true, "user": user_json(&user), "audiences": audiences}),
        Err(why) => json!({"error": why.to_string(), "user": {}}),
    };
    answer(context, review)
}

/// Who asks.
pub(super) fn myself(app: &App, context: &RequestContext, body: &Bytes) -> Result<Response, Status> {
    let mut review = decode(app, context, &*kind_of(app, context)?, body)?;
    review["status"] = json!({"userInfo": user_json(&context.user)});
    answer(context, review)
}

/// Whether somebody may do something.
pub(super) fn access(app: &App, context: &RequestContext, resource: &str, body: &Bytes) -> Result<Response, Status> {
    let mut review = decode(app, context, &*kind_of(app, context)?, body)?;
    if resource == "selfsubjectrulesreviews" {
        review["status"] = rules(app, &context.user, review["spec"]["namespace"].as_str().unwrap_or_default());
        return answer(context, review);
    }
    let user = if resource == "selfsubjectaccessreviews" { context.user.clone() } else { user_of(&review["spec"]) };
    let spec = review["spec"].clone();
    let text = |object: &'static str, field: &str| spec[object][field].as_str().unwrap_or_default().to_owned();
    let wanted = if spec["nonResourceAttributes"].is_object() {
        Wanted {
            path: text("nonResourceAttributes", "path"),
            verb: text("nonResourceAttributes", "verb"),
            ..Wanted::default()
        }
    } else {
        let of = |field| text("resourceAttributes", field);
        Wanted {
            verb: of("verb"),
            group: of("group"),
            resource: of("resource"),
            subresource: of("subresource"),
            namespace: of("namespace"),
            name: of("name"),
            path: String::new(),
        }
    };
    let allowed = app.authorizer.decide(&user, &wanted.attributes()) == Decision::Allow;
    review["status"] = json!({"allowed": allowed});
    answer(context, review)
}

#[derive(Default)]
struct Wanted {
    verb: String,
    group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    path: String,
}

impl Wanted {
    fn attributes(&self) -> Attributes<'_> {
        Attributes {
            verb: &self.verb,
            group: &self.group,
            resource: &self.resource,
            subresource: &self.subresource,
            namespace: &self.namespace,
            name: &self.name,
            path: &self.path,
            ..Attributes::default()
        }
    }
}

/// What a user may do, as far as rules can say it.
fn rules(app: &App, user: &UserInfo, namespace: &str) -> Value {
    let everything = Attributes { verb: "*", group: "*", resource: "*", namespace, ..Attributes::default() };
    if app.authorizer.decide(user, &everything) == Decision::Allow {
        return json!({
            "incomplete": false,
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        });
    }
    json!({"incomplete": false, "resourceRules": [], "nonResourceRules": []})
}

fn answer(context: &RequestContext, mut review: Object) -> Result<Response, Status> {
    if review["metadata"].is_null() {
        review["metadata"] = json!({});
    }
    Ok(serve_object::respond(&context.accept, 201, &review))
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

fn user_of(spec: &Value) -> UserInfo {
    let text = |field: &str| spec[field].as_str().unwrap_or_default().to_owned();
    UserInfo { name: text("user"), uid: text("uid"), groups: strings(&spec["groups"]), ..UserInfo::default() }
}

fn user_json(user: &UserInfo) -> Value {
    let mut json = json!({"username": user.name});
    if !user.uid.is_empty() {
        json["uid"] = user.uid.clone().into();
    }
    if !user.groups.is_empty() {
        json["groups"] = json!(user.groups);
    }
    if !user.extra.is_empty() {
        json["extra"] = json!(user.extra);
    }
    json
}
