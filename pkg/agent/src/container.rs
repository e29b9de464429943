// SPDX-License-Identifier: Apache-2.0
//! A container of the API as the runtime wants it: command, environment, mounts, user, limits.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod, VolumeMount};
use knarr_image::Image;
use knarr_runtime::{ContainerConfig, Mount, MountKind, Propagation};

use crate::context::{Context, PodView};
use crate::env::Environment;
use crate::fields::Addresses;
use crate::objects::{self, Data, Kind};
use crate::{dns, env, resources, security, volumes};

/// The most of a termination message that is read.
pub const TERMINATION_MESSAGE_MAX: usize = 4096;

/// The configuration of run number `run` of a container.
///
/// # Errors
/// The message of a CreateContainerConfigError.
pub async fn config(
    context: &Context,
    view: &PodView,
    spec: &Container,
    image: &Image,
    run: u32,
    pod_ips: &[std::net::IpAddr],
) -> Result<ContainerConfig, String> {
    let pod = view.pod();
    let addresses = Addresses { pod: pod_ips.to_vec(), host: context.addresses.clone() };
    let Environment { entries: env, vars } = environment(context, view, &pod, spec, image, &addresses).await?;
    let args = env::command(spec, &image.config.entrypoint, &image.config.cmd, &vars);
    if args.is_empty() {
        return Err("no command specified".to_owned());
    }
    let mut config = ContainerConfig {
        image: spec.image.clone().unwrap_or_default(),
        layers: image.layers.clone(),
        args,
        env,
        cwd: spec.working_dir.clone().unwrap_or_else(|| image.config.working_dir.clone()).into(),
        resources: resources::container(spec),
        oom_score_adj: Some(resources::oom_score_adj(&pod, spec, context.memory_bytes)),
        stdin: spec.stdin == Some(true),
        stdin_once: spec.stdin_once == Some(true),
        tty: spec.tty == Some(true),
        stop_signal: stop_signal(spec, &image.config.stop_signal),
        processes_of: target(view, &pod, spec)?,
        image_volumes: image_volumes(image),
        ..ContainerConfig::default()
    };
    let seccomp_dir = context.layout.root.join("seccomp");
    security::apply(&mut config, &pod, spec, &image.config.user, &seccomp_dir)?;
    config.mounts = mounts(context, view, spec, run, &vars)?;
    Ok(config)
}

/// The run of the container whose processes an ephemeral container is to see.
fn target(view: &PodView, pod: &Pod, spec: &Container) -> Result<Option<String>, String> {
    let mut ephemeral = pod.spec.iter().flat_map(|pod| pod.ephemeral_containers.iter().flatten());
    let asked = ephemeral.find(|ephemeral| ephemeral.name == spec.name);
    let target = asked.and_then(|ephemeral| ephemeral.target_container_name.as_deref()).unwrap_or_default();
    if target.is_empty() {
        return Ok(None);
    }
    let latest = view.latest(target);
    latest.map(|id| Some(id.run())).ok_or_else(|| format!("target container {target:?} has not been started"))
}

/// The places that the image declares to be volumes.
fn image_volumes(image: &Image) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = image.config.volumes.keys().map(PathBuf::from).collect();
    paths.sort();
    paths
}

async fn environment(
    context: &Context,
    view: &PodView,
    pod: &Pod,
    spec: &Container,
    image: &Image,
    addresses: &Addresses,
) -> Result<Environment, String> {
    let mut config_maps = BTreeMap::<String, Data>::new();
    let mut secrets = BTreeMap::<String, Data>::new();
    for name in objects::of_environment(pod, &spec.name) {
        if let Some(data) = context.objects.get(&name, view.uid.as_str()).await? {
            let of_kind = if name.0 == Kind::Secret { &mut secrets } else { &mut config_maps };
            of_kind.insert(name.2, data);
        }
    }
    let all_services = pod.spec.as_ref().and_then(|spec| spec.enable_service_links) != Some(false);
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let services = context.network.service_links(namespace, all_services).await;
    let sources = env::Sources {
        addresses,
        node: &context.allocatable,
        config_maps: &config_maps,
        secrets: &secrets,
        services: &services,
        image: &image.config.env,
    };
    let mut environment = env::environment(pod, spec, &sources)?;
    let env = &mut environment.entries;
    for (name, value) in [
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
        ("HOSTNAME", hostname(context, pod)),
    ] {
        if !env.iter().any(|entry| entry.split('=').next() == Some(name)) {
            env.push(format!("{name}={value}"));
        }
    }
    if spec.tty == Some(true) && !env.iter().any(|entry| entry.starts_with("TERM=")) {
        env.push("TERM=xterm".to_owned());
    }
    Ok(environment)
}

/// Volumes, the files that the node gives every container, and the termination message.
fn mounts(
    context: &Context,
    view: &PodView,
    spec: &Container,
    run: u32,
    vars: &BTreeMap<String, String>,
) -> Result<Vec<Mount>, String> {
    let dir = context.layout.pod(view.uid.as_str());
    let volumes = view.volumes.lock().paths.clone();
    let mut mounts = Vec::new();
    for (index, mount) in spec.volume_mounts.iter().flatten().enumerate() {
        let root = volumes.get(&mount.name).ok_or_else(|| format!("volume \"{}\" is not there", mount.name))?;
        let target = dir.join("sub_paths").join(&spec.name).join(index.to_string());
        mounts.push(volume_mount(mount, root, &target, vars)?);
    }
    let mut add = |destination: &str, source: PathBuf, read_only: bool| {
        if !mounts.iter().any(|mount: &Mount| mount.destination == Path::new(destination)) {
            mounts.push(Mount {
                destination: destination.into(),
                kind: MountKind::Bind(source),
                read_only,
                propagation: Propagation::None,
            });
        }
    };
    add("/etc/resolv.conf", dir.join("resolv.conf"), false);
    add("/etc/hosts", dir.join("hosts"), false);
    add("/etc/hostname", dir.join("hostname"), false);
    let message = termination_file(&dir, &spec.name, run);
    fs::create_dir_all(dir.join("termination")).and_then(|()| fs::write(&message, "")).map_err(|e| e.to_string())?;
    fs::set_permissions(&message, std::os::unix::fs::PermissionsExt::from_mode(0o666)).map_err(|e| e.to_string())?;
    add(spec.termination_message_path.as_deref().unwrap_or("/dev/termination-log"), message, false);
    Ok(mounts)
}

fn volume_mount(
    mount: &VolumeMount,
    root: &Path,
    target: &Path,
    vars: &BTreeMap<String, String>,
) -> Result<Mount, String> {
    let sub_path = match (&mount.sub_path, &mount.sub_path_expr) {
        (_, Some(expression)) if !expression.is_empty() => Some(env::expand_known(expression, vars)?),
        (Some(path), _) if !path.is_empty() => Some(path.clone()),
        _ => None,
    };
    let source = match sub_path {
        Some(sub_path) => volumes::bind_sub_path(root, &sub_path, target)?,
        None => root.to_owned(),
    };
    Ok(Mount {
        destination: PathBuf::from("/").join(&mount.mount_path),
        kind: MountKind::Bind(source),
        read_only: mount.read_only == Some(true),
        propagation: match mount.mount_propagation.as_deref() {
            Some("HostToContainer") => Propagation::HostToContainer,
            Some("Bidirectional") => Propagation::Bidirectional,
            _ => Propagation::None,
        },
    })
}

/// The files that all containers of a pod see: resolver, hosts and host name.
///
/// # Errors
/// When they cannot be written.
pub fn write_pod_files(context: &Context, pod: &Pod, dir: &Path, ips: &[std::net::IpAddr]) -> std::io::Result<()> {
    let host_network = pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true);
    let host_file = host_network.then(|| fs::read_to_string("/etc/hosts").unwrap_or_default());
    let resolver = dns::resolver(pod, &context.resolver, &context.cluster);
    fs::create_dir_all(dir)?;
    // Written in place: containers hold the file itself.
    fs::write(dir.join("resolv.conf"), resolver.render())?;
    fs::write(dir.join("hosts"), dns::hosts(pod, ips, host_file.as_deref(), &context.cluster))?;
    fs::write(dir.join("hostname"), format!("{}\n", hostname(context, pod)))?;
    for file in ["resolv.conf", "hosts", "hostname"] {
        fs::set_permissions(dir.join(file), std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    }
    Ok(())
}

/// The name that the pod's containers see; in the host's network that is the host's.
fn hostname(context: &Context, pod: &Pod) -> String {
    if pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true) {
        return rustix::system::uname().nodename().to_string_lossy().into_owned();
    }
    dns::hostname(pod, &context.cluster)
}

/// Where a run's termination message is, on the host.
#[must_use]
pub fn termination_file(pod_dir: &Path, container: &str, run: u32) -> PathBuf {
    pod_dir.join("termination").join(format!("{container}-{run}"))
}

/// What asks the container to stop: the pod's word goes before the image's.
fn stop_signal(spec: &Container, image: &str) -> Option<i32> {
    let own = spec.lifecycle.as_ref().and_then(|lifecycle| lifecycle.stop_signal.as_deref());
    own.and_then(signal).or_else(|| signal(image))
}

/// A signal by name or number, as images write it.
#[must_use]
pub fn signal(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return Some(number);
    }
    let name = text.to_uppercase();
    let name = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
    name.parse::<nix::sys::signal::Signal>().ok().map(|signal| signal as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pod_says_which_signal_stops_it() {
        let of = |lifecycle: serde_json::Value| -> Container {
            serde_json::from_value(serde_json::json!({"name": "c", "lifecycle": lifecycle})).unwrap()
        };
        let own = of(serde_json::json!({"stopSignal": "SIGUSR1"}));
        assert_eq!(stop_signal(&own, "SIGQUIT"), Some(10));
        assert_eq!(stop_signal(&of(serde_json::json!({})), "SIGQUIT"), Some(3));
        assert_eq!(stop_signal(&Container::default(), ""), None);
    }

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, expected) in [("SIGTERM", Some(15)), ("quit", Some(3)), ("9", Some(9)), ("", None), ("x", None)] {
            assert_eq!(signal(text), expected, "{text}");
        }
    }
}
