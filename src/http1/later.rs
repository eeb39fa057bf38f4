//! What connections write is put off for a moment where a worker runs [`Later`] among its tasks, and sent together: a send
//! behind another finds its code, and the kernel's, still in the processor's nearest memory. One small message of a connection
//! at a time, and nothing else happens there before it is written.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::body::Source;

/// Sends what was put off once whoever could run before it has run. A worker has one among its tasks; where there is none,
/// nothing is put off.
#[derive(Debug, Default)]
pub struct Later(());

impl Future for Later {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        WAITING.with_borrow_mut(|waiting| waiting.task = Some(context.waker().clone()));
        send_put_off();
        Poll::Pending
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        // The thread may be ending.
        if WAITING.try_with(|waiting| waiting.borrow_mut().task = None).is_ok() {
            send_put_off();
        }
    }
}

#[derive(Default)]
struct Waiting {
    sources: VecDeque<Rc<dyn Source>>,
    /// Of [`Later`].
    task: Option<Waker>,
}

/// Sends now what was put off: before work that takes long, and before what was allowed is no longer.
pub fn send_put_off() {
    while let Some(source) = WAITING.with_borrow_mut(|waiting| waiting.sources.pop_front()) {
        // Where nobody else holds it, nobody waits for what would come of it.
        if Rc::strong_count(&source) > 1 {
            // What panics is a fault of one connection, not of whoever comes here. Its task finds it as it is.
            let _ = catch_unwind(AssertUnwindSafe(|| source.catch_up()));
        }
    }
}

/// Has it catch up in a moment; `false`: it is to send by itself.
pub(super) fn put_off(source: Rc<dyn Source>) -> bool {
    WAITING.with_borrow_mut(|waiting| {
        let Some(task) = waiting.task.as_ref().filter(|_| waiting.sources.len() < MOST) else { return false };
        if waiting.sources.is_empty() {
            task.wake_by_ref();
        }
        waiting.sources.push_back(source);
        true
    })
}

/// Sends what was put off if that is much: the first is not to wait for all.
pub(super) fn relieve() {
    if WAITING.with_borrow(|waiting| waiting.sources.len() >= MANY) {
        send_put_off();
    }
}

thread_local! {
    static WAITING: RefCell<Waiting> = RefCell::default();
}

/// As many wait no longer when another connection comes to run.
const MANY: usize = 16;
/// More are never put off: requests of one HTTP/2 connection come all at once.
const MOST: usize = 2 * MANY;

#[cfg(test)]
pub(super) mod tests;
