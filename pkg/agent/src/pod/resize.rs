// SPDX-License-Identifier: Apache-2.0
//! Resources of a pod that change while it runs.
//! <https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/>
//!
//! The specification says what is wanted, and the node allocates it, or leaves it for later, or for ever. From then on the
//! pod is the one with the allocation, and its running containers are brought to it: their groups change, or they start
//! again where their `resizePolicy` wants that.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container as Spec, Pod, PodCondition, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::{Deserialize, Serialize};

use super::memory::{Container, Memory, Run};
use super::step::{Action, Plan, Severity};
use super::{Moment, Role, containers, grace_period};
use crate::resources::{milli, whole};

/// When groups that could not be changed are tried again.
const RETRY: Duration = Duration::from_secs(10);

/// Where a pod's change of resources stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resize {
    /// What is wanted and not allocated.
    pending: Option<Pending>,
    /// What is allocated and not everywhere there.
    progress: Option<Progress>,
    /// Groups are being changed.
    pub(super) applying: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Pending {
    refusal: Refusal,
    generation: Option<i64>,
    since: Moment,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Progress {
    error: Option<String>,
    generation: Option<i64>,
    since: Moment,
    retry: Option<Moment>,
}

/// Why resources are not allocated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// Others have them now.
    Deferred(String),
    /// The node does not have them at all.
    Infeasible(String),
}

/// CPU in thousandths and memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Thousandths of a core.
    pub cpu: i128,
    /// Bytes.
    pub memory: i128,
}

impl Amount {
    fn of(list: Option<&BTreeMap<String, Quantity>>) -> Self {
        let value = |name: &str| list.and_then(|list| list.get(name));
        let memory = value("memory").and_then(whole).map_or(0, i128::from);
        Self { cpu: value("cpu").and_then(milli).unwrap_or(0), memory }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { cpu: self.cpu + other.cpu, memory: self.memory + other.memory }
    }

    fn max(self, other: Self) -> Self {
        Self { cpu: self.cpu.max(other.cpu), memory: self.memory.max(other.memory) }
    }
}

/// What a pod asks for of a node, as the scheduler counts it.
#[must_use]
pub fn requests(pod: &Pod) -> Amount {
    let Some(spec) = &pod.spec else { return Amount::default() };
    let of = |container: &Spec| Amount::of(container.resources.as_ref().and_then(|own| own.requests.as_ref()));
    let (mut beside, mut peak) = (Amount::default(), Amount::default());
    for (role, container) in containers(pod) {
        let needed = beside.plus(of(container));
        peak = peak.max(needed);
        if role != Role::Init {
            beside = needed;
        }
    }
    let own = Amount::of(spec.resources.as_ref().and_then(|own| own.requests.as_ref()));
    beside.max(peak).max(own).plus(Amount::of(spec.overhead.as_ref()))
}

/// Whether a pod that asks for `wanted` has room beside those that have `taken` of what the node has.
///
/// # Errors
/// The first resource that does not fit, in upstream's words.
pub fn admit(node: Amount, taken: Amount, wanted: Amount) -> Result<(), Refusal> {
    let both = [("cpu", node.cpu, taken.cpu, wanted.cpu), ("memory", node.memory, taken.memory, wanted.memory)];
    for (name, capacity, _, requested) in both {
        if requested > capacity {
            let message =
                format!("Node didn't have enough capacity: {name}, requested: {requested}, capacity: {capacity}");
            return Err(Refusal::Infeasible(message));
        }
    }
    for (name, capacity, used, requested) in both {
        if requested > 0 && used + requested > capacity {
            let message = format!(
                "Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}"
            );
            return Err(Refusal::Deferred(message));
        }
    }
    Ok(())
}

/// What pods may have of a node.
#[must_use]
pub fn capacity(allocatable: &BTreeMap<String, Quantity>) -> Amount {
    Amount::of(Some(allocatable))
}

/// Whether CPU or memory of a container, or of the whole pod, differ.
#[must_use]
pub fn differs(a: &Pod, b: &Pod) -> bool {
    let all = |pod: &Pod| -> Vec<_> { containers(pod).map(|(_, spec)| figures(spec.resources.as_ref())).collect() };
    let own = |pod: &Pod| figures(pod.spec.as_ref().and_then(|spec| spec.resources.as_ref()));
    all(a) != all(b) || own(a) != own(b)
}

/// `pod` with the resources that `allocated` has.
#[must_use]
pub fn with_allocation(pod: &Pod, allocated: &Pod) -> Pod {
    let mut pod = pod.clone();
    let Some(spec) = &mut pod.spec else { return pod };
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        if let Some((_, of)) = containers(allocated).find(|(_, of)| of.name == container.name) {
            container.resources.clone_from(&of.resources);
        }
    }
    spec.resources = allocated.spec.as_ref().and_then(|spec| spec.resources.clone());
    pod
}

/// Requests and limits of CPU, then of memory, as numbers.
fn figures(resources: Option<&ResourceRequirements>) -> [(Option<i128>, Option<i128>); 2] {
    let value = |limits: bool, name: &str| {
        let map = resources.and_then(|own| if limits { own.limits.as_ref() } else { own.requests.as_ref() });
        map.and_then(|map| map.get(name)).and_then(milli)
    };
    ["cpu", "memory"].map(|name| (value(false, name), value(true, name)))
}

/// What bringing a container from one to the other takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    None,
    InPlace,
    Restart,
}

fn change(spec: &Spec, applied: &ResourceRequirements) -> Change {
    let [cpu, memory] = figures(spec.resources.as_ref());
    let [cpu_before, memory_before] = figures(Some(applied));
    let restarts = |name: &str| {
        let mut policies = spec.resize_policy.iter().flatten();
        policies.any(|policy| policy.resource_name == name && policy.restart_policy == "RestartContainer")
    };
    // A request for memory has no place in a group.
    match (cpu != cpu_before, memory.1 != memory_before.1) {
        (true, _) if restarts("cpu") => Change::Restart,
        (_, true) if restarts("memory") => Change::Restart,
        (false, false) if memory == memory_before => Change::None,
        _ => Change::InPlace,
    }
}

/// The runs whose groups are to change.
#[must_use]
pub fn resizable(memory: &Memory, pod: &Pod) -> Vec<(Spec, u32)> {
    let wanted = |spec: &&Spec| match memory.containers.get(&spec.name) {
        Some(Container { run: Run::Running(..), applied: Some(applied), stop: None, .. }) => {
            change(spec, applied) == Change::InPlace
        }
        _ => false,
    };
    let run = |spec: &Spec| memory.containers[&spec.name].starts.saturating_sub(1);
    containers(pod).map(|(_, spec)| spec).filter(wanted).map(|spec| (spec.clone(), run(spec))).collect()
}

/// Brings what runs to what is allocated.
pub(super) fn resize(memory: &mut Memory, pod: &Pod, now: Moment, plan: &mut Plan) {
    let (mut open, mut in_place) = (false, false);
    for (_, spec) in containers(pod) {
        let Some(container) = memory.containers.get_mut(&spec.name) else { continue };
        if !matches!(container.run, Run::Running(..)) {
            continue;
        }
        // A run that was started before anyone took note of that.
        let applied = container.applied.get_or_insert_with(|| spec.resources.clone().unwrap_or_default());
        let change = change(spec, applied);
        open |= change != Change::None;
        in_place |= change == Change::InPlace;
        if change == Change::Restart && container.stop.is_none() {
            container.changed = true;
            container.begin_stop(now, grace_period(pod));
            container.drive_stop(spec, now, plan);
            let message = format!("Container {} resize requires restart", spec.name);
            memory.note(Severity::Normal, "Killing", message, &spec.name);
        }
    }
    let Some(progress) = &mut memory.resize.progress else { return };
    if memory.resize.applying {
        return;
    }
    if let Some(retry) = progress.retry.filter(|retry| now < *retry) {
        plan.wake_at(retry);
    } else if in_place || progress.retry.is_some() {
        memory.resize.applying = true;
        plan.actions.push(Action::Resize);
    } else if !open {
        memory.resize.progress = None;
        memory.note(Severity::Normal, "ResizeCompleted", "Pod resize completed".to_owned(), "");
    }
}

impl Memory {
    /// The node has allocated what the specification of this generation asks for.
    pub fn resize_allocated(&mut self, generation: Option<i64>, now: Moment) {
        // The pod's own group changes in any case, so there is a first try at once.
        let progress = Progress { error: None, generation, since: now, retry: Some(now) };
        self.resize = Resize { pending: None, progress: Some(progress), applying: self.resize.applying };
        self.note(Severity::Normal, "ResizeStarted", "Pod resize started".to_owned(), "");
    }

    /// The node has not.
    pub fn resize_refused(&mut self, refusal: Refusal, generation: Option<i64>, now: Moment) {
        let before = self.resize.pending.take();
        let same =
            before.as_ref().is_some_and(|b| b.generation == generation && b.refusal.reason() == refusal.reason());
        if !same {
            let message = format!("Pod resize {}: {}", refusal.reason(), refusal.message());
            let reason = match &refusal {
                Refusal::Deferred(_) => "ResizeDeferred",
                Refusal::Infeasible(_) => "ResizeInfeasible",
            };
            self.note(Severity::Warning, reason, message, "");
        }
        let since = before.filter(|before| before.refusal.reason() == refusal.reason()).map_or(now, |b| b.since);
        self.resize.pending = Some(Pending { refusal, generation, since });
    }

    /// What is wanted is what there is.
    pub fn resize_withdrawn(&mut self) {
        self.resize.pending = None;
    }

    /// Whether resources are to be asked for again when others have given some back.
    #[must_use]
    pub fn resize_is_deferred(&self) -> bool {
        self.resize.pending.as_ref().is_some_and(|pending| matches!(pending.refusal, Refusal::Deferred(_)))
    }

    /// The groups of the containers named have changed, each run to these resources; the error is of the others.
    pub(super) fn resized(
        &mut self,
        done: Vec<(String, u32, ResourceRequirements)>,
        error: Option<String>,
        now: Moment,
    ) {
        self.resize.applying = false;
        for (name, run, resources) in done {
            if let Some(container) = self.containers.get_mut(&name).filter(|container| container.starts == run + 1) {
                container.applied = Some(resources);
            }
        }
        let Some(progress) = &mut self.resize.progress else { return };
        progress.retry = error.is_some().then(|| now.after(RETRY));
        let fresh = error.is_some() && error != progress.error;
        progress.error.clone_from(&error);
        if let (true, Some(error)) = (fresh, error) {
            self.note(Severity::Warning, "ResizeError", format!("Pod resize error: {error}"), "");
        }
    }
}

impl Refusal {
    fn reason(&self) -> &'static str {
        match self {
            Self::Deferred(_) => "Deferred",
            Self::Infeasible(_) => "Infeasible",
        }
    }

    fn message(&self) -> &str {
        let (Self::Deferred(message) | Self::Infeasible(message)) = self;
        message
    }
}

impl Resize {
    /// Groups may be changed twice.
    pub(super) fn forget_in_flight(&mut self) {
        if let (true, Some(progress)) = (std::mem::take(&mut self.applying), &mut self.progress) {
            progress.retry = Some(Moment::default());
        }
    }

    /// The conditions, as long as there is something to tell.
    pub(super) fn conditions(&self) -> Vec<PodCondition> {
        let one =
            |type_: &str, since: Moment, generation, (reason, message): (Option<&str>, Option<&str>)| PodCondition {
                type_: type_.to_owned(),
                status: "True".to_owned(),
                reason: reason.map(str::to_owned),
                message: message.map(str::to_owned),
                last_transition_time: Some(since.time()),
                observed_generation: generation,
                ..PodCondition::default()
            };
        let pending = self.pending.as_ref().map(|pending| {
            let why = (Some(pending.refusal.reason()), Some(pending.refusal.message()));
            one("PodResizePending", pending.since, pending.generation, why)
        });
        let progress = self.progress.as_ref().map(|progress| {
            let error = progress.error.as_deref();
            one("PodResizeInProgress", progress.since, progress.generation, (error.map(|_| "Error"), error))
        });
        pending.into_iter().chain(progress).collect()
    }
}

/// What a container's status says of its resources: what it was given and, while it runs, what it has.
pub(super) fn of_status(
    container: &Container,
    spec: &Spec,
) -> (Option<BTreeMap<String, Quantity>>, Option<ResourceRequirements>) {
    let allocated = spec.resources.clone().unwrap_or_default();
    let running = matches!(container.run, Run::Running(..));
    let resources = container.applied.clone().filter(|_| running).unwrap_or_else(|| allocated.clone());
    (allocated.requests.filter(|requests| !requests.is_empty()), Some(resources))
}
