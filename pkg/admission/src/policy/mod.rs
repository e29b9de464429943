// SPDX-License-Identifier: Apache-2.0
//! ValidatingAdmissionPolicy and MutatingAdmissionPolicy: expressions that refuse or change what is written.
//! <https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/>
//!
//! Policies and bindings are read from the store at each request, so one counts from the moment it is visible; what
//! they compile to is kept by uid and generation.

mod compiled;
mod mutating;
mod params;
mod round;
mod subject;
#[cfg(test)]
mod tests;
mod validating;

use std::sync::Arc;

use knarr_schema::Kind;
use knarr_types::tree::Value;
use knarr_types::{Object, Status};

use crate::matching::matches;
use crate::versions::View;
use crate::{Lookup, Request};
use compiled::Policy;
use round::Key;

pub use round::Round;

/// The group of policies: they have no say about themselves, nor about webhooks.
const GROUP: &str = "admissionregistration.k8s.io";
/// Questions, which are never stored: no policy may come between.
const QUESTIONS: [&str; 2] = ["authentication.k8s.io", "authorization.k8s.io"];

/// A policy with one of its bindings and one of the parameters of that.
struct Invocation {
    /// How many refusals come before it, in the order of policies and their bindings.
    behind: usize,
    policy: Arc<Policy>,
    /// The version in which the policy wants to see the object.
    kind: Arc<Kind>,
    binding: Object,
    params: Option<Object>,
}

/// Why a policy could not be asked, or what it said.
struct Refusal {
    policy: Arc<Policy>,
    /// Empty where it is not about a binding.
    binding: String,
    message: String,
}

/// Changes the object as policies want it. Where they did, plugins have their turn again, and then [`repeat`].
///
/// # Errors
/// Where one that must be asked cannot be.
pub async fn mutate(request: &Request<'_>, object: &mut Object, lookup: &dyn Lookup) -> Result<Round, Status> {
    if is_exempt(request) {
        return Ok(Round::default());
    }
    let (invocations, refusals) = invocations("mutatingadmissionpolicies", request, Some(object), lookup).await;
    mutating::mutate(request, object, lookup, &invocations, refusals).await
}

/// Asks those policies again that want it and after which something was done to the object; gives whether they
/// changed it.
///
/// # Errors
/// As [`mutate`].
pub async fn repeat(
    request: &Request<'_>,
    object: &mut Object,
    lookup: &dyn Lookup,
    round: Round,
) -> Result<bool, Status> {
    let wanted = round.wanted(object);
    if wanted.is_empty() {
        return Ok(false);
    }
    let (mut invocations, refusals) = invocations("mutatingadmissionpolicies", request, Some(object), lookup).await;
    invocations.retain(|invocation| wanted.contains(&invocation.key()));
    Ok(mutating::mutate(request, object, lookup, &invocations, refusals).await?.changed)
}

/// Refuses what policies do not allow; `object` is `None` for deletes. What the client should know is added to
/// `warnings`.
///
/// # Errors
/// The first refusal, in upstream's words.
pub async fn validate(
    request: &Request<'_>,
    object: Option<&Object>,
    lookup: &dyn Lookup,
    warnings: &mut Vec<String>,
) -> Result<(), Status> {
    if is_exempt(request) {
        return Ok(());
    }
    let (invocations, refusals) = invocations("validatingadmissionpolicies", request, object, lookup).await;
    if invocations.is_empty() && refusals.is_empty() {
        return Ok(());
    }
    let views = View::all(request, invocations.iter().map(|invocation| &invocation.kind), object, lookup).await;
    validating::validate(request, lookup, &invocations, &views, refusals, warnings)
}

fn is_exempt(request: &Request<'_>) -> bool {
    let group = &*request.kind.group;
    group == GROUP || QUESTIONS.contains(&group)
}

/// The policies that are about the request, in the order of their names.
async fn invocations(
    resource: &str,
    request: &Request<'_>,
    object: Option<&Object>,
    lookup: &dyn Lookup,
) -> (Vec<Invocation>, Vec<Refusal>) {
    let (mut found, mut refusals) = (Vec::new(), Vec::new());
    let policies = lookup.list(GROUP, resource, None);
    if policies.is_empty() {
        return (found, refusals);
    }
    let bindings = lookup.list(GROUP, &format!("{}bindings", resource.replace("policies", "policy")), None);
    for policy in policies {
        let name = policy["metadata"]["name"].as_str().unwrap_or_default();
        let own: Vec<&Object> = bindings.iter().map(|b| &**b).filter(|b| b["spec"]["policyName"] == name).collect();
        if own.is_empty() {
            continue;
        }
        let matched = matches(&policy["spec"]["matchConstraints"], request, object, lookup);
        let kind = match matched {
            Ok(Some(kind)) => kind,
            Ok(None) => continue,
            Err(why) => {
                refusals.push(Refusal::of_policy(compiled::of(&policy), &why));
                continue;
            }
        };
        let compiled = compiled::of(&policy);
        for binding in own {
            match bound(&policy, binding, request, object, lookup).await {
                Ok(params) => found.extend(params.into_iter().map(|params| Invocation {
                    behind: refusals.len(),
                    policy: Arc::clone(&compiled),
                    kind: Arc::clone(&kind),
                    binding: binding.clone(),
                    params,
                })),
                Err(why) => refusals.push(Refusal::of_binding(Arc::clone(&compiled), binding, &why)),
            }
        }
    }
    (found, refusals)
}

/// The parameters of a binding, where it is about the request.
async fn bound(
    policy: &Object,
    binding: &Object,
    request: &Request<'_>,
    object: Option<&Object>,
    lookup: &dyn Lookup,
) -> Result<Vec<Option<Object>>, String> {
    if matches(&binding["spec"]["matchResources"], request, object, lookup)?.is_none() {
        return Ok(Vec::new());
    }
    params::collect(&policy["spec"]["paramKind"], &binding["spec"]["paramRef"], request, lookup).await
}

impl Refusal {
    fn of_policy(policy: Arc<Policy>, why: &str) -> Self {
        Self { policy, binding: String::new(), message: format!("failed to configure policy: {why}") }
    }

    fn of_binding(policy: Arc<Policy>, binding: &Object, why: &str) -> Self {
        let binding = binding["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        Self { policy, binding, message: format!("failed to configure binding: {why}") }
    }
}

impl Invocation {
    fn key(&self) -> Key {
        let name = |object: Option<&Object>, field: &str| {
            object.and_then(|object| object["metadata"][field].as_str()).unwrap_or_default().to_owned()
        };
        let params = self.params.as_ref();
        Key {
            policy: self.policy.name.clone(),
            binding: self.binding_name().to_owned(),
            params: (name(params, "namespace"), name(params, "name")),
        }
    }

    fn binding_name(&self) -> &str {
        self.binding["metadata"]["name"].as_str().unwrap_or_default()
    }

    fn actions(&self) -> impl Iterator<Item = &str> {
        self.binding["spec"]["validationActions"].as_array().into_iter().flatten().filter_map(Value::as_str)
    }
}
