// SPDX-License-Identifier: Apache-2.0
//! Names inside a pod: its resolv.conf, its /etc/hosts and its host name.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;

use crate::join::Cluster;

/// What a resolver file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolver {
    /// Servers.
    pub nameservers: Vec<String>,
    /// Domains to try.
    pub searches: Vec<String>,
    /// `name` or `name:value`.
    pub options: Vec<String>,
}

impl Resolver {
    /// Reads a resolv.conf; what it does not know is left out.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut resolver = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let keyword = words.next();
            let rest = words.map(str::to_owned);
            match keyword {
                Some("nameserver") => resolver.nameservers.extend(rest.take(1)),
                Some("search" | "domain") => resolver.searches = rest.collect(),
                Some("options") => resolver.options.extend(rest),
                _ => {}
            }
        }
        resolver
    }

    /// What pods can use of the host's: addresses of its loopback lead nowhere in a pod. Where the host has nothing else,
    /// because systemd-resolved answers there, they get the servers that systemd asks.
    #[must_use]
    pub fn for_pods(self, of_systemd: impl FnOnce() -> Option<Self>) -> Self {
        let usable = |resolver: &Self| {
            resolver.nameservers.iter().any(|server| !server.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()))
        };
        if self.nameservers.is_empty() || usable(&self) {
            return self;
        }
        of_systemd().filter(usable).unwrap_or(self)
    }

    /// As a resolv.conf.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        if !self.searches.is_empty() {
            text.push_str(&format!("search {}\n", self.searches.join(" ")));
        }
        for server in &self.nameservers {
            text.push_str(&format!("nameserver {server}\n"));
        }
        if !self.options.is_empty() {
            text.push_str(&format!("options {}\n", self.options.join(" ")));
        }
        text
    }
}

/// The pod's resolver, by its dnsPolicy and dnsConfig.
#[must_use]
pub fn resolver(pod: &Pod, host: &Resolver, cluster: &Cluster) -> Resolver {
    let spec = pod.spec.as_ref();
    let host_network = spec.and_then(|spec| spec.host_network) == Some(true);
    let policy = spec.and_then(|spec| spec.dns_policy.as_deref()).unwrap_or("ClusterFirst");
    let mut resolver = match (policy, host_network) {
        ("None", _) => Resolver::default(),
        ("ClusterFirstWithHostNet", _) | ("ClusterFirst", false) => in_cluster(pod, host, cluster),
        _ => host.clone(),
    };
    if let Some(config) = spec.and_then(|spec| spec.dns_config.as_ref()) {
        extend(&mut resolver.nameservers, config.nameservers.iter().flatten());
        extend(&mut resolver.searches, config.searches.iter().flatten());
        for option in config.options.iter().flatten() {
            let name = option.name.clone().unwrap_or_default();
            resolver.options.retain(|other| other.split(':').next() != Some(name.as_str()));
            let value = option.value.as_deref().filter(|value| !value.is_empty());
            resolver.options.push(value.map_or(name.clone(), |value| format!("{name}:{value}")));
        }
    }
    resolver
}

/// The host name of the pod, and whether it is qualified (`setHostnameAsFQDN`).
#[must_use]
pub fn hostname(pod: &Pod, cluster: &Cluster) -> String {
    let spec = pod.spec.as_ref();
    let short = short_name(pod);
    let qualified = spec.and_then(|spec| spec.set_hostname_as_fqdn) == Some(true);
    match domain(pod, cluster) {
        Some(domain) if qualified => format!("{short}.{domain}"),
        _ => short,
    }
}

/// The pod's /etc/hosts; `host_file` is the host's, for pods in its network.
#[must_use]
pub fn hosts(pod: &Pod, addresses: &[IpAddr], host_file: Option<&str>, cluster: &Cluster) -> String {
    let mut text = match host_file {
        Some(file) => format!("# Kubernetes-managed hosts file (host network).\n{file}"),
        None => "# Kubernetes-managed hosts file.\n\
                 127.0.0.1\tlocalhost\n\
                 ::1\tlocalhost ip6-localhost ip6-loopback\n\
                 fe00::0\tip6-localnet\n\
                 fe00::0\tip6-mcastprefix\n\
                 fe00::1\tip6-allnodes\n\
                 fe00::2\tip6-allrouters\n"
            .to_owned(),
    };
    if host_file.is_none() {
        let short = short_name(pod);
        for address in addresses {
            match domain(pod, cluster) {
                Some(domain) => text.push_str(&format!("{address}\t{short}.{domain}\t{short}\n")),
                None => text.push_str(&format!("{address}\t{short}\n")),
            }
        }
    }
    let aliases: Vec<_> = pod.spec.iter().flat_map(|spec| spec.host_aliases.iter().flatten()).collect();
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
        for alias in aliases {
            let names = alias.hostnames.clone().unwrap_or_default();
            text.push_str(&format!("{}\t{}\n", alias.ip, names.join("\t")));
        }
    }
    text
}

fn short_name(pod: &Pod) -> String {
    if let Some(name) = hostname_override(pod) {
        return name.to_owned();
    }
    let name = pod.spec.as_ref().and_then(|spec| spec.hostname.clone()).filter(|name| !name.is_empty());
    let name = name.or_else(|| pod.metadata.name.clone()).unwrap_or_default();
    // A host name has 63 characters, a pod's name may have more.
    let cut: String = name.chars().take(63).collect();
    cut.trim_end_matches(['-', '.']).to_owned()
}

/// What its containers call the host, whatever its name in DNS is (`hostnameOverride`).
fn hostname_override(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.hostname_override.as_deref().filter(|name| !name.is_empty())
}

/// `subdomain.namespace.svc.cluster.local`, for pods with a subdomain.
fn domain(pod: &Pod, cluster: &Cluster) -> Option<String> {
    if hostname_override(pod).is_some() {
        return None;
    }
    let subdomain = pod.spec.as_ref()?.subdomain.as_deref().filter(|name| !name.is_empty())?;
    Some(format!("{subdomain}.{}.svc.{}", namespace(pod), cluster.cluster_domain))
}

fn in_cluster(pod: &Pod, host: &Resolver, cluster: &Cluster) -> Resolver {
    let domain = &cluster.cluster_domain;
    let mut searches = vec![format!("{}.svc.{domain}", namespace(pod)), format!("svc.{domain}"), domain.clone()];
    extend(&mut searches, &host.searches);
    Resolver {
        nameservers: cluster.cluster_dns.split(',').map(|server| server.trim().to_owned()).collect(),
        searches,
        options: vec!["ndots:5".to_owned()],
    }
}

fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or("default")
}

fn extend<'a>(list: &mut Vec<String>, more: impl IntoIterator<Item = &'a String>) {
    for item in more {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: serde_json::Value) -> Pod {
        let mut spec = spec;
        spec["containers"] = serde_json::json!([]);
        serde_json::from_value(serde_json::json!({"metadata": {"name": "p", "namespace": "n"}, "spec": spec})).unwrap()
    }

    #[test]
    fn the_dns_policy_picks_the_resolver() {
        use serde_json::json;
        let host = Resolver::parse("search corp.example\nnameserver 192.0.2.1\noptions timeout:1\n");
        let cluster = Cluster::default();
        let first = "search n.svc.cluster.local svc.cluster.local cluster.local corp.example\nnameserver 10.43.0.10\noptions ndots:5\n";
        let own = "search corp.example\nnameserver 192.0.2.1\noptions timeout:1\n";
        let cases = [
            (json!({}), first),
            (json!({"dnsPolicy": "Default"}), own),
            (json!({"dnsPolicy": "ClusterFirst", "hostNetwork": true}), own),
            (json!({"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": true}), first),
            (
                json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["192.0.2.9"], "options": [{"name": "ndots", "value": "2"}]}}),
                "nameserver 192.0.2.9\noptions ndots:2\n",
            ),
        ];
        for (spec, expected) in cases {
            assert_eq!(resolver(&pod(spec.clone()), &host, &cluster).render(), expected, "{spec}");
        }
    }

    #[test]
    fn pods_are_given_resolvers_that_they_can_reach() {
        let file = |server: &str| format!("search corp.example\nnameserver {server}\n");
        for (host, of_systemd, given) in [
            ("192.0.2.1", Some("192.0.2.2"), "192.0.2.1"),
            ("127.0.0.53", Some("192.0.2.2"), "192.0.2.2"),
            ("127.0.0.53", Some("127.0.0.1"), "127.0.0.53"),
            ("::1", None, "::1"),
        ] {
            let found =
                Resolver::parse(&file(host)).for_pods(|| of_systemd.map(|server| Resolver::parse(&file(server))));
            assert_eq!(found.render(), file(given), "{host} {of_systemd:?}");
        }
        assert_eq!(Resolver::default().for_pods(|| Some(Resolver::parse(&file("192.0.2.2")))), Resolver::default());
    }

    #[test]
    fn the_host_name_is_the_pods_or_what_it_asks_for() {
        use serde_json::json;
        let long = "x".repeat(70);
        for (spec, name) in [
            (json!({}), "p"),
            (json!({"hostname": "h"}), "h"),
            (json!({"hostname": "h", "subdomain": "s"}), "h"),
            (json!({"hostname": "h", "subdomain": "s", "setHostnameAsFQDN": true}), "h.s.n.svc.cluster.local"),
            (json!({"setHostnameAsFQDN": true}), "p"),
            (json!({"hostname": "h", "subdomain": "s", "hostnameOverride": "over.test"}), "over.test"),
        ] {
            assert_eq!(hostname(&pod(spec.clone()), &Cluster::default()), name, "{spec}");
        }
        let mut cut = pod(json!({}));
        cut.metadata.name = Some(long);
        assert_eq!(hostname(&cut, &Cluster::default()).len(), 63);
        let over = pod(json!({"hostnameOverride": "over.test", "subdomain": "s"}));
        let text = hosts(&over, &["10.42.0.9".parse().unwrap()], None, &Cluster::default());
        assert!(text.ends_with("10.42.0.9\tover.test\n"), "{text}");
    }

    #[test]
    fn hosts_name_the_pod_and_its_aliases() {
        let pod = pod(serde_json::json!({
            "hostname": "h", "subdomain": "s", "hostAliases": [{"ip": "192.0.2.7", "hostnames": ["a", "b"]}]
        }));
        let text = hosts(&pod, &["10.42.0.9".parse().unwrap()], None, &Cluster::default());
        assert!(text.contains("10.42.0.9\th.s.n.svc.cluster.local\th\n"), "{text}");
        assert!(text.ends_with("\n# Entries added by HostAliases.\n192.0.2.7\ta\tb\n"), "{text}");
    }
}
