// SPDX-License-Identifier: Apache-2.0
//! DER as Go reads it (`encoding/asn1`), as far as requests for certificates need it, with what it says of faults.

use std::fmt;

/// The tags of ASN.1 that are read here.
pub(super) const INTEGER: u32 = 2;
pub(super) const BIT_STRING: u32 = 3;
pub(super) const OBJECT_IDENTIFIER: u32 = 6;
pub(super) const SEQUENCE: u32 = 16;
pub(super) const SET: u32 = 17;
const CONTEXT: u8 = 2;
/// A length with more bytes before its last is too large.
const LENGTH_MAX: usize = 1 << 23;

/// What stands before a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    class: u8,
    pub tag: u32,
    length: usize,
    compound: bool,
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { class, tag, length, compound } = self;
        write!(f, "{{class:{class} tag:{tag} length:{length} isCompound:{compound}}}")
    }
}

impl Head {
    /// It is of the tags that all know, and nothing is below it.
    pub fn is_plain(&self) -> bool {
        self.class == 0 && !self.compound
    }

    fn is(&self, class: u8, tag: u32, compound: bool) -> bool {
        (self.class, self.tag, self.compound) == (class, tag, compound)
    }
}

/// A value that was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element<'a> {
    pub head: Head,
    /// Without its head.
    pub content: &'a [u8],
    /// With it.
    pub whole: &'a [u8],
}

/// Values, one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub fn is_done(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// The value of that tag; `into` is the type that Go would read it into.
    pub fn expect(&mut self, tag: u32, into: &str) -> Result<Element<'a>, String> {
        self.one(0, tag, matches!(tag, SEQUENCE | SET), into)
    }

    /// The list behind the tag that the context gives meaning.
    pub fn tagged(&mut self, tag: u32) -> Result<Element<'a>, String> {
        self.one(CONTEXT, tag, true, "")
    }

    fn one(&mut self, class: u8, tag: u32, compound: bool, into: &str) -> Result<Element<'a>, String> {
        if self.is_done() {
            return Err(syntax("sequence truncated"));
        }
        let start = self.at;
        let head = self.head()?;
        if !head.is(class, tag, compound) {
            let at = self.at;
            return Err(structure(&format!(
                "tags don't match ({tag} vs {head}) {{optional:false explicit:false application:false private:false \
                 defaultValue:<nil> tag:<nil> stringType:0 timeType:0 set:false omitEmpty:false}} {into} @{at}"
            )));
        }
        self.content(start, head, "data truncated")
    }

    /// Any value; none where nothing is left.
    pub fn any(&mut self) -> Result<Option<Element<'a>>, String> {
        if self.is_done() {
            return Ok(None);
        }
        let start = self.at;
        let head = self.head()?;
        self.content(start, head, "data truncated").map(Some)
    }

    /// All values that are left, of that tag where one is given.
    pub fn all(mut self, tag: Option<u32>) -> Result<Vec<Element<'a>>, String> {
        let mut found = Vec::new();
        while !self.is_done() {
            let start = self.at;
            let head = self.head()?;
            if tag.is_some_and(|tag| !head.is(0, tag, matches!(tag, SEQUENCE | SET))) {
                return Err(structure("sequence tag mismatch"));
            }
            found.push(self.content(start, head, "truncated sequence")?);
        }
        Ok(found)
    }

    fn content(&mut self, start: usize, head: Head, truncated: &str) -> Result<Element<'a>, String> {
        let end = self.at.checked_add(head.length).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| syntax(truncated))?;
        let element = Element { head, content: &self.bytes[self.at..end], whole: &self.bytes[start..end] };
        self.at = end;
        Ok(element)
    }

    fn byte(&mut self) -> Result<u8, String> {
        let byte = self.bytes.get(self.at).copied().ok_or_else(|| syntax("truncated tag or length"))?;
        self.at += 1;
        Ok(byte)
    }

    fn head(&mut self) -> Result<Head, String> {
        let first = self.byte()?;
        let mut tag = u32::from(first & 0x1f);
        if tag == 0x1f {
            tag = self.base128()?;
            if tag < 0x1f {
                return Err(syntax("non-minimal tag"));
            }
        }
        let length = self.length()?;
        Ok(Head { class: first >> 6, tag, length, compound: first & 0x20 != 0 })
    }

    fn length(&mut self) -> Result<usize, String> {
        let first = self.byte()?;
        if first & 0x80 == 0 {
            return Ok(usize::from(first));
        }
        if first == 0x80 {
            return Err(syntax("indefinite length found (not DER)"));
        }
        let mut length = 0;
        for _ in 0..first & 0x7f {
            let byte = self.byte()?;
            if length >= LENGTH_MAX {
                return Err(structure("length too large"));
            }
            length = (length << 8) | usize::from(byte);
            if length == 0 {
                return Err(structure("superfluous leading zeros in length"));
            }
        }
        if length < 0x80 { Err(structure("non-minimal length")) } else { Ok(length) }
    }

    /// A number in groups of seven bits, as tags and the parts of identifiers are written.
    fn base128(&mut self) -> Result<u32, String> {
        const TOO_LARGE: &str = "base 128 integer too large";
        let mut number: u64 = 0;
        for shifted in 0.. {
            let Some(byte) = self.bytes.get(self.at).copied() else { break };
            if shifted == 5 {
                return Err(structure(TOO_LARGE));
            }
            if shifted == 0 && byte == 0x80 {
                return Err(syntax("integer is not minimally encoded"));
            }
            self.at += 1;
            number = (number << 7) | u64::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                let fits = i32::try_from(number).is_ok();
                return u32::try_from(number).ok().filter(|_| fits).ok_or_else(|| structure(TOO_LARGE));
            }
        }
        Err(syntax("truncated base 128 integer"))
    }
}

/// Whether this is one sequence from end to end.
pub(super) fn is_sequence(der: &[u8]) -> bool {
    let mut reader = Reader::new(der);
    reader.expect(SEQUENCE, "").is_ok() && reader.is_done()
}

/// The parts of an identifier; the first holds two.
pub(super) fn identifier(content: &[u8]) -> Result<Vec<u32>, String> {
    if content.is_empty() {
        return Err(syntax("zero length OBJECT IDENTIFIER"));
    }
    let mut reader = Reader::new(content);
    let mut parts = Vec::new();
    while !reader.is_done() {
        parts.push(reader.base128()?);
    }
    Ok(parts)
}

/// Whether this is a whole number that Go has room for.
pub(super) fn integer(content: &[u8]) -> Result<(), String> {
    match content {
        [] => Err(structure("empty integer")),
        [0, second, ..] if second & 0x80 == 0 => Err(structure("integer not minimally-encoded")),
        [0xff, second, ..] if second & 0x80 != 0 => Err(structure("integer not minimally-encoded")),
        long if long.len() > 8 => Err(structure("integer too large")),
        _ => Ok(()),
    }
}

/// The bytes of a string of bits, of which the last is whole.
pub(super) fn bits(content: &[u8]) -> Result<Vec<u8>, String> {
    let (padding, bytes) = content.split_first().ok_or_else(|| syntax("zero length BIT STRING"))?;
    let last = bytes.last().copied();
    let fits = *padding <= 7 && last.map_or(*padding == 0, |last| last.trailing_zeros() >= u32::from(*padding));
    if !fits {
        return Err(syntax("invalid padding bits in BIT STRING"));
    }
    let mut before = 0;
    let aligned = bytes.iter().map(|byte| {
        let whole = u16::from_be_bytes([before, *byte]) >> padding;
        before = *byte;
        whole.to_be_bytes()[1]
    });
    Ok(aligned.collect())
}

/// Whether a value that may be of any type can be read: texts are looked at.
pub(super) fn is_readable(element: &Element<'_>) -> Result<(), String> {
    let is_printable = |byte: &u8| byte.is_ascii_alphanumeric() || b" '()+,-./:=?*&".contains(byte);
    match element.head.tag {
        _ if !element.head.is_plain() => Ok(()),
        1 if element.content.len() != 1 => Err(syntax("invalid boolean")),
        1 if !matches!(element.content, [0 | 0xff]) => Err(syntax("invalid boolean")),
        INTEGER => integer(element.content),
        BIT_STRING => bits(element.content).map(|_| ()),
        OBJECT_IDENTIFIER => identifier(element.content).map(|_| ()),
        12 if std::str::from_utf8(element.content).is_err() => Err("asn1: invalid UTF-8 string".to_owned()),
        18 if !element.content.iter().all(|byte| byte.is_ascii_digit() || *byte == b' ') => {
            Err(syntax("NumericString contains invalid character"))
        }
        19 if !element.content.iter().all(is_printable) => Err(syntax("PrintableString contains invalid character")),
        22 if !element.content.is_ascii() => Err(syntax("IA5String contains invalid character")),
        30 if !element.content.len().is_multiple_of(2) => Err("invalid BMPString".to_owned()),
        _ => Ok(()),
    }
}

pub(super) fn syntax(why: &str) -> String {
    format!("asn1: syntax error: {why}")
}

fn structure(why: &str) -> String {
    format!("asn1: structure error: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told_as_go_does() {
        let sequence =
            |bytes: &[u8]| Reader::new(bytes).expect(SEQUENCE, "x").err().unwrap_or_default().replace("asn1: ", "");
        for (bytes, want) in [
            (&[0x30, 0][..], ""),
            (&[], "syntax error: sequence truncated"),
            (&[0x30], "syntax error: truncated tag or length"),
            (&[0x30, 1], "syntax error: data truncated"),
            (&[0x30, 0x80], "syntax error: indefinite length found (not DER)"),
            (&[0x30, 0x81, 5], "structure error: non-minimal length"),
            (&[0x30, 0x82, 0, 5], "structure error: superfluous leading zeros in length"),
            (&[0x30, 0x85, 1, 0, 0, 0, 0], "structure error: length too large"),
            (&[0x1f, 0x80, 1], "syntax error: integer is not minimally encoded"),
            (&[0x1f, 0x81], "syntax error: truncated base 128 integer"),
        ] {
            assert_eq!(sequence(bytes), want, "{bytes:?}");
        }
        let other = "structure error: tags don't match (16 vs {class:2 tag:1 length:1 isCompound:false}) ";
        assert!(sequence(&[0x81, 1, 0]).starts_with(other));
        assert!(sequence(&[0x81, 1, 0]).ends_with(" x @2"));
        let list = |bytes: &[u8]| Reader::new(bytes).all(Some(SET)).err().unwrap_or_default();
        assert_eq!(list(&[0x31, 0, 0x30, 0]), "asn1: structure error: sequence tag mismatch");
        assert_eq!(list(&[0x31, 2, 0]), "asn1: syntax error: truncated sequence");
    }

    #[test]
    fn values_are_read() {
        assert_eq!(identifier(&[0x2a, 0x86, 0x48]), Ok(vec![42, 840]));
        assert_eq!(bits(&[4, 0xab, 0xf0]), Ok(vec![0x0a, 0xbf]));
        assert_eq!(bits(&[0, 0xab]), Ok(vec![0xab]));
        assert!(bits(&[4, 0xf8]).is_err() && bits(&[1]).is_err() && bits(&[]).is_err());
        assert!(integer(&[0, 1]).is_err() && integer(&[0, 0x80]).is_ok());
    }
}
