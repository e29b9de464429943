// SPDX-License-Identifier: Apache-2.0

//! Real packets through real rules: every test makes a network namespace that is the node, one that is the
//! outside, and pods; all of it goes with the test's thread. Needs root and `nft`; else it says so and passes.

#![allow(clippy::unwrap_used)] // helpers of tests fail by panicking, too

use std::future::Future;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use knarr_network::node::{self, NodeNetwork};
use knarr_network::pod::{self, PodNetwork, PodRequest};
use knarr_network::services::{
    Endpoint, HostPort, Protocol, Redirect, Service, ServicePort, ServiceRules, Snapshot, plan,
};
use knarr_network::{NodeId, cleanup};
use nix::sched::CloneFlags;

const NODE: &str = "192.0.2.1";
const OUTSIDE: &str = "192.0.2.2";
const SERVICE: &str = "10.43.0.7";

/// How long a connection may take before the test fails; nothing here waits for it.
const PATIENCE: Duration = Duration::from_secs(5);

struct Node {
    id: NodeId,
    dir: tempfile::TempDir,
    rules: ServiceRules,
}

/// Runs a test on a thread with namespaces of its own, as node 192.0.2.1 with the outside at 192.0.2.2.
fn on_a_node<F: Future<Output = ()>>(test: impl FnOnce(Node) -> F + Send) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            nix::sched::unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
            let (none, flags) = (None::<&str>, nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE);
            nix::mount::mount(none, "/", none, flags, none).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let node = Node::new().await;
                test(node).await;
            });
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

fn ip(arguments: &str) {
    let status = std::process::Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

impl Node {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let id = NodeId::of(&dir.path().display().to_string());
        let node = Self { rules: ServiceRules::new(id.clone()), id, dir };
        std::fs::create_dir(node.dir.path().join("outside")).unwrap();
        let outside = node.dir.path().join("outside").join("ns");
        std::fs::File::create(&outside).unwrap();
        let target = outside.clone();
        std::thread::spawn(move || {
            nix::sched::unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let none = None::<&str>;
            let bind = nix::mount::MsFlags::MS_BIND;
            nix::mount::mount(Some("/proc/thread-self/ns/net"), &target, none, bind, none).unwrap();
        })
        .join()
        .unwrap();
        ip("link set lo up");
        ip("link add up0 type veth peer name far0");
        let status = std::process::Command::new("nsenter")
            .arg(format!("--net={}", outside.display()))
            .args(["sleep", "600"])
            .spawn();
        let mut holder = status.unwrap();
        // `ip link set netns` takes a process: this one holds the namespace until the link is in it.
        wait_for(|| {
            std::fs::read_link(format!("/proc/{}/ns/net", holder.id())).ok()
                != std::fs::read_link("/proc/thread-self/ns/net").ok()
        });
        ip(&format!("link set far0 netns {}", holder.id()));
        holder.kill().unwrap();
        holder.wait().unwrap();
        ip(&format!("address add {NODE}/24 dev up0"));
        ip("address add 2001:db8::1/64 dev up0 nodad");
        ip("link set up0 up");
        ip(&format!("route add default via {OUTSIDE}"));
        within(&outside, || {
            ip(&format!("address add {OUTSIDE}/24 dev far0"));
            ip("address add 2001:db8::2/64 dev far0 nodad");
            ip("link set far0 up");
            ip(&format!("route add 10.43.0.0/16 via {NODE}"));
        });
        let applied = node::apply(&node.network()).await.unwrap();
        assert!(applied.changes.iter().any(|change| change.contains("10.43.0.0/16")), "{applied:?}");
        node
    }

    fn network(&self) -> NodeNetwork {
        NodeNetwork {
            node: self.id.clone(),
            addresses: vec![NODE.parse().unwrap(), "2001:db8::1".parse().unwrap()],
            pod_cidrs: vec!["10.42.0.0/24".parse().unwrap(), "fd00:42::/64".parse().unwrap()],
            service_cidrs: vec!["10.43.0.0/16".parse().unwrap(), "fd00:43::/112".parse().unwrap()],
            local_addresses: vec![self.id.local_address().into()],
            peers: Vec::new(),
        }
    }

    fn outside(&self) -> PathBuf {
        self.dir.path().join("outside").join("ns")
    }

    fn run_dir(&self) -> PathBuf {
        self.dir.path().join("netns")
    }

    async fn pod(&self, name: &str, last: u8) -> PodNetwork {
        let addresses = [format!("10.42.0.{last}").parse().unwrap(), format!("fd00:42::{last}").parse().unwrap()];
        let host = self.network().addresses;
        let request = PodRequest {
            node: &self.id,
            run_dir: &self.run_dir(),
            pod_uid: name,
            addresses: &addresses,
            host_addresses: &host,
            sysctls: &[("net.core.somaxconn".to_owned(), "99".to_owned())],
            mtu: None,
        };
        let made = pod::set_up(&request).await.unwrap();
        assert_eq!(pod::set_up(&request).await.unwrap(), made, "once more changes nothing");
        let path = made.netns.clone();
        for bind in ["0.0.0.0:8080", "[::]:8081"] {
            let (name, listener) = (name.to_owned(), within(&path, move || TcpListener::bind(bind).unwrap()));
            std::thread::spawn(move || serve(&listener, &name));
        }
        let (name, socket) = (name.to_owned(), within(&path, || UdpSocket::bind("0.0.0.0:8080").unwrap()));
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(format!("{name} {}", peer.ip()).as_bytes(), peer);
            }
        });
        made
    }

    fn snapshot(&self, services: Vec<Service>) -> Snapshot {
        Snapshot {
            cluster_cidrs: vec!["10.42.0.0/16".parse().unwrap(), "fd00:42::/48".parse().unwrap()],
            service_cidrs: vec!["10.43.0.0/16".parse().unwrap()],
            pod_cidrs: self.network().pod_cidrs,
            node_addresses: self.network().addresses,
            services,
            ..Snapshot::default()
        }
    }

    async fn apply(&mut self, services: Vec<Service>) {
        let snapshot = self.snapshot(services);
        self.rules.apply(&snapshot).await.unwrap();
        assert!(!self.rules.apply(&snapshot).await.unwrap(), "the same again is no transaction");
    }
}

impl Drop for Node {
    /// A folder with a namespace mounted in it cannot be removed.
    fn drop(&mut self) {
        let pods = std::fs::read_dir(self.run_dir()).into_iter().flatten().flatten().map(|entry| entry.path());
        for path in pods.chain([self.outside()]) {
            let _ = nix::mount::umount2(&path, nix::mount::MntFlags::MNT_DETACH); // torn down already
        }
    }
}

fn wait_for(mut ready: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !ready() {
        assert!(start.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
}

fn within<T: Send + 'static>(netns: &std::path::Path, work: impl FnOnce() -> T + Send + 'static) -> T {
    let file = std::fs::File::open(netns).unwrap();
    let thread = std::thread::spawn(move || {
        nix::sched::setns(&file, CloneFlags::CLONE_NEWNET).unwrap();
        work()
    });
    thread.join().unwrap()
}

/// Tells every client the server's name and the address it came from.
fn serve(listener: &TcpListener, name: &str) {
    while let Ok((mut stream, peer)) = listener.accept() {
        let _ = write!(stream, "{name} {}", peer.ip());
    }
}

fn tcp(to: &str) -> Result<String, std::io::ErrorKind> {
    let address: SocketAddr = to.parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(|error| error.kind())?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(|error| error.kind())?;
    Ok(text)
}

fn udp(to: &str) -> Result<String, std::io::ErrorKind> {
    let any = if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(to).map_err(|error| error.kind())?;
    socket.send(b"?").map_err(|error| error.kind())?;
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer).map_err(|error| error.kind())?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

fn service(cluster_ip: &str, protocol: Protocol, endpoints: &[&str]) -> Service {
    Service {
        namespace: "default".to_owned(),
        name: "hello".to_owned(),
        cluster_ips: vec![cluster_ip.parse().unwrap()],
        ports: vec![ServicePort {
            name: String::new(),
            protocol,
            port: 80,
            node_port: None,
            endpoints: endpoints.iter().map(|address| endpoint(address, true)).collect(),
        }],
        ..Service::default()
    }
}

fn endpoint(address: &str, local: bool) -> Endpoint {
    Endpoint { address: address.parse().unwrap(), local, ready: true, terminating: false }
}

const REFUSED: Result<String, std::io::ErrorKind> = Err(std::io::ErrorKind::ConnectionRefused);

#[test]
fn a_service_answers_its_own_pod_a_neighbour_the_host_and_the_outside() {
    on_a_node(async |mut node| {
        let a = node.pod("a", 2).await;
        let b = node.pod("b", 3).await;
        let mut service = service(SERVICE, Protocol::Tcp, &["10.42.0.2:8080"]);
        service.ports[0].node_port = Some(30080);
        node.apply(vec![service]).await;
        let cluster = || tcp("10.43.0.7:80");
        assert_eq!(within(&b.netns, cluster), Ok("a 10.42.0.3".to_owned()), "a neighbour is seen as itself");
        assert_eq!(within(&a.netns, cluster), Ok(format!("a {NODE}")), "a pod to itself comes from the node");
        assert_eq!(cluster(), Ok(format!("a {NODE}")));
        assert_eq!(within(&node.outside(), cluster), Ok(format!("a {NODE}")), "the outside is masqueraded");
        for from in [&a.netns, &b.netns, &node.outside()] {
            assert_eq!(within(from, || tcp("192.0.2.1:30080")), Ok(format!("a {NODE}")));
        }
        assert_eq!(tcp("192.0.2.1:30080"), Ok(format!("a {NODE}")));
        assert_eq!(within(&b.netns, || tcp("10.43.0.7:81")), REFUSED, "a port that the service does not have");
        assert_eq!(tcp("10.42.0.2:8080"), Ok(format!("a {NODE}")), "the host reaches pods without a service");
    });
}

#[test]
fn udp_and_ipv6_go_the_same_ways() {
    on_a_node(async |mut node| {
        let a = node.pod("a", 2).await;
        let b = node.pod("b", 3).await;
        let six = service("fd00:43::7", Protocol::Tcp, &["[fd00:42::2]:8081"]);
        let mut six = Service { name: "six".to_owned(), ..six };
        six.ports[0].node_port = Some(30086);
        node.apply(vec![service(SERVICE, Protocol::Udp, &["10.42.0.2:8080"]), six]).await;
        assert_eq!(within(&a.netns, || udp("10.43.0.7:80")), Ok(format!("a {NODE}")));
        assert_eq!(within(&b.netns, || udp("10.43.0.7:80")), Ok("a 10.42.0.3".to_owned()));
        assert_eq!(udp("10.43.0.7:80"), Ok(format!("a {NODE}")));
        assert_eq!(within(&a.netns, || tcp("[fd00:43::7]:80")), Ok("a 2001:db8::1".to_owned()));
        assert_eq!(within(&b.netns, || tcp("[fd00:43::7]:80")), Ok("a fd00:42::3".to_owned()));
        assert_eq!(tcp("[fd00:43::7]:80"), Ok("a 2001:db8::1".to_owned()));
        assert_eq!(within(&node.outside(), || tcp("[2001:db8::1]:30086")), Ok("a 2001:db8::1".to_owned()));
    });
}

#[test]
fn a_udp_client_that_keeps_its_port_finds_the_endpoint_that_is_left() {
    on_a_node(async |mut node| {
        let c = node.pod("c", 4).await;
        let _a = node.pod("a", 2).await;
        let _b = node.pod("b", 3).await;
        node.apply(vec![service(SERVICE, Protocol::Udp, &["10.42.0.2:8080"])]).await;
        let socket = within(&c.netns, || UdpSocket::bind("0.0.0.0:0").unwrap());
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.connect("10.43.0.7:80").unwrap();
        let ask = || {
            socket.send(b"?").unwrap();
            let mut buffer = [0; 64];
            let length = socket.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };
        assert_eq!(ask(), "a 10.42.0.4");
        node.apply(vec![service(SERVICE, Protocol::Udp, &["10.42.0.2:8080", "10.42.0.3:8080"])]).await;
        assert_eq!(ask(), "a 10.42.0.4", "what is still there is kept");
        node.apply(vec![service(SERVICE, Protocol::Udp, &["10.42.0.3:8080"])]).await;
        assert_eq!(ask(), "b 10.42.0.4");
    });
}

#[test]
fn a_service_without_endpoints_is_refused_from_everywhere() {
    on_a_node(async |mut node| {
        let a = node.pod("a", 2).await;
        let mut none = service(SERVICE, Protocol::Tcp, &[]);
        none.ports[0].node_port = Some(30080);
        none.external_ips = vec!["203.0.113.9".parse().unwrap()];
        let udp_none = Service { name: "udp".to_owned(), ..service("10.43.0.8", Protocol::Udp, &[]) };
        let six = Service { name: "six".to_owned(), ..service("fd00:43::8", Protocol::Tcp, &[]) };
        node.apply(vec![none, udp_none, six]).await;
        for to in ["10.43.0.7:80", "192.0.2.1:30080", "203.0.113.9:80", "[fd00:43::8]:80"] {
            assert_eq!(within(&a.netns, move || tcp(to)), REFUSED, "{to} from a pod");
        }
        assert_eq!(tcp("10.43.0.7:80"), REFUSED);
        assert_eq!(tcp("[fd00:43::8]:80"), REFUSED);
        assert_eq!(within(&node.outside(), || tcp("192.0.2.1:30080")), REFUSED);
        assert_eq!(within(&a.netns, || udp("10.43.0.8:80")), REFUSED);
    });
}

#[test]
fn endpoints_are_chosen_at_random_and_affinity_keeps_a_client_with_one() {
    on_a_node(async |mut node| {
        let _a = node.pod("a", 2).await;
        let _b = node.pod("b", 3).await;
        let c = node.pod("c", 4).await;
        let both = service(SERVICE, Protocol::Tcp, &["10.42.0.2:8080", "10.42.0.3:8080"]);
        let answers = |netns: &std::path::Path| -> std::collections::BTreeSet<String> {
            within(netns, || (0..40).map(|_| tcp("10.43.0.7:80").unwrap()).collect())
        };
        node.apply(vec![both.clone()]).await;
        assert_eq!(answers(&c.netns).len(), 2, "40 connections meet both endpoints (but once in 2^39)");
        let sticky = Service { affinity_seconds: Some(600), ..both.clone() };
        node.apply(vec![sticky.clone()]).await;
        let first = answers(&c.netns);
        assert_eq!(first.len(), 1);
        let more = service("10.43.0.9", Protocol::Tcp, &["10.42.0.4:8080"]);
        let mut wider = Service { name: "hello".to_owned(), ..sticky };
        wider.ports[0].endpoints.push(endpoint("10.42.0.4:8080", true));
        node.apply(vec![wider, Service { name: "other".to_owned(), ..more }]).await;
        assert_eq!(answers(&c.netns), first, "the client stays when another endpoint comes");
        // A client that was silent for so long is another one.
        node.apply(vec![Service { affinity_seconds: Some(1), ..both.clone() }]).await;
        let first = answers(&c.netns);
        assert_eq!(first.len(), 1);
        wait_for(|| {
            std::thread::sleep(Duration::from_millis(1200));
            answers(&c.netns) != first
        });
        node.apply(vec![both]).await;
        assert_eq!(answers(&c.netns).len(), 2);
    });
}

#[test]
fn local_policies_use_only_endpoints_of_the_node_and_keep_the_source() {
    on_a_node(async |mut node| {
        let _a = node.pod("a", 2).await;
        let b = node.pod("b", 3).await;
        let mut local = service(SERVICE, Protocol::Tcp, &["10.42.0.2:8080"]);
        local.external_local = true;
        local.internal_local = true;
        local.ports[0].node_port = Some(30080);
        local.ports[0].endpoints.push(endpoint("10.42.9.9:8080", false));
        node.apply(vec![local]).await;
        for _ in 0..20 {
            assert_eq!(within(&node.outside(), || tcp("192.0.2.1:30080")), Ok(format!("a {OUTSIDE}")));
            assert_eq!(within(&b.netns, || tcp("10.43.0.7:80")), Ok("a 10.42.0.3".to_owned()));
        }
    });
}

#[test]
fn pods_leave_the_cluster_with_the_nodes_address() {
    on_a_node(async |mut node| {
        let a = node.pod("a", 2).await;
        let _b = node.pod("b", 3).await;
        node.apply(Vec::new()).await;
        let listener = within(&node.outside(), || TcpListener::bind("0.0.0.0:9000").unwrap());
        std::thread::spawn(move || serve(&listener, "outside"));
        assert_eq!(within(&a.netns, || tcp("192.0.2.2:9000")), Ok(format!("outside {NODE}")));
        assert_eq!(within(&a.netns, || tcp("10.42.0.3:8080")), Ok("b 10.42.0.2".to_owned()), "not within it");
    });
}

#[test]
fn host_ports_and_redirects_lead_to_the_pod_and_to_the_nodes_own_process() {
    on_a_node(async |mut node| {
        let a = node.pod("a", 2).await;
        let own = SocketAddr::new(IpAddr::V4(node.id.local_address()), 5353);
        let listener = TcpListener::bind(own).unwrap();
        std::thread::spawn(move || serve(&listener, "dns"));
        let mut snapshot = node.snapshot(Vec::new());
        snapshot.host_ports.push(HostPort {
            host_ip: None,
            port: 8888,
            protocol: Protocol::Tcp,
            pod: "10.42.0.2:8080".parse().unwrap(),
        });
        snapshot.redirects.push(Redirect { from: "10.43.0.10:53".parse().unwrap(), protocol: Protocol::Tcp, to: own });
        node.rules.apply(&snapshot).await.unwrap();
        assert_eq!(within(&node.outside(), || tcp("192.0.2.1:8888")), Ok(format!("a {OUTSIDE}")));
        assert_eq!(within(&a.netns, || tcp("192.0.2.1:8888")), Ok(format!("a {NODE}")));
        assert_eq!(within(&a.netns, || tcp("10.43.0.10:53")), Ok("dns 10.42.0.2".to_owned()));
        assert!(tcp("10.43.0.10:53").is_ok_and(|answer| answer.starts_with("dns ")));
    });
}

#[test]
fn two_thousand_services_are_one_transaction_and_a_change_says_only_the_change() {
    on_a_node(async |mut node| {
        let many: Vec<Service> = (0..2000u32)
            .map(|n| {
                let cluster_ip = format!("10.43.{}.{}", 1 + n / 250, 1 + n % 250);
                let mut one = service(&cluster_ip, Protocol::Tcp, &["10.42.0.2:8080", "10.42.1.9:8080"]);
                one.name = format!("service-{n}");
                one.affinity_seconds = (n % 10 == 0).then_some(60);
                one
            })
            .collect();
        let start = std::time::Instant::now();
        node.apply(many.clone()).await;
        println!("2,000 services: {:?}", start.elapsed());
        let a = node.pod("a", 2).await;
        let mut fewer = many.clone();
        fewer.remove(5);
        fewer[7].ports[0].endpoints.pop();
        let (before, after) = (node.snapshot(many), node.snapshot(fewer.clone()));
        let change = plan(&node.id, &after).changes_from(&plan(&node.id, &before));
        assert!(change.lines().count() < 10, "{change}");
        let start = std::time::Instant::now();
        node.apply(fewer).await;
        println!("one more, one less: {:?}", start.elapsed());
        assert_eq!(within(&a.netns, || tcp("10.43.1.9:80")), Ok(format!("a {NODE}")));
        assert_eq!(within(&a.netns, || tcp("10.43.1.6:80")), REFUSED);
    });
}

#[test]
fn names_and_ports_that_nobody_foresaw_do_not_break_the_rest() {
    on_a_node(async |mut node| {
        let a = node.pod("a", 2).await;
        let good = service(SERVICE, Protocol::Tcp, &["10.42.0.2:8080"]);
        let mut odd = service(SERVICE, Protocol::Tcp, &["10.42.0.9:1", "[fd00:42::9]:1"]);
        odd.name = "zz } ; flush ruleset \" \n{".to_owned();
        odd.source_ranges = vec!["10.0.0.0/8".parse().unwrap(), "10.1.0.0/16".parse().unwrap()];
        odd.load_balancer_ips = vec!["203.0.113.7".parse().unwrap(), "2001:db8::77".parse().unwrap()];
        odd.ports.push(odd.ports[0].clone());
        let mut snapshot = node.snapshot(vec![odd, good]);
        snapshot.cluster_cidrs.push("10.42.3.0/24".parse().unwrap());
        node.rules.apply(&snapshot).await.unwrap();
        assert_eq!(within(&a.netns, || tcp("10.43.0.7:80")), Ok(format!("a {NODE}")));
    });
}

#[test]
fn routes_to_other_nodes_come_and_go_with_them() {
    on_a_node(async |node| {
        let routes = || {
            let output = std::process::Command::new("ip").args(["route", "show", "proto", "75"]).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let peer = |name: &str, address: &str, range: &str| node::Peer {
            name: name.to_owned(),
            addresses: vec![address.parse().unwrap()],
            pod_cidrs: vec![range.parse().unwrap()],
        };
        let mut network = node.network();
        network.peers = vec![peer("b", OUTSIDE, "10.42.1.0/24"), peer("far", "198.51.100.1", "10.42.2.0/24")];
        let applied = node::apply(&network).await.unwrap();
        assert_eq!(applied.changes, ["added route 10.42.1.0/24 via 192.0.2.2"]);
        assert_eq!(applied.unreachable, ["far"]);
        assert!(routes().contains("10.42.1.0/24 via 192.0.2.2"), "{}", routes());
        assert_eq!(node::apply(&network).await.unwrap().changes, Vec::<String>::new(), "once more changes nothing");
        network.peers = vec![peer("b", "192.0.2.3", "10.42.1.0/24")];
        let applied = node::apply(&network).await.unwrap();
        assert_eq!(applied.changes, ["added route 10.42.1.0/24 via 192.0.2.3"]);
        assert_eq!(routes().matches("10.42.1.0/24").count(), 1, "{}", routes());
        network.peers.clear();
        assert_eq!(node::apply(&network).await.unwrap().changes, ["removed route 10.42.1.0/24"]);
    });
}

#[test]
fn everything_goes_and_is_named() {
    on_a_node(async |mut node| {
        let a = node.pod("a", 2).await;
        let b = node.pod("b", 3).await;
        node.apply(vec![service(SERVICE, Protocol::Tcp, &["10.42.0.2:8080"])]).await;
        assert!(pod::tear_down(&node.id, &node.run_dir(), "b").await.unwrap());
        assert!(!pod::tear_down(&node.id, &node.run_dir(), "b").await.unwrap());
        assert!(!b.netns.exists());
        let removed = cleanup::remove_all(&node.id, &node.run_dir()).await.unwrap();
        let says = |what: &str| assert!(removed.iter().any(|line| line.contains(what)), "{what} in {removed:?}");
        says(&node.id.table());
        says(&a.link);
        says("route 10.43.0.0/16");
        says(&a.netns.display().to_string());
        says(&node.id.local_address().to_string());
        assert_eq!(cleanup::remove_all(&node.id, &node.run_dir()).await.unwrap(), Vec::<String>::new());
        let links = std::process::Command::new("ip").args(["-o", "link"]).output().unwrap();
        assert!(!String::from_utf8_lossy(&links.stdout).contains(&node.id.link_prefix()));
        let routes = std::process::Command::new("ip").args(["route", "show", "proto", "75"]).output().unwrap();
        assert!(routes.stdout.is_empty());
    });
}
