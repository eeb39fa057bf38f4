//! What the `revoked_ids` of a managed principal revoke outlives it: who deletes it, takes its authority or its pin away, or puts a document
//! in its place that says nothing of them, lets nobody in by that. On purpose it is taken back, by `unrevoke`.

use serde_json::{Value, json};

use crate::support::calls::{CONTROL, Caller};
use crate::support::{Identity, Leaf, TestCa, TestProxy, Workspace, proxy};

/// Whoever this CA vouches for comes in, beside whatever the ledger says.
const CREW: &str = r#"
[[principal]]
name = "crew"
role = "Reader"
[principal.authority]
certificates = ["ca.pem"]
any = true
priority = 200

[[principal]]
name = "admin"
clearance = "admin"
permissions = []
certificates = ["admin.pem"]
"#;

struct World {
    workspace: Workspace,
    dora: Identity,
    eve: Identity,
    admin: Identity,
}

impl World {
    fn start() -> (Self, TestProxy) {
        let (workspace, ca) = (Workspace::new(), TestCa::new("Our CA"));
        let [dora, eve] = [("dora", 0x0b), ("eve", 0x0c)].map(|(name, serial)| ca.issue(Leaf::new(name).serial(&[0x0a, serial])));
        let admin = Leaf::new("admin").self_signed();
        workspace.write("ca.pem", ca.pem());
        workspace.write("other.pem", TestCa::new("Another CA").pem());
        for (name, identity) in [("dora", &dora), ("eve", &eve), ("admin", &admin)] {
            identity.write(workspace.directory.path(), name);
        }
        let world = Self { workspace, dora, eve, admin };
        let proxy = world.again();
        (world, proxy)
    }

    fn again(&self) -> TestProxy {
        self.workspace.allow("somebody", &Leaf::new("somebody").self_signed());
        self.workspace.start(&Workspace::config("request", "http://127.0.0.1:1", &[CONTROL, CREW].concat()))
    }

    /// Starts again, after an end without notice.
    fn over(&self, proxy: TestProxy) -> TestProxy {
        proxy.signal("KILL");
        drop(proxy);
        self.again()
    }

    async fn codes(&self, proxy: &TestProxy) -> [String; 2] {
        let ask = |identity| async move { Caller::new(proxy, identity).told("GET", "/v1/whoami", &Value::Null).await };
        [ask(&self.dora).await, ask(&self.eve).await]
    }

    fn run(&self, arguments: &[&str]) -> String {
        let (code, said) = proxy::told(&self.workspace.run(arguments));
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
        said
    }

    fn add_staff(&self) {
        self.run(&["allow", "add", "staff", "--authority", "ca.pem", "--common-name", "x-*", "--revoked-id", "serial:0A0B"]);
    }
}

const REVOKED: [&str; 2] = ["403 revoked", "200"];
const BOTH_IN: [&str; 2] = ["200", "200"];

#[tokio::test(flavor = "multi_thread")]
async fn what_a_principal_revoked_stays_so_when_it_is_deleted_until_that_is_taken_back() {
    let (world, proxy) = World::start();
    assert_eq!(world.codes(&proxy).await, BOTH_IN);
    world.add_staff();
    assert_eq!(world.codes(&proxy).await, REVOKED, "its ids bind whoever comes by the same anchor");
    let would = world.run(&["allow", "rm", "staff", "--dry-run"]);
    assert!(would.contains("still revoked") && would.contains("serial:0A0B"), "{would}");
    let said = world.run(&["allow", "rm", "staff", "--yes"]);
    assert!(said.contains("portcullis unrevoke serial:0A0B"), "{said}");
    assert_eq!(world.codes(&proxy).await, REVOKED);
    let said = world.run(&["revoked"]);
    assert!(
        said.contains("serial:0A0B") && said.contains("of the revoked_ids of staff") && said.contains("where principals that are gone"),
        "{said}"
    );
    // Replayed, and beside others' changes; a new one of that name brings nothing back.
    let proxy = world.over(proxy);
    assert_eq!(world.codes(&proxy).await, REVOKED);
    world.run(&["allow", "add", "staff", "--authority", "ca.pem", "--common-name", "x-*"]);
    assert_eq!(world.codes(&proxy).await, REVOKED);
    let log = world.run(&["ledger", "log"]);
    assert!(log.contains("revocation.add serial:0A0B"), "{log}");
    world.run(&["unrevoke", "serial:0A0B"]);
    assert_eq!(world.codes(&proxy).await, BOTH_IN);
    let proxy = world.over(proxy);
    assert_eq!(world.codes(&proxy).await, BOTH_IN);
    assert_eq!(world.run(&["revoked"]).trim(), "nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_principal_revoked_stays_so_when_it_is_edited_unless_the_edit_says_so() {
    let (world, proxy) = World::start();
    let by_admin = Caller::new(&proxy, &world.admin);
    world.add_staff();
    // Its authority goes: the ids stay where they were, and hold for whom they held.
    let said = world.run(&["allow", "update", "staff", "--authority", "other.pem", "--common-name", "x-*"]);
    assert!(said.contains("still revoked"), "{said}");
    assert_eq!(world.codes(&proxy).await, REVOKED);
    // Said of the document alone, it is not taken back for those whom it reached before.
    world.run(&["allow", "update", "staff", "--clear", "revoked_ids"]);
    assert_eq!(world.codes(&proxy).await, REVOKED);
    world.run(&["unrevoke", "serial:0A0B"]);
    assert_eq!(world.codes(&proxy).await, BOTH_IN);
    // On purpose: the list of ids is named.
    world.run(&["allow", "update", "staff", "--authority", "ca.pem", "--common-name", "x-*", "--revoked-id", "serial:0A0B"]);
    assert_eq!(world.codes(&proxy).await, REVOKED);
    world.run(&["allow", "update", "staff", "--clear", "revoked_ids"]);
    assert_eq!(world.codes(&proxy).await, BOTH_IN);
    // A whole document, or set, that says nothing of them.
    world.run(&["allow", "update", "staff", "--revoked-id", "serial:0A0B"]);
    let mut staff = by_admin.call("GET", "/v1/principals/-?name=staff", &Value::Null).await.json();
    let id = staff["id"].as_str().expect("an id").to_owned();
    for key in ["revoked_ids", "source", "written"] {
        staff.as_object_mut().expect("an object").remove(key);
    }
    let put = by_admin.call("PUT", &format!("/v1/principals/{id}"), &staff).await.json();
    assert_eq!((&put["still_revoked"], &put["principal"]["revoked_ids"]), (&json!(["serial:0A0B"]), &Value::Null), "{put}");
    assert_eq!(world.codes(&proxy).await, REVOKED);
    world.run(&["unrevoke", "serial:0A0B"]);
    world.run(&["allow", "update", "staff", "--revoked-id", "serial:0A0B"]);
    for set in [json!([staff]), json!([])] {
        let put = by_admin.call("PUT", "/v1/principals", &json!({ "principals": set })).await.json();
        assert!(put["still_revoked"] == json!(["serial:0A0B"]) || set == json!([]), "{put}");
        assert_eq!(world.codes(&proxy).await, REVOKED);
    }
    let proxy = world.over(proxy);
    assert_eq!(world.codes(&proxy).await, REVOKED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_that_its_own_principal_revoked_does_not_come_in_by_another() {
    let (world, proxy) = World::start();
    let id = format!("sha256:{}", world.dora.fingerprint());
    world.run(&["allow", "add", "dora", "dora.pem", "--role", "Reader", "--revoked-id", &id]);
    world.run(&["allow", "add", "eve", "eve.pem", "--role", "Reader", "--revoked-id", "serial:0A0B"]);
    assert_eq!(world.codes(&proxy).await, REVOKED);
    let said = world.run(&["allow", "rm", "dora", "eve", "--yes"]);
    assert!(
        said.contains(&format!("unrevoke {id}")) && !said.contains("unrevoke serial:0A0B"),
        "what hit nobody of its own leaves nothing: {said}"
    );
    assert_eq!(world.codes(&proxy).await, REVOKED);
    // By its fingerprint alone nobody can tell whether a serial is its own: it is kept.
    world.run(&["unrevoke", &id]);
    world.run(&["allow", "add", "dora", "--fingerprint", &world.dora.fingerprint(), "--role", "Reader", "--revoked-id", "serial:0A0B"]);
    assert_eq!(world.codes(&proxy).await, REVOKED);
    world.run(&["allow", "rm", "dora", "--yes"]);
    let proxy = world.over(proxy);
    assert_eq!(world.codes(&proxy).await, REVOKED);
    world.run(&["unrevoke", "serial:0A0B"]);
    assert_eq!(world.codes(&proxy).await, BOTH_IN);
}
