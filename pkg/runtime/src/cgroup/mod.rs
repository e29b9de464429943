// SPDX-License-Identifier: Apache-2.0

//! Control groups, v1, hybrid and v2 alike: made, limited, joined, read, killed and removed by path.
//!
//! A path is relative to the root of every hierarchy (`knarr-<node>/pod<uid>/<container>`). All
//! functions act on all hierarchies that are mounted, so that no process stays behind in a group
//! of a service that started it.

mod bpf;
pub mod devices;
mod limits;
mod stats;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::PidfdFlags;

use crate::config::Resources;
use crate::status::ContainerStats;

/// How long killed processes may take to be gone from a group.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// How soon a group that is busy is tried again.
const BUSY_RETRY: Duration = Duration::from_millis(1);

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// v1: its controllers (or `name=...`); v2: empty.
    pub controllers: Vec<String>,
    /// Whether it is the unified one.
    pub unified: bool,
}

/// All hierarchies of this host.
#[derive(Clone, Debug)]
pub struct Cgroups {
    hierarchies: Vec<Hierarchy>,
}

impl Cgroups {
    /// Reads which hierarchies are mounted.
    pub fn detect() -> io::Result<Cgroups> {
        let hierarchies = parse_mountinfo(&fs::read_to_string("/proc/self/mountinfo")?);
        if hierarchies.is_empty() {
            return Err(io::Error::other("no cgroup hierarchy is mounted below /sys/fs/cgroup"));
        }
        Ok(Cgroups { hierarchies })
    }

    /// Whether limits are those of v2.
    pub fn is_v2(&self) -> bool {
        self.hierarchies.iter().all(|h| h.unified)
    }

    /// Makes the group, and those above it, in every hierarchy.
    pub fn create(&self, path: &str) -> io::Result<()> {
        for hierarchy in &self.hierarchies {
            let mut dir = hierarchy.mount.clone();
            for part in Path::new(path) {
                if hierarchy.unified && self.is_v2() {
                    limits::enable_controllers(&dir)?;
                }
                dir.push(part);
                match fs::create_dir(&dir) {
                    Ok(()) => {}
                    Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(e) => return Err(e),
                }
                if hierarchy.has("cpuset") {
                    limits::inherit_cpuset(&dir)?;
                }
            }
        }
        Ok(())
    }

    /// Sets limits on a group.
    pub fn limit(&self, path: &str, resources: &Resources) -> io::Result<()> {
        let files = if self.is_v2() { limits::v2(resources) } else { limits::v1(resources) };
        for (controller, file, value) in files {
            let Some(dir) = self.dir(controller, path) else { continue };
            fs::write(dir.join(file), &value)
                .map_err(|e| io::Error::new(e.kind(), format!("cannot set {file} of {path} to {value}: {e}")))?;
        }
        Ok(())
    }

    /// Sets limits on a group that is in use: all that can be set, whatever cannot. Memory is not limited to less than is
    /// used, which would end processes.
    pub fn update(&self, path: &str, resources: &Resources) -> io::Result<()> {
        let used = i64::try_from(self.stats(path).working_set_bytes).unwrap_or(i64::MAX);
        let too_little = resources.memory_bytes.filter(|limit| *limit < used);
        let cpu = Resources { memory_bytes: None, ..resources.clone() };
        let memory = Resources { memory_bytes: resources.memory_bytes, ..Resources::default() };
        let of_cpu = self.limit(path, &cpu);
        let of_memory = match too_little {
            Some(limit) => {
                Err(io::Error::other(format!("cannot limit the memory of {path} to {limit} bytes: {used} are used")))
            }
            None => self.limit(path, &memory),
        };
        of_cpu.and(of_memory)
    }

    /// Lets the group use no devices but these. On v1 files say so, which libcontainer writes; on v2 a program does.
    pub fn limit_devices(&self, path: &str, rules: &[devices::Rule]) -> io::Result<()> {
        let Some(dir) = self.is_v2().then(|| self.dir("", path)).flatten() else { return Ok(()) };
        bpf::guard_devices(&dir, &devices::program(rules))
            .map_err(|e| io::Error::new(e.kind(), format!("cannot limit the devices of {path}: {e}")))
    }

    /// Moves a process into the group, in every hierarchy.
    pub fn join(&self, path: &str, pid: u32) -> io::Result<()> {
        for hierarchy in &self.hierarchies {
            fs::write(hierarchy.mount.join(path).join("cgroup.procs"), pid.to_string())?;
        }
        Ok(())
    }

    /// All processes in the group and below it.
    pub fn processes(&self, path: &str) -> Vec<i32> {
        let mut pids = Vec::new();
        for hierarchy in &self.hierarchies {
            collect_processes(&hierarchy.mount.join(path), &mut pids);
        }
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Kills everything in the group and below it, and waits until it is gone.
    pub fn kill(&self, path: &str) -> io::Result<()> {
        let deadline = Instant::now() + KILL_PATIENCE;
        loop {
            let pids = self.processes(path);
            if pids.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("processes {pids:?} of {path} do not die")));
            }
            for pid in pids.into_iter().filter_map(rustix::process::Pid::from_raw) {
                kill_and_wait(pid, deadline);
            }
        }
    }

    /// Removes the group and those below it. The kernel refuses while a process is in it.
    pub fn remove(&self, path: &str) -> io::Result<()> {
        let mut result = Ok(());
        for hierarchy in &self.hierarchies {
            if let Err(e) = remove_tree(&hierarchy.mount.join(path)) {
                result = Err(e);
            }
        }
        result
    }

    /// The group's folder in each hierarchy.
    pub fn folders(&self, path: &str) -> Vec<PathBuf> {
        self.hierarchies.iter().map(|h| h.mount.join(path)).collect()
    }

    /// Whether the group is there in any hierarchy.
    pub fn exists(&self, path: &str) -> bool {
        self.hierarchies.iter().any(|h| h.mount.join(path).exists())
    }

    /// What the group uses; zero for what cannot be read.
    pub fn stats(&self, path: &str) -> ContainerStats {
        if self.is_v2() {
            self.dir("", path).map_or_else(ContainerStats::default, |dir| stats::v2(&dir))
        } else {
            stats::v1(|controller| self.dir(controller, path))
        }
    }

    /// How many processes of the group the kernel killed for want of memory.
    pub fn oom_kills(&self, path: &str) -> u64 {
        let file = if self.is_v2() { "memory.events" } else { "memory.oom_control" };
        self.dir("memory", path)
            .and_then(|dir| fs::read_to_string(dir.join(file)).ok())
            .and_then(|text| stats::field(&text, "oom_kill"))
            .unwrap_or(0)
    }

    /// The group's folder in the hierarchy of a controller.
    fn dir(&self, controller: &str, path: &str) -> Option<PathBuf> {
        let v2 = self.is_v2();
        let hierarchy = self.hierarchies.iter().find(|h| v2 || h.has(controller))?;
        Some(hierarchy.mount.join(path))
    }
}

impl Hierarchy {
    fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|c| c == controller)
    }
}

/// The hierarchies in the text of a `mountinfo`. Those without controllers of their own beside v1
/// (named ones, the unified one) count too: processes must leave their groups as well.
fn parse_mountinfo(text: &str) -> Vec<Hierarchy> {
    let mut hierarchies: Vec<Hierarchy> = Vec::new();
    for line in text.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let Some(mount) = left.split(' ').nth(4) else { continue };
        let mut right = right.split(' ');
        let (kind, options) = (right.next(), right.nth(1).unwrap_or_default());
        let unified = match kind {
            Some("cgroup2") => true,
            Some("cgroup") => false,
            _ => continue,
        };
        // A container host may see the same hierarchy twice; the first mount is the host's own.
        let is_option = |o: &&str| !matches!(*o, "rw" | "ro" | "xattr" | "release_agent" | "noprefix");
        let controllers: Vec<String> =
            if unified { Vec::new() } else { options.split(',').filter(is_option).map(str::to_owned).collect() };
        let known = |h: &Hierarchy| h.unified == unified && h.controllers == controllers;
        if !hierarchies.iter().any(known) {
            hierarchies.push(Hierarchy { mount: PathBuf::from(mount), controllers, unified });
        }
    }
    hierarchies
}

fn collect_processes(dir: &Path, pids: &mut Vec<i32>) {
    if let Ok(text) = fs::read_to_string(dir.join("cgroup.procs")) {
        pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
    }
    for child in subgroups(dir) {
        collect_processes(&child, pids);
    }
}

fn remove_tree(dir: &Path) -> io::Result<()> {
    for child in subgroups(dir) {
        remove_tree(&child)?;
    }
    // A process that just died may hold its group for a moment longer, and nothing tells when.
    let deadline = Instant::now() + KILL_PATIENCE;
    loop {
        match fs::remove_dir(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline => {
                wait(&mut [], BUSY_RETRY);
            }
            other => return other,
        }
    }
}

/// Kills a process and waits until it has left its groups.
fn kill_and_wait(pid: rustix::process::Pid, deadline: Instant) {
    let Ok(process) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return };
    let _gone = rustix::process::pidfd_send_signal(&process, rustix::process::Signal::KILL);
    let left = deadline.saturating_duration_since(Instant::now());
    wait(&mut [PollFd::new(&process, PollFlags::IN)], left);
}

fn wait(fds: &mut [PollFd<'_>], at_most: Duration) {
    let at_most = Timespec { tv_sec: at_most.as_secs().cast_signed(), tv_nsec: at_most.subsec_nanos().into() };
    let _looked_at_again_either_way = rustix::event::poll(fds, Some(&at_most));
}

fn subgroups(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_read_from_mountinfo() {
        let hybrid = "\
33 24 0:28 / /sys/fs/cgroup ro - tmpfs tmpfs ro
34 33 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:5 - cgroup cgroup rw,cpu,cpuacct
35 33 0:30 / /sys/fs/cgroup/systemd rw - cgroup systemd rw,xattr,name=systemd
36 33 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
37 33 0:29 / /other/cpu rw - cgroup cgroup rw,cpu,cpuacct
";
        let found = Cgroups { hierarchies: parse_mountinfo(hybrid) };
        let seen: Vec<_> =
            found.hierarchies.iter().map(|h| (h.mount.to_str().unwrap(), h.controllers.join(" "), h.unified)).collect();
        assert_eq!(
            seen,
            [
                ("/sys/fs/cgroup/cpu,cpuacct", "cpu cpuacct".to_owned(), false),
                ("/sys/fs/cgroup/systemd", "name=systemd".to_owned(), false),
                ("/sys/fs/cgroup/unified", String::new(), true),
            ]
        );
        assert!(!found.is_v2());

        let v2 = "24 1 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        assert!(Cgroups { hierarchies: parse_mountinfo(v2) }.is_v2());
    }
}
