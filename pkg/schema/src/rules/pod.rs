// SPDX-License-Identifier: Apache-2.0

//! Pods (`pkg/registry/core/pod/strategy.go`, ValidatePodUpdate and its kin).

use knarr_types::tree::{Value, json};
use knarr_types::{ErrorList, FieldPath, Object};

use super::Rules;
use super::addresses;
use super::amount::Amount;
use super::at::{At, same};
use super::containers;
use super::disabled;
use super::fill;
use super::go_diff;
use super::judged::Judged;
use super::judging::Judging;
use super::names;
use super::pod_annotations;
use super::pod_defaults;
use super::pod_resize;
use super::pod_spec;
use super::pod_status;
use super::pod_warnings;
use super::scheduling;

pub(super) static POD: Rules = Rules {
    default: pod_defaults::pod,
    prepare_create,
    prepare_update,
    validate,
    validate_update,
    early_warnings: pod_warnings::new_pod,
    warnings: pod_warnings::pod,
    status_warnings: |pod| {
        let pod = At::root(pod);
        let lists = ["status.podIPs", "status.hostIPs"].map(|list| pod.items(list));
        lists.iter().flatten().filter_map(|address| addresses::ip_warning(&address.get("ip"))).collect()
    },
    fields,
    has_generation: true,
    is_templated: true,
    judging: Judging::CHANGE_THEN_WHOLE,
    ..Rules::DEFAULT
};

/// Specs without faults.
static RIGHT: Judged = Judged::new();

const IMMUTABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
     `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
     tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

fn prepare_create(pod: &mut Object) {
    fill::generation(pod, 1);
    let said = pod["status"]["qosClass"].as_str().filter(|class| !class.is_empty()).map(str::to_owned);
    let qos_class = said.unwrap_or_else(|| qos_class(&At::root(pod)).to_owned());
    pod["status"] = json!({"phase": "Pending", "qosClass": qos_class});
    let gated = pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty());
    if gated {
        let now = pod["metadata"]["creationTimestamp"].clone();
        pod["status"]["conditions"] = json!([{
            "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
            "lastProbeTime": null, "lastTransitionTime": now,
        }]);
    }
    disabled::drop_from_pod_spec(fill::object(pod, "spec"));
    app_armor_from_annotations(pod);
    merge_label_keys(pod);
}

/// Profiles that are still given as annotations become fields where these are unset.
fn app_armor_from_annotations(pod: &mut Object) {
    let annotations = pod["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    if annotations.is_empty() || pod["spec"]["os"]["name"] == "windows" {
        return;
    }
    let of_pod = pod["spec"]["securityContext"]["appArmorProfile"].clone();
    for list in ["initContainers", "containers"] {
        for container in fill::each(&mut pod["spec"], list) {
            let key = format!("{}{}", pod_annotations::APP_ARMOR, container["name"].as_str().unwrap_or_default());
            let annotation = annotations.get(&key).and_then(Value::as_str);
            let profile = annotation.and_then(pod_annotations::app_armor_field).filter(|profile| *profile != of_pod);
            if let Some(profile) = profile {
                fill::unset(fill::object(container, "securityContext"), "appArmorProfile", profile);
            }
        }
    }
}

/// The pod's own values of the labels that affinity and spread constraints name become part of
/// their selectors.
fn merge_label_keys(pod: &mut Object) {
    let labels = pod["metadata"]["labels"].clone();
    let spec = &mut pod["spec"];
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(affinity) = fill::at(spec, &format!("affinity.{kind}")) else { continue };
        for term in fill::each(affinity, "requiredDuringSchedulingIgnoredDuringExecution") {
            merge_keys(term, &labels);
        }
        for term in fill::each(affinity, "preferredDuringSchedulingIgnoredDuringExecution") {
            if let Some(term) = fill::at(term, "podAffinityTerm") {
                merge_keys(term, &labels);
            }
        }
    }
    for constraint in fill::each(spec, "topologySpreadConstraints") {
        merge_keys(constraint, &labels);
    }
}

fn merge_keys(term: &mut Value, labels: &Value) {
    if !term["labelSelector"].is_object() {
        return;
    }
    let mut added = Vec::new();
    for (list, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        for key in super::at::strings(&term[list]) {
            if let Some(value) = labels.get(key) {
                added.push(json!({"key": key, "operator": operator, "values": [value]}));
            }
        }
    }
    if added.is_empty() {
        return;
    }
    let expressions = &mut term["labelSelector"]["matchExpressions"];
    match expressions.as_array_mut() {
        Some(list) => list.extend(added),
        None => *expressions = Value::Array(added),
    }
}

fn prepare_update(new: &mut Object, old: &Object, subresource: &str) {
    match subresource {
        "status" => {
            fill::keep(new, old, "spec");
            for field in ["ownerReferences", "deletionTimestamp", "generation"] {
                fill::keep(fill::object(new, "metadata"), &old["metadata"], field);
            }
            if new["status"]["qosClass"].is_null() {
                fill::keep(fill::object(new, "status"), &old["status"], "qosClass");
            }
            pod_status::keep_observed(new, old);
            disabled::drop_from_pod_status(fill::object(new, "status"));
        }
        "ephemeralcontainers" => {
            let sent = new["spec"].clone();
            only_owners_change(new, old);
            fill::keep(fill::object(new, "spec"), &sent, "ephemeralContainers");
            fill::bump_generation(new, old, &["spec"]);
        }
        "resize" => pod_resize::prepare(new, old),
        _ => {
            fill::keep(new, old, "status");
            disabled::drop_from_pod_spec(fill::object(new, "spec"));
            fill::bump_generation(new, old, &["spec"]);
        }
    }
}

/// A write through a subresource leaves the pod as it is, but for who owns its fields.
pub(super) fn only_owners_change(new: &mut Object, old: &Object) {
    let sent = std::mem::replace(new, old.clone());
    for field in ["resourceVersion", "managedFields"] {
        fill::keep(fill::object(new, "metadata"), &sent["metadata"], field);
    }
}

/// What a pod is worth when memory runs out, by its requests and limits.
pub(super) fn qos_class(pod: &At<'_>) -> &'static str {
    let spec = pod.get("spec");
    // Also where the pod as a whole has resources that say nothing.
    let holders: Vec<At<'_>> = if spec.has("resources") {
        vec![spec]
    } else {
        ["containers", "initContainers"].iter().flat_map(|list| spec.items(list)).collect()
    };
    let compute = |holder: &At<'_>, list: &str, name: &str| {
        Amount::parse(holder.get("resources").get(list).str(name)).filter(|amount| !amount.is_zero())
    };
    let mut any = false;
    let mut guaranteed = true;
    for holder in &holders {
        for name in ["cpu", "memory"] {
            let (request, limit) = (compute(holder, "requests", name), compute(holder, "limits", name));
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && (request.is_none() || request == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

fn validate(pod: &Object) -> ErrorList {
    let pod = At::root(pod);
    let mut errors = metadata_and_spec(&pod);
    let spec = pod.get("spec");
    if spec.len("ephemeralContainers") > 0 {
        errors.push(spec.get("ephemeralContainers").forbidden("cannot be set on create"));
    }
    if !spec.str("nodeName").is_empty() && spec.len("schedulingGates") > 0 {
        let message = "cannot be set until all schedulingGates have been cleared";
        errors.push(spec.get("nodeName").forbidden(message));
    }
    errors.extend(pod_annotations::profiles_that_differ(&pod.get("metadata.annotations"), &spec));
    errors
}

fn metadata_and_spec(pod: &At<'_>) -> ErrorList {
    let spec = pod.get("spec");
    let metadata = pod.get("metadata");
    let mut errors = pod_annotations::of_pod(&metadata.get("annotations"), &spec);
    if has_claims(&spec) || !RIGHT.is_right(spec.value, || of_spec(&spec, &metadata).is_empty()) {
        errors.extend(of_spec(&spec, &metadata));
    }
    errors
}

/// Names of claims hang on the pod that they are made for.
fn has_claims(spec: &At<'_>) -> bool {
    spec.has("resourceClaims") || spec.items("volumes").iter().any(|volume| volume.has("ephemeral"))
}

fn of_spec(spec: &At<'_>, metadata: &At<'_>) -> ErrorList {
    let mut errors = pod_spec::validate(spec, Some(metadata));
    if spec.str("serviceAccountName").is_empty() {
        for volume in spec.items("volumes") {
            for source in volume.items("projected.sources").iter().filter(|source| source.has("serviceAccountToken")) {
                let message = "must not be specified when serviceAccountName is not set";
                errors.push(source.get("serviceAccountToken").forbidden(message));
            }
        }
    }
    for list in ["containers", "initContainers"] {
        errors.extend(spec.items(list).iter().filter_map(containers::trimmed_image));
    }
    errors
}

fn validate_update(new: &Object, old: &Object, subresource: &str) -> ErrorList {
    let (pod, before) = (At::root(new), At::root(old));
    match subresource {
        "status" => pod_status::validate(&pod, &before),
        "ephemeralcontainers" => validate_ephemeral(&pod, &before),
        "resize" => {
            let mut errors = metadata_and_spec(&pod);
            pod_resize::validate(&pod, &before, &mut errors);
            errors
        }
        _ => validate_spec_update(&pod, &before),
    }
}

/// What is wrong with a change of annotations, which upstream judges as those of a new pod once more.
pub(super) fn annotations_change(pod: &At<'_>, before: &At<'_>) -> ErrorList {
    let annotations = pod.get("metadata.annotations");
    let mut errors = pod_annotations::changes(&annotations, &before.get("metadata.annotations"));
    errors.extend(pod_annotations::of_pod(&annotations, &pod.get("spec")));
    errors
}

fn validate_spec_update(pod: &At<'_>, before: &At<'_>) -> ErrorList {
    let mut errors = metadata_and_spec(pod);
    errors.extend(annotations_change(pod, before));
    let (spec, old_spec) = (pod.get("spec"), before.get("spec"));
    for list in ["containers", "initContainers"] {
        if spec.len(list) != old_spec.len(list) {
            errors.push(spec.get(list).forbidden("pod updates may not add or remove containers"));
            return errors;
        }
        for container in spec.items(list) {
            if container.str("image").is_empty() {
                errors.push(container.get("image").required(""));
            }
            errors.extend(containers::trimmed_image(&container));
        }
    }
    let (deadline, old_deadline) = (spec.get("activeDeadlineSeconds"), old_spec.opt_int("activeDeadlineSeconds"));
    match (deadline.value.as_i64(), old_deadline) {
        (Some(seconds), _) if !(0..=i64::from(i32::MAX)).contains(&seconds) => {
            errors.push(deadline.invalid(names::in_range(0, i64::from(i32::MAX))));
            return errors;
        }
        (Some(seconds), Some(before)) if before < seconds => {
            errors.push(deadline.invalid("must be less than or equal to previous value"));
            return errors;
        }
        (None, Some(_)) => errors.push(deadline.invalid("must not update from a positive integer to nil value")),
        _ => {}
    }
    errors.extend(only_added_tolerations(&spec, &old_spec));
    errors.extend(only_deleted_gates(&spec, &old_spec));
    errors.extend(immutable_rest(&spec, &old_spec));
    errors
}

fn only_added_tolerations(spec: &At<'_>, old_spec: &At<'_>) -> ErrorList {
    let without_seconds = |toleration: &At<'_>| {
        let mut toleration = toleration.value.clone();
        fill::remove(&mut toleration, "tolerationSeconds");
        toleration
    };
    let new: Vec<_> = spec.items("tolerations").iter().map(without_seconds).collect();
    let kept = old_spec.items("tolerations").iter().all(|old| new.iter().any(|new| same(new, &without_seconds(old))));
    if !kept {
        let message = "existing toleration can not be modified except its tolerationSeconds";
        return vec![spec.get("tolerations").forbidden(message)];
    }
    scheduling::tolerations(spec)
}

fn only_deleted_gates(spec: &At<'_>, old_spec: &At<'_>) -> ErrorList {
    let known: Vec<_> = old_spec.items("schedulingGates").iter().map(|gate| gate.str("name")).collect();
    spec.items("schedulingGates")
        .iter()
        .filter(|gate| !known.contains(&gate.str("name")))
        .map(|gate| {
            let message = format!("only deletion is allowed, but found new scheduling gate '{}'", gate.str("name"));
            gate.get("name").forbidden(message)
        })
        .collect()
}

fn immutable_rest(spec: &At<'_>, old_spec: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut munged = spec.value.clone();
    for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        fill::keep(&mut munged, old_spec.value, field);
    }
    for list in ["containers", "initContainers"] {
        for (container, old) in fill::each(&mut munged, list).zip(old_spec.items(list)) {
            fill::keep(container, old.value, "image");
        }
    }
    if old_spec.int("terminationGracePeriodSeconds") < 0 && munged["terminationGracePeriodSeconds"] == 1 {
        fill::keep(&mut munged, old_spec.value, "terminationGracePeriodSeconds");
    }
    if old_spec.len("schedulingGates") > 0 {
        errors.extend(gated_mutations(spec, old_spec));
        fill::keep(&mut munged, old_spec.value, "nodeSelector");
        if old_spec.has("affinity.nodeAffinity") || munged["affinity"].is_object() {
            fill::keep(fill::object(&mut munged, "affinity"), old_spec.raw("affinity"), "nodeAffinity");
        }
        if munged["affinity"] == json!({}) && !old_spec.has("affinity") {
            fill::remove(&mut munged, "affinity");
        }
    }
    if !same(&munged, old_spec.value) {
        let shown = go_diff::changes(old_spec.value, &munged, "io.k8s.api.core.v1.PodSpec");
        errors.push(spec.forbidden(format!("{IMMUTABLE}{shown}")));
    }
    errors
}

/// A pod that is not to be scheduled yet may still be given narrower places to run.
fn gated_mutations(spec: &At<'_>, old_spec: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let selector = spec.get("nodeSelector");
    let narrowed =
        old_spec.entries("nodeSelector").iter().all(|(key, old)| selector.value.get(*key) == Some(old.value));
    if !narrowed {
        let message = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.push(selector.invalid(message));
    }
    let required = "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
    let (terms, old_terms) = (spec.items(required), old_spec.items(required));
    if old_terms.is_empty() {
        return errors;
    }
    if terms.len() != old_terms.len() {
        let shown: Vec<_> = terms.iter().map(|term| shown_term(term).to_string()).collect();
        let shown = if shown.is_empty() { "null".to_owned() } else { format!("[{}]", shown.join(",")) };
        errors.push(spec.get(required).invalid_as(
            knarr_types::Shown::Printed(shown),
            "no additions/deletions to non-empty NodeSelectorTerms list are allowed",
        ));
        return errors;
    }
    for (term, old) in terms.iter().zip(&old_terms) {
        let starts_with = |list: &str| {
            let (new, old) = (term.items(list), old.items(list));
            new.len() >= old.len() && old.iter().zip(&new).all(|(old, new)| same(old.value, new.value))
        };
        let lists = ["matchExpressions", "matchFields"];
        // What matched nothing still does.
        let woken = lists.iter().all(|list| old.len(list) == 0) && lists.iter().any(|list| term.len(list) > 0);
        if woken || !lists.iter().all(|list| starts_with(list)) {
            let shown = shown_term(term);
            errors.push(term.invalid_as(shown, "only additions are allowed (no mutations or deletions)"));
        }
    }
    errors
}

fn shown_term(term: &At<'_>) -> knarr_types::Shown {
    let requirement = |requirement: At<'_>| {
        let fields = [("Key", "key$"), ("Operator", "operator$"), ("Values", "values")];
        super::go_print::structure(requirement.value, &fields).to_string()
    };
    let list = |name: &str| {
        let shown: Vec<_> = term.items(name).into_iter().map(requirement).collect();
        if shown.is_empty() { "null".to_owned() } else { format!("[{}]", shown.join(",")) }
    };
    let (expressions, fields) = (list("matchExpressions"), list("matchFields"));
    knarr_types::Shown::Printed(format!("{{\"MatchExpressions\":{expressions},\"MatchFields\":{fields}}}"))
}

fn validate_ephemeral(pod: &At<'_>, before: &At<'_>) -> ErrorList {
    if pod_spec::is_mirror(&before.get("metadata")) {
        let why = "static pods do not support ephemeral containers";
        return vec![knarr_types::FieldError::forbidden(&FieldPath::new("[]"), why)];
    }
    let mut errors = metadata_and_spec(pod);
    errors.extend(annotations_change(pod, before));
    let list = FieldPath::new("spec.ephemeralContainers");
    let new = pod.items("spec.ephemeralContainers");
    for old in before.items("spec.ephemeralContainers") {
        let name = old.str("name");
        match new.iter().find(|container| container.str("name") == name) {
            None => errors.push(knarr_types::FieldError::forbidden(
                &list,
                format!("existing ephemeral containers {name:?} may not be removed\n"),
            )),
            Some(container) if !same(container.value, old.value) => errors.push(knarr_types::FieldError::forbidden(
                &list,
                format!(
                    "existing ephemeral containers {name:?} may not be changed{}",
                    go_diff::changes(old.value, container.value, "io.k8s.api.core.v1.EphemeralContainer")
                ),
            )),
            Some(_) => {}
        }
    }
    errors
}

fn fields(pod: &Object) -> Vec<(&'static str, String)> {
    let pod = At::root(pod);
    let text = |field: &str| pod.str(field).to_owned();
    let addresses =
        || -> Vec<String> { pod.items("status.podIPs").iter().map(|address| address.str("ip").to_owned()).collect() };
    let first = |list: Vec<String>| list.into_iter().next().unwrap_or_default();
    vec![
        ("spec.nodeName", text("spec.nodeName")),
        ("spec.restartPolicy", text("spec.restartPolicy")),
        ("spec.schedulerName", text("spec.schedulerName")),
        ("spec.serviceAccountName", text("spec.serviceAccountName")),
        ("spec.hostNetwork", pod.flag("spec.hostNetwork").to_string()),
        ("status.phase", text("status.phase")),
        ("status.podIP", first(addresses())),
        ("status.podIPs", first(addresses())),
        ("status.nominatedNodeName", text("status.nominatedNodeName")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_of_a_pod_follows_from_requests_and_limits() {
        for (resources, want) in [
            (json!({}), "BestEffort"),
            (json!({"requests": {"cpu": "1"}}), "Burstable"),
            (
                json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1024Mi"}}),
                "Guaranteed",
            ),
        ] {
            let pod = json!({"spec": {"containers": [{"resources": resources}]}});
            assert_eq!(qos_class(&At::root(&pod)), want);
        }
        let limits = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
        for (whole, containers, want) in [(limits.clone(), json!({}), "Guaranteed"), (json!({}), limits, "BestEffort")]
        {
            let pod = json!({"spec": {"resources": whole, "containers": [{"resources": containers}]}});
            assert_eq!(qos_class(&At::root(&pod)), want);
        }
    }

    #[test]
    fn an_update_may_change_the_image_and_nothing_else() {
        let mut old = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "a:1"}]}});
        pod_defaults::pod(&mut old);
        let mut new = old.clone();
        new["spec"]["containers"][0]["image"] = json!("a:2");
        assert_eq!(validate_update(&new, &old, ""), []);
        new["spec"]["containers"][0]["command"] = json!(["x"]);
        let errors = validate_update(&new, &old, "");
        assert!(errors[0].detail.starts_with("pod updates may not change fields other than"), "{errors:?}");
    }
}
