// SPDX-License-Identifier: Apache-2.0
//! The checks of the level baseline: nothing that opens the host.

use std::collections::BTreeSet;

use knarr_types::tree::Value;

use super::checks::{Subject, Violation, containers, plural, quoted, setters, uses, violation};

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn context(container: &Value) -> &Value {
    &container["securityContext"]
}

fn sorted<'a>(values: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    values.collect::<BTreeSet<_>>().into_iter().collect()
}

pub(super) fn app_armor(pod: Subject<'_>) -> Option<Violation> {
    const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
    let bad = |holder: &Value| {
        let profile = &context(holder)["appArmorProfile"];
        let kind = profile["type"].as_str().unwrap_or_default();
        (!profile.is_null() && !matches!(kind, "RuntimeDefault" | "Localhost")).then(|| kind.to_owned())
    };
    let of_pod = bad(pod.spec);
    let names = pod.named(|c| bad(c).is_some());
    let values: BTreeSet<_> = of_pod.clone().into_iter().chain(pod.containers().filter_map(bad)).collect();
    let mut values: Vec<_> = values.into_iter().collect();
    let annotations = pod.metadata["annotations"].as_object().into_iter().flatten();
    let mut annotated: Vec<_> = annotations
        .filter(|(key, _)| key.starts_with(ANNOTATION))
        .map(|(key, value)| (key, value.as_str().unwrap_or_default()))
        .filter(|(_, v)| !v.is_empty() && *v != "runtime/default" && !v.starts_with("localhost/"))
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    annotated.sort();
    let marks = (!annotated.is_empty()).then(|| plural("annotation", annotated.len()));
    values.append(&mut annotated);
    let who: Vec<_> = setters(of_pod.is_some(), &names).into_iter().chain(marks).collect();
    (!who.is_empty()).then(|| {
        let detail = format!("{} must not set AppArmor profile type to {}", who.join(" and "), quoted(&values));
        violation(plural("forbidden AppArmor profile", values.len()), detail)
    })
}

pub(super) fn capabilities(pod: Subject<'_>) -> Option<Violation> {
    const ALLOWED: [&str; 13] = [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ];
    fn bad(container: &Value) -> impl Iterator<Item = &str> {
        texts(&context(container)["capabilities"]["add"]).filter(|c| !ALLOWED.contains(c))
    }
    let names = pod.named(|c| bad(c).next().is_some());
    let added = sorted(pod.containers().flat_map(bad));
    (!names.is_empty()).then(|| {
        let detail =
            format!("{} must not include {} in securityContext.capabilities.add", containers(&names), quoted(&added));
        violation("non-default capabilities", detail)
    })
}

pub(super) fn host_namespaces(pod: Subject<'_>) -> Option<Violation> {
    let shared: Vec<_> = ["hostNetwork", "hostPID", "hostIPC"]
        .into_iter()
        .filter(|field| pod.spec[*field] == true)
        .map(|field| format!("{field}=true"))
        .collect();
    (!shared.is_empty()).then(|| violation("host namespaces", shared.join(", ")))
}

pub(super) fn host_path_volumes(pod: Subject<'_>) -> Option<Violation> {
    let volumes = pod.spec["volumes"].as_array().into_iter().flatten();
    let names: Vec<_> = volumes.filter(|v| !v["hostPath"].is_null()).filter_map(|v| v["name"].as_str()).collect();
    (!names.is_empty())
        .then(|| violation("hostPath volumes", format!("{} {}", plural("volume", names.len()), quoted(&names))))
}

pub(super) fn host_ports(pod: Subject<'_>) -> Option<Violation> {
    fn ports(container: &Value) -> impl Iterator<Item = u64> {
        let ports = container["ports"].as_array().into_iter().flatten();
        ports.filter_map(|p| p["hostPort"].as_u64()).filter(|p| *p != 0)
    }
    let names = pod.named(|c| ports(c).next().is_some());
    // As texts: 8080 is told before 90.
    let found: BTreeSet<_> = pod.containers().flat_map(ports).map(|p| p.to_string()).collect();
    let found: Vec<_> = found.into_iter().collect();
    (!names.is_empty()).then(|| {
        let words = plural("hostPort", found.len());
        let detail = format!("{} {} {words} {}", containers(&names), uses(names.len()), found.join(", "));
        violation("hostPort", detail)
    })
}

pub(super) fn probe_hosts(pod: Subject<'_>) -> Option<Violation> {
    fn hosts(container: &Value) -> Vec<&str> {
        let probes = ["livenessProbe", "readinessProbe", "startupProbe"].into_iter().map(|p| &container[p]);
        let hooks = ["postStart", "preStop"].into_iter().map(|h| &container["lifecycle"][h]);
        let actions = probes.chain(hooks).flat_map(|action| [&action["httpGet"]["host"], &action["tcpSocket"]["host"]]);
        actions.filter_map(Value::as_str).filter(|host| !host.is_empty()).collect()
    }
    let names = sorted(pod.named(|c| !hosts(c).is_empty()).into_iter());
    let found = sorted(pod.containers().flat_map(hosts));
    (!names.is_empty()).then(|| {
        let words = plural("probe or lifecycle host", found.len());
        let detail = format!("{} {} {words} {}", containers(&names), uses(names.len()), quoted(&found));
        violation("probe or lifecycle host", detail)
    })
}

pub(super) fn privileged(pod: Subject<'_>) -> Option<Violation> {
    let names = pod.named(|c| context(c)["privileged"] == true);
    (!names.is_empty()).then(|| {
        violation("privileged", format!("{} must not set securityContext.privileged=true", containers(&names)))
    })
}

pub(super) fn proc_mount(pod: Subject<'_>) -> Option<Violation> {
    let bad = |c: &Value| context(c)["procMount"].as_str().is_some_and(|m| m != "Default");
    let names = pod.named(bad);
    let kinds = sorted(pod.containers().filter(|c| bad(c)).filter_map(|c| context(c)["procMount"].as_str()));
    (!names.is_empty()).then(|| {
        let detail = format!("{} must not set securityContext.procMount to {}", containers(&names), quoted(&kinds));
        violation("procMount", detail)
    })
}

pub(super) fn proc_mount_of_host_users(pod: Subject<'_>) -> Option<Violation> {
    if pod.has_own_users() { None } else { proc_mount(pod) }
}

pub(super) fn se_linux(pod: Subject<'_>) -> Option<Violation> {
    se_linux_but(pod, &["", "container_t", "container_init_t", "container_kvm_t"])
}

pub(super) fn se_linux_with_engine(pod: Subject<'_>) -> Option<Violation> {
    se_linux_but(pod, &["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"])
}

fn se_linux_but(pod: Subject<'_>, allowed: &[&str]) -> Option<Violation> {
    fn text<'a>(holder: &'a Value, field: &str) -> &'a str {
        context(holder)["seLinuxOptions"][field].as_str().unwrap_or_default()
    }
    let bad_type = |h: &Value| !allowed.contains(&text(h, "type"));
    let bad = |h: &Value| bad_type(h) || !text(h, "user").is_empty() || !text(h, "role").is_empty();
    let who = setters(bad(pod.spec), &pod.named(bad))?;
    let holders: Vec<_> = std::iter::once(pod.spec).chain(pod.containers()).collect();
    let types = sorted(holders.iter().filter(|h| bad_type(h)).map(|h| text(h, "type")));
    let mut what = Vec::new();
    if !types.is_empty() {
        what.push(format!("{} {}", plural("type", types.len()), quoted(&types)));
    }
    for field in ["user", "role"] {
        if holders.iter().any(|h| !text(h, field).is_empty()) {
            what.push(format!("{field} may not be set"));
        }
    }
    let detail = format!("{who} set forbidden securityContext.seLinuxOptions: {}", what.join("; "));
    Some(violation("seLinuxOptions", detail))
}

/// The type of a seccomp profile that a holder sets, where it is not allowed.
pub(super) fn bad_seccomp(holder: &Value) -> Option<&str> {
    let profile = &context(holder)["seccompProfile"];
    let kind = profile["type"].as_str().unwrap_or_default();
    (!profile.is_null() && !matches!(kind, "RuntimeDefault" | "Localhost")).then_some(kind)
}

pub(super) fn seccomp(pod: Subject<'_>) -> Option<Violation> {
    let names = pod.named(|c| bad_seccomp(c).is_some());
    let who = setters(bad_seccomp(pod.spec).is_some(), &names)?;
    let values = sorted(bad_seccomp(pod.spec).into_iter().chain(pod.containers().filter_map(bad_seccomp)));
    let detail = format!("{who} must not set securityContext.seccompProfile.type to {}", quoted(&values));
    Some(violation("seccompProfile", detail))
}

/// How profiles were set before they had a field.
pub(super) fn seccomp_annotations(pod: Subject<'_>) -> Option<Violation> {
    const POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
    const CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
    let allowed = |v: &str| v == "runtime/default" || v == "docker/default" || v.starts_with("localhost/");
    let keys = pod.containers().map(|c| format!("{CONTAINER}{}", c["name"].as_str().unwrap_or_default()));
    let bad: BTreeSet<_> = std::iter::once(POD.to_owned())
        .chain(keys)
        .filter_map(|key| {
            let value = pod.metadata["annotations"][&key].as_str()?;
            (!allowed(value)).then(|| format!("{key}={value:?}"))
        })
        .collect();
    let bad: Vec<_> = bad.into_iter().collect();
    (!bad.is_empty()).then(|| {
        let detail = format!("forbidden {} {}", plural("annotation", bad.len()), bad.join(", "));
        violation("seccompProfile", detail)
    })
}

/// Sysctls that touch nothing but the pod, by the minor version from which on they are allowed.
const SYSCTLS: [(u32, &str); 12] = [
    (0, "kernel.shm_rmid_forced"),
    (0, "net.ipv4.ip_local_port_range"),
    (0, "net.ipv4.tcp_syncookies"),
    (0, "net.ipv4.ping_group_range"),
    (0, "net.ipv4.ip_unprivileged_port_start"),
    (27, "net.ipv4.ip_local_reserved_ports"),
    (29, "net.ipv4.tcp_keepalive_time"),
    (29, "net.ipv4.tcp_fin_timeout"),
    (29, "net.ipv4.tcp_keepalive_intvl"),
    (29, "net.ipv4.tcp_keepalive_probes"),
    (32, "net.ipv4.tcp_rmem"),
    (32, "net.ipv4.tcp_wmem"),
];

pub(super) fn sysctls_0(pod: Subject<'_>) -> Option<Violation> {
    sysctls(pod, 0)
}

pub(super) fn sysctls_27(pod: Subject<'_>) -> Option<Violation> {
    sysctls(pod, 27)
}

pub(super) fn sysctls_29(pod: Subject<'_>) -> Option<Violation> {
    sysctls(pod, 29)
}

pub(super) fn sysctls_32(pod: Subject<'_>) -> Option<Violation> {
    sysctls(pod, 32)
}

fn sysctls(pod: Subject<'_>, minor: u32) -> Option<Violation> {
    let allowed = |name: &str| SYSCTLS.iter().any(|(since, n)| *n == name && *since <= minor);
    let set = context(pod.spec)["sysctls"].as_array().into_iter().flatten();
    let bad: Vec<_> = set.filter_map(|s| s["name"].as_str()).filter(|n| !allowed(n)).collect();
    (!bad.is_empty()).then(|| violation("forbidden sysctls", bad.join(", ")))
}

pub(super) fn windows_host_process(pod: Subject<'_>) -> Option<Violation> {
    let bad = |holder: &Value| context(holder)["windowsOptions"]["hostProcess"] == true;
    let who = setters(bad(pod.spec), &pod.named(bad))?;
    let detail = format!("{who} must not set securityContext.windowsOptions.hostProcess=true");
    Some(violation("hostProcess", detail))
}
