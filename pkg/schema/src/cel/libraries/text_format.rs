// SPDX-License-Identifier: Apache-2.0
//! Formats of texts by name: `format.dns1123Label().validate(self.name)`.

use super::{Opaque, url};
use crate::cel::functions::{Function, Outcome, none};
use crate::cel::value::Value;
use crate::crd::fits_format;
use crate::rules::names;

/// A format: its name, and what is wrong with a text.
#[derive(Debug)]
pub struct Format {
    name: &'static str,
    /// The characters of the expression that upstream takes it for when it counts costs.
    pattern: u64,
    faults: fn(&str) -> Vec<String>,
}

impl Format {
    /// The characters of the regular expression behind it.
    pub(in crate::cel) const fn pattern_size(&self) -> u64 {
        self.pattern
    }
}

const fn format(name: &'static str, pattern: u64, faults: fn(&str) -> Vec<String>) -> Format {
    Format { name, pattern, faults }
}

static FORMATS: [Format; 13] = [
    format("dns1123Label", 30, |text| names::dns_label_name(text, false)),
    format("dns1123Subdomain", 60, |text| names::dns_subdomain_name(text, false)),
    format("dns1035Label", 30, names::dns1035_label),
    format("qualifiedName", 60, names::qualified_name),
    format("dns1123LabelPrefix", 30, |text| names::dns_label_name(text, true)),
    format("dns1123SubdomainPrefix", 60, |text| names::dns_subdomain_name(text, true)),
    format("dns1035LabelPrefix", 30, |text| names::dns1035_label(text.trim_end_matches('-'))),
    format("labelValue", 40, names::label_value),
    format("uri", 1103, |text| url::parse(text).err().into_iter().collect()),
    format("uuid", 70, |text| unless(fits_format(text, "uuid"), "does not match the UUID format")),
    format("byte", 84, |text| unless(fits_format(text, "byte"), "invalid base64")),
    format("date", 71, |text| unless(fits_format(text, "date"), "invalid date")),
    format("datetime", 71, |text| unless(fits_format(text, "datetime"), "invalid datetime")),
];

fn unless(good: bool, fault: &str) -> Vec<String> {
    if good { Vec::new() } else { vec![fault.to_owned()] }
}

pub(super) fn find(name: &str) -> Option<Function> {
    Some(match name {
        "format.named" => |args| match args {
            [Value::String(name)] => Ok(named(name).map_or(Value::Optional(None), Value::some)),
            _ => none(),
        },
        "validate" => |args| match args {
            [Value::Opaque(of), Value::String(text)] => match of.as_ref() {
                Opaque::Format(format) => Ok(faults((format.faults)(text))),
                _ => none(),
            },
            _ => none(),
        },
        "format.dns1123Label" => |_| constant("dns1123Label"),
        "format.dns1123Subdomain" => |_| constant("dns1123Subdomain"),
        "format.dns1035Label" => |_| constant("dns1035Label"),
        "format.qualifiedName" => |_| constant("qualifiedName"),
        "format.dns1123LabelPrefix" => |_| constant("dns1123LabelPrefix"),
        "format.dns1123SubdomainPrefix" => |_| constant("dns1123SubdomainPrefix"),
        "format.dns1035LabelPrefix" => |_| constant("dns1035LabelPrefix"),
        "format.labelValue" => |_| constant("labelValue"),
        "format.uri" => |_| constant("uri"),
        "format.uuid" => |_| constant("uuid"),
        "format.byte" => |_| constant("byte"),
        "format.date" => |_| constant("date"),
        "format.datetime" => |_| constant("datetime"),
        _ => return None,
    })
}

fn named<'a>(name: &str) -> Option<Value<'a>> {
    FORMATS.iter().find(|format| format.name == name).map(|format| Value::opaque(Opaque::Format(format)))
}

fn constant<'a>(name: &str) -> Outcome<'a> {
    named(name).map_or_else(none, Ok)
}

/// Nothing where nothing is wrong.
fn faults<'a>(faults: Vec<String>) -> Value<'a> {
    match faults.is_empty() {
        true => Value::Optional(None),
        false => Value::some(Value::list(faults.into_iter().map(Value::text).collect())),
    }
}
