//! What a stream's task hangs on. A task that waits for its client to take bytes asks nothing else, and so hears of no
//! lapse: whoever runs it looks here, and drops it. `connection` makes one for each stream of HTTP/2, and one for a whole
//! connection of HTTP/1.1, where one request is under way at a time.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll, Waker};

/// Of one stream: stalled while a hold of its answer has lapsed and is still there, and cut for good by a tunnel's end.
#[derive(Debug, Default)]
pub struct Lifeline {
    lapsed: Cell<usize>,
    cut: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Lifeline {
    /// Says whether an answer must not go on and does not end by itself. To be asked after its task was polled: that one
    /// was woken, and ends it better if it can.
    pub fn is_stalled(&self) -> bool {
        self.lapsed.get() > 0
    }

    /// Ends whatever still runs of the stream.
    pub fn cut(&self) {
        self.cut.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Waits until it was cut.
    pub fn poll_cut(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.cut.get() {
            return Poll::Ready(());
        }
        match &mut *self.waker.borrow_mut() {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    pub(super) fn one_lapsed(&self) {
        self.lapsed.set(self.lapsed.get() + 1);
    }

    pub(super) fn one_gone(&self) {
        self.lapsed.set(self.lapsed.get() - 1);
    }
}
