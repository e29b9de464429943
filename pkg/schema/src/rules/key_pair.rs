// SPDX-License-Identifier: Apache-2.0

//! Whether a certificate and a private key belong together, in the words of Go's `crypto/tls` (`X509KeyPair`).

use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair as _,
};

use super::asn1::{self, BIT_STRING, INTEGER, OBJECT_IDENTIFIER, Reader, SEQUENCE};
use super::pem;

/// A public key: how it is used, and its bits.
#[derive(PartialEq)]
struct PublicKey {
    algorithm: Algorithm,
    bits: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq)]
enum Algorithm {
    Rsa,
    Ecdsa,
    Ed25519,
}

/// What is wrong with these two PEM files. Nothing is said of keys that only Go can read.
pub fn fault(certificate: &[u8], key: &[u8]) -> Option<String> {
    let (certificate, key) = (String::from_utf8_lossy(certificate), String::from_utf8_lossy(key));
    let certificate = match certificate_of(&certificate) {
        Ok(certificate) => certificate,
        Err(fault) => return Some(fault),
    };
    let key = match key_of(&key) {
        Ok(key) => key,
        Err(fault) => return Some(fault),
    };
    let Some(public) = public_key(&certificate) else { return Some("x509: malformed certificate".to_owned()) };
    let Some(own) = own_public_key(&key) else {
        return (!asn1::is_sequence(&key)).then(|| "tls: failed to parse private key".to_owned());
    };
    let why = match public {
        None => "tls: unknown public key algorithm",
        Some(public) if public.algorithm != own.algorithm => "tls: private key type does not match public key type",
        Some(public) if public != own => "tls: private key does not match public key",
        Some(_) => return None,
    };
    Some(why.to_owned())
}

/// The first certificate of a file.
fn certificate_of(text: &str) -> Result<Vec<u8>, String> {
    let (first, other) = find(text, |kind| kind == "CERTIFICATE");
    first.ok_or_else(|| match other.as_slice() {
        [] => "tls: failed to find any PEM data in certificate input".to_owned(),
        [only] if only.ends_with("PRIVATE KEY") => {
            "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may \
             have been switched"
                .to_owned()
        }
        _ => skipped("\"CERTIFICATE\" PEM block in certificate input", &other),
    })
}

/// The private key of a file.
fn key_of(text: &str) -> Result<Vec<u8>, String> {
    let (first, other) = find(text, |kind| kind == "PRIVATE KEY" || kind.ends_with(" PRIVATE KEY"));
    first.ok_or_else(|| match other.as_slice() {
        [] => "tls: failed to find any PEM data in key input".to_owned(),
        ["CERTIFICATE"] => "tls: found a certificate rather than a key in the PEM for the private key".to_owned(),
        _ => skipped("PEM block with type ending in \"PRIVATE KEY\" in key input", &other),
    })
}

fn skipped(what: &str, other: &[&str]) -> String {
    let other = other.join(" ");
    format!("tls: failed to find {what} after skipping PEM blocks of the following types: [{other}]")
}

/// The first block of such a type, and the types of those before it.
fn find(text: &str, is_wanted: impl Fn(&str) -> bool) -> (Option<Vec<u8>>, Vec<&str>) {
    let (mut rest, mut other) = (text, Vec::new());
    while let Some((block, after)) = pem::next(rest) {
        if is_wanted(block.kind) {
            return (Some(block.der), other);
        }
        other.push(block.kind);
        rest = after;
    }
    (None, other)
}

/// The key that a certificate is for: none of ours, or no certificate at all (RFC 5280, section 4.1).
fn public_key(certificate: &[u8]) -> Option<Option<PublicKey>> {
    // The first number stands for two: 1.2 and 1.3.
    const RSA: &[u32] = &[42, 840, 113_549, 1, 1, 1];
    const EC: &[u32] = &[42, 840, 10_045, 2, 1];
    const ED25519: &[u32] = &[43, 101, 112];
    let certificate = Reader::new(certificate).expect(SEQUENCE, "").ok()?;
    let signed = Reader::new(certificate.content).expect(SEQUENCE, "").ok()?;
    let mut fields = Reader::new(signed.content);
    // The version, where there is one, and the serial number.
    if fields.any().ok()??.head.tag != INTEGER {
        fields.expect(INTEGER, "").ok()?;
    }
    // How it is signed, by whom, since and until when, for whom.
    for _ in 0..4 {
        fields.expect(SEQUENCE, "").ok()?;
    }
    let info = fields.expect(SEQUENCE, "").ok()?;
    let mut info = Reader::new(info.content);
    let algorithm = info.expect(SEQUENCE, "").ok()?;
    let identifier = Reader::new(algorithm.content).expect(OBJECT_IDENTIFIER, "").ok()?;
    let bits = asn1::bits(info.expect(BIT_STRING, "").ok()?.content).ok()?;
    let algorithm = match asn1::identifier(identifier.content).ok()?.as_slice() {
        RSA => Algorithm::Rsa,
        EC => Algorithm::Ecdsa,
        ED25519 => Algorithm::Ed25519,
        _ => return Some(None),
    };
    Some(Some(PublicKey { algorithm, bits }))
}

/// The public half of a private key, in any of the forms that Go reads.
fn own_public_key(key: &[u8]) -> Option<PublicKey> {
    if let Ok(pair) = rsa::KeyPair::from_der(key).or_else(|_| rsa::KeyPair::from_pkcs8(key)) {
        return Some(PublicKey { algorithm: Algorithm::Rsa, bits: pair.public_key().as_ref().to_vec() });
    }
    for curve in [&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1_SIGNING, &ECDSA_P521_SHA512_ASN1_SIGNING] {
        let pair = EcdsaKeyPair::from_pkcs8(curve, key).or_else(|_| EcdsaKeyPair::from_private_key_der(curve, key));
        if let Ok(pair) = pair {
            return Some(PublicKey { algorithm: Algorithm::Ecdsa, bits: pair.public_key().as_ref().to_vec() });
        }
    }
    let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(key).ok()?;
    Some(PublicKey { algorithm: Algorithm::Ed25519, bits: pair.public_key().as_ref().to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: &str = "\
    MIIBLDCB36ADAgECAhQpgN4DHVD3U8z2pocHNidzSAKr9zAFBgMrZXAwDDEKMAgGA1UEAwwBeDAeFw0yNjExMjIxMTM4NTZaFw0z\
    NjExMTkxMTM4NTZaMAwxCjAIBgNVBAMMAXgwKjAFBgMrZXADIQB8VDjgO8VN5ayE1nJ09MQOib3HtngYQP0llH7XxTN9t6NTMFEw\
    HQYDVR0OBBYEFKp/kktvHUgOQafGCW8q4yV5Q9d5MB8GA1UdIwQYMBaAFKp/kktvHUgOQafGCW8q4yV5Q9d5MA8GA1UdEwEB/wQF\
    MAMBAf8wBQYDK2VwA0EApCBT8EhMeQzr9wFwVIeysKNIQsuEBqI5fRiKgrx9zZOZmszsUnIgZ7nufRU5YEtwMd3AQ0+TS7yKpcHK\
    wnQZBQ==";
    const KEY: &str = "MC4CAQAwBQYDK2VwBCIEIEmelbes3fqOjnuTnZFvtGwCcfaycPC2rbpAQ1wITsxM";
    const OTHER: &str = "MC4CAQAwBQYDK2VwBCIEINpcCXIz60D33zTEhyFnqHSSvYmUvue5tw1EfwZrmb1N";
    const EC_KEY: &str = "\
    MHcCAQEEIM4eYrus5y44WSUueOMHiuMKdnTxulon1GdLSXfItqS4oAoGCCqGSM49AwEHoUQDQgAEwnxKvSRejL06wSsj9WKjYME4\
    9YrFXI3R5RDa2y5AbOq+71hreM+VXlJgX7OJ5vfQ/dN2wyd4N21ki3uFMRAGIg==";

    fn block(kind: &str, base64: &str) -> String {
        format!("-----BEGIN {kind}-----\n{base64}\n-----END {kind}-----\n")
    }

    #[test]
    fn what_does_not_belong_together_is_told() {
        let certificate = block("CERTIFICATE", CERTIFICATE);
        let key = block("PRIVATE KEY", KEY);
        for (certificate, key, want) in [
            (&*certificate, &*key, ""),
            ("x", &*key, "tls: failed to find any PEM data in certificate input"),
            (
                &*key,
                "",
                "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs \
                 may have been switched",
            ),
            (
                &*block("A", "").repeat(2),
                "",
                "tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the \
                 following types: [A A]",
            ),
            (&*certificate, "", "tls: failed to find any PEM data in key input"),
            (&*certificate, &*certificate, "tls: found a certificate rather than a key in the PEM for the private key"),
            (
                &*certificate,
                &*block("A", ""),
                "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM \
                 blocks of the following types: [A]",
            ),
            (&*certificate, &*block("PRIVATE KEY", "aGVsbG8="), "tls: failed to parse private key"),
            (&*block("CERTIFICATE", "aGVsbG8="), &*key, "x509: malformed certificate"),
            (&*certificate, &*block("PRIVATE KEY", OTHER), "tls: private key does not match public key"),
            (&*certificate, &*block("EC PRIVATE KEY", EC_KEY), "tls: private key type does not match public key type"),
        ] {
            assert_eq!(fault(certificate.as_bytes(), key.as_bytes()).unwrap_or_default(), want);
        }
    }
}
