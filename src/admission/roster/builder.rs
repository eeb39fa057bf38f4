//! Collects the principals of one source: checks what only one may have, then adds.

use std::collections::HashMap;
use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::super::principal::{Principal, PrincipalId, PrincipalName, Provenance, Terms};
use super::compare::conflict;
use super::{Claim, Conflict, Credential, Kin, Pin, Place, Roster, index, name_at};
use crate::threads::beside;

/// Collects the principals of one source, then compiles them.
#[derive(Debug, Default)]
pub struct RosterBuilder {
    roster: Roster,
    /// Every id in force, kept only once some principal has an id of its own.
    ids: Option<HashMap<PrincipalId, u32>>,
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
        if is_chosen(principal) {
            self.roster.ids.push((owner, principal.id));
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
        if self.ids.is_some() {
            self.check_id_of(PrincipalId::derived(name), provenance)?;
        }
        let owner = self.insert_pin(pin, provenance)?;
        self.push(name.as_str(), terms, provenance);
        if let Some(ids) = &mut self.ids {
            ids.insert(PrincipalId::derived(name), owner);
        }
        Ok(())
    }

    /// The same of a principal that the ledger wrote, whose id is its own. The name was checked before.
    pub fn add_chosen_pin(
        &mut self,
        (id, name): (PrincipalId, &str),
        terms: &Arc<Terms>,
        pin: Pin,
        provenance: &Provenance,
    ) -> Result<(), Conflict> {
        self.roster.check_name(name, provenance)?;
        self.chosen_ids();
        self.check_id_of(id, provenance)?;
        let owner = self.insert_pin(pin, provenance)?;
        self.push(name, terms, provenance);
        self.roster.ids.push((owner, id));
        self.chosen_ids().insert(id, owner);
        Ok(())
    }

    /// Adds many principals that are one pin each, all under the same terms and of one file: names on one core, pins on another. `name`
    /// writes the name of one, which was checked before. Only for a builder that has nobody yet; false: two of them share what only one
    /// may have, and nobody was added.
    pub fn add_pins<T: Sync>(
        &mut self,
        (terms, file): (&Arc<Terms>, &Arc<str>),
        all: &[T],
        pin: impl Fn(&T) -> (Pin, u32) + Sync,
        name: impl Fn(&T, &mut String) + Sync,
    ) -> bool {
        if !self.roster.is_empty() {
            return false;
        }
        let hasher = self.roster.name_hasher;
        let names = || {
            let (mut names, mut ends, mut table) = (String::new(), Vec::with_capacity(all.len()), HashTable::with_capacity(all.len()));
            names.reserve(all.len() * USUAL_NAME);
            for (at, one) in all.iter().enumerate() {
                let start = names.len();
                name(one, &mut names);
                ends.push(index(names.len()));
                let (owner, hash) = (index(at), hasher.hash(&names[start..]));
                let same = |other: &u32| name_at(&names, &ends, *other).eq_ignore_ascii_case(&names[start..]);
                match table.entry(hash, same, |other| hasher.hash(name_at(&names, &ends, *other))) {
                    Entry::Occupied(_) => return None,
                    Entry::Vacant(vacant) => vacant.insert(owner),
                };
            }
            Some((names, ends, table))
        };
        let mut pins = Self::default();
        let by_pin = || {
            pins.roster.pins.reserve(all.len());
            for (at, one) in all.iter().enumerate() {
                let (pin, line) = pin(one);
                let Ok(place) = pins.roster.pins.insert(pin.fingerprint, index(at), None) else { return None };
                pins.push_kin(pin, place);
                pins.roster.places.push(Place { file: 0, line });
            }
            Some(pins.roster)
        };
        let (Some((names, ends, by_name)), Some(roster)) = beside(names, by_pin) else { return false };
        let cors = if terms.cors_origins.is_empty() { Vec::new() } else { vec![Arc::clone(terms)] };
        self.roster = Roster {
            terms: vec![0; all.len()],
            all_terms: if all.is_empty() { Vec::new() } else { vec![Arc::clone(terms)] },
            files: vec![Arc::clone(file)],
            names,
            ends,
            cors: if all.is_empty() { Vec::new() } else { cors },
            by_name,
            name_hasher: hasher,
            ..roster
        };
        true
    }

    /// Makes room for so many more principals that are one pin each.
    pub fn reserve(&mut self, more: usize) {
        let Roster { names, ends, terms, places, by_name, name_hasher, pins, .. } = &mut self.roster;
        ends.reserve(more);
        terms.reserve(more);
        places.reserve(more);
        by_name.reserve(more, |owner| name_hasher.hash(name_at(names, ends, *owner)));
        pins.reserve(more);
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
        roster.ids.shrink_to_fit();
        roster.terms.shrink_to_fit();
        roster.places.shrink_to_fit();
        roster.pins.shrink_to_fit();
        roster.spki_pins.shrink_to_fit();
        self.roster
    }

    pub(in super::super) fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Adds the pin of a principal before that: one look tells whether it is there, and puts it there.
    fn insert_pin(&mut self, pin: Pin, provenance: &Provenance) -> Result<u32, Conflict> {
        let owner = self.roster.len();
        match self.roster.pins.insert(pin.fingerprint, owner, None) {
            Ok(at) => {
                self.push_kin(pin, at);
                Ok(owner)
            }
            Err(known) => {
                let first = self.roster.credential_provenance(&self.roster.pins, known);
                Err(conflict(Claim::Certificate, &pin.fingerprint, first, provenance))
            }
        }
    }

    fn check_id(&mut self, principal: &Principal) -> Result<(), Conflict> {
        // Derived ids are 60 bits of a hash of names that differ; only an id that somebody chose can meet another.
        if is_chosen(principal) {
            self.chosen_ids();
        }
        self.check_id_of(principal.id, &principal.provenance)
    }

    fn chosen_ids(&mut self) -> &mut HashMap<PrincipalId, u32> {
        let roster = &self.roster;
        self.ids.get_or_insert_with(|| (0..roster.len()).map(|owner| (roster.id(owner), owner)).collect())
    }

    fn check_id_of(&self, id: PrincipalId, provenance: &Provenance) -> Result<(), Conflict> {
        match self.ids.as_ref().and_then(|ids| ids.get(&id)) {
            None => Ok(()),
            Some(first) => Err(conflict(Claim::Id, &id, self.roster.provenance(*first), provenance)),
        }
    }

    fn push(&mut self, name: &str, terms: &Arc<Terms>, provenance: &Provenance) -> u32 {
        let place = self.place(provenance);
        let roster = &mut self.roster;
        let owner = index(roster.ends.len());
        roster.names.push_str(name);
        roster.ends.push(index(roster.names.len()));
        let recent = roster.all_terms.len().saturating_sub(RECENT);
        let known = roster.all_terms[recent..].iter().rposition(|known| Arc::ptr_eq(known, terms)).map(|at| recent + at);
        let terms = known.unwrap_or_else(|| {
            if !terms.cors_origins.is_empty() {
                roster.cors.push(Arc::clone(terms));
            }
            roster.all_terms.push(Arc::clone(terms));
            roster.all_terms.len() - 1
        });
        roster.terms.push(index(terms));
        roster.places.push(place);
        let Roster { names, ends, by_name, name_hasher, .. } = roster;
        by_name.insert_unique(name_hasher.hash(name), owner, |owner| name_hasher.hash(name_at(names, ends, *owner)));
        owner
    }

    fn push_credential(&mut self, owner: u32, credential: &Credential, provenance: &Provenance) {
        let place = self.place(provenance);
        let roster = &mut self.roster;
        let own = roster.places[owner as usize] == place;
        match credential {
            Credential::Authority(authority) => roster.authorities.push((Arc::clone(authority), owner, place)),
            Credential::Pin(pin) => {
                if let Ok(at) = roster.pins.insert(pin.fingerprint, owner, (!own).then_some(place)) {
                    self.push_kin(*pin, at);
                }
            }
            // The same one twice counts once.
            Credential::SpkiPin(pin) => drop(roster.spki_pins.insert(*pin, owner, (!own).then_some(place))),
        }
    }

    fn push_kin(&mut self, pin: Pin, at: u32) {
        if let Some([key, subject]) = pin.kin {
            self.roster.by_key.push(Kin::new(key, at));
            self.roster.by_subject.push(Kin::new(subject, at));
        }
    }

    fn place(&mut self, provenance: &Provenance) -> Place {
        let files = &mut self.roster.files;
        // Only the last few: a source is read file by file, and a name kept twice does no harm.
        let recent = files.len().saturating_sub(RECENT);
        let known = files[recent..].iter().position(|file| *file == provenance.file).map(|at| recent + at);
        let file = known.unwrap_or_else(|| {
            files.push(Arc::clone(&provenance.file));
            files.len() - 1
        });
        Place { file: index(file), line: provenance.line }
    }
}

/// Its id is not, or may not be, that of its name: those of the ledger are random, and not worth a hash each.
fn is_chosen(principal: &Principal) -> bool {
    principal.provenance.is_ledger() || principal.id != PrincipalId::derived(&principal.name)
}

const RECENT: usize = 4;
/// Room for most names.
const USUAL_NAME: usize = 24;
