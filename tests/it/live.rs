//! Promises 1 and 2 on the certificate of Azure's page: in, out, and cut off at once, wherever it stands.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use rustls::{AlertDescription, HandshakeKind};
use tokio::task::JoinHandle;

use crate::support::{CUT, Client, Flow, Identity, Leaf, TestUpstream, Workspace, within};

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_of_azures_page_gets_through_over_both_tls_versions_and_both_http_versions() {
    let upstream = TestUpstream::start().await;
    let seed = Identity::seed("ACL Client Cert");
    let workspace = Workspace::new();
    workspace.allow("acl", &seed);
    let proxy = workspace.start(&Workspace::config("require", &upstream.url(), ""));
    for client in [Client::tls12(&proxy, Some(&seed)), Client::tls13(&proxy, Some(&seed)), Client::http2(&proxy, Some(&seed))] {
        let answer = client.get("/hello").await.expect("admitted");
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"hello"[..]));
        assert_eq!(upstream.last().header("x-portcullis-fingerprint"), [seed.fingerprint()]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn off_the_list_means_off_now_wherever_it_stands_and_others_lose_nothing() {
    let upstream = TestUpstream::start().await;
    let (alice, bob) = (Leaf::new("alice").self_signed(), Leaf::new("bob").self_signed());
    let workspace = Workspace::new();
    workspace.allow("alice", &alice);
    workspace.allow("bob", &bob);
    let proxy = workspace.start(&Workspace::config("require", &upstream.url(), ""));

    // Everywhere that she may stand.
    let resuming = [Client::tls12(&proxy, Some(&alice)), Client::tls13(&proxy, Some(&alice))];
    for client in &resuming {
        client.get("/first").await.expect("admitted");
        assert_eq!(client.connect().await.expect("resumed").kind, HandshakeKind::Resumed, "the sessions are there to be misused");
    }
    let mut idle = Client::new(&proxy, Some(&alice)).connect().await.expect("admitted");
    idle.get("/idle").await.expect("served");
    let mut two = Client::http2(&proxy, Some(&alice)).connect().await.expect("admitted");
    two.get("/one").await.expect("served");
    let ends = [
        ("an HTTP/2 download", Flow::download(Client::http2(&proxy, Some(&alice)), "/endless").await),
        ("an HTTP/1.1 download", Flow::download(Client::new(&proxy, Some(&alice)), "/endless").await),
        ("an upload", Flow::upload(Client::new(&proxy, Some(&alice)), "/swallow", &upstream).await),
        ("a WebSocket", Flow::web_socket(Client::new(&proxy, Some(&alice)), "/ws").await),
    ];

    // Fifty others, at work all the while.
    let load = Load::start(50, || Client::new(&proxy, Some(&bob))).await;

    let before = proxy.generation();
    let removed = Instant::now();
    proxy.remove("allowlist/alice.pem");
    for (what, flow) in ends {
        let ended = within(what, flow.end).await.expect("no panic");
        assert!(ended - removed < CUT, "{what} went on for {:?}", ended - removed);
    }
    proxy.wait_for_generation_after(before);
    idle.get("/next").await.expect_err("the next request on a live connection");
    two.get("/second").await.expect_err("a second stream");
    for client in &resuming {
        let refused = client.get("/again").await.expect_err("a resumed session");
        assert_eq!(refused.alert, Some(AlertDescription::AccessDenied), "{}", refused.why);
    }
    for client in [Client::tls12(&proxy, Some(&alice)), Client::tls13(&proxy, Some(&alice)), Client::http2(&proxy, Some(&alice))] {
        let refused = client.get("/new").await.expect_err("a new handshake");
        assert_eq!(refused.alert, Some(AlertDescription::AccessDenied), "{}", refused.why);
    }
    assert_eq!(load.stop().await, 0, "requests of others failed");
    assert_eq!(proxy.metric("portcullis_revocation_seconds_count"), Some(1.0), "how long it took was measured");
    assert!(proxy.metric("portcullis_revocation_seconds_sum").is_some_and(|seconds| seconds < CUT.as_secs_f64()));
}

#[tokio::test(flavor = "multi_thread")]
async fn adding_a_certificate_lets_it_in_and_disturbs_nobody() {
    let upstream = TestUpstream::start().await;
    let (alice, bob) = (Leaf::new("alice").self_signed(), Leaf::new("bob").self_signed());
    let workspace = Workspace::new();
    workspace.allow("bob", &bob);
    let proxy = workspace.start(&Workspace::config("require", &upstream.url(), ""));
    let mut live = Client::new(&proxy, Some(&bob)).connect().await.expect("admitted");
    live.get("/before").await.expect("served");
    assert_eq!(Client::new(&proxy, Some(&alice)).get("/").await.expect_err("not yet").alert, Some(AlertDescription::AccessDenied));
    let before = proxy.generation();
    proxy.allow("alice", &alice);
    proxy.wait_for_generation_after(before);
    assert_eq!(Client::new(&proxy, Some(&alice)).get("/").await.expect("admitted").status, 200);
    assert_eq!(live.get("/after").await.expect("the same connection").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_expires_while_it_is_in_use_is_cut_off() {
    let upstream = TestUpstream::start().await;
    let proxy = Workspace::new().start_with_somebody(&Workspace::config("require", &upstream.url(), ""));
    let before = proxy.generation();
    // Made last, and long enough to be served first, on a machine that takes its time.
    let brief = Leaf::new("brief").expires_in(10).self_signed();
    proxy.allow("brief", &brief);
    proxy.wait_for_generation_after(before);
    let mut idle = Client::new(&proxy, Some(&brief)).connect().await.expect("still valid");
    idle.get("/").await.expect("served");
    let download = Flow::download(Client::http2(&proxy, Some(&brief)), "/endless").await;
    within("the download's end", download.end).await.expect("no panic");
    idle.closed().await;
    let refused = Client::new(&proxy, Some(&brief)).get("/").await.expect_err("expired");
    assert_eq!(refused.alert, Some(AlertDescription::CertificateExpired), "{}", refused.why);
}

/// Clients that ask again and again on live connections, and count what fails.
struct Load {
    stop: Arc<AtomicBool>,
    failed: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    async fn start(clients: usize, client: impl Fn() -> Client) -> Self {
        let (stop, failed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = Vec::new();
        for _ in 0..clients {
            let mut connection = client().connect().await.expect("admitted");
            connection.get("/load").await.expect("served");
            let (stop, failed) = (stop.clone(), failed.clone());
            tasks.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    if !connection.get("/load").await.is_ok_and(|answer| answer.status == 200) {
                        failed.fetch_add(1, Ordering::Relaxed);
                        return;
                    }
                }
            }));
        }
        Self { stop, failed, tasks }
    }

    async fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("no panic");
        }
        self.failed.load(Ordering::Relaxed)
    }
}
