// SPDX-License-Identifier: Apache-2.0
//! Service addresses and node ports, given out while a Service is written and given back when it goes, in
//! the same commit as the Service: an address is one IPAddress object.

use std::net::IpAddr;

use knarr_admission::services::{Ranges, addresses_of, allocate, has_node_ports, needs_allocation};
use knarr_schema::rules;
use knarr_store::{Change, Decision, Precondition, Scope};
use knarr_types::tree::Value;
use knarr_types::{FieldErrorType, Object, Reason, Status};

use super::Write;
use crate::{cluster_ips, serve_object};

/// How often a write is tried again because what it counts on was written meanwhile: another Service, an
/// address, a quota.
pub(super) const ATTEMPTS: usize = 64;

/// What is written with a Service, and under which conditions.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub preconditions: Vec<Precondition>,
    pub changes: Vec<Change>,
}

impl Given {
    /// The decision to delete the object together with these.
    pub(super) fn with_delete(self) -> Decision {
        if self.changes.is_empty() {
            return Decision::Delete;
        }
        Decision::With { draft: None, preconditions: self.preconditions, changes: self.changes }
    }
}

fn is_service(write: &Write<'_>) -> bool {
    write.kind.group.is_empty() && &*write.kind.kind == "Service" && write.subresource.is_empty()
}

/// Whether a Service can have the addresses and node ports that it names: upstream finds out before it judges the
/// rest of it.
pub(super) fn foresee(write: &Write<'_>, object: &Object, old: Option<&Object>) -> Result<(), Status> {
    if !is_service(write) {
        return Ok(());
    }
    let spec = &object["spec"];
    let names_port = |ports: &Vec<Value>| ports.iter().any(|port| !port["nodePort"].is_null());
    let names_one =
        ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"].iter().any(|name| !spec[*name].is_null())
            || spec["ports"].as_array().is_some_and(names_port);
    if !names_one || !needs_allocation(object, old) {
        return Ok(());
    }
    let errors = rules::service::judge_addresses(object, old);
    if !errors.is_empty() {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        return Err(super::invalid(write.kind, name, &write.kind.printed(errors)));
    }
    give(write, &mut object.clone(), old)
        .map(drop)
        .or_else(|status| if status.code == 422 { Err(status) } else { Ok(()) })?;
    double_port(object).filter(|_| old.is_some()).map_or(Ok(()), Err)
}

/// Upstream gives each changed port its number before it judges them, and cannot give one twice.
fn double_port(service: &Object) -> Option<Status> {
    if !has_node_ports(service) {
        return None;
    }
    let mut given = Vec::new();
    for port in service["spec"]["ports"].as_array().into_iter().flatten() {
        let number = port["nodePort"].as_i64().filter(|number| *number != 0);
        let Some(one) = number.map(|number| (port["protocol"].as_str().unwrap_or_default(), number)) else { continue };
        if given.contains(&one) {
            let message = format!("duplicate nodePort: {{{} {}}}", one.0, one.1);
            return Some(Status::new(500, Reason::Unknown, message));
        }
        given.push(one);
    }
    None
}

/// Gives a Service what it lacks and takes what it no longer has.
pub(super) fn give(write: &Write<'_>, object: &mut Object, old: Option<&Object>) -> Result<Given, Status> {
    let mut given = Given::default();
    if !is_service(write) || !needs_allocation(object, old) {
        return Ok(given);
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let errors = rules::service::settle_families(object, old);
    if !errors.is_empty() {
        return Err(super::invalid(write.kind, &name, &errors));
    }
    let others = if has_node_ports(object) { others(write, &name, &mut given) } else { Vec::new() };
    let (app, namespace) = (write.app, write.key(&name).namespace);
    let ranges =
        Ranges { addresses: cluster_ips::ranges(app), ports: app.settings.node_ports, dry_run: write.options.dry_run };
    // What a Service of that name has already is not for a new one.
    let is_there = old.is_none() && app.store.get(&write.key(&name)).is_some();
    let taken = |address: IpAddr| {
        let record = app.store.get(&cluster_ips::key(address));
        record.is_some_and(|record| is_there || !cluster_ips::is_of(&record, &namespace, &name))
    };
    let errors = allocate(object, old, &others, &ranges, &taken, &mut |below| fastrand::u64(..below.max(1)));
    // A range that is full, or a port for health checks that cannot be had, is a fault of the server's, upstream.
    if let Some(error) = errors.iter().find(|error| error.kind == FieldErrorType::Internal) {
        return Err(Status::internal(&error.detail));
    }
    if !errors.is_empty() {
        return Err(super::invalid(write.kind, &name, &errors));
    }
    let (before, now) = (old.map(addresses_of).unwrap_or_default(), addresses_of(object));
    for address in now.iter().filter(|address| !before.contains(address)) {
        let key = cluster_ips::key(*address);
        // One that is there is this Service's already.
        if app.store.get(&key).is_none() {
            let draft = cluster_ips::draft(app, *address, &namespace, &name, write.now)?;
            given.preconditions.push(Precondition::Absent(key.clone()));
            given.changes.push(Change::Put(key, draft));
        }
    }
    for address in before.iter().filter(|address| !now.contains(address)) {
        take_back(write, *address, &name, &mut given);
    }
    Ok(given)
}

/// All other Services, on the condition that none of them is written meanwhile.
fn others(write: &Write<'_>, name: &str, given: &mut Given) -> Vec<Object> {
    let snapshot = write.app.store.snapshot(&write.kind.storage);
    let key = write.key(name);
    given.preconditions.push(Precondition::Unchanged {
        resource: write.kind.storage.clone(),
        namespace: None,
        since: snapshot.revision(),
    });
    let others = snapshot.list(&Scope::All, None).filter(|record| record.key != key);
    others.map(|record| serve_object::stored_tree(write.kind, record)).collect()
}

/// What is given back when an object goes: the addresses of a Service.
pub(super) fn give_back(write: &Write<'_>, object: &Object) -> Given {
    let mut given = Given::default();
    if is_service(write) {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        for address in addresses_of(object) {
            take_back(write, address, name, &mut given);
        }
    }
    given
}

fn take_back(write: &Write<'_>, address: IpAddr, name: &str, given: &mut Given) {
    let key = cluster_ips::key(address);
    let namespace = write.key(name).namespace;
    let record = write.app.store.get(&key).filter(|record| cluster_ips::is_of(record, &namespace, name));
    if let Some(record) = record {
        given.preconditions.push(Precondition::At(key.clone(), record.revision));
        given.changes.push(Change::Delete(key));
    }
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn a_port_is_given_once() {
        let service = |ports: Value| json!({"spec": {"type": "NodePort", "ports": ports}});
        let both = json!([{"protocol": "TCP", "nodePort": 1}, {"protocol": "UDP", "nodePort": 1}, {"protocol": "TCP"}]);
        assert_eq!(double_port(&service(both)), None);
        let twice = json!([{"protocol": "TCP", "nodePort": 1}, {"protocol": "TCP", "nodePort": 1}]);
        assert_eq!(double_port(&service(twice)).unwrap().message, "duplicate nodePort: {TCP 1}");
    }
}
