// SPDX-License-Identifier: Apache-2.0
//! Fields of a pod as its containers see them: the downward API, for environment and volumes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;

/// What of a pod is known only on its node.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    /// The pod's own.
    pub pod: Vec<IpAddr>,
    /// The node's.
    pub host: Vec<IpAddr>,
}

/// The value of `fieldRef.fieldPath`; `None` for a path that has none.
#[must_use]
pub fn value(pod: &Pod, addresses: &Addresses, path: &str) -> Option<String> {
    let spec = pod.spec.as_ref();
    let text = |value: Option<&String>| Some(value.cloned().unwrap_or_default());
    let list = |ips: &[IpAddr]| Some(ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
    let first = |ips: &[IpAddr]| Some(ips.first().map(ToString::to_string).unwrap_or_default());
    match path {
        "metadata.name" => text(pod.metadata.name.as_ref()),
        "metadata.namespace" => text(pod.metadata.namespace.as_ref()),
        "metadata.uid" => text(pod.metadata.uid.as_ref()),
        "metadata.labels" => Some(lines(pod.metadata.labels.as_ref())),
        "metadata.annotations" => Some(lines(pod.metadata.annotations.as_ref())),
        "spec.nodeName" => text(spec.and_then(|spec| spec.node_name.as_ref())),
        "spec.serviceAccountName" => text(spec.and_then(|spec| spec.service_account_name.as_ref())),
        "status.podIP" => first(&addresses.pod),
        "status.podIPs" => list(&addresses.pod),
        "status.hostIP" => first(&addresses.host),
        "status.hostIPs" => list(&addresses.host),
        _ => subscript(pod, path),
    }
}

/// `metadata.labels['key']` and `metadata.annotations['key']`.
fn subscript(pod: &Pod, path: &str) -> Option<String> {
    let (map, key) = path.strip_suffix("']")?.split_once("['")?;
    let map = match map {
        "metadata.labels" => pod.metadata.labels.as_ref(),
        "metadata.annotations" => pod.metadata.annotations.as_ref(),
        _ => return None,
    };
    Some(map.and_then(|map| map.get(key)).cloned().unwrap_or_default())
}

/// One `key="value"` a line, the value quoted as Go quotes it.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let one = |(key, value): (&String, &String)| format!("{key}={}", serde_json::Value::from(value.as_str()));
    map.into_iter().flatten().map(one).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_the_downward_api_has_a_value() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"a": "b \"c\"", "d": "e"}},
            "spec": {"containers": [], "nodeName": "node", "serviceAccountName": "sa"}
        }))
        .unwrap();
        let ip: IpAddr = "10.42.0.2".parse().unwrap();
        let addresses = Addresses { pod: vec![ip, "fd00::2".parse().unwrap()], host: vec![] };
        let cases = [
            ("metadata.name", Some("p")),
            ("metadata.labels['a']", Some("b \"c\"")),
            ("metadata.labels['x']", Some("")),
            ("metadata.labels", Some("a=\"b \\\"c\\\"\"\nd=\"e\"")),
            ("spec.serviceAccountName", Some("sa")),
            ("status.podIP", Some("10.42.0.2")),
            ("status.podIPs", Some("10.42.0.2,fd00::2")),
            ("status.hostIP", Some("")),
            ("spec.other", None),
        ];
        for (path, expected) in cases {
            assert_eq!(value(&pod, &addresses, path).as_deref(), expected, "{path}");
        }
    }
}
