//! One file by https, whole or not at all: verified, no redirect followed, bounded in time and size. Not the way of a
//! request; `store` fetches CRLs by it, on a thread of its own.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Request, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::settings::{Protocol, Tls, host_and_port};
use super::{UpstreamError, tls};

/// An https URL that an operator gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    text: Box<str>,
    host: Box<str>,
    port: u16,
    target: PathAndQuery,
}

/// Why a text is no URL to fetch from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlError {
    BadAuthority,
    BadTarget,
    Credentials,
    Fragment,
    NotEncrypted,
    UnknownScheme,
}

/// How much one fetch may take.
#[derive(Clone, Copy, Debug)]
pub struct FetchLimits {
    /// Name, TCP and TLS together.
    pub connect: Duration,
    /// All of it.
    pub total: Duration,
    pub bytes: u64,
}

/// What a server said to know its content by, so that the same need not be sent again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    etag: Option<HeaderValue>,
    modified: Option<HeaderValue>,
}

/// What was fetched.
#[derive(Debug, PartialEq, Eq)]
pub enum Fetch {
    New(Vec<u8>, Validators),
    /// What the validators belong to is what the server still has.
    Same,
}

/// Why nothing was fetched.
#[derive(Debug)]
pub enum FetchError {
    Connect(io::Error),
    Empty,
    Encoded,
    Http(hyper::Error),
    Redirect(StatusCode),
    Slow(Duration),
    Status(StatusCode),
    TooLarge(u64),
    Trust(UpstreamError),
}

/// Fetches once. `tls`: what the server is verified by; never unverified.
pub async fn get(url: &Url, tls: &Tls, known: &Validators, limits: FetchLimits) -> Result<Fetch, FetchError> {
    timeout(limits.total, exchange(url, tls, known, limits)).await.unwrap_or(Err(FetchError::Slow(limits.total)))
}

async fn exchange(url: &Url, tls: &Tls, known: &Validators, limits: FetchLimits) -> Result<Fetch, FetchError> {
    let stream = timeout(limits.connect, connect(url, tls)).await.unwrap_or(Err(FetchError::Slow(limits.connect)))?;
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .handshake::<_, Nothing>(TokioIo::new(stream))
        .await
        .map_err(FetchError::Http)?;
    // Ends with this set: a fetch that is given up leaves nothing behind.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let response = sender.send_request(url.request(known)).await.map_err(FetchError::Http)?;
    let (head, body) = response.into_parts();
    match head.status {
        StatusCode::OK => {}
        StatusCode::NOT_MODIFIED if *known != Validators::default() => return Ok(Fetch::Same),
        status if status.is_redirection() => return Err(FetchError::Redirect(status)),
        status => return Err(FetchError::Status(status)),
    }
    let encoding = head.headers.get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| encoding != "identity") {
        return Err(FetchError::Encoded);
    }
    match read(body, limits.bytes).await? {
        bytes if bytes.is_empty() => Err(FetchError::Empty),
        bytes => Ok(Fetch::New(bytes, Validators::of(&head.headers))),
    }
}

/// Opens a verified connection to the server of a URL, with HTTP/1.1 on it.
pub async fn connect(url: &Url, tls: &Tls) -> Result<TlsStream<TcpStream>, FetchError> {
    // Compiled each time: the system's trust store may have changed since.
    let config = tls::client_config(tls, Protocol::Https).map_err(FetchError::Trust)?;
    let name = tls.server_name.as_deref().unwrap_or(&url.host).to_owned();
    let name = ServerName::try_from(name).map_err(|error| FetchError::Connect(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    let tcp = TcpStream::connect((&*url.host, url.port)).await.map_err(FetchError::Connect)?;
    TlsConnector::from(Arc::clone(&config)).connect(name, tcp).await.map_err(FetchError::Connect)
}

/// Reads a body whole; its size is a promise that is not believed.
async fn read(mut body: Incoming, limit: u64) -> Result<Vec<u8>, FetchError> {
    let mut bytes = Vec::new();
    if body.size_hint().lower() > limit {
        return Err(FetchError::TooLarge(limit));
    }
    while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let Ok(data) = frame.map_err(FetchError::Http)?.into_data() else { continue };
        if (bytes.len() + data.len()) as u64 > limit {
            return Err(FetchError::TooLarge(limit));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

impl Url {
    /// Returns it as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the authority, as `Host` has it.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.to_string() };
        if self.port == HTTPS { host } else { format!("{host}:{}", self.port) }
    }

    /// Returns path and query.
    pub fn target(&self) -> &PathAndQuery {
        &self.target
    }

    fn request(&self, known: &Validators) -> Request<Nothing> {
        let mut request = Request::new(Nothing);
        *request.uri_mut() = self.target.clone().into();
        let host = self.authority();
        let headers = request.headers_mut();
        // INVARIANT: `host_and_port` lets only letters, digits and punctuation through.
        headers.extend(HeaderValue::try_from(host).ok().map(|host| (header::HOST, host)));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("portcullis/", env!("CARGO_PKG_VERSION"))));
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        let conditions = [(header::IF_NONE_MATCH, &known.etag), (header::IF_MODIFIED_SINCE, &known.modified)];
        headers.extend(conditions.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))));
        request
    }
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let rest = match text.split_once("://") {
            Some(("https", rest)) => rest,
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("http") => return Err(UrlError::NotEncrypted),
            _ => return Err(UrlError::UnknownScheme),
        };
        if rest.contains('#') {
            return Err(UrlError::Fragment);
        }
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(UrlError::Credentials);
        }
        let (host, port) = host_and_port(authority).map_err(|_| UrlError::BadAuthority)?;
        ServerName::try_from(host).map_err(|_| UrlError::BadAuthority)?;
        if target.len() > MAX_TARGET || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(UrlError::BadTarget);
        }
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        let target = PathAndQuery::try_from(target).map_err(|_| UrlError::BadTarget)?;
        Ok(Self { text: text.into(), host: host.into(), port: port.unwrap_or(HTTPS), target })
    }
}

impl Validators {
    fn of(headers: &HeaderMap) -> Self {
        let one = |name: HeaderName| headers.get(name).filter(|value| value.len() <= MAX_VALIDATOR).cloned();
        Self { etag: one(header::ETAG), modified: one(header::LAST_MODIFIED) }
    }
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadAuthority => "the host is no name or address, or the port no number from 1 to 65535",
            Self::BadTarget => "the path is too long, or holds what has to be written with `%`",
            Self::Credentials => "credentials in a URL would stand in logs and on the status page: serve it without",
            Self::Fragment => "a fragment (`#`) is never sent: leave it out",
            Self::NotEncrypted => {
                "over http whoever stands in between can withhold the newest CRL, which its signature does not tell: \
                 use https, or fetch it with a timer of your own and give the file"
            }
            Self::UnknownScheme => "expected https://, or the path of a file",
        })
    }
}

impl std::error::Error for UrlError {}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => match in_words(error) {
                Some(words) => write!(f, "no connection: {words}"),
                None => write!(f, "no connection: {error}"),
            },
            Self::Empty => f.write_str("the answer is empty"),
            Self::Encoded => f.write_str("the answer is compressed, though that was not asked for"),
            Self::Http(error) => match std::error::Error::source(error) {
                Some(source) => write!(f, "no whole answer: {error}: {source}"),
                None => write!(f, "no whole answer: {error}"),
            },
            Self::Redirect(status) => write!(f, "the answer is {status}: redirects are not followed, give the URL it leads to"),
            Self::Slow(limit) => write!(f, "no answer within {limit:?}"),
            Self::Status(status) => write!(f, "the answer is {status}"),
            Self::TooLarge(limit) => write!(f, "the answer has more than {limit} bytes"),
            Self::Trust(UpstreamError::NoTrust(why)) => write!(f, "nothing to verify the server by: {why}; give its `ca`"),
            Self::Trust(UpstreamError::Tls(error)) => write!(f, "TLS settings: {error}"),
        }
    }
}

impl std::error::Error for FetchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect(error) => Some(error),
            Self::Http(error) => Some(error),
            Self::Trust(error) => Some(error),
            Self::Empty | Self::Encoded | Self::Redirect(_) | Self::Slow(_) | Self::Status(_) | Self::TooLarge(_) => None,
        }
    }
}

/// Tells in words what TLS says in names of types, where somebody has to act on it; of anything else nothing.
pub fn in_words(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    use rustls::{AlertDescription as Alert, CertificateError as Certificate, Error as Tls};
    Some(match tls_error(error)? {
        Tls::InvalidCertificate(Certificate::UnknownIssuer | Certificate::Other(_)) => {
            "its certificate is vouched for by nobody who is trusted here, and is not itself trusted"
        }
        Tls::InvalidMessage(_) => "what answers there does not speak TLS: is it the right port?",
        Tls::AlertReceived(Alert::CertificateRequired) => "it wants a client certificate, and was shown none",
        Tls::AlertReceived(Alert::AccessDenied) => "it does not admit this client certificate (access_denied)",
        Tls::AlertReceived(Alert::CertificateExpired) => "it says that this client certificate has expired, or is not valid yet",
        Tls::AlertReceived(Alert::CertificateRevoked) => "it says that this client certificate is revoked",
        Tls::AlertReceived(Alert::UnknownCA) => "it knows no authority that vouches for this client certificate (unknown_ca)",
        _ => return None,
    })
}

/// An `io::Error` is not the source of itself: what it wraps is asked for by another way.
fn tls_error<'e>(mut error: &'e (dyn std::error::Error + 'static)) -> Option<&'e rustls::Error> {
    loop {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        error = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => wrapped,
            None => error.source()?,
        };
    }
}

/// A GET has no body.
struct Nothing;

impl Body for Nothing {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(0)
    }
}

const HTTPS: u16 = 443;
/// Of an answer, in bytes.
const MAX_HEAD: usize = 64 << 10;
const MAX_TARGET: usize = 2048;
const MAX_VALIDATOR: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_or_said_to_be_none() {
        let parts = |text: &str| text.parse::<Url>().map(|url| (url.host.to_string(), url.port, url.target.to_string()));
        let good = |host: &str, port, target: &str| Ok((host.to_owned(), port, target.to_owned()));
        for (text, expected) in [
            ("https://crl.example.com/ca.crl", good("crl.example.com", 443, "/ca.crl")),
            ("https://127.0.0.1:8443/a%20b?c=d", good("127.0.0.1", 8443, "/a%20b?c=d")),
            ("https://[::1]/x", good("::1", 443, "/x")),
            ("https://host", good("host", 443, "/")),
            ("https://host?x", good("host", 443, "/?x")),
            ("http://host/x", Err(UrlError::NotEncrypted)),
            ("HTTP://host/x", Err(UrlError::NotEncrypted)),
            ("ldap://host/x", Err(UrlError::UnknownScheme)),
            ("file:///x", Err(UrlError::UnknownScheme)),
            ("https://user:secret@host/x", Err(UrlError::Credentials)),
            ("https://host/x#y", Err(UrlError::Fragment)),
            ("https:///x", Err(UrlError::BadAuthority)),
            ("https://host:0/x", Err(UrlError::BadAuthority)),
            ("https://ho st/x", Err(UrlError::BadAuthority)),
            ("https://host/a b", Err(UrlError::BadTarget)),
            ("https://host/\u{e4}", Err(UrlError::BadTarget)),
        ] {
            assert_eq!(parts(text), expected, "{text}");
        }
        let long = format!("https://host/{}", "x".repeat(MAX_TARGET));
        assert_eq!(parts(&long), Err(UrlError::BadTarget));
    }

    #[test]
    fn a_request_names_its_host_and_what_is_known() {
        let url: Url = "https://[::1]:8443/ca.crl".parse().expect("a URL");
        let known = Validators { etag: Some(HeaderValue::from_static("\"7\"")), modified: None };
        let request = url.request(&known);
        assert_eq!((request.uri().to_string().as_str(), &request.headers()["host"]), ("/ca.crl", &HeaderValue::from_static("[::1]:8443")));
        assert_eq!(request.headers()["if-none-match"], "\"7\"");
        assert!(!request.headers().contains_key("if-modified-since"));
    }
}
