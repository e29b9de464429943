// SPDX-License-Identifier: Apache-2.0
//! The text of a configuration file as flags of a command.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context as _, bail};
use serde_norway::Value;

/// The flags that `text`, the content of `file`, stands for, less those that `args` gives itself.
pub fn flags(command: &clap::Command, args: &[OsString], file: &Path, text: &str) -> anyhow::Result<Vec<OsString>> {
    let document: Value = serde_norway::from_str(text)
        .with_context(|| format!("the configuration file {} is not valid YAML", file.display()))?;
    let entries = match document {
        Value::Null => return Ok(Vec::new()),
        Value::Mapping(entries) => entries,
        _ => bail!("the configuration file {} must be a mapping of flag names to values", file.display()),
    };
    let mut flags = Vec::new();
    for (key, value) in entries {
        let Some(key) = key.as_str().map(|k| k.trim_start_matches("--")) else {
            bail!("a key in the configuration file {} is not a string: {key:?}", file.display());
        };
        let known = command.get_arguments().find(|a| a.get_long() == Some(key) && key != "config");
        let Some(known) = known else {
            let names = command.get_arguments().filter_map(clap::Arg::get_long);
            let names: Vec<_> = names.filter(|name| *name != "config").collect();
            bail!(
                "unknown key {key:?} in the configuration file {}; the keys are: {}",
                file.display(),
                names.join(", ")
            );
        };
        if given(args, key) {
            continue;
        }
        for value in scalars(value)
            .with_context(|| format!("the value of {key:?} in the configuration file {}", file.display()))?
        {
            if !known.get_action().takes_values() && !["true", "false"].contains(&value.as_str()) {
                bail!(
                    "the value of {key:?} in the configuration file {} is {value:?}; it is true or false",
                    file.display()
                );
            }
            push(&mut flags, known, key, &value);
        }
    }
    Ok(flags)
}

fn given(args: &[OsString], key: &str) -> bool {
    args.iter().filter_map(|a| a.to_str()?.strip_prefix("--")).any(|a| a.split('=').next() == Some(key))
}

fn push(flags: &mut Vec<OsString>, known: &clap::Arg, key: &str, value: &str) {
    if known.get_action().takes_values() {
        flags.push(format!("--{key}={value}").into());
    } else if value == "true" {
        flags.push(format!("--{key}").into());
    }
}

fn scalars(value: Value) -> anyhow::Result<Vec<String>> {
    Ok(match value {
        Value::Null => Vec::new(),
        Value::Bool(b) => vec![b.to_string()],
        Value::Number(n) => vec![n.to_string()],
        Value::String(s) => vec![s],
        Value::Sequence(items) => {
            items.into_iter().map(scalars).collect::<anyhow::Result<Vec<_>>>()?.into_iter().flatten().collect()
        }
        Value::Mapping(_) | Value::Tagged(_) => bail!("must be a scalar or a list of scalars"),
    })
}

#[cfg(test)]
mod tests {
    use clap::{Arg, ArgAction, Command};

    use super::*;

    fn check(args: &[&str], text: &str) -> Result<Vec<String>, String> {
        let command = Command::new("server").args([
            Arg::new("port").long("port"),
            Arg::new("san").long("tls-san").action(ArgAction::Append),
            Arg::new("bare").long("bare").action(ArgAction::SetTrue),
        ]);
        let args: Vec<_> = args.iter().map(OsString::from).collect();
        flags(&command, &args, Path::new("c.yaml"), text)
            .map(|f| f.into_iter().map(|f| f.into_string().unwrap()).collect())
            .map_err(|e| format!("{e:#}"))
    }

    #[test]
    fn keys_become_flags_and_the_command_line_wins() {
        let text = "port: 6443\ntls-san: [a, b]\nbare: true\n";
        assert_eq!(check(&["server"], text).unwrap(), ["--port=6443", "--tls-san=a", "--tls-san=b", "--bare"]);
        assert_eq!(check(&["server", "--port", "1"], "port: 6443").unwrap(), Vec::<String>::new());
        assert_eq!(check(&["server"], "bare: false").unwrap(), Vec::<String>::new());
        assert_eq!(check(&["server"], "").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn faults_name_the_key_and_the_file() {
        for (text, want) in [
            ("prot: 1", "unknown key \"prot\" in the configuration file c.yaml; the keys are: port, tls-san, bare"),
            ("port: {a: 1}", "the value of \"port\" in the configuration file c.yaml: must be a scalar"),
            ("bare: ture", "the value of \"bare\" in the configuration file c.yaml is \"ture\"; it is true or false"),
            ("- port", "the configuration file c.yaml must be a mapping"),
            ("port: [", "the configuration file c.yaml is not valid YAML"),
        ] {
            let error = check(&["server"], text).unwrap_err();
            assert!(error.starts_with(want), "{error}");
        }
    }
}
