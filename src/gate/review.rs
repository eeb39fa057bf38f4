//! Asks every live standing of a worker again, some at a time: with a hundred thousand of them, whoever loses nothing by
//! the change must not wait either. Those come first from whom it seems to take something; and what is not idle does not wait for
//! its turn: it is asked before it moves on.

use std::rc::Rc;

use super::{Gate, Standing};
use crate::admission::Changes;

/// The standings that are still to be asked.
#[must_use = "nobody who is idle is cut before it is carried out"]
pub struct Review {
    gate: Rc<Gate>,
    /// While it is looked who comes first.
    changes: Option<Changes>,
    next: usize,
    end: usize,
}

impl Review {
    /// Of every standing that lives. Whoever comes later is judged by the rules of then.
    pub(super) fn of_all(gate: &Rc<Gate>, changes: Option<Changes>) -> Self {
        gate.due.set(u64::MAX);
        Self { gate: Rc::clone(gate), changes, next: 0, end: gate.standings.borrow().slots.len() }
    }

    /// Of nobody: no answer changes yet.
    pub(super) fn of_none(gate: &Rc<Gate>) -> Self {
        Self { gate: Rc::clone(gate), changes: None, next: 0, end: 0 }
    }

    /// Asks some; tells whether there are more. Whatever else the worker has to do may be done between.
    pub fn step(&mut self) -> bool {
        let mut cost = 0;
        while self.next < self.end && cost < AT_ONCE {
            // Not borrowed while the standing is asked: waking one may end another.
            let standing = self.gate.standing_at(self.next);
            self.next += 1;
            let Some(standing) = standing else { continue };
            cost += LOOK;
            if self.changes.as_ref().is_none_or(|changes| standing.is_concerned(changes)) {
                cost += ANSWER * (1 + standing.holds_open());
                let until = standing.review();
                self.gate.due.set(self.gate.due.get().min(until));
            }
        }
        if self.next == self.end && self.changes.take().is_some() {
            self.next = 0;
        }
        self.next < self.end
    }

    /// Asks all.
    pub fn finish(mut self) {
        while self.step() {}
    }
}

impl Standing {
    /// Tells whether its client is one of those whom a change seems to take something from.
    fn is_concerned(&self, changes: &Changes) -> bool {
        self.candidate().and_then(|candidate| candidate.leaf().ok()).is_some_and(|leaf| changes.concern(leaf))
    }
}

impl Drop for Review {
    fn drop(&mut self) {
        // Dropped outside of the borrow: the last one ends a measurement.
        let measured = self.gate.cuts.take();
        drop(measured);
    }
}

/// A millisecond or two, where nothing of it is in the cache.
const AT_ONCE: usize = 256 * ANSWER;
const ANSWER: usize = 8;
const LOOK: usize = 1;
