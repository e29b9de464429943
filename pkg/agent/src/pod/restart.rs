// SPDX-License-Identifier: Apache-2.0
//! Starting all containers of a pod again, because one of them ended with a code whose rule asks for that.
//! <https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-all-containers>
//!
//! Whatever runs is killed, without hooks and without grace; then the pod starts as it did at first, init containers and
//! all, in the sandbox and with the volumes that it has. A pod that asks for it time and again waits in between, as long
//! as the container that asked would have to.

use k8s_openapi::api::core::v1::{Container as Spec, Pod};
use serde::{Deserialize, Serialize};

use super::Moment;
use super::memory::{Container, Image, Memory, Run};
use super::spec::{Rule, containers, matching_rule};
use super::step::{Plan, Severity};

/// `reason` of what is only killed for this.
const REASON: &str = "RestartingAllContainers";
/// Its message.
const MESSAGE: &str = "The container is removed because RestartAllContainers in place";

/// What a killed process exits with.
const KILLED: i32 = 137;

/// A restart of all containers that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// The container whose end asked for it.
    by: String,
    /// When it began.
    since: Moment,
}

/// Whether all containers are to start again; goes on with it.
pub(super) fn restart_all(memory: &mut Memory, pod: &Pod, now: Moment, plan: &mut Plan) -> bool {
    if memory.restarting.is_none() {
        memory.restarting = asking(memory, pod).map(|spec| Restart { by: spec.name.clone(), since: now });
    }
    let Some(restart) = memory.restarting.clone() else { return false };
    let mut alive = false;
    for (_, spec) in containers(pod) {
        let Some(container) = memory.containers.get_mut(&spec.name) else { continue };
        alive |= container.is_alive();
        let fresh = container.stop.is_none() && matches!(container.run, Run::Running(..));
        container.begin_stop(now, 0);
        container.drive_stop(spec, now, plan);
        if fresh {
            memory.note(Severity::Normal, "Killing", format!("Stopping container {}", spec.name), &spec.name);
        }
    }
    if alive {
        return true;
    }
    if let Some(due) = memory.containers.get(&restart.by).and_then(Container::due).filter(|due| now < *due) {
        plan.wake_at(due);
        return true;
    }
    for (_, spec) in containers(pod) {
        if let Some(container) = memory.containers.get_mut(&spec.name) {
            container.start_over(&restart, spec, now);
        }
    }
    memory.initialized = false;
    memory.restarting = None;
    false
}

/// The container that has ended with such a code, if one has.
fn asking<'a>(memory: &Memory, pod: &'a Pod) -> Option<&'a Spec> {
    let asks = |spec: &&Spec| match memory.containers.get(&spec.name).map(|container| &container.run) {
        Some(Run::Exited(exit)) => matching_rule(spec, exit.code) == Some(Rule::RestartAll),
        _ => false,
    };
    containers(pod).map(|(_, spec)| spec).find(asks)
}

/// Whether the pod has such a rule at all.
pub(super) fn may_restart_all(pod: &Pod) -> bool {
    let rules = |spec: &Spec| {
        let mut rules = spec.restart_policy_rules.iter().flatten();
        rules.any(|rule| Rule::of(rule) == Rule::RestartAll)
    };
    containers(pod).any(|(_, spec)| rules(spec))
}

impl Container {
    /// When a container that has ended may start again.
    fn due(&self) -> Option<Moment> {
        match &self.run {
            Run::Exited(exit) => Some(self.restarts.due(exit.finished)),
            _ => None,
        }
    }

    /// Free to start as if for the first time, but for what is told of the runs so far. One that has not come up yet goes
    /// on with that.
    fn start_over(&mut self, restart: &Restart, spec: &Spec, now: Moment) {
        let Run::Exited(exit) = &mut self.run else { return };
        if spec.name == restart.by {
            self.restarts.tried(now);
        } else if exit.code == KILLED && exit.finished >= restart.since {
            REASON.clone_into(&mut exit.reason);
            MESSAGE.clone_into(&mut exit.message);
        }
        self.last = Some(exit.clone());
        self.run = Run::Idle;
        self.image = Image::Unknown;
        self.changed = false;
    }
}
