//! A million managed principals in a ledger on disk: how long a start takes by its snapshot, and how long until a change is recorded, in
//! force and answered. `cargo bench --bench managed [PRINCIPALS]`; made below the system's temporary directory.

use std::fs;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use portcullis::admission::PrincipalId;
use portcullis::config::Loader;
use portcullis::metrics::Metrics;
use portcullis::reload::journal::Journal;
use portcullis::reload::{self, Control, Install, Mutation};
use portcullis::store::ledger::{Actor, ActorKind, Ledger, NewEntry};
use portcullis::store::managed::{Change, Document, State};

const NOW: Duration = Duration::from_secs(1_795_216_330);
const BATCH: u32 = 10_000;

fn main() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let principals: u32 = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    let directory = tempfile::tempdir().expect("a directory");
    let begun = Instant::now();
    record(directory.path(), principals);
    println!("{principals} principals recorded in {:.2?}", begun.elapsed());
    let config = configure(directory.path());
    let begun = Instant::now();
    let mut loader = Loader::new(&config, true);
    let loaded = loader.start().unwrap_or_else(|problems| panic!("{problems:?}"));
    println!("opened, replayed from the snapshot, compiled and in force in {:.2?}", begun.elapsed());
    let (tell, told) = mpsc::channel();
    let install = move |installed: Install| drop(tell.send((Instant::now(), installed.rules)));
    let journal = loader.take_ledger().map(|ledger| -> Box<dyn Journal> { Box::new(ledger) });
    let reloader = reload::start(loader, &loaded, Metrics::new(1), journal, install).expect("starts");
    for round in 0..10 {
        let name = format!("new/{round}");
        let put = Change::put(document(&name, u64::from(principals) + round));
        let one = change(reloader.control(), put);
        let kept = reloader.control().view().state.principal_named(&name).expect("kept").document.id.clone();
        let two = change(reloader.control(), Change::PrincipalRemove { id: kept, name });
        let asked = Instant::now();
        let three = change(reloader.control(), Change::revoke(&format!("sha256:{}", fingerprint(round)), None));
        let in_force = told.try_iter().last().map(|(at, _)| at.duration_since(asked)).unwrap_or_default();
        println!("added in {one:.2?}, removed in {two:.2?}, revoked in {three:.2?}, of which in force in {in_force:.2?}");
    }
}

fn change(control: &Control, change: Change) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let plan = Box::new(move |_: &State, _: &_| Ok(vec![change.clone()]));
    let begun = Instant::now();
    let mutation = Mutation { actor: Actor::new(ActorKind::Socket), reason: None, dry_run: false, plan, guard: None };
    runtime.block_on(control.change(mutation)).expect("made");
    begun.elapsed()
}

/// Writes the ledger and the state that it leads to, but for the last hundredth of it.
fn record(directory: &std::path::Path, principals: u32) {
    let mut ledger = Ledger::open(&directory.join("state"), None).expect("a new ledger").ledger;
    let mut state = State::default();
    let stored_at = u64::from(principals - principals / 100);
    for first in (0..principals).step_by(BATCH as usize) {
        let mut entries = Vec::new();
        for number in first..principals.min(first + BATCH) {
            let mut random = [0; 12];
            random.iter_mut().enumerate().for_each(|(at, byte)| *byte = (u64::from(number) >> (at * 3)) as u8);
            let id = PrincipalId::from_random(&random).to_string();
            let made = document(&format!("fleet/device-{number}"), u64::from(number));
            let change = Change::put(Document { id, version: 1, ..made });
            state.replay(u64::from(number), &change).expect("good");
            entries.push(NewEntry {
                action: change.action().to_owned(),
                object: change.object().to_owned(),
                actor: Actor::new(ActorKind::Socket),
                before: String::new(),
                after: String::new(),
                reason: None,
                data: change.data(),
                more: false,
            });
        }
        ledger.append(entries, NOW).expect("appended");
        if state.entries() == stored_at {
            ledger.snapshot().store(&state.to_bytes()).expect("stored");
        }
    }
    ledger.publish().expect("published");
}

fn configure(directory: &std::path::Path) -> std::path::PathBuf {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    fs::write(directory.join("server.pem"), params.self_signed(&key).expect("signed").pem()).expect("written");
    fs::write(directory.join("server.key"), key.serialize_pem()).expect("written");
    let config =
        "[[listener]]\nname = \"edge\"\naddress = \"127.0.0.1:0\"\ncertificates = [{ cert = \"server.pem\", key = \"server.key\" }]\n";
    let path = directory.join("p.toml");
    fs::write(&path, config).expect("written");
    path
}

fn fingerprint(number: u64) -> String {
    format!("{number:064x}")
}

fn document(name: &str, number: u64) -> Document {
    let role = Some("Reader".to_owned());
    Document { name: name.to_owned(), fingerprints: vec![fingerprint(number)], role, ..Document::default() }.normalised().expect("good")
}
