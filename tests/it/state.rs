//! The state directory when something is wrong with it: a start is refused, and `check` says so before; what a restart would forget is
//! said by all who tell how the proxy stands.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::proxy::told;
use crate::support::{Client, Identity, Leaf, TestProxy, Workspace, eventually};

fn config() -> String {
    Workspace::config("require", "http://127.0.0.1:1", "[audit]\ndestination = \"off\"\n")
}

#[test]
fn a_ledger_that_does_not_verify_stops_the_start_and_check_says_so_before() {
    let workspace = Workspace::new();
    let mut proxy = workspace.start_with_somebody(&config());
    proxy.allow("other", &Leaf::new("other").self_signed());
    let entries = workspace.path("state/ledger/entries.jsonl");
    let checkpoint = workspace.path("state/ledger/checkpoint");
    eventually("an entry is signed", || fs::read_to_string(&checkpoint).is_ok_and(|note| note.lines().nth(1) == Some("1")));
    proxy.signal("TERM");
    assert_eq!(proxy.wait(), Some(0));
    let told = |command: &str| {
        let output = workspace.run(&[command, "-c", "portcullis.toml"]);
        (output.status.code(), String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned())
    };
    assert_eq!(told("check").0, Some(0));
    let (good, key) = (fs::read_to_string(&entries).expect("there"), workspace.path("state/ledger.key"));
    fs::write(&entries, good.replacen("files.reloaded", "files.reloadeD", 1)).expect("ours");
    for command in ["run", "check"] {
        let (code, words) = told(command);
        assert!(code == Some(3) && words.contains("history was rewritten; restore the state directory"), "{command}: {code:?} {words}");
    }
    fs::write(&entries, good).expect("ours");
    fs::rename(&key, workspace.path("kept")).expect("ours");
    for command in ["run", "check"] {
        let (code, words) = told(command);
        assert!(
            code == Some(3) && words.contains("ledger.key") && words.contains("restore it from a backup"),
            "{command}: {code:?} {words}"
        );
    }
    fs::rename(workspace.path("kept"), &key).expect("ours");
    assert_eq!(told("check").0, Some(0));
    // What was seen of it is compared offline, too; and a key without its ledger is no beginning, in which there was never an admin.
    let seen = workspace.path("state/checkpoint.seen");
    let kept = fs::read_to_string(&seen).expect("there");
    fs::remove_file(&seen).expect("ours");
    for command in ["run", "check"] {
        let (code, words) = told(command);
        assert!(code == Some(3) && words.contains("checkpoint.seen") && words.contains("is missing"), "{command}: {code:?} {words}");
    }
    fs::remove_dir_all(workspace.path("state/ledger")).expect("ours");
    for command in ["run", "check"] {
        let (code, words) = told(command);
        assert!(code == Some(3) && words.contains("restore"), "{command}: {code:?} {words}");
    }
    fs::write(&seen, kept).expect("ours");
    assert_eq!(told("run").0, Some(3), "entries are gone");
}

#[test]
fn a_ledger_that_another_process_has_open_stops_the_start() {
    let workspace = Workspace::new();
    let _proxy = workspace.start_with_somebody(&config());
    let (code, words) = told(&workspace.run(&["run", "-c", "portcullis.toml"]));
    assert!(code == Some(3) && words.contains("another process has this ledger open"), "{code:?} {words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_no_removal_lets_nobody_in_and_what_waited_is_recorded_when_there_is_room() {
    let world = World::new(&config());
    let proxy = world.workspace.start(&config());
    world.run(0, "", &["allow", "add", "managed", "managed.pem", "--role", "Reader"]);
    assert_eq!(world.gets_in(&proxy).await, [true, true, false]);
    let size = || fs::metadata(world.workspace.path("state/ledger/entries.jsonl")).expect("there").len();
    let before = size();
    proxy.limit_files(Some(before));
    // Nobody is let in of whom a restart would know nothing.
    world.run(1, "ledger_unavailable", &["allow", "add", "late", "late.pem", "--role", "Reader"]);
    assert_eq!(world.gets_in(&proxy).await, [true, true, false]);
    assert_eq!(proxy.monitor("/readyz").map(|(status, _)| status), Some(200), "nothing is in force that is not recorded");
    // Who is taken off is off, by file and by command, though the answer says that it is not recorded.
    world.run(1, "ledger_unavailable", &["allow", "rm", "managed", "--yes"]);
    assert_eq!(world.gets_in(&proxy).await, [true, false, false]);
    let generation = proxy.generation();
    proxy.remove("allowlist/filed.pem");
    proxy.wait_for_generation_after(generation);
    assert_eq!(world.gets_in(&proxy).await, [false, false, false]);
    unrecorded(&world, &proxy, 2);
    eventually("the log says that it is in force", || proxy.log().contains("\"action\":\"unrecorded\""));
    // An addition waits for nobody: it is refused, also behind what waits.
    world.run(1, "ledger_unavailable", &["allow", "add", "late", "late.pem", "--role", "Reader"]);
    assert_eq!(size(), before, "no torn entry is left");
    proxy.limit_files(None);
    eventually("what waited is recorded", || proxy.metric("portcullis_ledger_unrecorded") == Some(0.0));
    assert_eq!(proxy.monitor("/readyz").map(|(status, _)| status), Some(200));
    assert_eq!(proxy.status()["state"], "ready");
    world.run(0, "", &["allow", "add", "late", "late.pem", "--role", "Reader"]);
    assert_eq!(world.gets_in(&proxy).await, [false, false, true]);
    // It is all there, also for a proxy that was killed.
    drop(proxy);
    world.run(0, "", &["ledger", "verify"]);
    let proxy = world.workspace.start_with_somebody(&config());
    assert_eq!(world.gets_in(&proxy).await, [false, false, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_ledger_stops_no_removal_and_lets_nobody_in() {
    let world = World::new(&config());
    let mut proxy = world.workspace.start(&config());
    world.run(0, "", &["allow", "add", "managed", "managed.pem", "--role", "Reader"]);
    proxy.signal("TERM");
    assert_eq!(proxy.wait(), Some(0));
    let entries = world.workspace.path("state/ledger/entries.jsonl");
    let mode = |mode| fs::set_permissions(&entries, fs::Permissions::from_mode(mode)).expect("ours");
    mode(0o400);
    let mut proxy = world.workspace.start_bound_by_modes(&config());
    eventually("the log says it", || proxy.log().contains("changes to it are refused"));
    assert_eq!(world.gets_in(&proxy).await, [true, true, false], "what it says is in force");
    world.run(1, "ledger_unavailable", &["allow", "add", "late", "late.pem", "--role", "Reader"]);
    world.run(1, "ledger_unavailable", &["allow", "rm", "managed", "--yes"]);
    let generation = proxy.generation();
    proxy.remove("allowlist/filed.pem");
    proxy.wait_for_generation_after(generation);
    assert_eq!(world.gets_in(&proxy).await, [false, false, false]);
    unrecorded(&world, &proxy, 2);
    // Where it can be written to again, the next start has it as ever; what was never recorded was never acknowledged.
    proxy.signal("TERM");
    assert_eq!(proxy.wait(), Some(0));
    mode(0o600);
    let proxy = world.workspace.start_with_somebody(&config());
    world.run(0, "", &["allow", "rm", "managed", "--yes"]);
    assert_eq!(world.gets_in(&proxy).await, [false, false, false]);
    assert_eq!(proxy.monitor("/readyz").map(|(status, _)| status), Some(200));
}

/// What waits to be recorded is told by status, metric, readiness and log.
fn unrecorded(world: &World, proxy: &TestProxy, waiting: u64) {
    eventually("all of it waits", || proxy.metric("portcullis_ledger_unrecorded") == Some(waiting as f64));
    let words = world.run(0, "", &["status"]);
    assert!(words.starts_with("unrecorded (") && words.contains("make room on its disk before a restart"), "{words}");
    assert_eq!(proxy.status()["state"], "unrecorded");
    assert_eq!(proxy.monitor("/readyz").map(|(status, _)| status), Some(503));
    eventually("the log says it", || proxy.log().contains("changes are in force and could not be recorded; trying again each second"));
}

/// Three clients: one that a file lists, one for the ledger, and one that comes late.
struct World {
    workspace: Workspace,
    clients: [Identity; 3],
}

impl World {
    fn new(config: &str) -> Self {
        let (workspace, names) = (Workspace::new(), ["filed", "managed", "late"]);
        let clients = names.map(|name| Leaf::new(name).self_signed());
        names.iter().zip(&clients).for_each(|(name, client)| drop(client.write(workspace.directory.path(), name)));
        workspace.allow("filed", &clients[0]);
        workspace.allow("somebody", &Leaf::new("somebody").self_signed());
        workspace.write("portcullis.toml", config);
        Self { workspace, clients }
    }

    /// Runs a command that is to end with this code, and to say these words; returns all that it says.
    fn run(&self, code: i32, words: &str, arguments: &[&str]) -> String {
        let output = self.workspace.run(arguments);
        let said = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
        assert!(output.status.code() == Some(code) && said.contains(words), "{arguments:?}: {:?} {said}", output.status.code());
        said
    }

    async fn gets_in(&self, proxy: &TestProxy) -> [bool; 3] {
        let [filed, managed, late] = &self.clients;
        let gets_in = async |client| Client::new(proxy, Some(client)).get("/").await.is_ok();
        [gets_in(filed).await, gets_in(managed).await, gets_in(late).await]
    }
}

#[test]
fn check_warns_of_a_log_without_a_directory() {
    let workspace = Workspace::new();
    workspace.allow("somebody", &Leaf::new("somebody").self_signed());
    workspace.write("portcullis.toml", Workspace::config("require", "http://127.0.0.1:1", "[audit]\ndestination = \"none/audit.log\"\n"));
    let checked = workspace.run(&["check", "-c", "portcullis.toml"]);
    let words = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(words.contains("none/audit.log: its directory is not there"), "{words}");
    let run = workspace.run(&["run", "-c", "portcullis.toml"]);
    assert_eq!(run.status.code(), Some(3), "{}", String::from_utf8_lossy(&run.stderr));
}
