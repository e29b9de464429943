// SPDX-License-Identifier: Apache-2.0
//! Health check node ports: where a load balancer asks whether this node has endpoints of a Service that sends traffic
//! to the node's own alone.
//! <https://kubernetes.io/docs/tasks/access-application-cluster/create-external-load-balancer/#preserving-the-client-source-ip>

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use knarr_network::services::Service;
use parking_lot::Mutex;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What is said of a Service at its port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Health {
    namespace: String,
    name: String,
    /// Pods of this node that are ready.
    endpoints: usize,
}

/// The ports that are answered. Those of Services that are gone close with it, and all when it is dropped.
#[derive(Default)]
pub struct HealthPorts(BTreeMap<u16, Port>);

struct Port {
    health: Arc<Mutex<Health>>,
    server: JoinHandle<()>,
}

impl Drop for Port {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl HealthPorts {
    /// Answers at the ports of these Services; one that cannot be had is said in the log, and tried again with the next
    /// change.
    pub async fn set(&mut self, services: &[Service]) {
        let wanted = wanted(services);
        self.0.retain(|port, _| wanted.contains_key(port));
        for (number, health) in wanted {
            if let Some(port) = self.0.get(&number) {
                *port.health.lock() = health;
                continue;
            }
            match listen(number).await {
                Ok(listener) => drop(self.0.insert(number, serve(listener, health))),
                Err(error) => {
                    let service = format!("{}/{}", health.namespace, health.name);
                    tracing::warn!(%error, port = number, service, "a health check node port cannot be answered");
                }
            }
        }
    }
}

/// On all addresses of both families, or of the only one that the host has.
async fn listen(port: u16) -> std::io::Result<TcpListener> {
    let all: [SocketAddr; 2] = [(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()];
    TcpListener::bind(&all[..]).await
}

fn wanted(services: &[Service]) -> BTreeMap<u16, Health> {
    let of = |service: &Service| {
        let ready = service.ports.iter().flat_map(|port| &port.endpoints).filter(|it| it.local && it.ready);
        let pods: BTreeSet<_> = ready.map(|endpoint| endpoint.address.ip()).collect();
        let (namespace, name) = (service.namespace.clone(), service.name.clone());
        Some((service.health_check_node_port?, Health { namespace, name, endpoints: pods.len() }))
    };
    services.iter().filter_map(of).collect()
}

fn serve(listener: TcpListener, health: Health) -> Port {
    let health = Arc::new(Mutex::new(health));
    let routes = Router::new().fallback(answer).with_state(Arc::clone(&health));
    let server = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            tracing::warn!(%error, "a health check node port");
        }
    });
    Port { health, server }
}

/// As kube-proxy answers, whatever the path.
async fn answer(State(health): State<Arc<Mutex<Health>>>) -> Response {
    let health = health.lock().clone();
    let status = if health.endpoints > 0 { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let headers = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (HeaderName::from_static("x-load-balancing-endpoint-weight"), health.endpoints.to_string()),
    ];
    let service = json!({"namespace": health.namespace, "name": health.name});
    let body = json!({"service": service, "localEndpoints": health.endpoints, "serviceProxyHealthy": true});
    (status, headers, body.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use knarr_network::services::{Endpoint, Protocol, ServicePort};

    use super::*;

    #[test]
    fn ready_pods_of_this_node_are_counted_once() {
        let endpoint = |address: &str, local, ready| Endpoint {
            address: address.parse::<SocketAddr>().unwrap(),
            local,
            ready,
            terminating: !ready,
        };
        let port = |number: u16, endpoints| ServicePort {
            name: number.to_string(),
            protocol: Protocol::Tcp,
            port: number,
            node_port: None,
            endpoints,
        };
        let service = |name: &str, health_check_node_port, ports| Service {
            name: name.to_owned(),
            health_check_node_port,
            ports,
            ..Service::default()
        };
        let both = vec![
            port(80, vec![endpoint("10.42.0.2:80", true, true), endpoint("10.42.1.2:80", false, true)]),
            port(81, vec![endpoint("10.42.0.2:81", true, true), endpoint("10.42.0.3:81", true, false)]),
        ];
        let found = wanted(&[
            service("none", None, both.clone()),
            service("away", Some(30001), vec![port(80, vec![endpoint("10.42.1.2:80", false, true)])]),
            service("here", Some(30002), both),
        ]);
        let counts: Vec<_> =
            found.iter().map(|(port, health)| (*port, health.name.as_str(), health.endpoints)).collect();
        assert_eq!(counts, [(30001, "away", 0), (30002, "here", 1)]);
    }
}
