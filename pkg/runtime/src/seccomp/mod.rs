// SPDX-License-Identifier: Apache-2.0

//! Filters of system calls, compiled by seccompiler from data.
//!
//! Two programs may be needed for one profile, because one program has one action for what it
//! matches: the kernel runs both and the stricter answer wins.

mod profile;
mod table;

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

pub use profile::from_oci_profile;

/// clone's flags that make namespaces.
const CLONE_NAMESPACES: u64 = 0x7e02_0000;
/// `personality` values that only change how a process sees the machine; all ones asks.
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// The default profile for a container with these capabilities (without `CAP_`).
pub fn runtime_default(has_capability: impl Fn(&str) -> bool) -> Result<Vec<BpfProgram>, String> {
    let mut rules = Rules::new();
    for (_, number) in table::ALLOWED.iter().chain(table::ALLOWED_LEGACY) {
        rules.insert(*number, Vec::new());
    }
    let for_capabilities = table::ALLOWED_WITH.iter().filter(|(name, _)| has_capability(name));
    for (_, number) in for_capabilities.flat_map(|(_, calls)| calls.iter()) {
        rules.insert(*number, Vec::new());
    }
    allow_partly(&mut rules, libc::SYS_personality, SeccompCmpOp::Eq, &PERSONALITIES)?;
    allow_partly(&mut rules, libc::SYS_socket, SeccompCmpOp::Ne, &[libc::AF_VSOCK as u64])?;

    let mut programs = Vec::new();
    if !has_capability("SYS_ADMIN") {
        let no_namespaces = SeccompCmpOp::MaskedEq(CLONE_NAMESPACES);
        allow_partly(&mut rules, libc::SYS_clone, no_namespaces, &[0])?;
        // clone3 hides its flags in memory. It "is not implemented", so that libc falls back.
        rules.insert(libc::SYS_clone3, Vec::new());
        let hidden = Rules::from([(libc::SYS_clone3, Vec::new())]);
        let not_there = SeccompAction::Errno(libc::ENOSYS as u32);
        programs.push(compile(hidden, SeccompAction::Allow, not_there)?);
    }
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    programs.push(compile(rules, refused, SeccompAction::Allow)?);
    Ok(programs)
}

/// Allows a call when its first argument compares so with any of the values.
fn allow_partly(rules: &mut Rules, call: libc::c_long, operator: SeccompCmpOp, values: &[u64]) -> Result<(), String> {
    let alternatives = values.iter().map(|value| {
        let condition = SeccompCondition::new(0, SeccompCmpArgLen::Dword, operator.clone(), *value)?;
        SeccompRule::new(vec![condition])
    });
    let alternatives: Result<Vec<_>, _> = alternatives.collect();
    rules.insert(call, alternatives.map_err(|e| e.to_string())?);
    Ok(())
}

fn compile(rules: Rules, otherwise: SeccompAction, matched: SeccompAction) -> Result<BpfProgram, String> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|e| e.to_string())?;
    SeccompFilter::new(rules, otherwise, matched, arch).and_then(BpfProgram::try_from).map_err(|e| e.to_string())
}

/// The number of a call, if the tables know it.
fn number(name: &str) -> Option<i64> {
    let by_capability = table::ALLOWED_WITH.iter().flat_map(|(_, calls)| calls.iter());
    table::ALLOWED
        .iter()
        .chain(table::ALLOWED_LEGACY)
        .chain(by_capability)
        .chain(table::CONDITIONAL)
        .find(|(known, _)| *known == name)
        .map(|(_, number)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_profile_compiles_with_and_without_power() {
        assert_eq!(runtime_default(|_| false).unwrap().len(), 2);
        assert_eq!(runtime_default(|_| true).unwrap().len(), 1);
    }

    #[test]
    fn dangerous_calls_need_their_capability() {
        let always = |name: &str| table::ALLOWED.iter().chain(table::ALLOWED_LEGACY).any(|(known, _)| *known == name);
        for name in ["mount", "setns", "unshare", "bpf", "reboot", "init_module", "keyctl", "clone3"] {
            assert!(!always(name), "{name}");
        }
        for name in ["read", "execve", "openat2", "futex"] {
            assert!(always(name), "{name}");
        }
    }
}
