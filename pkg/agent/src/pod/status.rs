// SPDX-License-Identifier: Apache-2.0
//! A pod's status, as clients read it, from what the node remembers.

use std::time::Duration;

use k8s_openapi::api::core::v1::{
    Container as Spec, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, Pod, PodIP, PodStatus,
};

use super::memory::{Container, Exit, Hook, Image, Memory, Run, Sandbox};
use super::resize::of_status;
use super::{Moment, ProbeKind, Role, conditions, containers, ephemeral_containers, qos_class, starts_again};

/// How long a failed pull shows its error before it shows that it waits.
pub(super) const SHOW_PULL_ERROR: Duration = Duration::from_secs(1);

/// The status at `now`. Host addresses are the shell's to add.
pub(super) fn of(memory: &mut Memory, pod: &Pod, now: Moment) -> PodStatus {
    let statuses = |memory: &Memory, init: bool| -> Vec<ContainerStatus> {
        containers(pod)
            .filter(|(role, _)| (*role == Role::App) != init)
            .map(|(role, spec)| container_status(memory, pod, role, spec, now))
            .collect()
    };
    let init = statuses(memory, true);
    let app = statuses(memory, false);
    let ephemeral: Vec<_> =
        ephemeral_containers(pod).map(|spec| container_status(memory, pod, Role::Ephemeral, &spec, now)).collect();
    let phase = phase(memory, pod);
    let conditions = conditions::of(memory, pod, phase, (&init, &app), now);
    let ips = match &memory.sandbox {
        Sandbox::Ready(ips) => ips.clone(),
        _ => Vec::new(),
    };
    let cause = memory.ending.as_ref().and_then(|ending| ending.cause.clone());
    let (reason, message) = cause.unzip();
    PodStatus {
        phase: Some(phase.to_owned()),
        reason,
        message,
        conditions: Some(conditions),
        container_statuses: Some(app),
        init_container_statuses: (!init.is_empty()).then_some(init),
        ephemeral_container_statuses: (!ephemeral.is_empty()).then_some(ephemeral),
        pod_ip: ips.first().map(ToString::to_string),
        pod_ips: (!ips.is_empty()).then(|| ips.iter().map(|ip| PodIP { ip: ip.to_string() }).collect()),
        start_time: memory.started.map(Moment::time),
        qos_class: pod
            .status
            .as_ref()
            .and_then(|status| status.qos_class.clone())
            .or_else(|| pod.spec.as_ref().map(|spec| qos_class(spec).to_owned())),
        observed_generation: pod.metadata.generation,
        ..PodStatus::default()
    }
}

/// Whether a container counts as started: it runs, its postStart hook is over and its startup
/// probe has answered well.
pub(super) fn is_started(container: &Container, spec: &Spec) -> bool {
    matches!(container.run, Run::Running(..))
        && container.post_start == Hook::Done
        && (spec.startup_probe.is_none() || verdict(container, ProbeKind::Startup) == Some(true))
}

/// Whether a container takes traffic (or, an init container, has done its work).
pub(super) fn is_ready(container: &Container, role: Role, spec: &Spec) -> bool {
    match role {
        Role::Init => matches!(&container.run, Run::Exited(exit) if exit.code == 0),
        // Nothing waits for it.
        Role::Ephemeral => false,
        _ => {
            is_started(container, spec)
                && (spec.readiness_probe.is_none() || verdict(container, ProbeKind::Readiness) == Some(true))
        }
    }
}

/// How a restart that waits is described, after "back-off ..." or "Back-off ...".
pub(super) fn restarting(pod: &Pod, container: &str) -> String {
    let metadata = &pod.metadata;
    format!(
        "restarting failed container={container} pod={}_{}({})",
        metadata.name.as_deref().unwrap_or_default(),
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.uid.as_deref().unwrap_or_default()
    )
}

fn verdict(container: &Container, kind: ProbeKind) -> Option<bool> {
    container.probes.get(&kind).and_then(|probe| probe.verdict)
}

fn container_status(memory: &Memory, pod: &Pod, role: Role, spec: &Spec, now: Moment) -> ContainerStatus {
    let unknown = Container::default();
    let container = memory.containers.get(&spec.name).unwrap_or(&unknown);
    let state = state(memory, pod, role, spec, container, now);
    let last = match (&container.run, &state.terminated) {
        (Run::Exited(exit), None) => Some(exit),
        _ => container.last.as_ref(),
    };
    let (image, image_id) = container.image_ref.clone();
    let id = match &container.run {
        Run::Running(id, _) => Some(id.clone()),
        Run::Exited(exit) => Some(exit.id.clone()),
        _ => last.map(|exit| exit.id.clone()),
    };
    let (allocated_resources, resources) =
        if role == Role::Ephemeral { (None, None) } else { of_status(container, spec) };
    ContainerStatus {
        allocated_resources,
        resources,
        name: spec.name.clone(),
        image: if image.is_empty() { spec.image.clone().unwrap_or_default() } else { image },
        image_id,
        container_id: id.filter(|id| !id.is_empty()),
        ready: is_ready(container, role, spec),
        started: (role != Role::Ephemeral).then(|| is_started(container, spec)),
        restart_count: restart_count(container),
        last_state: last.map(|exit| ContainerState { terminated: Some(terminated(exit)), ..Default::default() }),
        state: Some(state),
        ..ContainerStatus::default()
    }
}

fn restart_count(container: &Container) -> i32 {
    i32::try_from(container.starts.saturating_sub(1)).unwrap_or(i32::MAX)
}

fn state(memory: &Memory, pod: &Pod, role: Role, spec: &Spec, container: &Container, now: Moment) -> ContainerState {
    let waiting = |reason: &str, message: Option<String>| ContainerState {
        waiting: Some(ContainerStateWaiting { reason: Some(reason.to_owned()), message }),
        ..Default::default()
    };
    match (&container.run, &container.image) {
        (Run::Running(_, since), _) => ContainerState {
            running: Some(ContainerStateRunning { started_at: Some(since.time()) }),
            ..Default::default()
        },
        (Run::Exited(exit), _) => {
            let again = memory.ending.is_none() && starts_again(pod, role, spec, exit.code);
            if again && now < container.restarts.due(exit.finished) {
                let delay = go_duration(container.restarts.delay());
                let message = format!("back-off {delay} {}", restarting(pod, &spec.name));
                return waiting("CrashLoopBackOff", Some(message));
            }
            ContainerState { terminated: Some(terminated(exit)), ..Default::default() }
        }
        (Run::Refused(reason, message, _), _) => waiting(reason, Some(message.clone())),
        (Run::Idle, Image::Failed(reason, message, failed, _)) => {
            if reason == "ErrImagePull" && now >= failed.after(SHOW_PULL_ERROR) {
                let image = spec.image.as_deref().unwrap_or_default();
                let message = format!("Back-off pulling image \"{image}\": {reason}: {message}");
                return waiting("ImagePullBackOff", Some(message));
            }
            waiting(reason, Some(message.clone()))
        }
        _ if role != Role::Ephemeral && has_init(pod) && container.last.is_none() => waiting("PodInitializing", None),
        _ => waiting("ContainerCreating", None),
    }
}

fn has_init(pod: &Pod) -> bool {
    containers(pod).any(|(role, _)| role != Role::App)
}

fn terminated(exit: &Exit) -> ContainerStateTerminated {
    ContainerStateTerminated {
        exit_code: exit.code,
        reason: Some(exit.reason.clone()),
        message: Some(exit.message.clone()).filter(|message| !message.is_empty()),
        started_at: Some(exit.started.time()),
        finished_at: Some(exit.finished.time()),
        container_id: Some(exit.id.clone()).filter(|id| !id.is_empty()),
        ..Default::default()
    }
}

/// The pod's phase, by upstream's rules.
fn phase(memory: &Memory, pod: &Pod) -> &'static str {
    let mut running = 0;
    let mut waiting = 0;
    let mut again = false;
    let mut failed = false;
    for (role, spec) in containers(pod) {
        let Some(container) = memory.containers.get(&spec.name) else { return "Pending" };
        match (role, &container.run, &container.last) {
            (Role::Init, Run::Exited(exit), _) => {
                failed |= exit.code != 0 && !starts_again(pod, role, spec, exit.code);
            }
            (Role::App, Run::Running(..), _) => running += 1,
            (Role::App, Run::Exited(exit), _) => {
                again |= memory.restarting.is_some() || starts_again(pod, role, spec, exit.code);
                failed |= exit.code != 0;
            }
            // It is coming up again, whatever its policy says of the end before.
            (Role::App, _, Some(exit)) => {
                again = true;
                failed |= exit.code != 0;
            }
            (Role::App, ..) => waiting += 1,
            _ => {}
        }
    }
    let alive = memory.containers.values().any(Container::is_alive);
    if memory.ending.is_some() && !alive {
        let cause = memory.ending.as_ref().is_some_and(|ending| ending.cause.is_some());
        return if failed || cause || waiting > 0 { "Failed" } else { "Succeeded" };
    }
    match () {
        () if !memory.initialized || waiting > 0 && running == 0 && !again => "Pending",
        () if waiting > 0 => "Pending",
        () if running > 0 || again || alive => "Running",
        () if failed => "Failed",
        () => "Succeeded",
    }
}

/// Go's notation of a duration of whole seconds: `10s`, `1m20s`, `5m0s`.
fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 { format!("{seconds}s") } else { format!("{}m{}s", seconds / 60, seconds % 60) }
}
