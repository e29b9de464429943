// SPDX-License-Identifier: Apache-2.0

//! Containers, init containers and ephemeral containers of a pod.

use knarr_types::{ErrorList, FieldError, FieldPath};

use super::at::At;
use super::container_restarts;
use super::environment;
use super::names;
use super::probes;
use super::resources;
use super::security::{self, one_of};
use super::volume_mounts;

const NOT_FOR_INIT: &str = "may not be set for init containers without restartPolicy=Always";
const NOT_FOR_EPHEMERAL: &str = "cannot be set for an Ephemeral Container";

/// What containers are judged against: the pod around them.
pub struct PodContext<'a> {
    /// Volumes that are valid, by name.
    pub volumes: Vec<At<'a>>,
    /// Names of the pod's resource claims.
    pub claims: Vec<&'a str>,
    /// How long a container may take to end.
    pub grace_seconds: Option<i64>,
    /// The pod shares the host's users.
    pub host_users: bool,
    /// The pod's restart policy.
    pub restart_policy: &'a str,
}

/// What is wrong with the regular containers.
pub fn regular(spec: &At<'_>, pod: &PodContext<'_>) -> ErrorList {
    let containers = spec.items("containers");
    if containers.is_empty() {
        return vec![spec.get("containers").required("")];
    }
    let mut errors = ErrorList::new();
    let mut seen = Vec::new();
    for container in &containers {
        errors.extend(common(container, pod));
        let name = container.str("name");
        if seen.contains(&name) {
            errors.push(container.get("name").duplicate());
        }
        seen.push(name);
        if container.has("lifecycle") {
            errors.extend(probes::lifecycle(&container.get("lifecycle"), pod.grace_seconds));
        }
        errors.extend(probes::all(container, pod.grace_seconds));
        errors.extend(container_restarts::policy(container));
    }
    errors.extend(host_port_conflicts(&containers, |index| spec.get("containers").path.index(index)));
    errors
}

/// What is wrong with the init containers.
pub fn init(spec: &At<'_>, pod: &PodContext<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut seen: Vec<_> = spec.items("containers").iter().map(|container| container.str("name")).collect();
    for container in spec.items("initContainers") {
        errors.extend(common(&container, pod));
        errors.extend(container_restarts::policy_of_init(&container));
        let name = container.str("name");
        if seen.contains(&name) {
            errors.push(container.get("name").duplicate());
        } else if !name.is_empty() {
            seen.push(name);
        }
        // They run one by one; upstream names the first of them, whichever it is.
        let first = spec.get("initContainers").path.index(0);
        errors.extend(host_port_conflicts(std::slice::from_ref(&container), |_| first.clone()));
        if container.str("restartPolicy") == "Always" {
            if container.has("lifecycle") {
                errors.extend(probes::lifecycle(&container.get("lifecycle"), pod.grace_seconds));
            }
            errors.extend(probes::all(&container, pod.grace_seconds));
            continue;
        }
        for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if container.has(field) {
                errors.push(container.get(field).forbidden(NOT_FOR_INIT));
            }
        }
        for policy in container.items("resizePolicy") {
            let restart = policy.get("restartPolicy");
            if restart.text() == "RestartContainer" {
                let message = "must not be set to 'RestartContainer' for non-sidecar initContainers";
                errors.push(restart.invalid(message));
            }
        }
    }
    errors
}

/// What is wrong with the ephemeral containers.
pub fn ephemeral(spec: &At<'_>, pod: &PodContext<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let others: Vec<_> = ["containers", "initContainers"]
        .iter()
        .flat_map(|list| spec.items(list))
        .map(|container| container.str("name"))
        .collect();
    let mut seen = others.clone();
    for container in spec.items("ephemeralContainers") {
        errors.extend(common(&container, pod));
        errors.extend(trimmed_image(&container));
        let name = container.str("name");
        if seen.contains(&name) {
            errors.push(container.get("name").duplicate());
        }
        seen.push(name);
        let target = container.get("targetContainerName");
        if !target.text().is_empty() && !others.contains(&target.text()) {
            errors.push(target.not_found());
        }
        for field in [
            "ports",
            "resources",
            "resizePolicy",
            "restartPolicy",
            "restartPolicyRules",
            "livenessProbe",
            "readinessProbe",
            "startupProbe",
            "lifecycle",
        ] {
            let probe = field.ends_with("Probe") || field == "lifecycle";
            let set = if probe { container.has(field) } else { container.len(field) > 0 };
            if set || container.raw(field).is_string() {
                errors.push(container.get(field).forbidden(NOT_FOR_EPHEMERAL));
            }
        }
        for mount in container.items("volumeMounts") {
            for field in ["subPath", "subPathExpr"] {
                if !mount.str(field).is_empty() {
                    errors.push(mount.get(field).forbidden(NOT_FOR_EPHEMERAL));
                }
            }
        }
    }
    errors
}

/// Pods, but not templates, want images without blanks around them.
pub fn trimmed_image(container: &At<'_>) -> Option<FieldError> {
    let image = container.get("image");
    (image.text().trim() != image.text()).then(|| image.invalid("must not have leading or trailing whitespace"))
}

/// All containers of a pod, of every kind.
pub fn all<'a>(spec: &At<'a>) -> Vec<At<'a>> {
    ["initContainers", "containers", "ephemeralContainers"].iter().flat_map(|list| spec.items(list)).collect()
}

fn common(container: &At<'_>, pod: &PodContext<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let name = container.get("name");
    if name.text().is_empty() {
        errors.push(name.required(""));
    } else {
        errors.extend(name.faults(names::dns1123_label(name.text())));
    }
    if container.str("image").is_empty() {
        errors.push(container.get("image").required(""));
    }
    errors.extend(required_one_of(&container.get("terminationMessagePolicy"), &["File", "FallbackToLogsOnError"]));
    errors.extend(ports(container));
    errors.extend(environment::variables(container));
    errors.extend(environment::sources(container));
    errors.extend(volume_mounts::mounts(container, &pod.volumes));
    errors.extend(volume_mounts::devices(container, &pod.volumes));
    errors.extend(required_one_of(&container.get("imagePullPolicy"), &["Always", "IfNotPresent", "Never"]));
    errors.extend(resources::container(&container.get("resources"), &pod.claims));
    errors.extend(resize_policy(container, pod));
    errors.extend(security::container(&container.get("securityContext"), pod.host_users));
    errors
}

/// It must be there and one of these.
pub fn required_one_of(value: &At<'_>, valid: &[&str]) -> Option<FieldError> {
    if value.text().is_empty() { Some(value.required("")) } else { one_of(value, valid) }
}

fn resize_policy(container: &At<'_>, pod: &PodContext<'_>) -> ErrorList {
    let list = container.get("resizePolicy");
    let mut errors = ErrorList::new();
    let mut seen = Vec::new();
    for policy in container.items("resizePolicy") {
        let (resource, restart) = (policy.str("resourceName"), policy.str("restartPolicy"));
        if seen.contains(&resource) {
            errors.push(FieldError::duplicate(&policy.path, resource));
        }
        seen.push(resource);
        let valid: [(&str, &[&str]); 2] =
            [(resource, &["cpu", "memory"]), (restart, &["NotRequired", "RestartContainer"])];
        for (value, valid) in valid {
            if value.is_empty() {
                errors.push(list.required(""));
            } else if !valid.contains(&value) {
                errors.push(FieldError::not_supported(&list.path, value, valid));
            }
        }
        if pod.restart_policy == "Never" && restart != "NotRequired" {
            errors.push(list.invalid_as(restart, "must be 'NotRequired' when pod `restartPolicy` is 'Never'"));
        }
    }
    errors
}

fn ports(container: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut seen = Vec::new();
    for port in container.items("ports") {
        let name = port.get("name");
        if !name.text().is_empty() {
            let faults = names::port_name(name.text());
            if !faults.is_empty() {
                errors.extend(name.faults(faults));
            } else if seen.contains(&name.text()) {
                errors.push(name.duplicate());
            } else {
                seen.push(name.text());
            }
        }
        let number = port.get("containerPort");
        if port.int("containerPort") == 0 {
            errors.push(number.required(""));
        } else {
            errors.extend(number.faults(names::port_number(port.int("containerPort"))));
        }
        let host_port = port.get("hostPort");
        if port.int("hostPort") != 0 {
            errors.extend(host_port.faults(names::port_number(port.int("hostPort"))));
        }
        errors.extend(required_one_of(&port.get("protocol"), &["SCTP", "TCP", "UDP"]));
    }
    errors
}

fn host_port_conflicts(containers: &[At<'_>], path: impl Fn(usize) -> FieldPath) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut seen = Vec::new();
    for (index, container) in containers.iter().enumerate() {
        for port in container.named(path(index)).items("ports") {
            if port.int("hostPort") == 0 {
                continue;
            }
            let key = format!("{}/{}/{}", port.str("protocol"), port.str("hostIP"), port.int("hostPort"));
            if seen.contains(&key) {
                errors.push(FieldError::duplicate(&port.get("hostPort").path, key));
            } else {
                seen.push(key);
            }
        }
    }
    errors
}
