//! A state written whole, so that a start need not go through everything that ever happened: JSON lines, the first of which says how many
//! of what follow.

use std::collections::HashSet;
use std::io::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::change::{Change, Written};
use super::crl::CrlText;
use super::document::{Document, Stamp};
use super::left::reaches;
use super::managed::{Kin, Managed, Stored, Text};
use super::many::{Compiled, Many};
use super::refusal::Refusal;
use super::revocations::KeptRevocation;
use super::state::{Part, State};
use super::tokens::{owner, token_id};
use crate::admission::PrincipalId;
use crate::pki::{Fingerprint, SpkiPin};
use crate::threads::shared_out;

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

/// Of a million of these a start reads each: plain fields, since what is flattened is read twice. The document is read once by whoever
/// compiles it, and kept as the text that it is.
#[derive(Deserialize, Serialize)]
struct Principal<'a> {
    index: u64,
    #[serde(borrow)]
    document: &'a RawValue,
    /// What was read of its certificates once: read again it would take longer than all the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kin: Option<Vec<Kin>>,
}

#[derive(Deserialize, Serialize)]
struct Revocation {
    index: u64,
    id: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    within: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    only: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    added: Option<Stamp>,
}

#[derive(Deserialize, Serialize)]
struct Token {
    index: u64,
    jti: String,
    expires: u64,
}

#[derive(Deserialize, Serialize)]
struct TokensOf {
    index: u64,
    id: String,
    until: u64,
}

#[derive(Deserialize, Serialize)]
struct Crl {
    index: u64,
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
            // INVARIANT: it is JSON, written by us or read once before.
            let Ok(document) = serde_json::from_slice(kept.text()) else { continue };
            line(&mut out, &Principal { index: kept.index, document, kin: kept.kin().map(<[Kin]>::to_vec) });
        }
        for kept in self.revocations() {
            let key = kept.key.map(|key| key.to_string());
            let (index, id, within) = (kept.index, kept.id.as_str().to_owned(), !kept.everywhere);
            let only = kept.only.iter().map(ToString::to_string).collect();
            line(&mut out, &Revocation { index, id, within, only, key, reason: kept.reason.clone(), added: kept.added.clone() });
        }
        for (expires, jti, index) in self.tokens.singles() {
            line(&mut out, &Token { index, jti: jti.to_string(), expires });
        }
        for (id, until, index) in self.tokens.principals() {
            line(&mut out, &TokensOf { index, id: id.to_string(), until });
        }
        for (name, kept) in self.crls() {
            let der = CrlText::of(Arc::clone(&kept.crl));
            line(&mut out, &Crl { index: kept.index, name: name.to_owned(), der, added: kept.added.clone() });
        }
        out
    }
}

/// A state as it was stored, whose principals were compiled while they were at hand; and what was changed since.
#[derive(Debug, Default)]
pub struct Recalled {
    pub state: State,
    pub(super) compiled: Vec<Compiled>,
    /// Who was changed since, and is compiled anew.
    pub(super) touched: HashSet<PrincipalId>,
}

impl Recalled {
    /// Makes a change that was recorded after.
    pub fn replay(&mut self, index: u64, change: &Change, written: Written) -> Result<(), Refusal> {
        self.state.replay_written(index, change, written)?;
        if let Change::PrincipalPut { .. } | Change::PrincipalRemove { .. } = change {
            self.touched.extend(change.object().parse::<PrincipalId>());
        }
        Ok(())
    }

    /// Reads what was written; what is wrong with it is the error. The bytes are kept: documents lie in them.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, String> {
        let stored: Stored = Arc::new(bytes);
        let bytes = stored.as_slice();
        let ends = memchr::memchr_iter(b'\n', bytes).chain([bytes.len()]);
        let lines = ends.scan(0, |start, end| bytes.get(std::mem::replace(start, end + 1)..end));
        let lines: Vec<&[u8]> = lines.filter(|line| !line.is_empty()).collect();
        let wrong = |error: serde_json::Error| error.to_string();
        let (first, rest) = lines.split_first().ok_or("is empty")?;
        let head: Head = serde_json::from_slice(first).map_err(wrong)?;
        if !(OLDEST..=VERSION).contains(&head.version) {
            return Err(format!("has the form of version {}, and this is {VERSION}", head.version));
        }
        let (principals, rest) = rest.split_at_checked(head.principals).ok_or("ends early")?;
        let mut lines = rest.iter().copied();
        let hash: Option<Fingerprint> = head.hash.map(|hash| hash.parse().map_err(|_| "holds no hash".to_owned())).transpose()?;
        let parts: Result<Vec<_>, String> = shared_out(principals, FEW, |lines| part(lines, &stored)).into_iter().collect();
        let (parts, compiled): (Vec<Part>, Vec<Vec<Compiled>>) = parts?.into_iter().unzip();
        let (mut state, compiled) = (State::loaded(parts), compiled.into_iter().flatten().collect());
        let mut revocations = Vec::with_capacity(head.revocations.min(bytes.len() / 16));
        for text in lines.by_ref().take(head.revocations) {
            let Revocation { index, id, within, only, key, reason, added } = serde_json::from_slice(text).map_err(wrong)?;
            let key: Option<SpkiPin> = key.map(|key| key.parse().map_err(|_| "holds no key".to_owned())).transpose()?;
            let id = id.parse().map_err(|why| format!("`{id}` {why}"))?;
            let only = reaches(&only).map_err(|why| why.to_string())?;
            revocations.push(KeptRevocation { id, everywhere: !within, only, key, reason, added, index });
        }
        state = state.revoking_by(revocations);
        let refused = |why: Refusal| why.to_string();
        for text in lines.by_ref().take(head.tokens.0) {
            let Token { index, jti, expires } = serde_json::from_slice(text).map_err(wrong)?;
            state.tokens.one((token_id(&jti).map_err(refused)?, expires), index, None);
        }
        for text in lines.by_ref().take(head.tokens.1) {
            let TokensOf { index, id, until } = serde_json::from_slice(text).map_err(wrong)?;
            state.tokens.all(owner(&id).map_err(refused)?, until, index, None);
        }
        for text in lines {
            let Crl { index, name, der, added } = serde_json::from_slice(text).map_err(wrong)?;
            state.replay(index, &Change::CrlPut { name, der, added }).map_err(|why| why.to_string())?;
        }
        Ok(Self { state: state.counted(head.entries, head.bootstrap_closed, hash), compiled, touched: HashSet::new() })
    }
}

/// Reads some of a million lines, and compiles each while it is at hand: once it is not, most of the time goes to fetching it again.
fn part(lines: &[&[u8]], stored: &Stored) -> Result<(Part, Vec<Compiled>), String> {
    let (mut part, mut compiled, mut many) = (Part::of(lines.len()), Vec::with_capacity(lines.len()), Many::default());
    let (among, begin) = (Arc::new(Arc::clone(stored)), stored.as_ptr().addr());
    let wrong = |error: serde_json::Error| error.to_string();
    for line in lines {
        let Principal { index, document: text, kin } = serde_json::from_slice(line).map_err(wrong)?;
        let text = text.get();
        let document: Document = serde_json::from_str(text).map_err(wrong)?;
        let id: PrincipalId = document.id.parse().map_err(|why| format!("`{}` {why}", document.id))?;
        let start = text.as_ptr().addr() - begin;
        let text = Text::Stored { among: Arc::clone(&among), start, end: start + text.len() };
        let managed = Managed::recalled(id, (&document, text), index, kin);
        let managed = Arc::new(managed.ok_or_else(|| format!("does not know each certificate of {id}"))?);
        part.take(Arc::clone(&managed), &document);
        compiled.push(Compiled::of(&managed, many.compile(&managed, document)));
    }
    Ok((part, compiled))
}

fn line(out: &mut Vec<u8>, value: &impl Serialize) {
    // INVARIANT: string keys and plain values into memory: nothing fails.
    let _ = serde_json::to_writer(&mut *out, value);
    let _ = out.write_all(b"\n");
}

/// Fewer are not worth a thread.
const FEW: usize = 4096;
/// Counted up, too, where something else is read of a certificate than before.
const VERSION: u32 = 2;
/// Knows nothing of certificates.
const OLDEST: u32 = 1;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::document::{CertificateDocument, CertificateSource};
    use super::super::roster::ManagedRoster;
    use super::*;
    use crate::admission::{Credential, TokenId};

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
        let pin = "00000002".repeat(8);
        let within = json!({ "id": "serial:01", "only": [format!("sha256:{pin}")] });
        state = state.apply(7, &Change::read("revocation.add", within.clone()).expect("read")).expect("good");
        let within = Change::read("revocation.add", json!({ "id": "serial:02", "only": within["only"] })).expect("read");
        state = state.apply(8, &within).expect("good");
        let read = Recalled::from_bytes(state.to_bytes()).expect("read").state;
        assert_eq!(read.to_bytes(), state.to_bytes());
        let kept = |state: &State| state.revocations_within().map(|kept| (kept.id.to_string(), kept.everywhere)).collect::<Vec<_>>();
        assert_eq!(kept(&read), [("serial:01".to_owned(), true), ("serial:02".to_owned(), false)], "said everywhere it holds so");
        assert_eq!(kept(&read), kept(&state));
        assert_eq!((read.hash(), read.entries(), read.len(), read.bootstrap_closed()), (state.hash(), 9, 3, true));
        assert_eq!((read.admins().count(), read.revoking().count()), (1, 3));
        assert_eq!(read.revoked_tokens(), state.revoked_tokens());
        assert_eq!((read.tokens.singles().count(), read.tokens.principals().count()), (1, 1));
        assert_eq!(read.revocation("serial:01"), state.revocation("serial:01"));
        let pin = "00000001".repeat(8).parse().expect("a fingerprint");
        assert_eq!(read.owner(&pin).map(|kept| kept.name()), Some("CI/1"));
        assert!(read.principal_named("ci/2").is_some());
        for cut in [0, 10, state.to_bytes().len() / 2] {
            assert!(Recalled::from_bytes(state.to_bytes()[..cut].to_vec()).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn what_was_read_of_certificates_is_recalled_and_what_is_of_others_is_no_state() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let der = rcgen::CertificateParams::default().self_signed(&key).expect("signed").der().clone();
        let certificate = crate::pki::Certificate::parse(der).expect("a certificate");
        let certificates = vec![CertificateDocument::of(&certificate, CertificateSource::Registered)];
        let document = Document { id: "p-aaaaaaaaaaaa".to_owned(), name: "one".to_owned(), certificates, ..Document::default() };
        let expected = document.compile(0).expect("good");
        let state = Arc::new(State::default().apply(0, &Change::put(document)).expect("made"));
        let pins = |bytes: &[u8]| {
            let Recalled { compiled, .. } = Recalled::from_bytes(bytes.to_vec()).expect("read");
            let [Compiled::Pinned(_, _, _, pin)] = &compiled[..] else { panic!("{compiled:?}") };
            Credential::Pin(*pin)
        };
        let unread = String::from_utf8(state.to_bytes()).expect("text");
        assert!(!unread.contains("kin"), "nobody compiled it yet");
        drop(ManagedRoster::build(Arc::clone(&state)));
        let text = String::from_utf8(state.to_bytes()).expect("text");
        let known = &text[text.find(",\"kin\":[[").expect("kept")..text.rfind("}\n").expect("a line")];
        for same in [&text, &unread, &unread.replace("\"version\":2", "\"version\":1")] {
            assert_eq!(format!("{:?}", pins(same.as_bytes())), format!("{:?}", expected.1[0].0));
        }
        for other in [",\"kin\":[]", ",\"kin\":[null]", ",\"kin\":[[1,2],[3,4]]", ",\"kin\":[[1]]"] {
            assert!(Recalled::from_bytes(text.replace(known, other).into_bytes()).is_err(), "{other}");
        }
    }
}
