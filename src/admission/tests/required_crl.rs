//! `require_crl_dp` of one principal: who has to be spoken of by a fresh CRL, where nobody else has to.

use rcgen::{CrlDistributionPoint, KeyPair};

use super::super::testing::*;
use super::super::*;

fn point() -> Vec<CrlDistributionPoint> {
    vec![CrlDistributionPoint { uris: vec!["http://crl.example/a".to_owned()] }]
}

fn demanding() -> Terms {
    Terms { require_crl_dp: true, ..terms() }
}

#[test]
fn a_principal_may_demand_a_fresh_crl_of_every_certificate_of_its_path() {
    let root = Ca::root("root");
    let middle = root.below("middle");
    let (with, without) = (middle.leaf_with("x", |params| params.crl_distribution_points = point()), middle.leaf("x"));
    let world = || World::default().principal("ci", demanding(), vec![Credential::Authority(authority(&[&root], |_| {}))]);
    let fresh = |ca: &Ca| ca.crl(1, NOW - 1, NOW + DAY, &[]);
    let stale = root.crl(1, NOW - 2, NOW - 1, &[]);
    let revoked = middle.crl(1, NOW - 1, NOW + DAY, &[&with.serial]);
    for (what, world, leaf, expected, said) in [
        ("of both", world().crl(&fresh(&root)).crl(&fresh(&middle)), &with, "admit ci", "fresh CRLs speak of it"),
        ("of both, and no point", world().crl(&fresh(&root)).crl(&fresh(&middle)), &without, "revocation_unknown", "names no CRL"),
        ("of none", world(), &with, "revocation_unknown", "require_crl_dp = true, and no CRL of"),
        ("of the intermediate only", world().crl(&fresh(&middle)), &with, "revocation_unknown", "no CRL of \"CN=root\""),
        // What only warns of others denies here.
        (
            "of both, one stale",
            world().crl_policy(StaleCrl::Warn, false).crl(&stale).crl(&fresh(&middle)),
            &with,
            "revocation_unknown",
            "is stale",
        ),
        ("of both, and the leaf is on one", world().crl(&fresh(&root)).crl(&revoked), &with, "revoked", "is on the CRL"),
    ] {
        let decision = ask(&world.snapshot(), leaf, &[&middle]);
        assert_eq!(told(&decision), expected, "{what}");
        assert!(findings(&decision).contains(said), "{what}: {}", findings(&decision));
    }
    // It is nobody else's concern, and ends when the CRL does.
    assert_eq!(told(&ask(&World::default().authority("ci", &[&root]).snapshot(), &without, &[&middle])), "admit ci");
    let decision = ask(&world().crl(&fresh(&root)).crl(&fresh(&middle)).snapshot(), &with, &[&middle]);
    assert_eq!(decision.valid_until, at(NOW + DAY + 1));
}

#[test]
fn another_path_that_is_spoken_of_will_do() {
    let (root, other) = (Ca::root("root"), Ca::root("other"));
    let silent = root.below("middle");
    let spoken = other.sign_ca(KeyPair::try_from(silent.key.serialize_der()).unwrap(), "middle", |_| {});
    let leaf = silent.leaf_with("x", |params| params.crl_distribution_points = point());
    let crl = |ca: &Ca| ca.crl(1, NOW - 1, NOW + DAY, &[]);
    for cas in [[&root, &other], [&other, &root]] {
        let world = World::default().principal("ci", demanding(), vec![Credential::Authority(authority(&cas, |_| {}))]);
        let snapshot = world.crl(&crl(&other)).crl(&crl(&silent)).snapshot();
        assert_eq!(told(&ask(&snapshot, &leaf, &[&silent, &spoken])), "admit ci");
    }
}

#[test]
fn a_pin_that_demands_a_crl_needs_that_of_the_configured_ca_that_signed_it() {
    let root = Ca::root("root");
    let (leaf, bare) = (root.leaf_with("x", |params| params.crl_distribution_points = point()), root.leaf("x"));
    let (alone, key) = self_signed("alone");
    let world = |certificate: &crate::pki::Certificate, credential: fn(&crate::pki::Certificate) -> Credential| {
        World::default().principal("x", demanding(), vec![credential(certificate)])
    };
    let pin = |certificate: &crate::pki::Certificate| Credential::Pin(certificate.into());
    let spki = |certificate: &crate::pki::Certificate| Credential::SpkiPin(certificate.spki_pin);
    let crl = root.crl(1, NOW - 1, NOW + DAY, &[]);
    for (what, world, leaf, expected) in [
        ("a CRL of a configured CA", world(&leaf, pin).authority("ci", &[&root]).crl(&crl), &leaf, "admit x"),
        ("the same by its key", world(&leaf, spki).authority("ci", &[&root]).crl(&crl), &leaf, "admit x"),
        ("no point", world(&bare, pin).authority("ci", &[&root]).crl(&crl), &bare, "revocation_unknown"),
        ("no CRL", world(&leaf, pin).authority("ci", &[&root]), &leaf, "revocation_unknown"),
        ("no such CA", world(&leaf, pin).crl(&crl), &leaf, "revocation_unknown"),
        ("self-signed", world(&alone, pin).authority("ci", &[&root]).crl(&crl), &alone, "revocation_unknown"),
    ] {
        assert_eq!(told(&ask(&world.snapshot(), leaf, &[])), expected, "{what}");
    }
    // Who has the key may write any certificate, a distribution point in it: no CA signed that.
    let own = parse(&{
        let mut params = params("alone");
        params.crl_distribution_points = point();
        params.self_signed(&key).unwrap().der().clone()
    });
    assert_eq!(told(&ask(&world(&alone, spki).authority("ci", &[&root]).crl(&crl).snapshot(), &own, &[])), "revocation_unknown");
}
