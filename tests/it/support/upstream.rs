//! An upstream that keeps what it was sent, byte for byte where it matters, and answers as it is told.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One request as it arrived: head and body, undecoded.
#[derive(Clone, Debug)]
pub struct Received {
    pub head: String,
    pub body: Vec<u8>,
}

impl Received {
    /// Returns every value of a header, in order.
    pub fn header(&self, name: &str) -> Vec<String> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
            .collect()
    }

    /// Returns the request line's target.
    pub fn target(&self) -> &str {
        self.head.split(' ').nth(1).expect("a request line")
    }
}

/// How to answer; the request's target chooses among several in one upstream.
#[derive(Clone)]
pub enum Reply {
    /// 200 with these bytes.
    Fixed(&'static str),
    /// These bytes as they are, then the connection is closed.
    Raw(Vec<u8>),
    /// A 200 that sends a chunk each few milliseconds until the connection breaks.
    Endless,
    /// A 200 that sends as much as is taken, and counts it.
    Flood(Arc<AtomicUsize>),
    /// 101 for WebSocket, then every byte is sent back.
    WebSocket,
    /// Reads the body for as long as it comes; never answers.
    Swallow,
}

/// Listens on loopback; every connection is served by its own task.
pub struct TestUpstream {
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    begun: Arc<AtomicUsize>,
    open: Arc<std::sync::atomic::AtomicUsize>,
}

impl TestUpstream {
    /// Answers by the end of the path: `/endless`, `/ws`, `/swallow`; anything else 200 `hello`.
    pub async fn start() -> Self {
        Self::replying(|target| match target.split('?').next().and_then(|path| path.rsplit('/').next()) {
            Some("endless") => Reply::Endless,
            Some("swallow") => Reply::Swallow,
            Some("ws") => Reply::WebSocket,
            _ => Reply::Fixed("hello"),
        })
        .await
    }

    pub async fn replying(reply: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("bound");
        let received = Arc::new(Mutex::new(Vec::new()));
        let open = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let begun = Arc::<AtomicUsize>::default();
        let (reply, kept, heads, count) = (Arc::new(reply), received.clone(), begun.clone(), open.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (reply, kept, heads, count) = (reply.clone(), kept.clone(), heads.clone(), count.clone());
                count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                tokio::spawn(async move {
                    let _ = serve(stream, &*reply, &kept, &heads).await;
                    count.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                });
            }
        });
        Self { address, received, begun, open }
    }

    /// Returns its URL for a configuration.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns every request so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().expect("no panic while held").clone()
    }

    /// Returns the last request.
    pub fn last(&self) -> Received {
        self.received().pop().expect("a request arrived")
    }

    /// Returns how many requests have begun to arrive: their heads are here.
    pub fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    /// Returns how many connections are open.
    pub fn open(&self) -> usize {
        self.open.load(std::sync::atomic::Ordering::SeqCst)
    }
}

async fn serve(
    mut stream: TcpStream,
    reply: &(dyn Fn(&str) -> Reply + Send + Sync),
    kept: &Mutex<Vec<Received>>,
    begun: &AtomicUsize,
) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let Some(end) = read_until_blank_line(&mut stream, &mut buffer).await? else { return Ok(()) };
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        buffer.drain(..end);
        begun.fetch_add(1, Ordering::SeqCst);
        let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let reply = reply(&target);
        let mut request = Received { head, body: Vec::new() };
        if matches!(reply, Reply::Swallow) {
            kept.lock().expect("no panic while held").push(request);
            while stream.read_buf(&mut buffer).await? > 0 {
                buffer.clear();
            }
            return Ok(());
        }
        if request.header("transfer-encoding").iter().any(|value| value.eq_ignore_ascii_case("chunked")) {
            while !ends_chunked(&buffer) {
                if stream.read_buf(&mut buffer).await? == 0 {
                    return Ok(());
                }
            }
            request.body = std::mem::take(&mut buffer);
        } else if let Some(length) = request.header("content-length").first().and_then(|value| value.parse::<usize>().ok()) {
            while buffer.len() < length {
                if stream.read_buf(&mut buffer).await? == 0 {
                    return Ok(());
                }
            }
            request.body = buffer.drain(..length).collect();
        }
        let key = request.header("sec-websocket-key").pop();
        kept.lock().expect("no panic while held").push(request);
        match reply {
            Reply::Fixed(text) => {
                stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()).as_bytes()).await?;
            }
            Reply::Raw(bytes) => {
                stream.write_all(&bytes).await?;
                return stream.shutdown().await;
            }
            Reply::Endless => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
                let mut pace = tokio::time::interval(std::time::Duration::from_millis(5));
                loop {
                    pace.tick().await;
                    stream.write_all(b"6\r\ndrip \n\r\n").await?;
                }
            }
            Reply::Flood(sent) => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
                let chunk = format!("400\r\n{}\r\n", "x".repeat(0x400));
                loop {
                    stream.write_all(chunk.as_bytes()).await?;
                    sent.fetch_add(0x400, Ordering::Relaxed);
                }
            }
            Reply::WebSocket => {
                let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.unwrap_or_default().as_bytes());
                let head = format!(
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
                );
                stream.write_all(head.as_bytes()).await?;
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await?;
                return Ok(());
            }
            Reply::Swallow => return Ok(()),
        }
    }
}

async fn read_until_blank_line(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Option<usize>> {
    loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            return Ok(Some(at + 4));
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

/// Good enough for a test's upstream: the last chunk and the end of the trailers have come.
fn ends_chunked(buffer: &[u8]) -> bool {
    buffer.windows(5).any(|window| window == b"0\r\n\r\n")
        || (buffer.ends_with(b"\r\n\r\n") && buffer.windows(3).any(|window| window == b"0\r\n"))
}
