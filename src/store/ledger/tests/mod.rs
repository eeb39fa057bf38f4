//! The ledger as its users see it. `crash` has power cuts and full disks, `damage` what somebody else did to the files.

mod crash;
mod damage;
mod disk;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::entry::{Actor, ActorKind, NewEntry};
use super::error::AppendError;
use super::open::Opened;
use super::receipt::{NotProven, verify_receipt};
use super::writer::Ledger;
use disk::Memory;

const NOW: Duration = Duration::from_millis(1_795_216_330_005);

fn change(object: &str) -> NewEntry {
    NewEntry {
        action: "principal-added".to_owned(),
        object: object.to_owned(),
        actor: Actor { name: Some("ops/alice".to_owned()), ..Actor::new(ActorKind::Admin) },
        before: "a".to_owned(),
        after: "b".to_owned(),
        reason: None,
        data: json!({"name": object}),
        more: false,
    }
}

fn open(disk: &Memory) -> Opened {
    try_open(disk).unwrap_or_else(|error| panic!("{error}"))
}

fn try_open(disk: &Memory) -> Result<Opened, super::OpenError> {
    Ledger::open_on(Arc::new(disk.clone()), Path::new("state"), Some("example.com/ledger"))
}

/// A disk whose ledger has some entries, published, and is not open.
fn written(count: usize) -> Memory {
    let disk = Memory::default();
    let mut ledger = open(&disk).ledger;
    ledger.append((0..count).map(|index| change(&format!("p-{index}"))).collect(), NOW).unwrap();
    ledger.publish().unwrap();
    disk.after(disk::Left::Everything)
}

fn objects(opened: &Opened) -> Vec<String> {
    opened.ledger.reader().entries(0).map(|entry| entry.unwrap().object).collect()
}

#[test]
fn what_is_appended_is_there_after_the_next_start_with_a_receipt() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let mut ledger = Ledger::open(&state, None).unwrap().ledger;
    let appended = ledger.append((0..600).map(|index| change(&format!("p-{index}"))).collect(), NOW).unwrap();
    ledger.publish().unwrap();
    let (root, verifier) = (ledger.reader().root(), ledger.reader().verifier().clone());
    drop(ledger);

    let opened = Ledger::open(&state, None).unwrap();
    assert_eq!(opened.warnings, []);
    let reader = opened.ledger.reader();
    assert_eq!((reader.size(), reader.root(), reader.verifier()), (600, root, &verifier));
    for index in [0, 255, 256, 511, 512, 599] {
        assert_eq!(appended[index as usize].index, index);
        let line = reader.line(index).unwrap().unwrap();
        assert_eq!(reader.entry(index).unwrap().unwrap().object, format!("p-{index}"));
        let receipt = reader.receipt(index).unwrap().unwrap();
        let (proven, checkpoint) = verify_receipt(&receipt, line.as_bytes(), &verifier).unwrap();
        assert_eq!((proven, checkpoint.size, checkpoint.root), (index, 600, root));
        let other = line.replace("ops/alice", "ops/mallory");
        assert_eq!(verify_receipt(&receipt, other.as_bytes(), &verifier), Err(NotProven::Path));
    }
    assert_eq!((reader.line(600).unwrap(), reader.receipt(600).unwrap(), reader.entry(u64::MAX).unwrap()), (None, None, None));
    assert_eq!(reader.entries(590).count(), 10);
    assert_eq!(std::fs::read_to_string(state.join("ledger/checkpoint")).unwrap(), reader.checkpoint());
    assert!(state.join("ledger/tile/0/001").is_file() && state.join("ledger/tile/entries/002.p/88").is_file());
}

#[test]
fn a_key_is_nobodys_but_ours() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    drop(Ledger::open(directory.path(), None).unwrap());
    let mode = std::fs::metadata(directory.path().join("ledger.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn two_cannot_have_one_ledger_open() {
    let directory = tempfile::tempdir().unwrap();
    let first = Ledger::open(directory.path(), None).unwrap();
    let error = Ledger::open(directory.path(), None).unwrap_err().to_string();
    assert!(error.contains("ledger/entries.jsonl: another process has this ledger open"), "{error}");
    drop(first);
    assert!(Ledger::open(directory.path(), None).is_ok());
}

#[test]
fn a_lock_that_is_given_back_in_a_moment_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    drop(Ledger::open(directory.path(), None).unwrap());
    let held = std::fs::File::open(directory.path().join("ledger/entries.jsonl")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    std::thread::scope(|threads| {
        let opened = threads.spawn(|| Ledger::open(directory.path(), None).map(drop));
        std::thread::park_timeout(std::time::Duration::from_millis(30));
        drop(held);
        assert!(opened.join().unwrap().is_ok());
    });
}

#[test]
fn readers_read_while_the_ledger_grows() {
    let disk = Memory::default();
    let mut ledger = open(&disk).ledger;
    let reader = ledger.reader();
    let (stop, told) = std::sync::mpsc::channel::<()>();
    let reading = std::thread::spawn(move || {
        while told.try_recv().is_err() {
            let Some(index) = reader.size().checked_sub(1) else { continue };
            let receipt = reader.receipt(index).unwrap().unwrap();
            verify_receipt(&receipt, reader.line(index).unwrap().unwrap().as_bytes(), reader.verifier()).unwrap();
        }
    });
    for index in 0..600 {
        ledger.append(vec![change(&format!("p-{index}"))], NOW).unwrap();
    }
    stop.send(()).unwrap();
    reading.join().unwrap();
}

#[test]
fn long_data_stands_in_a_file_of_its_own() {
    let disk = Memory::default();
    let mut ledger = open(&disk).ledger;
    let long = json!({"crl": "A".repeat(200_000)});
    let appended = ledger.append(vec![NewEntry { data: long.clone(), ..change("crl") }], NOW).unwrap();
    let reader = ledger.reader();
    let line = reader.line(appended[0].index).unwrap().unwrap();
    assert!(line.len() < 1_000 && line.contains(r#""detached":{"bytes":200010,"sha256":""#), "{line}");
    assert_eq!(reader.entry(0).unwrap().unwrap().data, long);

    let path = disk.paths().into_iter().find(|path| path.contains("/data/")).unwrap();
    disk.put(&path, b"\"another\"");
    assert!(reader.entry(0).unwrap_err().to_string().contains("is not what its entry says"));
}

#[test]
fn what_cannot_be_recorded_is_refused_and_changes_nothing() {
    let disk = Memory::default();
    let mut ledger = open(&disk).ledger;
    let before = disk.get("state/ledger/entries.jsonl");
    let with = |data: Value| NewEntry { data, ..change("p") };
    let long = NewEntry { object: "x".repeat(65_400), ..change("p") };
    let secret = with(json!({"key": "-----BEGIN EC PRIVATE KEY-----\nMHcC"}));
    for (changes, refused) in [
        (vec![change("fine"), with(json!(0.5))], "change 1 holds a number"),
        (vec![secret], "change 0 holds a private key"),
        (vec![long], "change 0 is longer than a line"),
        (vec![NewEntry { more: true, ..change("p") }], "more belong to it"),
    ] {
        let error = ledger.append(changes, NOW).unwrap_err().to_string();
        assert!(error.contains(refused), "{error}");
    }
    assert_eq!((ledger.size(), disk.get("state/ledger/entries.jsonl")), (0, before));
    assert!(ledger.append(Vec::new(), NOW).unwrap().is_empty());
}

#[test]
fn a_replay_begins_at_the_snapshot() {
    let disk = Memory::default();
    let mut ledger = open(&disk).ledger;
    ledger.append((0..10).map(|index| change(&format!("p-{index}"))).collect(), NOW).unwrap();
    ledger.snapshot().store(b"first").unwrap();
    ledger.append(vec![change("p-10")], NOW).unwrap();
    ledger.snapshot().store(b"second").unwrap();
    ledger.append(vec![change("p-11")], NOW).unwrap();
    ledger.publish().unwrap();
    let disk = disk.after(disk::Left::Everything);
    let opened = open(&disk);
    let state = opened.state.unwrap();
    assert_eq!((state.size, state.content.as_slice()), (11, &b"second"[..]));
    assert_eq!(opened.ledger.reader().entries(state.size).map(|entry| entry.unwrap().object).collect::<Vec<_>>(), ["p-11"]);
    assert!(!disk.paths().contains(&"state/ledger/snapshot-10".to_owned()), "the older one is gone");

    let note = disk.get("state/ledger/snapshot").unwrap();
    for (path, bytes) in [
        ("state/ledger/snapshot-11", b"forged".to_vec()),
        ("state/ledger/snapshot", String::from_utf8(note.clone()).unwrap().replace("\n11\n", "\n12\n").into_bytes()),
        ("state/ledger/snapshot", b"".to_vec()),
    ] {
        let disk = disk.after(disk::Left::Everything);
        disk.put(path, &bytes);
        let opened = open(&disk);
        assert_eq!(opened.state, None, "{path}");
        assert!(opened.warnings[0].to_string().contains("the entries are replayed from the first"), "{:?}", opened.warnings);
    }
}

#[test]
fn a_ledger_that_cannot_be_written_is_read() {
    let disk = written(3);
    disk.make_read_only(true);
    let mut opened = open(&disk);
    assert_eq!(objects(&opened), ["p-0", "p-1", "p-2"]);
    assert!(opened.warnings[0].what.contains("changes to it are refused"));
    assert!(matches!(opened.ledger.append(vec![change("x")], NOW), Err(AppendError::ReadOnly { .. })));
    assert!(opened.ledger.publish().is_ok() && !opened.ledger.is_writable());
    // As soon as it can be written it is, without a start in between.
    disk.make_read_only(false);
    assert_eq!(opened.ledger.append(vec![change("x")], NOW).unwrap()[0].index, 3);
    opened.ledger.publish().unwrap();
    let opened = open(&disk.after(disk::Left::Nothing));
    assert_eq!((objects(&opened).len(), opened.warnings), (4, vec![]));
}

#[test]
fn a_ledger_that_was_replaced_while_it_could_not_be_written_is_not_written() {
    let disk = written(2);
    disk.make_read_only(true);
    let mut opened = open(&disk);
    disk.make_read_only(false);
    let entries = disk.get("state/ledger/entries.jsonl").unwrap();
    disk.delete("state/ledger/entries.jsonl");
    disk.put("state/ledger/entries.jsonl", &entries);
    assert!(matches!(opened.ledger.append(vec![change("x")], NOW), Err(AppendError::Replaced { .. })));
    assert_eq!(disk.get("state/ledger/entries.jsonl").unwrap(), entries);
}

#[test]
fn checkpoints_are_told_to_whoever_listens() {
    let disk = Memory::default();
    let mut ledger = open(&disk).ledger;
    let (tell, told) = std::sync::mpsc::channel();
    ledger.on_checkpoint(move |note| tell.send(note.to_owned()).unwrap());
    ledger.append(vec![change("p")], NOW).unwrap();
    ledger.publish().unwrap();
    ledger.publish().unwrap();
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [ledger.reader().checkpoint()]);
}

#[test]
fn the_worked_example_of_the_docs_is_what_is_written() {
    let disk = Memory::default();
    let key = super::note::Signer::new("example.com/ledger", [7; 32]).unwrap();
    disk.put("state/ledger.key.begun", key.to_secret().as_bytes());
    let mut ledger = open(&disk).ledger;
    let appended = ledger.append(vec![change("p-a"), change("p-b"), change("p-c")], NOW).unwrap();
    let reader = ledger.reader();
    let mut example = format!("key       {}\n", reader.verifier());
    for index in 0..3 {
        example +=
            &format!("\nentry {index}   {}\nleaf {index}    {}\n", reader.line(index).unwrap().unwrap(), appended[index as usize].leaf);
    }
    example += &format!("\nreceipt of entry 1, which ends with the checkpoint:\n\n{}", reader.receipt(1).unwrap().unwrap());
    let docs = include_str!("../../../../docs/ledger.md");
    assert!(docs.contains(&format!("```text\n{example}```\n")), "docs/ledger.md lacks:\n{example}");
}

#[test]
fn what_can_never_be_recorded_is_said_before_and_writes_nothing() {
    let disk = written(1);
    let ledger = open(&disk).ledger;
    let with = |data: Value| NewEntry { data, ..change("p-1") };
    assert!(ledger.check(&change("p-1")).is_ok());
    assert!(ledger.check(&with(json!("x".repeat(100_000)))).is_ok(), "long data stands in a file of its own");
    assert!(matches!(ledger.check(&change(&"0".repeat(100_000))), Err(AppendError::TooLong(0))));
    assert!(matches!(ledger.check(&with(json!(["-----BEGIN EC PRIVATE KEY-----"]))), Err(AppendError::Secret(0))));
    assert!(matches!(ledger.check(&with(json!(1.5))), Err(AppendError::NotCanonical(0, _))));
    assert_eq!((ledger.size(), objects(&open(&disk.after(disk::Left::Everything)))), (1, vec!["p-0".to_owned()]));
}
