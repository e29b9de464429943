// SPDX-License-Identifier: Apache-2.0
//! What every cluster holds from its first moment, written through the API like everything else.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::Method;
use knarr_types::tree::{Value, json};

use crate::app::App;
use crate::loopback::send;
use crate::server::ServerError;
use crate::{api_services, cluster_ips, default_roles, upkeep};

/// The ServiceCIDR that each cluster has.
const DEFAULT_RANGE: &str = "kubernetes";
/// Who says that it is ready, as upstream calls it.
const RANGE_MANAGER: &str = "kubernetes-service-cidr-controller";

/// The ConfigMap that API servers of others read.
pub(crate) const AUTHENTICATION: &str = "extension-apiserver-authentication";

/// What happens to an object that is there already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// It stays: people may have changed it.
    AsItIs,
    /// It is made what it must be.
    Replaced,
}

/// An object, and where it belongs.
pub(crate) struct Wanted {
    collection: &'static str,
    name: &'static str,
    object: Value,
    kept: Kept,
}

/// Writes what is missing. `service_address` is that of Service default/kubernetes, `server` the address
/// that leads to this server, if others can reach it; with `ingress` there is a default class of Ingresses.
///
/// # Errors
/// [`ServerError::Bootstrap`] names the object that could not be written.
pub async fn run(
    app: &Arc<App>,
    service_address: IpAddr,
    server: Option<SocketAddr>,
    ingress: bool,
) -> Result<(), ServerError> {
    for object in objects().into_iter().chain([authentication(app)]).chain(ingress.then(ingress_class)) {
        write(app, object).await?;
    }
    default_range(app).await?;
    cluster_ips::repair::settle(app).await;
    for object in own_service(service_address, server) {
        write(app, object).await?;
    }
    upkeep::flow_control(app).await?;
    api_services::bootstrap(app).await?;
    default_roles::run(app).await
}

/// Makes an object of the cluster that is not there yet.
///
/// # Errors
/// [`ServerError::Bootstrap`] names the object that could not be written.
pub(crate) async fn make(app: &Arc<App>, version: &str, plural: &str, object: Value) -> Result<(), ServerError> {
    let collection = format!("/apis/{version}/{plural}");
    match send(app, Method::POST, &collection, &object).await {
        (200..300 | 409, _) => Ok(()),
        (_, why) => {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            Err(ServerError::Bootstrap { what: format!("{collection}/{name}"), why })
        }
    }
}

/// The range of service addresses that the server was told. It is ready at once: the server needs an address
/// for itself.
async fn default_range(app: &Arc<App>) -> Result<(), ServerError> {
    let collection = "/apis/networking.k8s.io/v1/servicecidrs";
    let object = cluster_ips::default_range(&app.settings.service_cidrs);
    write(app, Wanted { collection, name: DEFAULT_RANGE, object: object.clone(), kept: Kept::AsItIs }).await?;
    let stored = {
        let registry = app.registry.load();
        let kind = registry.by_resource("networking.k8s.io", "v1", "servicecidrs");
        kind.and_then(|kind| app.object(kind, "", DEFAULT_RANGE))
    };
    let Some(stored) = stored else { return Ok(()) };
    if stored["spec"]["cidrs"] != object["spec"]["cidrs"] {
        let (kept, told) = (&stored["spec"]["cidrs"], &object["spec"]["cidrs"]);
        tracing::warn!(%kept, %told, "ServiceCIDR kubernetes keeps its ranges: delete it and start again to change them");
    }
    if stored["status"]["conditions"].is_array() {
        return Ok(());
    }
    let now = crate::write::seconds(jiff::Timestamp::now());
    let ready = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": DEFAULT_RANGE},
        "status": {"conditions": [{
            "type": "Ready", "status": "True", "message": "Kubernetes default Service CIDR is ready",
            "lastTransitionTime": now,
        }]},
    });
    let path = format!("{collection}/{DEFAULT_RANGE}/status");
    match send(app, Method::PATCH, &format!("{path}?fieldManager={RANGE_MANAGER}&force=true"), &ready).await {
        (200..300, _) => Ok(()),
        (_, why) => Err(ServerError::Bootstrap { what: path, why }),
    }
}

/// Writes what is missing, or what it must be.
///
/// # Errors
/// [`ServerError::Bootstrap`] names the object that could not be written.
pub(crate) async fn write(app: &Arc<App>, wanted: Wanted) -> Result<(), ServerError> {
    let Wanted { collection, name, object, kept } = wanted;
    // Looked for first: the address of a Service that is there is taken before its name is.
    let there =
        kept == Kept::AsItIs && send(app, Method::GET, &format!("{collection}/{name}"), &Value::Null).await.0 == 200;
    if there {
        return Ok(());
    }
    let mut answer = send(app, Method::POST, collection, &object).await;
    if answer.0 == 409 && kept == Kept::Replaced {
        answer = send(app, Method::PUT, &format!("{collection}/{name}"), &object).await;
    }
    match answer {
        (200..300 | 409, _) => Ok(()),
        (_, why) => Err(ServerError::Bootstrap { what: format!("{collection}/{name}"), why }),
    }
}

fn objects() -> Vec<Wanted> {
    let namespaces = ["default", "kube-system", "kube-public", "kube-node-lease"];
    let mut wanted: Vec<_> = namespaces
        .into_iter()
        .map(|name| Wanted {
            collection: "/api/v1/namespaces",
            name,
            object: json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
            kept: Kept::AsItIs,
        })
        .collect();
    for (name, value, description) in [
        (
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
        (
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
    ] {
        wanted.push(Wanted {
            collection: "/apis/scheduling.k8s.io/v1/priorityclasses",
            name,
            object: json!({
                "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
                "value": value, "description": description,
            }),
            kept: Kept::AsItIs,
        });
    }
    wanted.push(Wanted {
        collection: "/api/v1/namespaces/kube-system/configmaps",
        name: "kube-apiserver-legacy-service-account-token-tracking",
        object: crate::legacy_tokens::tracking(jiff::Timestamp::now()),
        kept: Kept::AsItIs,
    });
    wanted
}

/// How API servers of others find out who their clients are: by certificates of this authority.
/// <https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/#extension-apiserver-authenticates-the-request>
pub(crate) fn authentication(app: &App) -> Wanted {
    Wanted {
        collection: "/api/v1/namespaces/kube-system/configmaps",
        name: AUTHENTICATION,
        object: json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": AUTHENTICATION, "namespace": "kube-system"},
            "data": {"client-ca-file": app.joining.authority.certificate()},
        }),
        kept: Kept::Replaced,
    }
}

/// The class of Ingresses that nodes answer.
fn ingress_class() -> Wanted {
    Wanted {
        collection: "/apis/networking.k8s.io/v1/ingressclasses",
        name: "knarr",
        object: json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
            "metadata": {
                "name": "knarr",
                "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"},
            },
            "spec": {"controller": "knarr.dev/ingress"},
        }),
        kept: Kept::AsItIs,
    }
}

/// Service default/kubernetes, and what is behind it: it has no selector, the server says where it is.
pub(crate) fn own_service(service_address: IpAddr, server: Option<SocketAddr>) -> Vec<Wanted> {
    let port = server.map_or(6443, |s| s.port());
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "kubernetes", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "type": "ClusterIP", "clusterIP": service_address, "sessionAffinity": "None",
            "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
        },
    });
    let mut wanted = vec![Wanted {
        collection: "/api/v1/namespaces/default/services",
        name: "kubernetes",
        object: service,
        kept: Kept::AsItIs,
    }];
    let Some(server) = server else { return wanted };
    wanted.push(Wanted {
        collection: "/api/v1/namespaces/default/endpoints",
        name: "kubernetes",
        object: json!({
            "apiVersion": "v1", "kind": "Endpoints",
            "metadata": {"name": "kubernetes", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
            "subsets": [{
                "addresses": [{"ip": server.ip()}],
                "ports": [{"name": "https", "port": server.port(), "protocol": "TCP"}],
            }],
        }),
        kept: Kept::Replaced,
    });
    wanted.push(Wanted {
        collection: "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
        name: "kubernetes",
        object: json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
            "addressType": if server.is_ipv4() { "IPv4" } else { "IPv6" },
            "endpoints": [{"addresses": [server.ip()], "conditions": {"ready": true}}],
            "ports": [{"name": "https", "port": server.port(), "protocol": "TCP"}],
        }),
        kept: Kept::Replaced,
    });
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_service_leads_to_the_server_where_others_can_reach_it() {
        let address = "10.43.0.1".parse().unwrap();
        assert_eq!(own_service(address, None).len(), 1);
        let wanted = own_service(address, Some("192.0.2.7:7443".parse().unwrap()));
        assert_eq!(wanted[0].object["spec"]["ports"][0]["targetPort"], 7443);
        assert_eq!(wanted[1].object["subsets"][0]["addresses"][0]["ip"], "192.0.2.7");
        assert_eq!(wanted[2].object["endpoints"][0]["addresses"][0], "192.0.2.7");
    }
}
