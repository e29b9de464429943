// SPDX-License-Identifier: Apache-2.0
//! The task of one pod: steps the state machine on each event or wake-up, never on a tick.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{HostIP, Pod};
use knarr_client::events::Severity as EventSeverity;
use knarr_runtime::{ContainerState, PodStatus as RuntimeStatus, PodUid, SandboxState};
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use crate::actions::{Doer, host_ports};
use crate::container::{TERMINATION_MESSAGE_MAX, termination_file};
use crate::context::{Context, PodView};
use crate::layout::{read_record, write_record};
use crate::pod::{Action, Event, Exit, Memory, Moment, Plan, Run, Sandbox, Severity, Volumes, any_container, step};
use crate::pod::{Amount, admit, capacity, differs, requests, with_allocation};
use crate::refresh::Refresh;
use crate::writer::{Target, Wanted, keep_written};
use crate::{logs, volumes};

/// The record of a pod in its folder.
const RECORD: &str = "pod.json";

/// What a pod's task is told.
#[derive(Debug)]
pub enum Mail {
    /// The object changed.
    Pod(Arc<Pod>),
    /// The object is not in the API any more.
    Gone,
    /// Something happened on the node.
    Event(Event),
    /// A run ended, by the runtime's account.
    Exit(String, u32, knarr_runtime::Exit),
    /// A ConfigMap or Secret of the pod changed.
    Refresh,
}

/// A pod as it is kept on disk, for a new agent and for starts without a server.
#[derive(Clone, Serialize, Deserialize)]
pub struct Record {
    /// The object as last seen.
    pub pod: Pod,
    /// What the state machine remembers.
    pub memory: Memory,
}

impl Record {
    /// Reads the record in a pod's folder.
    #[must_use]
    pub fn read(dir: &Path) -> Option<Self> {
        read_record(&dir.join(RECORD))
    }
}

/// Starts the task of a pod; `done` is told its uid when nothing of it is left.
pub fn start(
    context: Arc<Context>,
    record: Record,
    found: Option<RuntimeStatus>,
    done: mpsc::UnboundedSender<PodUid>,
) -> Option<mpsc::UnboundedSender<Mail>> {
    let uid = PodUid::new(record.pod.metadata.uid.clone()?)?;
    let (sender, receiver) = mpsc::unbounded_channel();
    let view = Arc::new(PodView {
        uid,
        pod: RwLock::new(Arc::new(record.pod)),
        memory: Mutex::new(record.memory),
        volumes: Mutex::default(),
        changed: watch::Sender::new(()),
        images: Mutex::default(),
        mail: sender.clone(),
    });
    context.pods.write().insert(key(&view.pod()), Arc::clone(&view));
    let worker = Worker {
        context,
        view,
        mail: sender.clone(),
        gone: false,
        wanted: None,
        kept: None,
        refresh: Refresh::default(),
    };
    let spawner = Arc::clone(&worker.context);
    spawner.spawn(async move {
        let uid = worker.view.uid.clone();
        worker.run(receiver, found).await;
        let _ = done.send(uid);
    });
    Some(sender)
}

struct Worker {
    context: Arc<Context>,
    view: Arc<PodView>,
    mail: mpsc::UnboundedSender<Mail>,
    /// The object is not in the API any more.
    gone: bool,
    /// The object as the API has it, where it asks for other resources than the pod has.
    wanted: Option<Arc<Pod>>,
    /// The record as last written.
    kept: Option<Memory>,
    refresh: Refresh,
}

impl Worker {
    async fn run(mut self, mut mail: mpsc::UnboundedReceiver<Mail>, found: Option<RuntimeStatus>) {
        self.adopt(found).await;
        let pod = self.view.pod();
        let (wanted, writes) = watch::channel(Wanted::default());
        let (gone, mut went) = mpsc::unbounded_channel();
        let target = Target {
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            name: pod.metadata.name.clone().unwrap_or_default(),
            uid: self.view.uid.as_str().to_owned(),
        };
        let writer = keep_written(self.context.client.clone(), target, pod.status.clone(), writes, gone);
        let end_writer = self.context.cancel.child_token();
        let end = end_writer.clone().drop_guard();
        self.context.spawn(async move {
            end_writer.run_until_cancelled(writer).await;
        });
        let mut freed = self.context.allocation.freed.subscribe();
        loop {
            let (plan, over) = self.step();
            self.carry_out(&plan, &wanted);
            if over {
                break;
            }
            let wake = self.wake(&plan);
            let deferred = self.deferred();
            tokio::select! {
                first = mail.recv() => {
                    let Some(first) = first else { break };
                    self.take(first);
                    while let Ok(next) = mail.try_recv() {
                        self.take(next);
                    }
                }
                Ok(()) = freed.changed(), if deferred.is_some() => deferred.into_iter().for_each(|pod| self.take(Mail::Pod(pod))),
                Some(()) = went.recv() => self.take(Mail::Gone),
                () = sleep_until(wake) => {}
            }
        }
        drop(end);
        self.forget();
    }

    /// The object whose resources the node may have when others have given some back.
    fn deferred(&self) -> Option<Arc<Pod>> {
        self.wanted.clone().filter(|_| self.view.memory.lock().resize_is_deferred())
    }

    /// One step of the machine; true when nothing of the pod is left, here or in the API.
    fn step(&mut self) -> (Plan, bool) {
        let pod = self.view.pod();
        let now = Moment::now();
        let mut memory = self.view.memory.lock();
        let mut plan = step(&mut memory, &pod, now);
        let host = self.context.addresses.iter().map(|ip| HostIP { ip: ip.to_string() }).collect::<Vec<_>>();
        plan.status.host_ip = host.first().map(|host| host.ip.clone());
        plan.status.host_ips = (!host.is_empty()).then_some(host);
        let over = self.gone && memory.removed;
        // Once its folder is gone, nothing of it is written again.
        if !over && !memory.removed && self.kept.as_ref() != Some(&*memory) {
            let record = Record { pod: (*pod).clone(), memory: memory.clone() };
            match write_record(&self.context.layout.pod(self.view.uid.as_str()).join(RECORD), &record) {
                Ok(()) => self.kept = Some(record.memory),
                Err(error) => tracing::error!(%error, "a pod's record was not written"),
            }
        }
        (plan, over)
    }

    fn carry_out(&self, plan: &Plan, wanted: &watch::Sender<Wanted>) {
        self.view.changed.send_replace(());
        let remove = plan.actions.contains(&Action::Remove) || wanted.borrow().remove;
        let next = Wanted { status: Some(plan.status.clone()), remove };
        wanted.send_if_modified(|current| {
            let differs = *current != next;
            *current = next;
            differs
        });
        for note in &plan.notes {
            let severity = match note.severity {
                Severity::Normal => EventSeverity::Normal,
                Severity::Warning => EventSeverity::Warning,
            };
            self.context.tell(&self.view.pod(), note.container.as_deref(), severity, note.reason, &note.message);
        }
        for action in plan.actions.iter().filter(|action| **action != Action::Remove) {
            self.context.spawn(self.doer().act(action.clone()));
        }
    }

    fn doer(&self) -> Doer {
        Doer { context: Arc::clone(&self.context), view: Arc::clone(&self.view), mail: self.mail.clone() }
    }

    fn take(&mut self, mail: Mail) {
        let now = Moment::now();
        match mail {
            Mail::Pod(pod) => {
                let before = self.view.pod();
                self.wanted = Some(Arc::clone(&pod));
                let pod = self.allocate(pod, &before, now);
                // The downward API shows them.
                let shown = |pod: &Pod| (pod.metadata.labels.clone(), pod.metadata.annotations.clone());
                if shown(&before) != shown(&pod) {
                    self.refresh();
                }
            }
            Mail::Gone => self.object_gone(),
            Mail::Event(Event::VolumesReady | Event::VolumesFailed(_)) if self.refresh.is_running() => self.refreshed(),
            Mail::Event(Event::VolumesReady) => {
                self.observe(Event::VolumesReady, now);
                self.refreshed();
            }
            Mail::Event(event) => self.observe(event, now),
            Mail::Exit(name, run, exit) => {
                let exit = self.exit(&name, run, &exit);
                self.observe(Event::Exited(name, run, exit), now);
            }
            Mail::Refresh => self.refresh(),
        }
    }

    /// The pod as it is from now on: with the resources that it asks for, if the node has them to give, else with those
    /// that it has had.
    fn allocate(&self, wanted: Arc<Pod>, before: &Pod, now: Moment) -> Arc<Pod> {
        let _turn = self.context.allocation.turn.lock();
        let generation = wanted.metadata.generation;
        let pod = if !differs(before, &wanted) {
            self.view.memory.lock().resize_withdrawn();
            wanted
        } else {
            let others = self.context.pods.read().values().filter(|view| view.uid != self.view.uid).cloned().collect();
            let others: Vec<Arc<PodView>> = others;
            let holds = |view: &&Arc<PodView>| view.memory.lock().sandbox != Sandbox::Removed;
            let taken =
                others.iter().filter(holds).map(|view| requests(&view.pod())).fold(Default::default(), Amount::plus);
            let admitted = admit(capacity(&self.context.allocatable), taken, requests(&wanted));
            let mut memory = self.view.memory.lock();
            match admitted {
                Ok(()) => {
                    memory.resize_allocated(generation, now);
                    wanted
                }
                Err(refusal) => {
                    memory.resize_refused(refusal, generation, now);
                    Arc::new(with_allocation(&wanted, before))
                }
            }
        };
        *self.view.pod.write() = Arc::clone(&pod);
        if requests(&pod) != requests(before) {
            self.context.allocation.freed.send_replace(());
        }
        pod
    }

    fn observe(&self, event: Event, now: Moment) {
        let pod = self.view.pod();
        self.view.memory.lock().observe(&pod, event, now);
    }

    /// Without its object a pod ends as if it had been deleted with the grace that it has.
    fn object_gone(&mut self) {
        self.gone = true;
        let mut slot = self.view.pod.write();
        if slot.metadata.deletion_timestamp.is_none() {
            let mut pod = (**slot).clone();
            pod.metadata.deletion_timestamp = Some(Moment::now().time());
            *slot = Arc::new(pod);
        }
    }

    /// Brings the volumes up to date while the pod runs.
    fn refresh(&mut self) {
        let ready = self.view.memory.lock().volumes == Volumes::Ready;
        if self.refresh.ask(ready) {
            self.set_up_again();
        }
    }

    /// The volumes show what there was; there may be something new.
    fn refreshed(&mut self) {
        if self.refresh.over() {
            self.set_up_again();
        }
    }

    fn set_up_again(&mut self) {
        if self.view.memory.lock().ending.is_some() {
            self.refresh = Refresh::default();
            return;
        }
        self.context.spawn(self.doer().act(Action::SetUpVolumes));
    }

    /// When to step again; a token that is due for renewal counts as a change of its volume.
    fn wake(&mut self, plan: &Plan) -> Option<Moment> {
        let renew = self.view.volumes.lock().renew;
        if renew.is_some_and(|renew| renew <= Moment::now()) && !self.refresh.is_running() {
            self.refresh();
        }
        let renew = renew.filter(|renew| *renew > Moment::now());
        plan.wake.into_iter().chain(renew).min()
    }

    /// An exit as the status tells of it, with the container's last words.
    fn exit(&self, name: &str, run: u32, exit: &knarr_runtime::Exit) -> Exit {
        let id = self.view.container(name, run);
        let reason = match (exit.oom_killed, exit.code) {
            (true, _) => "OOMKilled",
            (false, 0) => "Completed",
            (false, _) => "Error",
        };
        let message = exit.message.clone().unwrap_or_else(|| self.last_words(name, run, exit.code));
        let moment = |nanoseconds: u64| Moment(i64::try_from(nanoseconds / 1_000_000).unwrap_or(i64::MAX));
        Exit {
            id: id.uri(),
            code: exit.code,
            reason: reason.to_owned(),
            message,
            started: moment(exit.started_at_ns),
            finished: moment(exit.finished_at_ns),
        }
    }

    fn last_words(&self, name: &str, run: u32, code: i32) -> String {
        let pod = self.view.pod();
        let uid = self.view.uid.as_str();
        let file = termination_file(&self.context.layout.pod(uid), name, run);
        let bytes = std::fs::read(file).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(TERMINATION_MESSAGE_MAX)]).into_owned();
        let from_logs = any_container(&pod, name)
            .is_some_and(|(_, spec)| spec.termination_message_policy.as_deref() == Some("FallbackToLogsOnError"));
        if text.is_empty() && from_logs && code != 0 {
            return logs::last_text(&logs::file(&self.context.layout.logs(uid), name, run), 80, 2048);
        }
        text
    }

    /// Makes the memory agree with what the runtime has, after a restart of the agent or the host.
    async fn adopt(&mut self, found: Option<RuntimeStatus>) {
        let now = Moment::now();
        let alive = found.as_ref().is_some_and(|status| status.state == SandboxState::Ready);
        let known =
            matches!(self.view.memory.lock().sandbox, Sandbox::Ready(_) | Sandbox::Starting | Sandbox::Stopping);
        if !alive && (known || found.is_some()) {
            if let Err(error) = self.context.runtime.remove_pod(&self.view.uid).await {
                tracing::warn!(pod = %self.view.uid, %error, "what is left of a pod was not removed");
            }
            // It comes back at the address that other nodes know, as long as no server tells them another.
            let _ = self.context.network.disconnect(self.view.uid.as_str()).await;
            if known {
                self.observe(Event::SandboxGone, now);
            }
        }
        let runs: HashMap<(String, u32), ContainerState> = found
            .into_iter()
            .filter(|_| alive)
            .flat_map(|status| status.containers)
            .map(|container| ((container.id.name, container.id.attempt), container.state))
            .collect();
        let current: Vec<(String, u32, Run)> = {
            let memory = self.view.memory.lock();
            let of = |(name, container): (&String, &crate::pod::Container)| {
                Some((name.clone(), container.starts.checked_sub(1)?, container.run.clone()))
            };
            memory.containers.iter().filter_map(of).collect()
        };
        for (name, run, state) in current {
            let id = self.view.container(&name, run);
            match (runs.get(&(name.clone(), run)), state) {
                (Some(ContainerState::Running { started_at_ns, .. }), Run::Starting) => {
                    let at = Moment(i64::try_from(started_at_ns / 1_000_000).unwrap_or(now.0));
                    self.observe(Event::Started(name, run, id.uri(), at), now);
                }
                (Some(ContainerState::Exited(exit)), Run::Starting | Run::Running(..)) => {
                    let exit = self.exit(&name, run, exit);
                    self.observe(Event::Exited(name, run, exit), now);
                }
                (None, Run::Running(id, started)) if alive => {
                    self.observe(Event::Exited(name, run, Exit::unseen(id, started, now)), now);
                }
                _ => {}
            }
        }
        let mut memory = self.view.memory.lock();
        memory.forget_in_flight();
        if let Sandbox::Ready(ips) = &memory.sandbox {
            self.context.network.host_ports(self.view.uid.as_str(), host_ports(&self.view.pod(), ips));
        }
    }

    /// The last of a pod: its folder, and what only it needed.
    fn forget(&self) {
        let uid = self.view.uid.as_str();
        self.context.objects.release(uid);
        let mut pods = self.context.pods.write();
        let key = key(&self.view.pod());
        if pods.get(&key).is_some_and(|view| Arc::ptr_eq(view, &self.view)) {
            pods.remove(&key);
        }
        drop(pods);
        self.context.allocation.freed.send_replace(());
        let dir = self.context.layout.pod(uid);
        let removed = volumes::unmount_below(&dir).map(drop).and_then(|()| {
            std::fs::remove_dir_all(&dir).or_else(|error| {
                if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error.to_string()) }
            })
        });
        if let Err(error) = removed {
            tracing::warn!(pod = uid, error, "a pod's folder was not removed");
        }
    }
}

fn key(pod: &Pod) -> (String, String) {
    (pod.metadata.namespace.clone().unwrap_or_default(), pod.metadata.name.clone().unwrap_or_default())
}

async fn sleep_until(wake: Option<Moment>) {
    match wake {
        Some(wake) => tokio::time::sleep(wake.since(Moment::now()).max(Duration::from_millis(1))).await,
        None => std::future::pending().await,
    }
}
