// SPDX-License-Identifier: Apache-2.0
//! A container's environment and command: sources in upstream's order, `$(VAR)` expanded.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvVarSource, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::fields::{self, Addresses};
use crate::objects::Data;
use crate::resources;

/// A Service as the environment tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceLink {
    /// Its name.
    pub name: String,
    /// Its cluster address.
    pub address: String,
    /// Name, protocol and number of its ports, the first being the main one.
    pub ports: Vec<(String, String, u16)>,
}

/// What an environment is made of beside the pod.
pub struct Sources<'a> {
    /// Addresses of pod and node.
    pub addresses: &'a Addresses,
    /// What the node has.
    pub node: &'a BTreeMap<String, Quantity>,
    /// ConfigMaps and Secrets by name, as far as they exist.
    pub config_maps: &'a BTreeMap<String, Data>,
    /// Secrets by name, as far as they exist.
    pub secrets: &'a BTreeMap<String, Data>,
    /// Services whose addresses are told.
    pub services: &'a [ServiceLink],
    /// `NAME=value` of the image.
    pub image: &'a [String],
}

/// The environment of a container.
#[derive(Debug, Default)]
pub struct Environment {
    /// `NAME=value`, in the order of the names' first appearance.
    pub entries: Vec<String>,
    /// What `$(NAME)` stands for in commands and paths: all but what the image alone brings.
    pub vars: BTreeMap<String, String>,
}

/// The environment, later entries replacing earlier ones of the same name.
///
/// # Errors
/// The message of a CreateContainerConfigError: a missing object or key that is not optional.
pub fn environment(pod: &Pod, container: &Container, from: &Sources<'_>) -> Result<Environment, String> {
    let mut env = Entries::default();
    for entry in from.image {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        env.put(name, value.to_owned());
    }
    // Upstream expands what Kubernetes knows, not what the image brings.
    let mut vars = BTreeMap::new();
    for (name, value) in service_variables(from.services).into_iter().chain(env_from(container, from)?) {
        vars.insert(name.clone(), value.clone());
        env.put(&name, value);
    }
    for entry in container.env.iter().flatten() {
        let value = match (&entry.value, &entry.value_from) {
            (_, Some(source)) => resolve(pod, container, source, from)?,
            (value, None) => Some(expand(value.as_deref().unwrap_or_default(), &vars)),
        };
        if let Some(value) = value {
            vars.insert(entry.name.clone(), value.clone());
            env.put(&entry.name, value);
        }
    }
    let entries = env.0.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    Ok(Environment { entries, vars })
}

/// Variables in the order of their first appearance.
#[derive(Default)]
struct Entries(Vec<(String, String)>);

impl Entries {
    fn put(&mut self, name: &str, value: String) {
        match self.0.iter_mut().find(|(other, _)| other == name) {
            Some(entry) => entry.1 = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }
}

/// The command line: the container's over the image's, with `$(VAR)` of `vars` expanded.
#[must_use]
pub fn command(
    container: &Container,
    entrypoint: &[String],
    cmd: &[String],
    vars: &BTreeMap<String, String>,
) -> Vec<String> {
    let own = |list: &Option<Vec<String>>| list.clone().filter(|list| !list.is_empty());
    let expanded = |list: Vec<String>| list.iter().map(|text| expand(text, vars)).collect::<Vec<_>>();
    let command = own(&container.command).map(expanded);
    let args = own(&container.args).map(expanded);
    match (command, args) {
        (Some(command), args) => command.into_iter().chain(args.unwrap_or_default()).collect(),
        (None, Some(args)) => entrypoint.iter().cloned().chain(args).collect(),
        (None, None) => entrypoint.iter().chain(cmd).cloned().collect(),
    }
}

/// `$(NAME)` becomes the value of NAME, `$$` a dollar; what is not known stays as it is.
#[must_use]
pub fn expand(text: &str, vars: &BTreeMap<String, String>) -> String {
    expand_by(text, |name| vars.get(name).cloned().unwrap_or_else(|| format!("$({name})")))
}

/// The same where every name must be known.
///
/// # Errors
/// In upstream's words, the name that is not.
pub fn expand_known(text: &str, vars: &BTreeMap<String, String>) -> Result<String, String> {
    let mut missing = None;
    let expanded = expand_by(text, |name| {
        vars.get(name).cloned().unwrap_or_else(|| {
            missing.get_or_insert_with(|| name.to_owned());
            String::new()
        })
    });
    missing.map_or(Ok(expanded), |name| Err(format!("missing value for {name:?}")))
}

fn expand_by(text: &str, mut value: impl FnMut(&str) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            out.push_str(&value(name));
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

fn env_from(container: &Container, from: &Sources<'_>) -> Result<Vec<(String, String)>, String> {
    let mut all = Vec::new();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let (data, kind, name, optional) = if let Some(map) = &source.config_map_ref {
            (from.config_maps.get(&map.name), "configmap", &map.name, map.optional)
        } else if let Some(secret) = &source.secret_ref {
            (from.secrets.get(&secret.name), "secret", &secret.name, secret.optional)
        } else {
            continue;
        };
        let Some(data) = data else {
            if optional == Some(true) {
                continue;
            }
            return Err(format!("{kind} \"{name}\" not found"));
        };
        all.extend(
            data.iter().map(|(key, value)| (format!("{prefix}{key}"), String::from_utf8_lossy(value).into_owned())),
        );
    }
    Ok(all)
}

/// The value of a `valueFrom`; `None` for something optional that is not there.
fn resolve(
    pod: &Pod,
    container: &Container,
    source: &EnvVarSource,
    from: &Sources<'_>,
) -> Result<Option<String>, String> {
    if let Some(field) = &source.field_ref {
        let value = fields::value(pod, from.addresses, &field.field_path);
        return value.map(Some).ok_or_else(|| format!("unsupported fieldPath: {}", field.field_path));
    }
    if let Some(field) = &source.resource_field_ref {
        let spec = match field.container_name.as_deref().filter(|name| !name.is_empty()) {
            Some(name) => crate::pod::find_container(pod, name).map_or(container, |(_, spec)| spec),
            None => container,
        };
        let divisor = field.divisor.as_ref().map_or("", |divisor| divisor.0.as_str());
        let value = resources::downward(spec, &field.resource, divisor, from.node);
        return value.map(Some).ok_or_else(|| format!("unsupported container resource : {}", field.resource));
    }
    let (data, kind, name, key, optional) = if let Some(key) = &source.config_map_key_ref {
        (from.config_maps.get(&key.name), "configmap", &key.name, &key.key, key.optional)
    } else if let Some(key) = &source.secret_key_ref {
        (from.secrets.get(&key.name), "secret", &key.name, &key.key, key.optional)
    } else {
        return Err("environment variable has no supported source".to_owned());
    };
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    match (data, data.and_then(|data| data.get(key)), optional) {
        (_, Some(value), _) => Ok(Some(String::from_utf8_lossy(value).into_owned())),
        (_, None, Some(true)) => Ok(None),
        (None, None, _) => Err(format!("{kind} \"{name}\" not found")),
        (Some(_), None, _) => {
            let kind = if kind == "secret" { "Secret" } else { "ConfigMap" };
            Err(format!("couldn't find key {key} in {kind} {namespace}/{name}"))
        }
    }
}

/// `NAME_SERVICE_HOST`, `NAME_SERVICE_PORT` and the rest, as Docker links had them.
fn service_variables(services: &[ServiceLink]) -> Vec<(String, String)> {
    let shout = |text: &str| text.to_uppercase().replace('-', "_");
    let mut all = Vec::new();
    for service in services {
        let Some((_, first_protocol, first)) = service.ports.first() else { continue };
        let name = shout(&service.name);
        let address = &service.address;
        let host = if address.contains(':') { format!("[{address}]") } else { address.clone() };
        all.push((format!("{name}_SERVICE_HOST"), address.clone()));
        all.push((format!("{name}_SERVICE_PORT"), first.to_string()));
        for (port_name, _, port) in service.ports.iter().filter(|(port_name, ..)| !port_name.is_empty()) {
            all.push((format!("{name}_SERVICE_PORT_{}", shout(port_name)), port.to_string()));
        }
        all.push((format!("{name}_PORT"), format!("{}://{host}:{first}", first_protocol.to_lowercase())));
        for (_, protocol, port) in &service.ports {
            let prefix = format!("{name}_PORT_{port}_{}", shout(protocol));
            let protocol = protocol.to_lowercase();
            all.push((prefix.clone(), format!("{protocol}://{host}:{port}")));
            all.push((format!("{prefix}_PROTO"), protocol));
            all.push((format!("{prefix}_PORT"), port.to_string()));
            all.push((format!("{prefix}_ADDR"), address.clone()));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expansion_knows_names_dollars_and_nothing_else() {
        let vars = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        let cases = [
            ("$(A)", "1"),
            ("x$(A)y$(B)", "x1y$(B)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$A $", "$A $"),
            ("$(A", "$(A"),
        ];
        for (text, expected) in cases {
            assert_eq!(expand(text, &vars), expected, "{text}");
        }
        assert_eq!(expand_known("x/$(A)$$(B)", &vars), Ok("x/1$(B)".to_owned()));
        assert_eq!(expand_known("$(A)/$(B)/$(C)", &vars), Err("missing value for \"B\"".to_owned()));
    }

    #[test]
    fn later_sources_win_and_see_earlier_ones() {
        let pod: Pod = serde_json::from_value(serde_json::json!({"metadata": {"name": "p"}})).unwrap();
        let container: Container = serde_json::from_value(serde_json::json!({
            "name": "c",
            "envFrom": [{"prefix": "P_", "configMapRef": {"name": "m"}}],
            "env": [
                {"name": "PATH", "value": "/own"},
                {"name": "BOTH", "value": "$(P_k)-$(PATH)"},
                {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "GONE", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": true}}}
            ]
        }))
        .unwrap();
        let maps = BTreeMap::from([("m".to_owned(), Data::from([("k".to_owned(), b"v".to_vec())]))]);
        let services = [ServiceLink {
            name: "my-db".into(),
            address: "10.43.0.5".into(),
            ports: vec![("sql".into(), "TCP".into(), 5432)],
        }];
        let from = Sources {
            addresses: &Addresses::default(),
            node: &BTreeMap::new(),
            config_maps: &maps,
            secrets: &BTreeMap::new(),
            services: &services,
            image: &["PATH=/image".to_owned(), "HOME=/root".to_owned()],
        };
        let Environment { entries: env, vars } = environment(&pod, &container, &from).unwrap();
        assert_eq!(vars["BOTH"], "v-/own");
        assert!(!vars.contains_key("HOME"), "what the image brings is the shell's to expand, as upstream");
        for expected in [
            "PATH=/own",
            "HOME=/root",
            "P_k=v",
            "BOTH=v-/own",
            "POD=p",
            "MY_DB_SERVICE_PORT_SQL=5432",
            "MY_DB_PORT=tcp://10.43.0.5:5432",
        ] {
            assert!(env.iter().any(|entry| entry == expected), "{expected} in {env:?}");
        }
        assert!(!env.iter().any(|entry| entry.starts_with("GONE")));
        let missing: Container = serde_json::from_value(serde_json::json!({
            "name": "c", "env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]
        }))
        .unwrap();
        assert_eq!(environment(&pod, &missing, &from).unwrap_err(), "secret \"s\" not found");
    }

    #[test]
    fn the_command_replaces_the_entrypoint_and_args_replace_cmd() {
        let list = |items: &[&str]| items.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (entrypoint, cmd) = (list(&["e"]), list(&["c"]));
        type Words<'a> = Option<&'a [&'a str]>;
        let cases: [(Words<'_>, Words<'_>, &[&str]); 4] = [
            (None, None, &["e", "c"]),
            (Some(&["x"]), None, &["x"]),
            (None, Some(&["y"]), &["e", "y"]),
            (Some(&["x"]), Some(&["$(V)"]), &["x", "1"]),
        ];
        for (command_, args, expected) in cases {
            let container = Container { command: command_.map(list), args: args.map(list), ..Container::default() };
            let vars = BTreeMap::from([("V".to_owned(), "1".to_owned())]);
            assert_eq!(command(&container, &entrypoint, &cmd, &vars), expected);
        }
    }
}
