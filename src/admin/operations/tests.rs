//! What forbids a change, asked of small states: every way that an operator might try.

use std::sync::Arc;

use rcgen::{CertificateParams, DnType, KeyPair};

use super::acting::Acting;
use super::guard;
use crate::admission::{
    AllowlistBuilder, Basis, Bootstrap, BootstrapMode, Clearance, PrincipalId, PrincipalName, Provenance, Revocation, Snapshot, Token,
    TokenId,
};
use crate::pki::Certificate;
use crate::request::service::{Caller, CallingLeaf, CallingPrincipal, Via};
use crate::store::managed::{CertificateDocument, CertificateSource, Change, Document, Refusal, State};

struct World {
    state: State,
    snapshot: Snapshot,
    admin: Certificate,
    operator: Certificate,
    user: Certificate,
}

const ADMIN: &str = "p-aaaaaaaaaaaa";
const OPERATOR: &str = "p-bbbbbbbbbbbb";
const USER: &str = "p-cccccccccccc";
const NEW: &str = "p-dddddddddddd";

fn certificate(name: &str) -> Certificate {
    certificate_of(name, &KeyPair::generate().expect("a key"))
}

fn certificate_of(name: &str, key: &KeyPair) -> Certificate {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    Certificate::parse(params.self_signed(key).expect("signed").der().clone()).expect("a certificate")
}

fn document(id: &str, name: &str, clearance: &str, certificate: &Certificate) -> Document {
    Document {
        id: id.to_owned(),
        name: name.to_owned(),
        version: 1,
        clearance: (clearance != "user").then(|| clearance.to_owned()),
        certificates: vec![CertificateDocument::of(certificate, CertificateSource::Registered)],
        ..Document::default()
    }
}

impl World {
    fn new() -> Self {
        let (admin, operator, user) = (certificate("admin"), certificate("operator"), certificate("user"));
        let mut state = State::default();
        for (index, document) in [
            document(ADMIN, "admin", "admin", &admin),
            document(OPERATOR, "operator", "operator", &operator),
            document(USER, "user", "user", &user),
        ]
        .into_iter()
        .enumerate()
        {
            state = state.apply(index as u64, &Change::put(document)).expect("good");
        }
        let allowlist = AllowlistBuilder::default().finish();
        let snapshot =
            Snapshot { generation: 1, allowlist, revocation: Revocation::default(), clock_skew: 0, bootstrap: Default::default() };
        Self { state, snapshot, admin, operator, user }
    }

    fn acting(&self, id: &str, name: &str, clearance: Clearance, leaf: &Certificate) -> Acting {
        let name: PrincipalName = name.parse().expect("a name");
        Acting::of(&Caller {
            principal: Some(CallingPrincipal { id: id.parse().expect("an id"), name, clearance, basis: Basis::Pin }),
            token: None,
            token_in_body: false,
            leaf: Some(leaf_of(leaf)),
            address: None,
            listener: Arc::from("control"),
            request_id: "r".into(),
            via: Via::Tls,
            arrival: None,
        })
    }

    /// The certificate that we serve with may do so much.
    fn serves(&mut self, mode: BootstrapMode, server: &Certificate) {
        let written = Provenance { file: Arc::from("portcullis.toml"), line: 1 };
        self.snapshot.bootstrap = Bootstrap::new(mode, vec![server.fingerprint], written);
    }

    fn operator(&self, changes: &[Change]) -> Result<(), Refusal> {
        let acting = self.acting(OPERATOR, "operator", Clearance::Operator, &self.operator);
        acting.check(&self.state, &self.snapshot)?;
        guard::check(&acting, &self.state, &self.snapshot, changes)
    }

    fn admin(&self, changes: &[Change]) -> Result<(), Refusal> {
        let acting = self.acting(ADMIN, "admin", Clearance::Admin, &self.admin);
        acting.check(&self.state, &self.snapshot)?;
        guard::check(&acting, &self.state, &self.snapshot, changes)
    }

    fn of(&self, id: &str) -> Document {
        self.state.principal(id).expect("there").document()
    }

    fn put(&mut self, document: Document) {
        self.state = self.state.apply(self.state.entries(), &Change::put(document)).expect("good");
    }
}

fn leaf_of(certificate: &Certificate) -> CallingLeaf {
    CallingLeaf { fingerprint: certificate.fingerprint, der: certificate.der.clone(), intermediates: Box::default() }
}

fn remove(id: &str) -> Change {
    Change::PrincipalRemove { id: id.to_owned(), name: String::new() }
}

#[test]
fn a_token_that_ended_while_its_call_was_read_changes_nothing() {
    let mut world = World::new();
    let now = crate::clock::wall().as_secs();
    let by = |world: &World, expires| {
        let leaf = Some(leaf_of(&world.admin));
        let name = "admin".parse().expect("a name");
        let principal = CallingPrincipal { id: ADMIN.parse().expect("an id"), name, clearance: Clearance::Admin, basis: Basis::Pin };
        let token = Token { id: TokenId::from_random([7; 16]), issued: now - 60, expires, bound: None };
        let caller = Caller { principal: Some(principal), token: Some(token), leaf, ..Caller::local("r") };
        Acting::of(&Caller { via: Via::Tls, ..caller }).check(&world.state, &world.snapshot)
    };
    assert_eq!((by(&world, now + 600), by(&world, now)), (Ok(()), Err(Refusal::ClearanceTooLow)), "it expired meanwhile");
    let revoked = Change::revoke_token(TokenId::from_random([7; 16]), now + 600, ADMIN.parse().expect("an id"));
    world.state = world.state.apply(world.state.entries(), &revoked).expect("good");
    assert_eq!(by(&world, now + 600), Err(Refusal::ClearanceTooLow), "it was taken back meanwhile");
}

#[test]
fn an_operator_manages_operators_and_users() {
    let world = World::new();
    let other = certificate("other");
    for change in [
        Change::put(document(NEW, "new", "user", &other)),
        Change::put(document(NEW, "new", "operator", &other)),
        Change::put(Document { enabled: false, ..world.of(USER) }),
        remove(USER),
        Change::revoke(&world.user.fingerprint.to_string(), None),
        Change::revoke(&format!("sha256:{}", certificate("nobody").fingerprint), None),
    ] {
        assert_eq!(world.operator(std::slice::from_ref(&change)), Ok(()), "{change:?}");
    }
}

#[test]
fn an_operator_changes_nothing_about_those_above_it() {
    let world = World::new();
    let other = certificate("other");
    let renamed = |id: &str, name: &str| Change::put(Document { name: name.to_owned(), ..world.of(id) });
    let with_admins = |mut document: Document| {
        document.spki_pins.push(world.admin.spki_pin.to_string());
        Change::put(document)
    };
    let mut added = world.of(ADMIN);
    added.certificates.push(CertificateDocument::of(&other, CertificateSource::Registered));
    for change in [
        Change::put(document(NEW, "new", "admin", &other)),
        Change::put(document(NEW, "new", "node", &other)),
        Change::put(Document { clearance: Some("admin".to_owned()), ..world.of(OPERATOR) }),
        Change::put(Document { clearance: Some("admin".to_owned()), ..world.of(USER) }),
        Change::put(Document { clearance: None, ..world.of(ADMIN) }),
        Change::put(Document { enabled: false, ..world.of(ADMIN) }),
        Change::put(added),
        renamed(ADMIN, "elsewhere"),
        remove(ADMIN),
        // By side effect.
        Change::revoke(&world.admin.fingerprint.to_string(), None),
        Change::revoke(&format!("spki:{}", world.admin.spki_pin.to_string().trim_start_matches("sha256/")), None),
        Change::revoke(&format!("serial:{}", world.admin.serial_hex()), None),
        Change::revoke(&format!("sha1:{}", hex(&world.admin.sha1())), None),
        with_admins(world.of(USER)),
    ] {
        assert_eq!(world.operator(std::slice::from_ref(&change)), Err(Refusal::ClearanceTooLow), "{change:?}");
    }
    // Nor by giving its certificate to somebody else, whatever else is in the same change.
    let theirs = document(USER, "user", "user", &world.admin);
    assert!(world.operator(&[Change::put(theirs.clone())]).is_err());
    assert_eq!(world.operator(&[remove(ADMIN), Change::put(theirs)]), Err(Refusal::ClearanceTooLow));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn an_operator_cannot_revoke_a_key_by_a_certificate_of_its_own_making() {
    let mut world = World::new();
    let key = KeyPair::generate().expect("a key");
    let (admins, forged) = (certificate_of("admin", &key), certificate_of("forged", &key));
    world.put(document(ADMIN, "admin", "admin", &admins));
    // Whoever revokes one of a line of renewed certificates means their key: which is an admin's, too.
    world.put(Document { renewal: Some("same-key".to_owned()), ..document(USER, "user", "user", &forged) });
    let revoked = Change::revoke(&forged.fingerprint.to_string(), None);
    assert_eq!(world.operator(&[revoked]), Err(Refusal::ClearanceTooLow));
}

#[test]
fn where_admins_may_have_any_certificate_an_operator_names_none_that_it_does_not_show() {
    let mut world = World::new();
    world.put(Document { spki_pins: vec![certificate("key").spki_pin.to_string()], ..world.of(ADMIN) });
    let unseen = Document { fingerprints: vec!["11".repeat(32)], id: NEW.to_owned(), name: "new".to_owned(), ..Document::default() };
    let unseen = unseen.normalised().expect("good");
    assert_eq!(world.operator(&[Change::put(unseen)]), Err(Refusal::ClearanceTooLow));
    assert_eq!(world.operator(&[Change::revoke(&"22".repeat(32), None)]), Err(Refusal::ClearanceTooLow));
    // What it shows, or what is somebody's below, it may.
    assert_eq!(world.operator(&[Change::put(document(NEW, "new", "user", &certificate("shown")))]), Ok(()));
    assert_eq!(world.operator(&[Change::revoke(&world.user.fingerprint.to_string(), None)]), Ok(()));
}

#[test]
fn who_has_lost_its_rank_changes_nothing_any_more() {
    let mut world = World::new();
    world.put(Document { clearance: None, ..world.of(OPERATOR) });
    assert_eq!(world.operator(&[remove(USER)]), Err(Refusal::ClearanceTooLow));
    let mut world = World::new();
    let revoked = Change::revoke(&world.operator.fingerprint.to_string(), None);
    world.state = world.state.apply(3, &revoked).expect("good");
    assert_eq!(world.operator(&[remove(USER)]), Err(Refusal::ClearanceTooLow));
    let mut world = World::new();
    world.put(document(OPERATOR, "operator", "operator", &certificate("another")));
    assert_eq!(world.operator(&[remove(USER)]), Err(Refusal::ClearanceTooLow), "its certificate is nobody's now");
}

#[test]
fn the_last_admin_stays() {
    let mut world = World::new();
    let own = Change::revoke(&world.admin.fingerprint.to_string(), None);
    let disabled = Change::put(Document { enabled: false, ..world.of(ADMIN) });
    let demoted = Change::put(Document { clearance: None, ..world.of(ADMIN) });
    let local = Acting::of(&Caller::local("r"));
    let locally = |world: &World, change: &Change| guard::check(&local, &world.state, &world.snapshot, std::slice::from_ref(change));
    for change in [own, remove(ADMIN), disabled, demoted.clone()] {
        assert_eq!(locally(&world, &change), Err(Refusal::LastAdmin), "{change:?}");
        assert_eq!(world.admin(std::slice::from_ref(&change)), Err(Refusal::LastAdmin), "{change:?}");
    }
    // Beside another one it may go.
    world.put(document(NEW, "second", "admin", &certificate("second")));
    assert_eq!(locally(&world, &remove(ADMIN)), Ok(()));
    assert_eq!(locally(&world, &demoted), Ok(()));
    // But not both at once.
    let both = [remove(ADMIN), remove(NEW)];
    assert_eq!(guard::check(&local, &world.state, &world.snapshot, &both), Err(Refusal::LastAdmin));
}

#[test]
fn what_is_protected_is_not_deleted() {
    let mut world = World::new();
    world.put(Document { protected: true, ..world.of(USER) });
    assert_eq!(world.admin(&[remove(USER)]), Err(Refusal::Protected));
    assert_eq!(world.admin(&[Change::put(Document { protected: false, ..world.of(USER) }), remove(USER)]), Ok(()));
}

#[test]
fn the_server_certificate_registers_the_first_admin_and_nobody_else() {
    let empty = State::default();
    let (mut world, server) = (World::new(), certificate("gate"));
    world.serves(BootstrapMode::FirstAdmin, &server);
    let acting = Acting::of(&Caller { leaf: Some(leaf_of(&server)), via: Via::Bootstrap, ..Caller::local("r") });
    let check = |state: &State, changes: &[Change]| {
        acting.check(state, &world.snapshot)?;
        guard::check(&acting, state, &world.snapshot, changes)
    };
    let other = certificate("other");
    assert_eq!(check(&empty, &[Change::put(document(NEW, "new", "admin", &other))]), Ok(()));
    for change in [
        Change::put(document(NEW, "new", "user", &other)),
        Change::put(document(NEW, "new", "operator", &other)),
        Change::revoke(&other.fingerprint.to_string(), None),
        remove(NEW),
    ] {
        assert_eq!(check(&empty, std::slice::from_ref(&change)), Err(Refusal::ClearanceTooLow), "{change:?}");
    }
    let two = [Change::put(document(NEW, "new", "admin", &other)), Change::put(document(USER, "user", "user", &world.user))];
    assert_eq!(check(&empty, &two), Err(Refusal::ClearanceTooLow));
    let closed = empty.apply(0, &Change::BootstrapClosed {}).expect("good");
    assert_eq!(check(&closed, &[Change::put(document(NEW, "new", "admin", &other))]), Err(Refusal::BootstrapClosed));
}

/// The mode may change while a call is under way: its right is asked for again where it is carried out.
#[test]
fn the_server_certificate_is_an_admin_no_longer_than_the_rules_say() {
    let (mut world, server, other) = (World::new(), certificate("gate"), certificate("other"));
    let name: PrincipalName = "the-server".parse().expect("a name");
    let basis = Basis::ServerCertificate { first_only: false };
    let principal = CallingPrincipal { id: PrincipalId::derived(&name), name, clearance: Clearance::Admin, basis };
    let caller = Caller { leaf: Some(leaf_of(&server)), principal: Some(principal), via: Via::Tls, ..Caller::local("r") };
    let (always, first) = (Acting::of(&caller), Acting::of(&Caller { via: Via::Bootstrap, ..caller }));
    let refused = Err(Refusal::ClearanceTooLow);
    for (mode, served, expected) in [
        (BootstrapMode::Always, &server, [Ok(()), Ok(())]),
        (BootstrapMode::FirstAdmin, &server, [refused.clone(), Ok(())]),
        (BootstrapMode::Closed, &server, [refused.clone(), refused.clone()]),
        (BootstrapMode::Always, &other, [refused.clone(), refused.clone()]),
    ] {
        world.serves(mode, served);
        let state = State::default();
        assert_eq!([&always, &first].map(|acting| acting.check(&state, &world.snapshot)), expected, "{mode:?}");
        let revoked = state.apply(0, &Change::revoke(&format!("sha256:{}", server.fingerprint), None)).expect("good");
        assert_eq!([&always, &first].map(|acting| acting.check(&revoked, &world.snapshot)), [refused.clone(), refused.clone()], "{mode:?}");
    }
}

#[test]
fn of_many_changes_those_that_may_be_made_are_and_the_last_admin_stays() {
    let mut world = World::new();
    world.put(document(NEW, "second", "admin", &certificate("second")));
    let local = Acting::of(&Caller::local("r"));
    let all = vec![remove(ADMIN), remove(USER), remove(NEW), remove("p-eeeeeeeeeeee")];
    let (may, may_not) = guard::sift(&local, &world.state, &world.snapshot, all);
    assert_eq!(may, [remove(ADMIN), remove(USER), remove("p-eeeeeeeeeeee")], "what is not there is said by whoever makes it");
    assert_eq!(may_not, [(remove(NEW), Refusal::LastAdmin)]);
    // An operator takes away what is below it, and not what is protected.
    world.put(Document { protected: true, ..document("p-ffffffffffff", "kept", "user", &certificate("kept")) });
    let operator = world.acting(OPERATOR, "operator", Clearance::Operator, &world.operator);
    let all = vec![remove(ADMIN), remove("p-ffffffffffff"), remove(USER)];
    let (may, may_not) = guard::sift(&operator, &world.state, &world.snapshot, all);
    assert_eq!(may, [remove(USER)]);
    let why: Vec<Refusal> = may_not.into_iter().map(|(_, why)| why).collect();
    assert_eq!(why, [Refusal::ClearanceTooLow, Refusal::Protected]);
}
