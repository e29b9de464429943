// SPDX-License-Identifier: Apache-2.0
//! Clients that never stop asking, and count what fails.

use std::io::{Error, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::hosts::Host;
use crate::wait::until;

/// How long a client waits for an answer before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a client asks, one request after the other, each on a connection of its own.
#[derive(Clone, Debug)]
pub enum Request {
    /// `GET /` with this Host header; an answer of 200 counts.
    Http {
        /// Where.
        address: SocketAddr,
        /// The Host header.
        host: String,
    },
    /// The IPv4 address of a name, over UDP; an answer with an address counts.
    Dns {
        /// The server.
        address: SocketAddr,
        /// The name, without a dot at its end.
        name: String,
    },
}

/// A client at work on a host until it is dropped.
#[derive(Debug)]
pub struct Client {
    what: String,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    answered: AtomicU64,
    failures: Mutex<Vec<String>>,
    /// The longest time between two answers since it was last asked for.
    gap: Mutex<Duration>,
}

impl Client {
    /// Starts asking from `host`; `what` is for messages.
    ///
    /// # Panics
    /// When the host's namespace cannot be entered.
    #[must_use]
    pub fn start(host: &Host, what: &str, request: Request) -> Self {
        let shared = Arc::new(Shared::default());
        let (its, host) = (Arc::clone(&shared), host.clone());
        let thread = std::thread::spawn(move || {
            host.enter();
            its.work(&request);
        });
        Self { what: what.to_owned(), shared, thread: Some(thread) }
    }

    /// Waits until `count` more answers have come.
    ///
    /// # Panics
    /// When they do not within `within`.
    pub fn more(&self, count: u64, within: Duration) {
        let goal = self.answered() + count;
        until(&format!("{} answers {count} times more", self.what), within, || {
            (self.answered() >= goal, format!("{} of {goal}, {:?}", self.answered(), self.failures()))
        });
    }

    /// How many answers came.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// What failed so far.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        self.shared.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The longest time between two answers since this was last asked.
    #[must_use]
    pub fn longest_gap(&self) -> Duration {
        std::mem::take(&mut *self.shared.gap.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// # Panics
    /// When anything failed: with `when`, and what it was.
    pub fn assert_unharmed(&self, when: &str) {
        let failures = self.failures();
        assert!(
            failures.is_empty(),
            "{} failed {} times besides {} answers, {when}: {:?}",
            self.what,
            failures.len(),
            self.answered(),
            failures.iter().take(5).collect::<Vec<_>>()
        );
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn work(&self, request: &Request) {
        let (start, mut last) = (Instant::now(), Instant::now());
        while !self.stop.load(Ordering::Relaxed) {
            match request.ask() {
                Ok(()) => {
                    let mut gap = self.gap.lock().unwrap_or_else(PoisonError::into_inner);
                    *gap = (*gap).max(last.elapsed());
                    last = Instant::now();
                    self.answered.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    let line = format!("after {:.1} s: {error}", start.elapsed().as_secs_f32());
                    self.failures.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                }
            }
            // Enough to notice any hole, and little enough to leave the machine to what is tested.
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Request {
    fn ask(&self) -> Result<(), Error> {
        match self {
            Self::Http { address, host } => http(*address, host),
            Self::Dns { address, name } => dns(*address, name),
        }
    }
}

fn http(address: SocketAddr, host: &str) -> Result<(), Error> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let line = String::from_utf8_lossy(&answer[..answer.len().min(40)]).into_owned();
    if line.split(' ').nth(1) == Some("200") {
        Ok(())
    } else {
        Err(Error::new(ErrorKind::InvalidData, format!("answered {line:?}")))
    }
}

fn dns(address: SocketAddr, name: &str) -> Result<(), Error> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(address)?;
    let id = fastrand::u16(..).to_be_bytes();
    // One question, recursion desired: type A, class IN.
    let mut query = [&id[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).map_err(Error::other)?);
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    socket.send(&query)?;
    let mut answer = [0; 1500];
    let length = socket.recv(&mut answer)?;
    let answer = &answer[..length];
    let (same, code, count) = (answer.get(..2) == Some(&id[..]), answer.get(3).map(|b| b & 15), answer.get(7));
    if same && code == Some(0) && count.is_some_and(|count| *count > 0) {
        Ok(())
    } else {
        Err(Error::new(ErrorKind::InvalidData, format!("answered code {code:?} with {count:?} records")))
    }
}
