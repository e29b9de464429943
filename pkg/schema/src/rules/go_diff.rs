// SPDX-License-Identifier: Apache-2.0

//! What changed between two values as upstream's messages show it: a unified diff of its own structs,
//! printed as JSON with Go's names of their fields.

use knarr_types::tree::{Text, Value};

use crate::builtin_types::{find, written_order};
use crate::field_table::{Emission, Field, Struct, Type};

/// How many lines are shown around a change.
const CONTEXT: usize = 3;
/// Larger changes are shown as a whole.
const MAX_CELLS: usize = 4_000_000;

/// The diff of two values of a published type, from the break before its first line.
#[must_use]
pub fn changes(old: &Value, new: &Value, type_name: &str) -> String {
    let Some(ty) = find(type_name) else { return String::new() };
    let lines = |value: &Value| {
        let mut text = String::new();
        print(&mut text, value, ty.get(), 0);
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    format!("\n{}", unified(&lines(old), &lines(new)))
}

/// A value of a published type as messages show upstream's own struct, on one line.
#[must_use]
pub fn shown(value: &Value, type_name: &str) -> String {
    let mut text = String::new();
    if let Some(ty) = find(type_name) {
        print(&mut text, value, ty.get(), 0);
    }
    on_one_line(&text)
}

/// JSON without the breaks and spaces between its parts.
fn on_one_line(text: &str) -> String {
    let (mut quoted, mut escaped) = (false, false);
    let kept = |c: &char| {
        let is_part = quoted || !matches!(c, ' ' | '\n');
        quoted ^= *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        is_part
    };
    text.chars().filter(kept).collect()
}

/// The fields of structs that upstream orders otherwise inside than it publishes them.
fn own_order(name: &str) -> Option<&'static [&'static str]> {
    Some(match name {
        "io.k8s.api.core.v1.PodSpec" => POD_SPEC,
        "io.k8s.api.core.v1.PodSecurityContext" => SECURITY_CONTEXT,
        "io.k8s.api.core.v1.PersistentVolumeSpec" => VOLUME_SOURCES,
        "io.k8s.api.core.v1.Volume" => VOLUME,
        _ => return None,
    })
}

/// The fields of a pod, in the order in which upstream keeps them inside.
const POD_SPEC: &[&str] = &[
    "volumes",
    "initContainers",
    "containers",
    "ephemeralContainers",
    "restartPolicy",
    "terminationGracePeriodSeconds",
    "activeDeadlineSeconds",
    "dnsPolicy",
    "nodeSelector",
    "serviceAccountName",
    "automountServiceAccountToken",
    "nodeName",
    "securityContext",
    "imagePullSecrets",
    "hostname",
    "subdomain",
    "setHostnameAsFQDN",
    "affinity",
    "schedulerName",
    "tolerations",
    "hostAliases",
    "priorityClassName",
    "priority",
    "preemptionPolicy",
    "dnsConfig",
    "readinessGates",
    "runtimeClassName",
    "overhead",
    "enableServiceLinks",
    "topologySpreadConstraints",
    "os",
    "schedulingGates",
    "resourceClaims",
    "resources",
    "hostnameOverride",
    "schedulingGroup",
];

/// Those of its security context.
const SECURITY_CONTEXT: &[&str] = &[
    "seLinuxOptions",
    "windowsOptions",
    "runAsUser",
    "runAsGroup",
    "runAsNonRoot",
    "supplementalGroups",
    "supplementalGroupsPolicy",
    "fsGroup",
    "fsGroupChangePolicy",
    "sysctls",
    "seccompProfile",
    "appArmorProfile",
    "seLinuxChangePolicy",
];

/// Those of a volume: only its source is shown.
const VOLUME_SOURCES: &[&str] = &[
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "hostPath",
    "glusterfs",
    "nfs",
    "rbd",
    "quobyte",
    "iscsi",
    "flexVolume",
    "cinder",
    "cephfs",
    "fc",
    "flocker",
    "azureFile",
    "vsphereVolume",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];

/// Those of a pod's volume.
const VOLUME: &[&str] = &[
    "name",
    "hostPath",
    "emptyDir",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "persistentVolumeClaim",
    "rbd",
    "quobyte",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "downwardAPI",
    "fc",
    "azureFile",
    "configMap",
    "vsphereVolume",
    "azureDisk",
    "photonPersistentDisk",
    "projected",
    "portworxVolume",
    "scaleIO",
    "storageos",
    "csi",
    "ephemeral",
    "image",
];

/// Fields of a pod that upstream keeps in its security context.
const OF_THE_HOST: [(&str, &str); 5] = [
    ("hostNetwork", "false"),
    ("hostPID", "false"),
    ("hostIPC", "false"),
    ("shareProcessNamespace", "null"),
    ("hostUsers", "null"),
];

fn print(text: &mut String, value: &Value, ty: &Type, depth: usize) {
    match (ty, value) {
        (Type::Struct(shape), Value::Object(_)) if shape.name.starts_with("io.k8s.api.") => {
            let entries = fields(value, shape, depth);
            bracketed(text, '{', '}', depth, entries);
        }
        (Type::Struct(shape), Value::Object(members)) => {
            // Structs that everybody shares are printed as they are published.
            let order: Vec<&str> = written_order(&shape.name).collect();
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| order.iter().position(|known| known == name));
            let entry = |(name, value): &(&Text, &Value)| {
                shape.field(name).map(|field| keyed(name, value, field.ty.get(), depth + 1))
            };
            bracketed(text, '{', '}', depth, members.iter().filter_map(entry).collect());
        }
        (Type::Map { value: ty, .. }, Value::Object(members)) => {
            let entries = members.iter().map(|(name, value)| keyed(name, value, ty.get(), depth + 1)).collect();
            bracketed(text, '{', '}', depth, entries);
        }
        (Type::List { item, .. }, Value::Array(items)) => {
            let entry = |value: &Value| {
                let mut text = String::new();
                print(&mut text, value, item.get(), depth + 1);
                text
            };
            bracketed(text, '[', ']', depth, items.iter().map(entry).collect());
        }
        (_, value) => text.push_str(&value.to_string()),
    }
}

fn keyed(name: &str, value: &Value, ty: &Type, depth: usize) -> String {
    let mut text = format!("{}: ", Value::from(name));
    print(&mut text, value, ty, depth);
    text
}

/// The entries of one of upstream's own structs: all of its fields.
fn fields(value: &Value, shape: &Struct, depth: usize) -> Vec<String> {
    let names: Vec<&str> = match own_order(&shape.name) {
        Some(names) => names.to_vec(),
        None => written_order(&shape.name).collect(),
    };
    let known = names.into_iter().filter_map(|name| shape.field(name));
    known
        .map(|field| match (&*field.name, value.get("securityContext")) {
            ("securityContext", Some(context)) if shape.name.ends_with(".PodSpec") => {
                security_context(value, context, field, depth + 1)
            }
            _ => {
                let mut text = format!("\"{}\": ", go_name(&field.name));
                match value.get(&*field.name).filter(|value| !value.is_null()) {
                    Some(value) => print(&mut text, value, field.ty.get(), depth + 1),
                    None => unset(&mut text, field, depth + 1),
                }
                text
            }
        })
        .collect()
}

fn security_context(spec: &Value, context: &Value, field: &Field, depth: usize) -> String {
    let mut text = "\"SecurityContext\": ".to_owned();
    let Type::Struct(shape) = field.ty.get() else { return text };
    let of_the_host = OF_THE_HOST.map(|(name, unset)| {
        let shown = spec.get(name).filter(|value| !value.is_null()).map_or_else(|| unset.to_owned(), Value::to_string);
        format!("\"{}\": {shown}", go_name(name))
    });
    bracketed(&mut text, '{', '}', depth, of_the_host.into_iter().chain(fields(context, shape, depth)).collect());
    text
}

/// What a field has that was never set.
fn unset(text: &mut String, field: &Field, depth: usize) {
    match (field.emission, field.ty.get()) {
        (Emission::OmitUnset, _) => text.push_str("null"),
        (_, Type::String) => text.push_str("\"\""),
        (_, Type::Boolean) => text.push_str("false"),
        (_, Type::Integer { .. } | Type::Number | Type::IntOrString) => text.push('0'),
        (Emission::Always, ty @ Type::Struct(_)) => {
            print(text, &Value::Object(knarr_types::tree::Map::new()), ty, depth)
        }
        _ => text.push_str("null"),
    }
}

fn bracketed(text: &mut String, open: char, close: char, depth: usize, entries: Vec<String>) {
    text.push(open);
    for (at, entry) in entries.iter().enumerate() {
        text.push_str(if at == 0 { "\n" } else { ",\n" });
        text.push_str(&" ".repeat(depth + 1));
        text.push_str(entry);
    }
    if !entries.is_empty() {
        text.push('\n');
        text.push_str(&" ".repeat(depth));
    }
    text.push(close);
}

/// The name of a field in Go.
fn go_name(published: &str) -> String {
    const WHOLE: [(&str, &str); 6] = [
        ("cephfs", "CephFS"),
        ("storageos", "StorageOS"),
        ("ip", "IP"),
        ("os", "OS"),
        ("chapAuthDiscovery", "DiscoveryCHAPAuth"),
        ("chapAuthSession", "SessionCHAPAuth"),
    ];
    const FRONTS: [&str; 18] = [
        "dns", "tty", "http", "tcp", "grpc", "fs", "uid", "csi", "nfs", "iscsi", "rbd", "fc", "gce", "aws", "api",
        "pd", "gmsa", "iqn",
    ];
    if let Some((_, go)) = WHOLE.iter().find(|(name, _)| *name == published) {
        return (*go).to_owned();
    }
    if let Some(rest) = published.strip_prefix("seLinux") {
        return format!("SELinux{rest}");
    }
    let front = FRONTS.iter().find(|front| {
        published.strip_prefix(**front).is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_uppercase))
    });
    let length = front.map_or(1, |front| front.len());
    let (head, rest) = published.split_at(length.min(published.len()));
    head.to_uppercase() + rest
}

/// A line that is in both, only in the old text, or only in the new one.
#[derive(Clone, Copy, PartialEq)]
enum Line<'l> {
    Same(&'l str),
    Gone(&'l str),
    New(&'l str),
}

fn unified(old: &[String], new: &[String]) -> String {
    let lines = compare(old, new);
    let changed: Vec<usize> =
        lines.iter().enumerate().filter(|(_, line)| !matches!(line, Line::Same(_))).map(|(at, _)| at).collect();
    let mut text = String::new();
    let mut rest = changed.as_slice();
    while let Some(first) = rest.first() {
        let length = 1 + rest.windows(2).take_while(|pair| pair[1] - pair[0] <= 2 * CONTEXT + 1).count();
        let from = first.saturating_sub(CONTEXT);
        let to = (rest[length - 1] + CONTEXT + 1).min(lines.len());
        hunk(&mut text, &lines, from, to);
        rest = &rest[length..];
    }
    text
}

fn hunk(text: &mut String, lines: &[Line<'_>], from: usize, to: usize) {
    let in_old = |lines: &[Line<'_>]| lines.iter().filter(|line| !matches!(line, Line::New(_))).count();
    let in_new = |lines: &[Line<'_>]| lines.iter().filter(|line| !matches!(line, Line::Gone(_))).count();
    let range = |before: usize, length: usize| match length {
        0 => format!("{before},0"),
        1 => (before + 1).to_string(),
        _ => format!("{},{length}", before + 1),
    };
    let shown = &lines[from..to];
    let old = range(in_old(&lines[..from]), in_old(shown));
    let new = range(in_new(&lines[..from]), in_new(shown));
    text.push_str(&format!("@@ -{old} +{new} @@\n"));
    for line in shown {
        let (mark, line) = match line {
            Line::Same(line) => (' ', line),
            Line::Gone(line) => ('-', line),
            Line::New(line) => ('+', line),
        };
        text.push(mark);
        text.push_str(line);
        text.push('\n');
    }
}

/// The lines of both texts, what both have as long as it can be; in a change the old ones come first.
fn compare<'l>(old: &'l [String], new: &'l [String]) -> Vec<Line<'l>> {
    let front = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let back = old[front..].iter().rev().zip(new[front..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (a, b) = (&old[front..old.len() - back], &new[front..new.len() - back]);
    let mut lines: Vec<Line<'l>> = old[..front].iter().map(|line| Line::Same(line)).collect();
    lines.extend(middle(a, b));
    lines.extend(old[old.len() - back..].iter().map(|line| Line::Same(line)));
    lines
}

fn middle<'l>(a: &'l [String], b: &'l [String]) -> Vec<Line<'l>> {
    let width = b.len() + 1;
    if a.len().saturating_mul(width) > MAX_CELLS {
        return a.iter().map(|line| Line::Gone(line)).chain(b.iter().map(|line| Line::New(line))).collect();
    }
    // How many lines both share from here on.
    let mut shared = vec![0_u32; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            shared[i * width + j] = if a[i] == b[j] {
                shared[(i + 1) * width + j + 1] + 1
            } else {
                shared[(i + 1) * width + j].max(shared[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let (mut lines, mut added) = (Vec::new(), Vec::new());
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            lines.append(&mut added);
            lines.push(Line::Same(&a[i]));
            (i, j) = (i + 1, j + 1);
        } else if i < a.len() && (j == b.len() || shared[(i + 1) * width + j] >= shared[i * width + j + 1]) {
            lines.push(Line::Gone(&a[i]));
            i += 1;
        } else {
            added.push(Line::New(&b[j]));
            j += 1;
        }
    }
    lines.append(&mut added);
    lines
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn a_change_is_shown_with_what_is_around_it() {
        let claim = |modes: &str, class: &str| json!({"accessModes": [modes], "storageClassName": class});
        let ty = "io.k8s.api.core.v1.PersistentVolumeClaimSpec";
        assert_eq!(
            changes(&claim("ReadWriteOnce", ""), &claim("ReadWriteMany", ""), ty),
            "\n@@ -1,6 +1,6 @@\n {\n  \"AccessModes\": [\n-  \"ReadWriteOnce\"\n+  \"ReadWriteMany\"\n  ],\n  \"Selector\": null,\n  \
             \"Resources\": {\n"
        );
        assert_eq!(changes(&claim("a", "b"), &claim("a", "b"), ty), "\n");
    }

    #[test]
    fn what_is_new_stands_behind_what_is_gone() {
        let of = |env: Value| json!({"name": "c", "env": env});
        let text = changes(&of(Value::Null), &of(json!([{"name": "A", "value": "b"}])), "io.k8s.api.core.v1.Container");
        let want = "- \"Env\": null,\n+ \"Env\": [\n+  {\n+   \"Name\": \"A\",\n+   \"Value\": \"b\",\n+   \"ValueFrom\": null\n+  }\n+ ],\n";
        assert!(text.contains(want), "{text}");
    }

    #[test]
    fn a_whole_struct_stands_on_one_line() {
        let text = shown(&json!({"name": "A", "value": "b \" : c"}), "io.k8s.api.core.v1.EnvVar");
        assert_eq!(text, r#"{"Name":"A","Value":"b \" : c","ValueFrom":null}"#);
    }

    #[test]
    fn names_are_those_of_go() {
        for (published, go) in [
            ("dnsPolicy", "DNSPolicy"),
            ("hostPID", "HostPID"),
            ("tty", "TTY"),
            ("httpGet", "HTTPGet"),
            ("seLinuxOptions", "SELinuxOptions"),
            ("gcePersistentDisk", "GCEPersistentDisk"),
            ("stdinOnce", "StdinOnce"),
            ("volumeName", "VolumeName"),
        ] {
            assert_eq!(go_name(published), go);
        }
    }
}
