//! The little of HTTP that a probe or a scraper needs: `GET`, one answer, closed.

use calc::Endpoint;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// How long a client may take for its question and for reading the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most octets of a question that are read.
const LONGEST_QUESTION: u64 = 8192;
/// Pause before a port that could not be had is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What is answered to a `GET`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// Plain text; may be empty.
    pub(crate) body: String,
}

impl Answer {
    /// There is nothing at this path.
    pub(crate) fn not_found() -> Answer {
        Answer { status: 404, body: "404 page not found\n".to_owned() }
    }
}

/// Answers at `endpoint` with what `answer` says to each path, until the task that polls this is aborted.
///
/// A port that cannot be had is tried again each second.
pub(crate) async fn serve(
    purpose: &'static str,
    endpoint: Endpoint,
    answer: impl Fn(&str) -> Answer + Clone + 'static,
) {
    let Endpoint { host, port } = &endpoint;
    let mut refused = false;
    let listener = loop {
        match bind(&endpoint).await {
            Ok(listener) => break listener,
            Err(error) => {
                if !std::mem::replace(&mut refused, true) {
                    tracing::error!(host, port, %error, "cannot serve {purpose}, trying again");
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    };
    tracing::info!(host, port, "serving {purpose}");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let conversation = tokio::time::timeout(PATIENCE, converse(stream, answer.clone()));
                tokio::task::spawn_local(conversation);
            }
            Err(error) => {
                tracing::debug!(%error, "accept a client of {purpose}");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn bind(endpoint: &Endpoint) -> io::Result<TcpListener> {
    let port = endpoint.port;
    match endpoint.host.as_str() {
        "" => match TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await {
            Ok(listener) => Ok(listener),
            // a host without IPv6
            Err(_) => TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).await,
        },
        "localhost" => TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await,
        host => TcpListener::bind((host, port)).await,
    }
}

async fn converse(stream: TcpStream, answer: impl Fn(&str) -> Answer) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut question = String::new();
    {
        let mut head = (&mut stream).take(LONGEST_QUESTION);
        head.read_line(&mut question).await?;
        let mut header = String::new();
        // headers are read, or the close would reset the connection under the answer
        while head.read_line(&mut header).await? > 2 {
            header.clear();
        }
    }
    stream.write_all(respond(&question, answer).as_bytes()).await?;
    stream.shutdown().await
}

/// Turns a request line into the whole answer.
fn respond(question: &str, answer: impl Fn(&str) -> Answer) -> String {
    let mut words = question.split_whitespace();
    let Answer { status, body } = match (words.next(), words.next()) {
        (Some("GET" | "HEAD"), Some(target)) => answer(target.split('?').next().unwrap_or(target)),
        (Some(_), Some(_)) => Answer { status: 405, body: "method not allowed\n".to_owned() },
        _ => Answer { status: 400, body: "bad request\n".to_owned() },
    };
    let reason = match status {
        200 => "OK",
        204 => "No Content",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        _ => "Service Unavailable",
    };
    let length = body.len();
    let body = if question.starts_with("HEAD ") { "" } else { &body };
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_lines() {
        let answer = |path: &str| match path {
            "/here" => Answer { status: 200, body: "yes\n".to_owned() },
            _ => Answer::not_found(),
        };
        for (question, status, body) in [
            ("GET /here HTTP/1.1\r\n", "HTTP/1.1 200 OK", "yes\n"),
            ("GET /here?debug=1 HTTP/1.0\r\n", "HTTP/1.1 200 OK", "yes\n"),
            ("HEAD /here HTTP/1.1\r\n", "HTTP/1.1 200 OK", ""),
            ("GET /there HTTP/1.1\r\n", "HTTP/1.1 404 Not Found", "404 page not found\n"),
            ("POST /here HTTP/1.1\r\n", "HTTP/1.1 405 Method Not Allowed", "method not allowed\n"),
            ("\r\n", "HTTP/1.1 400 Bad Request", "bad request\n"),
        ] {
            let text = respond(question, answer);
            let (head, rest) = text.split_once("\r\n\r\n").expect("a head and a body");
            assert_eq!((head.lines().next(), rest), (Some(status), body), "{question:?}");
        }
    }
}
