// SPDX-License-Identifier: Apache-2.0

//! A small test harness, and fixtures that are gone afterwards, also after a failure.

use std::collections::BTreeMap;
use std::future::Future;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use knarr_runtime::oci::stream::Session;
use knarr_runtime::oci::{OciRuntime, Options, cleanup_all};
use knarr_runtime::{
    ContainerConfig, ContainerId, ContainerState, Event, ExecConfig, Exit, Namespaces, PodRuntime, PodUid,
    SandboxConfig,
};
use tokio::io::AsyncReadExt;

/// A test: its name is the rule.
pub type Case = (&'static str, fn(Host) -> Pin<Box<dyn Future<Output = ()>>>);

/// Longer than anything here takes; only a hanging test meets it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Makes a [`Case`] of an async function.
#[macro_export]
macro_rules! case {
    ($name:ident) => {
        (stringify!($name), |host| Box::pin($name(host)))
    };
}

/// Runs the cases one by one in the way of `cargo test`: filters, `--list`, `--exact`.
pub fn run(cases: &[Case], args: &[String]) -> ExitCode {
    // The value of `--format`, which nextest gives, is no filter.
    let is_value = |at: usize| at > 0 && args[at - 1] == "--format";
    let filters = args.iter().enumerate().filter(|(at, a)| !a.starts_with('-') && !is_value(*at));
    let filters: Vec<&String> = filters.map(|(_, a)| a).collect();
    let exact = args.iter().any(|a| a == "--exact");
    let ignored = args.iter().any(|a| a == "--ignored");
    let chosen = |name: &str| {
        !ignored && (filters.is_empty() || filters.iter().any(|f| if exact { name == *f } else { name.contains(*f) }))
    };
    let chosen: Vec<&Case> = cases.iter().filter(|(name, _)| chosen(name)).collect();
    if args.iter().any(|a| a == "--list") {
        chosen.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    if !rustix::process::geteuid().is_root() || !Path::new("/bin/busybox").exists() {
        println!("skipped: these tests need root and /bin/busybox (Debian: busybox-static)");
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for (name, case) in chosen {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let host = Host::new(name);
        let guard = host.guard();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime.block_on(async { tokio::time::timeout(PATIENCE, case(host)).await })
        }));
        let ok = matches!(result, Ok(Ok(())));
        println!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
        if matches!(result, Ok(Err(_))) {
            println!("  timed out");
        }
        if !ok {
            guard.print_logs();
        }
        failed += usize::from(!ok);
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(101) }
}

/// A folder and a cgroup of a test's own.
pub struct Host {
    pub dir: PathBuf,
    pub cgroup: String,
    pub runtime: OciRuntime,
}

/// Takes everything away.
pub struct Guard {
    dir: PathBuf,
    cgroup: String,
}

impl Guard {
    fn print_logs(&self) {
        for entry in std::fs::read_dir(self.dir.join("pods")).into_iter().flatten().flatten() {
            let log = std::fs::read_to_string(entry.path().join("shim.log")).unwrap_or_default();
            println!("  shim.log: {log}");
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        cleanup_all(&self.dir.join("pods"), &self.cgroup).unwrap();
        std::fs::remove_dir_all(&self.dir).unwrap();
    }
}

impl Host {
    fn new(name: &str) -> Host {
        let id = format!("test-{}-{}", std::process::id(), name.replace('_', "-"));
        let dir = std::env::temp_dir().join(format!("knarr-{id}"));
        make_layer(&dir.join("layers/busybox"));
        let options = Host::options(&dir, &id);
        let cgroup = options.cgroup.clone();
        Host { dir, cgroup, runtime: OciRuntime::new(options).unwrap() }
    }

    fn options(dir: &Path, id: &str) -> Options {
        let this = std::env::current_exe().unwrap();
        Options { shim: vec![this.into(), "shim".into()], ..Options::new(dir.join("pods"), id) }
    }

    fn guard(&self) -> Guard {
        Guard { dir: self.dir.clone(), cgroup: self.cgroup.clone() }
    }

    /// A runtime as a new agent would have it.
    pub fn another_runtime(&self) -> OciRuntime {
        let id = self.cgroup.strip_prefix("knarr-").unwrap();
        OciRuntime::new(Host::options(&self.dir, id)).unwrap()
    }

    pub fn sandbox(&self, uid: &str) -> SandboxConfig {
        SandboxConfig {
            uid: PodUid::new(uid).unwrap(),
            namespace: "default".to_owned(),
            name: uid.to_owned(),
            hostname: uid.to_owned(),
            namespaces: Namespaces::default(),
            log_dir: self.dir.join("logs"),
            sysctls: Vec::new(),
            resources: Default::default(),
            shm_bytes: None,
            annotations: BTreeMap::from([("kept".to_owned(), "yes".to_owned())]),
        }
    }

    /// A container that runs a line of shell.
    pub fn shell(&self, script: &str) -> ContainerConfig {
        ContainerConfig {
            image: "busybox".to_owned(),
            layers: vec![self.dir.join("layers/busybox")],
            args: ["sh", "-c", script].map(str::to_owned).to_vec(),
            ..ContainerConfig::default()
        }
    }

    /// Runs a pod with one container.
    pub async fn pod(&self, uid: &str, config: ContainerConfig) -> ContainerId {
        let sandbox = self.sandbox(uid);
        self.runtime.run_pod_sandbox(&sandbox).await.unwrap();
        let id = ContainerId::new(sandbox.uid, "main", 0);
        self.runtime.create_container(&id, &config).await.unwrap();
        self.runtime.start_container(&id).await.unwrap();
        id
    }

    /// Runs a pod of one container to its end.
    pub async fn complete(&self, uid: &str, config: ContainerConfig) -> (Exit, Vec<String>) {
        let mut events = self.runtime.events();
        let id = self.pod(uid, config).await;
        let exit = exit_event(&mut events, &id).await;
        (exit, self.log(&id))
    }

    /// The log's lines, without their times.
    pub fn log(&self, id: &ContainerId) -> Vec<String> {
        let path = knarr_runtime::oci::log_path(&self.dir.join("logs"), &id.name, id.attempt);
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }

    pub async fn state(&self, id: &ContainerId) -> ContainerState {
        let status = self.runtime.status(&id.pod).await.unwrap();
        status.containers.into_iter().find(|c| c.id == *id).unwrap().state
    }

    /// Runs a line of shell in a running container.
    pub async fn exec(&self, id: &ContainerId, script: &str) -> (String, String, i32) {
        let args = ["sh", "-c", script].map(str::to_owned).to_vec();
        let config = ExecConfig { args, ..ExecConfig::default() };
        let mut session = self.runtime.exec(id, &config).await.unwrap();
        output(&mut session).await
    }
}

/// Waits for the exit of a container to be told.
pub async fn exit_event(events: &mut tokio::sync::mpsc::UnboundedReceiver<Event>, id: &ContainerId) -> Exit {
    loop {
        match events.recv().await.unwrap() {
            Event::Exited(ended, exit) if ended == *id => return exit,
            _ => {}
        }
    }
}

/// Output, error output and exit code of a session.
pub async fn output(session: &mut Session) -> (String, String, i32) {
    let (mut out, mut err) = (String::new(), String::new());
    if let Some(stdout) = &mut session.stdout {
        stdout.read_to_string(&mut out).await.unwrap();
    }
    if let Some(stderr) = &mut session.stderr {
        stderr.read_to_string(&mut err).await.unwrap();
    }
    let exit = session.wait().await.unwrap();
    (out, err, exit.code)
}

fn make_layer(dir: &Path) {
    for sub in ["bin", "etc", "proc", "sys", "dev", "tmp"] {
        std::fs::create_dir_all(dir.join(sub)).unwrap();
    }
    std::fs::copy("/bin/busybox", dir.join("bin/busybox")).unwrap();
    let tools = ["sh", "cat", "echo", "sleep", "id", "ls", "mount", "kill", "hostname", "touch", "dd"];
    for tool in tools.iter().chain(&["stty", "unshare", "chroot", "ps", "mkdir", "grep", "head", "true"]) {
        symlink("busybox", dir.join("bin").join(tool)).unwrap();
    }
    std::fs::write(dir.join("etc/passwd"), "root:x:0:0::/:/bin/sh\nweb:x:101:82::/:/bin/sh\n").unwrap();
    std::fs::write(dir.join("etc/group"), "root:x:0:\nwww:x:82:\nlogs:x:4:web\n").unwrap();
}
