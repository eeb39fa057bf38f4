//! All tokens of a principal, taken back by an operator at once: what is open by them ends, the certificate counts as before, and others
//! lose nothing.

use std::time::Instant;

use rustls::version::TLS13;
use serde_json::{Value, json};

use super::{World, bearer, now, told, with};
use crate::support::calls::{self, Caller};
use crate::support::{CUT, Client, Flow, proxy, within};

const ALICES: &str = "/v1/principals/-/tokens?name=alice";

impl World {
    fn by_operator(&self) -> Caller {
        Caller::new(&self.proxy, &self.operator)
    }

    /// Runs a command; returns its exit code, and what it says.
    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        proxy::told(&self.workspace.run(arguments))
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let (code, said) = self.run(&[&["--json"], arguments].concat());
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{code:?}, {error}: {said}"))
    }

    fn last_entry(&self) -> Value {
        self.json(&["ledger", "log", "--limit", "1"])["entries"][0].take()
    }

    /// A token that no earlier second's end takes with it.
    fn later(&self) -> String {
        let (before, deadline) = (now(), Instant::now() + CUT);
        while now() == before {
            assert!(Instant::now() < deadline, "the clock stands");
            std::thread::yield_now();
        }
        bearer(&self.token("alice", &self.alice))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_tokens_of_a_principal_end_wherever_they_stand_and_others_lose_nothing() {
    let world = World::start().await;
    let [one, other] = [world.token("alice", &world.alice), world.token("alice", &world.alice)];
    let bob = world.token("bob", &world.bob);
    let by = |token: &str, http2| world.client("edge", None, http2).authorization(&bearer(token));
    let ends = [
        ("an HTTP/2 download", Flow::download(by(&one, true), "/endless").await),
        ("an HTTP/1.1 upload", Flow::upload(by(&other, false), "/swallow?1", &world.upstream).await),
        ("a WebSocket", Flow::web_socket(by(&other, false), "/ws").await),
    ];
    let others = [
        ("his WebSocket", Flow::web_socket(by(&bob, false), "/ws").await),
        ("her download by the certificate", Flow::download(world.client("edge", Some(&world.alice), true), "/endless").await),
    ];
    // What would come of it is said, and nothing is done.
    let by_operator = world.by_operator();
    let would = by_operator.call("DELETE", &format!("{ALICES}&dry_run=true"), &Value::Null).await.json();
    assert_eq!([&would["principal"], &would["shown"], &would["index"]], [&json!("alice"), &json!(3), &Value::Null]);
    assert!(would["open"].as_u64() >= Some(3), "{would}");
    for (what, flow) in ends.iter().chain(&others) {
        flow.goes_on(what);
    }
    let revoked = Instant::now();
    let done = by_operator.call("DELETE", &format!("{ALICES}&reason=a+laptop+is+gone"), &Value::Null).await;
    assert_eq!((calls::told(&done), &done.json()["principal_id"]), ("200".to_owned(), &would["principal_id"]));
    for (what, flow) in ends {
        let ended = within(what, flow.end).await.expect("no panic");
        assert!(ended.saturating_duration_since(revoked) < CUT, "{what} went on for {:?}", ended - revoked);
    }
    for (what, flow) in &others {
        flow.goes_on(what);
    }
    for token in [&one, &other] {
        assert_eq!(told(&world.ask("edge", None, "/a", &[&bearer(token)]).await), "token_invalid");
    }
    assert_eq!(told(&world.ask("edge", None, "/a", &[&bearer(&bob)]).await), "admitted");
    assert_eq!(told(&world.ask("edge", Some(&world.alice), "/a", &[]).await), "admitted", "her certificate counts");
    let entry = world.last_entry();
    let said = [&entry["action"], &entry["object"], &entry["actor"]["name"], &entry["reason"]];
    assert_eq!(said, [&json!("tokens.revoke"), &would["principal_id"], &json!("operator"), &json!("a laptop is gone")]);
    assert_eq!(told(&world.ask("edge", None, "/a", &[&world.later()]).await), "admitted", "one that is given later counts");
    // What was taken back stays so, over an end without notice too.
    let config = std::fs::read_to_string(world.proxy.path("portcullis.toml")).expect("the configuration");
    let later = world.later();
    let World { workspace, proxy, .. } = world;
    proxy.signal("KILL");
    drop(proxy);
    let proxy = workspace.start(&config);
    let again = Client::of_listener(&proxy, "edge", None, &[&TLS13], false);
    for (token, expected) in [(bearer(&one), "token_invalid"), (bearer(&other), "token_invalid"), (later, "admitted")] {
        assert_eq!(told(&again.send(with("/a", &[&token])).await.expect("an answer")), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_takes_them_back_here_and_from_elsewhere() {
    let world = World::start().await;
    let token = bearer(&world.token("alice", &world.alice));
    let mut open = world.client("edge", None, true).connect().await.expect("a connection");
    assert_eq!(told(&open.exchange(with("/a", &[&token])).await.expect("an answer")), "admitted");
    let tried = world.run(&["token", "revoke", "--principal", "ALICE"]);
    assert!(
        tried.0 == Some(2) && tried.1.contains("alice") && tried.1.contains("1 of them on live connections") && tried.1.contains("--yes"),
        "{tried:?}"
    );
    let would = world.json(&["token", "revoke", "--principal", "alice", "--dry-run"]);
    assert_eq!((&would["shown"], &would["dry_run"]), (&json!(1), &json!(true)));
    assert_eq!(told(&open.exchange(with("/a", &[&token])).await.expect("an answer")), "admitted", "nothing was done");
    let done = world.run(&["token", "revoke", "--principal", "alice", "--yes", "--reason", "lost"]);
    assert!(done.0 == Some(0) && done.1.contains("taken back (ledger entry"), "{done:?}");
    assert_eq!(told(&open.exchange(with("/a", &[&token])).await.expect("an answer")), "token_invalid", "the connection lives");
    // From elsewhere, by an operator; of her who has none, too.
    let url = format!("https://localhost:{}", world.proxy.address("control").port());
    let from = ["--admin", &url, "--cert", "operator.pem", "--key", "operator.key", "--cacert", "server.pem"];
    let later = world.later();
    assert_eq!(told(&open.exchange(with("/a", &[&later])).await.expect("an answer")), "admitted");
    let done = world.json(&[&["token", "revoke", "--principal", "alice", "--yes"], &from[..]].concat());
    assert!(done["index"].is_u64() && done["shown"] == 1, "{done}");
    assert_eq!(told(&open.exchange(with("/a", &[&later])).await.expect("an answer")), "token_invalid");
    for (code, words, arguments) in [
        (1, "there is nobody called", &["token", "revoke", "--principal", "nobody", "--yes"] as &[&str]),
        (2, "cannot be used with", &["token", "revoke", "x.y.z", "--principal", "alice"]),
        (2, "go with --principal", &["token", "revoke", "x.y.z", "--admin", "https://localhost:1"]),
        (2, "--principal", &["token", "revoke"]),
        (2, "--cacert goes with --admin", &["token", "revoke", "--principal", "alice", "--cacert", "server.pem"]),
    ] {
        let (ended, said) = world.run(arguments);
        assert!(ended == Some(code) && said.contains(words), "{arguments:?}: {ended:?} {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_by_a_token_is_named_by_it_and_keeps_it() {
    let world = World::start().await;
    let issued = world.issue("operator", &world.operator, |_| {});
    let control = world.client("control", None, false).authorization(&bearer(&issued.token));
    let by_token = Caller(control);
    // The answer would be cut with all else.
    let own = by_token.call("DELETE", "/v1/principals/-/tokens?name=operator", &Value::Null).await;
    assert_eq!(calls::told(&own), "409 own_token");
    assert_eq!(by_token.told("DELETE", ALICES, &Value::Null).await, "200");
    let entry = world.last_entry();
    assert_eq!((&entry["actor"]["name"], &entry["actor"]["token"]), (&json!("operator"), &json!(issued.jti)));
    let (_, said) = world.run(&["ledger", "log"]);
    assert!(said.contains(&format!("admin operator by token {}: tokens.revoke", issued.jti)), "{said}");
    assert_eq!(world.json(&["ledger", "log", "--actor", &issued.jti])["entries"].as_array().map(Vec::len), Some(1));
    // By the certificate it takes back its own, and the caller by one of them is nobody.
    assert_eq!(world.by_operator().told("DELETE", "/v1/principals/-/tokens?name=operator", &Value::Null).await, "200");
    assert!(world.last_entry()["actor"]["token"].is_null(), "no token was shown");
    assert_eq!(by_token.told("GET", "/v1/principals", &Value::Null).await, "401 token_invalid");
    let (verdict, said) = world.run(&["ledger", "verify"]);
    assert_eq!(verdict, Some(0), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_from_elsewhere_shows_a_token_in_place_of_a_certificate() {
    let world = World::start().await;
    let [operator, alice] = [("operator", &world.operator), ("alice", &world.alice)].map(|(name, identity)| world.token(name, identity));
    world.workspace.write("operator.token", format!("{operator}\n"));
    world.workspace.write("alice.token", alice);
    let at = |listener: &str| format!("https://localhost:{}", world.proxy.address(listener).port());
    let call = |url: &str, file: &str| {
        let there = ["--admin", url, "--token-file", file, "--cacert", "server.pem"];
        world.run(&[&["allow", "list", "--source", "all"], &there[..]].concat())
    };
    let (code, said) = call(&at("control"), "operator.token");
    assert!(code == Some(0) && said.contains("alice"), "{code:?} {said}");
    let (code, said) = call(&at("control"), "alice.token");
    assert!(code == Some(1) && said.contains("clearance_too_low"), "{code:?} {said}");
    let (code, said) = call(&at("control"), "server.pem");
    assert!(code == Some(1) && said.contains("no_credential"), "what is no token of ours is no credential: {code:?} {said}");
    assert_eq!(call(&at("control"), "nowhere").0, Some(3));
    assert_eq!(world.run(&["allow", "list", "--token-file", "operator.token"]).0, Some(2), "the control socket asks for none");
}
