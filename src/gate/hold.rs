//! An open request, stream or upgrade of a connection, and the places where a standing keeps them.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::answer::Answer;
use super::{Cuts, Lapse, Lifeline, Standing, Target};
use crate::admission::PrincipalId;

/// An open request, stream or upgrade: lapses when the rules of now would not take it where it went, or the whole
/// connection is denied.
pub struct Hold {
    standing: Rc<Standing>,
    slot: usize,
}

/// Every open hold of a standing, at a slot of its own. Where nothing is open it has no room for any: the worker lends it.
#[derive(Default)]
pub(super) struct Holds {
    slots: Vec<Option<Held>>,
    free: Vec<usize>,
}

/// What a standing knows of one hold.
pub(super) struct Held {
    pub(super) answer: Rc<Answer>,
    /// `None`: rules lead it nowhere else.
    pub(super) target: Option<Target>,
    /// Whose request it is: the same certificate under another name is another client.
    pub(super) principal: Option<PrincipalId>,
    pub(super) lapsed: Option<Lapse>,
    /// Kept until the hold is gone.
    pub(super) cuts: Option<Arc<Cuts>>,
    pub(super) waker: Option<Waker>,
    /// Told of the lapse, where the task that polls may be waiting for its client.
    pub(super) lifeline: Option<Rc<Lifeline>>,
}

impl Hold {
    pub(super) fn new(standing: &Rc<Standing>, held: Held) -> Self {
        let mut holds = standing.holds().borrow_mut();
        if holds.slots.capacity() == 0 {
            *holds = standing.gate.spare_holds.borrow_mut().pop().unwrap_or_default();
        }
        let slot = holds.enter(held);
        drop(holds);
        Self { standing: Rc::clone(standing), slot }
    }

    /// Stands for the same request once more, for what of it ends by itself.
    pub fn twin(&self) -> Option<Self> {
        let held = self.standing.holds().borrow().slots[self.slot].as_ref().map(Held::twin);
        held.map(|held| Self::new(&self.standing, held))
    }

    /// Ends what `lifeline` holds, too, where nobody polls when this lapses.
    pub fn on(self, lifeline: &Rc<Lifeline>) -> Self {
        if let Some(held) = &mut self.standing.holds().borrow_mut().slots[self.slot] {
            if held.lapsed.is_some() {
                lifeline.one_lapsed();
            }
            held.lifeline = Some(Rc::clone(lifeline));
        }
        self
    }

    /// Returns why it has to end, if it has to.
    pub fn lapse(&self) -> Option<Lapse> {
        let held = self.standing.lapse_of_all();
        held.or(self.standing.holds().borrow().slots[self.slot].as_ref()?.lapsed)
    }

    /// Waits until it has to end. May be polled from one task at a time.
    pub fn poll_lapsed(&self, context: &mut Context<'_>) -> Poll<Lapse> {
        self.standing.catch_up();
        let connection = self.standing.lapse_of_all();
        let mut holds = self.standing.holds().borrow_mut();
        // INVARIANT: the slot is this hold's until it is dropped.
        let Some(held) = &mut holds.slots[self.slot] else { return Poll::Pending };
        if let Some(lapse) = connection.or(held.lapsed) {
            return Poll::Ready(lapse);
        }
        match &mut held.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Waits until it has to end.
    pub async fn lapsed(&self) -> Lapse {
        poll_fn(|context| self.poll_lapsed(context)).await
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // Dropped outside of the borrow: the last one cut ends a measurement, and a waker may end a task.
        let mut holds = self.standing.holds().borrow_mut();
        let held = holds.leave(self.slot);
        let emptied = holds.empty();
        drop(holds);
        if let Some(emptied) = emptied {
            let mut spare = self.standing.gate.spare_holds.borrow_mut();
            if spare.len() < MOST_SPARE {
                spare.push(emptied);
            }
        }
        if let Some(Held { lapsed: Some(_), lifeline: Some(lifeline), .. }) = &held {
            lifeline.one_gone();
        }
        drop(held);
    }
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hold").field("slot", &self.slot).finish_non_exhaustive()
    }
}

impl Held {
    pub(super) fn of(answer: Rc<Answer>, target: Option<Target>, principal: Option<PrincipalId>, lapsed: Option<Lapse>) -> Self {
        Self { answer, target, principal, lapsed, cuts: None, waker: None, lifeline: None }
    }

    fn twin(&self) -> Self {
        Self::of(Rc::clone(&self.answer), self.target.clone(), self.principal, self.lapsed)
    }

    /// Ends it; `cuts` is kept until it is gone.
    pub(super) fn lapse(&mut self, lapse: Lapse, cuts: Option<Arc<Cuts>>) {
        self.lapsed = Some(lapse);
        self.cuts = cuts;
        if let Some(lifeline) = &self.lifeline {
            lifeline.one_lapsed();
        }
    }
}

impl Holds {
    /// Returns how many are open.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Goes through all that are open.
    pub(super) fn live(&mut self) -> impl Iterator<Item = &mut Held> {
        self.slots.iter_mut().flatten()
    }

    fn enter(&mut self, held: Held) -> usize {
        if let Some(slot) = self.free.pop() {
            self.slots[slot] = Some(held);
            return slot;
        }
        self.slots.push(Some(held));
        self.slots.len() - 1
    }

    fn leave(&mut self, slot: usize) -> Option<Held> {
        self.free.push(slot);
        self.slots[slot].take()
    }

    /// Returns its room where nothing is open any more, for the next connection that needs some; what a crowd of streams
    /// had made of it, nobody needs.
    fn empty(&mut self) -> Option<Self> {
        if self.len() > 0 {
            return None;
        }
        let mut room = std::mem::take(self);
        room.slots.clear();
        room.free.clear();
        (room.slots.capacity() <= FEW).then_some(room)
    }
}

/// As many as a connection of HTTP/1.1 has.
const FEW: usize = 4;
/// On one worker: more are open at once only where there is memory for it.
const MOST_SPARE: usize = 64;
