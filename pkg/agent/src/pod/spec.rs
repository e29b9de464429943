// SPDX-License-Identifier: Apache-2.0
//! A pod's specification seen by its lifecycle: which containers, in which role, restarted when.

use std::borrow::Cow;

use k8s_openapi::api::core::v1::{
    Container, ContainerRestartRule, ContainerRestartRuleOnExitCodes, EphemeralContainer, Pod, PodSpec,
};

/// What a container is for the pod's order of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// Starts in the init containers' order and stays beside the others.
    Sidecar,
    /// One of `spec.containers`.
    App,
    /// Added to a running pod for somebody who looks into it; it runs once.
    Ephemeral,
}

/// What a rule about exit codes asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Start the container again.
    Restart,
    /// Start all containers of the pod again.
    RestartAll,
}

impl Rule {
    /// What this one asks for.
    #[must_use]
    pub fn of(rule: &ContainerRestartRule) -> Self {
        if rule.action == "RestartAllContainers" { Self::RestartAll } else { Self::Restart }
    }
}

/// What the first of a container's rules that is about this exit code asks for.
#[must_use]
pub fn matching_rule(container: &Container, code: i32) -> Option<Rule> {
    let matches = |rule: &&ContainerRestartRule| rule.exit_codes.as_ref().is_some_and(|codes| is_about(codes, code));
    container.restart_policy_rules.iter().flatten().find(matches).map(Rule::of)
}

/// Whether a container that ended with `code` starts again: where one of its rules is about that code, else by its own
/// policy or the pod's.
/// <https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#individual-container-restarts>
#[must_use]
pub fn starts_again(pod: &Pod, role: Role, container: &Container, code: i32) -> bool {
    matching_rule(container, code).is_some()
        || match restart_policy(pod, role, container) {
            "Never" => false,
            "OnFailure" => code != 0,
            _ => true,
        }
}

fn is_about(codes: &ContainerRestartRuleOnExitCodes, code: i32) -> bool {
    let named = codes.values.iter().flatten().any(|value| *value == code);
    named == (codes.operator == "In")
}

fn restart_policy<'a>(pod: &'a Pod, role: Role, container: &'a Container) -> &'a str {
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always");
    match (role, container.restart_policy.as_deref(), of_pod) {
        (Role::Sidecar, ..) => "Always",
        (Role::Ephemeral, ..) => "Never",
        (_, Some(own), _) => own,
        (Role::Init, None, "Always") => "OnFailure",
        (_, None, of_pod) => of_pod,
    }
}

/// The pod's containers in the order of their start: init containers and sidecars, then the rest.
pub fn containers(pod: &Pod) -> impl Iterator<Item = (Role, &Container)> {
    let init = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let app = pod.spec.iter().flat_map(|spec| &spec.containers);
    init.map(|container| (role_of_init(container), container)).chain(app.map(|container| (Role::App, container)))
}

/// The ephemeral containers, in the form of the others.
pub fn ephemeral_containers(pod: &Pod) -> impl Iterator<Item = Container> {
    pod.spec.iter().flat_map(|spec| spec.ephemeral_containers.iter().flatten()).map(as_container)
}

/// The containers of all roles, ephemeral ones last.
pub fn all_containers(pod: &Pod) -> impl Iterator<Item = (Role, Cow<'_, Container>)> {
    let lasting = containers(pod).map(|(role, container)| (role, Cow::Borrowed(container)));
    lasting.chain(ephemeral_containers(pod).map(|container| (Role::Ephemeral, Cow::Owned(container))))
}

/// The container of that name, of any role.
#[must_use]
pub fn any_container<'a>(pod: &'a Pod, name: &str) -> Option<(Role, Cow<'a, Container>)> {
    all_containers(pod).find(|(_, container)| container.name == name)
}

/// The container of that name that is not ephemeral.
#[must_use]
pub fn find_container<'a>(pod: &'a Pod, name: &str) -> Option<(Role, &'a Container)> {
    containers(pod).find(|(_, container)| container.name == name)
}

/// Seconds that the pod gets to stop: from its deletion, else from its specification.
#[must_use]
pub fn grace_period(pod: &Pod) -> i64 {
    let own = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(30);
    pod.metadata.deletion_grace_period_seconds.unwrap_or(own).max(0)
}

/// Whether the API already says that the pod has ended.
#[must_use]
pub fn is_static_terminal(pod: &Pod) -> bool {
    matches!(pod.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"))
}

/// The quality of service class: Guaranteed, Burstable or BestEffort.
#[must_use]
pub fn qos_class(spec: &PodSpec) -> &'static str {
    let all = || spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let value = |container: &Container, limits: bool, name: &str| {
        let resources = container.resources.as_ref()?;
        let map = if limits { resources.limits.as_ref() } else { resources.requests.as_ref() }?;
        map.get(name).map(|quantity| quantity.0.clone()).filter(|text| text != "0")
    };
    let names = ["cpu", "memory"];
    if all().all(|c| names.iter().all(|n| value(c, true, n).is_none() && value(c, false, n).is_none())) {
        return "BestEffort";
    }
    let same = |container: &Container, name: &str| {
        let limit = value(container, true, name);
        let request = value(container, false, name);
        limit.is_some() && (request.is_none() || request == limit)
    };
    if all().all(|container| names.iter().all(|name| same(container, name))) { "Guaranteed" } else { "Burstable" }
}

fn role_of_init(container: &Container) -> Role {
    if container.restart_policy.as_deref() == Some("Always") { Role::Sidecar } else { Role::Init }
}

fn as_container(from: &EphemeralContainer) -> Container {
    let from = from.clone();
    Container {
        args: from.args,
        command: from.command,
        env: from.env,
        env_from: from.env_from,
        image: from.image,
        image_pull_policy: from.image_pull_policy,
        name: from.name,
        security_context: from.security_context,
        stdin: from.stdin,
        stdin_once: from.stdin_once,
        termination_message_path: from.termination_message_path,
        termination_message_policy: from.termination_message_policy,
        tty: from.tty,
        volume_devices: from.volume_devices,
        volume_mounts: from.volume_mounts,
        working_dir: from.working_dir,
        // Probes, hooks, ports, resources and restarts are not for them.
        ..Container::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn containers_start_again_by_their_rules_their_policy_or_the_pods() {
        let rules =
            |operator: &str| json!([{"action": "Restart", "exitCodes": {"operator": operator, "values": [42, 43]}}]);
        let own =
            |policy: &str, operator: &str| json!({"restartPolicy": policy, "restartPolicyRules": rules(operator)});
        let cases = [
            ("Always", Role::App, json!({}), [true, true, true]),
            ("OnFailure", Role::App, json!({}), [false, true, true]),
            ("Never", Role::App, json!({}), [false, false, false]),
            ("Always", Role::Init, json!({}), [false, true, true]),
            ("Never", Role::Init, json!({}), [false, false, false]),
            ("Never", Role::Sidecar, json!({"restartPolicy": "Always"}), [true, true, true]),
            ("Always", Role::Ephemeral, json!({}), [false, false, false]),
            ("Always", Role::App, json!({"restartPolicy": "Never"}), [false, false, false]),
            ("Always", Role::App, own("Never", "In"), [false, false, true]),
            ("Always", Role::App, own("Never", "NotIn"), [true, true, false]),
            ("Never", Role::App, own("OnFailure", "In"), [false, true, true]),
        ];
        for (policy, role, fields, expected) in cases {
            let spec = json!({"containers": [], "restartPolicy": policy});
            let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
            let mut container = fields.clone();
            container["name"] = json!("c");
            let container: Container = serde_json::from_value(container).unwrap();
            let found = [0, 1, 42].map(|code| starts_again(&pod, role, &container, code));
            assert_eq!(found, expected, "{policy} {role:?} {fields}");
        }
    }
}
