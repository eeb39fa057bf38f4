//! Which route a request is for: one normal form of a path, judged and forwarded; SNI against authority.

use crate::support::client::request;
use crate::support::raw::Raw;
use crate::support::{Client, Identity, Leaf, TestProxy, TestUpstream, Workspace};

async fn start(more: &str, who: &str) -> (TestUpstream, TestProxy, Identity) {
    let upstream = TestUpstream::start().await;
    let alice = Leaf::new("alice").self_signed();
    let workspace = Workspace::new();
    alice.write(workspace.directory.path(), "alice");
    let config = Workspace::config(
        "request",
        &upstream.url(),
        &format!("{more}\n[[principal]]\nname = \"alice\"\ncertificates = [\"alice.pem\"]\n{who}\n"),
    );
    let proxy = workspace.start_with_somebody(&config);
    (upstream, proxy, alice)
}

/// A public route, and below it what only an admin of the route may use.
const ROUTES: &str = r#"
[[route]]
name = "public"
path = "/public/"
upstream = "app"

[[route]]
name = "admin"
path = "/admin/"
upstream = "app"
rules = [{ path = "/admin/**", access = "admin" }]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_a_path_reaches_what_its_route_forbids() {
    let permissions = "permissions = [{ routes = [\"public\", \"all\"], access = \"write\" }]";
    let (upstream, proxy, alice) = start(ROUTES, permissions).await;
    let client = Client::new(&proxy, Some(&alice));
    for target in [
        "/admin/x",
        "/admin",
        "/public/../admin/x",
        "/public/%2e%2e/admin/x",
        "/public/%2E%2E/admin/x",
        "/public/.%2e/admin/x",
        "/public/./../admin/x",
        "//admin/x",
        "/%61dmin/x",
        "/admin//x",
        "/public/..%2fadmin/x",
        "/public/..\\admin/x",
        "/public/..%5cadmin/x",
        "/public/..;/admin/x",
        "/public/%00/../../admin/x",
        "/public/%zz/../../admin/x",
        "/public/%c0%ae%c0%ae/admin/x",
        "http://localhost/admin/x",
    ] {
        let back = Raw::exchange(&client, format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).await;
        let statuses = back.statuses();
        let forwarded: Vec<String> = upstream.received().iter().map(|request| request.target().to_owned()).collect();
        assert!(matches!(statuses[..], [200] | [400] | [403]), "{target}: {statuses:?}");
        assert!(
            forwarded.iter().all(|target| !target.starts_with("/admin") && !target.contains("//") && !target.contains("..")),
            "{target}: {forwarded:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_judged_form_is_the_forwarded_form() {
    let (upstream, proxy, alice) = start(ROUTES, "role = \"Contributor\"").await;
    let client = Client::new(&proxy, Some(&alice));
    for (target, forwarded) in [
        ("/public/%7euser/%2d", "/public/~user/-"),
        ("/public/a/./b/../c", "/public/a/c"),
        ("/public//a///b", "/public/a/b"),
        // Dot segments first (RFC 3986, 5.2.4): an empty segment is one that `..` takes away.
        ("/public//../a", "/public/a"),
        ("/public/%c3%a9", "/public/%C3%A9"),
        ("/public/a?q=%2e%2e/&x=//", "/public/a?q=%2e%2e/&x=//"),
        ("/", "/"),
    ] {
        let back = Raw::exchange(&client, format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).await;
        assert_eq!(back.statuses(), [200], "{target}: {}", back.text);
        assert_eq!(upstream.last().target(), forwarded, "{target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_never_learns_whether_a_route_exists() {
    let upstream = TestUpstream::start().await;
    let stranger = Leaf::new("stranger").self_signed();
    let config = Workspace::config("request", &upstream.url(), "").replace("path = \"/\"", "path = \"/here/\"");
    let proxy = Workspace::new().start_with_somebody(&config);
    let client = Client::new(&proxy, Some(&stranger));
    let (here, nowhere) = (client.get("/here/x").await.expect("an answer"), client.get("/nowhere").await.expect("an answer"));
    assert_eq!((here.status.as_u16(), here.code().as_str()), (403, "not_listed"));
    assert_eq!((nowhere.status.as_u16(), nowhere.code().as_str()), (403, "not_listed"));
    let anonymous = Client::new(&proxy, None).get("/nowhere").await.expect("an answer");
    assert_eq!((anonymous.status.as_u16(), anonymous.code().as_str()), (401, "no_credential"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_404_comes_after_admission() {
    let (_upstream, proxy, alice) = start("", "role = \"Contributor\"").await;
    let config = std::fs::read_to_string(proxy.path("portcullis.toml")).expect("readable");
    let before = proxy.generation();
    proxy.replace("portcullis.toml", config.replace("path = \"/\"", "path = \"/here/\""));
    proxy.wait_for_generation_after(before);
    let answer = Client::new(&proxy, Some(&alice)).get("/nowhere").await.expect("an answer");
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (404, "no_route"));
}

/// Two hosts under two policies: b.test asks for nobody's certificate.
const HOSTS: &str = r#"
[[route]]
name = "b"
hosts = ["b.test"]
path = "/"
upstream = "app"
auth = "none"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn sni_and_authority_under_different_policies_are_misdirected() {
    let (upstream, proxy, alice) = start(HOSTS, "role = \"Contributor\"").await;
    for http2 in [false, true] {
        let of = |sni: &str| {
            let client = if http2 { Client::http2(&proxy, Some(&alice)) } else { Client::new(&proxy, Some(&alice)) };
            client.sni(sni)
        };
        let to = |host: &str| {
            let mut request = request("GET", "/");
            *request.uri_mut() = format!("https://{host}/").parse().expect("a URI");
            request
        };
        let answer = of("b.test").send(to("a.test")).await.expect("an answer");
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (421, "misdirected"), "from the open host to the guarded one");
        let answer = of("a.test").send(to("unknown.test")).await.expect("an answer");
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (421, "misdirected"), "our certificate does not cover it");
        let answer = of("a.test").send(to("localhost")).await.expect("an answer");
        assert_eq!(answer.status, 200, "the same policy, and covered");
    }
    assert!(!upstream.received().iter().any(|request| request.head.contains("unknown.test")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_opens_only_where_the_route_lists_it() {
    let upstream = TestUpstream::start().await;
    let alice = Leaf::new("alice").self_signed();
    let workspace = Workspace::new();
    workspace.allow("alice", &alice);
    let proxy = workspace.start(&Workspace::config("require", &upstream.url(), "").replace("upgrades = [\"websocket\"]", "upgrades = []"));
    let client = Client::new(&proxy, Some(&alice));
    for protocol in ["websocket", "h2c", "TLS/1.2", "HTTP/2.0"] {
        let head = format!(
            "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, close\r\nUpgrade: {protocol}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let back = Raw::exchange(&client, head).await;
        assert!(!back.statuses().contains(&101), "{protocol}: {}", back.text);
        assert!(upstream.received().iter().all(|request| request.header("upgrade").is_empty()), "{protocol}");
    }
}
