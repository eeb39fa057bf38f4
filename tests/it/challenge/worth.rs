//! What a token that was answered for says and how long it lasts; and what ends a client ends its token, on its next request.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{CLIENT, World, answer_of, call, cert_data, claims, sign};
use crate::support::calls::{CONTROL, Caller};
use crate::support::client::{Connection, request};
use crate::support::{Client, Identity, Leaf, TestCa, eventually};

impl World {
    /// Answers a challenge over a connection; returns what it is answered.
    async fn proves(&self, client: &Client, identity: &Identity, id: &str) -> Value {
        let challenge = self.challenge(identity, id).await;
        let body = answer_of(id, &cert_data(identity), &challenge, &sign(identity, &challenge));
        let answer = call(client, "auth", body).await;
        assert_eq!(answer.status, 200, "{id}: {}", String::from_utf8_lossy(&answer.body));
        answer.json()
    }

    async fn token(&self, identity: &Identity, id: &str) -> String {
        let answer = self.proves(&self.client(None), identity, id).await;
        answer["token"].as_str().expect("a token").to_owned()
    }
}

fn principal(name: &str, id: &str, identity: &Identity, terms: &str) -> String {
    let fingerprint = identity.fingerprint();
    format!("[[principal]]\nname = \"{name}\"\nid = \"{id}\"\nfingerprints = [\"sha256:{fingerprint}\"]\n{terms}\n")
}

fn now() -> u64 {
    portcullis::clock::Clock::default().now().as_secs()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_lasts_no_longer_than_anything_that_it_stands_for() {
    const READER: &str = "role = \"Reader\"";
    let [brief, long, ending] = ["brief", "long", "ending"].map(|name| Leaf::new(name).self_signed());
    let leaving = Leaf::new("leaving").expires_in(900).self_signed();
    let until = portcullis::date::Date::of(now() + 600);
    let mut more = "[token]\nttl = \"40m\"\nmax_ttl = \"2h\"\nissuer = \"gate.test\"\naudience = \"services\"\n".to_owned();
    more += &principal("brief", "p-briefbriefbr", &brief, &format!("{READER}\ntoken_ttl = \"30m\""));
    more += &principal("long", "p-longlonglong", &long, &format!("{READER}\ntoken_ttl = \"3h\""));
    more += &principal("ending", "p-endingending", &ending, &format!("{READER}\nvalid_until = {until}"));
    more += &principal("leaving", "p-leavingleavi", &leaving, READER);
    let world = World::start(&more).await;
    for (what, identity, id, most) in [
        ("as [token] says", &world.client, CLIENT, 2_400),
        ("as its principal says", &brief, "p-briefbriefbr", 1_800),
        ("as max_ttl allows", &long, "p-longlonglong", 7_200),
        ("as long as its principal", &ending, "p-endingending", 600),
        ("as long as its certificate", &leaving, "p-leavingleavi", 900),
    ] {
        let answer = world.proves(&world.client(None), identity, id).await;
        let token = answer["token"].as_str().expect("a token");
        let told = claims(token);
        let (issued, expires) = (told["iat"].as_u64().expect("a time"), told["exp"].as_u64().expect("a time"));
        // What ends at a time of its own was made some time ago; its last second counts, and `exp` is the first that does not.
        assert!((most - 120..=most + 1).contains(&(expires - issued)), "{what}: {told}");
        assert!(most < 1_000 || expires - issued == most, "{what}: {told}");
        assert_eq!(
            (&told["iss"], &told["aud"], &told["sub"], &told["nbf"]),
            (&json!("gate.test"), &json!("services"), &json!(id), &told["iat"])
        );
        assert_eq!(told["x5c"], json!([STANDARD.encode(identity.leaf())]), "{what}");
        let expected = json!({ "access_id": id, "expiry": expires, "token": token });
        assert_eq!(
            (&answer["creds"], &answer["expiration"]),
            (&expected, &json!(portcullis::date::Date::of(expires).to_string())),
            "{what}"
        );
        let header: Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').next().expect("a header")).expect("base64url")).expect("JSON");
        let keys = world.client(None).get("/.well-known/jwks.json").await.expect("an answer").json();
        assert_eq!(header, json!({ "alg": "ES256", "kid": keys["keys"][0]["kid"], "typ": "portcullis+jwt" }), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_bound_only_where_its_own_certificate_was_shown() {
    let world = World::start("").await;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, world.client.leaf());
    let bound = json!({ "x5t#S256": URL_SAFE_NO_PAD.encode(digest) });
    for (what, shown, expected) in
        [("nothing", None, &Value::Null), ("the certificate", Some(&world.client), &bound), ("another's", Some(&world.other), &Value::Null)]
    {
        let answer = world.proves(&world.client(shown), &world.client, CLIENT).await;
        let token = answer["token"].as_str().expect("a token");
        assert_eq!(&claims(token)["cnf"], expected, "{what}");
        // Asked about, it is worth what it is beside the certificate of whoever asks.
        for (beside, is_valid) in [(None, expected.is_null()), (Some(&world.client), true), (Some(&world.other), false)] {
            let validated = call(&world.client(beside), "validate-token", json!({ "token": token })).await.json();
            assert_eq!(validated["is_valid"], json!(is_valid), "{what}: {validated}");
        }
    }
    // A certificate that is shown has to be admitted itself: a key proven beside it does not make up for it.
    let stranger = Leaf::new("stranger").self_signed();
    let twin = Leaf::new("client").key_of(&world.client).self_signed();
    for (shown, code) in [(&stranger, "not_listed"), (&twin, "not_listed"), (&world.disabled, "principal_disabled")] {
        let challenge = world.challenge(&world.client, CLIENT).await;
        let body = answer_of(CLIENT, &cert_data(&world.client), &challenge, &sign(&world.client, &challenge));
        let answer = call(&world.client(Some(shown)), "auth", body.clone()).await;
        assert_eq!(answer.status, 401, "{code}");
        assert!(answer.json()["error"].as_str().is_some_and(|error| error.starts_with(code)), "{code}: {:?}", answer.body);
        let (find, request_id) = (world.proxy.log_finder(), answer.headers["x-request-id"].to_str().expect("text"));
        let of_request = "\"checkpoint\":\"request\"";
        eventually("a line", || find(&[request_id, of_request, &format!("\"code\":\"{code}\"")]).is_some());
        assert_eq!(call(&world.client(None), "auth", body).await.status, 200, "and it used nothing up");
    }
}

/// Sends a request by a token over a connection that stays; returns the status and the code.
async fn asks(live: &mut Connection, token: &str) -> String {
    let mut request = request("GET", "/hello");
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().expect("a header"));
    let answer = live.exchange(request).await.expect("an answer");
    match answer.status.as_u16() {
        200 => "200".to_owned(),
        status => format!("{status} {}", answer.code()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_a_client_ends_its_token_on_its_next_request() {
    let operator = Leaf::new("operator").self_signed();
    let more = format!("{CONTROL}{}", principal("operator", "p-operatoroper", &operator, "clearance = \"operator\""));
    let world = World::start(&more).await;
    let operator = Caller::new(&world.proxy, &operator);
    let ca = TestCa::new("ca");
    let leaf = ca.issue(Leaf::new("job-1"));
    let authority = json!([{ "certificates": [ca.pem()], "common_names": ["job-*"] }]);
    let made = operator.call("POST", "/v1/principals", &json!({ "name": "jobs", "role": "Reader", "authority": authority })).await;
    assert_eq!(made.status, 201, "{}", String::from_utf8_lossy(&made.body));
    let id = made.json()["principal"]["id"].as_str().expect("an id").to_owned();
    let path = format!("/v1/principals/{id}");
    let token = world.token(&leaf, &id).await;
    let edge = Client::of_listener(&world.proxy, "bearer", None, rustls::ALL_VERSIONS, true);
    let mut live = edge.connect().await.expect("a connection");
    let past = portcullis::date::Date::of(now() - 60).to_string();
    let narrower = json!([{ "certificates": [ca.pem()], "common_names": ["task-*"] }]);
    let elsewhere = json!([{ "certificates": [TestCa::new("another ca").pem()], "common_names": ["job-*"] }]);
    for (what, change, back, code) in [
        ("disabled", json!({ "enabled": false }), json!({ "enabled": true }), "403 principal_disabled"),
        ("over", json!({ "valid_until": past }), json!({ "valid_until": null }), "403 principal_expired"),
        ("from elsewhere", json!({ "client_ips": ["203.0.113.0/24"] }), json!({ "client_ips": null }), "403 client_ip_denied"),
        ("for another surface", json!({ "serve": ["challenge"] }), json!({ "serve": null }), "403 surface_denied"),
        ("bound otherwise", json!({ "authority": narrower }), json!({ "authority": authority }), "403 bounds_mismatch"),
        ("of another authority", json!({ "authority": elsewhere }), json!({ "authority": authority }), "403 not_listed"),
        ("without a permission", json!({ "role": null }), json!({ "role": "Reader" }), "403 not_permitted"),
    ] {
        assert_eq!(asks(&mut live, &token).await, "200", "before it is {what}");
        assert_eq!(operator.told("PATCH", &path, &change).await, "200", "{what}");
        assert_eq!(asks(&mut live, &token).await, code, "{what}");
        assert_eq!(operator.told("PATCH", &path, &back).await, "200", "{what}");
    }
    assert_eq!(asks(&mut live, &token).await, "200");
    let revoked = operator.call("POST", "/v1/revocations", &json!({ "certificate": leaf.leaf_pem() })).await;
    assert_eq!((revoked.status.as_u16(), asks(&mut live, &token).await.as_str()), (200, "403 revoked"));
    let listed = operator.call("GET", "/v1/revocations", &Value::Null).await.json();
    let revocation = listed["revocations"][0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(operator.told("DELETE", &format!("/v1/revocations?id={revocation}"), &Value::Null).await, "200");
    assert_eq!(asks(&mut live, &token).await, "200");
    // Its certificate becomes another's: the token is in the first one's name.
    assert_eq!(operator.told("DELETE", &path, &Value::Null).await, "200");
    assert_eq!(asks(&mut live, &token).await, "403 not_listed");
    let other = operator.register("heir", &leaf, json!({ "role": "Reader" })).await;
    assert_eq!(asks(&mut live, &token).await, "401 token_invalid");
    let of_other = world.token(&leaf, &other).await;
    assert_eq!((asks(&mut live, &of_other).await.as_str(), asks(&mut live, &token).await.as_str()), ("200", "401 token_invalid"));
    assert_eq!(operator.told("DELETE", &format!("/v1/principals/{other}"), &Value::Null).await, "200");
    assert_eq!(asks(&mut live, &of_other).await, "403 not_listed");
    // And whoever has no token gets none.
    let challenge = world.challenge(&leaf, &id).await;
    let body = answer_of(&id, &cert_data(&leaf), &challenge, &sign(&leaf, &challenge));
    super::forged::refused(&world, "nobody any more", body, "not_listed").await;
}
