//! What lives on a worker, told to whoever asks: connections, and strangers that proved their key and were denied.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use rustls_pki_types::CertificateDer;

use super::answer::Question;
use super::refusals::About;
use super::sightings::is_short;
use super::{Asker, Gate, Lapse, Standing};
use crate::admission::{Candidate, ClientAddress, Decision, Denial, PrincipalId, Scope, Verdict};
use crate::pki::Fingerprint;

/// A live connection.
#[derive(Clone, Debug)]
pub struct Live {
    pub connection: u64,
    pub listener: String,
    pub peer: Option<SocketAddr>,
    /// Seconds since the epoch.
    pub since: u64,
    /// What was presented, and its key proven.
    pub fingerprint: Option<Fingerprint>,
    /// Id and name.
    pub principal: Option<(String, String)>,
    /// Why the connection itself is denied, where denials are answers.
    pub denied: Option<&'static str>,
    /// Requests, streams and upgrades that are open.
    pub open: usize,
}

/// Somebody who proved a key, and was denied.
#[derive(Clone, Debug)]
pub struct Stranger {
    pub fingerprint: Fingerprint,
    pub der: CertificateDer<'static>,
    pub code: &'static str,
    pub listener: String,
    pub peer: Option<SocketAddr>,
    /// Seconds since the epoch.
    pub first: u64,
    pub last: u64,
    /// The same moment, for the order: more than one comes in a second.
    pub latest: Instant,
    pub count: u64,
    /// What came along with the leaf.
    pub(super) intermediates: Vec<CertificateDer<'static>>,
    /// What was denied last.
    pub(super) question: Question,
}

/// The latest of them, latest first; each certificate once.
#[derive(Debug, Default)]
pub(super) struct Strangers(VecDeque<Stranger>);

impl Gate {
    /// Tells of every live connection on this worker.
    pub fn live(&self) -> Vec<Live> {
        let slots = self.standings.borrow().slots.len();
        let standings = (0..slots).filter_map(|slot| self.standing_at(slot));
        standings.filter(|standing| !standing.is_of_token()).map(|standing| standing.tell()).collect()
    }

    /// Counts the tokens of a principal that count, and were shown on connections which live on this worker; and what is open by them.
    pub fn shown_tokens(&self, owner: &PrincipalId) -> (usize, usize) {
        let slots = self.standings.borrow().slots.len();
        let is_owners = |standing: &Rc<Standing>| {
            standing.is_of_token() && standing.candidate().and_then(Candidate::claims).is_some_and(|claims| claims.principal == *owner)
        };
        let standings =
            (0..slots).filter_map(|slot| self.standing_at(slot)).filter(|standing| is_owners(standing) && standing.denied().is_none());
        standings.fold((0, 0), |(shown, open), standing| (shown + 1, open + standing.holds_open()))
    }

    /// Ends a connection, though its client is admitted: an operator said so. False: it is not on this worker.
    pub fn dismiss(&self, connection: u64) -> bool {
        let slots = self.standings.borrow().slots.len();
        let mut standings = (0..slots).filter_map(|slot| self.standing_at(slot));
        let found = standings.find(|standing| standing.asker.connection == connection && !standing.is_of_token());
        found.is_some_and(|standing| {
            standing.dismiss();
            true
        })
    }

    /// Tells of those who proved a key and were denied, latest first.
    pub fn strangers(&self) -> Vec<Stranger> {
        self.strangers.borrow().0.iter().cloned().collect()
    }

    /// Remembers who was denied for what it is; what was denied for what it asked is no stranger.
    pub(super) fn note_stranger(&self, denial: Denial, candidate: Option<&Candidate>, asker: &Asker, about: &About<'_>) {
        let of_a_request = [Denial::ClearanceTooLow, Denial::NotPermitted, Denial::OriginDenied, Denial::SurfaceDenied].contains(&denial);
        // Who shows a token was let in before: that its certificate is listed no more makes it no stranger.
        let Some(candidate) = candidate.filter(|candidate| !of_a_request && !candidate.is_claimed()) else { return };
        let Ok(leaf) = candidate.leaf() else { return };
        let now = self.clock.now().as_secs();
        let mut strangers = self.strangers.borrow_mut();
        let known = strangers.0.iter().position(|stranger| stranger.fingerprint == leaf.fingerprint);
        let (first, count) = known.and_then(|at| strangers.0.remove(at)).map_or((now, 0), |known| (known.first, known.count));
        strangers.0.truncate(MOST - 1);
        strangers.0.push_front(Stranger {
            fingerprint: leaf.fingerprint,
            der: leaf.der.clone(),
            code: denial.code(),
            listener: asker.listener.to_string(),
            peer: asker.peer,
            first,
            last: now,
            latest: Instant::now(),
            count: count + 1,
            intermediates: if is_short(candidate) { candidate.intermediates().to_vec() } else { Vec::new() },
            question: Question::keep(
                &about.scope.unwrap_or(Scope { address: ClientAddress::Unknown, request: None, control: false }),
                about.inquiry,
            ),
        });
    }
}

impl Stranger {
    /// Draws together what workers tell: each certificate once, as it came last on any of them.
    pub fn latest_first(told: impl Iterator<Item = Self>) -> Vec<Self> {
        let mut strangers: Vec<Self> = Vec::new();
        for stranger in told {
            match strangers.iter_mut().find(|known| known.fingerprint == stranger.fingerprint) {
                Some(known) => {
                    let (first, count) = (known.first.min(stranger.first), known.count + stranger.count);
                    if stranger.latest > known.latest {
                        *known = stranger;
                    }
                    (known.first, known.count) = (first, count);
                }
                None => strangers.push(stranger),
            }
        }
        strangers.sort_by_key(|stranger| Reverse(stranger.latest));
        strangers
    }
}

impl Standing {
    fn tell(&self) -> Live {
        let decision: Decision = self.gate.decide(self.candidate(), &Scope { address: self.address, request: None, control: self.control });
        let principal = match &decision.verdict {
            Verdict::Admit(admission) => Some(&admission.principal),
            Verdict::Deny(_) | Verdict::Open => decision.principal.as_ref(),
        };
        Live {
            connection: self.asker.connection,
            listener: self.asker.listener.to_string(),
            peer: self.asker.peer,
            since: self.since,
            fingerprint: self.candidate().and_then(|candidate| candidate.leaf().ok()).map(|leaf| leaf.fingerprint),
            principal: principal.map(|principal| (principal.id.to_string(), principal.name.to_string())),
            denied: self.denied().map(Denial::code),
            open: self.holds_open(),
        }
    }

    fn dismiss(self: &Rc<Self>) {
        self.dismissed.set(true);
        self.gate.metrics.cut(Lapse::Dismissed.code());
        self.wake_all();
    }
}

/// Of one worker: anybody can make as many as they like.
const MOST: usize = 128;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn those_of_one_second_come_in_their_order_whatever_worker_saw_them() {
        let (second, began) = (1_800_000_000, Instant::now());
        let seen = |name: &[u8], code, at| Stranger {
            fingerprint: Fingerprint::of(name),
            der: name.to_vec().into(),
            code,
            listener: "edge".to_owned(),
            peer: None,
            first: second,
            last: second,
            latest: began + Duration::from_millis(at),
            count: 1,
            intermediates: Vec::new(),
            question: Question::keep(&Scope { address: ClientAddress::Unknown, request: None, control: false }, None),
        };
        let told = [seen(b"a", "expired", 1), seen(b"b", "not_listed", 2), seen(b"c", "not_listed", 3), seen(b"a", "revoked", 4)];
        let found: Vec<_> =
            Stranger::latest_first(told.into_iter()).into_iter().map(|one| (one.der.to_vec(), one.code, one.count)).collect();
        let expected = [(b"a".to_vec(), "revoked", 2), (b"c".to_vec(), "not_listed", 1), (b"b".to_vec(), "not_listed", 1)];
        assert_eq!(found, expected);
    }
}
