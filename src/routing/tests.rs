//! Routes, access rules and 421, in tables.

use http::Method;

use super::*;
use crate::admission::RouteAuth;

fn route(name: &str, hosts: &[&str], path: &str) -> Route {
    let pattern =
        |host: &&str| if host.starts_with("*.") { HostPattern::Wildcard((*host).into()) } else { HostPattern::Exact((*host).into()) };
    Route {
        scope: RouteScope { name: name.into(), auth: RouteAuth::Required, csrf: true },
        upstream: "u".into(),
        hosts: hosts.iter().map(pattern).collect(),
        path: path.into(),
        upgrades: Vec::new(),
        rules: Vec::new(),
        case_sensitive: true,
        keep_encoded_slash: false,
        judge_without_parameters: false,
        policy: "everybody".into(),
    }
}

fn rule(methods: &[Method], path: &str, access: Access) -> AccessRule {
    AccessRule { methods: methods.to_vec(), path: path.into(), access }
}

fn normal(path: &str) -> NormalPath<'_> {
    path::normalise(path).unwrap()
}

fn found<'a>(routes: &'a Routes, host: &str, path: &str) -> Option<&'a str> {
    routes.find(host, &normal(path)).map(|route| &*route.scope.name)
}

#[test]
fn the_most_exact_host_wins_then_the_longest_prefix() {
    let routes = Routes::compile(vec![
        route("any", &[], "/"),
        route("any-orders", &[], "/orders/"),
        route("exact", &["api.example.com"], "/"),
        route("exact-a", &["api.example.com"], "/a"),
        route("exact-a-b", &["api.example.com"], "/a/b/"),
        route("exact-a-b2", &["api.example.com"], "/a-b"),
        route("wild", &["*.example.com"], "/"),
        route("wild-deep", &["*.deep.example.com"], "/x"),
        route("only-x", &["only.example.net"], "/x/"),
    ])
    .unwrap();
    let table = [
        ("api.example.com", "/", Some("exact")),
        ("api.example.com", "/orders/1", Some("exact")),
        ("api.example.com", "/a", Some("exact-a")),
        ("api.example.com", "/a/", Some("exact-a")),
        ("api.example.com", "/a/c", Some("exact-a")),
        ("api.example.com", "/ab", Some("exact")),
        ("api.example.com", "/a-b", Some("exact-a-b2")),
        ("api.example.com", "/a-c", Some("exact")),
        ("api.example.com", "/a/b", Some("exact-a-b")),
        ("api.example.com", "/a/b/c", Some("exact-a-b")),
        ("api.example.com", "/a/bc", Some("exact-a")),
        ("other.example.com", "/a", Some("wild")),
        ("a.b.example.com", "/a", Some("wild")),
        ("example.com", "/", Some("any")),
        ("x.deep.example.com", "/x/1", Some("wild-deep")),
        ("x.deep.example.com", "/y", Some("wild")),
        ("only.example.net", "/x", Some("only-x")),
        ("only.example.net", "/orders", Some("any-orders")),
        ("elsewhere", "/orders", Some("any-orders")),
        ("elsewhere", "/ordersx", Some("any")),
        ("[::1]", "/orders/", Some("any-orders")),
        ("elsewhere", "*", None),
    ];
    for (host, path, expected) in table {
        assert_eq!(found(&routes, host, path), expected, "{host} {path}");
    }
    assert_eq!(routes.iter().count(), 9);
    assert_eq!(found(&Routes::default(), "a", "/"), None);
}

#[test]
fn a_tie_is_an_error() {
    let folded = |path| Route { case_sensitive: false, ..route("f", &[], path) };
    let table = [
        (vec![route("a", &[], "/x"), route("b", &[], "/y"), route("c", &[], "/x/")], Some((0, 2))),
        (vec![route("a", &["h"], "/x"), route("b", &["H"], "/x")], Some((0, 1))),
        (vec![route("a", &["*.h"], "/"), route("b", &["*.h"], "/")], Some((0, 1))),
        (vec![route("a", &[], "/X"), route("b", &[], "/x")], None),
        (vec![route("a", &[], "/X"), folded("/x")], Some((0, 1))),
        (vec![folded("/X"), folded("/x")], Some((0, 1))),
        (vec![route("a", &["h", "H"], "/x")], None),
        (vec![route("a", &["h"], "/x"), route("b", &["*.h"], "/x"), route("c", &[], "/x")], None),
    ];
    for (case, (routes, expected)) in table.into_iter().enumerate() {
        let tie = Routes::compile(routes).err();
        assert_eq!(tie, expected.map(|(first, second)| Tie { first, second }), "case {case}");
    }
}

#[test]
fn an_address_is_a_host_too() {
    for spelling in ["2001:DB8::1", "[2001:db8:0::1]"] {
        let routes = Routes::compile(vec![route("six", &[spelling], "/"), route("four", &["192.0.2.1"], "/")]).unwrap();
        assert_eq!(found(&routes, &Authority::parse("[2001:db8::0:1]:8443").unwrap().host, "/"), Some("six"), "{spelling}");
        assert_eq!(found(&routes, "192.0.2.1", "/"), Some("four"));
    }
}

#[test]
fn a_rule_that_could_never_match_is_noticed() {
    let table = [
        ("/orders/search", "/orders/", true),
        ("/orders", "/orders/", true),
        ("/orders/**", "/orders/", true),
        ("/**", "/orders/", true),
        ("/*/admin", "/orders/", true),
        ("/*", "/orders", true),
        ("/x", "/", true),
        ("/", "/", true),
        ("/", "/orders/", false),
        ("/order/**", "/orders/", false),
        ("/Orders/x", "/orders/", false),
        ("/a/x", "/a/b/", false),
        ("/a", "/a/b/", false),
        ("/a/**", "/a/b/", true),
        ("/orders/admin*", "/orders/", false),
        ("/orders/**/keys", "/orders/", false),
        ("/orders/x**", "/orders/", false),
    ];
    for (rule, route, expected) in table {
        assert_eq!(check_rule_path(rule, route, true).is_ok(), expected, "{rule} on {route}");
    }
    assert!(check_rule_path("/Orders/x", "/orders/", false).is_ok());
}

#[test]
fn a_route_may_take_any_case() {
    let routes = Routes::compile(vec![
        Route { case_sensitive: false, rules: vec![rule(&[], "/Admin/keys/*", Access::Admin)], ..route("admin", &[], "/Admin/") },
        route("rest", &[], "/"),
    ])
    .unwrap();
    for path in ["/admin", "/ADMIN/keys/1", "/Admin/x"] {
        assert_eq!(found(&routes, "h", path), Some("admin"), "{path}");
    }
    let route = routes.find("h", &normal("/aDmin/KEYS/x")).unwrap();
    assert_eq!(route.access(&Method::GET, &normal("/aDmin/KEYS/x"), false), Access::Admin);
}

#[test]
fn the_first_rule_that_matches_says_what_is_needed() {
    let route = Route {
        rules: vec![
            rule(&[Method::POST], "/orders/search", Access::Read),
            rule(&[], "/orders/admin/**", Access::Admin),
            rule(&[Method::GET], "/orders/*/secret", Access::Write),
            rule(&[Method::GET], "/orders/ws", Access::Read),
        ],
        ..route("orders", &[], "/orders/")
    };
    use Access::*;
    let table = [
        (Method::GET, "/orders/1", false, Read),
        (Method::HEAD, "/orders/1", false, Read),
        (Method::OPTIONS, "/orders/1", false, Read),
        (Method::POST, "/orders/1", false, Write),
        (Method::from_bytes(b"BREW").unwrap(), "/orders/1", false, Write),
        (Method::GET, "/orders/1", true, Write),
        (Method::CONNECT, "/orders/1", true, Write),
        (Method::POST, "/orders/search", false, Read),
        (Method::PUT, "/orders/search", false, Write),
        (Method::POST, "/orders/search/deeper", false, Write),
        (Method::GET, "/orders/admin", false, Admin),
        (Method::GET, "/orders/admin/", false, Admin),
        (Method::GET, "/orders/admin/a/b", false, Admin),
        (Method::GET, "/orders/administrators", false, Read),
        (Method::GET, "/orders/7/secret", false, Write),
        (Method::GET, "/orders/7/secret/", false, Write),
        (Method::HEAD, "/orders/7/secret", false, Write),
        (Method::GET, "/orders/secret", false, Read),
        (Method::GET, "/orders/7/8/secret", false, Read),
        (Method::GET, "/orders/ws", true, Read),
        (Method::CONNECT, "/orders/ws", true, Read),
    ];
    for (method, path, upgrade, expected) in table {
        assert_eq!(route.access(&method, &normal(path), upgrade), expected, "{method} {path} {upgrade}");
    }
}

#[test]
fn parameters_and_encoded_slashes_are_for_the_route_to_take() {
    let keep = |route| Route { keep_encoded_slash: true, ..route };
    let rules = |route| Route { rules: vec![rule(&[], "/r/admin/**", Access::Admin)], ..route };
    let routes = Routes::compile(vec![
        route("plain", &[], "/"),
        route("admin", &[], "/admin/"),
        rules(route("strict", &[], "/strict/")),
        Route { judge_without_parameters: true, ..rules(route("r", &[], "/r/")) },
        keep(rules(route("kept", &["k"], "/"))),
        keep(route("kept-admin", &["k"], "/admin/")),
        keep(route("kept-free", &["k2"], "/")),
    ])
    .unwrap();
    let table = [
        ("h", "/x;y=1", Ok(())),
        ("h", "/admin/x;y", Ok(())),
        ("h", "/admin;x/", Err(PathError::Ambiguous)),
        ("h", "/;x/admin", Err(PathError::Ambiguous)),
        ("h", "/x/;y", Ok(())),
        ("h", "/strict/x;y", Err(PathError::Parameters)),
        ("h", "/strict/x", Ok(())),
        ("h", "/r/x;y", Ok(())),
        ("h", "/x%2Fy", Err(PathError::EncodedSlash)),
        ("k", "/x%2fy", Ok(())),
        ("k", "/admin%2Fy", Err(PathError::Ambiguous)),
        ("k", "/x%2Fy;z", Err(PathError::Parameters)),
        ("k2", "/;x%2Fadmin", Err(PathError::Ambiguous)),
    ];
    for (host, path, expected) in table {
        let path = normal(path);
        let route = routes.find(host, &path).unwrap();
        assert_eq!(routes.check_path(host, &path, route), expected, "{host} {path:?}");
    }
    let path = normal("/r/admin;x=1/keys");
    assert_eq!(routes.find("h", &path).unwrap().access(&Method::GET, &path, false), Access::Admin);
    let path = normal("/r%2Fadmin/x");
    assert_eq!(routes.find("k", &path).unwrap().access(&Method::GET, &path, false), Access::Admin);
}

#[test]
fn a_request_for_another_name_is_misdirected_unless_certificate_and_policy_agree() {
    let policy = |name: &str, host: &str, path: &str, principals: &str| Route { policy: principals.into(), ..route(name, &[host], path) };
    let routes = Routes::compile(vec![
        policy("a", "a.example", "/", "all"),
        policy("b", "b.example", "/", "all"),
        policy("c", "c.example", "/", "few"),
        Route { scope: RouteScope { auth: RouteAuth::None, ..route("d", &[], "/").scope }, ..policy("d", "d.example", "/open", "all") },
        policy("d2", "d.example", "/closed", "all"),
    ])
    .unwrap();
    let covered: Vec<Box<str>> = ["a.example", "b.example", "c.example", "d.example", "*.w.example", "::1"].map(Into::into).to_vec();
    let table = [
        (None, "c.example", "/", false),
        (Some("a.example"), "a.example", "/", false),
        (Some("A.example."), "a.example", "/", false),
        (Some("a.example"), "b.example", "/", false),
        (Some("a.example"), "c.example", "/", true),
        (Some("c.example"), "a.example", "/", true),
        (Some("a.example"), "d.example", "/open", true),
        (Some("a.example"), "d.example", "/closed", false),
        // No route: as the whole host stands, lest the code tell which paths have one.
        (Some("a.example"), "d.example", "/nothing", true),
        (Some("a.example"), "x.w.example", "/", false),
        (Some("a.example"), "x.y.w.example", "/", true),
        (Some("a.example"), "w.example", "/", true),
        (Some("a.example"), "stranger.example", "/", true),
        (Some("a.example"), "[::1]", "/", false),
        (Some("unknown"), "a.example", "/", true),
    ];
    for (sni, host, path, expected) in table {
        let route = routes.find(host, &normal(path));
        assert_eq!(routes.misdirected(sni, host, &covered, route.map(|route| &**route)), expected, "{sni:?} {host} {path}");
    }
}

#[test]
fn a_route_that_another_hides_from_the_snis_host_is_none_of_its_own() {
    let open = |name: &str, host: &str, path: &str| Route {
        scope: RouteScope { auth: RouteAuth::None, ..route(name, &[], "/").scope },
        ..route(name, &[host], path)
    };
    let routes = Routes::compile(vec![
        route("all", &[], "/"),
        open("b", "b.test", "/"),
        open("part", "part.test", "/open/"),
        open("wild", "*.w.test", "/"),
        route("wild-exact", &["x.w.test"], "/x/"),
        Route { policy: "few".into(), ..route("deep", &[], "/open/deep/") },
    ])
    .unwrap();
    let covered: Vec<Box<str>> = ["*.test", "*.w.test"].map(Into::into).to_vec();
    let table = [
        ("b.test", "a.test", "/", true),
        ("a.test", "b.test", "/", true),
        ("part.test", "a.test", "/", false),
        // Hidden from part.test by its own /open/.
        ("part.test", "a.test", "/open/deep/", true),
        ("a.test", "c.test", "/open/deep/", false),
        ("y.w.test", "a.test", "/", true),
        ("y.w.test", "z.w.test", "/", false),
        ("x.w.test", "a.test", "/", false),
        ("x.w.test", "y.w.test", "/", false),
        ("y.w.test", "x.w.test", "/x/", true),
    ];
    for (sni, host, path, expected) in table {
        let route = routes.find(host, &normal(path));
        assert_eq!(routes.misdirected(Some(sni), host, &covered, route.map(|route| &**route)), expected, "{sni} {host} {path}");
    }
}

/// The tree of prefixes agrees with trying all of them.
#[test]
fn lookup_agrees_with_trying_every_route() {
    let mut state = 88_172_645_463_325_252_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    let mut path = |segments: usize| (0..random(segments)).map(|_| ["/a", "/b", "/a-", "/ab", "/a.b"][random(5)]).collect::<String>();
    for _ in 0..200 {
        let mut prefixes: Vec<String> = (0..12).map(|_| path(4)).collect();
        prefixes.sort();
        prefixes.dedup();
        let routes = Routes::compile(prefixes.iter().map(|prefix| route(prefix, &[], &format!("{prefix}/"))).collect()).unwrap();
        for _ in 0..50 {
            let asked = format!("{}/", path(6));
            let expected = prefixes.iter().filter(|prefix| asked.starts_with(&format!("{prefix}/"))).max_by_key(|prefix| prefix.len());
            assert_eq!(found(&routes, "h", &asked), expected.map(String::as_str), "{asked} in {prefixes:?}");
        }
    }
}
