// SPDX-License-Identifier: Apache-2.0
//! RuntimeClass: a pod gets the overhead and the nodes of its class.
//! <https://kubernetes.io/docs/concepts/containers/runtime-class/>

use std::sync::Arc;

use knarr_schema::rules::names::path_segment_name;
use knarr_types::tree::Value;
use knarr_types::{Object, Reason, Status, go_quoted};

use crate::amounts;
use crate::{Lookup, Request};

/// The class that a pod names.
fn class(request: &Request<'_>, pod: &Object, lookup: &dyn Lookup) -> Result<Option<Arc<Object>>, Status> {
    let name = pod["spec"]["runtimeClassName"].as_str().unwrap_or_default();
    if name.is_empty() {
        return Ok(None);
    }
    let faults = path_segment_name(name, false);
    if !faults.is_empty() {
        // Upstream cannot even ask for it.
        let message = format!("invalid resource name {}: [{}]", go_quoted(name), faults.join(" "));
        return Err(Status::new(500, Reason::Unknown, message));
    }
    let missing = || refused(request, &format!("pod rejected: RuntimeClass \"{name}\" not found"));
    lookup.get("node.k8s.io", "runtimeclasses", "", name).map(Some).ok_or_else(missing)
}

fn refused(request: &Request<'_>, why: &str) -> Status {
    request.refusal(why)
}

pub(crate) fn mutate(request: &Request<'_>, pod: &mut Object, lookup: &dyn Lookup) -> Result<(), Status> {
    let Some(class) = class(request, pod, lookup)? else { return Ok(()) };
    let overhead = &class["overhead"]["podFixed"];
    if !overhead.is_null() {
        let own = &pod["spec"]["overhead"];
        if own.as_object().is_some_and(|o| !o.is_empty()) && amounts::read(own) != amounts::read(overhead) {
            let why = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
            return Err(refused(request, why));
        }
        pod["spec"]["overhead"] = overhead.clone();
    }
    schedule(request, pod, &class["scheduling"])
}

/// Adds the nodes that the class runs on.
fn schedule(request: &Request<'_>, pod: &mut Object, scheduling: &Value) -> Result<(), Status> {
    for (key, value) in scheduling["nodeSelector"].as_object().into_iter().flatten() {
        let own = &pod["spec"]["nodeSelector"][key];
        if let Some(own) = own.as_str().filter(|own| value != own) {
            let value = value.as_str().unwrap_or_default();
            return Err(refused(
                request,
                &format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {own}"
                ),
            ));
        }
        pod["spec"]["nodeSelector"][key] = value.clone();
    }
    let mut tolerations = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
    for toleration in scheduling["tolerations"].as_array().into_iter().flatten() {
        if !tolerations.contains(toleration) {
            tolerations.push(toleration.clone());
        }
    }
    if !tolerations.is_empty() {
        pod["spec"]["tolerations"] = tolerations.into();
    }
    Ok(())
}

/// What a pod says of its overhead must be what its class says.
pub(crate) fn validate(request: &Request<'_>, pod: &Object, lookup: &dyn Lookup) -> Result<(), Status> {
    let class = class(request, pod, lookup)?.unwrap_or_default();
    let (own, fixed) = (amounts::read(&pod["spec"]["overhead"]), amounts::read(&class["overhead"]["podFixed"]));
    if fixed.is_empty() && !own.is_empty() {
        let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
        return Err(refused(request, why));
    }
    if own != fixed {
        return Err(refused(request, "pod rejected: RuntimeClass's Overhead doesn't match Pod's Overhead"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use knarr_auth::UserInfo;
    use knarr_types::tree::json;

    use super::*;
    use crate::Operation;
    use crate::table::{Table, kind, request};

    #[test]
    fn a_pod_gets_what_its_class_has() {
        let user = UserInfo::anonymous();
        let kind = kind("pods");
        let request = request(&kind, Operation::Create, "n", &user);
        let class = json!({
            "overhead": {"podFixed": {"cpu": "250m"}},
            "scheduling": {"nodeSelector": {"rt": "fast"}, "tolerations": [{"key": "rt"}]},
        });
        let table = Table(vec![("node.k8s.io/runtimeclasses//c", class)]);
        let run = |mut spec: Value| {
            spec["runtimeClassName"] = "c".into();
            let mut pod = json!({"spec": spec});
            mutate(&request, &mut pod, &table).and_then(|()| validate(&request, &pod, &table)).map(|()| pod)
        };
        let pod = run(json!({"nodeSelector": {"disk": "ssd"}})).unwrap();
        assert_eq!(pod["spec"]["overhead"]["cpu"], "250m");
        assert_eq!(pod["spec"]["nodeSelector"], json!({"disk": "ssd", "rt": "fast"}));
        assert_eq!(pod["spec"]["tolerations"], json!([{"key": "rt"}]));
        assert!(run(json!({"nodeSelector": {"rt": "slow"}})).unwrap_err().message.contains("conflict: runtimeClass"));
        assert!(run(json!({"overhead": {"cpu": "1m"}})).is_err());
    }
}
