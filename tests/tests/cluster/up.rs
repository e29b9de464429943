// SPDX-License-Identifier: Apache-2.0
//! A whole cluster on one host with one command, and nothing left of it after another.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use knarr_tests::cluster::{Folder, LATER, SOON};
use knarr_tests::hosts::{Host, Network};
use knarr_tests::knarr::{self, Process};
use knarr_tests::kubectl::Kubectl;
use knarr_tests::wait::until;

/// What a node can leave behind, a line a thing. What other tests do meanwhile is told by their folders.
fn footprint(host: &Host, folder: &Path) -> BTreeSet<String> {
    let folder = folder.display().to_string();
    let mut found = BTreeSet::new();
    let mut say = |what: &str, lines: &str| found.extend(lines.lines().map(|line| format!("{what} {line}")));
    for (what, arguments) in [
        ("link", &["ip", "-br", "link"][..]),
        ("address", &["ip", "-4", "-br", "address"]),
        ("route", &["ip", "route", "show", "table", "all"]),
        ("route", &["ip", "-6", "route", "show", "table", "all"]),
        ("rule", &["ip", "rule"]),
        ("nftables", &["nft", "list", "tables"]),
    ] {
        let output = host.command(arguments[0]).args(&arguments[1..]).output().unwrap();
        // The kernel gives every link an address of its own, sooner or later.
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        say(what, &text.lines().filter(|line| !line.contains("fe80:")).collect::<Vec<_>>().join("\n"));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    say("mount", &mounts.lines().filter(|line| line.contains(&folder)).collect::<Vec<_>>().join("\n"));
    say("process", &processes(&folder).join("\n"));
    found
}

/// The command lines that name the folder, less those of this test's own tools.
fn processes(folder: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| fs::read_to_string(entry.path().join("cmdline")).ok());
    lines.map(|line| line.replace('\0', " ")).filter(|line| line.contains(folder)).collect()
}

/// Cgroups with a name that begins with `knarr-`, and who is in them.
fn cgroups() -> BTreeSet<PathBuf> {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
    let roots = hierarchies.chain([PathBuf::from("/sys/fs/cgroup")]).filter(|path| path.is_dir());
    let below = roots.flat_map(|root| fs::read_dir(root).into_iter().flatten().flatten());
    below.map(|entry| entry.path()).filter(|path| path.to_string_lossy().contains("/knarr-")).collect()
}

fn stays_as_it_was(host: &Host, folder: &Path, before: &BTreeSet<String>) {
    until("the host is as it was before", SOON, || {
        let now = footprint(host, folder);
        let differs: Vec<_> = now.symmetric_difference(before).collect();
        (differs.is_empty(), format!("{differs:#?}"))
    });
}

#[test]
fn up_is_undone_by_down() {
    let mut network = Network::new();
    let folder = Folder::new();
    let host = network.add_host("alone");
    let before = footprint(&host, folder.path());
    let data = folder.path().join("up");
    let path = data.display().to_string();
    let mut up =
        Process::start(&host, &folder.path().join("up.log"), &["up", "--data-dir", &path, "--node-name", "alone"]);
    let kubectl = Kubectl::new(&host, &data.join("admin.kubeconfig"));
    let ready = "{.status.conditions[?(@.type==\"Ready\")].status}";
    kubectl.wait_for(&["node", "alone"], ready, "True", LATER);
    for file in ["admin.kubeconfig", "agent-token"] {
        assert_eq!(fs::metadata(data.join(file)).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
    let made = footprint(&host, folder.path());
    assert!(made.iter().any(|line| line.starts_with("nftables")), "{made:#?}");

    let (code, said) = knarr::run(&host, &["down", "--data-dir", &path]);
    let (running, stop) =
        (format!("still runs with the data dir {path}"), format!("(process {}): stop it first", up.pid()));
    assert!(code != Some(0) && said.contains(&running), "what runs is not pulled away from under it: {said}");
    assert!(said.contains(&stop), "{said}");
    assert!(up.terminate(SOON).success());
    let (code, said) = knarr::run(&host, &["down", "--data-dir", &path]);
    assert!(code == Some(0) && said.contains("removed nftables table"), "{said}");
    stays_as_it_was(&host, folder.path(), &before);
    assert!(data.join("admin.kubeconfig").exists(), "the state stays until it is asked for");
    let (code, said) = knarr::run(&host, &["down", "--data-dir", &path, "--delete-data"]);
    assert!(code == Some(0) && !data.exists(), "{said}");
    let (code, said) = knarr::run(&host, &["down", "--data-dir", &path]);
    assert_eq!(code, Some(0), "nothing to do is no failure: {said}");
}

/// The demo as a static program, where `scripts/test.sh` builds it.
fn demo() -> PathBuf {
    if let Some(path) = std::env::var_os("KNARR_INIT_BIN") {
        return path.into();
    }
    let target = format!("{}-unknown-linux-gnu/debug/knarr-init", std::env::consts::ARCH);
    let binary = knarr::binary();
    let found = binary.ancestors().map(|folder| folder.join(&target)).find(|path| path.is_file());
    found.expect("build it first: scripts/test.sh does")
}

#[test]
fn the_quickstart_starts_shows_and_stops() {
    let mut network = Network::new();
    let folder = Folder::new();
    let host = network.add_host("quick");
    let before = footprint(&host, folder.path());
    let groups = cgroups();
    let data = folder.path().join("quick");
    let script = knarr_tests::manifest_folder().join("../scripts/quickstart.sh");
    let run = |arguments: &[&str]| {
        let mut command: Command = host.command(&script);
        command.args(arguments).env("KNARR_DATA", &data);
        let output = command.env("KNARR_BIN", knarr::binary()).env("KNARR_INIT_BIN", demo()).output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "quickstart.sh {}: {said}", arguments.join(" "));
        said
    };

    let said = run(&[]);
    for want in
        ["the node is Ready: yes", "hello-", "Service http://10.43.", "Ingress http://hello.test", "export KUBECONFIG="]
    {
        assert!(said.contains(want), "it does not say {want:?}: {said}");
    }
    let kubectl = Kubectl::new(&host, &data.join("admin.kubeconfig"));
    let pods = kubectl.run(&["get", "pods", "-o", "name"]);
    let again = run(&[]);
    assert!(again.contains("runs already") && again.contains("Ingress http://hello.test"), "{again}");
    assert_eq!(kubectl.run(&["get", "pods", "-o", "name"]), pods, "the same pods go on");

    let said = run(&["--down"]);
    assert!(said.contains("removed") && said.contains("nothing of the node in"), "{said}");
    stays_as_it_was(&host, folder.path(), &before);
    let left: Vec<_> = cgroups().difference(&groups).filter(|path| is_of_no_other_test(path)).cloned().collect();
    assert!(left.is_empty() && !data.exists(), "{left:?}");
    run(&["--down"]);
}

/// Other tests make cgroups of their nodes meanwhile: those have processes.
fn is_of_no_other_test(group: &Path) -> bool {
    let procs = Command::new("find").arg(group).args(["-name", "cgroup.procs", "-exec", "cat", "{}", ";"]).output();
    procs.is_ok_and(|output| output.stdout.is_empty()) && group.exists()
}
