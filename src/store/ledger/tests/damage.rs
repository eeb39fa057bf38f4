//! What somebody else did to the files: found at the start, and told with file, line and what to do.

use super::disk::{Left, Memory};
use super::{NOW, change, objects, open, try_open, written};

const ENTRIES: &str = "state/ledger/entries.jsonl";

fn lines(disk: &Memory) -> Vec<String> {
    String::from_utf8(disk.get(ENTRIES).unwrap()).unwrap().lines().map(|line| format!("{line}\n")).collect()
}

#[track_caller]
fn refused(disk: &Memory, expected: &str) {
    let error = try_open(&disk.after(Left::Everything)).expect_err(expected).to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn an_entry_that_was_changed_stops_the_start_with_its_line() {
    let disk = written(600);
    let mut entries = lines(&disk);
    entries[300] = entries[300].replace("p-300", "p-999");
    disk.put(ENTRIES, entries.concat().as_bytes());
    refused(&disk, "entries.jsonl:301: is not what state/ledger/checkpoint has signed: history was rewritten; restore");
    entries[2] = entries[2].replace("\"v\"", "\"w\"");
    disk.put(ENTRIES, entries.concat().as_bytes());
    refused(&disk, "entries.jsonl:3: is no entry: unknown field `w`");
}

#[test]
fn any_byte_that_was_changed_stops_the_start() {
    let disk = written(3);
    let bytes = disk.get(ENTRIES).unwrap();
    for at in 0..bytes.len() {
        for flip in [1, 0x80, b'\n' ^ bytes[at], bytes[at]].into_iter().filter(|flip| *flip != 0) {
            let mut changed = bytes.clone();
            changed[at] ^= flip;
            disk.put(ENTRIES, &changed);
            assert!(try_open(&disk.after(Left::Everything)).is_err(), "byte {at} ^ {flip:#x}");
        }
    }
}

#[test]
fn entries_that_were_taken_away_stop_the_start() {
    let disk = written(5);
    let entries = lines(&disk);
    disk.put(ENTRIES, entries[..4].concat().as_bytes());
    refused(&disk, "entries.jsonl: has 4 entries, and state/ledger/checkpoint has signed 5: entries are gone");
    disk.put(ENTRIES, [&entries[..2], &entries[3..]].concat().concat().as_bytes());
    refused(&disk, "entries.jsonl:3: says that it is entry 3");
    disk.put(ENTRIES, b"");
    refused(&disk, "has 0 entries");
}

#[test]
fn an_older_copy_of_the_ledger_is_not_taken_for_the_ledger() {
    let older = written(3);
    let disk = older.after(Left::Everything);
    let mut ledger = open(&disk).ledger;
    ledger.append(vec![change("later")], NOW).unwrap();
    ledger.publish().unwrap();
    let seen = disk.get("state/checkpoint.seen").unwrap();
    older.put("state/checkpoint.seen", &seen);
    refused(&older, "has 3 entries, and state/checkpoint.seen has signed 4: entries are gone");
}

#[test]
fn a_rewritten_history_is_refused_even_with_its_own_checkpoint() {
    // Whoever holds the key can sign another history, but not make us forget the one we saw.
    let disk = written(3);
    let key = disk.get("state/ledger.key").unwrap();
    let other = Memory::default();
    other.put("state/ledger.key.begun", &key);
    let mut ledger = open(&other).ledger;
    ledger.append((0..5).map(|index| change(&format!("q-{index}"))).collect(), NOW).unwrap();
    ledger.publish().unwrap();
    let other = other.after(Left::Everything);
    other.put("state/checkpoint.seen", &disk.get("state/checkpoint.seen").unwrap());
    refused(&other, "is not what state/checkpoint.seen has signed: history was rewritten");
}

#[test]
fn a_key_whose_ledger_is_gone_begins_no_other() {
    let whole = written(3);
    for gone in [
        &["state/ledger/", "state/checkpoint.seen"][..],
        &["state/ledger/entries.jsonl", "state/ledger/checkpoint", "state/checkpoint.seen"],
    ] {
        let disk = whole.after(Left::Everything);
        gone.iter().for_each(|path| disk.delete(path));
        refused(&disk, "state/ledger.key: is the key of a ledger that is gone; restore `ledger/` and `checkpoint.seen`");
        // Nothing was made that the next start would take for a beginning.
        refused(&disk.after(Left::Everything), "state/ledger.key: is the key of a ledger that is gone");
    }
    // One that never signed anything is a start that was cut off.
    let begun = Memory::default();
    begun.put("state/ledger.key.begun", &whole.get("state/ledger.key").unwrap());
    drop(open(&begun));
    assert!(begun.get("state/ledger.key").is_some() && begun.get("state/ledger.key.begun").is_none());
}

#[test]
fn checkpoints_of_another_key_are_refused() {
    let (disk, other) = (written(3), written(3));
    for path in ["state/ledger/checkpoint", "state/checkpoint.seen", "state/ledger.key"] {
        let disk = disk.after(Left::Everything);
        disk.put(path, &other.get(path).unwrap());
        refused(&disk, "is not signed by this ledger's key");
        disk.put(path, b"garbage");
        assert!(try_open(&disk.after(Left::Everything)).is_err());
        disk.delete(path);
        refused(&disk, &format!("{path}: is missing, and the ledger has"));
    }
}

#[test]
fn tiles_are_written_again_or_found_wrong() {
    let disk = written(600);
    let tile = "state/ledger/tile/0/001";
    let bytes = disk.get(tile).unwrap();
    disk.delete("state/ledger/tile");
    let disk = disk.after(Left::Everything);
    let opened = open(&disk);
    assert_eq!((disk.get(tile), objects(&opened).len()), (Some(bytes.clone()), 600));
    drop(opened);
    let mut changed = bytes;
    changed[40] ^= 1;
    disk.put(tile, &changed);
    refused(&disk, "tile/0/001: does not agree with the entries, which are as signed; remove the directory `tile`");
}

#[test]
fn lines_that_somebody_appended_stop_the_start() {
    let disk = written(2);
    let mut entries = lines(&disk);
    entries.push(entries[1].clone());
    disk.put(ENTRIES, entries.concat().as_bytes());
    refused(&disk, "entries.jsonl:3: says that it is entry 1");
    entries[2] = "not an entry\n".to_owned();
    disk.put(ENTRIES, entries.concat().as_bytes());
    refused(&disk, "entries.jsonl:3: is no entry");
}

#[test]
fn another_origin_than_the_ledgers_is_refused() {
    let disk = written(1);
    let error =
        super::Ledger::open_on(std::sync::Arc::new(disk.after(Left::Everything)), "state".as_ref(), Some("example.com/other")).unwrap_err();
    assert!(error.to_string().contains("is the key of the ledger `example.com/ledger`"), "{error}");
}

#[test]
fn what_changes_while_we_run_is_an_error_and_not_an_answer() {
    let disk = Memory::default();
    let mut ledger = open(&disk).ledger;
    ledger.append((0..300).map(|index| change(&format!("p-{index}"))).collect(), NOW).unwrap();
    let reader = ledger.reader();
    let bytes = disk.get(ENTRIES).unwrap();
    disk.put(ENTRIES, &String::from_utf8(bytes.clone()).unwrap().replace("p-7\"", "p-8\"").into_bytes());
    assert!(reader.entry(7).unwrap_err().to_string().contains("entries 0 to 255 are not what they were"));
    assert!(reader.receipt(8).is_err() && reader.entry(299).is_ok());
    disk.put(ENTRIES, &bytes[..bytes.len() - 10]);
    assert!(reader.line(299).unwrap_err().to_string().contains("shorter than it was"));
}
