//! Tokens: a certificate that was proven elsewhere, carried in a header. Issued here after a challenge was answered, and read here; what
//! one is worth is for the decision to say, each time.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use rustls_pki_types::{CertificateDer, UnixTime};

use super::jwt::{self, Confirmation, Header, Parts, Payload};
use super::keyring::{Key, Keyring};
use super::settings::{LONGEST_TTL, Settings};
use crate::admission::{Candidate, Claims, PrincipalId, PrincipalName, Token, TokenId};
use crate::gate::{Possession, Proven};
use crate::pki::{Certificate, Fingerprint, hex};

/// Issues and reads tokens. One for each set of rules; the keys are the same.
#[derive(Debug)]
pub struct Tokens {
    settings: Settings,
    keys: Arc<Keyring>,
}

/// What a token is to say.
#[derive(Debug)]
pub struct Order<'a> {
    pub principal: PrincipalId,
    pub name: &'a PrincipalName,
    /// Leaf first.
    pub chain: &'a [CertificateDer<'a>],
    /// The certificate of the connection that it is issued over.
    pub bound: Option<Fingerprint>,
    /// Seconds since the epoch.
    pub now: u64,
    /// Wished, in seconds.
    pub ttl: Option<u64>,
    /// Of the decision that admitted.
    pub valid_until: u64,
    pub identifier: Option<&'a str>,
    pub audit: &'a [(String, String)],
}

/// A new token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    pub token: String,
    pub jti: String,
    pub expires: u64,
}

/// Why no token was issued.
#[derive(Debug)]
pub enum TokenError {
    /// There is no chain, or its leaf cannot be read.
    Chain,
    Keys(io::Error),
    /// It would be longer than we read.
    TooLong,
}

/// What a bearer token is to us.
#[derive(Debug)]
pub enum Bearer {
    /// Somebody else's: no credential here, and nothing that we touch.
    Foreign,
    Ours(Box<Ours>),
    /// It says that it is ours, and is not, or not any more; why, for the operator.
    Refused(&'static str),
}

/// A token of ours: its signature is right. Whether it is worth anything is not said.
#[derive(Debug)]
pub struct Ours {
    pub principal: PrincipalId,
    pub name: String,
    pub token: Token,
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    pub identifier: Option<String>,
    pub sub_claims: BTreeMap<String, String>,
}

impl Tokens {
    /// Keeps its keys in `state`, the state directory; `None`: in memory. Nothing is read or made before it is needed.
    pub fn new(settings: Settings, state: Option<&Path>) -> Self {
        let directory = state.map(|state| state.join(DIRECTORY));
        Self { settings, keys: Arc::new(Keyring::new(directory)) }
    }

    /// Takes other settings, with the same keys where the directory is the same.
    pub fn with(&self, settings: Settings, state: Option<&Path>) -> Self {
        let directory: Option<PathBuf> = state.map(|state| state.join(DIRECTORY));
        if directory.as_deref() == self.keys.directory() {
            return Self { settings, keys: Arc::clone(&self.keys) };
        }
        Self::new(settings, state)
    }

    /// Returns what `[token]` says.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Makes the first key, or the next, before anybody waits for it: whoever checks our tokens finds it published from the start.
    pub fn prepare(&self, now: u64) -> io::Result<()> {
        let rotate = self.settings.rotate.as_secs();
        self.keys.signing(now, rotate.saturating_sub(AHEAD).max(rotate / 2)).map(drop)
    }

    /// Reads the keys, and says what is wrong with them: who may not read them finds every token of theirs refused.
    pub fn load(&self) -> io::Result<()> {
        self.keys.load()
    }

    /// Issues a token. INVARIANT: the leaf's key was proven, and the decision admitted its holder.
    pub fn issue(&self, order: &Order<'_>) -> Result<Issued, TokenError> {
        let leaf = order.chain.first().ok_or(TokenError::Chain)?;
        let leaf = Certificate::parse(leaf.clone().into_owned()).map_err(|_| TokenError::Chain)?;
        let most = self.settings.max_ttl.min(LONGEST_TTL).as_secs();
        let ttl = order.ttl.unwrap_or(self.settings.ttl.as_secs()).clamp(1, most);
        let expires = order.now.saturating_add(ttl).min(leaf.not_after).min(order.valid_until);
        let mut id = [0; 16];
        rand::fill(&mut id).map_err(|_| TokenError::Keys(io::Error::other("no random numbers")))?;
        let jti = TokenId::from_random(id).to_string();
        let payload = Payload {
            iss: self.settings.issuer.clone(),
            aud: self.settings.audience.clone(),
            sub: order.principal.to_string(),
            name: order.name.to_string(),
            jti: jti.clone(),
            iat: order.now,
            nbf: order.now,
            exp: expires,
            x5c: order.chain.iter().take(MAX_CHAIN).map(|der| jwt::encode_der(der)).collect(),
            cnf: order.bound.map(|bound| Confirmation { x5t_s256: jwt::encode(bound.as_bytes()) }),
            identifier: order.identifier.map(str::to_owned),
            sub_claims: order.audit.iter().cloned().collect(),
        };
        let key = self.keys.signing(order.now, self.settings.rotate.as_secs()).map_err(TokenError::Keys)?;
        let token = sign(&key, &payload).map_err(TokenError::Keys)?;
        if token.len() > MAX_TOKEN {
            return Err(TokenError::TooLong);
        }
        Ok(Issued { token, jti, expires })
    }

    /// Reads a token, at a time that only decides which keys to look for.
    pub fn read(&self, text: &str, now: u64) -> Bearer {
        match Parts::of(text).filter(Parts::looks_ours) {
            Some(parts) => self.ours(text, &parts, now).map_or_else(Bearer::Refused, |ours| Bearer::Ours(Box::new(ours))),
            None => Bearer::Foreign,
        }
    }

    /// Returns what stands for a token that is none, which came over a connection whose client presented `beside`.
    pub fn worthless(why: &'static str, beside: Option<Rc<Candidate>>) -> Possession {
        Possession::assertion(Rc::new(Candidate::worthless(why).beside(beside)), UnixTime::since_unix_epoch(Duration::ZERO))
    }

    /// Tells whether a header's value holds a token of ours, however it is wrapped: such a value goes to no upstream.
    pub fn mentions(value: &[u8]) -> bool {
        jwt::mentions_ours(value)
    }

    /// Returns the public keys as a JWK set (RFC 7517, 5), those included that sign no more or not yet.
    pub fn jwks(&self, now: u64) -> String {
        let keys: Vec<serde_json::Value> = self.keys.all(now).iter().map(|key| key.jwk()).collect();
        serde_json::json!({ "keys": keys }).to_string()
    }

    fn ours(&self, text: &str, parts: &Parts<'_>, now: u64) -> Result<Ours, &'static str> {
        if text.len() > MAX_TOKEN {
            return Err("it is longer than any token of ours");
        }
        let header: Option<Header> = jwt::decode(parts.header).and_then(|json| serde_json::from_slice(&json).ok());
        let header = header.ok_or("its header is none of ours")?;
        // RFC 8725, 3.1: the key says by which algorithm; a header that says otherwise is a trick.
        if header.alg != jwt::ALG {
            return Err("its algorithm is not the one of our keys");
        }
        let key = self.keys.find(&header.kid, now).ok_or("no key of ours signed it: it is another instance's, or its key is gone")?;
        let signature = jwt::decode(parts.signature).ok_or("its signature is no base64url")?;
        let signed = &text[..parts.header.len() + 1 + parts.payload.len()];
        if !key.verifies(signed.as_bytes(), &signature) {
            return Err("its signature is not by our key");
        }
        let payload: Option<Payload> = jwt::decode(parts.payload).and_then(|json| serde_json::from_slice(&json).ok());
        self.claimed(payload.ok_or("its claims cannot be read")?)
    }

    fn claimed(&self, payload: Payload) -> Result<Ours, &'static str> {
        if payload.iss != self.settings.issuer {
            return Err("its issuer (iss) is another");
        }
        if payload.aud != self.settings.audience {
            return Err("its audience (aud) is another");
        }
        let principal = payload.sub.parse().map_err(|_| "its subject (sub) is no id of a principal")?;
        let id = payload.jti.parse().map_err(|_| "its id (jti) is none of ours")?;
        if payload.x5c.is_empty() || payload.x5c.len() > MAX_CHAIN {
            return Err("it has no certificate (x5c), or too many");
        }
        let chain = payload.x5c.iter().map(|text| jwt::decode_der(text).map(CertificateDer::from)).collect::<Option<_>>();
        let chain = chain.ok_or("a certificate of it (x5c) is no base64")?;
        let bound = payload.cnf.as_ref().map(bound_to).transpose()?;
        let token = Token { id, issued: payload.iat.max(payload.nbf), expires: payload.exp, bound };
        Ok(Ours { principal, name: payload.name, token, chain, identifier: payload.identifier, sub_claims: payload.sub_claims })
    }
}

impl Bearer {
    /// Returns what the decision is to judge; `None`: this is no credential.
    pub fn candidate(self) -> Option<Candidate> {
        match self {
            Self::Foreign => None,
            Self::Ours(ours) => ours.candidate(),
            Self::Refused(why) => Some(Candidate::worthless(why)),
        }
    }

    /// Returns what a token stands for that came over a connection: the key was proven when it was issued. `beside`: what the
    /// connection's client presented. `None`: this is no credential.
    pub fn possession(self, beside: Option<Rc<Candidate>>) -> Option<Possession> {
        match self {
            Self::Foreign => None,
            Self::Ours(ours) => {
                let candidate = Rc::new(ours.candidate()?.beside(beside));
                Some(Possession::assertion(candidate, UnixTime::since_unix_epoch(Duration::from_secs(ours.token.issued))))
            }
            Self::Refused(why) => Some(Tokens::worthless(why, beside)),
        }
    }
}

impl Ours {
    /// Returns what the decision is to judge.
    pub fn candidate(&self) -> Option<Candidate> {
        Candidate::claimed(&self.chain, Claims { principal: self.principal, token: Some(self.token.clone()) })
    }

    /// The key was proven when the token was issued, and whoever shows it was given it.
    pub fn proven(&self) -> Proven {
        Proven::assertion()
    }
}

impl std::fmt::Display for TokenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Chain => f.write_str("there is no certificate to issue a token for"),
            Self::Keys(_) => f.write_str("the keys that sign tokens cannot be used"),
            Self::TooLong => f.write_str("the certificates are too long for a token"),
        }
    }
}

impl std::error::Error for TokenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Keys(error) => Some(error),
            Self::Chain | Self::TooLong => None,
        }
    }
}

fn sign(key: &Key, payload: &Payload) -> io::Result<String> {
    let header = Header { alg: jwt::ALG.to_owned(), kid: key.kid.clone(), typ: jwt::TYP.to_owned() };
    let part = |json: Vec<u8>| jwt::encode(&json);
    let signed = format!("{}.{}", part(serde_json::to_vec(&header)?), part(serde_json::to_vec(payload)?));
    let signature = key.sign(signed.as_bytes())?;
    Ok(format!("{signed}.{}", jwt::encode(&signature)))
}

fn bound_to(confirmation: &Confirmation) -> Result<Fingerprint, &'static str> {
    let bound = jwt::decode(&confirmation.x5t_s256).and_then(|bytes| hex::lower(&bytes).parse().ok());
    bound.ok_or("what it is bound to (cnf) is no fingerprint")
}

/// In the state directory.
const DIRECTORY: &str = "tokens";
/// Real chains have four at most.
const MAX_CHAIN: usize = 8;
/// Seconds before its time that a key is made where nobody waits for it: whoever prepares comes by once an hour.
const AHEAD: u64 = 7_200;
/// Bytes, whole.
const MAX_TOKEN: usize = 16 << 10;

#[cfg(test)]
mod tests;
