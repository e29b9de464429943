// SPDX-License-Identifier: Apache-2.0
//! Whether somebody's rules contain others: nobody may give away what they do not hold.
//! <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping>

use std::collections::BTreeSet;

use super::rule::{Rule, url_covers};

/// The parts of `wanted` that `held` does not contain, in the smallest parts there are: one verb on one
/// resource (of one name), or on one path.
#[must_use]
pub fn missing(held: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    wanted.iter().flat_map(parts).filter(|part| !held.iter().any(|rule| covers(rule, part))).collect()
}

/// The same parts in fewer rules, as lines for a message: what is alike but for the verb goes together.
#[must_use]
pub fn lines(parts: Vec<Rule>) -> BTreeSet<String> {
    let mut together: Vec<Rule> = Vec::new();
    for part in parts {
        let alike = |rule: &&mut Rule| {
            part.non_resource_urls.is_empty()
                && rule.api_groups == part.api_groups
                && rule.resources == part.resources
                && rule.resource_names == part.resource_names
        };
        match together.iter_mut().find(alike) {
            Some(rule) => {
                for verb in part.verbs {
                    if !rule.verbs.contains(&verb) {
                        rule.verbs.push(verb);
                    }
                }
            }
            None => together.push(part),
        }
    }
    together.iter().map(ToString::to_string).collect()
}

/// A rule taken apart.
fn parts(rule: &Rule) -> Vec<Rule> {
    let names = if rule.resource_names.is_empty() {
        vec![Vec::new()]
    } else {
        rule.resource_names.iter().map(|name| vec![name.clone()]).collect()
    };
    let mut parts = Vec::new();
    for group in &rule.api_groups {
        for resource in &rule.resources {
            for verb in &rule.verbs {
                parts.extend(names.iter().map(|names| Rule {
                    verbs: vec![verb.clone()],
                    api_groups: vec![group.clone()],
                    resources: vec![resource.clone()],
                    resource_names: names.clone(),
                    ..Rule::default()
                }));
            }
        }
    }
    for url in &rule.non_resource_urls {
        parts.extend(rule.verbs.iter().map(|verb| Rule {
            verbs: vec![verb.clone()],
            non_resource_urls: vec![url.clone()],
            ..Rule::default()
        }));
    }
    parts
}

fn covers(held: &Rule, part: &Rule) -> bool {
    let all = |held: &[String], wanted: &[String]| {
        held.iter().any(|one| one == "*") || wanted.iter().all(|one| held.contains(one))
    };
    let resource = |wanted: &String| {
        let of_any = wanted.split_once('/').map(|(_, below)| format!("*/{below}"));
        held.resources.contains(wanted) || of_any.is_some_and(|any| held.resources.contains(&any))
    };
    let resources = held.resources.iter().any(|one| one == "*") || part.resources.iter().all(resource);
    let names = held.resource_names.is_empty()
        || (!part.resource_names.is_empty() && part.resource_names.iter().all(|n| held.resource_names.contains(n)));
    all(&held.verbs, &part.verbs)
        && all(&held.api_groups, &part.api_groups)
        && resources
        && names
        && part.non_resource_urls.iter().all(|path| held.non_resource_urls.iter().any(|url| url_covers(url, path)))
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;
    use proptest::prelude::*;

    use super::*;
    use crate::Attributes;

    fn rules(value: knarr_types::tree::Value) -> Vec<Rule> {
        knarr_types::tree::from_value(value).unwrap()
    }

    #[test]
    fn what_is_not_held_is_named_in_few_lines() {
        let held = rules(json!([
            {"apiGroups": [""], "resources": ["pods", "*/scale"], "verbs": ["get"]},
            {"nonResourceURLs": ["/api/*"], "verbs": ["get"]},
        ]));
        for (wanted, want) in [
            (json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]), vec![]),
            (json!([{"apiGroups": [""], "resources": ["x/scale"], "resourceNames": ["a"], "verbs": ["get"]}]), vec![]),
            (json!([{"nonResourceURLs": ["/api/v1"], "verbs": ["get"]}]), vec![]),
            (
                json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]),
                vec![r#"{APIGroups:[""], Resources:["pods"], Verbs:["list" "watch"]}"#],
            ),
            (
                json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}, {"nonResourceURLs": ["*"], "verbs": ["*"]}]),
                vec![r#"{APIGroups:["*"], Resources:["*"], Verbs:["*"]}"#, r#"{NonResourceURLs:["*"], Verbs:["*"]}"#],
            ),
        ] {
            let got: Vec<_> = lines(missing(&held, &rules(wanted.clone()))).into_iter().collect();
            assert_eq!(got, want, "{wanted}");
        }
    }

    prop_compose! {
        fn any_rule()(
            verbs in prop::collection::vec(prop::sample::select(vec!["get", "list", "*"]), 1..3),
            groups in prop::collection::vec(prop::sample::select(vec!["", "apps", "*"]), 1..3),
            resources in prop::collection::vec(prop::sample::select(vec!["a", "b", "a/s", "*/s", "*"]), 1..3),
            names in prop::collection::vec(prop::sample::select(vec!["x", "y"]), 0..2),
        ) -> Rule {
            let own = |list: Vec<&str>| list.into_iter().map(str::to_owned).collect();
            Rule { verbs: own(verbs), api_groups: own(groups), resources: own(resources),
                   resource_names: own(names), ..Rule::default() }
        }
    }

    proptest! {
        #[test]
        fn who_holds_all_of_a_role_may_do_all_that_it_allows(
            held in prop::collection::vec(any_rule(), 0..4), wanted in prop::collection::vec(any_rule(), 1..3),
        ) {
            prop_assert!(missing(&wanted, &wanted).is_empty());
            if missing(&held, &wanted).is_empty() {
                for verb in ["get", "list"] { for group in ["", "apps"] { for (resource, subresource) in
                    [("a", ""), ("b", ""), ("a", "s"), ("b", "s")] { for name in ["", "x", "y"] {
                    let asked = Attributes { verb, group, resource, subresource, name, ..Attributes::default() };
                    let by = |rules: &[Rule]| rules.iter().any(|rule| rule.allows(&asked));
                    prop_assert!(!by(&wanted) || by(&held), "{asked:?}");
                }}}}
            }
        }
    }
}
