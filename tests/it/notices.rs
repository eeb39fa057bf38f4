//! What comes to its end is told in time: in the log, once for each notice, in the status, and among the metrics; of files and of the ledger.

use serde_json::Value;
use time::{Duration, OffsetDateTime};

use crate::support::{Leaf, TestCa, TestProxy, Workspace, eventually};

fn principal(name: &str, more: &str) -> String {
    format!("[[principal]]\nname = \"{name}\"\nrole = \"Reader\"\ncertificates = [\"{name}.pem\"]\n{more}\n")
}

fn world() -> (Workspace, String) {
    let workspace = Workspace::new();
    for (name, days) in [("alice", 3), ("bob", 3), ("carol", 400), ("dave", 20), ("late", 400)] {
        Leaf::new(name).expires_in(days * 86_400 + 3600).self_signed().write(workspace.directory.path(), name);
    }
    workspace.allow("somebody", &Leaf::new("somebody").self_signed());
    let until = (OffsetDateTime::now_utc() + Duration::days(10)).date();
    let people = [
        principal("alice", ""),
        principal("bob", "expiry_notice = [2]"),
        principal("carol", &format!("valid_until = {until}T00:00:00Z")),
        principal("late", ""),
    ];
    let config = Workspace::config("require", "http://127.0.0.1:1", &people.concat());
    (workspace, config)
}

/// Returns what is said to end, by kind and name, with the days that are left.
fn expiring(workspace: &Workspace) -> Vec<(String, String, i64)> {
    let output = workspace.run(&["status", "--json"]);
    let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let text = |end: &Value, key: &str| end[key].as_str().unwrap_or_default().to_owned();
    let ends = status["expiring"].as_array().cloned().unwrap_or_default();
    ends.iter().map(|end| (text(end, "kind"), text(end, "name"), end["days_left"].as_i64().unwrap_or(-1))).collect()
}

/// Returns how many lines of the log give notice of a name's end.
fn told(proxy: &TestProxy, name: &str) -> usize {
    let line = |line: &&str| line.contains("this ends soon") && line.contains(&format!("\"name\":\"{name}\""));
    proxy.log().lines().filter(line).count()
}

#[test]
fn notice_is_given_of_each_end_once_and_what_is_near_is_listed() {
    let (workspace, config) = world();
    let mut proxy = workspace.start(&config);
    let added = workspace.run(&["allow", "add", "dave", "dave.pem", "--role", "Reader"]);
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    let near = |kind: &str, name: &str| expiring(&workspace).into_iter().find(|end| (end.0.as_str(), end.1.as_str()) == (kind, name));
    eventually("the managed one is near its end", || near("pin", "dave").is_some());
    assert_eq!(near("pin", "dave").map(|end| end.2), Some(20));
    assert_eq!(near("pin", "alice").map(|end| end.2), Some(3));
    assert!(near("principal", "carol").is_some_and(|end| (8..=10).contains(&end.2)), "{:?}", expiring(&workspace));
    for nobody in ["bob", "late"] {
        assert!(near("pin", nobody).is_none(), "{nobody} has time, or notice of its own");
    }
    let words = String::from_utf8_lossy(&workspace.run(&["status"]).stdout).into_owned();
    assert!(words.contains("expiring pin alice: until ") && words.contains(", 3 days left"), "{words}");
    eventually("it is told", || ["alice", "carol", "dave"].iter().all(|name| told(&proxy, name) > 0));

    // Looked at again, told no more.
    let late = Leaf::new("other").expires_in(5 * 86_400).self_signed();
    late.write(workspace.directory.path(), "late");
    eventually("what is new is told", || told(&proxy, "late") == 1);
    assert_eq!(["alice", "carol", "dave"].map(|name| told(&proxy, name)), [1; 3]);

    // Nor by a restart of the same day; by one of the next day it is.
    proxy.signal("TERM");
    assert_eq!(proxy.wait(), Some(0));
    let path = workspace.path("state/notices.json");
    let age = |seconds: u64| {
        let mut given: Value = serde_json::from_slice(&std::fs::read(&path).expect("kept")).expect("JSON");
        for one in given["given"].as_array_mut().expect("a list") {
            one[2] = (one[2].as_u64().expect("a time") - seconds).into();
        }
        std::fs::write(&path, given.to_string()).expect("written");
    };
    for (hours, again) in [(1, 0), (24, 1)] {
        age(hours * 3600);
        let mut proxy = workspace.start(&config);
        eventually("it has looked", || near("pin", "dave").is_some());
        let names = ["alice", "carol", "dave", "late"];
        eventually("as many notices as wanted are given", || names.map(|name| told(&proxy, name)) == [again; 4]);
        proxy.signal("TERM");
        assert_eq!(proxy.wait(), Some(0));
    }
}

#[test]
fn ends_of_managed_certificates_and_crls_are_among_the_metrics() {
    let (workspace, config) = world();
    let proxy = workspace.start(&format!("{config}\n[audit]\nexpiry_notice = []\n"));
    let ca = TestCa::new("Notices CA");
    workspace.write("ca.pem", ca.pem());
    workspace.write("ca.crl", ca.crl(1, &[b"\x01\x02"], 48));
    for command in [
        &["allow", "add", "dave", "dave.pem", "--role", "Reader"] as &[&str],
        &["allow", "add", "ci", "--authority", "ca.pem", "--common-name", "ci-*", "--role", "Reader"],
        &["crl", "put", "corp", "ca.crl"],
    ] {
        let output = workspace.run(command);
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let left = |kind: &str, name: &str| {
        let days = proxy.metric(&format!("portcullis_certificate_expiry_seconds{{kind=\"{kind}\",name=\"{name}\"}}"));
        days.map(|seconds| (seconds / 86_400.0).floor())
    };
    eventually("they are there", || ["dave"].iter().all(|name| left("pin", name).is_some()) && left("crl", "ledger:corp").is_some());
    assert_eq!((left("pin", "dave"), left("crl", "ledger:corp")), (Some(20.0), Some(1.0)));
    assert!(left("anchor", "ledger:ci").is_some() && left("pin", "alice") == Some(3.0));
    assert!(expiring(&workspace).is_empty(), "no notice is wanted");
    assert_eq!(["alice", "carol", "dave"].map(|name| told(&proxy, name)), [0; 3]);
    // Gone is gone.
    assert!(workspace.run(&["allow", "rm", "dave", "--yes"]).status.success());
    eventually("its series goes", || left("pin", "dave").is_none());
}

#[test]
fn a_crl_that_nears_its_next_update_is_told_of_as_any_other_end() {
    let (workspace, config) = world();
    let ca = TestCa::new("Notices CA");
    workspace.write("ca.pem", ca.pem());
    let life = |number: u64, hours: i64| ca.crl(number, &[b"\x01\x02"], hours);
    workspace.write("our.crl", life(1, 24));
    let proxy = workspace.start(&format!(
        "{config}\n[[principal]]\nname = \"ci\"\nrole = \"Reader\"\n[principal.authority]\ncertificates = [\"ca.pem\"]\n\
         common_names = [\"ci-*\"]\n[revocation]\ncrls = [\"our.crl\"]\n"
    ));
    let near = |name: &str| expiring(&workspace).into_iter().find(|end| end.0 == "crl" && end.1.ends_with(name)).map(|end| end.2);
    eventually("less than a quarter of its life is left", || near("our.crl") == Some(0));
    eventually("it is told", || proxy.log().lines().any(|line| line.contains("this ends soon") && line.contains("our.crl")));
    // The next one has time.
    proxy.replace("our.crl", life(2, 240));
    eventually("it ends soon no more", || near("our.crl").is_none());
    // One of the ledger is newer, counts, and is past its time.
    workspace.write("stale.crl", life(3, -1));
    assert!(workspace.run(&["crl", "put", "corp", "stale.crl"]).status.success());
    eventually("it has ended", || near("ledger:corp").is_some_and(|left| left <= 0));
    let ended = |line: &str| line.contains("this has ended") && line.contains("ledger:corp");
    eventually("it is told", || proxy.log().lines().any(ended));
    let words = String::from_utf8_lossy(&workspace.run(&["status"]).stdout).into_owned();
    assert!(words.contains("expiring crl ledger:corp"), "{words}");
}
