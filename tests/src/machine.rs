// SPDX-License-Identifier: Apache-2.0
//! A virtual machine with a kernel of its own, for what the machine's own kernel does not have: QEMU, Debian's kernel
//! and a root of a few programs in memory. It emulates the processor, so that it runs wherever QEMU does.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{clients, knarr};

/// How long a machine may run, in seconds.
const PATIENCE: &str = "420";
const MEMORY: &str = "1536M";
const QEMU: &str = "/usr/bin/qemu-system-x86_64";
/// Modules beside the network's: what containers need.
const MODULES: [&str; 5] =
    ["kernel/net", "kernel/lib", "kernel/crypto", "kernel/fs/overlayfs", "kernel/drivers/net/veth.ko"];
/// The first program: it moves to a root that can be pivoted away from, as no first root can, mounts what every Linux
/// has with cgroup v2 alone, and ends the machine after `/run.sh`.
const INIT: &str = r#"#!/bin/sh
export PATH=/bin
if [ "$1" != moved ]; then
    mkdir /new
    mount -t tmpfs -o size=90% root /new
    mv /sbin /lib /lib64 /usr /etc /files /run.sh /new/
    cp /init /new/
    mv /bin /new/
    exec /new/bin/busybox switch_root /new /init moved
fi
mkdir -p /proc /sys /dev /tmp /run /var/lib
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs var /var/lib
mount -t cgroup2 cgroup /sys/fs/cgroup
ip link set lo up
ip address add 10.0.2.15/24 dev lo
depmod
sh /run.sh 2>&1
poweroff -f
"#;

/// Runs `script` as root on a machine that has busybox, curl, nft, unshare, `knarr`, and `files` below `/files`; gives what
/// it printed. `None`, and a word about it, where QEMU or a kernel is missing; `folder` is the test's own.
///
/// # Panics
/// When the machine cannot be made, or does not end.
#[must_use]
pub fn run(folder: &Path, files: &Path, script: &str) -> Option<String> {
    let kernel = clients::cache().join("kernel");
    let version = fs::read_dir(kernel.join("lib/modules")).ok().and_then(|mut found| found.next()?.ok());
    let (Some(version), true) = (version, Path::new(QEMU).exists()) else {
        println!("left out: it needs {QEMU} and a kernel in {}, which scripts/test.sh installs", kernel.display());
        return None;
    };
    let root = folder.join("machine");
    make_root(&root, &version.path(), files, script);
    let archive = folder.join("machine.cpio");
    shell(&format!("cd {} && find . | busybox cpio -o -H newc >{}", root.display(), archive.display()));
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", PATIENCE, QEMU, "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"]);
    command.args(["-m", MEMORY, "-nodefaults", "-nographic", "-no-reboot", "-serial", "stdio"]);
    command.arg("-kernel").arg(kernel.join("boot").join(format!("vmlinuz-{}", version.file_name().display())));
    command.arg("-initrd").arg(&archive).args(["-append", "console=ttyS0 quiet panic=-1"]);
    let output = command.output().expect("timeout is installed");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).replace('\r', "");
    assert!(output.status.success(), "the machine does not end: {said}");
    Some(said)
}

fn make_root(root: &Path, modules: &Path, files: &Path, script: &str) {
    let bin = root.join("bin");
    fs::create_dir_all(&bin).expect("the test's folder can be written");
    fs::create_dir_all(root.join("etc")).expect("the test's folder can be written");
    fs::copy("/bin/busybox", bin.join("busybox")).expect("busybox-static is installed");
    let applets = Command::new("/bin/busybox").arg("--list").output().expect("busybox-static is installed");
    for applet in String::from_utf8_lossy(&applets.stdout).lines().filter(|name| !["busybox", "unshare"].contains(name))
    {
        symlink("/bin/busybox", bin.join(applet)).expect("the test's folder can be written");
    }
    // Where the kernel looks for modprobe.
    symlink("bin", root.join("sbin")).expect("the test's folder can be written");
    fs::create_dir_all(root.join("usr")).expect("the test's folder can be written");
    shell(&format!("strip -s -o {} {}", bin.join("knarr").display(), knarr::binary().display()));
    for program in ["/usr/sbin/nft", "/usr/bin/unshare", "/usr/bin/curl"] {
        let name = Path::new(program).file_name().expect("it has a name");
        fs::copy(program, bin.join(name)).expect("nftables, util-linux and curl are installed");
        copy_libraries(root, Path::new(program));
    }
    copy_libraries(root, &knarr::binary());
    let to = root.join("lib/modules").join(modules.file_name().expect("it has a name"));
    shell(&format!("mkdir -p {0} && cp {1}/modules.* {0}", to.display(), modules.display()));
    for module in MODULES {
        let into = to.join(module);
        let into = into.parent().expect("it is below the modules").display().to_string();
        shell(&format!("mkdir -p {into} && cp -r {}/{module} {into}", modules.display()));
    }
    shell(&format!("cp -r {} {}", files.display(), root.join("files").display()));
    fs::write(root.join("init"), INIT).expect("the test's folder can be written");
    fs::write(root.join("run.sh"), script).expect("the test's folder can be written");
    shell(&format!("chmod 755 {}", root.join("init").display()));
}

/// What `ldd` finds for a program, at the same places.
fn copy_libraries(root: &Path, program: &Path) {
    let output = Command::new("ldd").arg(program).output().expect("libc's programs are installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for library in text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from) {
        let to = root.join(library.strip_prefix("/").expect("it begins with it"));
        fs::create_dir_all(to.parent().expect("it is below the root")).expect("the test's folder can be written");
        fs::copy(&library, to).expect("ldd names what is there");
    }
}

fn shell(line: &str) {
    let output = Command::new("sh").args(["-c", line]).output().expect("every machine has a shell");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}
