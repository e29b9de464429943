// SPDX-License-Identifier: Apache-2.0
//! The checks of the level restricted: what a hardened pod says of itself.

use std::collections::BTreeSet;

use knarr_types::tree::Value;

use super::baseline::{self, bad_seccomp};
use super::checks::{Subject, Violation, containers, plural, quoted, setters, uses, violation};

fn context(holder: &Value) -> &Value {
    &holder["securityContext"]
}

pub(super) fn privilege_escalation(pod: Subject<'_>) -> Option<Violation> {
    let names = pod.named(|c| context(c)["allowPrivilegeEscalation"] != false);
    (!names.is_empty()).then(|| {
        let detail = format!("{} must set securityContext.allowPrivilegeEscalation=false", containers(&names));
        violation("allowPrivilegeEscalation != false", detail)
    })
}

pub(super) fn privilege_escalation_on_linux(pod: Subject<'_>) -> Option<Violation> {
    if pod.is_windows() { None } else { privilege_escalation(pod) }
}

pub(super) fn capabilities(pod: Subject<'_>) -> Option<Violation> {
    fn listed<'a>(container: &'a Value, list: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        context(container)["capabilities"][list].as_array().into_iter().flatten().filter_map(Value::as_str)
    }
    let keep = pod.named(|c| !listed(c, "drop").any(|c| c == "ALL"));
    let adding = pod.named(|c| listed(c, "add").any(|c| c != "NET_BIND_SERVICE"));
    let added: BTreeSet<_> =
        pod.containers().flat_map(|c| listed(c, "add")).filter(|c| *c != "NET_BIND_SERVICE").collect();
    let mut details = Vec::new();
    if !keep.is_empty() {
        details.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", containers(&keep)));
    }
    if !adding.is_empty() {
        let added: Vec<_> = added.into_iter().collect();
        let added = quoted(&added);
        details.push(format!("{} must not include {added} in securityContext.capabilities.add", containers(&adding)));
    }
    (!details.is_empty()).then(|| violation("unrestricted capabilities", details.join("; ")))
}

pub(super) fn capabilities_on_linux(pod: Subject<'_>) -> Option<Violation> {
    if pod.is_windows() { None } else { capabilities(pod) }
}

pub(super) fn volumes(pod: Subject<'_>) -> Option<Violation> {
    const ALLOWED: [&str; 9] = [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    let source = |volume: &Value| -> String {
        let mut fields = volume.as_object().into_iter().flatten().filter(|(k, v)| *k != "name" && !v.is_null());
        fields.next().map_or_else(|| "unknown".to_owned(), |(field, _)| field.to_string())
    };
    let volumes = pod.spec["volumes"].as_array().into_iter().flatten();
    let bad: Vec<_> = volumes.filter(|v| !ALLOWED.contains(&source(v).as_str())).collect();
    let names: Vec<_> = bad.iter().map(|v| v["name"].as_str().unwrap_or_default()).collect();
    let kinds: BTreeSet<_> = bad.iter().map(|v| source(v)).collect();
    let kinds: Vec<_> = kinds.into_iter().collect();
    (!names.is_empty()).then(|| {
        let (who, words) = (plural("volume", names.len()), plural("restricted volume type", kinds.len()));
        let detail = format!("{who} {} {} {words} {}", quoted(&names), uses(names.len()), quoted(&kinds));
        violation("restricted volume types", detail)
    })
}

pub(super) fn run_as_non_root(pod: Subject<'_>) -> Option<Violation> {
    const REASON: &str = "runAsNonRoot != true";
    let says = |holder: &Value| context(holder)["runAsNonRoot"].as_bool();
    let explicit = pod.named(|c| says(c) == Some(false));
    if let Some(who) = setters(says(pod.spec) == Some(false), &explicit) {
        return Some(violation(REASON, format!("{who} must not set securityContext.runAsNonRoot=false")));
    }
    let implicit = pod.named(|c| says(c).is_none() && says(pod.spec) != Some(true));
    (!implicit.is_empty()).then(|| {
        violation(REASON, format!("pod or {} must set securityContext.runAsNonRoot=true", containers(&implicit)))
    })
}

pub(super) fn run_as_non_root_of_host_users(pod: Subject<'_>) -> Option<Violation> {
    if pod.has_own_users() { None } else { run_as_non_root(pod) }
}

pub(super) fn run_as_user(pod: Subject<'_>) -> Option<Violation> {
    let root = |holder: &Value| context(holder)["runAsUser"] == 0;
    let who = setters(root(pod.spec), &pod.named(root))?;
    Some(violation("runAsUser=0", format!("{who} must not set runAsUser=0")))
}

pub(super) fn run_as_user_of_host_users(pod: Subject<'_>) -> Option<Violation> {
    if pod.has_own_users() { None } else { run_as_user(pod) }
}

pub(super) fn seccomp(pod: Subject<'_>) -> Option<Violation> {
    if let Some(found) = baseline::seccomp(pod) {
        return Some(found);
    }
    let set = |holder: &Value| !context(holder)["seccompProfile"].is_null() && bad_seccomp(holder).is_none();
    let implicit = pod.named(|c| !set(c) && !set(pod.spec));
    (!implicit.is_empty()).then(|| {
        let detail = format!(
            "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
            containers(&implicit)
        );
        violation("seccompProfile", detail)
    })
}

pub(super) fn seccomp_on_linux(pod: Subject<'_>) -> Option<Violation> {
    if pod.is_windows() { None } else { seccomp(pod) }
}
