//! Promise 5: whole or not at all. Whatever happens to the files, nobody gets in who was not on the last good
//! list, the proxy goes on, and it says what is wrong; a later good file takes effect.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use rustls::AlertDescription as Alert;

use crate::support::{Client, Identity, Leaf, TestProxy, TestUpstream, Workspace, eventually};

struct World {
    alice: Identity,
    mallory: Identity,
    proxy: TestProxy,
    _upstream: TestUpstream,
}

/// One file, `list.pem`, listed directly; alice is on it, mallory never is.
async fn one_file() -> World {
    let upstream = TestUpstream::start().await;
    let (alice, mallory) = (Leaf::new("alice").self_signed(), Leaf::new("mallory").self_signed());
    let workspace = Workspace::new();
    workspace.write("list.pem", alice.leaf_pem());
    let config = Workspace::config("require", &upstream.url(), "").replace("path = \"allowlist/\"", "path = \"list.pem\"");
    let proxy = workspace.start(&config);
    assert_eq!(Client::new(&proxy, Some(&alice)).get("/").await.expect("admitted").status, 200);
    World { alice, mallory, proxy, _upstream: upstream }
}

impl World {
    /// The last good list is in force: alice in, mallory out.
    async fn last_good_holds(&self, state: &str) {
        let answer =
            Client::new(&self.proxy, Some(&self.alice)).get("/").await.unwrap_or_else(|refused| panic!("{state}: alice: {}", refused.why));
        assert_eq!(answer.status, 200, "{state}");
        let refused = Client::new(&self.proxy, Some(&self.mallory)).get("/").await.expect_err(state);
        assert_eq!(refused.alert, Some(Alert::AccessDenied), "{state}: {}", refused.why);
    }

    /// A reload that failed was counted since `before`.
    fn said(&self, state: &str, before: f64) {
        eventually(&format!("{state}: a failed reload is counted"), || self.failures() > before);
        eventually(&format!("{state}: /status names the file"), || self.proxy.status().to_string().contains("list.pem"));
        eventually(&format!("{state}: the log names the file"), || self.proxy.log().contains("list.pem"));
    }

    fn failures(&self) -> f64 {
        self.proxy.metric("portcullis_reload_total{result=\"failure\"}").unwrap_or(0.0)
    }

    /// A good file takes effect again: mallory's own list lets her in and alice out.
    async fn recovers(&mut self, state: &str) {
        let before = self.proxy.generation();
        let list = self.proxy.path("list.pem");
        if list.is_dir() {
            std::fs::remove_dir(&list).expect("remove");
        }
        self.proxy.replace("list.pem", self.mallory.leaf_pem());
        self.proxy.wait_for_generation_after(before);
        std::mem::swap(&mut self.alice, &mut self.mallory);
        self.last_good_holds(&format!("after {state}")).await;
        assert!(self.proxy.is_running(), "{state}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_or_not_at_all_whatever_state_the_file_is_in() {
    let mut world = one_file().await;
    let rubbish: Vec<u8> = std::iter::successors(Some(1u32), |seed| Some(seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)))
        .map(|seed| (seed >> 24) as u8)
        .take(100 << 20)
        .collect();
    let half = |identity: &Identity| identity.leaf_pem().into_bytes()[..200].to_vec();
    type Break = Box<dyn Fn(&World)>;
    let states: Vec<(&str, Break)> = vec![
        ("missing", Box::new(|world| world.proxy.remove("list.pem"))),
        ("empty", Box::new(|world| world.proxy.write("list.pem", ""))),
        ("blank", Box::new(|world| world.proxy.write("list.pem", "\n \n\t\n"))),
        ("half-written", Box::new(move |world| world.proxy.write("list.pem", half(&world.mallory)))),
        (
            "one good, one cut short",
            Box::new(|world| {
                world.proxy.write("list.pem", [world.mallory.leaf_pem().as_bytes(), &world.alice.leaf_pem().as_bytes()[..300]].concat())
            }),
        ),
        ("100 MB of rubbish", Box::new(move |world| world.proxy.write("list.pem", &rubbish))),
        (
            "a directory",
            Box::new(|world| {
                world.proxy.remove("list.pem");
                std::fs::create_dir(world.proxy.path("list.pem")).expect("directory");
            }),
        ),
        (
            "a FIFO",
            Box::new(|world| {
                world.proxy.remove("list.pem");
                assert!(Command::new("mkfifo").arg(world.proxy.path("list.pem")).status().expect("mkfifo").success());
            }),
        ),
        (
            "a link to /dev/zero",
            Box::new(|world| {
                world.proxy.remove("list.pem");
                symlink("/dev/zero", world.proxy.path("list.pem")).expect("link");
            }),
        ),
        (
            "a link to itself",
            Box::new(|world| {
                world.proxy.remove("list.pem");
                symlink("list.pem", world.proxy.path("list.pem")).expect("link");
            }),
        ),
        (
            "a link to nowhere",
            Box::new(|world| {
                world.proxy.remove("list.pem");
                symlink("nowhere", world.proxy.path("list.pem")).expect("link");
            }),
        ),
        ("with a private key in it", Box::new(|world| world.proxy.write("list.pem", world.mallory.leaf_pem() + &world.mallory.key_pem))),
    ];
    for (state, spoil) in states {
        let before = world.failures();
        spoil(&world);
        world.said(state, before);
        world.last_good_holds(state).await;
        assert!(!world.proxy.log().contains("PRIVATE KEY-----\n"), "{state}: a key was logged");
        let _ = std::fs::remove_file(world.proxy.path("list.pem"));
        world.recovers(state).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_file_keeps_the_last_good_list() {
    let mut world = one_file().await;
    // Root reads everything: there the mode proves nothing, and the other states stand for it.
    let list = world.proxy.path("list.pem");
    std::fs::write(&list, world.mallory.leaf_pem().as_bytes().split_at(100).0).expect("write");
    std::fs::set_permissions(&list, std::fs::Permissions::from_mode(0o000)).expect("mode");
    world.said("unreadable", 0.0);
    world.last_good_holds("unreadable").await;
    world.recovers("unreadable").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubernetes_configmap_swap_is_seen() {
    let upstream = TestUpstream::start().await;
    let (alice, bob) = (Leaf::new("alice").self_signed(), Leaf::new("bob").self_signed());
    let workspace = Workspace::new();
    let map = workspace.path("map");
    for (version, identity) in [("..v1", &alice), ("..v2", &bob)] {
        std::fs::create_dir_all(map.join(version)).expect("directory");
        std::fs::write(map.join(version).join("list.pem"), identity.leaf_pem()).expect("write");
    }
    symlink("..v1", map.join("..data")).expect("link");
    symlink("..data/list.pem", map.join("list.pem")).expect("link");
    let proxy =
        workspace.start(&Workspace::config("require", &upstream.url(), "").replace("path = \"allowlist/\"", "path = \"map/list.pem\""));
    assert_eq!(Client::new(&proxy, Some(&alice)).get("/").await.expect("admitted").status, 200);
    let before = proxy.generation();
    symlink("..v2", map.join("..data_tmp")).expect("link");
    std::fs::rename(map.join("..data_tmp"), map.join("..data")).expect("rename");
    std::fs::remove_dir_all(map.join("..v1")).expect("remove");
    proxy.wait_for_generation_after(before);
    assert_eq!(Client::new(&proxy, Some(&bob)).get("/").await.expect("admitted").status, 200);
    assert_eq!(Client::new(&proxy, Some(&alice)).get("/").await.expect_err("off").alert, Some(Alert::AccessDenied));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_broken_file_never_blocks_anothers_removal() {
    let upstream = TestUpstream::start().await;
    let (alice, bob) = (Leaf::new("alice").self_signed(), Leaf::new("bob").self_signed());
    let workspace = Workspace::new();
    workspace.allow("alice", &alice);
    workspace.allow("bob", &bob);
    let proxy = workspace.start(&Workspace::config("require", &upstream.url(), ""));
    proxy.write("allowlist/bob.pem", "-----BEGIN CERTIFICATE-----\nrubbish");
    eventually("bob's file is said to be broken", || proxy.log().contains("bob.pem"));
    let before = proxy.generation();
    proxy.remove("allowlist/alice.pem");
    proxy.wait_for_generation_after(before);
    assert_eq!(Client::new(&proxy, Some(&alice)).get("/").await.expect_err("off").alert, Some(Alert::AccessDenied));
    assert_eq!(Client::new(&proxy, Some(&bob)).get("/").await.expect("the last good content").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_configuration_keeps_the_last_good_one_and_says_where() {
    let upstream = TestUpstream::start().await;
    let alice = Leaf::new("alice").self_signed();
    let workspace = Workspace::new();
    workspace.allow("alice", &alice);
    let config = Workspace::config("require", &upstream.url(), "");
    let proxy = workspace.start(&config);
    let before = proxy.generation();
    proxy.replace("portcullis.toml", config.replace("client_auth = \"require\"", "client_auth = \"perhaps\""));
    eventually("the log says where", || proxy.log().contains("portcullis.toml:5"));
    eventually("the status page says where", || proxy.status().to_string().contains("portcullis.toml:5"));
    assert_eq!(proxy.generation(), before);
    assert_eq!(Client::new(&proxy, Some(&alice)).get("/").await.expect("admitted").status, 200);
    proxy.replace("portcullis.toml", config + "\n# mended\n");
    proxy.write("allowlist/bob.pem", Leaf::new("bob").self_signed().leaf_pem());
    proxy.wait_for_generation_after(before);
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reads_everything_again() {
    let mut world = one_file().await;
    let before = world.proxy.metric("portcullis_reload_total{result=\"unchanged\"}").unwrap_or(0.0)
        + world.proxy.metric("portcullis_reload_total{result=\"success\"}").unwrap_or(0.0);
    world.proxy.signal("HUP");
    eventually("the reload is counted", || {
        let count = |result| world.proxy.metric(&format!("portcullis_reload_total{{result=\"{result}\"}}")).unwrap_or(0.0);
        count("unchanged") + count("success") > before
    });
    assert!(world.proxy.is_running());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_entry_among_good_ones_is_named_by_its_line() {
    let world = one_file().await;
    let alice = world.alice.leaf_pem();
    let lines = alice.lines().count();
    let cut = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    world.proxy.replace("list.pem", format!("{alice}{cut}{}", world.mallory.leaf_pem()));
    let place = format!("list.pem:{}", lines + 1);
    eventually("the log names the line", || world.proxy.log().contains(&place));
    world.last_good_holds("a bad entry").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_reloads_under_load_lose_no_request() {
    let world = one_file().await;
    let (stop, failed) =
        (std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false)), std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0)));
    let mut tasks = Vec::new();
    for number in 0..8 {
        let client =
            if number % 2 == 0 { Client::new(&world.proxy, Some(&world.alice)) } else { Client::http2(&world.proxy, Some(&world.alice)) };
        let (stop, failed) = (stop.clone(), failed.clone());
        tasks.push(tokio::spawn(async move {
            let mut live = client.connect().await.expect("admitted");
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                // One on the live connection, one on a new one.
                for answer in [live.get("/live").await, client.get("/new").await] {
                    if !answer.is_ok_and(|answer| answer.status == 200) {
                        failed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    }
                }
            }
        }));
    }
    for number in 0..40 {
        let before = world.proxy.generation();
        let other = Leaf::new(&format!("other {number}")).self_signed();
        world.proxy.replace("list.pem", world.alice.leaf_pem() + &other.leaf_pem());
        world.proxy.wait_for_generation_after(before);
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for task in tasks {
        task.await.expect("no panic");
    }
    assert_eq!(failed.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_the_same_at_any_list_size_a_million_pins_and_one_client() {
    use std::fmt::Write;
    let upstream = TestUpstream::start().await;
    let (alice, mallory) = (Leaf::new("alice").self_signed(), Leaf::new("mallory").self_signed());
    let workspace = Workspace::new();
    let mut list = String::with_capacity(66 << 20);
    for number in 0..1_000_000_u64 {
        // As digests are: their first digits differ.
        writeln!(list, "{:016x}{number:048x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).expect("a string");
    }
    writeln!(list, "sha256:{} alice", alice.fingerprint()).expect("a string");
    workspace.write("list.txt", &list);
    let proxy = workspace.start(&Workspace::config("require", &upstream.url(), "").replace("path = \"allowlist/\"", "path = \"list.txt\""));
    assert_eq!(proxy.metric("portcullis_allowlist_entries"), Some(1_000_001.0));
    assert_eq!(Client::new(&proxy, Some(&alice)).get("/").await.expect("admitted").status, 200);
    assert_eq!(upstream.last().header("x-portcullis-principal"), ["alice"]);
    assert_eq!(Client::new(&proxy, Some(&mallory)).get("/").await.expect_err("unlisted").alert, Some(Alert::AccessDenied));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_through_a_hard_link_elsewhere_is_seen_by_the_look_of_once_a_second() {
    let upstream = TestUpstream::start().await;
    let (alice, bob) = (Leaf::new("alice").self_signed(), Leaf::new("bob").self_signed());
    let workspace = Workspace::new();
    workspace.allow("client", &alice);
    let elsewhere = tempfile::tempdir().expect("a directory");
    let link = elsewhere.path().join("link.pem");
    std::fs::hard_link(workspace.path("allowlist/client.pem"), &link).expect("the same file system");
    let proxy = workspace.start(&Workspace::config("require", &upstream.url(), ""));
    let mut live = Client::new(&proxy, Some(&alice)).connect().await.expect("admitted");
    live.get("/").await.expect("served");
    let before = proxy.generation();
    // In place, where nobody watches.
    std::fs::write(&link, bob.leaf_pem()).expect("written");
    proxy.wait_for_generation_after(before);
    live.closed().await;
    assert_eq!(Client::new(&proxy, Some(&alice)).get("/").await.expect_err("off the list").alert, Some(Alert::AccessDenied));
    assert_eq!(Client::new(&proxy, Some(&bob)).get("/").await.expect("on the list").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_claims_what_another_has_holds_up_no_removal_beside_it() {
    let workspace = Workspace::new();
    let fixed = Leaf::new("fixed").self_signed();
    fixed.write(workspace.directory.path(), "fixed");
    for name in ["gone", "stays"] {
        workspace.allow(name, &Leaf::new(name).self_signed());
    }
    let more = "[[principal]]\nname = \"fixed\"\nrole = \"Reader\"\ncertificates = [\"fixed.pem\"]\n";
    let proxy = workspace.start(&Workspace::config("require", "http://127.0.0.1:1", more));
    assert_eq!(proxy.status()["entries"], 3);
    proxy.allow("claims", &fixed);
    eventually("the claim is refused", || proxy.metric("portcullis_reload_total{result=\"failure\"}") == Some(1.0));
    proxy.remove("allowlist/gone.pem");
    eventually("the removal beside it counts", || proxy.status()["entries"] == 2);
    // Nor does what was taken off come back when the directory cannot be read any more.
    let (here, there) = (proxy.path("allowlist"), proxy.path("elsewhere"));
    let before = proxy.metric("portcullis_reload_total{result=\"failure\"}");
    std::fs::rename(&here, &there).expect("ours");
    eventually("its absence is said", || proxy.metric("portcullis_reload_total{result=\"failure\"}") > before);
    assert_eq!(proxy.status()["entries"], 2);
    std::fs::rename(&there, &here).expect("ours");
    proxy.remove("allowlist/claims.pem");
    eventually("all is good again", || proxy.log().contains("every source is good again"));
    assert_eq!(proxy.status()["entries"], 2);
}
