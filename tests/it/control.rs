//! The control socket, and the commands that call a running proxy: over it, or over mutual TLS from elsewhere.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

use crate::support::proxy::told;
use crate::support::{Leaf, TestProxy, TestUpstream, Workspace, eventually};

const LISTENER: &str = r#"
[[listener]]
name = "control"
address = "127.0.0.1:0"
client_auth = "require"
serve = ["admin"]
certificates = [{ cert = "server.pem", key = "server.key" }]

[[principal]]
name = "admin"
role = "Administrator"
certificates = ["admin.pem"]

[[principal]]
name = "user"
role = "Reader"
certificates = ["user.pem"]
"#;

fn start() -> (Workspace, TestProxy) {
    let workspace = Workspace::new();
    for name in ["admin", "user", "stranger"] {
        Leaf::new(name).self_signed().write(workspace.directory.path(), name);
    }
    let proxy = workspace.start_with_somebody(&Workspace::config("require", "http://127.0.0.1:1", LISTENER));
    (workspace, proxy)
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {:?}", told(output)))
}

#[test]
fn a_list_that_lost_more_than_it_may_is_taken_by_reload_with_force() {
    let workspace = Workspace::new();
    let list = |entries: u32| (0..entries).map(|number| format!("{number:064x} client-{number}\n")).collect::<String>();
    workspace.write("many.txt", list(300));
    let more = "[[allowlist]]\npath = \"many.txt\"\nrole = \"Reader\"\n";
    let proxy = workspace.start_with_somebody(&Workspace::config("require", "http://127.0.0.1:1", more));
    assert_eq!(proxy.status()["entries"], 301);
    assert_eq!(told(&workspace.run(&["reload"])).0, Some(0));
    proxy.replace("many.txt", list(20));
    let (code, words) = told(&workspace.run(&["reload"]));
    assert_eq!(code, Some(1), "{words}");
    assert!(words.contains("many.txt") && words.contains("portcullis reload --force"), "{words}");
    assert_eq!(proxy.status()["entries"], 301, "the last good content stays");
    let forced = workspace.run(&["reload", "--force", "--json"]);
    assert_eq!(forced.status.code(), Some(0), "{:?}", told(&forced));
    assert_eq!(json(&forced)["entries"], 21);
    assert_eq!(proxy.status()["entries"], 21);
}

#[test]
fn status_is_told_over_the_socket_and_over_mutual_tls() {
    let (workspace, proxy) = start();
    let local = workspace.run(&["status", "--wait", "--json"]);
    assert_eq!(local.status.code(), Some(0), "{:?}", told(&local));
    let url = format!("https://localhost:{}", proxy.address("control").port());
    let remote = |name: &str| {
        let (cert, key) = (format!("{name}.pem"), format!("{name}.key"));
        workspace.run(&["status", "--json", "--admin", &url, "--cert", &cert, "--key", &key, "--cacert", "server.pem"])
    };
    let (mut here, mut there) = (json(&local), json(&remote("admin")));
    for source in [&mut here, &mut there].into_iter().flat_map(|status| status["sources"].as_array_mut().expect("a list")) {
        // A file that is seconds old is read once more.
        assert!(source["last_good"].take().is_string(), "{source}");
    }
    for key in ["generation", "policy_hash", "entries", "state", "sources"] {
        assert_eq!(here[key], there[key], "{key}");
    }
    let (code, words) = told(&remote("user"));
    assert!(code == Some(1) && words.contains("clearance_too_low"), "{code:?} {words}");
    let (code, words) = told(&remote("stranger"));
    assert!(code == Some(4) && words.contains("does not admit this client certificate"), "{code:?} {words}");
    let (code, words) =
        told(&workspace.run(&["status", "--admin", &url, "--cert", "admin.pem", "--key", "admin.key", "--cacert", "user.pem"]));
    assert_eq!(code, Some(4), "another server than the one that is trusted: {words}");
    let (code, words) = told(&workspace.run(&["status", "--admin", &url, "--cert", "nothing.pem", "--cacert", "server.pem"]));
    assert_eq!(code, Some(3), "{words}");
    assert_eq!(told(&workspace.run(&["status", "--admin", "http://localhost:1"])).0, Some(2));
    drop(proxy);
    let (code, words) = told(&workspace.run(&["status"]));
    assert!(code == Some(4) && words.contains("no proxy runs"), "{code:?} {words}");
    assert_eq!(told(&workspace.run(&["status", "-c", "elsewhere.toml"])).0, Some(3));
}

#[test]
fn what_waits_for_a_start_is_told_to_whoever_asks() {
    let (workspace, proxy) = start();
    let config = std::fs::read_to_string(proxy.path("portcullis.toml")).expect("readable");
    let generation = proxy.generation();
    // Another address for one of the listeners.
    proxy.write("portcullis.toml", config.replacen("127.0.0.1:0", "127.0.0.2:0", 1));
    proxy.wait_for_generation_after(generation);
    for command in ["reload", "status"] {
        let (code, words) = told(&workspace.run(&[command]));
        assert!(code == Some(0) && words.contains("change their addresses at the next start"), "{command}: {code:?} {words}");
    }
    proxy.write("portcullis.toml", config);
    eventually("nothing waits", || !told(&workspace.run(&["reload"])).1.contains("next start"));
}

/// What stands behind a listener may answer 200 to whatever it is sent: no change was made of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_success_of_what_stands_behind_a_proxy_is_not_believed() {
    let upstream = TestUpstream::start().await;
    let workspace = Workspace::new();
    Leaf::new("alice").self_signed().write(workspace.directory.path(), "alice");
    workspace.write("allowlist/alice.pem", std::fs::read(workspace.path("alice.pem")).expect("there"));
    let proxy = workspace.start(&Workspace::config("request", &upstream.url(), ""));
    let url = format!("https://localhost:{}", proxy.address("edge").port());
    let there = ["--admin", &url, "--cert", "alice.pem", "--key", "alice.key", "--cacert", "server.pem"];
    for command in [
        &["status"][..],
        &["allow", "list"],
        &["allow", "rm", "alice", "--yes"],
        &["revoke", "alice.pem", "--yes"],
        &["unrevoke", "alice.pem"],
        &["reload"],
        &["explain", "alice.pem"],
    ] {
        let (code, words) = told(&workspace.run(&[command, &there[..]].concat()));
        assert!(code == Some(4) && words.contains("not as the operator API"), "{command:?}: {code:?} {words}");
    }
}

#[test]
fn the_socket_is_its_owners_and_of_one_process() {
    let (workspace, mut proxy) = start();
    let socket = proxy.path("state/control.sock");
    let mode = |path: &std::path::Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&socket), mode(&proxy.path("state"))), (0o600, 0o700));
    // A second process is refused, and the first goes on.
    let (code, words) = told(&workspace.run(&["run"]));
    assert!(code == Some(3) && words.contains("another process has this ledger open"), "{code:?} {words}");
    assert_eq!(told(&workspace.run(&["status"])).0, Some(0));
    // What a killed process leaves behind is in nobody's way.
    proxy.signal("KILL");
    proxy.wait();
    assert!(socket.exists());
    let config = std::fs::read_to_string(proxy.path("portcullis.toml")).expect("readable");
    let mut proxy = workspace.start(&config);
    assert_eq!(told(&workspace.run(&["status"])).0, Some(0));
    another_user_is_not_answered(&proxy);
    proxy.signal("TERM");
    assert_eq!(proxy.wait(), Some(0));
    eventually("the socket is gone", || !socket.exists());
}

/// Even where the file's mode would let it: only root can try.
fn another_user_is_not_answered(proxy: &TestProxy) {
    let socket = proxy.path("state/control.sock");
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    let has_curl = Command::new("curl").arg("--version").output().is_ok();
    if !is_root || !has_curl {
        return;
    }
    let call = |user: u32| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--unix-socket"]).arg(&socket).arg("http://localhost/v1/whoami").uid(user);
        curl.output().expect("curl runs")
    };
    assert!(call(0).status.success());
    assert!(!call(65534).status.success(), "the directory and the file keep others out");
    for path in [proxy.directory(), &proxy.path("state")] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("ours");
    }
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o666)).expect("ours");
    let heard = call(65534);
    assert!(!heard.status.success() && heard.stdout.is_empty(), "{heard:?}");
    eventually("the log says who called", || proxy.log().contains("another user called on the control socket"));
}
