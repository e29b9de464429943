// SPDX-License-Identifier: Apache-2.0

//! How long a container takes to start: ours in a sandbox that runs, ours with its sandbox, and
//! `run --detach` of crun and runc on the same root, by turns in one run. Each is one process that
//! sleeps. crun refuses a machine with cgroups v1 and v2 side by side: it is shown v2 alone.
//!
//! `cargo run --release -p knarr-runtime --example container_start`, as root, with Debian's busybox-static, crun and runc.

use std::error::Error;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use knarr_runtime::oci::{OciRuntime, Options, cleanup_all};
use knarr_runtime::{ContainerConfig, ContainerId, Namespaces, PodRuntime, PodUid, SandboxConfig};

const TURNS: usize = 4;
const ROUNDS: usize = 15;
/// Runs its arguments where there are only cgroups v2.
const ONLY_V2: &str = "mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec \"$@\"";

type Failure = Box<dyn Error>;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).peekable();
    // The shim must start in a process of one thread: this program is its own.
    if args.peek().is_some_and(|first| first == "shim") {
        return knarr_runtime::shim::main(args.skip(1));
    }
    if args.peek().is_some_and(|first| first == "other") {
        let words: Vec<String> = args.skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
        return report(time_other(&words));
    }
    let dir = std::env::temp_dir().join(format!("knarr-bench-{}", std::process::id()));
    let id = format!("bench-{}", std::process::id());
    let result = compare(&dir, &id);
    let cleaned = cleanup_all(&dir.join("pods"), &format!("knarr-{id}")).map(|_| ()).map_err(Failure::from);
    report(result.and(cleaned).and(fs::remove_dir_all(&dir).map_err(Failure::from)))
}

fn report(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(dir: &Path, id: &str) -> Result<(), Failure> {
    let root = make_root(&dir.join("root"))?;
    let bundle = make_bundle(&dir.join("bundle"), &root)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut alone, mut whole, mut crun, mut runc) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let oci = OciRuntime::new(Options::new(dir.join("pods"), id))?;
    for turn in 0..TURNS {
        for round in 0..ROUNDS {
            let (with_sandbox, container) = runtime.block_on(start_ours(&oci, dir, &root, turn * ROUNDS + round))?;
            whole.push(with_sandbox);
            alone.push(container);
        }
        crun.extend(other("crun", &bundle)?);
        runc.extend(other("runc", &bundle)?);
    }
    println!("container in a running sandbox: {}", spread(alone));
    println!("sandbox and container: {}", spread(whole));
    println!("crun run --detach: {}", spread(crun));
    println!("runc run --detach: {}", spread(runc));
    Ok(())
}

/// Some rounds of another runtime, in a process of their own.
fn other(program: &str, bundle: &Path) -> Result<Vec<Duration>, Failure> {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", ONLY_V2, "sh"]).arg(std::env::current_exe()?);
    let output = command.args(["other", program]).arg(bundle).output()?;
    if !output.status.success() {
        return Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let text = String::from_utf8(output.stdout)?;
    text.lines().map(|line| Ok(Duration::from_nanos(line.parse()?))).collect()
}

fn time_other(words: &[String]) -> Result<(), Failure> {
    let [program, bundle] = words else { return Err("other PROGRAM BUNDLE".into()) };
    for round in 0..ROUNDS {
        let name = format!("bench-{}-{round}", std::process::id());
        println!("{}", start_other(program, bundle, &name)?.as_nanos());
    }
    Ok(())
}

/// The time of a sandbox with its container, then of one more container in it.
async fn start_ours(oci: &OciRuntime, dir: &Path, root: &Path, round: usize) -> Result<(Duration, Duration), Failure> {
    let uid = PodUid::new(format!("bench-{round}")).ok_or("not a pod uid")?;
    let sandbox = SandboxConfig {
        uid: uid.clone(),
        namespace: "default".to_owned(),
        name: uid.to_string(),
        hostname: uid.to_string(),
        namespaces: Namespaces::default(),
        log_dir: dir.join("logs"),
        sysctls: Vec::new(),
        resources: Default::default(),
        shm_bytes: None,
        annotations: Default::default(),
    };
    let config = ContainerConfig {
        image: "busybox".to_owned(),
        layers: vec![root.to_path_buf()],
        args: ["sleep", "1000"].map(str::to_owned).to_vec(),
        ..ContainerConfig::default()
    };
    let begun = Instant::now();
    oci.run_pod_sandbox(&sandbox).await?;
    start(oci, &ContainerId::new(uid.clone(), "first", 0), &config).await?;
    let whole = begun.elapsed();
    let begun = Instant::now();
    start(oci, &ContainerId::new(uid.clone(), "second", 0), &config).await?;
    let container = begun.elapsed();
    oci.remove_pod(&uid).await?;
    Ok((whole, container))
}

async fn start(oci: &OciRuntime, id: &ContainerId, config: &ContainerConfig) -> Result<(), Failure> {
    oci.create_container(id, config).await?;
    oci.start_container(id).await?;
    Ok(())
}

fn start_other(program: &str, bundle: &str, name: &str) -> Result<Duration, Failure> {
    let mut command = Command::new(program);
    command.args(["run", "--detach", "--bundle", bundle, name]);
    // The container inherits the streams: a pipe of ours would stay open for as long as it runs.
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let begun = Instant::now();
    let started = command.status()?;
    let taken = begun.elapsed();
    let removed = Command::new(program).args(["delete", "--force", name]).status()?;
    if started.success() && removed.success() { Ok(taken) } else { Err("the container did not start or end".into()) }
}

/// A root file system of busybox alone.
fn make_root(root: &Path) -> Result<PathBuf, Failure> {
    for folder in ["bin", "proc", "dev", "sys", "tmp", "etc"] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::copy("/bin/busybox", root.join("bin/busybox"))?;
    symlink("busybox", root.join("bin/sleep"))?;
    Ok(root.to_path_buf())
}

/// What crun runs: its own default specification, with our program and root.
fn make_bundle(bundle: &Path, root: &Path) -> Result<PathBuf, Failure> {
    fs::create_dir_all(bundle)?;
    let made = Command::new("crun").arg("spec").current_dir(bundle).status()?;
    if !made.success() {
        return Err("crun spec failed".into());
    }
    let file = bundle.join("config.json");
    let mut spec: serde_json::Value = serde_json::from_slice(&fs::read(&file)?)?;
    spec["process"]["args"] = serde_json::json!(["sleep", "1000"]);
    spec["process"]["terminal"] = serde_json::json!(false);
    spec["root"]["path"] = serde_json::json!(root);
    // Rules for devices in cgroups v2 are eBPF programs, which a nested machine may refuse.
    spec["linux"]["resources"] = serde_json::json!({});
    fs::write(&file, spec.to_string())?;
    Ok(bundle.to_path_buf())
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100].as_secs_f64() * 1000.0;
    format!("p50 {:.1} ms, p90 {:.1} ms, max {:.1} ms of {}", at(50), at(90), at(100), times.len())
}
