//! An attacker's tokens: made without our key, shown twice, elsewhere, in another's hand, or where nobody looks. Each through the real
//! binary; what opens nothing says why in the log, and no upstream reads one.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::Request;
use http::header::{HeaderName, WWW_AUTHENTICATE};
use serde_json::{Value, json};

use super::{World, bearer, told, with};
use crate::support::client::{Body, request};
use crate::support::raw::Raw;
use crate::support::{Leaf, eventually};

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A token of ours, taken apart.
struct Apart {
    header: Value,
    payload: Value,
    signature: String,
}

impl Apart {
    fn of(token: &str) -> Self {
        let [header, payload, signature] = token.split('.').collect::<Vec<_>>().try_into().expect("three parts");
        let json = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON");
        Self { header: json(header), payload: json(payload), signature: signature.to_owned() }
    }

    fn header(&self, key: &str, value: Value) -> Value {
        let mut header = self.header.clone();
        header[key] = value;
        header
    }

    fn payload(&self, key: &str, value: Value) -> Value {
        let mut payload = self.payload.clone();
        payload[key] = value;
        payload
    }

    fn unsigned(header: &Value, payload: &Value) -> String {
        format!("{}.{}", encode(header.to_string()), encode(payload.to_string()))
    }

    /// Somebody else's text under our signature.
    fn glued(&self, header: &Value, payload: &Value) -> String {
        format!("{}.{}", Self::unsigned(header, payload), self.signature)
    }
}

/// A key that is not ours.
struct Forger(EcdsaKeyPair);

impl Forger {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"))
    }

    fn sign(&self, header: &Value, payload: &Value) -> String {
        let signed = Apart::unsigned(header, payload);
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).expect("a signature");
        format!("{signed}.{}", encode(signature.as_ref()))
    }

    fn jwk(&self) -> Value {
        let (x, y) = self.0.public_key().as_ref()[1..].split_at(32);
        json!({ "kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y) })
    }
}

/// The twin of a signature: r and n - s are by the same key over the same text.
fn twin(signature: &str) -> String {
    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84,
        0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    let mut borrow = 0_i16;
    for at in (0..32).rev() {
        let rest = i16::from(ORDER[at]) - i16::from(bytes[32 + at]) - borrow;
        borrow = i16::from(rest < 0);
        bytes[32 + at] = u8::try_from(rest.rem_euclid(256)).expect("a byte");
    }
    encode(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_no_key_of_ours_makes_no_token() {
    let world = World::start().await;
    let good = world.token("alice", &world.alice);
    let apart = Apart::of(&good);
    let (header, payload) = (&apart.header, &apart.payload);
    let forger = Forger::new();
    let mallory = Leaf::new("mallory").self_signed();
    let (_, keys) = world.proxy.monitor("/jwks.json").expect("the monitor answers");
    let published: Value = serde_json::from_str(&keys).expect("JSON");
    let public = published["keys"].as_array().and_then(|keys| keys.iter().find(|key| key["kid"] == header["kid"])).expect("our key");
    let hmac_of = |secret: &[u8]| {
        let signed = Apart::unsigned(&apart.header("alg", json!("HS256")), payload);
        format!("{signed}.{}", encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes())))
    };
    let point = [
        &[4][..],
        &URL_SAFE_NO_PAD.decode(public["x"].as_str().expect("x")).expect("base64url"),
        &URL_SAFE_NO_PAD.decode(public["y"].as_str().expect("y")).expect("base64url"),
    ]
    .concat();
    let with_chain = |identity: &crate::support::Identity| apart.payload("x5c", json!([STANDARD.encode(identity.leaf())]));
    let sent = world.upstream.received().len();
    let mut forged: Vec<(String, String)> = Vec::new();
    let mut add = |what: &str, token: String| forged.push((what.to_owned(), token));
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let head = apart.header("alg", json!(alg));
        add(&format!("alg {alg:?}, no signature"), format!("{}.", Apart::unsigned(&head, payload)));
        add(&format!("alg {alg:?}, our signature"), apart.glued(&head, payload));
    }
    for alg in [json!("HS256"), json!("ES384"), json!("EdDSA"), json!("RS256"), json!("es256"), json!(["ES256"]), Value::Null] {
        add(&format!("alg {alg}"), apart.glued(&apart.header("alg", alg.clone()), payload));
        add(&format!("alg {alg}, by another key"), forger.sign(&apart.header("alg", alg), payload));
    }
    add("HMAC by the JWK", hmac_of(public.to_string().as_bytes()));
    add("HMAC by the JWK set", hmac_of(keys.as_bytes()));
    add("HMAC by the point", hmac_of(&point));
    add("HMAC by nothing", hmac_of(b"\0"));
    add("another key under our kid", forger.sign(header, payload));
    add("another key, sent along", forger.sign(&apart.header("jwk", forger.jwk()), payload));
    add(
        "another key, by its certificate in the header",
        forger.sign(&apart.header("x5c", json!([STANDARD.encode(mallory.leaf())])), payload),
    );
    for key in ["jku", "x5u"] {
        add(&format!("another key, by {key}"), forger.sign(&apart.header(key, json!("https://evil.test/keys.json")), payload));
    }
    for kid in ["../../../etc/passwd", "../server", "/dev/null", "", "' OR 1=1 --", "%2e%2e/x", "a\u{0}b", "tokens/../server.key"] {
        add(&format!("kid {kid:?}"), forger.sign(&apart.header("kid", json!(kid)), payload));
    }
    for kid in [json!(0), json!(null), json!([header["kid"]]), json!({ "": "" })] {
        add(&format!("kid {kid}"), apart.glued(&apart.header("kid", kid), payload));
    }
    add("crit", apart.glued(&apart.header("crit", json!(["b64"])), payload));
    add("b64 false", apart.glued(&apart.header("b64", json!(false)), payload));
    add("compressed", apart.glued(&apart.header("zip", json!("DEF")), payload));
    for (key, value) in [
        ("exp", json!(u64::MAX)),
        ("exp", json!("never")),
        ("iss", json!("elsewhere")),
        ("sub", json!("p-aaaaaaaaaaaa")),
        ("name", json!("operator")),
        ("jti", json!("00000000000000000000000000000000")),
        ("cnf", Value::Null),
    ] {
        add(&format!("{key} {value} under our signature"), apart.glued(header, &apart.payload(key, value)));
    }
    add("another certificate under our signature", apart.glued(header, &with_chain(&mallory)));
    add("the operator's certificate under our signature", apart.glued(header, &with_chain(&world.operator)));
    add("a signature of zeros", format!("{}.{}", Apart::unsigned(header, payload), encode([0; 64])));
    add("a signature of 0 and n", format!("{}.{}", Apart::unsigned(header, payload), encode([[0; 32], [0xff; 32]].concat())));
    add("a fourth part", format!("{good}.{}", apart.signature));
    add("longer than any", format!("{}.{}.{}", good.split('.').next().expect("a part"), "A".repeat(17 << 10), apart.signature));
    let mut connection = world.client("edge", None, true).connect().await.expect("a connection");
    for (what, token) in &forged {
        let answer = connection.exchange(with("/a", &[&bearer(token)])).await.expect("an answer");
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, "token_invalid"), "{what}");
        assert!(answer.headers[WWW_AUTHENTICATE].to_str().expect("text").starts_with("Bearer "), "{what}");
    }
    assert_eq!(world.upstream.received().len(), sent, "none of them went on");
    assert_eq!(told(&connection.exchange(with("/a", &[&bearer(&good)])).await.expect("an answer")), "admitted", "on the same connection");
    let find = world.proxy.log_finder();
    for why in [
        "its algorithm is not the one of our keys",
        "no key of ours signed it",
        "its signature is not by our key",
        "its header is none of ours",
    ] {
        eventually(why, || find(&["token_invalid", why]).is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_taken_back_stays_so_in_every_spelling() {
    let world = World::start().await;
    let token = world.token("alice", &world.alice);
    let (signed, signature) = token.rsplit_once('.').expect("parts");
    let other = format!("{signed}.{}", twin(signature));
    assert_ne!(token, other);
    assert_eq!(told(&world.ask("edge", None, "/a", &[&bearer(&other)]).await), "admitted", "the twin is by our key, too");
    assert_eq!(world.take_back(&other).await, 200);
    for text in [&token, &other] {
        assert_eq!(told(&world.ask("edge", None, "/a", &[&bearer(text)]).await), "token_invalid");
        assert_eq!(world.take_back(text).await, 200, "twice is no more");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_counts_in_its_header_only_and_goes_on_in_none() {
    let world = World::start().await;
    let token = world.token("alice", &world.alice);
    let elsewhere: [(&str, String); 9] = [
        ("cookie", format!("session={token}")),
        ("cookie", format!("a=b; authorization=Bearer {token}; c=d")),
        ("x-authorization", bearer(&token)),
        ("x-api-key", token.clone()),
        ("x-forwarded-access-token", token.clone()),
        ("x-auth-request-access-token", token.clone()),
        ("proxy-authorization", bearer(&token)),
        ("sec-websocket-protocol", format!("base64url.bearer.authorization.{token}")),
        ("dpop", format!("{token}.x")),
    ];
    let made = |name: &str, value: &str| -> Request<Body> {
        let mut made = request("GET", "/a");
        made.headers_mut().insert(HeaderName::try_from(name).expect("a name"), value.parse().expect("a value"));
        made.headers_mut().append("x-kept", "kept".parse().expect("a value"));
        made
    };
    for (name, value) in &elsewhere {
        for (listener, identity, expected) in
            [("edge", None, "no_credential"), ("edge", Some(&world.bob), "admitted"), ("plain", Some(&world.bob), "admitted")]
        {
            for http2 in [false, true] {
                let answer = world.client(listener, identity, http2).send(made(name, value)).await.expect("an answer");
                assert_eq!(told(&answer), expected, "{name} on {listener}");
                if expected == "admitted" {
                    let last = world.upstream.last();
                    assert!(!last.head.contains(&token), "{name} on {listener}: {}", last.head);
                    assert_eq!(
                        (last.header("x-portcullis-principal"), last.header("x-kept")),
                        (vec!["bob".to_owned()], vec!["kept".to_owned()])
                    );
                }
            }
        }
    }
    // In the address it is no credential either (RFC 6750, 2.3 is not served).
    assert_eq!(told(&world.ask("edge", None, &format!("/a?access_token={token}"), &[]).await), "no_credential");
    // Other long values are nobody's business.
    let long = format!("session={}", "x".repeat(4_000));
    assert_eq!(told(&world.client("edge", Some(&world.bob), false).send(made("cookie", &long)).await.expect("an answer")), "admitted");
    assert_eq!(world.upstream.last().header("cookie"), [long]);
    let trailing = format!(
        "POST /a HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n2\r\nhi\r\n0\r\nx-api-key: {token}\r\n\r\n"
    );
    Raw::exchange(&world.client("plain", Some(&world.bob), false), trailing).await;
    let last = world.upstream.last();
    assert!(!String::from_utf8_lossy(&last.body).contains(&token) && !last.head.contains(&token), "{last:?}");
    assert!(!world.proxy.log().contains(&token), "no token in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_tokens_that_are_none_costs_a_connection_nothing_that_stays() {
    let world = World::start().await;
    let good = world.token("alice", &world.alice);
    let apart = Apart::of(&good);
    let mut connection = world.client("edge", None, true).connect().await.expect("a connection");
    assert_eq!(told(&connection.exchange(with("/a", &[&bearer(&good)])).await.expect("an answer")), "admitted");
    for number in 0..200 {
        let forged = apart.glued(&apart.header, &apart.payload("jti", json!(number)));
        assert_eq!(told(&connection.exchange(with("/a", &[&bearer(&forged)])).await.expect("an answer")), "token_invalid");
    }
    assert_eq!(told(&connection.exchange(with("/a", &[&bearer(&good)])).await.expect("an answer")), "admitted");
}
