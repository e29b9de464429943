// SPDX-License-Identifier: Apache-2.0
//! Formats of texts by name: `format.dns1123Label().validate(self.name)`.

use base64::Engine as _;

use super::{Opaque, url};
use crate::cel::functions::{Function, Outcome, none, parse_timestamp};
use crate::cel::value::Value;
use crate::rules::names;

/// A format: its name, and what is wrong with a text.
#[derive(Debug)]
pub struct Format {
    name: &'static str,
    faults: fn(&str) -> Vec<String>,
}

static FORMATS: [Format; 13] = [
    Format { name: "dns1123Label", faults: |text| names::dns_label_name(text, false) },
    Format { name: "dns1123Subdomain", faults: |text| names::dns_subdomain_name(text, false) },
    Format { name: "dns1035Label", faults: names::dns1035_label },
    Format { name: "qualifiedName", faults: names::qualified_name },
    Format { name: "dns1123LabelPrefix", faults: |text| names::dns_label_name(text, true) },
    Format { name: "dns1123SubdomainPrefix", faults: |text| names::dns_subdomain_name(text, true) },
    Format { name: "dns1035LabelPrefix", faults: |text| names::dns1035_label(text.trim_end_matches('-')) },
    Format { name: "labelValue", faults: names::label_value },
    Format { name: "uri", faults: |text| url::parse(text).err().into_iter().collect() },
    Format { name: "uuid", faults: |text| unless(is_uuid(text), "does not match the UUID format") },
    Format {
        name: "byte",
        faults: |text| {
            let decoded = base64::engine::general_purpose::STANDARD.decode(text);
            unless(!text.is_empty() && decoded.is_ok(), "invalid base64")
        },
    },
    Format {
        name: "date",
        faults: |text| unless(text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(), "invalid date"),
    },
    Format {
        name: "datetime",
        faults: |text| unless(text.len() > 10 && parse_timestamp(text).is_some(), "invalid datetime"),
    },
];

fn unless(good: bool, fault: &str) -> Vec<String> {
    if good { Vec::new() } else { vec![fault.to_owned()] }
}

fn is_uuid(text: &str) -> bool {
    let parts: Vec<usize> = text.split('-').map(str::len).collect();
    (parts == [8, 4, 4, 4, 12] || parts == [32]) && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
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
