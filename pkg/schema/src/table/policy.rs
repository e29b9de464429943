// SPDX-License-Identifier: Apache-2.0
//! The rows of RBAC, admission, disruption budgets and certificate requests.

use knarr_types::tree::Value;

use super::age::human_duration;
use super::fields::Fields;

pub(super) fn cells(kind: &str, object: Fields<'_>) -> Option<Vec<Value>> {
    Some(match kind {
        "Role" | "ClusterRole" => vec![object.name(), object.created_at()],
        "RoleBinding" | "ClusterRoleBinding" => binding(object),
        "PodDisruptionBudget" => vec![
            object.name(),
            int_or_text(object, "/spec/minAvailable"),
            int_or_text(object, "/spec/maxUnavailable"),
            object.int("/status/disruptionsAllowed").into(),
            object.age(),
        ],
        "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration" => {
            vec![object.name(), object.list("/webhooks").len().into(), object.age()]
        }
        "ValidatingAdmissionPolicy" => policy(object, "/spec/validations"),
        "MutatingAdmissionPolicy" => policy(object, "/spec/mutations"),
        "ValidatingAdmissionPolicyBinding" | "MutatingAdmissionPolicyBinding" => {
            vec![object.name(), object.text("/spec/policyName").into(), parameter_reference(object), object.age()]
        }
        "CertificateSigningRequest" => certificate_request(object),
        _ => return None,
    })
}

fn binding(binding: Fields<'_>) -> Vec<Value> {
    let subjects = |kind: &str| -> Value {
        let names: Vec<String> = binding
            .items("/subjects")
            .filter(|subject| subject.text("/kind") == kind)
            .map(|subject| match kind {
                "ServiceAccount" => format!("{}/{}", subject.text("/namespace"), subject.text("/name")),
                _ => subject.text("/name").to_owned(),
            })
            .collect();
        names.join(", ").into()
    };
    vec![
        binding.name(),
        format!("{}/{}", binding.text("/roleRef/kind"), binding.text("/roleRef/name")).into(),
        binding.age(),
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}

fn int_or_text(object: Fields<'_>, path: &str) -> Value {
    match object.at(path) {
        None => "N/A".into(),
        Some(Value::String(text)) => text.as_str().into(),
        Some(number) => number.to_string().into(),
    }
}

fn policy(policy: Fields<'_>, rules: &str) -> Vec<Value> {
    let parameters = match policy.at("/spec/paramKind") {
        None => "<unset>".into(),
        Some(_) => {
            format!("{}/{}", policy.text("/spec/paramKind/apiVersion"), policy.text("/spec/paramKind/kind"))
        }
    };
    vec![policy.name(), policy.list(rules).len().into(), parameters.into(), policy.age()]
}

fn parameter_reference(binding: Fields<'_>) -> Value {
    match (binding.text("/spec/paramRef/namespace"), binding.text("/spec/paramRef/name")) {
        (_, "") if binding.at("/spec/paramRef/selector").is_none() => "<unset>".into(),
        (_, "") => go_selector(binding).into(),
        ("", name) => format!("*/{name}").into(),
        (namespace, name) => format!("{namespace}/{name}").into(),
    }
}

/// The selector of a binding's parameters as Go prints its message.
fn go_selector(binding: Fields<'_>) -> String {
    let labels = binding.map("/spec/paramRef/selector/matchLabels").into_iter().flatten();
    let labels: String = labels.map(|(key, value)| format!("{key}: {},", value.as_str().unwrap_or_default())).collect();
    let requirement = |one: Fields<'_>| {
        let (key, operator, values) = (one.text("/key"), one.text("/operator"), one.texts("/values").join(" "));
        format!("LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{values}],}},")
    };
    let requirements: String = binding.items("/spec/paramRef/selector/matchExpressions").map(requirement).collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:\
         []LabelSelectorRequirement{{{requirements}}},}}"
    )
}

fn certificate_request(request: Fields<'_>) -> Vec<Value> {
    let duration = request.at("/spec/expirationSeconds").and_then(Value::as_i64);
    let mut state = if request.condition("Denied").is_some() {
        "Denied".to_owned()
    } else if request.condition("Approved").is_some() {
        "Approved".to_owned()
    } else {
        "Pending".to_owned()
    };
    if request.condition("Failed").is_some() {
        state.push_str(",Failed");
    }
    if !request.text("/status/certificate").is_empty() {
        state.push_str(",Issued");
    }
    vec![
        request.name(),
        request.age(),
        request.text("/spec/signerName").into(),
        request.text("/spec/username").into(),
        duration.map_or("<none>".into(), human_duration).into(),
        state.into(),
    ]
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use knarr_types::tree::json;

    use super::*;

    #[test]
    fn parameters_go_by_their_name_or_by_their_selector() {
        let selector = json!({"matchLabels": {"a": "b"},
            "matchExpressions": [{"key": "k", "operator": "In", "values": ["x", "y"]}]});
        for (reference, shown) in [
            (Value::Null, "<unset>"),
            (json!({"name": "n"}), "*/n"),
            (json!({"name": "n", "namespace": "s"}), "s/n"),
            (
                json!({"selector": selector}),
                "&LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:\
                 []LabelSelectorRequirement{LabelSelectorRequirement{Key:k,Operator:In,Values:[x y],},},}",
            ),
        ] {
            let object = json!({"spec": {"paramRef": reference}});
            assert_eq!(parameter_reference(Fields { object: &object, now: Timestamp::UNIX_EPOCH }), shown);
        }
    }
}
