// SPDX-License-Identifier: Apache-2.0
//! DefaultTolerationSeconds: pods bear a node that fell silent for five minutes.

use knarr_types::Object;
use knarr_types::labels::{TAINT_NOT_READY, TAINT_UNREACHABLE};
use knarr_types::tree::Value;

/// How long, where a pod says nothing of its own. Upstream's default.
const SECONDS: i64 = 300;

pub(crate) fn taint_tolerations(pod: &mut Object) {
    let mut list = match pod["spec"]["tolerations"].take() {
        Value::Array(list) => list,
        _ => Vec::new(),
    };
    for key in [TAINT_NOT_READY, TAINT_UNREACHABLE] {
        if !list.iter().any(|t| bears(t, key)) {
            let texts = [("key", key), ("operator", "Exists"), ("effect", "NoExecute")];
            let mut toleration: Value = texts.into_iter().collect();
            toleration["tolerationSeconds"] = SECONDS.into();
            list.push(toleration);
        }
    }
    pod["spec"]["tolerations"] = list.into();
}

/// Whether a toleration speaks of this taint's effect NoExecute already.
fn bears(toleration: &Value, key: &str) -> bool {
    let blank = |field: &str| toleration[field].as_str().unwrap_or_default().is_empty();
    (toleration["key"] == key || blank("key")) && (toleration["effect"] == "NoExecute" || blank("effect"))
}

#[cfg(test)]
mod tests {
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn what_a_pod_says_itself_counts() {
        let mut plain = json!({"spec": {}});
        taint_tolerations(&mut plain);
        assert_eq!(plain["spec"]["tolerations"].as_array().unwrap().len(), 2);
        let mut own = json!({"spec": {"tolerations": [{"operator": "Exists"}]}});
        taint_tolerations(&mut own);
        assert_eq!(own["spec"]["tolerations"].as_array().unwrap().len(), 1);
    }
}
