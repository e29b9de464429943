// SPDX-License-Identifier: Apache-2.0

//! Start, exit, stop.

use std::time::Duration;

use knarr_runtime::{ContainerId, ContainerState, Error, PodRuntime};

use crate::case;
use crate::support::{Case, Host};

pub const CASES: &[Case] = &[
    case!(a_container_runs_to_its_end_with_code_and_log),
    case!(a_signal_that_ends_a_container_is_its_code),
    case!(stop_asks_first_and_kills_after_the_grace),
    case!(a_command_that_is_not_there_is_said_at_the_start),
    case!(an_image_s_missing_layer_is_said_at_creation),
    case!(a_container_is_replaced_by_its_next_attempt),
];

async fn a_container_runs_to_its_end_with_code_and_log(host: Host) {
    let config = host.shell("echo out; echo err >&2; exit 7");
    let (exit, log) = host.complete("p1", config).await;
    assert_eq!((exit.code, exit.signal, exit.oom_killed), (7, None, false));
    assert!(exit.finished_at_ns >= exit.started_at_ns && exit.started_at_ns > 0);
    let mut log = log;
    log.sort();
    assert_eq!(log, ["stderr F err", "stdout F out"]);
}

async fn a_signal_that_ends_a_container_is_its_code(host: Host) {
    let mut events = host.runtime.events();
    let id = host.pod("p1", host.shell("trap 'exit 3' TERM; echo up; while true; do sleep 1 & wait; done")).await;
    host.runtime.signal(&id, 9).await.unwrap();
    let exit = crate::support::exit_event(&mut events, &id).await;
    assert_eq!((exit.code, exit.signal), (137, Some(9)));
    assert!(matches!(host.runtime.signal(&id, 9).await, Err(Error::NotRunning(_))));
}

async fn stop_asks_first_and_kills_after_the_grace(host: Host) {
    let polite = host.shell("trap 'exit 3' TERM; while true; do sleep 1 & wait; done");
    let id = host.pod("p1", polite).await;
    // The trap is set when the shell has a child.
    while host.exec(&id, "ps | grep -c '[s]leep 1'").await.0.trim() == "0" {}
    let exit = host.runtime.stop_container(&id, None, Duration::from_secs(20)).await.unwrap();
    assert_eq!(exit.code, 3);

    let id = host.pod("p2", host.shell("trap '' TERM; while true; do sleep 1; done")).await;
    while host.exec(&id, "ps | grep -c '[s]leep 1'").await.0.trim() == "0" {}
    let exit = host.runtime.stop_container(&id, None, Duration::from_millis(100)).await.unwrap();
    assert_eq!(exit.code, 137);
}

async fn a_command_that_is_not_there_is_said_at_the_start(host: Host) {
    let sandbox = host.sandbox("p1");
    host.runtime.run_pod_sandbox(&sandbox).await.unwrap();
    for (attempt, command, want) in [
        (0, "nothere", "exec: \"nothere\": executable file not found in $PATH"),
        (1, "/bin/nothere", "exec: \"/bin/nothere\": stat /bin/nothere: no such file or directory"),
        (2, "/etc/passwd", "exec: \"/etc/passwd\": permission denied"),
    ] {
        let id = ContainerId::new(sandbox.uid.clone(), "main", attempt);
        let mut config = host.shell("");
        config.args = vec![command.to_owned()];
        host.runtime.create_container(&id, &config).await.unwrap();
        match host.runtime.start_container(&id).await {
            Err(Error::CannotExecute(message)) => assert_eq!(message, want),
            other => panic!("{other:?}"),
        }
        assert!(matches!(host.state(&id).await, ContainerState::Exited(exit) if exit.code == 128));
    }
}

async fn an_image_s_missing_layer_is_said_at_creation(host: Host) {
    let sandbox = host.sandbox("p1");
    host.runtime.run_pod_sandbox(&sandbox).await.unwrap();
    let id = ContainerId::new(sandbox.uid.clone(), "main", 0);
    let mut config = host.shell("true");
    config.layers = vec![host.dir.join("layers/gone")];
    let error = host.runtime.create_container(&id, &config).await.unwrap_err().to_string();
    assert!(error.contains("layers/gone") && error.contains("pull the image again"), "{error}");
}

async fn a_container_is_replaced_by_its_next_attempt(host: Host) {
    let (exit, _) = host.complete("p1", host.shell("exit 1")).await;
    assert_eq!(exit.code, 1);
    let pod = host.sandbox("p1").uid;
    let (old, new) = (ContainerId::new(pod.clone(), "main", 0), ContainerId::new(pod, "main", 1));
    let mut events = host.runtime.events();
    host.runtime.create_container(&new, &host.shell("echo again")).await.unwrap();
    host.runtime.start_container(&new).await.unwrap();
    crate::support::exit_event(&mut events, &new).await;
    assert_eq!(host.log(&new), ["stdout F again"]);
    host.runtime.remove_container(&old).await.unwrap();
    let left = host.runtime.status(&old.pod).await.unwrap().containers;
    assert_eq!(left.into_iter().map(|c| c.id).collect::<Vec<_>>(), [new]);
    assert!(host.dir.join("logs/main/0.log").exists(), "the log of the first attempt stays");
}
