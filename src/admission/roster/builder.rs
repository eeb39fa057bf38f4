//! Collects the principals of one source: checks what only one may have, then adds.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::principal::{Principal, PrincipalId, PrincipalName, Provenance, Terms};
use super::compare::conflict;
use super::{Claim, Conflict, Credential, Kin, Pin, Place, Roster, index, name_at};

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
        if principal.id != PrincipalId::derived(&principal.name) {
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
        // The pin before its owner: one look tells whether it is there, and puts it there.
        let owner = self.roster.len();
        match self.roster.pins.insert(pin.fingerprint, owner, None) {
            Ok(at) => self.push_kin(pin, at),
            Err(known) => {
                let first = self.roster.credential_provenance(&self.roster.pins, known);
                return Err(conflict(Claim::Certificate, &pin.fingerprint, first, provenance));
            }
        }
        self.push(name.as_str(), terms, provenance);
        if let Some(ids) = &mut self.ids {
            ids.insert(PrincipalId::derived(name), owner);
        }
        Ok(())
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

const RECENT: usize = 4;
