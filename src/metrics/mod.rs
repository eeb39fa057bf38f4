//! Every metric: name, help and labels side by side (`families.rs`). Whoever counts looks its handle up once
//! (per generation or connection: `Metrics::listener`, `route`, `upstream`, `principal`) and counts without a
//! lock; the monitor renders all of it at scrape time (`render.rs`).

mod cells;
mod families;
mod render;
mod series;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use series::{ByCode, Family, MAX_SERIES, lock};

pub use cells::{Counter, Gauge, Held, Histogram, Value, set_worker};

/// Everything that is counted. One per process, shared by all threads.
#[derive(Debug)]
pub struct Metrics {
    workers: usize,
    names: AtomicBool,

    /// `accept` failed: out of file descriptors, most often.
    pub accept_errors: Counter,
    /// A connection or request task panicked; the others went on.
    pub panics: Counter,
    /// Log lines lost to a slow or full destination. Shared with the writers.
    pub log_lines_dropped: Arc<AtomicU64>,

    /// The number of the rules in force.
    pub generation: Value,
    /// Principals in force.
    pub allowlist_entries: Value,
    /// Reloads of files that an entry of the ledger tells of together with the one before.
    pub ledger_merged: Counter,
    /// Changes in force that the ledger could not take yet.
    pub ledger_unrecorded: Value,
    /// What is wrong with the files now: each keeps something from being in force.
    pub reload_problems: Value,
    /// When the last reload succeeded, in seconds since the epoch.
    pub last_reload_success: Value,

    request_seconds: Histogram,
    revocation_seconds: Histogram,
    connections_cut: ByCode,
    identity_left_out: ByCode,
    overloads: ByCode,
    reloads: ByCode,

    listeners: Family<ListenerMetrics>,
    principals: Family<Counter>,
    routes: Family<RouteMetrics>,
    upstreams: Family<UpstreamMetrics>,
    certificates: Mutex<Vec<CertificateExpiry>>,
    managed_certificates: Mutex<Vec<CertificateExpiry>>,
    sources: Mutex<BTreeMap<String, f64>>,
}

/// What one listener counts.
#[derive(Debug)]
pub struct ListenerMetrics {
    /// Connections accepted and not yet closed: `connections.hold()`.
    pub connections: Gauge,
    handshakes: [[Counter; HandshakeKind::ALL.len()]; HandshakeResult::ALL.len()],
    denials: ByCode,
}

/// What one route counts; `Metrics::route("")` stands for requests that no route matched.
#[derive(Debug)]
pub struct RouteMetrics {
    /// 1xx to 5xx; a status outside counts as 5xx.
    statuses: [Counter; 5],
    seconds: Histogram,
}

/// What one upstream counts.
#[derive(Debug)]
pub struct UpstreamMetrics {
    /// From the request's head read to the answer's head read.
    pub seconds: Histogram,
    failures: ByCode,
}

/// How a handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeResult {
    Admitted,
    /// Complete without a certificate, on a listener that lets that be.
    Anonymous,
    Denied,
    /// Not a verdict of ours: the client gave up, spoke something else, or could not prove its key.
    Failed,
    TimedOut,
}

/// Full, or resumed from a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeKind {
    Full,
    Resumed,
}

/// How a reload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadResult {
    /// One source or more could not be read or compiled; its last good content stays, whatever became of the others.
    Failure,
    Success,
    Unchanged,
}

/// One of the certificates whose end is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateExpiry {
    /// `server`, `anchor`, `allowlist`, `pin`, `upstream_client`, `upstream_ca`, `crl`, `crl_ca`.
    pub kind: &'static str,
    /// A file or SNI name; of a pin the principal's id, or its name where `[monitor] names` is on.
    pub name: String,
    /// Seconds since the epoch.
    pub not_after: u64,
    /// The name of the principal whose it is, whatever labels may tell.
    pub principal: Option<String>,
    /// How many days before notice is given of it; empty: as of any.
    pub notice: Vec<u32>,
}

impl CertificateExpiry {
    /// Watches an end.
    pub fn new(kind: &'static str, name: String, not_after: u64) -> Self {
        Self { kind, name, not_after, principal: None, notice: Vec::new() }
    }
}

impl Metrics {
    /// Makes the cells for a number of workers.
    pub fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self {
            workers,
            names: AtomicBool::new(false),
            accept_errors: Counter::new(workers),
            panics: Counter::new(workers),
            log_lines_dropped: Arc::default(),
            generation: Value::default(),
            allowlist_entries: Value::default(),
            ledger_merged: Counter::new(workers),
            ledger_unrecorded: Value::default(),
            last_reload_success: Value::default(),
            reload_problems: Value::default(),
            request_seconds: Histogram::new(workers, REQUEST_BOUNDS),
            revocation_seconds: Histogram::new(workers, REVOCATION_BOUNDS),
            connections_cut: ByCode::new(workers),
            identity_left_out: ByCode::new(workers),
            overloads: ByCode::from_zero(workers, LIMITS),
            reloads: ByCode::from_zero(workers, &ReloadResult::ALL.map(ReloadResult::label)),
            listeners: Family::default(),
            principals: Family::default(),
            routes: Family::default(),
            upstreams: Family::default(),
            certificates: Mutex::default(),
            managed_certificates: Mutex::default(),
            sources: Mutex::default(),
        })
    }

    /// Looks a listener up: once per generation.
    pub fn listener(&self, name: &str) -> Arc<ListenerMetrics> {
        self.listeners.get(name, || ListenerMetrics {
            connections: Gauge::new(self.workers),
            handshakes: std::array::from_fn(|_| std::array::from_fn(|_| Counter::new(self.workers))),
            denials: ByCode::new(self.workers),
        })
    }

    /// Looks a principal's request counter up: once per connection. The label is the id; the name, where the monitor may tell names.
    pub fn principal(&self, id: impl fmt::Display, name: impl fmt::Display) -> Arc<Counter> {
        let label = if self.names.load(Ordering::Relaxed) { name.to_string() } else { id.to_string() };
        self.principals.get(&label, || Counter::new(self.workers))
    }

    /// Lets labels tell the names of principals: `[monitor] names`, before the first is looked up.
    pub fn tell_names(&self, names: bool) {
        self.names.store(names, Ordering::Relaxed);
    }

    /// Looks a route up: once per generation. The empty name stands for no route.
    pub fn route(&self, name: &str) -> Arc<RouteMetrics> {
        self.routes.get(name, || RouteMetrics {
            statuses: std::array::from_fn(|_| Counter::new(self.workers)),
            seconds: self.request_seconds.clone(),
        })
    }

    /// Looks an upstream up: once per generation.
    pub fn upstream(&self, name: &str) -> Arc<UpstreamMetrics> {
        self.upstreams.get(name, || UpstreamMetrics {
            seconds: Histogram::new(self.workers, REQUEST_BOUNDS),
            failures: ByCode::from_zero(self.workers, UPSTREAM_FAILURES),
        })
    }

    /// Counts a connection that was cut, by the code of its denial.
    pub fn cut(&self, code: &'static str) {
        self.connections_cut.counter(code).inc();
    }

    /// Counts a value that a dialect cannot express and that was left out of the identity headers.
    pub fn identity_left_out(&self, dialect: &'static str) {
        self.identity_left_out.counter(dialect).inc();
    }

    /// Counts a client turned away by a limit: `connections`, `handshakes`, …
    pub fn overloaded(&self, limit: &'static str) {
        self.overloads.counter(limit).inc();
    }

    /// Counts a reload; `now` in seconds since the epoch.
    pub fn reloaded(&self, result: ReloadResult, now: f64) {
        self.reloads.counter(result.label()).inc();
        if result != ReloadResult::Failure {
            self.last_reload_success.set(now);
        }
    }

    /// Observes how long one change took, from being seen to the last connection cut.
    pub fn revocation(&self, duration: Duration) {
        self.revocation_seconds.observe(duration);
    }

    /// Replaces the sources: each with the time its content was last good, in seconds since the epoch.
    pub fn set_sources(&self, sources: impl IntoIterator<Item = (String, f64)>) {
        *lock(&self.sources) = sources.into_iter().take(MAX_SERIES).collect();
    }

    /// Replaces the certificates whose end is watched. Of each kind the first to end are kept, so that a million pins
    /// do not make a million series.
    pub fn set_certificates(&self, certificates: Vec<CertificateExpiry>) {
        *lock(&self.certificates) = first_to_end(certificates);
    }

    /// The same for those that the ledger keeps.
    pub fn set_managed_certificates(&self, certificates: Vec<CertificateExpiry>) {
        *lock(&self.managed_certificates) = first_to_end(certificates);
    }

    /// Those of files and of the ledger together: no series twice, and no more than of either.
    fn watched_certificates(&self) -> Vec<CertificateExpiry> {
        let (files, managed) = (lock(&self.certificates).clone(), lock(&self.managed_certificates).clone());
        first_to_end(files.into_iter().chain(managed).collect())
    }
}

impl ListenerMetrics {
    /// Counts a handshake that ended.
    pub fn handshake(&self, result: HandshakeResult, kind: HandshakeKind) {
        self.handshakes[result as usize][kind as usize].inc();
    }

    /// Counts a denial or a failure that the client was told, by its stable code.
    pub fn denied(&self, code: &'static str) {
        self.denials.counter(code).inc();
    }
}

impl RouteMetrics {
    /// Counts a request that was answered, and how long it took until the answer's last byte.
    pub fn request(&self, status: u16, duration: Duration) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        self.statuses[class].inc();
        self.seconds.observe(duration);
    }
}

impl UpstreamMetrics {
    /// Counts a request that the upstream did not answer, by the code of the failure.
    pub fn failed(&self, code: &'static str) {
        self.failures.counter(code).inc();
    }
}

impl HandshakeResult {
    const ALL: [Self; 5] = [Self::Admitted, Self::Anonymous, Self::Denied, Self::Failed, Self::TimedOut];

    fn label(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Anonymous => "anonymous",
            Self::Denied => "denied",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
        }
    }
}

impl HandshakeKind {
    const ALL: [Self; 2] = [Self::Full, Self::Resumed];

    fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Resumed => "resumed",
        }
    }
}

impl ReloadResult {
    const ALL: [Self; 3] = [Self::Failure, Self::Success, Self::Unchanged];

    fn label(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Success => "success",
            Self::Unchanged => "unchanged",
        }
    }
}

/// Sorts by kind and end, and leaves of each name what ends first.
fn first_to_end(mut certificates: Vec<CertificateExpiry>) -> Vec<CertificateExpiry> {
    certificates.sort_by(|a, b| (a.kind, a.not_after, &a.name).cmp(&(b.kind, b.not_after, &b.name)));
    let mut known = HashSet::new();
    certificates.retain(|certificate| known.insert((certificate.kind, certificate.name.clone())));
    let (mut kind, mut of_kind) = ("", 0);
    certificates.retain(|certificate| {
        of_kind = if certificate.kind == kind { of_kind + 1 } else { 1 };
        kind = certificate.kind;
        of_kind <= MAX_CERTIFICATES_OF_A_KIND
    });
    certificates
}

const REQUEST_BOUNDS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// 0.1 is the promise.
const REVOCATION_BOUNDS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
/// Whatever `overloaded` is told of.
const LIMITS: &[&str] = &["challenge_rate", "challenges", "connections", "handshakes", "principal_concurrency", "principal_rate"];
const UPSTREAM_FAILURES: &[&str] = &["upstream_timeout", "upstream_unavailable"];
const MAX_CERTIFICATES_OF_A_KIND: usize = 100;

#[cfg(test)]
mod tests {
    use super::series::OVERFLOW;
    use super::*;

    #[test]
    fn the_same_name_is_the_same_series() {
        let metrics = Metrics::new(1);
        metrics.route("orders").request(200, Duration::from_millis(3));
        metrics.route("orders").request(204, Duration::from_millis(3));
        let text = metrics.render(0);
        assert!(text.contains("portcullis_requests_total{route=\"orders\",status_class=\"2xx\"} 2\n"), "{text}");
        assert!(text.contains("portcullis_request_seconds_count 2\n"), "{text}");
    }

    #[test]
    fn names_over_the_cap_count_together() {
        let metrics = Metrics::new(1);
        for name in 0..MAX_SERIES + 5 {
            metrics.principal(name, "").inc();
        }
        assert_eq!(metrics.principal(OVERFLOW, "").get(), 5);
    }

    #[test]
    fn codes_are_counted_apart() {
        let metrics = Metrics::new(1);
        let listener = metrics.listener("edge");
        for code in ["not_listed", "revoked", "not_listed"] {
            listener.denied(code);
        }
        assert_eq!(listener.denials.all().collect::<Vec<_>>(), [("not_listed", 2), ("revoked", 1)]);
    }

    #[test]
    fn the_certificates_that_end_first_are_kept() {
        let metrics = Metrics::new(1);
        let pin = |index: u64| CertificateExpiry::new("pin", format!("p-{index}"), index);
        metrics.set_certificates((0..500).rev().map(pin).collect());
        let kept = lock(&metrics.certificates);
        assert_eq!((kept.len(), kept[0].not_after), (MAX_CERTIFICATES_OF_A_KIND, 0));
    }

    #[test]
    fn results_index_their_own_counters() {
        for (index, result) in HandshakeResult::ALL.into_iter().enumerate() {
            assert_eq!(result as usize, index);
        }
        for (index, kind) in HandshakeKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
        }
    }
}
