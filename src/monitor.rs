//! /metrics /livez /readyz /status /jwks.json, on a thread and a socket of their own: whoever scrapes never delays a client.
//! Plain HTTP or TLS, no secrets either way; names of principals only where the configuration says so. `cli/run.rs` starts it.

mod serving;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use serde::Serialize;
use serde_json::json;
use tokio::task::LocalSet;

use crate::clock;
use crate::drain::Drain;
use crate::listener::{Bind, BindAddress, ListenError, Listening};
use crate::metrics::Metrics;
use crate::tls::ServerOnly;
use serving::serve;

/// Where the rules in force came from; `reload` knows, `cli/run.rs` asks it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Policy {
    /// Changes exactly when what is admitted may have changed.
    pub hash: String,
    /// Principals in force.
    pub entries: u64,
    pub sources: Vec<Source>,
}

/// One supplier of rules.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Source {
    pub name: String,
    /// When its content in force was last read whole and found good, in seconds since the epoch; `None`: never.
    pub last_good: Option<u64>,
    /// Why what it holds now is not in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What the monitor tells of.
pub struct View {
    pub metrics: Arc<Metrics>,
    pub drain: Drain,
    pub policy: Box<dyn Fn() -> Policy + Send + Sync>,
    /// The public keys of our tokens, as a JWK set.
    pub jwks: Box<dyn Fn() -> String + Send + Sync>,
    pub shown: Shown,
}

/// The certificate that the monitor shows: taken anew by each connection, so that a renewed one needs no restart.
#[derive(Clone, Debug, Default)]
pub struct Shown(Arc<Mutex<Option<ServerOnly>>>);

impl Shown {
    /// Begins with this; `None`: plain HTTP.
    pub fn new(tls: Option<ServerOnly>) -> Self {
        Self(Arc::new(Mutex::new(tls)))
    }

    /// Shows this from the next connection on.
    pub fn replace(&self, tls: Option<ServerOnly>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = tls;
    }

    fn now(&self) -> Option<ServerOnly> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The running monitor. It goes on until the process ends, so that a drain can be watched.
pub struct Monitor {
    bound: BindAddress,
    state: Arc<State>,
}

struct State {
    view: View,
    started: u64,
    /// Set once every listener listens: before, nobody is ready.
    listeners: OnceLock<Vec<Bind>>,
}

impl Monitor {
    /// Binds and starts the thread. Not ready yet.
    pub fn start(address: &BindAddress, view: View) -> Result<Self, ListenError> {
        let listening = Listening::bind(&Bind { name: "monitor".into(), address: address.clone() })?;
        let bound = listening.bound().address;
        let state = Arc::new(State { view, started: clock::wall().as_secs(), listeners: OnceLock::new() });
        let (served, runtime) = (Arc::clone(&state), tokio::runtime::Builder::new_current_thread().enable_all().build());
        let runtime = runtime.map_err(ListenError::Thread)?;
        std::thread::Builder::new()
            .name("monitor".to_owned())
            .spawn(move || {
                let ended = LocalSet::new().block_on(&runtime, serve(listening, served));
                tracing::error!(error = ?ended.err(), "the monitor stopped");
            })
            .map_err(ListenError::Thread)?;
        Ok(Self { bound, state })
    }

    /// Returns where it listens: with the port that the system chose where 0 was asked for.
    pub fn bound(&self) -> &BindAddress {
        &self.bound
    }

    /// Tells that rules are in force and these listeners listen.
    pub fn ready(&self, listeners: Vec<Bind>) {
        // The first call counts; there is no second.
        let _ = self.state.listeners.set(listeners);
    }
}

impl std::fmt::Debug for Monitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Monitor").field("bound", &self.bound).finish_non_exhaustive()
    }
}

impl State {
    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD");
        }
        match request.uri().path() {
            "/livez" => text(StatusCode::OK, "ok"),
            "/readyz" => match self.phase() {
                Phase::Ready => text(StatusCode::OK, "ready"),
                Phase::Unrecorded => text(StatusCode::SERVICE_UNAVAILABLE, Phase::Unrecorded.name()),
                Phase::Draining => text(StatusCode::SERVICE_UNAVAILABLE, "draining"),
                Phase::Starting => text(StatusCode::SERVICE_UNAVAILABLE, "starting: no rules are in force"),
            },
            "/metrics" => {
                let mut response = text(StatusCode::OK, self.view.metrics.render(clock::wall().as_secs()));
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(prometheus_text()));
                response
            }
            "/status" => {
                let mut response = text(StatusCode::OK, self.status().to_string());
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                response
            }
            // RFC 7517, 5: for an upstream that checks what we signed.
            "/jwks.json" => {
                let mut response = text(StatusCode::OK, (self.view.jwks)());
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
                response
            }
            _ => text(StatusCode::NOT_FOUND, "/metrics /livez /readyz /status /jwks.json"),
        }
    }

    fn phase(&self) -> Phase {
        if self.view.drain.has_started() {
            Phase::Draining
        } else if self.view.metrics.ledger_unrecorded.get() > 0.0 {
            Phase::Unrecorded
        } else if self.listeners.get().is_some() {
            Phase::Ready
        } else {
            Phase::Starting
        }
    }

    fn status(&self) -> serde_json::Value {
        let now = clock::wall().as_secs();
        let policy = (self.view.policy)();
        let sources: Vec<_> = policy
            .sources
            .iter()
            .map(|source| {
                json!({
                    "name": source.name,
                    "last_good": source.last_good,
                    "age_seconds": source.last_good.map(|time| now.saturating_sub(time)),
                    "error": source.error,
                })
            })
            .collect();
        let listeners: Vec<_> = self
            .listeners
            .get()
            .into_iter()
            .flatten()
            .map(|bind| {
                let connections = self.view.metrics.listener(&bind.name).connections.get();
                json!({"name": bind.name, "address": bind.address.to_string(), "connections": connections})
            })
            .collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "state": self.phase().name(),
            "uptime_seconds": now.saturating_sub(self.started),
            "generation": self.view.metrics.generation.get() as u64,
            "policy_hash": policy.hash,
            "entries": policy.entries,
            "sources": sources,
            "listeners": listeners,
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Draining,
    Ready,
    Starting,
    /// Changes are in force that a restart would forget: whoever balances should know before they are lost.
    Unrecorded,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Ready => "ready",
            Self::Starting => "starting",
            Self::Unrecorded => "unrecorded",
        }
    }
}

fn text(status: StatusCode, body: impl Into<String>) -> Response<Full<Bytes>> {
    let mut body = body.into();
    if !body.ends_with('\n') {
        body.push('\n');
    }
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The content type of Prometheus' text format.
const fn prometheus_text() -> &'static str {
    "text/plain; version=0.0.4; charset=utf-8"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drain;

    fn state() -> (State, drain::DrainStarter) {
        let (starter, drain) = drain::channel();
        let metrics = Metrics::new(1);
        metrics.generation.set(3.0);
        let policy = || Policy {
            hash: "abc".to_owned(),
            entries: 2,
            sources: vec![Source { name: "list.pem".to_owned(), last_good: Some(5), error: Some("list.pem:3: no certificate".to_owned()) }],
        };
        (
            State {
                view: View { metrics, drain, policy: Box::new(policy), jwks: Box::new(String::new), shown: Shown::default() },
                started: 0,
                listeners: OnceLock::new(),
            },
            starter,
        )
    }

    fn ask(state: &State, method: &str, path: &str) -> StatusCode {
        state.answer(&Request::builder().method(method).uri(path).body(()).unwrap()).status()
    }

    #[test]
    fn readiness_follows_the_phases() {
        let (state, starter) = state();
        assert_eq!((ask(&state, "GET", "/readyz"), ask(&state, "GET", "/livez")), (StatusCode::SERVICE_UNAVAILABLE, StatusCode::OK));
        state.listeners.set(Vec::new()).unwrap();
        assert_eq!(ask(&state, "GET", "/readyz"), StatusCode::OK);
        starter.start();
        assert_eq!((ask(&state, "GET", "/readyz"), ask(&state, "GET", "/livez")), (StatusCode::SERVICE_UNAVAILABLE, StatusCode::OK));
    }

    #[test]
    fn status_tells_generation_sources_and_listeners() {
        let (state, _starter) = state();
        state.listeners.set(vec![Bind { name: "edge".into(), address: "127.0.0.1:8443".parse().unwrap() }]).unwrap();
        let status = state.status();
        assert_eq!(
            (status["generation"].as_u64(), status["entries"].as_u64(), status["state"].as_str()),
            (Some(3), Some(2), Some("ready"))
        );
        assert_eq!(status["sources"][0]["error"], "list.pem:3: no certificate");
        assert_eq!(status["listeners"][0]["address"], "127.0.0.1:8443");
    }

    #[test]
    fn only_reading_is_answered() {
        let (state, _starter) = state();
        assert_eq!(ask(&state, "POST", "/metrics"), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(ask(&state, "GET", "/"), StatusCode::NOT_FOUND);
        assert_eq!(ask(&state, "HEAD", "/metrics"), StatusCode::OK);
    }

    #[test]
    fn a_unix_monitor_answers_over_its_socket() {
        use std::io::{Read, Write};
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("monitor.sock");
        let (state, _starter) = state();
        let monitor = Monitor::start(&BindAddress::Unix(path.clone()), state.view).unwrap();
        monitor.ready(Vec::new());
        let mut stream = std::os::unix::net::UnixStream::connect(path).unwrap();
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("ready\n"), "{answer}");
    }
}
