//! The principals of a source that changes one at a time (the ledger's): a persistent value, in which adding, replacing
//! or removing a few among a million costs what those few cost. The source keeps the newest; each allowlist includes one.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use super::credential::{Credential, Pin, name_hash, prefix};
use super::principal::{Principal, PrincipalId, Provenance};
use super::roster::{Conflict, Roster, RosterBuilder};
use super::shards::{SLOT_BITS, Shards};
use crate::pki::{Fingerprint, SpkiPin};

/// A principal with all that proves it.
pub type Entry = (Principal, Vec<(Credential, Provenance)>);

/// The principals of one changing source. Cheap to clone: clones share all that neither changed.
///
/// ```text
/// let layer = layer.with(&[], vec![(principal, credentials)])?;         // added
/// let layer = layer.with(&[id], vec![(changed, credentials)])?;         // replaced, in one step
/// let layer = layer.with(&[id], vec![])?;                               // removed
/// allowlist_in_force.check_static(&principal, &credentials)?;                  // would it meet another source's?
/// let mut builder = AllowlistBuilder::after(&allowlist_in_force);       // in `config::compile`
/// builder.layer(&layer)?;                                               // compares what changed, not a million
/// ```
#[derive(Clone, Debug, Default)]
pub struct Layer {
    /// By the hash of their ids; each part is a small roster.
    principals: Shards<Roster>,
    /// Where to look: hashes of names, pins and keys, their low bits replaced by the slot of the principal. Sorted.
    index: Shards<Vec<u64>>,
    /// Keyed at random: names and digests may be made up to collide.
    hasher: RandomState,
    principals_len: usize,
    credentials_len: usize,
}

/// What the index tells apart.
#[derive(Clone, Copy, Hash)]
enum Kind {
    KinByKey,
    KinBySubject,
    Name,
    Pin,
    SpkiPin,
}

impl Layer {
    /// The same, without some principals and with some others: all of it or, where one conflicts, nothing. An id that is nobody's is
    /// removed already.
    pub fn with(&self, removed: &[PrincipalId], added: Vec<Entry>) -> Result<Self, Conflict> {
        let mut changes: BTreeMap<usize, (Vec<PrincipalId>, Vec<Entry>)> = BTreeMap::new();
        for id in removed {
            changes.entry(self.slot(id)).or_default().0.push(*id);
        }
        let mut layer = self.clone();
        for (slot, (removed, _)) in &changes {
            layer.put(*slot, rebuilt(self.principals.get(*slot), removed, &[])?);
        }
        let mut together = RosterBuilder::default();
        for (principal, credentials) in &added {
            layer.check(principal, credentials)?;
            // Among themselves: they fall into many parts, and each part knows only its own.
            together.add(principal, credentials)?;
        }
        for entry in added {
            changes.entry(self.slot(&entry.0.id)).or_default().1.push(entry);
        }
        for (slot, (removed, added)) in &changes {
            layer.put(*slot, rebuilt(self.principals.get(*slot), removed, added)?);
        }
        layer.reindex(self, changes.keys());
        Ok(layer)
    }

    /// Returns how many principals there are.
    pub fn len(&self) -> usize {
        self.principals_len
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.principals_len == 0
    }

    /// Returns how many credentials there are.
    pub fn credentials(&self) -> usize {
        self.credentials_len
    }

    /// Finds a principal by its id.
    pub fn find_id(&self, id: &PrincipalId) -> Option<Principal> {
        let roster = self.principals.get(self.slot(id));
        roster.find_id(id).map(|owner| roster.principal(owner))
    }

    /// Finds a principal by its name, in any case.
    pub fn find_name(&self, name: &str) -> Option<Principal> {
        self.look(Kind::Name, name.to_ascii_lowercase().as_bytes(), |roster| roster.find_name(name).map(|owner| roster.principal(owner)))
    }

    /// Finds the owner of a pin.
    pub fn find_pin(&self, fingerprint: &Fingerprint) -> Option<Principal> {
        self.find(|roster| roster.find_pin(fingerprint), Kind::Pin, fingerprint.as_bytes()).map(|(principal, _)| principal)
    }

    /// Finds what a principal and its credentials would share with this layer that only one may have.
    pub fn check(&self, principal: &Principal, credentials: &[(Credential, Provenance)]) -> Result<(), Conflict> {
        let name = principal.name.as_str();
        self.look(Kind::Name, name.to_ascii_lowercase().as_bytes(), |roster| roster.check_name(name, &principal.provenance).err())
            .map_or(Ok(()), Err)?;
        self.principals.get(self.slot(&principal.id)).check_id(&principal.id, &principal.provenance)?;
        credentials.iter().try_for_each(|(credential, provenance)| {
            let conflict = |roster: &Roster| roster.check_credential(credential, provenance).err();
            let found = match credential {
                Credential::Authority(_) => None,
                Credential::Pin(pin) => self.look(Kind::Pin, pin.fingerprint.as_bytes(), conflict),
                Credential::SpkiPin(pin) => self.look(Kind::SpkiPin, pin.as_bytes(), conflict),
            };
            found.map_or(Ok(()), Err)
        })
    }

    /// Returns its parts.
    pub(super) fn rosters(&self) -> impl Iterator<Item = &Arc<Roster>> {
        self.principals.iter().filter(|roster| !roster.is_empty())
    }

    /// Returns the parts that are not those of another layer.
    pub(super) fn changed<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a Arc<Roster>> {
        self.principals.changed(&before.principals).filter(|roster| !roster.is_empty())
    }

    /// Finds what a roster shares with this layer that only one may have; the layer was first.
    pub(super) fn check_all(&self, roster: &Roster) -> Result<(), Conflict> {
        if (roster.len() as usize) < self.len() {
            return roster.entries().try_for_each(|(principal, credentials)| self.check(&principal, &credentials));
        }
        self.rosters().try_for_each(|part| part.check_all(roster))
    }

    pub(super) fn find_pin_match(&self, fingerprint: &Fingerprint) -> Option<(Principal, Provenance)> {
        self.find(|roster| roster.find_pin(fingerprint), Kind::Pin, fingerprint.as_bytes())
    }

    pub(super) fn find_spki_pin(&self, pin: &SpkiPin) -> Option<(Principal, Provenance)> {
        self.find(|roster| roster.find_spki_pin(pin), Kind::SpkiPin, pin.as_bytes())
    }

    pub(super) fn find_kin_by_key(&self, pin: &SpkiPin) -> Option<(Principal, Provenance)> {
        self.find(|roster| roster.find_kin_by_key(pin), Kind::KinByKey, &prefix(pin.as_bytes()).to_be_bytes())
    }

    pub(super) fn find_renewable(&self, key: &SpkiPin) -> Option<(Principal, Provenance)> {
        self.find(|roster| roster.find_renewable(key), Kind::KinByKey, &prefix(key.as_bytes()).to_be_bytes())
    }

    pub(super) fn find_kin_by_subject(&self, subject: &[u8]) -> Option<(Principal, Provenance)> {
        self.find(|roster| roster.find_kin_by_subject(subject), Kind::KinBySubject, &name_hash(subject).to_be_bytes())
    }

    fn find(&self, find: impl Fn(&Roster) -> Option<(u32, Provenance)>, kind: Kind, bytes: &[u8]) -> Option<(Principal, Provenance)> {
        self.look(kind, bytes, |roster| find(roster).map(|(owner, written)| (roster.principal(owner), written)))
    }

    /// Asks the parts that may have something of this hash: nearly always one, or none.
    fn look<R>(&self, kind: Kind, bytes: &[u8], ask: impl Fn(&Roster) -> Option<R>) -> Option<R> {
        let hash = self.hash(kind, bytes);
        let entries = self.index.get(Shards::<Vec<u64>>::slot(hash));
        let first = entries.partition_point(|entry| *entry < hash);
        let candidates = entries[first..].iter().take_while(|entry| **entry & !SLOT_MASK == hash);
        candidates.map(|entry| self.principals.get((entry & SLOT_MASK) as usize)).find_map(|roster| ask(roster))
    }

    fn slot(&self, id: &PrincipalId) -> usize {
        Shards::<Roster>::slot(self.hasher.hash_one(id))
    }

    /// Hashes, and leaves room for a slot.
    fn hash(&self, kind: Kind, bytes: &[u8]) -> u64 {
        self.hasher.hash_one((kind, bytes)) & !SLOT_MASK
    }

    fn put(&mut self, slot: usize, roster: Roster) {
        let before = self.principals.get(slot);
        self.principals_len = self.principals_len - before.len() as usize + roster.len() as usize;
        self.credentials_len = self.credentials_len - before.credentials() + roster.credentials();
        self.principals.set(slot, roster);
    }

    /// Brings the index up to date where parts were replaced.
    fn reindex<'a>(&mut self, before: &Self, slots: impl Iterator<Item = &'a usize>) {
        let mut changes: BTreeMap<usize, (Vec<u64>, Vec<u64>)> = BTreeMap::new();
        for slot in slots {
            let (old, new) = (self.hashes(before.principals.get(*slot), *slot), self.hashes(self.principals.get(*slot), *slot));
            for gone in old.iter().filter(|entry| new.binary_search(entry).is_err()) {
                changes.entry(Shards::<Vec<u64>>::slot(*gone)).or_default().0.push(*gone);
            }
            for added in new.iter().filter(|entry| old.binary_search(entry).is_err()) {
                changes.entry(Shards::<Vec<u64>>::slot(*added)).or_default().1.push(*added);
            }
        }
        for (slot, (mut gone, added)) in changes {
            gone.sort_unstable();
            let kept = self.index.get(slot).iter().filter(|entry| gone.binary_search(entry).is_err()).copied();
            let mut entries: Vec<u64> = kept.chain(added).collect();
            entries.sort_unstable();
            entries.shrink_to_fit();
            self.index.set(slot, entries);
        }
    }

    /// Returns what a part is found by, each once, sorted.
    fn hashes(&self, roster: &Roster, slot: usize) -> Vec<u64> {
        let mut hashes = Vec::new();
        let mut add = |kind, bytes: &[u8]| hashes.push(self.hash(kind, bytes) | slot as u64);
        for (principal, credentials) in roster.entries() {
            add(Kind::Name, principal.name.as_str().to_ascii_lowercase().as_bytes());
            for (credential, _) in credentials {
                match credential {
                    Credential::Authority(_) => {}
                    Credential::Pin(Pin { fingerprint, kin }) => {
                        add(Kind::Pin, fingerprint.as_bytes());
                        if let Some([key, subject]) = kin {
                            add(Kind::KinByKey, &key.to_be_bytes());
                            add(Kind::KinBySubject, &subject.to_be_bytes());
                        }
                    }
                    Credential::SpkiPin(pin) => add(Kind::SpkiPin, pin.as_bytes()),
                }
            }
        }
        hashes.sort_unstable();
        hashes.dedup();
        hashes
    }
}

/// Builds a part anew.
fn rebuilt(roster: &Roster, removed: &[PrincipalId], added: &[Entry]) -> Result<Roster, Conflict> {
    let mut builder = RosterBuilder::default();
    for (principal, credentials) in roster.entries().filter(|(principal, _)| !removed.contains(&principal.id)) {
        builder.add(&principal, &credentials)?;
    }
    for (principal, credentials) in added {
        builder.add(principal, credentials)?;
    }
    Ok(builder.finish())
}

const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;
