//! Bind, accept, limit, back off; hands each socket to the least loaded worker, which gives it to `connection`.
//! `cli/run.rs` starts it once and installs every new `Rules` through it.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use crate::clock::Clock;
use crate::drain::Drain;
use crate::metrics::Metrics;
use crate::rules::{InForce, Rules};

/// What cannot change live: worker count and listener addresses. `config` compiles it; a reload compares it and says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeSettings {
    /// 0: one for each core.
    pub workers: usize,
    pub binds: Vec<Bind>,
}

/// A listener's name and where it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    pub name: Arc<str>,
    pub address: BindAddress,
}

/// `address = "0.0.0.0:8443"`, `unix:PATH`, `systemd:NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindAddress {
    Systemd(Box<str>),
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Why a text is no address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadAddress;

/// Why a listener could not start.
#[derive(Debug)]
pub enum ListenError {
    Bind { name: Arc<str>, address: BindAddress, error: std::io::Error },
    Worker(std::io::Error),
}

/// The workers and the acceptor, running.
pub struct Running {}

/// Binds every listener, starts the workers and the acceptor thread. Call it once, from a thread that will not run a worker.
pub fn start(
    rules: Arc<InForce>,
    settings: RuntimeSettings,
    clock: Clock,
    metrics: Arc<Metrics>,
    drain: Drain,
) -> Result<Running, ListenError> {
    let _ = (rules, settings, clock, metrics, drain);
    todo!()
}

impl Running {
    /// Returns where each listener listens: with the port that the system chose where 0 was asked for.
    pub fn bound(&self) -> &[Bind] {
        todo!()
    }

    /// Puts rules in force on every worker; `seen` is when the change was noticed, for `portcullis_revocation_seconds`.
    /// Returns once each worker has them: from then on nobody is judged by the old ones.
    pub fn install(&self, rules: Arc<Rules>, seen: Instant) {
        let _ = (rules, seen);
        todo!()
    }

    /// Waits until the drain is over and every worker has ended. Blocks.
    pub fn join(self) {
        todo!()
    }
}

impl FromStr for BindAddress {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(BadAddress) } else { Ok(Self::Unix(path.into())) };
        }
        if let Some(name) = text.strip_prefix("systemd:") {
            return if name.is_empty() { Err(BadAddress) } else { Ok(Self::Systemd(name.into())) };
        }
        text.parse().map(Self::Tcp).map_err(|_| BadAddress)
    }
}

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Systemd(name) => write!(f, "systemd:{name}"),
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected ADDRESS:PORT, unix:PATH or systemd:NAME")
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { name, address, error } => write!(f, "listener {name}: cannot listen on {address}: {error}"),
            Self::Worker(error) => write!(f, "cannot start a worker: {error}"),
        }
    }
}

impl std::error::Error for BadAddress {}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bind { error, .. } | Self::Worker(error) => Some(error),
        }
    }
}
