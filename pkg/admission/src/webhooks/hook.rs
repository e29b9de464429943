// SPDX-License-Identifier: Apache-2.0
//! Webhooks as their configurations describe them.

use std::time::Duration;

use knarr_types::Object;
use serde_json::Value;

/// Where a webhook is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// At a URL.
    Url(String),
    /// Behind a Service.
    Service { namespace: String, name: String, path: String, port: u16 },
}

/// One webhook.
#[derive(Clone, Debug)]
pub(super) struct Hook {
    pub name: String,
    pub address: Address,
    /// Certificates that sign its own, PEM; the host's where there are none.
    pub authorities: String,
    pub rules: Vec<Value>,
    /// Also requests for other versions of what the rules name.
    pub equivalent: bool,
    pub namespace_selector: Value,
    pub object_selector: Value,
    /// Expressions that must hold for it to be asked: names and texts.
    pub conditions: Vec<(String, String)>,
    /// A webhook that cannot be asked refuses.
    pub fails: bool,
    pub timeout: Duration,
    /// Asked again when others changed the object after it.
    pub again: bool,
    /// May be asked about dry runs.
    pub dry_run: bool,
    /// The newest version of the review that both sides know.
    pub version: &'static str,
}

impl Hook {
    /// Reads one entry of a configuration.
    fn read(entry: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let config = &entry["clientConfig"];
        let service = &config["service"];
        let address = match config["url"].as_str() {
            Some(url) => Address::Url(url.to_owned()),
            None => Address::Service {
                namespace: text(&service["namespace"]),
                name: text(&service["name"]),
                path: text(&service["path"]),
                port: service["port"].as_u64().and_then(|p| u16::try_from(p).ok()).unwrap_or(443),
            },
        };
        let versions = entry["admissionReviewVersions"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let known = versions.filter_map(|v| ["v1", "v1beta1"].into_iter().find(|k| *k == v));
        let list = |field: &str| entry[field].as_array().cloned().unwrap_or_default();
        Self {
            name: text(&entry["name"]),
            address,
            authorities: decoded(config["caBundle"].as_str().unwrap_or_default()),
            rules: list("rules"),
            equivalent: entry["matchPolicy"] != "Exact",
            namespace_selector: entry["namespaceSelector"].clone(),
            object_selector: entry["objectSelector"].clone(),
            conditions: list("matchConditions").iter().map(|c| (text(&c["name"]), text(&c["expression"]))).collect(),
            fails: entry["failurePolicy"] != "Ignore",
            timeout: Duration::from_secs(entry["timeoutSeconds"].as_u64().unwrap_or(10).clamp(1, 30)),
            again: entry["reinvocationPolicy"] == "IfNeeded",
            dry_run: matches!(entry["sideEffects"].as_str(), Some("None" | "NoneOnDryRun")),
            version: known.into_iter().next().unwrap_or("v1"),
        }
    }

    /// The address as messages show it, and as it is asked.
    pub(super) fn url(&self) -> String {
        let base = match &self.address {
            Address::Url(url) => url.clone(),
            Address::Service { namespace, name, path, port } => {
                let slash = if path.starts_with('/') || path.is_empty() { "" } else { "/" };
                format!("https://{name}.{namespace}.svc:{port}{slash}{path}")
            }
        };
        let joint = if base.contains('?') { '&' } else { '?' };
        format!("{base}{joint}timeout={}s", self.timeout.as_secs())
    }
}

fn decoded(base64: &str) -> String {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(base64).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The webhooks of all configurations: by the configuration's name, then as listed.
pub(super) fn read_all(mut configurations: Vec<Object>) -> Vec<Hook> {
    let name = |o: &Object| o["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    configurations.sort_by_key(name);
    configurations.iter().flat_map(|c| c["webhooks"].as_array().into_iter().flatten()).map(Hook::read).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_are_shown_as_they_are_asked() {
        let url = |config: Value| Hook::read(&json!({"clientConfig": config, "timeoutSeconds": 2})).url();
        assert_eq!(url(json!({"url": "https://h/x"})), "https://h/x?timeout=2s");
        let service = json!({"service": {"namespace": "n", "name": "s", "path": "/v"}});
        assert_eq!(url(service), "https://s.n.svc:443/v?timeout=2s");
    }

    #[test]
    fn hooks_come_by_the_name_of_their_configuration() {
        let configuration =
            |name: &str| json!({"metadata": {"name": name}, "webhooks": [{"name": format!("{name}.1")}]});
        let names: Vec<_> =
            read_all(vec![configuration("b"), configuration("a")]).into_iter().map(|h| h.name).collect();
        assert_eq!(names, ["a.1", "b.1"]);
    }
}
