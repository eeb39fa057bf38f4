//! The allowlist: all principals in force, as rosters that sources share with the allowlist before, and the
//! trust anchors of all authorities together.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::credential::{Credential, Pin};
use super::layer::{Entry, Layer};
use super::permission::Clearance;
use super::principal::{Principal, PrincipalId, PrincipalName, Provenance, Terms, WELL_KNOWN_ADMIN};
use super::roster::{Conflict, Roster, RosterBuilder};
use super::scope::{RouteScope, Surface};
use super::trust::Trust;
use crate::pki::{Certificate, Fingerprint, SpkiPin};

/// All principals in force. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Allowlist {
    rosters: Arc<[Arc<Roster>]>,
    /// Of sources that change one principal at a time.
    layers: Arc<[Layer]>,
    admins: Arc<HashMap<Fingerprint, Arc<Principal>>>,
    /// Whole, of those who stand above operators.
    shown: Arc<HashMap<Fingerprint, Arc<Certificate>>>,
    pub(super) trust: Arc<Trust>,
    /// The terms that name origins, each once.
    cors: Arc<[Arc<Terms>]>,
}

/// Collects principals, then compiles them; refuses what would be ambiguous.
#[derive(Debug, Default)]
pub struct AllowlistBuilder {
    own: RosterBuilder,
    included: Vec<Arc<Roster>>,
    layers: Vec<Layer>,
    admins: HashMap<Fingerprint, Arc<Principal>>,
    shown: HashMap<Fingerprint, Arc<Certificate>>,
    /// Rosters and layers that stood side by side before, and so need no comparing.
    before: (Vec<Arc<Roster>>, Vec<Layer>),
}

/// A principal whose credential was found, and where that credential was written.
pub(super) struct Match {
    pub(super) principal: Arc<Principal>,
    pub(super) written: Provenance,
}

impl AllowlistBuilder {
    /// Starts from nothing, knowing the allowlist in force: what it shares with the new one was compared already.
    pub fn after(allowlist: &Allowlist) -> Self {
        Self { before: (allowlist.rosters.to_vec(), allowlist.layers.to_vec()), ..Self::default() }
    }

    /// Adds a principal with its credentials. The same credential twice in one principal counts once. A conflict leaves
    /// the builder as it was.
    pub fn add(&mut self, principal: Principal, credentials: Vec<(Credential, Provenance)>) -> Result<(), Conflict> {
        self.check_included(&principal, &credentials)?;
        self.own.add(&principal, &credentials)
    }

    /// Adds a principal that is one pin, as lists of a million have them.
    pub fn add_pin(&mut self, name: &PrincipalName, terms: &Arc<Terms>, pin: Pin, provenance: &Provenance) -> Result<(), Conflict> {
        if !self.included.is_empty() || !self.layers.is_empty() {
            let id = PrincipalId::derived(name);
            let principal =
                Principal { id, name: name.clone(), display_name: None, terms: Arc::clone(terms), provenance: provenance.clone() };
            self.check_included(&principal, &[(Credential::Pin(pin), provenance.clone())])?;
        }
        self.own.add_pin(name, terms, pin, provenance)
    }

    /// Includes the principals of one source, compiled before: what makes a change beside a million pins cheap.
    /// A conflict leaves the builder as it was.
    pub fn include(&mut self, roster: Arc<Roster>) -> Result<(), Conflict> {
        self.own.roster().check_all(&roster)?;
        for other in &self.included {
            if !(self.stood(other) && self.stood(&roster)) {
                other.check_all(&roster)?;
            }
        }
        for layer in &self.layers {
            match self.stood(&roster) {
                true => self.changed(layer).iter().try_for_each(|part| part.check_all(&roster))?,
                false => layer.check_all(&roster)?,
            }
        }
        self.included.push(roster);
        Ok(())
    }

    /// Includes the principals of a source that changes one at a time; of those that were in force before only what changed since is
    /// compared. A conflict leaves the builder as it was.
    pub fn layer(&mut self, layer: &Layer) -> Result<(), Conflict> {
        let changed = self.changed(layer);
        if !self.own.roster().is_empty() {
            layer.check_all(self.own.roster()).map_err(Conflict::reversed)?;
        }
        for roster in &self.included {
            match self.stood(roster) {
                true => changed.iter().try_for_each(|part| roster.check_all(part))?,
                false => layer.check_all(roster).map_err(Conflict::reversed)?,
            }
        }
        for other in &self.layers {
            match self.changed(other).is_empty() {
                true => changed.iter().try_for_each(|part| other.check_all(part))?,
                false => layer.rosters().try_for_each(|part| other.check_all(part))?,
            }
        }
        self.layers.push(layer.clone());
        Ok(())
    }

    /// Finds every principal of a layer that meets what is here already: whoever starts has them all to report, and to leave out
    /// (`layer.with(&ids, vec![])`) before the layer can be included.
    pub fn conflicts(&self, layer: &Layer) -> Vec<(PrincipalId, Conflict)> {
        let own = self.own.roster();
        let rosters =
            self.included.iter().map(Arc::as_ref).chain([own]).chain(self.layers.iter().flat_map(Layer::rosters).map(Arc::as_ref));
        let met: BTreeMap<PrincipalId, Entry> =
            rosters.flat_map(|roster| layer.who_meets(roster)).map(|entry| (entry.0.id, entry)).collect();
        let found = met.into_iter().filter_map(|(id, (principal, credentials))| {
            let conflict = self.check_included(&principal, &credentials).and_then(|()| own.check(&principal, &credentials)).err()?;
            Some((id, conflict))
        });
        found.collect()
    }

    /// Adds the fingerprints of well-known admins.
    pub fn well_known_admins(&mut self, fingerprints: &[Fingerprint]) {
        let terms = Arc::new(Terms { clearance: Clearance::Admin, ..Terms::default() });
        for fingerprint in fingerprints {
            let name = PrincipalName::known(&format!("{WELL_KNOWN_ADMIN}/{}", &fingerprint.to_string()[..16]));
            let id = PrincipalId::derived(&name);
            let provenance = Provenance { file: "[bootstrap] admin_fingerprints".into(), line: 0 };
            let principal = Principal { id, name, display_name: None, terms: Arc::clone(&terms), provenance };
            self.admins.insert(*fingerprint, Arc::new(principal));
        }
    }

    /// Takes a certificate whole, though it is pinned by its fingerprint: of it can be told what else concerns it.
    pub fn show(&mut self, certificate: Arc<Certificate>) {
        self.shown.insert(certificate.fingerprint, certificate);
    }

    fn check_included(&self, principal: &Principal, credentials: &[(Credential, Provenance)]) -> Result<(), Conflict> {
        self.included.iter().try_for_each(|roster| roster.check(principal, credentials))?;
        self.layers.iter().try_for_each(|layer| layer.check(principal, credentials))
    }

    fn stood(&self, roster: &Arc<Roster>) -> bool {
        self.before.0.iter().any(|before| Arc::ptr_eq(before, roster))
    }

    /// Returns the parts of a layer that were not in force before: those of a newcomer are all.
    fn changed<'a>(&'a self, layer: &'a Layer) -> Vec<&'a Arc<Roster>> {
        parts_since(layer, &self.before.1)
    }

    /// Compiles. Every intermediate configured for any authority is available to every path.
    pub fn finish(self) -> Allowlist {
        let mut rosters = self.included;
        let own = self.own.finish();
        if !own.is_empty() {
            rosters.push(Arc::new(own));
        }
        let all = || rosters.iter().chain(self.layers.iter().flat_map(Layer::rosters));
        let cors: Vec<Arc<Terms>> = all().flat_map(|roster| roster.cors()).cloned().collect();
        let trust = Arc::new(Trust::compile(all()));
        let (admins, shown) = (Arc::new(self.admins), Arc::new(self.shown));
        Allowlist { trust, rosters: rosters.into(), layers: self.layers.into(), admins, shown, cors: cors.into() }
    }
}

impl Allowlist {
    /// Returns how many principals there are.
    pub fn len(&self) -> usize {
        let layers: usize = self.layers.iter().map(Layer::len).sum();
        self.rosters.iter().map(|roster| roster.len() as usize).sum::<usize>() + layers + self.admins.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many credentials there are.
    pub fn credentials(&self) -> usize {
        let layers: usize = self.layers.iter().map(Layer::credentials).sum();
        self.rosters.iter().map(|roster| roster.credentials()).sum::<usize>() + layers + self.admins.len()
    }

    /// Puts every principal together, one after the other.
    pub fn principals(&self) -> impl Iterator<Item = Principal> {
        self.all_rosters().flat_map(|roster| (0..roster.len()).map(|owner| roster.principal(owner)))
    }

    /// Returns every pinned fingerprint.
    pub fn fingerprints(&self) -> impl Iterator<Item = &Fingerprint> {
        self.all_rosters().flat_map(|roster| roster.fingerprints())
    }

    /// Finds a principal by its name, in any case.
    pub fn find(&self, name: &str) -> Option<Principal> {
        let in_rosters = self.rosters.iter().find_map(|roster| roster.find_name(name).map(|owner| roster.principal(owner)));
        in_rosters.or_else(|| self.layers.iter().find_map(|layer| layer.find_name(name)))
    }

    /// Finds a principal of a file or the configuration by its id.
    pub fn find_static_id(&self, id: &PrincipalId) -> Option<Principal> {
        self.rosters.iter().find_map(|roster| roster.find_id(id).map(|owner| roster.principal(owner)))
    }

    /// Finds what a principal and its credentials would share with a principal of a file or the configuration that only one may have:
    /// what a change by API is refused for before it is recorded. What it shares with its own source its layer finds, in `with`.
    pub fn check_static(&self, principal: &Principal, credentials: &[(Credential, Provenance)]) -> Result<(), Conflict> {
        self.rosters.iter().try_for_each(|roster| roster.check(principal, credentials))
    }

    /// Counts the principals of files and the configuration that another allowlist does not have, and returns the first names.
    pub fn static_names_since(&self, before: &Self, most: usize) -> (u64, Vec<String>) {
        let stood = |roster: &&Arc<Roster>| !before.rosters.iter().any(|known| Arc::ptr_eq(known, roster));
        let names = self.rosters.iter().filter(stood).flat_map(|roster| (0..roster.len()).map(|owner| roster.name(owner)));
        let mut new = names.filter(|name| before.rosters.iter().all(|roster| roster.find_name(name).is_none()));
        let first: Vec<String> = new.by_ref().take(most).map(str::to_owned).collect();
        (first.len() as u64 + new.count() as u64, first)
    }

    /// Returns what is here and not in another allowlist: whole rosters, and parts of layers.
    pub(super) fn parts_beside(&self, other: &Self) -> Vec<Arc<Roster>> {
        let stood = |roster: &&Arc<Roster>| other.rosters.iter().any(|known| Arc::ptr_eq(known, roster));
        let layers = self.layers.iter().flat_map(|layer| parts_since(layer, &other.layers));
        self.rosters.iter().filter(|roster| !stood(roster)).chain(layers).cloned().collect()
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

    /// The same of a surface of our own.
    pub fn preflight_allows_on(&self, surface: Surface, origin: &str) -> bool {
        let listed = |terms: &Terms| terms.cors_origins.iter().any(|pattern| pattern.matches(origin));
        self.cors.iter().any(|terms| listed(terms) && terms.may_use(surface))
    }

    /// Tells whether exactly this certificate is listed: as a pin, or as a well-known admin's.
    pub fn pins(&self, fingerprint: &Fingerprint) -> bool {
        self.find_admin(fingerprint).is_some() || self.find_pin(fingerprint).is_some()
    }

    /// Finds whose pin this is.
    pub fn owner_of_pin(&self, fingerprint: &Fingerprint) -> Option<Arc<Principal>> {
        self.find_pin(fingerprint).map(|found| found.principal)
    }

    /// Finds whose SPKI pin this is.
    pub fn owner_of_spki_pin(&self, pin: &SpkiPin) -> Option<Arc<Principal>> {
        self.find_spki_pin(pin).map(|found| found.principal)
    }

    /// Somebody has the clearance of an admin, whatever the conditions.
    pub fn has_admin(&self) -> bool {
        !self.admins.is_empty() || self.all_rosters().any(|roster| roster.has_clearance(Clearance::Admin))
    }

    /// Puts those together that have one of these clearances, with all that proves them; well-known admins too. Whoever is nobody's
    /// superior costs nothing here: a list of a million is passed over.
    pub fn ranked<'a>(&'a self, ranks: &'a [Clearance]) -> impl Iterator<Item = (Principal, Vec<(Credential, Provenance)>)> + 'a {
        let has = |roster: &&Arc<Roster>| ranks.iter().any(|rank| roster.has_clearance(*rank));
        let listed = self.all_rosters().filter(has).flat_map(|roster| roster.ranked(ranks));
        let well_known = self.admins.iter().filter(|_| ranks.contains(&Clearance::Admin)).map(|(fingerprint, principal)| {
            let credential = Credential::Pin(Pin::from(*fingerprint));
            (Principal::clone(principal), vec![(credential, principal.provenance.clone())])
        });
        listed.chain(well_known)
    }

    /// Returns a certificate of somebody above operators, where more than its fingerprint is known and a file says so.
    pub fn shown(&self, fingerprint: &Fingerprint) -> Option<&Arc<Certificate>> {
        self.shown.get(fingerprint)
    }

    /// Goes through the well-known admins.
    pub fn well_known(&self) -> impl Iterator<Item = &Fingerprint> {
        self.admins.keys()
    }

    pub(super) fn find_admin(&self, fingerprint: &Fingerprint) -> Option<&Arc<Principal>> {
        self.admins.get(fingerprint)
    }

    pub(super) fn find_pin(&self, fingerprint: &Fingerprint) -> Option<Match> {
        self.find_in(|roster| roster.find_pin(fingerprint), |layer| layer.find_pin_match(fingerprint))
    }

    pub(super) fn find_spki_pin(&self, pin: &SpkiPin) -> Option<Match> {
        self.find_in(|roster| roster.find_spki_pin(pin), |layer| layer.find_spki_pin(pin))
    }

    pub(super) fn find_kin_by_key(&self, pin: &SpkiPin) -> Option<Match> {
        self.find_in(|roster| roster.find_kin_by_key(pin), |layer| layer.find_kin_by_key(pin))
    }

    /// Finds a principal that pinned a certificate of this key, and lets it be renewed.
    pub(super) fn find_renewable(&self, key: &SpkiPin) -> Option<Match> {
        self.find_in(|roster| roster.find_renewable(key), |layer| layer.find_renewable(key))
    }

    pub(super) fn find_kin_by_subject(&self, subject: &[u8]) -> Option<Match> {
        self.find_in(|roster| roster.find_kin_by_subject(subject), |layer| layer.find_kin_by_subject(subject))
    }

    fn all_rosters(&self) -> impl Iterator<Item = &Arc<Roster>> {
        self.rosters.iter().chain(self.layers.iter().flat_map(Layer::rosters))
    }

    fn find_in(
        &self,
        find: impl Fn(&Roster) -> Option<(u32, Provenance)>,
        in_layer: impl Fn(&Layer) -> Option<(Principal, Provenance)>,
    ) -> Option<Match> {
        let in_rosters = self.rosters.iter().find_map(|roster| find(roster).map(|(owner, written)| (roster.principal(owner), written)));
        let (principal, written) = in_rosters.or_else(|| self.layers.iter().find_map(in_layer))?;
        Some(Match { principal: Arc::new(principal), written })
    }
}

/// Returns the parts of a layer that none of others has; those of a newcomer are all.
fn parts_since<'a>(layer: &'a Layer, others: &'a [Layer]) -> Vec<&'a Arc<Roster>> {
    let since = others.iter().map(|other| layer.changed(other).collect::<Vec<_>>());
    since.min_by_key(Vec::len).unwrap_or_else(|| layer.rosters().collect())
}
