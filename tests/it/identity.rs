//! Promise 4: the upstream can believe the headers. Whatever a client claims is removed, on every route, in
//! every spelling; what is forwarded is what was proven, and parses in another parser.

use base64::Engine;
use http_body_util::BodyExt;
use hyper::body::Frame;
use sfv::{BareItem, Parser};

use crate::support::client::{request, streaming};
use crate::support::{Client, Identity, Leaf, TestCa, TestProxy, TestUpstream, Workspace};

/// A name of each dialect and family; the test spells each in many ways.
const CLAIMS: &[&str] = &[
    "x-portcullis-principal",
    "x-portcullis-anything",
    "x-forwarded-client-cert",
    "client-cert",
    "client-cert-chain",
    "ssl-client-verify",
    "ssl-client-cert",
    "x-ssl-client-dn",
    "x-ssl",
    "x-forwarded-tls-client-cert",
    "x-forwarded-tls-client-cert-info",
    "x-amzn-mtls-clientcert-subject",
    "x-client-cert-present",
    "cf-cert-verified",
    "x-arr-clientcert",
    "l5d-client-id",
    "x-forwarded-user",
    "x-real-ip",
    "true-client-ip",
    "x-original-url",
    "x-rewrite-url",
];

const FORGED: &str = "forged-by-mallory";

fn spellings(name: &str) -> Vec<String> {
    let capital = name.split('-').map(|word| word[..1].to_uppercase() + &word[1..]).collect::<Vec<_>>().join("-");
    let mixed = name.chars().enumerate().map(|(at, c)| if at % 2 == 0 { c.to_ascii_uppercase() } else { c }).collect();
    let mut folded = name.to_owned();
    if let Some(at) = folded.rfind('-') {
        folded.replace_range(at..=at, "_");
    }
    vec![name.into(), capital, name.to_uppercase(), mixed, name.replace('-', "_"), name.replace('-', "."), folded]
}

/// Three routes that treat certificates differently, and one that nobody mentions.
fn config(upstream: &TestUpstream) -> String {
    let more = r#"
[[route]]
name = "open"
path = "/open/"
upstream = "app"
auth = "none"

[[route]]
name = "perhaps"
path = "/perhaps/"
upstream = "app"
auth = "optional"
"#;
    Workspace::config("request", &upstream.url(), more)
}

async fn start(identity: &Identity) -> (TestUpstream, TestProxy) {
    let upstream = TestUpstream::start().await;
    let workspace = Workspace::new();
    workspace.allow("alice", identity);
    let proxy = workspace.start(&config(&upstream));
    (upstream, proxy)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_can_believe_the_headers_forged_in_any_spelling_on_any_route() {
    let alice = Leaf::new("alice").self_signed();
    let (upstream, proxy) = start(&alice).await;
    for http2 in [false, true] {
        let client = if http2 { Client::http2(&proxy, Some(&alice)) } else { Client::new(&proxy, Some(&alice)) };
        let mut connection = client.connect().await.expect("admitted");
        for path in ["/", "/open/x", "/perhaps/x"] {
            for claim in CLAIMS {
                let mut forged = request("GET", path);
                for spelling in spellings(claim) {
                    let name = http::HeaderName::from_bytes(spelling.as_bytes()).expect("a header name");
                    forged.headers_mut().append(&name, FORGED.parse().expect("a value"));
                    forged.headers_mut().append(&name, FORGED.parse().expect("a value"));
                }
                let answer = connection.exchange(forged).await.expect("an answer");
                assert_eq!(answer.status, 200, "{claim} on {path}");
                let head = upstream.last().head;
                assert!(!head.contains(FORGED), "{claim} on {path}, HTTP/2 {http2}:\n{head}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_headers_in_trailers_never_reach_the_upstream() {
    let alice = Leaf::new("alice").self_signed();
    let (upstream, proxy) = start(&alice).await;
    for client in [Client::new(&proxy, Some(&alice)), Client::http2(&proxy, Some(&alice))] {
        let mut trailers = http::HeaderMap::new();
        for name in ["client-cert", "x-portcullis-principal", "x_forwarded_client_cert"] {
            trailers.insert(http::HeaderName::from_static(name), FORGED.parse().expect("a value"));
        }
        let frames = [Ok(Frame::data(bytes::Bytes::from_static(b"body"))), Ok::<_, std::convert::Infallible>(Frame::trailers(trailers))];
        let body = Frames(frames.into_iter().collect());
        let mut forged = request("POST", "/").map(|_| body.map_err(|never| match never {}).boxed());
        forged.headers_mut().insert("trailer", "client-cert".parse().expect("a value"));
        forged.headers_mut().insert("te", "trailers".parse().expect("a value"));
        let answer = client.send(forged).await.expect("an answer");
        assert_eq!(answer.status, 200);
        let received = upstream.last();
        assert!(!received.head.contains(FORGED) && !String::from_utf8_lossy(&received.body).contains(FORGED), "{received:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_with_one_request_is_told_with_no_other() {
    let alice = Leaf::new("alice").self_signed();
    let (upstream, proxy) = start(&alice).await;
    let said =
        [None, Some(("x-forwarded-for", "192.0.2.7")), Some(("x-portcullis-principal", FORGED)), Some(("forwarded", "for=192.0.2.7"))];
    let ask = |path: &str, port: &str, said: Option<(&'static str, &str)>| {
        let mut asked = request("GET", path);
        *asked.uri_mut() = format!("https://localhost{port}{path}").parse().expect("a target");
        said.map(|(name, value)| asked.headers_mut().insert(name, value.parse().expect("a value")));
        asked
    };
    let told = || {
        let head = upstream.last().head.to_ascii_lowercase();
        let mut lines: Vec<String> = head.lines().filter(|line| !line.starts_with("x-request-id:")).map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let is_address = |line: &str| line.starts_with("x-forwarded-") && !line.starts_with("x-forwarded-client-cert");
    for http2 in [false, true] {
        let client = if http2 { Client::http2(&proxy, Some(&alice)) } else { Client::new(&proxy, Some(&alice)) };
        let mut connection = client.connect().await.expect("admitted");
        for path in ["/", "/open/x", "/", "/perhaps/x", "/open/x"] {
            for (port, said) in ["", "", ":1", ":443"].into_iter().flat_map(|port| said.map(|said| (port, said))) {
                assert_eq!(connection.exchange(ask(path, port, said)).await.expect("an answer").status, 200);
                let behind_others = told();
                assert_eq!(client.send(ask(path, port, said)).await.expect("an answer").status, 200);
                assert_eq!(behind_others, told(), "{path} {port} {said:?}, HTTP/2 {http2}");
                let is_told = behind_others.iter().any(|line| line.starts_with("x-portcullis-principal: "));
                assert_eq!(is_told, path != "/open/x", "{behind_others:?}");
                let forwarded: Vec<&String> = behind_others.iter().filter(|line| is_address(line)).collect();
                let host = format!("x-forwarded-host: localhost{port}");
                assert_eq!(forwarded, ["x-forwarded-for: 127.0.0.1", &host, "x-forwarded-proto: https"], "{behind_others:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_cannot_take_our_headers_away() {
    let alice = Leaf::new("alice").self_signed();
    let (upstream, proxy) = start(&alice).await;
    for named in ["client-cert", "X-Forwarded-Client-Cert", "x-portcullis-principal", "Host", "Content-Length", "Authorization", "Cookie"] {
        let before = upstream.received().len();
        let mut hop = request("GET", "/");
        hop.headers_mut().insert("connection", named.parse().expect("a value"));
        let answer = Client::new(&proxy, Some(&alice)).send(hop).await.expect("an answer");
        assert_eq!(answer.status, 400, "{named}");
        assert_eq!(upstream.received().len(), before, "{named} was forwarded");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forwarded_is_what_was_proven_and_parses_elsewhere() {
    let ca = TestCa::new("root");
    let intermediate = ca.intermediate("intermediate");
    let hostile = r#"job,"1;x=y\ é"#;
    let leaf = intermediate.issue(Leaf::new(hostile).organizational_unit("Dev;Ops").uri("spiffe://x/y?a=b,c;d").dns("a.example"));
    let leaf = leaf.with_chain(intermediate.identity.chain.clone());
    let upstream = TestUpstream::start().await;
    let workspace = Workspace::new();
    workspace.write("ca.pem", ca.pem());
    let pinned = Leaf::new("pinned").self_signed();
    workspace.allow("pinned", &pinned);
    let authority =
        "\n[[principal]]\nname = \"ci/jobs\"\nrole = \"Contributor\"\n[principal.authority]\ncertificates = [\"ca.pem\"]\nany = true\n";
    let proxy = workspace.start(&Workspace::config("require", &upstream.url(), authority));

    assert_eq!(Client::new(&proxy, Some(&leaf)).get("/").await.expect("admitted").status, 200);
    let received = upstream.last();
    let one = |name: &str| {
        let values = received.header(name);
        assert_eq!(values.len(), 1, "{name}: {values:?}");
        values[0].clone()
    };
    let Ok(item) = Parser::new(&one("client-cert")).parse::<sfv::Item>() else { panic!("Client-Cert is no item") };
    assert_eq!(item.bare_item, BareItem::ByteSequence(leaf.leaf().to_vec()));
    let list = Parser::new(&one("client-cert-chain")).parse::<sfv::List>().expect("a list");
    let sfv::ListEntry::Item(first) = &list[0] else { panic!("no item") };
    assert_eq!(first.bare_item, BareItem::ByteSequence(intermediate.identity.leaf().to_vec()), "the validated chain, without the leaf");
    let elements = parse_xfcc(&one("x-forwarded-client-cert"));
    assert_eq!(elements.len(), 1, "{elements:?}");
    let value = |key: &str| elements[0].iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
    assert_eq!(value("Hash"), Some(leaf.fingerprint().as_str()));
    assert_eq!(value("URI"), Some("spiffe://x/y?a=b,c;d"));
    assert_eq!(value("DNS"), Some("a.example"));
    assert!(value("Subject").is_some_and(|subject| subject.contains("OU=Dev") && subject.is_ascii()), "{elements:?}");
    assert_eq!(one("x-portcullis-principal"), "ci/jobs");
    assert_eq!(one("x-portcullis-clearance"), "user");
    assert_eq!(one("x-portcullis-access"), "write");
    assert_eq!(one("x-portcullis-fingerprint"), leaf.fingerprint());
    assert_eq!(one("x-portcullis-client-ip"), "127.0.0.1");
    assert!(one("x-portcullis-id").starts_with("p-"));
    assert!(one("x-portcullis-identifier").is_ascii());

    assert_eq!(Client::new(&proxy, Some(&pinned)).get("/").await.expect("admitted").status, 200);
    let received = upstream.last();
    assert_eq!(received.header("client-cert").len(), 1);
    assert_eq!(received.header("client-cert-chain"), [] as [&str; 0], "a pin has no chain");
    assert_eq!(received.header("x-portcullis-identifier"), ["pinned"]);
    assert_eq!(base64::engine::general_purpose::STANDARD.encode(pinned.leaf()), received.header("client-cert")[0].trim_matches(':'));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_spki_pin_supplies_no_names() {
    let upstream = TestUpstream::start().await;
    let alice = Leaf::new("alice").dns("alice.example").self_signed();
    let workspace = Workspace::new();
    alice.write(workspace.directory.path(), "alice");
    let inspected = workspace.run(&["cert", "inspect", "--json", "alice.pem"]);
    let report: serde_json::Value = serde_json::from_slice(&inspected.stdout).expect("JSON");
    let pin = report.to_string().split('"').find(|text| text.starts_with("sha256/")).expect("an SPKI pin").to_owned();
    let principal = format!("\n[[principal]]\nname = \"key/holder\"\nrole = \"Contributor\"\nspki_pins = [\"{pin}\"]\n");
    let config = Workspace::config("require", &upstream.url(), &principal);
    let proxy = workspace.start_with_somebody(&config);
    let renamed = Leaf::new("the king of spain").key_of(&alice).self_signed();
    assert_eq!(Client::new(&proxy, Some(&renamed)).get("/").await.expect("the key is pinned").status, 200);
    let received = upstream.last();
    assert_eq!(received.header("x-portcullis-principal"), ["key/holder"]);
    assert_eq!(received.header("x-portcullis-identifier"), ["key/holder"]);
    for name in ["client-cert", "client-cert-chain"] {
        assert_eq!(received.header(name), [] as [&str; 0], "{name}");
    }
    assert!(!received.head.contains("spain"), "{}", received.head);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_body_arrives_whole() {
    let alice = Leaf::new("alice").self_signed();
    let (upstream, proxy) = start(&alice).await;
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let feeding = tokio::spawn(async move {
        for _ in 0..64 {
            sender.send(bytes::Bytes::from(vec![b'x'; 1000])).await.expect("still reading");
        }
    });
    let answer = Client::new(&proxy, Some(&alice)).send(request("POST", "/").map(|_| streaming(receiver))).await.expect("an answer");
    feeding.await.expect("no panic");
    assert_eq!(answer.status, 200);
    assert_eq!(upstream.last().body.iter().filter(|byte| **byte == b'x').count(), 64_000);
}

/// A parser of XFCC that knows only the grammar: elements split at `,`, pairs at `;`, outside quotes.
fn parse_xfcc(text: &str) -> Vec<Vec<(String, String)>> {
    let (mut elements, mut pairs, mut pair, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    let finish = |pair: &mut String| {
        let (key, value) = pair.split_once('=').unwrap_or_else(|| panic!("no pair: {pair}"));
        let done = (key.to_owned(), value.to_owned());
        pair.clear();
        done
    };
    while let Some(c) = chars.next() {
        match c {
            '\\' if quoted && chars.peek() == Some(&'"') => pair.extend(chars.next()),
            '"' => quoted = !quoted,
            ';' if !quoted => pairs.push(finish(&mut pair)),
            ',' if !quoted => {
                pairs.push(finish(&mut pair));
                elements.push(std::mem::take(&mut pairs));
            }
            c => pair.push(c),
        }
    }
    assert!(!quoted, "an open quote: {text}");
    pairs.push(finish(&mut pair));
    elements.push(pairs);
    elements
}

/// Frames one after the other.
struct Frames(std::collections::VecDeque<Result<Frame<bytes::Bytes>, std::convert::Infallible>>);

impl hyper::body::Body for Frames {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<bytes::Bytes>, Self::Error>>> {
        std::task::Poll::Ready(self.0.pop_front())
    }
}
