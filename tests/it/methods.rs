//! Methods: case counts, those that nobody knows need `write`, a route's rules say what else, TRACE and CONNECT are never served.

use crate::support::client::request;
use crate::support::raw::Raw;
use crate::support::{Client, Leaf, TestProxy, TestUpstream, Workspace};

const ROUTES: &str = r#"
[[route]]
name = "ruled"
path = "/ruled/"
upstream = "app"
rules = [
  { methods = ["GET"], path = "/ruled/**", access = "read" },
  { methods = ["POST"], path = "/ruled/search", access = "read" },
  { methods = ["M-SEARCH", "PURGE"], path = "/ruled/**", access = "write" },
  { path = "/ruled/**", access = "admin" },
]
"#;

async fn start() -> (TestUpstream, TestProxy, Client, Client) {
    let upstream = TestUpstream::start().await;
    let workspace = Workspace::new();
    let mut config = Workspace::config("require", &upstream.url(), ROUTES);
    let [reader, writer] = ["reader", "writer"].map(|name| {
        let identity = Leaf::new(name).self_signed();
        workspace.write(&format!("{name}.pem"), identity.leaf_pem());
        let access = if name == "reader" { "read" } else { "write" };
        config.push_str(&format!(
            "[[principal]]\nname = \"{name}\"\ncertificates = [\"{name}.pem\"]\npermissions = [{{ routes = [\"*\"], access = \"{access}\" }}]\n"
        ));
        identity
    });
    let proxy = workspace.start_with_somebody(&config);
    let (reader, writer) = (Client::new(&proxy, Some(&reader)), Client::new(&proxy, Some(&writer)));
    (upstream, proxy, reader, writer)
}

async fn ask(client: &Client, method: &str, path: &str) -> (Vec<u16>, String) {
    let back = Raw::exchange(client, format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).await;
    (back.statuses(), back.text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_needs_what_its_route_says_and_reaches_the_upstream_as_it_is_spelled() {
    let (upstream, _proxy, reader, writer) = start().await;
    let long = "M".repeat(2000);
    for (path, method, of_reader, of_writer) in [
        ("/", "GET", 200, 200),
        ("/", "HEAD", 200, 200),
        ("/", "OPTIONS", 200, 200),
        ("/", "POST", 403, 200),
        ("/", "PUT", 403, 200),
        ("/", "PATCH", 403, 200),
        ("/", "DELETE", 403, 200),
        // Nobody knows what they do.
        ("/", "PROPFIND", 403, 200),
        ("/", "get", 403, 200),
        ("/", "Head", 403, 200),
        ("/", "options", 403, 200),
        ("/", "trace", 403, 200),
        ("/", "!#$%&'*+-.^_`|~", 403, 200),
        ("/", &long, 403, 200),
        ("/ruled/x", "GET", 200, 200),
        // HEAD is what GET is.
        ("/ruled/x", "HEAD", 200, 200),
        ("/ruled/search", "POST", 200, 200),
        ("/ruled/search", "post", 403, 403),
        ("/ruled/search", "POSTS", 403, 403),
        ("/ruled/x", "POST", 403, 403),
        ("/ruled/x", "OPTIONS", 403, 403),
        ("/ruled/x", "M-SEARCH", 403, 200),
        ("/ruled/x", "PURGE", 403, 200),
        ("/ruled/x", "Purge", 403, 403),
        ("/ruled/x", "DELETE", 403, 403),
    ] {
        for (client, status) in [(&reader, of_reader), (&writer, of_writer)] {
            let before = upstream.received().len();
            let (statuses, text) = ask(client, method, path).await;
            assert_eq!(statuses, [status], "{method} {path}: {text}");
            let head = text.split_once("\r\n\r\n").expect("a head");
            assert!(method != "HEAD" || (head.1.is_empty() && head.0.to_ascii_lowercase().contains("content-length: ")), "{text}");
            let received = upstream.received();
            let forwarded: Vec<_> = received[before..].iter().map(|request| request.head.lines().next().expect("a line")).collect();
            let line = format!("{method} {path} HTTP/1.1");
            let expected: &[&str] = if status == 200 { &[&line] } else { &[] };
            assert_eq!(forwarded, expected, "{method} {path}");
            assert!(status == 200 || text.contains("not_permitted"), "{text}");
        }
    }
}

/// Refused before an upstream hears of them, and so that nobody takes what stands behind a CONNECT for a request.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_never_served_is_405_and_says_what_is() {
    let (upstream, _proxy, _, writer) = start().await;
    for (method, target, host, closes) in [
        ("TRACE", "/", "localhost", false),
        ("TRACE", "/search/x", "localhost", false),
        ("CONNECT", "localhost", "localhost", true),
        ("CONNECT", "localhost:443", "localhost:443", true),
    ] {
        let hidden = "GET /hidden HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let back = Raw::exchange(&writer, format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n{hidden}")).await;
        let statuses = back.statuses();
        assert_eq!(statuses, if closes { vec![405] } else { vec![405, 200] }, "{method} {target}: {}", back.text);
        let head = back.text.split("\r\n\r\n").next().expect("a head").to_ascii_lowercase();
        // RFC 9110, 15.5.6.
        assert!(head.contains("\r\nallow: get, head, post, put, patch, delete, options"), "{head}");
        assert_eq!(head.contains("\r\nconnection: close"), closes, "{head}");
    }
    assert!(upstream.received().iter().all(|request| request.target() == "/hidden"));
    // `*` is a target of OPTIONS only.
    for (method, status) in [("OPTIONS", 204), ("GET", 400), ("M-SEARCH", 400), ("TRACE", 400)] {
        assert_eq!(ask(&writer, method, "*").await.0, [status], "{method}");
    }
}

/// A method as large as a head may be is a request line that is too long: 414, whoever asks.
#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_does_not_end_is_a_request_line_that_is_too_long() {
    let (upstream, proxy, _, writer) = start().await;
    let (statuses, text) = ask(&writer, &"M".repeat(64 * 1024), "/").await;
    assert_eq!(statuses, [414], "{text}");
    assert_eq!(writer.send(request("GET", "/")).await.expect("the proxy goes on").status, 200);
    assert_eq!(upstream.received().len(), 1);
    drop(proxy);
}
