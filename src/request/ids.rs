//! Ids of requests: ours, and which of a client's are carried on.

use std::cell::{Cell, RefCell};

use bytes::BytesMut;
use http::HeaderValue;

/// Ids for requests that bring none: unlike those of other workers and processes, and cheap.
pub(super) struct Ids {
    start: u64,
    next: Cell<u64>,
    /// Ids are cut off it, so that neither making nor copying one takes memory of its own.
    slab: RefCell<BytesMut>,
}

impl Ids {
    pub(super) fn new() -> Self {
        let mut start = [0; 8];
        // Without randomness ids still differ within the process: by worker start and count.
        if aws_lc_rs::rand::fill(&mut start).is_err() {
            start = (crate::clock::wall().as_nanos() as u64).to_be_bytes();
        }
        Self { start: u64::from_be_bytes(start), next: Cell::new(0), slab: RefCell::default() }
    }

    pub(super) fn next(&self) -> HeaderValue {
        let number = self.next.get();
        self.next.set(number.wrapping_add(1));
        let mut slab = self.slab.borrow_mut();
        if slab.capacity() < LENGTH {
            slab.reserve(SLAB);
        }
        for number in [self.start, number] {
            slab.extend_from_slice(&hexadecimal(number));
        }
        // INVARIANT: hexadecimal digits.
        HeaderValue::from_maybe_shared(slab.split().freeze()).unwrap_or_else(|_| HeaderValue::from_static("-"))
    }
}

fn hexadecimal(number: u64) -> [u8; LENGTH / 2] {
    // The first digit is of the highest four bits.
    std::array::from_fn(|at| b"0123456789abcdef"[(number >> (60 - 4 * at)) as usize & 0xf])
}

/// A client's id is carried on if it can neither break a log line nor fill it.
pub(super) fn is_request_id(id: &HeaderValue) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:+/=@".contains(byte);
    (1..=128).contains(&id.len()) && id.as_bytes().iter().all(is_plain)
}

const LENGTH: usize = 32;
const SLAB: usize = 64 * LENGTH;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_foreign_ones_are_plain() {
        let ids = Ids::new();
        assert_ne!(ids.next(), ids.next());
        assert_ne!(ids.next(), Ids::new().next());
        assert!(is_request_id(&ids.next()));
        assert_eq!(hexadecimal(0x0123_4567_89ab_cdef), *b"0123456789abcdef");
        for bad in ["", "a b", "a\"b", "{}", &"x".repeat(129)] {
            assert!(!is_request_id(&HeaderValue::from_str(bad).unwrap()), "{bad}");
        }
    }
}
