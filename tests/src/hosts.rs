// SPDX-License-Identifier: Apache-2.0
//! Hosts as network namespaces on one switch.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsFd as _;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::wait::until;

/// The first letters of everything that the tests make on the machine.
const PREFIX: &str = "kt-";

/// A switch with hosts on it, 10.99.N.0/24, cut off from everything else.
#[derive(Debug)]
pub struct Network {
    id: String,
    subnet: u8,
    hosts: u8,
}

/// A host: a network namespace with an address.
#[derive(Clone, Debug)]
pub struct Host {
    /// The name of its namespace.
    pub namespace: String,
    /// Its address.
    pub address: String,
}

impl Network {
    /// A new switch without hosts, after sweeping away what earlier runs left.
    ///
    /// # Panics
    /// When the machine does not let us: the tests need root.
    #[must_use]
    pub fn new() -> Self {
        sweep();
        let id = format!("{PREFIX}{}-{:04x}", std::process::id(), fastrand::u16(..));
        let network = Self { subnet: fastrand::u8(1..=254), hosts: 0, id };
        let switch = network.switch();
        ip(&["netns", "add", &switch]);
        ip(&["-n", &switch, "link", "add", "br0", "type", "bridge"]);
        ip(&["-n", &switch, "link", "set", "br0", "up"]);
        network
    }

    /// Adds a host.
    ///
    /// # Panics
    /// When the machine does not let us.
    pub fn add_host(&mut self, name: &str) -> Host {
        self.hosts += 1;
        let namespace = format!("{}-{name}", self.id);
        let port = format!("p{}", self.hosts);
        let address = format!("10.99.{}.{}", self.subnet, self.hosts);
        let switch = self.switch();
        ip(&["netns", "add", &namespace]);
        ip(&["-n", &namespace, "link", "set", "lo", "up"]);
        ip(&["-n", &namespace, "link", "add", "eth0", "type", "veth", "peer", "name", &port, "netns", &switch]);
        ip(&["-n", &switch, "link", "set", &port, "master", "br0", "up"]);
        ip(&["-n", &namespace, "addr", "add", &format!("{address}/24"), "dev", "eth0"]);
        ip(&["-n", &namespace, "link", "set", "eth0", "up"]);
        // Like a host with an uplink: what is not local has somewhere to go.
        ip(&["-n", &namespace, "route", "add", "default", "via", &format!("10.99.{}.254", self.subnet)]);
        Host { namespace, address }
    }

    fn switch(&self) -> String {
        format!("{}-switch", self.id)
    }
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        remove(|name| name.starts_with(&self.id));
    }
}

impl Host {
    /// A command that runs on this host.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.namespace)).arg("--").arg(program);
        command
    }

    /// Moves the calling thread onto this host, and with it the threads that it starts from then on.
    ///
    /// # Panics
    /// When the namespace cannot be entered.
    pub fn enter(&self) {
        let namespace = fs::File::open(format!("/run/netns/{}", self.namespace)).expect("the host is there");
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("we are root");
    }
}

/// Runs `ip`.
fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
}

/// Removes the namespaces of test runs whose process is gone.
fn sweep() {
    remove(|name| {
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        owner.is_some_and(|pid| !fs::exists(format!("/proc/{pid}")).unwrap_or(true))
    });
}

fn remove(which: impl Fn(&str) -> bool) {
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if which(&name) {
            kill_inside(&name);
            // Failing here would hide what the test found.
            let _ = Command::new("ip").args(["netns", "delete", &name]).output();
        }
    }
}

/// Ends every process that still runs in the namespace.
fn kill_inside(namespace: &str) {
    let pids = || {
        let output = Command::new("ip").args(["netns", "pids", namespace]).output();
        output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default()
    };
    for pid in pids().split_whitespace() {
        let _ = Command::new("kill").args(["-9", pid]).output();
    }
    if !std::thread::panicking() {
        until("processes of the test end", std::time::Duration::from_secs(10), || (pids().trim().is_empty(), pids()));
    }
}
