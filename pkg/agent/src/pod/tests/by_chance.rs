// SPDX-License-Identifier: Apache-2.0
//! Pods played by chance: whatever happens to what the machine asks for, with luck from a seed.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// What chance may do to an action: nothing yet, success, or failure.
fn chance(action: &Action, dice: u8, now: Moment) -> Option<Event> {
    let fails = dice % 4 == 3;
    match action.clone() {
        Action::StartSandbox if fails => Some(Event::SandboxFailed("no".into())),
        Action::SetUpVolumes if fails => Some(Event::VolumesFailed("no".into())),
        Action::EnsureImage { container } if fails => {
            Some(Event::ImageFailed(container, "ErrImagePull".into(), "no".into()))
        }
        Action::Start { container, run } if fails => {
            Some(Event::Refused(container, run, "CreateContainerError".into(), "no".into()))
        }
        Action::Start { container, run } if dice % 4 == 2 => Some(Event::Exited(container, run, exit(1, now))),
        Action::PostStart { container, run } if fails => Some(Event::PostStarted(container, run, Some("no".into()))),
        Action::Probe { container, run, kind } if fails => Some(Event::Probed(container, run, kind, Err("no".into()))),
        // A container may ignore a polite signal.
        Action::Signal { kill: false, .. } if fails => None,
        action => good(&action, now),
    }
}

fn any_spec() -> impl Strategy<Value = Value> {
    let probes = json!({"periodSeconds": 1, "failureThreshold": 2});
    let flags = (0usize..3, any::<[bool; 6]>());
    flags.prop_map(move |(policy, [init, sidecar, hooks, liveness, startup, all])| {
        let mut app = json!({"name": "c"});
        if all {
            let codes = json!({"operator": "In", "values": [3]});
            app["restartPolicyRules"] = json!([{"action": "RestartAllContainers", "exitCodes": codes}]);
        }
        if hooks {
            app["lifecycle"] = json!({"postStart": {"sleep": {"seconds": 1}}, "preStop": {"sleep": {"seconds": 1}}});
        }
        if liveness {
            app["livenessProbe"] = probes.clone();
            app["readinessProbe"] = probes.clone();
        }
        if startup {
            app["startupProbe"] = probes.clone();
        }
        let mut inits = Vec::new();
        if sidecar {
            inits.push(json!({"name": "side", "restartPolicy": "Always"}));
        }
        if init {
            inits.push(json!({"name": "a"}));
        }
        let policy = ["Always", "OnFailure", "Never"][policy];
        json!({
            "restartPolicy": policy,
            "initContainers": inits, "containers": [app, {"name": "d"}]
        })
    })
}

proptest! {
    #[test]
    fn whatever_happens_a_deleted_pod_goes_and_its_order_holds(spec in any_spec(), dice in proptest::collection::vec(any::<u8>(), 1..200)) {
        let mut world = World::new(spec);
        let mut pending: Vec<Action> = Vec::new();
        let mut ran: BTreeMap<String, u32> = BTreeMap::new();
        let mut was_terminal = false;
        for roll in &dice {
            for action in world.step() {
                prop_assert!(!pending.contains(&action), "{action:?} is asked for twice");
                if let Action::Start { container, run } = &action {
                    let before = ran.insert(container.clone(), *run);
                    prop_assert!(before.is_none_or(|before| before <= *run), "runs are numbered upwards");
                    let init = world.memory.containers.get("a");
                    let initialized = init.is_none_or(|init| init.starts > 0);
                    prop_assert!(container == "a" || container == "side" || initialized, "{container} before init");
                }
                pending.push(action);
            }
            prop_assert_eq!(world.step(), [], "a step without an event asks for nothing");
            let terminal = matches!(world.phase(), "Succeeded" | "Failed");
            prop_assert!(!was_terminal || terminal, "a pod that has ended stays ended");
            was_terminal = terminal;
            match roll % 8 {
                0 => world.after(u64::from(*roll)),
                1 => {
                    let alive = world.memory.containers.iter().find(|(_, c)| matches!(c.run, Run::Running(..)));
                    if let Some(name) = alive.map(|(name, _)| name.clone()) {
                        world.exit(&name, i32::from(roll >> 5));
                    }
                }
                2 => world.now = world.wake.unwrap_or(world.now),
                _ if pending.is_empty() => {}
                _ => {
                    let action = pending.remove(usize::from(*roll) % pending.len());
                    if let Some(event) = chance(&action, *roll, world.now) {
                        world.event(event);
                    }
                }
            }
        }
        world.delete(5);
        for _ in 0..200 {
            pending.extend(world.step());
            if pending.contains(&Action::Remove) {
                break;
            }
            match pending.pop() {
                Some(action) => good(&action, world.now).into_iter().for_each(|event| world.event(event)),
                None => world.now = world.wake.unwrap_or(world.now),
            }
        }
        prop_assert!(pending.contains(&Action::Remove), "{:?}", world.memory);
        prop_assert!(world.memory.containers.values().all(|container| !container.is_alive()));
        prop_assert!(matches!(world.phase(), "Succeeded" | "Failed"));
    }
}
