//! A CRL holds for as long as it is there: who takes an authority away, or starts again without it, takes back nothing that its CA revoked.

use serde_json::Value;

use crate::support::calls::{CONTROL, Caller};
use crate::support::{Identity, Leaf, TestCa, TestProxy, Workspace, eventually};

struct World {
    workspace: Workspace,
    ca: TestCa,
    dora: Identity,
}

impl World {
    fn new() -> Self {
        let (workspace, ca) = (Workspace::new(), TestCa::new("Our CA"));
        let dora = ca.issue(Leaf::new("dora").serial(&[0x0a, 0x0b]));
        workspace.write("ca.pem", ca.pem());
        workspace.allow("dora", &dora);
        workspace.allow("somebody", &Leaf::new("somebody").self_signed());
        Self { workspace, ca, dora }
    }

    async fn code(&self, proxy: &TestProxy) -> String {
        Caller::new(proxy, &self.dora).told("GET", "/v1/whoami", &Value::Null).await
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = self.workspace.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }
}

const STAFF: &str = r#"
[[principal]]
name = "staff"
role = "Reader"
[principal.authority]
certificates = ["ca.pem"]
common_names = ["staff-*"]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_ca_revoked_stays_so_when_its_authority_goes_from_the_file() {
    let world = World::new();
    world.workspace.write("our.crl", world.ca.crl(1, &[&[0x0a, 0x0b]], 24));
    let config = |more: &str| Workspace::config("request", "http://127.0.0.1:1", &[CONTROL, more].concat());
    let crls = "[revocation]\ncrls = [\"our.crl\"]\n";
    let proxy = world.workspace.start(&config(&[STAFF, crls].concat()));
    assert_eq!(world.code(&proxy).await, "403 revoked");
    // The authority goes: on the way, and at the next start.
    let without = config(crls);
    let generation = proxy.generation();
    proxy.replace("portcullis.toml", &without);
    proxy.wait_for_generation_after(generation);
    assert_eq!(world.code(&proxy).await, "403 revoked");
    let explained = world.workspace.run(&["explain", "allowlist/dora.pem", "-c", "portcullis.toml", "--json"]);
    assert!(
        String::from_utf8_lossy(&explained.stdout).contains("\"revoked\""),
        "whoever asks without the proxy hears the same: {explained:?}"
    );
    drop(proxy);
    let proxy = world.workspace.start(&without);
    assert_eq!(world.code(&proxy).await, "403 revoked");
    let told = |proxy: &TestProxy| proxy.log().contains("what this CRL lists of it stays revoked");
    eventually("it is told of", || told(&proxy));
    // A newer one of that CA is believed as before; one that another CA of this name signed is not.
    proxy.replace("our.crl", TestCa::twin("Our CA").crl(9, &[], 24));
    eventually("it is refused", || proxy.log().contains("say nothing yet") || proxy.log().contains("says nothing yet"));
    assert_eq!(world.code(&proxy).await, "403 revoked");
    let generation = proxy.generation();
    proxy.replace("our.crl", world.ca.crl(2, &[&[0x0c]], 24));
    proxy.wait_for_generation_after(generation);
    assert_eq!(world.code(&proxy).await, "200");
    let generation = proxy.generation();
    proxy.replace("our.crl", world.ca.crl(3, &[&[0x0a, 0x0b]], 24));
    proxy.wait_for_generation_after(generation);
    assert_eq!(world.code(&proxy).await, "403 revoked");
    // On purpose: the CRL is named no more.
    let generation = proxy.generation();
    proxy.replace("portcullis.toml", config(""));
    proxy.wait_for_generation_after(generation);
    assert_eq!(world.code(&proxy).await, "200");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_ca_revoked_stays_so_when_its_principal_is_deleted() {
    let world = World::new();
    let config = Workspace::config("request", "http://127.0.0.1:1", CONTROL);
    let proxy = world.workspace.start(&config);
    world.workspace.write("our.crl", world.ca.crl(1, &[&[0x0a, 0x0b]], 24));
    // The CRL first, and then the authority by which it is believed.
    world.run(&["crl", "put", "ours", "our.crl"]);
    assert_eq!(world.code(&proxy).await, "200");
    world.run(&["allow", "add", "staff", "--authority", "ca.pem", "--common-name", "staff-*", "--permission", "all=read"]);
    assert_eq!(world.code(&proxy).await, "403 revoked");
    world.run(&["allow", "rm", "staff", "--yes"]);
    assert_eq!(world.code(&proxy).await, "403 revoked");
    proxy.signal("KILL");
    drop(proxy);
    let proxy = world.workspace.start(&config);
    assert_eq!(world.code(&proxy).await, "403 revoked");
    // Another change, of somebody else, leaves it as it is.
    world.run(&["allow", "add", "other", "--fingerprint", &"22".repeat(32), "--role", "Reader"]);
    assert_eq!(world.code(&proxy).await, "403 revoked");
    world.run(&["crl", "rm", "ours", "--yes"]);
    assert_eq!(world.code(&proxy).await, "200");
}
