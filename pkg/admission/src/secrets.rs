// SPDX-License-Identifier: Apache-2.0
//! Which secrets a pod's spec names, and which of them its account does not lend.

use std::collections::BTreeSet;

use knarr_auth::SOURCE_SECRETS;
use knarr_types::tree::Value;

fn list<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value[field].as_array().into_iter().flatten()
}

fn containers(spec: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(move |kind| list(spec, kind))
}

/// The names of all secrets that a pod's spec names.
pub(crate) fn referenced(spec: &Value) -> impl Iterator<Item = &str> {
    let volumes = list(spec, "volumes").flat_map(|v| {
        let plain = SOURCE_SECRETS.iter().chain(&["/secret/secretName"]).filter_map(|path| v.pointer(path));
        plain.chain(list(&v["projected"], "sources").filter_map(|s| s.pointer("/secret/name")))
    });
    let env = containers(spec).flat_map(|c| {
        let single = list(c, "env").filter_map(|e| e.pointer("/valueFrom/secretKeyRef/name"));
        single.chain(list(c, "envFrom").filter_map(|e| e.pointer("/secretRef/name")))
    });
    let pull = list(spec, "imagePullSecrets").filter_map(|s| s.get("name"));
    pull.chain(env).chain(volumes).filter_map(Value::as_str)
}

/// Why an account that lends only what it names does not let a pod have its secrets.
pub(crate) fn limited(spec: &Value, account: &Value, name: &str) -> Option<String> {
    let names = |field: &str| list(account, field).filter_map(|s| s["name"].as_str()).collect::<BTreeSet<_>>();
    let (mountable, pullable) = (names("secrets"), names("imagePullSecrets"));
    let suffix = format!("is not allowed because service account {name} does not reference that");
    let unknown = |secret: &&str| !mountable.contains(*secret);
    let mut volumes = list(spec, "volumes")
        .filter(|v| v["secret"].is_object())
        .map(|v| v["secret"]["secretName"].as_str().unwrap_or_default());
    if let Some(secret) = volumes.find(unknown) {
        return Some(format!("volume with secret.secretName=\"{secret}\" {suffix} secret"));
    }
    for (kind, word) in [
        ("initContainers", "init container"),
        ("containers", "container"),
        ("ephemeralContainers", "ephemeral container"),
    ] {
        for container in list(spec, kind) {
            let who = format!("{word} {}", container["name"].as_str().unwrap_or_default());
            for env in list(container, "envFrom") {
                if let Some(secret) = env["secretRef"]["name"].as_str().filter(unknown) {
                    return Some(format!(
                        "{who} with envFrom referencing secret.secretName=\"{secret}\" {suffix} secret"
                    ));
                }
            }
            for env in list(container, "env") {
                if let Some(secret) = env["valueFrom"]["secretKeyRef"]["name"].as_str().filter(unknown) {
                    let variable = env["name"].as_str().unwrap_or_default();
                    return Some(format!(
                        "{who} with envVar {variable} referencing secret.secretName=\"{secret}\" {suffix} secret"
                    ));
                }
            }
        }
    }
    let pull = list(spec, "imagePullSecrets").enumerate();
    let mut pull = pull.filter_map(|(i, s)| Some((i, s["name"].as_str()?)));
    let (index, secret) = pull.find(|(_, secret)| !pullable.contains(secret))?;
    Some(format!("imagePullSecrets[{index}].name=\"{secret}\" {suffix} imagePullSecret"))
}
