//! The keys that sign tokens, as they change: by the running binary, by a restart, by another process. No token is refused for it before its
//! time; of a key that is gone every one is.

use std::process::Output;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis::admission::PrincipalId;
use portcullis::challenge::{Settings, Tokens};
use serde_json::Value;

use super::{World, bearer, now, told, with};
use crate::support::{eventually, eventually_async};

const DAY: u64 = 86_400;

impl World {
    /// Runs a command of the binary against the gateway.
    fn command(&self, arguments: &[&str]) -> Output {
        let gateway = format!("https://localhost:{}", self.proxy.address("prove").port());
        self.workspace.run(&[arguments, &["--cacert", "server.pem", "--gateway-url", &gateway]].concat())
    }

    /// Has alice prove her key, and returns the token.
    fn proves(&self) -> String {
        self.alice.write(self.workspace.directory.path(), "alice");
        let id = PrincipalId::derived(&"alice".parse().expect("a name")).to_string();
        let output = self.command(&["auth", "--access-id", &id, "--cert-file-name", "alice.pem", "--key-file-name", "alice.key"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Returns which keys are shown, at both places: where one came between, it is at the other one, too.
    async fn shown(&self) -> Vec<String> {
        let mut answer = Value::Null;
        eventually_async("the monitor shows the keys of the listener", async || {
            answer = self.client("prove", None, false).get("/.well-known/jwks.json").await.expect("an answer").json();
            self.proxy.monitor("/jwks.json").and_then(|(_, monitor)| serde_json::from_str(&monitor).ok()) == Some(answer.clone())
        })
        .await;
        let keys = answer["keys"].as_array().expect("keys").iter().map(|key| key["kid"].as_str().expect("a name").to_owned());
        keys.collect()
    }

    /// Returns which keys are kept.
    fn kept(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.workspace.path("state/tokens")).expect("readable");
        let mut names: Vec<String> = entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Makes a kept key so many seconds older.
    fn age(&self, kid: &str, seconds: u64) {
        let name = format!("state/tokens/{kid}.json");
        let mut kept: Value = serde_json::from_slice(&std::fs::read(self.workspace.path(&name)).expect("readable")).expect("JSON");
        kept["created"] = (kept["created"].as_u64().expect("a time") - seconds).into();
        self.workspace.write(&name, kept.to_string());
    }

    /// Ends the process as a crash would, and starts another on what it left.
    fn restart(&mut self, between: impl FnOnce(&Self)) {
        self.proxy.signal("KILL");
        self.proxy.wait();
        between(self);
        let config = std::fs::read_to_string(self.workspace.path("portcullis.toml")).expect("readable");
        self.proxy = self.workspace.start(&config);
    }

    fn rotate(&self, rotate: &str) {
        let config = std::fs::read_to_string(self.workspace.path("portcullis.toml")).expect("readable");
        let config = config.split("[token]").next().expect("the rest").to_owned() + &format!("[token]\nrotate = \"{rotate}\"\n");
        self.proxy.replace("portcullis.toml", config);
    }

    /// Asks by a token over several connections, so that each worker has some; returns what all of them hear.
    async fn hears(&self, token: &str) -> String {
        let mut heard = Vec::new();
        for index in 0..6 {
            let answer = self.client("edge", None, index % 2 == 0).send(with("/a", &[&bearer(token)])).await.expect("an answer");
            heard.push(format!("{} {}", answer.status.as_u16(), told(&answer)));
        }
        heard.dedup();
        heard.join(", ")
    }

    fn validates(&self, token: &str) -> Option<i32> {
        self.command(&["token", "validate", token]).status.code()
    }
}

fn kid(token: &str) -> String {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().expect("a header")).expect("base64url");
    serde_json::from_slice::<Value>(&header).expect("JSON")["kid"].as_str().expect("a name").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_changes_and_no_token_is_refused_for_it_until_it_is_long_gone() {
    let mut world = World::start().await;
    let [first] = world.shown().await.try_into().expect("one key, before anybody asked for a token");
    world.rotate("366d");
    // 40 days later nothing was to change yet.
    world.restart(|world| world.age(&first, 40 * DAY));
    assert_eq!(world.shown().await, std::slice::from_ref(&first));
    let before = world.proves();
    assert_eq!(kid(&before), first);

    // Now something is: the running one makes the next key, and shows it before it signs.
    world.rotate("30d");
    let mut shown = Vec::new();
    eventually_async("a new key", async || {
        shown = world.shown().await;
        shown.len() == 2
    })
    .await;
    let second = shown.iter().find(|kid| **kid != first).expect("another").clone();
    assert_eq!(shown, [first.clone(), second.clone()], "oldest first");
    let between = world.proves();
    assert_eq!(kid(&between), first, "the new key is shown before it signs");
    for token in [&before, &between] {
        assert_eq!((world.hears(token).await.as_str(), world.validates(token)), ("200 admitted", Some(0)));
    }

    // Five minutes later it signs, and what the old one signed counts still.
    world.restart(|world| [&first, &second].into_iter().for_each(|kid| world.age(kid, 400)));
    let after = world.proves();
    assert_eq!(kid(&after), second);
    assert_eq!(world.shown().await, [first.clone(), second.clone()]);
    for token in [&before, &between, &after] {
        assert_eq!((world.hears(token).await.as_str(), world.validates(token)), ("200 admitted", Some(0)));
    }

    // Thirty days later nothing that the old one signed can be in time. These tokens are, by our clock: their key alone is gone.
    world.restart(|world| world.age(&second, 31 * DAY));
    let third = world.shown().await.into_iter().find(|kid| *kid != second).expect("another");
    assert_ne!(third, first);
    assert_eq!(world.shown().await, [second.clone(), third.clone()]);
    let mut files = [&second, &third].map(|kid| format!("{kid}.json"));
    files.sort();
    assert_eq!(world.kept(), files, "its file is gone, too");
    let now = world.proves();
    assert_eq!(kid(&now), second, "the third is shown first");
    for token in [&after, &now] {
        assert_eq!((world.hears(token).await.as_str(), world.validates(token)), ("200 admitted", Some(0)));
    }
    for token in [&before, &between] {
        assert_eq!((world.hears(token).await.as_str(), world.validates(token)), ("401 token_invalid", Some(1)));
    }
    let find = world.proxy.log_finder();
    eventually("a line about it", || {
        find(&["\"code\":\"token_invalid\"", "\"checkpoint\":\"request\"", "no key of ours signed it"]).is_some()
    });
}

/// As one does that takes over from us, or puts a key there by hand.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_came_from_elsewhere_counts_without_a_restart() {
    let mut world = World::start().await;
    let [first] = world.shown().await.try_into().expect("one key");
    world.rotate("366d");
    world.restart(|world| world.age(&first, 40 * DAY));
    let before = world.proves();
    // Another process finds that the key is due, and made its own some minutes ago.
    let elsewhere = Tokens::new(Settings::default(), Some(&world.workspace.path("state")));
    elsewhere.prepare(now() - 400).expect("a key");
    let theirs = world.token("alice", &world.alice);
    let second = kid(&theirs);
    assert_ne!(second, first);
    // The directory is looked at once a second.
    eventually_async("their token counts", async || world.hears(&theirs).await == "200 admitted").await;
    assert_eq!(world.shown().await, [first.clone(), second.clone()]);
    assert_eq!(kid(&world.proves()), second, "and it signs");
    assert_eq!(world.hears(&before).await, "200 admitted");

    // Another instance has keys of its own, and takes what our keys signed once it has them.
    let other = World::start().await;
    other.proxy.allow("alice", &world.alice);
    let own = other.shown().await;
    assert!(own.len() == 1 && !own.contains(&second), "{own:?}");
    eventually("alice is listed there", || {
        other.command(&["token", "validate", "a.b.c"]).status.code() == Some(1) && other.proxy.generation() > 1
    });
    assert_eq!((other.hears(&theirs).await.as_str(), other.validates(&theirs)), ("401 token_invalid", Some(1)));
    let file = format!("state/tokens/{second}.json");
    std::fs::copy(world.workspace.path(&file), other.workspace.path(&file)).expect("copied");
    eventually_async("the copied key counts", async || other.hears(&theirs).await == "200 admitted").await;
    // Taken away, a key counts until the process ends.
    std::fs::remove_file(other.workspace.path(&file)).expect("removed");
    let mut other = other;
    other.restart(|_| {});
    assert_eq!((other.hears(&theirs).await.as_str(), other.validates(&theirs)), ("401 token_invalid", Some(1)));
}

/// A file that cannot be read is never replaced: every token of its key would be refused for good.
#[tokio::test(flavor = "multi_thread")]
async fn where_a_key_is_damaged_nobody_gets_a_token_and_the_others_count() {
    let mut world = World::start().await;
    let [first] = world.shown().await.try_into().expect("one key");
    let before = world.proves();
    let file = format!("state/tokens/{first}.json");
    let whole = std::fs::read(world.workspace.path(&file)).expect("readable");
    world.restart(|world| world.workspace.write(&file, &whole[..whole.len() / 2]));
    let find = world.proxy.log_finder();
    eventually("a line about it", || {
        find(&["\"level\":\"ERROR\"", "no token can be issued", &file, "is no signing key of tokens"]).is_some()
    });
    assert_eq!((world.hears(&before).await.as_str(), world.validates(&before)), ("401 token_invalid", Some(1)));
    let id = PrincipalId::derived(&"alice".parse().expect("a name")).to_string();
    let refused = world.command(&["auth", "--access-id", &id, "--cert-file-name", "alice.pem", "--key-file-name", "alice.key"]);
    assert_eq!(refused.status.code(), Some(1), "{}", String::from_utf8_lossy(&refused.stderr));
    assert_eq!(world.kept(), [format!("{first}.json")], "no key took its place");
    world.workspace.write(&file, whole);
    eventually_async("the key is whole again", async || world.hears(&before).await == "200 admitted").await;
    assert_eq!(kid(&world.proves()), first);
}
