// SPDX-License-Identifier: Apache-2.0
//! What expressions may ask of authorization: the variable `authorizer`.
//! <https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-authorizer-library>

use knarr_auth::UserInfo;
use knarr_schema::cel::{Attributes, Authorize, Decision};

use crate::Lookup;

/// Answers what the user of a request, or a service account, may do.
pub(crate) struct Authorizer<'a> {
    pub(crate) user: &'a UserInfo,
    pub(crate) lookup: &'a dyn Lookup,
}

impl Authorize for Authorizer<'_> {
    fn check(&self, asked: &Attributes) -> Decision {
        let account = asked.service_account.as_ref();
        let account = account.map(|(namespace, name)| UserInfo::service_account(namespace, name));
        let wanted = knarr_auth::Attributes {
            verb: &asked.verb,
            group: &asked.group,
            resource: &asked.resource,
            subresource: &asked.subresource,
            namespace: &asked.namespace,
            name: &asked.name,
            path: &asked.path,
            ..knarr_auth::Attributes::default()
        };
        let allowed = self.lookup.allows(account.as_ref().unwrap_or(self.user), &wanted);
        Decision { allowed, ..Decision::default() }
    }
}
