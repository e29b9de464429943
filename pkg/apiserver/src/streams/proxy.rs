// SPDX-License-Identifier: Apache-2.0
//! HTTP to what runs in the cluster, through the API: `proxy` of pods, services and nodes.
//! <https://kubernetes.io/docs/tasks/access-application-cluster/access-cluster-services/>
//!
//! Pods are reached through their node's tunnel, as port-forward reaches them, so that the server needs no
//! route to them. Answers are streamed, HTML apart: its links are made to lead through the proxy.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt as _;
use http::header::{
    AUTHORIZATION, CONNECTION, COOKIE, HOST, HeaderName, HeaderValue, LOCATION, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, Method, Request, Uri};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use knarr_admission::Lookup as _;
use knarr_types::{Object, Reason, ResourceId, Status};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::links::Links;
use super::port_forward::Way;
use super::target::Target;
use super::{proxy_answer, proxy_tls};
use crate::app::App;
use crate::body::Response;
use crate::request::RequestContext;
use crate::service_address::{self, Address};

/// What a connection through a tunnel holds on its way.
const PIPE_BYTES: usize = 64 << 10;
/// Headers that are between two hops, or between the client and this server.
const DROPPED: [HeaderName; 5] = [AUTHORIZATION, CONNECTION, COOKIE, TRANSFER_ENCODING, UPGRADE];

/// `[scheme:]name[:port]`, as the path names it.
#[derive(Debug, PartialEq, Eq)]
struct Named<'a> {
    scheme: &'a str,
    name: &'a str,
    port: &'a str,
}

impl<'a> Named<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let parts: Vec<_> = text.split(':').collect();
        match *parts.as_slice() {
            [name] => Some(Self { scheme: "", name, port: "" }),
            [name, port] => Some(Self { scheme: "", name, port }),
            [scheme, name, port] => Some(Self { scheme, name, port }),
            _ => None,
        }
    }
}

/// Answers a request for a proxy.
///
/// # Errors
/// 404 without the object, 503 where nobody is behind it, 400 where it may not be reached.
pub async fn proxy(app: &Arc<App>, context: &RequestContext, request: Request<Body>) -> Result<Response, Status> {
    let info = &context.info;
    let named = Named::parse(&info.name)
        .filter(|n| matches!(n.scheme, "" | "http" | "https") && !n.name.is_empty())
        .ok_or_else(|| Status::bad_request(format!("invalid {} request {:?}", info.resource, info.name)))?;
    let (prefix, path) = around_proxy(request.uri());
    let onward = Onward { prefix, path, tls: named.scheme == "https" };
    match &*info.resource {
        "nodes" => to_node(app, &named, onward.path, request).await,
        "pods" => {
            let pod = found(app, "pods", &info.namespace, named.name)?;
            let port = pod_port(&pod, named.port)?;
            let server = check_address(pod["status"]["podIP"].as_str().unwrap_or_default())?;
            let way = Way { tunnels: app.tunnels.clone(), target: Target::of(&pod)? };
            onward.send(through(&way, port).await?, SocketAddr::new(server, port), request).await
        }
        _ => {
            let address = service_endpoint(app, &info.namespace, &info.name, &named)?;
            to_endpoint(app, &info.namespace, &address, onward, request).await
        }
    }
}

/// One of those behind a service; `id` is how the path calls it. As upstream, what the Endpoints say is told first.
fn service_endpoint(app: &App, namespace: &str, id: &str, named: &Named<'_>) -> Result<Address, Status> {
    let unavailable = |why: String| Status::new(503, Reason::ServiceUnavailable, why);
    let nobody = |whom: &str| unavailable(format!("no endpoints available for service {whom:?}"));
    if let Ok(number) = named.port.parse::<i64>() {
        let service = found(app, "services", namespace, named.name)?;
        let mut ports = service["spec"]["ports"].as_array().into_iter().flatten();
        if !ports.any(|port| port["port"].as_i64() == Some(number)) {
            return Err(unavailable(format!("no service port {number} found for service {:?}", named.name)));
        }
    }
    let endpoints = app.get("", "endpoints", namespace, named.name);
    let endpoints = endpoints.ok_or_else(|| Status::not_found(&ResourceId::new("", "services"), named.name))?;
    if endpoints["subsets"].as_array().is_none_or(Vec::is_empty) {
        return Err(nobody(named.name));
    }
    service_address::find(app, namespace, named.name, named.port).map_err(|_| nobody(id))
}

/// What is asked of the server behind the proxy.
struct Onward {
    /// The proxy's own path.
    prefix: String,
    /// What is behind it.
    path: String,
    tls: bool,
}

fn found(app: &App, resource: &str, namespace: &str, name: &str) -> Result<Arc<Object>, Status> {
    app.get("", resource, namespace, name).ok_or_else(|| Status::not_found(&ResourceId::new("", resource), name))
}

/// The path of the proxy, and what is behind it with its query, as it was sent: empty without so much as a slash.
fn around_proxy(uri: &Uri) -> (String, String) {
    let parts = if uri.path().starts_with("/api/v1/namespaces/") { 8 } else { 6 };
    let rest = uri.path().splitn(parts + 1, '/').nth(parts);
    let query = uri.query().map(|q| format!("?{q}")).unwrap_or_default();
    let behind = rest.map_or(0, |rest| rest.len() + 1);
    let prefix = uri.path()[..uri.path().len() - behind].to_owned();
    (prefix, rest.map_or_else(String::new, |rest| format!("/{rest}{query}")))
}

/// What to ask for. Who reads, and names no path, is sent to the one with a slash (`None`), so that what is relative in
/// the answer is relative to it; others mean the root.
fn asked(path: String, request: &Request<Body>) -> Option<String> {
    if !path.is_empty() {
        return Some(path);
    }
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let query = request.uri().query().map(|q| format!("?{q}")).unwrap_or_default();
    (!reads).then(|| format!("/{query}"))
}

/// The port that is asked for, or the pod's first.
fn pod_port(pod: &Object, asked: &str) -> Result<u16, Status> {
    if !asked.is_empty() {
        let message = || Status::bad_request(format!("invalid pod port {asked:?}"));
        return asked.parse().map_err(|_| message());
    }
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let first = containers.filter_map(|c| c["ports"][0]["containerPort"].as_u64()).next();
    Ok(first.and_then(|p| u16::try_from(p).ok()).unwrap_or(80))
}

/// Addresses of the server itself are nobody's to reach through it.
fn check_address(text: &str) -> Result<IpAddr, Status> {
    let open = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local() && !ip.is_multicast() && !ip.is_unspecified(),
        IpAddr::V6(ip) => {
            !ip.is_loopback() && !ip.is_unicast_link_local() && !ip.is_multicast() && !ip.is_unspecified()
        }
    };
    text.parse().ok().filter(open).ok_or_else(|| Status::bad_request("address not allowed"))
}

async fn to_endpoint(
    app: &App,
    namespace: &str,
    address: &Address,
    onward: Onward,
    request: Request<Body>,
) -> Result<Response, Status> {
    let server = SocketAddr::new(check_address(&address.host)?, address.port);
    let pod = address.pod.as_ref().and_then(|name| app.get("", "pods", namespace, name));
    match pod {
        Some(pod) => {
            let way = Way { tunnels: app.tunnels.clone(), target: Target::of(&pod)? };
            onward.send(through(&way, address.port).await?, server, request).await
        }
        None => {
            let stream = TcpStream::connect(server).await.map_err(|e| unreachable(&e))?;
            onward.send(stream, server, request).await
        }
    }
}

/// The node itself answers, over its tunnel.
async fn to_node(app: &App, named: &Named<'_>, path: String, request: Request<Body>) -> Result<Response, Status> {
    found(app, "nodes", "", named.name)?;
    let Some(path) = asked(path, &request) else { return Ok(with_slash(request.uri())) };
    let (parts, body) = request.into_parts();
    let mut onward = Request::builder().method(parts.method).uri(path).body(body).map_err(Status::internal)?;
    *onward.headers_mut() = passed_on(&parts.headers);
    onward.headers_mut().remove(HOST);
    app.tunnels.call(named.name, onward).await
}

fn unreachable(error: &dyn std::error::Error) -> Status {
    Status::new(503, Reason::ServiceUnavailable, format!("error trying to reach service: {error}"))
}

/// A connection to a pod's port through its node's tunnel.
async fn through(way: &Way, port: u16) -> Result<DuplexStream, Status> {
    let (input, mut output) =
        way.connect(port).await.map_err(|why| Status::new(503, Reason::ServiceUnavailable, why))?;
    let (near, far) = tokio::io::duplex(PIPE_BYTES);
    let (mut read, mut write) = tokio::io::split(far);
    tokio::spawn(async move { pump_in(&mut read, &input).await });
    tokio::spawn(async move {
        while let Some(Ok(piece)) = output.next().await {
            if write.write_all(&piece).await.is_err() {
                return;
            }
        }
        // The reader sees the end; where it is gone there is nobody to tell.
        let _ = write.shutdown().await;
    });
    Ok(near)
}

/// Carries what the client sends to the node, until either goes.
async fn pump_in(read: &mut (impl tokio::io::AsyncRead + Unpin), input: &mpsc::Sender<Bytes>) {
    let mut buffer = vec![0; PIPE_BYTES / 4];
    while let Ok(n @ 1..) = read.read(&mut buffer).await {
        if input.send(Bytes::copy_from_slice(&buffer[..n])).await.is_err() {
            return;
        }
    }
}

impl Onward {
    /// Asks the server at the other end of a connection, and has the links of its answer lead through the proxy.
    async fn send<S>(self, stream: S, server: SocketAddr, request: Request<Body>) -> Result<Response, Status>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let Some(path) = asked(self.path, &request) else { return Ok(with_slash(request.uri())) };
        let (parts, body) = request.into_parts();
        let mut headers = passed_on(&parts.headers);
        if let Some(authority) = parts.uri.authority().and_then(|a| HeaderValue::from_str(a.as_str()).ok()) {
            headers.entry(HOST).or_insert(authority);
        }
        headers.entry(HOST).or_insert(HeaderValue::from_static("localhost"));
        let asked = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default().to_owned();
        let seen_as = format!("{}{}", self.prefix, path.split('?').next().unwrap_or_default());
        if let Ok(uri) = HeaderValue::from_str(&seen_as) {
            headers.insert(HeaderName::from_static("x-forwarded-uri"), uri);
        }
        let mut onward = Request::builder().method(parts.method).uri(path).body(body).map_err(Status::internal)?;
        *onward.headers_mut() = headers;
        let answer = if self.tls {
            let stream = proxy_tls::connect(stream, server.ip()).await.map_err(|e| unreachable(&e))?;
            exchange(stream, onward).await?
        } else {
            exchange(stream, onward).await?
        };
        let links = Links { prefix: self.prefix, server: server.to_string(), asked };
        Ok(proxy_answer::through(&links, answer).await)
    }
}

async fn exchange<S>(stream: S, request: Request<Body>) -> Result<Response, Status>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| unreachable(&e))?;
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(|e| unreachable(&e))?;
    let (mut parts, body) = answer.into_parts();
    parts.headers = passed_on(&parts.headers);
    Ok(Response::from_parts(parts, Body::new(body)))
}

/// The headers that go beyond this hop.
fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut passed = headers.clone();
    for name in DROPPED {
        passed.remove(name);
    }
    let own: Vec<_> = passed.keys().filter(|k| k.as_str().starts_with("impersonate-")).cloned().collect();
    own.into_iter().for_each(|name| drop(passed.remove(name)));
    passed
}

/// What is relative in the answers of a proxy is relative to a path that ends in a slash.
fn with_slash(uri: &Uri) -> Response {
    let query = uri.query().map(|q| format!("?{q}")).unwrap_or_default();
    let mut response = Response::new(Body::empty());
    *response.status_mut() = http::StatusCode::MOVED_PERMANENTLY;
    if let Ok(location) = HeaderValue::from_str(&format!("{}/{query}", uri.path())) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn what_is_behind_the_proxy_is_passed_on_as_it_was_sent() {
        for (uri, want) in [
            ("/api/v1/namespaces/n/pods/p/proxy", ("/api/v1/namespaces/n/pods/p/proxy", "")),
            ("/api/v1/namespaces/n/pods/p/proxy?a=b", ("/api/v1/namespaces/n/pods/p/proxy", "")),
            ("/api/v1/namespaces/n/pods/p/proxy/", ("/api/v1/namespaces/n/pods/p/proxy", "/")),
            (
                "/api/v1/namespaces/n/services/s/proxy/a%20b/c?d=e",
                ("/api/v1/namespaces/n/services/s/proxy", "/a%20b/c?d=e"),
            ),
            ("/api/v1/nodes/n/proxy/healthz", ("/api/v1/nodes/n/proxy", "/healthz")),
        ] {
            let (prefix, path) = around_proxy(&uri.parse().unwrap());
            assert_eq!((&*prefix, &*path), want, "{uri}");
        }
    }

    #[test]
    fn only_readers_are_sent_to_the_slash() {
        let onward = |method: Method, path: &str| {
            let request = Request::builder().method(method).uri("/api/v1/namespaces/n/pods/p/proxy?a=b");
            asked(path.to_owned(), &request.body(Body::empty()).unwrap())
        };
        assert_eq!(onward(Method::GET, ""), None);
        assert_eq!(onward(Method::POST, "").as_deref(), Some("/?a=b"));
        assert_eq!(onward(Method::GET, "/x").as_deref(), Some("/x"));
    }

    #[test]
    fn names_carry_schemes_and_ports() {
        assert_eq!(Named::parse("s"), Some(Named { scheme: "", name: "s", port: "" }));
        assert_eq!(Named::parse("https:s:web"), Some(Named { scheme: "https", name: "s", port: "web" }));
        assert_eq!(Named::parse("a:b:c:d"), None);
    }

    #[test]
    fn only_addresses_of_the_cluster_are_reached() {
        assert!(check_address("10.0.0.1").is_ok());
        for closed in ["", "127.0.0.1", "169.254.169.254", "::1"] {
            assert_eq!(check_address(closed).unwrap_err().message, "address not allowed", "{closed}");
        }
    }

    #[test]
    fn a_pod_is_asked_at_its_first_port() {
        let pod = json!({"spec": {"containers": [{}, {"ports": [{"containerPort": 8080}]}]}});
        assert_eq!((pod_port(&pod, "").unwrap(), pod_port(&pod, "9").unwrap()), (8080, 9));
        assert!(pod_port(&pod, "web").is_err());
    }
}
