//! A key proven without a TLS client certificate: challenges, answers, and every way to cheat at them. Each refusal looks alike to whoever
//! is refused; the log has the code.

mod calls;
mod forged;
mod forms;
mod pages;
mod worth;

use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderValue, Request};
use portcullis::challenge::signing;
use portcullis::pki::files;
use serde_json::{Value, json};

use crate::support::client::{Answer, Body, request_with};
use crate::support::{Client, Identity, Leaf, TestProxy, TestUpstream, Workspace};

const CLIENT: &str = "p-clientclient";
const OTHER: &str = "p-otherotherot";
const DISABLED: &str = "p-disableddisa";

struct World {
    proxy: TestProxy,
    _upstream: TestUpstream,
    client: Identity,
    other: Identity,
    disabled: Identity,
}

impl World {
    async fn start(more: &str) -> Self {
        let upstream = TestUpstream::start().await;
        let workspace = Workspace::new();
        let mut config = LISTENER.to_owned();
        let mut make = |name: &str, id: &str, terms: &str| {
            let identity = Leaf::new(name).self_signed();
            identity.write(workspace.directory.path(), name);
            config += &format!(
                "[[principal]]\nname = \"{name}\"\nid = \"{id}\"\nrole = \"Contributor\"\ncertificates = [\"{name}.pem\"]\n{terms}\n"
            );
            identity
        };
        let client = make("client", CLIENT, "audit_claims = [\"common_name\"]");
        let (other, disabled) = (make("other", OTHER, ""), make("disabled", DISABLED, "enabled = false"));
        let proxy = workspace.start_with_somebody(&Workspace::config("request", &upstream.url(), &format!("{config}{more}")));
        Self { proxy, _upstream: upstream, client, other, disabled }
    }

    fn client(&self, shown: Option<&Identity>) -> Client {
        Client::of_listener(&self.proxy, "prove", shown, rustls::ALL_VERSIONS, false)
    }

    async fn call(&self, name: &str, body: Value) -> Answer {
        call(&self.client(None), name, body).await
    }

    /// Gets a challenge.
    async fn challenge(&self, identity: &Identity, id: &str) -> Vec<u8> {
        let answer = self.call("get-cert-challenge", json!({ "access-id": id, "cert-data": cert_data(identity) })).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        STANDARD.decode(answer.json()["challenge"].as_str().expect("a challenge")).expect("base64")
    }

    /// Counts a code's denials, as the metric has them.
    fn denied(&self, code: &str) -> f64 {
        self.proxy.metric(&format!("portcullis_denials_total{{listener=\"prove\",code=\"{code}\"}}")).unwrap_or_default()
    }

    fn url(&self) -> String {
        format!("https://localhost:{}", self.proxy.address("prove").port())
    }

    /// Runs a command of the binary against the gateway.
    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.args(arguments).args(["--cacert", "server.pem"]).env("PORTCULLIS_GATEWAY", self.url());
        command.current_dir(self.proxy.directory()).output().expect("the binary runs")
    }
}

async fn call(client: &Client, name: &str, body: Value) -> Answer {
    let host = format!("localhost:{}", client.address().port());
    client.send(asking(name, &host, &body)).await.expect("an answer")
}

fn asking(name: &str, host: &str, body: &Value) -> Request<Body> {
    let mut request = request_with("POST", &format!("/api/v2/{name}"), body.to_string());
    request.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    request.headers_mut().insert("host", host.parse().expect("a host"));
    request
}

fn cert_data(identity: &Identity) -> String {
    STANDARD.encode(identity.chain_pem())
}

fn sign(identity: &Identity, message: &[u8]) -> Vec<u8> {
    let key = files::private_key(identity.key_pem.as_bytes(), None).expect("a key");
    signing::sign(&key, message).expect("a signature")
}

fn answer_of(id: &str, cert_data: &str, challenge: &[u8], signature: &[u8]) -> Value {
    json!({
        "access-type": "cert",
        "access-id": id,
        "cert-data": cert_data,
        "cert-challenge": STANDARD.encode(challenge),
        "signed-cert-challenge": STANDARD.encode(signature),
    })
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Reads the claims of a token, whoever signed it.
fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64url")).expect("JSON")
}

const LISTENER: &str = r#"
[[listener]]
name = "prove"
address = "127.0.0.1:0"
client_auth = "request"
serve = ["challenge"]
certificates = [{ cert = "server.pem", key = "server.key" }]

[[listener]]
name = "bearer"
address = "127.0.0.1:0"
client_auth = "request"
tokens = true
certificates = [{ cert = "server.pem", key = "server.key" }]

[limits]
denial_lines = 1000
challenge_rate = 1000

"#;

#[tokio::test(flavor = "multi_thread")]
async fn whoever_signs_a_challenge_gets_a_token() {
    let world = World::start("").await;
    let challenge = world.challenge(&world.client, CLIENT).await;
    let (challenge, signature) = (&challenge, sign(&world.client, &challenge));
    let answer = world.call("auth", answer_of(CLIENT, &cert_data(&world.client), challenge, &signature)).await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let issued = answer.json();
    let token = issued["token"].as_str().expect("a token");
    assert_eq!(issued["creds"]["access_id"], CLIENT);
    let told = claims(token);
    assert_eq!((&told["sub"], &told["name"], &told["cnf"]), (&json!(CLIENT), &json!("client"), &Value::Null), "{told}");
    assert_eq!(told["x5c"][0], STANDARD.encode(world.client.leaf()));
    // What it is worth, and by whom it is signed.
    let worth = world.call("validate-token", json!({ "token": token })).await.json();
    assert_eq!(worth["is_valid"], true, "{worth}");
    assert!(worth["ttl"].as_u64().is_some_and(|ttl| (3500..=3600).contains(&ttl)), "{worth}");
    let described = world.call("describe-sub-claims", json!({ "token": token })).await.json();
    assert_eq!(described["sub_claims"]["common_name"], json!(["client"]), "{described}");
    let keys = world.client(None).get("/.well-known/jwks.json").await.expect("an answer").json();
    let header = token.split('.').next().expect("a header");
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).expect("base64url")).expect("JSON");
    assert!(keys["keys"].as_array().expect("keys").iter().any(|key| key["kid"] == header["kid"]), "{keys}");
    for wrong in ["", "t-nothing", "a.b.c", &format!("{token}x")] {
        let worth = world.call("validate-token", json!({ "token": wrong })).await.json();
        assert_eq!(worth["is_valid"], false, "{wrong}: {worth}");
        assert_eq!(world.call("describe-sub-claims", json!({ "token": wrong })).await.status, 401, "{wrong}");
    }
    assert!(!world.proxy.log().contains(token), "no token in the log");
}

/// Who answers for nobody in particular keeps no answers: by the key of another's call its token could be had again.
#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_brings_no_answer_back_to_whoever_says_it() {
    let world = World::start("").await;
    let challenge = world.challenge(&world.client, CLIENT).await;
    let body = answer_of(CLIENT, &cert_data(&world.client), &challenge, &sign(&world.client, &challenge));
    let client = world.client(None);
    let host = format!("localhost:{}", client.address().port());
    for status in [200, 401, 401] {
        let mut request = asking("auth", &host, &body);
        request.headers_mut().insert("idempotency-key", HeaderValue::from_static("k-1"));
        let answer = client.send(request).await.expect("an answer");
        assert_eq!(answer.status, status, "a challenge is answered once: {}", String::from_utf8_lossy(&answer.body));
        assert!(!answer.headers.contains_key("idempotency-replayed"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_prove_a_key_that_stays_where_it_is() {
    let world = World::start("").await;
    let auth = |more: &[&str]| {
        let base = ["auth", "--access-id", CLIENT, "--access-type", "cert", "--cert-file-name", "client.pem", "--key-file-name"];
        world.run(&[&base[..], more].concat())
    };
    let output = auth(&["client.key"]);
    assert!(output.status.success(), "{}", text(&output));
    let token = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert_eq!(claims(&token)["cnf"], Value::Null);
    let valid = world.run(&["token", "validate", &token]);
    assert!(valid.status.success() && text(&valid).contains("valid until"), "{}", text(&valid));
    assert_eq!(world.run(&["token", "validate", "a.b.c"]).status.code(), Some(1));
    // Shown in the handshake too, it is bound to the certificate (RFC 8705, 3.1).
    let bound = auth(&["client.key", "--bind"]);
    let bound = claims(String::from_utf8_lossy(&bound.stdout).trim());
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, world.client.leaf());
    assert_eq!(bound["cnf"]["x5t#S256"], URL_SAFE_NO_PAD.encode(digest));
    // Step by step, as the page of the original has it.
    let asked = world.run(&["get-cert-challenge", "--access-id", CLIENT, "--cert-data", &cert_data(&world.client)]);
    let line = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
    let challenge = line.strip_prefix("Challenge: ").unwrap_or_else(|| panic!("{}", text(&asked)));
    let mut sign = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    sign.args(["sign-challenge", "--key-file-name", "client.key", challenge, "--gateway-url", &world.url()]);
    let signed = sign.current_dir(world.proxy.directory()).output().expect("the binary runs");
    let signature = STANDARD.decode(String::from_utf8_lossy(&signed.stdout).trim()).expect("base64");
    let challenge = STANDARD.decode(challenge).expect("base64");
    let answer = world.call("auth", answer_of(CLIENT, &cert_data(&world.client), &challenge, &signature)).await;
    assert_eq!(answer.status, 200);
    for (what, output, exit) in [
        ("another's key", auth(&["other.key"]), 3),
        ("no key", auth(&["nothing.key"]), 3),
        ("another gateway", auth(&["client.key", "--gateway-url", "https://localhost:1"]), 4),
        ("no gateway of ours", auth(&["client.key", "--gateway-url", &format!("{}/elsewhere", world.url())]), 1),
    ] {
        assert_eq!(output.status.code(), Some(exit), "{what}: {}", text(&output));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_taken_only_where_that_is_switched_on() {
    let world = World::start("[token]\naccept_key_data = true\n").await;
    let with = |key: &str| {
        let key = STANDARD.encode(key);
        json!({ "access-type": "cert", "access-id": CLIENT, "cert-data": cert_data(&world.client), "key-data": key })
    };
    let answer = world.call("auth", with(&world.client.key_pem)).await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    for wrong in [world.other.key_pem.as_str(), "nothing"] {
        assert_eq!(world.call("auth", with(wrong)).await.status, 401);
    }
    let log = world.proxy.log();
    assert!(!log.contains("PRIVATE KEY") && !log.contains(&STANDARD.encode(&world.client.key_pem)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_a_route_until_it_is_taken_back() {
    let world = World::start("").await;
    let auth = ["auth", "--access-id", CLIENT, "--cert-file-name", "client.pem", "--key-file-name", "client.key"];
    let token = |more: &[&str]| {
        let output = world.run(&[&auth[..], more].concat());
        assert!(output.status.success(), "{}", text(&output));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let (kept, taken) = (token(&[]), token(&[]));
    let client = Client::of_listener(&world.proxy, "bearer", None, rustls::ALL_VERSIONS, false);
    let passes = async |token: &str| {
        let mut request = request_with("GET", "/hello", "");
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().expect("a header"));
        client.send(request).await.expect("an answer")
    };
    assert_eq!((passes(&kept).await.status.as_u16(), passes(&taken).await.status.as_u16()), (200, 200));
    // Once is enough, and twice is no more.
    for _ in 0..2 {
        let revoked = world.run(&["token", "revoke", &taken]);
        assert!(revoked.status.success(), "{}", text(&revoked));
        let refused = passes(&taken).await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (401, "token_invalid"));
    }
    assert_eq!(world.run(&["token", "validate", &taken]).status.code(), Some(1));
    assert_eq!(passes(&kept).await.status, 200, "the other one counts");
    let entries = world.proxy.log().lines().filter(|line| line.contains("\"action\":\"token.revoke\"")).count();
    assert_eq!(entries, 1, "one change");
    for wrong in ["a.b.c", &format!("{kept}x")] {
        assert_eq!(world.run(&["token", "revoke", wrong]).status.code(), Some(1), "{wrong}");
    }
    let (_, keys) = world.proxy.monitor("/jwks.json").expect("the monitor answers");
    assert_eq!(keys.trim_end(), String::from_utf8_lossy(&world.client(None).get("/.well-known/jwks.json").await.expect("an answer").body));
}
