// SPDX-License-Identifier: Apache-2.0

//! StatefulSets and DaemonSets.

use knarr_types::tree::{Value, json};
use knarr_types::{ErrorList, FieldError, FieldPath, Object};

use super::Rules;
use super::at::{At, same};
use super::containers::required_one_of;
use super::fill::{self, each, empty, object, unset};
use super::go_print;
use super::metadata;
use super::names;
use super::persistent_volume_claim;
use super::pod_annotations;
use super::pod_spec;
use super::pod_warnings;
use super::selectors;
use super::workload::{
    self, always_restarting, at_most_all, immutable_selector, int_or_percent, not_decremented, not_negative,
    plain_number, required_selector, template_defaults, within_replicas,
};
use crate::decode::TEMPLATE_GENERATION;

pub(super) static STATEFUL_SET: Rules = Rules {
    default: stateful_defaults,
    prepare_create: |set| {
        drop_unavailable(set);
        workload::prepare_create(set);
    },
    prepare_update: |new, old, subresource| {
        drop_unavailable(new);
        workload::prepare_update(new, old, subresource);
    },
    name: names::dns_label_name,
    validate: |set| stateful_set(set, Judged::New),
    validate_update: stateful_update,
    warnings: |set| {
        let mut warnings = pod_warnings::template(&At::root(set).get("spec.template"));
        warnings.extend(other_warnings(set, ""));
        warnings
    },
    update_warnings: Some(|new, old| {
        let is_changed = new["metadata"]["generation"] != old["metadata"]["generation"];
        let template = At::root(new).get("spec.template");
        let mut warnings = if is_changed { pod_warnings::template(&template) } else { Vec::new() };
        warnings.extend(other_warnings(new, ".Spec"));
        warnings
    }),
    has_generation: true,
    ..Rules::DEFAULT
};

/// What the maker of a set should know beyond its pods; `below` is what upstream writes between a template of claims
/// and its fields.
fn other_warnings(set: &Object, below: &str) -> Vec<String> {
    let spec = At::root(set).get("spec");
    let claims = spec.items("volumeClaimTemplates");
    let of_claim = |claim: &At<'_>| {
        let path = FieldPath::new(&format!("{}{below}", claim.path));
        persistent_volume_claim::spec_warnings(&claim.get("spec").named(path))
    };
    let mut warnings: Vec<String> = claims.iter().flat_map(of_claim).collect();
    if spec.int("revisionHistoryLimit") < 0 {
        let why = "a negative value retains all historical revisions; a value >= 0 is recommended";
        warnings.push(format!("spec.revisionHistoryLimit: {why}"));
    }
    warnings
}

pub(super) static DAEMON_SET: Rules = Rules {
    default: |set| {
        let spec = object(set, "spec");
        let strategy = object(spec, "updateStrategy");
        empty(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate" {
            let rolling = object(strategy, "rollingUpdate");
            unset(rolling, "maxUnavailable", 1);
            unset(rolling, "maxSurge", 0);
        } else if strategy["rollingUpdate"].is_object() {
            // Upstream's inner form cannot leave them out.
            let rolling = object(strategy, "rollingUpdate");
            unset(rolling, "maxUnavailable", 0);
            unset(rolling, "maxSurge", 0);
        }
        unset(spec, "revisionHistoryLimit", 10);
        template_defaults(spec);
        // Upstream's internal form has a field for it, which is published as this annotation.
        unset(object(object(set, "metadata"), "annotations"), TEMPLATE_GENERATION, "0");
    },
    prepare_create: |set| {
        workload::prepare_create(set);
        let sent = template_generation_of(set);
        template_generation(set, sent.max(1));
    },
    prepare_update: |new, old, subresource| {
        workload::prepare_update(new, old, subresource);
        let before = template_generation_of(old);
        let changed = !same(&new["spec"]["template"], &old["spec"]["template"]);
        template_generation(new, if changed { before + 1 } else { before });
    },
    validate: daemon_set,
    validate_update: |new, old, subresource| {
        if subresource == "status" {
            return daemon_status(&At::root(new).get("status"), &At::root(old).get("status"));
        }
        let mut errors: ErrorList = immutable_selector(new, old).into_iter().collect();
        errors.extend(daemon_set(new));
        errors
    },
    warnings: |object| pod_warnings::template(&At::root(object).get("spec.template")),
    update_warnings: Some(|new, old| {
        let is_changed = template_generation_of(new) != template_generation_of(old);
        if is_changed { pod_warnings::template(&At::root(new).get("spec.template")) } else { Vec::new() }
    }),
    has_generation: true,
    ..Rules::DEFAULT
};

const FORBIDDEN: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
     'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are \
     forbidden";

/// Old clients read the generation of the template from an annotation.
fn template_generation(set: &mut Object, generation: i64) {
    let annotations = object(object(set, "metadata"), "annotations");
    annotations[TEMPLATE_GENERATION] = json!(generation.to_string());
}

fn template_generation_of(set: &Object) -> i64 {
    let text = set["metadata"]["annotations"][TEMPLATE_GENERATION].as_str();
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// How many pods of a rollout may be away is behind a switch that is off.
fn drop_unavailable(set: &mut Object) {
    if let Some(rolling) = fill::at(set, "spec.updateStrategy.rollingUpdate") {
        fill::remove(rolling, "maxUnavailable");
    }
}

fn stateful_defaults(set: &mut Object) {
    let spec = object(set, "spec");
    empty(spec, "podManagementPolicy", "OrderedReady");
    let strategy = object(spec, "updateStrategy");
    if strategy["type"].as_str().unwrap_or_default().is_empty() {
        strategy["type"] = json!("RollingUpdate");
        object(strategy, "rollingUpdate");
    }
    // One that is named but not described stays so.
    if strategy["type"] == "RollingUpdate"
        && let Some(rolling) = fill::at(strategy, "rollingUpdate")
    {
        unset(rolling, "partition", 0);
    }
    let retention = object(spec, "persistentVolumeClaimRetentionPolicy");
    empty(retention, "whenDeleted", "Retain");
    empty(retention, "whenScaled", "Retain");
    unset(spec, "replicas", 1);
    unset(spec, "revisionHistoryLimit", 10);
    template_defaults(spec);
    for claim in each(spec, "volumeClaimTemplates") {
        claim["apiVersion"] = json!("v1");
        claim["kind"] = json!("PersistentVolumeClaim");
        unset(object(claim, "spec"), "volumeMode", "Filesystem");
        empty(object(claim, "status"), "phase", "Pending");
    }
}

/// How much of a set is judged: what cannot change, or was wrong before, is let be.
#[derive(Clone, Copy, PartialEq)]
enum Judged {
    New,
    Changed,
    /// Its pods' spec was wrong already.
    ButForPods,
}

fn stateful_set(set: &Object, judged: Judged) -> ErrorList {
    let spec = At::root(set).get("spec");
    let mut errors = ErrorList::new();
    let policy = spec.get("podManagementPolicy");
    if !["OrderedReady", "Parallel"].contains(&policy.text()) {
        errors.push(policy.invalid("must be 'OrderedReady' or 'Parallel'"));
    }
    errors.extend(stateful_strategy(&spec.get("updateStrategy")));
    let retention = spec.get("persistentVolumeClaimRetentionPolicy");
    for field in ["whenDeleted", "whenScaled"] {
        errors.extend(required_one_of(&retention.get(field), &["Retain", "Delete"]));
    }
    for claim in spec.items("volumeClaimTemplates").iter().filter(|_| judged == Judged::New) {
        errors.extend(persistent_volume_claim::spec(&claim.get("spec")));
    }
    errors.extend(not_negative(&spec, &["replicas", "minReadySeconds"]));
    errors.extend(not_negative(&spec.get("ordinals"), &["start"]));
    let service = spec.get("serviceName");
    if judged == Judged::New && !service.text().is_empty() {
        errors.extend(service.faults(names::dns1123_label(service.text())));
    }
    errors.extend(required_selector(&spec, "statefulset"));
    errors.extend(stateful_template(&spec, judged));
    errors.extend(always_restarting(&spec.get("template"), "StatefulSet"));
    errors
}

/// The template with what each pod will have of its own: the claims' volumes, no hostname, no subdomain.
fn stateful_template(spec: &At<'_>, judged: Judged) -> ErrorList {
    let (selector, template) = (spec.get("selector"), spec.get("template"));
    let labels = template.get("metadata.labels");
    let mut errors = ErrorList::new();
    if !selectors::label_selector(&selector).is_empty() {
        return vec![selector.invalid_as(selectors::shown(&selector), "")];
    }
    let selects_all = selector.is_set() && selectors::is_empty(&selector);
    if !selects_all && (!selector.is_set() || !selectors::matches(&selector, &labels)) {
        errors.push(labels.invalid("`selector` does not match template `labels`"));
    }
    if judged != Judged::ButForPods {
        let completed = completed_template(spec);
        errors.extend(pod_spec::template(&At::new(&completed, template.path.clone())));
    }
    errors.extend(metadata::labels(&labels.named(template.path.child("labels"))));
    let annotations = template.get("metadata.annotations").named(template.path.child("annotations"));
    errors.extend(metadata::annotations(&annotations));
    errors.extend(pod_annotations::of_pod(&annotations, &template.get("spec")));
    errors
}

fn completed_template(spec: &At<'_>) -> Value {
    let mut template = spec.raw("template").clone();
    let claims = spec.items("volumeClaimTemplates");
    let Some(pod) = fill::at(&mut template, "spec") else { return template };
    ["hostname", "subdomain"].iter().for_each(|field| fill::remove(pod, field));
    if claims.is_empty() {
        return template;
    }
    // Two claims of one name are one volume.
    let mut names: Vec<&str> = Vec::new();
    for claim in &claims {
        let name = claim.str("metadata.name");
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let own = each(pod, "volumes").filter(|volume| !names.contains(&volume["name"].as_str().unwrap_or_default()));
    let claimed = names.iter().map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}}));
    pod["volumes"] = Value::Array(claimed.chain(own.map(std::mem::take).collect::<Vec<_>>()).collect());
    template
}

fn stateful_strategy(strategy: &At<'_>) -> ErrorList {
    let rolling = strategy.get("rollingUpdate");
    match strategy.str("type") {
        "OnDelete" if rolling.is_set() => {
            let fields = [("Partition", "partition#"), ("MaxUnavailable", "maxUnavailable")];
            let shown = go_print::structure(rolling.value, &fields);
            vec![rolling.invalid_as(shown, "only allowed for updateStrategy 'RollingUpdate'")]
        }
        "OnDelete" => ErrorList::new(),
        "RollingUpdate" => not_negative(&rolling, &["partition"]),
        _ => {
            let shown = go_print::of_type(strategy.value, "io.k8s.api.apps.v1.StatefulSetUpdateStrategy");
            vec![strategy.invalid_as(shown, "must be 'RollingUpdate' or 'OnDelete'")]
        }
    }
}

fn stateful_update(new: &Object, old: &Object, subresource: &str) -> ErrorList {
    if subresource == "status" {
        let (status, before) = (At::root(new).get("status"), At::root(old).get("status"));
        let mut errors = not_negative(
            &status,
            &[
                "replicas",
                "readyReplicas",
                "currentReplicas",
                "updatedReplicas",
                "availableReplicas",
                "observedGeneration",
                "collisionCount",
            ],
        );
        errors.extend(within_replicas(
            &status,
            &["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"],
        ));
        if status.int("availableReplicas") > status.int("readyReplicas") {
            errors.push(status.get("availableReplicas").invalid("cannot be greater than status.readyReplicas"));
        }
        errors.extend(not_decremented(&status, &before, "collisionCount"));
        return errors;
    }
    let was_wrong = !stateful_set(old, Judged::Changed).is_empty();
    let mut errors = stateful_set(new, if was_wrong { Judged::ButForPods } else { Judged::Changed });
    let mut munged = new["spec"].clone();
    for field in [
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ] {
        fill::keep(&mut munged, &old["spec"], field);
    }
    if !same(&munged, &old["spec"]) {
        errors.push(At::root(new).get("spec").forbidden(FORBIDDEN));
    }
    errors
}

fn daemon_set(set: &Object) -> ErrorList {
    let spec = At::root(set).get("spec");
    let (selector, template) = (spec.get("selector"), spec.get("template"));
    let mut errors = selectors::label_selector(&selector);
    let labels = template.get("metadata.labels");
    if errors.is_empty() && !(selector.is_set() && selectors::matches(&selector, &labels)) {
        errors.push(labels.invalid("`selector` does not match template `labels`"));
    }
    if selector.is_set() && selectors::is_empty(&selector) {
        errors.push(selectors::empty(&selector, "daemonset"));
    }
    errors.extend(pod_spec::template(&template));
    errors.extend(always_restarting(&template, "DaemonSet"));
    errors.extend(not_negative(&spec, &["minReadySeconds"]));
    errors.extend(daemon_strategy(&spec.get("updateStrategy")));
    errors.extend(not_negative(&spec, &["revisionHistoryLimit"]));
    errors
}

fn daemon_strategy(strategy: &At<'_>) -> ErrorList {
    let rolling = strategy.get("rollingUpdate");
    match strategy.str("type") {
        "OnDelete" => ErrorList::new(),
        "RollingUpdate" => {
            let (unavailable, surge) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
            let mut errors = int_or_percent(&unavailable);
            errors.extend(int_or_percent(&surge));
            errors.extend(at_most_all(&unavailable));
            errors.extend(at_most_all(&surge));
            match (plain_number(&unavailable) != 0, plain_number(&surge) != 0) {
                (true, true) => errors.push(surge.invalid("may not be set when maxUnavailable is non-zero")),
                (false, false) => errors.push(unavailable.required("cannot be 0 when maxSurge is 0")),
                _ => {}
            }
            errors
        }
        _ => {
            let shown = go_print::of_type(strategy.value, "io.k8s.api.apps.v1.DaemonSetUpdateStrategy");
            vec![FieldError::not_supported(&strategy.path, shown, &["RollingUpdate", "OnDelete"])]
        }
    }
}

fn daemon_status(status: &At<'_>, before: &At<'_>) -> ErrorList {
    let mut errors = not_negative(
        status,
        &[
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
            "observedGeneration",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
            "collisionCount",
        ],
    );
    errors.extend(not_decremented(status, before, "collisionCount"));
    errors
}
