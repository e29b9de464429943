// SPDX-License-Identifier: Apache-2.0

//! What a container is, may and may not.

use knarr_runtime::{Capabilities, ContainerConfig, Mount, MountKind, Propagation, Resources, Seccomp, User};

use crate::case;
use crate::support::{Case, Host};

pub const CASES: &[Case] = &[
    case!(users_and_groups_are_those_of_the_image_or_the_pod),
    case!(output_can_be_opened_by_its_name_by_whoever_runs),
    case!(capabilities_are_given_and_taken),
    case!(the_environment_is_what_was_asked_for),
    case!(the_default_filter_refuses_with_and_without_privilege_escalation),
    case!(mounts_show_what_they_should),
    case!(a_read_only_root_cannot_be_written),
    case!(volumes_of_the_image_can_be_written_in_a_read_only_root),
    case!(the_kernel_s_secrets_are_masked),
    case!(a_pod_has_the_network_it_was_given_and_a_name_in_it),
    case!(memory_limits_kill_and_say_so),
    case!(process_limits_hold),
    case!(processes_may_be_shared_in_the_pod),
    case!(a_container_may_see_the_processes_of_another_one),
    case!(a_privileged_container_has_the_host_s_devices_and_rights),
    case!(the_host_s_processes_show_when_asked_for),
    case!(a_missing_working_directory_is_made),
];

async fn stdout(host: &Host, config: ContainerConfig) -> Vec<String> {
    let (exit, log) = host.complete("p1", config).await;
    assert_eq!(exit.code, 0, "{log:?}");
    log.into_iter()
        .map(|line| line.trim_start_matches("stdout ").trim_start_matches(['F', 'P', ' ']).to_owned())
        .collect()
}

async fn users_and_groups_are_those_of_the_image_or_the_pod(host: Host) {
    let user = User { image_user: "web".to_owned(), supplemental_groups: vec![2000], ..User::default() };
    let config = ContainerConfig { user, ..host.shell("id -u; id -g; id -G") };
    assert_eq!(stdout(&host, config).await, ["101", "82", "82 4 2000"]);
}

async fn output_can_be_opened_by_its_name_by_whoever_runs(host: Host) {
    let user = || User { uid: Some(1000), ..User::default() };
    let script = "echo out > /dev/stdout; echo err > /dev/stderr";
    let (exit, log) = host.complete("p1", ContainerConfig { user: user(), tty: true, ..host.shell(script) }).await;
    assert_eq!((exit.code, log.len()), (0, 2), "at a terminal: {log:?}");
    let id = host.pod("p2", ContainerConfig { user: user(), ..host.shell("sleep 1000") }).await;
    let (out, err, code) = host.exec(&id, script).await;
    assert_eq!((out.as_str(), err.as_str(), code), ("out\n", "err\n", 0));
}

async fn the_environment_is_what_was_asked_for(host: Host) {
    let config = ContainerConfig { env: vec!["A=1".to_owned()], ..host.shell("cat /proc/self/environ") };
    let shown = stdout(&host, config).await.join("");
    let mut names: Vec<_> = shown.split('\0').filter_map(|entry| entry.split('=').next()).collect();
    names.sort_unstable();
    names.retain(|name| !["", "HOME", "PWD", "SHLVL"].contains(name));
    assert_eq!(names, ["A", "HOSTNAME", "PATH"], "nothing of the shim's own: {shown}");
}

async fn capabilities_are_given_and_taken(host: Host) {
    let capabilities = Capabilities { add: vec!["NET_ADMIN".to_owned()], drop: vec!["ALL".to_owned()] };
    for (seccomp, no_new_privileges) in
        [(Seccomp::Unconfined, false), (Seccomp::RuntimeDefault, false), (Seccomp::RuntimeDefault, true)]
    {
        let config = ContainerConfig {
            capabilities: capabilities.clone(),
            seccomp,
            no_new_privileges,
            ..host.shell("grep -E '^Cap(Eff|Bnd|Prm)' /proc/self/status | head -c 200")
        };
        let id = host.pod("p1", ContainerConfig { args: host.shell("sleep 1000").args, ..config.clone() }).await;
        let script = "grep -E '^Cap(Eff|Bnd|Prm)|^Seccomp:|^NoNewPrivs' /proc/self/status";
        let (out, ..) = host.exec(&id, script).await;
        assert_eq!(out.matches("0000000000001000").count(), 3, "{out}");
        let filtered = config.seccomp != Seccomp::Unconfined;
        assert_eq!(out.contains("Seccomp:\t2"), filtered, "{out}");
        assert_eq!(out.contains("NoNewPrivs:\t1"), no_new_privileges, "{out}");
        knarr_runtime::PodRuntime::remove_pod(&host.runtime, &id.pod).await.unwrap();
    }
}

async fn the_default_filter_refuses_with_and_without_privilege_escalation(host: Host) {
    for no_new_privileges in [false, true] {
        let config =
            ContainerConfig { seccomp: Seccomp::RuntimeDefault, no_new_privileges, ..host.shell("sleep 1000") };
        let id = host.pod("p1", config).await;
        let (_, err, code) = host.exec(&id, "unshare -U true").await;
        assert!(code != 0 && err.contains("Operation not permitted"), "{code} {err}");
        assert_eq!(host.exec(&id, "(echo sub) | cat").await.0, "sub\n");
        knarr_runtime::PodRuntime::remove_pod(&host.runtime, &id.pod).await.unwrap();
    }
}

async fn mounts_show_what_they_should(host: Host) {
    let volume = host.dir.join("volume");
    std::fs::create_dir_all(&volume).unwrap();
    std::fs::write(volume.join("file"), "content\n").unwrap();
    let mount = |destination: &str, kind, read_only| Mount {
        destination: destination.into(),
        kind,
        read_only,
        propagation: Propagation::None,
    };
    let config = ContainerConfig {
        mounts: vec![
            mount("/data/deep", MountKind::Bind(volume.clone()), false),
            mount("/ro", MountKind::Bind(volume.clone()), true),
            mount("/etc/hosts", MountKind::Bind(volume.join("file")), false),
            mount("/mem", MountKind::Tmpfs(Some(1 << 20)), false),
        ],
        ..host.shell(
            "cat /data/deep/file /etc/hosts; touch /data/deep/new; touch /mem/x; \
             touch /ro/no 2>/dev/null || echo refused; grep -c '/dev/shm' /proc/mounts",
        )
    };
    assert_eq!(stdout(&host, config).await, ["content", "content", "refused", "1"]);
    assert!(volume.join("new").exists());
    let host_mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!host_mounts.contains(host.dir.to_str().unwrap()), "no mount shows on the host");
}

async fn a_read_only_root_cannot_be_written(host: Host) {
    let config = ContainerConfig {
        read_only_root: true,
        ..host.shell("touch /x 2>/dev/null || echo refused; touch /dev/shm/x && echo shm")
    };
    assert_eq!(stdout(&host, config).await, ["refused", "shm"]);
}

async fn volumes_of_the_image_can_be_written_in_a_read_only_root(host: Host) {
    // A mount of the pod's own goes before them.
    let own = host.dir.join("own");
    std::fs::create_dir_all(&own).unwrap();
    let mounts = vec![Mount {
        destination: "/own".into(),
        kind: MountKind::Bind(own.clone()),
        read_only: false,
        propagation: Propagation::None,
    }];
    let config = ContainerConfig {
        read_only_root: true,
        image_volumes: ["/data", "/bin/deep", "/own"].map(Into::into).to_vec(),
        mounts,
        ..host.shell("touch /x /bin/x 2>/dev/null || echo refused; touch /data/x /bin/deep/x /own/x && ls /data /own")
    };
    assert_eq!(stdout(&host, config).await, ["refused", "/data:", "x", "", "/own:", "x"]);
    assert!(own.join("x").exists());
}

async fn the_kernel_s_secrets_are_masked(host: Host) {
    let config = host.shell("echo 1 2>/dev/null > /proc/sys/kernel/sysrq || echo refused; ls /sys/firmware");
    assert_eq!(stdout(&host, config).await, ["refused"]);
}

async fn a_pod_has_the_network_it_was_given_and_a_name_in_it(host: Host) {
    let name = host.cgroup.clone();
    let ip = |args: &[&str]| std::process::Command::new("ip").args(args).status().unwrap().success();
    assert!(ip(&["netns", "add", &name]));
    let mut sandbox = host.sandbox("p1");
    sandbox.namespaces.network = Some(format!("/run/netns/{name}").into());
    sandbox.sysctls = vec![("net.ipv4.ip_forward".to_owned(), "0".to_owned())];
    let made = knarr_runtime::PodRuntime::run_pod_sandbox(&host.runtime, &sandbox).await;
    assert!(ip(&["netns", "del", &name]));
    made.unwrap();
    let script = "hostname; ls /sys/class/net; cat /proc/sys/net/ipv4/ip_forward";
    assert_eq!(stdout(&host, host.shell(script)).await, ["p1", "lo", "0"]);
}

async fn memory_limits_kill_and_say_so(host: Host) {
    let config = ContainerConfig {
        resources: Resources { memory_bytes: Some(16 << 20), ..Resources::default() },
        ..host.shell("exec dd if=/dev/zero of=/dev/null bs=64M count=1")
    };
    let (exit, _) = host.complete("p1", config).await;
    assert_eq!((exit.code, exit.oom_killed), (137, true));
}

async fn process_limits_hold(host: Host) {
    let config = ContainerConfig {
        resources: Resources { pids: Some(4), ..Resources::default() },
        ..host.shell("for i in 1 2 3 4 5 6 7 8; do sleep 100 & done; exit 3")
    };
    let (exit, log) = host.complete("p1", config).await;
    assert!(exit.code == 2 || exit.code == 1, "{exit:?}");
    assert!(log.iter().any(|line| line.contains("can't fork")), "{log:?}");
}

async fn processes_may_be_shared_in_the_pod(host: Host) {
    let mut sandbox = host.sandbox("p1");
    sandbox.namespaces.shared_pid = true;
    knarr_runtime::PodRuntime::run_pod_sandbox(&host.runtime, &sandbox).await.unwrap();
    let first = host.pod("p1", host.shell("exec sleep 54321")).await;
    let second = knarr_runtime::ContainerId::new(first.pod.clone(), "other", 0);
    let runtime: &dyn knarr_runtime::PodRuntime = &host.runtime;
    runtime.create_container(&second, &host.shell("exec sleep 1000")).await.unwrap();
    runtime.start_container(&second).await.unwrap();
    let (out, ..) = host.exec(&second, "ps").await;
    assert!(out.contains("sleep 54321") && out.contains("pause"), "{out}");
    let (out, ..) = host.exec(&second, "ls /proc/1/root/ 2>&1").await;
    assert!(out.contains("Permission denied"), "the pause process cannot be looked into: {out}");
}

async fn a_container_may_see_the_processes_of_another_one(host: Host) {
    // The next process there has a number that none has on the host.
    let script = "echo 4100000 >/proc/sys/kernel/ns_last_pid; exec sleep 54321";
    let target = host.pod("p1", ContainerConfig { privileged: true, ..host.shell(script) }).await;
    let runtime: &dyn knarr_runtime::PodRuntime = &host.runtime;
    let debugger = knarr_runtime::ContainerId::new(target.pod.clone(), "debugger", 0);
    let config = ContainerConfig { processes_of: Some(target.run()), ..host.shell("exec sleep 1000") };
    runtime.create_container(&debugger, &config).await.unwrap();
    runtime.start_container(&debugger).await.unwrap();
    let (out, ..) = host.exec(&debugger, "ps; ls /sys/fs/cgroup; cat /proc/self/cgroup").await;
    assert!(out.contains("sleep 54321"), "{out}");
    let alone = knarr_runtime::ContainerId::new(target.pod.clone(), "alone", 0);
    let config = ContainerConfig { processes_of: Some("none-0".to_owned()), ..host.shell("true") };
    let error = runtime.create_container(&alone, &config).await.unwrap_err();
    assert!(error.to_string().contains("none-0") || matches!(error, knarr_runtime::Error::ContainerNotFound(_)));
}

async fn a_privileged_container_has_the_host_s_devices_and_rights(host: Host) {
    let config = ContainerConfig {
        privileged: true,
        ..host.shell("mount -t tmpfs x /tmp && echo mounted; ls /dev/kmsg; head -c 0 /dev/kmsg && echo opened")
    };
    assert_eq!(stdout(&host, config).await, ["mounted", "/dev/kmsg", "opened"]);
}

async fn the_host_s_processes_show_when_asked_for(host: Host) {
    let mut sandbox = host.sandbox("p1");
    sandbox.namespaces.host_pid = true;
    knarr_runtime::PodRuntime::run_pod_sandbox(&host.runtime, &sandbox).await.unwrap();
    let mine = std::process::id();
    let config = host.shell(&format!("sleep 1000 & ls -d /proc/{mine}"));
    assert_eq!(stdout(&host, config).await, [format!("/proc/{mine}")]);
}

async fn a_missing_working_directory_is_made(host: Host) {
    let config = ContainerConfig { cwd: "/srv/app".into(), ..host.shell("pwd") };
    assert_eq!(stdout(&host, config).await, ["/srv/app"]);
}
