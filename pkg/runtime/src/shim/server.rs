// SPDX-License-Identifier: Apache-2.0

//! The shim's loop: requests, output, dead children; one thread, woken by `poll` alone.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;

use nix::errno::Errno;
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, poll};

use crate::config::{ContainerConfig, ExecConfig};
use crate::protocol::{Failure, Request, Response, StreamKind, VERSION};
use crate::status::{Exit, PodStatus, SandboxState};

use super::container::{Container, Pod, Refused};
use super::wire::{Client, Role};
use super::{clock, exec, oom, process};

/// All that the shim holds.
pub struct Server {
    pod: Pod,
    listener: UnixListener,
    signals: SignalFd,
    clients: BTreeMap<u64, Client>,
    containers: BTreeMap<String, Container>,
    /// Processes of `exec`, by id: the client that is told of the exit.
    execs: HashMap<i32, u64>,
    /// Counts clients and execs.
    counter: u64,
    ending: bool,
}

/// Who woke the loop.
enum Wake {
    Signal,
    Listener,
    Client(u64),
    Output(String, usize),
}

impl Server {
    /// Takes over the socket and the children.
    pub fn new(pod: Pod, listener: UnixListener, signals: SignalFd) -> Server {
        Server {
            pod,
            listener,
            signals,
            clients: BTreeMap::new(),
            containers: BTreeMap::new(),
            execs: HashMap::new(),
            counter: 0,
            ending: false,
        }
    }

    /// Serves until the pod is removed.
    pub fn run(mut self) -> io::Result<()> {
        while !self.ending {
            for wake in self.wait()? {
                match wake {
                    Wake::Signal => self.reap()?,
                    Wake::Listener => self.accept(),
                    Wake::Client(id) => self.serve(id),
                    Wake::Output(run, index) => {
                        if let Some(container) = self.containers.get_mut(&run) {
                            container.outputs.pump(index);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn wait(&self) -> io::Result<Vec<Wake>> {
        let mut wakes = vec![Wake::Signal, Wake::Listener];
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN), PollFd::new(&self.listener, PollFlags::IN)];
        for (run, container) in &self.containers {
            // From the last to the first: a stream that ends moves those behind it.
            let streams: Vec<_> = container.outputs.fds().enumerate().collect();
            for (index, fd) in streams.into_iter().rev() {
                wakes.push(Wake::Output(run.clone(), index));
                fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
            }
        }
        for (id, client) in &self.clients {
            let flags = if client.has_output() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            wakes.push(Wake::Client(*id));
            fds.push(PollFd::from_borrowed_fd(client.as_fd(), flags));
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let ready = fds.iter().map(|fd| !fd.revents().is_empty());
        let mut ready: Vec<bool> = ready.collect();
        ready.reverse();
        wakes.retain(|_| ready.pop().unwrap_or(false));
        // Output before exits: a reader of the log then sees all of it when it hears of the exit.
        wakes.sort_by_key(|wake| !matches!(wake, Wake::Output(..)));
        Ok(wakes)
    }

    fn accept(&mut self) {
        if let Ok((stream, _)) = self.listener.accept()
            && let Ok(client) = Client::new(stream)
        {
            self.counter += 1;
            self.clients.insert(self.counter, client);
        }
    }

    fn serve(&mut self, id: u64) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let received = client.flush().and_then(|()| client.receive());
        let Ok(requests) = received else {
            self.forget(id);
            return;
        };
        for request in requests {
            let answered = match request {
                Ok(request) => self.answer(id, request),
                Err(e) => self.reply(id, Err((Failure::Invalid, format!("unknown request: {e}")))),
            };
            if answered.is_err() {
                self.forget(id);
                return;
            }
        }
    }

    /// A client left: so does what it ran.
    fn forget(&mut self, id: u64) {
        let Some(client) = self.clients.remove(&id) else { return };
        if let Role::Following(pid) = client.role
            && self.execs.get(&pid) == Some(&id)
        {
            let _ended_before = nix::sys::signal::kill(Pid::from_raw(pid), nix::sys::signal::SIGKILL);
        }
        for container in self.containers.values_mut() {
            container.outputs.detach(id);
        }
    }

    fn answer(&mut self, id: u64, request: Request) -> io::Result<()> {
        let reply = match request {
            Request::Status => Ok(self.status()),
            Request::Create { name, attempt, config } => {
                let run = format!("{name}-{attempt}");
                if self.containers.contains_key(&run) {
                    Ok(Response::Done)
                } else {
                    self.create(run, name, attempt, *config)
                }
            }
            Request::Start { run } => self.start(&run),
            Request::Signal { run, signal } => self.signal(&run, signal),
            Request::Remove { run } => self.remove(&run),
            Request::Exec { run, config } => return self.exec(id, &run, &config),
            Request::Attach { run, stdin } => return self.attach(id, &run, stdin),
            Request::Watch => {
                self.set_role(id, Role::Watching);
                Ok(Response::Done)
            }
            Request::Shutdown => return self.shutdown(id),
        };
        process::trim_memory();
        self.reply(id, reply)
    }

    fn reply(&mut self, id: u64, reply: Result<Response, Refused>) -> io::Result<()> {
        let response = reply.unwrap_or_else(|(kind, message)| Response::Failed { kind, message });
        self.clients.get_mut(&id).map_or(Ok(()), |client| client.send(&response))
    }

    fn set_role(&mut self, id: u64, role: Role) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.role = role;
        }
    }

    fn status(&self) -> Response {
        let config = self.pod.sandbox.config.clone();
        let containers = self.containers.values().map(|c| c.status(&config.uid)).collect();
        let shim_pid = i32::try_from(std::process::id()).unwrap_or_default();
        let status = PodStatus { config, state: SandboxState::Ready, shim_pid, containers };
        Response::Status { version: VERSION, status: Box::new(status) }
    }

    fn container(&mut self, run: &str) -> Result<&mut Container, Refused> {
        let missing = || (Failure::NotFound, format!("container {run} is not known"));
        self.containers.get_mut(run).ok_or_else(missing)
    }

    fn create(
        &mut self,
        run: String,
        name: String,
        attempt: u32,
        config: ContainerConfig,
    ) -> Result<Response, Refused> {
        let mut beside = None;
        if let Some(target) = &config.processes_of {
            let pid = self.container(target)?.pid();
            beside = Some(pid.ok_or_else(|| (Failure::NotRunning, format!("container {target} is not running")))?);
        }
        let container = Container::create(&self.pod, beside, name, attempt, config)?;
        self.containers.insert(run, container);
        Ok(Response::Done)
    }

    fn start(&mut self, run: &str) -> Result<Response, Refused> {
        let container =
            self.containers.get_mut(run).ok_or_else(|| (Failure::NotFound, format!("container {run} is not known")))?;
        let started = container.start(&self.pod);
        oom::protect();
        started.map(|pid| Response::Started { pid })
    }

    fn signal(&mut self, run: &str, signal: i32) -> Result<Response, Refused> {
        let Some(pid) = self.container(run)?.pid() else {
            return Err((Failure::NotRunning, format!("container {run} is not running")));
        };
        let signal = nix::sys::signal::Signal::try_from(signal)
            .map_err(|_| (Failure::Invalid, format!("{signal} is no signal")))?;
        match nix::sys::signal::kill(Pid::from_raw(pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(Response::Done),
            Err(e) => Err((Failure::Other, format!("cannot signal process {pid}: {e}"))),
        }
    }

    fn remove(&mut self, run: &str) -> Result<Response, Refused> {
        self.kill_container(run);
        let container = self.container(run)?;
        let dir = container.dir.0.clone();
        self.containers.remove(run);
        std::fs::remove_dir_all(&dir).map_err(|e| (Failure::Other, format!("cannot remove {}: {e}", dir.display())))?;
        Ok(Response::Done)
    }

    /// Kills a container and takes note of its exit.
    fn kill_container(&mut self, run: &str) {
        let Some(container) = self.containers.get_mut(run) else { return };
        let Some(pid) = container.pid() else {
            container.clear(&self.pod);
            return;
        };
        // The first process of a process id namespace takes the others along.
        let pid = Pid::from_raw(pid);
        let _gone = nix::sys::signal::kill(pid, nix::sys::signal::SIGKILL);
        if let Ok(status) = waitpid(pid, None) {
            self.ended(pid.as_raw(), status);
        }
    }

    fn exec(&mut self, id: u64, run: &str, config: &ExecConfig) -> io::Result<()> {
        self.counter += 1;
        let number = self.counter;
        let started = match self.containers.get(run) {
            Some(container) => exec::start(&self.pod, container, config, number),
            None => Err((Failure::NotFound, format!("container {run} is not known"))),
        };
        oom::protect();
        match started {
            Ok((pid, ends)) => {
                self.execs.insert(pid, id);
                self.set_role(id, Role::Following(pid));
                self.hand_over(id, ends)
            }
            Err(refused) => self.reply(id, Err(refused)),
        }
    }

    fn attach(&mut self, id: u64, run: &str, stdin: bool) -> io::Result<()> {
        let attached = self.container(run).and_then(|container| {
            let pid = container.pid().unwrap_or_default();
            exec::attach(container, id, stdin).map(|ends| (pid, ends))
        });
        match attached {
            Ok((pid, ends)) => {
                self.set_role(id, Role::Following(pid));
                self.hand_over(id, ends)
            }
            Err(refused) => self.reply(id, Err(refused)),
        }
    }

    fn hand_over(&mut self, id: u64, ends: Vec<(StreamKind, OwnedFd)>) -> io::Result<()> {
        let (streams, fds): (Vec<_>, Vec<_>) = ends.into_iter().unzip();
        let Some(client) = self.clients.get_mut(&id) else { return Ok(()) };
        client.send_with(&Response::Streams { streams }, &fds)
    }

    fn reap(&mut self) -> io::Result<()> {
        while self.signals.read_signal()?.is_some() {}
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(status @ (WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..))) => {
                    self.ended(pid.as_raw(), status);
                }
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(()),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn ended(&mut self, pid: i32, status: WaitStatus) {
        let container = self.containers.values_mut().find(|c| c.pid() == Some(pid));
        let (run, exit) = if let Some(container) = container {
            (container.run(), container.ended(&self.pod, status))
        } else if self.execs.remove(&pid).is_some() {
            (String::new(), plain_exit(status))
        } else {
            return; // an orphan of a container that uses the host's process ids
        };
        let response = Response::Exited { run, exit };
        let told: Vec<u64> = self
            .clients
            .iter()
            .filter(|(_, client)| match client.role {
                Role::Following(followed) => followed == pid,
                Role::Watching => matches!(&response, Response::Exited { run, .. } if !run.is_empty()),
                Role::Asking => false,
            })
            .map(|(id, _)| *id)
            .collect();
        for id in told {
            let Some(client) = self.clients.get_mut(&id) else { continue };
            if client.send(&response).is_err() {
                self.forget(id);
            }
        }
        process::trim_memory();
    }

    fn shutdown(&mut self, id: u64) -> io::Result<()> {
        for run in self.containers.keys().cloned().collect::<Vec<_>>() {
            self.kill_container(&run);
        }
        if let Some(pid) = self.pod.pause_pid {
            let _gone = nix::sys::signal::kill(Pid::from_raw(pid), nix::sys::signal::SIGKILL);
        }
        self.ending = true;
        let Some(client) = self.clients.get_mut(&id) else { return Ok(()) };
        client.send(&Response::Done)?;
        client.flush_all()
    }
}

fn plain_exit(status: WaitStatus) -> Exit {
    let (code, signal) = match status {
        WaitStatus::Exited(_, code) => (code, None),
        WaitStatus::Signaled(_, signal, _) => (128 + signal as i32, Some(signal as i32)),
        _ => (255, None),
    };
    let finished_at_ns = clock::now_ns();
    Exit { code, signal, oom_killed: false, started_at_ns: 0, finished_at_ns, message: None }
}
