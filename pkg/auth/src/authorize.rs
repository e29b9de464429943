// SPDX-License-Identifier: Apache-2.0
//! May they.
//!
//! Until roles are read from the cluster, three kinds of users may do something: the members of
//! `system:masters`, nodes, and the cluster's own components.

use crate::UserInfo;
use crate::user::{AUTHENTICATED, MASTERS, NODES};

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attributes<'a> {
    /// `get`, `list`, `create`, ...; for paths that are no resources the HTTP method in lower case.
    pub verb: &'a str,
    /// The group of the resource.
    pub group: &'a str,
    /// The plural; empty for paths that are no resources.
    pub resource: &'a str,
    /// `status`, `log`, ...; empty for the object itself.
    pub subresource: &'a str,
    /// The namespace; empty for the cluster.
    pub namespace: &'a str,
    /// The object; empty for a collection.
    pub name: &'a str,
    /// The path, where it is no resource.
    pub path: &'a str,
}

/// Whether they may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// They may.
    Allow,
    /// They may not.
    Deny,
}

/// Decides who may do what.
#[derive(Debug, Default)]
pub struct Authorizer;

/// Paths that everybody may read, as upstream's `system:public-info-viewer` says.
const PUBLIC: [&str; 6] = ["/healthz", "/livez", "/readyz", "/version", "/knarr/v1/ca", "/knarr/v1/join"];
/// Paths that everybody who is known may read, as upstream's `system:discovery` says.
const DISCOVERY: [&str; 4] = ["/api", "/apis", "/openapi", "/version"];

impl Authorizer {
    /// Whether `user` may.
    #[must_use]
    pub fn decide(&self, user: &UserInfo, wanted: &Attributes<'_>) -> Decision {
        if user.is_in(MASTERS) || is_component(user) || user.is_in(NODES) {
            return Decision::Allow;
        }
        let below =
            |root: &str| wanted.path == root || wanted.path.strip_prefix(root).is_some_and(|r| r.starts_with('/'));
        let public = PUBLIC.iter().any(|p| below(p));
        let known = user.is_in(AUTHENTICATED) && DISCOVERY.iter().any(|p| below(p));
        let about_themselves = user.is_in(AUTHENTICATED)
            && wanted.verb == "create"
            && ((wanted.group == "authorization.k8s.io" && wanted.resource.starts_with("selfsubject"))
                || (wanted.group == "authentication.k8s.io" && wanted.resource == "selfsubjectreviews"));
        if (wanted.resource.is_empty() && (public || known)) || about_themselves {
            Decision::Allow
        } else {
            Decision::Deny
        }
    }

    /// Why they may not, as upstream says it.
    #[must_use]
    pub fn refusal(&self, user: &UserInfo, wanted: &Attributes<'_>) -> String {
        let name = &user.name;
        if wanted.resource.is_empty() {
            return format!("User \"{name}\" cannot {} path \"{}\"", wanted.verb, wanted.path);
        }
        let below = if wanted.subresource.is_empty() { String::new() } else { format!("/{}", wanted.subresource) };
        let scope = match wanted.namespace {
            "" => " at the cluster scope".to_owned(),
            namespace => format!(" in the namespace \"{namespace}\""),
        };
        format!(
            "User \"{name}\" cannot {} resource \"{}{below}\" in API group \"{}\"{scope}",
            wanted.verb, wanted.resource, wanted.group
        )
    }
}

/// A part of the control plane: it runs in the server, or shows a certificate that the cluster's CA
/// gave it, or is one of upstream's controllers.
fn is_component(user: &UserInfo) -> bool {
    ["system:kube-controller-manager", "system:kube-scheduler", "system:apiserver"].contains(&user.name.as_str())
        || user.name.starts_with("system:serviceaccount:kube-system:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_masters_nodes_and_components_may_touch_resources() {
        let pods = Attributes { verb: "get", resource: "pods", namespace: "n", ..Attributes::default() };
        let version = Attributes { verb: "get", path: "/version", ..Attributes::default() };
        let apis = Attributes { verb: "get", path: "/apis/apps/v1", ..Attributes::default() };
        let cases = [
            (UserInfo::new("admin", &[MASTERS]), [true, true, true]),
            (UserInfo::new("system:node:a", &[NODES]), [true, true, true]),
            (UserInfo::service_account("kube-system", "job-controller"), [true, true, true]),
            (UserInfo::new("jane", &[]), [false, true, true]),
            (UserInfo::anonymous(), [false, true, false]),
        ];
        for (user, want) in cases {
            let got = [&pods, &version, &apis].map(|a| Authorizer.decide(&user, a) == Decision::Allow);
            assert_eq!(got, want, "{user:?}");
        }
    }

    #[test]
    fn refusals_read_as_upstreams() {
        let user = UserInfo::new("jane", &[]);
        let wanted = Attributes { verb: "list", resource: "pods", namespace: "n", ..Attributes::default() };
        assert_eq!(
            Authorizer.refusal(&user, &wanted),
            "User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"n\""
        );
    }
}
