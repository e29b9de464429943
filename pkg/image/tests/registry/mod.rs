// SPDX-License-Identifier: Apache-2.0

//! A registry that serves what it was told, in this process, on loopback.

pub mod image;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

use image::{Image, MANIFEST_TYPE, append};

#[derive(Default)]
struct Content {
    /// By path: type and bytes.
    files: HashMap<String, (String, Vec<u8>)>,
    /// The `Authorization` that is wanted.
    wanted: Option<String>,
    requests: usize,
    damaged: bool,
}

/// Serves until the test's process ends.
pub struct Registry {
    address: SocketAddr,
    content: Arc<Mutex<Content>>,
}

pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

impl Registry {
    pub fn start() -> Registry {
        Self::start_with(serve)
    }

    /// Over TLS.
    pub fn start_tls(config: rustls::ServerConfig) -> Registry {
        let config = Arc::new(config);
        Self::start_with(move |stream, content| {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            serve(rustls::StreamOwned::new(connection, stream), content);
        })
    }

    fn start_with(serve: impl Fn(TcpStream, &Mutex<Content>) + Send + Sync + 'static) -> Registry {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let content = Arc::new(Mutex::new(Content::default()));
        let (shared, serve) = (Arc::clone(&content), Arc::new(serve));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, serve) = (Arc::clone(&shared), Arc::clone(&serve));
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Registry { address, content }
    }

    pub fn host(&self) -> String {
        self.address.to_string()
    }

    pub fn name(&self, repository: &str, tag: &str) -> String {
        format!("{}/{repository}:{tag}", self.address)
    }

    pub fn requests(&self) -> usize {
        self.content.lock().unwrap().requests
    }

    pub fn require(&self, authorization: &str) {
        self.content.lock().unwrap().wanted = Some(authorization.to_owned());
    }

    /// From now on layers come with a bit changed.
    pub fn damage_layers(&self) {
        self.content.lock().unwrap().damaged = true;
    }

    pub fn add(&self, repository: &str, tag: &str, image: &Image) {
        let built = image.build();
        let mut content = self.content.lock().unwrap();
        for (digest, bytes) in built.blobs {
            let path = format!("/v2/{repository}/blobs/{digest}");
            content.files.insert(path, ("application/octet-stream".to_owned(), bytes));
        }
        content.add_manifest(repository, tag, MANIFEST_TYPE, built.manifest);
    }

    pub fn add_index(&self, repository: &str, tag: &str, image: &Image) {
        self.add(repository, "only", image);
        let manifest = image.build().manifest;
        let entry = |digest: &str, architecture: &str| {
            serde_json::json!({"mediaType": MANIFEST_TYPE, "digest": digest, "size": manifest.len(),
                "platform": {"os": "linux", "architecture": architecture}})
        };
        let index = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [
                entry(&digest(b"other"), "mips"),
                entry(&digest(&manifest), &image.platform.architecture),
            ],
        });
        let bytes = serde_json::to_vec(&index).unwrap();
        let kind = "application/vnd.oci.image.index.v1+json";
        self.content.lock().unwrap().add_manifest(repository, tag, kind, bytes);
    }
}

impl Content {
    fn add_manifest(&mut self, repository: &str, tag: &str, kind: &str, bytes: Vec<u8>) {
        for name in [tag.to_owned(), digest(&bytes)] {
            let path = format!("/v2/{repository}/manifests/{name}");
            self.files.insert(path, (kind.to_owned(), bytes.clone()));
        }
    }

    fn answer(&mut self, path: &str, authorization: Option<&str>) -> (u16, String, Vec<u8>) {
        self.requests += 1;
        if self.wanted.is_some() && self.wanted.as_deref() != authorization {
            return (401, "application/json".to_owned(), b"{\"errors\":[]}".to_vec());
        }
        if path == "/v2/" {
            return (200, "application/json".to_owned(), b"{}".to_vec());
        }
        match self.files.get(path) {
            Some((kind, bytes)) => {
                let mut bytes = bytes.clone();
                if self.damaged && path.contains("/blobs/") && !bytes.starts_with(b"{") {
                    *bytes.last_mut().unwrap() ^= 1;
                }
                (200, kind.clone(), bytes)
            }
            None => {
                let error = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
                (404, "application/json".to_owned(), error.to_vec())
            }
        }
    }
}

fn serve(stream: impl Read + Write, content: &Mutex<Content>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let mut words = line.split_whitespace();
        let (method, path) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
        let mut authorization = None;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).unwrap();
            if header.trim().is_empty() {
                break;
            }
            let (name, value) = header.split_once(':').unwrap();
            if name.eq_ignore_ascii_case("authorization") {
                authorization = Some(value.trim().to_owned());
            }
        }
        let (status, kind, bytes) = content.lock().unwrap().answer(&path, authorization.as_deref());
        let challenge = if status == 401 { "WWW-Authenticate: Basic realm=\"test\"\r\n" } else { "" };
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{challenge}\r\n",
            bytes.len()
        );
        let body = if method == "HEAD" { &[][..] } else { &bytes };
        if reader.get_mut().write_all(&[head.as_bytes(), body].concat()).is_err() {
            return;
        }
    }
}

/// The image as `docker save` would write it.
pub fn write_docker_archive(image: &Image, tag: &str, file: &Path) {
    let built = image.build();
    let (config, layers) = built.blobs.split_last().unwrap();
    let mut archive = tar::Builder::new(std::fs::File::create(file).unwrap());
    let mut add = |path: &str, bytes: &[u8]| append(&mut archive, path, bytes);
    let mut paths = Vec::new();
    for (n, (_, bytes)) in layers.iter().enumerate() {
        paths.push(format!("layer{n}/layer.tar"));
        add(&paths[n], bytes);
    }
    add("config.json", &config.1);
    let manifest = serde_json::json!([{"Config": "config.json", "RepoTags": [tag], "Layers": paths}]);
    add("manifest.json", &serde_json::to_vec(&manifest).unwrap());
    archive.finish().unwrap();
}
