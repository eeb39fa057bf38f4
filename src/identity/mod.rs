//! What the upstream is told of the client: removes what the client claimed, in every dialect and spelling,
//! and writes what the grant proves. `request` calls `replace` once hop-by-hop headers are gone, lest
//! `Connection: client-cert` take ours away; trailers and answers have their own calls.

mod claimed;
mod remembered;
mod rendered;
mod rfc9440;
mod text;
mod xfcc;

use http::header::{HeaderName, HeaderValue};

pub use claimed::{is_ours, remove_claimed};
pub use remembered::Remembered;
pub use rendered::Rendered;

use crate::admission::Access;
use crate::message::{Fields, Name};

/// `[identity]`, compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub dialects: Vec<Dialect>,
    /// XFCC carries the leaf as PEM.
    pub xfcc_cert: bool,
    /// XFCC carries leaf and chain as PEM.
    pub xfcc_chain: bool,
}

/// One way of telling. Names of all of them, and of more, are always removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Portcullis,
    Rfc9440,
    Xfcc,
}

impl Dialect {
    /// Returns the name that configuration and metrics use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portcullis => "portcullis",
            Self::Rfc9440 => "rfc9440",
            Self::Xfcc => "xfcc",
        }
    }
}

/// Puts what was proven in the place of what was claimed. `rendered` is `None` on open routes: then nothing is
/// told. `needed`: what the request was admitted for; `client`: its effective address, as it is written.
pub fn replace(headers: &mut Fields, rendered: Option<&Rendered>, needed: Access, client: Option<&HeaderValue>) {
    let forwarded = rendered.and_then(|rendered| rendered.keeps_xfcc_of(headers));
    remove_claimed(headers, needed);
    if let Some(rendered) = rendered {
        rendered.write(headers, forwarded, client);
    }
}

/// Keeps caches from answering one client with what another was told (RFC 9440, 3.1): a `Vary` that names
/// either field becomes `*`.
pub fn guard_vary(response: &mut Fields) {
    let names_identity = |value: &[u8]| {
        value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).any(|name| {
            name.eq_ignore_ascii_case(CLIENT_CERT.as_str().as_bytes()) || name.eq_ignore_ascii_case(CLIENT_CERT_CHAIN.as_str().as_bytes())
        })
    };
    if response.get_all(&Name::Vary).any(names_identity) {
        response.insert(Name::Vary, HeaderValue::from_static("*"));
    }
}

const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
const CLIENT_CERT_CHAIN: HeaderName = HeaderName::from_static("client-cert-chain");
const XFCC: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

#[cfg(test)]
mod tests;
