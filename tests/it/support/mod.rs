//! What every behaviour's file uses: certificates, the proxy, clients, an upstream.
#![expect(dead_code, reason = "each behaviour uses a part")]

pub mod calls;
pub mod certificates;
pub mod client;
pub mod crl_server;
pub mod flow;
pub mod proxy;
pub mod raw;
pub mod upstream;

use std::time::{Duration, Instant};

pub use certificates::{Identity, Leaf, TestCa};
pub use client::{Client, Refused};
pub use flow::Flow;
pub use proxy::{TestProxy, Workspace};
pub use upstream::TestUpstream;

/// How long a condition may take before a test gives up: never part of what is promised, and long enough for one slow core that many
/// tests share. A start with a million pins is seven seconds' work in a debug build.
pub const DEADLINE: Duration = Duration::from_secs(240);

/// The promise is 100 ms, on a machine that has nothing else to do; one core under twenty others' load took 1.2 s.
pub const CUT: Duration = Duration::from_secs(5);

/// Waits until a condition holds, asking again without a pause longer than the scheduler's.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// The same, of a condition that has to be asked for.
pub async fn eventually_async(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
    }
}

/// Waits for a future, with the deadline.
#[track_caller]
pub fn within<T>(what: &str, future: impl Future<Output = T>) -> impl Future<Output = T> {
    let what = what.to_owned();
    async move { tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}")) }
}

/// Waits for what a limit set by the test ends: what takes as long as the limit's default was ended by that.
pub async fn sooner_than<T>(default: Duration, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(default, future).await.unwrap_or_else(|_| panic!("not by the limit that was set, within {default:?}"))
}
