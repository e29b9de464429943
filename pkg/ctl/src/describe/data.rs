// SPDX-License-Identifier: Apache-2.0
//! Kinds that hold what others use: ConfigMaps, Secrets, ServiceAccounts, Namespaces.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ConfigMap, LimitRange, LimitRangeItem, Namespace, ResourceQuota, Secret, ServiceAccount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{Api, ListParams};

use super::page::{Page, date};
use crate::error::CtlError;
use crate::session::Session;

pub(super) fn config_map(map: &ConfigMap) -> Page {
    let mut page = named(&map.metadata);
    page.line(0, "\nData\n====");
    for (key, value) in map.data.iter().flatten() {
        page.line(0, format_args!("{key}:\n----\n{value}\n"));
    }
    page.line(0, "\nBinaryData\n====");
    for (key, value) in map.binary_data.iter().flatten() {
        page.line(0, format_args!("{key}: {} bytes", value.0.len()));
    }
    page.line(0, "");
    page
}

/// A Secret's data is not for screens; only the token of an account is shown, for who needs it to log in.
pub(super) fn secret(secret: &Secret) -> Page {
    let mut page = named(&secret.metadata);
    let kind = secret.type_.as_deref().unwrap_or_default();
    page.line(0, format_args!("\nType:\t{kind}"));
    page.line(0, "\nData\n====");
    for (key, value) in secret.data.iter().flatten() {
        if key == "token" && kind == "kubernetes.io/service-account-token" {
            page.field(0, key, String::from_utf8_lossy(&value.0));
        } else {
            page.field(0, key, format_args!("{} bytes", value.0.len()));
        }
    }
    page
}

pub(super) fn service_account(account: &ServiceAccount) -> Page {
    let mut page = named(&account.metadata);
    let secrets: Vec<_> = account.image_pull_secrets.iter().flatten().map(|secret| secret.name.clone()).collect();
    page.field(0, "Image pull secrets", secrets.first().map_or("<none>", String::as_str));
    for secret in secrets.iter().skip(1) {
        page.line(0, format_args!("{}\t{secret}", " ".repeat("Image pull secrets:".len())));
    }
    page
}

fn named(meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> Page {
    let mut page = Page::of(meta);
    page.labels_and_annotations(meta);
    page
}

/// The headings over what a LimitRange bounds.
pub(super) const LIMIT_TITLES: [&str; 7] =
    ["Type", "Resource", "Min", "Max", "Default Request", "Default Limit", "Max Limit/Request Ratio"];

/// What bounds the objects of a namespace.
pub(super) async fn bounds(
    session: &Session,
    namespace: &Namespace,
) -> Result<(Vec<ResourceQuota>, Vec<LimitRange>), CtlError> {
    let name = namespace.metadata.name.as_deref().unwrap_or_default();
    let (client, all) = (&session.client, ListParams::default());
    let quotas = Api::<ResourceQuota>::namespaced(client.clone(), name).list(&all).await?.items;
    let ranges = Api::<LimitRange>::namespaced(client.clone(), name).list(&all).await?.items;
    Ok((quotas, ranges))
}

pub(super) fn namespace(namespace: &Namespace, quotas: &[ResourceQuota], ranges: &[LimitRange]) -> Page {
    let (meta, status) = (&namespace.metadata, namespace.status.clone().unwrap_or_default());
    let mut page = Page::of(meta);
    page.labels_and_annotations(meta);
    page.field(0, "Status", status.phase.as_deref().unwrap_or_default());
    let conditions = status.conditions.unwrap_or_default();
    if !conditions.is_empty() {
        page.line(0, "Conditions:");
        page.headings(1, &["Type", "Status", "LastTransitionTime", "Reason", "Message"]);
    }
    for condition in conditions {
        let when = date(condition.last_transition_time.map(|time| time.0));
        let (reason, message) = (condition.reason.unwrap_or_default(), condition.message.unwrap_or_default());
        page.line(1, [condition.type_, condition.status, when, reason, message].join("\t"));
    }
    page.line(0, "");
    all_quotas(&mut page, quotas);
    page.line(0, "");
    all_ranges(&mut page, ranges);
    page
}

fn all_quotas(page: &mut Page, quotas: &[ResourceQuota]) {
    if quotas.is_empty() {
        page.line(0, "No resource quota.");
        return;
    }
    page.line(0, "Resource Quotas");
    for quota in quotas {
        page.field(1, "Name", quota.metadata.name.as_deref().unwrap_or_default());
        let mut scopes = quota.spec.as_ref().and_then(|spec| spec.scopes.clone()).unwrap_or_default();
        scopes.sort();
        page.some(1, "Scopes", Some(&scopes.join(", ")));
        scopes.iter().filter_map(|scope| scope_means(scope)).for_each(|text| page.line(1, format_args!("* {text}")));
        page.line(1, "Resource\tUsed\tHard");
        page.line(1, "--------\t---\t---");
        let status = quota.status.clone().unwrap_or_default();
        let used = status.used.unwrap_or_default();
        for (name, hard) in status.hard.iter().flatten() {
            page.line(1, format_args!("{name}\t{}\t{}", used.get(name).map_or("0", |used| &used.0), hard.0));
        }
    }
}

/// What a quota's scope selects.
pub(super) fn scope_means(scope: &str) -> Option<&'static str> {
    Some(match scope {
        "Terminating" => "Pods with an active deadline, whose life on a node is bounded.",
        "NotTerminating" => "Pods without an active deadline.",
        "BestEffort" => "Pods without requests and limits, of the BestEffort class.",
        "NotBestEffort" => "Pods with a request or a limit, of the Burstable or the Guaranteed class.",
        _ => return None,
    })
}

fn all_ranges(page: &mut Page, ranges: &[LimitRange]) {
    if ranges.is_empty() {
        page.line(0, "No LimitRange resource.");
        return;
    }
    page.line(0, "Resource Limits");
    let titles = LIMIT_TITLES;
    page.line(0, format_args!(" {}", titles.join("\t")));
    page.line(0, format_args!(" {}", titles.map(|title| "-".repeat(title.len())).join("\t")));
    for item in ranges.iter().flat_map(|range| range.spec.iter().flat_map(|spec| &spec.limits)) {
        limits_of(item).iter().for_each(|row| page.line(0, format_args!(" {row}")));
    }
}

/// A row for each resource that an item of a LimitRange bounds, under the same headings as in a namespace's page.
pub(super) fn limits_of(item: &LimitRangeItem) -> Vec<String> {
    type Amounts = Option<BTreeMap<String, Quantity>>;
    let columns: [&Amounts; 5] =
        [&item.min, &item.max, &item.default_request, &item.default, &item.max_limit_request_ratio];
    let names: std::collections::BTreeSet<_> =
        columns.iter().flat_map(|amounts| amounts.iter().flatten()).map(|it| it.0).collect();
    let row = |name: &String| {
        let amount =
            |amounts: &Amounts| amounts.as_ref().and_then(|it| it.get(name)).map_or("-".to_owned(), |it| it.0.clone());
        format!("{}\t{name}\t{}", item.type_, columns.map(amount).join("\t"))
    };
    names.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_show_only_their_sizes_and_the_tokens_of_accounts() {
        let data = json!({"token": "aGVsbG8=", "other": "eA=="});
        let mut given = json!({"metadata": {"name": "s", "namespace": "n"}, "type": "Opaque", "data": data});
        let text = |given: &serde_json::Value| secret(&serde_json::from_value(given.clone()).unwrap()).finish();
        assert!(text(&given).ends_with("\nType:  Opaque\n\nData\n====\nother:  1 bytes\ntoken:  5 bytes\n"));
        given["type"] = "kubernetes.io/service-account-token".into();
        assert!(text(&given).ends_with("token:  hello\n"));
    }

    #[test]
    fn namespaces_show_what_bounds_them() {
        let text = namespace(&Namespace::default(), &[], &[]).finish();
        assert!(text.ends_with("Status:       \n\nNo resource quota.\n\nNo LimitRange resource.\n"), "{text}");
        let range =
            json!({"spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}, "min": {"cpu": "10m"}}]}});
        let quota =
            json!({"metadata": {"name": "q"}, "spec": {"scopes": ["BestEffort"]}, "status": {"hard": {"pods": "3"}}});
        let (quota, range) = (serde_json::from_value(quota).unwrap(), serde_json::from_value(range).unwrap());
        let text = namespace(&Namespace::default(), &[quota], &[range]).finish();
        assert!(text.contains("  Scopes:  BestEffort\n  * Pods without requests and limits"), "{text}");
        assert!(text.contains("  pods      0     3\n"), "{text}");
        assert!(text.contains(" Container  cpu       10m  -    -                1              -\n"), "{text}");
    }
}
