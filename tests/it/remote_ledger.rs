//! The ledger of a proxy elsewhere, verified by whoever has its key and what was seen of it; and what long work shows of itself.

use std::fs;
use std::process::Command;
use std::time::Duration;

use portcullis::store::ledger::{Actor, ActorKind, Ledger, NewEntry};
use portcullis::store::managed::Change;

use crate::support::{Leaf, TestProxy, Workspace};

const CONTROL: &str = r#"
[[listener]]
name = "control"
address = "127.0.0.1:0"
client_auth = "require"
serve = ["admin"]
certificates = [{ cert = "server.pem", key = "server.key" }]

[[principal]]
name = "boss"
clearance = "admin"
certificates = ["boss.pem"]
"#;

struct World {
    workspace: Workspace,
    config: String,
}

impl World {
    fn new() -> Self {
        let workspace = Workspace::new();
        for name in ["alice", "bob", "boss"] {
            Leaf::new(name).self_signed().write(workspace.directory.path(), name);
        }
        Self { workspace, config: Workspace::config("require", "http://127.0.0.1:1", CONTROL) }
    }

    fn add(&self, name: &str) {
        let added = self.workspace.run(&["allow", "add", name, &format!("{name}.pem"), "--role", "Reader"]);
        assert_eq!(added.status.code(), Some(0), "{added:?}");
    }

    /// Verifies from elsewhere; this is the exit code, and all that was said.
    fn verify(&self, proxy: &TestProxy, more: &[&str]) -> (Option<i32>, String) {
        let url = format!("https://localhost:{}", proxy.address("control").port());
        let from = ["ledger", "verify", "--admin", &url, "--cert", "boss.pem", "--key", "boss.key", "--cacert", "server.pem"];
        let output = self.workspace.run(&[&from, more].concat());
        (output.status.code(), String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned())
    }
}

#[test]
fn the_ledger_of_a_proxy_elsewhere_is_held_against_a_key_and_what_was_seen_of_it() {
    let world = World::new();
    let mut proxy = world.workspace.start_with_somebody(&world.config);
    world.add("alice");
    let ours = ["--verifier", "state/ledger/ledger.pub"];
    let verify = |proxy: &TestProxy, more: &[&str], code: i32, words: &str| {
        let (ended, said) = world.verify(proxy, more);
        assert!(ended == Some(code) && said.contains(words), "{more:?}: {ended:?} {said}");
    };
    verify(&proxy, &ours, 0, ": verified");
    verify(&proxy, &[], 2, "--verifier");
    // What was seen is kept where it was asked for, and nowhere else.
    let seen = [&ours[..], &["--checkpoint", "seen.note"]].concat();
    assert!(!world.workspace.path("seen.note").exists());
    verify(&proxy, &seen, 0, ": verified");
    let kept = fs::read_to_string(world.workspace.path("seen.note")).expect("kept");
    world.add("bob");
    verify(&proxy, &seen, 0, ": verified");
    assert_ne!(fs::read_to_string(world.workspace.path("seen.note")).expect("kept"), kept, "the newer one");
    // Another log's key.
    let other = tempfile::tempdir().expect("a directory");
    let key = Ledger::open(other.path(), None).expect("opened").ledger.reader().verifier().to_string();
    verify(&proxy, &["--verifier", &key], 1, "checkpoint");
    // The same key, and another history: longer, and good in itself.
    proxy.signal("TERM");
    assert_eq!(proxy.wait(), Some(0));
    let state = world.workspace.path("state");
    fs::rename(state.join("ledger"), world.workspace.path("before")).expect("ours");
    fs::remove_file(state.join("checkpoint.seen")).expect("ours");
    fs::rename(state.join("ledger.key"), state.join("ledger.key.begun")).expect("ours");
    let mut forged = Ledger::open(&state, None).expect("begun").ledger;
    let entries = (0..9).map(|number| {
        let change = Change::revoke(&format!("sha256:{number:064x}"), None);
        NewEntry {
            action: change.action().to_owned(),
            object: change.object().to_owned(),
            actor: Actor::new(ActorKind::Socket),
            before: String::new(),
            after: String::new(),
            reason: None,
            data: change.data(),
            more: false,
        }
    });
    forged.append(entries.collect(), Duration::from_secs(1_795_216_330)).expect("recorded");
    forged.publish().expect("published");
    drop(forged);
    let proxy = world.workspace.start(&world.config);
    verify(&proxy, &ours, 0, ": verified");
    verify(&proxy, &seen, 1, "history was rewritten");
    fs::write(world.workspace.path("damaged.note"), "no note").expect("ours");
    verify(&proxy, &[&ours[..], &["--checkpoint", "damaged.note"]].concat(), 1, "the checkpoint seen before");
    drop(proxy);
    let nobody = ["ledger", "verify", "--admin", "https://localhost:1", "--cacert", "server.pem", "--verifier", "before/ledger.pub"];
    assert_eq!(world.workspace.run(&nobody).status.code(), Some(4));
}

#[test]
fn a_bar_is_for_a_terminal_and_nothing_of_it_is_in_a_pipe() {
    let world = World::new();
    world.workspace.write("portcullis.toml", &world.config);
    fs::create_dir(world.workspace.path("many")).expect("ours");
    for number in 0..1_200 {
        fs::copy(world.workspace.path("alice.pem"), world.workspace.path(&format!("many/device-{number}.pem"))).expect("copied");
    }
    let replace = ["allow", "replace", "many", "--role", "Reader", "--dry-run"];
    let piped = world.workspace.run(&replace);
    // Nobody runs: what was read goes nowhere.
    assert_eq!(piped.status.code(), Some(4), "{piped:?}");
    assert!(!piped.stderr.contains(&b'\r') && !String::from_utf8_lossy(&piped.stderr).contains("files read"), "{piped:?}");
    // script(1), of util-linux, makes a terminal; where there is none, nothing is shown to anybody.
    let on_a_terminal = |arguments: &[&str]| {
        let command = [&[env!("CARGO_BIN_EXE_portcullis")], arguments].concat().join(" ");
        let mut script = Command::new("script");
        script.args(["-qec", &command, "/dev/null"]).current_dir(world.workspace.directory.path());
        script.output().ok().map(|shown| String::from_utf8_lossy(&shown.stdout).into_owned())
    };
    let Some(shown) = on_a_terminal(&replace) else { return };
    assert!(shown.contains("1200 of 1200 files read"), "{shown}");
    let shown = on_a_terminal(&[&["--json"], &replace[..]].concat()).unwrap_or_default();
    assert!(shown.contains("\"error\"") && !shown.contains("files read"), "{shown}");
}

#[test]
fn a_principal_of_too_many_certificates_is_refused_with_what_to_do() {
    let world = World::new();
    world.workspace.write("portcullis.toml", &world.config);
    let pem = fs::read_to_string(world.workspace.path("alice.pem")).expect("there");
    world.workspace.write("bundle.pem", pem.repeat(1_001));
    let output = world.workspace.run(&["allow", "add", "fleet", "bundle.pem", "--role", "Reader"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("1001 certificates") && said.contains("allow replace"), "{said}");
}
