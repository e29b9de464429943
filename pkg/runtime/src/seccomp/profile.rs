// SPDX-License-Identifier: Apache-2.0

//! Profiles of the OCI's JSON format (`seccompProfile: Localhost`).

use seccompiler::{BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};
use serde::Deserialize;

use super::{Rules, compile, number};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    #[serde(default)]
    default_errno_ret: Option<u32>,
    #[serde(default)]
    syscalls: Vec<Calls>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Calls {
    names: Vec<String>,
    action: String,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Vec<Argument>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u8,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

/// Compiles a profile: one program for each action that it names beside its default. Names that
/// are not known here stay under the default action.
pub fn from_oci_profile(json: &str) -> Result<Vec<BpfProgram>, String> {
    let profile: Profile = serde_json::from_str(json).map_err(|e| e.to_string())?;
    let default = action(&profile.default_action, profile.default_errno_ret)?;
    let mut by_action: Vec<(SeccompAction, Rules)> = Vec::new();
    for calls in &profile.syscalls {
        let wanted = action(&calls.action, calls.errno_ret)?;
        if wanted == default {
            continue;
        }
        let at = by_action.iter().position(|(known, _)| *known == wanted);
        let at = at.unwrap_or_else(|| {
            by_action.push((wanted, Rules::new()));
            by_action.len() - 1
        });
        add(&mut by_action[at].1, calls)?;
    }
    // Where the default refuses, a call that another program treats on its own must pass in this
    // one, or the default would hide the answer: programs combine by the strictest answer.
    let elsewhere: Vec<i64> = by_action.iter().flat_map(|(_, rules)| rules.keys().copied()).collect();
    let allows = by_action.iter().any(|(wanted, _)| *wanted == SeccompAction::Allow);
    if !allows && default != SeccompAction::Allow {
        return Err("the profile allows no system call at all".to_owned());
    }
    let mut programs = Vec::new();
    for (wanted, mut rules) in by_action {
        if wanted == SeccompAction::Allow {
            elsewhere.iter().for_each(|call| {
                rules.entry(*call).or_default();
            });
            programs.push(compile(rules, default.clone(), wanted)?);
        } else {
            programs.push(compile(rules, SeccompAction::Allow, wanted)?);
        }
    }
    Ok(programs)
}

fn add(rules: &mut Rules, calls: &Calls) -> Result<(), String> {
    let conditions: Result<Vec<_>, String> = calls.args.iter().map(condition).collect();
    let conditions = conditions?;
    for call in calls.names.iter().filter_map(|name| number(name)) {
        let known = rules.get(&call);
        if conditions.is_empty() {
            rules.insert(call, Vec::new());
        } else if known.is_none_or(|alternatives| !alternatives.is_empty()) {
            let rule = SeccompRule::new(conditions.clone()).map_err(|e| e.to_string())?;
            rules.entry(call).or_default().push(rule);
        }
    }
    Ok(())
}

fn condition(argument: &Argument) -> Result<SeccompCondition, String> {
    let (operator, value) = match argument.op.as_str() {
        "SCMP_CMP_EQ" => (SeccompCmpOp::Eq, argument.value),
        "SCMP_CMP_NE" => (SeccompCmpOp::Ne, argument.value),
        "SCMP_CMP_GE" => (SeccompCmpOp::Ge, argument.value),
        "SCMP_CMP_GT" => (SeccompCmpOp::Gt, argument.value),
        "SCMP_CMP_LE" => (SeccompCmpOp::Le, argument.value),
        "SCMP_CMP_LT" => (SeccompCmpOp::Lt, argument.value),
        "SCMP_CMP_MASKED_EQ" => (SeccompCmpOp::MaskedEq(argument.value), argument.value_two),
        other => return Err(format!("unknown comparison {other:?}")),
    };
    SeccompCondition::new(argument.index, SeccompCmpArgLen::Qword, operator, value).map_err(|e| e.to_string())
}

fn action(name: &str, errno: Option<u32>) -> Result<SeccompAction, String> {
    Ok(match name {
        "SCMP_ACT_ALLOW" => SeccompAction::Allow,
        "SCMP_ACT_ERRNO" => SeccompAction::Errno(errno.unwrap_or(libc::EPERM as u32)),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => SeccompAction::KillThread,
        "SCMP_ACT_KILL_PROCESS" => SeccompAction::KillProcess,
        "SCMP_ACT_LOG" => SeccompAction::Log,
        "SCMP_ACT_TRAP" => SeccompAction::Trap,
        "SCMP_ACT_TRACE" => SeccompAction::Trace(errno.unwrap_or_default()),
        other => return Err(format!("unknown action {other:?}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_become_one_program_an_action() {
        let table = [
            (r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#, 0),
            (
                r#"{"defaultAction":"SCMP_ACT_LOG","syscalls":[{"names":["read","no_such"],"action":"SCMP_ACT_ALLOW"}]}"#,
                1,
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
                    {"names":["read"],"action":"SCMP_ACT_ALLOW"},
                    {"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":40,"op":"SCMP_CMP_NE"}]},
                    {"names":["clone3"],"action":"SCMP_ACT_ERRNO","errnoRet":38}]}"#,
                2,
            ),
        ];
        for (json, want) in table {
            assert_eq!(from_oci_profile(json).map(|p| p.len()), Ok(want), "{json}");
        }
    }

    #[test]
    fn a_profile_with_a_typo_is_refused() {
        for json in ["{", r#"{"defaultAction":"ALLOW"}"#, r#"{"defaultAction":"SCMP_ACT_ERRNO"}"#] {
            assert!(from_oci_profile(json).is_err(), "{json}");
        }
    }
}
