//! Asks every live standing of a worker again, some at a time: with a hundred thousand of them, whoever loses nothing by
//! the change must not wait either. What is not idle does not wait for its turn: it is asked before it moves on.

use std::rc::Rc;

use super::Gate;

/// The standings that are still to be asked.
#[must_use = "nobody who is idle is cut before it is carried out"]
pub struct Review {
    gate: Rc<Gate>,
    next: usize,
    end: usize,
}

impl Review {
    /// Of every standing that lives. Whoever comes later is judged by the rules of then.
    pub(super) fn of_all(gate: &Rc<Gate>) -> Self {
        gate.due.set(u64::MAX);
        Self { gate: Rc::clone(gate), next: 0, end: gate.standings.borrow().slots.len() }
    }

    /// Of nobody: no answer changes yet.
    pub(super) fn of_none(gate: &Rc<Gate>) -> Self {
        Self { gate: Rc::clone(gate), next: 0, end: 0 }
    }

    /// Asks some; tells whether there are more. Whatever else the worker has to do may be done between.
    pub fn step(&mut self) -> bool {
        let mut asked = 0;
        while self.next < self.end && asked < AT_ONCE {
            asked += 1;
            // Not borrowed while the standing is asked: waking one may end another.
            let standing = self.gate.standing_at(self.next);
            self.next += 1;
            if let Some(standing) = standing {
                asked += standing.holds_open();
                let until = standing.review();
                self.gate.due.set(self.gate.due.get().min(until));
            }
        }
        self.next < self.end
    }

    /// Asks all.
    pub fn finish(mut self) {
        while self.step() {}
    }
}

impl Drop for Review {
    fn drop(&mut self) {
        // Dropped outside of the borrow: the last one ends a measurement.
        let measured = self.gate.cuts.take();
        drop(measured);
    }
}

/// So many answers take a millisecond or two, where they are not in the cache.
const AT_ONCE: usize = 256;
