// SPDX-License-Identifier: Apache-2.0
//! What a server shows of itself: its names and files, its health, its settings, and how it ends.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::Duration;

use knarr_tests::cluster::{Bare, LATER};
use knarr_tests::hosts::{Host, Network};
use knarr_tests::knarr::{PORT, binary};

use crate::bad_input::credentials;
use crate::lines::Lines;

/// Asks by any name: curl goes to the server whatever the URL says.
fn ask(bare: &Bare, flags: &[String], name: &str, path: &str, more: &[&str]) -> (i32, String) {
    let to = format!("{name}:{PORT}:{}:{PORT}", bare.host.address);
    let mut curl = bare.host.command("curl");
    curl.args(["-s", "-m", "30", "--connect-to", &to]).args(flags).args(more);
    let output = curl.arg(format!("https://{name}:{PORT}{path}")).output().unwrap();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_server_is_known_by_its_names_and_watched_by_its_pages() {
    let settings = tempfile::NamedTempFile::new().unwrap();
    fs::write(&settings, "port: 7001\nservice-cidr: 10.77.0.0/16\ntls-san: [more.test, 192.0.2.9]\n").unwrap();
    // On the command line already: the port, which therefore is not the file's.
    let mut bare = Bare::start(&["--config", &settings.path().display().to_string()]);
    let (_, flags) = credentials(&bare.host, bare.folder.path());
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let service =
        ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];
    for name in [&["localhost", "127.0.0.1", "10.77.0.1", "more.test", "192.0.2.9", name.trim()], &service[..]].concat()
    {
        assert_eq!(ask(&bare, &flags, name, "/readyz", &[]), (0, "ok".to_owned()), "by the name {name}");
    }
    let wrong_name = 60;
    assert_eq!(ask(&bare, &flags, "other.test", "/readyz", &[]).0, wrong_name, "it has no other names");
    let no_handshake = 35;
    assert_eq!(ask(&bare, &flags, "localhost", "/readyz", &["--tls-max", "1.2"]).0, no_handshake, "TLS 1.3 alone");

    for path in ["/livez", "/healthz"] {
        assert_eq!(bare.kubectl.run(&["get", "--raw", path]), "ok", "{path}");
    }
    let version: serde_json::Value = serde_json::from_str(&bare.kubectl.run(&["get", "--raw", "/version"])).unwrap();
    assert!(version["gitVersion"].as_str().is_some_and(|version| version.starts_with("v1.36")), "{version}");
    assert!(bare.kubectl.run(&["get", "--raw", "/metrics"]).contains("\napiserver_request_total{"));
    files_are_for_their_owner(&bare);

    let watch = Lines::of(bare.kubectl.command(&["get", "namespaces", "--watch"]));
    watch.find("the watch runs", |line| line.starts_with("default "));
    assert!(bare.server.terminate(Duration::from_secs(5)).success(), "watches do not keep it");
}

fn files_are_for_their_owner(bare: &Bare) {
    let data = bare.folder.path().join("server");
    for file in ["admin.kubeconfig", "agent-token"] {
        let mode = fs::metadata(data.join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{file}");
    }
    let who = bare.kubectl.run(&["auth", "whoami", "-o", "jsonpath={.status.userInfo.groups}"]);
    assert!(who.contains("system:masters"), "{who}");
    let config = bare.kubectl.run(&["config", "view"]);
    assert!(config.contains("client-certificate-data") && !config.contains("token"), "{config}");
}

#[test]
fn links_to_the_program_are_its_commands() {
    let folder = tempfile::tempdir().unwrap();
    for (name, command) in [("knarr-server", "server"), ("knarr-agent", "agent"), ("knarrctl", "ctl")] {
        let link = folder.path().join(name);
        symlink(binary(), &link).unwrap();
        let help = |program: &Path, words: &[&str]| {
            let output = Command::new(program).args(words).output().unwrap();
            assert!(output.status.success(), "{} {words:?}", program.display());
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let lines = |text: String| {
            text.lines().filter(|line| line.trim_start().starts_with("--")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(lines(help(&link, &["--help"])), lines(help(&binary(), &[command, "--help"])), "{name}");
    }
}

/// Listens like a collector of traces; gives what the first call said that has these words in it.
fn collector(host: &Host, words: &'static [&'static str]) -> std::sync::mpsc::Receiver<String> {
    let (told, calls) = channel();
    let (ready, is_ready) = channel();
    let host = host.clone();
    std::thread::spawn(move || {
        host.enter();
        let listener = TcpListener::bind("127.0.0.1:4318").unwrap();
        ready.send(()).unwrap();
        for mut stream in listener.incoming().flatten() {
            let mut call = Vec::new();
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                call.extend(&buffer[..count]);
                let text = String::from_utf8_lossy(&call).into_owned();
                if words.iter().all(|word| text.contains(word)) {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
                    let _ = told.send(text);
                    break;
                }
            }
        }
    });
    is_ready.recv().unwrap();
    calls
}

#[test]
fn traces_go_to_the_collector_that_is_named() {
    let mut network = Network::new();
    let host = network.add_host("server");
    let folder = knarr_tests::cluster::Folder::new();
    let calls = collector(&host, &["POST /v1/traces ", "knarr"]);
    let endpoint =
        ["--otlp-endpoint", "http://127.0.0.1:4318/v1/traces", "--disable-scheduler", "--disable-controllers"];
    let mut server = knarr_tests::cluster::start_server(&host, folder.path(), &endpoint);
    let call = calls.recv_timeout(LATER).expect("traces come");
    assert!(call.contains("application/x-protobuf"), "{call}");
    assert!(server.terminate(Duration::from_secs(20)).success());
}
