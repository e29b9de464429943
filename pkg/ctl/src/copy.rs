// SPDX-License-Identifier: Apache-2.0
//! `cp`: files to and from containers, through tar in the container.

use std::io::Cursor;
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::Api;

use crate::args::CpArgs;
use crate::error::CtlError;
use crate::exec::capture;
use crate::logs;
use crate::session::Session;

/// One end of a copy.
#[derive(Debug, PartialEq)]
enum End {
    Local(PathBuf),
    Remote { namespace: Option<String>, pod: String, path: String },
}

impl End {
    /// Reads `PATH`, `POD:PATH` or `NAMESPACE/POD:PATH`.
    fn parse(text: &str) -> Self {
        match text.split_once(':') {
            Some((place, path)) if !place.is_empty() && !place.starts_with(['.', '/']) => {
                let (namespace, pod) = match place.split_once('/') {
                    Some((namespace, pod)) => (Some(namespace.to_owned()), pod),
                    None => (None, place),
                };
                Self::Remote { namespace, pod: pod.to_owned(), path: path.to_owned() }
            }
            _ => Self::Local(text.into()),
        }
    }
}

/// Runs `cp`.
pub(crate) async fn run(session: &Session, args: CpArgs) -> Result<u8, CtlError> {
    match (End::parse(&args.from), End::parse(&args.to)) {
        (End::Local(from), End::Remote { .. }) if std::fs::symlink_metadata(&from).is_err() => {
            return Err(CtlError::usage(format!("{} doesn't exist in local filesystem", from.display())));
        }
        (End::Local(from), End::Remote { namespace, pod, path }) => {
            let (api, container) = place(session, namespace, &pod, args.container).await?;
            upload(&api, &pod, &container, &from, &path).await?;
        }
        (End::Remote { namespace, pod, path }, End::Local(to)) => {
            let (api, container) = place(session, namespace, &pod, args.container).await?;
            download(&api, &pod, &container, &path, &to).await?;
        }
        (End::Local(_), End::Local(_)) => {
            return Err(CtlError::usage("one of src or dest must be a remote file specification"));
        }
        _ => return Err(CtlError::usage("one of src or dest must be a local file specification")),
    }
    Ok(0)
}

async fn place(
    session: &Session,
    namespace: Option<String>,
    pod: &str,
    container: Option<String>,
) -> Result<(Api<Pod>, String), CtlError> {
    let namespace = namespace.unwrap_or_else(|| session.namespace.clone());
    let api = Api::<Pod>::namespaced(session.client.clone(), &namespace);
    let object = api.get(pod).await?;
    let container = logs::container(&object, container.as_deref(), false)?;
    debug_assert_eq!(object.name_any(), pod);
    Ok((api, container))
}

async fn upload(api: &Api<Pod>, pod: &str, container: &str, from: &Path, to: &str) -> Result<(), CtlError> {
    let target = Path::new(to);
    let is_folder = to.ends_with('/') || is_remote_folder(api, pod, container, to).await;
    let own_name = || {
        from.file_name().map(PathBuf::from).ok_or_else(|| CtlError::usage(format!("{} has no name", from.display())))
    };
    let (folder, name) = match (is_folder, target.parent(), target.file_name()) {
        (false, Some(parent), Some(name)) => (parent.to_owned(), PathBuf::from(name)),
        _ => (target.to_owned(), own_name()?),
    };
    let failed = |e| CtlError::io(format!("cannot read {}", from.display()), e);
    let mut archive = tar::Builder::new(Vec::new());
    if from.is_dir() {
        archive.append_dir_all(&name, from).map_err(failed)?;
    } else {
        archive.append_path_with_name(from, &name).map_err(failed)?;
    }
    let bytes = archive.into_inner().map_err(failed)?;
    let folder = if folder.as_os_str().is_empty() { ".".into() } else { folder.display().to_string() };
    let command = ["tar", "xmf", "-", "-C", &folder].map(str::to_owned).to_vec();
    capture(api, pod, container, command, Some(bytes)).await.map(drop)
}

async fn is_remote_folder(api: &Api<Pod>, pod: &str, container: &str, path: &str) -> bool {
    let command = ["test", "-d", path].map(str::to_owned).to_vec();
    capture(api, pod, container, command, None).await.is_ok()
}

async fn download(api: &Api<Pod>, pod: &str, container: &str, from: &str, to: &Path) -> Result<(), CtlError> {
    let path = Path::new(from);
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| CtlError::usage(format!("{from:?} names no file")))?;
    let name = name.to_string_lossy().into_owned();
    let command = ["tar", "cf", "-", "-C", &parent.display().to_string(), "--", &name].map(str::to_owned).to_vec();
    let bytes = capture(api, pod, container, command, None).await?;
    let target = if to.is_dir() { to.join(&name) } else { to.to_owned() };
    unpack(&bytes, &name, &target)
}

/// Unpacks what is called `name` in the archive as `target`. A container's tar is not to be trusted: what
/// leads out of `target`, links included, is refused.
fn unpack(bytes: &[u8], name: &str, target: &Path) -> Result<(), CtlError> {
    let failed = |e| CtlError::io(format!("cannot write {}", target.display()), e);
    let mut archive = tar::Archive::new(Cursor::new(bytes));
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let path = entry.path().map_err(failed)?.into_owned();
        let inner = path
            .strip_prefix(name)
            .map_err(|_| CtlError::usage(format!("the container sent {}, which was not asked for", path.display())))?;
        if inner.components().any(|c| !matches!(c, Component::Normal(_))) {
            return Err(CtlError::usage(format!(
                "the container sent the path {}, which leads elsewhere",
                path.display()
            )));
        }
        let kind = entry.header().entry_type();
        if kind.is_symlink() || kind.is_hard_link() {
            eprintln!("warning: skipping the link {}", path.display());
            continue;
        }
        let place = if inner.as_os_str().is_empty() { target.to_owned() } else { target.join(inner) };
        if let Some(parent) = place.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        entry.unpack(&place).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_apart() {
        let remote = |namespace: Option<&str>, pod: &str, path: &str| End::Remote {
            namespace: namespace.map(str::to_owned),
            pod: pod.into(),
            path: path.into(),
        };
        assert_eq!(End::parse("web:/tmp/a"), remote(None, "web", "/tmp/a"));
        assert_eq!(End::parse("n/web:a"), remote(Some("n"), "web", "a"));
        assert_eq!(End::parse("./a:b"), End::Local("./a:b".into()));
        assert_eq!(End::parse("/a"), End::Local("/a".into()));
    }

    fn archive(path: &str, text: &[u8]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_old();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        builder.append(&header, text).unwrap();
        builder.into_inner().unwrap()
    }

    #[test]
    fn a_container_cannot_write_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("got");
        unpack(&archive("d/a", b"x"), "d", &target).unwrap();
        assert_eq!(std::fs::read(target.join("a")).unwrap(), b"x");
        assert!(unpack(&archive("d/../../evil", b"x"), "d", &target).is_err());
        assert!(unpack(&archive("/etc/evil", b"x"), "d", &target).is_err());
    }
}
