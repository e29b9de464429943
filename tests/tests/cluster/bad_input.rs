// SPDX-License-Identifier: Apache-2.0
//! Bad input: the message names the thing and the remedy, and nothing is done, or nothing dies.

use std::fs;
use std::path::Path;
use std::time::Duration;

use knarr_tests::cluster::{Bare, Folder, start_server};
use knarr_tests::hosts::{Host, Network};
use knarr_tests::knarr;
use knarr_tests::kubectl::Kubectl;

/// Runs `knarr` with what cannot work: it must end by itself, with an exit code that is not 0.
fn refused(host: &Host, arguments: &[&str], wants: &[&str]) {
    let (code, said) = knarr::run(host, arguments);
    assert!(code.is_some_and(|code| code != 0), "knarr {}: {code:?} {said}", arguments.join(" "));
    for want in wants {
        assert!(said.contains(want), "knarr {} does not say {want:?}: {said}", arguments.join(" "));
    }
}

#[test]
fn wrong_configuration_is_refused_by_name() {
    let mut network = Network::new();
    let folder = Folder::new();
    let host = network.add_host("server");
    let file = folder.path().join("config.yaml");
    let (data, config) = (folder.path().join("server").display().to_string(), file.display().to_string());
    for command in ["server", "up"] {
        let arguments = [command, "--data-dir", &data, "--config", &config];
        for (text, wants) in [
            ("prot: 1\n", &["unknown key \"prot\"", "the keys are:", "port", &config][..]),
            ("port: [\n", &["not valid YAML", &config]),
            ("- port\n", &["must be a mapping", &config]),
            ("port: x\n", &["'x'", "--port"]),
            ("port: 70000\n", &["70000", "--port"]),
            ("store-sync: sometimes\n", &["sometimes", "always, never"]),
            ("service-cidr: 10.0.0.0/40\n", &["10.0.0.0/40", "--service-cidr"]),
            ("bind-address: here\n", &["here", "--bind-address"]),
            ("disable-scheduler: ture\n", &["ture", "true or false"]),
            ("tls-san: [bad name]\n", &["bad name", "--tls-san"]),
            ("cluster-cidr: 10.43.0.0/20\n", &["overlap", "10.43.0.0/16", "--cluster-cidr"]),
            ("otlp-endpoint: nowhere\n", &["nowhere", "--otlp-endpoint", "http://HOST:4318"]),
        ] {
            fs::write(&file, text).unwrap();
            refused(&host, &arguments, wants);
        }
        fs::write(&file, [0xff, 0xfe, 0]).unwrap();
        refused(&host, &arguments, &["cannot read the configuration file", &config]);
        fs::remove_file(&file).unwrap();
        refused(&host, &arguments, &["cannot read the configuration file", &config, "No such file"]);
    }
    for (wrong, wants) in [
        ("--node-label=a b=c", &["a b=c", "--node-label"]),
        ("--node-taint=a=b", &["a=b", "NoSchedule"]),
        ("--node-name=Bad_Name", &["Bad_Name", "RFC 1123"]),
    ] {
        refused(&host, &["up", "--data-dir", &data, wrong], wants);
    }
    refused(&host, &["server", "--data-dir", &data, "--prot", "1"], &["--prot", "--port"]);
    assert!(!Path::new(&data).exists(), "nothing is done before a configuration is understood");
}

#[test]
fn servers_and_agents_refuse_what_is_not_theirs() {
    let mut bare = Bare::start(&[]);
    let Bare { server, kubectl, host, folder, .. } = &mut bare;
    let path = |name: &str| folder.path().join(name).display().to_string();

    let data = path("server");
    refused(
        host,
        &["server", "--data-dir", &data, "--port", "7443"],
        &[&data, "in use by another server", "--data-dir"],
    );
    let second = path("second");
    refused(
        host,
        &["server", "--data-dir", &second, "--bind-address", &host.address, "--port", "6443"],
        &[&format!("{}:6443", host.address), "in use", "--port"],
    );
    fs::write(folder.path().join("file"), "not a folder").unwrap();
    refused(host, &["server", "--data-dir", &path("file"), "--port", "7443"], &[&path("file")]);

    agents_refuse_wrong_tokens(host, folder.path());

    // It lived on all the while, and lets go of its data at its end.
    kubectl.run(&["get", "--raw", "/readyz"]);
    assert!(server.terminate(Duration::from_secs(20)).success());
    another_cluster_has_other_keys(host, folder.path());
}

fn agents_refuse_wrong_tokens(host: &Host, folder: &Path) {
    let url = format!("https://{}:6443", host.address);
    let node = folder.join("node").display().to_string();
    let token = fs::read_to_string(folder.join("server/agent-token")).unwrap();
    let token = token.trim();
    let agent = |token: &str, wants: &[&str]| {
        refused(host, &["agent", "--server", &url, "--token", token, "--node-name", "n", "--data-dir", &node], wants);
    };
    let (hash, rest) = token.strip_prefix("K10").unwrap().split_once("::").unwrap();
    let other = if hash.starts_with('0') { hash.replacen('0', "1", 1) } else { format!("0{}", &hash[1..]) };
    agent(&format!("K10{other}::{rest}"), &["CA", &other, hash, "another cluster"]);
    agent(&format!("K10{hash}::node:wrong-secret"), &[&url, "token", "agent-token"]);
    agent("K10nonsense", &["agent-token"]);
    agent(rest.split_once(':').unwrap().1, &["hash of the CA", "--ca-file"]);
    let wrong_ca = folder.join("file").display().to_string();
    let all =
        ["agent", "--server", &url, "--token", token, "--ca-file", &wrong_ca, "--node-name", "n", "--data-dir", &node];
    refused(host, &all, &["--ca-file", &wrong_ca, "tls/ca.crt"]);
    let all = ["agent", "--server", "http://a", "--token", token, "--node-name", "n", "--data-dir", &node];
    refused(host, &all, &["--server", "https://"]);
    let registries = folder.join("registries.yaml").display().to_string();
    fs::write(&registries, "mirors: {}\n").unwrap();
    let all = ["agent", "--server", &url, "--token", token, "--node-name", "n", "--data-dir", &node];
    refused(host, &[&all[..], &["--private-registry", &registries]].concat(), &["mirors", &registries]);
}

/// The database of one cluster below the keys of another.
fn another_cluster_has_other_keys(host: &Host, folder: &Path) {
    fs::create_dir(folder.join("other")).unwrap();
    let mut other = start_server(host, &folder.join("other"), &["--disable-scheduler", "--disable-controllers"]);
    assert!(other.terminate(Duration::from_secs(20)).success());
    let (ours, theirs) = (folder.join("server"), folder.join("other/server"));
    fs::remove_dir_all(ours.join("store/store")).unwrap();
    fs::rename(theirs.join("store/store"), ours.join("store/store")).unwrap();
    refused(host, &["server", "--data-dir", &ours.display().to_string(), "--port", "7443"], &["belongs to cluster"]);
}

const CONFIG_MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {color: blue}\n";

#[test]
fn requests_that_make_no_sense_are_refused() {
    let mut bare = Bare::start(&[]);
    let Bare { server, kubectl, host, folder, .. } = &mut bare;
    let pid = server.pid();

    let typo = CONFIG_MAP.replace("\ndata:", "\ndta:");
    for how in [&["apply"][..], &["apply", "--validate=strict"], &["create"], &["apply", "--server-side"]] {
        let refused = kubectl.try_run(&[how, &["-f", "-"]].concat(), &typo);
        assert!(refused.code != 0 && refused.err.contains("dta"), "{how:?}: {refused:?}");
    }
    let warned = kubectl.try_run(&["apply", "--validate=warn", "-f", "-"], &typo);
    assert!(warned.code == 0 && warned.err.contains("unknown field \"dta\""), "{warned:?}");
    let taken = kubectl.try_run(&["create", "--validate=warn", "-f", "-"], &typo);
    assert!(taken.err.contains("already exists") && taken.err.contains("unknown field \"dta\""), "{taken:?}");
    let wrong = kubectl.try_run(&["apply", "-f", "-"], &CONFIG_MAP.replace("{color: blue}", "[color]"));
    assert!(wrong.code != 0 && wrong.err.contains("data"), "{wrong:?}");
    let kind = kubectl.try_run(&["apply", "-f", "-"], &CONFIG_MAP.replace("ConfigMap", "ConfgMap"));
    assert!(kind.code != 0 && kind.err.contains("no matches for kind \"ConfgMap\""), "{kind:?}");
    let name = kubectl.try_run(&["apply", "-f", "-"], &CONFIG_MAP.replace("settings", "Set_tings"));
    assert!(name.code != 0 && name.err.contains("metadata.name: Invalid value: \"Set_tings\""), "{name:?}");

    raw_bodies_are_refused(host, folder.path());

    kubectl.apply(CONFIG_MAP);
    assert_eq!(
        (server.pid(), kubectl.run(&["get", "--raw", "/readyz"])),
        (pid, "ok".to_owned()),
        "the server lives on"
    );
    assert!(server.terminate(Duration::from_secs(20)).success());
}

/// What no client library sends: by curl, with the administrator's certificate.
fn raw_bodies_are_refused(host: &Host, folder: &Path) {
    let (url, files) = credentials(host, folder);
    let post = |path: &str, kind: &str, body: &[u8]| {
        let file = folder.join("body");
        fs::write(&file, body).unwrap();
        let mut curl = host.command("curl");
        curl.args(["-s", "-m", "30", "-H", "Expect:", "-w", "\n%{http_code}", "-X", "POST"]).args(&files);
        curl.args(["-H", &format!("Content-Type: {kind}"), "--data-binary", &format!("@{}", file.display())]);
        let output = curl.arg(format!("{url}{path}")).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let maps = "/api/v1/namespaces/default/configmaps";
    let deep = "[".repeat(100_000);
    let large = format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"l"}},"data":{{"a":"{}"}}}}"#,
        "x".repeat(3 << 20)
    );
    let level = |i: usize| format!("a{i}: &a{i} [{}]\n", format!("*a{}, ", i - 1).repeat(9));
    let aliases = (1..=9).fold("a0: &a0 [x]\n".to_owned(), |text, i| text + &level(i));
    for (kind, body, code, wants) in [
        ("application/json", "{\"kind\": ", "400", &["Status", "BadRequest"][..]),
        ("application/json", "\u{0}\u{1}", "400", &["BadRequest"]),
        ("application/json", &deep, "400", &["BadRequest"]),
        ("application/json", &large, "413", &["RequestEntityTooLarge", "limit is 3145728"]),
        ("application/yaml", "a: [b\n", "400", &["BadRequest"]),
        ("application/yaml", &aliases, "400", &["BadRequest"]),
        ("application/xml", "<a/>", "415", &["accepted media types include: application/json"]),
        ("application/json", "{\"apiVersion\":\"v1\",\"kind\":\"Pod\"}", "400", &["cannot be handled as a ConfigMap"]),
    ] {
        let answer = post(maps, kind, body.as_bytes());
        let start: String = body.chars().take(40).collect();
        assert!(answer.ends_with(&format!("\n{code}")), "{kind} {start:?} should give {code}: {answer}");
        for want in wants {
            assert!(answer.contains(want), "{kind} {start:?} should say {want:?}: {answer}");
        }
    }
    let invalid =
        [&br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":""#[..], &[0xff, 0xfe], br#""}}"#].concat();
    let answer = post(maps, "application/json", &invalid);
    assert!(answer.ends_with("\n400") || answer.ends_with("\n422"), "names are text: {answer}");
}

/// The server's URL, and curl's flags for the administrator's certificate.
pub fn credentials(host: &Host, folder: &Path) -> (String, Vec<String>) {
    let kubectl = Kubectl::new(host, &folder.join("server/admin.kubeconfig"));
    let raw = kubectl.run(&["config", "view", "--raw", "-o", "json"]);
    let config: serde_json::Value = serde_json::from_str(&raw).unwrap();
    let (cluster, user) = (&config["clusters"][0]["cluster"], &config["users"][0]["user"]);
    let mut flags = Vec::new();
    for (flag, text) in [
        ("--cacert", &cluster["certificate-authority-data"]),
        ("--cert", &user["client-certificate-data"]),
        ("--key", &user["client-key-data"]),
    ] {
        let file = folder.join(&flag[2..]).display().to_string();
        let script = format!("base64 -d > {file}");
        let mut child =
            std::process::Command::new("sh").args(["-c", &script]).stdin(std::process::Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_str().unwrap().as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        flags.extend([flag.to_owned(), file]);
    }
    (cluster["server"].as_str().unwrap().to_owned(), flags)
}
