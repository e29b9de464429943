// SPDX-License-Identifier: Apache-2.0
//! Which container of which pod on which node is meant.

use knarr_types::tree::Value;
use knarr_types::{Object, Status};

/// A pod that has a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The node.
    pub node: String,
    /// The pod's namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

impl Target {
    /// Where the pod runs.
    ///
    /// # Errors
    /// 400 where it has no node yet.
    pub fn of(pod: &Object) -> Result<Self, Status> {
        let metadata = &pod["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (node, name) = (text(&pod["spec"]["nodeName"]), text(&metadata["name"]));
        if node.is_empty() {
            return Err(Status::bad_request(format!("pod {name} does not have a host assigned")));
        }
        Ok(Self { node, namespace: text(&metadata["namespace"]), name, uid: text(&metadata["uid"]) })
    }
}

/// The container that is meant: the asked one, or the only one.
///
/// # Errors
/// 400 where the pod has no such container, or has several and none is asked for.
pub fn container(pod: &Object, asked: &str) -> Result<String, Status> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let all: Vec<&str> =
        ["initContainers", "containers", "ephemeralContainers"].iter().flat_map(|k| names(pod, k)).collect();
    let plain: Vec<&str> = names(pod, "containers").collect();
    match (asked, plain.as_slice()) {
        ("", [only]) => Ok((*only).to_owned()),
        ("", []) => Err(Status::bad_request(format!("a container name must be specified for pod {name}"))),
        ("", _) => Err(Status::bad_request(format!(
            "a container name must be specified for pod {name}, choose one of: [{}]",
            all.join(" ")
        ))),
        (asked, _) if all.contains(&asked) => Ok(asked.to_owned()),
        (asked, _) => Err(Status::bad_request(format!("container {asked} is not valid for pod {name}"))),
    }
}

fn names<'a>(pod: &'a Object, kind: &str) -> impl Iterator<Item = &'a str> {
    pod["spec"][kind].as_array().into_iter().flatten().filter_map(|c| c["name"].as_str())
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn containers_are_chosen_in_upstreams_words() {
        let one = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}]}});
        let many = json!({"metadata": {"name": "p"}, "spec": {
            "containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}],
        }});
        let none = json!({"metadata": {"name": "p"}, "spec": {}});
        for (pod, asked, want) in [
            (&one, "", Ok("a")),
            (&many, "b", Ok("b")),
            (&many, "i", Ok("i")),
            (&many, "", Err("a container name must be specified for pod p, choose one of: [i a b]")),
            (&many, "x", Err("container x is not valid for pod p")),
            (&none, "", Err("a container name must be specified for pod p")),
        ] {
            let got = container(pod, asked);
            assert_eq!(got.as_deref().map_err(|s| s.message.as_str()), want, "{asked}");
        }
    }

    #[test]
    fn a_pod_without_a_node_has_no_streams() {
        let status = Target::of(&json!({"metadata": {"name": "p"}, "spec": {}})).unwrap_err();
        assert_eq!((status.code, &*status.message), (400, "pod p does not have a host assigned"));
    }
}
