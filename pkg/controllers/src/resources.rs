// SPDX-License-Identifier: Apache-2.0
//! The resources whose objects can be listed, watched and deleted: the built-in ones, read once, and those of
//! definitions as they come and go.

use std::sync::Arc;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroupList, APIResourceList};
use knarr_client::Client;
use knarr_client::cache::{Cache, Change, Selection};
use kube::api::{Api, ApiResource, DynamicObject};

use crate::queue::Queue;

/// A kind of object, and how it is reached.
#[derive(Clone, Debug, PartialEq)]
pub struct Followed {
    /// How it is reached.
    pub api: ApiResource,
    /// Whether it lives in namespaces.
    pub namespaced: bool,
}

impl Followed {
    /// Whether it is this kind of this group, in whatever version.
    #[must_use]
    pub fn is(&self, group: &str, kind: &str) -> bool {
        self.api.group == group && self.api.kind == kind
    }
}

/// All of them, as they are now.
#[derive(Clone)]
pub struct Resources {
    builtin: Arc<[Followed]>,
    defined: Cache<Option<Followed>>,
}

impl Resources {
    /// Reads the built-in ones, follows the definitions, and puts the name of each that changes into `changed`.
    ///
    /// # Errors
    /// When the API's discovery cannot be read.
    pub async fn start(client: &Client, changed: &Queue) -> kube::Result<Self> {
        let resource = ApiResource::erase::<CustomResourceDefinition>(&());
        let queue = changed.clone();
        let tell = move |change: &Change<Option<Followed>>| queue.add(change.object.clone());
        let api = Api::<DynamicObject>::all_with(client.clone(), &resource);
        let defined = Cache::start(api, Selection::default(), of_definition, tell);
        defined.synced().await;
        let mut builtin = discover(client).await?;
        let known = defined.list();
        builtin.retain(|r| !known.iter().any(|(key, _)| key.name == format!("{}.{}", r.api.plural, r.api.group)));
        Ok(Self { builtin: builtin.into(), defined })
    }

    /// Those that no definition makes.
    #[must_use]
    pub fn builtin(&self) -> &[Followed] {
        &self.builtin
    }

    /// What the definition of this name makes, once it is established.
    #[must_use]
    pub fn defined(&self, definition: &str) -> Option<Followed> {
        let key = knarr_client::cache::ObjectRef::new("", definition);
        self.defined.get(&key).and_then(|resource| (*resource).clone())
    }

    /// All.
    #[must_use]
    pub fn all(&self) -> Vec<Followed> {
        let defined = self.defined.list().into_iter().filter_map(|(_, resource)| (*resource).clone());
        self.builtin.iter().cloned().chain(defined).collect()
    }
}

/// What a definition makes, in the version that is stored, or else the first that is served.
fn of_definition(definition: &DynamicObject) -> Option<Followed> {
    let (spec, status) = (&definition.data["spec"], &definition.data["status"]);
    let established = |c: &serde_json::Value| c["type"] == "Established" && c["status"] == "True";
    if !status["conditions"].as_array()?.iter().any(established) {
        return None;
    }
    let served = || spec["versions"].as_array().into_iter().flatten().filter(|version| version["served"] == true);
    let version = served().find(|version| version["storage"] == true).or_else(|| served().next())?;
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let (group, version) = (text(&spec["group"])?, text(&version["name"])?);
    let names = &status["acceptedNames"];
    let api = ApiResource {
        api_version: format!("{group}/{version}"),
        group,
        version,
        kind: text(&names["kind"])?,
        plural: text(&names["plural"])?,
    };
    Some(Followed { api, namespaced: spec["scope"] == "Namespaced" })
}

/// The resources that discovery names and that can be listed, watched and deleted.
async fn discover(client: &Client) -> kube::Result<Vec<Followed>> {
    let mut found = resources_of(&client.list_core_api_resources("v1").await?, "", "v1");
    let groups: APIGroupList = client.list_api_groups().await?;
    for group in groups.groups {
        let Some(preferred) = group.preferred_version.or_else(|| group.versions.first().cloned()) else { continue };
        let list = client.list_api_group_resources(&preferred.group_version).await?;
        found.extend(resources_of(&list, &group.name, &preferred.version));
    }
    Ok(found)
}

fn resources_of(list: &APIResourceList, group: &str, version: &str) -> Vec<Followed> {
    let needed = ["list", "watch", "delete"];
    let owned = list.resources.iter().filter(|r| {
        let all = needed.iter().all(|verb| r.verbs.iter().any(|v| v == verb));
        // Events of both groups are the same objects: once is enough.
        all && !r.name.contains('/') && group != "events.k8s.io"
    });
    owned
        .map(|r| Followed {
            api: ApiResource {
                group: group.to_owned(),
                version: version.to_owned(),
                api_version: if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") },
                kind: r.kind.clone(),
                plural: r.name.clone(),
            },
            namespaced: r.namespaced,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definition(established: &str, versions: &serde_json::Value) -> DynamicObject {
        serde_json::from_value(json!({
            "metadata": {"name": "certs.example.com"},
            "spec": {"group": "example.com", "scope": "Namespaced", "versions": versions},
            "status": {
                "acceptedNames": {"plural": "certs", "kind": "Cert"},
                "conditions": [{"type": "Established", "status": established}],
            },
        }))
        .unwrap()
    }

    #[test]
    fn a_definition_is_followed_in_a_version_that_is_served() {
        let version =
            |name: &str, served: bool, storage: bool| json!({"name": name, "served": served, "storage": storage});
        let [old, new] = [version("v1", true, false), version("v2", true, true)];
        let followed = |versions| of_definition(&definition("True", &versions)).map(|f| f.api.api_version);
        assert_eq!(followed(json!([old, new])).as_deref(), Some("example.com/v2"));
        assert_eq!(followed(json!([old, version("v2", false, true)])).as_deref(), Some("example.com/v1"));
        assert_eq!(followed(json!([version("v1", false, true)])), None);
        assert!(of_definition(&definition("False", &json!([old]))).is_none());
    }
}
