// SPDX-License-Identifier: Apache-2.0
//! What a certificate says.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::x509::X509Name;

use crate::PkiError;

/// Whom a certificate names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// The user.
    pub common_name: String,
    /// The groups.
    pub organizations: Vec<String>,
}

/// The subject of a PEM certificate signing request.
///
/// # Errors
/// [`PkiError::Malformed`] where it is none.
pub fn subject_of_request(request: &str) -> Result<Subject, PkiError> {
    let what = "a certificate signing request";
    let pem = pem::parse(request).map_err(|e| PkiError::malformed(what, e))?;
    let parsed = X509CertificationRequest::from_der(pem.contents()).map_err(|e| PkiError::malformed(what, e))?;
    Ok(subject_of_name(&parsed.1.certification_request_info.subject))
}

/// The subject of a DER certificate.
///
/// # Errors
/// [`PkiError::Malformed`] where it is none.
pub fn subject(der: &[u8]) -> Result<Subject, PkiError> {
    Ok(subject_of_name(parse(der)?.subject()))
}

fn subject_of_name(name: &X509Name<'_>) -> Subject {
    let text = |a: &x509_parser::x509::AttributeTypeAndValue<'_>| a.as_str().map(str::to_owned).ok();
    Subject {
        common_name: name.iter_common_name().find_map(text).unwrap_or_default(),
        organizations: name.iter_organization().filter_map(text).collect(),
    }
}

/// The DER form of the first certificate in a PEM text.
///
/// # Errors
/// [`PkiError::Malformed`] where there is none.
pub fn der(certificate: &str) -> Result<Vec<u8>, PkiError> {
    pem::parse(certificate).map(pem::Pem::into_contents).map_err(|e| PkiError::malformed("a certificate", e))
}

/// SHA-256 of a PEM certificate's DER form, hexadecimal: how join tokens name a CA.
///
/// # Errors
/// [`PkiError::Malformed`] where it is none.
pub fn hash(certificate: &str) -> Result<String, PkiError> {
    Ok(fingerprint(&der(certificate)?))
}

/// SHA-256 of a certificate in DER form, hexadecimal.
#[must_use]
pub fn fingerprint(der: &[u8]) -> String {
    hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der))
}

/// Whether `authority` signed `certificate`; both PEM.
pub(crate) fn is_signed_by(certificate: &str, authority: &str) -> bool {
    let (Ok(leaf), Ok(ca)) = (der(certificate), der(authority)) else { return false };
    match (parse(&leaf), parse(&ca)) {
        (Ok(leaf), Ok(ca)) => leaf.issuer() == ca.subject() && leaf.verify_signature(Some(ca.public_key())).is_ok(),
        _ => false,
    }
}

/// When 70 % of the certificate's life are over: the time to renew it.
///
/// # Errors
/// [`PkiError::Malformed`] where it is none.
pub fn renew_at(certificate: &str) -> Result<Timestamp, PkiError> {
    let der = der(certificate)?;
    let validity = parse(&der)?.validity().clone();
    let (from, to) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    let at = from + (to - from) / 10 * 7;
    Timestamp::from_second(at).map_err(|e| PkiError::malformed("a certificate's validity", e))
}

/// Whether it is time to renew the certificate, also because it cannot be read.
pub(crate) fn is_due(certificate: &str, now: Timestamp) -> bool {
    !renew_at(certificate).is_ok_and(|at| now < at)
}

/// The names and addresses that a serving certificate is for.
///
/// # Errors
/// [`PkiError::Malformed`] where it is none.
pub fn alternative_names(certificate: &str) -> Result<(BTreeSet<String>, BTreeSet<IpAddr>), PkiError> {
    let der = der(certificate)?;
    let certificate = parse(&der)?;
    let extension =
        certificate.subject_alternative_name().map_err(|e| PkiError::malformed("a certificate's names", e))?;
    let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    for name in extension.iter().flat_map(|e| &e.value.general_names) {
        match name {
            GeneralName::DNSName(name) => drop(names.insert((*name).to_owned())),
            GeneralName::IPAddress(bytes) => addresses.extend(address(bytes)),
            _ => {}
        }
    }
    Ok((names, addresses))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, PkiError> {
    X509Certificate::from_der(der).map(|(_, c)| c).map_err(|e| PkiError::malformed("a certificate", e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Authority;

    #[test]
    fn a_serving_certificate_has_its_names_and_is_renewed_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_create(folder.path()).unwrap();
        let address: IpAddr = "10.43.0.1".parse().unwrap();
        let serving = authority.serving(&["kubernetes".into()], &[address]).unwrap().certificate;
        let (names, addresses) = alternative_names(&serving).unwrap();
        assert!(names.contains("kubernetes") && addresses.contains(&address));
        let now = Timestamp::now();
        let days = |n: i64| jiff::SignedDuration::from_hours(24 * n);
        assert!(!is_due(&serving, now));
        assert!(is_due(&serving, now + days(256)));
        assert!(!is_due(&serving, now + days(254)));
        assert!(is_due("nonsense", now));
    }

    #[test]
    fn another_authority_did_not_sign_it() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (a, b) = (Authority::load_or_create(a.path()).unwrap(), Authority::load_or_create(b.path()).unwrap());
        let client = a.client("x", &[]).unwrap().certificate;
        assert!(is_signed_by(&client, a.certificate()));
        assert!(!is_signed_by(&client, b.certificate()));
        assert_ne!(hash(a.certificate()).unwrap(), hash(b.certificate()).unwrap());
    }
}
