// SPDX-License-Identifier: Apache-2.0
//! Webhooks: others are asked whether a request may go on, and what its object should be.
//! <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>
//!
//! They are asked outside of the store's commit, each with a time of its own: one that hangs holds up the
//! requests it is about and no others.

mod answer;
mod client;
mod conditions;
mod endpoint;
mod hook;
mod matching;
mod review;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Uri;
use knarr_schema::Kind;
use knarr_schema::patch::json_patch;
use knarr_types::tree::Value;
use knarr_types::{Object, Status};

use crate::versions::{View, taken};
use crate::{Lookup, Operation, Request};
use client::{Client, Target};
use conditions::Compiled;
use hook::Hook;
use review::Answer;

pub use endpoint::Endpoint;

/// The most that the answer to an admission review may hold, in bytes.
const ANSWER_MAX: usize = 3 << 20;

/// The group of webhooks and policies.
pub(crate) const GROUP: &str = "admissionregistration.k8s.io";

/// What webhooks are told and asked through, beyond the request itself.
pub struct Context<'a> {
    /// `CreateOptions`, `UpdateOptions`, `PatchOptions` or `DeleteOptions`.
    pub options: &'a Value,
    /// The other objects.
    pub lookup: &'a dyn Lookup,
    /// A fresh id for each question.
    pub uid: fn() -> String,
    /// Is told of each webhook that was asked.
    pub observe: &'a (dyn Fn(&Asked<'_>) + Send + Sync),
}

/// A webhook that was asked, for those who count.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Which.
    pub name: &'a str,
    /// About what.
    pub operation: Operation,
    /// It may change the object.
    pub mutating: bool,
    /// How long it took.
    pub elapsed: Duration,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of asking a webhook.
#[derive(Clone, Copy, Debug)]
pub enum Outcome {
    /// The request may go on.
    Allowed,
    /// It refused with this code.
    Refused(u16),
    /// It could not be asked, or did not make sense.
    Failed {
        /// The request goes on all the same.
        open: bool,
    },
}

/// Asks webhooks.
#[derive(Debug, Default)]
pub struct Webhooks {
    client: Arc<Client>,
    compiled: Compiled,
}

/// A webhook, and the version it wants to see.
type Chosen = (Hook, Arc<Kind>);

/// What came of asking all mutating webhooks once.
#[derive(Debug, Default)]
pub struct Round {
    /// The object is another one now.
    pub changed: bool,
    /// The hooks that want to be asked again, each with what it left behind.
    left: Vec<(Chosen, Object)>,
}

impl Webhooks {
    /// Lets mutating webhooks change the object, one after the other. Where they did, plugins and policies have
    /// their turn again, and then [`Webhooks::repeat`].
    ///
    /// # Errors
    /// A webhook's refusal, or 500 where one that must be asked cannot be.
    pub async fn mutate(
        &self,
        context: &Context<'_>,
        request: &Request<'_>,
        object: &mut Object,
        warnings: &mut Vec<String>,
    ) -> Result<Round, Status> {
        let hooks = configured(context, request, "mutatingwebhookconfigurations");
        if hooks.is_empty() {
            return Ok(Round::default());
        }
        let before = object.clone();
        let mut left = Vec::new();
        for hook in hooks {
            // Selectors look at the object as the hooks before made it.
            let Some(kind) = matching::matched(&hook, request, Some(object), context.lookup)? else {
                continue;
            };
            let chosen = (hook, kind);
            self.change(context, request, &chosen, object, warnings).await?;
            if chosen.0.again {
                left.push((chosen, object.clone()));
            }
        }
        Ok(Round { changed: *object != before, left })
    }

    /// Asks mutating webhooks about an object that is deleted, which they may refuse and nothing else.
    ///
    /// # Errors
    /// As [`Webhooks::mutate`].
    pub async fn mutate_deleted(
        &self,
        context: &Context<'_>,
        request: &Request<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<(), Status> {
        for hook in configured(context, request, "mutatingwebhookconfigurations") {
            let Some(kind) = matching::matched(&hook, request, None, context.lookup)? else { continue };
            let view = View::of(request, &kind, None, context.lookup).await.map_err(Status::internal)?;
            let Some(answer) = self.ask(context, request, &hook, &view, true).await? else { continue };
            warnings.extend(answer.warnings);
            if let Some(status) = answer.refusal {
                return Err(review::refused(&hook, &status));
            }
            let operations = answer.patch.map_or_else(|| Ok(Vec::new()), |patch| patch.operations());
            match operations {
                Err(why) => failing(&hook, &why)?,
                Ok(operations) if operations.is_empty() => {}
                Ok(_) => {
                    let (name, why) = (&hook.name, "which is not supported for this operation");
                    return Err(Status::internal(format!(
                        "admission webhook {name:?} attempted to modify the object, {why}"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Asks those webhooks again that want it, where others changed the object after them.
    ///
    /// # Errors
    /// As [`Webhooks::mutate`].
    pub async fn repeat(
        &self,
        context: &Context<'_>,
        request: &Request<'_>,
        object: &mut Object,
        warnings: &mut Vec<String>,
        round: Round,
    ) -> Result<(), Status> {
        for (chosen, seen) in round.left {
            if *object != seen {
                self.change(context, request, &chosen, object, warnings).await?;
            }
        }
        Ok(())
    }

    /// Asks one mutating webhook and does what it says.
    async fn change(
        &self,
        context: &Context<'_>,
        request: &Request<'_>,
        (hook, kind): &Chosen,
        object: &mut Object,
        warnings: &mut Vec<String>,
    ) -> Result<(), Status> {
        let view = View::of(request, kind, Some(object), context.lookup).await.map_err(Status::internal)?;
        let Some(answer) = self.ask(context, request, hook, &view, true).await? else { return Ok(()) };
        warnings.extend(answer.warnings);
        if let Some(status) = answer.refusal {
            return Err(review::refused(hook, &status));
        }
        let Some(patch) = answer.patch else { return Ok(()) };
        let operations = match patch.operations() {
            Ok(operations) if operations.is_empty() => return Ok(()),
            Ok(operations) => operations,
            Err(why) => return failing(hook, &why),
        };
        if let Err(why) = patch.is_known() {
            return failing(hook, &why);
        }
        // What such a patch does wrong is nobody's choice to pass over.
        let patched =
            json_patch(view.object.unwrap_or_default(), &Value::Array(operations)).map_err(Status::internal)?;
        let form = request.body.unwrap_or(kind);
        let patched = context.lookup.decode(form, &patched).map_err(|status| unread(form, &status))?;
        *object = taken(request, kind, patched, context.lookup).await?;
        Ok(())
    }

    /// Asks validating webhooks, all at once.
    ///
    /// # Errors
    /// The first refusal in the order of the configurations, or 500 where one that must be asked cannot be.
    pub async fn validate(
        &self,
        context: &Context<'_>,
        request: &Request<'_>,
        object: Option<&Object>,
        warnings: &mut Vec<String>,
    ) -> Result<(), Status> {
        let mut chosen = Vec::new();
        for hook in configured(context, request, "validatingwebhookconfigurations") {
            if let Some(kind) = matching::matched(&hook, request, object, context.lookup)? {
                chosen.push((hook, kind));
            }
        }
        let views = View::all(request, chosen.iter().map(|(_, kind)| kind), object, context.lookup).await;
        let mut asked = Vec::new();
        for (hook, kind) in &chosen {
            let view = views.iter().find(|(of, _)| Arc::ptr_eq(of, kind)).map(|(_, view)| view.as_ref());
            let view = view.ok_or_else(|| Status::internal("a version was not looked at"))?;
            asked.push(self.ask(context, request, hook, view.map_err(Status::internal)?, false));
        }
        let answers = futures::future::join_all(asked).await;
        for ((hook, _), answer) in chosen.iter().zip(answers) {
            let Some(answer) = answer? else { continue };
            warnings.extend(answer.warnings);
            if let Some(status) = answer.refusal {
                return Err(review::refused(hook, &status));
            }
        }
        Ok(())
    }

    /// Asks one webhook; `None` where it could not be asked and need not be.
    async fn ask(
        &self,
        context: &Context<'_>,
        request: &Request<'_>,
        hook: &Hook,
        view: &View,
        mutating: bool,
    ) -> Result<Option<Answer>, Status> {
        let uid = (context.uid)();
        let review = review::review(hook, request, view, context.options, &uid);
        let conditional = !hook.conditions.is_empty();
        if conditional && !self.compiled.hold(hook, request, view, &review["request"], context.lookup)? {
            return Ok(None);
        }
        if request.dry_run && !hook.dry_run {
            return Err(Status::bad_request(format!("admission webhook {:?} does not support dry run", hook.name)));
        }
        let body = review.to_string();
        let left = request.deadline.saturating_duration_since(Instant::now());
        let started = Instant::now();
        let answer = self.send(context.lookup, hook, body.into(), hook.timeout.min(left)).await;
        let answer = answer.and_then(|answer| review::read(hook, &answer, &uid, mutating));
        let outcome = match &answer {
            Ok(Answer { refusal: Some(status), .. }) => Outcome::Refused(review::refused(hook, status).code),
            Ok(_) => Outcome::Allowed,
            Err(_) => Outcome::Failed { open: !hook.fails },
        };
        let (name, operation, elapsed) = (hook.name.as_str(), request.operation, started.elapsed());
        (context.observe)(&Asked { name, operation, mutating, elapsed, outcome });
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(why) if !hook.fails => {
                tracing::warn!(webhook = hook.name, %why, "a webhook could not be asked and is passed over");
                Ok(None)
            }
            Err(why) => Err(failed(hook, &why)),
        }
    }

    async fn send(&self, lookup: &dyn Lookup, hook: &Hook, body: Bytes, limit: Duration) -> Result<Bytes, String> {
        let question = self.question(lookup, &hook.endpoint, hook.timeout);
        let asked = async { question?.ask(body, limit, ANSWER_MAX).await };
        asked.await.map_err(|why| format!("failed to call webhook: {why}"))
    }

    /// Gets ready to ask whoever is at an endpoint; `said` is the time that they are told they have.
    ///
    /// # Errors
    /// Where nobody is there, as Go's client tells it.
    pub fn question(&self, lookup: &dyn Lookup, endpoint: &Endpoint, said: Duration) -> Result<Question, String> {
        let url = endpoint.url(said);
        let told = |why: String| format!("Post {url:?}: {why}");
        let uri: Uri = url.parse().map_err(|_| told("invalid URL".into()))?;
        let target = endpoint.target(lookup, &uri).map_err(told)?;
        Ok(Question { client: Arc::clone(&self.client), target, uri, url })
    }
}

/// A question to a webhook of any sort, before it is asked.
#[derive(Debug)]
pub struct Question {
    client: Arc<Client>,
    target: Target,
    uri: Uri,
    url: String,
}

impl Question {
    /// Posts a review and gives the answer's body, which may have `most` bytes.
    ///
    /// # Errors
    /// What went wrong, as Go's client tells it.
    pub async fn ask(&self, body: Bytes, limit: Duration, most: usize) -> Result<Bytes, String> {
        let answer = self.client.post(&self.target, &self.uri, body, limit, most).await;
        answer.map_err(|why| format!("Post {:?}: {why}", self.url))?
    }
}

/// The webhooks that there are for a request.
fn configured(context: &Context<'_>, request: &Request<'_>, resource: &str) -> Vec<Hook> {
    if matching::is_exempt(request.kind) {
        return Vec::new();
    }
    hook::read_all(context.lookup.list(GROUP, resource, None))
}

/// A webhook that must be asked did not make sense; one that need not be is passed over.
fn failing(hook: &Hook, why: &str) -> Result<(), Status> {
    if hook.fails { Err(failed(hook, why)) } else { Ok(()) }
}

/// What a webhook made of an object and no object can be read from.
fn unread(form: &Kind, status: &Status) -> Status {
    let said = format!("cannot be handled as a {}: ", form.kind);
    let why = status.message.split_once(&said).map_or(status.message.as_str(), |(_, why)| why);
    Status::internal(why)
}

/// A webhook that must be asked could not be.
fn failed(hook: &Hook, why: &str) -> Status {
    Status::internal(format!("failed calling webhook {:?}: {why}", hook.name))
}
