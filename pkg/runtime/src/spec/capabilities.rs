// SPDX-License-Identifier: Apache-2.0

//! Which capabilities a container gets.

use crate::config::ContainerConfig;

/// All that Linux has, without `CAP_`.
pub const ALL: [&str; 41] = [
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

/// What containers get unless told otherwise, as with other runtimes.
const DEFAULT: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// The names, without `CAP_`, that a container gets: the default, with `ALL` taken first, then
/// single names dropped, then added: what is both added and dropped is there. Nobody can give what
/// he does not hold himself: inside a container that may be less than all.
pub fn granted(config: &ContainerConfig, held: &[&'static str]) -> Vec<&'static str> {
    if config.privileged {
        return held.to_vec();
    }
    let (add, drop) = (&config.capabilities.add, &config.capabilities.drop);
    let named = |list: &[String], name: &str| list.iter().any(|n| plain(n) == name);
    let base = |name: &&str| {
        if named(add, "ALL") { true } else { !named(drop, "ALL") && DEFAULT.contains(name) }
    };
    let kept = |name: &&str| named(add, name) || (base(name) && !named(drop, name));
    held.iter().copied().filter(|name| kept(name)).collect()
}

/// Those that this process holds.
pub fn held() -> Vec<&'static str> {
    let has = |name: &&str| {
        let capability = format!("CAP_{name}").parse::<caps::Capability>().ok();
        capability.is_some_and(|c| caps::has_cap(None, caps::CapSet::Permitted, c).unwrap_or(false))
    };
    ALL.into_iter().filter(has).collect()
}

/// Names that Linux does not know.
pub fn unknown(config: &ContainerConfig) -> Option<&str> {
    let all = config.capabilities.add.iter().chain(&config.capabilities.drop);
    all.map(String::as_str).find(|name| {
        let name = plain(name);
        name != "ALL" && !ALL.contains(&name.as_str())
    })
}

fn plain(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    upper.strip_prefix("CAP_").map_or(upper.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Capabilities;

    fn count(add: &[&str], drop: &[&str]) -> usize {
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        let capabilities = Capabilities { add: own(add), drop: own(drop) };
        granted(&ContainerConfig { capabilities, ..Default::default() }, &ALL).len()
    }

    #[test]
    fn additions_and_drops_combine() {
        for (add, drop, want) in [
            (&[][..], &[][..], 14),
            (&["NET_ADMIN"], &[], 15),
            (&["CAP_NET_ADMIN"], &["net_raw"], 14),
            (&["NET_BIND_SERVICE"], &["ALL"], 1),
            (&["ALL"], &[], 41),
            (&["ALL"], &["SYS_ADMIN"], 40),
            (&[], &["all"], 0),
            (&["KILL"], &["KILL"], 14),
        ] {
            assert_eq!(count(add, drop), want, "add {add:?} drop {drop:?}");
        }
        let privileged = ContainerConfig { privileged: true, ..Default::default() };
        assert_eq!(granted(&privileged, &ALL).len(), 41);
        assert_eq!(granted(&privileged, &["KILL"]), ["KILL"]);
    }
}
