//! A live connection's grant, kept true as rules and time move on. `check` is asked for each request;
//! `Hold` stands for each open request, stream and upgrade, and lapses when its scope is denied.

mod again;
mod shown;

use std::cell::{Cell, OnceCell, RefCell};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use ipnet::IpNet;

use super::answer::{Answer, Judged, Window};
use super::grant::Kind;
use super::hold::{Held, Holds};
use super::refusals::{Refused, token_of};
use super::{About, Admitted, Asker, Checkpoint, Cuts, Gate, Grant, Hold, Inquiry, Lapse, Possession, Target, Ways};
use crate::admission::{Basis, Candidate, ClientAddress, Decision, Denial, Origin, PrincipalId, RouteAuth, Scope, Verdict};

/// One connection's standing. Registered with its worker's gate while it lives.
pub struct Standing {
    pub(super) gate: Rc<Gate>,
    possession: Option<Possession>,
    pub(super) address: ClientAddress,
    /// Its listener serves our own surfaces and no upstream.
    pub(super) control: bool,
    pub(super) asker: Asker,
    /// Seconds since the epoch.
    pub(super) since: u64,
    /// The name that the client opened it for (SNI).
    pub(super) sni: OnceCell<Box<str>>,
    /// An operator ended it.
    pub(super) dismissed: Cell<bool>,
    /// It began what ended its own right: the first admin is there. What it asked for is answered, nothing else is.
    leaving: Cell<bool>,
    slot: Cell<usize>,
    /// The install that everything open was last asked under.
    reviewed: Cell<u64>,
    connection: RefCell<Connection>,
    /// The latest answers about requests, latest first.
    pub(super) answers: RefCell<Vec<Rc<Answer>>>,
    holds: RefCell<Holds>,
    waker: RefCell<Option<Waker>>,
    /// Of a token: the connection's, which it came over.
    connection_of: Option<Rc<Standing>>,
    /// Of a connection: those of the tokens that came over it, and live.
    tokens: RefCell<Vec<Weak<Standing>>>,
}

/// The answer about the connection itself.
struct Connection {
    window: Window,
    denial: Option<Denial>,
    /// The server's own certificate, until there is an admin.
    begins: bool,
    gateways: Arc<[IpNet]>,
    /// It was admitted, and is so no more: for good.
    lapsed: Option<Denial>,
    /// Kept until the connection is gone.
    cuts: Option<Arc<Cuts>>,
}

impl Standing {
    /// Opens the standing of a connection after its handshake, full or resumed, before any request is read: the lock.
    /// `Err` (recorded) when the connection is denied; with `http_denials` (`client_auth = "request"`) it opens all the
    /// same, and each `check` answers with the denial.
    pub fn open(
        gate: &Rc<Gate>,
        possession: Option<Possession>,
        address: ClientAddress,
        asker: Asker,
        http_denials: bool,
    ) -> Result<Rc<Self>, Box<Decision>> {
        Self::open_on(gate, possession, (address, false), asker, http_denials)
    }

    /// The same on a listener of which is known whether it serves our own surfaces and no upstream (`control`).
    pub fn open_on(
        gate: &Rc<Gate>,
        possession: Option<Possession>,
        (address, control): (ClientAddress, bool),
        asker: Asker,
        http_denials: bool,
    ) -> Result<Rc<Self>, Box<Decision>> {
        let candidate = possession.as_ref().map(|possession| &**possession.candidate());
        let scope = Scope { address, request: None, control };
        let (decision, window) = gate.ask(candidate, &scope);
        let about = About::of(Checkpoint::Established, scope);
        match (&decision.verdict, &possession) {
            (Verdict::Admit(_), Some(possession)) => {
                gate.remember(possession.candidate());
                gate.note_renewal(&decision, Some(possession));
                gate.record(&decision, candidate, &asker, about);
            }
            _ if http_denials => {}
            _ => {
                gate.record(&decision, candidate, &asker, about);
                return Err(Box::new(decision));
            }
        }
        Ok(Self::entered(gate, possession, (address, control), asker, (&decision, window), None))
    }

    /// Registers a standing with its gate.
    fn entered(
        gate: &Rc<Gate>,
        possession: Option<Possession>,
        (address, control): (ClientAddress, bool),
        asker: Asker,
        (decision, window): (&Decision, Window),
        connection_of: Option<Rc<Self>>,
    ) -> Rc<Self> {
        let standing = Rc::new(Self {
            gate: Rc::clone(gate),
            address,
            control,
            asker,
            since: gate.clock.now().as_secs(),
            sni: OnceCell::new(),
            dismissed: Cell::new(false),
            leaving: Cell::new(false),
            slot: Cell::new(0),
            reviewed: Cell::new(gate.installs.get()),
            connection: RefCell::new(Connection {
                window,
                denial: denial_of(decision),
                gateways: gateways(decision),
                begins: begins(decision),
                lapsed: None,
                cuts: None,
            }),
            answers: RefCell::default(),
            holds: RefCell::default(),
            waker: RefCell::default(),
            connection_of,
            tokens: RefCell::default(),
            possession,
        });
        standing.slot.set(gate.standings.borrow_mut().enter(Rc::downgrade(&standing)));
        standing
    }

    /// Asks for one request, and records a denial. Remembered by everything the answer depends on, so that a request costs two comparisons.
    pub fn check(&self, scope: &Scope<'_>) -> Result<Grant, Denial> {
        self.check_inquiry(scope, None).map(|(grant, _)| grant)
    }

    /// The same, and stands for the request as [`hold`](Self::hold) does. `inquiry`: what can be told of it, for the log.
    pub fn admit(
        self: &Rc<Self>,
        scope: &Scope<'_>,
        inquiry: Inquiry<'_>,
        target: impl FnOnce() -> Option<Target>,
    ) -> Result<(Grant, Hold), Denial> {
        let (grant, answer) = self.check_inquiry(scope, Some(inquiry))?;
        let principal = principal_of(&grant);
        Ok((grant, Hold::new(self, Held::of(answer, target(), principal, None))))
    }

    fn check_inquiry(&self, scope: &Scope<'_>, inquiry: Option<Inquiry<'_>>) -> Result<(Grant, Rc<Answer>), Denial> {
        let now = self.gate.clock.now().as_secs();
        self.keep_true(now);
        if let Some(denial) = self.has_lapsed() {
            return Err(denial);
        }
        let answer = self.answer(scope, inquiry, now);
        let outcome = match &answer.judged.borrow().outcome {
            Ok(grant) => Ok(grant.clone()),
            Err(decision) => {
                let about = About { inquiry, ..About::of(Checkpoint::Request, *scope) };
                self.gate.record(decision, self.candidate(), &self.asker, about);
                Err(refusal(decision))
            }
        };
        outcome.map(|grant| (grant, answer))
    }

    /// Writes the line of a request that is refused though no decision says so: for where it came, or by a limit. `grant`: whom it
    /// was admitted as before.
    pub fn refuse(&self, code: &'static str, why: &str, grant: Option<&Grant>, inquiry: Inquiry<'_>) {
        let admitted = grant.and_then(Grant::admitted);
        let refused = Refused {
            code,
            generation: self.gate.snapshot.borrow().generation,
            principal: admitted.map(|admitted| &*admitted.admission.principal),
            leaf: self.candidate().and_then(|candidate| candidate.leaf().ok()),
            token: self.candidate().and_then(token_of),
            by_key_alone: admitted.is_some_and(|admitted| admitted.admission.basis == Basis::SpkiPin),
        };
        let scope = Scope { address: self.address, request: None, control: self.control };
        let about = About { inquiry: Some(inquiry), ..About::of(Checkpoint::Request, scope) };
        self.gate.refusals.borrow_mut().log(&refused, || format!("request: {why}"), &self.asker, &about);
    }

    /// Stands for an open request in `scope` until dropped; to be taken right after `check` admitted it. Other rules
    /// judge it anew, as the request for `target` that it was; `None`: no route leads it anywhere, it is ours to answer.
    pub fn hold(self: &Rc<Self>, scope: &Scope<'_>, target: Option<&Target>) -> Hold {
        let answer = self.answer(scope, None, self.gate.clock.now().as_secs());
        let (principal, lapsed) = match &answer.judged.borrow().outcome {
            Ok(grant) => (principal_of(grant), None),
            Err(decision) => (None, Some(Lapse::Denied(refusal(decision)))),
        };
        Hold::new(self, Held::of(answer, target.cloned(), principal, lapsed))
    }

    /// Waits until the connection itself is denied, or an operator ends it. To be polled from one task only, which is woken
    /// too when it [is to leave](Self::is_leaving).
    pub fn poll_lapsed(&self, context: &mut Context<'_>) -> Poll<Lapse> {
        self.catch_up();
        if let Some(lapse) = self.lapse_of_all() {
            return Poll::Ready(lapse);
        }
        match &mut *self.waker.borrow_mut() {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Waits for the same.
    pub async fn lapsed(&self) -> Lapse {
        poll_fn(|context| self.poll_lapsed(context)).await
    }

    /// Returns why the leaf is denied: where denials are HTTP answers, or while the connection is being cut. A
    /// connection without a certificate is no such case: it may go on to open routes.
    pub fn denied(&self) -> Option<Denial> {
        let connection = self.connection.borrow();
        connection.lapsed.or(connection.denial.filter(|_| self.possession.is_some()))
    }

    /// Judges the connection itself, anew: for the log, where no request came to be.
    pub fn decision(&self) -> Decision {
        self.gate.decide(self.candidate(), &Scope { address: self.address, request: None, control: self.control })
    }

    /// Says for which name the client opened the connection: told where other rules are considered, never judged by.
    pub fn opened_for(&self, sni: &str) {
        // It is said once.
        let _ = self.sni.set(sni.into());
    }

    /// Returns who is asking.
    pub fn asker(&self) -> &Asker {
        &self.asker
    }

    /// Returns the address that the connection stands for.
    pub fn address(&self) -> ClientAddress {
        self.address
    }

    /// Tells whether its listener serves our own surfaces and no upstream.
    pub fn is_control(&self) -> bool {
        self.control
    }

    /// Returns what the client presented and proved; `None` when nothing.
    pub fn candidate(&self) -> Option<&Candidate> {
        self.possession.as_ref().map(|possession| &**possession.candidate())
    }

    /// Returns how many requests, streams and upgrades are open.
    pub fn holds_open(&self) -> usize {
        self.holds.borrow().len() + self.tokens().iter().map(|token| token.holds.borrow().len()).sum::<usize>()
    }

    /// Gateways of the principal, whose forwarding header counts; empty when none.
    pub fn gateway_ips(&self) -> Arc<[IpNet]> {
        Arc::clone(&self.connection.borrow().gateways)
    }

    /// It is to end once what is under way is answered.
    pub fn is_leaving(&self) -> bool {
        self.leaving.get() || self.gate.draining.get()
    }

    /// Wakes whoever serves the connection.
    pub(super) fn wake(&self) {
        let waker = self.waker.take();
        waker.into_iter().for_each(Waker::wake);
    }

    /// Returns why everything on the connection has to end, if it has to.
    pub(super) fn lapse_of_all(&self) -> Option<Lapse> {
        let own = self.has_lapsed().map(Lapse::Denied).or(self.dismissed.get().then_some(Lapse::Dismissed));
        own.or_else(|| self.connection_of.as_ref()?.lapse_of_all())
    }

    /// What is open was asked under the rules of now.
    #[cfg(test)]
    pub(super) fn has_caught_up(&self) -> bool {
        self.reviewed.get() == self.gate.installs.get()
    }

    pub(super) fn has_lapsed(&self) -> Option<Denial> {
        self.connection.borrow().lapsed
    }

    pub(super) fn holds(&self) -> &RefCell<Holds> {
        &self.holds
    }

    /// Judges the connection again if its answer no longer holds. Once admitted and now denied, it lapses.
    fn keep_true(&self, now: u64) {
        let connection = self.connection.borrow();
        if connection.lapsed.is_some() || self.gate.holds(connection.window, now) {
            return;
        }
        let (was_denied, begun) = (connection.denial, connection.begins);
        drop(connection);
        let (decision, window) = self.gate.ask(self.candidate(), &Scope { address: self.address, request: None, control: self.control });
        self.gate.note_renewal(&decision, self.possession.as_ref());
        let denial = denial_of(&decision);
        let mut connection = self.connection.borrow_mut();
        connection.window = window;
        connection.denial = denial;
        connection.gateways = gateways(&decision);
        drop(connection);
        match (was_denied, denial) {
            (None, Some(denial)) if begun => {
                self.leaving.set(true);
                self.tell_end(denial, &decision);
                self.wake_all();
            }
            (None, Some(denial)) => self.lapse(denial, &decision),
            _ => {}
        }
    }

    /// Lapses if it is denied and its listener does not answer the denied any more: so that `require` holds for those
    /// that came while it was `request`.
    fn shut_out(&self, ways: &dyn Ways) {
        let connection = self.connection.borrow();
        let (None, Some(denial)) = (connection.lapsed, connection.denial) else { return };
        drop(connection);
        // A token that is denied is no credential; its connection says what comes of that.
        if self.leaving.get() || self.connection_of.is_some() || ways.answers_denied(&self.asker.listener) {
            return;
        }
        self.lapse(denial, &self.decision());
    }

    fn lapse(&self, denial: Denial, decision: &Decision) {
        let cuts = self.gate.one_more_cut();
        let mut connection = self.connection.borrow_mut();
        connection.lapsed = Some(denial);
        if self.is_of_token() {
            // It stays with its connection, denied; what has to go is what is open by it.
            self.holds.borrow_mut().live().for_each(|held| held.cuts = held.cuts.take().or_else(|| cuts.clone()));
        } else {
            connection.cuts = cuts;
        }
        drop(connection);
        self.tell_end(denial, decision);
        self.wake_all();
    }

    fn tell_end(&self, denial: Denial, decision: &Decision) {
        self.gate.metrics.cut(denial.code());
        let about = About::of(Checkpoint::Live, Scope { address: self.address, request: None, control: self.control });
        self.gate.record(decision, self.candidate(), &self.asker, about);
    }

    /// Wakes whatever waits for its end.
    pub(super) fn wake_all(&self) {
        let mut wakers: Vec<Waker> = self.waker.take().into_iter().collect();
        wakers.extend(self.holds.borrow_mut().live().filter_map(|held| held.waker.take()));
        for token in self.tokens() {
            wakers.extend(token.holds.borrow_mut().live().filter_map(|held| held.waker.take()));
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Returns an answer that holds: remembered, or judged now.
    fn answer(&self, scope: &Scope<'_>, inquiry: Option<Inquiry<'_>>, now: u64) -> Rc<Answer> {
        let mut answers = self.answers.borrow_mut();
        if let Some(index) = answers.iter().position(|answer| answer.answers(scope)) {
            answers.swap(0, index);
            self.refresh(&answers[0], now);
            return Rc::clone(&answers[0]);
        }
        let answer = Rc::new(Answer::new(scope, inquiry, self.judge(scope)));
        if remembers(scope) {
            answers.truncate(MAX_ANSWERS - 1);
            answers.insert(0, Rc::clone(&answer));
        }
        answer
    }

    fn refresh(&self, answer: &Answer, now: u64) {
        if !self.gate.holds(answer.judged.borrow().window, now) {
            let judged = self.judge(&answer.scope());
            answer.judged.replace(judged);
        }
    }

    fn judge(&self, scope: &Scope<'_>) -> Judged {
        let (decision, window) = self.gate.ask(self.candidate(), scope);
        self.gate.note_renewal(&decision, self.possession.as_ref());
        let kind = match (&decision.verdict, &self.possession) {
            (Verdict::Admit(admission), Some(possession)) => Some(Kind::Certificate(self.gate.in_common(Admitted {
                candidate: Rc::clone(possession.candidate()),
                admission: admission.clone(),
                generation: decision.generation,
                told: OnceCell::new(),
            }))),
            (Verdict::Open, _) if is_open(scope) => Some(Kind::Open),
            _ => None,
        };
        Judged { window, outcome: kind.map(Grant).ok_or_else(|| Box::new(decision)) }
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        if let Some(possession) = self.possession.as_ref().filter(|_| self.denied().is_none()) {
            self.note_sighting(possession.candidate());
        }
        self.gate.standings.borrow_mut().leave(self.slot.get());
    }
}

impl std::fmt::Debug for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Standing").field("asker", &self.asker).field("denied", &self.denied()).finish_non_exhaustive()
    }
}

/// Returns why the connection itself is denied.
fn denial_of(decision: &Decision) -> Option<Denial> {
    match decision.verdict {
        Verdict::Admit(_) => None,
        Verdict::Deny(denial) => Some(denial),
        // Nobody in particular: what a connection without a certificate is.
        Verdict::Open => Some(Denial::NoCredential),
    }
}

/// Returns the denial of a decision that gave no grant.
fn refusal(decision: &Decision) -> Denial {
    // INVARIANT: an admission without a proven key, or an opening of a route that is not open, is none.
    denial_of(decision).unwrap_or(Denial::NoCredential)
}

/// Tells whether it is the server's own certificate that may register the first admin.
fn begins(decision: &Decision) -> bool {
    matches!(&decision.verdict, Verdict::Admit(admission) if matches!(admission.basis, Basis::ServerCertificate { first_only: true }))
}

fn gateways(decision: &Decision) -> Arc<[IpNet]> {
    match &decision.verdict {
        Verdict::Admit(admission) => admission.principal.terms.gateway_ips.as_slice().into(),
        Verdict::Deny(_) | Verdict::Open => Arc::default(),
    }
}

fn principal_of(grant: &Grant) -> Option<PrincipalId> {
    grant.admitted().map(|admitted| admitted.admission.principal.id)
}

/// Whatever the decision says: only a route that says so is open.
fn is_open(scope: &Scope<'_>) -> bool {
    let route = scope.request.and_then(|request| request.route);
    route.is_some_and(|route| matches!(route.auth, RouteAuth::None | RouteAuth::Optional))
}

/// Text that a client chose is remembered only while it is short.
fn remembers(scope: &Scope<'_>) -> bool {
    !scope.request.is_some_and(|request| matches!(request.origin, Origin::Other(text) if text.len() > MAX_ORIGIN))
}

const MAX_ANSWERS: usize = 8;
const MAX_ORIGIN: usize = 256;
