// SPDX-License-Identifier: Apache-2.0
//! What the expressions of a policy see of a request.

use std::sync::Arc;

use knarr_schema::cel::Attributes;
use knarr_schema::cel::conditions::Subject;
use knarr_types::Object;
use knarr_types::tree::Value;

use super::compiled::Policy;
use crate::admission_request::admission_request;
use crate::authorizer::Authorizer;
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

impl<'a> Seen<'a> {
    /// The request in the version of the view.
    pub(super) fn new(request: &'a Request<'a>, view: &'a View, lookup: &'a dyn Lookup) -> Self {
        let is_namespace = request.is("", "Namespace");
        let namespace = (!request.namespace.is_empty() && !is_namespace)
            .then(|| lookup.get("", "namespaces", "", request.namespace))
            .flatten();
        Self {
            request,
            review: admission_request(request, &view.kind),
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
