// SPDX-License-Identifier: Apache-2.0

//! What Pingora asks on a request's way: where to, with which headers, and what if that fails.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use http::header::{FORWARDED, HOST, HeaderValue};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{ProxyHttp, Session};

use super::router::{Router, Upstream, route};
use super::upgrade::LateReader;

/// How long a pod may take to accept a connection before another is tried.
pub(super) const CONNECT: Duration = Duration::from_secs(2);

/// How long an unused connection to a pod is kept.
const KEEP: Duration = Duration::from_secs(30);

/// Endpoints that one request tries.
const TRIES: usize = 4;

/// The pool of connections for requests that upgrade; others are in 0.
const UPGRADES: u64 = 1;

/// Routes and rewrites requests; Pingora does the rest.
pub(super) struct Proxy {
    router: Arc<ArcSwap<Router>>,
}

/// What one request knows of itself.
#[derive(Default)]
pub(super) struct Way {
    upstream: Option<Arc<Upstream>>,
    /// Where among the endpoints it began, and how many did not accept.
    start: usize,
    failed: usize,
}

impl Proxy {
    pub fn new(router: Arc<ArcSwap<Router>>) -> Self {
        Self { router }
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Way;

    fn new_ctx(&self) -> Way {
        Way::default()
    }

    fn init_downstream_modules(&self, _: &mut pingora_core::modules::http::HttpModules) {
        // None: bodies pass as they are.
    }

    async fn request_filter(&self, session: &mut Session, way: &mut Way) -> Result<bool> {
        let request = session.req_header();
        let router = self.router.load();
        let found = route(&router, host(request).unwrap_or_default(), request.uri.path()).cloned();
        drop(router);
        match found {
            None => refuse(session, 404, "404 page not found\n".to_owned()).await,
            Some(upstream) if upstream.endpoints.is_empty() => {
                refuse(session, 503, format!("503 no ready endpoint behind {}\n", upstream.name)).await
            }
            Some(upstream) => {
                way.start = fastrand::usize(..upstream.endpoints.len());
                way.upstream = Some(upstream);
                Ok(false)
            }
        }
    }

    async fn upstream_peer(&self, session: &mut Session, way: &mut Way) -> Result<Box<HttpPeer>> {
        let endpoints = way.upstream.as_ref().map_or(&[][..], |upstream| &upstream.endpoints);
        if endpoints.is_empty() {
            return Err(Error::new(ErrorType::HTTPStatus(503)));
        }
        let address = endpoints[(way.start + way.failed) % endpoints.len()];
        let mut peer = HttpPeer::new(address, false, String::new());
        peer.options.connection_timeout = Some(CONNECT);
        peer.options.idle_timeout = Some(KEEP);
        if session.req_header().headers.contains_key(http::header::UPGRADE) {
            peer.options.custom_l4 = Some(Arc::new(LateReader));
            peer.group_key = UPGRADES; // never a connection that was made for other requests
        }
        Ok(Box::new(peer))
    }

    fn fail_to_connect(&self, _: &mut Session, _: &HttpPeer, way: &mut Way, mut error: Box<Error>) -> Box<Error> {
        way.failed += 1;
        let endpoints = way.upstream.as_ref().map_or(0, |upstream| upstream.endpoints.len());
        // Nothing was sent, so any method may be tried again. A lone endpoint gets a second chance: it may
        // just be starting to listen.
        error.set_retry(way.failed < TRIES.min(endpoints.max(2)));
        error
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        _: &mut Way,
    ) -> Result<()> {
        let tls = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
        let client = session.client_addr().and_then(|address| address.as_inet()).map(|address| address.ip());
        let port = session.server_addr().and_then(|address| address.as_inet()).map(|address| address.port());
        // Whoever is before us is not known to be honest: what it says of itself is replaced.
        request.remove_header(&FORWARDED);
        let client = HeaderValue::try_from(client.map_or(String::new(), |client| client.to_string()));
        let client = client.unwrap_or(HeaderValue::from_static(""));
        request.insert_header("X-Forwarded-For", client.clone())?;
        request.insert_header("X-Real-Ip", client)?;
        request.insert_header("X-Forwarded-Port", HeaderValue::from(port.unwrap_or_default()))?;
        request.insert_header("X-Forwarded-Proto", HeaderValue::from_static(if tls { "https" } else { "http" }))?;
        // A text that the client has sent as one.
        let authority = HeaderValue::from_str(authority(session.req_header()).unwrap_or_default());
        let authority = authority.unwrap_or(HeaderValue::from_static(""));
        if !request.headers.contains_key(HOST) {
            request.insert_header(HOST, authority.clone())?; // HTTP/2 has it in the request line
        }
        request.insert_header("X-Forwarded-Host", authority)?;
        Ok(())
    }
}

/// The Host header or, in HTTP/2 and absolute requests, the authority.
fn authority(request: &RequestHeader) -> Option<&str> {
    let of_uri = request.uri.authority().map(http::uri::Authority::as_str);
    of_uri.or_else(|| request.headers.get(HOST).and_then(|host| host.to_str().ok()))
}

fn host(request: &RequestHeader) -> Option<&str> {
    let authority = authority(request)?;
    if authority.starts_with('[') {
        return authority.find(']').map(|end| &authority[..=end]);
    }
    Some(authority.split_once(':').map_or(authority, |(host, _)| host))
}

async fn refuse(session: &mut Session, code: u16, text: String) -> Result<bool> {
    let body = Bytes::from(text);
    let mut response = ResponseHeader::build(code, Some(4))?;
    response.insert_header(http::header::CONTENT_TYPE, "text/plain; charset=utf-8")?;
    response.insert_header(http::header::CONTENT_LENGTH, body.len().to_string())?;
    session.write_response_header(Box::new(response), false).await?;
    session.write_response_body(Some(body), true).await?;
    Ok(true)
}
