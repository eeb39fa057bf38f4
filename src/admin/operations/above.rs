//! Who stands above an operator: admins and nodes, with all that proves them. An operator changes no decision about them, whether directly
//! or by what its change brings about elsewhere. Where that cannot be told, it is refused: an admin may do it.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use rustls_pki_types::UnixTime;

use crate::admission::{Authority, Candidate, Clearance, ClientAddress, Credential, Pin, Revocation, RevokedId, Scope, Snapshot};
use crate::pki::{Certificate, Crl, Fingerprint, SpkiPin};
use crate::store::managed::{CertificateDocument, Document, State};

/// The credentials of whoever stands above.
#[derive(Debug, Default)]
pub(super) struct Above {
    pinned: HashSet<Fingerprint>,
    /// Pins of which the whole certificate is known.
    known: Vec<Arc<Certificate>>,
    /// Those of them that a fresh CRL has to speak of.
    waiting: Vec<Arc<Certificate>>,
    /// Pins of which it is not.
    unknown: Vec<Pin>,
    keys: Vec<SpkiPin>,
    /// Keys whose holders may renew a certificate.
    renewing: Vec<SpkiPin>,
    authorities: Vec<Arc<Authority>>,
}

impl Above {
    /// Gathers them: those of files from what is in force, the others from the newest state.
    pub(super) fn of(state: &State, snapshot: &Snapshot) -> Self {
        let mut above = Self::default();
        for (principal, credentials) in snapshot.allowlist.ranked(&RANKS) {
            if principal.provenance.is_ledger() && state.principal(&principal.id.to_string()).is_none_or(|kept| !ranks(&kept.document())) {
                continue;
            }
            for (credential, _) in credentials {
                let shown = match &credential {
                    Credential::Pin(pin) => snapshot.allowlist.shown(&pin.fingerprint),
                    Credential::Authority(_) | Credential::SpkiPin(_) => None,
                };
                match shown {
                    Some(shown) => above.know(shown, principal.terms.require_crl_dp),
                    None => above.take(credential),
                }
            }
            if let Some(kept) = state.principal(&principal.id.to_string()) {
                above.take_document(&kept.document());
            }
        }
        state.admins().for_each(|kept| above.take_document(&kept.document()));
        for fingerprint in snapshot.bootstrap.admins() {
            match snapshot.allowlist.shown(fingerprint) {
                Some(shown) => above.know(shown, false),
                None => above.take(Credential::Pin(Pin::from(*fingerprint))),
            }
        }
        let known: HashSet<Fingerprint> = above.known.iter().map(|certificate| certificate.fingerprint).collect();
        above.unknown.retain(|pin| !known.contains(&pin.fingerprint));
        above
    }

    fn know(&mut self, certificate: &Arc<Certificate>, waits: bool) {
        self.pinned.insert(certificate.fingerprint);
        self.known.push(Arc::clone(certificate));
        self.waiting.extend(waits.then(|| Arc::clone(certificate)));
    }

    /// Tells whether those above whose certificates are known would be judged otherwise by what comes of a change.
    pub(super) fn is_judged_otherwise(&self, before: &Snapshot, after: &Snapshot, now: UnixTime) -> bool {
        let answer = |snapshot: &Snapshot, certificate: &Certificate| {
            let candidate = Candidate::presented(std::slice::from_ref(&certificate.der));
            // Wherever they come from.
            let scope = Scope { address: ClientAddress::Unsettled(Ipv4Addr::UNSPECIFIED.into()), request: None, control: true };
            let decision = snapshot.decide_in_brief(candidate.as_ref(), &scope, now);
            (decision.denial(), decision.principal.map(|principal| (principal.id, principal.terms.clearance)))
        };
        self.known.iter().any(|certificate| answer(before, certificate) != answer(after, certificate))
    }

    fn take(&mut self, credential: Credential) {
        match credential {
            Credential::Authority(authority) => self.authorities.push(authority),
            Credential::Pin(pin) => {
                self.pinned.insert(pin.fingerprint);
                self.unknown.push(pin);
            }
            Credential::SpkiPin(key) => self.keys.push(key),
        }
    }

    fn take_document(&mut self, document: &Document) {
        for entry in &document.certificates {
            match entry.certificate() {
                Some(Ok(certificate)) => {
                    if document.renews_same_key() {
                        self.renewing.push(certificate.spki_pin);
                    }
                    self.know(&Arc::new(certificate), document.require_crl_dp);
                }
                Some(Err(_)) | None => {
                    if let Ok(fingerprint) = entry.fingerprint.parse::<Fingerprint>() {
                        self.take(Credential::Pin(Pin::from(fingerprint)));
                    }
                }
            }
        }
        self.keys.extend(document.spki_pins.iter().filter_map(|pin| pin.parse::<SpkiPin>().ok()));
        if let Ok((_, credentials)) = document.compile(0) {
            let authorities = credentials.into_iter().filter_map(|(credential, _)| match credential {
                Credential::Authority(authority) => Some(authority),
                Credential::Pin(_) | Credential::SpkiPin(_) => None,
            });
            self.authorities.extend(authorities);
        }
    }

    /// Some of them prove themselves by certificates that nobody can name beforehand.
    fn is_open(&self) -> bool {
        !(self.keys.is_empty() && self.renewing.is_empty() && self.authorities.is_empty())
    }

    /// Tells whether what decides about a document's credentials would, once they come or go, decide about somebody above.
    pub(super) fn is_touched_by(&self, old: &Document, new: &Document) -> bool {
        let has =
            |document: &Document, entry: &CertificateDocument| document.certificates.iter().any(|own| own.fingerprint == entry.fingerprint);
        let gone = old.certificates.iter().filter(|entry| !has(new, entry));
        let mut moved = gone.chain(new.certificates.iter().filter(|entry| !has(old, entry))).peekable();
        let renews =
            (old.renews_same_key() || new.renews_same_key()) && (old.renews_same_key() != new.renews_same_key() || moved.peek().is_some());
        if renews && self.is_open() || moved.any(|entry| self.may_be(entry)) {
            return true;
        }
        let keys = old.spki_pins != new.spki_pins;
        let named = old.name != new.name || old.allow_any_eku != new.allow_any_eku;
        let has_authority = !(old.authority.is_empty() && new.authority.is_empty());
        let authorities = has_authority && (old.authority != new.authority || named || old.revoked_ids != new.revoked_ids);
        (keys && (self.is_open() || self.has_key_of(old, new))) || (authorities && (self.is_open() || self.is_on_a_crl_of(old, new)))
    }

    /// Tells whether a certificate may be that of somebody above, by whatever proves them.
    fn may_be(&self, entry: &CertificateDocument) -> bool {
        let fingerprint = entry.fingerprint.parse::<Fingerprint>().ok();
        match entry.certificate() {
            Some(Ok(certificate)) => self.may_be_certificate(&certificate),
            Some(Err(_)) | None => self.is_open() || fingerprint.is_none_or(|fingerprint| self.pinned.contains(&fingerprint)),
        }
    }

    fn may_be_certificate(&self, certificate: &Certificate) -> bool {
        let key = certificate.spki_pin;
        // What is signed by its own key leads to no anchor.
        let is_own = certificate.is_self_issued() && certificate.is_signed_by(certificate.spki());
        self.pinned.contains(&certificate.fingerprint)
            || certificate.twin().is_some_and(|twin| self.pinned.contains(&twin))
            || self.keys.contains(&key)
            || self.renewing.contains(&key)
            || (!is_own && self.authorities.iter().any(|authority| authority.bounds.check(certificate).is_ok()))
    }

    fn has_key_of(&self, old: &Document, new: &Document) -> bool {
        let mut keys = old.spki_pins.iter().chain(&new.spki_pins).filter_map(|pin| pin.parse::<SpkiPin>().ok());
        keys.any(|key| self.may_have_key(&key))
    }

    fn may_have_key(&self, key: &SpkiPin) -> bool {
        self.known.iter().any(|certificate| certificate.spki_pin == *key)
            || self.unknown.iter().any(|pin| pin.has_key(key) != Some(false))
            || self.keys.contains(key)
    }

    /// A CA that comes or goes makes its CRL count, or not, for pinned certificates too.
    fn is_on_a_crl_of(&self, old: &Document, new: &Document) -> bool {
        let of = |document: &Document| document.compile(0).map(|(_, credentials)| credentials).unwrap_or_default();
        let mut authorities = of(old).into_iter().chain(of(new));
        let names = |subject: &[u8]| self.known.iter().any(|certificate| *certificate.issuer.der == *subject);
        authorities.any(|(credential, _)| match credential {
            Credential::Authority(authority) => authority.certificates.iter().any(|anchor| names(&anchor.subject.der)),
            Credential::Pin(_) | Credential::SpkiPin(_) => false,
        })
    }

    /// Tells whether an id, as it comes or goes, may hit somebody above. `spared`: the certificate that it names is known to be
    /// somebody's who is not.
    pub(super) fn is_hit_by(&self, id: &RevokedId, renewed: Option<SpkiPin>, spared: bool) -> bool {
        let anchors = self.authorities.iter().flat_map(|authority| &authority.certificates);
        if self.known.iter().any(|certificate| Revocation::id_hits(id, certificate))
            || anchors.into_iter().any(|anchor| Revocation::id_hits(id, anchor))
            || renewed.is_some_and(|key| self.may_have_key(&key) || self.is_open())
        {
            return true;
        }
        match (id.fingerprint(), id.key()) {
            (Some(fingerprint), _) => self.pinned.contains(&fingerprint) || (self.is_open() && !spared),
            (None, Some(key)) => self.may_have_key(&key) || !(self.authorities.is_empty() && self.renewing.is_empty()),
            (None, None) => self.is_open() || !self.unknown.is_empty(),
        }
    }

    /// Says why a CRL, as it comes or goes, may speak of somebody above: whose certificate is not known, or who has to have a fresh one.
    /// What it lists of the others is seen where it is compiled.
    pub(super) fn may_be_spoken_of_by(&self, crl: &Crl) -> Option<&'static str> {
        let is_issuers = |certificate: &Arc<Certificate>| {
            let key = &certificate.authority_key_id;
            *certificate.issuer.der == *crl.issuer.der || (key.is_some() && *key == crl.authority_key_id)
        };
        let waits = || self.waiting.iter().any(is_issuers).then_some("one has `require_crl_dp`, and this CRL is of its issuer");
        self.unsure().or_else(waits)
    }

    /// Says why nobody can tell which certificates are theirs.
    pub(super) fn unsure(&self) -> Option<&'static str> {
        let reasons = [
            (!self.authorities.is_empty(), "one comes by an authority, with certificates that nobody can name beforehand"),
            (!self.keys.is_empty(), "one comes by an SPKI pin, with any certificate of that key"),
            (!self.renewing.is_empty(), "one renews its certificate by itself (`renewal = \"same-key\"`)"),
            (!self.unknown.is_empty(), "of one only the fingerprint is known: with its certificate shown whole it could be told"),
        ];
        reasons.into_iter().find_map(|(is_so, why)| is_so.then_some(why))
    }
}

/// Tells whether a document's principal stands above an operator.
pub(super) fn ranks(document: &Document) -> bool {
    RANKS.contains(&document.clearance())
}

const RANKS: [Clearance; 2] = [Clearance::Admin, Clearance::Node];
