// SPDX-License-Identifier: Apache-2.0
//! What the node knows of one pod: built from events, kept on disk, read by the steps.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container as Spec, Pod, ResourceRequirements};
use serde::{Deserialize, Serialize};

use super::back_off::BackOff;
use super::probe::{ProbeKind, ProbeState};
use super::resize::Resize;
use super::restart::Restart;
use super::spec::{all_containers, find_container};
use super::step::{Note, Severity};
use super::stop::Stop;
use super::{Moment, Role};

/// `status.reason` of a pod that the node ends for what it takes.
pub(super) const EVICTED: &str = "Evicted";
/// How long its processes get to end.
const EVICTION_GRACE: Duration = Duration::from_secs(1);

/// Everything remembered of one pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// When the node took the pod.
    pub started: Option<Moment>,
    /// The pod's namespaces and its network.
    pub sandbox: Sandbox,
    /// The pod's volumes.
    pub volumes: Volumes,
    /// By name, of all roles.
    pub containers: BTreeMap<String, Container>,
    /// Set once the pod is to end, by deletion or by itself.
    pub ending: Option<Ending>,
    /// Whether init containers have all run: from then on nothing waits for them.
    pub initialized: bool,
    /// Set while all containers are ended to start again.
    pub(super) restarting: Option<Restart>,
    /// A change of resources.
    pub(super) resize: Resize,
    /// Type -> (status, since) of the conditions last reported.
    pub(super) conditions: BTreeMap<String, (bool, Moment)>,
    /// The final deletion was asked for.
    pub removed: bool,
    /// What the next step's plan reports as Events.
    #[serde(skip)]
    pub(super) notes: Vec<Note>,
}

/// The pod's namespaces, held by its shim.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Sandbox {
    /// Not there, or gone.
    #[default]
    Absent,
    /// Being made.
    Starting,
    /// There, with its addresses.
    Ready(Vec<IpAddr>),
    /// Could not be made; tried again at the moment given.
    Failed(String, Moment),
    /// Being removed.
    Stopping,
    /// Removed for good.
    Removed,
}

/// The pod's volumes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Volumes {
    /// Not there.
    #[default]
    Absent,
    /// Being made.
    SettingUp,
    /// There.
    Ready,
    /// Could not be made; tried again at the moment given.
    Failed(String, Moment),
    /// Being removed.
    Removing,
    /// Removed for good.
    Removed,
}

/// Why and until when a pod ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    /// When its processes are killed.
    pub deadline: Moment,
    /// `status.reason` and `status.message`, for pods that the node ends.
    pub cause: Option<(String, String)>,
}

/// One container of a pod, over all its runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Container {
    /// How often it was started; the current run is number `starts - 1`.
    pub starts: u32,
    /// The current run.
    pub run: Run,
    /// How the run before ended.
    pub last: Option<Exit>,
    /// The image for the next run.
    pub image: Image,
    /// Reference and id of the image of the current or last run.
    pub image_ref: (String, String),
    /// The image that the specification asked for when it was last looked for.
    pub(super) asked: String,
    /// It is stopped for another image or other resources, and starts again whatever its policy.
    pub(super) changed: bool,
    /// The resources that the current run has.
    pub(super) applied: Option<ResourceRequirements>,
    pub(super) restarts: BackOff,
    pub(super) pulls: BackOff,
    pub(super) configs: BackOff,
    pub(super) probes: BTreeMap<ProbeKind, ProbeState>,
    /// The postStart hook of the current run.
    pub(super) post_start: Hook,
    /// Set while the container is being stopped.
    pub(super) stop: Option<Stop>,
    /// An exit for which the back-off was already reported.
    pub(super) back_off_noted: bool,
}

/// One run of a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Run {
    /// Not running, and free to start.
    #[default]
    Idle,
    /// Being made.
    Starting,
    /// Could not be made: reason, message, next try.
    Refused(String, String, Moment),
    /// Running under the id since the moment given.
    Running(String, Moment),
    /// Over.
    Exited(Exit),
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exit {
    /// The runtime's id of the run.
    pub id: String,
    /// Exit code; 128 + signal for a killed process.
    pub code: i32,
    /// Completed, Error, OOMKilled, StartError or ContainerStatusUnknown.
    pub reason: String,
    /// The termination message.
    pub message: String,
    /// When it began.
    pub started: Moment,
    /// When it ended.
    pub finished: Moment,
}

impl Exit {
    /// Of a run whose end nobody saw: the runtime does not know it any more.
    pub(crate) fn unseen(id: String, started: Moment, finished: Moment) -> Self {
        let reason = "ContainerStatusUnknown".to_owned();
        let message = "The container could not be located when the pod was terminated".to_owned();
        Self { id, code: 137, reason, message, started, finished }
    }
}

/// The image of a container's next run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Image {
    /// Not looked for.
    #[default]
    Unknown,
    /// Being pulled, or looked for.
    Pulling,
    /// There.
    Ready,
    /// Could not be had: reason, message, when it failed, next try.
    Failed(String, String, Moment, Moment),
}

/// A lifecycle hook of the current run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hook {
    /// None, or not yet.
    #[default]
    Idle,
    /// Under way.
    Running,
    /// Done.
    Done,
}

/// What happened to a pod. Container events name the container, and the run by number.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The sandbox is there.
    SandboxReady(Vec<IpAddr>),
    /// The sandbox could not be made.
    SandboxFailed(String),
    /// The sandbox ended, asked for or not, and every container with it.
    SandboxGone,
    /// The volumes are there.
    VolumesReady,
    /// The volumes could not be made.
    VolumesFailed(String),
    /// The volumes are removed.
    VolumesGone,
    /// The image is there: reference and id.
    ImageReady(String, (String, String)),
    /// The image could not be had: reason and message.
    ImageFailed(String, String, String),
    /// The container runs: number, id, since.
    Started(String, u32, String, Moment),
    /// The container could not be made: number, reason, message.
    Refused(String, u32, String, String),
    /// The container ended.
    Exited(String, u32, Exit),
    /// The postStart hook ended: number, error.
    PostStarted(String, u32, Option<String>),
    /// The preStop hook ended: number, error.
    PreStopped(String, u32, Option<String>),
    /// A probe answered: number, kind, `Err` holding the reason of a failure.
    Probed(String, u32, ProbeKind, Result<(), String>),
    /// The pod takes more than it may, or more than the node has to give: why.
    Evicted(String),
    /// Groups were changed: name, run and resources of the containers that have theirs now, and what went wrong.
    Resized(Vec<(String, u32, ResourceRequirements)>, Option<String>),
}

impl Memory {
    /// Takes an event that came at `now`. Events of runs that are over are dropped.
    pub fn observe(&mut self, pod: &Pod, event: Event, now: Moment) {
        match event {
            Event::SandboxReady(ips) => self.sandbox = Sandbox::Ready(ips),
            Event::SandboxFailed(message) => {
                self.sandbox = Sandbox::Failed(message, now.after(Duration::from_secs(5)));
            }
            Event::SandboxGone => self.sandbox_gone(pod, now),
            Event::VolumesReady => self.volumes = Volumes::Ready,
            Event::VolumesFailed(message) => {
                self.volumes = Volumes::Failed(message, now.after(Duration::from_secs(2)));
            }
            Event::VolumesGone => self.volumes = Volumes::Removed,
            Event::Evicted(message) => self.evicted(message, now),
            Event::Resized(done, error) => self.resized(done, error, now),
            Event::ImageReady(name, image) => {
                if let Some(container) = self.containers.get_mut(&name) {
                    container.image = Image::Ready;
                    container.image_ref = image;
                    container.pulls = BackOff::default();
                }
            }
            Event::ImageFailed(name, reason, message) => {
                if let Some(container) = self.containers.get_mut(&name) {
                    container.pulls.tried(now);
                    container.image = Image::Failed(reason, message, now, now.after(container.pulls.delay()));
                }
            }
            Event::Started(name, run, ..)
            | Event::Refused(name, run, ..)
            | Event::Exited(name, run, _)
            | Event::PostStarted(name, run, _)
            | Event::PreStopped(name, run, _)
            | Event::Probed(name, run, ..)
                if self.containers.get(&name).is_none_or(|c| c.starts != run + 1 || !c.is_alive()) => {}
            event => self.observe_run(pod, event, now),
        }
    }

    fn observe_run(&mut self, pod: &Pod, event: Event, now: Moment) {
        match event {
            Event::Started(name, _, id, at) => self.with(&name, |container| {
                container.configs = BackOff::default();
                container.run = Run::Running(id, at);
            }),
            Event::Refused(name, _, reason, message) => self.with(&name, |container| {
                container.starts -= 1;
                container.configs.tried(now);
                container.run = Run::Refused(reason, message, now.after(container.configs.delay()));
            }),
            Event::Exited(name, _, mut exit) => {
                // A clock that was set back must not make a restart wait for the time before.
                exit.finished = exit.finished.min(now);
                self.with(&name, |container| container.exited(exit));
            }
            Event::PostStarted(name, _, error) => {
                self.with(&name, |container| container.post_start = Hook::Done);
                if let Some(error) = error {
                    self.post_start_failed(pod, &name, &error, now);
                }
            }
            Event::PreStopped(name, _, error) => {
                self.with(&name, |container| {
                    if let Some(stop) = &mut container.stop {
                        stop.pre_stopped();
                    }
                });
                if let Some(error) = error {
                    self.note(Severity::Warning, "FailedPreStopHook", format!("PreStopHook failed: {error}"), &name);
                }
            }
            Event::Probed(name, _, kind, answer) => self.probed(pod, &name, kind, answer, now),
            _ => {}
        }
    }

    /// The pod ends with hardly any grace: what it takes is needed by others.
    fn evicted(&mut self, message: String, now: Moment) {
        if self.ending.is_some() {
            return;
        }
        self.note(Severity::Warning, EVICTED, message.clone(), "");
        let deadline = now.after(EVICTION_GRACE);
        self.ending = Some(Ending { deadline, cause: Some((EVICTED.to_owned(), message)) });
    }

    /// The containers' runs and the sandbox of a pod whose processes a restart of the host, or
    /// the death of its shim, has ended.
    fn sandbox_gone(&mut self, pod: &Pod, now: Moment) {
        let wanted = self.sandbox == Sandbox::Stopping || self.ending.is_some();
        self.sandbox = if wanted { Sandbox::Removed } else { Sandbox::Absent };
        for (role, spec) in all_containers(pod) {
            let Some(container) = self.containers.get_mut(&spec.name) else { continue };
            container.lost(now);
            if matches!(container.run, Run::Refused(..)) {
                // Whatever was wrong, the next sandbox is another one.
                container.run = Run::Idle;
            }
            let starts_over = role == Role::Init && !wanted && matches!(container.run, Run::Exited(_));
            if let (true, Run::Exited(exit)) = (starts_over, container.run.clone()) {
                container.last = Some(exit);
                container.run = Run::Idle;
                container.image = Image::Unknown;
            }
        }
        if !wanted {
            self.initialized = false;
        }
    }

    fn post_start_failed(&mut self, pod: &Pod, name: &str, error: &str, now: Moment) {
        self.note(Severity::Warning, "FailedPostStartHook", format!("PostStartHook failed: {error}"), name);
        let grace = super::grace_period(pod);
        self.with(name, |container| container.begin_stop(now, grace));
    }

    fn probed(&mut self, pod: &Pod, name: &str, kind: ProbeKind, answer: Result<(), String>, now: Moment) {
        let Some((_, spec)) = find_container(pod, name) else { return };
        let Some(probe) = kind.of(spec) else { return };
        self.with(name, |container| {
            container.probes.entry(kind).or_default().answer(probe, answer.is_ok(), now);
        });
        if let Err(message) = answer {
            let message = format!("{} probe failed: {message}", kind.title());
            self.note(Severity::Warning, "Unhealthy", message, name);
        }
    }

    fn with(&mut self, name: &str, f: impl FnOnce(&mut Container)) {
        if let Some(container) = self.containers.get_mut(name) {
            f(container);
        }
    }

    pub(super) fn note(&mut self, severity: Severity, reason: &'static str, message: String, container: &str) {
        let container = Some(container.to_owned()).filter(|name| !name.is_empty());
        self.notes.push(Note { severity, reason, message, container });
    }

    /// After a restart of the agent: nothing is under way any more, so the steps may ask again.
    /// What really runs is then told by events.
    pub fn forget_in_flight(&mut self) {
        if self.sandbox == Sandbox::Starting {
            self.sandbox = Sandbox::Absent;
        }
        if matches!(self.volumes, Volumes::SettingUp | Volumes::Ready | Volumes::Failed(..)) {
            self.volumes = Volumes::Absent;
        }
        if self.volumes == Volumes::Removing {
            self.volumes = Volumes::Ready;
        }
        if self.sandbox == Sandbox::Stopping {
            self.sandbox = Sandbox::Ready(Vec::new());
        }
        self.removed = false;
        self.resize.forget_in_flight();
        for container in self.containers.values_mut() {
            if matches!(container.image, Image::Pulling | Image::Ready) {
                container.image = Image::Unknown;
            }
            if container.run == Run::Starting {
                container.run = Run::Idle;
                container.starts -= 1;
            }
            if container.post_start == Hook::Running {
                container.post_start = Hook::Idle;
            }
            if let Some(stop) = &mut container.stop {
                stop.forget_in_flight();
            }
        }
    }
}

impl Container {
    /// Whether a process of it may be alive.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        matches!(self.run, Run::Starting | Run::Running(..))
    }

    /// Whether the specification asks for another image than it did; a pod's containers change in nothing else.
    pub(super) fn is_changed(&self, spec: &Spec) -> bool {
        !self.asked.is_empty() && spec.image.as_ref().is_some_and(|image| *image != self.asked)
    }

    /// Whether it is coming up and has a postStart hook that is still to end.
    pub(super) fn keeps_others_waiting(&self, spec: &Spec) -> bool {
        let coming_up = match self.run {
            Run::Idle => !matches!(self.image, Image::Failed(..)),
            Run::Starting => true,
            Run::Running(..) => self.post_start != Hook::Done,
            Run::Refused(..) | Run::Exited(_) => false,
        };
        coming_up && spec.lifecycle.as_ref().is_some_and(|lifecycle| lifecycle.post_start.is_some())
    }

    fn exited(&mut self, exit: Exit) {
        self.run = Run::Exited(exit);
        self.probes.clear();
        self.post_start = Hook::Idle;
        self.stop = None;
        self.back_off_noted = false;
    }

    fn lost(&mut self, now: Moment) {
        let (id, started) = match &self.run {
            Run::Running(id, started) => (id.clone(), *started),
            Run::Starting => (String::new(), now),
            _ => return,
        };
        self.exited(Exit::unseen(id, started, now));
    }
}
