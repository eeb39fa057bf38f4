//! Layers: what a change leaves as it was, what it may not meet, and what it costs beside many.

use std::sync::Arc;

use super::super::layer::Entry;
use super::super::testing::*;
use super::super::*;
use crate::pki::{Fingerprint, SpkiPin};

fn id(number: u32) -> PrincipalId {
    format!("p-{number:012}").parse().unwrap()
}

/// A principal with one pin; both as the numbers say.
fn entry(number: u32, name: &str, pin: u32) -> Entry {
    let provenance = Provenance { file: "ledger".into(), line: number };
    let principal = Principal {
        id: id(number),
        name: name.parse().unwrap(),
        display_name: Some(format!("number {number}").into()),
        terms: Arc::new(terms()),
        provenance: provenance.clone(),
    };
    (principal, vec![(Credential::Pin(fingerprint(pin).into()), provenance)])
}

fn fingerprint(pin: u32) -> Fingerprint {
    Fingerprint::of(&pin.to_be_bytes())
}

fn allowlist(before: Option<&Allowlist>, rosters: &[Arc<Roster>], layer: &Layer) -> Result<Allowlist, Conflict> {
    let mut builder = before.map_or_else(AllowlistBuilder::default, AllowlistBuilder::after);
    rosters.iter().try_for_each(|roster| builder.include(Arc::clone(roster)))?;
    builder.layer(layer)?;
    Ok(builder.finish())
}

fn roster(entry: Entry) -> Arc<Roster> {
    let mut builder = RosterBuilder::default();
    builder.add(&entry.0, &entry.1).unwrap();
    Arc::new(builder.finish())
}

#[test]
fn principals_are_added_replaced_and_removed_one_at_a_time() {
    let one = Layer::default().with(&[], vec![entry(1, "one", 1), entry(2, "two", 2)]).unwrap();
    let name = |layer: &Layer, pin: u32| layer.find_pin(&fingerprint(pin)).map(|principal| principal.name.to_string());
    let replaced = one.with(&[id(1)], vec![entry(1, "uno", 3)]).unwrap();
    assert_eq!((name(&replaced, 1), name(&replaced, 3), name(&replaced, 2)), (None, Some("uno".into()), Some("two".into())));
    assert!(replaced.find_name("ONE").is_none() && replaced.find_name("UNO").is_some());
    let removed = replaced.with(&[id(2), id(9)], Vec::new()).unwrap();
    assert_eq!((removed.len(), removed.credentials(), name(&removed, 2)), (1, 1, None));
    assert!(removed.find_id(&id(2)).is_none() && removed.find_id(&id(1)).is_some());
    // What was there before still is, for whoever holds it.
    assert_eq!((one.len(), name(&one, 1), name(&one, 2)), (2, Some("one".into()), Some("two".into())));
    let told = removed.find_id(&id(1)).unwrap();
    assert_eq!((told.name.as_str(), told.display_name.as_deref(), told.provenance.line), ("uno", Some("number 1"), 1));
}

#[test]
fn a_conflict_changes_nothing() {
    let layer = Layer::default().with(&[], vec![entry(1, "one", 1)]).unwrap();
    let spki = |number, name: &str| {
        let mut entry = entry(number, name, number);
        entry.1.push((Credential::SpkiPin(SpkiPin::of(b"key")), written(number)));
        entry
    };
    for (what, added, expected) in [
        ("a name in another case", vec![entry(2, "ONE", 2)], Claim::Name),
        ("a certificate", vec![entry(2, "two", 1)], Claim::Certificate),
        ("an id", vec![entry(1, "two", 2)], Claim::Id),
        ("a name among themselves", vec![entry(2, "two", 2), entry(3, "Two", 3)], Claim::Name),
        ("a certificate among themselves", vec![entry(2, "two", 2), entry(3, "three", 2)], Claim::Certificate),
        ("a key among themselves", vec![spki(2, "two"), spki(3, "three")], Claim::SpkiPin),
    ] {
        assert_eq!(layer.with(&[], added.clone()).unwrap_err().claim, expected, "{what}");
        let all: Vec<Entry> = std::iter::once(entry(1, "one", 1)).chain(added.clone()).collect();
        let all: Vec<&Entry> = all.iter().collect();
        assert_eq!(
            Layer::load(&all, |entry| entry.0.id, |some, builder| some.iter().try_for_each(|entry| builder.add(&entry.0, &entry.1)))
                .unwrap_err()
                .claim,
            expected,
            "{what}"
        );
        // The same between a layer and a file, whichever came first.
        if let [entry] = &*added {
            let roster = roster(entry.clone());
            let conflict = allowlist(None, &[Arc::clone(&roster)], &layer).unwrap_err();
            assert_eq!((conflict.claim, &conflict.first), (expected, &entry.0.provenance), "{what}");
            let mut builder = AllowlistBuilder::default();
            builder.layer(&layer).unwrap();
            let conflict = builder.include(roster).unwrap_err();
            assert_eq!((conflict.claim, conflict.first.line), (expected, 1), "{what}");
            assert_eq!(builder.add(entry.0.clone(), entry.1.clone()).unwrap_err().claim, expected, "{what}");
            assert_eq!(builder.finish().len(), 1, "{what}: a conflict leaves things as they were");
        }
    }
}

#[test]
fn what_changed_is_compared_with_files_and_what_stood_is_not() {
    let file = roster(entry(100, "file", 100));
    let many: Vec<Entry> = (1..50).map(|number| entry(number, &format!("client/{number}"), number)).collect();
    let layer = Layer::default().with(&[], many).unwrap();
    let first = allowlist(None, &[Arc::clone(&file)], &layer).unwrap();
    assert_eq!(first.len(), 50);
    let worse = layer.with(&[], vec![entry(60, "another", 100)]).unwrap();
    assert_eq!(allowlist(Some(&first), &[Arc::clone(&file)], &worse).unwrap_err().claim, Claim::Certificate);
    let newer = roster(entry(101, "client/7", 101));
    assert_eq!(allowlist(Some(&first), &[Arc::clone(&file), newer], &layer).unwrap_err().claim, Claim::Name);
    // At a start all of them are wanted at once.
    let mut builder = AllowlistBuilder::default();
    builder.include(roster(entry(102, "client/8", 9))).unwrap();
    let mut met: Vec<String> = builder.conflicts(&layer).into_iter().map(|(id, conflict)| format!("{id} {}", conflict.claim)).collect();
    met.sort();
    assert_eq!(met, ["p-000000000008 name", "p-000000000009 certificate"]);
    assert_eq!(builder.layer(&layer.with(&[id(8), id(9)], Vec::new()).unwrap()), Ok(()));
    assert_eq!(builder.finish().len(), 48);
}

#[test]
fn a_decision_finds_what_a_layer_lists() {
    let ((alice, bob), root) = ((self_signed("alice").0, self_signed("bob").0), Ca::root("root"));
    let carol = root.leaf("carol");
    let with = |number: u32, name: &str, credential: Credential| {
        let mut entry = entry(number, name, number);
        entry.1 = vec![(credential, written(number))];
        entry
    };
    let layer = Layer::default()
        .with(
            &[],
            vec![
                with(1, "alice", Credential::Pin((&alice).into())),
                with(2, "bob", Credential::SpkiPin(bob.spki_pin)),
                with(3, "carol", Credential::Authority(authority(&[&root], |_| ()))),
            ],
        )
        .unwrap();
    let snapshot = |layer: &Layer| {
        let allowlist = allowlist(None, &[], layer).unwrap();
        Snapshot { generation: 1, allowlist, revocation: Revocation::default(), clock_skew: 0, bootstrap: Default::default() }
    };
    let all = snapshot(&layer);
    for (leaf, name) in [(&alice, "alice"), (&bob, "bob"), (&carol, "carol")] {
        assert_eq!(told(&ask(&all, leaf, &[])), format!("admit {name}"));
    }
    let none = snapshot(&layer.with(&[id(1), id(2), id(3)], Vec::new()).unwrap());
    for leaf in [&alice, &bob, &carol] {
        assert_eq!(told(&ask(&none, leaf, &[])), "not_listed");
    }
}

#[test]
fn a_change_among_many_copies_few() {
    let many = 100_000_u32;
    let terms = Arc::new(terms());
    let entries = (0..many).map(|number| {
        let mut entry = entry(number, &format!("client/{number}"), number);
        entry.0.terms = Arc::clone(&terms);
        entry
    });
    let layer = Layer::default().with(&[], entries.collect()).unwrap();
    let all: Vec<u32> = (0..many).collect();
    let all: Vec<&u32> = all.iter().collect();
    let loaded = Layer::load(
        &all,
        |number| id(*number),
        |some, builder| {
            some.iter()
                .map(|number| entry(**number, &format!("client/{number}"), **number))
                .try_for_each(|entry| builder.add(&entry.0, &entry.1))
        },
    )
    .unwrap();
    for number in [0, 1, 77, many - 1] {
        let name = format!("CLIENT/{number}");
        assert_eq!(loaded.find_name(&name).map(|found| found.id), Some(id(number)));
        assert_eq!(loaded.find_pin(&fingerprint(number)).map(|found| found.id), Some(id(number)));
    }
    assert_eq!((loaded.len(), loaded.credentials()), (layer.len(), layer.credentials()));
    let next = layer.with(&[id(7)], vec![entry(many, "newcomer", many)]).unwrap();
    assert_eq!(next.len(), many as usize);
    assert!(next.changed(&layer).count() <= 2, "a part for each that changed");
    for number in [0, 1, 77, many - 1] {
        assert_eq!(next.find_pin(&fingerprint(number)).unwrap().id, id(number));
    }
    assert!(next.find_pin(&fingerprint(7)).is_none() && next.find_pin(&fingerprint(many)).is_some());
}
