//! `portcullis echo`: an upstream that answers with what it was asked. For tests and demos, never for production:
//! it trusts everybody. `quickstart` runs one in its own process.

mod body;
mod websocket;

use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use aws_lc_rs::digest;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, UnixListener};

use super::output::print_line;
use super::{Exit, Failure, Output};
use crate::upstream::LocalExecutor;
use body::EchoBody;

#[derive(Debug, clap::Args)]
#[command(after_help = "Answers JSON of method, path, headers and body digest, but for:\n  \
    /drip?seconds=60&interval=1000   a line each interval (ms)\n  \
    /ws                              WebSocket echo\n  \
    /echo                            the request's body, as it comes\n  \
    /bytes/N                         N bytes\n  \
    /status/N                        that status\n  \
    /slow/MS                         answers late")]
pub(super) struct Arguments {
    /// Where to listen: ADDRESS:PORT or unix:PATH
    #[arg(long, default_value = "127.0.0.1:9000")]
    listen: String,
}

/// Listens until the process ends.
pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::local)?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let echo = Echo::bind(&arguments.listen).map_err(|error| Failure::network(format_args!("{}: {error}", arguments.listen)))?;
        output.answer(&json!({"listening": echo.address}), format_args!("echo: listening on {}", echo.address));
        tokio::select! {
            () = echo.serve() => Ok(Exit::Done),
            _ = tokio::signal::ctrl_c() => Ok(Exit::Done),
        }
    })
}

/// A bound echo upstream. Serve it on a `LocalSet`.
pub(super) struct Echo {
    listener: Listener,
    /// With the port that the system chose where 0 was asked for.
    pub(super) address: String,
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Echo {
    /// Binds; a unix socket left behind by another run is replaced.
    pub(super) fn bind(address: &str) -> io::Result<Self> {
        if let Some(path) = address.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            remove_stale(&path)?;
            return Ok(Self { listener: Listener::Unix(UnixListener::bind(path)?), address: address.to_owned() });
        }
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let bound = listener.local_addr()?.to_string();
        Ok(Self { listener: Listener::Tcp(TcpListener::from_std(listener)?), address: bound })
    }

    /// Serves for ever.
    pub(super) async fn serve(self) {
        loop {
            let accepted = match &self.listener {
                Listener::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                    // Nagle and delayed answers would make a demo look slow.
                    let _ = stream.set_nodelay(true);
                    tokio::task::spawn_local(connection(stream));
                }),
                Listener::Unix(listener) => listener.accept().await.map(|(stream, _)| {
                    tokio::task::spawn_local(connection(stream));
                }),
            };
            if let Err(error) = accepted {
                print_line(format_args!("echo: cannot accept: {error}"));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// A socket that nobody listens on may go; anything else stays.
fn remove_stale(path: &std::path::Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() && std::os::unix::net::UnixStream::connect(path).is_err() => std::fs::remove_file(path),
        _ => Ok(()),
    }
}

async fn connection(mut stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    // HTTP/2 by prior knowledge opens with a preface (RFC 9113, 3.4); anything else is HTTP/1.1.
    let mut seen = Vec::with_capacity(PREFACE.len());
    while seen.len() < PREFACE.len() && PREFACE.starts_with(&seen) {
        let mut rest = [0; PREFACE.len()];
        match stream.read(&mut rest[seen.len()..]).await {
            Ok(count @ 1..) => {
                let from = seen.len();
                seen.extend_from_slice(&rest[from..from + count]);
            }
            Ok(0) | Err(_) => return,
        }
    }
    let http2 = seen == PREFACE;
    let io = TokioIo::new(Rewound { seen: Bytes::from(seen), stream });
    let service = service_fn(|request| async { Ok::<_, Infallible>(answer(request).await) });
    // How a connection ends is the other side's business.
    if http2 {
        let mut builder = hyper::server::conn::http2::Builder::new(LocalExecutor);
        builder.enable_connect_protocol().timer(TokioTimer::new());
        let _ = builder.serve_connection(io, service).await;
    } else {
        let mut builder = hyper::server::conn::http1::Builder::new();
        let _ = builder.half_close(true).serve_connection(io, service).with_upgrades().await;
    }
}

async fn answer(mut request: Request<Incoming>) -> Response<EchoBody> {
    let path = request.uri().path().to_owned();
    let number = |prefix: &str| path.strip_prefix(prefix)?.parse::<u64>().ok();
    if path == "/ws" {
        return websocket::accept(&mut request);
    }
    if path == "/echo" {
        return Response::new(EchoBody::Back(request.into_body()));
    }
    if path == "/drip" {
        let query = request.uri().query().unwrap_or_default();
        let asked = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse::<u64>().ok());
        let interval = asked("interval").unwrap_or(1000).max(1);
        return Response::new(EchoBody::drip(Duration::from_millis(interval), asked("seconds").unwrap_or(60) * 1000 / interval));
    }
    if let Some(count) = number("/bytes/") {
        let mut response = Response::new(EchoBody::Zeros(count));
        response.headers_mut().insert(header::CONTENT_LENGTH, count.into());
        return response;
    }
    let mut status = StatusCode::OK;
    if let Some(code) = number("/status/") {
        status = u16::try_from(code).ok().and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or(StatusCode::BAD_REQUEST);
    }
    if let Some(millis) = number("/slow/") {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
    mirror(request, status).await
}

/// Answers with what was asked.
async fn mirror(request: Request<Incoming>, status: StatusCode) -> Response<EchoBody> {
    let (head, mut body) = request.into_parts();
    let (mut sha256, mut bytes, mut trailers) = (digest::Context::new(&digest::SHA256), 0, HeaderMap::new());
    while let Some(Ok(frame)) = body.frame().await {
        match frame.into_data() {
            Ok(data) => {
                bytes += data.len();
                sha256.update(&data);
            }
            Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
        }
    }
    let answer = json!({
        "method": head.method.as_str(),
        "path": head.uri.path_and_query().map_or("", |path| path.as_str()),
        "authority": head.uri.authority().map(|authority| authority.as_str()),
        "version": format!("{:?}", head.version),
        "headers": fields(&head.headers),
        "body": {"bytes": bytes, "sha256": hex(sha256.finish().as_ref())},
        "trailers": fields(&trailers),
    });
    let mut text = serde_json::to_vec_pretty(&answer).unwrap_or_default();
    text.push(b'\n');
    let mut response = Response::new(EchoBody::from(if head.method == Method::HEAD { Vec::new() } else { text }));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

/// Every field as `[name, value]`: names in the order of their first appearance, duplicates kept.
fn fields(headers: &HeaderMap) -> Vec<(&str, String)> {
    headers.iter().map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes()).into_owned())).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A stream whose first bytes were read already.
struct Rewound<S> {
    seen: Bytes,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.seen.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let count = self.seen.len().min(buffer.remaining());
        buffer.put_slice(&self.seen.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpStream;

    /// Runs a test against an echo of its own.
    fn against<T: Future>(test: impl FnOnce(String) -> T) -> T::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let echo = Echo::bind("127.0.0.1:0").unwrap();
            let address = echo.address.clone();
            tokio::task::spawn_local(echo.serve());
            test(address).await
        })
    }

    async fn exchange(address: String, request: impl AsRef<[u8]>) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_ref()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[test]
    fn a_request_comes_back_as_json() {
        let request = "POST /a?b=1 HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nX-A: 2\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc";
        let answer = against(|address| exchange(address, request));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!((body["method"].as_str(), body["path"].as_str()), (Some("POST"), Some("/a?b=1")));
        assert_eq!(body["headers"].as_array().unwrap().iter().filter(|field| field[0] == "x-a").count(), 2);
        assert_eq!(body["body"]["sha256"], "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn bytes_statuses_and_drips_are_as_asked() {
        for (path, wanted) in [("/bytes/200000", 200_000), ("/drip?seconds=0", 0)] {
            let answer = against(|address| exchange(address, format!("GET {path} HTTP/1.0\r\n\r\n")));
            assert_eq!(answer.split_once("\r\n\r\n").unwrap().1.len(), wanted, "{path}");
        }
        assert!(against(|address| exchange(address, "GET /status/418 HTTP/1.0\r\n\r\n")).starts_with("HTTP/1.0 418"));
    }

    #[test]
    fn http2_is_spoken_by_prior_knowledge() {
        against(|address| async move {
            let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
            let (mut sender, connection) = hyper::client::conn::http2::handshake(LocalExecutor, stream).await.unwrap();
            tokio::task::spawn_local(connection);
            let request = Request::get("http://h/x").body(EchoBody::from(Vec::new())).unwrap();
            let answer = sender.send_request(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
            let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
            assert_eq!((answer["version"].as_str(), answer["authority"].as_str()), (Some("HTTP/2.0"), Some("h")));
        });
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_file_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let (socket, file) = (directory.path().join("s"), directory.path().join("f"));
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        std::fs::write(&file, "precious").unwrap();
        remove_stale(&socket).unwrap();
        remove_stale(&file).unwrap();
        assert!(!socket.exists() && file.exists());
    }
}
