//! The rules in force: one immutable, numbered value, replaced whole or not at all. `config` compiles it,
//! `reload` installs it, each worker holds the one in force, and a request uses one `Rules` throughout.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;

use crate::address::Trust;
use crate::admission::{Snapshot, Surface};
use crate::challenge::Tokens;
use crate::gate::Renewed;
use crate::identity;
use crate::limits::{Limits, Principals};
use crate::routing::Routes;
use crate::tls::acceptor::Acceptor;
use crate::upstream::Upstreams;

/// Everything that a handshake and a request are judged and carried out by.
#[derive(Debug)]
pub struct Rules {
    /// The snapshot's own number: one value, one number.
    pub generation: u64,
    pub snapshot: Arc<Snapshot>,
    pub routes: Routes,
    pub upstreams: Upstreams,
    pub limits: Limits,
    pub trust: Trust,
    /// Which dialects are told.
    pub identity: Arc<identity::Settings>,
    /// Issues and reads bearer tokens.
    pub tokens: Tokens,
    pub listeners: Vec<Arc<ListenerRules>>,
}

/// What one listener does with a connection. Found by name: addresses cannot change live, policies can.
#[derive(Debug)]
pub struct ListenerRules {
    pub name: Arc<str>,
    /// Certificates, sessions, and whether a denial is an alert or an answer.
    pub tls: Arc<Acceptor>,
    pub serves: Arc<Serves>,
    /// `proxy_protocol = "require"`.
    pub proxy_protocol: bool,
}

/// What a listener serves, and under which names: what is ours to answer never reaches an upstream, nor the other way round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serves {
    pub surfaces: Vec<Surface>,
    /// The hosts of our own surfaces, where a listener serves an upstream's as well: lower case, no port.
    pub control_hosts: Vec<Box<str>>,
    /// Bearer tokens of ours are credentials here; elsewhere they are none, and go nowhere.
    pub tokens: bool,
}

impl Serves {
    /// Tells whether requests for a host are ours to answer.
    pub fn is_ours(&self, host: &str) -> bool {
        let is_proxy = self.surfaces.iter().any(|surface| surface.is_proxied());
        !is_proxy || (!self.control_hosts.is_empty() && self.control_hosts.iter().any(|ours| **ours == *host))
    }

    /// Returns the surfaces that are ours to answer.
    pub fn ours(&self) -> impl Iterator<Item = Surface> {
        self.surfaces.iter().copied().filter(|surface| !surface.is_proxied())
    }
}

impl Default for Serves {
    fn default() -> Self {
        Self { surfaces: vec![Surface::Proxy], control_hosts: Vec::new(), tokens: false }
    }
}

impl Rules {
    /// Finds a listener's policy.
    pub fn listener(&self, name: &str) -> Option<&Arc<ListenerRules>> {
        self.listeners.iter().find(|listener| *listener.name == *name)
    }

    /// Has the key made that signs tokens, where some listener issues them: published from the start, and never made while a client
    /// waits. Not for a worker: it writes a file.
    pub fn prepare_tokens(&self, now: u64) {
        let issues = self.listeners.iter().any(|listener| listener.serves.surfaces.contains(&Surface::Challenge));
        if issues && let Err(error) = self.tokens.prepare(now) {
            tracing::error!(%error, "no token can be issued: the keys that sign them cannot be used");
        }
    }
}

/// The one place that holds the rules in force.
#[derive(Debug)]
pub struct InForce {
    rules: ArcSwap<Rules>,
    /// What principals use of their limits: the same whatever rules come.
    principals: Arc<Principals>,
    /// Who keeps the pins, once there is somebody.
    on_renewed: OnceLock<Listener>,
}

/// Hears of certificates that renew a pinned one, from any worker; must not wait.
pub type OnRenewed = Box<dyn Fn(Renewed) + Send + Sync>;

struct Listener(OnRenewed);

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Listener")
    }
}

impl InForce {
    /// Puts the first rules in force.
    pub fn new(rules: Arc<Rules>) -> Self {
        Self { rules: ArcSwap::new(rules), principals: Arc::default(), on_renewed: OnceLock::new() }
    }

    /// Returns the rules in force, to be used throughout.
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    /// Returns what principals use of their limits, on all workers together.
    pub fn principals(&self) -> &Arc<Principals> {
        &self.principals
    }

    /// Sets who hears of renewals; the first call counts.
    pub fn on_renewed(&self, listener: OnRenewed) {
        let _ = self.on_renewed.set(Listener(listener));
    }

    /// Tells of a renewal.
    pub fn renewed(&self, renewed: Renewed) {
        if let Some(Listener(listener)) = self.on_renewed.get() {
            listener(renewed);
        }
    }

    /// Replaces them. `listener::Running::install` calls this and then tells each worker; nobody else does.
    pub(crate) fn replace(&self, rules: Arc<Rules>) {
        self.rules.store(rules);
    }
}
