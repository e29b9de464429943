// SPDX-License-Identifier: Apache-2.0
//! The way to the API server outside the Kubernetes API: the join call and the tunnel.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use knarr_pki::AnyServer;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::AgentError;
use crate::join::Identity;

/// The address of the server, taken apart.
#[derive(Clone, Debug)]
pub struct Server {
    /// As it was given.
    pub url: String,
    host: String,
    port: u16,
}

impl Server {
    /// Takes `https://host[:port]`.
    ///
    /// # Errors
    /// When it is something else.
    pub fn parse(url: &str) -> Result<Self, AgentError> {
        let bad = |message: &str| AgentError::Setting { setting: "--server", message: format!("{url:?} {message}") };
        let uri: Uri = url.parse().map_err(|_| bad("is no URL; it must be https://HOST:PORT"))?;
        if uri.scheme_str() != Some("https") {
            return Err(bad("must begin with https://"));
        }
        let host = uri.host().ok_or_else(|| bad("names no host"))?.trim_matches(['[', ']']).to_owned();
        Ok(Self { url: url.trim_end_matches('/').to_owned(), host, port: uri.port_u16().unwrap_or(6443) })
    }

    /// For messages: what happened in talking to this server.
    pub fn error(&self, message: impl ToString) -> AgentError {
        AgentError::Server { server: self.url.clone(), message: message.to_string() }
    }

    /// Host and port, as an HTTP request names them.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Connects with TLS.
    ///
    /// # Errors
    /// When the server is not there, or is not who `tls` trusts.
    pub async fn connect(&self, tls: Arc<ClientConfig>) -> Result<TlsStream<TcpStream>, AgentError> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|e| self.error(e))?;
        tcp.set_nodelay(true).map_err(|e| self.error(e))?;
        keep_alive(&tcp).map_err(|e| self.error(e))?;
        let name = ServerName::try_from(self.host.clone()).map_err(|e| self.error(e))?;
        TlsConnector::from(tls).connect(name, tcp).await.map_err(|e| self.error(e))
    }

    /// The address that this host uses towards the server.
    ///
    /// # Errors
    /// When there is no route to it.
    pub async fn local_address(&self) -> Result<std::net::IpAddr, AgentError> {
        let addresses = tokio::net::lookup_host((self.host.as_str(), self.port)).await.map_err(|e| self.error(e))?;
        for address in addresses {
            let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = std::net::UdpSocket::bind(any).map_err(|e| self.error(e))?;
            if socket.connect(address).is_ok() {
                return socket.local_addr().map(|local| local.ip()).map_err(|e| self.error(e));
            }
        }
        Err(self.error("no route"))
    }

    /// One request with a whole body; the answer's status and body.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn request(
        &self,
        tls: Arc<ClientConfig>,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), AgentError> {
        let stream = self.connect(tls).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| self.error(e))?;
        let driver = tokio::spawn(connection);
        let answer = sender.send_request(request).await.map_err(|e| self.error(e))?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(|e| self.error(e))?.to_bytes();
        driver.abort();
        Ok((status, body))
    }
}

/// The kernel finds out when the other host is gone, without a timer here.
fn keep_alive(tcp: &TcpStream) -> std::io::Result<()> {
    use rustix::net::sockopt;
    sockopt::set_socket_keepalive(tcp, true)?;
    sockopt::set_tcp_keepidle(tcp, std::time::Duration::from_secs(20))?;
    sockopt::set_tcp_keepintvl(tcp, std::time::Duration::from_secs(10))?;
    sockopt::set_tcp_keepcnt(tcp, 3)?;
    Ok(())
}

/// Trusts the CA alone, and shows the node's certificate where there is one.
///
/// # Errors
/// When a PEM is not usable.
pub fn trusting(ca: &str, identity: Option<&Identity>) -> Result<Arc<ClientConfig>, AgentError> {
    let bad = |what: &str, error: &dyn std::fmt::Display| AgentError::Certificate(format!("{what}: {error}"));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        let certificate = certificate.map_err(|e| bad("the CA is not PEM", &e))?;
        roots.add(certificate).map_err(|e| bad("the CA cannot be used", &e))?;
    }
    let builder = builder()?.with_root_certificates(roots);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(identity.certificate.as_bytes()).collect();
            let chain = chain.map_err(|e| bad("it is not PEM", &e))?;
            let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).map_err(|e| bad("its key", &e))?;
            builder.with_client_auth_cert(chain, key).map_err(|e| bad("it does not fit its key", &e))?
        }
    };
    Ok(Arc::new(config))
}

/// Trusts whoever answers: only for fetching the CA, whose hash is checked afterwards.
///
/// # Errors
/// Never with a working TLS library.
pub fn trusting_anyone() -> Result<Arc<ClientConfig>, AgentError> {
    let config =
        builder()?.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer(provider()))).with_no_client_auth();
    Ok(Arc::new(config))
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, AgentError> {
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| AgentError::Certificate(error.to_string()))
}
