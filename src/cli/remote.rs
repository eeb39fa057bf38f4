//! The way to a running proxy, for every command that talks to one: its control socket, found by the configuration, or with
//! `--admin` a listener that serves `admin`, over mutual TLS. JSON in, JSON out; what a refusal says is the failure.

mod target;
mod upload;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

use super::{Failure, Output};
use crate::admin;
use crate::admission::Surface;
use crate::upstream::fetch::{self, FetchError};
use crate::upstream::{Tls, Url};
pub(super) use target::{Elsewhere, Target, trusted, url};
use upload::Upload;

/// A proxy that may be called.
pub(super) struct Remote {
    way: Way,
    /// What is shown beside the certificate, or in its place.
    token: Option<HeaderValue>,
    runtime: Runtime,
    /// Where long bodies are shown on their way.
    shown: Option<Output>,
}

enum Way {
    Local(PathBuf),
    Tls(Box<(Url, Tls)>),
}

/// An answer, read whole.
#[derive(Debug)]
pub(super) struct Reply {
    /// It is one of the API, and of nothing that stands behind a proxy.
    is_ours: bool,
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl Remote {
    /// Calls whoever is at a URL, which stays as it is; calls nobody yet.
    pub(super) fn at(url: Url, tls: Tls) -> Result<Self, Failure> {
        Self::by(Way::Tls(Box::new((url, tls))))
    }

    fn by(way: Way) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::local)?;
        Ok(Self { way, token: None, runtime, shown: None })
    }

    /// Shows how far long bodies have come, where a person looks on.
    pub(super) fn showing(self, output: Output) -> Self {
        Self { shown: Some(output), ..self }
    }

    /// Asks; whatever is no success is the failure.
    pub(super) fn get(&self, target: &str) -> Result<Value, Failure> {
        self.call(&Method::GET, target, None)
    }

    /// Calls, with a body or none; whatever is no success is the failure.
    pub(super) fn call(&self, method: &Method, target: &str, body: Option<&Value>) -> Result<Value, Failure> {
        self.call_if(method, target, body, None)
    }

    /// The same, where what is changed is of this version still: who read it before may not undo what another did since.
    pub(super) fn call_if(&self, method: &Method, target: &str, body: Option<&Value>, version: Option<u64>) -> Result<Value, Failure> {
        let reply = self.send(method, target, body, version)?;
        if reply.status.is_success() {
            return reply.json();
        }
        Err(reply.refusal())
    }

    /// Calls, and returns whatever is answered.
    pub(super) fn send(&self, method: &Method, target: &str, body: Option<&Value>, version: Option<u64>) -> Result<Reply, Failure> {
        let mut request = request(method, target, body, self.shown)?;
        // RFC 9110, 13.1.1: an entity tag, in quotes.
        let tag = version.and_then(|version| HeaderValue::try_from(format!("\"{version}\"")).ok());
        request.headers_mut().extend(tag.map(|tag| (header::IF_MATCH, tag)));
        request.headers_mut().extend(self.token.clone().map(|token| (header::AUTHORIZATION, token)));
        self.runtime
            .block_on(async {
                let exchange = self.exchange(request);
                tokio::time::timeout(PATIENCE, exchange).await.unwrap_or_else(|_| Err(Failure::network("the proxy does not answer")))
            })
            .and_then(|reply| self.only_ours(reply))
    }

    /// Believes no success of somebody else: an upstream behind the listener that was named by mistake may well answer 200 to a
    /// revocation.
    fn only_ours(&self, reply: Reply) -> Result<Reply, Failure> {
        match &self.way {
            Way::Tls(way) if !reply.is_ours && !reply.is_refusal() => Err(Failure::network(format_args!(
                "{} answers {}, and not as the operator API: name a listener that serves `admin` (for tokens: `challenge`)",
                way.0.authority(),
                reply.status
            ))),
            Way::Local(_) | Way::Tls(_) => Ok(reply),
        }
    }

    async fn exchange(&self, mut request: Request<Upload>) -> Result<Reply, Failure> {
        match &self.way {
            Way::Local(path) => {
                let reachable = admin::Reachable::of(path).map_err(|error| unreachable(path, &error))?;
                let stream = UnixStream::connect(reachable.path()).await.map_err(|error| unreachable(path, &error))?;
                request.headers_mut().insert(header::HOST, HeaderValue::from_static("localhost"));
                over(stream, request).await
            }
            Way::Tls(way) => {
                let (url, tls) = &**way;
                let host = url.authority();
                let stream = fetch::connect(url, tls).await.map_err(|error| match error {
                    FetchError::Trust(_) => Failure::local(error),
                    error if tls.ca.is_empty() => {
                        Failure::network(format_args!("{host}: {error}; without --cacert it is what the system trusts"))
                    }
                    error => Failure::network(format_args!("{host}: {error}")),
                })?;
                request.headers_mut().extend(HeaderValue::try_from(host).ok().map(|host| (header::HOST, host)));
                over(stream, request).await
            }
        }
    }
}

fn request(method: &Method, target: &str, body: Option<&Value>, shown: Option<Output>) -> Result<Request<Upload>, Failure> {
    let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
    // The proxy would break off in the middle of it, and its answer might not be heard.
    let path = target.split('?').next().unwrap_or_default();
    if admin::asks(Surface::Admin, method, path).is_some_and(|needs| bytes.len() as u64 > needs.body) {
        return Err(Failure::refused(format_args!("body_too_large: the call would have {} MiB{TOO_LONG}", bytes.len() >> 20)));
    }
    let mut request = Request::new(Upload::new(bytes, shown));
    *request.method_mut() = method.clone();
    *request.uri_mut() = target.parse().map_err(|error| Failure::usage(format_args!("{target}: {error}")))?;
    if body.is_some() {
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    Ok(request)
}

async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, request: Request<Upload>) -> Result<Reply, Failure> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let driver = tokio::spawn(connection);
    let answered = sender.send_request(request).await;
    let response = match answered {
        Ok(response) => response,
        Err(error) => {
            // With TLS 1.3 a denial in the handshake is heard here.
            drop(sender);
            return Err(driver.await.ok().and_then(Result::err).map_or_else(|| broken(error), broken));
        }
    };
    let status = response.status();
    let is_ours = response.headers().contains_key(admin::API);
    let body = Limited::new(response.into_body(), MAX_ANSWER)
        .collect()
        .await
        .map_err(|error| Failure::network(format_args!("no whole answer: {error}")))?;
    Ok(Reply { is_ours, status, body: body.to_bytes() })
}

impl Reply {
    /// Reads the body as JSON; an empty one is null.
    pub(super) fn json(&self) -> Result<Value, Failure> {
        if self.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&self.body).map_err(|_| Failure::network(format_args!("the answer ({}) is not the proxy's", self.status)))
    }

    /// Says that something is refused, as a listener of ours would before the API is asked; not that something stands behind it.
    fn is_refusal(&self) -> bool {
        let body = serde_json::from_slice::<Value>(&self.body).unwrap_or_default();
        let of_what_stands_behind = ["no_route", "not_permitted", "upstream_timeout", "upstream_unavailable"];
        !self.status.is_success()
            && match &body["error"]["code"] {
                Value::String(code) => !of_what_stands_behind.contains(&code.as_str()),
                _ => body["error"].is_string(),
            }
    }

    /// Tells what a refusal says.
    pub(super) fn refusal(&self) -> Failure {
        let body = serde_json::from_slice::<Value>(&self.body).unwrap_or_default();
        let error = &body["error"];
        let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
        let mut message = match (error["code"].as_str(), error.as_str()) {
            (Some(code), _) => format!("{code}: {}", text("message")),
            (None, Some(sentence)) => sentence.to_owned(),
            (None, None) => format!("the answer is {}", self.status),
        };
        if self.status == StatusCode::PAYLOAD_TOO_LARGE {
            message += TOO_LONG;
        }
        for detail in error["details"].as_array().into_iter().flatten() {
            let (key, why) = (detail["key"].as_str().unwrap_or_default(), detail["why"].as_str().unwrap_or_default());
            message += &if key.is_empty() { format!("\n  {why}") } else { format!("\n  {key}: {why}") };
        }
        match self.status {
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => Failure::network(message),
            _ => Failure::refused(message),
        }
    }
}

/// Returns a whole list, as `filters` (`&key=value…`) have it, asked for page by page.
pub(super) fn pages(remote: &Remote, path: &str, key: &str, filters: &str) -> Result<Vec<Value>, Failure> {
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let mut page = remote.get(&format!("{path}?limit={PAGE}{filters}{after}"))?;
        if let Value::Array(mut some) = page[key].take() {
            found.append(&mut some);
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={}", encoded(next)),
            None => return Ok(found),
        }
    }
}

/// Writes a text as a part of a target: RFC 3986, 2.3: what is not unreserved is encoded.
pub(super) fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn unreachable(path: &Path, error: &std::io::Error) -> Failure {
    let why = match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => "no proxy runs with this configuration".to_owned(),
        std::io::ErrorKind::PermissionDenied => "only the proxy's own user and root may use it".to_owned(),
        _ => error.to_string(),
    };
    Failure::network(format_args!("{}: {why}", path.display()))
}

fn broken(error: hyper::Error) -> Failure {
    if let Some(words) = fetch::in_words(&error) {
        return Failure::network(format_args!("no answer: {words}"));
    }
    match std::error::Error::source(&error) {
        Some(source) => Failure::network(format_args!("no answer: {error}: {source}")),
        None => Failure::network(format_args!("no answer: {error}")),
    }
}

/// A reload of a million entries takes a few seconds, a set of a hundred thousand certificates more on a slow disk.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(600);
const TOO_LONG: &str = "\n  a call may have 16 MiB, a whole set of principals (`allow replace`) 256 MiB: who has more puts it into files, \
    `[[allowlist]]` or `[revocation] crls`";
/// The most that is given.
const PAGE: usize = 1000;
const MAX_ANSWER: usize = 256 << 20;
