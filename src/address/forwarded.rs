//! `X-Forwarded-For` and `Forwarded` (RFC 7239): read from the right, and written. Whoever added the last
//! element is nearest to us; what stands left of it is as good as those who passed it on.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use http::header::HeaderValue;

use super::{ForwardingHeader, Peer};
use crate::message::{Fields, Name, Names};

/// Yields the addresses of the one header, nearest first; `None` for an element that names none.
pub(super) fn from_the_right(header: ForwardingHeader, headers: &Fields) -> impl Iterator<Item = Option<IpAddr>> {
    let read: fn(&str) -> Option<IpAddr> = match header {
        ForwardingHeader::Forwarded => forwarded_for,
        ForwardingHeader::XForwardedFor => address,
    };
    // Several lines are one list, in order (RFC 9110, 5.3).
    let lines: Vec<&[u8]> = headers.get_all(&name(header)).collect();
    lines.into_iter().rev().flat_map(move |line| match str::from_utf8(line) {
        Ok(line) => Elements { rest: Some(line) }.map(|element| read(element.trim())).collect::<Vec<_>>(),
        Err(_) => vec![None],
    })
}

/// Returns the name of the one header.
pub(super) fn name(header: ForwardingHeader) -> Name {
    match header {
        ForwardingHeader::Forwarded => Name::Forwarded,
        ForwardingHeader::XForwardedFor => Name::XForwardedFor,
    }
}

/// Replaces or adds to the forwarding headers; the other kind goes.
pub(super) fn write(header: ForwardingHeader, headers: &mut Fields, trusted: bool, peer: &Peer, scheme: &'static str, host: &HeaderValue) {
    if !trusted {
        // An upstream would believe that it came from one that we trust.
        headers.remove_all(Names::of(&[Name::Forwarding]));
    }
    match header {
        ForwardingHeader::Forwarded => {
            headers.remove_all(Names::of(&[Name::XForwardedFor, Name::XForwardedProto, Name::XForwardedHost]));
            let element = HeaderValue::try_from(element(peer.ip(), scheme, host));
            // INVARIANT: made of a header value and of our own printable ASCII.
            add(headers, Name::Forwarded, trusted, element.ok());
        }
        ForwardingHeader::XForwardedFor => {
            headers.remove_all(Names::of(&[Name::Forwarded]));
            add(headers, Name::XForwardedFor, trusted, peer.ip().map(|ip| peer.text_of(ip)));
            for (name, value) in [(Name::XForwardedProto, &HeaderValue::from_static(scheme)), (Name::XForwardedHost, host)] {
                if !(trusted && headers.contains_key(name)) {
                    headers.insert(name, value);
                }
            }
        }
    }
}

/// Adds an element to a list, or replaces it. A line of its own would do too, but some upstreams read one only.
fn add(headers: &mut Fields, name: Name, trusted: bool, element: Option<HeaderValue>) {
    let Some(element) = element else {
        if !trusted {
            headers.remove(name);
        }
        return;
    };
    if !trusted || !headers.contains_key(name) {
        return headers.insert(name, element);
    }
    let mut list = Vec::new();
    for line in headers.get_all(&name) {
        list.extend_from_slice(line);
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(element.as_bytes());
    // INVARIANT: made of header values.
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(list)) {
        headers.insert(name, value);
    }
}

/// RFC 7239, 4 and 6: IPv6 in brackets and quotes; `unknown` where there is no address.
fn element(peer: Option<IpAddr>, scheme: &str, host: &HeaderValue) -> String {
    let node = match peer {
        Some(IpAddr::V4(peer)) => peer.to_string(),
        Some(IpAddr::V6(peer)) => format!("\"[{peer}]\""),
        None => "unknown".to_owned(),
    };
    // INVARIANT: the authority was parsed: no quote, no backslash.
    match host.to_str() {
        Ok(host) if !host.contains(['"', '\\']) => format!("for={node};host=\"{host}\";proto={scheme}"),
        _ => format!("for={node};proto={scheme}"),
    }
}

/// The elements of a list, last first. Read from the right, so that an unbalanced quote on the far side, where
/// anybody may write, cannot swallow what a trusted forwarder added.
struct Elements<'a> {
    rest: Option<&'a str>,
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest?;
        let bytes = rest.as_bytes();
        let mut quoted = false;
        for at in (0..bytes.len()).rev() {
            match bytes[at] {
                b'"' => {
                    let backslashes = bytes[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
                    // RFC 9110, 5.6.4: a quote behind an odd number of backslashes is part of the string.
                    quoted ^= !quoted || backslashes % 2 == 0;
                }
                b',' if !quoted => {
                    self.rest = Some(&rest[..at]);
                    return Some(&rest[at + 1..]);
                }
                _ => {}
            }
        }
        self.rest = None;
        Some(rest)
    }
}

/// An address as forwarders write it: with or without port, IPv6 with or without brackets.
fn address(text: &str) -> Option<IpAddr> {
    let ip = if let Some(bare) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        bare.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
    } else {
        text.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
    };
    ip.map(|ip| ip.to_canonical())
}

/// The one `for` of an element; `unknown` and obfuscated names are none.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut found = None;
    for pair in element.split(';') {
        let (name, value) = pair.trim().split_once('=')?;
        if !name.eq_ignore_ascii_case("for") {
            continue;
        }
        let value = match value.strip_prefix('"') {
            Some(value) => value.strip_suffix('"')?,
            // RFC 7239, 6: colons and brackets only in quotes.
            None if value.contains([':', '[']) => return None,
            None => value,
        };
        // RFC 7239, 6: an IPv6 address stands in brackets.
        if found.is_some() || (value.matches(':').count() > 1 && !value.starts_with('[')) {
            return None;
        }
        found = Some(address(value)?);
    }
    found
}
