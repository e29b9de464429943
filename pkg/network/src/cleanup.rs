// SPDX-License-Identifier: Apache-2.0

//! Everything of one node off the host again.

use std::path::Path;

use crate::netlink::Netlink;
use crate::services::nft;
use crate::{Error, NodeId, netns, node};

/// Removes the node's table, links, routes, addresses and namespaces from the caller's network
/// namespace, and says what it removed, one line a thing. Goes on after a failure; the first is returned
/// only if something is left.
pub async fn remove_all(node: &NodeId, run_dir: &Path) -> Result<Vec<String>, Error> {
    let mut removed = Vec::new();
    let mut failed = None;
    let table = node.table();
    match nft::delete(&table).await {
        Ok(true) => removed.push(format!("nftables table {table}")),
        Ok(false) => {}
        Err(error) => failed = Some(error),
    }
    let parts = [links(node).await, node::remove(node).await, namespaces(run_dir)];
    for part in parts {
        match part {
            Ok(lines) => removed.extend(lines),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(removed), Err)
}

async fn links(node: &NodeId) -> Result<Vec<String>, Error> {
    let host = Netlink::open()?;
    let mut removed = Vec::new();
    for (name, index) in host.links(&node.link_prefix()).await? {
        if host.delete_link(&name, index).await? {
            removed.push(format!("link {name}"));
        }
    }
    Ok(removed)
}

fn namespaces(run_dir: &Path) -> Result<Vec<String>, Error> {
    let entries = match std::fs::read_dir(run_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::file("list", run_dir)(error)),
    };
    let mut removed = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::file("list", run_dir))?.path();
        if netns::exists(&path) && netns::remove(&path)? {
            removed.push(format!("network namespace {}", path.display()));
        }
    }
    Ok(removed)
}
