// SPDX-License-Identifier: Apache-2.0
//! A pod's specification seen by its lifecycle: which containers, in which role, restarted when.

use std::borrow::Cow;

use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod, PodSpec};

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

/// When an exited container is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Whatever the exit code.
    Always,
    /// After an exit code other than zero.
    OnFailure,
    /// Not at all.
    Never,
}

impl Restart {
    /// Whether an exit with `code` leads to another start.
    #[must_use]
    pub fn again(self, code: i32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => code != 0,
            Self::Never => false,
        }
    }

    fn parse(text: Option<&str>) -> Self {
        match text {
            Some("Never") => Self::Never,
            Some("OnFailure") => Self::OnFailure,
            _ => Self::Always,
        }
    }

    /// The pod's own policy.
    #[must_use]
    pub fn of_pod(pod: &Pod) -> Self {
        Self::parse(pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()))
    }

    /// The policy of one container in its role.
    #[must_use]
    pub fn of(pod: &Pod, role: Role, container: &Container) -> Self {
        let own = container.restart_policy.as_deref();
        match (role, own) {
            (Role::Sidecar, _) => Self::Always,
            (Role::Ephemeral, _) => Self::Never,
            (_, Some(own)) => Self::parse(Some(own)),
            (Role::Init, None) if Self::of_pod(pod) == Self::Always => Self::OnFailure,
            _ => Self::of_pod(pod),
        }
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
