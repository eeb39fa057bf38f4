//! What all changes so far have made: principals, revocations, CRLs. Cheap to clone and to change, so that everybody may hold the version
//! that they looked at.

use std::ops::Bound;
use std::sync::Arc;

use super::change::{Change, Written};
use super::crl::{CrlText, KeptCrl};
use super::document::Document;
use super::left::reaches;
use super::managed::Managed;
use super::map::Map;
use super::refusal::{Invalid, Refusal};
use super::revocations::{KeptRevocation, Revocations};
use super::tokens::{Tokens, owner, said, token_id};
use crate::admission::layer::Entry;
use crate::admission::{Clearance, PrincipalId, PrincipalName, Provenance, RevocationBuilder, RevokedId, RevokedTokens, Token};
use crate::pki::{Certificate, Crl, Fingerprint, SpkiPin};
use crate::threads::beside;

/// What all changes so far have made.
#[derive(Clone, Debug, Default)]
pub struct State {
    principals: Map<PrincipalId, Arc<Managed>>,
    /// By lower-case name.
    names: Map<Box<str>, PrincipalId>,
    owners: Map<Fingerprint, PrincipalId>,
    key_owners: Map<SpkiPin, PrincipalId>,
    /// Those that have ids of their own.
    revoking: Map<PrincipalId, ()>,
    admins: Map<PrincipalId, ()>,
    revocations: Revocations,
    crls: Map<Box<str>, Arc<KeptCrl>>,
    pub(super) tokens: Tokens,
    bootstrap_closed: bool,
    /// How many entries of the ledger it was made of.
    entries: u64,
    /// Changes with each change of who gets in.
    hash: Option<Fingerprint>,
}

/// Some of the principals that a state is made of, and how they are found.
#[derive(Default)]
pub(super) struct Part {
    kept: Vec<(PrincipalId, Arc<Managed>)>,
    names: Vec<(Box<str>, PrincipalId)>,
    owners: Vec<(Fingerprint, PrincipalId)>,
    key_owners: Vec<(SpkiPin, PrincipalId)>,
    revoking: Vec<(PrincipalId, ())>,
    admins: Vec<(PrincipalId, ())>,
}

impl Part {
    pub(super) fn of(principals: usize) -> Self {
        let room = |count| (Vec::with_capacity(count), Vec::with_capacity(count), Vec::with_capacity(count));
        let (kept, names, owners) = room(principals);
        Self { kept, names, owners, ..Self::default() }
    }

    pub(super) fn take(&mut self, managed: Arc<Managed>, document: &Document) {
        let id = *managed.id();
        self.names.push((document.name.to_ascii_lowercase().into(), id));
        self.owners.extend(document.pinned().map(|fingerprint| (fingerprint, id)));
        self.key_owners.extend(document.spki_pins.iter().filter_map(|pin| Some((pin.parse().ok()?, id))));
        if !document.revoked_ids.is_empty() {
            self.revoking.push((id, ()));
        }
        if document.clearance() == Clearance::Admin {
            self.admins.push((id, ()));
        }
        self.kept.push((id, managed));
    }
}

impl State {
    /// Makes a change, as entry `index` of the ledger records it; or says why it cannot be made.
    pub fn apply(&self, index: u64, change: &Change) -> Result<Self, Refusal> {
        let mut after = self.clone();
        after.make(index, change, None)?;
        Ok(after)
    }

    /// Makes a change in place. `compiled`: its document, where the caller has compiled it. What refuses it has changed nothing.
    pub fn make(&mut self, index: u64, change: &Change, compiled: Option<&Entry>) -> Result<(), Refusal> {
        self.check(change, compiled)?;
        self.replay(index, change)?;
        if let (Change::PrincipalPut { document }, Some(compiled)) = (change, compiled)
            && let Some(kept) = self.principal(&document.id)
        {
            kept.learn(document, compiled);
        }
        Ok(())
    }

    /// Makes a change that was recorded, and so was checked: only what cannot be read at all is refused. Who does not compile any more is
    /// somebody else's to find, and admits nobody.
    pub fn replay(&mut self, index: u64, change: &Change) -> Result<(), Refusal> {
        self.replay_written(index, change, change.written())
    }

    /// The same, of a change that was written already, maybe on another thread.
    pub(super) fn replay_written(&mut self, index: u64, change: &Change, written: Written) -> Result<(), Refusal> {
        match change {
            Change::BootstrapClosed {} => self.bootstrap_closed = true,
            Change::CrlPut { name, der, added } => {
                self.crls.insert(name.as_str().into(), Arc::new(KeptCrl { crl: Arc::clone(der.read()?), added: added.clone(), index }));
            }
            Change::CrlRemove { name } => self.crls.remove(&name.as_str().into()),
            Change::FilesReloaded(_) => {}
            Change::PrincipalPut { document } => self.put(document, written.document, index)?,
            Change::PrincipalRemove { id, .. } => drop(self.take(id)),
            Change::RevocationAdd { id, only, reason, added } => {
                let parsed: RevokedId = revoked_id(id)?;
                // Who says it again takes nothing back, though the certificate may have gone meanwhile.
                let known = self.revocation(id);
                let key = self.renewed_key(&parsed).or_else(|| known?.key);
                let everywhere = only.is_empty() || known.is_some_and(|known| known.everywhere);
                let mut reaches = reaches(only)?;
                reaches.extend(known.iter().flat_map(|known| &known.only));
                let (reason, added) = (reason.clone(), added.clone());
                self.revocations.insert(KeptRevocation { id: parsed, everywhere, only: reaches, key, reason, added, index });
            }
            Change::RevocationRemove { id } => self.revocations.remove(id),
            Change::TokenRevoked { jti, expires, added, .. } => self.tokens.one((token_id(jti)?, *expires), index, said(added.as_ref())),
            Change::TokensRevoked { id, until, added } => self.tokens.all(owner(id)?, *until, index, said(added.as_ref())),
        }
        self.entries = index + 1;
        if let Some(digest) = written.digest {
            let before = self.hash.map(|hash| *hash.as_bytes()).unwrap_or_default();
            self.hash = Some(Fingerprint::of([before, *digest.as_bytes()].as_flattened()));
        }
        Ok(())
    }

    /// Finds a principal by its id.
    pub fn principal(&self, id: &str) -> Option<&Arc<Managed>> {
        self.principals.get(&id.parse::<PrincipalId>().ok()?)
    }

    /// Goes through the principals by their ids.
    pub(super) fn kept(&self) -> impl Iterator<Item = (&PrincipalId, &Arc<Managed>)> {
        self.principals.iter()
    }

    pub(super) fn principal_of(&self, id: &PrincipalId) -> Option<&Arc<Managed>> {
        self.principals.get(id)
    }

    /// Finds a principal by its name, in any case.
    pub fn principal_named(&self, name: &str) -> Option<&Arc<Managed>> {
        self.principals.get(self.names.get(name.to_ascii_lowercase().as_str())?)
    }

    /// Finds whose certificate this is.
    pub fn owner(&self, fingerprint: &Fingerprint) -> Option<&Arc<Managed>> {
        self.principals.get(self.owners.get(fingerprint)?)
    }

    /// Finds whose SPKI pin this is.
    pub fn key_owner(&self, pin: &SpkiPin) -> Option<&Arc<Managed>> {
        self.principals.get(self.key_owners.get(pin)?)
    }

    /// Goes through the principals by name, in lower case; `after`: from behind this one on, as a page does.
    pub fn principals(&self, after: Option<&str>) -> impl Iterator<Item = &Arc<Managed>> {
        let from = after.map_or(Bound::Unbounded, |name| Bound::Excluded(name.to_ascii_lowercase().into()));
        self.names.range(from).filter_map(|(_, id)| self.principals.get(id))
    }

    /// Returns how many principals there are.
    pub fn len(&self) -> usize {
        self.principals.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Goes through those with the clearance of an admin, disabled or not.
    pub fn admins(&self) -> impl Iterator<Item = &Arc<Managed>> {
        self.admins.iter().filter_map(|(id, ())| self.principals.get(id))
    }

    /// Finds a revocation.
    pub fn revocation(&self, id: &str) -> Option<&Arc<KeptRevocation>> {
        self.revocations.get(id)
    }

    /// Goes through the revoked ids.
    pub fn revocations(&self) -> impl Iterator<Item = &Arc<KeptRevocation>> {
        self.revocations.iter()
    }

    /// Goes through those that hold for some alone.
    pub fn revocations_within(&self) -> impl Iterator<Item = &Arc<KeptRevocation>> {
        self.revocations.within()
    }

    /// Tells whether one of them hits a certificate, its issuer left aside.
    pub fn revokes(&self, certificate: &Certificate) -> bool {
        self.revocations.hit(certificate)
    }

    /// Tells whether a bearer token was taken back.
    pub fn takes_back(&self, token: &Token, owner: &PrincipalId) -> bool {
        self.tokens.hit(token, owner)
    }

    /// Returns the second until which all tokens of a principal were taken back, where they were.
    pub fn tokens_until(&self, owner: &PrincipalId) -> Option<u64> {
        self.tokens.until(owner)
    }

    /// Tells whether one of them names a certificate, of which no more may be known.
    pub fn revokes_pin(&self, fingerprint: Fingerprint) -> bool {
        self.revocations.name(fingerprint)
    }

    /// Goes through the principals that have ids of their own.
    pub fn revoking(&self) -> impl Iterator<Item = &Arc<Managed>> {
        self.revoking.iter().filter_map(|(id, ())| self.principals.get(id))
    }

    /// Finds a CRL.
    pub fn crl(&self, name: &str) -> Option<&Arc<KeptCrl>> {
        self.crls.get(name)
    }

    /// Goes through the CRLs, by name.
    pub fn crls(&self) -> impl Iterator<Item = (&str, &Arc<KeptCrl>)> {
        self.crls.iter().map(|(name, kept)| (&**name, kept))
    }

    /// There is an admin, or there was one.
    pub fn bootstrap_closed(&self) -> bool {
        self.bootstrap_closed
    }

    /// Returns the index that the next entry has.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Tells one content from another: 32 bytes, zero while nothing was ever changed.
    pub fn hash(&self) -> [u8; 32] {
        self.hash.map(|hash| *hash.as_bytes()).unwrap_or_default()
    }

    /// Returns the ids of principals' own, with the entry that says so.
    pub fn own_revoked_ids(&self) -> impl Iterator<Item = (RevokedId, Provenance, PrincipalName)> {
        self.revoking().flat_map(|kept| {
            let name: Option<PrincipalName> = kept.name().parse().ok();
            let ids = kept.document().revoked_ids.into_iter().filter_map(|id| id.parse().ok());
            ids.filter_map(move |id| Some((id, Provenance::ledger(kept.index), name.clone()?)))
        })
    }

    /// Returns the tokens that were taken back.
    pub fn revoked_tokens(&self) -> RevokedTokens {
        self.tokens.compile()
    }

    /// Makes a state of principals at once; they come in parts.
    pub(super) fn loaded(parts: Vec<Part>) -> Self {
        let mut all = Part::default();
        for part in parts {
            all.kept.extend(part.kept);
            all.names.extend(part.names);
            all.owners.extend(part.owners);
            all.key_owners.extend(part.key_owners);
            all.revoking.extend(part.revoking);
            all.admins.extend(part.admins);
        }
        let Part { kept, names, owners, key_owners, revoking, admins } = all;
        let (principals, (names, owners)) = beside(|| Map::load(kept), || (Map::load(names), Map::load(owners)));
        let (key_owners, revoking, admins) = (Map::load(key_owners), Map::load(revoking), Map::load(admins));
        Self { principals, names, owners, key_owners, revoking, admins, ..Self::default() }
    }

    pub(super) fn revoking_by(self, revocations: Vec<KeptRevocation>) -> Self {
        Self { revocations: Revocations::load(revocations), ..self }
    }

    pub(super) fn counted(self, entries: u64, bootstrap_closed: bool, hash: Option<Fingerprint>) -> Self {
        Self { entries, bootstrap_closed, hash, ..self }
    }

    fn check(&self, change: &Change, compiled: Option<&Entry>) -> Result<(), Refusal> {
        match change {
            Change::BootstrapClosed {} | Change::FilesReloaded(_) => Ok(()),
            Change::CrlPut { name, der, .. } => self.check_crl(name, der),
            Change::CrlRemove { name } => self.crl(name).map(|_| ()).ok_or(Refusal::NotFound),
            Change::PrincipalPut { document } => match compiled {
                Some(_) => self.check_document(document),
                None => document.compile(self.entries).map_err(Refusal::Invalid).and_then(|_| self.check_document(document)),
            },
            Change::PrincipalRemove { id, .. } => self.principal(id).map(|_| ()).ok_or(Refusal::NotFound),
            Change::RevocationAdd { id, only, .. } => revoked_id(id).and(reaches(only)).map(|_| ()),
            Change::RevocationRemove { id } => self.revocation(id).map(|_| ()).ok_or(Refusal::NotFound),
            Change::TokenRevoked { jti, principal, .. } => token_id(jti).and(owner(principal)).map(|_| ()),
            Change::TokensRevoked { id, .. } => owner(id).map(|_| ()),
        }
    }

    fn check_document(&self, document: &Document) -> Result<(), Refusal> {
        let own: Option<PrincipalId> = document.id.parse().ok();
        let other = |owner: Option<&Arc<Managed>>| owner.filter(|kept| own != Some(*kept.id())).map(|kept| kept.name().to_owned());
        if other(self.principal_named(&document.name)).is_some() {
            return Err(Refusal::NameTaken);
        }
        let keys = document.spki_pins.iter().filter_map(|pin| pin.parse().ok());
        let taken = document
            .pinned()
            .find_map(|pin| other(self.owner(&pin)))
            .or_else(|| keys.into_iter().find_map(|pin| other(self.key_owner(&pin))));
        match taken {
            Some(by) => Err(Refusal::FingerprintTaken { by }),
            None => Ok(()),
        }
    }

    /// A CRL that goes back says less than is known; whoever means it removes the newer one first.
    fn check_crl(&self, name: &str, der: &CrlText) -> Result<(), Refusal> {
        let invalid = |key: &str, why: String| Refusal::Invalid(vec![Invalid::new(key, why)]);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if name.is_empty() || name.len() > LONGEST_CRL_NAME || !name.bytes().all(plain) {
            return Err(invalid("name", format!("`{name}` is no name of a CRL: 1 to {LONGEST_CRL_NAME} of A-Z a-z 0-9 . _ -")));
        }
        let new = der.read()?;
        RevocationBuilder::default()
            .crl(Arc::clone(new), Provenance::ledger(self.entries))
            .map_err(|why| invalid("der", why.to_string()))?;
        match self.crl(name) {
            Some(kept) if kept.crl.issuer != new.issuer || kept.crl.distribution_point != new.distribution_point => {
                let why =
                    "has another issuer or distribution point than the CRL of this name, which would be lost: give it a name of its own";
                Err(invalid("der", why.to_owned()))
            }
            Some(kept) if is_older(new, &kept.crl) => {
                Err(invalid("der", "is older than the CRL of this name and issuer that is in force: remove that one first".to_owned()))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn put(&mut self, document: &Document, text: Box<[u8]>, index: u64) -> Result<(), Refusal> {
        let id: PrincipalId =
            document.id.parse().map_err(|why| Refusal::Invalid(vec![Invalid::new("id", format!("`{}` {why}", document.id))]))?;
        drop(self.take(&document.id));
        self.names.insert(document.name.to_ascii_lowercase().into(), id);
        for fingerprint in document.pinned() {
            self.owners.insert(fingerprint, id);
        }
        for pin in document.spki_pins.iter().filter_map(|pin| pin.parse().ok()) {
            self.key_owners.insert(pin, id);
        }
        if !document.revoked_ids.is_empty() {
            self.revoking.insert(id, ());
        }
        if document.clearance() == Clearance::Admin {
            self.admins.insert(id, ());
        }
        self.principals.insert(id, Arc::new(Managed::new(id, (&document.name, text), index)));
        Ok(())
    }

    fn take(&mut self, id: &str) -> Option<Arc<Managed>> {
        let kept = Arc::clone(self.principal(id)?);
        let (id, document) = (*kept.id(), kept.document());
        self.names.remove(&document.name.to_ascii_lowercase().into());
        document.pinned().for_each(|fingerprint| self.owners.remove(&fingerprint));
        document.spki_pins.iter().filter_map(|pin| pin.parse().ok()).for_each(|pin| self.key_owners.remove(&pin));
        self.revoking.remove(&id);
        self.admins.remove(&id);
        self.principals.remove(&id);
        Some(kept)
    }

    /// Finds the key of a certificate that renews itself: who revokes one of a line of certificates means the line.
    fn renewed_key(&self, id: &RevokedId) -> Option<SpkiPin> {
        let fingerprint = id.fingerprint()?;
        let document = self.owner(&fingerprint)?.document();
        if !document.renews_same_key() {
            return None;
        }
        let entry = document.certificates.iter().find(|entry| entry.fingerprint == fingerprint.to_string())?;
        Some(entry.certificate()?.ok()?.spki_pin)
    }
}

/// RFC 5280, 5.2.3: the CRL number tells; where one has none, thisUpdate.
fn is_older(new: &Crl, old: &Crl) -> bool {
    let number = |crl: &Crl| crl.number.as_ref().map(|number| (number.len(), number.clone()));
    match (number(new), number(old)) {
        (Some(new), Some(old)) => new < old,
        (_, _) => new.this_update < old.this_update,
    }
}

fn revoked_id(id: &str) -> Result<RevokedId, Refusal> {
    id.parse().map_err(|why| Refusal::Invalid(vec![Invalid::new("id", format!("`{id}` {why}"))]))
}

const LONGEST_CRL_NAME: usize = 128;
