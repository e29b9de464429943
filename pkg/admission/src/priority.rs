// SPDX-License-Identifier: Apache-2.0
//! Priority: a pod's class becomes its number.

use knarr_types::{Object, Status};
use serde_json::Value;

use crate::{Lookup, Request};

const GROUP: &str = "scheduling.k8s.io";

pub(crate) fn mutate(request: &Request<'_>, pod: &mut Object, lookup: &dyn Lookup) -> Result<(), Status> {
    let refuse = |why: String| Err(Status::forbidden(&request.kind.id(), request.name, &why));
    let name = pod["spec"]["priorityClassName"].as_str().unwrap_or_default().to_owned();
    let class = if name.is_empty() {
        lookup.list(GROUP, "priorityclasses", None).into_iter().find(|c| c["globalDefault"] == true)
    } else {
        match lookup.get(GROUP, "priorityclasses", "", &name) {
            None => return refuse(format!("no PriorityClass with name {name} was found")),
            found => found,
        }
    };
    let (value, policy) = match &class {
        Some(class) => {
            pod["spec"]["priorityClassName"] = class["metadata"]["name"].clone();
            (class["value"].as_i64().unwrap_or_default(), class["preemptionPolicy"].clone())
        }
        None => (0, Value::Null),
    };
    if pod["spec"]["priority"].as_i64().is_some_and(|given| given != value) {
        let given = &pod["spec"]["priority"];
        return refuse(format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
        ));
    }
    pod["spec"]["priority"] = value.into();
    let policy = if policy.is_null() { "PreemptLowerPriority".into() } else { policy };
    if pod["spec"]["preemptionPolicy"].as_str().is_some_and(|given| given != policy) {
        let given = pod["spec"]["preemptionPolicy"].as_str().unwrap_or_default();
        let wanted = policy.as_str().unwrap_or_default();
        return refuse(format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {wanted} from the given PriorityClass name"
        ));
    }
    pod["spec"]["preemptionPolicy"] = policy;
    Ok(())
}

/// An update that leaves the priority out means the one that there is.
pub(crate) fn keep(request: &Request<'_>, pod: &mut Object) {
    let Some(old) = request.old else { return };
    for field in ["priority", "preemptionPolicy"] {
        if pod["spec"][field].is_null() && !old["spec"][field].is_null() {
            pod["spec"][field] = old["spec"][field].clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use knarr_auth::UserInfo;
    use serde_json::json;

    use super::*;
    use crate::Operation;
    use crate::table::{Table, kind, request};

    #[test]
    fn a_class_gives_its_value_and_a_missing_one_is_refused() {
        let user = UserInfo::anonymous();
        let kind = kind("pods");
        let request = request(&kind, Operation::Create, "n", &user);
        let table =
            Table(vec![("scheduling.k8s.io/priorityclasses//high", json!({"metadata": {"name": "high"}, "value": 7}))]);
        let run = |mut pod: Object| mutate(&request, &mut pod, &table).map(|()| pod["spec"]["priority"].clone());
        assert_eq!(run(json!({"spec": {"priorityClassName": "high"}})).unwrap(), 7);
        assert_eq!(run(json!({"spec": {}})).unwrap(), 0);
        assert_eq!(run(json!({"spec": {"priorityClassName": "none"}})).unwrap_err().code, 403);
        assert_eq!(run(json!({"spec": {"priority": 5}})).unwrap_err().code, 403);
    }
}
