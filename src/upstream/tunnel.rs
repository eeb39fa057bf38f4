//! Upgrades: a tunnel opens only after a 101 with the protocol that was offered, and lives no longer than its hold.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderValue};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::hop_by_hop::{has_token, tokens};
use super::incoming::Offered;
use crate::gate::{Hold, Lapse};
use crate::http1::Upgraded;
use crate::message::{Fields, Name};

/// Returns the first protocol that a client offers and a route lists. HTTP itself and TLS are never upgraded to:
/// what is behind them would be nobody's to judge.
pub fn chosen<'a>(offered: &'a HeaderValue, listed: &[Box<str>]) -> Option<&'a [u8]> {
    tokens(offered.as_bytes()).find(|token| !is_never(token) && listed.iter().any(|listed| token.eq_ignore_ascii_case(listed.as_bytes())))
}

/// Says whether all that a client offers is what nobody upgrades to: such an offer may be ignored.
pub fn is_idle_offer(offered: &HeaderValue) -> bool {
    tokens(offered.as_bytes()).all(is_never)
}

fn is_never(token: &[u8]) -> bool {
    let starts = |prefix: &[u8]| token.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    token.eq_ignore_ascii_case(b"h2c")
        || token.eq_ignore_ascii_case(b"h2")
        || starts(b"tls/")
        || starts(b"http/")
        || token.eq_ignore_ascii_case(b"tls")
}

/// RFC 6455, 4.1: returns the one key of a WebSocket handshake, if it is one.
pub fn websocket_key(headers: &Fields) -> Option<HeaderValue> {
    let mut keys = headers.get_all(&header::SEC_WEBSOCKET_KEY);
    let (key, None) = (keys.next()?, keys.next()) else { return None };
    let bytes = STANDARD.decode(key).ok()?;
    headers.get_owned(header::SEC_WEBSOCKET_KEY).filter(|_| bytes.len() == 16)
}

/// Makes a key, for a client that came without one (RFC 8441, 5).
pub fn new_websocket_key() -> Option<HeaderValue> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    HeaderValue::try_from(STANDARD.encode(bytes)).ok()
}

/// Checks that a 101 takes the protocol that was offered, and nothing else.
pub fn is_switch_to(headers: &Fields, protocol: &[u8], key: Option<&HeaderValue>) -> bool {
    let mut upgrades = headers.get_all(&header::UPGRADE);
    let (Some(upgrade), None) = (upgrades.next(), upgrades.next()) else { return false };
    if !upgrade.eq_ignore_ascii_case(protocol) || !has_token(headers, Name::Connection, "upgrade") {
        return false;
    }
    let Some(key) = key else { return true };
    let mut accepts = headers.get_all(&header::SEC_WEBSOCKET_ACCEPT);
    let (Some(accept), None) = (accepts.next(), accepts.next()) else { return false };
    accept == accept_of(key).as_bytes()
}

/// RFC 6455, 4.2.2: what proves that the upstream meant this handshake.
pub(crate) fn accept_of(key: &HeaderValue) -> String {
    let text = [key.as_bytes(), b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat();
    STANDARD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, &text))
}

/// Carries bytes both ways until either side ends; returns how many (to the upstream, to the client). `Err` where the hold
/// lapsed: then it is dropped as it is.
pub async fn carry(client: Offered, upstream: Upgraded, hold: Hold) -> Result<(u64, u64), Lapse> {
    let carrying = async {
        match client {
            Offered::Http1(client) => both_ways(client.taken().await?, upstream).await,
            Offered::Http2(client) => both_ways(TokioIo::new(client.await.ok()?), upstream).await,
        }
    };
    tokio::select! {
        biased;
        lapse = hold.lapsed() => Err(lapse),
        carried = carrying => Ok(carried.unwrap_or_default()),
    }
}

async fn both_ways(mut client: impl AsyncRead + AsyncWrite + Unpin, mut upstream: Upgraded) -> Option<(u64, u64)> {
    tokio::io::copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER, BUFFER).await.ok()
}

const BUFFER: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(fields: &[(&'static str, &'static str)]) -> Fields {
        fields.iter().fold(Fields::default(), |mut headers, (name, value)| {
            headers.append(header::HeaderName::from_static(name), HeaderValue::from_static(value));
            headers
        })
    }

    #[test]
    fn a_route_lists_what_it_upgrades_to_and_http_never_is() {
        let listed: Vec<Box<str>> = vec!["websocket".into(), "h2c".into(), "tls/1.0".into()];
        let offer = HeaderValue::from_static;
        assert_eq!(chosen(&offer("h2c, WebSocket"), &listed), Some(&b"WebSocket"[..]));
        for never in ["h2c", "TLS/1.0", "HTTP/2.0", "", "chat"] {
            assert_eq!(chosen(&offer(never), &listed), None, "{never}");
        }
        assert!(is_idle_offer(&offer("h2c, TLS/1.0")) && !is_idle_offer(&offer("h2c, chat")));
    }

    #[test]
    fn only_the_right_switch_opens_a_tunnel() {
        // RFC 6455, 1.3.
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        let (upgrade, connection, accept) =
            (("upgrade", "WebSocket"), ("connection", "Upgrade"), ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert!(is_switch_to(&fields(&[upgrade, connection, accept]), b"websocket", Some(&key)));
        let wrong: [&[(&'static str, &'static str)]; 7] = [
            &[connection, accept],
            &[upgrade, accept],
            &[upgrade, connection],
            &[upgrade, upgrade, connection, accept],
            &[("upgrade", "h2c"), connection, accept],
            &[upgrade, connection, accept, accept],
            &[upgrade, connection, ("sec-websocket-accept", "S3pPLMBiTxaQ9kYGzzhZRbK+xOo=")],
        ];
        for headers in wrong {
            assert!(!is_switch_to(&fields(headers), b"websocket", Some(&key)), "{headers:?}");
        }
    }

    #[test]
    fn a_websocket_key_is_sixteen_bytes_once() {
        assert!(websocket_key(&fields(&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")])).is_some());
        for key in ["", "x", "dGhlIHNhbXBsZSBub25j"] {
            assert!(websocket_key(&fields(&[("sec-websocket-key", key)])).is_none(), "{key}");
        }
        assert!(websocket_key(&fields(&[])).is_none());
        assert!(new_websocket_key().is_some_and(|key| STANDARD.decode(key.as_bytes()).is_ok_and(|bytes| bytes.len() == 16)));
    }
}
