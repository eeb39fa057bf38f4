//! The long way through the protocols of Azure and RavenDB: lists of more than a page, principals of several certificates, what has expired.

use std::collections::BTreeSet;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::calls::{CONTROL, Caller};
use crate::support::{Client, Identity, Leaf, TestProxy, TestUpstream, Workspace, proxy};

struct World {
    workspace: Workspace,
    proxy: TestProxy,
    admin: Identity,
    _upstream: TestUpstream,
}

impl World {
    async fn start() -> Self {
        let upstream = TestUpstream::start().await;
        let (workspace, admin) = (Workspace::new(), Leaf::new("admin").self_signed());
        admin.write(workspace.directory.path(), "admin");
        let principal = "[[principal]]\nname = \"admin\"\nclearance = \"admin\"\ncertificates = [\"admin.pem\"]\n";
        let proxy = workspace.start_with_somebody(&Workspace::config("request", &upstream.url(), &[CONTROL, principal].concat()));
        Self { workspace, proxy, admin, _upstream: upstream }
    }

    fn admin(&self) -> Caller {
        Caller::new(&self.proxy, &self.admin)
    }

    async fn status(&self, identity: &Identity) -> u16 {
        Client::new(&self.proxy, Some(identity)).get("/hello").await.expect("an answer").status.as_u16()
    }
}

fn thumbprint(identity: &Identity) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, identity.leaf());
    digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn azures_users_are_listed_page_by_page_whoever_comes_and_goes_meanwhile() {
    let world = World::start().await;
    let admin = world.admin();
    let fingerprint = |number: usize| format!("{number:064x}");
    // Some of several certificates: a page is of principals.
    let user = |number: usize| {
        let more = if number.is_multiple_of(10) { vec![fingerprint(100_000 + number)] } else { Vec::new() };
        let fingerprints = [vec![fingerprint(number)], more].concat();
        json!({ "name": format!("users/u{number:04}"), "role": "Contributor", "fingerprints": fingerprints })
    };
    let all: Vec<Value> = (0..2500).map(user).collect();
    let made = admin.call("PUT", "/v1/principals", &json!({ "principals": all })).await;
    assert_eq!(made.status, 200, "{}", String::from_utf8_lossy(&made.body));
    let mut wanted: BTreeSet<String> =
        (0..2500).map(fingerprint).chain((0..250).map(|number| fingerprint(100_000 + 10 * number))).collect();
    let (mut next, mut sizes, mut seen) = (Some("/app/users?api-version=2022-05-13".to_owned()), Vec::new(), Vec::new());
    while let Some(path) = next {
        assert!(path.starts_with("/app/users?api-version=2022-05-13"), "a path, and of this version: {path}");
        let page = admin.call("GET", &path, &Value::Null).await;
        assert_eq!(page.status, 200, "{path}");
        let page = page.json();
        let users = page["ledgerUsers"].as_array().expect("a list").clone();
        assert!(users.iter().all(|user| user["assignedRole"] == "Contributor"), "{page}");
        sizes.push(users.len());
        seen.extend(users.iter().map(|user| user["userId"].as_str().expect("an id").to_owned()));
        next = page.get("nextLink").map(|link| link.as_str().expect("text").to_owned());
        if sizes.len() == 1 {
            // The one that the page ends with goes, one behind it too; one comes in front.
            for number in [999, 2000] {
                assert_eq!(admin.told("DELETE", &format!("/app/users/{}", fingerprint(number)), &Value::Null).await, "204");
            }
            wanted.remove(&fingerprint(2000));
            let early = json!({ "name": "a-first", "role": "Reader", "fingerprints": ["ff".repeat(32)] });
            assert_eq!(admin.told("POST", "/v1/principals", &early).await, "201");
        }
    }
    assert_eq!((sizes.len(), sizes[0]), (3, 1100), "{sizes:?}");
    assert_eq!(seen.len(), wanted.len(), "none twice");
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), wanted);
    // What is no page's end is one all the same; what is no token hurts nobody.
    for token in ["zzzz", "%00", "..%2F..", "a%26token=b"] {
        let answer = admin.call("GET", &format!("/app/users?token={token}"), &Value::Null).await;
        assert!(answer.status == 200 || answer.status == 400, "{token}: {}", answer.status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pfx_of_several_certificates_is_one_entry_of_ravendbs_with_secondaries() {
    let world = World::start().await;
    let (first, second) = (Leaf::new("first").self_signed(), Leaf::new("second").self_signed());
    first.write(world.workspace.directory.path(), "first");
    second.write(world.workspace.directory.path(), "second");
    let export = [
        "pkcs12",
        "-export",
        "-in",
        "first.pem",
        "-inkey",
        "first.key",
        "-certfile",
        "second.pem",
        "-out",
        "both.pfx",
        "-passout",
        "pass:p w",
    ];
    let made = Command::new("openssl").args(export).current_dir(world.workspace.directory.path()).output().expect("openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let pfx = STANDARD.encode(std::fs::read(world.workspace.path("both.pfx")).expect("made"));
    let admin = world.admin();
    let body = json!({ "Name": "Both", "SecurityClearance": "ValidUser", "Certificate": pfx, "Password": "p w", "Permissions": { "all": "ReadWrite" } });
    assert_eq!(admin.told("PUT", "/admin/certificates", &body).await, "201");
    assert_eq!((world.status(&first).await, world.status(&second).await), (200, 200));
    let listed =
        async |query: &str| admin.call("GET", &format!("/admin/certificates?{query}"), &Value::Null).await.json()["Results"].clone();
    let (one, two) = (thumbprint(&first), thumbprint(&second));
    let primaries = listed("").await;
    let of = |results: &Value| -> Vec<String> {
        let all = results.as_array().expect("a list").iter();
        all.map(|entry| entry["Thumbprint"].as_str().expect("a thumbprint").to_owned()).collect()
    };
    assert_eq!(primaries.as_array().map(Vec::len), Some(1), "{primaries}");
    let (primary, secondary) = if of(&primaries) == [one.clone()] { (&one, &two) } else { (&two, &one) };
    assert_eq!(primaries[0]["CollectionSecondaryKeys"], json!([secondary]), "{primaries}");
    let all = listed("secondary=true").await;
    assert_eq!(of(&all), [primary.clone(), secondary.clone()], "{all}");
    assert_eq!(all[1]["CollectionPrimaryKey"], json!(primary), "{all}");
    // By itself it is found; deleted it is with its primary alone.
    assert_eq!(of(&listed(&format!("thumbprint={secondary}")).await), std::slice::from_ref(secondary));
    let refused = admin.call("DELETE", &format!("/admin/certificates?thumbprint={secondary}"), &Value::Null).await;
    assert!(
        refused.status == 400 && refused.json()["Message"].as_str().is_some_and(|said| said.contains("secondary")),
        "{:?}",
        refused.json()
    );
    let edit = json!({ "Thumbprint": secondary, "Name": "Both", "SecurityClearance": "ValidUser", "Permissions": { "all": "Read" } });
    assert_eq!(admin.told("POST", "/admin/certificates/edit", &edit).await, "201");
    let page = async |identity: &Identity| {
        let client = Client::new(&world.proxy, Some(identity));
        client.send(crate::support::client::request("POST", "/hello")).await.expect("an answer").status.as_u16()
    };
    assert_eq!((page(&first).await, page(&second).await), (403, 403), "they have one set of rights");
    assert_eq!(admin.told("DELETE", &format!("/admin/certificates?thumbprint={primary}"), &Value::Null).await, "204");
    assert_eq!((world.status(&first).await, world.status(&second).await), (403, 403));
    assert_eq!(listed("secondary=true").await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_expired_is_purged_by_ravendbs_call_and_by_the_command_line_and_nothing_else_is() {
    let world = World::start().await;
    let admin = world.admin();
    let (old, new) = (Leaf::new("old").expired().self_signed(), Leaf::new("new").self_signed());
    let kept = Leaf::new("kept").expired().self_signed();
    let certificates = |of: &[&Identity]| of.iter().map(|identity| json!({ "der": identity.leaf_pem() })).collect::<Vec<_>>();
    for (name, of, more) in [
        ("gone", vec![&Leaf::new("gone").expired().self_signed()], json!({})),
        ("mixed", vec![&old, &new], json!({})),
        ("kept", vec![&kept], json!({ "protected": true })),
        ("ended", vec![&Leaf::new("ended").self_signed()], json!({ "valid_until": "2020-01-01T00:00:00Z" })),
    ] {
        let mut body = json!({ "name": name, "role": "Reader", "certificates": certificates(&of) });
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let made = admin.call("POST", "/v1/principals", &body).await;
        assert_eq!(made.status, 201, "{name}: {}", String::from_utf8_lossy(&made.body));
    }
    let operator = Leaf::new("op").self_signed();
    admin.register("op", &operator, json!({ "clearance": "operator" })).await;
    let by_operator = Caller::new(&world.proxy, &operator).call("DELETE", "/admin/certificates/purge", &Value::Null).await;
    assert_eq!((by_operator.status.as_u16(), &by_operator.json()["Type"]), (403, &json!("InvalidAuth")));
    let names = async || -> Vec<String> {
        let page = admin.call("GET", "/v1/principals", &Value::Null).await.json();
        page["principals"].as_array().expect("a list").iter().map(|one| one["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names().await, ["ended", "gone", "kept", "mixed", "op"]);
    assert_eq!(admin.told("DELETE", "/admin/certificates/purge", &Value::Null).await, "204");
    assert_eq!(names().await, ["kept", "mixed", "op"]);
    let mixed = admin.call("GET", "/v1/principals/-?name=mixed", &Value::Null).await.json();
    assert_eq!(mixed["certificates"].as_array().map(Vec::len), Some(1), "{mixed}");
    assert_eq!((world.status(&new).await, world.status(&old).await), (200, 403));
    assert!(world.proxy.log().contains("has expired, and is not taken away"), "who stays is told");
    // The command says who stays, and why; what is no longer protected goes.
    let words = |arguments: &[&str]| proxy::told(&world.workspace.run(arguments));
    let (code, said) = words(&["allow", "purge", "--yes"]);
    assert!(code == Some(0) && said.contains("kept") && said.contains("protected"), "{code:?} {said}");
    assert_eq!(words(&["allow", "update", "kept", "--protected=false"]).0, Some(0));
    assert_eq!(words(&["allow", "purge", "--yes"]).0, Some(0));
    assert_eq!(names().await, ["mixed", "op"]);
}
