//! The principals of one source, compiled for lookup and shared by every allowlist that includes them. A
//! million pins are columns, not a million allocations; a `Principal` is put together when one is found.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use hashbrown::HashTable;

use super::authority::Authority;
use super::principal::{Principal, PrincipalId, PrincipalName, Provenance, Terms};
use crate::pki::{Certificate, Fingerprint, SpkiPin};

/// What proves a principal.
#[derive(Clone, Debug)]
pub enum Credential {
    Authority(Arc<Authority>),
    Pin(Pin),
    SpkiPin(SpkiPin),
}

/// One exact certificate. Where more than its fingerprint is known, a denial can say how a stranger relates to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    pub fingerprint: Fingerprint,
    kin: Option<[u64; 2]>,
}

/// One fingerprint, SPKI pin, name or id claimed twice by different principals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// `certificate`, `spki pin`, `name`, `id`.
    pub kind: &'static str,
    pub value: String,
    pub first: Provenance,
    pub second: Provenance,
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
    places: Vec<Place>,
    files: Vec<Arc<str>>,
    /// Ids that are not derived from the name.
    ids: HashMap<u32, PrincipalId>,
    display_names: HashMap<u32, Box<str>>,
    by_name: HashTable<u32>,
    pins: Column<Fingerprint>,
    spki_pins: Column<SpkiPin>,
    /// Relatives of pinned certificates: by key, and by subject. Sorted once compiled.
    by_key: Vec<Kin>,
    by_subject: Vec<Kin>,
    authorities: Vec<(Arc<Authority>, u32, Place)>,
}

/// Collects the principals of one source, then compiles them.
#[derive(Debug, Default)]
pub struct RosterBuilder {
    roster: Roster,
    /// Every id in force, kept only once some principal has an id of its own.
    ids: Option<HashMap<PrincipalId, u32>>,
}

/// A file and a line, in eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    file: u32,
    line: u32,
}

/// Keys that are hashes already, their owners, and a table of indices into both.
#[derive(Clone, Debug)]
struct Column<K> {
    keys: Vec<K>,
    owners: Vec<u32>,
    table: HashTable<u32>,
    /// Where a key was written, if not where its principal was.
    places: HashMap<u32, Place>,
}

/// Part of the hash of something that a pinned certificate has in common with others, and the pin. Twelve bytes.
#[derive(Clone, Copy, Debug)]
struct Kin {
    hash: [u32; 2],
    pin: u32,
}

impl Pin {
    /// Says why a certificate is not fit to be a pin. Its issuer, CA flag and an absent EKU do not matter.
    pub fn unsuitable(certificate: &Certificate, allow_any_eku: bool) -> Option<&'static str> {
        match certificate.extended_key_usage {
            Some(usage) if !usage.client_auth && !usage.any && !allow_any_eku => {
                Some("its extendedKeyUsage lists neither clientAuth nor anyExtendedKeyUsage (allow_any_eku = true lets it pass)")
            }
            _ => None,
        }
    }
}

impl From<Fingerprint> for Pin {
    fn from(fingerprint: Fingerprint) -> Self {
        Self { fingerprint, kin: None }
    }
}

impl From<&Certificate> for Pin {
    fn from(certificate: &Certificate) -> Self {
        let kin = [prefix(certificate.spki_pin.as_bytes()), name_hash(&certificate.subject.der)];
        Self { fingerprint: certificate.fingerprint, kin: Some(kin) }
    }
}

impl RosterBuilder {
    /// Adds a principal with its credentials. The same credential twice in one principal counts once.
    pub fn add(&mut self, principal: &Principal, credentials: &[(Credential, Provenance)]) -> Result<(), Conflict> {
        self.roster.check_name(principal.name.as_str(), &principal.provenance)?;
        self.check_id(principal)?;
        for (credential, provenance) in credentials {
            self.roster.check_credential(credential, provenance)?;
        }
        let owner = self.push(principal.name.as_str(), &principal.terms, &principal.provenance);
        if principal.id != PrincipalId::derived(&principal.name) {
            self.roster.ids.insert(owner, principal.id);
        }
        if let Some(ids) = &mut self.ids {
            ids.insert(principal.id, owner);
        }
        if let Some(display_name) = &principal.display_name {
            self.roster.display_names.insert(owner, display_name.clone());
        }
        for (credential, provenance) in credentials {
            self.push_credential(owner, credential, provenance);
        }
        Ok(())
    }

    /// Adds a principal that is one pin, as lists of a million have them: the same as `add`, without its allocations.
    pub fn add_pin(&mut self, name: &PrincipalName, terms: &Arc<Terms>, pin: Pin, provenance: &Provenance) -> Result<(), Conflict> {
        self.roster.check_name(name.as_str(), provenance)?;
        self.roster.check_credential(&Credential::Pin(pin), provenance)?;
        if self.ids.is_some() {
            self.check_id_of(PrincipalId::derived(name), provenance)?;
        }
        let owner = self.push(name.as_str(), terms, provenance);
        if let Some(ids) = &mut self.ids {
            ids.insert(PrincipalId::derived(name), owner);
        }
        self.push_credential(owner, &Credential::Pin(pin), provenance);
        Ok(())
    }

    /// Compiles.
    pub fn finish(mut self) -> Roster {
        let roster = &mut self.roster;
        for kin in [&mut roster.by_key, &mut roster.by_subject] {
            kin.sort_unstable_by_key(|kin| (kin.hash, kin.pin));
            kin.shrink_to_fit();
        }
        roster.names.shrink_to_fit();
        roster.ends.shrink_to_fit();
        roster.terms.shrink_to_fit();
        roster.places.shrink_to_fit();
        roster.pins.shrink_to_fit();
        roster.spki_pins.shrink_to_fit();
        self.roster
    }

    pub(super) fn roster(&self) -> &Roster {
        &self.roster
    }

    fn check_id(&mut self, principal: &Principal) -> Result<(), Conflict> {
        // Derived ids are 60 bits of a hash of names that differ; only an id that somebody chose can meet another.
        if self.ids.is_none() && principal.id != PrincipalId::derived(&principal.name) {
            self.ids = Some((0..self.roster.len()).map(|owner| (self.roster.id(owner), owner)).collect());
        }
        self.check_id_of(principal.id, &principal.provenance)
    }

    fn check_id_of(&self, id: PrincipalId, provenance: &Provenance) -> Result<(), Conflict> {
        match self.ids.as_ref().and_then(|ids| ids.get(&id)) {
            None => Ok(()),
            Some(first) => Err(conflict("id", &id, self.roster.provenance(*first), provenance)),
        }
    }

    fn push(&mut self, name: &str, terms: &Arc<Terms>, provenance: &Provenance) -> u32 {
        let place = self.place(provenance);
        let roster = &mut self.roster;
        let owner = index(roster.ends.len());
        roster.names.push_str(name);
        roster.ends.push(index(roster.names.len()));
        if roster.all_terms.last().is_none_or(|last| !Arc::ptr_eq(last, terms)) {
            roster.all_terms.push(Arc::clone(terms));
        }
        roster.terms.push(index(roster.all_terms.len() - 1));
        roster.places.push(place);
        let Roster { names, ends, by_name, .. } = roster;
        by_name.insert_unique(name_key(name), owner, |owner| name_key(name_at(names, ends, *owner)));
        owner
    }

    fn push_credential(&mut self, owner: u32, credential: &Credential, provenance: &Provenance) {
        let place = self.place(provenance);
        let roster = &mut self.roster;
        let own = roster.places[owner as usize] == place;
        match credential {
            Credential::Authority(authority) => roster.authorities.push((Arc::clone(authority), owner, place)),
            Credential::Pin(pin) => {
                let Some(at) = roster.pins.insert(pin.fingerprint, owner, (!own).then_some(place)) else { return };
                if let Some([key, subject]) = pin.kin {
                    roster.by_key.push(Kin::new(key, at));
                    roster.by_subject.push(Kin::new(subject, at));
                }
            }
            Credential::SpkiPin(pin) => {
                roster.spki_pins.insert(*pin, owner, (!own).then_some(place));
            }
        }
    }

    fn place(&mut self, provenance: &Provenance) -> Place {
        let files = &mut self.roster.files;
        // Only the last few: a source is read file by file, and a name kept twice does no harm.
        let recent = files.len().saturating_sub(4);
        let known = files[recent..].iter().position(|file| *file == provenance.file).map(|at| recent + at);
        let file = known.unwrap_or_else(|| {
            files.push(Arc::clone(&provenance.file));
            files.len() - 1
        });
        Place { file: index(file), line: provenance.line }
    }
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

    /// Puts a principal together.
    pub(super) fn principal(&self, owner: u32) -> Principal {
        Principal {
            id: self.id(owner),
            name: PrincipalName::known(self.name(owner)),
            display_name: self.display_names.get(&owner).cloned(),
            terms: Arc::clone(&self.all_terms[self.terms[owner as usize] as usize]),
            provenance: self.provenance(owner),
        }
    }

    pub(super) fn name(&self, owner: u32) -> &str {
        name_at(&self.names, &self.ends, owner)
    }

    pub(super) fn find_name(&self, name: &str) -> Option<u32> {
        self.by_name.find(name_key(name), |owner| self.name(*owner).eq_ignore_ascii_case(name)).copied()
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

    /// Finds a pinned certificate with this subject (DER of the Name).
    pub(super) fn find_kin_by_subject(&self, subject: &[u8]) -> Option<(u32, Provenance)> {
        self.find_kin(&self.by_subject, name_hash(subject))
    }

    pub(super) fn authorities(&self) -> impl Iterator<Item = (&Arc<Authority>, u32, Provenance)> {
        self.authorities.iter().map(|(authority, owner, place)| (authority, *owner, self.at(*place)))
    }

    pub(super) fn all_terms(&self) -> &[Arc<Terms>] {
        &self.all_terms
    }

    /// Returns every pinned fingerprint.
    pub fn fingerprints(&self) -> &[Fingerprint] {
        &self.pins.keys
    }

    /// Counts the pins that another roster does not have.
    pub fn lost(&self, after: &Self) -> usize {
        self.pins.keys.iter().filter(|fingerprint| after.pins.find(fingerprint).is_none()).count()
    }

    /// The same principals, all of them under these terms: for a source whose every principal has the same.
    pub fn under(&self, terms: &Arc<Terms>) -> Self {
        let all_terms = if self.is_empty() { Vec::new() } else { vec![Arc::clone(terms)] };
        Self { terms: vec![0; self.terms.len()], all_terms, ..self.clone() }
    }

    /// Finds what a name and credentials would share with this roster.
    pub(super) fn check(&self, principal: &Principal, credentials: &[(Credential, Provenance)]) -> Result<(), Conflict> {
        self.check_name(principal.name.as_str(), &principal.provenance)?;
        credentials.iter().try_for_each(|(credential, provenance)| self.check_credential(credential, provenance))
    }

    /// Finds what two rosters share that only one may have.
    pub(super) fn check_all(&self, other: &Self) -> Result<(), Conflict> {
        // The smaller asks the larger.
        if other.len() > self.len() {
            return other.check_all(self).map_err(|conflict| Conflict { first: conflict.second, second: conflict.first, ..conflict });
        }
        for owner in 0..other.len() {
            self.check_name(other.name(owner), &other.provenance(owner))?;
        }
        for (at, fingerprint) in other.pins.keys.iter().enumerate() {
            if let Some((_, first)) = self.find_pin(fingerprint) {
                return Err(conflict("certificate", fingerprint, first, &other.credential_provenance(&other.pins, index(at))));
            }
        }
        for (at, pin) in other.spki_pins.keys.iter().enumerate() {
            if let Some((_, first)) = self.find_spki_pin(pin) {
                return Err(conflict("spki pin", pin, first, &other.credential_provenance(&other.spki_pins, index(at))));
            }
        }
        self.check_ids(other)
    }

    /// Finds an id that somebody chose, and that the other roster has too.
    fn check_ids(&self, other: &Self) -> Result<(), Conflict> {
        for (one, two) in [(self, other), (other, self)] {
            if one.ids.is_empty() {
                continue;
            }
            let chosen: HashMap<PrincipalId, u32> = one.ids.iter().map(|(owner, id)| (*id, *owner)).collect();
            for owner in 0..two.len() {
                if let Some(first) = chosen.get(&two.id(owner)) {
                    return Err(conflict("id", &two.id(owner), one.provenance(*first), &two.provenance(owner)));
                }
            }
        }
        Ok(())
    }

    fn check_name(&self, name: &str, provenance: &Provenance) -> Result<(), Conflict> {
        match self.find_name(name) {
            None => Ok(()),
            Some(first) => Err(conflict("name", &name, self.provenance(first), provenance)),
        }
    }

    fn check_credential(&self, credential: &Credential, provenance: &Provenance) -> Result<(), Conflict> {
        match credential {
            // Two principals may share anchors: their bounds and priorities tell them apart.
            Credential::Authority(_) => Ok(()),
            Credential::Pin(pin) => match self.find_pin(&pin.fingerprint) {
                None => Ok(()),
                Some((_, first)) => Err(conflict("certificate", &pin.fingerprint, first, provenance)),
            },
            Credential::SpkiPin(pin) => match self.find_spki_pin(pin) {
                None => Ok(()),
                Some((_, first)) => Err(conflict("spki pin", pin, first, provenance)),
            },
        }
    }

    fn id(&self, owner: u32) -> PrincipalId {
        self.ids.get(&owner).copied().unwrap_or_else(|| PrincipalId::derived_from(self.name(owner)))
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

    fn find_kin(&self, kin: &[Kin], hash: u64) -> Option<(u32, Provenance)> {
        let hash = Kin::new(hash, 0).hash;
        let found = kin.get(kin.partition_point(|kin| kin.hash < hash)).filter(|kin| kin.hash == hash)?;
        Some((self.pins.owners[found.pin as usize], self.credential_provenance(&self.pins, found.pin)))
    }
}

impl<K: Digest> Column<K> {
    /// Adds a key; `None` where it stands there already.
    fn insert(&mut self, key: K, owner: u32, place: Option<Place>) -> Option<u32> {
        if self.find(&key).is_some() {
            return None;
        }
        let at = index(self.keys.len());
        self.keys.push(key);
        self.owners.push(owner);
        let keys = &self.keys;
        self.table.insert_unique(key.prefix(), at, |at| keys[*at as usize].prefix());
        if let Some(place) = place {
            self.places.insert(at, place);
        }
        Some(at)
    }

    fn find(&self, key: &K) -> Option<u32> {
        self.table.find(key.prefix(), |at| self.keys[*at as usize] == *key).copied()
    }

    fn shrink_to_fit(&mut self) {
        self.keys.shrink_to_fit();
        self.owners.shrink_to_fit();
        self.places.shrink_to_fit();
    }
}

impl<K> Default for Column<K> {
    fn default() -> Self {
        Self { keys: Vec::new(), owners: Vec::new(), table: HashTable::new(), places: HashMap::new() }
    }
}

/// A SHA-256, which needs no further hashing.
trait Digest: Copy + PartialEq {
    fn prefix(&self) -> u64;
}

impl Digest for Fingerprint {
    fn prefix(&self) -> u64 {
        prefix(self.as_bytes())
    }
}

impl Digest for SpkiPin {
    fn prefix(&self) -> u64 {
        prefix(self.as_bytes())
    }
}

impl Kin {
    fn new(hash: u64, pin: u32) -> Self {
        Self { hash: [(hash >> 32) as u32, hash as u32], pin }
    }
}

fn conflict(kind: &'static str, value: &impl ToString, first: Provenance, second: &Provenance) -> Conflict {
    Conflict { kind, value: value.to_string(), first, second: second.clone() }
}

fn prefix(digest: &[u8; 32]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *digest;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

fn name_at<'a>(names: &'a str, ends: &[u32], owner: u32) -> &'a str {
    let start = owner.checked_sub(1).map_or(0, |before| ends[before as usize]);
    &names[start as usize..ends[owner as usize] as usize]
}

fn name_key(name: &str) -> u64 {
    // Names come from operators, so a fixed key is no danger; and rules stay a pure function of their sources.
    let mut hasher = BuildHasherDefault::<DefaultHasher>::default().build_hasher();
    name.bytes().for_each(|byte| std::hash::Hasher::write_u8(&mut hasher, byte.to_ascii_lowercase()));
    std::hash::Hasher::finish(&hasher)
}

fn name_hash(der: &[u8]) -> u64 {
    prefix(Fingerprint::of(der).as_bytes())
}

/// Narrows an index or an offset.
fn index(at: usize) -> u32 {
    // INVARIANT: sources are capped far below 4 GiB, and so is everything counted here.
    u32::try_from(at).expect("a source is smaller than 4 GiB")
}
