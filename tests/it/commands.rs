//! The command line, as a user meets it: quickstart, check, explain, cert inspect; exit codes and bad input.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Output, Stdio};

use crate::support::{Identity, Leaf, TestUpstream, Workspace, eventually};

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(output)))
}

/// Ends a child however the test ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_three_commands_of_the_quickstart_do_what_it_says() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    // Longer than a unix socket's path may be.
    let name = "qs".repeat(60);
    child.args(["quickstart", &name, "--json"]).current_dir(directory.path()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = Killed(child.spawn().expect("the binary starts"));
    let mut said = String::new();
    let mut stdout = BufReader::new(child.0.stdout.take().expect("piped"));
    let said: serde_json::Value = loop {
        assert!(stdout.read_line(&mut said).expect("readable") > 0, "it ended: {said}");
        if let Ok(value) = serde_json::from_str(&said) {
            break value;
        }
    };
    let home = directory.path().join(&name);
    assert_eq!(std::fs::metadata(&home).expect("made").permissions().mode() & 0o777, 0o700);
    for key in ["server.key", "client.key", "stranger.key"] {
        assert_eq!(std::fs::metadata(home.join(key)).expect("made").permissions().mode() & 0o777, 0o600, "{key}");
    }
    let run = |number: usize| {
        let command = said["commands"][number].as_str().expect("a command");
        Command::new("bash").args(["-c", command]).current_dir(directory.path()).output().expect("bash")
    };
    for (command, wanted) in [("status", "generation"), ("list", "acl-client"), ("reload", "")] {
        let printed = said[command].as_str().expect("a command");
        let here = Command::new("bash").args(["-c", printed]).current_dir(directory.path()).output().expect("bash");
        assert!(here.status.success() && text(&here).contains(wanted), "{printed}: {}", text(&here));
        let mut elsewhere = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        let elsewhere = elsewhere
            .args(if command == "list" { &["allow", "list"][..] } else { std::slice::from_ref(&command) })
            .arg("-c")
            .arg(home.join("portcullis.toml"))
            .current_dir("/")
            .output()
            .expect("the binary runs");
        assert!(elsewhere.status.success(), "{command} from elsewhere: {}", text(&elsewhere));
    }
    // A second one leaves the first as it is.
    let before = std::fs::read(home.join("portcullis.toml")).expect("there");
    let second =
        Command::new(env!("CARGO_BIN_EXE_portcullis")).args(["quickstart", &name]).current_dir(directory.path()).output().expect("runs");
    assert!(second.status.code() == Some(3) && text(&second).contains("a proxy runs with it already"), "{}", text(&second));
    assert_eq!(std::fs::read(home.join("portcullis.toml")).expect("there"), before);
    let admitted = run(0);
    assert!(admitted.status.success() && text(&admitted).to_lowercase().contains("x-portcullis-principal"), "{}", text(&admitted));
    let stranger = run(1);
    assert!(!stranger.status.success() && text(&stranger).contains("access denied"), "{}", text(&stranger));
    let cut = run(2);
    assert!(!cut.status.success(), "the download went on: {}", text(&cut));
    let again = run(0);
    assert!(!again.status.success() && text(&again).contains("access denied"), "{}", text(&again));
}

#[test]
fn check_reports_every_problem_with_file_line_column_and_caret() {
    let workspace = Workspace::new();
    workspace.write(
        "portcullis.toml",
        "[[listener]]\nname = \"edge\"\naddress = \"nowhere\"\nclient_auth = \"perhaps\"\ncolour = \"red\"\ncertificates = [{ cert = \"absent.pem\", key = \"server.key\" }]\n",
    );
    let output = workspace.run(&["check", "-c", "portcullis.toml"]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    for place in ["portcullis.toml:3:11", "portcullis.toml:4:15", "portcullis.toml:5:1", "absent.pem"] {
        assert!(said.contains(place), "{place}: {said}");
    }
    assert!(said.contains('^'), "{said}");
    let output = workspace.run(&["check", "--json", "-c", "portcullis.toml"]);
    assert!(json(&output).to_string().contains("\"line\":4"), "{}", text(&output));
}

#[test]
fn check_sums_up_a_good_configuration_and_says_what_each_revoked_id_hits() {
    let workspace = Workspace::new();
    let alice = Leaf::new("alice").self_signed();
    workspace.allow("alice", &alice);
    let config = Workspace::config(
        "require",
        "http://127.0.0.1:1",
        &format!("[revocation]\nids = [\"sha256:{}\", \"serial:00DEAD\"]\n", alice.fingerprint()),
    );
    workspace.write("portcullis.toml", config);
    let output = workspace.run(&["check", "-c", "portcullis.toml"]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("alice"), "what the first id hits: {said}");
    assert!(said.contains("pin alice: until 20") && said.contains("allowlist allowlist/: until 20"), "what ends when: {said}");
    assert!(said.to_lowercase().contains("dead"), "the second hits nothing, and that is said: {said}");
}

#[test]
fn it_explains_itself_each_step_with_file_and_line() {
    let workspace = Workspace::new();
    let (alice, mallory) = (Leaf::new("alice").self_signed(), Leaf::new("mallory").self_signed());
    workspace.allow("alice", &alice);
    alice.write(workspace.directory.path(), "alice");
    mallory.write(workspace.directory.path(), "mallory");
    workspace.write("portcullis.toml", Workspace::config("require", "http://127.0.0.1:1", ""));
    let admitted = workspace.run(&["explain", "alice.pem", "--route", "POST https://localhost/orders/7"]);
    assert_eq!(admitted.status.code(), Some(0), "{}", text(&admitted));
    assert!(text(&admitted).contains("allowlist/alice.pem"), "{}", text(&admitted));
    let denied = workspace.run(&["explain", "mallory.pem", "--json"]);
    assert_eq!(denied.status.code(), Some(1), "{}", text(&denied));
    assert_eq!(json(&denied)["code"], "not_listed");
    let late = workspace.run(&["explain", "alice.pem", "--at", "2099-01-01T00:00:00Z", "--json"]);
    assert_eq!((late.status.code(), json(&late)["code"].as_str()), (Some(1), Some("expired")), "{}", text(&late));
    assert!(text(&late).contains("has expired (notAfter 20"), "a date that people read: {}", text(&late));
    assert_eq!(workspace.run(&["explain", "absent.pem"]).status.code(), Some(3));
    let nothing = workspace.run(&["explain", "--json"]);
    assert_eq!((nothing.status.code(), json(&nothing)["code"].as_str()), (Some(1), Some("no_credential")), "{}", text(&nothing));
    assert_eq!(workspace.run(&["explain", "alice.pem", "--route", "nonsense"]).status.code(), Some(2));
}

#[test]
fn cert_inspect_agrees_with_openssl() {
    let workspace = Workspace::new();
    let seed = Identity::seed("ACL Client Cert");
    let (cert, _) = seed.write(workspace.directory.path(), "seed");
    let openssl = |what: &str| {
        let output = Command::new("openssl").args(["x509", "-noout", what, "-sha256", "-in"]).arg(&cert).output().expect("openssl");
        String::from_utf8(output.stdout).expect("text").trim().split_once('=').expect("NAME=VALUE").1.to_owned()
    };
    let said = json(&workspace.run(&["cert", "inspect", "--json", "seed.pem"])).to_string();
    assert!(said.contains(&openssl("-serial")), "{said}");
    assert!(said.contains(&seed.fingerprint()), "{said}");
    let fingerprint = openssl("-fingerprint").replace(':', "").to_lowercase();
    assert_eq!(fingerprint, seed.fingerprint());
    assert_eq!(workspace.run(&["cert", "inspect", "server.key"]).status.code(), Some(3), "a key is no certificate");
}

#[test]
fn key_material_that_does_not_fit_is_refused_by_name() {
    let workspace = Workspace::new();
    let other = Leaf::new("other").self_signed();
    other.write(workspace.directory.path(), "other");
    workspace.allow("somebody", &other);
    let good = Workspace::config("require", "http://127.0.0.1:1", "");
    let pfx = workspace.path("server.pfx");
    let made = Command::new("openssl")
        .args(["pkcs12", "-export", "-passout", "pass:open sesame", "-in"])
        .arg(workspace.path("server.pem"))
        .arg("-inkey")
        .arg(workspace.path("server.key"))
        .arg("-out")
        .arg(&pfx)
        .output()
        .expect("openssl");
    assert!(made.status.success(), "{}", text(&made));
    workspace.write("right", "open sesame\n");
    workspace.write("wrong", "open barley\n");
    workspace.write("empty", "");
    let pair = "{ cert = \"server.pem\", key = \"server.key\" }";
    for (what, certificates, names) in [
        ("another's key", "{ cert = \"server.pem\", key = \"other.key\" }", "other.key"),
        ("a certificate for a key", "{ cert = \"server.pem\", key = \"server.pem\" }", "server.pem"),
        ("a missing key", "{ cert = \"server.pem\", key = \"absent.key\" }", "absent.key"),
        ("a wrong password", "{ pfx = \"server.pfx\", password_file = \"wrong\" }", "server.pfx"),
        ("an empty password", "{ pfx = \"server.pfx\", password_file = \"empty\" }", "server.pfx"),
        ("a missing password file", "{ pfx = \"server.pfx\", password_file = \"absent\" }", "absent"),
    ] {
        workspace.write("portcullis.toml", good.replace(pair, certificates));
        let output = workspace.run(&["check", "-c", "portcullis.toml"]);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(3), "{what}: {said}");
        assert!(said.contains(names), "{what}: {said}");
        assert!(!said.contains("barley") && !said.contains("sesame") && !said.contains("BEGIN"), "{what}: a secret: {said}");
    }
    workspace.write("portcullis.toml", good.replace(pair, "{ pfx = \"server.pfx\", password_file = \"right\" }"));
    let output = workspace.run(&["check", "-c", "portcullis.toml"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_gets_in_and_a_stranger_reads_access_denied() {
    let upstream = TestUpstream::start().await;
    let (alice, mallory) = (Identity::seed("ACL Client Cert"), Identity::seed("Mallory"));
    let workspace = Workspace::new();
    workspace.allow("alice", &alice);
    let proxy = workspace.start(&Workspace::config("require", &upstream.url(), ""));
    let curl = |identity: &Identity, more: &[&str]| {
        let (cert, key) = identity.write(proxy.directory(), "curl");
        let url = format!("https://localhost:{}/hello", proxy.address("edge").port());
        let mut command = Command::new("curl");
        command.args(["-sS", "--cacert", "server.pem", "--cert"]).arg(cert).arg("--key").arg(key).args(more).arg(url);
        command.current_dir(proxy.directory()).output().expect("curl is installed (make test names it)")
    };
    for version in ["--http1.1", "--http2"] {
        let output = curl(&alice, &[version]);
        assert_eq!((output.status.code(), text(&output).as_str()), (Some(0), "hello"));
        let output = curl(&mallory, &[version]);
        assert_eq!(output.status.code(), Some(56), "{}", text(&output));
        assert!(text(&output).contains("alert access denied"), "{}", text(&output));
    }
}

#[test]
fn run_refuses_to_start_on_a_broken_configuration_and_says_why() {
    let workspace = Workspace::new();
    workspace.write("portcullis.toml", Workspace::config("require", "http://127.0.0.1:1", "").replace("allowlist/", "absent/"));
    let output = workspace.run(&["run", "-c", "portcullis.toml"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(text(&output).contains("absent"), "{}", text(&output));
    assert_eq!(workspace.run(&["run", "-c", "absent.toml"]).status.code(), Some(3));
    assert_eq!(workspace.run(&["run", "--nonsense"]).status.code(), Some(2));
    assert!(!workspace.path("monitor.sock").exists());
}

#[test]
fn an_address_in_use_is_a_matter_of_the_network_and_json_tells_failures_too() {
    let workspace = Workspace::new();
    assert_eq!(json(&workspace.run(&["--json", "explain", "absent.pem"]))["error"]["code"], "local");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    workspace.allow("somebody", &Leaf::new("somebody").self_signed());
    workspace.write("portcullis.toml", Workspace::config("require", "http://127.0.0.1:1", "").replace("127.0.0.1:0", &address));
    let output = workspace.run(&["run"]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
    assert!(text(&output).contains("listener edge: cannot listen on"), "{}", text(&output));
}

#[tokio::test]
async fn signals_reload_and_drain_and_the_log_is_json() {
    let upstream = TestUpstream::start().await;
    let mut proxy = Workspace::new().start_with_somebody(&Workspace::config("require", &upstream.url(), ""));
    // The log comes through a pipe and a thread of the test's own.
    eventually("the first line is out", || proxy.log().contains("\"listening\""));
    proxy.signal("HUP");
    eventually("the reload is counted", || proxy.metric("portcullis_reload_total{result=\"unchanged\"}") == Some(1.0));
    proxy.signal("TERM");
    assert_eq!(proxy.wait(), Some(0));
    eventually("the last line is out", || proxy.log().contains("\"drained\""));
    for line in proxy.log().lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "no JSON: {line}");
    }
}

#[test]
fn the_echo_tells_what_it_was_asked() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["echo", "--json", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("echo");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let echo = Killed(child);
    let mut said = String::new();
    while !said.ends_with("}\n") {
        assert_ne!(stdout.read_line(&mut said).expect("text"), 0, "it ended after {said}");
    }
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let mut stream = std::net::TcpStream::connect(said["listening"].as_str().expect("an address")).expect("connect");
    stream.write_all(b"GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").expect("write");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let body: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").expect("a head").1).expect("JSON");
    assert_eq!((body["method"].as_str(), body["path"].as_str()), (Some("GET"), Some("/a")));
    drop(echo);
}
