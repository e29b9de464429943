// SPDX-License-Identifier: Apache-2.0
//! What the host is and has: read from /proc, /sys and /etc, for the Node's status.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use k8s_openapi::api::core::v1::NodeSystemInfo;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// The version of Kubernetes whose behaviour the node follows.
pub const KUBELET_VERSION: &str = concat!("v1.36.0+knarr", env!("CARGO_PKG_VERSION"));

/// Memory kept free for the host when pods are placed.
const RESERVED_MEMORY_BYTES: u64 = 100 << 20;

/// Figures of the host that change while it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// All memory.
    pub memory_bytes: u64,
    /// Memory that programs can still get.
    pub memory_available_bytes: u64,
    /// Size of the file system under the data dir.
    pub disk_bytes: u64,
    /// What is free of it for anybody.
    pub disk_available_bytes: u64,
    /// What is taken.
    pub disk_used_bytes: u64,
    /// Processes and threads that exist.
    pub pids: u64,
    /// How many there may be.
    pub pids_max: u64,
}

impl Figures {
    /// Reads them.
    #[must_use]
    pub fn read(data_dir: &Path) -> Self {
        let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let disk = rustix::fs::statvfs(data_dir).ok();
        let disk = disk.as_ref();
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let pids = load.split(['/', ' ']).nth(4).and_then(|text| text.parse().ok()).unwrap_or(0);
        let pids_max = std::fs::read_to_string("/proc/sys/kernel/pid_max").unwrap_or_default();
        Self {
            memory_bytes: meminfo(&memory, "MemTotal"),
            memory_available_bytes: meminfo(&memory, "MemAvailable"),
            disk_bytes: disk.map_or(0, |disk| disk.f_blocks * disk.f_frsize),
            disk_available_bytes: disk.map_or(0, |disk| disk.f_bavail * disk.f_frsize),
            disk_used_bytes: disk.map_or(0, |disk| (disk.f_blocks - disk.f_bfree) * disk.f_frsize),
            pids,
            pids_max: pids_max.trim().parse().unwrap_or(32768),
        }
    }

    /// Upstream's eviction threshold of available memory: 100 MiB.
    pub const MEMORY_THRESHOLD: u64 = 100 << 20;

    /// Under the threshold.
    #[must_use]
    pub fn memory_pressure(&self) -> bool {
        self.memory_available_bytes < Self::MEMORY_THRESHOLD
    }

    /// Below so many bytes free the disk is under pressure: 5 %, and of a large disk no more than pods
    /// could fill before the node looks again.
    #[must_use]
    pub fn disk_threshold(&self) -> u64 {
        knarr_image::reserve_bytes(self.disk_bytes)
    }

    /// What of the disk is not reserved by the file system.
    #[must_use]
    pub fn disk_usable_bytes(&self) -> u64 {
        self.disk_used_bytes + self.disk_available_bytes
    }

    /// How full the disk is, as `df` counts.
    #[must_use]
    pub fn disk_used_percent(&self) -> u64 {
        (self.disk_used_bytes * 100).checked_div(self.disk_usable_bytes()).unwrap_or(0)
    }

    /// Less of the disk free than the threshold.
    #[must_use]
    pub fn disk_pressure(&self) -> bool {
        self.disk_available_bytes < self.disk_threshold()
    }

    /// Less than 5 % of process ids free.
    #[must_use]
    pub fn pid_pressure(&self) -> bool {
        self.pids * 20 > self.pids_max * 19
    }
}

/// What the node has, and what of it pods may have: (capacity, allocatable).
#[must_use]
pub fn resources(figures: &Figures, max_pods: u32) -> (BTreeMap<String, Quantity>, BTreeMap<String, Quantity>) {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let of = |memory: u64, disk: String| {
        BTreeMap::from([
            ("cpu".to_owned(), Quantity(cpus.to_string())),
            ("memory".to_owned(), Quantity(format!("{}Ki", memory >> 10))),
            ("pods".to_owned(), Quantity(max_pods.to_string())),
            ("ephemeral-storage".to_owned(), Quantity(disk)),
            ("hugepages-1Gi".to_owned(), Quantity("0".to_owned())),
            ("hugepages-2Mi".to_owned(), Quantity("0".to_owned())),
        ])
    };
    let disk = figures.disk_bytes;
    (
        of(figures.memory_bytes, format!("{}Ki", disk >> 10)),
        of(figures.memory_bytes.saturating_sub(RESERVED_MEMORY_BYTES), (disk / 10 * 9).to_string()),
    )
}

/// The address by which this host reaches others, for a node whose server is on the same host.
#[must_use]
pub fn outward_address() -> Option<IpAddr> {
    // Connecting a datagram socket sends nothing; it only asks the routing table.
    let outward = |target: &str, any: &str| {
        let socket = std::net::UdpSocket::bind(any).ok()?;
        socket.connect(target).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    outward("192.0.2.1:9", "0.0.0.0:0").or_else(|| outward("[2001:db8::1]:9", "[::]:0")).filter(|ip| !ip.is_loopback())
}

/// The Node's nodeInfo.
#[must_use]
pub fn info() -> NodeSystemInfo {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let uname = rustix::system::uname();
    NodeSystemInfo {
        architecture: knarr_types::architecture().to_owned(),
        boot_id: read("/proc/sys/kernel/random/boot_id"),
        container_runtime_version: concat!("knarr://", env!("CARGO_PKG_VERSION")).to_owned(),
        kernel_version: uname.release().to_string_lossy().into_owned(),
        kube_proxy_version: String::new(),
        kubelet_version: KUBELET_VERSION.to_owned(),
        machine_id: read("/etc/machine-id"),
        operating_system: "linux".to_owned(),
        os_image: os_image(&read("/etc/os-release")),
        system_uuid: read("/sys/class/dmi/id/product_uuid"),
        ..NodeSystemInfo::default()
    }
}

fn os_image(release: &str) -> String {
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
}

/// A line of /proc/meminfo, in bytes.
fn meminfo(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib: u64 = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0);
    kib << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_the_kernels_files() {
        assert_eq!(meminfo("MemTotal:       16384 kB\nMemAvailable:    1024 kB\n", "MemAvailable"), 1 << 20);
        assert_eq!(os_image("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 13\"\n"), "Debian GNU/Linux 13");
        let figures = Figures::read(Path::new("/"));
        assert!(figures.memory_bytes > 0 && figures.pids > 0 && figures.disk_bytes > 0);
    }

    #[test]
    fn pressure_begins_at_its_threshold() {
        let calm = Figures {
            memory_available_bytes: 1 << 30,
            disk_bytes: 100,
            disk_available_bytes: 5,
            pids: 95,
            pids_max: 100,
            ..Figures::default()
        };
        assert!(!calm.memory_pressure() && !calm.disk_pressure() && !calm.pid_pressure());
        let large = Figures { disk_bytes: 1 << 40, disk_available_bytes: 2 << 30, ..calm };
        assert!(!large.disk_pressure());
        assert!(Figures { disk_available_bytes: 1 << 29, ..large }.disk_pressure());
        let tight = Figures { memory_available_bytes: 1 << 20, disk_available_bytes: 4, pids: 96, ..calm };
        assert!(tight.memory_pressure() && tight.disk_pressure() && tight.pid_pressure());
    }
}
