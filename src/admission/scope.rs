//! What a question is about: a connection on a listener, or one request on a route. Built by `tls`,
//! `request` and `explain`; `routing` holds the `RouteScope` of each route.

use std::net::IpAddr;

use super::permission::{Access, Clearance};

/// The listener or route that the question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope<'a> {
    /// Where the client's address stands.
    pub address: ClientAddress,
    /// The request; `None` asks about the connection itself: the leaf, its principal, its conditions.
    pub request: Option<RequestScope<'a>>,
    /// The listener serves our own surfaces and no upstream: only there a certificate of ours may begin.
    pub control: bool,
}

/// One request, as far as a decision depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestScope<'a> {
    /// What the listener serves here.
    pub surface: Surface,
    /// The route, or `None` where no route matched: then only the client is judged, and the 404 comes after.
    pub route: Option<&'a RouteScope>,
    /// What the method and the route's rules ask for.
    pub access: Access,
    /// The rank that a call of ours asks for; `None`: whoever is admitted may call. Requests to an upstream ask for none.
    pub clearance: Option<Clearance>,
    /// A call that the certificate which we serve with may make before there is an admin.
    pub begins: bool,
    /// From which page the request was sent.
    pub origin: Origin<'a>,
    /// The method may change something, or the request upgrades: cross-site rules apply.
    pub unsafe_method: bool,
}

/// What a route says about who may use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteScope {
    /// The route's name, as permissions name it.
    pub name: Box<str>,
    /// Whether a certificate is asked for.
    pub auth: RouteAuth,
    /// The cross-site rule holds here (`csrf = "off"` lifts it).
    pub csrf: bool,
}

/// Whether a route asks for a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouteAuth {
    /// No certificate is consulted, no identity sent.
    None,
    /// No certificate: open. Presented and denied: the denial.
    Optional,
    /// An admitted certificate.
    #[default]
    Required,
}

/// What a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Surface {
    Admin,
    Challenge,
    Console,
    Proxy,
}

impl Surface {
    /// Tells whether requests go to an upstream: there routes and permissions rule, elsewhere clearance does.
    pub fn is_proxied(self) -> bool {
        self == Self::Proxy
    }

    /// Returns the name that configuration and logs use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Challenge => "challenge",
            Self::Console => "console",
            Self::Proxy => "proxy",
        }
    }
}

/// The effective client address, as far as it is known at a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientAddress {
    /// Known, for good: `client_ips` is judged.
    Settled(IpAddr),
    /// This is the peer, but a trusted header may still speak: `client_ips` waits for the request.
    Unsettled(IpAddr),
    /// A unix socket without PROXY: there is no address. `client_ips` denies.
    Unknown,
}

impl ClientAddress {
    /// Returns the address, settled or not.
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Settled(ip) | Self::Unsettled(ip) => Some(ip),
            Self::Unknown => None,
        }
    }
}

/// From which page a request was sent, as far as its headers say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Origin<'a> {
    /// Neither `Origin` nor `Sec-Fetch-Site: cross-site`: no browser, or a same-origin GET.
    #[default]
    Absent,
    /// `Origin` names the very scheme, host and port that was asked.
    Same,
    /// Another origin, in its serialised form; `null` and malformed ones too, which no list can name.
    Other(&'a str),
    /// `Sec-Fetch-Site: cross-site` without an `Origin`.
    CrossSite,
}
