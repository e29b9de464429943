// SPDX-License-Identifier: Apache-2.0

//! The spec of a pod, which all workloads share in their templates
//! (`pkg/apis/core/validation/validation.go`, ValidatePodSpec).

use knarr_types::{ErrorList, FieldError, FieldPath};

use super::addresses;
use super::at::At;
use super::containers::{self, PodContext, required_one_of};
use super::environment;
use super::go_print;
use super::metadata;
use super::names;
use super::pod_annotations::{MIRROR, of_pod as annotations_of_pod, profiles_that_differ};
use super::resources;
use super::scheduling;
use super::security;
use super::volumes;

/// What is wrong with a pod template.
pub fn template(template: &At<'_>) -> ErrorList {
    let mut errors = metadata::labels(&template.get("metadata.labels").named(template.path.child("labels")));
    let annotations = template.get("metadata.annotations").named(template.path.child("annotations"));
    errors.extend(metadata::annotations(&annotations));
    errors.extend(annotations_of_pod(&annotations, &template.get("spec")));
    errors.extend(validate(&template.get("spec"), None));
    errors.extend(profiles_that_differ(&annotations, &template.get("spec")));
    let ephemeral = template.get("spec.ephemeralContainers");
    if template.len("spec.ephemeralContainers") > 0 {
        errors.push(ephemeral.forbidden("ephemeral containers not allowed in pod template"));
    }
    errors
}

/// What is wrong with the spec of the pod with this metadata, or of a template.
pub fn validate(spec: &At<'_>, pod: Option<&At<'_>>) -> ErrorList {
    let mut errors = ErrorList::new();
    let (valid_volumes, volume_errors) = volumes::of_pod(spec, pod.map(|metadata| metadata.str("name")));
    errors.extend(volume_errors);
    errors.extend(resource_claims(spec, pod.is_some_and(is_mirror)));
    let of_pod = pod.is_some();
    let pod = PodContext {
        volumes: valid_volumes,
        claims: spec.items("resourceClaims").iter().map(|claim| claim.str("name")).collect(),
        grace_seconds: spec.opt_int("terminationGracePeriodSeconds"),
        host_users: spec.raw("hostUsers") != false,
        restart_policy: spec.str("restartPolicy"),
    };
    errors.extend(containers::regular(spec, &pod));
    errors.extend(containers::init(spec, &pod));
    errors.extend(containers::ephemeral(spec, &pod));
    errors.extend(resources::pod(spec));
    errors.extend(host_network_ports(spec, of_pod));
    errors.extend(required_one_of(&spec.get("restartPolicy"), &["Always", "OnFailure", "Never"]));
    errors.extend(required_one_of(
        &spec.get("dnsPolicy"),
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
    ));
    errors.extend(metadata::labels(&spec.get("nodeSelector")));
    errors.extend(security::pod(spec));
    errors.extend(scheduling::affinity(&spec.get("affinity")));
    errors.extend(dns_config(spec));
    errors.extend(gates(spec));
    errors.extend(scheduling::topology_spread(spec));
    errors.extend(windows_host_process(spec));
    errors.extend(host_users(spec));
    errors.extend(hostname_override(spec));
    errors.extend(identity(spec));
    errors.extend(scheduling::tolerations(spec));
    errors.extend(host_aliases(spec));
    errors.extend(classes(spec));
    errors.extend(operating_system(spec));
    errors.extend(environment::file_volumes(spec));
    errors
}

/// The pod mirrors one that a node has of its own.
pub fn is_mirror(metadata: &At<'_>) -> bool {
    metadata.get("annotations").value.get(MIRROR).is_some()
}

fn resource_claims(spec: &At<'_>, of_mirror: bool) -> ErrorList {
    const FIELDS: &[(&str, &str)] = &[
        ("Name", "name$"),
        ("ResourceClaimName", "resourceClaimName"),
        ("ResourceClaimTemplateName", "resourceClaimTemplateName"),
    ];
    let mut errors = ErrorList::new();
    let mut seen = Vec::new();
    for claim in spec.items("resourceClaims") {
        if of_mirror {
            errors.push(FieldError::forbidden(&FieldPath::new("[]"), "static pods do not support resource claims"));
            continue;
        }
        let name = claim.get("name");
        if name.text().is_empty() {
            errors.push(name.required(""));
        } else if seen.contains(&name.text()) {
            errors.push(name.duplicate());
        } else {
            errors.extend(name.faults(names::dns1123_label(name.text())));
            seen.push(name.text());
        }
        let shown = || go_print::structure(claim.value, FIELDS);
        match (claim.has("resourceClaimName"), claim.has("resourceClaimTemplateName")) {
            (true, true) => errors.push(claim.invalid_as(
                shown(),
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
            )),
            (false, false) => errors.push(
                claim.invalid_as(shown(), "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"),
            ),
            _ => {}
        }
        for field in ["resourceClaimName", "resourceClaimTemplateName"] {
            if claim.has(field) {
                errors.extend(claim.get(field).faults(names::dns1123_subdomain(claim.str(field))));
            }
        }
    }
    errors
}

fn host_network_ports(spec: &At<'_>, of_pod: bool) -> ErrorList {
    if !spec.flag("hostNetwork") {
        return ErrorList::new();
    }
    spec.items("containers")
        .iter()
        .flat_map(|container| container.items("ports"))
        .filter(|port| {
            let (host, container) = (port.int("hostPort"), port.int("containerPort"));
            (of_pod || host != 0) && host != container
        })
        .map(|port| {
            let message = "must match `containerPort` when `hostNetwork` is true";
            port.get("hostPort").invalid_as(port.int("hostPort"), message)
        })
        .collect()
}

fn dns_config(spec: &At<'_>) -> ErrorList {
    let config = spec.get("dnsConfig");
    if spec.str("dnsPolicy") == "None" {
        if !config.is_set() {
            return vec![config.required("must provide `dnsConfig` when `dnsPolicy` is None")];
        }
        if config.len("nameservers") == 0 {
            let message = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            return vec![config.get("nameservers").required(message)];
        }
    }
    let mut errors = ErrorList::new();
    if config.len("nameservers") > 3 {
        errors.push(config.get("nameservers").invalid("must not have more than 3 nameservers"));
    }
    errors.extend(config.items("nameservers").iter().flat_map(addresses::ip));
    let searches = config.get("searches");
    if config.len("searches") > 32 {
        errors.push(searches.invalid("must not have more than 32 search paths"));
    }
    if config.strings("searches").join(" ").len() > 2048 {
        errors.push(searches.invalid("must not have more than 2048 characters (including spaces) in the search list"));
    }
    for search in config.items("searches").iter().filter(|search| search.text() != ".") {
        let name = search.text().strip_suffix('.').unwrap_or(search.text());
        let faults = names::dns1123_subdomain_with_underscore(name);
        errors.extend(faults.into_iter().map(|fault| search.invalid_as(name, fault)));
    }
    for option in config.items("options").iter().filter(|option| option.str("name").is_empty()) {
        errors.push(option.required("must not be empty"));
    }
    errors
}

fn gates(spec: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for gate in spec.items("readinessGates") {
        let condition = gate.get("conditionType");
        errors.extend(condition.faults(names::qualified_name(condition.text())));
    }
    let mut seen = Vec::new();
    for gate in spec.items("schedulingGates") {
        let name = gate.get("name").named(gate.path.clone());
        errors.extend(name.faults(names::qualified_name(name.text())));
        if seen.contains(&name.text()) {
            errors.push(name.duplicate());
        }
        seen.push(name.text());
    }
    errors
}

fn windows_host_process(spec: &At<'_>) -> ErrorList {
    let of_pod = spec.raw("securityContext.windowsOptions.hostProcess").as_bool();
    let mut errors = ErrorList::new();
    let mut flags = Vec::new();
    for container in containers::all(spec) {
        let own = container.get("securityContext.windowsOptions.hostProcess");
        if let (Some(own_flag), Some(flag)) = (own.value.as_bool(), of_pod)
            && own_flag != flag
        {
            let message = format!("pod hostProcess value must be identical if both are specified, was {flag}");
            errors.push(own.invalid(message));
        }
        flags.push(own.value.as_bool().or(of_pod).unwrap_or(false));
    }
    if !flags.contains(&true) {
        return errors;
    }
    if flags.contains(&false) {
        let message = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.push(spec.invalid_as("", message));
    }
    if !spec.flag("hostNetwork") {
        let message = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.push(spec.get("hostNetwork").invalid_as(false, message));
    }
    errors
}

fn host_users(spec: &At<'_>) -> ErrorList {
    if spec.raw("hostUsers") != false {
        return ErrorList::new();
    }
    let shared = [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")];
    let shared = shared.iter().filter(|(field, _)| spec.flag(field)).map(|(_, shown)| spec.get(shown));
    // Block devices cannot be given other owners.
    let all = containers::all(spec);
    let devices = all
        .iter()
        .map(|container| container.get("volumeDevices"))
        .filter(|list| list.value.as_array().is_some_and(|list| !list.is_empty()));
    shared.chain(devices).map(|at| at.forbidden("when `hostUsers` is false")).collect()
}

fn hostname_override(spec: &At<'_>) -> ErrorList {
    let name = spec.get("hostnameOverride");
    let mut errors = ErrorList::new();
    if !name.is_set() {
        return errors;
    }
    for field in ["setHostnameAsFQDN", "hostNetwork"] {
        if spec.flag(field) {
            errors.push(name.forbidden(format!("may not be specified when {field} is true")));
        }
    }
    if name.text().len() > 64 {
        errors.push(FieldError::too_long(&name.path, 64));
    }
    errors.extend(name.faults(names::dns1123_subdomain(name.text())));
    errors
}

fn identity(spec: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for field in ["serviceAccountName", "nodeName"] {
        if !spec.str(field).is_empty() {
            errors.extend(spec.get(field).faults(names::dns1123_subdomain(spec.str(field))));
        }
    }
    let deadline = spec.get("activeDeadlineSeconds");
    if deadline.value.as_i64().is_some_and(|seconds| !(1..=i64::from(i32::MAX)).contains(&seconds)) {
        errors.push(deadline.invalid(names::in_range(1, i64::from(i32::MAX))));
    }
    for field in ["hostname", "subdomain"] {
        if !spec.str(field).is_empty() {
            errors.extend(spec.get(field).faults(names::dns1123_label(spec.str(field))));
        }
    }
    errors
}

fn host_aliases(spec: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for alias in spec.items("hostAliases") {
        errors.extend(addresses::ip(&alias.get("ip")));
        for host in alias.items("hostnames") {
            errors.extend(host.faults(names::dns1123_subdomain(host.text())));
        }
    }
    errors
}

fn classes(spec: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let priority_class = spec.get("priorityClassName");
    if !priority_class.text().is_empty() {
        errors.extend(priority_class.faults(names::dns1123_subdomain(priority_class.text())));
    }
    let runtime_class = spec.get("runtimeClassName");
    if runtime_class.is_set() {
        errors.extend(runtime_class.faults(names::dns1123_subdomain(runtime_class.text())));
    }
    if spec.has("preemptionPolicy") {
        errors.extend(required_one_of(&spec.get("preemptionPolicy"), &["PreemptLowerPriority", "Never"]));
    }
    errors.extend(resources::overhead(&spec.get("overhead")));
    errors
}

fn operating_system(spec: &At<'_>) -> ErrorList {
    let os = spec.get("os");
    if !os.is_set() {
        return ErrorList::new();
    }
    let all = containers::all(spec);
    match os.str("name") {
        "" => vec![os.get("name").required("")],
        "linux" => security::linux_pod(spec, &all),
        "windows" => security::windows_pod(spec, &all),
        other => vec![FieldError::not_supported(&os.path, other, &["linux", "windows"])],
    }
}
