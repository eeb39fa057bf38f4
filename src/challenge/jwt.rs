//! What a token of ours looks like, and no more than that: three parts of base64url, ES256, JSON. One algorithm, which the key
//! has and no header chooses.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

/// The JOSE header. `crit` and all that it could name are unknown here, and refused (RFC 7515, 4.1.11).
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) alg: String,
    pub(super) kid: String,
    pub(super) typ: String,
}

/// The claims. Members that we do not know were signed by us all the same: by a version to come.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Payload {
    pub(super) iss: String,
    pub(super) aud: String,
    pub(super) sub: String,
    pub(super) name: String,
    pub(super) jti: String,
    pub(super) iat: u64,
    pub(super) nbf: u64,
    pub(super) exp: u64,
    /// Base64 of DER, leaf first: a claim, not the header, which would name the certificate of *our* key (RFC 7515, 4.1.6).
    pub(super) x5c: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cnf: Option<Confirmation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) identifier: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) sub_claims: BTreeMap<String, String>,
}

/// RFC 8705, 3.1.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Confirmation {
    #[serde(rename = "x5t#S256")]
    pub(super) x5t_s256: String,
}

/// A token taken apart, nothing of it believed.
pub(super) struct Parts<'a> {
    pub(super) header: &'a str,
    pub(super) payload: &'a str,
    pub(super) signature: &'a str,
}

impl<'a> Parts<'a> {
    /// Takes a compact JWS apart; `None`: it is none.
    pub(super) fn of(text: &'a str) -> Option<Self> {
        let mut parts = text.split('.');
        let (header, payload, signature) = (parts.next()?, parts.next()?, parts.next()?);
        parts.next().is_none().then_some(Self { header, payload, signature })
    }

    /// Tells whether the header says that this is a token of ours, whatever else it says.
    pub(super) fn looks_ours(&self) -> bool {
        is_our_header(self.header)
    }
}

fn is_our_header(part: &str) -> bool {
    #[derive(Deserialize)]
    struct Typed {
        typ: String,
    }
    // No header of ours comes near; and nobody makes us read more.
    if part.len() > MAX_HEADER {
        return false;
    }
    let typed = decode(part).and_then(|json| serde_json::from_slice::<Typed>(&json).ok());
    // RFC 7515, 4.1.9: a media type, its case of no account, `application/` left out or not.
    let typ = typed.map(|typed| typed.typ.to_ascii_lowercase()).unwrap_or_default();
    typ.strip_prefix("application/").unwrap_or(&typ) == TYP
}

/// Finds whether a text holds a token of ours anywhere, however it is wrapped, or the beginning of one: whatever does is not passed on.
pub(super) fn mentions_ours(text: &[u8]) -> bool {
    let is_of_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let pieces = text.split(|byte| !is_of_part(*byte)).filter(|piece| piece.len() >= MIN_HEADER);
    pieces.filter_map(|piece| std::str::from_utf8(piece).ok()).any(is_our_header)
}

/// Decodes base64url, spelled the one way that it has.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

pub(super) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Base64 as `x5c` has it (RFC 7515, 4.1.6).
pub(super) fn encode_der(der: &[u8]) -> String {
    STANDARD.encode(der)
}

pub(super) fn decode_der(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

pub(super) const ALG: &str = "ES256";
pub(super) const TYP: &str = "portcullis+jwt";
const MAX_HEADER: usize = 1024;
/// Of `{"typ":"portcullis+jwt"}`.
const MIN_HEADER: usize = 32;
