// SPDX-License-Identifier: Apache-2.0
//! The query of a request's URI.

use std::num::{IntErrorKind, ParseIntError};

use knarr_types::Status;

/// Names and values, in their order, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the part of a URI behind the `?`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        };
        // What Go cannot read is as if it were not there.
        let is_read = |pair: &&str| !pair.is_empty() && !pair.contains(';') && is_encoded(pair);
        Self(text.split('&').filter(is_read).map(pair).collect())
    }

    /// The first value of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The first value of that name, if it is not empty.
    #[must_use]
    pub fn filled(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|v| !v.is_empty())
    }

    /// All values of that name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Whether a flag is set; a flag without a value is, as upstream reads it.
    #[must_use]
    pub fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|v| !matches!(v.to_ascii_lowercase().as_str(), "false" | "0"))
    }

    /// A number.
    ///
    /// # Errors
    /// 400 where it is none.
    pub fn number(&self, name: &str) -> Result<Option<i64>, Status> {
        self.get(name).map(|text| text.parse().map_err(|fault| not_a_number(text, &fault))).transpose()
    }
}

fn not_a_number(text: &str, fault: &ParseIntError) -> Status {
    let why = match fault.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
        _ => "invalid syntax",
    };
    Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: {why}"))
}

/// Undoes the percent-encoding of a path, where `+` is itself.
#[must_use]
pub fn decode_path(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains('%') { decode(&text.replace('+', "%2B")).into() } else { text.into() }
}

/// Whether every percent sign begins an encoded byte.
#[must_use]
pub fn is_encoded(text: &str) -> bool {
    let hex = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let bytes = text.as_bytes();
    let mut signs = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'%');
    signs.all(|(at, _)| hex(bytes.get(at + 1)) && hex(bytes.get(at + 2)))
}

/// Undoes percent-encoding, and `+` for spaces. What is no encoding stays as it is.
#[must_use]
pub fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = |i: usize| bytes.get(i).and_then(|b| char::from(*b).to_digit(16));
        match (byte, hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or_default());
                at += 3;
                continue;
            }
            (b'+', ..) => out.push(b' '),
            (other, ..) => out.push(*other),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded() {
        let query = Query::parse("a=1&b=x%2Cy+z&watch&c=%zz&d=1;e=2&a=2");
        assert_eq!(query.get("a"), Some("1"));
        assert_eq!(query.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(query.get("b"), Some("x,y z"));
        assert_eq!((query.get("c"), query.get("d")), (None, None), "Go cannot read them");
        assert!(query.is_true("watch") && !query.is_true("other"));
        assert!(query.number("b").is_err());
    }
}
