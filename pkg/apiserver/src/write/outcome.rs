// SPDX-License-Identifier: Apache-2.0
//! What a client is told of a write that the store did not take.

use knarr_store::{ProposeError, Record};
use knarr_types::{Key, Object, ResourceId, Status};

/// The answer to a write that was not committed, or of which nobody knows.
#[must_use]
pub fn propose_error(resource: &ResourceId, name: &str, error: &ProposeError) -> Status {
    match error {
        ProposeError::AlreadyExists(record) => taken(resource, record, false),
        ProposeError::NotFound(key) if *key.name == *name => Status::not_found(resource, name),
        // A namespace that must be there.
        ProposeError::NotFound(key) => Status::not_found(&key.resource, &key.name),
        ProposeError::Conflict(_) | ProposeError::Changed(..) => {
            Status::modified(&Key::new(resource.clone(), "", name))
        }
        ProposeError::TooManyRequests { retry_after } => {
            let seconds = u32::try_from(retry_after.as_secs()).unwrap_or(1).max(1);
            Status::too_many_requests("too many writes are waiting, please try again later", seconds)
        }
        ProposeError::Timeout | ProposeError::Unknown => Status::timeout(format!("Timeout: {error}"), 1),
        ProposeError::Unavailable { retry_after, .. } => {
            let seconds = u32::try_from(retry_after.as_secs()).unwrap_or(1).max(1);
            Status::service_unavailable(error.to_string(), seconds)
        }
        ProposeError::Closed => Status::service_unavailable("the server is shutting down", 1),
        other => Status::internal(other),
    }
}

/// The answer to a create whose name is taken; `generated` where the object has a prefix for names, whoever chose this
/// one.
#[must_use]
pub fn taken(resource: &ResourceId, there: &Record, generated: bool) -> Status {
    let mut status = Status::already_exists(resource, &there.key.name);
    if generated {
        status.message.push_str(", the server was not able to generate a unique name for the object");
        if let Some(details) = &mut status.details {
            details.retry_after_seconds = 1;
        }
    }
    // What waits for its finalizers still has its name.
    if is_being_deleted(&there.json) {
        status.message.insert_str(0, "object is being deleted: ");
    }
    status
}

fn is_being_deleted(json: &[u8]) -> bool {
    serde_json::from_slice::<Object>(json).is_ok_and(|object| !object["metadata"]["deletionTimestamp"].is_null())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn clients_are_told_whether_to_try_again() {
        let retry_after = Duration::from_secs(2);
        for (error, code, seconds) in [
            (ProposeError::TooManyRequests { retry_after }, 429, 2),
            (ProposeError::Unavailable { why: "the disk is full".into(), retry_after }, 503, 2),
            (ProposeError::Closed, 503, 1),
            // Nobody knows whether it was applied.
            (ProposeError::Unknown, 504, 1),
            (ProposeError::Timeout, 504, 1),
        ] {
            let status = propose_error(&ResourceId::new("", "pods"), "a", &error);
            let after = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
            assert_eq!((status.code, after), (code, seconds), "{error}");
        }
    }
}
