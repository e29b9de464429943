// SPDX-License-Identifier: Apache-2.0

//! Questions about the rest of the world, put to the host's resolvers.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hickory_proto::op::Message;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::cache::{Cache, Question};

/// How long one resolver has for an answer; clients wait five seconds in all.
const PATIENCE: Duration = Duration::from_millis(1500);

/// How often each resolver is asked before there is no answer.
const ROUNDS: usize = 2;

/// Questions under way at once; more are answered SERVFAIL at once, so that a flood costs no memory.
const IN_FLIGHT: usize = 512;

/// Asks resolvers and remembers what they said.
pub(crate) struct Forwarder {
    cache: Mutex<Cache>,
    in_flight: Semaphore,
}

impl Default for Forwarder {
    fn default() -> Self {
        Self { cache: Mutex::default(), in_flight: Semaphore::new(IN_FLIGHT) }
    }
}

impl Forwarder {
    /// The reply to `query`, from the cache or from the first of `upstreams` that answers; its id and
    /// question are the query's. None: nobody answered.
    pub(crate) async fn ask(&self, query: &Message, upstreams: &[SocketAddr], over_tcp: bool) -> Option<Message> {
        let question = Question::of(query)?;
        let known = self.cache.lock().get(&question, Instant::now());
        let reply = match known {
            Some(reply) => reply,
            None => {
                let _permit = self.in_flight.try_acquire().ok()?;
                let reply = ask_all(query, upstreams, over_tcp).await?;
                self.cache.lock().put(question, &reply, Instant::now());
                reply
            }
        };
        Some(for_client(reply, query))
    }
}

/// The stored reply as this client asked for it: its id, and its spelling of the name.
fn for_client(mut reply: Message, query: &Message) -> Message {
    reply.metadata.id = query.metadata.id;
    let (Some(asked), Some(answered)) = (query.queries.first(), reply.queries.first()) else { return reply };
    let stored = answered.name().clone();
    for record in reply.answers.iter_mut().filter(|record| record.name == stored) {
        record.name = asked.name().clone();
    }
    reply.queries.clone_from(&query.queries);
    reply.edns = query.edns.as_ref().and(reply.edns.take());
    reply
}

async fn ask_all(query: &Message, upstreams: &[SocketAddr], over_tcp: bool) -> Option<Message> {
    let mut query = query.clone();
    // An id and a port of our own: what a stranger would have to guess.
    query.metadata.id = fastrand::u16(..);
    let bytes = query.to_vec().ok()?;
    for upstream in upstreams.iter().cycle().take(upstreams.len() * ROUNDS) {
        let asked = async {
            if over_tcp { ask_tcp(&bytes, *upstream).await } else { ask_udp(&query, &bytes, *upstream).await }
        };
        match timeout(PATIENCE, asked).await {
            Ok(Ok(reply)) if answers(&reply, &query) => return Some(reply),
            Ok(Ok(_)) => tracing::debug!(%upstream, "resolver answered another question"),
            Ok(Err(error)) => tracing::debug!(%upstream, %error, "resolver failed"),
            Err(_) => tracing::debug!(%upstream, "resolver did not answer in time"),
        }
    }
    None
}

fn answers(reply: &Message, query: &Message) -> bool {
    reply.metadata.id == query.metadata.id && reply.queries == query.queries
}

async fn ask_udp(query: &Message, bytes: &[u8], upstream: SocketAddr) -> io::Result<Message> {
    let any = if upstream.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(upstream).await?;
    socket.send(bytes).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Anything but the answer is a stray or a forgery: the answer may still come.
        if let Ok(reply) = Message::from_vec(&buffer[..length])
            && answers(&reply, query)
        {
            return Ok(reply);
        }
    }
}

async fn ask_tcp(bytes: &[u8], upstream: SocketAddr) -> io::Result<Message> {
    let mut stream = TcpStream::connect(upstream).await?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), bytes].concat()).await?;
    let length = stream.read_u16().await?;
    let mut buffer = vec![0; usize::from(length)];
    stream.read_exact(&mut buffer).await?;
    Message::from_vec(&buffer).map_err(io::Error::other)
}
