// SPDX-License-Identifier: Apache-2.0
//! JSON patch, RFC 6902, as lenient as upstream's library: `replace` makes a missing member, a missing
//! value is `null`, indices may count from the end, the first slash of a path may be any text.

use knarr_types::Object;
use knarr_types::tree::{Map, Value};

use super::PatchError;
use super::go_text::json_kind;

/// How many operations a JSON patch may have.
pub const MAX_OPERATIONS: usize = 10_000;
/// How many bytes all `copy` operations of a patch may copy together.
const MAX_COPIED_BYTES: usize = 3 << 20;
const MISSING: &str = "missing value";

/// Says what keeps a JSON value from being a list of operations, and which members they have that none may have.
///
/// # Errors
/// In the words of the strict decoder that upstream runs first.
pub fn check_json_patch(patch: &Value) -> Result<Vec<String>, PatchError> {
    const MEMBERS: [&str; 4] = ["op", "path", "from", "value"];
    let mut unknown = Vec::new();
    for (index, operation) in operations(patch, "[]handlers.jsonPatchOp")?.iter().enumerate() {
        let members = match operation {
            Value::Object(members) => members,
            Value::Null => continue,
            other => return Err(wrong_type(other, "value of type handlers.jsonPatchOp")),
        };
        for name in ["op", "from", "path"] {
            if let Some(other) = members.get(name).filter(|v| !v.is_string() && !v.is_null()) {
                return Err(wrong_type(other, &format!("struct field jsonPatchOp.{name} of type string")));
            }
        }
        let others = members.keys().filter(|name| !MEMBERS.contains(&name.as_str()));
        unknown.extend(others.map(|name| format!("unknown field \"[{index}].{name}\"")));
    }
    Ok(unknown)
}

fn operations<'p>(patch: &'p Value, go_type: &str) -> Result<&'p [Value], PatchError> {
    match patch {
        Value::Array(operations) => Ok(operations),
        Value::Null => Ok(&[]),
        other => Err(wrong_type(other, &format!("value of type {go_type}"))),
    }
}

fn wrong_type(value: &Value, of: &str) -> PatchError {
    PatchError::WrongType(format!("json: cannot unmarshal {} into Go {of}", json_kind(value)))
}

/// Applies the operations in order, all or none.
///
/// # Errors
/// Where it is no list of operations, has too many, or one of them does not apply.
pub fn json_patch(object: Object, patch: &Value) -> Result<Object, PatchError> {
    let unreadable = |error: PatchError| match error {
        PatchError::WrongType(why) => PatchError::Malformed(why),
        other => other,
    };
    let operations = operations(patch, "jsonpatch.Patch").map_err(unreadable)?;
    if let Some(other) = operations.iter().find(|operation| !operation.is_object() && !operation.is_null()) {
        return Err(unreadable(wrong_type(other, "value of type jsonpatch.Operation")));
    }
    if operations.len() > MAX_OPERATIONS {
        return Err(PatchError::TooManyOperations(operations.len()));
    }
    let mut run = Run { object, copied_bytes: 0 };
    for operation in operations {
        let nothing = Map::new();
        run.operation(operation.as_object().unwrap_or(&nothing)).map_err(PatchError::NotApplicable)?;
    }
    Ok(run.object)
}

struct Run {
    object: Value,
    copied_bytes: usize,
}

impl Run {
    fn operation(&mut self, operation: &Map) -> Result<(), String> {
        let text = |name: &str| operation.get(name).and_then(Value::as_str);
        let kind = text("op").unwrap_or("unknown");
        if !["add", "remove", "replace", "move", "copy", "test"].contains(&kind) {
            return Err(format!("Unexpected kind: {kind}"));
        }
        let unread = |member: &str, why: &str| format!("{kind} operation failed to decode {member}: {why}{MISSING}");
        let from = || text("from").ok_or_else(|| unread("from", "operation, missing from field: "));
        if matches!(kind, "move" | "copy") {
            from()?;
        }
        let without_path =
            if matches!(kind, "add" | "remove" | "copy") { "" } else { "operation missing path field: " };
        let path = text("path").ok_or_else(|| unread("path", without_path))?;
        let value = || operation.get("value").cloned().unwrap_or_default();
        let absent =
            |what: &str, path: &str| format!("{kind} operation does not apply: {what}missing path: {path}: {MISSING}");
        let quoted = absent("doc is ", &format!("\"{path}\""));
        let failed = |why: String| format!("error in {kind} for path: '{path}': {why}");
        match kind {
            "add" => self.parent(path, quoted)?.add(value()).map_err(failed),
            "remove" => self.parent(path, quoted)?.remove().map(drop).map_err(failed),
            "replace" if path.is_empty() => {
                let value = value();
                if !value.is_object() && !value.is_array() {
                    return Err("replace operation value must be object or array".to_owned());
                }
                self.object = value;
                Ok(())
            }
            "replace" => {
                let no_key = |_| format!("replace operation does not apply: doc is missing key: {path}: {MISSING}");
                self.parent(path, absent("doc is ", path))?.set(value()).map_err(no_key)
            }
            "move" => {
                let mut moved = self.end(from()?, kind, "from")?.remove().map_err(failed)?;
                moved.open();
                self.end(path, kind, "destination")?.add(moved).map_err(failed)
            }
            "copy" => {
                let from = from()?;
                let copied = self.end(from, kind, "from")?.get();
                let copied = copied.map_err(|why| format!("error in copy for from: '{from}': {why}"))?;
                let mut copy = copied.cloned().unwrap_or_default();
                copy.open();
                self.copied_bytes = self.copied_bytes.saturating_add(copy.to_string().len());
                if self.copied_bytes > MAX_COPIED_BYTES {
                    return Err(format!("the copies of a patch may have {MAX_COPIED_BYTES} bytes"));
                }
                let added = self.end(path, kind, "destination")?.add(copy);
                added.map_err(|why| format!("error while adding value during copy: {why}"))
            }
            _ if path.is_empty() => same(Some(&self.object), &value(), path),
            _ => {
                let wanted = value();
                same(self.parent(path, absent("is ", path))?.get().map_err(failed)?, &wanted, path)
            }
        }
    }

    /// One end of what is moved or copied.
    fn end(&mut self, path: &str, kind: &str, end: &str) -> Result<Place<'_>, String> {
        self.parent(path, format!("{kind} operation does not apply: doc is missing {end} path: {path}: {MISSING}"))
    }

    /// The object or list that the last step of a path is in; else what `absent` says.
    fn parent(&mut self, path: &str, absent: String) -> Result<Place<'_>, String> {
        let missing = || absent.clone();
        let mut steps = path.split_once('/').ok_or_else(missing)?.1.split('/');
        let last = steps.next_back().ok_or_else(missing)?;
        let mut at = &mut self.object;
        for step in steps {
            let step = unescape(step);
            at = match at {
                Value::Object(members) => members.get_mut(&step),
                Value::Array(items) => index(&step, items.len()).ok().and_then(|index| items.get_mut(index)),
                _ => None,
            }
            .ok_or_else(missing)?;
        }
        let name = unescape(last);
        match at {
            Value::Object(members) => Ok(Place::Member(members, name)),
            Value::Array(items) => Ok(Place::Item(items, name)),
            _ => Err(missing()),
        }
    }
}

/// A place in the tree that is there or may come to be.
enum Place<'v> {
    Member(&'v mut Map, String),
    Item(&'v mut Vec<Value>, String),
}

impl<'v> Place<'v> {
    /// What is there; members may be missing, elements may not.
    fn get(self) -> Result<Option<&'v Value>, String> {
        match self {
            Self::Member(members, name) => Ok(members.get(&name)),
            Self::Item(items, step) => {
                let at = index(&step, items.len())?;
                items.get(at).map(Some).ok_or_else(|| out_of_bounds(&step))
            }
        }
    }

    fn add(self, value: Value) -> Result<(), String> {
        match self {
            Self::Member(members, name) => {
                members.insert(name, value);
            }
            Self::Item(items, step) if step == "-" => items.push(value),
            Self::Item(items, step) => {
                let at = index(&step, items.len() + 1)?;
                if at > items.len() {
                    return Err(out_of_bounds(&step));
                }
                items.insert(at, value);
            }
        }
        Ok(())
    }

    fn set(self, value: Value) -> Result<(), String> {
        match self {
            Self::Member(members, name) => {
                members.insert(name, value);
            }
            Self::Item(items, step) => {
                let at = index(&step, items.len())?;
                *items.get_mut(at).ok_or_else(|| out_of_bounds(&step))? = value;
            }
        }
        Ok(())
    }

    fn remove(self) -> Result<Value, String> {
        match self {
            Self::Member(members, name) => {
                members.remove(&name).ok_or_else(|| format!("Unable to remove nonexistent key: {name}: {MISSING}"))
            }
            Self::Item(items, step) => {
                let at = index(&step, items.len())?;
                if at < items.len() { Ok(items.remove(at)) } else { Err(out_of_bounds(&step)) }
            }
        }
    }
}

fn same(found: Option<&Value>, wanted: &Value, path: &str) -> Result<(), String> {
    let equal = found.map_or(wanted.is_null(), |found| found == wanted);
    if equal { Ok(()) } else { Err(format!("testing value {path} failed: test failed")) }
}

/// An index in a list of that length; negative ones count from the end.
fn index(step: &str, length: usize) -> Result<usize, String> {
    let index: i64 = step.parse().map_err(|_| format!("strconv.Atoi: parsing {step:?}: invalid syntax"))?;
    let from_end = || length.checked_sub(usize::try_from(index.unsigned_abs()).ok()?);
    usize::try_from(index).ok().or_else(from_end).ok_or_else(|| out_of_bounds(step))
}

fn out_of_bounds(step: &str) -> String {
    format!("Unable to access invalid index: {step}: invalid index referenced")
}

fn unescape(step: &str) -> String {
    if step.contains('~') { step.replace("~1", "/").replace("~0", "~") } else { step.to_owned() }
}
