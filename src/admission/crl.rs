//! CRLs: which count, what they say of a certificate. A CRL that no CA's key vouches for says nothing; one that
//! is old where a newer one is at hand says nothing either.

use std::collections::HashMap;
use std::sync::Arc;

use rustls_pki_types::UnixTime;

use super::chain::Issuer;
use super::crl_problem::{CrlProblem, CrlProblemKind, CrlRefusal};
use super::decision::Horizon;
use super::principal::Provenance;
use super::trust::Trust;
use crate::date::Date;
use crate::pki::{Certificate, Crl, Fingerprint};

/// What a CRL past its nextUpdate means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StaleCrl {
    /// Nobody of that issuer is admitted.
    #[default]
    Deny,
    Warn,
}

/// The CRLs in force.
#[derive(Debug, Default)]
pub(super) struct Crls {
    entries: Vec<Arc<Entry>>,
    by_issuer: HashMap<Box<[u8]>, Vec<u32>>,
    stale: StaleCrl,
    required: bool,
    /// Where a CRL should be that was never seen: whose it is, nobody knows.
    missing: Option<String>,
    problems: Vec<CrlProblem>,
    /// Those that a newer one has taken the place of.
    superseded: Vec<Fingerprint>,
    /// Anchors that are no roots, and on the CRL of a configured CA that signed them.
    revoked_anchors: HashMap<u32, String>,
    identity: Option<Fingerprint>,
    /// The trust anchors that the signers were found among.
    under: Option<Fingerprint>,
}

#[derive(Debug, Default)]
pub(super) struct CrlsBuilder {
    entries: Vec<(Arc<Crl>, Provenance)>,
    stale: StaleCrl,
    required: bool,
    missing: Option<String>,
    /// What was found out about CRLs before, and the trust anchors it was found under.
    before: Vec<Arc<Entry>>,
    before_under: Option<Fingerprint>,
    /// CAs that signed CRLs in force, and may be configured no more. A CRL holds for as long as it is there: who takes an authority away
    /// takes back nothing that its CA revoked.
    former: Vec<Arc<Certificate>>,
}

#[derive(Debug)]
struct Entry {
    crl: Arc<Crl>,
    written: Provenance,
    identity: Fingerprint,
    /// The CA that signed it, which is configured or was.
    signer: Option<Arc<Certificate>>,
}

/// The CRLs that speak for one issuer: found once per path, since that may take a signature.
#[derive(Clone, Debug, Default)]
pub(super) struct Speaking {
    crls: Vec<u32>,
    /// One bears the issuer's name, and its key did not sign it; and none other is at hand.
    forged: Option<u32>,
}

/// What the CRLs say of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Clean,
    Revoked(String),
    Unknown(String),
}

impl CrlsBuilder {
    /// Starts from nothing, knowing the CRLs in force: the same ones need no second check of their signatures.
    pub(super) fn after(crls: &Crls) -> Self {
        Self { before: crls.entries.clone(), before_under: crls.under, former: crls.signers(), ..Self::default() }
    }

    pub(super) fn former(&mut self, signers: &[Arc<Certificate>]) {
        self.former.extend_from_slice(signers);
    }

    pub(super) fn add(&mut self, crl: Arc<Crl>, written: Provenance) -> Result<(), CrlRefusal> {
        if crl.delta {
            return Err(CrlRefusal::Delta);
        }
        if crl.indirect {
            return Err(CrlRefusal::Indirect);
        }
        self.entries.push((crl, written));
        Ok(())
    }

    pub(super) fn policy(&mut self, stale: StaleCrl, required: bool) {
        (self.stale, self.required) = (stale, required);
    }

    pub(super) fn missing(&mut self, place: String) {
        self.missing = Some(place);
    }

    pub(super) fn finish(self, trust: &Trust) -> Crls {
        let (stale, required, missing) = (self.stale, self.required, self.missing);
        let mut crls = Crls { stale, required, missing, under: Some(trust.anchors_identity()), ..Crls::default() };
        let same_anchors = self.before_under == Some(trust.anchors_identity());
        for (crl, written) in self.entries {
            let before = self.before.iter().find(|entry| Arc::ptr_eq(&entry.crl, &crl));
            let identity = crl.fingerprint();
            let signer = match before.filter(|_| same_anchors) {
                Some(before) => before.signer.clone(),
                None => signer(&crl, trust).or_else(|| signer_among(&crl, &self.former)),
            };
            let kind = match &signer {
                Some(signer) => (!trust.has(signer)).then_some(CrlProblemKind::FormerIssuer),
                None if trust.by_subject(&crl.issuer.der).is_empty() => Some(CrlProblemKind::UnknownIssuer),
                None => Some(CrlProblemKind::Forged),
            };
            crls.problems.extend(kind.map(|kind| CrlProblem { kind, issuer: crl.issuer.rfc2253(), written: written.clone() }));
            crls.entries.push(Arc::new(Entry { identity, crl, written, signer }));
        }
        crls.drop_superseded();
        for (at, entry) in crls.entries.iter().enumerate() {
            crls.by_issuer.entry(entry.issuer_name().into()).or_default().push(u32::try_from(at).unwrap_or(u32::MAX));
        }
        for (at, anchor) in (0..).zip(trust.certificates()).filter(|(_, anchor)| !anchor.is_self_issued()) {
            if let Some(why) = crls.lists(anchor) {
                crls.revoked_anchors.insert(at, why);
            }
        }
        let mut all: Vec<[u8; 32]> = crls.entries.iter().map(|entry| *entry.identity.as_bytes()).collect();
        all.sort_unstable();
        crls.identity = Some(Fingerprint::of(all.as_flattened()));
        crls
    }
}

impl Crls {
    pub(super) fn problems(&self) -> &[CrlProblem] {
        &self.problems
    }

    pub(super) fn superseded(&self) -> &[Fingerprint] {
        &self.superseded
    }

    /// Returns the CAs that signed those that count, each once.
    pub(super) fn signers(&self) -> Vec<Arc<Certificate>> {
        let mut signers: Vec<Arc<Certificate>> = self.entries.iter().filter_map(|entry| entry.signer.clone()).collect();
        signers.sort_unstable_by_key(|signer| signer.fingerprint);
        signers.dedup_by_key(|signer| signer.fingerprint);
        signers
    }

    /// Hashes a CRL and looks for the CA that signed it, so that its signature is known.
    pub(super) fn look_through(&self, crl: &Crl, trust: &Trust) -> bool {
        crl.fingerprint();
        signer(crl, trust).or_else(|| signer_among(crl, &self.signers())).is_some()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<Crl>, &Provenance)> {
        self.entries.iter().map(|entry| (&entry.crl, &entry.written))
    }

    /// Says of each CRL that does not speak for now why; `true`: so long whoever its issuer signed is denied.
    pub(super) fn untimely(&self, now: UnixTime, skew: u64) -> impl Iterator<Item = (String, bool, &Provenance)> {
        let denies = self.required || self.stale == StaleCrl::Deny;
        let why = move |entry: &Arc<Entry>| entry.untimely(now.as_secs(), skew, &mut Horizon::new(now));
        self.entries.iter().filter_map(move |entry| Some((why(entry)?, denies, &entry.written)))
    }

    /// Tells these CRLs from others.
    pub(super) fn identity(&self) -> Fingerprint {
        self.identity.unwrap_or_else(|| Fingerprint::of(b""))
    }

    /// Tells what is made of them from what others would make.
    pub(super) fn policy_identity(&self) -> [u8; 3] {
        [u8::from(self.stale == StaleCrl::Deny), u8::from(self.required), u8::from(self.missing.is_some())]
    }

    /// Says why a configured certificate anchors nothing: its own issuer took it back.
    pub(super) fn anchor_revoked(&self, anchor: u32) -> Option<&str> {
        self.revoked_anchors.get(&anchor).map(String::as_str)
    }

    /// Finds the CRLs that a CA's key vouches for, the newest of each distribution point.
    pub(super) fn speaking_for(&self, issuer: &Certificate) -> Speaking {
        let mut speaking = Speaking::default();
        let Some(named) = self.by_issuer.get(&issuer.subject.der) else { return speaking };
        for at in named {
            let entry = &self.entries[*at as usize];
            let signed = match &entry.signer {
                Some(signer) => signer.spki_pin == issuer.spki_pin,
                None => entry.crl.is_signed_by(issuer.spki()),
            };
            match signed {
                true => self.take_newest(&mut speaking.crls, *at),
                // Another key of the same CA's, maybe; only one that names this key, or none, claims to speak for it.
                false if entry.signer.is_none() && entry.names_key_of(issuer) => speaking.forged = Some(*at),
                false => {}
            }
        }
        if !speaking.crls.is_empty() {
            speaking.forged = None;
        }
        speaking
    }

    /// Tells whether a configured CA's CRL lists a certificate that this CA signed: asked for every leaf, since pins have no path.
    pub(super) fn lists(&self, leaf: &Certificate) -> Option<String> {
        let named = self.by_issuer.get(&leaf.issuer.der)?;
        let listing = named.iter().map(|at| &self.entries[*at as usize]).filter(|entry| entry.crl.lists(&leaf.serial));
        let mut listing = listing.filter(|entry| entry.signer.as_ref().is_some_and(|signer| leaf.is_signed_by(signer.spki())));
        listing.next().map(|entry| entry.revokes(leaf))
    }

    /// Asks the CRLs of a certificate's issuer. `demanded`: whoever asks wants a fresh one, though not everybody has to have it.
    pub(super) fn status(
        &self,
        certificate: &Certificate,
        issuer: &Issuer,
        now: u64,
        skew: u64,
        demanded: bool,
        horizon: &mut Horizon,
    ) -> Status {
        let required = self.required || demanded;
        let speaking = &issuer.speaking;
        let entries = || speaking.crls.iter().map(|at| &self.entries[*at as usize]);
        if let Some(entry) = entries().find(|entry| entry.crl.lists(&certificate.serial)) {
            return Status::Revoked(entry.revokes(certificate));
        }
        if let Some(forged) = speaking.forged {
            let entry = &self.entries[forged as usize];
            return Status::Unknown(format!("the CRL in {} bears the issuer's name, and the issuer did not sign it", entry.written));
        }
        let stale = entries().find_map(|entry| entry.untimely(now, skew, horizon));
        match stale {
            Some(why) if required || self.stale == StaleCrl::Deny => return Status::Unknown(why),
            _ => {}
        }
        if required && !(may_sign_crls(&issuer.certificate) && entries().any(|entry| entry.crl.speaks_of(certificate))) {
            let issuer = certificate.issuer.rfc2253();
            let key = if self.required { "require_crl" } else { "require_crl_dp" };
            return Status::Unknown(format!("{key} = true, and no CRL of {issuer:?} is at hand"));
        }
        // What was never seen is as old as can be, and may be this issuer's: of those whose CRL is at hand it says nothing.
        if let Some(missing) = self.missing.as_ref().filter(|_| self.stale == StaleCrl::Deny)
            && !entries().any(|entry| entry.crl.speaks_of(certificate))
        {
            let issuer = certificate.issuer.rfc2253();
            return Status::Unknown(format!("no CRL of {issuer:?} is at hand, and {missing} was never fetched: it may be its"));
        }
        Status::Clean
    }

    fn drop_superseded(&mut self) {
        let mut kept: Vec<u32> = Vec::new();
        let mut newest: HashMap<_, u32> = HashMap::new();
        for at in 0..u32::try_from(self.entries.len()).unwrap_or(u32::MAX) {
            let entry = &self.entries[at as usize];
            let Some(signer) = &entry.signer else {
                kept.push(at);
                continue;
            };
            let group = (signer.subject.der.clone(), signer.spki_pin, entry.crl.distribution_point.clone());
            let standing = *newest.entry(group.clone()).or_insert(at);
            if standing == at {
                continue;
            }
            let (old, new) = if entry.is_newer_than(&self.entries[standing as usize]) { (standing, at) } else { (at, standing) };
            newest.insert(group, new);
            let (old, new) = (&self.entries[old as usize], &self.entries[new as usize]);
            // INVARIANT: the newest is never among these. The same CRL at another place takes nobody's.
            self.superseded.extend((old.identity != new.identity).then_some(old.identity));
            let kind = CrlProblemKind::Superseded(new.written.clone());
            self.problems.push(CrlProblem { kind, issuer: old.crl.issuer.rfc2253(), written: old.written.clone() });
        }
        kept.extend(newest.values());
        kept.sort_unstable();
        let mut index = 0;
        self.entries.retain(|_| {
            index += 1;
            kept.binary_search(&(index - 1)).is_ok()
        });
    }

    /// Adds a CRL unless a newer one of the same distribution point is there; takes an older one's place.
    fn take_newest(&self, taken: &mut Vec<u32>, at: u32) {
        let entry = &self.entries[at as usize];
        let same = taken.iter().position(|other| self.entries[*other as usize].crl.distribution_point == entry.crl.distribution_point);
        match same {
            None => taken.push(at),
            Some(place) if entry.is_newer_than(&self.entries[taken[place] as usize]) => taken[place] = at,
            Some(_) => {}
        }
    }
}

impl Entry {
    /// The name of the CA it speaks for: its signer's, however the CRL spells it.
    fn issuer_name(&self) -> &[u8] {
        self.signer.as_ref().map_or(&self.crl.issuer.der, |signer| &signer.subject.der)
    }

    /// RFC 5280, 5.2.3: the CRL number tells; where one has none, thisUpdate.
    fn is_newer_than(&self, other: &Self) -> bool {
        let number = |entry: &Self| entry.crl.number.as_ref().map(|number| (number.len(), number.clone()));
        match (number(self), number(other)) {
            (Some(this), Some(that)) if this != that => this > that,
            _ => self.crl.this_update > other.crl.this_update,
        }
    }

    fn names_key_of(&self, issuer: &Certificate) -> bool {
        match (&self.crl.authority_key_id, &issuer.subject_key_id) {
            (Some(named), Some(key)) => named == key,
            _ => true,
        }
    }

    /// Says why the CRL does not speak for this time.
    fn untimely(&self, now: u64, skew: u64, horizon: &mut Horizon) -> Option<String> {
        let begins = self.crl.this_update.saturating_sub(skew);
        horizon.change_at(begins);
        if now < begins {
            return Some(format!("the CRL in {} is from the future (thisUpdate {})", self.written, Date::of(self.crl.this_update)));
        }
        // RFC 5280, 5.1.2.5, demands nextUpdate: without one nobody could tell that the CRL is old.
        let Some(ends) = self.crl.next_update.map(|next| next.saturating_add(skew)) else {
            return Some(format!("the CRL in {} does not say until when it holds (nextUpdate)", self.written));
        };
        horizon.change_at(ends.saturating_add(1));
        (now > ends).then(|| format!("the CRL in {} is stale (nextUpdate {})", self.written, Date::of(ends.saturating_sub(skew))))
    }

    fn revokes(&self, certificate: &Certificate) -> String {
        format!("serial {} is on the CRL in {}", certificate.serial_hex(), self.written)
    }
}

/// Finds the configured CA that signed a CRL: by its name, or by its key id where the name is spelled in another way.
fn signer(crl: &Crl, trust: &Trust) -> Option<Arc<Certificate>> {
    let by_key = crl.authority_key_id.as_deref().map_or(&[][..], |id| trust.by_key_id(id));
    let mut named = trust.by_subject(&crl.issuer.der).iter().chain(by_key).map(|issuer| &trust.known(*issuer).certificate);
    named.find(|issuer| crl.is_signed_by(issuer.spki())).map(Arc::clone)
}

fn signer_among(crl: &Crl, former: &[Arc<Certificate>]) -> Option<Arc<Certificate>> {
    let names = |ca: &Certificate| {
        ca.subject.der == crl.issuer.der || (crl.authority_key_id.is_some() && crl.authority_key_id == ca.subject_key_id)
    };
    former.iter().find(|ca| names(ca) && crl.is_signed_by(ca.spki())).cloned()
}

/// RFC 5280, 6.3.3 (f). What such a CA lists is revoked all the same; its silence proves nothing.
fn may_sign_crls(issuer: &Certificate) -> bool {
    issuer.key_usage.is_none_or(|usage| usage.crl_sign)
}
