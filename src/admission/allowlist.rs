//! The allowlist: all principals in force, as rosters that sources share with the allowlist before, and the
//! trust anchors of all authorities together.

use std::collections::HashMap;
use std::sync::Arc;

use super::credential::{Credential, Pin};
use super::permission::Clearance;
use super::principal::{Principal, PrincipalId, PrincipalName, Provenance, Terms};
use super::roster::{Conflict, Roster, RosterBuilder};
use super::scope::RouteScope;
use super::trust::Trust;
use crate::pki::{Certificate, Fingerprint, SpkiPin};

/// All principals in force. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Allowlist {
    rosters: Arc<[Arc<Roster>]>,
    admins: Arc<HashMap<Fingerprint, Arc<Principal>>>,
    pub(super) trust: Arc<Trust>,
    /// The terms that name origins, each once.
    cors: Arc<[Arc<Terms>]>,
}

/// Collects principals, then compiles them; refuses what would be ambiguous.
#[derive(Debug, Default)]
pub struct AllowlistBuilder {
    own: RosterBuilder,
    included: Vec<Arc<Roster>>,
    admins: HashMap<Fingerprint, Arc<Principal>>,
    /// Rosters that stood side by side before, and so need no comparing.
    before: Vec<Arc<Roster>>,
}

/// A principal whose credential was found, and where that credential was written.
pub(super) struct Match {
    pub(super) principal: Arc<Principal>,
    pub(super) written: Provenance,
}

impl AllowlistBuilder {
    /// Starts from nothing, knowing the allowlist in force: what it shares with the new one was compared already.
    pub fn after(allowlist: &Allowlist) -> Self {
        Self { before: allowlist.rosters.to_vec(), ..Self::default() }
    }

    /// Adds a principal with its credentials. The same credential twice in one principal counts once. A conflict leaves
    /// the builder as it was.
    pub fn add(&mut self, principal: Principal, credentials: Vec<(Credential, Provenance)>) -> Result<(), Conflict> {
        self.included.iter().try_for_each(|roster| roster.check(&principal, &credentials))?;
        self.own.add(&principal, &credentials)
    }

    /// Adds a principal that is one pin, as lists of a million have them.
    pub fn add_pin(&mut self, name: &PrincipalName, terms: &Arc<Terms>, pin: Pin, provenance: &Provenance) -> Result<(), Conflict> {
        if !self.included.is_empty() {
            let id = PrincipalId::derived(name);
            let principal =
                Principal { id, name: name.clone(), display_name: None, terms: Arc::clone(terms), provenance: provenance.clone() };
            self.included.iter().try_for_each(|roster| roster.check(&principal, &[(Credential::Pin(pin), provenance.clone())]))?;
        }
        self.own.add_pin(name, terms, pin, provenance)
    }

    /// Includes the principals of one source, compiled before: what makes a change beside a million pins cheap.
    /// A conflict leaves the builder as it was.
    pub fn include(&mut self, roster: Arc<Roster>) -> Result<(), Conflict> {
        self.own.roster().check_all(&roster)?;
        let stood = |roster: &Arc<Roster>| self.before.iter().any(|before| Arc::ptr_eq(before, roster));
        for other in &self.included {
            if !(stood(other) && stood(&roster)) {
                other.check_all(&roster)?;
            }
        }
        self.included.push(roster);
        Ok(())
    }

    /// Adds the fingerprints of well-known admins.
    pub fn well_known_admins(&mut self, fingerprints: &[Fingerprint]) {
        let terms = Arc::new(Terms { clearance: Clearance::Admin, ..Terms::default() });
        for fingerprint in fingerprints {
            let name = PrincipalName::known(&format!("well-known-admin/{}", &fingerprint.to_string()[..16]));
            let id = PrincipalId::derived(&name);
            let provenance = Provenance { file: "[bootstrap] admin_fingerprints".into(), line: 0 };
            let principal = Principal { id, name, display_name: None, terms: Arc::clone(&terms), provenance };
            self.admins.insert(*fingerprint, Arc::new(principal));
        }
    }

    /// Compiles. Every intermediate configured for any authority is available to every path.
    pub fn finish(self) -> Allowlist {
        let mut rosters = self.included;
        let own = self.own.finish();
        if !own.is_empty() {
            rosters.push(Arc::new(own));
        }
        let mut cors: Vec<Arc<Terms>> = Vec::new();
        for terms in rosters.iter().flat_map(|roster| roster.all_terms()).filter(|terms| !terms.cors_origins.is_empty()) {
            cors.push(Arc::clone(terms));
        }
        Allowlist { trust: Arc::new(Trust::compile(&rosters)), rosters: rosters.into(), admins: Arc::new(self.admins), cors: cors.into() }
    }
}

impl Allowlist {
    /// Returns how many principals there are.
    pub fn len(&self) -> usize {
        self.rosters.iter().map(|roster| roster.len() as usize).sum::<usize>() + self.admins.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many credentials there are.
    pub fn credentials(&self) -> usize {
        self.rosters.iter().map(|roster| roster.credentials()).sum::<usize>() + self.admins.len()
    }

    /// Puts every principal together, one after the other.
    pub fn principals(&self) -> impl Iterator<Item = Principal> {
        self.rosters.iter().flat_map(|roster| (0..roster.len()).map(|owner| roster.principal(owner)))
    }

    /// Returns every pinned fingerprint.
    pub fn fingerprints(&self) -> impl Iterator<Item = &Fingerprint> {
        self.rosters.iter().flat_map(|roster| roster.fingerprints())
    }

    /// Finds a principal by its name, in any case.
    pub fn find(&self, name: &str) -> Option<Principal> {
        self.rosters.iter().find_map(|roster| roster.find_name(name).map(|owner| roster.principal(owner)))
    }

    /// Returns the certificates of all authorities, each once.
    pub fn anchors(&self) -> impl Iterator<Item = &Arc<Certificate>> {
        self.trust.certificates()
    }

    /// Returns the subjects of all trust anchors, DER, each once: the names that `send_ca_names` sends.
    pub fn anchor_subjects(&self) -> Vec<Vec<u8>> {
        let mut subjects: Vec<Vec<u8>> = Vec::new();
        for anchor in self.anchors() {
            if !subjects.iter().any(|subject| **subject == *anchor.subject.der) {
                subjects.push(anchor.subject.der.to_vec());
            }
        }
        subjects
    }

    /// Tells whether an origin is listed by anybody who can reach a route: what a preflight is answered from.
    pub fn preflight_allows(&self, route: &RouteScope, origin: &str) -> bool {
        let listed = |terms: &Terms| terms.cors_origins.iter().any(|pattern| pattern.matches(origin));
        self.cors.iter().any(|terms| listed(terms) && terms.may_reach(route))
    }

    /// Tells whether exactly this certificate is listed: as a pin, or as a well-known admin's.
    pub fn pins(&self, fingerprint: &Fingerprint) -> bool {
        self.find_admin(fingerprint).is_some() || self.find_pin(fingerprint).is_some()
    }

    pub(super) fn find_admin(&self, fingerprint: &Fingerprint) -> Option<&Arc<Principal>> {
        self.admins.get(fingerprint)
    }

    pub(super) fn find_pin(&self, fingerprint: &Fingerprint) -> Option<Match> {
        self.find_in_rosters(|roster| roster.find_pin(fingerprint))
    }

    pub(super) fn find_spki_pin(&self, pin: &SpkiPin) -> Option<Match> {
        self.find_in_rosters(|roster| roster.find_spki_pin(pin))
    }

    pub(super) fn find_kin_by_key(&self, pin: &SpkiPin) -> Option<Match> {
        self.find_in_rosters(|roster| roster.find_kin_by_key(pin))
    }

    pub(super) fn find_kin_by_subject(&self, subject: &[u8]) -> Option<Match> {
        self.find_in_rosters(|roster| roster.find_kin_by_subject(subject))
    }

    /// Puts the principal of an authority together.
    pub(super) fn owner_of(&self, listed: &super::trust::Listed) -> Arc<Principal> {
        Arc::new(self.rosters[listed.roster].principal(listed.owner))
    }

    fn find_in_rosters(&self, find: impl Fn(&Roster) -> Option<(u32, Provenance)>) -> Option<Match> {
        self.rosters
            .iter()
            .find_map(|roster| find(roster).map(|(owner, written)| Match { principal: Arc::new(roster.principal(owner)), written }))
    }
}
