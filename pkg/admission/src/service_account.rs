// SPDX-License-Identifier: Apache-2.0
//! ServiceAccount: every pod runs as an account of its namespace, and gets its token as a volume.
//! <https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens>

use std::sync::LazyLock;

use knarr_types::tree::{Value, json};
use knarr_types::{Object, Status};

use crate::{Lookup, Request, secrets};

const DEFAULT: &str = "default";
/// The names of token volumes begin so.
const VOLUME: &str = "kube-api-access-";
/// Letters that make no words, one for each digit of a uid.
const NAME_LETTERS: &[u8; 16] = b"bcdfghjklmnpqrst";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// How long a token lasts: an hour and a bit, as upstream.
const TOKEN_SECONDS: i64 = 3607;

/// The volume with an account's token, but for its name.
static TOKEN_VOLUME: LazyLock<Value> = LazyLock::new(|| {
    json!({"projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [
            {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
        ]}},
    ]}})
});

pub(crate) fn mutate(request: &Request<'_>, pod: &mut Object, lookup: &dyn Lookup) -> Result<(), Status> {
    let refuse = |why: String| Err(request.refusal(&why));
    if is_mirror(pod) {
        return validate(request, pod, lookup);
    }
    let spec = &mut pod["spec"];
    if spec["serviceAccountName"].as_str().unwrap_or_default().is_empty() {
        spec["serviceAccountName"] = DEFAULT.into();
        spec["serviceAccount"] = DEFAULT.into();
    }
    let name = spec["serviceAccountName"].as_str().unwrap_or_default().to_owned();
    let Some(account) = lookup.get("", "serviceaccounts", request.namespace, &name) else {
        return refuse(format!(
            "error looking up service account {}/{name}: serviceaccount \"{name}\" not found",
            request.namespace
        ));
    };
    let mounts = spec["automountServiceAccountToken"].as_bool().or(account["automountServiceAccountToken"].as_bool());
    if mounts.unwrap_or(true) {
        mount_token(spec, account["metadata"]["uid"].as_str().unwrap_or_default());
    }
    if spec["imagePullSecrets"].as_array().is_none_or(Vec::is_empty)
        && account["imagePullSecrets"].as_array().is_some_and(|s| !s.is_empty())
    {
        spec["imagePullSecrets"] = account["imagePullSecrets"].clone();
    }
    // Upstream's plugin judges the pod as soon as it has changed it, before anyone looks whether the pod is valid.
    validate(request, pod, lookup)
}

/// A mirror of a pod that a node runs by itself is left as it is.
fn is_mirror(pod: &Object) -> bool {
    !pod["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_null()
}

/// Refuses what a mirror pod cannot have, and secrets that the account of a pod does not name.
pub(crate) fn validate(request: &Request<'_>, pod: &Object, lookup: &dyn Lookup) -> Result<(), Status> {
    let refuse = |why: String| Err(request.refusal(&why));
    let spec = &pod["spec"];
    let name = spec["serviceAccountName"].as_str().unwrap_or_default();
    if is_mirror(pod) {
        let projects = |v: &Value| {
            v["projected"]["sources"].as_array().into_iter().flatten().any(|s| !s["serviceAccountToken"].is_null())
        };
        let what = if !name.is_empty() {
            "service accounts"
        } else if secrets::referenced(spec).next().is_some() {
            "secrets"
        } else if spec["volumes"].as_array().into_iter().flatten().any(projects) {
            return refuse("a mirror pod may not use ServiceAccountToken volume projections".into());
        } else {
            return Ok(());
        };
        return refuse(format!("a mirror pod may not reference {what}"));
    }
    // The account's own words: what is not true is false.
    let account = lookup.get("", "serviceaccounts", request.namespace, name).unwrap_or_default();
    let enforced = account["metadata"]["annotations"]["kubernetes.io/enforce-mountable-secrets"].as_str();
    if !enforced.is_some_and(|v| matches!(v, "1" | "t" | "T" | "true" | "TRUE" | "True")) {
        return Ok(());
    }
    secrets::limited(spec, &account, name).map_or(Ok(()), refuse)
}

/// The annotation that makes an account strict is on its way out.
pub(crate) fn warn(request: &Request<'_>, object: Option<&Object>, warnings: &mut Vec<String>) {
    const ANNOTATION: &str = "kubernetes.io/enforce-mountable-secrets";
    let has = |object: &Object| object["metadata"]["annotations"].get(ANNOTATION).is_some();
    if request.is("", "ServiceAccount") && object.is_some_and(has) && !request.old.is_some_and(has) {
        warnings.push(format!(
            "metadata.annotations[{ANNOTATION}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
        ));
    }
}

fn mount_token(spec: &mut Value, account_uid: &str) {
    let existing = spec["volumes"].as_array().into_iter().flatten().find_map(|v| {
        let name = v["name"].as_str()?;
        name.starts_with(VOLUME).then(|| name.to_owned())
    });
    let name = existing.clone().unwrap_or_else(|| volume_name(account_uid));
    let mut needed = false;
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let mounts = container["volumeMounts"].as_array();
            if mounts.into_iter().flatten().any(|m| m["mountPath"] == MOUNT_PATH) {
                continue;
            }
            let texts = [("name", name.as_str()), ("mountPath", MOUNT_PATH)];
            let mut mount: Value = texts.into_iter().collect();
            mount["readOnly"] = true.into();
            push(&mut container["volumeMounts"], mount);
            needed = true;
        }
    }
    if needed && existing.is_none() {
        let mut volume = TOKEN_VOLUME.clone();
        volume["name"] = name.into();
        push(&mut spec["volumes"], volume);
    }
}

/// The name of the volume with an account's token. Upstream draws it by lot for each pod; here the pods of an account share
/// it, so that those of one template have one spec.
fn volume_name(account_uid: &str) -> String {
    let digits = account_uid.chars().filter_map(|c| c.to_digit(16)).take(5);
    let letters = digits.map(|digit| char::from(NAME_LETTERS[digit as usize]));
    VOLUME.chars().chain(letters).collect()
}

/// Appends to a list, which may be absent.
fn push(list: &mut Value, value: Value) {
    match list {
        Value::Array(list) => list.push(value),
        absent => *absent = Value::Array(vec![value]),
    }
}

#[cfg(test)]
mod tests {
    use knarr_auth::UserInfo;

    use super::*;
    use crate::Operation;
    use crate::table::{Table, kind, request};

    fn run(pod: Object, account: Object) -> Result<Object, Status> {
        let user = UserInfo::anonymous();
        let kind = kind("pods");
        let request = request(&kind, Operation::Create, "n", &user);
        let table = Table(vec![("/serviceaccounts/n/default", account)]);
        let mut pod = pod;
        mutate(&request, &mut pod, &table).map(|()| pod)
    }

    #[test]
    fn a_pod_gets_its_account_and_token_once() {
        let account = || json!({"metadata": {"uid": "09af6b1c-0000-4000-8000-000000000000"}});
        let pod = run(json!({"spec": {"containers": [{"name": "c"}]}}), account()).unwrap();
        assert_eq!(pod["spec"]["serviceAccountName"], "default");
        assert_eq!(pod["spec"]["volumes"][0]["name"], "kube-api-access-bmntj");
        assert_eq!(pod["spec"]["containers"][0]["volumeMounts"][0]["mountPath"], MOUNT_PATH);
        let again = run(pod.clone(), account()).unwrap();
        assert_eq!(again, pod);
    }

    #[test]
    fn an_account_can_keep_its_token_and_lend_its_pull_secrets() {
        let account = json!({"automountServiceAccountToken": false, "imagePullSecrets": [{"name": "s"}]});
        let pod = run(json!({"spec": {"containers": [{"name": "c"}]}}), account).unwrap();
        assert!(pod["spec"]["volumes"].is_null());
        assert_eq!(pod["spec"]["imagePullSecrets"][0]["name"], "s");
    }

    #[test]
    fn a_strict_account_lends_only_the_secrets_it_names() {
        let user = UserInfo::anonymous();
        let kind = kind("pods");
        let request = request(&kind, Operation::Create, "n", &user);
        let account = json!({
            "metadata": {"annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}}, "secrets": [{"name": "ok"}],
        });
        // Already while the pod is changed, which is before it is validated.
        let pod = json!({"spec": {"volumes": [{"secret": {"secretName": "other"}}]}});
        assert_eq!(run(pod, account.clone()).unwrap_err().code, 403);
        let table = Table(vec![("/serviceaccounts/n/default", account)]);
        let check = |secret: &str| {
            let volume = json!({"secret": {"secretName": secret}});
            let pod = json!({"spec": {"serviceAccountName": "default", "volumes": [volume]}});
            validate(&request, &pod, &table).map_err(|s| s.message)
        };
        assert_eq!(check("ok"), Ok(()));
        assert!(check("other").unwrap_err().contains("volume with secret.secretName=\"other\" is not allowed"));
    }

    #[test]
    fn a_missing_account_is_refused() {
        let refused = run(json!({"spec": {"serviceAccountName": "none"}}), json!({})).unwrap_err();
        assert!(refused.message.contains("service account n/none"), "{refused}");
    }
}
