//! Promise 2 where no certificate is taken off a list: what is open is judged anew as the request that it was.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use tokio::io::AsyncWriteExt;

use crate::support::client::request;
use crate::support::upstream::Reply;
use crate::support::{CUT, Client, Flow, Leaf, TestProxy, TestUpstream, Workspace, eventually, within};

const ROUTE: &str = "[[route]]\nname = \"ours\"\npath = \"/ours/\"\nupstream = \"app\"\nupgrades = [\"websocket\"]\n";

/// Everything that can be open on the route `ours`, and a download on another one.
struct World {
    upstream: TestUpstream,
    proxy: TestProxy,
    open: Vec<(&'static str, Flow)>,
    other: Flow,
}

impl World {
    async fn start() -> Self {
        let upstream = upstream().await;
        let alice = Leaf::new("alice").self_signed();
        let workspace = Workspace::new();
        workspace.allow("alice", &alice);
        let proxy = workspace.start(&config(&upstream, ROUTE));
        let (one, two) = (|| Client::new(&proxy, Some(&alice)), || Client::http2(&proxy, Some(&alice)));
        let open = vec![
            ("an HTTP/1.1 download", Flow::download(one(), "/ours/endless").await),
            ("an HTTP/2 download", Flow::download(two(), "/ours/endless").await),
            ("an upload", Flow::upload(one(), "/ours/swallow", &upstream).await),
            ("a WebSocket", Flow::web_socket(one(), "/ours/ws").await),
        ];
        let other = Flow::download(two(), "/endless").await;
        Self { upstream, proxy, open, other }
    }

    /// Puts other rules in force; returns when they are known to be.
    fn change(&self, route: &str) -> Instant {
        self.write(config(&self.upstream, route))
    }

    fn write(&self, config: String) -> Instant {
        let before = self.proxy.generation();
        self.proxy.replace("portcullis.toml", config);
        self.proxy.wait_for_generation_after(before);
        Instant::now()
    }

    async fn all_are_cut(self, changed: Instant, code: &str) {
        for (what, flow) in self.open {
            let ended = within(what, flow.end).await.expect("no panic");
            assert!(ended < changed + CUT, "{what} went on for {:?}", ended - changed);
        }
        self.other.goes_on("the download on another route");
        // The upload has a hold for its answer, too.
        let cut = self.proxy.metric(&format!("portcullis_connections_cut_total{{code=\"{code}\"}}"));
        assert_eq!(cut, Some(5.0), "{code}");
    }
}

async fn upstream() -> TestUpstream {
    TestUpstream::replying(|path| match path.rsplit('/').next() {
        Some("endless") => Reply::Endless,
        Some("swallow") => Reply::Swallow,
        Some("ws") => Reply::WebSocket,
        _ => Reply::Fixed("hello"),
    })
    .await
}

fn config(upstream: &TestUpstream, route: &str) -> String {
    Workspace::config("request", &upstream.url(), route)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_on_a_route_that_is_gone_is_cut() {
    let world = World::start().await;
    let config = config(&world.upstream, "").replace("path = \"/\"\n", "path = \"/endless\"\n");
    let changed = world.write(config);
    world.all_are_cut(changed, "no_route").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_go_to_another_route_is_cut() {
    // No route of its own any more; moved; for another host: the one for everything takes it.
    for route in ["", &ROUTE.replace("/ours/", "/theirs/"), &format!("{ROUTE}hosts = [\"other.example\"]\n")] {
        let world = World::start().await;
        let changed = world.change(route);
        world.all_are_cut(changed, "no_route").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_more_than_the_client_has_is_cut() {
    let world = World::start().await;
    let changed = world.change(&format!("{ROUTE}rules = [{{ path = \"/ours/**\", access = \"admin\" }}]\n"));
    world.all_are_cut(changed, "not_permitted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_that_its_route_lists_no_more_is_cut_and_the_rest_goes_on() {
    let mut world = World::start().await;
    world.change(&ROUTE.replace("upgrades = [\"websocket\"]", ""));
    let (what, web_socket) = world.open.pop().expect("the last one");
    within(what, web_socket.end).await.expect("no panic");
    for (what, flow) in &world.open {
        flow.goes_on(what);
    }
}

/// The client takes nothing of its download any more, nor of what its WebSocket echoes: nothing flows that could be cut.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_denied_is_cut_though_its_client_takes_nothing() {
    let sent = Arc::<AtomicUsize>::default();
    let flood = Reply::Flood(Arc::clone(&sent));
    let upstream = TestUpstream::replying(move |path| if path == "/ours/ws" { Reply::WebSocket } else { flood.clone() }).await;
    let alice = Leaf::new("alice").self_signed();
    let workspace = Workspace::new();
    workspace.allow("alice", &alice);
    let proxy = workspace.start(&config(&upstream, ROUTE));
    let get = || request("GET", "/ours/flood");
    let mut one = Client::new(&proxy, Some(&alice)).connect().await.expect("admitted");
    let stalled_one = one.send(get()).await.expect("answered");
    let mut two = Client::http2(&proxy, Some(&alice)).connect().await.expect("admitted");
    let mut stalled_two = two.send(get()).await.expect("answered").into_body();
    let mut web_socket = Flow::open(Client::new(&proxy, Some(&alice)), "/ours/ws").await;
    let filled = async {
        loop {
            // Whoever takes nothing for so long takes nothing.
            let writing = tokio::time::timeout(Duration::from_millis(200), web_socket.write_all(&[0; 1024])).await;
            if writing.is_err() {
                break;
            }
        }
    };
    within("the WebSocket is full", filled).await;
    let (mut before, mut same) = (0, 0);
    eventually("the downloads are full", || {
        let now = sent.load(Ordering::Relaxed);
        same = if now == before { same + 1 } else { 0 };
        before = now;
        same > 100
    });
    assert_eq!(upstream.open(), 3);

    let generation = proxy.generation();
    proxy.replace("portcullis.toml", config(&upstream, &format!("{ROUTE}rules = [{{ path = \"/**\", access = \"admin\" }}]\n")));
    proxy.wait_for_generation_after(generation);
    let changed = Instant::now();
    eventually("the upstream is free", || upstream.open() == 0);
    assert!(changed.elapsed() < CUT, "{:?}", changed.elapsed());
    assert_eq!(proxy.metric("portcullis_connections_cut_total{code=\"not_permitted\"}"), Some(3.0));
    // Told to whoever listens: a reset of that stream, and the end of the connection that has one request at a time.
    let end = async {
        loop {
            match stalled_two.frame().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => break error,
                None => panic!("a clean end"),
            }
        }
    };
    let error = within("the reset", end).await;
    assert!(error.to_string().contains("stream") || format!("{error:?}").contains("CANCEL"), "{error:?}");
    assert_eq!(two.get("/ours/flood").await.expect("the connection lives").code(), "not_permitted");
    drop(stalled_one);
    one.closed().await;
    eventually("the log says why", || proxy.log().matches("\"code\":\"not_permitted\"").count() >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_rules_of_now_admit_goes_on_whatever_else_they_say() {
    let world = World::start().await;
    let elsewhere = upstream().await;
    let changes = [
        ("open to anybody", config(&world.upstream, &format!("{ROUTE}auth = \"none\"\n"))),
        ("open to those without", config(&world.upstream, &format!("{ROUTE}auth = \"optional\"\n"))),
        ("closed again", config(&world.upstream, ROUTE)),
        ("needs less", config(&world.upstream, &format!("{ROUTE}rules = [{{ path = \"/ours/**\", access = \"read\" }}]\n"))),
        ("a neighbour", config(&world.upstream, &format!("{ROUTE}{}", ROUTE.replace("ours", "theirs")))),
        ("another endpoint", config(&elsewhere, ROUTE)),
    ];
    for (change, config) in changes {
        world.write(config);
        for (what, flow) in &world.open {
            flow.goes_on(&format!("{change}: {what}"));
        }
    }
    assert!(elsewhere.received().is_empty());
}
