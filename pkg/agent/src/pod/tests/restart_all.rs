// SPDX-License-Identifier: Apache-2.0
//! Pods all of whose containers start again when one asks for it.

use super::*;

/// An init container, a sidecar that asks with 9, and containers that ask with 42, have nothing to ask, and run once.
fn world() -> World {
    let asks =
        |code: i32| json!([{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [code]}}]);
    World::new(json!({
        "restartPolicy": "Never",
        "initContainers": [
            {"name": "init", "image": "i"},
            {"name": "side", "image": "i", "restartPolicy": "Always", "restartPolicyRules": asks(9)},
        ],
        "containers": [
            {"name": "asks", "image": "i", "restartPolicy": "Never", "restartPolicyRules": asks(42)},
            {"name": "runs", "image": "i", "lifecycle": {"preStop": {"exec": {"command": ["true"]}}}},
            {"name": "done", "image": "i"},
        ],
    }))
}

/// With the init container and the one that runs once behind it.
fn up() -> World {
    let mut world = world();
    world.settle();
    world.exit("init", 0);
    world.settle();
    world.exit("done", 0);
    world.settle();
    world
}

fn started(actions: &[Action]) -> Vec<&str> {
    let names = actions.iter().filter_map(|action| match action {
        Action::Start { container, .. } => Some(container.as_str()),
        _ => None,
    });
    names.collect()
}

#[test]
fn all_are_killed_and_the_pod_starts_as_at_first() {
    for asking in [("asks", 42), ("side", 9)] {
        let mut world = up();
        assert_eq!(world.condition("AllContainersRestarting"), ("False".to_owned(), None));
        world.exit(asking.0, asking.1);
        let actions = world.step();
        let only_kills = actions.iter().all(|action| matches!(action, Action::Signal { kill: true, .. }));
        assert!(only_kills && actions.len() == 2, "no hooks, no grace: {actions:?}");
        let why = Some("RestartAllContainersStarted".to_owned());
        assert_eq!(world.condition("AllContainersRestarting"), ("True".to_owned(), why));
        world.succeed(&actions);
        let actions = world.settle();
        assert_eq!(started(&actions), ["init"], "in the sandbox that is there: {actions:?}");
        assert!(!actions.contains(&Action::StartSandbox) && !actions.contains(&Action::SetUpVolumes));
        assert_eq!((world.phase(), world.is_true("Initialized"), world.is_true("Ready")), ("Pending", true, false));
        assert!(!world.is_true("AllContainersRestarting"));
        world.exit("init", 0);
        assert_eq!(started(&world.settle()), ["side", "asks", "runs", "done"]);
        assert_eq!(world.phase(), "Running");
        for name in ["init", "side", "asks", "runs", "done"] {
            assert_eq!(world.container(name).restart_count, 1, "{name}");
        }
        let last = |name: &str| world.container(name).last_state.clone().unwrap().terminated.unwrap();
        assert_eq!(last(asking.0).exit_code, asking.1);
        assert_eq!(last("runs").reason.as_deref(), Some("RestartingAllContainers"));
        assert_eq!(last("done").reason.as_deref(), Some("Completed"));
    }
}

#[test]
fn other_ends_are_as_ever() {
    let mut world = up();
    world.exit("asks", 1);
    assert!(started(&world.settle()).is_empty());
    world.exit("runs", 0);
    world.settle();
    assert_eq!(world.phase(), "Failed");
    assert_eq!(world.condition("AllContainersRestarting"), ("False".to_owned(), Some("PodFailed".to_owned())));
}

#[test]
fn who_asks_time_and_again_waits() {
    let mut world = up();
    let restart = |world: &mut World| {
        world.exit("asks", 42);
        world.settle()
    };
    assert_eq!(started(&restart(&mut world)), ["init"], "the first time at once");
    world.exit("init", 0);
    world.settle();
    assert!(started(&restart(&mut world)).is_empty());
    assert_eq!(world.wake, Some(world.now.after(Duration::from_secs(10))));
    assert!(world.is_true("AllContainersRestarting"));
    assert_eq!(world.state("asks"), "Waiting(CrashLoopBackOff)");
    world.after(10);
    assert_eq!(started(&world.settle()), ["init"]);
}

#[test]
fn a_deleted_pod_does_not_start_again() {
    let mut world = up();
    world.exit("asks", 42);
    let actions = world.step();
    world.delete(0);
    world.succeed(&actions);
    let actions = world.settle();
    assert!(started(&actions).is_empty() && actions.contains(&Action::Remove), "{actions:?}");
}

#[test]
fn a_new_agent_goes_on_with_it() {
    let mut world = up();
    world.exit("asks", 42);
    world.step();
    world.memory.forget_in_flight();
    world.memory.sandbox = Sandbox::Ready(vec!["10.42.0.2".parse().unwrap()]);
    let record = serde_json::to_value(&world.memory).unwrap();
    world.memory = serde_json::from_value(record).unwrap();
    assert_eq!(started(&world.settle()), ["init"]);
}
