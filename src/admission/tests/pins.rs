//! Pins and SPKI pins: one exact certificate, one key.

use rcgen::{ExtendedKeyUsagePurpose, KeyPair};

use super::super::testing::*;
use super::super::*;

#[test]
fn the_certificate_that_openssl_makes_is_admitted_and_its_look_alikes_are_not() {
    let (alice, key) = self_signed("alice");
    let (bystander, _) = self_signed("bob");
    let snapshot = World::default().pin("alice", &alice).pin("bob", &bystander).snapshot();
    assert_eq!(told(&ask(&snapshot, &alice, &[])), "admit alice");

    let twin = self_signed_by(&KeyPair::generate().unwrap(), "alice", |params| params.serial_number = Some(alice.serial.to_vec().into()));
    let renewal = self_signed_by(&key, "alice", |_| {});
    let child = Ca { params: params("alice"), key, certificate: std::sync::Arc::new(alice.clone()) }.leaf("mallory");
    let (stranger, _) = self_signed("eve");
    for (what, leaf, reason) in [
        (
            "a twin of the same name and serial",
            &twin,
            "the subject of the certificate pinned for alice in portcullis.toml:1, but another key",
        ),
        (
            "a renewal on the same key",
            &renewal,
            "the key of the certificate pinned for alice in portcullis.toml:1, but is another certificate",
        ),
        (
            "a child that it signed",
            &child,
            "its issuer has the subject of the certificate pinned for alice in portcullis.toml:1: a pin is never",
        ),
        ("a stranger", &stranger, "no principal has this certificate or key"),
    ] {
        let decision = ask(&snapshot, leaf, &[]);
        assert_eq!(told(&decision), "not_listed", "{what}");
        assert!(findings(&decision).contains(reason), "{what}: {}", findings(&decision));
        assert!(decision.principal.is_none() && decision.admission().is_none(), "{what}");
    }
}

#[test]
fn the_twin_of_a_pins_signature_is_another_certificate() {
    let (alice, _) = self_signed("alice");
    let snapshot = World::default().principal("alice", terms(), vec![Credential::Pin(alice.twin().unwrap().into())]).snapshot();
    assert_eq!(told(&ask(&snapshot, &alice, &[])), "not_listed");
}

#[test]
fn a_pin_is_judged_by_its_dates_and_its_usage() {
    let (key, usage) = (KeyPair::generate().unwrap(), ExtendedKeyUsagePurpose::ServerAuth);
    let expired = self_signed_by(&key, "expired", |params| params.not_after = date(NOW - 1));
    let future = self_signed_by(&key, "future", |params| params.not_before = date(NOW + 1));
    let last = self_signed_by(&key, "last", |params| params.not_after = date(NOW));
    let first = self_signed_by(&key, "first", |params| params.not_before = date(NOW));
    let server = self_signed_by(&key, "server", |params| params.extended_key_usages = vec![usage.clone()]);
    let both = self_signed_by(&key, "both", |params| params.extended_key_usages = vec![usage.clone(), ExtendedKeyUsagePurpose::ClientAuth]);
    let any = self_signed_by(&key, "any", |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any]);
    for (name, leaf, expected) in [
        ("expired", &expired, "expired"),
        ("future", &future, "not_yet_valid"),
        ("last", &last, "admit last"),
        ("first", &first, "admit first"),
        ("server", &server, "unsuitable"),
        ("both", &both, "admit both"),
        ("any", &any, "admit any"),
    ] {
        assert_eq!(told(&ask(&World::default().pin(name, leaf).snapshot(), leaf, &[])), expected, "{name}");
    }
    let skewed = |name: &str, leaf, seconds| told(&ask(&World::default().pin(name, leaf).skew(seconds).snapshot(), leaf, &[]));
    assert_eq!(skewed("expired", &expired, 1), "admit expired");
    assert_eq!(skewed("future", &future, 1), "admit future");
    let lenient = Terms { allow_any_eku: true, ..terms() };
    let snapshot = World::default().principal("server", lenient, vec![Credential::Pin((&server).into())]).snapshot();
    assert_eq!(told(&ask(&snapshot, &server, &[])), "admit server");
}

#[test]
fn a_weak_key_is_unsuitable_whoever_lists_it() {
    // Minted by `openssl req -x509 -newkey rsa:1024 -nodes -days 36500 -subj /CN=weak`; rcgen makes none so weak.
    let weak = include_bytes!("../../../tests/fixtures/rsa-1024.der");
    let leaf = crate::pki::Certificate::parse(weak.as_slice().to_vec().into()).unwrap();
    let decision = ask(&World::default().pin("weak", &leaf).snapshot(), &leaf, &[]);
    assert_eq!(told(&decision), "unsuitable");
    assert!(findings(&decision).contains("1024 bits"), "{}", findings(&decision));
}

#[test]
fn what_is_no_certificate_is_unsuitable_and_nothing_is_no_credential() {
    let snapshot = World::default().snapshot();
    let rubbish = Candidate::presented(&[vec![0x30, 3, 1, 2, 3].into()]).unwrap();
    let decide = |candidate| told(&snapshot.decide(candidate, &request(&route()), at(NOW)));
    assert_eq!(decide(Some(&rubbish)), "unsuitable");
    assert_eq!(decide(None), "no_credential");
}

#[test]
fn an_spki_pin_proves_a_key_and_no_names() {
    let key = KeyPair::generate().unwrap();
    let leaf = self_signed_by(&key, "whoever", |_| {});
    let when = |access| Permission { when: vec![(Attribute::CommonName, vec!["*".parse().unwrap()])], ..permission("orders", access) };
    let world = |permissions| {
        let terms = Terms { identifier: Identifier::Attribute(Attribute::CommonName), permissions, ..terms() };
        World::default().principal("robot", terms, vec![Credential::SpkiPin(leaf.spki_pin)]).snapshot()
    };
    for (what, permissions, expected) in [
        ("without when", vec![permission("orders", Some(Access::Read))], "admit robot"),
        ("with when", vec![when(Some(Access::Read))], "not_permitted"),
        ("a deny with when", vec![permission("orders", Some(Access::Read)), when(None)], "admit robot"),
    ] {
        let decision = ask(&world(permissions), &leaf, &[]);
        assert_eq!(told(&decision), expected, "{what}");
        if let Some(admission) = decision.admission() {
            assert!(matches!(admission.basis, Basis::SpkiPin));
            assert_eq!(&*admission.identifier, "robot", "the certificate's own name identifies nobody");
        }
    }
    let other = self_signed_by(&key, "another certificate of the key", |_| {});
    assert_eq!(told(&ask(&world(terms().permissions), &other, &[])), "admit robot");
}

#[test]
fn a_pin_goes_before_an_spki_pin_and_a_well_known_admin_before_both() {
    let (leaf, _) = self_signed("alice");
    let both = || {
        World::default().principal("by-key", terms(), vec![Credential::SpkiPin(leaf.spki_pin)]).principal(
            "by-certificate",
            Terms { enabled: false, ..terms() },
            vec![Credential::Pin((&leaf).into())],
        )
    };
    let decision = ask(&both().snapshot(), &leaf, &[]);
    assert_eq!(told(&decision), "principal_disabled", "the first that matches is final");
    assert_eq!(decision.principal.unwrap().name.as_str(), "by-certificate");

    let mut world = both();
    world.allowlist.well_known_admins(&[leaf.fingerprint]);
    let decision = ask(&world.snapshot(), &leaf, &[]);
    let admission = decision.admission().unwrap();
    assert!(matches!(admission.basis, Basis::WellKnownAdmin) && admission.principal.terms.clearance == Clearance::Admin);
    assert_eq!(admission.access, Some(Access::Admin));
}

#[test]
fn a_pin_identifies_as_its_terms_say() {
    let (leaf, _) = self_signed("alice");
    let identify = |identifier: &str| {
        let terms = Terms { identifier: identifier.parse().unwrap(), ..terms() };
        let decision = ask(&World::default().principal("team/alice", terms, vec![Credential::Pin((&leaf).into())]).snapshot(), &leaf, &[]);
        decision.admission().map_or_else(|| told(&decision), |admission| admission.identifier.to_string())
    };
    assert_eq!(identify("principal"), "team/alice");
    assert_eq!(identify("common_name"), "alice");
    assert_eq!(identify("fingerprint"), leaf.fingerprint.to_string());
    assert_eq!(identify("serial"), leaf.serial_hex());
    assert_eq!(identify("email_san"), "identifier_missing");
}
