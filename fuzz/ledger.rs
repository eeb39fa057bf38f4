//! A ledger that somebody wrote into, and checkpoints and receipts that somebody made up. Beyond "no panic": no history but the signed one
//! is read, no other head is believed, and no receipt proves another entry.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use portcullis::store::ledger::{Checkpoint, Entry, Extent, Reader, Receipt, Verifier, verify_directory, verify_receipt};
use portcullis::store::managed::{Change, State};

const ENTRIES: &str = include_str!("rules/ledger/entries.jsonl");
const CHECKPOINT: &str = include_str!("rules/ledger/checkpoint");
const KEY: &str = include_str!("rules/ledger/ledger.pub");

// The first byte says what the rest is.
fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    match kind {
        b'c' => checkpoint(&text),
        b'e' => entries(rest),
        b'l' => line(rest),
        b'r' => receipt(&text),
        _ => {}
    }
});

fn checkpoint(note: &str) {
    if let Ok(said) = Checkpoint::open(note, key()) {
        assert_eq!(said, signed(), "only one was ever signed");
    }
    let found = read(ENTRIES.as_bytes(), note);
    assert!(found.is_none_or(|lines| lines == known()));
}

fn entries(bytes: &[u8]) {
    if let Some(lines) = read(bytes, CHECKPOINT) {
        assert_eq!(lines.get(..known().len()), Some(known()), "history is as it was signed");
    }
}

fn line(bytes: &[u8]) {
    let Ok(entry) = Entry::parse(bytes) else { return };
    if let Ok(change) = Change::read(&entry.action, entry.data) {
        let mut state = State::default();
        let _ = state.replay(0, &change);
    }
}

fn receipt(text: &str) {
    if let Some(receipt) = Receipt::parse(text) {
        assert_eq!(Receipt::parse(&receipt.to_string()), Some(receipt));
    }
    for (at, line) in known().iter().enumerate() {
        if let Ok((index, head)) = verify_receipt(text, line.as_bytes(), key()) {
            assert_eq!((index, head), (at as u64, signed()));
        }
    }
}

/// Reads a ledger of these files, entry by entry; `None` where it is refused.
fn read(entries: &[u8], note: &str) -> Option<Vec<String>> {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| {
        let memory = PathBuf::from("/dev/shm");
        let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let directory = base.join(format!("portcullis-fuzz-{}", std::process::id())).join("ledger");
        fs::create_dir_all(&directory).expect("a directory");
        fs::write(directory.join("ledger.pub"), KEY).expect("a file");
        directory
    });
    fs::write(directory.join("entries.jsonl"), entries).expect("a file");
    fs::write(directory.join("checkpoint"), note).expect("a file");
    let verified = verify_directory(directory, Some(key().clone()), |_, _| {});
    let reader = Reader::offline(directory, Some(key().clone()), Extent::All).ok()?;
    assert!(verified.is_ok(), "what is read verifies");
    for entry in reader.entries(0) {
        entry.expect("what was read whole can be read again");
    }
    Some((0..reader.size()).map(|index| reader.line(index).expect("readable").expect("there")).collect())
}

fn known() -> &'static [String] {
    static LINES: OnceLock<Vec<String>> = OnceLock::new();
    LINES.get_or_init(|| ENTRIES.lines().map(str::to_owned).collect())
}

fn signed() -> Checkpoint {
    Checkpoint::open(CHECKPOINT, key()).expect("the one that was signed")
}

fn key() -> &'static Verifier {
    static KEY_READ: OnceLock<Verifier> = OnceLock::new();
    KEY_READ.get_or_init(|| KEY.trim_end().parse().expect("a key"))
}
