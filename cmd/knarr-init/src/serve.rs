// SPDX-License-Identifier: Apache-2.0

//! The demo web server: says which pod answers. HTTP/1.1 with keep-alive, a thread a connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Connections at once; one more is closed.
const CONNECTIONS_MAX: usize = 1024;
/// A request's head, in bytes.
const HEAD_BYTES_MAX: u64 = 16 << 10;
/// A connection without a request is closed after this.
const IDLE_MAX: Duration = Duration::from_secs(75);

/// Serves on all addresses, IPv6 and IPv4, for ever.
pub fn run(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port)))?;
    let pod: Arc<str> = pod_name().into();
    println!("{pod} listens on port {port}");
    let connections = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        if connections.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
            connections.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (pod, open) = (Arc::clone(&pod), Arc::clone(&connections));
        let answering = move || {
            let _the_client_went_away = converse(&stream, &pod);
            open.fetch_sub(1, Ordering::Relaxed);
        };
        if std::thread::Builder::new().stack_size(128 << 10).spawn(answering).is_err() {
            connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// The host name in a pod is the pod's name.
fn pod_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = name.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    name.trim().to_owned()
}

fn converse(stream: &TcpStream, pod: &str) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(IDLE_MAX))?;
    let mut reader = BufReader::with_capacity(4096, stream);
    let mut writer = stream;
    while let Some(request) = Request::read(&mut reader)? {
        let (status, body) = match request.path.as_str() {
            "/healthz" => ("200 OK", "ok\n".to_owned()),
            _ => ("200 OK", format!("Hello from {pod}\n")),
        };
        let connection = if request.keep_alive { "keep-alive" } else { "close" };
        let mut answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {}\r\nConnection: {connection}\r\n\r\n",
            body.len()
        );
        if !request.head_only {
            answer.push_str(&body);
        }
        writer.write_all(answer.as_bytes())?;
        if !request.keep_alive {
            return Ok(());
        }
    }
    Ok(())
}

/// What of a request matters here.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    path: String,
    head_only: bool,
    keep_alive: bool,
}

impl Request {
    /// Reads a request and its body; `None` when the client has no more.
    fn read(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
        let mut head = reader.by_ref().take(HEAD_BYTES_MAX);
        let mut line = String::new();
        if head.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace();
        let (Some(method), Some(path)) = (words.next(), words.next()) else {
            return Err(io::Error::other("no HTTP"));
        };
        let mut request = Request {
            path: path.split('?').next().unwrap_or_default().to_owned(),
            head_only: method == "HEAD",
            keep_alive: words.next() != Some("HTTP/1.0"),
        };
        let mut body_bytes = 0;
        loop {
            let mut line = String::new();
            if head.read_line(&mut line)? == 0 {
                return Err(io::Error::other("the head is too long, or broke off"));
            }
            if line.trim_end().is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.trim();
            if name.eq_ignore_ascii_case("connection") {
                request.keep_alive = match value.to_ascii_lowercase().as_str() {
                    "close" => false,
                    "keep-alive" => true,
                    _ => request.keep_alive,
                };
            } else if name.eq_ignore_ascii_case("content-length") {
                body_bytes = value.parse().unwrap_or(0);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                request.keep_alive = false; // such a body is not read
            }
        }
        io::copy(&mut reader.by_ref().take(body_bytes), &mut io::sink())?;
        Ok(Some(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> io::Result<Vec<Request>> {
        let mut reader = BufReader::new(text.as_bytes());
        let mut all = Vec::new();
        while let Some(request) = Request::read(&mut reader)? {
            all.push(request);
        }
        Ok(all)
    }

    #[test]
    fn requests_follow_each_other_on_a_connection() {
        let text =
            "POST /a?x=1 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcHEAD /healthz HTTP/1.1\r\nConnection: close\r\n\r\n";
        let want = [("/a", false, true), ("/healthz", true, false)];
        let got = read(text).unwrap();
        let got: Vec<_> = got.iter().map(|r| (r.path.as_str(), r.head_only, r.keep_alive)).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn what_is_no_request_ends_the_connection() {
        assert!(read("\r\n").is_err());
        assert!(read("GET / HTTP/1.1\r\nHost: x").is_err());
        let endless = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(20_000));
        assert!(read(&endless).is_err());
    }

    #[test]
    fn the_server_says_who_it_is_and_keeps_the_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let server = std::thread::spawn(move || converse(&stream, "pod-1"));
        let requests = "GET / HTTP/1.1\r\n\r\nGET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n";
        client.write_all(requests.as_bytes()).unwrap();
        let mut answers = String::new();
        client.read_to_string(&mut answers).unwrap();
        server.join().unwrap().unwrap();
        assert!(answers.contains("\r\n\r\nHello from pod-1\nHTTP/1.1 200 OK"), "{answers}");
        assert!(answers.ends_with("\r\n\r\nok\n"), "{answers}");
    }
}
