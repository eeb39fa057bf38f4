//! Same-key renewal: a certificate that nobody listed, on the key of one that is pinned, may stand in for it. Judged here; whoever
//! keeps the pins hears of it from the gate, once the key was proven, and pins it.

use std::sync::Arc;

use rustls_pki_types::UnixTime;

use super::allowlist::Match;
use super::authorities::validity;
use super::decision::Horizon;
use super::principal::{Identifier, Principal};
use super::snapshot::Snapshot;
use crate::pki::certificate::Extension;
use crate::pki::{Certificate, Fingerprint, SpkiPin, Validity};

/// Whether holders of a principal's pinned keys may renew their certificates by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Renewal {
    #[default]
    None,
    /// Every certificate that is pinned for the principal, in full: what the next one is compared with.
    SameKey(Arc<[Predecessor]>),
}

/// A pinned certificate that may be renewed.
#[derive(Clone, Debug)]
pub struct Predecessor {
    pub certificate: Arc<Certificate>,
    /// Who signed it, if somebody else did and was stored with it.
    pub issuer: Option<Arc<Certificate>>,
    /// When it was pinned, if by a renewal.
    pub renewed: Option<UnixTime>,
}

/// What became of a certificate that has the key of one that may be renewed.
pub(super) enum Outcome {
    /// Which condition failed.
    Failed(String),
    Renews {
        found: Match,
        predecessor: Fingerprint,
    },
    /// A certificate of the key was revoked, and so the key.
    Revoked(Arc<Principal>, String),
}

impl Renewal {
    /// Returns the pinned certificates that have this key.
    pub fn of_key(&self, key: SpkiPin) -> impl Iterator<Item = &Predecessor> {
        let all = match self {
            Self::None => &[][..],
            Self::SameKey(all) => all,
        };
        all.iter().filter(move |predecessor| predecessor.certificate.spki_pin == key)
    }

    /// Returns what a renewal puts out: the pins that renewals made on this key, but for the newest. Those that somebody
    /// registered stay.
    pub fn surplus(&self, key: SpkiPin) -> Vec<Fingerprint> {
        let made = self.of_key(key).filter_map(|predecessor| Some((predecessor.renewed?.as_secs(), predecessor.certificate.fingerprint)));
        let mut made: Vec<_> = made.collect();
        made.sort_unstable_by(|a, b| b.cmp(a));
        made.into_iter().skip(KEPT).map(|(_, fingerprint)| fingerprint).collect()
    }
}

impl PartialEq for Predecessor {
    fn eq(&self, other: &Self) -> bool {
        let all = |one: &Self| {
            let issuer = one.issuer.as_ref().map(|issuer| issuer.fingerprint);
            (one.certificate.fingerprint, issuer, one.renewed.map(|time| time.as_secs()))
        };
        all(self) == all(other)
    }
}

impl Eq for Predecessor {}

/// Judges a certificate that is no pin. `None`: it has the key of none that may be renewed.
pub(super) fn judge(snapshot: &Snapshot, leaf: &Certificate, now: UnixTime, horizon: &mut Horizon) -> Option<Outcome> {
    let found = snapshot.allowlist.find_renewable(&leaf.spki_pin)?;
    if let Some(why) = revoked_key(snapshot, &found.principal, &leaf.spki_pin) {
        return Some(Outcome::Revoked(found.principal, why));
    }
    let principal = Arc::clone(&found.principal);
    let renewal = &principal.terms.renewal;
    let last = renewal.of_key(leaf.spki_pin).filter_map(|predecessor| predecessor.renewed).map(|time| time.as_secs()).max();
    if let Some(free) = last.map(|last| last.saturating_add(INTERVAL)).filter(|free| now.as_secs() < *free) {
        horizon.change_at(free);
        return Some(Outcome::Failed("less than an hour ago another certificate on this key was pinned as a renewal".to_owned()));
    }
    let mut first_failure = None;
    for predecessor in renewal.of_key(leaf.spki_pin) {
        let identifies = principal.terms.identifier == Identifier::Serial && leaf.serial != predecessor.certificate.serial;
        let judged = match identifies {
            // Its holder writes the serial number: it would choose by which name an upstream knows it.
            true => Err("the serial number differs, and it identifies the client to upstreams".to_owned()),
            false => predecessor.may_become(leaf, snapshot, now, horizon),
        };
        match judged {
            Ok(()) => {
                let predecessor = predecessor.certificate.fingerprint;
                return Some(Outcome::Renews { found, predecessor });
            }
            Err(why) => first_failure = first_failure.or(Some((predecessor.certificate.fingerprint, why))),
        }
    }
    let (fingerprint, why) = first_failure?;
    let finding = format!("no renewal of sha256:{fingerprint}, pinned for {} in {}: {why}", found.principal.name, found.written);
    Some(Outcome::Failed(finding))
}

/// Says which certificate of a key was revoked, where renewals go by key: its holder could otherwise renew itself out of the revocation.
pub(super) fn revoked_key(snapshot: &Snapshot, principal: &Principal, key: &SpkiPin) -> Option<String> {
    let revocation = &snapshot.revocation;
    principal.terms.renewal.of_key(*key).find_map(|predecessor| {
        let certificate = &*predecessor.certificate;
        let own = || {
            let issuer = snapshot.issuer_of(certificate);
            revocation.principal_hit(&principal.name, certificate, snapshot.issuer(issuer.as_ref()))
        };
        let hit = revocation.leaf_hit(certificate).or_else(|| revocation.crls.lists(certificate)).or_else(own)?;
        Some(format!("its key, with sha256:{} that may be renewed on it: {hit}", certificate.fingerprint))
    })
}

impl Predecessor {
    /// Judges whether a certificate on the same key differs in nothing that matters. That none of the key is revoked is known.
    fn may_become(&self, leaf: &Certificate, snapshot: &Snapshot, now: UnixTime, horizon: &mut Horizon) -> Result<(), String> {
        let own = &*self.certificate;
        if validity(own, now, snapshot.clock_skew, horizon) != Validity::Valid {
            return Err("that one is not valid now itself: only a valid certificate is renewed".to_owned());
        }
        if leaf.subject.der != own.subject.der {
            return Err("the subject differs".to_owned());
        }
        if let Some(oid) = difference(&own.extensions, &leaf.extensions) {
            let name = if oid == SUBJECT_ALT_NAME { "the subject alternative names" } else { "extensions" };
            return Err(format!("{name} differ ({oid})"));
        }
        let days = leaf.not_after.saturating_sub(leaf.not_before).div_ceil(DAY);
        if days > MOST_DAYS {
            return Err(format!("it is valid for {days} days, and {MOST_DAYS} are the most for a renewal"));
        }
        // Spelled otherwise it would be pinned again and again, each time by another fingerprint.
        if !leaf.canonical || leaf.twin() == Some(own.fingerprint) {
            return Err("its encoding is not canonical, or its signature is that one's, respelled".to_owned());
        }
        self.vouched_for(leaf)
    }

    /// Looks for the signature of whoever signed the predecessor: a holder whose certificate an issuer signed, and the issuer let run
    /// out, is not to go on by its own signature.
    fn vouched_for(&self, leaf: &Certificate) -> Result<(), String> {
        let own = &*self.certificate;
        let signed_itself = own.is_self_issued() && own.is_signed_by(own.spki());
        if signed_itself && leaf.is_self_issued() && leaf.is_signed_by(own.spki()) {
            return Ok(());
        }
        match &self.issuer {
            Some(issuer) if leaf.issuer.der == issuer.subject.der && leaf.is_signed_by(issuer.spki()) => Ok(()),
            Some(_) => Err("the issuer that was stored with that one did not sign it".to_owned()),
            None if signed_itself => Err("that one signed itself, and this one is not signed by the same key".to_owned()),
            None => Err("somebody else signed that one, and who was not stored with it".to_owned()),
        }
    }
}

/// Finds an extension that only one has, or that differs; the key ids, which issuers compute as they please, apart. The order is free.
fn difference<'a>(a: &'a [Extension], b: &'a [Extension]) -> Option<&'a str> {
    let matters = |extension: &&Extension| !matches!(&*extension.oid, SUBJECT_KEY_ID | AUTHORITY_KEY_ID);
    let lacks = |these: &'a [Extension], those: &[Extension]| these.iter().filter(matters).find(|extension| !those.contains(extension));
    lacks(a, b).or_else(|| lacks(b, a)).map(|extension| &*extension.oid)
}

/// Pins made by renewal that are kept for a key.
const KEPT: usize = 5;
/// Seconds between renewals on one key: who makes certificates without end fills no ledger.
const INTERVAL: u64 = 3_600;
const MOST_DAYS: u64 = 400;
const DAY: u64 = 86_400;
const SUBJECT_KEY_ID: &str = "2.5.29.14";
const SUBJECT_ALT_NAME: &str = "2.5.29.17";
const AUTHORITY_KEY_ID: &str = "2.5.29.35";
