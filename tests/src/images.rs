// SPDX-License-Identifier: Apache-2.0
//! Images made of programs of the machine, and a registry to pull them from.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::hosts::Host;
use crate::running::Running;
use crate::wait::eventually;

/// What a registry with a password wants to hear; others do not listen.
pub const PASSWORD: &str = "secret";
/// The same by bcrypt.
const PASSWORD_HASH: &str = "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a";

/// Debian's registry on a host, plain HTTP, with its data in a folder of the test; ended when dropped.
#[derive(Debug)]
pub struct Registry {
    host: Host,
    _running: Running,
    folder: PathBuf,
    /// `ADDRESS:PORT`, as image names begin.
    pub address: String,
}

impl Registry {
    /// Starts one.
    ///
    /// # Panics
    /// When docker-registry is not installed, or does not answer.
    #[must_use]
    pub fn start(host: &Host, folder: &Path) -> Self {
        Self::serve(host, format!("{}:5000", host.address), folder.join("registry"), "")
    }

    /// Starts one that wants the password [`PASSWORD`] of the user `robot`.
    ///
    /// # Panics
    /// When docker-registry is not installed, or does not answer.
    #[must_use]
    pub fn start_guarded(host: &Host, folder: &Path) -> Self {
        let (folder, users) = (folder.join("guarded"), folder.join("users"));
        fs::write(&users, format!("robot:{PASSWORD_HASH}\n")).expect("the test's folder can be written");
        let guard = format!("auth: {{htpasswd: {{realm: tests, path: {}}}}}\n", users.display());
        Self::serve(host, Self::guarded_address(host), folder, &guard)
    }

    /// Where one with a password is on a host.
    #[must_use]
    pub fn guarded_address(host: &Host) -> String {
        format!("{}:5001", host.address)
    }

    fn serve(host: &Host, address: String, folder: PathBuf, more: &str) -> Self {
        fs::create_dir_all(&folder).expect("the test's folder can be written");
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: {address}}}\n{more}",
            folder.join("data").display()
        );
        fs::write(folder.join("config.yml"), config).expect("the test's folder can be written");
        let child = host
            .command("docker-registry")
            .arg("serve")
            .arg(folder.join("config.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is installed");
        let registry = Self { _running: Running(child), host: host.clone(), folder, address };
        let url = format!("http://{}/v2/", registry.address);
        eventually("the registry answers", Duration::from_secs(20), || {
            let login = format!("robot:{PASSWORD}");
            let answer =
                registry.host.command("curl").args(["-sf", "-u", &login, &url]).output().expect("curl is installed");
            if answer.status.success() { Ok(()) } else { Err(answer.status) }
        });
        registry
    }

    /// Puts an image archive under `name:tag`; gives the full name.
    ///
    /// # Panics
    /// When skopeo is not installed or fails.
    pub fn push(&self, archive: &Path, name: &str) -> String {
        let full = format!("{}/{name}", self.address);
        let output = self
            .host
            .command("skopeo")
            .args(["copy", "--insecure-policy", "--dest-tls-verify=false"])
            .arg(format!("--dest-creds=robot:{PASSWORD}"))
            .arg(format!("docker-archive:{}", archive.display()))
            .arg(format!("docker://{full}"))
            .output()
            .expect("skopeo is installed");
        assert!(output.status.success(), "skopeo copy {full}: {}", String::from_utf8_lossy(&output.stderr));
        full
    }

    /// Where archives can be put.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// A root filesystem that becomes an image.
#[derive(Debug)]
pub struct Rootfs {
    folder: tempfile::TempDir,
}

impl Rootfs {
    /// An empty one with the folders that every system has.
    ///
    /// # Panics
    /// When the temporary folder cannot be written.
    #[must_use]
    pub fn new() -> Self {
        let rootfs = Self::empty();
        for name in ["bin", "etc", "proc", "sys", "dev", "run", "var/log"] {
            rootfs.make_dir(name, 0o755);
        }
        rootfs.make_dir("tmp", 0o1777);
        rootfs.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/:/bin/sh\n");
        rootfs.write("etc/group", "root:x:0:\nuser:x:1000:\n");
        rootfs
    }

    /// One with nothing in it.
    ///
    /// # Panics
    /// When the temporary folder cannot be written.
    #[must_use]
    pub fn empty() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// Debian's static busybox with a link for every applet.
    ///
    /// # Panics
    /// When busybox-static is not installed.
    #[must_use]
    pub fn busybox() -> Self {
        let rootfs = Self::new();
        let bin = rootfs.folder.path().join("bin");
        fs::copy("/bin/busybox", bin.join("busybox")).expect("busybox-static is installed");
        let list = Command::new("/bin/busybox").arg("--list").output().expect("busybox runs");
        for applet in String::from_utf8_lossy(&list.stdout).lines().filter(|a| *a != "busybox") {
            symlink("busybox", bin.join(applet)).expect("a temporary folder can be written");
        }
        rootfs
    }

    /// A program of the machine with the libraries that it loads.
    ///
    /// # Panics
    /// When it is not there.
    #[must_use]
    pub fn with_program(self, program: &str) -> Self {
        let output = Command::new("ldd").arg(program).output().expect("ldd is installed");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let libraries = text.split_whitespace().filter(|word| word.starts_with('/'));
        for file in libraries.chain([program]) {
            let target = self.folder.path().join(&file[1..]);
            fs::create_dir_all(target.parent().expect("a file has a folder")).expect("it can be made");
            fs::copy(file, &target).unwrap_or_else(|e| panic!("{file}: {e}"));
        }
        self
    }

    /// Writes a file.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, path: &str, text: &str) {
        let target = self.folder.path().join(path);
        fs::create_dir_all(target.parent().expect("a file has a folder")).expect("it can be made");
        fs::write(target, text).expect("a temporary folder can be written");
    }

    /// Makes a folder with this mode.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn make_dir(&self, path: &str, mode: u32) {
        let target = self.folder.path().join(path);
        fs::create_dir_all(&target).expect("a temporary folder can be written");
        fs::set_permissions(target, fs::Permissions::from_mode(mode)).expect("it is ours");
    }

    /// Packs it as a docker archive at `archive`; `config` is the `config` of the image's
    /// configuration: `Entrypoint`, `Cmd`, `Env`, `User`, `WorkingDir`.
    ///
    /// # Panics
    /// When tar fails.
    pub fn pack(&self, archive: &Path, name: &str, config: &Value) {
        let work = tempfile::tempdir().expect("a temporary folder");
        pack_layers(&[self.layer(work.path(), "layer.tar")], archive, name, config);
    }

    /// The same with a layer of `above` on top.
    ///
    /// # Panics
    /// When tar fails.
    pub fn pack_below(&self, above: &Self, archive: &Path, name: &str, config: &Value) {
        let work = tempfile::tempdir().expect("a temporary folder");
        let layers = [self.layer(work.path(), "0.tar"), above.layer(work.path(), "1.tar")];
        pack_layers(&layers, archive, name, config);
    }

    /// As a layer in `folder`.
    fn layer(&self, folder: &Path, name: &str) -> PathBuf {
        let layer = folder.join(name);
        run(Command::new("tar")
            .arg("-C")
            .arg(self.folder.path())
            .args(["--numeric-owner", "--owner=0", "--group=0"])
            .arg("-cf")
            .arg(&layer)
            .arg("."));
        layer
    }
}

/// Packs layers, as tar files, the lowest first, as a docker archive at `archive`; see [`Rootfs::pack`].
///
/// # Panics
/// When tar fails.
pub fn pack_layers(layers: &[PathBuf], archive: &Path, name: &str, config: &Value) {
    let work = tempfile::tempdir().expect("a temporary folder");
    let sum = |layer: &PathBuf| {
        let sum = Command::new("sha256sum").arg(layer).output().expect("coreutils are installed");
        format!("sha256:{}", &String::from_utf8_lossy(&sum.stdout)[..64])
    };
    let image = json!({
        "architecture": "amd64", "os": "linux", "config": config,
        "rootfs": {"type": "layers", "diff_ids": layers.iter().map(sum).collect::<Vec<_>>()},
    });
    let names: Vec<String> = (0..layers.len()).map(|number| format!("layer{number}.tar")).collect();
    for (layer, name) in layers.iter().zip(&names) {
        fs::copy(layer, work.path().join(name)).expect("a temporary folder can be written");
    }
    write_json(&work.path().join("config.json"), &image);
    let manifest = json!([{"Config": "config.json", "RepoTags": [name], "Layers": names}]);
    write_json(&work.path().join("manifest.json"), &manifest);
    let files = ["manifest.json", "config.json"];
    run(Command::new("tar").arg("-C").arg(work.path()).arg("-cf").arg(archive).args(files).args(&names));
}

impl Default for Rootfs {
    fn default() -> Self {
        Self::new()
    }
}

fn write_json(path: &Path, value: &Value) {
    let mut file = fs::File::create(path).expect("a temporary folder can be written");
    file.write_all(value.to_string().as_bytes()).expect("a temporary folder can be written");
}

fn run(command: &mut Command) {
    let output = command.output().expect("the program is installed");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
