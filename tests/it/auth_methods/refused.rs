//! What a method cannot keep, and who may not manage one: refused, in words.

use serde_json::{Value, json};

use super::{World, create, data, with};
use crate::support::{Leaf, TestCa};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_method_cannot_keep_is_refused_in_words() {
    let world = World::start().await;
    let (ca, client) = (TestCa::new("ca"), Leaf::new("client").self_signed());
    let unclear = Leaf::new("unclear").ca().no_eku().self_signed();
    world.done("create-cert", create("taken", &client.leaf_pem())).await;
    let good = || create("new", &ca.pem());
    let both = format!("{}{}", ca.pem(), Leaf::new("x").self_signed().leaf_pem());
    for (body, status, words) in [
        (json!({ "name": "new" }), 400, "unique-identifier: is missing; certificate-data: is missing"),
        (with(good(), "name", json!("a b")), 400, "name: `a b` is no principal name"),
        (with(good(), "name", json!("TAKEN")), 409, "name_taken"),
        (with(good(), "new-name", json!("newer")), 400, "new-name: is for a method that there is already"),
        (with(good(), "unique-identifier", json!("colour")), 400, "unique-identifier: `colour`"),
        (with(good(), "certificate-data", json!("!")), 400, "certificate-data: is neither base64 of a certificate nor PEM"),
        (with(good(), "certificate-data", json!("A".repeat(90_001))), 400, "certificate-data: is longer than"),
        (with(good(), "certificate-data", json!(data(&unclear.leaf_pem()))), 400, "says CA:TRUE and has no keyUsage"),
        (with(good(), "certificate-data", json!(data(&both))), 400, "holds both a client's certificate and a CA's"),
        (with(good(), "certificate-data", json!(data(&client.leaf_pem()))), 409, "fingerprint_taken"),
        (
            with(with(good(), "certificate-data", json!(data(&client.leaf_pem()))), "as", json!("authority")),
            400,
            "certificate-data: certificate 1",
        ),
        (with(create("pin", &client.leaf_pem()), "bound-dns-sans", json!(["*"])), 400, "bound-dns-sans: means nothing beside a pin"),
        (with(good(), "bound-extensions", json!(["1.2.3"])), 400, "bound-extensions[0]: `1.2.3`"),
        (with(good(), "bound-ips", json!(["192.0.2.1/24"])), 400, "bound-ips[0]: `192.0.2.1/24`"),
        (with(good(), "gw-bound-ips", json!("somewhere")), 400, "gw-bound-ips[0]: `somewhere`"),
        (with(good(), "allowed-cors", json!("example.com")), 400, "allowed-cors[0]: `example.com`"),
        (with(good(), "audit-logs-claims", json!(["colour"])), 400, "audit-logs-claims[0]: `colour`"),
        (with(good(), "revoked-cert-ids", json!(["colour"])), 400, "revoked-cert-ids[0]: `colour`"),
        (with(good(), "access-expires", json!(-1)), 400, "access-expires: -1 is no time"),
        (with(good(), "access-expires", json!(1_800_000_000_000_u64)), 400, "access-expires: 1800000000000 is no time"),
        (with(good(), "jwt-ttl", json!(50_000)), 400, "jwt-ttl: `50000m` is not 1s to 30d"),
        (with(good(), "jwt-ttl", json!(-5)), 400, "jwt-ttl: `-5m` is no duration"),
        (with(good(), "expiration-event-in", json!(["soon"])), 400, "expiration-event-in: `soon` is no number of days"),
        (with(good(), "expiration-event-in", json!([0])), 400, "expiration-event-in[0]: 0 is not 1 to 3650 days"),
        (with(good(), "delete_protection", json!("maybe")), 400, "delete_protection: is neither"),
        (with(good(), "product-type", json!(["sm"])), 400, "product-type: there are no products here"),
        (with(good(), "allowed-client-type", json!(["cli"])), 400, "allowed-client-type: no certificate proves which program"),
        (with(good(), "uid-token", json!("u-1")), 400, "uid-token: is not taken"),
        (with(good(), "token", json!("t-1")), 400, "token: is not taken"),
        (with(good(), "description", json!("a\nb")), 400, "description: is empty or holds a control character"),
        (with(good(), "colour", json!("red")), 400, "unknown field `colour`"),
    ] {
        let (got, answer) = world.call(&world.admin, "create-cert", body.clone()).await;
        let said = answer["error"].as_str().unwrap_or_default();
        assert!(got == status && said.contains(words), "{body}: {got} {answer}");
    }
    for (name, body, status, words) in [
        ("update-cert", json!({ "name": "nobody", "description": "x" }), 404, "not_found"),
        ("update-cert", json!({ "name": "user", "description": "x" }), 409, "static"),
        ("update-cert", json!({ "name": "taken", "bound-common-names": ["x"] }), 400, "bound-common-names: means nothing beside a pin"),
        ("get", json!({ "name": "nobody" }), 404, "not_found"),
        ("get", json!({}), 400, "missing field `name`"),
        ("get", json!({ "name": "taken", "token": "t-1" }), 400, "token: is not taken"),
        ("list", json!({ "uid-token": "u-1" }), 400, "uid-token: is not taken"),
        ("delete", json!({ "name": "nobody" }), 404, "not_found"),
        ("delete", json!({ "name": "user" }), 409, "static"),
        ("delete", json!({ "name": "taken", "token": "t-1" }), 400, "token: is not taken"),
    ] {
        let (got, answer) = world.call(&world.admin, name, body.clone()).await;
        assert!(got == status && answer["error"].as_str().is_some_and(|said| said.contains(words)), "{name} {body}: {got} {answer}");
    }
    // A condition on every permission, as far as one is demanded.
    let made = world.done("create-cert", with(good(), "force-sub-claims", json!(true))).await;
    let path = format!("/v1/principals/{}", made["access_id"].as_str().expect("an id"));
    let permission = |when: Value| json!({ "permissions": [{ "routes": ["*"], "access": "read", "when": when }] });
    let (status, answer) = world.send(Some(&world.admin), "PATCH", &path, permission(json!({}))).await;
    assert!(status == 400 && answer.to_string().contains("require_when"), "{status} {answer}");
    let (status, answer) = world.send(Some(&world.admin), "PATCH", &path, permission(json!({ "organizational_unit": ["DevOps"] }))).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(world.done("get", json!({ "name": "user" })).await["access_info"]["cert_access_rules"]["unique_identifier"], "principal");
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_are_managed_by_those_who_may_and_never_above_them() {
    let world = World::start().await;
    let boss = Leaf::new("boss").self_signed();
    let (_, made) = world.call(&world.admin, "create-cert", create("boss", &boss.leaf_pem())).await;
    let path = format!("/v1/principals/{}", made["access_id"].as_str().expect("an id"));
    assert_eq!(world.send(Some(&world.admin), "PATCH", &path, json!({ "clearance": "admin" })).await.0, 200);
    let body = |name: &str| match name {
        "create-cert" => create("x", &Leaf::new("x").self_signed().leaf_pem()),
        "list" => json!({}),
        _ => json!({ "name": "boss" }),
    };
    for name in ["create-cert", "update-cert", "get", "list", "delete"] {
        let (status, refused) = world.call(&world.user, name, body(name)).await;
        assert!(
            status == 403 && refused["error"].as_str().is_some_and(|error| error.contains("clearance_too_low")),
            "{name}: {status} {refused}"
        );
        let path = format!("/api/v2/auth-method-{name}");
        let (status, refused) = world.send(None, "POST", &path, body(name)).await;
        assert!(status == 401 && refused["error"].is_string(), "{name}: {status} {refused}");
        let (status, refused) = world.send(Some(&Leaf::new("stranger").self_signed()), "POST", &path, body(name)).await;
        assert!(status == 401 && refused["error"].is_string(), "{name}: {status} {refused}");
        assert_eq!(world.send(Some(&world.admin), "GET", &path, Value::Null).await.0, 405, "{name}");
    }
    for (name, body) in [
        ("update-cert", json!({ "name": "boss", "bound-ips": ["192.0.2.0/24"] })),
        ("update-cert", json!({ "name": "boss", "certificate-data": data(&Leaf::new("thief").self_signed().leaf_pem()) })),
        ("delete", json!({ "name": "boss" })),
    ] {
        let (status, refused) = world.call(&world.operator, name, body).await;
        assert!(status == 403 && refused.to_string().contains("clearance_too_low"), "{name}: {status} {refused}");
    }
    assert_eq!(world.call(&world.operator, "get", json!({ "name": "boss" })).await.0, 200);
    assert_eq!(world.call(&world.admin, "delete", json!({ "name": "boss" })).await.0, 200);
}
