// SPDX-License-Identifier: Apache-2.0

//! Flow schemas and priority levels (`pkg/apis/flowcontrol`), and those that every cluster has.

use std::sync::LazyLock;

use knarr_types::tree::{Value, json};
use knarr_types::{ErrorList, FieldError, Object};

use super::Rules;
use super::at::{At, same, strings};
use super::containers::required_one_of;
use super::fill::{self, empty, object, unset};
use super::go_print;
use super::judging::Judging;
use super::names;
use super::security::one_of;
use super::volumes::require;

/// What an older version of the API told zero from nothing by.
const ZERO_SHARES: &str = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares";

pub(super) static FLOW_SCHEMA: Rules = Rules {
    default: |schema| empty(object(schema, "spec"), "matchingPrecedence", 1000),
    prepare_create: fill::first_generation,
    prepare_update: fill::spec_and_bare_status,
    validate: |schema| flow_schema(&At::root(schema)),
    validate_update: |new, _, subresource| match subresource {
        "status" => status(&At::root(new).get("status")),
        _ => flow_schema(&At::root(new)),
    },
    allow_unconditional_update: false,
    has_generation: true,
    judging: Judging::WHOLE,
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
    prepare_update: fill::spec_and_bare_status,
    validate: |level| priority_level(&At::root(level)),
    validate_update: |new, _, subresource| match subresource {
        "status" => status(&At::root(new).get("status")),
        _ => priority_level(&At::root(new)),
    },
    allow_unconditional_update: false,
    has_generation: true,
    judging: Judging::WHOLE,
    ..Rules::DEFAULT
};

/// What every cluster has, by plural and name: `{"flowschemas": {NAME: SPEC}, ...}`. The API server makes
/// what is missing when it starts.
#[must_use]
pub fn bootstrap() -> Vec<(&'static str, Object)> {
    let kinds = [("flowschemas", "FlowSchema"), ("prioritylevelconfigurations", "PriorityLevelConfiguration")];
    let objects = |(plural, kind): (&'static str, &str)| {
        let specs = BOOTSTRAP[plural].as_object().into_iter().flatten();
        let kind = kind.to_owned();
        specs.map(move |(name, spec)| {
            let annotations = json!({AUTOUPDATE: "true"});
            (
                plural,
                json!({
                    "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": kind,
                    "metadata": {"name": name, "annotations": annotations}, "spec": spec,
                }),
            )
        })
    };
    kinds.into_iter().flat_map(objects).collect()
}

/// An object whose value here is no longer true keeps the spec that it has.
const AUTOUPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

/// What becomes of an object of [`bootstrap`] that is there: it gets its spec back, unless somebody took it over, and
/// says whether it does. `None` where it stays as it is.
#[must_use]
pub fn reconcile(there: &Object, wanted: &Object) -> Option<Object> {
    let name = wanted["metadata"]["name"].as_str().unwrap_or_default();
    let follows = MANDATORY.contains(&name)
        || match there["metadata"]["annotations"][AUTOUPDATE].as_str() {
            Some(told) => ["1", "t", "T", "true", "TRUE", "True"].contains(&told),
            None => there["metadata"]["generation"] == 1,
        };
    let mut revised = there.clone();
    revised["metadata"]["annotations"][AUTOUPDATE] = follows.to_string().into();
    if follows && !same(&there["spec"], &wanted["spec"]) {
        revised["spec"] = wanted["spec"].clone();
    }
    (revised != *there).then_some(revised)
}

/// What a flow schema is to say of its priority level, which is there or not: the status to apply. `None` where it says
/// so already.
#[must_use]
pub fn dangling(schema: &Object, is_there: bool, now: &str) -> Option<Object> {
    let level = schema["spec"]["priorityLevelConfiguration"]["name"].as_str().unwrap_or_default();
    let (status, reason, why) = match is_there {
        true => ("False", "Found", "and it exists"),
        false => ("True", "NotFound", "but there is no such object"),
    };
    let message = format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?} {why}");
    let mut said = schema["status"]["conditions"].as_array().into_iter().flatten();
    let says = |told: &Value| told["type"] == "Dangling" && told["status"] == status && told["message"] == *message;
    if said.any(says) {
        return None;
    }
    let condition = json!({
        "type": "Dangling", "status": status, "reason": reason, "message": message, "lastTransitionTime": now,
    });
    Some(json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema",
        "metadata": {"name": schema["metadata"]["name"]}, "status": {"conditions": [condition]},
    }))
}

static BOOTSTRAP: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../data/flow_control.json")).unwrap_or_default());

/// Objects whose spec nobody may change.
const MANDATORY: [&str; 2] = ["exempt", "catch-all"];

/// The spec that a mandatory object must have.
fn fixed(plural: &str, name: &str) -> Option<&'static Value> {
    MANDATORY.contains(&name).then(|| &BOOTSTRAP[plural][name])
}

fn flow_schema(schema: &At<'_>) -> ErrorList {
    let (spec, name) = (schema.get("spec"), schema.str("metadata.name"));
    let mut errors = flow_schema_spec(schema);
    if fixed("flowschemas", name).is_some_and(|fixed| !same(spec.value, fixed)) {
        let shown = go_print::of_type(spec.value, "io.k8s.api.flowcontrol.v1.FlowSchemaSpec");
        errors.push(spec.invalid_as(shown, format!("spec of '{name}' must equal the fixed value")));
    }
    errors.extend(status(&schema.get("status")));
    errors
}

fn flow_schema_spec(schema: &At<'_>) -> ErrorList {
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
        errors.extend(rule.items("resourceRules").iter().flat_map(resource_rule));
        errors.extend(rule.items("nonResourceRules").iter().flat_map(path_rule));
    }
    errors
}

/// Of a list that is there either all are named by `*`, or some by their names.
fn all_or_some(list: &At<'_>, others: &str) -> Option<FieldError> {
    let names = strings(list.value);
    (names.len() > 1 && names.contains(&"*"))
        .then(|| list.invalid(format!("if '*' is present, must not specify other {others}")))
}

fn verbs(rule: &At<'_>) -> Option<FieldError> {
    const KNOWN: [&str; 9] =
        ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];
    let (list, names) = (rule.get("verbs"), rule.strings("verbs"));
    if names.is_empty() {
        return Some(list.required("verbs must contain at least one value"));
    }
    if names.contains(&"*") {
        return all_or_some(&list, "verbs");
    }
    let unknown = names.iter().any(|name| !KNOWN.contains(name));
    unknown.then(|| FieldError::not_supported(&list.path, list.value.clone(), &KNOWN))
}

fn resource_rule(rule: &At<'_>) -> ErrorList {
    const NAMESPACE: &str = "each member of this list must be '*' or a DNS-1123 label; ";
    let mut errors: ErrorList = verbs(rule).into_iter().collect();
    for (field, one, others) in [("apiGroups", "api group", "api groups"), ("resources", "resource", "resources")] {
        let list = rule.get(field);
        if rule.len(field) == 0 {
            errors.push(list.required(&format!("resource rules must supply at least one {one}")));
        }
        errors.extend(all_or_some(&list, others));
    }
    let (list, names) = (rule.get("namespaces"), rule.strings("namespaces"));
    if names.is_empty() && !rule.flag("clusterScope") {
        let message = "resource rules that are not cluster scoped must supply at least one namespace";
        errors.push(list.required(message));
    } else if names.contains(&"*") {
        errors.extend(all_or_some(&list, "namespaces"));
    } else {
        errors.extend(rule.items("namespaces").iter().flat_map(|at| {
            at.faults(names::dns1123_label(at.text()).into_iter().map(|why| format!("{NAMESPACE}{why}")).collect())
        }));
    }
    errors
}

fn path_rule(rule: &At<'_>) -> ErrorList {
    let mut errors: ErrorList = verbs(rule).into_iter().collect();
    let (list, paths) = (rule.get("nonResourceURLs"), rule.strings("nonResourceURLs"));
    if paths.is_empty() {
        errors.push(list.required("nonResourceURLs must contain at least one value"));
    } else if paths.contains(&"*") {
        errors.extend(all_or_some(&list, "non-resource URLs"));
    } else {
        errors.extend(rule.items("nonResourceURLs").iter().filter_map(url_path));
    }
    errors
}

fn url_path(at: &At<'_>) -> Option<FieldError> {
    let path = at.text();
    let stars = path.matches('*').count();
    let why = match path {
        "" => "must not be empty",
        "/" => return None,
        _ if !path.starts_with('/') => "must start with slash",
        _ if path.contains(' ') => "must not contain white-space",
        _ if path.contains("//") => "must not contain double slash",
        _ if stars > 1 || (stars == 1 && !path.ends_with("/*")) => "wildcard can only do suffix matching",
        _ => return None,
    };
    Some(at.invalid(why))
}

fn status(status: &At<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut seen = Vec::new();
    for condition in status.items("conditions") {
        let kind = condition.get("type");
        if seen.contains(&kind.text()) {
            errors.push(FieldError::duplicate(&kind.path, kind.text()));
        }
        seen.push(condition.str("type"));
        if kind.text().is_empty() {
            errors.push(kind.required("must not be empty"));
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
    let mut errors = if named.is_set() {
        require(&named, &["name"])
    } else {
        vec![named.required(&format!("{field} is required when subject kind is '{}'", kind.text()))]
    };
    if field == "serviceAccount" && named.is_set() {
        errors.extend(account(&named));
    }
    for (other, kind) in [("serviceAccount", "ServiceAccount"), ("user", "User"), ("group", "Group")] {
        let at = subject.get(other);
        if other != field && at.is_set() {
            errors.push(at.forbidden(format!("{other} is forbidden when subject kind is not '{kind}'")));
        }
    }
    errors
}

fn account(account: &At<'_>) -> ErrorList {
    let (name, namespace) = (account.get("name"), account.get("namespace"));
    let mut errors = ErrorList::new();
    if !matches!(name.text(), "" | "*") {
        errors.extend(name.faults(names::dns1123_subdomain(name.text())));
    }
    if namespace.text().is_empty() {
        errors.push(namespace.required("must specify namespace for service account"));
    } else {
        errors.extend(namespace.faults(names::dns1123_label(namespace.text())));
    }
    errors
}

fn priority_level(level: &At<'_>) -> ErrorList {
    let (spec, name) = (level.get("spec"), level.str("metadata.name"));
    let annotations = level.get("metadata.annotations");
    let zero_shares = annotations.value.get(ZERO_SHARES).is_some();
    let mut errors: ErrorList = zero_shares
        .then(|| annotations.forbidden(format!("annotation '{ZERO_SHARES}' is forbidden")))
        .into_iter()
        .collect();
    errors.extend(priority_level_spec(level));
    if let Some(fixed) = fixed("prioritylevelconfigurations", name) {
        let (mut given, mut wanted) = (spec.value.clone(), fixed.clone());
        let except = if name == "exempt" { " except the 'spec.exempt' field" } else { "" };
        if name == "exempt" {
            fill::remove(&mut given, "exempt");
            fill::remove(&mut wanted, "exempt");
        }
        if !same(&given, &wanted) {
            let shown = go_print::of_type(spec.value, "io.k8s.api.flowcontrol.v1.PriorityLevelConfigurationSpec");
            errors.push(spec.invalid_as(shown, format!("spec of '{name}'{except} must equal the fixed value")));
        }
    }
    errors.extend(status(&level.get("status")));
    errors
}

fn priority_level_spec(level: &At<'_>) -> ErrorList {
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
            errors.extend(self::exempt(&exempt));
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
    let (hand, count, size) = (queuing.get("handSize"), queuing.int("queues"), queuing.int("handSize"));
    if count > MOST_QUEUES {
        errors.push(queuing.get("queues").invalid(format!("must not be greater than {MOST_QUEUES}")));
    }
    if size <= 0 {
        errors.push(hand.invalid("must be positive"));
    } else if size > count {
        errors.push(hand.invalid(format!("should not be greater than queues ({count})")));
    } else if entropy_bits(count, size) > MOST_ENTROPY_BITS {
        errors.push(hand.invalid(format!(
            "required entropy bits of deckSize {count} and handSize {size} should not be greater than \
             {MOST_ENTROPY_BITS}"
        )));
    }
    errors
}

const MOST_QUEUES: i64 = 10_000_000;
/// A flow's hand of queues is dealt by so many bits of its hash.
const MOST_ENTROPY_BITS: f64 = 60.0;

/// The bits that it takes to deal a hand.
#[allow(clippy::cast_precision_loss, reason = "both numbers are small")]
fn entropy_bits(deck: i64, hand: i64) -> f64 {
    ((deck as f64).log2() * hand as f64).ceil()
}

/// What is wrong with how much of the server those get who never wait.
fn exempt(exempt: &At<'_>) -> ErrorList {
    let (shares, lendable) = (exempt.get("nominalConcurrencyShares"), exempt.get("lendablePercent"));
    let mut errors = ErrorList::new();
    if shares.value.as_i64().is_some_and(|shares| shares < 0) {
        errors.push(shares.invalid("must be a non-negative integer"));
    }
    if lendable.value.as_i64().is_some_and(|percent| !(0..=100).contains(&percent)) {
        errors.push(lendable.invalid("must be between 0 and 100, inclusive"));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hand_of_queues_is_dealt_by_a_hash() {
        let found = |queues: i64, hand: i64| {
            let queuing = json!({"queueLengthLimit": 1, "queues": queues, "handSize": hand});
            self::queues(&At::root(&queuing)).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(found(64, 10), Vec::<String>::new());
        assert_eq!(
            found(64, 11),
            [
                "handSize: Invalid value: 11: required entropy bits of deckSize 64 and handSize 11 should not be greater \
              than 60"
            ]
        );
        assert_eq!(found(10_000_001, 1), ["queues: Invalid value: 10000001: must not be greater than 10000000"]);
    }

    #[test]
    fn a_flow_schema_says_whether_its_level_is_there() {
        let schema = |conditions: Value| {
            json!({"metadata": {"name": "s"}, "spec": {"priorityLevelConfiguration": {"name": "l"}},
                "status": {"conditions": conditions}})
        };
        let told = dangling(&schema(json!([])), true, "now").unwrap();
        let condition = &told["status"]["conditions"][0];
        assert_eq!((&condition["status"], &condition["reason"]), (&json!("False"), &json!("Found")));
        assert!(dangling(&schema(json!([condition])), true, "later").is_none());
        let gone = dangling(&schema(json!([condition])), false, "later").unwrap();
        assert_eq!(gone["status"]["conditions"][0]["reason"], "NotFound");
    }

    #[test]
    fn a_spec_comes_back_unless_somebody_took_the_object_over() {
        let all = bootstrap();
        let find =
            |name: &str| all.iter().find(|(_, o)| o["metadata"]["name"] == name).map(|(_, o)| o.clone()).unwrap();
        for (name, told, generation, same_spec, want) in [
            ("catch-all", Some("false"), 3, false, Some(("true", true))),
            ("global-default", Some("true"), 3, true, None),
            ("global-default", Some("true"), 3, false, Some(("true", true))),
            ("global-default", Some("false"), 3, false, None),
            ("global-default", None, 1, false, Some(("true", true))),
            ("global-default", None, 2, false, Some(("false", false))),
        ] {
            let wanted = find(name);
            let mut there = wanted.clone();
            there["metadata"]["generation"] = generation.into();
            there["metadata"]["annotations"] = told.map_or(Value::Null, |told| json!({AUTOUPDATE: told}));
            if !same_spec {
                there["spec"]["matchingPrecedence"] = json!(4321);
            }
            let found = reconcile(&there, &wanted);
            let shown = found.map(|o| {
                let told = o["metadata"]["annotations"][AUTOUPDATE].as_str().unwrap().to_owned();
                (told, same(&o["spec"], &wanted["spec"]))
            });
            assert_eq!(shown, want.map(|(told, back)| (told.to_owned(), back)), "{name} {told:?} {generation}");
        }
    }
}
