//! The effective client address: the peer, PROXY from whom we trust, the one configured header from whom we trust.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::client::request;
use crate::support::upstream::Reply;
use crate::support::{Client, Identity, Leaf, TestProxy, TestUpstream, Workspace, eventually, within};
use http_body_util::BodyExt;

async fn start(who: &str, more: &str) -> (TestUpstream, TestProxy, Identity) {
    let upstream = TestUpstream::start().await;
    let alice = Leaf::new("alice").self_signed();
    let workspace = Workspace::new();
    alice.write(workspace.directory.path(), "alice");
    let principal = format!("\n[[principal]]\nname = \"alice\"\nrole = \"Contributor\"\ncertificates = [\"alice.pem\"]\n{who}\n{more}\n");
    let proxy = workspace.start_with_somebody(&Workspace::config("request", &upstream.url(), &principal));
    (upstream, proxy, alice)
}

/// Sends a GET with forwarding headers; returns the status and the address that the upstream was told.
async fn told(proxy: &TestProxy, upstream: &TestUpstream, alice: &Identity, headers: &[(&str, &str)]) -> (u16, Vec<String>) {
    let mut request = request("GET", "/");
    for (name, value) in headers {
        request.headers_mut().append(http::HeaderName::from_bytes(name.as_bytes()).expect("a name"), value.parse().expect("a value"));
    }
    let answer = Client::new(proxy, Some(alice)).send(request).await.expect("an answer");
    match answer.status.as_u16() {
        200 => (200, upstream.last().header("x-portcullis-client-ip")),
        other => (other, vec![answer.code()]),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forwarding_header_from_nobody_in_particular_is_replaced() {
    let (upstream, proxy, alice) = start("", "").await;
    let (status, address) = told(&proxy, &upstream, &alice, &[("x-forwarded-for", "192.0.2.7"), ("forwarded", "for=192.0.2.8")]).await;
    assert_eq!((status, address), (200, vec!["127.0.0.1".to_owned()]));
    let received = upstream.last();
    assert_eq!(received.header("x-forwarded-for"), ["127.0.0.1"]);
    assert!(!received.head.contains("192.0.2."), "{}", received.head);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_hops_header_is_walked_from_the_right_and_judged() {
    let (upstream, proxy, alice) =
        start("client_ips = [\"192.0.2.0/24\"]", "[trust]\nforwarded_from = [\"127.0.0.1/32\", \"10.0.0.0/8\"]\n").await;
    for (header, expected) in [
        ("192.0.2.7", (200, "192.0.2.7")),
        ("203.0.113.9, 192.0.2.7", (200, "192.0.2.7")),
        ("192.0.2.7, 10.1.2.3", (200, "192.0.2.7")),
        ("192.0.2.7, 203.0.113.9", (403, "client_ip_denied")),
        ("::ffff:192.0.2.7", (200, "192.0.2.7")),
        ("192.0.2.7, rubbish", (403, "client_ip_denied")),
    ] {
        let (status, said) = told(&proxy, &upstream, &alice, &[("x-forwarded-for", header)]).await;
        assert_eq!((status, said[0].as_str()), expected, "{header}");
    }
    let (status, said) = told(&proxy, &upstream, &alice, &[]).await;
    assert_eq!((status, said[0].as_str()), (403, "client_ip_denied"), "the hop itself is not in client_ips");
    let (status, said) = told(&proxy, &upstream, &alice, &[("forwarded", "for=192.0.2.7")]).await;
    assert_eq!((status, said[0].as_str()), (403, "client_ip_denied"), "the other header says nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_principals_own_gateways_are_trusted_for_it() {
    let (upstream, proxy, alice) = start("gateway_ips = [\"127.0.0.1/32\"]", "").await;
    let (status, address) = told(&proxy, &upstream, &alice, &[("x-forwarded-for", "192.0.2.7")]).await;
    assert_eq!((status, address), (200, vec!["192.0.2.7".to_owned()]));
    // The gateway itself may be outside client_ips: what counts is whom it speaks for.
    let (upstream, proxy, alice) = start("gateway_ips = [\"127.0.0.1/32\"]\nclient_ips = [\"192.0.2.0/24\"]", "").await;
    let (status, address) = told(&proxy, &upstream, &alice, &[("x-forwarded-for", "192.0.2.7")]).await;
    assert_eq!((status, address), (200, vec!["192.0.2.7".to_owned()]));
    assert_eq!(told(&proxy, &upstream, &alice, &[]).await, (403, vec!["client_ip_denied".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_is_required_where_it_is_required_and_believed_from_whom_we_trust() {
    for (trusted, served) in [("127.0.0.1/32", true), ("192.0.2.0/24", false)] {
        let upstream = TestUpstream::start().await;
        let alice = Leaf::new("alice").self_signed();
        let workspace = Workspace::new();
        workspace.allow("alice", &alice);
        let config = Workspace::config("require", &upstream.url(), &format!("[trust]\nproxy_from = [\"{trusted}\"]\n"))
            .replace("client_auth = \"require\"", "client_auth = \"require\"\nproxy_protocol = \"require\"");
        let proxy = workspace.start(&config);
        let client = Client::new(&proxy, Some(&alice));
        let mut version2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
        version2.extend([192, 0, 2, 9, 127, 0, 0, 1, 0x30, 0x39, 0x20, 0xfb]);
        for (header, address) in [(b"PROXY TCP4 192.0.2.7 127.0.0.1 12345 8443\r\n".to_vec(), "192.0.2.7"), (version2, "192.0.2.9")] {
            let mut tcp = TcpStream::connect(proxy.address("edge")).await.expect("accepted");
            let _ = tcp.write_all(&header).await;
            match client.get_over(tcp, "/").await {
                Ok(answer) => {
                    assert!(served, "{trusted}: an untrusted peer was believed");
                    assert_eq!(answer.status, 200);
                    assert_eq!(upstream.last().header("x-portcullis-client-ip"), [address]);
                }
                Err(refused) => assert!(!served, "{}", refused.why),
            }
        }
        client.get("/").await.expect_err("no PROXY header");
    }
}

/// Off the list of trusted forwarders means off, now: what is open by its word alone is from the forwarder itself.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_by_the_word_of_a_forwarder_that_is_trusted_no_more_is_judged_by_where_it_came_from() {
    let upstream = TestUpstream::replying(|_| Reply::Endless).await;
    let (alice, bob) = (Leaf::new("alice").self_signed(), Leaf::new("bob").self_signed());
    let workspace = Workspace::new();
    workspace.allow("bob", &bob);
    alice.write(workspace.directory.path(), "alice");
    let config = |trust: &str| {
        let alice = "[[principal]]\nname = \"alice\"\nrole = \"Reader\"\ncertificates = [\"alice.pem\"]\nclient_ips = [\"192.0.2.0/24\"]\n";
        Workspace::config("request", &upstream.url(), &format!("{alice}{trust}"))
    };
    let trusting = "[trust]\nforwarded_from = [\"127.0.0.1/32\"]\n";
    let proxy = workspace.start(&config(trusting));
    let get = || {
        let mut get = request("GET", "/endless");
        get.headers_mut().insert("x-forwarded-for", http::HeaderValue::from_static("192.0.2.7"));
        get
    };
    let mut connections = Vec::new();
    for identity in [&alice, &bob] {
        let mut connection = Client::http2(&proxy, Some(identity)).connect().await.expect("admitted");
        let answer = connection.send(get()).await.expect("answered");
        assert_eq!(answer.status(), 200);
        connections.push((connection, answer.into_body()));
    }
    // What changes nothing of whose word counts cuts nobody.
    let wider = "[trust]\nforwarded_from = [\"127.0.0.1/32\", \"10.0.0.0/8\"]\n";
    for trust in [wider, ""] {
        let before = proxy.generation();
        proxy.replace("portcullis.toml", config(trust));
        proxy.wait_for_generation_after(before);
        let cut = proxy.metric("portcullis_connections_cut_total{code=\"client_ip_denied\"}");
        assert_eq!(cut.unwrap_or_default(), if trust == wider { 0.0 } else { 1.0 });
    }
    let (_, mut of_bob) = connections.pop().expect("bob's");
    let (_alice, mut of_alice) = connections.pop().expect("alice's");
    within("alice's end", async { while let Some(Ok(_)) = of_alice.frame().await {} }).await;
    for _ in 0..1000 {
        within("bob's bytes", of_bob.frame()).await.expect("no end").expect("no reset");
    }
    eventually("one of two is left", || upstream.open() == 1);
}
