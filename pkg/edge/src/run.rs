// SPDX-License-Identifier: Apache-2.0

//! The process: adopts its sockets, follows the snapshot, serves until it is told to end.

use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::Error;
use crate::listeners::{self, Listen, Listener, Purpose};
use crate::serve::Served;
use crate::watch::Watch;

/// What `knarr edge` is started with.
#[derive(Clone, Debug)]
pub struct EdgeConfig {
    /// The file that the agent writes ([`crate::snapshot::write`]). May be absent at first.
    pub snapshot: PathBuf,
    /// The unix socket on which a later agent finds this process.
    pub control: PathBuf,
    /// Sockets to open itself. Empty: the supervisor hands them over on standard input.
    pub listen: Vec<Listen>,
}

/// How long requests in flight may take to end after SIGTERM.
const DRAIN: Duration = Duration::from_secs(3);

/// Serves until SIGTERM. Starts a session of its own and a runtime of its own: call it from `main`.
pub fn run(config: EdgeConfig) -> Result<(), Error> {
    // Of its own session, so that no signal to the agent's reaches it. Started as a leader, it has one already.
    let _ = rustix::process::setsid();
    let listeners = if config.listen.is_empty() {
        let stdin = std::io::stdin().as_fd().try_clone_to_owned().map_err(Error::system("adopt standard input"))?;
        listeners::receive(&UnixStream::from(stdin))?
    } else {
        config.listen.iter().map(|listen| listeners::bind(*listen)).collect::<Result<_, _>>()?
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads())
        .max_blocking_threads(4)
        .enable_all()
        .build()
        .map_err(Error::system("start the runtime"))?;
    runtime.block_on(serve(config, listeners))?;
    // Connections that did not end in time are not waited for.
    runtime.shutdown_timeout(Duration::from_millis(100));
    Ok(())
}

async fn serve(config: EdgeConfig, listeners: Vec<Listener>) -> Result<(), Error> {
    let watch = Watch::new(&config.snapshot)?;
    let served = Arc::new(Served::new(threads()));
    served.load(&config.snapshot);
    let control = listen_control(&config.control)?;
    let listeners = Arc::new(listeners);
    let mut tasks = tokio::task::JoinSet::new();
    start(&served, &listeners, &mut tasks)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::system("wait for SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::system("wait for SIGINT"))?;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            changed = watch.changed() => {
                changed.map_err(Error::file("watch", &config.snapshot))?;
                served.load(&config.snapshot);
            }
            accepted = control.accept() => {
                if let Ok((stream, _)) = accepted {
                    let listeners = Arc::clone(&listeners);
                    tokio::task::spawn_blocking(move || hand_over(stream, &listeners));
                }
            }
        }
    }
    tasks.shutdown().await;
    served.drain(DRAIN).await;
    // A successor has put its own socket in this one's place: it stays.
    Ok(())
}

fn start(served: &Arc<Served>, listeners: &[Listener], tasks: &mut tokio::task::JoinSet<()>) -> Result<(), Error> {
    let mut of_ingress = Vec::new();
    for Listener { listen, socket } in listeners {
        let failed = Error::system("adopt a listening socket");
        let copy = socket.try_clone().map_err(Error::system("copy a listening socket"))?;
        if let Err(errno) = rustix::io::ioctl_fionbio(&copy, true) {
            return Err(failed(errno.into()));
        }
        match listen.purpose {
            Purpose::DnsUdp => {
                let socket = tokio::net::UdpSocket::from_std(copy.into()).map_err(failed)?;
                tasks.spawn(crate::dns::serve_udp(Arc::clone(&served.dns), socket));
            }
            Purpose::DnsTcp => {
                let socket = tokio::net::TcpListener::from_std(copy.into()).map_err(failed)?;
                tasks.spawn(crate::dns::serve_tcp(Arc::clone(&served.dns), socket));
            }
            Purpose::Http => of_ingress.push((copy, false)),
            Purpose::Https => of_ingress.push((copy, true)),
        }
        tracing::info!(purpose = listen.purpose.name(), address = %listen.address, "serving");
    }
    crate::ingress::start(&served.ingress, &of_ingress).map_err(Error::system("start the threads of the ingress"))
}

/// Threads for what many requests come for: one a core, at most 4.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(4)
}

/// Binds beside the path and moves into place: a later agent finds the old socket or the new one.
fn listen_control(path: &Path) -> Result<tokio::net::UnixListener, Error> {
    let fresh = path.with_extension(format!("{}", std::process::id()));
    let _ = std::fs::remove_file(&fresh); // of an earlier process with our id
    let listener = tokio::net::UnixListener::bind(&fresh).map_err(Error::file("bind", &fresh))?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600)).map_err(Error::file("protect", &fresh))?;
    std::fs::rename(&fresh, path).map_err(Error::file("replace", path))?;
    Ok(listener)
}

fn hand_over(stream: tokio::net::UnixStream, listeners: &[Listener]) {
    let sent = stream.into_std().map_err(|error| Error::HandOver(error.to_string())).and_then(|stream| {
        stream.set_nonblocking(false).map_err(|error| Error::HandOver(error.to_string()))?;
        listeners::send(&stream, listeners)
    });
    if let Err(error) = sent {
        tracing::warn!(%error, "hand sockets to the agent");
    }
}
