// SPDX-License-Identifier: Apache-2.0

//! From host and path to the endpoints of a Service: pure, and rebuilt with every snapshot.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::snapshot::{Backend, Ingress, PathKind, PortRef, Service, Snapshot};

/// The rules of all ingresses, by host.
#[derive(Debug, Default)]
pub struct Router {
    exact: HashMap<String, Vec<PathRoute>>,
    /// By what follows the `*`: ".example.org".
    wildcard: HashMap<String, Vec<PathRoute>>,
    every: Vec<PathRoute>,
    default: Option<Arc<Upstream>>,
}

/// Where a request goes: the ready endpoints of a Service's port, possibly none.
#[derive(Debug, PartialEq, Eq)]
pub struct Upstream {
    /// `namespace/service:port`, for messages.
    pub name: String,
    /// The pods.
    pub endpoints: Vec<SocketAddr>,
}

#[derive(Debug)]
struct PathRoute {
    path: String,
    kind: PathKind,
    /// Of an ingress's default backend: for what no rule for the host is about.
    default: bool,
    upstream: Arc<Upstream>,
}

/// Finds where a request for `host` (no port, any case) and `path` goes: the most specific host that has
/// a path for it, of its paths the exact one, else the longest prefix, else the default backend of an ingress with
/// rules for the host; else the default backend for every host.
pub fn route<'a>(router: &'a Router, host: &str, path: &str) -> Option<&'a Arc<Upstream>> {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let suffix = host.find('.').filter(|dot| *dot > 0).map(|dot| &host[dot..]);
    let hosts = [router.exact.get(&host), suffix.and_then(|suffix| router.wildcard.get(suffix)), Some(&router.every)];
    let found = hosts.into_iter().flatten().find_map(|routes| routes.iter().find(|route| route.matches(path)));
    found.map(|route| &route.upstream).or(router.default.as_ref())
}

impl PathRoute {
    fn matches(&self, path: &str) -> bool {
        match self.kind {
            PathKind::Exact => self.path == path,
            PathKind::Prefix => {
                // Element by element: "/foo" and "/foo/" are one prefix, and "/foobar" is not under it.
                let prefix = self.path.trim_end_matches('/');
                path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
    }
}

impl Router {
    /// Rules in order of their ingress's namespace and name: of two for the same host and path the first has it.
    pub fn new(snapshot: &Snapshot) -> Self {
        let services: HashMap<(&str, &str), &Service> =
            snapshot.services.iter().map(|it| ((it.namespace.as_str(), it.name.as_str()), it)).collect();
        let mut ingresses: Vec<&Ingress> = snapshot.ingresses.iter().collect();
        ingresses.sort_by_key(|ingress| (&ingress.namespace, &ingress.name));
        let (mut router, mut for_all) = (Self::default(), false);
        for ingress in ingresses {
            let upstream = |backend: &Backend| Arc::new(resolve(&services, &ingress.namespace, backend));
            let default = ingress.default_backend.as_ref().map(upstream);
            // One that is about no host is meant for all of them.
            if router.default.is_none() || ingress.rules.is_empty() && !for_all {
                router.default = default.clone().or(router.default);
                for_all = ingress.rules.is_empty() && default.is_some();
            }
            for rule in &ingress.rules {
                let routes = rule.paths.iter().map(|path| PathRoute {
                    path: path.path.clone(),
                    kind: path.kind,
                    default: false,
                    upstream: upstream(&path.backend),
                });
                let rest = default.iter().map(|default| PathRoute {
                    path: "/".to_owned(),
                    kind: PathKind::Prefix,
                    default: true,
                    upstream: Arc::clone(default),
                });
                router.host(&rule.host).extend(routes.chain(rest));
            }
        }
        let Self { exact, wildcard, every, .. } = &mut router;
        for routes in exact.values_mut().chain(wildcard.values_mut()).chain([every]) {
            routes.sort_by_key(|route| {
                let length = route.path.trim_end_matches('/').len();
                (route.default, route.kind != PathKind::Exact, Reverse(length))
            });
        }
        router
    }

    fn host(&mut self, host: &str) -> &mut Vec<PathRoute> {
        let host = host.to_ascii_lowercase();
        match host.strip_prefix('*') {
            _ if host.is_empty() => &mut self.every,
            Some(suffix) => self.wildcard.entry(suffix.to_owned()).or_default(),
            None => self.exact.entry(host).or_default(),
        }
    }
}

fn resolve(services: &HashMap<(&str, &str), &Service>, namespace: &str, backend: &Backend) -> Upstream {
    let port_text = match &backend.port {
        PortRef::Number(number) => number.to_string(),
        PortRef::Name(name) => name.clone(),
    };
    let name = format!("{namespace}/{}:{port_text}", backend.service);
    let Some(service) = services.get(&(namespace, backend.service.as_str())) else {
        return Upstream { name, endpoints: Vec::new() };
    };
    let port = service.ports.iter().filter(|port| port.protocol == "TCP").find(|port| match &backend.port {
        PortRef::Number(number) => port.port == *number,
        PortRef::Name(name) => port.name == *name,
    });
    let mut endpoints = Vec::new();
    for endpoint in service.endpoints.iter().filter(|endpoint| endpoint.ready) {
        // Endpoints name the service's ports; their numbers are the pods'.
        let number =
            endpoint.ports.iter().find(|it| port.is_some_and(|port| it.name == port.name && it.protocol == "TCP"));
        if let (Some(port), Some(address)) = (number, endpoint.addresses.first()) {
            endpoints.push(SocketAddr::new(*address, port.port));
        }
    }
    endpoints.sort();
    endpoints.dedup();
    Upstream { name, endpoints }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Endpoint, PathRule, Port, Rule};

    fn snapshot(rules: &[(&str, &str, PathKind, &str)], default: Option<&str>) -> Snapshot {
        let backend = |service: &str| Backend { service: service.to_owned(), port: PortRef::Number(80) };
        let rules = rules.iter().map(|(host, path, kind, service)| Rule {
            host: (*host).to_owned(),
            paths: vec![PathRule { path: (*path).to_owned(), kind: *kind, backend: backend(service) }],
        });
        let ingress = Ingress {
            namespace: "default".to_owned(),
            name: "test".to_owned(),
            default_backend: default.map(backend),
            rules: rules.collect(),
        };
        Snapshot { ingresses: vec![ingress], ..Snapshot::default() }
    }

    #[test]
    fn the_most_specific_host_and_path_wins() {
        use PathKind::{Exact, Prefix};
        let router = Router::new(&snapshot(
            &[
                ("foo.example.org", "/", Prefix, "root"),
                ("foo.example.org", "/a", Prefix, "a"),
                ("foo.example.org", "/a/b/", Prefix, "ab"),
                ("foo.example.org", "/a/b", Exact, "exact"),
                ("*.example.org", "/w", Prefix, "wild"),
                ("", "/any", Prefix, "any"),
            ],
            Some("default"),
        ));
        for (host, path, service) in [
            ("foo.example.org", "/", "root"),
            ("FOO.Example.org.", "/x", "root"),
            ("foo.example.org", "/a", "a"),
            ("foo.example.org", "/a/", "a"),
            ("foo.example.org", "/ab", "root"),
            ("foo.example.org", "/a/b", "exact"),
            ("foo.example.org", "/a/b/c", "ab"),
            ("foo.example.org", "/a/bc", "a"),
            ("bar.example.org", "/w/1", "wild"),
            ("bar.example.org", "/x", "default"),
            ("a.b.example.org", "/w", "default"),
            ("example.org", "/w", "default"),
            (".example.org", "/w", "default"),
            ("else.test", "/any/1", "any"),
            ("", "/any", "any"),
            ("else.test", "/", "default"),
        ] {
            let found = route(&router, host, path).map(|upstream| upstream.name.as_str());
            assert_eq!(found, Some(format!("default/{service}:80").as_str()), "{host}{path}");
        }
    }

    #[test]
    fn a_default_backend_is_first_of_all_for_the_hosts_of_its_ingress() {
        use PathKind::Prefix;
        let named = |name: &str, rules: &[(&str, &str, PathKind, &str)], default: &str| Ingress {
            name: name.to_owned(),
            ..snapshot(rules, Some(default)).ingresses.remove(0)
        };
        let mut all = snapshot(&[("a.test", "/", Prefix, "root")], None);
        all.ingresses[0].name = "z".to_owned();
        all.ingresses.push(named("one", &[("a.test", "/x", Prefix, "x"), ("b.test", "/x", Prefix, "x")], "first"));
        all.ingresses.push(named("two", &[], "every"));
        let router = Router::new(&all);
        for (host, path, service) in
            [("a.test", "/x", "x"), ("a.test", "/y", "root"), ("b.test", "/y", "first"), ("c.test", "/", "every")]
        {
            let found = route(&router, host, path).map(|upstream| upstream.name.as_str());
            assert_eq!(found, Some(format!("default/{service}:80").as_str()), "{host}{path}");
        }
    }

    #[test]
    fn without_a_rule_or_default_there_is_nowhere_to_go() {
        let router = Router::new(&snapshot(&[("foo.example.org", "/a", PathKind::Prefix, "a")], None));
        assert_eq!(route(&router, "foo.example.org", "/b"), None);
        assert_eq!(route(&router, "bar.example.org", "/a"), None);
        assert!(route(&router, "foo.example.org", "/a").unwrap().endpoints.is_empty());
    }

    #[test]
    fn a_backend_is_the_ready_pods_with_the_target_port_of_the_named_port() {
        let port = |name: &str, port| Port { name: name.to_owned(), protocol: "TCP".to_owned(), port };
        let endpoint = |last: u8, ready| Endpoint {
            addresses: vec![format!("10.42.0.{last}").parse().unwrap()],
            hostname: None,
            ready,
            ports: vec![port("web", 8080), port("admin", 9090)],
        };
        let mut snapshot = snapshot(&[], None);
        snapshot.services.push(Service {
            namespace: "default".to_owned(),
            name: "a".to_owned(),
            ports: vec![port("admin", 81), port("web", 80)],
            endpoints: vec![endpoint(3, true), endpoint(2, true), endpoint(4, false)],
            ..Service::default()
        });
        for (port, expected) in [(PortRef::Number(80), 8080), (PortRef::Name("admin".to_owned()), 9090)] {
            snapshot.ingresses[0].default_backend = Some(Backend { service: "a".to_owned(), port });
            let router = Router::new(&snapshot);
            let ports = [2, 3].map(|last| SocketAddr::from(([10, 42, 0, last], expected)));
            assert_eq!(route(&router, "x", "/").unwrap().endpoints, ports);
        }
    }
}
