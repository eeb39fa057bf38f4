//! How the first admin comes in: the server's own certificate, presented as a client's, on listeners that serve our own
//! surfaces only, and only while there was no admin.

use rustls::{ALL_VERSIONS, AlertDescription as Alert};

use crate::support::client::{Answer, request};
use crate::support::{Client, Identity, Leaf, TestProxy, Workspace};

fn config(mode: &str, more: &str) -> String {
    let listeners = format!(
        r#"
[[listener]]
name = "control"
address = "127.0.0.1:0"
client_auth = "require"
serve = ["admin"]
certificates = [{{ cert = "server.pem", key = "server.key" }}]

[[listener]]
name = "both"
address = "127.0.0.1:0"
client_auth = "request"
serve = ["proxy", "admin"]
control_hosts = ["localhost"]
certificates = [{{ cert = "server.pem", key = "server.key" }}]

[bootstrap]
{mode}

{more}"#
    );
    Workspace::config("require", "http://127.0.0.1:1", &listeners)
}

fn told(answer: &Answer) -> String {
    match answer.status.as_u16() {
        200 => "200".into(),
        status => format!("{status} {}", answer.code()),
    }
}

fn server(proxy: &TestProxy, listener: &str) -> Client {
    Client::of_listener(proxy, listener, Some(&proxy.server), ALL_VERSIONS, false)
}

const ADMIN: &str = "[[principal]]\nname = \"first\"\nrole = \"Administrator\"\ncertificates = [\"first.pem\"]\n";

#[tokio::test(flavor = "multi_thread")]
async fn before_the_first_admin_the_servers_certificate_may_say_who_it_is_and_no_more() {
    for (mode, whoami, status) in [
        ("", "200", "403 clearance_too_low"),
        ("server_certificate = \"until-first-admin\"", "200", "403 clearance_too_low"),
        ("server_certificate = \"always\"", "200", "200"),
    ] {
        let proxy = Workspace::new().start_with_somebody(&config(mode, ""));
        let client = server(&proxy, "control");
        let answer = client.get("/v1/whoami").await.expect("an answer");
        assert_eq!(told(&answer), whoami, "{mode}");
        assert_eq!(answer.json()["principal"]["name"], "server-certificate", "{mode}");
        assert_eq!(told(&client.get("/v1/status").await.expect("an answer")), status, "{mode}");
        assert_eq!(told(&client.send(request("POST", "/v1/reload")).await.expect("an answer")), status, "{mode}");
        // Where an upstream is served, it is a stranger like any other.
        let refused = server(&proxy, "edge").get("/").await.expect_err("a stranger");
        assert_eq!(refused.alert, Some(Alert::AccessDenied), "{mode}: {}", refused.why);
        assert_eq!(told(&server(&proxy, "both").get("/v1/whoami").await.expect("an answer")), "403 not_listed", "{mode}");
        // Its certificate is public: without the key it is nobody's.
        let stolen = proxy.server.stolen_by(&Leaf::new("thief").self_signed());
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let thief = Client::of_listener(&proxy, "control", Some(&stolen), &[version], false);
            let refused = thief.get("/v1/whoami").await.expect_err("a thief");
            assert_eq!(refused.alert, Some(Alert::DecryptError), "{mode}: {}", refused.why);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn once_there_is_an_admin_or_it_is_switched_off_the_servers_certificate_is_a_stranger() {
    let workspace = Workspace::new();
    Leaf::new("first").self_signed().write(workspace.directory.path(), "first");
    for (mode, more) in [("server_certificate = \"never\"", ""), ("", ADMIN)] {
        let proxy = workspace.start_with_somebody(&config(mode, more));
        let refused = server(&proxy, "control").get("/v1/whoami").await.expect_err("a stranger");
        assert_eq!(refused.alert, Some(Alert::AccessDenied), "{mode} {more}: {}", refused.why);
    }
    // The ledger knows that there was one, whatever the files say now.
    let proxy = workspace.start_with_somebody(&config("", ""));
    let refused = server(&proxy, "control").get("/v1/whoami").await.expect_err("a stranger");
    assert_eq!(refused.alert, Some(Alert::AccessDenied), "{}", refused.why);
    // A live connection is cut when the first admin comes.
    let workspace = Workspace::new();
    Leaf::new("first").self_signed().write(workspace.directory.path(), "first");
    let proxy = workspace.start_with_somebody(&config("", ""));
    let mut connection = server(&proxy, "control").connect().await.expect("connected");
    assert_eq!(connection.get("/v1/whoami").await.expect("an answer").status, 200);
    proxy.replace("portcullis.toml", config("", ADMIN));
    connection.closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_last_admin_is_gone_the_control_socket_is_the_way_back_in_and_nothing_else() {
    let workspace = Workspace::new();
    let first = Leaf::new("first").self_signed();
    first.write(workspace.directory.path(), "first");
    let mut proxy = workspace.start_with_somebody(&config("", ADMIN));
    let admin = |proxy: &TestProxy, identity: &Identity| Client::of_listener(proxy, "control", Some(identity), ALL_VERSIONS, false);
    assert_eq!(told(&admin(&proxy, &first).get("/v1/status").await.expect("admitted")), "200");
    let before = proxy.generation();
    proxy.replace("portcullis.toml", config("", ""));
    proxy.wait_for_generation_after(before);
    let refused = async |proxy: &TestProxy, what: &str| {
        for identity in [&first, &proxy.server] {
            let refused = admin(proxy, identity).get("/v1/whoami").await.expect_err("a stranger");
            assert_eq!(refused.alert, Some(Alert::AccessDenied), "{what}: {}", refused.why);
        }
    };
    refused(&proxy, "nobody is an admin").await;
    proxy.signal("KILL");
    proxy.wait();
    let mut proxy = workspace.start(&config("", ""));
    refused(&proxy, "and a restart makes nobody one").await;

    // Whoever may open the socket is at the machine: by both commands.
    let run = |arguments: &[&str]| {
        let output = workspace.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let second = Leaf::new("second").self_signed();
    second.write(workspace.directory.path(), "second");
    run(&["admin", "trustClientCert", "second", "second.pem"]);
    assert_eq!(told(&admin(&proxy, &second).get("/v1/status").await.expect("admitted")), "200");
    run(&["admin", "generateClientCert", "third", "out"]);
    refused(&proxy, "the others are what they were").await;
    // Recorded, as every change is, and kept.
    proxy.signal("KILL");
    proxy.wait();
    let proxy = workspace.start(&config("", ""));
    assert_eq!(told(&admin(&proxy, &second).get("/v1/status").await.expect("admitted")), "200");
    refused(&proxy, "also after another restart").await;
    run(&["ledger", "verify"]);
}
