// SPDX-License-Identifier: Apache-2.0
//! Requests for certificates (PKCS #10) as Go reads them (`crypto/x509`): their form, the key, the names that they ask
//! for, and that who asks has the key.

use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};

use super::asn1::{
    BIT_STRING, Element, INTEGER, OBJECT_IDENTIFIER, Reader, SEQUENCE, SET, bits, identifier, integer, is_readable,
    syntax,
};

const RSA_KEY: &[u32] = &[42, 840, 113_549, 1, 1, 1];
const EC_KEY: &[u32] = &[42, 840, 10045, 2, 1];
const ED25519: &[u32] = &[43, 101, 112];
const EXTENSION_REQUEST: &[u32] = &[42, 840, 113_549, 1, 9, 14];
const SUBJECT_ALTERNATIVE_NAME: &[u32] = &[85, 29, 17];
const UNKNOWN: &str = "x509: cannot verify signature: algorithm unimplemented";
const MALFORMED: &str = "x509: invalid subject alternative name";

/// How a request is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Rsa(Hash),
    Ecdsa(Hash),
    Ed25519,
    /// Nobody should.
    Insecure(&'static str),
    /// One that is not looked into.
    Other,
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

/// Whose signature it is.
#[derive(Debug)]
enum Key<'a> {
    Rsa(&'a [u8]),
    Ec(Curve, &'a [u8]),
    Ed25519(&'a [u8]),
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Curve {
    P224,
    P256,
    P384,
    P521,
}

/// An algorithm, and all that stands behind it.
struct Algorithm<'a> {
    name: Vec<u32>,
    parameters: Option<Element<'a>>,
}

/// Says what is wrong with a request.
///
/// # Errors
/// In upstream's words.
pub(super) fn check(der: &[u8]) -> Result<(), String> {
    let mut all = Reader::new(der);
    let request = all.expect(SEQUENCE, "certificateRequest")?;
    let mut parts = Reader::new(request.content);
    let signed = parts.expect(SEQUENCE, "tbsCertificateRequest")?;
    let mut inner = Reader::new(signed.content);
    integer(inner.expect(INTEGER, "int")?.content)?;
    let subject = inner.any()?.ok_or_else(|| syntax("sequence truncated"))?;
    let mut key = Reader::new(inner.expect(SEQUENCE, "publicKeyInfo")?.content);
    let key_algorithm = algorithm(&mut key)?;
    let key_bits = bits(key.expect(BIT_STRING, "BitString")?.content)?;
    let attributes = Reader::new(inner.tagged(0)?.content).all(None)?;
    let signed_with = algorithm(&mut parts)?;
    let signature = bits(parts.expect(BIT_STRING, "BitString")?.content)?;
    if !all.is_done() {
        return Err(syntax("trailing data"));
    }
    let key = public_key(&key_algorithm, &key_bits)?;
    names(&subject)?;
    extensions(&attributes)?;
    verify(scheme(&signed_with), &key, signed.whole, &signature)
}

fn algorithm<'a>(from: &mut Reader<'a>) -> Result<Algorithm<'a>, String> {
    let mut parts = Reader::new(from.expect(SEQUENCE, "AlgorithmIdentifier")?.content);
    let name = identifier(parts.expect(OBJECT_IDENTIFIER, "ObjectIdentifier")?.content)?;
    Ok(Algorithm { name, parameters: parts.any()? })
}

fn public_key<'a>(algorithm: &Algorithm<'_>, bits: &'a [u8]) -> Result<Key<'a>, String> {
    match algorithm.name.as_slice() {
        RSA_KEY => rsa_key(algorithm, bits).map(|()| Key::Rsa(bits)),
        EC_KEY => {
            let curve = algorithm.parameters.filter(|of| of.head.tag == OBJECT_IDENTIFIER && of.head.is_plain());
            let curve = curve.and_then(|of| identifier(of.content).ok()).ok_or("x509: invalid ECDSA parameters")?;
            let curve = match curve.as_slice() {
                [43, 132, 0, 33] => Curve::P224,
                [42, 840, 10045, 3, 1, 7] => Curve::P256,
                [43, 132, 0, 34] => Curve::P384,
                [43, 132, 0, 35] => Curve::P521,
                _ => return Err("x509: unsupported elliptic curve".to_owned()),
            };
            on_curve(curve, bits).map(|()| Key::Ec(curve, bits))
        }
        ED25519 if algorithm.parameters.is_some() => {
            Err("x509: Ed25519 key encoded with illegal parameters".to_owned())
        }
        ED25519 if bits.len() != 32 => Err("x509: wrong Ed25519 public key size".to_owned()),
        ED25519 => Ok(Key::Ed25519(bits)),
        _ => Ok(Key::Unknown),
    }
}

fn rsa_key(algorithm: &Algorithm<'_>, bits: &[u8]) -> Result<(), String> {
    if algorithm.parameters.is_none_or(|of| of.whole != [5, 0]) {
        return Err("x509: RSA key missing NULL parameters".to_owned());
    }
    let invalid = |_| "x509: invalid RSA public key".to_owned();
    let mut parts = Reader::new(Reader::new(bits).expect(SEQUENCE, "").map_err(invalid)?.content);
    for part in ["modulus", "public exponent"] {
        let number = parts.expect(INTEGER, "").map_err(|_| format!("x509: invalid RSA {part}"))?;
        if number.content.iter().all(|byte| *byte == 0) || number.content[0] & 0x80 != 0 {
            return Err(format!("x509: RSA {part} is not a positive number"));
        }
    }
    Ok(())
}

fn on_curve(curve: Curve, point: &[u8]) -> Result<(), String> {
    if point.first() != Some(&4) {
        return Err("ecdsa: invalid uncompressed public key".to_owned());
    }
    let (name, size) = match curve {
        Curve::P224 => ("P224", 28),
        Curve::P256 => ("P256", 32),
        Curve::P384 => ("P384", 48),
        Curve::P521 => ("P521", 66),
    };
    if point.len() != 1 + 2 * size {
        return Err(format!("invalid {name} point encoding"));
    }
    let known: &'static dyn VerificationAlgorithm = match curve {
        Curve::P224 => return Ok(()),
        Curve::P256 => &signature::ECDSA_P256_SHA256_ASN1,
        Curve::P384 => &signature::ECDSA_P384_SHA384_ASN1,
        Curve::P521 => &signature::ECDSA_P521_SHA512_ASN1,
    };
    let parsed = signature::UnparsedPublicKey::new(known, point).parse();
    parsed.map(|_: ParsedPublicKey| ()).map_err(|_| format!("{name} point not on curve"))
}

/// The name of whom the certificate is for.
fn names(subject: &Element<'_>) -> Result<(), String> {
    let list = Reader::new(subject.whole).expect(SEQUENCE, "RDNSequence")?;
    for set in Reader::new(list.content).all(Some(SET))? {
        for pair in Reader::new(set.content).all(Some(SEQUENCE))? {
            let mut pair = Reader::new(pair.content);
            identifier(pair.expect(OBJECT_IDENTIFIER, "ObjectIdentifier")?.content)?;
            is_readable(&pair.any()?.ok_or_else(|| syntax("sequence truncated"))?)?;
        }
    }
    Ok(())
}

/// What is asked for beyond the name. Attributes that cannot be read ask for nothing.
fn extensions(attributes: &[Element<'_>]) -> Result<(), String> {
    let mut seen = Vec::new();
    for attribute in attributes {
        let Some(value) = extension_request(attribute) else { continue };
        let list = Reader::new(value.whole).expect(SEQUENCE, "")?;
        for extension in Reader::new(list.content).all(Some(SEQUENCE))? {
            let mut parts = Reader::new(extension.content);
            let name = identifier(parts.expect(OBJECT_IDENTIFIER, "ObjectIdentifier")?.content)?;
            let critical_or_value = parts.any()?.ok_or_else(|| syntax("sequence truncated"))?;
            let value = parts.any()?.unwrap_or(critical_or_value);
            if seen.contains(&name) {
                return Err("x509: certificate request contains duplicate requested extensions".to_owned());
            }
            if name == SUBJECT_ALTERNATIVE_NAME {
                alternative_names(value.content)?;
            }
            seen.push(name);
        }
    }
    Ok(())
}

fn extension_request<'a>(attribute: &Element<'a>) -> Option<Element<'a>> {
    let mut parts = Reader::new(Reader::new(attribute.whole).expect(SEQUENCE, "").ok()?.content);
    let name = identifier(parts.expect(OBJECT_IDENTIFIER, "").ok()?.content).ok()?;
    let values = Reader::new(parts.expect(SET, "").ok()?.content).all(None).ok()?;
    values.first().copied().filter(|_| name == EXTENSION_REQUEST)
}

fn alternative_names(der: &[u8]) -> Result<(), String> {
    let list = Reader::new(der).expect(SEQUENCE, "").map_err(|_| format!("{MALFORMED}s"))?;
    let all = Reader::new(list.content).all(None).map_err(|_| MALFORMED.to_owned())?;
    for name in all {
        let text = |of: &str| {
            let why = || format!("x509: SAN {of} is malformed");
            if name.content.is_ascii() { Ok(()) } else { Err(why()) }
        };
        match (name.whole.first().copied().unwrap_or_default() >> 5, name.head.tag) {
            (0b100, 1) => text("rfc822Name")?,
            (0b100, 2) => text("dNSName")?,
            (0b100, 6) => text("uniformResourceIdentifier")?,
            (0b100, 7) if !matches!(name.content.len(), 4 | 16) => {
                return Err(format!("x509: cannot parse IP address of length {}", name.content.len()));
            }
            _ => {}
        }
    }
    Ok(())
}

fn scheme(algorithm: &Algorithm<'_>) -> Scheme {
    match algorithm.name.as_slice() {
        [42, 840, 113_549, 1, 1, 4] => Scheme::Insecure("MD5-RSA"),
        [42, 840, 113_549, 1, 1, 5] => Scheme::Rsa(Hash::Sha1),
        [42, 840, 113_549, 1, 1, 11] => Scheme::Rsa(Hash::Sha256),
        [42, 840, 113_549, 1, 1, 12] => Scheme::Rsa(Hash::Sha384),
        [42, 840, 113_549, 1, 1, 13] => Scheme::Rsa(Hash::Sha512),
        [42, 840, 113_549, 1, 1, 10] => Scheme::Other,
        [42, 840, 10045, 4, 1] => Scheme::Ecdsa(Hash::Sha1),
        [42, 840, 10045, 4, 3, 2] => Scheme::Ecdsa(Hash::Sha256),
        [42, 840, 10045, 4, 3, 3] => Scheme::Ecdsa(Hash::Sha384),
        [42, 840, 10045, 4, 3, 4] => Scheme::Ecdsa(Hash::Sha512),
        ED25519 if algorithm.parameters.is_none() => Scheme::Ed25519,
        _ => Scheme::Unknown,
    }
}

fn verify(scheme: Scheme, key: &Key<'_>, signed: &[u8], bytes: &[u8]) -> Result<(), String> {
    let wanted = match scheme {
        Scheme::Insecure(name) => return Err(format!("x509: cannot verify signature: insecure algorithm {name}")),
        Scheme::Unknown => return Err(UNKNOWN.to_owned()),
        Scheme::Other => return Ok(()),
        Scheme::Rsa(_) => "RSA",
        Scheme::Ecdsa(_) => "ECDSA",
        Scheme::Ed25519 => "Ed25519",
    };
    let (is, go_type, text, why) = match key {
        Key::Unknown => return Err(UNKNOWN.to_owned()),
        Key::Rsa(text) => ("RSA", "*rsa.PublicKey", text, "crypto/rsa: verification error"),
        Key::Ec(_, text) => ("ECDSA", "*ecdsa.PublicKey", text, "x509: ECDSA verification failure"),
        Key::Ed25519(text) => ("Ed25519", "ed25519.PublicKey", text, "x509: Ed25519 verification failure"),
    };
    if is != wanted {
        return Err(format!(
            "x509: signature algorithm specifies an {wanted} public key, but have public key of type {go_type}"
        ));
    }
    let Some(algorithm) = verification(scheme, key) else { return Ok(()) };
    let verified = signature::UnparsedPublicKey::new(algorithm, text).verify(signed, bytes);
    verified.map_err(|_| why.to_owned())
}

/// How such a signature is verified; `None` for what nobody here can, which is taken as it is.
fn verification(scheme: Scheme, key: &Key<'_>) -> Option<&'static dyn VerificationAlgorithm> {
    let is_short = matches!(key, Key::Rsa(key) if key.len() < 256);
    let curve = match key {
        Key::Ec(curve, _) => Some(*curve),
        _ => None,
    };
    Some(match (scheme, curve) {
        (Scheme::Ed25519, _) => &signature::ED25519,
        (Scheme::Rsa(Hash::Sha1), _) => &signature::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
        (Scheme::Rsa(Hash::Sha256), _) if is_short => &signature::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
        (Scheme::Rsa(Hash::Sha512), _) if is_short => &signature::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
        (Scheme::Rsa(Hash::Sha256), _) => &signature::RSA_PKCS1_2048_8192_SHA256,
        (Scheme::Rsa(Hash::Sha384), _) if !is_short => &signature::RSA_PKCS1_2048_8192_SHA384,
        (Scheme::Rsa(Hash::Sha512), _) => &signature::RSA_PKCS1_2048_8192_SHA512,
        (Scheme::Ecdsa(Hash::Sha256), Some(Curve::P256)) => &signature::ECDSA_P256_SHA256_ASN1,
        (Scheme::Ecdsa(Hash::Sha384), Some(Curve::P256)) => &signature::ECDSA_P256_SHA384_ASN1,
        (Scheme::Ecdsa(Hash::Sha512), Some(Curve::P256)) => &signature::ECDSA_P256_SHA512_ASN1,
        (Scheme::Ecdsa(Hash::Sha256), Some(Curve::P384)) => &signature::ECDSA_P384_SHA256_ASN1,
        (Scheme::Ecdsa(Hash::Sha384), Some(Curve::P384)) => &signature::ECDSA_P384_SHA384_ASN1,
        (Scheme::Ecdsa(Hash::Sha512), Some(Curve::P384)) => &signature::ECDSA_P384_SHA512_ASN1,
        (Scheme::Ecdsa(Hash::Sha256), Some(Curve::P521)) => &signature::ECDSA_P521_SHA256_ASN1,
        (Scheme::Ecdsa(Hash::Sha384), Some(Curve::P521)) => &signature::ECDSA_P521_SHA384_ASN1,
        (Scheme::Ecdsa(Hash::Sha512), Some(Curve::P521)) => &signature::ECDSA_P521_SHA512_ASN1,
        _ => return None,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    /// Signed with Ed25519.
    pub const PLAIN: &str = "MIGLMD8CAQAwDDEKMAgGA1UEAwwBYTAqMAUGAytlcAMhAKuezqsaRNVmiyFAuurj0FFjRcJDAhY2KACuXGnSFEJEoAAwBQYD\
        K2VwA0EAW/Oa/lTafXor43G4e4F41gB+LCXYD7LplNHU5wEq6IJwLCWEHST1PVyvWEMpAuU/YZQVcruT+36fXOD5WUpPDA==";
    /// Signed with ECDSA, for `a.b`.
    const NAMED: &str = "MIHoMIGPAgEAMAwxCjAIBgNVBAMMAWEwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAT2HyFBBs6TE1NL0ToinT07KE5v6Mih\
        IXk/jIfSIA7T44qPeRN/Ku7c7Yv7JmxhzFjQUwYxLar5GcF3F3dRGPhwoCEwHwYJKoZIhvcNAQkOMRIwEDAOBgNVHREEBzAF\
        ggNhLmIwCgYIKoZIzj0EAwIDSAAwRQIhAMrA9lfgVlz+l5drvxmeN9GxaP5KHq73rSgMy9dG7AB5AiA2JxubJ32r8VSmKDlA\
        2G3tsIdpL2ksyQMIjoRN6DPp/g==";

    #[test]
    fn requests_are_looked_through_and_verified() {
        let (plain, named) = (STANDARD.decode(PLAIN).unwrap(), STANDARD.decode(NAMED).unwrap());
        assert_eq!((check(&plain), check(&named)), (Ok(()), Ok(())));
        // Each byte counts: what is read otherwise is refused, or the signature is none of it.
        for whole in [&plain, &named] {
            for at in 0..whole.len() {
                let mut other = whole.clone();
                other[at] ^= 1;
                assert!(check(&other).is_err(), "{at} of {}", STANDARD.encode(whole));
                assert!(check(&whole[..at]).is_err(), "{at}");
            }
        }
        let changed = |from: &[u8], find: &[u8], with: &[u8]| {
            let at = from.windows(find.len()).position(|part| part == find).unwrap();
            let mut other = from.to_vec();
            other[at..at + find.len()].copy_from_slice(with);
            check(&other).unwrap_err()
        };
        assert_eq!(changed(&named, b"a.b", b"a.\xe9"), "x509: SAN dNSName is malformed");
        assert_eq!(changed(&named, b"a.b", b"a.c"), "x509: ECDSA verification failure");
        assert_eq!(changed(&plain, b"\x0c\x01a", b"\x0c\x01b"), "x509: Ed25519 verification failure");
        assert_eq!(changed(&plain, b"\x0c\x01a", b"\x0c\x01\xff"), "asn1: invalid UTF-8 string");
        let mut longer = plain.clone();
        longer.push(0);
        assert_eq!(check(&longer).unwrap_err(), "asn1: syntax error: trailing data");
    }
}
