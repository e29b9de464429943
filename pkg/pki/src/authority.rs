// SPDX-License-Identifier: Apache-2.0
//! The cluster's certificate authority, and what it signs.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

use crate::files::{read_or_create, write_public};
use crate::{PkiError, certificate};

/// How long the CA lasts.
const AUTHORITY_LIFE: Duration = Duration::days(3650);
/// How long what it signs lasts; renewed at 70 % of it.
const LEAF_LIFE: Duration = Duration::days(365);
/// Clocks of machines differ: certificates begin a little earlier.
const CLOCK_SKEW: Duration = Duration::minutes(5);

/// A certificate with its key, both PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its private key, PKCS #8.
    pub key: String,
}

/// The CA of a cluster.
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// The CA in `folder` (`ca.crt`, `ca.key`), made there on first use.
    ///
    /// # Errors
    /// When the files cannot be read, written or understood.
    pub fn load_or_create(folder: &Path) -> Result<Self, PkiError> {
        let key = read_or_create(&folder.join("ca.key"), || Ok(new_key()?.serialize_pem()))?;
        let key = KeyPair::from_pem(&key).map_err(|e| PkiError::malformed("the CA's key", e))?;
        let path = folder.join("ca.crt");
        let certificate = match fs::read_to_string(&path) {
            Ok(certificate) => certificate,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let certificate = new_authority(&key)?;
                write_public(&path, &certificate)?;
                certificate
            }
            Err(source) => return Err(PkiError::File { action: "read", path: path.display().to_string(), source }),
        };
        let issuer =
            Issuer::from_ca_cert_pem(&certificate, key).map_err(|e| PkiError::malformed("the CA's certificate", e))?;
        Ok(Self { certificate, issuer })
    }

    /// Its certificate, PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A serving certificate for these names and addresses.
    ///
    /// # Errors
    /// When a name is not one.
    pub fn serving(&self, names: &[String], addresses: &[IpAddr]) -> Result<Identity, PkiError> {
        let mut params = leaf("kube-apiserver", &[], ExtendedKeyUsagePurpose::ServerAuth);
        for name in names {
            let name =
                name.clone().try_into().map_err(|e| PkiError::malformed(format!("the host name {name:?}"), e))?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
        self.issue(&params)
    }

    /// A client certificate for a user of these groups.
    ///
    /// # Errors
    /// When the key cannot be made.
    pub fn client(&self, user: &str, groups: &[&str]) -> Result<Identity, PkiError> {
        self.issue(&leaf(user, groups, ExtendedKeyUsagePurpose::ClientAuth))
    }

    /// Signs a request for a client certificate. The user and groups are the caller's choice, not the
    /// request's: only its key is taken.
    ///
    /// # Errors
    /// When the request is not PEM of PKCS #10, or its signature does not hold.
    pub fn sign_client_request(&self, request: &str, user: &str, groups: &[&str]) -> Result<String, PkiError> {
        let bad = |e: rcgen::Error| PkiError::malformed("the certificate request", e);
        let mut request = CertificateSigningRequestParams::from_pem(request).map_err(bad)?;
        request.params = leaf(user, groups, ExtendedKeyUsagePurpose::ClientAuth);
        Ok(request.signed_by(&self.issuer).map_err(bad)?.pem())
    }

    fn issue(&self, params: &CertificateParams) -> Result<Identity, PkiError> {
        let key = new_key()?;
        let signed = params.signed_by(&key, &self.issuer).map_err(|e| PkiError::malformed("a new certificate", e))?;
        Ok(Identity { certificate: signed.pem(), key: key.serialize_pem() })
    }

    /// The identity in `folder` as `NAME.crt` and `NAME.key`, if it is there, is ours, and `fits`, and has
    /// not come to 70 % of its life; else a new one, written there.
    ///
    /// # Errors
    /// When the files cannot be read or written, or `make` fails.
    pub fn kept(
        &self,
        folder: &Path,
        name: &str,
        fits: impl FnOnce(&str) -> bool,
        make: impl FnOnce(&Self) -> Result<Identity, PkiError>,
    ) -> Result<Identity, PkiError> {
        let (certificate_path, key_path) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
        if let (Ok(certificate), Ok(key)) = (fs::read_to_string(&certificate_path), fs::read_to_string(&key_path))
            && certificate::is_signed_by(&certificate, &self.certificate)
            && !certificate::is_due(&certificate, jiff::Timestamp::now())
            && fits(&certificate)
        {
            return Ok(Identity { certificate, key });
        }
        let identity = make(self)?;
        crate::write_private(&key_path, &identity.key)?;
        write_public(&certificate_path, &identity.certificate)?;
        Ok(identity)
    }
}

/// A new key of the kind that all of the cluster uses: P-256.
fn new_key() -> Result<KeyPair, PkiError> {
    KeyPair::generate().map_err(|e| PkiError::malformed("a new key", e))
}

/// A new key and a request to sign it, both PEM: `(key, request)`.
///
/// # Errors
/// When the key cannot be made.
pub fn request(user: &str) -> Result<(String, String), PkiError> {
    let key = new_key()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(user, &[]);
    let request = params.serialize_request(&key).and_then(|r| r.pem());
    Ok((key.serialize_pem(), request.map_err(|e| PkiError::malformed("a certificate request", e))?))
}

/// A certificate for servers that only vouches for itself, as long as an authority's lasts: better than none where a
/// client asks for a name that nobody has one for.
///
/// # Errors
/// When it cannot be made.
pub fn self_signed(title: &str, name: &str) -> Result<Identity, PkiError> {
    let malformed = |e| PkiError::malformed("a self-signed certificate", e);
    let mut params = leaf(title, &[], ExtendedKeyUsagePurpose::ServerAuth);
    params.subject_alt_names = vec![SanType::DnsName(name.try_into().map_err(malformed)?)];
    lasting(&mut params, AUTHORITY_LIFE);
    let key = new_key()?;
    let certificate = params.self_signed(&key).map_err(malformed)?.pem();
    Ok(Identity { certificate, key: key.serialize_pem() })
}

fn new_authority(key: &KeyPair) -> Result<String, PkiError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject("knarr-ca", &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    lasting(&mut params, AUTHORITY_LIFE);
    Ok(params.self_signed(key).map_err(|e| PkiError::malformed("a new CA", e))?.pem())
}

fn leaf(user: &str, groups: &[&str], usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(user, groups);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    lasting(&mut params, LEAF_LIFE);
    params
}

fn lasting(params: &mut CertificateParams, life: Duration) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - CLOCK_SKEW;
    params.not_after = now + life;
}

/// The user is the common name, the groups are the organizations.
/// <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#x509-client-certificates>
fn subject(user: &str, groups: &[&str]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for group in groups {
        name.push(DnType::OrganizationName, *group);
    }
    name.push(DnType::CommonName, user);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject_of(certificate: &str) -> certificate::Subject {
        certificate::subject(&certificate::der(certificate).unwrap()).unwrap()
    }

    #[test]
    fn a_self_signed_certificate_has_its_name() {
        let identity = self_signed("nobody's", "default.test").unwrap();
        let (names, _) = certificate::alternative_names(&identity.certificate).unwrap();
        assert!(names.contains("default.test") && identity.key.contains("PRIVATE KEY"));
        assert!(!certificate::is_due(&identity.certificate, jiff::Timestamp::now()));
    }

    #[test]
    fn the_authority_is_made_once_and_signs_what_holds() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_create(folder.path()).unwrap();
        let again = Authority::load_or_create(folder.path()).unwrap();
        assert_eq!(authority.certificate(), again.certificate());
        let admin = again.client("admin", &["system:masters"]).unwrap();
        assert!(certificate::is_signed_by(&admin.certificate, authority.certificate()));
        let subject = subject_of(&admin.certificate);
        assert_eq!((subject.common_name.as_str(), subject.organizations), ("admin", vec!["system:masters".to_owned()]));
    }

    #[test]
    fn a_request_gets_the_name_that_the_signer_chooses() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_create(folder.path()).unwrap();
        let (_, request) = request("system:admin").unwrap();
        let signed = authority.sign_client_request(&request, "system:node:a", &["system:nodes"]).unwrap();
        assert_eq!(subject_of(&signed).common_name, "system:node:a");
        assert!(authority.sign_client_request("nonsense", "a", &[]).is_err());
    }

    #[test]
    fn a_kept_identity_is_made_again_when_it_no_longer_fits() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_create(folder.path()).unwrap();
        let make = |a: &Authority| a.serving(&["localhost".into()], &[]);
        let first = authority.kept(folder.path(), "serving", |_| true, make).unwrap();
        let same = authority.kept(folder.path(), "serving", |_| true, make).unwrap();
        let other = authority.kept(folder.path(), "serving", |_| false, make).unwrap();
        assert_eq!(first.certificate, same.certificate);
        assert_ne!(first.certificate, other.certificate);
    }
}
