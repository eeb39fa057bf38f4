//! Taking away what has expired: certificates, and whoever has nothing else.

use std::sync::Arc;

use super::principals::{put, remove};
use super::{How, Plan, change_what_may, control};
use crate::admin::{Error, Shared};
use crate::clock;
use crate::date::rfc3339;
use crate::failure::Failure;
use crate::reload::Recorded;
use crate::request::service::Caller;
use crate::store::managed::{Change, Document, Managed, Refusal, State};

/// Somebody of whom something has expired that stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) name: String,
    pub(crate) why: Refusal,
}

/// Takes the certificates away that have expired, and deletes whoever has no other credential then. What must not go (the last admin, what
/// is protected, those above an operator) stays, and is told.
pub(crate) async fn purge(shared: &Arc<Shared>, caller: &Caller, how: How) -> Result<(Recorded, Vec<Left>), Error> {
    let view = control(shared)?.view();
    let now = clock::wall().as_secs();
    // Every certificate is read for it: not on the thread that takes people off the list.
    let expired = tokio::task::spawn_blocking(move || expired(&view.state, now)).await.map_err(|_| Failure::Internal)?;
    let plan: Plan = Box::new(move |state, _| Ok(expired.iter().filter_map(|expired| expired.still(state, now)).collect()));
    let (recorded, left) = change_what_may(shared, caller, how, plan).await?;
    let left: Vec<Left> = left.into_iter().filter_map(|(change, why)| Some(Left { name: name(change)?, why })).collect();
    for Left { name, why } in left.iter().take(MOST_SAID) {
        tracing::warn!(principal = name, code = why.code(), "has expired, and is not taken away: {why}");
    }
    Ok((recorded, left))
}

/// What is to become of somebody, as it was found.
struct Expired {
    kept: Arc<Managed>,
    change: Change,
}

impl Expired {
    /// The same, where nothing has changed meanwhile; else what is so now.
    fn still(&self, state: &State, now: u64) -> Option<Change> {
        let kept = state.principal(&self.kept.id().to_string())?;
        if Arc::ptr_eq(kept, &self.kept) { Some(self.change.clone()) } else { change(&kept.document(), now) }
    }
}

fn expired(state: &State, now: u64) -> Vec<Expired> {
    let all = state.principals(None);
    all.filter_map(|kept| Some(Expired { change: change(&kept.document(), now)?, kept: Arc::clone(kept) })).collect()
}

fn change(old: &Document, now: u64) -> Option<Change> {
    let is_over = |at: u64| at < now;
    let ended = old.valid_until.as_deref().and_then(rfc3339).is_some_and(is_over);
    let has_expired: Vec<bool> =
        old.certificates.iter().map(|entry| matches!(entry.certificate(), Some(Ok(found)) if is_over(found.not_after))).collect();
    let bare = has_expired.iter().all(|over| *over) && old.spki_pins.is_empty() && old.authority.is_empty();
    if ended || bare {
        return Some(remove(old));
    }
    if !has_expired.contains(&true) {
        return None;
    }
    let mut new = old.clone();
    let mut over = has_expired.into_iter();
    new.certificates.retain(|_| !over.next().unwrap_or_default());
    put(old, new)
}

fn name(change: Change) -> Option<String> {
    match change {
        Change::PrincipalPut { document } => Some(document.name),
        Change::PrincipalRemove { name, .. } => Some(name),
        Change::BootstrapClosed {}
        | Change::CrlPut { .. }
        | Change::CrlRemove { .. }
        | Change::FilesReloaded(_)
        | Change::RevocationAdd { .. }
        | Change::RevocationRemove { .. }
        | Change::TokenRevoked { .. }
        | Change::TokensRevoked { .. } => None,
    }
}

/// In the log, of one purge.
const MOST_SAID: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::Certificate;
    use crate::store::managed::{CertificateDocument, CertificateSource};

    fn certificate(not_after: (i32, u8, u8)) -> Certificate {
        let key = rcgen::KeyPair::generate().expect("a key");
        let (year, month, day) = not_after;
        let mut params = rcgen::CertificateParams::default();
        params.not_after = rcgen::date_time_ymd(year, month, day);
        Certificate::parse(params.self_signed(&key).expect("signed").der().clone()).expect("a certificate")
    }

    fn document(number: u8, certificates: &[&Certificate]) -> Document {
        let of = |certificate: &&Certificate| CertificateDocument::of(certificate, CertificateSource::Registered);
        Document {
            id: format!("p-aaaaaaaaaaa{number}"),
            name: format!("ci/{number}"),
            version: 1,
            certificates: certificates.iter().map(of).collect(),
            ..Document::default()
        }
    }

    #[test]
    fn what_has_expired_goes_and_what_has_not_stays() {
        let (old, older, new) = (certificate((2030, 1, 1)), certificate((2029, 1, 1)), certificate((2035, 1, 1)));
        let mixed = certificate((2030, 1, 2));
        let with_key = Document { spki_pins: vec![new.spki_pin.to_string()], ..document(4, &[&older]) };
        let ended = Document { valid_until: Some("2031-01-01T00:00:00Z".to_owned()), ..document(5, &[]) };
        let unseen = Document { fingerprints: vec!["11".repeat(32)], ..document(6, &[]) }.normalised().expect("good");
        let mut state = State::default();
        for document in [document(1, &[&old]), document(2, &[&mixed, &new]), with_key, ended, unseen] {
            let index = state.entries();
            state.replay(index, &Change::put(document)).expect("good");
        }
        let now = rfc3339("2032-01-01T00:00:00Z").expect("a time");
        let found = expired(&state, now);
        let told = |state: &State| -> Vec<String> {
            let told = |change: Change| match change {
                Change::PrincipalRemove { name, .. } => format!("{name} goes"),
                Change::PrincipalPut { document } => format!("{} keeps {}", document.name, document.certificates.len()),
                other => panic!("{other:?}"),
            };
            found.iter().filter_map(|expired| expired.still(state, now)).map(told).collect()
        };
        assert_eq!(told(&state), ["ci/1 goes", "ci/2 keeps 1", "ci/4 keeps 0", "ci/5 goes"]);
        // Who got another certificate meanwhile, or is gone, is looked at once more.
        let renewed = document(1, &[&old, &certificate((2036, 1, 1))]);
        state.replay(9, &Change::put(renewed)).expect("good");
        state.replay(10, &Change::PrincipalRemove { id: "p-aaaaaaaaaaa5".to_owned(), name: String::new() }).expect("good");
        assert_eq!(told(&state), ["ci/1 keeps 1", "ci/2 keeps 1", "ci/4 keeps 0"]);
    }
}
