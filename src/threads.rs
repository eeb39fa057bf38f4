//! Work on much, shared out among the cores: for what a start or a large change does once. Nothing of it outlives the call.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ScopedJoinHandle};

/// Has each of some parts worked on beside the others, and returns what came of them in their order. `few`: fewer items than that are not
/// worth a thread. There are more parts than cores: one that has other work beside takes fewer of them.
pub fn shared_out<T: Sync, R: Send>(items: &[T], few: usize, work: impl Fn(&[T]) -> R + Sync) -> Vec<R> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    if cores == 1 || items.len() < few.max(2) {
        return vec![work(items)];
    }
    let parts: Vec<&[T]> = items.chunks(items.len().div_ceil(cores * PARTS)).collect();
    let next = AtomicUsize::new(0);
    let some = || {
        let mut done = Vec::new();
        while let at = next.fetch_add(1, Ordering::Relaxed)
            && let Some(part) = parts.get(at)
        {
            done.push((at, work(part)));
        }
        done
    };
    let mut done = thread::scope(|scope| {
        let threads: Vec<_> = (1..cores).map(|_| scope.spawn(some)).collect();
        let mut done = some();
        threads.into_iter().for_each(|thread| done.extend(joined(thread)));
        done
    });
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, done)| done).collect()
}

/// Does two things beside each other.
pub fn beside<A: Send, B>(one: impl FnOnce() -> A + Send, other: impl FnOnce() -> B) -> (A, B) {
    thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        (joined(one), other)
    })
}

/// So many for each core.
const PARTS: usize = 8;

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
