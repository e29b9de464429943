// SPDX-License-Identifier: Apache-2.0
//! ResourceQuota: what the objects of a namespace may use in all.
//! <https://kubernetes.io/docs/concepts/policy/resource-quotas/>
//!
//! What is used is in the quota's status. [`charge`] adds what a write uses and gives the quotas as they
//! will be; the caller commits them with the object, under the condition that none was written meanwhile.
//! What deletes give back is counted again by the quota controller.

pub mod scopes;
pub mod usage;

use jiff::Timestamp;
use knarr_types::tree::Value;
use knarr_types::{Object, Quantity, Status};

use crate::amounts::{self, Amounts};
use crate::{Lookup, Operation, Request};
use usage::Counted;

/// How containers must say what they use: where a quota counts these, each has to name them.
const REQUIRED: [&str; 6] = ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];

/// The quotas of the namespace with what this write uses added to their `status.used`: those alone whose
/// numbers change.
///
/// # Errors
/// Where one is exceeded, or the object does not say what it uses.
pub fn charge(request: &Request<'_>, object: &Object, lookup: &dyn Lookup) -> Result<Vec<Object>, Status> {
    let kind = Counted { group: &request.kind.group, resource: &request.kind.resource };
    if !is_counted(request, kind, object) {
        return Ok(Vec::new());
    }
    let quotas = lookup.list("", "resourcequotas", Some(request.namespace));
    let mut pertinent = Vec::new();
    for quota in &quotas {
        if is_pertinent(request, kind, object, quota)? {
            pertinent.push(quota);
        }
    }
    let charged = pertinent.into_iter().filter_map(|quota| charge_one(request, kind, object, quota).transpose());
    charged.collect()
}

/// Whether a write of this kind can change what is used.
fn is_counted(request: &Request<'_>, kind: Counted<'_>, object: &Object) -> bool {
    if request.namespace.is_empty() || !request.kind.namespaced || &*request.kind.kind == "Event" {
        return false;
    }
    let updates = match request.subresource {
        // A pod that gets a deadline, or loses it, comes under other quotas.
        "" if kind.is("pods") => {
            request.old.is_some_and(|old| scopes::is_terminating(old) != scopes::is_terminating(object))
        }
        "" => kind.is("services") || kind.is("persistentvolumeclaims"),
        "resize" => kind.is("pods"),
        _ => false,
    };
    match request.operation {
        Operation::Create => request.subresource.is_empty(),
        Operation::Update => updates,
        _ => false,
    }
}

/// Whether a quota counts the object, which must say what that needs to know.
fn is_pertinent(request: &Request<'_>, kind: Counted<'_>, object: &Object, quota: &Object) -> Result<bool, Status> {
    let refuse = |why: String| Err(request.refusal(&why));
    let name = quota["metadata"]["name"].as_str().unwrap_or_default();
    let (hard, used) = (amounts::read(&quota["status"]["hard"]), amounts::read(&quota["status"]["used"]));
    let tracked: Vec<_> = hard.keys().filter(|name| kind.tracks(name)).cloned().collect();
    if tracked.is_empty() || !scopes::hold(quota, kind, object) {
        return Ok(false);
    }
    if kind.is("pods")
        && let Some(missing) = unsaid(&tracked, object)
    {
        return refuse(format!("failed quota: {name}: must specify {missing}"));
    }
    if tracked.iter().any(|name| !used.contains_key(name)) {
        return refuse(format!("status unknown for quota: {name}, resources: {}", tracked.join(",")));
    }
    Ok(true)
}

/// The quota with what the write uses, if that changes it.
fn charge_one(
    request: &Request<'_>,
    kind: Counted<'_>,
    object: &Object,
    quota: &Object,
) -> Result<Option<Object>, Status> {
    let refuse = |why: String| Err(request.refusal(&why));
    let name = quota["metadata"]["name"].as_str().unwrap_or_default();
    let (hard, used) = (amounts::read(&quota["status"]["hard"]), amounts::read(&quota["status"]["used"]));
    let now = Timestamp::now();
    let mut delta = kind.usage(object, now);
    if let Some(old) = request.old.filter(|old| scopes::hold(quota, kind, old)) {
        let before = kind.usage(old, now);
        for (name, amount) in &mut delta {
            *amount = amount.minus(before.get(name).copied().unwrap_or(Quantity::ZERO));
        }
    }
    delta.retain(|name, amount| hard.contains_key(name) && amount.nanos() > 0);
    if delta.is_empty() {
        return Ok(None);
    }
    let mut total = used.clone();
    amounts::add(&mut total, &delta);
    let exceeded: Vec<_> = delta.keys().filter(|name| total.get(*name) > hard.get(*name)).collect();
    if !exceeded.is_empty() {
        let told = |amounts: &Amounts| {
            let parts = exceeded.iter().filter_map(|n| Some(format!("{n}={}", amounts.get(*n)?)));
            parts.collect::<Vec<_>>().join(",")
        };
        let (requested, used, limited) = (told(&delta), told(&used), told(&hard));
        return refuse(format!("exceeded quota: {name}, requested: {requested}, used: {used}, limited: {limited}"));
    }
    let mut charged = quota.clone();
    charged["status"]["used"] = total.iter().map(|(k, v)| (k.clone(), Value::from(v.to_string()))).collect();
    Ok(Some(charged))
}

/// Which amounts that a quota counts the containers of a pod do not name. Where the pod as a whole says what it uses
/// they need not.
fn unsaid(tracked: &[String], pod: &Object) -> Option<String> {
    let of_pod = |name: &str| matches!(name, "cpu" | "memory") || name.starts_with("hugepages-");
    let whole = &pod["spec"]["resources"];
    if ["requests", "limits"].iter().any(|list| amounts::read(&whole[*list]).keys().any(|name| of_pod(name))) {
        return None;
    }
    let lists = ["containers", "initContainers"];
    let containers = || lists.iter().flat_map(|l| pod["spec"][*l].as_array().into_iter().flatten());
    let mut missing = Vec::new();
    for name in tracked.iter().filter(|n| REQUIRED.contains(&n.as_str())) {
        let silent = containers().filter(|c| !said(&c["resources"]).contains_key(name));
        let mut names: Vec<_> = silent.filter_map(|c| c["name"].as_str()).collect();
        names.sort_unstable();
        if !names.is_empty() {
            missing.push(format!("{name} for: {}", names.join(",")));
        }
    }
    (!missing.is_empty()).then(|| missing.join("; "))
}

fn said(resources: &Value) -> Amounts {
    usage::compute(&amounts::read(&resources["requests"]), &amounts::read(&resources["limits"]))
}

#[cfg(test)]
mod tests {
    use knarr_auth::UserInfo;
    use knarr_types::tree::json;

    use super::*;
    use crate::table::{Table, kind, request};

    fn run(resource: &str, hard: Value, used: Value, object: Object) -> Result<Value, String> {
        let user = UserInfo::anonymous();
        let kind = kind(resource);
        let request = request(&kind, Operation::Create, "n", &user);
        let quota = json!({"metadata": {"name": "q"}, "status": {"hard": hard, "used": used}});
        let table = Table(vec![("/resourcequotas/n/q", quota)]);
        let charged = charge(&request, &object, &table).map_err(|s| s.message)?;
        Ok(charged.first().map(|q| q["status"]["used"].clone()).unwrap_or_default())
    }

    #[test]
    fn what_is_used_is_added_up_to_the_bound() {
        let pods = |used: &str| run("pods", json!({"pods": "2", "secrets": "1"}), json!({"pods": used}), json!({}));
        assert_eq!(pods("1"), Ok(json!({"pods": "2"})));
        let refusal = pods("2").unwrap_err();
        assert!(refusal.ends_with("exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2"), "{refusal}");
        assert_eq!(run("configmaps", json!({"pods": "0"}), json!({}), json!({})), Ok(Value::Null));
    }

    #[test]
    fn containers_must_name_what_is_counted() {
        let hard = json!({"requests.cpu": "1", "limits.memory": "1Gi"});
        let pod = json!({"spec": {"containers": [{"name": "c"}]}});
        let refusal = run("pods", hard, json!({}), pod).unwrap_err();
        assert!(
            refusal.ends_with("failed quota: q: must specify limits.memory for: c; requests.cpu for: c"),
            "{refusal}"
        );
    }

    #[test]
    fn a_quota_that_nobody_counted_yet_lets_nothing_in() {
        let refusal = run("pods", json!({"pods": "2"}), json!({}), json!({})).unwrap_err();
        assert!(refusal.ends_with("status unknown for quota: q, resources: pods"), "{refusal}");
    }

    #[test]
    fn a_pod_that_gets_a_deadline_comes_under_other_quotas() {
        let (user, kind) = (UserInfo::anonymous(), kind("pods"));
        let quota = json!({"metadata": {"name": "q"}, "spec": {"scopes": ["Terminating"]},
            "status": {"hard": {"pods": "2"}, "used": {"pods": "0"}}});
        let table = Table(vec![("/resourcequotas/n/q", quota)]);
        let old = json!({"metadata": {"resourceVersion": "1"}, "spec": {"containers": []}});
        let request = Request { old: Some(&old), ..request(&kind, Operation::Update, "n", &user) };
        for (deadline, used) in [(json!(5), Some("1")), (Value::Null, None)] {
            let mut new = old.clone();
            new["spec"]["activeDeadlineSeconds"] = deadline;
            let charged = charge(&request, &new, &table).unwrap();
            assert_eq!(charged.first().and_then(|quota| quota["status"]["used"]["pods"].as_str()), used);
        }
    }

    #[test]
    fn containers_of_a_pod_that_says_what_it_uses_need_not() {
        let (hard, used) =
            (json!({"limits.cpu": "4", "requests.cpu": "4"}), json!({"limits.cpu": "0", "requests.cpu": "0"}));
        let pod = |resources: Value| json!({"spec": {"resources": resources, "containers": [{"name": "c"}]}});
        assert!(run("pods", hard.clone(), used.clone(), pod(json!({"requests": {"memory": "1Gi"}}))).is_ok());
        assert!(run("pods", hard, used, pod(json!({}))).is_err());
    }
}
