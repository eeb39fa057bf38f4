//! Work on much, shared out among the cores: for what a start or a large change does once. Nothing of it outlives the call.

use std::num::NonZero;
use std::thread::{self, ScopedJoinHandle};

/// Has each of a few equal parts worked on beside the others, and returns what came of them in their order. `few`: fewer items than that
/// are not worth a thread.
pub fn shared_out<T: Sync, R: Send>(items: &[T], few: usize, work: impl Fn(&[T]) -> R + Sync) -> Vec<R> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    if cores == 1 || items.len() < few.max(2) {
        return vec![work(items)];
    }
    thread::scope(|scope| {
        let mut parts = items.chunks(items.len().div_ceil(cores));
        let first = parts.next();
        let threads: Vec<_> = parts.map(|part| scope.spawn(|| work(part))).collect();
        let first = first.map(&work);
        first.into_iter().chain(threads.into_iter().map(joined)).collect()
    })
}

/// Does two things beside each other.
pub fn beside<A: Send, B>(one: impl FnOnce() -> A + Send, other: impl FnOnce() -> B) -> (A, B) {
    thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        (joined(one), other)
    })
}

/// A defect there is one here.
fn joined<R>(thread: ScopedJoinHandle<'_, R>) -> R {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back_in_their_order() {
        for count in [0, 1, 7, 100, 10_001] {
            let items: Vec<usize> = (0..count).collect();
            let doubled = shared_out(&items, 50, |part: &[usize]| part.iter().map(|item| item * 2).collect::<Vec<_>>()).concat();
            assert!(doubled.iter().copied().eq(items.iter().map(|item| item * 2)), "{count}");
        }
        assert_eq!(beside(|| 1, || 2), (1, 2));
    }
}
