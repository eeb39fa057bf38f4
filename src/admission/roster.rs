//! The principals of one source, compiled for lookup and shared by every allowlist that includes them. A
//! million pins are columns, not a million allocations; a `Principal` is put together when one is found.

mod builder;
mod column;
mod compare;

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, OnceLock};

use hashbrown::HashTable;

use super::authority::Authority;
use super::credential::{Credential, Pin, name_hash, prefix};
use super::permission::Clearance;
use super::principal::{Principal, PrincipalId, PrincipalName, Provenance, Terms};
use crate::pki::{Fingerprint, SpkiPin};

pub use builder::RosterBuilder;
use column::Column;

/// One fingerprint, SPKI pin, name or id claimed twice by different principals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub claim: Claim,
    pub value: String,
    pub first: Provenance,
    pub second: Provenance,
}

/// What only one principal may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    Certificate,
    Id,
    Name,
    SpkiPin,
}

/// The principals of one source, compiled.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    names: String,
    /// Where each principal's name ends in `names`.
    ends: Vec<u32>,
    /// Each principal's terms, as an index into `all_terms`.
    terms: Vec<u32>,
    all_terms: Vec<Arc<Terms>>,
    /// The terms that name origins.
    cors: Vec<Arc<Terms>>,
    places: Vec<Place>,
    files: Vec<Arc<str>>,
    /// Ids that are not derived from the name, by owner; ascending.
    ids: Vec<(u32, PrincipalId)>,
    /// All ids with their owners, sorted; made only where somebody asks a long roster.
    all_ids: OnceLock<Vec<(PrincipalId, u32)>>,
    display_names: HashMap<u32, Box<str>>,
    by_name: HashTable<u32>,
    name_hasher: NameHasher,
    pins: Column<Fingerprint>,
    spki_pins: Column<SpkiPin>,
    /// Relatives of pinned certificates: by key, and by subject. Sorted once compiled.
    by_key: Vec<Kin>,
    by_subject: Vec<Kin>,
    authorities: Vec<(Arc<Authority>, u32, Place)>,
}

/// A file and a line, in eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    file: u32,
    line: u32,
}

/// Part of the hash of something that a pinned certificate has in common with others, and the pin. Twelve bytes.
#[derive(Clone, Copy, Debug)]
struct Kin {
    hash: [u32; 2],
    pin: u32,
}

impl Roster {
    /// Returns how many principals there are.
    pub fn len(&self) -> u32 {
        index(self.ends.len())
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Returns how many credentials there are.
    pub fn credentials(&self) -> usize {
        self.pins.keys.len() + self.spki_pins.keys.len() + self.authorities.len()
    }

    /// Returns how many bytes this takes beyond names, ids and terms that somebody chose for single principals.
    #[cfg(test)]
    pub(super) fn resident(&self) -> usize {
        fn of<T>(column: &Vec<T>) -> usize {
            column.capacity() * size_of::<T>()
        }
        // A table keeps a byte of tag for each place.
        let table = |table: &HashTable<u32>| table.capacity() * 8 / 7 * 5;
        let columns = of(&self.ends) + of(&self.terms) + of(&self.places) + of(&self.by_key) + of(&self.by_subject);
        let pins = of(&self.pins.keys) + of(&self.pins.owners) + table(&self.pins.table);
        columns + pins + table(&self.by_name) + self.pins.places.capacity() * 16
    }

    /// Puts a principal together.
    pub(super) fn principal(&self, owner: u32) -> Principal {
        Principal {
            id: self.id(owner),
            name: PrincipalName::known(self.name(owner)),
            display_name: self.display_names.get(&owner).cloned(),
            terms: Arc::clone(self.terms(owner)),
            provenance: self.provenance(owner),
        }
    }

    pub(super) fn terms(&self, owner: u32) -> &Arc<Terms> {
        &self.all_terms[self.terms[owner as usize] as usize]
    }

    pub(super) fn name(&self, owner: u32) -> &str {
        name_at(&self.names, &self.ends, owner)
    }

    pub(super) fn find_name(&self, name: &str) -> Option<u32> {
        self.by_name.find(self.name_hasher.hash(name), |owner| self.name(*owner).eq_ignore_ascii_case(name)).copied()
    }

    /// Finds the owner of a pin, and where the pin was written.
    pub(super) fn find_pin(&self, fingerprint: &Fingerprint) -> Option<(u32, Provenance)> {
        self.pins.find(fingerprint).map(|at| (self.pins.owners[at as usize], self.credential_provenance(&self.pins, at)))
    }

    pub(super) fn find_spki_pin(&self, pin: &SpkiPin) -> Option<(u32, Provenance)> {
        self.spki_pins.find(pin).map(|at| (self.spki_pins.owners[at as usize], self.credential_provenance(&self.spki_pins, at)))
    }

    /// Finds a pinned certificate with this key.
    pub(super) fn find_kin_by_key(&self, pin: &SpkiPin) -> Option<(u32, Provenance)> {
        self.find_kin(&self.by_key, prefix(pin.as_bytes()))
    }

    /// Finds a pinned certificate with this key that may be renewed: others may have the key too.
    pub(super) fn find_renewable(&self, key: &SpkiPin) -> Option<(u32, Provenance)> {
        let mut kin = kin_of(&self.by_key, prefix(key.as_bytes())).iter().map(|kin| (self.pins.owners[kin.pin as usize], kin.pin));
        let renewable = |owner: u32| self.terms(owner).renewal.of_key(*key).next().is_some();
        let (owner, pin) = kin.find(|(owner, _)| renewable(*owner))?;
        Some((owner, self.credential_provenance(&self.pins, pin)))
    }

    /// Finds a pinned certificate with this subject (DER of the Name).
    pub(super) fn find_kin_by_subject(&self, subject: &[u8]) -> Option<(u32, Provenance)> {
        self.find_kin(&self.by_subject, name_hash(subject))
    }

    pub(super) fn authorities(&self) -> impl Iterator<Item = (&Arc<Authority>, u32, Provenance)> {
        self.authorities.iter().map(|(authority, owner, place)| (authority, *owner, self.at(*place)))
    }

    /// Somebody has this clearance.
    pub(super) fn has_clearance(&self, clearance: Clearance) -> bool {
        self.all_terms.iter().any(|terms| terms.clearance == clearance)
    }

    /// Returns the terms that name origins.
    pub(super) fn cors(&self) -> &[Arc<Terms>] {
        &self.cors
    }

    /// Finds the owner of an id.
    pub(super) fn find_id(&self, id: &PrincipalId) -> Option<u32> {
        // Names are short, ids are hashes of them: a million are hashed once, and a few each time.
        if self.len() > FEW {
            let all = self.all_ids.get_or_init(|| self.sorted_ids());
            return all.binary_search_by_key(id, |(id, _)| *id).ok().map(|at| all[at].1);
        }
        (0..self.len()).find(|owner| self.id(*owner) == *id)
    }

    /// Puts every principal together with all that proves it, one after the other.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Principal, Vec<(Credential, Provenance)>)> {
        let mut kin: HashMap<u32, [u64; 2]> = HashMap::with_capacity(self.by_key.len());
        for (place, column) in [&self.by_key, &self.by_subject].into_iter().enumerate() {
            for found in column {
                kin.entry(found.pin).or_default()[place] = found.hash();
            }
        }
        let mut credentials: Vec<Vec<(Credential, Provenance)>> = vec![Vec::new(); self.ends.len()];
        for (at, (fingerprint, owner)) in self.pins.keys.iter().zip(&self.pins.owners).enumerate() {
            let pin = Pin { fingerprint: *fingerprint, kin: kin.get(&index(at)).copied() };
            credentials[*owner as usize].push((Credential::Pin(pin), self.credential_provenance(&self.pins, index(at))));
        }
        for (at, (pin, owner)) in self.spki_pins.keys.iter().zip(&self.spki_pins.owners).enumerate() {
            let written = self.credential_provenance(&self.spki_pins, index(at));
            credentials[*owner as usize].push((Credential::SpkiPin(*pin), written));
        }
        for (authority, owner, written) in self.authorities() {
            credentials[owner as usize].push((Credential::Authority(Arc::clone(authority)), written));
        }
        (0..self.len()).map(|owner| self.principal(owner)).zip(credentials)
    }

    /// Puts those together that have one of these clearances, with all that proves them; of a pin the fingerprint alone. Nobody else is
    /// looked at: there may be a million.
    pub(super) fn ranked(&self, ranks: &[Clearance]) -> Vec<(Principal, Vec<(Credential, Provenance)>)> {
        let ranked: Vec<bool> = self.all_terms.iter().map(|terms| ranks.contains(&terms.clearance)).collect();
        let is_ranked = |owner: u32| ranked[self.terms[owner as usize] as usize];
        let owners: Vec<u32> = (0..self.len()).filter(|owner| is_ranked(*owner)).collect();
        let mut found: Vec<(Principal, Vec<(Credential, Provenance)>)> =
            owners.iter().map(|owner| (self.principal(*owner), Vec::new())).collect();
        let mut add = |owner: u32, credential: Credential, written: Provenance| {
            if let Ok(at) = owners.binary_search(&owner) {
                found[at].1.push((credential, written));
            }
        };
        for (at, (fingerprint, owner)) in
            self.pins.keys.iter().zip(&self.pins.owners).enumerate().filter(|(_, (_, owner))| is_ranked(**owner))
        {
            add(*owner, Credential::Pin(Pin::from(*fingerprint)), self.credential_provenance(&self.pins, index(at)));
        }
        for (at, (pin, owner)) in
            self.spki_pins.keys.iter().zip(&self.spki_pins.owners).enumerate().filter(|(_, (_, owner))| is_ranked(**owner))
        {
            add(*owner, Credential::SpkiPin(*pin), self.credential_provenance(&self.spki_pins, index(at)));
        }
        for (authority, owner, written) in self.authorities() {
            add(owner, Credential::Authority(Arc::clone(authority)), written);
        }
        found
    }

    /// The same principals, but those of some files as another roster has them.
    pub fn with_files_of(&self, before: &Self, files: &[Arc<str>]) -> Self {
        let is_of = |(principal, _): &(Principal, _)| files.contains(&principal.provenance.file);
        let mut builder = RosterBuilder::default();
        for (principal, credentials) in self.entries().filter(|entry| !is_of(entry)).chain(before.entries().filter(is_of)) {
            // What has become another file's meanwhile is that one's.
            let _ = builder.add(&principal, &credentials);
        }
        builder.finish()
    }

    /// Returns every pinned fingerprint.
    pub fn fingerprints(&self) -> &[Fingerprint] {
        &self.pins.keys
    }

    /// Returns every SPKI pin.
    pub(super) fn spki_pins(&self) -> &[SpkiPin] {
        &self.spki_pins.keys
    }

    /// Goes through what the keys of pinned certificates hash to.
    pub(super) fn keys(&self) -> impl Iterator<Item = u64> {
        self.by_key.iter().map(Kin::hash)
    }

    /// Goes through what the subjects of pinned certificates hash to.
    pub(super) fn subjects(&self) -> impl Iterator<Item = u64> {
        self.by_subject.iter().map(Kin::hash)
    }

    /// Counts the pins that another roster does not have.
    pub fn lost(&self, after: &Self) -> usize {
        self.pins.keys.iter().filter(|fingerprint| after.pins.find(fingerprint).is_none()).count()
    }

    /// The same principals, all of them under these terms: for a source whose every principal has the same.
    pub fn under(&self, terms: &Arc<Terms>) -> Self {
        let all_terms = if self.is_empty() { Vec::new() } else { vec![Arc::clone(terms)] };
        let cors = all_terms.iter().filter(|terms| !terms.cors_origins.is_empty()).cloned().collect();
        Self { terms: vec![0; self.terms.len()], all_terms, cors, ..self.clone() }
    }

    fn id(&self, owner: u32) -> PrincipalId {
        let chosen = self.ids.binary_search_by_key(&owner, |(owner, _)| *owner);
        chosen.map_or_else(|_| PrincipalId::derived_from(self.name(owner)), |at| self.ids[at].1)
    }

    fn provenance(&self, owner: u32) -> Provenance {
        self.at(self.places[owner as usize])
    }

    fn credential_provenance<K>(&self, column: &Column<K>, at: u32) -> Provenance {
        let own = || self.places[column.owners[at as usize] as usize];
        self.at(column.places.get(&at).copied().unwrap_or_else(own))
    }

    fn at(&self, place: Place) -> Provenance {
        Provenance { file: Arc::clone(&self.files[place.file as usize]), line: place.line }
    }

    fn sorted_ids(&self) -> Vec<(PrincipalId, u32)> {
        let mut ids: Vec<(PrincipalId, u32)> = (0..self.len()).map(|owner| (self.id(owner), owner)).collect();
        ids.sort_unstable();
        ids
    }

    fn find_kin(&self, kin: &[Kin], hash: u64) -> Option<(u32, Provenance)> {
        let found = kin_of(kin, hash).first()?;
        Some((self.pins.owners[found.pin as usize], self.credential_provenance(&self.pins, found.pin)))
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "certificate",
            Self::Id => "id",
            Self::Name => "name",
            Self::SpkiPin => "SPKI pin",
        })
    }
}

impl Conflict {
    /// The same, with the other one first.
    pub fn reversed(self) -> Self {
        Self { first: self.second, second: self.first, ..self }
    }
}

impl Kin {
    fn new(hash: u64, pin: u32) -> Self {
        Self { hash: [(hash >> 32) as u32, hash as u32], pin }
    }

    fn hash(&self) -> u64 {
        u64::from(self.hash[0]) << 32 | u64::from(self.hash[1])
    }
}

/// Returns the relatives of one hash.
fn kin_of(kin: &[Kin], hash: u64) -> &[Kin] {
    let hash = Kin::new(hash, 0).hash;
    let from = &kin[kin.partition_point(|kin| kin.hash < hash)..];
    &from[..from.partition_point(|kin| kin.hash == hash)]
}

fn name_at<'a>(names: &'a str, ends: &[u32], owner: u32) -> &'a str {
    let start = owner.checked_sub(1).map_or(0, |before| ends[before as usize]);
    &names[start as usize..ends[owner as usize] as usize]
}

/// Hashes names, whatever their case. Keyed at random: a list may hold names that somebody made up to collide.
#[derive(Clone, Copy, Debug)]
struct NameHasher {
    start: u64,
    factor: u64,
}

impl NameHasher {
    /// A folded multiplication a word: a million names are hashed several times while a list is loaded.
    fn hash(self, name: &str) -> u64 {
        let fold = |hash: u64, factor: u64| {
            let product = u128::from(hash) * u128::from(factor);
            product as u64 ^ (product >> 64) as u64
        };
        let mut hash = self.start ^ name.len() as u64;
        for chunk in name.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            word.make_ascii_lowercase();
            hash = fold(hash ^ u64::from_le_bytes(word), self.factor);
        }
        // The table takes its places from the low bits and its tags from the high ones.
        fold(hash ^ self.start.rotate_left(32), self.factor)
    }
}

impl Default for NameHasher {
    fn default() -> Self {
        let random = RandomState::new();
        // Odd, and with high bits: a product loses nothing of the word.
        Self { start: random.hash_one(0), factor: random.hash_one(1) | 1 << 63 | 1 }
    }
}

/// Narrows an index or an offset.
fn index(at: usize) -> u32 {
    // INVARIANT: sources are capped far below 4 GiB, and so is everything counted here.
    u32::try_from(at).expect("a source is smaller than 4 GiB")
}

/// So many ids are looked through.
const FEW: u32 = 512;
