// SPDX-License-Identifier: Apache-2.0
//! Joining a server that is made up, over TLS on loopback.

use std::sync::Arc;

use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;

const SECRET: &str = "s3cret";

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    ca: String,
    joins: std::sync::atomic::AtomicUsize,
    passwords: parking_lot::Mutex<Vec<String>>,
}

impl Authority {
    fn answer(&self, path: &str, bearer: Option<&str>, body: &[u8]) -> (StatusCode, String) {
        if path == "/knarr/v1/ca" {
            return (StatusCode::OK, self.ca.clone());
        }
        if bearer != Some(&format!("Bearer {SECRET}")) {
            return (StatusCode::UNAUTHORIZED, r#"{"message":"invalid token"}"#.to_owned());
        }
        self.joins.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let body: serde_json::Value = serde_json::from_slice(body).unwrap();
        self.passwords.lock().push(body["password"].as_str().unwrap().to_owned());
        let request = CertificateSigningRequestParams::from_pem(body["csr"].as_str().unwrap()).unwrap();
        let certificate = request.signed_by(&self.issuer).unwrap().pem();
        let answer = serde_json::json!({ "certificate": certificate, "ca": self.ca, "clusterDNS": "10.43.0.53" });
        (StatusCode::OK, answer.to_string())
    }
}

async fn serve(authority: Arc<Authority>, tls: TlsAcceptor, tcp: TcpStream) {
    // A client that trusts another CA ends the handshake.
    let Ok(stream) = tls.accept(tcp).await else { return };
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let authority = Arc::clone(&authority);
        async move {
            let path = request.uri().path().to_owned();
            let bearer = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
            let body = request.into_body().collect().await?.to_bytes();
            let (status, text) = authority.answer(&path, bearer.as_deref(), &body);
            let mut answer = Response::new(Full::new(Bytes::from(text)));
            *answer.status_mut() = status;
            Ok::<_, hyper::Error>(answer)
        }
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// A server with a CA of its own, and its address.
async fn server() -> (Arc<Authority>, Server) {
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = parameters.self_signed(&key).unwrap();
    let issuer = Issuer::new(parameters, key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    let tls = TlsAcceptor::from(Arc::new(config));
    let authority =
        Arc::new(Authority { issuer, ca: ca.pem(), joins: Default::default(), passwords: Default::default() });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let served = Arc::clone(&authority);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(serve(Arc::clone(&served), tls.clone(), tcp));
        }
    });
    (authority, Server::parse(&url).unwrap())
}

fn config(server: &Server, token: &str) -> AgentConfig {
    AgentConfig::new("unused".into(), "n1".to_owned(), server.url.clone(), token.to_owned())
}

fn full_token(authority: &Authority, secret: &str) -> String {
    format!("K10{}::node:{secret}", hash(&authority.ca).unwrap())
}

#[tokio::test]
async fn a_node_joins_once_and_keeps_its_identity_private() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::open(dir.path()).unwrap();
    let (authority, server) = server().await;
    let config = config(&server, &full_token(&authority, SECRET));
    let first = identity(&config, &layout, &server).await.unwrap();
    assert_eq!(
        (first.cluster.cluster_dns.as_str(), first.cluster.cluster_domain.as_str()),
        ("10.43.0.53", "cluster.local")
    );
    let again = identity(&config, &layout, &server).await.unwrap();
    assert_eq!(again.certificate, first.certificate);
    assert_eq!(authority.joins.load(std::sync::atomic::Ordering::SeqCst), 1);
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(layout.identity("node.key")).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    assert!(trusting(&first.ca, Some(&first)).is_ok(), "the certificate fits its key");
}

#[tokio::test]
async fn a_machine_shows_the_same_password_whenever_it_joins() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::open(dir.path()).unwrap();
    let (authority, server) = server().await;
    let config = config(&server, &full_token(&authority, SECRET));
    identity(&config, &layout, &server).await.unwrap();
    std::fs::remove_file(layout.identity("node.crt")).unwrap();
    identity(&config, &layout, &server).await.unwrap();
    let shown = authority.passwords.lock().clone();
    assert_eq!(shown.len(), 2);
    assert!(shown[0] == shown[1] && shown[0] == password(&layout).unwrap() && shown[0].len() >= 32);
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(layout.identity("node-password")).unwrap());
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_token_of_another_cluster_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::open(dir.path()).unwrap();
    let (authority, ours) = server().await;
    let (other, _) = server().await;
    let foreign = full_token(&other, SECRET);
    let error = identity(&config(&ours, &foreign), &layout, &ours).await.unwrap_err();
    assert!(matches!(error, AgentError::WrongCa { .. }), "{error}");
    assert!(error.to_string().contains("belongs to another cluster"));
    assert_eq!(authority.joins.load(std::sync::atomic::Ordering::SeqCst), 0, "no secret was shown");
    // Also when the data dir belongs to a cluster already.
    identity(&config(&ours, &full_token(&authority, SECRET)), &layout, &ours).await.unwrap();
    let error = identity(&config(&ours, &foreign), &layout, &ours).await.unwrap_err();
    assert!(matches!(error, AgentError::WrongCa { .. }), "{error}");
}

#[tokio::test]
async fn a_plain_secret_needs_the_ca_and_a_wrong_one_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::open(dir.path()).unwrap();
    let (authority, server) = server().await;
    let mut plain = config(&server, SECRET);
    let error = identity(&plain, &layout, &server).await.unwrap_err();
    assert!(matches!(&error, AgentError::Token(text) if text.contains("--ca-file")), "{error}");
    let wrong = config(&server, &full_token(&authority, "guess"));
    let error = identity(&wrong, &layout, &server).await.unwrap_err();
    assert!(matches!(&error, AgentError::Token(text) if text.contains("agent-token")), "{error}");
    let ca = dir.path().join("the-ca.crt");
    std::fs::write(&ca, &authority.ca).unwrap();
    plain.ca_file = Some(ca);
    identity(&plain, &layout, &server).await.unwrap();
}

#[test]
fn a_certificate_is_renewed_after_70_percent_of_its_life() {
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::default();
    parameters.not_before = rcgen::date_time_ymd(2026, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2026, 1, 11);
    let certificate = parameters.self_signed(&key).unwrap();
    let begin = parameters.not_before.unix_timestamp() * 1000;
    assert_eq!(renewal_due(&certificate.pem()).unwrap(), Moment(begin + 7 * 86_400_000));
}
