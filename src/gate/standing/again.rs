//! What is open on a connection, asked again: when other rules come in force, as the request that it was, where these
//! lead it; when time passes, as it stands.

use std::rc::Rc;
use std::task::Waker;

use super::{Standing, principal_of, refusal};
use crate::admission::{ClientAddress, Denial, RequestScope, Scope};
use crate::gate::answer::Answer;
use crate::gate::hold::Held;
use crate::gate::{About, Checkpoint, Lapse, Way, Ways};

impl Standing {
    /// Asks again whatever no longer holds; returns the second at which time alone may change an answer.
    pub(in crate::gate) fn review(&self) -> u64 {
        let now = self.gate.clock.now().as_secs();
        self.keep_true(now);
        let installs = self.gate.installs.get();
        // What time changes, it changes where the requests are.
        let ways = if self.reviewed.replace(installs) == installs { None } else { self.gate.ways.borrow().clone() };
        if let Some(ways) = &ways {
            self.shut_out(&**ways);
            self.taken_away(&**ways);
        }
        let connection = self.connection.borrow();
        if connection.lapsed.is_some() {
            return u64::MAX;
        }
        let until = connection.window.until;
        drop(connection);
        until.min(self.review_holds(ways.as_deref(), now))
    }

    /// Asks again whatever was judged under other rules: what is at work does not wait until a review comes by.
    pub(in crate::gate) fn catch_up(&self) {
        if self.reviewed.get() != self.gate.installs.get() {
            let until = self.review();
            self.gate.due.set(self.gate.due.get().min(until));
        }
    }

    fn review_holds(&self, ways: Option<&dyn Ways>, now: u64) -> u64 {
        let mut until = u64::MAX;
        let mut wakers = Vec::new();
        for held in self.holds.borrow_mut().live().filter(|held| held.lapsed.is_none()) {
            let lapse = self.judge_again(held, ways, now);
            until = until.min(held.answer.judged.borrow().window.until);
            let Some(lapse) = lapse else { continue };
            self.gate.metrics.cut(lapse.code());
            held.lapse(lapse, self.gate.one_more_cut());
            wakers.extend(held.waker.take());
        }
        wakers.into_iter().for_each(Waker::wake);
        until
    }

    /// Judges an open request as the request that it was; under other rules, where these lead it.
    fn judge_again(&self, held: &mut Held, ways: Option<&dyn Ways>, now: u64) -> Option<Lapse> {
        // What began before the first admin came ends by itself: whoever carries it out asks again whether it may.
        if self.leaving.get() {
            return None;
        }
        let Held { answer, target, principal, .. } = held;
        let (strayed, moved) = match ways.zip(target.as_ref()).map(|(ways, target)| (ways, ways.way(target))) {
            Some((ways, way)) => (strayed(answer, &way), self.moved(answer, ways, &way, now)),
            None => (None, None),
        };
        match moved {
            Some(moved) => *answer = moved,
            None => self.refresh(answer, now),
        }
        match &answer.judged.borrow().outcome {
            Err(decision) => {
                self.gate.record(decision, self.candidate(), &self.asker, About::of(Checkpoint::Live, answer.scope()));
                Some(Lapse::Denied(refusal(decision)))
            }
            Ok(grant) => match (principal_of(grant), principal) {
                // The certificate went to another principal: the one whose stream this is has it no more.
                (Some(now), Some(then)) if now != *then => Some(Lapse::Denied(Denial::NotListed)),
                _ => strayed,
            },
        }
    }

    /// Asks where the request leads now and who says from where it comes, if that asks for something else.
    fn moved(&self, answer: &Answer, ways: &dyn Ways, way: &Way<'_>, now: u64) -> Option<Rc<Answer>> {
        let scope = answer.scope();
        let request = scope.request?;
        let address = self.address_now(scope.address, ways);
        let same = request.route == way.route && request.access == way.access && scope.address == address;
        let request = Some(RequestScope { route: way.route, access: way.access, ..request });
        (!same).then(|| self.answer(&Scope { address, request, ..scope }, None, now))
    }

    /// An address that a header gave is its peer's word; where that counts no more, the peer itself is where the request is from.
    fn address_now(&self, then: ClientAddress, ways: &dyn Ways) -> ClientAddress {
        let Some(peer) = self.address.ip().map(|ip| ip.to_canonical()) else { return then };
        let is_gateway = || self.connection.borrow().gateways.iter().any(|gateway| gateway.contains(&peer));
        let heard = then == ClientAddress::Settled(peer) || ways.hears(self.address) || is_gateway();
        if heard { then } else { ClientAddress::Settled(peer) }
    }
}

/// Says why a request does not go where it went, whoever sends it. A route is the one of this name: it may have another
/// upstream, and what is open goes on.
fn strayed(answer: &Answer, way: &Way<'_>) -> Option<Lapse> {
    let then = answer.scope().request.and_then(|request| request.route);
    match (then, way.route) {
        (_, None) => Some(Lapse::NoRoute),
        (Some(then), Some(now)) if then.name == now.name && way.served => None,
        (_, Some(_)) => Some(Lapse::Withdrawn),
    }
}
