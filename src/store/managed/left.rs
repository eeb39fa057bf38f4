//! What a principal's own revoked ids leave behind when it goes, or loses what they hold for: an id stays revoked until somebody takes it
//! back on purpose, as a CRL does. Made into revocations of their own, recorded in the same change.

use std::collections::BTreeSet;

use super::change::Change;
use super::document::{CertificateDocument, Document, certificates};
use super::refusal::{Invalid, Refusal};
use super::state::State;
use crate::admission::{Reach, Revocation, RevokedId};
use crate::pki::{Certificate, Fingerprint, SpkiPin};

impl Change {
    /// Returns the revocations that have to be recorded with it, so that it lifts none by what it takes away. Ids that a document says no more
    /// are another matter: whoever leaves them out may mean that.
    pub fn leaves(&self, state: &State) -> Vec<Self> {
        let (id, new) = match self {
            Self::PrincipalPut { document } => (&document.id, Some(&**document)),
            Self::PrincipalRemove { id, .. } => (id, None),
            Self::BootstrapClosed {}
            | Self::CrlPut { .. }
            | Self::CrlRemove { .. }
            | Self::FilesReloaded(_)
            | Self::RevocationAdd { .. }
            | Self::RevocationRemove { .. }
            | Self::TokenRevoked { .. }
            | Self::TokensRevoked { .. } => return Vec::new(),
        };
        let Some(old) = state.principal(id).map(|kept| kept.document()) else { return Vec::new() };
        old.left(state, new, |id| new.is_none_or(|new| new.revoked_ids.contains(id)))
    }
}

impl Document {
    /// Returns what keeps the ids revoked that another document in the place of this one does not have.
    pub fn leaves_out(&self, state: &State, new: &Self) -> Vec<Change> {
        self.left(state, None, |id| !new.revoked_ids.contains(id))
    }

    fn left(&self, state: &State, new: Option<&Self>, wanted: impl Fn(&String) -> bool) -> Vec<Change> {
        if self.revoked_ids.is_empty() {
            return Vec::new();
        }
        let (had, has) = (Held::of(self), new.map(Held::of).unwrap_or_default());
        let revocation = |text: &String| {
            let id: RevokedId = text.parse().ok()?;
            let known = state.revocation(text).map(|kept| &kept.only);
            let stays = |reach: &Reach| has.reaches(reach) || known.is_some_and(|only| only.contains(reach));
            let lost: Vec<Reach> = had.reached_by(&id).into_iter().filter(|reach| !stays(reach)).collect();
            let reason = format!("of the revoked_ids of {}", self.name);
            (!lost.is_empty()).then(|| Change::revoke_within(text, &lost, reason))
        };
        self.revoked_ids.iter().filter(|id| wanted(id)).filter_map(revocation).collect()
    }
}

/// Reads what an id reaches.
pub(super) fn reaches(texts: &[String]) -> Result<BTreeSet<Reach>, Refusal> {
    let read = |text: &String| text.parse().map_err(|_| Refusal::Invalid(vec![Invalid::new("only", format!("`{text}` is no digest"))]));
    texts.iter().map(read).collect()
}

/// What a document's ids hold for.
#[derive(Default)]
struct Held {
    anchors: BTreeSet<SpkiPin>,
    keys: BTreeSet<SpkiPin>,
    pins: Vec<(Fingerprint, Option<Certificate>)>,
}

impl Held {
    fn of(document: &Document) -> Self {
        let bundles = document.authority.iter().flat_map(|authority| &authority.certificates);
        let anchors = bundles.filter_map(|text| certificates(text).ok()).flatten().map(|anchor| anchor.spki_pin);
        let pin = |entry: &CertificateDocument| Some((entry.fingerprint.parse().ok()?, entry.certificate().and_then(Result::ok)));
        Self {
            anchors: anchors.collect(),
            keys: document.spki_pins.iter().filter_map(|pin| pin.parse().ok()).collect(),
            pins: document.certificates.iter().filter_map(pin).collect(),
        }
    }

    fn reaches(&self, reach: &Reach) -> bool {
        match reach {
            Reach::Certificate(fingerprint) => self.pins.iter().any(|(pin, _)| pin == fingerprint),
            Reach::Key(key) => self.anchors.contains(key) || self.keys.contains(key),
        }
    }

    /// Returns what an id holds for: every anchor, since anybody may come by it; of pins and keys those that it hits, or of which nobody can
    /// tell.
    fn reached_by(&self, id: &RevokedId) -> BTreeSet<Reach> {
        let anchors = self.anchors.iter().copied();
        let keys = self.keys.iter().copied().filter(|key| id.key().is_none_or(|known| known == *key));
        let may_hit = |(pin, certificate): &&(Fingerprint, Option<Certificate>)| match (certificate, id.fingerprint()) {
            (Some(certificate), _) => Revocation::id_hits(id, certificate),
            (None, Some(fingerprint)) => fingerprint == *pin,
            (None, None) => true,
        };
        let pins = self.pins.iter().filter(may_hit).map(|(pin, _)| Reach::Certificate(*pin));
        anchors.chain(keys).map(Reach::Key).chain(pins).collect()
    }
}
