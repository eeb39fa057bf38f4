//! Same-key renewal: what stands in for a pin, and every condition that refuses it.

use std::sync::Arc;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType};

use super::super::testing::*;
use super::super::*;
use crate::pki::Certificate;

fn predecessor(certificate: &Certificate) -> Predecessor {
    Predecessor { certificate: Arc::new(certificate.clone()), issuer: None, renewed: None }
}

/// A managed principal that pins these, and lets their keys be renewed.
fn managed(world: World, name: &str, pinned: Vec<Predecessor>) -> World {
    let credentials = pinned.iter().map(|one| Credential::Pin((&*one.certificate).into())).collect();
    world.principal(name, Terms { renewal: Renewal::SameKey(pinned.into()), ..terms() }, credentials)
}

fn renewable(pinned: &Certificate) -> Snapshot {
    managed(World::default(), "alice", vec![predecessor(pinned)]).snapshot()
}

/// As `cert new` makes them.
fn client(key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Certificate {
    let mut params = params("alice");
    params.is_ca = IsCa::ExplicitNoCa;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names = vec![SanType::DnsName("alice.example".try_into().unwrap())];
    change(&mut params);
    parse(params.self_signed(key).unwrap().der())
}

#[test]
fn a_renewal_has_the_rights_of_the_pin_at_once() {
    let key = KeyPair::generate().unwrap();
    let old = client(&key, |_| {});
    let new = client(&key, |params| params.not_after = date(NOW + 300 * DAY));
    let decision = ask(&renewable(&old), &new, &[]);
    assert_eq!(told(&decision), "admit alice");
    let admission = decision.admission().unwrap();
    assert!(matches!(admission.basis, Basis::Renewal { predecessor } if predecessor == old.fingerprint));
    assert_eq!(admission.access, Some(Access::Read));
    let wanted = format!("renewal: it renews sha256:{}, pinned for alice in portcullis.toml:1, on the same key", old.fingerprint);
    assert!(findings(&decision).contains(&wanted), "{}", findings(&decision));
    // As long as it is none of the pins itself, it holds on to its predecessor.
    assert_eq!(decision.valid_until, at(NOW + DAY + 1));
    let seed = self_signed("ACL Client Cert");
    let next = self_signed_by(&seed.1, "ACL Client Cert", |_| {});
    assert_eq!(told(&ask(&renewable(&seed.0), &next, &[])), "admit alice", "the Azure recipe, run again on the same key");
}

#[test]
fn a_renewal_that_fails_any_condition_is_issuer_unknown_and_says_which() {
    let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let old = client(&key, |_| {});
    let ca = Ca::root("some CA");
    let renamed =
        |name: &'static str| move |params: &mut CertificateParams| params.distinguished_name = self::params(name).distinguished_name;
    let san = |name: &str| vec![SanType::DnsName(name.try_into().unwrap())];
    let signed_by_ca = ca.leaf_of(&key, "alice", |params| params.subject_alt_names = san("alice.example"));
    for (what, new, words) in [
        ("another subject", client(&key, renamed("mallory")), "the subject differs"),
        ("another name", client(&key, |params| params.subject_alt_names = san("root.example")), "the subject alternative names differ"),
        ("a name more", client(&key, |params| params.subject_alt_names.extend(san("b.example"))), "the subject alternative names differ"),
        ("no names", client(&key, |params| params.subject_alt_names.clear()), "the subject alternative names differ"),
        (
            "another usage",
            client(&key, |params| params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth)),
            "extensions differ (2.5.29.37)",
        ),
        ("a CA", client(&key, |params| params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained)), "extensions differ (2.5.29.19)"),
        ("of two years", client(&key, |params| params.not_after = date(NOW + 730 * DAY)), "valid for 731 days, and 400 are the most"),
        ("signed by somebody", signed_by_ca, "this one is not signed by the same key"),
    ] {
        let decision = ask(&renewable(&old), &new, &[]);
        assert_eq!(told(&decision), "issuer_unknown", "{what}");
        let place = format!("renewal: no renewal of sha256:{}, pinned for alice in portcullis.toml:1: ", old.fingerprint);
        assert!(findings(&decision).contains(&place) && findings(&decision).contains(words), "{what}: {}", findings(&decision));
        assert!(decision.principal.is_none(), "{what}");
    }
    let most = client(&key, |params| params.not_after = date(NOW - DAY + 400 * DAY));
    assert_eq!(told(&ask(&renewable(&old), &most, &[])), "admit alice", "400 days are the most, and pass");
    assert_eq!(told(&ask(&renewable(&old), &client(&other, |_| {}), &[])), "not_listed", "another key renews nothing");
    let not_managed = World::default().pin("alice", &old).snapshot();
    assert_eq!(told(&ask(&not_managed, &client(&key, |_| {}), &[])), "not_listed", "renewal = none");
}

#[test]
fn nobody_chooses_its_identifier_by_renewing() {
    let key = KeyPair::generate().unwrap();
    let serial = |number: u8| move |params: &mut CertificateParams| params.serial_number = Some(vec![number].into());
    let old = client(&key, serial(7));
    let by = |identifier: Identifier| {
        let pinned = vec![predecessor(&old)];
        let credentials = vec![Credential::Pin((&old).into())];
        let terms = Terms { renewal: Renewal::SameKey(pinned.into()), identifier, ..terms() };
        World::default().principal("alice", terms, credentials).snapshot()
    };
    let new = client(&key, serial(8));
    let denied = ask(&by(Identifier::Serial), &new, &[]);
    assert_eq!(told(&denied), "issuer_unknown");
    assert!(findings(&denied).contains("the serial number differs"), "{}", findings(&denied));
    let same = client(&key, |params| (params.not_after, params.serial_number) = (date(NOW + 300 * DAY), Some(vec![7].into())));
    assert_eq!(told(&ask(&by(Identifier::Serial), &same, &[])), "admit alice");
    assert_eq!(told(&ask(&by(Identifier::Principal), &new, &[])), "admit alice");
}

#[test]
fn a_signature_respelled_is_no_renewal() {
    let key = KeyPair::generate().unwrap();
    let old = client(&key, |_| {});
    // The twin: anybody can make it of the certificate, without the key.
    let (new, pinned) = (&old, old.twin().unwrap());
    let mut twin = old.clone();
    twin.fingerprint = pinned;
    let snapshot = renewable(&twin);
    let decision = ask(&snapshot, new, &[]);
    assert_eq!(told(&decision), "issuer_unknown");
    assert!(findings(&decision).contains("respelled"), "{}", findings(&decision));
}

#[test]
fn who_was_signed_by_an_issuer_is_renewed_by_that_issuer_only() {
    let key = KeyPair::generate().unwrap();
    let (ca, twin) = (Ca::root("CA"), Ca::root("CA"));
    let issue = |ca: &Ca| ca.leaf_of(&key, "alice", |_| {});
    let old = issue(&ca);
    let itself = parse(
        {
            let mut params = params("alice");
            params.is_ca = IsCa::ExplicitNoCa;
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            params.self_signed(&key).unwrap()
        }
        .der(),
    );
    let with_issuer = Predecessor { issuer: Some(Arc::clone(&ca.certificate)), ..predecessor(&old) };
    let stored = managed(World::default(), "alice", vec![with_issuer]).snapshot();
    let not_stored = renewable(&old);
    for (what, snapshot, new, expected) in [
        ("its issuer", &stored, issue(&ca), "admit alice"),
        ("another CA of the same name", &stored, issue(&twin), "issuer_unknown"),
        ("itself", &stored, itself, "issuer_unknown"),
        ("its issuer, which was not stored", &not_stored, issue(&ca), "issuer_unknown"),
    ] {
        assert_eq!(told(&ask(snapshot, &new, &[])), expected, "signed by {what}");
    }
}

#[test]
fn only_a_valid_certificate_is_renewed() {
    let key = KeyPair::generate().unwrap();
    let expired = client(&key, |params| params.not_after = date(NOW - 1));
    let new = client(&key, |_| {});
    let decision = ask(&renewable(&expired), &new, &[]);
    assert_eq!(told(&decision), "issuer_unknown");
    assert!(findings(&decision).contains("not valid now itself"), "{}", findings(&decision));
    let both = managed(World::default(), "alice", vec![predecessor(&expired), predecessor(&client(&key, |_| {}))]);
    assert_eq!(told(&ask(&both.snapshot(), &new, &[])), "admit alice", "any that is valid will do");
    let disabled = Terms { enabled: false, renewal: Renewal::SameKey([predecessor(&client(&key, |_| {}))].into()), ..terms() };
    let pin = Credential::Pin((&client(&key, |_| {})).into());
    let snapshot = World::default().principal("alice", disabled, vec![pin]).snapshot();
    assert_eq!(told(&ask(&snapshot, &new, &[])), "principal_disabled", "no more rights than the pin has");
}

#[test]
fn revoking_a_pin_that_may_be_renewed_revokes_its_key() {
    let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let (old, second, foreign) = (client(&key, |_| {}), client(&key, |_| {}), client(&other, |_| {}));
    let new = client(&key, |_| {});
    let world = || managed(World::default(), "alice", vec![predecessor(&old), predecessor(&second), predecessor(&foreign)]);
    for id in [format!("sha256:{}", old.fingerprint), format!("serial:{}", old.serial_hex()), format!("sha256:{}", old.twin().unwrap())] {
        let snapshot = world().revoke(&id).snapshot();
        for (what, leaf, expected) in [
            ("itself", &old, "revoked"),
            ("another pin of the key", &second, "revoked"),
            ("a renewal", &new, "revoked"),
            ("another key of the principal", &foreign, "admit alice"),
        ] {
            let decision = ask(&snapshot, leaf, &[]);
            assert_eq!(told(&decision), expected, "{id}: {what}: {}", findings(&decision));
        }
    }
    let snapshot = World::default().pin("alice", &old).pin("bob", &second).revoke(&format!("sha256:{}", old.fingerprint)).snapshot();
    assert_eq!(told(&ask(&snapshot, &second, &[])), "admit bob", "where nothing is renewed, an id is one certificate's");
}

#[test]
fn a_key_is_renewed_once_an_hour_and_keeps_the_newest_five() {
    let key = KeyPair::generate().unwrap();
    let made = |seconds_ago: u64| Predecessor { renewed: Some(at(NOW - seconds_ago)), ..predecessor(&client(&key, |_| {})) };
    let registered = predecessor(&client(&key, |_| {}));
    let new = client(&key, |_| {});
    let world = |ago| managed(World::default(), "alice", vec![registered.clone(), made(ago)]).snapshot();
    let decision = ask(&world(3_599), &new, &[]);
    assert_eq!(told(&decision), "issuer_unknown");
    assert!(findings(&decision).contains("less than an hour ago"), "{}", findings(&decision));
    assert_eq!(decision.valid_until, at(NOW + 1), "and may pass when the hour is over");
    assert_eq!(told(&ask(&world(3_600), &new, &[])), "admit alice");

    let all: Vec<Predecessor> = std::iter::once(registered).chain((0..7).map(|age| made(age * DAY))).collect();
    let oldest: Vec<_> = [6, 7].map(|index: usize| all[index].certificate.fingerprint).to_vec();
    let renewal = Renewal::SameKey(all.into());
    assert_eq!(renewal.surplus(new.spki_pin), oldest, "newest first; what was registered stays");
    assert!(Renewal::None.surplus(new.spki_pin).is_empty());
}

#[test]
fn an_authority_may_vouch_for_what_is_no_renewal() {
    let key = KeyPair::generate().unwrap();
    let ca = Ca::root("CA");
    let old = client(&key, |_| {});
    let issued = ca.leaf_of(&key, "pipeline", |_| {});
    let world = || managed(World::default(), "alice", vec![predecessor(&old)]).authority("ci", &[&ca]);
    assert_eq!(told(&ask(&world().snapshot(), &issued, &[])), "admit ci");
    let revoked = world().revoke(&format!("sha256:{}", issued.fingerprint)).snapshot();
    assert_eq!(told(&ask(&revoked, &issued, &[])), "revoked");
    let broken = Ca::root("CA").leaf_of(&key, "pipeline", |_| {});
    assert_eq!(told(&ask(&world().snapshot(), &broken, &[])), "issuer_unknown", "an authority that does not vouch changes nothing");
}

#[test]
fn a_renewal_is_found_beside_others_that_pin_the_same_key_and_in_a_layer() {
    let key = KeyPair::generate().unwrap();
    let (fixed, old, new) = (client(&key, |_| {}), client(&key, |_| {}), client(&key, |_| {}));
    let snapshot = managed(World::default().pin("static", &fixed), "alice", vec![predecessor(&old)]).snapshot();
    assert_eq!(told(&ask(&snapshot, &new, &[])), "admit alice");

    let name: PrincipalName = "managed".parse().unwrap();
    let terms = Arc::new(Terms { renewal: Renewal::SameKey([predecessor(&old)].into()), ..terms() });
    let principal = Principal { id: PrincipalId::derived(&name), name, display_name: None, terms, provenance: written(9) };
    let layer = Layer::default().with(&[], vec![(principal, vec![(Credential::Pin((&old).into()), written(9))])]).unwrap();
    let mut world = World::default().pin("static", &fixed);
    world.allowlist.layer(&layer).unwrap();
    assert_eq!(told(&ask(&world.snapshot(), &new, &[])), "admit managed");
}
