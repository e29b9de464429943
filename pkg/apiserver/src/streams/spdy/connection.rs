// SPDX-License-Identifier: Apache-2.0
//! The server's side of a connection: a task that reads, one that writes, and streams between them.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::frame::{self, Head, Kind, Malformed};
use super::headers::{self, Headers};

/// Streams of one connection at a time.
const STREAMS_MAX: usize = 1024;
/// Pieces of data that wait in a stream; then the whole connection waits, as these clients expect.
const QUEUE: usize = 64;
/// The length of a piece.
const PIECE: usize = 32 << 10;
/// What the peer still sends after the end is thrown away for so long: closing a socket with unread
/// data would reset it, and cost the peer what it has not read.
const DRAIN: Duration = Duration::from_secs(5);

/// A connection whose streams are opened by the peer.
pub struct Connection {
    opened: mpsc::Receiver<Stream>,
    output: mpsc::Sender<Out>,
    over: CancellationToken,
}

/// A stream that the peer opened.
pub struct Stream {
    /// Its number.
    pub id: u32,
    /// What it is for.
    pub headers: Headers,
    /// What the peer sends; it ends with the stream's or the connection's end.
    pub data: mpsc::Receiver<Bytes>,
    /// The way back.
    pub writer: Writer,
}

/// Sends in a stream.
#[derive(Clone)]
pub struct Writer {
    id: u32,
    output: mpsc::Sender<Out>,
}

/// The connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection is over")]
pub struct Over;

enum Out {
    Frame(Bytes),
    End,
}

// === impl Connection ===

impl Connection {
    /// Serves a connection until it ends, or [`Connection::end`] is called.
    pub fn serve<T: AsyncRead + AsyncWrite + Send + 'static>(stream: T) -> Self {
        let (read, write) = tokio::io::split(stream);
        let (open, opened) = mpsc::channel(16);
        let (output, outgoing) = mpsc::channel(32);
        let over = CancellationToken::new();
        let reader = Reader {
            streams: HashMap::new(),
            open,
            output: output.clone(),
            decoder: headers::Decoder::default(),
            encoder: headers::Encoder::default(),
        };
        tokio::spawn(read_all(reader, read, over.clone()));
        tokio::spawn(write_all(outgoing, write, over.clone()));
        Self { opened, output, over }
    }

    /// The next stream; `None` at the connection's end.
    pub async fn next(&mut self) -> Option<Stream> {
        self.opened.recv().await
    }

    /// What ends with the connection.
    #[must_use]
    pub fn over(&self) -> CancellationToken {
        self.over.clone()
    }

    /// Ends the connection once everything is sent.
    pub async fn end(self) {
        if self.output.send(Out::End).await.is_ok() {
            self.over.cancelled().await;
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.over.cancel();
    }
}

// === impl Writer ===

impl Writer {
    /// Sends data.
    ///
    /// # Errors
    /// [`Over`] at the connection's end.
    pub async fn send(&self, data: &[u8]) -> Result<(), Over> {
        for piece in data.chunks(frame::DATA_MAX) {
            self.put(frame::data(self.id, piece, false)).await?;
        }
        Ok(())
    }

    /// Says that nothing more comes.
    ///
    /// # Errors
    /// [`Over`] at the connection's end.
    pub async fn finish(&self) -> Result<(), Over> {
        self.put(frame::data(self.id, &[], true)).await
    }

    /// Ends the stream in both directions.
    ///
    /// # Errors
    /// [`Over`] at the connection's end.
    pub async fn reset(&self) -> Result<(), Over> {
        self.put(frame::rst_stream(self.id, frame::CANCEL)).await
    }

    async fn put(&self, frame: Bytes) -> Result<(), Over> {
        self.output.send(Out::Frame(frame)).await.map_err(|_| Over)
    }
}

async fn write_all<W: AsyncWrite>(mut outgoing: mpsc::Receiver<Out>, write: W, over: CancellationToken) {
    let _guard = over.clone().drop_guard();
    tokio::pin!(write);
    loop {
        let next = tokio::select! {
            next = outgoing.recv() => next,
            () = over.cancelled() => None,
        };
        let Some(Out::Frame(frame)) = next else { break };
        if write.write_all(&frame).await.is_err() || (outgoing.is_empty() && write.flush().await.is_err()) {
            return;
        }
    }
    let _ = write.shutdown().await;
}

async fn read_all<R: AsyncRead>(mut reader: Reader, read: R, over: CancellationToken) {
    let _guard = over.clone().drop_guard();
    tokio::pin!(read);
    let frames = async {
        while reader.frame(&mut read).await.inspect_err(|e| tracing::debug!(%e, "a SPDY connection ended")).is_ok() {}
    };
    tokio::select! {
        () = frames => {}
        () = over.cancelled() => {}
    }
    // The streams end now, not when the socket is drained.
    drop(reader);
    over.cancel();
    let mut sink = tokio::io::sink();
    let _ = tokio::time::timeout(DRAIN, tokio::io::copy(&mut read, &mut sink)).await;
}

struct Reader {
    streams: HashMap<u32, mpsc::Sender<Bytes>>,
    open: mpsc::Sender<Stream>,
    output: mpsc::Sender<Out>,
    decoder: headers::Decoder,
    encoder: headers::Encoder,
}

impl Reader {
    /// Takes one frame.
    async fn frame<R: AsyncRead + Unpin>(&mut self, read: &mut R) -> io::Result<()> {
        let mut head = [0; 8];
        read.read_exact(&mut head).await?;
        match Head::parse(head).map_err(broken)? {
            Head::Data { stream, is_last, length } => self.data(read, stream, is_last, length).await,
            Head::Control { kind, flags, length } => {
                let mut payload = vec![0; length];
                read.read_exact(&mut payload).await?;
                self.control(kind, flags, &payload).await
            }
        }
    }

    async fn data<R: AsyncRead + Unpin>(
        &mut self,
        read: &mut R,
        stream: u32,
        is_last: bool,
        length: usize,
    ) -> io::Result<()> {
        let mut left = length;
        while left > 0 {
            let mut piece = vec![0; left.min(PIECE)];
            read.read_exact(&mut piece).await?;
            left -= piece.len();
            // Data for nobody is thrown away.
            if let Some(sender) = self.streams.get(&stream)
                && sender.send(piece.into()).await.is_err()
            {
                self.streams.remove(&stream);
            }
        }
        if is_last {
            self.streams.remove(&stream);
        }
        Ok(())
    }

    async fn control(&mut self, kind: Kind, flags: u8, mut payload: &[u8]) -> io::Result<()> {
        let mut number = || payload.try_get_u32().map_err(|_| broken(Malformed("a control frame is cut off")));
        match kind {
            Kind::SynStream => {
                let id = number()? & 0x7fff_ffff;
                number()?;
                let block = payload.get(2..).unwrap_or_default();
                let headers = self.decoder.decode(block).map_err(broken)?;
                self.open(id, headers, flags & frame::FIN != 0).await
            }
            // Both have blocks that later ones refer to.
            Kind::SynReply | Kind::Headers => {
                let id = number()? & 0x7fff_ffff;
                self.decoder.decode(payload).map_err(broken)?;
                if flags & frame::FIN != 0 {
                    self.streams.remove(&id);
                }
                Ok(())
            }
            Kind::RstStream => {
                let id = number()? & 0x7fff_ffff;
                self.streams.remove(&id);
                Ok(())
            }
            // Those with even numbers are echoes of our own, of which there are none.
            Kind::Ping => match number()? {
                id if !id.is_multiple_of(2) => self.put(frame::ping(id)).await,
                _ => Ok(()),
            },
            Kind::GoAway | Kind::Other => Ok(()),
        }
    }

    async fn open(&mut self, id: u32, headers: Headers, is_last: bool) -> io::Result<()> {
        if id.is_multiple_of(2) || self.streams.contains_key(&id) {
            return Err(broken(Malformed("a stream's number is not right")));
        }
        self.streams.retain(|_, sender| !sender.is_closed());
        if self.streams.len() >= STREAMS_MAX {
            return self.put(frame::rst_stream(id, frame::REFUSED_STREAM)).await;
        }
        let (sender, data) = mpsc::channel(QUEUE);
        if !is_last {
            self.streams.insert(id, sender);
        }
        let reply = frame::syn_reply(id, &self.encoder.encode(&Headers::default()));
        self.put(reply).await?;
        let writer = Writer { id, output: self.output.clone() };
        self.open.send(Stream { id, headers, data, writer }).await.map_err(|_| io::ErrorKind::ConnectionAborted.into())
    }

    async fn put(&self, frame: Bytes) -> io::Result<()> {
        self.output.send(Out::Frame(frame)).await.map_err(|_| io::ErrorKind::ConnectionAborted.into())
    }
}

fn broken(error: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A client's SYN_STREAM.
    pub(super) fn syn_stream(encoder: &mut headers::Encoder, id: u32, pairs: &[(&str, &str)]) -> Vec<u8> {
        let headers = Headers(pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect());
        let block = encoder.encode(&headers);
        let length = u32::try_from(block.len() + 10).unwrap();
        let mut frame = vec![0x80, 3, 0, 1];
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&id.to_be_bytes());
        frame.extend_from_slice(&[0; 6]);
        frame.extend_from_slice(&block);
        frame
    }

    #[tokio::test]
    async fn streams_carry_data_both_ways() {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let mut connection = Connection::serve(server);
        let mut encoder = headers::Encoder::default();
        client.write_all(&syn_stream(&mut encoder, 1, &[("streamtype", "data")])).await.unwrap();
        client.write_all(&frame::data(1, b"hello", true)).await.unwrap();
        client.write_all(&frame::ping(7)).await.unwrap();
        let mut stream = connection.next().await.unwrap();
        assert_eq!(stream.headers.get("streamtype"), Some("data"));
        assert_eq!(stream.data.recv().await.as_deref(), Some(&b"hello"[..]));
        assert_eq!(stream.data.recv().await, None);
        stream.writer.send(b"there").await.unwrap();
        stream.writer.finish().await.unwrap();
        let end = tokio::spawn(connection.end());
        let mut all = Vec::new();
        client.read_to_end(&mut all).await.unwrap();
        let reply = frame::syn_reply(1, &headers::Encoder::default().encode(&Headers::default()));
        assert!(all.starts_with(&reply));
        let contains = |frame: &[u8]| all.windows(frame.len()).any(|w| w == frame);
        assert!(contains(&frame::data(1, b"there", false)) && contains(&frame::data(1, b"", true)));
        assert!(contains(&frame::ping(7)));
        drop(client);
        end.await.unwrap();
    }

    #[tokio::test]
    async fn a_stream_with_a_wrong_number_ends_the_connection() {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let mut connection = Connection::serve(server);
        client.write_all(&syn_stream(&mut headers::Encoder::default(), 2, &[])).await.unwrap();
        assert!(connection.next().await.is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_comes_the_connection_ends_in_order(bytes in proptest::collection::vec(any::<u8>(), 0..200), spdy: bool) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (mut client, server) = tokio::io::duplex(1 << 16);
                let mut connection = Connection::serve(server);
                if spdy {
                    let _ = client.write_all(&syn_stream(&mut headers::Encoder::default(), 1, &[])).await;
                }
                let _ = client.write_all(&bytes).await;
                drop(client);
                while connection.next().await.is_some() {}
            });
        }
    }
}
