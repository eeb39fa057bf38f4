//! Authorities: which leaves a CA vouches for, within which bounds, and what is said of the others.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CustomExtension, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose, NameConstraints,
    SanType,
};

use super::super::testing::*;
use super::super::*;

#[test]
fn a_leaf_of_the_ca_is_admitted_however_its_chain_is_completed() {
    let root = Ca::root("root");
    let middle = root.below("middle");
    let low = middle.below("low");
    let direct = root.leaf("direct");
    let leaf = low.leaf("pipeline-1");
    let other = Ca::root("other");
    for (what, cas, leaf, along, expected) in [
        ("below the root", vec![&root], &direct, vec![], "admit ci"),
        ("intermediates presented", vec![&root], &leaf, vec![&low, &middle], "admit ci"),
        ("in any order, with the root and strangers between", vec![&root], &leaf, vec![&middle, &other, &root, &low], "admit ci"),
        ("intermediates configured", vec![&root, &low, &middle], &leaf, vec![], "admit ci"),
        ("one of each", vec![&root, &low], &leaf, vec![&middle], "admit ci"),
        ("ending at a configured intermediate", vec![&low], &leaf, vec![], "admit ci"),
        ("a missing intermediate", vec![&root], &leaf, vec![&low], "not_listed"),
        ("nothing presented", vec![&root], &leaf, vec![], "not_listed"),
        ("another CA", vec![&other], &leaf, vec![&low, &middle, &root], "not_listed"),
    ] {
        let decision = ask(&World::default().authority("ci", &cas).snapshot(), leaf, &along);
        assert_eq!(told(&decision), expected, "{what}: {}", findings(&decision));
    }
    let decision = ask(&World::default().authority("a", &[&root]).authority("b", &[&middle, &low]).snapshot(), &leaf, &[]);
    assert_eq!(told(&decision), "admit a", "the intermediates of one authority serve the others");
    let Basis::Authority { chain } = &decision.admission().unwrap().basis else { panic!("an authority vouched") };
    assert_eq!(chain.len(), 3);
    assert_eq!(chain[0], low.certificate.der);
}

#[test]
fn an_anchor_that_is_none_admits_nobody() {
    let root = Ca::root("root");
    let twin = Ca::root("root");
    let no_ca = Ca::root_with("root", |params| params.is_ca = IsCa::ExplicitNoCa);
    let no_sign = Ca::root_with("root", |params| params.key_usages = vec![KeyUsagePurpose::CrlSign]);
    let old = Ca::root_with("root", |params| params.not_after = date(NOW - 1));
    let young = Ca::root_with("root", |params| params.not_before = date(NOW + 1));
    let odd = Ca::root_with("root", |params| {
        let mut odd = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        odd.set_criticality(true);
        params.custom_extensions.push(odd);
    });
    for (what, ca, leaf, expected, problem) in [
        ("right", &root, root.leaf("x"), "admit ci", None),
        ("a twin of the anchor: same name, other key", &twin, root.leaf("x"), "chain_invalid", None),
        ("CA:FALSE", &no_ca, no_ca.leaf("x"), "chain_invalid", Some(AnchorProblemKind::NotACa)),
        ("keyUsage without keyCertSign", &no_sign, no_sign.leaf("x"), "chain_invalid", Some(AnchorProblemKind::NoCertSign)),
        ("expired", &old, old.leaf("x"), "expired", Some(AnchorProblemKind::Expired)),
        ("not yet valid", &young, young.leaf("x"), "not_yet_valid", Some(AnchorProblemKind::NotYetValid)),
        ("an unknown critical extension", &odd, odd.leaf("x"), "chain_invalid", Some(AnchorProblemKind::CriticalExtension)),
    ] {
        let decision = ask(&World::default().authority("ci", &[ca]).snapshot(), &leaf, &[]);
        assert_eq!(told(&decision), expected, "{what}: {}", findings(&decision));
        let problems = authority(&[ca], |_| {}).problems(at(NOW), 0);
        assert_eq!(problems.first().map(|problem| problem.kind), problem, "{what}");
    }
    assert_eq!(told(&ask(&World::default().authority("ci", &[]).snapshot(), &root.leaf("x"), &[])), "not_listed", "an empty bundle");
}

#[test]
fn time_is_looked_at_each_time() {
    let root = Ca::root_with("root", |params| params.not_after = date(NOW + 100));
    let young = root.below_with("young", |params| params.not_before = date(NOW + 10));
    let leaf = young.leaf("x");
    let snapshot = World::default().authority("ci", &[&root, &young]).snapshot();
    // One candidate throughout: what it remembers must not outlive the dates.
    let (candidate, route) = (candidate(&leaf, &[]), route());
    for (second, expected, until) in [
        (NOW, "not_yet_valid", NOW + 10),
        (NOW + 10, "admit ci", NOW + 101),
        (NOW + 100, "admit ci", NOW + 101),
        // The intermediate is an anchor too, and goes on.
        (NOW + 101, "admit ci", NOW + DAY + 1),
        (NOW + DAY + 1, "expired", u64::MAX),
    ] {
        let decision = snapshot.decide(Some(&candidate), &request(&route), at(second));
        assert_eq!((told(&decision).as_str(), decision.valid_until.as_secs()), (expected, until), "at {second}");
    }
}

#[test]
fn certificates_that_are_never_valid_together_admit_at_no_time() {
    let root = Ca::root("root");
    let old = root.below_with("old", |params| params.not_after = date(NOW - 100));
    let leaf = old.leaf_with("x", |params| params.not_before = date(NOW - 50));
    for (skew, expected) in [(0, "expired"), (300, "expired")] {
        let snapshot = World::default().authority("ci", &[&root]).skew(skew).snapshot();
        assert_eq!(told(&ask(&snapshot, &leaf, &[&old])), expected, "a skew of {skew} s");
    }
}

#[test]
fn what_a_path_may_not_contain() {
    let root = Ca::root("root");
    let low_sign = root.below_with("no keyCertSign", |params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]);
    let low_ca = root.below_with("no CA", |params| params.is_ca = IsCa::ExplicitNoCa);
    let server = root.below_with("server only", |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    let any = root.below_with("any", |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any]);
    let old = root.below_with("old", |params| params.not_after = date(NOW - 1));
    let flat = Ca::root_with("flat", |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let below_flat = flat.below("below flat");
    let short = root.below_with("short", |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let below_short = short.below("below short");
    let critical = root.below_with("critical", |params| {
        let mut odd = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        odd.set_criticality(true);
        params.custom_extensions.push(odd);
    });
    let client = root.leaf("client");
    let client_key = KeyPair::generate().unwrap();
    let client_ca = Ca { params: params("client"), key: client_key, certificate: Arc::new(client) };
    for (what, anchor, issuer, along, expected) in [
        ("an intermediate whose keyUsage lacks keyCertSign", &root, &low_sign, vec![&low_sign], "chain_invalid"),
        ("an intermediate that is no CA", &root, &low_ca, vec![&low_ca], "chain_invalid"),
        ("a leaf as issuer", &root, &client_ca, vec![&client_ca], "chain_invalid"),
        ("an intermediate for servers only", &root, &server, vec![&server], "chain_invalid"),
        ("an intermediate for anything", &root, &any, vec![&any], "admit ci"),
        ("an expired intermediate", &root, &old, vec![&old], "expired"),
        ("directly below pathlen:0", &flat, &flat, vec![], "admit ci"),
        ("past the anchor's pathlen:0", &flat, &below_flat, vec![&below_flat], "chain_invalid"),
        ("below an intermediate's pathlen:0", &root, &short, vec![&short], "admit ci"),
        ("past an intermediate's pathlen:0", &root, &below_short, vec![&below_short, &short], "chain_invalid"),
        ("below an anchor for servers only", &server, &server, vec![], "chain_invalid"),
        ("a critical extension that nobody knows", &root, &critical, vec![&critical], "chain_invalid"),
    ] {
        let decision = ask(&World::default().authority("ci", &[anchor]).snapshot(), &issuer.leaf("x"), &along);
        assert_eq!(told(&decision), expected, "{what}: {}", findings(&decision));
    }
}

#[test]
fn name_constraints_of_anchors_count() {
    let constrained = Ca::root_with("root", |params| {
        let permitted_subtrees = vec![GeneralSubtree::DnsName("example.com".into())];
        params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: vec![] });
    });
    let middle = constrained.below("middle");
    let snapshot = World::default().authority("ci", &[&constrained]).snapshot();
    let named =
        |ca: &Ca, name: &str| ca.leaf_with("x", |params| params.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())]);
    for (ca, name, expected) in [
        (&constrained, "a.example.com", "admit ci"),
        (&constrained, "a.example.org", "chain_invalid"),
        (&middle, "a.example.com", "admit ci"),
        (&middle, "a.example.org", "chain_invalid"),
    ] {
        assert_eq!(told(&ask(&snapshot, &named(ca, name), &[&middle])), expected, "{name}");
    }
}

#[test]
fn leaves_that_no_authority_vouches_for() {
    let root = Ca::root("root");
    let (server, client) = (ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth);
    let usage = |usages: Vec<ExtendedKeyUsagePurpose>| root.leaf_with("x", |params| params.extended_key_usages = usages);
    for (what, leaf, strict, lenient) in [
        ("clientAuth", usage(vec![client.clone()]), "admit ci", "admit ci"),
        ("both", usage(vec![server.clone(), client]), "admit ci", "admit ci"),
        ("none", usage(vec![]), "unsuitable", "admit ci"),
        ("serverAuth only", usage(vec![server]), "unsuitable", "unsuitable"),
        ("anyExtendedKeyUsage only", usage(vec![ExtendedKeyUsagePurpose::Any]), "unsuitable", "admit ci"),
        ("a CA", (*root.below("x").certificate).clone(), "unsuitable", "unsuitable"),
        ("the anchor itself", (*root.certificate).clone(), "unsuitable", "unsuitable"),
        ("expired", root.leaf_with("x", |params| params.not_after = date(NOW - 1)), "expired", "expired"),
        ("of tomorrow", root.leaf_with("x", |params| params.not_before = date(NOW + 1)), "not_yet_valid", "not_yet_valid"),
    ] {
        for (require, expected) in [(true, strict), (false, lenient)] {
            let snapshot = World::default().authority_with("ci", &[&root], |authority| authority.require_client_eku = require).snapshot();
            assert_eq!(told(&ask(&snapshot, &leaf, &[])), expected, "{what}, require_client_eku = {require}");
        }
    }
    // BER for DER in what no signature covers: the outer length spelled in one byte more.
    let der = root.leaf("x").der;
    let content = &der[4..];
    let mut respelled = vec![0x30, 0x83, 0];
    respelled.extend_from_slice(&der[2..4]);
    respelled.extend_from_slice(content);
    assert_eq!(der[1], 0x82, "a length of two bytes");
    let candidate = Candidate::presented(&[respelled.into()]).unwrap();
    let snapshot = World::default().authority("ci", &[&root]).snapshot();
    assert_eq!(told(&snapshot.decide(Some(&candidate), &request(&route()), at(NOW))), "unsuitable");
}

#[test]
fn bounds_decide_by_kind() {
    let root = Ca::root("root");
    let leaf = root.leaf_with("pipeline-7", |params| {
        params.distinguished_name.push(DnType::OrganizationalUnitName, "DevOps");
        params.subject_alt_names = vec![
            SanType::DnsName("Build.Example.COM".try_into().unwrap()),
            SanType::Rfc822Name("Ann@Example.COM".try_into().unwrap()),
            SanType::URI("spiffe://td/ns/ci".try_into().unwrap()),
        ];
        let oid = [1, 3, 6, 1, 4, 1, 55555, 1];
        params.custom_extensions.push(CustomExtension::from_oid_content(&oid, b"\x0c\x08team-red".to_vec()));
        let oid = [1, 3, 6, 1, 4, 1, 55555, 2];
        params.custom_extensions.push(CustomExtension::from_oid_content(&oid, vec![4, 2, 0xab, 0xcd]));
    });
    let ask_within =
        |bounds: Bounds| told(&ask(&World::default().authority_with("ci", &[&root], |it| it.bounds = bounds).snapshot(), &leaf, &[]));
    for (kind, globs, admitted) in [
        (BoundKind::CommonNames, vec!["pipeline-*"], true),
        (BoundKind::CommonNames, vec!["nobody", "pipeline-?"], true),
        (BoundKind::CommonNames, vec!["pipeline"], false),
        (BoundKind::CommonNames, vec!["Pipeline-*"], false),
        (BoundKind::OrganizationalUnits, vec!["DevOps"], true),
        (BoundKind::OrganizationalUnits, vec!["Dev"], false),
        (BoundKind::DnsSans, vec!["*.eXample.com"], true),
        (BoundKind::DnsSans, vec!["example.com"], false),
        (BoundKind::EmailSans, vec!["Ann@example.com"], true),
        (BoundKind::EmailSans, vec!["*@EXAMPLE.com"], true),
        (BoundKind::EmailSans, vec!["ann@example.com"], false),
        (BoundKind::UriSans, vec!["spiffe://td/*"], true),
        (BoundKind::UriSans, vec!["spiffe://TD/*"], false),
        (BoundKind::UriSans, vec!["build.example.com"], false),
    ] {
        let mut bounds = Bounds::default();
        bounds.set(kind, &globs).unwrap();
        assert_eq!(ask_within(bounds), if admitted { "admit ci" } else { "bounds_mismatch" }, "{kind:?} {globs:?}");
    }
    for (entries, admitted) in [
        (vec!["1.3.6.1.4.1.55555.1:team-*"], true),
        (vec!["1.3.6.1.4.1.55555.1:team-blue"], false),
        (vec!["1.3.6.1.4.1.55555.1:team-*", "1.3.6.1.4.1.55555.3:*"], false),
        (vec!["1.3.6.1.4.1.55555.2:*"], false),
        (vec!["hex:1.3.6.1.4.1.55555.2:0402AB*"], true),
        (vec!["hex:1.3.6.1.4.1.55555.2:ab*"], false),
        (vec!["present:1.3.6.1.4.1.55555.2", "1.3.6.1.4.1.55555.1:*"], true),
        (vec!["present:1.3.6.1.4.1.55555.3"], false),
    ] {
        let mut bounds = Bounds::default();
        bounds.set_extensions(&entries).unwrap();
        assert_eq!(ask_within(bounds), if admitted { "admit ci" } else { "bounds_mismatch" }, "{entries:?}");
    }
    let mut both = Bounds::default();
    both.set(BoundKind::CommonNames, &["pipeline-*"]).unwrap();
    both.set(BoundKind::DnsSans, &["*.example.org"]).unwrap();
    assert_eq!(ask_within(both), "bounds_mismatch", "AND across kinds");
}

#[test]
fn what_is_no_bound_is_refused() {
    let mut bounds = Bounds::default();
    assert!(bounds.is_empty());
    assert_eq!(bounds.set(BoundKind::CommonNames, &[] as &[&str]), Err((0, BoundError::Empty)));
    assert_eq!(bounds.set(BoundKind::CommonNames, &["a", "b\\"]), Err((1, BoundError::Glob(GlobError::DanglingEscape))));
    assert_eq!(bounds.set_extensions(&["x"]), Err((0, BoundError::NotAnExtension)));
    assert_eq!(bounds.set_extensions(&["1.x:y"]), Err((0, BoundError::Oid(AttributeError::NotAnOid))));
    assert!(bounds.is_empty(), "nothing is set by halves");
}

#[test]
fn two_common_names_are_ambiguous_wherever_one_decides_or_identifies() {
    let root = Ca::root("root");
    // rcgen keeps one value of each kind; the second common name hides behind its number.
    let leaf = root.leaf_with("alice", |params| params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 3]), "admin"));
    let world = |identifier: &str, bounds: Option<&str>, when: bool| {
        let permission = Permission {
            when: if when { vec![(Attribute::CommonName, vec!["*".parse().unwrap()])] } else { vec![] },
            ..permission("orders", Some(Access::Read))
        };
        let terms = Terms { identifier: identifier.parse().unwrap(), permissions: vec![permission], ..terms() };
        let authority = authority(&[&root], |authority| {
            if let Some(glob) = bounds {
                authority.bounds.set(BoundKind::CommonNames, &[glob]).unwrap();
            }
        });
        World::default().principal("ci", terms, vec![Credential::Authority(authority)]).snapshot()
    };
    for (what, snapshot, expected) in [
        ("in bounds", world("principal", Some("*"), false), "ambiguous_common_name"),
        ("as identifier", world("common_name", None, false), "ambiguous_common_name"),
        ("in when", world("principal", None, true), "ambiguous_common_name"),
        ("nowhere", world("principal", None, false), "admit ci"),
    ] {
        assert_eq!(told(&ask(&snapshot, &leaf, &[])), expected, "{what}");
    }
    let plain = root.leaf("alice");
    assert_eq!(told(&ask(&world("common_name", Some("*"), true), &plain, &[])), "admit ci");
    assert_eq!(told(&ask(&world("dns_san", None, false), &plain, &[])), "identifier_missing");
}

#[test]
fn authorities_are_asked_by_priority_and_the_first_match_is_final() {
    let root = Ca::root("root");
    let leaf = root.leaf("pipeline-1");
    let by = |name: &str, priority: u32, glob: &str, terms: Terms, world: World| {
        let authority = authority(&[&root], |authority| {
            authority.priority = priority;
            authority.bounds.set(BoundKind::CommonNames, &[glob]).unwrap();
        });
        world.principal(name, terms, vec![Credential::Authority(authority)])
    };
    let disabled = || Terms { enabled: false, ..terms() };
    let world = by("a", 100, "*", terms(), by("b", 50, "pipeline-*", disabled(), World::default()));
    assert_eq!(told(&ask(&world.snapshot(), &leaf, &[])), "principal_disabled", "b comes first, and is final");
    let world = by("a", 100, "*", terms(), by("b", 50, "other-*", disabled(), World::default()));
    let decision = ask(&world.snapshot(), &leaf, &[]);
    assert_eq!(told(&decision), "admit a", "b does not match");
    assert!(findings(&decision).contains("authority of b (portcullis.toml:1): common_names: \"pipeline-1\" matches none of \"other-*\""));
    let world = by("b", 100, "*", disabled(), by("a", 100, "*", terms(), World::default()));
    assert_eq!(told(&ask(&world.snapshot(), &leaf, &[])), "admit a", "of one priority, by name");
}

#[test]
fn of_several_authorities_the_one_that_came_furthest_says_why() {
    let (root, twin, old) = (Ca::root("root"), Ca::root("root"), Ca::root_with("root", |params| params.not_after = date(NOW - 1)));
    let leaf = root.leaf("x");
    let bounded = |world: World| world.authority_with("bounded", &[&root], |it| it.bounds.set(BoundKind::CommonNames, &["y"]).unwrap());
    let world = bounded(World::default().authority("a-twin", &[&twin]).authority("old", &[&old]));
    let decision = ask(&world.snapshot(), &leaf, &[]);
    assert_eq!(told(&decision), "bounds_mismatch", "{}", findings(&decision));
    let tried = decision.steps.iter().filter(|step| step.rule == "authority").map(|step| step.denial.unwrap().code());
    assert_eq!(tried.collect::<Vec<_>>(), ["chain_invalid", "bounds_mismatch", "chain_invalid"], "one step for each");
}

#[test]
fn junk_costs_little_and_hides_nothing() {
    let root = Ca::root("root");
    let junk: Vec<Ca> = (0..15).map(|_| Ca::root("root")).collect();
    let middle = root.below("middle");
    let leaf = middle.leaf("x");
    let snapshot = World::default().authority("ci", &[&root]).snapshot();
    let along: Vec<&Ca> = junk.iter().chain([&middle]).collect();
    assert_eq!(told(&ask(&snapshot, &leaf, &along)), "admit ci");
    // A mesh of CAs that all sign each other multiplies no paths: no anchor vouches for any of them.
    let keys: Vec<KeyPair> = (0..4).map(|_| KeyPair::generate().unwrap()).collect();
    let mesh: Vec<Ca> = keys
        .iter()
        .flat_map(|signer| {
            let signer = Ca { params: root.params.clone(), key: copy(signer), certificate: Arc::clone(&root.certificate) };
            keys.iter().map(|key| signer.sign_ca(copy(key), "root", |_| {})).collect::<Vec<_>>()
        })
        .collect();
    let stranger = mesh[0].leaf("x");
    let decision = ask(&snapshot, &stranger, &mesh.iter().collect::<Vec<_>>());
    assert_eq!(told(&decision), "chain_invalid");
}

fn copy(key: &KeyPair) -> KeyPair {
    KeyPair::try_from(key.serialize_der()).unwrap()
}

#[test]
fn signatures_are_checked_again_only_when_anchors_or_crls_change() {
    let root = Ca::root("root");
    let leaf = root.leaf("x");
    let (candidate, route) = (candidate(&leaf, &[]), route());
    let first = World::default().authority("ci", &[&root]).snapshot();
    let decide = |snapshot: &Snapshot| told(&snapshot.decide(Some(&candidate), &request(&route), at(NOW)));
    assert_eq!(decide(&first), "admit ci");
    // A pin more is another snapshot of the same trust.
    let pinned = World::default().authority("ci", &[&root]).pin("alice", &self_signed("alice").0).snapshot();
    assert_eq!(first.trust_id(), pinned.trust_id());
    assert_eq!(decide(&pinned), "admit ci");
    let (empty, twin) = (World::default().snapshot(), World::default().authority("ci", &[&Ca::root("root")]).snapshot());
    let bounded = World::default().authority_with("ci", &[&root], |it| it.bounds.set(BoundKind::CommonNames, &["y"]).unwrap()).snapshot();
    let listed = World::default().authority("ci", &[&root]).crl(&root.crl(1, NOW - 1, NOW + 1, &[&leaf.serial])).snapshot();
    for (other, expected) in [(&empty, "not_listed"), (&twin, "chain_invalid"), (&bounded, "bounds_mismatch"), (&listed, "revoked")] {
        assert_ne!(first.trust_id(), other.trust_id(), "{expected}");
        assert_eq!(decide(other), expected);
        assert_eq!(decide(&first), "admit ci", "and back");
    }
}

#[test]
fn a_pin_is_not_dodged_by_its_twin() {
    let root = Ca::root("root");
    let leaf = root.leaf("alice");
    let disabled = Terms { enabled: false, ..terms() };
    let world = || World::default().authority("ci", &[&root]);
    // What is pinned is the twin of the certificate that comes: the same names and key, the signature respelled.
    let snapshot = world().principal("alice", disabled, vec![Credential::Pin(leaf.twin().unwrap().into())]).snapshot();
    let decision = ask(&snapshot, &leaf, &[]);
    assert_eq!(told(&decision), "not_listed");
    assert!(findings(&decision).contains("a pin is exact"), "{}", findings(&decision));
    assert_eq!(told(&ask(&world().snapshot(), &leaf, &[])), "admit ci");
}

#[test]
fn thousands_of_authorities_of_one_ca_leave_few_steps() {
    let root = Ca::root("root");
    let leaf = root.leaf("client-1999");
    let world = (0..2000).fold(World::default(), |world, number| {
        let glob = format!("client-{number}");
        world.authority_with(&format!("p{number}"), &[&root], |it| it.bounds.set(BoundKind::CommonNames, &[&glob]).unwrap())
    });
    let snapshot = world.snapshot();
    assert_eq!(told(&ask(&snapshot, &leaf, &[])), "admit p1999");
    let decision = ask(&snapshot, &root.leaf("stranger"), &[]);
    assert_eq!(told(&decision), "bounds_mismatch");
    assert!(decision.steps.iter().len() < 70 && findings(&decision).contains("1939 more do not vouch"), "{}", findings(&decision));
}
