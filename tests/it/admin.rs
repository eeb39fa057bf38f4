//! The operator API through the real binary: who may call what, over which listener, and what a refusal says.

use http::HeaderValue;
use rustls::ALL_VERSIONS;

use crate::support::client::{Answer, request, request_with};
use crate::support::{Client, Identity, Leaf, TestProxy, TestUpstream, Workspace};

/// A proxy with an admin listener of its own, and one that serves both.
struct World {
    proxy: TestProxy,
    _upstream: TestUpstream,
    admin: Identity,
    operator: Identity,
    user: Identity,
    node: Identity,
}

impl World {
    async fn start() -> Self {
        let upstream = TestUpstream::start().await;
        let workspace = Workspace::new();
        let make = |name: &str| {
            let identity = Leaf::new(name).self_signed();
            identity.write(workspace.directory.path(), name);
            identity
        };
        let (admin, operator, user, node) = (make("admin"), make("operator"), make("user"), make("node"));
        // Beside `admin`, so that it can be taken away by itself.
        let second = Leaf::new("second").self_signed();
        workspace.write("second.txt", format!("sha256:{} second\n", second.fingerprint()));
        let mut more = String::new();
        for (name, clearance) in [("admin", "admin"), ("operator", "operator"), ("user", "user"), ("node", "node")] {
            more += &format!(
                "[[principal]]\nname = \"{name}\"\nclearance = \"{clearance}\"\npermissions = []\ncertificates = [\"{name}.pem\"]\n"
            );
        }
        more += LISTENERS;
        let proxy = workspace.start_with_somebody(&Workspace::config("request", &upstream.url(), &more));
        Self { proxy, _upstream: upstream, admin, operator, user, node }
    }

    fn client(&self, listener: &str, identity: Option<&Identity>) -> Client {
        Client::of_listener(&self.proxy, listener, identity, ALL_VERSIONS, false)
    }
}

const LISTENERS: &str = r#"
[[listener]]
name = "control"
address = "127.0.0.1:0"
client_auth = "request"
serve = ["admin"]
certificates = [{ cert = "server.pem", key = "server.key" }]

[[listener]]
name = "both"
address = "127.0.0.1:0"
client_auth = "request"
serve = ["proxy", "admin"]
control_hosts = ["a.test"]
certificates = [{ cert = "server.pem", key = "server.key" }]
"#;

/// What an answer says: `200`, or status and code.
fn told(answer: &Answer) -> String {
    match answer.status.as_u16() {
        200 => "200".into(),
        status => format!("{status} {}", answer.code()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_judged_by_clearance_on_every_version_of_tls_and_http() {
    let world = World::start().await;
    let stranger = Leaf::new("stranger").self_signed();
    let low = "403 clearance_too_low";
    let callers: [(&str, Option<&Identity>, [&str; 4]); 6] = [
        ("admin", Some(&world.admin), ["200", "200", "200", "404 no_route"]),
        ("operator", Some(&world.operator), ["200", low, low, "404 no_route"]),
        ("user", Some(&world.user), ["200", low, low, "404 no_route"]),
        ("node", Some(&world.node), ["200", low, low, "404 no_route"]),
        ("stranger", Some(&stranger), ["403 not_listed"; 4]),
        ("nobody", None, ["401 no_credential"; 4]),
    ];
    let calls = [("GET", "/v1/whoami"), ("GET", "/v1/status"), ("POST", "/v1/reload"), ("GET", "/v1/nothing")];
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for http2 in [false, true] {
            for (name, identity, expected) in &callers {
                let client = Client::of_listener(&world.proxy, "control", *identity, &[version], http2);
                for ((method, path), expected) in calls.iter().zip(expected) {
                    let answer = client.send(request(method, path)).await.expect("an answer");
                    assert_eq!(told(&answer), *expected, "{name}: {method} {path}, {version:?}, HTTP/2: {http2}");
                    assert!(answer.headers.contains_key("x-request-id"));
                    assert_eq!(answer.headers["cache-control"], "no-store");
                }
            }
        }
    }
    let whoami = world.client("control", Some(&world.operator)).get("/v1/whoami").await.expect("an answer").json();
    assert_eq!((whoami["principal"]["name"].as_str(), whoami["clearance"].as_str()), (Some("operator"), Some("operator")), "{whoami}");
    assert_eq!(whoami["certificate"]["fingerprint"], world.operator.fingerprint().as_str(), "{whoami}");
    let status = world.client("control", Some(&world.admin)).get("/v1/status").await.expect("an answer").json();
    assert_eq!(status["generation"], world.proxy.status()["generation"], "{status}");
    assert_eq!(status["policy_hash"], world.proxy.status()["policy_hash"], "{status}");
    let document = world.client("control", Some(&world.user)).get("/v1/openapi.json").await.expect("an answer").json();
    assert!(document["paths"]["/v1/reload"]["post"].is_object(), "{document}");
    assert!(world.proxy.metric("portcullis_requests_total{route=\"(admin)\",status_class=\"2xx\"}").is_some_and(|count| count > 10.0));
    assert!(
        world.proxy.metric("portcullis_denials_total{listener=\"control\",code=\"clearance_too_low\"}").is_some_and(|count| count >= 24.0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_ours_or_an_upstreams_and_never_both() {
    let world = World::start().await;
    let admin = Some(&world.admin);
    let to = |host: &str, path: &str| {
        let mut request = request("GET", path);
        *request.uri_mut() = format!("https://{host}{path}").parse().expect("a URL");
        request
    };
    // Alone on its listener, every host is ours, and no route is reached.
    let control = world.client("control", admin);
    assert_eq!(control.send(to("b.test", "/v1/whoami")).await.expect("an answer").status, 200);
    assert_eq!(told(&control.send(to("c.test", "/v1/whoami")).await.expect("an answer")), "421 misdirected", "not in our certificate");
    assert_eq!(told(&control.sni("b.test").send(to("b.test", "/hello")).await.expect("an answer")), "404 no_route");
    // Beside an upstream the host decides.
    let ours = world.client("both", admin).sni("a.test");
    assert_eq!(ours.send(to("a.test", "/v1/whoami")).await.expect("an answer").json()["listener"], "both");
    assert_eq!(told(&ours.send(to("a.test", "/hello")).await.expect("an answer")), "404 no_route");
    assert_eq!(told(&ours.send(to("b.test", "/hello")).await.expect("an answer")), "421 misdirected");
    let theirs = world.client("both", admin).sni("b.test");
    assert_eq!(theirs.send(to("b.test", "/v1/whoami")).await.expect("an answer").body, "hello");
    assert_eq!(told(&theirs.send(to("a.test", "/v1/whoami")).await.expect("an answer")), "421 misdirected");
    // Where only an upstream is served there is no API, whatever the host.
    let edge = world.client("edge", admin).sni("a.test");
    assert_eq!(edge.send(to("a.test", "/v1/status")).await.expect("an answer").body, "hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_page_of_another_origin_can_send_changes_nothing() {
    let world = World::start().await;
    let client = world.client("control", Some(&world.admin));
    let authority = format!("https://localhost:{}", client.address().port());
    for (fields, body, expected) in [
        (&[("origin", "https://evil.test")][..], "", "403 origin_denied"),
        (&[("origin", "null")], "", "403 origin_denied"),
        (&[("sec-fetch-site", "cross-site")], "", "403 origin_denied"),
        (&[("content-type", "text/plain")], "{}", "415 unsupported_media_type"),
        (&[("content-type", "application/x-www-form-urlencoded")], "", "415 unsupported_media_type"),
        (&[], "{}", "415 unsupported_media_type"),
        (&[("content-type", "application/json")], "{}", "200"),
        (&[("content-type", "application/json"), ("sec-fetch-site", "same-origin")], "{}", "200"),
        (&[], "", "200"),
    ] {
        let mut request = if body.is_empty() { request("POST", "/v1/reload") } else { request_with("POST", "/v1/reload", body) };
        for (name, value) in fields {
            request.headers_mut().insert(*name, HeaderValue::from_static(value));
        }
        let answer = client.send(request).await.expect("an answer");
        assert_eq!(told(&answer), expected, "{fields:?} {body:?}");
        assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("access-control-")), "{:?}", answer.headers);
    }
    // Whatever changes something, by the description, and in the protocols of others.
    let described = client.send(request("GET", "/v1/openapi.json")).await.expect("an answer").json();
    let ours = described["paths"].as_object().expect("paths").iter().flat_map(|(path, item)| {
        let methods = item.as_object().expect("methods").keys().map(|method| method.to_uppercase());
        methods.map(|method| {
            (method, path.split('/').map(|part| if part.starts_with('{') { "7" } else { part }).collect::<Vec<_>>().join("/"))
        })
    });
    let others =
        ["POST /admin/certificates", "PUT /admin/certificates", "POST /admin/certificates/edit", "DELETE /admin/certificates/purge"];
    let others = others.iter().chain(&["DELETE /app/users/7", "PATCH /app/users/7"]).map(|line| line.split_once(' ').expect("two words"));
    let all = ours.chain(others.map(|(method, path)| (method.to_owned(), path.to_owned())));
    let changing: Vec<(String, String)> = all.filter(|(method, _)| method != "GET" && method != "HEAD").collect();
    assert!(changing.len() > 20, "{changing:?}");
    for (method, path) in &changing {
        for (name, value) in
            [("origin", "https://evil.test"), ("origin", "null"), ("sec-fetch-site", "cross-site"), ("content-type", "text/plain")]
        {
            let mut request = request_with(method, path, "{}");
            if name != "content-type" {
                request.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
            }
            request.headers_mut().insert(name, HeaderValue::from_static(value));
            let status = client.send(request).await.expect("an answer").status.as_u16();
            assert_eq!(status, if name == "content-type" { 415 } else { 403 }, "{method} {path} {name}: {value}");
        }
    }
    // A page of ours.
    let mut same = request("POST", "/v1/reload");
    same.headers_mut().insert("host", authority.trim_start_matches("https://").parse().expect("a host"));
    same.headers_mut().insert("origin", authority.parse().expect("an origin"));
    assert_eq!(told(&client.send(same).await.expect("an answer")), "200");
    // And nobody asks for leave here.
    let mut preflight = request("OPTIONS", "/v1/reload");
    preflight.headers_mut().insert("origin", HeaderValue::from_static("https://evil.test"));
    preflight.headers_mut().insert("access-control-request-method", HeaderValue::from_static("POST"));
    assert_eq!(told(&client.send(preflight).await.expect("an answer")), "405 method_not_allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_needs_no_rank_fills_no_memory() {
    let world = World::start().await;
    let user = Client::of_listener(&world.proxy, "control", Some(&world.user), ALL_VERSIONS, true);
    let body = |method: &str, path: &str, length: usize| {
        let mut request = request_with(method, path, vec![b' '; length]);
        request.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
        request
    };
    let calls = [("POST", "/v1/whoami", "405 method_not_allowed"), ("GET", "/v1/whoami", "200"), ("GET", "/v1/openapi.json", "200")];
    for (method, path, expected) in calls {
        assert_eq!(told(&user.send(body(method, path, 128 << 10)).await.expect("an answer")), expected, "{method} {path}");
        let long = user.send(body(method, path, (128 << 10) + 1)).await.expect("an answer");
        assert_eq!(told(&long), "413 body_too_large", "{method} {path}");
    }
    let admin = Client::of_listener(&world.proxy, "control", Some(&world.admin), ALL_VERSIONS, true);
    assert_eq!(told(&admin.send(body("POST", "/v1/reload", 1 << 20)).await.expect("an answer")), "200", "who ranks has more room");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_read_whole_or_not_at_all() {
    let world = World::start().await;
    for http2 in [false, true] {
        let client = Client::of_listener(&world.proxy, "control", Some(&world.admin), ALL_VERSIONS, http2);
        let large = |method: &str, path: &str| {
            let mut request = request_with(method, path, vec![b' '; (16 << 20) + 1]);
            request.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
            request
        };
        // Over HTTP/1.1 the connection may be gone before all of it was sent.
        match client.send(large("POST", "/v1/reload")).await {
            Ok(answer) => assert_eq!(told(&answer), "413 body_too_large", "HTTP/2: {http2}"),
            Err(refused) => assert!(!http2, "{}", refused.why),
        }
        // Who ranks too low is told before a byte of it is read.
        let client = Client::of_listener(&world.proxy, "control", Some(&world.user), ALL_VERSIONS, http2);
        if let Ok(answer) = client.send(large("POST", "/v1/reload")).await {
            assert_eq!(told(&answer), "403 clearance_too_low", "HTTP/2: {http2}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_that_is_taken_off_the_list_is_cut_off_in_the_middle_of_a_call() {
    let world = World::start().await;
    for http2 in [false, true] {
        let client = Client::of_listener(&world.proxy, "control", Some(&world.admin), ALL_VERSIONS, http2);
        let mut connection = client.connect().await.expect("connected");
        assert_eq!(connection.get("/v1/status").await.expect("an answer").status, 200);
        // The call waits for the rest of its body.
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let mut slow = request("POST", "/v1/reload");
        *slow.body_mut() = crate::support::client::streaming(receiver);
        slow.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
        sender.send("{".into()).await.expect("room");
        let config = std::fs::read_to_string(world.proxy.path("portcullis.toml")).expect("readable");
        let before = world.proxy.generation();
        let (answer, ()) = tokio::join!(connection.exchange(slow), async {
            let disabled = config.replace("name = \"admin\"\nclearance", "name = \"admin\"\nenabled = false\nclearance");
            assert_ne!(disabled, config);
            world.proxy.replace("portcullis.toml", &disabled);
        });
        // The refusal, or the end of the connection; an error has seen it end.
        if let Ok(answer) = answer {
            assert_eq!(told(&answer), "403 principal_disabled", "HTTP/2: {http2}");
            connection.closed().await;
        }
        drop(sender);
        world.proxy.wait_for_generation_after(before);
        let again = world.proxy.generation();
        world.proxy.replace("portcullis.toml", &config);
        world.proxy.wait_for_generation_after(again);
    }
}
