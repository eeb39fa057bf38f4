//! A state written whole, so that a start need not go through everything that ever happened: JSON lines, the first of which says how many
//! of what follow.

use std::io::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::change::Change;
use super::crl::CrlText;
use super::document::{Document, Stamp};
use super::refusal::Refusal;
use super::revocations::KeptRevocation;
use super::state::State;
use super::tokens::{owner, token_id};
use crate::pki::{Fingerprint, SpkiPin};

#[derive(Deserialize, Serialize)]
struct Head {
    version: u32,
    entries: u64,
    bootstrap_closed: bool,
    hash: Option<String>,
    principals: usize,
    revocations: usize,
    /// One by one, and of which principals all.
    #[serde(default)]
    tokens: (usize, usize),
}

#[derive(Deserialize, Serialize)]
struct Line<T> {
    index: u64,
    #[serde(flatten)]
    kept: T,
}

#[derive(Deserialize, Serialize)]
struct Principal {
    document: Document,
}

#[derive(Deserialize, Serialize)]
struct Revocation {
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    added: Option<Stamp>,
}

#[derive(Deserialize, Serialize)]
struct Token {
    jti: String,
    expires: u64,
}

#[derive(Deserialize, Serialize)]
struct TokensOf {
    id: String,
    until: u64,
}

#[derive(Deserialize, Serialize)]
struct Crl {
    name: String,
    der: CrlText,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    added: Option<Stamp>,
}

impl State {
    /// Writes all of it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let hash = (self.hash() != [0; 32]).then(|| crate::pki::hex::lower(&self.hash()));
        let (principals, revocations) = (self.len(), self.revocations().count());
        let bootstrap_closed = self.bootstrap_closed();
        let tokens = (self.tokens.singles().count(), self.tokens.principals().count());
        line(&mut out, &Head { version: VERSION, entries: self.entries(), bootstrap_closed, hash, principals, revocations, tokens });
        for kept in self.principals(None) {
            line(&mut out, &Line { index: kept.index, kept: Principal { document: kept.document.clone() } });
        }
        for kept in self.revocations() {
            let key = kept.key.map(|key| key.to_string());
            let kept_id = kept.id.as_str().to_owned();
            line(
                &mut out,
                &Line { index: kept.index, kept: Revocation { id: kept_id, key, reason: kept.reason.clone(), added: kept.added.clone() } },
            );
        }
        for (expires, jti, index) in self.tokens.singles() {
            line(&mut out, &Line { index, kept: Token { jti: jti.to_string(), expires } });
        }
        for (id, until, index) in self.tokens.principals() {
            line(&mut out, &Line { index, kept: TokensOf { id: id.to_string(), until } });
        }
        for (name, kept) in self.crls() {
            let der = CrlText::of(Arc::clone(&kept.crl));
            line(&mut out, &Line { index: kept.index, kept: Crl { name: name.to_owned(), der, added: kept.added.clone() } });
        }
        out
    }

    /// Reads what was written; what is wrong with it is the error.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let mut lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let wrong = |error: serde_json::Error| error.to_string();
        let head: Head = serde_json::from_slice(lines.next().unwrap_or_default()).map_err(wrong)?;
        if head.version != VERSION {
            return Err(format!("has the form of version {}, and this is {VERSION}", head.version));
        }
        let mut principals = Vec::with_capacity(head.principals.min(bytes.len() / 16));
        for text in lines.by_ref().take(head.principals) {
            let Line { index, kept: Principal { document } } = serde_json::from_slice(text).map_err(wrong)?;
            principals.push((index, document));
        }
        let hash: Option<Fingerprint> = head.hash.map(|hash| hash.parse().map_err(|_| "holds no hash".to_owned())).transpose()?;
        let mut state = Self::loaded(principals)?;
        let mut revocations = Vec::with_capacity(head.revocations.min(bytes.len() / 16));
        for text in lines.by_ref().take(head.revocations) {
            let Line { index, kept: Revocation { id, key, reason, added } } = serde_json::from_slice(text).map_err(wrong)?;
            let key: Option<SpkiPin> = key.map(|key| key.parse().map_err(|_| "holds no key".to_owned())).transpose()?;
            let id = id.parse().map_err(|why| format!("`{id}` {why}"))?;
            revocations.push(KeptRevocation { id, key, reason, added, index });
        }
        state = state.revoking_by(revocations);
        let refused = |why: Refusal| why.to_string();
        for text in lines.by_ref().take(head.tokens.0) {
            let Line { index, kept: Token { jti, expires } } = serde_json::from_slice(text).map_err(wrong)?;
            state.tokens.one((token_id(&jti).map_err(refused)?, expires), index, None);
        }
        for text in lines.by_ref().take(head.tokens.1) {
            let Line { index, kept: TokensOf { id, until } } = serde_json::from_slice(text).map_err(wrong)?;
            state.tokens.all(owner(&id).map_err(refused)?, until, index, None);
        }
        for text in lines {
            let Line { index, kept: Crl { name, der, added } } = serde_json::from_slice(text).map_err(wrong)?;
            state.replay(index, &Change::CrlPut { name, der, added }).map_err(|why| why.to_string())?;
        }
        Ok(state.counted(head.entries, head.bootstrap_closed, hash))
    }
}

fn line(out: &mut Vec<u8>, value: &impl Serialize) {
    // INVARIANT: string keys and plain values into memory: nothing fails.
    let _ = serde_json::to_writer(&mut *out, value);
    let _ = out.write_all(b"\n");
}

const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::TokenId;

    #[test]
    fn a_state_is_read_as_it_was_written() {
        let mut state = State::default();
        for number in 0..3u32 {
            let document = Document {
                id: format!("p-aaaaaaaaaaa{number}"),
                name: format!("CI/{number}"),
                fingerprints: vec![format!("{number:08x}").repeat(8)],
                role: Some(if number == 0 { "Administrator" } else { "Reader" }.to_owned()),
                revoked_ids: vec!["serial:0A".to_owned()],
                ..Document::default()
            };
            let change = Change::put(document.normalised().expect("good"));
            state = state.apply(u64::from(number), &change).expect("good");
        }
        state = state.apply(3, &Change::revoke("serial:01", Some("lost".to_owned()))).expect("good");
        state = state.apply(4, &Change::BootstrapClosed {}).expect("good");
        let id = "p-aaaaaaaaaaa1".parse().expect("an id");
        state = state.apply(5, &Change::revoke_token(TokenId::from_random([9; 16]), 1_800_000_000, id)).expect("good");
        state = state.apply(6, &Change::revoke_tokens(id, 1_790_000_000)).expect("good");
        let read = State::from_bytes(&state.to_bytes()).expect("read");
        assert_eq!(read.to_bytes(), state.to_bytes());
        assert_eq!((read.hash(), read.entries(), read.len(), read.bootstrap_closed()), (state.hash(), 7, 3, true));
        assert_eq!((read.admins().count(), read.revoking().count()), (1, 3));
        assert_eq!(read.revoked_tokens(), state.revoked_tokens());
        assert_eq!((read.tokens.singles().count(), read.tokens.principals().count()), (1, 1));
        assert_eq!(read.revocation("serial:01"), state.revocation("serial:01"));
        let pin = "00000001".repeat(8).parse().expect("a fingerprint");
        assert_eq!(read.owner(&pin).map(|kept| kept.document.name.as_str()), Some("CI/1"));
        assert!(read.principal_named("ci/2").is_some());
        for cut in [0, 10, state.to_bytes().len() / 2] {
            assert!(State::from_bytes(&state.to_bytes()[..cut]).is_err(), "cut at {cut}");
        }
    }
}
