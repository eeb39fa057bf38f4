//! Rosters: conflicts, sharing, and what a million pins take.

use std::sync::Arc;

use super::super::testing::*;
use super::super::*;
use crate::pki::Fingerprint;

fn principal(name: &str, id: Option<&str>, line: u32) -> Principal {
    let name: PrincipalName = name.parse().unwrap();
    let id = id.map_or_else(|| PrincipalId::derived(&name), |id| id.parse().unwrap());
    Principal { id, name, display_name: Some(format!("line {line}").into()), terms: Arc::new(terms()), provenance: written(line) }
}

fn pin(byte: u8) -> Credential {
    Credential::Pin(Fingerprint::of(&[byte]).into())
}

#[test]
fn what_only_one_may_have_is_refused_twice() {
    let spki = |byte: u8| Credential::SpkiPin(crate::pki::SpkiPin::of(&[byte]));
    let derived = PrincipalId::derived(&"a".parse().unwrap()).to_string();
    for (what, name, id, credential, expected) in [
        ("nothing in common", "b", None, pin(2), None),
        ("a name", "a", None, pin(2), Some(Claim::Name)),
        ("a name in another case", "A", None, pin(2), Some(Claim::Name)),
        ("a certificate", "b", None, pin(1), Some(Claim::Certificate)),
        ("a key", "b", None, spki(1), Some(Claim::SpkiPin)),
        ("an id", "b", Some("p-aaaaaaaaaaaa"), pin(2), None),
        ("an id that was derived", "b", Some(derived.as_str()), pin(2), Some(Claim::Id)),
    ] {
        let first = || vec![(pin(1), written(1)), (pin(1), written(1)), (spki(1), written(1))];
        let second = || (principal(name, id, 2), vec![(credential.clone(), written(2))]);
        // In one source, and in two.
        let mut one = AllowlistBuilder::default();
        one.add(principal("a", None, 1), first()).unwrap();
        let (added, credentials) = second();
        let in_one = one.add(added, credentials);
        let roster = |principal: Principal, credentials: Vec<(Credential, Provenance)>| {
            let mut builder = RosterBuilder::default();
            builder.add(&principal, &credentials).unwrap();
            Arc::new(builder.finish())
        };
        let mut two = AllowlistBuilder::default();
        two.include(roster(principal("a", None, 1), first())).unwrap();
        let (added, credentials) = second();
        let in_two = two.include(roster(added, credentials));
        for (place, result, builder) in [("one source", in_one, one), ("two", in_two, two)] {
            assert_eq!(result.as_ref().err().map(|conflict| conflict.claim), expected, "{what} in {place}");
            if let Err(conflict) = result {
                assert_eq!((conflict.first, conflict.second), (written(1), written(2)), "{what} in {place}");
            }
            let allowlist = builder.finish();
            assert_eq!(allowlist.len(), if expected.is_some() { 1 } else { 2 }, "{what} in {place}: a conflict leaves things as they were");
            assert_eq!(allowlist.find("A").unwrap().name.as_str(), "a");
        }
    }
}

#[test]
fn principals_come_out_as_they_went_in() {
    let mut builder = AllowlistBuilder::default();
    builder.add(principal("a", Some("p-000000000000"), 1), vec![(pin(1), written(5))]).unwrap();
    builder.add(principal("team/b", None, 2), vec![(pin(2), written(2)), (pin(3), written(6))]).unwrap();
    let allowlist = builder.finish();
    assert_eq!((allowlist.len(), allowlist.credentials(), allowlist.is_empty()), (2, 3, false));
    let told: Vec<String> =
        allowlist.principals().map(|it| format!("{} {} {} {:?}", it.name, it.id, it.provenance, it.display_name)).collect();
    let derived = PrincipalId::derived(&"team/b".parse().unwrap());
    assert_eq!(
        told,
        [
            r#"a p-000000000000 portcullis.toml:1 Some("line 1")"#.to_owned(),
            format!(r#"team/b {derived} portcullis.toml:2 Some("line 2")"#)
        ]
    );
    let found = allowlist.find_pin(&Fingerprint::of(&[3])).unwrap();
    assert_eq!((found.principal.name.as_str(), found.written.line), ("team/b", 6));
    assert_eq!(allowlist.fingerprints().count(), 3);
}

#[test]
fn anchors_are_listed_once_whoever_has_them() {
    let (root, twin) = (Ca::root("root"), Ca::root("root"));
    let snapshot = World::default().authority("a", &[&root]).authority("b", &[&root, &twin]).snapshot();
    assert_eq!(snapshot.allowlist.anchors().count(), 2);
    assert_eq!(snapshot.allowlist.anchor_subjects(), [root.certificate.subject.der.to_vec()]);
}

#[test]
fn a_large_source_is_shared_and_found_in() {
    let (terms, many) = (Arc::new(terms()), 50_000_u32);
    let mut builder = RosterBuilder::default();
    for number in 0..many {
        let name = format!("client/{number}").parse().unwrap();
        builder.add_pin(&name, &terms, Fingerprint::of(&number.to_be_bytes()).into(), &written(number)).unwrap();
    }
    let roster = Arc::new(builder.finish());
    assert!(roster.resident() <= 100 * many as usize + 4096, "{} bytes for {many} pins", roster.resident());
    let (alice, _) = self_signed("alice");
    let mut first = AllowlistBuilder::default();
    first.include(Arc::clone(&roster)).unwrap();
    let before = first.finish();
    let mut second = AllowlistBuilder::after(&before);
    second.include(Arc::clone(&roster)).unwrap();
    second.add(principal("alice", None, 1), vec![(Credential::Pin((&alice).into()), written(1))]).unwrap();
    assert_eq!(second.add(principal("CLIENT/7", None, 2), vec![]).unwrap_err().claim, Claim::Name);
    let allowlist = second.finish();
    assert_eq!(allowlist.len(), many as usize + 1);
    for number in [0, 1, 77, many - 1] {
        let found = allowlist.find_pin(&Fingerprint::of(&number.to_be_bytes())).unwrap();
        assert_eq!((found.principal.name.to_string(), found.written.line), (format!("client/{number}"), number));
    }
    assert!(allowlist.find_pin(&Fingerprint::of(&many.to_be_bytes())).is_none());
    let snapshot = Snapshot { generation: 1, allowlist, revocation: Revocation::default(), clock_skew: 0, bootstrap: Default::default() };
    assert_eq!(told(&ask(&snapshot, &alice, &[])), "admit alice");
}

#[test]
fn many_pins_at_once_are_as_if_added_one_by_one() {
    let (terms, many, file) = (Arc::new(terms()), 3_000_u32, written(0).file);
    let all: Vec<u32> = (0..many).collect();
    let pin = |number: u32| -> Pin {
        let digest = Fingerprint::of(&number.to_be_bytes());
        if number.is_multiple_of(5) { Pin::known(digest, Some([u64::from(number) << 8, 7])) } else { digest.into() }
    };
    let add = |all: &[u32], name: &(dyn Fn(u32) -> String + Sync)| {
        let mut builder = RosterBuilder::default();
        let added =
            builder.add_pins((&terms, &file), all, |number| (pin(*number), number + 1), |number, names| names.push_str(&name(*number)));
        (added, builder)
    };
    let name = |number: u32| format!("Client/{number}");
    let mut one_by_one = RosterBuilder::default();
    for number in &all {
        one_by_one.add_pin(&name(*number).parse().unwrap(), &terms, pin(*number), &written(number + 1)).unwrap();
    }
    let (added, at_once) = add(&all, &name);
    assert!(added);
    let (mut one_by_one, mut at_once) = (one_by_one, at_once);
    // Whoever comes later is compared with them.
    for builder in [&mut one_by_one, &mut at_once] {
        let met = builder.add_pin(&"client/7".parse().unwrap(), &terms, Fingerprint::of(b"other").into(), &written(0)).unwrap_err();
        assert_eq!((met.claim, met.first.line), (Claim::Name, 8));
        builder.add_pin(&"other".parse().unwrap(), &terms, Fingerprint::of(b"other").into(), &written(0)).unwrap();
    }
    let (one_by_one, at_once) = (one_by_one.finish(), at_once.finish());
    let entries = |roster: &Roster| roster.entries().map(|entry| format!("{entry:?}")).collect::<Vec<_>>();
    assert_eq!(entries(&at_once), entries(&one_by_one));
    assert_eq!(at_once.find_name("CLIENT/2999"), Some(2_999));
    assert!(at_once.resident() <= one_by_one.resident());
    for (what, all, name) in [
        ("a name twice", all.clone(), &(|number: u32| format!("client/{}", number % 2_999)) as &(dyn Fn(u32) -> String + Sync)),
        ("a certificate twice", all.iter().copied().chain([5]).collect(), &|number| format!("client/{number}")),
    ] {
        let (added, builder) = add(&all, name);
        assert!(!added && builder.finish().is_empty(), "{what}");
    }
    assert!(add(&[], &name).0);
}

#[test]
fn digests_that_somebody_made_up_are_loaded_and_found_like_any() {
    // With the prefix as hash each would be compared with all before it: 20,000,000,000 comparisons.
    let (terms, many) = (Arc::new(terms()), 200_000_u32);
    let mut builder = RosterBuilder::default();
    let made_up = |number: u32| -> Fingerprint { format!("{}{number:08x}", "0".repeat(56)).parse().unwrap() };
    for number in 0..many {
        let name = format!("client/{number}").parse().unwrap();
        builder.add_pin(&name, &terms, made_up(number).into(), &written(number)).unwrap();
    }
    let taken = builder.add_pin(&"other".parse().unwrap(), &terms, made_up(7).into(), &written(1)).unwrap_err();
    assert_eq!(taken.claim, Claim::Certificate);
    let roster = builder.finish();
    assert_eq!(roster.find_pin(&made_up(77)).unwrap().1.line, 77);
    assert!(roster.find_pin(&made_up(many)).is_none());
}
