// SPDX-License-Identifier: Apache-2.0
//! Pods whose resources change while they run.

use k8s_openapi::api::core::v1::{PodCondition, ResourceRequirements};

use super::super::resize::Refusal;
use super::*;

fn resources(cpu: &str, memory: &str) -> Value {
    let both = json!({"cpu": cpu, "memory": memory});
    json!({"requests": both, "limits": both})
}

/// A pod that runs; memory is changed by a restart in `restarts`.
fn up() -> World {
    let policy = json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"}]);
    let mut world = World::new(json!({"containers": [
        {"name": "c", "image": "i", "resources": resources("1", "1Gi")},
        {"name": "restarts", "image": "i", "resources": resources("1", "1Gi"), "resizePolicy": policy},
    ]}));
    world.settle();
    world
}

/// What the node allocates from now on.
fn allocate(world: &mut World, container: usize, of: Value) {
    let spec = world.pod.spec.as_mut().unwrap();
    spec.containers[container].resources = serde_json::from_value(of).unwrap();
    world.pod.metadata.generation = Some(2);
    world.memory.resize_allocated(Some(2), world.now);
}

fn done(world: &World) -> Vec<(String, u32, ResourceRequirements)> {
    let runs = resizable(&world.memory, &world.pod).into_iter();
    runs.map(|(spec, run)| (spec.name, run, spec.resources.unwrap())).collect()
}

fn told(world: &World, type_: &str) -> Option<PodCondition> {
    world.status.conditions.iter().flatten().find(|condition| condition.type_ == type_).cloned()
}

/// CPU limits as the status tells them: what was given, what there is.
fn cpu(world: &World, name: &str) -> (String, String) {
    let status = world.container(name);
    let has = status.resources.clone().unwrap().limits.unwrap()["cpu"].0.clone();
    (status.allocated_resources.clone().unwrap()["cpu"].0.clone(), has)
}

#[test]
fn a_running_container_is_given_its_resources_in_place() {
    let mut world = up();
    assert_eq!(cpu(&world, "c"), ("1".to_owned(), "1".to_owned()));
    allocate(&mut world, 0, resources("2", "2Gi"));
    assert_eq!(world.step(), [Action::Resize]);
    assert_eq!(cpu(&world, "c"), ("2".to_owned(), "1".to_owned()));
    let progress = told(&world, "PodResizeInProgress").unwrap();
    assert_eq!((progress.status.as_str(), progress.reason, progress.observed_generation), ("True", None, Some(2)));
    let done = done(&world);
    assert_eq!(done.len(), 1);
    world.event(Event::Resized(done, None));
    assert!(world.step().is_empty());
    assert_eq!(cpu(&world, "c"), ("2".to_owned(), "2".to_owned()));
    assert_eq!((told(&world, "PodResizeInProgress"), world.container("c").restart_count), (None, 0));
    let reasons: Vec<_> = world.notes.iter().map(|note| note.reason).collect();
    assert_eq!(reasons, ["ResizeStarted", "ResizeCompleted"]);
}

#[test]
fn what_cannot_be_changed_is_told_and_tried_again() {
    let mut world = up();
    allocate(&mut world, 0, resources("1", "512Mi"));
    assert_eq!(world.step(), [Action::Resize]);
    world.event(Event::Resized(Vec::new(), Some("too much is used".to_owned())));
    assert!(world.step().is_empty());
    let progress = told(&world, "PodResizeInProgress").unwrap();
    assert_eq!((progress.reason.as_deref(), progress.message.as_deref()), (Some("Error"), Some("too much is used")));
    world.after(10);
    assert_eq!(world.step(), [Action::Resize]);
    let done = done(&world);
    world.event(Event::Resized(done, None));
    world.step();
    assert_eq!(told(&world, "PodResizeInProgress"), None);
}

#[test]
fn a_container_that_wants_it_starts_again_with_its_resources() {
    let mut world = up();
    allocate(&mut world, 1, resources("1", "2Gi"));
    let actions = world.step();
    assert!(actions.contains(&Action::Signal { container: "restarts".into(), run: 0, kill: false }), "{actions:?}");
    world.succeed(&actions);
    let actions = world.settle();
    assert!(actions.contains(&Action::Start { container: "restarts".into(), run: 1 }), "at once: {actions:?}");
    assert_eq!(world.container("restarts").restart_count, 1);
    assert_eq!(world.container("c").restart_count, 0);
    assert_eq!(told(&world, "PodResizeInProgress"), None);
    // Its CPU changes without one.
    allocate(&mut world, 1, resources("2", "2Gi"));
    assert_eq!(world.step(), [Action::Resize]);
}

#[test]
fn what_is_not_given_is_told_until_it_is_withdrawn() {
    let mut world = up();
    for (refusal, reason, event) in [
        (Refusal::Deferred("later".into()), "Deferred", "ResizeDeferred"),
        (Refusal::Infeasible("never".into()), "Infeasible", "ResizeInfeasible"),
    ] {
        for _ in 0..2 {
            world.memory.resize_refused(refusal.clone(), Some(3), world.now);
        }
        assert!(world.step().is_empty());
        let pending = told(&world, "PodResizePending").unwrap();
        assert_eq!((pending.reason.as_deref(), pending.observed_generation), (Some(reason), Some(3)));
        assert_eq!(world.notes.iter().filter(|note| note.reason == event).count(), 1, "told once");
    }
    world.memory.resize_withdrawn();
    world.step();
    assert_eq!(told(&world, "PodResizePending"), None);
}

#[test]
fn room_is_what_others_leave() {
    let amount = |cpu, memory| Amount { cpu, memory };
    let node = amount(4000, 100);
    let capacity = |name: &str, requested: i128, of: i128| {
        let message = format!("Node didn't have enough capacity: {name}, requested: {requested}, capacity: {of}");
        Err(Refusal::Infeasible(message))
    };
    let later = "Node didn't have enough resource: memory, requested: 60, used: 50, capacity: 100".to_owned();
    for (taken, wanted, expected) in [
        (amount(1000, 50), amount(3000, 50), Ok(())),
        (amount(0, 0), amount(4001, 0), capacity("cpu", 4001, 4000)),
        (amount(0, 0), amount(1, 101), capacity("memory", 101, 100)),
        (amount(1000, 50), amount(1000, 60), Err(Refusal::Deferred(later))),
        (amount(5000, 50), amount(0, 10), Ok(())),
    ] {
        assert_eq!(admit(node, taken, wanted), expected, "{wanted:?} beside {taken:?}");
    }
}

#[test]
fn a_pod_asks_for_what_runs_at_a_time() {
    let container = |name: &str, cpu: &str, policy: Value| json!({"name": name, "restartPolicy": policy, "resources": {"requests": {"cpu": cpu}}});
    let spec = json!({
        "initContainers": [container("a", "3", Value::Null), container("b", "1", json!("Always")), container("c", "3", Value::Null)],
        "containers": [container("d", "1", Value::Null), container("e", "500m", Value::Null)],
        "overhead": {"cpu": "100m"},
    });
    assert_eq!(requests(&World::new(spec).pod), Amount { cpu: 4100, memory: 0 });
}
