// SPDX-License-Identifier: Apache-2.0
//! TLS to what runs in pods and behind Services: as upstream, whatever certificate they show. The connection leads to the
//! pod through its node's tunnel; its certificate is its own business.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use knarr_pki::AnyServer;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, Error};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Speaks TLS over a connection to the server at an address.
///
/// # Errors
/// When what is there does not speak TLS.
pub async fn connect<S>(stream: S, server: IpAddr) -> std::io::Result<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let config = CONFIG.clone().map_err(std::io::Error::other)?;
    TlsConnector::from(config).connect(ServerName::IpAddress(server.into()), stream).await
}

/// Made when it is first needed.
static CONFIG: LazyLock<Result<Arc<ClientConfig>, Error>> = LazyLock::new(|| {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
        .with_no_client_auth();
    Ok(Arc::new(config))
});
