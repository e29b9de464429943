// SPDX-License-Identifier: Apache-2.0
//! Answers of proxied servers on their way to the client: links in redirects and HTML go through the proxy, all else
//! stays as it is and is streamed.

use std::io::{Read as _, Write as _};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use futures::StreamExt as _;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION};

use super::links::Links;
use crate::body::Response;

/// A longer document is passed on as it is.
const LONGEST_DOCUMENT: usize = 4 << 20;

/// The answer with its links through the proxy.
pub async fn through(links: &Links, answer: Response) -> Response {
    let (mut parts, body) = answer.into_parts();
    if let Some(location) = text(&parts.headers, LOCATION) {
        if let Some(value) = links.through(location).and_then(|link| HeaderValue::from_str(&link).ok()) {
            parts.headers.insert(LOCATION, value);
        }
        return Response::from_parts(parts, body);
    }
    let media_type = text(&parts.headers, CONTENT_TYPE).and_then(|value| value.split(';').next()).unwrap_or_default();
    let packing = text(&parts.headers, CONTENT_ENCODING).unwrap_or_default();
    if media_type.trim() != "text/html" || !matches!(packing, "" | "gzip") {
        return Response::from_parts(parts, body);
    }
    let gzip = packing == "gzip";
    let body = match whole(body).await {
        Ok(document) => match rewritten(links, &document, gzip) {
            Some(changed) => {
                parts.headers.remove(CONTENT_LENGTH);
                Body::from(changed)
            }
            None => Body::from(document),
        },
        Err(body) => body,
    };
    Response::from_parts(parts, body)
}

fn text(headers: &HeaderMap, name: http::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The document, or a body that goes on with what was not read where it is too long.
async fn whole(body: Body) -> Result<Bytes, Body> {
    let mut stream = body.into_data_stream();
    let mut document = BytesMut::new();
    while let Some(piece) = stream.next().await {
        match piece {
            Ok(piece) => document.extend_from_slice(&piece),
            Err(error) => return Err(ahead(document, futures::stream::iter([Err(error)]))),
        }
        if document.len() > LONGEST_DOCUMENT {
            return Err(ahead(document, stream));
        }
    }
    Ok(document.freeze())
}

fn ahead(read: BytesMut, rest: impl futures::Stream<Item = Result<Bytes, axum::Error>> + Send + 'static) -> Body {
    Body::from_stream(futures::stream::iter([Ok(read.freeze())]).chain(rest))
}

/// The document with other links, packed as it was; `None` where it is no text, or not packed so, or too long unpacked.
fn rewritten(links: &Links, document: &[u8], gzip: bool) -> Option<Vec<u8>> {
    if !gzip {
        return Some(links.rewrite(std::str::from_utf8(document).ok()?).into_bytes());
    }
    let mut html = String::new();
    let most = u64::try_from(LONGEST_DOCUMENT).ok()?;
    let read = GzDecoder::new(document).take(most + 1).read_to_string(&mut html).ok()?;
    if read > LONGEST_DOCUMENT {
        return None;
    }
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(links.rewrite(&html).as_bytes()).ok()?;
    packed.finish().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links() -> Links {
        Links { prefix: "/p/proxy".into(), server: "10.0.0.1:80".into(), asked: "host".into() }
    }

    async fn answer(header: &[(http::HeaderName, &str)], body: Vec<u8>) -> (HeaderMap, Bytes) {
        let mut response = Response::new(Body::from(body));
        for (name, value) in header {
            response.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
        }
        let (parts, body) = through(&links(), response).await.into_parts();
        (parts.headers, axum::body::to_bytes(body, usize::MAX).await.unwrap())
    }

    #[tokio::test]
    async fn documents_and_redirects_lead_through_the_proxy() {
        let html = b"<a href=/r>".to_vec();
        let (headers, body) =
            answer(&[(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_LENGTH, "11")], html.clone()).await;
        assert_eq!((headers.get(CONTENT_LENGTH), &body[..]), (None, &b"<a href=/p/proxy/r>"[..]));
        let (_, body) = answer(&[(CONTENT_TYPE, "text/plain")], html.clone()).await;
        assert_eq!(body, html);
        let (headers, _) = answer(&[(LOCATION, "/r?a")], Vec::new()).await;
        assert_eq!(headers[LOCATION], "/p/proxy/r?a");
    }

    #[tokio::test]
    async fn packed_documents_are_packed_again_and_strange_ones_left_alone() {
        let head = [(CONTENT_TYPE, "text/html"), (CONTENT_ENCODING, "gzip")];
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(b"<a href=/r>").unwrap();
        let (_, body) = answer(&head, packed.finish().unwrap()).await;
        let mut html = String::new();
        GzDecoder::new(&body[..]).read_to_string(&mut html).unwrap();
        assert_eq!(html, "<a href=/p/proxy/r>");
        assert_eq!(answer(&head, b"no gzip".to_vec()).await.1, &b"no gzip"[..]);
        let long = [b"<a href=/r>".to_vec(), vec![b' '; LONGEST_DOCUMENT]].concat();
        assert_eq!(answer(&head[..1], long.clone()).await.1, long);
    }
}
