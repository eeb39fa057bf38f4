//! Revoked ids of one source, by what they hit: a persistent value, in which revoking one or taking one back beside a million
//! costs what that one costs. Asked in constant time per certificate.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use super::principal::Provenance;
use super::revocation::{Issuer, Serials};
use super::revoked_id::{RevokedId, Target};
use super::shards::Shards;
use crate::pki::{Certificate, Fingerprint, SpkiPin};

/// Revoked ids of one source. Cheap to clone: clones share all that neither changed.
///
/// ```text
/// let revoked = revoked.with(&[], vec![(id, written)]);      // one more
/// let revoked = revoked.with(&[id], vec![]);                 // taken back
/// builder.include(&revoked);                                 // a RevocationBuilder, in `config::compile`
/// ```
#[derive(Clone, Debug, Default)]
pub struct RevokedIds {
    parts: Shards<HashMap<Key, Vec<Arc<Revoked>>>>,
    hasher: RandomState,
    /// How many keys there are of each kind: what nobody revokes by is not looked for.
    kinds: [usize; KINDS],
    len: usize,
}

/// A revoked id, and where it was written.
#[derive(Debug)]
pub(super) struct Revoked {
    pub(super) id: RevokedId,
    pub(super) written: Provenance,
}

/// An id that goes from a key; and comes anew, if it is given whole.
type Change<'a> = (Key, &'a RevokedId, Option<Arc<Revoked>>);

/// What an id is found by. The issuer of a serial is asked for afterwards: it may not be known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Fingerprint(Fingerprint),
    IssuedSerial(Box<[u8]>),
    Serial(Box<[u8]>),
    Sha1([u8; 20]),
    Spki(SpkiPin),
    SubjectKeyId(Box<[u8]>),
}

impl RevokedIds {
    /// The same, without some ids and with some others. An id that is both goes and comes: its place is the new one.
    pub fn with(&self, removed: &[RevokedId], added: Vec<(RevokedId, Provenance)>) -> Self {
        let mut changes: BTreeMap<usize, Vec<Change<'_>>> = BTreeMap::new();
        let added: Vec<Arc<Revoked>> = added.into_iter().map(|(id, written)| Arc::new(Revoked { id, written })).collect();
        let gone = removed.iter().map(|id| (id, None));
        for (id, revoked) in gone.chain(added.iter().map(|revoked| (&revoked.id, Some(revoked)))) {
            for key in id.targets.iter().map(Key::of) {
                changes.entry(self.slot(&key)).or_default().push((key, id, revoked.cloned()));
            }
        }
        let mut ids = self.clone();
        for (slot, changes) in changes {
            let mut part = HashMap::clone(self.parts.get(slot));
            for (key, id, revoked) in changes {
                // INVARIANT: an id that was read has a target; it is counted, and listed, at its first.
                let (kind, counts) = (key.kind(), key == Key::of(&id.targets[0]));
                let found = part.entry(key.clone()).or_default();
                let before = found.len();
                found.retain(|revoked| revoked.id != *id);
                let taken = before - found.len();
                let put = usize::from(revoked.is_some());
                found.extend(revoked);
                ids.kinds[kind] = ids.kinds[kind] + put - taken;
                ids.len = if counts { ids.len + put - taken } else { ids.len };
                if found.is_empty() {
                    part.remove(&key);
                }
            }
            ids.parts.set(slot, part);
        }
        ids
    }

    /// Returns how many ids there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Finds an id, as it was written.
    pub fn find(&self, id: &RevokedId) -> Option<&Provenance> {
        let key = Key::of(&id.targets[0]);
        self.at(&key).iter().find(|revoked| revoked.id == *id).map(|revoked| &revoked.written)
    }

    /// Returns every id and where it was written, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&RevokedId, &Provenance)> {
        let all = self.parts.iter().flat_map(|part| part.iter());
        let first = all.flat_map(|(key, found)| found.iter().filter(move |revoked| Key::of(&revoked.id.targets[0]) == *key));
        first.map(|revoked| (&revoked.id, &revoked.written))
    }

    /// Tells whether some id gives this serial with its issuer.
    pub(super) fn asks_for_issuer(&self, serial: &[u8]) -> bool {
        self.has(Key::ISSUED_SERIAL) && !self.at(&Key::IssuedSerial(serial.into())).is_empty()
    }

    /// Finds what hits a certificate.
    pub(super) fn hit(&self, certificate: &Certificate, issuer: Issuer<'_>, serials: Serials) -> Option<&Arc<Revoked>> {
        let by_serial = || match serials {
            Serials::Counted if self.has(Key::SERIAL) => self.at(&Key::Serial(certificate.serial.clone())).first(),
            Serials::Counted | Serials::Ignored => None,
        };
        self.hit_by_itself(certificate).or_else(by_serial).or_else(|| self.hit_by_issuer(certificate, issuer))
    }

    /// Finds an id of a certificate's serial and its issuer.
    pub(super) fn hit_by_issuer(&self, certificate: &Certificate, issuer: Issuer<'_>) -> Option<&Arc<Revoked>> {
        if !self.has(Key::ISSUED_SERIAL) {
            return None;
        }
        let counts = |key: &SpkiPin| match issuer {
            Issuer::Key(issuer) => key == issuer,
            // Closed, not open: the serial fits, and nobody can tell us that the issuer does not.
            Issuer::NotAmong(keys) => !keys.contains(key),
            Issuer::Unasked => false,
        };
        let names = |target: &Target| matches!(target, Target::SerialOfIssuer(serial, key) if *serial == certificate.serial && counts(key));
        self.at(&Key::IssuedSerial(certificate.serial.clone())).iter().find(|revoked| revoked.id.targets.iter().any(names))
    }

    fn hit_by_itself(&self, certificate: &Certificate) -> Option<&Arc<Revoked>> {
        let first = |key: Key| self.at(&key).first();
        let mut hit = None;
        if self.has(Key::FINGERPRINT) {
            // Anybody can make the other certificate with the same signed part out of one with an ECDSA signature: (r, n - s)
            // verifies as (r, s) does. So an id hits both.
            let twin = || certificate.twin().and_then(|twin| first(Key::Fingerprint(twin)));
            hit = first(Key::Fingerprint(certificate.fingerprint)).or_else(twin);
        }
        if hit.is_none() && self.has(Key::SPKI) {
            hit = first(Key::Spki(certificate.spki_pin));
        }
        if let Some(id) = certificate.subject_key_id.as_ref().filter(|_| hit.is_none() && self.has(Key::SUBJECT_KEY_ID)) {
            hit = first(Key::SubjectKeyId(id.clone()));
        }
        if hit.is_none() && self.has(Key::SHA1) {
            let twin = || certificate.twin_sha1().and_then(|sha1| first(Key::Sha1(sha1)));
            hit = first(Key::Sha1(certificate.sha1())).or_else(twin);
        }
        hit
    }

    fn has(&self, kind: usize) -> bool {
        self.kinds[kind] > 0
    }

    fn at(&self, key: &Key) -> &[Arc<Revoked>] {
        self.parts.get(self.slot(key)).get(key).map_or(&[], Vec::as_slice)
    }

    fn slot(&self, key: &Key) -> usize {
        Shards::<()>::slot(self.hasher.hash_one(key))
    }
}

/// Tells whether an id hits a certificate, its issuer left aside. Asked for each of many ids: nothing is built for it.
pub(super) fn hits(id: &RevokedId, certificate: &Certificate) -> bool {
    id.targets.iter().any(|target| match target {
        Target::Fingerprint(fingerprint) => certificate.fingerprint == *fingerprint || certificate.twin() == Some(*fingerprint),
        Target::Serial(serial) | Target::SerialOfIssuer(serial, _) => certificate.serial == *serial,
        Target::Sha1(sha1) => certificate.sha1() == *sha1 || certificate.twin_sha1() == Some(*sha1),
        Target::Spki(key) => certificate.spki_pin == *key,
        Target::SubjectKeyId(key) => certificate.subject_key_id.as_ref() == Some(key),
    })
}

impl Key {
    const FINGERPRINT: usize = 0;
    const ISSUED_SERIAL: usize = 1;
    const SERIAL: usize = 2;
    const SHA1: usize = 3;
    const SPKI: usize = 4;
    const SUBJECT_KEY_ID: usize = 5;

    fn of(target: &Target) -> Self {
        match target {
            Target::Fingerprint(fingerprint) => Self::Fingerprint(*fingerprint),
            Target::Serial(serial) => Self::Serial(serial.clone()),
            Target::SerialOfIssuer(serial, _) => Self::IssuedSerial(serial.clone()),
            Target::Sha1(sha1) => Self::Sha1(*sha1),
            Target::Spki(pin) => Self::Spki(*pin),
            Target::SubjectKeyId(id) => Self::SubjectKeyId(id.clone()),
        }
    }

    fn kind(&self) -> usize {
        match self {
            Self::Fingerprint(_) => Self::FINGERPRINT,
            Self::IssuedSerial(_) => Self::ISSUED_SERIAL,
            Self::Serial(_) => Self::SERIAL,
            Self::Sha1(_) => Self::SHA1,
            Self::Spki(_) => Self::SPKI,
            Self::SubjectKeyId(_) => Self::SUBJECT_KEY_ID,
        }
    }
}

const KINDS: usize = 6;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn id(text: &str) -> RevokedId {
        text.parse().expect("an id")
    }

    fn written(line: u32) -> Provenance {
        Provenance { file: "ledger".into(), line }
    }

    #[test]
    fn ids_come_and_go_one_at_a_time() {
        let (pin, serial) = (id(&format!("sha256:{}", "ab".repeat(32))), id("0256"));
        let both = RevokedIds::default().with(&[], vec![(pin.clone(), written(1)), (serial.clone(), written(2))]);
        // The serial reads in two ways, and is one id.
        assert_eq!((both.len(), both.iter().count(), both.find(&serial)), (2, 2, Some(&written(2))));
        let again = both.with(&[], vec![(pin.clone(), written(3))]);
        assert_eq!((again.len(), again.find(&pin)), (2, Some(&written(3))));
        let one = again.with(&[pin.clone(), id("sha1:abababababababababababababababababababab")], Vec::new());
        assert_eq!((one.len(), one.find(&pin), one.iter().count()), (1, None, 1));
        let none = one.with(&[serial], Vec::new());
        assert!(none.is_empty() && none.kinds == [0; KINDS] && none.parts.iter().all(|part| part.is_empty()));
        assert_eq!(both.len(), 2, "whoever holds it still has it");
    }

    #[test]
    fn what_is_revoked_twice_stays_revoked_when_one_is_taken_back() {
        let (leaf, _) = crate::admission::testing::self_signed("alice");
        let lower = id(&format!("sha256:{}", leaf.fingerprint));
        let bare = id(&leaf.fingerprint.to_string());
        let both = RevokedIds::default().with(&[], vec![(lower.clone(), written(1)), (bare.clone(), written(2))]);
        let issuer = Issuer::NotAmong(&HashSet::new());
        let hit = |ids: &RevokedIds| ids.hit(&leaf, issuer, Serials::Counted).map(|revoked| revoked.written.line);
        let (first, second) = (both.with(&[lower], Vec::new()), both.with(&[bare], Vec::new()));
        assert_eq!((hit(&both), hit(&first), hit(&second)), (Some(1), Some(2), Some(1)));
        let issued = id(&format!("serial:{}@spki:{}", leaf.serial_hex(), leaf.spki_pin.to_string().trim_start_matches("sha256/")));
        let by_issuer = second.with(&[id(&format!("sha256:{}", leaf.fingerprint))], vec![(issued.clone(), written(7))]);
        assert!(by_issuer.asks_for_issuer(&leaf.serial));
        assert_eq!((hit(&by_issuer), hit(&by_issuer.with(&[issued], Vec::new()))), (Some(7), None));
    }
}
