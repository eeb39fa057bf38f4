//! Whom we call: endpoints, pool, forwarding. `settings` is plain data, made by `config`; an `Upstream` is
//! compiled from it and shared by all workers; a `Pool` belongs to one worker.

pub mod body;
mod connect;
pub mod fetch;
mod forward;
pub mod hop_by_hop;
mod incoming;
mod lent;
mod pool;
#[cfg(test)]
mod secure_tests;
pub mod settings;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tls;
pub mod tunnel;
mod upload;
mod verifier;

pub use body::{Body, BodyError, Watch};
pub use fetch::{FetchLimits, Url, UrlError};
pub use forward::{Answer, Error, remove_forbidden_trailers};
pub use incoming::{Incoming, Offered};
pub use pool::{LocalExecutor, Pool, Pools};
pub use settings::{Endpoint, EndpointAddress, EndpointError, Protocol, Settings, Tls};
pub use upload::{Sent, Upload, UploadLimits};

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use rustls::ClientConfig;

/// One upstream, compiled: immutable, shared by all workers.
#[derive(Debug)]
pub struct Upstream {
    pub settings: Settings,
    /// For `https` endpoints, where there are any.
    https: Option<Arc<ClientConfig>>,
    /// For `h2` endpoints, where there are any.
    h2: Option<Arc<ClientConfig>>,
    /// Connections that are open, all workers together.
    open: Arc<AtomicUsize>,
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
    /// closes no connection. `Err` names the index of the one that cannot be.
    pub fn compile(settings: Vec<Settings>, before: Option<&Self>) -> Result<Self, (usize, UpstreamError)> {
        let kept = |settings: &Settings| before.and_then(|before| before.find(&settings.name)).filter(|old| old.settings == *settings);
        let compile = |(index, settings): (usize, Settings)| match kept(&settings) {
            Some(old) => Ok(Arc::clone(old)),
            None => Upstream::compile(settings).map(Arc::new).map_err(|error| (index, error)),
        };
        settings.into_iter().enumerate().map(compile).collect::<Result<_, _>>().map(Self)
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

impl Upstream {
    /// Compiles one upstream.
    pub fn compile(settings: Settings) -> Result<Self, UpstreamError> {
        let config = |protocol| {
            let spoken = settings.endpoints.iter().any(|endpoint| endpoint.protocol == protocol);
            spoken.then(|| tls::client_config(&settings.tls, protocol)).transpose()
        };
        let (https, h2) = (config(Protocol::Https)?, config(Protocol::H2)?);
        Ok(Self { settings, https, h2, open: Arc::default() })
    }

    fn tls_of(&self, protocol: Protocol) -> Option<&Arc<ClientConfig>> {
        match protocol {
            Protocol::H2 => self.h2.as_ref(),
            Protocol::H2c | Protocol::Http => None,
            Protocol::Https => self.https.as_ref(),
        }
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
