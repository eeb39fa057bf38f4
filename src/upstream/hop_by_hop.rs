//! What concerns one hop only (RFC 9110, 7.6.1): removed before anything of ours is written, lest a client
//! name our headers in `Connection` and have them taken away.

use http::header::{self, HeaderName, HeaderValue};

use crate::message::{Fields, HOP_BY_HOP, Name, Names};

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

/// Removes a request's hop-by-hop headers, and what may be taken for one.
pub fn strip_request(headers: &mut Fields) -> Result<Asked, HopError> {
    let asked = if says_nothing(headers) && !headers.may_have(ASKING) { Asked::default() } else { asked(headers)? };
    headers.remove_all(HOP_BY_HOP.and(RESPELLED));
    Ok(asked)
}

/// Removes an answer's hop-by-hop headers. What an upstream may not take away simply stays.
pub fn strip_answer(headers: &mut Fields) {
    if !says_nothing(headers) {
        let mut named = named(headers).unwrap_or_default();
        named.retain(|name| !is_kept(name));
        headers.retain(|name, _| !is_among(&named, name));
    }
    headers.remove_all(HOP_BY_HOP);
}

/// Removes what frames or routes a message, in another spelling than the one that counts.
pub(super) fn remove_respelled(headers: &mut Fields) {
    headers.remove_all(RESPELLED);
}

/// Says whether a header names a token in its lists, in any case.
pub fn has_token(headers: &Fields, name: Name, token: &str) -> bool {
    headers.get_all(&name).any(|value| tokens(value).any(|found| found.eq_ignore_ascii_case(token.as_bytes())))
}

/// Yields the elements of a comma-separated list.
pub fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

/// Reads what is asked of us, and removes what `Connection` names.
#[cold]
fn asked(headers: &mut Fields) -> Result<Asked, HopError> {
    let trailers = has_token(headers, Name::Te, "trailers");
    let named = named(headers)?;
    if named.iter().any(|name| is_kept(name) || is_identity(name)) {
        return Err(HopError::Named);
    }
    let upgrade = headers.get_owned(Name::Upgrade).filter(|_| named.contains(&header::UPGRADE));
    headers.retain(|name, _| !is_among(&named, name));
    Ok(Asked { upgrade, trailers })
}

/// Says whether `Connection` names no header: nearly always.
fn says_nothing(headers: &Fields) -> bool {
    headers.get_all(&Name::Connection).all(is_option)
}

/// Returns what `Connection` names, without the options that are no headers.
#[cold]
fn named(headers: &Fields) -> Result<Vec<HeaderName>, HopError> {
    let tokens = headers.get_all(&Name::Connection).flat_map(tokens).filter(|token| !is_option(token));
    tokens.map(|token| HeaderName::from_bytes(token).map_err(|_| HopError::NoToken)).collect()
}

fn is_option(token: &[u8]) -> bool {
    token.eq_ignore_ascii_case(b"keep-alive") || token.eq_ignore_ascii_case(b"close")
}

fn is_among(named: &[HeaderName], name: &[u8]) -> bool {
    named.iter().any(|named| named.as_str().as_bytes().eq_ignore_ascii_case(name))
}

/// By which upstreams are told of clients.
fn is_identity(name: &HeaderName) -> bool {
    matches!(Name::of(name.as_str().as_bytes()), Name::Claimed | Name::MethodOverride)
}

/// Every hop needs these: a client that names them wants them gone behind our back.
fn is_kept(name: &HeaderName) -> bool {
    KEPT.contains(name) || KEPT_TOO.contains(&name.as_str())
}

/// By which a request asks something of us.
const ASKING: Names = Names::of(&[Name::Te, Name::Upgrade]);
const RESPELLED: Names = Names::of(&[Name::Respelled]);

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

    fn headers(fields: &[(&'static str, &'static str)]) -> Fields {
        fields.iter().fold(Fields::default(), |mut headers, (name, value)| {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
            headers
        })
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
        let asked = strip_request(&mut fields).unwrap();
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
        strip_request(&mut fields).unwrap();
        assert_eq!(fields, clean);
    }

    #[test]
    fn an_upgrade_that_connection_does_not_name_is_none() {
        let mut fields = headers(&[("connection", "close"), ("upgrade", "websocket")]);
        assert!(strip_request(&mut fields).unwrap().upgrade.is_none());
        assert!(fields.is_empty());
    }

    #[test]
    fn nobody_takes_away_what_every_hop_needs() {
        for name in ["host", "Content-Length", "authorization", "COOKIE", "client-cert", "x-forwarded-for", "x-request-id", "close, Host"] {
            let mut fields = headers(&[("host", "a")]);
            fields.insert(header::CONNECTION, HeaderValue::from_static(name));
            assert_eq!(strip_request(&mut fields).unwrap_err(), HopError::Named, "{name}");
        }
        for name in ["a b", "\"host\"", "x:y"] {
            let mut fields = headers(&[("connection", name)]);
            assert_eq!(strip_request(&mut fields).unwrap_err(), HopError::NoToken, "{name}");
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
