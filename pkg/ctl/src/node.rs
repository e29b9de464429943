// SPDX-License-Identifier: Apache-2.0
//! `node`: list, cordon, uncordon, drain.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt as _;
use kube::api::{Api, EvictParams, ListParams, Patch, PatchParams};

use crate::args::{GetArgs, Selection};
use crate::error::CtlError;
use crate::output::print;
use crate::session::Session;

/// How long to wait before a refused eviction is tried again.
const EVICT_AGAIN: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Subcommand)]
pub(crate) enum NodeCommand {
    /// Lists the nodes.
    List {
        /// wide, json, yaml, name, jsonpath=TEMPLATE.
        #[arg(long, short = 'o', default_value = "")]
        output: String,
    },
    /// Keeps new pods away.
    Cordon {
        /// The node.
        node: String,
    },
    /// Lets new pods come.
    Uncordon {
        /// The node.
        node: String,
    },
    /// Keeps new pods away and evicts those that are there.
    Drain {
        /// The node.
        node: String,
        /// Leaves pods of DaemonSets alone instead of refusing.
        #[arg(long)]
        ignore_daemonsets: bool,
        /// Evicts pods whose emptyDir data is lost with them.
        #[arg(long)]
        delete_emptydir_data: bool,
        /// Evicts pods that nothing makes again.
        #[arg(long)]
        force: bool,
        /// Gives up after this many seconds; 0 for never.
        #[arg(long, default_value_t = 0)]
        timeout: u64,
    },
}

/// Runs `node`.
pub(crate) async fn run(session: &Session, command: NodeCommand) -> Result<u8, CtlError> {
    match command {
        NodeCommand::List { output } => {
            let selection = Selection { what: vec!["nodes".into()], ..Selection::default() };
            let args = GetArgs { selection, output, ..GetArgs::default() };
            return crate::get::run(session, args).await;
        }
        NodeCommand::Cordon { node } => cordon(session, &node, true).await?,
        NodeCommand::Uncordon { node } => cordon(session, &node, false).await?,
        NodeCommand::Drain { node, ignore_daemonsets, delete_emptydir_data, force, timeout } => {
            let allowed = Allowed { daemonsets: ignore_daemonsets, emptydir: delete_emptydir_data, bare: force };
            let deadline = (timeout > 0).then(|| Instant::now() + Duration::from_secs(timeout));
            drain(session, &node, &allowed, deadline).await?;
        }
    }
    Ok(0)
}

async fn cordon(session: &Session, node: &str, away: bool) -> Result<(), CtlError> {
    let api = Api::<Node>::all(session.client.clone());
    let done = if away { "cordoned" } else { "uncordoned" };
    let is = api.get(node).await?.spec.and_then(|s| s.unschedulable).unwrap_or_default();
    if is == away {
        return print(&format!("node/{node} already {done}\n"));
    }
    let patch = serde_json::json!({"spec": {"unschedulable": away.then_some(true)}});
    api.patch(node, &PatchParams::default(), &Patch::Merge(patch)).await?;
    print(&format!("node/{node} {done}\n"))
}

/// What a drain may do besides evicting pods that come back elsewhere.
struct Allowed {
    daemonsets: bool,
    emptydir: bool,
    bare: bool,
}

/// What becomes of a pod in a drain.
#[derive(Debug, PartialEq)]
enum Fate {
    Evict,
    Stay,
    Refuse(&'static str),
}

fn fate(pod: &Pod, allowed: &Allowed) -> Fate {
    let finished =
        pod.status.as_ref().and_then(|s| s.phase.as_deref()).is_some_and(|p| p == "Succeeded" || p == "Failed");
    let owner = pod.owner_references().iter().find(|o| o.controller == Some(true));
    let emptydir = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten()).any(|v| v.empty_dir.is_some());
    match owner.map(|o| o.kind.as_str()) {
        _ if pod.annotations().contains_key("kubernetes.io/config.mirror") => Fate::Stay,
        Some("DaemonSet") if allowed.daemonsets => Fate::Stay,
        Some("DaemonSet") if !finished => Fate::Refuse("it belongs to a DaemonSet (use --ignore-daemonsets)"),
        _ if finished => Fate::Evict,
        None if !allowed.bare => Fate::Refuse("nothing would make it again (use --force)"),
        _ if emptydir && !allowed.emptydir => Fate::Refuse("it has emptyDir data (use --delete-emptydir-data)"),
        _ => Fate::Evict,
    }
}

async fn drain(session: &Session, node: &str, allowed: &Allowed, deadline: Option<Instant>) -> Result<(), CtlError> {
    cordon(session, node, true).await?;
    let all = Api::<Pod>::all(session.client.clone());
    let pods = all.list(&ListParams::default().fields(&format!("spec.nodeName={node}"))).await?.items;
    let refused: Vec<_> = pods
        .iter()
        .filter_map(|p| match fate(p, allowed) {
            Fate::Refuse(why) => Some(format!("{}/{}: {why}", p.namespace().unwrap_or_default(), p.name_any())),
            _ => None,
        })
        .collect();
    if !refused.is_empty() {
        return Err(CtlError::usage(format!("cannot drain node {node:?}:\n  {}", refused.join("\n  "))));
    }
    for pod in pods.iter().filter(|p| fate(p, allowed) == Fate::Evict) {
        let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
        print(&format!("evicting pod {namespace}/{name}\n"))?;
        let api = Api::<Pod>::namespaced(session.client.clone(), &namespace);
        evict(&api, &name, deadline).await?;
        gone(&api, pod, deadline).await?;
    }
    print(&format!("node/{node} drained\n"))
}

/// Evicts; where a budget forbids it for now (429), tries again until the deadline.
async fn evict(api: &Api<Pod>, name: &str, deadline: Option<Instant>) -> Result<(), CtlError> {
    loop {
        match api.evict(name, &EvictParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 429 => {
                if deadline.is_some_and(|d| Instant::now() + EVICT_AGAIN > d) {
                    return Err(CtlError::usage(format!(
                        "drain did not complete within its timeout: pod {name}: {}",
                        status.message
                    )));
                }
                eprintln!("error when evicting pod {name:?} (will retry after 5s): {}", status.message);
                tokio::time::sleep(EVICT_AGAIN).await;
            }
            other => return other.map(drop).map_err(CtlError::from),
        }
    }
}

/// Waits until the pod is gone.
async fn gone(api: &Api<Pod>, pod: &Pod, deadline: Option<Instant>) -> Result<(), CtlError> {
    use futures::TryStreamExt as _;
    let name = pod.name_any();
    loop {
        let Some(now) = api.get_metadata_opt(&name).await?.filter(|p| p.uid() == pod.uid()) else { return Ok(()) };
        if deadline.is_some_and(|d| Instant::now() > d) {
            return Err(CtlError::usage(format!(
                "drain did not complete within its timeout: pod {name} is still there"
            )));
        }
        let params = kube::api::WatchParams::default().fields(&format!("metadata.name={name}")).timeout(5);
        let revision = now.metadata.resource_version.unwrap_or_default();
        let mut events = Box::pin(api.watch_metadata(&params, &revision).await?);
        while let Some(event) = events.try_next().await? {
            if matches!(event, kube::api::WatchEvent::Deleted(_)) {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_that_would_be_lost_need_a_word() {
        let pod = |owner: Option<&str>, emptydir: bool| -> Pod {
            let owners = owner.map(|kind| serde_json::json!([{"apiVersion": "v1", "kind": kind, "name": "o", "uid": "u", "controller": true}]));
            let volumes = emptydir.then(|| serde_json::json!([{"name": "v", "emptyDir": {}}]));
            serde_json::from_value(serde_json::json!({
                "metadata": {"name": "p", "ownerReferences": owners.unwrap_or_else(|| serde_json::json!([]))},
                "spec": {"containers": [], "volumes": volumes.unwrap_or_else(|| serde_json::json!([]))},
            }))
            .unwrap()
        };
        let none = Allowed { daemonsets: false, emptydir: false, bare: false };
        let all = Allowed { daemonsets: true, emptydir: true, bare: true };
        assert_eq!(fate(&pod(Some("ReplicaSet"), false), &none), Fate::Evict);
        assert!(matches!(fate(&pod(None, false), &none), Fate::Refuse(_)));
        assert!(matches!(fate(&pod(Some("ReplicaSet"), true), &none), Fate::Refuse(_)));
        assert!(matches!(fate(&pod(Some("DaemonSet"), false), &none), Fate::Refuse(_)));
        assert_eq!(fate(&pod(Some("DaemonSet"), false), &all), Fate::Stay);
        assert_eq!(fate(&pod(None, true), &all), Fate::Evict);
    }
}
