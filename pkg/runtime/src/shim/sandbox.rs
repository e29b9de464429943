// SPDX-License-Identifier: Apache-2.0

//! The pod's sandbox: the namespaces that its containers share are the shim's own.
//!
//! Mounts are made in a mount namespace of the shim too, so that they are gone with it, and no
//! path below the pod's folder ever shows a volume to the host.

use std::fs;
use std::io;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::Pid;
use rustix::process::DumpableBehavior;

use crate::config::SandboxConfig;

use super::folder::PodDir;
use super::process;

/// Size of `/dev/shm` in bytes when none is asked for.
const SHM_BYTES: u64 = 64 << 20;

/// Enters the pod's namespaces; gives the pod's first process when its containers share one
/// process id namespace.
pub fn enter(config: &SandboxConfig, dir: &PodDir) -> Result<Option<Pid>, String> {
    let wanted = &config.namespaces;
    let mut flags = CloneFlags::CLONE_NEWNS;
    if !wanted.host_ipc {
        flags |= CloneFlags::CLONE_NEWIPC;
    }
    if wanted.network.is_some() {
        flags |= CloneFlags::CLONE_NEWUTS;
    }
    unshare(flags).map_err(|e| format!("cannot make the pod's namespaces: {e}"))?;
    // The host's later mounts are to be seen here, but none of ours there.
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)
        .map_err(|e| format!("cannot separate the pod's mounts: {e}"))?;
    if let Some(path) = &wanted.network {
        enter_network(path).map_err(|e| format!("cannot enter the network namespace {}: {e}", path.display()))?;
        if !config.hostname.is_empty() {
            nix::unistd::sethostname(&config.hostname)
                .map_err(|e| format!("cannot set the host name {:?}: {e}", config.hostname))?;
        }
    }
    shared_memory(config, &dir.shm()).map_err(|e| format!("cannot mount the pod's shared memory: {e}"))?;
    for (name, value) in &config.sysctls {
        set_sysctl(name, value)?;
    }
    if wanted.shared_pid {
        return pause().map(Some).map_err(|e| format!("cannot start the pause process: {e}"));
    }
    Ok(None)
}

fn enter_network(path: &Path) -> io::Result<()> {
    let namespace = fs::File::open(path)?;
    setns(namespace, CloneFlags::CLONE_NEWNET)?;
    Ok(())
}

fn shared_memory(config: &SandboxConfig, shm: &Path) -> io::Result<()> {
    fs::create_dir_all(shm)?;
    if config.namespaces.host_ipc {
        mount(Some("/dev/shm"), shm, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
        return Ok(());
    }
    let options = format!("mode=1777,size={}", config.shm_bytes.unwrap_or(SHM_BYTES));
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("shm"), shm, Some("tmpfs"), flags, Some(options.as_str()))?;
    Ok(())
}

/// Sets a kernel parameter in the namespaces that the shim is in. `a.b` and `a/b` are the same.
fn set_sysctl(name: &str, value: &str) -> Result<(), String> {
    let path = sysctl_path(name).ok_or_else(|| format!("sysctl {name:?} is no name"))?;
    fs::write(&path, value).map_err(|e| format!("cannot set sysctl {name} to {value:?}: {e}"))
}

fn sysctl_path(name: &str) -> Option<String> {
    let parts: Vec<&str> = if name.contains('/') { name.split('/').collect() } else { name.split('.').collect() };
    let plain = |part: &&str| !part.is_empty() && *part != ".." && *part != ".";
    parts.iter().all(plain).then(|| format!("/proc/sys/{}", parts.join("/")))
}

/// Forks the first process of a new process id namespace: it reaps, and does nothing else. It runs
/// no program; it can neither be traced nor looked into, and its root is an empty folder.
fn pause() -> io::Result<Pid> {
    unshare(CloneFlags::CLONE_NEWPID)?;
    if let Some(child) = process::fork()? {
        // Later children of the shim go back to the shim's own namespace.
        setns(fs::File::open("/proc/self/ns/pid")?, CloneFlags::CLONE_NEWPID)?;
        return Ok(child);
    }
    let ready = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .and_then(|()| rustix::thread::set_name(c"pause"))
        .and_then(|()| rustix::process::chroot("/proc/self/fdinfo"))
        .and_then(|()| rustix::process::chdir("/"));
    if ready.is_err() {
        std::process::exit(1);
    }
    process::close_inherited();
    let mut children = nix::sys::signal::SigSet::empty();
    children.add(nix::sys::signal::Signal::SIGCHLD);
    loop {
        let _signal = children.wait();
        while let Ok(Some(_)) = rustix::process::wait(rustix::process::WaitOptions::NOHANG) {}
    }
}

#[cfg(test)]
mod tests {
    use super::sysctl_path;

    #[test]
    fn sysctls_stay_below_proc_sys() {
        for (name, want) in [
            ("net.ipv4.ip_forward", Some("/proc/sys/net/ipv4/ip_forward")),
            ("net/ipv4/conf/eth0.5/rp_filter", Some("/proc/sys/net/ipv4/conf/eth0.5/rp_filter")),
            ("../../etc/passwd", None),
            ("net..x", None),
            ("", None),
        ] {
            assert_eq!(sysctl_path(name).as_deref(), want, "{name}");
        }
    }
}
