// SPDX-License-Identifier: Apache-2.0
//! Addresses in the web, read by Go's rules (RFC 3986, leniently).

use std::collections::BTreeMap;
use std::rc::Rc;

use knarr_types::go_quoted;

use super::Opaque;
use crate::cel::eval::Fault;
use crate::cel::functions::{Function, Outcome, none};
use crate::cel::value::{Key, Map, Value};

/// An address and its parts, as they were written.
#[derive(Debug, PartialEq, Eq)]
pub struct Url {
    scheme: String,
    host: String,
    path: String,
    query: String,
    rest: String,
}

pub(super) fn find(name: &str) -> Option<Function> {
    Some(match name {
        "url" => |args| match args {
            [Value::String(text)] => match parse(text) {
                Ok(url) => Ok(Value::opaque(Opaque::Url(url))),
                Err(why) => Err(Fault::Error(format!("URL parse error during conversion from string: {why}"))),
            },
            _ => none(),
        },
        "isURL" => |args| match args {
            [Value::String(text)] => Ok(Value::Bool(parse(text).is_ok())),
            _ => none(),
        },
        "getScheme" => |args| on(args, |url| Value::text(url.scheme.as_str())),
        "getHost" => |args| on(args, |url| Value::text(url.host.as_str())),
        "getHostname" => |args| on(args, |url| Value::text(url.host_and_port().0)),
        "getPort" => |args| on(args, |url| Value::text(url.host_and_port().1)),
        "getEscapedPath" => |args| on(args, |url| Value::text(url.path.as_str())),
        "getQuery" => |args| on(args, |url| query(&url.query)),
        _ => return None,
    })
}

fn on<'a>(args: &[Value<'a>], f: fn(&Url) -> Value<'a>) -> Outcome<'a> {
    let [Value::Opaque(of)] = args else { return none() };
    let Opaque::Url(url) = of.as_ref() else { return none() };
    Ok(f(url))
}

impl Url {
    /// Without the brackets around an address of version 6.
    fn host_and_port(&self) -> (&str, &str) {
        if let Some((inner, after)) = self.host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            return (inner, after.strip_prefix(':').unwrap_or_default());
        }
        self.host.split_once(':').unwrap_or((&self.host, ""))
    }
}

/// The address, or what is wrong with it in Go's words. It must be absolute: a scheme, or a path from `/`.
pub(super) fn parse(text: &str) -> Result<Url, String> {
    let bad = |why: &str| Err(format!("parse {}: {why}", go_quoted(text)));
    if text.is_empty() {
        return bad("empty url");
    }
    if text.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return bad("net/url: invalid control character in URL");
    }
    let (main, fragment) = text.split_once('#').map_or((text, ""), |(main, fragment)| (main, fragment));
    let (scheme, after) = match scheme(main) {
        Ok(parts) => parts,
        Err(why) => return bad(why),
    };
    let (hierarchy, query) = after.split_once('?').unwrap_or((after, ""));
    if !hierarchy.starts_with('/') {
        if scheme.is_empty() {
            return bad("invalid URI for request");
        }
        let rest = format!("{hierarchy}#{fragment}");
        let (host, path, query) = (String::new(), String::new(), query.to_owned());
        return Ok(Url { scheme: scheme.to_lowercase(), host, path, query, rest });
    }
    let authority = hierarchy.strip_prefix("//").filter(|_| !scheme.is_empty() || !hierarchy.starts_with("///"));
    let (authority, path) = match authority {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => ("", hierarchy),
    };
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    for part in [host, path] {
        if let Some(escape) = bad_escape(part) {
            return bad(&format!("invalid URL escape {escape:?}"));
        }
    }
    if let Some(why) = bad_host(host) {
        return bad(&why);
    }
    let path = escape_path(path);
    let rest = format!("{user}#{fragment}");
    Ok(Url { scheme: scheme.to_lowercase(), host: host.to_owned(), path, query: query.to_owned(), rest })
}

/// The parts of an address that may be relative, as they were written.
#[derive(Debug, PartialEq, Eq)]
pub struct Reference<'a> {
    /// In lower case; empty where there is none.
    pub scheme: String,
    /// Name and password.
    pub user: Option<&'a str>,
    /// With the port.
    pub host: &'a str,
    /// What follows the first `?`.
    pub query: &'a str,
    /// What follows the first `#`.
    pub fragment: &'a str,
}

impl<'a> Reference<'a> {
    /// The parts of `text`.
    ///
    /// # Errors
    /// What is wrong with it, in Go's words.
    pub fn parse(text: &'a str) -> Result<Self, String> {
        let (main, fragment) = text.split_once('#').unwrap_or((text, ""));
        let bad = |why: &str| Err(format!("parse {}: {why}", go_quoted(main)));
        if main.bytes().any(|b| b < 0x20 || b == 0x7f) {
            return bad("net/url: invalid control character in URL");
        }
        let (scheme, after) = match scheme(main) {
            Ok(parts) => parts,
            Err(why) => return bad(why),
        };
        let (hierarchy, query) = after.split_once('?').unwrap_or((after, ""));
        let scheme_text = scheme.to_lowercase();
        let none = Self { scheme: scheme_text.clone(), user: None, host: "", query, fragment };
        if !hierarchy.starts_with('/') {
            let colon = hierarchy.find(':');
            let in_first_segment = colon.is_some_and(|at| !hierarchy[..at].contains('/'));
            return match (scheme.is_empty() && in_first_segment, bad_escape(hierarchy)) {
                (true, _) => bad("first path segment in URL cannot contain colon"),
                (false, Some(escape)) if scheme.is_empty() => bad(&format!("invalid URL escape {escape:?}")),
                _ => Ok(none),
            };
        }
        let rest = hierarchy.strip_prefix("//").filter(|_| !scheme.is_empty() || !hierarchy.starts_with("///"));
        let (authority, path) = rest.map_or(("", hierarchy), |r| r.split_at(r.find('/').unwrap_or(r.len())));
        let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        match (bad_host(host), bad_escape(host).or_else(|| bad_escape(path))) {
            (Some(why), _) => bad(&why),
            (None, Some(escape)) => bad(&format!("invalid URL escape {escape:?}")),
            (None, None) => Ok(Self { scheme: scheme_text, user, host, query, fragment }),
        }
    }
}

fn scheme(text: &str) -> Result<(&str, &str), &'static str> {
    for (at, c) in text.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at > 0 => {}
            ':' if at == 0 => return Err("missing protocol scheme"),
            ':' => return Ok((&text[..at], &text[at + 1..])),
            _ => break,
        }
    }
    Ok(("", text))
}

fn bad_escape(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let starts = bytes.iter().enumerate().filter(|(_, b)| **b == b'%').map(|(at, _)| at);
    let is_bad = |at: &usize| !bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
    let at = starts.into_iter().find(is_bad)?;
    Some(String::from_utf8_lossy(&bytes[at..bytes.len().min(at + 3)]).into_owned())
}

fn bad_host(host: &str) -> Option<String> {
    let port = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((_, after)) => after,
            None => return Some("missing ']' in host".to_owned()),
        },
        None => host.find(':').map_or("", |at| &host[at..]),
    };
    if !port.is_empty() && !port.strip_prefix(':').is_some_and(|p| p.bytes().all(|b| b.is_ascii_digit())) {
        return Some(format!("invalid port {port:?} after host"));
    }
    let wrong =
        host.chars().find(|c| c.is_ascii() && !c.is_ascii_alphanumeric() && !"-_.~!$&'()*+,;=:[]<>\"%".contains(*c));
    wrong.map(|c| format!("invalid character {:?} in host name", c.to_string()))
}

/// As it was written where that is a valid path, and escaped where not.
fn escape_path(path: &str) -> String {
    let kept = |b: u8| b.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@!'()*[]%".contains(&b);
    path.bytes().map(|b| if kept(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn query<'a>(text: &str) -> Value<'a> {
    let mut values: BTreeMap<Key, Vec<Value<'a>>> = BTreeMap::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(key), Some(value)) = (unescape(key), unescape(value)) else { continue };
        values.entry(Key::String(key)).or_default().push(Value::text(value));
    }
    let map = values.into_iter().map(|(key, values)| (key, Value::list(values))).collect();
    Value::Map(Map::Owned(Rc::new(map)))
}

fn unescape(text: &str) -> Option<String> {
    if bad_escape(text).is_some() {
        return None;
    }
    let bytes = text.as_bytes();
    let mut made = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'%' => {
                made.push(u8::from_str_radix(text.get(at + 1..at + 3)?, 16).ok()?);
                at += 3;
            }
            b'+' => {
                made.push(b' ');
                at += 1;
            }
            other => {
                made.push(*other);
                at += 1;
            }
        }
    }
    Some(String::from_utf8_lossy(&made).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_refused_in_gos_words() {
        for (text, why) in [
            ("https://e.com/a?b=c#d", None),
            ("", None),
            ("e.com/a", None),
            ("mailto:x", None),
            ("e.com:80/a", None),
            ("1.2.3.4:80/a", Some("parse \"1.2.3.4:80/a\": first path segment in URL cannot contain colon")),
            ("ht\u{1b}s://a", Some("parse \"ht\\x1bs://a\": net/url: invalid control character in URL")),
            (":a", Some("parse \":a\": missing protocol scheme")),
            ("https://[::1/a", Some("parse \"https://[::1/a\": missing ']' in host")),
            ("https://e.com:x/a", Some("parse \"https://e.com:x/a\": invalid port \":x\" after host")),
            ("https://e com/a", Some("parse \"https://e com/a\": invalid character \" \" in host name")),
            ("https://e.com/%zz", Some("parse \"https://e.com/%zz\": invalid URL escape \"%zz\"")),
        ] {
            assert_eq!(Reference::parse(text).err().as_deref(), why, "{text}");
        }
        let parts = Reference::parse("HTTPS://u:p@e.com:1/a?b=c#d").unwrap();
        let Reference { scheme, user, host, query, fragment } = &parts;
        assert_eq!((&**scheme, *user, *host, *query, *fragment), ("https", Some("u:p"), "e.com:1", "b=c", "d"));
    }
}
