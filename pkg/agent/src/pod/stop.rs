// SPDX-License-Identifier: Apache-2.0
//! Stopping: the preStop hook, SIGTERM, and SIGKILL when the grace is over; sidecars last.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container as Spec, Pod};
use serde::{Deserialize, Serialize};

use super::memory::{Container, Memory, Run};
use super::step::{Action, Plan, Severity};
use super::{Moment, Role, all_containers, containers};

/// SIGTERM is given this long even where the preStop hook has used up the grace.
const LAST_CHANCE: Duration = Duration::from_secs(2);

/// How far the stop of one container has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// When the process is killed.
    pub deadline: Moment,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    Asked,
    PreStop,
    PreStopped,
    Terminating,
    Killed,
}

impl Stop {
    pub(super) fn pre_stopped(&mut self) {
        if self.stage == Stage::PreStop {
            self.stage = Stage::PreStopped;
        }
    }

    /// A signal may be sent twice and a preStop hook run twice: better than never.
    pub(super) fn forget_in_flight(&mut self) {
        self.stage = match self.stage {
            Stage::PreStop => Stage::Asked,
            Stage::Terminating | Stage::Killed => Stage::PreStopped,
            stage => stage,
        };
    }
}

impl Container {
    /// Begins to stop the current run; a stop under way only gets shorter.
    pub(super) fn begin_stop(&mut self, now: Moment, grace_seconds: i64) {
        let deadline = now.after_seconds(grace_seconds);
        match &mut self.stop {
            Some(stop) => stop.deadline = stop.deadline.min(deadline),
            None if matches!(self.run, Run::Running(..)) => self.stop = Some(Stop { deadline, stage: Stage::Asked }),
            None => {}
        }
    }

    /// Goes on with a stop under way.
    pub(super) fn drive_stop(&mut self, spec: &Spec, now: Moment, plan: &mut Plan) {
        let (Some(stop), Run::Running(..)) = (&mut self.stop, &self.run) else { return };
        let container = spec.name.clone();
        let run = self.starts.saturating_sub(1);
        let hook = spec.lifecycle.as_ref().is_some_and(|lifecycle| lifecycle.pre_stop.is_some());
        match stop.stage {
            Stage::Asked if hook && now < stop.deadline => {
                stop.stage = Stage::PreStop;
                plan.actions.push(Action::PreStop { container, run });
            }
            Stage::Asked | Stage::PreStopped if now < stop.deadline => {
                stop.stage = Stage::Terminating;
                plan.actions.push(Action::Signal { container, run, kill: false });
            }
            Stage::PreStop if now >= stop.deadline => {
                stop.stage = Stage::Terminating;
                stop.deadline = now.after(LAST_CHANCE);
                plan.actions.push(Action::Signal { container, run, kill: false });
            }
            Stage::Asked | Stage::PreStopped | Stage::Terminating if now >= stop.deadline => {
                stop.stage = Stage::Killed;
                plan.actions.push(Action::Signal { container, run, kill: true });
            }
            Stage::Killed => return,
            _ => {}
        }
        if stop.stage != Stage::Killed {
            plan.wake_at(stop.deadline);
        }
    }
}

/// Stops everything of an ending pod in its order, then its sandbox, then its volumes.
pub(super) fn stop_pod(memory: &mut Memory, pod: &Pod, now: Moment, plan: &mut Plan) {
    let Some(deadline) = memory.ending.as_ref().map(|ending| ending.deadline) else { return };
    let grace = i64::try_from(deadline.since(now).as_millis().div_ceil(1000)).unwrap_or(i64::MAX);
    let alive = |memory: &Memory, name: &str| memory.containers.get(name).is_some_and(Container::is_alive);
    let others_alive = all_containers(pod).any(|(role, spec)| role != Role::Sidecar && alive(memory, &spec.name));
    let last_sidecar =
        containers(pod).filter(|(role, spec)| *role == Role::Sidecar && alive(memory, &spec.name)).last();
    for (role, spec) in all_containers(pod) {
        let turn = match role {
            Role::Sidecar => {
                now >= deadline || !others_alive && last_sidecar.is_some_and(|(_, last)| last.name == spec.name)
            }
            _ => true,
        };
        if !turn {
            plan.wake_at(deadline);
            continue;
        }
        let Some(container) = memory.containers.get_mut(&spec.name) else { continue };
        let fresh = container.stop.is_none() && matches!(container.run, Run::Running(..));
        container.begin_stop(now, grace);
        container.drive_stop(&spec, now, plan);
        if fresh {
            memory.note(Severity::Normal, "Killing", format!("Stopping container {}", spec.name), &spec.name);
        }
    }
}
