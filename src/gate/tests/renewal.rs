//! Renewals: who is told, when, and how often.

use super::*;

/// A pinned certificate, a renewal, one that would be but for its lifetime, and the terms of who pins the first.
fn renewing() -> ([Rc<Candidate>; 3], Terms) {
    let key = rcgen::KeyPair::generate().unwrap();
    let make = |until| {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "alice");
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2026, 12, 1), rcgen::date_time_ymd(until, 12, 1));
        Rc::new(Candidate::presented(&[params.self_signed(&key).unwrap().der().clone()]).unwrap())
    };
    let made = [make(2027), make(2027), make(2028)];
    let certificate = Arc::new(made[0].leaf().unwrap().clone());
    let pinned = [crate::admission::Predecessor { certificate, issuer: None, renewed: None }];
    let terms = Terms { renewal: crate::admission::Renewal::SameKey(pinned.into()), ..may(Access::Write) };
    (made, terms)
}

#[test]
fn a_renewal_is_told_once_its_key_was_proven_and_each_certificate_once() {
    let ([old, new, _], terms) = renewing();
    let world = World::with(&[("alice", &old, terms.clone())]);
    let told = Rc::new(RefCell::new(Vec::new()));
    let listener = Rc::clone(&told);
    world.gate.on_renewed(Rc::new(move |renewed| listener.borrow_mut().push(renewed)));

    // A handshake judges before the key is proven: that tells nobody.
    assert!(world.gate.decide(Some(&new), &Scope { address: PEER, request: None, control: false }).admission().is_some());
    world.open(&old).unwrap();
    assert!(told.borrow().is_empty(), "neither unproven, nor the pin itself");

    let standing = world.open(&new).unwrap();
    assert_eq!(told.borrow().len(), 1);
    {
        let told = told.borrow();
        let renewed = &told[0];
        assert_eq!((renewed.principal.name.as_str(), renewed.generation), ("alice", 1));
        assert_eq!(renewed.certificate, new.leaf().unwrap().der);
        assert_eq!(renewed.predecessor, old.leaf().unwrap().fingerprint);
    }
    let route = route(RouteAuth::Required);
    let grant = standing.check(&asks(&route, Access::Write)).unwrap();
    assert!(grant.leaf().is_some(), "the same rights at once, and its names");
    world.open(&new).unwrap();
    assert_eq!(told.borrow().len(), 1, "each certificate once");
    world.clock.set(NOW + 3_600);
    world.open(&new).unwrap();
    assert_eq!(told.borrow().len(), 2, "still no pin after an hour: told again");
}

#[test]
fn a_renewal_that_was_pinned_goes_on_and_one_whose_key_is_lost_does_not() {
    let ([old, new, _], terms) = renewing();
    let mut world = World::with(&[("alice", &old, terms.clone())]);
    let standing = world.open(&new).unwrap();
    world.install(&[("alice", &new, may(Access::Write))]);
    assert_eq!(standing.denied(), None, "pinned by now");
    world.install(&[("alice", &old, terms)]);
    assert_eq!(standing.denied(), None, "a renewal again");
    world.install(&[("alice", &old, may(Access::Write))]);
    assert_eq!(standing.denied(), Some(Denial::NotListed));
}

#[test]
fn a_failed_renewal_is_refused_by_its_code_and_told_nobody() {
    let ([old, _, too_long], terms) = renewing();
    let world = World::with(&[("alice", &old, terms)]);
    world.gate.on_renewed(Rc::new(|renewed| panic!("{renewed:?}")));
    assert_eq!(world.open(&too_long).err(), Some(Denial::IssuerUnknown));
    assert!(world.denials("issuer_unknown"));
    let standing = world.open_as(Some(&too_long), true).unwrap();
    assert_eq!(standing.check(&asks(&route(RouteAuth::Required), Access::Read)).err(), Some(Denial::IssuerUnknown));
}
