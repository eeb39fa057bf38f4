//! Managing who gets in by the command line alone, through the real binary: over the control socket, and from elsewhere with a
//! certificate. What it says, what it writes, what it refuses.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::support::proxy::told;
use crate::support::{Client, Flow, Identity, Leaf, TestCa, TestProxy, TestUpstream, Workspace, within};

const CONTROL: &str = r#"
[[listener]]
name = "control"
address = "127.0.0.1:0"
client_auth = "require"
serve = ["admin"]
certificates = [{ cert = "server.pem", key = "server.key" }]

[[principal]]
name = "fixed"
role = "Reader"
certificates = ["fixed.pem"]
"#;

/// A proxy, and the upstream behind it.
struct World {
    workspace: Workspace,
    proxy: TestProxy,
    _upstream: TestUpstream,
}

impl World {
    async fn start() -> Self {
        let upstream = TestUpstream::start().await;
        let workspace = Workspace::new();
        for name in ["alice", "bob", "carol", "fixed"] {
            Leaf::new(name).self_signed().write(workspace.directory.path(), name);
        }
        let proxy = workspace.start_with_somebody(&Workspace::config("request", &upstream.url(), CONTROL));
        Self { workspace, proxy, _upstream: upstream }
    }

    /// Runs a command that is to be done; returns what it says.
    fn done(&self, arguments: &[&str]) -> String {
        let (code, words) = told(&self.workspace.run(arguments));
        assert_eq!(code, Some(0), "{arguments:?}: {words}");
        words
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let arguments = [&["--json"], arguments].concat();
        let output = self.workspace.run(&arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {:?}", told(&output));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {:?}", told(&output)))
    }

    /// Runs a command that is to end with this code, and to say these words.
    fn refused(&self, code: i32, words: &str, arguments: &[&str]) {
        let (ended, said) = told(&self.workspace.run(arguments));
        assert!(ended == Some(code) && said.contains(words), "{arguments:?}: {ended:?} {said}");
    }

    fn identity(&self, name: &str) -> Identity {
        Identity::read(name, &self.workspace.path(&format!("{name}.pem")), &self.workspace.path(&format!("{name}.key")))
    }

    async fn status(&self, name: &str) -> u16 {
        let client = Client::new(&self.proxy, Some(&self.identity(name)));
        client.get("/hello").await.expect("an answer").status.as_u16()
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("there").permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_life_of_a_client_by_the_command_line_alone() {
    let world = World::start().await;
    assert_eq!(world.status("alice").await, 403);
    world.done(&["allow", "add", "alice", "alice.pem", "--role", "Contributor", "--display-name", "Alice", "--reason", "she asked"]);
    assert_eq!(world.status("alice").await, 200, "in force before the command ends");
    let shown = world.json(&["allow", "show", "ALICE"]);
    assert_eq!((shown["display_name"].as_str(), shown["version"].as_u64()), (Some("Alice"), Some(1)), "{shown}");
    assert_eq!(shown["certificates"][0]["fingerprint"], world.identity("alice").fingerprint().as_str(), "{shown}");
    // A second certificate, and where she may come from.
    world.done(&["allow", "update", "alice", "bob.pem", "--client-ip", "127.0.0.0/8"]);
    assert_eq!((world.status("alice").await, world.status("bob").await), (200, 200));
    world.done(&["allow", "update", "alice", "--enabled=false"]);
    assert_eq!(world.status("alice").await, 403);
    world.done(&["allow", "update", "alice", "--enabled", "--clear", "client_ips"]);
    assert_eq!(world.json(&["allow", "show", "alice"])["client_ips"], Value::Null);
    // Off means off, wherever it stands.
    let download = Flow::download(Client::new(&world.proxy, Some(&world.identity("bob"))), "/endless").await;
    download.goes_on("a download");
    world.done(&["allow", "rm-cert", "alice", "bob.pem", "--yes"]);
    within("the download ends", download.end).await.expect("no panic");
    assert_eq!((world.status("alice").await, world.status("bob").await), (200, 403));
    let id = world.json(&["allow", "show", "alice"])["id"].as_str().expect("an id").to_owned();
    world.done(&["allow", "update", &id, "--rename", "alicia"]);
    world.done(&["allow", "rm", "alicia", "--yes"]);
    assert_eq!(world.status("alice").await, 403);
    world.refused(1, "not_found", &["allow", "show", "alicia"]);
    // And the ledger has it all.
    let log = world.json(&["ledger", "log"]).to_string();
    assert!(log.contains("she asked") && log.contains("principal.remove"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_says_whom_it_hits_and_is_taken_back() {
    let world = World::start().await;
    let ca = TestCa::new("our ca");
    let leaf = ca.issue(Leaf::new("dora"));
    leaf.write(world.workspace.directory.path(), "dora");
    world.workspace.write("ca.pem", ca.pem());
    world.done(&["allow", "add", "staff", "--authority", "ca.pem", "--common-name", "d*", "--permission", "all=read"]);
    world.done(&["allow", "add", "alice", "alice.pem", "--role", "Reader"]);
    assert_eq!((world.status("dora").await, world.status("alice").await), (200, 200));
    // Who issued it is known: serial and issuer are revoked with the fingerprint.
    let revoked = world.json(&["revoke", "dora.pem", "--issuer", "ca.pem", "--yes", "--reason", "lost"]);
    let ids: Vec<&str> = revoked["revoked"].as_array().expect("a list").iter().filter_map(|one| one["id"].as_str()).collect();
    assert!(ids.len() == 2 && ids[0].starts_with("sha256:") && ids[1].starts_with("serial:") && ids[1].contains("@spki:"), "{revoked}");
    assert_eq!((world.status("dora").await, world.status("alice").await), (403, 200));
    let words = world.done(&["revoke", "alice.pem", "--yes"]);
    assert!(words.contains("hits alice"), "{words}");
    assert_eq!(world.status("alice").await, 403);
    let words = world.done(&["revoke", "serial:0123456789", "--yes"]);
    assert!(words.contains("warning"), "{words}");
    world.done(&["unrevoke", "alice.pem"]);
    world.done(&["unrevoke", "dora.pem", "--issuer", "ca.pem"]);
    assert_eq!((world.status("dora").await, world.status("alice").await), (200, 200));
    assert_eq!(world.json(&["revoked"])["revocations"][0]["id"], "serial:0123456789");
    world.workspace.write("ca.crl", ca.crl(1, &[&[1, 2, 3]], 24));
    world.done(&["crl", "put", "ours", "ca.crl"]);
    assert_eq!(world.json(&["crl", "list"])["crls"][0]["name"], "ours");
    world.refused(2, "--yes", &["crl", "rm", "ours"]);
    world.done(&["crl", "rm", "ours", "--yes"]);
    world.refused(1, "not_found", &["unrevoke", "serial:abcdef"]);
    // Of a file's two ids one is enough.
    world.done(&["revoke", "dora.pem", "--yes", "--reason", "lost again"]);
    let words = world.done(&["unrevoke", "dora.pem", "--issuer", "ca.pem"]);
    assert!(words.contains("taken back: sha256:") && words.contains("not revoked by a command: serial:"), "{words}");
    world.refused(2, "neither an id nor a file", &["revoke", "nobody's.pem", "--yes"]);
    world.refused(2, "--yes", &["revoke", "alice.pem"]);
    assert_eq!(world.status("alice").await, 200, "nobody was asked, and nothing was done");
    // The running proxy explains it.
    let report = world.json(&["explain", "alice.pem", "--running", "--route", "https://localhost/hello"]);
    assert_eq!((report["verdict"].as_str(), report["principal"]["name"].as_str()), (Some("admit"), Some("alice")), "{report}");
    world.refused(1, "not_listed", &["explain", "carol.pem", "--running"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_admin_is_made_here_and_manages_from_elsewhere() {
    let world = World::start().await;
    let warned = world.done(&["admin", "generateClientCert", "The Boss", "out", "p@$$ w'\""]);
    assert!(warned.contains("other processes can read") && !warned.contains("p@$$"), "{warned}");
    let zip = world.workspace.path("out/admin.client.certificate.The_Boss.zip");
    assert_eq!((mode(&zip), mode(&world.workspace.path("out"))), (0o600, 0o700));
    let before = std::fs::read(&zip).expect("readable");
    world.refused(3, "is not overwritten", &["admin", "generate-client-cert", "The Boss", "out"]);
    assert_eq!(std::fs::read(&zip).expect("readable"), before);
    assert!(!world.proxy.log().contains("p@$$"), "no secret in a log");
    // A certificate that there is already.
    let trusted = world.json(&["admin", "trustClientCert", "second", "bob.pem"]);
    assert_eq!(trusted["certificates"][0]["fingerprint"], world.identity("bob").fingerprint().as_str(), "{trusted}");
    assert_eq!(trusted["certificates"][0]["thumbprint"].as_str().map(str::len), Some(40));
    world.refused(3, "", &["admin", "trust-client-cert", "third", "server.key"]);
    world.refused(1, "fingerprint_taken", &["admin", "trust-client-cert", "third", "bob.pem"]);
    // From elsewhere, with that certificate.
    let url = format!("https://localhost:{}", world.proxy.address("control").port());
    let from = ["--admin", &url, "--cert", "bob.pem", "--key", "bob.key", "--cacert", "server.pem"];
    let with = |arguments: &[&'static str]| [arguments, &from[..]].concat();
    world.done(&with(&["allow", "add", "alice", "alice.pem", "--role", "Reader"]));
    assert_eq!(world.status("alice").await, 200);
    let listed = world.json(&with(&["allow", "list"]));
    let names: Vec<&str> = listed["principals"].as_array().expect("a list").iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["alice", "second", "The_Boss"], "{listed}");
    world.refused(1, "own_certificate", &with(&["allow", "rm", "second", "--yes"]));
    // An operator manages users, and nobody above.
    world.done(&["allow", "add", "op", "carol.pem", "--clearance", "operator"]);
    let from = ["--admin", &url, "--cert", "carol.pem", "--key", "carol.key", "--cacert", "server.pem"];
    let with = |arguments: &[&'static str]| [arguments, &from[..]].concat();
    world.refused(1, "clearance_too_low", &with(&["allow", "rm", "second", "--yes"]));
    world.refused(1, "clearance_too_low", &with(&["allow", "update", "alice", "--clearance", "admin"]));
    world.done(&with(&["allow", "rm", "alice", "--yes"]));
    let stranger = ["--admin", &url, "--cert", "alice.pem", "--key", "alice.key", "--cacert", "server.pem"];
    world.refused(4, "access_denied", &[&["allow", "list"], &stranger[..]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_do_nothing_is_said_so_and_the_log_tells_by_name_what_was_done() {
    let world = World::start().await;
    let words = world.done(&["allow", "list"]);
    assert!(words.contains("nobody") && words.contains("--source all"), "{words}");
    let words = world.done(&["allow", "add", "alice", "alice.pem"]);
    assert!(words.contains("may do nothing") && words.contains("allow update alice --role Reader"), "{words}");
    let words = world.done(&["allow", "add", "bob", "bob.pem", "--role", "Reader"]);
    assert!(!words.contains("may do nothing"), "{words}");
    world.done(&["allow", "update", "alice", "--enabled=false", "--reason", "ticket 7"]);
    world.done(&["revoke", "bob.pem", "--yes", "--reason", "lost"]);
    let words = world.done(&["revoked"]);
    assert!(words.contains("by local  lost"), "{words}");
    let words = world.done(&["ledger", "log", "--object", "Alice", "--actor", "local"]);
    assert!(words.contains(" alice, disabled (ticket 7)") && !words.contains("bob"), "{words}");
    world.refused(2, "principal.put", &["ledger", "log", "--action", "nothing"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_made_key_is_let_in_and_is_nowhere_but_in_its_file() {
    let world = World::start().await;
    world.workspace.write("password", "of the file\n");
    let made = world.json(&["allow", "generate", "ci/bot", "new", "--role", "Reader", "--password-file", "password"]);
    assert_eq!((made["file"].as_str(), made["encrypted"].as_bool()), (Some("new/ci_bot.zip"), Some(true)), "{made}");
    assert_eq!(mode(&world.workspace.path("new/ci_bot.zip")), 0o600);
    let shown = world.json(&["allow", "show", "ci/bot"]);
    assert_eq!(
        (&shown["certificates"][0]["source"], &shown["certificates"][0]["fingerprint"]),
        (&"generated".into(), &made["fingerprint"])
    );
    // Names are names, and no paths.
    world.done(&["allow", "generate", "../../evil", "new", "--role", "Reader"]);
    let inside: Vec<_> = std::fs::read_dir(world.workspace.path("new")).expect("there").filter_map(Result::ok).collect();
    assert_eq!(inside.len(), 2, "{inside:?}");
    // Who is refused leaves nothing behind.
    world.refused(1, "name_taken", &["allow", "generate", "ci/bot", "other"]);
    assert_eq!(std::fs::read_dir(world.workspace.path("other")).expect("made").count(), 0);
    world.done(&["allow", "generate", "tried", "dry", "--dry-run"]);
    assert!(!world.workspace.path("dry").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_why_and_its_exit_code_says_whose_fault_it_is() {
    let world = World::start().await;
    world.done(&["allow", "add", "alice", "alice.pem", "--role", "Reader", "--protected"]);
    for (code, words, arguments) in [
        (1, "name_taken", &["allow", "add", "Alice", "bob.pem"] as &[&str]),
        (1, "fingerprint_taken", &["allow", "add", "other", "alice.pem"]),
        (1, "static", &["allow", "rm", "fixed", "--yes"]),
        (1, "portcullis.toml", &["allow", "update", "fixed", "--enabled=false"]),
        (1, "protected", &["allow", "rm", "alice", "--yes"]),
        (1, "name:", &["allow", "add", "no name", "bob.pem"]),
        (1, "permissions[0].access", &["allow", "add", "bob", "bob.pem", "--permission", "all=everything"]),
        (1, "display_name", &["allow", "add", "bob", "bob.pem", "--display-name", "\u{1b}[2J"]),
        (1, "certificates", &["allow", "add", "bob"]),
        (2, "nothing to change", &["allow", "update", "alice"]),
        (2, "--yes", &["allow", "rm", "alice"]),
        (2, "", &["allow", "add"]),
        (2, "", &["allow", "add", "bob", "bob.pem", "--role", "Reader", "--clearance", "user"]),
        (3, "server.key", &["allow", "add", "bob", "server.key"]),
        (3, "absent.pem", &["allow", "add", "bob", "absent.pem"]),
        (3, "", &["allow", "list", "-c", "absent.toml"]),
        (4, "", &["allow", "list", "--admin", "https://localhost:1", "--cacert", "server.pem"]),
    ] {
        world.refused(code, words, arguments);
    }
    let output = world.workspace.run(&["--json", "allow", "rm", "fixed", "--yes"]);
    let error: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(error["error"]["code"], "refused", "{error}");
    assert_eq!(world.json(&["allow", "list"])["principals"].as_array().map(Vec::len), Some(1), "nothing of it was done");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_replaces_another_whole() {
    let world = World::start().await;
    world.done(&["allow", "add", "alice", "alice.pem", "--role", "Reader", "--display-name", "A\u{202e}lice"]);
    let listed = world.done(&["allow", "list"]);
    assert!(listed.contains("alice") && !listed.contains('\u{202e}'), "{listed:?}");
    // What was listed is the same set.
    let set = world.workspace.run(&["--json", "allow", "list", "--source", "all"]);
    world.workspace.write("set.json", &set.stdout);
    let same = world.json(&["allow", "replace", "set.json"]);
    assert_eq!([&same["added"]["count"], &same["changed"]["count"], &same["removed"]["count"]], [0; 3], "{same}");
    let toml = "[[principal]]\nname = \"bob\"\nrole = \"Reader\"\ncertificates = [\"bob.pem\"]\nvalid_until = 2199-01-01T00:00:00Z\n";
    world.workspace.write("set.toml", toml);
    let would = world.json(&["allow", "replace", "set.toml", "--dry-run"]);
    assert_eq!((&would["added"]["names"][0], &would["removed"]["names"][0]), (&"bob".into(), &"alice".into()), "{would}");
    assert_eq!(world.status("alice").await, 200, "nothing was done");
    world.refused(2, "removed: 1 (alice)", &["allow", "replace", "set.toml"]);
    world.done(&["allow", "replace", "set.toml", "--yes"]);
    assert_eq!((world.status("alice").await, world.status("bob").await), (403, 200));
    // A directory, where one file of two is wrong: nobody is let in or taken off.
    std::fs::create_dir(world.workspace.path("people")).expect("a directory");
    for name in ["alice", "carol"] {
        world.workspace.write(&format!("people/{name}.pem"), world.identity(name).leaf_pem());
    }
    world.workspace.write("people/broken.pem", "-----BEGIN CERTIFICATE-----\n");
    world.refused(3, "broken.pem", &["allow", "replace", "people", "--role", "Reader", "--yes"]);
    assert_eq!((world.status("alice").await, world.status("bob").await), (403, 200));
    world.proxy.remove("people/broken.pem");
    world.done(&["allow", "replace", "people", "--role", "Reader", "--yes"]);
    assert_eq!((world.status("alice").await, world.status("bob").await, world.status("carol").await), (200, 403, 200));
    // More than any other call may send: 20 MiB.
    let many: Vec<Value> = (0..20_000u32)
        .map(|number| {
            serde_json::json!({"name": format!("client-{number}"), "role": "Reader", "display_name": "x".repeat(1000),
            "fingerprints": [format!("{number:064x}")]})
        })
        .collect();
    world.workspace.write("many.json", serde_json::to_vec(&many).expect("JSON"));
    let done = world.json(&["allow", "replace", "many.json", "--yes"]);
    assert_eq!((&done["added"]["count"], &done["removed"]["count"]), (&20_000.into(), &2.into()));
    assert_eq!(world.json(&["allow", "list"])["principals"].as_array().map(Vec::len), Some(20_000), "page by page");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_is_exported_whole_and_what_is_live_is_told_from_elsewhere_too() {
    let world = World::start().await;
    world.done(&["allow", "add", "boss", "bob.pem", "--clearance", "admin"]);
    world.done(&["allow", "add", "alice", "alice.pem", "--role", "Reader", "--display-name", "Alice"]);
    let url = format!("https://localhost:{}", world.proxy.address("control").port());
    let from = ["--admin", &url, "--cert", "bob.pem", "--key", "bob.key", "--cacert", "server.pem"];
    let with = |arguments: &[&'static str]| [arguments, &from[..]].concat();
    let told = world.done(&with(&["allow", "list", "--export", "set.json"]));
    assert!(told.contains("set.json: 2 principals"), "{told}");
    world.done(&["allow", "update", "alice", "--display-name", "Somebody else"]);
    let back = world.json(&["allow", "replace", "set.json", "--yes"]);
    assert_eq!((&back["changed"]["names"], &back["removed"]["count"]), (&serde_json::json!(["alice"]), &0.into()), "{back}");
    assert_eq!(world.json(&["allow", "show", "alice"])["display_name"], "Alice");
    // An id is never given again.
    world.done(&["allow", "rm", "alice", "--yes"]);
    world.refused(1, "principals[0].id", &["allow", "replace", "set.json", "--yes"]);
    // Who is there, and who was not let in.
    let held = Client::new(&world.proxy, Some(&world.identity("fixed"))).connect().await.expect("admitted");
    let connections = world.json(&with(&["connections"]));
    let mine = connections["connections"].as_array().expect("a list").iter().find(|one| one["principal"] == "fixed").expect("it is open");
    let id = mine["id"].to_string();
    assert!(world.done(&["connections"]).lines().any(|line| line.starts_with(&format!("{id}  fixed  "))));
    world.refused(2, "--yes", &["connections", "--end", &id]);
    world.done(&["connections", "--end", &id, "--yes"]);
    drop(held);
    assert_eq!(world.status("carol").await, 403);
    let carol = world.identity("carol").fingerprint();
    assert!(world.done(&with(&["refusals"])).contains(&format!("{carol}  not_listed")));
    assert_eq!(world.json(&["refusals"])["refusals"][0]["fingerprint"], carol.as_str());
    // The log, as here and as from elsewhere.
    let (here, there) = (world.json(&["ledger", "log", "--limit", "2"]), world.json(&with(&["ledger", "log", "--limit", "2"])));
    assert_eq!((here["entries"].as_array().map(Vec::len), &here), (Some(2), &there));
    let removed = world.json(&with(&["ledger", "log", "--action", "principal.remove"]));
    assert_eq!(removed["entries"].as_array().map(Vec::len), Some(1), "{removed}");
    assert!(world.done(&with(&["ledger", "receipt", "0"])).starts_with("c2sp.org/tlog-proof@v1\nindex 0\n"));
    world.refused(2, "", &with(&["ledger", "log", "--raw"]));
    world.refused(
        1,
        "clearance_too_low",
        &["ledger", "log", "--admin", &url, "--cert", "fixed.pem", "--key", "fixed.key", "--cacert", "server.pem"],
    );
}

#[test]
fn completions_and_manual_pages_are_made_of_the_arguments() {
    let workspace = Workspace::new();
    for (shell, words) in [("bash", "complete -F"), ("zsh", "#compdef portcullis"), ("fish", "complete -c portcullis")] {
        let (code, script) = told(&workspace.run(&["completions", shell]));
        assert!(code == Some(0) && script.contains(words) && script.contains("generate-client-cert"), "{shell}: {script:.200}");
    }
    assert_eq!(told(&workspace.run(&["man", "man/pages"])).0, Some(0));
    for page in ["portcullis.1", "portcullis-allow-add.1", "portcullis-admin-trust-client-cert.1", "portcullis-revoke.1"] {
        let text = std::fs::read_to_string(workspace.path(&format!("man/pages/{page}"))).expect("a page");
        assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{page}: {text}");
    }
}
