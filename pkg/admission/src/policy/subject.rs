// SPDX-License-Identifier: Apache-2.0
//! What the expressions of a policy see of a request.

use std::sync::Arc;

use knarr_auth::{Attributes as Wanted, UserInfo};
use knarr_schema::Kind;
use knarr_schema::cel::conditions::Subject;
use knarr_schema::cel::{Attributes, Authorize, Decision};
use knarr_types::Object;
use knarr_types::tree::{Value, json};

use super::compiled::Policy;
use crate::versions::View;
use crate::{Lookup, Request};

/// A request in the form in which expressions see it, made once for all policies that want it in the same version.
pub(super) struct Seen<'a> {
    request: &'a Request<'a>,
    review: Value,
    old: Option<&'a Object>,
    namespace: Option<Arc<Object>>,
    authorizer: Authorizer<'a>,
}

/// Answers what the user of a request, or a service account, may do.
struct Authorizer<'a> {
    user: &'a UserInfo,
    lookup: &'a dyn Lookup,
}

impl<'a> Seen<'a> {
    /// The request in the version of the view.
    pub(super) fn new(request: &'a Request<'a>, view: &'a View, lookup: &'a dyn Lookup) -> Self {
        let is_namespace = request.is("", "Namespace");
        let namespace = (!request.namespace.is_empty() && !is_namespace)
            .then(|| lookup.get("", "namespaces", "", request.namespace))
            .flatten();
        Self {
            request,
            review: review(request, &view.kind),
            old: view.old.as_ref(),
            namespace,
            authorizer: Authorizer { user: request.user, lookup },
        }
    }

    /// For one run of a policy.
    pub(super) fn subject<'s>(
        &'s self,
        policy: &'s Policy,
        object: Option<&'s Object>,
        params: Option<&'s Object>,
    ) -> Subject<'s> {
        let request = self.request;
        let mut subject = Subject::new(&self.review, object, self.old);
        subject.params = params;
        subject.namespace = self.namespace.as_deref();
        subject.variables = &policy.variables;
        let asked = Attributes {
            group: request.kind.group.to_string(),
            resource: request.kind.resource.to_string(),
            subresource: request.subresource.to_owned(),
            namespace: request.namespace.to_owned(),
            name: request.name.to_owned(),
            ..Attributes::default()
        };
        subject.authorizer = Some((&self.authorizer, asked));
        subject
    }
}

/// The AdmissionRequest, without the objects, as `kind` has it.
fn review(request: &Request<'_>, kind: &Kind) -> Value {
    let names = |kind: &Kind| {
        let object = request.body.unwrap_or(kind);
        (
            json!({"group": &*object.group, "version": &*object.version, "kind": &*object.kind}),
            json!({"group": &*kind.group, "version": &*kind.version, "resource": &*kind.resource}),
        )
    };
    let ((own_kind, own_resource), (wanted_kind, wanted_resource)) = (names(request.kind), names(kind));
    let namespace = if request.is("", "Namespace") { request.name } else { request.namespace };
    let user = request.user;
    let mut info = json!({"username": user.name});
    for (field, value) in [("uid", json!(user.uid)), ("groups", json!(user.groups)), ("extra", json!(user.extra))] {
        let is_empty = value.as_str().is_some_and(str::is_empty)
            || value.as_array().is_some_and(Vec::is_empty)
            || value.as_object().is_some_and(knarr_types::tree::Map::is_empty);
        if !is_empty {
            info[field] = value;
        }
    }
    let mut review = json!({
        "kind": wanted_kind, "resource": wanted_resource,
        "requestKind": own_kind, "requestResource": own_resource,
        "operation": request.operation.as_str(), "userInfo": info, "dryRun": request.dry_run, "options": null,
    });
    for (field, value) in [
        ("name", request.name),
        ("namespace", namespace),
        ("subResource", request.subresource),
        ("requestSubResource", request.subresource),
    ] {
        if !value.is_empty() {
            review[field] = value.into();
        }
    }
    review
}

impl Authorize for Authorizer<'_> {
    fn check(&self, asked: &Attributes) -> Decision {
        let account = asked.service_account.as_ref().map(|(namespace, name)| {
            let group = format!("system:serviceaccounts:{namespace}");
            UserInfo::new(&format!("system:serviceaccount:{namespace}:{name}"), &["system:serviceaccounts", &group])
        });
        let wanted = Wanted {
            verb: &asked.verb,
            group: &asked.group,
            resource: &asked.resource,
            subresource: &asked.subresource,
            namespace: &asked.namespace,
            name: &asked.name,
            path: &asked.path,
            ..Wanted::default()
        };
        let allowed = self.lookup.allows(account.as_ref().unwrap_or(self.user), &wanted);
        Decision { allowed, ..Decision::default() }
    }
}
