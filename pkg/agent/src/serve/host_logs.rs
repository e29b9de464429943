// SPDX-License-Identifier: Apache-2.0
//! The logs of the host, as files below `/var/log`: those and no others, whatever links lie there.

use std::fs;
use std::io::Read as _;
use std::path::Path as FilePath;

use axum::body::Body;
use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::{Refusal, streaming};

const ROOT: &str = "/var/log";
/// One read, and what waits for a slow client.
const PIECE_BYTES: usize = 64 << 10;
const PIECES_WAITING: usize = 4;

/// `GET /logs/`
pub async fn root() -> Result<Response, Refusal> {
    answer(String::new()).await
}

/// `GET /logs/PATH`
pub async fn below(Path(path): Path<String>) -> Result<Response, Refusal> {
    answer(path).await
}

async fn answer(path: String) -> Result<Response, Refusal> {
    let opened = tokio::task::spawn_blocking(move || open(FilePath::new(ROOT), &path)).await;
    match opened.map_err(Refusal::internal)?? {
        Opened::Folder(names) => {
            let page = listing(&names);
            Ok(([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response())
        }
        Opened::File(file) => Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body(file)).into_response()),
    }
}

#[derive(Debug)]
enum Opened {
    /// The names in it; those of folders end with a slash.
    Folder(Vec<String>),
    File(fs::File),
}

/// Opens what is at `path` below `root`; links lead nowhere else.
fn open(root: &FilePath, path: &str) -> Result<Opened, Refusal> {
    let missing = || Refusal::not_found(format!("{path:?} is not in the host's logs"));
    let relative = path.trim_start_matches('/');
    let relative = if relative.is_empty() { "." } else { relative };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let root = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let opened = root.and_then(|root| rustix::fs::openat2(&root, relative, flags, Mode::empty(), resolve));
    let file = fs::File::from(opened.map_err(|_| missing())?);
    let kind = file.metadata().map_err(Refusal::internal)?.file_type();
    if kind.is_file() {
        return Ok(Opened::File(file));
    }
    if !kind.is_dir() {
        return Err(missing());
    }
    let entries = rustix::fs::Dir::read_from(&file).map_err(Refusal::internal)?;
    let name = |entry: rustix::fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type() == rustix::fs::FileType::Directory { format!("{name}/") } else { name }
    };
    let mut names: Vec<String> =
        entries.filter_map(Result::ok).map(name).filter(|name| name != "./" && name != "../").collect();
    names.sort();
    Ok(Opened::Folder(names))
}

/// A page of links, as Go's file server makes it.
fn listing(names: &[String]) -> String {
    let escape = |text: &str| {
        text.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&#34;")
            .replace('\'', "&#39;")
    };
    let line = |name: &String| format!("<a href=\"{0}\">{0}</a>\n", escape(name));
    format!(
        "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n{}</pre>\n",
        names.iter().map(line).collect::<String>()
    )
}

/// The file as it is read.
fn body(mut file: fs::File) -> Body {
    let (sender, pieces) = tokio::sync::mpsc::channel(PIECES_WAITING);
    tokio::task::spawn_blocking(move || {
        let mut piece = vec![0; PIECE_BYTES];
        while let Ok(length @ 1..) = file.read(&mut piece) {
            if sender.blocking_send(Bytes::copy_from_slice(&piece[..length])).is_err() {
                return;
            }
        }
    });
    streaming(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_below_are_found_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("log");
        fs::create_dir_all(root.join("pods")).unwrap();
        fs::write(root.join("syslog"), "").unwrap();
        fs::write(dir.path().join("secret"), "").unwrap();
        std::os::unix::fs::symlink("../secret", root.join("out")).unwrap();
        std::os::unix::fs::symlink("syslog", root.join("in")).unwrap();
        for (path, found) in
            [("syslog", true), ("/in", true), ("out", false), ("../secret", false), ("none", false), ("pods", true)]
        {
            assert_eq!(open(&root, path).is_ok(), found, "{path}");
        }
        let Opened::Folder(names) = open(&root, "").unwrap() else { panic!("a folder") };
        assert_eq!(names, ["in", "out", "pods/", "syslog"]);
        assert!(listing(&["a<b".to_owned()]).contains("<a href=\"a&lt;b\">a&lt;b</a>"));
    }
}
