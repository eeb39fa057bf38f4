//! Tokens and answered challenges: judged by the certificate that they were given for.

use std::rc::Rc;

use super::super::testing::*;
use super::super::*;
use crate::pki::Fingerprint;

const HOUR: u64 = 3_600;

fn id(name: &str) -> PrincipalId {
    PrincipalId::derived(&name.parse().unwrap())
}

fn token(byte: u8) -> Token {
    Token { id: TokenId::from_random([byte; 16]), issued: NOW - HOUR, expires: NOW + HOUR, bound: None }
}

fn shown(leaf: &crate::pki::Certificate, of: &str, token: Option<Token>) -> Candidate {
    Candidate::claimed(std::slice::from_ref(&leaf.der), Claims { principal: id(of), token }).unwrap()
}

fn judged(snapshot: &Snapshot, candidate: &Candidate) -> String {
    let decision = snapshot.decide(Some(candidate), &request(&route()), at(NOW));
    if let Some(denial) = decision.denial() {
        assert_eq!(decision.steps.iter().last().and_then(|step| step.denial), Some(denial), "the last step is the one that failed");
    }
    told(&decision)
}

#[test]
fn a_token_is_worth_what_its_certificate_is() {
    let ((alice, _), (bob, _), (stranger, _)) = (self_signed("alice"), self_signed("bob"), self_signed("stranger"));
    let world = || World::default().pin("alice", &alice).pin("bob", &bob);
    let snapshot = world().snapshot();
    let revoked = world().revoke(&format!("sha256:{}", alice.fingerprint)).snapshot();
    let disabled =
        World::default().principal("alice", Terms { enabled: false, ..terms() }, vec![Credential::Pin((&alice).into())]).snapshot();
    let elsewhere = Terms { client_ips: Some(vec!["198.51.100.0/24".parse().unwrap()]), ..terms() };
    let elsewhere = World::default().principal("alice", elsewhere, vec![Credential::Pin((&alice).into())]).snapshot();
    let moved = World::default().pin("bob", &alice).snapshot();
    for (what, snapshot, leaf, of, expected) in [
        ("listed", &snapshot, &alice, "alice", "admit alice"),
        ("another's certificate", &snapshot, &bob, "alice", "token_invalid"),
        ("nobody's certificate", &snapshot, &stranger, "alice", "not_listed"),
        ("revoked", &revoked, &alice, "alice", "revoked"),
        ("disabled", &disabled, &alice, "alice", "principal_disabled"),
        ("from elsewhere", &elsewhere, &alice, "alice", "client_ip_denied"),
        ("another's by now", &moved, &alice, "alice", "token_invalid"),
    ] {
        assert_eq!(judged(snapshot, &shown(leaf, of, Some(token(1)))), expected, "{what}");
    }
    // An answered challenge, likewise; there the access id is what was asked for.
    assert_eq!(judged(&snapshot, &shown(&alice, "alice", None)), "admit alice");
    assert_eq!(judged(&snapshot, &shown(&bob, "alice", None)), "not_listed");
    assert_eq!(judged(&snapshot, &Candidate::worthless("made up")), "token_invalid");
}

#[test]
fn a_token_has_its_time() {
    let (alice, _) = self_signed("alice");
    let snapshot = World::default().pin("alice", &alice).snapshot();
    for (what, issued, expires, expected) in [
        ("in time", NOW, NOW + 1, "admit alice"),
        ("its last second is over", NOW - HOUR, NOW, "token_expired"),
        ("long over", 0, 1, "token_expired"),
        ("from the future", NOW + 1, NOW + HOUR, "token_invalid"),
    ] {
        assert_eq!(judged(&snapshot, &shown(&alice, "alice", Some(Token { issued, expires, ..token(1) }))), expected, "{what}");
    }
    let decision = snapshot.decide(Some(&shown(&alice, "alice", Some(token(1)))), &request(&route()), at(NOW));
    assert_eq!(decision.valid_until, at(NOW + HOUR), "asked again when it expires");
    let skewed = World::default().pin("alice", &alice).skew(60).snapshot();
    assert_eq!(judged(&skewed, &shown(&alice, "alice", Some(Token { issued: NOW + 60, ..token(1) }))), "admit alice");
}

#[test]
fn a_token_that_was_taken_back_is_none() {
    let ((alice, _), (bob, _)) = (self_signed("alice"), self_signed("bob"));
    let mut revoked = RevokedTokens::default();
    revoked.one(TokenId::from_random([1; 16]), 7);
    revoked.all(id("bob"), NOW - HOUR, 8);
    let mut world = World::default().pin("alice", &alice).pin("bob", &bob);
    world.revocation.tokens(revoked);
    let snapshot = world.snapshot();
    for (leaf, of, token, expected) in [
        (&alice, "alice", token(1), "token_invalid"),
        (&alice, "alice", token(2), "admit alice"),
        (&bob, "bob", token(2), "token_invalid"),
        (&bob, "bob", Token { issued: NOW - HOUR + 1, ..token(2) }, "admit bob"),
    ] {
        assert_eq!(judged(&snapshot, &shown(leaf, of, Some(token))), expected);
    }
    assert!(
        findings(&snapshot.decide(Some(&shown(&alice, "alice", Some(token(1)))), &request(&route()), at(NOW))).contains("ledger entry 7")
    );
}

#[test]
fn the_certificate_of_the_connection_has_a_say() {
    let ((alice, _), (second, _), (bob, _), (stranger, _)) =
        (self_signed("alice"), self_signed("second"), self_signed("bob"), self_signed("stranger"));
    let pins = vec![Credential::Pin((&alice).into()), Credential::Pin((&second).into())];
    let snapshot = World::default().principal("alice", terms(), pins).pin("bob", &bob).snapshot();
    let bound = |to: &crate::pki::Certificate| Token { bound: Some(to.fingerprint), ..token(1) };
    for (what, token, beside, expected) in [
        ("the same", token(1), Some(&alice), "admit alice"),
        ("another of the same principal", token(1), Some(&second), "admit alice"),
        ("another principal's", token(1), Some(&bob), "token_invalid"),
        ("a stranger's", token(1), Some(&stranger), "not_listed"),
        ("bound, and there", bound(&alice), Some(&alice), "admit alice"),
        ("bound to another of the same principal", bound(&second), Some(&alice), "token_invalid"),
        ("bound, and none", bound(&alice), None, "token_invalid"),
    ] {
        let beside = beside.map(|leaf| Rc::new(candidate(leaf, &[])));
        assert_eq!(judged(&snapshot, &shown(&alice, "alice", Some(token)).beside(beside)), expected, "{what}");
    }
    let beside = Some(Rc::new(candidate(&stranger, &[])));
    assert_eq!(judged(&snapshot, &Candidate::worthless("made up").beside(beside)), "not_listed", "its certificate is denied first");
}

#[test]
fn our_own_certificate_begins_by_no_token() {
    let (server, _) = self_signed("server");
    let snapshot = World::default().snapshot();
    let fingerprints = [server.fingerprint].into_iter().collect();
    let bootstrap = Bootstrap::new(BootstrapMode::FirstAdmin, fingerprints, Provenance { file: "test".into(), line: 1 });
    let snapshot = Snapshot { bootstrap, ..snapshot };
    let scope = Scope { request: None, control: true, ..request_less() };
    let first = candidate(&server, &[]);
    let decision = snapshot.decide(Some(&first), &scope, at(NOW));
    let owner = decision.admission().expect("it begins").principal.id;
    for token in [None, Some(token(1))] {
        let claims = Claims { principal: owner, token };
        let claimed = Candidate::claimed(std::slice::from_ref(&server.der), claims).unwrap();
        assert_eq!(told(&snapshot.decide(Some(&claimed), &scope, at(NOW))), "not_listed");
    }
}

fn request_less() -> Scope<'static> {
    Scope { address: ClientAddress::Settled("192.0.2.7".parse().unwrap()), request: None, control: false }
}

#[test]
fn an_id_has_one_spelling() {
    let id = TokenId::from_random([0xab; 16]);
    assert_eq!(id.to_string().parse(), Ok(id));
    for text in ["", "ab", &"AB".repeat(16), &"ab".repeat(17), &"ab:".repeat(16), &"zz".repeat(16)] {
        assert!(text.parse::<TokenId>().is_err(), "{text}");
    }
    assert_eq!(Fingerprint::of(b"").to_string().parse::<TokenId>().ok(), None);
}
