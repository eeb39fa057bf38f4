//! Power cuts and failures at every operation of the disk: what was acknowledged is there, and of what was not, all or nothing.

use std::io;

use super::super::entry::NewEntry;
use super::disk::{Fault, Left, Memory, Part};
use super::{NOW, change, objects, open, try_open};

/// What is done until the power goes: returns what was acknowledged.
fn run(disk: &Memory) -> Vec<String> {
    let mut acknowledged = Vec::new();
    let Ok(opened) = try_open(disk) else { return acknowledged };
    let mut ledger = opened.ledger;
    for step in 0..4 {
        let changes: Vec<NewEntry> = (0..=step).map(|part| NewEntry { more: part < step, ..change(&format!("p-{step}.{part}")) }).collect();
        if ledger.append(changes, NOW).is_ok() {
            acknowledged.extend((0..=step).map(|part| format!("p-{step}.{part}")));
        }
        if step == 2 {
            let _ = ledger.snapshot().store(b"state");
        }
        let _ = ledger.publish();
    }
    acknowledged
}

fn whole() -> Vec<String> {
    let disk = Memory::default();
    run(&disk)
}

fn operations() -> usize {
    let disk = Memory::default();
    run(&disk);
    disk.operations()
}

/// Opens what is left, and checks it.
fn check(disk: &Memory, acknowledged: &[String], context: &str) {
    let mut opened = try_open(disk).unwrap_or_else(|error| panic!("{context}: {error}"));
    let (found, all) = (objects(&opened), whole());
    assert!(found.starts_with(acknowledged), "{context}: {acknowledged:?} was acknowledged, and {found:?} is there");
    assert!(all.starts_with(&found), "{context}: {found:?}");
    assert!([0, 1, 3, 6, 10].contains(&found.len()), "{context}: half a change: {found:?}");
    // It goes on, and stands at the next start.
    let size = opened.ledger.size();
    opened.ledger.append(vec![change("after")], NOW).unwrap();
    opened.ledger.publish().unwrap();
    let opened = try_open(&disk.after(Left::Nothing)).unwrap_or_else(|error| panic!("{context}, again: {error}"));
    assert_eq!((opened.ledger.size(), opened.warnings), (size + 1, vec![]), "{context}");
}

#[test]
fn a_power_cut_at_any_operation_loses_nothing_acknowledged_and_leaves_nothing_half() {
    let operations = operations();
    assert!(operations > 60, "{operations}");
    for at in 0..operations {
        for part in [Part::None, Part::Half, Part::All] {
            let disk = Memory::default();
            disk.fault(at, Fault::Power(part));
            let acknowledged = run(&disk);
            for left in [Left::Nothing, Left::Everything, Left::Holes] {
                check(&disk.after(left), &acknowledged, &format!("operation {at}, {part:?} of it, {left:?} left"));
            }
        }
    }
}

#[test]
fn a_record_torn_at_any_byte_is_dropped() {
    let disk = Memory::default();
    let mut ledger = open(&disk).ledger;
    ledger.append(vec![change("p-0.0")], NOW).unwrap();
    ledger.publish().unwrap();
    disk.fault(1, Fault::Power(Part::None));
    ledger.append(vec![NewEntry { more: true, ..change("p-1.0") }, change("p-1.1")], NOW).unwrap_err();
    let unsynced = disk.unsynced();
    assert!(unsynced > 300);
    for count in 0..=unsynced {
        let disk = disk.after(Left::Bytes(count));
        let opened = open(&disk);
        let expected: &[&str] = if count == unsynced { &["p-0.0", "p-1.0", "p-1.1"] } else { &["p-0.0"] };
        assert_eq!(objects(&opened), expected, "{count} of {unsynced} bytes");
        let dropped = opened.warnings.iter().any(|warning| warning.what.contains("torn record after entry 1"));
        assert_eq!(dropped, count > 0 && count < unsynced, "{:?}", opened.warnings);
    }
}

#[test]
fn an_operation_that_fails_once_is_made_good_later() {
    for at in 0..operations() {
        for (kind, part) in
            [(io::ErrorKind::StorageFull, Part::Half), (io::ErrorKind::Other, Part::None), (io::ErrorKind::ReadOnlyFilesystem, Part::All)]
        {
            let disk = Memory::default();
            disk.fault(at, Fault::Fails(kind, part));
            let context = format!("operation {at}: {kind}");
            let Ok(opened) = try_open(&disk) else {
                disk.heal();
                // What an attempt left does not stand in the way of the next.
                assert!(try_open(&disk.after(Left::Everything)).is_ok(), "{context}");
                continue;
            };
            let mut ledger = opened.ledger;
            let mut acknowledged = Vec::new();
            for step in 0..8 {
                if ledger.append(vec![change(&format!("p-{step}"))], NOW).is_ok() {
                    acknowledged.push(format!("p-{step}"));
                }
                assert_eq!(ledger.size(), acknowledged.len() as u64, "{context}");
                let _ = ledger.publish();
            }
            assert!(acknowledged.len() >= 7, "{context}: {acknowledged:?}");
            ledger.publish().unwrap();
            for left in [Left::Nothing, Left::Everything] {
                let opened = open(&disk.after(left));
                assert_eq!((objects(&opened), opened.warnings.len()), (acknowledged.clone(), 0), "{context}");
            }
        }
    }
}

#[test]
fn a_full_disk_refuses_changes_until_there_is_room() {
    let disk = Memory::default();
    let mut ledger = open(&disk).ledger;
    ledger.append(vec![change("p-0")], NOW).unwrap();
    disk.fault(0, Fault::Full);
    for _ in 0..3 {
        let error = ledger.append(vec![change("refused")], NOW).unwrap_err().to_string();
        assert!(error.contains("entries.jsonl: no storage space; nothing was recorded"), "{error}");
        assert!(ledger.publish().is_err());
        assert_eq!(ledger.size(), 1);
    }
    let full = open(&disk.after(Left::Everything));
    assert_eq!(objects(&full), ["p-0"], "a start finds what was acknowledged, and no half of the rest");
    disk.heal();
    ledger.append(vec![change("p-1")], NOW).unwrap();
    ledger.publish().unwrap();
    assert_eq!(objects(&open(&disk.after(Left::Nothing))), ["p-0", "p-1"]);
}
