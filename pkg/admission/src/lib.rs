// SPDX-License-Identifier: Apache-2.0
//! What is changed or refused between decoding a request and storing it, in upstream's order.
//! <https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/>
//!
//! A plugin is a module with functions over the object and what [`Lookup`] shows of others. Plugins of
//! later work are added to [`mutate`] and [`validate`], which hold the order.

mod admission_request;
pub mod amounts;
mod authorizer;
mod certificates;
pub mod devices;
mod limit_ranger;
mod matching;
mod namespace_lifecycle;
mod node_restriction;
mod pod_defaults;
mod pod_security;
pub mod policy;
mod priority;
pub mod quota;
mod runtime_class;
mod secrets;
mod service_account;
pub mod services;
mod storage;
mod versions;
pub mod webhooks;

use std::sync::Arc;
use std::time::Instant;

use futures::future::BoxFuture;
use knarr_auth::{Attributes, UserInfo};
use knarr_schema::Kind;
use knarr_store::Precondition;
use knarr_types::tree::Value;
use knarr_types::{Object, Status};

pub use certificates::{set_condition_times, set_requester};

/// What is done with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It is made.
    Create,
    /// It is changed.
    Update,
    /// It is deleted.
    Delete,
    /// A connection to it is opened.
    Connect,
}

impl Operation {
    /// As webhooks and policies call it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// What admission is asked.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The kind, in the version of the path.
    pub kind: &'a Arc<Kind>,
    /// What the object is, where it is not of that kind: an Eviction of a pod, the options of an exec.
    pub body: Option<&'a Kind>,
    /// What is done.
    pub operation: Operation,
    /// Empty for the cluster.
    pub namespace: &'a str,
    /// The object.
    pub name: &'a str,
    /// `status`, or empty for the object itself.
    pub subresource: &'a str,
    /// Who asks.
    pub user: &'a UserInfo,
    /// The object as it is, where there is one.
    pub old: Option<&'a Object>,
    /// Nothing will be kept.
    pub dry_run: bool,
    /// When the request ends.
    pub deadline: Instant,
}

impl Request<'_> {
    /// 403, with what upstream calls an object that has no name.
    fn refusal(&self, why: &str) -> Status {
        let name = if self.name.is_empty() { "Unknown" } else { self.name };
        Status::forbidden(&self.kind.id(), name, why)
    }

    fn is(&self, group: &str, kind: &str) -> bool {
        *self.kind.group == *group && *self.kind.kind == *kind
    }

    fn is_new_pod(&self) -> bool {
        self.operation == Operation::Create && self.is("", "Pod") && self.subresource.is_empty()
    }
}

/// Other objects of the cluster, as trees, by group, plural, namespace and name.
pub trait Lookup: Sync {
    /// One.
    fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Arc<Object>>;
    /// All of a namespace, or of the cluster.
    fn list(&self, group: &str, resource: &str, namespace: Option<&str>) -> Vec<Arc<Object>>;
    /// The kind that is served by this name.
    fn kind_named(&self, group: &str, version: &str, kind: &str) -> Option<Arc<Kind>>;
    /// Whether a user may do something, beyond what was asked of the server.
    fn allows(&self, user: &UserInfo, wanted: &Attributes<'_>) -> bool;
    /// The other versions in which the objects of a kind are served.
    fn versions(&self, _kind: &Kind) -> Vec<Arc<Kind>> {
        Vec::new()
    }
    /// An object of any version of a kind in that of `kind`; who must be asked for it has until `deadline`.
    ///
    /// # Errors
    /// Where it cannot be converted.
    fn in_version<'a>(
        &'a self,
        _kind: &'a Arc<Kind>,
        object: &'a Object,
        _deadline: Instant,
    ) -> BoxFuture<'a, Result<Object, Status>> {
        Box::pin(std::future::ready(Ok(object.clone())))
    }
    /// An object of `kind` that came from outside, checked against the kind's fields.
    ///
    /// # Errors
    /// What is wrong with it.
    fn decode(&self, _kind: &Kind, object: &Object) -> Result<Object, Status> {
        Ok(object.clone())
    }
    /// A validating policy was asked: it refused (`deny`), warned or told the audit by a binding, or could not be
    /// evaluated (`error`).
    fn policy_checked(&self, _policy: &str, _binding: &str, _action: &'static str, _error: &'static str) {}
    /// Where a port of a Service can be reached: `address:port`.
    ///
    /// # Errors
    /// Why it cannot.
    fn service_address(&self, _namespace: &str, name: &str, _port: u16) -> Result<String, String> {
        Err(format!("service {name:?} not found"))
    }
}

/// Whether a webhook or a policy may get to see the object: one has a rule about such requests.
#[must_use]
pub fn is_seen(request: &Request<'_>, lookup: &dyn Lookup) -> bool {
    let about = |rule: &Value| {
        matching::fits(rule, request, request.kind, None)
            || lookup.versions(request.kind).iter().any(|kind| matching::fits(rule, request, kind, None))
    };
    let listed = |resource: &str| lookup.list(webhooks::GROUP, resource, None);
    let asks =
        |hooks: &Object| items_of(&hooks["webhooks"]).iter().any(|hook| items_of(&hook["rules"]).iter().any(about));
    let decides = |policy: &Object| {
        let rules = items_of(&policy["spec"]["matchConstraints"]["resourceRules"]);
        rules.is_empty() || rules.iter().any(about)
    };
    ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"]
        .iter()
        .any(|resource| listed(resource).iter().any(|hooks| asks(hooks)))
        || ["mutatingadmissionpolicies", "validatingadmissionpolicies"]
            .iter()
            .any(|resource| listed(resource).iter().any(|policy| decides(policy)))
}

fn items_of(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

/// Changes the object as the plugins want it.
///
/// # Errors
/// Where a plugin refuses it already.
pub fn mutate(request: &Request<'_>, object: &mut Object, lookup: &dyn Lookup) -> Result<(), Status> {
    namespace_lifecycle::check(request, lookup)?;
    limit_ranger::mutate(request, object, lookup);
    let creates = request.operation == Operation::Create && request.subresource.is_empty();
    if request.is_new_pod() {
        service_account::mutate(request, object, lookup)?;
    }
    node_restriction::check(request, Some(object), lookup)?;
    if creates && request.is("", "Node") {
        node_restriction::taint_new_node(object);
    }
    if request.is_new_pod() {
        priority::mutate(request, object, lookup)?;
    }
    if request.is("", "Pod") && request.subresource.is_empty() {
        priority::keep(request, object);
        pod_defaults::taint_tolerations(object);
    }
    if creates {
        storage::default_storage_class(request, object, lookup);
        storage::protect(request, object);
    }
    if request.is_new_pod() {
        runtime_class::mutate(request, object, lookup)?;
    }
    if creates {
        storage::default_ingress_class(request, object, lookup);
    }
    Ok(())
}

/// Refuses what the plugins do not allow; `object` is `None` for deletes. What the client should know is
/// added to `warnings`.
///
/// # Errors
/// In upstream's words.
pub fn validate(
    request: &Request<'_>,
    object: Option<&Object>,
    lookup: &dyn Lookup,
    warnings: &mut Vec<String>,
) -> Result<(), Status> {
    namespace_lifecycle::check_delete(request)?;
    limit_ranger::validate(request, object, lookup)?;
    if let Some(pod) = object.filter(|_| request.is_new_pod()) {
        service_account::validate(request, pod, lookup)?;
    }
    service_account::warn(request, object, warnings);
    if object.is_none() {
        node_restriction::check(request, None, lookup)?;
    }
    priority::validate(request, object, lookup)?;
    pod_security::validate(request, object, lookup, warnings)?;
    if let Some(object) = object {
        storage::validate_resize(request, object, lookup)?;
    }
    if let Some(pod) = object.filter(|_| request.is_new_pod()) {
        runtime_class::validate(request, pod, lookup)?;
    }
    certificates::validate(request, object, lookup)
}

/// What the store must check when it commits: what plugins decided on must still hold.
#[must_use]
pub fn conditions(request: &Request<'_>, _object: Option<&Object>, _lookup: &dyn Lookup) -> Vec<Precondition> {
    namespace_lifecycle::conditions(request)
}

#[cfg(test)]
mod table {
    //! Other objects for tests.

    use super::*;

    /// Objects by `group/resource/namespace/name`.
    pub struct Table(pub Vec<(&'static str, Object)>);

    impl Lookup for Table {
        fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Arc<Object>> {
            let key = format!("{group}/{resource}/{namespace}/{name}");
            self.0.iter().find(|(k, _)| *k == key).map(|(_, o)| Arc::new(o.clone()))
        }

        fn kind_named(&self, group: &str, version: &str, kind: &str) -> Option<Arc<Kind>> {
            knarr_schema::Registry::builtin().by_kind(group, version, kind).cloned()
        }

        fn allows(&self, _user: &UserInfo, _wanted: &Attributes<'_>) -> bool {
            false
        }

        fn list(&self, group: &str, resource: &str, namespace: Option<&str>) -> Vec<Arc<Object>> {
            let prefix = format!("{group}/{resource}/{}", namespace.map_or(String::new(), |n| format!("{n}/")));
            self.0.iter().filter(|(k, _)| k.starts_with(&prefix)).map(|(_, o)| Arc::new(o.clone())).collect()
        }
    }

    /// A request by an administrator.
    pub fn request<'a>(
        kind: &'a Arc<Kind>,
        operation: Operation,
        namespace: &'a str,
        user: &'a UserInfo,
    ) -> Request<'a> {
        let (name, subresource, deadline) = ("x", "", Instant::now() + std::time::Duration::from_secs(60));
        Request { kind, body: None, operation, namespace, name, subresource, user, old: None, dry_run: false, deadline }
    }

    /// A built-in kind of the core.
    pub fn kind(resource: &str) -> Arc<Kind> {
        kind_in("", resource)
    }

    pub(crate) fn kind_in(group: &str, resource: &str) -> Arc<Kind> {
        Arc::clone(knarr_schema::Registry::builtin().by_resource(group, "v1", resource).unwrap())
    }
}
