//! A token that came over a connection: a standing of its own beside the connection's, judged by the same decision. When it lapses, what
//! is open by it ends, and the connection stays.

use std::rc::Rc;

use super::{Standing, Ways};
use crate::admission::{Candidate, Denial, Scope};
use crate::gate::Possession;

impl Standing {
    /// Opens the standing of a token that came over this connection. `possession`: what it says was proven, with this connection's
    /// certificate beside it. Where it is denied, each `check` answers with the denial.
    pub fn open_token(self: &Rc<Self>, possession: Possession) -> Rc<Self> {
        let scope = Scope { address: self.address, request: None, control: self.control };
        let (decision, window) = self.gate.ask(Some(possession.candidate()), &scope);
        let (address, asker) = ((self.address, self.control), self.asker.clone());
        let token = Self::entered(&self.gate, Some(possession), address, asker, (&decision, window), Some(Rc::clone(self)));
        let mut tokens = self.tokens.borrow_mut();
        tokens.retain(|known| known.strong_count() > 0);
        tokens.push(Rc::downgrade(&token));
        drop(tokens);
        token
    }

    /// Returns what the client presented and proved in its handshake, to be judged beside a token.
    pub fn presented(&self) -> Option<Rc<Candidate>> {
        self.possession.as_ref().map(|possession| Rc::clone(possession.candidate()))
    }

    /// It is a token's, and not a connection's.
    pub fn is_of_token(&self) -> bool {
        self.connection_of.is_some()
    }

    /// It was admitted, and is so no more: for good.
    pub fn is_over(&self) -> bool {
        self.has_lapsed().is_some()
    }

    /// Returns the standings of tokens that live on this connection.
    pub(super) fn tokens(&self) -> Vec<Rc<Self>> {
        self.tokens.borrow().iter().filter_map(std::rc::Weak::upgrade).collect()
    }

    /// Lapses where tokens count no more.
    pub(super) fn taken_away(&self, ways: &dyn Ways) {
        if self.is_of_token() && !self.is_over() && !ways.takes_tokens(&self.asker.listener) {
            self.lapse(Denial::TokenInvalid, &self.decision());
        }
    }
}
