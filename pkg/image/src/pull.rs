// SPDX-License-Identifier: Apache-2.0

//! Images fetched from registries: mirrors in turn, layers in parallel, unpacked as they come.

use std::collections::{BTreeSet, HashSet};
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use oci_client::Client;
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::secrets::RegistryAuth;
use tokio::sync::mpsc;

use crate::access::Access;
use crate::config::Platform;
use crate::credentials::Credentials;
use crate::digest;
use crate::error::{Error, Result};
use crate::manifest::{ACCEPTED, ConfigFile, Descriptor, Manifest, choose};
use crate::mutual_tls::MutualTls;
use crate::reference::Reference;
use crate::registries::{Endpoint, Registries, Tls};
use crate::store::{ImageStore, Record};
use crate::unpack::{self, Unpacked};
use crate::{Image, PullOptions, PullPolicy};

/// Layers of one image that come at once.
pub(crate) const PARALLEL_LAYERS: usize = 4;
/// How often a layer is asked for when the connection breaks.
const ATTEMPTS_MAX: u32 = 3;
/// An index in an index is odd; more of them are an attack.
const INDEX_DEPTH_MAX: u32 = 3;
/// The longest manifest or configuration, in bytes.
pub(crate) const DOCUMENT_BYTES_MAX: u64 = 8 << 20;
/// How long a registry may take to accept a connection, and to say the next piece.
pub(crate) const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
pub(crate) const READ_PATIENCE: Duration = Duration::from_secs(60);
/// Pieces of a layer that wait to be unpacked.
const PIECES_WAITING: usize = 16;

impl ImageStore {
    /// Gets an image as `options` say: from here, or from the first of its registry's endpoints
    /// that has it. Cancel-safe: what was half done is thrown away.
    pub async fn pull(&self, name: &str, options: &PullOptions) -> Result<Image> {
        let reference: Reference = name.parse()?;
        let present = match options.policy {
            PullPolicy::Always if reference.digest.is_none() => None,
            _ => self.usable(name, &options.keyring)?,
        };
        match (present, options.policy) {
            (Some(image), _) => return Ok(image),
            (None, PullPolicy::Never) => return Err(Error::NeverPull(name.to_owned())),
            (None, _) => {}
        }
        let mut failures = Vec::new();
        for endpoint in options.registries.endpoints(&reference) {
            for login in logins(&reference, &endpoint, options)? {
                match self.pull_from(&reference, &endpoint, &login, options).await {
                    Ok(image) => return Ok(image),
                    // What came is wrong or cannot be kept: another way to it changes nothing.
                    Err(e) if is_final(&e) => return Err(e),
                    Err(e) => failures.push((endpoint.host.clone(), e)),
                }
            }
        }
        Err(summary(&reference, failures))
    }

    async fn pull_from(
        &self,
        reference: &Reference,
        endpoint: &Endpoint,
        login: &Login,
        options: &PullOptions,
    ) -> Result<Image> {
        let source = Source::new(reference, endpoint, &options.registries, &login.auth())?;
        let platform = options.platform.clone().unwrap_or_else(Platform::host);
        let (manifest_digest, config, layers) = source.resolve(&platform).await?;
        let config_bytes = source.document(&config).await?;
        let what = format!("configuration of {reference}");
        let file = ConfigFile::parse(&what, &config_bytes)?;
        file.check_platform(&reference.to_string(), &platform)?;
        let diff_ids = file.diff_ids(&what, layers.len())?.to_vec();
        let store = self.clone();
        let _until_the_image_is_written = blocking(move || store.keep_all_layers()).await?;
        let mut seen = HashSet::new();
        let wanted = layers.iter().zip(&diff_ids).filter(|(_, diff_id)| seen.insert(*diff_id));
        // All futures at once, not a stream that makes them: that one's closure would not be Send.
        let fetches: Vec<_> = wanted.map(|(layer, diff_id)| self.fetch_layer(&source, layer, diff_id)).collect();
        futures::stream::iter(fetches).buffer_unordered(PARALLEL_LAYERS).try_collect::<()>().await?;
        let shown = login.credentials.as_ref().filter(|_| login.of_the_pod);
        self.add(Record {
            access: Some(Access::after_pull(&config.digest, reference, shown)),
            id: config.digest,
            names: if reference.digest.is_none() { BTreeSet::from([reference.to_string()]) } else { BTreeSet::new() },
            digests: BTreeSet::from([format!("{}@{manifest_digest}", reference.name())]),
            config: file.config.unwrap_or_default(),
            layers: diff_ids,
            size_bytes: layers.iter().map(|l| l.size).sum(),
        })
    }

    /// Makes a layer be here.
    async fn fetch_layer(&self, source: &Source, layer: &Descriptor, diff_id: &str) -> Result<()> {
        check_layer_type(layer)?;
        if self.layer(diff_id)?.is_some() {
            return Ok(());
        }
        let (store, name) = (self.clone(), diff_id.to_owned());
        let _lock = blocking(move || store.lock(&name)).await?;
        if self.layer(diff_id)?.is_some() {
            return Ok(());
        }
        let mut attempt = 1;
        loop {
            match self.fetch_layer_once(source, layer, diff_id).await {
                Ok(()) => return Ok(()),
                Err(e) if is_final(&e) || attempt == ATTEMPTS_MAX => return Err(e),
                Err(e) => tracing::warn!(layer = %layer.digest, error = %e, "asking for a layer again"),
            }
            attempt += 1;
        }
    }

    async fn fetch_layer_once(&self, source: &Source, layer: &Descriptor, diff_id: &str) -> Result<()> {
        let scratch = self.scratch()?;
        let folder = scratch.path().join("layer");
        std::fs::create_dir(&folder).map_err(Error::io("cannot make", &folder))?;
        let (sender, receiver) = mpsc::channel(PIECES_WAITING);
        let feed = source.feed(layer, sender);
        let (name, into) = (layer.digest.clone(), folder.clone());
        let work = blocking(move || unpack::unpack(&name, Pieces::new(receiver), &into));
        let (fed, unpacked) = tokio::join!(feed, work);
        fed?; // the cause, where unpacking only saw an end
        let Unpacked { digest, diff_id: got, implied, .. } = unpacked?;
        digest::verify(format!("layer of {}", source.name), &layer.digest, &digest)?;
        digest::verify(format!("content of layer {} of {}", layer.digest, source.name), diff_id, &got)?;
        let (store, diff_id) = (self.clone(), diff_id.to_owned());
        blocking(move || {
            let kept = store.keep_layer(&diff_id, &folder, &implied);
            drop(scratch);
            kept
        })
        .await
    }
}

/// How a registry is asked.
enum Transport {
    /// By oci-client, with these credentials.
    Oci(Client, RegistryAuth),
    /// With a certificate of ours.
    Mutual(MutualTls),
}

/// One endpoint of one image.
struct Source {
    transport: Transport,
    image: oci_client::Reference,
    /// The image's own name, for messages.
    name: String,
}

impl Source {
    fn new(reference: &Reference, endpoint: &Endpoint, registries: &Registries, auth: &RegistryAuth) -> Result<Source> {
        let (host, repository) = (endpoint.host.clone(), endpoint.repository.clone());
        let image = match (&reference.digest, &reference.tag) {
            (Some(digest), _) => oci_client::Reference::with_digest(host, repository, digest.clone()),
            (None, tag) => {
                let tag = tag.clone().unwrap_or_else(|| "latest".to_owned());
                oci_client::Reference::with_tag(host, repository, tag)
            }
        };
        let name = reference.to_string();
        let tls = registries.tls(&endpoint.host).filter(|_| !endpoint.plain_http);
        let transport = match tls {
            Some(tls) if tls.cert_file.is_some() => Transport::Mutual(MutualTls::new(endpoint, tls, auth, &name)?),
            _ => Transport::Oci(oci_client(endpoint, tls)?, auth.clone()),
        };
        Ok(Source { transport, image, name })
    }

    /// The bytes of a manifest, unverified.
    async fn manifest(&self, asked: &oci_client::Reference) -> Result<Bytes> {
        match &self.transport {
            Transport::Oci(client, auth) => {
                let manifest = client.pull_manifest_raw(asked, auth, &ACCEPTED).await;
                Ok(manifest.map_err(|e| self.failed(e))?.0)
            }
            Transport::Mutual(registry) => registry.manifest(asked.digest().or(asked.tag()).unwrap_or("latest")).await,
        }
    }

    /// The pieces of a blob, unverified.
    async fn blob(&self, digest: &str) -> Result<BoxStream<'static, io::Result<Bytes>>> {
        match &self.transport {
            Transport::Oci(client, _) => {
                Ok(client.pull_blob_stream(&self.image, digest).await.map_err(|e| self.failed(e))?.stream)
            }
            Transport::Mutual(registry) => registry.blob(digest).await,
        }
    }

    /// Digest of the named manifest; configuration and layers of the image for the platform.
    async fn resolve(&self, platform: &Platform) -> Result<(String, Descriptor, Vec<Descriptor>)> {
        let mut asked = self.image.clone();
        let mut named = None;
        for _ in 0..INDEX_DEPTH_MAX {
            let bytes = self.manifest(&asked).await?;
            let digest = digest::of(&bytes);
            let what = format!("manifest of {}", self.name);
            if let Some(want) = asked.digest() {
                digest::verify(what.as_str(), want, &digest)?;
            }
            let named = named.get_or_insert(digest).clone();
            match Manifest::parse(&what, &bytes)? {
                Manifest::Image { config, layers } => return Ok((named, config, layers)),
                Manifest::Index { manifests } => {
                    let chosen = choose(&self.name, &manifests, platform)?;
                    digest::hex_part(&chosen.digest)?;
                    asked = asked.clone_with_digest(chosen.digest.clone());
                }
            }
        }
        Err(Error::Malformed {
            what: format!("manifest of {}", self.name),
            reason: "indexes lie in indexes without end".to_owned(),
        })
    }

    /// A small blob, verified.
    async fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        digest::hex_part(&descriptor.digest)?;
        let what = format!("configuration of {}", self.name);
        if descriptor.size > DOCUMENT_BYTES_MAX {
            let reason = format!("{} bytes are too many", descriptor.size);
            return Err(Error::Malformed { what, reason });
        }
        let mut stream = self.blob(&descriptor.digest).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = stream.next().await {
            bytes.extend_from_slice(&piece.map_err(|e| self.broken(&what, &e))?);
            if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
                let reason = "it is longer than it said".to_owned();
                return Err(Error::Malformed { what, reason });
            }
        }
        digest::verify(what, &descriptor.digest, &digest::of(&bytes))?;
        Ok(bytes)
    }

    /// Hands a layer's pieces to who unpacks it.
    async fn feed(&self, layer: &Descriptor, to: mpsc::Sender<io::Result<Bytes>>) -> Result<()> {
        digest::hex_part(&layer.digest)?;
        let what = format!("layer {}", layer.digest);
        let mut stream = self.blob(&layer.digest).await?;
        while let Some(piece) = stream.next().await {
            match piece {
                Ok(piece) => {
                    if to.send(Ok(piece)).await.is_err() {
                        return Ok(()); // unpacking stopped, and says why
                    }
                }
                // A wrong digest is found by our own sum as well, with better words.
                Err(e) if e.to_string().contains("igest") => return Ok(()),
                Err(e) => {
                    let error = self.broken(&what, &e);
                    let _unpacking_stopped = to.send(Err(e)).await;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn broken(&self, what: &str, e: &io::Error) -> Error {
        Error::Unreachable { image: self.name.clone(), reason: format!("{what} broke off: {e}") }
    }

    fn failed(&self, e: OciDistributionError) -> Error {
        use OciDistributionError as E;
        let unauthorized = |reason: String| Error::Unauthorized { image: self.name.clone(), reason };
        match &e {
            E::ImageManifestNotFoundError(_) | E::ServerError { code: 404, .. } => Error::NotFound(self.name.clone()),
            E::RegistryError { envelope, .. } => match envelope.errors.first().map(|e| &e.code) {
                Some(
                    OciErrorCode::ManifestUnknown
                    | OciErrorCode::NameUnknown
                    | OciErrorCode::NotFound
                    | OciErrorCode::BlobUnknown,
                ) => Error::NotFound(self.name.clone()),
                Some(OciErrorCode::Unauthorized | OciErrorCode::Denied) => unauthorized(e.to_string()),
                _ => self.unreachable(&e),
            },
            E::AuthenticationFailure(_) | E::UnauthorizedError { .. } | E::ServerError { code: 401 | 403, .. } => {
                unauthorized(e.to_string())
            }
            E::DigestError(_) => Error::DigestMismatch {
                what: self.name.clone(),
                want: "what was asked for".to_owned(),
                got: e.to_string(),
            },
            _ => self.unreachable(&e),
        }
    }

    fn unreachable(&self, e: &OciDistributionError) -> Error {
        Error::Unreachable { image: self.name.clone(), reason: knarr_types::with_causes(e) }
    }
}

fn oci_client(endpoint: &Endpoint, tls: Option<&Tls>) -> Result<Client> {
    let mut config = ClientConfig {
        protocol: if endpoint.plain_http { ClientProtocol::Http } else { ClientProtocol::Https },
        connect_timeout: Some(CONNECT_PATIENCE),
        read_timeout: Some(READ_PATIENCE),
        ..ClientConfig::default()
    };
    if let Some(tls) = tls {
        config.accept_invalid_certificates = tls.insecure_skip_verify;
        if let Some(path) = &tls.ca_file {
            let data = std::fs::read(path).map_err(Error::io("cannot read", path))?;
            config.extra_root_certificates.push(Certificate { encoding: CertificateEncoding::Pem, data });
        }
    }
    // Not its `new`: that one makes another client than it was told where a certificate is bad.
    Client::try_from(config).map_err(|e| Error::Malformed {
        what: format!("the tls settings for {} in registries.yaml", endpoint.host),
        reason: e.to_string(),
    })
}

/// A blocking reader over pieces that come from a task.
struct Pieces {
    from: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Pieces {
    fn new(from: mpsc::Receiver<io::Result<Bytes>>) -> Pieces {
        Pieces { from, piece: Bytes::new() }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.from.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let n = buffer.len().min(self.piece.len());
        buffer[..n].copy_from_slice(&self.piece.split_to(n));
        Ok(n)
    }
}

/// One way to log in.
struct Login {
    /// None is not to log in.
    credentials: Option<Credentials>,
    /// From a pull secret, not from `registries.yaml`.
    of_the_pod: bool,
}

impl Login {
    fn auth(&self) -> RegistryAuth {
        match self.credentials.clone() {
            None => RegistryAuth::Anonymous,
            Some(Credentials::Basic(user, password)) => RegistryAuth::Basic(user, password),
            Some(Credentials::Bearer(token)) => RegistryAuth::Bearer(token),
        }
    }
}

/// The logins to try, in order.
fn logins(image: &Reference, endpoint: &Endpoint, options: &PullOptions) -> Result<Vec<Login>> {
    let login = |of_the_pod| move |credentials| Login { credentials: Some(credentials), of_the_pod };
    let mut logins: Vec<_> = options.keyring.matching(image).into_iter().map(login(true)).collect();
    logins.extend(options.registries.credentials(&endpoint.host)?.into_iter().map(login(false)));
    if logins.is_empty() {
        logins.push(Login { credentials: None, of_the_pod: false });
    }
    Ok(logins)
}

fn check_layer_type(layer: &Descriptor) -> Result<()> {
    let known = layer.media_type.contains("tar") && !layer.media_type.ends_with("encrypted");
    if known {
        return Ok(());
    }
    let (digest, media_type) = (layer.digest.clone(), layer.media_type.clone());
    Err(Error::UnknownLayerType { digest, media_type })
}

/// Whether asking again, or elsewhere, would change nothing.
fn is_final(e: &Error) -> bool {
    !matches!(e, Error::NotFound(_) | Error::Unauthorized { .. } | Error::Unreachable { .. })
}

/// One error for all that was tried: what one registry knows is better than what none said.
fn summary(image: &Reference, failures: Vec<(String, Error)>) -> Error {
    if failures.iter().all(|(_, e)| matches!(e, Error::NotFound(_))) {
        return Error::NotFound(image.to_string());
    }
    let all: Vec<String> = failures
        .iter()
        .map(|(host, e)| match e {
            Error::Unauthorized { reason, .. } | Error::Unreachable { reason, .. } => {
                format!("{host}: {reason}")
            }
            other => format!("{host}: {other}"),
        })
        .collect();
    let reason = all.join("; ");
    let image = image.to_string();
    if failures.iter().any(|(_, e)| matches!(e, Error::Unauthorized { .. })) {
        return Error::Unauthorized { image, reason };
    }
    Error::Unreachable { image, reason }
}

/// Runs what blocks where it may.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| {
        let source = io::Error::other(e.to_string());
        Err(Error::Io { what: "cannot finish work on", path: PathBuf::from("images"), source })
    })
}
