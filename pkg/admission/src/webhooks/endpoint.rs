// SPDX-License-Identifier: Apache-2.0
//! Where a webhook is, of whatever sort: its `clientConfig`.

use std::time::Duration;

use http::Uri;
use knarr_types::tree::Value;

use super::client::Target;
use crate::Lookup;

/// Where a webhook is and who vouches for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    address: Address,
    /// Certificates that sign its own, PEM; the host's where there are none.
    authorities: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Address {
    /// At a URL.
    Url(String),
    /// Behind a Service.
    Service { namespace: String, name: String, path: String, port: u16 },
}

impl Endpoint {
    /// Reads a `clientConfig`.
    #[must_use]
    pub fn read(config: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let service = &config["service"];
        let address = match config["url"].as_str() {
            Some(url) => Address::Url(url.to_owned()),
            None => Address::Service {
                namespace: text(&service["namespace"]),
                name: text(&service["name"]),
                path: text(&service["path"]),
                port: service["port"].as_u64().and_then(|p| u16::try_from(p).ok()).unwrap_or(443),
            },
        };
        Self { address, authorities: decoded(config["caBundle"].as_str().unwrap_or_default()) }
    }

    /// The address as messages show it, and as it is asked by those who wait that long.
    #[must_use]
    pub fn url(&self, limit: Duration) -> String {
        let base = match &self.address {
            Address::Url(url) => url.clone(),
            Address::Service { namespace, name, path, port } => {
                let slash = if path.starts_with('/') { "" } else { "/" };
                format!("https://{name}.{namespace}.svc:{port}{slash}{path}")
            }
        };
        let joint = if base.contains('?') { '&' } else { '?' };
        format!("{base}{joint}timeout={}s", limit.as_secs())
    }

    /// Where to connect to; `uri` is that of [`Endpoint::url`].
    pub(super) fn target(&self, lookup: &dyn Lookup, uri: &Uri) -> Result<Target, String> {
        let authorities = self.authorities.clone();
        match &self.address {
            Address::Url(_) => {
                let host = uri.host().unwrap_or_default().to_owned();
                Ok(Target { dial: format!("{host}:{}", uri.port_u16().unwrap_or(443)), host, authorities })
            }
            Address::Service { namespace, name, port, .. } => {
                let dial = lookup.service_address(namespace, name, *port)?;
                Ok(Target { dial, host: format!("{name}.{namespace}.svc"), authorities })
            }
        }
    }
}

fn decoded(base64: &str) -> String {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(base64).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn addresses_are_shown_as_they_are_asked() {
        let url = |config: Value| Endpoint::read(&config).url(Duration::from_secs(2));
        assert_eq!(url(json!({"url": "https://h/x"})), "https://h/x?timeout=2s");
        let service = json!({"service": {"namespace": "n", "name": "s", "path": "/v"}});
        assert_eq!(url(service), "https://s.n.svc:443/v?timeout=2s");
        let rootless = json!({"service": {"namespace": "n", "name": "s"}});
        assert_eq!(url(rootless), "https://s.n.svc:443/?timeout=2s");
    }
}
