//! Who asks for a change, and by what right: asked again on the control thread, since the right may have ended while the call was read.

use crate::admission::{Basis, BootstrapMode, Clearance, PrincipalId, Snapshot, Token};
use crate::clock;
use crate::date::rfc3339;
use crate::pki::{Certificate, Fingerprint};
use crate::request::service::{Caller, Via};
use crate::store::ledger::{Actor, ActorKind};
use crate::store::managed::{Document, Refusal, State};

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Acting {
    pub(super) right: Right,
    pub(super) principal: Option<Principal>,
    pub(super) leaf: Option<Certificate>,
    /// By which it was shown, where it was: and whose it is.
    token: Option<(Token, PrincipalId)>,
    listener: String,
}

/// The principal that asks.
#[derive(Clone, Debug)]
pub(super) struct Principal {
    pub(super) id: String,
    name: String,
    clearance: Clearance,
    basis: Basis,
}

/// By what right somebody asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    Admin,
    /// The server certificate: may register the first admin.
    Bootstrap,
    /// Whoever may use the local socket.
    Local,
    /// None at all.
    Nobody,
    Operator,
}

impl Acting {
    pub(super) fn of(caller: &Caller) -> Self {
        let right = match (caller.via, caller.clearance()) {
            (Via::Socket, _) => Right::Local,
            (Via::Bootstrap, _) => Right::Bootstrap,
            (Via::Tls, Some(Clearance::Admin)) => Right::Admin,
            (Via::Tls, Some(Clearance::Operator)) => Right::Operator,
            (Via::Tls, Some(Clearance::Node | Clearance::User) | None) => Right::Nobody,
        };
        let principal = caller.principal.as_ref().map(|principal| Principal {
            id: principal.id.to_string(),
            name: principal.name.to_string(),
            clearance: principal.clearance,
            basis: principal.basis.clone(),
        });
        let leaf = caller.leaf.as_ref().and_then(|leaf| Certificate::parse(leaf.der.clone()).ok());
        let token = caller.token.clone().zip(caller.principal.as_ref().map(|principal| principal.id));
        Self { right, principal, leaf, token, listener: caller.listener.to_string() }
    }

    /// It manages those below, and nobody above.
    pub(super) fn is_operator(&self) -> bool {
        self.right == Right::Operator
    }

    /// Describes it for the ledger.
    pub(super) fn actor(&self) -> Actor {
        let kind = match self.right {
            Right::Admin | Right::Operator | Right::Nobody => ActorKind::Admin,
            Right::Bootstrap => ActorKind::Bootstrap,
            Right::Local => ActorKind::Socket,
        };
        Actor {
            id: self.principal.as_ref().map(|principal| principal.id.clone()),
            name: self.principal.as_ref().map(|principal| principal.name.clone()),
            fingerprint: self.leaf.as_ref().map(|leaf| leaf.fingerprint.to_string()),
            token: self.token.as_ref().map(|(token, _)| token.id.to_string()),
            via: Some(self.listener.clone()),
            ..Actor::new(kind)
        }
    }

    /// Asks whether the right holds still.
    pub(super) fn check(&self, state: &State, snapshot: &Snapshot) -> Result<(), Refusal> {
        let holds = match self.right {
            Right::Local => true,
            Right::Bootstrap if state.bootstrap_closed() || snapshot.allowlist.has_admin() => return Err(Refusal::BootstrapClosed),
            Right::Bootstrap => self.begins(state, snapshot),
            Right::Nobody => false,
            Right::Admin | Right::Operator => self.principal.as_ref().is_some_and(|principal| self.still(principal, state, snapshot)),
        };
        if holds && !self.is_taken_back(state) { Ok(()) } else { Err(Refusal::ClearanceTooLow) }
    }

    /// Asks whether what was presented is a certificate that we serve with still, and such may begin.
    fn begins(&self, state: &State, snapshot: &Snapshot) -> bool {
        !self.is_revoked(state) && self.leaf.as_ref().is_some_and(|leaf| snapshot.bootstrap.admits(&leaf.fingerprint).is_some())
    }

    /// Asks whether the token that was shown is over or was taken back while the call was under way.
    fn is_taken_back(&self, state: &State) -> bool {
        let is_over = |token: &Token| clock::wall().as_secs() >= token.expires;
        self.token.as_ref().is_some_and(|(token, owner)| is_over(token) || state.takes_back(token, owner))
    }

    fn is_revoked(&self, state: &State) -> bool {
        self.leaf.as_ref().is_some_and(|leaf| state.revokes(leaf))
    }

    fn still(&self, principal: &Principal, state: &State, snapshot: &Snapshot) -> bool {
        let fingerprint = self.leaf.as_ref().map(|leaf| leaf.fingerprint);
        let ranks = |clearance: Clearance| clearance == Clearance::Admin || clearance == principal.clearance;
        if self.is_revoked(state) {
            return false;
        }
        if let Some(kept) = state.principal(&principal.id) {
            let document = &kept.document();
            return ranks(document.clearance()) && is_usable(document) && proves(document, &principal.basis, fingerprint);
        }
        match principal.basis {
            Basis::ServerCertificate { .. } => snapshot.bootstrap.mode() == BootstrapMode::Always && self.begins(state, snapshot),
            Basis::WellKnownAdmin => snapshot.allowlist.well_known().any(|known| Some(*known) == fingerprint),
            Basis::Authority { .. } | Basis::Pin | Basis::Renewal { .. } | Basis::SpkiPin => {
                snapshot.allowlist.find(&principal.name).is_some_and(|found| {
                    found.id.to_string() == principal.id
                        && !found.provenance.is_ledger()
                        && found.terms.enabled
                        && ranks(found.terms.clearance)
                })
            }
        }
    }
}

/// Tells whether a document's principal is let in just now, its credentials aside.
pub(super) fn is_usable(document: &Document) -> bool {
    let now = clock::wall().as_secs();
    let until = document.valid_until.as_deref().and_then(rfc3339);
    let from = document.valid_from.as_deref().and_then(rfc3339);
    document.enabled && until.is_none_or(|until| now <= until) && from.is_none_or(|from| from <= now)
}

/// Tells whether what was presented is the principal's still.
fn proves(document: &Document, basis: &Basis, fingerprint: Option<Fingerprint>) -> bool {
    match basis {
        Basis::Pin => fingerprint.is_some_and(|fingerprint| document.pinned().any(|pinned| pinned == fingerprint)),
        Basis::SpkiPin => !document.spki_pins.is_empty(),
        Basis::Authority { .. } => !document.authority.is_empty(),
        // It need not be pinned yet: what it rests on is that renewals are taken.
        Basis::Renewal { .. } => document.renews_same_key(),
        Basis::ServerCertificate { .. } | Basis::WellKnownAdmin => false,
    }
}
