//! The load generator and the trivial upstream: as little work a request as can be, on one thread each.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::sync::{Barrier, watch};

use crate::peers::World;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    Http1,
    Http1Body,
    Http1Large,
    Http1Post,
    Http2,
    FullHandshake,
    RsaHandshake,
    ResumedHandshake,
}

/// What a window saw. Connections were open before it began, and are closed behind it, unless handshakes are the work.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    /// That the proxy used meanwhile.
    pub(crate) cpu: Duration,
}

/// The beginning of a window, when everybody has a connection.
struct Start {
    open: Arc<Barrier>,
    end: watch::Receiver<Option<Instant>>,
}

impl Start {
    /// Returns when the window ends.
    async fn wait(mut self) -> Instant {
        self.open.wait().await;
        let end = self.end.wait_for(Option::is_some).await.expect("a window");
        end.expect("waited for")
    }
}

impl Work {
    pub(crate) const ALL: [Self; 8] = [
        Self::Http1,
        Self::Http2,
        Self::Http1Body,
        Self::Http1Large,
        Self::Http1Post,
        Self::FullHandshake,
        Self::RsaHandshake,
        Self::ResumedHandshake,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1, small GET",
            Self::Http1Body => "HTTP/1.1, 64 KiB",
            Self::Http1Large => "HTTP/1.1, 1 MiB",
            Self::Http1Post => "HTTP/1.1, POST 64 KiB",
            Self::Http2 => "HTTP/2, small GET",
            Self::FullHandshake => "full handshake",
            Self::RsaHandshake => "full handshake, RSA-2048",
            Self::ResumedHandshake => "resumed handshake",
        }
    }

    fn connections(self) -> usize {
        match self {
            Self::Http1 => 64,
            Self::Http2 | Self::Http1Large => 8,
            Self::Http1Body | Self::Http1Post | Self::FullHandshake | Self::RsaHandshake | Self::ResumedHandshake => 16,
        }
    }

    fn request(self) -> Vec<u8> {
        let head = |line: &str, fields: &str| {
            format!("{line} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: load\r\nAccept: */*\r\n{fields}\r\n").into_bytes()
        };
        match self {
            Self::Http1Body => head("GET /64k", ""),
            Self::Http1Large => head("GET /1m", ""),
            Self::Http1Post => [head("POST /small", "Content-Length: 65536\r\n"), vec![b'x'; 65536]].concat(),
            _ => head("GET /small", ""),
        }
    }
}

/// Keeps this thread, and those it starts, on one core.
pub(crate) fn pin(core: usize) {
    let pid = std::process::id().to_string();
    let status = std::process::Command::new("taskset")
        .args(["-a", "-p", "-c", &core.to_string(), &pid])
        .stdout(std::process::Stdio::null())
        .status();
    assert!(status.is_ok_and(|status| status.success()), "taskset");
}

pub(crate) fn run(work: Work, world: &World, address: SocketAddr, time: Duration, cpu: impl Fn() -> Duration) -> Done {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (open, (begin, end)) = (Arc::new(Barrier::new(work.connections() + 1)), watch::channel(None));
        let request: Arc<[u8]> = work.request().into();
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..work.connections() {
            let (config, request) = (Arc::new(client(world, number, work)), Arc::clone(&request));
            let start = Start { open: Arc::clone(&open), end: end.clone() };
            tasks.spawn(async move {
                match work {
                    Work::Http1 | Work::Http1Body | Work::Http1Large | Work::Http1Post => {
                        keep_alive(config, address, &request, start).await
                    }
                    Work::Http2 => streams(config, address, "/small", start).await,
                    Work::FullHandshake | Work::RsaHandshake | Work::ResumedHandshake => {
                        (handshakes(config, address, &request, start).await, None)
                    }
                }
            });
        }
        open.wait().await;
        let before = cpu();
        begin.send_replace(Some(Instant::now() + time));
        let (mut sum, mut streams) = (Done::default(), Vec::new());
        while let Some(done) = tasks.join_next().await {
            let (done, stream) = done.expect("no panic");
            sum.add(&done);
            streams.push(stream);
        }
        sum.cpu = cpu() - before;
        sum
    })
}

impl Done {
    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
    }
}

fn client(world: &World, number: usize, work: Work) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(world.server.0.clone()).expect("the server's certificate");
    roots.add(world.rsa.clone()).expect("the server's certificate");
    let (cert, key) = &world.clients[number % world.clients.len()];
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::X25519];
    provider.cipher_suites = vec![rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256];
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![cert.clone(), world.ca.0.clone()], key.clone_key())
        .expect("a client's certificate");
    config.resumption = match work {
        Work::ResumedHandshake => rustls::client::Resumption::in_memory_sessions(8),
        _ => rustls::client::Resumption::disabled(),
    };
    config.alpn_protocols = vec![if work == Work::Http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    config
}

async fn open(config: &Arc<ClientConfig>, address: SocketAddr) -> std::io::Result<tokio_rustls::client::TlsStream<tokio::net::TcpStream>> {
    let tcp = tokio::net::TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from("localhost").expect("a name");
    tokio_rustls::TlsConnector::from(config.clone()).connect_with(name, tcp, |_: &mut ClientConnection| ()).await
}

async fn exchange(
    stream: &mut (impl tokio::io::AsyncReadExt + tokio::io::AsyncWriteExt + Unpin),
    request: &[u8],
    buffer: &mut [u8],
) -> std::io::Result<()> {
    stream.write_all(request).await?;
    let (mut have, mut left) = (0, None);
    loop {
        let from = if left.is_some() { 0 } else { have };
        let read = stream.read(&mut buffer[from..]).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        have += read;
        if let Some(left) = &mut left {
            *left = usize::saturating_sub(*left, read);
        } else if let Some(head) = buffer[..have].windows(4).position(|window| window == b"\r\n\r\n") {
            let text = std::str::from_utf8(&buffer[..head]).map_err(|_| std::io::ErrorKind::InvalidData)?;
            if !text.starts_with("HTTP/1.1 200") {
                return Err(std::io::ErrorKind::InvalidData.into());
            }
            let length =
                text.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok());
            left = Some((head + 4 + length.ok_or(std::io::ErrorKind::InvalidData)?).saturating_sub(have));
        }
        if left == Some(0) {
            return Ok(());
        }
    }
}

/// Holds so many connections, each with one request behind it, while `look` looks.
pub(crate) fn held<R>(world: &World, address: SocketAddr, count: usize, look: impl FnOnce() -> R) -> Option<R> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (mut streams, mut buffer) = (Vec::with_capacity(count), vec![0; 16 << 10]);
        let request = Work::Http1.request();
        let config = Arc::new(client(world, 0, Work::Http1));
        for _ in 0..count {
            let mut stream = open(&config, address).await.ok()?;
            exchange(&mut stream, &request, &mut buffer).await.ok()?;
            streams.push(stream);
        }
        Some(look())
    })
}

async fn keep_alive(config: Arc<ClientConfig>, address: SocketAddr, request: &[u8], start: Start) -> (Done, Open) {
    let mut done = Done::default();
    let mut buffer = vec![0; 80 << 10];
    // With one request: what a server does behind its handshake, and its connection to the upstream, are not in the window.
    let opened = async {
        let mut stream = open(&config, address).await?;
        exchange(&mut stream, request, &mut buffer).await.map(|()| stream)
    };
    let opened = opened.await;
    let end = start.wait().await;
    let Ok(mut stream) = opened else { return (Done { errors: 1, ..done }, None) };
    while Instant::now() < end {
        match exchange(&mut stream, request, &mut buffer).await {
            Ok(()) => done.requests += 1,
            Err(_) => {
                done.errors += 1;
                match open(&config, address).await {
                    Ok(again) => stream = again,
                    Err(_) => return (done, None),
                }
            }
        }
    }
    (done, Some(Box::new(stream)))
}

async fn handshakes(config: Arc<ClientConfig>, address: SocketAddr, request: &[u8], start: Start) -> Done {
    let mut done = Done::default();
    let mut buffer = vec![0; 16 << 10];
    let end = start.wait().await;
    while Instant::now() < end {
        let once = async {
            let mut stream = open(&config, address).await?;
            exchange(&mut stream, request, &mut buffer).await
        };
        match once.await {
            Ok(()) => done.requests += 1,
            Err(_) => done.errors += 1,
        }
    }
    done
}

async fn streams(config: Arc<ClientConfig>, address: SocketAddr, path: &'static str, start: Start) -> (Done, Open) {
    let opened = async {
        let stream = open(&config, address).await.ok()?;
        let (mut sender, driver) = h2::client::handshake(stream).await.ok()?;
        tokio::spawn(driver);
        get(&mut sender, path).await.ok()?;
        Some(sender)
    };
    let opened = opened.await;
    let end = start.wait().await;
    let Some(sender) = opened else { return (Done { errors: 1, ..Done::default() }, None) };
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let mut sender = sender.clone();
        tasks.spawn(async move {
            let mut done = Done::default();
            while Instant::now() < end {
                match get(&mut sender, path).await {
                    Ok(()) => done.requests += 1,
                    Err(_) => done.errors += 1,
                }
            }
            done
        });
    }
    let mut sum = Done::default();
    while let Some(done) = tasks.join_next().await {
        sum.add(&done.expect("no panic"));
    }
    (sum, Some(Box::new(sender)))
}

async fn get(sender: &mut h2::client::SendRequest<bytes::Bytes>, path: &str) -> Result<(), h2::Error> {
    *sender = sender.clone().ready().await?;
    let request = http::Request::get(format!("https://localhost{path}")).body(()).expect("a request");
    let (response, _) = sender.send_request(request, true)?;
    let mut body = response.await?.into_body();
    while let Some(chunk) = body.data().await {
        let length = chunk?.len();
        body.flow_control().release_capacity(length)?;
    }
    Ok(())
}

/// Whatever keeps a connection open.
type Open = Option<Box<dyn Send>>;

/// Answers every request with 200: 64 KiB for `/64k`, 1 MiB for `/1m`, a few bytes for the rest.
pub(crate) fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            listener.set_nonblocking(true).expect("non-blocking");
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream));
            }
        });
    });
    address
}

async fn answer(mut stream: tokio::net::TcpStream) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let sized = |length: usize| {
        [format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n").into_bytes(), vec![b'x'; length]]
            .concat()
    };
    let (small, middle, large) = (sized(6), sized(64 << 10), sized(1 << 20));
    let _ = stream.set_nodelay(true);
    let (mut buffer, mut have, mut body) = (vec![0; 64 << 10], 0, 0_usize);
    while let Ok(read) = stream.read(&mut buffer[have..]).await {
        have += read;
        if read == 0 {
            return;
        }
        loop {
            // The rest of the request's body, if it has one.
            let taken = body.min(have);
            buffer.copy_within(taken..have, 0);
            (body, have) = (body - taken, have - taken);
            let Some(end) = buffer[..have].windows(4).position(|window| window == b"\r\n\r\n").filter(|_| body == 0) else { break };
            let head = buffer[..end].to_ascii_lowercase();
            let reply = if head.starts_with(b"get /64k") {
                &middle
            } else if head.starts_with(b"get /1m") {
                &large
            } else {
                &small
            };
            let field = head.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"content-length:"));
            body = field.and_then(|value| std::str::from_utf8(value).ok()?.trim().parse().ok()).unwrap_or(0);
            buffer.copy_within(end + 4..have, 0);
            have -= end + 4;
            // Behind the whole body, as an application would.
            while body > have {
                body -= have;
                have = stream.read(&mut buffer).await.unwrap_or(0);
                if have == 0 {
                    return;
                }
            }
            if stream.write_all(reply).await.is_err() {
                return;
            }
        }
    }
}

/// Waits until an address accepts.
pub(crate) fn reachable(address: SocketAddr) {
    let start = Instant::now();
    while TcpStream::connect(address)
        .and_then(|mut stream| stream.write(b"").and_then(|_| stream.set_nonblocking(true)).map(|()| stream.read(&mut [])).map(|_| ()))
        .is_err()
    {
        assert!(start.elapsed() < Duration::from_secs(20), "{address} is not reachable");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
