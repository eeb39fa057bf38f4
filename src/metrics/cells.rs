//! The cells that counting writes: one line of memory per worker, so that counting takes no lock and two
//! workers never share a cache line. Read together at scrape time only.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

thread_local! {
    /// Slot 0 is for every thread that is no worker.
    static SLOT: Cell<usize> = const { Cell::new(0) };
}

/// Tells the metrics which worker (from 0) this thread is; once, when the thread starts.
pub fn set_worker(index: usize) {
    SLOT.with(|slot| slot.set(index + 1));
}

/// Counts up; wraps like any counter of 64 bits.
#[derive(Clone, Debug)]
pub struct Counter(Arc<Cells>);

/// Counts up and down, from any thread.
#[derive(Clone, Debug)]
pub struct Gauge(Arc<Cells>);

/// Holds one value, written now and then by one thread.
#[derive(Debug, Default)]
pub struct Value(AtomicU64);

/// Counts durations by bucket.
#[derive(Clone, Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    cells: Arc<Cells>,
}

impl Counter {
    pub(super) fn new(workers: usize) -> Self {
        Self(Arc::new(Cells::new(workers, 1)))
    }

    /// Counts one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Counts several.
    pub fn add(&self, count: u64) {
        self.0.add(0, count);
    }

    /// Returns the sum over all threads.
    pub fn get(&self) -> u64 {
        self.0.sum(0)
    }
}

impl Gauge {
    pub(super) fn new(workers: usize) -> Self {
        Self(Arc::new(Cells::new(workers, 1)))
    }

    /// Counts one more, until the guard is dropped.
    pub fn hold(&self) -> Held {
        self.0.add(0, 1);
        Held(self.clone())
    }

    /// Returns the sum over all threads.
    pub fn get(&self) -> i64 {
        // Held here and dropped there: single cells may have wrapped, the sum has not.
        self.0.sum(0).cast_signed()
    }
}

/// One that a [`Gauge`] counts; dropped where it ends.
#[derive(Debug)]
pub struct Held(Gauge);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.add(0, u64::MAX);
    }
}

impl Value {
    /// Replaces the value.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    /// Returns the value; 0 until one was set.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

impl Histogram {
    /// `bounds`: upper, inclusive, ascending, in seconds.
    pub(super) fn new(workers: usize, bounds: &'static [f64]) -> Self {
        // A cell per bucket, one for what exceeds the last, and the sum in nanoseconds.
        Self { bounds, cells: Arc::new(Cells::new(workers, bounds.len() + 2)) }
    }

    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        self.cells.add(bucket, 1);
        self.cells.add(self.bounds.len() + 1, u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Returns (upper bound, cumulative count) of each bucket, the count of all, and their sum in seconds.
    pub fn read(&self) -> (Vec<(f64, u64)>, u64, f64) {
        let mut total = 0;
        let buckets = self
            .bounds
            .iter()
            .enumerate()
            .map(|(index, bound)| {
                total += self.cells.sum(index);
                (*bound, total)
            })
            .collect();
        let count = total + self.cells.sum(self.bounds.len());
        (buckets, count, Duration::from_nanos(self.cells.sum(self.bounds.len() + 1)).as_secs_f64())
    }
}

/// Some cells for each slot, slots on cache lines of their own.
#[derive(Debug)]
struct Cells {
    lines: Box<[Line]>,
    /// Lines of one slot.
    stride: usize,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Line([AtomicU64; CELLS_IN_LINE]);

const CELLS_IN_LINE: usize = 8;

impl Cells {
    fn new(workers: usize, cells: usize) -> Self {
        let stride = cells.div_ceil(CELLS_IN_LINE);
        Self { lines: (0..stride * (workers + 1)).map(|_| Line::default()).collect(), stride }
    }

    fn add(&self, cell: usize, count: u64) {
        let slot = SLOT.with(Cell::get);
        let line = slot * self.stride + cell / CELLS_IN_LINE;
        // A thread of another set of workers (only tests have two) counts with the threads that are none.
        let line = self.lines.get(line).unwrap_or(&self.lines[cell / CELLS_IN_LINE]);
        line.0[cell % CELLS_IN_LINE].fetch_add(count, Ordering::Relaxed);
    }

    fn sum(&self, cell: usize) -> u64 {
        self.lines
            .chunks_exact(self.stride)
            .map(|slot| slot[cell / CELLS_IN_LINE].0[cell % CELLS_IN_LINE].load(Ordering::Relaxed))
            .fold(0, u64::wrapping_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_sums_what_every_thread_counted() {
        let counter = Counter::new(2);
        counter.inc();
        for worker in [0, 1, 7] {
            let counter = counter.clone();
            std::thread::spawn(move || {
                set_worker(worker);
                counter.add(10);
            })
            .join()
            .unwrap();
        }
        assert_eq!(counter.get(), 31);
    }

    #[test]
    fn a_gauge_may_be_held_on_one_thread_and_dropped_on_another() {
        let gauge = Gauge::new(1);
        let (kept, moved) = (gauge.hold(), gauge.hold());
        std::thread::spawn(move || {
            set_worker(0);
            drop(moved);
        })
        .join()
        .unwrap();
        assert_eq!(gauge.get(), 1);
        drop(kept);
        assert_eq!(gauge.get(), 0);
    }

    #[test]
    fn a_histogram_counts_its_bounds_inclusively() {
        let histogram = Histogram::new(1, &[0.001, 0.01, 0.1, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        for millis in [1, 2, 100, 101, 60_000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let (buckets, count, sum) = histogram.read();
        assert_eq!(buckets[..4].iter().map(|(_, count)| *count).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(count, 5);
        assert!((sum - 60.204).abs() < 1e-9, "{sum}");
    }
}
