//! The effective client address: the socket's peer, what PROXY said, then what trusted headers say. Who may
//! say so is `Trust`, compiled from `[trust]`; `connection` reads PROXY, `request` the headers.

mod forwarded;
pub mod proxy;

use std::cell::OnceCell;
use std::net::IpAddr;

use http::HeaderValue;
use ipnet::IpNet;

use crate::admission::ClientAddress;
use crate::message::{Fields, Names};
pub use proxy::{Proxied, ProxyError};

/// Whose word on the client's address counts: `[trust]`, compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Who may speak PROXY.
    pub proxy_from: Vec<IpNet>,
    /// Whose forwarding header counts, whoever the client is.
    pub forwarded_from: Vec<IpNet>,
    pub header: ForwardingHeader,
}

/// The one header that may carry the address; the other kind is always dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardingHeader {
    Forwarded,
    #[default]
    XForwardedFor,
}

/// What one request's headers said of where it comes from, and how the upstream is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The effective address; never unsettled.
    pub address: ClientAddress,
    /// The peer was trusted: its headers are carried on, and added to.
    pub trusted: bool,
}

/// Where a connection comes from. Its text is made once: nearly every request needs it.
#[derive(Debug)]
pub struct Peer {
    pub address: ClientAddress,
    text: OnceCell<HeaderValue>,
}

impl Peer {
    /// Takes what is known of a connection.
    pub fn new(address: ClientAddress) -> Self {
        Self { address, text: OnceCell::new() }
    }

    /// Returns an address as headers have it; the peer's own is not written anew.
    pub fn text_of(&self, ip: IpAddr) -> HeaderValue {
        if self.ip() == Some(ip) { self.text.get_or_init(|| text_of(ip)).clone() } else { text_of(ip) }
    }

    fn ip(&self) -> Option<IpAddr> {
        self.address.ip().map(|ip| ip.to_canonical())
    }
}

fn text_of(ip: IpAddr) -> HeaderValue {
    // INVARIANT: an address is printable ASCII.
    HeaderValue::try_from(ip.to_string()).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

impl Trust {
    /// Tells whether a peer may speak PROXY. A unix socket has no address: whoever may open it may.
    pub fn takes_proxy_from(&self, peer: Option<IpAddr>) -> bool {
        peer.is_none_or(|peer| contains(&self.proxy_from, peer))
    }

    /// Says where a connection's client stands: unsettled while a header of a trusted forwarder may still speak.
    /// (Gateways of one principal are for `admission` to know, which knows the principal.)
    pub fn connection(&self, peer: Option<IpAddr>) -> ClientAddress {
        match peer.map(|peer| peer.to_canonical()) {
            Some(peer) if contains(&self.forwarded_from, peer) => ClientAddress::Unsettled(peer),
            Some(peer) => ClientAddress::Settled(peer),
            None => ClientAddress::Unknown,
        }
    }

    /// Settles the address of one request: the header is walked from the right, past trusted addresses; a
    /// malformed element stops the walk. `gateways`: those of the principal.
    pub fn request(&self, connection: ClientAddress, gateways: &[IpNet], headers: &Fields) -> Origin {
        let Some(peer) = connection.ip().map(|ip| ip.to_canonical()) else {
            return Origin { address: ClientAddress::Unknown, trusted: false };
        };
        // Nobody's word counts: nearly everywhere.
        if self.forwarded_from.is_empty() && gateways.is_empty() {
            return Origin { address: ClientAddress::Settled(peer), trusted: false };
        }
        self.walk(peer, gateways, headers)
    }

    #[inline(never)]
    fn walk(&self, peer: IpAddr, gateways: &[IpNet], headers: &Fields) -> Origin {
        let is_trusted = |ip| contains(&self.forwarded_from, ip) || contains(gateways, ip);
        let trusted = is_trusted(peer);
        let mut effective = peer;
        if trusted {
            for named in forwarded::from_the_right(self.header, headers) {
                let Some(named) = named else { break };
                effective = named;
                if !is_trusted(effective) {
                    break;
                }
            }
        }
        Origin { address: ClientAddress::Settled(effective), trusted }
    }

    /// Keeps of headers what may say where a client is.
    pub fn heard(&self, headers: &Fields) -> Fields {
        let mut heard = headers.clone();
        heard.keep_all(Names::of(&[forwarded::name(self.header)]));
        heard
    }

    /// Tells whether the header counts on a connection, whoever its client is.
    pub fn hears(&self, connection: ClientAddress) -> bool {
        connection.ip().is_some_and(|peer| contains(&self.forwarded_from, peer))
    }

    /// Writes the forwarding headers for the upstream: added to where the peer was trusted, else replaced.
    /// `connection`: where the request came from; `host`: what it asked for.
    pub fn write(&self, headers: &mut Fields, origin: Origin, connection: &Peer, scheme: &'static str, host: &HeaderValue) {
        forwarded::write(self.header, headers, origin.trusted, connection, scheme, host);
    }
}

/// IPv4-mapped addresses are unmapped on both sides: `::ffff:192.0.2.1` is in 192.0.2.0/24.
fn contains(nets: &[IpNet], ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    nets.iter().any(|net| net.contains(&ip))
}

#[cfg(test)]
mod tests;
