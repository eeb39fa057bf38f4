//! Room for the answers under way, which a worker lends and takes back: neither an allocation for each of them, nor the
//! room for one in the task of every idle connection.

use std::cell::RefCell;

use super::body::Download;

/// An answer's body in lent room.
pub(super) struct Lent(Option<Room>);

type Room = Box<Option<Download>>;

impl Lent {
    pub(super) fn new(download: Download) -> Self {
        let mut room = SHELF.with_borrow_mut(Vec::pop).unwrap_or_default();
        *room = Some(download);
        Self(Some(room))
    }

    /// INVARIANT: `None` is never seen: the room is full until it is given back.
    pub(super) fn get(&self) -> Option<&Download> {
        self.0.as_ref()?.as_ref().as_ref()
    }

    pub(super) fn get_mut(&mut self) -> Option<&mut Download> {
        self.0.as_mut()?.as_mut().as_mut()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(mut room) = self.0.take() else { return };
        // Before the shelf is looked at: what ends here may end other answers.
        drop(room.take());
        // The thread may be ending: then the memory goes as usual.
        let _ = SHELF.try_with(|shelf| {
            if let Ok(mut shelf) = shelf.try_borrow_mut()
                && shelf.len() < MOST
            {
                shelf.push(room);
            }
        });
    }
}

thread_local! {
    static SHELF: RefCell<Vec<Room>> = const { RefCell::new(Vec::new()) };
}

/// On one worker: more are under way at once only where there is memory for it.
const MOST: usize = 64;

#[cfg(test)]
mod tests {
    use std::rc::{Rc, Weak};
    use std::task::{Context, Poll};
    use std::time::Duration;

    use super::super::body::{Body, BodyError, Pace, Watch};
    use super::super::incoming::Incoming;
    use super::super::pool::Lease;
    use super::*;
    use crate::http1;
    use crate::ticker::Ticker;

    fn download() -> Download {
        let pace = Pace { timer: Ticker::new().timer(), progress: Duration::ZERO };
        Download::new(Incoming::Http1(http1::Incoming::default()), |_| {}, Box::new(Lease::new(Weak::new(), pace)))
    }

    /// On a worker, of which a timer is.
    fn local(test: impl FnOnce()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async { test() });
    }

    fn place(lent: &Lent) -> *const Download {
        lent.get().unwrap()
    }

    fn on_the_shelf() -> usize {
        SHELF.with_borrow(|shelf| {
            assert!(shelf.iter().all(|room| room.is_none()), "something is left in a room");
            shelf.len()
        })
    }

    #[test]
    fn room_is_lent_again_once_its_answer_has_ended_and_never_twice() {
        local(|| {
            let (first, second) = (Lent::new(download()), Lent::new(download()));
            let (at, other) = (place(&first), place(&second));
            assert_ne!(at, other);
            drop(first);
            assert_eq!(on_the_shelf(), 1);
            let again = Lent::new(download());
            assert_eq!((place(&again), place(&second), on_the_shelf()), (at, other, 0));
        });
    }

    #[test]
    fn no_more_room_is_kept_than_there_is_place_for() {
        local(|| {
            let all: Vec<_> = (0..MOST + 3).map(|_| Lent::new(download())).collect();
            drop(all);
            assert_eq!(on_the_shelf(), MOST);
        });
    }

    /// When its own answer has ended, lets another one end and begins a third.
    struct Last(Option<Body>, Rc<RefCell<Vec<Body>>>);

    impl Watch for Last {
        fn poll_cut(&mut self, _: &mut Context<'_>) -> Poll<()> {
            Poll::Pending
        }

        fn passed(&mut self, _: usize) {}

        fn ended(&mut self, _: Result<(), BodyError>) {
            self.0 = None;
            self.1.borrow_mut().push(Body::stream(download()));
        }
    }

    #[test]
    fn an_answer_that_ends_may_end_others_and_begin_one() {
        local(|| {
            let begun = Rc::<RefCell<Vec<Body>>>::default();
            let other = Body::stream(download());
            drop(Body::stream(download()).watched(Box::new(Last(Some(other), Rc::clone(&begun)))));
            // Of two rooms the other's came free first, and was lent to the third.
            assert_eq!((begun.borrow().len(), on_the_shelf()), (1, 1));
            begun.borrow_mut().clear();
            assert_eq!(on_the_shelf(), 2);
        });
    }
}
