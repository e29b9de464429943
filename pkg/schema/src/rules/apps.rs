// SPDX-License-Identifier: Apache-2.0

//! Deployments, ReplicaSets, ReplicationControllers, pod templates and controller revisions.

use knarr_types::{ErrorList, FieldError, FieldPath, Object};

use super::Rules;
use super::at::{At, same};
use super::disabled;
use super::fill::{self, empty, object, unset};
use super::go_print;
use super::judging::Judging;
use super::metadata;
use super::names;
use super::pod_spec;
use super::pod_warnings;
use super::workload::{
    self, always_restarting, at_most_all, immutable_selector, int_or_percent, not_decremented, not_negative,
    plain_number, required_selector, template, template_defaults, within_replicas,
};

/// The revision that a deployment was to go back to, before there were better ways.
const ROLLBACK: &str = "deprecated.deployment.rollback.to";

pub(super) static DEPLOYMENT: Rules = Rules {
    default: |deployment| {
        let spec = object(deployment, "spec");
        unset(spec, "replicas", 1);
        let strategy = object(spec, "strategy");
        empty(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate" {
            let rolling = object(strategy, "rollingUpdate");
            unset(rolling, "maxUnavailable", "25%");
            unset(rolling, "maxSurge", "25%");
        }
        unset(spec, "revisionHistoryLimit", 10);
        unset(spec, "progressDeadlineSeconds", 600);
        template_defaults(spec);
    },
    prepare_create: workload::prepare_create,
    prepare_update: |new, old, subresource| {
        workload::prepare_update(new, old, subresource);
        if subresource == "status" {
            fill::keep(object(new, "metadata"), &old["metadata"], "labels");
        } else if !same(&new["metadata"]["annotations"], &old["metadata"]["annotations"]) {
            fill::generation(new, old["metadata"]["generation"].as_i64().unwrap_or_default() + 1);
        }
    },
    validate: deployment,
    validate_update: |new, old, subresource| {
        if subresource == "status" {
            return deployment_status(&At::root(new).get("status"), &At::root(old).get("status"));
        }
        let mut errors = deployment(new);
        errors.extend(immutable_selector(new, old));
        errors
    },
    warnings: pod_warnings::workload,
    has_generation: true,
    ..Rules::DEFAULT
};

pub(super) static REPLICA_SET: Rules = Rules {
    default: |set| {
        let spec = object(set, "spec");
        unset(spec, "replicas", 1);
        template_defaults(spec);
    },
    prepare_create: workload::prepare_create,
    prepare_update: workload::prepare_update,
    validate: replica_set,
    validate_update: |new, old, subresource| {
        if subresource == "status" {
            return replica_status(&At::root(new).get("status"));
        }
        let mut errors = replica_set(new);
        errors.extend(immutable_selector(new, old));
        errors
    },
    warnings: pod_warnings::workload,
    has_generation: true,
    ..Rules::DEFAULT
};

/// A controller without labels or selector has the labels of its pods.
fn labels_from_template(controller: &mut Object) {
    let labels = controller["spec"]["template"]["metadata"]["labels"].clone();
    if labels.is_object() {
        empty(object(controller, "spec"), "selector", labels.clone());
        empty(object(controller, "metadata"), "labels", labels);
    }
}

pub(super) static REPLICATION_CONTROLLER: Rules = Rules {
    default: |controller| {
        labels_from_template(controller);
        let spec = object(controller, "spec");
        unset(spec, "replicas", 1);
        if spec["template"].is_object() {
            template_defaults(spec);
        }
    },
    prepare_create: workload::prepare_create,
    prepare_update: |new, old, subresource| {
        workload::prepare_update(new, old, subresource);
        if !subresource.is_empty() {
            labels_from_template(new);
        }
    },
    name: names::finished_dns_subdomain_name,
    validate: replication_controller,
    validate_update: |new, old, subresource| match subresource {
        "status" => replica_status(&At::root(new).get("status")),
        _ => {
            let mut errors = replication_controller(new);
            errors.extend(non_convertible(new, old));
            errors
        }
    },
    warnings: pod_warnings::workload,
    // Upstream judges the old template, and takes the new one for what was there before.
    update_warnings: Some(|new, old| {
        let is_changed = new["metadata"]["generation"] != old["metadata"]["generation"];
        if is_changed { pod_warnings::template(&At::root(old).get("spec.template")) } else { Vec::new() }
    }),
    fields: |object| vec![("status.replicas", At::root(object).int("status.replicas").to_string())],
    has_generation: true,
    ..Rules::DEFAULT
};

/// What a controller has that this version of the API cannot say, as its annotations tell, stays.
fn non_convertible(new: &Object, old: &Object) -> ErrorList {
    const PREFIX: &str = "non-convertible.kubernetes.io";
    let (new, old) = (At::root(new), At::root(old));
    let mut errors = ErrorList::new();
    for (key, value) in old.entries("metadata.annotations").into_iter().filter(|(key, _)| key.starts_with(PREFIX)) {
        let [_, field] = key.split('/').collect::<Vec<_>>()[..] else { continue };
        let selector = new.get("spec.selector");
        if !field.contains("selector") {
            let mut error = FieldError::not_found(&FieldPath::new(field), value.text());
            error.detail = "unknown non-convertible field".to_owned();
            errors.push(error);
        } else if !same(selector.value, old.raw("spec.selector")) {
            errors.push(selector.invalid("cannot update non-convertible selector"));
        }
    }
    errors
}

pub(super) static POD_TEMPLATE: Rules = Rules {
    default: template_defaults,
    prepare_create: |template| {
        drop_disabled(template);
        fill::generation(template, 1);
    },
    prepare_update: |new, old, _| {
        drop_disabled(new);
        fill::bump_generation(new, old, &["template"]);
    },
    validate: |object| pod_spec::template(&At::root(object).get("template")),
    validate_update: |new, _, _| pod_spec::template(&At::root(new).get("template")),
    warnings: |object| pod_warnings::template(&At::root(object).get("template")),
    has_generation: true,
    ..Rules::DEFAULT
};

pub(super) static CONTROLLER_REVISION: Rules = Rules {
    validate: controller_revision,
    validate_update: |new, old, _| {
        let revision = At::root(new);
        let mut errors = not_negative(&revision, &["revision"]);
        errors.extend(metadata::immutable(&revision.get("data"), &At::root(old).get("data")));
        errors
    },
    judging: Judging::CHANGE_THEN_WHOLE,
    ..Rules::DEFAULT
};

fn drop_disabled(template: &mut Object) {
    if let Some(spec) = fill::at(template, "template.spec") {
        disabled::drop_from_pod_spec(spec);
    }
}

fn deployment(deployment: &Object) -> ErrorList {
    let spec = At::root(deployment).get("spec");
    let mut errors = not_negative(&spec, &["replicas"]);
    errors.extend(required_selector(&spec, "deployment"));
    errors.extend(template(&spec, "ReplicaSet"));
    errors.extend(strategy(&spec.get("strategy")));
    errors.extend(not_negative(&spec, &["minReadySeconds", "revisionHistoryLimit"]));
    let annotations = &deployment["metadata"]["annotations"];
    if let Some(revision) =
        annotations[ROLLBACK].as_str().and_then(|text| text.parse::<i64>().ok()).filter(|to| *to < 0)
    {
        errors.push(spec.get("rollback.version").invalid_as(revision, metadata::NOT_NEGATIVE));
    }
    errors.extend(not_negative(&spec, &["progressDeadlineSeconds"]));
    let deadline = spec.get("progressDeadlineSeconds");
    if deadline.is_set() && spec.int("progressDeadlineSeconds") <= spec.int("minReadySeconds") {
        errors.push(deadline.invalid("must be greater than minReadySeconds"));
    }
    errors
}

fn strategy(strategy: &At<'_>) -> ErrorList {
    let rolling = strategy.get("rollingUpdate");
    match strategy.str("type") {
        "Recreate" => {
            let message = "may not be specified when strategy `type` is 'Recreate'";
            rolling.is_set().then(|| rolling.forbidden(message)).into_iter().collect()
        }
        "RollingUpdate" => {
            let (unavailable, surge) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
            let mut errors = int_or_percent(&unavailable);
            errors.extend(int_or_percent(&surge));
            if plain_number(&unavailable) == 0 && plain_number(&surge) == 0 {
                errors.push(unavailable.invalid("may not be 0 when `maxSurge` is 0"));
            }
            errors.extend(at_most_all(&unavailable));
            errors
        }
        _ => {
            let shown = go_print::of_type(strategy.value, "io.k8s.api.apps.v1.DeploymentStrategy");
            vec![FieldError::not_supported(&strategy.path, shown, &["Recreate", "RollingUpdate"])]
        }
    }
}

fn deployment_status(status: &At<'_>, before: &At<'_>) -> ErrorList {
    let mut errors = not_negative(
        status,
        &[
            "observedGeneration",
            "replicas",
            "updatedReplicas",
            "readyReplicas",
            "availableReplicas",
            "unavailableReplicas",
            "terminatingReplicas",
            "collisionCount",
        ],
    );
    errors.extend(within_replicas(status, &["updatedReplicas", "readyReplicas", "availableReplicas"]));
    if status.int("availableReplicas") > status.int("readyReplicas") {
        let available = status.get("availableReplicas");
        errors.push(available.invalid("cannot be greater than readyReplicas"));
    }
    errors.extend(not_decremented(status, before, "collisionCount"));
    errors
}

fn replica_set(set: &Object) -> ErrorList {
    let spec = At::root(set).get("spec");
    let mut errors = not_negative(&spec, &["replicas", "minReadySeconds"]);
    errors.extend(required_selector(&spec, "deployment"));
    errors.extend(template(&spec, "ReplicaSet"));
    errors
}

fn replica_status(status: &At<'_>) -> ErrorList {
    let mut errors = not_negative(
        status,
        &[
            "replicas",
            "fullyLabeledReplicas",
            "readyReplicas",
            "availableReplicas",
            "observedGeneration",
            "terminatingReplicas",
        ],
    );
    errors.extend(within_replicas(status, &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"]));
    if status.int("availableReplicas") > status.int("readyReplicas") {
        errors.push(status.get("availableReplicas").invalid("cannot be greater than readyReplicas"));
    }
    errors
}

fn replication_controller(controller: &Object) -> ErrorList {
    let spec = At::root(controller).get("spec");
    let mut errors = not_negative(&spec, &["minReadySeconds"]);
    if spec.len("selector") == 0 {
        errors.push(spec.get("selector").required(""));
    }
    errors.extend(not_negative(&spec, &["replicas"]));
    let template = spec.get("template");
    if !template.is_set() {
        errors.push(template.required(""));
        return errors;
    }
    let labels = template.get("metadata.labels");
    let matched = spec.entries("selector").iter().all(|(key, value)| labels.value.get(*key) == Some(value.value));
    if !matched {
        errors.push(labels.invalid("`selector` does not match template `labels`"));
    }
    errors.extend(pod_spec::template(&template));
    errors.extend(always_restarting(&template, "ReplicationController"));
    errors
}

fn controller_revision(revision: &Object) -> ErrorList {
    let revision = At::root(revision);
    let mut errors = not_negative(&revision, &["revision"]);
    if !revision.has("data") {
        errors.push(revision.get("data").required("data is mandatory"));
    } else if !revision.raw("data").is_object() {
        errors.push(revision.get("data").required("data must be a valid JSON object"));
    }
    errors
}
