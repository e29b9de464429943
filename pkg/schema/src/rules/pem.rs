// SPDX-License-Identifier: Apache-2.0

//! PEM blocks as Go reads them (`encoding/pem`), as far as the API judges them: their types, their headers, and that
//! what is in them is one DER sequence.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{asn1, certificate_request};

/// A block of a PEM file.
pub(super) struct Block<'a> {
    /// `CERTIFICATE`, ...
    pub kind: &'a str,
    has_headers: bool,
    /// What it holds.
    pub der: Vec<u8>,
}

/// Whether these bytes begin with the block of a request for a certificate.
///
/// # Errors
/// What is wrong with them, in upstream's words.
pub fn certificate_request(pem: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(pem);
    match next(&text) {
        Some((block, _)) if block.kind == "CERTIFICATE REQUEST" => certificate_request::check(&block.der),
        _ => Err("PEM block type must be CERTIFICATE REQUEST".to_owned()),
    }
}

/// Whether these bytes are certificates and nothing else; none at all is fine.
///
/// # Errors
/// What is wrong with them, in upstream's words.
pub fn certificates(pem: &[u8]) -> Result<(), String> {
    if pem.is_empty() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(pem);
    let (mut rest, mut any) = (&*text, false);
    while let Some((block, after)) = next(rest) {
        if block.kind != "CERTIFICATE" {
            return Err(format!("only CERTIFICATE PEM blocks are allowed, found {:?}", block.kind));
        }
        if block.has_headers {
            return Err("no PEM block headers are permitted".to_owned());
        }
        if block.der.is_empty() {
            return Err("found CERTIFICATE PEM block containing 0 certificates".to_owned());
        }
        if !asn1::is_sequence(&block.der) {
            return Err("x509: malformed certificate".to_owned());
        }
        (rest, any) = (after, true);
    }
    if any { Ok(()) } else { Err("must contain at least one CERTIFICATE PEM block".to_owned()) }
}

/// The first block that can be read, and what follows it. What is around blocks, and blocks that cannot be read,
/// count for nothing.
pub(super) fn next(text: &str) -> Option<(Block<'_>, &str)> {
    const BEGIN: &str = "-----BEGIN ";
    let mut rest = text;
    loop {
        let at = rest.find(BEGIN)?;
        let starts_line = at == 0 || rest[..at].ends_with('\n');
        rest = &rest[at + BEGIN.len()..];
        if let Some(found) = starts_line.then(|| block(rest)).flatten() {
            return Some(found);
        }
    }
}

/// The block whose type `text` begins with.
fn block(text: &str) -> Option<(Block<'_>, &str)> {
    let (line, body) = text.split_once('\n')?;
    let kind = line.trim_end().strip_suffix("-----")?;
    let end = format!("-----END {kind}-----");
    let at = body.find(&end)?;
    let (mut content, after) = (&body[..at], &body[at + end.len()..]);
    let mut has_headers = false;
    while let Some((_, following)) = content.split_once('\n').filter(|(line, _)| line.contains(':')) {
        (content, has_headers) = (following, true);
    }
    let base64: String = content.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let der = STANDARD.decode(base64).ok()?;
    Some((Block { kind, has_headers, der }, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem(kind: &str, der: &[u8]) -> Vec<u8> {
        format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", STANDARD.encode(der)).into_bytes()
    }

    #[test]
    fn a_request_is_one_block_with_one_sequence() {
        const REQUEST: &str = "CERTIFICATE REQUEST";
        let found = |kind: &str, der: &[u8]| certificate_request(&pem(kind, der)).err().unwrap_or_default();
        assert_eq!(found(REQUEST, &STANDARD.decode(certificate_request::tests::PLAIN).unwrap()), "");
        assert_eq!(found(REQUEST, &[0x30, 0]), "asn1: syntax error: sequence truncated");
        assert_eq!(found("CERTIFICATE", &[0x30, 0]), "PEM block type must be CERTIFICATE REQUEST");
        assert_eq!(found(REQUEST, &[0x30, 5, 0]), "asn1: syntax error: data truncated");
        assert!(found(REQUEST, b"hello").starts_with(
            "asn1: structure error: tags don't match (16 vs {class:1 tag:8 length:101 isCompound:true}) {optional:false"
        ));
        assert!(certificate_request(b"x").is_err());
    }

    #[test]
    fn certificates_come_alone() {
        let found = |pem: &[u8]| certificates(pem).err().unwrap_or_default();
        let good = pem("CERTIFICATE", &[0x30, 0]);
        assert_eq!((found(b""), found(&good)), (String::new(), String::new()));
        assert_eq!(found(b"hello"), "must contain at least one CERTIFICATE PEM block");
        let both = [good, pem("X", &[0x30, 0])].concat();
        assert_eq!(found(&both), "only CERTIFICATE PEM blocks are allowed, found \"X\"");
        assert_eq!(found(&pem("CERTIFICATE", b"hello")), "x509: malformed certificate");
        let headed = b"-----BEGIN CERTIFICATE-----\na: b\n\nMAA=\n-----END CERTIFICATE-----\n";
        assert_eq!(found(headed), "no PEM block headers are permitted");
    }
}
