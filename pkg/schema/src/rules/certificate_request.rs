// SPDX-License-Identifier: Apache-2.0
//! Requests for certificates (PKCS #10) as Go reads them (`crypto/x509`): their form, the key, the names that they ask
//! for, and that who asks has the key.

use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};

use knarr_types::field_error::go_quoted;

use super::asn1::{
    BIT_STRING, Element, INTEGER, OBJECT_IDENTIFIER, Reader, SEQUENCE, SET, bits, identifier, integer, is_readable,
    syntax,
};
use crate::cel::Reference;

const RSA_KEY: &[u32] = &[42, 840, 113_549, 1, 1, 1];
const EC_KEY: &[u32] = &[42, 840, 10045, 2, 1];
const ED25519: &[u32] = &[43, 101, 112];
const PSS: &[u32] = &[42, 840, 113_549, 1, 1, 10];
const LEAST_RSA_BITS: usize = 1024;
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
    /// With padding by chance.
    Pss(Hash),
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
            (0b100, 6) => {
                text("uniformResourceIdentifier")?;
                let uri = String::from_utf8_lossy(name.content);
                Reference::parse(&uri).map_err(|why| format!("x509: cannot parse URI {}: {why}", go_quoted(&uri)))?;
            }
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
        PSS => algorithm.parameters.and_then(|of| pss_hash(of.whole)).map_or(Scheme::Unknown, Scheme::Pss),
        [42, 840, 10045, 4, 1] => Scheme::Ecdsa(Hash::Sha1),
        [42, 840, 10045, 4, 3, 2] => Scheme::Ecdsa(Hash::Sha256),
        [42, 840, 10045, 4, 3, 3] => Scheme::Ecdsa(Hash::Sha384),
        [42, 840, 10045, 4, 3, 4] => Scheme::Ecdsa(Hash::Sha512),
        ED25519 if algorithm.parameters.is_none() => Scheme::Ed25519,
        _ => Scheme::Unknown,
    }
}

/// The hash that parameters of RSASSA-PSS name everywhere, with a salt of its length (RFC 4055, 3.1): others are not
/// taken.
fn pss_hash(parameters: &[u8]) -> Option<Hash> {
    const SHA2: [u8; 10] = [6, 9, 96, 134, 72, 1, 101, 3, 4, 2];
    const MGF1: [u8; 11] = [6, 9, 42, 134, 72, 134, 247, 13, 1, 1, 8];
    let tagged = |tag: u8, parts: &[&[u8]]| {
        let content = parts.concat();
        [&[tag, u8::try_from(content.len()).unwrap_or(u8::MAX)], content.as_slice()].concat()
    };
    [(Hash::Sha256, 1, 32), (Hash::Sha384, 2, 48), (Hash::Sha512, 3, 64)].into_iter().find_map(|(hash, arc, salt)| {
        let of_hash = tagged(0x30, &[&SHA2, &[arc], &[5, 0]]);
        let mask = tagged(0x30, &[&MGF1, &of_hash]);
        let parts = [tagged(0xa0, &[&of_hash]), tagged(0xa1, &[&mask]), tagged(0xa2, &[&[2, 1, salt]])];
        (tagged(0x30, &[&parts.concat()]) == parameters).then_some(hash)
    })
}

/// How long an RSA key is, in bits.
fn rsa_bits(key: &[u8]) -> usize {
    let modulus = Reader::new(key).expect(SEQUENCE, "").and_then(|of| Reader::new(of.content).expect(INTEGER, ""));
    let digits = modulus.map(|modulus| modulus.content).unwrap_or_default();
    let digits = &digits[digits.iter().take_while(|byte| **byte == 0).count()..];
    digits.first().map_or(0, |first| digits.len() * 8 - first.leading_zeros() as usize)
}

fn verify(scheme: Scheme, key: &Key<'_>, signed: &[u8], bytes: &[u8]) -> Result<(), String> {
    let wanted = match scheme {
        Scheme::Insecure(name) => return Err(format!("x509: cannot verify signature: insecure algorithm {name}")),
        Scheme::Unknown => return Err(UNKNOWN.to_owned()),
        Scheme::Rsa(_) | Scheme::Pss(_) => "RSA",
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
    if let Key::Rsa(key) = key
        && rsa_bits(key) < LEAST_RSA_BITS
    {
        let see = "see https://go.dev/pkg/crypto/rsa#hdr-Minimum_key_size";
        return Err(format!("crypto/rsa: {}-bit keys are insecure ({see})", rsa_bits(key)));
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
        (Scheme::Pss(Hash::Sha256), _) if !is_short => &signature::RSA_PSS_2048_8192_SHA256,
        (Scheme::Pss(Hash::Sha384), _) if !is_short => &signature::RSA_PSS_2048_8192_SHA384,
        (Scheme::Pss(Hash::Sha512), _) if !is_short => &signature::RSA_PSS_2048_8192_SHA512,
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

    /// Signed with RSASSA-PSS.
    const PADDED: &str = "MIIChTCCATkCAQAwDDEKMAgGA1UEAwwBYTCCASIwDQYJKoZIhvcNAQEBBQADggEPADCCAQoCggEBAK/JBlyWBX5TZLuZL/uDTnr9\
        YJue5WyOfMlID73uHhOTyMheMLk6OcCvOt3hGGa3G6/KEolVT/uWsTm6atiAUH+YH7cCg/C1hDlz2libY4CKDajM7kuRX2F86XEj\
        mMTzQhdR+2SB75YKI0ahGfl3eVR4F5bMO0CYtP3opHzbgbFEOzvvroGLQk/uLZ+LKm5eaDqAGPufcBkP5KwPN/G1o9s1keW9/SVp\
        vntXwBQgENBtGbKFstxM4WagURtGhyHP6HxGWEUeklXHU9DxWB8ZwfAZXNCXXwVOltvimyDnRinkeey2eWqPAq/VLKulTPTCudOT\
        Wt45Q6j1k3Pcw+eivqcCAwEAAaAAMEEGCSqGSIb3DQEBCjA0oA8wDQYJYIZIAWUDBAIBBQChHDAaBgkqhkiG9w0BAQgwDQYJYIZI\
        AWUDBAIBBQCiAwIBIAOCAQEAW7RXXJOrPRJ9CvjKn4wb1D05r08eb5wF4BQibOX1WgRsQO3BsWX18TX0f9TLPWS+RoD3l9eKXECs\
        HGWYW2c3KKw88ll7qvC3jQM6LrSZA7/NY2CHuLY96N6pPlaD3h4pPSFRbGbuT0n4vPYssW98JZFO9hTmRbSoA/wA/ykWMHMppcxj\
        4097fac2s/zqeNEIQ8AahnJiMnGS7+IbQaQS6osYxdn2wtNxq1/t6p9Efe5yWHunXxl7FDlW9+mKN8pMZLfH91jf5E/RmQeH4FUo\
        +H5LrKTk+vV6ibhzVH8LVzR1pDVYFxEdpVTN515sEY9lMBQJ4YdwfdJZc/zbBeJ2ug==";

    #[test]
    fn padding_by_chance_is_verified_as_well() {
        let request = STANDARD.decode(PADDED).unwrap();
        assert_eq!(check(&request), Ok(()));
        let mut other = request.clone();
        *other.last_mut().unwrap() ^= 1;
        assert_eq!(check(&other).unwrap_err(), "crypto/rsa: verification error");
        // The salt's length is the hash's, or the algorithm is none.
        let salt = request.windows(3).rposition(|part| part == [2, 1, 32]).unwrap();
        let mut other = request;
        other[salt + 2] = 20;
        assert_eq!(check(&other).unwrap_err(), UNKNOWN);
    }

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
