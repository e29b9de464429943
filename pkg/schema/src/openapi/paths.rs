// SPDX-License-Identifier: Apache-2.0
//! The operations on the objects of a kind: which paths there are, and what each is called, takes and gives.
//!
//! Names and words are upstream's, as clients are generated from them: `k8s.io/apiserver/pkg/endpoints` for built-in
//! kinds, `k8s.io/apiextensions-apiserver/pkg/controller/openapi` for custom ones, which have neither protobuf nor the
//! old paths of watches.

use std::sync::Arc;

use knarr_types::tree::{Value, json};

use super::names::{api_name, operation_name, tag, title};
use super::operation::{Body, Operation, Route};
use super::parameters::{self, Parameter, named};
use super::schema::Schemas;
use crate::kinds::{Kind, Subresource};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const ANYTHING: &[&str] = &["*/*"];
/// What objects are written in.
pub(super) const OBJECT: &[&str] = &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
const CUSTOM: &[&str] = &["application/json", "application/yaml"];
const LOG: &[&str] = &["text/plain", "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
const COLLECTION: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];
const PATCHES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];
/// Clients choose the form of a patch by what is listed: a custom object has no strategies.
const CUSTOM_PATCHES: &[&str] =
    &["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"];
/// What a proxy passes on.
const PROXIED: &[&str] = &["get", "put", "post", "delete", "options", "head", "patch"];

/// What is done with objects.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    List,
    Create,
    DeleteCollection,
    Get,
    Update,
    Patch,
    Delete,
    WatchList,
    Watch,
    Connect(&'static str),
}

/// Plans the paths of one kind.
struct Planner<'a> {
    kind: &'a Kind,
    tag: Arc<str>,
    /// `CoreV1`.
    api: String,
    schemas: &'a mut Schemas,
}

/// All paths of a kind, with the schemas of what they take and give.
pub(super) fn of_kind(kind: &Kind, schemas: &mut Schemas) -> Vec<Route> {
    let api = api_name(&kind.group, &kind.version);
    let mut planner = Planner { kind, tag: tag(&kind.group, &kind.version).into(), api, schemas };
    let root = super::root(&kind.group, &kind.version);
    let scope = if kind.namespaced { "namespaces/{namespace}/" } else { "" };
    let resource = &kind.resource;
    let object = format!("{root}/{scope}{resource}/{{name}}");
    let mut routes = vec![
        planner.route(
            format!("{root}/{scope}{resource}"),
            None,
            "",
            &[Action::List, Action::Create, Action::DeleteCollection],
        ),
        planner.route(object.clone(), None, "", &[Action::Get, Action::Update, Action::Patch, Action::Delete]),
    ];
    for sub in &kind.subresources {
        let path = format!("{object}/{}", sub.name);
        let actions = actions_below(sub);
        if sub.name.as_ref() == "proxy" {
            routes.push(planner.route(format!("{path}/{{path}}"), Some(sub), "WithPath", &actions));
        }
        routes.push(planner.route(path, Some(sub), "", &actions));
    }
    if kind.namespaced && kind.has_verb("list") {
        routes.push(planner.route(format!("{root}/{resource}"), None, EVERYWHERE, &[Action::List]));
    }
    if kind.has_verb("watch") && kind.custom.is_none() {
        routes.push(planner.route(format!("{root}/watch/{scope}{resource}"), None, "", &[Action::WatchList]));
        routes.push(planner.route(format!("{root}/watch/{scope}{resource}/{{name}}"), None, "", &[Action::Watch]));
        if kind.namespaced {
            routes.push(planner.route(format!("{root}/watch/{resource}"), None, EVERYWHERE, &[Action::WatchList]));
        }
    }
    routes.retain(|route| !route.operations.is_empty());
    routes
}

const EVERYWHERE: &str = "ForAllNamespaces";

fn actions_below(sub: &Subresource) -> Vec<Action> {
    match &*sub.name {
        "proxy" => PROXIED.iter().copied().map(Action::Connect).collect(),
        "exec" | "attach" | "portforward" => vec![Action::Connect("get"), Action::Connect("post")],
        _ => vec![Action::Get, Action::Update, Action::Patch, Action::Create],
    }
}

impl Action {
    /// By which `Kind::verbs` allow it.
    fn verb(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Create => "create",
            Self::DeleteCollection => "deletecollection",
            Self::Get => "get",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::WatchList | Self::Watch => "watch",
            Self::Connect(_) => "",
        }
    }

    /// The method, `x-kubernetes-action`, and what names and words begin with.
    fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::List => ("get", "list", "list"),
            Self::Create => ("post", "post", "create"),
            Self::DeleteCollection => ("delete", "deletecollection", "delete"),
            Self::Get => ("get", "get", "read"),
            Self::Update => ("put", "put", "replace"),
            Self::Patch => ("patch", "patch", "patch"),
            Self::Delete => ("delete", "delete", "delete"),
            Self::WatchList => ("get", "watchlist", "watch"),
            Self::Watch => ("get", "watch", "watch"),
            Self::Connect(method) => (method, "connect", "connect"),
        }
    }

    fn takes_list_options(self) -> bool {
        matches!(self, Self::List | Self::WatchList | Self::Watch)
    }
}

impl Planner<'_> {
    fn route(&mut self, path: String, sub: Option<&Subresource>, suffix: &str, actions: &[Action]) -> Route {
        let verbs = sub.map_or(&self.kind.verbs, |sub| &sub.verbs);
        let allowed =
            |action: &&Action| matches!(action, Action::Connect(_)) || verbs.iter().any(|v| **v == *action.verb());
        let actions: Vec<Action> = actions.iter().filter(allowed).copied().collect();
        let operations = actions.into_iter().map(|action| self.operation(action, &path, sub, suffix)).collect();
        Route { path, operations }
    }

    fn operation(&mut self, action: Action, path: &str, sub: Option<&Subresource>, suffix: &str) -> Operation {
        let (method, said, _) = action.words();
        let object = self.object(sub);
        let custom = self.kind.custom.is_some();
        let streams = matches!(action, Action::Connect(_));
        let body = match action {
            Action::Create | Action::Update => Some(Body { schema: object.clone(), required: true }),
            Action::Patch => Some(Body { schema: self.meta("Patch"), required: true }),
            Action::Delete => Some(Body { schema: self.meta("DeleteOptions"), required: false }),
            Action::DeleteCollection if !custom => Some(Body { schema: self.meta("DeleteOptions"), required: false }),
            _ => None,
        };
        let codes: &[u16] = match action {
            Action::Create => &[200, 201, 202],
            Action::Update => &[200, 201],
            Action::Patch if !custom => &[200, 201],
            Action::Delete => &[200, 202],
            _ => &[200],
        };
        Operation {
            method,
            id: self.id(action, sub, suffix),
            tag: Arc::clone(&self.tag),
            description: self.description(action, sub),
            action: Some((said, self.kind_name(sub))),
            parameters: self.parameters(action, path, sub),
            body,
            consumes: match (action, custom) {
                (Action::Patch, true) => CUSTOM_PATCHES,
                (Action::Patch, false) => PATCHES,
                (_, true) => CUSTOM,
                (_, false) => ANYTHING,
            },
            produces: match action {
                _ if streams => ANYTHING,
                _ if custom => CUSTOM,
                _ if is_log(sub) => LOG,
                _ if action.takes_list_options() => COLLECTION,
                _ => OBJECT,
            },
            codes,
            answer: self.answer(action, object, streams || is_log(sub)),
        }
    }

    /// `readCoreV1NamespacedPodLog`.
    fn id(&self, action: Action, sub: Option<&Subresource>, suffix: &str) -> String {
        let (_, _, verb) = action.words();
        let before = match action {
            Action::DeleteCollection => "Collection".to_owned(),
            Action::Connect(method) => title(method),
            _ => String::new(),
        };
        let namespaced = if self.kind.namespaced && suffix != EVERYWHERE { "Namespaced" } else { "" };
        let below = sub.map(|sub| title(&sub.name)).unwrap_or_default();
        let list = if action == Action::WatchList { "List" } else { "" };
        let rest = operation_name(&format!("{before}{namespaced}{}{below}{list}{suffix}", self.kind.kind), true);
        format!("{verb}{}{rest}", self.api)
    }

    fn description(&self, action: Action, sub: Option<&Subresource>) -> String {
        let kind = &self.kind.kind;
        let article = article(kind);
        let below = sub.map_or_else(String::new, |sub| format!("{} of ", sub.name));
        match action {
            Action::List if self.kind.custom.is_none() && self.kind.has_verb("watch") => {
                format!("list or watch objects of kind {kind}")
            }
            Action::List => format!("list objects of kind {kind}"),
            Action::Create => format!("create {below}{article}{kind}"),
            Action::DeleteCollection => format!("delete collection of {kind}"),
            Action::Get => format!("read {below}the specified {kind}"),
            Action::Update => format!("replace {below}the specified {kind}"),
            Action::Patch => format!("partially update {below}the specified {kind}"),
            Action::Delete => format!("delete {article}{kind}"),
            Action::WatchList => format!(
                "watch individual changes to a list of {kind}. deprecated: use the 'watch' parameter with a list operation instead."
            ),
            Action::Watch => format!(
                "watch changes to an object of kind {kind}. deprecated: use the 'watch' parameter with a list operation \
                 instead, filtered to a single item with the 'fieldSelector' parameter."
            ),
            Action::Connect(method) => format!("connect {} requests to {below}{kind}", method.to_uppercase()),
        }
    }

    /// The kind that is told: of what a path below an object takes. A custom object is its own scale.
    fn kind_name(&self, sub: Option<&Subresource>) -> Value {
        match sub {
            Some(sub) if self.kind.custom.is_none() => {
                json!({ "group": sub.group, "version": sub.version, "kind": sub.kind })
            }
            _ => json!({ "group": self.kind.group, "version": self.kind.version, "kind": self.kind.kind }),
        }
    }

    fn parameters(&self, action: Action, path: &str, sub: Option<&Subresource>) -> Vec<Parameter> {
        let custom = self.kind.custom.is_some();
        let names = match action {
            Action::List | Action::WatchList | Action::Watch => parameters::LIST.to_vec(),
            Action::Create | Action::Update => parameters::WRITE.to_vec(),
            Action::Patch => parameters::PATCH.to_vec(),
            Action::Delete => parameters::DELETE.to_vec(),
            Action::DeleteCollection if custom => parameters::LIST.to_vec(),
            Action::DeleteCollection => parameters::of_delete_collection(),
            Action::Get if custom => vec!["resourceVersion"],
            Action::Get | Action::Connect(_) => sub.map_or(&[][..], |sub| parameters::of_stream(&sub.name)).to_vec(),
        };
        let pretty = (!matches!(action, Action::Connect(_)) && !is_log(sub)).then_some("pretty");
        let in_path = ["{namespace}", "{path}"].into_iter().filter(|part| path.contains(part));
        let place = match (action, sub) {
            (Action::Patch, _) => "patch",
            (Action::Connect(_), Some(sub)) if &*sub.name == "proxy" => &self.kind.resource,
            (_, Some(sub)) => &sub.name,
            _ => "",
        };
        let mut parameters: Vec<_> =
            names.into_iter().chain(pretty).chain(in_path).filter_map(|name| named(name, place)).collect();
        if path.contains("{name}") {
            let kind = sub.filter(|_| !custom).map_or(&self.kind.kind, |sub| &sub.kind);
            parameters.push(Parameter::object_name(kind));
        }
        parameters
    }

    fn answer(&mut self, action: Action, object: Value, text: bool) -> Value {
        match action {
            _ if text => json!({ "type": "string" }),
            Action::List => self.schemas.list(self.kind).unwrap_or(object),
            Action::Watch | Action::WatchList => self.meta("WatchEvent"),
            Action::DeleteCollection => self.meta("Status"),
            Action::Delete if self.kind.deletes_with_status() => self.meta("Status"),
            _ => object,
        }
    }

    /// What is at a path.
    fn object(&mut self, sub: Option<&Subresource>) -> Value {
        let other = match sub.map(|sub| &*sub.kind) {
            Some("Scale") => self.schemas.published("io.k8s.api.autoscaling.v1.Scale"),
            Some("Eviction") => self.schemas.published("io.k8s.api.policy.v1.Eviction"),
            Some("Binding") => self.schemas.published("io.k8s.api.core.v1.Binding"),
            Some("TokenRequest") => self.schemas.published("io.k8s.api.authentication.v1.TokenRequest"),
            _ => None,
        };
        other.unwrap_or_else(|| self.schemas.kind(self.kind))
    }

    fn meta(&mut self, name: &str) -> Value {
        self.schemas.published(&format!("{META}.{name}")).unwrap_or_else(|| json!({ "type": "object" }))
    }
}

fn is_log(sub: Option<&Subresource>) -> bool {
    sub.is_some_and(|sub| &*sub.name == "log")
}

/// `a ` or `an `; plurals have none.
fn article(noun: &str) -> &'static str {
    if noun.ends_with('s') && !noun.ends_with("ss") {
        return "";
    }
    if noun.starts_with(['a', 'e', 'i', 'o', 'u', 'A', 'E', 'I', 'O', 'U']) { "an " } else { "a " }
}
