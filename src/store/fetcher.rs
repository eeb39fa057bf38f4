//! The thread that fetches: each URL at its interval, earlier before what it holds runs out, sooner after a failure. Off the workers
//! and off the reloader: a server that hangs delays neither.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::fetched::{Orders, Slots, Wanted};
use super::restrictions::MAX_CRL;
use super::revocation_files::crls;
use crate::clock;
use crate::upstream::fetch::{self, Fetch, FetchLimits};

/// Starts the thread. It ends when nobody gives orders any more.
pub(super) fn start(slots: Arc<Slots>, orders: watch::Receiver<Orders>) -> io::Result<()> {
    // One thread for names: a resolver that hangs holds up names, not connections.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build()?;
    let run = move || {
        runtime.block_on(follow(&slots, orders));
        // A name that is being looked up is waited for by nobody.
        runtime.shutdown_background();
    };
    std::thread::Builder::new().name("fetch".to_owned()).spawn(run).map(drop)
}

async fn follow(slots: &Arc<Slots>, mut orders: watch::Receiver<Orders>) {
    let mut kept: BTreeMap<PathBuf, (Wanted, AbortHandle)> = BTreeMap::new();
    loop {
        let wanted = orders.borrow_and_update().wanted.clone();
        kept.retain(|_, (kept, task)| {
            let stays = wanted.contains(kept);
            if !stays {
                task.abort();
            }
            stays
        });
        for wanted in wanted {
            kept.entry(wanted.path()).or_insert_with(|| {
                let task = tokio::spawn(keep(wanted.clone(), Arc::clone(slots), orders.clone()));
                (wanted, task.abort_handle())
            });
        }
        if orders.changed().await.is_err() {
            return;
        }
    }
}

/// Fetches from one URL for ever.
async fn keep(wanted: Wanted, slots: Arc<Slots>, mut orders: watch::Receiver<Orders>) {
    let path = wanted.path();
    let (mut failures, mut ends) = (0, None);
    loop {
        let asked = orders.borrow_and_update().asked;
        let outcome = once(&wanted, &path, &slots, &mut ends).await;
        failures = if outcome.is_ok() { 0 } else { failures + 1 };
        slots.tell(&path, outcome);
        let pause = match failures {
            0 => pause(wanted.interval, ends, clock::wall().as_secs()),
            failures => backoff(wanted.interval, failures),
        };
        tokio::select! {
            () = tokio::time::sleep(jittered(pause)) => {}
            ended = orders.wait_for(|orders| orders.asked != asked) => if ended.is_err() { return },
        }
    }
}

/// Fetches, and reads what came: a page that says "try again later" is a failure, to be tried again soon. `ends`: the validity of
/// what is there, (begin, end).
async fn once(wanted: &Wanted, path: &Path, slots: &Slots, ends: &mut Option<(u64, u64)>) -> Result<Fetch, String> {
    let known = slots.validators(path);
    let fetch = fetch::get(&wanted.url, &wanted.tls, &known, LIMITS).await.map_err(|error| error.to_string())?;
    if let Fetch::New(bytes, _) = &fetch {
        let found = crls(bytes).map_err(|error| format!("the answer is not what it should be: {error}"))?;
        *ends = found.iter().filter_map(|(crl, _)| Some((crl.this_update, crl.next_update?))).min_by_key(|(_, end)| *end);
    }
    Ok(fetch)
}

/// How long until the next fetch: the interval, or less where the content ends before; then a twentieth of its life is left for
/// the issuer's delays and ours.
fn pause(interval: Duration, ends: Option<(u64, u64)>, now: u64) -> Duration {
    let Some((begin, end)) = ends else { return interval };
    let early = end.saturating_sub((end.saturating_sub(begin) / 20).max(SOON.as_secs()));
    interval.min(Duration::from_secs(early.saturating_sub(now)).max(SOON))
}

/// Twice as long after each failure, but no longer than the interval.
fn backoff(interval: Duration, failures: u32) -> Duration {
    (FIRST_RETRY * 2u32.saturating_pow(failures.saturating_sub(1).min(16))).min(LAST_RETRY).min(interval)
}

/// Up to a tenth less: proxies that started together do not all ask together.
fn jittered(pause: Duration) -> Duration {
    // Its keys are random, and that is all that is needed here.
    let random = RandomState::new().build_hasher().finish() % 1024;
    pause - pause / 10 * u32::try_from(random).unwrap_or(0) / 1024
}

const LIMITS: FetchLimits = FetchLimits { connect: Duration::from_secs(5), total: Duration::from_secs(30), bytes: MAX_CRL };
/// Between two fetches of content that is about to end.
const SOON: Duration = Duration::from_secs(60);
const FIRST_RETRY: Duration = Duration::from_secs(2);
const LAST_RETRY: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_to_end_is_fetched_before() {
        let (hour, day) = (Duration::from_secs(3600), 86_400);
        let cases = [
            ("no end", None, 3600),
            ("far from its end", Some((0, 10 * day)), 3600),
            ("a twentieth of its life before its end", Some((0, day)), 3600),
            ("within the hour", Some((0, 11_500)), 11_500 - 575 - 10_000),
            ("about to end", Some((0, 10_030)), 60),
            ("ended", Some((0, 9_000)), 60),
            ("ends before it begins", Some((9_000, 8_000)), 60),
        ];
        for (what, ends, seconds) in cases {
            assert_eq!(pause(hour, ends, 10_000).as_secs(), seconds, "{what}");
        }
        assert_eq!(pause(Duration::from_secs(5), Some((0, 9_000)), 10_000).as_secs(), 5, "never later than the interval");
    }

    #[test]
    fn failures_are_tried_again_less_and_less_often() {
        let hour = Duration::from_secs(3600);
        let pauses: Vec<u64> = [1, 2, 3, 8, 9, 40, u32::MAX].iter().map(|failures| backoff(hour, *failures).as_secs()).collect();
        assert_eq!(pauses, [2, 4, 8, 256, 300, 300, 300]);
        assert_eq!(backoff(Duration::from_secs(1), 40).as_secs(), 1);
        for _ in 0..100 {
            let some = jittered(Duration::from_secs(100));
            assert!(some > Duration::from_secs(89) && some <= Duration::from_secs(100), "{some:?}");
        }
    }
}
