//! What two principals, or two rosters, would share that only one may have.

use super::super::principal::{Principal, PrincipalId, Provenance};
use super::{Claim, Conflict, Credential, Roster, index};

impl Roster {
    /// Finds what a principal and its credentials would share with this roster.
    pub(in super::super) fn check(&self, principal: &Principal, credentials: &[(Credential, Provenance)]) -> Result<(), Conflict> {
        self.check_name(principal.name.as_str(), &principal.provenance)?;
        // Ids derived from different names differ; only one that somebody chose can meet another.
        if !self.ids.is_empty() || principal.id != PrincipalId::derived(&principal.name) {
            self.check_id(&principal.id, &principal.provenance)?;
        }
        credentials.iter().try_for_each(|(credential, provenance)| self.check_credential(credential, provenance))
    }

    /// Finds what two rosters share that only one may have; this one was first.
    pub(in super::super) fn check_all(&self, other: &Self) -> Result<(), Conflict> {
        // The smaller asks the larger.
        if other.len() > self.len() {
            return other.check_all(self).map_err(Conflict::reversed);
        }
        let chosen = !self.ids.is_empty() || !other.ids.is_empty();
        for owner in 0..other.len() {
            let provenance = other.provenance(owner);
            self.check_name(other.name(owner), &provenance)?;
            if chosen {
                self.check_id(&other.id(owner), &provenance)?;
            }
        }
        for (at, fingerprint) in other.pins.keys.iter().enumerate() {
            if let Some((_, first)) = self.find_pin(fingerprint) {
                return Err(conflict(Claim::Certificate, fingerprint, first, &other.credential_provenance(&other.pins, index(at))));
            }
        }
        for (at, pin) in other.spki_pins.keys.iter().enumerate() {
            if let Some((_, first)) = self.find_spki_pin(pin) {
                return Err(conflict(Claim::SpkiPin, pin, first, &other.credential_provenance(&other.spki_pins, index(at))));
            }
        }
        Ok(())
    }

    pub(in super::super) fn check_name(&self, name: &str, provenance: &Provenance) -> Result<(), Conflict> {
        match self.find_name(name) {
            None => Ok(()),
            Some(first) => Err(conflict(Claim::Name, &name, self.provenance(first), provenance)),
        }
    }

    pub(in super::super) fn check_id(&self, id: &PrincipalId, provenance: &Provenance) -> Result<(), Conflict> {
        match self.find_id(id) {
            None => Ok(()),
            Some(first) => Err(conflict(Claim::Id, id, self.provenance(first), provenance)),
        }
    }

    pub(in super::super) fn check_credential(&self, credential: &Credential, provenance: &Provenance) -> Result<(), Conflict> {
        match credential {
            // Two principals may share anchors: their bounds and priorities tell them apart.
            Credential::Authority(_) => Ok(()),
            Credential::Pin(pin) => match self.find_pin(&pin.fingerprint) {
                None => Ok(()),
                Some((_, first)) => Err(conflict(Claim::Certificate, &pin.fingerprint, first, provenance)),
            },
            Credential::SpkiPin(pin) => match self.find_spki_pin(pin) {
                None => Ok(()),
                Some((_, first)) => Err(conflict(Claim::SpkiPin, pin, first, provenance)),
            },
        }
    }
}

pub(super) fn conflict(claim: Claim, value: &impl ToString, first: Provenance, second: &Provenance) -> Conflict {
    Conflict { claim, value: value.to_string(), first, second: second.clone() }
}
