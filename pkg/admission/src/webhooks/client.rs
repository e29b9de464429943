// SPDX-License-Identifier: Apache-2.0
//! HTTPS to webhooks: a connection a question, kept for the next where the other side lets it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, LOCATION, USER_AGENT};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::answer::Answer;

/// How often an answer may send the question elsewhere.
const REDIRECTIONS_MAX: usize = 10;
/// Connections kept for later, in all.
const IDLE_MAX: usize = 32;

type Sender = SendRequest<Full<Bytes>>;

/// A webhook's place, as it is connected to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Target {
    /// `host:port` to dial.
    pub dial: String,
    /// Whom the certificate must name.
    pub host: String,
    /// Who signs it, PEM; the host's authorities where empty.
    pub authorities: String,
}

/// Asks webhooks.
#[derive(Debug, Default)]
pub(super) struct Client {
    idle: Mutex<HashMap<Target, Vec<Sender>>>,
    configurations: Mutex<HashMap<String, Arc<rustls::ClientConfig>>>,
}

impl Client {
    /// Posts `body` and gives the answer's body, of `most` bytes; what goes wrong is told as Go's client does: on the
    /// way there, and within that what the answer itself says.
    pub(super) async fn post(
        &self,
        target: &Target,
        uri: &Uri,
        body: Bytes,
        limit: Duration,
        most: usize,
    ) -> Result<Result<Bytes, String>, String> {
        let asked = tokio::time::timeout(limit, self.post_now(target, uri, body, most)).await;
        asked.unwrap_or_else(|_| Err("context deadline exceeded".into()))
    }

    async fn post_now(
        &self,
        target: &Target,
        uri: &Uri,
        body: Bytes,
        most: usize,
    ) -> Result<Result<Bytes, String>, String> {
        let (mut uri, mut method, mut body) = (uri.clone(), Method::POST, body);
        for _ in 0..REDIRECTIONS_MAX {
            let answer = self.ask(target, &method, &uri, &body, most).await?;
            let answer = match answer {
                Ok(answer) => answer,
                Err(why) => return Ok(Err(why)),
            };
            match answer.leads_to(&uri) {
                Some(place) => uri = place,
                None => return Ok(answer.body()),
            }
            // Only these two lead to the same question.
            if !matches!(answer.status, 307 | 308) {
                (method, body) = (Method::GET, Bytes::new());
            }
        }
        Err(format!("stopped after {REDIRECTIONS_MAX} redirects"))
    }

    /// One question, over a connection that was kept if it still is one.
    async fn ask(
        &self,
        target: &Target,
        method: &Method,
        uri: &Uri,
        body: &Bytes,
        most: usize,
    ) -> Result<Result<Answer, String>, String> {
        if let Some(sender) = self.kept(target)
            && let Ok(answer) = self.ask_over(target, sender, (method, uri, body), most).await
        {
            return Ok(answer);
        }
        let sender = self.connect(target).await?;
        self.ask_over(target, sender, (method, uri, body), most).await
    }

    fn kept(&self, target: &Target) -> Option<Sender> {
        let mut idle = self.idle.lock();
        let senders = idle.get_mut(target)?;
        while let Some(sender) = senders.pop() {
            if sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    fn keep(&self, target: &Target, sender: Sender) {
        let mut idle = self.idle.lock();
        idle.retain(|_, senders| {
            senders.retain(|s| !s.is_closed());
            !senders.is_empty()
        });
        if idle.values().map(Vec::len).sum::<usize>() < IDLE_MAX {
            idle.entry(target.clone()).or_default().push(sender);
        }
    }

    /// One question over a connection. The outer error is of the connection, which may have been closed
    /// while it was kept: nothing was asked then.
    async fn ask_over(
        &self,
        target: &Target,
        mut sender: Sender,
        (method, uri, body): (&Method, &Uri, &Bytes),
        most: usize,
    ) -> Result<Result<Answer, String>, String> {
        let path = uri.path_and_query().map_or("/", |p| p.as_str());
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, uri.authority().map_or("", |a| a.as_str()))
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, "kube-apiserver-admission")
            .body(Full::new(body.clone()))
            .map_err(|e| e.to_string())?;
        let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
        let text =
            |name| response.headers().get(name).and_then(|text| text.to_str().ok()).unwrap_or_default().to_owned();
        let (status, media, location) = (response.status().as_u16(), text(CONTENT_TYPE), text(LOCATION));
        let read = Limited::new(response.into_body(), most).collect().await;
        let Ok(body) = read else { return Ok(Err("the answer was cut off or is too large".into())) };
        self.keep(target, sender);
        Ok(Ok(Answer { status, media, location, body: body.to_bytes() }))
    }

    async fn connect(&self, target: &Target) -> Result<Sender, String> {
        let stream = TcpStream::connect(&target.dial).await.map_err(|e| dial_error(&target.dial, &e))?;
        let host = target.host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(|e| e.to_string())?;
        let connector = TlsConnector::from(self.configuration(&target.authorities)?);
        let stream = connector.connect(name, stream).await.map_err(|e| tls_error(&e))?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        tokio::spawn(connection);
        Ok(sender)
    }

    fn configuration(&self, authorities: &str) -> Result<Arc<rustls::ClientConfig>, String> {
        let mut known = self.configurations.lock();
        if let Some(configuration) = known.get(authorities) {
            return Ok(Arc::clone(configuration));
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let configuration = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_root_certificates(roots(authorities))
            .with_no_client_auth();
        let configuration = Arc::new(configuration);
        if known.len() >= IDLE_MAX {
            known.clear();
        }
        known.insert(authorities.to_owned(), Arc::clone(&configuration));
        Ok(configuration)
    }
}

fn roots(authorities: &str) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    if authorities.trim().is_empty() {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    } else {
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(authorities.as_bytes()).flatten());
    }
    roots
}

/// As Go's dialer says it.
fn dial_error(address: &str, error: &std::io::Error) -> String {
    let why = match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        std::io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        std::io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => {
            let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
            if host.parse::<std::net::IpAddr>().is_err() {
                return format!("dial tcp: lookup {host}: no such host");
            }
            error.to_string()
        }
    };
    format!("dial tcp {address}: {why}")
}

fn tls_error(error: &std::io::Error) -> String {
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer)) => {
            "tls: failed to verify certificate: x509: certificate signed by unknown authority".into()
        }
        Some(rustls::Error::InvalidCertificate(why)) => format!("tls: failed to verify certificate: x509: {why}"),
        _ => error.to_string(),
    }
}
