//! What a proof brings along that was not given in a TLS handshake: whose it claims to be, and the token that carries it. Whoever
//! makes these checked a signature: of a challenge, or of a token of ours.

use std::fmt;
use std::rc::Rc;
use std::str::FromStr;

use super::candidate::Candidate;
use super::decision::{Denial, Horizon, Steps};
use super::principal::PrincipalId;
use super::snapshot::Snapshot;
use crate::date::Date;
use crate::pki::{Fingerprint, hex};

/// Whose a certificate claims to be, and by which token.
#[derive(Debug)]
pub struct Claims {
    /// The access id. The certificate has to be this principal's, whatever else it would open.
    pub principal: PrincipalId,
    /// `None`: a challenge was answered just now.
    pub token: Option<Token>,
}

/// A token, its signature checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub id: TokenId,
    /// Seconds since the epoch.
    pub issued: u64,
    /// The first second at which it is worth nothing (RFC 7519, 4.1.4).
    pub expires: u64,
    /// It counts beside this certificate only, shown on the same connection (RFC 8705).
    pub bound: Option<Fingerprint>,
}

/// A token's `jti`: 16 random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenId([u8; 16]);

/// The text is no `jti` of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotATokenId;

/// How a candidate's leaf came to be believed.
#[derive(Debug)]
pub(super) enum Proof {
    /// A TLS handshake, or the question is hypothetical.
    Handshake,
    /// A challenge or a token.
    Claimed(Claims, Beside),
    /// A token of ours by its looks, that is none: why.
    Worthless(Box<str>, Beside),
}

/// The certificate of the connection that a token came over.
pub(super) type Beside = Option<Rc<Candidate>>;

impl TokenId {
    /// Makes an id of random bytes.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl Token {
    /// Judges the token alone: in time, and not taken back.
    pub(super) fn check(
        &self,
        owner: &PrincipalId,
        snapshot: &Snapshot,
        now: u64,
        horizon: &mut Horizon,
        steps: &mut Steps,
    ) -> Result<(), Denial> {
        // What we will have signed once was not signed yet: a clock that was set back, or two that disagree.
        let begins = self.issued.saturating_sub(snapshot.clock_skew);
        horizon.change_at(begins);
        if now < begins {
            let finding = format!("token {} was issued at {}, which lies ahead", self.id, Date::of(self.issued));
            return Err(steps.failed("token", finding, Denial::TokenInvalid));
        }
        horizon.change_at(self.expires);
        if now >= self.expires {
            let finding = format!("token {} has expired ({})", self.id, Date::of(self.expires));
            return Err(steps.failed("token", finding, Denial::TokenExpired));
        }
        if let Some(why) = snapshot.revocation.tokens.hit(self, owner) {
            return Err(steps.failed("token", format!("token {} {why}", self.id), Denial::TokenInvalid));
        }
        steps.found("token", || format!("token {} is ours, in time, and not revoked", self.id));
        Ok(())
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::lower(&self.0))
    }
}

impl FromStr for TokenId {
    type Err = NotATokenId;

    /// Reads what `Display` writes, and no other spelling of it.
    fn from_str(text: &str) -> Result<Self, NotATokenId> {
        let bytes = hex::decode(text).ok_or(NotATokenId)?;
        let id = Self(bytes.try_into().map_err(|_| NotATokenId)?);
        if id.to_string() == text { Ok(id) } else { Err(NotATokenId) }
    }
}

impl fmt::Display for NotATokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("is no id of a token: 32 lower-case hex digits")
    }
}

impl std::error::Error for NotATokenId {}
