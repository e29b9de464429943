// SPDX-License-Identifier: Apache-2.0
//! What parts of the server count beside requests: webhooks, who asked, clients of this process, handshakes.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use knarr_admission::webhooks::{Asked, Outcome};
use parking_lot::RwLock;

use super::Asked as Request;
use super::families::{Counter, Histogram};
use super::text::Text;
use crate::request::RequestInfo;

/// Upper bounds of the time that webhooks take, in seconds. Upstream's.
const WEBHOOKS: &[f64] = &[0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0];
/// Upper bounds of the time that requests of clients take, in seconds. Upstream's.
const CLIENTS: &[f64] = &[0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0];
/// The users who are told by their names; others are `email_id` or `other`. Upstream's.
const USERS: [&str; 7] =
    ["admin", "client", "kube_proxy", "kubelet", "system:serviceaccount:kube-system:default", "email_id", "other"];

/// All of it.
#[derive(Debug)]
pub struct Parts {
    webhook_seconds: Histogram,
    webhook_requests: Counter,
    webhook_rejections: Counter,
    webhook_fail_open: Counter,
    policy_checks: Counter,
    terminations: Counter,
    client_requests: Counter,
    client_seconds: Histogram,
    users: [AtomicU64; USERS.len()],
    refused_users: AtomicU64,
    handshake_errors: AtomicU64,
    /// What was asked for that will go one day, by its labels.
    deprecated: RwLock<BTreeSet<String>>,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            webhook_seconds: Histogram::new(
                "apiserver_admission_webhook_admission_duration_seconds",
                "Seconds that webhooks took, by name, operation, type and whether they refused.",
                WEBHOOKS,
            ),
            webhook_requests: Counter::new(
                "apiserver_admission_webhook_request_total",
                "Questions to webhooks, by name, operation, type, code and whether they refused.",
            ),
            webhook_rejections: Counter::new(
                "apiserver_admission_webhook_rejection_count",
                "Requests that webhooks refused, or for which one could not be asked.",
            ),
            webhook_fail_open: Counter::new(
                "apiserver_admission_webhook_fail_open_count",
                "Webhooks that could not be asked and were passed over.",
            ),
            policy_checks: Counter::new(
                "apiserver_validating_admission_policy_check_total",
                "What validating policies minded, by policy, binding and what was done about it.",
            ),
            terminations: Counter::new(
                "apiserver_request_terminations_total",
                "Requests that the server gave up in self-defence, by what they asked for.",
            ),
            client_requests: Counter::new(
                "rest_client_requests_total",
                "Requests of clients in this process, by code, host and method.",
            ),
            client_seconds: Histogram::new(
                "rest_client_request_duration_seconds",
                "Seconds until requests of clients in this process were answered, by host and verb.",
                CLIENTS,
            ),
            users: Default::default(),
            refused_users: AtomicU64::new(0),
            handshake_errors: AtomicU64::new(0),
            deprecated: RwLock::default(),
        }
    }
}

impl Parts {
    /// A webhook was asked.
    pub fn webhook(&self, asked: &Asked<'_>) {
        let kind = if asked.mutating { "admit" } else { "validating" };
        let (name, operation) = (asked.name, asked.operation.as_str());
        let (code, rejected) = match asked.outcome {
            Outcome::Allowed => (200, false),
            Outcome::Refused(code) => (code, true),
            Outcome::Failed { open } => (500, !open),
        };
        let whose = |more: &str| format!("name=\"{name}\",operation=\"{operation}\",{more}type=\"{kind}\"");
        let rejected_label = format!("rejected=\"{rejected}\",");
        self.webhook_seconds.observe(whose(&rejected_label), asked.elapsed);
        self.webhook_requests.add(format!("code=\"{code}\",{}", whose(&rejected_label)));
        match asked.outcome {
            Outcome::Failed { open: true } => {
                self.webhook_fail_open.add(format!("name=\"{name}\",type=\"{kind}\""));
            }
            Outcome::Failed { open: false } => {
                let why = whose("rejection_code=\"0\",");
                self.webhook_rejections.add(format!("error_type=\"calling_webhook_error\",{why}"));
            }
            Outcome::Refused(code) => {
                let why = whose(&format!("rejection_code=\"{code}\","));
                self.webhook_rejections.add(format!("error_type=\"no_error\",{why}"));
            }
            Outcome::Allowed => {}
        }
    }

    /// A validating policy minded something.
    pub fn policy(&self, policy: &str, binding: &str, action: &str, error: &str) {
        self.policy_checks.add(format!(
            "enforcement_action=\"{action}\",error_type=\"{error}\",policy=\"{policy}\",policy_binding=\"{binding}\""
        ));
    }

    /// A request was given up.
    pub fn terminated(&self, code: u16, asked: &Request<'_>) {
        let Request { verb, group, version, resource, subresource, scope, .. } = asked;
        self.terminations.add(format!(
            "code=\"{code}\",component=\"apiserver\",group=\"{group}\",resource=\"{resource}\",scope=\"{scope}\",\
             subresource=\"{subresource}\",verb=\"{verb}\",version=\"{version}\""
        ));
    }

    /// A client of this process was answered.
    pub fn client(&self, host: &str, method: &str, code: u16, elapsed: Duration) {
        self.client_requests.add(format!("code=\"{code}\",host=\"{host}\",method=\"{method}\""));
        self.client_seconds.observe(format!("host=\"{host}\",verb=\"{method}\""), elapsed);
    }

    /// Somebody showed who they are.
    pub fn user(&self, name: &str) {
        let known = USERS[..USERS.len() - 2].iter().position(|user| *user == name);
        let at = known.unwrap_or(USERS.len() - if name.contains('@') { 2 } else { 1 });
        self.users[at].fetch_add(1, Ordering::Relaxed);
    }

    /// Somebody showed something that proves nothing.
    pub fn refused_user(&self) {
        self.refused_users.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection did not come about.
    pub fn handshake_error(&self) {
        self.handshake_errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Somebody asked for what will go one day.
    pub fn deprecated(&self, info: &RequestInfo) {
        let RequestInfo { group, version, resource, .. } = info;
        let below = info.below();
        let labels = format!(
            "group=\"{group}\",removed_release=\"\",resource=\"{resource}\",subresource=\"{below}\",version=\"{version}\""
        );
        if !self.deprecated.read().contains(&labels) {
            self.deprecated.write().insert(labels);
        }
    }

    pub(super) fn write(&self, text: &mut Text) {
        self.webhook_seconds.write(text);
        self.webhook_requests.write(text);
        self.webhook_rejections.write(text);
        self.webhook_fail_open.write(text);
        self.policy_checks.write(text);
        self.terminations.write(text);
        self.client_requests.write(text);
        self.client_seconds.write(text);
        let users: Vec<u64> = self.users.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        text.family("authenticated_user_requests", "counter", "Requests by who asked, as far as names are told.");
        for (user, count) in USERS.iter().zip(&users).filter(|(_, count)| **count > 0) {
            text.sample("authenticated_user_requests", &format!("username=\"{user}\""), count);
        }
        let refused = self.refused_users.load(Ordering::Relaxed);
        text.family("authentication_attempts", "counter", "Requests that showed who asks, by what came of it.");
        text.sample("authentication_attempts", "result=\"success\"", users.iter().sum::<u64>());
        text.sample("authentication_attempts", "result=\"failure\"", refused);
        let broken = self.handshake_errors.load(Ordering::Relaxed);
        let asked = self.deprecated.read();
        if !asked.is_empty() {
            text.family("apiserver_requested_deprecated_apis", "gauge", "What was asked for that will go one day.");
            asked.iter().for_each(|labels| text.sample("apiserver_requested_deprecated_apis", labels, 1));
        }
        text.family("apiserver_tls_handshake_errors_total", "counter", "TLS handshakes that failed.");
        text.sample("apiserver_tls_handshake_errors_total", "", broken);
    }
}

#[cfg(test)]
mod tests {
    use knarr_admission::Operation;

    use super::*;

    #[test]
    fn webhooks_are_told_under_upstreams_names() {
        let parts = Parts::default();
        let asked = |outcome: Outcome| Asked {
            name: "x.y.z",
            operation: Operation::Create,
            mutating: false,
            elapsed: Duration::from_millis(20),
            outcome,
        };
        for outcome in
            [Outcome::Allowed, Outcome::Refused(403), Outcome::Failed { open: true }, Outcome::Failed { open: false }]
        {
            parts.webhook(&asked(outcome));
        }
        let mut text = Text::default();
        parts.write(&mut text);
        let text = text.into_string();
        let whose = "name=\"x.y.z\",operation=\"CREATE\"";
        for line in [
            format!(
                "apiserver_admission_webhook_admission_duration_seconds_bucket{{{whose},rejected=\"true\",type=\"validating\",le=\"0.025\"}} 2"
            ),
            format!(
                "apiserver_admission_webhook_request_total{{code=\"403\",{whose},rejected=\"true\",type=\"validating\"}} 1"
            ),
            format!(
                "apiserver_admission_webhook_rejection_count{{error_type=\"no_error\",{whose},rejection_code=\"403\",type=\"validating\"}} 1"
            ),
            "apiserver_admission_webhook_fail_open_count{name=\"x.y.z\",type=\"validating\"} 1".to_owned(),
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn policies_and_requests_that_were_given_up_are_told() {
        let parts = Parts::default();
        parts.policy("p", "b", "deny", "no_error");
        let info = RequestInfo::parse(&http::Method::GET, "/api/v1/pods", &crate::query::Query::default());
        parts.terminated(504, &Request::of(&info, &crate::query::Query::default(), false));
        let mut text = Text::default();
        parts.write(&mut text);
        let text = text.into_string();
        for line in [
            "apiserver_validating_admission_policy_check_total{enforcement_action=\"deny\",error_type=\"no_error\",\
             policy=\"p\",policy_binding=\"b\"} 1",
            "apiserver_request_terminations_total{code=\"504\",component=\"apiserver\",group=\"\",resource=\"pods\",\
             scope=\"cluster\",subresource=\"\",verb=\"LIST\",version=\"v1\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn what_will_go_is_told_once() {
        let parts = Parts::default();
        let info = RequestInfo::parse(&http::Method::GET, "/api/v1/componentstatuses", &crate::query::Query::default());
        parts.deprecated(&info);
        parts.deprecated(&info);
        let mut text = Text::default();
        parts.write(&mut text);
        let line = "apiserver_requested_deprecated_apis{group=\"\",removed_release=\"\",resource=\"componentstatuses\",\
                    subresource=\"\",version=\"v1\"} 1";
        assert_eq!(text.into_string().matches(line).count(), 1);
    }

    #[test]
    fn users_are_told_by_their_sort() {
        let parts = Parts::default();
        for user in ["admin", "me@example.com", "system:serviceaccount:a:b"] {
            parts.user(user);
        }
        let mut text = Text::default();
        parts.write(&mut text);
        let text = text.into_string();
        for user in ["admin", "email_id", "other"] {
            assert!(text.contains(&format!("authenticated_user_requests{{username=\"{user}\"}} 1")), "{text}");
        }
        assert!(text.contains("authentication_attempts{result=\"success\"} 3"));
    }
}
