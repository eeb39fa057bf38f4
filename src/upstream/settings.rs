//! What an operator says of an upstream: plain data, made by `config`.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::CertificateDer;

/// `[[upstream]]`, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub name: Box<str>,
    /// At least one; used in rotation, the next one when a connect fails.
    pub endpoints: Vec<Endpoint>,
    /// How `https` and `h2` endpoints are verified, and who we are to them.
    pub tls: Tls,
    /// TCP and TLS together, for one endpoint.
    pub connect: Duration,
    /// From the request's last byte to the answer's first.
    pub first_byte: Duration,
    /// Between two pieces of a body, either way.
    pub body_progress: Duration,
    /// How long a connection may wait in the pool.
    pub idle: Duration,
    /// Connections that one worker keeps waiting for one endpoint.
    pub max_idle: usize,
    /// Connections to this upstream, all workers together; `None`: no limit.
    pub max_connections: Option<usize>,
}

/// How an upstream's certificate is verified. It is never left unverified.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Trust anchors; empty: those of the system.
    pub ca: Vec<CertificateDer<'static>>,
    /// Our own certificate, where the upstream asks for one.
    pub client: Option<Arc<rustls::sign::CertifiedKey>>,
    /// The name in the certificate; `None`: the endpoint's host.
    pub server_name: Option<Box<str>>,
}

/// One address of an upstream, and what is spoken there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub protocol: Protocol,
    pub address: EndpointAddress,
}

/// What is spoken to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `http://`, `unix:`.
    Http,
    /// `h2c://`: HTTP/2 with prior knowledge.
    H2c,
    /// `h2://`: HTTP/2 over TLS.
    H2,
    /// `https://`: HTTP/1.1 over TLS.
    Https,
}

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointAddress {
    /// A name or an address (an IPv6 one without brackets).
    Tcp {
        host: Box<str>,
        port: u16,
    },
    Unix(PathBuf),
}

/// Why a text is no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointError {
    BadHost,
    BadPort,
    EmptyPath,
    HasPath,
    UnknownScheme,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: Box::default(),
            endpoints: Vec::new(),
            tls: Tls::default(),
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(60),
            body_progress: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            // As many as two busy HTTP/2 connections have streams: what is closed for want of room is opened again at once.
            max_idle: 256,
            max_connections: None,
        }
    }
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        // The certificate stands for its key: they fit, or the settings would not have compiled.
        let chain = |tls: &Self| tls.client.as_ref().map(|certified| certified.cert.clone());
        self.ca == other.ca && self.server_name == other.server_name && chain(self) == chain(other)
    }
}

impl Protocol {
    /// Says whether the endpoint is reached over TLS.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::H2 | Self::Https)
    }

    /// Says whether HTTP/2 is spoken: one connection carries many requests.
    pub fn is_http2(self) -> bool {
        matches!(self, Self::H2 | Self::H2c)
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    /// Reads `http://host[:port]`, `h2c://`, `https://`, `h2://` or `unix:path`.
    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() || path.contains('\0') {
                return Err(EndpointError::EmptyPath);
            }
            return Ok(Self { protocol: Protocol::Http, address: EndpointAddress::Unix(PathBuf::from(path)) });
        }
        let (scheme, rest) = text.split_once("://").ok_or(EndpointError::UnknownScheme)?;
        let (protocol, default_port) = match scheme {
            "h2" => (Protocol::H2, 443),
            "h2c" => (Protocol::H2c, 80),
            "http" => (Protocol::Http, 80),
            "https" => (Protocol::Https, 443),
            _ => return Err(EndpointError::UnknownScheme),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#']) {
            return Err(EndpointError::HasPath);
        }
        let (host, port) = host_and_port(authority)?;
        let port = port.unwrap_or(default_port);
        Ok(Self { protocol, address: EndpointAddress::Tcp { host: host.into(), port } })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.protocol {
            Protocol::H2 => "h2",
            Protocol::H2c => "h2c",
            Protocol::Http => "http",
            Protocol::Https => "https",
        };
        match &self.address {
            EndpointAddress::Tcp { host, port } if host.contains(':') => write!(f, "{scheme}://[{host}]:{port}"),
            EndpointAddress::Tcp { host, port } => write!(f, "{scheme}://{host}:{port}"),
            EndpointAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadHost => "the host is neither a name nor an address",
            Self::BadPort => "the port is not a number from 1 to 65535",
            Self::EmptyPath => "a path has to follow unix:",
            Self::HasPath => "an endpoint has no path: routes decide about paths",
            Self::UnknownScheme => "expected http://, h2c://, https://, h2:// or unix:",
        })
    }
}

impl std::error::Error for EndpointError {}

pub(super) fn host_and_port(authority: &str) -> Result<(&str, Option<u16>), EndpointError> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, tail) = rest.split_once(']').ok_or(EndpointError::BadHost)?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| EndpointError::BadHost)?;
            (host, if tail.is_empty() { None } else { Some(tail.strip_prefix(':').ok_or(EndpointError::BadPort)?) })
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let named = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    if host.is_empty() || !(named || host.parse::<IpAddr>().is_ok()) {
        return Err(EndpointError::BadHost);
    }
    let port = match port {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse().ok().filter(|port| *port != 0).ok_or(EndpointError::BadPort)?)
        }
        Some(_) => return Err(EndpointError::BadPort),
        None => None,
    };
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_read_or_said_to_be_none() {
        let tcp = |protocol, host: &str, port| Ok(Endpoint { protocol, address: EndpointAddress::Tcp { host: host.into(), port } });
        let table = [
            ("http://127.0.0.1:9000", tcp(Protocol::Http, "127.0.0.1", 9000)),
            ("http://orders/", tcp(Protocol::Http, "orders", 80)),
            ("h2c://orders.internal:8080", tcp(Protocol::H2c, "orders.internal", 8080)),
            ("https://[::1]", tcp(Protocol::Https, "::1", 443)),
            ("h2://[2001:db8::1]:8443", tcp(Protocol::H2, "2001:db8::1", 8443)),
            ("unix:/run/orders.sock", Ok(Endpoint { protocol: Protocol::Http, address: EndpointAddress::Unix("/run/orders.sock".into()) })),
            ("unix:", Err(EndpointError::EmptyPath)),
            ("ftp://x", Err(EndpointError::UnknownScheme)),
            ("127.0.0.1:80", Err(EndpointError::UnknownScheme)),
            ("http://", Err(EndpointError::BadHost)),
            ("http://a b", Err(EndpointError::BadHost)),
            ("http://user@host", Err(EndpointError::BadHost)),
            ("http://[::1", Err(EndpointError::BadHost)),
            ("http://[::1]x", Err(EndpointError::BadPort)),
            ("http://host:0", Err(EndpointError::BadPort)),
            ("http://host:+80", Err(EndpointError::BadPort)),
            ("http://host:65536", Err(EndpointError::BadPort)),
            ("http://host/path", Err(EndpointError::HasPath)),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse::<Endpoint>(), expected, "{text}");
            if let Ok(endpoint) = expected {
                assert_eq!(endpoint.to_string().parse::<Endpoint>(), Ok(endpoint), "{text}");
            }
        }
    }
}
