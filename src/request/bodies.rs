//! How much of whole bodies a worker holds for calls of ours that are under way: a client has many streams, each has room for
//! megabytes, and nobody is to fill the memory with them. `call` asks before it reads on.

use std::cell::Cell;

use crate::failure::Failure;

/// What is held, beyond the little that every call may have: of those who have a rank, and of all others, so that these
/// keep nobody from managing.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    ranked: Cell<u64>,
    others: Cell<u64>,
}

/// What one call holds of it, until this is dropped.
pub(super) struct Room<'a> {
    held: &'a Cell<u64>,
    most: u64,
    own: u64,
}

impl Bodies {
    pub(super) fn of_ranked(&self) -> Room<'_> {
        Room { held: &self.ranked, most: MOST_OF_RANKED, own: 0 }
    }

    pub(super) fn of_others(&self) -> Room<'_> {
        Room { held: &self.others, most: MOST_OF_OTHERS, own: 0 }
    }
}

impl Room<'_> {
    /// Makes room for a body of this length.
    pub(super) fn grow(&mut self, length: usize) -> Result<(), Failure> {
        let own = (length as u64).saturating_sub(FREE).max(self.own);
        let held = self.held.get() - self.own + own;
        if held > self.most {
            return Err(Failure::Overloaded);
        }
        self.held.set(held);
        self.own = own;
        Ok(())
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.held.set(self.held.get() - self.own);
    }
}

/// Most calls are shorter, and never wait for those that are not.
const FREE: u64 = 16 << 10;
/// On one worker: a whole set of principals, and four of the longest beside it.
const MOST_OF_RANKED: u64 = 320 << 20;
const MOST_OF_OTHERS: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_fill_no_more_than_their_room_and_give_it_back() {
        let bodies = Bodies::default();
        let mut rooms: Vec<Room<'_>> = (0..20).map(|_| bodies.of_ranked()).collect();
        for room in &mut rooms {
            assert_eq!(room.grow(1 << 20), Ok(()));
            assert_eq!(room.grow(16 << 20), Ok(()));
        }
        let mut late = bodies.of_ranked();
        assert_eq!(late.grow(16 << 10), Ok(()), "a short one always has room");
        assert_eq!(late.grow(1 << 20), Err(Failure::Overloaded));
        assert_eq!(bodies.of_others().grow(64 << 10), Ok(()), "who fills the one does not fill the other");
        rooms.pop();
        assert_eq!(late.grow(1 << 20), Ok(()));
        drop((rooms, late));
        assert_eq!((bodies.ranked.get(), bodies.others.get()), (0, 0));
    }
}
