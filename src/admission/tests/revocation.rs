//! Revocation: ids on leaf and path, CRLs, twins; and what of it binds whom.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CrlDistributionPoint, CrlIssuingDistributionPoint, CrlScope, KeyPair, KeyUsagePurpose};

use super::super::testing::*;
use super::super::*;
use crate::pki::{Certificate, hex};

/// Every notation that names a certificate.
fn ids(certificate: &Certificate, issuer: &Certificate) -> Vec<String> {
    let base64 = |certificate: &Certificate| STANDARD.encode(certificate.spki_pin.as_bytes());
    let mut ids = vec![
        format!("sha256:{}", certificate.fingerprint),
        certificate.fingerprint.to_string().to_uppercase(),
        format!("spki:{}", base64(certificate)),
        format!("serial:{}@spki:{}", certificate.serial_hex(), base64(issuer)),
        format!("sha1:{}", hex::lower(&certificate.sha1())),
        hex::upper(&certificate.sha1()),
    ];
    if let Some(id) = &certificate.subject_key_id {
        ids.push(format!("ski:{}", hex::lower(id)));
    }
    ids
}

#[test]
fn every_notation_hits_a_pin_a_leaf_and_an_intermediate() {
    let root = Ca::root("root");
    let middle = root.below("middle");
    let (leaf, pinned) = (middle.leaf("x"), self_signed("alice").0);
    let world = || World::default().authority("ci", &[&root]).pin("alice", &pinned);
    for (certificate, issuer, leaf) in
        [(&pinned, &pinned, &pinned), (&leaf, &*middle.certificate, &leaf), (&middle.certificate, &*root.certificate, &leaf)]
    {
        assert!(ask(&world().snapshot(), leaf, &[&middle]).admission().is_some());
        for id in ids(certificate, issuer) {
            let decision = ask(&world().revoke(&id).snapshot(), leaf, &[&middle]);
            assert_eq!(told(&decision), "revoked", "{id}");
            assert!(findings(&decision).contains(&format!("revoked by {id:?} (revoked.txt:7)")), "{}", findings(&decision));
        }
    }
    // The root too, in all that names it.
    for id in ids(&root.certificate, &root.certificate) {
        assert_eq!(told(&ask(&world().revoke(&id).snapshot(), &leaf, &[&middle])), "revoked", "{id}");
    }
}

#[test]
fn a_serial_without_its_issuer_concerns_leaves_only() {
    let root = Ca::root("root");
    let middle = root.below("middle");
    let (leaf, bystander) = (middle.leaf("x"), middle.leaf("y"));
    let hex = |certificate: &Certificate| certificate.serial_hex();
    for (what, id, expected) in [
        ("the leaf's", format!("serial:{}", hex(&leaf)), "revoked"),
        ("the leaf's, bare", hex(&leaf).to_lowercase(), "revoked"),
        ("the leaf's with an issuer that is another", format!("serial:{}@spki:{}", hex(&leaf), "A".repeat(43)), "admit ci"),
        ("the intermediate's", format!("serial:{}", hex(&middle.certificate)), "admit ci"),
        ("another leaf's", format!("serial:{}", hex(&bystander)), "admit ci"),
    ] {
        let snapshot = World::default().authority("ci", &[&root]).revoke(&id).snapshot();
        assert_eq!(told(&ask(&snapshot, &leaf, &[&middle])), expected, "{what}");
    }
}

#[test]
fn a_fingerprint_hits_both_twins_of_an_ecdsa_signature() {
    let root = Ca::root("root");
    let leaf = root.leaf("x");
    let twin = leaf.twin().unwrap();
    for id in [format!("sha256:{twin}"), format!("sha256:{}", leaf.fingerprint), format!("sha1:{}", hex::lower(&leaf.twin_sha1().unwrap()))]
    {
        assert_eq!(told(&ask(&World::default().authority("ci", &[&root]).revoke(&id).snapshot(), &leaf, &[])), "revoked", "{id}");
    }
}

#[test]
fn an_unknown_issuer_of_a_pin_does_not_save_it_from_a_serial_of_an_issuer() {
    let root = Ca::root("root");
    let leaf = root.leaf("x");
    let base64 = |key: &[u8; 32]| STANDARD.encode(key);
    let own = format!("serial:{}@spki:{}", leaf.serial_hex(), base64(root.certificate.spki_pin.as_bytes()));
    let other = format!("serial:{}@spki:{}", leaf.serial_hex(), base64(&[7; 32]));
    let known = || World::default().pin("x", &leaf).authority("ci", &[&root]);
    for (what, world, expected) in [
        ("nobody knows the issuer", World::default().pin("x", &leaf).revoke(&own), "revoked"),
        ("the issuer is configured", known().revoke(&own), "revoked"),
        ("the issuer is configured, and another is meant", known().revoke(&other), "admit x"),
    ] {
        assert_eq!(told(&ask(&world.snapshot(), &leaf, &[])), expected, "{what}");
    }
}

#[test]
fn an_anchor_that_is_no_root_is_revoked_by_its_issuer_and_serial_too() {
    let (root, other) = (Ca::root("root"), Ca::root("other"));
    let middle = root.below("middle");
    let leaf = middle.leaf("x");
    let id = |ca: &Ca| format!("serial:{}@spki:{}", middle.certificate.serial_hex(), STANDARD.encode(ca.certificate.spki_pin.as_bytes()));
    for (what, cas, id, expected) in [
        ("its root is not configured", vec![&middle], id(&root), "revoked"),
        ("its root is configured", vec![&middle, &root], id(&root), "revoked"),
        ("another configured CA is meant", vec![&middle, &other], id(&other), "admit ci"),
        ("another CA is meant, and its root is configured", vec![&middle, &root], id(&other), "admit ci"),
    ] {
        assert_eq!(told(&ask(&World::default().authority("ci", &cas).revoke(&id).snapshot(), &leaf, &[])), expected, "{what}");
    }
}

#[test]
fn an_intermediate_spelled_otherwise_does_not_slip_past_its_fingerprint() {
    let root = Ca::root("root");
    let middle = root.below("middle");
    let leaf = middle.leaf("x");
    let der = &middle.certificate.der;
    let respelled = [&[0x30, 0x83, 0], &der[2..]].concat();
    let snapshot = World::default().authority("ci", &[&root]).revoke(&format!("sha256:{}", middle.certificate.fingerprint)).snapshot();
    let candidate = Candidate::presented(&[leaf.der.clone(), respelled.into()]).unwrap();
    let decision = snapshot.decide(Some(&candidate), &request(&route()), at(NOW));
    assert_eq!(told(&decision), "chain_invalid", "{}", findings(&decision));
}

#[test]
fn a_principals_ids_bind_every_principal_with_the_same_anchor_key() {
    let (root, other) = (Ca::root("root"), Ca::root("other"));
    let middle = root.below("middle");
    let (leaf, foreign) = (middle.leaf("x"), other.leaf_with("x", |params| params.serial_number = None));
    let serial = |certificate: &Certificate| format!("serial:{}", certificate.serial_hex());
    let world = |ids: &[String], anchors: &Ca| {
        let mut world =
            World::default().authority("a", &[&root]).authority("b", &[&root]).authority("c", &[&other]).pin("p", &self_signed("p").0);
        for id in ids {
            let name = "z".parse().unwrap();
            world.revocation.principal_id(id.parse().unwrap(), written(9), &name, &[authority(&[anchors], |_| {})]);
        }
        world.snapshot()
    };
    let along = [&middle];
    assert_eq!(told(&ask(&world(&[serial(&leaf)], &root), &leaf, &along)), "revoked", "another principal's id, the same anchor");
    assert_eq!(told(&ask(&world(&[serial(&middle.certificate)], &root), &leaf, &along)), "revoked", "a serial of an intermediate, too");
    assert_eq!(told(&ask(&world(&[serial(&leaf)], &other), &leaf, &along)), "admit a", "another CA's serials are others");
    assert_eq!(told(&ask(&world(&[serial(&foreign)], &root), &foreign, &[])), "admit c", "and so are ours to it");
}

#[test]
fn a_principals_ids_bind_its_own_pins() {
    let (alice, bob) = (self_signed("alice").0, self_signed("bob").0);
    let mut world = World::default().pin("alice", &alice).pin("bob", &bob);
    for (certificate, name) in [(&alice, "Alice"), (&bob, "alice")] {
        let id = format!("sha256:{}", certificate.fingerprint).parse().unwrap();
        world.revocation.principal_id(id, written(9), &name.parse().unwrap(), &[]);
    }
    let snapshot = world.snapshot();
    assert_eq!((told(&ask(&snapshot, &alice, &[])).as_str(), told(&ask(&snapshot, &bob, &[])).as_str()), ("revoked", "admit bob"));
}

#[test]
fn a_revoked_leaf_loses_on_every_path_and_a_revoked_intermediate_on_its_own() {
    let (a, b) = (Ca::root("a"), Ca::root("b"));
    let key = KeyPair::generate().unwrap();
    let by_a = a.sign_ca(key, "middle", |_| {});
    let by_b = b.sign_ca(KeyPair::try_from(by_a.key.serialize_der()).unwrap(), "middle", |_| {});
    let leaf = by_a.leaf("x");
    let along = [&by_a, &by_b];
    let world = || World::default().authority("a", &[&a]).authority("b", &[&b]);
    assert_eq!(told(&ask(&world().snapshot(), &leaf, &along)), "admit a");
    let without_a = world().revoke(&format!("sha256:{}", by_a.certificate.fingerprint)).snapshot();
    assert_eq!(told(&ask(&without_a, &leaf, &along)), "admit b", "the other path is clean");
    let mut scoped = world();
    let id = format!("serial:{}", leaf.serial_hex()).parse().unwrap();
    scoped.revocation.principal_id(id, written(9), &"a".parse().unwrap(), &[authority(&[&a], |_| {})]);
    assert_eq!(told(&ask(&scoped.snapshot(), &leaf, &along)), "revoked", "though b has said nothing of it");
}

#[test]
fn the_newest_crl_counts_whatever_the_order() {
    let root = Ca::root("root");
    let leaf = root.leaf("x");
    let serial: &[u8] = &leaf.serial;
    let (old, new) = (root.crl(1, NOW - 20, NOW + DAY, &[]), root.crl(2, NOW - 10, NOW + DAY, &[serial]));
    let (released, late) = (root.crl(3, NOW - 5, NOW + DAY, &[]), root.crl(300, NOW - 30, NOW + DAY, &[serial]));
    for (what, crls, expected) in [
        ("old before new", vec![&old, &new], "revoked"),
        ("new before old", vec![&new, &old], "revoked"),
        ("the newest releases", vec![&new, &released, &old], "admit ci"),
        ("the number goes before the date", vec![&late, &released], "revoked"),
    ] {
        let snapshot = crls.iter().fold(World::default().authority("ci", &[&root]), |world, crl| world.crl(crl)).snapshot();
        assert_eq!(told(&ask(&snapshot, &leaf, &[])), expected, "{what}");
        let superseded = snapshot.revocation.crl_problems().iter().filter(|problem| matches!(problem.kind, CrlProblemKind::Superseded(_)));
        assert_eq!((superseded.count(), snapshot.revocation.crls().count()), (crls.len() - 1, 1), "{what}");
    }
}

#[test]
fn a_crl_has_its_time() {
    let root = Ca::root("root");
    let (leaf, listed) = (root.leaf("x"), root.leaf("y"));
    let serial: &[u8] = &listed.serial;
    let (fresh, stale, future) =
        (root.crl(1, NOW - 10, NOW + 50, &[serial]), root.crl(1, NOW - 10, NOW - 1, &[serial]), root.crl(1, NOW + 1, NOW + 50, &[serial]));
    for (what, crl, stale, required, expected, until) in [
        ("fresh", Some(&fresh), StaleCrl::Deny, false, "admit ci", NOW + 51),
        ("fresh and required", Some(&fresh), StaleCrl::Deny, true, "admit ci", NOW + 51),
        ("stale", Some(&stale), StaleCrl::Deny, false, "revocation_unknown", NOW + DAY + 1),
        ("stale, warned of", Some(&stale), StaleCrl::Warn, false, "admit ci", NOW + DAY + 1),
        ("stale and required", Some(&stale), StaleCrl::Warn, true, "revocation_unknown", NOW + DAY + 1),
        ("from the future", Some(&future), StaleCrl::Deny, false, "revocation_unknown", NOW + 1),
        ("from the future, warned of", Some(&future), StaleCrl::Warn, false, "admit ci", NOW + 1),
        ("none", None, StaleCrl::Deny, false, "admit ci", NOW + DAY + 1),
        ("none, and required", None, StaleCrl::Deny, true, "revocation_unknown", NOW + DAY + 1),
    ] {
        let world = || {
            let world = World::default().authority("ci", &[&root]).crl_policy(stale, required);
            crl.into_iter().fold(world, |world, crl| world.crl(crl)).snapshot()
        };
        let decision = ask(&world(), &leaf, &[]);
        assert_eq!((told(&decision).as_str(), decision.valid_until.as_secs()), (expected, until), "{what}");
        if crl.is_some() {
            assert_eq!(told(&ask(&world(), &listed, &[])), "revoked", "{what}: what is listed is revoked at any time");
        }
    }
}

#[test]
fn a_crl_that_was_never_seen_may_be_that_of_every_issuer_without_one() {
    let (known, unknown) = (Ca::root("known"), Ca::root("unknown"));
    let crl = known.crl(1, NOW - 10, NOW + 50, &[]);
    let pinned = unknown.leaf("pinned");
    for (what, stale, missing, expected) in [
        ("nothing is missing", StaleCrl::Deny, false, "admit other"),
        ("one is", StaleCrl::Deny, true, "revocation_unknown"),
        ("one is, and that only warns", StaleCrl::Warn, true, "admit other"),
    ] {
        let world = World::default().authority("ci", &[&known]).authority("other", &[&unknown]).pin("pinned", &pinned).crl(&crl);
        let world = if missing { world.crl_missing() } else { world };
        let snapshot = world.crl_policy(stale, false).snapshot();
        assert_eq!(told(&ask(&snapshot, &unknown.leaf("x"), &[])), expected, "{what}");
        assert_eq!(told(&ask(&snapshot, &known.leaf("x"), &[])), "admit ci", "{what}: its CRL is at hand");
        assert_eq!(told(&ask(&snapshot, &pinned, &[])), "admit pinned", "{what}: a pin needs no CRL");
    }
}

#[test]
fn a_crl_counts_only_where_the_issuers_key_vouches_for_it() {
    let root = Ca::root("root");
    let twin = Ca::root("root");
    let middle = root.below("middle");
    let (leaf, below) = (root.leaf("x"), middle.leaf("y"));
    let all: [&[u8]; 2] = [&leaf.serial, &below.serial];
    let world = || World::default().authority("ci", &[&root]);
    let forged = world().crl(&twin.crl(9, NOW - 1, NOW + DAY, &all)).snapshot();
    assert_eq!(forged.revocation.crl_problems()[0].kind, CrlProblemKind::Forged);
    assert_eq!(told(&ask(&forged, &leaf, &[])), "admit ci", "the key id in it names another key");
    let both = world().crl(&root.crl(1, NOW - 2, NOW + DAY, &all[..1])).crl(&twin.crl(9, NOW - 1, NOW + DAY, &[])).snapshot();
    assert_eq!(told(&ask(&both, &leaf, &[])), "revoked", "a forged newer one does not take the place of ours");
    // Known CAs with keys of their own: each to its own.
    let two = World::default().authority("a", &[&root]).authority("b", &[&twin]).crl(&twin.crl(9, NOW - 1, NOW + DAY, &all)).snapshot();
    assert_eq!(told(&ask(&two, &leaf, &[])), "admit a");
    // An issuer that only the client presents: its key is known once its path holds.
    let presented = world().crl(&middle.crl(1, NOW - 1, NOW + DAY, &all)).snapshot();
    assert_eq!(presented.revocation.crl_problems()[0].kind, CrlProblemKind::UnknownIssuer);
    assert_eq!(told(&ask(&presented, &below, &[&middle])), "revoked");
    assert_eq!(told(&ask(&presented, &middle.leaf("z"), &[&middle])), "admit ci");
}

#[test]
fn a_crl_takes_off_pins_and_intermediates_too() {
    let root = Ca::root("root");
    let middle = root.below("middle");
    let (pinned, below) = (root.leaf("pinned"), middle.leaf("below"));
    let world = || World::default().pin("pinned", &pinned).authority("ci", &[&root, &middle]);
    let serials: [&[u8]; 2] = [&pinned.serial, &middle.certificate.serial];
    let snapshot = world().crl(&root.crl(1, NOW - 1, NOW + DAY, &serials)).snapshot();
    assert_eq!(told(&ask(&snapshot, &pinned, &[])), "revoked");
    assert_eq!(told(&ask(&snapshot, &below, &[])), "revoked", "an anchor of ours, taken back by the one above it");
    let foreign =
        self_signed_by(&KeyPair::generate().unwrap(), "root", |params| params.serial_number = Some(pinned.serial.to_vec().into()));
    let snapshot =
        World::default().pin("same", &foreign).authority("ci", &[&root]).crl(&root.crl(1, NOW - 1, NOW + DAY, &serials)).snapshot();
    assert_eq!(told(&ask(&snapshot, &foreign, &[])), "admit same", "the name and the serial, but the CA did not sign it");
}

#[test]
fn every_issuer_needs_a_fresh_crl_where_one_is_required() {
    let root = Ca::root("root");
    let middle = root.below("middle");
    let silent = root.below_with("silent", |params| params.key_usages = vec![KeyUsagePurpose::KeyCertSign]);
    let leaf = middle.leaf("x");
    // rcgen would not sign a CRL as such a CA, so another of the same name and key does.
    let signer = root.sign_ca(KeyPair::try_from(silent.key.serialize_der()).unwrap(), "silent", |_| {});
    let crl = |ca: &Ca| ca.crl(1, NOW - 1, NOW + DAY, &[]);
    let required = || World::default().authority("ci", &[&root]).crl_policy(StaleCrl::Deny, true);
    for (what, world, leaf, along, expected) in [
        ("of both", required().crl(&crl(&root)).crl(&crl(&middle)), &leaf, &middle, "admit ci"),
        ("of the root only", required().crl(&crl(&root)), &leaf, &middle, "revocation_unknown"),
        ("of the intermediate only", required().crl(&crl(&middle)), &leaf, &middle, "revocation_unknown"),
        ("of one that may not sign CRLs", required().crl(&crl(&root)).crl(&crl(&signer)), &silent.leaf("x"), &silent, "revocation_unknown"),
    ] {
        assert_eq!(told(&ask(&world.snapshot(), leaf, &[along])), expected, "{what}");
    }
}

#[test]
fn ids_tell_what_they_hit() {
    let (leaf, other) = (self_signed("x").0, self_signed("y").0);
    for id in ids(&leaf, &leaf).into_iter().chain([format!("serial:{}", leaf.serial_hex())]) {
        let id: RevokedId = id.parse().unwrap();
        assert!(Revocation::id_hits(&id, &leaf) && !Revocation::id_hits(&id, &other), "{id}");
    }
    let world = World::default().revoke("serial:01");
    let listed: Vec<String> = world.snapshot().revocation.ids().map(|(id, written)| format!("{id} {written}")).collect();
    assert_eq!(listed, ["serial:01 revoked.txt:7"]);
}

#[test]
fn partitions_of_a_crl_stand_side_by_side_and_speak_for_their_own() {
    let root = Ca::root("root");
    let point = |uri: &str| CrlDistributionPoint { uris: vec![uri.to_owned()] };
    let (a, b) = (|| point("http://crl.example/a"), || point("http://crl.example/b"));
    let leaf = |own: Option<CrlDistributionPoint>| root.leaf_with("x", |params| params.crl_distribution_points = own.into_iter().collect());
    let (of_a, of_b, of_none) = (leaf(Some(a())), leaf(Some(b())), leaf(None));
    let crl = |point, scope, number, serials: &[&[u8]]| {
        let point = CrlIssuingDistributionPoint { distribution_point: point, scope };
        root.crl_of(Some(point), number, NOW - 1, NOW + DAY, serials)
    };
    let world = || World::default().authority("ci", &[&root]);
    let both = world().crl(&crl(a(), None, 1, &[&of_a.serial])).crl(&crl(b(), None, 2, &[])).snapshot();
    assert_eq!(both.revocation.crls().count(), 2, "neither is newer than the other");
    assert_eq!(told(&ask(&both, &of_a, &[])), "revoked");
    assert_eq!(told(&ask(&both, &of_b, &[])), "admit ci");
    let required = || world().crl_policy(StaleCrl::Deny, true).crl(&crl(a(), None, 1, &[])).snapshot();
    for (what, leaf, expected) in
        [("its own", &of_a, "admit ci"), ("another's", &of_b, "revocation_unknown"), ("nobody's", &of_none, "revocation_unknown")]
    {
        assert_eq!(told(&ask(&required(), leaf, &[])), expected, "{what}");
    }
    let of_issuers = world().crl_policy(StaleCrl::Deny, true).crl(&crl(a(), Some(CrlScope::CaCertsOnly), 1, &[])).snapshot();
    assert_eq!(told(&ask(&of_issuers, &of_a, &[])), "revocation_unknown", "a list of CAs says nothing of leaves");
}

#[test]
fn a_crl_is_checked_once_while_it_and_the_anchors_stay() {
    let root = Ca::root("root");
    let leaf = root.leaf("x");
    let crl = root.crl(1, NOW - 1, NOW + DAY, &[&leaf.serial]);
    let first = World::default().authority("ci", &[&root]).crl(&crl).snapshot();
    let twin = Ca::root("root");
    for (ca, expected) in [(&root, 1), (&twin, 0)] {
        let mut world = World::default().authority("ci", &[ca]);
        world.revocation = RevocationBuilder::after(&first.revocation);
        let again = world.crl(&crl).snapshot();
        let signed = again.revocation.crls().count() - again.revocation.crl_problems().len();
        assert_eq!(signed, expected, "what was found out under other anchors is found out anew");
    }
}
