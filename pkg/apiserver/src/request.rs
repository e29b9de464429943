// SPDX-License-Identifier: Apache-2.0
//! What a request asks for, read from its method and path alone.
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris>

use std::time::Instant;

use http::Method;
use knarr_auth::{Attributes, Fields, UserInfo};
use knarr_types::selector::{FieldSelector, LabelSelector};

use crate::query::Query;

/// What is asked, of what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; the method in
    /// lower case for paths that are no resources.
    pub verb: &'static str,
    /// Whether the path is one of a resource.
    pub is_resource: bool,
    /// The group; empty for the core.
    pub group: String,
    /// The version.
    pub version: String,
    /// The namespace; empty for the cluster, or for all namespaces.
    pub namespace: String,
    /// The plural.
    pub resource: String,
    /// The object; empty for a collection.
    pub name: String,
    /// What is below the object: `status`, `log`; further parts of the path stay in it (`proxy/a/b`).
    pub subresource: String,
    /// The whole path.
    pub path: String,
    /// The field selector of a collection.
    pub fields: String,
    /// The one object that the field selector selects by name, if it does.
    pub selected: String,
}

/// A request whose user is known.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// Who asks.
    pub user: UserInfo,
    /// What for.
    pub info: RequestInfo,
    /// The query of its URI.
    pub query: Query,
    /// Its `User-Agent`.
    pub user_agent: String,
    /// Its `Accept`.
    pub accept: String,
    /// Its `Content-Type`.
    pub content_type: String,
    /// Whether a compressed answer is welcome.
    pub gzip: bool,
    /// When it ends.
    pub deadline: Instant,
}

impl RequestInfo {
    /// Reads a request.
    #[must_use]
    pub fn parse(method: &Method, path: &str, query: &Query) -> Self {
        let other = |verb| Self { verb, path: path.to_owned(), ..Self::default() };
        let plain = match *method {
            Method::GET => "get",
            Method::HEAD => "head",
            Method::POST => "post",
            Method::PUT => "put",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            Method::OPTIONS => "options",
            Method::TRACE => "trace",
            _ => "",
        };
        // Parts are short: a look at each letter is quicker than a search.
        let parts: Vec<&str> = path.trim_matches('/').split(['/']).collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return other(plain),
        };
        // The old form of watches: /api/v1/watch/...
        let (watched, rest) = match rest {
            ["watch", rest @ ..] if !rest.is_empty() => (true, rest),
            rest => (false, rest),
        };
        let mut info = Self { group: group.into(), version: version.into(), is_resource: true, ..other("") };
        match rest {
            [] => return other(plain),
            ["namespaces", name] => info.place(name, "namespaces", name, &[]),
            ["namespaces", name, sub @ ("status" | "finalize")] => info.place(name, "namespaces", name, &[*sub]),
            ["namespaces", namespace, resource] => info.place(namespace, resource, "", &[]),
            ["namespaces", namespace, resource, name, sub @ ..] => info.place(namespace, resource, name, sub),
            [resource] => info.place("", resource, "", &[]),
            [resource, name, sub @ ..] => info.place("", resource, name, sub),
        }
        let one = !info.name.is_empty();
        info.verb = match plain {
            "get" | "head" if watched || (!one && query.is_true("watch")) => "watch",
            "get" | "head" => {
                if one {
                    "get"
                } else {
                    "list"
                }
            }
            "post" => "create",
            "put" => "update",
            "delete" if !one => "deletecollection",
            "patch" | "delete" => plain,
            // Nothing else is asked of resources.
            _ => "",
        };
        if watched && one {
            info.subresource.clear();
        }
        if matches!(info.verb, "list" | "watch" | "deletecollection") && !one {
            let labels = query.get("labelSelector").unwrap_or_default();
            // Options of which one cannot be read are taken for none.
            if LabelSelector::parse(labels).is_ok() {
                info.select(query.get("fieldSelector").unwrap_or_default());
            }
        }
        info
    }

    /// Whether a path names an old form of requests and nothing that it is about: upstream fails at such.
    #[must_use]
    pub fn is_undetermined(path: &str) -> bool {
        let path = path.trim_matches('/');
        // Most paths are told apart by their ends.
        if !path.ends_with("/watch") && !path.ends_with("/proxy") {
            return false;
        }
        let parts: Vec<&str> = path.split('/').collect();
        matches!(parts.as_slice(), ["api", _, "watch" | "proxy"] | ["apis", _, _, "watch" | "proxy"])
    }

    /// Remembers the field selector of a collection: authorizers look at it.
    fn select(&mut self, text: &str) {
        self.fields = text.to_owned();
        if self.verb == "deletecollection" || !text.contains("metadata.name") {
            return;
        }
        let selector = FieldSelector::parse(text).unwrap_or_default();
        if let Some(name) =
            selector.exactly("metadata.name").filter(|n| !matches!(*n, "." | "..") && !n.contains(['/', '%']))
        {
            self.selected = name.to_owned();
        }
    }

    fn place(&mut self, namespace: &str, resource: &str, name: &str, below: &[&str]) {
        self.namespace = namespace.into();
        self.resource = resource.into();
        self.name = name.into();
        self.subresource = below.join("/");
    }

    /// The first part of what is below the object.
    #[must_use]
    pub fn below(&self) -> &str {
        self.subresource.split('/').next().unwrap_or_default()
    }

    /// What an authorizer looks at.
    #[must_use]
    pub fn attributes(&self) -> Attributes<'_> {
        if !self.is_resource {
            return Attributes { verb: self.verb, path: &self.path, ..Attributes::default() };
        }
        Attributes {
            verb: self.verb,
            group: &self.group,
            resource: &self.resource,
            subresource: self.below(),
            namespace: &self.namespace,
            name: if self.name.is_empty() { &self.selected } else { &self.name },
            path: "",
            fields: Fields::Text(&self.fields),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_say_what_is_asked() {
        for (method, uri, want) in [
            (Method::GET, "/api/v1/pods", "list  v1  pods  "),
            (Method::GET, "/api/v1/pods?watch=true", "watch  v1  pods  "),
            (Method::GET, "/api/v1/namespaces/n/pods/p/log", "get  v1 n pods p log"),
            (Method::OPTIONS, "/api/v1/namespaces/n/pods", "  v1 n pods  "),
            (Method::GET, "/api/v1/namespaces/n/namespaces/m", "get  v1 n namespaces m "),
            (Method::POST, "/apis/apps/v1/namespaces/n/deployments", "create apps v1 n deployments  "),
            (Method::PUT, "/api/v1/namespaces/n", "update  v1 n namespaces n "),
            (Method::PUT, "/api/v1/namespaces/n/finalize", "update  v1 n namespaces n finalize"),
            (Method::DELETE, "/api/v1/namespaces/n/pods", "deletecollection  v1 n pods  "),
            (Method::DELETE, "/api/v1/nodes/a", "delete  v1  nodes a "),
            (Method::GET, "/api/v1/watch/namespaces/n/pods", "watch  v1 n pods  "),
            (Method::GET, "/api/v1/namespaces/n/services/s/proxy/a/b", "get  v1 n services s proxy/a/b"),
        ] {
            let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
            let i = RequestInfo::parse(&method, path, &Query::parse(query));
            let got = [i.verb, &i.group, &i.version, &i.namespace, &i.resource, &i.name, &i.subresource].join(" ");
            assert_eq!(got, want, "{method} {uri}");
            assert!(i.is_resource);
        }
        for path in ["/api/v1/watch", "/api/v1/proxy/", "/apis/apps/v1/watch"] {
            assert!(RequestInfo::is_undetermined(path), "{path}");
        }
        for path in ["/api/v1/pods", "/api/v1/watch/pods", "/watch", "/apis/watch"] {
            assert!(!RequestInfo::is_undetermined(path), "{path}");
        }
        for path in ["/", "/healthz", "/api", "/api/v1", "/apis/apps/v1", "/openapi/v3"] {
            let info = RequestInfo::parse(&Method::GET, path, &Query::default());
            assert_eq!((info.is_resource, info.verb), (false, "get"), "{path}");
        }
    }
}
