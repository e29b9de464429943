// SPDX-License-Identifier: Apache-2.0
//! Doing what the state machine asks for, and telling it how that went.

use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::api::core::v1::{Container, Pod};
use knarr_client::events::Severity;
use knarr_image::{Keyring, PullOptions, PullPolicy};
use knarr_network::services::{HostPort, Protocol};
use knarr_runtime::{Namespaces, SandboxConfig};
use tokio::sync::mpsc;

use crate::context::{Context, PodNetwork, PodView};
use crate::fields::Addresses;
use crate::objects::Kind;
use crate::pod::{Action, Event, Exit, Moment, Sandbox, any_container, containers, resizable};
use crate::worker::Mail;
use crate::{container, dns, hooks, probes, resources, volumes};

/// Longer than any grace.
const NO_LIMIT: std::time::Duration = std::time::Duration::from_secs(365 * 86_400);

/// One action for one pod, done in a task of its own.
pub struct Doer {
    /// What all pods share.
    pub context: Arc<Context>,
    /// The pod.
    pub view: Arc<PodView>,
    /// The pod's task.
    pub mail: mpsc::UnboundedSender<Mail>,
}

impl Doer {
    /// Does the action to its end and mails the outcome.
    pub async fn act(self, action: Action) {
        let pod = self.view.pod();
        let spec = |name: &str| any_container(&pod, name).map(|(_, spec)| spec.into_owned()).unwrap_or_default();
        match action {
            Action::StartSandbox => self.start_sandbox(&pod).await,
            Action::StopSandbox => self.stop_sandbox().await,
            Action::SetUpVolumes => self.set_up_volumes(&pod).await,
            Action::CleanVolumes => self.clean_volumes().await,
            Action::EnsureImage { container } => self.ensure_image(&pod, &spec(&container)).await,
            Action::Start { container, run } => self.start(&pod, &spec(&container), run).await,
            Action::PostStart { container, run } => {
                let spec = spec(&container);
                let handler = spec.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref());
                let result = match handler {
                    Some(handler) => hooks::call(&self.target(&spec, run), handler).await,
                    None => Ok(()),
                };
                self.send(Event::PostStarted(container, run, result.err()));
            }
            Action::PreStop { container, run } => {
                let spec = spec(&container);
                let handler = spec.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref());
                let result = match handler {
                    Some(handler) => hooks::call(&self.target(&spec, run), handler).await,
                    None => Ok(()),
                };
                self.send(Event::PreStopped(container, run, result.err()));
            }
            Action::Signal { container, run, kill } => self.signal(&container, run, kill).await,
            Action::Probe { container, run, kind } => {
                let spec = spec(&container);
                if let Some(probe) = kind.of(&spec) {
                    let answer = probes::probe(&self.target(&spec, run), probe).await;
                    self.send(Event::Probed(container, run, kind, answer));
                }
            }
            Action::Resize => self.resize(&pod).await,
            // The pod's task has its writer do this one.
            Action::Remove => {}
        }
    }

    fn send(&self, event: Event) {
        // A task that has ended needs no more events.
        let _ = self.mail.send(Mail::Event(event));
    }

    fn warn(&self, pod: &Pod, container: Option<&str>, reason: &str, message: &str) {
        self.context.tell(pod, container, Severity::Warning, reason, message);
    }

    fn ips(&self) -> Vec<std::net::IpAddr> {
        match &self.view.memory.lock().sandbox {
            Sandbox::Ready(ips) => ips.clone(),
            _ => Vec::new(),
        }
    }

    fn target<'a>(&'a self, spec: &'a Container, run: u32) -> probes::Target<'a> {
        let ip = self.ips().first().copied();
        probes::Target { runtime: &self.context.runtime, id: self.view.container(&spec.name, run), spec, ip }
    }

    // --- sandbox and volumes ---

    async fn start_sandbox(&self, pod: &Pod) {
        match self.try_start_sandbox(pod).await {
            Ok(ips) => self.send(Event::SandboxReady(ips)),
            Err(error) => {
                let message = format!("Failed to create pod sandbox: {error}");
                self.send(Event::SandboxFailed(message.clone()));
                self.warn(pod, None, "FailedCreatePodSandBox", &message);
            }
        }
    }

    async fn try_start_sandbox(&self, pod: &Pod) -> Result<Vec<std::net::IpAddr>, String> {
        let context = &self.context;
        let uid = self.view.uid.as_str();
        let (of_network, others) = sysctls(pod);
        let host_network = pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true);
        let network = if host_network {
            PodNetwork { netns: None, addresses: context.addresses.clone() }
        } else {
            context.network.set_up(uid, &of_network).await?
        };
        let dir = context.layout.pod(uid);
        container::write_pod_files(context, pod, &dir, &network.addresses).map_err(|error| error.to_string())?;
        let config = self.sandbox_config(pod, network.netns.clone(), others);
        context.runtime.run_pod_sandbox(&config).await.map_err(|error| error.to_string())?;
        context.network.host_ports(uid, host_ports(pod, &network.addresses));
        Ok(network.addresses)
    }

    fn sandbox_config(
        &self,
        pod: &Pod,
        netns: Option<std::path::PathBuf>,
        sysctls: Vec<(String, String)>,
    ) -> SandboxConfig {
        let spec = pod.spec.as_ref();
        let flag = |of: fn(&k8s_openapi::api::core::v1::PodSpec) -> Option<bool>| spec.and_then(of) == Some(true);
        SandboxConfig {
            uid: self.view.uid.clone(),
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            name: pod.metadata.name.clone().unwrap_or_default(),
            hostname: dns::hostname(pod, &self.context.cluster),
            namespaces: Namespaces {
                network: netns,
                host_pid: flag(|spec| spec.host_pid),
                host_ipc: flag(|spec| spec.host_ipc),
                shared_pid: flag(|spec| spec.share_process_namespace),
            },
            log_dir: self.context.layout.logs(self.view.uid.as_str()),
            sysctls,
            resources: resources::sandbox(pod),
            shm_bytes: None,
            annotations: std::collections::BTreeMap::new(),
        }
    }

    async fn stop_sandbox(&self) {
        let mut pause = std::time::Duration::from_millis(200);
        loop {
            match self.try_stop_sandbox().await {
                Ok(()) => return self.send(Event::SandboxGone),
                Err(error) => {
                    tracing::warn!(pod = %self.view.uid, error, "a sandbox was not removed; it is tried again")
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(std::time::Duration::from_secs(30));
        }
    }

    async fn try_stop_sandbox(&self) -> Result<(), String> {
        self.context.runtime.remove_pod(&self.view.uid).await.map_err(|error| error.to_string())?;
        self.context.network.tear_down(self.view.uid.as_str()).await
    }

    async fn set_up_volumes(&self, pod: &Pod) {
        let addresses = Addresses { pod: self.ips(), host: self.context.addresses.clone() };
        let source = volumes::Source {
            pod,
            dir: self.context.layout.pod(self.view.uid.as_str()),
            objects: &self.context.objects,
            client: self.context.client.clone(),
            addresses: &addresses,
            node: &self.context.allocatable,
        };
        match volumes::set_up(&source).await {
            Ok(mounted) => {
                *self.view.volumes.lock() = mounted;
                self.send(Event::VolumesReady);
            }
            Err(message) => {
                if let Some(renew) = &mut self.view.volumes.lock().renew {
                    *renew = volumes::retry(Moment::now());
                }
                self.send(Event::VolumesFailed(message.clone()));
                self.warn(pod, None, "FailedMount", &message);
            }
        }
    }

    async fn clean_volumes(&self) {
        let dir = self.context.layout.pod(self.view.uid.as_str());
        let mut pause = std::time::Duration::from_millis(200);
        loop {
            let dir = dir.clone();
            match tokio::task::spawn_blocking(move || volumes::clean_up(&dir)).await {
                Ok(Ok(())) => return self.send(Event::VolumesGone),
                Ok(Err(error)) => {
                    tracing::warn!(pod = %self.view.uid, error, "volumes were not removed; it is tried again")
                }
                Err(error) => {
                    tracing::warn!(pod = %self.view.uid, %error, "removing volumes ended badly; it is tried again")
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(std::time::Duration::from_secs(30));
        }
    }

    // --- resources ---

    /// A group must not have more than the one above it, and that one no less than those below: what fails because the
    /// other has not changed yet works the second time.
    async fn resize(&self, pod: &Pod) {
        let runs = resizable(&self.view.memory.lock(), pod);
        let runtime = &self.context.runtime;
        let mut done = Vec::new();
        let mut failed = None;
        for _ in 0..2 {
            failed = runtime.update_pod(&self.view.uid, &resources::sandbox(pod)).await.err();
            done.clear();
            for (spec, run) in &runs {
                let id = self.view.container(&spec.name, *run);
                match runtime.update_container(&id, &resources::container(spec)).await {
                    Ok(()) => done.push((spec.name.clone(), *run, spec.resources.clone().unwrap_or_default())),
                    Err(error) => failed = Some(error),
                }
            }
        }
        self.send(Event::Resized(done, failed.map(|error| error.to_string())));
    }

    // --- images ---

    async fn ensure_image(&self, pod: &Pod, spec: &Container) {
        let name = spec.image.as_deref().unwrap_or_default();
        let policy = match spec.image_pull_policy.as_deref() {
            Some("Always") => PullPolicy::Always,
            Some("Never") => PullPolicy::Never,
            _ => PullPolicy::IfNotPresent,
        };
        let begun = Instant::now();
        match self.pull(pod, spec, name, policy).await {
            Ok((image, fetched)) => {
                let message = if fetched {
                    let took = go_seconds(begun.elapsed());
                    let size = image.size_bytes;
                    format!(
                        "Successfully pulled image \"{name}\" in {took} ({took} including waiting). Image size: {size} bytes."
                    )
                } else {
                    format!("Container image \"{name}\" already present on machine and can be accessed by the pod")
                };
                let id = image.digests.first().cloned().unwrap_or_else(|| image.id.clone());
                let reference = image.names.first().cloned().unwrap_or_else(|| name.to_owned());
                self.view.images.lock().insert(spec.name.clone(), image);
                self.send(Event::ImageReady(spec.name.clone(), (reference, id)));
                self.context.tell(pod, Some(&spec.name), Severity::Normal, "Pulled", &message);
            }
            Err(error) => self.image_failed(pod, spec, name, &error),
        }
    }

    /// The image of that policy. Where none is here that the pod may use, a pull is announced before it is tried.
    async fn pull(
        &self,
        pod: &Pod,
        spec: &Container,
        name: &str,
        policy: PullPolicy,
    ) -> knarr_image::Result<(knarr_image::Image, bool)> {
        let registries = Arc::clone(&self.context.registries);
        let options = PullOptions { policy, keyring: self.keyring(pod).await, registries, platform: None };
        if policy != PullPolicy::Always {
            let here = PullOptions { policy: PullPolicy::Never, ..options.clone() };
            match self.context.images.ensure(name, here).await {
                Err(knarr_image::Error::NeverPull(_)) if policy == PullPolicy::IfNotPresent => {}
                other => return other.map(|image| (image, false)),
            }
        }
        let message = format!("Pulling image \"{name}\"");
        self.context.tell(pod, Some(&spec.name), Severity::Normal, "Pulling", &message);
        self.context.images.ensure(name, options).await.map(|image| (image, true))
    }

    fn image_failed(&self, pod: &Pod, spec: &Container, name: &str, error: &knarr_image::Error) {
        let container = Some(spec.name.as_str());
        let (reason, message) = match error {
            knarr_image::Error::NeverPull(_) => {
                let message = format!("Container image \"{name}\" is not present with pull policy of Never");
                self.warn(pod, container, "ErrImageNeverPull", &message);
                ("ErrImageNeverPull", message)
            }
            knarr_image::Error::InvalidName { .. } => {
                let message = format!(
                    "Failed to apply default image tag \"{name}\": couldn't parse image name \"{name}\": invalid reference format"
                );
                self.warn(pod, container, "InspectFailed", &message);
                ("InvalidImageName", message)
            }
            error => {
                self.warn(pod, container, "Failed", &format!("Failed to pull image \"{name}\": {error}"));
                ("ErrImagePull", error.to_string())
            }
        };
        self.send(Event::ImageFailed(spec.name.clone(), reason.to_owned(), message));
        self.warn(pod, container, "Failed", &format!("Error: {reason}"));
        if reason == "ErrImagePull" {
            let message = format!("Back-off pulling image \"{name}\"");
            self.context.tell(pod, container, Severity::Normal, "BackOff", &message);
            self.warn(pod, container, "Failed", "Error: ImagePullBackOff");
        }
    }

    /// The credentials of the pod's pull secrets; one that is missing or odd is said and left out.
    async fn keyring(&self, pod: &Pod) -> Keyring {
        let mut keyring = Keyring::default();
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        for reference in pod.spec.iter().flat_map(|spec| spec.image_pull_secrets.iter().flatten()) {
            let name = (Kind::Secret, namespace.clone(), reference.name.clone());
            let found = self.context.objects.versioned(&name, self.view.uid.as_str()).await;
            let added = match found {
                Ok(Some((_, data))) => match (data.get(".dockerconfigjson"), data.get(".dockercfg")) {
                    (Some(json), _) => keyring.add_docker_config_json(json).map_err(|error| error.to_string()),
                    (None, Some(json)) => keyring.add_docker_cfg(json).map_err(|error| error.to_string()),
                    (None, None) => Err("it holds no .dockerconfigjson".to_owned()),
                },
                Ok(None) => Err("it does not exist".to_owned()),
                Err(error) => Err(error),
            };
            if let Err(error) = added {
                let message =
                    format!("Unable to use image pull secret {}: {error}; the pull may fail.", reference.name);
                self.warn(pod, None, "FailedToRetrieveImagePullSecret", &message);
            }
        }
        keyring
    }

    // --- containers ---

    async fn start(&self, pod: &Pod, spec: &Container, run: u32) {
        let name = Some(spec.name.as_str());
        let refuse = |reason: &str, message: String| {
            self.send(Event::Refused(spec.name.clone(), run, reason.to_owned(), message));
        };
        let image = self.view.images.lock().get(&spec.name).cloned();
        let Some(image) = image else {
            return refuse("CreateContainerError", "its image is not here any more".to_owned());
        };
        let id = self.view.container(&spec.name, run);
        let config = match container::config(&self.context, &self.view, spec, &image, run, &self.ips()).await {
            Ok(config) => config,
            Err(message) => {
                refuse("CreateContainerConfigError", message.clone());
                return self.warn(pod, name, "Failed", &format!("Error: {message}"));
            }
        };
        // What an attempt that was cut short has left is in the way.
        let _ = self.context.runtime.remove_container(&id).await;
        if let Err(error) = self.context.runtime.create_container(&id, &config).await {
            let message = error.to_string();
            refuse("CreateContainerError", message.clone());
            return self.warn(pod, name, "Failed", &format!("Error: {message}"));
        }
        let created = "Container created".to_owned();
        let begun = Moment::now();
        match self.context.runtime.start_container(&id).await {
            Ok(_) => {
                self.send(Event::Started(spec.name.clone(), run, id.uri(), begun));
                self.context.tell(pod, name, Severity::Normal, "Created", &created);
                let started = "Container started".to_owned();
                self.context.tell(pod, name, Severity::Normal, "Started", &started);
            }
            Err(error) => {
                let message = error.to_string();
                let exit = Exit {
                    id: id.uri(),
                    code: 128,
                    reason: "StartError".to_owned(),
                    message: message.clone(),
                    started: begun,
                    finished: Moment::now(),
                };
                self.send(Event::Exited(spec.name.clone(), run, exit));
                self.context.tell(pod, name, Severity::Normal, "Created", &created);
                self.warn(pod, name, "Failed", &format!("Error: {message}"));
            }
        }
        self.forget_runs_before(&spec.name, run).await;
    }

    /// Of the runs of a container the last two are kept, for their exit codes and logs.
    async fn forget_runs_before(&self, name: &str, run: u32) {
        let Some(old) = run.checked_sub(2) else { return };
        if let Err(error) = self.context.runtime.remove_container(&self.view.container(name, old)).await {
            tracing::debug!(pod = %self.view.uid, %error, "an old run was not removed");
        }
        let pod_dir = self.context.layout.pod(self.view.uid.as_str());
        let _ = std::fs::remove_file(container::termination_file(&pod_dir, name, old));
        let logs = self.context.layout.logs(self.view.uid.as_str()).join(name);
        let _ = std::fs::remove_file(logs.join(format!("{old}.log")));
    }

    async fn signal(&self, name: &str, run: u32, kill: bool) {
        let id = self.view.container(name, run);
        let sent = if kill {
            self.context.runtime.signal(&id, rustix::process::Signal::KILL.as_raw()).await
        } else {
            // The machine counts the grace and asks for the kill: this only knows the right signal.
            self.context.runtime.stop_container(&id, None, NO_LIMIT).await.map(drop)
        };
        // A container that has just ended needs no signal; its exit is on the way.
        if let Err(error) = sent {
            tracing::debug!(pod = %self.view.uid, container = name, %error, "a signal was not delivered");
        }
    }
}

/// The ports of the host that lead to the pod; none for a pod in the host's network.
#[must_use]
pub fn host_ports(pod: &Pod, ips: &[std::net::IpAddr]) -> Vec<HostPort> {
    if pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true) {
        return Vec::new();
    }
    let mut all = Vec::new();
    for port in containers(pod).flat_map(|(_, container)| container.ports.iter().flatten()) {
        let number = |port: i32| u16::try_from(port).ok().filter(|port| *port > 0);
        let (Some(host), Some(inner)) = (port.host_port.and_then(number), number(port.container_port)) else {
            continue;
        };
        let protocol = match port.protocol.as_deref() {
            Some("UDP") => Protocol::Udp,
            Some("SCTP") => continue,
            _ => Protocol::Tcp,
        };
        let host_ip = port.host_ip.as_deref().and_then(|ip| ip.parse().ok());
        let to = |ip: &std::net::IpAddr| std::net::SocketAddr::new(*ip, inner);
        all.extend(ips.iter().map(|ip| HostPort { host_ip, port: host, protocol, pod: to(ip) }));
    }
    all
}

/// Names and values of kernel parameters.
type Sysctls = Vec<(String, String)>;

/// The pod's sysctls: those of the network, and the others.
fn sysctls(pod: &Pod) -> (Sysctls, Sysctls) {
    let security = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let all = security.iter().flat_map(|security| security.sysctls.iter().flatten());
    all.map(|sysctl| (sysctl.name.replace('/', "."), sysctl.value.clone()))
        .partition(|(name, _)| name.starts_with("net."))
}

/// Go's notation of a duration below an hour: `1.234s`, `56ms`.
fn go_seconds(duration: std::time::Duration) -> String {
    if duration.as_secs() == 0 {
        format!("{}ms", duration.as_millis())
    } else {
        format!("{}s", duration.as_millis() as f64 / 1000.0)
    }
}
