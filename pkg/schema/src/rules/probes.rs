// SPDX-License-Identifier: Apache-2.0

//! Probes and lifecycle hooks of containers.

use knarr_types::ErrorList;

use super::at::At;
use super::metadata::NOT_NEGATIVE;
use super::names;

/// What is wrong with what a container does at its start and end.
pub fn lifecycle(lifecycle: &At<'_>, grace_seconds: Option<i64>) -> ErrorList {
    let mut errors = ErrorList::new();
    for hook in ["postStart", "preStop"] {
        if lifecycle.has(hook) {
            errors.extend(handler(&lifecycle.get(hook), grace_seconds));
        }
    }
    errors
}

/// What is wrong with the three probes of a container.
pub fn all(container: &At<'_>, grace_seconds: Option<i64>) -> ErrorList {
    let mut errors = ErrorList::new();
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let probe = container.get(name);
        if !probe.is_set() {
            continue;
        }
        errors.extend(self::probe(&probe, grace_seconds));
        let grace = probe.get("terminationGracePeriodSeconds");
        if name == "readinessProbe" {
            if grace.is_set() {
                errors.push(grace.invalid("must not be set for readinessProbes"));
            }
        } else if probe.int("successThreshold") != 1 {
            errors.push(probe.get("successThreshold").invalid_as(probe.int("successThreshold"), "must be 1"));
        }
    }
    errors
}

fn probe(probe: &At<'_>, grace_seconds: Option<i64>) -> ErrorList {
    let mut errors = handler(probe, grace_seconds);
    for field in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        if probe.int(field) < 0 {
            errors.push(probe.get(field).invalid(NOT_NEGATIVE));
        }
    }
    let grace = probe.get("terminationGracePeriodSeconds");
    if grace.is_set() && grace.value.as_i64().unwrap_or_default() <= 0 {
        errors.push(grace.invalid("must be greater than 0"));
    }
    errors
}

fn handler(handler: &At<'_>, grace_seconds: Option<i64>) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut found = false;
    for action in ["exec", "httpGet", "tcpSocket", "grpc", "sleep"] {
        let action_at = handler.get(action);
        if !action_at.is_set() {
            continue;
        }
        if found {
            errors.push(action_at.forbidden("may not specify more than 1 handler type"));
            continue;
        }
        found = true;
        errors.extend(match action {
            "exec" => exec(&action_at),
            "httpGet" => http_get(&action_at),
            "tcpSocket" => port(&action_at.get("port")),
            "grpc" => port(&action_at.get("port")),
            _ => sleep(&action_at, grace_seconds),
        });
    }
    if !found {
        errors.push(handler.required("must specify a handler type"));
    }
    errors
}

fn exec(action: &At<'_>) -> ErrorList {
    if action.len("command") == 0 { vec![action.get("command").required("")] } else { ErrorList::new() }
}

fn http_get(action: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    if action.str("path").is_empty() {
        errors.push(action.get("path").required(""));
    }
    errors.extend(port(&action.get("port")));
    if !["HTTP", "HTTPS"].contains(&action.str("scheme")) {
        errors.push(action.get("scheme").not_supported(&["HTTP", "HTTPS"]));
    }
    let headers = action.get("httpHeaders");
    for header in action.items("httpHeaders") {
        for fault in names::http_header_name(header.str("name")) {
            errors.push(headers.invalid_as(header.str("name"), fault));
        }
    }
    errors
}

/// What is wrong with a port given by number or name.
pub fn port(port: &At<'_>) -> ErrorList {
    match port.value.as_str() {
        Some(name) => port.faults(names::port_name(name)),
        None => {
            let number = port.value.as_i64().unwrap_or_default();
            names::port_number(number).into_iter().map(|fault| port.invalid_as(number, fault)).collect()
        }
    }
}

fn sleep(action: &At<'_>, grace_seconds: Option<i64>) -> ErrorList {
    let seconds = action.int("seconds");
    match grace_seconds {
        Some(grace) if seconds < 0 || seconds > grace => vec![action.invalid_as(
            seconds,
            format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})"),
        )],
        _ => ErrorList::new(),
    }
}
