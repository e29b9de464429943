// SPDX-License-Identifier: Apache-2.0
//! PodSecurity: what a namespace's labels allow its pods, and what its workloads are warned of.
//! <https://kubernetes.io/docs/concepts/security/pod-security-admission/>

mod baseline;
mod checks;
mod policy;
mod restricted;

use std::collections::BTreeMap;
use std::sync::Arc;

use knarr_types::tree::Value;
use knarr_types::{Object, Status};

use crate::{Lookup, Operation, Request};
use checks::{Subject, Violation, violations};
use policy::{Level, Policy, Standard};

/// How many pods of a namespace are looked at when its labels change. Upstream's bound.
const PODS_CHECKED: usize = 3000;
/// Subresources of pods that bring no container.
const PASSED: [&str; 8] = ["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"];

/// Refuses pods that break their namespace's level, and labels that name none; warns of the rest.
pub(crate) fn validate(
    request: &Request<'_>,
    object: Option<&Object>,
    lookup: &dyn Lookup,
    warnings: &mut Vec<String>,
) -> Result<(), Status> {
    let Some(object) = object.filter(|_| request.operation != Operation::Delete) else { return Ok(()) };
    if request.is("", "Namespace") {
        return namespace(request, object, lookup, warnings);
    }
    let is_pod = request.is("", "Pod");
    let passed = if is_pod { PASSED.contains(&request.subresource) } else { !request.subresource.is_empty() };
    let template = if passed { None } else { pod_of(request, object) };
    let Some(template) = template else { return Ok(()) };
    if is_pod && request.old.is_some_and(|old| !is_significant(object, old)) {
        return Ok(());
    }
    let Some(namespace) = lookup.get("", "namespaces", "", request.namespace) else { return Ok(()) };
    let (policy, _) = Policy::of(&namespace["metadata"]["labels"]);
    let subject = Subject { metadata: &template["metadata"], spec: &template["spec"] };
    if is_pod {
        let found = violations(policy.enforce, subject);
        if !found.is_empty() {
            let why = format!("violates PodSecurity \"{}\": {}", policy.enforce, details(&found));
            return Err(request.refusal(&why));
        }
    }
    let found = violations(policy.warn, subject);
    if !found.is_empty() {
        warnings.push(format!("would violate PodSecurity \"{}\": {}", policy.warn, details(&found)));
    }
    Ok(())
}

/// The pod, or the template of pods, that an object holds.
fn pod_of<'a>(request: &Request<'_>, object: &'a Object) -> Option<&'a Value> {
    let template = match (&*request.kind.group, &*request.kind.kind) {
        ("", "Pod") => object,
        ("", "PodTemplate") => &object["template"],
        ("", "ReplicationController")
        | ("apps", "ReplicaSet" | "Deployment" | "StatefulSet" | "DaemonSet")
        | ("batch", "Job") => &object["spec"]["template"],
        ("batch", "CronJob") => &object["spec"]["jobTemplate"]["spec"]["template"],
        _ => return None,
    };
    (!template.is_null()).then_some(template)
}

fn namespace(
    request: &Request<'_>,
    object: &Object,
    lookup: &dyn Lookup,
    warnings: &mut Vec<String>,
) -> Result<(), Status> {
    if !request.subresource.is_empty() {
        return Ok(());
    }
    let (new, errors) = Policy::of(&object["metadata"]["labels"]);
    let before = request.old.map(|old| Policy::of(&old["metadata"]["labels"]));
    if !errors.is_empty() && before.as_ref().is_none_or(|(_, known)| *known != errors) {
        return Err(Status::invalid("", "Namespace", request.name, &errors));
    }
    let Some((old, _)) = before else { return Ok(()) };
    let eased = new.enforce.version == old.enforce.version && new.enforce.level <= old.enforce.level;
    if new.enforce != old.enforce && new.enforce.level != Level::Privileged && !eased {
        warnings.extend(existing(request.name, new.enforce, &lookup.list("", "pods", Some(request.name))));
    }
    Ok(())
}

/// Which pods of a namespace a new level would refuse, told once for all that break it alike.
fn existing(namespace: &str, enforce: Standard, pods: &[Arc<Object>]) -> Vec<String> {
    let total = pods.len();
    let mut broken: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pod in pods.iter().take(PODS_CHECKED) {
        let found = violations(enforce, Subject { metadata: &pod["metadata"], spec: &pod["spec"] });
        if !found.is_empty() {
            let reasons: Vec<_> = found.into_iter().map(|v| v.reason).collect();
            let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            broken.entry(reasons.join(", ")).or_default().push(name);
        }
    }
    let mut warnings = Vec::new();
    if total > PODS_CHECKED {
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {PODS_CHECKED} of {total} existing pods"
        ));
    }
    if !broken.is_empty() {
        warnings.push(format!(
            "existing pods in namespace \"{namespace}\" violate the new PodSecurity enforce level \"{enforce}\""
        ));
    }
    let mut told: Vec<_> = broken.into_iter().map(|(reasons, names)| about(names, &reasons)).collect();
    told.sort();
    warnings.append(&mut told);
    warnings
}

fn about(mut names: Vec<String>, reasons: &str) -> String {
    names.sort();
    let first = names.first().map(String::as_str).unwrap_or_default();
    match names.len() {
        0 | 1 => format!("{first}: {reasons}"),
        2 => format!("{first} (and 1 other pod): {reasons}"),
        n => format!("{first} (and {} other pods): {reasons}", n - 1),
    }
}

fn details(found: &[Violation]) -> String {
    let told = found
        .iter()
        .map(|v| if v.detail.is_empty() { v.reason.clone() } else { format!("{} ({})", v.reason, v.detail) });
    told.collect::<Vec<_>>().join(", ")
}

/// Whether an update brings anything that a check looks at: images stand for all that may change.
fn is_significant(new: &Object, old: &Object) -> bool {
    let list = |pod: &Object, name: &str| pod["spec"][name].as_array().cloned().unwrap_or_default();
    let changed = |name: &str| {
        let (new, old) = (list(new, name), list(old, name));
        new.len() != old.len() || new.iter().zip(&old).any(|(n, o)| n["image"] != o["image"])
    };
    let known = list(old, "ephemeralContainers");
    let added = |c: &Value| known.iter().find(|o| o["name"] == c["name"]).is_none_or(|o| o["image"] != c["image"]);
    changed("containers") || changed("initContainers") || list(new, "ephemeralContainers").iter().any(added)
}

#[cfg(test)]
mod tests;
