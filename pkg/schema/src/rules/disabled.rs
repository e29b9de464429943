// SPDX-License-Identifier: Apache-2.0

//! Fields behind switches that Kubernetes 1.36 has off: they are dropped before anyone stores them
//! (`pkg/api/pod/util.go`, dropDisabledFields, with the defaults of `pkg/features/kube_features.go`).

use knarr_types::tree::Value;

use super::fill::{at, each, remove};

/// Takes them out of the spec of a pod or of a template.
pub fn drop_from_pod_spec(spec: &mut Value) {
    if spec.is_as_stored() {
        return; // They were dropped before.
    }
    remove(spec, "schedulingGroup");
    for volume in each(spec, "volumes") {
        for source in at(volume, "projected").into_iter().flat_map(|projected| each(projected, "sources")) {
            remove(source, "clusterTrustBundle");
            remove(source, "podCertificate");
        }
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        each(spec, list).for_each(drop_stop_signal);
    }
}

/// Takes them out of the status of a pod.
pub fn drop_from_pod_status(status: &mut Value) {
    remove(status, "nodeAllocatableResourceClaimStatuses");
    for list in ["initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"] {
        for container in each(status, list) {
            each(container, "volumeMounts").for_each(|mount| remove(mount, "volumeStatus"));
        }
    }
}

/// Takes them out of the template of a workload.
pub fn drop_from_template(workload: &mut Value) {
    if let Some(spec) = at(workload, "spec.template.spec") {
        drop_from_pod_spec(spec);
    }
}

fn drop_stop_signal(container: &mut Value) {
    let Some(lifecycle) = at(container, "lifecycle").filter(|lifecycle| !lifecycle["stopSignal"].is_null()) else {
        return;
    };
    remove(lifecycle, "stopSignal");
    if lifecycle.as_object().is_none_or(|hooks| hooks.values().all(Value::is_null)) {
        remove(container, "lifecycle");
    }
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn what_is_switched_off_is_gone_and_the_rest_stays() {
        let mut spec = json!({"schedulingGroup": {"podGroupName": "g"}, "containers": [
            {"name": "a", "lifecycle": {"stopSignal": "SIGINT"}},
            {"name": "b", "lifecycle": {"stopSignal": "SIGINT", "preStop": {"exec": {"command": ["x"]}}}}],
            "volumes": [{"name": "v", "projected": {"sources": [{"clusterTrustBundle": {"path": "p"}}]}}]});
        drop_from_pod_spec(&mut spec);
        let mut status = json!({"nodeAllocatableResourceClaimStatuses": [{}], "containerStatuses": [
            {"name": "a", "volumeMounts": [{"name": "v", "volumeStatus": {"image": {}}}]}]});
        drop_from_pod_status(&mut status);
        assert_eq!(status, json!({"containerStatuses": [{"name": "a", "volumeMounts": [{"name": "v"}]}]}));
        assert_eq!(
            spec,
            json!({"containers": [
                {"name": "a"}, {"name": "b", "lifecycle": {"preStop": {"exec": {"command": ["x"]}}}}],
                "volumes": [{"name": "v", "projected": {"sources": [{}]}}]})
        );
    }
}
