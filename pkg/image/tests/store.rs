// SPDX-License-Identifier: Apache-2.0

//! The store with a registry of its own on loopback, as root: pull, import, remove, prune.
#![allow(clippy::unwrap_used)] // all of it is tests

mod registry;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use knarr_image::{Credentials, Error, ImageConfig, ImageStore, Keyring, PullOptions, PullPolicy, Registries};
use registry::Registry;
use registry::image::{Compression, Entry, Image};

struct Fixture {
    _dir: tempfile::TempDir,
    path: PathBuf,
    store: ImageStore,
    registry: Registry,
}

fn fixture() -> Option<Fixture> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: unpacking needs root");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    let store = ImageStore::open(path.join("images")).unwrap();
    Some(Fixture { _dir: dir, path, store, registry: Registry::start() })
}

fn image(name: &str, compression: Compression) -> Image {
    let config = ImageConfig {
        cmd: vec!["/hello".to_owned()],
        env: vec!["A=b".to_owned()],
        user: "7".to_owned(),
        ..ImageConfig::default()
    };
    let layers = vec![
        vec![Entry::folder("etc"), Entry::file("etc/name", 0o644, "base"), Entry::link("l", "etc/name")],
        vec![Entry::file("hello", 0o755, "program"), Entry::file("etc/.wh.name", 0o644, "")],
    ];
    Image { compression, ..Image::new(name, layers, config) }
}

fn always() -> PullOptions {
    PullOptions { policy: PullPolicy::Always, ..PullOptions::default() }
}

#[tokio::test]
async fn images_are_pulled_whatever_their_compression() {
    let Some(f) = fixture() else { return };
    for (tag, compression) in [("plain", Compression::None), ("gzip", Compression::Gzip), ("zstd", Compression::Zstd)] {
        f.registry.add("team/app", tag, &image("x", compression));
        let name = f.registry.name("team/app", tag);
        let pulled = f.store.pull(&name, &always()).await.unwrap();
        assert_eq!(pulled.config.cmd, ["/hello"]);
        assert!(pulled.names.contains(&name), "{:?}", pulled.names);
        assert_eq!(pulled.layers.len(), 2);
        assert_eq!(std::fs::read_to_string(pulled.layers[1].join("hello")).unwrap(), "program");
        assert_eq!(f.store.get(&name).unwrap(), Some(pulled));
    }
    assert_eq!(f.store.list().unwrap().len(), 1, "the same content is one image");
}

#[tokio::test]
async fn policies_ask_the_registry_or_not() {
    let Some(f) = fixture() else { return };
    let name = f.registry.name("app", "1");
    let never = PullOptions { policy: PullPolicy::Never, ..PullOptions::default() };
    let error = f.store.pull(&name, &never).await.unwrap_err();
    assert_eq!(error.to_string(), format!("image {name:?} is not present with pull policy of Never"));

    f.registry.add("app", "1", &image("x", Compression::Gzip));
    let first = f.store.pull(&name, &PullOptions::default()).await.unwrap();
    let asked = f.registry.requests();
    f.store.pull(&name, &PullOptions::default()).await.unwrap();
    f.store.pull(&name, &never).await.unwrap();
    assert_eq!(f.registry.requests(), asked, "what is here is not asked for");

    let mut other = image("x", Compression::Gzip);
    other.config.cmd = vec!["/other".to_owned()];
    f.registry.add("app", "1", &other);
    let second = f.store.pull(&name, &always()).await.unwrap();
    assert_ne!(first.id, second.id);
    assert_eq!(f.store.get(&name).unwrap().unwrap().id, second.id, "the name moved");
    assert_eq!(f.store.get(&first.id).unwrap().unwrap().names, [] as [String; 0]);

    let by_digest = first.digests[0].clone();
    let pinned = f.store.pull(&by_digest, &always()).await.unwrap();
    assert_eq!(pinned.id, first.id);
}

#[tokio::test]
async fn an_index_gives_this_machine_s_image() {
    let Some(f) = fixture() else { return };
    f.registry.add_index("multi", "1", &image("x", Compression::Zstd));
    let name = f.registry.name("multi", "1");
    let pulled = f.store.pull(&name, &always()).await.unwrap();
    assert_eq!(pulled.config.cmd, ["/hello"]);
    let platform = knarr_image::Platform { os: "linux".to_owned(), architecture: "s390x".to_owned(), variant: None };
    let options = PullOptions { platform: Some(platform), ..always() };
    let error = f.store.pull(&name, &options).await.unwrap_err().to_string();
    assert!(error.contains("has no variant for linux/s390x"), "{error}");
}

#[tokio::test]
async fn what_is_missing_or_damaged_is_named() {
    let Some(f) = fixture() else { return };
    let missing = f.registry.name("no/such", "1");
    let error = f.store.pull(&missing, &always()).await.unwrap_err();
    assert!(matches!(error, Error::NotFound(_)), "{error}");
    assert!(error.to_string().contains(&missing), "{error}");

    f.registry.add("bad", "1", &image("x", Compression::Gzip));
    f.registry.damage_layers();
    let name = f.registry.name("bad", "1");
    let error = f.store.pull(&name, &always()).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. } | Error::Malformed { .. }), "{error}");
    assert_eq!(f.store.list().unwrap(), []);
    assert_eq!(std::fs::read_dir(f.path.join("images/layers")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(f.path.join("images/tmp")).unwrap().count(), 0);

    let nobody = "127.0.0.1:1/app:1";
    let error = f.store.pull(nobody, &always()).await.unwrap_err().to_string();
    assert!(error.starts_with("cannot pull 127.0.0.1:1/app:1: 127.0.0.1:1: "), "{error}");
}

#[tokio::test]
async fn mirrors_and_credentials_come_from_registries_yaml_and_secrets() {
    let Some(f) = fixture() else { return };
    f.registry.add("library/app", "1", &image("x", Compression::Gzip));
    f.registry.require("Basic dTpw"); // u:p
    let host = f.registry.host();
    let yaml = format!("mirrors: {{docker.io: {{endpoint: ['http://{host}']}}}}");
    let registries = Arc::new(Registries::parse(&yaml).unwrap());
    let options = PullOptions { registries, ..always() };
    let name = f.registry.name("library/app", "1");
    let error = f.store.pull(&name, &options).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");

    let mut keyring = Keyring::default();
    keyring.add("docker.io", Credentials::Basic("u".to_owned(), "p".to_owned()));
    let pulled = f.store.pull("app:1", &PullOptions { keyring, ..options }).await.unwrap();
    assert_eq!(pulled.names, ["docker.io/library/app:1"]);

    let yaml = format!("configs: {{'{host}': {{auth: {{username: u, password: p}}}}}}");
    let registries = Arc::new(Registries::parse(&yaml).unwrap());
    f.store.pull(&name, &PullOptions { registries, ..always() }).await.unwrap();
}

#[tokio::test]
async fn an_image_is_for_those_who_could_pull_it() {
    let Some(f) = fixture() else { return };
    f.registry.add("app", "1", &image("x", Compression::Gzip));
    f.registry.require("Basic dTpw"); // u:p
    let name = f.registry.name("app", "1");
    let with = |policy, password: &str| {
        let mut keyring = Keyring::default();
        keyring.add(&f.registry.host(), Credentials::Basic("u".to_owned(), password.to_owned()));
        PullOptions { policy, keyring, ..PullOptions::default() }
    };
    f.store.pull(&name, &with(PullPolicy::IfNotPresent, "p")).await.unwrap();
    let asked = f.registry.requests();
    f.store.pull(&name, &with(PullPolicy::IfNotPresent, "p")).await.unwrap();
    let here = f.store.pull(&name, &with(PullPolicy::Never, "p")).await.unwrap();
    assert_eq!(f.registry.requests(), asked, "who was let in is not asked again");
    for stranger in [PullOptions::default(), with(PullPolicy::IfNotPresent, "guessed")] {
        let error = f.store.pull(&name, &stranger).await.unwrap_err();
        assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
        let never = PullOptions { policy: PullPolicy::Never, ..stranger };
        for called in [&name, &here.digests[0], &here.id] {
            let error = f.store.pull(called, &never).await.unwrap_err();
            assert!(matches!(error, Error::NeverPull(_)), "{called}: {error}");
        }
    }
    // What lies on the disk from before, or came without a registry, is anyone's.
    let record = f.path.join("images/images").join(format!("{}.json", here.id.trim_start_matches("sha256:")));
    let mut written: serde_json::Value = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    written.as_object_mut().unwrap().remove("access").unwrap();
    std::fs::write(&record, written.to_string()).unwrap();
    let never = PullOptions { policy: PullPolicy::Never, ..PullOptions::default() };
    assert_eq!(f.store.pull(&name, &never).await.unwrap().id, here.id);
}

/// A CA, and what it signs for `name`: certificate and key, all PEM.
struct Signed {
    authority: String,
    certificate: String,
    key: String,
}

fn signed(name: &str) -> Signed {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, format!("who vouches for {name}"));
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(params, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    Signed { authority, certificate: certificate.pem(), key: key.serialize_pem() }
}

/// A server of `server`'s identity that wants clients that `clients` vouches for.
fn wants_certificates(server: &Signed, clients: &Signed) -> rustls::ServerConfig {
    use rustls_pki_types::pem::PemObject;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};
    let certificate = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate(&clients.authority)).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let key = PrivateKeyDer::from_pem_slice(server.key.as_bytes()).unwrap();
    rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(vec![certificate(&server.certificate)], key)
        .unwrap()
}

#[tokio::test]
async fn a_registry_that_wants_a_certificate_gets_it() {
    let Some(f) = fixture() else { return };
    let (server, client, stranger) = (signed("127.0.0.1"), signed("client"), signed("stranger"));
    let registry = Registry::start_tls(wants_certificates(&server, &client));
    registry.add("team/app", "1", &image("x", Compression::Gzip));
    let host = registry.host();
    let file = |name: &str, text: &str| {
        std::fs::write(f.path.join(name), text).unwrap();
        f.path.join(name).display().to_string()
    };
    let ca = file("ca.pem", &server.authority);
    let yaml = |who: &str, signed: &Signed, trust: &str| {
        let (certificate, key) =
            (file(&format!("{who}.crt"), &signed.certificate), file(&format!("{who}.key"), &signed.key));
        let tls = format!("{{cert_file: {certificate}, key_file: {key}, {trust}}}");
        format!("mirrors: {{'{host}': {{endpoint: ['https://{host}']}}}}\nconfigs: {{'{host}': {{tls: {tls}}}}}")
    };
    let options = |yaml: &str| PullOptions { registries: Arc::new(Registries::parse(yaml).unwrap()), ..always() };
    let name = registry.name("team/app", "1");
    for (who, signed, trust, want) in [
        ("stranger", &stranger, format!("ca_file: {ca}"), "UnknownCA"),
        ("client", &client, "insecure_skip_verify: false".to_owned(), "certificate"),
    ] {
        let error = f.store.pull(&name, &options(&yaml(who, signed, &trust))).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot pull {name}")) && error.contains(want), "{error}");
    }
    for trust in [format!("ca_file: {ca}"), "insecure_skip_verify: true".to_owned()] {
        let pulled = f.store.pull(&name, &options(&yaml("client", &client, &trust))).await.unwrap();
        assert_eq!(pulled.config.cmd, ["/hello"]);
    }
    let missing = yaml("client", &client, &format!("ca_file: {ca}")).replace("client.key", "none.key");
    let error = f.store.pull(&name, &options(&missing)).await.unwrap_err().to_string();
    assert!(error.contains("cannot read") && error.contains("none.key"), "{error}");
    let options = options(&yaml("client", &client, &format!("ca_file: {ca}")));
    let error = f.store.pull(&registry.name("team/none", "1"), &options).await.unwrap_err();
    assert!(matches!(error, Error::NotFound(_)), "{error}");
}

#[tokio::test]
async fn pulls_at_once_share_their_layers() {
    let Some(f) = fixture() else { return };
    let mut names = Vec::new();
    for n in 0..8 {
        let mut image = image("x", Compression::Gzip);
        image.config.cmd = vec![n.to_string()];
        if n % 2 == 0 {
            image.layers.reverse();
        }
        f.registry.add("app", &n.to_string(), &image);
        names.push(f.registry.name("app", &n.to_string()));
    }
    let options = always();
    let pulls = names.iter().map(|name| f.store.pull(name, &options));
    for pulled in futures::future::join_all(pulls).await {
        pulled.unwrap();
    }
    assert_eq!(f.store.list().unwrap().len(), 8);
    assert_eq!(std::fs::read_dir(f.path.join("images/layers")).unwrap().count(), 2);
}

#[tokio::test]
async fn archives_are_imported_under_their_names() {
    let Some(f) = fixture() else { return };
    let file = f.path.join("hello.tar");
    image("knarr.io/hello:1", Compression::Gzip).write_archive(&file);
    let imported = f.store.import(&file).await.unwrap();
    assert_eq!(imported[0].names, ["knarr.io/hello:1"]);
    assert_eq!(f.store.get("knarr.io/hello:1").unwrap(), Some(imported[0].clone()));

    let saved = f.path.join("saved.tar");
    registry::write_docker_archive(&image("x", Compression::None), "hello:2", &saved);
    let imported = f.store.import(&saved).await.unwrap();
    assert_eq!(imported[0].names, ["docker.io/library/hello:2", "knarr.io/hello:1"]);

    std::fs::write(f.path.join("odd.tar"), "no archive").unwrap();
    let error = f.store.import(&f.path.join("odd.tar")).await.unwrap_err().to_string();
    assert!(error.contains("odd.tar is malformed"), "{error}");
}

#[tokio::test]
async fn folders_that_a_layer_only_passes_through_are_as_below() {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(f) = fixture() else { return };
    let folder = |path: &str, mode| Entry { mode, ..Entry::folder(path) };
    let layers = vec![
        vec![folder("tmp", 0o1777), folder("own", 0o700), folder("deep", 0o711), folder("deep/er", 0o750)],
        vec![Entry::file("deep/x", 0o644, "")],
        vec![
            Entry::file("tmp/x", 0o644, ""),
            Entry::file("deep/er/x", 0o644, ""),
            folder("own", 0o755),
            Entry::file("new/x", 0o644, ""),
        ],
    ];
    let file = f.path.join("image.tar");
    Image::new("knarr.io/folders:1", layers, ImageConfig::default()).write_archive(&file);
    let imported = f.store.import(&file).await.unwrap();
    let top = imported[0].layers.last().unwrap();
    let mode = |path: &str| std::fs::metadata(top.join(path)).unwrap().permissions().mode() & 0o7777;
    let found = ["tmp", "deep", "deep/er", "own", "new"].map(mode);
    assert_eq!(found, [0o1777, 0o711, 0o750, 0o755, 0o755]);
    assert_eq!(std::fs::read_dir(f.path.join("images/implied")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_layer_gives_another_name_to_a_file_below() {
    let Some(f) = fixture() else { return };
    let image = |name: &str, of: &str| {
        let layers = vec![
            vec![Entry::folder("usr/bin"), Entry::link("bin", "usr/bin"), Entry::file("usr/bin/a", 0o4755, "program")],
            vec![Entry::hard_link("bin/b", of), Entry::file("own", 0o644, "")],
        ];
        Image::new(name, layers, ImageConfig::default())
    };
    f.registry.add("app", "1", &image("x", "bin/a"));
    let pulled = f.store.pull(&f.registry.name("app", "1"), &always()).await.unwrap();
    let [a, b] = [pulled.layers[0].join("usr/bin/a"), pulled.layers[1].join("usr/bin/b")];
    let inode = |path| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
    assert_eq!((inode(&a), std::fs::read_to_string(&b).unwrap().as_str()), (inode(&b), "program"));
    assert_eq!(std::fs::read_dir(f.path.join("images/implied")).unwrap().count(), 0);

    f.registry.add("app", "2", &image("x", "bin/none"));
    let error = f.store.pull(&f.registry.name("app", "2"), &always()).await.unwrap_err().to_string();
    assert!(error.contains("is malformed: bin/b is a hard link to bin/none, a file that no layer has"), "{error}");
    assert_eq!(f.store.list().unwrap().len(), 1);
}

#[tokio::test]
async fn what_nothing_uses_is_removed_with_its_layers() {
    let Some(f) = fixture() else { return };
    let layers = || std::fs::read_dir(f.path.join("images/layers")).unwrap().count();
    for tag in ["1", "2"] {
        let mut image = image("x", Compression::Gzip);
        image.layers.push(vec![Entry::file("tag", 0o644, tag)]);
        f.registry.add("app", tag, &image);
        f.store.pull(&f.registry.name("app", tag), &always()).await.unwrap();
    }
    assert_eq!(layers(), 4);
    let (one, two) = (f.registry.name("app", "1"), f.registry.name("app", "2"));
    let pruned = f.store.prune(&HashSet::from([two.clone()])).unwrap();
    assert_eq!((pruned.images, pruned.layers), (vec![one], 1));
    assert!(pruned.bytes > 0);
    assert_eq!(layers(), 3);
    assert!(f.store.remove(&two).unwrap());
    assert!(!f.store.remove(&two).unwrap());
    assert_eq!(layers(), 0);
}
