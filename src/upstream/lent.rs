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
