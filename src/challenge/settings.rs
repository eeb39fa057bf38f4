//! `[token]`: how long tokens last, whose they are, and how long a key signs them.

use std::time::Duration;

/// `[token]`, with its defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Of a token that was ordered without a wish.
    pub ttl: Duration,
    /// Whatever was wished.
    pub max_ttl: Duration,
    /// Who may send us a private key instead of a signature: nobody, unless an operator says so.
    pub accept_key_data: bool,
    /// `iss` and `aud`: a token of another's is none of ours.
    pub issuer: String,
    pub audience: String,
    /// How long a key signs.
    pub rotate: Duration,
}

/// No token lives longer, whatever `max_ttl` says: so long is a key kept that signs no more.
pub const LONGEST_TTL: Duration = Duration::from_secs(30 * 86_400);

impl Default for Settings {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(3_600),
            max_ttl: Duration::from_secs(86_400),
            accept_key_data: false,
            issuer: "portcullis".to_owned(),
            audience: "portcullis".to_owned(),
            rotate: Duration::from_secs(30 * 86_400),
        }
    }
}
