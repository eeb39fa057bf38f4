//! A stored state that is not what was stored, in every way: what a start makes of it is what the entries alone lead to, and it says so.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::super::Loader;
use crate::store::ledger::{Actor, ActorKind, Ledger, NewEntry};
use crate::store::managed::{Change, Document, State};

const NOW: Duration = Duration::from_secs(1_795_216_330);
/// After so many the state was stored.
const STORED: u32 = 200;
/// So many are read on all cores.
const MANY: u32 = 4_500;
/// So many came later.
const LATER: u32 = 40;

fn document(number: u32) -> Document {
    Document {
        id: format!("p-{number:012}"),
        name: format!("fleet/Device-{number}"),
        fingerprints: vec![format!("{number:064x}")],
        role: Some(if number.is_multiple_of(3) { "Contributor" } else { "Reader" }.to_owned()),
        display_name: number.is_multiple_of(7).then(|| format!("Device \"{number}\" of the fl\u{f6}\u{f6}r")),
        version: 1,
        ..Document::default()
    }
    .normalised()
    .expect("good")
}

fn recorded(change: &Change) -> NewEntry {
    NewEntry {
        action: change.action().to_owned(),
        object: change.object().to_owned(),
        actor: Actor::new(ActorKind::Socket),
        before: String::new(),
        after: String::new(),
        reason: None,
        data: change.data(),
        more: false,
    }
}

/// Writes a ledger whose state was stored on the way, `as_stored` by somebody who has its key. Some of those stored are changed or gone
/// when it ends.
fn write(directory: &Path, count: u32, as_stored: impl Fn(&str) -> String) -> State {
    let mut ledger = Ledger::open(directory, None).expect("a new ledger").ledger;
    let mut state = State::default();
    let mut make = |ledger: &mut Ledger, changes: Vec<Change>| {
        for change in &changes {
            state.replay(state.entries(), change).expect("good");
        }
        ledger.append(changes.iter().map(recorded).collect(), NOW).expect("appended");
        state.clone()
    };
    let stored = make(&mut ledger, (0..count).map(|number| Change::put(document(number))).collect());
    let text = String::from_utf8(stored.to_bytes()).expect("text");
    ledger.snapshot().store(as_stored(&text).as_bytes()).expect("stored");
    let mut later: Vec<Change> = (count..count + LATER).map(|number| Change::put(document(number))).collect();
    later.push(Change::put(Document { version: 2, description: Some("moved".to_owned()), ..document(17) }));
    later.push(Change::PrincipalRemove { id: document(18).id, name: document(18).name });
    later.push(Change::revoke("serial:0A", None));
    let state = make(&mut ledger, later);
    ledger.publish().expect("published");
    state
}

/// Starts with it: the warnings, once all that is in force is what the entries say.
fn begun(directory: &Path, count: u32, expected: &State, what: &str) -> Vec<String> {
    let mut loader = Loader::new(&directory.join("p.toml"), true);
    let mut warnings = Vec::new();
    loader.recall(directory, &mut warnings).unwrap_or_else(|problem| panic!("{what}: {problem:?}"));
    let managed = &loader.managed;
    assert_eq!(managed.state.hash(), expected.hash(), "{what}");
    assert!(managed.state.to_bytes() == expected.to_bytes(), "{what}: another state than the entries lead to");
    assert_eq!((managed.layer.len(), managed.disabled.len()), (expected.len(), 0), "{what}");
    for number in [0, 17, count - 1, count, count + LATER - 1] {
        let pin = format!("{number:064x}").parse().expect("a fingerprint");
        let found = managed.layer.find_pin(&pin).unwrap_or_else(|| panic!("{what}: {number} is not in force"));
        assert_eq!(found.name.as_str(), document(number).name, "{what}");
        assert_eq!(managed.state.owner(&pin).map(|kept| kept.document().name), Some(document(number).name), "{what}");
    }
    let gone = format!("{:064x}", 18).parse().expect("a fingerprint");
    assert!(managed.layer.find_pin(&gone).is_none() && managed.state.owner(&gone).is_none(), "{what}: who was removed is back");
    warnings.into_iter().map(|warning| warning.message).collect()
}

#[test]
fn a_stored_state_that_was_changed_costs_a_replay_and_lets_nobody_in() {
    let content = |directory: &Path| directory.join(format!("ledger/snapshot-{STORED}"));
    let other = tempfile::tempdir().expect("a directory");
    write(other.path(), STORED, |text| text.replace("fleet/Device-1\"", "fleet/Mallory\""));
    let of_other = |name: &str| fs::read(other.path().join("ledger").join(name)).expect("written");
    type Damage<'a> = Box<dyn Fn(&Path) + 'a>;
    let change = |at: fn(usize) -> usize| -> Damage<'_> {
        Box::new(move |directory| {
            let mut bytes = fs::read(content(directory)).expect("stored");
            let at = at(bytes.len());
            bytes[at] ^= 1;
            fs::write(content(directory), bytes).expect("written");
        })
    };
    let cut = |by: fn(usize) -> usize| -> Damage<'_> {
        Box::new(move |directory| {
            let bytes = fs::read(content(directory)).expect("stored");
            fs::write(content(directory), &bytes[..by(bytes.len())]).expect("written");
        })
    };
    let not_noted = "is not what its note says: the entries are replayed from the first";
    let cases: Vec<(&str, Damage<'_>, &str)> = vec![
        ("the first byte changed", change(|_| 0), not_noted),
        ("a byte changed in the middle", change(|length| length / 2), not_noted),
        ("the last byte changed", change(|length| length - 1), not_noted),
        ("nothing left", cut(|_| 0), not_noted),
        ("half of it left", cut(|length| length / 2), not_noted),
        ("its last byte gone", cut(|length| length - 1), not_noted),
        (
            "another ledger's state",
            Box::new(|directory| fs::write(content(directory), of_other(&format!("snapshot-{STORED}"))).expect("written")),
            not_noted,
        ),
        (
            "another ledger's state and note",
            Box::new(|directory| {
                fs::write(content(directory), of_other(&format!("snapshot-{STORED}"))).expect("written");
                fs::write(directory.join("ledger/snapshot"), of_other("snapshot")).expect("written");
            }),
            "is not signed by this ledger's key: the entries are replayed from the first",
        ),
        (
            "gone, and its note is there",
            Box::new(|directory| fs::remove_file(content(directory)).expect("gone")),
            "No such file or directory (os error 2): the entries are replayed from the first",
        ),
    ];
    let whole = tempfile::tempdir().expect("a directory");
    let expected = write(whole.path(), STORED, str::to_owned);
    assert_eq!(begun(whole.path(), STORED, &expected, "as it was stored"), [""; 0]);
    for (what, damage, said) in cases {
        let directory = tempfile::tempdir().expect("a directory");
        let copied = std::process::Command::new("cp").arg("-a").arg(whole.path().join(".")).arg(directory.path()).status();
        assert!(copied.expect("cp").success());
        damage(directory.path());
        let warnings = begun(directory.path(), STORED, &expected, what);
        assert!(warnings.len() == 1 && warnings[0].ends_with(said), "{what}: {warnings:?}");
    }
}

#[test]
fn a_long_stored_state_is_read_on_all_cores() {
    let directory = tempfile::tempdir().expect("a directory");
    let expected = write(directory.path(), MANY, str::to_owned);
    assert_eq!(begun(directory.path(), MANY, &expected, "many"), [""; 0]);
}

/// What nobody but we could have written, as another version would: the key's signature is good, and the state is not.
#[test]
fn a_stored_state_that_cannot_be_read_costs_a_replay_and_one_of_the_first_version_none() {
    for (what, from, to, said) in [
        ("of the first version", "{\"version\":2", "{\"version\":1", None),
        ("of a later version", "{\"version\":2", "{\"version\":3", Some("has the form of version 3, and this is 2")),
        ("fewer than it says", "\"principals\":200", "\"principals\":201", Some("ends early")),
        ("one document cut", "{\"id\":\"p-000000000100\",", "{\"id\":\"p-0000", Some("expected")),
        (
            "one document with a key that is none",
            "{\"id\":\"p-000000000100\",",
            "{\"idd\":\"p-000000000100\",",
            Some("unknown field `idd`"),
        ),
        ("one document that is a list", "{\"id\":\"p-000000000100\",", "[{\"id\":\"p-000000000100\",", Some("expected")),
        ("one document with an id that is none", "{\"id\":\"p-000000000100\",", "{\"id\":\"P-1\",", Some("`P-1` ")),
        ("a line that is none", "{\"index\":100,", "{\"index\":-1,", Some("invalid value")),
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        let expected = write(directory.path(), STORED, |text| {
            assert!(text.contains(from), "{what}");
            text.replacen(from, to, 1)
        });
        let warnings = begun(directory.path(), STORED, &expected, what);
        match said {
            None => assert_eq!(warnings, [""; 0], "{what}"),
            Some(said) => {
                assert!(
                    warnings.len() == 1 && warnings[0].starts_with("the stored state ") && warnings[0].contains(said),
                    "{what}: {warnings:?}"
                );
                assert!(warnings[0].ends_with(": the ledger is read from its beginning"), "{what}: {warnings:?}");
            }
        }
    }
}
