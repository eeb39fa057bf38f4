//! How often one source may ask for what anybody may ask for. Bounded, however many sources there are.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::gate;

/// What each source has left, on all workers together.
#[derive(Debug, Default)]
pub struct Sources(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    sources: HashMap<Option<IpAddr>, Share>,
    /// For all that came after the table was full.
    crowd: Option<Share>,
}

/// One source's share: two seconds' worth at most.
#[derive(Clone, Copy, Debug)]
struct Share {
    left: f64,
    at: Instant,
}

impl Sources {
    /// Takes one call of a source (`None`: who has no address); false where it has made too many. `rate`: calls a second, 0: no limit.
    pub fn take(&self, source: Option<IpAddr>, rate: u32, now: Instant) -> bool {
        if rate == 0 {
            return true;
        }
        let rate = f64::from(rate);
        let fresh = Share { left: BURST * rate, at: now };
        // What a panicking thread left behind are counts: as good as any.
        let table = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let source = source.map(gate::source);
        if table.sources.len() >= MOST && !table.sources.contains_key(&source) {
            // Who was silent for so long has everything back: such a share says nothing.
            table.sources.retain(|_, share| now.saturating_duration_since(share.at).as_secs_f64() < BURST);
        }
        let share = match table.sources.len() >= MOST && !table.sources.contains_key(&source) {
            true => table.crowd.get_or_insert(fresh),
            false => table.sources.entry(source).or_insert(fresh),
        };
        let earned = now.saturating_duration_since(share.at).as_secs_f64() * rate;
        (share.left, share.at) = ((share.left + earned).min(BURST * rate), now);
        if share.left < 1.0 {
            return false;
        }
        share.left -= 1.0;
        true
    }
}

/// In seconds.
const BURST: f64 = 2.0;
/// Of sources: half a megabyte.
const MOST: usize = 8192;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_source_has_so_many_calls_and_others_have_theirs() {
        let (sources, start) = (Sources::default(), Instant::now());
        let take = |ip: &str, millis| sources.take(Some(ip.parse().unwrap()), 2, start + Duration::from_millis(millis));
        let noisy = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::ffff", "2001:db8::1"];
        assert_eq!(noisy.map(|ip| take(ip, 0)), [true, true, true, true, false]);
        assert!(take("2001:db8:0:1::1", 0) && take("192.0.2.1", 0));
        assert_eq!([501, 502, 1001].map(|millis| take("2001:db8::1", millis)), [true, false, true]);
        assert!((0..100).all(|_| sources.take(None, 0, start)), "no limit");
    }

    #[test]
    fn however_many_sources_there_are_the_table_is_bounded() {
        let (sources, start) = (Sources::default(), Instant::now());
        let take = |host: u32, at| sources.take(Some(Ipv4Addr::from_bits(host).into()), 1, at);
        for host in 0..2 * u32::try_from(MOST).unwrap() {
            take(host, start);
        }
        assert_eq!(sources.0.lock().unwrap().sources.len(), MOST);
        assert!(!take(u32::MAX, start), "the rest share one");
        assert!(take(0, start), "who was there before has its own");
        assert!(take(u32::MAX, start + Duration::from_secs(2)), "who is silent makes room");
        assert_eq!(sources.0.lock().unwrap().sources.len(), 1);
    }
}
