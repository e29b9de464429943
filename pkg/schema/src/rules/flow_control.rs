// SPDX-License-Identifier: Apache-2.0

//! Flow schemas and priority levels (`pkg/apis/flowcontrol`).

use knarr_types::{ErrorList, FieldError};

use super::Rules;
use super::at::At;
use super::containers::required_one_of;
use super::fill::{self, empty, object, unset};
use super::go_print;
use super::names;
use super::security::one_of;
use super::volumes::require;

pub(super) static FLOW_SCHEMA: Rules = Rules {
    default: |schema| empty(object(schema, "spec"), "matchingPrecedence", 1000),
    prepare_create: fill::first_generation,
    prepare_update: fill::spec_and_status,
    validate: |schema| flow_schema(&At::root(schema)),
    validate_update: |new, _, subresource| match subresource {
        "status" => ErrorList::new(),
        _ => flow_schema(&At::root(new)),
    },
    allow_unconditional_update: false,
    has_generation: true,
    ..Rules::DEFAULT
};

pub(super) static PRIORITY_LEVEL: Rules = Rules {
    default: |level| {
        if let Some(exempt) = fill::at(level, "spec.exempt") {
            unset(exempt, "nominalConcurrencyShares", 0);
            unset(exempt, "lendablePercent", 0);
        }
        if let Some(limited) = fill::at(level, "spec.limited") {
            unset(limited, "nominalConcurrencyShares", 30);
            unset(limited, "lendablePercent", 0);
            if let Some(queuing) = fill::at(limited, "limitResponse.queuing") {
                empty(queuing, "handSize", 8);
                empty(queuing, "queues", 64);
                empty(queuing, "queueLengthLimit", 50);
            }
        }
    },
    prepare_create: fill::first_generation,
    prepare_update: fill::spec_and_status,
    validate: |level| priority_level(&At::root(level)),
    validate_update: |new, _, subresource| match subresource {
        "status" => ErrorList::new(),
        _ => priority_level(&At::root(new)),
    },
    allow_unconditional_update: false,
    has_generation: true,
    ..Rules::DEFAULT
};

fn flow_schema(schema: &At<'_>) -> ErrorList {
    let spec = schema.get("spec");
    let precedence = spec.get("matchingPrecedence");
    let mut errors = ErrorList::new();
    match spec.int("matchingPrecedence") {
        number if number <= 0 => errors.push(precedence.invalid("must be a positive value")),
        number if number > 10_000 => errors.push(precedence.invalid("must not be greater than 10000")),
        1 if schema.str("metadata.name") != "exempt" => {
            errors.push(precedence.invalid("only the schema named 'exempt' may have matchingPrecedence 1"));
        }
        _ => {}
    }
    let method = spec.get("distinguisherMethod");
    if method.is_set() && !["ByNamespace", "ByUser"].contains(&method.str("type")) {
        let shown = go_print::structure(method.value, &[("Type", "type$")]);
        errors.push(FieldError::not_supported(&method.get("type").path, shown, &["ByNamespace", "ByUser"]));
    }
    let level = spec.get("priorityLevelConfiguration.name");
    if level.text().is_empty() {
        errors.push(level.required("must reference a priority level"));
    } else {
        errors.extend(level.faults(names::dns1123_subdomain(level.text())));
    }
    for rule in spec.items("rules") {
        if rule.len("subjects") == 0 {
            errors.push(rule.get("subjects").required("subjects must contain at least one value"));
        }
        errors.extend(rule.items("subjects").iter().flat_map(subject));
        if rule.len("resourceRules") + rule.len("nonResourceRules") == 0 {
            errors.push(rule.required("at least one of resourceRules and nonResourceRules has to be non-empty"));
        }
    }
    errors
}

fn subject(subject: &At<'_>) -> ErrorList {
    let kind = subject.get("kind");
    let field = match kind.text() {
        "User" => "user",
        "Group" => "group",
        "ServiceAccount" => "serviceAccount",
        _ => return vec![kind.not_supported(&["Group", "ServiceAccount", "User"])],
    };
    let named = subject.get(field);
    if !named.is_set() {
        return vec![named.required(&format!("{field} is required when subject kind is '{}'", kind.text()))];
    }
    let mut errors = require(&named, &["name"]);
    if field == "serviceAccount" {
        let namespace = named.get("namespace");
        if namespace.text().is_empty() {
            errors.push(namespace.required("must specify namespace for service account"));
        } else {
            errors.extend(namespace.faults(names::dns1123_label(namespace.text())));
        }
    }
    errors
}

fn priority_level(level: &At<'_>) -> ErrorList {
    let spec = level.get("spec");
    let (kind, limited, exempt) = (spec.get("type"), spec.get("limited"), spec.get("exempt"));
    let mut errors = ErrorList::new();
    let known = ["Exempt", "Limited"].contains(&kind.text());
    if known && (level.str("metadata.name") == "exempt") != (kind.text() == "Exempt") {
        errors.push(kind.invalid("must be 'Exempt' if and only if `name` is 'exempt'"));
    }
    match kind.text() {
        "Exempt" => {
            if limited.is_set() {
                errors.push(limited.forbidden("must be nil if the type is not Limited"));
            }
        }
        "Limited" => {
            if exempt.is_set() {
                errors.push(exempt.forbidden("must be nil if the type is Limited"));
            }
            if limited.is_set() {
                errors.extend(limit(&limited));
            } else {
                errors.push(limited.required("must not be empty when type is Limited"));
            }
        }
        _ => errors.extend(required_one_of(&kind, &["Exempt", "Limited"])),
    }
    errors
}

fn limit(limited: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let shares = limited.get("nominalConcurrencyShares");
    if shares.value.as_i64().is_some_and(|shares| shares < 0) {
        errors.push(shares.invalid("must be a non-negative integer"));
    }
    errors.extend(limit_response(&limited.get("limitResponse")));
    let lendable = limited.get("lendablePercent");
    if lendable.value.as_i64().is_some_and(|percent| !(0..=100).contains(&percent)) {
        errors.push(lendable.invalid("must be between 0 and 100, inclusive"));
    }
    let borrowed = limited.get("borrowingLimitPercent");
    if borrowed.value.as_i64().is_some_and(|percent| percent < 0) {
        errors.push(borrowed.invalid("if specified, must be a non-negative integer"));
    }
    errors
}

fn limit_response(response: &At<'_>) -> ErrorList {
    let (kind, queuing) = (response.get("type"), response.get("queuing"));
    match kind.text() {
        "" => vec![kind.required("")],
        "Reject" if queuing.is_set() => {
            vec![queuing.forbidden("must be nil if limited.limitResponse.type is not Limited")]
        }
        "Queue" if !queuing.is_set() => {
            vec![queuing.required("must not be empty if limited.limitResponse.type is Limited")]
        }
        "Queue" => queues(&queuing),
        _ => one_of(&kind, &["Queue", "Reject"]).into_iter().collect(),
    }
}

fn queues(queuing: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for field in ["queueLengthLimit", "queues"] {
        if queuing.int(field) <= 0 {
            errors.push(queuing.get(field).invalid("must be positive"));
        }
    }
    let (hand, count) = (queuing.get("handSize"), queuing.int("queues"));
    if queuing.int("handSize") <= 0 {
        errors.push(hand.invalid("must be positive"));
    } else if queuing.int("handSize") > count {
        errors.push(hand.invalid(format!("should not be greater than queues ({count})")));
    }
    errors
}
