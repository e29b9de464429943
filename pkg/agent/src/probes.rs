// SPDX-License-Identifier: Apache-2.0
//! Running one probe or hook once: a command in the container, an HTTP request, a connection, a call.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::LOCATION;
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use knarr_runtime::{ContainerId, ExecConfig, PodRuntime};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::grpc;
use crate::server::trusting_anyone;

/// How much of a command's or server's answer is kept for messages.
const OUTPUT_MAX: usize = 10 << 10;
/// Redirects that one request follows.
const REDIRECTS_MAX: usize = 10;

/// Where a container is reached.
pub struct Target<'a> {
    /// The runtime.
    pub runtime: &'a Arc<dyn PodRuntime>,
    /// The run of the container.
    pub id: ContainerId,
    /// Its specification, for named ports.
    pub spec: &'a Container,
    /// The pod's address.
    pub ip: Option<IpAddr>,
}

/// Runs a probe once.
///
/// # Errors
/// Why it failed, in upstream's words.
pub async fn probe(target: &Target<'_>, probe: &Probe) -> Result<(), String> {
    let timeout = Duration::from_secs(u64::try_from(probe.timeout_seconds.unwrap_or(1)).unwrap_or(1).max(1));
    if let Some(exec) = &probe.exec {
        let command = exec.command.clone().unwrap_or_default();
        return match tokio::time::timeout(timeout, run(target, command.clone())).await {
            Ok(result) => result,
            Err(_) => Err(format!("command timed out: {command:?} timed out after {}s", timeout.as_secs())),
        };
    }
    if let Some(get) = &probe.http_get {
        return match tokio::time::timeout(timeout, http_get(target, get, "kube-probe/1.36")).await {
            Ok(Ok(status)) if (200..400).contains(&status.as_u16()) => Ok(()),
            Ok(Ok(status)) => Err(format!("HTTP probe failed with statuscode: {}", status.as_u16())),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(format!(
                "Get \"{}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
                url(target, get).unwrap_or_default()
            )),
        };
    }
    if let Some(socket) = &probe.tcp_socket {
        let address = address(target, socket.host.as_deref(), &socket.port)?;
        return match tokio::time::timeout(timeout, connect(&address)).await {
            Ok(result) => result.map(drop),
            Err(_) => Err(format!("dial tcp {address}: i/o timeout")),
        };
    }
    if let Some(grpc) = &probe.grpc {
        let address = address(target, None, &IntOrString::Int(grpc.port))?;
        return grpc::check(&address, grpc.service.as_deref().unwrap_or_default(), timeout).await;
    }
    Err("missing probe handler".to_owned())
}

/// Runs a command in the container.
///
/// # Errors
/// Its output, when it ends with another code than zero, or why it could not be run.
pub async fn run(target: &Target<'_>, command: Vec<String>) -> Result<(), String> {
    let config = ExecConfig { args: command, ..ExecConfig::default() };
    let mut session = target.runtime.exec(&target.id, &config).await.map_err(|error| error.to_string())?;
    drop(session.stdin.take());
    let (stdout, stderr) = (session.stdout.take(), session.stderr.take());
    let (out, err, exit) = tokio::join!(read(stdout), read(stderr), session.wait());
    match exit {
        Ok(exit) if exit.code == 0 => Ok(()),
        Ok(exit) => {
            let output = format!("{out}{err}");
            Err(if output.is_empty() { format!("command terminated with exit code {}", exit.code) } else { output })
        }
        Err(error) => Err(error.to_string()),
    }
}

/// One HTTP request of a client of that name, redirects on the same host followed; gives the status of the last answer.
///
/// # Errors
/// Why there is none.
pub async fn http_get(target: &Target<'_>, get: &HTTPGetAction, client: &str) -> Result<StatusCode, String> {
    let mut headers: Vec<(&str, &str)> =
        get.http_headers.iter().flatten().map(|header| (header.name.as_str(), header.value.as_str())).collect();
    for default in [("User-Agent", client), ("Accept", "*/*")] {
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(default.0)) {
            headers.push(default);
        }
    }
    let text = url(target, get)?;
    let mut url: Uri = text.parse().map_err(|error| format!("Get \"{text}\": {error}"))?;
    for _ in 0..=REDIRECTS_MAX {
        let answer = request(&url, &headers).await.map_err(|error| format!("Get \"{url}\": {error}"))?;
        match answer.headers().get(LOCATION).filter(|_| answer.status().is_redirection()) {
            Some(location) => match redirected(&url, location) {
                Some(next) => url = next,
                None => return Ok(answer.status()),
            },
            None => return Ok(answer.status()),
        }
    }
    Err(format!("Get \"{url}\": stopped after {REDIRECTS_MAX} redirects"))
}

/// Where a redirect leads; `None` where that is another host, or nowhere.
fn redirected(url: &Uri, location: &HeaderValue) -> Option<Uri> {
    let location: Uri = location.to_str().ok()?.parse().ok()?;
    let (scheme, authority) = match (location.scheme_str(), location.authority()) {
        (Some(scheme), Some(authority)) if Some(authority.host()) == url.host() => (scheme, authority.as_str()),
        (None, None) => (url.scheme_str()?, url.authority()?.as_str()),
        _ => return None,
    };
    let path = location.path_and_query().map_or("/", |path| path.as_str());
    let rooted = if path.starts_with('/') { "" } else { "/" };
    format!("{scheme}://{authority}{rooted}{path}").parse().ok()
}

/// One request and the head of its answer.
async fn request(url: &Uri, headers: &[(&str, &str)]) -> Result<Response<()>, String> {
    let tls = url.scheme_str() == Some("https");
    let (host, authority) =
        (url.host().unwrap_or_default(), url.authority().map_or("", |authority| authority.as_str()));
    let address = format!("{host}:{}", url.port_u16().unwrap_or(if tls { 443 } else { 80 }));
    let stream = connect(&address).await?;
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::get(path);
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        request = request.header("Host", authority);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    if !tls {
        return exchange(stream, request).await;
    }
    let config = trusting_anyone().map_err(|error| error.to_string())?;
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|error| error.to_string())?;
    let stream = TlsConnector::from(config).connect(name, stream).await.map_err(|error| error.to_string())?;
    exchange(stream, request).await
}

async fn exchange<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<Response<()>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let driver = tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let (head, body) = answer.into_parts();
    let _ = Limited::new(body, OUTPUT_MAX).collect().await;
    driver.abort();
    Ok(Response::from_parts(head, ()))
}

async fn connect(address: &str) -> Result<TcpStream, String> {
    let reason = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::ConnectionRefused => format!("dial tcp {address}: connect: connection refused"),
        _ => format!("dial tcp {address}: {error}"),
    };
    TcpStream::connect(address).await.map_err(reason)
}

fn url(target: &Target<'_>, get: &HTTPGetAction) -> Result<String, String> {
    let scheme = get.scheme.as_deref().unwrap_or("HTTP").to_lowercase();
    Ok(format!("{scheme}://{}{}", address(target, get.host.as_deref(), &get.port)?, path(get)))
}

fn path(get: &HTTPGetAction) -> String {
    let path = get.path.as_deref().unwrap_or("/");
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

fn address(target: &Target<'_>, host: Option<&str>, port: &IntOrString) -> Result<String, String> {
    let port = match port {
        IntOrString::Int(number) => u16::try_from(*number).map_err(|_| format!("invalid port number: {number}"))?,
        IntOrString::String(name) => named_port(target.spec, name)?,
    };
    match (host.filter(|host| !host.is_empty()), target.ip) {
        (Some(host), _) if host.contains(':') => Ok(format!("[{host}]:{port}")),
        (Some(host), _) => Ok(format!("{host}:{port}")),
        (None, Some(ip)) => Ok(SocketAddr::new(ip, port).to_string()),
        (None, None) => Err("the pod has no address".to_owned()),
    }
}

fn named_port(spec: &Container, name: &str) -> Result<u16, String> {
    let declared = spec.ports.iter().flatten().find(|port| port.name.as_deref() == Some(name));
    let number = declared.map(|port| port.container_port).or_else(|| name.parse().ok());
    number
        .and_then(|number| u16::try_from(number).ok())
        .ok_or_else(|| format!("couldn't find port: \"{name}\" in container \"{}\"", spec.name))
}

async fn read(stream: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let mut kept = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut chunk).await {
        let room = OUTPUT_MAX.saturating_sub(kept.len()).min(count);
        kept.extend_from_slice(&chunk[..room]);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_followed_on_the_same_host() {
        let from: Uri = "http://10.42.0.9:8080/ready?x=1".parse().unwrap();
        for (location, expected) in [
            ("/login", Some("http://10.42.0.9:8080/login")),
            ("/a?b=c", Some("http://10.42.0.9:8080/a?b=c")),
            ("http://10.42.0.9:8080/", Some("http://10.42.0.9:8080/")),
            ("https://10.42.0.9/x", Some("https://10.42.0.9/x")),
            ("http://example.test/", None),
            ("not a place", None),
        ] {
            let found = redirected(&from, &HeaderValue::from_str(location).unwrap());
            assert_eq!(found.map(|url| url.to_string()).as_deref(), expected, "{location}");
        }
    }

    #[test]
    fn ports_go_by_number_or_name() {
        let spec: Container =
            serde_json::from_value(serde_json::json!({"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}))
                .unwrap();
        assert_eq!(named_port(&spec, "web"), Ok(8080));
        assert_eq!(named_port(&spec, "81"), Ok(81));
        assert!(named_port(&spec, "x").is_err());
    }
}
