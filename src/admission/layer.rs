//! The principals of a source that changes one at a time (the ledger's): a persistent value, in which adding, replacing
//! or removing a few among a million costs what those few cost. The source keeps the newest; each allowlist includes one.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use super::credential::{Credential, name_hash, prefix};
use super::principal::{Principal, PrincipalId, Provenance};
use super::roster::{Conflict, Roster, RosterBuilder};
use super::shards::{SLOT_BITS, SLOTS, Shards};
use crate::pki::{Fingerprint, SpkiPin};
use crate::threads::shared_out;

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
        if !layer.is_empty() {
            added.iter().try_for_each(|(principal, credentials)| layer.check(principal, credentials))?;
        }
        for entry in added {
            changes.entry(self.slot(&entry.0.id)).or_default().1.push(entry);
        }
        let changes: Vec<_> = changes.into_iter().collect();
        let parts = shared_out(&changes, MANY, |changes| {
            let part = |slot, removed: &[PrincipalId], added| self.part(slot, rebuilt(self.principals.get(slot), removed, added)?);
            changes.iter().map(|(slot, (removed, added))| part(*slot, removed, added)).collect::<Result<Vec<Part>, Conflict>>()
        });
        layer.replace(parts)?;
        Ok(layer)
    }

    /// Makes a layer of many at once: as `with`, but that `add` adds those of one part to it. A million entries, made and freed at once,
    /// would leave the heap in pieces, and the first change after the start to clear them away.
    pub fn load<T: Sync>(
        items: &[&T],
        id: impl Fn(&T) -> PrincipalId,
        add: impl Fn(&[&T], &mut RosterBuilder) -> Result<(), Conflict> + Sync,
    ) -> Result<Self, Conflict> {
        let mut layer = Self::default();
        let mut slots: Vec<(usize, Vec<&T>)> = (0..SLOTS).map(|slot| (slot, Vec::new())).collect();
        for item in items {
            slots[layer.slot(&id(item))].1.push(item);
        }
        let parts = shared_out(&slots, MANY, |slots| {
            let part = |(slot, items): &(usize, Vec<&T>)| {
                let mut builder = RosterBuilder::default();
                builder.reserve(items.len());
                add(items, &mut builder)?;
                layer.part(*slot, builder.finish())
            };
            slots.iter().filter(|(_, items)| !items.is_empty()).map(part).collect::<Result<Vec<Part>, Conflict>>()
        });
        layer.replace(parts)?;
        Ok(layer)
    }

    fn replace(&mut self, parts: Vec<Result<Vec<Part>, Conflict>>) -> Result<(), Conflict> {
        let (mut gone, mut new) = (Vec::new(), Vec::new());
        for part in parts {
            for part in part? {
                self.put(part.slot, part.roster);
                gone.extend(part.gone);
                new.extend(part.new);
            }
        }
        self.reindex(gone, new)
    }

    /// Says of a new part what it is found by, and of the one before by what no more.
    fn part(&self, slot: usize, roster: Roster) -> Result<Part, Conflict> {
        let before = self.principals.get(slot);
        let (old, now) = (self.hashes(before, slot), self.hashes(&roster, slot));
        let beside = |some: &[u64], others: &[u64]| some.iter().filter(|entry| others.binary_search(entry).is_err()).copied().collect();
        Ok(Part { slot, gone: beside(&old, &now), new: if old.is_empty() { now } else { beside(&now, &old) }, roster })
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

    /// Finds who of this layer shares something with a roster that only one may have.
    pub(super) fn who_meets(&self, roster: &Roster) -> Vec<Entry> {
        // The smaller asks the larger.
        if roster.len() as usize >= self.len() {
            let entries = self.rosters().flat_map(|part| part.entries());
            return entries.filter(|(principal, credentials)| roster.check(principal, credentials).is_err()).collect();
        }
        let mut met: BTreeSet<PrincipalId> = BTreeSet::new();
        for (principal, credentials) in roster.entries() {
            let named = [self.find_name(principal.name.as_str()), self.find_id(&principal.id)];
            let proven = credentials.iter().filter_map(|(credential, _)| match credential {
                Credential::Authority(_) => None,
                Credential::Pin(pin) => self.find_pin(&pin.fingerprint),
                Credential::SpkiPin(pin) => self.find_spki_pin(pin).map(|(principal, _)| principal),
            });
            met.extend(named.into_iter().flatten().chain(proven).map(|principal| principal.id));
        }
        met.iter().filter_map(|id| self.principals.get(self.slot(id)).entries().find(|(principal, _)| principal.id == *id)).collect()
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

    /// Hashes, and leaves room for a slot, and for whether many may have the same.
    fn hash(&self, kind: Kind, bytes: &[u8]) -> u64 {
        let hash = self.hasher.hash_one((kind, bytes)) & !(SLOT_MASK | COMMON);
        match kind {
            Kind::KinByKey | Kind::KinBySubject => hash | COMMON,
            Kind::Name | Kind::Pin | Kind::SpkiPin => hash,
        }
    }

    fn put(&mut self, slot: usize, roster: Roster) {
        let before = self.principals.get(slot);
        self.principals_len = self.principals_len - before.len() as usize + roster.len() as usize;
        self.credentials_len = self.credentials_len - before.credentials() + roster.credentials();
        self.principals.set(slot, roster);
    }

    /// Brings the index up to date where parts were replaced; finds what two of them share that only one may have, for each part knows
    /// its own alone.
    fn reindex(&mut self, mut gone: Vec<u64>, mut new: Vec<u64>) -> Result<(), Conflict> {
        gone.sort_unstable();
        new.sort_unstable();
        let slot = |entry: &u64| Shards::<Vec<u64>>::slot(*entry);
        let slots = |entries: &[u64]| entries.chunk_by(|a, b| slot(a) == slot(b)).map(|run| slot(&run[0])).collect::<BTreeSet<usize>>();
        for at in &slots(&gone) | &slots(&new) {
            let new = &new[new.partition_point(|entry| slot(entry) < at)..];
            let new = &new[..new.partition_point(|entry| slot(entry) == at)];
            let kept = self.index.get(at).iter().filter(|entry| gone.binary_search(entry).is_err());
            let mut entries: Vec<u64> = kept.chain(new).copied().collect();
            entries.sort_unstable();
            self.check_parts(&entries)?;
            self.index.set(at, entries);
        }
        Ok(())
    }

    /// Compares the parts in which the same hash stands.
    fn check_parts(&self, entries: &[u64]) -> Result<(), Conflict> {
        let same = entries.chunk_by(|a, b| a & !SLOT_MASK == b & !SLOT_MASK && a & COMMON == 0).filter(|run| run.len() > 1);
        for run in same {
            let parts: Vec<&Arc<Roster>> = run.iter().map(|entry| self.principals.get((entry & SLOT_MASK) as usize)).collect();
            for (at, part) in parts.iter().enumerate() {
                for other in &parts[at + 1..] {
                    let met = part.check_all(other);
                    // The entry that wrote it tells who was first.
                    met.map_err(|conflict| if conflict.first.line > conflict.second.line { conflict.reversed() } else { conflict })?;
                }
            }
        }
        Ok(())
    }

    /// Returns what a part is found by, each once, sorted.
    fn hashes(&self, roster: &Roster, slot: usize) -> Vec<u64> {
        let mut hashes = Vec::with_capacity(roster.len() as usize + roster.credentials());
        let mut add = |kind, bytes: &[u8]| hashes.push(self.hash(kind, bytes) | slot as u64);
        let mut lower = String::new();
        for owner in 0..roster.len() {
            lower.clear();
            lower.push_str(roster.name(owner));
            lower.make_ascii_lowercase();
            add(Kind::Name, lower.as_bytes());
        }
        roster.fingerprints().iter().for_each(|fingerprint| add(Kind::Pin, fingerprint.as_bytes()));
        roster.spki_pins().iter().for_each(|pin| add(Kind::SpkiPin, pin.as_bytes()));
        roster.keys().for_each(|key| add(Kind::KinByKey, &key.to_be_bytes()));
        roster.subjects().for_each(|subject| add(Kind::KinBySubject, &subject.to_be_bytes()));
        hashes.sort_unstable();
        hashes.dedup();
        hashes
    }
}

/// A part that takes the place of another.
struct Part {
    slot: usize,
    roster: Roster,
    /// What of the index goes, and what comes.
    gone: Vec<u64>,
    new: Vec<u64>,
}

/// Builds a part anew.
fn rebuilt(roster: &Roster, removed: &[PrincipalId], added: &[Entry]) -> Result<Roster, Conflict> {
    let mut builder = RosterBuilder::default();
    builder.reserve(roster.len() as usize + added.len());
    for (principal, credentials) in roster.entries().filter(|(principal, _)| !removed.contains(&principal.id)) {
        builder.add(&principal, &credentials)?;
    }
    for (principal, credentials) in added {
        builder.add(principal, credentials)?;
    }
    Ok(builder.finish())
}

/// From so many parts on, they are built beside one another.
const MANY: usize = 1024;
const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;
/// Set where many may have the same: kin, not what only one may have.
const COMMON: u64 = 1 << SLOT_BITS;
