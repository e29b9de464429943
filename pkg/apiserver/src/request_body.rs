// SPDX-License-Identifier: Apache-2.0
//! Reading the bodies of requests within bounds of size, time and memory. What is small is just read; what is large
//! counts against a budget while it is there, and only few large ones are worked on at a time: a tree can take many times
//! the bytes that it is written in.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use knarr_types::Status;
use tokio::runtime::RuntimeFlavor;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::body::{MAX_REQUEST_BYTES, too_large};

/// A body beyond this is large.
const SMALL_BYTES: usize = 256 * 1024;
/// All large bodies that are there at a time.
const BUDGET_BYTES: usize = 128 * 1024 * 1024;
/// Large bodies that are worked on at a time, from their last byte to the answer.
const AT_WORK: usize = 8;

/// What large bodies share.
#[derive(Debug)]
pub struct RequestBodies {
    budget: Arc<Semaphore>,
    at_work: Arc<Semaphore>,
}

impl Default for RequestBodies {
    fn default() -> Self {
        Self { budget: Arc::new(Semaphore::new(BUDGET_BYTES)), at_work: Arc::new(Semaphore::new(AT_WORK)) }
    }
}

/// A large body, with its parts of what is shared; both go back when the last reader drops it.
struct Large {
    content: Bytes,
    _budget: OwnedSemaphorePermit,
    _turn: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Large {
    fn as_ref(&self) -> &[u8] {
        &self.content
    }
}

impl RequestBodies {
    /// Reads a body to its end. The result holds its part of what is shared until it is dropped.
    ///
    /// # Errors
    /// 413 where it is larger than [`MAX_REQUEST_BYTES`], 400 where it breaks off, 504 where it is not there by the
    /// deadline, 429 where too many large ones are there already.
    pub async fn read(&self, body: Body, deadline: Instant) -> Result<Bytes, Status> {
        let read = tokio::time::timeout_at(deadline.into(), self.read_whole(body));
        read.await.unwrap_or_else(|_| {
            Err(Status::timeout("Timeout: request did not complete within the allotted timeout", 0))
        })
    }

    async fn read_whole(&self, body: Body) -> Result<Bytes, Status> {
        let mut body = Limited::new(body, MAX_REQUEST_BYTES);
        let mut content = BytesMut::new();
        let mut budget = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
                Some(_) => too_large(),
                None => Status::bad_request(format!("the request's body broke off: {error}")),
            })?;
            let Ok(data) = frame.into_data() else { continue };
            if budget.is_none() && content.len() + data.len() > SMALL_BYTES {
                budget = Some(self.reserve()?);
            }
            content.extend_from_slice(&data);
        }
        let content = content.freeze();
        let Some(budget) = budget else { return Ok(content) };
        // The semaphore is never closed.
        let Ok(turn) = Arc::clone(&self.at_work).acquire_owned().await else { return Ok(content) };
        Ok(Bytes::from_owner(Large { content, _budget: budget, _turn: turn }))
    }

    /// The part of a body whose length is not known yet: that of the largest.
    fn reserve(&self) -> Result<OwnedSemaphorePermit, Status> {
        let bytes = u32::try_from(MAX_REQUEST_BYTES).unwrap_or(u32::MAX);
        Arc::clone(&self.budget)
            .try_acquire_many_owned(bytes)
            .map_err(|_| Status::too_many_requests("too many large requests, please try again later", 1))
    }
}

/// Does the work that a large body makes so that whatever else waits for this thread goes on elsewhere meanwhile.
pub fn aside<T>(body: &[u8], work: impl FnOnce() -> T) -> T {
    let has_others = |runtime: tokio::runtime::Handle| runtime.runtime_flavor() == RuntimeFlavor::MultiThread;
    if body.len() > SMALL_BYTES && tokio::runtime::Handle::try_current().is_ok_and(has_others) {
        tokio::task::block_in_place(work)
    } else {
        work()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[tokio::test]
    async fn bodies_are_bounded_in_size() {
        let bodies = RequestBodies::default();
        assert_eq!(bodies.read(Body::from("small"), soon()).await.unwrap(), "small");
        let refused = bodies.read(Body::from(vec![b'x'; MAX_REQUEST_BYTES + 1]), soon()).await.unwrap_err();
        assert_eq!(refused.code, 413);
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_given_up_at_the_deadline() {
        let bodies = RequestBodies::default();
        let endless = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        let refused = bodies.read(endless, Instant::now() + Duration::from_millis(5)).await.unwrap_err();
        assert_eq!(refused.code, 504);
    }

    #[tokio::test]
    async fn large_bodies_take_turns_and_give_them_back() {
        let bodies = RequestBodies::default();
        let large = || Body::from(vec![b'x'; SMALL_BYTES + 1]);
        let mut held = Vec::new();
        for _ in 0..AT_WORK {
            held.push(bodies.read(large(), soon()).await.unwrap());
        }
        let late = bodies.read(large(), Instant::now() + Duration::from_millis(5)).await.unwrap_err();
        assert_eq!(late.code, 504);
        assert_eq!(bodies.read(Body::from("small"), soon()).await.unwrap(), "small");
        drop(held.pop());
        held.push(bodies.read(large(), soon()).await.unwrap());
        held.clear();
        assert_eq!(bodies.budget.available_permits(), BUDGET_BYTES);
    }

    #[tokio::test]
    async fn more_large_bodies_than_there_is_memory_for_are_refused() {
        let bodies = RequestBodies::default();
        let all: Vec<_> = std::iter::from_fn(|| bodies.reserve().ok()).collect();
        assert_eq!(all.len(), BUDGET_BYTES / MAX_REQUEST_BYTES);
        let refused = bodies.read(Body::from(vec![b'x'; SMALL_BYTES + 1]), soon()).await.unwrap_err();
        assert_eq!((refused.code, refused.details.unwrap().retry_after_seconds), (429, 1));
    }
}
