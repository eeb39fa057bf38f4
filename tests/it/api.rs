//! The operator API, whole, through the real binary: what it does, what it refuses, and what survives.

use std::time::Instant;

use http::{HeaderValue, Request};
use rustls::ALL_VERSIONS;
use serde_json::{Value, json};

use crate::support::client::{Answer, Connection, request, request_with};
use crate::support::flow::Flow;
use crate::support::{Client, Identity, Leaf, TestProxy, TestUpstream, Workspace, eventually, within};

const LISTENER: &str = r#"
[[listener]]
name = "control"
address = "127.0.0.1:0"
client_auth = "request"
serve = ["admin"]
certificates = [{ cert = "server.pem", key = "server.key" }]
"#;

struct World {
    proxy: TestProxy,
    workspace: Workspace,
    config: String,
    _upstream: TestUpstream,
    admin: Identity,
    operator: Identity,
    admin_id: String,
    operator_id: String,
}

impl World {
    /// A proxy with an admin, whom the server's certificate registered, and an operator, whom that one did.
    async fn start() -> Self {
        let upstream = TestUpstream::start().await;
        let workspace = Workspace::new();
        let config = Workspace::config("require", &upstream.url(), LISTENER);
        let proxy = workspace.start_with_somebody(&config);
        let (admin, operator) = (Leaf::new("admin").self_signed(), Leaf::new("operator").self_signed());
        let register = |name: &str, clearance: &str, identity: &Identity| json!({ "name": name, "clearance": clearance, "certificates": [{ "der": identity.leaf_pem() }] });
        let server = Client::of_listener(&proxy, "control", Some(&proxy.server), ALL_VERSIONS, false);
        let made = send(&server, "POST", "/v1/principals", register("ops/admin", "admin", &admin)).await;
        assert_eq!(made.status, 201, "{:?}", made.body);
        let admin_id = made.json()["principal"]["id"].as_str().expect("an id").to_owned();
        let by_admin = Client::of_listener(&proxy, "control", Some(&admin), ALL_VERSIONS, false);
        let made = send(&by_admin, "POST", "/v1/principals", register("ops/operator", "operator", &operator)).await;
        assert_eq!(made.status, 201, "{:?}", made.body);
        let operator_id = made.json()["principal"]["id"].as_str().expect("an id").to_owned();
        Self { proxy, workspace, config, _upstream: upstream, admin, operator, admin_id, operator_id }
    }

    fn admin(&self) -> Client {
        Client::of_listener(&self.proxy, "control", Some(&self.admin), ALL_VERSIONS, false)
    }

    fn operator(&self) -> Client {
        Client::of_listener(&self.proxy, "control", Some(&self.operator), ALL_VERSIONS, false)
    }

    /// Registers a user and returns its id.
    async fn user(&self, name: &str, identity: &Identity) -> String {
        let made = send(&self.admin(), "POST", "/v1/principals", user(name, identity)).await;
        assert_eq!(made.status, 201, "{:?}", made.body);
        made.json()["principal"]["id"].as_str().expect("an id").to_owned()
    }
}

fn user(name: &str, identity: &Identity) -> Value {
    json!({ "name": name, "role": "Contributor", "certificates": [{ "der": identity.leaf_pem() }] })
}

fn call(method: &str, path: &str, body: &Value) -> Request<crate::support::client::Body> {
    let mut request = if body.is_null() { request(method, path) } else { request_with(method, path, body.to_string()) };
    request.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    request
}

async fn send(client: &Client, method: &str, path: &str, body: Value) -> Answer {
    client.send(call(method, path, &body)).await.unwrap_or_else(|refused| panic!("{method} {path}: {}", refused.why))
}

async fn send_with(client: &Client, method: &str, path: &str, body: Value, fields: &[(&'static str, &str)]) -> Answer {
    let mut request = call(method, path, &body);
    for (name, value) in fields {
        request.headers_mut().insert(*name, value.parse().expect("a value"));
    }
    client.send(request).await.expect("an answer")
}

fn told(answer: &Answer) -> String {
    match answer.status.as_u16() {
        status @ 200..=299 => status.to_string(),
        status => format!("{status} {}", answer.code()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_principal_is_registered_found_changed_and_deleted() {
    let world = World::start().await;
    let (admin, alice) = (world.admin(), Leaf::new("alice").self_signed());
    let made = send(&admin, "POST", "/v1/principals?dry_run=true", user("ci/alice", &alice)).await;
    assert_eq!((made.status.as_u16(), made.json()["index"].is_null()), (200, true), "{:?}", made.body);
    let made = send(&admin, "POST", "/v1/principals?reason=new", user("ci/alice", &alice)).await;
    let id = made.json()["principal"]["id"].as_str().expect("an id").to_owned();
    assert_eq!(
        (made.headers["location"].to_str().expect("text"), made.headers["etag"].to_str().expect("text")),
        (&*format!("/v1/principals/{id}"), "\"1\"")
    );
    assert!(made.json()["index"].as_u64().is_some_and(|index| index >= 3), "{:?}", made.body);
    // In force when it is answered.
    assert_eq!(Client::new(&world.proxy, Some(&alice)).get("/hello").await.expect("admitted").status, 200);
    for (path, expected) in [
        (format!("/v1/principals/{id}"), "200"),
        ("/v1/principals/-?name=CI/Alice".to_owned(), "200"),
        ("/v1/principals/p-aaaaaaaaaaaa".to_owned(), "404 not_found"),
        ("/v1/principals/nonsense".to_owned(), "404 not_found"),
        ("/v1/principals?limit=0".to_owned(), "400 invalid"),
        ("/v1/principals?limit=x".to_owned(), "400 invalid"),
        ("/v1/principals?colour=red".to_owned(), "400 invalid"),
        ("/v1/principals?expires_before=soon".to_owned(), "400 invalid"),
    ] {
        assert_eq!(told(&admin.get(&path).await.expect("an answer")), expected, "{path}");
    }
    for (query, names) in [
        ("limit=1", vec!["ci/alice"]),
        ("limit=1&after=ci/alice", vec!["ops/admin"]),
        ("name=ops/admin", vec!["ops/admin"]),
        ("clearance=operator", vec!["ops/operator"]),
        ("q=LIC", vec!["ci/alice"]),
        ("expires_before=2020-01-01T00:00:00Z", vec![]),
        (&format!("fingerprint={}", alice.fingerprint()), vec!["ci/alice"]),
        ("source=static", vec!["somebody"]),
        ("source=all", vec!["ci/alice", "ops/admin", "ops/operator", "somebody"]),
    ] {
        let page = admin.get(&format!("/v1/principals?{query}")).await.expect("an answer").json();
        let found: Vec<&str> = page["principals"].as_array().expect("a list").iter().filter_map(|found| found["name"].as_str()).collect();
        assert_eq!(found, names, "{query}");
    }
    // Versions.
    let path = format!("/v1/principals/{id}");
    let named = json!({ "display_name": "Alice" });
    assert_eq!(told(&send_with(&admin, "PATCH", &path, named.clone(), &[("if-match", "\"7\"")]).await), "412 version_mismatch");
    assert_eq!(told(&send_with(&admin, "PATCH", &path, named.clone(), &[("if-match", "7")]).await), "400 invalid");
    let changed = send_with(&admin, "PATCH", &path, named, &[("if-match", "\"1\"")]).await;
    assert_eq!((changed.status.as_u16(), changed.headers["etag"].to_str().expect("text")), (200, "\"2\""), "{:?}", changed.body);
    assert_eq!(changed.json()["principal"]["certificates"][0]["fingerprint"], alice.fingerprint().as_str());
    for (body, key) in [
        (json!({ "valid_until": "soon" }), "valid_until"),
        (json!({ "certificates": [] }), "certificates"),
        (json!({ "permissions": [{ "routes": ["*"], "access": "all" }] }), "permissions[0].access"),
        (json!({ "id": "p-aaaaaaaaaaaa" }), "id"),
    ] {
        let refused = send(&admin, "PATCH", &path, body.clone()).await;
        assert_eq!(
            (told(&refused).as_str(), refused.json()["error"]["details"][0]["key"].as_str()),
            ("400 invalid", Some(key)),
            "{body}: {:?}",
            refused.body
        );
    }
    // Whose it is.
    let bob = Leaf::new("bob").self_signed();
    assert_eq!(told(&send(&admin, "POST", "/v1/principals", user("CI/ALICE", &bob)).await), "409 name_taken");
    assert_eq!(told(&send(&admin, "POST", "/v1/principals", user("ci/other", &alice)).await), "409 fingerprint_taken");
    assert_eq!(told(&send(&admin, "POST", "/v1/principals", user("Somebody", &bob)).await), "409 static");
    assert_eq!(told(&send(&admin, "DELETE", "/v1/principals/-?name=somebody", Value::Null).await), "409 static");
    // Certificates.
    let certificates = format!("{path}/certificates");
    let added = send(&admin, "POST", &certificates, json!({ "certificate": bob.leaf_pem() })).await;
    assert_eq!(
        (told(&added).as_str(), added.json()["principal"]["certificates"].as_array().map(Vec::len)),
        ("200", Some(2)),
        "{:?}",
        added.body
    );
    let server_only = Leaf::new("server").server_eku_only().self_signed();
    assert_eq!(told(&send(&admin, "POST", &certificates, json!({ "certificate": server_only.leaf_pem() })).await), "400 invalid");
    assert_eq!(told(&send(&admin, "POST", &certificates, json!({ "certificate": "!" })).await), "400 invalid");
    let one = format!("{certificates}/{}", bob.fingerprint());
    assert_eq!(told(&send(&admin, "DELETE", &one, Value::Null).await), "200");
    assert_eq!(told(&send(&admin, "DELETE", &one, Value::Null).await), "404 not_found");
    let zip = send(&admin, "POST", &format!("{certificates}/generate"), json!({ "password": "pa$ @word" })).await;
    assert_eq!((told(&zip).as_str(), zip.headers["content-type"].to_str().expect("text")), ("200", "application/zip"));
    assert_eq!(told(&send(&admin, "DELETE", &path, Value::Null).await), "200");
    assert_eq!(told(&send(&admin, "DELETE", &path, Value::Null).await), "404 not_found");
    assert!(Client::new(&world.proxy, Some(&alice)).get("/hello").await.is_err());
    // All of it is in the ledger, and told to the log.
    let entries = admin.get(&format!("/v1/ledger?object={id}")).await.expect("an answer").json();
    let entries = entries["entries"].as_array().expect("a list");
    assert!(entries.len() >= 6 && entries[0]["reason"] == "new" && entries[0]["actor"]["name"] == "ops/admin", "{entries:?}");
    let index = entries[0]["index"].as_u64().expect("an index");
    let receipt = admin.get(&format!("/v1/ledger/{index}/receipt")).await.expect("an answer");
    assert!(receipt.body.starts_with(b"c2sp.org/tlog-proof@v1\n"), "{:?}", receipt.body);
    assert_eq!(told(&admin.get("/v1/ledger/checkpoint").await.expect("an answer")), "200");
    assert_eq!(told(&admin.get("/v1/ledger/999999").await.expect("an answer")), "404 not_found");
    assert_eq!(told(&admin.get("/v1/ledger/x").await.expect("an answer")), "400 invalid");
    eventually("the log tells what was done and what was refused", || {
        let log = world.proxy.log();
        log.contains("principal.remove") && log.contains("name_taken")
    });
    assert!(!world.proxy.log().contains("pa$ @word"), "{}", world.proxy.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_gains_nothing_by_any_way() {
    let world = World::start().await;
    let (admin, operator) = (world.admin(), world.operator());
    let other = Leaf::new("other").self_signed();
    let low = world.user("ci/low", &Leaf::new("low").self_signed()).await;
    let (own, above) = (format!("/v1/principals/{}", world.operator_id), format!("/v1/principals/{}", world.admin_id));
    let serial = format!("sha256:{}", world.admin.fingerprint());
    let attacks = [
        ("PATCH", own.clone(), json!({ "clearance": "admin" })),
        ("PATCH", own.clone(), json!({ "role": "Administrator" })),
        ("PATCH", format!("/v1/principals/{low}"), json!({ "clearance": "node" })),
        ("POST", format!("{above}/certificates"), json!({ "certificate": other.leaf_pem() })),
        ("POST", format!("{above}/certificates/generate"), json!({})),
        ("PATCH", above.clone(), json!({ "name": "renamed" })),
        ("PATCH", above.clone(), json!({ "enabled": false })),
        ("DELETE", above.clone(), Value::Null),
        ("POST", "/v1/principals".to_owned(), json!({ "name": "x", "clearance": "admin", "certificates": [{ "der": other.leaf_pem() }] })),
        ("PUT", "/v1/principals".to_owned(), json!({ "principals": [] })),
        ("POST", "/v1/revocations".to_owned(), json!({ "id": serial })),
        ("POST", "/v1/revocations".to_owned(), json!({ "certificate": world.admin.leaf_pem() })),
        ("POST", "/v1/reload?force=true".to_owned(), json!({})),
    ];
    for (method, path, body) in &attacks {
        let answer = send(&operator, method, path, body.clone()).await;
        assert_eq!(told(&answer), "403 clearance_too_low", "{method} {path} {body}");
    }
    let taken = send(&operator, "POST", "/v1/principals", user("thief", &world.admin)).await;
    assert_eq!(told(&taken), "403 clearance_too_low");
    let conditional = send_with(&operator, "PATCH", &above, json!({ "enabled": false }), &[("if-match", "*")]).await;
    assert_eq!(told(&conditional), "403 clearance_too_low");
    // Another's answer is not to be had by its key.
    let key = [("idempotency-key", "k-1")];
    let first = send_with(&admin, "PATCH", &above, json!({ "display_name": "Root" }), &key).await;
    assert_eq!(told(&first), "200");
    let replayed = send_with(&operator, "PATCH", &above, json!({ "display_name": "Root" }), &key).await;
    assert!(!replayed.headers.contains_key("idempotency-replayed") && replayed.json()["index"].is_null(), "{:?}", replayed.body);
    let again = send_with(&admin, "PATCH", &above, json!({ "display_name": "Root" }), &key).await;
    assert_eq!((again.body.clone(), again.headers.contains_key("idempotency-replayed")), (first.body.clone(), true));
    let different = send_with(&admin, "PATCH", &above, json!({ "display_name": "Else" }), &key).await;
    assert_eq!(told(&different), "409 idempotency_key_reused");
    // What is its to do, it does.
    assert_eq!(told(&send(&operator, "PATCH", &format!("/v1/principals/{low}"), json!({ "enabled": false })).await), "200");
    assert_eq!(told(&send(&operator, "DELETE", &own, Value::Null).await), "409 own_certificate");
    assert_eq!(told(&send(&admin, "DELETE", &above, Value::Null).await), "409 last_admin");
    assert_eq!(told(&send(&admin, "PATCH", &above, json!({ "clearance": null })).await), "409 last_admin");
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_writers_at_once_make_fifty_entries() {
    let world = World::start().await;
    let before = world.admin().get("/v1/ledger").await.expect("an answer").json()["size"].as_u64().expect("a size");
    let world = std::sync::Arc::new(world);
    let writers: Vec<_> = (0..50)
        .map(|number| {
            let world = std::sync::Arc::clone(&world);
            tokio::spawn(async move {
                let body = json!({ "name": format!("ci/{number}"), "role": "Reader", "fingerprints": [format!("{number:064x}")] });
                let made = send(&world.admin(), "POST", "/v1/principals", body).await;
                assert_eq!(made.status, 201, "{:?}", made.body);
                made.json()["index"].as_u64().expect("an index")
            })
        })
        .collect();
    let mut indices = Vec::new();
    for writer in writers {
        indices.push(writer.await.expect("no panic"));
    }
    indices.sort_unstable();
    assert_eq!(indices, (before..before + 50).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_kill() {
    let mut world = World::start().await;
    for round in 0..20 {
        let body = json!({ "name": format!("ci/{round}"), "role": "Reader", "fingerprints": [format!("{round:064x}")] });
        let made = send(&world.admin(), "POST", "/v1/principals", body).await;
        world.proxy.signal("KILL");
        assert_eq!(made.status, 201, "{:?}", made.body);
        world.proxy.wait();
        world.proxy = world.workspace.start(&world.config);
        let found = world.admin().get(&format!("/v1/principals/-?name=ci/{round}")).await.expect("an answer");
        assert_eq!(found.status, 200, "round {round}: {:?}", found.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_cuts_what_is_open() {
    let world = World::start().await;
    let (alice, bob) = (Leaf::new("alice").self_signed(), Leaf::new("bob").self_signed());
    world.user("ci/alice", &alice).await;
    world.user("ci/bob", &bob).await;
    let download = Flow::download(Client::new(&world.proxy, Some(&alice)), "/endless").await;
    let socket = Flow::web_socket(Client::new(&world.proxy, Some(&alice)), "/ws").await;
    let others = Flow::web_socket(Client::new(&world.proxy, Some(&bob)), "/ws").await;
    let admin = world.admin();
    let live = admin.get("/v1/connections").await.expect("an answer").json();
    let of = |name: &str| live["connections"].as_array().expect("a list").iter().filter(|one| one["principal"] == name).count();
    assert_eq!((of("ci/alice"), of("ci/bob"), of("ops/admin")), (2, 1, 1), "{live}");
    let unknown = send(&admin, "POST", "/v1/revocations?dry_run=true", json!({ "id": "ab".repeat(32) })).await.json();
    assert!(unknown["warning"].is_string() && unknown["hits"] == json!([]), "{unknown}");
    let began = Instant::now();
    let revoked = send(&admin, "POST", "/v1/revocations", json!({ "certificate": alice.leaf_pem(), "reason": "lost" })).await;
    assert_eq!((told(&revoked).as_str(), revoked.json()["hits"][0]["principal"].as_str()), ("200", Some("ci/alice")), "{:?}", revoked.body);
    for flow in [download, socket] {
        let ended = within("the end", flow.end).await.expect("no panic");
        assert!(ended.duration_since(began).as_secs() < 5);
    }
    others.goes_on("another client's WebSocket");
    assert!(Client::new(&world.proxy, Some(&alice)).get("/hello").await.is_err());
    let listed = admin.get("/v1/revocations").await.expect("an answer").json();
    let id = listed["revocations"][0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(listed["revocations"][0]["reason"], "lost");
    assert_eq!(told(&send(&admin, "DELETE", &format!("/v1/revocations?id={id}"), Value::Null).await), "200");
    assert_eq!(told(&send(&admin, "DELETE", &format!("/v1/revocations?id={id}"), Value::Null).await), "404 not_found");
    assert_eq!(Client::new(&world.proxy, Some(&alice)).get("/hello").await.expect("admitted").status, 200);
    // A connection may be ended by itself; its client comes again.
    let live = admin.get("/v1/connections").await.expect("an answer").json();
    let bobs =
        live["connections"].as_array().expect("a list").iter().find(|one| one["principal"] == "ci/bob").expect("there")["id"].clone();
    assert_eq!(told(&send(&admin, "DELETE", &format!("/v1/connections/{bobs}"), Value::Null).await), "200");
    within("the end", others.end).await.expect("no panic");
    assert_eq!(Client::new(&world.proxy, Some(&bob)).get("/hello").await.expect("admitted").status, 200);
    assert_eq!(told(&send(&admin, "DELETE", "/v1/connections/999999", Value::Null).await), "404 not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_that_proved_its_key_is_seen_and_let_in() {
    let world = World::start().await;
    let (admin, mallory) = (world.admin(), Leaf::new("mallory").self_signed());
    assert!(Client::new(&world.proxy, Some(&mallory)).get("/hello").await.is_err());
    let seen = admin.get("/v1/refusals").await.expect("an answer").json();
    let stranger = &seen["refusals"][0];
    assert_eq!(
        (stranger["fingerprint"].as_str(), stranger["code"].as_str()),
        (Some(&*mallory.fingerprint()), Some("not_listed")),
        "{seen}"
    );
    let explained = send(&admin, "POST", "/v1/explain", json!({ "certificate": stranger["certificate"] })).await.json();
    assert_eq!((explained["verdict"].as_str(), explained["code"].as_str()), (Some("deny"), Some("not_listed")), "{explained}");
    let body = json!({ "name": "ci/mallory", "role": "Contributor", "certificates": [{ "der": stranger["certificate"] }] });
    assert_eq!(told(&send(&admin, "POST", "/v1/principals", body).await), "201");
    assert_eq!(Client::new(&world.proxy, Some(&mallory)).get("/hello").await.expect("admitted").status, 200);
    let explained =
        send(&admin, "POST", "/v1/explain", json!({ "certificate": stranger["certificate"], "route": "POST https://a.test/x" })).await;
    assert_eq!(explained.json()["verdict"], "admit", "{:?}", explained.body);
    assert_eq!(told(&send(&admin, "POST", "/v1/explain", json!({ "route": "nowhere" })).await), "400 invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_set_is_replaced_at_once() {
    let world = World::start().await;
    let admin = world.admin();
    for number in 0..3 {
        world.user(&format!("ci/{number}"), &Leaf::new("x").self_signed()).await;
    }
    let page = admin.get("/v1/principals").await.expect("an answer").json();
    let strip = |mut principal: Value| {
        for ours in ["source", "written"] {
            principal.as_object_mut().expect("an object").remove(ours);
        }
        principal
    };
    let all: Vec<Value> = page["principals"].as_array().expect("a list").iter().cloned().map(strip).collect();
    let same = send(&admin, "PUT", "/v1/principals", json!({ "principals": all })).await.json();
    assert!(same["index"].is_null() && same["changed"]["count"] == 0, "what it is already changes nothing: {same}");
    let mut wanted: Vec<Value> = all.iter().filter(|one| one["name"] != "ci/0").cloned().collect();
    let changed = wanted.iter_mut().find(|one| one["name"] == "ci/1").expect("there");
    changed["enabled"] = json!(false);
    wanted.push(user("ci/new", &Leaf::new("new").self_signed()));
    let body = json!({ "principals": wanted });
    let expect = |answer: &Value| {
        let names = |kind: &str| answer[kind]["names"].clone();
        assert_eq!((names("added"), names("changed"), names("removed")), (json!(["ci/new"]), json!(["ci/1"]), json!(["ci/0"])), "{answer}");
    };
    expect(&send(&admin, "PUT", "/v1/principals?dry_run=true", body.clone()).await.json());
    assert_eq!(told(&admin.get("/v1/principals/-?name=ci/0").await.expect("an answer")), "200");
    let done = send(&admin, "PUT", "/v1/principals", body).await.json();
    expect(&done);
    assert_eq!(done["indices"].as_array().map(Vec::len), Some(3));
    assert_eq!(told(&admin.get("/v1/principals/-?name=ci/0").await.expect("an answer")), "404 not_found");
    assert_eq!(told(&send(&admin, "PUT", "/v1/principals", json!({ "principals": [] })).await), "409 last_admin");
    let mut keep: Connection = admin.connect().await.expect("connected");
    assert_eq!(keep.get("/v1/whoami").await.expect("an answer").status, 200);
}
