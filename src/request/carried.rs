//! What HTTP/2 lets through and HTTP/1.1 cannot carry is refused, whatever the upstream speaks; and what a
//! request offers to turn into, in either version.

use http::Method;
use http::header::{self, HeaderName, HeaderValue};
use hyper::ext::Protocol;

use crate::failure::Failure;
use crate::message::{Fields, Name, RequestHead};
use crate::upstream::hop_by_hop::has_token;
use crate::upstream::{Incoming, Offered, tunnel};

/// Refuses a request of HTTP/2 that would be another one, or several, in HTTP/1.1.
pub(super) fn check(head: &RequestHead) -> Result<(), Failure> {
    let (headers, uri) = (&head.headers, &head.uri);
    // RFC 9113, 8.2.2: these belong to a connection, and HTTP/2 has its own.
    if CONNECTION_SPECIFIC.iter().any(|name| headers.contains_key(name)) {
        return Err(Failure::Malformed("a header that belongs to HTTP/1.1"));
    }
    let mut lengths = headers.get_all(&header::CONTENT_LENGTH);
    if lengths.next().is_some_and(|length| length.is_empty() || !length.iter().all(u8::is_ascii_digit)) || lengths.next().is_some() {
        return Err(Failure::Malformed("Content-Length is no number, once"));
    }
    // RFC 9113, 8.2.1: HTTP/1.1 would strip the space, and may find something else behind it.
    let is_padded = |value: &[u8]| value.first().is_some_and(is_blank) || value.last().is_some_and(is_blank);
    if headers.iter().any(|(_, value)| is_padded(value)) {
        return Err(Failure::Malformed("a field value begins or ends with white space"));
    }
    if headers.get_all(&header::TE).any(|te| !te.eq_ignore_ascii_case(b"trailers")) {
        return Err(Failure::Malformed("TE is something else than trailers"));
    }
    if uri.scheme_str().is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
        return Err(Failure::Malformed("the scheme is neither http nor https"));
    }
    let target = uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
    if target.bytes().any(|byte| byte <= b' ' || byte == b'#' || byte == 0x7f) {
        return Err(Failure::Malformed("the path holds what no request line can"));
    }
    Ok(())
}

/// RFC 9113, 8.2.3: HTTP/2 splits cookies into fields; HTTP/1.1 has one.
pub(super) fn join_cookies(headers: &mut Fields) {
    if headers.get_all(&Name::Cookie).nth(1).is_none() {
        return;
    }
    let joined = headers.get_all(&Name::Cookie).collect::<Vec<_>>().join(&b"; "[..]);
    // INVARIANT: made of header values, a semicolon and a space.
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(Name::Cookie, joined);
    }
}

/// What a request offers to turn into: `Upgrade` in HTTP/1.1, extended CONNECT in HTTP/2 (RFC 8441).
pub(super) struct Offer {
    protocols: HeaderValue,
    connect: bool,
    get: bool,
    client: Option<Offered>,
}

/// An offer that the route takes.
pub(super) struct Chosen {
    pub(super) protocol: Vec<u8>,
    /// Proves the upstream's answer; `None` for what is no WebSocket.
    pub(super) key: Option<HeaderValue>,
    /// It came as extended CONNECT.
    pub(super) connect: bool,
    pub(super) client: Offered,
}

impl Offer {
    pub(super) fn of(head: &RequestHead, body: Option<&Incoming>) -> Option<Self> {
        if let Some(protocol) = head.extensions.get::<Protocol>() {
            let protocols = HeaderValue::from_str(protocol.as_str()).ok()?;
            return Some(Self { protocols, connect: head.method == Method::CONNECT, get: false, client: Offered::of(head, body) });
        }
        let protocols = head.headers.get_owned(Name::Upgrade)?;
        // RFC 9110, 7.8: Upgrade counts only where Connection names it, and not in HTTP/1.0.
        if head.version != http::Version::HTTP_11 || !has_token(&head.headers, Name::Connection, "upgrade") {
            return None;
        }
        Some(Self { protocols, connect: false, get: head.method == Method::GET, client: Offered::of(head, body) })
    }

    pub(super) fn protocols(&self) -> &HeaderValue {
        &self.protocols
    }

    /// Nobody upgrades to what is offered: the offer is dropped, and the request served as it is.
    pub(super) fn is_idle(&self) -> bool {
        !self.connect && tunnel::is_idle_offer(&self.protocols)
    }

    pub(super) fn is_extended_connect(&self) -> bool {
        self.connect
    }

    /// Takes the offer up, if the request is fit for it.
    pub(super) fn chosen(&mut self, protocol: Vec<u8>, headers: &Fields) -> Result<Chosen, Failure> {
        let has_body =
            headers.contains_key(header::TRANSFER_ENCODING) || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != b"0");
        if has_body {
            return Err(Failure::Malformed("an upgrade has no body"));
        }
        let key = match protocol.eq_ignore_ascii_case(b"websocket") {
            // RFC 6455, 4.1: a handshake is a GET, and whoever sees another method sees no handshake.
            true if !self.connect && !self.get => return Err(Failure::Malformed("a WebSocket is opened by GET")),
            true if self.connect => Some(tunnel::new_websocket_key().ok_or(Failure::Internal)?),
            true => Some(tunnel::websocket_key(headers).ok_or(Failure::Malformed("Sec-WebSocket-Key is no key"))?),
            false => None,
        };
        let client = self.client.take().ok_or(Failure::UpgradeRefused)?;
        Ok(Chosen { protocol, key, connect: self.connect, client })
    }
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

static CONNECTION_SPECIFIC: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn request(uri: &str, fields: &[(&str, &[u8])]) -> RequestHead {
        let mut request = Request::new(());
        *request.uri_mut() = uri.parse().unwrap();
        for (name, value) in fields {
            request.headers_mut().append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_bytes(value).unwrap());
        }
        crate::message::Request::from(request).head
    }

    #[test]
    fn what_http1_cannot_carry_is_refused() {
        let fields: [&[(&str, &[u8])]; 14] = [
            &[("transfer-encoding", b"chunked")],
            &[("connection", b"close")],
            &[("connection", b"x-own")],
            &[("upgrade", b"websocket")],
            &[("keep-alive", b"timeout=5")],
            &[("proxy-connection", b"close")],
            &[("content-length", b"+5")],
            &[("content-length", b"5, 5")],
            &[("content-length", b"")],
            &[("content-length", b"5"), ("content-length", b"5")],
            &[("te", b"gzip")],
            &[("te", b"trailers, gzip")],
            &[("x", b" y")],
            &[("x", b"y\t")],
        ];
        for fields in fields {
            assert!(check(&request("https://a/", fields)).is_err(), "{fields:?}");
        }
        assert!(check(&request("ftp://a/", &[])).is_err());
        for uri in ["https://a/x?y=z", "http://a/", "*"] {
            assert_eq!(check(&request(uri, &[("content-length", b"5"), ("te", b"trailers"), ("x", b"y z")])), Ok(()), "{uri}");
        }
    }

    #[test]
    fn cookies_become_one_field() {
        let mut request = request("/", &[("cookie", b"a=1"), ("cookie", b"b=2"), ("cookie", b"c=3; d=4")]);
        join_cookies(&mut request.headers);
        let cookies: Vec<_> = request.headers.get_all("cookie").collect();
        assert_eq!(cookies, [b"a=1; b=2; c=3; d=4"]);
    }
}
