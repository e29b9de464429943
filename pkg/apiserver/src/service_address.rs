// SPDX-License-Identifier: Apache-2.0
//! From a Service's port to an address behind which somebody is ready.

use std::fmt;
use std::sync::Arc;

use knarr_admission::Lookup;
use knarr_types::Object;
use knarr_types::labels::SERVICE_NAME;
use knarr_types::tree::Value;

/// Where somebody is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// An IP address or a name.
    pub host: String,
    /// The port there.
    pub port: u16,
    /// The pod that is there, where it is one.
    pub pod: Option<String>,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Finds one of the ready endpoints of a Service's port, which is given by its name or number; empty is
/// the only one.
///
/// # Errors
/// Why there is none, in upstream's words.
pub fn find(lookup: &dyn Lookup, namespace: &str, name: &str, port: &str) -> Result<Address, String> {
    let service = lookup.get("", "services", namespace, name).ok_or_else(|| format!("service {name:?} not found"))?;
    let slices = lookup.list("discovery.k8s.io", "endpointslices", Some(namespace));
    let found = endpoints(&service, name, port, &slices)?;
    if found.is_empty() {
        return Err(format!("no endpoints available for service {name:?}"));
    }
    Ok(found[fastrand::usize(..found.len())].clone())
}

/// Finds one of the ready endpoints of the port of that number, as those do who speak to Services by themselves.
///
/// # Errors
/// As [`find`]; a port that is not there counts before endpoints do.
pub fn find_numbered(lookup: &dyn Lookup, namespace: &str, name: &str, port: u16) -> Result<Address, String> {
    if let Some(service) = lookup.get("", "services", namespace, name)
        && service["spec"]["type"] != "ExternalName"
        && !service["spec"]["ports"].as_array().into_iter().flatten().any(|known| known["port"] == port)
    {
        return Err(format!("no service port {port} found for service {name:?}"));
    }
    find(lookup, namespace, name, &port.to_string())
}

/// All ready endpoints of a Service's port. Pure.
fn endpoints(service: &Object, name: &str, port: &str, slices: &[Arc<Object>]) -> Result<Vec<Address>, String> {
    let ports = service["spec"]["ports"].as_array().cloned().unwrap_or_default();
    let asked = |p: &&Value| p["name"] == port || port.parse().is_ok_and(|n: u16| p["port"] == n);
    let chosen = if port.is_empty() && ports.len() == 1 { ports.first() } else { ports.iter().find(asked) };
    let own = || slices.iter().filter(|s| s["metadata"]["labels"][SERVICE_NAME] == name);
    let Some(chosen) = chosen else {
        // Nobody is there, whatever the port.
        let none = own().all(|s| s["endpoints"].as_array().is_none_or(Vec::is_empty));
        let unknown = format!("no service port {port:?} found for service {name:?}");
        return if none { Ok(Vec::new()) } else { Err(unknown) };
    };
    if service["spec"]["type"] == "ExternalName" {
        let host = service["spec"]["externalName"].as_str().unwrap_or_default().to_owned();
        return Ok(vec![Address { host, port: number(&chosen["port"]), pod: None }]);
    }
    let port_name = chosen["name"].as_str().unwrap_or_default();
    let mut found = Vec::new();
    for slice in own() {
        let mut ports = slice["ports"].as_array().into_iter().flatten();
        let Some(port) = ports.find(|p| p["name"].as_str().unwrap_or_default() == port_name) else { continue };
        for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
            if endpoint["conditions"]["ready"] == false {
                continue;
            }
            let Some(host) = endpoint["addresses"][0].as_str() else { continue };
            let pod = endpoint["targetRef"]["name"].as_str().filter(|_| endpoint["targetRef"]["kind"] == "Pod");
            found.push(Address { host: host.into(), port: number(&port["port"]), pod: pod.map(str::to_owned) });
        }
    }
    Ok(found)
}

fn number(port: &Value) -> u16 {
    port.as_u64().and_then(|p| u16::try_from(p).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn ports_are_found_by_name_and_number() {
        let service = json!({"spec": {"ports": [{"name": "web", "port": 443}, {"name": "other", "port": 9}]}});
        let slice = Arc::new(json!({
            "metadata": {"labels": {SERVICE_NAME: "s"}}, "ports": [{"name": "web", "port": 8443}],
            "endpoints": [
                {"addresses": ["10.0.0.1"], "conditions": {"ready": false}},
                {"addresses": ["fd00::1"], "conditions": {"ready": true}, "targetRef": {"kind": "Pod", "name": "p"}},
            ],
        }));
        let find = |port: &str| endpoints(&service, "s", port, std::slice::from_ref(&slice));
        for port in ["web", "443"] {
            let found = find(port).unwrap();
            assert_eq!((found.len(), found[0].to_string().as_str()), (1, "[fd00::1]:8443"), "{port}");
            assert_eq!(found[0].pod.as_deref(), Some("p"));
        }
        assert_eq!(find("other").unwrap(), []);
        assert_eq!(find("").unwrap_err(), "no service port \"\" found for service \"s\"");
    }
}
