// SPDX-License-Identifier: Apache-2.0
//! What a body says that it is: found before anything else of it is read, without regard to the case of letters, as
//! Go's reader of JSON does; and what follows where its path says something else.

use std::fmt;

use knarr_types::go_quoted;
use knarr_types::tree::Value;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::builtin_types::{self, NamedType, of_kind};
use crate::kinds::{Kind, Registry};
use crate::patch::json_kind;

/// Versions that upstream can read but serves no more, and with which kinds where that is not all of the group.
const NO_LONGER_SERVED: [(&str, &[&str]); 20] = [
    ("admissionregistration.k8s.io", &["v1beta1", "v1alpha1"]),
    ("apiextensions.k8s.io", &["v1beta1"]),
    ("apiregistration.k8s.io", &["v1beta1"]),
    ("apps", &["v1beta1", "v1beta2"]),
    ("authentication.k8s.io", &["v1beta1", "v1alpha1"]),
    ("authorization.k8s.io", &["v1beta1"]),
    ("batch", &["v1beta1"]),
    ("certificates.k8s.io", &["v1beta1", "v1alpha1"]),
    ("coordination.k8s.io", &["v1beta1", "v1alpha2"]),
    ("discovery.k8s.io", &["v1beta1"]),
    ("events.k8s.io", &["v1beta1"]),
    ("extensions", &["v1beta1"]),
    ("flowcontrol.apiserver.k8s.io", &["v1beta1", "v1beta2", "v1beta3"]),
    ("networking.k8s.io", &["v1beta1"]),
    ("node.k8s.io", &["v1alpha1", "v1beta1"]),
    ("policy", &["v1beta1"]),
    ("rbac.authorization.k8s.io", &["v1beta1", "v1alpha1"]),
    ("resource.k8s.io", &["v1alpha3", "v1beta1", "v1beta2"]),
    ("scheduling.k8s.io", &["v1beta1", "v1alpha2"]),
    ("storage.k8s.io", &["v1beta1", "v1alpha1"]),
];
/// Where the kinds of the group `extensions` are now.
const OUT_OF_EXTENSIONS: [(&str, &str); 6] = [
    ("DaemonSet", "apps"),
    ("Deployment", "apps"),
    ("ReplicaSet", "apps"),
    ("Ingress", "networking.k8s.io"),
    ("NetworkPolicy", "networking.k8s.io"),
    ("Scale", "autoscaling"),
];
/// The groups that have a table of types of their own, with the name of that table and what it has besides.
const OWN_TABLES: [(&str, &str, &[&str]); 2] = [
    ("apiextensions.k8s.io", "k8s.io/apiextensions-apiserver/pkg/apiserver/apiserver.go:55", &["ConversionReview"]),
    ("apiregistration.k8s.io", "k8s.io/kube-aggregator/pkg/apiserver/scheme/scheme.go:28", &[]),
];
const TABLE: &str = "pkg/api/legacyscheme/scheme.go:30";
/// The version of upstream's own form of kinds, which is never published.
const INTERNAL: &str = "__internal";
/// What every table of types has, in whatever version.
const EVERYWHERE: [&str; 5] = ["Status", "APIVersions", "APIGroupList", "APIGroup", "APIResourceList"];
/// What every version of every group has.
const EVERY_VERSION: [&str; 7] =
    ["WatchEvent", "ListOptions", "GetOptions", "DeleteOptions", "CreateOptions", "UpdateOptions", "PatchOptions"];
/// What the core has beside what is published.
const UNPUBLISHED: [&str; 8] = [
    "List",
    "RangeAllocation",
    "PodAttachOptions",
    "PodExecOptions",
    "PodLogOptions",
    "PodPortForwardOptions",
    "PodProxyOptions",
    "ServiceProxyOptions",
];

/// What a body says that it is; what it leaves out is as the path says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub group: String,
    pub version: String,
    pub kind: String,
}

/// What a body says that it is, and its path does not; in words for the client.
pub(super) enum Mismatch {
    /// It names no version.
    NoVersion,
    /// The same in a version that is not asked for.
    OtherVersion(String),
    /// Something else; with the type of that, where it is known.
    OtherKind(String, Option<&'static NamedType>),
}

impl Head {
    /// From the two fields as they were sent.
    ///
    /// # Errors
    /// Where the version has too many parts.
    pub fn new(api_version: &str, name: &str, kind: &Kind) -> Result<Self, String> {
        if api_version.matches('/').count() > 1 {
            return Err(format!("unexpected GroupVersion string: {api_version}"));
        }
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let (group, version) = match (group, version) {
            ("", "") => (&*kind.group, &*kind.version),
            (group, "") if *group == *kind.group => (group, &*kind.version),
            given => given,
        };
        let name = if name.is_empty() { &kind.kind } else { name };
        Ok(Self { group: group.into(), version: version.into(), kind: name.into() })
    }

    /// From a document, or what there is of it.
    ///
    /// # Errors
    /// Where it is no object or says it in no text.
    pub fn of(body: &Value, kind: &Kind) -> Result<Self, String> {
        match body {
            Value::Object(members) => Self::among(members.iter().map(|(name, value)| (name.as_str(), value)), kind),
            Value::Null => Self::new("", "", kind),
            other => Err(fault(json_kind(other), &format!("value of type {INTO}"))),
        }
    }

    /// Reads only these fields of a body in JSON; `None` where it is no object, or no JSON.
    pub fn in_json(body: &[u8], kind: &Kind) -> Option<Result<Self, String>> {
        let Named(members) = serde_json::from_slice(body).ok()?;
        Some(Self::among(members.iter().map(|(name, value)| (name.as_str(), value)), kind))
    }

    fn among<'v>(members: impl Iterator<Item = (&'v str, &'v Value)>, kind: &Kind) -> Result<Self, String> {
        let (mut version, mut name, mut wrong) = ("", "", None);
        for (key, value) in members {
            let (slot, field) = match key {
                key if is_version(key) => (&mut version, "apiVersion"),
                key if key.eq_ignore_ascii_case("kind") => (&mut name, "kind"),
                _ => continue,
            };
            match value {
                Value::Null => {}
                Value::String(text) => *slot = text,
                other if wrong.is_none() => {
                    wrong = Some(fault(json_kind(other), &format!("struct field .{field} of type string")));
                }
                _ => {}
            }
        }
        wrong.map_or_else(|| Self::new(version, name, kind), Err)
    }

    /// As `apiVersion` has it.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The type that such a body is read as, where it is of a built-in kind.
    pub fn ty(&self) -> Option<&'static NamedType> {
        let group = self.modern_group();
        of_kind(&self.group, &self.version, &self.kind).or_else(|| of_kind(group, "v1", &self.kind))
    }

    /// The group that the kind is in now.
    fn modern_group(&self) -> &str {
        let moved = OUT_OF_EXTENSIONS.iter().find(|(kind, _)| self.group == "extensions" && *kind == self.kind);
        match moved {
            Some((_, group)) => group,
            None if self.kind == "Scale" && self.group == "apps" => "autoscaling",
            None => &self.group,
        }
    }

    /// How it differs from what the path says.
    pub fn mismatch(&self, kind: &Kind, registry: &Registry) -> Option<Mismatch> {
        let same_kind = self.kind == *kind.kind;
        if self.version.is_empty() {
            return Some(Mismatch::NoVersion);
        }
        if self.group == *kind.group && self.version == *kind.version && same_kind {
            return None;
        }
        let of_table = self.is_known(kind);
        let served = registry.by_kind(&self.group, &self.version, &self.kind).filter(|other| other.custom.is_none());
        let older = self.is_older() && same_kind && self.modern_group() == &*kind.group;
        let internal = self.is_internal_form_of(kind);
        if of_table && (older || internal || served.is_some_and(|other| other.storage == kind.storage)) {
            return Some(Mismatch::OtherVersion(format!(
                "the API version in the data ({}) does not match the expected API version ({})",
                self.api_version(),
                kind.api_version()
            )));
        }
        let published = served.is_some() || (self.ty().is_some() && self.has_version()) || self.is_unpublished();
        let known = match self.shared() {
            Some(shared) => Some(shared.to_owned()),
            None if of_table && published => Some(format!("{}.{}", self.version, self.kind)),
            None if of_table => self.internal().map(|package| format!("{package}.{}", self.kind)),
            None => None,
        };
        Some(if let Some(from) = known {
            let package = internal_package(&kind.group);
            Mismatch::OtherKind(
                format!("converting ({from}) to ({package}.{}): unknown conversion", kind.kind),
                self.ty(),
            )
        } else {
            let table = OWN_TABLES.iter().find(|(group, ..)| **group == *kind.group);
            let table = table.map_or(TABLE, |(_, table, _)| table);
            Mismatch::OtherKind(not_registered(&self.api_version(), &self.kind, table), None)
        })
    }

    /// It is upstream's own form of the kind, in which fields have other names.
    pub fn is_internal_form_of(&self, kind: &Kind) -> bool {
        self.version == INTERNAL && self.kind == *kind.kind && self.group == *kind.group
    }

    /// The name of a type that groups share, where it is one: those of every version, where there is that version, and
    /// those that have none of their own.
    fn shared(&self) -> Option<String> {
        if EVERYWHERE.contains(&&*self.kind) {
            return Some(format!("v1.{}", self.kind));
        }
        if OWN_TABLES.iter().any(|(group, ..)| *group == self.group) {
            return None;
        }
        if self.version == INTERNAL {
            return (self.kind == "WatchEvent" && self.has_kinds()).then(|| "v1.InternalEvent".to_owned());
        }
        let is_there = || {
            let same = |(group, version, _)| (group, version) == (&*self.group, &*self.version);
            self.is_older() || builtin_types::kinds().any(same)
        };
        (EVERY_VERSION.contains(&&*self.kind) && is_there()).then(|| format!("v1.{}", self.kind))
    }

    /// The package that has upstream's own form of what it is, where it is that.
    fn internal(&self) -> Option<&str> {
        let is_one = self.version == INTERNAL && !EVERY_VERSION.contains(&&*self.kind);
        let group = self.modern_group();
        let core = || self.group.is_empty() && UNPUBLISHED.contains(&&*self.kind);
        let known = || builtin_types::kinds().any(|(of, _, kind)| of == group && kind == self.kind);
        (is_one && (core() || known())).then(|| internal_package(group))
    }

    /// There is a group of that name.
    fn has_kinds(&self) -> bool {
        builtin_types::kinds().any(|(group, ..)| group == self.group)
    }

    /// Whether the table of types that the kind of the path is in may have this one.
    fn is_known(&self, kind: &Kind) -> bool {
        match OWN_TABLES.iter().find(|(group, ..)| **group == *kind.group) {
            Some((group, _, more)) => {
                let list = format!("{}List", kind.kind);
                self.group == *group && (self.kind == *kind.kind || self.kind == list || more.contains(&&*self.kind))
            }
            None => OWN_TABLES.iter().all(|(group, ..)| *group != self.group),
        }
    }

    fn is_older(&self) -> bool {
        NO_LONGER_SERVED.iter().any(|(group, versions)| *group == self.group && versions.contains(&&*self.version))
    }

    fn has_version(&self) -> bool {
        self.is_older() || of_kind(&self.group, &self.version, &self.kind).is_some()
    }

    fn is_unpublished(&self) -> bool {
        (&*self.group, &*self.version) == ("", "v1") && UNPUBLISHED.contains(&&*self.kind)
            || self.kind == "ConversionReview" && self.group == OWN_TABLES[0].0
    }
}

/// What a table of types says of a kind that it does not have.
#[must_use]
pub fn not_registered(api_version: &str, kind: &str, table: &str) -> String {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let place = if version == INTERNAL {
        format!("the internal version of group {}", go_quoted(group))
    } else {
        format!("version {}", go_quoted(api_version))
    };
    format!("no kind {} is registered for {place} in scheme \"{table}\"", go_quoted(kind))
}

/// The name of the group's package inside upstream: `core`, `rbac`, `apps`.
#[must_use]
pub fn internal_package(group: &str) -> &str {
    match group {
        "" | "events.k8s.io" => "core",
        group => group.split('.').next().unwrap_or(group),
    }
}

const INTO: &str =
    "struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }";

fn fault(what: &str, into: &str) -> String {
    format!("couldn't get version/kind; json parse error: json: cannot unmarshal {what} into Go {into}")
}

fn is_version(key: &str) -> bool {
    key.eq_ignore_ascii_case("apiVersion")
}

/// The members of an object that say what it is, in the order of the text.
struct Named(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Named;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Named, A::Error> {
                let mut members = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    if is_version(&key) || key.eq_ignore_ascii_case("kind") {
                        members.push((key, map.next_value()?));
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Named(members))
            }
        }

        deserializer.deserialize_map(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(path: (&str, &str), body: &str) -> String {
        let registry = Registry::builtin();
        let kind = registry.by_kind(path.0, "v1", path.1).unwrap();
        let head = match Head::in_json(body.as_bytes(), kind).unwrap() {
            Ok(head) => head,
            Err(why) => return why,
        };
        match head.mismatch(kind, &registry) {
            None => "fits".to_owned(),
            Some(Mismatch::NoVersion) => "no version".to_owned(),
            Some(Mismatch::OtherVersion(why) | Mismatch::OtherKind(why, _)) => why,
        }
    }

    #[test]
    fn heads_are_read_without_regard_to_case_and_the_last_counts() {
        for (body, want) in [
            (r#"{"apiVersion": "v1", "kind": "ConfigMap"}"#, "fits"),
            (r#"{"KIND": "ConfigMap", "Kind": null}"#, "fits"),
            (r#"{"ApiVersion": "v2", "apiVersion": "v1"}"#, "fits"),
            (r#"{"apiVersion": "/v1"}"#, "fits"),
            (r#"{"apiVersion": "apps/"}"#, "no version"),
            (r#"{"Kind": 1}"#, ".kind of type string"),
            (r#"{"apiVersion": "a/b/c"}"#, "unexpected GroupVersion string: a/b/c"),
            (r#"{"apiVersion": "v1", "ApiVersion": "v2"}"#, "no kind \"ConfigMap\" is registered for version \"v2\""),
        ] {
            let said = said(("", "ConfigMap"), body);
            assert!(said.contains(want), "{body}: {said}");
        }
    }

    #[test]
    fn what_is_known_of_other_kinds_depends_on_the_table_of_types() {
        for (path, body, want) in [
            (("apps", "Deployment"), ("apps/", "Deployment"), "fits"),
            (("apps", "Deployment"), ("extensions/v1beta1", "Deployment"), "data (extensions/v1beta1) does not match"),
            (("", "ConfigMap"), ("extensions/v1beta1", "Deployment"), "converting (v1beta1.Deployment) to (core."),
            (("", "ConfigMap"), ("v1", "List"), "converting (v1.List) to (core.ConfigMap)"),
            (("", "ConfigMap"), ("apiregistration.k8s.io/v1", "APIService"), "legacyscheme/scheme.go:30"),
            (("apiregistration.k8s.io", "APIService"), ("v1", "ConfigMap"), "kube-aggregator/pkg/apiserver/scheme"),
            (("apiregistration.k8s.io", "APIService"), ("v1", "Status"), "converting (v1.Status)"),
            (("", "ConfigMap"), ("x/v2", "Status"), "converting (v1.Status) to (core.ConfigMap)"),
            (("", "ConfigMap"), ("apps/v1", "CreateOptions"), "converting (v1.CreateOptions) to (core.ConfigMap)"),
            (("", "ConfigMap"), ("apps/v7", "CreateOptions"), "is registered for version \"apps/v7\""),
            (("", "ConfigMap"), ("__internal", "ConfigMap"), "data (__internal) does not match the expected"),
            (("apps", "Deployment"), ("__internal", "ConfigMapList"), "converting (core.ConfigMapList) to (apps.Depl"),
            (("apps", "Deployment"), ("__internal", "List"), "converting (core.List) to (apps.Deployment)"),
            (("", "ConfigMap"), ("apps/__internal", "Scale"), "converting (autoscaling.Scale) to (core.ConfigMap)"),
            (("", "ConfigMap"), ("apps/__internal", "WatchEvent"), "converting (v1.InternalEvent) to (core.ConfigMap)"),
            (("", "ConfigMap"), ("apps/__internal", "Pod"), "for the internal version of group \"apps\""),
            (("", "ConfigMap"), ("__internal", "DeleteOptions"), "for the internal version of group \"\""),
            (
                ("apiextensions.k8s.io", "CustomResourceDefinition"),
                ("apiextensions.k8s.io/v1beta1", "CustomResourceDefinition"),
                "does not match the expected",
            ),
        ] {
            let said = said(path, &format!(r#"{{"apiVersion": "{}", "kind": "{}"}}"#, body.0, body.1));
            assert!(said.contains(want), "{body:?}: {said}");
        }
    }
}
