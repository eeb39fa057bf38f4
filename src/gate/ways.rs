//! What the gate has to know of the rules beside the snapshot: where they lead a request that is open, and who hears a
//! denial. `request` answers for the rules in force; the gate itself names neither routes nor requests.

use http::uri::PathAndQuery;
use http::{HeaderValue, Method};

use crate::admission::{Access, ClientAddress, Denial, RouteScope};

/// What a request asked, as far as rules may lead it elsewhere. Cheap to clone: text is shared.
#[derive(Clone, Debug)]
pub struct Target {
    pub method: Method,
    /// In normal form.
    pub authority: HeaderValue,
    /// As it came.
    pub path: PathAndQuery,
    /// The protocols that it offered to upgrade to, where such an offer counts.
    pub upgrade: Option<HeaderValue>,
}

/// Where rules lead a request.
#[derive(Clone, Copy, Debug)]
pub struct Way<'a> {
    pub route: Option<&'a RouteScope>,
    /// What the request needs there.
    pub access: Access,
    /// The route takes such a request: its path, its method, its upgrade.
    pub served: bool,
}

/// The rules in force, as far as the gate asks them.
pub trait Ways {
    /// Finds where a request leads now.
    fn way<'a>(&'a self, target: &'a Target) -> Way<'a>;

    /// Tells whether this peer's word on where its client is counts, whoever the client is.
    fn hears(&self, peer: ClientAddress) -> bool;

    /// Says whether the denied hear of it over HTTP on a listener (`client_auth = "request"`).
    fn answers_denied(&self, listener: &str) -> bool;

    /// Says whether bearer tokens count on a listener (`tokens = true`).
    fn takes_tokens(&self, listener: &str) -> bool;
}

/// Why what was open has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lapse {
    Denied(Denial),
    /// An operator ended the connection.
    Dismissed,
    /// No route leads there any more.
    NoRoute,
    /// The client would be admitted, but to another route, or to one that takes no such request.
    Withdrawn,
}

impl Lapse {
    /// Returns the stable code, for metrics and logs.
    pub fn code(self) -> &'static str {
        match self {
            Self::Denied(denial) => denial.code(),
            Self::Dismissed => "dismissed",
            Self::NoRoute | Self::Withdrawn => "no_route",
        }
    }
}

/// Leads nowhere: for tests that open no request.
#[cfg(test)]
impl Ways for () {
    fn way<'a>(&'a self, _: &'a Target) -> Way<'a> {
        Way { route: None, access: Access::Read, served: true }
    }

    fn hears(&self, _: ClientAddress) -> bool {
        true
    }

    fn answers_denied(&self, _: &str) -> bool {
        true
    }

    fn takes_tokens(&self, _: &str) -> bool {
        true
    }
}
