// SPDX-License-Identifier: Apache-2.0

//! What the maker of a pod should know (`pkg/api/pod/warnings.go`, `pkg/api/node/util.go`).

use knarr_types::Object;

use super::addresses;
use super::amount::Amount;
use super::at::At;
use super::containers;
use super::judged::Judged;
use super::names;
use super::overlapping_paths;
use super::persistent_volume_claim;
use super::pod_annotations;
use super::pod_annotations::{APP_ARMOR, SECCOMP, SECCOMP_CONTAINER};

/// Specs without warnings.
static QUIET: Judged = Judged::new();

/// Labels of nodes that have newer names.
const RENAMED_LABELS: &[(&str, &str, &str)] = &[
    ("beta.kubernetes.io/arch", "v1.14", "kubernetes.io/arch"),
    ("beta.kubernetes.io/os", "v1.14", "kubernetes.io/os"),
    ("failure-domain.beta.kubernetes.io/region", "v1.17", "topology.kubernetes.io/region"),
    ("failure-domain.beta.kubernetes.io/zone", "v1.17", "topology.kubernetes.io/zone"),
    ("beta.kubernetes.io/instance-type", "v1.17", "node.kubernetes.io/instance-type"),
];
const OTHER_LABELS: &[(&str, &str)] = &[
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    ("scheduler.alpha.kubernetes.io/preferAvoidPods", "deprecated since v1.22; use Taints and Tolerations instead"),
    ("node-role.kubernetes.io/master", "use \"node-role.kubernetes.io/control-plane\" instead"),
];
const OLD_ANNOTATIONS: &[(&str, &str)] = &[
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
];
const OLD_VOLUMES: &[(&str, &str)] = &[
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];
const NO_SELECTOR: &str = "a null labelSelector results in matching no pod";
const SECCOMP_WHY: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
const APP_ARMOR_WHY: &str = "deprecated since v1.30; use the \"appArmorProfile\" field instead";

/// Warnings about annotations of AppArmor, of which a pod hears before they become fields, be it accepted or not.
pub fn new_pod(pod: &Object) -> Vec<String> {
    let pod = At::root(pod);
    let (spec, metadata) = (pod.get("spec"), pod.get("metadata"));
    if !metadata.has("annotations") || spec.str("os.name") == "windows" {
        return Vec::new();
    }
    containers::all(&spec).iter().filter_map(|container| app_armor(container, &spec, &metadata)).collect()
}

/// Warnings about a pod.
pub fn pod(pod: &Object) -> Vec<String> {
    let pod = At::root(pod);
    let mut warnings = name(&pod, "the Pod's hostname");
    let (spec, metadata) = (pod.get("spec"), pod.get("metadata"));
    let of_template = || of_template(&spec, &metadata, true);
    if has_alpha_or_beta(&metadata) || !QUIET.is_right(spec.value, || of_template().is_empty()) {
        warnings.extend(of_template());
    }
    warnings
}

/// Warnings about the template at `spec.template` of a workload.
pub fn template(template: &At<'_>) -> Vec<String> {
    of_template(&template.get("spec"), &template.get("metadata"), false)
}

/// Warnings about a workload whose name becomes part of its pods' names, and about its template.
pub fn workload(workload: &Object) -> Vec<String> {
    let workload = At::root(workload);
    let mut warnings = name(&workload, "Pod names and hostnames");
    warnings.extend(template(&workload.get("spec.template")));
    warnings
}

/// A warning where the name is no DNS label.
pub fn name(object: &At<'_>, used_in: &str) -> Vec<String> {
    let faults = names::dns1123_label(object.str("metadata.name"));
    if faults.is_empty() || object.str("metadata.name").is_empty() {
        return Vec::new();
    }
    let what = "which can result in surprising behavior; a DNS label is recommended";
    vec![format!("metadata.name: this is used in {used_in}, {what}: [{}]", faults.join(" "))]
}

/// What became of a label of nodes.
pub fn old_label(key: &str) -> Option<String> {
    let renamed = RENAMED_LABELS.iter().find(|(old, _, _)| *old == key);
    let other = || OTHER_LABELS.iter().find(|(old, _)| *old == key).map(|(_, why)| (*why).to_owned());
    renamed.map(|(_, since, new)| format!("deprecated since {since}; use {new:?} instead")).or_else(other)
}

/// The newer name of a label of nodes.
pub fn newer_label(key: &str) -> Option<&'static str> {
    RENAMED_LABELS.iter().find(|(old, _, _)| *old == key).map(|(_, _, new)| *new)
}

/// Warnings about the labels that a term selects nodes by, and, where asked, about values that no label has.
pub fn node_selector_term(term: &At<'_>, with_values: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    for requirement in term.items("matchExpressions") {
        let key = requirement.get("key");
        warnings.extend(old_label(key.text()).map(|why| format!("{}: {} is {why}", key.path, key.text())));
        for value in requirement.items("values").iter().filter(|_| with_values) {
            let faults = names::label_value(value.text());
            warnings
                .extend(faults.into_iter().map(|why| format!("{}: {} is invalid, {why}", value.path, value.text())));
        }
    }
    warnings
}

/// Whether there are annotations that came before fields: those alone have a say in the warnings about a template.
fn has_alpha_or_beta(metadata: &At<'_>) -> bool {
    let is_one = |key: &str| key.contains(".alpha.kubernetes.io/") || key.contains(".beta.kubernetes.io/");
    metadata.get("annotations").entries_here().iter().any(|(key, _)| is_one(key))
}

/// Warnings about a template, or about a pod, which has [heard](new_pod) of AppArmor already.
fn of_template(spec: &At<'_>, metadata: &At<'_>, is_pod: bool) -> Vec<String> {
    let mut warnings = nodes(spec);
    warnings.extend(annotations(metadata));
    for volume in spec.items("volumes") {
        warnings.extend(old_volume(&volume));
    }
    warnings.extend(overlapping_paths::of_volumes(spec));
    warnings.extend(repeated(spec, "hostAliases", "ip"));
    warnings.extend(repeated(spec, "imagePullSecrets", "name"));
    for secret in spec.items("imagePullSecrets") {
        if secret.str("name").is_empty() {
            warnings.push(format!("{}: invalid empty name \"\"", secret.get("name").path));
        }
    }
    warnings.extend(fractions(&spec.get("overhead")));
    if metadata.get("annotations").value.get(SECCOMP).is_some() && !spec.has("securityContext.seccompProfile") {
        warnings.push(format!("{}: {SECCOMP_WHY}", metadata.get("annotations").path.key(SECCOMP)));
    }
    for container in containers::all(spec) {
        warnings.extend(seccomp(&container, metadata));
        if !is_pod {
            warnings.extend(app_armor(&container, spec, metadata));
        }
        for list in ["limits", "requests"] {
            warnings.extend(fractions(&container.get("resources").get(list)));
        }
        warnings.extend(variables(&container));
    }
    warnings.extend(ports(spec));
    warnings.extend(port_names(spec));
    if spec.int("terminationGracePeriodSeconds") < 0 {
        let why = "must be >= 0; negative values are invalid and will be treated as 1";
        warnings.push(format!("{}: {why}", spec.get("terminationGracePeriodSeconds").path));
    }
    warnings.extend(affinity_selectors(spec));
    for address in spec.items("dnsConfig.nameservers") {
        warnings.extend(addresses::ip_warning(&address));
    }
    for alias in spec.items("hostAliases") {
        warnings.extend(addresses::ip_warning(&alias.get("ip")));
    }
    warnings
}

/// Where the pod may run, by labels of nodes.
fn nodes(spec: &At<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    for (key, label) in spec.entries("nodeSelector") {
        warnings.extend(old_label(key).map(|why| format!("{}: {why}", label.path)));
    }
    let affinity = spec.get("affinity.nodeAffinity");
    for term in affinity.items("requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms") {
        warnings.extend(node_selector_term(&term, false));
    }
    for term in affinity.items("preferredDuringSchedulingIgnoredDuringExecution") {
        warnings.extend(node_selector_term(&term.get("preference"), true));
    }
    for constraint in spec.items("topologySpreadConstraints") {
        let key = constraint.get("topologyKey");
        warnings.extend(old_label(key.text()).map(|why| format!("{}: {} is {why}", key.path, key.text())));
        warnings.extend(no_selector(&constraint));
    }
    warnings
}

fn no_selector(term: &At<'_>) -> Option<String> {
    let selector = term.get("labelSelector");
    (!selector.is_set()).then(|| format!("{}: {NO_SELECTOR}", selector.path))
}

fn annotations(metadata: &At<'_>) -> Vec<String> {
    let annotations = metadata.get("annotations");
    let given = OLD_ANNOTATIONS.iter().filter(|(key, _)| annotations.value.get(key).is_some());
    given.map(|(key, why)| format!("{}: {why}", annotations.path.key(key))).collect()
}

fn old_volume(volume: &At<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    for (kind, why) in OLD_VOLUMES {
        if volume.has(kind) {
            let field = if *kind == "storageos" { "storageOS" } else { kind };
            warnings.push(format!("{}: {why}", volume.get(field).path));
        }
        if *kind == "glusterfs" && volume.has("ephemeral.volumeClaimTemplate") {
            let claim = volume.get("ephemeral").get("volumeClaimTemplate").get("spec");
            warnings.extend(persistent_volume_claim::spec_warnings(&claim));
        }
    }
    warnings
}

/// Elements of a list that have the same `field` as an earlier one.
fn repeated(spec: &At<'_>, list: &str, field: &str) -> Vec<String> {
    let mut seen = Vec::new();
    let mut warnings = Vec::new();
    for item in spec.items(list) {
        let value = item.str(field);
        if seen.contains(&value) {
            warnings.push(format!("{}: duplicate {field} {value:?}", item.get(field).path));
        }
        seen.push(value);
    }
    warnings
}

/// The profile of seccomp is an annotation alone.
fn seccomp(container: &At<'_>, metadata: &At<'_>) -> Option<String> {
    let annotations = metadata.get("annotations");
    let key = format!("{SECCOMP_CONTAINER}{}", container.str("name"));
    annotations.value.get(&key).filter(|_| !container.has("securityContext.seccompProfile"))?;
    Some(format!("{}: {SECCOMP_WHY}", annotations.path.key(&key)))
}

/// The profile of AppArmor is an annotation alone, and not the pod's own.
fn app_armor(container: &At<'_>, spec: &At<'_>, metadata: &At<'_>) -> Option<String> {
    let field = "securityContext.appArmorProfile";
    let annotations = metadata.get("annotations");
    let key = format!("{APP_ARMOR}{}", container.str("name"));
    let profile = annotations.value.get(&key).filter(|_| !container.has(field))?;
    let meant = pod_annotations::app_armor_field(profile.as_str().unwrap_or_default());
    let is_the_pods = meant.is_some_and(|profile| profile == *spec.raw(field));
    (!is_the_pods).then(|| format!("{}: {APP_ARMOR_WHY}", annotations.path.key(&key)))
}

/// Bytes come whole.
pub fn fractions(amounts: &At<'_>) -> Vec<String> {
    let fraction = |amount: &At<'_>| Amount::parse(amount.text()).is_some_and(|amount| !amount.is_whole());
    ["memory", "ephemeral-storage"]
        .iter()
        .filter_map(|name| Some(At::new(amounts.value.get(name)?, amounts.path.key(name))))
        .filter(fraction)
        .map(|amount| {
            format!("{}: fractional byte value {:?} is invalid, must be an integer", amount.path, amount.text())
        })
        .collect()
}

/// A variable that hides an earlier one, unless it is made of it.
fn variables(container: &At<'_>) -> Vec<String> {
    let mut seen = Vec::new();
    let mut warnings = Vec::new();
    for variable in container.items("env") {
        let name = variable.str("name");
        let made_of_it = || {
            let reference = format!("$({name})");
            variable.str("value").contains(&reference) && variable.str("value") != reference
        };
        if seen.contains(&name) && (variable.has("valueFrom") || !made_of_it()) {
            let what = "which may be dropped when using apply";
            warnings.push(format!("{}: hides previous definition of {name:?}, {what}", variable.path));
        }
        seen.push(name);
    }
    warnings
}

/// Ports of all containers that are the same, or nearly.
fn ports(spec: &At<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut seen: Vec<At<'_>> = Vec::new();
    for port in containers::all(spec).iter().flat_map(|container| container.items("ports")) {
        let (ip, number) = (port.str("hostIP"), port.int("hostPort"));
        if !ip.is_empty() && number == 0 {
            warnings.push(format!(
                "{}: hostIP set without hostPort: {{Name:{} HostPort:0 ContainerPort:{} Protocol:{} HostIP:{ip}}}",
                port.path,
                port.str("name"),
                port.int("containerPort"),
                port.str("protocol"),
            ));
        }
        let same_port = |other: &&At<'_>| {
            other.int("containerPort") == port.int("containerPort") && other.str("protocol") == port.str("protocol")
        };
        for other in seen.iter().filter(same_port) {
            let (other_ip, other_number) = (other.str("hostIP"), other.int("hostPort"));
            let what = if (ip, number) == (other_ip, other_number) {
                "duplicate"
            } else if number == 0 || other_number == 0 {
                "overlapping"
            } else if number == other_number && ip.is_empty() != other_ip.is_empty() {
                "dangerously ambiguous"
            } else {
                continue;
            };
            warnings.push(format!("{}: {what} port definition with {}", port.path, other.path));
        }
        seen.push(port);
    }
    warnings
}

/// Names of ports that come again: whoever selects by name gets the first.
fn port_names(spec: &At<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut seen: Vec<At<'_>> = Vec::new();
    for port in containers::all(spec).iter().flat_map(|container| container.items("ports")) {
        let name = port.str("name");
        if name.is_empty() {
            continue;
        }
        match seen.iter().find(|other| other.str("name") == name) {
            Some(other) => warnings.push(format!(
                "{}: duplicate port name {name:?} with {other}, services and probes that select ports by name will use {other}",
                port.path,
                other = other.path,
            )),
            None => seen.push(port),
        }
    }
    warnings
}

fn affinity_selectors(spec: &At<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    for kind in ["podAffinity", "podAntiAffinity"] {
        let affinity = spec.get("affinity").get(kind);
        let required = affinity.items("requiredDuringSchedulingIgnoredDuringExecution");
        warnings.extend(required.iter().filter_map(no_selector));
        let preferred = affinity.items("preferredDuringSchedulingIgnoredDuringExecution");
        warnings.extend(preferred.iter().filter_map(|term| no_selector(&term.get("podAffinityTerm"))));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::{Value, json};

    use super::*;

    #[test]
    fn a_new_pod_hears_of_profiles_that_are_annotations_alone() {
        let pod = |os: &str, profile: Value| {
            json!({"metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/c": "unconfined"}},
                "spec": {"os": {"name": os}, "containers": [{"name": "c", "securityContext": profile}]}})
        };
        let field = json!({"appArmorProfile": {"type": "Unconfined"}});
        let told = "metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: deprecated since v1.30; use \
             the \"appArmorProfile\" field instead";
        assert_eq!(new_pod(&pod("linux", json!({}))), [told]);
        assert!(new_pod(&pod("windows", json!({}))).is_empty());
        assert!(new_pod(&pod("linux", field.clone())).is_empty());
        let mut same = pod("linux", json!({}));
        same["spec"]["securityContext"] = field;
        assert!(new_pod(&same).is_empty(), "the pod has that profile");
    }

    #[test]
    fn variables_may_be_made_of_earlier_ones() {
        let container = json!({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"},
            {"name": "A", "value": "$(A)"}, {"name": "A", "value": "3"}]});
        let hidden = |index: usize| {
            format!("env[{index}]: hides previous definition of \"A\", which may be dropped when using apply")
        };
        assert_eq!(variables(&At::root(&container)), [hidden(2), hidden(3)]);
    }

    #[test]
    fn names_of_ports_are_compared_across_containers() {
        let named = |name: &str| json!({"ports": [{"containerPort": 80, "name": name}]});
        let spec = json!({"containers": [named("a"), named(""), named("a")]});
        let other = "containers[0].ports[0]";
        let want = format!(
            "containers[2].ports[0]: duplicate port name \"a\" with {other}, services and probes that select ports by name will use {other}"
        );
        assert_eq!(port_names(&At::root(&spec)), [want]);
    }

    #[test]
    fn ports_are_compared_across_containers() {
        let port = |host: Value| json!({"ports": [{"containerPort": 80, "protocol": "TCP", "hostPort": host}]});
        let spec = json!({"containers": [port(json!(0)), port(json!(8080)), port(json!(8080))]});
        assert_eq!(
            ports(&At::root(&spec)),
            [
                "containers[1].ports[0]: overlapping port definition with containers[0].ports[0]",
                "containers[2].ports[0]: overlapping port definition with containers[0].ports[0]",
                "containers[2].ports[0]: duplicate port definition with containers[1].ports[0]",
            ]
        );
    }
}
