//! Nobody loses the API by its own call, in whatever way; and nobody above an operator loses or gets anything by an operator's, while what
//! does not touch them is an operator's to do. Through the real binary.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::calls::{CONTROL, Caller};
use crate::support::{Identity, Leaf, TestCa, TestProxy, Workspace};

/// A proxy with an admin who stands in its configuration.
struct World {
    workspace: Workspace,
    proxy: TestProxy,
    root: Identity,
}

impl World {
    fn start() -> Self {
        let (workspace, root) = (Workspace::new(), Leaf::new("root").self_signed());
        root.write(workspace.directory.path(), "root");
        let config = Workspace::config("require", "http://127.0.0.1:1", &[CONTROL, ROOT].concat());
        let proxy = workspace.start_with_somebody(&config);
        Self { workspace, proxy, root }
    }

    fn root(&self) -> Caller {
        self.as_caller(&self.root)
    }

    fn as_caller(&self, identity: &Identity) -> Caller {
        Caller::new(&self.proxy, identity)
    }
}

const ROOT: &str = r#"
[[principal]]
name = "root"
clearance = "admin"
certificates = ["root.pem"]
"#;

/// Each is refused as a lockout, tried only too, and changes nothing.
async fn refuses_all(caller: &Caller, calls: &[(&str, String, Value)]) {
    for (method, path, body) in calls {
        let tried = format!("{path}{}dry_run=true", if path.contains('?') { '&' } else { '?' });
        let has_form_of_its_own = path.starts_with("/app/") || path.starts_with("/admin/");
        if !has_form_of_its_own {
            assert_eq!(caller.told(method, &tried, body).await, "409 own_certificate", "{method} {tried} {body}");
        }
        let answer = caller.call(method, path, body).await;
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        let expected = if has_form_of_its_own { "certificate that you ask with" } else { "own_certificate" };
        assert!(answer.status == 409 && said.contains(expected), "{method} {path} {body}: {} {said}", answer.status);
        assert_eq!(caller.told("GET", "/v1/principals", &Value::Null).await, "200", "after {method} {path} {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_locks_itself_out_whatever_the_way() {
    let world = World::start();
    let me = Leaf::new("me").serial(&[0x11, 0x22, 0x33]).self_signed();
    let other = Leaf::new("other").self_signed();
    let both = json!([{ "der": me.leaf_pem() }, { "der": Leaf::new("spare").self_signed().leaf_pem() }]);
    let id = world.root().register("me", &me, json!({ "clearance": "admin", "certificates": both })).await;
    let (own, caller) = (format!("/v1/principals/{id}"), world.as_caller(&me));
    let changes = [
        json!({ "enabled": false }),
        json!({ "valid_until": "2020-01-01T00:00:00Z" }),
        json!({ "valid_from": "2099-01-01T00:00:00Z" }),
        json!({ "client_ips": ["192.0.2.0/24"] }),
        json!({ "serve": ["proxy"] }),
        json!({ "clearance": null }),
        json!({ "clearance": "node" }),
        json!({ "require_crl_dp": true }),
        json!({ "identifier": "email_san" }),
        json!({ "certificates": [{ "der": other.leaf_pem() }] }),
        json!({ "revoked_ids": [format!("sha256:{}", me.fingerprint())] }),
    ];
    let mut calls: Vec<(&str, String, Value)> = changes.map(|change| ("PATCH", own.clone(), change)).into();
    calls.extend([
        ("DELETE", own.clone(), Value::Null),
        ("DELETE", format!("{own}/certificates/{}", me.fingerprint()), Value::Null),
        ("PUT", "/v1/principals".to_owned(), json!({ "principals": [] })),
        ("POST", "/v1/revocations".to_owned(), json!({ "id": format!("sha256:{}", me.fingerprint()) })),
        ("POST", "/v1/revocations".to_owned(), json!({ "id": "serial:112233" })),
        ("POST", "/v1/revocations".to_owned(), json!({ "certificate": me.leaf_pem() })),
        ("DELETE", format!("/app/users/{}", me.fingerprint()), Value::Null),
        ("PATCH", format!("/app/users/{}", me.fingerprint()), json!({ "assignedRole": "Reader" })),
        ("DELETE", format!("/admin/certificates?thumbprint={}", me.fingerprint()), Value::Null),
        (
            "POST",
            "/admin/certificates/edit".to_owned(),
            json!({ "Thumbprint": me.fingerprint(), "Name": "me", "SecurityClearance": "ValidUser" }),
        ),
    ]);
    refuses_all(&caller, &calls).await;
    // What leaves it where it is it may: less than an admin, and managing still; from where it is; until some day.
    for change in [
        json!({ "client_ips": ["127.0.0.0/8"], "valid_until": "2099-01-01T00:00:00Z", "serve": ["admin"] }),
        json!({ "client_ips": null, "clearance": "operator" }),
    ] {
        assert_eq!(caller.told("PATCH", &own, &change).await, "200", "{change}");
    }
    // Whoever else may, may take it away; and over the socket everything may be done.
    assert_eq!(world.root().told("PATCH", &own, &json!({ "require_crl_dp": true })).await, "200");
    assert_eq!(caller.told("GET", "/v1/principals", &Value::Null).await, "403 revocation_unknown");
    assert_eq!(world.workspace.run(&["allow", "rm", "me", "--yes"]).status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_from_under_itself_the_ca_that_it_comes_by() {
    let world = World::start();
    let (ca, root) = (TestCa::new("Root CA"), world.root());
    let between = ca.intermediate("Issuing CA");
    // It presents its leaf alone: the way from there is what others have configured.
    let me = between.issue(Leaf::new("me").serial(&[0x0a, 0x0b]));
    let authority = |pem: String, more: Value| {
        let mut authority = json!({ "certificates": [pem] });
        authority.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        json!([authority])
    };
    let register = async |name: &str, more: Value| {
        let mut body = json!({ "name": name });
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let made = root.call("POST", "/v1/principals", &body).await;
        assert_eq!(made.status, 201, "{:?}", made.body);
        format!("/v1/principals/{}", made.json()["principal"]["id"].as_str().expect("an id"))
    };
    let bounds = json!({ "common_names": ["me"] });
    let own = register("staff", json!({ "clearance": "admin", "authority": authority(ca.pem(), bounds) })).await;
    let issuing = register("issuing", json!({ "authority": authority(between.pem(), json!({ "common_names": ["nobody"] })) })).await;
    let caller = world.as_caller(&me);
    assert_eq!(caller.told("GET", "/v1/principals", &Value::Null).await, "200");
    let crl = |serials: &[&[u8]]| json!({ "crl": between.crl(1, serials, 24) });
    let pinned = json!({ "name": "thief", "role": "Reader", "certificates": [{ "der": me.leaf_pem() }] });
    refuses_all(
        &caller,
        &[
            ("DELETE", own.clone(), Value::Null),
            ("DELETE", issuing.clone(), Value::Null),
            ("PATCH", own.clone(), json!({ "authority": authority(ca.pem(), json!({ "common_names": ["you"] })) })),
            ("PATCH", own.clone(), json!({ "authority": authority(TestCa::new("Root CA").pem(), json!({ "any": true })) })),
            ("PATCH", issuing.clone(), json!({ "revoked_ids": ["serial:0A0B"] })),
            ("PUT", "/v1/crls/issuing".to_owned(), crl(&[&[0x0a, 0x0b]])),
            ("POST", "/v1/revocations".to_owned(), json!({ "id": "serial:0a0b" })),
            ("POST", "/v1/revocations".to_owned(), json!({ "certificate": between.pem() })),
            // A pin comes before every authority, and this one is a user's.
            ("POST", "/v1/principals".to_owned(), pinned),
        ],
    )
    .await;
    assert_eq!(caller.told("PUT", "/v1/crls/issuing", &crl(&[&[0x0c]])).await, "200");
    assert_eq!(root.told("DELETE", &issuing, &Value::Null).await, "200");
    assert_eq!(caller.told("GET", "/v1/principals", &Value::Null).await, "403 not_listed");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_loses_the_gateway_that_says_where_it_is() {
    let world = World::start();
    let me = Leaf::new("me").self_signed();
    let terms = json!({ "clearance": "admin", "client_ips": ["192.0.2.7/32"], "gateway_ips": ["127.0.0.1/32"] });
    let own = format!("/v1/principals/{}", world.root().register("me", &me, terms).await);
    let caller = world.as_caller(&me);
    let from = [("x-forwarded-for", "192.0.2.7")];
    let tell = async |change: Value| crate::support::calls::told(&caller.call_with("PATCH", &own, &change, &from).await);
    for change in [json!({ "gateway_ips": [] }), json!({ "client_ips": ["192.0.2.8/32"] }), json!({ "client_ips": ["127.0.0.0/8"] })] {
        assert_eq!(tell(change.clone()).await, "409 own_certificate", "{change}");
    }
    for change in [json!({ "client_ips": ["192.0.2.0/24"] }), json!({ "gateway_ips": [], "client_ips": null })] {
        assert_eq!(tell(change.clone()).await, "200", "{change}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_calls_at_once_none_is_refused_for_another() {
    let world = Arc::new(World::start());
    let me = Leaf::new("me").self_signed();
    let own = format!("/v1/principals/{}", world.root().register("me", &me, json!({ "clearance": "admin" })).await);
    let me = Arc::new(me);
    let calls: Vec<_> = (0..40)
        .map(|number| {
            let (world, me, own) = (Arc::clone(&world), Arc::clone(&me), own.clone());
            tokio::spawn(async move {
                let fingerprint = format!("{number:064x}");
                let put = json!({ "name": format!("ci/{number}"), "role": "Reader", "fingerprints": [fingerprint] });
                match number % 4 {
                    0 => {
                        (world.as_caller(&me).told("PATCH", &own, &json!({ "client_ips": ["192.0.2.0/24"] })).await, "409 own_certificate")
                    }
                    1 => (world.as_caller(&me).told("POST", "/v1/principals?dry_run=true", &put).await, "200"),
                    2 => (world.as_caller(&me).told("POST", "/v1/principals", &put).await, "201"),
                    _ => (world.root().told("POST", "/v1/principals", &put).await, "201"),
                }
            })
        })
        .collect();
    for call in calls {
        let (said, expected) = call.await.expect("no panic");
        assert_eq!(said, expected);
    }
}

/// A call that was admitted when it came is nothing that is made by somebody who is not when it is made.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_taken_off_while_its_calls_are_on_the_way_changes_nothing_after() {
    let world = Arc::new(World::start());
    let (ca, root) = (TestCa::new("Staff CA"), world.root());
    let me = Arc::new(ca.issue(Leaf::new("me")));
    let staff = |name: &str| json!([{ "certificates": [ca.pem()], "common_names": [name] }]);
    let made = root.call("POST", "/v1/principals", &json!({ "name": "staff", "clearance": "admin", "authority": staff("me") })).await;
    assert_eq!(made.status, 201, "{:?}", made.body);
    let own = format!("/v1/principals/{}", made.json()["principal"]["id"].as_str().expect("an id"));
    let mut calls = Vec::new();
    for number in 0..60 {
        let (world, me) = (Arc::clone(&world), Arc::clone(&me));
        calls.push(tokio::spawn(async move {
            let put = json!({ "name": format!("ci/{number}"), "role": "Reader", "fingerprints": [format!("{number:064x}")] });
            // Its connection may be cut before the answer.
            let client = world.as_caller(&me).0;
            let _ = client.send(crate::support::calls::json_request("POST", "/v1/principals", &put, &[])).await;
        }));
        if number == 30 {
            // The principal stays, and has an authority still: it is its bound that the certificate is outside of.
            let off = root.call("PATCH", &own, &json!({ "authority": staff("you") })).await;
            assert_eq!(off.status, 200, "{:?}", off.body);
        }
    }
    for call in calls {
        call.await.expect("no panic");
    }
    let ledger = root.call("GET", "/v1/ledger", &Value::Null).await.json();
    let entries = ledger["entries"].as_array().expect("a list");
    let by = |entry: &Value| entry["actor"]["name"].as_str().unwrap_or_default().to_owned();
    let off = entries.iter().rposition(|entry| by(entry) == "root").expect("the entry that took it off");
    let after: Vec<&Value> = entries[off..].iter().filter(|entry| by(entry) == "staff").collect();
    assert!(after.is_empty(), "{after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_puts_a_crl_that_touches_nobody_above_it() {
    let (workspace, ca, elsewhere) = (Workspace::new(), TestCa::new("Our CA"), TestCa::new("Another CA"));
    let root = ca.issue(Leaf::new("root").serial(&[0x0a]));
    let second = ca.issue(Leaf::new("second").serial(&[0x0b]));
    root.write(workspace.directory.path(), "root");
    second.write(workspace.directory.path(), "second");
    workspace.write("ca.pem", ca.pem());
    let more = format!(
        "[[principal]]\nname = \"second\"\nclearance = \"node\"\ncertificates = ['''{}''']\n\
         [[principal]]\nname = \"staff\"\nrole = \"Reader\"\n[principal.authority]\ncertificates = [\"ca.pem\"]\ncommon_names = [\"staff-*\"]\n",
        second.leaf_pem()
    );
    let config = Workspace::config("request", "http://127.0.0.1:1", &[CONTROL, ROOT, &more].concat());
    let proxy = workspace.start_with_somebody(&config);
    let (operator, user) = (Leaf::new("op").self_signed(), ca.issue(Leaf::new("user").serial(&[0x0c])));
    let by_root = Caller::new(&proxy, &root);
    by_root.register("op", &operator, json!({ "clearance": "operator" })).await;
    by_root.register("user", &user, json!({ "role": "Reader" })).await;
    let by_operator = Caller::new(&proxy, &operator);
    let put = async |by: &Caller, name: &str, crl: String| by.told("PUT", &format!("/v1/crls/{name}"), &json!({ "crl": crl })).await;
    // Of users, of strangers, of another CA: an operator's to say, to replace and to take back.
    assert_eq!(put(&by_operator, "ours", ca.crl(1, &[&[0x0c]], 24)).await, "200");
    assert_eq!(Caller::new(&proxy, &user).told("GET", "/v1/whoami", &Value::Null).await, "403 revoked");
    assert_eq!(put(&by_operator, "ours", ca.crl(2, &[&[0x0c], &[0x0d]], 24)).await, "200");
    assert_eq!(put(&by_operator, "theirs", elsewhere.crl(1, &[&[0x0a], &[0x0b]], 24)).await, "200", "the CA of nobody here");
    assert_eq!(by_operator.told("DELETE", "/v1/crls/theirs", &Value::Null).await, "200");
    assert_eq!(by_operator.told("POST", "/v1/revocations", &json!({ "id": "serial:0d" })).await, "200");
    // Of an admin, of a node: not, under whatever name, nor by an id.
    for (name, serial) in [("ours", 0x0a), ("new", 0x0a), ("ours", 0x0b)] {
        assert_eq!(put(&by_operator, name, ca.crl(3, &[&[0x0c], &[serial]], 24)).await, "403 clearance_too_low", "{name} {serial}");
    }
    assert_eq!(by_operator.told("POST", "/v1/revocations", &json!({ "id": "serial:0a" })).await, "403 clearance_too_low");
    assert_eq!(by_root.told("GET", "/v1/whoami", &Value::Null).await, "200");
    // An admin says so; and then it is not an operator's to take back, by a newer one or by removal.
    assert_eq!(put(&by_root, "ours", ca.crl(4, &[&[0x0b]], 24)).await, "200");
    assert_eq!(put(&by_operator, "ours", ca.crl(5, &[], 24)).await, "403 clearance_too_low");
    assert_eq!(put(&by_operator, "new", ca.crl(6, &[], 24)).await, "403 clearance_too_low");
    assert_eq!(by_operator.told("DELETE", "/v1/crls/ours", &Value::Null).await, "403 clearance_too_low");
    assert_eq!(put(&by_operator, "ours", STANDARD.encode(ca.crl(7, &[&[0x0b], &[0x0c]], 24))).await, "200", "base64 of PEM");
}
