// SPDX-License-Identifier: Apache-2.0
//! Match conditions: expressions that say which requests a webhook is asked about.
//! <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#matching-requests-matchconditions>

use std::collections::HashMap;

use knarr_schema::cel;
use knarr_schema::cel::conditions::{Condition, Scope, Subject, Verdict, environment, evaluate};
use knarr_types::Status;
use knarr_types::tree::Value;
use parking_lot::Mutex;

use super::hook::Hook;
use crate::authorizer::Authorizer;
use crate::versions::View;
use crate::{Lookup, Request};

/// Compiled expressions that are kept.
const KEPT_MAX: usize = 1024;

/// Expressions that were compiled, by their text.
#[derive(Debug, Default)]
pub(super) struct Compiled(Mutex<HashMap<String, Condition>>);

impl Compiled {
    fn get(&self, name: &str, expression: &str) -> Condition {
        let mut kept = self.0.lock();
        if let Some(known) = kept.get(expression) {
            return Condition { name: name.to_owned(), ..known.clone() };
        }
        let scope = Scope { authorizer: true, ..Scope::default() };
        let condition = Condition::compile(name, expression, &environment(&scope));
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(expression.to_owned(), condition.clone());
        condition
    }

    /// Whether a webhook is meant; `review` is the AdmissionRequest that it would get.
    ///
    /// # Errors
    /// 403 where that cannot be computed and the webhook must be asked.
    pub(super) fn hold(
        &self,
        hook: &Hook,
        request: &Request<'_>,
        view: &View,
        review: &Value,
        lookup: &dyn Lookup,
    ) -> Result<bool, Status> {
        let conditions: Vec<_> = hook.conditions.iter().map(|(name, text)| self.get(name, text)).collect();
        let namespace = lookup.get("", "namespaces", "", request.namespace);
        let by = Authorizer { lookup, user: request.user };
        let mut subject = Subject::new(review, view.object.as_ref(), view.old.as_ref());
        subject.namespace = namespace.as_deref();
        subject.authorizer = Some((&by, cel::Attributes::default()));
        match evaluate(&conditions, &subject) {
            Verdict::Matches => Ok(true),
            Verdict::Skips(_) => Ok(false),
            Verdict::Failed(_) if !hook.fails => Ok(false),
            Verdict::Failed(faults) => {
                let why = match faults.as_slice() {
                    [one] => one.clone(),
                    many => format!("[{}]", many.join(", ")),
                };
                Err(request.refusal(&why))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use knarr_auth::UserInfo;
    use knarr_types::tree::json;

    use super::super::hook::read_all;
    use super::*;
    use crate::Operation;
    use crate::table::{Table, kind, request};

    fn hold(expressions: &[&str], policy: &str) -> Result<bool, String> {
        let conditions: Vec<_> =
            expressions.iter().enumerate().map(|(i, e)| json!({"name": format!("c{i}"), "expression": e})).collect();
        let webhook = json!({"name": "x.y.z", "failurePolicy": policy, "matchConditions": conditions});
        let hook = read_all(vec![json!({"webhooks": [webhook]}).into()]).remove(0);
        let user = UserInfo::anonymous();
        let kind = kind("configmaps");
        let request = request(&kind, Operation::Create, "n", &user);
        let object = json!({"metadata": {"name": "x"}, "data": {"a": "1"}});
        let review = json!({"operation": "CREATE", "userInfo": {"username": "me"}});
        let table = Table(vec![]);
        let view = View { kind: std::sync::Arc::clone(&kind), object: Some(object), old: None };
        Compiled::default().hold(&hook, &request, &view, &review, &table).map_err(|s| s.message)
    }

    #[test]
    fn a_webhook_is_meant_where_all_conditions_hold() {
        assert_eq!(hold(&["object.data.a == '1'", "request.userInfo.username == 'me'"], "Fail"), Ok(true));
        assert_eq!(hold(&["object.data.a == '2'", "object.data.b == '1'"], "Fail"), Ok(false));
    }

    #[test]
    fn what_cannot_be_computed_refuses_or_passes_over() {
        assert!(hold(&["object.data.b == '1'"], "Fail").unwrap_err().contains("is forbidden"));
        assert_eq!(hold(&["object.data.b == '1'"], "Ignore"), Ok(false));
    }
}
