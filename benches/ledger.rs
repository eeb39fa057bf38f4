//! How long a start takes with a ledger of 1,000,000 entries and a snapshot, and what an append and a receipt cost.
//! `cargo bench --bench ledger [ENTRIES]`; the state directory is made below the system's temporary directory.

use std::time::{Duration, Instant};

use portcullis::store::ledger::{Actor, ActorKind, Ledger, NewEntry};

const NOW: Duration = Duration::from_secs(1_795_216_330);
const BATCH: usize = 10_000;

fn main() {
    let entries: usize = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    let directory = tempfile::tempdir().expect("a directory");
    let mut ledger = Ledger::open(directory.path(), Some("bench.example/ledger")).expect("a new ledger").ledger;
    // The last hundredth is replayed, as after a snapshot that is about to be due again.
    let snapshot_at = entries - entries / 100;
    let begun = Instant::now();
    for first in (0..entries).step_by(BATCH) {
        ledger.append((first..entries.min(first + BATCH)).map(change).collect(), NOW).expect("appended");
        if ledger.size() as usize <= snapshot_at {
            ledger.snapshot().store(b"state").expect("stored");
        }
    }
    println!("{entries} entries appended in {:.2?}", begun.elapsed());
    let begun = Instant::now();
    ledger.publish().expect("published");
    println!("published in {:.2?}", begun.elapsed());
    let reader = ledger.reader();
    let begun = Instant::now();
    for index in 0..100 {
        reader.receipt(index * (entries as u64 / 100)).expect("readable").expect("there");
    }
    println!("a receipt: {:.2?}", begun.elapsed() / 100);
    let begun = Instant::now();
    for index in 0..100 {
        ledger.append(vec![change(index)], NOW).expect("appended");
    }
    println!("an append of one: {:.2?}", begun.elapsed() / 100);
    drop((ledger, reader));
    for _ in 0..3 {
        let begun = Instant::now();
        let opened = Ledger::open(directory.path(), None).expect("it verifies");
        let verified = begun.elapsed();
        let from = opened.state.as_ref().map_or(0, |state| state.size);
        let replayed = opened.ledger.reader().entries(from).filter(Result::is_ok).count();
        println!("opened in {verified:.2?}, {replayed} replayed after {from}: {:.2?} in all", begun.elapsed());
    }
}

/// About 600 bytes a line, as a principal with one pin has.
fn change(index: usize) -> NewEntry {
    let hash = format!("{index:064x}");
    NewEntry {
        action: "principal-added".to_owned(),
        object: format!("p-{index:012}"),
        actor: Actor { name: Some("ops/alice".to_owned()), fingerprint: Some(format!("sha256:{hash}")), ..Actor::new(ActorKind::Admin) },
        before: format!("sha256:{hash}"),
        after: format!("sha256:{hash}"),
        reason: Some("onboarding of the third batch".to_owned()),
        data: serde_json::json!({"name": format!("ci/pipeline-{index}"), "role": "Contributor", "fingerprints": [format!("sha256:{hash}")]}),
        more: false,
    }
}
