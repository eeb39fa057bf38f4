//! The token in the body of a call, as the SDKs send it: judged as a bearer token is, and never passed over.

use portcullis::admission::PrincipalId;
use portcullis::challenge::{Order, Settings, Tokens};
use portcullis::pki::Fingerprint;
use serde_json::{Value, json};

use super::{World, create, with};
use crate::support::client::request_with;
use crate::support::{Identity, Leaf, eventually};

impl World {
    fn token(&self, name: &str, identity: &Identity, change: impl FnOnce(&mut Order<'_>)) -> String {
        let name = name.parse().expect("a name");
        let (principal, now) = (PrincipalId::derived(&name), portcullis::clock::Clock::default().now().as_secs());
        let (chain, audit) = (&identity.chain, &[]);
        let mut order =
            Order { principal, name: &name, chain, bound: None, now, ttl: None, valid_until: u64::MAX, identifier: None, audit };
        change(&mut order);
        let tokens = Tokens::new(Settings::default(), Some(&self.workspace.path("state")));
        tokens.issue(&order).expect("a token").token
    }

    async fn by_token(&self, caller: Option<&Identity>, header: Option<&str>, name: &str, body: Value) -> (u16, String) {
        let mut request = request_with("POST", &format!("/api/v2/auth-method-{name}"), body.to_string());
        request.headers_mut().insert("content-type", "application/json".parse().expect("a header"));
        if let Some(header) = header {
            request.headers_mut().insert("authorization", header.parse().expect("a header"));
        }
        let answer = self.client("tokens", caller).send(request).await.expect("an answer");
        (answer.status.as_u16(), String::from_utf8_lossy(&answer.body).into_owned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_in_a_body_is_worth_what_a_bearer_token_is() {
    let world = World::start().await;
    let client = Leaf::new("made").self_signed();
    let good = world.token("operator", &world.operator, |_| {});
    let user = world.token("user", &world.user, |_| {});
    let said = |token: &str| with(create("made", &client.leaf_pem()), "token", json!(token));
    let (status, answer) = world.by_token(None, None, "create-cert", said(&good)).await;
    assert!(status == 200 && answer.contains("access_id"), "{status} {answer}");
    for (name, body) in [
        ("get", json!({ "name": "made", "token": good })),
        ("list", json!({ "token": good, "uid-token": "" })),
        ("update-cert", json!({ "name": "made", "token": good, "description": "by a token" })),
    ] {
        let (status, answer) = world.by_token(None, None, name, body).await;
        assert_eq!(status, 200, "{name}: {answer}");
    }
    let over = world.token("operator", &world.operator, |order| (order.now, order.ttl) = (order.now - 120, Some(60)));
    let bound = world.token("operator", &world.operator, |order| order.bound = Some(Fingerprint::of(world.operator.leaf())));
    let forged = format!("{}AAAA", &good[..good.len() - 4]);
    let asked = |token: &str| json!({ "name": "made", "token": token });
    for (what, caller, header, token, expected) in [
        ("one that ranks too low", None, None, user.as_str(), 403),
        ("one that is over", None, None, &over, 401),
        ("a forged one", None, None, &forged, 401),
        ("one that is bound, alone", None, None, &bound, 401),
        ("one that is bound, beside its certificate", Some(&world.operator), None, &bound, 200),
        ("beside its certificate", Some(&world.operator), None, &good, 200),
        ("beside another's certificate", Some(&world.admin), None, &good, 401),
        ("beside a token in the head", None, Some(format!("Bearer {good}")), &good, 401),
        ("beside another token in the head", None, Some(format!("Bearer {good}")), &user, 401),
        ("somebody else's", None, None, "t-1234", 401),
        ("somebody else's, beside a certificate", Some(&world.operator), None, "t-1234", 400),
        ("none, beside a certificate", Some(&world.operator), None, "", 200),
        ("none", None, None, "", 401),
    ] {
        let (status, answer) = world.by_token(caller, header.as_deref(), "get", asked(token)).await;
        assert_eq!(status, expected, "{what}: {answer}");
    }
    let universal = json!({ "name": "made", "token": good, "uid-token": "u-1" });
    assert_eq!(world.by_token(None, None, "get", universal).await.0, 400);
    // Longer than any token, and than what is read of a stranger.
    for (length, expected) in [(20 << 10, 401), (200 << 10, 400)] {
        assert_eq!(world.by_token(None, None, "get", asked(&"x".repeat(length))).await.0, expected, "{length}");
    }
    // Where tokens do not count, none does in a body.
    let (status, answer) = world.call(&world.operator, "get", asked(&good)).await;
    assert!(status == 400 && answer["error"].as_str().is_some_and(|error| error.contains("token: is not taken")), "{answer}");
    let (status, _) = world.send(None, "POST", "/api/v2/auth-method-get", asked(&good)).await;
    assert_eq!(status, 401);
    // Elsewhere a body has no token, whatever it says.
    let body = json!({ "token": good, "name": "x" });
    let mut request = request_with("POST", "/v1/principals", body.to_string());
    request.headers_mut().insert("content-type", "application/json".parse().expect("a header"));
    assert_eq!(world.client("tokens", None).send(request).await.expect("an answer").status, 401);
    // Without a body the token of the head is taken back, which is how the published client calls it.
    let taken = world.token("operator", &world.operator, |_| {});
    assert_eq!(world.by_token(None, None, "get", asked(&taken)).await.0, 200);
    for expected in [200, 200] {
        let mut request = request_with("POST", "/api/v2/revoke-creds", "");
        request.headers_mut().insert("authorization", format!("Bearer {taken}").parse().expect("a header"));
        assert_eq!(world.client("tokens", None).send(request).await.expect("an answer").status, expected, "twice is no more");
        assert_eq!(world.by_token(None, None, "get", asked(&taken)).await.0, 401);
    }
    let none = request_with("POST", "/api/v2/revoke-creds", "");
    assert_eq!(world.client("tokens", None).send(none).await.expect("an answer").status, 400);
    // The log knows by which token it was, and nobody reads it there.
    let find = world.proxy.log_finder();
    eventually("a refusal by its token", || find(&["\"code\":\"token_expired\"", "\"listener\":\"tokens\"", "\"token\":\""]).is_some());
    assert!(!world.proxy.log().contains(&good), "no token in the log");
}
