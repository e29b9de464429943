// SPDX-License-Identifier: Apache-2.0
//! A whole cluster: a server and a registry on one host, an agent on each of the others.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::hosts::{Host, Network};
use crate::images::{Registry, Rootfs};
use crate::knarr::{self, PORT, Process};
use crate::kubectl::Kubectl;
use crate::wait::eventually;

/// For what takes a second on an idle machine.
pub const SOON: Duration = Duration::from_secs(30);
/// For what takes several.
pub const LATER: Duration = Duration::from_secs(90);

/// A registry that is there by `registries.yaml` alone.
pub const MIRRORED: &str = "mirrored.test";

/// The first letters of the folder of a test run; its process id follows.
const PREFIX: &str = "knarr-test-";

/// A server on one host and an agent on each of the others. Fields are dropped in this order.
#[derive(Debug)]
pub struct Cluster {
    /// The agents, of `node1` first.
    pub agents: Vec<Process>,
    /// The server.
    pub server: Process,
    /// Where images are pulled from.
    pub registry: Registry,
    /// kubectl on the server's host, as the administrator.
    pub kubectl: Kubectl,
    hosts: Vec<Host>,
    folder: Folder,
    network: Network,
}

impl Cluster {
    /// Starts one with so many nodes, `node1` and on, and waits until they are Ready.
    ///
    /// # Panics
    /// When anything of it does not come up.
    #[must_use]
    pub fn start(nodes: usize) -> Self {
        let mut network = Network::new();
        let folder = Folder::new();
        let control = network.add_host("server");
        let server = start_server(&control, folder.path(), &[]);
        let kubectl = Kubectl::new(&control, &folder.path().join("server/admin.kubeconfig"));
        let registry = Registry::start(&control, folder.path());
        write_settings(&control, &registry, folder.path());
        let mut cluster = Self { agents: Vec::new(), server, registry, kubectl, hosts: vec![control], folder, network };
        for i in 1..=nodes {
            let host = cluster.network.add_host(&format!("node{i}"));
            cluster.hosts.push(host);
            cluster.start_agent(i);
        }
        for i in 1..=nodes {
            let ready = "{.status.conditions[?(@.type==\"Ready\")].status}";
            cluster.kubectl.wait_for(&["node", &format!("node{i}")], ready, "True", LATER);
        }
        cluster
    }

    fn start_agent(&mut self, number: usize) {
        let name = format!("node{number}");
        let folder = self.folder.path();
        let token = fs::read_to_string(folder.join("server/agent-token")).expect("the server writes it");
        let host = &self.hosts[number];
        let arguments = [
            "agent",
            "--server",
            &format!("https://{}:{PORT}", self.hosts[0].address),
            "--token",
            token.trim(),
            "--node-name",
            &name,
            "--data-dir",
            &folder.join(&name).display().to_string(),
            "--private-registry",
            &folder.join("registries.yaml").display().to_string(),
            "--resolv-conf",
            &folder.join("resolv.conf").display().to_string(),
            "--node-ip",
            &host.address,
        ];
        let log = folder.join(format!("{name}.log"));
        self.agents.push(Process::start(host, &log, &arguments));
    }

    /// Puts an image with busybox and curl (busybox' own wget cannot resolve names when it is static) into the
    /// registry; gives its name.
    ///
    /// # Panics
    /// When the programs for it are not installed.
    #[must_use]
    pub fn push_busybox(&self) -> String {
        let rootfs = Rootfs::busybox().with_program("/usr/bin/curl");
        self.push(&rootfs, "busybox:test", &json!({"Cmd": ["sh"]}))
    }

    /// Puts an image into the registry; gives its full name.
    ///
    /// # Panics
    /// When it cannot be packed or pushed.
    #[must_use]
    pub fn push(&self, rootfs: &Rootfs, name: &str, config: &serde_json::Value) -> String {
        let archive = self.registry.folder().join(format!("{}.tar", name.replace([':', '/'], "-")));
        rootfs.pack(&archive, name, config);
        self.registry.push(&archive, name)
    }

    /// The host of the server (0) or of a node (1 and on).
    #[must_use]
    pub fn host(&self, number: usize) -> &Host {
        &self.hosts[number]
    }

    /// The folder of the test run: `server`, `node1`, ... and their logs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Waits until the server answers that it is ready.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait_until_ready(&self) {
        wait_until_ready(&self.kubectl);
    }
}

/// What the nodes are told of the world: the registry is also there by the name of [`MIRRORED`]; one for those with a
/// password, and a resolver, are on the server's host, if a test starts them.
fn write_settings(control: &Host, registry: &Registry, folder: &Path) {
    let address = &registry.address;
    let guarded = Registry::guarded_address(control);
    let mirrors = [(address.as_str(), address), (MIRRORED, address), (guarded.as_str(), &guarded)];
    let mirror = |(name, address): (&str, &String)| format!("  \"{name}\": {{endpoint: [\"http://{address}\"]}}\n");
    let text = format!("mirrors:\n{}", mirrors.map(mirror).concat());
    fs::write(folder.join("registries.yaml"), text).expect("the test's folder can be written");
    let resolvers = format!("nameserver {}\n", control.address);
    fs::write(folder.join("resolv.conf"), resolvers).expect("the test's folder can be written");
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // What an agent made outlives it: take it down as a user would.
        for i in 1..self.hosts.len() {
            if let Some(agent) = self.agents.get_mut(i - 1) {
                agent.end();
            }
            let data = self.folder.path().join(format!("node{i}")).display().to_string();
            let (code, text) = knarr::run(&self.hosts[i], &["down", "--data-dir", &data]);
            if code != Some(0) && !std::thread::panicking() {
                panic!("knarr down on node{i}: {text}");
            }
        }
    }
}

/// A server alone. Fields are dropped in this order.
#[derive(Debug)]
pub struct Bare {
    /// The server.
    pub server: Process,
    /// kubectl on its host, as the administrator.
    pub kubectl: Kubectl,
    /// Its host.
    pub host: Host,
    /// The folder of the test run; the server's data is in `server`.
    pub folder: Folder,
    _network: Network,
}

impl Bare {
    /// Starts one without scheduler and controllers, with these further arguments.
    ///
    /// # Panics
    /// When it does not become ready.
    #[must_use]
    pub fn start(more: &[&str]) -> Self {
        Self::start_with(&[&["--disable-scheduler", "--disable-controllers"], more].concat())
    }

    /// Starts one with these arguments, and with all that they do not disable.
    ///
    /// # Panics
    /// When it does not become ready.
    #[must_use]
    pub fn start_with(arguments: &[&str]) -> Self {
        let mut network = Network::new();
        let folder = Folder::new();
        let host = network.add_host("server");
        let server = start_server(&host, folder.path(), arguments);
        let kubectl = Kubectl::new(&host, &folder.path().join("server/admin.kubeconfig"));
        Self { server, kubectl, host, folder, _network: network }
    }

    /// Kills the server as a power cut would, starts it again and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn restart(&mut self) {
        self.server.kill();
        self.server.restart();
        wait_until_ready(&self.kubectl);
    }
}

/// Starts a server on `host` with its data in `FOLDER/server`, and waits until it is ready.
///
/// # Panics
/// When it does not become ready.
#[must_use]
pub fn start_server(host: &Host, folder: &Path, more: &[&str]) -> Process {
    let data = folder.join("server").display().to_string();
    let port = PORT.to_string();
    let mut arguments = vec!["server", "--data-dir", &data, "--bind-address", &host.address, "--port", &port];
    arguments.extend(more);
    let server = Process::start(host, &folder.join("server.log"), &arguments);
    wait_until_ready(&Kubectl::new(host, &folder.join("server/admin.kubeconfig")));
    server
}

fn wait_until_ready(kubectl: &Kubectl) {
    eventually("the server is ready", SOON, || {
        let outcome = kubectl.try_run(&["get", "--raw", "/readyz"], "");
        if outcome.code == 0 { Ok(()) } else { Err(outcome.err) }
    });
}

/// A folder for a test run, which the next run takes down when this one is killed.
#[derive(Debug)]
pub struct Folder(tempfile::TempDir);

impl Folder {
    /// A new one, after sweeping away what killed runs left: pods, mounts, cgroups and the folder itself.
    ///
    /// # Panics
    /// When the temporary folder cannot be written.
    #[must_use]
    pub fn new() -> Self {
        sweep();
        let prefix = format!("{PREFIX}{}-", std::process::id());
        Self(tempfile::Builder::new().prefix(&prefix).tempdir().expect("a temporary folder"))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

fn sweep() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !fs::exists(format!("/proc/{pid}")).unwrap_or(true)) {
            take_down(&entry.path());
        }
    }
}

/// Takes down every node below the folder of a run that is gone, then the folder. Another sweep may be at it
/// too, and what fails here is not what the test is about.
fn take_down(folder: &Path) {
    let nodes: Vec<PathBuf> = fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    for node in nodes.iter().filter(|path| path.join("agent.lock").exists() || path.join("agent/agent.lock").exists()) {
        let _ = std::process::Command::new(knarr::binary()).arg("down").arg("--data-dir").arg(node).output();
    }
    let _ = fs::remove_dir_all(folder);
}
