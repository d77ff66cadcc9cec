//! The counters themselves: atomics that cost a few nanoseconds and never lock. What they mean is in `families`.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// The value.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// One more.
    pub fn inc(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// One less.
    pub fn dec(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    /// The value.
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// Observations of a duration or another measure in fixed buckets.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    buckets: Box<[AtomicU64]>,
    /// Millionths of the unit: enough for microseconds, and 500,000 years of them fit.
    sum_micros: AtomicU64,
}

impl Histogram {
    /// Empty, with upper bounds in ascending order.
    pub fn new(bounds: &'static [f64]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, buckets, sum_micros: AtomicU64::new(0) }
    }

    /// Counts a duration in seconds.
    pub fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.count(took.as_secs_f64(), micros);
    }

    /// Counts a value in the family's own unit; negative ones count as 0.
    pub fn observe_f64(&self, value: f64) {
        let value = value.max(0.0);
        // A float beyond u64 saturates, which is what a sum should do.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        self.count(value, (value * 1e6) as u64);
    }

    fn count(&self, value: f64, micros: u64) {
        let slot = self.bounds.iter().position(|b| value <= *b).unwrap_or(self.bounds.len());
        self.buckets[slot].fetch_add(1, Relaxed);
        self.sum_micros.fetch_add(micros, Relaxed);
    }

    /// Upper bounds, the counts per bucket (one more than bounds) and the sum.
    pub fn read(&self) -> (&'static [f64], Vec<u64>, f64) {
        let buckets = self.buckets.iter().map(|b| b.load(Relaxed)).collect();
        #[allow(clippy::cast_precision_loss)]
        (self.bounds, buckets, self.sum_micros.load(Relaxed) as f64 / 1e6)
    }

    /// How many observations there were.
    pub fn observations(&self) -> u64 {
        self.buckets.iter().map(|b| b.load(Relaxed)).sum()
    }
}

/// One counter per value of a closed list of labels.
#[derive(Debug)]
pub struct PerLabel<const N: usize> {
    names: [&'static str; N],
    counters: [Counter; N],
}

impl<const N: usize> PerLabel<N> {
    /// All at 0.
    pub fn new(names: [&'static str; N]) -> Self {
        Self { names, counters: std::array::from_fn(|_| Counter::default()) }
    }

    /// The counter at a place in the list.
    pub fn at(&self, index: usize) -> &Counter {
        &self.counters[index]
    }

    /// Every name with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.names.iter().copied().zip(self.counters.iter().map(Counter::get))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_a_bound_belongs_to_it() {
        let h = Histogram::new(&[0.1, 1.0]);
        h.observe(Duration::from_millis(100));
        h.observe(Duration::from_millis(101));
        h.observe_f64(99.0);
        h.observe_f64(-1.0);
        let (_, buckets, sum) = h.read();
        assert_eq!(buckets, [2, 1, 1]);
        assert!((sum - 99.201).abs() < 1e-6);
        assert_eq!(h.observations(), 4);
    }
}
