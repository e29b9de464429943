// SPDX-License-Identifier: Apache-2.0
//! Priority: a pod's class becomes its number; one class is that of pods that name none, and those of the system stay.

use std::sync::Arc;

use knarr_types::tree::Value;
use knarr_types::{Object, Status};

use crate::{Lookup, Operation, Request};

const GROUP: &str = "scheduling.k8s.io";

pub(crate) fn mutate(request: &Request<'_>, pod: &mut Object, lookup: &dyn Lookup) -> Result<(), Status> {
    let refuse = |why: String| Err(request.refusal(&why));
    let name = pod["spec"]["priorityClassName"].as_str().unwrap_or_default().to_owned();
    let class = if name.is_empty() {
        default_class(lookup)
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

/// The class of pods that name none; of several the lowest.
fn default_class(lookup: &dyn Lookup) -> Option<Arc<Object>> {
    let all = lookup.list(GROUP, "priorityclasses", None);
    all.into_iter().filter(|class| class["globalDefault"] == true).min_by_key(|class| class["value"].as_i64())
}

/// Refuses a second default class, and to delete a class of the system.
pub(crate) fn validate(request: &Request<'_>, object: Option<&Object>, lookup: &dyn Lookup) -> Result<(), Status> {
    const OF_SYSTEM: [&str; 2] = ["system-node-critical", "system-cluster-critical"];
    if !request.is(GROUP, "PriorityClass") {
        return Ok(());
    }
    let refuse = |why: &str| Err(request.refusal(why));
    let Some(class) = object else {
        let stays = request.operation == Operation::Delete && OF_SYSTEM.contains(&request.name);
        return if stays { refuse("this is a system priority class and cannot be deleted") } else { Ok(()) };
    };
    let default = if class["globalDefault"] == true { default_class(lookup) } else { None };
    let Some(default) = default else { return Ok(()) };
    let name = default["metadata"]["name"].as_str().unwrap_or_default();
    if request.operation == Operation::Update && class["metadata"]["name"] == name {
        return Ok(());
    }
    refuse(&format!("PriorityClass {name} is already marked as default. Only one default can exist"))
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
    use knarr_types::tree::json;

    use super::*;
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

    #[test]
    fn one_class_is_the_default_and_those_of_the_system_stay() {
        let user = UserInfo::anonymous();
        let kind = Arc::clone(knarr_schema::Registry::builtin().by_resource(GROUP, "v1", "priorityclasses").unwrap());
        let class = |name: &str| json!({"metadata": {"name": name}, "globalDefault": true, "value": 1});
        let table = Table(vec![("scheduling.k8s.io/priorityclasses//a", class("a"))]);
        let create = request(&kind, Operation::Create, "", &user);
        let told = validate(&create, Some(&class("b")), &table).unwrap_err();
        assert!(told.message.ends_with("PriorityClass a is already marked as default. Only one default can exist"));
        let update = request(&kind, Operation::Update, "", &user);
        assert!(validate(&update, Some(&class("a")), &table).is_ok());
        let mut delete = request(&kind, Operation::Delete, "", &user);
        assert!(validate(&delete, None, &table).is_ok());
        delete.name = "system-node-critical";
        assert_eq!(validate(&delete, None, &table).unwrap_err().code, 403);
    }
}
