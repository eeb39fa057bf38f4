//! What an operator who has read the source would try, to have more than its rank by the calls that take away: tokens of those above it,
//! revocations that guard somebody, keys and conditions of calls made before. And what it is told where nobody can tell whom it would hit.

use std::fs;

use serde_json::{Value, json};

use crate::support::calls::{CONTROL, Caller, told};
use crate::support::{Identity, Leaf, TestCa, TestProxy, Workspace};

struct World {
    workspace: Workspace,
    proxy: TestProxy,
    admin: Identity,
    operator: Identity,
    user: Identity,
}

impl World {
    /// `more`: of the configuration; it may name `known.pem`, a certificate that is nobody's else.
    fn start(more: &str) -> Self {
        let (workspace, mut people) = (Workspace::new(), CONTROL.to_owned());
        let mut make = |name: &str| {
            let identity = Leaf::new(name).self_signed();
            identity.write(workspace.directory.path(), name);
            people +=
                &format!("[[principal]]\nname = \"{name}\"\nclearance = \"{name}\"\npermissions = []\ncertificates = [\"{name}.pem\"]\n");
            identity
        };
        let (admin, operator, user) = (make("admin"), make("operator"), make("user"));
        make("node");
        workspace.write("ca.pem", TestCa::new("Our CA").pem());
        let proxy = workspace.start_with_somebody(&Workspace::config("request", "http://127.0.0.1:1", &(people + more)));
        Self { workspace, proxy, admin, operator, user }
    }

    fn by(&self, identity: &Identity) -> Caller {
        Caller::new(&self.proxy, identity)
    }

    async fn entries(&self) -> u64 {
        self.by(&self.admin).call("GET", "/v1/ledger?limit=1", &Value::Null).await.json()["size"].as_u64().expect("a size")
    }
}

fn reader(name: &str, number: usize) -> Value {
    json!({ "name": name, "role": "Reader", "fingerprints": [format!("{number:064x}")] })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_takes_back_no_token_of_those_above_it() {
    let well_known = "7a".repeat(32);
    let world = World::start(&format!("[bootstrap]\nadmin_fingerprints = [\"sha256:{well_known}\"]\n"));
    let (by_admin, by_operator, by_user) = (world.by(&world.admin), world.by(&world.operator), world.by(&world.user));
    let mut boss = reader("boss", 1);
    boss["role"] = json!("Administrator");
    let id = by_admin.call("POST", "/v1/principals", &boss).await.json()["principal"]["id"].as_str().expect("an id").to_owned();
    let mut guarded = reader("guarded", 2);
    guarded["protected"] = json!(true);
    assert_eq!(by_admin.told("POST", "/v1/principals", &guarded).await, "201");
    let before = world.entries().await;
    let named = |name: &str| format!("/v1/principals/-/tokens?name={name}");
    let above = [
        named("admin"),
        named("NODE"),
        named("boss"),
        named(&format!("well-known-admin/{}", &well_known[..16])),
        format!("/v1/principals/{id}/tokens"),
    ];
    for path in &above {
        for path in [path.clone(), format!("{path}{}dry_run=true", if path.contains('?') { '&' } else { '?' })] {
            assert_eq!(by_operator.told("DELETE", &path, &Value::Null).await, "403 clearance_too_low", "{path}");
            assert_eq!(by_user.told("DELETE", &path, &Value::Null).await, "403 clearance_too_low", "{path}");
        }
    }
    for (path, expected) in [
        (named("nobody"), "404 not_found"),
        (format!("/v1/principals/{id}/tokens?name=user"), "400 invalid"),
        ("/v1/principals/-/tokens".to_owned(), "404 not_found"),
        ("/v1/principals/p-aaaaaaaaaaaa/tokens".to_owned(), "404 not_found"),
        (format!("{}&until=0", named("user")), "400 invalid"),
    ] {
        assert_eq!(by_operator.told("DELETE", &path, &Value::Null).await, expected, "{path}");
    }
    assert_eq!(by_operator.told("GET", &named("user"), &Value::Null).await, "405 method_not_allowed");
    assert_eq!(world.entries().await, before, "nothing of it was recorded");
    // Those beside and below it, files' too; what is protected is so from being deleted.
    for name in ["operator", "user", "guarded"] {
        assert_eq!(by_operator.told("DELETE", &named(name), &Value::Null).await, "200", "{name}");
    }
    for path in &above {
        assert_eq!(by_admin.told("DELETE", path, &Value::Null).await, "200", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_one_call_makes_no_other_and_a_call_that_is_repeated_is_made_once() {
    let world = World::start("");
    let (by_admin, by_operator) = (world.by(&world.admin), world.by(&world.operator));
    let path = "/v1/principals/-/tokens?name=user";
    let key = [("idempotency-key", "k-1")];
    let tried = by_operator.call_with("DELETE", &format!("{path}&dry_run=true"), &Value::Null, &key).await;
    assert_eq!((told(&tried), &tried.json()["index"]), ("200".to_owned(), &Value::Null));
    // What was only tried is not done by its key, nor is another's.
    for path in [path.to_owned(), "/v1/principals/-/tokens?name=admin".to_owned(), format!("{path}&reason=x")] {
        assert_eq!(told(&by_operator.call_with("DELETE", &path, &Value::Null, &key).await), "409 idempotency_key_reused", "{path}");
    }
    let before = world.entries().await;
    let key = [("idempotency-key", "k-2")];
    let [first, again] =
        [by_operator.call_with("DELETE", path, &Value::Null, &key).await, by_operator.call_with("DELETE", path, &Value::Null, &key).await];
    assert_eq!((first.json(), world.entries().await), (again.json(), before + 1));
    assert!(again.headers.contains_key("idempotency-replayed") && !first.headers.contains_key("idempotency-replayed"));
    // The admin's key of that name is another one, and its answer nobody's else.
    let admins = by_admin.call_with("DELETE", "/v1/principals/-/tokens?name=admin", &Value::Null, &key).await;
    assert_eq!(told(&admins), "200");
    assert_eq!(by_operator.call_with("DELETE", path, &Value::Null, &key).await.json(), first.json());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_lifts_no_revocation_by_what_it_may_delete_or_edit() {
    let world = World::start("");
    let (by_admin, by_operator) = (world.by(&world.admin), world.by(&world.operator));
    let ca = fs::read_to_string(world.workspace.path("ca.pem")).expect("there");
    let staff =
        |ids: Value| json!({ "name": "staff", "role": "Reader", "authority": [{ "certificates": [ca], "any": true }], "revoked_ids": ids });
    let made = by_admin.call("POST", "/v1/principals", &staff(json!(["serial:0A0B"]))).await;
    let id = made.json()["principal"]["id"].as_str().expect("an id").to_owned();
    let path = format!("/v1/principals/{id}");
    // A version that is gone: nothing is changed, and nothing is left behind of it.
    let before = world.entries().await;
    for (method, body) in [("DELETE", Value::Null), ("PUT", staff(json!([]))), ("PATCH", json!({ "authority": null }))] {
        let stale = by_operator.call_with(method, &path, &body, &[("if-match", "\"7\"")]).await;
        assert_eq!(told(&stale), "412 version_mismatch", "{method}");
    }
    assert_eq!(world.entries().await, before);
    assert_eq!(by_admin.call("GET", "/v1/revocations", &Value::Null).await.json()["revocations"], json!([]));
    // What holds for some alone is ours to write: a call that says so is none.
    for body in [
        json!({ "id": "serial:0A0B", "only": [] }),
        json!({ "id": "serial:0A0B", "only": ["sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="] }),
        json!({ "id": "serial:0A0B", "everywhere": false }),
    ] {
        assert_eq!(by_operator.told("POST", "/v1/revocations", &body).await, "400 invalid", "{body}");
    }
    // Of many that delete it at once one does, and what it leaves is left once.
    let deletions = (0..8).map(|_| {
        let by_operator = world.by(&world.operator);
        let path = path.clone();
        tokio::spawn(async move { by_operator.told("DELETE", &path, &Value::Null).await })
    });
    let deletions: Vec<_> = deletions.collect();
    let mut said = Vec::new();
    for deletion in deletions {
        said.push(deletion.await.expect("no panic"));
    }
    let done = said.iter().filter(|said| *said == "200").count();
    assert!(done == 1 && said.iter().all(|said| ["200", "404 not_found"].contains(&&**said)), "{said:?}");
    let kept = by_admin.call("GET", "/v1/revocations", &Value::Null).await.json()["revocations"].take();
    assert_eq!((kept.as_array().map(Vec::len), &kept[0]["everywhere"]), (Some(1), &json!(false)), "{kept}");
    assert_eq!(world.entries().await, before + 2);
    // Said for everybody it holds so; what it held for alone is there still, and both are taken back together.
    assert_eq!(by_operator.told("POST", "/v1/revocations", &json!({ "id": "serial:0A0B" })).await, "200");
    let kept = by_admin.call("GET", "/v1/revocations", &Value::Null).await.json()["revocations"].take();
    assert!(kept[0]["everywhere"] == true && kept[0]["only"].as_array().map(Vec::len) == Some(1), "{kept}");
    assert_eq!(by_operator.told("DELETE", "/v1/revocations?id=serial:0A0B", &Value::Null).await, "200");
    assert_eq!(by_operator.told("DELETE", "/v1/revocations?id=serial:0A0B", &Value::Null).await, "404 not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_that_guard_against_those_above_are_not_an_operators_to_move() {
    let world = World::start(
        "[[principal]]\nname = \"chief\"\nclearance = \"admin\"\npermissions = []\n[principal.authority]\ncertificates = [\"ca.pem\"]\ncommon_names = [\"chief\"]\n",
    );
    let (by_admin, by_operator) = (world.by(&world.admin), world.by(&world.operator));
    let ca = fs::read_to_string(world.workspace.path("ca.pem")).expect("there");
    let staff = json!({ "name": "staff", "role": "Reader", "authority": [{ "certificates": [ca], "common_names": ["x-*"] }], "revoked_ids": ["serial:0A0B"] });
    let made = by_admin.call("POST", "/v1/principals", &staff).await;
    let path = format!("/v1/principals/{}", made.json()["principal"]["id"].as_str().expect("an id"));
    // The admins' CA is in it: whatever the operator does to it may decide about one of them.
    for (method, path, body) in [
        ("DELETE", path.clone(), Value::Null),
        ("PATCH", path.clone(), json!({ "revoked_ids": null })),
        ("PATCH", path.clone(), json!({ "revoked_ids": ["serial:0A0B", "serial:0C"] })),
        ("PUT", "/v1/principals".to_owned(), json!({ "principals": [] })),
        ("POST", "/v1/revocations".to_owned(), json!({ "id": "serial:0A0B" })),
    ] {
        assert_eq!(by_operator.told(method, &path, &body).await, "403 clearance_too_low", "{method} {path} {body}");
    }
    assert_eq!(by_admin.told("DELETE", &path, &Value::Null).await, "200");
    assert_eq!(by_operator.told("DELETE", "/v1/revocations?id=serial:0A0B", &Value::Null).await, "403 clearance_too_low");
    assert_eq!(by_admin.told("DELETE", "/v1/revocations?id=serial:0A0B", &Value::Null).await, "200");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crl_that_may_speak_of_an_admin_is_refused_with_the_reason() {
    let unknown = format!("fingerprints = [\"{}\"]", "5c".repeat(32));
    for (how, reason) in [
        ("spki_pins = [\"sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"]", "SPKI pin"),
        (&unknown, "only the fingerprint"),
        ("[principal.authority]\ncertificates = [\"ca.pem\"]\nany = true", "by an authority"),
    ] {
        let world = World::start(&format!("[[principal]]\nname = \"chief\"\nclearance = \"admin\"\npermissions = []\n{how}\n"));
        let crl = json!({ "crl": TestCa::new("Some CA").crl(1, &[&[1]], 24) });
        let refused = world.by(&world.operator).call("PUT", "/v1/crls/some", &crl).await;
        let message = refused.json()["error"]["message"].as_str().expect("words").to_owned();
        assert_eq!(told(&refused), "403 clearance_too_low");
        assert!(message.contains(reason) && message.contains("an admin may do it"), "{message}");
        assert_eq!(world.by(&world.admin).told("PUT", "/v1/crls/some", &crl).await, "200");
        let refused = world.by(&world.operator).call("DELETE", "/v1/crls/some", &Value::Null).await;
        assert!(refused.json()["error"]["message"].as_str().is_some_and(|message| message.contains(reason)), "{:?}", refused.json());
    }
}

#[test]
fn a_body_that_is_too_long_is_refused_with_what_to_do_and_shows_how_far_it_has_come() {
    let world = World::start("");
    world.workspace.write("long.crl", vec![0; 13 << 20]);
    world.workspace.write("some.crl", vec![0; 2 << 20]);
    let url = format!("https://localhost:{}", world.proxy.address("control").port());
    let from = ["--admin", &url, "--cert", "admin.pem", "--key", "admin.key", "--cacert", "server.pem"];
    for more in [&[] as &[&str], &from] {
        let output = world.workspace.run(&[&["crl", "put", "long", "long.crl"], more].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("body_too_large") && said.contains("16 MiB") && said.contains("[revocation] crls"), "{said}");
        assert!(!said.contains("KiB sent"), "in a pipe there is no bar: {said}");
    }
    // script(1), of util-linux, makes a terminal; where there is none, nothing is shown to anybody.
    let on_a_terminal = |arguments: &str| {
        let command = format!("{} {arguments}", env!("CARGO_BIN_EXE_portcullis"));
        let mut script = std::process::Command::new("script");
        script.args(["-qec", &command, "/dev/null"]).current_dir(world.workspace.directory.path());
        script.output().ok().map(|shown| String::from_utf8_lossy(&shown.stdout).into_owned())
    };
    let Some(shown) = on_a_terminal("crl put some some.crl") else { return };
    assert!(shown.contains(" KiB sent") && shown.contains("sent; the proxy is at work") && shown.contains("invalid"), "{shown}");
    let shown = on_a_terminal("--json crl put some some.crl").unwrap_or_default();
    assert!(!shown.contains("KiB sent"), "{shown}");
}
