// SPDX-License-Identifier: Apache-2.0

//! TLS towards clients: certificates by server name.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::snapshot::Certificate;

/// The certificates of the snapshot. A connection keeps the one that it began with.
#[derive(Default)]
pub(super) struct Certificates {
    current: ArcSwap<Loaded>,
}

#[derive(Default)]
struct Loaded {
    by_name: HashMap<String, Arc<CertifiedKey>>,
    /// For clients that name no host of ours.
    default: Option<Arc<CertifiedKey>>,
    sources: Vec<(Certificate, Arc<CertifiedKey>)>,
}

impl Certificates {
    /// Reads what is new; what cannot be read is left out and said in the log.
    pub fn set(&self, certificates: &[Certificate], default: Option<&Certificate>) {
        let before = self.current.load();
        let mut loaded = Loaded::default();
        for certificate in certificates {
            if let Some(key) = before.known_or_load(certificate) {
                loaded.add(certificate, key);
            }
        }
        if let Some(certificate) = default
            && let Some(key) = before.known_or_load(certificate)
        {
            loaded.default = Some(Arc::clone(&key));
            loaded.sources.push((certificate.clone(), key));
        }
        self.current.store(Arc::new(loaded));
    }
}

impl Loaded {
    fn known_or_load(&self, certificate: &Certificate) -> Option<Arc<CertifiedKey>> {
        let known = self.sources.iter().find(|(source, _)| source == certificate);
        if let Some((_, key)) = known {
            return Some(Arc::clone(key));
        }
        let warn = |error| tracing::warn!(chain = %certificate.chain.display(), error, "certificate is not usable");
        load(certificate).map(Arc::new).map_err(warn).ok()
    }

    fn add(&mut self, certificate: &Certificate, key: Arc<CertifiedKey>) {
        for host in &certificate.hosts {
            self.by_name.entry(host.to_ascii_lowercase()).or_insert_with(|| Arc::clone(&key));
        }
        self.sources.push((certificate.clone(), key));
    }

    fn find(&self, name: Option<&str>) -> Option<&Arc<CertifiedKey>> {
        let by_name = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            let wildcard = name.split_once('.').map(|(_, rest)| format!("*.{rest}"));
            self.by_name.get(&name).or_else(|| self.by_name.get(&wildcard?))
        });
        by_name.or(self.default.as_ref())
    }
}

fn load(certificate: &Certificate) -> Result<CertifiedKey, String> {
    let text = |error: &dyn fmt::Display| error.to_string();
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(&certificate.chain).and_then(Iterator::collect).map_err(|error| text(&error))?;
    if chain.is_empty() {
        return Err("no certificate in the file".to_owned());
    }
    let key = PrivateKeyDer::from_pem_file(&certificate.key).map_err(|error| text(&error))?;
    let pair = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|error| text(&error))?;
    Ok(pair)
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.load().find(hello.server_name()).cloned()
    }
}

/// TLS 1.3 and 1.2 (clients of the outside are not ours to choose), HTTP/2 and HTTP/1.1.
pub(super) fn acceptor(certificates: Arc<Certificates>) -> tokio_rustls::TlsAcceptor {
    let builder = rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .expect("the provider has suites of both versions");
    let mut config = builder.with_no_client_auth().with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    tokio_rustls::TlsAcceptor::from(Arc::new(config))
}
