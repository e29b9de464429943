// SPDX-License-Identifier: Apache-2.0
//! The files of a server that prove who it is and let others in: CA, serving certificate, admin
//! kubeconfig, join token. Made in the data dir on the first start, kept from then on.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use knarr_pki::service_account::Keys;
use knarr_pki::{Authority, Identity, JoinToken, PkiError, certificate, join_token, kubeconfig};

use crate::server::{Config, ServerError};

/// The kubeconfig of the cluster's administrator, in the data dir.
pub const ADMIN_KUBECONFIG: &str = "admin.kubeconfig";
/// The token with which nodes join, in the data dir.
pub const AGENT_TOKEN: &str = "agent-token";

/// Who the server is and whom it lets in.
pub struct Credentials {
    /// The cluster's CA.
    pub authority: Arc<Authority>,
    /// The keys of service-account tokens.
    pub account_keys: Arc<Keys>,
    /// What nodes join with.
    pub token: JoinToken,
    /// Where the keys are.
    folder: PathBuf,
    names: BTreeSet<String>,
    addresses: BTreeSet<IpAddr>,
}

impl Credentials {
    /// Reads what is in the data dir and makes what is not. `bound` is where the server listens,
    /// `reached_at` the addresses by which others know it.
    ///
    /// # Errors
    /// When a file cannot be read or written, or the configured token is another cluster's.
    pub fn load_or_create(config: &Config, bound: SocketAddr, reached_at: &[IpAddr]) -> Result<Self, ServerError> {
        let folder = config.data_dir.join("tls");
        make_private(&folder)?;
        let authority = Arc::new(Authority::load_or_create(&folder)?);
        let account_keys = Arc::new(Keys::load_or_create(&folder)?);
        let token = token(&config.data_dir, config.token.as_deref(), &authority)?;
        let (names, addresses) = known_as(config, bound, reached_at);
        let admin = authority.kept(&folder, "admin", |_| true, |a| a.client("admin", &["system:masters"]))?;
        let server = format!("https://{}", nearest(bound));
        let content = kubeconfig::with_certificate(&server, authority.certificate(), "admin", &admin);
        knarr_pki::write_private(&config.data_dir.join(ADMIN_KUBECONFIG), &content)?;
        Ok(Self { authority, account_keys, token, folder, names, addresses })
    }

    /// The certificate to serve with: the kept one while it is good and names all it must.
    ///
    /// # Errors
    /// When it cannot be read, made or written.
    pub fn serving(&self) -> Result<Identity, PkiError> {
        let fits = |kept: &str| {
            certificate::alternative_names(kept).is_ok_and(|(names, addresses)| {
                names.is_superset(&self.names) && addresses.is_superset(&self.addresses)
            })
        };
        let names: Vec<_> = self.names.iter().cloned().collect();
        let addresses: Vec<_> = self.addresses.iter().copied().collect();
        self.authority.kept(&self.folder, "serving", fits, |a| a.serving(&names, &addresses))
    }
}

/// Makes a folder that only its owner can look into, if it is not there.
///
/// # Errors
/// [`ServerError::DataDir`].
pub fn make_private(folder: &Path) -> Result<(), ServerError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|reason| ServerError::DataDir { path: folder.to_owned(), reason })
}

/// The address at which a client on this host finds the server.
#[must_use]
pub fn nearest(bound: SocketAddr) -> SocketAddr {
    let ip = if bound.ip().is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { bound.ip() };
    SocketAddr::new(ip, bound.port())
}

/// The configured token if there is one, else the one of the last start, else a new one.
fn token(data_dir: &Path, configured: Option<&str>, authority: &Authority) -> Result<JoinToken, PkiError> {
    let path = data_dir.join(AGENT_TOKEN);
    let kept = std::fs::read_to_string(&path).ok();
    let secret = match configured.or(kept.as_deref()) {
        Some(text) => {
            let token: JoinToken = text.parse()?;
            token.check_authority(authority.certificate())?;
            token.secret
        }
        None => join_token::new_secret()?,
    };
    let token = JoinToken::new(&secret, authority.certificate())?;
    let content = format!("{token}\n");
    if kept.as_ref() != Some(&content) {
        knarr_pki::write_private(&path, &content)?;
    }
    Ok(token)
}

/// The names and addresses that clients may use for the server.
fn known_as(config: &Config, bound: SocketAddr, reached_at: &[IpAddr]) -> (BTreeSet<String>, BTreeSet<IpAddr>) {
    let service = "kubernetes.default.svc";
    let names = ["localhost", &config.host_name, "kubernetes", "kubernetes.default", service];
    let mut names: BTreeSet<String> = names.into_iter().filter(|n| !n.is_empty()).map(str::to_lowercase).collect();
    names.insert(format!("{service}.{}", config.cluster_domain));
    let mut addresses: BTreeSet<IpAddr> = reached_at.iter().copied().collect();
    addresses.insert(Ipv4Addr::LOCALHOST.into());
    if !bound.ip().is_unspecified() {
        addresses.insert(bound.ip());
    }
    for more in &config.tls_san {
        match more.parse() {
            Ok(address) => addresses.insert(address),
            Err(_) => names.insert(more.to_lowercase()),
        };
    }
    (names, addresses)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn config(folder: &Path) -> Config {
        Config { host_name: "Host".into(), ..Config::new(folder.join("data")) }
    }

    fn load(config: &Config) -> Result<Credentials, ServerError> {
        Credentials::load_or_create(config, "0.0.0.0:6443".parse().unwrap(), &["10.43.0.1".parse().unwrap()])
    }

    #[test]
    fn credentials_are_made_once_and_for_their_owner() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let first = load(&config).unwrap();
        let again = load(&config).unwrap();
        assert_eq!(first.token, again.token);
        assert_eq!(first.serving().unwrap().certificate, again.serving().unwrap().certificate);
        for name in [ADMIN_KUBECONFIG, AGENT_TOKEN, "tls/ca.key", "tls/serving.key"] {
            let mode = std::fs::metadata(config.data_dir.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        assert_eq!(std::fs::metadata(&config.data_dir).unwrap().permissions().mode() & 0o777, 0o700);
        let kubeconfig = std::fs::read_to_string(config.data_dir.join(ADMIN_KUBECONFIG)).unwrap();
        assert!(kubeconfig.contains("server: https://127.0.0.1:6443\n"));
    }

    #[test]
    fn the_certificate_has_all_names_and_follows_the_flags() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path());
        let first = load(&config).unwrap().serving().unwrap().certificate;
        let (names, addresses) = certificate::alternative_names(&first).unwrap();
        for name in [
            "localhost",
            "host",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ] {
            assert!(names.contains(name), "{name}");
        }
        assert!(addresses.contains(&"10.43.0.1".parse().unwrap()) && addresses.contains(&"127.0.0.1".parse().unwrap()));
        config.tls_san = vec!["api.example.com".into(), "192.0.2.7".into()];
        let other = load(&config).unwrap().serving().unwrap().certificate;
        let (names, addresses) = certificate::alternative_names(&other).unwrap();
        assert!(names.contains("api.example.com") && addresses.contains(&"192.0.2.7".parse().unwrap()));
    }

    #[test]
    fn a_token_may_be_a_secret_or_whole_but_not_another_clusters() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path());
        config.token = Some("s3cret".into());
        let whole = load(&config).unwrap().token.to_string();
        assert!(whole.starts_with("K10") && whole.ends_with("::node:s3cret"));
        config.token = Some(whole.clone());
        assert_eq!(load(&config).unwrap().token.to_string(), whole);
        config.token = Some(format!("K10{}::node:s3cret", "0".repeat(64)));
        assert!(matches!(load(&config), Err(ServerError::Pki(PkiError::OtherAuthority { .. }))));
    }
}
