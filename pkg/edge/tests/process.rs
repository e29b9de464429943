// SPDX-License-Identifier: Apache-2.0

//! Edge as a process: queried, browsed, killed, adopted. The process is this test program itself, started
//! with the one test [`edge_process`] and the folder to work in.

#![allow(clippy::unwrap_used)] // helpers of tests fail by panicking, too

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use knarr_edge::listeners::{Listen, Purpose};
use knarr_edge::snapshot::{
    Backend, Certificate, Endpoint, Ingress, PathKind, PathRule, Port, PortRef, Rule, Service, Snapshot, write,
    write_private,
};
use knarr_edge::supervise::{self, Supervised};
use knarr_edge::{EdgeConfig, run};

/// How long anything may take before the test fails; nothing here waits for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Not a test: what the others start.
#[test]
fn edge_process() {
    let Some(dir) = std::env::args().find_map(|argument| argument.strip_prefix("dir=").map(PathBuf::from)) else {
        return;
    };
    run(EdgeConfig { snapshot: dir.join("snapshot.json"), control: dir.join("edge.sock"), listen: Vec::new() })
        .unwrap();
}

struct Edge {
    dir: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    listen: Vec<Listen>,
    supervisor: Option<(tokio::sync::oneshot::Sender<()>, tokio::task::JoinHandle<()>)>,
}

impl Edge {
    fn start(snapshot: &Snapshot) -> Self {
        let any = "127.0.0.1:0".parse().unwrap();
        let purposes = [Purpose::DnsUdp, Purpose::DnsTcp, Purpose::Http, Purpose::Https];
        let listen = purposes.map(|purpose| Listen { purpose, address: any }).to_vec();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut edge = Self { dir: tempfile::tempdir().unwrap(), runtime, listen, supervisor: None };
        edge.set(snapshot);
        edge.supervise();
        edge
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn set(&self, snapshot: &Snapshot) {
        write(&self.path("snapshot.json"), snapshot).unwrap();
    }

    fn supervise(&mut self) {
        let mut argument = OsString::from("dir=");
        argument.push(self.dir.path());
        let supervised = Supervised {
            program: std::env::current_exe().unwrap(),
            arguments: vec!["--exact".into(), "edge_process".into(), "--nocapture".into(), argument],
            control: self.path("edge.sock"),
            listen: self.listen.clone(),
            log: Some(self.path("edge.log")),
        };
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let held = self.runtime.block_on(supervise::take_over(supervised)).unwrap();
        let listens: Vec<Listen> = held.listens().collect();
        assert_eq!(listens.len(), self.listen.len());
        self.listen = listens;
        let task = self.runtime.spawn(async move {
            held.run(async { ended.await.unwrap_or(()) }).await.unwrap();
        });
        self.supervisor = Some((end, task));
    }

    /// What the agent's death is for edge: nobody holds or watches it any more.
    fn end_supervisor(&mut self) {
        let (end, task) = self.supervisor.take().unwrap();
        end.send(()).unwrap();
        self.runtime.block_on(task).unwrap();
    }

    fn address(&self, purpose: Purpose) -> SocketAddr {
        self.listen.iter().find(|listen| listen.purpose == purpose).unwrap().address
    }

    /// The process behind the control socket.
    fn pid(&self) -> i32 {
        until(|| {
            let stream = std::os::unix::net::UnixStream::connect(self.path("edge.sock")).ok()?;
            Some(rustix::net::sockopt::socket_peercred(&stream).ok()?.pid.as_raw_pid())
        })
    }

    fn udp(&self, name: &str, kind: RecordType) -> Message {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(self.address(Purpose::DnsUdp)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send(&query(name, kind)).unwrap();
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap();
        Message::from_vec(&buffer[..length]).unwrap()
    }

    fn tcp(&self, name: &str, kind: RecordType) -> Message {
        let mut stream = TcpStream::connect(self.address(Purpose::DnsTcp)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let query = query(name, kind);
        stream.write_all(&[&u16::try_from(query.len()).unwrap().to_be_bytes(), query.as_slice()].concat()).unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut bytes).unwrap();
        Message::from_vec(&bytes).unwrap()
    }

    /// Sends a request and gives the whole answer.
    fn http(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address(Purpose::Http)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    fn get(&self, host: &str, path: &str) -> String {
        self.http(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        drop(self.supervisor.take().map(|(end, task)| (end.send(()), self.runtime.block_on(task))));
        let stopped = self.runtime.block_on(supervise::stop(&self.path("edge.sock")));
        if std::thread::panicking() {
            eprintln!("{}", std::fs::read_to_string(self.path("edge.log")).unwrap_or_default());
        } else {
            assert!(stopped.unwrap());
        }
    }
}

fn until<T>(mut ready: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
}

fn query(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message.to_vec().unwrap()
}

fn addresses(message: &Message) -> Vec<String> {
    message.answers.iter().filter_map(|record| record.data.ip_addr()).map(|ip| ip.to_string()).collect()
}

fn service(name: &str, cluster_ip: &str, pods: &[SocketAddr]) -> Service {
    let port = |port| Port { name: "http".to_owned(), protocol: "TCP".to_owned(), port };
    let endpoint = |pod: &SocketAddr| Endpoint {
        addresses: vec![pod.ip()],
        hostname: None,
        ready: true,
        ports: vec![port(pod.port())],
    };
    Service {
        namespace: "default".to_owned(),
        name: name.to_owned(),
        cluster_ips: vec![cluster_ip.parse().unwrap()],
        ports: vec![port(80)],
        endpoints: pods.iter().map(endpoint).collect(),
        ..Service::default()
    }
}

fn cluster(services: Vec<Service>, rules: &[(&str, &str, &str)]) -> Snapshot {
    let rule = |(host, path, service): &(&str, &str, &str)| Rule {
        host: (*host).to_owned(),
        paths: vec![PathRule {
            path: (*path).to_owned(),
            kind: PathKind::Prefix,
            backend: Backend { service: (*service).to_owned(), port: PortRef::Name("http".to_owned()) },
        }],
    };
    let ingress = Ingress {
        namespace: "default".to_owned(),
        name: "test".to_owned(),
        rules: rules.iter().map(rule).collect(),
        ..Ingress::default()
    };
    Snapshot { cluster_domain: "cluster.local".to_owned(), services, ingresses: vec![ingress], ..Snapshot::default() }
}

/// A pod's web server: answers every request with its name and the request's head; keeps connections;
/// upgrades to an echo where asked.
fn backend(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || answer_requests(stream.unwrap(), name));
        }
    });
    address
}

fn answer_requests(mut stream: TcpStream, name: &str) -> Option<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).to_lowercase();
        if head.contains("upgrade: websocket") {
            stream
                .write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
                .ok()?;
            let mut buffer = [0; 256];
            loop {
                let length = stream.read(&mut buffer).ok().filter(|length| *length > 0)?;
                stream.write_all(&buffer[..length]).ok()?;
            }
        }
        let body = format!("{name}\n{head}");
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).ok()?;
    }
}

/// A resolver of the outside: every name is 192.0.2.80, but "missing." which does not exist. Counts.
fn resolver() -> (SocketAddr, Arc<std::sync::atomic::AtomicUsize>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (address, count) = (socket.local_addr().unwrap(), Arc::new(std::sync::atomic::AtomicUsize::new(0)));
    let seen = Arc::clone(&count);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let query = Message::from_vec(&buffer[..length]).unwrap();
            let mut reply = Message::response(query.metadata.id, OpCode::Query);
            reply.queries.clone_from(&query.queries);
            let name = query.queries[0].name().clone();
            if name.to_ascii().starts_with("missing") {
                reply.metadata.response_code = ResponseCode::NXDomain;
                let soa = hickory_proto::rr::rdata::SOA::new(Name::root(), Name::root(), 1, 1, 1, 1, 20);
                reply.add_authority(Record::from_rdata(Name::root(), 60, RData::SOA(soa)));
            } else {
                reply.add_answer(Record::from_rdata(name, 60, RData::A(A::new(192, 0, 2, 80))));
            }
            // A forgery first: its id is wrong, so it must not be believed.
            let mut forged = reply.clone();
            forged.metadata.id = reply.metadata.id.wrapping_add(1);
            forged.answers.clear();
            socket.send_to(&forged.to_vec().unwrap(), peer).unwrap();
            socket.send_to(&reply.to_vec().unwrap(), peer).unwrap();
        }
    });
    (address, count)
}

#[test]
fn names_of_the_cluster_are_answered_others_forwarded_and_remembered() {
    let (upstream, asked) = resolver();
    let asked = || asked.load(std::sync::atomic::Ordering::SeqCst);
    let mut snapshot = cluster(vec![service("web", "10.43.0.7", &[])], &[]);
    snapshot.services.push(Service {
        external_name: Some("www.example.org".to_owned()),
        ..Service { cluster_ips: Vec::new(), ports: Vec::new(), ..service("alias", "10.43.0.1", &[]) }
    });
    snapshot.upstreams = vec![upstream];
    let edge = Edge::start(&snapshot);
    let name = "web.default.svc.cluster.local.";
    let reply = edge.udp(name, RecordType::A);
    assert_eq!((addresses(&reply), reply.metadata.authoritative), (vec!["10.43.0.7".to_owned()], true));
    assert_eq!(addresses(&edge.tcp(name, RecordType::A)), ["10.43.0.7"]);
    for search in ["www.example.org.default.svc.cluster.local.", "www.example.org.svc.cluster.local."] {
        assert_eq!(edge.udp(search, RecordType::A).metadata.response_code, ResponseCode::NXDomain);
    }
    assert_eq!(asked(), 0, "searches stay on the node");
    for _ in 0..3 {
        let reply = edge.udp("www.Example.org.", RecordType::A);
        assert_eq!((addresses(&reply), reply.metadata.id), (vec!["192.0.2.80".to_owned()], 4711));
        assert_eq!(reply.queries[0].name().to_ascii(), "www.Example.org.");
        assert_eq!(edge.udp("missing.example.org.", RecordType::A).metadata.response_code, ResponseCode::NXDomain);
    }
    assert_eq!(asked(), 2, "one question a name, absence included");
    let alias = edge.udp("alias.default.svc.cluster.local.", RecordType::A);
    assert_eq!(addresses(&alias), ["192.0.2.80"]);
    assert_eq!(alias.answers[0].record_type(), RecordType::CNAME);
    snapshot.services[0].cluster_ips = vec!["10.43.0.8".parse().unwrap()];
    snapshot.upstreams.clear();
    edge.set(&snapshot);
    until(|| (addresses(&edge.udp(name, RecordType::A)) == ["10.43.0.8"]).then_some(()));
    std::fs::write(edge.path("new"), "{ nonsense").unwrap();
    std::fs::rename(edge.path("new"), edge.path("snapshot.json")).unwrap();
    assert_eq!(edge.udp("other.test.", RecordType::A).metadata.response_code, ResponseCode::ServFail);
    assert_eq!(addresses(&edge.udp(name, RecordType::A)), ["10.43.0.8"], "nonsense changes nothing");
}

#[test]
fn requests_go_by_host_and_path_with_forwarding_headers_and_past_dead_endpoints() {
    let (a, b) = (backend("backend-a"), backend("backend-b"));
    let dead = "127.0.0.1:1".parse().unwrap();
    let services =
        vec![service("a", "10.43.0.1", &[a, dead]), service("b", "10.43.0.2", &[b]), service("none", "10.43.0.3", &[])];
    let rules = [("a.test", "/", "a"), ("a.test", "/b", "b"), ("*.wild.test", "/", "b"), ("none.test", "/", "none")];
    let edge = Edge::start(&cluster(services, &rules));
    for _ in 0..20 {
        assert!(edge.get("a.test", "/x").contains("backend-a"), "a dead endpoint costs no request");
    }
    let answer = edge.get("a.test:80", "/b/c?d=e");
    assert!(answer.contains("backend-b") && answer.contains("get /b/c?d=e "), "{answer}");
    for header in
        ["host: a.test:80", "x-forwarded-for: 127.0.0.1\r", "x-forwarded-proto: http\r", "x-forwarded-host: a.test:80"]
    {
        assert!(answer.contains(header), "{header} in {answer}");
    }
    assert!(edge.get("x.wild.test", "/").contains("backend-b"));
    assert!(edge.get("none.test", "/").starts_with("HTTP/1.1 503"));
    assert!(edge.get("else.test", "/").starts_with("HTTP/1.1 404"));
    let forged = edge.http(
        "GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n\r\n",
    );
    assert!(!forged.contains("9.9.9.9") && forged.contains("x-forwarded-proto: http\r"));
    let mut stream = TcpStream::connect(edge.address(Purpose::Http)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    for _ in 0..3 {
        stream.write_all(b"GET /b HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
        let mut text = Vec::new();
        while !text.ends_with(b"\r\n\r\n") || String::from_utf8_lossy(&text).matches("\r\n\r\n").count() < 2 {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            text.push(byte[0]);
        }
    }
}

#[test]
fn a_websocket_passes_both_ways() {
    let edge = Edge::start(&cluster(vec![service("a", "10.43.0.1", &[backend("a")])], &[("a.test", "/", "a")]));
    let mut stream = TcpStream::connect(edge.address(Purpose::Http)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"));
    for text in [&b"one"[..], b"two"] {
        stream.write_all(text).unwrap();
        let mut back = [0; 3];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back, text);
    }
}

/// Connects over TLS, asking for `name` and trusting `root`, and gets "/".
fn tls_get(edge: &Edge, name: &str, root: &rcgen::Certificate) -> Result<String, std::io::Error> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    let server = rustls_pki_types::ServerName::try_from(name.to_owned()).unwrap();
    let mut connection = rustls::ClientConnection::new(Arc::new(config), server).unwrap();
    let mut stream = TcpStream::connect(edge.address(Purpose::Https))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut tls = rustls::Stream::new(&mut connection, &mut stream);
    tls.write_all(format!("GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut text = String::new();
    tls.read_to_string(&mut text)?;
    Ok(text)
}

fn certificate(dir: &Path, host: &str) -> (Certificate, rcgen::Certificate) {
    let pair = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
    let (chain, key) = (dir.join(format!("{host}.crt")), dir.join(format!("{host}.key")));
    write_private(&chain, pair.cert.pem().as_bytes()).unwrap();
    write_private(&key, pair.signing_key.serialize_pem().as_bytes()).unwrap();
    let certificate = Certificate { hosts: vec![host.to_owned()], chain, key, version: "1".to_owned() };
    (certificate, pair.cert)
}

#[test]
fn tls_has_the_certificate_of_the_name_and_takes_a_new_one() {
    let rules = [("a.test", "/", "a"), ("b.test", "/", "b")];
    let services =
        vec![service("a", "10.43.0.1", &[backend("backend-a")]), service("b", "10.43.0.2", &[backend("backend-b")])];
    let mut snapshot = cluster(services, &rules);
    let edge = Edge::start(&snapshot);
    let ((a, root_a), (b, root_b)) = (certificate(edge.dir.path(), "a.test"), certificate(edge.dir.path(), "b.test"));
    let (default, root_default) = certificate(edge.dir.path(), "c.test");
    snapshot.certificates = vec![a.clone(), b];
    snapshot.default_certificate = Some(Certificate { hosts: Vec::new(), ..default });
    edge.set(&snapshot);
    until(|| tls_get(&edge, "a.test", &root_a).ok());
    let answer = tls_get(&edge, "c.test", &root_default).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 404"),
        "a name that nobody has a certificate for has the default one: {answer}"
    );
    let answer = tls_get(&edge, "b.test", &root_b).unwrap();
    assert!(answer.contains("backend-b") && answer.contains("x-forwarded-proto: https"), "{answer}");
    assert!(tls_get(&edge, "a.test", &root_b).is_err(), "each name has its own");
    let (renewed, root) = certificate(edge.dir.path(), "a.test");
    snapshot.certificates[0] = Certificate { version: "2".to_owned(), ..renewed };
    edge.set(&snapshot);
    until(|| tls_get(&edge, "a.test", &root).ok());
}

/// One request on a connection that stays open; the answer's body has the length that its head tells.
fn exchange(stream: &mut TcpStream, host: &str) -> String {
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).unwrap();
    let mut text = String::new();
    let mut byte = [0];
    while !text.ends_with("\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        text.push(char::from(byte[0]));
    }
    let lower = text.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.trim().parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    text + &String::from_utf8(body).unwrap()
}

#[test]
fn connections_stay_open_while_rules_and_certificates_change() {
    let services =
        || vec![service("a", "10.43.0.1", &[backend("backend-a")]), service("b", "10.43.0.2", &[backend("backend-b")])];
    let mut snapshot = cluster(services(), &[("a.test", "/", "a")]);
    let edge = Edge::start(&snapshot);
    let mut kept = TcpStream::connect(edge.address(Purpose::Http)).unwrap();
    kept.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(exchange(&mut kept, "a.test").contains("backend-a"));
    let pid = edge.pid();
    let (renewed, root) = certificate(edge.dir.path(), "a.test");
    snapshot = cluster(services(), &[("a.test", "/", "b")]);
    snapshot.certificates = vec![renewed];
    edge.set(&snapshot);
    until(|| tls_get(&edge, "a.test", &root).ok().filter(|answer| answer.contains("backend-b")));
    assert!(exchange(&mut kept, "a.test").contains("backend-b"), "the same connection follows the new rule");
    assert_eq!(edge.pid(), pid, "no process was replaced for it");
}

#[test]
fn killed_it_comes_back_with_its_sockets_and_without_a_supervisor_it_goes_on() {
    let mut edge = Edge::start(&cluster(vec![service("web", "10.43.0.7", &[])], &[]));
    let name = "web.default.svc.cluster.local.";
    assert_eq!(addresses(&edge.udp(name, RecordType::A)), ["10.43.0.7"]);
    let kill = |pid| {
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL)
    };
    let first = edge.pid();
    let killed = Instant::now();
    kill(first).unwrap();
    // Sent while nobody reads: it waits in the socket.
    assert_eq!(addresses(&edge.udp(name, RecordType::A)), ["10.43.0.7"]);
    assert_eq!(addresses(&edge.tcp(name, RecordType::A)), ["10.43.0.7"]);
    println!("back after {:?}", killed.elapsed());
    let second = until(|| Some(edge.pid()).filter(|pid| *pid != first));
    edge.end_supervisor();
    assert_eq!(addresses(&edge.udp(name, RecordType::A)), ["10.43.0.7"], "alone it goes on");
    edge.supervise();
    kill(second).unwrap_or_default();
    assert_eq!(addresses(&edge.tcp(name, RecordType::A)), ["10.43.0.7"]);
    let third = until(|| Some(edge.pid()).filter(|pid| *pid != second));
    edge.end_supervisor();
    edge.supervise();
    assert_eq!(addresses(&edge.udp(name, RecordType::A)), ["10.43.0.7"]);
    assert_eq!(edge.pid(), third, "a running edge is adopted, not replaced");
}
