//! Bearer tokens through the real binary: they open what the certificate opens that they were given for, they end when it does, and no
//! upstream ever reads one. The tokens are made by the library, in the state directory of the proxy.

mod all_of_one;
mod cuts;
mod explained;
mod keys;
mod tricks;

use std::path::Path;

use hyper::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use portcullis::admission::PrincipalId;
use portcullis::challenge::{Issued, Order, Settings, Tokens};
use portcullis::pki::Fingerprint;
use rustls::version::TLS13;

use crate::support::client::{Answer, request, request_with};
use crate::support::raw::Raw;
use crate::support::{Client, Identity, Leaf, TestCa, TestProxy, TestUpstream, Workspace};

/// Beside `edge`, which takes tokens here: one that does not, one that requires a certificate too, and one for calls of ours.
const LISTENERS: &str = r#"
[[listener]]
name = "plain"
address = "127.0.0.1:0"
client_auth = "request"
certificates = [{ cert = "server.pem", key = "server.key" }]

[[listener]]
name = "strict"
address = "127.0.0.1:0"
client_auth = "require"
tokens = true
certificates = [{ cert = "server.pem", key = "server.key" }]

[[listener]]
name = "control"
address = "127.0.0.1:0"
client_auth = "request"
serve = ["admin"]
tokens = true
certificates = [{ cert = "server.pem", key = "server.key" }]

[[listener]]
name = "prove"
address = "127.0.0.1:0"
client_auth = "request"
serve = ["challenge"]
certificates = [{ cert = "server.pem", key = "server.key" }]

[runtime]
workers = 2

[limits]
denial_lines = 10000
challenge_rate = 0

[[principal]]
name = "operator"
clearance = "operator"
certificates = ["operator.pem"]

[[principal]]
name = "jobs"
role = "Contributor"
[principal.authority]
certificates = ["root.pem"]
common_names = ["job-*"]

[[route]]
name = "open"
path = "/open/"
upstream = "app"
auth = "none"
upgrades = ["websocket"]

[[route]]
name = "either"
path = "/either/"
upstream = "app"
auth = "optional"
"#;

struct World {
    workspace: Workspace,
    proxy: TestProxy,
    upstream: TestUpstream,
    alice: Identity,
    bob: Identity,
    operator: Identity,
    job: Identity,
}

impl World {
    async fn start() -> Self {
        let upstream = TestUpstream::start().await;
        let workspace = Workspace::new();
        let [alice, bob, operator] = ["alice", "bob", "operator"].map(|name| Leaf::new(name).self_signed());
        let root = TestCa::new("root");
        let job = root.issue(Leaf::new("job-1"));
        workspace.write("root.pem", root.pem());
        workspace.allow("alice", &alice);
        workspace.allow("bob", &bob);
        operator.write(workspace.directory.path(), "operator");
        let config = Workspace::config("request", &upstream.url(), LISTENERS);
        let proxy = workspace.start(&config.replacen("client_auth = \"request\"", "client_auth = \"request\"\ntokens = true", 1));
        Self { workspace, proxy, upstream, alice, bob, operator, job }
    }

    fn token(&self, name: &str, identity: &Identity) -> String {
        self.issue(name, identity, |_| {}).token
    }

    fn issue(&self, name: &str, identity: &Identity, change: impl FnOnce(&mut Order<'_>)) -> Issued {
        issue(Settings::default(), Some(&self.workspace.path("state")), name, identity, change)
    }

    fn client(&self, listener: &str, identity: Option<&Identity>, http2: bool) -> Client {
        Client::of_listener(&self.proxy, listener, identity, &[&TLS13], http2)
    }

    async fn ask(&self, listener: &str, identity: Option<&Identity>, path: &str, credentials: &[&str]) -> Answer {
        self.client(listener, identity, false).send(with(path, credentials)).await.expect("an HTTP answer")
    }

    /// Has a token taken back, by whoever has it; returns the status.
    async fn take_back(&self, token: &str) -> u16 {
        let mut call = request_with("POST", "/api/v2/revoke-creds", serde_json::json!({ "token": token }).to_string());
        call.headers_mut().insert("content-type", "application/json".parse().expect("a header"));
        self.client("prove", None, false).send(call).await.expect("an answer").status.as_u16()
    }

    /// Takes somebody off the list.
    fn remove(&self, name: &str) {
        self.proxy.remove(&format!("allowlist/{name}.pem"));
    }
}

fn issue(settings: Settings, state: Option<&Path>, name: &str, identity: &Identity, change: impl FnOnce(&mut Order<'_>)) -> Issued {
    let name = name.parse().expect("a name");
    let mut order = Order {
        principal: PrincipalId::derived(&name),
        name: &name,
        chain: &identity.chain,
        bound: None,
        now: now(),
        ttl: None,
        valid_until: u64::MAX,
        identifier: None,
        audit: &[],
    };
    change(&mut order);
    Tokens::new(settings, state).issue(&order).expect("a token")
}

fn now() -> u64 {
    portcullis::clock::Clock::default().now().as_secs()
}

fn with(path: &str, credentials: &[&str]) -> hyper::Request<crate::support::client::Body> {
    let mut request = request("GET", path);
    for credential in credentials {
        request.headers_mut().append(AUTHORIZATION, credential.parse().expect("a header"));
    }
    request
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn told(answer: &Answer) -> String {
    if answer.status == 200 { "admitted".to_owned() } else { answer.code() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_what_its_certificate_opens_and_the_upstream_sees_the_same() {
    let world = World::start().await;
    let identity = |upstream: &TestUpstream| {
        let received = upstream.last();
        let names = ["x-forwarded-client-cert", "client-cert", "client-cert-chain", "x-portcullis-principal", "x-portcullis-fingerprint"];
        assert_eq!(received.header("authorization"), Vec::<String>::new());
        names.map(|name| received.header(name))
    };
    for (name, who) in [("alice", &world.alice), ("jobs", &world.job)] {
        assert_eq!(told(&world.ask("edge", Some(who), "/a", &[]).await), "admitted");
        let by_certificate = identity(&world.upstream);
        let token = bearer(&world.token(name, who));
        for http2 in [false, true] {
            let mut connection = world.client("edge", None, http2).connect().await.expect("a connection");
            for _ in 0..3 {
                assert_eq!(told(&connection.exchange(with("/a", &[&token])).await.expect("an answer")), "admitted", "{name}");
                assert_eq!(identity(&world.upstream), by_certificate, "{name}");
            }
            // The connection itself is nobody's still.
            assert_eq!(told(&connection.exchange(with("/a", &[])).await.expect("an answer")), "no_credential");
        }
        assert!(!by_certificate[1].is_empty(), "{by_certificate:?}");
    }
    let [alice, bob] = [("alice", &world.alice), ("bob", &world.bob)].map(|(name, who)| bearer(&world.token(name, who)));
    let mut shared = world.client("edge", None, true).connect().await.expect("a connection");
    for (token, name) in [(&alice, "alice"), (&bob, "bob"), (&alice, "alice")] {
        shared.exchange(with("/a", &[token])).await.expect("an answer");
        assert_eq!(world.upstream.last().header("x-portcullis-principal"), [name], "each by its own token");
    }
    for (path, expected) in [("/either/a", vec!["alice"]), ("/open/a", vec![])] {
        assert_eq!(told(&world.ask("edge", None, path, &[&alice]).await), "admitted");
        assert_eq!(world.upstream.last().header("x-portcullis-principal"), expected, "{path}");
        assert_eq!(world.upstream.last().header("authorization"), Vec::<String>::new(), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_token_of_ours_opens_nothing() {
    let world = World::start().await;
    let state = world.workspace.path("state");
    let good = world.token("alice", &world.alice);
    let [header, payload, signature] = good.split('.').collect::<Vec<_>>().try_into().expect("three parts");
    let elsewhere = Settings { audience: "elsewhere".to_owned(), ..Settings::default() };
    let other_service = issue(elsewhere, Some(&state), "alice", &world.alice, |_| {}).token;
    let other_instance = issue(Settings::default(), None, "alice", &world.alice, |_| {}).token;
    let expired = world.issue("alice", &world.alice, |order| (order.now, order.ttl) = (order.now - 120, Some(60))).token;
    let early = world.issue("alice", &world.alice, |order| order.now += 3_600).token;
    let of_another = world.token("bob", &world.alice);
    let stranger = world.token("alice", &Leaf::new("stranger").self_signed());
    let sent = world.upstream.received().len();
    for (what, credentials, expected) in [
        ("expired", vec![bearer(&expired)], "token_expired"),
        ("from the future", vec![bearer(&early)], "token_invalid"),
        ("of another service", vec![bearer(&other_service)], "token_invalid"),
        ("of another instance", vec![bearer(&other_instance)], "token_invalid"),
        ("in another's name", vec![bearer(&of_another)], "token_invalid"),
        ("of an unlisted certificate", vec![bearer(&stranger)], "not_listed"),
        ("without a signature", vec![bearer(&format!("{header}.{payload}."))], "token_invalid"),
        ("with half a signature", vec![bearer(&format!("{header}.{payload}.{}", &signature[..40]))], "token_invalid"),
        ("twice", vec![bearer(&good), bearer(&good)], "token_invalid"),
        ("beside another credential", vec![bearer(&good), "Basic YTpi".to_owned()], "token_invalid"),
        ("behind another credential", vec!["Basic YTpi".to_owned(), bearer(&good)], "token_invalid"),
        ("in quotes", vec![format!("Bearer \"{good}\"")], "token_invalid"),
        ("behind a tab", vec![format!("Bearer\t{good}")], "token_invalid"),
        ("in a list", vec![format!("Bearer {good}, Basic YTpi")], "token_invalid"),
        ("by another scheme", vec![format!("DPoP {good}")], "token_invalid"),
        ("without a scheme", vec![good.clone()], "token_invalid"),
        ("and something behind it", vec![format!("Bearer {good}=")], "token_invalid"),
        ("somebody else's", vec!["Bearer abc.def.ghi".to_owned()], "no_credential"),
    ] {
        let credentials: Vec<&str> = credentials.iter().map(String::as_str).collect();
        for http2 in [false, true] {
            let answer = world.client("edge", None, http2).send(with("/a", &credentials)).await.expect("an HTTP answer");
            assert_eq!(answer.code(), expected, "{what}, HTTP/2: {http2}");
            let challenge = answer.headers.get(WWW_AUTHENTICATE).map(|value| value.to_str().expect("text").to_owned());
            let says_bearer =
                challenge.is_some_and(|challenge| challenge.starts_with("Bearer ") && challenge.contains("\"invalid_token\""));
            assert_eq!(says_bearer, expected.starts_with("token_"), "{what}");
        }
    }
    assert_eq!(world.upstream.received().len(), sent, "none of them went on");
    for scheme in ["bearer", "BEARER", "Bearer  "] {
        assert_eq!(told(&world.ask("edge", None, "/a", &[&format!("{scheme} {good}")]).await), "admitted", "{scheme:?}");
    }
    // On an optional route a bad token is no anonymous request; on an open one nobody asks.
    assert_eq!(told(&world.ask("edge", None, "/either/a", &[&bearer(&expired)]).await), "token_expired");
    assert_eq!(told(&world.ask("edge", None, "/open/a", &[&bearer(&expired)]).await), "admitted");
    assert_eq!(world.upstream.last().header("authorization"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn ours_reaches_no_upstream_and_a_foreign_one_does_untouched() {
    let world = World::start().await;
    let good = world.token("alice", &world.alice);
    // Where tokens do not count, ours is no credential, whoever shows it.
    assert_eq!(told(&world.ask("plain", None, "/a", &[&bearer(&good)]).await), "no_credential");
    let wrapped = [bearer(&good), format!("Bearer \"{good}\""), format!("Basic x, Bearer {good}"), good.clone()];
    for value in &wrapped {
        for path in ["/a", "/open/a", "/either/a"] {
            assert_eq!(told(&world.ask("plain", Some(&world.bob), path, &[value]).await), "admitted");
            assert_eq!(world.upstream.last().header("authorization"), Vec::<String>::new(), "{value}");
        }
    }
    assert_eq!(told(&world.ask("plain", Some(&world.bob), "/a", &[&bearer(&good), "Basic YTpi"]).await), "admitted");
    assert_eq!(world.upstream.last().header("authorization"), ["Basic YTpi"]);
    for foreign in ["Bearer abc", "Bearer eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.e30.AAAA", "Basic YTpi"] {
        for listener in ["plain", "edge", "strict"] {
            assert_eq!(told(&world.ask(listener, Some(&world.bob), "/a", &[foreign]).await), "admitted", "{listener}");
            assert_eq!(world.upstream.last().header("authorization"), [foreign], "{listener}");
        }
    }
    // As a trailer it is no credential, and goes nowhere either.
    let client = world.client("plain", Some(&world.bob), false);
    let chunked = "POST /a HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n2\r\nhi\r\n0\r\n";
    Raw::exchange(&client, format!("{chunked}authorization: Bearer {good}\r\n\r\n")).await;
    let last = world.upstream.last();
    assert!(!String::from_utf8_lossy(&last.body).contains(&good) && !last.head.contains(&good), "{last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_of_the_connection_has_to_agree() {
    let world = World::start().await;
    let leaf = Fingerprint::of(world.alice.leaf());
    let free = bearer(&world.token("alice", &world.alice));
    let bound = bearer(&world.issue("alice", &world.alice, |order| order.bound = Some(leaf)).token);
    let stranger = Leaf::new("stranger").self_signed();
    for (what, token, certificate, expected) in [
        ("free, alone", &free, None, "admitted"),
        ("free, with its certificate", &free, Some(&world.alice), "admitted"),
        ("free, with another principal's", &free, Some(&world.bob), "token_invalid"),
        ("free, with a stranger's", &free, Some(&stranger), "not_listed"),
        ("bound, alone", &bound, None, "token_invalid"),
        ("bound, with its certificate", &bound, Some(&world.alice), "admitted"),
        ("bound, with another's", &bound, Some(&world.bob), "token_invalid"),
        ("none, with a stranger's", &String::from("Bearer abc"), Some(&stranger), "not_listed"),
    ] {
        assert_eq!(told(&world.ask("edge", certificate, "/a", &[token]).await), expected, "{what}");
        assert_eq!(told(&world.ask("edge", certificate, "/open/a", &[token]).await), "admitted", "{what}, on an open route");
    }
    assert_eq!(told(&world.ask("strict", Some(&world.alice), "/a", &[&bound]).await), "admitted");
    assert_eq!(told(&world.ask("strict", Some(&world.bob), "/a", &[&free]).await), "token_invalid");
    let refused = world.client("strict", None, false).send(with("/a", &[&free])).await;
    assert!(refused.is_err(), "a token is no certificate where one is required");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_ranks_as_its_principal_does_where_we_answer_ourselves() {
    let world = World::start().await;
    let issued = world.issue("operator", &world.operator, |_| {});
    let [operator, alice] = [bearer(&issued.token), bearer(&world.token("alice", &world.alice))];
    let who = world.ask("control", None, "/v1/whoami", &[&operator]).await.json();
    assert_eq!((who["principal"]["name"].as_str(), who["token"].as_str()), (Some("operator"), Some(&*issued.jti)), "{who}");
    assert_eq!(told(&world.ask("control", None, "/v1/principals", &[&operator]).await), "admitted");
    assert_eq!(told(&world.ask("control", None, "/v1/principals", &[&alice]).await), "clearance_too_low");
    assert_eq!(told(&world.ask("control", None, "/v1/principals", &[]).await), "no_credential");
    // One connection, and no more: a token's standing is none of its own.
    let live = world.ask("control", None, "/v1/connections", &[&operator]).await.json();
    let live = live["connections"].as_array().cloned().unwrap_or_default();
    assert!(live.iter().all(|connection| connection["principal"].is_null()), "{live:?}");
}
