//! A real TLS client (rustls) with a real HTTP client (hyper) on it, that tells an alert from a reset.

use std::error::Error as StdError;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, combinators::BoxBody};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::Resumption;
use rustls::{AlertDescription, ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Identity, TestProxy};

pub type Body = BoxBody<Bytes, Box<dyn StdError + Send + Sync>>;

/// A client of one listener. Its sessions live as long as it does: a second connection resumes.
#[derive(Clone)]
pub struct Client {
    config: Arc<ClientConfig>,
    address: SocketAddr,
    sni: String,
    http2: bool,
    credential: Option<HeaderValue>,
}

/// How a client was turned away below HTTP.
#[derive(Debug)]
pub struct Refused {
    /// The alert it heard; `None` for a reset or a plain close.
    pub alert: Option<AlertDescription>,
    pub why: String,
}

/// A response, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

/// An open connection.
pub struct Connection {
    sender: Sender,
    credential: Option<HeaderValue>,
    pub kind: HandshakeKind,
    pub version: ProtocolVersion,
    /// Ends when the connection does: with what hyper says of it.
    pub driver: tokio::task::JoinHandle<Result<(), hyper::Error>>,
}

enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

impl Client {
    /// A client of the listener `edge`.
    pub fn new(proxy: &TestProxy, identity: Option<&Identity>) -> Self {
        Self::of_listener(proxy, "edge", identity, rustls::ALL_VERSIONS, false)
    }

    pub fn tls12(proxy: &TestProxy, identity: Option<&Identity>) -> Self {
        Self::of_listener(proxy, "edge", identity, &[&rustls::version::TLS12], false)
    }

    pub fn tls13(proxy: &TestProxy, identity: Option<&Identity>) -> Self {
        Self::of_listener(proxy, "edge", identity, &[&rustls::version::TLS13], false)
    }

    pub fn http2(proxy: &TestProxy, identity: Option<&Identity>) -> Self {
        Self::of_listener(proxy, "edge", identity, rustls::ALL_VERSIONS, true)
    }

    pub fn of_listener(
        proxy: &TestProxy,
        listener: &str,
        identity: Option<&Identity>,
        versions: &[&'static rustls::SupportedProtocolVersion],
        http2: bool,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(proxy.server.leaf().clone()).expect("the server's certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).expect("versions").with_root_certificates(roots);
        let mut config = match identity {
            // The resolver, and not `with_client_auth_cert`, which would refuse a certificate with another's key.
            Some(identity) => builder.with_client_cert_resolver(Arc::new(Presents::new(identity))),
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::in_memory_sessions(32);
        config.alpn_protocols = if http2 { vec![b"h2".to_vec()] } else { vec![b"http/1.1".to_vec()] };
        Self { config: Arc::new(config), address: proxy.address(listener), sni: "localhost".into(), http2, credential: None }
    }

    pub fn sni(mut self, name: &str) -> Self {
        self.sni = name.into();
        self
    }

    /// Shows a credential with each request.
    pub fn authorization(mut self, credential: &str) -> Self {
        self.credential = Some(credential.parse().expect("a header"));
        self
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens TCP and TLS, nothing more.
    pub async fn handshake(&self) -> Result<TlsStream<TcpStream>, Refused> {
        let tcp = TcpStream::connect(self.address).await.map_err(|error| Refused::from_error(&error))?;
        self.handshake_over(tcp).await
    }

    async fn handshake_over(&self, tcp: TcpStream) -> Result<TlsStream<TcpStream>, Refused> {
        tcp.set_nodelay(true).expect("nodelay");
        let name = self.sni.clone().try_into().expect("a server name");
        TlsConnector::from(self.config.clone()).connect(name, tcp).await.map_err(|error| Refused::from_error(&error))
    }

    /// Opens a connection ready for requests. With TLS 1.3 a denial is heard only with the first answer.
    pub async fn connect(&self) -> Result<Connection, Refused> {
        self.connect_over(self.handshake().await?).await
    }

    async fn connect_over(&self, stream: TlsStream<TcpStream>) -> Result<Connection, Refused> {
        let (kind, version) = (stream.get_ref().1.handshake_kind().expect("done"), stream.get_ref().1.protocol_version().expect("done"));
        let io = TokioIo::new(stream);
        let (sender, driver) = if self.http2 {
            let (sender, driver) = http2::handshake(TokioExecutor::new(), io).await.map_err(|error| Refused::from_error(&error))?;
            (Sender::Http2(sender), tokio::spawn(driver))
        } else {
            let (sender, driver) = http1::handshake(io).await.map_err(|error| Refused::from_error(&error))?;
            (Sender::Http1(sender), tokio::spawn(driver.with_upgrades()))
        };
        Ok(Connection { sender, credential: self.credential.clone(), kind, version, driver })
    }

    /// Opens a connection, sends a GET, reads the answer to its end.
    pub async fn get(&self, path: &str) -> Result<Answer, Refused> {
        self.connect().await?.get(path).await
    }

    /// The same over a TCP connection on which something was sent already.
    pub async fn get_over(&self, tcp: TcpStream, path: &str) -> Result<Answer, Refused> {
        let stream = self.handshake_over(tcp).await?;
        self.connect_over(stream).await?.get(path).await
    }

    /// Opens a connection, sends one request, reads the answer to its end.
    pub async fn send(&self, request: Request<Body>) -> Result<Answer, Refused> {
        self.connect().await?.exchange(request).await
    }
}

impl Connection {
    pub async fn get(&mut self, path: &str) -> Result<Answer, Refused> {
        self.exchange(request("GET", path)).await
    }

    pub async fn exchange(&mut self, request: Request<Body>) -> Result<Answer, Refused> {
        let response = super::within("an answer", self.send(request)).await?;
        Answer::read(response).await
    }

    /// Sends a request and returns as soon as the head of its answer is there.
    pub async fn send(&mut self, mut request: Request<Body>) -> Result<Response<Incoming>, Refused> {
        if let Some(credential) = &self.credential {
            request.headers_mut().insert("authorization", credential.clone());
        }
        let driver = &self.driver;
        let sent = match &mut self.sender {
            Sender::Http1(sender) => {
                // Over HTTP/1.1 the target is in origin form, with a Host beside it.
                let authority = request.uri().authority().map_or("localhost".to_owned(), ToString::to_string);
                if !request.headers().contains_key("host") {
                    request.headers_mut().insert("host", authority.parse().expect("a host"));
                }
                let target = request.uri().path_and_query().map_or("/", |target| target.as_str()).parse().expect("a target");
                *request.uri_mut() = target;
                match sender.ready().await {
                    Ok(()) => unless_ended(driver, sender.send_request(request)).await,
                    Err(error) => Err(Some(error)),
                }
            }
            Sender::Http2(sender) => match sender.ready().await {
                Ok(()) => unless_ended(driver, sender.send_request(request)).await,
                Err(error) => Err(Some(error)),
            },
        };
        match sent {
            Ok(response) => Ok(response),
            Err(error) => {
                // The alert may have reached the driver rather than the request.
                let lost = || Refused { alert: None, why: "the connection ended as the request was sent".into() };
                let mut refused = error.map_or_else(lost, |error| Refused::from_error(&error));
                if refused.alert.is_none()
                    && let Ok(Ok(Err(ended))) = tokio::time::timeout(super::DEADLINE, &mut self.driver).await
                {
                    let ended = Refused::from_error(&ended);
                    refused = Refused { alert: ended.alert, why: format!("{}; {}", refused.why, ended.why) };
                }
                Err(refused)
            }
        }
    }

    /// Waits until the other side has closed the connection.
    pub async fn closed(&mut self) {
        let _ = super::within("the connection to close", &mut self.driver).await;
    }

    /// A further sender on the same HTTP/2 connection.
    pub fn stream(&self) -> http2::SendRequest<Body> {
        match &self.sender {
            Sender::Http2(sender) => sender.clone(),
            Sender::Http1(_) => panic!("HTTP/1.1 has no streams"),
        }
    }
}

/// Waits for an answer, or the end of the connection: a request that is handed over as its connection ends on another thread stays
/// in hyper's channel, unanswered, for as long as its sender lives. `None`: that is what happened.
async fn unless_ended<T>(
    driver: &tokio::task::JoinHandle<Result<(), hyper::Error>>,
    sent: impl Future<Output = Result<T, hyper::Error>>,
) -> Result<T, Option<hyper::Error>> {
    let mut sent = pin!(sent);
    loop {
        let has_ended = driver.is_finished();
        match tokio::time::timeout(LOOK, sent.as_mut()).await {
            Ok(answer) => return answer.map_err(Some),
            Err(_) if has_ended => return Err(None),
            Err(_) => {}
        }
    }
}

/// How often to look whether a connection has ended.
const LOOK: Duration = Duration::from_millis(100);

impl Answer {
    pub async fn read(response: Response<Incoming>) -> Result<Self, Refused> {
        let (head, body) = response.into_parts();
        let body = super::within("the body", body.collect()).await.map_err(|error| Refused::from_error(&error))?.to_bytes();
        Ok(Self { status: head.status, headers: head.headers, body })
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// Returns the code of an error answer.
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_else(|| panic!("no code: {}", String::from_utf8_lossy(&self.body))).to_owned()
    }
}

impl Refused {
    /// Walks the causes for rustls' word that an alert came.
    pub fn from_error(error: &(dyn StdError + 'static)) -> Self {
        let mut alert = None;
        let mut why = Vec::new();
        let mut cause = Some(error);
        while let Some(error) = cause {
            why.push(error.to_string());
            let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
            let tls = error.downcast_ref::<rustls::Error>().or_else(|| inner?.downcast_ref::<rustls::Error>());
            if let Some(rustls::Error::AlertReceived(description)) = tls {
                alert = Some(*description);
            }
            cause = error.source();
        }
        let why = why.join(": ");
        Self { alert: alert.or_else(|| told(&why)), why }
    }
}

/// h2 keeps of an I/O error its words only.
fn told(why: &str) -> Option<AlertDescription> {
    let (_, alert) = why.split_once("received fatal alert: ")?;
    (0..=u8::MAX).map(AlertDescription::from).find(|known| alert.starts_with(&format!("{known:?}")))
}

/// Makes a request with no body for `https://localhost`.
pub fn request(method: &str, path: &str) -> Request<Body> {
    let empty = http_body_util::Empty::new().map_err(|never| match never {}).boxed();
    Request::builder().method(method).uri(format!("https://localhost{path}")).body(empty).expect("a request")
}

/// Makes a request with a body.
pub fn request_with(method: &str, path: &str, body: impl Into<Bytes>) -> Request<Body> {
    request(method, path).map(|_| http_body_util::Full::new(body.into()).map_err(|never| match never {}).boxed())
}

/// A body that is sent as it comes out of a channel.
pub fn streaming(receiver: tokio::sync::mpsc::Receiver<Bytes>) -> Body {
    BodyExt::boxed(Channel(receiver))
}

struct Channel(tokio::sync::mpsc::Receiver<Bytes>);

impl hyper::body::Body for Channel {
    type Data = Bytes;
    type Error = Box<dyn StdError + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(hyper::body::Frame::data(bytes))))
    }
}

/// Always presents one chain, signing with one key, whether they fit together or not.
#[derive(Debug)]
struct Presents(Arc<rustls::sign::CertifiedKey>);

impl Presents {
    fn new(identity: &Identity) -> Self {
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&identity.key()).expect("a usable key");
        Self(Arc::new(rustls::sign::CertifiedKey::new(identity.chain.clone(), key)))
    }
}

impl rustls::client::ResolvesClientCert for Presents {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
