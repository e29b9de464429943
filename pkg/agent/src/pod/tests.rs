// SPDX-License-Identifier: Apache-2.0
//! Pods played by hand, in a world that does what the machine asks.

mod by_chance;
mod resize;
mod restart_all;

use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};
use serde_json::{Value, json};

use super::step::Note;
use super::*;

/// A pod, its memory, and a clock.
struct World {
    pod: Pod,
    memory: Memory,
    now: Moment,
    status: PodStatus,
    notes: Vec<Note>,
    wake: Option<Moment>,
}

impl World {
    fn new(spec: Value) -> Self {
        let pod = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec});
        Self {
            pod: serde_json::from_value(pod).unwrap(),
            memory: Memory::default(),
            now: Moment(1_000_000_000_000),
            status: PodStatus::default(),
            notes: Vec::new(),
            wake: None,
        }
    }

    fn step(&mut self) -> Vec<Action> {
        let plan = step(&mut self.memory, &self.pod, self.now);
        assert!(plan.wake.is_none_or(|wake| wake > self.now), "a wake-up in the past turns in circles");
        self.notes.extend(plan.notes);
        self.wake = plan.wake;
        self.status = plan.status;
        plan.actions
    }

    fn event(&mut self, event: Event) {
        self.memory.observe(&self.pod, event, self.now);
    }

    fn after(&mut self, seconds: u64) {
        self.now = self.now.after(Duration::from_secs(seconds));
    }

    /// Does everything that is asked for, well, until nothing is; gives what was asked.
    fn settle(&mut self) -> Vec<Action> {
        let mut all = Vec::new();
        loop {
            let actions = self.step();
            if actions.is_empty() {
                return all;
            }
            self.succeed(&actions);
            all.extend(actions);
        }
    }

    fn succeed(&mut self, actions: &[Action]) {
        let events: Vec<Event> = actions.iter().filter_map(|action| good(action, self.now)).collect();
        events.into_iter().for_each(|event| self.event(event));
    }

    fn exit(&mut self, name: &str, code: i32) {
        let run = self.memory.containers[name].starts - 1;
        let exit = exit(code, self.now);
        self.event(Event::Exited(name.to_owned(), run, exit));
    }

    fn delete(&mut self, grace: i64) {
        self.pod.metadata.deletion_timestamp = Some(self.now.time());
        self.pod.metadata.deletion_grace_period_seconds = Some(grace);
    }

    fn container(&self, name: &str) -> &ContainerStatus {
        let init = self.status.init_container_statuses.iter().flatten();
        init.chain(self.status.container_statuses.iter().flatten()).find(|status| status.name == name).unwrap()
    }

    /// `Waiting(reason)`, `Running`, or `Terminated(reason)`.
    fn state(&self, name: &str) -> String {
        let state = self.container(name).state.clone().unwrap();
        match (state.waiting, state.terminated) {
            (Some(waiting), _) => format!("Waiting({})", waiting.reason.unwrap()),
            (_, Some(terminated)) => format!("Terminated({})", terminated.reason.unwrap()),
            _ => "Running".to_owned(),
        }
    }

    fn phase(&self) -> &str {
        self.status.phase.as_deref().unwrap()
    }

    fn condition(&self, type_: &str) -> (String, Option<String>) {
        let condition = self.status.conditions.iter().flatten().find(|condition| condition.type_ == type_).unwrap();
        (condition.status.clone(), condition.reason.clone())
    }

    fn is_true(&self, type_: &str) -> bool {
        self.condition(type_).0 == "True"
    }
}

fn exit(code: i32, now: Moment) -> Exit {
    let reason = if code == 0 { "Completed" } else { "Error" };
    Exit { id: "id".into(), code, reason: reason.into(), message: String::new(), started: now, finished: now }
}

/// How an action ends when all goes well. Signals end their container at once.
fn good(action: &Action, now: Moment) -> Option<Event> {
    Some(match action.clone() {
        Action::StartSandbox => Event::SandboxReady(vec!["10.42.0.2".parse().unwrap()]),
        Action::StopSandbox => Event::SandboxGone,
        Action::SetUpVolumes => Event::VolumesReady,
        Action::CleanVolumes => Event::VolumesGone,
        Action::EnsureImage { container } => Event::ImageReady(container, ("image".into(), "id".into())),
        Action::Start { container, run } => Event::Started(container, run, "id".into(), now),
        Action::PostStart { container, run } => Event::PostStarted(container, run, None),
        Action::PreStop { container, run } => Event::PreStopped(container, run, None),
        Action::Signal { container, run, kill } => {
            Event::Exited(container, run, exit(if kill { 137 } else { 143 }, now))
        }
        Action::Probe { container, run, kind } => Event::Probed(container, run, kind, Ok(())),
        Action::Resize => Event::Resized(Vec::new(), None),
        Action::Remove => return None,
    })
}

fn one(extra: Value) -> Value {
    let mut container = json!({"name": "c", "image": "i"});
    container.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    json!({"containers": [container]})
}

#[test]
fn a_pod_gets_its_sandbox_volumes_and_image_side_by_side_then_runs() {
    let mut world = World::new(one(json!({})));
    let first = world.step();
    assert_eq!(first.len(), 3, "{first:?}");
    assert_eq!((world.phase(), world.state("c").as_str()), ("Pending", "Waiting(ContainerCreating)"));
    assert_eq!(world.step(), [], "nothing is asked for twice");
    world.succeed(&first);
    assert_eq!(world.settle(), [Action::Start { container: "c".into(), run: 0 }]);
    assert_eq!((world.phase(), world.state("c").as_str()), ("Running", "Running"));
    assert!(world.is_true("Ready") && world.is_true("PodReadyToStartContainers") && world.is_true("Initialized"));
    assert_eq!(world.status.pod_ip.as_deref(), Some("10.42.0.2"));
    assert_eq!(world.wake, None, "a pod without probes needs no wake-up");
}

#[test]
fn a_crashing_container_waits_longer_each_time() {
    let mut world = World::new(one(json!({})));
    world.settle();
    world.exit("c", 1);
    assert!(world.settle().contains(&Action::Start { container: "c".into(), run: 1 }), "the first restart is at once");
    let mut pauses = Vec::new();
    for _ in 0..6 {
        world.exit("c", 1);
        assert_eq!(world.settle(), []);
        assert_eq!((world.phase(), world.state("c").as_str()), ("Running", "Waiting(CrashLoopBackOff)"));
        let wake = world.wake.unwrap();
        pauses.push(wake.since(world.now).as_secs());
        world.now = wake;
        world.settle();
    }
    assert_eq!(pauses, [10, 20, 40, 80, 160, 300]);
    assert_eq!(world.container("c").restart_count, 7);
    let noted = world.notes.iter().filter(|note| note.reason == "BackOff").count();
    assert_eq!(noted, 6, "each back-off is told once");
}

#[test]
fn restart_policies_decide_the_phase() {
    let cases = [
        ("Always", 0, "Running", "Running"),
        ("Always", 1, "Running", "Running"),
        ("OnFailure", 0, "Succeeded", "Terminated(Completed)"),
        ("OnFailure", 1, "Running", "Running"),
        ("Never", 0, "Succeeded", "Terminated(Completed)"),
        ("Never", 1, "Failed", "Terminated(Error)"),
    ];
    for (policy, code, phase, state) in cases {
        let mut spec = one(json!({}));
        spec["restartPolicy"] = json!(policy);
        let mut world = World::new(spec);
        world.settle();
        world.exit("c", code);
        let asked = world.settle();
        assert_eq!((world.phase(), world.state("c").as_str()), (phase, state), "{policy} {code}");
        let ended = phase != "Running";
        assert_eq!(asked.contains(&Action::StopSandbox), ended, "{policy} {code}");
        assert!(!asked.contains(&Action::Remove), "only a deleted pod is removed");
    }
}

#[test]
fn init_containers_run_in_order_and_sidecars_stay() {
    let mut world = World::new(json!({
        "initContainers": [{"name": "a"}, {"name": "side", "restartPolicy": "Always"}, {"name": "b"}],
        "containers": [{"name": "c"}]
    }));
    world.settle();
    assert_eq!((world.state("a").as_str(), world.state("side").as_str()), ("Running", "Waiting(PodInitializing)"));
    assert_eq!(world.condition("Initialized").1.as_deref(), Some("ContainersNotInitialized"));
    world.exit("a", 0);
    world.settle();
    assert_eq!((world.state("side").as_str(), world.state("b").as_str()), ("Running", "Running"));
    assert_eq!((world.phase(), world.state("c").as_str()), ("Pending", "Waiting(PodInitializing)"));
    world.exit("b", 1);
    world.settle();
    assert_eq!(world.container("b").restart_count, 1, "a failed init container runs again");
    world.exit("b", 0);
    world.settle();
    assert_eq!((world.phase(), world.state("c").as_str()), ("Running", "Running"));
    world.exit("side", 3);
    world.settle();
    assert_eq!((world.container("side").restart_count, world.state("side").as_str()), (1, "Running"));
    world.delete(30);
    let order: Vec<String> = world
        .settle()
        .into_iter()
        .filter_map(|action| match action {
            Action::Signal { container, .. } => Some(container),
            _ => None,
        })
        .collect();
    assert_eq!(order, ["c", "side"], "sidecars stop last");
}

#[test]
fn containers_wait_for_the_hook_of_those_before_them() {
    let hook = json!({"postStart": {"exec": {"command": ["true"]}}});
    let mut world = World::new(json!({"containers": [{"name": "a", "lifecycle": hook}, {"name": "b"}, {"name": "c"}]}));
    let mut hooks = Vec::new();
    loop {
        let (mut actions, hook): (Vec<_>, Vec<_>) =
            world.step().into_iter().partition(|action| !matches!(action, Action::PostStart { .. }));
        hooks.extend(hook);
        if actions.is_empty() {
            break;
        }
        world.succeed(&std::mem::take(&mut actions));
    }
    assert_eq!(
        ["a", "b", "c"].map(|name| world.state(name)),
        ["Running", "Waiting(ContainerCreating)", "Waiting(ContainerCreating)"]
    );
    world.succeed(&hooks);
    world.settle();
    assert_eq!(["a", "b", "c"].map(|name| world.state(name)), ["Running", "Running", "Running"]);
    world.exit("a", 1);
    world.exit("b", 1);
    let starts = |actions: Vec<Action>| -> Vec<String> {
        actions
            .into_iter()
            .filter_map(|a| if let Action::EnsureImage { container } = a { Some(container) } else { None })
            .collect()
    };
    assert_eq!(starts(world.step()), ["a", "b"], "images come meanwhile");
}

#[test]
fn a_failed_init_container_fails_a_pod_that_never_restarts() {
    let mut world = World::new(json!({
        "restartPolicy": "Never", "initContainers": [{"name": "a"}], "containers": [{"name": "c"}]
    }));
    world.settle();
    world.exit("a", 1);
    world.settle();
    assert_eq!((world.phase(), world.state("c").as_str()), ("Failed", "Waiting(PodInitializing)"));
}

#[test]
fn deletion_runs_the_hook_then_terminates_then_kills() {
    let hook = json!({"lifecycle": {"preStop": {"sleep": {"seconds": 1}}}});
    let mut world = World::new(one(hook));
    world.settle();
    world.delete(30);
    assert_eq!(world.step(), [Action::PreStop { container: "c".into(), run: 0 }]);
    world.after(1);
    world.event(Event::PreStopped("c".into(), 0, None));
    assert_eq!(world.step(), [Action::Signal { container: "c".into(), run: 0, kill: false }]);
    assert_eq!(world.wake.unwrap().since(world.now).as_secs(), 29);
    world.after(29);
    assert_eq!(world.step(), [Action::Signal { container: "c".into(), run: 0, kill: true }]);
    world.exit("c", 137);
    let rest = world.settle();
    assert_eq!(rest, [Action::StopSandbox, Action::CleanVolumes, Action::Remove]);
    assert_eq!(world.phase(), "Failed");
}

#[test]
fn a_shorter_grace_of_a_second_deletion_counts() {
    let mut world = World::new(one(json!({})));
    world.settle();
    world.delete(300);
    assert_eq!(world.step(), [Action::Signal { container: "c".into(), run: 0, kill: false }]);
    world.delete(0);
    assert_eq!(world.step(), [Action::Signal { container: "c".into(), run: 0, kill: true }]);
}

#[test]
fn probes_gate_readiness_and_restart() {
    let mut world = World::new(one(json!({
        "startupProbe": {"periodSeconds": 1, "failureThreshold": 2},
        "readinessProbe": {"periodSeconds": 5},
        "livenessProbe": {"periodSeconds": 5, "failureThreshold": 1, "terminationGracePeriodSeconds": 3}
    })));
    let probe = |kind| Action::Probe { container: "c".into(), run: 0, kind };
    let answer = |kind, ok: bool| Event::Probed("c".into(), 0, kind, if ok { Ok(()) } else { Err("no".into()) });
    let first = world.step();
    world.succeed(&first);
    world.step();
    world.event(Event::Started("c".into(), 0, "id".into(), world.now));
    assert_eq!(world.step(), [probe(ProbeKind::Startup)], "the others wait for it");
    world.event(answer(ProbeKind::Startup, true));
    assert_eq!(world.step(), [probe(ProbeKind::Liveness), probe(ProbeKind::Readiness)]);
    assert_eq!(world.container("c").started, Some(true));
    assert!(!world.is_true("Ready"));
    world.event(answer(ProbeKind::Readiness, true));
    world.event(answer(ProbeKind::Liveness, true));
    world.step();
    assert!(world.is_true("Ready"));
    world.after(5);
    assert_eq!(world.step().len(), 2);
    world.event(answer(ProbeKind::Liveness, false));
    assert_eq!(world.step(), [Action::Signal { container: "c".into(), run: 0, kill: false }]);
    assert_eq!(world.wake.unwrap().since(world.now).as_secs(), 3, "the probe's own grace");
    let reasons: Vec<_> = world.notes.iter().map(|note| note.reason).collect();
    assert_eq!(reasons, ["Unhealthy", "Killing"]);
    world.exit("c", 143);
    world.settle();
    assert_eq!((world.container("c").restart_count, world.phase()), (1, "Running"));
}

#[test]
fn an_image_that_cannot_be_had_is_tried_again() {
    let mut world = World::new(one(json!({})));
    world.step();
    world.event(Event::ImageFailed("c".into(), "ErrImagePull".into(), "not found".into()));
    world.step();
    assert_eq!((world.phase(), world.state("c").as_str()), ("Pending", "Waiting(ErrImagePull)"));
    world.after(1);
    assert_eq!(world.step(), []);
    assert_eq!(world.state("c"), "Waiting(ImagePullBackOff)");
    assert_eq!(world.wake.unwrap().since(world.now).as_secs(), 9);
    world.after(9);
    assert_eq!(world.step(), [Action::EnsureImage { container: "c".into() }]);
}

#[test]
fn another_image_is_taken_at_once() {
    let image = |world: &mut World, name: &str| {
        world.pod.spec.as_mut().unwrap().containers[0].image = Some(name.to_owned());
    };
    let mut world = World::new(json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "a"}]}));
    let asked = world.step();
    world.succeed(
        &asked.iter().filter(|action| !matches!(action, Action::EnsureImage { .. })).cloned().collect::<Vec<_>>(),
    );
    world.event(Event::ImageFailed("c".to_owned(), "ErrImagePull".to_owned(), "no".to_owned()));
    assert!(world.step().is_empty(), "it waits for the next try");
    image(&mut world, "b");
    assert_eq!(world.step(), [Action::EnsureImage { container: "c".to_owned() }]);
    world.event(Event::ImageReady("c".to_owned(), Default::default()));
    world.settle();
    assert_eq!(world.state("c"), "Running");

    image(&mut world, "d");
    assert_eq!(world.step(), [Action::Signal { container: "c".to_owned(), run: 0, kill: false }]);
    world.exit("c", 143);
    world.settle();
    assert_eq!(
        (world.phase(), world.state("c").as_str(), world.container("c").restart_count),
        ("Running", "Running", 1)
    );
    let told = world.notes.iter().any(|note| note.message == "Container c definition changed, will be restarted");
    assert!(told, "{:?}", world.notes);
    world.exit("c", 0);
    world.settle();
    assert_eq!(world.phase(), "Succeeded", "its own end is its end");
}

#[test]
fn a_container_that_is_refused_does_not_count_as_restarted() {
    let mut world = World::new(one(json!({})));
    let first = world.step();
    world.succeed(&first);
    world.step();
    world.event(Event::Refused("c".into(), 0, "CreateContainerConfigError".into(), "secret \"s\" not found".into()));
    world.step();
    assert_eq!(world.state("c"), "Waiting(CreateContainerConfigError)");
    world.now = world.wake.unwrap();
    world.settle();
    assert_eq!((world.state("c").as_str(), world.container("c").restart_count), ("Running", 0));
}

#[test]
fn a_pod_out_of_time_fails() {
    let mut spec = one(json!({}));
    spec["activeDeadlineSeconds"] = json!(60);
    let mut world = World::new(spec);
    world.settle();
    world.now = world.wake.unwrap();
    world.settle();
    assert_eq!((world.phase(), world.status.reason.as_deref()), ("Failed", Some("DeadlineExceeded")));
}

#[test]
fn readiness_gates_are_others_conditions() {
    let mut spec = one(json!({}));
    spec["readinessGates"] = json!([{"conditionType": "example.com/gate"}]);
    let mut world = World::new(spec);
    world.settle();
    assert_eq!(world.condition("Ready"), ("False".into(), Some("ReadinessGatesNotReady".into())));
    assert!(world.is_true("ContainersReady"));
    world.pod.status =
        Some(serde_json::from_value(json!({"conditions": [{"type": "example.com/gate", "status": "True"}]})).unwrap());
    world.step();
    assert!(world.is_true("Ready"));
}

#[test]
fn after_the_hosts_restart_a_pod_begins_again_with_its_init_containers() {
    let mut world = World::new(json!({"initContainers": [{"name": "a"}], "containers": [{"name": "c"}]}));
    world.settle();
    world.exit("a", 0);
    world.settle();
    let kept = serde_json::to_string(&world.memory).unwrap();
    world.memory = serde_json::from_str(&kept).unwrap();
    world.event(Event::SandboxGone);
    world.memory.forget_in_flight();
    let asked = world.settle();
    assert!(asked.contains(&Action::StartSandbox) && asked.contains(&Action::Start { container: "a".into(), run: 1 }));
    world.exit("a", 0);
    world.settle();
    assert_eq!((world.state("c").as_str(), world.container("c").restart_count), ("Running", 1));
}

#[test]
fn a_new_agent_starts_nothing_that_still_runs() {
    let mut world = World::new(one(json!({"readinessProbe": {}})));
    world.settle();
    world.memory.forget_in_flight();
    let asked = world.settle();
    let starts = asked.iter().any(|action| matches!(action, Action::Start { .. } | Action::StartSandbox));
    assert!(!starts, "{asked:?}");
    assert_eq!((world.phase(), world.container("c").restart_count), ("Running", 0));
    assert!(world.is_true("Ready"), "what probes found out is kept");
}

#[test]
fn an_evicted_pod_fails_at_once_and_says_why() {
    let mut world = World::new(one(json!({})));
    world.settle();
    world.event(Event::Evicted("too much".into()));
    world.settle();
    assert_eq!((world.phase(), world.status.reason.as_deref()), ("Failed", Some("Evicted")));
    assert_eq!(world.status.message.as_deref(), Some("too much"));
    assert_eq!(world.condition("DisruptionTarget"), ("True".into(), Some("TerminationByKubelet".into())));
    let evicted: Vec<_> = world.notes.iter().filter(|note| note.reason == "Evicted").collect();
    assert_eq!(evicted.len(), 1);
    assert_eq!(world.settle(), [], "nothing starts it again");
}

#[test]
fn an_ephemeral_container_runs_once_and_ends_with_its_pod() {
    let mut world = World::new(one(json!({})));
    world.settle();
    let added = json!([{"name": "e", "image": "i"}]);
    world.pod.spec.as_mut().unwrap().ephemeral_containers = serde_json::from_value(added).unwrap();
    assert_eq!(world.settle().last(), Some(&Action::Start { container: "e".into(), run: 0 }));
    let state = |world: &World| world.status.ephemeral_container_statuses.as_ref().unwrap()[0].state.clone().unwrap();
    assert!(state(&world).running.is_some() && world.is_true("Ready"));
    world.exit("e", 0);
    assert_eq!(world.settle(), [], "it is not started again");
    assert!(state(&world).terminated.is_some() && world.phase() == "Running" && world.is_true("Ready"));
    let mut again = World::new(one(json!({})));
    again.settle();
    again.pod = world.pod.clone();
    again.settle();
    again.delete(30);
    let asked = again.settle();
    let signals = asked.iter().filter(|action| matches!(action, Action::Signal { .. })).count();
    assert_eq!(signals, 2, "{asked:?}");
}
