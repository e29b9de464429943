// SPDX-License-Identifier: Apache-2.0
//! One step of a pod: what to do now, what to say, and when to look again.

use k8s_openapi::api::core::v1::{Container as Spec, Pod, PodStatus};

use super::back_off::BackOff;
use super::memory::{Container, Ending, Hook, Image, Memory, Run, Sandbox, Volumes};
use super::resize::resize;
use super::restart::restart_all;
use super::stop::stop_pod;
use super::{
    Moment, ProbeKind, Role, all_containers, containers, ephemeral_containers, grace_period, starts_again, status,
};

/// What a step asks for. `run` is the number of the container's run, from zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make the pod's namespaces and network.
    StartSandbox,
    /// End the sandbox and whatever runs in it.
    StopSandbox,
    /// Make the pod's volumes.
    SetUpVolumes,
    /// Remove the pod's volumes.
    CleanVolumes,
    /// Have the container's image here, by its pull policy.
    EnsureImage {
        /// Name of the container.
        container: String,
    },
    /// Start the container.
    Start {
        /// Name of the container.
        container: String,
        /// Number of the run.
        run: u32,
    },
    /// Run the postStart hook.
    PostStart {
        /// Name of the container.
        container: String,
        /// Number of the run.
        run: u32,
    },
    /// Run the preStop hook.
    PreStop {
        /// Name of the container.
        container: String,
        /// Number of the run.
        run: u32,
    },
    /// Send SIGTERM (or the image's stop signal), or SIGKILL.
    Signal {
        /// Name of the container.
        container: String,
        /// Number of the run.
        run: u32,
        /// SIGKILL rather than SIGTERM.
        kill: bool,
    },
    /// Run a probe once.
    Probe {
        /// Name of the container.
        container: String,
        /// Number of the run.
        run: u32,
        /// Which probe.
        kind: ProbeKind,
    },
    /// Change the groups of the pod and its containers to the resources that they are to have.
    Resize,
    /// Delete the object for good, once the status of this step is written.
    Remove,
}

/// How bad an Event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// As it should be.
    Normal,
    /// Something to look at.
    Warning,
}

/// One Event of the pod, or of one of its containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Normal or Warning.
    pub severity: Severity,
    /// Upstream's reason.
    pub reason: &'static str,
    /// Upstream's wording.
    pub message: String,
    /// The container that it is about.
    pub container: Option<String>,
}

/// The outcome of a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// To be done now, in any order.
    pub actions: Vec<Action>,
    /// To be told.
    pub notes: Vec<Note>,
    /// The pod's status as of now.
    pub status: PodStatus,
    /// When to step again though nothing happens.
    pub wake: Option<Moment>,
}

impl Plan {
    pub(super) fn wake_at(&mut self, at: Moment) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }
}

/// Decides what a pod needs at `now`, and marks it in `memory` as under way.
pub fn step(memory: &mut Memory, pod: &Pod, now: Moment) -> Plan {
    let mut plan = Plan::default();
    let started = *memory.started.get_or_insert(now);
    for (_, spec) in all_containers(pod) {
        memory.containers.entry(spec.name.clone()).or_default();
    }
    decide_ending(memory, pod, started, now, &mut plan);
    if memory.ending.is_some() {
        stop_pod(memory, pod, now, &mut plan);
        clean_up(memory, pod, &mut plan);
    } else {
        prepare(memory, now, &mut plan);
        if !restart_all(memory, pod, now, &mut plan) {
            run_containers(memory, pod, now, &mut plan);
            resize(memory, pod, now, &mut plan);
        }
        for spec in ephemeral_containers(pod) {
            drive(memory, pod, (Role::Ephemeral, &spec), (true, now), &mut plan);
        }
    }
    if let Some(at) = image_status_change(memory, now) {
        plan.wake_at(at);
    }
    plan.notes = std::mem::take(&mut memory.notes);
    plan.status = status::of(memory, pod, now);
    plan
}

/// Whether the pod is to end: it is deleted, out of time, failed or done.
fn decide_ending(memory: &mut Memory, pod: &Pod, started: Moment, now: Moment, plan: &mut Plan) {
    if pod.metadata.deletion_timestamp.is_some() {
        let deadline = now.after_seconds(grace_period(pod));
        match &mut memory.ending {
            Some(ending) => ending.deadline = ending.deadline.min(deadline),
            None => memory.ending = Some(Ending { deadline, cause: None }),
        }
        return;
    }
    if memory.ending.is_some() {
        return;
    }
    let end = |memory: &mut Memory, cause| {
        let deadline = now.after_seconds(grace_period(pod));
        memory.ending = Some(Ending { deadline, cause });
    };
    if let Some(seconds) = pod.spec.as_ref().and_then(|spec| spec.active_deadline_seconds) {
        let deadline = started.after_seconds(seconds);
        if now >= deadline {
            let message = "Pod was active on the node longer than the specified deadline";
            end(memory, Some(("DeadlineExceeded".to_owned(), message.to_owned())));
            memory.note(Severity::Normal, "DeadlineExceeded", message.to_owned(), "");
            return;
        }
        plan.wake_at(deadline);
    }
    if memory.restarting.is_none() && is_over(memory, pod) {
        end(memory, None);
    }
}

/// Whether the pod has ended by itself: an init container failed for good, or all others are done.
fn is_over(memory: &Memory, pod: &Pod) -> bool {
    let done = |role: Role, spec: &Spec| {
        let container = memory.containers.get(&spec.name).filter(|container| !container.changed)?;
        match &container.run {
            Run::Exited(exit) => (!starts_again(pod, role, spec, exit.code)).then_some(exit.code),
            _ => None,
        }
    };
    let init_failed =
        containers(pod).any(|(role, spec)| role == Role::Init && done(role, spec).is_some_and(|code| code != 0));
    let mut apps = containers(pod).filter(|(role, _)| *role == Role::App).peekable();
    init_failed || (apps.peek().is_some() && apps.all(|(role, spec)| done(role, spec).is_some()))
}

/// What an ended pod still holds is given back; a deleted one is then removed.
fn clean_up(memory: &mut Memory, pod: &Pod, plan: &mut Plan) {
    if memory.containers.values().any(Container::is_alive) || memory.sandbox == Sandbox::Starting {
        return;
    }
    match memory.sandbox {
        Sandbox::Ready(_) | Sandbox::Failed(..) => {
            memory.sandbox = Sandbox::Stopping;
            plan.actions.push(Action::StopSandbox);
            return;
        }
        Sandbox::Stopping => return,
        _ => memory.sandbox = Sandbox::Removed,
    }
    match memory.volumes {
        Volumes::SettingUp | Volumes::Removing => return,
        Volumes::Ready | Volumes::Failed(..) | Volumes::Absent => {
            memory.volumes = Volumes::Removing;
            plan.actions.push(Action::CleanVolumes);
            return;
        }
        Volumes::Removed => {}
    }
    if pod.metadata.deletion_timestamp.is_some() && !memory.removed {
        memory.removed = true;
        plan.actions.push(Action::Remove);
    }
}

/// Sandbox and volumes, side by side.
fn prepare(memory: &mut Memory, now: Moment, plan: &mut Plan) {
    match &memory.sandbox {
        Sandbox::Failed(_, at) if now < *at => plan.wake_at(*at),
        Sandbox::Absent | Sandbox::Failed(..) => {
            memory.sandbox = Sandbox::Starting;
            plan.actions.push(Action::StartSandbox);
        }
        _ => {}
    }
    match &memory.volumes {
        Volumes::Failed(_, at) if now < *at => plan.wake_at(*at),
        Volumes::Absent | Volumes::Failed(..) => {
            memory.volumes = Volumes::SettingUp;
            plan.actions.push(Action::SetUpVolumes);
        }
        _ => {}
    }
}

/// Every container whose turn it is, in order. One with a postStart hook keeps those behind it from starting until the
/// hook is over, as upstream, which starts them one after the other: some pods count on that.
fn run_containers(memory: &mut Memory, pod: &Pod, now: Moment, plan: &mut Plan) {
    let mut may_start = true;
    for (role, spec) in containers(pod) {
        let completed =
            role == Role::Init && matches!(&memory.containers[&spec.name].run, Run::Exited(exit) if exit.code == 0);
        if completed || (role == Role::Init && memory.initialized) {
            continue;
        }
        if role == Role::App && !memory.initialized {
            memory.initialized = true;
        }
        drive(memory, pod, (role, spec), (may_start, now), plan);
        may_start &= role != Role::App || !memory.containers[&spec.name].keeps_others_waiting(spec);
        let may_go_on = match role {
            Role::Init => false,
            Role::Sidecar => memory.initialized || status::is_started(&memory.containers[&spec.name], spec),
            Role::App | Role::Ephemeral => true,
        };
        if !may_go_on {
            return;
        }
    }
}

/// One container: start it if it may, watch it, stop it, start it again.
fn drive(
    memory: &mut Memory,
    pod: &Pod,
    (role, spec): (Role, &Spec),
    (may_start, now): (bool, Moment),
    plan: &mut Plan,
) {
    let ready = may_start && matches!(memory.sandbox, Sandbox::Ready(_)) && memory.volumes == Volumes::Ready;
    let Some(container) = memory.containers.get_mut(&spec.name) else { return };
    let mut note = None;
    match container.run.clone() {
        Run::Starting => {}
        Run::Idle => begin(container, spec, ready, now, plan),
        Run::Refused(_, _, at) if now < at && !container.is_changed(spec) => plan.wake_at(at),
        Run::Refused(..) => {
            container.run = Run::Idle;
            begin(container, spec, ready, now, plan);
        }
        Run::Running(_, since) => note = watch(container, pod, spec, since, now, plan),
        Run::Exited(exit) if container.changed || starts_again(pod, role, spec, exit.code) => {
            if std::mem::take(&mut container.changed) {
                container.restarts = BackOff::default();
            }
            let due = container.restarts.due(exit.finished);
            if now < due {
                plan.wake_at(due);
                if !std::mem::replace(&mut container.back_off_noted, true) {
                    let message = status::restarting(pod, &spec.name);
                    note = Some((Severity::Warning, "BackOff", format!("Back-off {message}")));
                }
            } else {
                container.restarts.tried(now);
                container.last = Some(exit);
                container.run = Run::Idle;
                container.image = Image::Unknown;
                begin(container, spec, ready, now, plan);
            }
        }
        Run::Exited(_) => {}
    }
    if let Some((severity, reason, message)) = note {
        memory.note(severity, reason, message, &spec.name);
    }
}

/// Image first, then the start, as soon as sandbox and volumes are there.
fn begin(container: &mut Container, spec: &Spec, ready: bool, now: Moment, plan: &mut Plan) {
    if container.is_changed(spec) && container.image != Image::Pulling {
        container.image = Image::Unknown;
        container.pulls = BackOff::default();
    }
    match container.image {
        Image::Failed(_, _, _, at) if now < at => plan.wake_at(at),
        Image::Unknown | Image::Failed(..) => {
            container.image = Image::Pulling;
            container.asked = spec.image.clone().unwrap_or_default();
            plan.actions.push(Action::EnsureImage { container: spec.name.clone() });
        }
        Image::Ready if ready => {
            let run = container.starts;
            container.starts += 1;
            container.run = Run::Starting;
            container.applied = Some(spec.resources.clone().unwrap_or_default());
            plan.actions.push(Action::Start { container: spec.name.clone(), run });
        }
        Image::Pulling | Image::Ready => {}
    }
}

/// A running container: its postStart hook, its probes, and its stop when one of them says so.
fn watch(
    container: &mut Container,
    pod: &Pod,
    spec: &Spec,
    since: Moment,
    now: Moment,
    plan: &mut Plan,
) -> Option<(Severity, &'static str, String)> {
    let run = container.starts.saturating_sub(1);
    let hook = spec.lifecycle.as_ref().is_some_and(|lifecycle| lifecycle.post_start.is_some());
    if container.post_start == Hook::Idle {
        container.post_start = if hook { Hook::Running } else { Hook::Done };
        if hook {
            plan.actions.push(Action::PostStart { container: spec.name.clone(), run });
        }
    }
    if container.stop.is_some() {
        container.drive_stop(spec, now, plan);
        return None;
    }
    if container.is_changed(spec) {
        container.changed = true;
        container.begin_stop(now, grace_period(pod));
        container.drive_stop(spec, now, plan);
        let message = format!("Container {} definition changed, will be restarted", spec.name);
        return Some((Severity::Normal, "Killing", message));
    }
    for kind in ProbeKind::ALL {
        let Some(probe) = kind.of(spec) else { continue };
        let state = container.probes.entry(kind).or_default();
        if kind == ProbeKind::Startup && state.verdict == Some(true) {
            continue;
        }
        if state.verdict == Some(false) && kind != ProbeKind::Readiness {
            let grace = probe.termination_grace_period_seconds.unwrap_or_else(|| grace_period(pod));
            container.begin_stop(now, grace);
            container.drive_stop(spec, now, plan);
            let what = kind.title().to_lowercase();
            let message = format!("Container {} failed {what} probe, will be restarted", spec.name);
            return Some((Severity::Normal, "Killing", message));
        }
        match state.due(probe, since, now) {
            Ok(()) => plan.actions.push(Action::Probe { container: spec.name.clone(), run, kind }),
            Err(at) => at.into_iter().for_each(|at| plan.wake_at(at)),
        }
        if kind == ProbeKind::Startup {
            break;
        }
    }
    None
}

/// A failed pull is shown as such for a moment before it is shown as waiting.
fn image_status_change(memory: &Memory, now: Moment) -> Option<Moment> {
    let changes = memory.containers.values().filter_map(|container| match container.image {
        Image::Failed(_, _, failed, _) => Some(failed.after(status::SHOW_PULL_ERROR)),
        _ => None,
    });
    changes.filter(|at| *at > now).min()
}
