// SPDX-License-Identifier: Apache-2.0
//! Webhooks as their configurations describe them.

use std::sync::Arc;
use std::time::Duration;

use knarr_types::Object;
use knarr_types::tree::Value;

use super::endpoint::Endpoint;

/// One webhook.
#[derive(Clone, Debug)]
pub(super) struct Hook {
    pub name: String,
    pub endpoint: Endpoint,
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
        let versions = entry["admissionReviewVersions"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let known = versions.filter_map(|v| ["v1", "v1beta1"].into_iter().find(|k| *k == v));
        let list = |field: &str| entry[field].as_array().cloned().unwrap_or_default();
        Self {
            name: text(&entry["name"]),
            endpoint: Endpoint::read(&entry["clientConfig"]),
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
}

/// The webhooks of all configurations: by the configuration's name, then as listed.
pub(super) fn read_all(mut configurations: Vec<Arc<Object>>) -> Vec<Hook> {
    let name = |o: &Arc<Object>| o["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    configurations.sort_by_key(name);
    configurations.iter().flat_map(|c| c["webhooks"].as_array().into_iter().flatten()).map(Hook::read).collect()
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn hooks_come_by_the_name_of_their_configuration() {
        let configuration =
            |name: &str| Arc::new(json!({"metadata": {"name": name}, "webhooks": [{"name": format!("{name}.1")}]}));
        let names: Vec<_> =
            read_all(vec![configuration("b"), configuration("a")]).into_iter().map(|h| h.name).collect();
        assert_eq!(names, ["a.1", "b.1"]);
    }
}
