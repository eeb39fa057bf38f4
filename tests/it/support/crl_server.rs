//! A server of CRLs over TLS, that can be told to misbehave.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rcgen::SanType;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::{Leaf, TestCa};

/// What to do with a request.
#[derive(Clone)]
pub enum Serve {
    /// 200 with this body.
    Body(Vec<u8>),
    /// 200 that ends in the middle.
    CutShort(Vec<u8>),
    /// Nothing, for as long as the client waits.
    Hang,
    /// This head and no more.
    Head(&'static str),
}

/// Listens on a loopback address of its own, with a certificate for it, signed by `ca`. Stops when dropped.
pub struct CrlServer {
    pub address: SocketAddr,
    pub ca: TestCa,
    serve: Arc<Mutex<Serve>>,
    requests: Arc<AtomicUsize>,
    unchanged: Arc<AtomicUsize>,
    hanging: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl CrlServer {
    pub async fn start(serve: impl Into<Serve>) -> Self {
        // Of its own: whoever stops it and starts another in its place finds the port free, whatever other tests bind.
        static USED: AtomicU8 = AtomicU8::new(1);
        let address = Ipv4Addr::new(127, 1, 0, USED.fetch_add(1, Ordering::Relaxed));
        Self::start_at((address, 0).into(), TestCa::new("crl server ca"), serve).await
    }

    pub async fn start_at(address: SocketAddr, ca: TestCa, serve: impl Into<Serve>) -> Self {
        let mut leaf = Leaf::new("crl server").no_eku();
        leaf.params.subject_alt_names.push(SanType::IpAddress(address.ip()));
        let identity = ca.issue(leaf);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(identity.chain.clone(), identity.key())
            .expect("a server certificate");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(address).await.expect("bind");
        let address = listener.local_addr().expect("bound");
        let serve = Arc::new(Mutex::new(serve.into()));
        let counters: [Arc<AtomicUsize>; 3] = Default::default();
        let [requests, unchanged, hanging] = counters.clone();
        let told = serve.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, told, counters) = (acceptor.clone(), told.clone(), counters.clone());
                connections.spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let _ = answer(&mut stream, &told, &counters).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        Self { address, ca, serve, requests, unchanged, hanging, task }
    }

    pub fn url(&self) -> String {
        format!("https://{}/ca.crl", self.address)
    }

    /// An entry of `[revocation] crls`; the CA's certificate is `crl-ca.pem`.
    pub fn entry(&self, interval: &str) -> String {
        format!("{{ url = \"{}\", ca = \"crl-ca.pem\", interval = \"{interval}\" }}", self.url())
    }

    pub fn serve(&self, serve: impl Into<Serve>) {
        *self.serve.lock().expect("no panic while held") = serve.into();
    }

    /// How many requests were answered.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// How many of them were told that nothing changed.
    pub fn unchanged(&self) -> usize {
        self.unchanged.load(Ordering::SeqCst)
    }

    /// How many requests wait for an answer that will not come.
    pub fn hanging(&self) -> usize {
        self.hanging.load(Ordering::SeqCst)
    }

    /// Stops listening and closes what is open.
    pub async fn stop(self) -> (SocketAddr, TestCa) {
        self.task.abort();
        while !self.task.is_finished() {
            tokio::task::yield_now().await;
        }
        (self.address, TestCa { identity: self.ca.identity.clone() })
    }
}

impl Drop for CrlServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl From<String> for Serve {
    fn from(pem: String) -> Self {
        Self::Body(pem.into_bytes())
    }
}

async fn answer(
    stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin),
    serve: &Mutex<Serve>,
    [requests, unchanged, hanging]: &[Arc<AtomicUsize>; 3],
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    assert!(head.starts_with("get /ca.crl http/1.1\r\n") && head.contains("\r\nhost: 127.1.0."), "{head}");
    let serve = serve.lock().expect("no panic while held").clone();
    match serve {
        Serve::Body(body) => {
            let etag = format!("\"{}\"", super::certificates::hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &body).as_ref()));
            if head.contains(&format!("if-none-match: {etag}")) {
                unchanged.fetch_add(1, Ordering::SeqCst);
                stream.write_all(b"HTTP/1.1 304 Not Modified\r\n\r\n").await?;
            } else {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nETag: {etag}\r\n\r\n", body.len());
                stream.write_all(&[head.as_bytes(), &body].concat()).await?;
            }
        }
        Serve::CutShort(body) => {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all(&[head.as_bytes(), &body[..body.len() / 2]].concat()).await?;
        }
        Serve::Hang => {
            hanging.fetch_add(1, Ordering::SeqCst);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n-").await?;
            stream.flush().await?;
            // Whatever ends this is the client.
            let _ = stream.read(&mut [0]).await;
            hanging.fetch_sub(1, Ordering::SeqCst);
        }
        Serve::Head(head) => stream.write_all(format!("HTTP/1.1 {head}\r\n\r\n").as_bytes()).await?,
    }
    requests.fetch_add(1, Ordering::SeqCst);
    stream.flush().await
}
