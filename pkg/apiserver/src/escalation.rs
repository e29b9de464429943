// SPDX-License-Identifier: Apache-2.0
//! Nobody hands on what they do not hold: writes of roles and bindings are compared with the writer's own
//! rules, unless they may `escalate`, or `bind` the role.
//! <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping>

use knarr_auth::rbac::{RoleRef, Rule};
use knarr_auth::{Attributes, Decision, MASTERS};
use knarr_types::{Object, Status};

use crate::write::Write;

const GROUP: &str = "rbac.authorization.k8s.io";

/// Checks a role or binding as it is to be stored; `old` is the one that it replaces.
///
/// # Errors
/// 403 with what the writer lacks; 404 where a binding names a role that is not there.
pub fn check(write: &Write<'_>, object: &Object, old: Option<&Object>) -> Result<(), Status> {
    if &*write.kind.group != GROUP || write.context.user.is_in(MASTERS) {
        return Ok(());
    }
    if old.is_some_and(|old| differs_for_the_collector(object, old)) {
        return Ok(());
    }
    if write.kind.resource.ends_with("bindings") { binding(write, object) } else { role(write, object, old) }
}

/// Whether only owners and finalizers differ, which the garbage collector must be able to change.
fn differs_for_the_collector(new: &Object, old: &Object) -> bool {
    let without = |object: &Object| {
        let mut object = object.clone();
        for field in ["ownerReferences", "finalizers", "managedFields", "resourceVersion"] {
            object["metadata"].as_object_mut().and_then(|metadata| metadata.remove(field));
        }
        object
    };
    without(new) == without(old)
}

fn refuse(write: &Write<'_>, object: &Object, why: &str) -> Status {
    Status::forbidden(&write.kind.id(), object["metadata"]["name"].as_str().unwrap_or_default(), why)
}

/// Whether the writer has a verb of these rules' own on a role.
fn has(write: &Write<'_>, verb: &str, resource: &str, namespace: &str, name: &str) -> bool {
    let wanted = Attributes { verb, group: GROUP, resource, namespace, name, ..Attributes::default() };
    write.app.authorizer.decide(&write.context.user, &wanted) == Decision::Allow
}

fn role(write: &Write<'_>, object: &Object, old: Option<&Object>) -> Result<(), Status> {
    let info = &write.context.info;
    if has(write, "escalate", &write.kind.resource, &info.namespace, &info.name) {
        return Ok(());
    }
    let rules: Vec<Rule> = knarr_types::tree::from_value(object["rules"].clone()).unwrap_or_default();
    let authorizer = &write.app.authorizer;
    let user = &write.context.user;
    authorizer.may_grant(user, &info.namespace, &rules).map_err(|why| refuse(write, object, &why))?;
    let aggregates = |role: &Object| role["aggregationRule"]["clusterRoleSelectors"].is_array();
    if aggregates(object) || old.is_some_and(aggregates) {
        let why = "must have cluster-admin privileges to use the aggregationRule";
        authorizer.may_grant(user, &info.namespace, &everything()).map_err(|_| refuse(write, object, why))?;
    }
    Ok(())
}

fn everything() -> [Rule; 2] {
    let all = || vec!["*".to_owned()];
    [
        Rule { verbs: all(), api_groups: all(), resources: all(), ..Rule::default() },
        Rule { verbs: all(), non_resource_urls: all(), ..Rule::default() },
    ]
}

fn binding(write: &Write<'_>, object: &Object) -> Result<(), Status> {
    let Ok(role) = knarr_types::tree::from_value::<RoleRef>(object["roleRef"].clone()) else { return Ok(()) };
    let namespace = &*write.context.info.namespace;
    let resource = match role.kind.as_str() {
        "ClusterRole" => "clusterroles",
        "Role" => "roles",
        other => return Err(Status::internal(format!("unsupported role reference kind: {other:?}"))),
    };
    // A ClusterRole too is bound in the namespace of the binding.
    if has(write, "bind", resource, namespace, &role.name) {
        return Ok(());
    }
    let rules = write.app.authorizer.role(&role, namespace);
    let rules = rules.ok_or_else(|| Status::not_found(&write.kind.id(), &role.name))?;
    let granted = write.app.authorizer.may_grant(&write.context.user, namespace, &rules);
    granted.map_err(|why| refuse(write, object, &why))
}
