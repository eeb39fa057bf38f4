//! What one worker lends to its connections while they have something to read or to write, and takes back while they
//! are idle: an idle connection keeps no buffer. A buffer is a slab: a head is sliced off and referenced, not copied. Whoever
//! reads next has the rest of it, or all of it again where nobody refers to any part.

use std::cell::RefCell;

use bytes::BytesMut;

/// Who reads: heads of clients are small, and parts of them may live as long as a tunnel; answers and bodies are large and
/// gone soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    Head,
    Large,
}

/// Returns a buffer with some room.
pub(super) fn take(size: Size) -> BytesMut {
    let mut buffer = SHELF.with_borrow_mut(|shelf| shelf.slabs(size).pop()).unwrap_or_default();
    // From its beginning if nobody refers to it any more: that is still in the processor's nearest memory.
    if !buffer.try_reclaim(size.slab()) && buffer.capacity() < size.least() {
        // All of a slab where this one is used up.
        buffer.reserve(size.slab());
    }
    buffer
}

/// Takes back a buffer of which nothing is left to read.
pub(super) fn give_back(mut buffer: BytesMut, size: Size) {
    buffer.clear();
    if buffer.capacity() == 0 || buffer.capacity() > size.slab() {
        return;
    }
    SHELF.with_borrow_mut(|shelf| {
        let slabs = shelf.slabs(size);
        if slabs.len() < MOST {
            slabs.push(buffer);
        }
    });
}

/// Returns an empty buffer to write into.
pub(super) fn take_out() -> Vec<u8> {
    SHELF.with_borrow_mut(|shelf| shelf.out.pop()).unwrap_or_else(|| Vec::with_capacity(OUT))
}

/// Takes back what was written.
pub(super) fn give_back_out(mut out: Vec<u8>) {
    // What had to grow for one large head is not kept for all the small ones.
    if out.capacity() == 0 || out.capacity() > 2 * OUT {
        return;
    }
    out.clear();
    SHELF.with_borrow_mut(|shelf| {
        if shelf.out.len() < MOST {
            shelf.out.push(out);
        }
    });
}

impl Size {
    /// How much room a reader needs at least: a usual answer of 64 KiB comes with its head in one read.
    pub(super) fn least(self) -> usize {
        match self {
            Self::Head => 4 * 1024,
            Self::Large => 72 * 1024,
        }
    }

    fn slab(self) -> usize {
        match self {
            Self::Head => 8 * 1024,
            Self::Large => LARGE,
        }
    }
}

#[derive(Default)]
struct Shelf {
    heads: Vec<BytesMut>,
    large: Vec<BytesMut>,
    out: Vec<Vec<u8>>,
}

impl Shelf {
    fn slabs(&mut self, size: Size) -> &mut Vec<BytesMut> {
        match size {
            Size::Head => &mut self.heads,
            Size::Large => &mut self.large,
        }
    }
}

thread_local! {
    static SHELF: RefCell<Shelf> = RefCell::default();
}

/// The step by which bodies move.
pub(super) const LARGE: usize = 128 * 1024;
/// What is written from one buffer: a head, and a small body with it.
const OUT: usize = 8 * 1024;
/// Of each kind, on one worker: more are under way at once only where there is memory for it.
const MOST: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slab_is_used_up_while_somebody_holds_a_part_and_otherwise_from_its_beginning() {
        let slab = take(Size::Head);
        let start = slab.as_ptr() as usize;
        give_back(slab, Size::Head);
        let read = |at: usize| {
            let mut buffer = take(Size::Head);
            assert!(buffer.capacity() >= Size::Head.least());
            buffer.extend_from_slice(&[b'x'; 1000]);
            let head = buffer.split_to(1000).freeze();
            assert_eq!(head.as_ptr() as usize, start + at);
            give_back(buffer, Size::Head);
            head
        };
        for _ in 0..100 {
            drop(read(0));
        }
        let held = read(0);
        for at in 1..5 {
            drop(read(at * 1000));
        }
        drop(held);
        let _held: Vec<_> = (0..5).map(|at| read(at * 1000)).collect();
        let next = take(Size::Head).as_ptr() as usize;
        assert!(!(start..start + Size::Head.slab()).contains(&next), "used up, and held");
    }
}
