//! A million managed principals in a ledger on disk: how long a start takes by its snapshot, and how long until a change is recorded, in
//! force and answered; and until a live connection of who is revoked is seen closed by its client. `cargo bench --bench managed [PRINCIPALS] [whole]`; `whole`: with their certificates, not fingerprints alone. Made
//! below the system's temporary directory, by a process of its own, so that the start has a heap as a start has it.

mod live;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use portcullis::admission::PrincipalId;
use portcullis::config::Loader;
use portcullis::metrics::Metrics;
use portcullis::reload::{self, Control, Install, Mutation};
use portcullis::store::ledger::{Actor, ActorKind, Ledger, NewEntry};
use portcullis::store::managed::{CertificateDocument, CertificateSource, Change, Document, ManagedRoster, State};

const NOW: Duration = Duration::from_secs(1_795_216_330);
const BATCH: u32 = 10_000;

fn main() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let principals: u32 = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    let whole = arguments.iter().any(|argument| argument == "whole");
    if let Some(at) = arguments.iter().position(|argument| argument == "record") {
        return record(Path::new(&arguments[at + 1]), principals, whole);
    }
    let directory = tempfile::tempdir().expect("a directory");
    // One that was recorded before, to look at the start alone.
    let kept = arguments.iter().position(|argument| argument == "at").map(|at| PathBuf::from(&arguments[at + 1]));
    let directory = kept.as_deref().unwrap_or_else(|| directory.path());
    let begun = Instant::now();
    if !directory.join("state").exists() {
        let mut recorder = std::process::Command::new(std::env::current_exe().expect("this program"));
        recorder.arg(principals.to_string()).args(whole.then_some("whole")).arg("record").arg(directory);
        assert!(recorder.status().expect("runs").success());
        println!("{principals} principals recorded in {:.2?}", begun.elapsed());
    }
    let upstream = live::upstream();
    let config = configure(directory, upstream);
    let begun = Instant::now();
    let mut loader = Loader::new(&config, true);
    let loaded = loader.start().unwrap_or_else(|problems| panic!("{problems:?}"));
    println!("opened, replayed from the snapshot, compiled and in force in {:.2?}; {}", begun.elapsed(), so_far());
    let running = Arc::new(live::listen(&loaded));
    let (tell, told) = mpsc::channel();
    let workers = Arc::clone(&running);
    let install = move |installed: Install| {
        workers.install(Arc::clone(&installed.rules), installed.seen);
        drop(tell.send((Instant::now(), installed.rules)));
    };
    let synced = Arc::new(Mutex::new(Instant::now()));
    let journal = loader.take_ledger().map(|ledger| live::Timed::boxed(ledger, &synced));
    let reloader = reload::start(loader, &loaded, Metrics::new(1), journal, install).expect("starts");
    for round in 0..10 {
        let name = format!("new/{round}");
        let put = Change::put(document(&name, u64::from(principals) + round));
        let one = change(reloader.control(), put);
        let kept = reloader.control().view().state.principal_named(&name).expect("kept").document().id.clone();
        let two = change(reloader.control(), Change::PrincipalRemove { id: kept, name });
        let asked = Instant::now();
        let three = change(reloader.control(), Change::revoke(&format!("sha256:{}", fingerprint(round)), None));
        let in_force = told.try_iter().last().map(|(at, _)| at.duration_since(asked)).unwrap_or_default();
        println!("added in {one:.2?}, removed in {two:.2?}, revoked in {three:.2?}, of which in force in {in_force:.2?}");
    }
    live::revoke(&running, reloader.control(), directory, &synced);
}

fn change(control: &Control, one: Change) -> Duration {
    change_all(control, vec![one])
}

fn change_all(control: &Control, changes: Vec<Change>) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let plan = Box::new(move |_: &State, _: &_| Ok(changes.clone()));
    let begun = Instant::now();
    let mutation = Mutation { actor: Actor::new(ActorKind::Socket), reason: None, dry_run: false, plan, guard: None };
    runtime.block_on(control.change(mutation)).expect("made");
    begun.elapsed()
}

/// Tells what this process has taken of the machine, whatever else runs on it.
fn so_far() -> String {
    let clock_ticks = 100.0;
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks: f64 =
        stat.rsplit(')').next().unwrap_or_default().split(' ').skip(12).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = |key: &str| {
        status.lines().find(|line| line.starts_with(key)).map(|line| line.split_whitespace().skip(1).collect::<Vec<_>>().join(" "))
    };
    let resident = ["VmRSS", "VmHWM"].map(|key| resident(key).unwrap_or_default());
    format!("{:.2} s of CPU, {} resident, {} at most", ticks / clock_ticks, resident[0], resident[1])
}

/// Writes the ledger and the state that it leads to, but for as much at its end as a start may have to replay.
fn record(directory: &Path, principals: u32, whole: bool) {
    let mut ledger = Ledger::open(&directory.join("state"), None).expect("a new ledger").ledger;
    let mut state = State::default();
    let template = whole.then(certificate);
    let stored_at = u64::from(principals - principals / 17);
    let mut stored = false;
    for first in (0..principals).step_by(BATCH as usize) {
        if u64::from(first) >= stored_at && !std::mem::replace(&mut stored, true) {
            // As a proxy has it, in which each was compiled.
            drop(ManagedRoster::build(Arc::new(state.clone())));
            ledger.snapshot().store(&state.to_bytes()).expect("stored");
        }
        let mut entries = Vec::new();
        for number in first..principals.min(first + BATCH) {
            let mut random = [0; 12];
            random.iter_mut().enumerate().for_each(|(at, byte)| *byte = (u64::from(number) >> (at * 3)) as u8);
            let id = PrincipalId::from_random(&random).to_string();
            let made = match &template {
                Some(template) => pinning(&format!("fleet/device-{number}"), template, number),
                None => document(&format!("fleet/device-{number}"), u64::from(number)),
            };
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
    }
    ledger.publish().expect("published");
}

fn configure(directory: &Path, upstream: SocketAddr) -> PathBuf {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    fs::write(directory.join("server.pem"), params.self_signed(&key).expect("signed").pem()).expect("written");
    fs::write(directory.join("server.key"), key.serialize_pem()).expect("written");
    let config = format!(
        "[[listener]]\nname = \"edge\"\naddress = \"127.0.0.1:0\"\nclient_auth = \"require\"\n\
         certificates = [{{ cert = \"server.pem\", key = \"server.key\" }}]\n[audit]\ndestination = \"off\"\n\
         [[route]]\nname = \"all\"\npath = \"/\"\nupstream = \"app\"\n[[upstream]]\nname = \"app\"\nendpoints = [\"http://{upstream}\"]\n"
    );
    let path = directory.join("p.toml");
    fs::write(&path, config).expect("written");
    path
}

fn fingerprint(number: u64) -> String {
    format!("{number:064x}")
}

/// One to make many of: its serial is found again.
fn certificate() -> Vec<u8> {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(vec!["device.fleet.example".to_owned()]).expect("a name");
    params.serial_number = Some(SERIAL.to_vec().into());
    params.self_signed(&key).expect("signed").der().to_vec()
}

/// A principal with a certificate of its own: whether it is signed matters to nobody who pins it.
fn pinning(name: &str, template: &[u8], number: u32) -> Document {
    let mut der = template.to_vec();
    let at = der.windows(SERIAL.len()).position(|window| window == SERIAL).expect("it has this serial");
    der[at + 4..at + 8].copy_from_slice(&number.to_be_bytes());
    let parsed = portcullis::pki::Certificate::parse(der.into()).expect("a certificate");
    let certificates = vec![CertificateDocument::of(&parsed, CertificateSource::Registered)];
    Document { name: name.to_owned(), certificates, role: Some("Reader".to_owned()), ..Document::default() }.normalised().expect("good")
}

const SERIAL: [u8; 16] = *b"serial-of-device";

fn document(name: &str, number: u64) -> Document {
    let role = Some("Reader".to_owned());
    Document { name: name.to_owned(), fingerprints: vec![fingerprint(number)], role, ..Document::default() }.normalised().expect("good")
}
