//! The state directory when something is wrong with it: a start is refused, and `check` says so before; what a restart would forget is
//! said by all who tell how the proxy stands.

use std::fs;

use crate::support::{Leaf, Workspace, eventually};

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
}

#[test]
fn what_the_ledger_could_not_take_is_told_by_status_metric_and_readiness() {
    let workspace = Workspace::new();
    workspace.allow("somebody", &Leaf::new("somebody").self_signed());
    let proxy = workspace.start_with_small_files(&config());
    let unrecorded = || proxy.metric("portcullis_ledger_unrecorded").is_some_and(|waiting| waiting > 0.0);
    let identity = Leaf::new("other").self_signed();
    for _ in 0..50 {
        let before = proxy.generation();
        proxy.allow("other", &identity);
        proxy.wait_for_generation_after(before);
        let before = proxy.generation();
        proxy.remove("allowlist/other.pem");
        proxy.wait_for_generation_after(before);
        if unrecorded() {
            break;
        }
    }
    assert!(unrecorded(), "{}", proxy.log());
    let output = workspace.run(&["status", "-c", "portcullis.toml"]);
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(words.starts_with("unrecorded (") && words.contains("make room on its disk before a restart"), "{words}");
    assert_eq!(proxy.status()["state"], "unrecorded");
    assert_eq!(proxy.monitor("/readyz").map(|(status, _)| status), Some(503));
    assert!(proxy.log().contains("changes are in force and could not be recorded; trying again each second"));
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
