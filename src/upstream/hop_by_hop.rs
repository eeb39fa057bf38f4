//! What concerns one hop only (RFC 9110, 7.6.1): removed before anything of ours is written, lest a client
//! name our headers in `Connection` and have them taken away.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// What a request's hop-by-hop headers asked of us.
#[derive(Debug, Default)]
pub struct Asked {
    /// The protocols of `Upgrade`, where `Connection` names it too.
    pub upgrade: Option<HeaderValue>,
    /// `TE: trailers`.
    pub trailers: bool,
}

/// Why a request's hop-by-hop headers are refused: 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HopError {
    /// `Connection` names a header that every hop needs, or one of ours.
    Named,
    /// `Connection` or `TE` is no list of tokens.
    NoToken,
}

/// Removes a request's hop-by-hop headers. `is_ours`: the headers by which upstreams are told of clients.
pub fn strip_request(headers: &mut HeaderMap, is_ours: fn(&[u8]) -> bool) -> Result<Asked, HopError> {
    let mut asked = Asked { upgrade: None, trailers: asks_for_trailers(headers) };
    let named = named(headers)?;
    let mut names_upgrade = false;
    for name in named {
        if is_kept(&name) || is_ours(name.as_str().as_bytes()) {
            return Err(HopError::Named);
        }
        if name == header::UPGRADE {
            names_upgrade = true;
        } else {
            headers.remove(name);
        }
    }
    let upgrade = headers.remove(header::UPGRADE);
    if names_upgrade {
        asked.upgrade = upgrade;
    }
    remove_known(headers);
    remove_respelled(headers);
    Ok(asked)
}

/// Removes an answer's hop-by-hop headers. What an upstream may not take away simply stays.
pub fn strip_answer(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        for name in named(headers).unwrap_or_default() {
            if !is_kept(&name) {
                headers.remove(name);
            }
        }
    }
    headers.remove(header::UPGRADE);
    remove_known(headers);
}

/// Says whether a header names a token in its lists, in any case.
pub fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers.get_all(name).iter().any(|value| tokens(value).any(|found| found.eq_ignore_ascii_case(token.as_bytes())))
}

/// Yields the elements of a comma-separated list.
pub fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

/// Returns what `Connection` names, without the options that are no headers.
fn named(headers: &HeaderMap) -> Result<Vec<HeaderName>, HopError> {
    let mut named = Vec::new();
    for value in headers.get_all(header::CONNECTION) {
        for token in tokens(value) {
            if token.eq_ignore_ascii_case(b"close") || token.eq_ignore_ascii_case(b"keep-alive") {
                continue;
            }
            named.push(HeaderName::from_bytes(token).map_err(|_| HopError::NoToken)?);
        }
    }
    Ok(named)
}

fn remove_known(headers: &mut HeaderMap) {
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Removes what frames or routes a message, in a spelling that an upstream folds into the one that counts: CGI and WSGI make
/// `CONTENT_LENGTH` of `content_length` too, and would read another body than we sent.
pub(super) fn remove_respelled(headers: &mut HeaderMap) {
    // Collected first, as the map cannot be changed while it is read; nearly no request has one, and costs nothing.
    let respelled: Vec<HeaderName> = headers.keys().filter(|name| is_respelled(name.as_str())).cloned().collect();
    for name in respelled {
        headers.remove(name);
    }
}

fn is_respelled(name: &str) -> bool {
    let is_folded = |byte: u8| matches!(byte, b'_' | b'.');
    if !name.bytes().any(is_folded) {
        return false;
    }
    // INVARIANT: header names are in lower case here.
    let folded: String = name.chars().map(|letter| if matches!(letter, '_' | '.') { '-' } else { letter }).collect();
    let folded = folded.trim_matches('-');
    FRAMING.contains(&folded) || HOP_BY_HOP.iter().any(|known| known.as_str() == folded)
}

fn asks_for_trailers(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TE) && has_token(headers, &header::TE, "trailers")
}

/// Every hop needs these: a client that names them wants them gone behind our back.
fn is_kept(name: &HeaderName) -> bool {
    KEPT.contains(name) || KEPT_TOO.contains(&name.as_str())
}

static HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Beside those that concern one hop.
const FRAMING: [&str; 5] = ["content-length", "expect", "host", "trailer", "upgrade"];

static KEPT: [HeaderName; 12] = [
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::FORWARDED,
    header::HOST,
    header::ORIGIN,
    header::SET_COOKIE,
    header::VARY,
];

const KEPT_TOO: [&str; 6] = ["traceparent", "tracestate", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-request-id"];

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().fold(HeaderMap::new(), |mut headers, (name, value)| {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
            headers
        })
    }

    fn is_ours(name: &[u8]) -> bool {
        name.eq_ignore_ascii_case(b"client-cert")
    }

    #[test]
    fn what_concerns_one_hop_goes_and_the_rest_stays() {
        let mut fields = headers(&[
            ("connection", "keep-alive, X-Own"),
            ("connection", "upgrade, te"),
            ("x-own", "a"),
            ("x-own", "b"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic eDp5"),
            ("te", "gzip;q=0.5, trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("http2-settings", "AAMAAABk"),
            ("trailer", "x-sum"),
            ("accept", "*/*"),
        ]);
        let asked = strip_request(&mut fields, is_ours).unwrap();
        assert_eq!((asked.upgrade, asked.trailers), (Some(HeaderValue::from_static("websocket")), true));
        assert_eq!(fields, headers(&[("trailer", "x-sum"), ("accept", "*/*")]));
    }

    #[test]
    fn what_frames_a_message_goes_in_every_spelling_but_its_own() {
        let respelled = [
            "content_length",
            "content.length",
            "transfer_encoding",
            "transfer.encoding",
            "host_",
            "_host",
            "connection_",
            "upgrade.",
            "te_",
            "trailer_",
            "keep_alive",
            "proxy_connection",
            "http2_settings",
            "expect_",
        ];
        let mut fields = headers(&[("content-length", "5"), ("host", "a"), ("x_own", "b"), ("content_type", "c"), ("x.host", "d")]);
        let clean = fields.clone();
        for name in respelled {
            fields.append(HeaderName::from_static(name), HeaderValue::from_static("7"));
        }
        strip_request(&mut fields, is_ours).unwrap();
        assert_eq!(fields, clean);
    }

    #[test]
    fn an_upgrade_that_connection_does_not_name_is_none() {
        let mut fields = headers(&[("connection", "close"), ("upgrade", "websocket")]);
        assert!(strip_request(&mut fields, is_ours).unwrap().upgrade.is_none());
        assert!(fields.is_empty());
    }

    #[test]
    fn nobody_takes_away_what_every_hop_needs() {
        for name in ["host", "Content-Length", "authorization", "COOKIE", "client-cert", "x-forwarded-for", "x-request-id", "close, Host"] {
            let mut fields = headers(&[("host", "a")]);
            fields.insert(header::CONNECTION, HeaderValue::from_static(name));
            assert_eq!(strip_request(&mut fields, is_ours).unwrap_err(), HopError::Named, "{name}");
        }
        for name in ["a b", "\"host\"", "x:y"] {
            let mut fields = headers(&[("connection", name)]);
            assert_eq!(strip_request(&mut fields, is_ours).unwrap_err(), HopError::NoToken, "{name}");
        }
    }

    #[test]
    fn an_answer_loses_its_hop_and_keeps_its_meaning() {
        let mut fields = headers(&[
            ("connection", "close, x-own, content-length, vary"),
            ("x-own", "a"),
            ("content-length", "5"),
            ("vary", "accept"),
            ("upgrade", "h2c"),
            ("transfer-encoding", "chunked"),
        ]);
        strip_answer(&mut fields);
        assert_eq!(fields, headers(&[("content-length", "5"), ("vary", "accept")]));
    }
}
