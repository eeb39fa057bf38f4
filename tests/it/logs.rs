//! What operators read: whatever clients choose, no line of any log breaks, forges another, or reaches a terminal raw; denials can be
//! sent to a file of their own; files are opened again after a rotation; a disk that takes nothing delays nobody.

use std::path::Path;

use rustls::AlertDescription as Alert;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::client::request;
use crate::support::raw::Raw;
use crate::support::{Client, Leaf, TestCa, TestUpstream, Workspace, eventually, within};

/// Ends a line, forges one, clears the terminal in seven bits and in eight, and reorders what is read.
const ATTACK: &str = "evil\r\n{\"event\":\"forged\"}\u{1b}[2J\u{9b}31m\u{7f}\u{202e}\u{2028}\"";

/// Reads a log, and insists that each line is one object that a terminal can take.
#[track_caller]
fn lines(text: &str) -> Vec<Value> {
    let is_raw = |character: char| character.is_control() || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}');
    let line = |line: &str| {
        assert!(!line.contains(is_raw), "raw: {line:?}");
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_ne!(value["event"], "forged", "{line}");
        value
    };
    text.split_terminator('\n').map(line).collect()
}

/// Reads the lines of a file that are whole: the last one may be on its way.
#[track_caller]
fn file(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    lines(text.rsplit_once('\n').map_or("", |(whole, _)| whole))
}

fn named(lines: &[Value], event: &str) -> Vec<Value> {
    lines.iter().filter(|line| line["event"] == event).cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_a_reload_turns_on_has_what_was_open_already() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let alice = Leaf::new("alice").self_signed();
    let workspace = Workspace::new();
    workspace.allow("alice", &alice);
    let config = |destination: &str| {
        let url = format!("http://{}", upstream.local_addr().expect("bound"));
        Workspace::config("require", &url, &format!("[audit]\ndestination = \"{destination}\"\n"))
    };
    let proxy = workspace.start(&config("off"));
    let mut raw = Raw::open(&Client::new(&proxy, Some(&alice))).await;
    for path in ["/before", "/after"] {
        raw.write(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        if path == "/before" {
            let (mut stream, _) = within("a connection to the upstream", upstream.accept()).await.expect("accepted");
            within("a request", stream.read(&mut [0; 4096])).await.expect("read");
            let generation = proxy.generation();
            workspace.write("portcullis.toml", config("access.log"));
            proxy.wait_for_generation_after(generation);
            tokio::spawn(async move {
                loop {
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.expect("written");
                    if stream.read(&mut [0; 4096]).await.expect("read") == 0 {
                        break;
                    }
                }
            });
        }
        assert!(raw.read_until("ok").await.text.contains(" 200 OK"));
    }
    let access = proxy.path("access.log");
    eventually("the access log has both", || named(&file(&access), "request").len() == 2);
    let told: Vec<Value> =
        named(&file(&access), "request").iter().map(|line| json!([line["status"], line["principal"], line["path"]])).collect();
    assert_eq!(told, [json!([200, "alice", null]), json!([200, "alice", "/after"])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_subject_header_or_path_breaks_out_of_a_line_of_any_log() {
    let upstream = TestUpstream::start().await;
    let (root, other) = (TestCa::new("root"), TestCa::new("other"));
    let workspace = Workspace::new();
    workspace.write("ca.pem", root.pem());
    workspace.write("other.pem", other.pem());
    let config = |refusals: &str| {
        let more = format!(
            "[[principal]]\nname = \"ci\"\naudit_claims = [\"common_name\"]\n\
             permissions = [{{ routes = [\"*\"], access = \"read\" }}]\n[principal.authority]\ncertificates = [\"ca.pem\"]\nany = true\n\
             [[principal]]\nname = \"bounded\"\nrole = \"Reader\"\n[principal.authority]\ncertificates = [\"other.pem\"]\ncommon_names = [\"good\"]\n\
             [audit]\ndestination = \"access.log\"\n{refusals}"
        );
        Workspace::config("require", &upstream.url(), &more)
    };
    let proxy = workspace.start_with_somebody(&config("refusals = \"refusals.log\"\n"));
    let (access, refusals) = (proxy.path("access.log"), proxy.path("refusals.log"));
    let evil = root.issue(Leaf::new(ATTACK));
    let stranger = Leaf::new(ATTACK).self_signed();
    let client = Client::new(&proxy, Some(&evil));

    let mut asked = request("GET", "/a%1B%5B2J%0A");
    asked.headers_mut().insert("user-agent", http::HeaderValue::from_bytes(b"\x9b31m\xe2\x80\xae\"").expect("obs-text"));
    asked.headers_mut().insert("referer", http::HeaderValue::from_static("\"}{\\"));
    assert_eq!(client.send(asked).await.expect("a 400").status, 400);
    assert_eq!(client.get("/orders").await.expect("read").status, 200);
    assert_eq!(client.send(request("POST", "/orders?token=secret")).await.expect("a 403").code(), "not_permitted");
    let refused = Client::new(&proxy, Some(&stranger)).get("/").await.expect_err("a stranger");
    assert_eq!(refused.alert, Some(Alert::AccessDenied), "{}", refused.why);

    eventually("the access log has its lines", || named(&file(&access), "request").len() >= 3);
    let served = named(&file(&access), "request");
    let admitted = served.iter().find(|line| line["status"] == 200).expect("the line of what was served");
    assert_eq!(admitted["claims"]["common_name"], ATTACK, "what was escaped reads as it was");
    eventually("both denials are told", || named(&file(&refusals), "denied").len() == 2);
    let told = named(&file(&refusals), "denied");
    let of = |code: &str| told.iter().find(|line| line["code"] == code).unwrap_or_else(|| panic!("{code}: {told:?}")).clone();
    let (request_denied, handshake) = (of("not_permitted"), of("not_listed"));
    assert_eq!(handshake["checkpoint"], "handshake");
    assert_eq!(handshake["fingerprint"], stranger.fingerprint());
    assert!(handshake["subject"].as_str().is_some_and(|subject| subject.contains("evil\\0D\\0A")), "{handshake}");
    assert!(handshake["steps"].as_str().is_some_and(|steps| steps.contains("[not_listed]")), "{handshake}");
    assert!(handshake["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")) && handshake["client"] == "127.0.0.1");
    for (key, value) in
        [("principal", "ci"), ("method", "POST"), ("path", "/orders"), ("route", "all"), ("host", "localhost"), ("verdict", "deny")]
    {
        assert_eq!(request_denied[key], value, "{request_denied}");
    }
    assert_eq!(request_denied["claims"]["common_name"], ATTACK);
    assert!(request_denied["generation"].as_u64().is_some() && request_denied["request_id"].is_string(), "{request_denied}");
    let served_id = |line: &&Value| line["request_id"] == request_denied["request_id"];
    assert!(served.iter().any(|line| served_id(&line)), "the access log has the same request");
    assert!(lines(&proxy.log()).iter().all(|line| line["message"] != "denied"), "told once only");

    // Rotated: the next line is in the new file.
    let rotated = proxy.path("refusals.log.1");
    std::fs::rename(&refusals, &rotated).expect("rename");
    proxy.signal("HUP");
    eventually("the file is opened again", || refusals.exists());
    let _ = Client::new(&proxy, Some(&stranger)).get("/").await.expect_err("a stranger");
    eventually("the new file has the line", || named(&file(&refusals), "denied").len() == 1);
    assert_eq!(named(&file(&rotated), "denied").len(), 2);

    // Hot: into the operational log, where they are by default.
    let before = proxy.generation();
    proxy.replace("portcullis.toml", config(""));
    proxy.wait_for_generation_after(before);
    let _ = Client::new(&proxy, Some(&stranger)).get("/").await.expect_err("a stranger");
    let in_log = || lines(&proxy.log()).into_iter().filter(|line| line["message"] == "denied").collect::<Vec<_>>();
    eventually("the operational log has the denial", || in_log().len() == 1);
    let line = in_log().remove(0);
    assert!(line["subject"].as_str().is_some_and(|subject| subject.contains("evil\\0D\\0A")), "{line}");
    assert_eq!(line["code"], "not_listed");
    assert!(line["fingerprint"].as_str().is_some_and(|told| told.ends_with(&stranger.fingerprint())), "{line}");
    let unbounded = other.issue(Leaf::new(ATTACK));
    let _ = Client::new(&proxy, Some(&unbounded)).get("/").await.expect_err("out of bounds");
    eventually("the operational log has this one, too", || in_log().len() == 2);
    let steps = in_log()[1]["steps"].as_str().map(str::to_owned).unwrap_or_default();
    assert!(steps.contains(r"evil\r\n") && steps.contains("[bounds_mismatch]"), "{steps:?}");

    // And nowhere.
    let before = proxy.generation();
    proxy.replace("portcullis.toml", config("refusals = false\n"));
    proxy.wait_for_generation_after(before);
    let counted = || proxy.metric("portcullis_denials_total{listener=\"edge\",code=\"not_listed\"}");
    let denied = counted().expect("counted");
    let _ = Client::new(&proxy, Some(&stranger)).get("/").await.expect_err("a stranger");
    eventually("it is counted", || counted().is_some_and(|now| now > denied));
    assert_eq!((in_log().len(), named(&file(&refusals), "denied").len()), (2, 1));
}

/// For where it came, as a preflight, or by a limit.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_no_decision_made_has_its_line_too() {
    let upstream = TestUpstream::start().await;
    let alice = Leaf::new("alice").self_signed();
    let workspace = Workspace::new();
    workspace.allow("alice", &alice);
    let open = "[[route]]\nname = \"open\"\nhosts = [\"b.test\"]\npath = \"/\"\nauth = \"none\"\nupstream = \"app\"\n";
    let more = format!("{open}[audit]\nrefusals = \"refusals.log\"\n[limits]\nprincipal_rate = 1\n[runtime]\nworkers = 1\n");
    let proxy = workspace.start(&Workspace::config("require", &upstream.url(), &more));
    let client = || Client::new(&proxy, Some(&alice));
    assert_eq!(client().sni("b.test").get("/misdirected").await.expect("an answer").code(), "misdirected");
    let mut preflight = request("OPTIONS", "/preflight");
    for (name, value) in [("origin", "https://evil.example"), ("access-control-request-method", "PUT")] {
        preflight.headers_mut().insert(name, http::HeaderValue::from_static(value));
    }
    assert_eq!(client().send(preflight).await.expect("an answer").code(), "origin_denied");
    while client().get("/limited").await.expect("an answer").status != 429 {}
    let told = || named(&file(&proxy.path("refusals.log")), "denied");
    eventually("each is told", || told().len() == 3);
    for (line, (code, path, principal)) in told().iter().zip([
        ("misdirected", "/misdirected", Value::Null),
        ("origin_denied", "/preflight", Value::Null),
        ("rate_limited", "/limited", "alice".into()),
    ]) {
        assert_eq!((&line["code"], &line["path"], &line["principal"]), (&code.into(), &path.into(), &principal), "{line}");
        assert_eq!((&line["host"], &line["fingerprint"]), (&"localhost".into(), &alice.fingerprint().into()), "{line}");
        let counted = proxy.metric(&format!("portcullis_denials_total{{listener=\"edge\",code=\"{code}\"}}"));
        assert_eq!(counted, Some(1.0), "{code}: counted once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn denials_above_a_number_a_second_are_one_counted_line() {
    let workspace = Workspace::new();
    let more = "[audit]\ndestination = \"off\"\nrefusals = \"refusals.log\"\n[limits]\ndenial_lines = 1\n[runtime]\nworkers = 1\n";
    let proxy = workspace.start_with_somebody(&Workspace::config("require", "http://127.0.0.1:1", more));
    let stranger = Client::new(&proxy, Some(&Leaf::new("mallory").self_signed()));
    for _ in 0..20 {
        let _ = stranger.get("/").await.expect_err("a stranger");
    }
    let told = || file(&proxy.path("refusals.log"));
    let summed = || named(&told(), "more_denied").iter().filter_map(|line| line["count"].as_u64()).sum::<u64>();
    eventually("each is told or counted", || named(&told(), "denied").len() as u64 + summed() == 20);
    assert!(summed() > 0, "{:?}", told());
    assert!(named(&told(), "more_denied").iter().all(|line| line["source"] == "127.0.0.1"), "{:?}", told());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_takes_no_line_delays_nobody_and_is_counted() {
    let upstream = TestUpstream::start().await;
    let alice = Leaf::new("alice").self_signed();
    let workspace = Workspace::new();
    workspace.allow("alice", &alice);
    let more = "[audit]\ndestination = \"/dev/full\"\nrefusals = \"/dev/full\"\n";
    let proxy = workspace.start(&Workspace::config("require", &upstream.url(), more));
    let _ = Client::new(&proxy, Some(&Leaf::new("mallory").self_signed())).get("/").await.expect_err("a stranger");
    assert_eq!(Client::new(&proxy, Some(&alice)).get("/").await.expect("served").status, 200);
    eventually("both lines are counted", || proxy.metric("portcullis_log_lines_dropped_total") >= Some(2.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_became_a_request_has_a_line_in_the_access_log() {
    let alice = Leaf::new("alice").self_signed();
    let workspace = Workspace::new();
    workspace.allow("alice", &alice);
    let config = |format: &str| {
        let more = format!("[audit]\nformat = \"{format}\"\ndestination = \"{format}.log\"\n[limits]\nhead_bytes = \"2KiB\"\n");
        Workspace::config("require", "http://127.0.0.1:1", &more)
    };
    let proxy = workspace.start(&config("json"));
    let client = Client::new(&proxy, Some(&alice));
    let unread = [
        ("GET /\x1b[2J HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400, "malformed_request"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rY: b\r\n\r\n".to_owned(), 400, "malformed_request"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(4096)), 431, "head_too_large"),
    ];
    for (at, (bytes, status, code)) in unread.iter().enumerate() {
        let mut raw = Raw::open(&client).await;
        raw.write(bytes).await;
        let back = raw.read_to_end().await;
        assert!(back.text.starts_with(&format!("HTTP/1.1 {status}")), "{}", back.text);
        let lines = || named(&file(&proxy.path("json.log")), "request");
        eventually("it has a line", || lines().len() == at + 1);
        let line = lines().remove(at);
        for (key, value) in [("code", *code), ("principal", "alice"), ("client", "127.0.0.1"), ("listener", "edge")] {
            assert_eq!(line[key], value, "{line}");
        }
        assert_eq!((line["status"].as_u64(), &line["method"], &line["path"]), (Some(*status), &Value::Null, &Value::Null), "{line}");
        assert!(*status != 400 || line["reason"].is_string(), "{line}");
    }
    let before = proxy.generation();
    proxy.replace("portcullis.toml", config("combined"));
    proxy.wait_for_generation_after(before);
    let mut raw = Raw::open(&client).await;
    raw.write(&unread[0].0).await;
    raw.read_to_end().await;
    let combined = || std::fs::read_to_string(proxy.path("combined.log")).unwrap_or_default();
    eventually("and one in Apache's form", || combined().ends_with('\n'));
    assert!(combined().starts_with("127.0.0.1 - alice [") && combined().contains("] \"-\" 400 0 "), "{}", combined());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_checkpoint_of_the_ledger_is_a_line_of_the_audit_log_whole_and_as_signed() {
    let workspace = Workspace::new();
    let config = |format: &str| {
        let more = format!("[audit]\ndestination = \"audit.log\"\nformat = \"{format}\"\n");
        Workspace::config("require", "http://127.0.0.1:1", &more)
    };
    let proxy = workspace.start_with_somebody(&config("json"));
    let audit = proxy.path("audit.log");
    let published = || std::fs::read_to_string(proxy.path("state/ledger/checkpoint")).unwrap_or_default();
    let notes =
        || named(&file(&audit), "checkpoint").iter().map(|line| line["note"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>();
    eventually("the start tells where the log stands", || notes().last() == Some(&published()));
    let first = published();
    proxy.allow("other", &Leaf::new("other").self_signed());
    eventually("a change of files is an entry, signed, and told", || published() != first && notes().last() == Some(&published()));
    assert_eq!(notes().first(), Some(&first));
    // A format without a place for it: the operational log has it.
    proxy.replace("portcullis.toml", config("combined"));
    let told = || {
        let log = lines(&proxy.log());
        log.iter().filter(|line| line["fields"]["message"] == "ledger checkpoint" || line["message"] == "ledger checkpoint").count()
    };
    let before = notes().len();
    proxy.wait_for_generation_after(2);
    proxy.allow("third", &Leaf::new("third").self_signed());
    eventually("the operational log tells", || told() > 0);
    assert_eq!(notes().len(), before, "{:?}", std::fs::read_to_string(&audit));
}
