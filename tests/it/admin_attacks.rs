//! What somebody who may call the operator API, or nearly may, would try on it: to be believed more than is proven, to have another's answer,
//! to write where only we write, to hear what is secret, to use it up. Beside `admin.rs`, `api.rs` and `adapters.rs`, which have each call's own.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use serde_json::{Value, json};

use crate::support::calls::{CONTROL, Caller, json_request, told};
use crate::support::client::{request, request_with};
use crate::support::raw::Raw;
use crate::support::{Identity, Leaf, TestProxy, Workspace, eventually, proxy, sooner_than};

struct World {
    workspace: Workspace,
    proxy: TestProxy,
    admin: Identity,
    operator: Identity,
    user: Identity,
}

impl World {
    fn start() -> Self {
        let (workspace, mut more) = (Workspace::new(), CONTROL.to_owned());
        let mut make = |name: &str| {
            let identity = Leaf::new(name).self_signed();
            identity.write(workspace.directory.path(), name);
            more +=
                &format!("[[principal]]\nname = \"{name}\"\nclearance = \"{name}\"\npermissions = []\ncertificates = [\"{name}.pem\"]\n");
            identity
        };
        let (admin, operator, user) = (make("admin"), make("operator"), make("user"));
        more += "[audit]\ndestination = \"access.log\"\nrefusals = \"refusals.log\"\n[limits]\nbody_progress = \"1s\"\n";
        let proxy = workspace.start_with_somebody(&Workspace::config("request", "http://127.0.0.1:1", &more));
        Self { workspace, proxy, admin, operator, user }
    }

    fn by(&self, identity: &Identity) -> Caller {
        Caller::new(&self.proxy, identity)
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        proxy::told(&self.workspace.run(arguments))
    }
}

fn reader(name: &str, number: usize) -> Value {
    json!({ "name": name, "role": "Reader", "fingerprints": [format!("{number:064x}")] })
}

#[tokio::test(flavor = "multi_thread")]
async fn no_header_makes_anybody_more_than_it_proved() {
    let world = World::start();
    let stranger = Leaf::new("stranger").self_signed();
    let claims = [
        ("x-portcullis-clearance", "admin"),
        ("x-portcullis-principal", "admin"),
        ("x-forwarded-client-cert", "Hash=00;Subject=\"CN=admin\""),
        ("client-cert", ":AAAA:"),
        ("authorization", "Bearer t-0"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-original-url", "/v1/whoami"),
        ("x-http-method-override", "GET"),
    ];
    let put = reader("ci/a", 1);
    for (identity, expected) in [(&stranger, "403 not_listed"), (&world.user, "403 clearance_too_low")] {
        let by = world.by(identity);
        for claim in claims {
            let method = if claim.1 == "GET" { "POST" } else { "GET" };
            let body = if method == "POST" { &put } else { &Value::Null };
            let answer = by.call_with(method, "/v1/principals", body, &[claim]).await;
            assert_eq!(told(&answer), expected, "{claim:?}");
        }
    }
    // A reading call stays one, whatever a header calls it.
    let by_admin = world.by(&world.admin);
    let id = by_admin.call("POST", "/v1/principals", &put).await.json()["principal"]["id"].as_str().expect("an id").to_owned();
    for name in ["x-http-method-override", "x-http-method", "x-method-override"] {
        let path = format!("/v1/principals/{id}");
        assert_eq!(told(&by_admin.call_with("GET", &path, &Value::Null, &[(name, "DELETE")]).await), "200");
        assert_eq!(by_admin.told("GET", &path, &Value::Null).await, "200", "it is there");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_those_who_change_one_version_at_once_one_does() {
    let world = Arc::new(World::start());
    let by_admin = world.by(&world.admin);
    let id =
        by_admin.call("POST", "/v1/principals", &reader("ci/a", 1)).await.json()["principal"]["id"].as_str().expect("an id").to_owned();
    let path = format!("/v1/principals/{id}");
    let writers: Vec<_> = (0..24)
        .map(|number| {
            let (world, path) = (Arc::clone(&world), path.clone());
            tokio::spawn(async move {
                let by = if number % 2 == 0 { world.by(&world.admin) } else { world.by(&world.operator) };
                let change = json!({ "display_name": format!("writer {number}") });
                told(&by.call_with("PATCH", &path, &change, &[("if-match", "\"1\"")]).await)
            })
        })
        .collect();
    let mut said = Vec::new();
    for writer in writers {
        said.push(writer.await.expect("no panic"));
    }
    let made = said.iter().filter(|said| *said == "200").count();
    assert!(made == 1 && said.iter().all(|said| ["200", "412 version_mismatch"].contains(&&**said)), "{said:?}");
    assert_eq!(by_admin.call("GET", &path, &Value::Null).await.json()["version"], 2);
    // A condition that cannot be read is none that holds.
    for condition in ["\"1\", \"2\"", "W/\"2\"", "2", "\"two\"", "", "\"18446744073709551616\""] {
        let answer = by_admin.call_with("PATCH", &path, &json!({ "display_name": "x" }), &[("if-match", condition)]).await;
        assert!([400, 412].contains(&answer.status.as_u16()), "{condition:?}: {}", told(&answer));
    }
    let mut twice = json_request("PATCH", &path, &json!({ "display_name": "x" }), &[("if-match", "\"1\"")]);
    twice.headers_mut().append("if-match", HeaderValue::from_static("\"2\""));
    let answer = by_admin.0.send(twice).await.expect("an answer");
    assert!([400, 412].contains(&answer.status.as_u16()), "{}", told(&answer));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_said_twice_or_a_document_without_an_end_gets_nobody_in() {
    let world = World::start();
    let (by_admin, by_operator) = (world.by(&world.admin), world.by(&world.operator));
    let id =
        by_admin.call("POST", "/v1/principals", &reader("ci/a", 1)).await.json()["principal"]["id"].as_str().expect("an id").to_owned();
    let raw = async |by: &Caller, method: &str, path: &str, body: String| {
        let mut request = request_with(method, path, body);
        request.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
        by.0.send(request).await.expect("an answer")
    };
    let fingerprints = format!("\"fingerprints\":[\"{}\"]", "ab".repeat(32));
    for body in [
        format!("{{\"name\":\"x\",\"clearance\":\"user\",\"clearance\":\"admin\",{fingerprints}}}"),
        format!("{{\"name\":\"x\",\"role\":\"Reader\",\"clearance\":\"admin\",{fingerprints}}}"),
        format!("{{\"name\":\"x\",\"role\":\"Administrator\",{fingerprints}}}"),
        format!("{{\"name\":\"x\",\"clearance\":\"Admin\",{fingerprints}}}"),
        format!("{{\"name\":\"x\",\"Clearance\":\"admin\",\"clearance\":\"admin \",{fingerprints}}}"),
    ] {
        let answer = raw(&by_operator, "POST", "/v1/principals", body.clone()).await;
        assert!([400, 403].contains(&answer.status.as_u16()), "{body}: {}", told(&answer));
    }
    let last_wins = "{\"clearance\":\"user\",\"clearance\":\"admin\"}".to_owned();
    assert_eq!(told(&raw(&by_operator, "PATCH", &format!("/v1/principals/{id}"), last_wins).await), "403 clearance_too_low");
    // Nor does any of this cost a thread its stack, or the process its memory.
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(200_000), close.repeat(200_000));
    let many = json!({ "name": "x", "role": "Reader", "client_ips": vec!["192.0.2.0/24"; 200_000], "fingerprints": ["ab".repeat(32)] });
    for (method, path) in
        [("POST", "/v1/principals"), ("PATCH", &*format!("/v1/principals/{id}")), ("PUT", "/v1/principals"), ("POST", "/v1/explain")]
    {
        for body in [deep("[", "]"), deep("{\"a\":", "}"), many.to_string(), "\u{0}".to_owned(), "\"\\ud800\"".to_owned()] {
            let answer = raw(&by_admin, method, path, body).await;
            assert_eq!(answer.status, 400, "{method} {path}: {}", told(&answer));
        }
    }
    assert_eq!(
        by_admin.call("GET", "/v1/principals?source=managed", &Value::Null).await.json()["principals"].as_array().map(Vec::len),
        Some(1)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_a_name_and_never_a_path_a_line_or_a_colour() {
    let world = World::start();
    let by_admin = world.by(&world.admin);
    let escape = "\u{1b}[31mred\u{1b}[0m";
    let bad = ["", "/x", "x/", "a//b", "a b", "é", "a\nb", "a\u{0}b", "a%2fb", "ADMIN", "server-certificate", "well-known-admin/x", escape];
    for (number, name) in bad.iter().enumerate() {
        let answer = by_admin.call("POST", "/v1/principals", &reader(name, 100 + number)).await;
        assert!([400, 409].contains(&answer.status.as_u16()), "{name:?}: {}", told(&answer));
    }
    for (number, text) in [escape, "two\nlines", "a\u{202e}b", "a\u{7f}b", "a\u{9b}31mb"].iter().enumerate() {
        let mut body = reader(&format!("ci/{number}"), 200 + number);
        body["display_name"] = json!(text);
        body["description"] = json!(text);
        let answer = by_admin.call("POST", "/v1/principals", &body).await;
        assert!([201, 400].contains(&answer.status.as_u16()), "{text:?}: {}", told(&answer));
    }
    // What somebody says as the reason is kept as it was said, and written so that it does nothing.
    let reason = "%1b%5B2J%0Ainjected%3A%20line%E2%80%AE";
    assert_eq!(by_admin.told("POST", &format!("/v1/principals?reason={reason}"), &reader("ci/reason", 300)).await, "201");
    for arguments in [&["ledger", "log"] as &[&str], &["allow", "list"], &["allow", "show", "ci/reason"], &["revoked"], &["status"]] {
        let (code, said) = world.run(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
        let is_bad = |character: char| (character.is_control() && character != '\n') || ['\u{202e}', '\u{9b}'].contains(&character);
        assert!(!said.contains(is_bad) && !said.lines().any(|line| line.starts_with("injected")), "{arguments:?}: {said:?}");
    }
    // Of what a path names nothing is anywhere but here.
    let odd = [
        "%2e%2e%2fx",
        "..%2f..%2fetc%2fpasswd",
        "%00",
        "a%0ab",
        "%F0%9F%98%80",
        "-",
        "*",
        &"x".repeat(4000),
        "p-aaaaaaaaaaaa%2f..",
        "%5c..%5c",
    ];
    for name in odd {
        for (method, path) in [
            ("GET", format!("/v1/principals/{name}")),
            ("DELETE", format!("/v1/principals/{name}")),
            ("GET", format!("/v1/crls/{name}")),
            ("DELETE", format!("/v1/crls/{name}")),
            ("GET", format!("/v1/ledger/{name}")),
            ("GET", format!("/v1/ledger/{name}/receipt")),
            ("DELETE", format!("/v1/revocations?id={name}")),
            ("DELETE", format!("/v1/connections/{name}")),
            ("GET", format!("/app/users/{name}")),
            ("DELETE", format!("/admin/certificates?thumbprint={name}")),
        ] {
            let answer = by_admin.call(method, &path, &Value::Null).await;
            assert!((400..500).contains(&answer.status.as_u16()), "{method} {path}: {}", answer.status);
        }
        let crl = json!({ "crl": crate::support::TestCa::new("ca").crl(1, &[], 24) });
        let put = by_admin.call("PUT", &format!("/v1/crls/{name}"), &crl).await;
        assert!(put.status == 200 && name == "-" || (400..500).contains(&put.status.as_u16()), "{name}: {}", put.status);
    }
    for number in ["18446744073709551615", "18446744073709551616", "-1", "1e3"] {
        for path in [
            "/v1/ledger?after=",
            "/v1/ledger?limit=",
            "/v1/principals?limit=",
            "/admin/certificates?start=",
            "/admin/certificates?pageSize=",
        ] {
            let answer = by_admin.call("GET", &format!("{path}{number}"), &Value::Null).await;
            assert!(answer.status == 200 || answer.status == 400, "{path}{number}: {}", answer.status);
        }
    }
}

/// Goes through all files below a directory.
fn files_below(directory: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("readable").map(|entry| entry.expect("readable").path()) {
        if entry.is_dir() {
            files_below(&entry, found)
        } else if entry.is_file() {
            found.push(entry)
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_and_a_key_are_written_nowhere() {
    const SECRET: &str = "s3cr3t-Xq7-p@$$w0rd";
    let world = World::start();
    let (by_admin, by_user) = (world.by(&world.admin), world.by(&world.user));
    let stolen = Leaf::new("stolen").self_signed();
    let id =
        by_admin.call("POST", "/v1/principals", &reader("ci/a", 1)).await.json()["principal"]["id"].as_str().expect("an id").to_owned();
    let generate = format!("/v1/principals/{id}/certificates/generate");
    let raven = json!({ "Name": "agent", "SecurityClearance": "ValidUser", "Password": SECRET });
    let pfx = json!({ "Name": "pfx", "SecurityClearance": "ValidUser", "Password": SECRET, "Certificate": "AAAA" });
    for (method, path, body) in [
        ("POST", generate.as_str(), json!({ "password": SECRET })),
        ("POST", generate.as_str(), json!({ "password": format!("{SECRET}\n") })),
        ("POST", generate.as_str(), json!({ "password": { "is": SECRET } })),
        ("POST", generate.as_str(), json!({ "password": SECRET, "days": 100_000 })),
        ("POST", "/admin/certificates", raven.clone()),
        ("PUT", "/admin/certificates", pfx),
        ("POST", "/v1/principals", json!({ "name": "k", "role": "Reader", "certificates": [{ "der": stolen.key_pem }] })),
        (
            "POST",
            "/v1/principals",
            json!({ "name": "k", "role": "Reader", "display_name": stolen.key_pem, "fingerprints": ["ab".repeat(32)] }),
        ),
        ("POST", "/v1/revocations", json!({ "certificate": stolen.key_pem })),
        ("POST", "/v1/revocations", json!({ "id": "serial:0102", "reason": stolen.key_pem })),
        ("PUT", "/v1/crls/k", json!({ "crl": stolen.key_pem })),
        ("POST", "/v1/explain", json!({ "certificate": stolen.key_pem, "password": SECRET })),
        ("POST", "/v1/preview", json!({ "config": format!("x = \"{SECRET}\"") })),
    ] {
        for by in [&by_admin, &by_user] {
            let answer = by.call(method, path, &body).await;
            let said = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(answer.status.as_u16() < 500, "{method} {path}: {said}");
            let repeats = said.contains(SECRET) && path != "/v1/preview";
            assert!(!repeats && !said.contains(key_of(&stolen)), "{method} {path} {body}: {said}");
        }
    }
    // In a query there is no place for one, and the log has none.
    let _ = by_admin.0.send(request("GET", &format!("/v1/principals?q={SECRET}-query"))).await;
    let log = world.proxy.path("access.log");
    eventually("the access log has the calls", || {
        std::fs::read_to_string(&log).is_ok_and(|text| text.matches("/admin/certificates").count() >= 4)
    });
    let mut all = Vec::new();
    files_below(world.workspace.directory.path(), &mut all);
    assert!(all.iter().any(|path| path.ends_with("ledger/entries.jsonl")), "{all:?}");
    for path in all {
        let content = String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default()).into_owned();
        assert!(!content.contains(SECRET) && !content.contains(key_of(&stolen)), "{}", path.display());
    }
    assert!(!world.proxy.log().contains(SECRET) && !world.proxy.log().contains(key_of(&stolen)));
}

/// A line of a key, which is nowhere else.
fn key_of(identity: &Identity) -> &str {
    identity.key_pem.lines().nth(1).expect("a line of base64")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pfx_that_asks_for_more_work_than_any_does_is_refused() {
    let world = World::start();
    let client = Leaf::new("client").self_signed();
    client.write(world.workspace.directory.path(), "client");
    let export =
        ["pkcs12", "-export", "-in", "client.pem", "-inkey", "client.key", "-iter", "1500000", "-out", "slow.pfx", "-passout", "pass:p"];
    let made = Command::new("openssl").args(export).current_dir(world.workspace.directory.path()).output().expect("openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let pfx = STANDARD.encode(std::fs::read(world.workspace.path("slow.pfx")).expect("made"));
    let body = json!({ "Name": "slow", "SecurityClearance": "ValidUser", "Certificate": pfx, "Password": "p" });
    let answer = world.by(&world.admin).call("PUT", "/admin/certificates", &body).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["Type"]), (400, &json!("System.ArgumentException")), "{}", answer.json());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_comes_too_slowly_ends_its_call_and_no_other() {
    let world = World::start();
    let by_admin = world.by(&world.admin);
    let mut halting = Raw::open(&by_admin.0).await;
    let head = "POST /v1/principals HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"name\"";
    halting.write(head).await;
    assert_eq!(by_admin.told("GET", "/v1/principals", &Value::Null).await, "200");
    let back = sooner_than(Duration::from_secs(30), halting.read_to_end()).await;
    assert!(!back.text.contains("201") && back.closed, "{}", back.text);
    // Two bodies in one, and a length of two minds.
    for framing in
        ["Content-Length: 5\r\nTransfer-Encoding: chunked", "Content-Length: 5\r\nContent-Length: 6", "Transfer-Encoding: gzip, chunked"]
    {
        let bytes = format!(
            "POST /v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{framing}\r\n\r\n0\r\n\r\nDELETE /v1/revocations?id=x HTTP/1.1\r\nHost: localhost\r\n\r\n"
        );
        let back = Raw::exchange(&by_admin.0, bytes).await;
        let answers = back.statuses();
        assert!(answers.len() == 1 && [400, 501].contains(&answers[0]), "{framing}: {}", back.text);
    }
}
