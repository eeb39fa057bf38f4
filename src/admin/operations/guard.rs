//! What forbids a change though it could be made: asked in one place, of the newest state, for whoever asks by whatever way. The last
//! admin stays, what is protected is not deleted, an operator changes nothing about those above it, and the server certificate begins and
//! does nothing else. That nobody locks itself out is for `own` to say, of the rules that come of it.

use super::above::{Above, ranks};
use super::acting::{Acting, Right, is_usable};
use crate::admission::{Clearance, Revocation, RevokedId, Snapshot};
use crate::clock::Clock;
use crate::pki::{Fingerprint, SpkiPin};
use crate::reload::control::Prospect;
use crate::store::managed::{Change, Document, Refusal, State};

/// Refuses what must not be done, in the order of the changes.
pub(super) fn check(acting: &Acting, state: &State, snapshot: &Snapshot, changes: &[Change]) -> Result<(), Refusal> {
    if changes.is_empty() {
        return Ok(());
    }
    if acting.right == Right::Bootstrap {
        begins(state, changes)?;
    }
    let above = acting.is_operator().then(|| Above::of(state, snapshot));
    let mut after = state.clone();
    for change in changes {
        if let Some(above) = &above {
            is_below(above, &after, snapshot, change)?;
        }
        is_unprotected(&after, change)?;
        advance(&mut after, change, above.is_some())?;
    }
    keeps_an_admin(state, &after, snapshot, changes)
}

/// Refuses an operator what those above it would be judged otherwise by, in whatever way.
pub(super) fn keeps_those_above(prospect: &Prospect<'_>) -> Result<(), Refusal> {
    let above = Above::of(prospect.state, &prospect.before.snapshot);
    let otherwise = above.is_judged_otherwise(&prospect.before.snapshot, &prospect.after.snapshot, Clock::default().now());
    if otherwise { Err(Refusal::ClearanceTooLow) } else { Ok(()) }
}

/// Keeps of changes that need not be made together those that may be, and says of each other one why not.
pub(super) fn sift(acting: &Acting, state: &State, snapshot: &Snapshot, changes: Vec<Change>) -> (Vec<Change>, Vec<(Change, Refusal)>) {
    let above = acting.is_operator().then(|| Above::of(state, snapshot));
    let mut before = state.clone();
    let (mut may, mut may_not) = (Vec::with_capacity(changes.len()), Vec::new());
    for change in changes {
        let one = std::slice::from_ref(&change);
        let after = match acting.right {
            Right::Bootstrap => Err(Refusal::ClearanceTooLow),
            Right::Admin | Right::Local | Right::Nobody | Right::Operator => made(above.as_ref(), &before, snapshot, &change),
        };
        let after = after.and_then(|after| {
            if is_about_an_admin(&before, &change) {
                keeps_an_admin(&before, &after, snapshot, one)?;
            }
            Ok(after)
        });
        match after {
            Ok(after) => {
                before = after;
                may.push(change);
            }
            Err(refusal) => may_not.push((change, refusal)),
        }
    }
    (may, may_not)
}

/// Goes on to the state that comes of a change, as far as what is asked here depends on it: of a hundred thousand that are new and of no
/// rank, each is checked where it is made.
fn advance(state: &mut State, change: &Change, all: bool) -> Result<(), Refusal> {
    let entries = state.entries();
    let (ranked, plain) = match change {
        Change::PrincipalPut { document } => (ranks(document), !document.protected && state.principal(&document.id).is_none()),
        _ => (false, false),
    };
    if all || ranked || is_about_an_admin(state, change) {
        return state.make(entries, change, None).or_else(whatever_is_not_the_ledgers);
    }
    if plain { Ok(()) } else { state.replay(entries, change) }
}

fn made(above: Option<&Above>, state: &State, snapshot: &Snapshot, change: &Change) -> Result<State, Refusal> {
    if let Some(above) = above {
        is_below(above, state, snapshot, change)?;
    }
    is_unprotected(state, change)?;
    applied(state, change)
}

/// Only then can there be none afterwards: where all admins are gone through, it is not for each of a hundred thousand others.
fn is_about_an_admin(state: &State, change: &Change) -> bool {
    match change {
        Change::PrincipalPut { document } => state.principal(&document.id).is_some_and(|kept| ranks(&kept.document())),
        Change::PrincipalRemove { id, .. } => state.principal(id).is_some_and(|kept| ranks(&kept.document())),
        Change::BootstrapClosed {}
        | Change::CrlPut { .. }
        | Change::CrlRemove { .. }
        | Change::FilesReloaded(_)
        | Change::RevocationAdd { .. }
        | Change::RevocationRemove { .. } => true,
        // Who has no token any more has its certificate still.
        Change::TokenRevoked { .. } | Change::TokensRevoked { .. } => false,
    }
}

/// The state that comes of it. Not yet stamped, so that it is good for comparing only.
fn applied(state: &State, change: &Change) -> Result<State, Refusal> {
    let mut after = state.clone();
    after.make(state.entries(), change, None).or_else(whatever_is_not_the_ledgers)?;
    Ok(after)
}

/// Whoever has no name for something that is not the ledger's hears it from the control thread.
fn whatever_is_not_the_ledgers(refusal: Refusal) -> Result<(), Refusal> {
    if refusal == Refusal::NotFound { Ok(()) } else { Err(refusal) }
}

/// The server certificate registers one admin, and nobody else.
fn begins(state: &State, changes: &[Change]) -> Result<(), Refusal> {
    match changes {
        [Change::PrincipalPut { document }] if document.clearance() == Clearance::Admin && state.principal(&document.id).is_none() => {
            Ok(())
        }
        _ => Err(Refusal::ClearanceTooLow),
    }
}

fn is_unprotected(state: &State, change: &Change) -> Result<(), Refusal> {
    match change {
        Change::PrincipalRemove { id, .. } if state.principal(id).is_some_and(|kept| kept.document().protected) => Err(Refusal::Protected),
        _ => Ok(()),
    }
}

/// An operator manages operators and users.
fn is_below(above: &Above, state: &State, snapshot: &Snapshot, change: &Change) -> Result<(), Refusal> {
    let touches = match change {
        Change::BootstrapClosed {} | Change::FilesReloaded(_) => false,
        Change::CrlPut { .. } | Change::CrlRemove { .. } => return is_told_of_nobody(above, state, change),
        Change::PrincipalPut { document } => {
            let old = state.principal(&document.id).map(|kept| kept.document()).unwrap_or_default();
            ranks(&old) || ranks(document) || above.is_touched_by(&old, document)
        }
        Change::PrincipalRemove { id, .. } => state
            .principal(id)
            .map(|kept| kept.document())
            .is_some_and(|old| ranks(&old) || above.is_touched_by(&old, &Document::default())),
        Change::TokenRevoked { principal: id, .. } | Change::TokensRevoked { id, .. } => match state.principal(id) {
            Some(kept) => ranks(&kept.document()),
            // Of files; or of nobody that is known, and so maybe a well-known admin's.
            None => !id.parse().ok().and_then(|id| snapshot.allowlist.find_static_id(&id)).is_some_and(|of| is_low(of.terms.clearance)),
        },
        // What held already goes on to hold, for the same.
        Change::RevocationAdd { only, .. } if !only.is_empty() => false,
        Change::RevocationAdd { id, .. } | Change::RevocationRemove { id } => {
            // What is no id is refused for that.
            id.parse::<RevokedId>().is_ok_and(|parsed| {
                let kept = state.revocation(id).and_then(|kept| kept.key);
                above.is_hit_by(&parsed, kept.or_else(|| renewed(state, &parsed)), is_spared(state, snapshot, &parsed))
            })
        }
    };
    if touches { Err(Refusal::ClearanceTooLow) } else { Ok(()) }
}

/// Refuses a CRL, as it comes or goes, of which nobody can tell whether it speaks of somebody above.
fn is_told_of_nobody(above: &Above, state: &State, change: &Change) -> Result<(), Refusal> {
    let (name, new) = match change {
        Change::CrlPut { name, der, .. } => (name, Some(der.read()?)),
        Change::CrlRemove { name } => (name, None),
        _ => return Ok(()),
    };
    let old = state.crl(name).map(|kept| &kept.crl);
    match old.into_iter().chain(new).find_map(|crl| above.may_be_spoken_of_by(crl)) {
        Some(why) => Err(Refusal::MaybeAbove { why: format!("of admins and nodes {why}") }),
        None => Ok(()),
    }
}

/// Tells whether an id names a certificate that is pinned for somebody who is not above: pins come before all else.
fn is_spared(state: &State, snapshot: &Snapshot, id: &RevokedId) -> bool {
    let Some(fingerprint) = id.fingerprint() else { return false };
    match state.owner(&fingerprint) {
        Some(kept) => !ranks(&kept.document()),
        None => snapshot.allowlist.owner_of_pin(&fingerprint).is_some_and(|owner| is_low(owner.terms.clearance)),
    }
}

fn is_low(clearance: Clearance) -> bool {
    matches!(clearance, Clearance::Operator | Clearance::User)
}

/// Returns the key that goes with a certificate that renews itself.
fn renewed(state: &State, id: &RevokedId) -> Option<SpkiPin> {
    let fingerprint: Fingerprint = id.fingerprint()?;
    let document = state.owner(&fingerprint)?.document();
    if !document.renews_same_key() {
        return None;
    }
    let entry = document.certificates.iter().find(|entry| entry.fingerprint == fingerprint.to_string())?;
    Some(entry.certificate()?.ok()?.spki_pin)
}

/// Where there was an admin who could come in, there is one.
fn keeps_an_admin(before: &State, after: &State, snapshot: &Snapshot, changes: &[Change]) -> Result<(), Refusal> {
    let takes = |change: &Change| {
        !matches!(
            change,
            Change::BootstrapClosed {}
                | Change::FilesReloaded(_)
                | Change::RevocationRemove { .. }
                | Change::TokenRevoked { .. }
                | Change::TokensRevoked { .. }
        )
    };
    if !changes.iter().any(takes) || has_admin(after, snapshot) || !has_admin(before, snapshot) {
        return Ok(());
    }
    Err(Refusal::LastAdmin)
}

fn has_admin(state: &State, snapshot: &Snapshot) -> bool {
    let managed = || state.admins().map(|kept| kept.document()).any(|admin| is_usable(&admin) && has_credential(state, &admin));
    // Of those in files only what names their certificates outright is held against them.
    let ranks = [Clearance::Admin];
    let from_files = || {
        snapshot.allowlist.ranked(&ranks).any(|(principal, credentials)| {
            let proves = |credential: &crate::admission::Credential| match credential {
                crate::admission::Credential::Pin(pin) => !state.revokes_pin(pin.fingerprint),
                crate::admission::Credential::Authority(_) | crate::admission::Credential::SpkiPin(_) => true,
            };
            !principal.provenance.is_ledger() && principal.terms.enabled && credentials.iter().any(|(credential, _)| proves(credential))
        })
    };
    managed() || from_files()
}

/// Something proves it that nobody revoked.
fn has_credential(state: &State, document: &Document) -> bool {
    if !(document.spki_pins.is_empty() && document.authority.is_empty()) {
        return true;
    }
    let own: Vec<RevokedId> = document.revoked_ids.iter().filter_map(|id| id.parse().ok()).collect();
    document.certificates.iter().any(|entry| match (entry.certificate(), entry.fingerprint.parse::<Fingerprint>()) {
        (Some(Ok(certificate)), _) => !state.revokes(&certificate) && !own.iter().any(|id| Revocation::id_hits(id, &certificate)),
        (Some(Err(_)) | None, Ok(pin)) => !state.revokes_pin(pin) && !own.iter().any(|id| id.fingerprint() == Some(pin)),
        (Some(Err(_)) | None, Err(_)) => false,
    })
}
