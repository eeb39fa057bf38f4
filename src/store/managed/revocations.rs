//! The revoked ids of the ledger, kept by how they were written and by what they hit: whether a certificate is revoked is asked on the
//! thread that takes people off the list, and costs the same beside a million of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::document::Stamp;
use super::map::Map;
use crate::admission::{Mark, Reach, RevokedId};
use crate::pki::{Certificate, Fingerprint, SpkiPin};

/// A revoked id, and the entry that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRevocation {
    pub id: RevokedId,
    /// It holds for everybody.
    pub everywhere: bool,
    /// What principals that are gone said it of.
    pub only: BTreeSet<Reach>,
    /// The key of the certificate that it names, where that renews itself: its successors are revoked with it.
    pub key: Option<SpkiPin>,
    pub reason: Option<String>,
    pub added: Option<Stamp>,
    pub index: u64,
}

impl KeptRevocation {
    /// Returns the id, and that of the key that goes with it, where they hold everywhere.
    pub fn ids(&self) -> impl Iterator<Item = RevokedId> {
        let key = self.key.and_then(|key| format!("spki:{}", key.to_string().trim_start_matches("sha256/")).parse().ok());
        std::iter::once(self.id.clone()).chain(key).filter(|_| self.everywhere)
    }

    fn marks(&self) -> impl Iterator<Item = Mark> {
        self.id.marks().chain(self.key.map(Mark::of_key)).filter(|_| self.everywhere)
    }
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Revocations {
    kept: Map<Box<str>, Arc<KeptRevocation>>,
    /// By how many ids each is meant.
    marks: Map<Mark, u32>,
    /// Those that reach only some.
    within: Map<Box<str>, ()>,
}

impl Revocations {
    /// Takes many at once; of two that are written alike the last counts.
    pub(super) fn load(all: Vec<KeptRevocation>) -> Self {
        let kept: Map<Box<str>, Arc<KeptRevocation>> =
            Map::load(all.into_iter().map(|kept| (kept.id.as_str().into(), Arc::new(kept))).collect());
        let mut marks: Vec<Mark> = kept.iter().flat_map(|(_, kept)| kept.marks()).collect();
        marks.sort_unstable();
        let counted = marks.chunk_by(|a, b| a == b).map(|same| (same[0].clone(), u32::try_from(same.len()).unwrap_or(u32::MAX)));
        let within = Map::load(kept.iter().filter(|(_, kept)| !kept.only.is_empty()).map(|(id, _)| (id.clone(), ())).collect());
        Self { marks: Map::load(counted.collect()), within, kept }
    }

    /// Goes through those that reach only some.
    pub(super) fn within(&self) -> impl Iterator<Item = &Arc<KeptRevocation>> {
        self.within.iter().filter_map(|(id, ())| self.kept.get(id))
    }

    pub(super) fn get(&self, id: &str) -> Option<&Arc<KeptRevocation>> {
        self.kept.get(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<KeptRevocation>> {
        self.kept.iter().map(|(_, kept)| kept)
    }

    pub(super) fn insert(&mut self, kept: KeptRevocation) {
        self.remove(kept.id.as_str());
        for mark in kept.marks() {
            let count = self.marks.get(&mark).map_or(1, |count| count + 1);
            self.marks.insert(mark, count);
        }
        if !kept.only.is_empty() {
            self.within.insert(kept.id.as_str().into(), ());
        }
        self.kept.insert(kept.id.as_str().into(), Arc::new(kept));
    }

    pub(super) fn remove(&mut self, id: &str) {
        let Some(kept) = self.kept.get(id).cloned() else { return };
        for mark in kept.marks() {
            match self.marks.get(&mark).copied() {
                Some(count) if count > 1 => self.marks.insert(mark, count - 1),
                Some(_) | None => self.marks.remove(&mark),
            }
        }
        self.within.remove(&id.into());
        self.kept.remove(&id.into());
    }

    /// Tells whether one hits a certificate, its issuer left aside.
    pub(super) fn hit(&self, certificate: &Certificate) -> bool {
        self.kept.len() > 0 && Mark::all_of(certificate).iter().any(|mark| self.marks.get(mark).is_some())
    }

    /// Tells whether one names a certificate, of which no more may be known.
    pub(super) fn name(&self, fingerprint: Fingerprint) -> bool {
        self.marks.get(&Mark::of_fingerprint(fingerprint)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(id: &str, key: Option<SpkiPin>) -> KeptRevocation {
        let id = id.parse().expect("an id");
        KeptRevocation { id, everywhere: true, only: BTreeSet::new(), key, reason: None, added: None, index: 0 }
    }

    fn certificate() -> Certificate {
        let key = rcgen::KeyPair::generate().expect("a key");
        let signed = rcgen::CertificateParams::default().self_signed(&key).expect("signed");
        Certificate::parse(signed.der().clone()).expect("a certificate")
    }

    #[test]
    fn a_certificate_is_found_by_whatever_revokes_it() {
        let (alice, bob) = (certificate(), certificate());
        let key = alice.spki_pin.to_string().trim_start_matches("sha256/").to_owned();
        let twin = alice.twin().expect("an ECDSA signature has another form");
        let sha1: String = alice.sha1().iter().map(|byte| format!("{byte:02x}")).collect();
        let others = bob.spki_pin.to_string().trim_start_matches("sha256/").to_owned();
        let ids = [
            alice.fingerprint.to_string(),
            format!("sha256:{twin}"),
            format!("serial:{}", alice.serial_hex()),
            format!("serial:{}@spki:{others}", alice.serial_hex()),
            format!("sha1:{sha1}"),
            format!("spki:{key}"),
        ];
        for id in &ids {
            let mut revocations = Revocations::default();
            revocations.insert(kept(id, None));
            assert!(revocations.hit(&alice) && !revocations.hit(&bob), "{id}");
            assert!(Revocations::load(vec![kept(id, None)]).hit(&alice), "{id}");
            // As the decision says of each: the index is a shorter way, no other answer.
            assert!(crate::admission::Revocation::id_hits(&id.parse().expect("an id"), &alice), "{id}");
            revocations.remove(id);
            assert!(!revocations.hit(&alice), "{id}");
        }
        let mut revocations = Revocations::load(ids.iter().map(|id| kept(id, None)).collect());
        for id in &ids[1..] {
            revocations.remove(id);
        }
        assert!(revocations.hit(&alice) && revocations.name(alice.fingerprint) && !revocations.name(bob.fingerprint));
        // Said again with a key, and without: what it hits is what was said last.
        revocations.insert(kept(&ids[0], Some(bob.spki_pin)));
        assert!(revocations.hit(&bob));
        revocations.insert(kept(&ids[0], None));
        assert!(!revocations.hit(&bob) && revocations.hit(&alice));
    }
}
