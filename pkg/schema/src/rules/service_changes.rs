// SPDX-License-Identifier: Apache-2.0

//! What of a Service stays when it changes, and what its maker should know (`pkg/api/service/warnings.go`).

use knarr_types::{ErrorList, FieldError, Object};

use super::addresses;
use super::at::At;
use super::service_validation::{KEPT, TOPOLOGY_HINTS, TOPOLOGY_MODE};

fn is_headless(spec: &At<'_>) -> bool {
    spec.strings("clusterIPs") == ["None"]
}

/// A service keeps its addresses; only the second may come and go.
pub fn kept_addresses(spec: &At<'_>, old_spec: &At<'_>) -> ErrorList {
    let external = [spec, old_spec].iter().any(|spec| spec.str("type") == "ExternalName");
    if external || (is_headless(spec) && is_headless(old_spec)) {
        return ErrorList::new();
    }
    let list = spec.get("clusterIPs");
    let (new, old) = (spec.strings("clusterIPs"), old_spec.strings("clusterIPs"));
    let refused = |index: usize, why: &str| FieldError::invalid(&list.path.index(index), list.value.clone(), why);
    let mut errors = ErrorList::new();
    if new.is_empty() && !old.is_empty() {
        errors.push(refused(0, "primary clusterIP can not be unset"));
    }
    let compared = if new.len() == old.len() { new.len() } else { 1 };
    let changed = |index: &usize| matches!((new.get(*index), old.get(*index)), (Some(new), Some(old)) if new != old);
    errors.extend((0..compared).filter(changed).map(|index| refused(index, KEPT)));
    let policy = spec.get("ipFamilyPolicy");
    if old.len() > new.len() && new.len() == 1 && policy.text() != "SingleStack" {
        errors.push(policy.invalid("must be set to 'SingleStack' when releasing the secondary clusterIP"));
    }
    errors
}

/// The same of the families of its addresses.
pub fn kept_families(spec: &At<'_>, old_spec: &At<'_>) -> ErrorList {
    let external = [spec, old_spec].iter().any(|spec| spec.str("type") == "ExternalName");
    if external || is_headless(spec) || is_headless(old_spec) {
        return ErrorList::new();
    }
    let list = spec.get("ipFamilies");
    let (new, old) = (spec.strings("ipFamilies"), old_spec.strings("ipFamilies"));
    let first = list.path.index(0);
    let mut errors = ErrorList::new();
    if new.len() == old.len() {
        let changed = new.iter().zip(&old).filter(|(new, old)| new != old);
        errors.extend(changed.map(|_| FieldError::invalid(&first, list.value.clone(), KEPT)));
        return errors;
    }
    let addresses = || spec.raw("clusterIPs").clone();
    if new.len() < old.len() && spec.len("clusterIPs") == 0 {
        errors.push(FieldError::invalid(&first, list.value.clone(), "primary ipFamily can not be unset"));
    }
    if matches!((new.first(), old.first()), (Some(new), Some(old)) if new != old) {
        errors.push(FieldError::invalid(&first, addresses(), KEPT));
    }
    let policy = spec.get("ipFamilyPolicy");
    if old.len() > new.len() && new.len() == 1 && policy.text() != "SingleStack" {
        errors.push(policy.invalid("must be set to 'SingleStack' when releasing the secondary ipFamily"));
    }
    errors
}

/// What the maker of a Service should know.
pub fn warnings(service: &Object) -> Vec<String> {
    let service = At::root(service);
    let spec = service.get("spec");
    let mut warnings = Vec::new();
    if service.get("metadata.annotations").value.get(TOPOLOGY_HINTS).is_some() {
        warnings.push(format!("annotation {TOPOLOGY_HINTS} is deprecated, please use {TOPOLOGY_MODE} instead"));
    }
    let kind = spec.str("type");
    if kind != "ExternalName" && !["", "None"].contains(&spec.str("clusterIP")) {
        warnings.extend(spec.items("clusterIPs").iter().filter_map(addresses::ip_warning));
    }
    let headless = kind == "ClusterIP" && spec.str("clusterIP") == "None";
    for (field, set) in [
        ("loadBalancerIP", !spec.str("loadBalancerIP").is_empty()),
        ("externalIPs", spec.len("externalIPs") > 0),
        ("SessionAffinity", spec.str("sessionAffinity") != "None"),
    ] {
        if headless && set {
            warnings.push(format!("spec.{field} is ignored for headless services"));
        }
    }
    warnings.extend(spec.items("externalIPs").iter().filter_map(addresses::ip_warning));
    if spec.len("externalIPs") > 0 && !headless && kind != "ExternalName" {
        warnings.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned());
    }
    warnings.extend(addresses::ip_warning(&spec.get("loadBalancerIP")));
    warnings.extend(spec.items("loadBalancerSourceRanges").iter().filter_map(addresses::cidr_warning));
    if kind == "ExternalName" && spec.len("externalIPs") > 0 {
        warnings.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
    }
    if !spec.str("externalName").is_empty() && kind != "ExternalName" {
        warnings.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if spec.str("trafficDistribution") == "PreferClose" {
        let message = "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"";
        warnings.push(message.to_owned());
    }
    warnings
}
