//! What is no call, whose name a challenge bears, and too many of them: each is told apart, and the log has its code.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use serde_json::json;

use super::{CLIENT, World, answer_of, asking, cert_data, sign};
use crate::support::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_call_is_told_so() {
    let world = World::start(ACCESS_LOG).await;
    let certificates = cert_data(&world.client);
    let megabyte = STANDARD.encode(vec![0x30; 1 << 20]);
    for (name, body) in [
        ("get-cert-challenge", json!({})),
        ("get-cert-challenge", json!([])),
        ("get-cert-challenge", json!({ "access-id": CLIENT })),
        ("get-cert-challenge", json!({ "access-id": 7, "cert-data": certificates })),
        ("get-cert-challenge", json!({ "access-id": "x".repeat(256), "cert-data": certificates })),
        ("get-cert-challenge", json!({ "access-id": CLIENT, "cert-data": "nothing" })),
        ("get-cert-challenge", json!({ "access-id": CLIENT, "cert-data": megabyte })),
        ("get-cert-challenge", json!({ "access-id": CLIENT, "cert-data": STANDARD.encode(vec![b' '; 70 << 10]) })),
        ("auth", json!({ "access-type": "access_key", "access-id": CLIENT, "cert-data": certificates })),
        ("auth", json!({ "access-type": "cert", "access-id": CLIENT, "cert-data": certificates })),
        (
            "auth",
            json!({ "access-type": "cert", "access-id": CLIENT, "cert-data": megabyte, "cert-challenge": "", "signed-cert-challenge": "" }),
        ),
        ("validate-token", json!({})),
        ("describe-sub-claims", json!({ "token": null })),
    ] {
        let answer = world.call(name, body.clone()).await;
        let shown: String = body.to_string().chars().take(80).collect();
        assert_eq!(answer.status, 400, "{name} {shown}");
        assert!(answer.json()["error"].as_str().is_some_and(|error| !error.is_empty()), "{name} {shown}");
        let request_id = answer.headers["x-request-id"].to_str().expect("text");
        let code = if body.to_string().len() > 128 << 10 { "body_too_large" } else { "malformed_request" };
        let (code, status) = (format!("\"code\":\"{code}\""), "\"status\":400");
        eventually(&format!("{name} {shown}: {code}"), || logged(&world, &[request_id, &code, status]));
    }
    let get = world.client(None).get("/api/v2/auth").await.expect("an answer");
    assert_eq!((get.status.as_u16(), &get.headers["allow"]), (405, &HeaderValue::from_static("POST")));
    assert_eq!(world.client(None).get("/api/v2/elsewhere").await.expect("an answer").status, 401, "a stranger learns no paths");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_names_a_host_of_ours_or_none_that_was_dialled() {
    let world = World::start("").await;
    let port = world.proxy.address("prove").port();
    let body = json!({ "access-id": CLIENT, "cert-data": cert_data(&world.client) });
    for (host, origin) in [
        (format!("localhost:{port}"), format!("https://localhost:{port}")),
        (format!("a.test:{port}"), format!("https://a.test:{port}")),
        ("b.test".to_owned(), "https://b.test".to_owned()),
        // Whoever relays calls to us under a name of its own.
        (format!("evil.test:{port}"), "https://localhost".to_owned()),
        ("203.0.113.7".to_owned(), "https://localhost".to_owned()),
    ] {
        let client = world.client(None).sni(if host.starts_with("203") { "localhost" } else { host.split(':').next().expect("a name") });
        let Ok(answer) = client.send(asking("get-cert-challenge", &host, &body)).await else {
            // A client that verifies the certificate never gets so far.
            assert!(host.starts_with("evil"), "{host}");
            continue;
        };
        if host.starts_with("203") && answer.status == 421 {
            continue;
        }
        let challenge = STANDARD.decode(answer.json()["challenge"].as_str().expect("a challenge")).expect("base64");
        let read = portcullis::challenge::Message::read(&challenge).expect("a challenge");
        assert_eq!(read.origin, origin, "{host}");
    }
    // Asked for under one name, answered under another.
    let challenge = world.challenge(&world.client, CLIENT).await;
    let body = answer_of(CLIENT, &cert_data(&world.client), &challenge, &sign(&world.client, &challenge));
    let answer = world.client(None).sni("a.test").send(asking("auth", &format!("a.test:{port}"), &body)).await.expect("an answer");
    assert_eq!(answer.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_challenges_is_answered_429_and_keeps_nothing() {
    let world = World::start("").await;
    let slow = "challenge_rate = 1000";
    let config = std::fs::read_to_string(world.proxy.path("portcullis.toml")).expect("readable").replace(slow, "challenge_rate = 5");
    let before = world.proxy.generation();
    world.proxy.replace("portcullis.toml", config);
    world.proxy.wait_for_generation_after(before);
    let mut connection = world.client(None).connect().await.expect("a connection");
    let body = json!({ "access-id": CLIENT, "cert-data": cert_data(&world.client) });
    let (mut answered, mut refused) = (0, None);
    for _ in 0..200 {
        let answer = connection.exchange(asking("get-cert-challenge", "localhost", &body)).await.expect("an answer");
        match answer.status.as_u16() {
            200 => answered += 1,
            429 => refused = Some(answer),
            status => panic!("{status}"),
        }
    }
    let refused = refused.unwrap_or_else(|| panic!("{answered} answered, none refused"));
    let (find, request_id) = (world.proxy.log_finder(), refused.headers["x-request-id"].to_str().expect("text"));
    eventually("a line", || find(&[request_id, "\"code\":\"rate_limited\""]).is_some());
    assert!(refused.headers.contains_key("retry-after") && refused.json()["error"].is_string(), "{refused:?}");
    assert!(world.proxy.metric("portcullis_overloads_total{limit=\"challenge_rate\"}").is_some_and(|count| count > 0.0));
    assert!(world.denied("rate_limited") > 0.0);
}

const ACCESS_LOG: &str = "[audit]\ndestination = \"access.log\"\n";

/// Tells whether the access log has a line with all of these texts.
fn logged(world: &World, texts: &[&str]) -> bool {
    let log = std::fs::read_to_string(world.proxy.path("access.log")).unwrap_or_default();
    log.lines().any(|line| texts.iter().all(|text| line.contains(text)))
}
