// SPDX-License-Identifier: Apache-2.0
//! What `get` prints: tables as the server made them, columns, objects.

use serde_json::Value;

use super::Ask;
use crate::args::GetArgs;
use crate::custom_columns::CustomColumns;
use crate::error::CtlError;
use crate::output::{Columns, Format, json, print};
use crate::resources::Resource;
use crate::yaml;

/// Prints all answers, those of one type as one table.
pub(super) fn print_answers(
    format: &Format,
    args: &GetArgs,
    asks: &[Ask<'_>],
    answers: &[Value],
    columns: &mut Columns,
) -> Result<(), CtlError> {
    match format {
        Format::Table { wide } => print_tables(args, asks, answers, *wide, columns),
        Format::Columns(of) => print_columns(of, args, answers, columns),
        _ if args.output_watch_events => {
            answers.iter().flat_map(items).try_for_each(|object| print_event(format, args, "ADDED", object))
        }
        _ => print_objects(format, args, asks, answers),
    }
}

fn print_tables(
    args: &GetArgs,
    asks: &[Ask<'_>],
    answers: &[Value],
    wide: bool,
    columns: &mut Columns,
) -> Result<(), CtlError> {
    let several = asks.iter().map(|a| &a.resource.api.plural).collect::<std::collections::BTreeSet<_>>().len() > 1;
    let mut printed = 0;
    let all: Vec<_> = asks.iter().zip(answers).collect();
    // Objects of one type that were asked for by name make one table.
    for same in all.chunk_by(|(one, _), (next, _)| one.resource.api.plural == next.resource.api.plural) {
        let prefixed = several || args.show_kind;
        let of =
            |(ask, answer): &(&Ask<'_>, &Value)| rows(answer, args, wide, prefixed.then_some(ask.resource), "ADDED");
        let rows: Vec<_> = same.iter().flat_map(of).collect();
        if rows.is_empty() {
            continue;
        }
        if printed > 0 {
            print("\n")?;
            *columns = Columns::default();
        }
        let mut lines = Vec::new();
        if !args.no_headers {
            lines.push(headings(same[0].1, args, wide));
        }
        lines.extend(rows);
        print(&columns.lines(&lines))?;
        printed += 1;
    }
    if printed == 0 && !args.watch && !args.ignore_not_found {
        let namespaced = asks.iter().any(|a| a.resource.namespaced && a.namespace.is_some());
        let place = asks.iter().find_map(|a| a.namespace.clone()).filter(|_| namespaced);
        eprintln!("No resources found{}", place.map_or(String::new(), |n| format!(" in {n} namespace.")));
    }
    Ok(())
}

fn print_columns(of: &CustomColumns, args: &GetArgs, answers: &[Value], columns: &mut Columns) -> Result<(), CtlError> {
    let mut lines = Vec::new();
    if !args.no_headers {
        lines.push(of.headings());
    }
    for object in answers.iter().flat_map(items) {
        lines.push(of.row(&object)?);
    }
    print(&columns.lines(&lines))
}

fn columns_of(table: &Value, wide: bool) -> impl Iterator<Item = (usize, &Value)> {
    let definitions = table["columnDefinitions"].as_array().map(Vec::as_slice).unwrap_or_default();
    definitions.iter().enumerate().filter(move |(_, c)| wide || c["priority"].as_i64().unwrap_or_default() == 0)
}

/// The first line of a table.
pub(super) fn headings(table: &Value, args: &GetArgs, wide: bool) -> Vec<String> {
    let mut line = Vec::new();
    if args.output_watch_events {
        line.push("EVENT".to_owned());
    }
    if args.selection.all_namespaces {
        line.push("NAMESPACE".to_owned());
    }
    line.extend(columns_of(table, wide).map(|(_, c)| c["name"].as_str().unwrap_or_default().to_uppercase()));
    line.extend(args.label_columns.iter().map(|label| label.rsplit('/').next().unwrap_or(label).to_uppercase()));
    if args.show_labels {
        line.push("LABELS".to_owned());
    }
    line
}

/// The rows of a table, of objects to which `event` has happened.
pub(super) fn rows(
    table: &Value,
    args: &GetArgs,
    wide: bool,
    prefix: Option<&Resource>,
    event: &str,
) -> Vec<Vec<String>> {
    let rows = table["rows"].as_array().map(Vec::as_slice).unwrap_or_default();
    rows.iter()
        .map(|row| {
            let meta = &row["object"]["metadata"];
            let mut line = Vec::new();
            if args.output_watch_events {
                line.push(event.to_owned());
            }
            if args.selection.all_namespaces {
                line.push(meta["namespace"].as_str().unwrap_or_default().to_owned());
            }
            let first = line.len();
            line.extend(columns_of(table, wide).map(|(i, _)| cell(&row["cells"][i])));
            if let (Some(resource), Some(name)) = (prefix, line.get_mut(first)) {
                *name = format!("{}/{name}", resource.qualified());
            }
            let label = |name: &String| meta["labels"][name].as_str().unwrap_or_default().to_owned();
            line.extend(args.label_columns.iter().map(label));
            if args.show_labels {
                line.push(labels(meta));
            }
            line
        })
        .collect()
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "<none>".into(),
        Value::String(text) => text.replace('\n', "\\n"),
        other => other.to_string(),
    }
}

fn labels(meta: &Value) -> String {
    let pairs: Vec<_> =
        meta["labels"].as_object().into_iter().flatten().map(|(k, v)| format!("{k}={}", cell(v))).collect();
    if pairs.is_empty() { "<none>".into() } else { pairs.join(",") }
}

fn print_objects(format: &Format, args: &GetArgs, asks: &[Ask<'_>], answers: &[Value]) -> Result<(), CtlError> {
    if *format == Format::Name {
        // Sorted ones are one list of all types.
        let resource = |i: usize| &asks[i.min(asks.len() - 1)].resource;
        for (i, answer) in answers.iter().enumerate() {
            for object in items(answer) {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                let its = asks.iter().find(|ask| object["kind"] == *ask.resource.api.kind);
                print(&format!("{}/{name}\n", its.map_or(resource(i), |ask| &ask.resource).qualified()))?;
            }
        }
        return Ok(());
    }
    let single = asks.len() == 1 && asks[0].name.is_some();
    let document = match answers {
        [one] if single => one.clone(),
        several => list(several.iter().flat_map(items).collect()),
    };
    print(&formatted(format, args, document)?)
}

/// Objects in a format of objects: one by itself, several as a list.
pub(crate) fn objects_as(format: &Format, mut objects: Vec<Value>) -> Result<String, CtlError> {
    let document = if objects.len() == 1 { objects.swap_remove(0) } else { list(objects) };
    formatted(format, &GetArgs::default(), document)
}

fn list(items: Vec<Value>) -> Value {
    serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items, "metadata": {"resourceVersion": ""}})
}

/// The objects of a list, each saying what it is; or the one object.
pub(super) fn items(answer: &Value) -> Vec<Value> {
    let Some(items) = answer["items"].as_array() else { return vec![answer.clone()] };
    let kind = answer["kind"].as_str().unwrap_or_default().trim_end_matches("List");
    let with_kind = |item: &Value| {
        let mut item = item.clone();
        if kind.is_empty() {
            return item;
        }
        item["apiVersion"] = answer["apiVersion"].clone();
        item["kind"] = kind.into();
        item
    };
    items.iter().map(with_kind).collect()
}

fn formatted(format: &Format, args: &GetArgs, mut document: Value) -> Result<String, CtlError> {
    match format {
        Format::JsonPath(template) => return template.render(&document),
        Format::JsonPathAsJson(template) => return Ok(json(&serde_json::json!(template.find(&document)?))),
        Format::GoTemplate(template) => return template.render(&document),
        _ if args.show_managed_fields => {}
        _ => strip_managed_fields(&mut document),
    }
    Ok(if *format == Format::Yaml { yaml::document(&document) } else { json(&document) })
}

/// As kubectl does unless asked: nobody reads them.
fn strip_managed_fields(document: &mut Value) {
    let strip = |object: &mut Value| {
        if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            meta.remove("managedFields");
        }
    };
    strip(document);
    document.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten().for_each(strip);
}

/// An object, with what happened to it where that is asked for.
pub(super) fn print_event(format: &Format, args: &GetArgs, what: &str, object: Value) -> Result<(), CtlError> {
    if !args.output_watch_events {
        return print(&formatted(format, args, object)?);
    }
    let mut event = serde_json::json!({"type": what, "object": object});
    if !args.show_managed_fields {
        strip_managed_fields(&mut event["object"]);
    }
    print(&formatted(format, args, event)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn wide_columns_show_only_when_asked() {
        let table = json!({
            "columnDefinitions": [{"name": "Name", "priority": 0}, {"name": "IP", "priority": 1}],
            "rows": [{"cells": ["a", null], "object": {"metadata": {"namespace": "n", "labels": {"x": "y"}}}}],
        });
        let mut args = GetArgs::default();
        assert_eq!(headings(&table, &args, false), ["NAME"]);
        assert_eq!(rows(&table, &args, true, None, ""), [["a", "<none>"]]);
        args.selection.all_namespaces = true;
        args.show_labels = true;
        assert_eq!(headings(&table, &args, true), ["NAMESPACE", "NAME", "IP", "LABELS"]);
        assert_eq!(rows(&table, &args, false, None, ""), [["n", "a", "x=y"]]);
        args.label_columns = vec!["x".to_owned(), "example.com/none".to_owned()];
        args.output_watch_events = true;
        assert_eq!(headings(&table, &args, false), ["EVENT", "NAMESPACE", "NAME", "X", "NONE", "LABELS"]);
        assert_eq!(rows(&table, &args, false, None, "ADDED"), [["ADDED", "n", "a", "y", "", "x=y"]]);
    }
}
