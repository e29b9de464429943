// SPDX-License-Identifier: Apache-2.0
//! What people type, turned into resources: plurals, singulars, kinds, short names, groups, categories.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList;
use kube::api::ApiResource;

use crate::error::CtlError;

/// A resource of the server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Resource {
    pub api: ApiResource,
    pub namespaced: bool,
    singular: String,
    short_names: Vec<String>,
    categories: Vec<String>,
    pub subresources: Vec<String>,
    pub verbs: Vec<String>,
}

impl Resource {
    /// `deployment.apps`: how kubectl names an object's type in what it prints.
    pub fn qualified(&self) -> String {
        let kind = self.api.kind.to_lowercase();
        if self.api.group.is_empty() { kind } else { format!("{kind}.{}", self.api.group) }
    }

    /// `deployment`
    pub fn singular(&self) -> &str {
        &self.singular
    }

    fn is_called(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        let (plain, group) = name.split_once('.').unwrap_or((name.as_str(), ""));
        let group_fits = group.is_empty()
            || self.api.group == group
            || group.split_once('.').is_some_and(|(v, g)| v == self.api.version && g == self.api.group);
        let named = self.api.plural == plain
            || self.singular == plain
            || self.api.kind.to_lowercase() == plain
            || self.short_names.iter().any(|s| s == plain);
        named && group_fits
    }

    /// Whether the server has this verb for it.
    pub fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }
}

/// All resources of the server; the preferred group and version first.
#[derive(Debug, Default)]
pub(crate) struct Resources {
    all: Vec<Resource>,
}

impl Resources {
    /// Takes in what one group and version serves.
    pub fn add(&mut self, group: &str, version: &str, list: &APIResourceList) {
        for r in list.resources.iter().filter(|r| !r.name.contains('/')) {
            let prefix = format!("{}/", r.name);
            let subresources = list.resources.iter().filter_map(|s| s.name.strip_prefix(&prefix)).map(str::to_owned);
            let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
            let singular = if r.singular_name.is_empty() { r.kind.to_lowercase() } else { r.singular_name.clone() };
            self.all.push(Resource {
                api: ApiResource {
                    group: group.to_owned(),
                    version: version.to_owned(),
                    api_version,
                    kind: r.kind.clone(),
                    plural: r.name.clone(),
                },
                namespaced: r.namespaced,
                singular,
                short_names: r.short_names.clone().unwrap_or_default(),
                categories: r.categories.clone().unwrap_or_default(),
                subresources: subresources.collect(),
                verbs: r.verbs.clone(),
            });
        }
    }

    /// The resource that somebody calls `name`.
    pub fn find(&self, name: &str) -> Result<&Resource, CtlError> {
        self.all
            .iter()
            .find(|r| r.is_called(name))
            .ok_or_else(|| CtlError::usage(format!("the server doesn't have a resource type {name:?}")))
    }

    /// The resource of an object that says what it is.
    pub fn of(&self, api_version: &str, kind: &str) -> Result<&Resource, CtlError> {
        let found = self.all.iter().find(|r| r.api.api_version == api_version && r.api.kind == kind);
        found.ok_or_else(|| {
            CtlError::usage(format!(
                "no matches for kind {kind:?} in version {api_version:?}: ensure CRDs are installed first"
            ))
        })
    }

    /// What a list of types stands for: each may be a type or a category (`all`).
    pub fn find_all(&self, names: &str) -> Result<Vec<&Resource>, CtlError> {
        let mut found: Vec<&Resource> = Vec::new();
        for name in names.split(',').filter(|n| !n.is_empty()) {
            let mut category: Vec<_> = self.all.iter().filter(|r| r.categories.iter().any(|c| c == name)).collect();
            if category.is_empty() {
                category.push(self.find(name)?);
            }
            for resource in category {
                if !found.iter().any(|f| f.api.plural == resource.api.plural && f.api.group == resource.api.group) {
                    found.push(resource);
                }
            }
        }
        Ok(found)
    }
}

/// What is named on a command line.
#[derive(Debug, PartialEq)]
pub(crate) enum Named<'a> {
    /// All objects of these types.
    Types(&'a str),
    /// These objects: type and name.
    Objects(Vec<(&'a str, &'a str)>),
}

/// Reads `TYPE`, `TYPE NAME...`, `TYPE,TYPE NAME...` and `TYPE/NAME...`.
pub(crate) fn named(words: &[String]) -> Result<Named<'_>, CtlError> {
    let [first, rest @ ..] = words else {
        return Err(CtlError::usage("you must say which type of resource: for example `pods` or `deployment/web`"));
    };
    if first.contains('/') {
        let mut objects = Vec::new();
        for word in words {
            match word.split_once('/') {
                Some((type_, name)) if !type_.is_empty() && !name.is_empty() => objects.push((type_, name)),
                _ => return Err(CtlError::usage(format!("{word:?} must be TYPE/NAME, as the first one is"))),
            }
        }
        return Ok(Named::Objects(objects));
    }
    if rest.is_empty() {
        return Ok(Named::Types(first));
    }
    if let Some(odd) = rest.iter().find(|word| word.contains('/')) {
        return Err(CtlError::usage(format!("{odd:?} must be a name: the type {first:?} was given before")));
    }
    let of_type = |type_| rest.iter().map(move |name| (type_, name.as_str()));
    Ok(Named::Objects(first.split(',').filter(|type_| !type_.is_empty()).flat_map(of_type).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn what_is_named_follows_kubectls_forms() {
        assert_eq!(named(&words("pods")).unwrap(), Named::Types("pods"));
        assert_eq!(named(&words("pod a b")).unwrap(), Named::Objects(vec![("pod", "a"), ("pod", "b")]));
        assert_eq!(named(&words("pod,svc a")).unwrap(), Named::Objects(vec![("pod", "a"), ("svc", "a")]));
        assert_eq!(named(&words("pod/a deploy/b")).unwrap(), Named::Objects(vec![("pod", "a"), ("deploy", "b")]));
        for bad in ["", "pod/a b", "pod a/b", "pod/", "/a"] {
            assert!(named(&words(bad)).is_err(), "{bad}");
        }
    }

    fn resources() -> Resources {
        let list = |text| serde_json::from_value::<APIResourceList>(text).unwrap();
        let mut resources = Resources::default();
        resources.add(
            "",
            "v1",
            &list(serde_json::json!({"groupVersion": "v1", "resources": [
                {"name": "pods", "singularName": "pod", "namespaced": true, "kind": "Pod", "verbs": ["get"], "shortNames": ["po"], "categories": ["all"]},
                {"name": "pods/log", "singularName": "", "namespaced": true, "kind": "Pod", "verbs": ["get"]},
                {"name": "events", "singularName": "event", "namespaced": true, "kind": "Event", "verbs": ["get"], "shortNames": ["ev"]},
            ]})),
        );
        resources.add(
            "events.k8s.io",
            "v1",
            &list(serde_json::json!({"groupVersion": "events.k8s.io/v1", "resources": [
                {"name": "events", "singularName": "event", "namespaced": true, "kind": "Event", "verbs": ["get"]},
            ]})),
        );
        resources
    }

    #[test]
    fn resources_answer_to_all_their_names() {
        let resources = resources();
        for name in ["pods", "pod", "po", "Pod"] {
            assert_eq!(resources.find(name).unwrap().api.plural, "pods", "{name}");
        }
        assert_eq!(resources.find("pod").unwrap().subresources, ["log"]);
        assert_eq!(resources.find("ev").unwrap().api.group, "");
        assert_eq!(resources.find("events.events.k8s.io").unwrap().api.group, "events.k8s.io");
        assert!(resources.find("nothing").is_err());
        assert_eq!(resources.find_all("all,ev").unwrap().len(), 2);
    }
}
