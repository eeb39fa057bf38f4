//! Conditions and permissions: what an admitted client may do, when, from where and from which page.

use super::super::testing::*;
use super::super::*;
use crate::pki::Certificate;

fn pinned(terms: Terms) -> (Snapshot, Certificate) {
    let (leaf, _) = self_signed("alice");
    (World::default().principal("alice", terms, vec![Credential::Pin((&leaf).into())]).snapshot(), leaf)
}

#[test]
fn routes_say_whether_anybody_is_asked() {
    let (snapshot, leaf) = pinned(terms());
    let (known, stranger) = (candidate(&leaf, &[]), candidate(&self_signed("eve").0, &[]));
    let on = |auth, candidate| {
        let route = RouteScope { auth, ..route() };
        told(&snapshot.decide(candidate, &request(&route), at(NOW)))
    };
    for (auth, nobody, known_told, stranger_told) in [
        (RouteAuth::Required, "no_credential", "admit alice", "not_listed"),
        (RouteAuth::Optional, "open", "admit alice", "not_listed"),
        (RouteAuth::None, "open", "open", "open"),
    ] {
        assert_eq!(on(auth, None), nobody, "{auth:?}");
        assert_eq!(on(auth, Some(&known)), known_told, "{auth:?}");
        assert_eq!(on(auth, Some(&stranger)), stranger_told, "{auth:?}");
    }
}

#[test]
fn a_connection_is_judged_without_routes_and_surfaces() {
    let (snapshot, leaf) = pinned(Terms { permissions: vec![], serve: Some(vec![Surface::Admin]), ..terms() });
    let route = route();
    let scope = request(&route);
    let connection = Scope { request: None, ..scope };
    let no_route =
        Scope { request: scope.request.map(|request| RequestScope { route: None, surface: Surface::Admin, ..request }), ..scope };
    let candidate = candidate(&leaf, &[]);
    let decide = |scope: &Scope<'_>| snapshot.decide(Some(&candidate), scope, at(NOW));
    assert_eq!(told(&decide(&connection)), "admit alice");
    assert_eq!(decide(&connection).admission().unwrap().access, None);
    assert_eq!(told(&decide(&no_route)), "admit alice", "no route: the client only, and its surface");
    assert_eq!(told(&decide(&scope)), "surface_denied");
    assert_eq!(told(&snapshot.decide(None, &connection, at(NOW))), "no_credential");
}

#[test]
fn a_principal_has_its_time() {
    let until = |from: Option<u64>, until: Option<u64>| Terms { valid_from: from.map(at), valid_until: until.map(at), ..terms() };
    for (what, terms, expected, valid_until) in [
        ("always", until(None, None), "admit alice", NOW + DAY + 1),
        ("disabled", Terms { enabled: false, ..terms() }, "principal_disabled", NOW + DAY + 1),
        ("until now", until(None, Some(NOW)), "admit alice", NOW + 1),
        ("until a second ago", until(None, Some(NOW - 1)), "principal_expired", NOW + DAY + 1),
        ("from now on", until(Some(NOW), None), "admit alice", NOW + DAY + 1),
        ("from the next second on", until(Some(NOW + 1), None), "principal_expired", NOW + 1),
    ] {
        let (snapshot, leaf) = pinned(terms);
        let decision = ask(&snapshot, &leaf, &[]);
        assert_eq!((told(&decision).as_str(), decision.valid_until.as_secs()), (expected, valid_until), "{what}");
    }
}

#[test]
fn addresses_are_judged_once_they_are_settled() {
    let (snapshot, leaf) =
        pinned(Terms { client_ips: Some(vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()]), ..terms() });
    let candidate = candidate(&leaf, &[]);
    let ip = |text: &str| text.parse().unwrap();
    let route = route();
    for (address, at_request, at_connection) in [
        (ClientAddress::Settled(ip("192.0.2.1")), "admit alice", "admit alice"),
        (ClientAddress::Settled(ip("::ffff:192.0.2.1")), "admit alice", "admit alice"),
        (ClientAddress::Settled(ip("2001:db8::1")), "admit alice", "admit alice"),
        (ClientAddress::Settled(ip("198.51.100.1")), "client_ip_denied", "client_ip_denied"),
        (ClientAddress::Unsettled(ip("198.51.100.1")), "client_ip_denied", "admit alice"),
        (ClientAddress::Unknown, "client_ip_denied", "client_ip_denied"),
    ] {
        let scope = Scope { address, ..request(&route) };
        assert_eq!(told(&snapshot.decide(Some(&candidate), &scope, at(NOW))), at_request, "{address:?}");
        assert_eq!(told(&snapshot.decide(Some(&candidate), &Scope { request: None, ..scope }, at(NOW))), at_connection, "{address:?}");
    }
}

#[test]
fn a_page_of_another_site_may_not_use_the_clients_certificate() {
    let (snapshot, leaf) = pinned(Terms { cors_origins: vec!["https://*.example.com".parse().unwrap()], ..terms() });
    let candidate = candidate(&leaf, &[]);
    let lenient = RouteScope { csrf: false, ..route() };
    let strict = route();
    for (origin, unsafe_method, expected) in [
        (Origin::Absent, true, "admit alice"),
        (Origin::Same, true, "admit alice"),
        (Origin::Other("https://app.example.com"), true, "admit alice"),
        (Origin::Other("https://evil.example"), true, "origin_denied"),
        (Origin::Other("null"), true, "origin_denied"),
        (Origin::CrossSite, true, "origin_denied"),
        (Origin::Other("https://evil.example"), false, "admit alice"),
        (Origin::CrossSite, false, "admit alice"),
    ] {
        let on = |route| {
            let scope = request(route);
            let scope = Scope { request: scope.request.map(|request| RequestScope { origin, unsafe_method, ..request }), ..scope };
            told(&snapshot.decide(Some(&candidate), &scope, at(NOW)))
        };
        assert_eq!(on(&strict), expected, "{origin:?} {unsafe_method}");
        assert_eq!(on(&lenient), "admit alice", "csrf = off: {origin:?} {unsafe_method}");
    }
}

#[test]
fn preflights_are_answered_for_whoever_can_reach_the_route() {
    let origin = "https://app.example.com";
    let with = |terms: Terms| pinned(Terms { cors_origins: vec![origin.parse().unwrap()], ..terms }).0;
    let (orders, other) = (route(), RouteScope { name: "other".into(), ..route() });
    let deny = Terms { permissions: vec![permission("*", Some(Access::Read)), permission("other", None)], ..terms() };
    for (what, snapshot, on_orders, on_other) in [
        ("a reader of orders", with(terms()), true, false),
        ("an admin", with(Terms { clearance: Clearance::Admin, permissions: vec![], ..terms() }), true, true),
        ("one who is disabled", with(Terms { enabled: false, ..terms() }), false, false),
        ("one who is denied the other", with(deny), true, false),
        ("nobody with origins", pinned(terms()).0, false, false),
    ] {
        assert_eq!(snapshot.preflight_allows(&orders, origin), on_orders, "{what}");
        assert_eq!(snapshot.preflight_allows(&other, origin), on_other, "{what}");
        assert!(!snapshot.preflight_allows(&orders, "https://evil.example"), "{what}");
    }
}

#[test]
fn a_page_may_prove_a_key_where_somebody_who_may_do_so_lists_it() {
    let origin = "https://app.example.com";
    let with = |terms: Terms| pinned(Terms { cors_origins: vec![origin.parse().unwrap()], ..terms }).0;
    for (what, snapshot, expected) in [
        ("anybody", with(Terms { permissions: vec![], ..terms() }), true),
        ("one of this surface", with(Terms { serve: Some(vec![Surface::Challenge]), ..terms() }), true),
        ("one of another surface", with(Terms { serve: Some(vec![Surface::Proxy]), ..terms() }), false),
        ("one who is disabled", with(Terms { enabled: false, ..terms() }), false),
        ("nobody with origins", pinned(terms()).0, false),
    ] {
        assert_eq!(snapshot.preflight_allows_on(Surface::Challenge, origin), expected, "{what}");
        assert!(!snapshot.preflight_allows_on(Surface::Challenge, "https://evil.example"), "{what}");
    }
}

#[test]
fn deny_wins_then_the_highest_access() {
    let when = |attribute: Attribute, value: &str, access| Permission {
        when: vec![(attribute, vec![value.parse().unwrap()])],
        ..permission("orders", access)
    };
    let (read, write) = (Some(Access::Read), Some(Access::Write));
    for (what, permissions, clearance, needed, expected) in [
        ("none", vec![], Clearance::User, Access::Read, Err("not_permitted")),
        ("read for read", vec![permission("orders", read)], Clearance::User, Access::Read, Ok(Access::Read)),
        ("read for write", vec![permission("orders", read)], Clearance::User, Access::Write, Err("not_permitted")),
        ("write includes read", vec![permission("*", write)], Clearance::User, Access::Read, Ok(Access::Write)),
        ("the highest", vec![permission("*", read), permission("ord*", write)], Clearance::User, Access::Write, Ok(Access::Write)),
        ("another route", vec![permission("invoices", write)], Clearance::User, Access::Read, Err("not_permitted")),
        ("deny wins", vec![permission("*", write), permission("orders", None)], Clearance::User, Access::Read, Err("not_permitted")),
        ("deny of another", vec![permission("*", write), permission("x", None)], Clearance::User, Access::Write, Ok(Access::Write)),
        ("when holds", vec![when(Attribute::CommonName, "ali*", read)], Clearance::User, Access::Read, Ok(Access::Read)),
        ("when fails", vec![when(Attribute::CommonName, "bob", read)], Clearance::User, Access::Read, Err("not_permitted")),
        ("when of nothing", vec![when(Attribute::DnsSan, "*", read)], Clearance::User, Access::Read, Err("not_permitted")),
        (
            "deny when",
            vec![permission("*", write), when(Attribute::CommonName, "alice", None)],
            Clearance::User,
            Access::Read,
            Err("not_permitted"),
        ),
        ("admins skip", vec![permission("*", None)], Clearance::Admin, Access::Admin, Ok(Access::Admin)),
        ("operators do not", vec![], Clearance::Operator, Access::Read, Err("not_permitted")),
        ("nodes do not", vec![], Clearance::Node, Access::Read, Err("not_permitted")),
    ] {
        let (snapshot, leaf) = pinned(Terms { permissions, clearance, ..terms() });
        let route = route();
        let scope = request(&route);
        let scope = Scope { request: scope.request.map(|request| RequestScope { access: needed, ..request }), ..scope };
        let decision = snapshot.decide(Some(&candidate(&leaf, &[])), &scope, at(NOW));
        match expected {
            Ok(access) => assert_eq!(decision.admission().and_then(|admission| admission.access), Some(access), "{what}"),
            Err(code) => assert_eq!(told(&decision), code, "{what}"),
        }
        assert_eq!(decision.principal.map(|principal| principal.name.to_string()).as_deref(), Some("alice"), "{what}: for the log");
    }
}

#[test]
fn capitals_do_not_slip_past_a_deny() {
    let root = Ca::root("root");
    let leaf = root.leaf_with("x", |params| {
        params.subject_alt_names = vec![
            rcgen::SanType::DnsName("EVIL.Example.com".try_into().unwrap()),
            rcgen::SanType::Rfc822Name("Ann@EXAMPLE.com".try_into().unwrap()),
        ];
    });
    for (attribute, glob, denied) in [
        (Attribute::DnsSan, "evil.*", true),
        (Attribute::DnsSan, "*.EXAMPLE.com", true),
        (Attribute::EmailSan, "Ann@example.com", true),
        (Attribute::EmailSan, "ann@example.com", false),
        (Attribute::CommonName, "X", false),
    ] {
        let deny = Permission { when: vec![(attribute.clone(), vec![glob.parse().unwrap()])], ..permission("*", None) };
        let terms = Terms { permissions: vec![permission("*", Some(Access::Read)), deny], ..terms() };
        let snapshot = World::default().principal("ci", terms, vec![Credential::Authority(authority(&[&root], |_| {}))]).snapshot();
        assert_eq!(told(&ask(&snapshot, &leaf, &[])), if denied { "not_permitted" } else { "admit ci" }, "{attribute} {glob}");
    }
}

#[test]
fn a_call_asks_for_a_clearance_and_not_for_permissions() {
    for (has, needed, expected) in [
        (Clearance::User, None, "admit alice"),
        (Clearance::User, Some(Clearance::User), "admit alice"),
        (Clearance::User, Some(Clearance::Operator), "clearance_too_low"),
        (Clearance::User, Some(Clearance::Admin), "clearance_too_low"),
        (Clearance::Operator, Some(Clearance::User), "admit alice"),
        (Clearance::Operator, Some(Clearance::Operator), "admit alice"),
        (Clearance::Operator, Some(Clearance::Admin), "clearance_too_low"),
        (Clearance::Admin, Some(Clearance::Operator), "admit alice"),
        (Clearance::Admin, Some(Clearance::Admin), "admit alice"),
        // A gateway manages nothing, not even what a user may.
        (Clearance::Node, None, "admit alice"),
        (Clearance::Node, Some(Clearance::User), "clearance_too_low"),
        (Clearance::Admin, Some(Clearance::Node), "clearance_too_low"),
    ] {
        let (snapshot, leaf) = pinned(Terms { clearance: has, permissions: vec![], ..terms() });
        let call = call(Origin::Absent, needed);
        let decision = snapshot.decide(Some(&candidate(&leaf, &[])), &call, at(NOW));
        assert_eq!(told(&decision), expected, "{has:?} {needed:?}");
        assert!(decision.steps.iter().any(|step| step.rule == "clearance"), "{:?}", decision.steps);
        let nobody = snapshot.decide(None, &call, at(NOW));
        assert_eq!(told(&nobody), "no_credential");
    }
}

#[test]
fn a_page_of_another_origin_calls_nothing_that_changes_something() {
    let terms = Terms { clearance: Clearance::Admin, cors_origins: vec!["https://shop.example".parse().unwrap()], ..terms() };
    let (snapshot, leaf) = pinned(terms);
    for (origin, unsafe_method, expected) in [
        (Origin::Absent, true, "admit alice"),
        (Origin::Same, true, "admit alice"),
        (Origin::CrossSite, true, "origin_denied"),
        (Origin::Other("null"), true, "origin_denied"),
        (Origin::Other("https://shop.example"), true, "origin_denied"),
        (Origin::Other("https://evil.example"), false, "admit alice"),
    ] {
        let mut scope = call(origin, Some(Clearance::Admin));
        scope.request = scope.request.map(|request| RequestScope { unsafe_method, ..request });
        assert_eq!(told(&snapshot.decide(Some(&candidate(&leaf, &[])), &scope, at(NOW))), expected, "{origin:?} {unsafe_method}");
    }
}

/// A call on the admin surface.
fn call(origin: Origin<'_>, clearance: Option<Clearance>) -> Scope<'_> {
    let request =
        RequestScope { surface: Surface::Admin, route: None, access: Access::Write, clearance, begins: true, origin, unsafe_method: true };
    Scope { address: ClientAddress::Settled("192.0.2.7".parse().unwrap()), request: Some(request), control: false }
}
