//! What may be in force before it is recorded: every way in which a change that seems to take away only could let somebody in.

use super::*;
use crate::store::managed::{AuthorityDocument, CertificateDocument, CertificateSource};

/// A state with one principal, and its document as it is kept.
fn kept(document: Document) -> (State, Document) {
    let stamp = Stamp { at: "2026-01-01T00:00:00Z".to_owned(), by: "test".to_owned() };
    let state = State::default();
    let document = document.normalised().expect("good");
    let change = Change::put(document).settled(&state, &stamp, &[7; 12]);
    let Change::PrincipalPut { document } = &change else { panic!("{change:?}") };
    let document = (**document).clone();
    let mut state = state;
    state.replay(0, &change).expect("read");
    (state, document)
}

fn pinned(numbers: &[u32]) -> Document {
    let fingerprints = numbers.iter().map(|number| format!("{number:08x}").repeat(8)).collect();
    let permissions = vec![PermissionDocument { routes: vec!["*".to_owned()], access: "write".to_owned(), when: Default::default() }];
    Document { name: "ci/one".to_owned(), fingerprints, permissions, ..Document::default() }
}

fn authority(name: &str) -> AuthorityDocument {
    AuthorityDocument { certificates: vec![name.to_owned()], any: true, ..AuthorityDocument::default() }
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn deny(document: &mut Document) {
    document.permissions.push(PermissionDocument { routes: vec!["*".to_owned()], access: "deny".to_owned(), when: Default::default() });
}

#[test]
fn only_what_lets_nobody_in_is_in_force_before_it_is_recorded() {
    type Edit = fn(&mut Document);
    let plain: Edit = |_| {};
    let table: [(&str, Edit, Edit, bool); 34] = [
        ("nothing", plain, plain, true),
        ("disabled", plain, |new| new.enabled = false, true),
        ("a CRL demanded", plain, |new| new.require_crl_dp = true, true),
        ("a CRL no more demanded", |old| old.require_crl_dp = true, |new| new.require_crl_dp = false, false),
        (
            "conditions no more demanded",
            |old| (old.require_when, _) = (true, old.permissions.clear()),
            |new| new.require_when = false,
            false,
        ),
        ("tokens that live longer", |old| old.token_ttl = text("1m"), |new| new.token_ttl = None, false),
        ("enabled", |old| old.enabled = false, |new| new.enabled = true, false),
        ("one pin less", plain, |new| drop(new.certificates.pop()), true),
        ("another pin", plain, |new| new.certificates[0].fingerprint = "ab".repeat(32), false),
        // Its certificate may be somebody's by an authority, and was kept out.
        ("one pin less of a disabled one", |old| old.enabled = false, |new| drop(new.certificates.pop()), false),
        ("disabled, and one pin less", plain, |new| (new.enabled, _) = (false, new.certificates.pop()), true),
        // So long as a revoked certificate is there its key is revoked.
        ("renewal off", |old| old.renewal = text("same-key"), |new| new.renewal = None, false),
        ("renewal on", plain, |new| new.renewal = text("same-key"), false),
        ("one renewed pin less", |old| old.renewal = text("same-key"), |new| drop(new.certificates.pop()), false),
        ("an issuer for renewals", |old| old.renewal = text("same-key"), |new| new.certificates[0].issuer = text("AAAA"), false),
        ("another source", |old| old.renewal = text("same-key"), |new| new.certificates[0].source = CertificateSource::Renewed, false),
        ("the whole certificate", |old| old.renewal = text("same-key"), |new| new.certificates[0].der = text("AAAA"), false),
        ("disabled where it renews", |old| old.renewal = text("same-key"), |new| new.enabled = false, true),
        ("an authority less", |old| old.authority = vec![authority("a"), authority("b")], |new| drop(new.authority.pop()), true),
        ("a bound less", |old| old.authority = vec![authority("a")], |new| new.authority[0].require_client_eku = false, false),
        // Its ids bind everybody under the same anchors, and stay.
        (
            "an authority less beside ids",
            |old| (old.authority, old.revoked_ids) = (vec![authority("a")], vec!["serial:01".to_owned()]),
            |new| drop(new.authority.pop()),
            true,
        ),
        ("an id more", plain, |new| new.revoked_ids.push("serial:01".to_owned()), true),
        ("an id less", |old| old.revoked_ids.push("serial:01".to_owned()), |new| new.revoked_ids.clear(), false),
        ("a permission less", plain, |new| new.permissions.clear(), true),
        ("a denial more", plain, deny, true),
        ("a denial less", deny, |new| drop(new.permissions.pop()), false),
        ("an admin no more", |old| old.clearance = text("admin"), |new| new.clearance = text("operator"), true),
        ("an admin becomes a gateway", |old| old.clearance = text("admin"), |new| new.clearance = text("node"), false),
        ("fewer addresses", plain, |new| new.client_ips = Some(vec!["10.0.0.0/8".to_owned()]), true),
        ("every address", |old| old.client_ips = Some(vec!["10.0.0.0/8".to_owned()]), |new| new.client_ips = None, false),
        ("another gateway", |old| old.gateway_ips = vec!["10.0.0.1/32".to_owned()], |new| new.gateway_ips.clear(), false),
        ("a later end", |old| old.valid_until = text("2027-01-01T00:00:00Z"), |new| new.valid_until = None, false),
        ("an earlier end", plain, |new| new.valid_until = text("2027-01-01T00:00:00Z"), true),
        ("another name", plain, |new| new.name = "ci/two".to_owned(), false),
    ];
    for (what, before, edit, expected) in table {
        let mut old = pinned(&[1, 2]);
        before(&mut old);
        let (state, mut new) = kept(old);
        edit(&mut new);
        assert_eq!(Change::put(new).tightens(&state), expected, "{what}");
    }
}

#[test]
fn a_list_without_end_is_refused_before_it_is_compared_with_anything() {
    let mut document = pinned(&(0..200_000).collect::<Vec<u32>>());
    document.fingerprints.push(document.fingerprints[0].clone());
    let document = document.normalised().expect("read");
    assert_eq!(document.certificates.len(), 200_000, "twice the same is once");
    let wrong = document.compile(0).expect_err("too many");
    assert_eq!(wrong[0].to_string(), "certificates: has 200000 entries, and 1000 are the most");
}

#[test]
fn who_goes_may_have_kept_others_out() {
    type Edit = fn(&mut Document);
    let table: [(&str, Edit, bool); 3] = [
        ("like any other", |_| {}, true),
        ("disabled", |old| old.enabled = false, false),
        ("with ids, which stay", |old| old.revoked_ids.push("serial:01".to_owned()), true),
    ];
    for (what, before, expected) in table {
        let mut old = pinned(&[1]);
        before(&mut old);
        let (state, document) = kept(old);
        let change = Change::PrincipalRemove { id: document.id, name: document.name };
        assert_eq!(change.tightens(&state), expected, "{what}");
    }
}

/// A pinned certificate that renews itself, and its fingerprint.
fn renewing() -> (State, Document, String) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::new(vec!["one.example".to_owned()]).expect("a name").self_signed(&key).expect("signed");
    let entry = CertificateDocument { der: Some(certificate.pem()), ..CertificateDocument::default() };
    let (state, document) =
        kept(Document { renewal: text("same-key"), certificates: vec![entry], ..Document { fingerprints: Vec::new(), ..pinned(&[]) } });
    let fingerprint = document.certificates[0].fingerprint.clone();
    (state, document, fingerprint)
}

#[test]
fn saying_a_revocation_again_takes_nothing_back() {
    let (mut state, document, fingerprint) = renewing();
    let id = format!("sha256:{fingerprint}");
    state.replay(1, &Change::revoke(&id, None)).expect("made");
    let key = state.revocation(&id).expect("kept").key;
    assert!(key.is_some(), "the key goes with the certificate");
    state.replay(2, &Change::PrincipalRemove { id: document.id, name: document.name }).expect("made");
    state.replay(3, &Change::revoke(&id, text("once more"))).expect("made");
    assert_eq!(state.revocation(&id).expect("kept").key, key);
}

#[test]
fn a_revocation_of_what_renews_itself_is_one_of_its_key_however_it_is_spelled() {
    let (state, _, fingerprint) = renewing();
    let spaced: Vec<&str> = fingerprint.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("hex")).collect();
    for id in [fingerprint.to_uppercase(), format!("0x{fingerprint}"), format!("SHA256:{}", spaced.join(":")), spaced.join(" ")] {
        let mut state = state.clone();
        state.replay(1, &Change::revoke(&id, None)).expect("made");
        assert!(state.revocation(&id).expect("kept").key.is_some(), "{id}");
    }
}
