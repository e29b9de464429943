// SPDX-License-Identifier: Apache-2.0
//! One rule of a role, and whether it allows a request.
//! <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#referring-to-resources>

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::Attributes;

/// What a rule allows: these verbs on these resources, or on these paths.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// The verbs; `*` for all.
    #[serde(default, deserialize_with = "or_empty")]
    pub verbs: Vec<String>,
    /// The groups of the resources; `*` for all.
    #[serde(default, deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<String>,
    /// `pods`, `pods/log`, `*/scale`, `*`.
    #[serde(default, deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// The objects; empty for all.
    #[serde(default, deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    /// Paths; a `*` at the end stands for anything.
    #[serde(default, rename = "nonResourceURLs", deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub non_resource_urls: Vec<String>,
}

/// A list that may be `null`.
fn or_empty<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Option::<Vec<String>>::deserialize(from).map(Option::unwrap_or_default)
}

impl Rule {
    /// Whether it allows what somebody wants. Allocates nothing.
    #[must_use]
    pub fn allows(&self, wanted: &Attributes<'_>) -> bool {
        if !has_or_all(&self.verbs, wanted.verb) {
            return false;
        }
        if wanted.resource.is_empty() {
            return self.non_resource_urls.iter().any(|url| url_covers(url, wanted.path));
        }
        has_or_all(&self.api_groups, wanted.group)
            && self.resources.iter().any(|r| names_resource(r, wanted.resource, wanted.subresource))
            && (self.resource_names.is_empty() || self.resource_names.iter().any(|n| n == wanted.name))
    }
}

fn has_or_all(list: &[String], wanted: &str) -> bool {
    list.iter().any(|one| one == "*" || one == wanted)
}

/// Whether a rule's resource is the wanted one: by its name, `*`, or `*/subresource`.
fn names_resource(rule: &str, resource: &str, subresource: &str) -> bool {
    if rule == "*" {
        return true;
    }
    if subresource.is_empty() {
        return rule == resource;
    }
    rule.strip_suffix(subresource)
        .and_then(|rest| rest.strip_suffix('/'))
        .is_some_and(|before| before == "*" || before == resource)
}

/// Whether a rule's path stands for another one.
pub(super) fn url_covers(rule: &str, path: &str) -> bool {
    rule == path || (rule.ends_with('*') && path.starts_with(rule.trim_end_matches('*')))
}

impl fmt::Display for Rule {
    /// Upstream's short form: `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.non_resource_urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        let shown: Vec<_> = parts
            .iter()
            .filter(|(_, list)| !list.is_empty())
            .map(|(name, list)| format!("{name}:{}", quoted(list)))
            .collect();
        write!(f, "{{{}}}", shown.join(", "))
    }
}

/// A list as upstream's messages show it: `["a" "b"]`.
pub(crate) fn quoted(list: &[String]) -> String {
    let quoted: Vec<_> = list.iter().map(|one| format!("{one:?}")).collect();
    format!("[{}]", quoted.join(" "))
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    fn rule(value: knarr_types::tree::Value) -> Rule {
        knarr_types::tree::from_value(value).unwrap()
    }

    #[test]
    fn resources_are_named_whole_by_star_or_by_star_and_subresource() {
        for (of_rule, asked, want) in [
            ("pods", "pods", true),
            ("pods", "pods/log", false),
            ("pods/log", "pods/log", true),
            ("pods/log", "pods", false),
            ("*", "pods/log", true),
            ("*/log", "pods/log", true),
            ("*/log", "pods", false),
            ("*/log", "pods/slog", false),
            ("pods/*", "pods/log", false),
        ] {
            let rule = rule(json!({"apiGroups": [""], "resources": [of_rule], "verbs": ["get"]}));
            let (resource, subresource) = asked.split_once('/').unwrap_or((asked, ""));
            let wanted = Attributes { verb: "get", resource, subresource, ..Attributes::default() };
            assert_eq!(rule.allows(&wanted), want, "{of_rule} {asked}");
        }
    }

    #[test]
    fn names_verbs_and_groups_must_all_fit() {
        let rule = rule(json!({"apiGroups": ["apps"], "resources": ["*"], "resourceNames": ["a"], "verbs": ["get"]}));
        for (verb, group, name, want) in [
            ("get", "apps", "a", true),
            ("get", "apps", "b", false),
            ("get", "apps", "", false),
            ("list", "apps", "a", false),
            ("get", "", "a", false),
        ] {
            let wanted = Attributes { verb, group, resource: "x", name, ..Attributes::default() };
            assert_eq!(rule.allows(&wanted), want, "{verb} {group} {name}");
        }
    }

    #[test]
    fn paths_may_end_in_a_star() {
        for (url, path, want) in [
            ("/healthz", "/healthz", true),
            ("/healthz", "/healthz/ping", false),
            ("/api/*", "/api/v1", true),
            ("/api/*", "/api", false),
            ("*", "/x", true),
        ] {
            let rule = rule(json!({"nonResourceURLs": [url], "verbs": ["*"]}));
            assert_eq!(rule.allows(&Attributes { verb: "get", path, ..Attributes::default() }), want, "{url} {path}");
        }
    }

    #[test]
    fn rules_are_shown_as_upstream_shows_them() {
        let shown = rule(json!({"apiGroups": [""], "resources": ["pods", "nodes"], "verbs": ["*"]})).to_string();
        assert_eq!(shown, r#"{APIGroups:[""], Resources:["pods" "nodes"], Verbs:["*"]}"#);
    }
}
