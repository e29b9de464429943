// SPDX-License-Identifier: Apache-2.0
//! The containers of a pod or a template: image, ports, state, resources, probes, environment, mounts.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, ContainerState, ContainerStatus, EnvFromSource, EnvVar, Probe, ResourceFieldSelector,
    ResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Amount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use knarr_types::quantity::Quantity;

use super::page::{Page, date};
use super::pod::Place;

/// A section of containers, each with its status where it has one.
pub(super) fn section(page: &mut Page, title: &str, all: &[Container], statuses: &[ContainerStatus], place: Place<'_>) {
    let none = if all.is_empty() { " <none>" } else { "" };
    page.line(0, format_args!("{}{title}:{none}", place.indent()));
    for container in all {
        let status = statuses.iter().find(|status| status.name == container.name);
        page.line(1, format_args!("{}{}:", place.name_indent(), container.name));
        basics(page, container, status);
        words(page, "Command", container.command.as_deref());
        words(page, "Args", container.args.as_deref());
        if let Some(status) = status {
            state(page, "State", status.state.as_ref());
            let last = status.last_state.as_ref().filter(|last| last.terminated.is_some());
            last.into_iter().for_each(|last| state(page, "Last State", Some(last)));
            page.field(2, "Ready", if status.ready { "True" } else { "False" });
            page.field(2, "Restart Count", status.restart_count);
        }
        container.resources.iter().for_each(|amounts| resources(page, 2, amounts));
        page.some(2, "Liveness", container.liveness_probe.as_ref().map(probe).as_ref());
        page.some(2, "Readiness", container.readiness_probe.as_ref().map(probe).as_ref());
        page.some(2, "Startup", container.startup_probe.as_ref().map(probe).as_ref());
        environment(page, container, place);
        mounts(page, container);
    }
}

fn basics(page: &mut Page, container: &Container, status: Option<&ContainerStatus>) {
    if let Some(status) = status {
        page.field(2, "Container ID", status.container_id.as_deref().unwrap_or_default());
    }
    page.field(2, "Image", container.image.as_deref().unwrap_or_default());
    if let Some(status) = status {
        page.field(2, "Image ID", &status.image_id);
    }
    let ports = container.ports.as_deref().unwrap_or_default();
    for (title, number) in [
        ("Port", (|port: &ContainerPort| port.container_port) as fn(&ContainerPort) -> i32),
        ("Host Port", |port| port.host_port.unwrap_or_default()),
    ] {
        let one = |port: &ContainerPort| {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let name = port.name.as_ref().map_or(String::new(), |name| format!(" ({name})"));
            format!("{}/{protocol}{name}", number(port))
        };
        let text = ports.iter().map(one).collect::<Vec<_>>().join(", ");
        match ports.len() {
            0 => page.field(2, title, "<none>"),
            1 => page.field(2, title, text),
            _ => page.field(2, &format!("{title}s"), text),
        }
    }
    if let Some(profile) = container.security_context.as_ref().and_then(|context| context.seccomp_profile.as_ref()) {
        page.field(2, "SeccompProfile", &profile.type_);
        page.some(3, "LocalhostProfile", profile.localhost_profile.as_ref());
    }
}

fn words(page: &mut Page, title: &str, words: Option<&[String]>) {
    let Some(words) = words.filter(|words| !words.is_empty()) else { return };
    page.line(2, format_args!("{title}:"));
    words.iter().flat_map(|word| word.split('\n')).for_each(|line| page.line(3, line));
}

fn state(page: &mut Page, title: &str, state: Option<&ContainerState>) {
    let nothing = ContainerState::default();
    let state = state.unwrap_or(&nothing);
    if let Some(running) = &state.running {
        page.field(2, title, "Running");
        page.field(3, "Started", date(running.started_at.as_ref().map(|time| time.0)));
    } else if let Some(terminated) = &state.terminated {
        page.field(2, title, "Terminated");
        page.some(3, "Reason", terminated.reason.as_ref());
        page.some(3, "Message", terminated.message.as_ref());
        page.field(3, "Exit Code", terminated.exit_code);
        page.some(3, "Signal", terminated.signal.as_ref().filter(|signal| **signal > 0));
        page.field(3, "Started", date(terminated.started_at.as_ref().map(|time| time.0)));
        page.field(3, "Finished", date(terminated.finished_at.as_ref().map(|time| time.0)));
    } else {
        page.field(2, title, "Waiting");
        page.some(3, "Reason", state.waiting.as_ref().and_then(|waiting| waiting.reason.as_ref()));
    }
}

/// Limits and requests.
pub(super) fn resources(page: &mut Page, depth: usize, resources: &ResourceRequirements) {
    for (title, amounts) in [("Limits", &resources.limits), ("Requests", &resources.requests)] {
        let Some(amounts) = amounts.as_ref().filter(|amounts| !amounts.is_empty()) else { continue };
        page.line(depth, format_args!("{title}:"));
        amounts.iter().for_each(|(name, amount)| page.field(depth + 1, name, &amount.0));
    }
}

fn probe(probe: &Probe) -> String {
    let number = |value: Option<i32>| value.unwrap_or_default();
    let port = |port: &IntOrString| match port {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(name) => name.clone(),
    };
    let how = if let Some(exec) = &probe.exec {
        format!("exec [{}]", exec.command.as_deref().unwrap_or_default().join(" "))
    } else if let Some(get) = &probe.http_get {
        let scheme = get.scheme.as_deref().unwrap_or_default().to_lowercase();
        let (host, path) = (get.host.as_deref().unwrap_or_default(), get.path.as_deref().unwrap_or_default());
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let slash = if path.is_empty() || path.starts_with('/') { "" } else { "/" };
        format!("http-get {scheme}://{host}:{}{slash}{}", port(&get.port), path.replace('?', "%3F").replace(' ', "%20"))
    } else if let Some(tcp) = &probe.tcp_socket {
        format!("tcp-socket {}:{}", tcp.host.as_deref().unwrap_or_default(), port(&tcp.port))
    } else if let Some(grpc) = &probe.grpc {
        format!("grpc <pod>:{} {}", grpc.port, grpc.service.as_deref().unwrap_or_default())
    } else {
        "unknown".to_owned()
    };
    format!(
        "{how} delay={}s timeout={}s period={}s #success={} #failure={}",
        number(probe.initial_delay_seconds),
        number(probe.timeout_seconds),
        number(probe.period_seconds),
        number(probe.success_threshold),
        number(probe.failure_threshold)
    )
}

fn environment(page: &mut Page, container: &Container, place: Place<'_>) {
    let sources = container.env_from.as_deref().unwrap_or_default();
    if !sources.is_empty() {
        page.line(2, "Environment Variables from:");
        sources.iter().for_each(|source| page.line(3, taken_from(source)));
    }
    let variables = container.env.as_deref().unwrap_or_default();
    if variables.is_empty() {
        page.field(2, "Environment", "<none>");
        return;
    }
    page.line(2, "Environment:");
    for variable in variables {
        match value_from(variable, container, place) {
            Some(text) => page.field(3, &variable.name, text),
            None if variable.value_from.is_some() => {}
            None => {
                let mut lines = variable.value.as_deref().unwrap_or_default().split('\n');
                page.field(3, &variable.name, lines.next().unwrap_or_default());
                lines.for_each(|line| page.line(3, format_args!("\t{line}")));
            }
        }
    }
}

fn taken_from(source: &EnvFromSource) -> String {
    let (name, kind, optional) = match (&source.config_map_ref, &source.secret_ref) {
        (Some(map), _) => (map.name.as_str(), "ConfigMap", map.optional),
        (None, Some(secret)) => (secret.name.as_str(), "Secret", secret.optional),
        (None, None) => ("", "", None),
    };
    let prefix = source.prefix.as_ref().filter(|prefix| !prefix.is_empty());
    let prefix = prefix.map_or(String::new(), |prefix| format!(" with prefix '{prefix}'"));
    format!("{name}\t{kind}{prefix}\tOptional: {}", optional.unwrap_or_default())
}

/// Where a variable's value comes from, and what it is where the pod says so.
fn value_from(variable: &EnvVar, container: &Container, place: Place<'_>) -> Option<String> {
    let source = variable.value_from.as_ref()?;
    if let Some(field) = &source.field_ref {
        let value = if let Place::Pod(meta) = place { of_metadata(meta, &field.field_path) } else { None };
        let version = field.api_version.as_deref().unwrap_or("v1");
        return Some(format!("{} ({version}:{})", value.unwrap_or_default(), field.field_path));
    }
    if let Some(field) = &source.resource_field_ref {
        let value = of_resources(container, field).unwrap_or_default();
        let unlimited = value == "0" && matches!(field.resource.as_str(), "limits.cpu" | "limits.memory");
        let value = if unlimited { "node allocatable".to_owned() } else { value };
        return Some(format!("{value} ({})", field.resource));
    }
    if let Some(key) = &source.secret_key_ref {
        let optional = key.optional.unwrap_or_default();
        return Some(format!("<set to the key '{}' in secret '{}'>\tOptional: {optional}", key.key, key.name));
    }
    let key = source.config_map_key_ref.as_ref()?;
    let optional = key.optional.unwrap_or_default();
    Some(format!("<set to the key '{}' of config map '{}'>\tOptional: {optional}", key.key, key.name))
}

/// What of a pod's metadata a path names; kubectl does not look further either.
fn of_metadata(meta: &ObjectMeta, path: &str) -> Option<String> {
    let entry = |map: &Option<BTreeMap<String, String>>, rest: &str| {
        let key = rest.strip_prefix("['").and_then(|rest| rest.strip_suffix("']"))?;
        map.as_ref()?.get(key).cloned()
    };
    match path.strip_prefix("metadata.")? {
        "name" => meta.name.clone(),
        "namespace" => meta.namespace.clone(),
        "uid" => meta.uid.clone(),
        other => match (other.strip_prefix("labels"), other.strip_prefix("annotations")) {
            (Some(rest), _) => entry(&meta.labels, rest),
            (_, Some(rest)) => entry(&meta.annotations, rest),
            _ => None,
        },
    }
}

/// A limit or request, in the divisor's unit, rounded up.
fn of_resources(container: &Container, field: &ResourceFieldSelector) -> Option<String> {
    let (which, name) = field.resource.split_once('.')?;
    let resources = container.resources.clone().unwrap_or_default();
    let amounts = if which == "limits" { resources.limits } else { resources.requests };
    let parse = |amount: &Amount| amount.0.parse::<Quantity>().ok();
    let amount = amounts.as_ref().and_then(|amounts| amounts.get(name)).and_then(parse);
    let divisor = field.divisor.as_ref().and_then(parse).filter(|divisor| divisor.nanos() != 0);
    let divisor = divisor.unwrap_or(Quantity::from_value(1));
    let (amount, divisor) = (amount.map_or(0, Quantity::nanos), divisor.nanos());
    Some(((amount + divisor - 1) / divisor).to_string())
}

fn mounts(page: &mut Page, container: &Container) {
    let mut mounts: Vec<_> = container.volume_mounts.iter().flatten().collect();
    mounts.sort_by_key(|mount| &mount.mount_path);
    page.line(2, if mounts.is_empty() { "Mounts:\t<none>" } else { "Mounts:" });
    for mount in mounts {
        let access = if mount.read_only == Some(true) { "ro" } else { "rw" };
        let path = mount.sub_path.as_ref().filter(|path| !path.is_empty());
        let path = path.map_or(String::new(), |path| format!(",path={path:?}"));
        page.line(3, format_args!("{} from {} ({access}{path})", mount.mount_path, mount.name));
    }
    let mut devices: Vec<_> = container.volume_devices.iter().flatten().collect();
    devices.sort_by_key(|device| &device.device_path);
    if !devices.is_empty() {
        page.line(2, "Devices:");
        devices.iter().for_each(|device| page.line(3, format_args!("{} from {}", device.device_path, device.name)));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn probes_read_as_kubectl_writes_them() {
        let rest = " delay=0s timeout=1s period=10s #success=1 #failure=3";
        for (how, want) in [
            (json!({"exec": {"command": ["sh", "-c", "true"]}}), "exec [sh -c true]"),
            (json!({"httpGet": {"scheme": "HTTP", "port": "web", "path": "/a?b"}}), "http-get http://:web/a%3Fb"),
            (
                json!({"httpGet": {"scheme": "HTTPS", "port": 8, "host": "fd00::1", "path": "x"}}),
                "http-get https://[fd00::1]:8/x",
            ),
            (json!({"tcpSocket": {"port": 80}}), "tcp-socket :80"),
            (json!({"grpc": {"port": 5, "service": "s"}}), "grpc <pod>:5 s"),
        ] {
            let mut given =
                json!({"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3});
            given.as_object_mut().unwrap().extend(how.as_object().unwrap().clone());
            assert_eq!(probe(&serde_json::from_value(given).unwrap()), format!("{want}{rest}"));
        }
    }

    #[test]
    fn variables_say_where_they_come_from() {
        let container: Container = serde_json::from_value(json!({
            "name": "c", "resources": {"limits": {"memory": "65Mi"}, "requests": {"cpu": "1500m"}},
        }))
        .unwrap();
        let meta = ObjectMeta { labels: Some([("a".to_owned(), "b".to_owned())].into()), ..ObjectMeta::default() };
        for (source, want) in [
            (
                json!({"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.labels['a']"}}),
                "b (v1:metadata.labels['a'])",
            ),
            (json!({"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}), " (v1:status.podIP)"),
            (json!({"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}), "65 (limits.memory)"),
            (json!({"resourceFieldRef": {"resource": "requests.cpu"}}), "2 (requests.cpu)"),
            (json!({"resourceFieldRef": {"resource": "limits.cpu"}}), "node allocatable (limits.cpu)"),
            (json!({"secretKeyRef": {"name": "s", "key": "k"}}), "<set to the key 'k' in secret 's'>\tOptional: false"),
        ] {
            let variable: EnvVar = serde_json::from_value(json!({"name": "V", "valueFrom": source})).unwrap();
            assert_eq!(value_from(&variable, &container, Place::Pod(&meta)).as_deref(), Some(want));
        }
    }
}
