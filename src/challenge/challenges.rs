//! The challenges of this process: made, checked, used up. Nothing is kept of one that is out: its MAC says that it is ours, for whom
//! and until when. Only what was used is remembered, until it would have expired.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::{hmac, rand};

use super::message::{MAC, Message, NONCE};
use super::signature;
use super::spent::Spent;
use crate::admission::Denial;
use crate::clock::{Clock, Steady};
use crate::gate::Proven;
use crate::pki::{Certificate, PrivateKey};

/// Makes challenges and takes answers, for all workers.
pub struct Challenges {
    key: hmac::Key,
    clock: Steady,
    spent: Mutex<Spent>,
}

/// What a challenge is bound to.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The gateway, as the client dialled it.
    pub origin: &'a str,
    /// As the client wrote it.
    pub access_id: &'a str,
    pub leaf: &'a Certificate,
}

/// Why an answer proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Expired,
    /// As many as are remembered were used within the minute.
    Full,
    /// Not made by this process, or changed, or for another origin, access id or certificate.
    Foreign,
    /// Not by the leaf's key, or not in a form that counts.
    Signature,
    Used,
}

impl Challenges {
    /// Begins with a key of its own: what another process made, or this one before a restart, is foreign.
    pub fn new(clock: &Clock) -> Result<Self, Unspecified> {
        Self::bounded(clock, MOST_SPENT)
    }

    pub(super) fn bounded(clock: &Clock, most: usize) -> Result<Self, Unspecified> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new())?;
        Ok(Self { key, clock: clock.steady(), spent: Mutex::new(Spent::new(most)) })
    }

    /// Makes a challenge. For whoever asks: it says nothing of who is known. `None` where the origin is none, or there is no randomness.
    pub fn issue(&self, claim: &Claim<'_>) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE];
        rand::fill(&mut nonce).ok()?;
        let mut bytes = Message::signed_part(claim.origin, self.clock.now().saturating_add(LIFETIME), &nonce)?;
        let mac = hmac::sign(&self.key, &bound(&bytes, claim));
        bytes.extend_from_slice(mac.as_ref());
        Some(bytes)
    }

    /// Takes an answer, and uses the challenge up. The signature is checked whatever else is wrong: an answer takes as long to refuse for
    /// one reason as for another.
    pub fn take(&self, claim: &Claim<'_>, challenge: &[u8], signature: &[u8]) -> Result<Proven, Refusal> {
        let genuine = self.check(claim, challenge);
        let signed = signature::verifies(claim.leaf, challenge, signature);
        let message = genuine?;
        if !signed {
            return Err(Refusal::Signature);
        }
        // Only now: else whoever saw a challenge could use it up in its owner's place.
        let now = self.clock.now();
        self.spent.lock().unwrap_or_else(PoisonError::into_inner).take(message.nonce, message.expires, now)?;
        Ok(Proven::assertion())
    }

    /// Proves by the private key itself, where that is sent instead of an answer.
    pub fn take_key(&self, claim: &Claim<'_>, key: &PrivateKey) -> Result<Proven, Refusal> {
        let challenge = self.issue(claim).ok_or(Refusal::Foreign)?;
        let signature = super::signing::sign(key, &challenge).map_err(|_| Refusal::Signature)?;
        self.take(claim, &challenge, &signature)
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn check<'c>(&self, claim: &Claim<'_>, challenge: &'c [u8]) -> Result<Message<'c>, Refusal> {
        let message = Message::read(challenge).map_err(|_| Refusal::Foreign)?;
        let (signed, mac) = challenge.split_at(challenge.len() - MAC);
        // In constant time. The origin is inside as it was then: it has to be the one of now.
        hmac::verify(&self.key, &bound(signed, claim), mac).map_err(|_| Refusal::Foreign)?;
        if message.origin != claim.origin {
            return Err(Refusal::Foreign);
        }
        if self.clock.now() >= message.expires {
            return Err(Refusal::Expired);
        }
        Ok(message)
    }
}

/// Returns what the MAC is over. Each part has one length, or says it: no other parts read the same.
fn bound(signed: &[u8], claim: &Claim<'_>) -> Vec<u8> {
    let length = (claim.access_id.len() as u64).to_be_bytes();
    [signed, &length, claim.access_id.as_bytes(), claim.leaf.fingerprint.as_bytes()].concat()
}

impl fmt::Debug for Challenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Challenges")
    }
}

impl Refusal {
    /// Returns its code's denial.
    pub fn denial(self) -> Denial {
        match self {
            Self::Expired => Denial::ChallengeExpired,
            Self::Foreign | Self::Full | Self::Used => Denial::ChallengeInvalid,
            Self::Signature => Denial::SignatureInvalid,
        }
    }

    /// Says why, for the log.
    pub fn why(self) -> &'static str {
        match self {
            Self::Expired => "the challenge has expired: it counts for 60 seconds",
            Self::Foreign => {
                "the challenge was changed, or is not of this process, or for another origin, access id or certificate than the answer"
            }
            Self::Full => "more challenges were used within a minute than are remembered: none is taken until some have expired",
            Self::Signature => {
                "the signature is not by the certificate's key over the challenge: RSA PKCS #1 v1.5 or ECDSA, with SHA-256, or Ed25519"
            }
            Self::Used => "the challenge was used before: each counts once",
        }
    }
}

/// In seconds.
pub const LIFETIME: u64 = 60;
/// Of used challenges, in a minute: beyond 1,600 a second nobody gets in for a while.
const MOST_SPENT: usize = 100_000;
