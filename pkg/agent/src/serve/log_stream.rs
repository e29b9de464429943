// SPDX-License-Identifier: Apache-2.0
//! Container logs over HTTP: the part that is asked for, then, when followed, what comes.
//!
//! Following is driven by inotify on the log's folder and by changes of the pod: nothing polls.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::http::header;
use axum::response::IntoResponse as _;
use bytes::Bytes;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use rustix::fs::inotify;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use super::{Answer, Query, Refusal, Request, find, streaming};
use crate::context::PodView;
use crate::logs::{self, Printer, Wanted};
use crate::pod::{Run, any_container};

const CHUNK: usize = 64 << 10;

/// `GET /containerLogs/{namespace}/{pod}/{container}`
pub async fn logs(request: Request<(String, String, String)>) -> Answer {
    let (State(context), Path((namespace, pod, container)), RawQuery(query)) = request;
    let query = Query::parse(query.as_deref());
    let view = find(&context, &namespace, &pod)?;
    let run = which_run(&view, &container, query.flag("previous"))?;
    let wanted = wanted(&query)?;
    let (sender, receiver) = mpsc::channel(4);
    let reader = Reader {
        path: logs::file(&context.layout.logs(view.uid.as_str()), &container, run),
        view,
        container,
        run,
        follow: query.flag("follow"),
        left: query.number::<u64>("limitBytes")?.unwrap_or(u64::MAX),
        printer: Printer::new(wanted.clone()),
        output: sender,
    };
    tokio::spawn(async move {
        if let Err(error) = reader.stream(wanted.tail).await {
            tracing::debug!(%error, "a log could not be read to its end");
        }
    });
    Ok(([(header::CONTENT_TYPE, "text/plain")], streaming(receiver)).into_response())
}

fn wanted(query: &Query) -> Result<Wanted, Refusal> {
    let since = match (query.get("sinceTime").filter(|text| !text.is_empty()), query.number::<i64>("sinceSeconds")?) {
        (Some(text), _) => Some(text.parse().map_err(|_| Refusal::bad(format!("sinceTime: {text:?} is no time")))?),
        (None, Some(seconds)) => Timestamp::now().checked_sub(SignedDuration::from_secs(seconds)).ok(),
        (None, None) => None,
    };
    Ok(Wanted {
        tail: query.number("tailLines")?,
        since,
        timestamps: query.flag("timestamps"),
        stream: query.get("stream").filter(|stream| !["", "All"].contains(stream)).map(str::to_owned),
    })
}

fn which_run(view: &PodView, container: &str, previous: bool) -> Result<u32, Refusal> {
    let pod = view.pod();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    if any_container(&pod, container).is_none() {
        return Err(Refusal::bad(format!("container {container} is not valid for pod {name}")));
    }
    let memory = view.memory.lock();
    let known = memory.containers.get(container);
    let current = known.and_then(|known| match known.run {
        // A run that is only being made has written nothing; the one before has.
        Run::Starting => known.starts.checked_sub(2),
        _ => known.starts.checked_sub(1),
    });
    match (current, previous) {
        (Some(current), false) => Ok(current),
        (Some(current @ 1..), true) => Ok(current - 1),
        (_, true) => {
            Err(Refusal::bad(format!("previous terminated container \"{container}\" in pod \"{name}\" not found")))
        }
        (None, false) => {
            let reason = waiting_reason(&pod, container);
            Err(Refusal::bad(format!("container \"{container}\" in pod \"{name}\" is waiting to start: {reason}")))
        }
    }
}

fn waiting_reason(pod: &k8s_openapi::api::core::v1::Pod, container: &str) -> String {
    let status = pod.status.as_ref();
    let all = status.iter().flat_map(|status| {
        status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten())
    });
    let waiting = all.filter(|status| status.name == container).find_map(|status| {
        let waiting = status.state.as_ref()?.waiting.as_ref()?;
        waiting.reason.clone()
    });
    waiting.unwrap_or_else(|| "ContainerCreating".to_owned())
}

struct Reader {
    view: Arc<PodView>,
    container: String,
    run: u32,
    path: PathBuf,
    follow: bool,
    /// Bytes that may still be sent.
    left: u64,
    printer: Printer,
    output: mpsc::Sender<Bytes>,
}

impl Reader {
    async fn stream(mut self, tail: Option<usize>) -> io::Result<()> {
        let watch = if self.follow { Some(Watch::new(&self.path)?) } else { None };
        let mut changed = self.view.changed.subscribe();
        let mut current = None;
        for (path, offset) in begin(&self.path, tail)? {
            let Ok(mut file) = File::open(&path).await else { continue };
            file.seek(io::SeekFrom::Start(offset)).await?;
            if !self.copy(&mut file).await? {
                return Ok(());
            }
            current = Some(file);
        }
        let Some(watch) = watch else { return Ok(()) };
        loop {
            // Asked before the file is read: what a container writes before its end is not missed.
            let over = !self.is_running();
            current = self.catch_up(current).await?;
            if over || self.left == 0 || self.output.is_closed() {
                return Ok(());
            }
            let output = self.output.clone();
            tokio::select! {
                event = watch.next() => event?,
                _ = changed.changed() => {}
                () = output.closed() => return Ok(()),
            }
        }
    }

    /// Reads on, also in the file that a rotation has put in the old one's place.
    async fn catch_up(&mut self, mut current: Option<File>) -> io::Result<Option<File>> {
        if let Some(file) = &mut current {
            self.copy(file).await?;
        }
        let newest = tokio::fs::metadata(&self.path).await.map(|metadata| metadata.ino()).ok();
        let held = match &current {
            Some(file) => Some(file.metadata().await?.ino()),
            None => None,
        };
        if newest.is_some() && newest != held {
            let mut file = File::open(&self.path).await?;
            self.copy(&mut file).await?;
            current = Some(file);
        }
        Ok(current)
    }

    /// Sends what is there; false once no more is wanted.
    async fn copy(&mut self, file: &mut File) -> io::Result<bool> {
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = file.read(&mut chunk).await?;
            if count == 0 {
                return Ok(true);
            }
            let mut out = Vec::with_capacity(count);
            self.printer.push(&chunk[..count], &mut out);
            out.truncate(usize::try_from(self.left).unwrap_or(usize::MAX).min(out.len()));
            self.left -= out.len() as u64;
            if !out.is_empty() && self.output.send(out.into()).await.is_err() || self.left == 0 {
                return Ok(false);
            }
        }
    }

    fn is_running(&self) -> bool {
        let memory = self.view.memory.lock();
        memory.containers.get(&self.container).is_some_and(|container| {
            container.starts == self.run + 1 && matches!(container.run, Run::Running(..) | Run::Starting)
        })
    }
}

/// The files to read, the oldest first, and where to begin in each.
fn begin(newest: &FilePath, tail: Option<usize>) -> io::Result<Vec<(PathBuf, u64)>> {
    let files = logs::files(newest);
    let Some(mut wanted) = tail else { return Ok(files.into_iter().map(|path| (path, 0)).collect()) };
    let mut chosen = Vec::new();
    for path in files.into_iter().rev() {
        let Ok(mut file) = std::fs::File::open(&path) else { continue };
        let (offset, lines) = logs::tail_offset(&mut file, wanted)?;
        chosen.push((path, offset));
        wanted -= lines.min(wanted);
        if wanted == 0 {
            break;
        }
    }
    chosen.reverse();
    Ok(chosen)
}

/// Tells when something in a log's folder changes.
struct Watch(pipe::Receiver);

impl Watch {
    fn new(log: &FilePath) -> io::Result<Self> {
        let dir = log.parent().unwrap_or(log);
        std::fs::create_dir_all(dir)?;
        let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let events = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
        inotify::add_watch(&fd, dir, events)?;
        // It reads like a pipe, and tokio has no type of its own for it.
        Ok(Self(pipe::Receiver::from_owned_fd_unchecked(fd)?))
    }

    async fn next(&self) -> io::Result<()> {
        self.0.readable().await?;
        let mut events = [0; 4096];
        while self.0.try_read(&mut events).is_ok_and(|count| count > 0) {}
        Ok(())
    }
}
