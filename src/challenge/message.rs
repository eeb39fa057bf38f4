//! What a challenge says: whom it is for, until when, which one it is. Gateways write it, whoever is to sign reads it.

use std::fmt;

/// Never the beginning of what TLS signs (RFC 8446, 4.4.3: 64 spaces; RFC 5246, 7.4.8: a ClientHello) or of a certificate: a key that
/// signs only what begins so lends itself to nothing else.
pub const PREFIX: &[u8] = b"portcullis-cert-challenge-v1\0";

/// A challenge, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The gateway, as it was dialled: scheme, host and port, `https://gate.example.com:8443`, without a port that the scheme implies.
    pub origin: &'a str,
    /// The first second at which it no longer counts, by the gateway's clock.
    pub expires: u64,
    pub nonce: [u8; NONCE],
    /// Over all before, the access id and the leaf.
    pub mac: [u8; MAC],
}

/// Why bytes are no challenge of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAChallenge;

impl<'a> Message<'a> {
    /// Reads a challenge; whether it is genuine only its gateway can tell.
    pub fn read(bytes: &'a [u8]) -> Result<Self, NotAChallenge> {
        let (length, rest) = bytes.strip_prefix(PREFIX).and_then(<[u8]>::split_first_chunk).ok_or(NotAChallenge)?;
        let (origin, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into()).ok_or(NotAChallenge)?;
        // What is shown to a person has to be what is there.
        let origin = std::str::from_utf8(origin).ok().filter(|origin| is_origin(origin)).ok_or(NotAChallenge)?;
        let (expires, rest) = rest.split_first_chunk().ok_or(NotAChallenge)?;
        let (nonce, rest) = rest.split_first_chunk().ok_or(NotAChallenge)?;
        let mac = rest.try_into().map_err(|_| NotAChallenge)?;
        Ok(Self { origin, expires: u64::from_be_bytes(*expires), nonce: *nonce, mac })
    }

    /// Writes all that the MAC is over.
    pub(super) fn signed_part(origin: &str, expires: u64, nonce: &[u8; NONCE]) -> Option<Vec<u8>> {
        let length = u16::try_from(origin.len()).ok().filter(|_| is_origin(origin))?;
        Some([PREFIX, &length.to_be_bytes(), origin.as_bytes(), &expires.to_be_bytes(), nonce].concat())
    }
}

fn is_origin(text: &str) -> bool {
    (1..=MAX_ORIGIN).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

impl fmt::Display for NotAChallenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a challenge of a Portcullis gateway: nothing else is signed")
    }
}

impl std::error::Error for NotAChallenge {}

pub(super) const NONCE: usize = 16;
pub(super) const MAC: usize = 32;
/// A scheme, a host name of 253 characters and a port.
const MAX_ORIGIN: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_spelling_is_a_challenge() {
        let part = Message::signed_part("https://gate.test:8443", 1_800_000_000, &[7; NONCE]).unwrap();
        let whole = [&part[..], &[9; MAC]].concat();
        let read = Message { origin: "https://gate.test:8443", expires: 1_800_000_000, nonce: [7; NONCE], mac: [9; MAC] };
        assert_eq!(Message::read(&whole), Ok(read));
        for cut in 0..whole.len() {
            assert_eq!(Message::read(&whole[..cut]), Err(NotAChallenge), "{cut} bytes of it");
        }
        assert_eq!(Message::read(&[&whole[..], b"\0"].concat()), Err(NotAChallenge), "a byte more");
        for wrong in ["", "https://gate.test\n", "https://gäte.test", &"x".repeat(MAX_ORIGIN + 1)] {
            assert_eq!(Message::signed_part(wrong, 0, &[0; NONCE]), None, "{wrong:?}");
        }
    }

    #[test]
    fn what_tls_has_signed_is_none() {
        // RFC 8446, 4.4.3.
        let verify = [&[0x20; 64], &b"TLS 1.3, client CertificateVerify\0"[..], &[1; 32]].concat();
        assert_eq!(Message::read(&verify), Err(NotAChallenge));
        // Behind what looks like ours, too: the prefix stands at the beginning or nowhere.
        let part = Message::signed_part("https://gate.test", 0, &[0; NONCE]).unwrap();
        assert_eq!(Message::read(&[&verify[..], &part, &[0; MAC]].concat()), Err(NotAChallenge));
    }
}
