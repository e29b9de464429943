// SPDX-License-Identifier: Apache-2.0
//! Ways to the API server: in process, or over the network with a certificate.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::Client;
use kube::client::Body;
use kube::config::{AuthInfo, Config};
use tower::{Service, ServiceExt as _};

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address or a certificate is not usable.
    #[error("cannot connect to {server}: {reason}")]
    Parts {
        /// The address that was given.
        server: String,
        /// What is wrong.
        reason: String,
    },
}

/// A client that hands its requests to `service` as `identity`: no socket, no TLS, no
/// serialisation beyond HTTP's. The identity goes along as a request extension, which no request
/// from outside can carry.
pub fn in_process<S, B, I>(service: S, identity: I) -> Client
where
    S: Service<http::Request<Body>, Response = http::Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<tower::BoxError>,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<tower::BoxError>,
    I: Clone + Send + Sync + 'static,
{
    let service = service.map_request(move |mut request: http::Request<Body>| {
        request.extensions_mut().insert(identity.clone());
        request
    });
    Client::new(service, "default")
}

/// A client for the server at `url` (`https://host:port`) that trusts `ca` alone and shows
/// `certificate`; all three are PEM.
///
/// # Errors
/// [`ConnectError::Parts`] where the address or a PEM is not usable.
pub fn from_parts(url: &str, ca: &str, certificate: &str, key: &str) -> Result<Client, ConnectError> {
    let bad = |reason: String| ConnectError::Parts { server: url.to_owned(), reason };
    let address = url.parse().map_err(|e: http::uri::InvalidUri| bad(e.to_string()))?;
    let roots = pem::parse_many(ca).map_err(|e| bad(format!("the CA is not PEM: {e}")))?;
    let mut config = Config::new(address);
    config.root_cert = Some(roots.into_iter().map(pem::Pem::into_contents).collect());
    config.auth_info = AuthInfo {
        client_certificate_data: Some(STANDARD.encode(certificate)),
        client_key_data: Some(STANDARD.encode(key).into()),
        ..AuthInfo::default()
    };
    // A watch may be silent for as long as nothing happens: the server ends it, not a timer here.
    config.read_timeout = None;
    Client::try_from(config).map_err(|e| bad(e.to_string()))
}
