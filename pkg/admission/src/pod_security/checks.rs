// SPDX-License-Identifier: Apache-2.0
//! Which checks there are, from which version on, and what they say of a pod.
//! <https://kubernetes.io/docs/concepts/security/pod-security-standards/>

use knarr_types::tree::Value;

use super::policy::{Level, Standard, Version};
use super::{baseline, restricted};

/// What is wrong with a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    /// What, in two words.
    pub reason: String,
    /// Where, and what it should be.
    pub detail: String,
}

/// A pod, or the template of one, as checks see it.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub metadata: &'a Value,
    pub spec: &'a Value,
}

impl<'a> Subject<'a> {
    /// All containers, in the order that messages name them.
    pub(super) fn containers(self) -> impl Iterator<Item = &'a Value> {
        ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .flat_map(move |list| self.spec[list].as_array().into_iter().flatten())
    }

    /// The names of the containers that `bad` fits.
    pub(super) fn named(self, bad: impl Fn(&Value) -> bool) -> Vec<&'a str> {
        self.containers().filter(|c| bad(c)).map(|c| c["name"].as_str().unwrap_or_default()).collect()
    }

    /// A pod that shares no users with its host is held to less.
    pub(super) fn has_own_users(self) -> bool {
        self.spec["hostUsers"] == false
    }

    pub(super) fn is_windows(self) -> bool {
        self.spec["os"]["name"] == "windows"
    }
}

type Check = fn(Subject<'_>) -> Option<Violation>;

/// One check: its versions by the minor version that brought them, newest last.
struct Rule {
    level: Level,
    versions: &'static [(u32, Check)],
    /// From this version on a stricter check stands for it where the level is restricted.
    overridden: Option<u32>,
}

const fn rule(level: Level, versions: &'static [(u32, Check)], overridden: Option<u32>) -> Rule {
    Rule { level, versions, overridden }
}

/// In the order in which their findings are told.
static RULES: [Rule; 19] = [
    rule(Level::Baseline, &[(0, baseline::app_armor)], None),
    rule(Level::Baseline, &[(0, baseline::capabilities)], Some(22)),
    rule(Level::Baseline, &[(0, baseline::host_namespaces)], None),
    rule(Level::Baseline, &[(0, baseline::host_path_volumes)], Some(0)),
    rule(Level::Baseline, &[(0, baseline::host_ports)], None),
    rule(Level::Baseline, &[(34, baseline::probe_hosts)], None),
    rule(Level::Baseline, &[(0, baseline::privileged)], None),
    rule(Level::Baseline, &[(0, baseline::proc_mount), (35, baseline::proc_mount_of_host_users)], Some(35)),
    rule(Level::Baseline, &[(0, baseline::se_linux), (31, baseline::se_linux_with_engine)], None),
    rule(Level::Baseline, &[(0, baseline::seccomp_annotations), (19, baseline::seccomp)], Some(19)),
    rule(
        Level::Baseline,
        &[(0, baseline::sysctls_0), (27, baseline::sysctls_27), (29, baseline::sysctls_29), (32, baseline::sysctls_32)],
        None,
    ),
    rule(Level::Baseline, &[(0, baseline::windows_host_process)], None),
    rule(
        Level::Restricted,
        &[(8, restricted::privilege_escalation), (25, restricted::privilege_escalation_on_linux)],
        None,
    ),
    rule(Level::Restricted, &[(22, restricted::capabilities), (25, restricted::capabilities_on_linux)], None),
    rule(Level::Restricted, &[(35, baseline::proc_mount)], None),
    rule(Level::Restricted, &[(0, restricted::volumes)], None),
    rule(Level::Restricted, &[(0, restricted::run_as_non_root), (35, restricted::run_as_non_root_of_host_users)], None),
    rule(Level::Restricted, &[(23, restricted::run_as_user), (35, restricted::run_as_user_of_host_users)], None),
    rule(Level::Restricted, &[(19, restricted::seccomp), (25, restricted::seccomp_on_linux)], None),
];

/// All that a standard finds wrong with a pod.
pub(super) fn violations(standard: Standard, subject: Subject<'_>) -> Vec<Violation> {
    let minor = match standard.version {
        Version::Minor(minor) => minor,
        Version::Latest => u32::MAX,
    };
    let strict = standard.level == Level::Restricted;
    let applies =
        |rule: &&Rule| rule.level <= standard.level && !(strict && rule.overridden.is_some_and(|from| minor >= from));
    let newest = |rule: &Rule| rule.versions.iter().rev().find(|(since, _)| *since <= minor).map(|(_, check)| *check);
    if standard.level == Level::Privileged {
        return Vec::new();
    }
    RULES.iter().filter(applies).filter_map(newest).filter_map(|check| check(subject)).collect()
}

/// `container "a"`, `containers "a", "b"`.
pub(super) fn containers(names: &[&str]) -> String {
    format!("{} {}", plural("container", names.len()), quoted(names))
}

pub(super) fn plural(word: &str, count: usize) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}

/// `uses` or `use`.
pub(super) fn uses(count: usize) -> &'static str {
    if count == 1 { "uses" } else { "use" }
}

pub(super) fn quoted<T: AsRef<str>>(items: &[T]) -> String {
    let items: Vec<_> = items.iter().map(|i| format!("\"{}\"", i.as_ref())).collect();
    items.join(", ")
}

pub(super) fn violation(reason: impl Into<String>, detail: impl Into<String>) -> Violation {
    Violation { reason: reason.into(), detail: detail.into() }
}

/// Who sets something: the pod, containers, or both.
pub(super) fn setters(pod: bool, names: &[&str]) -> Option<String> {
    let mut who = Vec::new();
    if pod {
        who.push("pod".to_owned());
    }
    if !names.is_empty() {
        who.push(containers(names));
    }
    (!who.is_empty()).then(|| who.join(" and "))
}
