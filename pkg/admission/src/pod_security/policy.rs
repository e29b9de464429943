// SPDX-License-Identifier: Apache-2.0
//! What a namespace's labels ask of its pods: a level and a version for each of three modes.
//! <https://kubernetes.io/docs/concepts/security/pod-security-admission/#pod-security-admission-labels-for-namespaces>

use std::fmt;

use knarr_types::tree::Value;
use knarr_types::{ErrorList, FieldError, FieldPath};

const LABELS: &str = "pod-security.kubernetes.io/";

/// How strict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Privileged,
    Baseline,
    Restricted,
}

/// As of which minor version of Kubernetes 1 the level is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    Minor(u32),
    Latest,
}

/// A level as of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standard {
    pub level: Level,
    pub version: Version,
}

/// What a namespace asks; the audit mode has nobody to tell here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    pub enforce: Standard,
    pub warn: Standard,
}

impl Standard {
    const OPEN: Self = Self { level: Level::Privileged, version: Version::Latest };
}

impl Policy {
    /// Reads the labels; what cannot be read is as strict as it can be where it enforces, and says
    /// nothing where it warns.
    pub(super) fn of(labels: &Value) -> (Self, ErrorList) {
        let mut errors = ErrorList::new();
        let mut enforce = Standard::OPEN;
        let mut audit = Standard::OPEN;
        let mut warn = Standard::OPEN;
        let level = mode(labels, "enforce", Level::Restricted, &mut enforce, &mut errors);
        mode(labels, "audit", Level::Privileged, &mut audit, &mut errors);
        mode(labels, "warn", Level::Privileged, &mut warn, &mut errors);
        let has = |name: &str| labels.get(format!("{LABELS}{name}")).is_some();
        // Who is warned of nothing else is warned of what would be refused.
        if !has("warn") && level && enforce.level > warn.level {
            warn.level = enforce.level;
            if !has("warn-version") {
                warn.version = enforce.version;
            }
        }
        (Self { enforce, warn }, errors)
    }
}

/// Reads one mode; gives whether it names a level that there is.
fn mode(labels: &Value, name: &str, otherwise: Level, standard: &mut Standard, errors: &mut ErrorList) -> bool {
    let label = |suffix: &str| {
        let key = format!("{LABELS}{name}{suffix}");
        labels.get(&key).and_then(Value::as_str).map(|value| (FieldPath::new("metadata.labels").key(&key), value))
    };
    let mut known = false;
    if let Some((path, text)) = label("") {
        known = matches!(text, "privileged" | "baseline" | "restricted");
        standard.level = match text {
            "privileged" => Level::Privileged,
            "baseline" => Level::Baseline,
            "restricted" => Level::Restricted,
            _ => {
                errors.push(FieldError::invalid(&path, text, "must be one of privileged, baseline, restricted"));
                otherwise
            }
        };
    }
    if let Some((path, text)) = label("-version") {
        standard.version = parse_version(text).unwrap_or_else(|| {
            errors.push(FieldError::invalid(&path, text, "must be \"latest\" or \"v1.x\""));
            Version::Latest
        });
    }
    known
}

fn parse_version(text: &str) -> Option<Version> {
    if text == "latest" {
        return Some(Version::Latest);
    }
    let minor = text.strip_prefix("v1.")?;
    let digits = !minor.is_empty() && minor.bytes().all(|b| b.is_ascii_digit());
    let plain = digits && (minor.len() == 1 || !minor.starts_with('0'));
    plain.then(|| minor.parse().ok().map(Version::Minor)).flatten()
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        match self.version {
            Version::Latest => write!(f, "{level}:latest"),
            Version::Minor(minor) => write!(f, "{level}:v1.{minor}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn labels_give_levels_and_versions() {
        let read = |pairs: &[(&str, &str)]| {
            let labels: Value = pairs.iter().map(|(k, v)| (format!("{LABELS}{k}"), json!(v))).collect();
            let (policy, errors) = Policy::of(&labels);
            format!("{} {} {}", policy.enforce, policy.warn, errors.len())
        };
        assert_eq!(read(&[]), "privileged:latest privileged:latest 0");
        assert_eq!(
            read(&[("enforce", "baseline"), ("enforce-version", "v1.20")]),
            "baseline:v1.20 baseline:v1.20 0",
            "warnings follow what is enforced"
        );
        assert_eq!(read(&[("enforce", "baseline"), ("warn", "restricted")]), "baseline:latest restricted:latest 0");
        assert_eq!(read(&[("enforce", "strict"), ("warn", "x")]), "restricted:latest privileged:latest 2");
        assert_eq!(read(&[("enforce-version", "v1.07")]), "privileged:latest privileged:latest 1");
    }
}
