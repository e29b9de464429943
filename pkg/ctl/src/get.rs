// SPDX-License-Identifier: Apache-2.0
//! `get`: tables made by the server, or objects as they are.

mod print;

use futures::AsyncBufReadExt as _;
use futures::StreamExt as _;
use futures::io::AsyncBufRead;
use serde_json::Value;

use self::print::{headings, items, print_answers, print_event, rows};
use crate::args::{GetArgs, Selection};
use crate::error::CtlError;
use crate::manifest;
use crate::output::{Columns, Format, print};
use crate::resources::{Named, Resource, named};
use crate::session::Session;
use crate::sort::sort;

pub(crate) use self::print::objects_as;

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// One request: a list of a type, or one object.
struct Ask<'a> {
    resource: &'a Resource,
    namespace: Option<String>,
    name: Option<String>,
}

impl Ask<'_> {
    fn path(&self) -> String {
        let api = &self.resource.api;
        let mut path =
            if api.group.is_empty() { format!("/api/{}", api.version) } else { format!("/apis/{}", api.api_version) };
        if let Some(namespace) = self.namespace.as_ref().filter(|_| self.resource.namespaced) {
            path.push_str(&format!("/namespaces/{namespace}"));
        }
        path.push_str(&format!("/{}", api.plural));
        path
    }

    /// The path with its query; a single object is a list by name when it is watched.
    fn uri(&self, args: &GetArgs, watch: Option<&str>, more: Option<&str>) -> String {
        let selection = &args.selection;
        let mut query: Vec<(&str, String)> = Vec::new();
        let mut path = self.path();
        let mut fields = selection.field_selector.clone();
        match (&self.name, watch) {
            (Some(name), None) => {
                path.push_str(&format!("/{name}"));
                args.subresource.iter().for_each(|part| path.push_str(&format!("/{part}")));
            }
            (Some(name), Some(_)) => fields = format!("metadata.name={name}"),
            (None, None) if args.chunk_size > 0 => query.push(("limit", args.chunk_size.to_string())),
            (None, _) => {}
        }
        query.extend(more.map(|token| ("continue", token.to_owned())));
        // What the rows are sorted by is in the objects.
        query.extend(args.sort_by.as_ref().map(|_| ("includeObject", "Object".to_owned())));
        if !selection.selector.is_empty() {
            query.push(("labelSelector", selection.selector.clone()));
        }
        if !fields.is_empty() {
            query.push(("fieldSelector", fields));
        }
        if let Some(revision) = watch {
            query.extend([("watch", "true".to_owned()), ("resourceVersion", revision.to_owned())]);
        }
        let query: Vec<_> = query.iter().map(|(k, v)| format!("{k}={}", escape(v))).collect();
        if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) }
    }
}

/// Percent-encodes a query's value.
fn escape(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Runs `get`.
pub(crate) async fn run(session: &Session, args: GetArgs) -> Result<u8, CtlError> {
    if let Some(path) = &args.raw {
        let request = http::Request::get(path).body(Vec::new()).map_err(|e| CtlError::usage(e.to_string()))?;
        print(&session.client.request_text(request).await?)?;
        return Ok(0);
    }
    args.selection.check()?;
    let watches = args.watch || args.watch_only;
    if args.output_watch_events && !watches {
        return Err(CtlError::usage("--output-watch-events option can only be used with --watch or --watch-only"));
    }
    let format = Format::with_template(&args.output, args.template.as_deref())?;
    let asks = asks(session, &args.selection).await?;
    if watches && asks.len() != 1 {
        return Err(CtlError::usage("you may only specify a single resource type"));
    }
    let (asks, mut answers, failures) = request_all(session, asks, &args, &format).await;
    if answers.is_empty() && !failures.is_empty() {
        return Ok(say(&failures));
    }
    if let Some(path) = &args.sort_by {
        sort_all(&mut answers, path, &format)?;
    }
    let mut columns = Columns::default();
    if !args.watch_only {
        print_answers(&format, &args, &asks, &answers, &mut columns)?;
    }
    if watches && let (Some(ask), Some(answer)) = (asks.first(), answers.first()) {
        watch(session, ask, answer, &args, &format, &mut columns).await?;
    }
    Ok(say(&failures))
}

/// Sorts the rows of a table, or the objects of all lists.
fn sort_all(answers: &mut Vec<Value>, path: &str, format: &Format) -> Result<(), CtlError> {
    if matches!(format, Format::Table { .. }) {
        return match answers.as_mut_slice() {
            [one] => match one["rows"].as_array_mut() {
                Some(rows) => sort(rows, path, |row| &row["object"]),
                None => Ok(()),
            },
            // Tables of several types are not one list.
            _ => sort(&mut [Value::Null], path, |nothing| nothing),
        };
    }
    if let [one] = answers.as_slice()
        && one["items"].is_null()
    {
        return Ok(());
    }
    let mut all: Vec<Value> = answers.iter().flat_map(items).collect();
    sort(&mut all, path, |object| object)?;
    *answers = vec![serde_json::json!({"apiVersion": "v1", "kind": "List", "items": all})];
    Ok(())
}

/// Asks for all; gives what was answered, with the questions of those answers, and what failed.
async fn request_all<'a>(
    session: &Session,
    asks: Vec<Ask<'a>>,
    args: &GetArgs,
    format: &Format,
) -> (Vec<Ask<'a>>, Vec<Value>, Vec<CtlError>) {
    let (mut answered, mut answers, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for ask in asks {
        match request(session, &ask, args, format).await {
            Ok(answer) => {
                answered.push(ask);
                answers.push(answer);
            }
            Err(error) if error.is_not_found() && args.ignore_not_found => {}
            Err(error) => failures.push(error),
        }
    }
    (answered, answers, failures)
}

/// Says what failed; gives the exit code.
pub(crate) fn say(failures: &[CtlError]) -> u8 {
    failures.iter().for_each(|error| eprintln!("{}", error.line()));
    u8::from(!failures.is_empty())
}

async fn asks<'a>(session: &'a Session, selection: &Selection) -> Result<Vec<Ask<'a>>, CtlError> {
    let resources = session.resources().await?;
    let everywhere = || (!selection.all_namespaces).then(|| session.namespace.clone());
    if !selection.files.is_empty() {
        let mut asks = Vec::new();
        for object in manifest::read(&selection.files, selection.recursive)? {
            let target = manifest::Target::of(session, object).await?;
            asks.push(Ask { resource: target.resource, namespace: target.namespace, name: Some(target.name) });
        }
        return Ok(asks);
    }
    Ok(match named(&selection.what)? {
        Named::Types(types) => {
            let found = resources.find_all(types)?;
            found.into_iter().map(|resource| Ask { resource, namespace: everywhere(), name: None }).collect()
        }
        Named::Objects(objects) => {
            if selection.all_namespaces {
                return Err(CtlError::usage("a resource cannot be retrieved by name across all namespaces"));
            }
            let ask = |(type_, name): (&str, &str)| -> Result<_, CtlError> {
                Ok(Ask { resource: resources.find(type_)?, namespace: everywhere(), name: Some(name.to_owned()) })
            };
            objects.into_iter().map(ask).collect::<Result<_, _>>()?
        }
    })
}

/// Asks for one; a long list comes in chunks that are put together.
async fn request(session: &Session, ask: &Ask<'_>, args: &GetArgs, format: &Format) -> Result<Value, CtlError> {
    let mut answer = session.client.request::<Value>(builder(ask, args, format, None, None)?).await?;
    while let Some(token) = more(&answer) {
        let next = builder(ask, args, format, None, Some(&token))?;
        let mut next = session.client.request::<Value>(next).await?;
        for part in ["rows", "items"] {
            if let (Some(all), Value::Array(more)) = (answer[part].as_array_mut(), next[part].take()) {
                all.extend(more);
            }
        }
        answer["metadata"] = next["metadata"].take();
    }
    Ok(answer)
}

/// What a list goes on with.
fn more(answer: &Value) -> Option<String> {
    let is_list = answer["rows"].is_array() || answer["items"].is_array();
    let token = answer["metadata"]["continue"].as_str().filter(|token| is_list && !token.is_empty())?;
    Some(token.to_owned())
}

fn builder(
    ask: &Ask<'_>,
    args: &GetArgs,
    format: &Format,
    watch: Option<&str>,
    more: Option<&str>,
) -> Result<http::Request<Vec<u8>>, CtlError> {
    let accept = if matches!(format, Format::Table { .. }) { TABLE } else { "application/json" };
    let request = http::Request::get(ask.uri(args, watch, more)).header(http::header::ACCEPT, accept);
    request.body(Vec::new()).map_err(|e| CtlError::usage(format!("this cannot be asked of a server: {e}")))
}

async fn watch(
    session: &Session,
    ask: &Ask<'_>,
    answer: &Value,
    args: &GetArgs,
    format: &Format,
    columns: &mut Columns,
) -> Result<(), CtlError> {
    let revision = answer["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    let request = builder(ask, args, format, Some(revision), None)?;
    let stream = session.client.request_stream(request).await?;
    let mut lines = Box::pin(lines(stream));
    // The first event of a watch of tables has the columns; later ones only rows.
    let mut definitions = answer["columnDefinitions"].clone();
    let mut headed = false;
    while let Some(line) = lines.next().await {
        let line = line.map_err(|e| CtlError::unreachable(&e))?;
        let event: Value = serde_json::from_str(&line).unwrap_or_default();
        let mut object = event["object"].clone();
        let what = event["type"].as_str().unwrap_or_default();
        match event["type"].as_str() {
            Some("ERROR") => {
                let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
                return Err(CtlError::Server { reason: text("reason"), message: text("message") });
            }
            Some("BOOKMARK") | None => continue,
            _ => {}
        }
        if let Format::Table { wide } = format {
            if object["columnDefinitions"].as_array().is_some_and(|d| !d.is_empty()) {
                definitions = object["columnDefinitions"].clone();
            }
            object["columnDefinitions"] = definitions.clone();
            let mut lines = Vec::new();
            if args.watch_only && !std::mem::replace(&mut headed, true) && !args.no_headers {
                lines.push(headings(&object, args, *wide));
            }
            lines.extend(rows(&object, args, *wide, args.show_kind.then_some(ask.resource), what));
            print(&columns.lines(&lines))?;
        } else if let Format::Columns(of) = format {
            print(&columns.lines(&[of.row(&object)?]))?;
        } else if *format == Format::Name {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            print(&format!("{}/{name}\n", ask.resource.qualified()))?;
        } else {
            print_event(format, args, what, object)?;
        }
    }
    Ok(())
}

fn lines(stream: impl AsyncBufRead) -> impl futures::Stream<Item = std::io::Result<String>> {
    futures::stream::unfold(Box::pin(stream), |mut stream| async move {
        let mut line = String::new();
        match stream.read_line(&mut line).await {
            Ok(0) => None,
            Ok(_) => Some((Ok(line), stream)),
            Err(error) => Some((Err(error), stream)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_escaped() {
        assert_eq!(escape("a in (b,c)"), "a%20in%20%28b%2Cc%29");
    }
}
