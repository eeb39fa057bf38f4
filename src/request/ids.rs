//! Ids of requests: ours, and which of a client's are carried on.

use std::cell::RefCell;

use bytes::BytesMut;
use http::HeaderValue;

/// Ids for requests that bring none: unlike those of other workers and processes, and cheap.
pub(super) struct Ids(RefCell<Next>);

struct Next {
    /// In hexadecimal: a start by chance, and the number of the request. To count in digits takes hardly any code.
    id: [u8; LENGTH],
    /// Ids are cut off it, so that neither making nor copying one takes memory of its own.
    slab: BytesMut,
}

impl Ids {
    pub(super) fn new() -> Self {
        let mut start = [0; 8];
        // Without randomness ids still differ within the process: by worker start and count.
        if aws_lc_rs::rand::fill(&mut start).is_err() {
            start = (crate::clock::wall().as_nanos() as u64).to_be_bytes();
        }
        let mut id = [b'0'; LENGTH];
        for (digits, byte) in id.chunks_exact_mut(2).zip(start) {
            digits.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xf)]]);
        }
        Self(RefCell::new(Next { id, slab: BytesMut::new() }))
    }

    pub(super) fn next(&self) -> HeaderValue {
        let Next { id, slab } = &mut *self.0.borrow_mut();
        if slab.capacity() < LENGTH {
            slab.reserve(SLAB);
        }
        slab.extend_from_slice(id);
        count(&mut id[LENGTH / 2..]);
        // INVARIANT: hexadecimal digits.
        HeaderValue::from_maybe_shared(slab.split().freeze()).unwrap_or_else(|_| HeaderValue::from_static("-"))
    }
}

/// Adds one; begins anew behind the last number.
fn count(digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = match *digit {
            b'9' => b'a',
            b'f' => b'0',
            digit => digit + 1,
        };
        if *digit != b'0' {
            return;
        }
    }
}

/// A client's id is carried on if it can neither break a log line nor fill it.
pub(super) fn is_request_id(id: &HeaderValue) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:+/=@".contains(byte);
    (1..=128).contains(&id.len()) && id.as_bytes().iter().all(is_plain)
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";
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
        let mut digits = *b"00";
        for number in 1..=256 {
            count(&mut digits);
            assert_eq!(digits, format!("{:02x}", number % 256).as_bytes());
        }
        for bad in ["", "a b", "a\"b", "{}", &"x".repeat(129)] {
            assert!(!is_request_id(&HeaderValue::from_str(bad).unwrap()), "{bad}");
        }
    }
}
