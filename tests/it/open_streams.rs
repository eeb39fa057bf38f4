//! Promise 2 where no certificate is taken off a list: what is open is judged anew as the request that it was.

use std::time::Instant;

use crate::support::upstream::Reply;
use crate::support::{CUT, Client, Flow, Leaf, TestProxy, TestUpstream, Workspace, within};

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

    /// Puts other rules in force; returns when they are, and when the change was made.
    fn change(&self, route: &str) -> Instant {
        self.write(config(&self.upstream, route))
    }

    fn write(&self, config: String) -> Instant {
        let (before, changed) = (self.proxy.generation(), Instant::now());
        self.proxy.replace("portcullis.toml", config);
        self.proxy.wait_for_generation_after(before);
        changed
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
