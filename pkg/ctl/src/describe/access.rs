// SPDX-License-Identifier: Apache-2.0
//! Who may do what: roles and their bindings.

use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::page::Page;

/// The head of a page; also a Role's leaves its namespace out.
fn named(meta: &ObjectMeta) -> Page {
    let mut page = Page::default();
    page.field(0, "Name", meta.name.as_deref().unwrap_or_default());
    page.labels_and_annotations(meta);
    page
}

/// A Role or ClusterRole.
pub(super) fn role(meta: &ObjectMeta, rules: &[PolicyRule]) -> Page {
    let mut page = named(meta);
    page.line(0, "PolicyRule:");
    page.headings(1, &["Resources", "Non-Resource URLs", "Resource Names", "Verbs"]);
    for line in lines(rules) {
        let group = if line.group.is_empty() { String::new() } else { format!(".{}", line.group) };
        let (resource, verbs) = (format!("{}{group}", line.resource), line.verbs.join(" "));
        page.line(1, format_args!("{resource}\t[{}]\t[{}]\t[{verbs}]", line.url, line.name));
    }
    page
}

/// What may be done to one thing: a resource, or one object of it, or a path.
#[derive(Debug, Default, PartialEq)]
struct Line {
    group: String,
    resource: String,
    name: String,
    url: String,
    verbs: Vec<String>,
}

/// Rules taken apart, those about one resource put together, in kubectl's order: by verbs first.
fn lines(rules: &[PolicyRule]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for rule in rules {
        for (group, resource, name) in things(rule) {
            let about = |line: &&mut Line| {
                line.url.is_empty() && (&line.group, &line.resource, &line.name) == (&group, &resource, &name)
            };
            match lines.iter_mut().find(about) {
                Some(line) => line.verbs.extend(rule.verbs.clone()),
                None => lines.push(Line { group, resource, name, verbs: rule.verbs.clone(), url: String::new() }),
            }
        }
        let each = |url: &String| {
            let line = |verb: &String| Line { url: url.clone(), verbs: vec![verb.clone()], ..Line::default() };
            rule.verbs.iter().map(line).collect::<Vec<_>>()
        };
        lines.extend(rule.non_resource_urls.iter().flatten().flat_map(each));
    }
    lines.sort_by_key(|line| {
        let Line { group, resource, name, url, verbs } = line;
        format!("[{}] [{group}] [{resource}] [{name}] [{url}]", verbs.join(" "))
    });
    lines
}

/// Group, resource and name of everything that a rule is about.
fn things(rule: &PolicyRule) -> Vec<(String, String, String)> {
    let names = rule.resource_names.clone().filter(|names| !names.is_empty()).unwrap_or_else(|| vec![String::new()]);
    let mut things = Vec::new();
    for group in rule.api_groups.iter().flatten() {
        for resource in rule.resources.iter().flatten() {
            things.extend(names.iter().map(|name| (group.clone(), resource.clone(), name.clone())));
        }
    }
    things
}

/// A RoleBinding or ClusterRoleBinding.
pub(super) fn binding(meta: &ObjectMeta, role: &RoleRef, subjects: &[Subject]) -> Page {
    let mut page = named(meta);
    page.line(0, "Role:");
    page.field(1, "Kind", &role.kind);
    page.field(1, "Name", &role.name);
    page.line(0, "Subjects:");
    page.headings(1, &["Kind", "Name", "Namespace"]);
    for subject in subjects {
        let namespace = subject.namespace.as_deref().unwrap_or_default();
        page.line(1, format_args!("{}\t{}\t{namespace}", subject.kind, subject.name));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_taken_apart_and_put_together() {
        let rule = |groups: &[&str], resources: &[&str], verbs: &[&str]| {
            let owned = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
            PolicyRule {
                api_groups: Some(owned(groups)),
                resources: Some(owned(resources)),
                verbs: owned(verbs),
                ..PolicyRule::default()
            }
        };
        let page = role(
            &ObjectMeta::default(),
            &[
                rule(&[""], &["pods", "pods/log"], &["get"]),
                rule(&["apps"], &["sets"], &["*"]),
                rule(&[""], &["pods"], &["list"]),
            ],
        );
        let text = page.finish();
        let shown: Vec<Vec<&str>> = text.lines().skip(6).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            shown,
            [
                vec!["sets.apps", "[]", "[]", "[*]"],
                vec!["pods", "[]", "[]", "[get", "list]"],
                vec!["pods/log", "[]", "[]", "[get]"]
            ]
        );
    }
}
